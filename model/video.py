"""Videos of Gaussians: a camera on its way around them, and writing what it sees."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from model.rendering import render

FRAMES, RATE = 72, 24  # a turn in three seconds


def turntable_cameras(
    camera_to_world: Float[Tensor, "4 4"], frames: int = FRAMES
) -> Float[Tensor, "{frames} 4 4"]:
    """One turn of a camera around the world's vertical axis, evenly and without repeating the first
    frame, at the height, distance and inclination it has; so on a rig's circle if it is one of its.

    Args:
        camera_to_world: OpenCV matrix of the first frame's camera, in a world whose Z is up.
        frames: how many.
    """
    angle = 2 * math.pi * torch.arange(frames).to(camera_to_world) / frames
    turn = torch.eye(4).to(camera_to_world).repeat(frames, 1, 1)
    turn[:, 0, 0] = turn[:, 1, 1] = angle.cos()
    turn[:, 1, 0], turn[:, 0, 1] = angle.sin(), -angle.sin()
    return turn @ camera_to_world


def turntable(
    gaussians: Float[Tensor, "batch n 14"],
    camera_to_world: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "3 3"],
    size: int,
    frames: int = FRAMES,
) -> UInt8[np.ndarray, "batch frames {size} {size} 3"]:
    """Pictures on white, sRGB, of a camera's turn around each of these objects.

    Args:
        gaussians: as `rendering.render` takes them.
        camera_to_world: where the turn begins.
        intrinsics: in pixels of pictures of this size.
        size: pixels along a side.
        frames: how many pictures.
    """
    cameras = turntable_cameras(camera_to_world, frames).expand(len(gaussians), -1, -1, -1)
    colour = render(gaussians, cameras, intrinsics, size, size).colour
    return (255 * colour.clamp(0, 1)).round().byte().movedim(2, -1).cpu().numpy()


def check_video() -> None:
    """Refuse early where videos cannot be written.

    Raises:
        ImportError: says what to install.
    """
    if missing := [n for n in ("imageio", "imageio_ffmpeg") if not importlib.util.find_spec(n)]:
        raise ImportError(
            f"videos need {' and '.join(missing)}: pip install 'imageio[ffmpeg]', or do without"
        )


def write_video(path: Path, frames: UInt8[np.ndarray, "N H W 3"], rate: float = RATE) -> None:
    """Write an MP4 file (H.264) of sRGB pictures.

    Args:
        path: ends in .mp4.
        frames: width and height are even, as the codec wants them.
        rate: frames a second.

    Raises:
        ImportError: there is no imageio, or no ffmpeg with it.
        ValueError: a side of the pictures is odd.
    """
    check_video()
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ValueError(f"videos have even sides: {frames.shape[2]} x {frames.shape[1]} pixels")
    import imageio.v3 as imageio

    imageio.imwrite(
        path,
        frames,
        plugin="FFMPEG",
        fps=rate,
        codec="libx264",
        quality=8,
        macro_block_size=2,
    )
