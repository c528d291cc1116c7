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
    """

    views: tuple[int, ...]
    mirrored: bool


def sides(camera_to_world: Float[np.ndarray, "V 4 4"]) -> list[Side]:
    """All ways to look at an object that leave the cameras where they are; the first leaves the
    pictures there, too.

    Args:
        camera_to_world: OpenCV matrices of cameras that look at the world's upright axis, with the
            optical axis in the middle of their pictures.
    """
    azimuth = np.arctan2(camera_to_world[:, 1, 3], camera_to_world[:, 0, 3])
    found = []
    for mirrored in (False, True):
        shown = _mirrored(camera_to_world, azimuth[0]) if mirrored else camera_to_world
        for turn in azimuth - azimuth[0]:
            turned = shown.copy()
            turned[:, :3] = Rotation.from_rotvec([0, 0, turn]).as_matrix() @ shown[:, :3]
            distance = np.abs(turned[:, None] - camera_to_world).max(axis=(2, 3))
            views = distance.argmin(axis=1)
            if distance.min(axis=1).max() < 1e-4 and len(set(views)) == len(views):
                found.append(Side(tuple(int(view) for view in views), mirrored))
    return found


def _mirrored(
    camera_to_world: Float[np.ndarray, "V 4 4"], azimuth: float
) -> Float[np.ndarray, "V 4 4"]:
    """The cameras in a mirror that stands upright along this azimuth. They see what the cameras
    themselves do, left and right exchanged."""
    across = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    mirror = np.eye(4)
    mirror[:3, :3] -= 2 * np.outer(across, across)
    return mirror @ camera_to_world @ np.diag([-1.0, 1.0, 1.0, 1.0])
