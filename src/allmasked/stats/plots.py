"""Figures: arrays in, matplotlib figures out, in one style that holds in print, for the colour-blind and in the dark.

Every function returns a :class:`matplotlib.figure.Figure`; :func:`save` writes it as PNG (or by suffix), :func:`svg`
gives it as text to embed in a page, where its ink takes on the page's text colour. Colours are Okabe and Ito's.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from allmasked.core.colours import ANSWERS, SERIES, css
from allmasked.core.errors import require
from allmasked.core.runs import replacing
from allmasked.core.types import CLASSES, NOBODY
from allmasked.stats.metrics import normalised

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from allmasked.stats.metrics import Bin, ClassFigures, Stratum

FIRST, SECOND, THIRD = map(css, SERIES)
INK = "#23272d"  # replaced by currentColor in svg()
FAINT = "#8a9099"  # reads on white and on black
STYLE: dict[str, Any] = {
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor",
         "legend.labelcolor"), INK,
    ),
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), FAINT),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "svg.fonttype"), "none"),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "axes.axisbelow": True, "axes.grid": True, "axes.grid.axis": "y", "grid.alpha": 0.3, "grid.linewidth": 0.6,
    "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "font.family": "sans-serif", "font.size": 9.5, "lines.linewidth": 1.8,
    "backend": "agg", "svg.hashsalt": "allmasked",
}  # fmt: skip


def save(figure: Figure, path: str | Path, *, dots_per_inch: int = 160) -> None:
    """Write a figure on white so that ``path`` is never half-written; the suffix says how (.png, .svg, .pdf)."""
    with replacing(path) as temporary, _style():
        figure.savefig(temporary, dpi=dots_per_inch, facecolor="white")


def svg(figure: Figure) -> str:
    """A figure as an ``<svg>`` element without a background, its ink ``currentColor``, its width that of its frame."""
    buffer = io.StringIO()
    with _style():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return text.replace(INK, "currentColor").replace("<svg", '<svg role="img" style="max-width:100%;height:auto"', 1)


def _style() -> Any:
    matplotlib = require("matplotlib", "train")
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE})


@contextmanager
def _drawn(width: float, height: float, columns: int = 1) -> Iterator[tuple[Figure, Any]]:
    """A figure in our style while it is drawn, and its axes."""
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(1, columns)


def _plain(axis: Axes) -> None:
    """No grid, ticks or frame."""
    axis.grid(False)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def _headed(figure: Figure, title: str) -> Figure:
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
    return figure


def _colour(name: str) -> str:
    return css(ANSWERS[name]) if name in CLASSES else FAINT


# --- scores --------------------------------------------------------------------------------------------------------


def confusion(matrix: ArrayLike, *, title: str = "", classes: Sequence[str] = CLASSES) -> Figure:
    """Confusion matrices side by side: counts, and each row divided by its sum.

    ``matrix`` (K, K) counts, rows true; (K, K + 1) where the last column is "nobody".
    """
    counts = np.asarray(matrix, dtype=np.int64)
    answers = (*classes, NOBODY)[: counts.shape[1]]
    shares = normalised(counts)
    with _drawn(7.2, 3.5, 2) as (figure, axes):
        cells = ("{:,}".format, "{:.2f}".format)
        for axis, values, cell, name in zip(axes, (counts, shares), cells, ("photos", "share of the true class")):
            axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
            axis.set(title=name, xlabel="predicted")
            axis.set_xticks(range(len(answers)), answers)
            axis.set_yticks(range(len(classes)), classes)
            _plain(axis)
            for (row, column), value in np.ndenumerate(values):
                colour = "white" if shares[row, column] > 0.5 else "#1d2025"
                axis.text(column, row, cell(value), ha="center", va="center", color=colour, fontsize=11)
        axes[0].set_ylabel("true")
        return _headed(figure, title)


def reliability(bins: Sequence[Bin], scaled: Sequence[Bin] | None = None, *, title: str = "") -> Figure:
    """Accuracy against confidence (:func:`allmasked.stats.metrics.reliability`), before and after temperature scaling.

    The area of a dot is its share of the photos; a calibrated model's dots lie on the diagonal.
    """
    with _drawn(4.6, 4.4) as (figure, axis):
        axis.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1)
        axis.text(0.04, 0.06, "calibrated", color=FAINT, ha="left", va="bottom", rotation=45, rotation_mode="anchor")
        styles = ((bins, SECOND, "o", "as it comes"), (scaled or [], FIRST, "s", "temperature-scaled"))
        for rows, colour, marker, name in styles:
            if not (filled := [row for row in rows if row.photos]):
                continue
            total = sum(row.photos for row in filled)
            x, y = [row.confidence for row in filled], [row.accuracy for row in filled]
            area = [12 + 260 * row.photos / total for row in filled]
            axis.plot(x, y, color=colour, linewidth=1, alpha=0.7)
            axis.scatter(x, y, s=area, color=colour, marker=marker, alpha=0.75, linewidths=0)
            axis.plot([], [], color=colour, marker=marker, linewidth=1, label=name)
        axis.grid(True, axis="both")
        axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
        axis.set_title(title, pad=24 if title else None)
        axis.set_aspect("equal")
        axis.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
    return figure


def class_scores(
    classes: Mapping[str, ClassFigures],
    f1_intervals: Mapping[str, Sequence[float] | None] | None = None,
    *,
    title: str = "",
) -> Figure:
    """Precision, recall and F1 (with its interval) of each class, as bars."""
    figures = (("precision", FIRST), ("recall", THIRD), ("f1", SECOND))
    with _drawn(5.6, 3.4) as (figure, axis):
        x = np.arange(len(classes))
        for offset, (name, colour) in zip((-0.27, 0, 0.27), figures):
            heights = [getattr(row, name) for row in classes.values()]
            axis.bar(x + offset, heights, width=0.25, color=colour, label="F1" if name == "f1" else name)
            for place, height in zip(x + offset, heights):
                axis.text(place, 0.02, f"{height:.2f}", ha="center", va="bottom", color="white", fontsize=8)
        for place, name in zip(x + 0.27, classes):
            if found := (f1_intervals or {}).get(name):
                axis.plot([place, place], found, color=INK, linewidth=1.2, solid_capstyle="butt")
        axis.set(ylim=(0, 1), title=title)
        axis.set_xticks(x, [f"{name}\n{row.photos:,} photos" for name, row in classes.items()])
        axis.tick_params(axis="x", length=0)
        axis.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0, columnspacing=1.2)
    return figure


def breakdown(rows: Sequence[Stratum], *, xlabel: str, title: str = "") -> Figure:
    """Accuracy and macro-F1 with their intervals, bin by bin (:func:`allmasked.stats.metrics.breakdown`)."""
    with _drawn(1.2 + 0.9 * max(len(rows), 4), 3.4) as (figure, axis):
        x = np.arange(len(rows))
        styles = ((-0.09, "accuracy", FIRST, "o", "accuracy"), (0.09, "macro_f1", SECOND, "s", "macro-F1"))
        for offset, name, colour, marker, label in styles:
            y = [getattr(row, name) for row in rows]
            axis.plot(x + offset, y, color=colour, marker=marker, linestyle="none", label=label)
            for place, row in zip(x + offset, rows):
                if found := getattr(row, f"{name}_interval"):
                    axis.plot([place, place], found, color=colour, linewidth=1.4)
        axis.set_xticks(x, [f"{bin_name(row.low, row.high)}\n{row.photos:,} photos" for row in rows])
        axis.set(ylim=(0, 1.02), xlim=(-0.6, len(rows) - 0.4), xlabel=xlabel, title=title)
        axis.tick_params(axis="x", length=0)
        axis.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
    return figure


def bin_name(low: float, high: float | None) -> str:
    """A bin of whole numbers [low, high) to read: ``3``, ``4-5``, ``10 and more``."""
    if high is None:
        return f"{low:g} and more"
    return f"{low:g}" if high - low == 1 else f"{low:g}-{high - 1:g}"


# --- training and data -----------------------------------------------------------------------------------------------


def training_curves(history: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """Loss, scores and learning rate by epoch, from the lines of ``metrics.jsonl``; a change of phase is a grey line.

    Keys used where present: ``phase``, ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``, ``val_macro_f1``,
    ``learning_rate``.
    """
    with _drawn(9.6, 3.1, 3) as (figure, axes):
        epochs = np.arange(1, len(history) + 1)

        def line(axis: Axes, key: str, colour: str, label: str, style: str = "-") -> None:
            values = [row.get(key) for row in history]
            if any(value is not None for value in values):
                numbers = [np.nan if value is None else float(value) for value in values]
                marker = "o" if len(history) <= 20 else None
                axis.plot(epochs, numbers, color=colour, label=label, linestyle=style, marker=marker, markersize=3.5)

        line(axes[0], "loss", FIRST, "train")
        line(axes[0], "val_loss", SECOND, "validation")
        line(axes[1], "accuracy", FIRST, "train, accuracy")
        line(axes[1], "val_accuracy", SECOND, "validation, accuracy")
        line(axes[1], "val_macro_f1", THIRD, "validation, macro-F1", "--")
        line(axes[2], "learning_rate", FIRST, "learning rate")
        phases = [row.get("phase") for row in history]
        for axis, name in zip(axes, ("loss", "scores", "learning rate")):
            axis.set(title=name, xlabel="epoch", xlim=(0.5, max(len(history), 1) + 0.5))
            axis.locator_params(axis="x", integer=True, min_n_ticks=1)
            for k in range(1, len(phases)):
                if phases[k] != phases[k - 1]:
                    axis.axvline(k + 0.5, color=FAINT, linewidth=1, linestyle=":")
        axes[0].set_ylim(bottom=0)
        if axes[1].lines:
            lowest = axes[1].get_ylim()[0]
            axes[1].set_ylim(lowest - 0.05 * (1 - lowest), 1.0)
        if any(row.get("learning_rate") for row in history):
            axes[2].set_yscale("log")
        for axis in axes[:2]:
            if axis.lines:
                axis.legend(fontsize=8)
        return _headed(figure, title)


def class_balance(counts: Mapping[str, Mapping[str, int]], *, title: str = "") -> Figure:
    """Photos a class in each part, as stacked bars of shares with the counts on them: part -> class -> photos."""
    parts = [part for part in counts if sum(counts[part].values())]
    classes = list(dict.fromkeys(name for part in parts for name in counts[part]))
    with _drawn(6.4, 0.8 + 0.42 * max(len(parts), 1)) as (figure, axis):
        left = np.zeros(len(parts))
        totals = np.array([sum(counts[part].values()) for part in parts], dtype=float)
        for name in classes:
            photos = np.array([counts[part].get(name, 0) for part in parts], dtype=float)
            shares = photos / totals
            axis.barh(range(len(parts)), shares, left=left, color=_colour(name), label=name, height=0.7)
            for row, (share, start, number) in enumerate(zip(shares, left, photos)):
                if share > 0.06:
                    place = start + share / 2
                    axis.text(place, row, f"{int(number):,}", ha="center", va="center", color="white", fontsize=9)
            left = left + shares
        axis.set(xlim=(0, 1), xticks=[], title=title)
        axis.set_yticks(range(len(parts)), [f"{part} ({int(total):,})" for part, total in zip(parts, totals)])
        axis.invert_yaxis()
        _plain(axis)
        if classes:
            axis.legend(ncols=len(classes), loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
    return figure


# --- ensembles -------------------------------------------------------------------------------------------------------


def pairwise(numbers: NDArray[np.float64], names: Sequence[str], *, low: float, high: float, title: str = "") -> Figure:
    """A figure of every two members as a matrix (M, M), ``low`` pale and ``high`` dark; NaN (undefined) is a dash."""
    count = len(names)
    with _drawn(1.9 + 0.56 * count, 1.1 + 0.5 * count) as (figure, axis):
        shown = numbers.copy()
        np.fill_diagonal(shown, np.nan)
        axis.imshow(shown, cmap="Blues", vmin=low, vmax=high, aspect="auto")
        for (row, column), value in np.ndenumerate(numbers):
            if row == column:
                continue
            dark = np.isfinite(value) and (value - low) / (high - low) > 0.55
            text = f"{value:.2f}" if np.isfinite(value) else "–"
            ink = "white" if dark else "#1d2025" if np.isfinite(value) else FAINT
            axis.text(column, row, text, ha="center", va="center", color=ink, fontsize=8.5)
        axis.set_title(title)
        axis.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(count), names)
        _plain(axis)
    return figure


def contributions(points: Sequence[float], names: Sequence[str], *, title: str = "") -> Figure:
    """What each member adds in points of accuracy (all members less all but that one), as bars from 0."""
    with _drawn(5.6, 0.9 + 0.36 * len(names)) as (figure, axis):
        colours = [FIRST if value >= 0 else SECOND for value in points]
        axis.barh(range(len(names)), points, color=colours, height=0.6)
        reach = max(0.1, *(abs(value) for value in points))
        for row, value in enumerate(points):
            axis.text(value + np.copysign(0.03 * reach, value), row, f"{value:+.2f}", va="center",
                      ha="left" if value >= 0 else "right", fontsize=8.5)  # fmt: skip
        axis.axvline(0, color=FAINT, linewidth=1)
        axis.set(xlim=(-1.35 * reach, 1.35 * reach), xlabel="points of accuracy", title=title)
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.grid(True, axis="x")
        axis.grid(False, axis="y")
        axis.tick_params(axis="y", length=0)
    return figure


def accuracy_by_cost(points: Sequence[tuple[str, float, float]], whole: tuple[str, float, float]) -> Figure:
    """Accuracy against ms a photo (logarithmic) of each member (name, ms, accuracy), and of the ``whole`` ensemble."""
    from matplotlib.ticker import LogFormatter

    with _drawn(6.4, 3.6) as (figure, axis):
        axis.scatter([ms for _, ms, _ in points], [a for _, _, a in points], color=FIRST, s=34, label="members")
        axis.scatter([whole[1]], [whole[2]], color=SECOND, s=80, marker="D", label=whole[0])
        for name, ms, accuracy in points:
            axis.annotate(name, (ms, accuracy), xytext=(5, 4), textcoords="offset points", fontsize=8)
        axis.set_xscale("log")
        for set_formatter in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            set_formatter(LogFormatter(minor_thresholds=(1, 0.4)))  # 300, not 3 x 10^2
        axis.margins(x=0.25, y=0.2)
        axis.grid(True, axis="both")
        axis.set(xlabel="ms a photo", ylabel="accuracy")
        axis.legend(loc="lower right")
    return figure
