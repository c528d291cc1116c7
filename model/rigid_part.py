"""A dragged part as the rigid body that it is.

Where a network is not sure how far a part goes, it takes the mean of what it holds possible: a
blur. The Gaussians of one whose splats follow what they show say where each of them went, though;
so the part's one rigid motion can be found, and the part be moved by it as it was seen, sharp. The
drags say exactly what a blur says roughly: the motion takes their points to where they end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from model.pulls import Pulls, missed_share, pulled_motion
from model.splatter import moved_by, turned

STIRRED = 0.01  # world units: what goes less far stays
CLOSE = 0.05  # world units: what misses its place by as much counts 1/e
ROUNDS = 5
MISSED = 0.2  # of the way of drags: a motion that misses their ends by more is not the part's
FEWEST = 16  # Gaussians, opaque ones, that make a part
UNLIKELY = 0.2  # to be of the part: what is hardly does not go along
LIKELY = 0.5  # what is, does, ..
OF_ITS_WAY = 0.2  # .. if the network, too, moved it that share of its way, or more


class RigidPart(NamedTuple):
    """The part that moved.

    Attributes:
        motion: x -> R x + t in the world: R's unit quaternion w, x, y, z, then t.
        members: which Gaussians are of it.
    """

    motion: Float[Tensor, "7"]
    members: Bool[Tensor, "N"]


def find_rigid_part(
    before: Float[Tensor, "N 14"],
    after: Float[Tensor, "N 14"],
    drags: Pulls | None = None,
    likely: Float[Tensor, "N"] | None = None,
) -> RigidPart | None:
    """The rigid motion that most of what moved has made (Kabsch 1976, each round weighted by how
    well the last one fits), corrected by drags, and what goes along: all that comes nearer to where
    it would be then than to where it was. None if hardly anything moved, or if no one motion takes
    the drags to their ends: a wrong one, sharp, is worse than a blur.

    Args:
        before, after: the same Gaussians, as in `splatter.gaussians_of_splatter`.
        drags: true ones.
        likely: how likely each is to be of the part, NaN where that is not known: what else is
            known of it (`part_gaussians`).
    """
    stirred = (after[:, :3] - before[:, :3]).norm(dim=-1) > STIRRED
    here, there = before[stirred, :3].double(), after[stirred, :3].double()
    distance, opaque = (there - here).norm(dim=-1), before[stirred, 3].double()
    if float(opaque.sum()) < FEWEST:
        return None
    weight = opaque * distance.square()
    for _ in range(ROUNDS):
        motion = _fitted(here, there, weight)
        missed = (_moved(here, motion) - there).norm(dim=-1)
        weight = opaque * distance * (-(missed / CLOSE).square()).exp()
        if float(weight.sum()) == 0:
            return None
    weight = opaque * distance * (missed < distance)
    if drags is not None and len(drags.point) and float(weight.sum()) > 0:
        motion, drags = pulled_motion(motion, here, there, weight, drags)
        if missed_share(motion, drags) > MISSED:
            return None
    members = _members(before[:, :3].double(), after[:, :3].double(), motion, likely)
    return RigidPart(motion.to(before.dtype), members)


def _members(
    here: Float[Tensor, "N 3"],
    there: Float[Tensor, "N 3"],
    motion: Float[Tensor, "7"],
    likely: Float[Tensor, "N"] | None,
) -> Bool[Tensor, "N"]:
    """What a motion takes nearer to where it went than it was, and what else is known to be of the
    part."""
    distance, moved = (there - here).norm(dim=-1), _moved(here, motion)
    members = ((moved - there).norm(dim=-1) < distance) & (distance > STIRRED)
    if likely is None:
        return members
    way = (moved - here).norm(dim=-1)
    members &= ~(likely <= UNLIKELY)
    return members | ((likely > LIKELY) & (distance > OF_ITS_WAY * way))


def moved_rigidly(
    before: Float[Tensor, "N 14"],
    after: Float[Tensor, "N 14"],
    drags: Pulls | None = None,
    likely: Float[Tensor, "N"] | None = None,
) -> tuple[Float[Tensor, "N 14"], RigidPart | None]:
    """Gaussians after a drag, of which those of the part that moved, if any did, are as before,
    moved as it moves; and that part."""
    part = find_rigid_part(before, after, drags, likely)
    if part is None:
        return after, None
    moved = moved_by(before[None], part.motion[None])[0]
    return torch.where(part.members[:, None], moved, after), part


def _fitted(
    here: Float[Tensor, "N 3"], there: Float[Tensor, "N 3"], weight: Float[Tensor, "N"]
) -> Float[Tensor, "7"]:
    """The rigid motion that brings points closest to others: the least weighted squares."""
    weight = (weight / weight.sum())[:, None]
    centre, goal = (weight * here).sum(dim=0), (weight * there).sum(dim=0)
    covariance = (weight * (here - centre)).T @ (there - goal)
    left, _, right = np.linalg.svd(covariance.cpu().numpy())
    mirror = np.diag([1.0, 1.0, np.linalg.det(right.T @ left.T)])
    x, y, z, w = Rotation.from_matrix(right.T @ mirror @ left.T).as_quat(canonical=True)
    turn = here.new_tensor([w, x, y, z])
    shift = goal - turned(centre[None, None], turn[None, None])[0, 0]
    return torch.cat([turn, shift])


def _moved(points: Float[Tensor, "N 3"], motion: Float[Tensor, "7"]) -> Float[Tensor, "N 3"]:
    return turned(points[None], motion[None, None, :4])[0] + motion[4:]
