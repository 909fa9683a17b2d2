"""One small student from an ensemble's (or any run's) soft answers on the training photos."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allmasked.core.config import TrainConfig
from allmasked.core.errors import ConfigError, RunError
from allmasked.core.markdown import table
from allmasked.core.runs import Run
from allmasked.data.dataset import read_split, unused, write_split
from allmasked.ensembles.assemble import Said, members_say
from allmasked.predictors.ensemble import Ensemble
from allmasked.scoring.evaluate import Ask, ask_model, part_answers
from allmasked.scoring.timing import time_run
from allmasked.stats.votes import parted
from allmasked.training.teacher import Teacher
from allmasked.training.train import train


def distil(
    teacher: str | Path,
    config: TrainConfig,
    out: str | Path,
    *,
    alpha: float = 0.3,
    temperature: float = 2.0,
    data: str | Path | None = None,
    cache: str | Path | None = None,
    ask: Ask = ask_model,
) -> Run:
    """Train a student of the run or ensemble in the folder ``teacher``; it becomes an ordinary run folder ``out``.

    The teacher is asked once about every training photo (its answers are kept in its own folders too, and in the
    student's). The same call, or ``allmasked train --resume --out RUN``, goes on where training was stopped.

    Args:
        teacher: what to learn from; every member of an ensemble is asked, early stop or not.
        config: the student.
        out: the run folder to make.
        alpha: share of the label in the loss, 0-1; the rest is the teacher's.
        temperature: softens both sides of the teacher's part; above 1, small probabilities count more.
        data: where the photos lie now, when not where they were.
        cache: as for :func:`allmasked.training.train.train`.
        ask: what infers; the teacher's own models.

    Raises:
        ConfigError: alpha or temperature out of range, a head or data loader that can't be taught.
        RunError: the teacher is unfinished, or ``out`` is in use, or was begun with another teacher or settings.
    """
    if config.loader != "cached":
        raise ConfigError(f"--loader {config.loader}: doesn't say which photo is which; distil with --loader cached")
    asked = Teacher(Run(teacher).name, alpha, temperature, {})
    source, run = Run(teacher).require_finished(), Run(out)
    where = Path(data) if data else None
    split = read_split(source.split, where)
    if run.config.is_file() and run.teacher.is_file():
        begun = dataclasses.replace(Teacher.read(run), answers={})
        if begun != asked or read_split(run.split, where).photos != split.photos:
            raise RunError(f"{run.folder}: was begun with another teacher or other settings; choose another --out")
    elif unused(run.folder, split, run.teacher.name):
        answers = soft_answers(source, where, ask)
        write_split(split, run.split)
        dataclasses.replace(asked, answers=answers).write(run)
        config.write(run.config)
    else:
        raise RunError(f"{run.folder}: is in use; choose another --out")
    return train(read_split(run.split, where), config, run.folder, resume=True, cache=cache)


def soft_answers(teacher: Run, data: Path | None = None, ask: Ask = ask_model) -> dict[str, tuple[float, ...]]:
    """The teacher's probabilities for each training photo that it can answer, by the photo's key.

    They hold if somebody is there. Photos labelled "nobody" have none: their label stands.
    """
    if teacher.is_ensemble:
        ensemble = dataclasses.replace(Ensemble.read(teacher), early_stop=False)
        said: Said = members_say(ensemble.folders(teacher), "train", data, ask)
        photos, probabilities = said.photos, parted(ensemble.combine(said.own))[0]
    else:
        found = part_answers(teacher, "train", data, ask)
        photos, probabilities = found.photos, found.probabilities
    return {photo.key: tuple(row.tolist()) for photo, row in zip(photos, probabilities)}


@dataclass(frozen=True)
class Side:
    """A teacher or a student on one part: accuracy, ms a photo, size of its model's files in MB."""

    name: str
    accuracy: float
    ms: float
    mb: float
    photos: int


def beside(
    teacher: str | Path,
    student: str | Path,
    on: str = "validation",
    *,
    data: str | Path | None = None,
    ask: Ask = ask_model,
    measure: Callable[[Path], float] = time_run,
) -> tuple[Side, Side]:
    """Teacher and student beside each other on one part; their time is measured now.

    An ensemble that stops early costs what it then asks.
    """
    rows = []
    for run in (Run(teacher).require_finished(), Run(student).require_finished()):
        found = part_answers(run, on, Path(data) if data else None, ask)
        if run.is_ensemble:
            ensemble = Ensemble.read(run)
            folders = ensemble.folders(run)
            ms = sum(measure(folder) for folder in folders)
            if ensemble.early_stop:
                ms *= ensemble.validation[ensemble.vote].get("cost_ratio", 1.0)
            mb = sum(Run(folder).model.stat().st_size for folder in folders) / 1e6
        else:
            ms, mb = measure(run.folder), run.model.stat().st_size / 1e6
        accuracy = float(np.mean(found.predicted == found.labels))
        rows.append(Side(run.name, accuracy, ms, mb, len(found.photos)))
    return rows[0], rows[1]


def markdown(rows: tuple[Side, Side], on: str) -> str:
    """:func:`beside` as a Markdown table."""
    teacher, student = rows
    lines = [f"# Student and teacher on {student.photos:,} {on} photos", ""]
    lines += table(
        ["", "accuracy", "ms a photo", "MB"],
        [[f"{row.name} ({who})", row.accuracy, f"{row.ms:.1f}", f"{row.mb:.1f}"]
         for who, row in zip(("teacher", "student"), rows)],
    )  # fmt: skip
    points = 100 * (student.accuracy - teacher.accuracy)
    lines += [f"The student is {points:+.1f} points from its teacher at {student.ms / teacher.ms:.2f} of its time."]
    return "\n".join([*lines, ""])
