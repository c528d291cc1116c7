"""Making a folder of shards: choose the objects, share them out to workers, keep the manifest."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psutil
from tqdm import tqdm

from datagen.blender import Blender
from datagen.pool import Limits, Outcome, run_jobs
from datagen.render_settings import Device, RenderSettings
from datagen.renderer import Renderer, RendererName
from datagen.shard_maker import (
    Job,
    Made,
    Planned,
    Sampling,
    ShardMaker,
    StateDone,
    read_as_asked,
)
from datagen.shard_writer import sha256, write_manifest
from datagen.shards import SUFFIX, Shard, read_manifest
from datagen.source import ObjectError, find_objects
from datagen.state_names import STATES_PER_PART

Executor = Literal["local", "ray"]
MEMORY_PER_WORKER = 2 << 30


class BuildError(Exception):
    """The build cannot be started, or cannot go on; says what to do."""


@dataclass(frozen=True)
class Build:
    """All that a build is asked to do.

    Attributes:
        objects: object folders, zips, or folders of either.
        out: folder of the shards.
        categories: only these; empty for all.
        sampling, render: what to make.
        state_list: file of published state names; exactly these are rendered.
        workers: processes; 0 for one a processor, as far as memory goes.
        executor: `local`, or `ray` for a cluster that shares the folders.
        ray_address: the cluster's.
        renderer: which one makes the pictures.
        blender: an installed Blender's program; None for the bpy wheel.
        device: what it renders on.
        limits: what a worker may take.
    """

    objects: tuple[Path, ...]
    out: Path
    categories: tuple[str, ...]
    sampling: Sampling
    render: RenderSettings
    state_list: Path | None = None
    workers: int = 0
    executor: Executor = "local"
    ray_address: str | None = None
    renderer: RendererName = "blender"
    blender: str | None = None
    device: Device = "CPU"
    limits: Limits = field(default_factory=Limits)


@dataclass
class Summary:
    """What came of a build: object ids, and for what was not made the reason."""

    made: dict[str, Made] = field(default_factory=dict)
    resumed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    resumed_states: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        return not self.skipped

    def text(self) -> str:
        """A few lines to read."""
        made = self.made.values()
        states = sum(m.states for m in made)
        views = sum(m.views for m in made)
        size = sum(m.bytes for m in made)
        lines = [
            f"made     {len(self.made)} object(s): {states} states, {views} views, "
            f"{size / 1e6:.1f} MB, in {self.seconds:.0f} s"
        ]
        if self.resumed or self.resumed_states:
            lines.append(
                f"resumed  {len(self.resumed)} object(s) were there already, "
                f"and {self.resumed_states} state(s) of unfinished ones"
            )
        small = {m.id: m.small_parts for m in made if m.small_parts}
        if small:
            count = sum(len(parts) for parts in small.values())
            lines.append(f"skipped  {count} part(s) too small to see, of {len(small)} object(s)")
            lines += [f"         {name}: {', '.join(parts)}" for name, parts in small.items()]
        colliding = {m.id: m.colliding for m in made if m.colliding}
        if colliding:
            count = sum(len(names) for names in colliding.values())
            lines.append(f"skipped  {count} state(s) without a configuration free of collisions")
            lines += [f"         {name}: {len(c)}" for name, c in colliding.items()]
        if self.skipped:
            lines.append(f"skipped  {len(self.skipped)} object(s)")
            lines += [f"         {name}: {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines)


def build(request: Build) -> Summary:
    """Make the shards that `request` asks for; what an earlier run finished is not made again.

    Raises:
        BuildError: nothing to do, another build is at work there, or the disk is full.
    """
    started = time.monotonic()
    summary = Summary()
    request.out.mkdir(parents=True, exist_ok=True)
    with _only_one(request.out):
        jobs = _jobs(request, summary)
        manifest = _take_stock(request.out, jobs, summary)
        todo = [job for name, job in jobs.items() if name not in summary.resumed]
        if todo:
            _make(request, todo, summary, manifest)
        work = request.out / ".work"
        if work.is_dir() and not any(work.iterdir()):
            work.rmdir()
    summary.seconds = time.monotonic() - started
    return summary


@contextmanager
def _only_one(out: Path) -> Iterator[None]:
    """Hold the folder's lock."""
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(
                f"another build is writing to {out}; wait for it, or choose another --out"
            ) from None
        yield


