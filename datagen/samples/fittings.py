"""What several categories share: finishes, handles, knobs, fronts, drawers and racks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from . import textures
from .shapes import (
    Mesh,
    Pair,
    Point,
    box,
    cylinder,
    frame,
    join,
    lathe,
    shell,
    sweep,
)
from .textures import Colour, Picture, hsv, shade
from .writer import Material, Part

GAP = 0.004  # Metres between a moving part and what it moves along: no contact, no z-fighting.
SIDE_AXES = {"left": (0.0, -1.0, 0.0), "right": (0.0, 1.0, 0.0)}
LIGHTS = ((0.2, 0.9, 1.0), (0.3, 1.0, 0.45), (1.0, 0.55, 0.15), (0.95, 0.95, 1.0))

BRASS = Material((0.72, 0.55, 0.28), gloss=0.5, shininess=150)
RUBBER = Material((0.06, 0.06, 0.065), gloss=0.03)
CHROME = Material((0.78, 0.79, 0.81), gloss=0.6, shininess=250)
WIRE = Material((0.74, 0.75, 0.77), gloss=0.45, shininess=160)
WHITE = Material((0.93, 0.93, 0.92), gloss=0.1)


def plain(colour: Colour, gloss: float = 0.1) -> Material:
    """Smooth plastic or paint."""
    return Material(colour, gloss=gloss, shininess=60)


def glass(tint: Colour = (0.09, 0.1, 0.11), alpha: float = 0.45) -> Material:
    """A tinted pane that shows what is behind it."""
    return Material(tint, gloss=0.5, shininess=300, alpha=alpha)


def light(rng: Generator) -> Colour:
    """A display's colour."""
    return LIGHTS[rng.integers(len(LIGHTS))]


def metal(rng: Generator) -> Material:
    """Brushed steel, from bright to nearly black."""
    grey = float(rng.choice([0.36, 0.66, 0.72, 0.78]))
    colour = (grey, grey * 1.005, grey * 1.02)
    return Material(texture=textures.brushed(rng, colour), tile=0.25, gloss=0.45, shininess=120)


def enamel(rng: Generator, colour: Colour) -> Material:
    """Painted sheet metal with a slight grain."""
    return Material(
        texture=textures.grained(rng, colour, 0.025), tile=0.3, gloss=0.25, shininess=90
    )


def appliance(rng: Generator) -> Material:
    """A kitchen appliance's finish: white, steel, black, cream or a retro colour."""
    kind = rng.choice(
        ["white", "steel", "black", "cream", "retro"], p=[0.28, 0.32, 0.14, 0.1, 0.16]
    )
    if kind == "steel":
        return metal(rng)
    if kind == "retro":
        hue = float(rng.choice([0.0, 0.03, 0.4, 0.48, 0.55, 0.6]))
        return enamel(rng, hsv(rng, (hue, hue), (0.3, 0.75), (0.55, 0.9)))
    return enamel(
        rng, {"white": (0.93,) * 3, "black": (0.11,) * 3, "cream": (0.93, 0.89, 0.79)}[kind]
    )


def wooden(rng: Generator) -> tuple[Material, Material]:
    """One wood with its grain up the front, and across it."""
    hue = float(rng.uniform(0.055, 0.095))
    light = hsv(rng, (hue, hue), (0.3, 0.72), (0.42, 0.88))
    picture = textures.wood(rng, shade(light, float(rng.uniform(0.55, 0.75))), light)
    up = Material(texture=picture, tile=float(rng.uniform(0.35, 0.55)), gloss=0.12)
    return up, replace(up, texture=np.ascontiguousarray(picture.transpose(1, 0, 2)))


def painted(rng: Generator) -> Material:
    """Furniture paint, pale or strong."""
    saturation = (0.02, 0.14) if rng.random() < 0.55 else (0.25, 0.5)
    colour = hsv(rng, (0, 1), saturation, (0.45, 0.92))
    return Material(texture=textures.grained(rng, colour, 0.03), tile=0.25, gloss=0.12)


