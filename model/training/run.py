"""A training run, whatever it trains: from its first step or last checkpoint to its weights."""

from __future__ import annotations

import copy
import gc
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader, default_collate

from datagen.shards import Shard, open_shards
from model.capture import CapturedForTraining
from model.click_to_part import ClickToPartNet
from model.partrm import PartRM
from model.splits import SplitError, split_shards
from model.training.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from model.training.config import TrainConfig
from model.training.dataset import Samples, Stream
from model.training.muon import Muon
from model.training.processes import Processes
from model.training.progress import Measure, Progress

if TYPE_CHECKING:  # it needs diffusers
    from model.training.view_synthesis import ViewNetwork

WEIGHTS = "weights.safetensors"
BETAS = (0.9, 0.95)


class TrainingError(RuntimeError):
    """A run that cannot go on; says why, and what can be done."""


class Interrupted(Exception):
    """A run was asked to stop, and has saved what it had."""


class Batch(Protocol):
    """Samples, with a leading B."""

    def to(self, device: torch.device) -> Self: ...


class Outcome(Protocol):
    """Of one batch."""

    @property
    def loss(self) -> Tensor:
        """To be minimised."""

    @property
    def parts(self) -> dict[str, Tensor]:
        """What it is the sum of, by name."""


NetworkT = TypeVar("NetworkT", PartRM, ClickToPartNet, "ViewNetwork")
BatchT = TypeVar("BatchT", bound=Batch)
OutcomeT = TypeVar("OutcomeT", bound=Outcome)


class Task(ABC, Generic[NetworkT, BatchT, OutcomeT]):
    """What a network is trained to do, and what a person is told of it."""

    measure: Measure
    """In what it is told how good the network is."""

    def hidden(self, network: NetworkT) -> list[nn.Module]:
        """The layers between a network's first and its last, whose weights `Muon` may train: none,
        as of a network that another optimizer has trained for long."""
        return []

    @abstractmethod
    def loss(self, forward: nn.Module, batch: BatchT, step: int) -> OutcomeT:
        """What the network, called as `forward`, makes of a batch at this step, and its loss."""

    @abstractmethod
    def quality(self, outcome: OutcomeT, batch: BatchT) -> float:
        """The measure, mean over a batch."""

    @abstractmethod
    def pictures(self, outcome: OutcomeT, batch: BatchT) -> dict[str, Tensor]:
        """Columns of pictures to look at, each [B, 3, S, S] or [B, T, 3, S, S]."""

    @abstractmethod
    def validation(self, network: NetworkT) -> float | None:
        """The measure of a network on held-out samples, if there are any."""


def train_network(
    config: TrainConfig,
    name: str,
    network: NetworkT,
    task: Task[NetworkT, BatchT, OutcomeT],
    dataset: Samples[BatchT],
    processes: Processes,
    shape: dict[str, Any] | None = None,
) -> Path:
    """Train a network in the folder `config.out / name`.

    Args:
        config: how.
        name: what people call this.
        network: what, on its device.
        task: to do what.
        dataset: samples; `Stream` says which numbers it is asked for.
        processes: which of those that train together this one is.
        shape: what the weights depend on that `config.decisive()` does not tell, or not as
            exactly: plain values.

    Returns:
        the file of its weights: their running mean over the steps.

    Raises:
        TrainingError: too many steps in a row were not finite.
        Interrupted: SIGINT or SIGTERM came; the run can be gone on with.
        ResumeError: its last checkpoint was made with other settings, or is broken.
    """
    folder = config.out / name
    optimizers = make_optimizers(network, task.hidden(network) if config.muon else [], config)
    schedules = [
        OneCycleLR(
            optimizer,
            config.lr,
            total_steps=config.steps,
            # OneCycle divides by the length of its first phase less one step.
            pct_start=max(min(config.warmup_steps, config.steps / 2), 1.5) / config.steps,
        )
        for optimizer in optimizers
    ]
    mean = copy.deepcopy(network).requires_grad_(False)
    state: dict[str, Any] = {"network": network, "mean": mean}
    state |= {f"optimizer {n}": optimizer for n, optimizer in enumerate(optimizers)}
    state |= {f"schedule {n}": schedule for n, schedule in enumerate(schedules)}
    settings = config.decisive() | {"samples": len(dataset), "processes": processes.count}
    settings |= shape or {}
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
    forward = _forward(network, config, processes, task, dataset)
    network.zero_grad()
    gc.collect()  # see `_leave_the_trainer_alone`
    progress = Progress(name, folder, step, config.steps, task.measure, not processes.first)
    samples = iter(_loader(dataset, config, processes, start=step * config.batch_size))
    in_a_row = 0
    with _asked_to_stop() as asked_to_stop:
        while step < config.steps:
            asked = time.perf_counter()
            batch = next(samples).to(processes.device)
            waited = time.perf_counter() - asked

            network.zero_grad()
            outcome = task.loss(forward, batch, step)
            outcome.loss.backward()
            norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            if processes.all_agree(outcome.loss.isfinite() & norm.isfinite()):
                for optimizer in optimizers:
                    optimizer.step()
                _follow(mean, network, config.ema, step)
                progress.took(loss=outcome.loss, **outcome.parts)
                in_a_row = 0
            else:
                skipped, in_a_row = skipped + 1, in_a_row + 1
            for schedule in schedules:
                schedule.step()
            step += 1

            progress.advance(waited)
            if step % config.log_every == 0 or step in (1, config.steps):
                numbers = {
                    task.measure.key: task.quality(outcome, batch),
                    "gradient_norm": float(norm),
                    "lr": float(schedules[0].get_last_lr()[0]),
                    "skipped_steps": skipped,
                }
                progress.numbers(step, numbers)
            if step % config.pictures_every == 0 or step == config.steps:
                progress.pictures(step, **task.pictures(outcome, batch))
            if in_a_row >= config.bad_steps:
                progress.close()
                raise TrainingError(_why_stopped(in_a_row, outcome.loss, norm, folder))
            stop = not processes.all_agree(torch.tensor(not asked_to_stop()))
            due = step % config.checkpoint_every == 0 or step == config.steps
            if (due or stop) and not in_a_row:
                save()
                if processes.first and not stop:
                    progress.validation(step, task.validation(mean))
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


