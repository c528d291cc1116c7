"""Camera conventions and the two rigs: the one home both halves of the project import.

World: right-handed, Z up. Cameras: OpenCV camera-to-world matrices (x right, y down, z forward),
intrinsics in pixels, pixel centres at half-integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

RigName = Literal["ring", "dome", "partdrag4d"]
VIEWS = 12
ELEVATION = math.radians(38.7)


@dataclass(frozen=True)
class Rig:
    """Cameras around the world's origin.

    Attributes:
        name: `ring`, `dome` or `partdrag4d`.
        camera_to_world: [V, 4, 4]; view 0 looks at the object's front.
        fov: field of view in radians, the same vertically and horizontally.
        input_views: the four views a network is given.
    """

    name: RigName
    camera_to_world: Float[np.ndarray, "V 4 4"]
    fov: float
    input_views: tuple[int, int, int, int]

    def intrinsics(self, resolution: int) -> Float[np.ndarray, "3 3"]:
        """The pinhole matrix of square pictures of `resolution` pixels."""
        focal = resolution / (2 * math.tan(self.fov / 2))
        return np.array([[focal, 0, resolution / 2], [0, focal, resolution / 2], [0, 0, 1]])


def look_at(
    eye: Float[np.ndarray, "*batch 3"], target: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "*batch 4 4"]:
    """OpenCV camera-to-world matrices of cameras at `eye` that look at `target`, Z upwards."""
    forward = target - eye
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right, axis=-1, keepdims=True)
    pose = np.zeros((*eye.shape[:-1], 4, 4))
    pose[..., :3, 0] = right
    pose[..., :3, 1] = np.cross(forward, right)
    pose[..., :3, 2] = forward
    pose[..., :3, 3] = eye
    pose[..., 3, 3] = 1.0
    return pose


def _sphere(
    name: RigName,
    azimuth: Float[np.ndarray, "V"],
    elevation: Float[np.ndarray, "V"],
    input_views: tuple[int, int, int, int],
) -> Rig:
    """Cameras in these directions, in radians, azimuths from the object's front: the -x side, where
    PartNet's base joint turns it. The unit sphere fills their frames with a margin of 5 %."""
    half_fov = math.atan(16 / 35)
    distance = 1 / math.sin(math.atan(0.95 * math.tan(half_fov)))
    eye = distance * np.stack(
        [
            -np.cos(elevation) * np.cos(azimuth),
            -np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        axis=-1,
    )
    return Rig(name, look_at(eye, np.zeros(3)), 2 * half_fov, input_views)


def _ring() -> Rig:
    """Twelve views 30 degrees apart, all as high."""
    azimuth = 2 * math.pi * np.arange(VIEWS) / VIEWS
    return _sphere("ring", azimuth, np.full(VIEWS, ELEVATION), (0, 3, 6, 9))


def _dome() -> Rig:
    """The input views of `ring`; four from lower down, eight from higher up."""
    quarters = np.arange(4) * math.pi / 2
    azimuth = np.concatenate(
        [quarters, quarters + math.pi / 4, np.arange(8) * math.pi / 4 + math.pi / 8]
    )
    elevation = np.repeat([ELEVATION, math.radians(15), math.radians(55)], [4, 4, 8])
    return _sphere("dome", azimuth, elevation, (0, 1, 2, 3))


def _partdrag4d() -> Rig:
    """The published rig, to the number; its view 11 repeats view 0.

    Its distance of 2.4 is from the origin, its height 1.5: 1.8735 is left in the plane.
    """
    azimuth = 2 * math.pi * np.arange(VIEWS) / 11
    height, distance = 1.5, 2.4
    radius = math.sqrt(distance**2 - height**2)
    eye = np.stack(
        [radius * np.cos(azimuth), radius * np.sin(azimuth), np.full(VIEWS, height)], axis=-1
    )
    target = np.array([-0.0016885, -0.0071193, -0.3899882])
    return Rig("partdrag4d", look_at(eye, target), 2 * math.atan(18 / 50), (0, 1, 2, 3))


def rig(name: RigName) -> Rig:
    """The rig of that name: `ring` fills the frame; `dome` teaches what its input views look like
    from lower and higher, too; `partdrag4d` compares with the paper."""
    if name == "ring":
        return _ring()
    if name == "dome":
        return _dome()
    if name == "partdrag4d":
        return _partdrag4d()
    raise ValueError(f"no rig is called {name!r}: ring, dome, partdrag4d")


def project(
    points: Float[np.ndarray, "*batch n 3"],
    camera_to_world: Float[np.ndarray, "*batch 4 4"],
    intrinsics: Float[np.ndarray, "3 3"],
) -> tuple[Float[np.ndarray, "*batch n 2"], Float[np.ndarray, "*batch n"]]:
    """Project world points.

    Returns:
        Pixel coordinates (x, y), pixel centres at half-integers, and depth along the optical axis
        in world units (negative behind the camera, where the pixels mean nothing).
    """
    rotation = camera_to_world[..., :3, :3]
    local = (points - camera_to_world[..., None, :3, 3]) @ rotation
    depth = local[..., 2]
    homogeneous = local @ intrinsics.T
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = homogeneous[..., :2] / homogeneous[..., 2:]
    return pixels, depth


def unproject(
    pixels: Float[np.ndarray, "*batch n 2"],
    depth: Float[np.ndarray, "*batch n"],
    camera_to_world: Float[np.ndarray, "*batch 4 4"],
    intrinsics: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "*batch n 3"]:
    """World points of pixels at a depth: the inverse of `project`."""
    homogeneous = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1)
    local = homogeneous @ np.linalg.inv(intrinsics).T * depth[..., None]
    return (
        local @ np.swapaxes(camera_to_world[..., :3, :3], -1, -2)
        + camera_to_world[..., None, :3, 3]
    )
