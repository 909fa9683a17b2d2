"""Scores of a run: which photos may be scored, their probabilities (inferred once, then kept), figures and plots.

``scores.json`` holds :class:`Scores` as plain values.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from allmasked.core.config import TrainConfig
from allmasked.core.errors import ConfigError, DataError, RunError
from allmasked.core.markdown import table
from allmasked.core.plain import parse
from allmasked.core.progress import track
from allmasked.core.renamed import WORDS
from allmasked.core.runs import Run, read_json, write_json, write_text
from allmasked.core.types import CLASSES, LABELS, InputSpec, Part, Photo, Prediction, Split
from allmasked.data.dataset import absent, read_split, sha256_of, verify
from allmasked.data.heldout import foreign_photos, trained_on
from allmasked.images import pixels
from allmasked.networks import reading
from allmasked.predictors.ensemble import Ensemble
from allmasked.stats import metrics
from allmasked.stats.votes import joint, parted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Ask = Callable[[Path, Sequence[tuple[str, Path]]], Iterable[Prediction]]
"""What infers: (run folder, [(name, path), ...]) -> predictions in the same order."""

FACE_HEIGHT_EDGES_PX = (0, 8, 16, 24, 32, 48, 64, 96)
PEOPLE_EDGES = (1, 2, 3, 4, 6, 10)
PLOTS = ("confusion", "classes", "reliability", "by-face-height", "by-people")


def ask_model(folder: Path, photos: Sequence[tuple[str, Path]]) -> Iterable[Prediction]:
    """The predictions of a run's own model."""
    from allmasked.predictors.predictor import open_predictor, predict_paths

    return predict_paths(open_predictor(folder), photos)


@dataclass(frozen=True)
class Answers:
    """What a run's model says about labelled photos.

    Attributes:
        photos: those with an answer; none of them is labelled "nobody".
        probabilities: (N, 3), P(all), P(none), P(some) if somebody is there.
        failed: those without an answer.
        nobody: (N,), P(nobody); None where the model can't tell.
    """

    photos: tuple[Photo, ...]
    probabilities: NDArray[np.float64]
    failed: tuple[Prediction, ...] = ()
    nobody: NDArray[np.float64] | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.array([LABELS.index(photo.label) for photo in self.photos], dtype=np.int64)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The answers (N,), 3 for "nobody"."""
        return metrics.predicted_classes(self.probabilities, self.nobody)

    @property
    def groups(self) -> NDArray[np.int64]:
        return np.array([photo.group for photo in self.photos], dtype=np.int64)


@dataclass(frozen=True)
class PartScores(metrics.Figures):
    """The figures of one part of a split, or of other photos.

    Attributes:
        scored_at: when the first time, UTC.
        bootstrap, seed: of the intervals.
        temperature: that of :class:`Scores`.
        photos_sha256: over the photos and labels that were to be scored.
        notes: what to know about the figures.
        failed: how many photos had no answer.
        by_face_height, by_people: where boxes are known.
    """

    scored_at: str
    bootstrap: int
    seed: int
    temperature: float | None
    photos_sha256: str
    notes: tuple[str, ...]
    failed: int
    by_face_height: tuple[metrics.Stratum, ...] = ()
    by_people: tuple[metrics.Stratum, ...] = ()

    @property
    def accuracy_interval(self) -> metrics.Interval:
        """95 % interval of the accuracy."""
        return self.intervals.accuracy


@dataclass(frozen=True)
class Temperature:
    """What softens the probabilities, fitted on so many validation photos."""

    value: float
    photos: int


@dataclass(frozen=True)
class Earlier:
    """Test scores of a model that the folder held before, or of the same one read otherwise."""

    model_sha256: str
    scored_at: str
    photos: int
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """All that is known of a run; ``parts`` are ``train``, ``validation``, ``test`` or ``photos-NAME``."""

    run: str
    model_sha256: str
    classes: tuple[str, ...]
    temperature: Temperature | None
    parts: Mapping[str, PartScores]
    earlier: tuple[Earlier, ...]
    reading: Mapping[str, float | int] | None = None

    @classmethod
    def read(cls, run: Run) -> Scores:
        """Those in ``scores.json``; raises :class:`RunError` where it is missing, or is none."""
        try:
            return parse(cls, read_json(run.scores))
        except (TypeError, ValueError):
            raise RunError(
                f"{run.scores}: was not written by 'allmasked evaluate'; move it away and score again"
            ) from None

    def write(self, run: Run) -> None:
        """Into ``scores.json`` and ``scores.md``."""
        values = asdict(self)
        for part in values["parts"].values():
            for name in ("by_face_height", "by_people"):
                if not part[name]:
                    del part[name]
        write_json(run.scores, values)
        write_text(run.scores_markdown, markdown(self))


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found. Printed, it is the tables of what was asked for, in Markdown.

    Attributes:
        parts: the scores asked for, by name: ``train``, ``validation``, ``test``, or ``photos-NAME``.
        notes: what to know about this call.
        failed: photos without an answer, each with its error.
        scores: all that is known of the run.
    """

    parts: Mapping[str, PartScores]
    notes: tuple[str, ...]
    failed: tuple[Prediction, ...]
    scores: Scores = field(repr=False)

    def __getitem__(self, part: str) -> PartScores:
        if part not in self.parts:
            raise RunError(f"the part {part!r} was not scored, only {', '.join(self.parts)}; name it in 'on'")
        return self.parts[part]

    @property
    def test(self) -> PartScores:
        """Those of the test part."""
        return self["test"]

    @property
    def validation(self) -> PartScores:
        """Those of validation, which chose the best epoch and so are optimistic."""
        return self["validation"]

    def __str__(self) -> str:
        return markdown(self.scores, tuple(self.parts))


