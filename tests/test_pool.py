"""The local pool: retries, limits, and that no process is ever left behind."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from datagen.pool import Limits, Outcome, WorkerLost, run_jobs

LIMITS = Limits(hang_s=20.0)
MB = 1_000_000


class Actions:
    """A worker that keeps a child, as it would keep Blender, and does what the job says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.child = subprocess.Popen(["sleep", "1000"])
        self.ballast = b""

    def __call__(self, job: str, report: Callable[[Any], None]) -> str:
        action, _, name = job.partition(":")
        report((os.getpid(), self.child.pid))
        marker = self.folder / name
        while action == "after" and not marker.exists():
            time.sleep(0.1)
        first_time = not marker.exists()
        if name:
            marker.touch()
        if action == "crash" or (action == "crash-once" and first_time):
            os.kill(os.getpid(), signal.SIGSEGV)
        elif action == "hang":
            time.sleep(1000)
        elif action == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        elif action == "eat":
            self.ballast = os.urandom(150 * MB)
        elif action == "eat-and-hang":
            self.ballast = os.urandom(150 * MB)
            time.sleep(1000)
        return job.upper()

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        (self.folder / f"closed-{os.getpid()}").touch()


def no_blender() -> Actions:
    raise FileNotFoundError("blender is not installed")


def exits() -> Actions:
    sys.exit(3)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def all_gone(pids: set[int], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


Seen = dict[str, list[tuple[int, int]]]
Run = Callable[..., Generator[Outcome[str, str], None, None]]


@pytest.fixture
def seen() -> Seen:
    """Per job, the (worker, child) pids that reported from its attempts."""
    return {}


@pytest.fixture
def run(tmp_path: Path, seen: Seen) -> Iterator[Run]:
    """`run_jobs` on some actions. In the end none of the processes seen may be left."""

    def start(*jobs: str, workers: int = 1, limits: Limits = LIMITS) -> Any:
        return run_jobs(
            jobs,
            partial(Actions, tmp_path),
            workers=workers,
            limits=limits,
            on_event=lambda job, pids: seen.setdefault(job, []).append(pids),
        )

    yield start
    assert all_gone({pid for pairs in seen.values() for pair in pairs for pid in pair})


def test_every_job_is_done_by_few_processes_that_are_closed(
    run: Run, seen: Seen, tmp_path: Path
) -> None:
    outcomes = list(run("a", "b", "c", "d", workers=2))
    assert {o.result for o in outcomes} == {"A", "B", "C", "D"}
    assert all(o.ok and o.attempts == 1 for o in outcomes)
    workers = {worker for [(worker, _)] in seen.values()}
    assert len(workers) <= 2
    assert {p.name for p in tmp_path.glob("closed-*")} >= {f"closed-{pid}" for pid in workers}


def test_no_more_workers_than_jobs(run: Run, tmp_path: Path) -> None:
    assert len(list(run("a", workers=8))) == 1
    assert len(list(tmp_path.glob("closed-*"))) == 1


def test_a_crash_is_retried_once_in_a_fresh_worker(run: Run, seen: Seen) -> None:
    jobs = ["crash-once:x", "crash:y", "a"]
    outcomes = {o.job: o for o in run(*jobs, workers=2)}
    assert outcomes["crash-once:x"] == Outcome("crash-once:x", "CRASH-ONCE:X", None, attempts=2)
    lost = outcomes["crash:y"]
    assert isinstance(lost.error, WorkerLost) and not lost.ok and lost.attempts == 2
    assert str(lost.error) == "worker crashed (signal 11, SIGSEGV)"
    assert len(set(seen["crash:y"])) == 2
    assert outcomes["a"].ok


def test_a_hang_is_killed_with_its_children(run: Run, seen: Seen) -> None:
    [outcome] = run("hang", limits=Limits(hang_s=1.5))
    assert isinstance(outcome.error, WorkerLost) and str(outcome.error) == "no progress for 1.5 s"
    assert len(seen["hang"]) == 2


def test_memory_over_the_limit_is_killed(run: Run) -> None:
    [outcome] = run("eat-and-hang", limits=Limits(hang_s=20.0, memory_bytes=100 * MB))
    assert isinstance(outcome.error, WorkerLost) and str(outcome.error) == "grew past 0.1 GB"


def test_a_leaky_worker_is_replaced_between_jobs(run: Run, seen: Seen, tmp_path: Path) -> None:
    outcomes = list(run("a", "eat", "b", limits=Limits(hang_s=20.0, retire_bytes=100 * MB)))
    assert [(o.result, o.attempts) for o in outcomes] == [("A", 1), ("EAT", 1), ("B", 1)]
    assert seen["a"] == seen["eat"] != seen["b"]
    assert len(list(tmp_path.glob("closed-*"))) == 2


def test_an_exception_passes_through_unretried(run: Run, seen: Seen) -> None:
    full, fine = run("full", "a")
    assert isinstance(full.error, OSError) and full.error.errno == errno.ENOSPC
    assert full.attempts == 1 and "in __call__" in full.error.__notes__[0]
    assert fine.ok and seen["full"] == seen["a"]


@pytest.mark.parametrize(
    ("make_worker", "error", "message"),
    [
        (no_blender, FileNotFoundError, "blender is not installed"),
        (exits, WorkerLost, r"worker crashed \(exit code 3\) before it was ready"),
    ],
)
def test_a_worker_that_cannot_be_made_fails_the_run(
    make_worker: Callable[[], Actions], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        list(run_jobs(["a", "b"], make_worker, workers=1, limits=LIMITS))


def test_closing_early_kills_workers_and_children(run: Run, seen: Seen) -> None:
    outcomes = run("hang:x", "after:x", workers=2)
    assert next(outcomes).job == "after:x"
    assert len(seen) == 2
    outcomes.close()
    assert all_gone({pid for pairs in seen.values() for pair in pairs for pid in pair}, 1.0)


@pytest.mark.parametrize("end", ["killed", "killed with its workers", "exits"])
def test_a_parent_that_ends_leaves_nothing_behind(end: str, tmp_path: Path) -> None:
    script = f"""
        import sys
        from functools import partial
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from datagen.pool import Limits, run_jobs
        from test_pool import Actions

        if __name__ == "__main__":
            outcomes = run_jobs(
                ["hang:x", "after:x"], partial(Actions, Path({str(tmp_path)!r})), workers=2,
                limits=Limits(), on_event=lambda job, pids: print(*pids, flush=True),
            )
            next(outcomes)
            if {end != "exits"}:
                next(outcomes)
            sys.exit(1)
    """
    path = tmp_path / "parent.py"
    path.write_text(textwrap.dedent(script))
    root = Path(__file__).parents[1]
    parent = subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert parent.stdout is not None
    pairs = [tuple(map(int, parent.stdout.readline().split())) for _ in range(2)]
    pids = {pid for pair in pairs for pid in pair}
    assert len(pids) == 4
    if end != "exits":
        parent.kill()
    if end == "killed with its workers":
        for worker, _ in pairs:
            os.kill(worker, signal.SIGKILL)
    assert parent.wait(timeout=10) != 0
    parent.stdout.close()
    assert all_gone(pids)
