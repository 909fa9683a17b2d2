"""Who does the work: this process, or workers of Ray on one machine or many."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from allmasked.core.errors import AllmaskedError, ConfigError, RunError, require
from allmasked.core.progress import Spread, track
from allmasked.predictors.addresses import Item, reason
from allmasked.predictors.devices import processors
from allmasked.scale.answering import Answerer, Committed, Job

ENGINES = ("local", "ray")
RETRIES = 5
"""How often a part is begun again on another worker before the run stops."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # 15 would leave the workers next to nothing where other programs are busy
    "RAY_enable_pipe_based_agent_to_parent_health_check": "0",  # by pipe, they outlive a driver that is killed
}
"""Of a Ray that is started here, where the environment says nothing else."""
OBJECT_STORE_MB = 100
"""Of a Ray that is started here; parts and what comes back are small."""
STARTS = 3
"""How often Ray is started on this machine: it waits 30 s for itself, too little where others are busy."""
TASK_ITEMS = 64
"""Photos that one task reads."""


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """The module ``ray``, connected to the cluster at ``address`` (or ``RAY_ADDRESS``), or to one started here for as
    long as this lasts; as it is where this process is connected. Raises :class:`ConfigError`, :class:`RunError`,
    :class:`MissingExtraError`."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    ray: Any = require("ray", "scale")
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    ours: dict[str, Any] = {} if address else {
        "num_cpus": processors(), "object_store_memory": OBJECT_STORE_MB * 1_000_000, "include_dashboard": False,
    }  # fmt: skip
    for left in reversed(range(STARTS)):
        try:
            ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **ours)
            break
        except Exception as error:
            with contextlib.suppress(Exception):
                ray.shutdown()
            if address:
                raise ConfigError(
                    f"--address {address}: Ray cannot be reached ({reason(error)}); see 'ray status'"
                ) from None
            if not left:
                raise RunError(
                    f"Ray could not be started in {STARTS} attempts ({reason(error)}); it gives itself half a minute: "
                    "try again when this machine is less busy, or take --engine local"
                ) from None
    try:
        yield ray
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()


def on_ray(ray: Any, workers: int | None) -> Spread:
    """What applies a function to items in order, as :func:`allmasked.core.progress.on_threads`, by tasks of Ray.

    A task whose worker dies is done again, :data:`RETRIES` times. At most ``workers`` tasks run at a time; one for each
    processor of the cluster when None.
    """
    at_once = workers or 2 * int(ray.cluster_resources().get("CPU", 1))
    task = ray.remote(_several).options(num_cpus=1, max_retries=RETRIES)

    def results(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        waiting: deque[Any] = deque()
        for start in range(0, len(items), TASK_ITEMS):
            if len(waiting) >= at_once:
                yield from result_of(ray.get, waiting.popleft())
            waiting.append(task.remote(function, items[start : start + TASK_ITEMS]))
        while waiting:
            yield from result_of(ray.get, waiting.popleft())

    return lambda function, items, description: track(results(function, items), description, len(items))


def _several(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    return [function(item) for item in items]


def run_local(job: Job, parts: Iterable[list[Item]]) -> Generator[Committed, None, None]:
    """One part after the other in this process."""
    answerer = Answerer(job)
    yield from map(answerer.answer, parts)


def run_ray(
    job: Job, parts: Iterable[list[Item]], *, workers: int | None, address: str | None
) -> Generator[Committed, None, None]:
    """Parts spread over workers, each an actor that holds the model; at most two parts a worker are under way.

    A worker that dies is started again by Ray, and does its part again. The listing stays in this process.

    Args:
        job: ``threads`` are the processors of a worker; all are divided among the workers when None.
        parts: taken as workers become free.
        workers: one for each four processors when None.
        address: of a Ray cluster; one is started on this machine for this run when None.
    """
    with cluster(address) as ray:
        from ray.util import ActorPool

        processors_all = int(ray.cluster_resources().get("CPU", 1))
        count = workers or max(1, processors_all // (job.threads or min(4, processors_all)))
        threads = job.threads or max(1, processors_all // count)
        if not address and not os.environ.get("RAY_ADDRESS") and count * threads > processors_all:
            raise ConfigError(
                f"--workers {count} with {threads} processors each: this machine has {processors_all}; give fewer"
            )
        job, content = replace(job, threads=threads, model_bytes=None), job.model_bytes
        model = [] if content is None else [ray.put(content)]  # kept here, for workers that are started again
        actor = ray.remote(_Worker).options(num_cpus=threads, max_restarts=-1, max_task_retries=RETRIES)
        pool = ActorPool(
            [actor.remote(job, model) for _ in range(count)] * 2
        )  # twice: the next part waits at the worker
        for part in parts:
            while not pool.has_free():
                yield result_of(pool.get_next_unordered)
            pool.submit(lambda worker, part: worker.answer.remote(part), part)
        while pool.has_next():
            yield result_of(pool.get_next_unordered)


class _Worker(Answerer):
    """An actor: the content of the model's file comes apart from the job, where it isn't on the worker's machine."""

    def __init__(self, job: Job, model: list[Any]) -> None:
        import ray

        super().__init__(replace(job, model_bytes=ray.get(model[0]) if model else None))


def result_of(get: Callable[..., Any], *arguments: Any) -> Any:
    """What Ray gives; a failure there as one of ours, in one line."""
    from ray import exceptions

    try:
        return get(*arguments)
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, AllmaskedError):
            raise error.cause from None
        raise RunError(f"a worker failed ({reason(error.cause)}); what is committed is kept: start it again") from None
    except exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, AllmaskedError):
            raise cause from None
        said = reason(error)
        raise RunError(
            f"workers cannot go on ({said}); what is committed is kept: start it again, with smaller parts (--shard) or"
            " fewer workers where memory is short"
        ) from None
