"""The data that flows between the rooms: frozen dataclasses and one protocol, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Class = Literal["all", "none", "some"]
Label = Literal["all", "none", "some", "nobody"]
"""What an answer may be, and what a photo may be labelled: "nobody" is none of the classes, and never scored."""
Part = Literal["train", "validation", "test", "left_out"]
Wear = Literal["masked", "bare", "incorrect", "unknown"]
"""``unknown``: somebody may be there; nothing is asked about the place, and it never decides a label."""
Size = tuple[int, int]
"""Width and height in px, in this order, as everywhere in this package."""
ResizeMode = Literal["letterbox", "stretch"]
"""How a photo is resized to a network's input: aspect kept and the rest filled with grey, or stretched."""
Scaling = Literal["backbone", "none"]
"""A network's own first step: its backbone's scaling, or none (raw 0-255, as in the notebooks)."""

CLASSES: tuple[Class, ...] = ("all", "none", "some")
"""The class order of every probability array: column 0 is P(all), 1 is P(none), 2 is P(some)."""

CATEGORIES: dict[str, int] = {"none": 0, "all": 1, "some": 2}
"""The numbers that the notebooks' competition gave the classes."""

NOBODY: Final = "nobody"
"""The fourth label: no face is there. Only photos for training may carry it, see ``allmasked extend``."""

LABELS: tuple[Label, ...] = (*CLASSES, NOBODY)
"""All labels a photo may have; training labels are indices into it."""

PARTS: tuple[Part, ...] = ("train", "validation", "test", "left_out")


@dataclass(frozen=True)
class InputSpec:
    """What a network takes: RGB photos 0-255, resized to ``size`` by ``resize_mode``.

    Members of an ensemble whose inputs are equal are given the same pixels; ``scaling`` makes no difference to these.
    """

    size: Size
    resize_mode: ResizeMode = "letterbox"
    scaling: Scaling = field(default="backbone", compare=False)


@dataclass(frozen=True)
class Face:
    """One marked face. Box edges in px of the upright photo (EXIF orientation applied), right/bottom exclusive."""

    wear: Wear
    left: float
    top: float
    right: float
    bottom: float

    @property
    def masked(self) -> bool:
        """Whether the mask is worn as it should be; a mask worn incorrectly counts as not worn."""
        return self.wear == "masked"

    @property
    def height_px(self) -> float:
        return self.bottom - self.top


@dataclass(frozen=True)
class Photo:
    """One labelled photo of a data set.

    ``path`` is relative to the data set's root, with ``/``. ``faces`` is None where boxes are not known (an empty
    tuple means: known to show no face). ``group`` numbers the group of near-duplicates, -1 before a split is made.
    ``width`` and ``height`` are px of the upright photo, 0 where unknown.
    """

    path: str
    label: Label
    sha256: str = ""
    width: int = 0
    height: int = 0
    group: int = -1
    part: Part = "train"
    reason: str = ""
    faces: tuple[Face, ...] | None = None

    @property
    def key(self) -> str:
        """What makes two photos the same: their bytes; the path where those were never hashed."""
        return self.sha256 or self.path


@dataclass(frozen=True)
class Split:
    """A data set divided into parts; what ``split.json`` holds. ``root`` is the data set's folder (absolute)."""

    root: Path
    photos: tuple[Photo, ...]
    seed: int
    settings: Mapping[str, object] = field(default_factory=dict)

    def part(self, name: Part) -> tuple[Photo, ...]:
        """The photos of one part, in file order."""
        return tuple(photo for photo in self.photos if photo.part == name)


