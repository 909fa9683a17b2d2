"""Evidence maps: what training wants of them is what finding faces gives back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allmasked.evidence import PRESENCE, boxes_of, find_faces, map_targets
from allmasked.types import CLASSES

SIZE, GRID = (256, 192), (32, 24)


@st.composite
def far_apart(draw: st.DrawFn) -> np.ndarray:
    """Boxes in different sixths of the frame, (F, 5)."""
    boxes = []
    for place in draw(st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True)):
        width, height = draw(st.floats(8, 60)), draw(st.floats(8, 60))
        left, top = 80 * (place % 3) + draw(st.floats(0, 14)), 90 * (place // 3) + draw(st.floats(0, 20))
        boxes.append((left, top, left + width, top + height, float(draw(st.booleans()))))
    return np.array(boxes, np.float32)


@given(far_apart())
def test_perfect_maps_give_back_the_faces(boxes: np.ndarray) -> None:
    targets = map_targets(boxes, SIZE, GRID)
    assert targets.shape == (24, 32, 8) and targets.min() >= -5 and targets[..., :2].max() <= 1
    found = find_faces(targets[..., :2], boxes_of(targets[None, ..., 2:6], SIZE)[0], score=0.99)
    assert len(found) == len(boxes)
    edges = np.array([(face.left, face.top, face.right, face.bottom) for face in found])
    for box in boxes:
        nearest = int(np.abs(edges - box[:4]).max(1).argmin())
        np.testing.assert_allclose(edges[nearest], box[:4], atol=0.01)
        assert found[nearest].wear == ("masked" if box[4] else "bare")


def test_what_is_unknown_is_not_asked_for() -> None:
    assert not map_targets(None, SIZE, GRID)[..., 7].any(), "no boxes: no cell is known"
    empty = map_targets(np.zeros((0, 5), np.float32), SIZE, GRID)
    assert empty[..., 7].all() and not empty[..., :7].any(), "no faces: every cell is known to be empty"
    cut = map_targets(np.array([[0, 0, 40, 40, -1]], np.float32), SIZE, GRID)
    assert not cut[:5, :5, 7].any() and cut[10:, 10:, 7].all() and not cut[..., 6].any()
    tiny = map_targets(np.array([[100, 100, 103, 103, 1]], np.float32), SIZE, GRID)
    assert tiny[12, 12, 7] == 0 and not tiny[..., 6].any()


def test_a_masked_and_a_bare_face_differ_in_their_map_only() -> None:
    masked, bare = (map_targets(np.array([[40, 40, 80, 90, wear]], np.float32), SIZE, GRID) for wear in (1, 0))
    np.testing.assert_array_equal(masked[..., 0], bare[..., 1])
    np.testing.assert_array_equal(masked[..., 2:], bare[..., 2:])
    assert not masked[..., 1].any()


def test_of_two_boxes_on_one_face_the_surer_stays() -> None:
    heat = np.zeros((24, 32, 2), np.float32)
    boxes = np.zeros((24, 32, 4), np.float32)
    heat[5, 5, 0], heat[5, 7, 1], heat[20, 20, 1] = 0.9, 0.8, 0.7
    boxes[5, 5], boxes[5, 7], boxes[20, 20] = (20, 20, 60, 60), (24, 20, 64, 60), (150, 150, 170, 170)
    assert [face.wear for face in find_faces(heat, boxes)] == ["masked", "bare"]
    assert len(find_faces(heat, boxes, overlap=0.99)) == 3
    assert find_faces(heat, boxes, score=0.95) == []


def test_presence_is_what_the_labels_mean() -> None:
    assert CLASSES == ("all", "none", "some")
    assert PRESENCE.tolist() == [[1, 0], [0, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_presence_loss_is_the_labels_cross_entropy(smoothing: float) -> None:
    from allmasked.losses import presence_loss

    logits = np.random.default_rng(0).normal(0, 3, (50, 2)).astype(np.float32)
    a, b = 1 / (1 + np.exp(-logits.T))
    given_label = -np.log(np.stack([a * (1 - b), (1 - a) * b, a * b, (1 - a) * (1 - b)], 1))
    for label in range(4):
        loss = np.asarray(presence_loss(smoothing)(np.repeat(PRESENCE[label : label + 1], 50, 0), logits))
        if smoothing == 0:
            np.testing.assert_allclose(loss, given_label[:, label], rtol=1e-4)
        else:
            flat = -0.5 * np.log(a * (1 - a) * b * (1 - b))
            np.testing.assert_allclose(loss, (1 - smoothing) * given_label[:, label] + smoothing * flat, rtol=1e-4)


def test_the_map_loss_falls_towards_the_targets_and_spares_the_unknown() -> None:
    from allmasked.losses import map_loss

    boxes = np.array([[40, 40, 80, 90, 1], [150, 100, 190, 150, 0]], np.float32)
    target = map_targets(boxes, SIZE, GRID)[None]
    good = np.zeros((1, 24, 32, 6), np.float32)
    good[..., :2] = np.where(target[..., :2] > 0.999, 8, -8)
    good[..., 2:] = target[..., 2:6]
    swapped = good[..., [1, 0, 2, 3, 4, 5]]
    shifted = good + np.array([0, 0, 1, 0, 0, 0], np.float32)
    loss = [float(np.asarray(map_loss()(target, maps))[0]) for maps in (good, swapped, shifted)]
    assert loss[0] < 0.01 and loss[1] > 1 and loss[2] > 0.1
    unknown = target.copy()
    unknown[..., 6:] = 0
    assert float(np.asarray(map_loss()(unknown, swapped))[0]) == 0
