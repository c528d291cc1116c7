"""What is in a shard, for people: a summary, and a contact sheet of its pictures and drags."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from datagen.articulation import JointType
from datagen.drags import moved_links, sample_drags, sweeps
from datagen.shards import Shard

ROWS = 24
"""Of the states of a shard that has more than this, an even choice is shown."""
DRAGS = 5
"""Arrows on a picture."""
CANDIDATES = 64
"""Drags from which the arrows are chosen, far from one another."""
FINE = 4
"""Arrows are drawn this many times larger, then reduced, for smooth edges."""
CORE, EDGE, GOAL = (255, 225, 0), (20, 20, 20), (230, 0, 160)
FONT = ImageFont.load_default(11)


def summary(shard: Shard) -> dict[str, Any]:
    """What a shard holds but for pictures and points, ready for JSON.

    Angles are in radians and lengths in PartNet units, save for the field of view in degrees.
    """
    attributes, views = shard.file.attrs, shard.file["views"].attrs
    obj = shard.object
    focal = float(shard.intrinsics[1, 1])
    return {
        "id": shard.id,
        "category": obj.category,
        "source": obj.source,
        "licence": str(attributes["licence"]),
        "version": int(attributes["version"]),
        "bytes": _bytes(shard),
        "links": len(obj.links),
        "joints": [
            {
                "name": joint.name,
                "type": joint.type.value,
                "part": joint.part,
                "semantic": obj.links[joint.child].semantic,
                "lower": joint.lower,
                "upper": joint.upper,
                "axis": joint.axis.tolist(),
            }
            for joint in obj.movable
        ],
        "states": [
            {
                "name": state.name,
                "part": state.part,
                "k": state.k,
                "positions": state.positions.tolist(),
            }
            for state in shard.states
        ],
        "sweeps": [[shard.states[i].name for i in sweep] for sweep in sweeps(shard)],
        "views": {
            "count": len(shard.camera_to_world),
            "rig": str(views["rig"]),
            "resolution": shard.resolution,
            "fov_degrees": math.degrees(2 * math.atan(shard.resolution / 2 / focal)),
            "input_views": list(shard.input_views),
        },
        "points": len(shard.points),
        "seed": int(attributes["seed"]),
        "config": shard.config,
    }


def _bytes(shard: Shard) -> int:
    """The size of a shard's file; of an object in a pack, that of its data."""
    if not shard.packed:
        return shard.path.stat().st_size
    sizes: list[int] = []
    shard.file.visititems(
        lambda _, node: sizes.append(node.id.get_storage_size() if hasattr(node, "shape") else 0)
    )
    return sum(sizes)


def text(summary: dict[str, Any]) -> str:
    """A summary to read in a terminal."""
    views, joints = summary["views"], summary["joints"]
    inputs = ", ".join(str(view) for view in views["input_views"])
    facts = {
        "source": summary["source"],
        "file": f"{summary['bytes'] / 1e6:.1f} MB, format version {summary['version']}",
        "pictures": f"{len(summary['states'])} states x {views['count']} views, "
        f"{views['resolution']} x {views['resolution']} pixels",
        "cameras": f"{views['rig']}, field of view {views['fov_degrees']:.1f}°, "
        f"input views {inputs}",
        "points": f"{summary['points']} on {summary['links']} links",
        "seed": summary["seed"],
        **{name: _inline(value) for name, value in summary["config"].items() if name != "version"},
    }
    rows = [["part", "joint", "type", "semantic", "from", "to", "axis", "states"]]
    for joint in joints:
        moved = sum(state["part"] == joint["part"] for state in summary["states"])
        limits = [_position(joint["type"], joint[end]) for end in ("lower", "upper")]
        axis = " ".join(f"{round(value, 2) + 0.0:+.2f}" for value in joint["axis"])
        names = [str(joint[column]) for column in ("part", "name", "type", "semantic")]
        rows.append([*names, *limits, axis, str(moved) if moved else "-"])
    lines = [f"{summary['category']} {summary['id']}"]
    lines += [f"  {line}" for line in _aligned([[name, str(fact)] for name, fact in facts.items()])]
    lines += ["", "Movable parts", *(f"  {line}" for line in _aligned(rows))]
    lines += ["", "Sweeps, one part from limit to limit while all others hold still"]
    lines += [f"  {sweep[0]} … {sweep[-1]} ({len(sweep)} states)" for sweep in summary["sweeps"]]
    return "\n".join(lines)


