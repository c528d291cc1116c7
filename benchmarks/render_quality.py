"""Which render settings are good enough, and which of those is the cheapest?

    python -m benchmarks.render_quality OBJECT…

Renders two views of each object, half open, with 1,024 samples and with every candidate, and prints
the PSNR over white of the worst object and the mean, with Cycles' processor time a view. The
cheapest candidate whose every object reaches the target is what the preset `standard` should be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from datagen.articulation import link_poses
from datagen.blender import Blender, Frame
from datagen.cameras import rig
from datagen.partnet import read_object
from datagen.render_settings import PRESETS, Denoiser, RenderSettings
from datagen.source import ObjectFiles
from datagen.surface import read_surface
from datagen.world import extent_points, world_from_object

VIEWS = (1, 8)


@dataclass(frozen=True)
class Args:
    """Compare render settings with a reference of 1,024 samples.

    Attributes:
        objects: object folders or zips.
        target: PSNR in dB that every object's pictures must reach.
    """

    objects: Annotated[tuple[Path, ...], tyro.conf.Positional]
    target: float = 36.0


def candidates() -> list[RenderSettings]:
    """Samples x denoiser x bounces, and adaptive sampling where there are samples to save."""
    base = PRESETS["standard"]
    choices: list[tuple[tuple[int, ...], Denoiser, float]] = [
        ((4, 5, 6, 8), "fast", 0.0),
        ((5, 6), "balanced", 0.0),
        ((6,), "high", 0.0),
        ((8, 12, 16), "none", 0.0),
        ((16,), "none", 0.05),
    ]
    return [
        replace(base, samples=n, denoiser=denoiser, adaptive_threshold=threshold, bounces=bounces)
        for bounces in (4, 3, 2)
        for samples, denoiser, threshold in choices
        for n in samples
    ]


def over_white(frame: Frame) -> np.ndarray:
    """[H, W, 3] in 0 to 1."""
    rgba = frame.colour / 255
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def psnr(frames: list[Frame], truth: list[Frame]) -> float:
    """Mean over views, in dB."""
    errors = [
        np.mean((over_white(f) - over_white(t)) ** 2) for f, t in zip(frames, truth, strict=True)
    ]
    return float(np.mean(-10 * np.log10(errors)))


def main(args: Args) -> None:
    settings_list = candidates()
    quality = np.zeros((len(settings_list), len(args.objects)))
    seconds = np.zeros_like(quality)
    bar = tqdm(total=quality.size, unit="setting")
    with Blender() as blender:
        process = blender.process
        for column, path in enumerate(args.objects):
            files = ObjectFiles(path)
            obj = read_object(files)
            surface = read_surface(files, obj)
            half = np.array([[joint.position(2.5) for joint in obj.movable]])
            world = world_from_object("ring", extent_points(obj, surface, half))
            poses = world @ link_poses(obj, half)[0]
            cameras = rig("ring").camera_to_world[list(VIEWS)]
            blender.load(files, surface)
            reference = replace(
                PRESETS["standard"],
                samples=1024,
                adaptive_threshold=0.0,
                denoiser="none",
                bounces=4,
            )
            blender.configure(reference)
            truth = blender.render(poses, cameras)
            for row, settings in enumerate(settings_list):
                blender.configure(settings)
                blender.render(poses, cameras[:1])  # the first picture also pays for the change
                before = sum(process.cpu_times()[:2])
                frames = blender.render(poses, cameras)
                seconds[row, column] = (sum(process.cpu_times()[:2]) - before) / len(VIEWS)
                quality[row, column] = psnr(frames, truth)
                bar.update()
    bar.close()
    print("| samples | adaptive | denoiser | bounces | worst dB | mean dB | CPU s/view | enough |")
    print("|---|---|---|---|---|---|---|---|")
    for row in np.argsort(seconds.mean(axis=1)):
        s = settings_list[row]
        good = "yes" if quality[row].min() >= args.target else "no"
        print(
            f"| {s.samples} | {s.adaptive_threshold:g} | {s.denoiser} | {s.bounces} "
            f"| {quality[row].min():.1f} | {quality[row].mean():.1f} "
            f"| {seconds[row].mean():.3f} | {good} |"
        )
    standard = PRESETS["standard"]
    if standard in settings_list:
        cost = seconds.mean(axis=1)
        enough = [r for r in range(len(cost)) if quality[r].min() >= args.target]
        row = settings_list.index(standard)
        ratio = cost[row] / cost[enough].min() if enough else float("nan")
        print(f"standard costs {ratio:.2f} times the cheapest setting that is good enough")


if __name__ == "__main__":
    main(tyro.cli(Args))