def _refuse_trained_on(run: Run, found: Sequence[Photo], total: int, what: str) -> None:
    if found:
        raise RunError(
            f"{run.folder}: {len(found):,} of the {total:,} photos of {what} were trained on, or are near-duplicates "
            f"of such (first: {found[0].path}), so this would be no held-out score; leave them out, or say '--on train'"
        )


# --- probabilities ---------------------------------------------------------------------------------------------------


def answers(run: Run, photos: Sequence[Photo], split: Split, name: str, ask: Ask = ask_model) -> Answers:
    """The model's probabilities for ``photos`` of ``split``, from ``predictions/NAME.json`` as far as they are there.

    That file is tied to the model (its SHA-256, input and reading) and each row to its photo (the SHA-256 of its file),
    so nothing stale is ever used. A photo whose file is missing, broken or no longer the one that was split fails
    alone. Photos labelled "nobody" are none of the classes: they are left out.
    """
    photos = with_somebody(photos)
    if run.require_finished().is_ensemble:
        return _ensemble_answers(run, photos, split, name, ask)
    rows, nobody = kept(run, name)
    missing = [photo for photo in photos if photo.key not in rows]
    problems = verify(split, track(missing, f"checking {name}", len(missing)))
    failed = {problem.path: Prediction(problem.path, None, None, problem.reason) for problem in problems}
    wanted = [photo for photo in missing if photo.path not in failed]
    if wanted:
        model = _said_by(run)
        found = ask(run.folder, [(photo.path, split.root / photo.path) for photo in wanted])
        try:
            for photo, prediction in zip(wanted, track(found, f"scoring {name}", len(wanted)), strict=True):
                if prediction.label is None:
                    failed[photo.path] = prediction
                else:
                    rows[photo.key] = reading.given_somebody(np.array(prediction.four)).tolist()
                    nobody[photo.key] = prediction.p_nobody
        finally:  # what is answered stays, also where somebody interrupts
            said = [
                {"key": photo.key, "path": photo.path, "label": photo.label, "p_nobody": nobody[photo.key]}
                | {f"p_{label}": p for label, p in zip(CLASSES, rows[photo.key])}
                for photo in photos
                if photo.key in rows
            ]
            if said:
                write_json(run.predictions / f"{name}.json", model | {"photos": said})
    answered = tuple(photo for photo in photos if photo.key in rows)
    away = [nobody[photo.key] for photo in answered]
    return Answers(
        answered,
        np.array([rows[photo.key] for photo in answered], dtype=np.float64).reshape(-1, len(CLASSES)),
        tuple(failed[photo.path] for photo in photos if photo.path in failed),
        None if all(p is None for p in away) else np.array([p or 0.0 for p in away], dtype=np.float64),
    )


