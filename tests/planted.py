"""Tiny networks as :mod:`allmasked.networks.model` makes them, decisions planted: red means all, blue means none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from allmasked.core.config import Recipe, TrainConfig
from allmasked.core.runs import Run

SIZE = (64, 48)


def planted(head: str = "softmax", size: tuple[int, int] = SIZE, cell: int = 8) -> Any:
    """A model that sees only how red, blue and bright each cell is: all = red, none = blue, some = neither."""
    import keras
    from keras import layers

    width, height = size
    inner = keras.Input((height, width, 3))
    x = layers.Rescaling(1 / 255)(inner)
    colours = layers.Conv2D(4, 1, activation="relu", name="colours")
    x = colours(x)
    x = layers.AveragePooling2D(cell)(x)
    backbone = keras.Model(inner, x, name="backbone")
    # channels: red, blue, brightness (no say), constant (bias only)
    kernel = np.array([[2, -2, 0.3, 0], [-2, -2, 0.3, 0], [-2, 2, 0.3, 0]], np.float32)
    colours.set_weights([kernel[None, None], np.array([0, 0, 0, 0.1], np.float32)])

    pixels = keras.Input((height, width, 3), name="pixels")
    features = backbone(pixels)
    weights = np.array([[60, -60, 0], [-60, 60, 0], [0, 0, 0], [0, 0, 20]], np.float32)
    if head == "softmax":
        x = layers.GlobalAveragePooling2D(name="average")(features)
        x = layers.Dropout(0.5, name="dropout")(x)
    else:  # the notebooks': more than one dense layer
        x = layers.AveragePooling2D(2, name="average")(features)
        x = layers.Flatten(name="flatten")(x)
        cells = (height // cell // 2) * (width // cell // 2)
        x = layers.Dense(4, activation="relu", name="hidden")(x)
        x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.Dense(3, name="logits", dtype="float32")(x)
    output = layers.Activation("softmax", name="probabilities", dtype="float32")(x)
    model = keras.Model(pixels, output, name="allmasked")
    if head != "softmax":
        model.get_layer("hidden").set_weights([np.tile(np.eye(4, dtype=np.float32), (cells, 1)) / cells, np.zeros(4)])
    model.get_layer("logits").set_weights([weights, np.zeros(3, np.float32)])
    return model


def patch(
    colour: tuple[int, int, int], where: tuple[int, int], size: tuple[int, int] = SIZE, side: int = 12
) -> Image.Image:
    """A noisy grey photo with a square of ``colour`` whose left top corner is ``where``."""
    rng = np.random.default_rng(where)
    values = rng.integers(100, 140, (size[1], size[0], 1), np.uint8).repeat(3, -1)
    values[where[1] : where[1] + side, where[0] : where[0] + side] = colour
    return Image.fromarray(values)


RED, BLUE = (220, 20, 20), (20, 20, 220)


def save_run(folder: Path, model: Any, **recipe: Any) -> Path:
    """A finished run folder around ``model``."""
    run = Run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    height, width = model.input_shape[1:3]
    TrainConfig(recipe=Recipe(size=(width, height), **recipe)).write(run.config)
    model.save(run.model)
    return folder
