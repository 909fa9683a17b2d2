"""A whole run: list, skip what is done, answer, commit, tell."""

from __future__ import annotations

import os
import pickle
import queue
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import allmasked
from allmasked.core import progress
from allmasked.core.errors import ConfigError, DataError, expect
from allmasked.core.types import LABELS
from allmasked.model import load
from allmasked.predictors.addresses import Folder, Item, clean, listing
from allmasked.scale import results
from allmasked.scale.answering import Committed, Job, identity
from allmasked.scale.engines import ENGINES, run_local, run_ray

MANIFEST_SECONDS = 10
LINE_SECONDS = 30
"""Between two lines of progress where stderr is no terminal."""


@dataclass(frozen=True)
class Outcome:
    """Of a run: photos that were listed, of these those done before; rows in all, by answer, ``failed`` among them."""

    listed: int
    skipped: int
    answered: int
    seconds: float
    labels: dict[str, int]
    stopped: str = ""
    failures: tuple[tuple[str, str], ...] = ()

    def summary(self) -> str:
        """One line."""
        rate = f" ({self.answered / self.seconds:.1f} photos/s)" if self.answered and self.seconds else ""
        photos = "1 photo" if self.answered == 1 else f"{self.answered} photos"
        names = [name for name in (*LABELS, "failed") if self.labels.get(name)]
        counts = ", ".join(f"{self.labels[name]} {name}" for name in names) or "none"
        return (
            f"{photos} answered in {self.seconds:.1f} s{rate}, {self.skipped} were done before; rows in all: {counts}"
        )


def answer(
    sources: Sequence[str],
    job: Job,
    *,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    shard_photos: int = 2000,
    max_errors: int | None = None,
    retry_failed: bool = False,
    lines: Callable[[], Iterator[str]] | None = None,
    heard: Callable[[Committed], None] = lambda _: None,
) -> Outcome:
    """Answer for all photos of ``sources`` that ``job.dest`` has no row of yet.

    Args:
        sources: see :func:`allmasked.predictors.addresses.listing`; ``lines`` are those of ``-``.
        job: what to do; its run and model's digest are filled in here.
        engine: one of :data:`ENGINES`; ``workers`` and ``address`` are for Ray.
        shard_photos: photos in one shard; what a killed worker has to do again.
        max_errors: stop when more photos than this have failed in this run.
        retry_failed: answer again for photos whose row has an error.
        heard: called with each shard that is committed.

    Raises:
        AllmaskedError: wrong use, or nothing can go on; what is committed is kept.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine!r}: must be one of {', '.join(ENGINES)}")
    if job.kind == "parquet":
        expect("pyarrow", "scale")
    if engine == "ray":
        expect("ray", "scale")
    began = time.perf_counter()
    sha256, content = identity(job.model)
    if job.model and not Path(job.model).exists():
        load(job.model)  # says what is wrong
    folder = Folder(job.dest)
    asked = {
        "sources": [clean(source) for source in sources], "model": clean(job.model or "the one that ships"),
        "model_sha256": sha256, "format": job.kind, "look": asdict(job.look), "shard_photos": shard_photos,
        "version": allmasked.__version__,
    }  # fmt: skip
    asked = results.check(folder, asked)
    items = listing(sources, lines)
    first = next(items, None)
    if first is None:
        raise DataError(f"no photo found in {', '.join(map(clean, sources[:3]))}{', ...' if len(sources) > 3 else ''}")
    done = results.load(folder, job.kind, retry_failed=retry_failed)
    job = replace(job, run=done.run, model_sha256=sha256, model_bytes=content)
    seen = results.Seen()
    results.write_manifest(folder, asked, done, seen, "running")

    def every() -> Iterator[Item]:
        yield first
        yield from items

    parts = spooled(results.parts(results.pending(every(), done, seen), shard_photos))
    work = run_local(job, parts) if engine == "local" else run_ray(job, parts, workers=workers, address=address)
    failed_before, answered, stopped = done.labels["failed"], 0, ""
    written = told = time.monotonic()
    state = "stopped: start it again to go on"
    try:
        with closing(work), progress.bar() as bar:
            task = bar.add_task("predict", total=None, note="")
            for committed in work:
                done.add(committed.name, committed.labels, committed.failures)
                answered += committed.labels.total()
                heard(committed)
                failed = done.labels["failed"] - failed_before
                total = seen.listed if seen.whole else None
                note = f"{failed} failed" if failed else ""
                bar.update(task, completed=answered + seen.skipped, total=total, note=note)
                now = time.monotonic()
                if now - written >= MANIFEST_SECONDS:
                    written = now
                    results.write_manifest(folder, asked, done, seen, "running")
                if bar.disable and now - told >= LINE_SECONDS:
                    told = now
                    rate = answered / (time.perf_counter() - began)
                    left = "" if total is None else f", {_time((total - seen.skipped - answered) / rate)} left"
                    progress.tell(f"{answered} photos answered, {failed} failed, {rate:.1f} photos/s{left}")
                if max_errors is not None and failed > max_errors:
                    stopped = f"{failed} photos failed, more than --max-errors {max_errors}"
                    state = f"stopped: {stopped}"
                    break
        if not stopped:
            # Rows that were replaced, or a shard that a worker of a killed run has written meanwhile
            if seen.replaced or set(results.shard_names(folder)) != done.names:
                run, done = done.run, results.load(folder, job.kind)
                done.run = run
            state = "finished"
    finally:
        results.write_manifest(folder, asked, done, seen, state)
    return Outcome(
        seen.listed,
        seen.skipped,
        answered,
        time.perf_counter() - began,
        dict(done.labels),
        stopped,
        tuple(done.failures),
    )


def _time(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def spooled(parts: Iterable[list[Item]]) -> Iterator[list[Item]]:
    """The same parts, made in a thread of its own and kept in a temporary file until they are asked for.

    So the listing is done once, never waits for answers, and at its end it is known how many are to come.
    """
    lengths: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
    file, lock = tempfile.TemporaryFile(), threading.Lock()  # noqa: SIM115

    def write() -> None:
        try:
            for part in parts:
                packed = zlib.compress(pickle.dumps(part), 1)
                with lock:
                    if file.closed:
                        return
                    file.seek(0, os.SEEK_END)
                    file.write(packed)
                lengths.put(len(packed))
            lengths.put(0)
        except BaseException as error:  # told where the parts are asked for
            lengths.put(error)

    threading.Thread(target=write, daemon=True, name="listing").start()
    place = 0
    try:
        while length := lengths.get():
            if isinstance(length, BaseException):
                raise length
            with lock:
                file.seek(place)
                packed = file.read(length)
            place += length
            yield pickle.loads(zlib.decompress(packed))
    finally:
        with lock:
            file.close()