def kept(run: Run, name: str) -> tuple[dict[str, list[float]], dict[str, float | None]]:
    """The answers in ``predictions/NAME.json`` by :attr:`Photo.key`: P(all), P(none) and P(some) if somebody is there,
    and P(nobody). Empty where the file is missing, broken, or of another model."""
    stored = run.predictions / f"{name}.json"
    if stored.is_file():
        try:
            values = {"reading": None, **read_json(stored)}  # older files have none
            values["fit"] = WORDS.get(values["fit"], values["fit"])
            if all(values[setting] == value for setting, value in _said_by(run).items()):
                rows = {row["key"]: [row[f"p_{label}"] for label in CLASSES] for row in values["photos"]}
                return rows, {row["key"]: row.get("p_nobody") for row in values["photos"]}
        except (RunError, KeyError, TypeError, AttributeError):
            pass  # a broken file is inferred anew
    return {}, {}


def _said_by(run: Run) -> dict[str, Any]:
    """What ties kept answers to the run's model."""
    spec = input_of(run)
    model = {"model_sha256": sha256_of(run.model), "size": list(spec.size), "fit": spec.resize_mode}
    return {**model, "reading": reading_of(run)}


def with_somebody(photos: Iterable[Photo]) -> tuple[Photo, ...]:
    """The photos without those labelled "nobody", which can't be scored: they are none of the classes."""
    return tuple(photo for photo in photos if photo.label in CLASSES)


def reading_of(run: Run) -> dict[str, float] | None:
    """The constants that answers are read off faces with; None for a model that finds no faces."""
    members = Ensemble.read(run).members if run.is_ensemble else (TrainConfig.read(run.config),)
    if "evidence" not in [member.head for member in members]:
        return None
    return {name: getattr(reading, name.upper()) for name in ("floor", "overlap", "inside", "shown", "candidates")}


def _ensemble_answers(run: Run, photos: Sequence[Photo], split: Split, name: str, ask: Ask) -> Answers:
    """An ensemble's answers from those of its members, each kept in its own folder, so that none is asked twice."""
    ensemble = Ensemble.read(run)
    folders = ensemble.folders(run)
    for member, folder in zip(ensemble.members, folders):
        if not Run(folder).model.is_file() or sha256_of(Run(folder).model) != member.model_sha256:
            raise RunError(f"{run.folder}: its member {folder} is gone or was trained anew; make the ensemble again")
    found = [answers(Run(folder), photos, split, name, ask) for folder in folders]
    common, probabilities, nobody, failed = aligned(with_somebody(photos), found)
    voted, away = parted(ensemble.combine(probabilities if nobody is None else joint(probabilities, nobody)))
    return Answers(common, voted, failed, away)


def alike(photos: Sequence[Photo], found: Sequence[Answers]) -> list[Answers]:
    """What several models say of those of ``photos`` that all could answer, in their order."""
    rows = [{photo.key: row for row, photo in enumerate(one.photos)} for one in found]
    common = tuple(photo for photo in photos if all(photo.key in row for row in rows))
    orders = ([row[photo.key] for photo in common] for row in rows)
    return [
        replace(one, photos=common, probabilities=one.probabilities[order],
                nobody=None if one.nobody is None else one.nobody[order])
        for one, order in zip(found, orders)
    ]  # fmt: skip


def aligned(
    photos: Sequence[Photo], found: Sequence[Answers]
) -> tuple[tuple[Photo, ...], NDArray[np.float64], NDArray[np.float64] | None, tuple[Prediction, ...]]:
    """What M models say of the same photos.

    Returns:
        The photos that all could answer, the probabilities (M, N, 3), P(nobody) (M, N) where all can tell or else None,
        and the failures of the other photos.
    """
    same = alike(photos, found)
    failed = {prediction.path: prediction for one in found for prediction in one.failed}
    away = [one.nobody for one in same if one.nobody is not None]
    nobody = np.stack(away) if len(away) == len(found) else None
    probabilities = np.stack([one.probabilities for one in same])
    return same[0].photos, probabilities, nobody, tuple(failed[photo.path] for photo in photos if photo.path in failed)


