"""Marked boxes that make no sense, as far as it can be told without looking at the photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from allmasked.core.types import Face, FoundFace, Photo

Oddity = Literal["outside", "whole", "shape", "twice", "contradict"]

ODDITIES: dict[Oddity, tuple[str, str]] = {
    "outside": ("boxes reaching out of their photo",
                "Faces at the edge, or drawn on another size or on the photo turned: look at them."),
    "whole": ("boxes as large as their photo", "Right for portraits; elsewhere the photo was marked, not a face."),
    "shape": ("boxes of no face's shape (under 3 px, or one side over 4 times the other)",
              "Slips of the pen: mend them."),
    "twice": ("faces marked twice", "Remove one of the two: it counts as two people."),
    "contradict": ("faces marked as masked and as bare at once", "One is wrong, and with it the label: look at them."),
}  # fmt: skip
"""What may be odd about a box: in words, and the way out."""

TOO_MUCH_OUTSIDE = 0.1  # of the box
SAME_FACE_OVERLAP = 0.6  # intersection over union
FEW_PHOTOS, HALF = 20, 0.6


@dataclass(frozen=True)
class OddBox:
    """One box; edges in px of the upright photo."""

    path: str
    kind: Oddity
    wear: str
    left: float
    top: float
    right: float
    bottom: float


def odd_boxes(photos: Sequence[Photo]) -> list[OddBox]:
    """The boxes of photos of known size that make no sense."""
    return [
        OddBox(photo.path, kind, face.wear, face.left, face.top, face.right, face.bottom)
        for photo in photos
        if photo.width and photo.height
        for face, kind in _odd(photo)
    ]


def _odd(photo: Photo) -> Iterator[tuple[Face, Oddity]]:
    faces = photo.faces or ()
    whole = Face("masked", 0, 0, photo.width, photo.height)
    for face in faces:
        width, height = face.right - face.left, face.bottom - face.top
        if shared(face, whole) < (1 - TOO_MUCH_OUTSIDE) * width * height:
            yield face, "outside"
        elif width * height > 0.95 * photo.width * photo.height:
            yield face, "whole"
        elif min(width, height) < 3 or max(width, height) > 4 * min(width, height):
            yield face, "shape"
    for one, other in combinations(faces, 2):
        if overlap(one, other) > SAME_FACE_OVERLAP:
            yield other, "twice" if one.wear == other.wear or "unknown" in (one.wear, other.wear) else "contradict"


def drawn_elsewhere(photos: Sequence[Photo]) -> str:
    """Whether the boxes as a whole seem to be drawn on pictures of another size or turned, in words; empty if not."""
    marked = [photo for photo in photos if photo.faces and photo.width and photo.height]
    out = [photo for photo in marked if any(kind == "outside" for _, kind in _odd(photo))]
    if len(marked) < FEW_PHOTOS:
        return ""
    across = max(face.right / photo.width for photo in marked for face in photo.faces or ())
    down = max(face.bottom / photo.height for photo in marked for face in photo.faces or ())
    if across < HALF or down < HALF:
        return "no box reaches into the far half of its photo: they seem to be drawn on smaller pictures"
    if len(out) < len(marked) / 5:
        return ""
    turned = sum(
        all(face.right <= photo.height + 1 and face.bottom <= photo.width + 1 for face in photo.faces or ())
        for photo in out
    )
    how = "on the photos turned by a quarter" if turned > 0.9 * len(out) else "on larger pictures"
    return f"boxes of {len(out):,} of {len(marked):,} photos reach out of them: they seem to be drawn {how}"


def shared(one: Face | FoundFace, other: Face | FoundFace) -> float:
    """The area that both cover, px^2."""
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    return max(0.0, across) * max(0.0, down)


def area(face: Face | FoundFace) -> float:
    """Of a face, px^2."""
    return max(1e-9, (face.right - face.left) * (face.bottom - face.top))


def overlap(one: Face | FoundFace, other: Face | FoundFace) -> float:
    """Intersection over union, 0-1."""
    both = shared(one, other)
    return both / (area(one) + area(other) - both)
