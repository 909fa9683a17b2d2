"""Scores against scikit-learn, known values and properties."""

from __future__ import annotations

import itertools
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from allmasked.core.plain import parse
from allmasked.core.types import CLASSES
from allmasked.stats import metrics

pairs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)
quick = settings(deadline=None, max_examples=40)


def drawn_photos(number: int, seed: int, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 3) and labels drawn from them: calibrated by construction."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, spread, (number, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (random.random((number, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return labels, probabilities


@quick
@given(pairs)
def test_summary_and_confusion_are_scikit_learns(both: list[tuple[int, int]]) -> None:
    labels, predicted = np.array(both).T
    found = metrics.summary(labels, predicted)
    assert found.accuracy == accuracy_score(labels, predicted)
    for average in metrics.AVERAGES:
        expected = f1_score(labels, predicted, average=average, zero_division=0)
        assert found.averages[average].f1 == pytest.approx(expected)
    assert found.averages["micro"].precision == pytest.approx(found.accuracy)
    matrix = metrics.confusion(labels, predicted)
    assert (matrix == sklearn_confusion(labels, predicted, labels=[0, 1, 2])).all()
    assert matrix.sum() == len(labels)
    rows = metrics.normalised(matrix).sum(axis=1)
    assert np.allclose(rows, [float((labels == k).any()) for k in range(3)])
    assert [found.classes[name].photos for name in CLASSES] == [int((labels == k).sum()) for k in range(3)]


@quick
@given(pairs, st.integers(0, 5))
def test_resampled_figures_are_scikit_learns_figures_of_the_drawn_photos(
    both: list[tuple[int, int]], seed: int
) -> None:
    labels, predicted = np.array(both).T
    groups = np.arange(len(labels)) // 2
    drawn = metrics.resample(labels, predicted, groups, 3, seed)
    weights = np.concatenate(list(metrics.draws(groups.max() + 1, 3, seed)))
    for b in range(3):
        rows = np.repeat(np.arange(len(labels)), weights[b].astype(int)[groups])
        assert drawn.accuracy[b] == pytest.approx(accuracy_score(labels[rows], predicted[rows]))
        expected = f1_score(labels[rows], predicted[rows], average="macro", zero_division=0)
        assert drawn.macro_f1[b] == pytest.approx(expected)
        single = f1_score(labels[rows], predicted[rows], average=None, labels=[0, 1, 2], zero_division=np.nan)
        assert drawn.class_f1[b] == pytest.approx(single, nan_ok=True)


@quick
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=60), st.integers(0, 5))
def test_nobody_is_always_wrong_and_no_class(both: list[tuple[int, int]], seed: int) -> None:
    labels, predicted = np.array(both).T
    said = (predicted == 3).any()
    found = metrics.summary(labels, predicted)
    assert found.accuracy == accuracy_score(labels, predicted)
    assert set(found.classes) == set(CLASSES)
    present = sorted({*labels, *predicted} - {3})
    expected = f1_score(labels, predicted, average="macro", labels=present, zero_division=0)
    assert found.averages["macro"].f1 == pytest.approx(expected)
    assert found.averages["micro"].f1 == pytest.approx(found.accuracy)
    matrix = metrics.confusion(labels, predicted)
    assert matrix.shape == (3, 4 if said else 3) and matrix.sum() == len(labels)
    assert metrics.answer_names(matrix) == ((*CLASSES, "nobody") if said else CLASSES)
    drawn = metrics.resample(labels, predicted, np.full(len(labels), -1), 3, seed)
    weights = np.concatenate(list(metrics.draws(len(labels), 3, seed)))
    for b in range(3):
        rows = np.repeat(np.arange(len(labels)), weights[b].astype(int))
        again = metrics.summary(labels[rows], predicted[rows])
        assert drawn.accuracy[b] == pytest.approx(again.accuracy)
        assert drawn.macro_f1[b] == pytest.approx(again.averages["macro"].f1)


def test_the_answer_is_the_likeliest_of_four() -> None:
    three = [[1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.5, 0.5, 0.0]]
    assert metrics.predicted_classes(three, [1.0, 0.3, 0.5, 0.0]).tolist() == [3, 0, 3, 0]
    assert metrics.predicted_classes(three).tolist() == [0, 0, 0, 0]