def input_of(run: Run) -> InputSpec:
    """What the network takes; its largest member for an ensemble."""
    return Ensemble.read(run).input if run.is_ensemble else TrainConfig.read(run.config).recipe.input


def part_answers(run: Run, part: str, data: Path | None = None, ask: Ask = ask_model) -> Answers:
    """The answers for one part of the run's own split (``train``, ``validation`` or ``test``)."""
    split = read_split(run.require_finished().split, data)
    return answers(run, split.part(cast(Part, part)), split, part, ask)


# --- figures ---------------------------------------------------------------------------------------------------------


def evaluate(
    folder: str | Path,
    on: Sequence[str] = (),
    *,
    photos: str | Path | None = None,
    data: str | Path | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
    plots: bool = True,
    ask: Ask = ask_model,
) -> Evaluation:
    """Score a run and write ``scores.json``, ``scores.md`` and ``plots/``.

    The test part is scored once: asked again of the same model, the stored result is the answer.

    Args:
        folder: the run folder.
        on: parts of its split; validation and test when empty. ``train`` also permits photos that were trained on.
        photos: a labelled data set or ``split.json`` to score instead.
        data: where the run's photos lie now, when not where they were.
        bootstrap: resamples for the intervals.
        seed: of the resamples.
        plots: draw what was scored anew, and what was never drawn.
        ask: what infers; the run's own model.

    Raises:
        RunError: no finished run, photos that were trained on, or no photo could be answered.
        ConfigError: a part that doesn't exist.
        DataError: no photos.
    """
    run = Run(folder).require_finished()
    spec = input_of(run)
    split = read_split(run.split, Path(data) if data else None)
    if unknown := sorted(set(on) - {"train", "validation", "test"}):
        raise ConfigError(f"part {unknown[0]!r}: must be train, validation or test")
    todo: list[tuple[str, tuple[Photo, ...], Split]] = []
    seen: dict[str, int] = {}
    without: dict[str, int] = {}
    unsure: list[str] = []
    if photos is None:
        for part in dict.fromkeys(on or ("validation", "test")):
            everything = split.part(cast(Part, part))
            chosen = with_somebody(everything)
            if not chosen:
                raise DataError(f"{run.split}: has no photos in the part {part!r}; choose another with '--on'")
            without[part] = len(everything) - len(chosen)
            overlap = trained_on(split, chosen)
            if "train" not in on:
                _refuse_trained_on(run, overlap, len(chosen), f"the part {part!r}")
            seen[part] = len(overlap)
            todo.append((part, chosen, split))
    else:
        if set(on) - {"train"}:
            raise ConfigError("--on names parts of the run's own split; with --photos only '--on train' has a meaning")
        foreign = foreign_photos(Path(photos), split)
        chosen, known = with_somebody(foreign.split.photos), with_somebody(foreign.seen)
        if not chosen:
            raise DataError(f"{photos}: nobody is in any of its photos, so there is nothing to score")
        if "train" not in on:
            _refuse_trained_on(run, known, len(chosen), str(photos))
        source = Path(photos).resolve()
        name = f"photos-{source.stem if source.is_file() else source.name}"
        seen[name], unsure = len(known), [foreign.note] if foreign.note else []
        without[name] = len(foreign.split.photos) - len(chosen)
        todo.append((name, chosen, foreign.split))

    stored = _stored_scores(run)
    fitted = stored.temperature or _temperature(run, split, ask)
    temperature = fitted.value if fitted else None
    parts, notes, failed = dict(stored.parts), list[str](), list[Prediction]()
    for name, chosen, origin in todo:
        before = parts.get(name)
        keys = hashlib.sha256("\n".join(sorted(photo.key + photo.label for photo in chosen)).encode()).hexdigest()
        asked: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "temperature": temperature}
        asked["photos_sha256"] = keys
        if before and not before.failed and all(getattr(before, name) == value for name, value in asked.items()):
            notes.append(f"{name}: scored at {before.scored_at}; this is the stored result")
            continue
        if before and name.startswith("photos-") and before.photos_sha256 != keys:
            notes.append(f"{name}: in place of other photos of that name, scored at {before.scored_at}")
            before = None
        if before:
            notes.append(f"{name}: first scored at {before.scored_at}; figures made anew from the kept answers")
        found = answers(run, chosen, origin, name, ask)
        failed.extend(found.failed)
        if not found.photos:
            raise RunError(
                f"{run.folder}: none of the {len(chosen):,} photos of {name} could be answered (first: "
                f"{found.failed[0].path}: {found.failed[0].error}); if they have moved, say where with '--data'"
            )
        parts[name] = PartScores(
            **_figures(found, spec, temperature, bootstrap, seed),
            **asked,
            scored_at=before.scored_at if before else datetime.now(UTC).isoformat(timespec="seconds"),
            notes=(*_notes(name, seen[name], without[name], found), *unsure),
            failed=len(found.failed),
        )
        for path in _plots_of(run, name):
            path.unlink()  # they show other figures now
    if plots:
        for name, _, _ in todo:
            _plot(run, name, parts[name])
    scores = replace(stored, temperature=fitted, parts=parts)
    scores.write(run)
    return Evaluation({name: parts[name] for name, _, _ in todo}, tuple(notes), tuple(failed), scores)


