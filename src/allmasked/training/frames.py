"""Training frames: small cuts of photos whose faces are marked, at many scales.

Most of a photo is not faces. A fully convolutional head learns as much from a frame a quarter as large that is cut
around some face, so an epoch costs a quarter; and each photo gives faces of many sizes. Photos whose faces are not
marked are shown whole, since a cut could lose a face unnoticed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from allmasked.core.config import Recipe
from allmasked.core.types import LABELS, Size
from allmasked.training import augment as aug
from allmasked.training.augment import Boxes, Sample, empty_window

WHOLE = 0.15
"""Share of frames that show the whole photo, shrunk."""
NATURAL = 0.6
"""Share of the others in which faces are about as large as they will be when predicting."""
FACE_PX = (9.0, 150.0)
"""Otherwise the height of the face that the frame is cut around."""
UNMARKED_ZOOM_OUT = 0.35
"""A photo whose faces are not marked fills at least this much of the frame: pictures of single faces, mostly."""
MOST_ENLARGED = 2.0
SEEN, CUT = 0.6, 0.15
"""A face counts when at least this share of its box is in the frame; when less is than the second, it is not there."""
TRIES = 6
NEARLY = (0.7, 1.2)
"""A frame that shows the whole photo shows it so much smaller or larger than when predicting."""
STRETCHED, STRETCH = 0.3, 1.3
"""Share of frames whose width is stretched or squeezed, and by how much at most: some collectors squash photos."""


def cut_frame(
    sample: Sample, rng: np.random.Generator, frame: Size, natural: float, recipe: Recipe, *, whole: bool = False
) -> Sample:
    """One augmented frame. Fully determined by ``rng``'s state.

    Args:
        sample: the photo, larger than the frame.
        rng: what is drawn comes from it.
        frame: width and height px.
        natural: factor from the photo's pixels to those of the input when predicting.
        whole: show nearly all of the photo at nearly the size that it has when predicting; ``frame`` is the input then.
    """
    scale, centre = _whole(sample, frame, natural, rng) if whole else _choose(sample, frame, natural, recipe, rng)
    matrix = _matrix(scale, centre, frame, recipe, rng)
    if sample.boxes is None or not len(sample.boxes):
        boxes, label, complete = sample.boxes, sample.label, True
    else:
        boxes = _seen(aug.moved(sample.boxes, matrix, None), frame)
        asked = boxes[boxes[:, 4] >= 0]
        label = aug.label_of(asked[:, 4]) if len(asked) else LABELS.index("nobody")
        complete = len(asked) == int((sample.boxes[:, 4] >= 0).sum())
    pixels = aug.finish(aug.warp(sample.pixels, matrix, None, frame), recipe, rng)
    return Sample(pixels, label, (0, 0, *frame), boxes, complete)


def _choose(
    sample: Sample, frame: Size, natural: float, recipe: Recipe, rng: np.random.Generator
) -> tuple[float, NDArray[np.float64]]:
    """Scale, and the point of the photo that becomes the frame's centre."""
    left, top, right, bottom = sample.content
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    whole = min(frame[0] / (right - left), frame[1] / (bottom - top))
    boxes = sample.boxes
    if boxes is not None and not len(boxes):  # nobody is there: any part of it will do
        scale = whole * float(np.exp(rng.uniform(np.log(0.7), np.log(3.0))))
        reach = np.maximum(np.array([right - left, bottom - top]) - np.array(frame) / scale, 0) / 2
        return scale, middle + rng.uniform(-1, 1, 2) * reach
    if boxes is None or rng.random() < WHOLE:
        smallest = recipe.zoom_out if boxes is not None else UNMARKED_ZOOM_OUT
        scale = whole * float(np.exp(rng.uniform(np.log(smallest), 0)))
        room = np.maximum(np.array(frame) / scale - (right - left, bottom - top), 0) / 2
        return scale, middle + rng.uniform(-1, 1, 2) * room
    if rng.random() < recipe.empty_crops:
        found = empty_window(boxes, sample.content, rng)
        if found is not None:
            x0, y0, x1, y1 = found[0]
            scale = max(frame[0] / (x1 - x0), frame[1] / (y1 - y0))
            if scale <= MOST_ENLARGED:
                return scale, np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    best: tuple[float, float, NDArray[np.float64]] | None = None
    for _ in range(TRIES):
        wears = np.unique(boxes[:, 4])
        of_wear = boxes[boxes[:, 4] == rng.choice(wears)]  # bare faces are fewer: both kinds come up alike
        face = of_wear[rng.integers(len(of_wear))]
        height = float(face[3] - face[1])
        if rng.random() < NATURAL:
            scale = natural * float(np.exp(rng.uniform(np.log(0.6), np.log(1.6))))
        else:
            scale = float(np.exp(rng.uniform(*np.log(FACE_PX)))) / height
        scale = float(np.clip(scale, whole * 0.7, max(MOST_ENLARGED, whole)))
        scale = min(scale, 0.9 * frame[1] / height, 0.9 * frame[0] / float(face[2] - face[0]))
        reach = np.maximum(np.array(frame) / scale - (face[2:4] - face[:2]), 0) / 2
        centre = (face[:2] + face[2:4]) / 2 + rng.uniform(-1, 1, 2) * reach
        half = np.array(frame) / scale / 2
        corner = np.clip(centre - half, np.minimum((left, top), np.array((right, bottom)) - 2 * half),
                         np.maximum((left, top), np.array((right, bottom)) - 2 * half))  # fmt: skip
        centre = corner + half
        share = aug.share_inside(boxes, np.concatenate([centre - half, centre + half]))
        cut = float(((share > CUT) & (share < 0.95)).sum())
        if best is None or cut < best[0]:
            best = (cut, scale, centre)
        if cut == 0:
            break
    assert best is not None
    return best[1], best[2]


def _whole(sample: Sample, frame: Size, natural: float, rng: np.random.Generator) -> tuple[float, NDArray[np.float64]]:
    """Scale and centre of a frame as large as the input."""
    left, top, right, bottom = sample.content
    smallest = NEARLY[0] if sample.boxes is not None else UNMARKED_ZOOM_OUT
    largest = NEARLY[1] if sample.boxes is not None else 1.0
    scale = natural * float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
    play = np.abs(np.array(frame) / scale - (right - left, bottom - top)) / 2
    return scale, np.array([(left + right) / 2, (top + bottom) / 2]) + rng.uniform(-1, 1, 2) * play


def _seen(boxes: Boxes, frame: Size) -> Boxes:
    """The boxes in the frame; those that are cut are marked -1."""
    share = aug.share_inside(boxes, np.array([0, 0, *frame], np.float64))
    boxes = boxes.copy()
    boxes[share < SEEN, 4] = -1
    return boxes[share > CUT]


def _matrix(
    scale: float, centre: NDArray[np.float64], frame: Size, recipe: Recipe, rng: np.random.Generator
) -> NDArray[np.float64]:
    """2 x 3: mirror, turn and scale around ``centre``, which goes to the frame's centre."""
    turn = scale * aug.turned(recipe, rng)
    if rng.random() < STRETCHED:
        factor = float(np.exp(rng.uniform(-1, 1) * np.log(STRETCH) / 2))
        turn = turn @ np.diag([factor, 1 / factor])
    return np.concatenate([turn, (np.array(frame) / 2 - turn @ centre)[:, None]], axis=1)
