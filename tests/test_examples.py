"""The example in every public docstring works, on painted photos and a small run."""

from __future__ import annotations

import doctest
import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import allmasked
from allmasked.model import Model
from allmasked.synth.drawn.draw import draw_dataset

FUNCTIONS = ("load", "inspect", "split", "train", "evaluate", "compare", "explain", "export", "ensemble")
"""In an order in which each finds what the ones before it made."""
pytestmark = pytest.mark.usefixtures("shallow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A street with two masked people, a data set of painted photos, and its split."""
    folder = tmp_path_factory.mktemp("examples")
    draw_dataset(folder / "data", photos=24, seed=0, workers=1)
    shutil.copy(folder / "data" / "all" / "0006.jpg", folder / "street.jpg")
    allmasked.split(folder / "data", folder / "split.json", validation=0.25, test=0.25)
    return folder


def documented() -> Iterator[tuple[str, Any]]:
    """Every public class, method and function."""
    for name in ("Answer", "Model"):
        kind = getattr(allmasked, name)
        yield name, kind
        for method, value in vars(kind).items():
            if inspect.isfunction(value) and (not method.startswith("_") or method == "__call__"):
                yield f"{name}.{method}", value
    for name in FUNCTIONS:
        yield name, getattr(allmasked, name)


WITHOUT = {"Model.answered"}
"""What the command line uses and others need not."""


def test_nothing_public_is_without_an_example() -> None:
    functions = {name for name in allmasked.__all__ if inspect.isfunction(getattr(allmasked, name))}
    assert functions == set(FUNCTIONS)
    for name, value in documented():
        assert name in WITHOUT or ">>>" in (value.__doc__ or ""), name
    assert {name for name, _ in documented()} >= {"Answer.plot", "Model.predict", "Model.__call__"}
    assert Model.__call__.__doc__


def run(name: str, value: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    examples = doctest.DocTestFinder(recurse=False).find(value, name, globs={"allmasked": allmasked})
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    told: list[str] = []
    for example in examples:
        runner.run(example, out=told.append)
    assert not runner.summarize(verbose=False).failed, "".join(told)


@pytest.mark.parametrize(("name", "value"), [row for row in documented() if row[0].startswith(("Answer", "Model"))])
def test_examples_of_answering(name: str, value: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(name, value, folder, monkeypatch)


def test_the_packages_own_example(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("allmasked", allmasked, folder, monkeypatch)


@pytest.mark.slow
def test_examples_of_the_jobs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FUNCTIONS:
        run(name, getattr(allmasked, name), folder, monkeypatch)
        if name == "train":
            split, settings = folder / "split.json", {"recipe": "demo", "epochs": 0, "size": "64x64"}
            allmasked.train(split, folder / "runs/second", seed=1, **settings)  # type: ignore[arg-type]


def test_the_readme_shows_what_there_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python example: the part that answers runs, and what it names of the rest is public."""
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    code = readme.split("```python\n")[1].split("```")[0]
    answering, training = code.split("split = allmasked.split")
    monkeypatch.chdir(folder)
    exec(answering, {})
    assert (folder / "out.jpg").is_file()
    named = re.findall(r"allmasked\.(\w+)\(", f"split = allmasked.split{training}")
    assert named == ["split", "train", "evaluate", "export"] and set(named) <= set(allmasked.__all__)
