"""What would PartRM gain, if it knew how the dragged part moves?

    python -m benchmarks.known_motion FOLDER

Beside what the network predicts stands what a reconstructor makes of the source state, with the
Gaussians of the pixels that show the part moved as the shard says that it moves; and what it makes
of the target state, when it is shown that. What a prediction lacks to the former is motion that was
not understood, and what both lack to the truth is reconstruction, and what no view of the source
shows. All are fitted to the pictures that they were made of, as in use, unless `--fit 0`. `--split
train` tells what is lost on objects that were not trained on. All in the size of the pictures that
the network is trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from datagen.shards import open_shards
from model.evaluation.cases import even_choice
from model.evaluation.evaluate import FEWEST_PIXELS
from model.fitting import STEPS, corrected, fit
from model.metrics import changed_region, psnr, region_mean
from model.partrm import PartRM
from model.second_look import seen
from model.splatter import moved_by
from model.splits import Split, split_shards
from model.training.augmentation import Augmentation
from model.training.dataset import Sample, StateDataset, Task
from model.training.stages import moved_splats, render_like
from model.views import Views
from model.weights import PARTRM


@dataclass(frozen=True)
class Args:
    """Compare predictions with a known motion of what was reconstructed.

    Attributes:
        data: folder of shards.
        weights: of the network that predicts.
        reconstructor: weights of stage reconstruct; by default those, without drags.
        fit: steps of that.
        split: which objects.
        split_file: JSON, {"train": [ids], "val": [ids]}; by default one in eight is held out.
        objects: at most so many, evenly chosen.
        pairs: of states of each object, evenly chosen.
    """

    data: Annotated[Path, tyro.conf.Positional]
    weights: Path = PARTRM
    reconstructor: Path | None = None
    fit: int = STEPS
    split: Split = "val"
    split_file: Path | None = None
    objects: int = 14
    pairs: int = 3


def samples(args: Args, size: int) -> Iterator[Sample]:
    """Samples as batches of one: four input views, drags, and the input views of the target."""
    shards = split_shards(open_shards(args.data), args.split, args.split_file)
    names = even_choice(list(shards), args.objects)
    task = Task(moves=True, teacher=True, rendered=0, follows=True)
    for name in tqdm(names, unit="object"):
        dataset = StateDataset({name: shards[name]}, task, size, augmentation=Augmentation.of(0))
        for number in even_choice(range(len(dataset)), args.pairs):
            yield default_collate([dataset[number]])


def predictions(
    network: PartRM, reconstructor: PartRM, sample: Sample, steps: int
) -> dict[str, Float[Tensor, "1 N 14"]]:
    """Gaussians of the target state, by how they were come by."""
    ends = (sample.drag_start, sample.drag_end, sample.drag_mask)
    source = seen(network, network.config, sample.question())
    drags = network.drags_of_view_0(*ends, source.shape[1])
    predicted = network(source, drags)
    if steps and network.config.follows:
        predicted = corrected(predicted, fit(network(source, None), sample.question(), steps))
    still, target = (
        reconstructor(seen(reconstructor, reconstructor.config, views), None)
        for views in (sample.question(), sample.answer())
    )
    still = _fitted(still, sample.question(), steps)
    return {
        "predicted": predicted,
        "source reconstructed, moved as is known": torch.where(
            moved_splats(sample.moved, reconstructor.config)[..., None],
            moved_by(still, sample.motion),
            still,
        ),
        "source reconstructed, not moved": still,
        "target reconstructed": _fitted(target, sample.answer(), steps),
    }


def _fitted(
    gaussians: Float[Tensor, "1 N 14"], views: Views, steps: int
) -> Float[Tensor, "1 N 14"]:
    return corrected(gaussians, fit(gaussians, views, steps)) if steps else gaussians


def quality(gaussians: Tensor, sample: Sample) -> tuple[float, float]:
    """Mean PSNR over the input views, of all of them and of what changes in them."""
    truth, source = sample.answer().pictures, sample.question().pictures
    drawn = render_like(gaussians, sample.input_cameras, sample.intrinsics, truth).colour
    region = changed_region(source, truth)
    counted = region.sum(dim=(-2, -1)) >= FEWEST_PIXELS
    error = region_mean((drawn - truth).square().mean(dim=2), region)[counted]
    return float(psnr(drawn, truth).mean()), float((-10 * error.log10()).mean())


@torch.no_grad()
def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    network, reconstructor = (
        PartRM.from_pretrained(path).eval()
        for path in (args.weights, args.reconstructor or args.weights)
    )
    rows: dict[str, list[tuple[float, float]]] = {}
    for sample in samples(args, network.config.input_size):
        for name, gaussians in predictions(network, reconstructor, sample, args.fit).items():
            rows.setdefault(name, []).append(quality(gaussians, sample))
    print(f"split {args.split}, {len(next(iter(rows.values())))} samples, input views")
    print("\n| Gaussians | PSNR | changed region |")
    print("|---|---|---|")
    for name, values in rows.items():
        whole, changed = np.nanmean(values, axis=0)
        print(f"| {name} | {whole:.2f} | {changed:.2f} |")


if __name__ == "__main__":
    main()
