"""Make an ensemble of trained runs: refuse what does not belong together, fit what is to be fitted on validation."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allmasked.core.config import TrainConfig
from allmasked.core.errors import ConfigError, RunError, row_of
from allmasked.core.markdown import table
from allmasked.core.runs import Run, claimed, read_json
from allmasked.core.types import LABELS, Photo, Split
from allmasked.data.dataset import read_split, sha256_of, unused, write_split
from allmasked.networks.heads import HEADS
from allmasked.predictors.ensemble import Ensemble, Member
from allmasked.scoring.evaluate import Ask, aligned, ask_model, input_of, part_answers
from allmasked.scoring.timing import time_run
from allmasked.stats import metrics, votes
from allmasked.stats.votes import VOTES, Floats, Ints, joint, parted


@dataclass(frozen=True)
class Said:
    """What the members say of one part; photos labelled "nobody" are left out.

    Attributes:
        photos: N, those that every member can answer.
        probabilities: (M, N, 3), each member's own, if somebody is there. Votes are about these.
        labels: (N,) indices into CLASSES.
        groups: (N,) of near-duplicates.
        nobody: (M, N), P(nobody); None where a member can't tell.
    """

    photos: tuple[Photo, ...]
    probabilities: Floats
    labels: Ints
    groups: Ints
    nobody: Floats | None = None

    @property
    def predicted(self) -> Ints:
        """Each member's own answers (M, N), 3 for "nobody"."""
        away = [None] * len(self.probabilities) if self.nobody is None else self.nobody
        return np.stack([metrics.predicted_classes(*own) for own in zip(self.probabilities, away)])

    @property
    def own(self) -> Floats:
        """What each member votes with (M, N, K), see :mod:`allmasked.stats.votes`."""
        return self.probabilities if self.nobody is None else joint(self.probabilities, self.nobody)

    def voted(self, answers: Floats) -> Ints:
        """A vote's answers (N, K) as labels (N,), 3 for "nobody"."""
        return metrics.predicted_classes(*parted(answers))

    def accuracy(self, predicted: Ints) -> float:
        """The share of photos (0-1) whose label was predicted (N,)."""
        return float((predicted == self.labels).mean())


def members_say(folders: Sequence[Path], part: str, data: Path | None = None, ask: Ask = ask_model) -> Said:
    """The members' answers on one part, inferred where they are not kept yet. Raises :class:`RunError`."""
    found = [part_answers(Run(folder), part, data, ask) for folder in folders]
    common, probabilities, nobody, failed = aligned(found[0].photos, found)
    if not common:
        first = f" ({failed[0].path}: {failed[0].error})" if failed else ""
        raise RunError(f"none of the {part} photos could be answered by every member{first}; say where with '--data'")
    labels = np.array([LABELS.index(photo.label) for photo in common], np.int64)
    return Said(common, probabilities, labels, np.array([photo.group for photo in common], np.int64), nobody)


