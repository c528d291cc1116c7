"""How close does the tracer come to Blender, and how long do both take?

    python -m benchmarks.renderers OBJECT… --device CUDA

Renders all views of each object, half open: with Blender at 64 samples, with Blender as the preset
says, and with the tracer. Prints the mean PSNR over white to the first, how far colours are off on
the mean where both show nothing but the object, and the seconds a state took. Of each renderer the
first state of an object is not counted: it pays for what is made once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from benchmarks.render_quality import psnr
from datagen.articulation import link_poses
from datagen.blender import Blender, Frame
from datagen.cameras import rig
from datagen.partnet import read_object
from datagen.render_settings import PRESETS, Device, RenderSettings
from datagen.renderer import Renderer
from datagen.source import ObjectFiles
from datagen.surface import read_surface
from datagen.tracing import Tracer
from datagen.world import extent_points, world_from_object


@dataclass(frozen=True)
class Args:
    """Compare renderers.

    Attributes:
        objects: object folders or zips.
        preset: how pictures are made.
        resolution: width and height in pixels.
        samples: paths per pixel of the tracer.
        device: of the tracer; Blender stays on the CPU.
    """

    objects: Annotated[tuple[Path, ...], tyro.conf.Positional]
    preset: Literal["preview", "standard", "partdrag4d"] = "standard"
    resolution: int = 128
    samples: int = 16
    device: Device = "CPU"


def off(frames: list[Frame], truth: list[Frame]) -> float:
    """Mean difference of colours, of 255, where both are opaque."""
    differences = [
        (f.colour[..., :3].astype(float) - t.colour[..., :3])[(f.colour & t.colour)[..., 3] == 255]
        for f, t in zip(frames, truth, strict=True)
    ]
    return float(np.concatenate(differences).mean())


def timed(
    renderer: Renderer, settings: RenderSettings, poses: np.ndarray, cameras: np.ndarray
) -> tuple[list[Frame], float]:
    """Frames of a state, and the seconds that they took."""
    renderer.configure(settings)
    renderer.render(poses, cameras)
    start = time.perf_counter()
    frames = renderer.render(poses, cameras)
    return frames, time.perf_counter() - start


def main(args: Args) -> None:
    preset = replace(PRESETS[args.preset], resolution=args.resolution)
    cameras = rig(preset.rig).camera_to_world
    tracer = Tracer(args.device)
    print(f"{'object':>20} {'faces':>7} | renderer: PSNR dB, mean off, seconds a state")
    with Blender() as blender:
        for path in args.objects:
            files = ObjectFiles(path)
            obj = read_object(files)
            surface = read_surface(files, obj)
            half = np.array([[joint.position(2.5) for joint in obj.movable]])
            world = world_from_object(preset.rig, extent_points(obj, surface, half))
            poses = world @ link_poses(obj, half)[0]
            blender.load(files, surface)
            tracer.load(files, surface)
            truth, _ = timed(blender, replace(preset, samples=64, denoiser="none"), poses, cameras)
            results = []
            for name, renderer, settings in (
                ("blender", blender, preset),
                ("tracer", tracer, replace(preset, samples=args.samples)),
            ):
                frames, seconds = timed(renderer, settings, poses, cameras)
                quality = f"{psnr(frames, truth):.1f}, {off(frames, truth):+.1f}, {seconds:.3f}"
                results.append(f"{name}: {quality}")
            print(f"{obj.id:>20} {len(surface):7} | {' | '.join(results)}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Args))
