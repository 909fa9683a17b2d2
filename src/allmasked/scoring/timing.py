"""How long a network takes for a photo."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from allmasked.core.types import Predictor
from allmasked.predictors.predictor import open_predictor

TIMED_PHOTOS = 16


def milliseconds(predictor: Predictor, photos: int = TIMED_PHOTOS, repeats: int = 5) -> float:
    """A predictor's time a photo in ms, decoding not counted: median of ``repeats`` batches of ``photos``."""
    width, height = predictor.input.size
    pixels = np.random.default_rng(0).integers(0, 256, (photos, height, width, 3), np.uint8)
    predictor.predict(pixels)  # the first call compiles
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        predictor.predict(pixels)
        taken.append(1000 * (time.perf_counter() - began) / photos)
    return statistics.median(taken)


def time_run(folder: Path) -> float:
    """:func:`milliseconds` of a run's own model."""
    return milliseconds(open_predictor(folder))
