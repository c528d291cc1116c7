"""Dishwashers and washing machines.

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
    picture_plate,
    plain,
    rack,
)
from .shapes import (
    Point,
    box,
    circle,
    cup,
    cylinder,
    frame,
    lathe,
    round_hole_plate,
    shell,
)
from .textures import hsv
from .writer import Material, Part


def dishwasher(rng: Generator) -> list[Part]:
    """A drop door and two or three racks."""
    w, h, d = rng.uniform(0.45, 0.62), rng.uniform(0.8, 0.88), rng.uniform(0.54, 0.62)
    t, kick = rng.uniform(0.04, 0.055), rng.uniform(0.07, 0.11)
    left, right = -w / 2, w / 2
    finish = appliance(rng)
    strip = rng.uniform(0.07, 0.11)
    on_door = rng.random() < 0.5
    ceiling = h - 0.05 if on_door else h - strip - 0.01
    body = Part("dishwasher_body", "heavy")
    low, high = (
        np.array([left + 0.025, kick + 0.035, 0.04 - d]),
        np.array([right - 0.025, ceiling, 0]),
    )
    side = finish if rng.random() < 0.6 else plain((0.4, 0.4, 0.41))
    body.add("frame", shell((left, kick, -d), (right, h, 0), low, high), side)
    body.add("base", box((left + 0.01, 0, 0.02 - d), (right - 0.01, kick + 0.002, -0.04)), RUBBER)
    liner(body, low, high, plain((0.66, 0.67, 0.69), 0.3))

    top = h - 0.002 if on_door else h - strip
    pivot = (0, kick + GAP, GAP + t)
    door = Part("rotation_door", "hinge", pivot, (1, 0, 0), np.deg2rad(90))
    panel = plain((0.09, 0.09, 0.1), 0.3) if rng.random() < 0.5 else finish
    y1 = top - strip if on_door else top - GAP
    front(
        door,
        "door_frame",
        (left + 0.001, kick + GAP, GAP),
        (right - 0.001, y1, GAP + t),
        "flat",
        finish,
    )
    owner, base = (door, top - strip) if on_door else (body, top)
    owner_low = (left + 0.001, base + 0.002, GAP if on_door else -0.01)
    owner.add("control_panel", box(owner_low, (right - 0.001, base + strip, GAP + t), 0.003), panel)
    door.add(
        "surface",
        box(
            (low[0] + 0.01, low[1] + 0.01, -0.012), (high[0] - 0.01, y1 - 0.06, GAP + 0.002), 0.004
        ),
        WIRE,
    )
    y, z = base + strip / 2, GAP + t
    x = rng.uniform(0.02, 0.06)
    picture_plate(
        owner,
        "display_panel",
        (x, y - 0.018),
        (x + 0.09, y + 0.018),
        z,
        textures.clock(rng, light(rng)),
    )
    for step in range(int(rng.integers(3, 7))):
        x = left + 0.05 + 0.034 * step
        button = cylinder((x, y, z - 0.002), 0.006, 2, 0.009, 0.001, 20)
        owner.add("control_button", button, CHROME, collides=False)
    kind = rng.choice(["bar", "flat", "arc", "lip"])
    grip = CHROME if rng.random() < 0.7 else panel
    handle(
        door, kind, (0, y1 - 0.06, z), w * rng.uniform(0.5, 0.85), 0, grip, rng.uniform(0.007, 0.01)
    )

    parts = [door]
    if on_door and rng.random() < 0.4:
        mark = WHITE if panel is not finish else RUBBER
        cap = plain((0.16, 0.16, 0.17), 0.3) if panel is finish else CHROME
        place = (right - 0.06, y, z)
        turn = np.deg2rad(rng.uniform(180, 320))
        parts.append(control_knob("knob", place, 0.28 * strip, cap, mark, turn, door))
    wire = WIRE if rng.random() < 0.6 else plain(hsv(rng, (0.55, 0.65), (0.05, 0.45), (0.5, 0.85)))
    count = int(rng.integers(2, 4))
    bottoms = np.linspace(kick + t + 0.045, high[1] - (0.17 if count == 2 else 0.07), count)
    for level, y in enumerate(bottoms):
        tall = 0.05 if level == 2 else rng.uniform(0.1, 0.14)
        tray_low, tray_high = (
            (low[0] + 0.022, y, low[2] + 0.03),
            (high[0] - 0.022, y + tall, -0.035),
        )
        shelf = Part(
            "shelf",
            "slider",
            (0, y, tray_low[2]),
            (0, 0, 1),
            (high[2] - low[2]) * rng.uniform(0.6, 0.85),
        )
        rack(
            shelf,
            tray_low,
            tray_high,
            0.0022,
            int(rng.integers(8, 12)),
            wire,
            int(rng.integers(2, 5)) if level < 2 else 0,
        )
        if level == 0:
            _plates(rng, shelf, tray_low, tray_high)
        for x in (low[0] + 0.004, high[0] - 0.012):
            body.add(
                "rail",
                box((x, y + tall - 0.006, low[2] + 0.01), (x + 0.008, y + tall + 0.004, -0.02)),
                WHITE,
            )
        parts.append(shelf)
    return [*parts, body]


def _plates(rng: Generator, shelf: Part, low: Point, high: Point) -> None:
    """Stand a few plates in a rack."""
    china = plain(hsv(rng, (0, 1), (0, 0.35), (0.8, 0.97)), 0.3)
    radius = 0.085
    dish = [
        (0, 0),
        (0.6 * radius, 0),
        (radius, 0.012),
        (radius, 0.015),
        (0.6 * radius, 0.004),
        (0, 0.004),
    ]
    x = float(rng.uniform(low[0] + 0.11, high[0] - 0.11))
    for step in range(int(rng.integers(2, 6))):
        z = low[2] + 0.05 + 0.055 * step
        shelf.add(
            "plate", lathe(dish, (x, low[1] + radius + 0.006, z), 2, 32), china, collides=False
        )


def washing_machine(rng: Generator) -> list[Part]:
    """A front loader with a porthole, or a top loader with a lid."""
    return _front_loader(rng) if rng.random() < 0.65 else _top_loader(rng)


def _front_loader(rng: Generator) -> list[Part]:
    """A porthole door before a drum, a detergent drawer and a knob."""
    w, h, d = rng.uniform(0.56, 0.64), rng.uniform(0.8, 0.9), rng.uniform(0.5, 0.6)
    left, right = -w / 2, w / 2
    finish = enamel(rng, (0.94, 0.94, 0.94)) if rng.random() < 0.4 else appliance(rng)
    black = plain((0.08, 0.08, 0.09), 0.3)
    strip, base = rng.uniform(0.11, 0.14), 0.03
    top = h - strip
    y, hole = base + 0.54 * (top - base), rng.uniform(0.15, 0.175)
    body = Part("washing_machine_body", "heavy")
    low, high = (left, base, -d), (right, h, -0.022)
    body.add("base_body", shell(low, high, np.add(low, 0.012), np.subtract(high, 0.012)), finish)
    feet(body, (left, -d), (right, -0.02), base, base, 0.02)
    plate_low, plate_high = (left + 0.0005, base + 0.0005, -0.02), (right - 0.0005, top - 0.001, 0)
    body.add("base_body", round_hole_plate(plate_low, plate_high, (0, y), hole), finish)
    seal = [
        (hole - 0.004, -0.001),
        (hole + 0.012, -0.001),
        (hole + 0.012, -0.05),
        (hole - 0.004, -0.05),
    ]
    body.add("seal", lathe(seal, (0, y, -0.02), 2, 48, closed=True), RUBBER)
    r, deep = min(0.23, w / 2 - 0.03), d - 0.16
    drum = cup(
        [circle(r, 48)] * 2,
        [
            circle(hole - 0.002, 48),
            circle(hole - 0.002, 48),
            circle(r - 0.005, 48),
            circle(r - 0.005, 48),
        ],
        [0, deep, deep, deep - 0.004, deep - 0.02, 0.006],
        2,
    )
    steel = Material((0.6, 0.61, 0.63), gloss=0.5, shininess=150)
    body.add("drum", drum.moved((0, y, -0.075 - deep)), steel, collides=False)

    ring, t = hole + rng.uniform(0.03, 0.045), rng.uniform(0.028, 0.04)
    hung = str(rng.choice(["left", "left", "right"]))
    sign = -1 if hung == "left" else 1
    z = GAP + t
    upper = np.deg2rad(rng.uniform(100, 150))
    door = Part("door", "hinge", (sign * (ring + 0.012), y, z), SIDE_AXES[hung], upper)
    inside = hole - 0.035
    rim = (CHROME, black, plain((0.88, 0.88, 0.89), 0.2))[rng.integers(3)]
    profile = [
        (inside, 0.006),
        (ring, 0),
        (ring, 0.7 * t),
        (ring - 0.012, t),
        (inside + 0.01, t),
        (inside, 0.7 * t),
    ]
    door.add("door_frame", lathe(profile, (0, y, GAP), 2, 48, closed=True), rim)
    hinge = box(
        (sign * (ring + 0.012) - 0.012, y - 0.05, GAP + 0.3 * t),
        (sign * (ring + 0.012) + 0.012, y + 0.05, z),
        0.003,
    )
    door.add("hinge", hinge, rim)
    bowl = [
        (0, -0.05),
        (0.62 * inside, -0.045),
        (0.86 * inside, -0.01),
        (inside + 0.004, 0.5 * t),
        (0.9 * inside, 0.8 * t),
        (0.5 * inside, 1.0 * t),
        (0, 1.05 * t),
    ]
    door.add(
        "glass", lathe(bowl, (0, y, GAP), 2, 40), glass((0.2, 0.27, 0.32), rng.uniform(0.3, 0.5))
    )
    grip = -sign * (ring - 0.012)
    door.add(
        "handle",
        box((grip - 0.014, y - 0.055, z - 0.004), (grip + 0.014, y + 0.055, z + 0.012), 0.004),
        black,
    )
    parts = [door]

    # The control strip, with a drawer on the left.
    x1 = left + rng.uniform(0.16, 0.21)
    face = black if rng.random() < 0.4 else finish
    slot_low, slot_high = (left + 0.02, top + 0.018), (x1, h - 0.018)
    strip_low, strip_high = (left + 0.0005, top, -0.02), (right - 0.0005, h - 0.001, GAP + 0.012)
    body.add("control_panel", frame(strip_low, strip_high, slot_low, slot_high, 0.003), face)
    zs = GAP + 0.012
    drawer = Part("drawer", "slider", (left, top, 0), (0, 0, 1), rng.uniform(0.14, 0.2))
    drawer_low, drawer_high = np.add(slot_low, 0.003), np.subtract(slot_high, 0.003)
    drawer.add("drawer_front", box((*drawer_low, -0.012), (*drawer_high, zs + 0.004), 0.002), face)
    drawer_box(
        drawer,
        (*(drawer_low + 0.002), -0.26),
        (drawer_high[0] - 0.002, drawer_high[1] - 0.01, -0.011),
        plain((0.55, 0.65, 0.75)),
    )
    middle = (drawer_low + drawer_high) / 2
    lip = box(
        (middle[0] - 0.035, middle[1] - 0.022, zs + 0.003),
        (middle[0] + 0.035, middle[1] - 0.008, zs + 0.013),
        0.003,
    )
    drawer.add("handle", lip, face)
    parts.append(drawer)
    yk, r = top + strip / 2, 0.3 * strip
    shade_of = (0.08, 0.08, 0.09) if face is black else (0.9, 0.9, 0.9)
    xk = rng.uniform(-0.02, 0.06)
    cap = CHROME if rng.random() < 0.5 else plain((0.16, 0.16, 0.17), 0.3)
    picture_plate(
        body,
        "control_panel",
        (xk - 1.3 * r, yk - 1.3 * r),
        (xk + 1.3 * r, yk + 1.3 * r),
        zs,
        textures.dial(rng, shade_of),
    )
    turn = None if rng.random() < 0.6 else np.deg2rad(300)
    parts.append(
        control_knob(
            "knob",
            (xk, yk, zs + 0.003),
            0.85 * r,
            cap,
            WHITE if cap is not CHROME else RUBBER,
            turn,
        )
    )
    x = xk + 2 * r
    picture_plate(
        body,
        "display_panel",
        (x, yk - 0.024),
        (x + 0.09, yk + 0.024),
        zs,
        textures.clock(rng, light(rng)),
    )
    for step in range(int(rng.integers(1, 4))):
        place = (min(x + 0.11, right - 0.02), yk + 0.024 * (step - 1), zs - 0.002)
        body.add(
            "control_button", cylinder(place, 0.006, 2, 0.008, 0.001, 20), CHROME, collides=False
        )
    return [*parts, body]


def _top_loader(rng: Generator) -> list[Part]:
    """A lid over a tub, and knobs on a panel at the back."""
    w, h, d = rng.uniform(0.56, 0.68), rng.uniform(0.88, 0.98), rng.uniform(0.56, 0.64)
    left, right = -w / 2, w / 2
    finish = enamel(rng, (0.94, 0.94, 0.94)) if rng.random() < 0.5 else appliance(rng)
    black = plain((0.08, 0.08, 0.09), 0.3)
    body = Part("washing_machine_body", "heavy")
    low, high = np.array([left, 0.025, -d]), np.array([right, h - 0.022, 0])
    body.add("base_body", shell(low, high, low + 0.012, high - 0.012, axis=1, bevel=0.006), finish)
    feet(body, (left, -d), (right, 0), 0.025, 0.025, 0.022)
    # The deck is a frame made facing +z, then laid on its back.
    ledge = 0.14
    hole_low, hole_high = np.array([left + 0.05, 0.05]), np.array([right - 0.05, d - ledge - 0.03])
    deck = frame(
        (left + 0.0005, 0.0005, h - 0.02),
        (right - 0.0005, d - 0.0005, h),
        hole_low,
        hole_high,
        0.005,
        0,
        0.05,
    )
    body.add("surface", deck.turned(0, -np.pi / 2), finish)
    r = min(hole_high[0], (hole_high[1] - hole_low[1]) / 2) + 0.015
    z = -(hole_low[1] + hole_high[1]) / 2
    steel = Material((0.62, 0.63, 0.65), gloss=0.45, shininess=150)
    tub = cup([circle(r, 48)] * 2, [circle(r - 0.006, 48)] * 2, [0.12, h - 0.06, h - 0.06, 0.13], 1)
    body.add("drum", tub.moved((0, 0, z)), steel, collides=False)
    column = [(0.09, 0.129), (0.045, 0.17), (0.035, 0.6 * h), (0.025, 0.62 * h), (0, 0.63 * h)]
    body.add("agitator", lathe(column, (0, 0, z), 1, 32), plain((0.85, 0.88, 0.9), 0.2))

    t = rng.uniform(0.016, 0.024)
    y0, y1 = h + GAP, h + GAP + t
    lid = Part("lid", "hinge", (0, y1, ledge - d), (-1, 0, 0), np.deg2rad(rng.uniform(75, 92)))
    lid_low, lid_high = (left + 0.025, 0.02, y0), (right - 0.025, d - ledge, y1)
    if rng.random() < 0.5:
        rim = 0.07
        opening = (lid_low[0] + rim, lid_low[1] + rim), (lid_high[0] - rim, lid_high[1] - rim)
        lid.add(
            "lid",
            frame(lid_low, lid_high, *opening, 0.004, 0.02, 0.02).turned(0, -np.pi / 2),
            finish,
        )
        pane = box(
            (opening[0][0] - 0.006, opening[0][1] - 0.006, y0 + 0.25 * t),
            (opening[1][0] + 0.006, opening[1][1] + 0.006, y0 + 0.75 * t),
        )
        lid.add("glass", pane.turned(0, -np.pi / 2), glass(alpha=0.45))
    else:
        lid.add("lid", box(lid_low, lid_high, 0.004, 0.02).turned(0, -np.pi / 2), finish)
    lid.add("handle", box((-0.07, y0 + 0.003, -0.024), (0.07, y1 - 0.003, -0.006), 0.003), black)

    tall, thick = rng.uniform(0.1, 0.16), 0.07
    panel = box(
        (left + 0.001, h - 0.004, 0.001 - d),
        (right - 0.001, h + tall, thick - d),
        0.012,
        radius=0.012,
        axis=0,
    )
    face = black if rng.random() < 0.4 else finish
    body.add("control_panel", panel, face)
    parts, y, zf = [lid], h + 0.5 * tall, thick - d
    r = min(0.26 * tall, 0.034)
    shown = (0.08, 0.08, 0.09) if face is black else (0.9, 0.9, 0.9)
    cap = CHROME if rng.random() < 0.5 else plain((0.16, 0.16, 0.17), 0.3)
    for x in np.linspace(0.1, right - 0.09, int(rng.integers(1, 3))):
        picture_plate(
            body,
            "control_panel",
            (x - 1.25 * r, y - 1.25 * r),
            (x + 1.25 * r, y + 1.25 * r),
            zf,
            textures.dial(rng, shown),
        )
        turn = None if rng.random() < 0.5 else np.deg2rad(300)
        parts.append(
            control_knob(
                "knob",
                (x, y, zf + 0.003),
                0.8 * r,
                cap,
                WHITE if cap is not CHROME else RUBBER,
                turn,
            )
        )
    picture_plate(
        body,
        "display_panel",
        (left + 0.07, y - 0.024),
        (left + 0.19, y + 0.024),
        zf,
        textures.clock(rng, light(rng)),
    )
    return [*parts, body]
