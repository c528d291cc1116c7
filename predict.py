"""Drag the part in a picture: python predict.py --image drawer.png --drag 140,160,95,190 --out DIR

Writes before.ply and after.ply, the pictures of both from eight sides (before/, after/),
turntable.mp4 with both side by side, picture.png, which is what the network was shown with the
drags on it, and prediction.json: what was done, and how long each phase took.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from jaxtyping import UInt8
from PIL import Image

from datagen.cameras import RigName
from datagen.inspection import draw_drags
from model.device import choose_device, timed
from model.part_masks import ClickToPart, PartMask, SegmentAnything
from model.partrm import PartRM
from model.picture import Framing
from model.ply import save_ply
from model.prediction import VIEWS, Dragged, OtherViews, Predictor, find_weights
from model.video import FRAMES, check_video, write_video


@dataclass(frozen=True)
class PredictConfig:
    """Drag the part of an object in a picture: 3D Gaussians of it before and after.

    The picture is a PNG with transparency, or an object before a plain background.
    """

    image: Path
    """The picture."""
    drag: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """x0,y0,x1,y1: from a point on the part to where it goes, in pixels of the picture, x right and
    y down. Several (--drag … --drag …) are pulled at once."""
    out: Path
    """Folder for what is written."""
    weights: Path | None = None
    """Checkpoint, ours or published. Default: the newest runs/*/appearance/weights.safetensors."""
    reconstructor: Path | None = None
    """Checkpoint that makes the Gaussians before the drags. Default: the same, without drags."""
    parts: Path | None = None
    """Weights of the click-to-part network (train.py --stage parts): each drag is then repeated all
    over the part that it starts on."""
    sam: Path | None = None
    """A checkpoint of Segment Anything, for the same."""
    zero123plus: str | None = None
    """Zero123++, fine-tuned to draw the rig's other input views: its folder, or its name on the
    hub. Default: the network makes do with the picture."""
    zero123plus_unet: Path | None = None
    """Its fine-tuned U-Net (train.py --stage views), where that is a file of its own."""

    rig: RigName | None = None
    """The cameras the network knows. Default: ring; for published weights partdrag4d."""
    frame: Framing = "auto"
    """keep: the picture is framed as a render of that rig; recentre: crop and scale the object to
    the frame; auto: keep squares with transparency, recentre all others."""
    resolution: int | None = None
    """Pixels along a side of pictures and video. Default: as the network takes them."""
    video: bool = True
    """Write turntable.mp4."""
    device: str | None = None
    """cuda, cpu, …. Default: CUDA where there is one."""

    def drags(self) -> list[list[float]]:
        """The drags as numbers.

        Raises:
            ValueError: one of them is no drag, or there is none.
        """
        if not self.drag:
            raise ValueError("nothing is dragged: --drag x0,y0,x1,y1, in pixels of the picture")
        return [_numbers(text) for text in self.drag]


def run(config: PredictConfig) -> None:
    """Read, predict, write."""
    drags = config.drags()
    if config.video:
        check_video()
    device = choose_device(config.device)
    weights = find_weights(config.weights)
    network, reconstructor = (
        PartRM.from_pretrained(path).to(device).eval() if path else None
        for path in (weights, config.reconstructor)
    )
    assert network is not None
    if not network.config.drag_levels:
        raise ValueError(f"{weights} embeds no drags: it reconstructs only (--reconstructor)")
    size = config.resolution or network.config.input_size
    if size < 16 or size % 2:
        raise ValueError(f"--resolution {size} must be even, and 16 or more")

    predictor = Predictor(
        network,
        config.rig,
        config.frame,
        other_views(config, device),
        reconstructor,
        part_mask(config, device),
    )
    dragged = predictor.drag(predictor.see(config.image), drags)
    seconds = dict(dragged.seconds)
    paths = write(config.out, dragged, size, config.video, seconds)

    done = {
        "image": str(config.image),
        "weights": str(weights),
        "reconstructor": str(config.reconstructor or weights),
        "device": str(device),
        "rig": predictor.rig.name,
        "drags": drags,
        "parts": str(config.parts or config.sam) if config.parts or config.sam else None,
        "zero123plus": config.zero123plus,
        **describe(dragged),
        "resolution": size,
        "seconds": {phase: round(value, 4) for phase, value in seconds.items()},
        "total_seconds": round(sum(seconds.values()), 4),
        "files": [str(path.relative_to(config.out)) for path in paths],
    }
    report = config.out / "prediction.json"
    report.write_text(json.dumps(done, indent=2) + "\n")
    for path in (*paths, report):
        print(path)
    print(", ".join(f"{phase} {value:.2f} s" for phase, value in seconds.items()))


def part_mask(config: PredictConfig, device: torch.device) -> PartMask | None:
    """What finds the parts that drags start on, if anything is to.

    Raises:
        ValueError: two are to.
    """
    if config.parts and config.sam:
        raise ValueError("--parts or --sam finds the part, not both")
    if config.parts:
        return ClickToPart.from_pretrained(config.parts, device)
    return SegmentAnything.from_pretrained(config.sam, device) if config.sam else None


def other_views(config: PredictConfig, device: torch.device) -> OtherViews | None:
    """What draws the views that the picture does not show, if anything is to."""
    if config.zero123plus is None:
        if config.zero123plus_unet:
            raise ValueError("--zero123plus-unet goes with --zero123plus")
        return None
    from model.zero123plus import Zero123Plus  # needs diffusers

    pipeline = Zero123Plus.from_pretrained(config.zero123plus, config.zero123plus_unet)
    return pipeline.to(device).other_views


def write(
    folder: Path, dragged: Dragged, size: int, video: bool, seconds: dict[str, float]
) -> list[Path]:
    """Write all but the report; adds to the seconds by phase: render, video, write."""
    scene = dragged.scene
    states = {"before": dragged.before, "after": dragged.after}
    device = dragged.after.device
    with timed("render", seconds, device):
        pictures = {name: scene.turntable(state, size) for name, state in states.items()}
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with timed("write", seconds, device):
        for name, state in states.items():
            paths.append(folder / f"{name}.ply")
            save_ply(paths[-1], state)
            paths += write_pictures(folder / name, pictures[name])
        paths.append(folder / "picture.png")
        shown = Image.fromarray(scene.picture.pixels).resize((size, size))
        arrows = dragged.drags * size / len(scene.picture.pixels)
        draw_drags(shown, arrows).save(paths[-1])
    if video:
        with timed("video", seconds, device):
            turns = [scene.turntable(state, size, FRAMES) for state in states.values()]
            paths.append(folder / "turntable.mp4")
            write_video(paths[-1], np.concatenate(turns, axis=2))
    return paths


def write_pictures(folder: Path, pictures: UInt8[np.ndarray, "V S S 3"]) -> list[Path]:
    """Write view_0.png, …, one for each picture."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"view_{view}.png" for view in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def describe(dragged: Dragged) -> dict[str, Any]:
    """What was made of the picture, as plain values."""
    picture = dragged.scene.picture
    return {
        "given_size": list(picture.given_size),
        "input_size": len(picture.pixels),
        "scale": picture.scale,
        "offset": picture.offset.tolist(),
        "views_shown": int(dragged.scene.views.present.sum()),
        "drags_in_input": dragged.drags.reshape(-1, 4).tolist(),
        "gaussians": len(dragged.after),
        "views": VIEWS,
    }


def _numbers(text: str) -> list[float]:
    """The four numbers of a drag."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise ValueError(
            f"--drag {text}: a drag is x0,y0,x1,y1, for instance --drag 140,160,95,190"
        )
    return numbers


def main() -> int:
    try:
        run(tyro.cli(PredictConfig, prog="python predict.py", description=getdoc(PredictConfig)))
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
