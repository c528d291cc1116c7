"""Which Gaussians are of the part that drags start on, as the click-to-part network has it.

PartRM moves what it is sure of, and blurs the rest. The click-to-part network knows nothing of
where things go, but sees where a part ends; and it can be asked in every view that shows where a
drag starts.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from model.click_to_part import ClickToPartNet
from model.pulls import Pulls
from model.views import NEAR, Views, projected

SHOWS = 0.05  # world units: a view whose surface is nearer to a point than this shows it


@torch.no_grad()
def part_likelihood(
    network: ClickToPartNet,
    before: Float[Tensor, "N 14"],
    views: Views,
    drawn: Float[Tensor, "V S S"],
    drags: Pulls,
    layers: int,
) -> Float[Tensor, "N"]:
    """How likely Gaussians are to be of the part that drags start on: what the network says, asked
    in each view that shows where drags start, of the pixels that they belong to; of those of other
    views, where they show in these. NaN where no view tells.

    Args:
        network: takes pictures of the views' size.
        before: Gaussians before the drags: of each view, of each layer, row by row.
        views: what they were made of; a batch of one.
        drawn: their depth in each view that is present, 0 where there is nothing.
        drags: true ones, with the points that they start on.
        layers: of the Gaussians.
    """
    size, count = views.pictures.shape[-1], views.pictures.shape[1]
    starts = before.new_tensor(drags.point)
    of_pixels = before.new_full((count, size, size), torch.nan)
    asked = before.new_zeros(count)
    for view in range(count):
        pixel, shown = _shown(starts, view, drawn, views)
        if views.present[0, view] and shown.any():
            clicks = (pixel[shown] + 0.5) / size
            of_pixels[view] = network(views.pictures[:, view], clicks[None])[0].sigmoid()
            asked[view] = len(clicks)
    own = _of_splats(of_pixels, len(before) // count, layers)
    said, weight = torch.zeros_like(own), torch.zeros_like(own)
    for view in asked.nonzero().flatten().tolist():
        pixel, shown = _shown(before[:, :3], view, drawn, views)
        column, row = pixel.clamp(0, size - 1).long().unbind(-1)
        said += asked[view] * shown * of_pixels[view, row, column]
        weight += asked[view] * shown
    return torch.where(own.isnan(), said / weight, own)


def _shown(
    points: Float[Tensor, "K 3"], view: int, drawn: Float[Tensor, "V S S"], views: Views
) -> tuple[Float[Tensor, "K 2"], Bool[Tensor, "K"]]:
    """The pixel (column, row) of each point in a view, and whether the surface there is near."""
    place, z = projected(points, views.camera_to_world[0, view], views.intrinsics[0])
    pixel = place.floor()
    size = drawn.shape[-1]
    inside = (z > NEAR) & (pixel >= 0).all(dim=-1) & (pixel < size).all(dim=-1)
    i, j = pixel.clamp(0, size - 1).long().unbind(-1)
    return pixel, inside & ((drawn[view, j, i] - z).abs() < SHOWS)


def _of_splats(
    of_pixels: Float[Tensor, "V S S"], splats: int, layers: int
) -> Float[Tensor, "V*splats"]:
    """What is so of pixels, of each view's splats, which may be fewer a side."""
    stride = of_pixels.shape[-1] // math.isqrt(splats // layers)
    return of_pixels[:, ::stride, ::stride].flatten(1).repeat(1, layers).flatten()
