"""What does one Blender that stays alive gain over one Blender a state?

    python -m benchmarks.blender_per_state OBJECT… --preset preview

Renders all views of the same states twice: as the workers do it, in one Blender that loads an
object once, and as the published code does it, in a new Blender for every state, which reads the
object again. Settings are equal. Prints both times and their ratio.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from jaxtyping import Float
from tqdm import tqdm

from datagen.articulation import ArticulatedObject, link_poses
from datagen.blender import Blender
from datagen.cameras import rig
from datagen.partnet import read_object
from datagen.render_settings import PRESETS, RenderSettings
from datagen.source import ObjectFiles
from datagen.surface import Surface, read_surface
from datagen.world import extent_points, world_from_object

EXPECTED = 2.0


@dataclass(frozen=True)
class Args:
    """Compare one Blender with one Blender a state.

    Attributes:
        objects: object folders or zips.
        preset: how pictures are made.
        states: states of each object.
        threads: processor threads for Cycles; 0 takes all.
    """

    objects: Annotated[tuple[Path, ...], tyro.conf.Positional]
    preset: Literal["preview", "standard", "partdrag4d"] = "preview"
    states: int = 6
    threads: int = 0


class Clock:
    """Sums wall time, and processor time of this process and Blender's."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        start, own = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - start
        self.processor += time.process_time() - own

    def count(self, blender: Blender) -> None:
        """Add the processor time of a Blender's whole life."""
        self.processor += sum(blender.process.cpu_times()[:2])


def read(path: Path) -> tuple[ObjectFiles, ArticulatedObject, Surface]:
    files = ObjectFiles(path)
    obj = read_object(files)
    return files, obj, read_surface(files, obj)


def load(blender: Blender, path: Path, settings: RenderSettings) -> None:
    """Read an object and make it ready to render."""
    files, _, surface = read(path)
    blender.load(files, surface)
    blender.configure(settings)


def state_poses(
    obj: ArticulatedObject, surface: Surface, settings: RenderSettings, count: int
) -> Float[np.ndarray, "count links 4 4"]:
    """Poses in the world of `count` states, from all joints at their lower to all at their upper
    end."""
    steps = np.linspace(0, 5, count)
    positions = np.array([[joint.position(k) for joint in obj.movable] for k in steps])
    world = world_from_object(settings.rig, extent_points(obj, surface, positions))
    return world @ link_poses(obj, positions)


def main(args: Args) -> None:
    settings = PRESETS[args.preset]
    cameras = rig(settings.rig).camera_to_world
    one, many = Clock(), Clock()
    with one.running():
        alive = Blender(threads=args.threads)
    bar = tqdm(total=args.states * len(args.objects), unit="state")
    for path in args.objects:
        poses = state_poses(*read(path)[1:], settings, args.states)
        with one.running():
            load(alive, path, settings)
        for pose in poses:  # in turns, so that what else the machine does disturbs both alike
            with one.running():
                alive.render(pose, cameras)
            with many.running(), Blender(threads=args.threads) as fresh:
                load(fresh, path, settings)
                fresh.render(pose, cameras)
                many.count(fresh)
            bar.update()
    one.count(alive)
    with one.running():
        alive.close()
    bar.close()

    states = args.states * len(args.objects)
    print(f"{states} states of {len(args.objects)} objects, {len(cameras)} views each\n")
    print("| | wall s a state | processor s a state |")
    print("|---|---|---|")
    for name, clock in (("one Blender", one), ("one Blender a state", many)):
        print(f"| {name} | {clock.wall / states:.2f} | {clock.processor / states:.2f} |")
    print(f"| ratio | {many.wall / one.wall:.2f} | {many.processor / one.processor:.2f} |")
    print(
        f"\none Blender is {many.wall / one.wall:.2f} times as fast at {args.preset} "
        f"(expected: {EXPECTED:g} at preview)"
    )


if __name__ == "__main__":
    main(tyro.cli(Args))
