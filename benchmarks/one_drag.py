"""How long is it from a picture and a drag to eight views of the moved object?

    python -m benchmarks.one_drag --preset mini big                  # as untrained networks
    python -m benchmarks.one_drag --weights runs/mini/appearance/weights.safetensors

On a disc before a plain background, as a PNG file: what is computed does not depend on what a
picture shows, and what is rendered hardly does. To hold together what moved does, and is left out.
Each phase is the median of many runs; a further drag is the last two. PartRM's published 4.2 s are
its authors', on their GPU, with pictures of the other views made by Zero123++: another machine and
more work, so they are told beside, not compared.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

from model.capture import Captured
from model.config import PRESETS
from model.device import choose_device, placed, timed
from model.partrm import PartRM
from model.prediction import VIEWS, Predictor

PUBLISHED_S = 4.2  # PartRM, table 1
PHASES = ("read", "views", "reconstruct", "fit", "network", "render")
SIDE, RADIUS = 1024, 300  # of the picture and the disc, in pixels


@dataclass(frozen=True)
class Args:
    """Time one drag by phase.

    Attributes:
        preset: untrained networks of these shapes.
        weights: checkpoints, besides or instead.
        device: cuda or cpu; by default CUDA where there is one.
        runs: counted runs, after two that are not.
    """

    preset: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    device: str | None = None
    runs: int = 10


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    device = choose_device(args.device)
    torch.manual_seed(0)
    presets = args.preset or (() if args.weights else ("mini",))
    networks = {name: PartRM(PRESETS[name]) for name in presets}
    networks |= {str(path): PartRM.from_pretrained(path) for path in args.weights}
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{chip}, {torch.get_num_threads()} threads, torch {torch.__version__}; seconds")
    print(f"| network | pixels | {' | '.join(PHASES)} | all |")
    print("|---" * (len(PHASES) + 3) + "|")
    with tempfile.TemporaryDirectory() as folder:
        picture = _disc(Path(folder) / "disc.png")
        for name, network in networks.items():
            placed(network, device).eval()
            forward = Captured(network) if device.type == "cuda" else None
            predictor = Predictor(network, forward=forward, rigid="never")
            runs = [_one_drag(predictor, picture) for _ in range(args.runs + 2)][2:]
            medians = {phase: statistics.median(run[phase] for run in runs) for phase in PHASES}
            total = statistics.median(sum(run.values()) for run in runs)
            cells = [f"{medians[phase]:.3f}" for phase in PHASES]
            size = network.config.input_size
            print(f"| {name} | {size} | {' | '.join(cells)} | {total:.3f} |")
    print(
        f"| PartRM, as published, on its authors' GPU | 256 |{' |' * len(PHASES)} {PUBLISHED_S} |"
    )


def _one_drag(predictor: Predictor, picture: Path) -> dict[str, float]:
    """Seconds by phase."""
    dragged = predictor.drag(predictor.see(picture), [[SIDE / 2, SIDE / 2, SIDE / 2, SIDE / 3]])
    seconds = {"fit": 0.0, **dragged.seconds}  # that of networks that cannot be
    with timed("render", seconds, predictor.device):
        frames = dragged.scene.turntable(dragged.after, predictor.network.config.input_size)
    assert len(frames) == VIEWS
    return seconds


def _disc(path: Path) -> Path:
    """Write the picture."""
    row, column = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    pixels = np.full((SIDE, SIDE, 3), 240, np.uint8)
    pixels[row**2 + column**2 < RADIUS**2] = 180, 60, 40
    Image.fromarray(pixels).save(path)
    return path


if __name__ == "__main__":
    main()
