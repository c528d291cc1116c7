"""How long does the network take: a training step, a forward, the drags in it, one drag?

    python -m benchmarks.network --preset big --batch 4 8 --how captured   # on a GPU
    python -m benchmarks.network --preset mini --batch 1                   # anywhere

On noise, as an untrained network: what is computed does not depend on the pictures, and what is
rendered hardly does. Every line is measured in turn on the same network, and is the median of many
runs; the drags' share is a forward with them less one without. Memory is the most that PyTorch
held, graphs and all. The share of the chip's peak counts the arithmetic of matrix products and
convolutions, forward and backward, over the step's time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from datagen.cameras import rig
from model.capture import Captured, CapturedForTraining, Forward
from model.config import PRESETS
from model.device import placed
from model.drag_embedding import Drags
from model.partrm import PartRM
from model.second_look import seen
from model.training.dataset import Sample
from model.training.stages import Stage, render_like
from model.views import Views

BF16_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # FLOP/s, dense, by the chip's name
DRAGS, RENDERED = 10, 8


@dataclass(frozen=True)
class Args:
    """Time the network.

    Attributes:
        preset: of the network.
        batch: sizes of the batch for steps and forwards; one drag is always measured alone.
        device: cuda or cpu; by default CUDA where there is one.
        how: eager; captured, on CUDA, as training and the page run it; or compiled.
        channels_last: whether weights are laid out as training and prediction do on CUDA.
        runs: counted runs of each line, after three that are not.
        train: whether to time training steps too.
        kernels: of each training step, list so many kernels (on a CPU, operators) that take
            longest.
    """

    preset: Literal["big", "small", "tiny", "mini", "nano"] = "mini"
    batch: tuple[int, ...] = (4,)
    device: str | None = None
    how: Literal["eager", "captured", "compiled"] = "eager"
    channels_last: bool = True
    runs: int = 20
    train: bool = True
    kernels: int = 0


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if args.how == "captured" and device.type != "cuda":
        raise SystemExit("error: --how captured: there are CUDA graphs on CUDA alone")
    torch.manual_seed(0)
    network = PartRM(PRESETS[args.preset]).to(device)
    if args.channels_last:
        placed(network, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{args.preset} on {name}, torch {torch.__version__}, {args.how}")
    print("| what | batch | ms | samples/s | peak GB | TFLOP | share of peak |")
    print("|---|---|---|---|---|---|---|")
    for batch in args.batch if args.train else ():
        optimizer = torch.optim.AdamW(network.parameters(), 1e-6, fused=device.type == "cuda")
        counted = _training_step(network, network, optimizer, batch, device)
        forward = (
            CapturedForTraining(network) if args.how == "captured" else _uncaptured(network, args)
        )
        step = _training_step(network, forward, optimizer, batch, device)
        _report("training step", batch, step, device, args.runs, name, counted)
        if args.kernels:
            _list_kernels(step, device, args.kernels)
        del forward, step, optimizer, counted
        network.zero_grad(set_to_none=True)
    network.eval().requires_grad_(False)
    called = Captured(network) if args.how == "captured" else _uncaptured(network, args)
    for batch in args.batch:
        views, drags = _views(batch, network.config.input_size, device), _drags(batch, device)
        images = views.network_input()
        given = (("forward", (images, drags)), ("without drags", (images, None)))
        with torch.inference_mode(), _autocast(device):
            with_drags, without = (
                _report(
                    *(what, batch, partial(called, *inputs), device, args.runs, name),
                    partial(network, *inputs),
                )
                for what, inputs in given
            )
        print(f"| the drags' share | {batch} | {with_drags - without:.2f} | | | | |")
    with torch.inference_mode():
        for what, rendered in ((f"{RENDERED} views", RENDERED), ("the Gaussians", 0)):
            alone, eager = (_one_drag(network, f, device, rendered) for f in (called, network))
            _report(f"one drag to {what}", 1, alone, device, args.runs, name, eager)


def _uncaptured(network: PartRM, args: Args) -> Forward:
    """The network as Python calls it, or compiled."""
    if args.how == "compiled":
        network.compile(dynamic=False)
    return network


def _report(
    what: str,
    batch: int,
    run: Callable[[], object],
    device: torch.device,
    runs: int,
    chip: str,
    counted: Callable[[], object],
) -> float:
    """Time `run`, print a line, and return its median in ms. The arithmetic is taken from
    `counted`, the same without a graph, of which it cannot be told."""
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        counted()
    for _ in range(3):
        run()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(runs):
        _finish(device)
        began = time.perf_counter()
        run()
        _finish(device)
        times.append(1000 * (time.perf_counter() - began))
    ms, flop = statistics.median(times), counter.get_total_flops()
    memory, share = "", ""
    if device.type == "cuda":
        memory = f"{torch.cuda.max_memory_reserved(device) / 1e9:.1f}"
        peak = next((rate for key, rate in BF16_PEAK.items() if key in chip), None)
        share = f"{flop / (ms / 1000) / peak:.0%}" if peak else "unknown chip"
    speed = 1000 * batch / ms
    print(f"| {what} | {batch} | {ms:.1f} | {speed:.1f} | {memory} | {flop / 1e12:.2f} | {share} |")
    return ms


def _list_kernels(step: Callable[[], object], device: torch.device, count: int) -> None:
    """Print where the time of a step goes."""
    kind = "cuda" if device.type == "cuda" else "cpu"
    activity = getattr(torch.profiler.ProfilerActivity, kind.upper())
    with torch.profiler.profile(activities=[activity]) as profile:
        step()
        _finish(device)
    order = f"self_{kind}_time_total"
    print(profile.key_averages().table(order, row_limit=count, max_name_column_width=70))


def _training_step(
    network: PartRM,
    forward: Forward,
    optimizer: torch.optim.Optimizer,
    batch: int,
    device: torch.device,
) -> Callable[[], None]:
    """Forward, 8 rendered views, backward, clipping and AdamW, as stage `appearance` without
    LPIPS."""
    glance = Captured(network) if device.type == "cuda" else None
    stage = Stage(network, None, None, 0.0, lambda: _autocast(device), glance=glance)
    sample = _sample(batch, network.config.input_size, device)

    def step() -> None:
        optimizer.zero_grad()
        stage.loss(forward, sample, with_lpips=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def _one_drag(
    network: PartRM, forward: Forward, device: torch.device, rendered: int
) -> Callable[[], Tensor]:
    """From pictures, already on the device, to pictures of the moved object."""
    size = network.config.input_size
    views = _views(1, size, device)
    start, end = torch.rand(2, 1, 1, 2, device=device)
    mask = torch.ones(1, 1, dtype=torch.bool, device=device)
    cameras = _cameras(1, range(rendered), device)
    blank = torch.empty(1, rendered, 3, size, size, device=device)

    def drag() -> Tensor:
        with _autocast(device):
            drags = network.drags_of_view_0(start, end, mask, 4)
            gaussians = forward(seen(forward, network.config, views), drags)
        if not rendered:
            return gaussians
        return render_like(gaussians, cameras, views.intrinsics, blank).colour

    return drag


def _sample(batch: int, size: int, device: torch.device) -> Sample:
    views, drags = _views(batch, size, device), _drags(batch, device)
    generator = torch.Generator().manual_seed(2)

    def pictures(count: int) -> Tensor:
        shape = (batch, count, 4, size, size)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    still = torch.linspace(-1, 1, size).expand(batch, 4, 2, size)
    sample = Sample(
        pictures(4),
        views.camera_to_world,
        views.present,
        still,
        drags.start[:, 0],
        drags.end[:, 0],
        drags.mask[:, 0],
        pictures(0),
        views.camera_to_world,
        pictures(RENDERED),
        _cameras(batch, range(RENDERED), device),
        views.intrinsics,
        torch.zeros(batch, 4, 0, 2),
        torch.zeros(batch, 4, 0, 3),
        torch.zeros(batch, 4, 0, dtype=torch.bool),
        torch.zeros(batch, 0, size, size, dtype=torch.bool),
        torch.zeros(batch, 7),
        torch.eye(3, 4).expand(batch, 3, 4),
    )
    return sample.to(device)


def _views(batch: int, size: int, device: torch.device) -> Views:
    ring = rig("ring")
    lens = torch.tensor(ring.intrinsics(size), dtype=torch.float32, device=device)
    return Views(
        torch.rand(batch, 4, 3, size, size, device=device),
        _cameras(batch, ring.input_views, device),
        lens.expand(batch, 3, 3),
        torch.ones(batch, 4, dtype=torch.bool, device=device),
    )


def _cameras(batch: int, views: Iterable[int], device: torch.device) -> Tensor:
    chosen = rig("ring").camera_to_world[np.array(list(views), int)]
    return torch.tensor(chosen, dtype=torch.float32, device=device).expand(batch, -1, 4, 4)


def _drags(batch: int, device: torch.device) -> Drags:
    start, end = torch.rand(2, batch, 4, DRAGS, 2, device=device)
    return Drags(start, end, torch.ones(batch, 4, DRAGS, dtype=torch.bool, device=device))


def _autocast(device: torch.device) -> AbstractContextManager[None]:
    """bf16 on a GPU, float32 on a CPU, as training and prediction do."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
