"""Random evidence maps, calibrations and candidates for the tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from allmasked.core.types import Candidates, Counting
from allmasked.networks.reading import Calibration

unit = st.floats(0, 1)
countings = st.builds(Counting, st.floats(0, 60), unit, st.floats(0.25, 1))
coefficient = st.floats(-1, 1)
calibrations = st.builds(
    Calibration,
    st.tuples(coefficient, st.floats(0.5, 1.5), coefficient, st.floats(-0.25, 0.25)),
    st.tuples(coefficient, st.floats(0.5, 1.5), coefficient),
    countings,
)


def random_maps(seed: int, photos: int = 1, grid: tuple[int, int] = (8, 6), spread: float = 3.0) -> np.ndarray:
    """Maps (photos, h, w, 6) with peaks of all strengths and boxes of all sizes; ``grid`` is width and height."""
    rng = np.random.default_rng(seed)
    shape = (photos, grid[1], grid[0])
    maps = np.empty((*shape, 6), np.float32)
    maps[..., :2] = rng.normal(-3, spread, (*shape, 2)) - rng.uniform(0, 4, (photos, 1, 1, 1))
    maps[..., 2:4] = rng.normal(0, 0.4, (*shape, 2))
    maps[..., 4:] = rng.normal(0.5, 0.8, (*shape, 1)) + rng.normal(0, 0.1, (*shape, 2))
    return maps


@st.composite
def candidate_lists(draw: st.DrawFn, most: int = 6) -> Candidates:
    """Up to ``most`` boxes anywhere in 200 x 150 px, with any probabilities."""
    place = st.tuples(st.floats(0, 180), st.floats(0, 130), st.floats(1, 60), st.floats(1, 60), unit, unit)
    rows = np.array(draw(st.lists(place, max_size=most)), float).reshape(-1, 6)
    boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1)
    return Candidates(boxes, rows[:, 4], rows[:, 5], np.ones(len(rows), bool))
