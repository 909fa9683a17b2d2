"""One answer from one evidence: label, probabilities and faces follow from each other, always."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allmasked.core.types import LABELS, Candidates, Counting, InputSpec, Prediction, ResizeMode
from allmasked.networks.reading import (
    CANDIDATES,
    FAR_BEHIND,
    FLOOR,
    TOO_SMALL,
    UNCALIBRATED,
    Calibration,
    answer_of,
    calibrated,
    candidates,
    counted,
    kinds,
    label_of,
    once,
    overlaps,
    read_maps,
    reasons,
)
from allmasked.predictors.faces import prediction_from, prediction_of
from allmasked.predictors.views import counting_on_photo
from maps import calibrations, candidate_lists, countings, random_maps

SIZE = (64, 48)
seeds = st.integers(0, 2**32 - 1)
side = st.integers(1, 2000)
fits = st.sampled_from(["letterbox", "stretch"])
LABEL_OF = {(True, False): "all", (False, True): "none", (True, True): "some", (False, False): "nobody"}
"""Is a masked face there, is a bare face there?"""


def check(found: Prediction, *, voted: bool = False) -> None:
    """Label and faces say the same, and so do the probabilities unless they come from a vote."""
    assert found.faces is not None and found.masked is not None and found.bare is not None
    assert found.label == LABEL_OF[found.masked > 0, found.bare > 0]
    assert all(face.counts == (not face.reason) for face in found.faces)
    assert found.masked + found.bare == sum(face.counts for face in found.faces)
    if not voted:
        assert sum(found.four) == pytest.approx(1, abs=1e-6)
        assert found.confidence == max(found.four)


@given(seeds, calibrations, side, side, fits, st.none() | countings)
def test_label_and_faces_of_maps_never_contradict_each_other(
    seed: int, calibration: Calibration, width: int, height: int, fit: ResizeMode, counting: Counting | None
) -> None:
    answers = read_maps(random_maps(seed, 3), SIZE, calibration)
    np.testing.assert_allclose(answers.probabilities.sum(1), 1, atol=1e-5)
    for row in range(3):
        rule = (lambda *_own: counting) if counting else counting_on_photo
        check(prediction_of("x", answers, row, (width, height), InputSpec(SIZE, fit), rule))


@given(candidate_lists(), countings)
def test_label_and_faces_of_candidates_never_contradict_each_other(found: Candidates, counting: Counting) -> None:
    check(prediction_from("x", found, counting))


@given(candidate_lists(), countings, st.tuples(*[st.floats(0, 1)] * 4))
def test_a_vote_and_its_faces_never_contradict_each_other(
    found: Candidates, counting: Counting, four: tuple[float, float, float, float]
) -> None:
    prediction = prediction_from("x", found, counting, four)
    check(prediction, voted=True)
    assert sum(prediction.four) == pytest.approx(1)
    assert prediction.confidence == max(prediction.four), "the label is the likeliest of what so many faces can be"
    if int(counted(found, counting).counts.sum()) > 1 and sum(four) > 0.01:
        np.testing.assert_allclose(prediction.four, np.array(four) / sum(four), atol=1e-6)


def states(found: Candidates) -> list[tuple[tuple[int, ...], float, str]]:
    """All 3^F states of the candidates that count (1 masked, 0 bare, -1 not there): probability and label."""
    p, m = found.score[found.counts], found.masked[found.counts]
    each = [{1: a * b, 0: a * (1 - b), -1: 1 - a} for a, b in zip(p.tolist(), m.tolist())]
    rows = []
    for state in itertools.product((1, 0, -1), repeat=len(each)):
        probability = float(np.prod([one[kind] for one, kind in zip(each, state)]))
        rows.append((state, probability, LABEL_OF[1 in state, 0 in state]))
    return rows


@given(candidate_lists(), countings)
def test_probabilities_are_those_of_all_states(found: Candidates, counting: Counting) -> None:
    found = counted(found, counting)
    alone = {label: sum(p for _, p, own in states(found) if own == label) for label in LABELS}
    weighed = alone | {"some": alone["some"] * counting.some_factor}
    for factor, expected in ((1.0, alone), (counting.some_factor, weighed)):
        four = answer_of(found, factor)
        assert four.sum() == pytest.approx(1)
        for label, probability in zip(LABELS, four):
            assert probability == pytest.approx(expected[label] / sum(expected.values()), abs=1e-9), label
    assert label_of(four) == max(("nobody", "all", "none", "some"), key=lambda label: four[LABELS.index(label)])


@settings(max_examples=400)
@given(candidate_lists(most=4), countings, st.sampled_from(LABELS))
def test_the_faces_are_the_likeliest_that_have_the_label(found: Candidates, counting: Counting, label: str) -> None:
    found = counted(found, counting)
    rows = [(state, p) for state, p, own in states(found) if own == label]
    if not rows:  # too few faces for it
        return
    shown = kinds(found, label)
    assert (shown[~found.counts] == -1).all()
    of_label = dict(rows)
    state = tuple(shown[found.counts].tolist())
    assert state in of_label
    assert of_label[state] == pytest.approx(max(of_label.values()), rel=1e-9)


def test_the_missing_kind_is_taken_where_both_together_cost_least() -> None:
    boxes = np.arange(8.0).reshape(2, 4)
    for score, masked, expected in (
        ([0.4, 0.4], [0.5, 0.05], [1, 0]),  # neither is likely; only the first may be masked
        ([0.9, 0.45], [0.55, 0.95], [0, 1]),  # the only masked face gives way
    ):
        found = Candidates(boxes, np.array(score), np.array(masked), np.ones(2, bool))
        assert kinds(found, "some").tolist() == expected


@given(seeds)
def test_masked_and_bare_are_treated_alike(seed: int) -> None:
    maps = random_maps(seed, 2)
    one, other = (read_maps(some, SIZE, UNCALIBRATED) for some in (maps, maps[..., [1, 0, 2, 3, 4, 5]]))
    np.testing.assert_allclose(one.probabilities[:, [1, 0, 2]], other.probabilities, atol=1e-5)
    np.testing.assert_allclose(one.nobody, other.nobody, atol=1e-6)
    mirrored = {"all": "none", "none": "all", "some": "some", "nobody": "nobody"}
    for row in range(2):
        first, second = (prediction_of("x", answers, row, SIZE, InputSpec(SIZE, "stretch")) for answers in (one, other))
        ranked = sorted(first.four)
        if ranked[-1] - ranked[-2] > 1e-6:
            assert second.label == mirrored[str(first.label)]
            assert (first.masked, first.bare) == (second.bare, second.masked)


def test_without_calibration_it_is_the_softmax_of_both_logits_and_of_nothing() -> None:
    logits = np.random.default_rng(0).normal(0, 4, (50, 2))
    score, masked = calibrated(logits, np.full(50, 17.0), UNCALIBRATED)
    soft = np.exp(np.column_stack([logits, np.zeros(50)]))
    soft /= soft.sum(1, keepdims=True)
    np.testing.assert_allclose(np.column_stack([score * masked, score * (1 - masked), 1 - score]), soft, rtol=1e-6)


def test_calibration_is_its_formula() -> None:
    calibration = Calibration((0.5, 0.8, -0.3, 0.1), (-0.2, 1.2, 0.4))
    (score,), (masked,) = calibrated(np.array([[1.5, -0.5]]), np.array([80.0]), calibration)
    z, u = np.log(np.exp(1.5) + np.exp(-0.5)), np.log(2)
    assert score == pytest.approx(1 / (1 + np.exp(-(0.5 + 0.8 * z - 0.3 * u + 0.1 * u * u))))
    assert masked == pytest.approx(1 / (1 + np.exp(-(-0.2 + 1.2 * 2 + 0.4 * u))))


@given(seeds, calibrations)
def test_candidates_are_few_likely_and_each_another_face(seed: int, calibration: Calibration) -> None:
    maps = random_maps(seed, grid=(24, 18), spread=5.0)
    (found,) = read_maps(maps, (192, 144), calibration).faces or ()
    assert len(found) <= CANDIDATES and (found.score >= FLOOR).all()
    assert (np.diff(found.score) <= 0).all(), "likeliest first"
    overlap, _ = overlaps(found.boxes, found.boxes)
    assert not (overlap[~np.eye(len(found), dtype=bool)] > 0.4).any()


def test_of_two_boxes_on_one_face_the_likelier_stays() -> None:
    boxes = np.array([(24, 20, 64, 60), (20, 20, 60, 60), (150, 150, 170, 170)], float)
    found = Candidates(boxes, np.array([0.8, 0.9, 0.7]), np.array([0.0, 1.0, 0.0]), np.ones(3, bool))
    assert once(found).score.tolist() == [0.9, 0.7]
    assert once(found).masked.tolist() == [1.0, 0.0]


def test_faint_cells_do_not_add_up_to_somebody() -> None:
    logits = np.full((60, 80, 2), -4.0)  # a face in each of 4800 cells with 3.5 %
    boxes = np.random.default_rng(0).uniform(0, 400, (60, 80, 4))
    found = candidates(logits, boxes, UNCALIBRATED)
    assert len(found) == 0 and answer_of(found).tolist() == [0, 0, 0, 1]


def test_which_faces_count() -> None:
    height = np.array([100.0, 60.0, 30.0, 5.0])
    boxes = np.stack([height * 0, height * 0, height, height], 1)
    score = np.array([0.3, 0.9, 0.9, 0.9])
    found = Candidates(boxes, score, np.full(4, 0.5), np.ones(4, bool))
    for counting, expected in (
        (Counting(), ["", "", "", ""]),
        (Counting(min_face_px=10), ["", "", "", TOO_SMALL]),
        (Counting(min_face_share=0.6), ["", "", FAR_BEHIND, FAR_BEHIND]),  # the highest is hardly a face
        (Counting(10, 0.6), ["", "", FAR_BEHIND, TOO_SMALL]),
        (Counting(200, 0.6), [TOO_SMALL] * 4),
    ):
        assert reasons(found, counting) == expected
        assert counted(found, counting).counts.tolist() == [not why for why in expected]


def test_a_face_that_does_not_count_is_shown_and_says_nothing() -> None:
    boxes = np.array([(0, 0, 40, 40), (50, 0, 58, 8), (60, 0, 68, 8)], float)
    found = Candidates(boxes, np.array([0.9, 0.9, 0.3]), np.array([0.9, 0.1, 0.1]), np.ones(3, bool))
    assert prediction_from("x", found, Counting()).label == "some"
    prediction = prediction_from("x", found, Counting(min_face_px=10))
    assert (prediction.label, prediction.masked, prediction.bare) == ("all", 1, 0)
    assert [(face.wear, face.counts, face.reason) for face in prediction.faces or ()] == [
        ("masked", True, ""), ("bare", False, TOO_SMALL)
    ]  # fmt: skip
    assert prediction.four == pytest.approx((0.81, 0.09, 0, 0.1))


def test_how_sure() -> None:
    assert Prediction("x", "all", (0.8, 0.1, 0.05), p_nobody=0.05).sure is True
    assert Prediction("x", "all", (0.7, 0.2, 0.05), p_nobody=0.05).sure is False
    assert Prediction("x", "nobody", (0.1, 0.05, 0.05), p_nobody=0.8).sure is True
    assert Prediction("x", None, None, "gone").sure is None
