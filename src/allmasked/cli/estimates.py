"""How long a long command will take and how much memory it needs, told in one line before it starts.

A small model: what a training photo costs, as a multiple of what an answer of the model that ships costs, is measured
once (``python bench/training_cost.py``); what such an answer takes here, on all processors and beside whatever else
runs, is measured now, which takes less than a second. Right within a factor of about 1.5, and said as "about".
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from allmasked.core import progress
from allmasked.core.config import TrainConfig
from allmasked.core.types import Split

LONG_SECONDS = 60
"""What takes less is not told."""


@dataclass(frozen=True)
class Cost:
    """Of a backbone, a pixel: a step of training and an answer, as multiples of the model that ships; memory."""

    training: float
    answering: float
    bytes: int


COSTS: dict[str, Cost] = {
    "EfficientNetB3": Cost(23.4, 5.0, 4710),
    "Xception": Cost(31.4, 10.0, 2110),
    "ResNet50V2": Cost(22.5, 6.1, 2100),
    "InceptionV3": Cost(15.0, 4.6, 2130),
    "InceptionResNetV2": Cost(40.2, 10.8, 5530),
    "DenseNet201": Cost(32.4, 10.8, 4660),
    "EfficientNetV2S": Cost(25.2, 8.3, 4460),
    "EfficientNetLite0": Cost(5.7, 1.7, 1040),
    "EfficientNetLite1": Cost(8.2, 2.4, 1250),
    "EfficientNetLite2": Cost(8.1, 2.4, 1510),
}
UNKNOWN = Cost(20.0, 6.0, 3000)
"""Of a backbone that was not measured."""

START_SECONDS = 25
"""To load Keras, build the network, compile its steps for both phases."""
BASE_MB = 1000
"""Of Keras and TensorFlow before anything is trained."""
SHIPS_PER_SECOND = 9.0
"""Megapixels that the model that ships answers a second on one core of the machine that the rest was measured on."""


@dataclass(frozen=True)
class Estimate:
    """Seconds, and MB of memory at most."""

    seconds: float
    mb: float


# --- training --------------------------------------------------------------------------------------------------------


def training(split: Split, config: TrainConfig, speed: float, *, done: int = 0) -> Estimate:
    """What a training will take.

    Args:
        split: its photos.
        config: its settings.
        speed: megapixels that the model that ships answers a second here (:func:`measured_speed`).
        done: epochs that are done already.
    """
    recipe, cost = config.recipe, COSTS.get(config.backbone, UNKNOWN)
    photos, judged = split.part("train"), split.part("validation")
    whole = _megapixels(recipe.size)
    marked = 2 * sum(photo.faces is not None for photo in photos) >= len(photos)
    framed = max(recipe.frame) > 0 and marked and config.head == "evidence" and config.loader == "cached"
    shown = _megapixels(recipe.frame) if framed else whole
    a_photo = shown + recipe.whole_frames * (whole - shown)
    head = max(0, recipe.head_epochs - done)
    full = max(0, recipe.epochs - max(0, done - recipe.head_epochs))
    work = (head * cost.answering + full * cost.training) * a_photo * len(photos)
    work += (head + full) * cost.answering * whole * len(judged)
    largest = max(shown * recipe.batch_size, whole * recipe.batch_size / 2 if framed else 0)
    kept = recipe.batch_size * whole * cost.bytes / 4  # of answers, which keep less
    mb = BASE_MB + max(largest * cost.bytes, kept)
    return Estimate(work / speed + START_SECONDS, mb)


def _megapixels(size: tuple[int, int]) -> float:
    return size[0] * size[1] / 1e6


# --- splitting -------------------------------------------------------------------------------------------------------


def splitting(photos: int, speed: float) -> Estimate:
    """What reading, comparing and dividing photos will take (``bench/duplicates.py``: 1.8, 32.6 and 817 s of one core
    for 1,000, 10,000 and 100,000 photos, besides some 15 ms to read each)."""
    seconds = 33 * (photos / 10_000) ** 1.35 + 0.015 * photos
    return Estimate(seconds * SHIPS_PER_SECOND / speed, 200 + 0.02 * photos)


def photos_below(data: Path) -> int:
    """How many files there are that may be photos."""
    from allmasked.data.albums import files_in
    from allmasked.images.pixels import SUFFIXES

    root = data.parent if data.is_file() else data
    return sum(1 for _ in files_in(root, SUFFIXES))


# --- telling ---------------------------------------------------------------------------------------------------------


@functools.cache
def measured_speed() -> float | None:
    """Megapixels a second that the model that ships answers here, on all processors; None where it doesn't."""
    import numpy as np

    from allmasked.core.errors import AllmaskedError
    from allmasked.predictors.devices import processors
    from allmasked.predictors.onnx_model import DEFAULT, OnnxPredictor

    try:
        predictor = OnnxPredictor.open(DEFAULT)
    except AllmaskedError:
        return None
    width, height = predictor.input.size
    pixels = np.full((2 * processors(), height, width, 3), 127, np.uint8)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        predictor.predict(pixels)
        seconds.append(time.perf_counter() - began)
    return pixels[..., 0].size / 1e6 / min(seconds[1:])