def assemble(
    folders: Sequence[str | Path],
    out: str | Path,
    vote: str = "soft",
    *,
    early_stop: bool = False,
    data: str | Path | None = None,
    ask: Ask = ask_model,
    measure: Callable[[Path], float] = time_run,
) -> Ensemble:
    """Make the ensemble folder ``out`` of the runs in ``folders``.

    Every member gets a temperature, and the vote its weights or stacker, from the validation part. Members are asked
    in the order of accuracy per ms, by weight per ms where the vote has fitted weights.

    Args:
        folders: two or more finished runs, trained on the same split.
        out: the folder to make.
        vote: a row of :data:`allmasked.stats.votes.VOTES`.
        early_stop: ask no further member about a photo whose answer can't change any more.
        data: where the photos lie now, when not where they were.
        ask: what infers; the runs' own models.
        measure: a run folder -> ms a photo.

    Raises:
        ConfigError: an unknown vote, fewer than two runs, one twice, or an early stop that this vote does not have.
        RunError: ``out`` is in use, a run is unfinished, or was trained on another split (named).
    """
    row = row_of("vote", vote, VOTES)
    if early_stop and row.settled is None:
        raise ConfigError(f"the vote {vote!r} has no early stop: any member can change its answer")
    target = Run(out)
    runs = [Run(folder).require_finished() for folder in folders]
    _refuse_unfit(runs)
    where = Path(data) if data else None
    split = read_split(runs[0].split, where)
    if not unused(target.folder, split):
        raise RunError(f"{target.folder}: is in use; choose another --out")
    for run in runs[1:]:
        refuse_other_split(runs[0], split, run, read_split(run.split, where))
    heads = [TrainConfig.read(run.config).head for run in runs]
    finds_faces = all(HEADS[head].maps for head in heads if head in HEADS)
    if vote == "stacked" and finds_faces:
        raise ConfigError(
            "the vote 'stacked' weighs labels, but these runs find faces, and the answer is read off them"
        )
    if early_stop and finds_faces:
        raise ConfigError("--early-stop: these runs find faces, and the answer is read off those of all; leave it out")
    found = members_say([run.folder for run in runs], "validation", where, ask)
    named = enumerate(zip(runs, _names(runs)))
    members = tuple(_member(run, name, target, found, number, measure) for number, (run, name) in named)
    calibrated = np.stack([votes.scaled(own, member.temperature) for own, member in zip(found.own, members)])
    try:
        fitted = row.fit(calibrated, found.labels, found.groups)
    except ValueError as error:
        raise RunError(f"the vote {vote!r} can't be fitted on these validation photos: {error}") from None
    worth = fitted.weights if row.fits and not fitted.coefficients else [member.accuracy for member in members]
    facts = {
        "parameters": sum(member.parameters for member in members),
        "train_seconds": round(sum(member.train_seconds for member in members), 1),
        "mb": round(sum(member.mb for member in members), 2), "validation_photos": len(found.labels),
    }  # fmt: skip
    order = votes.cost_order(worth, [member.ms for member in members])
    ensemble = Ensemble(
        vote=vote, members=members, fitted=fitted, order=order, early_stop=early_stop,
        validation=judge_votes(calibrated, found, members), facts=facts,
    )  # fmt: skip
    with claimed(target.folder):
        if not unused(target.folder, split):  # by another process meanwhile
            raise RunError(f"{target.folder}: is in use; choose another --out")
        write_split(split, target.split)
        ensemble.write(target)
    return ensemble


