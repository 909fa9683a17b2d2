"""Calibration of faces: which :class:`allmasked.networks.reading.Calibration` fits labelled photos best."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import ConfigError
from allmasked.core.runs import read_json, write_json
from allmasked.core.types import Candidates, Size
from allmasked.networks import reading
from allmasked.networks.evidence import boxes_of
from allmasked.networks.reading import UNCALIBRATED, Calibration

Labels = NDArray[np.integer[Any]]

LEAST = 1e-4
"""A photo's probability in the fit is at least this: a wrong label costs no more than nine times a toss-up."""
FAINT = -8.0
"""Logit of a peak that no calibration makes a candidate."""
PRIOR_PHOTOS = 10.0
"""The uncalibrated reading weighs as much as so many photos: a normal prior around its numbers, as wide as WIDTHS."""
WIDTHS = np.array([1.0, 1.0, 1.0, 1.0, 0.2, 1.0, 1.0])
"""The offset of P(masked | face) mirrors how many of the fitted photos' people wear masks; other photos have others."""


@dataclasses.dataclass(frozen=True, eq=False)
class Peaks:
    """The peaks of one photo's maps, each face once: logits (F, 2) masked and bare, heights (F,) px of the input."""

    logits: NDArray[np.float32]
    height_px: NDArray[np.float32]


def peaks_of(maps: NDArray[np.float32], size: Size) -> Peaks:
    """The peaks of one photo's maps (h, w, 6) over an input of ``size`` px, uncalibrated."""
    rows, columns = reading.peaks(maps[..., :2])
    seen = np.logaddexp(*maps[rows, columns, :2].T) > FAINT
    rows, columns = rows[seen], columns[seen]
    boxes = boxes_of(maps[None, ..., 2:6], size)[0][rows, columns]
    logits = maps[rows, columns, :2]
    score, _ = reading.calibrated(logits, reading.heights(boxes), UNCALIBRATED)
    number = np.arange(len(score), dtype=float)  # carried along, to know which peaks are left
    kept = reading.once(Candidates(boxes, score, number, np.ones(len(score), bool))).masked.astype(int)
    return Peaks(logits[kept], reading.heights(boxes[kept]).astype(np.float32))


def log_loss(
    photos: Sequence[Peaks], labels: NDArray[np.integer[Any]], calibration: Calibration
) -> NDArray[np.float64]:
    """-log P(label) (N,) of photos whose labels are indices into LABELS (N,)."""
    return _loss(_flat(photos), np.asarray(labels), calibration)


def fit(
    photos: Sequence[Peaks],
    labels: Labels,
    *,
    weights: NDArray[np.floating[Any]] | None = None,
    start: Calibration = UNCALIBRATED,
    prior_photos: float = PRIOR_PHOTOS,
) -> Calibration:
    """The calibration with the lowest mean log loss of the photos' labels, held near ``start`` by a prior.

    Which faces count is left as ``start`` has it, and its ``some_factor`` is no part of the fit. Found by L-BFGS
    from ``start``, so repeatable.

    Args:
        photos: of held-out photos (N).
        labels: indices into LABELS (N,).
        weights: of the photos (N,), all the same when None.
        start: what is kept where the photos don't say otherwise.
        prior_photos: how many photos that weighs.
    """
    from scipy.optimize import minimize

    flat, labels = _flat(photos), np.asarray(labels)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, float) * len(labels) / np.sum(weights)
    origin = np.array([*start.score, *start.wear])

    def calibration(numbers: NDArray[np.float64]) -> Calibration:
        s0, s1, s2, s3, w0, w1, w2 = (float(value) for value in numbers)
        return Calibration((s0, s1, s2, s3), (w0, w1, w2), start.counting)

    def loss(numbers: NDArray[np.float64]) -> float:
        away = float(np.square((numbers - origin) / WIDTHS).sum())
        total = float((weights * _loss(flat, labels, calibration(numbers))).sum())
        return (total + 0.5 * prior_photos * away) / (len(labels) + prior_photos)

    slopes = [(None, None), (0.1, None), (None, None), (None, None), (None, None), (0.1, None), (None, None)]
    begin = origin.copy()
    score, _ = reading.calibrated(flat[0], flat[1], start)
    if len(score) and score.max() < reading.FLOOR:  # nothing is a candidate, and no small step would make it one
        begin[0] -= np.log(score.max() / (1 - score.max()))
    found = minimize(loss, begin, method="L-BFGS-B", bounds=slopes, options={"maxiter": 200})
    return calibration(found.x)


def read_calibration(path: Path) -> Calibration:
    """A calibration from JSON, as :func:`write_calibration` makes it; raises :class:`ConfigError` naming the file."""
    try:
        return Calibration.parse(read_json(path))
    except (TypeError, ValueError):
        raise ConfigError(f"{path}: holds no calibration (score, wear, counting)") from None


def write_calibration(calibration: Calibration, path: Path) -> None:
    """As JSON."""
    write_json(path, dataclasses.asdict(calibration))


Flat = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]


def _flat(photos: Sequence[Peaks]) -> Flat:
    """Logits (P, 2), heights (P,) and photo's number (P,) of all peaks of all photos."""
    if not photos:
        return np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.intp)
    logits = np.concatenate([photo.logits for photo in photos]).astype(float)
    height = np.concatenate([photo.height_px for photo in photos]).astype(float)
    return logits, height, np.repeat(np.arange(len(photos)), [len(photo.logits) for photo in photos])


def _loss(flat: Flat, labels: Labels, calibration: Calibration) -> NDArray[np.float64]:
    logits, height, photo = flat
    score, masked = reading.calibrated(logits, height, calibration)
    counting, count = calibration.counting, len(labels)
    large = (height >= counting.min_face_px) & (score >= reading.FLOOR)
    highest = np.zeros(count)
    np.maximum.at(highest, photo, np.where(large & (score >= reading.SHOWN), height, 0.0))
    p = np.where(large & (height >= counting.min_face_share * highest[photo]), score, 0.0)

    def product(part: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(np.bincount(photo, np.log1p(-np.minimum(part, 1 - 1e-9)), count))

    nobody_bare, nobody_masked, nobody = product(p * (1 - masked)), product(p * masked), product(p)
    four = [nobody_bare - nobody, nobody_masked - nobody, 1 - nobody_bare - nobody_masked + nobody, nobody]
    return np.asarray(-np.log(np.maximum(np.stack(four, 1)[np.arange(count), labels], LEAST)))
