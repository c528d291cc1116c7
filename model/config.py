"""The shape of a PartRM network, and its presets."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

Positions = Literal["free", "ray", "displaced"]
Colours = Literal["free", "seen"]
DragStyle = Literal["paper", "published"]


@dataclass(frozen=True)
class PartRMConfig:
    """Everything that decides the names, shapes and meaning of a network's weights.

    Attributes:
        input_size: pixels along a side of the square pictures the network is trained on. It accepts
            any other multiple of the lowest level's stride as well.
        patch: pixels along a side that its first convolution takes as one cell, with the channels
            of all of them.
        down_channels: channels of each level of the encoder; every level but the last halves the
            resolution.
        down_attention: which of these levels attend across views.
        mid_attention: whether the bottleneck does.
        up_channels: channels of each level of the decoder; every level but the last doubles the
            resolution. Fewer levels than the encoder has leave fewer splats than pixels.
        up_attention: which of these levels attend across views.
        layers_per_level: residual blocks of an encoder level; a decoder level has one more.
        heads: attention heads.
        norm_groups: groups of every group norm.
        layers: Gaussians of each splat: what lies behind the first can be told apart from it.
        fine: splats along a side of each pixel of the decoder's last level.
        positions: `free`: three coordinates in [-1, 1]; `ray`: a depth along the pixel's ray;
            `displaced`: that, and a displacement from there, by which a part can leave its pixels.
        depth_range: for all but `free`, how far before and behind the ray's point nearest to the
            world's origin a Gaussian can lie, in world units. Objects fit the unit sphere: 1
            reaches all.
        colours: `free`: the network's output; `seen`: that, on top of what its pixel shows.
        drag_levels: the encoder levels whose input embeds the drags; none: the static network.
        drag_style: `paper`: residual fusion, maps indexed [y, x]; `published`: as in the published
            code and its checkpoints.
        second_look: whether it answers twice, the second time told what its first answer shows
            (`second_look`).
    """

    input_size: int = 256
    patch: int = 1
    down_channels: tuple[int, ...] = (64, 128, 256, 512, 1024, 1024)
    down_attention: tuple[bool, ...] = (False, False, False, True, True, True)
    mid_attention: bool = True
    up_channels: tuple[int, ...] = (1024, 1024, 512, 256, 128)
    up_attention: tuple[bool, ...] = (True, True, True, False, False)
    layers_per_level: int = 2
    heads: int = 16
    norm_groups: int = 32
    layers: int = 1
    fine: int = 1
    positions: Positions = "free"
    depth_range: float = 1.0
    colours: Colours = "free"
    drag_levels: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    drag_style: DragStyle = "paper"
    second_look: bool = False

    def __post_init__(self) -> None:
        if len(self.down_attention) != len(self.down_channels):
            raise ValueError("down_attention must name as many levels as down_channels")
        if len(self.up_attention) != len(self.up_channels):
            raise ValueError("up_attention must name as many levels as up_channels")
        if not 1 <= len(self.up_channels) <= len(self.down_channels):
            raise ValueError("the decoder must have from one level to as many as the encoder")
        if self.input_size % self.stride:
            raise ValueError(
                f"input_size {self.input_size} is no multiple of the lowest level's {self.stride}"
            )
        levels = range(len(self.down_channels))
        if not set(self.drag_levels) <= set(levels) or len(set(self.drag_levels)) != len(
            self.drag_levels
        ):
            raise ValueError(f"drag_levels {self.drag_levels} must be different ones of {levels}")
        for name in ("layers", "fine"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be 1 or more")
        if self.positions not in get_args(Positions):
            raise ValueError(f"positions must be one of {get_args(Positions)}")
        if self.colours not in get_args(Colours):
            raise ValueError(f"colours must be one of {get_args(Colours)}")
        if self.drag_style not in get_args(DragStyle):
            raise ValueError(f"drag_style must be one of {get_args(DragStyle)}")

    @property
    def stride(self) -> int:
        """How many pixels of the input one cell of the lowest level spans."""
        return self.patch * 2 ** (len(self.down_channels) - 1)

    @property
    def splat_size(self) -> int:
        """Splats along a side of each view's splatter image."""
        cells = self.input_size // self.stride * 2 ** (len(self.up_channels) - 1)
        return cells * self.fine

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels of each encoder level's input."""
        return (self.down_channels[0], *self.down_channels[:-1])

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Side of each encoder level's input, so of its drag map: (256, 128, 64, …) for 256 without
        patches."""
        cells = self.input_size // self.patch
        return tuple(cells >> level for level in range(len(self.down_channels)))

    @property
    def follows(self) -> bool:
        """Whether splats go where what their pixels show goes. Others stay on their rays, or know
        none, and are to show what the target state has in their pixels."""
        return self.positions == "displaced"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PartRMConfig:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text names settings that there are none of, or lacks some.
        """
        names = {field.name for field in fields(cls)}
        return cls(**settings_of(text, names, later={"layers", "patch", "fine", "second_look"}))

    def differences(self, other: PartRMConfig) -> list[str]:
        """`name: mine, other's` of each setting that differs."""
        mine, others = asdict(self), asdict(other)
        return [f"{k}: {mine[k]}, {others[k]}" for k in mine if mine[k] != others[k]]


def settings_of(text: str, names: set[str], later: Collection[str] = ()) -> dict[str, Any]:
    """Settings from JSON, their lists as tuples.

    Args:
        text: the JSON.
        names: of all settings that there are.
        later: those of them that older texts lack.

    Raises:
        ValueError: they are not the ones of these names.
    """
    values: Any = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("no mapping of settings to values")
    if unknown := sorted(values.keys() - names):
        raise ValueError(f"unknown settings: {', '.join(unknown)}")
    if missing := sorted(names - values.keys() - set(later)):
        raise ValueError(f"missing settings: {', '.join(missing)}")
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


PRESETS: dict[str, PartRMConfig] = {
    # LGM's and PartRM's published shapes.
    "big": PartRMConfig(),
    "small": PartRMConfig(
        up_channels=(1024, 1024, 512, 256),
        up_attention=(True, True, True, False),
    ),
    "tiny": PartRMConfig(
        down_channels=(32, 64, 128, 256, 512),
        down_attention=(False, False, False, False, True),
        up_channels=(512, 256, 128),
        up_attention=(True, False, False),
        drag_levels=(0, 1, 2, 3, 4),
    ),
    # To be trained on one GPU, and to run on a laptop.
    "mini": PartRMConfig(
        input_size=128,
        patch=2,
        down_channels=(48, 80, 128, 128),
        down_attention=(False, False, True, True),
        up_channels=(128, 128, 80, 48),
        up_attention=(True, True, False, False),
        heads=4,
        norm_groups=8,
        layers=2,
        fine=2,
        positions="displaced",
        colours="seen",
        drag_levels=(0, 1, 2, 3),
        second_look=True,
    ),
    # To be trained in a test.
    "nano": PartRMConfig(
        input_size=64,
        down_channels=(8, 16, 24),
        down_attention=(False, False, True),
        up_channels=(24, 16),
        up_attention=(True, False),
        layers_per_level=1,
        heads=2,
        norm_groups=4,
        positions="ray",
        colours="seen",
        drag_levels=(0, 1, 2),
    ),
}