def contact_sheet(
    shard: Shard,
    views: Sequence[int] | None = None,
    states: Sequence[int] | None = None,
    cell: int = 128,
) -> Image.Image:
    """Pictures over white, a column a view and a row a state, with drags of the moved part.

    Each arrow leads from a surface point that the picture shows to where the same point is in the
    next state of the sweep, or in the last state to where it is in the one before. The outline is
    that of the moved part in that other state.

    Args:
        shard: the object's.
        views: all of them where None.
        states: all of them where None, or an even choice of 24.
        cell: width and height of a picture on the sheet, in pixels.
    """
    views = range(len(shard.camera_to_world)) if views is None else views
    states = _even_choice(len(shard.states), ROWS) if states is None else states
    goals = {state: _next(shard, state) for state in states}
    labels = {state: _label(shard, state, goals[state]) for state in states}
    left = max((math.ceil(FONT.getlength(line)) for x in labels.values() for line in x), default=0)
    left, top = left + 12, 18
    sheet = Image.new("RGB", (left + cell * len(views), top + cell * len(states)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, view in enumerate(views):
        centre = left + cell * column + cell // 2
        draw.text((centre, top // 2), str(view), EDGE, FONT, anchor="mm")
    for row, state in enumerate(states):
        y = top + cell * row
        draw.multiline_text((6, y + cell // 2), "\n".join(labels[state]), EDGE, FONT, anchor="lm")
        for column, view in enumerate(views):
            sheet.paste(_cell(shard, state, goals[state], view, cell), (left + cell * column, y))
    return sheet


def _cell(shard: Shard, state: int, goal: int | None, view: int, size: int) -> Image.Image:
    """One picture, with the drags to the state `goal` if there is one."""
    picture = Image.fromarray(shard.colour(state, view)).resize((size, size))
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    if goal is not None:
        picture.paste(GOAL, mask=_outline(shard, goal, view, size))
        drags = _spread_drags(shard, state, goal, view)
        picture = draw_drags(picture, size / shard.resolution * drags)
    return picture.convert("RGB")


def draw_drags(picture: Image.Image, drags: Float[np.ndarray, "N 2 2"]) -> Image.Image:
    """A picture with an arrow for each drag.

    Args:
        picture: of any mode; RGBA is returned.
        drags: start and end (x, y) of each, in pixels of the picture.
    """
    layer = Image.new("RGBA", (FINE * picture.width, FINE * picture.height))
    draw = ImageDraw.Draw(layer)
    for start, end in FINE * drags:
        _arrow(draw, start, end)
    return Image.alpha_composite(picture.convert("RGBA"), layer.reduce(FINE))


def _outline(shard: Shard, state: int, view: int, size: int) -> Image.Image:
    """A line around what a view shows of the moved part, as an opacity."""
    mask = np.isin(shard.link(state, view), moved_links(shard, shard.states[state].part))
    area = Image.fromarray(mask).convert("L").resize((size, size))
    return ImageChops.difference(area.filter(ImageFilter.MaxFilter(3)), area)


def _spread_drags(shard: Shard, state: int, goal: int, view: int) -> Float[np.ndarray, "N 2 2"]:
    """Start and end pixel of a few drags whose starts are far from one another; always the same."""
    drags = sample_drags(shard, state, goal, CANDIDATES, np.random.default_rng(0), view)
    chosen: list[int] = []
    apart = np.full(len(drags.point), np.inf)
    while len(chosen) < min(DRAGS, len(apart)):
        chosen.append(int(apart.argmax()))
        offset = drags.start_pixel - drags.start_pixel[chosen[-1]]
        apart = np.minimum(apart, np.linalg.norm(offset, axis=1))
    return np.stack([drags.start_pixel[chosen], drags.end_pixel[chosen]], axis=1)


def _arrow(
    draw: ImageDraw.ImageDraw, start: Float[np.ndarray, "2"], end: Float[np.ndarray, "2"]
) -> None:
    """An arrow with a dot at its start: a dark one first, then a bright one inside of it."""
    along = end - start
    length = float(np.linalg.norm(along))
    along = along / max(length, 1e-9)
    across = np.array([-along[1], along[0]])
    head = min(5.0 * FINE, 0.6 * length)
    neck = end - head * along
    for colour, grow in ((EDGE, 0.8 * FINE), (CORE, 0.0)):
        radius = 1.4 * FINE + grow
        draw.ellipse([*(start - radius), *(start + radius)], colour)
        draw.line([*start, *neck], colour, round(1.2 * FINE + 2 * grow))
        side = (0.5 * head + 1.5 * grow) * across
        tip, tail = end + 1.5 * grow * along, neck - grow * along
        draw.polygon([tuple(tip), tuple(tail + side), tuple(tail - side)], colour)


def _next(shard: Shard, state: int) -> int | None:
    """The next state of a state's sweep, the one before for the last, None for one on its own."""
    sweep = next(sweep for sweep in sweeps(shard) if state in sweep)
    place = sweep.index(state)
    others = sweep[place + 1 : place + 2] or sweep[max(place - 1, 0) : place]
    return others[0] if others else None


def _even_choice(count: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _label(shard: Shard, state: int, goal: int | None) -> list[str]:
    """A state's name, what moves, and from where to where."""
    part = shard.states[state].part
    column = shard.object.column(part)
    joint = shard.object.movable[column]
    way = [state] if goal is None else [state, goal]
    values = [_position(joint.type, shard.states[i].positions[column]) for i in way]
    return [
        shard.states[state].name,
        shard.object.links[joint.child].semantic or joint.name,
        " to ".join(values),
    ]


def _position(kind: str, value: float) -> str:
    return f"{value:.3f}" if kind == JointType.PRISMATIC else f"{round(math.degrees(value))}°"


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_inline(inner)}" for name, inner in value.items())
    return f"{len(value)} given" if isinstance(value, list) else str(value)


def _aligned(rows: list[list[str]]) -> list[str]:
    """Rows of a table as lines, their columns two spaces apart."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
