"""The Ray pool on a cluster of two nodes: the local pool's outcomes, from both nodes."""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

ray = pytest.importorskip("ray", reason="Ray is an optional dependency: pip install partrm[ray]")

from datagen import pool, ray_pool  # noqa: E402
from datagen.pool import Limits, WorkerLost  # noqa: E402

LIMITS = Limits(hang_s=30.0)


class Actions:
    """A worker with a child process that says where it runs and does what the job says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.child = subprocess.Popen(["sleep", "1000"])

    def __call__(self, job: str, report: Callable[[Any], None]) -> str:
        report((os.getpid(), self.child.pid, os.environ.get("TEST_NODE")))
        action, _, name = job.partition(":")
        while action == "after" and not (self.folder / name).exists():
            time.sleep(0.1)
        if action == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif action == "lose-actor-once" and not (self.folder / name).exists():
            (self.folder / name).touch()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(1000)
        elif action == "hang":
            (self.folder / name).touch()
            time.sleep(1000)
        elif action == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        time.sleep(0.3)
        return job.upper()

    def close(self) -> None:
        (self.folder / f"closed-{os.getpid()}").touch()
        self.child.kill()
        self.child.wait()


def no_blender() -> Actions:
    raise FileNotFoundError("blender is not installed")


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


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        root = Path(__file__).parents[1]
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (root, root / "tests"))))
        nodes = Cluster()
        try:
            for name in ("first", "second"):
                nodes.add_node(
                    num_cpus=1,
                    object_store_memory=100_000_000,
                    include_dashboard=False,
                    env_vars={"TEST_NODE": name},
                )
            ray.init(address=nodes.address)  # so that the tests share one connection
            yield nodes.address
        finally:
            ray.shutdown()
            nodes.shutdown()


def test_two_nodes_give_the_outcomes_of_the_local_pool(cluster: str, tmp_path: Path) -> None:
    jobs = ["a", "b", "full", "crash", "c", "lose-actor-once:x", "d"]
    seen: dict[str, list[tuple[int, int, str]]] = {}
    make_worker = partial(Actions, tmp_path)
    outcomes = {
        o.job: o
        for o in ray_pool.run_jobs(
            jobs,
            make_worker,
            workers=2,
            limits=LIMITS,
            on_event=lambda job, event: seen.setdefault(job, []).append(event),
            address=cluster,
        )
    }
    assert set(outcomes) == set(jobs)
    reports = [report for reports in seen.values() for report in reports]
    assert {node for _, _, node in reports} == {"first", "second"}

    easy = ["a", "b", "c", "d"]
    local = pool.run_jobs(easy, make_worker, workers=2, limits=LIMITS)
    assert sorted(local, key=str) == sorted((outcomes[job] for job in easy), key=str)
    assert isinstance(outcomes["full"].error, OSError)
    assert outcomes["full"].error.errno == errno.ENOSPC and outcomes["full"].attempts == 1
    assert isinstance(outcomes["crash"].error, WorkerLost) and outcomes["crash"].attempts == 2
    assert str(outcomes["crash"].error) == "worker crashed (signal 11, SIGSEGV)"
    assert len({worker for worker, _, _ in seen["crash"]}) == 2
    assert outcomes["lose-actor-once:x"].ok and outcomes["lose-actor-once:x"].attempts == 2

    assert all_gone({pid for worker, child, _ in reports for pid in (worker, child)})
    assert (tmp_path / f"closed-{seen['d'][0][0]}").exists()


def test_closing_early_kills_workers_and_children(cluster: str, tmp_path: Path) -> None:
    pids: set[int] = set()
    outcomes = ray_pool.run_jobs(
        ["hang:y", "after:y"],
        partial(Actions, tmp_path),
        workers=2,
        limits=LIMITS,
        on_event=lambda job, event: pids.update(event[:2]),
    )
    assert next(outcomes).job == "after:y"
    outcomes.close()
    assert len(pids) == 4 and all_gone(pids)


def test_a_worker_that_cannot_be_made_fails_the_run(cluster: str) -> None:
    with pytest.raises(FileNotFoundError, match="blender is not installed"):
        list(ray_pool.run_jobs(["a", "b"], no_blender, workers=1, limits=LIMITS))
