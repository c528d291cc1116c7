"""Parametric sample objects in PartNet-Mobility's layout, drawn from a category and a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .contraptions import contraption
from .cookers import microwave, oven
from .furniture import storage_furniture
from .household import laptop, trash_can
from .refrigerator import refrigerator
from .washers import dishwasher, washing_machine
from .writer import write_object

_BUILDERS = {
    "Dishwasher": dishwasher,
    "Laptop": laptop,
    "Microwave": microwave,
    "Oven": oven,
    "Refrigerator": refrigerator,
    "StorageFurniture": storage_furniture,
    "TrashCan": trash_can,
    "WashingMachine": washing_machine,
    "Contraption": contraption,
}
CATEGORIES: tuple[str, ...] = tuple(name for name in _BUILDERS if name != "Contraption")
"""PartDrag-4D's."""
KINDS: tuple[str, ...] = tuple(_BUILDERS)
"""These, and random things of all kinds."""


def write_sample(category: str, seed: int, out: Path) -> Path:
    """Write the object of `category` that `seed` draws as a folder below `out`, and return it.

    The folder is named like `microwave0007`; the same category and seed give the same bytes.
    """
    rng = np.random.default_rng([seed, *category.encode()])
    return write_object(out, f"{category.lower()}{seed:04d}", category, _BUILDERS[category](rng))
