"""How much of a worker's time goes anywhere but into Cycles?

    python -m benchmarks.render_overhead OBJECT… --preset standard

Makes shards of the objects with one worker in this process, from the start of Blender to its end,
and prints the wall time by phase, and the share of it that passed outside of Cycles' rendering.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Literal
from unittest.mock import patch

import numpy as np
import tyro

from datagen.blender import Blender, Frame
from datagen.render_settings import PRESETS
from datagen.shard_maker import Job, Sampling, ShardMaker

LIMIT = 0.1
CYCLES = "Cycles"
PROBE = "small parts: "
PHASES = {
    "datagen.blender.Blender.__init__": "start Blender",
    "datagen.blender.Blender.close": "end Blender",
    "datagen.shard_maker.ObjectFiles": "read object",
    "datagen.shard_maker.read_as_asked": "read object",
    "datagen.shard_maker.read_surface": "read object",
    "datagen.blender.Blender.load": "load into Blender",
    "datagen.shard_maker.ShardMaker._shares": "rest",
    "datagen.shard_maker.CollisionModel": "collisions and plan",
    "datagen.shard_maker.sample": "collisions and plan",
    "datagen.shard_maker.extent_points": "place object",
    "datagen.shard_maker.sample_points": "sample points",
    "datagen.blender.read_frame": "read EXR",
    "datagen.shard_maker.visible_points": "visible points",
    "datagen.shard_maker.StateImages.encode": "encode pictures",
    "datagen.shard_maker.StateImages.save": "write state",
    "datagen.shard_maker.shard_bytes": "write shard",
    "datagen.shard_maker.write_whole": "write shard",
}


@dataclass(frozen=True)
class Args:
    """Measure what is spent outside of Cycles.

    Attributes:
        objects: object folders or zips.
        preset: how pictures are made.
    """

    objects: Annotated[tuple[Path, ...], tyro.conf.Positional]
    preset: Literal["preview", "standard", "partdrag4d"] = "standard"


class Stopwatch:
    """Wall time by phase. A phase within another counts for itself alone; those within the search
    for small parts are kept apart."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._phases = ["rest"]
        self._since = time.perf_counter()

    def _turn(self) -> None:
        now = time.perf_counter()
        self.seconds[self._phases[-1]] += now - self._since
        self._since = now

    @contextmanager
    def phase(self, name: str, probe: bool = False) -> Iterator[str]:
        """Book time on `name` and give the name it is booked on."""
        self._turn()
        probe = probe or self._phases[-1].startswith(PROBE)
        self._phases.append(PROBE + name if probe else name)
        try:
            yield self._phases[-1]
        finally:
            self._turn()
            self._phases.pop()

    def timed(self, target: str, name: str) -> Callable[..., object]:
        """The function that `target` names, booked on a phase."""
        function = resolve_name(target)

        @wraps(function, updated=())
        def wrapper(*args: object, **options: object) -> object:
            with self.phase(name, probe=target.endswith("._shares")):
                return function(*args, **options)

        return wrapper

    def timed_render(self) -> Callable[..., list[Frame]]:
        """`Blender.render`, the time in Cycles booked apart."""
        render = Blender.render

        def wrapper(blender: Blender, poses: np.ndarray, cameras: np.ndarray) -> list[Frame]:
            before = blender.render_seconds
            with self.phase("talk to Blender") as name:
                frames = render(blender, poses, cameras)
            in_cycles = blender.render_seconds - before
            self.seconds[name] -= in_cycles
            self.seconds[name.replace("talk to Blender", CYCLES)] += in_cycles
            return frames

        return wrapper

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Book everything that shards are made with."""
        with ExitStack() as stack:
            for target, name in PHASES.items():
                stack.enter_context(patch(target, self.timed(target, name)))
            stack.enter_context(patch.object(Blender, "render", self.timed_render()))
            yield
        self._turn()


def main(args: Args) -> None:
    watch = Stopwatch()
    views, states = 0, 0
    with tempfile.TemporaryDirectory() as out, watch.watching():
        maker = ShardMaker(partial(Blender, None, "CPU", 1))
        for path in args.objects:
            made = maker(Job(path, Path(out), Sampling(), PRESETS[args.preset]), lambda event: None)
            states += made.states
            views += made.views
        maker.close()
    seconds = watch.seconds
    whole = sum(seconds.values())
    print(f"{len(args.objects)} objects, {states} states, {views} views, {whole:.1f} s\n")
    print("| phase | s | share | ms a view |")
    print("|---|---|---|---|")
    for name in sorted(seconds, key=lambda name: -seconds[name]):
        share, per_view = seconds[name] / whole, seconds[name] / views * 1e3
        print(f"| {name} | {seconds[name]:.2f} | {share:.1%} | {per_view:.1f} |")
    probing = sum(value for name, value in seconds.items() if name.startswith(PROBE))
    outside = 1 - (seconds[CYCLES] + seconds[PROBE + CYCLES]) / whole
    print(f"\nlooking for small parts takes {probing / whole:.1%}, Cycles' part of it included")
    print(f"{outside:.1%} of the time passes outside of Cycles (limit {LIMIT:.0%})")


if __name__ == "__main__":
    main(tyro.cli(Args))
