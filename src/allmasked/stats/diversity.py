"""How different the members of an ensemble are, and what each of them adds: labels in, figures out, pure NumPy.

``right`` is a boolean array (M, N): whether member m is right about photo n. Measures as in Kuncheva and Whitaker 2003,
"Measures of diversity in classifier ensembles".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def disagreement(predicted: ArrayLike) -> Floats:
    """Share of photos (0-1) about which two members give different answers: (M, M) from labels (M, N)."""
    predicted = np.asarray(predicted)
    return np.asarray((predicted[:, None] != predicted[None]).mean(2))


def q_statistic(right: ArrayLike) -> Floats:
    """Yule's Q of every two members (M, M): 1 where they are right about the same photos, 0 where independent, -1
    where one is right exactly when the other is wrong; NaN where it is undefined (a member without errors, say).
    """
    hits = np.asarray(right, np.float64)
    misses = 1 - hits
    together, neither = (hits @ hits.T) * (misses @ misses.T), (hits @ misses.T) * (misses @ hits.T)
    total = together + neither
    return np.divide(together - neither, total, out=np.full_like(total, np.nan), where=total > 0)


def oracle(right: ArrayLike) -> float:
    """Share of photos that at least one member is right about: the most that any choice among them could reach."""
    return float(np.asarray(right, bool).any(0).mean())


def pairs_mean(matrix: ArrayLike) -> float:
    """The mean over all pairs of different members; NaN entries left out, NaN where nothing is left."""
    values = np.asarray(matrix, np.float64)
    values = values[np.triu_indices(len(values), 1)]
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def leave_one_out(members: int, accuracy: Callable[[list[int]], float]) -> Floats:
    """What each member adds (M,): accuracy of all members less that without it; ``accuracy(members)`` gives them."""
    everyone = list(range(members))
    whole = accuracy(everyone)
    return np.array([whole - accuracy([other for other in everyone if other != m]) for m in everyone])


@dataclass(frozen=True)
class Diversity:
    """How M members differ: matrices (M, M) (Q: NaN where undefined), and what a choice among them could reach."""

    disagreement: Floats
    q: Floats
    oracle: float

    @property
    def mean_disagreement(self) -> float:
        """Of two members, over all pairs."""
        return pairs_mean(self.disagreement)


def measure(predicted: ArrayLike, labels: ArrayLike) -> Diversity:
    """All of it, from the members' answers (M, N) and the photos' labels (N,)."""
    right = np.asarray(predicted) == np.asarray(labels)
    return Diversity(disagreement(predicted), q_statistic(right), oracle(right))
