"""The published augmentations (LGM, PartRM): they make rendered views as inconsistent as generated
ones are, and drags as rough as a hand's.

View 0 is the picture that was taken: it is never changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How often and how strongly samples are changed.

    Attributes:
        grid_distortion: probability that the views but the first are warped.
        distortion_strength: within how many cells of the warped grid its lines move, half of them
            to either side; below 1, so that none overtakes another.
        camera_jitter: probability that the cameras of these views are told wrong.
        jitter_strength: half turns by which they may be wrong around their upright axis; it is
            half as many around the horizontal one.
        drag_noise: probability that the ends of the drags are noisy.
        noise_strength: standard deviation of that noise, as a fraction of the picture.
        view_dropout: probability that views are missing: from one to all but view 0.
    """

    grid_distortion: float = 0.5
    distortion_strength: float = 0.5
    camera_jitter: float = 0.5
    jitter_strength: float = 0.1
    drag_noise: float = 0.5
    noise_strength: float = 5 / 512
    view_dropout: float = 0.5

    @classmethod
    def none(cls) -> Augmentation:
        return cls(grid_distortion=0, camera_jitter=0, drag_noise=0, view_dropout=0)


def still_warp(views: int, size: int) -> Float[np.ndarray, "V 2 S"]:
    """The warp that changes nothing: each pixel column's x and row's y, in [-1, 1]."""
    centres = (2 * np.arange(size) + 1) / size - 1
    return np.broadcast_to(centres, (views, 2, size)).astype(np.float32)


def grid_distortion(
    views: int, size: int, strength: float, rng: np.random.Generator
) -> Float[np.ndarray, "V 2 S"]:
    """Warps that move the lines of a grid of 7 to 15 cells a side, and all between them linearly.

    Returns:
        for each view, where the columns (x) and rows (y) of the warped picture are taken from, in
        [-1, 1] over the picture.
    """
    lines = rng.integers(8, 17)
    even = np.linspace(-1, 1, lines)
    moved = even + strength * (2 / (lines - 1)) * rng.uniform(-0.5, 0.5, (views, 2, lines))
    moved[..., 0], moved[..., -1] = -1, 1
    centres = still_warp(1, size)[0, 0]
    warps = [[np.interp(centres, axis, even) for axis in view] for view in moved]
    return np.array(warps, np.float32)


def warped(
    pictures: Float[Tensor, "B V C S S"], warp: Float[Tensor, "B V 2 S"]
) -> Float[Tensor, "B V C S S"]:
    """Pictures resampled where a warp says."""
    x, y = warp.unbind(dim=2)
    grid = torch.stack(torch.broadcast_tensors(x[..., None, :], y[..., :, None]), dim=-1)
    sampled = F.grid_sample(
        pictures.flatten(0, 1), grid.flatten(0, 1), padding_mode="border", align_corners=False
    )
    return sampled.view_as(pictures)


def camera_jitter(
    camera_to_world: Float[np.ndarray, "V 4 4"], strength: float, rng: np.random.Generator
) -> Float[np.ndarray, "V 4 4"]:
    """Cameras turned around the world's origin, each about its own upright and horizontal axes, by
    up to `strength` and half of that, in half turns."""
    share = np.pi * strength * rng.uniform(-1, 1, (len(camera_to_world), 2)) * [1, 0.5]
    right, down = camera_to_world[:, :3, 0], camera_to_world[:, :3, 1]
    turn = Rotation.from_rotvec(down * share[:, :1]) * Rotation.from_rotvec(right * share[:, 1:])
    jittered = camera_to_world.copy()
    jittered[:, :3] = turn.as_matrix() @ camera_to_world[:, :3]
    return jittered
