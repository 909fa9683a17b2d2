"""Scores: labels and probabilities in, figures out. Nothing here reads a file or knows a run folder.

Throughout, ``labels`` is an integer array (N,) of class indices 0-2 in the order of
:data:`allmasked.core.types.CLASSES`, ``probabilities`` a float array (N, 3) whose rows sum to 1 (if somebody is there),
``nobody`` a float array (N,) with the probability that nobody is (None for a model that can't tell), ``predicted`` an
integer array (N,) of 0-2, or of 3 for "nobody", which is wrong whatever the label, and ``groups`` an integer array (N,)
that numbers the groups of near-duplicates (-1: a group of its own). Precision, recall, F1 and the confusion
matrix are scikit-learn's; Holm's correction is statsmodels'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from allmasked.core.errors import require
from allmasked.core.types import CLASSES, LABELS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

K = len(CLASSES)
AVERAGES = ("micro", "macro", "weighted")
BINS = 15
"""Equal-width confidence bins of the expected calibration error, as in Guo et al. 2017."""
SMALLEST = 1e-12
"""Probabilities below this count as this in logarithms."""


Interval = tuple[float, float]
"""Of 95 %: low, high."""


@dataclass(frozen=True)
class Average:
    """Precision, recall and F1, 0-1; an undefined one (0/0) is 0."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassFigures(Average):
    """Those of one class, which so many ``photos`` are labelled."""

    photos: int


@dataclass(frozen=True)
class Summary:
    """How good answers are; ``averages`` by the names of :data:`AVERAGES`, ``classes`` by label."""

    photos: int
    accuracy: float
    averages: Mapping[str, Average]
    classes: Mapping[str, ClassFigures]

    @property
    def macro_f1(self) -> float:
        """The mean of the classes' F1, 0-1."""
        return self.averages["macro"].f1


