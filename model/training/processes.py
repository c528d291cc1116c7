"""Where training runs: one process a GPU, as torchrun starts them, or a single one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank, count: which of how many it is.
        device: what it computes on.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def all_agree(self, truth: Tensor) -> bool:
        """Whether a condition holds in every process."""
        if self.count == 1:
            return bool(truth)
        held = truth.to(self.device, torch.float32)
        dist.all_reduce(held, dist.ReduceOp.MIN)
        return bool(held > 0.5)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def join_processes(device: str | None) -> Iterator[Processes]:
    """Join those that torchrun started, if it started this one.

    Args:
        device: what to compute on; `cuda` is this process's GPU, the default where there is one.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    chosen = torch.device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if count > 1:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(rank, count, chosen)
    finally:
        if count > 1:
            dist.destroy_process_group()
