"""Contraptions: random things with doors, drawers, lids, levers and knobs, like nothing in a shop.

A network that has seen thousands of them knows how parts move, and not how a few products look.
A function draws one object and returns its parts, the body last.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from . import textures
from .contraption_parts import (
    Joinery,
    X,
    Y,
    Z,
    bail,
    decorate,
    doors,
    drawer,
    finish,
    gadget,
    legs,
    lid,
    primitive,
    slab,
    thing_in,
    tray,
    turned,
)
from .fittings import GAP, control_knob, front
from .shapes import Array, box, circle, cup, lathe, shell, sweep
from .writer import Material, Part

GRIPS = ("bar", "flat", "arc", "knob", "lip")


def contraption(rng: Generator) -> list[Part]:
    """One of the kinds below, sometimes lying on its back or turned aside."""
    kinds: tuple[Callable[[Generator], list[Part]], ...] = (
        cupboard,
        chest,
        clamshell,
        machine,
        heap,
    )
    kind = kinds[rng.choice(len(kinds), p=[0.35, 0.2, 0.15, 0.15, 0.15])]
    parts = kind(rng)
    if kind is cupboard and rng.random() < 0.15:
        parts = turned(parts, X, -np.pi / 2)
    if rng.random() < 0.3:
        quarter = np.pi / 2 * rng.integers(-1, 3)
        parts = turned(parts, Y, quarter if rng.random() < 0.6 else rng.uniform(-0.7, 0.7))
    return parts


def cupboard(rng: Generator) -> list[Part]:
    """A carcass whose front is split again and again; behind each cell's front a hollow."""
    w, h, d = _sizes(rng, 0.35, 1.6)
    board = rng.uniform(0.012, 0.035)
    outside, fronts = finish(rng), finish(rng)
    if rng.random() < 0.4:
        fronts = outside
    inside = finish(rng) if rng.random() < 0.4 else outside
    style, grip = str(rng.choice(["flat", "shaker", "glazed"])), str(rng.choice(GRIPS))
    make = Joinery(style, grip, fronts, inside, finish(rng))
    body = Part("body", "heavy")
    low, high = np.array([-w / 2, 0.0]), np.array([w / 2, h])
    _carcass(rng, body, low, high, d, board, (outside, inside))
    parts: list[Part] = []
    for cell_low, cell_high in _split(rng, low, high, int(rng.integers(0, 4))):
        for axis in (X, Y):  # a board between neighbours
            if cell_high[axis] < high[axis] - 1e-6:
                edges = np.array([[*cell_low, 0.004 - d], [*cell_high, -0.003]])
                edges[:, axis] = cell_high[axis] - board / 2, cell_high[axis] + board / 2
                body.add("divider", box(*edges), inside)
        hollow = np.array([*cell_low + board, 0.016 - d]), np.array([*cell_high - board, -0.002])
        parts += _cell(rng, make, body, cell_low + GAP / 2, cell_high - GAP / 2, hollow, board)
    legs(rng, body, np.array([-w / 2, -d]), np.array([w / 2, 0.0]), outside)
    if rng.random() < 0.3:
        thing_in(rng, body, (np.array([-w / 2, h, -d]), np.array([w / 2, 1.4 * h, 0.0])))
    return [*(parts or [lid(rng, w, h, d, finish(rng))]), body]


def _carcass(
    rng: Generator,
    body: Part,
    low: Array,
    high: Array,
    d: float,
    board: float,
    looks: tuple[Material, Material],
) -> None:
    """Sides, floor, top and perhaps a back around `low` to `high` (2,), looking like `looks` from
    outside and inside."""
    (left, floor), (right, top) = low, high
    for x in (left, right - board):
        body.add("side", box((x, floor, -d), (x + board, top, 0), 0.002), looks[0])
    for y in (floor, top - board):
        ends = (left + board, y, -d), (right - board, y + board, 0)
        body.add("board", box(*ends, 0.001), looks[0])
    if rng.random() < 0.9:
        start = (left + board, floor + board, 0.002 - d)
        body.add("back", box(start, (right - board, top - board, 0.012 - d)), looks[1])


def _cell(
    rng: Generator,
    make: Joinery,
    body: Part,
    low: Array,
    high: Array,
    hollow: tuple[Array, Array],
    board: float,
) -> list[Part]:
    """What closes the cell with its front over `low` to `high` (2,) and its hollow behind."""
    use = str(
        rng.choice(["door", "drawer", "open", "blank", "knobs"], p=[0.46, 0.3, 0.1, 0.07, 0.07])
    )
    z = GAP + rng.uniform(0.012, 0.04)
    parts: list[Part] = []
    if use == "door":
        parts += doors(rng, make, low, high, z)
        if rng.random() < 0.5:
            y = hollow[0][Y] + rng.uniform(0.3, 0.7) * (hollow[1][Y] - hollow[0][Y])
            ends = (hollow[0][X], y, hollow[0][Z]), (hollow[1][X], y + board, -0.02)
            body.add("shelf", box(*ends), make.inside)
    elif use == "drawer":
        parts.append(drawer(rng, make, low, high, z, hollow))
    elif use != "open":
        front(body, "front", (*low, -0.002), (*high, z), "flat", make.fronts)
    if use == "knobs":
        parts += _knobs(rng, make, low, high, z)
    if use == "open" or rng.random() < 0.15:
        thing_in(rng, body, hollow)
    return parts


