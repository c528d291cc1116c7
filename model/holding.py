"""Whether what drags move is held together, as the one rigid body that a part is, and doing so.

Drags of several parts have no motion in common. From `SURE` drags on that shows, as whatever motion
is found misses their ends; fewer can nearly always be obeyed, and so the click-to-part network is
asked whether they start on one part.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from model.click_to_part import ClickToPartNet
from model.part_gaussians import part_likelihood
from model.pulls import pulls
from model.rendering import render
from model.rigid_part import RigidPart, moved_rigidly
from model.views import Views

Rigid = Literal["auto", "always", "never"]

SURE = 5  # drags that tell by themselves whether they are of one part
SAME = 0.5  # how likely each of two starts is of the other's part, the mean of both, if it is one


def should_hold(
    rigid: Rigid, views: Views, starts: Float[np.ndarray, "D 2"], parts: ClickToPartNet | None
) -> bool:
    """Whether what drags move is held together; never where there are none.

    Args:
        rigid: auto: where they seem to be of one part.
        views: what the network was shown, of which the first is dragged in; a batch of one.
        starts: (x, y) of the drags, as fractions of the picture.
        parts: asked whether a few drags are of one part. Without, a few are taken to be of several.
    """
    count = len(starts)
    if rigid == "never" or count == 0:
        return False
    if rigid == "always" or count == 1 or count >= SURE:
        return True
    return parts is not None and of_one_part(parts, views.pictures[:, 0], starts)


@torch.no_grad()
def of_one_part(
    network: ClickToPartNet, picture: Float[Tensor, "1 3 S S"], starts: Float[np.ndarray, "D 2"]
) -> bool:
    """Whether these starts (x, y, as fractions of the picture) are of one part: each two of them,
    and each of a part at all."""
    size, count = picture.shape[-1], len(starts)
    clicks = torch.from_numpy(starts).float().to(picture.device)
    likely = network(picture.expand(count, -1, -1, -1), clicks[:, None]).sigmoid()
    column, row = (clicks * size).long().clamp(0, size - 1).unbind(-1)
    each_of_other = likely[:, row, column]
    return bool(((each_of_other + each_of_other.T) / 2 > SAME).all())


def hold_together(
    before: Float[Tensor, "N 14"],
    after: Float[Tensor, "N 14"],
    views: Views,
    starts: Float[np.ndarray, "D 2"],
    ends: Float[np.ndarray, "D 2"],
    layers: int,
    parts: ClickToPartNet | None,
) -> tuple[Float[Tensor, "N 14"], RigidPart | None]:
    """Gaussians after drags, of which the part that moved, if one did, is as before, moved as it
    moves; and that part.

    Args:
        before, after: the same Gaussians: of each view, of each layer, row by row.
        views: what they were made of; a batch of one.
        starts, ends: (x, y) of true drags, as fractions of the first view's picture.
        layers: of the Gaussians.
        parts: says what is of the part; without, the Gaussians alone do.
    """
    drawn = drawn_depth(before, views)
    drags = pulls(before, views, drawn, starts, ends, layers)
    likely = None
    if parts is not None:
        likely = part_likelihood(parts, before, views, drawn, drags, layers)
    return moved_rigidly(before, after, drags, likely)


def drawn_depth(gaussians: Float[Tensor, "N 14"], views: Views) -> Float[Tensor, "V S S"]:
    """Expected depth of Gaussians in each view that is present, 0 where there is nothing.

    Args:
        gaussians: as in `splatter.gaussians_of_splatter`.
        views: a batch of one.
    """
    size, present = views.pictures.shape[-1], views.present[0]
    depth = gaussians.new_zeros(len(present), size, size)
    cameras, lens = views.camera_to_world[:, present], views.intrinsics[:, None]
    depth[present] = render(gaussians[None], cameras, lens, size, size).depth[0, :, 0]
    return depth
