"""Photos whose label is probably wrong, and the worst errors, from probabilities of models that never saw them.

Labels are judged by confident learning (Northcutt, Jiang and Chuang 2021) as cleanlab has it. One run judges its own
held-out parts; several runs trained on other folds judge together, so that every photo can be held out by some run.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from allmasked.core.errors import ConfigError, RunError, require
from allmasked.core.markdown import table
from allmasked.core.runs import Run, replacing, write_json
from allmasked.core.types import CLASSES, LABELS, Label, Photo, Prediction
from allmasked.data.dataset import read_split
from allmasked.scoring.evaluate import Ask, ask_model, evaluate, part_answers
from allmasked.stats import metrics
from allmasked.stats.votes import joint, parted

FIELDS = ("path", "kind", "label", "proposed", "quality", "p_all", "p_none", "p_some", "p_nobody", "runs", "reason")


@dataclass(frozen=True)
class LabelIssue:
    """One doubtful photo.

    ``kind`` is ``label`` where cleanlab takes the label for wrong, ``error`` where the model alone is wrong, as far as
    can be told. ``proposed`` is the most probable answer, ``quality`` cleanlab's label quality (0 wrong - 1 right),
    ``runs`` how many runs had the photo held out. The four probabilities sum to 1.

    A photo that the model finds nobody in is an ``error``: there is no class to judge its label by. Its ``quality`` is
    the label's probability.
    """

    path: str
    kind: Literal["label", "error"]
    label: Label
    proposed: Label
    quality: float
    p_all: float
    p_none: float
    p_some: float
    p_nobody: float
    runs: int
    reason: str


@dataclass(frozen=True)
class LabelIssues:
    """What :func:`find_label_issues` found: issues (worst first), where their files lie, and what it rests on."""

    issues: tuple[LabelIssue, ...]
    files: dict[str, Path]
    photos: int
    runs: tuple[str, ...]
    parts: tuple[str, ...]
    accuracy: float
    failed: tuple[Prediction, ...]

    def of(self, kind: str) -> tuple[LabelIssue, ...]:
        return tuple(issue for issue in self.issues if issue.kind == kind)


def find_label_issues(
    folders: Sequence[str | Path],
    on: Sequence[str] = ("validation", "test"),
    *,
    data: str | Path | None = None,
    ask: Ask = ask_model,
) -> LabelIssues:
    """Judge the labels of the photos that the runs held out.

    Photos held out by several runs get the mean of their probabilities. The parts are first scored by
    :func:`allmasked.scoring.evaluate.evaluate`, which refuses photos that were trained on.

    Raises:
        ConfigError: no run, or the part ``train``.
        RunError: an unfinished run, runs that label the same photo differently, or too few photos.
    """
    if not folders:
        raise ConfigError("label-issues needs at least one run")
    if "train" in on:
        raise ConfigError("labels are judged on held-out photos only; to reach the training photos too, name several "
                          "runs that were trained on other folds")  # fmt: skip
    sums, counts = dict[str, np.ndarray](), Counter[str]()
    photos, files, failed = dict[str, Photo](), dict[str, Path](), dict[str, Prediction]()
    where = Path(data) if data else None
    for folder in folders:
        run = Run(folder).require_finished()
        split = read_split(run.split, where)
        parts = [part for part in dict.fromkeys(on) if any(photo.part == part for photo in split.photos)]
        if not parts:
            raise RunError(f"{run.split}: has no photos in {' or '.join(on)}")
        evaluate(folder, parts, data=data, plots=False, ask=ask)
        for part in parts:
            found = part_answers(run, part, where, ask)
            failed |= {prediction.path: prediction for prediction in found.failed}
            away = np.zeros(len(found.photos)) if found.nobody is None else found.nobody
            for photo, four in zip(found.photos, joint(found.probabilities, away)):
                name = photo.key
                if photos.setdefault(name, photo).label != photo.label:
                    raise RunError(
                        f"{run.folder}: labels {photo.path} {photo.label!r}, another run {photos[name].label!r}; "
                        "judge runs whose splits come from the same labels"
                    )
                files.setdefault(photos[name].path, split.root / photo.path)
                sums[name] = sums.get(name, np.zeros(len(LABELS))) + four
                counts[name] += 1
    names = list(photos)
    labels = np.array([LABELS.index(photos[name].label) for name in names])
    mean = np.array([sums[name] / counts[name] for name in names])
    mean /= mean.sum(axis=1, keepdims=True)
    there, nobody = parted(mean)
    predicted = metrics.predicted_classes(there, nobody)
    judged = np.flatnonzero(predicted < len(CLASSES))
    flagged, quality = np.zeros(len(names), bool), mean[np.arange(len(names)), labels]
    flagged[judged], quality[judged] = judge(labels[judged], there[judged])
    doubtful = []
    for row in np.flatnonzero(flagged | (predicted != labels)):
        photo, proposed = photos[names[row]], LABELS[predicted[row]]
        reason = _reason(photo.label, mean[row], proposed, bool(flagged[row]))
        p_all, p_none, p_some, p_nobody = mean[row].tolist()
        doubtful.append(
            LabelIssue(
                photo.path, "label" if flagged[row] else "error", photo.label, proposed, float(quality[row]),
                p_all, p_none, p_some, p_nobody, counts[names[row]], reason,
            )
        )  # fmt: skip
    doubtful.sort(key=lambda issue: (issue.kind != "label", issue.quality, issue.path))
    accuracy, runs = float((predicted == labels).mean()), tuple(Run(folder).name for folder in folders)
    return LabelIssues(tuple(doubtful), files, len(names), runs, tuple(on), accuracy, tuple(failed.values()))


def judge(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cleanlab's verdict on labels (N,) from held-out probabilities (N, 3): flagged (N,) bool, quality (N,) 0-1.

    Classes without any labelled photo are left out of the judgement. With one class alone nothing is flagged.
    """
    present = np.unique(labels)
    if len(present) < 2:
        return np.zeros(len(labels), bool), probabilities[np.arange(len(labels)), labels]
    found = require("cleanlab.filter", "train")
    rank = require("cleanlab.rank", "train")
    columns = np.clip(probabilities[:, present], 1e-9, None)
    columns = columns / columns.sum(axis=1, keepdims=True)
    index = np.searchsorted(present, labels)
    flagged = found.find_label_issues(index, columns, filter_by="prune_by_noise_rate", n_jobs=1)
    quality = rank.get_label_quality_scores(index, columns, method="self_confidence")
    return np.asarray(flagged, bool), np.asarray(quality, np.float64)


