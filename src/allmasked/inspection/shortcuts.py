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

from allmasked.core.errors import require
from allmasked.core.types import CLASSES, Label


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
    def gain(self) -> float:
        """Youden's index: by how much the rule holds more often in the class than outside."""
        return self.share_of_class - self.share_of_others

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
    ``given_away`` when the tree is clearly (a tenth of the way to certainty) and significantly better than chance.
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
            return f"it is not shown that size gives the class away: width and height alone reach {figures}"
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


FOLDS = 5
FOLDS_SHARE = (1 + FOLDS / (FOLDS - 1)) ** 0.5  # sqrt((1/k + test/train) / (1/k)) = 1.5 for five folds
SIDES: dict[str, Callable[[Sized], float]] = {
    "long side": lambda photo: max(photo.width, photo.height),
    "short side": lambda photo: min(photo.width, photo.height),
    "width": lambda photo: photo.width,
    "height": lambda photo: photo.height,
}


def size_leak(photos: Sequence[Sized], *, seed: int = 0) -> SizeLeak | None:
    """Whether a photo's size in px gives its class away. None with too few photos to say (under 10 of a class).

    A decision tree of depth 3 sees width, height, long and short side only and answers for photos that it was not
    grown on (5 folds). ``p_value`` is that of a one-sided z-test of its balanced accuracy against chance; the standard
    error is that of the mean of independent recalls, times 1.5 because the folds' trees share photos (Nadeau and
    Bengio 2003). Give one photo of each group of near-duplicates, since copies would answer for each other. File size
    is left out on purpose: a crowd compresses worse than a portrait, and that is content.
    """
    require("sklearn", "data")
    from scipy.stats import norm
    from sklearn.metrics import recall_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    counts = Counter(photo.label for photo in photos)
    if len(counts) < 2 or min(counts.values()) < 10:
        return None
    sizes = np.array([[side(photo) for side in SIDES.values()] for photo in photos], dtype=np.float32)
    labels = np.array([photo.label for photo in photos])
    tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=0.02, class_weight="balanced", random_state=seed)
    answers = cross_val_predict(tree, sizes, labels, cv=StratifiedKFold(FOLDS, shuffle=True, random_state=seed))
    known = sorted(counts)
    recalls = recall_score(labels, answers, labels=known, average=None)
    score, chance = float(np.mean(recalls)), 1 / len(known)
    photos_each = np.array([counts[label] for label in known])
    spread = np.maximum(recalls * (1 - recalls), chance * (1 - chance)) / photos_each
    error = FOLDS_SHARE * float(np.sqrt(spread.sum())) / len(known)
    p_value = float(norm.sf((score - chance) / error))
    given_away = bool(p_value <= 0.001 and score >= chance + 0.1 * (1 - chance))
    clues = [clue for label in CLASSES if label in counts and given_away and (clue := _clue(sizes, labels, label))]
    strong = tuple(clue for clue in clues if clue.gain >= max(0.25, max(other.gain for other in clues) / 1.5))
    return SizeLeak(round(score, 4), round(chance, 4), float(f"{p_value:.2g}"), given_away, strong)


def _clue(sizes: NDArray[np.float32], labels: NDArray[np.str_], label: Label) -> Clue | None:
    """The one threshold that tells ``label`` best from the rest (Youden's index); None where none tells anything."""
    mine, rest = sizes[labels == label], sizes[labels != label]
    found: list[Clue] = []
    for column, name in enumerate(SIDES):
        values = np.unique(sizes[:, column])[:-1]
        if not len(values):
            continue
        low, low_rest = (
            np.searchsorted(np.sort(some[:, column]), values, "right") / len(some) for some in (mine, rest)
        )
        best = int(np.abs(low - low_rest).argmax())
        at, share, share_rest = float(values[best]), float(low[best]), float(low_rest[best])
        if share > share_rest:
            found.append(Clue(label, name, "at most", at, share, share_rest))
        else:
            found.append(Clue(label, name, "over", at, 1 - share, 1 - share_rest))
    return max(found, key=lambda clue: clue.gain, default=None)