@dataclass(frozen=True)
class Intervals:
    """95 % bootstrap intervals; None where the resamples do not differ. ``f1`` by label."""

    accuracy: Interval
    macro_f1: Interval | None
    f1: Mapping[str, Interval | None]


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence lies in (low, high]: how many, their mean confidence and accuracy."""

    low: float
    high: float
    photos: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """Expected calibration error (0-1), log loss, and the bins of confidence that the first comes from."""

    ece: float
    log_loss: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Calibration(Reliability):
    """Of the probabilities as they come, and ``scaled`` by a temperature; both None without."""

    temperature: float | None = None
    scaled: Reliability | None = None


@dataclass(frozen=True)
class Figures(Summary):
    """All figures of one set of photos: :func:`score`. ``groups`` is how many groups of near-duplicates they are."""

    groups: int
    confusion: tuple[tuple[int, ...], ...]
    confusion_normalised: tuple[tuple[float, ...], ...]
    intervals: Intervals
    calibration: Calibration


@dataclass(frozen=True)
class Stratum:
    """The photos whose value lies in [low, high), ``high`` None: no bound."""

    low: float
    high: float | None
    photos: int
    accuracy: float
    accuracy_interval: Interval
    macro_f1: float
    macro_f1_interval: Interval | None


@dataclass(frozen=True)
class McNemar:
    """Photos that only one of two models has right, and the two-sided p of that."""

    only_a: int
    only_b: int
    p: float


def predicted_classes(probabilities: ArrayLike, nobody: ArrayLike | None = None) -> Ints:
    """The most probable answer of each row: (N,) indices, 3 where that is "nobody".

    Ties go to "nobody", then to the first class, as :func:`allmasked.networks.reading.label_of` has it.
    """
    three = np.asarray(probabilities, dtype=np.float64)
    predicted: Ints = three.argmax(axis=1).astype(np.int64)
    if nobody is None:
        return predicted
    away = np.asarray(nobody, dtype=np.float64)
    return np.asarray(np.where(away >= three.max(axis=1) * (1 - away), K, predicted))


def answer_names(matrix: ArrayLike) -> tuple[str, ...]:
    """What the columns of a confusion matrix stand for: the classes, and "nobody" where that was an answer."""
    return LABELS[: np.shape(matrix)[1]]


def confusion(labels: ArrayLike, predicted: ArrayLike) -> Ints:
    """Confusion matrix in counts: rows are the true classes, columns the predicted ones.

    It is (3, 3), or (3, 4) where "nobody" is among the answers.
    """
    sklearn_metrics = require("sklearn.metrics", "train")
    columns = K + int((np.asarray(predicted) == K).any())
    matrix = sklearn_metrics.confusion_matrix(labels, predicted, labels=range(columns))
    return np.asarray(matrix[:K], dtype=np.int64)


def normalised(matrix: ArrayLike) -> Floats:
    """A confusion matrix with each row divided by its sum (the share of each true class); empty rows stay 0."""
    counts = np.asarray(matrix, dtype=np.float64)
    sums = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0))


def summary(labels: ArrayLike, predicted: ArrayLike) -> Summary:
    """Accuracy, and precision, recall and F1 per class and as micro, macro and weighted averages (all 0-1).

    Averages run over the classes that occur among the labels or the predictions (scikit-learn's default), "nobody" not
    among them; the micro average is the accuracy. An undefined figure (0/0) counts as 0. Raises ValueError for no
    photos at all.
    """
    sklearn_metrics = require("sklearn.metrics", "train")
    labels, predicted = np.asarray(labels, np.int64), np.asarray(predicted, np.int64)
    if not len(labels):
        raise ValueError("no photos to score")
    score = partial(sklearn_metrics.precision_recall_fscore_support, labels, predicted, zero_division=0)
    per_class = score(labels=range(K), average=None)
    present = np.setdiff1d(np.concatenate([labels, predicted]), [K])
    over = {"micro": None, "macro": present, "weighted": present}
    averaged = {average: score(labels=over[average], average=average)[:3] for average in AVERAGES}
    return Summary(
        len(labels),
        float((labels == predicted).mean()),
        {average: Average(*map(float, three)) for average, three in averaged.items()},
        {name: ClassFigures(float(p), float(r), float(f1), int(n)) for name, p, r, f1, n in zip(CLASSES, *per_class)},
    )


# --- bootstrap -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resampled:
    """Figures of bootstrap resamples: accuracy (B,), macro-F1 (B,) and F1 per class (B, 3; NaN where undefined)."""

    accuracy: Floats
    macro_f1: Floats
    class_f1: Floats


def resample(labels: ArrayLike, predicted: ArrayLike, groups: ArrayLike, count: int, seed: int) -> Resampled:
    """Figures of ``count`` bootstrap resamples, drawn by whole groups of near-duplicates (cluster bootstrap).

    Near-duplicates are right or wrong together, so drawing photo by photo would make the intervals too narrow. The
    same ``groups``, ``count`` and ``seed`` draw the same resamples, which makes differences between models paired.
    Source: Field and Welsh 2007, "Bootstrapping clustered data".
    """
    labels, predicted = np.asarray(labels, np.int64), np.asarray(predicted, np.int64)
    index, number = group_index(groups)
    cells = np.zeros((number, K * (K + 1)))  # one more answer than classes: "nobody"
    np.add.at(cells, (index, labels * (K + 1) + predicted), 1)
    matrices = np.concatenate([weights @ cells for weights in draws(number, count, seed)]).reshape(-1, K, K + 1)
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    both = matrices.sum(axis=1)[:, :K] + matrices.sum(axis=2)  # 2 tp + fp + fn
    class_f1 = np.divide(2 * hits, both, out=np.full_like(hits, np.nan, dtype=np.float64), where=both > 0)
    return Resampled(hits.sum(axis=1) / matrices.sum(axis=(1, 2)), np.nanmean(class_f1, axis=1), class_f1)


def group_count(groups: ArrayLike) -> int:
    """How many groups there are; each -1 is one of its own."""
    return group_index(groups)[1]


def group_index(groups: ArrayLike) -> tuple[Ints, int]:
    """The group of each photo (N,) as a number from 0, and how many there are; each -1 is one of its own."""
    numbers = np.array(groups, dtype=np.int64)
    alone = numbers < 0
    numbers[alone] = numbers.max(initial=0) + 1 + np.arange(alone.sum())
    names, index = np.unique(numbers, return_inverse=True)
    return index.astype(np.int64), len(names)


def draws(number: int, count: int, seed: int) -> Iterator[Floats]:
    """How often each of ``number`` groups is drawn in each of ``count`` resamples, in chunks of rows."""
    random = np.random.default_rng(seed)
    chunk = max(1, 2_000_000 // number)
    for start in range(0, count, chunk):
        rows = min(chunk, count - start)
        drawn = random.integers(number, size=(rows, number)) + np.arange(rows)[:, None] * number
        yield np.bincount(drawn.ravel(), minlength=rows * number).reshape(rows, number).astype(np.float64)


def interval(values: ArrayLike, level: float = 0.95) -> Interval | None:
    """Percentile interval of bootstrap values, without the undefined ones.

    None when no two values differ: the bootstrap then has nothing to say (a model without a single error is not
    thereby certain to be perfect).
    """
    numbers: Floats = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers) or numbers.min() == numbers.max():
        return None
    low, high = np.quantile(numbers, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def accuracy_interval(values: ArrayLike, groups: int, level: float = 0.95) -> Interval:
    """:func:`interval` of resampled accuracies; where no two differ, the exact binomial one of that many groups.

    Source: Clopper and Pearson 1934.
    """
    if (found := interval(values, level)) is not None:
        return found
    proportion = require("statsmodels.stats.proportion", "train")
    right = round(float(np.asarray(values).flat[0]) * groups)
    low, high = proportion.proportion_confint(right, groups, alpha=1 - level, method="beta")
    return float(low), float(high)


# --- calibration ---------------------------------------------------------------------------------------------------


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> tuple[Bin, ...]:
    """For each equal-width bin of confidence (low, high]: photos, mean confidence and accuracy (0 where empty)."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    confidence = probabilities.max(axis=1)
    right = predicted_classes(probabilities) == np.asarray(labels)
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    photos = np.bincount(index, minlength=bins)
    some = np.maximum(photos, 1)
    confidences = np.bincount(index, weights=confidence, minlength=bins) / some
    accuracies = np.bincount(index, weights=right, minlength=bins) / some
    return tuple(
        Bin(k / bins, (k + 1) / bins, int(photos[k]), float(confidences[k]), float(accuracies[k])) for k in range(bins)
    )


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> float:
    """ECE (0-1): mean of |accuracy - confidence| over the bins, weighted by photos (Guo et al. 2017, equation 3)."""
    rows = reliability(labels, probabilities, bins)
    total = sum(row.photos for row in rows)
    return float(sum(row.photos * abs(row.accuracy - row.confidence) for row in rows) / total)


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative log-likelihood (natural logarithm) of the labels."""
    sklearn_metrics = require("sklearn.metrics", "train")
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, None)
    return float(sklearn_metrics.log_loss(labels, clipped / clipped.sum(axis=1, keepdims=True), labels=range(K)))


def apply_temperature(probabilities: ArrayLike, temperature: float) -> Floats:
    """softmax(log p / T): probabilities (N, 3) made softer (T > 1) or sharper (T < 1); the answers stay the same."""
    logits = np.log(np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, None)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The T (0.05-20) with the least log loss on these photos; fit it on validation (Guo et al. 2017, section 4.2).

    1 where every photo is answered rightly: ever sharper probabilities would be best.
    """
    optimize = require("scipy.optimize", "train")
    labels = np.asarray(labels)
    rows = np.arange(len(labels))
    if (np.asarray(probabilities).argmax(axis=1) == labels).all():
        return 1.0

    def loss(log_temperature: float) -> float:
        chosen = apply_temperature(probabilities, float(np.exp(log_temperature)))[rows, labels]
        return float(-np.log(np.clip(chosen, 1e-300, None)).mean())

    found = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


# --- everything about one set of photos ------------------------------------------------------------------------------


def score(
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike,
    *,
    nobody: ArrayLike | None = None,
    temperature: float | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
) -> Figures:
    """All figures of one set of photos.

    Calibration is about which of the three classes it is: it stays on the probabilities that hold if somebody is there,
    whatever ``nobody`` says. All other figures are about the answer, which may be "nobody".
    """
    predicted = predicted_classes(probabilities, nobody)
    matrix = confusion(labels, predicted)
    drawn = resample(labels, predicted, groups, bootstrap, seed)
    number = group_count(groups)
    of_class: dict[str, Interval | None] = {name: interval(drawn.class_f1[:, k]) for k, name in enumerate(CLASSES)}
    scaled = None if temperature is None else _reliability(labels, apply_temperature(probabilities, temperature))
    return Figures(
        **vars(summary(labels, predicted)),
        groups=number,
        confusion=tuple(map(tuple, matrix.tolist())),
        confusion_normalised=tuple(map(tuple, normalised(matrix).tolist())),
        intervals=Intervals(accuracy_interval(drawn.accuracy, number), interval(drawn.macro_f1), of_class),
        calibration=Calibration(**vars(_reliability(labels, probabilities)), temperature=temperature, scaled=scaled),
    )


def _reliability(labels: ArrayLike, probabilities: ArrayLike) -> Reliability:
    error, loss = expected_calibration_error(labels, probabilities), log_loss(labels, probabilities)
    return Reliability(error, loss, reliability(labels, probabilities))


def breakdown(
    labels: ArrayLike,
    predicted: ArrayLike,
    groups: ArrayLike,
    values: ArrayLike,
    edges: Sequence[float],
    *,
    bootstrap: int = 2000,
    seed: int = 0,
) -> tuple[Stratum, ...]:
    """Accuracy and macro-F1 with their intervals for the photos whose value lies in each bin [low, high).

    ``values`` (N,) may hold NaN (unknown; left out). ``edges`` rise; the last bin is open (``high`` is None). Bins
    without photos are left out.
    """
    labels, predicted, groups = np.asarray(labels), np.asarray(predicted), np.asarray(groups)
    values = np.asarray(values, dtype=np.float64)
    rows = []
    for low, high in zip(edges, [*edges[1:], np.inf]):
        inside = (values >= low) & (values < high)
        if not inside.any():
            continue
        figures = summary(labels[inside], predicted[inside])
        drawn = resample(labels[inside], predicted[inside], groups[inside], bootstrap, seed)
        sure = accuracy_interval(drawn.accuracy, group_count(groups[inside])), interval(drawn.macro_f1)
        top = None if np.isinf(high) else high
        rows.append(Stratum(low, top, figures.photos, figures.accuracy, sure[0], figures.macro_f1, sure[1]))
    return tuple(rows)


# --- paired tests --------------------------------------------------------------------------------------------------


def mcnemar(
    labels: ArrayLike, predicted_a: ArrayLike, predicted_b: ArrayLike, groups: ArrayLike | None = None
) -> McNemar:
    """Exact test whether two models differ in accuracy on the same photos: McNemar's, by groups of near-duplicates.

    Near-duplicates are right or wrong together, so a group is one observation, not as many as it has photos. Its sum
    is the number of its photos that only A has right less those that only B has right. If neither model is better, each
    sum is as likely with the other sign; ``p`` is the probability, over all ways to draw the signs, of a total at least
    as far from 0 as the one found. Where each photo is a group of its own (``groups`` None) that is McNemar's exact
    test.

    Sources: McNemar 1947; exact form as in Dietterich 1998; random signs: Fisher 1935, "The Design of Experiments";
    sums of clusters: Durkalski et al. 2003, "Analysis of clustered matched-pair data".
    """
    labels = np.asarray(labels)
    right_a, right_b = np.asarray(predicted_a) == labels, np.asarray(predicted_b) == labels
    only_a, only_b = right_a & ~right_b, ~right_a & right_b
    index, number = group_index(np.full(len(labels), -1) if groups is None else groups)
    sums = np.bincount(index, weights=only_a.astype(float) - only_b, minlength=number).astype(np.int64)
    return McNemar(int(only_a.sum()), int(only_b.sum()), _sign_flip(sums))


def _sign_flip(sums: Ints) -> float:
    """Two-sided p of a total of whole numbers under random signs: exact, one number after another."""
    reach = int(np.abs(sums).sum())
    chance = np.zeros(2 * reach + 1)  # of each total from -reach on
    chance[reach] = 1.0
    for size in np.abs(sums[sums != 0]):
        chance = (np.roll(chance, size) + np.roll(chance, -size)) / 2  # nothing comes round: reach holds all of them
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(sums.sum()))
    return min(1.0, float(chance[far].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's step-down method (Holm 1979)."""
    if not p_values:
        return []
    multitest = require("statsmodels.stats.multitest", "train")
    return [float(p) for p in multitest.multipletests(p_values, method="holm")[1]]
