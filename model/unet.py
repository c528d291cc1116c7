"""The multi-view U-Net of LGM: every view runs through the same 2D U-Net, and the low resolutions
attend across all views of a sample.

Inside, views are folded into the batch: features are [B*V, C, H, W].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.config import PartRMConfig
from model.drag_embedding import DRAG_LAYERS, Drags
from model.group_norm import group_norm
from model.second_look import LOOK_CHANNELS

LOOK_WIDTH = 64  # channels in which a second look is taken in
SKIP_SCALE = math.sqrt(0.5)  # the sum of two branches of unit variance has unit variance again


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after group norm and SiLU, beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.shortcut: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Float[Tensor, "BV Cin H W"]) -> Float[Tensor, "BV Cout H W"]:
        y = self.conv1(group_norm(x, self.norm1, silu=True))
        y = self.conv2(group_norm(y, self.norm2, silu=True))
        return (y + self.shortcut(x)) * SKIP_SCALE


class SecondLook(nn.Module):
    """Takes in what a second look tells: nothing at first, and where it tells nothing."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, LOOK_WIDTH, 1, bias=False)
        self.conv2 = nn.Conv2d(LOOK_WIDTH, channels_out, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, told: Float[Tensor, "BV Cin H W"]) -> Float[Tensor, "BV Cout H W"]:
        return self.conv2(F.silu(self.conv1(told)))


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be shared among {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        qkv = self.qkv(tokens).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.proj(attended.transpose(1, 2).flatten(2))


class MultiViewAttention(nn.Module):
    """Every pixel of every view attends to all pixels of all views of its sample."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.attn = SelfAttention(channels, heads)

    def forward(self, x: Float[Tensor, "BV C H W"], views: int) -> Float[Tensor, "BV C H W"]:
        height, width = x.shape[-2:]
        normed = group_norm(x, self.norm, silu=False)
        tokens = normed.unflatten(0, (-1, views)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        y = self.attn(tokens).unflatten(1, (views, height, width))
        return (y.permute(0, 1, 4, 2, 3).flatten(0, 1) + x) * SKIP_SCALE


class Level(nn.Module):
    """The layers of one resolution: residual blocks of these widths (in, out), and attentions."""

    def __init__(
        self, widths: list[tuple[int, int]], attentions: int, config: PartRMConfig
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleList(ResidualBlock(*width, config.norm_groups) for width in widths)
        self.attns = nn.ModuleList(
            MultiViewAttention(widths[-1][1], config.heads, config.norm_groups)
            for _ in range(attentions)
        )


class DownLevel(Level):
    """Residual blocks, each followed by attention if there is any, then half the resolution."""

    def __init__(
        self, channels_in: int, channels: int, attention: bool, last: bool, config: PartRMConfig
    ) -> None:
        layers = config.layers_per_level
        widths = [(channels_in, channels)] + [(channels, channels)] * (layers - 1)
        super().__init__(widths, layers if attention else 0, config)
        self.downsample = None if last else nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(
        self, x: Float[Tensor, "BV Cin H W"], views: int
    ) -> list[Float[Tensor, "BV Cout ..."]]:
        """All that the decoder may take in; the last of it goes on to the next level."""
        features = []
        for i, net in enumerate(self.nets):
            x = net(x)
            if self.attns:
                x = self.attns[i](x, views)
            features.append(x)
        if self.downsample is not None:
            features.append(self.downsample(x))
        return features


class MidLevel(Level):
    """The bottleneck: residual block, attention if there is any, residual block."""

    def __init__(self, channels: int, config: PartRMConfig) -> None:
        super().__init__([(channels, channels)] * 2, int(config.mid_attention), config)

    def forward(self, x: Float[Tensor, "BV C H W"], views: int) -> Float[Tensor, "BV C H W"]:
        x = self.nets[0](x)
        for attention in self.attns:
            x = attention(x, views)
        return self.nets[1](x)


class UpLevel(Level):
    """Residual blocks that each take in a feature of the encoder, then twice the resolution."""

    def __init__(
        self,
        channels_in: int,
        skips: list[int],
        channels: int,
        attention: bool,
        last: bool,
        config: PartRMConfig,
    ) -> None:
        before = [channels_in] + [channels] * (len(skips) - 1)
        widths = [(cin + skip, channels) for cin, skip in zip(before, skips, strict=True)]
        super().__init__(widths, len(skips) if attention else 0, config)
        self.upsample = None if last else nn.Conv2d(channels, channels, 3, padding=1)

    def forward(
        self,
        x: Float[Tensor, "BV Cin H W"],
        skips: list[Float[Tensor, "BV Cskip H W"]],
        views: int,
    ) -> Float[Tensor, "BV Cout ..."]:
        """Takes what it needs off the end of `skips`."""
        for i, net in enumerate(self.nets):
            x = net(torch.cat([x, skips.pop()], dim=1))
            if self.attns:
                x = self.attns[i](x, views)
        if self.upsample is not None:
            x = self.upsample(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


class MultiViewUNet(nn.Module):
    """The asymmetric U-Net: its decoder may stop before the resolution of its input."""

    def __init__(self, channels_in: int, channels_out: int, config: PartRMConfig) -> None:
        super().__init__()
        down, up, layers = config.down_channels, config.up_channels, config.layers_per_level
        self.patch, self.channels_in = config.patch, channels_in
        self.conv_in = nn.Conv2d(channels_in * config.patch**2, down[0], 3, padding=1)
        if config.second_look:
            self.look = SecondLook(LOOK_CHANNELS * config.patch**2, down[0])
        self.drag_layers = nn.ModuleDict(
            {
                str(level): DRAG_LAYERS[config.drag_style](config.level_channels[level])
                for level in config.drag_levels
            }
        )

        self.down_blocks = nn.ModuleList()
        skips = [down[0]]
        for level, channels in enumerate(down):
            last = level == len(down) - 1
            self.down_blocks.append(
                DownLevel(
                    config.level_channels[level],
                    channels,
                    config.down_attention[level],
                    last,
                    config,
                )
            )
            skips += [channels] * (layers + (not last))

        self.mid_block = MidLevel(down[-1], config)

        self.up_blocks = nn.ModuleList()
        channels_before = down[-1]
        for level, channels in enumerate(up):
            taken = [skips.pop() for _ in range(layers + 1)]
            self.up_blocks.append(
                UpLevel(
                    channels_before,
                    taken,
                    channels,
                    config.up_attention[level],
                    level == len(up) - 1,
                    config,
                )
            )
            channels_before = channels

        self.norm_out = nn.GroupNorm(config.norm_groups, up[-1])
        self.conv_out = nn.Conv2d(up[-1], channels_out, 3, padding=1)

    def forward(
        self, images: Float[Tensor, "B V Cin H W"], drags: Drags | None
    ) -> Float[Tensor, "B V Cout h w"]:
        views, own = images.shape[1], self.channels_in
        x = self.conv_in(self._cells(images[:, :, :own]))
        if images.shape[2] > own:
            x = x + self.look(self._cells(images[:, :, own:]))
        skips = [x]
        for level, block in enumerate(self.down_blocks):
            if str(level) in self.drag_layers:
                x = self.drag_layers[str(level)](x, drags)
            skips += block(x, views)
            x = skips[-1]
        x = self.mid_block(x, views)
        for block in self.up_blocks:
            x = block(x, skips, views)
        return self.conv_out(group_norm(x, self.norm_out, silu=True)).unflatten(0, (-1, views))

    def _cells(self, images: Float[Tensor, "B V C H W"]) -> Float[Tensor, "BV Cpp H/p W/p"]:
        """Patches of pixels as cells."""
        cells = F.pixel_unshuffle(images.flatten(0, 1), self.patch)
        if cells.is_cuda:  # where convolutions are fastest with the channels last in memory
            cells = cells.contiguous(memory_format=torch.channels_last)
        return cells