def _stored_scores(run: Run) -> Scores:
    """``scores.json`` where it belongs to the present model and reading; else an empty one with earlier test scores."""
    model_sha256, constants = sha256_of(run.identity), reading_of(run)
    empty = Scores(run.name, model_sha256, CLASSES, None, {}, (), constants)
    if not run.scores.is_file():
        return empty
    scores = Scores.read(run)
    if scores.model_sha256 == model_sha256 and scores.reading == constants:
        return scores
    earlier = scores.earlier
    if test := scores.parts.get("test"):
        earlier = (*earlier, Earlier(scores.model_sha256, test.scored_at, test.photos, test.accuracy))
    return replace(empty, earlier=earlier)


def _temperature(run: Run, split: Split, ask: Ask) -> Temperature | None:
    chosen = split.part("validation")
    reachable = [photo for photo in chosen if (split.root / photo.path).is_file()]
    stored = (run.predictions / "validation.json").is_file()
    found = answers(run, chosen if stored else reachable, split, "validation", ask) if reachable or stored else None
    if found is None or not found.photos:
        return None
    return Temperature(metrics.fit_temperature(found.labels, found.probabilities), len(found.photos))


def _figures(found: Answers, spec: InputSpec, temperature: float | None, bootstrap: int, seed: int) -> dict[str, Any]:
    labels, groups = found.labels, found.groups
    scored = metrics.score(
        labels, found.probabilities, groups,
        nobody=found.nobody, temperature=temperature, bootstrap=bootstrap, seed=seed,
    )  # fmt: skip
    split = partial(metrics.breakdown, labels, found.predicted, groups, bootstrap=bootstrap, seed=seed)
    heights = [smallest_face_px(photo, spec) for photo in found.photos]
    people = [np.nan if photo.faces is None else len(photo.faces) for photo in found.photos]
    strata = {"by_face_height": split(heights, FACE_HEIGHT_EDGES_PX), "by_people": split(people, PEOPLE_EDGES)}
    return {**vars(scored), **strata}


def smallest_face_px(photo: Photo, spec: InputSpec) -> float:
    """Height of the photo's smallest marked face in px of the model's input; NaN where boxes are not known."""
    if not photo.faces or not photo.width or not photo.height:
        return float("nan")
    place = pixels.placement((photo.width, photo.height), spec)
    return min(face.height_px for face in photo.faces) * place.scale_y


def _notes(name: str, seen: int, without: int, found: Answers) -> list[str]:
    notes = []
    if name == "validation":
        notes.append("validation chose the best epoch and the temperature, so its figures are optimistic")
    if seen:
        notes.append(f"{seen:,} of these photos were trained on: this says how well they are remembered, no more")
    if without:
        notes.append(f"{without:,} photos labelled 'nobody' are left out: they are none of the classes")
    if missing := absent(found.photos):
        names = " or ".join(repr(label) for label in missing)
        notes.append(f"none of these photos is labelled {names}, so macro averages are over the classes that occur")
    if found.failed:
        kinds = Counter(prediction.error for prediction in found.failed).most_common(1)
        notes.append(f"{len(found.failed):,} photos had no answer and are not counted (most often: {kinds[0][0]})")
    return notes


