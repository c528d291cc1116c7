"""Train one stage, from its first step or its last checkpoint to its weights."""

from __future__ import annotations

import copy
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader, default_collate

from datagen.shards import Shard, open_shards
from model.checkpoint_layout import CheckpointError
from model.config import PRESETS, PartRMConfig
from model.metrics import psnr
from model.partrm import PartRM
from model.perceptual import Perceptual
from model.splits import SplitError, split_shards
from model.training.augmentation import Augmentation
from model.training.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from model.training.config import StageName, TrainConfig
from model.training.dataset import Sample, StateDataset, Stream
from model.training.processes import Processes
from model.training.progress import Progress
from model.training.stages import Stage, compared, task_of
from model.views import check_resolution, on_white

WEIGHTS = "weights.safetensors"
BETAS = (0.9, 0.95)
FROM_SCRATCH_WITHOUT_LPIPS = 1000  # steps


class TrainingError(RuntimeError):
    """A run that cannot go on; says why, and what can be done."""


class Interrupted(Exception):
    """A run was asked to stop, and has saved what it had."""


def train_stage(config: TrainConfig, name: StageName, processes: Processes) -> Path:
    """Train a stage.

    Args:
        config: `config.stage` is not looked at.
        name: the stage.
        processes: which of those that train together this one is.

    Returns:
        the file of its weights: their running mean over the steps.

    Raises:
        TrainingError: too many steps in a row were not finite.
        Interrupted: SIGINT or SIGTERM came; the run can be gone on with.
        CheckpointError, PerceptualError, ResumeError, ShardError, SplitError, ValueError: the run
            cannot start as it is asked for.
    """
    folder = config.out / name
    preset = network_config(config)
    shards = open_shards(config.data)
    train = split_shards(shards, config.split, config.split_file, config.categories)
    check_resolution(train.values(), preset.input_size, f"preset {config.preset}")
    dataset = StateDataset(
        train,
        task_of(name, config),
        preset.input_size,
        config.drags,
        config.augmentation,
        config.seed,
    )
    stage, lpips_after = make_stage(config, name, preset, processes.device)
    held_out = held_out_samples(config, name, shards, preset) if processes.first else []

    network = stage.network
    optimizer = torch.optim.AdamW(
        network.parameters(),
        config.lr,
        BETAS,
        weight_decay=config.weight_decay,
        fused=processes.device.type == "cuda",
    )
    schedule = OneCycleLR(
        optimizer,
        config.lr,
        total_steps=config.steps,
        # OneCycle divides by the length of its first phase less one step.
        pct_start=max(min(config.warmup_steps, config.steps / 2), 1.5) / config.steps,
    )
    mean = copy.deepcopy(network).requires_grad_(False)
    state: dict[str, Any] = {"network": network, "mean": mean, "optimizer": optimizer}
    state["schedule"] = schedule
    settings = config.decisive() | {"samples": len(dataset), "processes": processes.count}
    step = skipped = 0
    if found := checkpoints(folder):
        content = load_checkpoint(found[-1], settings)
        for key, part in state.items():
            part.load_state_dict(content[key])
        step, skipped = content["step"], content["skipped"]

    def save() -> None:
        if processes.first:
            content = {key: part.state_dict() for key, part in state.items()}
            content |= {"settings": settings, "step": step, "skipped": skipped}
            save_checkpoint(folder, step, content, config.keep)
        processes.wait()

    if step < config.steps:
        folder.mkdir(parents=True, exist_ok=True)
    forward = _forward(network, config, processes)
    progress = Progress(name, folder, step, config.steps, not processes.first)
    samples = iter(_loader(dataset, config, processes, start=step * config.batch_size))
    in_a_row = 0
    with _asked_to_stop() as asked_to_stop:
        while step < config.steps:
            asked = time.perf_counter()
            batch = next(samples).to(processes.device)
            waited = time.perf_counter() - asked

            optimizer.zero_grad()
            outcome = stage.loss(forward, batch, with_lpips=step >= lpips_after)
            outcome.loss.backward()
            norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            if processes.all_agree(outcome.loss.isfinite() & norm.isfinite()):
                optimizer.step()
                _follow(mean, network, config.ema, step)
                progress.took(loss=outcome.loss, **outcome.parts)
                in_a_row = 0
            else:
                skipped, in_a_row = skipped + 1, in_a_row + 1
            schedule.step()
            step += 1

            progress.advance(waited)
            if step % config.log_every == 0 or step in (1, config.steps):
                numbers = {
                    "psnr": float(psnr(*compared(outcome, batch)).detach().mean()),
                    "gradient_norm": float(norm),
                    "lr": float(schedule.get_last_lr()[0]),
                    "skipped_steps": skipped,
                }
                progress.numbers(step, numbers)
            if step % config.pictures_every == 0 or step == config.steps:
                drawn, truth = compared(outcome, batch)
                shown = on_white(batch.source)[0]
                progress.pictures(step, source=shown, prediction=drawn, truth=truth)
            if in_a_row >= config.bad_steps:
                progress.close()
                raise TrainingError(_why_stopped(in_a_row, outcome.loss, norm, folder))
            stop = not processes.all_agree(torch.tensor(not asked_to_stop()))
            due = step % config.checkpoint_every == 0 or step == config.steps
            if (due or stop) and not in_a_row:
                save()
                if held_out and not stop:
                    progress.validation(step, measure(stage, mean, held_out, processes.device))
            if stop and step < config.steps:
                progress.close()
                raise Interrupted(
                    f"stopped after step {step}; started again, it goes on from there"
                )

    weights = folder / WEIGHTS
    if processes.first:
        mean.save_pretrained(weights)
    progress.close(**({"skipped steps": skipped} if skipped else {}))
    processes.wait()
    return weights


