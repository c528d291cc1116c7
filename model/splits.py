"""Which objects are trained on and which are held out: by a file, or by each object's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from datagen.object_ids import original_id
from datagen.shards import Shard

Split = Literal["train", "val", "all"]
ONE_IN = 8  # objects are held out where no file says which


class SplitError(ValueError):
    """A split that cannot be made; says why."""


def split_shards(
    shards: Mapping[str, Shard],
    split: Split,
    file: Path | None = None,
    categories: Collection[str] = (),
) -> dict[str, Shard]:
    """The shards of one split, by object id.

    Args:
        shards: by object id.
        split: `all` takes every object, whatever the file says.
        file: JSON, `{"train": …, "val": …}`, each a list of ids or a mapping from ids to anything;
            objects that it does not name are in neither. Without it one object in eight is held
            out, chosen by a checksum of its id: the same one in every folder. Stretched copies go
            where the objects go that they were made of.
        categories: keep these alone; all of them where there are none.

    Raises:
        SplitError: the file is no such file, no object is left, or a category is unknown.
    """
    chosen = set(shards) if split == "all" else _members(shards, split, file)
    if categories:  # else no shard has to be opened
        known = {shard.object.category for shard in shards.values()}
        if unknown := set(categories) - known:
            told = ", ".join(sorted(known))
            raise SplitError(
                f"no object of category {', '.join(sorted(unknown))}; there are: {told}"
            )
    left = {
        name: shard
        for name, shard in shards.items()
        if name in chosen and (not categories or shard.object.category in categories)
    }
    if not left:
        how = f"{file} names" if file else f"one in {ONE_IN} by its name, which picks"
        raise SplitError(
            f"no object in split {split} of {len(shards)} ({how} none of them that is asked for): "
            "give a split file that names some, or take the split all"
        )
    return left


def _members(shards: Collection[str], split: Split, file: Path | None) -> set[str]:
    if file is None:
        return {name for name in shards if _held_out(original_id(name)) == (split == "val")}
    try:
        named = {str(name) for name in list(json.loads(file.read_text())[split])}
        return {name for name in shards if name in named or original_id(name) in named}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SplitError(
            f'{file}: no split file, {{"train": [ids], "val": [ids]}}: {error}'
        ) from error


def _held_out(name: str) -> bool:
    return int.from_bytes(hashlib.sha1(name.encode()).digest()) % ONE_IN == 0
