"""What an evaluation found, as JSON and as Markdown."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch

from datagen.samples import CATEGORIES
from model.evaluation.cases import Case, rig_of
from model.evaluation.config import EvalConfig
from model.evaluation.evaluate import (
    FEWEST_PIXELS,
    PHASES,
    SCOPES,
    Measured,
    Phase,
    Row,
    Scope,
    Setting,
    mean_of,
)
from model.metrics import REGION_THRESHOLD

COLUMNS = {
    "psnr": ("PSNR", "{:.2f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "lpips": ("LPIPS", "{:.4f}"),
    "lpips_published": ("LPIPS, fed as published", "{:.4f}"),
    "lpips_hed": ("LPIPS (HED)", "{:.4f}"),
    "seconds": ("seconds", "{:.2f}"),
    "seconds_on_cpu": ("seconds on the CPU", "{:.2f}"),
    "samples": ("samples", "{}"),
    "views": ("views", "{}"),
}
TIMES = ("seconds", "seconds_on_cpu")
TITLES = {"whole": "Whole picture", "changed": "Changed region"}
CPU = f"CPU ({platform.machine()})"
NOTHING = "-"
KNOWN, NEW = "PartDrag-4D's categories", "new categories"
PUBLISHED = Path(__file__).with_name("published.json")
"""The published table, its rows as results.json has them, and in which views it was measured."""


def results(
    command: str,
    config: EvalConfig,
    setting: Setting,
    cases: Sequence[Case],
    rows: Sequence[Row],
    measured: Sequence[dict[str, Measured]],
    on_cpu: Mapping[str, Sequence[dict[Phase, float]]],
) -> dict[str, Any]:
    """All that is known, ready for JSON: the command line, settings, data, versions, and each row's
    numbers, over all samples, by category and of each sample; and the published numbers, where they
    are of such views. Times are in seconds; those on the CPU are by label, as `times_on_cpu` has
    them, and may be of no row."""
    data = _data(cases, config)
    return {
        "command": command,
        "settings": _settings(config),
        "data": data,
        "versions": _versions(setting.device),
        "rows": [_row(row, cases, measured, on_cpu.get(row.label, ())) for row in rows],
        "published": published(data["target_rig"], data["resolution"]),
        "samples": [_sample(c, m) for c, m in zip(cases, measured, strict=True)],
    }


def published(rig: str, resolution: int) -> dict[str, Any]:
    """The published table; empty where it was not measured in this rig's views and so many pixels
    along a side."""
    table: dict[str, Any] = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return table if (table["rig"], table["resolution"]) == (rig, resolution) else {}


def write_results(folder: Path, found: dict[str, Any]) -> None:
    """Write results.json, in which a number that is none is null, and results.md."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_with_nulls(found), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    (folder / "results.md").write_text(markdown(found), encoding="utf-8")


def markdown(found: dict[str, Any]) -> str:
    """Results as tables: over the whole picture, over the changed region, times, and categories."""
    parts = ["# Evaluation", f"```sh\n{found['command']}\n```", _introduction(found)]
    theirs = found["published"]
    for scope in SCOPES:
        rows = [row for row in (*found["rows"], *theirs.get("rows", ())) if scope in row]
        parts += [f"## {TITLES[scope]}", _table(_metric_lines(rows, scope))]
        stand_in = any("lpips_hed" in row[scope] for row in rows)
        parts.append(f"{_WHAT[scope]} {_STAND_IN}" if stand_in else _WHAT[scope])
        if theirs and scope == "whole":
            parts.append(f"\\* {theirs['note']}")
    parts += ["## Time per sample, in milliseconds", _table(_time_lines(found["rows"]))]
    parts.append(f"Medians, at batch size 1, on {_where(found)}. {_PHASES}")
    if len(found["data"]["categories"]) > 1:
        parts += ["## PSNR by category, whole picture / changed region"]
        parts.append(_table(_category_lines(found)))
    return "\n\n".join(parts) + "\n"


