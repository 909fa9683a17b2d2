"""What training minimises: the answer as it is read, and the faces that a photo shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allmasked.core.types import LABELS, Candidates
from allmasked.networks.evidence import map_targets, with_answer
from allmasked.networks.losses import answer_accuracy, faces_loss, log_answer
from allmasked.networks.reading import FLOOR, UNCALIBRATED, answer_of, calibrated, read_maps
from maps import random_maps

SIZE, GRID = (256, 192), (32, 24)
FACES = np.array([[40, 40, 80, 90, 1], [150, 100, 190, 150, 0]], np.float32)
ONE_HOT = dict(zip(LABELS, np.eye(4, dtype=np.float32)))


def apart(seed: int) -> np.ndarray:
    """Random maps (1, 6, 8, 6) whose boxes don't overlap."""
    maps = random_maps(seed)
    maps[..., 2:] = 0
    return maps


@given(st.integers(0, 2**32 - 1))
def test_the_answer_is_the_one_that_is_read(seed: int) -> None:
    maps = apart(seed)
    logits = maps[..., :2]
    found = np.asarray(log_answer(logits, np.ones(logits.shape[:3], np.float32)))[0]
    (faces,) = read_maps(maps, (64, 48), UNCALIBRATED).faces or ()
    if not len(faces):  # all are faint: the highest alone speaks
        best = logits.reshape(-1, 2)[[np.logaddexp(*logits.reshape(-1, 2).T).argmax()]]
        score, masked = calibrated(best, np.ones(1), UNCALIBRATED)
        assert score < FLOOR
        faces = Candidates(np.zeros((1, 4)), score, masked, np.ones(1, bool))
    four = answer_of(faces)
    if len(faces) == 1:  # that it may be "some" is learnt from the second peak, which doesn't count
        found, four = found[[0, 1, 3]], four[[0, 1, 3]]
    np.testing.assert_allclose(np.exp(found), four, atol=2e-4)
    large = four > 1e-3
    np.testing.assert_allclose(found[large], np.log(four[large]), atol=0.1, rtol=1e-3)
    assert found.argmax() == four.argmax() or np.ptp(np.sort(four)[-2:]) < 1e-3


def test_only_what_is_asked_for_speaks() -> None:
    logits = np.full((1, 6, 8, 2), -6.0, np.float32)
    logits[0, 1, 1, 0] = 4
    asked = np.ones((1, 6, 8), np.float32)
    alone = np.asarray(log_answer(logits, asked))
    logits[0, 4, 6, 1] = 6
    both = np.asarray(log_answer(logits, asked))
    asked[0, 3:, 5:] = 0
    np.testing.assert_allclose(np.asarray(log_answer(logits, asked)), alone, atol=1e-5)
    assert (alone.argmax(), both.argmax()) == (LABELS.index("all"), LABELS.index("some"))


def perfect(target: np.ndarray) -> np.ndarray:
    """Maps (1, 24, 32, 6) that say what the targets want."""
    maps = np.zeros((1, *target.shape[:2], 6), np.float32)
    maps[..., :2] = np.where(target[..., :2] > 0.999, 8, -8)
    maps[..., 2:] = target[..., 2:6]
    return maps


def loss_of(target: np.ndarray, maps: np.ndarray, **options: float) -> float:
    return float(np.asarray(faces_loss(**options)(target[None], maps))[0])


def test_the_loss_falls_towards_the_targets() -> None:
    faces = map_targets(FACES, SIZE, GRID)
    right, wrong = (with_answer(faces, ONE_HOT[label], 1.0) for label in ("some", "nobody"))
    good = perfect(faces)
    swapped, shifted = good[..., [1, 0, 2, 3, 4, 5]], good + np.array([0, 0, 1, 0, 0, 0], np.float32)
    assert loss_of(right, good) < 0.01
    assert loss_of(right, swapped) > 1, "the label is the same, the faces are not"
    assert loss_of(right, shifted) > 0.1 and loss_of(right, shifted, box_weight=0) < 0.01
    assert loss_of(wrong, good) > 5 and loss_of(wrong, good, map_weight=0) == pytest.approx(loss_of(wrong, good), 0.01)
    between = np.linspace(0, 1, 9, dtype=np.float32)
    halfway = [loss_of(right, share * good + (1 - share) * swapped) for share in between]
    assert (np.diff(halfway) < 0).all()


def test_the_label_weighs_as_much_as_it_is_told() -> None:
    faces = map_targets(FACES, SIZE, GRID)
    loss = [loss_of(with_answer(faces, ONE_HOT["all"], weight), perfect(faces), map_weight=0) for weight in (0, 1, 3)]
    assert loss[0] == 0 and loss[2] == pytest.approx(3 * loss[1], rel=1e-5) and loss[1] > 1
    taught = with_answer(faces, np.array([0.3, 0, 0.7, 0], np.float32), 1.0)
    sharp = loss_of(with_answer(faces, ONE_HOT["some"], 1.0), perfect(faces), map_weight=0)
    assert loss_of(taught, perfect(faces), map_weight=0) == pytest.approx(0.3 * loss[1] + 0.7 * sharp, rel=1e-4)