def _knobs(rng: Generator, make: Joinery, low: Array, high: Array, z: float) -> list[Part]:
    """A row of knobs on a front over `low` to `high` (2,), along its longer side."""
    size = high - low
    radius = 0.3 * min(*size, 0.2)
    along = size * (np.arange(2) == size.argmax())
    count = max(1, int(rng.integers(1, 1 + size.max() // (3 * radius))))
    knobs = []
    for share in (np.arange(count) + 0.5) / count:
        place = (low + high) / 2 + (share - 0.5) * along
        upper = float(rng.uniform(1.5, 5.5)) if rng.random() < 0.8 else None
        knobs.append(control_knob("knob", (*place, z), radius, make.fitting, finish(rng), upper))
    return knobs


def chest(rng: Generator) -> list[Part]:
    """A hollow open upwards, square or round, around the origin, and what covers it."""
    w, h, d = _sizes(rng, 0.3, 1.2)
    wall = rng.uniform(0.01, 0.05) * min(w, h, d) + 0.008
    outside, fitting = finish(rng), finish(rng)
    top = outside if rng.random() < 0.5 else finish(rng)
    body = Part("body", "heavy")
    turned_one = rng.random() < 0.4
    if turned_one:
        d = w
        foot, rim = w / 2 * rng.uniform(0.6, 1.0), w / 2
        outer = [circle(foot), circle(rim)]
        inner = [circle(rim - wall), circle(foot - wall)]
        body.add("vessel", cup(outer, inner, [0, h, h, wall], Y, wrap=True), outside)
    else:
        low, high = np.array([-w / 2, 0, -d / 2]), np.array([w / 2, h, d / 2])
        body.add("vessel", shell(low, high, low + wall, high - wall, Y, 0.003), outside)
    parts = _covers(rng, w, h, d, turned_one, top, fitting)
    if not parts or rng.random() < 0.3:
        parts.append(bail(rng, w, h, fitting))
    if rng.random() < 0.4:
        thing_in(rng, body, (np.array([-w / 3, wall, -d / 3]), np.array([w / 3, 0.8 * h, d / 3])))
    legs(rng, body, np.array([-w, -d]) * 0.35, np.array([w, d]) * 0.35, fitting)
    return [*parts, body]


def _covers(
    rng: Generator, w: float, h: float, d: float, turned_one: bool, top: Material, fitting: Material
) -> list[Part]:
    """A lid, two halves of one, what slides aside or is lifted off, or nothing."""
    way = str(rng.choice(["lid", "halves", "slide", "lift", "none"], p=[0.5, 0.15, 0.1, 0.1, 0.15]))
    thick, upper = rng.uniform(0.012, 0.05), float(rng.uniform(0.8, 2.2))
    if way == "lid":
        return [lid(rng, w, h, d, top, middle=0.0, turned_one=turned_one)]
    if way == "none":
        return []
    if way == "halves" and not turned_one:
        halves = []
        for side, x in ((-1, -w / 2), (1, w / 2)):
            ends = (min(x, 0.0), h + GAP, -d / 2), (max(x, 0.0), h + GAP + thick, d / 2)
            half = Part("lid", "hinge", (x, h + GAP, 0), (0, 0, -side), upper)
            half.add("lid", box(*ends, 0.003), top)
            halves.append(half)
        return halves
    axis = (0.0, 1.0, 0.0) if way == "lift" or turned_one else (1.0, 0.0, 0.0)
    cover = Part("cover", "slider", (0, h, 0), axis, float(rng.uniform(0.3, 0.9) * w))
    cover.add("cover", slab(rng, w, h + GAP, d, thick, turned_one), top)
    knob = primitive(rng, np.array([0, h + GAP + thick + 0.03, 0]), 0.12 * w)
    cover.add("grip", knob, fitting)
    return [cover]


def clamshell(rng: Generator) -> list[Part]:
    """Slabs that unfold: a laptop, a book, a waffle iron, a screen."""
    w, d = rng.uniform(0.25, 0.6, 2)
    thick = rng.uniform(0.008, 0.09, 2)
    shared = finish(rng)
    body = Part("base", "heavy")
    body.add("base", box((-w / 2, 0, -d), (w / 2, thick[0], 0), 0.002), shared)
    decorate(rng, body, w, d, thick[0] - 0.0006)
    parts: list[Part] = []
    at, parent = thick[0] + 0.001, None
    for leaf in range(1 if rng.random() < 0.8 else 2):
        origin = (0, at, -d) if leaf == 0 else (0, at, 0)
        axis = (-1.0, 0.0, 0.0) if leaf == 0 else (1.0, 0.0, 0.0)
        cover = Part("cover", "hinge", origin, axis, float(rng.uniform(1.2, 3.0)), parent)
        material = shared if rng.random() < 0.5 else finish(rng)
        cover.add("cover", box((-w / 2, at, -d), (w / 2, at + thick[1], 0), 0.002), material)
        plate = box((-0.45 * w, at - 0.0012, -0.92 * d), (0.45 * w, at + 0.004, -0.06 * d))
        picture = textures.desktop(rng) if rng.random() < 0.5 else textures.pattern(rng)
        shown = Material(texture=picture, gloss=0.3, shininess=200)
        cover.add("plate", plate.pictured(Y), shown, collides=False)
        if rng.random() < 0.4:
            decorate(rng, cover, w, d, at + thick[1] - 0.0006)
        parts.append(cover)
        at, parent = at + thick[1] + 0.002, cover
    return [*parts, body]


def machine(rng: Generator) -> list[Part]:
    """A block with levers, wheels, spouts, buttons and arms on it."""
    w, h, d = _sizes(rng, 0.15, 0.7)
    outside, fitting = finish(rng), finish(rng)
    body = Part("body", "heavy")
    if rng.random() < 0.5:
        bevel = rng.uniform(0.003, 0.1) * min(w, h, d)
        body.add("block", box((-w / 2, 0, -d), (w / 2, h, 0), bevel), outside)
    else:
        d = w
        radii = w / 2 * rng.uniform(0.5, 1.0, 4)
        profile = list(zip(radii, h * np.array([0, 0.3, 0.7, 1.0]), strict=True))
        body.add("vessel", lathe(profile, (0, 0, -d / 2), Y), outside)
    for _ in range(int(rng.integers(0, 3))):
        low, high = np.array([-w / 2, 0.0, -d]), np.array([w / 2, 1.3 * h, 0.3 * d])
        place, size = rng.uniform(low, high), rng.uniform(0.1, 0.4) * min(w, h, d)
        body.add("piece", primitive(rng, place, size), finish(rng))
    if rng.random() < 0.4:
        turn = np.linspace(0, np.pi, 10)
        bow = 0.3 * h * np.column_stack([0 * turn, np.sin(turn), 1 - np.cos(turn)])
        path = np.array([0, h, -d / 2]) + np.concatenate([[[0, -0.02, 0]], bow])
        body.add("spout", sweep(path, 0.08 * w), fitting)
    parts = [gadget(rng, w, h, d, fitting) for _ in range(int(rng.integers(1, 4)))]
    if rng.random() < 0.2:
        parts.append(tray(rng, w, d, fitting))
    if rng.random() < 0.3:
        parts.append(lid(rng, w, h, d, finish(rng)))
    return [*parts, body]


def heap(rng: Generator) -> list[Part]:
    """Solids thrown together, some of which turn or slide, in any direction."""
    body = Part("body", "heavy")
    places = rng.normal(0, 0.18, (int(rng.integers(3, 10)), 3))
    for place in places:
        body.add("piece", primitive(rng, place, rng.uniform(0.2, 0.7)), finish(rng))
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        centre = places[rng.integers(len(places))] + rng.normal(0, 0.25, 3)
        pivot = centre + rng.normal(0, 0.25, 3)
        axis = np.eye(3)[rng.integers(3)] * rng.choice([-1, 1])
        if rng.random() < 0.3:
            axis = rng.normal(size=3)
            axis /= np.linalg.norm(axis)
        turns = rng.random() < 0.6
        reach = rng.uniform(0.5, 2.8) if turns else rng.uniform(0.2, 0.8)
        part = Part("piece", "hinge" if turns else "slider", pivot, axis, float(reach))
        for _ in range(int(rng.integers(1, 4))):
            place = centre + rng.normal(0, 0.08, 3)
            part.add("piece", primitive(rng, place, rng.uniform(0.12, 0.5)), finish(rng))
        parts.append(part)
    return [*parts, body]


def _sizes(rng: Generator, smallest: float, largest: float) -> tuple[float, float, float]:
    """Width, height and depth in metres, all scales alike."""
    w, h, d = np.exp(rng.uniform(np.log(smallest), np.log(largest), 3))
    return float(w), float(h), float(d)


def _split(rng: Generator, low: Array, high: Array, depth: int) -> list[tuple[Array, Array]]:
    """A rectangle in pieces, `depth` cuts deep."""
    size = high - low
    if not depth or size.max() < 0.25 or rng.random() < 0.15:
        return [(low, high)]
    axis = int(size.argmax() if rng.random() < 0.8 else size.argmin())
    if size[axis] < 0.2:
        return [(low, high)]
    cuts = low[axis] + size[axis] * np.linspace(0, 1, int(rng.integers(2, 5)))
    if len(cuts) == 3:
        cuts[1] = low[axis] + size[axis] * rng.uniform(0.25, 0.75)
    pieces = []
    for start, end in pairwise(cuts):
        a, b = low.copy(), high.copy()
        a[axis], b[axis] = start, end
        pieces += _split(rng, a, b, depth - 1)
    return pieces
