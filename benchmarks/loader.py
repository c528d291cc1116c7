"""How many training samples does a loader give in a second, and does a GPU wait for them?

    python -m benchmarks.loader FOLDER --batch-size 32 --step-ms 128

First where the time of one sample goes, in this process: processor time, the median over random
samples. Then samples a second of a DataLoader with each number of workers. With the time of a
training step, measured elsewhere and given as `--step-ms`, or measured here on CUDA with
`--network mini`, also which share of its time a training loop would wait for samples: batches are
taken as fast as such steps allow. Files are in the system's cache.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch.utils.data import DataLoader, default_collate

from datagen.drags import sample_drags
from datagen.image_codec import decode_colour, downscaled
from datagen.shards import open_shards
from model.capture import Captured, CapturedForTraining
from model.config import PRESETS
from model.device import placed
from model.partrm import PartRM
from model.rendering import render
from model.second_look import seen
from model.training.config import STAGES, TrainConfig
from model.training.dataset import Sample, StateDataset, Stream
from model.training.stages import task_of

T = TypeVar("T")
Step = Callable[[Sample], None]


@dataclass(frozen=True)
class Args:
    """Time the loading of training samples.

    Attributes:
        folder: where the shards are.
        size: pixels along a side of the pictures.
        batch_size: samples in a batch.
        workers: numbers of workers to try; 0 reads in the training process.
        batches: of each run, timed after those that were read ahead.
        samples: random samples whose time is taken apart.
        step_ms: how long a training step takes, in milliseconds.
        network: take the time of a training step with this network, on CUDA; renders, but has no
            LPIPS.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    size: int = 256
    batch_size: int = 32
    workers: tuple[int, ...] = (0, 1, 2, os.cpu_count() or 1)
    batches: int = 16
    samples: int = 200
    step_ms: float | None = None
    network: Literal["big", "small", "tiny", "mini", "nano"] | None = None


def parts_of_a_sample(dataset: StateDataset, samples: int) -> dict[str, float]:
    """Median milliseconds of processor time of a sample's parts and of all of it."""
    rng = np.random.default_rng(0)
    rows = [time_parts(dataset, n, rng) for n in rng.integers(len(dataset), size=samples).tolist()]
    return {part: float(np.median([row[part] for row in rows])) for part in rows[0]}


def time_parts(dataset: StateDataset, number: int, rng: np.random.Generator) -> dict[str, float]:
    """Milliseconds that the parts of a sample take, and the sample."""
    times: dict[str, float] = {}

    def timed(part: str, call: Callable[[], T]) -> T:
        start = time.process_time()
        result = call()
        times[part] = (time.process_time() - start) * 1e3
        return result

    dataset[number]  # opens the file
    shard, source, target = dataset.items[number]
    task, inputs = dataset.task, len(shard.input_views)
    counts = {target: max(inputs * task.teacher, task.rendered)}
    counts[source] = max(inputs, counts.get(source, 0))
    places = [(state, view) for state, count in counts.items() for view in range(count)]
    files = timed("read", lambda: [shard.picture("colour", *place) for place in places])
    decoded = timed("decode", lambda: [decode_colour(file) for file in files])
    small = timed("downscale", lambda: [downscaled(p, dataset.size) for p in decoded])
    timed("channels first", lambda: [p.transpose(2, 0, 1).copy() for p in small])
    if task.moves:
        timed("drags", lambda: sample_drags(shard, source, target, dataset.max_drags, rng))
    timed("a sample", lambda: dataset[number])
    return times


def loading(
    dataset: StateDataset, args: Args, workers: int, step: Step | None
) -> tuple[float, float | None]:
    """Samples a second, and the share of its time that a loop of steps waits for them."""
    loader = DataLoader(
        dataset,
        args.batch_size,
        sampler=Stream(len(dataset)),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )
    batches = iter(loader)
    ahead = 1 + 2 * workers
    for _ in range(ahead):
        next(batches)
    start = time.perf_counter()
    for _ in range(args.batches):
        next(batches)
    rate = args.batches * args.batch_size / (time.perf_counter() - start)
    if step is None:
        return rate, None
    waits, steps = [], []
    for _ in range(ahead + args.batches):
        asked = time.perf_counter()
        batch = next(batches)
        came = time.perf_counter()
        step(batch)
        waits.append(came - asked)
        steps.append(time.perf_counter() - came)
    waited = sum(waits[ahead:])
    return rate, waited / (waited + sum(steps[ahead:]))


def step_elsewhere(milliseconds: float) -> Step:
    """A training step that takes so long, and no processor."""
    return lambda _: time.sleep(milliseconds / 1e3)


def step_on_cuda(name: str, dataset: StateDataset, batch_size: int) -> Step:
    """A training step of a preset's network, captured: forward, renderings, backward, update.
    It has been made once, since a recording wants CUDA for itself."""
    device = torch.device("cuda")
    config = PRESETS[name] if dataset.task.moves else replace(PRESETS[name], drag_levels=())
    network = placed(PartRM(config), device).train()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    forward, glance = CapturedForTraining(network), Captured(network)

    def step(samples: Sample) -> None:
        batch = samples.to(device)
        ends = (batch.drag_start, batch.drag_end, batch.drag_mask)
        drags = None
        if dataset.task.moves:
            drags = network.drags_of_view_0(*ends, batch.source.shape[1])
        with torch.autocast("cuda", torch.bfloat16):
            gaussians = forward(seen(glance, network.config, batch.shown()), drags)
        loss = gaussians.square().mean()
        if batch.target.shape[1]:
            truth, _ = batch.truth()
            size, lenses = truth.shape[-1], batch.intrinsics[:, None]
            drawn = render(gaussians, batch.target_cameras, lenses, size, size)
            loss = F.mse_loss(drawn.colour, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch.cuda.synchronize()

    step(default_collate([dataset[number] for number in range(batch_size)]))
    return step


def main(args: Args) -> None:
    torch.set_num_threads(1)  # as in a worker
    shards = open_shards(args.folder)
    config = TrainConfig(args.folder, args.folder)
    tasks = {name: task_of(name, config, PRESETS[args.network or "mini"]) for name in STAGES}
    datasets = {name: StateDataset(shards, task, args.size) for name, task in tasks.items()}
    print(
        f"{len(shards)} shards, pictures of {args.size}², batches of {args.batch_size}; "
        f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"
    )

    columns = {name: parts_of_a_sample(dataset, args.samples) for name, dataset in datasets.items()}
    print(f"\n| processor ms | {' | '.join(columns)} |")
    print("|---|" + "---|" * len(columns))
    for part in columns["appearance"]:
        cells = (f"{times[part]:.2f}" if part in times else "" for times in columns.values())
        print(f"| {part} | {' | '.join(cells)} |")

    print("\n| task | workers | samples/s | a worker's | waiting for samples |")
    print("|---|---|---|---|---|")
    for name, dataset in datasets.items():
        step: Step | None = None
        if args.network is not None:
            step = step_on_cuda(args.network, dataset, args.batch_size)
        elif args.step_ms is not None:
            step = step_elsewhere(args.step_ms)
        for workers in sorted(set(args.workers)):
            rate, waiting = loading(dataset, args, workers, step)
            share = "" if waiting is None else f"{waiting:.0%}"
            print(f"| {name} | {workers} | {rate:.0f} | {rate / max(workers, 1):.0f} | {share} |")


if __name__ == "__main__":
    main(tyro.cli(Args))
