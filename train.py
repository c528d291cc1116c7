"""Train PartRM: python train.py --data data/generated/shards --out runs/mine

On several GPUs: torchrun --nproc-per-node 8 train.py …
"""

from __future__ import annotations

import sys

import tyro

from datagen.shards import ShardError
from model.perceptual import PerceptualError
from model.training.config import STAGES, TrainConfig
from model.training.loop import Interrupted, TrainingError, train_stage
from model.training.processes import join_processes


def train(config: TrainConfig) -> None:
    """Train the stage that is asked for, or all of them."""
    stages = [stage for stage in STAGES if config.stage in (stage, "all")]
    with join_processes(config.device) as processes:
        for stage in stages:
            weights = train_stage(config, stage, processes)
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
