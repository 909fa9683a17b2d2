"""All photos that are looked at as columns in memory: filtered, ordered, and marked with mended labels."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from allmasked.core.errors import ConfigError, PhotoError
from allmasked.core.types import LABELS, PARTS, Label
from allmasked.data.relabelling import read_relabels, write_relabels
from allmasked.viewing.sources import Seen, Source

FACE_EDGES_PX = (16, 32, 64, 128)
"""Borders of the choices by height of the smallest face, px of the photo."""
MOST_ANSWERS = 2


class Query(BaseModel):
    """Which photos, in which order; empty fields choose nothing. ``answer``, ``sure`` and ``verdict`` are about the
    first model, ``between`` about both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = ""
    label: Literal["", "all", "none", "some", "nobody", "-"] = ""
    part: Literal["", "train", "validation", "test", "left_out"] = ""
    answer: Literal["", "all", "none", "some", "nobody", "-"] = ""
    sure: Literal["", "yes", "no"] = ""
    verdict: Literal["", "right", "wrong", "failed"] = ""
    between: Literal["", "agree", "differ", "first", "second"] = ""
    faces: Literal["", "0", "1", "2", "3", "4", "-"] = ""
    mended: Literal["", "yes", "no"] = ""
    order: Literal["path", "doubt", "unsure", "small", "apart"] = "path"


class Mending:
    """The CSV of mended labels, written anew at each change; what another program wrote there meanwhile is kept.

    Raises:
        ConfigError: it would lie in the data set, and be read as part of it.
        DataError: there is one that can't be read.
    """

    def __init__(self, file: Path, root: Path) -> None:
        self.file, self.root = file.resolve(), root
        if self.file.is_relative_to(root):
            raise ConfigError(f"{file}: lies in the data set's folder, where it would be read as part of it; "
                              "say with --labels where else mended labels go")  # fmt: skip
        self._lock = threading.Lock()
        self.labels = self._read()

    def _read(self) -> dict[str, Label]:
        return read_relabels(self.file) if self.file.exists() else {}

    def mend(self, path: str, label: Label | None) -> None:
        """Set a photo's label (None: as it was) and write the file."""
        with self._lock:
            labels = {name: said for name, said in self._read().items() if name != path}
            if label is not None:
                labels[path] = label
            write_relabels(self.file, labels)
            self.labels = labels


