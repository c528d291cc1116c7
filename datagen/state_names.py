"""The published names of states, `<object>_<part>_<k>_<others>`, to joint positions and back.

`41083_0_3_3021` is object 41083 with part 0 at state index 3 of 0…5, part 3 at its lower limit
and part 2 at its upper one. An object with one movable joint has no fourth field; joints that a
name does not mention rest. With part indices of two digits a field can be read in more than one
way: the number of joints settles most of these, and the other names of the same part, which hold
the same two others at all four extremes, settle the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Float

from datagen.articulation import ArticulatedObject

STATES_PER_PART = 6
FIELDS = re.compile(r"(0|[1-9][0-9]?)_([0-9])(?:_([0-9]+))?")
Others = tuple[tuple[int, int], ...]
"""(part, 0 for its lower or 1 for its upper limit) of the randomised parts, in the name's order."""


@dataclass(frozen=True)
class State:
    """One configuration of an object.

    Attributes:
        name: unique in its object.
        part: index of the moved part.
        k: its state index, 0 to 5.
        positions: one value a movable joint, radians or PartNet units.
        others: the parts put at a limit, where the scheme does that.
    """

    name: str
    part: int
    k: int
    positions: Float[np.ndarray, "movable"]
    others: Others = ()


class StateNameError(ValueError):
    """A name that does not fit its object; says which and why."""


def encode(object_id: str, part: int, k: int, others: Others = ()) -> str:
    """The published name of a state."""
    name = f"{object_id}_{part}_{k}"
    if others:
        name += "_" + "".join(f"{other}{extreme}" for other, extreme in others)
    return name


def readings(field: str, parts: frozenset[int], count: int) -> set[Others]:
    """All ways to read a name's fourth field as `count` different ones of `parts`."""
    if count == 0:
        return {()} if not field else set()
    found: set[Others] = set()
    for width in (1, 2):
        digits, extreme = field[:width], field[width : width + 1]
        if not digits.isdecimal() or str(int(digits)) != digits or extreme not in ("0", "1"):
            continue
        part = int(digits)
        if part in parts:
            head = (part, int(extreme))
            rest = readings(field[width + 1 :], parts - {part}, count - 1)
            found |= {(head, *others) for others in rest}
    return found


def split(object_id: str, name: str) -> tuple[int, int, str]:
    """Part, state index and the field of the others.

    Raises:
        StateNameError: the name is not of this form, or of another object.
    """
    prefix = f"{object_id}_"
    fields = FIELDS.fullmatch(name.removeprefix(prefix))
    if not name.startswith(prefix) or fields is None:
        raise StateNameError(f"state {name!r} is not of the form {prefix}<part>_<k>_<others>")
    part, k = int(fields[1]), int(fields[2])
    if k >= STATES_PER_PART:
        raise StateNameError(f"state {name!r}: its state index {k} is over {STATES_PER_PART - 1}")
    return part, k, fields[3] or ""


def decode(obj: ArticulatedObject, names: Iterable[str]) -> list[State]:
    """The states that `names` name, in their order.

    Args:
        obj: the object that all of them are of.
        names: as many as there are; they help to read one another.

    Raises:
        StateNameError: a name does not fit the object, or can still be read in more than one way.
    """
    split_names = [(name, *split(obj.id, name)) for name in names]
    parts = frozenset(j.part for j in obj.movable)
    count = min(2, len(parts) - 1)
    read: dict[str, set[Others]] = {}
    shared: dict[int, list[set[tuple[int, ...]]]] = {}
    for name, part, _, field in split_names:
        if part not in parts:
            raise StateNameError(f"state {name!r}: {obj.id} has no movable part {part}")
        read[name] = readings(field, parts - {part}, count)
        if not read[name]:
            raise StateNameError(
                f"state {name!r}: {field!r} does not name {count} other movable part(s) of {obj.id}"
            )
        shared.setdefault(part, []).append({_parts_of(o) for o in read[name]})
    common = {part: reduce(set.intersection, sets) for part, sets in shared.items()}
    states = []
    for name, part, k, _ in split_names:
        left = [o for o in read[name] if _parts_of(o) in common[part]] or list(read[name])
        if len(left) > 1:
            ways = " or ".join(str(dict(o)) for o in sorted(left))
            raise StateNameError(f"state {name!r} can be read in more than one way: {ways}")
        states.append(State(name, part, k, positions(obj, part, k, left[0]), left[0]))
    return states


def _parts_of(others: Others) -> tuple[int, ...]:
    return tuple(part for part, _ in others)


def positions(
    obj: ArticulatedObject, part: int, k: int, others: Others = ()
) -> Float[np.ndarray, "movable"]:
    """Joint positions: `part` at state index `k`, the others at a limit, the rest at rest."""
    values = obj.rest.copy()
    extreme_of = dict(others)
    for i, joint in enumerate(obj.movable):
        if joint.part == part:
            values[i] = joint.position(k, STATES_PER_PART)
        elif joint.part in extreme_of:
            values[i] = joint.upper if extreme_of[joint.part] else joint.lower
    return values
