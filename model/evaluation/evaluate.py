"""The rows of the table: who predicts, how long it takes, and how far off it is."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, product
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from model.click_to_part import ClickToPartNet
from model.device import placed, timed
from model.evaluation.cases import (
    Case,
    DragChoice,
    Truth,
    even_choice,
    read_drags,
    read_truth,
    read_views,
)
from model.fitting import corrected, fit
from model.holding import Rigid, hold_together, should_hold
from model.metrics import decibels, psnr, region_mean, ssim_map, ssim_of_map
from model.partrm import PartRM
from model.perceptual import Perceptual
from model.rendering import render
from model.second_look import seen

Scope = Literal["whole", "changed"]
SCOPES: tuple[Scope, ...] = ("whole", "changed")
Phase = Literal["read", "network", "render"]
PHASES: tuple[Phase, ...] = ("read", "network", "render")
FEWEST_PIXELS = 16
"""Views in which fewer pixels changed have no part in the means over the changed region."""
PICTURES_AT_ONCE = 4
"""LPIPS' feature maps of more would fill a small machine's memory."""
NO_DRAGS = DragChoice(0)


@dataclass(frozen=True)
class Row:
    """One who predicts.

    Attributes:
        label: in tables; different for each row.
        network: what computes the Gaussians; without one, the source's pictures are the prediction.
        weights: where it was read from.
        shown: the source, or the answer, the target.
        input_views: in how many views the network is shown it.
        drags: how those that the network is given are chosen; none for the target.
    """

    label: str
    network: PartRM | None = None
    weights: Path | None = None
    shown: Literal["source", "target"] = "source"
    input_views: int = 0
    drags: DragChoice = NO_DRAGS


@dataclass(frozen=True)
class Setting:
    """How networks are run, the same for every row.

    Attributes:
        resolution: pixels along a side of the pictures that are compared.
        device: where they run.
        fit: steps of fitting Gaussians to the pictures shown, where splats follow what they show.
        rigid: whether what drags moved is held together, where splats follow what they show;
            auto: where they seem to be of one part (`holding`).
        parts: tells that, and what is of the part; without, the network alone does.
    """

    resolution: int
    device: torch.device
    fit: int = 0
    rigid: Rigid = "auto"
    parts: ClickToPartNet | None = None


@dataclass(frozen=True)
class Prediction:
    """What a row predicts of a case.

    Attributes:
        pictures: of the target state in the truth's views, sRGB in [0, 1] on white.
        gaussians: in the world of the shard it was shown; None where there was no network.
        drags: how many it was given.
        seconds: by phase; empty where there was no network.
    """

    pictures: Float[Tensor, "T 3 R R"]
    gaussians: Float[Tensor, "1 N 14"] | None = None
    drags: int = 0
    seconds: dict[Phase, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """A row's numbers for a case.

    Attributes:
        views: how many views count, by scope.
        means: over those views: metric to number, by scope; none where no view counts.
        drags: how many it was given.
        seconds: by phase.
    """

    views: dict[Scope, int]
    means: dict[Scope, dict[str, float]]
    drags: int
    seconds: dict[Phase, float]


def rows_to_compare(
    weights: Sequence[Path],
    teacher: Path | None,
    input_views: Sequence[int],
    drags: Sequence[DragChoice],
    device: torch.device,
) -> list[Row]:
    """Copy the source; each checkpoint, for each number of views and each choice of drags; and
    reconstruct the target. Labels tell views and drags where there are several.

    Args:
        weights: checkpoints of networks that embed drags.
        teacher: reconstructs the target, shown the most of these views; by default
            `default_teacher` of the first checkpoint, or that checkpoint itself, without drags.
        input_views: numbers of views of the source.
        drags: choices of drags, of different counts.
        device: where networks are put.

    Raises:
        CheckpointError: a checkpoint does not fit.
        FileNotFoundError: there is none at a path.
        ValueError: a checkpoint embeds no drags, or is named twice.
    """
    names = short_names(weights)
    networks = [_load(path, device) for path in weights]
    for path, network in zip(weights, networks, strict=True):
        if not network.config.drag_levels:
            raise ValueError(
                f"{path} embeds no drags: it can be the --teacher, but not a model to measure"
            )
    models = []
    for views, choice in product(input_views, drags):
        told = f", {_counted(views, 'view')}" if len(input_views) > 1 else ""
        told += f", {_counted(choice.count, 'drag')}" if len(drags) > 1 else ""
        for name, network, path in zip(names, networks, weights, strict=True):
            models.append(Row(name + told, network, path, "source", views, choice))
    found = teacher or default_teacher(weights[0])
    if found is None:
        name, network, found = f"{names[0]}, no drags", networks[0], weights[0]
    else:
        name, network = short_names([found])[0], _load(found, device)
    label, most = f"reconstruct the target ({name})", max(input_views)
    return [Row("copy the source"), *models, Row(label, network, found, "target", most)]


def default_teacher(weights: Path) -> Path | None:
    """The reconstructor of the run that weights lie in, as RUN/stage/weights.safetensors."""
    path = weights.absolute().parent.parent / "reconstruct" / "weights.safetensors"
    return path if path.is_file() else None


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths, of two parts or more, that tell them apart; without a suffix, nor
    the file's name where it says no more than that these are weights.

    Raises:
        ValueError: a path is named twice.
    """
    parts = []
    for path in paths:
        whole = Path(os.path.abspath(path))
        parts.append((whole.parent if whole.stem == "weights" else whole.with_suffix("")).parts)
    for length in range(2, max(map(len, parts)) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"a checkpoint is named twice among {', '.join(str(p) for p in paths)}")


