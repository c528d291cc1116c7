"""Placing an object in the world that the cameras look at."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull, QhullError

from datagen.articulation import ArticulatedObject, link_poses, transform
from datagen.cameras import RigName
from datagen.surface import Surface

PARTDRAG4D_SCALE = 0.42995866893870127
PARTDRAG4D_OFFSET = (-0.0121, -0.0070, 0.0120)


def extent_points(
    obj: ArticulatedObject, surface: Surface, positions: Float[np.ndarray, "S movable"]
) -> Float[np.ndarray, "n 3"]:
    """Points in the object frame whose hull is that of the surface over all the given states."""
    poses = link_poses(obj, positions)
    placed = []
    for link in np.unique(surface.link):
        corners = np.unique(surface.triangles[surface.link == link].reshape(-1, 3), axis=0)
        with suppress(QhullError):  # a flat link has no hull: all its corners do as well
            corners = corners[ConvexHull(corners).vertices]
        placed.append(transform(poses[:, link], corners[None]).reshape(-1, 3))
    return np.concatenate(placed)


def world_from_object(rig: RigName, extent: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "4 4"]:
    """The similarity that takes the object frame to the world.

    For `ring` and `dome` it centres the extent's bounding box and scales its farthest point to
    distance 1.
    For `partdrag4d` it is the published one: axes (x, y, z) are the OBJ files' (z, x, y), which the
    base joint of every PartNet-Mobility object has turned to (-x, -y, z).
    """
    placed = np.eye(4)
    if rig == "partdrag4d":
        placed[:3, :3] = PARTDRAG4D_SCALE * np.diag([-1.0, -1.0, 1.0])
        placed[:3, 3] = PARTDRAG4D_OFFSET
        return placed
    centre = (extent.min(axis=0) + extent.max(axis=0)) / 2
    scale = 1 / np.linalg.norm(extent - centre, axis=1).max()
    placed[:3, :3] *= scale
    placed[:3, 3] = -scale * centre
    return placed


def depth_range(
    world_points: Float[np.ndarray, "n 3"], cameras: Sequence[Float[np.ndarray, "4 4"]]
) -> tuple[float, float]:
    """The nearest and farthest depth of points in any of the cameras, with a margin of 1 %."""
    depths = [(world_points - camera[:3, 3]) @ camera[:3, 2] for camera in cameras]
    near, far = float(np.min(depths)), float(np.max(depths))
    margin = 0.01 * (far - near)
    return max(near - margin, 1e-3), far + margin