_WHAT = {
    "whole": "Means over a sample's views, then over samples. A view that is predicted without any "
    "error has no PSNR and is left out, as in the published evaluation. Seconds are the median "
    "sample's.",
    "changed": "The pixels at which the true pictures of the two states differ by more than "
    f"{REGION_THRESHOLD:g} in some channel; views with fewer than {FEWEST_PIXELS} of them are left "
    "out.",
}
_PHASES = "Read: the input pictures and drags, from disk; render: all views."
_STAND_IN = (
    "LPIPS (HED) rests on HED's VGG-16, which stands in for ImageNet's: it is not comparable with "
    "published LPIPS."
)


def _where(found: dict[str, Any]) -> str:
    """What times were measured on."""
    device, versions = found["versions"]["device"], found["versions"]
    if not any(row["seconds_on_cpu"] for row in found["rows"]):
        return str(device)
    cores = f"{versions['threads']} threads of a {CPU}"
    samples = min(found["settings"]["cpu_samples"], found["data"]["samples"])
    return f"{device}, and, of {samples} samples, on {cores}"


def _settings(config: EvalConfig) -> dict[str, Any]:
    plain = asdict(config) | {"out": config.folder}
    return {name: _plain(value) for name, value in plain.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _data(cases: Sequence[Case], config: EvalConfig) -> dict[str, Any]:
    shards = {case.shard.id: case.shard for case in cases}
    categories = sorted(shard.object.category for shard in shards.values())
    kinds = [_kind(category) for category in categories]
    first = cases[0]
    return {
        "objects": len(shards),
        "samples": len(cases),
        "views": len(first.truth.camera_to_world),
        "input_rig": rig_of(first.shard),
        "target_rig": rig_of(first.truth),
        "resolution": config.resolution,
        "categories": {name: categories.count(name) for name in dict.fromkeys(categories)},
        "kinds": {name: kinds.count(name) for name in (KNOWN, NEW) if name in kinds},
    }


def _versions(device: torch.device) -> dict[str, str]:
    cuda = device.type == "cuda"
    packages = ("lpips", "torchvision", *(("gsplat",) if cuda else ()))
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(name) for name in packages},
        "device": torch.cuda.get_device_name(device) if cuda else CPU,
        "threads": str(torch.get_num_threads()),
        "precision": "bfloat16 autocast" if cuda else "float32",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _row(
    row: Row,
    cases: Sequence[Case],
    measured: Sequence[dict[str, Measured]],
    on_cpu: Sequence[dict[Phase, float]],
) -> dict[str, Any]:
    own = [numbers[row.label] for numbers in measured]
    of_category: dict[str, list[Measured]] = {}
    of_kind: dict[str, list[Measured]] = {}
    for case, numbers in zip(cases, own, strict=True):
        category = case.shard.object.category
        of_category.setdefault(category, []).append(numbers)
        of_kind.setdefault(_kind(category), []).append(numbers)
    return {
        "label": row.label,
        "weights": _plain(row.weights),
        "shown": row.shown,
        "input_views": row.input_views,
        "drags": row.drags.count,
        **{scope: mean_of(own, scope) for scope in SCOPES},
        "seconds": _medians([numbers.seconds for numbers in own]),
        "seconds_on_cpu": _medians(on_cpu),
        "categories": _means(of_category),
        "kinds": _means(of_kind),
    }


def _kind(category: str) -> str:
    return KNOWN if category in CATEGORIES else NEW


def _means(groups: dict[str, list[Measured]]) -> dict[str, dict[Scope, dict[str, float]]]:
    return {
        name: {scope: mean_of(numbers, scope) for scope in SCOPES}
        for name, numbers in sorted(groups.items())
    }


