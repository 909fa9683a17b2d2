"""One answer from one evidence: from evidence maps to faces, and from the faces alone to the answer; NumPy only.

A peak of the maps is a candidate for a face. Its score p is the probability that it is a face, m the probability that a
face there wears a mask; both are calibrated (:class:`Calibration`). Each candidate is not there (1 - p), a masked face
(p m) or a bare one (p (1 - m)), independently of the others. With products over the faces that count

    A = prod(1 - p (1 - m))    nobody is bare,
    B = prod(1 - p m)          nobody is masked,
    O = prod(1 - p)            nobody is there,

P(all) = A - O, P(none) = B - O, P(some) = 1 - A - B + O and P(nobody) = O (inclusion and exclusion); then the odds of
"some" are multiplied by a factor, since people in one photo mostly do the same. The label is the
likeliest of the four; the faces shown are the likeliest ones that have this label. So the two can't contradict each
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.plain import parse
from allmasked.core.types import LABELS, Answers, Candidates, Counting, Label, Size
from allmasked.networks.evidence import boxes_of

Floats = NDArray[np.floating[Any]]

CANDIDATES = 64
"""How many peaks of a photo are looked at: the highest ones."""
FLOOR = 0.12
"""A peak whose score is lower is no candidate: faint cells of a whole map don't add up to somebody."""
OVERLAP, INSIDE = 0.4, 0.7
"""Of two candidates whose boxes' intersection over union is larger than the first, or of which one lies in the other to
more than the second, the less likely goes (non-maximum suppression against all likelier ones, as "fast NMS" of Bolya et
al., "YOLACT", 2019). Eyes and forehead above a mask look like a bare face of their own."""
TYPICAL_PX = 40.0
"""A face's height enters its calibration as log(height / TYPICAL_PX)."""
SHOWN = 0.5
"""A face that doesn't count is shown from this score on; one that counts where the label makes it likely."""

TOO_SMALL, FAR_BEHIND = "too small to judge", "far behind the others"


@dataclass(frozen=True)
class Calibration:
    """From a peak's two logits and its height to score and wear, and which faces count.

    With z = log(exp(masked logit) + exp(bare logit)), d = masked logit - bare logit and u = log(height / 40 px):
    score = sigmoid(s0 + s1 z + s2 u + s3 u^2) and P(masked | face) = sigmoid(w0 + w1 d + w2 u). Without calibration
    that is the softmax of the two logits and of 0 for "no face". After Platt (1999), with the height beside the logit.

    Attributes:
        score: s0 to s3.
        wear: w0 to w2.
        counting: in px of the network's input.
    """

    score: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 0.0)
    wear: tuple[float, float, float] = (0.0, 1.0, 0.0)
    counting: Counting = Counting()

    @classmethod
    def parse(cls, values: Any) -> Calibration:
        """From plain values, all three of them; raises TypeError or ValueError where it is none."""
        if not {"score", "wear", "counting"} <= {*values}:
            raise ValueError("score, wear or counting is missing")
        return parse(cls, values)

    def __post_init__(self) -> None:
        counting = astuple(self.counting)
        if not np.isfinite([*self.score, *self.wear, *counting]).all() or self.counting.some_factor <= 0:
            raise ValueError("not finite, or a factor that is not above 0")


UNCALIBRATED = Calibration()


def read_maps(maps: NDArray[np.float32], size: Size, calibration: Calibration) -> Answers:
    """What evidence maps (N, h, w, 6) (:mod:`allmasked.networks.evidence`), input of ``size`` px, say of N photos."""
    logits, boxes = maps[..., :2], boxes_of(maps[..., 2:6], size)
    heat = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    found = tuple(candidates(*photo, calibration) for photo in zip(logits, boxes))
    factor = calibration.counting.some_factor
    four = np.array([answer_of(one, factor) for one in found]).reshape(-1, len(LABELS))
    three, nobody = given_somebody(four).astype(np.float32), four[:, 3].astype(np.float32)
    return Answers(three, nobody, heat.astype(np.float32), faces=found, counting=calibration.counting)


def candidates(logits: Floats, boxes: Floats, calibration: Calibration) -> Candidates:
    """The candidates of one photo from the logits (h, w, 2) masked and bare and each cell's box (h, w, 4) px."""
    rows, columns = peaks(logits)
    score, masked = calibrated(logits[rows, columns], heights(boxes[rows, columns]), calibration)
    found = Candidates(boxes[rows, columns], score, masked, np.ones(len(rows), bool))
    return counted(once(found.take(np.flatnonzero(score >= FLOOR))), calibration.counting)


