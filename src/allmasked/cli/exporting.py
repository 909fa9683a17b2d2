"""``allmasked export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from allmasked.cli import options as opt
from allmasked.core import progress
from allmasked.core.config import parse_size
from allmasked.exporting.formats import EXPORTS, PRECISIONS


@click.command("export")
@click.argument("run", metavar="RUN|ENSEMBLE", type=opt.PATH)
@click.option("--format", "kind", default="onnx", type=click.Choice(list(EXPORTS)),
              help="; ".join(f"{row.name}: {row.help}" for row in EXPORTS.values()) + ".")  # fmt: skip
@click.option("--out", required=True, metavar="FILE", type=opt.PATH, help="The file to write.")
@click.option("--precision", default="float32", type=click.Choice(list(PRECISIONS)),
              help="float16: weights stored so, half the size; int8: quantised, its loss is shown.")  # fmt: skip
@click.option("--size", metavar="WxH",
              help="Input of the exported file; default: what the run was trained for; not for ensembles.")  # fmt: skip
@click.option("--validate", metavar="DATA|split.json", type=opt.PATH,
              help="Photos for the check against Keras (and the ranges of int8); default: the run's own.")  # fmt: skip
@click.option("--name", help="What the model is called; default: the run's name.")
@click.option("--temperature", type=opt.ABOVE_0, help="Logits are divided by it (heads without maps).")
@click.option("--calibration", metavar="FILE", type=opt.PATH,
              help="Calibration of the faces (JSON) instead of the run's own, fitted on validation.")  # fmt: skip
@click.option("--seed", type=opt.SEED, default=0, help="Seed of the photos' choice.")
def export_command(
    run: Path, kind: str, out: Path, precision: str, size: str | None, validate: Path | None, seed: int,
    calibration: Path | None, **settings: Any,
) -> None:  # fmt: skip
    """Write a run's or an ensemble's model as one file for other engines, checked before it is left behind.

    An .onnx file answers without Keras: give it to 'allmasked predict --model FILE'. An ensemble becomes one network,
    vote and temperatures included; it has an input for each size that its members want, and asks all of them.
    """
    from allmasked.exporting.export import export
    from allmasked.predictors.calibrating import read_calibration

    report = export(
        run, out, format=kind, precision=precision, size=parse_size(size) if size else None, validate=validate,
        calibration=read_calibration(calibration) if calibration else None,
        settings={name: value for name, value in settings.items() if value is not None}, seed=seed,
    )  # fmt: skip
    found = report.round_trip
    sizes = [view.size for view in report.metadata.views] or [report.metadata.size]
    inputs = " and ".join(f"{width} x {height}" for width, height in sizes)
    python = "the Python ensemble" if report.metadata.members else "Keras"
    pictures = "drawn pictures" if report.drawn else "photos"
    for line in (
        f"{report.path}: {report.size_bytes / 1e6:.1f} MB, {kind}, {precision}, {inputs} px",
        f"against {python} on {found.photos} {pictures}: {found.labels:.1%} of the labels alike; "
        f"probabilities differ by {found.largest:.2g} at most, {found.mean:.2g} on average",
    ):
        progress.tell(line)
