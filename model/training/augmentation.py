"""The published augmentations (LGM, PartRM), which make rendered views as inconsistent as generated
ones are, and drags as rough as a hand's; and ours, which make more objects of few.

View 0 is the picture that was taken: of the published ones, only those of drags concern it.
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
        still: probability that a sample to be moved is not: no drags, and the source state is the
            target. So the network stays one that can reconstruct, too.
        single: probability that a sample to be moved has one drag alone, as most people give, and
            not up to as many as there may be.
        view_dropout: probability that views are missing: from one to all but view 0.
        mirror: probability that left and right are exchanged, where the rig allows it (`symmetry`).
        turn: probability that another view is taken for view 0, where the rig allows it and that
            view shows what moves.
        tint: probability that all pictures of a sample are in other colours.
        tint_strength: of changes of brightness, contrast and saturation: factors of 1 plus and
            minus as much.
        tint_hue: of hue, in turns.
    """

    grid_distortion: float = 0.5
    distortion_strength: float = 0.5
    camera_jitter: float = 0.5
    jitter_strength: float = 0.1
    drag_noise: float = 0.5
    noise_strength: float = 5 / 512
    still: float = 0.15
    single: float = 0.25
    view_dropout: float = 0.5
    mirror: float = 0.5
    turn: float = 0.25
    tint: float = 0.5
    tint_strength: float = 0.3
    tint_hue: float = 0.05

    @classmethod
    def of(cls, chance: float) -> Augmentation:
        """Every change of a sample that moves with this probability: 0 for none."""
        return cls(
            grid_distortion=chance,
            camera_jitter=chance,
            drag_noise=chance,
            still=0,
            single=chance,
            view_dropout=chance,
            mirror=chance,
            turn=chance,
            tint=chance,
        )


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


def colour_change(
    strength: float, hue: float, rng: np.random.Generator
) -> Float[np.ndarray, "3 4"]:
    """An affine map of sRGB colours in [0, 1] to others: factors of brightness, contrast and
    saturation of 1 plus and minus `strength`, and a hue turned by up to `hue` turns."""
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    turn = 2 * np.pi * hue * rng.uniform(-1, 1)
    turned = Rotation.from_rotvec(turn * np.ones(3) / np.sqrt(3)).as_matrix()  # around grey
    mixing = contrast * (saturation * turned + (1 - saturation) / 3)
    grey = np.full(3, 0.5)
    change = brightness * np.column_stack([mixing, grey - mixing @ grey])
    return change.astype(np.float32)


def tinted(
    pictures: Float[Tensor, "B V 3 S S"],
    alpha: Float[Tensor, "B V 1 S S"],
    change: Float[Tensor, "B 3 4"],
) -> Float[Tensor, "B V 3 S S"]:
    """Pictures on white whose objects are in other colours, before the same white."""
    object_colours = pictures - (1 - alpha)  # times alpha
    mixed = torch.einsum("bij,bvjhw->bvihw", change[..., :3], object_colours)
    shift = change[:, None, :, 3, None, None] * alpha
    return (mixed + shift + (1 - alpha)).clamp(0, 1)
