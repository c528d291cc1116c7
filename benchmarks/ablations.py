"""What is each training stage worth, and each scale at which drags are embedded?

    python -m benchmarks.ablations FOLDER --teacher runs/mini/reconstruct/weights.safetensors

Every arm starts from the same reconstructor and is trained for as many steps in all: stage motion
alone, stage appearance alone, or a third of one and two thirds of the other, with drags at all
levels or at a single one; then `eval.py` sets them side by side. An arm that was trained before is
not trained again.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Annotated

import torch
import tyro

from model.config import PRESETS
from model.training.config import StageName


@dataclass(frozen=True)
class Args:
    """Train networks that lack something, and compare them.

    Attributes:
        data: folder of shards to train on.
        held_out: folder of shards to be evaluated on; the same one, if none is given.
        teacher: weights of the reconstructor that all start from, and that stage motion learns of.
        out: folder of the runs and of the comparison.
        preset: the networks' shape.
        steps: of each arm, all stages together.
        jobs: arms trained at a time; where there are several GPUs, they are spread over these.
        train: options of train.py for all of them.
        evaluate: options of eval.py.
    """

    data: Annotated[Path, tyro.conf.Positional]
    teacher: Path
    held_out: Path | None = None
    out: Path = Path("runs/ablations")
    preset: str = "mini"
    steps: int = 900
    jobs: int = 1
    train: str = "--no-lpips"
    evaluate: str = "--no-lpips"


@dataclass(frozen=True)
class Arm:
    """A network to be compared.

    Attributes:
        name: in the table.
        stages: which it goes through, and what share of the steps each of them has.
        level: the only one at which it embeds drags; all, if there is none.
    """

    name: str
    stages: dict[StageName, float]
    level: int | None = None


def arms(preset: str) -> list[Arm]:
    """All networks to be compared."""
    both: dict[StageName, float] = {"motion": 1 / 3, "appearance": 2 / 3}
    return [
        Arm("only motion", {"motion": 1.0}),
        Arm("only appearance", {"appearance": 1.0}),
        Arm("both stages", both),
        *(
            Arm(f"both, drags at level {level} alone", both, level)
            for level in PRESETS[preset].drag_levels
        ),
    ]


def trained(arm: Arm, args: Args, places: Queue[dict[str, str]]) -> Path:
    """Train an arm, unless that is done; its weights, in a file of its name.

    Args:
        arm: what.
        args: how.
        places: environments of training processes, of which it takes one for the time.

    Raises:
        CalledProcessError: the training failed, and has said why.
    """
    out, start = args.out / arm.name.replace(" ", "-"), args.teacher
    place = places.get()
    try:
        for stage, share in arm.stages.items():
            options = {
                "data": args.data,
                "out": out,
                "preset": args.preset,
                "stage": stage,
                "steps": round(share * args.steps),
                "init": start,
                "teacher": args.teacher,
            }
            command = [sys.executable, "train.py", *shlex.split(args.train)]
            command += [
                part for name, value in options.items() for part in (f"--{name}", str(value))
            ]
            if arm.level is not None:
                command += ["--drag-levels", str(arm.level)]
            subprocess.run(command, check=True, env={**os.environ, **place})
            start = out / stage / "weights.safetensors"
    finally:
        places.put(place)  # another arm may wait for it, also when this one failed
    link = args.out / f"{arm.name}.safetensors"
    link.unlink(missing_ok=True)
    link.symlink_to(start.resolve())
    return link


def visible_gpus() -> list[str]:
    """As `CUDA_VISIBLE_DEVICES` names them; torch is asked only for their number."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    places: Queue[dict[str, str]] = Queue()
    gpus = visible_gpus()
    for job in range(args.jobs):
        places.put({"CUDA_VISIBLE_DEVICES": gpus[job % len(gpus)]} if gpus else {})
    with ThreadPoolExecutor(args.jobs) as pool:
        weights = list(pool.map(lambda arm: trained(arm, args, places), arms(args.preset)))
    command = [sys.executable, "eval.py", *map(str, weights), *shlex.split(args.evaluate)]
    data = args.held_out or args.data
    command += ["--data", str(data), "--teacher", str(args.teacher), "--out", str(args.out)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
