"""From a network's maps to the answer for a photo: probabilities, faces in the photo, faces too small to count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allmasked.evidence import probabilities_of
from allmasked.faces import Pooling, nobody_of, on_photo, prediction_of, without_small_faces
from allmasked.pixels import Fit, placement
from allmasked.types import CLASSES, Answers, FoundFace, Prediction

SIZE = (64, 48)
logit = st.floats(-40, 40)
side = st.integers(1, 4000)


def maps(*faces: tuple[int, int, int, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Logits (1, 6, 8, 2) and boxes of faces (channel, row, column, logit, height in px) on cells of 8 px."""
    logits = np.full((1, 6, 8, 2), -8.0, np.float32)
    rows, columns = np.meshgrid(np.arange(6), np.arange(8), indexing="ij")
    boxes = np.stack([columns * 8, rows * 8, columns * 8 + 8, rows * 8 + 8], -1).astype(np.float32)[None]
    for channel, row, column, value, height in faces:
        logits[0, row, column, channel] = value
        x, y = column * 8 + 4, row * 8 + 4
        boxes[0, row, column] = x - height / 2, y - height / 2, x + height / 2, y + height / 2
    return logits, boxes


PLAIN = Pooling((2.0, 2.0), (1.0, 1.0), (0.0, 0.0))


def answers(logits: np.ndarray, boxes: np.ndarray, pooling: Pooling = PLAIN) -> Answers:
    presence = pooling.presence(logits)
    return Answers(probabilities_of(presence), nobody_of(presence), 1 / (1 + np.exp(-logits)), boxes)


@given(logit, logit)
def test_the_four_sum_to_one_and_the_likeliest_is_the_label(a: float, b: float) -> None:
    presence = np.array([[a, b]], np.float32)
    found = prediction_of("x", Answers(probabilities_of(presence), nobody_of(presence)), 0, (9, 9), SIZE, "squash", 0.5)
    assert found.probabilities is not None and found.p_nobody is not None
    four = [*found.probabilities, found.p_nobody]
    assert sum(four) == pytest.approx(1, abs=1e-5)
    assert found.label == (*CLASSES, "nobody")[int(np.argmax(four))]
    masked, bare = 1 / (1 + np.exp(-np.array([a, b])))
    expected = [masked * (1 - bare), (1 - masked) * bare, masked * bare, (1 - masked) * (1 - bare)]
    assert four == pytest.approx(expected, abs=1e-5)
    assert found.given_somebody is not None
    assert sum(found.given_somebody) == pytest.approx(1)


def test_a_head_without_maps_says_three() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1]], np.float32)
    found = prediction_of("x", Answers(probabilities), 0, (9, 9), SIZE, "squash", 0.5)
    assert (found.label, found.p_nobody, found.faces, found.masked, found.bare) == ("none", None, None, None, None)
    assert found.given_somebody == found.probabilities == pytest.approx((0.2, 0.7, 0.1))


@given(side, side, st.sampled_from(["letterbox", "squash"]), st.data())
def test_faces_come_back_to_where_they_are_in_the_photo(width: int, height: int, fit: Fit, data: st.DataObject) -> None:
    if max(width, height) > 40 * min(width, height):
        return
    x0, x1 = sorted(data.draw(st.floats(0, width)) for _ in range(2))
    y0, y1 = sorted(data.draw(st.floats(0, height)) for _ in range(2))
    box = placement((width, height), SIZE, fit).box(x0, y0, x1, y1)
    back = on_photo(FoundFace("masked", 0.5, *box), (width, height), SIZE, fit)
    assert (back.left, back.top, back.right, back.bottom) == pytest.approx((x0, y0, x1, y1), abs=1e-6 * 4000)
    outside = on_photo(FoundFace("bare", 0.5, -9999, -9999, 9999, 9999), (width, height), SIZE, fit)
    assert (outside.left, outside.top, outside.right, outside.bottom) == (0, 0, width, height)


def test_peaks_are_faces_with_their_boxes() -> None:
    logits, boxes = maps((0, 1, 1, 3.0, 16), (1, 4, 6, 2.0, 10))
    found = prediction_of("x", answers(logits, boxes), 0, (128, 96), SIZE, "letterbox", 0.5)
    assert found.label == "some"
    assert (found.masked, found.bare) == (1, 1)
    assert found.faces is not None
    first = found.faces[0]
    assert (first.wear, first.score) == ("masked", pytest.approx(1 / (1 + np.exp(-3))))
    assert (first.left, first.top, first.right, first.bottom) == (8, 8, 40, 40)  # the photo is twice the input
    assert prediction_of("x", answers(logits, boxes), 0, (128, 96), SIZE, "letterbox", 0.9).bare == 0


def test_a_face_in_the_letterbox_bars_is_none() -> None:
    logits, boxes = maps((0, 0, 3, 3.0, 8), (0, 3, 3, 3.0, 8))
    assert prediction_of("x", answers(logits, boxes), 0, (640, 240), SIZE, "letterbox", 0.5).masked == 1


def test_small_faces_can_be_left_out() -> None:
    logits, boxes = maps((0, 1, 1, 6.0, 16), (1, 4, 6, 6.0, 6))
    whole = answers(logits, boxes)
    assert whole.probabilities[0].argmax() == CLASSES.index("some")
    same = without_small_faces(whole, PLAIN, np.array([5.0]))
    assert same.probabilities == pytest.approx(whole.probabilities, abs=1e-4)
    assert same.nobody == pytest.approx(whole.nobody, abs=1e-4)
    left = without_small_faces(whole, PLAIN, np.array([10.0]))
    only, _ = maps((0, 1, 1, 6.0, 16))
    assert left.probabilities == pytest.approx(answers(only, boxes).probabilities, abs=1e-4)
    assert left.probabilities[0].argmax() == CLASSES.index("all")
    found = prediction_of("x", left, 0, SIZE, SIZE, "squash", 0.5)
    assert (found.label, found.masked, found.bare) == ("all", 1, 0)
    nobody = without_small_faces(whole, PLAIN, np.array([100.0]))
    assert nobody.nobody is not None
    assert nobody.nobody[0] > 0.9


def test_pooling_is_log_sum_exp() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)
    pooling = Pooling((1.5, 3.0), (1.2, 0.7), (-1.0, 0.5))
    expected = [
        [b + s * np.log(np.exp(r * photo[..., c]).sum()) / r for c, (r, s, b) in
         enumerate(zip(pooling.sharpness, pooling.scale, pooling.bias))]
        for photo in logits.astype(np.float64)
    ]  # fmt: skip
    assert pooling.presence(logits) == pytest.approx(np.array(expected), rel=1e-4)
    assert np.isfinite(pooling.presence(logits * 1000)).all()


def test_a_photo_that_cannot_be_read_says_nothing() -> None:
    assert Prediction("x", None, None, "gone").given_somebody is None
