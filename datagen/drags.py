"""Drags between two states of an object, computed at load time: no pair of states is ever stored.

A drag is one surface point of the moved part, in the source state and in the target state: two 3D
points, whose projections into a view are the drag's start and end pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from jaxtyping import Bool, Float, Int

from datagen.cameras import project
from datagen.shards import Shard


@dataclass(frozen=True)
class Drags:
    """Drags of one part from one state to another.

    Attributes:
        start, end: [N, 3] the points in the world, in the source and in the target state.
        start_pixel, end_pixel: [N, 2] their projections (x, y) into the view, pixel centres at
            half-integers. An end may lie outside of the picture, or behind something.
        point: [N] which surface points of the shard they are.
    """

    start: Float[np.ndarray, "N 3"]
    end: Float[np.ndarray, "N 3"]
    start_pixel: Float[np.ndarray, "N 2"]
    end_pixel: Float[np.ndarray, "N 2"]
    point: Int[np.ndarray, "N"]


def sample_drags(
    shard: Shard,
    source: int,
    target: int,
    count: int,
    rng: np.random.Generator,
    view: int = 0,
) -> Drags:
    """Draw drags that take the moved part of one state to where another state has it.

    Args:
        shard: the object's.
        source, target: indices of two states that differ in the moved part's position alone.
        count: how many different points to draw; where fewer are visible, all of them are taken.
        rng: decides which.
        view: whose pixels are meant, and where the points are visible in the source state.

    Raises:
        ValueError: the two states do not differ, or not in the moved part's position alone.
    """
    if not _one_part_moves(shard, source, target):
        names = f"{shard.states[source].name} to {shard.states[target].name}"
        raise ValueError(
            f"no drag leads from {names}: they do not differ in the moved part's position alone"
        )
    candidates = _visible_moved_points(shard, source, view)
    point = rng.choice(candidates, min(count, len(candidates)), replace=False)
    start, end = shard.world_points(source, point), shard.world_points(target, point)
    camera = shard.camera_to_world[view]
    start_pixel, _ = project(start, camera, shard.intrinsics)
    end_pixel, _ = project(end, camera, shard.intrinsics)
    return Drags(start, end, start_pixel, end_pixel, point)


def state_pairs(shard: Shard) -> list[tuple[int, int]]:
    """All ordered pairs (source, target) of states between which drags lead: those that differ in
    the position of their moved part alone."""
    pairs = (pair for sweep in sweeps(shard) for pair in permutations(sweep, 2))
    return sorted(pair for pair in pairs if _one_part_moves(shard, *pair))


def draggable_pairs(shard: Shard, view: int = 0) -> list[tuple[int, int]]:
    """Those of `state_pairs` whose moved part shows a point in this view of the source state: no
    one can drag what the picture does not show."""
    visible = [shows_moved_part(shard, source, view) for source in range(len(shard.states))]
    return [(source, target) for source, target in state_pairs(shard) if visible[source]]


def shows_moved_part(shard: Shard, state: int, view: int = 0) -> bool:
    """Whether a view of a state shows a point of what the state's moved part moves."""
    return len(_visible_moved_points(shard, state, view)) > 0


def sweeps(shard: Shard) -> list[list[int]]:
    """The states in groups: each group has one part moved, from its lowest position to its highest,
    while all the others hold still."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, state in enumerate(shard.states):
        held = np.delete(state.positions, shard.object.column(state.part))
        groups.setdefault((state.part, *held), []).append(index)
    return [sorted(group, key=lambda i: shard.states[i].k) for group in groups.values()]


def moved_points(shard: Shard, part: int) -> Bool[np.ndarray, "P"]:
    """Which surface points a part's joint moves: those of its own link and of all that hang on it.

    Raises:
        ValueError: the object has no such movable part.
    """
    moved = np.zeros(len(shard.object.links), bool)
    moved[list(moved_links(shard, part))] = True
    return moved[shard.point_link]


def moved_links(shard: Shard, part: int) -> tuple[int, ...]:
    """Indices of the links that a part's joint moves.

    Raises:
        ValueError: the object has no such movable part.
    """
    return shard.object.subtree(shard.object.movable[shard.object.column(part)])


def _visible_moved_points(shard: Shard, state: int, view: int) -> Int[np.ndarray, "N"]:
    """Surface points that the state's moved part moves and that a view of the state shows."""
    moved = moved_points(shard, shard.states[state].part)
    return np.flatnonzero(moved & shard.visible(state, view))


def _one_part_moves(shard: Shard, source: int, target: int) -> bool:
    """Whether two states have the same moved part, at two positions, and all else alike."""
    a, b = shard.states[source], shard.states[target]
    differs = np.flatnonzero(a.positions != b.positions)
    return a.part == b.part and differs.tolist() == [shard.object.column(a.part)]
