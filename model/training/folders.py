"""The folders of shards that a run trains on, and how often each is drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from datagen.shards import Shard, open_shards
from model.splits import split_shards
from model.training.config import TrainConfig
from model.views import check_resolution


def training_folders(config: TrainConfig, size: int, wanted_by: str) -> list[dict[str, Shard]]:
    """What is trained on of `data` and of each of `also`, by object id.

    Args:
        config: which folders, split and categories.
        size: pixels along a side that pictures must have, or more.
        wanted_by: what people call that which needs it.

    Raises:
        ShardError: a folder has no shards.
        SplitError: nothing is left of one.
        ValueError: its pictures are too small.
    """
    folders = [
        split_shards(open_shards(path), config.split, config.split_file, config.categories)
        for path in (config.data, *config.also)
    ]
    for folder in folders:
        check_resolution(folder.values(), size, wanted_by)
    return folders


def as_one(folders: Sequence[Mapping[str, Shard]]) -> dict[str, Shard]:
    """All of them, by the number of the folder and the object's id."""
    return {
        f"{n}/{key}": shard for n, folder in enumerate(folders) for key, shard in folder.items()
    }


def chances(
    shards: Sequence[Shard], folders: Sequence[Mapping[str, Shard]], shares: Sequence[float]
) -> Float[np.ndarray, "samples"]:
    """Of each sample to be drawn, such that so many are of each folder.

    Args:
        shards: of each sample.
        folders: where these are from.
        shares: of each folder.

    Raises:
        ValueError: a folder has nothing to learn from.
    """
    of_folder = {id(shard): n for n, folder in enumerate(folders) for shard in folder.values()}
    folder = np.array([of_folder[id(shard)] for shard in shards])
    counts = np.bincount(folder, minlength=len(folders))
    if not counts.all():
        raise ValueError(
            f"--shares: folder {int(counts.argmin())} of --data and --also has no part that moves "
            "and shows: nothing to learn"
        )
    return (np.array(shares) / counts)[folder]