class Table:
    """The photos of one to three sources, each photo once.

    Attributes:
        files: (N,) the photos.
        models: the sources that answer, two at most.
        root: the folder that mended labels' paths are relative to.
        has_faces: whether the answers tell faces.

    Raises:
        ConfigError: more than two sources answer.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self.mending: Mending | None = None
        answering = [number for number, source in enumerate(sources) if source.answers]
        if len(answering) > MOST_ANSWERS:
            raise ConfigError(f"answers of {len(answering)} models are given; two are shown side by side at most")
        self.models = [sources[number] for number in answering]
        self.root = next((source.root for source in sources if source.labelled), sources[0].root)
        self._rows = rows = _joined(sources)
        self._first = [next((one for one in row if one and one.label), next(filter(None, row))) for row in rows]
        self.files = [one.file for one in self._first]
        self.paths = [_below(file, self.root) for file in self.files]
        self._text = [path.lower() for path in self.paths]
        self.label = np.array([_code(one.label) for one in self._first], np.int8)
        self.part = np.array([PARTS.index(p) if (p := one.part) in PARTS else -1 for one in self._first], np.int8)
        self.said = [[row[number] for number in answering] for row in rows]

        def column(of: Callable[[Seen | None], Any], kind: Any, *more: int) -> NDArray[Any]:
            values = [[of(one) for one in row] for row in self.said]
            return np.array(values, kind).reshape(len(rows), len(answering), *more)

        self.answer = column(lambda one: _code(one.answer.label if one and one.answer else None), np.int8)
        self.failed = column(lambda one: bool(one and one.answer and one.answer.error), bool)
        self.four = column(lambda one: one.answer.four if one and one.answer else (0,) * 4, np.float32, len(LABELS))
        self.sure = column(_sure, bool)
        self.face_px = np.array([_smallest_face_px(row) for row in rows], np.float32)
        self.has_faces = any(one and one.answer and one.answer.faces is not None for row in self.said for one in row)
        self.mended = np.full(len(rows), -1, np.int8)
        self.numbers = {path: number for number, path in enumerate(self.paths)}
        self.found = lru_cache(16)(self._found)

    def __len__(self) -> int:
        return len(self.files)

    def mend_into(self, mending: Mending) -> None:
        """Show the labels that a file holds, and write those to come into it."""
        self.mending = mending
        for path, label in mending.labels.items():
            if path in self.numbers:
                self.mended[self.numbers[path]] = _code(label)

    def mend(self, number: int, label: Label | None) -> None:
        """Mark a label as mended (None: as it was). Raises :class:`PhotoError` where that can't be written down."""
        path = self.paths[number]
        if self.mending is None or Path(path).is_absolute():
            raise PhotoError(path, f"lies outside {self.root}, which mended labels are relative to")
        self.mending.mend(path, None if label == self._first[number].label else label)
        self.mended[number] = _code(self.mending.labels.get(path))
        self.found.cache_clear()

    def _found(self, query: Query) -> NDArray[np.int64]:
        """The numbers of the photos that a query wants, in its order."""
        wanted = np.ones(len(self), bool)
        if query.text:
            text = query.text.lower()
            wanted &= np.fromiter((text in path for path in self._text), bool, len(self))
        if query.label:
            wanted &= self.label == _code(query.label)
        if query.part:
            wanted &= self.part == PARTS.index(query.part)
        if query.mended:
            wanted &= (self.mended >= 0) == (query.mended == "yes")
        if query.faces:
            band = np.where(np.isnan(self.face_px), -1, np.searchsorted(FACE_EDGES_PX, self.face_px, side="right"))
            wanted &= band == (-1 if query.faces == "-" else int(query.faces))
        if self.models:
            wanted &= self._answered(query)
        found = np.flatnonzero(wanted)
        return found[np.argsort(self._key(query.order)[found], kind="stable")] if query.order != "path" else found

    def _answered(self, query: Query) -> NDArray[np.bool_]:
        answer, label = self.answer, self.label[:, None]
        judged = (answer >= 0) & (label >= 0)
        right, wrong = judged & (answer == label), judged & (answer != label)
        wanted = np.ones(len(self), bool)
        if query.answer:
            wanted &= answer[:, 0] == _code(query.answer)
        if query.sure:
            wanted &= (answer[:, 0] >= 0) & (self.sure[:, 0] == (query.sure == "yes"))
        if query.verdict:
            wanted &= {"right": right, "wrong": wrong, "failed": self.failed}[query.verdict][:, 0]
        if query.between and len(self.models) == MOST_ANSWERS:
            both = (answer >= 0).all(1)
            same = answer[:, 0] == answer[:, 1]
            wanted &= {"agree": both & same, "differ": both & ~same, "first": right[:, 0] & wrong[:, 1],
                       "second": wrong[:, 0] & right[:, 1]}[query.between]  # fmt: skip
        return wanted

    def _key(self, order: str) -> NDArray[np.float32]:
        """What photos are ordered by, the smallest first; NaN, which is unknown, comes last."""
        if order == "small":
            return self.face_px
        if not self.models or (order == "apart" and len(self.models) < MOST_ANSWERS):
            return np.zeros(len(self), np.float32)
        four, there = self.four, self.answer >= 0
        if order == "apart":
            return np.where(there.all(1), -np.abs(four[:, 0] - four[:, 1]).sum(1), np.nan)
        if order == "unsure":
            top = np.sort(four[:, 0], axis=1)
            return np.where(there[:, 0], top[:, -1] - top[:, -2], np.nan)
        given = np.take_along_axis(four[:, 0], np.maximum(self.label, 0)[:, None].astype(int), 1)[:, 0]
        return np.where(there[:, 0] & (self.label >= 0), given, np.nan)

    def row(self, number: int) -> dict[str, Any]:
        """A photo as its tile shows it."""
        said = zip(self.said[number], self.answer[number], self.four[number], self.sure[number])
        return {
            "number": number, "path": self.paths[number], "label": _name(self.label[number]),
            "mended": _name(self.mended[number]),
            "answers": [
                None if one is None or one.answer is None else
                {"label": _name(code), "p": round(float(four.max()), 3), "sure": bool(sure), "error": one.answer.error}
                for one, code, four, sure in said
            ],
        }  # fmt: skip

    def details(self, number: int) -> dict[str, Any]:
        """All that is known of a photo: its row with part, probabilities and faces."""
        row, first = self.row(number), self._first[number]
        marked = next((one.marked for one in self._rows[number] if one and one.marked is not None), None)
        row |= {"part": first.part, "marked": None if marked is None else [asdict(face) for face in marked]}
        for told, one in zip(row["answers"], self.said[number]):
            if told is not None and one is not None and one.answer is not None:
                told |= {name: p for name, p in one.answer.to_dict().items() if name.startswith("p_")}
                told["faces"] = None if one.answer.faces is None else [face.to_dict() for face in one.answer.faces]
        return row


def _joined(sources: Sequence[Source]) -> list[list[Seen | None]]:
    """For each photo what each source says of it. A photo is the same by its file, else by its bytes where known."""
    rows: list[list[Seen | None]] = []
    known: dict[str, int] = {}
    for number, source in enumerate(sources):
        for one in source.seen:
            names = [os.path.realpath(one.file), *([one.key] if one.key else [])]
            at = next((known[name] for name in names if name in known and rows[known[name]][number] is None), len(rows))
            if at == len(rows):
                rows.append([None] * len(sources))
            rows[at][number] = one
            for name in names:
                known.setdefault(name, at)
    return rows


def _sure(one: Seen | None) -> bool:
    """Whether an answer is sure, as it was told or else by its probabilities."""
    if one is None or one.answer is None:
        return False
    return bool(one.answer.sure if one.sure is None else one.sure)


def _code(label: str | None) -> int:
    """A label's place in LABELS; -1 where there is none."""
    return LABELS.index(cast(Label, label)) if label in LABELS else -1


def _name(code: int) -> Label | None:
    return None if code < 0 else LABELS[code]


def _below(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def _smallest_face_px(row: Sequence[Seen | None]) -> float:
    """Height of the smallest face that is marked, or else was found and counts; NaN where no face is known."""
    for one in filter(None, row):
        if one.marked:
            return min(face.height_px for face in one.marked)
    for one in filter(None, row):
        if one.answer and (heights := [face.height_px for face in one.answer.faces or () if face.counts]):
            return min(heights)
    return float("nan")