@dataclass(frozen=True)
class FoundFace:
    """A face that a model found, as :mod:`allmasked.networks.reading` reads it from the evidence.

    Attributes:
        wear: ``masked`` or ``bare``; the photo's label follows from the faces that count, and they from it.
        score: 0-1, the probability that it is a face.
        left, top, right, bottom: px of the upright photo.
        p_masked: 0-1, the probability that it wears a mask if it is a face.
        counts: whether the answer takes it into account.
        reason: why it doesn't count; empty where it does.
    """

    wear: Literal["masked", "bare"]
    score: float
    left: float
    top: float
    right: float
    bottom: float
    p_masked: float = 0.5
    counts: bool = True
    reason: str = ""

    @property
    def height_px(self) -> float:
        return self.bottom - self.top

    def to_dict(self) -> dict[str, Any]:
        """As plain values, rounded; ``reason`` is None where the face counts."""
        return {
            "wear": self.wear, "score": round(self.score, 3), "p_masked": round(self.p_masked, 3),
            "counts": self.counts, "reason": self.reason or None, "left": round(self.left, 1),
            "top": round(self.top, 1), "right": round(self.right, 1), "bottom": round(self.bottom, 1),
        }  # fmt: skip


SURE_MARGIN = 0.6
"""An answer is sure when its label is likelier than the next by this much; the model's card says what that brings."""


@dataclass(frozen=True)
class Prediction:
    """The answer for one photo.

    ``probabilities`` are in the order of :data:`CLASSES`; with ``p_nobody`` they sum to 1. ``label`` is the likeliest
    of the four. ``faces`` is None where the model can't tell (a head without evidence maps), and so are the counts;
    where they are known, label and faces never contradict each other. ``error`` is empty when all went well; otherwise
    ``label`` and ``probabilities`` are None.
    """

    path: str
    label: Label | None
    probabilities: tuple[float, float, float] | None
    error: str = ""
    p_nobody: float | None = None
    faces: tuple[FoundFace, ...] | None = None

    @property
    def four(self) -> tuple[float, float, float, float]:
        """Probabilities of all, none, some and nobody; zeros where there is no answer."""
        p_all, p_none, p_some = self.probabilities or (0.0, 0.0, 0.0)
        return p_all, p_none, p_some, self.p_nobody or 0.0

    @property
    def confidence(self) -> float:
        """The label's probability."""
        return 0.0 if self.label is None else self.four[LABELS.index(self.label)]

    @property
    def sure(self) -> bool | None:
        """Whether the label is likelier than every other by :data:`SURE_MARGIN`; None where there is no answer."""
        if self.label is None:
            return None
        if self.label == NOBODY and any(not face.counts for face in self.faces or ()):
            return False  # somebody is there, only too small or too far away
        rest = max(p for label, p in zip(LABELS, self.four) if label != self.label)
        return self.confidence - rest >= SURE_MARGIN

    def to_dict(self, *, boxes: bool = True) -> dict[str, Any]:
        """As plain values, for JSON or a table: ``path``, ``label``, ``p_all``, ``p_none``, ``p_some``, ``p_nobody``
        (0-1), ``masked``, ``bare``, ``sure``, ``error``; None where there is nothing to say.

        Args:
            boxes: with ``faces``, a list of one dictionary a face, edges in px of the upright photo.
        """
        p_all, p_none, p_some = self.probabilities or (None, None, None)
        chances = {"p_all": p_all, "p_none": p_none, "p_some": p_some, "p_nobody": self.p_nobody}
        row: dict[str, Any] = {"path": self.path, "label": self.label}
        row |= {name: None if p is None else round(p, 6) for name, p in chances.items()}
        row |= {"masked": self.masked, "bare": self.bare, "sure": self.sure, "error": self.error or None}
        if boxes:
            row["faces"] = None if self.faces is None else [face.to_dict() for face in self.faces]
        return row

    @property
    def masked(self) -> int | None:
        """How many of the faces that count wear a mask."""
        return self._number("masked")

    @property
    def bare(self) -> int | None:
        """How many of the faces that count wear none, or not as they should."""
        return self._number("bare")

    def _number(self, wear: str) -> int | None:
        if self.faces is None:
            return None
        return sum(face.counts and face.wear == wear for face in self.faces)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Where one photo may show a face, likeliest first; see :mod:`allmasked.networks.reading`.

    Attributes:
        boxes: (F, 4) float, left, top, right, bottom in px, of the network's input or of the photo.
        score: (F,) 0-1, the probability of a face.
        masked: (F,) 0-1, the probability that this face wears a mask.
        counts: (F,) bool, whether it counts.
    """

    boxes: NDArray[np.floating[Any]]
    score: NDArray[np.floating[Any]]
    masked: NDArray[np.floating[Any]]
    counts: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: NDArray[Any]) -> Candidates:
        """Some of them, in the order of ``rows``."""
        return Candidates(self.boxes[rows], self.score[rows], self.masked[rows], self.counts[rows])


@dataclass(frozen=True)
class Counting:
    """Which faces count, and for how much. A face that doesn't is shown, but says nothing about the photo.

    Attributes:
        min_face_px: a face less high than this is too small to be judged; in px of whatever the boxes are in.
        min_face_share: a face less high than this share of the highest one is far behind the people the photo is about.
        some_factor: the odds of ``some`` are multiplied by it: people in one photo mostly do the same, which faces that
            are judged one by one don't know.
    """

    min_face_px: float = 0.0
    min_face_share: float = 0.0
    some_factor: float = 1.0


@dataclass(frozen=True, eq=False)
class MemberFaces:
    """What one member of an ensemble finds by itself in N photos.

    Attributes:
        view: its input, which the candidates' px are of.
        share: its weight in the vote, above 0.
        counting: which faces count by its own rule.
        faces: N candidates; None for a photo that it was not asked about.
    """

    view: InputSpec
    share: float
    counting: Counting
    faces: Sequence[Candidates | None]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says about a batch of N photos.

    Attributes:
        probabilities: (N, 3) float32, columns as :data:`CLASSES`, rows summing to 1: what the photo is if somebody is
            there.
        nobody: (N,) float32, the probability that nobody is there; None where the head can't tell.
        evidence: (N, h, w, 2) float32 0-1, "masked here" and "bare here"; None where the head makes no such maps.
        cam: (N, h, w, 3) float32, raw class activation maps of a linear head, one a class; None for other heads.
        faces: N candidates in px of the input; None where the head finds no faces.
        counting: which of them count by the model's own rule, in px of the input.
        voted: whether the probabilities are those of a vote; otherwise they are read off the faces, where there are.
        members: what the members of an ensemble find, to be put together on each photo; then ``faces`` is None.
    """

    probabilities: NDArray[np.float32]
    nobody: NDArray[np.float32] | None = None
    evidence: NDArray[np.float32] | None = None
    cam: NDArray[np.float32] | None = None
    faces: tuple[Candidates, ...] | None = None
    counting: Counting = Counting()
    voted: bool = False
    members: tuple[MemberFaces, ...] = ()

    @property
    def own(self) -> NDArray[np.float32]:
        """(N, 3) where the head can't tell whether anybody is there; else (N, 4), those of all four labels."""
        if self.nobody is None:
            return self.probabilities
        return np.column_stack([self.probabilities * (1 - self.nobody[:, None]), self.nobody])


