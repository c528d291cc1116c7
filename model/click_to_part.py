"""Our click-to-part network: a picture and clicks on a part → which pixels move with it.

A small U-Net. Clicks are drawn into its input as spots of several sizes, and the lowest level
attends across the whole picture, so that a part that shows in several pieces can be found.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.checkpoint_layout import CheckpointError, built, read_tensors, write_tensors
from model.config import settings_of
from model.unet import ResidualBlock, SelfAttention
from model.weights import PARTS

CONFIG_KEY = "click_to_part_config"
STEM = 2  # input pixels, and output pixels, along a side of a cell of the highest level


@dataclass(frozen=True)
class ClickToPartConfig:
    """Everything that decides the names, shapes and meaning of a network's weights."""

    input_size: int = 256
    """Pixels along the longer side of the pictures the network is trained on."""
    channels: tuple[int, ...] = (32, 64, 128, 192)
    """Of each level; the highest has half the picture's resolution, each below half of that."""
    heads: int = 6
    """Attention heads of the lowest level."""
    norm_groups: int = 8
    """Groups of every group norm."""
    spots: tuple[float, ...] = (0.02, 0.1)
    """Standard deviations of the Gaussians that mark clicks, as fractions of the longer side."""

    def __post_init__(self) -> None:
        if self.input_size % self.stride:
            raise ValueError(
                f"input_size {self.input_size} is no multiple of the lowest level's {self.stride}"
            )

    @property
    def stride(self) -> int:
        """How many pixels of the input one cell of the lowest level spans."""
        return STEM * 2 ** (len(self.channels) - 1)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ClickToPartConfig:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text names settings that there are none of, or lacks some.
        """
        return cls(**settings_of(text, {field.name for field in fields(cls)}))


class ClickToPartNet(nn.Module):
    """The network; `part_masks.ClickToPart` applies it to a picture of any size."""

    def __init__(self, config: ClickToPartConfig) -> None:
        super().__init__()
        self.config = config
        widths, groups = config.channels, config.norm_groups
        self.stem = nn.Conv2d(3 + len(config.spots), widths[0], 2 * STEM, STEM, padding=STEM // 2)
        self.down = nn.ModuleList(
            ResidualBlock(above, here, groups)
            for above, here in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.norm = nn.GroupNorm(groups, widths[-1])
        self.attention = SelfAttention(widths[-1], config.heads)
        self.up = nn.ModuleList(
            ResidualBlock(below + here, here, groups)
            for here, below in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.norm_out = nn.GroupNorm(groups, widths[0])
        self.conv_out = nn.Conv2d(widths[0], STEM**2, 3, padding=1)

    def forward(
        self, pictures: Float[Tensor, "B 3 H W"], clicks: Float[Tensor, "B K 2"]
    ) -> Float[Tensor, "B H W"]:
        """Logits of moving along with what was clicked on.

        Args:
            pictures: sRGB in [0, 1] on white; sides are multiples of `config.stride`.
            clicks: (x, y) as fractions of the pictures' width and height: one or more, all on the
                same part. The same click again says nothing more.
        """
        self._check(pictures, clicks)
        x = self.stem(
            torch.cat([2 * pictures - 1, spots(pictures, clicks, self.config.spots)], dim=1)
        )
        levels = []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x)
            levels.append(x)
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        x = x + self.attention(tokens).transpose(1, 2).unflatten(2, x.shape[2:])
        for block, skip in zip(self.up, levels[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1))
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), STEM)[:, 0].float()

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str] = PARTS) -> ClickToPartNet:
        """Load a checkpoint, by default the one that comes with the project, in float32 on the CPU.

        Raises:
            CheckpointError: it is none of such a network; the message says what differs.
            FileNotFoundError: there is no such file.
        """
        metadata, weights = read_tensors(path)
        if CONFIG_KEY not in metadata:
            raise CheckpointError(
                f"{path}: no click-to-part network (no {CONFIG_KEY} in its metadata)"
            )
        config = metadata[CONFIG_KEY]
        return built(lambda: cls(ClickToPartConfig.from_json(config)), weights, str(path))

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write configuration and weights to one .safetensors file, whole or not at all. Weights
        are rounded to half precision: they are shipped, and no mask needs more."""
        halves = {name: tensor.half() for name, tensor in self.state_dict().items()}
        write_tensors(path, halves, CONFIG_KEY, self.config.to_json())

    def _check(self, pictures: Tensor, clicks: Tensor) -> None:
        stride, shape = self.config.stride, tuple(pictures.shape)
        if len(shape) != 4 or shape[1] != 3 or shape[2] % stride or shape[3] % stride:
            raise ValueError(
                f"pictures must be [B, 3, H, W] with H and W multiples of {stride}; these are "
                f"{list(shape)}"
            )
        if clicks.ndim != 3 or clicks.shape[::2] != (shape[0], 2) or not clicks.shape[1]:
            raise ValueError(
                f"clicks of {shape[0]} pictures must be [{shape[0]}, K, 2], K one or more; these "
                f"are {list(clicks.shape)}"
            )


def spots(
    pictures: Float[Tensor, "B 3 H W"], clicks: Float[Tensor, "B K 2"], sizes: tuple[float, ...]
) -> Float[Tensor, "B sizes H W"]:
    """Gaussians around the clicks, 1 at their centres; where several reach, the nearest's.

    Args:
        pictures: whose size they have.
        clicks: (x, y) as fractions of the pictures' width and height.
        sizes: their standard deviations, as fractions of the longer side.
    """
    height, width = pictures.shape[-2:]
    longer = max(height, width)
    x = (torch.arange(width, device=clicks.device) + 0.5) / longer
    y = (torch.arange(height, device=clicks.device) + 0.5) / longer
    across = (x - clicks[..., :1] * width / longer).square()[:, :, None, :]
    down = (y - clicks[..., 1:] * height / longer).square()[:, :, :, None]
    nearest = (across + down).amin(dim=1, keepdim=True)
    deviations = torch.tensor(sizes, device=clicks.device)[:, None, None]
    return torch.exp(-nearest / (2 * deviations.square()))
