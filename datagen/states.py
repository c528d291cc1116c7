"""Which states of an object are rendered: the two sampling schemes.

Every movable part is put at six positions from limit to limit while the other parts hold still at
random positions, so that any two of the six differ in that part alone.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from datagen.articulation import ArticulatedObject
from datagen.collision import CollisionModel
from datagen.state_names import STATES_PER_PART, Others, State, encode, positions

Scheme = Literal["uniform", "partdrag4d"]
IsFree: TypeAlias = Callable[[Float[np.ndarray, "6 movable"], Float[np.ndarray, "6 movable"]], bool]

TRIES = 16
"""Random draws of a joint's position, or of a pair of parts, before it is given up."""
TOLERANCE = 0.01
"""Penetration deeper than at rest by this much (PartNet units; objects are about 2 wide) counts."""


@dataclass(frozen=True)
class Plan:
    """The states to render, and what was left out on the way.

    Attributes:
        states: in the order of rendering.
        colliding: names of the states kept out because nothing drawn was free of collisions.
    """

    states: tuple[State, ...]
    colliding: tuple[str, ...] = ()


def object_rng(seed: int, object_id: str, purpose: str) -> np.random.Generator:
    """A generator that depends on nothing but its arguments, whatever else is drawn elsewhere."""
    return np.random.default_rng([seed, *(zlib.crc32(s.encode()) for s in (object_id, purpose))])


def collision_check(model: CollisionModel) -> IsFree:
    """Whether six states of a part stay clear of what the others' random positions bring.

    Compared with the same six positions of the part while the others rest, so that what a part's
    own way passes through anyhow does not count against the draw.
    """
    at_rest: dict[bytes, np.ndarray] = {}

    def is_free(
        drawn: Float[np.ndarray, "6 movable"], others_resting: Float[np.ndarray, "6 movable"]
    ) -> bool:
        for row, resting in zip(drawn, others_resting, strict=True):
            key = resting.tobytes()
            if key not in at_rest:
                at_rest[key] = model.penetration(resting)
            if (model.penetration(row) - at_rest[key]).max() > TOLERANCE:
                return False
        return True

    return is_free


def sample(
    obj: ArticulatedObject,
    parts: Sequence[int],
    scheme: Scheme,
    draws: int,
    rng: np.random.Generator,
    is_free: IsFree,
) -> Plan:
    """Choose the states of an object.

    Args:
        obj: the object.
        parts: indices of the parts to move.
        scheme: `uniform` puts every other joint uniformly in its range, `draws` times a part;
            `partdrag4d` puts up to two random others at all their extremes, and the rest at rest.
        draws: configurations of the others per part, for `uniform`.
        rng: decides everything that is random.
        is_free: whether a drawn configuration may be used.
    """
    states: list[State] = []
    colliding: list[str] = []
    for part in parts:
        if scheme == "uniform":
            states += _uniform(obj, part, draws, rng, is_free)
        else:
            free, not_free = _partdrag4d(obj, part, rng, is_free)
            states += free
            colliding += not_free
    return Plan(tuple(states), tuple(colliding))


def _swept(
    obj: ArticulatedObject, part: int, others: Float[np.ndarray, "movable"]
) -> Float[np.ndarray, "6 movable"]:
    """`others` with `part` at each of its six positions."""
    rows = np.tile(others, (STATES_PER_PART, 1))
    for i, joint in enumerate(obj.movable):
        if joint.part == part:
            rows[:, i] = [joint.position(k) for k in range(STATES_PER_PART)]
    return rows


def _uniform(
    obj: ArticulatedObject, part: int, draws: int, rng: np.random.Generator, is_free: IsFree
) -> list[State]:
    alone = len(obj.movable) == 1
    states = []
    for draw in range(1 if alone else draws):
        others = obj.rest if alone else _draw_others(obj, part, rng, is_free)
        suffix = "" if alone else f"_u{draw}"
        states += [
            State(f"{obj.id}_{part}_{k}{suffix}", part, k, row)
            for k, row in enumerate(_swept(obj, part, others))
        ]
    return states


def _draw_others(
    obj: ArticulatedObject, part: int, rng: np.random.Generator, is_free: IsFree
) -> Float[np.ndarray, "movable"]:
    """Random positions of the joints that leave the sweep of `part` free.

    All joints are drawn at once; where that collides, one after the other in random order, each
    again until it is free. A door may need every rack behind it shut: a joint that no draw frees
    stays at rest.
    """
    resting = _swept(obj, part, obj.rest)
    drawn = rng.uniform(obj.lower, obj.upper)
    if is_free(_swept(obj, part, drawn), resting):
        return drawn
    placed = obj.rest.copy()
    for index in rng.permutation(len(placed)):
        if obj.movable[index].part == part:
            continue
        for _ in range(TRIES):
            candidate = placed.copy()
            candidate[index] = rng.uniform(obj.lower[index], obj.upper[index])
            if is_free(_swept(obj, part, candidate), resting):
                placed = candidate
                break
    return placed


def _partdrag4d(
    obj: ArticulatedObject, part: int, rng: np.random.Generator, is_free: IsFree
) -> tuple[list[State], list[str]]:
    """States, and the names of those that collide. Another pair of others is drawn until all its
    extremes are free; failing that, the pair with the most free extremes is taken."""
    candidates = [j.part for j in obj.movable if j.part != part]
    resting = _swept(obj, part, obj.rest)
    pairs = list(itertools.permutations(candidates, min(2, len(candidates))))
    drawn: list[tuple[list[State], list[str]]] = []
    for index in rng.permutation(len(pairs))[:TRIES]:
        states: list[State] = []
        colliding: list[str] = []
        for extremes in itertools.product((0, 1), repeat=len(pairs[index])):
            others: Others = tuple(zip(pairs[index], extremes, strict=True))
            rows = [positions(obj, part, k, others) for k in range(STATES_PER_PART)]
            names = [encode(obj.id, part, k, others) for k in range(STATES_PER_PART)]
            if not others or is_free(np.array(rows), resting):
                states += [
                    State(name, part, k, row, others)
                    for k, (name, row) in enumerate(zip(names, rows, strict=True))
                ]
            else:
                colliding += names
        drawn.append((states, colliding))
        if not colliding:
            break
    return min(drawn, key=lambda found: len(found[1]))
