"""Ids of objects, and of the copies that are made of them."""

from __future__ import annotations

import re


def copy_id(object_id: str, seed: int) -> str:
    """The id of the copy that this seed makes of an object."""
    return f"{object_id}-{seed}"


def original_id(object_id: str) -> str:
    """The id of the object that a copy, or a copy of a copy, was made of; its own if it is none."""
    return re.sub(r"(-\d+)+$", "", object_id)
