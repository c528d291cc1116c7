"""The settings of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from model.evaluation.cases import Propagation
from model.fitting import STEPS
from model.holding import Rigid
from model.splits import Split
from model.weights import PARTRM, PARTS


@dataclass(frozen=True)
class EvalConfig:
    """Measure PartRM on shards: PSNR, SSIM and LPIPS of the target state seen from all views, over
    the whole picture and over the region that changed; and the time it takes.

    Every table has two rows that put a network's numbers in their place: the source pictures
    themselves, as if nothing had moved, and a reconstructor that is shown the target state. Where
    the views are the published rig's, in as many pixels, published numbers stand beside them.
    Never compare numbers across rigs, nor across resolutions.
    """

    data: Path
    """Folder of shards."""
    weights: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Checkpoints to compare, ours or published ones; a row each, for each of --input-views and
    each of --drags. Default: the one that comes with the project."""
    out: Path | None = None
    """Folder for results.json, results.md, contact_sheet.png and videos. Default: `eval` in the
    folder of the first checkpoint; without one, in runs/partrm."""
    teacher: Path | None = None
    """The reconstructor of the row that is shown the answer, in the most of --input-views. Default:
    the one of the first checkpoint's run, reconstruct/weights.safetensors; where there is none, the
    first checkpoint itself, without drags."""

    split: Split = "val"
    """Which objects."""
    split_file: Path | None = None
    """JSON, {"train": [ids], "val": [ids]}. Default: one object in eight is held out, by its
    name."""
    categories: tuple[str, ...] = ()
    """These categories alone."""
    pairs: int = 12
    """At most so many pairs of states of an object, evenly chosen."""
    targets: Path | None = None
    """Folder of shards of the same objects and states from another rig: the views to compare are
    taken from there, for instance those of the published rig. Default: the views in --data."""
    resolution: int = 256
    """Pixels along a side of the pictures that are compared; larger ones are averaged down."""

    drags: tuple[int, ...] = (10,)
    """Drags of a sample, one number or several; fewer where its part shows fewer points."""
    propagate: Propagation = "none"
    """none: every drag is given, with an end of its own; mask: one is given, and the others start
    on the true mask of its part and go as far, in the same direction; part: on what --parts or
    --sam takes for its part, as in predict.py --spread part; where that finds none, one is alone.
    """
    parts: Path = PARTS
    """Weights of the click-to-part network (train.py --stage parts), which has a say in what is
    held together, too."""
    sam: Path | None = None
    """A checkpoint of Segment Anything, to find parts instead."""
    input_views: tuple[Literal[4, 1], ...] = (4,)
    """Views of the source state that a network is shown: 4, 1, or both."""

    fit: int = STEPS
    """Steps in which what a network makes of the pictures that it is shown is fitted to them; 0:
    none."""
    rigid: Rigid = "auto"
    """Hold what moved together, as one rigid body; auto: where drags seem to be of one part."""

    lpips: bool = True
    """Measure LPIPS."""
    vgg_weights: Path | None = None
    """File of torchvision's VGG-16 weights, or of HED's, to stand in: then the column is called
    LPIPS (HED). Default: torchvision's, downloaded at first use."""
    sheet_samples: int = 6
    """Samples on the contact sheet, and in videos: there each checkpoint is once, with the most
    views and drags named."""
    video: bool = False
    """Write turntables of the predicted Gaussians."""
    device: str | None = None
    """cuda, cpu, …. Default: CUDA where there is one."""
    cpu_samples: int = 0
    """So many samples, evenly chosen, are predicted on the CPU as well, for the time it takes
    there; for where --device is another."""
    seed: int = 0
    """Decides which points are dragged."""

    def check(self) -> None:
        """Refuse settings that no evaluation can have.

        Raises:
            ValueError: says which.
        """
        several = {"--drags": self.drags, "--input-views": self.input_views}
        for option, numbers in several.items():
            if not numbers or len(set(numbers)) < len(numbers):
                raise ValueError(f"{option} wants one number, or several different ones")
        least = {"--pairs": self.pairs, "--sheet-samples": self.sheet_samples}
        for option, number in {**least, "--drags": min(self.drags)}.items():
            if number < 1:
                raise ValueError(f"{option} must be 1 or more")
        if self.cpu_samples < 0:
            raise ValueError(f"--cpu-samples {self.cpu_samples}: 0 or more")
        if self.cpu_samples and self.propagate == "part":
            raise ValueError(
                "--cpu-samples: what finds parts for --propagate part stays on --device, so this "
                "would be no CPU's time; leave one out"
            )
        if self.propagate != "part" and self.sam is not None:
            raise ValueError("--sam finds parts for --propagate part: pass that, too")
        if self.lpips and self.resolution % 16:
            raise ValueError(
                f"--resolution {self.resolution}: LPIPS halves pictures four times, so it wants a "
                "multiple of 16; or leave it out: --no-lpips"
            )
        if self.resolution < 16 or self.resolution % 2:
            raise ValueError(f"--resolution {self.resolution} must be even, and 16 or more")

    @property
    def folder(self) -> Path:
        """Where results go."""
        return (
            self.out or (self.weights[0].parent if self.weights else Path("runs/partrm")) / "eval"
        )

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """What is measured."""
        return self.weights or (PARTRM,)
