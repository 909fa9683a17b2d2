"""Training frames: what they say is what they show."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from allmasked.core.config import Recipe
from allmasked.core.types import LABELS
from allmasked.training.augment import Sample, label_of
from allmasked.training.frames import CUT, cut_frame

FRAME = (128, 96)
PLAIN = Recipe(rotate_degrees=0.0, shrink=1.0, colour=0.0, jpeg=0.0, flip=False, empty_crops=0.1)
MASKED, BARE = (0, 255, 0), (255, 0, 0)
APART = 20
"""How much bluer each face is than the one before."""


def crowd(rng: np.random.Generator) -> Sample:
    """Grey with coloured rectangles for faces: green masked, red bare, each with a blue of its own."""
    pixels = np.full((360, 480, 3), 127, np.uint8)
    boxes = []
    for column in range(4):
        for row in range(3):
            if rng.random() < 0.5:
                side = int(rng.integers(12, 60))
                left, top = 120 * column + int(rng.integers(0, 60)), 120 * row + int(rng.integers(0, 60))
                masked = rng.random() < 0.5
                pixels[top : top + side, left : left + side] = MASKED if masked else BARE
                pixels[top : top + side, left : left + side, 2] = APART * len(boxes)
                boxes.append((left, top, left + side, top + side, float(masked)))
    faces = np.array(boxes or [(10, 10, 40, 40, 1)], np.float32)
    if not boxes:
        pixels[10:40, 10:40] = MASKED
    return Sample(pixels, label_of(faces[:, 4]), (0, 0, 480, 360), faces)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_boxes_and_label_are_those_of_the_pixels(seed: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    sample = crowd(rng)
    assert sample.boxes is not None
    frame = cut_frame(sample, rng, FRAME, 128 / 480 if whole else 0.4, PLAIN, whole=whole)
    assert frame.pixels.shape == (96, 128, 3) and frame.boxes is not None
    asked = frame.boxes[frame.boxes[:, 4] >= 0]
    assert frame.label == (label_of(asked[:, 4]) if len(asked) else LABELS.index("nobody"))
    for left, top, right, bottom, masked in asked:
        x, y = np.clip([(left + right) / 2, (top + bottom) / 2], 0, (127, 95)).astype(int)
        inside = left < 126 and top < 94 and right > 2 and bottom > 2
        if (
            inside
            and min(right - left, bottom - top) > 4
            and 0 <= (left + right) / 2 < 128
            and 0 <= (top + bottom) / 2 < 96
        ):
            colour = frame.pixels[y, x].astype(int)
            assert (colour[1] > colour[0]) == bool(masked)
    # of a face that has no box in the frame, asked for or not, no more than a sliver is seen
    seen = _pixels_of_each(frame.pixels, len(sample.boxes))
    boxed = {}
    for left, top, right, bottom in frame.boxes[:, :4]:
        inside_box = frame.pixels[max(int(top), 0) : int(bottom) + 1, max(int(left), 0) : int(right) + 1]
        which = int(_pixels_of_each(inside_box, len(sample.boxes)).argmax())
        boxed[which] = (right - left) * (bottom - top) / _area(sample.boxes[which])
    for which in set(range(len(sample.boxes))) - set(boxed) if boxed else ():
        area = _area(sample.boxes[which]) * float(np.median(list(boxed.values())))
        assert area < 64 or seen[which] <= CUT * area + 2 * np.sqrt(area)


def _area(box: NDArray[np.float32]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _pixels_of_each(pixels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """How many pixels show each face of a crowd."""
    values = pixels.astype(int)
    coloured = np.abs(values[..., 0] - values[..., 1]) > 200  # without the edges, which are blends
    return np.bincount((values[..., 2][coloured] + APART // 2) // APART, minlength=count)[:count]


def test_the_same_seed_gives_the_same_frame() -> None:
    sample = crowd(np.random.default_rng(1))
    one, two, other = (cut_frame(sample, np.random.default_rng(seed), FRAME, 0.4, Recipe()) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert not np.array_equal(one.pixels, other.pixels)


def test_a_whole_frame_shows_faces_about_as_large_as_they_will_be() -> None:
    box = np.array([[200, 140, 260, 220, 1]], np.float32)
    for seed in range(40):
        photo = Sample(np.full((360, 480, 3), 127, np.uint8), 0, (0, 0, 480, 360), box)
        frame = cut_frame(photo, np.random.default_rng(seed), (384, 288), 0.8, PLAIN, whole=True)
        assert frame.boxes is not None and len(frame.boxes) == 1, "a face in the middle is never lost"
        left, top, right, bottom, asked = frame.boxes[0]
        scale = np.sqrt((right - left) * (bottom - top) / (60 * 80))
        assert 0.69 < scale / 0.8 < 1.21 and asked == 1
        assert 0.75 < (right - left) / (bottom - top) * 80 / 60 < 1.34, "squashed a little at most"


def test_a_photo_without_boxes_is_shown_whole() -> None:
    pixels = np.full((360, 480, 3), 127, np.uint8)
    for top, left in ((0, 0), (0, 440), (320, 0), (320, 440)):
        pixels[top : top + 40, left : left + 40] = MASKED
    for seed in range(20):
        frame = cut_frame(Sample(pixels, 0, (0, 0, 480, 360), None), np.random.default_rng(seed), FRAME, 0.4, PLAIN)
        green = (frame.pixels[..., 1] > 200) & (frame.pixels[..., 0] < 60)
        rows, columns = np.nonzero(green)
        assert frame.boxes is None and frame.label == 0
        quarters = {(bool(r > rows.mean()), bool(c > columns.mean())) for r, c in zip(rows, columns)}
        assert len(quarters) == 4, "all four corners are seen"