def test_a_crowd_counts_more_than_a_portrait_but_not_in_proportion() -> None:
    boxes = np.array(
        [[40 + 60 * k % 120, 40 + 60 * (k // 2), 60 + 60 * k % 120, 60 + 60 * (k // 2), 1] for k in range(4)]
    )
    one, four = (map_targets(some.astype(np.float32), SIZE, GRID) for some in (boxes[:1], boxes))
    empty = np.full((1, 24, 32, 6), -20, np.float32)  # misses all faces
    loss = [loss_of(with_answer(faces, ONE_HOT["all"], 0), empty, box_weight=0) for faces in (one, four)]
    assert loss[0] > 1 and loss[1] == pytest.approx(2 * loss[0], rel=1e-3)


def test_what_is_unknown_costs_nothing() -> None:
    boxes = np.concatenate([FACES[:1], [[140, 90, 200, 160, -1]]]).astype(np.float32)
    target = with_answer(map_targets(boxes, SIZE, GRID), ONE_HOT["all"], 1.0)
    maps = perfect(target)
    before = loss_of(target, maps)
    maps[0, 15, 21, :2] = 9, 9  # somebody, in the middle of what is unknown
    assert loss_of(target, maps) == pytest.approx(before, abs=1e-5) and before < 0.01
    maps[0, 4, 26, 1] = 9
    assert loss_of(target, maps) > 1


def gradient_of(target: np.ndarray, maps: np.ndarray) -> np.ndarray:
    tensorflow = pytest.importorskip("tensorflow")
    given_maps = tensorflow.constant(maps)
    with tensorflow.GradientTape() as tape:
        tape.watch(given_maps)
        loss = faces_loss()(target, given_maps)
    return np.asarray(tape.gradient(loss, given_maps))


@pytest.mark.parametrize("label", LABELS)
def test_a_weak_label_teaches_at_the_peaks(label: str) -> None:
    weak = with_answer(map_targets(None, SIZE, GRID), ONE_HOT[label], 1.0)[None]
    maps = np.full((1, 24, 32, 6), -5, np.float32)
    maps[0, 5, 5, :2], maps[0, 15, 20, :2] = (1, 0.5), (0.5, 1)
    slope = gradient_of(weak, maps)
    assert set(zip(*np.nonzero(np.abs(slope[0]).max(-1) > 1e-3))) == {(5, 5), (15, 20)}
    assert (slope[..., 2:] == 0).all(), "of boxes a label says nothing"
    for row, column, likelier in ((5, 5, 0), (15, 20, 1)):
        masked, bare = slope[0, row, column, :2]
        if label == "nobody":
            assert masked > 0 and bare > 0
        elif label == "some":
            assert slope[0, row, column, likelier] < 0, "each becomes more of what it is"
        else:
            assert (masked < 0 < bare) if label == "all" else (bare < 0 < masked)


def test_some_is_learnt_from_a_photo_of_which_one_peak_counts() -> None:
    """The second highest peak, faint as it is, is asked to become a face of the other kind."""
    weak = with_answer(map_targets(None, SIZE, GRID), ONE_HOT["some"], 1.0)[None]
    maps = np.full((1, 24, 32, 6), -7, np.float32)
    maps[0, 5, 5, :2], maps[0, 15, 20, :2] = (3, -3), (-5, -4.5)
    slope = gradient_of(weak, maps)[0]
    assert set(zip(*np.nonzero(np.abs(slope).max(-1) > 1e-3))) == {(5, 5), (15, 20)}
    assert slope[15, 20, 1] < -0.1, "a bare face beside the masked one"
    asked = weak.copy()
    asked[0, ..., 7] = 1
    asked[0, 12:, :, 7] = 0  # unknown there: it is not asked
    assert np.abs(gradient_of(asked, maps)[0, 15, 20]).max() < 1e-6


@pytest.mark.parametrize("label", LABELS)
def test_gradients_are_finite_and_a_photo_without_a_peak_has_one(label: str) -> None:
    rng = np.random.default_rng(0)
    weak = with_answer(map_targets(None, SIZE, GRID), ONE_HOT[label], 1.0)[None]
    for scale in (0, 1, 10, 60):
        for offset in (-40, -4, 0, 40):
            maps = (offset + scale * rng.normal(size=(1, 24, 32, 6))).astype(np.float32)
            assert np.isfinite(gradient_of(weak, maps)).all()
            assert np.isfinite(np.asarray(faces_loss()(weak, maps))).all()
    nothing = np.full((1, 24, 32, 6), -8, np.float32)
    nothing[0, 3, 3, :2] = -7
    slope = gradient_of(weak, nothing)[0, 3, 3]
    if label in ("all", "none"):
        assert slope[LABELS.index(label)] < -0.1


def test_accuracy_is_of_the_answer_that_is_read() -> None:
    maps = np.concatenate([apart(seed) for seed in range(40)])
    answers = read_maps(maps, (64, 48), UNCALIBRATED)
    assert answers.nobody is not None
    four = np.column_stack([answers.probabilities * (1 - answers.nobody[:, None]), answers.nobody])
    wanted = np.random.default_rng(0).integers(0, 4, 40)
    targets = [with_answer(map_targets(None, (64, 48), (8, 6)), ONE_HOT[LABELS[k]], 1.0) for k in wanted]
    hits = np.asarray(answer_accuracy(np.stack(targets), maps))
    np.testing.assert_array_equal(hits, four.argmax(1) == wanted)
    assert 0 < hits.mean() < 1
