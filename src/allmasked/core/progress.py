"""Progress bars (rich), always on stderr so that stdout holds nothing but data."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from allmasked.core.text import printable

Item = TypeVar("Item")
Spread = Callable[[Callable[[Any], Any], Sequence[Any], str], Iterator[Any]]
"""What applies a function to items, in order, with a bar of that description: :func:`on_threads`, or tasks of Ray."""

stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def tell(line: str) -> None:
    """A line on stderr, as it is, but for signs that would steer the terminal."""
    stderr.print("\n".join(map(printable, line.split("\n"))), markup=False)


def bar(*, transient: bool = True) -> Progress:
    """A progress display with count, elapsed time and time left; silent where stderr is no terminal."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=stderr,
        transient=transient,
        disable=not stderr.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # otherwise what is printed meanwhile would go to stderr, not to the file
    )


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Iterate with a progress bar. ``total`` defaults to ``len(items)`` where that is known."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar() as progress:
        task = progress.add_task(description, total=total, note="")
        for item in items:
            yield item
            progress.advance(task)


def on_threads(function: Callable[[Any], Any], items: Sequence[Any], description: str) -> Iterator[Any]:
    """The function of each item, in order, on all processors, with a progress bar."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = (items[start : start + 10_000] for start in range(0, len(items), 10_000))  # a future takes a KB
        yield from track((one for part in parts for one in pool.map(function, part)), description, len(items))