def _jobs(request: Build, summary: Summary) -> dict[str, Job]:
    """Object id to its job, for the objects asked for; what cannot be read is skipped."""
    listed = _read_state_list(request.state_list) if request.state_list else None
    jobs: dict[str, Job] = {}
    categories: Counter[str] = Counter()
    try:
        paths = find_objects(list(request.objects))
    except ObjectError as error:
        raise BuildError(str(error)) from error
    for path in paths:
        try:
            obj = read_as_asked(path, request.sampling)
        except ObjectError as error:
            summary.skipped[error.object_id] = str(error)
            continue
        categories[obj.category] += 1
        if request.categories and obj.category not in request.categories:
            continue
        if listed is not None and obj.id not in listed:
            continue
        if obj.id in jobs:
            summary.skipped[f"{obj.id} ({path})"] = f"same id as {jobs[obj.id].path}"
            continue
        states = tuple(listed[obj.id]) if listed is not None else None
        jobs[obj.id] = Job(
            path.resolve(),
            request.out.resolve(),
            request.sampling,
            request.render,
            states,
            request.renderer,
        )
    for name in listed or ():
        if name not in jobs and not request.categories:
            summary.skipped.setdefault(name, "in the state list, but not among the objects given")
    unknown = [c for c in request.categories if c not in categories]
    if unknown:
        have = ", ".join(f"{name} ({count})" for name, count in sorted(categories.items()))
        raise BuildError(f"no object of category {', '.join(unknown)}; there are: {have or 'none'}")
    if not jobs and not summary.skipped:
        raise BuildError("there is no object to render")
    return jobs


def _read_state_list(path: Path) -> dict[str, list[str]]:
    """Object id to its state names, from a file of one name a line."""
    try:
        names = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"state list {path}: {error}") from error
    listed: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        listed.setdefault(name.split("_")[0], []).append(name)
    if not listed:
        raise BuildError(f"state list {path}: no state names in it")
    return listed


def _take_stock(out: Path, jobs: dict[str, Job], summary: Summary) -> dict[str, dict[str, Any]]:
    """The manifest of the whole shards in `out`; the jobs already done are marked as resumed.

    Raises:
        BuildError: a shard is of another configuration.
    """
    for stale in out.glob(".*.partial"):
        stale.unlink()
    manifest = read_manifest(out)
    for path in sorted(out.glob(f"*{SUFFIX}")):
        job = jobs.get(path.stem)
        if job is not None:
            shard = Shard(path)
            if shard.config != job.config:
                raise BuildError(
                    f"{path} was made with other settings; choose another --out, or delete it"
                )
            summary.resumed.append(path.stem)
        if path.name not in manifest:  # the run that made it was killed just then
            manifest[path.name] = _entry_of(path)
    manifest = {name: entry for name, entry in manifest.items() if (out / name).exists()}
    write_manifest(out, manifest)
    return manifest


def _entry_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    shard = Shard(path)
    states, views = len(shard.states), len(shard.camera_to_world)
    shard.close()
    return {"sha256": sha256(data), "bytes": len(data), "states": states, "views": states * views}


def _make(
    request: Build, todo: list[Job], summary: Summary, manifest: dict[str, dict[str, Any]]
) -> None:
    workers, threads = worker_count(request.workers, len(todo))
    run: Callable[..., Any] = run_jobs
    if request.executor == "ray":
        from datagen import ray_pool

        run = partial(ray_pool.run_jobs, address=request.ray_address)
        threads = 2  # each worker is given one processor of the cluster
    make_worker = partial(ShardMaker, renderer_maker(request, threads))
    with StateBar(len(todo)) as bar:

        def on_event(job: Job, event: object) -> None:
            if isinstance(event, StateDone):
                summary.resumed_states += event.resumed
            bar.on_event(event)

        outcomes = run(todo, make_worker, workers=workers, limits=request.limits, on_event=on_event)
        with closing(outcomes):
            for outcome in outcomes:
                _settle(request.out, outcome, summary, manifest)
                bar.object_done()


