"""What a long command says before it starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from allmasked.cli import doctor, estimates
from allmasked.core import progress
from allmasked.core.config import Recipe, TrainConfig
from allmasked.core.types import Photo, Split
from allmasked.networks.backbones import BACKBONES
from conftest import make_split

SPEED = 17.8
"""Megapixels a second: two cores of the machine that the figures are of."""


def many(train: int, validation: int, faces: bool = True) -> Split:
    photos = [
        Photo(f"{part}{n}.jpg", "all", "", 800, 600, group=n, part=part, faces=() if faces else None)  # type: ignore[arg-type]
        for part, count in (("train", train), ("validation", validation))
        for n in range(count)
    ]
    return Split(Path("data"), tuple(photos), 0)


def minutes(split: Split, config: TrainConfig, **options: int) -> float:
    return estimates.training(split, config, SPEED, **options).seconds / 60


def test_every_backbone_has_its_cost() -> None:
    assert set(estimates.COSTS) == set(BACKBONES)
    for cost in estimates.COSTS.values():
        assert cost.training > cost.answering > 0 and cost.bytes > 0


def test_the_default_recipe_takes_what_the_log_says() -> None:
    """2,324 photos, 69 a second on two idle cores (docs/LOG.md): 7 minutes for twelve epochs, besides judging them."""
    assert 7 < minutes(many(2324, 539), TrainConfig(head="evidence")) < 15


def test_more_work_takes_longer_and_what_is_done_is_not_done_again() -> None:
    split, config = many(2000, 400), TrainConfig(head="evidence")
    whole = minutes(split, config)
    assert minutes(many(2000, 400, faces=False), config) > 2 * whole  # whole photos instead of frames
    assert minutes(split, dataclasses.replace(config, backbone="EfficientNetB3")) > whole
    assert minutes(split, config, done=7) < 0.6 * whole
    assert minutes(split, config, done=13) < 0.5
    assert minutes(split, TrainConfig(recipe=Recipe(size=(96, 96), epochs=1))) < 1
    assert estimates.training(split, config, 2 * SPEED).seconds < 0.6 * 60 * whole


def test_memory_grows_with_the_batch() -> None:
    small, large = (
        estimates.training(many(100, 20), TrainConfig(recipe=Recipe(batch_size=size)), SPEED).mb for size in (8, 64)
    )
    assert estimates.BASE_MB < small < large / 3


def test_splitting_takes_what_the_bench_says() -> None:
    assert 700 < estimates.splitting(100_000, estimates.SHIPS_PER_SECOND).seconds - 1500 < 850
    assert estimates.splitting(1000, SPEED).seconds < estimates.LONG_SECONDS


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(70, "a minute"), (150, "2 minutes"), (1300, "20 minutes"), (9000, "2.5 hours"), (90000, "25 hours")],
)
def test_words(seconds: float, words: str) -> None:
    assert estimates.in_words(seconds) == words


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is printed on stderr, on a machine of known speed."""
    lines: list[str] = []
    monkeypatch.setattr(progress.stderr, "print", lambda text, **_: lines.append(text))
    monkeypatch.setattr(estimates, "measured_speed", lambda: SPEED)
    monkeypatch.setattr(estimates, "_cores", lambda: "these two cores")
    monkeypatch.setattr("shutil.which", lambda _: None)
    return lines


def test_a_long_training_is_told_and_a_short_one_is_not(said: list[str]) -> None:
    estimates.tell_training(many(20, 5), TrainConfig(recipe=Recipe(size=(96, 96), epochs=1)))
    assert said == []
    estimates.tell_training(many(2324, 539), TrainConfig(head="evidence"))
    (line,) = said
    assert line.startswith("training: about 1") and "minutes on these two cores, 2." in line and "GB of memory" in line


def test_a_training_that_may_stop_early_is_told_so(said: list[str]) -> None:
    estimates.tell_training(many(2000, 400), TrainConfig(recipe=Recipe(early_stopping_patience=3)))
    assert "at most about" in said[0]


def test_several_trainings_are_told_together(said: list[str]) -> None:
    config = TrainConfig(head="evidence")
    estimates.tell_trainings(many(2324, 539), [config, config])
    assert said[0].startswith("2 trainings: about 2")
    estimates.tell_trainings(many(2324, 539), [])
    assert len(said) == 1


def test_too_little_memory_is_a_warning(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory_bytes", lambda: 2_000_000_000)
    estimates.tell_training(many(2324, 539), TrainConfig(head="evidence"))
    assert said[1].startswith("warning: this machine has 2.0 GB")


def test_photos_are_counted_before_they_are_read(tmp_path: Path, said: list[str]) -> None:
    make_split(tmp_path / "data", {"train": 2})
    (tmp_path / "data" / "notes.txt").touch()
    assert estimates.photos_below(tmp_path / "data") == 6
    assert estimates.photos_below(tmp_path / "nowhere") == 0
    estimates.tell_splitting(tmp_path / "data")
    assert said == []


def test_the_speed_is_measured() -> None:
    speed = estimates.measured_speed()
    assert speed is not None and 0.05 < speed < 10_000
