"""Where things are computed, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

Phase = TypeVar("Phase", bound=str)
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def choose_device(name: str | None) -> torch.device:
    """The device of that name; by default CUDA where there is one.

    Raises:
        ValueError: there is no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device {name}: no such device here: {reason}") from error
    return device


def placed(network: ModuleT, device: torch.device) -> ModuleT:
    """A network on this device, its weights laid out as convolutions are fastest with there."""
    network.to(device)
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=layout)
    return network


@contextmanager
def timed(phase: Phase, seconds: dict[Phase, float], device: torch.device) -> Iterator[None]:
    """Measure a phase, up to when the device has done all of it."""
    _wait(device)
    start = time.perf_counter()
    yield
    _wait(device)
    seconds[phase] = time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