def _refuse_unfit(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise ConfigError("an ensemble needs at least two runs")
    for run in runs:
        if run.is_ensemble:
            raise RunError(f"{run.folder}: is an ensemble itself; name its members instead")
    for a, b in itertools.combinations(runs, 2):
        if a.folder.resolve() == b.folder.resolve():
            raise ConfigError(f"{b.folder}: is named twice; an ensemble needs different runs")


def refuse_other_split(first: Run, split: Split, run: Run, other: Split) -> None:
    """Raise :class:`RunError` naming ``run`` unless both have the same photos and labels in the same parts."""
    ours = {photo.key: (photo.part, photo.label) for photo in split.photos if photo.part != "left_out"}
    theirs = {photo.key: (photo.part, photo.label) for photo in other.photos if photo.part != "left_out"}
    differing = [photo for photo in (*split.photos, *other.photos) if ours.get(photo.key) != theirs.get(photo.key)]
    if not differing:
        return
    trained = {name for name, (part, _) in theirs.items() if part == "train"}
    held_out = {name for name, (part, _) in ours.items() if part != "train"}
    raise RunError(
        f"{run.folder}: was trained on another split than {first.folder}: {len({p.key for p in differing}):,} photos "
        f"differ in part or label (such as {differing[0].path}), {len(trained & held_out):,} of what the one holds out "
        "were trained on by the other; train all members on one split.json"
    )


def _names(runs: Sequence[Run]) -> list[str]:
    """The runs' folder names, with as much of the path before them as keeps them apart."""
    paths = [run.folder.resolve().parts for run in runs]
    for count in itertools.count(1):
        names = ["/".join(path[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise AssertionError


def _member(run: Run, name: str, target: Run, said: Said, number: int, measure: Callable[[Path], float]) -> Member:
    config, spec, facts = TrainConfig.read(run.config), input_of(run), read_json(run.config).get("facts", {})
    return Member(
        name=name, run=Path(os.path.relpath(run.folder.resolve(), target.folder.resolve())).as_posix(),
        model_sha256=sha256_of(run.model), backbone=config.backbone, head=config.head, loader=config.loader,
        seed=config.seed, size=spec.size, fit=spec.resize_mode, parameters=int(facts.get("parameters", 0)),
        train_seconds=float(facts.get("train_seconds", 0.0)), ms=round(measure(run.folder), 4),
        mb=round(run.model.stat().st_size / 1e6, 3), accuracy=said.accuracy(said.predicted[number]),
        temperature=metrics.fit_temperature(said.labels, said.probabilities[number]),
    )  # fmt: skip


def judge_votes(calibrated: Floats, said: Said, members: Sequence[Member]) -> dict[str, dict[str, float]]:
    """Every vote on validation, cross-fitted where it is fitted: accuracy, log loss (of the class, if somebody is
    there), cost ratio in turn."""
    labels, groups = said.labels, said.groups
    found: dict[str, dict[str, float]] = {}
    times = [member.ms for member in members]
    for name, row in VOTES.items():
        try:
            answers = votes.cross_fitted(row, calibrated, labels, groups)
            fitted = row.fit(calibrated, labels, groups)
        except ValueError:  # too few photos or classes to fit on
            continue
        accuracy = said.accuracy(said.voted(answers))
        found[name] = {"accuracy": accuracy, "log_loss": metrics.log_loss(labels, parted(answers)[0])}
        if row.settled:
            order = votes.cost_order(fitted.weights if row.fits else [member.accuracy for member in members], times)
            _, asked = votes.in_turn(row, fitted, order, len(labels), lambda number, rows: calibrated[number, rows])
            found[name]["cost_ratio"] = votes.cost_ratio(asked, order, times)
    return found


def markdown(name: str, ensemble: Ensemble) -> str:
    """The members and all votes on validation, as Markdown."""
    stacked = bool(ensemble.fitted.coefficients)
    lines = [f"# {name}: {len(ensemble.members)} members, vote {ensemble.vote}", ""]
    if ensemble.early_stop:
        lines += ["Members are asked in the order of the column 'turn', until the answer can't change.", ""]
    turns = {member: turn for turn, member in enumerate(ensemble.order, 1)}
    lines += table(
        ["member", "backbone", "input", "validation accuracy", "temperature", "weight", "ms a photo", "MB", "turn"],
        [
            [m.name, m.backbone, f"{m.size[0]} x {m.size[1]}", m.accuracy, f"{m.temperature:.2f}"]
            + ["-" if stacked else f"{weight:.3f}", f"{m.ms:.1f}", f"{m.mb:.1f}", turns[number]]
            for number, (m, weight) in enumerate(zip(ensemble.members, ensemble.fitted.weights))
        ],
    )
    best = max(ensemble.members, key=lambda member: member.accuracy)
    photos = ensemble.facts.get("validation_photos", 0)
    lines.append(f"Votes on {photos:,} validation photos (cross-fitted where fitted; best member {best.accuracy:.4f}):")
    lines.append("")
    lines += table(
        ["vote", "accuracy", "log loss", "cost when asked in turn"],
        [
            [f"**{vote}**" if vote == ensemble.vote else vote, row["accuracy"], row["log_loss"]]
            + [f"{row['cost_ratio']:.2f}" if "cost_ratio" in row else "-"]
            for vote, row in ensemble.validation.items()
        ],
    )
    return "\n".join(lines)
