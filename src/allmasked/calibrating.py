"""Calibration of faces: the numbers of :class:`allmasked.reading.Calibration` that fit labelled photos best."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked import reading
from allmasked.errors import ConfigError
from allmasked.evidence import boxes_of
from allmasked.reading import UNCALIBRATED, Calibration
from allmasked.runs import read_json, write_json
from allmasked.types import Candidates, Size

Labels = NDArray[np.integer[Any]]

LEAST = 1e-4
"""A photo's probability in the fit is at least this: a wrong label costs no more than nine times a toss-up."""
PRIOR_PHOTOS = 10.0
"""The uncalibrated reading weighs as much as so many photos (a normal prior of width 1 around its numbers)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Peaks:
    """The peaks of one photo's maps, each face once: logits (F, 2) masked and bare, heights (F,) px of the input."""

    logits: NDArray[np.float32]
    height_px: NDArray[np.float32]


def peaks_of(maps: NDArray[np.float32], size: Size) -> Peaks:
    """The peaks of one photo's maps (h, w, 6) over an input of ``size`` px, uncalibrated."""
    rows, columns = reading.peaks(maps[..., :2])
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
    return _loss(*_padded(photos), np.asarray(labels), calibration)


def fit(
    photos: Sequence[Peaks],
    labels: Labels,
    *,
    weights: NDArray[np.floating[Any]] | None = None,
    start: Calibration = UNCALIBRATED,
    prior_photos: float = PRIOR_PHOTOS,
) -> Calibration:
    """The calibration with the lowest mean log loss of the photos' labels, held near ``start`` by a prior.

    Which faces count is left as ``start`` has it. Found by L-BFGS from ``start``, so repeatable.

    Args:
        photos: of held-out photos (N).
        labels: indices into LABELS (N,).
        weights: of the photos (N,), all the same when None.
        start: what is kept where the photos don't say otherwise.
        prior_photos: how many photos that weighs.
    """
    from scipy.optimize import minimize

    padded, labels = _padded(photos), np.asarray(labels)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, float) * len(labels) / np.sum(weights)
    origin = np.array([*start.score, *start.wear])

    def calibration(numbers: NDArray[np.float64]) -> Calibration:
        s0, s1, s2, s3, w0, w1, w2 = (float(value) for value in numbers)
        return Calibration((s0, s1, s2, s3), (w0, w1, w2), start.counting)

    def loss(numbers: NDArray[np.float64]) -> float:
        away = float(np.square(numbers - origin).sum())
        total = float((weights * _loss(*padded, labels, calibration(numbers))).sum())
        return (total + 0.5 * prior_photos * away) / (len(labels) + prior_photos)

    slopes = [(None, None), (0.1, None), (None, None), (None, None), (None, None), (0.1, None), (None, None)]
    found = minimize(loss, origin, method="L-BFGS-B", bounds=slopes, options={"maxiter": 200})
    return calibration(found.x)


def read_calibration(path: Path) -> Calibration:
    """A calibration from JSON, as :func:`write_calibration` makes it; raises :class:`ConfigError` naming the file."""
    try:
        return Calibration.parse(read_json(path))
    except (TypeError, KeyError, ValueError, AttributeError):
        raise ConfigError(f"{path}: holds no calibration (score, wear, counting)") from None


def write_calibration(calibration: Calibration, path: Path) -> None:
    """As JSON."""
    write_json(path, dataclasses.asdict(calibration))


def _padded(photos: Sequence[Peaks]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Logits (N, F, 2), heights (N, F) and which are there (N, F), F being the most of one photo."""
    most = max((len(photo.logits) for photo in photos), default=0)
    logits, height = np.zeros((len(photos), most, 2)), np.ones((len(photos), most))
    there = np.zeros((len(photos), most), bool)
    for row, photo in enumerate(photos):
        count = len(photo.logits)
        logits[row, :count], height[row, :count], there[row, :count] = photo.logits, photo.height_px, True
    return logits, height, there


def _loss(
    logits: NDArray[np.float64],
    height: NDArray[np.float64],
    there: NDArray[np.bool_],
    labels: Labels,
    calibration: Calibration,
) -> NDArray[np.float64]:
    shape = there.shape
    score, masked = reading.calibrated(logits.reshape(-1, 2), height.reshape(-1), calibration)
    p, m = score.reshape(shape), masked.reshape(shape)
    counting = calibration.counting
    large = there & (height >= counting.min_face_px)
    highest = np.max(np.where(large & (p >= reading.SHOWN), height, 0.0), axis=1, initial=0.0, keepdims=True)
    p = np.where(large & (height >= counting.min_face_share * highest) & (p >= reading.FLOOR), p, 0.0)
    nobody_bare, nobody_masked = (1 - p * (1 - m)).prod(1), (1 - p * m).prod(1)
    nobody = (1 - p).prod(1)
    four = [nobody_bare - nobody, nobody_masked - nobody, 1 - nobody_bare - nobody_masked + nobody, nobody]
    return np.asarray(-np.log(np.maximum(np.stack(four, 1)[np.arange(len(labels)), labels], LEAST)))
