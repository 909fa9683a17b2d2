"""A closer look: the same network on overlapping parts of a photo, for small faces; NumPy only.

Five parts, each :data:`SHARE` of the photo's sides: its corners and its middle. The presence of masked faces, and of
bare ones, is the mean of what the whole photo says (logits) and of what the part says that shows most of them. Faces
are those of the whole and of all parts, each once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from allmasked import pixels as px
from allmasked.evidence import OVERLAP, probabilities_of
from allmasked.faces import Pooling, faces_of, labelled, nobody_of, without_small_faces
from allmasked.types import Answers, FoundFace, Prediction, Predictor, Size

Floats = NDArray[np.float32]

TILES = ("never", "unsure", "always")
"""When to look closer: at no photo, at those whose likeliest answer has less than :data:`UNSURE`, at each."""

SHARE, UNSURE = 0.6, 0.7
PLACES = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5))
INSIDE = 0.6
"""Of two faces, the less sure one goes that lies in the other to this share: at a part's edge faces are cut."""


def wanted(answers: Answers, when: str) -> NDArray[np.bool_]:
    """Which photos (N,) of a batch to look at again; ``when`` is one of :data:`TILES`."""
    assert answers.nobody is not None
    likeliest = np.maximum(answers.probabilities.max(1) * (1 - answers.nobody), answers.nobody)
    return likeliest < {"never": 0.0, "unsure": UNSURE, "always": math.inf}[when]


def parts_of(photo: Size) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom px of each part of a photo (width, height)."""
    sides = [max(1, round(SHARE * side)) for side in photo]
    starts = [[round((whole - side) * at) for whole, side, at in zip(photo, sides, place)] for place in PLACES]
    return [(left, top, left + sides[0], top + sides[1]) for left, top in starts]


def decoded_size(size: Size) -> Size:
    """How large (px) a photo should be at least, for parts that fill a network's input of ``size``."""
    return math.ceil(size[0] / SHARE), math.ceil(size[1] / SHARE)


def presence_of(answers: Answers) -> Floats:
    """The logits (N, 2) of "somebody masked is there" and "somebody bare is there"."""
    assert answers.nobody is not None
    p_all, p_none, p_some = (answers.probabilities.astype(np.float64) * (1 - answers.nobody[:, None])).T
    there = np.clip(np.stack([p_all + p_some, p_none + p_some], 1), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(there / (1 - there)), np.float32)


def look_closer(
    predictor: Predictor,
    image: Image.Image,
    photo: Size,
    first: Prediction,
    presence: Floats,
    pooling: Pooling,
    score: float,
    min_face_px: float = 0,
) -> Prediction:
    """The answer for a photo after a closer look.

    Args:
        predictor: one with maps.
        image: the photo, of :func:`decoded_size` where it is so large.
        photo: its upright width and height in px, which the faces are in.
        first: the answer for the whole.
        presence: (2,) logits that ``first`` came from (:func:`presence_of`).
        pooling: of the predictor's maps.
        score: the lowest score of a face.
        min_face_px: faces lower than this in the photo don't count.
    """
    size, fit = predictor.size, predictor.fit
    parts = parts_of(image.size)
    pixels = np.stack([px.fit_to(image.crop(part), size, fit) for part in parts])
    answers = predictor.answer(pixels)
    part_size = (parts[0][2] - parts[0][0], parts[0][3] - parts[0][1])
    scale = photo[0] / image.width, photo[1] / image.height
    lowest = min_face_px / scale[1] * px.placement(part_size, size, fit).scale_y
    if min_face_px:
        answers = without_small_faces(answers, pooling, np.full(len(parts), lowest))
    together = (presence + presence_of(answers).max(0))[None] / 2
    faces = list(first.faces or ())
    for row, (left, top, _, _) in enumerate(parts):
        faces += [
            FoundFace(
                face.wear,
                face.score,
                (face.left + left) * scale[0],
                (face.top + top) * scale[1],
                (face.right + left) * scale[0],
                (face.bottom + top) * scale[1],
            )
            for face in faces_of(answers, row, part_size, size, fit, score, lowest) or ()
        ]
    nobody = float(nobody_of(together)[0])
    return labelled(first.path, probabilities_of(together)[0], nobody, once(faces) if first.faces is not None else None)


def once(faces: Sequence[FoundFace]) -> tuple[FoundFace, ...]:
    """Each face once: of two that overlap (IoU) or of which one lies in the other, the surer; surest first."""
    kept: list[FoundFace] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not any(_same(face, other) for other in kept):
            kept.append(face)
    return tuple(kept)


def _same(face: FoundFace, other: FoundFace) -> bool:
    width = min(face.right, other.right) - max(face.left, other.left)
    height = min(face.bottom, other.bottom) - max(face.top, other.top)
    shared = max(0.0, width) * max(0.0, height)
    areas = [(one.right - one.left) * (one.bottom - one.top) for one in (face, other)]
    return shared > OVERLAP * (sum(areas) - shared) or shared > INSIDE * min(areas)
