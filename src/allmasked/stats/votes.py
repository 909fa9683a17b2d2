"""Votes: the members' probabilities in, one answer out; and when the rest of the members need not be asked.

A vote is a row of :data:`VOTES`. Throughout, ``probabilities`` is a float array (M, N, K): member, photo, label, rows
summing to 1. K is 3, in the order of :data:`allmasked.core.types.CLASSES`; or 4 where the members can tell whether
anybody is there (:func:`joint`), with P(nobody) last, so that a member that finds nobody votes for that and for no
class. Pure NumPy, but for fitting the stacker (scikit-learn).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from allmasked.core.errors import require
from allmasked.core.types import CLASSES
from allmasked.stats import metrics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

K = len(CLASSES)
FOLDS = 5
MARGIN = 1e-9
"""What a lead must have beyond the bound before the rest is not asked: sums in another order differ by rounding."""

SMALLEST = 1e-6
"""Probabilities below this count as this in the stacker's logarithms."""
_PENALTIES = (0.001, 0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Fitted:
    """What was fitted for a vote of M members.

    Attributes:
        weights: M numbers from 0 that sum to 1; equal where nothing was fitted.
        coefficients: the stacker's 3 rows of 3 M numbers and an intercept; empty for any other vote.
    """

    weights: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights)
        if not len(weights) or weights.min() < 0 or abs(weights.sum() - 1) > 1e-6:
            raise ValueError(f"weights must be from 0 and sum to 1, not {self.weights}")


def equal(count: int) -> Fitted:
    """The same weight for each of ``count`` members."""
    return Fitted((1 / count,) * count)


def joint(probabilities: ArrayLike, nobody: ArrayLike) -> Floats:
    """P(all), P(none), P(some), P(nobody) (..., 4) from the first three if somebody is there (..., 3) and the last."""
    away = np.asarray(nobody, np.float64)[..., None]
    return np.concatenate([np.asarray(probabilities, np.float64) * (1 - away), away], -1)


def parted(answers: Floats) -> tuple[Floats, Floats | None]:
    """The other way round: (N, 3) if somebody is there, and P(nobody) (N,); None where the answers (N, 3) don't say."""
    if answers.shape[-1] == K:
        return answers, None
    there = answers[:, :K] + 1e-9
    return there / there.sum(1, keepdims=True), answers[:, K]


def scaled(probabilities: ArrayLike, temperature: float) -> Floats:
    """A member's probabilities (N, K) with those of the classes scaled by its temperature; P(nobody) stays."""
    classes, nobody = parted(np.asarray(probabilities, np.float64))
    classes = metrics.apply_temperature(classes, temperature)
    return classes if nobody is None else joint(classes, nobody)


# --- the full votes --------------------------------------------------------------------------------------------------


def majority(probabilities: Floats, fitted: Fitted) -> Floats:  # noqa: ARG001
    """Each member's most probable label is one vote; ties go to the larger summed probability: (N, K).

    The result is (votes + mean probability) / (members + 1). The mean can't overturn a whole vote, since
    whoever voted for the leader gave it the larger probability; so the order is that of the votes, ties broken.
    """
    return (_counts(probabilities) + probabilities.mean(0)) / (len(probabilities) + 1)


def soft(probabilities: Floats, fitted: Fitted) -> Floats:
    """The weighted mean of the probabilities (linear opinion pool, Stone 1961): (N, K)."""
    weights = np.asarray(fitted.weights, np.float64)
    return np.tensordot(weights, probabilities, 1) / weights.sum()


def stacked(probabilities: Floats, fitted: Fitted) -> Floats:
    """Multinomial logistic regression on the members' log-probabilities (stacking, Wolpert 1992): (N, K).

    It is about the classes, which it was fitted on; P(nobody) is the members' weighted mean.
    """
    rows = np.asarray(fitted.coefficients, np.float64)
    logits = _features(probabilities) @ rows[:, :-1].T + rows[:, -1]
    powers = np.exp(logits - logits.max(1, keepdims=True))
    classes = np.asarray(powers / powers.sum(1, keepdims=True))
    return classes if probabilities.shape[-1] == K else joint(classes, soft(probabilities[..., K:], fitted)[:, 0])


def _counts(probabilities: Floats) -> Floats:
    return np.eye(probabilities.shape[-1])[np.asarray(probabilities).argmax(2)].sum(0)


def _classes(probabilities: Floats) -> Floats:
    """Those of the classes, if somebody is there: (M, N, 3)."""
    return np.stack([parted(member)[0] for member in probabilities])


