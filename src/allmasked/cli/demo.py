"""The first-run tour: the whole job on painted photos, each step the command that a user would type.

A step whose result is there already is skipped, so that a tour that was interrupted goes on where it was.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from allmasked.core.errors import AllmaskedError, expect
from allmasked.core.progress import stderr
from allmasked.core.runs import Run
from allmasked.data.dataset import read_split
from allmasked.scoring.evaluate import PartScores, Scores

Command = Callable[[list[str]], int]
"""Runs one ``allmasked`` command and returns its exit code."""


@dataclass(frozen=True)
class Step:
    """One command of the tour: what it is for, its arguments, and whether its result is there already."""

    purpose: str
    arguments: list[str]
    done: bool


def steps(out: Path, photos: int, seed: int) -> list[Callable[[], Step]]:
    """The tour's steps, each made when its turn comes (later ones need what earlier ones left)."""
    data, split, run = out / "photos", out / "split.json", Run(out / "run")

    def paint() -> Step:
        arguments = ["synth", "drawn", str(data), "--photos", str(photos), "--seed", str(seed)]
        return Step(f"paint {photos} photos of people with and without masks", arguments, False)

    def inspect() -> Step:
        page = out / "inspect.html"
        arguments = ["inspect", str(data), "--html", str(page), "--json", str(out / "inspect.json")]
        return Step("see what is in the data, and what is wrong with it", arguments, page.is_file())

    def divide() -> Step:
        arguments = ["split", str(data), "--out", str(split), "--seed", str(seed)]
        return Step("divide it so that no near-duplicate leaks from training into the test", arguments, split.is_file())

    def train() -> Step:
        arguments = ["train", str(split), "--recipe", "demo", "--seed", str(seed), "--out", str(run.folder)]
        if run.config.is_file():
            arguments = ["train", "--resume", "--out", str(run.folder)]
        return Step("fine-tune a small network pretrained on ImageNet", arguments, run.finished)

    def evaluate() -> Step:
        return Step("score it on photos that it has never seen", ["evaluate", str(run.folder)], run.report.is_file())

    def predict() -> Step:
        answers = out / "predictions.csv"
        arguments = ["predict", *_test_photos(split, 12), "--model", str(run.folder), "--out", str(answers)]
        return Step("ask it about photos", arguments, answers.is_file())

    def explain() -> Step:
        folder = out / "explained"
        arguments = ["explain", *_test_photos(split, 12), "--model", str(run.folder), "--out", str(folder)]
        return Step("see where in the photos the answers come from", arguments, (folder / "grid.png").is_file())

    def report() -> Step:
        return Step("put everything on one page", ["report", str(run.folder)], run.report.is_file())

    return [paint, inspect, divide, train, evaluate, predict, explain, report]


def tour(out: Path, command: Command, *, photos: int = 600, seed: int = 0) -> PartScores:
    """Go through all steps below the folder ``out`` and return the test part's scores.

    Raises:
        MissingExtraError: one of the two extras that the steps need is not installed.
        AllmaskedError: a step failed; nothing that was done before is lost.
    """
    for module in ("skia", "keras"):
        expect(module, "train,synth")
    began = time.monotonic()
    todo = steps(out, photos, seed)
    for number, make in enumerate(todo, 1):
        step = make()
        shown = shlex.join(["allmasked", *step.arguments])
        stderr.print(f"\n[bold cyan]{number}/{len(todo)}[/] [bold]{step.purpose}[/]", highlight=False)
        if step.done:
            stderr.print("  done already")
            continue
        stderr.print(f"  $ {shown if len(shown) < 200 else shown[:120] + ' ... ' + shown[-70:]}", markup=False)
        if code := command(step.arguments):
            raise AllmaskedError(f"the demo stopped at '{shown[:80]}' (exit code {code}); start it again to go on")
    run = Run(out / "run")
    scores = Scores.read(run).parts["test"]
    stderr.print(f"\nall steps done in {time.monotonic() - began:.0f} s")
    return scores


def _test_photos(split: Path, count: int) -> list[str]:
    """Paths of up to ``count`` test photos, the classes taking turns."""
    found = read_split(split)
    by_class: dict[str, list[str]] = {}
    for photo in found.part("test"):
        by_class.setdefault(photo.label, []).append(str(found.root / photo.path))
    turns = [path for row in zip(*by_class.values()) for path in row]
    return turns[:count]
