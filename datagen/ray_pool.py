"""Run jobs on a Ray cluster, with the same outcomes and limits as on one machine.

Each actor is a supervisor: it runs one worker process through `datagen.pool.supervise`, so that
crashes, hangs and memory are judged beside the worker by the same code as in the local pool, and a
worker whose actor is killed ends itself and its children. This module adds what a cluster brings:
spreading over nodes, and actors that are lost with their node.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic

from datagen.pool import (
    ATTEMPTS,
    CLOSE_S,
    Job,
    Limits,
    Outcome,
    Progress,
    Result,
    Worker,
    WorkerLost,
    supervise,
)

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster started here reports to nobody
try:
    import ray
    from ray.exceptions import ActorDiedError, RayError, RayTaskError
except ImportError as error:
    raise ImportError("running on a Ray cluster needs Ray: pip install partrm[ray]") from error


def run_jobs(
    jobs: Sequence[Job],
    make_worker: Callable[[], Worker[Job, Result]],
    *,
    workers: int,
    limits: Limits,
    on_event: Callable[[Job, Any], None] | None = None,
    address: str | None = None,
) -> Generator[Outcome[Job, Result], None, None]:
    """`datagen.pool.run_jobs` on a cluster: up to `workers` actors of one CPU each.

    `address` is the cluster's, as `ray.init` takes it (None: the one that RAY_ADDRESS names, or
    else a new one on this machine); a Ray that is already connected is used as it is. Jobs, events,
    results and `make_worker` must be importable on the nodes, so not defined in the main script.
    The second attempt of a job that lost its worker runs in a new actor, perhaps on another node.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    connect = not ray.is_initialized()
    if connect:
        ray.init(address=address)
    upcoming = iter(jobs)
    crew: dict[Any, _Attempt[Job]] = {}  # by the stream of what its actor yields
    idle: list[Any] = []
    closing: list[Any] = []

    def start(actor: Any, job: Job, number: int) -> None:
        crew[actor.run.remote(job)] = _Attempt(actor, job, number)

    def new_actor() -> Any:
        return _Supervisor.remote(make_worker, limits)  # type: ignore[attr-defined]

    try:
        while True:
            for job in islice(upcoming, workers - len(crew)):
                start(idle.pop() if idle else new_actor(), job, 1)
            closing += [actor.close.remote() for actor in idle]
            idle.clear()
            if not crew:
                break
            [stream], _ = ray.wait(list(crew))
            attempt = crew[stream]
            item = _next_item(stream, attempt.job)
            if isinstance(item, Progress):
                crew[stream] = crew.pop(stream)  # to the end of the line: each gets its turn
                if on_event:
                    on_event(attempt.job, item.event)
                continue
            lost = isinstance(item.error, WorkerLost)
            if lost:
                ray.kill(attempt.actor)
            if lost and attempt.number < ATTEMPTS:
                start(new_actor(), attempt.job, attempt.number + 1)
            else:
                yield replace(item, job=attempt.job, attempts=attempt.number)
            del crew[stream]
            if not lost:
                idle.append(attempt.actor)
        ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
    finally:
        for attempt in crew.values():
            ray.kill(attempt.actor)
        if connect:
            ray.shutdown()


@dataclass(frozen=True)
class _Attempt(Generic[Job]):
    actor: Any
    job: Job
    number: int


@ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")
class _Supervisor:
    """An actor that supervises one worker process, which lives on from job to job."""

    def __init__(self, make_worker: Callable[[], Worker[Any, Any]], limits: Limits) -> None:
        self._inbox: list[Any] = []
        # A single attempt: the driver makes the next one in another actor.
        self._items = supervise(self._jobs(), make_worker, workers=1, limits=limits, attempts=1)

    def _jobs(self) -> Iterator[Any]:
        while self._inbox:
            yield self._inbox.pop()

    @ray.method(num_returns="streaming")
    def run(self, job: Any) -> Iterator[Progress[Any] | Outcome[Any, Any]]:
        """Do one job and yield its events, then its outcome."""
        self._inbox.append(job)
        for item in self._items:
            yield item
            if isinstance(item, Outcome):
                return

    def close(self) -> None:
        """Close the worker, then end the actor to free its CPU."""
        deque(self._items, maxlen=0)  # with no job left, supervise closes the worker and ends
        ray.actor.exit_actor()


def _next_item(stream: Any, job: Job) -> Progress[Job] | Outcome[Job, Any]:
    """The next item of an actor's stream; an outcome that says so if the actor was lost."""
    try:
        return ray.get(next(stream))
    except RayTaskError as error:
        raise error.cause from None  # the run cannot go on: make_worker failed
    except RayError as error:
        if isinstance(error, ActorDiedError) and error.actor_init_failed:
            raise
        lost = WorkerLost("worker lost with its Ray actor")
        lost.add_note(str(error))
        return Outcome(job, error=lost)
