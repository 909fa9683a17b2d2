"""Heads: from a backbone's feature map to the probabilities of the three classes.

A head is a row of :data:`HEADS`: a function from features (N, h, w, C) to probabilities (N, 3). Its last layer is
called ``probabilities`` and computes in float32 whatever the precision of the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from allmasked.types import CLASSES


@dataclass(frozen=True)
class Head:
    """One row: ``build(features, dropout)`` returns the probabilities' tensor."""

    name: str
    help: str
    build: Callable[[Any, float], Any]
    linear: bool
    """Whether the logits are a linear function of the averaged features, so that CAM has a closed form."""


def _softmax(features: Any, dropout: float) -> Any:
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="average")(features)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Dense(len(CLASSES), name="logits", dtype="float32")(x)
    return layers.Activation("softmax", name="probabilities", dtype="float32")(x)


def _notebook(features: Any, dropout: float) -> Any:
    from keras import layers, regularizers

    # AveragePooling2D(5, 5) needs 5 x 5; on smaller maps (small inputs) it takes what there is.
    pool = tuple(min(5, side) for side in features.shape[1:3])
    x = layers.AveragePooling2D(pool, name="average")(features)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(512, activation="relu", kernel_regularizer=regularizers.L2(0.001), name="hidden")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Dense(len(CLASSES), name="logits", dtype="float32")(x)
    return layers.Activation("softmax", name="probabilities", dtype="float32")(x)


HEADS: dict[str, Head] = {
    row.name: row
    for row in (
        Head("softmax", "global average pooling, dropout, dense, softmax", _softmax, linear=True),
        Head(
            "notebook",
            "the notebooks': average pooling 5 x 5 (reads part of the map only), dense 512, dropout, softmax",
            _notebook,
            linear=False,
        ),
    )
}
