"""Render Gaussians on a CPU: EWA splatting in tiles, compiled by numba, with analytic gradients.

Zwicker et al., EWA Splatting (2002), as in Kerbl et al., 3D Gaussian Splatting (2023), in three
steps, each a module that holds its backward step beside it: `projection` finds what pictures see of
each Gaussian, `tiles` deals the Gaussians out to the tiles that they touch, and `blending` blends
each tile's from front to back.

Every rule of what is drawn is gsplat's (1.5.3, "classic"), so both render the same pictures: the
constants, the Jacobian's clamp, which Gaussians a pixel takes (alpha at least 1/255, whatever tile
it lies in) and where it ends.

All arithmetic is in float64, whatever the tensors' type. Work is shared out by Gaussian, picture or
tile, each writing only its own part, so results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.rasterizer.blending import blend, blend_backward
from model.rasterizer.kernels import in_threads
from model.rasterizer.projection import BLUR, FAR, NEAR, SPLAT, project, project_backward
from model.rasterizer.tiles import TILE, deal, gather, rectangles

__all__ = ["BLUR", "FAR", "NEAR", "TILE", "rasterize"]


def rasterize(
    gaussians: Float[Tensor, "batch n 14"],
    world_to_camera: Float[Tensor, "batch views 4 4"],
    intrinsics: Float[Tensor, "batch views 3 3"],
    width: int,
    height: int,
    blur: float = BLUR,
) -> tuple[
    Float[Tensor, "batch views height width 4"], Float[Tensor, "batch views height width 1"]
]:
    """Blend Gaussians into pictures, differentiably with respect to the Gaussians alone.

    Args:
        gaussians: as `rendering.render` takes them.
        world_to_camera: rigid; OpenCV camera axes.
        intrinsics: in pixels; no skew.
        blur: added to the variances in the picture, in pixels².

    Returns:
        Σ alpha T of colour and depth, to be added to a background's; and the whole pixel's alpha.
    """
    return _Rasterize.apply(gaussians, world_to_camera, intrinsics, width, height, blur)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        gaussians: Tensor,
        world_to_camera: Tensor,
        intrinsics: Tensor,
        width: int,
        height: int,
        blur: float,
    ) -> tuple[Tensor, Tensor]:
        views = world_to_camera.shape[:2]
        cameras, lenses = _array(world_to_camera.flatten(0, 1)), _array(intrinsics.flatten(0, 1))
        scene = (_array(gaussians), cameras, lenses, width, height)
        images, count = len(cameras), gaussians.shape[1]
        splats, boxes = np.zeros((images, count), SPLAT), np.zeros((images, count, 4), np.int32)
        in_threads(project, images * count, *scene, blur, splats, boxes)

        order = torch.from_numpy(splats["depth"]).argsort(dim=-1, stable=True).numpy()
        dealt = deal(boxes, order, width, height)
        blended, light = np.zeros((images, height, width, 4)), np.ones((images, height, width))
        last = np.full((images, height, width), -1, np.int32)
        tiled = (splats, dealt.starts, dealt.members, rectangles(width, height))
        in_threads(blend, len(dealt.starts) - 1, *tiled, blended, light, last)

        ctx.scene, ctx.dealt, ctx.tiled = (*scene, splats), dealt, (*tiled, light, last)
        return (
            torch.from_numpy(blended).unflatten(0, views).to(gaussians.dtype),
            torch.from_numpy(1 - light)[..., None].unflatten(0, views).to(gaussians.dtype),
        )

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_blended: Tensor, d_alpha: Tensor
    ) -> tuple[Tensor, None, None, None, None, None]:
        d_pictures = _array(d_blended.flatten(0, 1)), -_array(d_alpha[..., 0].flatten(0, 1))
        d_members = np.zeros(len(ctx.dealt.members), SPLAT)
        in_threads(blend_backward, len(ctx.dealt.starts) - 1, *ctx.tiled, *d_pictures, d_members)
        d_splats = gather(ctx.dealt, d_members)
        gaussians = ctx.scene[0]
        d_gaussians = np.zeros_like(gaussians)
        items = gaussians.shape[0] * gaussians.shape[1]
        in_threads(project_backward, items, *ctx.scene, d_splats, d_gaussians)
        return torch.from_numpy(d_gaussians).to(d_blended.dtype), None, None, None, None, None


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().contiguous().numpy()
