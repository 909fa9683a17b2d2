"""``allmasked demo``: the whole job on painted photos, each step the command that a user would type.

A step whose result is there already is skipped, so that a tour that was interrupted goes on where it was.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from allmasked.cli import options as opt
from allmasked.core.errors import AllmaskedError, expect
from allmasked.core.progress import stderr, tell
from allmasked.core.runs import Run

if TYPE_CHECKING:
    from allmasked.scoring.evaluate import PartScores

Command = Callable[[list[str]], int]
"""Runs one ``allmasked`` command and returns its exit code."""


@dataclass(frozen=True)
class Step:
    """One command of the tour: what it is for, its arguments, and whether its result is there already."""

    purpose: str
    arguments: list[str]
    done: bool = False


STEPS = 8


def steps(out: Path, photos: int, seed: int) -> Iterator[Step]:
    """The tour's steps, each made when its turn comes: later ones need what earlier ones left."""
    data, split, run = str(out / "photos"), out / "split.json", Run(out / "run")
    page, answers, heat, seeded = (
        out / "inspect.html",
        out / "predictions.csv",
        out / "explained",
        ["--seed", str(seed)],
    )
    yield Step(
        f"paint {photos} photos of people with and without masks",
        ["synth", "drawn", data, "--photos", str(photos), *seeded],
    )
    yield Step(
        "see what is in the data, and what is wrong with it",
        ["inspect", data, "--html", str(page), "--json", str(out / "inspect.json")], page.is_file(),
    )  # fmt: skip
    yield Step(
        "divide it so that no near-duplicate leaks from training into the test",
        ["split", data, "--out", str(split), *seeded], split.is_file(),
    )  # fmt: skip
    anew = [str(split), "--recipe", "demo", *seeded]
    yield Step(
        "fine-tune a small network pretrained on ImageNet",
        ["train", *(["--resume"] if run.config.is_file() else anew), "--out", str(run.folder)], run.finished,
    )  # fmt: skip
    yield Step("score it on photos that it has never seen", ["evaluate", str(run.folder)], run.report.is_file())
    asked = [*_test_photos(split, 12), "--model", str(run.folder), "--out"]
    yield Step("ask it about photos", ["predict", *asked, str(answers)], answers.is_file())
    yield Step(
        "see where in the photos the answers come from",
        ["explain", *asked, str(heat)], (heat / "grid.png").is_file(),
    )  # fmt: skip
    yield Step("put everything on one page", ["report", str(run.folder)], run.report.is_file())


def tour(out: Path, command: Command, *, photos: int = 600, seed: int = 0) -> PartScores:
    """Go through all steps below the folder ``out`` and return the test part's scores.

    Raises:
        MissingExtraError: one of the two extras that the steps need is not installed.
        AllmaskedError: a step failed; nothing that was done before is lost.
    """
    from allmasked.scoring.evaluate import Scores

    for module in ("skia", "keras"):
        expect(module, "train,synth")
    began = time.monotonic()
    for number, step in enumerate(steps(out, photos, seed), 1):
        shown = shlex.join(["allmasked", *step.arguments])
        stderr.print(f"\n[bold cyan]{number}/{STEPS}[/] [bold]{step.purpose}[/]", highlight=False)
        if step.done:
            stderr.print("  done already")
            continue
        tell(f"  $ {shown if len(shown) < 200 else shown[:120] + ' ... ' + shown[-70:]}")
        if code := command(step.arguments):
            raise AllmaskedError(f"the demo stopped at '{shown[:80]}' (exit code {code}); start it again to go on")
    stderr.print(f"\nall steps done in {time.monotonic() - began:.0f} s")
    return Scores.read(Run(out / "run")).parts["test"]


def _test_photos(split: Path, count: int) -> list[str]:
    """Paths of up to ``count`` test photos, the classes taking turns."""
    from allmasked.data.dataset import read_split

    found = read_split(split)
    by_class: dict[str, list[str]] = {}
    for photo in found.part("test"):
        by_class.setdefault(photo.label, []).append(str(found.root / photo.path))
    return [path for row in zip(*by_class.values()) for path in row][:count]


@click.command("demo")
@click.option("--out", default="demo", type=opt.FOLDER, help="Folder for all that is made.")
@click.option("--photos", default=600, type=click.IntRange(60), help="How many photos to paint.")
@opt.seed
def demo_command(out: Path, photos: int, seed: int) -> None:
    """Go through the whole job on painted photos: inspect, split, train, evaluate, predict, explain, report.

    Takes a few minutes on a laptop. Interrupted (Ctrl-C), it goes on when started again.
    """
    from allmasked.cli import cli

    def command(arguments: list[str]) -> int:
        code = cli.main(arguments, standalone_mode=False)
        return code if isinstance(code, int) else 0

    scores = tour(out, command, photos=photos, seed=seed)
    low, high = scores.accuracy_interval
    span = f"(95 % interval {low:.3f} to {high:.3f}) on {scores.photos} held-out photos"
    click.echo(f"test accuracy {scores.accuracy:.3f} {span}")
    click.echo(f"data:        {out / 'inspect.html'}")
    click.echo(f"predictions: {out / 'predictions.csv'}")
    click.echo(f"heat maps:   {out / 'explained' / 'grid.png'}")
    click.echo(f"report:      {(out / 'run' / 'report.html').resolve()}")