def network_config(config: TrainConfig) -> PartRMConfig:
    """The shape of the network that drags move."""
    preset = PRESETS[config.preset]
    return preset if config.drag_levels is None else replace(preset, drag_levels=config.drag_levels)


def make_stage(
    config: TrainConfig, name: StageName, preset: PartRMConfig, device: torch.device
) -> tuple[Stage, int]:
    """The stage's networks and loss on a device, and the step from which LPIPS is part of it."""
    start = config.init
    if start is None and name != "reconstruct":
        before: StageName = "reconstruct" if name == "motion" else "motion"
        start = _of_this_run(config, before, "--init", name)
    torch.manual_seed(config.seed)
    network = starting_network(start, preset, moves=name != "reconstruct")
    teacher = None
    if name == "motion":
        path = config.teacher or _of_this_run(config, "reconstruct", "--teacher", name)
        teacher = _fitting(path, preset).requires_grad_(False).eval().to(device)
    uses_lpips = config.lpips and name != "motion"
    perceptual = Perceptual(config.vgg_weights).to(device) if uses_lpips else None
    lpips_after = config.lpips_after
    if lpips_after is None:
        lpips_after = FROM_SCRATCH_WITHOUT_LPIPS if start is None else 0
    stage = Stage(
        network.train().to(device),
        teacher,
        perceptual,
        config.lpips_weight,
        _autocast(config, device),
    )
    return stage, lpips_after


def starting_network(path: Path | None, preset: PartRMConfig, moves: bool) -> PartRM:
    """A network to train: fresh, or with a checkpoint's weights.

    Args:
        path: of the checkpoint, ours or published; None for fresh weights.
        preset: the shape it must have.
        moves: whether it is to embed drags.

    Raises:
        CheckpointError: the checkpoint is of another shape; says what differs.
    """
    if path is None:
        return PartRM(preset if moves else replace(preset, drag_levels=()))
    network = _fitting(path, preset)
    if not moves:
        if network.config.drag_levels:
            raise CheckpointError(f"{path} embeds drags: no network to reconstruct with")
        return network
    if not network.config.drag_levels:
        return network.with_drag_levels(preset.drag_levels)
    if network.config.drag_levels != preset.drag_levels:
        raise CheckpointError(
            f"{path} embeds drags at levels {network.config.drag_levels}, not {preset.drag_levels}"
        )
    return network


