"""What can be looked at: data sets, runs and files of answers, each as what it says of its photos."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from allmasked.core.errors import DataError
from allmasked.core.runs import Run, parse_json
from allmasked.core.types import LABELS, PARTS, Face, FoundFace, Label, Photo, Prediction, Split
from allmasked.data.albums import Problem, read_document, read_table, read_text
from allmasked.data.annotations import Options
from allmasked.data.dataset import is_split, read_split
from allmasked.data.readers import absolute, read, root_of
from allmasked.predictors.ensemble import Ensemble
from allmasked.scoring.evaluate import answers, kept


@dataclass(frozen=True, slots=True)
class Seen:
    """What a source says of a photo.

    Attributes:
        file: the photo, absolute.
        label: that the source gives it; None where it gives none.
        part: of the split, or as the data set has it; empty where unknown.
        marked: faces that the data set marks; None where they are not known.
        key: its SHA-256; empty where it was never hashed.
        answer: what a model said; None where none was asked.
        sure: as the answer was told, where that stands in the file.
    """

    file: Path
    label: Label | None = None
    part: str = ""
    marked: tuple[Face, ...] | None = None
    key: str = ""
    answer: Prediction | None = None
    sure: bool | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """One thing to look at.

    Attributes:
        name: what it is called on the page.
        seen: what it says of its photos.
        root: the folder that labels' paths are relative to, absolute.
        labelled: whether it says what its photos are.
        model: the run whose model answered, where it is at hand.
        said: what could not be used, a line each.
    """

    name: str
    seen: tuple[Seen, ...]
    root: Path
    labelled: bool
    model: Path | None = None
    said: list[str] = field(default_factory=list)

    @property
    def answers(self) -> bool:
        return any(one.answer is not None for one in self.seen) or self.model is not None


def open_source(path: Path, *, data: Path | None = None, options: Options | None = None) -> Source:
    """A data set or ``split.json``, a run or an ensemble's folder, or a file of answers (CSV, JSON, JSONL).

    Args:
        data: the photos' folder, where it is not where a split, a run or a file of answers says.
        options: how a data set is read.

    Raises:
        DataError, RunError: it is none of these, or broken.
    """
    run = Run(path)
    if run.is_ensemble or (run.config.is_file() and run.split.is_file()):
        return _run(run, data)
    if is_split(path):
        split = read_split(path, data)
        return Source(path.name, tuple(_seen(split, split.photos)), split.root, True)
    rows = _rows(path)
    if rows is not None:
        return _answers(path, rows, data)
    found = read(path, options=options)
    seen = (Seen(found.root / p.path, p.label, found.parts.get(p.path, ""), p.faces) for p in found.photos)
    said = [f"{problem.path}: {problem.reason}" for problem in found.problems]
    return Source(found.root.name, tuple(seen), found.root, True, said=said)


def _seen(split: Split, photos: tuple[Photo, ...], found: Mapping[str, Prediction] | None = None) -> Iterator[Seen]:
    for p in photos:
        answer = (found or {}).get(p.path)
        yield Seen(split.root / p.path, p.label, p.part, p.faces, p.sha256, answer)


def _run(run: Run, data: Path | None) -> Source:
    """The photos of a run's split, with the answers that it keeps; nothing is inferred."""
    split = read_split(run.split, data)
    members = Ensemble.read(run).folders(run) if run.is_ensemble else [run.folder]
    found: dict[str, Prediction] = {}
    for part in PARTS[:3] if run.finished else ():
        keys = set.intersection(*(set(kept(Run(folder), part)[0]) for folder in members))
        told = answers(run, [photo for photo in split.part(part) if photo.key in keys], split, part)
        nobody = [None] * len(told.photos) if told.nobody is None else told.nobody.tolist()
        for photo, three, away, label in zip(told.photos, told.probabilities.tolist(), nobody, told.predicted):
            p_all, p_none, p_some = (p * (1 - (away or 0)) for p in three)
            found[photo.path] = Prediction(photo.path, LABELS[label], (p_all, p_none, p_some), p_nobody=away)
    said = [] if found else [f"{run.folder}: keeps no answers; 'allmasked evaluate {run.folder}' makes them"]
    model = run.folder if run.finished else None
    return Source(run.name, tuple(_seen(split, split.photos, found)), split.root, True, model, said)


