"""What contraptions are made of: finishes, doors, drawers, lids, gadgets, solids of any kind."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from .shapes import Array, Mesh, Point, box, cylinder, frame, lathe, shell, sweep, turned_points
from .textures import hsv
from .writer import Material, Part

HINGE_AXES = {**SIDE_AXES, "top": (-1.0, 0.0, 0.0), "bottom": (1.0, 0.0, 0.0)}
X, Y, Z = range(3)


@dataclass(frozen=True)
class Joinery:
    """What the cells of a cupboard share.

    style: of fronts, as in `fittings.front`; grip: as in `fittings.handle`.
    """

    style: str
    grip: str
    fronts: Material
    inside: Material
    fitting: Material


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


def doors(rng: Generator, make: Joinery, low: Array, high: Array, z: float) -> list[Part]:
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
        ends = (x0, low[Y], GAP), (x1, high[Y], z)
        front(door, "front", *ends, make.style, make.fronts, pane)
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
            size = float(rng.uniform(0.004, 0.014))
            handle(door, make.grip, (x, y, z), length, along, make.fitting, size)
        doors.append(door)
    return doors


def drawer(
    rng: Generator, make: Joinery, low: Array, high: Array, z: float, hollow: tuple[Array, Array]
) -> Part:
    """A drawer with a front over `low` to `high` (2,) and a box in the hollow behind it."""
    style = make.style if make.style != "glazed" else "flat"
    reach = -hollow[0][Z] * rng.uniform(0.4, 0.95)
    part = Part("drawer", "slider", (*low, 0), (0, 0, 1), float(reach))
    front(part, "front", (*low, GAP), (*high, z), style, make.fronts)
    inner_low, inner_high = hollow[0] + 0.006, hollow[1] - 0.006
    inner_high[Y] -= rng.uniform(0.05, 0.5) * (inner_high[Y] - inner_low[Y])
    inner_high[Z] = GAP + 0.003
    if (inner_high - inner_low).min() > 0.03:
        drawer_box(part, inner_low, inner_high, make.inside)
        if rng.random() < 0.3:
            thing_in(rng, part, (inner_low + 0.012, inner_high - 0.012))
    middle, wide = (low + high) / 2, high[X] - low[X]
    size = float(rng.uniform(0.004, 0.012))
    handle(part, make.grip, (*middle, z), rng.uniform(0.15, 0.7) * wide, X, make.fitting, size)
    return part


def lid(
    rng: Generator,
    w: float,
    h: float,
    d: float,
    material: Material,
    middle: float | None = None,
    turned_one: bool = False,
) -> Part:
    """A lid on a body of this width, height and depth, hinged at its back.

    middle: of the body in z; by default its front is at 0. turned_one: it is round.
    """
    middle = -d / 2 if middle is None else middle
    thick, reach = rng.uniform(0.012, 0.3 * min(w, d)), float(rng.uniform(0.9, 2.4))
    part = Part("lid", "hinge", (0, h + GAP, middle - d / 2), (-1, 0, 0), reach)
    cover = slab(rng, w, h + GAP, d, thick, turned_one).moved((0, 0, middle))
    part.add("lid", cover, material)
    place = np.array([0, h + GAP + thick / 2, middle + d / 2 + 0.01])
    part.add("grip", primitive(rng, place, 0.1 * w), finish(rng))
    return part


def slab(rng: Generator, w: float, y: float, d: float, thick: float, turned_one: bool) -> Mesh:
    """A cover around the y axis, its underside at height y: flat, hollow or domed, or round."""
    shape = rng.random()
    if turned_one:
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


def bail(rng: Generator, w: float, h: float, material: Material) -> Part:
    """A bow over an opening, hung at both its ends, lying to one side at first."""
    angle = np.linspace(0, np.pi, 13)[:, None]
    high = w / 2 * rng.uniform(0.8, 1.5)
    bow = np.concatenate([-w / 2 * np.cos(angle), 0 * angle, high * np.sin(angle)], axis=1)
    y = h * rng.uniform(0.85, 1.0)
    part = Part("handle", "hinge", (0, y, 0), (-1, 0, 0), float(rng.uniform(1.2, 3.1)))
    part.add("bow", sweep(bow * 1.04 + [0, y, 0], 0.02 * w + 0.003), material)
    return part


def tray(rng: Generator, w: float, d: float, material: Material) -> Part:
    """A box that is pulled out of the foot of a block of this width and depth."""
    part = Part("tray", "slider", (0, 0, 0), (0, 0, 1), float(rng.uniform(0.3, 0.9) * d))
    high = (0.4 * w, 0.02 + float(rng.uniform(0.05, 0.15)) * w, 0.02)
    drawer_box(part, (-0.4 * w, 0.02, -0.9 * d), high, material, 0.008)
    return part


def gadget(rng: Generator, w: float, h: float, d: float, material: Material) -> Part:
    """What can be turned, pulled or pushed on one side of a block that reaches from its front at 0
    back."""
    make = (_lever, _wheel, _button, _knob, _arm)[rng.integers(5)]
    place = np.array([rng.uniform(-0.35, 0.35) * w, rng.uniform(0.2, 0.8) * h, 0.0])
    size = float(rng.uniform(0.15, 0.45) * min(w, h))
    part = make(rng, place, size, material, material if rng.random() < 0.5 else finish(rng))
    middle = (0.0, h / 2, -d / 2)
    axis, angle, shift = (
        (Y, 0.0, (0.0, 0.0, 0.0)),
        (Y, np.pi / 2, ((w - d) / 2, 0.0, 0.0)),
        (Y, -np.pi / 2, ((d - w) / 2, 0.0, 0.0)),
        (X, -np.pi / 2, (0.0, (h - d) / 2, 0.0)),
    )[rng.integers(4)]  # front, right, left, top
    (moved,) = turned([part], axis, angle, middle)
    moved.origin = np.add(moved.origin, shift)
    moved.solids = [replace(solid, mesh=solid.mesh.moved(shift)) for solid in moved.solids]
    return moved


def _lever(rng: Generator, at: Array, size: float, material: Material, other: Material) -> Part:
    part = Part("lever", "hinge", at, (0, 0, 1), float(rng.uniform(0.6, 2.5)))
    start = at - [0, 0, 0.01]
    part.add("hub", cylinder(start, 0.2 * size + 0.01, Z, 0.3 * size), material)
    long = rng.uniform(1.0, 2.5)
    low, high = np.array([-0.15, 0, 0.05]), np.array([0.15, long, 0.2])
    part.add("blade", box(at + size * low, at + size * high, 0.002), other)
    return part


def _wheel(rng: Generator, at: Array, size: float, material: Material, other: Material) -> Part:
    upper = None if rng.random() < 0.5 else float(rng.uniform(1.0, 6.0))
    part = Part("wheel", "hinge", at, (0, 0, 1), upper)
    part.add("axle", cylinder(at - [0, 0, 0.01], 0.5 * size, Z, 0.12 * size), material)
    count = int(rng.integers(2, 6))
    low, high = np.array([-0.12, 0, 0.3]), np.array([0.12, 1, 0.4])
    spoke = box(at + size * low, at + size * high)
    for turn in np.arange(count) * 2 * np.pi / count:
        part.add("spoke", spoke.turned(Z, turn, at), other)
    return part


def _button(rng: Generator, at: Array, size: float, material: Material, other: Material) -> Part:
    part = Part("button", "slider", at, (0, 0, 1), float(rng.uniform(0.2, 1.0) * size))
    low, high = np.array([-0.5, -0.5, -0.6]), np.array([0.5, 0.5, 0.2])
    part.add("button", box(at + size * low, at + size * high, 0.002), other)
    return part


def _knob(rng: Generator, at: Array, size: float, material: Material, other: Material) -> Part:
    return control_knob("knob", at, 0.5 * size, material, other, float(rng.uniform(1.5, 5.5)))


def _arm(rng: Generator, at: Array, size: float, material: Material, other: Material) -> Part:
    axis: Point = (1.0, 0.0, 0.0) if rng.random() < 0.5 else (0.0, -1.0, 0.0)
    start = at + np.array([0, 0, 0.02])
    part = Part("arm", "hinge", start, axis, float(rng.uniform(0.6, 1.5)))
    reach = float(rng.uniform(1.0, 3.0) * size)
    part.add("arm", cylinder(start, reach, Z, float(rng.uniform(0.06, 0.25) * size)), other)
    part.add("end", primitive(rng, start + np.array([0, 0, reach]), 0.7 * size), material)
    return part


def primitive(rng: Generator, centre: Array, size: float) -> Mesh:
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


def thing_in(rng: Generator, part: Part, room: tuple[Array, Array]) -> None:
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


def legs(rng: Generator, body: Part, low: Array, high: Array, material: Material) -> None:
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


def decorate(rng: Generator, part: Part, w: float, d: float, y: float) -> None:
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


def turned(
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
