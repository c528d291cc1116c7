"""What a run needs to go on exactly: written whole or not at all, the last few kept."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch

NAME = re.compile(r"checkpoint-(\d{8})\.pt")


class ResumeError(ValueError):
    """A run cannot be gone on with; says why."""


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step:08d}.pt"


def save_checkpoint(folder: Path, step: int, content: dict[str, Any], keep: int) -> Path:
    """Write a checkpoint, then delete all but the newest `keep`.

    Args:
        content: tensors and plain values only: it is read back with `weights_only=True`.
    """
    path = checkpoint_path(folder, step)
    unfinished = path.with_suffix(".unfinished")
    with open(unfinished, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def checkpoints(folder: Path) -> list[Path]:
    """A folder's checkpoints, the newest last."""
    return sorted(path for path in folder.glob("checkpoint-*.pt") if NAME.fullmatch(path.name))


def load_checkpoint(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint that was made with these settings.

    Raises:
        ResumeError: it is broken, or was made with others; says which.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        made_with = content["settings"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise ResumeError(f"{path}: not a checkpoint of a run: {error}") from error
    differing = [
        f"{name}: {made_with.get(name)} then, {settings.get(name)} now"
        for name in sorted(made_with.keys() | settings.keys())
        if made_with.get(name) != settings.get(name)
    ]
    if differing:
        raise ResumeError(
            f"{path} cannot be gone on from, since settings differ ({'; '.join(differing)}): give "
            "the same ones, or another --out"
        )
    return content