@torch.no_grad()
def evaluate(
    cases: Sequence[Case], rows: Sequence[Row], setting: Setting, perceptual: Perceptual | None
) -> list[dict[str, Measured]]:
    """Every row's numbers for every case, by label, in the order of the cases.

    Samples go through one by one, as a person's would, so that their times mean something. The
    first case is predicted once beforehand, unmeasured, for what is compiled and allocated then.
    """
    for row in rows:
        predict(row, cases[0], read_truth(cases[0], setting.resolution).to(setting.device), setting)
    measured = []
    with tqdm(total=len(cases), desc="evaluate", unit="sample", dynamic_ncols=True) as bar:
        for _, of_object in groupby(cases, key=lambda case: case.shard.id):
            for case in of_object:
                truth = read_truth(case, setting.resolution).to(setting.device)
                numbers = {}
                for row in rows:
                    prediction = predict(row, case, truth, setting)
                    numbers[row.label] = measure(prediction, truth, perceptual)
                measured.append(numbers)
                bar.update()
            case.close()
    return measured


@torch.no_grad()
def times_on_cpu(
    cases: Sequence[Case], rows: Sequence[Row], setting: Setting, count: int
) -> dict[str, list[dict[Phase, float]]]:
    """What so many of the cases, evenly chosen, take on the CPU: of each row that has a network, by
    label, the seconds of every phase. One case is predicted beforehand, unmeasured."""
    cpu = torch.device("cpu")
    parts = setting.parts and placed(copy.deepcopy(setting.parts), cpu)
    setting = replace(setting, device=cpu, parts=parts)
    seconds: dict[str, list[dict[Phase, float]]] = {}
    chosen = even_choice(cases, count)
    for row in rows:
        if row.network is None:
            continue
        there = replace(row, network=placed(copy.deepcopy(row.network), cpu))
        times = []
        for case in (chosen[0], *chosen):
            times.append(
                predict(there, case, read_truth(case, setting.resolution), setting).seconds
            )
        seconds[row.label] = times[1:]
    for case in chosen:
        case.close()
    return seconds


