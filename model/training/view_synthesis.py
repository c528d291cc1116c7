"""Training of Zero123++ on shards: view 0 in, the rig's other input views out."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from datagen.cameras import rig
from datagen.shards import Shard, open_shards
from model.checkpoint_layout import write_tensors
from model.splits import split_shards
from model.training.config import TrainConfig
from model.training.dataset import Samples
from model.training.processes import Processes
from model.training.progress import Measure
from model.training.run import Task, autocast, even_choice, held_out_shards, train_network
from model.view_grid import grid_views, tile
from model.views import on_white, read_pictures
from model.zero123plus import Zero123Plus

NAME = "views"
PUBLISHED = "sudo-ai/zero123plus-v1.2"
ERROR = Measure("velocity_error", "velocity error", "{:.4f} velocity error")


class ViewSample(NamedTuple):
    """One state in seven views; a batch of them with a leading B. Bytes with straight alpha.

    Attributes:
        condition: view 0.
        targets: the views that the grid's six cells are to show.
        seed: decides the noise.
    """

    condition: UInt8[Tensor, "*B 4 S S"]
    targets: UInt8[Tensor, "*B 6 4 S S"]
    seed: Int[Tensor, "*B"]

    def to(self, device: torch.device) -> ViewSample:
        condition = self.condition.to(device, non_blocking=True)
        return ViewSample(condition, self.targets.to(device, non_blocking=True), self.seed)

    def pin_memory(self) -> ViewSample:
        return ViewSample(self.condition.pin_memory(), self.targets.pin_memory(), self.seed)


class ViewOutcome(NamedTuple):
    """Of one batch: the loss, which has no parts."""

    loss: Tensor
    parts: dict[str, Tensor]


class ViewDataset(Samples[ViewSample]):
    """All states of all objects; their noise is drawn anew every epoch.

    `dataset[n]` is sample `n % len(dataset)` as epoch `n // len(dataset)` has it.
    """

    def __init__(self, shards: Mapping[str, Shard], seed: int = 0) -> None:
        self.seed = seed
        self.items: list[tuple[Shard, int, tuple[int, ...]]] = []
        for shard in shards.values():
            cells = grid_views(rig(shard.file["views"].attrs["rig"]))
            self.items += [(shard, state, cells) for state in range(len(shard.states))]
            shard.close()  # a forked worker opens its own

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> ViewSample:
        epoch, index = divmod(number, len(self.items))
        shard, state, cells = self.items[index]
        pictures = read_pictures(shard, state, (0, *cells), shard.resolution)
        noise = np.random.default_rng([self.seed, epoch, index]).integers(2**62)
        return ViewSample(pictures[0], pictures[1:], torch.tensor(int(noise)))


class ViewNetwork(nn.Module):
    """What is trained of a pipeline: its U-Net, called as training calls it."""

    def __init__(self, pipeline: Zero123Plus, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self._frozen = (pipeline,)  # no submodule: what is frozen is in no checkpoint

    def forward(
        self,
        condition: Float[Tensor, "B 3 S S"],
        targets: Float[Tensor, "B 6 3 S S"],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        return self._frozen[0].loss(condition, targets, generator, unet=self.unet)

    def __deepcopy__(self, memo: dict[int, Any]) -> ViewNetwork:
        """A copy of the U-Net beside the same frozen networks."""
        return ViewNetwork(self._frozen[0], copy.deepcopy(self.unet, memo))

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write the U-Net to one .safetensors file, which `Zero123Plus.load_unet` reads."""
        write_tensors(path, self.unet.state_dict(), "format", "pt")


@dataclass(frozen=True)
class ViewTask(Task[ViewNetwork, ViewSample, ViewOutcome]):
    """Zero123++ as it is trained.

    Attributes:
        background: the grey behind objects that the pipeline draws.
        cell: pixels along a side of a view.
        held_out: measured at every checkpoint.
        device: of the network.
        autocast: makes the context in which the network computes.
    """

    background: float
    cell: int
    held_out: list[ViewSample]
    device: torch.device
    autocast: Callable[[], AbstractContextManager[None]]
    measure = ERROR

    def loss(self, forward: nn.Module, batch: ViewSample, step: int) -> ViewOutcome:
        generator = torch.Generator().manual_seed(int(batch.seed[0]))
        with self.autocast():
            loss = forward(self._shown(batch.condition), self._shown(batch.targets), generator)
        return ViewOutcome(loss, {})

    def quality(self, outcome: ViewOutcome, batch: ViewSample) -> float:
        return float(outcome.loss.detach())

    def pictures(self, outcome: ViewOutcome, batch: ViewSample) -> dict[str, Tensor]:
        """What is learnt from: to see views drawn would take a minute."""
        grid = tile(self._shown(batch.targets))
        condition = F.interpolate(self._shown(batch.condition), (grid.shape[-2],) * 2)
        return {"condition": condition, "views": grid}

    @torch.no_grad()
    def validation(self, network: ViewNetwork) -> float | None:
        if not self.held_out:
            return None
        batches = (sample.to(self.device) for sample in self.held_out)
        return float(np.mean([self.quality(self.loss(network, b, 0), b) for b in batches]))

    def _shown(self, rgba: UInt8[Tensor, "*B 4 S S"]) -> Float[Tensor, "*B 3 C C"]:
        """Colours on the pipeline's background, in the size of its cells."""
        colour, alpha = on_white(rgba)
        colour = colour - (1 - alpha) * (1 - self.background)
        size = (self.cell, self.cell)
        resized = F.interpolate(colour.flatten(0, -4), size, mode="bilinear", antialias=True)
        return resized.unflatten(0, colour.shape[:-3])


def train_views(config: TrainConfig, processes: Processes) -> Path:
    """Fine-tune Zero123++'s U-Net, from `config.init`: a folder in its layout, or its name on the
    hub; by default the published one.

    Returns:
        the file of the U-Net's weights: their running mean over the steps.

    Raises:
        TrainingError, Interrupted, ResumeError: as `run.train_network` does.
        CheckpointError, FileNotFoundError, ShardError, SplitError: it cannot start as asked for.
    """
    shards = open_shards(config.data)
    train = split_shards(shards, config.split, config.split_file, config.categories)
    pipeline = Zero123Plus.from_pretrained(str(config.init or PUBLISHED)).to(processes.device)
    pipeline.unet.enable_gradient_checkpointing()
    held_out = held_out_shards(config) if processes.first else {}
    task = ViewTask(
        pipeline.background,
        config.view_size,
        even_choice(ViewDataset(held_out), config.val_samples) if held_out else [],
        processes.device,
        autocast(config, processes.device),
    )
    network = ViewNetwork(pipeline, pipeline.unet.train())
    dataset = ViewDataset(train, config.seed)
    return train_network(config, NAME, network, task, dataset, processes)
