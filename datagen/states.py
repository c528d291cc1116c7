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
from jaxtyping import Bool, Float

from datagen.articulation import ArticulatedObject
from datagen.collision import CollisionModel
from datagen.state_names import STATES_PER_PART, Others, State, encode, positions

Scheme = Literal["uniform", "partdrag4d"]

Blame: TypeAlias = Callable[[Float[np.ndarray, "6 movable"]], Bool[np.ndarray, "movable"]]
"""Given joint positions, which joints have part in a collision; none, where they are free."""

TRIES = 32
"""How often joints that collide, or a pair of parts, are drawn again before it is given up."""
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


def collision_check(model: CollisionModel) -> Blame:
    """Blames the joints between links that stand deeper in each other than they do at rest."""
    obj = model.obj
    at_rest = model.penetration(obj.rest)

    def blame(rows: Float[np.ndarray, "6 movable"]) -> Bool[np.ndarray, "movable"]:
        blamed = np.zeros(len(obj.movable), bool)
        for row in rows:
            deeper = model.penetration(row) - at_rest > TOLERANCE
            blamed |= obj.between[deeper].any(axis=0)
        return blamed

    return blame


def none_collide(rows: Float[np.ndarray, "6 movable"]) -> Bool[np.ndarray, "movable"]:
    """Blames no joint: for those who want states quickly, and bear parts that stand in others."""
    return np.zeros(rows.shape[1], bool)


def sample(
    obj: ArticulatedObject,
    parts: Sequence[int],
    scheme: Scheme,
    draws: int,
    rng: np.random.Generator,
    blame: Blame,
) -> Plan:
    """Choose the states of an object.

    Args:
        obj: the object.
        parts: indices of the parts to move.
        scheme: `uniform` puts every other joint uniformly in its range, `draws` times a part;
            `partdrag4d` puts up to two random others at all their extremes, and the rest at rest.
        draws: configurations of the others per part, for `uniform`.
        rng: decides everything that is random.
        blame: finds collisions. What the moved part's own way passes through wherever the others
            are is no fault of the draw.
    """
    states: list[State] = []
    colliding: list[str] = []
    for part in parts:
        if scheme == "uniform":
            free, not_free = _uniform(obj, part, draws, rng, blame)
        else:
            free, not_free = _partdrag4d(obj, part, rng, blame)
        states += free
        colliding += not_free
    return Plan(tuple(states), tuple(colliding))


def _swept(
    obj: ArticulatedObject, part: int, others: Float[np.ndarray, "movable"]
) -> Float[np.ndarray, "6 movable"]:
    """`others` with `part` at each of its six positions."""
    rows = np.tile(others, (STATES_PER_PART, 1))
    column = obj.column(part)
    rows[:, column] = [obj.movable[column].position(k) for k in range(STATES_PER_PART)]
    return rows


def _uniform(
    obj: ArticulatedObject, part: int, draws: int, rng: np.random.Generator, blame: Blame
) -> tuple[list[State], list[str]]:
    """States, and the names of those for which no free configuration was found."""
    alone = len(obj.movable) == 1
    states: list[State] = []
    colliding: list[str] = []
    for draw in range(1 if alone else draws):
        suffix = "" if alone else f"_u{draw}"
        names = [f"{obj.id}_{part}_{k}{suffix}" for k in range(STATES_PER_PART)]
        rows = _swept(obj, part, obj.rest) if alone else _draw_others(obj, part, rng, blame)
        if rows is None:
            colliding += names
        else:
            states += [State(name, part, k, rows[k]) for k, name in enumerate(names)]
    return states, colliding


def _draw_others(
    obj: ArticulatedObject, part: int, rng: np.random.Generator, blame: Blame
) -> Float[np.ndarray, "6 movable"] | None:
    """The sweep of `part` with all other joints at random, or None where none is found free.

    Joints that collide are drawn again, each time closer to rest or to one of their limits: a door
    may swing only while every rack behind it is in, and a rack come out only while it is wide open.
    """
    anchors = np.stack([obj.rest, obj.lower, obj.upper])
    others = rng.uniform(obj.lower, obj.upper)
    for attempt in range(TRIES):
        rows = _swept(obj, part, others)
        blamed = blame(rows)
        blamed[obj.column(part)] = False
        if not blamed.any():
            return rows
        reach = 1 - (attempt + 1) / TRIES
        anchor = anchors[rng.integers(3, size=len(others)), np.arange(len(others))]
        again = anchor + reach * (rng.uniform(obj.lower, obj.upper) - anchor)
        others = np.where(blamed, again, others)
    return None


def _partdrag4d(
    obj: ArticulatedObject, part: int, rng: np.random.Generator, blame: Blame
) -> tuple[list[State], list[str]]:
    """States, and the names of those that collide. Pairs of others are drawn until one is free at
    all its extremes; failing that, the pair with the most free ones is taken."""
    candidates = [j.part for j in obj.movable if j.part != part]
    pairs = list(itertools.permutations(candidates, min(2, len(candidates))))
    best: tuple[list[State], list[str]] | None = None
    for index in rng.permutation(len(pairs))[:TRIES]:
        states: list[State] = []
        colliding: list[str] = []
        for extremes in itertools.product((0, 1), repeat=len(pairs[index])):
            others: Others = tuple(zip(pairs[index], extremes, strict=True))
            rows = [positions(obj, part, k, others) for k in range(STATES_PER_PART)]
            names = [encode(obj.id, part, k, others) for k in range(STATES_PER_PART)]
            blamed = blame(np.array(rows))
            blamed[obj.column(part)] = False
            if others and blamed.any():
                colliding += names
            else:
                states += [
                    State(name, part, k, row, others)
                    for k, (name, row) in enumerate(zip(names, rows, strict=True))
                ]
        if best is None or len(states) > len(best[0]):
            best = states, colliding
        if not colliding:
            break
    assert best is not None  # there is at least one pair, if only the empty one
    return best
