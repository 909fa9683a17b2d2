"""A whole run: list, skip what is done, answer, commit, tell."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import allmasked
from allmasked.core import progress
from allmasked.core.errors import ConfigError, DataError, expect
from allmasked.core.types import LABELS
from allmasked.model import load
from allmasked.scale import results
from allmasked.scale.addresses import Folder, Item, clean, listing
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
        sources: see :func:`allmasked.scale.addresses.listing`; ``lines`` are those of ``-``.
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

    parts = results.parts(results.pending(every(), done, seen), shard_photos)
    work = run_local(job, parts) if engine == "local" else run_ray(job, parts, workers=workers, address=address)
    failed_before, answered, stopped = done.labels["failed"], 0, ""
    written = told = time.monotonic()
    state = "stopped: start it again to go on"
    try:
        with closing(work), progress.bar() as bar:
            task = bar.add_task("predict", total=None, note="")
            if not bar.disable and "-" not in sources:
                _count(sources, lambda total: bar.update(task, total=total))
            for committed in work:
                done.add(committed.name, committed.labels, committed.failures)
                answered += committed.labels.total()
                heard(committed)
                failed = done.labels["failed"] - failed_before
                bar.update(task, completed=answered + seen.skipped, note=f"{failed} failed" if failed else "")
                now = time.monotonic()
                if now - written >= MANIFEST_SECONDS:
                    written = now
                    results.write_manifest(folder, asked, done, seen, "running")
                if bar.disable and now - told >= LINE_SECONDS:
                    told = now
                    rate = answered / (time.perf_counter() - began)
                    progress.stderr.print(
                        f"{answered} photos answered, {failed} failed, {rate:.1f} photos/s", markup=False
                    )
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


def _count(sources: Sequence[str], tell: Callable[[int], object]) -> None:
    """Count the listing in a thread of its own, so that the bar can say how long it will take."""

    def count() -> None:
        try:
            tell(sum(1 for _ in listing(sources)))
        except Exception:  # the run itself says what is wrong
            return

    threading.Thread(target=count, daemon=True, name="count").start()
