"""How answers are written, a row a photo: CSV, JSON, JSON lines, or a table for people."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from allmasked.core import progress
from allmasked.core.colours import ANSWERS, css
from allmasked.core.text import printable, shown
from allmasked.core.types import CLASSES, Prediction

COLUMNS = ("path", "label", "p_all", "p_none", "p_some", "p_nobody", "masked", "bare", "sure", "error")
FORMATS = ("table", "csv", "json", "jsonl")
SUFFIXES = ("csv", "json", "jsonl")
TABLE_ROWS = 500
LEAST_PATH = 16
"""A path on a terminal is shortened to so many characters at least."""

Row = dict[str, Any]
Item = TypeVar("Item")


def format_for(out: Path | None) -> str:
    """The format of ``--out``'s suffix, CSV without one; a table on a terminal."""
    if out is None:
        return "table" if sys.stdout.isatty() else "csv"
    suffix = out.suffix.lower().lstrip(".")
    if suffix not in (*SUFFIXES, "", "txt"):
        raise click.BadParameter(
            f"{out}: can't write {out.suffix}; end it in .csv, .json or .jsonl, or say --format", param_hint="'--out'"
        )
    return suffix if suffix in SUFFIXES else "csv"


@contextlib.contextmanager
def output(out: Path | None) -> Iterator[IO[str]]:
    """stdout or a file, UTF-8."""
    from allmasked.core.runs import replacing

    if out is None:
        with contextlib.suppress(AttributeError):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
        yield sys.stdout
        sys.stdout.flush()
        return
    with (
        replacing(out) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        yield stream


def with_bar(
    items: Iterator[Item], title: str, count: Callable[[], int | None], kind: str, out: Path | None
) -> Iterator[Item]:
    """A progress bar on stderr, unless the rows themselves run over the same terminal; ``count`` is asked for one."""
    if not progress.stderr.is_terminal or (out is None and kind not in ("table", "kaggle") and sys.stdout.isatty()):
        return items
    return progress.track(items, title, count())


def write(rows: Iterable[Row], kind: str, stream: IO[str], columns: tuple[str, ...]) -> None:
    """Write rows as they come; memory does not grow with them. Nothing is written where there is none for an error."""
    rows = map(_valid, rows)
    rows = itertools.chain(list(itertools.islice(rows, 1)), rows)
    if kind == "csv":
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            faces = row.get("faces")
            writer.writerow(row if faces is None else {**row, "faces": json.dumps(faces)})
    elif kind == "jsonl":
        stream.writelines(json.dumps({name: row[name] for name in columns}) + "\n" for row in rows)
    elif kind == "json":
        stream.write("[")
        try:
            for number, row in enumerate(rows):
                stream.write((",\n" if number else "\n") + json.dumps({name: row[name] for name in columns}))
        finally:
            stream.write("\n]\n")  # valid also when interrupted
    else:
        while chunk := list(itertools.islice(rows, TABLE_ROWS)):
            print_table(partial(_table, chunk, columns), stream)


def print_table(table: Callable[[int], Any], stream: IO[str]) -> None:
    """Print what ``table`` makes for a width in characters: the terminal's, or 200 elsewhere."""
    from rich.console import Console

    console = Console(file=stream, width=None if stream.isatty() else 200, highlight=False)
    console.print(table(console.width))


def _table(rows: list[Row], columns: tuple[str, ...], width: int) -> Any:
    """A line a photo: paths shortened to fit, no empty column, one number (the label's probability) for sureness."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    cells = [_cells(row) for row in rows]
    order = ("photo", "label", "p", *(name for name in columns if name not in ("label", "error")), "note")
    shown = [name for name in order if any(name in row for row in cells)]
    widest = {name: max(cell_len(name), *(cell_len(row.get(name, "")) for row in cells)) for name in shown}
    paths = [name for name in shown if name in ("photo", "picture")]
    room = width - sum(2 + (0 if name in paths else min(widest[name], 40)) for name in shown)
    for left, name in zip(range(len(paths), 0, -1), paths):
        widest[name] = min(widest[name], max(LEAST_PATH, room // left))
        room -= widest[name]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in shown:
        fixed = name in ("photo", "label", "p", "masked", "bare", "picture")
        number = name in ("p", "masked", "bare")
        table.add_column(name, no_wrap=fixed, overflow="fold", justify="right" if number else "left")
    for row, said in zip(rows, cells):
        colour = f"bold {css(ANSWERS[row['label']])}" if row["label"] else ""
        style = {"label": colour, "note": "red" if row["error"] else "yellow"}
        table.add_row(
            *(
                Text(shortened(text, widest[name]) if name in ("photo", "picture") else text, style.get(name, ""))
                for name in shown
                for text in [said.get(name, "")]
            )
        )
    return table


def _cells(row: Row) -> dict[str, str]:
    """What a table shows of a row, by column; nothing of what it leaves out."""
    chance = row.get(f"p_{row['label']}")
    told = {name: row.get(name) for name in ("label", "masked", "bare", "explained", "picture")}
    told |= {"photo": row["path"], "note": row["error"] or ("unsure" if row["sure"] is False else None)}
    told |= {"p": None if chance is None else f"{chance:.2f}"}
    told |= {"faces": json.dumps(row["faces"]) if row.get("faces") is not None else None}
    return {name: printable(str(value)) for name, value in told.items() if value is not None}


def shortened(text: str, cells: int) -> str:
    """A path in at most so many characters of a terminal, with ... in its middle: its end says most."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= cells:
        return text
    head = (cells - 3) // 3
    front, back = set_cell_size(text, head), set_cell_size(text[::-1], cells - 3 - head)
    return f"{front.rstrip()}...{back.rstrip()[::-1]}"  # a wide character cut in half leaves a space


class Tally:
    """Counts answers, and the seconds since it was made."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.unsure, self._tells_nobody, self._started = 0, False, time.perf_counter()

    def add(self, prediction: Prediction) -> None:
        """One more."""
        self.labels[prediction.label or "failed"] += 1
        self.unsure += prediction.sure is False
        self._tells_nobody |= prediction.p_nobody is not None

    def tell(self) -> None:
        """How many photos, and what they are, in a line on stderr."""
        seconds, total = time.perf_counter() - self._started, self.labels.total()
        names = [*CLASSES, *["nobody"] * self._tells_nobody, *["failed"] * bool(self.labels["failed"])]
        counts = ", ".join(f"{self.labels[name]:,} {name}" for name in names)
        rate = f"{total / seconds:.1f} photos/s" if seconds > 0 else ""
        doubt = f"; {self.unsure:,} of them unsure" if self.unsure else ""
        progress.tell(f"{photos(total)} in {seconds:.1f} s ({rate}): {counts}{doubt}")


def photos(number: int) -> str:
    """``1 photo``, ``2 photos``."""
    return f"{number:,} photo{'s' * (number != 1)}"


def _valid(row: Row) -> Row:
    return {name: shown(value) if isinstance(value, str) else value for name, value in row.items()}