def renderer_maker(request: Build, threads: int) -> Callable[[], Renderer]:
    """What starts the renderer, in a worker.

    Raises:
        BuildError: there is no such renderer here, or not on this device.
    """
    if request.renderer == "blender":
        return partial(Blender, request.blender, request.device, threads)
    try:
        from datagen.tracing import Tracer, TracerError
    except ModuleNotFoundError as error:
        raise BuildError(f"the tracer needs Warp: pip install warp-lang ({error})") from error
    if request.executor == "local":  # a cluster's machines may have what this one has not
        try:
            Tracer(request.device).close()
        except TracerError as error:
            raise BuildError(str(error)) from error
    return partial(Tracer, request.device)


def _settle(
    out: Path,
    outcome: Outcome[Job, Made],
    summary: Summary,
    manifest: dict[str, dict[str, Any]],
) -> None:
    """Enter an outcome in the manifest and the summary.

    Raises:
        BuildError: the disk is full.
    """
    error, name = outcome.error, outcome.job.path.stem
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(out).free
        raise BuildError(
            f"no space left on the disk of {out} ({free / 1e6:.0f} MB free): the shards there are "
            "whole; make room and start again to go on"
        )
    made = outcome.result
    if made is None:
        reason = (
            f"{type(error).__name__}: {error}" if not isinstance(error, ObjectError) else str(error)
        )
        summary.skipped[name] = reason
        tqdm.write(f"skipped {name}: {reason}")
    elif not made.sha256:
        summary.skipped[made.id] = "none of its parts can be rendered: " + ", ".join(
            [f"part {p} is too small to see" for p in made.small_parts]
            + [f"{len(made.colliding)} states collide"] * bool(made.colliding)
        )
    else:
        summary.made[made.id] = made
        manifest[f"{made.id}{SUFFIX}"] = {
            "sha256": made.sha256,
            "bytes": made.bytes,
            "states": made.states,
            "views": made.views,
        }
        write_manifest(out, manifest)


def worker_count(asked: int, jobs: int) -> tuple[int, int]:
    """Workers, and processor threads for each.

    At least two: with one thread, Cycles keeps a second one spinning.
    """
    processors = os.cpu_count() or 1
    fitting = max(1, psutil.virtual_memory().available // MEMORY_PER_WORKER)
    workers = max(1, min(asked or min(processors, fitting), jobs))
    return workers, max(2, processors // workers)


class StateBar:
    """A progress bar over states; objects not yet planned are guessed at the mean of the others."""

    def __init__(self, objects: int) -> None:
        self._objects, self._planned, self._states, self._done_objects = objects, 0, 0, 0
        self._bar = _PerMinute(total=objects * STATES_PER_PART, unit="state", smoothing=0.05)

    def __enter__(self) -> StateBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def on_event(self, event: object) -> None:
        """Take in what a worker reports."""
        if isinstance(event, Planned):
            self._planned += 1
            self._states += event.states
            self._bar.total = round(self._states / self._planned * self._objects)
        elif isinstance(event, StateDone):
            self._bar.update()

    def object_done(self) -> None:
        self._done_objects += 1
        self._bar.set_postfix_str(f"{self._done_objects}/{self._objects} objects")


class _PerMinute(tqdm):  # type: ignore[type-arg]
    """tqdm with its rate in states per minute."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} states "
            "[{elapsed}<{remaining}, {per_minute}{postfix}]",
            **options,
        )

    @property
    def format_dict(self) -> dict[str, Any]:
        values = super().format_dict
        rate = values["rate"] or (values["n"] / values["elapsed"] if values["elapsed"] else 0)
        return {**values, "per_minute": f"{60 * rate:.0f} states/min"}
