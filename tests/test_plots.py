"""Figures: drawn from odd input too, embeddable, the same every time."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from allmasked.core.types import CLASSES
from allmasked.stats import metrics, plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = np.arange(60) % 3
PROBABILITIES = np.random.default_rng(0).dirichlet([1, 1, 1], 60)
ONE_CLASS = metrics.score(np.zeros(5, int), np.eye(3)[np.zeros(5, int)], np.full(5, -1), bootstrap=100)
SCORE = metrics.score(LABELS, PROBABILITIES, LABELS, temperature=2.0, bootstrap=100)
HISTORY = [
    {"epoch": 1, "phase": "head", "loss": 1.0, "val_loss": 1.1, "accuracy": 0.4, "learning_rate": 0.0},
    {"epoch": 2, "phase": "fine-tuning", "loss": 0.5, "val_loss": None, "val_macro_f1": 0.7, "learning_rate": 1e-3},
]


ROWS = metrics.breakdown(LABELS, LABELS, LABELS, np.arange(60), [0, 8, 50], bootstrap=100)
SCALED = SCORE.calibration.scaled
assert SCALED is not None
BINS, ONE_BIN = SCORE.calibration.bins, ONE_CLASS.calibration.bins
FIGURES: dict[str, Callable[[], Figure]] = {
    "confusion": lambda: plots.confusion(SCORE.confusion, title="test"),
    "confusion with nobody": lambda: plots.confusion([[5, 1, 0, 2], [0, 7, 0, 0], [1, 0, 9, 0]]),
    "confusion of nothing": lambda: plots.confusion(np.zeros((3, 3), int)),
    "reliability": lambda: plots.reliability(BINS, SCALED.bins),
    "reliability without temperature": lambda: plots.reliability(ONE_BIN),
    "classes": lambda: plots.class_scores(SCORE.classes, SCORE.intervals.f1),
    "classes without intervals": lambda: plots.class_scores(ONE_CLASS.classes, ONE_CLASS.intervals.f1),
    "breakdown": lambda: plots.breakdown(ROWS, xlabel="px"),
    "curves": lambda: plots.training_curves(HISTORY),
    "curves of nothing": lambda: plots.training_curves([]),
    "balance": lambda: plots.class_balance({"train": {"all": 5, "none": 1, "some": 0}, "left_out": {"all": 0}}),
    "balance of nothing": lambda: plots.class_balance({}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_embed_and_save(name: str, tmp_path: Path) -> None:
    figure = FIGURES[name]()
    text = plots.svg(figure)
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg")
    assert root.get("viewBox")
    assert plots.INK not in text
    assert "DOCTYPE" not in text
    assert text == plots.svg(FIGURES[name]()), "the same figure twice is the same text"
    plots.save(figure, tmp_path / "plots" / "a.png", dots_per_inch=40)
    with Image.open(tmp_path / "plots" / "a.png") as image:
        assert image.format == "PNG"
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["a.png"]


def test_figures_hold_their_numbers() -> None:
    text = plots.svg(plots.confusion([[1234, 0, 0], [0, 7, 0], [0, 0, 9]]))
    assert "1,234" in text
    assert all(f">{name}<" in text for name in CLASSES)
    assert ">1,500<" in plots.svg(plots.class_balance({"train": {"all": 1500, "none": 400}}))


@pytest.mark.parametrize(
    ("low", "high", "name"), [(3, 4, "3"), (4, 6, "4-5"), (10, None, "10 and more"), (0, 8, "0-7")]
)
def test_bin_name(low: float, high: float | None, name: str) -> None:
    assert plots.bin_name(low, high) == name


def test_settings_of_the_caller_stay() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.svg(plots.training_curves(HISTORY))
    assert dict(matplotlib.rcParams) == before


def test_one_table_of_colours_for_photos_plots_and_pages() -> None:
    """Every answer has its own colour, and a page's are those of the plots in it."""
    from importlib import resources

    from allmasked.core.colours import ANSWERS, FACES, css

    assert len(set(ANSWERS.values())) == len(ANSWERS)
    assert (ANSWERS["all"], ANSWERS["none"]) == (FACES["masked"], FACES["bare"])
    style = (resources.files("allmasked.reports") / "templates" / "base.html").read_text(encoding="utf-8")
    for name, colour in ANSWERS.items():
        assert f"--{name}: {css(colour)};" in style
    for name in CLASSES:
        assert plots._colour(name) == css(ANSWERS[name])
