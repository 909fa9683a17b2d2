"""``allmasked report``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report", context_settings={"show_default": True})
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The page to write.  [default: report.html in RUN]"
)
@click.option("--examples", type=click.IntRange(0, 200), default=12, help="Photos shown, with heat maps.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Where the photos lie, if they have moved."
)
def report_command(run: Path, out: Path | None, examples: int, data: Path | None) -> None:
    """Make one self-contained HTML page of RUN: data, settings, curves, scores, examples with heat maps.

    A run that is not evaluated yet gets a page too; nothing is scored here.
    """
    from allmasked.reports.report import make_report

    click.echo(make_report(run, out, examples=examples, data=data))
