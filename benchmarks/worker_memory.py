"""How much memory does a worker take over many objects, and how often is it replaced?

    python -m benchmarks.worker_memory OBJECT… --count 100

Makes `count` shards, the objects again and again, with one worker and tiny pictures, and watches
the resident memory of the worker's process group (the worker, its guard and Blender).
"""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import psutil
import tyro
from tqdm import tqdm

from datagen.blender import Blender
from datagen.pool import Limits, group_memory, run_jobs
from datagen.render_settings import PRESETS
from datagen.shard_maker import Job, Sampling, ShardMaker

LIMIT_BYTES = 2e9
TINY = replace(PRESETS["preview"], resolution=64, samples=1)


@dataclass(frozen=True)
class Args:
    """Watch a worker's memory.

    Attributes:
        objects: object folders or zips.
        count: shards to make.
        every: seconds between two looks.
    """

    objects: Annotated[tuple[Path, ...], tyro.conf.Positional]
    count: int = 100
    every: float = 0.5


@dataclass
class Watch:
    """Looks at the workers of this process.

    Attributes:
        every: seconds between two looks.
        peak: process group to the most bytes seen.
    """

    every: float
    peak: dict[int, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def look(self) -> int:
        """The memory of the worker that is there now, in bytes."""
        memory = 0
        for child in psutil.Process().children():
            with suppress(ProcessLookupError):
                if os.getpgid(child.pid) == child.pid:  # a worker leads its own group
                    memory = group_memory(child.pid)
                    self.peak[child.pid] = max(memory, self.peak.get(child.pid, 0))
        return memory

    def run(self) -> None:
        while not self._stop.wait(self.every):
            self.look()

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self.run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def main(args: Args) -> None:
    limits = Limits()
    after: list[int] = []
    views = lost = failed = 0
    with tempfile.TemporaryDirectory() as out, Watch(args.every) as watch:
        jobs = [
            Job(path, Path(out), Sampling(), TINY)
            for path in islice(cycle(args.objects), args.count)
        ]
        make_worker = partial(ShardMaker, partial(Blender, None, "CPU", 1))
        outcomes = run_jobs(jobs, make_worker, workers=1, limits=limits)
        for outcome in tqdm(outcomes, total=args.count, unit="object"):
            after.append(watch.look())
            lost += outcome.attempts - 1
            failed += not outcome.ok
            views += outcome.result.views if outcome.result else 0
    peak, retired = max(watch.peak.values()), len(watch.peak) - 1 - lost
    first, last = after[: len(args.objects)], after[-len(args.objects) :]
    print(f"{args.count} objects, {views} views; {failed} failed, {lost} workers lost\n")
    print("| resident memory | MB |")
    print("|---|---|")
    print(f"| most after the first {len(first)} objects | {max(first) / 1e6:.0f} |")
    print(f"| most after the last {len(last)} objects | {max(last) / 1e6:.0f} |")
    print(f"| peak | {peak / 1e6:.0f} |")
    print(
        f"\npeak {peak / 1e9:.2f} GB (limit {LIMIT_BYTES / 1e9:g}); retired {retired} time(s), "
        f"at {limits.retire_bytes / 1e9:g} GB"
    )


if __name__ == "__main__":
    main(tyro.cli(Args))
