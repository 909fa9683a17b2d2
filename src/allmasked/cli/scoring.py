"""``allmasked evaluate``, ``compare``, ``label-issues`` and ``report``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from allmasked.cli import options as opt
from allmasked.cli.scaling import here
from allmasked.core.types import Prediction

if TYPE_CHECKING:
    from rich.console import RenderableType

bootstrap_option = click.option(
    "--bootstrap", type=click.IntRange(min=100), default=2000, help="Resamples for the intervals."
)
resampling_option = click.option("--seed", type=opt.SEED, default=0, help="Seed of the resamples.")


@click.command("evaluate")
@click.argument("run", type=opt.PATH)
@click.option("--on", type=opt.PARTS, multiple=True,
              help="Part to score; may be given more than once. Default: validation and test. 'train' scores photos"
              " that the run was trained on, which is refused otherwise.")  # fmt: skip
@click.option("--photos", metavar="DATA", help="Score this labelled data set, its address or split.json instead.")
@opt.data
@bootstrap_option
@resampling_option
def evaluate_command(
    run: Path, on: tuple[str, ...], photos: str | None, data: Path | None, bootstrap: int, seed: int
) -> None:
    """Score the run in the folder RUN.

    Accuracy, confusion matrix, precision, recall and F1 (micro, macro, weighted, per class) with 95 % intervals,
    calibration, and scores by face size and number of people where boxes are known. Prints tables, into a pipe as
    Markdown; writes scores.json, scores.md and plots/ into RUN. The test part is scored once: asked again, the stored
    result is shown.
    """
    from allmasked.scoring.evaluate import evaluate

    other = None if photos is None else here(photos)
    found = evaluate(run, on, photos=other, data=data, bootstrap=bootstrap, seed=seed)
    show(str(found))
    for note in found.notes:
        click.echo(note, err=True)
    click.echo(f"written: {run / 'scores.json'}, scores.md, plots/", err=True)
    _end(found.failed)


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=opt.PATH, metavar="RUN RUN...")
@click.option("--on", type=opt.PARTS, default="test")
@click.option("--out", type=opt.PATH, metavar="FILE", help="Write the comparison as FILE.md and FILE.json too.")
@opt.data
@bootstrap_option
@resampling_option
def compare_command(
    runs: tuple[Path, ...], on: str, out: Path | None, data: Path | None, bootstrap: int, seed: int
) -> None:
    """Compare runs on the same photos.

    One table, and for every pair McNemar's exact test, by groups of near-duplicates and corrected by Holm's method,
    and the bootstrapped difference. 'A beats B' is said only where both show it.
    """
    from allmasked.core.runs import write_json, write_text
    from allmasked.scoring.compare import compare

    found = compare(runs, on, data=data, bootstrap=bootstrap, seed=seed)
    show(str(found))
    if out:
        write_text(out.with_suffix(".md"), str(found))
        write_json(out.with_suffix(".json"), asdict(found))
        click.echo(f"written: {out.with_suffix('.md')}, {out.with_suffix('.json')}", err=True)
    if found.left_out:
        sys.exit(1)


@click.command("label-issues")
@click.argument("runs", nargs=-1, required=True, type=opt.PATH, metavar="RUN...")
@click.option("--on", type=opt.HELD_OUT, multiple=True, default=("validation", "test"),
              help="Held-out part to judge; may be given more than once.")  # fmt: skip
@click.option("--out", type=opt.PATH, metavar="FILE.html",
              help="The page. Default: label_issues.html in the first run.")  # fmt: skip
@click.option("--max-photos", type=click.IntRange(min=1), default=200, help="Photos of each kind on the page.")
@opt.data
def label_issues_command(
    runs: tuple[Path, ...], on: tuple[str, ...], out: Path | None, max_photos: int, data: Path | None
) -> None:
    """Find photos whose label is probably wrong, and the worst errors.

    Several RUNs that were trained on other folds of the same data are combined, so that every photo is judged by
    models that never saw it. Writes a page with thumbnails, and CSV and JSON beside it. The CSV goes to stdout too; a
    terminal gets the worst twenty as a table.
    """
    from allmasked.core.runs import Run
    from allmasked.reports.label_issues_page import make_page
    from allmasked.scoring.label_issues import find_label_issues, markdown, write_label_issues

    if out is not None and out.suffix.lower() in (".csv", ".json"):
        raise click.UsageError(f"--out {out}: is the page; CSV and JSON of that name are written beside it")
    found = find_label_issues(runs, on, data=data)
    page = make_page(found, out or Run(runs[0]).label_issues, limit=max_photos)
    table, plain = write_label_issues(found, page.with_suffix(".csv"))
    show(markdown(found, limit=20)) if sys.stdout.isatty() else click.echo(table.read_text(encoding="utf-8"), nl=False)
    wrong, further = (f"{len(found.of(kind)):,}" for kind in ("label", "error"))
    click.echo(f"{found.photos:,} held-out photos: {wrong} labels probably wrong, {further} further errors", err=True)
    click.echo(f"written: {page}, {table.name}, {plain.name}", err=True)
    _end(found.failed)


@click.command("report")
@click.argument("run", type=opt.PATH)
@click.option("--out", type=opt.FILE, help="The page to write.  [default: report.html in RUN]")
@click.option("--examples", type=click.IntRange(0, 200), default=12, help="Photos shown, with heat maps.")
@opt.data
def report_command(run: Path, out: Path | None, examples: int, data: Path | None) -> None:
    """Make one self-contained HTML page of RUN: data, settings, curves, scores, examples with heat maps.

    A run that is not evaluated yet gets a page too; nothing is scored here.
    """
    from allmasked.reports.report import make_report

    click.echo(make_report(run, out, examples=examples, data=data))


def show(markdown: str) -> None:
    """Markdown as it is; on a terminal its tables are drawn as those of ``split``, with no figure cut."""
    if not sys.stdout.isatty():
        click.echo(markdown)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    for block in markdown.split("\n\n"):
        lines = block.strip().splitlines()
        console.print(_drawn(lines) if lines and lines[0].startswith("| ") else Markdown(block))


def _drawn(lines: list[str]) -> RenderableType:
    from rich.table import Table

    head, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    table = Table()
    for name, *cells in zip(head, *rows):
        longest = max(len(word) for cell in (name, *cells) for word in (cell.split() or [""]))
        table.add_column(name, min_width=longest, justify="left" if name == head[0] else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _end(failed: Iterable[Prediction]) -> None:
    """A line for each photo without an answer, and exit code 1 if there was one."""
    failed = list(failed)
    for prediction in failed:
        click.echo(f"{prediction.path}: {prediction.error}", err=True)
    if failed:
        sys.exit(1)