def make_optimizers(
    network: nn.Module, hidden: Sequence[nn.Module], config: TrainConfig
) -> list[torch.optim.Optimizer]:
    """AdamW; for the weights of the hidden layers, if there are any, Muon."""
    matrices = [w for module in hidden for w in module.parameters() if w.ndim > 1]
    taken = set(map(id, matrices))
    others = [weight for weight in network.parameters() if id(weight) not in taken]
    fused = all(weight.is_cuda for weight in others)
    decay = config.weight_decay
    adam = torch.optim.AdamW(others, config.lr, BETAS, weight_decay=decay, fused=fused)
    return [adam, Muon(matrices, config.lr, weight_decay=decay)] if matrices else [adam]


def held_out_shards(config: TrainConfig) -> dict[str, Shard]:
    """The objects to be measured at checkpoints; none, which is said, where none is held out."""
    if not config.val_samples:
        return {}
    try:
        shards = open_shards(config.data)
        return split_shards(shards, "val", config.split_file, config.categories)
    except SplitError as error:
        print(f"held-out objects are not measured: {error}")
        return {}


def even_choice(dataset: Samples[BatchT], count: int) -> list[BatchT]:
    """Samples from all over a dataset, each as a batch of one."""
    count = min(count, len(dataset))
    return [default_collate([dataset[i * len(dataset) // count]]) for i in range(count)]


def autocast(
    config: TrainConfig, device: torch.device
) -> Callable[[], AbstractContextManager[None]]:
    """Makes the context in which networks compute."""
    if not _in_bf16(config, device):
        return nullcontext
    return lambda: torch.autocast(device.type, torch.bfloat16)


def captures(config: TrainConfig, device: torch.device) -> bool:
    """Whether the work of networks is recorded as CUDA graphs."""
    wanted = config.capture and not config.compile
    return wanted and device.type == "cuda" and _in_bf16(config, device)


def _in_bf16(config: TrainConfig, device: torch.device) -> bool:
    return (config.precision or ("bf16" if device.type == "cuda" else "fp32")) == "bf16"


def _forward(
    network: NetworkT,
    config: TrainConfig,
    processes: Processes,
    task: Task[NetworkT, BatchT, OutcomeT],
    dataset: Samples[BatchT],
) -> nn.Module:
    """The network as it is called: replicated, and compiled or captured, if so asked."""
    module: nn.Module = network
    if isinstance(network, PartRM) and captures(config, processes.device):
        module = CapturedForTraining(network)
        _record(task, module, dataset, config.batch_size, processes.device)
    if processes.count > 1:
        gpu = [processes.device.index] if processes.device.type == "cuda" else None
        module = DistributedDataParallel(module, device_ids=gpu)
    if config.compile:
        module.compile()
    return module


def _record(
    task: Task[NetworkT, BatchT, OutcomeT],
    forward: nn.Module,
    dataset: Samples[BatchT],
    batch_size: int,
    device: torch.device,
) -> None:
    """Have a captured network recorded, on a batch that is not learnt from. It is done before
    samples are loaded: the thread that does so asks CUDA for things that spoil a recording."""
    batch = default_collate([dataset[number % len(dataset)] for number in range(batch_size)])
    task.loss(forward, batch.to(device), 0).loss.backward()


def _loader(
    dataset: Samples[BatchT], config: TrainConfig, processes: Processes, start: int
) -> DataLoader[BatchT]:
    """Batches without end, from the sample after each process's first `start` on."""
    stream = Stream(
        len(dataset),
        config.seed,
        start * processes.count,
        processes.rank,
        processes.count,
        dataset.chances,
    )
    return DataLoader(
        dataset,
        config.batch_size,
        sampler=stream,
        num_workers=config.workers,
        pin_memory=processes.device.type == "cuda",
        persistent_workers=config.workers > 0,
        worker_init_fn=_leave_the_trainer_alone,
    )


def _leave_the_trainer_alone(_: int) -> None:
    """In a process that loads samples. A terminal's Ctrl-C reaches all processes; the trainer still
    needs samples to end well. And what was forked along is not the worker's to free: CUDA's graphs
    abort a process in which CUDA does not run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()


@torch.no_grad()
def _follow(mean: nn.Module, network: nn.Module, decay: float, step: int) -> None:
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
