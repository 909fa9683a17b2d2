"""What a model sees in the photos of a data set: faces that nobody marked, and labels that it contradicts.

Where a photo's faces are marked, marks and model are put together: a marked face that the model misses (small, turned
away) still counts, so that a photo is not accused of what the model can't see. Nor are marks of masks worn incorrectly:
the model takes most masks below the nose for worn (``docs/LOG.md``).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from allmasked.core.progress import track
from allmasked.core.types import NOBODY, Face, FoundFace, Label, Photo, Prediction, Predictor, Wear
from allmasked.inspection.boxes import area, overlap, shared
from allmasked.predictors.predictor import predict_paths

SURE_FACE = 0.8
"""A face found is told from this probability on; at it, most are faces, see ``docs/LOG.md``."""
SURE_WEAR = 0.9
"""Likewise what it wears."""
SAME_FACE, OTHER_FACE = 0.4, 0.2
"""Intersection over union from which on a box found is a marked one; share of the smaller box under which it is not."""


@dataclass(frozen=True)
class SeenFace:
    """A face that the model finds; ``marked`` is what stands in the data set there, empty where nobody marked it.

    ``probability`` is that of a face where nobody marked it, that of its ``wear`` otherwise; edges in px of the upright
    photo.
    """

    path: str
    label: Label
    marked: Wear | Literal[""]
    wear: Literal["masked", "bare"]
    probability: float
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Doubt:
    """A label that contradicts what is seen: ``seen`` by the model (with the marked faces that it misses),
    ``probability`` of its own answer, ``faces`` those that count in it, ``missed`` how many marked ones it misses."""

    path: str
    label: Label
    seen: Label
    probability: float
    faces: tuple[SeenFace, ...]
    missed: int

    @property
    def words(self) -> str:
        """What is seen, with the faces found."""
        bare = sum(face.wear == "bare" for face in self.faces)
        found = f": {len(self.faces) - bare} masked, {bare} bare" if self.faces else ""
        return f"seen as {self.seen}{found}" + f", {self.missed} more marked" * bool(self.missed)


@dataclass(frozen=True)
class Seen:
    """What a model saw in ``photos`` photos, each list surest first."""

    model: str
    photos: int
    seconds: float
    doubts: tuple[Doubt, ...]
    unmarked: tuple[SeenFace, ...]
    other_wear: tuple[SeenFace, ...]


def look(predictor: Predictor, root: Path, photos: Sequence[Photo], *, threads: int | None = None) -> Seen:
    """Let a model that finds faces look at photos; those that can't be read are passed over."""
    started = time.monotonic()
    said = predict_paths(predictor, ((photo.path, root / photo.path) for photo in photos), threads=threads)
    return judged(predictor.name, zip(photos, track(said, "looking at photos", total=len(photos))), started=started)


def judged(model: str, answers: Iterable[tuple[Photo, Prediction]], *, started: float | None = None) -> Seen:
    """Photos against what a model says of them."""
    started = time.monotonic() if started is None else started
    doubts, unmarked, other_wear, count = [], [], [], 0
    for photo, said in answers:
        if said.label is None:
            continue
        count += 1
        matches = _matches(photo.faces or (), said.faces or ())
        if doubt := _doubt(photo, said, matches):
            doubts.append(doubt)
        if photo.faces is None:
            continue
        sure_faces = [face for face in said.faces or () if face.counts and face.score >= SURE_FACE]
        for face in sure_faces:
            if all(_covered(face, mark) < OTHER_FACE for mark in photo.faces):
                unmarked.append(_seen(photo, face, "", face.score))
        for mark, face in matches:
            sure = face.p_masked if face.wear == "masked" else 1 - face.p_masked
            otherwise = (mark.wear, face.wear) in (("masked", "bare"), ("bare", "masked"))
            if otherwise and face.score >= SURE_FACE and sure >= SURE_WEAR:
                other_wear.append(_seen(photo, face, mark.wear, sure))
    return Seen(
        model,
        count,
        time.monotonic() - started,
        tuple(sorted(doubts, key=lambda doubt: (-doubt.probability, doubt.path))),
        *(tuple(sorted(faces, key=lambda face: (-face.probability, face.path))) for faces in (unmarked, other_wear)),
    )


def _doubt(photo: Photo, said: Prediction, matches: Sequence[tuple[Face, FoundFace]]) -> Doubt | None:
    """The doubt about a photo's label, if the model is sure and what it found is not what the label says."""
    if not said.sure or said.label == photo.label or said.label is None:
        return None
    found = list(said.faces or ())
    counted = [face for face in found if face.counts]
    marks = {id(face): mark.wear for mark, face in matches}
    known = [id(mark) for mark, _ in matches]
    missed = [mark.wear for mark in photo.faces or () if mark.wear != "unknown" and id(mark) not in known]

    def answer(faces: Sequence[FoundFace], incorrect: bool) -> Label:
        """Where masks worn incorrectly count as masks, or don't, and the model's word on them is not taken."""
        worn = [incorrect if marks.get(id(face)) == "incorrect" else face.wear == "masked" for face in faces]
        return _answer([*worn, *(wear == "masked" or (incorrect and wear == "incorrect") for wear in missed)])

    seen = said.label
    if said.faces is not None:
        seen = _answer([*(face.wear == "masked" for face in counted), *(wear == "masked" for wear in missed)])
        if photo.label in {answer(faces, k) for faces in (counted, found) for k in (True, False)}:
            return None  # the marks say what the model missed or can't tell, or a face far behind decides the label
    if photo.label == seen:
        return None
    faces = tuple(_seen(photo, face, marks.get(id(face), ""), face.score) for face in counted)
    return Doubt(photo.path, photo.label, seen, round(said.confidence, 4), faces, len(missed))


def _answer(masked: Sequence[bool]) -> Label:
    return NOBODY if not masked else "all" if all(masked) else "some" if any(masked) else "none"


def _matches(marks: Sequence[Face], found: Sequence[FoundFace]) -> list[tuple[Face, FoundFace]]:
    """Which face found is which marked one, the best overlap first; each once."""
    pairs = sorted(
        ((both, a, b) for a, mark in enumerate(marks) for b, face in enumerate(found)
         if (both := overlap(mark, face)) >= SAME_FACE),
        reverse=True,
    )  # fmt: skip
    free_marks, free_found, matches = set(range(len(marks))), set(range(len(found))), []
    for _, a, b in pairs:
        if a in free_marks and b in free_found:
            free_marks.remove(a)
            free_found.remove(b)
            matches.append((marks[a], found[b]))
    return matches


def _seen(photo: Photo, face: FoundFace, marked: Wear | Literal[""], probability: float) -> SeenFace:
    edges = (round(edge, 1) for edge in (face.left, face.top, face.right, face.bottom))
    return SeenFace(photo.path, photo.label, marked, face.wear, round(probability, 4), *edges)


def _covered(one: Face | FoundFace, other: Face | FoundFace) -> float:
    return shared(one, other) / min(area(one), area(other))