def picture_plate(part: Part, name: str, low: Pair, high: Pair, z: float, picture: Picture) -> None:
    """Add a thin plate with a picture, from `low` to `high` (2,) on the front plane `z`."""
    mesh = box((*low, z - 0.002), (*high, z + 0.002), 0.0008).pictured()
    part.add(name, mesh, Material(texture=picture, gloss=0.3, shininess=120), collides=False)


def feet(body: Part, low: Pair, high: Pair, top: float, height: float, radius: float) -> None:
    """Add four round feet below height `top`, near the corners of `low` to `high` (x, z)."""
    inset = 2.2 * radius
    for x in (low[0] + inset, high[0] - inset):
        for z in (low[1] + inset, high[1] - inset):
            mesh = cylinder((x, top - height, z), height + 0.003, 1, radius, 0.002, 20)
            body.add("foot", mesh, RUBBER)


def handle(
    part: Part,
    kind: str,
    centre: ArrayLike,
    length: float,
    axis: int,
    material: Material,
    size: float = 0.006,
) -> None:
    """Add a handle standing off the front plane through `centre` (3,), along `axis` 0 or 1.

    kind: bar, flat, arc, knob or lip; size: metres, half its thickness.
    """
    centre = np.asarray(centre, float)
    along, z = np.eye(3)[axis], np.array([0.0, 0.0, 1.0])
    off = 5.5 * size
    if kind == "knob":
        r = 2.6 * size
        profile = [
            (0.45 * r, -0.002),
            (0.4 * r, 0.6 * r),
            (r, 1.0 * r),
            (r, 1.35 * r),
            (0.75 * r, 1.6 * r),
            (0, 1.68 * r),
        ]
        part.add("handle", lathe(profile, centre, 2, 24), material)
    elif kind == "arc":
        t = np.linspace(-1, 1, 13)[:, None]
        path = centre + t * along * length / 2 + np.sqrt(1 - 0.999 * np.abs(t) ** 3) * off * z
        part.add("handle", sweep(path - 0.002 * z, size), material)
    elif kind == "lip":
        # A folded strip along an edge: the fingers go behind it.
        reach = np.array([1.2, 1.2, 0]) * size + along * length / 2
        part.add(
            "handle",
            box(centre - reach - 0.002 * z, centre + reach + 2.4 * size * z, 0.3 * size),
            material,
        )
    else:
        for end in (-0.38, 0.38):
            post = centre + end * length * along - 0.002 * z
            part.add("handle", cylinder(post, off + 0.002, 2, 0.75 * size, segments=16), material)
        start = centre + off * z - along * length / 2
        if kind == "bar":
            part.add("handle", cylinder(start, length, axis, size, 0.3 * size, 20), material)
        else:
            half = np.array([1.5, 1.5, 0.8]) * size * (1 - along)
            bar = box(start - half, start + half + length * along, 0.35 * size)
            part.add("handle", bar, material)


def control_knob(
    name: str,
    centre: ArrayLike,
    radius: float,
    material: Material,
    mark: Material,
    upper: float | None,
    parent: Part | None = None,
) -> Part:
    """A knob that turns clockwise round the front's normal through `centre` (3,).

    upper: its limit in radians, or None; parent: the part it sits on, or None for the body.
    """
    knob = Part(name, "hinge", centre, (0.0, 0.0, -1.0), upper, parent)
    x, y, z = np.asarray(centre, float).tolist()
    z += 0.0015
    depth = 0.75 * radius
    skirt = [
        (radius, 0),
        (radius, 0.25 * depth),
        (0.8 * radius, depth),
        (0.72 * radius, 1.06 * depth),
    ]
    knob.add("knob", lathe(skirt, (x, y, z), 2, 24), material)
    low, high = (
        (x - 0.17 * radius, y - 0.74 * radius, z + 0.5 * depth),
        (x + 0.17 * radius, y + 0.74 * radius, z + 1.45 * depth),
    )
    knob.add("knob", box(low, high, 0.06 * radius), material)
    low, high = (
        (x - 0.06 * radius, y + 0.2 * radius, z + 1.4 * depth),
        (x + 0.06 * radius, y + 0.7 * radius, z + 1.6 * depth),
    )
    knob.add("mark", box(low, high), mark, collides=False)
    return knob


