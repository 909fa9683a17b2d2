"""``allmasked synth``: artificial data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from allmasked.cli import options as opt

workers_option = click.option("--workers", type=int, help="Processes; one for each usable CPU otherwise.")


@click.group("synth")
def synth_command() -> None:
    """Paint artificial data sets: class folders all/ none/ some/, boxes in faces.csv."""


@synth_command.command("drawn")
@click.argument("out", type=opt.PATH)
@click.option("--photos", default=600, help="How many photos, all classes together.")
@click.option("--seed", type=opt.SEED, default=0, help="The same seed gives the same photos.")
@click.option("--size", metavar="WxH", help="Width and height of every photo in px; varied around 640x480 otherwise.")
@workers_option
@click.option("--sheet", type=opt.FILE, help="Also write a PNG of the first photos.")
def drawn(out: Path, photos: int, seed: int, size: str | None, workers: int | None, sheet: Path | None) -> None:
    """Paint scenes with one to six people into the folder OUT. A second start continues a stopped one."""
    from allmasked.core.config import parse_size
    from allmasked.synth.drawn.draw import draw_dataset
    from allmasked.synth.drawn.draw import sheet as write_sheet

    summary = draw_dataset(out, photos, seed, size=parse_size(size) if size else None, workers=workers)
    if sheet:
        write_sheet(sorted(out.glob("*/*.jpg"), key=lambda path: path.name)[:24], sheet)
    for label, count in summary.photos.items():
        click.echo(f"{label}\t{count}")


@synth_command.command("competition")
@click.argument("data", type=opt.PATH)
@click.argument("out", type=opt.PATH)
@click.option("--test", type=opt.SHARE, default=0.2, help="Share of the photos that are given without a label.")
@click.option("--seed", type=opt.SEED, default=0, help="Seed of the draw.")
def competition(data: Path, out: Path, test: float, seed: int) -> None:
    """Copy the labelled photos of DATA into OUT in the form of the notebooks' competition.

    training/ with train_gt.json, test/ with sample_submission.csv; and true_results.csv, to score a submission.
    """
    from allmasked.synth.competition import write_competition

    training, held_out = write_competition(data, out, test=test, seed=seed)
    click.echo(f"training\t{training}\ntest\t{held_out}")


@synth_command.command("pasted")
@click.argument("photos", type=opt.PATH)
@click.argument("out", type=opt.PATH)
@click.option("--photos", "count", default=600, help="How many photos, all classes together.")
@click.option("--seed", type=opt.SEED, default=0, help="The same seed gives the same photos.")
@click.option("--part", type=opt.PARTS, default="train", help="Of a split.json.")
@click.option("--data", type=opt.PATH, help="The photos' folder, where split.json is elsewhere.")
@click.option("--strict/--no-strict", default=True,
              help="Leave out faces that are doubtful, too small, turned too far or behind a hand; otherwise they stay"
              " bare.")  # fmt: skip
@workers_option
def pasted(
    photos: Path, out: Path, count: int, seed: int, part: Any, data: Path | None, strict: bool, workers: int | None
) -> None:
    """Paint masks on the people of PHOTOS, who wear none, into the data set OUT.

    PHOTOS is a folder of photos of unmasked people, or a data set or split.json: then its photos of class none, and
    the parts of its photos of class some that show only bare faces. A second start continues a stopped one.
    """
    from allmasked.synth.pasted.paste import paste_dataset

    done = paste_dataset(photos, out, count, seed, part=part, data=data, strict=strict, workers=workers)
    for label, number in done.summary.photos.items():
        click.echo(f"{label}\t{number}")
    left_out = ", ".join(f"{number} {reason}" for reason, number in done.left_out.items())
    click.echo(f"{done.used} photos painted on" + (f"; left out: {left_out}" if left_out else ""), err=True)
