"""How small and how close to the original is colour in packs, at which quality?

    python -m benchmarks.pack_quality FOLDER

Takes random views of each shard, encodes them as packs do, and prints their size, how far they are
from the original on white, and processor time; for comparison also the lossless pictures of shards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from datagen.image_codec import decode_colour, encode_colour, encode_colour_lossy
from datagen.packing import psnr_on_white
from datagen.shards import open_shards


@dataclass(frozen=True)
class Args:
    """Measure colour in packs.

    Attributes:
        folder: where the shards are.
        views: random views taken from each.
        qualities: to try.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    views: int = 8
    qualities: tuple[int, ...] = (60, 75, 80, 85, 90, 95, 100)


def main(args: Args) -> None:
    rng = np.random.default_rng(0)
    pictures = []
    for shard in open_shards(args.folder).values():
        for _ in range(args.views):
            state = int(rng.integers(len(shard.states)))
            pictures.append(shard.colour(state, int(rng.integers(len(shard.camera_to_world)))))
        shard.close()
    encoders: dict[str, Callable[[np.ndarray], bytes]] = {"lossless": encode_colour}
    for quality in args.qualities:
        encoders[str(quality)] = partial(encode_colour_lossy, quality=quality)
    print(f"{len(pictures)} views\n")
    print(
        "| quality | kB a view | mean dB | 1 % of views below | worst dB | encode ms | decode ms |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, encode in encoders.items():
        start = time.process_time()
        files = [encode(picture) for picture in pictures]
        middle = time.process_time()
        decoded = [decode_colour(file) for file in files]
        end = time.process_time()
        decibels = [psnr_on_white(a, b) for a, b in zip(decoded, pictures, strict=True)]
        closeness = (np.mean(decibels), np.percentile(decibels, 1), min(decibels))
        times = ((middle - start) * 1e3 / len(files), (end - middle) * 1e3 / len(files))
        print(
            f"| {name} | {np.mean([len(file) for file in files]) / 1e3:.2f} | "
            + " | ".join("" if name == "lossless" else f"{value:.1f}" for value in closeness)
            + f" | {times[0]:.1f} | {times[1]:.2f} |"
        )


if __name__ == "__main__":
    main(tyro.cli(Args))
