"""How well does each source of masks find the part that was clicked on, and how fast?

    python -m benchmarks.part_masks data/generated/shards-256

Clicks are on view 0 of objects that were held out of training: an even choice of all their states
and of the parts that show there, each clicked on at a pixel that its name decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import tyro
from jaxtyping import Bool, Float, UInt8
from tqdm import tqdm

from datagen.shards import Shard, open_shards
from model.part_masks import ClickToPart, PartMask, SegmentAnything, TrueMask
from model.propagation import DragError
from model.splits import Split, split_shards
from model.training.parts import SMALLEST, clickable, iou
from model.weights import PARTS

VIEW = 0


@dataclass(frozen=True)
class Args:
    """Part IoU on held-out objects.

    Attributes:
        data: folder of shards.
        weights: of the click-to-part network.
        sam: a checkpoint of Segment Anything.
        split: whose objects.
        split_file: JSON, {"train": [ids], "val": [ids]}; by default one object in eight.
        clicks: on each object, at most.
        device: that networks compute on.
    """

    data: Annotated[Path, tyro.conf.Positional]
    weights: Path = PARTS
    sam: Path | None = None
    split: Split = "val"
    split_file: Path | None = None
    clicks: int = 24
    device: str = "cpu"


class Click(NamedTuple):
    """A state of an object, and where it is clicked on: (x, y) in pixels of view 0."""

    shard: Shard
    state: int
    start: Float[np.ndarray, "2"]


class Score(NamedTuple):
    """What became of a click; of one that was refused, the IoU is 0."""

    category: str
    iou: float
    refused: bool
    seconds: float


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    torch.manual_seed(0)
    shards = split_shards(open_shards(args.data), args.split, args.split_file)
    clicks = [click for shard in shards.values() for click in clicks_on(shard, args.clicks)]
    print(table({name: scores(source, clicks, name) for name, source in sources(args)}))


def sources(args: Args) -> Iterator[tuple[str, Callable[[Click], PartMask]]]:
    """The sources by name, each as what gives it for a click."""
    yield "true mask", lambda click: TrueMask(click.shard, click.state, VIEW)
    network = ClickToPart.from_pretrained(args.weights, args.device)
    yield "click-to-part", lambda _: network
    yield "a disc around the click", lambda _: _disc
    yield "the whole object", lambda _: lambda picture, _: picture[..., 3] > 0
    if args.sam:
        sam = SegmentAnything.from_pretrained(args.sam, args.device)
        yield "Segment Anything", lambda _: sam


def _disc(
    picture: UInt8[np.ndarray, "H W 4"], start: Float[np.ndarray, "2"]
) -> Bool[np.ndarray, "H W"]:
    """What of the object is nearer to the click than a sixth of the picture's height."""
    row, column = np.indices(picture.shape[:2]) + 0.5
    near = (row - start[1]) ** 2 + (column - start[0]) ** 2 < (len(picture) / 6) ** 2
    return near & (picture[..., 3] > 0)


def clicks_on(shard: Shard, count: int) -> list[Click]:
    """An even choice of clicks on an object, the same in every run."""
    clicks = []
    for state in range(len(shard.states)):
        shown = clickable(shard, shard.colour(state, VIEW), shard.link(state, VIEW))
        for part, pixels in enumerate(shown):
            if len(pixels) >= SMALLEST * shard.resolution**2:
                rng = np.random.default_rng([*shard.id.encode(), state, part])
                start = pixels[rng.integers(len(pixels)), ::-1] + 0.5
                clicks.append(Click(shard, state, start))
    kept = min(count, len(clicks))
    return [clicks[i * len(clicks) // kept] for i in range(kept)]


def scores(source: Callable[[Click], PartMask], clicks: Sequence[Click], name: str) -> list[Score]:
    """What becomes of the clicks."""
    results = []
    for click in tqdm(clicks, name):
        picture = click.shard.colour(click.state, VIEW)
        truth = TrueMask(click.shard, click.state, VIEW)(picture, click.start)
        part_mask, began, refused = source(click), time.perf_counter(), False
        try:
            mask = part_mask(picture, click.start)
        except DragError:
            mask, refused = np.zeros_like(truth), True
        spent = time.perf_counter() - began
        overlap = float(iou(torch.from_numpy(mask)[None], torch.from_numpy(truth)[None]))
        results.append(Score(click.shard.object.category, overlap, refused, spent))
    return results


def table(results: dict[str, list[Score]]) -> str:
    """Markdown: a row a source, then a row a category."""
    lines = ["| masks from | clicks | IoU | IoU > 0.5 | refused | ms a click |", "|---" * 6 + "|"]
    for name, found in results.items():
        overlaps = np.array([score.iou for score in found])
        refused = np.mean([score.refused for score in found])
        milliseconds = 1000 * np.median([score.seconds for score in found])
        lines.append(
            f"| {name} | {len(found)} | {overlaps.mean():.3f} | {(overlaps > 0.5).mean():.0%} | "
            f"{refused:.0%} | {milliseconds:.1f} |"
        )
    first = next(iter(results.values()))
    lines += ["", f"| IoU | clicks | {' | '.join(results)} |", "|---" * (2 + len(results)) + "|"]
    for category in sorted({score.category for score in first}):
        chosen = [i for i, score in enumerate(first) if score.category == category]
        means = [np.mean([found[i].iou for i in chosen]) for found in results.values()]
        cells = " | ".join(f"{mean:.3f}" for mean in means)
        lines.append(f"| {category} | {len(chosen)} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
