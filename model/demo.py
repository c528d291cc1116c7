"""Drag a rendered object and see how well it moves: python -m model.demo --data FOLDER --out FOLDER

The object's picture and one drag are all that the network is given; what the object looks like once
moved, the shard knows.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from datagen.drags import draggable_pairs, sample_drags
from datagen.shards import Shard, open_shards
from model.gallery import write_gallery
from model.prediction import VIEWS
from model.pretrained import PredictorConfig, load_predictor
from model.program import program
from model.video import check_video, turntable_cameras
from model.views import cameras, on_white, read_pictures


@dataclass(frozen=True, kw_only=True)
class DemoConfig(PredictorConfig):
    """Drag a rendered object from one end of a part's way to the other."""

    data: Path
    """Folder of shards, of which the first is taken."""
    out: Path
    """Folder for what is written."""


def run(config: DemoConfig) -> None:
    """Choose, predict, write."""
    check_video()
    predictor = load_predictor(config)
    shard = next(iter(open_shards(config.data).values()))
    source, target = widest_pair(shard)
    ends = handle(shard, source, target)
    dragged = predictor.drag(predictor.see(shard.colour(source, 0)), [ends])

    size = predictor.network.config.input_size
    settings = {
        "object": shard.id,
        "source": shard.states[source].name,
        "target": shard.states[target].name,
        "weights": str(config.weights),
        "device": str(predictor.device),
        "drags": [ends],
    }
    truth = pictures_of(shard, target, size)
    done = write_gallery(config.out, dragged, size, video=True, settings=settings, truth=truth)
    print(", ".join(f"{phase} {value:.2f} s" for phase, value in done["seconds"].items()))
    print(f"open {config.out / 'index.html'} in a browser")


def widest_pair(shard: Shard) -> tuple[int, int]:
    """The first part that can be dragged, from its lowest position to its highest.

    Raises:
        ValueError: nothing of this object can be dragged.
    """
    pairs = draggable_pairs(shard)
    if not pairs:
        raise ValueError(f"{shard.path}: view 0 shows no part that moves: nothing to drag")
    part = shard.states[pairs[0][0]].part
    ways = [pair for pair in pairs if shard.states[pair[0]].part == part]
    return max(ways, key=lambda pair: shard.states[pair[1]].k - shard.states[pair[0]].k)


def handle(shard: Shard, source: int, target: int) -> list[float]:
    """Where a person would pull: x0, y0, x1, y1 in view 0 of a point that goes further than three
    quarters of all that show. What goes furthest is the part's very edge."""
    every = sample_drags(shard, source, target, len(shard.points), np.random.default_rng(0))
    far = np.linalg.norm(every.end_pixel - every.start_pixel, axis=1)
    chosen = np.argsort(far)[3 * len(far) // 4]
    return [*every.start_pixel[chosen].tolist(), *every.end_pixel[chosen].tolist()]


def pictures_of(shard: Shard, state: int, size: int) -> dict[int, UInt8[np.ndarray, "S S 3"]]:
    """What the shard shows of a state from those of a turn's `VIEWS` views that its rig has."""
    every = cameras(shard, range(len(shard.camera_to_world)))
    apart = (turntable_cameras(every[0], VIEWS)[:, None] - every).abs().amax(dim=(2, 3))
    there = {turn: int(row.argmin()) for turn, row in enumerate(apart) if row.min() < 1e-4}
    pictures, _ = on_white(read_pictures(shard, state, list(there.values()), size))
    shown = (255 * pictures).round().byte().permute(0, 2, 3, 1).numpy()
    return dict(zip(there, shown, strict=True))


def main() -> int:
    return program(DemoConfig, run, "python -m model.demo")


if __name__ == "__main__":
    sys.exit(main())
