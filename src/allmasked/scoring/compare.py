"""Runs side by side on the same photos: one table in the notebooks' form, and whether a difference is one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from allmasked.core.errors import ConfigError, RunError
from allmasked.core.markdown import table
from allmasked.core.runs import Run, read_json
from allmasked.core.types import Photo
from allmasked.data.dataset import absent, read_split
from allmasked.scoring.evaluate import Ask, alike, ask_model, evaluate, part_answers, with_somebody
from allmasked.stats import metrics

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class RunFigures(metrics.Summary):
    """One run; what its folder doesn't say is None."""

    run: str
    parameters: int | None
    train_seconds: float | None
    accuracy_interval: metrics.Interval
    macro_f1_interval: metrics.Interval | None


NOT_HELD_OUT = {
    "train": "The runs were trained on these photos: what is better here need not be so on others.",
    "validation": "Epochs, temperatures and votes were chosen on these photos, so the figures may be too good.",
}


@dataclass(frozen=True)
class Difference:
    """A's figure less B's, with its 95 % interval; None where the bootstrap has nothing to say."""

    difference: float
    interval: metrics.Interval | None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.difference:+.4f}, no interval: no two resamples differ"
        low, high = self.interval
        return f"{self.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"


@dataclass(frozen=True)
class Pair(metrics.McNemar):
    """Two runs, the better one first.

    Attributes:
        p_holm: ``p`` corrected for the number of pairs by Holm's method.
        beats: whether that is below 0.05 and the interval of the difference in accuracy leaves out 0.
        sentence: what was shown.
    """

    a: str
    b: str
    accuracy: Difference
    macro_f1: Difference
    p_holm: float
    beats: bool
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found; printed, it is Markdown.

    Attributes:
        on: the part.
        photos: how many every run could answer.
        left_out: how many some run could not.
        absent: classes that no photo has, so that averages leave them out.
        bootstrap, seed: of the intervals.
        runs, pairs: one of each.
    """

    on: str
    photos: int
    left_out: int
    absent: tuple[str, ...]
    bootstrap: int
    seed: int
    runs: tuple[RunFigures, ...]
    pairs: tuple[Pair, ...]

    def __str__(self) -> str:
        return markdown(self)


def compare(
    folders: Sequence[str | Path],
    on: str = "test",
    *,
    data: str | Path | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
    ask: Ask = ask_model,
) -> Comparison:
    """Compare runs on one part of their splits, which must hold the same photos with the same labels.

    Photos labelled "nobody" are left out; the answer "nobody" is wrong for every other photo.

    Each run is first scored by :func:`allmasked.scoring.evaluate.evaluate`. Every pair is then tested: McNemar's exact
    test for accuracy, by groups of near-duplicates (:func:`allmasked.stats.metrics.mcnemar`), corrected for the number
    of pairs by Holm's method, and bootstrap intervals (drawn by the same groups, the same resamples for both) of the
    differences in accuracy and macro-F1.

    Raises:
        ConfigError: fewer than two runs, or one twice.
        RunError: an unfinished run, or runs scored on different photos.
    """
    runs = [Run(folder).require_finished() for folder in folders]
    if len(runs) < 2:
        raise ConfigError("compare needs at least two runs")
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise ConfigError("the same run is named twice; compare different ones")
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.folder) for run in runs]
    where = Path(data) if data else None
    chosen = [_chosen(run, on, where) for run in runs]
    for run, photos in zip(runs[1:], chosen[1:]):
        _refuse_different(runs[0], chosen[0], run, photos, on)
    found = []
    for run in runs:
        evaluate(run.folder, [on], data=data, bootstrap=bootstrap, seed=seed, plots=False, ask=ask)
        found.append(part_answers(run, on, where, ask))
    aligned = alike(found[0].photos, found)
    groups, labels = aligned[0].groups, aligned[0].labels
    if not len(labels):
        raise RunError("there is no photo that all of these runs could answer")

    rows, drawn = list[RunFigures](), []
    for run, name, answers in zip(runs, names, aligned):
        resampled = metrics.resample(labels, answers.predicted, groups, bootstrap, seed)
        drawn.append(resampled)
        facts = read_json(run.ensemble if run.is_ensemble else run.config).get("facts", {})
        rows.append(
            RunFigures(
                **vars(metrics.summary(labels, answers.predicted)),
                run=name,
                parameters=facts.get("parameters"),
                train_seconds=facts.get("train_seconds"),
                accuracy_interval=metrics.accuracy_interval(resampled.accuracy, metrics.group_count(groups)),
                macro_f1_interval=metrics.interval(resampled.macro_f1),
            )
        )
    tested = []
    for a, b in itertools.combinations(range(len(runs)), 2):
        if rows[b].accuracy > rows[a].accuracy:
            a, b = b, a
        tested.append((a, b, metrics.mcnemar(labels, aligned[a].predicted, aligned[b].predicted, groups)))
    pairs = []
    for (a, b, test), p in zip(tested, metrics.holm([row[2].p for row in tested])):
        accuracy = _difference(rows[a].accuracy - rows[b].accuracy, drawn[a].accuracy - drawn[b].accuracy)
        macro_f1 = _difference(rows[a].macro_f1 - rows[b].macro_f1, drawn[a].macro_f1 - drawn[b].macro_f1)
        beats = p < SIGNIFICANT and (accuracy.interval is None or accuracy.interval[0] > 0)
        corrected = f"{p:.3g}" + (" after Holm's correction" if len(tested) > 1 else "")
        verdict = f"{names[a]} beats {names[b]}" if beats else f"{names[a]} and {names[b]}: no difference shown"
        sentence = f"{verdict} (accuracy {accuracy}; exact McNemar p by groups = {corrected}; macro-F1 {macro_f1})."
        pairs.append(Pair(**vars(test), a=names[a], b=names[b], accuracy=accuracy, macro_f1=macro_f1, p_holm=p,
                          beats=beats, sentence=sentence))  # fmt: skip
    return Comparison(
        on, len(labels), len(chosen[0]) - len(labels), absent(aligned[0].photos), bootstrap, seed, tuple(rows),
        tuple(pairs),
    )  # fmt: skip


def _chosen(run: Run, on: str, data: Path | None) -> dict[str, Photo]:
    photos = with_somebody(read_split(run.split, data).photos)
    return {photo.key: photo for photo in photos if photo.part == on}


def _refuse_different(first: Run, photos: dict[str, Photo], second: Run, others: dict[str, Photo], on: str) -> None:
    alone, also_alone = sorted(photos.keys() - others.keys()), sorted(others.keys() - photos.keys())
    if alone or also_alone:
        example = photos[alone[0]].path if alone else others[also_alone[0]].path
        raise RunError(
            f"{first.folder} and {second.folder} have different photos in the part {on!r}: {len(alone):,} only in the "
            f"first, {len(also_alone):,} only in the second (such as {example}); train both on the same split.json"
        )
    relabelled = [photo.path for name, photo in photos.items() if others[name].label != photo.label]
    if relabelled:
        raise RunError(
            f"{first.folder} and {second.folder} label {len(relabelled):,} photos of the part {on!r} differently "
            f"(first: {relabelled[0]}); train both on the same split.json"
        )


def _difference(value: float, drawn: metrics.Floats) -> Difference:
    return Difference(value, metrics.interval(drawn))


def markdown(comparison: Comparison) -> str:
    """A comparison as Markdown: the notebooks' table, then the paired tests and a sentence a pair."""
    short = {"precision": "P", "recall": "R", "f1": "F1"}
    kinds = [(average, figure) for figure in short for average in metrics.AVERAGES]
    head = ["run", "accuracy", *(f"{average} {short[figure]}" for average, figure in kinds)]
    lines = [f"# Comparison on {comparison.on}", ""]
    lines += [f"{comparison.photos:,} photos, the same for every run. P is precision, R recall.", ""]
    if told := NOT_HELD_OUT.get(comparison.on):
        lines += [told, ""]
    if comparison.left_out:
        lines += [f"{comparison.left_out:,} photos that not every run could answer are left out.", ""]
    if comparison.absent:
        names = " or ".join(repr(label) for label in comparison.absent)
        over = "so macro averages are over the classes that labels or a run's answers have"
        lines += [f"None of them is labelled {names}, {over}.", ""]
    lines += table(
        [*head, "million weights", "training, s"],
        [
            [row.run, row.accuracy, *(getattr(row.averages[average], figure) for average, figure in kinds)]
            + [_or_dash(row.parameters, 1e6, 2), _or_dash(row.train_seconds)]
            for row in comparison.runs
        ],
    )
    tests = ["only A right", "only B right", "McNemar p by groups", "p (Holm)", "accuracy, A - B", "macro-F1, A - B"]
    lines += table(
        ["A", "B", *tests],
        [
            [pair.a, pair.b, pair.only_a, pair.only_b, f"{pair.p:.3g}", f"{pair.p_holm:.3g}"]
            + [str(pair.accuracy), str(pair.macro_f1)]
            for pair in comparison.pairs
        ],
    )
    lines += ["Intervals are 95 %, each for itself; only the p values are corrected for the number of pairs.", ""]
    return "\n".join([*lines, *(f"- {pair.sentence}" for pair in comparison.pairs), ""])


def _or_dash(value: float | None, unit: float = 1, digits: int = 0) -> str:
    return "-" if value is None else f"{value / unit:,.{digits}f}"