@torch.no_grad()
def predict(row: Row, case: Case, truth: Truth, setting: Setting) -> Prediction:
    """A row's pictures of a case's target state, in the truth's views."""
    if row.network is None:
        return Prediction(truth.source)
    network, device = row.network, setting.device
    seconds: dict[Phase, float] = {}
    with timed("read", seconds, device):
        state = getattr(case, row.shown)
        views = read_views(case, state, network.config.input_size, row.input_views)
        views = views._replace(**{k: v.to(device) for k, v in views._asdict().items()})
        drags = None
        if row.drags.count:
            ends_of_drags = read_drags(case, row.drags)
            start, end = (torch.from_numpy(ends).float()[None].to(device) for ends in ends_of_drags)
            given = torch.ones(start.shape[:-1], dtype=torch.bool, device=device)
            drags = network.drags_of_view_0(start, end, given, views.pictures.shape[1])
            true_ones = None if row.drags.propagate == "none" else 1
            starts, ends = (points[:true_ones] for points in ends_of_drags)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    with timed("network", seconds, device):
        follows = network.config.follows
        fits = setting.fit != 0 and follows
        holds = (
            drags is not None
            and follows
            and should_hold(setting.rigid, views, starts, setting.parts)
        )
        with autocast:
            images = seen(network, network.config, views)
            gaussians = before = network(images, drags)
            if drags is not None and (fits or holds):
                before = network(images, None)
        if fits:
            correction = fit(before, views, setting.fit)
            before, gaussians = (corrected(g, correction) for g in (before, gaussians))
        if holds:
            layers = network.config.layers
            held, _ = hold_together(
                before[0], gaussians[0], views, starts, ends, layers, setting.parts
            )
            gaussians = held[None]
    with timed("render", seconds, device):
        size = setting.resolution
        pictures = render(
            gaussians, truth.camera_to_world[None], truth.intrinsics, size, size
        ).colour[0]
    count = 0 if drags is None else drags.mask.shape[-1]
    return Prediction(pictures.clamp(0, 1), gaussians, count, seconds)


def measure(prediction: Prediction, truth: Truth, perceptual: Perceptual | None) -> Measured:
    """Means over the views that count: for the whole picture those with an error, as published;
    for the changed region those where it has enough pixels."""
    per_view = scores(prediction.pictures, truth, perceptual)
    counts = {
        "whole": ~per_view["whole"]["psnr"].isinf(),
        "changed": truth.region.sum(dim=(-2, -1)) >= FEWEST_PIXELS,
    }
    views: dict[Scope, int] = {scope: int(counts[scope].sum()) for scope in SCOPES}
    means: dict[Scope, dict[str, float]] = {
        scope: {
            name: float(values[counts[scope]].double().mean())
            for name, values in per_view[scope].items()
            if views[scope]
        }
        for scope in SCOPES
    }
    return Measured(views, means, prediction.drags, prediction.seconds)


def scores(
    pictures: Float[Tensor, "T 3 R R"], truth: Truth, perceptual: Perceptual | None
) -> dict[Scope, dict[str, Float[Tensor, "T"]]]:
    """Metric to its value in each view, over the whole picture and over the changed region.

    `lpips_published` is what the published evaluation computes: it feeds LPIPS, which was made for
    values in [-1, 1], pictures in [0, 1]. Of a stand-in there is `lpips_hed` alone.
    """
    target, region = truth.target, truth.region
    error = (pictures - target).square().mean(dim=-3)
    similarity = ssim_map(pictures, target)
    whole = {"psnr": psnr(pictures, target), "ssim": ssim_of_map(similarity)}
    changed = {
        "psnr": decibels(region_mean(error, region)),
        "ssim": region_mean(similarity, region),
    }
    if perceptual is not None:
        pairs = list(
            zip(pictures.split(PICTURES_AT_ONCE), target.split(PICTURES_AT_ONCE), strict=True)
        )
        # Layers are upsampled by whole factors to this map, which keeps their means: its mean is
        # the distance of the pictures.
        distance = torch.cat([perceptual.map(a, b) for a, b in pairs])
        whole[perceptual.key] = distance.mean(dim=(-2, -1))
        changed[perceptual.key] = region_mean(distance, region)
        if not perceptual.stand_in:
            # `perceptual` scales [0, 1] to [-1, 1]: these come out as they were.
            unscaled = [perceptual((1 + a) / 2, (1 + b) / 2) for a, b in pairs]
            whole["lpips_published"] = torch.cat(unscaled)
    return {"whole": whole, "changed": changed}


def mean_of(numbers: Sequence[Measured], scope: Scope) -> dict[str, float]:
    """Means over samples, each the mean over its views; and how many samples, and how many of all
    their views, count. Without metrics where none does."""
    counted = [n for n in numbers if n.views[scope]]
    metrics = counted[0].means[scope] if counted else ()
    means = {m: math.fsum(n.means[scope][m] for n in counted) / len(counted) for m in metrics}
    return {**means, "samples": len(counted), "views": sum(n.views[scope] for n in counted)}


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _load(path: Path, device: torch.device) -> PartRM:
    return placed(PartRM.from_pretrained(path), device).eval()
