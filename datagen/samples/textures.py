"""Procedural pictures: (H, W, 3) uint8 sRGB arrays. Materials tile; pictures fill one face."""

from __future__ import annotations

import colorsys
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Picture = NDArray[np.uint8]
Colour = tuple[float, float, float]
Range = tuple[float, float]
LEVELS = 48  # Shades per texture: few enough for small PNG files.


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` (sRGB, 0 to 1) made lighter or darker."""
    red, green, blue = (float(np.clip(channel * factor, 0, 1)) for channel in colour)
    return red, green, blue


def hsv(rng: Generator, hue: Range, saturation: Range, value: Range) -> Colour:
    """A colour drawn from ranges (low, high) of hue, saturation and value, each 0 to 1."""
    h, s, v = (float(rng.uniform(*bounds)) for bounds in (hue, saturation, value))
    return colorsys.hsv_to_rgb(h % 1, s, v)


def _bytes(colour: Colour) -> tuple[int, ...]:
    return tuple(round(255 * channel) for channel in colour)


def noise(rng: Generator, size: tuple[int, int], cells: tuple[int, int]) -> NDArray[np.float64]:
    """Smooth noise (H, W), 0 to 1, that tiles: random values on `cells`, blended in between."""
    values = rng.random(cells)
    for axis in (0, 1):
        place = np.arange(size[axis]) * cells[axis] / size[axis]
        low = place.astype(int)
        t = place - low
        t = (t * t * (3 - 2 * t)).reshape([-1, 1] if axis == 0 else [1, -1])
        here = values.take(low, axis)
        values = here + t * (values.take((low + 1) % cells[axis], axis) - here)
    return values


def ramp(level: NDArray[np.float64], dark: Colour, light: Colour) -> Picture:
    """The picture that runs from `dark` to `light` as `level` (H, W) runs from 0 to 1."""
    level = np.clip(level, 0, 1)[..., None]
    level = np.round(level * LEVELS) / LEVELS
    return np.round(255 * (np.array(dark) + level * np.subtract(light, dark))).astype(np.uint8)


def wood(rng: Generator, dark: Colour, light: Colour, size: int = 256) -> Picture:
    """Boards of wood; the grain runs up the picture."""
    x = np.arange(size)[None] / size
    bend = noise(rng, (size, size), (2, 4)) + 0.3 * noise(rng, (size, size), (4, 9))
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (int(rng.integers(4, 9)) * x + 0.9 * bend))
    fibre = noise(rng, (size, size), (6, size // 2))
    stain = noise(rng, (size, size), (2, 7))
    return ramp(0.3 * rings**1.6 + 0.36 * fibre + 0.34 * stain, dark, light)


def brushed(rng: Generator, colour: Colour, size: int = 128) -> Picture:
    """Brushed metal; the strokes run across the picture."""
    strokes = (
        noise(rng, (size, size), (size, 3)) * 0.6 + noise(rng, (size, size), (size // 2, 6)) * 0.4
    )
    return ramp(strokes, shade(colour, 0.9), shade(colour, 1.07))


def grained(rng: Generator, colour: Colour, depth: float = 0.05, size: int = 128) -> Picture:
    """Grained plastic or paint: fine specks of `depth` relative contrast."""
    specks = 0.6 * noise(rng, (size, size), (64, 64)) + 0.4 * noise(rng, (size, size), (16, 16))
    return ramp(specks, shade(colour, 1 - depth), shade(colour, 1 + depth))


def pattern(rng: Generator, size: int = 128) -> Picture:
    """Stripes, checks, spots, clouds or a map of two or three colours, that tile."""
    dark, light = hsv(rng, (0, 1), (0, 1), (0.05, 0.8)), hsv(rng, (0, 1), (0, 1), (0.3, 1))
    y, x = np.mgrid[:size, :size] / size
    cells = int(rng.integers(1, 7))
    kind = rng.integers(5)
    cloud = noise(rng, (size, size), (2 * cells, 2 * cells))
    if kind == 0:
        level = 0.5 + 0.5 * np.sin(2 * np.pi * cells * (x if rng.random() < 0.5 else y))
    elif kind == 1:
        level = (np.floor(2 * cells * x) + np.floor(2 * cells * y)) % 2
    elif kind == 2:
        level = ((x * cells % 1 - 0.5) ** 2 + (y * cells % 1 - 0.5) ** 2 < 0.1).astype(float)
    else:
        level = cloud if kind == 3 else np.round(3 * cloud) / 3
    if rng.random() < 0.3:
        level = level > 0.5
    return ramp(0.85 * level + 0.15 * noise(rng, (size, size), (32, 32)), dark, light)


def keyboard(
    rng: Generator, base: Colour, key: Colour, size: tuple[int, int] = (96, 256)
) -> Picture:
    """Six rows of keys on a base, seen from above."""
    height, width = size
    image = Image.new("RGB", (width, height), _bytes(base))
    draw = ImageDraw.Draw(image)
    print_colour = _bytes((0.9, 0.9, 0.9) if sum(key) < 1.5 else (0.25, 0.25, 0.28))
    pitch = (height - 2) / 6
    for row in range(6):
        widths = np.ones(14)
        widths[[0, -1]] = [(1, 1), (1, 1.7), (1.5, 1.2), (1.8, 1.6), (2.2, 2), (1.2, 1.2)][row]
        if row == 5:
            widths = np.array([1, 1, 1, 1.2, 5.2, 1.2, 1, 1, 1, 1])
        edges = np.concatenate([[0], np.cumsum(widths / widths.sum())]) * (width - 3) + 1
        top = round(1 + row * pitch)
        for left, right in pairwise(edges):
            cap = (round(left) + 1, top + 1, round(right) - 1, round(top + pitch) - 2)
            draw.rounded_rectangle(cap, 2, fill=_bytes(key))
            if right - left < 1.5 * pitch * width / 256:
                x, y = cap[0] + 4, cap[1] + 3
                draw.rectangle((x, y, x + int(rng.integers(1, 4)), y + 3), fill=print_colour)
    return np.asarray(image)


def desktop(rng: Generator, size: tuple[int, int] = (160, 256)) -> Picture:
    """A computer's screen: hills under a sky, a bar of icons and perhaps a window."""
    height, width = size
    hue = float(rng.random())
    top = hsv(rng, (hue, hue), (0.5, 0.85), (0.35, 0.8))
    low = hsv(rng, (hue + 0.08, hue + 0.45), (0.25, 0.6), (0.85, 1.0))
    picture = ramp(np.repeat(np.linspace(0, 1, height)[:, None], width, axis=1), top, low)
    rows = np.arange(height)[:, None]
    for layer in range(3):
        hill = (
            0.4 + 0.17 * layer + 0.28 * (noise(rng, (1, width), (1, 3 + 2 * layer)) - 0.5)
        ) * height
        picture[rows > hill] = _bytes(shade(top, 0.85 - 0.24 * layer))
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.6:
        x, y = int(rng.integers(16, 90)), int(rng.integers(12, 40))
        wide, high = int(rng.integers(90, 140)), int(rng.integers(60, 90))
        draw.rounded_rectangle((x, y, x + wide, y + high), 3, fill=(245, 246, 248))
        draw.rectangle((x, y + 3, x + wide, y + 9), fill=_bytes(shade(top, 0.8)))
        for line in range(y + 16, y + high - 6, 7):
            draw.rectangle(
                (x + 8, line, x + int(rng.integers(30, wide - 6)), line + 2), fill=(120, 124, 132)
            )
    draw.rectangle((0, height - 13, width, height), fill=(28, 30, 38))
    for icon in range(8):
        x = width // 2 - 60 + 15 * icon
        fill = _bytes(hsv(rng, (0, 1), (0.4, 0.9), (0.7, 1)))
        draw.rounded_rectangle((x, height - 11, x + 8, height - 3), 2, fill=fill)
    return np.asarray(image)


SEGMENTS = ("012456", "25", "02346", "02356", "1235", "01356", "013456", "025", "0123456", "012356")


def clock(rng: Generator, colour: Colour, size: tuple[int, int] = (48, 128)) -> Picture:
    """A dark display with four seven-segment digits and a colon."""
    height, width = size
    image = Image.new("RGB", (width, height), (12, 14, 18))
    draw = ImageDraw.Draw(image)
    lit = _bytes(colour)
    hours, minutes = int(rng.integers(0, 24)), int(rng.integers(0, 60))
    high, wide = round(0.6 * height), round(0.3 * height)
    top, half = (height - high) // 2, high // 2
    for place, digit in enumerate(f"{hours:02d}{minutes:02d}"):
        x = width // 2 + round((place - 2) * 1.55 * wide) + (5 if place > 1 else -1)
        bars = {
            "0": (0, 0, wide, 0), "1": (0, 0, 0, half), "2": (wide, 0, wide, half),
            "3": (0, half, wide, half), "4": (0, half, 0, high), "5": (wide, half, wide, high),
            "6": (0, high, wide, high),
        }  # fmt: skip
        for segment in SEGMENTS[int(digit)]:
            a, b, c, d = bars[segment]
            draw.rectangle((x + a - 1, top + b - 1, x + c + 1, top + d + 1), fill=lit)
    for dot in (0.38, 0.62):
        y = round(dot * height)
        draw.rectangle((width // 2 - 1, y - 1, width // 2 + 1, y + 1), fill=lit)
    return np.asarray(image)


def keypad(rng: Generator, base: Colour, rows: int, columns: int) -> Picture:
    """A control panel's keys, each with a mark, and a coloured start and stop key."""
    cell = 20
    image = Image.new("RGB", (columns * cell, rows * cell), _bytes(base))
    draw = ImageDraw.Draw(image)
    red, green, blue = (min(1.0, channel + 0.13) for channel in base)
    key = shade(base, 0.82) if sum(base) > 1.2 else (red, green, blue)
    mark = (40, 42, 48) if sum(key) > 1.5 else (225, 228, 232)
    for row in range(rows):
        for column in range(columns):
            x, y = column * cell, row * cell
            last = row == rows - 1
            fill = key
            if last and column in (0, columns - 1):
                fill = (0.25, 0.6, 0.35) if column == 0 else (0.75, 0.25, 0.22)
            draw.rounded_rectangle((x + 2, y + 3, x + cell - 3, y + cell - 4), 3, fill=_bytes(fill))
            length = int(rng.integers(2, 5))
            draw.rectangle((x + 9 - length, y + 9, x + 9 + length, y + 10), fill=mark)
    return np.asarray(image)


def dial(rng: Generator, base: Colour, size: int = 96) -> Picture:
    """A knob's scale: ticks round a circle, its lower quarter left free."""
    image = Image.new("RGB", (size, size), _bytes(base))
    draw = ImageDraw.Draw(image)
    mark = (45, 45, 50) if sum(base) > 1.5 else (235, 235, 235)
    count = int(rng.integers(7, 13))
    for step, angle in enumerate(np.linspace(0.75 * np.pi, 2.25 * np.pi, count)):
        direction = np.array([np.cos(angle), np.sin(angle)])
        start = size / 2 + direction * size * (0.4 if step % 2 else 0.37)
        end = size / 2 + direction * size * 0.46
        draw.line((*start.tolist(), *end.tolist()), fill=mark, width=3)
    return np.asarray(image)


def hotplates(rng: Generator, size: int = 192) -> Picture:
    """A black glass hob: four pairs of pale circles."""
    image = Image.new("RGB", (size, size), (16, 17, 19))
    draw = ImageDraw.Draw(image)
    for x in (0.27, 0.73):
        for y in (0.28, 0.74):
            for radius in (float(rng.uniform(0.12, 0.18)), float(rng.uniform(0.07, 0.1))):
                bounds = [
                    size * (x - radius),
                    size * (y - radius),
                    size * (x + radius),
                    size * (y + radius),
                ]
                draw.ellipse(bounds, outline=(150, 150, 152), width=2)
    return np.asarray(image)
