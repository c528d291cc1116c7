"""Laptops and trash cans.

A function draws one object and returns its parts, the body last. The front of the body is the
plane z = 0; doors hang before it, hinged at the outer edge of their front, where they clear all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from . import textures
from .fittings import (
    CHROME,
    GAP,
    RUBBER,
    feet,
    metal,
    plain,
)
from .shapes import (
    Array,
    box,
    circle,
    cup,
    cylinder,
    loft,
    rectangle,
    sectors,
    stack,
)
from .textures import hsv, shade
from .writer import Material, Part


def laptop(rng: Generator) -> list[Part]:
    """A screen that opens over a keyboard; closed at rest."""
    w = rng.uniform(0.29, 0.38)
    d = w * rng.uniform(0.62, 0.72)
    thick, lid_thick = rng.uniform(0.012, 0.02), rng.uniform(0.006, 0.009)
    gap, r = 0.002, 0.005
    grey = float(rng.choice([0.12, 0.3, 0.62, 0.78, 0.9]))
    shell_colour = (
        (grey,) * 3 if rng.random() < 0.7 else hsv(rng, (0, 1), (0.15, 0.6), (0.35, 0.85))
    )
    finish = Material(
        texture=textures.grained(rng, shell_colour, 0.02), tile=0.15, gloss=0.35, shininess=90
    )
    dark = plain((0.04, 0.04, 0.045), 0.3)
    radius = rng.uniform(0.006, 0.016)

    base = Part("laptop_base", "free")
    deck = box((-w / 2, 0, -d), (w / 2, thick, 0), 0.002, radius, axis=1)
    base.add("base_frame", deck, finish)
    feet(base, (-w / 2, -d), (w / 2, 0), 0, 0.002, 0.006)
    key = (0.08, 0.08, 0.09) if rng.random() < 0.65 else (0.88, 0.88, 0.89)
    span, back, near = 0.46 * w, 0.1 * d - d, -0.46 * d
    picture = textures.keyboard(rng, shade(shell_colour, 0.75), key)
    keys = box((-span, thick - 0.001, back), (span, thick + 0.0008, near), 0.0003).pictured(1)
    base.add("keyboard", keys, Material(texture=picture, gloss=0.15), collides=False)
    pad = rng.uniform(0.12, 0.2) * w
    touch = box((-pad, thick - 0.001, 0.88 * -0.44 * d), (pad, thick + 0.0007, -0.05 * d), 0.0003)
    base.add("touchpad_surface", touch, plain(shade(shell_colour, 0.85), 0.3), collides=False)

    # The lid turns about barrels behind the base, level with its top: clear of it at any angle.
    pivot = np.array([0, thick, -d - r - 0.0015])
    upper = np.deg2rad(rng.uniform(105, 140))
    screen = Part("screen", "hinge", pivot, (-1, 0, 0), upper)
    low, high = (-w / 2, thick + gap, pivot[2]), (w / 2, thick + gap + lid_thick, 0)
    screen.add("screen_frame", box(low, high, 0.0018, radius, axis=1), finish)
    for x in (-0.32 * w, 0.32 * w):
        screen.add("shaft", cylinder((x - 0.05 * w, *pivot[1:]), 0.1 * w, 0, r, 0.001, 20), dark)
    # The glass and the picture face down while closed; they are built face up, then turned over.
    middle = (0, thick + gap, pivot[2] / 2)
    rim = rng.uniform(0.006, 0.014)
    half, deep = w / 2 - 0.004, (high[2] - low[2]) / 2 - 0.004
    bezel = box(
        (-half, -0.0004, -deep), (half, 0.0004, deep), 0.0003, max(radius - 0.004, 0.001), axis=1
    )
    screen.add("screen_frame", bezel.turned(0, np.pi).moved(middle), dark, collides=False)
    half, deep = half - rim, deep - 1.4 * rim
    lit = box((-half, 0, -deep), (half, 0.0009, deep), 0.0002).pictured(1)
    wallpaper = Material(texture=textures.desktop(rng), gloss=0.3, shininess=200)
    screen.add("screen", lit.turned(0, np.pi).moved(middle), wallpaper, collides=False)
    if rng.random() < 0.7:
        logo = cylinder((0, high[1] - 0.0005, middle[2]), 0.0012, 1, 0.06 * w, 0.0004, 32)
        screen.add("logo", logo, CHROME if grey < 0.5 else dark, collides=False)
    return [screen, base]


def trash_can(rng: Generator) -> list[Part]:
    """A pedal bin, a swing-top bin or a bin on wheels."""
    return (_pedal_bin, _swing_bin, _wheelie_bin)[rng.integers(3)](rng)


def _bin_plastic(rng: Generator) -> Material:
    """Grained plastic in a bin's usual colours: greys, green, blue, brown, yellow or red."""
    hue = float(rng.choice([0.0, 0.07, 0.13, 0.33, 0.38, 0.56, 0.61]))
    colour = hsv(rng, (hue - 0.02, hue + 0.02), (0.45, 0.85), (0.25, 0.7))
    if rng.random() < 0.4:
        colour = (float(rng.choice([0.13, 0.3, 0.55, 0.88])),) * 3
    return Material(texture=textures.grained(rng, colour, 0.05), tile=0.2, gloss=0.12)


