"""How long does the CPU rasterizer take for a view, and how much faster is it than the dense
reference that the tests use?

    python -m benchmarks.rasterizer

The scene is a sphere of Gaussians seen by the ring's cameras. Times are wall times, the fastest and
the median of several runs, on as many threads as torch uses; of a busy machine the fastest says
more. The reference takes memory for every Gaussian and pixel, so a small scene compares the two.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.nn.functional import normalize

from datagen.cameras import rig
from model.rendering import render
from tests.dense_rasterizer import dense_render

LIMIT_MS = 100.0
SMALL = (500, 64)


@dataclass(frozen=True)
class Args:
    """Time the rendering of Gaussians on a CPU.

    Attributes:
        gaussians: how many.
        scale: the median of their standard deviations, in radii of the sphere.
        resolution: of the pictures, in pixels.
        views: rendered together.
        runs: of which the fastest and the median are shown.
    """

    gaussians: int = 16384
    scale: float = 0.01
    resolution: int = 256
    views: int = 4
    runs: int = 15


def sphere(count: int, scale: float) -> Tensor:
    """[1, count, 14] Gaussians on the unit sphere, about half opaque."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(count, 3, generator=generator)
    return torch.cat(
        [
            normalize(torch.randn(count, 3, generator=generator), dim=-1),
            torch.rand(count, 1, generator=generator),
            scale * torch.exp(0.5 * spread),
            normalize(torch.randn(count, 4, generator=generator), dim=-1),
            torch.rand(count, 3, generator=generator),
        ],
        dim=-1,
    )[None]


def timed(draw: Callable[[Tensor], Tensor], gaussians: Tensor, runs: int) -> np.ndarray:
    """[runs, 2] milliseconds forward and backward, after one run that compiles."""
    rows = []
    for _ in range(runs + 1):
        leaf = gaussians.clone().requires_grad_()
        start = time.perf_counter()
        picture = draw(leaf)
        drawn = time.perf_counter()
        picture.backward(torch.ones_like(picture))
        rows.append((drawn - start, time.perf_counter() - drawn))
    return np.array(rows[1:]) * 1e3


def main(args: Args) -> None:
    print(
        f"{args.gaussians} Gaussians, {args.views} views of {args.resolution}², "
        f"{torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"
    )
    ring = rig("ring")
    poses = torch.from_numpy(ring.camera_to_world[: args.views])[None]

    def draw(size: int, poses: Tensor, gaussians: Tensor) -> Tensor:
        return render(gaussians, poses, torch.from_numpy(ring.intrinsics(size)), size, size).colour

    gaussians = sphere(args.gaussians, args.scale)
    times = timed(partial(draw, args.resolution, poses), gaussians, args.runs) / args.views
    print("\n| ms a view | fastest | median |")
    print("|---|---|---|")
    for name, column in zip(("forward", "backward"), times.T, strict=True):
        print(f"| {name} | {column.min():.1f} | {np.median(column):.1f} |")
    print(f"\na view takes {times[:, 0].min():.1f} ms forward (limit {LIMIT_MS:g})\n")

    count, size = SMALL
    white = torch.ones(3, dtype=torch.float64)

    def draw_densely(gaussians: Tensor) -> Tensor:
        intrinsics = torch.from_numpy(ring.intrinsics(size))
        return dense_render(gaussians[0], poses[0, 0], intrinsics, size, size, white)[0]

    small = sphere(count, 10 * args.scale).double()
    dense = timed(draw_densely, small, args.runs).min(axis=0)
    tiled = timed(partial(draw, size, poses[:, :1]), small, args.runs).min(axis=0)
    print(f"| {count} Gaussians, {size}²: ms | dense reference | rasterizer | ratio |")
    print("|---|---|---|---|")
    for name, slow, fast in zip(("forward", "backward"), dense, tiled, strict=True):
        print(f"| {name} | {slow:.1f} | {fast:.1f} | {slow / fast:.0f} |")


if __name__ == "__main__":
    main(tyro.cli(Args))
