"""Evidence maps: what training wants of them is what reading gives back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from allmasked.core.types import CLASSES
from allmasked.networks.evidence import PRESENCE, boxes_of, map_targets, with_answer
from allmasked.networks.reading import UNCALIBRATED, candidates

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
    heat = targets[..., :2].clip(1e-6, 1 - 1e-6)
    logits = np.log(heat / (1 - heat))
    found = candidates(logits, boxes_of(targets[None, ..., 2:6], SIZE)[0], UNCALIBRATED)
    found = found.take(np.flatnonzero(found.score > 0.99))
    assert len(found) == len(boxes)
    for box in boxes:
        nearest = int(np.abs(found.boxes - box[:4]).max(1).argmin())
        np.testing.assert_allclose(found.boxes[nearest], box[:4], atol=0.01)
        assert abs(found.masked[nearest] - box[4]) < 0.01


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


def test_presence_is_what_the_labels_mean() -> None:
    assert CLASSES == ("all", "none", "some")
    assert PRESENCE.tolist() == [[1, 0], [0, 1], [1, 1], [0, 0]]


def test_every_cell_knows_the_answer_wanted() -> None:
    targets = map_targets(np.array([[40, 40, 80, 90, 1]], np.float32), SIZE, GRID)
    both = with_answer(targets, np.array([0.7, 0, 0.3, 0], np.float32), 1.5)
    assert both.shape == (24, 32, 13) and both.dtype == np.float32
    np.testing.assert_array_equal(both[..., :8], targets)
    assert (both[..., 8:] == np.array([0.7, 0, 0.3, 0, 1.5], np.float32)).all()