def _pedal_bin(rng: Generator) -> list[Part]:
    """A round or square bin with a hinged lid and a pedal; its middle is at x = z = 0."""
    r, h = rng.uniform(0.12, 0.17), rng.uniform(0.3, 0.62)
    finish = metal(rng) if rng.random() < 0.6 else _bin_plastic(rng)
    dark = plain((0.1, 0.1, 0.105), 0.2)
    square = rng.random() < 0.4

    def outline(size: float) -> Array:
        return (
            rectangle((-size, -size), (size, size), 0.35 * size, 6) if square else circle(size, 48)
        )

    body = Part("trashcan_body", "free")
    wall = 0.006
    heights = [0.025, h, h, 0.04]
    can = cup([outline(r)] * 2, [outline(r - wall)] * 2, heights, 1, wrap=True, step=2)
    body.add("base_body", can, finish)
    foot = loft(stack([outline(1.03 * r), outline(1.03 * r), outline(r)], [0, 0.028, 0.034], 1))
    body.add("base", foot, dark)
    bag = cup(
        [outline(r - wall - 0.002)] * 2,
        [outline(r - wall - 0.005)] * 2,
        [0.06, h - 0.008, h - 0.008, 0.064],
        1,
    )
    body.add("bucket", bag, plain((0.25, 0.26, 0.27), 0.05), collides=False)

    y = h + GAP
    rise = rng.uniform(0.015, 0.05)
    turns = np.linspace(0, np.pi / 2, 7)[:-1]
    rings = [outline(1.02 * r)] + [outline(1.02 * r * float(np.cos(a))) for a in turns]
    levels = [y, *(y + 0.014 + rise * np.sin(turns))]
    lid = Part(
        "lid", "hinge", (0, y, -1.02 * r - 0.006), (-1, 0, 0), np.deg2rad(rng.uniform(65, 88))
    )
    lid.add("lid", loft(stack(rings, levels, 1)), finish if rng.random() < 0.55 else dark)
    lid.add("hinge", box((-0.03, y, -1.02 * r - 0.006), (0.03, y + 0.012, -0.9 * r), 0.002), dark)
    body.add("hinge", box((-0.04, 0.8 * h, -1.02 * r - 0.014), (0.04, h, -r + 0.003), 0.003), dark)
    z = 1.03 * r + GAP
    pedal = Part("foot_pad", "hinge", (0, 0.02, z), (1, 0, 0), np.deg2rad(14))
    pedal.add(
        "foot_pad",
        box((-0.03, 0.012, z), (0.03, 0.021, z + 0.05), 0.003),
        dark if finish.texture is None else CHROME,
    )
    return [lid, pedal, body]


def _swing_bin(rng: Generator) -> list[Part]:
    """A tapered bin whose hood holds a flap that swings about its middle."""
    w, d, h = rng.uniform(0.13, 0.19), rng.uniform(0.11, 0.15), rng.uniform(0.45, 0.65)
    plastic = _bin_plastic(rng)
    hood = plastic if rng.random() < 0.4 else _bin_plastic(rng)
    taper, wall = rng.uniform(0.78, 0.92), 0.005

    def outline(scale: float, inset: float = 0.0) -> Array:
        # The axes in order are z, x: depth first.
        half = np.array([d, w]) * scale - inset
        return rectangle(-half, half, 0.3 * float(half.min()), 5)

    body = Part("trashcan_body", "free")
    heights = [0, h, h, 0.01]
    can = cup(
        [outline(taper), outline(1)],
        [outline(1, wall), outline(taper, wall)],
        heights,
        1,
        wrap=True,
    )
    body.add("base_body", can, plastic)
    rise, flap_w, flap_d = rng.uniform(0.07, 0.13), 0.66 * w, 0.62 * d

    def hole(inset: float = 0.0) -> Array:
        half = np.array([flap_d, flap_w]) + inset
        return rectangle(-half, half, 0.02, 5)

    top = h + rise
    rings = stack(
        [
            outline(1.03, wall),
            outline(1.03),
            outline(1.03),
            outline(0.86),
            hole(0.006),
            hole(0.003),
            hole(0.003),
        ],
        [h - 0.02, h - 0.02, h + 0.006, top - 0.006, top, top - 0.004, top - 0.022],
        1,
    )
    body.add("hood", replace(loft(rings, closed=True), pieces=sectors(rings)), hood)
    t = 0.009
    y = top - 0.011
    lid = Part("lid", "hinge", (0, y, 0), (1, 0, 0), np.deg2rad(rng.uniform(60, 85)))
    flap = box(
        (-flap_w + 0.002, y - t / 2, -flap_d + 0.002),
        (flap_w - 0.002, y + t / 2, flap_d - 0.002),
        0.002,
        0.018,
        axis=1,
    )
    lid.add("lid", flap, hood if rng.random() < 0.5 else _bin_plastic(rng))
    return [lid, body]