def peaks(logits: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the cells (h, w, 2) whose evidence of a face is the highest of 3 x 3, highest first."""
    best = np.logaddexp(logits[..., 0], logits[..., 1])
    padded = np.pad(best, 1, constant_values=-np.inf)
    height, width = best.shape
    around = np.max([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)
    rows, columns = np.nonzero(best >= around)
    order = np.argsort(-best[rows, columns], kind="stable")[:CANDIDATES]
    return rows[order], columns[order]


def heights(boxes: Floats) -> Floats:
    """Of boxes (F, 4), px, at least 1."""
    return np.maximum(boxes[:, 3] - boxes[:, 1], 1.0)


def calibrated(
    logits: Floats, height_px: Floats, calibration: Calibration
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score and P(masked | face), (F,) each, of peaks with logits (F, 2)."""
    u = np.log(np.asarray(height_px, np.float64) / TYPICAL_PX)
    s, w = calibration.score, calibration.wear
    z = np.logaddexp(logits[:, 0].astype(np.float64), logits[:, 1])
    score = _sigmoid(s[0] + s[1] * z + s[2] * u + s[3] * u * u)
    return score, _sigmoid(w[0] + w[1] * (logits[:, 0].astype(np.float64) - logits[:, 1]) + w[2] * u)


def once(found: Candidates) -> Candidates:
    """Likeliest first, each face once (:data:`OVERLAP`, :data:`INSIDE`)."""
    found = found.take(np.argsort(-found.score, kind="stable"))
    union, smaller = overlaps(found.boxes, found.boxes)
    return found.take(np.flatnonzero(~np.tril((union > OVERLAP) | (smaller > INSIDE), -1).any(1)))


def overlaps(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """What boxes (F, 4) share with others (G, 4): as share of their union, and of the smaller one, (F, G) each."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    mine, theirs = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (one, other))
    union = mine[:, None] + theirs[None] - shared
    smaller = np.minimum(mine[:, None], theirs[None])
    return shared / np.maximum(union, 1e-6), shared / np.maximum(smaller, 1e-6)


def counted(found: Candidates, counting: Counting) -> Candidates:
    """The same, with those counting that ``counting`` says; its px are those of the boxes."""
    small, behind = _left_out(found, counting)
    return Candidates(found.boxes, found.score, found.masked, ~(small | behind))


def reasons(found: Candidates, counting: Counting) -> list[str]:
    """Why each of them doesn't count; empty where it does."""
    return [TOO_SMALL if a else FAR_BEHIND if b else "" for a, b in zip(*_left_out(found, counting))]


def _left_out(found: Candidates, counting: Counting) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    height = heights(found.boxes)
    small = height < counting.min_face_px
    highest = np.max(height[(found.score >= SHOWN) & ~small], initial=0.0)
    return small, ~small & (height < counting.min_face_share * highest)


def answer_of(found: Candidates, some_factor: float = 1.0) -> NDArray[np.float64]:
    """P(all), P(none), P(some), P(nobody) (4,) from the candidates that count; ``some_factor`` see Counting."""
    p, m = found.score[found.counts], found.masked[found.counts]
    nobody_bare, nobody_masked, nobody = (float(np.prod(1 - p * part)) for part in (1 - m, m, np.ones_like(m)))
    some = some_factor * (1 - nobody_bare - nobody_masked + nobody)
    four = np.clip((nobody_bare - nobody, nobody_masked - nobody, some, nobody), 0.0, 1.0)
    return np.asarray(four / four.sum())


def given_somebody(four: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(all), P(none), P(some) if somebody is there (..., 3), from the four probabilities (..., 4)."""
    there = four[..., :3] + 1e-9
    return np.asarray(there / there.sum(-1, keepdims=True))


def label_of(four: Sequence[float] | NDArray[Any], faces: int | None = None) -> Label:
    """The likeliest of the four labels; of those that the number of faces allows, where it is given."""
    order: tuple[Label, ...] = ("nobody", "all", "none", "some")
    allowed = {0: 1, 1: 3}.get(2 if faces is None else faces, 4)
    return max(order[:allowed], key=lambda label: float(four[LABELS.index(label)]))


def possible(four: Sequence[float] | NDArray[Any], faces: int) -> NDArray[np.float64] | None:
    """The four probabilities of a vote without labels that the number of faces rules out; None if none is left."""
    allowed = {0: (0, 0, 0, 1), 1: (1, 1, 0, 1)}.get(faces, (1, 1, 1, 1))
    kept = np.array(four, float) * allowed
    return kept / kept.sum() if kept.sum() > 1e-6 else None


def kinds(found: Candidates, label: str) -> NDArray[np.int8]:
    """What each candidate (F,) that counts is under a label: 1 masked, 0 bare, -1 not there.

    Of all ways to have this label the likeliest: each face is what it most likely is among what the label allows, but
    one must be of each kind that the label asks for: the one, or the two together, that this costs least.
    """
    p, m = found.score[found.counts], found.masked[found.counts]
    chances = np.log(np.maximum(np.stack([p * (1 - m), p * m, 1 - p], 1), 1e-300))
    needed = {"all": (1,), "none": (0,), "some": (0, 1), "nobody": ()}[label]
    chances[:, [kind for kind in (0, 1) if kind not in needed]] = -np.inf
    chosen = chances.argmax(1)
    cost = chances.max(1, keepdims=True) - chances
    if label == "some":
        both = cost[:, :1] + cost[:, 1]
        np.fill_diagonal(both, np.inf)
        bare, masked = np.unravel_index(both.argmin(), both.shape)
        chosen[[bare, masked]] = 0, 1
    elif needed:
        chosen[cost[:, needed[0]].argmin()] = needed[0]
    shown = np.full(len(found), -1, np.int8)
    shown[found.counts] = np.array([0, 1, -1], np.int8)[chosen]
    return shown


def _sigmoid(x: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))), np.float64)