class Predictor(Protocol):
    """What answers: a Keras run, an exported file or an ensemble. Interfaces always carry RGB 0-255.

    A class that names it as its base need only give ``name``, ``input``, :attr:`finds_faces` and :meth:`answer`; all
    else is as for one network with one input.
    """

    name: str
    input: InputSpec

    @property
    def finds_faces(self) -> bool:
        """Whether its answers are read off faces."""
        ...

    @property
    def views(self) -> tuple[InputSpec, ...]:
        """The inputs that a photo is fitted to, ``input`` among them; more than one of some ensembles."""
        return (self.input,)

    @property
    def looks_closer(self) -> bool:
        """Whether it can be asked about parts of a photo, see :mod:`allmasked.predictors.tiles`."""
        return True

    @property
    def network(self) -> Any | None:
        """The Keras model that explainers can look into; None where there is none."""
        return None

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, 3), rows summing to 1, columns as :data:`CLASSES`, for pixels (N, H, W, 3) uint8 RGB."""
        return self.answer(pixels).probabilities

    def answer(self, pixels: NDArray[np.uint8]) -> Answers:
        """The same with all that the model can tell, for photos fitted to ``input``."""
        ...

    def answer_views(self, views: Sequence[NDArray[np.uint8]]) -> Answers:
        """The same for photos fitted to each of :attr:`views`, an array (N, H, W, 3) uint8 RGB a view."""
        (pixels,) = views
        return self.answer(pixels)
