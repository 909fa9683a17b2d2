"""The evidence head's own layer: a smooth maximum over a map."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="allmasked")
class LogSumExp(keras.layers.Layer):
    """Logits of a map (N, h, w, C) to one logit each (N, C): bias + scale * log(sum(exp(r * z))) / r.

    The sharpness r > 0 is learned, one a channel; with r = 1 it is close to "at least one cell says yes" of independent
    cells, with a large r to the maximum. After Pinheiro & Collobert, "From image-level to pixel-level labeling with
    convolutional networks" (2015), with the sum for their mean, so that what surrounds a face does not dilute it.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (input_shape[-1],)
        self.log_sharpness = self.add_weight(
            name="log_sharpness", shape=shape, initializer=keras.initializers.Constant(float(np.log(2.0)))
        )
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones")
        self.bias = self.add_weight(name="bias", shape=shape, initializer="zeros")

    def call(self, logits: Any) -> Any:
        sharpness = ops.exp(ops.clip(self.log_sharpness, -2.0, 3.0))
        pooled = ops.logsumexp(logits * sharpness, axis=(1, 2)) / sharpness
        return self.scale * pooled + self.bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], input_shape[-1])
