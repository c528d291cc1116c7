"""Train PartRM: python train.py --data data/generated/shards --out runs/mine

With --stage parts, train the network that finds the part that was clicked on; with --stage views,
fine-tune Zero123++.

On several GPUs: torchrun --nproc-per-node 8 train.py …
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from datagen.shards import ShardError
from model.perceptual import PerceptualError
from model.training.config import STAGES, TrainConfig
from model.training.loop import train_stage
from model.training.parts import train_parts
from model.training.processes import Processes, join_processes
from model.training.run import Interrupted, TrainingError


def train(config: TrainConfig) -> None:
    """Train the stage that is asked for, or all of them."""
    stages = [stage for stage in STAGES if config.stage in (stage, "all")]
    with join_processes(config.device) as processes:
        if config.stage == "parts":
            _tell("parts", train_parts(config, processes), processes)
        if config.stage == "views":
            from model.training.view_synthesis import train_views  # needs diffusers

            _tell("views", train_views(config, processes), processes)
        for stage in stages:
            _tell(stage, train_stage(config, stage, processes), processes)


def _tell(stage: str, weights: Path, processes: Processes) -> None:
    if processes.first:
        print(f"{stage}: {weights}")


def main() -> int:
    config = tyro.cli(TrainConfig, prog="python train.py", description=TrainConfig.__doc__)
    try:
        train(config)
    except (ShardError, PerceptualError, TrainingError, ImportError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (Interrupted, KeyboardInterrupt) as stopped:
        print(stopped or "stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
