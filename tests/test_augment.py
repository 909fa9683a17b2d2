from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from allmasked.core.config import Recipe
from allmasked.core.types import CLASSES
from allmasked.training.augment import Sample, augment, label_of, subset_window

GEOMETRY = Recipe(colour=0, shrink=1, jpeg=0, subset_crops=0)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def sample(seed: int, faces: int, label: str = "all") -> Sample:
    """Grey photo with ``faces`` saturated red squares, 14 px and more."""
    rng = np.random.default_rng(seed)
    pixels = np.full((96, 128, 3), 127, np.uint8)
    boxes = []
    for index in range(faces):
        side = int(rng.integers(14, 20))
        left = int(rng.integers(0, 128 // faces - side - 3)) + index * (128 // faces)
        top = int(rng.integers(0, 96 - side))
        pixels[top : top + side, left : left + side] = RED
        boxes.append((left, top, left + side, top + side, float(label == "all")))
    return Sample(pixels, CLASSES.index(label), (0, 0, 128, 96), np.array(boxes, np.float32))


def red_components(pixels: np.ndarray) -> int:
    import cv2

    red = (pixels[..., 0] > 180) & (pixels[..., 1] < 90)
    count, _, stats, _ = cv2.connectedComponentsWithStats(red.astype(np.uint8))
    return sum(stats[i, cv2.CC_STAT_AREA] >= 9 for i in range(1, count))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.booleans())
def test_no_face_is_lost(seed: int, faces: int, boxes_known: bool) -> None:
    photo = sample(seed, faces)
    if not boxes_known:
        photo = dataclasses.replace(photo, boxes=None)
    changed = augment(photo, GEOMETRY, np.random.default_rng(seed))
    pixels, label = changed.pixels, changed.label
    assert label == photo.label
    assert red_components(pixels) == faces


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.booleans(), min_size=1, max_size=5))
def test_a_subset_window_shows_whole_faces_only(seed: int, masked: list[bool]) -> None:
    photo = sample(seed, len(masked))
    assert photo.boxes is not None
    boxes = photo.boxes.copy()
    boxes[:, 4] = masked
    found = subset_window(boxes, (128, 96), np.random.default_rng(seed))
    if found is None:
        return
    (left, top, right, bottom), label = found
    inside = (
        (boxes[:, 0] >= left - 2) & (boxes[:, 1] >= top - 2) & (boxes[:, 2] <= right + 2) & (boxes[:, 3] <= bottom + 2)
    )
    assert inside.any()
    assert label == label_of(boxes[inside, 4])


class Strict:
    """Random numbers; refuses bounds in the wrong order."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.integers = self.rng.integers

    def uniform(self, low: float, high: float) -> float:
        assert low <= high
        return float(self.rng.uniform(low, high))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(128, 96), (96, 128), (96, 96), (60, 180)]), st.floats(0.5, 2.0))
def test_windows_in_inputs_of_any_shape(seed: int, size: tuple[int, int], slim: float) -> None:
    """The window is as wide as its face, also where the input is higher than wide or the face wider than high."""
    random = Strict(seed)
    width, height = 20 * slim, 20.0
    left, top = random.uniform(0, size[0] - width), random.uniform(0, size[1] - height)
    boxes = np.array([(left, top, left + width, top + height, 1)], np.float32)
    found = subset_window(boxes, size, random)  # type: ignore[arg-type]
    if found is not None:
        (x0, y0, x1, y1), _ = found
        inside = min(x1, boxes[0, 2]) - max(x0, boxes[0, 0]), min(y1, boxes[0, 3]) - max(y0, boxes[0, 1])
        assert inside[0] * inside[1] >= 0.949 * width * height


def test_a_crop_to_bare_faces_of_some_is_none() -> None:
    pixels = np.full((96, 128, 3), 127, np.uint8)
    pixels[30:50, 10:30] = RED
    pixels[30:50, 90:110] = BLUE
    boxes = np.array([(10, 30, 30, 50, 0), (90, 30, 110, 50, 1)], np.float32)
    photo = Sample(pixels, CLASSES.index("some"), (0, 0, 128, 96), boxes)
    recipe = dataclasses.replace(GEOMETRY, subset_crops=1.0, zoom_in=1.0)
    seen = set()
    for seed in range(60):
        changed = augment(photo, recipe, np.random.default_rng(seed))
        result, label = changed.pixels, changed.label
        red = bool(((result[..., 0] > 180) & (result[..., 2] < 90)).sum() > 20)
        blue = bool(((result[..., 2] > 180) & (result[..., 0] < 90)).sum() > 20)
        assert CLASSES[label] == {(True, False): "none", (False, True): "all", (True, True): "some"}[red, blue]
        seen.add(CLASSES[label])
    assert {"all", "none"} <= seen


def test_the_same_seed_gives_the_same_pixels() -> None:
    photo = sample(3, 2)
    first = augment(photo, Recipe(), np.random.default_rng(5)).pixels
    again = augment(photo, Recipe(), np.random.default_rng(5)).pixels
    other = augment(photo, Recipe(), np.random.default_rng(6)).pixels
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_everything_off_changes_nothing() -> None:
    photo = sample(1, 2)
    recipe = Recipe(flip=False, rotate_degrees=0, zoom_out=1, zoom_in=1, subset_crops=0, shrink=1, colour=0, jpeg=0)
    changed = augment(photo, recipe, np.random.default_rng(0))
    pixels, label = changed.pixels, changed.label
    assert np.array_equal(pixels, photo.pixels) and label == photo.label
