"""What commands do past one machine: addresses, engines, shards."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from allmasked.cli import options as opt
from allmasked.core import progress
from allmasked.core.text import printable

if TYPE_CHECKING:
    from allmasked.predictors.addresses import Item
    from allmasked.predictors.predictor import Look

Lines = Callable[[], Iterator[str]]
ENGINES = ("local", "ray")
TOLD = 10
"""So many failures are named on stderr."""

address_option = click.option(
    "--address", metavar="HOST:PORT|auto",
    help="With ray: a cluster that runs.  [default: RAY_ADDRESS, else one started here for this run]",
)  # fmt: skip
engine_options = opt.together(
    click.option("--engine", type=click.Choice(ENGINES),
                 help="Write rows to DEST as shards, by this process (local) or workers of Ray; go on where an earlier"
                 " run was stopped."),
    click.option("--workers", type=click.IntRange(1), help="With ray: workers.  [default: one for four processors]"),
    address_option,
    click.option("--shard", "shard_photos", default=2000, type=click.IntRange(1, 1_000_000),
                 help="With --engine: photos in one shard, which a killed worker has to do again."),
    click.option("--max-errors", metavar="N", type=click.IntRange(0),
                 help="With --engine: stop when more photos than this have failed in this run."),
    click.option("--retry-failed", is_flag=True, help="With --engine: answer again for photos whose row has an error."),
)  # fmt: skip


@contextlib.contextmanager
def _spreading(engine: str, workers: int | None, address: str | None) -> Iterator[progress.Spread]:
    """Who reads the photos of a data set."""
    if engine == "local":
        if workers or address:
            raise click.UsageError("--workers and --address go with --engine ray")
        yield progress.on_threads
        return
    from allmasked.scale.engines import cluster, on_ray

    with cluster(address) as ray:
        yield on_ray(ray, workers)


reading_engine = opt.gathered(
    "spread", _spreading,
    click.option("--engine", type=click.Choice(ENGINES), default="local",
                 help="Who reads the photos: this process, on all processors, or tasks of Ray."),
    click.option("--workers", type=click.IntRange(1), help="With ray: tasks at once.  [default: one a processor]"),
    address_option,
)  # fmt: skip
"""Who reads the photos of a data set, as ``spread``, in a ``with``."""


def here(data: str | Path) -> Path:
    """A data set's path on this machine; what lies at an address is copied first."""
    from allmasked.scale.copies import copied

    return copied(data)


def photos_far(paths: Iterable[str], lines: Lines) -> Iterator[Item] | None:
    """The photos of a command line that names an address or a list file; None where it names neither."""
    from allmasked.predictors.addresses import is_far

    paths = list(paths)
    if not any(map(is_far, paths)):
        return None
    from itertools import chain

    from allmasked.predictors.addresses import clean, listing

    items = listing(paths, lines, etags=False)
    first = next(items, None)
    if first is None:
        raise click.UsageError(f"no photo found in {', '.join(map(clean, paths[:3]))}")
    return chain([first], items)


def predict_at_scale(ctx: click.Context, lines: Lines, look: Look) -> int | None:
    """Run with an engine if one is asked for: the exit code. None where none is."""
    given = ctx.params
    engine, out = given["engine"], given["out"]
    if engine is None and "://" not in (out or ""):
        for option in ("workers", "address", "max_errors", "retry_failed"):
            if given[option] not in (None, False):
                raise click.UsageError(f"--{option.replace('_', '-')} goes with --engine")
        if ctx.get_parameter_source("shard_photos") is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("--shard goes with --engine")
        if given["kind"] == "parquet":
            raise click.UsageError("--format parquet goes with --engine")
        return None
    if out is None:
        raise click.UsageError("--engine needs --out DEST: a folder or an address for the shards")
    names = {"pictures": "--annotated", "heat": "--heat", "sort_to": "--sort", "unsure": "--unsure"}
    for name, option in names.items():
        if given[name]:
            raise click.UsageError(f"{option} doesn't go with --engine; the rows have it all")
    if engine in (None, "local") and (given["workers"] or given["address"]):
        raise click.UsageError("--workers and --address go with --engine ray")
    if given["kind"] not in (None, "parquet", "csv"):
        raise click.UsageError("--engine writes --format parquet or csv")
    from allmasked.scale.answering import Job
    from allmasked.scale.job import answer

    model = given["model"]
    job = Job(
        out, given["kind"] or "parquet", None if model is None else os.fspath(model), look=look,
        batch_size=given["batch_size"], threads=given["threads"], device=given["device"],
    )  # fmt: skip
    done = answer(
        given["paths"], job, engine=engine or "local", workers=given["workers"], address=given["address"],
        shard_photos=given["shard_photos"], max_errors=given["max_errors"], retry_failed=given["retry_failed"],
        lines=lines,
    )  # fmt: skip
    for path, error in done.failures[:TOLD]:
        progress.tell(f"{printable(path)}: {printable(error)}")
    if (more := done.labels.get("failed", 0) - TOLD) > 0:
        progress.tell(f"... and {more} more: manifest.json and the rows name them")
    progress.tell(done.summary())
    if done.stopped:
        progress.tell(f"error: {done.stopped}; start it again with more to go on")
    return 1 if done.stopped or any(done.labels.get(label) for label in ("failed", *given["fail_on"])) else 0
