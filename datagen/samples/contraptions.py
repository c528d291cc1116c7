"""Contraptions: random things with doors, drawers, lids, levers and knobs, like nothing in a shop.

A network that has seen thousands of them knows how parts move, and not how a few products look.
A function draws one object and returns its parts, the body last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from . import textures
from .fittings import (
    GAP,
    SIDE_AXES,
    appliance,
    control_knob,
    drawer_box,
    enamel,
    front,
    glass,
    handle,
    metal,
    painted,
    plain,
    wooden,
)
from .shapes import (
    Array,
    Mesh,
    Point,
    box,
    circle,
    cup,
    cylinder,
    frame,
    lathe,
    shell,
    sweep,
    turned_points,
)
from .textures import hsv
from .writer import Material, Part

HINGE_AXES = {**SIDE_AXES, "top": (-1.0, 0.0, 0.0), "bottom": (1.0, 0.0, 0.0)}
GRIPS = ("bar", "flat", "arc", "knob", "lip")
X, Y, Z = range(3)


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
        parts = _turned(parts, X, -np.pi / 2)
    if rng.random() < 0.3:
        quarter = np.pi / 2 * rng.integers(-1, 3)
        parts = _turned(parts, Y, quarter if rng.random() < 0.6 else rng.uniform(-0.7, 0.7))
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
    fitting = finish(rng)
    left, right = -w / 2, w / 2
    body = Part("body", "heavy")
    for x in (left, right - board):
        body.add("side", box((x, 0, -d), (x + board, h, 0), 0.002), outside)
    for y in (0.0, h - board):
        ends = (left + board, y, -d), (right - board, y + board, 0)
        body.add("board", box(*ends, 0.001), outside)
    if rng.random() < 0.9:
        start, end = (left + board, board, 0.002 - d), (right - board, h - board, 0.012 - d)
        body.add("back", box(start, end), inside)
    parts: list[Part] = []
    cells = _split(rng, np.array([left, 0.0]), np.array([right, h]), int(rng.integers(0, 4)))
    for low, high in cells:
        for axis, edge in ((X, right), (Y, h)):  # a board between neighbours
            if high[axis] < edge - 1e-6:
                edges = np.array([[*low, 0.004 - d], [*high, -0.003]])
                edges[:, axis] = high[axis] - board / 2, high[axis] + board / 2
                body.add("divider", box(*edges), inside)
        use = str(
            rng.choice(["door", "drawer", "open", "blank", "knobs"], p=[0.46, 0.3, 0.1, 0.07, 0.07])
        )
        face = low + GAP / 2, high - GAP / 2
        hollow = np.array([*low + board, 0.016 - d]), np.array([*high - board, -0.002])
        z = GAP + rng.uniform(0.012, 0.04)
        if use == "door":
            parts += _doors(rng, *face, z, style, fronts, grip, fitting)
            if rng.random() < 0.5:
                y = rng.uniform(0.3, 0.7) * (hollow[1][Y] - hollow[0][Y]) + hollow[0][Y]
                shelf = (hollow[0][X], y, hollow[0][Z]), (hollow[1][X], y + board, -0.02)
                body.add("shelf", box(*shelf), inside)
        elif use == "drawer":
            parts.append(_drawer(rng, *face, z, hollow, style, fronts, inside, grip, fitting))
        elif use != "open":
            front(body, "front", (*face[0], -0.002), (*face[1], z), "flat", fronts)
        if use == "knobs":
            radius = 0.3 * min(*(face[1] - face[0]), 0.2)
            count = max(1, int(rng.integers(1, 1 + (face[1] - face[0]).max() // (3 * radius))))
            for share in (np.arange(count) + 0.5) / count:
                place = face[0] + (face[1] - face[0]) * (
                    (share, 0.5)
                    if face[1][0] - face[0][0] > face[1][1] - face[0][1]
                    else (0.5, share)
                )
                upper = float(rng.uniform(1.5, 5.5)) if rng.random() < 0.8 else None
                knob = control_knob("knob", (*place, z), radius, fitting, finish(rng), upper)
                parts.append(knob)
        if use == "open" or rng.random() < 0.15:
            _thing_in(rng, body, hollow)
    _legs(rng, body, np.array([left, -d]), np.array([right, 0.0]), outside)
    if rng.random() < 0.3:
        _thing_in(rng, body, (np.array([left, h, -d]), np.array([right, 1.4 * h, 0.0])))
    return [*(parts or [_lid(rng, body, w, h, d)]), body]


def chest(rng: Generator) -> list[Part]:
    """A hollow open upwards, square or round, and what covers it."""
    w, h, d = _sizes(rng, 0.3, 1.2)
    wall = rng.uniform(0.01, 0.05) * min(w, h, d) + 0.008
    outside, fitting = finish(rng), finish(rng)
    top = outside if rng.random() < 0.5 else finish(rng)
    body = Part("body", "heavy")
    round_one = rng.random() < 0.4
    if round_one:
        d = w
        foot, rim = w / 2 * rng.uniform(0.6, 1.0), w / 2
        outer = [circle(foot), circle(rim)]
        inner = [circle(rim - wall), circle(foot - wall)]
        body.add("vessel", cup(outer, inner, [0, h, h, wall], Y, wrap=True), outside)
        # `circle` stands about the middle of the floor, so everything else does here.
    else:
        low, high = np.array([-w / 2, 0, -d / 2]), np.array([w / 2, h, d / 2])
        body.add("vessel", shell(low, high, low + wall, high - wall, Y, 0.003), outside)
    parts: list[Part] = []
    way = str(rng.choice(["lid", "halves", "slide", "lift", "none"], p=[0.5, 0.15, 0.1, 0.1, 0.15]))
    thick = rng.uniform(0.012, 0.05)
    upper = float(rng.uniform(0.8, 2.2))
    if way == "lid":
        parts.append(_lid(rng, body, w, h, d, top, round_one))
    elif way == "halves" and not round_one:
        for side, x in ((-1, -w / 2), (1, w / 2)):
            ends = (min(x, 0.0), h + GAP, -d / 2), (max(x, 0.0), h + GAP + thick, d / 2)
            half = Part("lid", "hinge", (x, h + GAP, 0), (0, 0, -side), upper)
            half.add("lid", box(*ends, 0.003), top)
            parts.append(half)
    elif way != "none":
        axis = (0.0, 1.0, 0.0) if way == "lift" or round_one else (1.0, 0.0, 0.0)
        cover = Part("cover", "slider", (0, h, 0), axis, float(rng.uniform(0.3, 0.9) * w))
        cover.add("cover", _slab(rng, w, h + GAP, d, thick, round_one), top)
        handle_mesh = _primitive(rng, np.array([0, h + GAP + thick + 0.03, 0]), 0.12 * w)
        cover.add("grip", handle_mesh, fitting)
        parts.append(cover)
    if not parts or rng.random() < 0.3:
        parts.append(_bail(rng, w, h, fitting))
    if rng.random() < 0.4:
        _thing_in(rng, body, (np.array([-w / 3, wall, -d / 3]), np.array([w / 3, 0.8 * h, d / 3])))
    _legs(rng, body, np.array([-w, -d]) * 0.35, np.array([w, d]) * 0.35, fitting)
    return [*parts, body]


def clamshell(rng: Generator) -> list[Part]:
    """Slabs that unfold: a laptop, a book, a waffle iron, a screen."""
    w, d = rng.uniform(0.25, 0.6, 2)
    thick = rng.uniform(0.008, 0.09, 2)
    shared = finish(rng)
    body = Part("base", "heavy")
    body.add("base", box((-w / 2, 0, -d), (w / 2, thick[0], 0), 0.002), shared)
    _decorate(rng, body, w, d, thick[0] - 0.0006)
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
            _decorate(rng, cover, w, d, at + thick[1] - 0.0006)
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
        body.add("piece", _primitive(rng, place, size), finish(rng))
    if rng.random() < 0.4:
        bend = np.linspace(0, np.pi, 10)[:, None] * [0, 1, 1]
        path = np.array([0, h, -d / 2]) + np.concatenate(
            [
                [[0, -0.02, 0]],
                0.3
                * h
                * np.column_stack([0 * bend[:, 0], np.sin(bend[:, 1]), 1 - np.cos(bend[:, 2])]),
            ]
        )
        body.add("spout", sweep(path, 0.08 * w), fitting)
    parts = [_gadget(rng, w, h, d, fitting) for _ in range(int(rng.integers(1, 4)))]
    if rng.random() < 0.3:
        parts.insert(0, _lid(rng, body, w, h, d))
    return [*parts, body]


def heap(rng: Generator) -> list[Part]:
    """Solids thrown together, some of which turn or slide, in any direction."""
    body = Part("body", "heavy")
    places = rng.normal(0, 0.18, (int(rng.integers(3, 10)), 3))
    for place in places:
        body.add("piece", _primitive(rng, place, rng.uniform(0.2, 0.7)), finish(rng))
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
            part.add("piece", _primitive(rng, place, rng.uniform(0.12, 0.5)), finish(rng))
        parts.append(part)
    return [*parts, body]


def finish(rng: Generator) -> Material:
    """Any material."""
    kind = rng.choice(
        ["plain", "painted", "wood", "metal", "enamel", "pattern", "appliance", "glass"],
        p=[0.25, 0.12, 0.17, 0.08, 0.1, 0.16, 0.08, 0.04],
    )
    colour = hsv(rng, (0, 1), (0.0, 0.95), (0.05, 1.0))
    if kind == "plain":
        return plain(colour, float(rng.uniform(0.0, 0.5)))
    if kind == "painted":
        return painted(rng)
    if kind == "wood":
        up = wooden(rng)[rng.integers(2)]
        return replace(up, tile=float(rng.uniform(0.15, 0.8)))
    if kind == "metal":
        return metal(rng)
    if kind == "enamel":
        return enamel(rng, colour)
    if kind == "pattern":
        tile = float(rng.uniform(0.08, 0.7))
        return Material(texture=textures.pattern(rng), tile=tile, gloss=float(rng.uniform(0, 0.4)))
    if kind == "appliance":
        return appliance(rng)
    return glass(colour, float(rng.uniform(0.2, 0.7)))


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


def _doors(
    rng: Generator,
    low: Array,
    high: Array,
    z: float,
    style: str,
    material: Material,
    grip: str,
    fitting: Material,
) -> list[Part]:
    """One door over `low` to `high` (2,), hinged at any edge, or two."""
    hung = [str(rng.choice(["left", "right", "top", "bottom"], p=[0.35, 0.35, 0.15, 0.15]))]
    if high[X] - low[X] > 0.5 and rng.random() < 0.5:
        hung = ["left", "right"]
    upper = float(rng.uniform(1.0, 2.6))
    edges = np.linspace(low[X], high[X], len(hung) + 1)
    doors = []
    for x0, x1, side in zip(edges[:-1], edges[1:], hung, strict=True):
        x0, x1 = x0 + 0.001, x1 - 0.001
        origin = (x1 if side == "right" else x0, high[Y] if side == "top" else low[Y], z)
        door = Part("door", "hinge", origin, HINGE_AXES[side], upper)
        pane = glass(hsv(rng, (0, 1), (0, 0.4), (0.1, 0.9)), float(rng.uniform(0.2, 0.6)))
        front(door, "front", (x0, low[Y], GAP), (x1, high[Y], z), style, material, pane)
        wide, tall = x1 - x0, high[Y] - low[Y]
        inset = rng.uniform(0.06, 0.2)
        x, y = {
            "left": (x1 - inset * wide, low[Y] + tall * rng.uniform(0.3, 0.7)),
            "right": (x0 + inset * wide, low[Y] + tall * rng.uniform(0.3, 0.7)),
            "top": ((x0 + x1) / 2, low[Y] + inset * tall),
            "bottom": ((x0 + x1) / 2, high[Y] - inset * tall),
        }[side]
        along = Y if side in ("left", "right") else X
        length = rng.uniform(0.15, 0.6) * (tall if along == Y else wide)
        if rng.random() < 0.9:
            handle(door, grip, (x, y, z), length, along, fitting, float(rng.uniform(0.004, 0.014)))
        doors.append(door)
    return doors


def _drawer(
    rng: Generator,
    low: Array,
    high: Array,
    z: float,
    hollow: tuple[Array, Array],
    style: str,
    material: Material,
    inside: Material,
    grip: str,
    fitting: Material,
) -> Part:
    """A drawer with a front over `low` to `high` (2,) and a box in the hollow behind it."""
    reach = -hollow[0][Z] * rng.uniform(0.4, 0.95)
    drawer = Part("drawer", "slider", (*low, 0), (0, 0, 1), float(reach))
    front(
        drawer, "front", (*low, GAP), (*high, z), style if style != "glazed" else "flat", material
    )
    inner_low, inner_high = hollow[0] + 0.006, hollow[1] - 0.006
    inner_high[Y] -= rng.uniform(0.05, 0.5) * (inner_high[Y] - inner_low[Y])
    inner_high[Z] = GAP + 0.003
    if (inner_high - inner_low).min() > 0.03:
        drawer_box(drawer, inner_low, inner_high, inside)
        if rng.random() < 0.3:
            _thing_in(rng, drawer, (inner_low + 0.012, inner_high - 0.012))
    middle, wide = (low + high) / 2, high[X] - low[X]
    size = float(rng.uniform(0.004, 0.012))
    handle(drawer, grip, (*middle, z), rng.uniform(0.15, 0.7) * wide, X, fitting, size)
    return drawer


def _lid(
    rng: Generator,
    body: Part,
    w: float,
    h: float,
    d: float,
    material: Material | None = None,
    centred: bool | None = None,
) -> Part:
    """A lid on a body of this size, hinged at its back; `centred`: whether it is round, of a body
    about the origin; None: of one that reaches from its front at 0 back."""
    back, middle = (-d, -d / 2) if centred is None else (-d / 2, 0.0)
    thick = rng.uniform(0.012, 0.3 * min(w, d))
    lid = Part("lid", "hinge", (0, h + GAP, back), (-1, 0, 0), float(rng.uniform(0.9, 2.4)))
    lid.add(
        "lid",
        _slab(rng, w, h + GAP, d, thick, bool(centred)).moved((0, 0, middle)),
        material or finish(rng),
    )
    place = np.array([0, h + GAP + thick / 2, middle + d / 2 + 0.01])
    lid.add("grip", _primitive(rng, place, 0.1 * w), finish(rng))
    return lid


def _slab(rng: Generator, w: float, y: float, d: float, thick: float, round_one: bool) -> Mesh:
    """A cover about the origin, its underside at height y: flat, hollow or domed."""
    shape = rng.random()
    if round_one:
        inner = rng.uniform(0.1, 0.9)
        profile = [(w / 2, 0), (w / 2, 0.3 * thick), (inner * w / 2, thick), (0.0, thick)]
        return lathe(profile, (0, y, 0), Y)
    low, high = np.array([-w / 2, y, -d / 2]), np.array([w / 2, y + thick, d / 2])
    if shape < 0.5 or thick < 0.03:
        return box(low, high, min(0.003, 0.2 * thick))
    if shape < 0.75:
        wall = 0.3 * thick
        flipped = shell(low, high, low + wall, high - wall, Y, 0.002)
        return flipped.turned(Z, np.pi, (0, y + thick / 2, 0))
    inset = rng.uniform(0.05, 0.3) * min(w, d)
    return box(low, high, min(0.45 * thick, inset))


def _bail(rng: Generator, w: float, h: float, material: Material) -> Part:
    """A bow over an opening, hung at both its ends, lying to one side at first."""
    angle = np.linspace(0, np.pi, 13)[:, None]
    high = w / 2 * rng.uniform(0.8, 1.5)
    bow = np.concatenate([-w / 2 * np.cos(angle), 0 * angle, high * np.sin(angle)], axis=1)
    y = h * rng.uniform(0.85, 1.0)
    bail = Part("handle", "hinge", (0, y, 0), (-1, 0, 0), float(rng.uniform(1.2, 3.1)))
    bail.add("bow", sweep(bow * 1.04 + [0, y, 0], 0.02 * w + 0.003), material)
    return bail


def _gadget(rng: Generator, w: float, h: float, d: float, material: Material) -> Part:
    """What can be turned, pulled or pushed, on the front of a block or, turned, on another side."""
    kind = str(rng.choice(["lever", "wheel", "button", "knob", "arm", "tray"]))
    x, y = rng.uniform(-0.35, 0.35) * w, rng.uniform(0.2, 0.8) * h
    size = rng.uniform(0.15, 0.45) * min(w, h)
    other = material if rng.random() < 0.5 else finish(rng)
    if kind == "lever":
        part = Part("lever", "hinge", (x, y, 0), (0, 0, 1), float(rng.uniform(0.6, 2.5)))
        part.add("hub", cylinder((x, y, -0.01), 0.2 * size + 0.01, Z, 0.3 * size), material)
        long = rng.uniform(1.0, 2.5) * size
        blade = box(
            (x - 0.15 * size, y, 0.05 * size), (x + 0.15 * size, y + long, 0.2 * size), 0.002
        )
        part.add("blade", blade, other)
    elif kind == "wheel":
        upper = None if rng.random() < 0.5 else float(rng.uniform(1.0, 6.0))
        part = Part("wheel", "hinge", (x, y, 0), (0, 0, 1), upper)
        part.add("axle", cylinder((x, y, -0.01), 0.5 * size, Z, 0.12 * size), material)
        for turn in np.arange(count := int(rng.integers(2, 6))) * 2 * np.pi / count:
            spoke = box((x - 0.12 * size, y, 0.3 * size), (x + 0.12 * size, y + size, 0.4 * size))
            part.add("spoke", spoke.turned(Z, turn, (x, y, 0)), other)
    elif kind == "button":
        part = Part("button", "slider", (x, y, 0), (0, 0, 1), float(rng.uniform(0.2, 1.0) * size))
        part.add(
            "button",
            box(
                (x - size / 2, y - size / 2, -0.6 * size),
                (x + size / 2, y + size / 2, 0.2 * size),
                0.002,
            ),
            other,
        )
    elif kind == "knob":
        part = control_knob(
            "knob", (x, y, 0), 0.5 * size, material, finish(rng), float(rng.uniform(1.5, 5.5))
        )
    elif kind == "arm":
        axis: Point = (1.0, 0.0, 0.0) if rng.random() < 0.5 else (0.0, -1.0, 0.0)
        part = Part("arm", "hinge", (x, y, 0.02), axis, float(rng.uniform(0.6, 1.5)))
        reach = rng.uniform(1.0, 3.0) * size
        part.add("arm", cylinder((x, y, 0.02), reach, Z, rng.uniform(0.06, 0.25) * size), other)
        part.add("end", _primitive(rng, np.array([x, y, 0.02 + reach]), 0.7 * size), material)
    else:
        part = Part("tray", "slider", (x, y, 0), (0, 0, 1), float(rng.uniform(0.3, 0.9) * d))
        low, high = (
            np.array([-0.4 * w, 0.02, -0.9 * d]),
            np.array([0.4 * w, 0.02 + 0.3 * size + 0.03, 0.02]),
        )
        drawer_box(part, low, high, other, 0.008)
    side = int(rng.integers(4))
    if side == 0 or kind == "tray":
        return part
    turned = _turned([part], Y, (0, np.pi / 2, -np.pi / 2, 0)[side], (0, 0, -d / 2))
    shift = (w - d) / 2 * np.array([(0, 1, -1, 0)[side], 0, 0])
    if side == 3:  # on top
        turned = _turned([part], X, -np.pi / 2, (0, h / 2, -d / 2))
        shift = np.array([0, (h - d) / 2, 0])
    (moved,) = turned
    moved.origin = np.add(moved.origin, shift)
    moved.solids = [replace(solid, mesh=solid.mesh.moved(shift)) for solid in moved.solids]
    return moved


def _primitive(rng: Generator, centre: Array, size: float) -> Mesh:
    """A solid about so large around `centre` (3,), turned any way."""
    half = 0.5 * size * np.exp(rng.uniform(-1.2, 0.3, 3))
    kind, axis = rng.random(), int(rng.integers(3))
    if kind < 0.4:
        mesh = box(-half, half, float(rng.uniform(0, 0.4) * half.min()))
    elif kind < 0.6:
        start = np.zeros(3)
        start[axis] = -half[0]
        mesh = cylinder(start, float(2 * half[0]), axis, float(half[1]), segments=24)
    elif kind < 0.75:
        radii = half[0] * rng.uniform(0.2, 1.0, 4)
        profile = list(zip(radii, half[1] * np.array([-1, -0.4, 0.4, 1]), strict=True))
        mesh = lathe(profile, np.zeros(3), axis, 20)
    elif kind < 0.85:
        wall = rng.uniform(0.1, 0.4) * half.min()
        mesh = shell(-half, half, -half + wall, half - wall, axis, 0.05 * wall)
    elif kind < 0.92:
        rim = rng.uniform(0.15, 0.7) * half[:2]
        mesh = frame(-half, half, -rim, rim, 0.02 * half.min())
    else:
        turn = np.linspace(0, rng.uniform(1.5, 5.0), 14)[:, None]
        path = half * np.concatenate([np.cos(turn), np.sin(turn), turn / 3 - 0.5], axis=1)
        mesh = sweep(path, float(0.2 * half.min()))
    if rng.random() < 0.5:
        mesh = mesh.turned(int(rng.integers(3)), rng.uniform(0, np.pi))
    return mesh.moved(centre)


def _thing_in(rng: Generator, part: Part, room: tuple[Array, Array]) -> None:
    """Put a thing on the floor of a room, `low` to `high` (3,)."""
    low, high = room
    size = (high - low) * rng.uniform(0.2, 0.7, 3)
    if size.min() < 0.015:
        return
    corner = low + (high - low - size) * [rng.random(), 0, rng.random()]
    if rng.random() < 0.6:
        part.add("thing", box(corner, corner + size, 0.002), finish(rng))
    else:
        radius = float(min(size[X], size[Z]) / 2)
        start = corner + np.array([size[X] / 2, 0, size[Z] / 2])
        part.add("thing", cylinder(start, float(size[Y]), Y, radius), finish(rng))


def _legs(rng: Generator, body: Part, low: Array, high: Array, material: Material) -> None:
    """Perhaps four legs, or a plinth, under a body from `low` to `high` (x, z)."""
    kind, height = rng.random(), rng.uniform(0.02, 0.35)
    if kind < 0.45:
        return
    if kind < 0.6:
        ends = (low[0], -0.3 * height, low[1]), (high[0], 0.002, high[1])
        body.add("plinth", box(*ends), material)
        return
    wide = rng.uniform(0.02, 0.12) * (high - low).min()
    for x in (low[0] + wide, high[0] - wide):
        for z in (low[1] + wide, high[1] - wide):
            if kind < 0.8:
                leg = cylinder((x, -height, z), height + 0.002, Y, wide / 2, segments=16)
            else:
                leg = box(
                    (x - wide / 2, -height, z - wide / 2), (x + wide / 2, 0.002, z + wide / 2)
                )
            body.add("leg", leg, material)


def _decorate(rng: Generator, part: Part, w: float, d: float, y: float) -> None:
    """Perhaps plates, keys and knobs on a slab's upper side, from -d to 0 in z."""
    for _ in range(int(rng.integers(0, 4))):
        size = np.array([w, d]) * rng.uniform(0.08, 0.6, 2)
        x, z = rng.uniform(-w / 2, w / 2 - size[0]), rng.uniform(-d, -size[1])
        high = y + (0.0012 if rng.random() < 0.6 else rng.uniform(0.002, 0.008))
        plate = box((x, y - 0.002, z), (x + size[0], high, z + size[1]))
        material = finish(rng)
        if rng.random() < 0.4:
            keys = textures.keyboard(rng, *_two_colours(rng))
            plate, material = plate.pictured(Y), Material(texture=keys, gloss=0.1)
        part.add("plate", plate, material, collides=False)


def _two_colours(rng: Generator) -> tuple[textures.Colour, textures.Colour]:
    return hsv(rng, (0, 1), (0, 0.5), (0.05, 1)), hsv(rng, (0, 1), (0, 0.5), (0.05, 1))


def _turned(
    parts: list[Part], axis: int, angle: float, about: Point = (0.0, 0.0, 0.0)
) -> list[Part]:
    """The parts after a turn round a coordinate axis through `about`; they are changed in place."""
    for part in parts:
        part.origin = turned_points(part.origin, axis, angle, about)
        part.axis = turned_points(part.axis, axis, angle)
        part.solids = [
            replace(solid, mesh=solid.mesh.turned(axis, angle, about)) for solid in part.solids
        ]
    return parts
