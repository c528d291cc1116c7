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
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from datagen.cameras import project, unproject
from model.rendering import render
from model.splatter import moved_by, turned
from model.views import Views

STIRRED = 0.01  # world units: what goes less far stays
CLOSE = 0.05  # world units: what misses its place by as much counts 1/e
ROUNDS = 5
FEWEST = 16  # Gaussians, opaque ones, that make a part
MOST = 400  # Gaussians, those that tell most, that are weighed against drags
ROUGH = 0.3  # world units: how far off a Gaussian may be, for one ..
EXACT = 0.01  # .. of the picture that a drag's end is missed by
SCREW = 0.005  # radians times world units along their axis: of hinges and sliders one is 0
ALONG = 3  # times as badly as any other may a joint fit that goes along an axis of the world
NEAREST = 0.1  # world units before the camera: what is nearer is not where a drag starts


class RigidPart(NamedTuple):
    """The part that moved.

    Attributes:
        motion: x -> R x + t in the world: R's unit quaternion w, x, y, z, then t.
        members: which Gaussians are of it.
    """

    motion: Float[Tensor, "7"]
    members: Bool[Tensor, "N"]


class Pulls(NamedTuple):
    """Drags that are true of the part: where points of it are, and where a view has them after.

    Attributes:
        point: in the world, before.
        end: in pixels (x, y).
        camera_to_world, intrinsics: of the view.
        size: of its picture, in pixels.
    """

    point: Float[np.ndarray, "D 3"]
    end: Float[np.ndarray, "D 2"]
    camera_to_world: Float[np.ndarray, "4 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    size: int


def pulls(
    before: Float[Tensor, "N 14"],
    views: Views,
    start: Float[np.ndarray, "D 2"],
    end: Float[np.ndarray, "D 2"],
) -> Pulls:
    """Drags of view 0, with the points that they start on: where Gaussians show the surface.

    Args:
        before: Gaussians before the drags.
        views: a batch of one.
        start, end: of drags, as fractions of the picture. Those that start on nothing are left out.
    """
    size = views.pictures.shape[-1]
    seen = render(before[None], views.camera_to_world[:, :1], views.intrinsics[:, None], size, size)
    camera = views.camera_to_world[0, 0].double().cpu().numpy()
    lens = views.intrinsics[0].double().cpu().numpy()
    column, row = np.clip(np.floor(start * size).astype(int), 0, size - 1).T
    depth = seen.depth[0, 0, 0].double().cpu().numpy()[row, column]
    there = depth > NEAREST
    point = unproject(size * start[there].astype(float), depth[there], camera, lens)
    return Pulls(point, size * end[there].astype(float), camera, lens, size)


def find_rigid_part(
    before: Float[Tensor, "N 14"], after: Float[Tensor, "N 14"], drags: Pulls | None = None
) -> RigidPart | None:
    """The rigid motion that most of what moved has made (Kabsch 1976, each round weighted by how
    well the last one fits), corrected by drags, and what goes along: all that comes nearer to where
    it would be then than to where it was. None if hardly anything moved.

    Args:
        before, after: the same Gaussians, as in `splatter.gaussians_of_splatter`.
        drags: true ones.
    """
    here, there = before[:, :3].double(), after[:, :3].double()
    distance = (there - here).norm(dim=-1)
    opaque = before[:, 3].double() * (distance > STIRRED)
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
        motion = _pulled(motion, here, there, weight, drags)
        missed = (_moved(here, motion) - there).norm(dim=-1)
    members = (missed < distance) & (distance > STIRRED)
    return RigidPart(motion.to(before.dtype), members)


def held_together(
    before: Float[Tensor, "N 14"], after: Float[Tensor, "N 14"], drags: Pulls | None = None
) -> tuple[Float[Tensor, "N 14"], RigidPart | None]:
    """Gaussians after a drag, of which those of the part that moved, if any did, are as before,
    moved as it moves; and that part."""
    part = find_rigid_part(before, after, drags)
    if part is None:
        return after, None
    moved = moved_by(before[None], part.motion[None])[0]
    return torch.where(part.members[:, None], moved, after), part


def _pulled(
    motion: Float[Tensor, "7"],
    here: Float[Tensor, "N 3"],
    there: Float[Tensor, "N 3"],
    weight: Float[Tensor, "N"],
    drags: Pulls,
) -> Float[Tensor, "7"]:
    """The motion of a hinge or a slider near this one that brings the points of drags to their
    ends, and points, which together count as much as one, near to where they went. Joints of most
    things go along, or about, an axis of the world in which they stand upright: one that does is
    taken unless it fits far worse than any other."""
    largest, chosen = weight.topk(min(MOST, len(weight)))
    x, y = here[chosen].cpu().numpy(), there[chosen].cpu().numpy()
    share = (largest / largest.sum()).cpu().numpy()
    centre = share @ x
    w, *axis = motion.tolist()[:4]
    turn = Rotation.from_quat([*axis, w])
    shift = turn.apply(centre) + motion[4:].cpu().numpy() - centre
    start = np.concatenate([turn.as_rotvec(), shift])

    def errors(change: Float[np.ndarray, "6"]) -> Float[np.ndarray, "errors"]:
        matrix = Rotation.from_rotvec(change[:3]).as_matrix()

        def moved(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
            return (points - centre) @ matrix.T + centre + change[3:]

        rough = (moved(x) - y) * np.sqrt(share)[:, None] / ROUGH
        pixels, _ = project(moved(drags.point), drags.camera_to_world, drags.intrinsics)
        exact = (pixels - drags.end) / drags.size / EXACT
        screw = change[:3] @ change[3:] / SCREW
        return np.concatenate([rough.ravel(), exact.ravel(), [screw]])

    def best(free: Float[np.ndarray, "6 f"]) -> tuple[float, Float[np.ndarray, "6"]]:
        """The change that misses least of those that these columns span, and by how much."""
        found = least_squares(
            lambda part: errors(free @ part), free.T @ start, loss="soft_l1", max_nfev=60
        )
        return found.cost, free @ found.x

    turns, shifts = np.eye(6)[:, :3], np.eye(6)[:, 3:]
    hinges = [np.column_stack([turns[:, i], np.delete(shifts, i, axis=1)]) for i in range(3)]
    along = min(map(best, [*hinges, *shifts.T[..., None]]), key=lambda fit: fit[0])
    other = best(np.eye(6))
    _, found = along if along[0] <= ALONG * other[0] else other
    turn = Rotation.from_rotvec(found[:3])
    *axis, w = turn.as_quat(canonical=True)
    return here.new_tensor([w, *axis, *(centre + found[3:] - turn.apply(centre))])


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
