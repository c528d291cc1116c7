"""A dragged object as files: Gaussians, pictures from all sides, a video, and a page to look at.

before.ply, after.ply   the Gaussians
before/, after/         view_0.png, … from all around; truth/ where that is known
picture.png             what the network was shown, with the drags on it
turntable.mp4           both states side by side
prediction.json         what was done, and how long each phase took
index.html              all of it on a page
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from datagen.inspection import draw_drags
from model.device import timed
from model.ply import save_ply
from model.prediction import VIEWS, Dragged
from model.video import FRAMES, write_video

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
img, video { border: 1px solid #ddd; width: 100% } td { width: 11% } th { text-align: left }
.first { display: grid; grid-template-columns: 1fr 2fr; gap: 1rem; max-width: 50rem }
"""


def write_gallery(
    folder: Path,
    dragged: Dragged,
    size: int,
    video: bool,
    settings: Mapping[str, Any],
    truth: Mapping[int, UInt8[np.ndarray, "S S 3"]] | None = None,
) -> dict[str, Any]:
    """Render and write all of it.

    Args:
        folder: made where it is missing.
        dragged: the object.
        size: pixels along a side of pictures and video.
        video: whether to write the video.
        settings: how it was dragged, for the report.
        truth: pictures of the moved object from some of the `VIEWS` views, where they are known.

    Returns:
        what prediction.json holds: the settings, what was made of the picture, `seconds` by phase,
        and all `files`.
    """
    scene, device = dragged.scene, dragged.after.device
    states = {"before": dragged.before, "after": dragged.after}
    seconds = dict(dragged.seconds)
    with timed("render", seconds, device):
        turns = {name: scene.turntable(state, size) for name, state in states.items()}
    rows: dict[str, Mapping[int, UInt8[np.ndarray, "S S 3"]]] = {
        name: dict(enumerate(pictures)) for name, pictures in turns.items()
    }
    if truth:
        rows["truth"] = truth
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with timed("write", seconds, device):
        for name, state in states.items():
            files.append(f"{name}.ply")
            save_ply(folder / files[-1], state)
        for name, pictures in rows.items():
            (folder / name).mkdir(exist_ok=True)
            for view, picture in pictures.items():
                files.append(f"{name}/view_{view}.png")
                Image.fromarray(picture).save(folder / files[-1])
        files.append("picture.png")
        shown = Image.fromarray(scene.picture.pixels).resize((size, size))
        arrows = dragged.drags * size / len(scene.picture.pixels)
        draw_drags(shown, arrows).save(folder / files[-1])
    if video:
        with timed("video", seconds, device):
            films = [scene.turntable(state, size, FRAMES) for state in states.values()]
            files.append("turntable.mp4")
            write_video(folder / files[-1], np.concatenate(films, axis=2))
    files += ["prediction.json", "index.html"]
    report = {
        **settings,
        **_description(dragged),
        "resolution": size,
        "seconds": {phase: round(value, 4) for phase, value in seconds.items()},
        "total_seconds": round(sum(seconds.values()), 4),
        "files": files,
    }
    (folder / "prediction.json").write_text(json.dumps(report, indent=2) + "\n")
    (folder / "index.html").write_text(_page(rows, video, report), encoding="utf-8")
    return report


def _description(dragged: Dragged) -> dict[str, Any]:
    """What was made of the picture, as plain values."""
    picture = dragged.scene.picture
    return {
        "given_size": list(picture.given_size),
        "input_size": len(picture.pixels),
        "scale": picture.scale,
        "offset": picture.offset.tolist(),
        "views_shown": int(dragged.scene.views.present.sum()),
        "drags_in_input": dragged.drags.reshape(-1, 4).tolist(),
        "motion": None if dragged.part is None else dragged.part.motion.tolist(),
        "gaussians": len(dragged.after),
        "views": VIEWS,
    }


def _page(
    rows: Mapping[str, Mapping[int, UInt8[np.ndarray, "S S 3"]]],
    video: bool,
    report: Mapping[str, Any],
) -> str:
    """The page: the picture, the video, a row of pictures for each state, and the times."""
    titles = {"before": "Before", "after": "After", "truth": "As it is in truth"}
    lines = []
    for name, pictures in rows.items():
        cells = (
            f'<td><img src="{name}/view_{view}.png"></td>' if view in pictures else "<td></td>"
            for view in range(VIEWS)
        )
        lines.append(f"<tr><th>{titles[name]}</th>{''.join(cells)}</tr>")
    film = '<video src="turntable.mp4" autoplay loop muted></video>' if video else ""
    times = ", ".join(f"{phase} {value:.2f} s" for phase, value in report["seconds"].items())
    return f"""<!doctype html>
<meta charset="utf-8">
<title>Dragged</title>
<style>{STYLE}</style>
<h1>One picture, one drag</h1>
<div class="first"><img src="picture.png">{film}</div>
<p>The picture with {len(report["drags_in_input"])} drag(s), as the network was shown it; before and
after, seen from all around; below, the same from eight sides. The Gaussians are in
<a href="before.ply">before.ply</a> and <a href="after.ply">after.ply</a>, which viewers of 3D
Gaussian splatting open.</p>
<table>{"".join(lines)}</table>
<p>{report["gaussians"]:,} Gaussians on {html.escape(str(report["device"]))}: {times}.
<a href="prediction.json">prediction.json</a> tells more.</p>
"""