def figures_of(entry: PartScores, title: str = "") -> dict[str, Figure]:
    """The plots of a part's scores, of :data:`PLOTS` by name; those by stratum only where there are strata."""
    from allmasked.stats import plots

    scaled = entry.calibration.scaled.bins if entry.calibration.scaled else None
    figures = {
        "confusion": plots.confusion(entry.confusion, title=title),
        "classes": plots.class_scores(entry.classes, entry.intervals.f1, title=title),
        "reliability": plots.reliability(
            entry.calibration.bins, scaled, title=f"Calibration, {title}" if title else ""
        ),
    }
    height = "height of the smallest face, px of the input"
    strata = {"by-face-height": (entry.by_face_height, height), "by-people": (entry.by_people, "people in the photo")}
    drawn = {name: plots.breakdown(rows, xlabel=label, title=title) for name, (rows, label) in strata.items() if rows}
    return figures | drawn


def _plots_of(run: Run, name: str) -> list[Path]:
    """The plots of a part that are there."""
    paths = (run.plots / f"{kind}-{name}.png" for kind in PLOTS)
    return [path for path in paths if path.is_file()]


def _plot(run: Run, name: str, entry: PartScores) -> None:
    from allmasked.stats.plots import save

    if not _plots_of(run, name):
        for kind, figure in figures_of(entry, name).items():
            save(figure, run.plots / f"{kind}-{name}.png")


# --- to read ---------------------------------------------------------------------------------------------------------


def markdown(scores: Scores, names: Sequence[str] | None = None) -> str:
    """The scores, or the named parts of them, as Markdown tables."""
    from allmasked.stats.plots import bin_name

    lines = [f"# Scores of {scores.run}", ""]
    for name, entry in scores.parts.items():
        if names is not None and name not in names:
            continue
        lines += [f"## {name}", ""]
        lines += [f"{entry.photos:,} photos in {entry.groups:,} groups of near-duplicates; intervals are 95 %.", ""]
        lines += [f"- {note}" for note in entry.notes] + ([""] if entry.notes else [])
        intervals = entry.intervals
        lines += table(
            ["average", "accuracy", "precision", "recall", "F1"],
            [[kind, entry.accuracy, row.precision, row.recall, row.f1] for kind, row in entry.averages.items()],
        )
        sure = [["accuracy", entry.accuracy, _span(intervals.accuracy)]]
        sure.append(["macro-F1", entry.macro_f1, _span(intervals.macro_f1)])
        lines += table(["figure", "value", "95 % interval"], sure)
        lines += table(
            ["class", "photos", "precision", "recall", "F1", "95 % interval of F1"],
            [
                [kind, row.photos, row.precision, row.recall, row.f1, _span(intervals.f1[kind])]
                for kind, row in entry.classes.items()
            ],
        )
        both = zip(CLASSES, entry.confusion, entry.confusion_normalised)
        said = metrics.answer_names(entry.confusion)
        lines += table(
            ["true \\ predicted", *said, *(f"{kind} (share)" for kind in said)],
            [[kind, *counts, *(f"{share:.3f}" for share in shares)] for kind, counts, shares in both],
        )
        calibration, scaled = entry.calibration, entry.calibration.scaled
        rows: list[list[Any]] = [["as it comes", 1, calibration.ece, calibration.log_loss]]
        if scaled:
            rows.append(["temperature-scaled", calibration.temperature, scaled.ece, scaled.log_loss])
        lines += table(["calibration", "temperature", "expected calibration error", "log loss"], rows)
        for heading, strata in (
            ("smallest face, px of the input", entry.by_face_height), ("people", entry.by_people),
        ):  # fmt: skip
            if strata:
                lines += table(
                    [heading, "photos", "accuracy", "95 % interval", "macro-F1", "95 % interval"],
                    [
                        [bin_name(row.low, row.high), row.photos, row.accuracy, _span(row.accuracy_interval)]
                        + [row.macro_f1, _span(row.macro_f1_interval)]
                        for row in strata
                    ],
                )
    for one in scores.earlier if names is None else ():
        lines.append(
            f"The test part was also scored at {one.scored_at} for an earlier model or reading of this folder."
        )
        lines.append("")
    return "\n".join(lines)


def _span(interval: metrics.Interval | None) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-"
