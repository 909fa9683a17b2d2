"""Whether something that is not in the picture gives a photo's class away: its size in px.

Where one class was collected as small previews and another as large press photos, a model learns the blur of enlarged
photos instead of faces, and its test score, from the same collection, won't tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from allmasked.errors import require
from allmasked.types import CLASSES, Label


@dataclass(frozen=True)
class Clue:
    """One measure that gives a class away: so many of the class lie on this side of ``at_px``, so many of the rest."""

    label: Label
    measure: str
    side: Literal["at most", "over"]
    at_px: float
    share_of_class: float
    share_of_others: float

    @property
    def words(self) -> str:
        return (
            f"{100 * self.share_of_class:.0f} % of the {self.label!r} photos have a {self.measure} of {self.side} "
            f"{self.at_px:.0f} px, but only {100 * self.share_of_others:.0f} % of the others"
        )


@dataclass(frozen=True)
class SizeLeak:
    """How well width and height alone tell the class.

    ``balanced_accuracy`` is that of a small decision tree, cross-validated; ``chance`` is 1 / number of classes;
    ``p_value`` of a permutation test. ``given_away`` when the tree is clearly and significantly better than chance.
    """

    balanced_accuracy: float
    chance: float
    p_value: float
    given_away: bool
    clues: tuple[Clue, ...]

    @property
    def words(self) -> str:
        """The finding as one sentence without its full stop."""
        figures = f"a balanced accuracy of {self.balanced_accuracy:.2f} (chance: {self.chance:.2f})"
        if not self.given_away:
            return f"size does not give the class away: width and height alone reach {figures}"
        names = " and ".join(repr(clue.label) for clue in self.clues) or "the class"
        clues = "".join(f"{clue.words}; " for clue in self.clues)
        return f"size gives {names} away: {clues}width and height alone reach {figures}"

    @property
    def advice(self) -> str:
        return (
            "A model can learn the blur of enlarged photos instead of faces: train with random shrinking of every "
            "class and look at the scores by size."
        )


class Sized(Protocol):
    """A photo whose label and size in px are known."""

    @property
    def label(self) -> Label: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


SIDES: dict[str, Callable[[Sized], float]] = {
    "long side": lambda photo: max(photo.width, photo.height),
    "short side": lambda photo: min(photo.width, photo.height),
    "width": lambda photo: photo.width,
    "height": lambda photo: photo.height,
}


def size_leak(photos: Sequence[Sized], *, seed: int = 0, permutations: int = 99) -> SizeLeak | None:
    """Whether a photo's size in px gives its class away. None with too few photos to say (under 10 of a class).

    A decision tree of depth 3 sees width, height, long and short side only; its balanced accuracy is cross-validated
    (5 folds) and compared with that of trees on permuted labels (Ojala and Garriga 2010). File size is left out on
    purpose: a crowd compresses worse than a portrait, which is content. Give each group of near-duplicates once.
    """
    require("sklearn", "train")
    from sklearn.model_selection import StratifiedKFold, permutation_test_score
    from sklearn.tree import DecisionTreeClassifier

    counts = Counter(photo.label for photo in photos)
    if len(counts) < 2 or min(counts.values()) < 10:
        return None
    sizes = np.array([[side(photo) for side in SIDES.values()] for photo in photos], dtype=np.float32)
    labels = np.array([photo.label for photo in photos])
    chance = 1 / len(counts)
    score, _, p_value = permutation_test_score(
        DecisionTreeClassifier(max_depth=3, min_samples_leaf=0.02, class_weight="balanced", random_state=seed),
        sizes,
        labels,
        scoring="balanced_accuracy",
        cv=StratifiedKFold(5, shuffle=True, random_state=seed),
        n_permutations=permutations,
        random_state=seed,
    )
    given_away = bool(p_value <= 0.01 and score >= chance + 0.1 * (1 - chance))
    clues = tuple(clue for label in CLASSES if given_away and (clue := _clue(sizes, labels, label)))
    return SizeLeak(round(float(score), 4), round(chance, 4), round(float(p_value), 4), given_away, clues)


def _clue(sizes: NDArray[np.float32], labels: NDArray[np.str_], label: Label) -> Clue | None:
    """The one threshold that tells ``label`` best from the rest; None where none separates by at least a quarter."""
    mine, rest = sizes[labels == label], sizes[labels != label]
    best: Clue | None = None
    gain = 0.25
    for column, name in enumerate(SIDES):
        for at in np.unique(sizes[:, column])[:-1]:
            low, low_rest = float((mine[:, column] <= at).mean()), float((rest[:, column] <= at).mean())
            if abs(low - low_rest) > gain:
                gain = abs(low - low_rest)
                best = (
                    Clue(label, name, "at most", float(at), low, low_rest)
                    if low > low_rest
                    else Clue(label, name, "over", float(at), 1 - low, 1 - low_rest)
                )
    return best
