"""How long does one core take to read a training sample, and how large is a view on disk?

    python -m benchmarks.read_sample FOLDER

A sample is the colour of 16 views: the input views of a source state and all views of a target
state, with the drags between them. Files are in the system's cache. Times are processor time (what
one undisturbed core takes) and wall time. Sizes count all that is in the files.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from datagen.drags import sample_drags, state_pairs
from datagen.shards import PICTURES, SUFFIX, Shard

LIMIT_MS = 25.0
LIMIT_KB = 60.0
KINDS = (*PICTURES, "visible", "rest")


@dataclass(frozen=True)
class Args:
    """Time the reading of training samples.

    Attributes:
        folder: where the shards are.
        samples: random samples to read.
        drags: drags in each.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    samples: int = 200
    drags: int = 10


def read_sample(
    shard: Shard, source: int, target: int, drags: int, rng: np.random.Generator
) -> None:
    """Read and decode all that a training step needs."""
    for view in shard.input_views:
        shard.colour(source, view)
    for view in range(len(shard.camera_to_world)):
        shard.colour(target, view)
    sample_drags(shard, source, target, drags, rng)


def time_samples(
    args: Args, paths: list[Path], pairs: list[list[tuple[int, int]]], reopen: bool
) -> np.ndarray:
    """[samples, 2] milliseconds of processor and of wall time.

    Args:
        paths: of the shards.
        pairs: source and target states to draw from, for each shard.
        reopen: open the shard for each sample anew.
    """
    rng = np.random.default_rng(0)
    shards = [Shard(path) for path in paths]
    for shard, choices in zip(shards, pairs, strict=True):
        read_sample(shard, *choices[0], args.drags, rng)
    rows = []
    for _ in range(args.samples):
        index = int(rng.integers(len(shards)))
        if reopen:
            shards[index].close()
            shards[index] = Shard(paths[index])
        source, target = pairs[index][rng.integers(len(pairs[index]))]
        start = time.process_time(), time.perf_counter()
        read_sample(shards[index], source, target, args.drags, rng)
        rows.append(np.subtract((time.process_time(), time.perf_counter()), start) * 1e3)
    for shard in shards:
        shard.close()
    return np.array(rows)


def view_bytes(shard: Shard) -> np.ndarray:
    """[KINDS] bytes of the file; `rest` is the object, its points and states, and HDF5's own."""
    frames = shard.file["frames"]
    sizes = [frames[kind].id.get_storage_size() for kind in (*PICTURES, "visible")]
    return np.array([*sizes, shard.path.stat().st_size - sum(sizes)])


def main(args: Args) -> None:
    paths, pairs = [], []
    sizes, views, resolutions = np.zeros(len(KINDS)), 0, set()
    for path in sorted(args.folder.glob(f"*{SUFFIX}")):
        shard = Shard(path)
        sizes += view_bytes(shard)
        views += len(shard.states) * len(shard.camera_to_world)
        resolutions.add(f"{shard.resolution}²")
        if choices := state_pairs(shard):
            paths.append(path)
            pairs.append(choices)
        shard.close()
    if not paths:
        raise SystemExit(f"{args.folder}: no shard with two states to go between")
    print(f"{len(paths)} shards, {views} views of {', '.join(sorted(resolutions))}\n")
    print("| reading 16 views | processor ms, median | p95 | wall ms, median | p95 |")
    print("|---|---|---|---|---|")
    medians = []
    for name, reopen in (("shards stay open", False), ("opened for each sample", True)):
        times = time_samples(args, paths, pairs, reopen)
        medians.append(np.median(times[:, 0]))
        (own, wall), (own95, wall95) = np.percentile(times, (50, 95), axis=0)
        print(f"| {name} | {own:.1f} | {own95:.1f} | {wall:.1f} | {wall95:.1f} |")
    print("\n| on disk | kB a view |")
    print("|---|---|")
    for kind, size in zip((*KINDS, "all"), (*sizes, sizes.sum()), strict=True):
        print(f"| {kind} | {size / views / 1e3:.2f} |")
    print(f"\nreading takes {medians[0]:.1f} ms (limit {LIMIT_MS:g})")
    print(f"a view takes {sizes.sum() / views / 1e3:.1f} kB (limit {LIMIT_KB:g})")


if __name__ == "__main__":
    main(tyro.cli(Args))