def _reason(label: Label, four: np.ndarray, proposed: Label, flagged: bool) -> str:
    given, best = four[LABELS.index(label)], four[LABELS.index(proposed)]
    said = f"labelled {label} ({given:.0%}), seen as {proposed} ({best:.0%})"
    return said if flagged else f"{said}; the label may well be right"


# --- written down ----------------------------------------------------------------------------------------------------


def write_label_issues(found: LabelIssues, path: Path) -> tuple[Path, Path]:
    """Write all issues as CSV into the file ``path``, and as JSON beside it; both paths."""
    plain = path.with_suffix(".json")
    rows = [asdict(issue) for issue in found.issues]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    facts: dict[str, Any] = {"photos": found.photos, "accuracy": found.accuracy}
    facts |= {"runs": found.runs, "parts": found.parts, "suspects": rows}
    write_json(plain, facts)
    return path, plain


def markdown(found: LabelIssues, limit: int) -> str:
    """The worst of each kind as a Markdown table."""
    shown = [issue for kind in ("label", "error") for issue in found.of(kind)[:limit]]
    head = ["photo", "what is wrong", "label", "proposed", "quality", *(f"P({name})" for name in LABELS)]
    rows = [
        [s.path, s.kind, s.label, s.proposed, s.quality]
        + [f"{p:.2f}" for p in (s.p_all, s.p_none, s.p_some, s.p_nobody)]
        for s in shown
    ]
    return "\n".join(table(head, rows))