def _features(probabilities: Floats) -> Floats:
    logs = np.log(np.clip(_classes(probabilities), SMALLEST, None))
    return np.moveaxis(logs, 0, 1).reshape(probabilities.shape[1], -1)


# --- fitting ---------------------------------------------------------------------------------------------------------


def fit_weights(probabilities: Floats, labels: Ints, groups: Ints, steps: int = 500) -> Fitted:  # noqa: ARG001
    """The weights with the least log loss of :func:`soft`: expectation maximisation of a mixture's weights.

    Convex in the weights, so there is one minimum; every step lowers the loss and stays on the simplex. Source:
    Dempster, Laird and Rubin 1977, section 4.3.
    """
    given = np.clip(probabilities[:, np.arange(len(labels)), labels], 1e-12, None)  # (M, N)
    weights = np.full(len(given), 1 / len(given))
    for _ in range(steps):
        shares = weights[:, None] * given
        weights = (shares / shares.sum(0)).mean(1)
    return Fitted(tuple(float(w) for w in weights / weights.sum()))


def fit_stacker(probabilities: Floats, labels: Ints, groups: Ints) -> Fitted:
    """The stacker; its penalty is chosen by cross-validation over groups of near-duplicates (least log loss)."""
    linear = require("sklearn.linear_model", "train")
    probabilities = _classes(probabilities)
    features = _features(probabilities)

    def regression(rows: Ints, penalty: float) -> Floats:
        model = linear.LogisticRegression(C=penalty, solver="newton-cholesky", max_iter=500)
        model.fit(features[rows], labels[rows])
        found = np.zeros((K, features.shape[1] + 1))
        found[:, -1] = -30.0  # a class that never occurred
        if len(model.classes_) == 2:  # scikit-learn then keeps the one difference
            difference = np.append(model.coef_[0], model.intercept_[0])
            found[model.classes_] = np.stack([-difference / 2, difference / 2])
        else:
            found[model.classes_] = np.column_stack([model.coef_, model.intercept_])
        return found

    def loss(penalty: float) -> float:
        total = 0.0
        for inside, outside in folds(labels, groups):
            fitted = Fitted((1.0,), _rows(regression(inside, penalty)))
            answers = stacked(probabilities[:, outside], fitted)
            total -= np.log(np.clip(answers[np.arange(len(outside)), labels[outside]], 1e-12, None)).sum()
        return total

    if len(np.unique(labels)) < 2:
        raise ValueError("a stacker needs photos of at least two classes")
    best = min(_PENALTIES, key=loss)
    return Fitted(equal(len(probabilities)).weights, _rows(regression(np.arange(len(labels)), best)))


def _rows(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(v) for v in row) for row in values)


def folds(labels: Ints, groups: Ints) -> Iterator[tuple[Ints, Ints]]:
    """(rows to fit on, rows to judge) of up to 5 folds; a group of near-duplicates is never on both sides."""
    selection = require("sklearn.model_selection", "train")
    numbers, count = metrics.group_index(groups)
    yield from selection.GroupKFold(min(FOLDS, count)).split(labels, labels, numbers)


def _nothing(probabilities: Floats, labels: Ints, groups: Ints) -> Fitted:  # noqa: ARG001
    return equal(len(probabilities))


# --- when the rest need not be asked ---------------------------------------------------------------------------------


def majority_settled(probabilities: Floats, weights: Floats, left: Floats) -> NDArray[np.bool_]:  # noqa: ARG001
    """Whether the members not asked yet, ``left`` (their weights), can't change the majority, whatever they say: (N,).

    Worst case for the leader: all r of them vote for one rival. It is settled where each rival then still has fewer
    votes, or as many with a summed probability that r certain answers can't lift to the leader's.
    """
    counts, sums = _counts(probabilities), probabilities.sum(0)
    leader = (counts + sums / (len(probabilities) + 1)).argmax(1)[:, None]
    votes_ahead = np.take_along_axis(counts, leader, 1) - counts - len(left)
    ahead = np.take_along_axis(sums, leader, 1) - sums - len(left)
    safe = (votes_ahead > 0) | ((votes_ahead == 0) & (ahead > MARGIN))
    np.put_along_axis(safe, leader, True, 1)
    return np.asarray(safe.all(1))


def soft_settled(probabilities: Floats, weights: Floats, left: Floats) -> NDArray[np.bool_]:
    """Whether the members not asked yet, ``left`` (their weights), can't overturn the weighted mean's winner: (N,).

    The bound is exact: the rest can add at most the sum of their weights to a rival and nothing to the leader, and
    do so where each of them is certain of that rival.
    """
    sums = np.tensordot(weights, probabilities, 1)
    ordered = np.sort(sums, 1)
    return np.asarray(ordered[:, -1] - ordered[:, -2] > left.sum() + MARGIN)


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vote:
    """One row.

    Attributes:
        combine: (probabilities (M, N, K), fitted) -> (N, K), rows summing to 1.
        fit: (probabilities (M, N, K), labels (N,), groups (N,)) -> what it needs, from validation.
        fits: whether ``fit`` learns anything (then validation figures must be cross-fitted).
        settled: (probabilities of those asked (m, N, K), their weights (m,), the others' weights) -> (N,) bool; None
            where no bound is known.
    """

    name: str
    help: str
    combine: Callable[[Floats, Fitted], Floats]
    fit: Callable[[Floats, Ints, Ints], Fitted] = _nothing
    fits: bool = False
    settled: Callable[[Floats, Floats, Floats], NDArray[np.bool_]] | None = None


VOTES: dict[str, Vote] = {
    row.name: row
    for row in (
        Vote("majority", "one member, one vote; ties by summed probability", majority, settled=majority_settled),
        Vote("soft", "the mean of the probabilities", soft, settled=soft_settled),
        Vote(
            "weighted", "the mean with weights fitted on validation", soft, fit_weights, fits=True,
            settled=soft_settled,
        ),
        Vote("stacked", "logistic regression on the log-probabilities", stacked, fit_stacker, fits=True),
    )
}  # fmt: skip


def cross_fitted(vote: Vote, probabilities: Floats, labels: Ints, groups: Ints) -> Floats:
    """The vote's answers (N, K) for photos that it was not fitted on: fitted on the other folds' groups each time."""
    if not vote.fits:
        return vote.combine(probabilities, vote.fit(probabilities, labels, groups))
    found = np.zeros((len(labels), probabilities.shape[-1]))
    for inside, outside in folds(labels, groups):
        fitted = vote.fit(probabilities[:, inside], labels[inside], groups[inside])
        found[outside] = vote.combine(probabilities[:, outside], fitted)
    return found


# --- asking one member after another ---------------------------------------------------------------------------------

AskMember = Callable[[int, Ints], Floats]
"""(member, rows of photos) -> that member's probabilities (rows, K)."""


def in_turn(
    vote: Vote, fitted: Fitted, order: Sequence[int], photos: int, ask: AskMember, *, early: bool = True
) -> tuple[Floats, Ints]:
    """Ask the members in ``order``, each only about the photos that are not settled yet.

    Returns:
        The answers (photos, K), whose most probable label is the full vote's for every photo (the probabilities are
        those of the members that were asked), and how many members were asked about each photo (photos,).
    """
    members, weights = len(order), np.asarray(fitted.weights, np.float64)
    given = np.zeros((members, photos, 0))
    asked = np.zeros(photos, np.int64)
    open_rows = np.arange(photos)
    for turn, member in enumerate(order, 1):
        if not len(open_rows):
            break
        found = ask(member, open_rows)
        if not given.shape[-1]:
            given = np.zeros((members, photos, found.shape[-1]))
        given[member, open_rows] = found
        asked[open_rows] = turn
        if early and vote.settled is not None and turn < members:
            so_far, rest = list(order[:turn]), list(order[turn:])
            done = vote.settled(given[so_far][:, open_rows], weights[so_far], weights[rest])
            open_rows = open_rows[~done]
    answers = np.zeros((photos, given.shape[-1] or K))
    for turn in np.unique(asked):
        rows, so_far = np.flatnonzero(asked == turn), sorted(order[:turn])
        if turn == members:
            answers[rows] = vote.combine(given[:, rows], fitted)
        else:
            some = weights[so_far]
            some = some / some.sum() if some.sum() > 0 else np.full(len(so_far), 1 / len(so_far))
            answers[rows] = vote.combine(given[so_far][:, rows], Fitted(tuple(some.tolist())))
    return answers, asked


def cost_order(accuracy: Sequence[float], milliseconds: Sequence[float]) -> tuple[int, ...]:
    """Members by falling accuracy per ms, the order in which they are asked; ties in the order given."""
    worth = np.asarray(accuracy, np.float64) / np.maximum(np.asarray(milliseconds, np.float64), 1e-9)
    return tuple(int(k) for k in np.argsort(-worth, kind="stable"))


def cost_ratio(asked: Ints, order: Sequence[int], milliseconds: Sequence[float]) -> float:
    """What asking in turn costs, as a share of asking every member about every photo (0-1), from the members' ms."""
    spent = np.cumsum(np.asarray(milliseconds, np.float64)[list(order)])
    return float(spent[asked - 1].mean() / spent[-1])