def front(
    part: Part,
    name: str,
    low: ArrayLike,
    high: ArrayLike,
    style: str,
    material: Material,
    pane: Material | None = None,
) -> None:
    """Add a door or drawer front from `low` to `high` (3,): flat, shaker or glazed."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    span = (high - low)[:2]
    if style == "flat" or span.min() < 0.12:
        part.add(name, box(low, high, 0.0025), material)
        return
    rail = min(0.06, 0.22 * span.min())
    hole_low, hole_high = low[:2] + rail, high[:2] - rail
    part.add(name, frame(low, high, hole_low, hole_high, 0.0035), material)
    back, thickness = low[2] + 0.002, high[2] - low[2]
    inset = box((*(hole_low - 0.006), back), (*(hole_high + 0.006), back + 0.45 * thickness))
    if style == "glazed" and pane:
        part.add("glass", inset, pane)
    else:
        part.add(f"{name}_panel", inset, material)


def drawer_box(
    part: Part, low: ArrayLike, high: ArrayLike, material: Material, wall: float = 0.01
) -> None:
    """Add an open box from `low` to `high` (3,): bottom and four sides."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    mesh = shell(low, high, low + wall, high - wall, axis=1, bevel=0.0015)
    part.add("drawer_box", mesh, material)


def liner(body: Part, low: ArrayLike, high: ArrayLike, material: Material) -> None:
    """Line a hollow from `low` to `high` (3,), open to the front, with thin sheet."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    mouth = np.array([0, 0, 1])
    mesh = shell(low - 0.002, high + 0.002 - 0.006 * mouth, low + 0.003, high - 0.003, bevel=0.001)
    body.add("interior", mesh, material, collides=False)


def rack(
    part: Part,
    low: ArrayLike,
    high: ArrayLike,
    wire: float,
    rods: int,
    material: Material,
    tines: int = 0,
) -> None:
    """Add a wire basket from `low` to `high` (3,), open on top, or a grid where it is flat.

    wire: radius in metres; rods: how many run front to back; tines: rows of upright pins.
    """
    (x0, y0, z0), (x1, y1, z1) = np.asarray(low, float), np.asarray(high, float)
    flat = y1 - y0 < 4 * wire

    def rod(start: Point, end: Point, radius: float = wire) -> Mesh:
        return sweep([start, end], radius, 6)

    levels = [y0] if flat else [y0, y1]
    bars = [rod((x0, y, z), (x1, y, z), 1.5 * wire) for y in levels for z in (z0, z1)]
    bars += [rod((x, y, z0), (x, y, z1), 1.5 * wire) for y in levels for x in (x0, x1)]
    across = max(3, round((z1 - z0) / (x1 - x0) * rods / 2))
    for z in np.linspace(z0, z1, across + 1):
        bars.append(rod((x0, y0, z), (x1, y0, z)))
        bars += [] if flat else [rod((x, y0, z), (x, y1, z)) for x in (x0, x1)]
    for x in np.linspace(x0, x1, rods + 1):
        bars.append(rod((x, y0 + wire, z0), (x, y0 + wire, z1)))
        bars += [] if flat else [rod((x, y0, z), (x, y1, z)) for z in (z0, z1)]
    for x in np.linspace(x0, x1, tines + 2)[1:-1]:
        for z in np.linspace(z0, z1, 9)[1:-1]:
            bars.append(rod((x, y0, z), (x, y0 + 0.75 * (y1 - y0), z)))
    # Collisions see the basket's five walls.
    w = 1.5 * wire
    walls = [box((x0 - w, y0 - w, z0 - w), (x1 + w, y0 + w, z1 + w))]
    if not flat:
        walls += [box((x - w, y0, z0 - w), (x + w, y1 + w, z1 + w)) for x in (x0, x1)]
        walls += [box((x0 - w, y0, z - w), (x1 + w, y1 + w, z + w)) for z in (z0, z1)]
    part.add("shelf", join(bars, walls), material)
