"""Looking at an object from another side, or in a mirror: new samples that no one has to render.

Where the cameras of a rig stand alike all around the object, as those of `ring` do, another view
can be taken for view 0, and pictures can be flipped: the cameras stay the same, and only the
pictures change places.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


class Side(NamedTuple):
    """A way to look at an object.

    Attributes:
        views: for each camera, the view whose picture it is given.
        mirrored: whether these pictures are flipped, left to right.
        world: what that does to the world that the cameras see, row by row: a turn about its
            upright axis, perhaps after a mirror.
    """

    views: tuple[int, ...]
    mirrored: bool
    world: tuple[tuple[float, ...], ...]

    def seen(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Where points of the world are for these cameras."""
        return points @ np.array(self.world).T


def sides(camera_to_world: Float[np.ndarray, "V 4 4"]) -> list[Side]:
    """All ways to look at an object that leave the cameras where they are; the first leaves the
    pictures there, too.

    Args:
        camera_to_world: OpenCV matrices of cameras that look at the world's upright axis, with the
            optical axis in the middle of their pictures.
    """
    azimuth = np.arctan2(camera_to_world[:, 1, 3], camera_to_world[:, 0, 3])
    mirror = _mirror(azimuth[0])
    found = []
    for mirrored in (False, True):
        shown, world = camera_to_world, np.eye(3)
        if mirrored:
            # What a camera sees in a mirror, one in its place behind the mirror sees, left and
            # right exchanged.
            shown, world = shown @ np.diag([-1.0, 1.0, 1.0, 1.0]), mirror
            shown[:, :3] = mirror @ shown[:, :3]
        for turn in azimuth - azimuth[0]:
            turned = shown.copy()
            rotation = Rotation.from_rotvec([0, 0, turn]).as_matrix()
            turned[:, :3] = rotation @ shown[:, :3]
            distance = np.abs(turned[:, None] - camera_to_world).max(axis=(2, 3))
            views = distance.argmin(axis=1)
            if distance.min(axis=1).max() < 1e-4 and len(set(views)) == len(views):
                rows = tuple(map(tuple, (world @ rotation.T).tolist()))
                found.append(Side(tuple(int(view) for view in views), mirrored, rows))
    return found


def _mirror(azimuth: float) -> Float[np.ndarray, "3 3"]:
    """The reflection in a mirror that stands upright along this azimuth."""
    across = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    return np.eye(3) - 2 * np.outer(across, across)