def _medians(seconds: Sequence[dict[Phase, float]]) -> dict[str, float]:
    """Of each phase, and of all together; none where nothing was measured."""
    if not any(seconds):
        return {}
    phases: dict[str, float] = {p: median(times[p] for times in seconds) for p in PHASES}
    return {**phases, "all": median(sum(times.values()) for times in seconds)}


def _sample(case: Case, measured: dict[str, Measured]) -> dict[str, Any]:
    return {
        "object": case.shard.id,
        "category": case.shard.object.category,
        "source": case.source_name,
        "target": case.target_name,
        "rows": {label: _numbers(numbers) for label, numbers in measured.items()},
    }


def _numbers(numbers: Measured) -> dict[str, Any]:
    scopes: dict[str, Any] = {s: {**numbers.means[s], "views": numbers.views[s]} for s in SCOPES}
    return {**scopes, "drags": numbers.drags, "seconds": numbers.seconds}


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_nulls(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_nulls(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _introduction(found: dict[str, Any]) -> str:
    data, settings = found["data"], found["settings"]
    rigs = [data["input_rig"], data["target_rig"]]
    rig = f"rig {rigs[0]}" if len(set(rigs)) == 1 else f"shown in rig {rigs[0]}, seen in {rigs[1]}"
    views, drags = (" or ".join(map(str, settings[name])) for name in ("input_views", "drags"))
    drags = f"up to {drags} drag(s)"
    if settings["propagate"] != "none":
        whose = "the true mask of" if settings["propagate"] == "mask" else "what was found to be"
        drags += f", propagated from one over {whose} its part"
    held = ""
    if settings["rigid"] != "never":
        movers = "drags of one part move" if settings["rigid"] == "auto" else "moves"
        held = f"; what {movers} is held together, where splats follow it"
    split = "all objects" if settings["split"] == "all" else f"split {settings['split']}"
    return (
        f"{settings['data']}, {split}: {data['samples']} samples of {data['objects']} object(s), "
        f"{data['views']} views each, {rig}, {data['resolution']}² pixels; "
        f"{views} input view(s), {drags}{held}."
    )


def _metric_lines(rows: list[dict[str, Any]], scope: str) -> list[list[str]]:
    of_rows = [row[scope] for row in rows]
    if scope == "whole":
        times = ({k: row[k]["all"] for k in TIMES if row.get(k)} for row in rows)
        of_rows = [numbers | time for numbers, time in zip(of_rows, times, strict=True)]
    known = [name for name in COLUMNS if any(name in numbers for numbers in of_rows)]
    lines = [["", *(COLUMNS[name][0] for name in known)]]
    for row, numbers in zip(rows, of_rows, strict=True):
        lines.append([row["label"], *(_cell(numbers, name) for name in known)])
    return lines


def _time_lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    lines = [["", *PHASES, "all"]]
    for where, row in product(TIMES, rows):
        if seconds := row[where]:
            numbers = (seconds[phase] for phase in (*PHASES, "all"))
            label = row["label"] + (", on the CPU" if where == "seconds_on_cpu" else "")
            lines.append([label, *(f"{1000 * number:.1f}" for number in numbers)])
    return lines


def _category_lines(found: dict[str, Any]) -> list[list[str]]:
    rows = found["rows"]
    lines = [["", "objects", *(row["label"] for row in rows)]]
    groups = ["categories", "kinds"] if len(found["data"]["kinds"]) > 1 else ["categories"]
    for group in groups:
        for name, objects in found["data"][group].items():
            of_rows = (row[group][name] for row in rows)
            cells = [" / ".join(_cell(numbers[s], "psnr") for s in SCOPES) for numbers in of_rows]
            lines.append([name, str(objects), *cells])
    return lines


def _cell(numbers: dict[str, float], name: str) -> str:
    return COLUMNS[name][1].format(numbers[name]) if name in numbers else NOTHING


def _table(lines: list[list[str]]) -> str:
    """A Markdown table whose columns are aligned for people who read it as text."""
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )
