"""Votes: ties, weights, and that stopping early never changes an answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from allmasked.stats.votes import (
    VOTES,
    Fitted,
    cost_order,
    cost_ratio,
    cross_fitted,
    equal,
    fit_weights,
    folds,
    in_turn,
    joint,
    majority_settled,
    parted,
    soft_settled,
)

EARLY = [name for name, row in VOTES.items() if row.settled]


@st.composite
def members(draw: st.DrawFn, photos: int = 6) -> np.ndarray:
    """Probabilities (M, N, 3 or 4); often on a coarse grid, so that ties of votes and of sums happen."""
    count = draw(st.integers(1, 8))
    shape = (count, photos, draw(st.sampled_from([3, 4])))
    if draw(st.booleans()):
        values = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 3))).astype(float)
        values[values.sum(2) == 0] = 1
    else:
        values = draw(hnp.arrays(np.float64, shape, elements=st.floats(0.001, 1)))
    return np.asarray(values / values.sum(2, keepdims=True))


@st.composite
def weights(draw: st.DrawFn, count: int) -> Fitted:
    values = np.array(draw(st.lists(st.floats(0, 1), min_size=count, max_size=count))) + 1e-3
    return Fitted(tuple((values / values.sum()).tolist()))


@pytest.mark.parametrize("name", EARLY)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_stopping_early_never_changes_an_answer(name: str, data: st.DataObject) -> None:
    probabilities = data.draw(members())
    count, photos, _ = probabilities.shape
    fitted = equal(count) if name == "majority" else data.draw(weights(count))
    order = data.draw(st.permutations(range(count)))
    seen: list[tuple[int, int]] = []

    def ask(member: int, rows: np.ndarray) -> np.ndarray:
        seen.extend((member, int(row)) for row in rows)
        return probabilities[member, rows]

    answers, asked = in_turn(VOTES[name], fitted, order, photos, ask)
    full = VOTES[name].combine(probabilities, fitted)
    np.testing.assert_allclose(answers.sum(1), 1)
    best = full.max(1)
    np.testing.assert_allclose(full[np.arange(photos), answers.argmax(1)], best, atol=1e-12)  # equal but for rounding
    clear = np.sort(full, 1)[:, -1] - np.sort(full, 1)[:, -2] > 1e-12
    assert (answers.argmax(1) == full.argmax(1))[clear].all()
    assert len(seen) == len(set(seen)) == asked.sum()
    assert all(order.index(member) < asked[row] for member, row in seen)


@pytest.mark.parametrize("name", EARLY)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_the_bound_is_exact(name: str, data: st.DataObject) -> None:
    """Where it does not stop, some answers of the rest overturn the leader or draw level; where it stops, none does."""
    probabilities = data.draw(members())
    asked = len(probabilities)
    left = data.draw(st.integers(1, 4))
    if name == "majority":
        so_far, rest = np.full(asked, 1 / (asked + left)), np.full(left, 1 / (asked + left))
    else:
        every = np.asarray(data.draw(weights(asked + left)).weights)
        so_far, rest = every[:asked], every[asked:]
    settled = VOTES[name].settled
    assert settled is not None
    stopped = settled(probabilities, so_far, rest)
    fitted = Fitted(tuple(np.append(so_far, rest).tolist()))
    leader = VOTES[name].combine(probabilities, Fitted(tuple((so_far / so_far.sum()).tolist()))).argmax(1)
    overturned = np.zeros(len(leader), bool)
    labels = probabilities.shape[-1]
    for rival in range(labels):
        worst = np.broadcast_to(np.eye(labels)[rival], (left, len(leader), labels))
        final = VOTES[name].combine(np.concatenate([probabilities, worst]), fitted)
        rows = np.arange(len(leader))
        overturned |= (final[rows, rival] >= final[rows, leader] - 1e-8) & (rival != leader)
    assert (stopped == ~overturned).all()


def test_majority_ties_go_to_the_larger_summed_probability() -> None:
    probabilities = np.array([[[0.4, 0.35, 0.25]], [[0.1, 0.8, 0.1]], [[0.4, 0.3, 0.3]], [[0.2, 0.6, 0.2]]])
    answer = VOTES["majority"].combine(probabilities, equal(4))
    assert answer.argmax() == 1  # two votes each; 1.10 against 2.05
    assert answer.sum() == pytest.approx(1)
    assert VOTES["majority"].combine(probabilities[:2], equal(2)).argmax() == 1  # 0.50 against 1.15


@settings(max_examples=100, deadline=None)
@given(members())
def test_the_majority_has_the_most_votes(probabilities: np.ndarray) -> None:
    answer = VOTES["majority"].combine(probabilities, equal(len(probabilities))).argmax(1)
    counts = np.eye(probabilities.shape[-1])[probabilities.argmax(2)].sum(0)
    rows = np.arange(len(answer))
    assert (counts[rows, answer] == counts.max(1)).all()
    tied = counts == counts.max(1, keepdims=True)
    sums = np.where(tied, probabilities.sum(0), -1)
    np.testing.assert_allclose(sums[rows, answer], sums.max(1))


@settings(max_examples=60, deadline=None)
@given(members(photos=30), st.integers(0, 1000))
def test_fitted_weights_lie_on_the_simplex_and_are_no_worse_than_equal_ones(
    probabilities: np.ndarray, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, 30)
    fitted = np.array(fit_weights(probabilities, labels, np.arange(30)).weights)
    assert (fitted >= 0).all() and fitted.sum() == pytest.approx(1)

    def loss(w: np.ndarray) -> float:
        given_label = np.clip(probabilities[:, np.arange(30), labels], 1e-12, None)
        return float(-np.log(w @ given_label).mean())

    assert loss(fitted) <= loss(np.full(len(fitted), 1 / len(fitted))) + 1e-9


def _noisy(seed: int = 0, photos: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two good members, one that always mistakes class 1 for class 2 and the other way round."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, photos)
    logits = random.normal(0, 1, (3, photos, 3))
    swapped = np.array([0, 2, 1])[labels]
    for member, target in enumerate((labels, labels, swapped)):
        logits[member, np.arange(photos), target] += 2.5
    powers = np.exp(logits)
    return powers / powers.sum(2, keepdims=True), labels, np.arange(photos) // 2


def test_weights_leave_out_the_member_that_is_wrong() -> None:
    probabilities, labels, groups = _noisy()
    assert fit_weights(probabilities, labels, groups).weights[2] < 0.01


def test_the_stacker_learns_what_a_member_means() -> None:
    probabilities, labels, groups = _noisy()
    stacked = cross_fitted(VOTES["stacked"], probabilities, labels, groups)
    soft = cross_fitted(VOTES["soft"], probabilities, labels, groups)
    np.testing.assert_allclose(stacked.sum(1), 1)
    assert (stacked.argmax(1) == labels).mean() > (soft.argmax(1) == labels).mean() + 0.03


def test_the_stacker_does_without_a_class_that_never_occurs() -> None:
    probabilities, labels, groups = _noisy(photos=120)
    two = np.where(labels == 1, 0, labels)
    answers = VOTES["stacked"].combine(probabilities, VOTES["stacked"].fit(probabilities, two, groups))
    assert answers[:, 1].max() < 1e-6
    assert (answers.argmax(1) == two).mean() > 0.7


@pytest.mark.parametrize("name", VOTES)
def test_nobody_is_a_label_like_the_others(name: str) -> None:
    probabilities, labels, groups = _noisy()
    nobody = np.zeros(probabilities.shape[:2])
    row, four = VOTES[name], joint(probabilities, nobody)
    three = row.combine(probabilities, row.fit(probabilities, labels, groups))
    answers, away = parted(row.combine(four, row.fit(four, labels, groups)))
    np.testing.assert_allclose(answers, three, atol=1e-6)
    assert away is not None and away.max() == 0
    nobody[:, :50] = 1  # all see an empty street there
    answers, away = parted(row.combine(joint(probabilities, nobody), row.fit(four, labels, groups)))
    assert away is not None and away[:50].min() > 0.99 and away[50:].max() == 0
    np.testing.assert_allclose(answers.sum(1), 1)


def test_folds_part_no_group() -> None:
    groups = np.array([0, 0, 1, 1, 2, 2, -1, -1, 3, 3])
    judged = []
    for inside, outside in folds(np.zeros(10, int), groups):
        assert not set(groups[inside][groups[inside] >= 0]) & set(groups[outside])
        judged += outside.tolist()
    assert sorted(judged) == list(range(10))


def test_cross_fitting_judges_with_photos_left_out() -> None:
    """Members of pure noise: fitted and judged on the same photos the stacker looks better than chance."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet((1, 1, 1), (6, 90))
    labels, groups = random.integers(0, 3, 90), np.arange(90)
    row = VOTES["stacked"]
    answers = cross_fitted(row, probabilities, labels, groups)
    assert (answers.argmax(1) == labels).mean() < 0.5


def test_members_are_asked_by_accuracy_per_ms_and_the_cost_counts_it() -> None:
    order = cost_order([0.9, 0.8, 0.8], [30, 10, 20])
    assert order == (1, 2, 0)
    assert cost_ratio(np.array([3, 2]), order, [30, 10, 20]) == pytest.approx((1 + 0.5) / 2)


def test_three_agreeing_of_five_settle_it() -> None:
    sure = np.broadcast_to(np.array([0.8, 0.1, 0.1]), (3, 1, 3))
    assert majority_settled(sure, np.full(3, 0.2), np.full(2, 0.2)).all()
    assert not majority_settled(sure[:2], np.full(2, 0.2), np.full(3, 0.2)).any()
    assert soft_settled(sure, np.full(3, 0.2), np.full(2, 0.2)).all()  # 0.6 * 0.7 = 0.42 > 0.4
    assert not soft_settled(sure, np.full(3, 0.19), np.full(2, 0.215)).any()


def test_weights_off_the_simplex_are_refused() -> None:
    for wrong in ((), (0.5, 0.6), (1.5, -0.5)):
        with pytest.raises(ValueError, match="sum to 1"):
            Fitted(wrong)