def held_out_samples(
    config: TrainConfig, name: StageName, shards: Mapping[str, Shard], preset: PartRMConfig
) -> list[Sample]:
    """An even choice of the held-out objects' samples, not augmented; none where no object is held
    out, which is said."""
    if not config.val_samples:
        return []
    try:
        shards = split_shards(shards, "val", config.split_file, config.categories)
    except SplitError as error:
        print(f"held-out objects are not measured: {error}")
        return []
    check_resolution(shards.values(), preset.input_size, f"preset {config.preset}")
    dataset = StateDataset(
        shards, task_of(name, config), preset.input_size, config.drags, Augmentation.none()
    )
    count = min(config.val_samples, len(dataset))
    return [default_collate([dataset[i * len(dataset) // count]]) for i in range(count)]


@torch.no_grad()
def measure(stage: Stage, network: PartRM, samples: list[Sample], device: torch.device) -> float:
    """Mean PSNR in dB of a network's renderings of these samples' target states."""
    values = []
    for sample in samples:
        batch = sample.to(device)
        outcome = replace(stage, network=network).loss(network, batch, with_lpips=False)
        values.append(psnr(*compared(outcome, batch)).mean())
    return float(torch.stack(values).mean())


def _fitting(path: Path, preset: PartRMConfig) -> PartRM:
    """A checkpoint's network, of the preset's shape but for the drags."""
    network = PartRM.from_pretrained(path)
    found = network.config
    expected = replace(preset, drag_levels=found.drag_levels, drag_style=found.drag_style)
    if found != expected:
        differences = "; ".join(expected.differences(found))
        raise CheckpointError(f"{path} is another network (expected, found): {differences}")
    return network


def _of_this_run(config: TrainConfig, stage: StageName, option: str, wanted_by: str) -> Path:
    """The weights of an earlier stage of this run."""
    path = config.out / stage / WEIGHTS
    if not path.is_file():
        raise CheckpointError(
            f"stage {wanted_by} needs weights: there are none of stage {stage} at {path}. Train "
            f"that stage first (--stage all does), or give some with {option} FILE"
        )
    return path


def _autocast(
    config: TrainConfig, device: torch.device
) -> Callable[[], AbstractContextManager[None]]:
    precision = config.precision or ("bf16" if device.type == "cuda" else "fp32")
    if precision == "fp32":
        return nullcontext
    return lambda: torch.autocast(device.type, torch.bfloat16)


def _forward(network: PartRM, config: TrainConfig, processes: Processes) -> nn.Module:
    """The network as it is called: replicated and compiled, if so asked."""
    module: nn.Module = network
    if processes.count > 1:
        gpu = [processes.device.index] if processes.device.type == "cuda" else None
        module = DistributedDataParallel(network, device_ids=gpu)
    if config.compile:
        module.compile()
    return module


def _loader(
    dataset: StateDataset, config: TrainConfig, processes: Processes, start: int
) -> DataLoader[Sample]:
    """Batches without end, from the sample after each process's first `start` on."""
    stream = Stream(
        len(dataset), config.seed, start * processes.count, processes.rank, processes.count
    )
    return DataLoader(
        dataset,
        config.batch_size,
        sampler=stream,
        num_workers=config.workers,
        pin_memory=processes.device.type == "cuda",
        persistent_workers=config.workers > 0,
        worker_init_fn=_leave_signals_to_the_trainer,
    )


def _leave_signals_to_the_trainer(_: int) -> None:
    """A terminal's Ctrl-C reaches all processes; the trainer still needs samples to end well."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@torch.no_grad()
def _follow(mean: PartRM, network: PartRM, decay: float, step: int) -> None:
    """Move the running mean of the weights towards them; the first steps count for more."""
    average = get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))
    average(list(mean.parameters()), list(network.parameters()), step)


def _why_stopped(in_a_row: int, loss: Tensor, norm: Tensor, folder: Path) -> str:
    last = checkpoints(folder)
    where = f"the last good checkpoint is {last[-1]}" if last else "there is no checkpoint yet"
    return (
        f"{in_a_row} steps in a row were not finite (loss {loss.item():g}, norm of the gradient "
        f"{norm.item():g}): stopped; {where}. A smaller --lr, a longer --warmup-steps or "
        "--precision fp32 may help"
    )


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM has come; they no longer stop the process at once."""
    came = False

    def note(*_: object) -> None:
        nonlocal came
        came = True

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