def test_score_with_nobody_keeps_calibration_on_the_classes() -> None:
    labels, probabilities = drawn_photos(200, seed=4)
    plain = metrics.score(labels, probabilities, np.arange(200), temperature=1.5, bootstrap=100)
    nobody = np.where(np.arange(200) < 50, 1.0, 0.0)
    found = metrics.score(labels, probabilities, np.arange(200), nobody=nobody, temperature=1.5, bootstrap=100)
    assert found.calibration == plain.calibration
    assert found.accuracy < plain.accuracy
    assert sum(row[3] for row in found.confusion) == 50
    rows = metrics.breakdown(
        labels, metrics.predicted_classes(probabilities, nobody), np.arange(200), np.arange(200), [0, 50], bootstrap=50
    )
    assert rows[0].accuracy == 0
    assert metrics.mcnemar([0, 0], [3, 0], [0, 0]).only_b == 1


def test_no_photos_is_an_error() -> None:
    with pytest.raises(ValueError, match="no photos"):
        metrics.summary([], [])


def test_bootstrap_is_seeded_and_covers_the_true_accuracy() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for trial in range(100):
        labels = random.integers(0, 3, 150)
        predicted = np.where(random.random(150) < 0.8, labels, (labels + 1) % 3)
        drawn = metrics.resample(labels, predicted, np.full(150, -1), 400, trial)
        low, high = metrics.interval(drawn.accuracy) or (1, 0)
        covered += low <= 0.8 <= high
    assert 87 <= covered <= 100  # 95 expected; below 87 with a chance of about 1 in 1,000
    again = metrics.resample(labels, predicted, np.full(150, -1), 400, 99)
    assert (again.accuracy == drawn.accuracy).all()


def test_drawing_by_group_widens_the_interval_of_copied_photos() -> None:
    """Ten copies of each photo bring no news: the interval must be that of the originals."""
    random = np.random.default_rng(2)
    labels = random.integers(0, 3, 60)
    predicted = np.where(random.random(60) < 0.7, labels, (labels + 1) % 3)

    def width(repeat: int, groups: np.ndarray) -> float:
        drawn = metrics.resample(np.repeat(labels, repeat), np.repeat(predicted, repeat), groups, 2000, 0)
        low, high = metrics.interval(drawn.accuracy) or (0, 0)
        return high - low

    originals = width(1, np.arange(60))
    assert width(10, np.repeat(np.arange(60), 10)) == pytest.approx(originals)
    assert width(10, np.full(600, -1)) < 0.5 * originals


def test_groups_unknown_beside_groups_known() -> None:
    index, number = metrics.group_index([-1, 7, -1, 7, 3])
    assert number == 4
    assert index[1] == index[3]
    assert len({index[0], index[2], index[1], index[4]}) == 4


def test_interval_of_undefined_values() -> None:
    assert metrics.interval([np.nan, np.nan]) is None
    assert metrics.interval([np.nan, 0.0, 1.0]) == pytest.approx((0.025, 0.975))


def test_no_error_at_all_is_not_certainty() -> None:
    """10 of 10 right: the bootstrap sees no spread; Clopper-Pearson's lower limit is 0.025 ** (1 / 10)."""
    labels = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    found = metrics.score(labels, np.eye(3)[labels], np.full(10, -1), bootstrap=100)
    assert found.intervals.accuracy == pytest.approx((0.025**0.1, 1.0))
    assert found.intervals.macro_f1 is None


def test_ece_by_hand() -> None:
    """Two photos at 0.75 (one right), two at 0.95 (both right): (2 * |0.5 - 0.75| + 2 * |1 - 0.95|) / 4."""
    probabilities = [[0.75, 0.15, 0.1], [0.75, 0.15, 0.1], [0.95, 0.03, 0.02], [0.95, 0.03, 0.02]]
    assert metrics.expected_calibration_error([0, 1, 0, 0], probabilities) == pytest.approx(0.15)


def test_bins_are_closed_above() -> None:
    rows = metrics.reliability([0, 0], [[0.6, 0.4, 0.0], [1.0, 0.0, 0.0]], bins=5)
    assert [row.photos for row in rows] == [0, 0, 1, 0, 1]


def test_ece_of_calibrated_probabilities_is_small_and_of_overconfident_ones_is_not() -> None:
    labels, probabilities = drawn_photos(50_000, seed=3)
    assert metrics.expected_calibration_error(labels, probabilities) < 0.01
    sharpened = metrics.apply_temperature(probabilities, 1 / 3)
    assert metrics.expected_calibration_error(labels, sharpened) > 0.1


@settings(deadline=None, max_examples=8)
@given(st.floats(0.3, 4.0), st.integers(0, 100))
def test_temperature_is_recovered(truth: float, seed: int) -> None:
    labels, probabilities = drawn_photos(20_000, seed)
    distorted = metrics.apply_temperature(probabilities, 1 / truth)
    found = metrics.fit_temperature(labels, distorted)
    assert found == pytest.approx(truth, rel=0.06)
    assert metrics.log_loss(labels, metrics.apply_temperature(distorted, found)) <= metrics.log_loss(labels, distorted)


