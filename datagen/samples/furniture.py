"""Storage furniture.

A function draws one object and returns its parts, the body last. The front of the body is the
plane z = 0; doors hang before it, hinged at the outer edge of their front, where they clear all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from .fittings import (
    BRASS,
    CHROME,
    GAP,
    SIDE_AXES,
    drawer_box,
    front,
    glass,
    handle,
    painted,
    plain,
    wooden,
)
from .shapes import (
    Array,
    Pair,
    box,
    cylinder,
    lathe,
)
from .writer import Material, Part

Cell = tuple[float, str]


@dataclass(frozen=True)
class Joinery:
    """What all cells of one piece share: board and front thickness, fronts, handles, materials.

    faces, carcass: with the grain up, and across.
    """

    board: float
    thickness: float
    style: str
    grip: str
    faces: tuple[Material, Material]
    carcass: tuple[Material, Material]
    fitting: Material
    inside: Material


def storage_furniture(rng: Generator) -> list[Part]:
    """A carcass of columns; each column stacks drawers, doors and open shelves."""
    kind = str(rng.choice(["chest", "cabinet", "sideboard", "nightstand", "wardrobe"]))
    columns, w, h, d = {
        "chest": (int(rng.integers(1, 3)), 0.9, 0.95, 0.45),
        "cabinet": (1, 0.8, 0.85, 0.45),
        "sideboard": (3, 1.5, 0.75, 0.42),
        "nightstand": (1, 0.48, 0.55, 0.4),
        "wardrobe": (int(rng.integers(1, 3)), 0.9, 1.7, 0.55),
    }[kind]
    w, h, d = (side * rng.uniform(0.85, 1.15) for side in (w, h, d))
    if kind == "chest" and columns == 1:
        w *= 0.7
    if kind == "wardrobe" and columns == 2:
        w *= 1.5
    stand = rng.uniform(0.04, 0.08) if kind == "wardrobe" else rng.uniform(0.05, 0.16)
    wood = wooden(rng)
    carcass = wood if rng.random() < 0.7 else (painted(rng),) * 2
    faces = carcass
    if rng.random() < 0.5:
        faces = (painted(rng),) * 2 if rng.random() < 0.6 else wooden(rng)
    glazed = kind != "chest" and rng.random() < 0.25
    shaker = "glazed" if glazed else "shaker"
    metals = (CHROME, plain((0.1, 0.1, 0.1), 0.2), BRASS)
    make = Joinery(
        board=rng.uniform(0.016, 0.024),
        thickness=rng.uniform(0.018, 0.024),
        style=shaker if rng.random() < 0.6 else "flat",
        grip=str(rng.choice(["bar", "flat", "arc", "knob"])),
        faces=faces,
        carcass=carcass,
        fitting=metals[rng.integers(3)] if rng.random() < 0.8 or faces is carcass else wood[0],
        inside=Material((0.8, 0.72, 0.58), gloss=0.05),
    )

    board, (up, across) = make.board, carcass
    left, right, under = -w / 2, w / 2, h - board
    body = Part("furniture_body", "heavy")
    over = float(rng.choice([0.0, 0.012]))
    top = box((left - over, under, -d), (right + over, h, GAP + make.thickness + over), 0.003)
    body.add("top_panel", top, across)
    _stand(rng, body, (left, -d), (right, 0), stand, up)
    back = box((left + 0.002, stand + 0.002, 0.002 - d), (right - 0.002, under + 0.002, 0.01 - d))
    body.add("back_panel", back, up)
    centres = np.linspace(left + board / 2, right - board / 2, columns + 1)
    for x in centres:
        inset = 0.0 if x in centres[[0, -1]] else 0.002
        corner = (x - board / 2, stand + inset, inset - d)
        panel = box(corner, (x + board / 2, under - 0.0005, -inset), 0.0015)
        body.add("vertical_side_panel", panel, up)

    parts = []
    for column in range(columns):
        x0, x1 = centres[column] + board / 2, centres[column + 1] - board / 2
        # Fronts cover the outer panels whole and share the inner ones.
        f0 = left if column == 0 else centres[column]
        f1 = right if column == columns - 1 else centres[column + 1]
        if column == 0 or kind == "sideboard":
            cells = _cells(rng, kind, column)
        shares = np.array([share for share, _ in cells])
        levels = stand + (under - stand) * np.concatenate([[0], np.cumsum(shares / shares.sum())])
        for place, (_, use) in enumerate(cells):
            y0, y1 = levels[place : place + 2]
            floor = y0 - board / 2 if place else y0 + 0.001
            shelf = box((x0 - 0.002, floor, 0.008 - d), (x1 + 0.002, floor + board, -0.002))
            body.add("shelf", shelf, across)
            low = np.array([x0, floor + board, 0.012 - d])
            high = np.array([x1, y1 - board / 2 if place + 1 < len(cells) else y1, 0])
            edge = GAP / 2 if y1 < under else GAP
            face = np.array([f0 + 0.001, y0 + GAP / 2]), np.array([f1 - 0.001, y1 - edge])
            if column:
                face[0][0] += 0.001
            if column < columns - 1:
                face[1][0] -= 0.001
            if use == "drawer":
                parts.append(_drawer(rng, make, low, high, *face))
            elif use != "open":
                hung = [use] if use != "doors" else ["left", "right"]
                parts += _doors(rng, make, hung, *face, outer=columns == 1)
                _inside(body, make, low, high)
    return [*parts, body]


def _drawer(
    rng: Generator, make: Joinery, low: Array, high: Array, face_low: Array, face_high: Array
) -> Part:
    """A drawer in a hollow, `low` to `high` (3,), its front over `face_low` to `face_high` (2,)."""
    z = GAP + make.thickness
    drawer = Part("drawer", "slider", (*face_low, 0), (0, 0, 1), -low[2] * rng.uniform(0.6, 0.88))
    front(drawer, "drawer_front", (*face_low, GAP), (*face_high, z), make.style, make.faces[1])
    top = low[1] + 0.75 * (high[1] - low[1])
    inner_low, inner_high = np.add(low, (0.01, 0.008, 0.006)), (high[0] - 0.01, top, GAP + 0.003)
    drawer_box(drawer, inner_low, inner_high, make.inside)
    (x, y), (wide, tall) = (face_low + face_high) / 2, face_high - face_low
    for place in (-0.26, 0.26) if wide > 0.75 else (0.0,):
        length = min(0.5 * wide, 0.16)
        handle(
            drawer,
            make.grip,
            (x + place * wide, y, z),
            length,
            0,
            make.fitting,
            min(0.0065, 0.05 * tall),
        )
    return drawer


def _doors(
    rng: Generator, make: Joinery, hung: list[str], low: Array, high: Array, outer: bool
) -> list[Part]:
    """Doors side by side over `low` to `high` (2,), hinged left or right as `hung` says.

    outer: nothing stands beside them, so that they may open beyond a right angle.
    """
    z = GAP + make.thickness
    edges = np.linspace(low[0], high[0], len(hung) + 1)
    upper = np.deg2rad(rng.uniform(90, 125) if outer else 90)
    doors = []
    for x0, x1, side in zip(edges[:-1], edges[1:], hung, strict=True):
        x0, x1 = x0 + 0.002 * (x0 > low[0]), x1 - 0.002 * (x1 < high[0])
        door = Part(
            "rotation_door",
            "hinge",
            (x0 if side == "left" else x1, low[1], z),
            SIDE_AXES[side],
            upper,
        )
        pane = glass((0.7, 0.78, 0.8), 0.35)
        front(
            door,
            "cabinet_door_surface",
            (x0, low[1], GAP),
            (x1, high[1], z),
            make.style,
            make.faces[0],
            pane,
        )
        x = x1 - 0.035 if side == "left" else x0 + 0.035
        tall = high[1] - low[1]
        y = low[1] + tall * (0.5 if tall > 0.9 else 0.72)
        handle(door, make.grip, (x, y, z), min(0.16, 0.4 * tall), 1, make.fitting)
        doors.append(door)
    return doors


def _inside(body: Part, make: Joinery, low: Array, high: Array) -> None:
    """Put shelves, or a rail for clothes, into the hollow `low` to `high` (3,) behind doors."""
    tall = high[1] - low[1]
    count = max(1, round(tall / 0.35) - 1)
    levels = np.linspace(low[1], high[1], count + 2)[1:-1]
    if tall > 0.9:
        rail = cylinder(
            (low[0] - 0.002, high[1] - 0.09, low[2] / 2), high[0] - low[0] + 0.004, 0, 0.012
        )
        body.add("rail", rail, CHROME)
        levels = [low[1] + 0.25]
    for y in levels:
        shelf = box((low[0] - 0.002, y, low[2] - 0.004), (high[0] + 0.002, y + make.board, -0.03))
        body.add("shelf", shelf, make.carcass[1])


def _stand(
    rng: Generator, body: Part, low: Pair, high: Pair, height: float, material: Material
) -> None:
    """Put a plinth, or four legs, under a body from `low` to `high` (x, z)."""
    if height < 0.09:
        plinth = box(
            (low[0] + 0.01, 0, low[1] + 0.01), (high[0] - 0.01, height + 0.002, high[1] - 0.03)
        )
        body.add("base_side_panel", plinth, material)
        return
    slim = rng.random() < 0.5
    dark = plain((0.1, 0.1, 0.1), 0.2) if rng.random() < 0.4 else material
    for x in (low[0] + 0.045, high[0] - 0.045):
        for z in (low[1] + 0.045, high[1] - 0.045):
            if slim:
                profile = [(0.012, 0), (0.022, height), (0.022, height + 0.002)]
                leg = lathe(profile, (x, 0, z), 1, 20)
            else:
                leg = box((x - 0.02, 0, z - 0.02), (x + 0.02, height + 0.002, z + 0.02), 0.002)
            body.add("leg", leg, dark)


def _cells(rng: Generator, kind: str, column: int) -> list[Cell]:
    """One column of furniture, from the bottom: each cell's share of the height, and its use."""
    if kind == "chest":
        return [(1 - 0.04 * row, "drawer") for row in range(int(rng.integers(3, 6)))]
    if kind == "cabinet":
        share = rng.uniform(2.5, 4)
        return [(share, "doors"), (1, "drawer")] if rng.random() < 0.75 else [(1, "doors")]
    if kind == "wardrobe":
        share = rng.uniform(3, 5)
        return [(1, "drawer"), (share, "doors")] if rng.random() < 0.7 else [(1, "doors")]
    choices: list[list[Cell]]
    if kind == "nightstand":
        choices = [
            [(1.3, "open"), (1, "drawer")],
            [(1, "drawer"), (1, "drawer")],
            [(2, "left"), (1, "drawer")],
        ]
        return choices[rng.integers(3)]
    if column == 1:
        choices = [[(1, "drawer")] * 3, [(1.4, "open"), (1, "drawer")], [(1, "open"), (1, "open")]]
        return choices[rng.integers(3)]
    return [(1, "left" if column == 0 else "right")]
