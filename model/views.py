"""What a network is shown of objects, and reading it from shards.

Pictures travel as bytes with straight alpha, and become colours on white where they are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from datagen.image_codec import downscaled
from datagen.shards import Shard
from model.splatter import network_input, plucker_rays

NEAR = 0.1  # world units: what is closer to a camera, it does not see


class Views(NamedTuple):
    """Pictures of a batch of objects, from known cameras.

    Attributes:
        pictures: sRGB in [0, 1] on white.
        camera_to_world: OpenCV matrices.
        intrinsics: in pixels of these pictures, the same for all views of an object.
        present: false where a view is missing: its camera is known, its picture is not.
    """

    pictures: Float[Tensor, "B V 3 S S"]
    camera_to_world: Float[Tensor, "B V 4 4"]
    intrinsics: Float[Tensor, "B 3 3"]
    present: Bool[Tensor, "B V"]

    def network_input(self) -> Float[Tensor, "B V 9 S S"]:
        """Colours and Plücker rays, as `PartRM` takes them."""
        size = self.pictures.shape[-1]
        rays = plucker_rays(self.camera_to_world, self.intrinsics[:, None], size)
        return network_input(self.pictures, rays, self.present)

    def first(self, count: int) -> Views:
        """The same, with the first `count` views alone present."""
        kept = torch.arange(self.present.shape[1], device=self.present.device) < count
        return self._replace(present=self.present & kept)


def projected(
    points: Float[Tensor, "*batch N 3"],
    camera_to_world: Float[Tensor, "*batch 4 4"],
    intrinsics: Float[Tensor, "*#batch 3 3"],
) -> tuple[Float[Tensor, "*batch N 2"], Float[Tensor, "*batch N"]]:
    """Where cameras see points of the world: pixels (x, y), and depths along the optical axis, in
    world units. Pixels of what is not `NEAR` or farther mean nothing.

    Without matrix products, which may run in TF32 or bf16. `datagen.cameras.project` is the same of
    arrays.

    Args:
        points: in the world.
        camera_to_world: OpenCV matrices.
        intrinsics: in pixels; no skew.
    """
    turn, centre = camera_to_world[..., None, :3, :3], camera_to_world[..., None, :3, 3]
    x, y, z = ((points - centre)[..., None] * turn).sum(dim=-2).unbind(-1)
    lens, ahead = intrinsics[..., None, :, :], z.clamp(min=NEAR)
    column = lens[..., 0, 0] * x / ahead + lens[..., 0, 2]
    row = lens[..., 1, 1] * y / ahead + lens[..., 1, 2]
    return torch.stack([column, row], dim=-1), z


def on_white(
    rgba: UInt8[Tensor, "*batch 4 H W"],
) -> tuple[Float[Tensor, "*batch 3 H W"], Float[Tensor, "*batch 1 H W"]]:
    """Colours on white and alpha, both in [0, 1], of bytes with straight alpha."""
    colour, alpha = (rgba.float() / 255).split((3, 1), dim=-3)
    return 1 + alpha * (colour - 1), alpha


def read_pictures(
    shard: Shard, state: int, views: Sequence[int], size: int
) -> UInt8[Tensor, "V 4 {size} {size}"]:
    """Pictures of a state, averaged down to this size where the shard's are larger.

    Raises:
        ValueError: the shard's pictures are smaller.
    """
    if shard.resolution < size:
        raise ValueError(f"{shard.path} holds pictures of {shard.resolution} pixels, not {size}")
    pictures = np.empty((len(views), 4, size, size), np.uint8)
    for picture, view in zip(pictures, views, strict=True):
        picture[:] = downscaled(shard.colour(state, view), size).transpose(2, 0, 1)
    return torch.from_numpy(pictures)


def cameras(shard: Shard, views: Sequence[int]) -> Float[Tensor, "V 4 4"]:
    """Camera-to-world matrices of a shard's views."""
    return torch.from_numpy(shard.camera_to_world[list(views)]).float()


def intrinsics(shard: Shard, size: int) -> Float[Tensor, "3 3"]:
    """A shard's intrinsics, in pixels of pictures of this size."""
    scaled = shard.intrinsics * np.array([[size], [size], [shard.resolution]]) / shard.resolution
    return torch.from_numpy(scaled).float()


def check_resolution(shards: Iterable[Shard], size: int, preset: str) -> None:
    """Refuse shards whose pictures are smaller than those a network takes.

    Raises:
        ValueError: says which, and what to do.
    """
    for shard in shards:
        if shard.resolution < size:
            raise ValueError(
                f"data and preset do not fit: {shard.path} holds pictures of {shard.resolution} "
                f"pixels, and {preset} takes {size}. Render it again with a larger preset "
                "(make dataset PRESET=standard: 256 pixels), or choose a smaller network"
            )
