"""Train one stage of PartRM: its networks, samples and loss, for `train_network`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from model.capture import Captured, Forward
from model.checkpoint_layout import CheckpointError
from model.config import PRESETS, PartRMConfig
from model.device import placed
from model.metrics import psnr
from model.partrm import PartRM
from model.perceptual import Perceptual
from model.training.augmentation import Augmentation
from model.training.config import StageName, TrainConfig
from model.training.dataset import Sample, StateDataset
from model.training.folders import as_one, chances, training_folders
from model.training.processes import Processes
from model.training.progress import PSNR
from model.training.run import (
    WEIGHTS,
    Task,
    autocast,
    captures,
    even_choice,
    held_out_shards,
    train_network,
)
from model.training.stages import Outcome, Stage, compared, task_of
from model.views import check_resolution

FROM_SCRATCH_WITHOUT_LPIPS = 1000  # steps


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
    preset = network_config(config)
    folders = training_folders(config, preset.input_size, f"preset {config.preset}")
    dataset = StateDataset(
        as_one(folders),
        task_of(name, config, preset),
        preset.input_size,
        config.drags,
        config.augmentation,
        config.seed,
    )
    if config.shares:
        shards = [shard for shard, _, _ in dataset.items]
        dataset.chances = chances(shards, folders, config.shares)
    stage, lpips_after = make_stage(config, name, preset, processes.device)
    held_out = held_out_samples(config, name, preset) if processes.first else []
    task = StageTask(stage, lpips_after, held_out, processes.device)
    shape = {}
    if stage.perceptual is not None and stage.perceptual.stand_in:
        # In place of True, so that a run is not gone on with on another backbone.
        shape["lpips"] = stage.perceptual.name
        if processes.first:
            print(f"{name}: {stage.perceptual.name}, a stand-in for LPIPS, is part of the loss")
    return train_network(config, name, stage.network, task, dataset, processes, shape)


@dataclass(frozen=True)
class StageTask(Task[PartRM, Sample, Outcome]):
    """A stage as it is trained.

    Attributes:
        stage: its networks and loss.
        lpips_after: the step from which LPIPS is part of the loss.
        held_out: measured at every checkpoint.
        device: of the networks.
    """

    stage: Stage
    lpips_after: int
    held_out: list[Sample]
    device: torch.device
    measure = PSNR

    def hidden(self, network: PartRM) -> list[nn.Module]:
        unet = network.unet
        return [unet.down_blocks, unet.mid_block, unet.up_blocks]

    def loss(self, forward: nn.Module, batch: Sample, step: int) -> Outcome:
        return self.stage.loss(forward, batch, with_lpips=step >= self.lpips_after)

    def quality(self, outcome: Outcome, batch: Sample) -> float:
        return float(psnr(*compared(outcome, batch)).detach().mean())

    def pictures(self, outcome: Outcome, batch: Sample) -> dict[str, Tensor]:
        drawn, truth = compared(outcome, batch)
        return {"source": batch.shown().pictures, "prediction": drawn, "truth": truth}

    def validation(self, network: PartRM) -> float | None:
        if not self.held_out:
            return None
        return measure(self.stage, network, self.held_out, self.device)


def network_config(config: TrainConfig) -> PartRMConfig:
    """The shape of the network that drags move."""
    preset = PRESETS[config.preset]
    levels = preset.drag_levels if config.drag_levels is None else config.drag_levels
    return replace(preset, drag_levels=levels, input_size=config.input_size or preset.input_size)


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
    teacher: Forward | None = None
    if name == "motion":
        path = config.teacher or _of_this_run(config, "reconstruct", "--teacher", name)
        frozen = placed(_fitting(path, preset).requires_grad_(False).eval(), device)
        teacher = Captured(frozen) if captures(config, device) else frozen
    uses_lpips = config.lpips and name != "motion"
    perceptual = placed(Perceptual(config.vgg_weights), device) if uses_lpips else None
    lpips_after = config.lpips_after
    if lpips_after is None:
        lpips_after = FROM_SCRATCH_WITHOUT_LPIPS if start is None else 0
    network = placed(network.train(), device)
    stage = Stage(
        network,
        teacher,
        perceptual,
        config.lpips_weight,
        autocast(config, device),
        config.lpips_views,
        config.surface_weight,
        config.changed_weight if name == "appearance" else 0.0,
        glance=Captured(network) if captures(config, device) else None,
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


def held_out_samples(config: TrainConfig, name: StageName, preset: PartRMConfig) -> list[Sample]:
    """An even choice of the held-out objects' samples, not augmented; none where there are none."""
    shards = held_out_shards(config)
    if not shards:
        return []
    check_resolution(shards.values(), preset.input_size, f"preset {config.preset}")
    dataset = StateDataset(
        shards, task_of(name, config, preset), preset.input_size, config.drags, Augmentation.of(0)
    )
    return even_choice(dataset, config.val_samples)


@torch.no_grad()
def measure(stage: Stage, network: PartRM, samples: list[Sample], device: torch.device) -> float:
    """Mean PSNR in dB of a network's renderings of these samples' target states."""
    values, shown = [], replace(stage, network=network, glance=None, for_any_size=False)
    for sample in samples:
        batch = sample.to(device)
        outcome = shown.loss(network, batch, with_lpips=False)
        values.append(psnr(*compared(outcome, batch)).mean())
    return float(torch.stack(values).mean())


def _fitting(path: Path, preset: PartRMConfig) -> PartRM:
    """A checkpoint's network, of the preset's shape but for the drags; it may have been trained on
    pictures of another size, on which no weight's shape depends."""
    network = PartRM.from_pretrained(path)
    if preset.second_look and not network.config.second_look:
        network = network.with_second_look()
    network.config = found = replace(network.config, input_size=preset.input_size)
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
