"""How well can a network learn a single pair of states by heart?

    python -m benchmarks.overfit data/generated/shards/microwave0000.h5

One drag on one pair, no augmentation, straight on renderings of all twelve views: what is left is
what the network and the rasterizer cannot express, or have had no time to learn.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.utils import save_image
from tqdm import tqdm

from datagen.shards import Shard, open_shards
from model.config import PRESETS
from model.metrics import psnr
from model.partrm import PartRM
from model.training.augmentation import Augmentation
from model.training.dataset import StateDataset, Task
from model.training.stages import Stage, compared
from model.views import cameras, on_white, read_pictures

VIEWS = 12


@dataclass(frozen=True)
class Args:
    """Over-fit one pair of states.

    Attributes:
        shard: whose pairs there are to choose from.
        pair: which of them.
        preset: of the network.
        steps: of AdamW.
        lr: its learning rate, falling to 0 along a cosine.
        out: write the last pictures to this PNG file: source, prediction, truth, in four views.
    """

    shard: Annotated[Path, tyro.conf.Positional]
    pair: int = 4
    preset: Literal["nano", "mini"] = "nano"
    steps: int = 500
    lr: float = 3e-3
    out: Path | None = None


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    torch.manual_seed(0)
    network = PartRM(PRESETS[args.preset])
    task = Task(moves=True, teacher=False, rendered=VIEWS)
    shards, size = open_shards(args.shard), network.config.input_size
    dataset = StateDataset(shards, task, size, max_drags=1, augmentation=Augmentation.of(0))
    batch = default_collate([dataset[args.pair]])
    shard, state, _ = dataset.items[args.pair]
    stage = Stage(network, None, None, 0.0, nullcontext)
    optimizer = torch.optim.AdamW(network.parameters(), args.lr, (0.9, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    began = time.perf_counter()
    for step in (bar := tqdm(range(args.steps))):
        optimizer.zero_grad()
        outcome = stage.loss(network, batch, with_lpips=False)
        outcome.loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix(psnr=f"{float(psnr(*compared(outcome, batch)).mean()):.2f}")
    drawn, truth = compared(outcome, batch)
    views = _views(shard, batch.target_cameras[0])
    source = on_white(read_pictures(shard, state, views, size))[0][None]
    moved = (truth - source).abs().amax(dim=2, keepdim=True) > 0.1
    print(
        f"{args.preset}, {args.shard.stem}, {args.steps} steps, "
        f"{time.perf_counter() - began:.0f} s: {float(psnr(drawn, truth).mean()):.2f} dB "
        f"(copying the source: {float(psnr(source, truth).mean()):.2f}); over the pixels that "
        f"change {_over(drawn, truth, moved):.2f} dB ({_over(source, truth, moved):.2f})"
    )
    if args.out:
        rows = torch.cat([p[0, ::3].clamp(0, 1) for p in (source, drawn, truth)])
        save_image(rows, args.out, nrow=4)


def _views(shard: Shard, camera_to_world: Float[Tensor, "T 4 4"]) -> list[int]:
    """Which of a shard's views these cameras are."""
    all_views = cameras(shard, range(VIEWS))
    return [int((all_views - c).abs().amax(dim=(1, 2)).argmin()) for c in camera_to_world]


def _over(pictures: Tensor, truth: Tensor, where: Tensor) -> float:
    """PSNR in dB over some of the pixels, of all views together."""
    error = (pictures - truth).square().mean(dim=2, keepdim=True)
    return float(-10 * error[where].mean().log10())


if __name__ == "__main__":
    main()