def _wheelie_bin(rng: Generator) -> list[Part]:
    """A tall tapered bin with a lid hinged at the back and two wheels; its middle is x = z = 0."""
    w, d, h = rng.uniform(0.22, 0.29), rng.uniform(0.25, 0.33), rng.uniform(0.85, 1.05)
    plastic = _bin_plastic(rng)
    taper, wall, base = rng.uniform(0.72, 0.82), 0.008, 0.05

    def outline(scale: float, inset: float = 0.0) -> Array:
        half = np.array([d, w]) * scale - inset
        return rectangle(-half, half, 0.16 * float(half.min()), 4)

    body = Part("trashcan_body", "free")
    rings = [outline(taper), outline(0.96), outline(0.96), outline(1), outline(1)]
    hollow = [outline(1, wall + 0.015), outline(taper, wall)]
    can = cup(rings, hollow, [base, h - 0.05, h - 0.049, h - 0.045, h, h, base + 0.012], 1)
    wide = cup([outline(taper), outline(1)], hollow, [base, h, h, base + 0.012], 1)
    body.add("base_body", replace(can, pieces=wide.pieces), plastic)
    radius, thick = rng.uniform(0.085, 0.115), 0.045
    z = -taper * d + 0.02
    x = taper * w + 0.045
    y = radius
    axle = cylinder((-x, y, z), 2 * x, 0, 0.012, 0, 16)
    body.add("axle", axle, plain((0.3, 0.3, 0.31), 0.3), collides=False)
    for sx in (-0.6, 0.6):
        foot = box(
            (sx * w * taper - 0.03, 0, taper * d - 0.1),
            (sx * w * taper + 0.03, base + 0.004, taper * d - 0.03),
            0.004,
        )
        body.add("foot", foot, plastic)
    back = -d - 0.035
    grip = cylinder((-0.8 * w, h - 0.02, back), 1.6 * w, 0, 0.014, 0.003, 20)
    body.add("handle", grip, plastic)
    for sx in (-0.7, 0.7):
        post = box(
            (sx * w - 0.012, h - 0.034, back - 0.006), (sx * w + 0.012, h - 0.008, 0.006 - d), 0.003
        )
        body.add("handle", post, plastic)

    y1 = h + 0.006
    cap = plastic if rng.random() < 0.5 else _bin_plastic(rng)
    lid = Part("lid", "hinge", (0, y1, back), (-1, 0, 0), np.deg2rad(rng.uniform(90, 110)))
    crown = stack(
        [outline(1.04), outline(1.04), outline(1.0), outline(0.8)],
        [y1, y1 + 0.02, y1 + 0.032, y1 + 0.045],
        1,
    )
    lid.add("lid", loft(crown), cap)
    for sx in (-0.5, 0.5):
        strap = box(
            (sx * w - 0.03, y1 + 0.001, back - 0.008), (sx * w + 0.03, y1 + 0.016, 0.03 - d), 0.003
        )
        lid.add("hinge", strap, cap)
    front_grip = box(
        (-0.08, y1 + 0.002, 1.04 * d - 0.01), (0.08, y1 + 0.014, 1.04 * d + 0.025), 0.004
    )
    lid.add("handle", front_grip, cap)
    parts = [lid]
    for side in (-1, 1):
        centre = (side * x, y, z)
        wheel = Part("wheel", "hinge", centre, (1, 0, 0))
        start = (side * x - thick / 2, y, z)
        wheel.add("wheel", cylinder(start, thick, 0, radius, 0.01, 40), RUBBER)
        hub = thick / 2 + 0.004
        wheel.add(
            "hub",
            cylinder((side * x - hub, y, z), 2 * hub, 0, 0.62 * radius, 0.004, 32),
            plain((0.35, 0.35, 0.36), 0.2),
        )
        for angle in np.arange(5) * 2 * np.pi / 5:
            spoke = box((-hub - 0.003, 0.02, -0.009), (hub + 0.003, 0.58 * radius, 0.009), 0.002)
            wheel.add(
                "spoke",
                spoke.turned(0, angle).moved(centre),
                plain((0.7, 0.7, 0.7), 0.2),
                collides=False,
            )
        parts.append(wheel)
    return [*parts, body]
