"""A closer look: the same network on overlapping parts of a photo, for small faces; NumPy only.

Five parts, each :data:`SHARE` of the photo's sides: its corners and its middle. The candidates of the whole and of all
parts are taken together, each face once (a face that a part cuts is none of that part's), and the answer is read off
them as ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from allmasked.core.types import Candidates, Prediction, Predictor, Size
from allmasked.images import pixels as px
from allmasked.networks import reading
from allmasked.predictors.views import on_photo

TILES = ("never", "unsure", "always")
"""When to look closer: never, where the answer isn't sure (:data:`allmasked.core.types.SURE_MARGIN`), or always."""

SHARE = 0.6
PLACES = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5))


def wanted(prediction: Prediction, when: str) -> bool:
    """Whether to look at a photo again; ``when`` is one of :data:`TILES`."""
    return when == "always" or (when == "unsure" and not prediction.sure)


def parts_of(photo: Size) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom px of each part of a photo (width, height)."""
    sides = [max(1, round(SHARE * side)) for side in photo]
    starts = [[round((whole - side) * at) for whole, side, at in zip(photo, sides, place)] for place in PLACES]
    return [(left, top, left + sides[0], top + sides[1]) for left, top in starts]


def decoded_size(size: Size) -> Size:
    """How large (px) a photo should be at least, for parts that fill a network's input of ``size``."""
    return math.ceil(size[0] / SHARE), math.ceil(size[1] / SHARE)


def look_closer(predictor: Predictor, image: Image.Image, photo: Size, first: Candidates) -> Candidates:
    """The candidates of a photo after a closer look, in px of the photo.

    Args:
        predictor: one that finds faces.
        image: the photo, of :func:`decoded_size` where it is so large.
        photo: its upright width and height in px, which ``first`` is in.
        first: the candidates of the whole.
    """
    parts = parts_of(image.size)
    answers = predictor.answer(np.stack([px.to_input(image.crop(part), predictor.input) for part in parts]))
    assert answers.faces is not None
    scale = np.array([photo[0] / image.width, photo[1] / image.height] * 2)
    looks = [first]
    for part, found in zip(parts, answers.faces):
        part_size = (part[2] - part[0], part[3] - part[1])
        placed = on_photo(found, part_size, predictor.input)
        placed = placed.take(np.flatnonzero(~cut_faces(placed.boxes, part, image.size)))
        boxes = (placed.boxes + np.array([part[0], part[1]] * 2)) * scale
        looks.append(Candidates(boxes, placed.score, placed.masked, placed.counts))
    return once(looks)


def cut_faces(boxes: NDArray[np.floating], part: tuple[int, int, int, int], whole: Size) -> NDArray[np.bool_]:
    """Which of the boxes (F, 4), px of the part, reach to an edge where the part was cut from the whole."""
    width, height = part[2] - part[0], part[3] - part[1]
    at_edge = np.concatenate([boxes[:, :2] <= 1, boxes[:, 2:] >= np.array([width, height]) - 1], 1)
    inner = np.array([part[0] > 0, part[1] > 0, part[2] < whole[0], part[3] < whole[1]])
    return np.asarray((at_edge & inner).any(1))


def once(looks: Sequence[Candidates]) -> Candidates:
    """The candidates of several looks, each face once, likeliest first."""
    fields = ("boxes", "score", "masked", "counts")
    return reading.once(Candidates(*(np.concatenate([getattr(one, name) for one in looks]) for name in fields)))
