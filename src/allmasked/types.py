"""The data that flows between the rooms: frozen dataclasses and one protocol, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Label = Literal["all", "none", "some"]
Part = Literal["train", "validation", "test", "left_out"]
Wear = Literal["masked", "unmasked", "incorrect"]
Size = tuple[int, int]
"""Width and height in px, in this order, as everywhere in this package."""

CLASSES: tuple[Label, ...] = ("all", "none", "some")
"""The class order of every probability array: column 0 is P(all), 1 is P(none), 2 is P(some)."""

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
    label: Label
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
class Prediction:
    """The answer for one photo. ``probabilities`` are in the order of :data:`CLASSES` and sum to 1.

    ``error`` is empty when all went well; otherwise ``label`` and ``probabilities`` are None.
    """

    path: str
    label: Label | None
    probabilities: tuple[float, float, float] | None
    error: str = ""


class Predictor(Protocol):
    """What answers: a Keras run, later an exported file or an ensemble. Interfaces always carry RGB 0-255."""

    name: str
    size: Size
    fit: Literal["letterbox", "squash"]

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, 3), rows summing to 1, columns as :data:`CLASSES`, for pixels (N, H, W, 3) uint8 RGB."""
        ...
