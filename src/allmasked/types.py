"""The data that flows between the rooms: frozen dataclasses and one protocol, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Label = Literal["all", "none", "some"]
Answer = Literal["all", "none", "some", "nobody"]
Part = Literal["train", "validation", "test", "left_out"]
Wear = Literal["masked", "unmasked", "incorrect", "unknown"]
Size = tuple[int, int]
"""Width and height in px, in this order, as everywhere in this package."""

CLASSES: tuple[Label, ...] = ("all", "none", "some")
"""The class order of every probability array: column 0 is P(all), 1 is P(none), 2 is P(some)."""

NOBODY: Answer = "nobody"
"""The fourth label: no face is there. Only photos for training may carry it, see ``--extra`` of ``allmasked train``."""

LABELS: tuple[Answer, ...] = (*CLASSES, NOBODY)
"""All labels a photo may have; training labels are indices into it."""

PARTS: tuple[Part, ...] = ("train", "validation", "test", "left_out")


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
    label: Label  # or "nobody", in training photos only
    sha256: str = ""
    width: int = 0
    height: int = 0
    group: int = -1
    part: Part = "train"
    reason: str = ""
    faces: tuple[Face, ...] | None = None


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
    """A face that a model found: a peak of its evidence maps, or a box where it has learnt boxes.

    Edges in px of the upright photo; ``score`` 0-1 is how sure the model is of a face worn like that.
    """

    wear: Literal["masked", "bare"]
    score: float
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height_px(self) -> float:
        return self.bottom - self.top


@dataclass(frozen=True)
class Prediction:
    """The answer for one photo.

    ``probabilities`` are in the order of :data:`CLASSES`; with ``p_nobody`` they sum to 1. ``label`` is the likeliest
    of the four. ``faces`` is None where the model can't tell (a head without evidence maps), and so are the counts.
    ``error`` is empty when all went well; otherwise ``label`` and ``probabilities`` are None.
    """

    path: str
    label: Answer | None
    probabilities: tuple[float, float, float] | None
    error: str = ""
    p_nobody: float | None = None
    faces: tuple[FoundFace, ...] | None = None

    @property
    def given_somebody(self) -> tuple[float, float, float] | None:
        """``probabilities`` of a photo that somebody is in: they sum to 1."""
        if self.probabilities is None or not self.p_nobody:
            return self.probabilities
        p_all, p_none, p_some = self.probabilities
        total = p_all + p_none + p_some
        return (p_all / total, p_none / total, p_some / total) if total else (1 / 3, 1 / 3, 1 / 3)

    @property
    def masked(self) -> int | None:
        """How many of the faces found wear a mask."""
        return None if self.faces is None else sum(face.wear == "masked" for face in self.faces)

    @property
    def bare(self) -> int | None:
        """How many of the faces found wear none, or not as they should."""
        return None if self.faces is None else sum(face.wear == "bare" for face in self.faces)


@dataclass(frozen=True)
class Answers:
    """What a model says about a batch of N photos.

    Attributes:
        probabilities: (N, 3) float32, columns as :data:`CLASSES`, rows summing to 1: what the photo is if somebody is
            there.
        nobody: (N,) float32, the probability that nobody is there; None where the head can't tell.
        heat: (N, h, w, 2) float32 0-1, "masked here" and "bare here"; or (N, h, w, 3) raw class activation maps of a
            linear head, one a class; or None.
        boxes: (N, h, w, 4) float32, for each cell left, top, right, bottom in px of the input of the face centred
            there; None where no boxes were learnt.
    """

    probabilities: NDArray[np.float32]
    nobody: NDArray[np.float32] | None = None
    heat: NDArray[np.float32] | None = None
    boxes: NDArray[np.float32] | None = None

    def rows(self, chosen: NDArray[np.bool_]) -> Answers:
        """The answers about some of the photos."""
        others = (None if values is None else values[chosen] for values in (self.nobody, self.heat, self.boxes))
        return Answers(self.probabilities[chosen], *others)


class Predictor(Protocol):
    """What answers: a Keras run, an exported file or an ensemble. Interfaces always carry RGB 0-255."""

    name: str
    size: Size
    fit: Literal["letterbox", "squash"]

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, 3), rows summing to 1, columns as :data:`CLASSES`, for pixels (N, H, W, 3) uint8 RGB."""
        ...

    def answer(self, pixels: NDArray[np.uint8]) -> Answers:
        """The same with all that the model can tell."""
        ...