def tell(what: str, estimate: Callable[[float], Estimate], *, at_most: bool = False) -> None:
    """One line on stderr: how long it will take here and how much memory it needs; nothing where that is short."""
    speed = measured_speed()
    if speed is None:
        return
    found = estimate(speed)
    if found.seconds < LONG_SECONDS:
        return
    gpu = " without the GPU" if shutil.which("nvidia-smi") else ""
    limit = "at most " if at_most else ""
    where, memory = f"on {_cores()}{gpu}", f"{found.mb / 1000:.1f} GB of memory"
    progress.stderr.print(f"{what}: {limit}about {in_words(found.seconds)} {where}, {memory}")
    from allmasked.cli.doctor import memory_bytes

    there = memory_bytes()
    if there is not None and found.mb * 1e6 > 0.9 * there:
        way_out = "a smaller --batch-size or --size needs less"
        progress.stderr.print(f"warning: this machine has {there / 1e9:.1f} GB; {way_out}")


def tell_training(split: Split, config: TrainConfig, *, done: int = 0) -> None:
    """Tell of one training, before it starts; ``done`` epochs of it are done."""
    tell(
        "training",
        lambda speed: training(split, config, speed, done=done),
        at_most=config.recipe.early_stopping_patience > 0,
    )


def tell_trainings(split: Split, configs: list[TrainConfig]) -> None:
    """Tell of several trainings, one after another."""

    def together(speed: float) -> Estimate:
        found = [training(split, config, speed) for config in configs]
        return Estimate(sum(one.seconds for one in found), max((one.mb for one in found), default=0))

    tell(f"{len(configs)} trainings", together)


def tell_splitting(data: Path) -> None:
    """Tell of reading and dividing a data set, before it starts."""
    photos = photos_below(data)
    tell(f"looking through {photos:,} photos", lambda speed: splitting(photos, speed))


def _cores() -> str:
    from allmasked.predictors.devices import processors

    number = processors()
    words = {1: "this one core", 2: "these two cores", 3: "these three cores", 4: "these four cores"}
    return words.get(number, f"these {number} cores")


def in_words(seconds: float) -> str:
    """As people say it: a minute, 25 minutes, 2.5 hours."""
    minutes = seconds / 60
    if minutes < 1.5:
        return "a minute"
    if minutes < 10:
        return f"{minutes:.0f} minutes"
    if minutes < 100:
        return f"{5 * round(minutes / 5)} minutes"
    hours = minutes / 60
    return f"{hours:.1f} hours" if hours < 10 else f"{hours:.0f} hours"
