"""Microwaves and ovens.

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
    WIRE,
    appliance,
    control_knob,
    drawer_box,
    enamel,
    feet,
    front,
    glass,
    handle,
    light,
    liner,
    metal,
    picture_plate,
    plain,
    rack,
)
from .shapes import Pair, box, cylinder, frame, join, lathe, shell, sweep
from .textures import hsv
from .writer import Material, Part


def microwave(rng: Generator) -> list[Part]:
    """A side-hinged door, a turntable, and knobs or a keypad."""
    w, h, d = rng.uniform(0.44, 0.56), rng.uniform(0.25, 0.33), rng.uniform(0.32, 0.42)
    t = rng.uniform(0.022, 0.034)
    left, right, split = -w / 2, w / 2, w / 2 - rng.uniform(0.09, 0.125)
    finish = appliance(rng)
    black = plain((0.07, 0.07, 0.08), 0.3)
    face = black if rng.random() < 0.45 else finish
    body = Part("microwave_body", "heavy")
    low, high = np.array([left + 0.028, 0.03, 0.05 - d]), np.array([split - 0.022, h - 0.03, 0])
    body.add("frame", shell((left, 0, -d), (right, h, 0), low, high, bevel=0.004), finish)
    liner(body, low, high, plain(hsv(rng, (0.1, 0.15), (0, 0.04), (0.55, 0.85))))
    panel_low = (split, 0.002, -0.006)
    body.add("control_panel", box(panel_low, (right - 0.002, h - 0.002, GAP + t), 0.003), face)
    feet(body, (left, -d), (right, 0), 0, 0.012, 0.012)

    door = Part(
        "door", "hinge", (left, 0, GAP + t), SIDE_AXES["left"], np.deg2rad(rng.uniform(90, 115))
    )
    edge, post = rng.uniform(0.03, 0.05), rng.uniform(0.045, 0.065)
    has_handle = rng.random() < 0.75
    hole_low, hole_high = (left + edge, edge), (split - GAP - post, h - edge)
    door_high = np.array([split - GAP, h, GAP + t])
    radius = float(rng.choice([0.0, 0.018]))
    door.add(
        "door_frame", frame((left, 0, GAP), door_high, hole_low, hole_high, 0.003, 0, radius), face
    )
    pane_low = (hole_low[0] - 0.005, hole_low[1] - 0.005, GAP + 0.3 * t)
    pane_high = (hole_high[0] + 0.005, hole_high[1] + 0.005, GAP + 0.75 * t)
    door.add("glass", box(pane_low, pane_high), glass(alpha=rng.uniform(0.4, 0.65)))
    if has_handle:
        kind = rng.choice(["bar", "flat", "arc"])
        grip = CHROME if rng.random() < 0.6 else face
        place = (split - GAP - post / 2, h / 2, GAP + t)
        handle(door, kind, place, h * rng.uniform(0.6, 0.82), 1, grip, 0.0065)

    middle, floor = (low + high) / 2, low[1] + 0.004
    reach = min(high[0] - low[0], high[2] - low[2]) / 2 - 0.012
    centre = (middle[0], floor + 0.012, middle[2])
    body.add(
        "tray_support", cylinder((centre[0], floor - 0.003, centre[2]), 0.005, 1, 0.014), RUBBER
    )
    tray = Part("rotation_tray", "hinge", centre, (0, 1, 0))
    dish = [
        (0, 0),
        (0.82 * reach, 0),
        (reach, 0.01),
        (reach, 0.013),
        (0.8 * reach, 0.004),
        (0, 0.004),
    ]
    tray.add("tray", lathe(dish, centre, 1, 40), glass((0.75, 0.85, 0.85), 0.55))
    arms = []
    for angle in np.arange(3) * 2 * np.pi / 3:
        arm = box((0, -0.007, -0.006), (0.7 * reach, -0.002, 0.006), 0.001).turned(1, angle)
        arms.append(arm.moved(centre))
    tray.add("tray_support", join(arms), WHITE)
    parts = [door, tray]

    z, x0, x1 = GAP + t, split + 0.012, right - 0.014
    if rng.random() < 0.45:
        count = int(rng.integers(1, 3))
        r = min(0.4 * (x1 - x0), 0.19 * h)
        mark = plain((0.95, 0.95, 0.95)) if face is black else plain((0.1, 0.1, 0.1))
        shown = (0.07, 0.07, 0.08) if face is black else (0.85, 0.85, 0.85)
        turn = None if rng.random() < 0.3 else np.deg2rad(rng.uniform(200, 300))
        cap = CHROME if rng.random() < 0.5 else plain((0.16, 0.16, 0.17), 0.3)
        for level in (0.68, 0.27)[:count]:
            x, y = (x0 + x1) / 2, level * h
            picture = textures.dial(rng, shown)
            picture_plate(
                body,
                "control_panel",
                (x - 1.2 * r, y - 1.2 * r),
                (x + 1.2 * r, y + 1.2 * r),
                z,
                picture,
            )
            parts.append(control_knob("knob", (x, y, z + 0.003), 0.8 * r, cap, mark, turn))
        if count == 1:
            button = box((x0 + 0.01, 0.08 * h, z - 0.003), (x1 - 0.01, 0.24 * h, z + 0.005), 0.002)
            body.add("control_button", button, cap)
    else:
        base = (0.07, 0.07, 0.08) if face is black else (0.82, 0.82, 0.83)
        picture_plate(
            body, "display_panel", (x0, 0.76 * h), (x1, 0.9 * h), z, textures.clock(rng, light(rng))
        )
        rows = int(rng.integers(4, 7))
        picture_plate(
            body,
            "control_button",
            (x0, 0.1 * h),
            (x1, 0.7 * h),
            z,
            textures.keypad(rng, base, rows, 3),
        )
    return [*parts, body]


def oven(rng: Generator) -> list[Part]:
    """A range: drop door with a window, racks, knobs, a hob and often a drawer."""
    w, h, d = rng.uniform(0.55, 0.78), rng.uniform(0.84, 0.92), rng.uniform(0.56, 0.64)
    t = rng.uniform(0.032, 0.045)
    left, right = -w / 2, w / 2
    finish = appliance(rng)
    black = plain((0.06, 0.06, 0.065), 0.35)
    face = black if rng.random() < 0.3 else finish
    strip = rng.uniform(0.1, 0.14)
    base = 0.04
    split = rng.uniform(0.2, 0.25) if rng.random() < 0.65 else base
    top = h - strip
    body = Part("oven_body", "heavy")
    low = np.array([left + 0.05, split + 0.055, 0.06 - d])
    high = np.array([right - 0.05, top - 0.035, 0])
    body.add("frame", shell((left, split, -d), (right, h, 0), low, high), finish)
    liner(body, low, high, enamel(rng, hsv(rng, (0.55, 0.65), (0, 0.12), (0.16, 0.42))))
    feet(body, (left, -d), (right, 0), base, base, 0.018)

    z = GAP + t
    door = Part("door", "hinge", (0, split + GAP, z), (1, 0, 0), np.deg2rad(rng.uniform(80, 90)))
    door_low, door_high = (left + 0.001, split + GAP, GAP), (right - 0.001, top - GAP, z)
    hole_low = (left + rng.uniform(0.07, 0.12), split + rng.uniform(0.1, 0.14))
    hole_high = (-hole_low[0], top - rng.uniform(0.13, 0.16))
    rounded = float(rng.choice([0.0, 0.025]))
    door.add("door_frame", frame(door_low, door_high, hole_low, hole_high, 0.004, 0, rounded), face)
    pane_low, pane_high = np.subtract(hole_low, 0.005), np.add(hole_high, 0.005)
    door.add(
        "glass",
        box((*pane_low, GAP + 0.4 * t), (*pane_high, GAP + 0.8 * t)),
        glass(alpha=rng.uniform(0.35, 0.6)),
    )
    grip = CHROME if rng.random() < 0.7 or face is black else black
    kind = rng.choice(["bar", "flat", "arc"])
    handle(
        door,
        kind,
        (0, top - 0.055, z),
        w * rng.uniform(0.68, 0.88),
        0,
        grip,
        rng.uniform(0.008, 0.012),
    )
    parts = [door]

    count = int(rng.integers(1, 3))
    for y in np.linspace(low[1] + 0.12, high[1] - 0.1, count) if count > 1 else [low[1] + 0.16]:
        tray_low, tray_high = (
            (low[0] + 0.016, y, low[2] + 0.02),
            (high[0] - 0.016, y + 0.004, -0.03),
        )
        tray = Part(
            "translation_tray",
            "slider",
            (0, y, low[2]),
            (0, 0, 1),
            (high[2] - low[2]) * rng.uniform(0.6, 0.8),
        )
        rack(tray, tray_low, tray_high, 0.0028, int(rng.integers(9, 15)), WIRE)
        for x in (low[0] + 0.002, high[0] - 0.01):
            body.add(
                "rail", box((x, y - 0.016, low[2] + 0.01), (x + 0.008, y - 0.009, -0.02)), WIRE
            )
        parts.append(tray)

    if split > base:
        under_low = np.array([left + 0.03, base + 0.015, 0.04 - d])
        under_high = np.array([right - 0.03, split - 0.015, 0])
        outer = (left + 0.002, base, 0.002 - d), (right - 0.002, split - 0.001, -0.001)
        body.add("frame", shell(*outer, under_low, under_high), finish)
        reach = rng.uniform(0.3, 0.42)
        drawer = Part("drawer", "slider", (0, base, 0), (0, 0, 1), reach)
        front(
            drawer,
            "drawer_front",
            (left + 0.001, base, GAP),
            (right - 0.001, split - GAP, z),
            "flat",
            face,
        )
        drawer_box(
            drawer,
            under_low + 0.008,
            (under_high[0] - 0.008, under_high[1] - 0.02, GAP + 0.002),
            plain((0.3, 0.3, 0.31)),
        )
        if rng.random() < 0.6:
            handle(drawer, kind, (0, split - 0.05, z), w * 0.5, 0, grip, 0.008)
        parts.append(drawer)

    # The control panel, its knobs and its clock.
    panel = black if rng.random() < 0.4 else finish
    body.add(
        "control_panel",
        box((left + 0.001, top, -0.01), (right - 0.001, h - 0.002, z), 0.004),
        panel,
    )
    number, y = int(rng.integers(4, 7)), top + strip / 2
    r = min(0.026, 0.3 * strip)
    cap = CHROME if rng.random() < 0.5 else plain((0.1, 0.1, 0.11), 0.3)
    mark = plain((0.95, 0.95, 0.95)) if cap is not CHROME else plain((0.1, 0.1, 0.1))
    turn = None if rng.random() < 0.25 else np.deg2rad(rng.uniform(180, 300))
    clocked = rng.random() < 0.7
    places = np.linspace(left + 0.07, right - 0.07, number)
    if clocked:
        half = number // 2
        places = np.concatenate(
            [np.linspace(left + 0.06, -0.11, half), np.linspace(0.11, right - 0.06, number - half)]
        )
        picture_plate(
            body,
            "display_panel",
            (-0.05, y - 0.02),
            (0.05, y + 0.02),
            z,
            textures.clock(rng, light(rng)),
        )
    spacing = float(np.diff(places).min())
    r = min(r, 0.4 * spacing)
    parts += [control_knob("knob", (x, y, z), r, cap, mark, turn) for x in places]

    _hob(rng, body, (left + 0.012, 0.05 - d), (right - 0.012, 0.01), h)
    if rng.random() < 0.5:
        back = box(
            (left + 0.001, h - 0.01, 0.001 - d),
            (right - 0.001, h + rng.uniform(0.06, 0.16), 0.045 - d),
            0.005,
        )
        body.add("back_panel", back, panel)
    return [*parts, body]


def _hob(rng: Generator, body: Part, low: Pair, high: Pair, y: float) -> None:
    """Put four burners on top of a range, from `low` to `high` (x, z): glass, coils or gas."""
    kind = rng.choice(["glass", "coil", "gas"])
    plate = box((low[0], y - 0.003, low[1]), (high[0], y + 0.005, high[1]), 0.002)
    iron = plain((0.07, 0.07, 0.075), 0.15)
    if kind == "glass":
        picture = Material(texture=textures.hotplates(rng), gloss=0.5, shininess=300)
        body.add("cooktop", plate.pictured(1), picture, collides=False)
        return
    body.add("cooktop", plate, metal(rng) if rng.random() < 0.5 else iron, collides=False)
    xs = [low[0] + f * (high[0] - low[0]) for f in (0.27, 0.73)]
    zs = [low[1] + f * (high[1] - low[1]) for f in (0.27, 0.73)]
    y += 0.005
    for place, (x, z) in enumerate((x, z) for x in xs for z in zs):
        r = 0.085 if place in (0, 3) else 0.068
        if kind == "coil":
            rings = [(r + 0.006, r - 0.004)] + [(f * r, f * r - 0.009) for f in (0.82, 0.6, 0.38)]
            for outside, inside in rings:
                lift = 0.003 if outside > r else 0.009
                profile = [(inside, -0.001), (inside, lift), (outside, lift), (outside, -0.001)]
                solid = lathe(profile, (x, y, z), 1, 32, closed=True)
                body.add("burner", solid, CHROME if outside > r else iron, collides=False)
            continue
        body.add(
            "burner",
            cylinder((x, y - 0.001, z), 0.012, 1, 0.6 * r, 0.003, 24),
            iron,
            collides=False,
        )
        body.add(
            "burner",
            cylinder((x, y + 0.01, z), 0.008, 1, 0.42 * r, 0.003, 24),
            CHROME,
            collides=False,
        )
        bars = []
        for dx, dz in ((1, 0), (0, 1)):
            step = 1.25 * r * np.array([dx, 0, dz])
            ends = [np.array([x, y + 0.026, z]) - step, np.array([x, y + 0.026, z]) + step]
            bars.append(sweep(ends, 0.0055, 6))
            bars += [sweep([end, end - [0, 0.027, 0]], 0.0055, 6) for end in ends]
        body.add("grate", join(bars), iron, collides=False)
