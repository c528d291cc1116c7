"""Checkpoint files: ours, and those published for LGM and PartRM.

Ours are safetensors whose metadata hold the configuration. In the published ones it is read off the
names and shapes. A pickle is only ever read with `weights_only=True`.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from model.config import PartRMConfig

CONFIG_KEY = "partrm_config"
PICKLES = (".pt", ".pth", ".bin", ".ckpt")
UNUSED = "unet.alpha"  # a scalar in published PartRM checkpoints that their code never reads
MENTIONED = 5  # names in an error message

ModuleT = TypeVar("ModuleT", bound=nn.Module)

TO_OURS = (
    (r"^unet\.drag_position_net\.linears_drags\.(\d+)\.", r"unet.drag_layers.\1.mlp."),
    (r"^unet\.conv_merges\.(\d+)\.", r"unet.drag_layers.\1.fuse."),
)
TO_PUBLISHED = (
    (r"^unet\.drag_layers\.(\d+)\.mlp\.", r"unet.drag_position_net.linears_drags.\1."),
    (r"^unet\.drag_layers\.(\d+)\.fuse\.", r"unet.conv_merges.\1."),
)


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not fit; says what differs."""


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[PartRMConfig, dict[str, Tensor]]:
    """The configuration and the weights, under our names, of a checkpoint of ours or a published
    one. That the weights fit the configuration is for `check_fit` to see.

    Raises:
        CheckpointError: the file is no such checkpoint.
        FileNotFoundError: there is no such file.
    """
    metadata, tensors = read_tensors(path)
    if CONFIG_KEY in metadata:
        try:
            return PartRMConfig.from_json(metadata[CONFIG_KEY]), tensors
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: its configuration is not ours: {error}") from error
    try:
        config = published_config(tensors)
    except (IndexError, ValueError) as error:
        raise CheckpointError(
            f"{path}: neither a checkpoint of ours (no {CONFIG_KEY} in its metadata) nor a "
            f"published LGM or PartRM: {error}; it holds {_some(sorted(tensors)) or 'nothing'}"
        ) from error
    return config, from_published(tensors)


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of a state dict, from safetensors or a pickle.

    Raises:
        CheckpointError: the file holds no state dict.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLES:
        return {}, _read_pickle(path)
    raise CheckpointError(
        f"{path}: a checkpoint's name ends in .safetensors or one of {', '.join(PICKLES)}"
    )


def write_checkpoint(
    path: str | os.PathLike[str], config: PartRMConfig, weights: Mapping[str, Tensor]
) -> None:
    """Write a checkpoint of ours, whole or not at all."""
    write_tensors(path, weights, CONFIG_KEY, config.to_json())


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], key: str, value: str
) -> None:
    """Write tensors to a .safetensors file, whole or not at all.

    Args:
        key, value: the metadata; one key alone: of several, the order varies.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: checkpoints are written as .safetensors")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        # Not `save_file`, whose files no one but their owner may read.
        unfinished.write_bytes(save(on_cpu, metadata={key: value}))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def built(make: Callable[[], ModuleT], weights: Mapping[str, Tensor], source: str) -> ModuleT:
    """A network with these weights, in float32 on the CPU.

    Args:
        make: the network, of any weights.
        weights: its state dict.
        source: where that is from, for messages.

    Raises:
        CheckpointError: there is no such network, or the weights do not fit; says what differs.
    """
    try:
        with torch.device("meta"):
            network = make()
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: its configuration makes no network: {error}") from error
    check_fit(network.state_dict(), weights, source)
    network.load_state_dict({k: v.float() for k, v in weights.items()}, assign=True)
    return network


def check_fit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights whose names or shapes are not those expected.

    Raises:
        CheckpointError: names those that are missing, are not expected, or have another shape.
    """
    missing = [f"{name} {_shape(expected[name])}" for name in expected if name not in found]
    surplus = [f"{name} {_shape(found[name])}" for name in found if name not in expected]
    others = [
        f"{name} {_shape(found[name])} instead of {_shape(expected[name])}"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    kinds = {"missing": missing, "not expected": surplus, "of another shape": others}
    told = [f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names]
    if told:
        raise CheckpointError(f"{source} does not fit: {'; '.join(told)}")


def published_config(tensors: Mapping[str, Tensor]) -> PartRMConfig:
    """The configuration of a published LGM or PartRM, read off its names and shapes.

    Raises:
        IndexError, ValueError: these are not such a network's.
    """
    down, up = _levels(tensors, "unet.down_blocks"), _levels(tensors, "unet.up_blocks")
    if not down or not up:
        raise ValueError("it has no weights called unet.down_blocks.… and unet.up_blocks.…")
    drag_levels = tuple(
        level
        for level in range(len(down))
        if f"unet.conv_merges.{level}.weight" in tensors
        or f"unet.drag_position_net.linears_drags.{level}.0.weight" in tensors
    )
    return PartRMConfig(
        down_channels=tuple(channels for channels, _ in down),
        down_attention=tuple(attention for _, attention in down),
        mid_attention="unet.mid_block.attns.0.attn.qkv.weight" in tensors,
        up_channels=tuple(channels for channels, _ in up),
        up_attention=tuple(attention for _, attention in up),
        layers_per_level=sum(
            re.fullmatch(r"unet\.down_blocks\.0\.nets\.\d+\.conv1\.weight", name) is not None
            for name in tensors
        ),
        drag_levels=drag_levels,
        drag_style="published" if drag_levels else "paper",
    )


def from_published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names to ours; the scalar that no one reads is left out."""
    return _renamed({k: v for k, v in tensors.items() if k != UNUSED}, TO_OURS)


def to_published(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names to the published ones: the inverse of `from_published`."""
    renamed = _renamed(weights, TO_PUBLISHED)
    if len(renamed.keys() - weights.keys()):
        renamed[UNUSED] = torch.zeros(())
    return renamed


def _renamed(
    tensors: Mapping[str, Tensor], patterns: tuple[tuple[str, str], ...]
) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def _levels(tensors: Mapping[str, Tensor], prefix: str) -> list[tuple[int, bool]]:
    """Channels of each level, and whether it attends."""
    levels: list[tuple[int, bool]] = []
    while (first := f"{prefix}.{len(levels)}.nets.0.conv1.weight") in tensors:
        attention = f"{prefix}.{len(levels)}.attns.0.attn.qkv.weight" in tensors
        levels.append((tensors[first].shape[0], attention))
    return levels


def _read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file: {error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, bare or under `model` or `state_dict`."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not read, since it is broken or holds more than tensors: {_first_line(error)}"
        ) from error
    if isinstance(content, Mapping):
        for key in ("model", "state_dict"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise CheckpointError(f"{path}: holds no state dict: no mapping of names to tensors")
    return dict(content)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MENTIONED} more" if len(names) > MENTIONED else ""
    return ", ".join(names[:MENTIONED]) + more


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
