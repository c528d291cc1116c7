"""Refrigerators.

A function draws one object and returns its parts, the body last. The front of the body is the
plane z = 0; doors hang before it, hinged at the outer edge of their front, where they clear all.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from . import textures
from .fittings import (
    CHROME,
    GAP,
    RUBBER,
    SIDE_AXES,
    WHITE,
    appliance,
    drawer_box,
    front,
    glass,
    handle,
    light,
    liner,
    picture_plate,
    plain,
)
from .shapes import Array, Pair, box, cylinder, frame, shell
from .textures import hsv
from .writer import Material, Part


def refrigerator(rng: Generator) -> list[Part]:
    """One to three doors or drawers, each before its own cold room."""
    layout = rng.choice(["single", "freezer_top", "freezer_bottom", "french", "side"])
    wide = layout in ("french", "side")
    w, h = (
        (rng.uniform(0.82, 0.94), rng.uniform(1.65, 1.8))
        if wide
        else (rng.uniform(0.54, 0.7), rng.uniform(1.3, 1.8))
    )
    if layout == "single":
        h = rng.uniform(0.85, 1.5)
    d, t = rng.uniform(0.56, 0.68), rng.uniform(0.05, 0.07)
    kick = rng.uniform(0.04, 0.08)
    left, right = -w / 2, w / 2
    finish = appliance(rng)
    side = finish if rng.random() < 0.6 else plain((0.45, 0.45, 0.46))
    body = Part("refrigerator_body", "heavy")
    body.add("base", box((left + 0.01, 0, 0.02 - d), (right - 0.01, kick + 0.002, -0.03)), RUBBER)

    split = {
        "single": h, "side": h, "freezer_top": h * rng.uniform(0.62, 0.72),
        "freezer_bottom": h * rng.uniform(0.3, 0.42), "french": h * rng.uniform(0.32, 0.4),
    }[layout]  # fmt: skip
    middle = left + w * rng.uniform(0.4, 0.47) if layout == "side" else 0.0
    hinge = str(rng.choice(["left", "right"]))
    handed = str(rng.choice(["bar", "flat", "arc", "lip"]))
    grip = CHROME if rng.random() < 0.7 else plain((0.12, 0.12, 0.13), 0.3)
    size = rng.uniform(0.008, 0.012)
    # Each room: its front's extent (x0, x1, y0, y1) and what closes it.
    rooms: list[tuple[float, float, float, float, str]] = []
    if layout == "single":
        rooms = [(left, right, kick, h, hinge)]
    elif layout == "side":
        rooms = [(left, middle, kick, h, "left"), (middle, right, kick, h, "right")]
    elif layout == "french":
        rooms = [(left, right, kick, split, "drawer"), (left, right, split, h, "both")]
    else:
        lower = "drawer" if layout == "freezer_bottom" and rng.random() < 0.5 else hinge
        rooms = [(left, right, kick, split, lower), (left, right, split, h, hinge)]

    parts = []
    z = GAP + t
    for x0, x1, y0, y1, closing in rooms:
        low, high = (
            np.array([x0 + 0.035, y0 + 0.035, 0.06 - d]),
            np.array([x1 - 0.035, y1 - 0.035, 0]),
        )
        # Neighbouring shells keep a hair's breadth apart.
        body.add(
            "frame",
            shell(
                (x0 + 0.0005, y0 + 0.0005, -d),
                (x1 - 0.0005, y1 - 0.0005, 0),
                low,
                high,
                bevel=0.003,
            ),
            side,
        )
        liner(body, low, high, WHITE)
        y0, y1 = y0 + GAP / 2, y1 - GAP / 2
        if closing == "drawer":
            drawer = Part(
                "drawer", "slider", (0, y0, 0), (0, 0, 1), (d - 0.1) * rng.uniform(0.7, 0.95)
            )
            front(drawer, "drawer_front", (x0, y0, GAP), (x1, y1, z), "flat", finish)
            top = y0 + 0.6 * (y1 - y0)
            drawer_box(drawer, low + 0.014, (high[0] - 0.014, top, GAP + 0.002), WHITE)
            handle(drawer, handed, ((x0 + x1) / 2, y1 - 0.06, z), 0.7 * (x1 - x0), 0, grip, size)
            parts.append(drawer)
            continue
        _shelves(rng, body, low, high)
        # Two doors side by side: a thick door's inner corner sweeps past its own edge.
        doors = [(x0, x1, closing)]
        if closing == "both":
            doors = [(x0, -GAP, "left"), (GAP, x1, "right")]
        elif layout == "side":
            doors = [(x0, x1 - GAP, "left") if closing == "left" else (x0 + GAP, x1, "right")]
        for a, b, hung in doors:
            parts.append(_fridge_door(rng, (a, y0), (b, y1), hung, t, finish))
            free = b - 0.045 if hung == "left" else a + 0.045
            if handed == "lip":
                free = b - 0.012 if hung == "left" else a + 0.012
            length = min(0.8, (y1 - y0) * 0.6)
            place = y0 + 0.4 * (y1 - y0) if y1 - y0 > 1.1 else (y0 + y1) / 2
            handle(parts[-1], handed, (free, place, z), length, 1, grip, size)
    if layout == "side" and rng.random() < 0.7:
        _dispenser(rng, parts[0], (left + middle) / 2, 0.62 * h, z)
    return [*parts, body]


def _shelves(rng: Generator, body: Part, low: Array, high: Array) -> None:
    """Put glass shelves, some food and a crisper into a cold room from `low` to `high` (3,)."""
    tall = high[1] - low[1]
    count = max(1, round(tall / 0.3))
    depth = -0.15
    for level in range(1, count + 1):
        y = low[1] + tall * level / (count + 1)
        shelf = box((low[0] - 0.001, y, low[2]), (high[0] + 0.001, y + 0.006, depth), 0.001)
        body.add("shelf", shelf, glass((0.75, 0.88, 0.9), 0.5))
        for x in np.linspace(low[0] + 0.09, high[0] - 0.09, 4):
            if rng.random() < 0.45:
                continue
            colour = plain(hsv(rng, (0, 1), (0.3, 0.85), (0.5, 0.95)), 0.3)
            tallness, r = rng.uniform(0.07, 0.14), rng.uniform(0.025, 0.04)
            place = (x, y + 0.007, rng.uniform(low[2] + 0.08, depth - 0.06))
            food = cylinder(place, min(tallness, 0.6 * tall / (count + 1)), 1, r, 0.006, 16)
            body.add("food", food, colour, collides=False)
    if tall > 0.6:
        crisper = shell(
            (low[0] + 0.012, low[1] + 0.006, low[2] + 0.03),
            (high[0] - 0.012, low[1] + 0.16, depth),
            (low[0] + 0.018, low[1] + 0.012, low[2] + 0.036),
            (high[0] - 0.018, 0, depth - 0.006),
            1,
            0.001,
        )
        body.add("crisper", crisper, glass((0.6, 0.78, 0.85), 0.45))


def _fridge_door(
    rng: Generator,
    low: Pair,
    high: Pair,
    hung: str,
    t: float,
    finish: Material,
) -> Part:
    """A door from `low` to `high` (x, y), hung left or right, with bins inside."""
    z = GAP + t
    edge = low[0] if hung == "left" else high[0]
    door = Part(
        "door", "hinge", (edge, low[1], z), SIDE_AXES[hung], np.deg2rad(rng.uniform(95, 120))
    )
    slab = box((*low, GAP), (*high, z), 0.006, radius=0.012)
    door.add("door_frame", slab, finish)
    # The bins stay clear of the room's far wall as the door swings them past it.
    near, far = 0.055, 0.075
    x0, x1 = (low[0] + near, high[0] - far) if hung == "left" else (low[0] + far, high[0] - near)
    door.add(
        "surface", box((x0, low[1] + 0.06, -0.012), (x1, high[1] - 0.06, GAP + 0.002), 0.004), WHITE
    )
    tall = high[1] - low[1]
    count = max(1, round(tall / 0.32))
    for level in range(count):
        y = low[1] + 0.08 + (tall - 0.16) * level / count
        deep = rng.uniform(0.06, 0.09)
        bin_low, bin_high = (
            np.array([x0 + 0.01, y, -0.012 - deep]),
            np.array([x1 - 0.01, y + 0.08, -0.008]),
        )
        mesh = shell(bin_low, bin_high, bin_low + 0.006, bin_high - 0.006, 1, 0.001)
        door.add("shelf", mesh, glass((0.8, 0.9, 0.92), 0.55))
    return door


def _dispenser(rng: Generator, door: Part, x: float, y: float, z: float) -> None:
    """Put a water dispenser's dark niche on a door's front, centred on (x, y, z)."""
    dark, half = plain((0.07, 0.07, 0.08), 0.3), 0.075
    rim = frame(
        (x - half, y - 0.14, z - 0.002),
        (x + half, y + 0.14, z + 0.012),
        (x - 0.06, y - 0.125),
        (x + 0.06, y + 0.05),
        0.003,
    )
    door.add("dispenser", rim, dark, collides=False)
    door.add(
        "dispenser",
        box((x - 0.065, y - 0.13, z - 0.002), (x + 0.065, y + 0.055, z + 0.003)),
        plain((0.02,) * 3),
        collides=False,
    )
    spout = cylinder((x, y + 0.01, z + 0.003), 0.05, 1, 0.008, 0.002, 16)
    door.add("dispenser", spout, CHROME, collides=False)
    picture_plate(
        door,
        "display_panel",
        (x - 0.045, y + 0.07),
        (x + 0.045, y + 0.115),
        z + 0.012,
        textures.clock(rng, light(rng)),
    )
