"""What an evaluation looks like: a contact sheet, and turntables of the predicted Gaussians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from datagen.inspection import draw_drags
from model.evaluation.cases import Case, DragChoice, Truth, even_choice, read_drags, read_truth
from model.evaluation.evaluate import Prediction, Row, Setting, predict
from model.video import turntable, write_video
from model.views import cameras, intrinsics, on_white, read_pictures

CELL = 192  # pixels
GAP, HEADER = 6, 56
FULL_ERROR = 0.5
"""The mean difference over channels that the sheet shows black."""
FONT = ImageFont.load_default(12)
INK, PAPER = (30, 30, 30), (255, 255, 255)


@dataclass(frozen=True)
class Example:
    """A case to look at, with each model's prediction from these drags, by label."""

    case: Case
    truth: Truth
    drags: DragChoice
    predictions: dict[str, Prediction]


def choose_examples(cases: Sequence[Case], count: int) -> list[Case]:
    """Cases spread over the objects, first the one of each object whose part travels farthest."""
    of_objects = [list(group) for _, group in groupby(cases, key=lambda case: case.shard.id)]
    ranked = [sorted(group, key=_travel, reverse=True) for group in of_objects]
    layers = zip_longest(*even_choice(ranked, count))
    return [case for layer in layers for case in layer if case is not None][:count]


def examples(cases: Sequence[Case], rows: Sequence[Row], setting: Setting) -> list[Example]:
    """Predictions for these cases of each model among the rows once: with the most views and drags,
    however many a table compares."""
    most = max((row.input_views, row.drags.count) for row in rows)
    models = [row for row in rows if (row.input_views, row.drags.count) == most]
    found = []
    for case in cases:
        truth = read_truth(case, setting.resolution).to(setting.device)
        predictions = {row.label: predict(row, case, truth, setting) for row in models}
        found.append(Example(case, truth, models[0].drags, predictions))
    return found


def contact_sheet(shown: Sequence[Example], setting: Setting) -> Image.Image:
    """Two rows an example, view 0 and the other view that changes most; in columns the source, with
    the drags on it, each model's prediction, the truth, and each prediction's error."""
    labels = [label.replace(", ", "\n", 1) for label in shown[0].predictions]
    heads = ["source, drags", *(f"predicted by\n{label}" for label in labels), "truth"]
    heads += [f"error of\n{label}" for label in labels]
    margin = 2 * GAP + max(_width(line) for example in shown for line in _caption(example.case))
    step = CELL + GAP
    body = HEADER + 2 * step * len(shown)
    sheet = Image.new("RGB", (margin + step * len(heads), body + HEADER), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, head in enumerate(heads):
        centre = margin + step * column + CELL // 2
        draw.multiline_text((centre, HEADER // 2), head, INK, FONT, anchor="mm", align="center")
    for number, example in enumerate(shown):
        for line, view in enumerate((0, _other_view(example.truth))):
            y = HEADER + step * (2 * number + line)
            caption = [*(_caption(example.case) if line == 0 else []), f"view {view}"]
            draw.multiline_text((GAP, y + CELL // 2), "\n".join(caption), INK, FONT, anchor="lm")
            cells = [_source(example, view, setting), *_compared(example, view)]
            for column, cell in enumerate(cells):
                sheet.paste(cell.resize((CELL, CELL)), (margin + step * column, y))
        draw.line([0, y + step - GAP // 2, sheet.width, y + step - GAP // 2], (200, 200, 200))
    _legend(sheet, margin, body + HEADER // 2)
    return sheet


def write_turntables(folder: Path, shown: Sequence[Example], setting: Setting) -> list[Path]:
    """Write turntable_1.mp4, … : an example each, its models' Gaussians side by side, on the circle
    of the input rig's view 0."""
    paths = []
    for number, example in enumerate(shown, 1):
        shard, size = example.case.shard, setting.resolution
        gaussians = [p.gaussians for p in example.predictions.values() if p.gaussians is not None]
        first = cameras(shard, [0])[0].to(setting.device)
        lens = intrinsics(shard, size).to(setting.device)
        turns = [turntable(g, first, lens, size)[0] for g in gaussians]
        paths.append(folder / f"turntable_{number}.mp4")
        write_video(paths[-1], np.concatenate(turns, axis=2))
    return paths


def error_colours(error: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """White where there is no error, over yellow and red to black where it is `FULL_ERROR`."""
    share = np.clip(error / FULL_ERROR, 0, 1)
    blue, green, red = (np.clip(3 * share - step, 0, 1) for step in range(3))
    return np.round(255 * (1 - np.stack([red, green, blue], axis=-1))).astype(np.uint8)


def _travel(case: Case) -> int:
    states = case.shard.states
    return abs(states[case.target].k - states[case.source].k)


def _other_view(truth: Truth) -> int:
    """The view besides view 0 in which most pixels change."""
    pixels = truth.region.sum(dim=(-2, -1))
    return 1 + int(pixels[1:].argmax())


def _caption(case: Case) -> list[str]:
    shard = case.shard
    state, goal = shard.states[case.source], shard.states[case.target]
    joint = shard.object.movable[shard.object.column(state.part)]
    part = shard.object.links[joint.child].semantic or joint.name
    return [shard.id, shard.object.category, part, f"position {state.k} to {goal.k}", ""]


def _source(example: Example, view: int, setting: Setting) -> Image.Image:
    """The source state: for view 0 as the network is shown it, with its drags; else as the truth's
    rig sees it."""
    if view != 0:
        return _image(example.truth.source[view])
    case = example.case
    rgba = read_pictures(case.shard, case.source, [0], setting.resolution)
    drags = np.stack(read_drags(case, example.drags), axis=1)
    picture = _image(on_white(rgba)[0][0]).resize((CELL, CELL))
    return draw_drags(picture, CELL * drags).convert("RGB")


def _compared(example: Example, view: int) -> list[Image.Image]:
    """Predictions, the truth, errors."""
    truth = example.truth.target[view]
    predictions = [p.pictures[view] for p in example.predictions.values()]
    errors = [(p - truth).abs().mean(dim=0).cpu().numpy() for p in predictions]
    coloured = [Image.fromarray(error_colours(error)) for error in errors]
    return [*(_image(p) for p in predictions), _image(truth), *coloured]


def _image(picture: Float[Tensor, "3 H W"]) -> Image.Image:
    array = (255 * picture.clamp(0, 1)).round().to(torch.uint8).movedim(0, -1)
    return Image.fromarray(array.cpu().numpy())


def _legend(sheet: Image.Image, x: int, y: int) -> None:
    """The colours of errors, from 0 to `FULL_ERROR`, at the sheet's foot."""
    draw = ImageDraw.Draw(sheet)
    title = "error, mean over channels:  0"
    draw.text((x, y), title, INK, FONT, anchor="lm")
    ramp = np.tile(np.linspace(0, FULL_ERROR, CELL), (12, 1))
    left = x + _width(title) + GAP
    sheet.paste(Image.fromarray(error_colours(ramp)), (left, y - 6))
    draw.rectangle([left - 1, y - 7, left + CELL, y + 6], outline=(160, 160, 160))
    draw.text((left + CELL + GAP, y), f"{FULL_ERROR:g} or more", INK, FONT, anchor="lm")


def _width(text: str) -> int:
    return int(FONT.getlength(text)) + 1