@quick
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3).filter(lambda row: sum(row) > 0.01), min_size=1), st.floats(0.05, 20))
def test_temperature_keeps_answers_and_sums(rows: list[tuple[float, ...]], temperature: float) -> None:
    probabilities = np.array(rows) / np.array(rows).sum(axis=1, keepdims=True)
    scaled = metrics.apply_temperature(probabilities, temperature)
    assert np.isfinite(scaled).all()
    assert np.allclose(scaled.sum(axis=1), 1)
    chosen = metrics.predicted_classes(probabilities)
    assert np.allclose(scaled[np.arange(len(scaled)), chosen], scaled.max(axis=1))


def test_certain_and_wrong_is_finite() -> None:
    assert np.isfinite(metrics.log_loss([0], [[0.0, 1.0, 0.0]]))
    assert metrics.fit_temperature([0, 1], [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]) > 5
    for p in (0.7, 0.99, 0.99999):
        assert metrics.fit_temperature([0, 1], [[p, 1 - p, 0.0], [1 - p, p, 0.0]]) == 1, "all right: no T is best"


def test_mcnemar_on_constructed_disagreement() -> None:
    """A alone is right 9 times, B alone once: two-sided binomial p = 2 * (1 + 10) / 2**10."""
    labels = np.zeros(30, int)
    a, b = np.zeros(30, int), np.zeros(30, int)
    b[:9] = 1
    a[9] = 2
    found = metrics.mcnemar(labels, a, b)
    assert (found.only_a, found.only_b) == (9, 1)
    assert found.p == pytest.approx(2 * 11 / 1024)
    assert metrics.mcnemar(labels, b, a).p == pytest.approx(found.p)
    assert metrics.mcnemar(labels, a, a).p == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_mcnemar_by_groups_is_every_way_to_draw_the_signs(rows: list[tuple[int, bool, bool]]) -> None:
    groups = np.array([group for group, _, _ in rows])
    a, b = (np.array([int(not row[side]) for row in rows]) for side in (1, 2))  # 0 is right
    found = metrics.mcnemar(np.zeros(len(rows), int), a, b, groups)
    sums = [int(((a == 0).astype(int) - (b == 0))[groups == group].sum()) for group in np.unique(groups)]
    totals = [abs(sum(s * x for s, x in zip(signs, sums))) for signs in itertools.product((1, -1), repeat=len(sums))]
    assert found.p == pytest.approx(np.mean([total >= abs(sum(sums)) for total in totals]))
    alone = metrics.mcnemar(np.zeros(len(rows), int), a, b)
    discordant = int(alone.only_a + alone.only_b)
    assert alone.p == pytest.approx(binomtest(int(alone.only_a), discordant).pvalue if discordant else 1)


def test_one_group_of_copies_is_one_observation() -> None:
    labels, right, wrong = np.zeros(40, int), np.zeros(40, int), np.ones(40, int)
    assert metrics.mcnemar(labels, right, wrong).p < 1e-11
    assert metrics.mcnemar(labels, right, wrong, np.full(40, 5)).p == 1


def test_holm_by_hand() -> None:
    assert metrics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert metrics.holm([]) == []
    assert metrics.holm([0.2]) == pytest.approx([0.2])


def test_breakdown_bins_and_leaves_out_the_unknown() -> None:
    labels = np.array([0, 0, 1, 2, 2])
    predicted = np.array([0, 1, 1, 2, 0])
    rows = metrics.breakdown(labels, predicted, np.full(5, -1), [1, 2, 2.5, 40, np.nan], [0, 2, 8, 16], bootstrap=50)
    assert [(row.low, row.high, row.photos) for row in rows] == [(0, 2, 1), (2, 8, 2), (16, None, 1)]
    assert [row.accuracy for row in rows] == [1.0, 0.5, 1.0]


def test_score_holds_all_figures_and_is_json() -> None:
    import json

    labels, probabilities = drawn_photos(200, seed=4)
    found = metrics.score(labels, probabilities, np.arange(200) // 2, temperature=1.5, bootstrap=100)
    assert parse(metrics.Figures, json.loads(json.dumps(asdict(found)))) == found
    assert found.groups == 100
    low, high = found.intervals.accuracy
    assert low <= found.accuracy <= high
    assert found.calibration.scaled and found.calibration.scaled.ece != found.calibration.ece
