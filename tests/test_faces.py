"""From a network's answers to the answer for a photo: where faces are in the photo, which of them count."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allmasked.core.types import LABELS, Answers, Candidates, Counting, InputSpec, ResizeMode, Size
from allmasked.images.pixels import placement
from allmasked.networks.reading import TOO_SMALL, UNCALIBRATED, read_maps
from allmasked.predictors.faces import prediction_from, prediction_of
from allmasked.predictors.views import counting_on_photo, on_photo

SIZE = (64, 48)
side = st.integers(1, 4000)
fits = st.sampled_from(["letterbox", "stretch"])


def answers(*faces: tuple[int, int, int, float, float]) -> Answers:
    """Of maps that show faces (channel, row, column, logit, height in px) on cells of 8 px, with square boxes."""
    maps = np.zeros((1, 6, 8, 6), np.float32)
    maps[..., :2] = -8
    for channel, row, column, value, height in faces:
        maps[0, row, column, channel] = value
        maps[0, row, column, 4:] = np.log(height / 8)
    return read_maps(maps, SIZE, UNCALIBRATED)


def of_box(*box: float) -> Candidates:
    return Candidates(np.array([box], float), np.array([0.9]), np.array([0.9]), np.ones(1, bool))


def test_a_head_without_maps_says_three() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1]], np.float32)
    found = prediction_of("x", Answers(probabilities), 0, (9, 9), InputSpec(SIZE, "stretch"))
    assert (found.label, found.p_nobody, found.faces, found.masked, found.bare) == ("none", None, None, None, None)
    assert found.four == pytest.approx((0.2, 0.7, 0.1, 0))


@given(st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(sum), st.floats(0, 1, width=32))
def test_a_vote_without_faces_says_four(three: list[int], nobody: float) -> None:
    given_somebody = np.array([three], np.float32) / np.float32(sum(three))
    found = prediction_of("x", Answers(given_somebody, np.float32([nobody])), 0, (9, 9), InputSpec(SIZE, "stretch"))
    expected = [*(given_somebody[0] * (1 - nobody)), nobody]
    assert found.four == pytest.approx(expected, abs=1e-6) and sum(found.four) == pytest.approx(1, abs=1e-5)
    assert found.confidence == max(found.four) and found.faces is None


@given(side, side, fits, st.data())
def test_faces_come_back_to_where_they_are_in_the_photo(
    width: int, height: int, fit: ResizeMode, data: st.DataObject
) -> None:
    if max(width, height) > 40 * min(width, height):
        return
    x0, x1 = sorted(data.draw(st.floats(0, width)) for _ in range(2))
    y0, y1 = sorted(data.draw(st.floats(0, height)) for _ in range(2))
    photo = (width, height)
    back = on_photo(of_box(*placement(photo, InputSpec(SIZE, fit)).box(x0, y0, x1, y1)), photo, InputSpec(SIZE, fit))
    if min(x1 - x0, y1 - y0) > 1e-2:
        assert back.boxes[0] == pytest.approx((x0, y0, x1, y1), abs=1e-6 * 4000)
    whole = on_photo(of_box(-9999, -9999, 9999, 9999), photo, InputSpec(SIZE, fit))
    (face,) = prediction_from("x", whole, Counting(), photo=photo).faces or ()
    assert (face.left, face.top, face.right, face.bottom) == (0, 0, width, height), "told as cut to the photo"


@given(side, side, fits, st.floats(2, 40), st.floats(2, 40))
def test_the_rule_of_the_input_is_the_same_in_the_photo(
    width: int, height: int, fit: ResizeMode, high: float, least: float
) -> None:
    photo: Size = (width, height)
    place = placement(photo, InputSpec(SIZE, fit))
    rule = counting_on_photo(Counting(least, 0.5), photo, InputSpec(SIZE, fit))
    assert rule.min_face_share == 0.5
    if abs(high - least) > 1e-6:
        assert (high / place.scale_y < rule.min_face_px) == (high < least)


def test_peaks_are_faces_with_their_boxes() -> None:
    found = prediction_of("x", answers((0, 1, 1, 3.0, 16), (1, 4, 6, 2.0, 10)), 0, (128, 96), InputSpec(SIZE))
    assert found.label == "some"
    assert (found.masked, found.bare) == (1, 1)
    assert found.faces is not None
    first = found.faces[0]
    assert (first.wear, first.score) == ("masked", pytest.approx(1 / (1 + np.exp(-3)), abs=1e-3))
    assert first.p_masked == pytest.approx(1 / (1 + np.exp(-11)), abs=1e-6)
    edges = (first.left, first.top, first.right, first.bottom)
    assert edges == pytest.approx((8, 8, 40, 40))  # the photo is twice the input
    three = found.probabilities
    assert three is not None and three[LABELS.index("some")] == pytest.approx(first.score * 0.8808, abs=1e-2)


def test_a_face_in_the_letterbox_bars_is_none() -> None:
    both = answers((0, 0, 3, 3.0, 8), (1, 3, 3, 3.0, 8))
    found = prediction_of("x", both, 0, (640, 240), InputSpec(SIZE))
    assert (found.label, found.masked, found.bare) == ("none", 0, 1)
    assert prediction_of("x", both, 0, (640, 480), InputSpec(SIZE)).label == "some"


def test_small_faces_can_be_left_out() -> None:
    both = answers((0, 1, 1, 6.0, 16), (1, 4, 6, 6.0, 6))
    photo = (128, 96)  # twice the input: faces of 32 and 12 px
    for counting, label, counts in (
        (Counting(), "some", (1, 1)),
        (Counting(min_face_px=11), "some", (1, 1)),
        (Counting(min_face_px=13), "all", (1, 0)),
        (Counting(min_face_share=0.4), "all", (1, 0)),
        (Counting(min_face_px=100), "nobody", (0, 0)),
    ):
        found = prediction_of("x", both, 0, photo, InputSpec(SIZE), lambda *_own, counting=counting: counting)
        assert (found.label, (found.masked, found.bare)) == (label, counts)
        assert len(found.faces or ()) == 2, "what doesn't count is shown"
    only = prediction_of("x", answers((0, 1, 1, 6.0, 16)), 0, photo, InputSpec(SIZE))
    left = prediction_of("x", both, 0, photo, InputSpec(SIZE), lambda *_own: Counting(min_face_px=13))
    assert left.four == pytest.approx(only.four)
    assert [face.reason for face in left.faces or ()] == ["", TOO_SMALL]


def test_the_models_own_rule_is_in_px_of_its_input() -> None:
    both = answers((0, 1, 1, 6.0, 16), (1, 4, 6, 6.0, 6))
    own = dataclasses.replace(both, counting=Counting(min_face_px=7))
    for photo in (SIZE, (640, 480), (32, 24)):
        assert prediction_of("x", own, 0, photo, InputSpec(SIZE)).label == "all"
