"""Render Gaussians: gsplat on CUDA, our rasterizer on a CPU, with the same pictures and gradients.

Conventions are those of `datagen/cameras.py`: world right-handed and Z up, OpenCV camera-to-world
matrices, intrinsics in pixels with pixel centres at half-integers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from model.rasterizer import BLUR, FAR, NEAR, TILE, rasterize


class Rendering(NamedTuple):
    """Pictures, channels first as losses, metrics and convolutions take them.

    Attributes:
        colour: sRGB over the background; within 0 to 1 where the Gaussians' colours are.
        alpha: how much of the background is hidden, 0 to 1.
        depth: expected depth Σ alpha T z / Σ alpha T along the optical axis, in world units, and 0
            where nothing is. The background has no part in it: it compares with shards' depth.
    """

    colour: Float[Tensor, "batch views 3 height width"]
    alpha: Float[Tensor, "batch views 1 height width"]
    depth: Float[Tensor, "batch views 1 height width"]


def render(
    gaussians: Float[Tensor, "batch n 14"],
    camera_to_world: Float[Tensor, "batch views 4 4"],
    intrinsics: Float[Tensor, "*#cameras 3 3"],
    width: int,
    height: int,
    background: Float[Tensor, "*#cameras 3"] | float = 1.0,
    blur: float = BLUR,
) -> Rendering:
    """Render every batch item's Gaussians from every one of its cameras, in one call.

    Differentiable with respect to the Gaussians, not to the cameras. At least float32 is used and
    returned, also under autocast.

    Args:
        gaussians: position 3 (world), opacity 1 (0 to 1), scale 3 (standard deviations in world
            units), rotation 4 (quaternion w, x, y, z that turns their axes into the world), colour
            3 (sRGB, 0 to 1, the same from all sides); all activated.
        camera_to_world: rigid.
        intrinsics: for each camera, or [3, 3] for all; skew is taken to be 0.
        width: of the pictures, in pixels.
        height: likewise.
        background: sRGB, 0 to 1, for each camera, or [3] or a grey for all; white by default.
        blur: added to the variances of Gaussians in the picture, in pixels². A picture of half the
            size with a quarter of it shows Gaussians as wide as the whole one shows them.

    Raises:
        ValueError: the shapes do not fit each other.
        ImportError: the tensors are on CUDA and there is no gsplat.
    """
    if gaussians.ndim != 3 or gaussians.shape[-1] != 14:
        raise ValueError(f"gaussians: {tuple(gaussians.shape)} is not [batch, n, 14]")
    cameras = camera_to_world.shape[:-2]
    if camera_to_world.shape[-2:] != (4, 4) or len(cameras) != 2 or cameras[0] != len(gaussians):
        shape = tuple(camera_to_world.shape)
        raise ValueError(f"camera_to_world: {shape} is not [{len(gaussians)}, views, 4, 4]")
    gaussians = gaussians.to(torch.promote_types(gaussians.dtype, torch.float32))
    world_to_camera = _inverse(camera_to_world.detach().to(gaussians))
    lenses = _for_all("intrinsics", intrinsics.detach().to(gaussians), (*cameras, 3, 3))
    behind = _for_all("background", torch.as_tensor(background).to(gaussians), (*cameras, 3))
    backend = _gsplat if gaussians.is_cuda else rasterize
    blended, alpha = backend(gaussians, world_to_camera, lenses, width, height, blur)
    colour = blended[..., :3] + (1 - alpha) * behind[..., None, None, :]
    depth = blended[..., 3:] / alpha.clamp(min=1e-10)
    return Rendering(*(picture.movedim(-1, -3) for picture in (colour, alpha, depth)))


def render_for_any_size(
    gaussians: Float[Tensor, "batch n 14"],
    camera_to_world: Float[Tensor, "batch views 4 4"],
    intrinsics: Float[Tensor, "*#cameras 3 3"],
    width: int,
    height: int,
    odd: bool = True,
) -> Rendering:
    """As `render` on white, but that every other view, the odd or the even ones, is blurred as
    little as one of twice the size is.

    The renderer widens splats by a part of a pixel. Were they only ever seen with that of
    training's pictures, they would leave gaps in larger ones (Mip-Splatting, CVPR 2024, tells why).
    """
    cameras = camera_to_world.shape[:-2]
    lenses = _for_all("intrinsics", intrinsics, (*cameras, 3, 3))
    halves = [
        render(
            gaussians,
            camera_to_world[:, first::2],
            lenses[:, first::2],
            width,
            height,
            blur=BLUR / 4 if first == odd else BLUR,
        )
        for first in range(min(2, cameras[1]))
    ]
    views = torch.arange(cameras[1])
    place = torch.cat([views[0::2], views[1::2]]).argsort()
    return Rendering(*(torch.cat(part, dim=1)[:, place] for part in zip(*halves, strict=True)))


def _for_all(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`value`, expanded to one for each camera."""
    try:
        return value.expand(shape)
    except RuntimeError:
        raise ValueError(f"{name}: {tuple(value.shape)} does not fit {shape}") from None


def _inverse(pose: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The inverse of rigid transforms, without a matrix product, which may run in TF32."""
    inverse = torch.zeros_like(pose)
    inverse[..., :3, :3] = pose[..., :3, :3].mT
    inverse[..., :3, 3] = -(pose[..., :3, :3] * pose[..., :3, 3:]).sum(dim=-2)
    inverse[..., 3, 3] = 1
    return inverse


def _gsplat(
    gaussians: Float[Tensor, "batch n 14"],
    world_to_camera: Float[Tensor, "batch views 4 4"],
    intrinsics: Float[Tensor, "batch views 3 3"],
    width: int,
    height: int,
    blur: float,
) -> tuple[
    Float[Tensor, "batch views height width 4"], Float[Tensor, "batch views height width 1"]
]:
    """As `rasterizer.rasterize`, by gsplat; not packed, as most cameras see most Gaussians."""
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise ImportError("rendering on CUDA needs gsplat: pip install 'gsplat>=1.5.3'") from error
    position, opacity, scale, rotation, colour = gaussians.float().split((3, 1, 3, 4, 3), dim=-1)
    blended, alpha, _ = rasterization(
        position,
        rotation,
        scale,
        opacity.squeeze(-1),
        colour,
        world_to_camera.float(),
        intrinsics.float(),
        width,
        height,
        near_plane=NEAR,
        far_plane=FAR,
        eps2d=blur,
        tile_size=TILE,
        packed=False,
        render_mode="RGB+D",
    )
    return blended, alpha
