"""Calibration of faces: fitted on labelled photos, kept where they say nothing, read and written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allmasked.core.errors import AllmaskedError
from allmasked.core.types import LABELS, Counting
from allmasked.networks.reading import FLOOR, UNCALIBRATED, Calibration, answer_of, calibrated, read_maps
from allmasked.predictors.calibrating import LEAST, Peaks, fit, log_loss, peaks_of, read_calibration, write_calibration
from maps import calibrations, random_maps

TRUE = Calibration((-0.8, 1.6, 0.7, -0.3), (0.05, 0.5, -0.4))


def simulated(count: int, calibration: Calibration, seed: int = 0) -> tuple[list[Peaks], np.ndarray]:
    """Photos of up to six peaks, and labels drawn as the calibration says."""
    rng = np.random.default_rng(seed)
    photos, labels = [], []
    for _ in range(count):
        number = int(rng.integers(0, 7))
        logits = rng.normal(-0.5, 2, (number, 2)).astype(np.float32)
        height = np.exp(rng.normal(np.log(40), 0.8, number)).astype(np.float32)
        score, masked = calibrated(logits, height, calibration)
        there = rng.random(number) < np.where(score >= FLOOR, score, 0)
        wears = there & (rng.random(number) < masked)
        bare = there & ~wears
        labels.append(
            LABELS.index({(1, 0): "all", (0, 1): "none", (1, 1): "some"}.get((wears.any(), bare.any()), "nobody"))
        )
        photos.append(Peaks(logits, height))
    return photos, np.array(labels)


def test_a_known_calibration_is_found_again() -> None:
    photos, labels = simulated(4000, TRUE)
    found = fit(photos, labels)
    assert found.score == pytest.approx(TRUE.score, abs=0.2)
    assert found.wear == pytest.approx(TRUE.wear, abs=0.2)
    other, truth = simulated(2000, TRUE, seed=1)
    loss = [log_loss(other, truth, calibration).mean() for calibration in (UNCALIBRATED, found, TRUE)]
    assert loss[0] > loss[1] + 0.05 and loss[1] == pytest.approx(loss[2], abs=0.01)


def test_the_share_of_masks_in_the_fitted_photos_moves_the_offset_of_wear_little() -> None:
    photos, labels = simulated(1000, TRUE)
    masked = np.isin(labels, [LABELS.index("all"), LABELS.index("nobody")])
    offsets = [fit([p for p, one in zip(photos, kept) if one], labels[kept]).wear[0] for kept in (masked, ~masked)]
    assert -0.7 < offsets[1] < offsets[0] < 0.7


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), calibrations)
def test_the_fit_lowers_the_log_loss_and_is_repeatable(seed: int, calibration: Calibration) -> None:
    photos, labels = simulated(40, calibration, seed)
    found = fit(photos, labels)
    assert log_loss(photos, labels, found).mean() <= log_loss(photos, labels, UNCALIBRATED).mean() + 1e-9
    assert fit(photos, labels) == found
    assert found.score[1] >= 0.1 and found.wear[1] >= 0.1, "more evidence is never less likely"


def test_without_photos_it_stays_where_it_starts() -> None:
    start = Calibration((0.3, 0.9, -0.1, 0.2), (0.1, 1.1, 0.0), Counting(8.0, 0.3))
    assert fit([], np.zeros(0, int), start=start) == start
    empty = [Peaks(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))] * 3
    assert fit(empty, np.full(3, LABELS.index("nobody")), start=start) == start
    photos, labels = simulated(30, TRUE)
    near, far = (fit(photos, labels, start=start, prior_photos=weight) for weight in (1e9, 1.0))
    assert near.score == pytest.approx(start.score, abs=1e-3) and near.wear == pytest.approx(start.wear, abs=1e-3)
    assert np.abs(np.subtract(far.score, start.score)).max() > 0.1
    assert far.counting == start.counting


def test_photos_of_no_weight_say_nothing() -> None:
    photos, labels = simulated(60, TRUE)
    weights = np.repeat([1.0, 0.0], 30)
    mixed = fit(photos, labels, weights=weights)
    wrong = labels.copy()
    wrong[30:] = (labels[30:] + 1) % 4
    assert fit(photos, wrong, weights=weights) == mixed
    assert fit(photos, wrong) != mixed
    assert fit(photos, labels, weights=7 * np.ones(60)) == fit(photos, labels)


@given(st.integers(0, 2**32 - 1), calibrations)
def test_the_log_loss_is_that_of_the_reading(seed: int, calibration: Calibration) -> None:
    maps = random_maps(seed, 4)
    maps[..., 2:] = 0  # each cell its own box: no face is found twice, whatever the calibration
    photos = [peaks_of(photo, (64, 48)) for photo in maps]
    four = np.array([answer_of(found) for found in read_maps(maps, (64, 48), calibration).faces or ()])
    for label in range(4):
        expected = -np.log(np.maximum(four[:, label], LEAST))
        found = log_loss(photos, np.full(4, label), calibration)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_peaks_hold_each_face_once() -> None:
    maps = np.zeros((6, 8, 6), np.float32)
    maps[..., :2] = -9
    maps[2, 2, :2], maps[2, 4, :2] = (3, -3), (-3, 2)
    maps[2, 2:5, 4:] = 2  # boxes of 59 px on each other
    found = peaks_of(maps, (64, 48))
    assert found.logits[0].tolist() == [3, -3] and not (found.logits == 2).any()
    assert found.height_px[0] == pytest.approx(8 * np.e**2, rel=1e-5)


@pytest.mark.parametrize("label", LABELS)
def test_a_wrong_label_costs_no_more_than_its_most(label: str) -> None:
    photos = [Peaks(np.array([[30, -30]], np.float32), np.array([40], np.float32))]
    (loss,) = log_loss(photos, np.array([LABELS.index(label)]), UNCALIBRATED)
    assert loss == pytest.approx(0 if label == "all" else -np.log(LEAST), abs=1e-6)


@given(calibrations)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, calibration: Calibration) -> None:
    path = tmp_path_factory.mktemp("calibration") / "c.json"
    write_calibration(calibration, path)
    assert read_calibration(path) == calibration


def test_a_bad_file_gets_one_line(tmp_path: Path) -> None:
    good = {"score": [0, 1, 0, 0], "wear": [0, 1, 0], "counting": {"min_face_px": 3, "min_face_share": 0.1}}
    path = tmp_path / "c.json"
    path.write_text(json.dumps(good))
    assert read_calibration(path).counting == Counting(3.0, 0.1)
    for text in (
        None, "{", "[]", "3", "{}", json.dumps(good | {"score": [0, 1]}), json.dumps(good | {"wear": None}),
        json.dumps(good | {"wear": ["a", "b", "c"]}), json.dumps(good | {"counting": {"min_face": 3}}),
        json.dumps(good | {"counting": [1, 2]}), json.dumps(good | {"wear": [0, float("nan"), 0]}),
        json.dumps(good | {"counting": {"some_factor": 0}}),
    ):  # fmt: skip
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        with pytest.raises(AllmaskedError, match=r"c\.json") as caught:
            read_calibration(path)
        assert "\n" not in str(caught.value)
