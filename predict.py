"""Drag the part in a picture: python predict.py --image drawer.png --drag 140,160,95,190 --out DIR

Leaves a page of pictures, index.html, and all that `model.gallery` writes: Gaussians, pictures from
eight sides before and after, a video, and a report of what was done and how long each phase took.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from model.gallery import write_gallery
from model.pretrained import PredictorConfig, load_predictor
from model.program import program
from model.video import check_video


@dataclass(frozen=True, kw_only=True)
class PredictConfig(PredictorConfig):
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
    resolution: int | None = None
    """Pixels along a side of pictures and video. Default: as the network takes them."""
    video: bool = True
    """Write turntable.mp4."""

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
    predictor = load_predictor(config)
    size = config.resolution or predictor.network.config.input_size
    if size < 16 or size % 2:
        raise ValueError(f"--resolution {size} must be even, and 16 or more")

    dragged = predictor.drag(predictor.see(config.image), drags)
    settings = {
        "image": str(config.image),
        "weights": str(config.weights),
        "reconstructor": str(config.reconstructor or config.weights),
        "device": str(predictor.device),
        "rig": predictor.rig.name,
        "drags": drags,
        "parts": str(config.parts),
        "spread_over": None if predictor.part_mask is None else str(config.sam or config.parts),
        "zero123plus": config.zero123plus,
    }
    done = write_gallery(config.out, dragged, size, config.video, settings)
    for name in done["files"]:
        print(config.out / name)
    print(", ".join(f"{phase} {value:.2f} s" for phase, value in done["seconds"].items()))


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
    return program(PredictConfig, run, "python predict.py")


if __name__ == "__main__":
    sys.exit(main())