# --- files of answers -------------------------------------------------------------------------------------------------


def _rows(path: Path) -> list[tuple[int, Any]] | None:
    """The rows of a file of answers with their line numbers; None where it is none."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".tsv", ".json", ".jsonl") or not path.is_file():
        return None
    if kind == ".jsonl":
        rows: list[tuple[int, Any]] = []
        for line, text in enumerate(read_text(path).splitlines(), 1):
            if text.strip():
                try:
                    rows.append((line, parse_json(text)))
                except ValueError as error:
                    rows.append((line, str(error)))
        return rows
    if kind == ".json":
        content = read_document(path)
        if not isinstance(content, list) or not all(isinstance(row, dict) and "p_all" in row for row in content):
            return None
        return list(enumerate(content, 1))
    problems: list[Problem] = []
    header, table = read_table(path, problems, path.name)
    if not {"path", "p_all"} <= set(header):
        return None
    return [(line, dict(zip(header, row))) for line, row in table]


def _answers(path: Path, rows: list[tuple[int, Any]], data: Path | None) -> Source:
    """A file as 'allmasked predict --out' writes it. Its paths are looked up from ``data``, from here, and from it."""
    bases = [root_of(data)] if data is not None else [Path.cwd(), absolute(path).parent]
    seen, said = [], []
    for line, row in rows:
        try:
            answer, sure = _answer(row)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            said.append(f"{path}:{line}: is no answer of 'allmasked predict' ({error})")
            continue
        files = [base / answer.path for base in bases]
        file = next((file for file in files if file.is_file()), files[0])
        seen.append(Seen(Path(os.path.normpath(file)), answer=answer, sure=sure))
    if not seen:
        raise DataError(said[0] if said else f"{path}: holds no answer")
    root = bases[0] if data is not None else Path(os.path.commonpath([one.file.parent for one in seen]))
    return Source(path.name, tuple(seen), root, False, said=said)


def _answer(row: dict[str, Any]) -> tuple[Prediction, bool | None]:
    """A row of ``Prediction.to_dict``, out of JSON or of a CSV; raises ValueError and others where it is none."""
    row = {name: None if value == "" else value for name, value in row.items()}
    label, faces, sure = row["label"], row.get("faces"), row.get("sure")
    if label not in (*LABELS, None):
        raise ValueError(f"label {label!r}")
    if not isinstance(row["path"], str) or "\0" in row["path"]:
        raise ValueError("its path is none")
    if isinstance(faces, str):
        faces = json.loads(faces)
    p_all, p_none, p_some, p_nobody = (_chance(row.get(f"p_{name}")) for name in LABELS)
    three = None
    if p_all is not None and p_none is not None and p_some is not None:
        three = p_all, p_none, p_some
    elif label is not None:
        raise ValueError("a probability is missing")
    found = None if faces is None else tuple(_face(face) for face in faces)
    error = str(row.get("error") or "") or ("" if label else "there is no answer")
    prediction = Prediction(row["path"], cast("Label | None", label), three, error, p_nobody, found)
    return prediction, None if sure is None else str(sure).lower() == "true"


def _face(face: dict[str, Any]) -> FoundFace:
    left, top, right, bottom = (float(face[edge]) for edge in ("left", "top", "right", "bottom"))
    if face["wear"] not in ("masked", "bare") or not math.isfinite(left + top + right + bottom):
        raise ValueError("a face is none")
    score, p_masked = _chance(face["score"]) or 0.0, _chance(face["p_masked"]) or 0.0
    return FoundFace(
        face["wear"], score, left, top, right, bottom, p_masked, bool(face["counts"]), str(face["reason"] or "")
    )


def _chance(value: Any) -> float | None:
    if value is None:
        return None
    if not 0 <= float(value) <= 1:
        raise ValueError(f"probability {value}")
    return float(value)
