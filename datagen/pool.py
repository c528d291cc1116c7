"""Run jobs in supervised worker processes on this machine.

A worker is a long-lived process that may keep an expensive child (Blender) alive from job to job.
The parent watches every worker's signs of life and memory, replaces those that crash, hang or
leak, and never leaves a process behind. It needs POSIX process groups.
"""

import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, TypeVar

import psutil

Job = TypeVar("Job")
Result = TypeVar("Result")
Job_contra = TypeVar("Job_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

ATTEMPTS = 2  # a job that lost its worker this often is reported as failed
TICK_S = 1.0  # how often memory is looked at, and the longest wait between two looks at anything
CLOSE_S = 10.0  # how long a worker may take to close before it is killed

_SPAWN = multiprocessing.get_context("spawn")
_END: Any = object()


class Worker(Protocol[Job_contra, Result_co]):
    """What `make_worker` returns. Child processes that it starts must stay in its process group."""

    def __call__(self, job: Job_contra, report: Callable[[Any], None], /) -> Result_co:
        """Do one job. `report(event)` sends a small picklable event and is a sign of life."""

    def close(self) -> None:
        """Free what the worker holds. Not called on a worker that is killed."""


@dataclass(frozen=True)
class Limits:
    """What a worker may take. Memory is the resident memory of its whole process group."""

    hang_s: float = 600.0
    """Seconds without an event or a result (or, at first, without being ready): killed."""
    memory_bytes: int = 4_000_000_000
    """Killed when over this."""
    retire_bytes: int = 1_500_000_000
    """Closed and replaced when over this between two jobs, because Blender leaks."""


class WorkerLost(Exception):
    """A worker crashed, hung or outgrew its memory; the message says which.

    A worker may raise it itself when the child it depends on is gone: it is replaced, and its job
    tried once more.
    """


@dataclass(frozen=True)
class Progress(Generic[Job]):
    """An event that a worker reported while doing `job`."""

    job: Job
    event: Any


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """How one job ended: `result` if `error` is None.

    `error` is a `WorkerLost`, or what the worker raised, with the worker's traceback as a note
    (a RuntimeError in its place if it cannot be pickled).
    """

    job: Job
    result: Result | None = None
    error: Exception | None = None
    attempts: int = 1

    @property
    def ok(self) -> bool:
        return self.error is None


def run_jobs(
    jobs: Sequence[Job],
    make_worker: Callable[[], Worker[Job, Result]],
    *,
    workers: int,
    limits: Limits,
    on_event: Callable[[Job, Any], None] | None = None,
) -> Generator[Outcome[Job, Result], None, None]:
    """Do `jobs` in up to `workers` processes and yield each one's outcome as it ends.

    `make_worker` runs once in each process; it and the jobs must be picklable. `on_event(job,
    event)` is called here for everything that workers report. A job that loses its worker is tried
    once more in a fresh one; a job that raises is not. Closing the iterator kills all workers and
    their children.

    Raises what `make_worker` raised, or WorkerLost if a worker exits before it is ready.
    """
    with closing(supervise(jobs, make_worker, workers=workers, limits=limits)) as items:
        for item in items:
            if isinstance(item, Outcome):
                yield item
            elif on_event:
                on_event(item.job, item.event)


def supervise(
    jobs: Iterable[Job],
    make_worker: Callable[[], Worker[Job, Result]],
    *,
    workers: int,
    limits: Limits,
    attempts: int = ATTEMPTS,
) -> Generator[Progress[Job] | Outcome[Job, Result], None, None]:
    """`run_jobs` with the events in the stream, and with the number of attempts as an argument.

    A job is taken from `jobs` only when a worker is free for it, and after the outcome of that
    worker's last job has been yielded.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    upcoming = iter(jobs)
    crew: list[_Process[Job, Result]] = []
    try:
        while True:
            for job in islice(upcoming, workers - len(crew)):
                crew.append(_Process(make_worker, job))
            if not crew:
                return
            wait([source for process in crew for source in process.sources()], timeout=TICK_S)
            for process in list(crew):
                exitcode = process.exitcode  # asked before reading: its last words still count
                for item in process.read():
                    yield item
                    if isinstance(item, Outcome):
                        process.go_on(upcoming, limits)
                fault = process.fault(limits) if exitcode is None else _crash(exitcode)
                if fault is None:
                    continue
                process.kill()
                crew.remove(process)
                if process.closing:
                    continue
                if exitcode is not None and exitcode >= 0 and not process.ready:
                    raise WorkerLost(f"{fault} before it was ready")
                if process.attempt < attempts:
                    crew.append(_Process(make_worker, process.job, process.attempt + 1))
                else:
                    yield Outcome(process.job, error=WorkerLost(fault), attempts=process.attempt)
    finally:
        for process in crew:
            process.kill()


def group_memory(group: int) -> int:
    """Resident memory of all processes of a process group, in bytes."""
    total = 0
    for pid in psutil.pids():
        with suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(pid) == group:
                total += psutil.Process(pid).memory_info().rss
    return total


class _Process(Generic[Job, Result]):
    """The parent's side of a worker process: its job, and what is known of it."""

    def __init__(
        self, make_worker: Callable[[], Worker[Job, Result]], job: Job, attempt: int = 1
    ) -> None:
        self.job = job
        self.attempt = attempt
        self.ready = False
        self.closing = False
        self._lost: str | None = None
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, make_worker), daemon=True)
        self._process.start()
        theirs.close()
        self._heard_at = self._weighed_at = time.monotonic()

    @property
    def exitcode(self) -> int | None:
        return self._process.exitcode

    def sources(self) -> list[Any]:
        """What becomes ready for `wait` when the process speaks or ends."""
        return [self._process.sentinel] + ([] if self.closing else [self._pipe])

    def read(self) -> Iterator[Progress[Job] | Outcome[Job, Result]]:
        """What the worker has sent by now. Raises what `make_worker` raised."""
        while not self.closing and self._pipe.poll():
            try:
                kind, content = self._pipe.recv()
            except (EOFError, ConnectionError):
                return
            self._heard_at = time.monotonic()
            if kind == "unready":
                raise content
            elif kind == "ready":
                self.ready = True
                self._send_job()
            elif kind == "event":
                yield Progress(self.job, content)
            elif kind == "result":
                yield Outcome(self.job, result=content, attempts=self.attempt)
            elif kind == "error" and isinstance(content, WorkerLost):
                self._lost = str(content)
            elif kind == "error":
                yield Outcome(self.job, error=content, attempts=self.attempt)

    def go_on(self, upcoming: Iterator[Job], limits: Limits) -> None:
        """Start the next job, or close if there is none or this process is to be retired."""
        retire = self._memory() > limits.retire_bytes
        job = _END if retire else next(upcoming, _END)
        if job is _END:
            self.closing = True
            self._pipe.close()  # which the worker takes as the request to close
            self._heard_at = time.monotonic()
        else:
            self.job, self.attempt = job, 1
            self._send_job()

    def fault(self, limits: Limits) -> str | None:
        """Why this process must be killed now, or None."""
        now = time.monotonic()
        silent = now - self._heard_at
        if self.closing:
            return "did not close" if silent > CLOSE_S else None
        if self._lost is not None:
            return self._lost
        # After a long pause of the caller, unread messages are signs of life too.
        if silent > limits.hang_s and not self._pipe.poll():
            return f"no progress for {limits.hang_s:g} s"
        if now - self._weighed_at > TICK_S:
            self._weighed_at = now
            if self._memory() > limits.memory_bytes:
                return f"grew past {limits.memory_bytes / 1e9:.1f} GB"
        return None

    def kill(self) -> None:
        """End the process and all its children at once, if they still live."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        self._process.kill()  # it may not have got as far as having its own group
        self._process.join()
        self._pipe.close()

    @property
    def _pid(self) -> int:
        assert self._process.pid is not None  # it has been started
        return self._process.pid

    def _memory(self) -> int:
        return group_memory(self._pid)

    def _send_job(self) -> None:
        with suppress(ConnectionError):  # a process that has just died is found by its exit code
            self._pipe.send(self.job)
        self._heard_at = time.monotonic()


def _crash(exitcode: int) -> str:
    if exitcode < 0:
        return f"worker crashed (signal {-exitcode}, {signal.Signals(-exitcode).name})"
    return f"worker crashed (exit code {exitcode})"


def _serve(pipe: Connection, make_worker: Callable[[], Worker[Any, Any]]) -> None:
    """The worker process: make the worker, then do jobs until the parent closes the pipe."""
    os.setsid()
    os.dup2(2, 1)  # stdout is the caller's: what libraries print here goes to stderr
    _guard_group()
    try:
        worker = make_worker()
    except Exception as error:
        pipe.send(("unready", _portable(error)))
        return
    pipe.send(("ready", None))
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            break
        try:
            pipe.send(("result", worker(job, lambda event: pipe.send(("event", event)))))
        except Exception as error:
            pipe.send(("error", _portable(error)))
    worker.close()


def _guard_group() -> None:
    """Fork a guard that kills this process group once this process or its parent has ended.

    A thread could not do it: both may be killed at the same moment, as Ray does.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    lifeline, held_by_this_process = os.pipe()
    if os.fork() == 0:
        try:
            os.close(held_by_this_process)
            wait([parent.sentinel, lifeline])
        finally:
            os.killpg(os.getpgrp(), signal.SIGKILL)
    os.close(lifeline)


def _portable(error: Exception) -> Exception:
    """`error`, or a RuntimeError in its words if it cannot be pickled, with its traceback noted."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note("".join(traceback.format_exception(error)))
    return copy
