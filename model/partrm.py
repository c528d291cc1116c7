"""PartRM: from pictures of an object and drags to the 3D Gaussians of the object once dragged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.checkpoint_layout import CheckpointError, built, read_checkpoint, write_checkpoint
from model.config import PartRMConfig
from model.drag_embedding import Drags
from model.picture import ImageLike
from model.prediction import Dragged, Predictor
from model.second_look import LOOK_CHANNELS
from model.splatter import (
    SHAPE_CHANNELS,
    first_shape,
    gaussians_of_splatter,
    positions_on_rays,
    with_seen_colours,
)
from model.unet import MultiViewUNet
from model.weights import PARTRM

INPUT_CHANNELS = 9  # colour 3, Plücker rays 6


class PartRM(nn.Module):
    """The network. Without drag levels, or without drags, it reconstructs what it sees (LGM)."""

    def __init__(self, config: PartRMConfig) -> None:
        super().__init__()
        self.config = config
        self.position_channels = {"free": 3, "ray": 1, "displaced": 4}[config.positions]
        channels = config.layers * (self.position_channels + sum(SHAPE_CHANNELS)) * config.fine**2
        self.unet = MultiViewUNet(INPUT_CHANNELS, channels, config)
        self.conv = nn.Conv2d(channels, channels, 1)
        if config.positions != "free":  # the published networks start as PyTorch has it
            shape = (config.layers, -1, config.fine**2)
            weight = self.conv.weight.unflatten(0, shape)
            bias = self.conv.get_parameter("bias").unflatten(0, shape)
            with torch.no_grad():
                weight[:, 1 : self.position_channels] = 0  # no displacement
                bias[:, 1 : self.position_channels] = 0
                bias[:, self.position_channels :] = first_shape(2 / config.splat_size)[:, None]

    def forward(
        self, images: Float[Tensor, "B V C H W"], drags: Drags | None = None
    ) -> Float[Tensor, "B N 14"]:
        """Gaussians of the object after the drags.

        Args:
            images: what `second_look.seen` makes of views. Colours and Plücker rays alone, as of
                `splatter.network_input`, are answered at first sight.
            drags: those of each view; any number from 0 up.

        Returns:
            N = V L h w Gaussians, one for each layer and pixel of each view's splatter image, in
            the world: position 3, opacity 1, scale 3, rotation 4 (w, x, y, z), colour 3.
        """
        self._check(images, drags)
        layers = self.config.layers
        raw = self.conv(self.unet(images, drags).flatten(0, 1)).float()
        raw = F.pixel_shuffle(raw, self.config.fine)
        raw = raw.unflatten(1, (layers, -1)).unflatten(0, images.shape[:2]).flatten(1, 2)
        position, shape = raw.split([self.position_channels, sum(SHAPE_CHANNELS)], dim=2)
        if self.config.positions == "free":
            position = position.clamp(-1, 1)
        else:
            depth, displacement = position[:, :, :1], position[:, :, 1:]
            position = positions_on_rays(
                depth, images[:, :, 3:INPUT_CHANNELS], self.config.depth_range
            )
            if self.config.positions == "displaced":
                position = position + displacement
        if self.config.colours == "seen":
            shape = with_seen_colours(shape, images)
        return gaussians_of_splatter(position, shape)

    def drag(self, image: ImageLike, drags: Sequence[Sequence[float]], **options: Any) -> Dragged:
        """Gaussians of the object in a picture, before and after it is dragged.

        `PartRM.from_pretrained().drag("drawer.png", [[140, 160, 95, 190]])`

        Args:
            image: a path, a Pillow image, or an array; see `picture.read_picture`.
            drags: x0, y0, x1, y1 of each, in pixels of the image (x right, y down).
            options: of `prediction.Predictor`: cameras, framing, other views, part masks, …

        Raises:
            PictureError: the picture shows no object; says what to do.
            DragError: a drag starts off the object, or has no length; says which.
            OSError: there is no such file.
        """
        predictor = Predictor(self, **options)
        return predictor.drag(predictor.see(image), drags)

    def drags_of_view_0(
        self,
        start: Float[Tensor, "B D 2"],
        end: Float[Tensor, "B D 2"],
        mask: Bool[Tensor, "B D"],
        views: int,
    ) -> Drags:
        """Drags drawn in view 0, as fractions of the picture, as this network wants them: in that
        view alone, or, of the published layout, repeated in all views."""
        if self.config.drag_style == "published":
            return Drags.in_every_view(start, end, mask, views)
        return Drags.in_view(start, end, mask, 0, views)

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike[str] = PARTRM, expected: PartRMConfig | None = None
    ) -> PartRM:
        """Load a checkpoint of ours, or a published LGM or PartRM, in float32 on the CPU.

        Args:
            path: .safetensors, or .pt, .pth, .bin or .ckpt for published ones; by default the
                weights that come with the project.
            expected: refuse a network of another configuration than this.

        Raises:
            CheckpointError: it does not fit; the message says what differs.
        """
        config, weights = read_checkpoint(path)
        if expected is not None and config != expected:
            differences = "; ".join(expected.differences(config))
            raise CheckpointError(f"{path} is another network (expected, found): {differences}")
        return built(lambda: cls(config), weights, str(path))

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write weights and configuration to one .safetensors file, whole or not at all."""
        write_checkpoint(path, self.config, self.state_dict())

    def with_drag_levels(self, levels: tuple[int, ...]) -> PartRM:
        """A copy of this network, static so far, that has fresh drag layers at these levels.

        Without drags, and in samples that have none, it computes what this one does.
        """
        if self.config.drag_levels:
            raise ValueError(f"this network embeds drags already: {self.config.drag_levels}")
        config = replace(self.config, drag_levels=levels, drag_style="paper")
        network = PartRM(config).to(self.conv.weight.device)
        network.load_state_dict({**network.state_dict(), **self.state_dict()})
        return network

    def with_second_look(self) -> PartRM:
        """A copy of this network that answers twice: the same, before any training."""
        if self.config.second_look:
            raise ValueError("this network takes a second look already")
        network = PartRM(replace(self.config, second_look=True)).to(self.conv.weight.device)
        network.load_state_dict({**network.state_dict(), **self.state_dict()})
        return network

    def _check(self, images: Tensor, drags: Drags | None) -> None:
        stride, shape = self.config.stride, tuple(images.shape)
        taken = [INPUT_CHANNELS]
        if self.config.second_look:
            taken.append(INPUT_CHANNELS + LOOK_CHANNELS)
        if len(shape) != 5 or shape[2] not in taken or shape[3] % stride or shape[4] % stride:
            raise ValueError(
                f"images must be [B, V, {' or '.join(map(str, taken))}, H, W] with H and W "
                f"multiples of {stride}; these are {list(shape)}"
            )
        if drags is None:
            return
        if not self.config.drag_levels:
            raise ValueError("drags were given, but no level of this network embeds them")
        points = (*drags.mask.shape, 2)
        if (
            drags.mask.shape[:-1] != shape[:2]
            or drags.start.shape != points
            or drags.end.shape != points
        ):
            raise ValueError(
                f"drags of {shape[0]} samples in {shape[1]} views must be start and end "
                f"[{shape[0]}, {shape[1]}, D, 2] and mask [{shape[0]}, {shape[1]}, D]; these are "
                f"{list(drags.start.shape)}, {list(drags.end.shape)} and {list(drags.mask.shape)}"
            )
