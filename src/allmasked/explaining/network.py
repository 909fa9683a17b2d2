"""A Keras classifier cut in two at its feature map, to look into: features, scores and their gradients."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import ConfigError, RunError
from allmasked.core.types import CLASSES, Size

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float32]
Classes = NDArray[np.int64]
BATCH = 32


class Network:
    """A classifier cut in two at its feature map.

    ``model`` takes pixels (N, H, W, 3) float32 RGB 0-255, has a layer called ``feature_map``, or else ``backbone``,
    whose output is the feature map (N, h, w, C), and ends in the layer ``probabilities`` (N, 3); of a model with
    further outputs that part is taken. A second look at faces, which goes round the feature map, is left out but for
    :meth:`evidence`.

    Raises:
        RunError: the model has no such layer.
    """

    def __init__(self, model: keras.Model) -> None:
        import keras

        from allmasked.networks.model import classifier, jit_compile, look_of, without_look

        self._whole = model
        if look_of(model):
            model = without_look(model)
        if any(layer.name == "maps" for layer in model.layers):
            model = classifier(model)
        self.model = model
        names = [layer.name for layer in model.layers]
        cut = "feature_map" if "feature_map" in names else "backbone"
        if cut not in names or model.layers[-1].name != "probabilities":
            raise RunError(
                "the model cannot be explained: it has no layer 'backbone', or does not end in 'probabilities'"
            )
        backbone = model.get_layer(cut)
        self.after = model.layers[names.index(cut) + 1 :]
        feature_map = next(
            tensor
            for layer in self.after
            for tensor in keras.tree.flatten(layer.input)
            if tensor._keras_history.operation is backbone
        )
        last = self.after[-1]
        self.has_logits = isinstance(last, keras.layers.Softmax) or (
            isinstance(last, keras.layers.Activation) and last.activation is keras.activations.softmax
        )
        self.score = "logit" if self.has_logits else "log-probability"
        self._backbone = keras.Model(model.input, feature_map)
        self._backbone.jit_compile = model.jit_compile = jit_compile()
        self._head = keras.Model(feature_map, last.input if self.has_logits else model.output)
        self.size: Size = (model.input_shape[2], model.input_shape[1])

    def features(self, pixels: NDArray[Any]) -> Floats:
        """The feature map (N, h, w, C) of pixels (N, H, W, 3)."""
        return _in_batches(self._backbone, pixels)

    def probabilities(self, pixels: NDArray[Any]) -> Floats:
        """(N, 3) of pixels (N, H, W, 3)."""
        return _in_batches(self.model, pixels)

    def scores(self, features: Any) -> Any:
        """The classes' scores (N, 3) of a feature map, as a tensor that gradients flow through."""
        from keras import ops

        scores = ops.cast(self._head(features, training=False), "float32")
        return scores if self.has_logits else ops.log(scores + 1e-7)

    @property
    def has_evidence(self) -> bool:
        """Whether the head makes maps of masked and bare faces."""
        return any(layer.name == "evidence" for layer in self.after)

    def evidence(self, pixels: NDArray[Any]) -> Floats:
        """The head's maps (N, h, w, 2) 0-1, "masked here" and "bare here", of pixels (N, H, W, 3)."""
        logits = _in_batches(self._evidence, pixels)[..., :2]
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))), np.float32)

    @cached_property
    def _evidence(self) -> keras.Model:
        from allmasked.networks.model import maps_of

        return maps_of(self._whole)

    @cached_property
    def kernel(self) -> Floats | None:
        """The weights (C, 3) of a head that is global average pooling and one dense layer; None for any other."""
        from keras import layers, ops

        steps = [layer for layer in self.after if not isinstance(layer, layers.Dropout)]
        if len(steps) != 3 or not self.has_logits:
            return None
        pooling, dense, _ = steps
        if not isinstance(pooling, layers.GlobalAveragePooling2D) or not isinstance(dense, layers.Dense):
            return None
        linear = dense.activation.__name__ == "linear"
        return np.asarray(ops.convert_to_numpy(dense.kernel), np.float32) if linear else None


_network = lru_cache(maxsize=8)(Network)


def network(model: keras.Model | Network) -> Network:
    """``model`` cut in two; the same object for the same model, so that it is compiled once."""
    return model if isinstance(model, Network) else _network(model)


def _in_batches(model: keras.Model, pixels: NDArray[Any]) -> Floats:
    results = []
    for start in range(0, len(pixels), BATCH):
        part = np.asarray(pixels[start : start + BATCH], np.float32)
        count = len(part)
        full = 1 << (count - 1).bit_length()  # few shapes to compile for
        if count < full:
            part = np.concatenate([part, np.zeros((full - count, *part.shape[1:]), np.float32)])
        results.append(np.asarray(model.predict_on_batch(part), np.float32)[:count])
    return np.concatenate(results) if results else np.zeros((0, *model.output_shape[1:]), np.float32)


def gradients(network: Network, features: Floats, class_index: Classes) -> Floats:
    """The derivative of each photo's class score with respect to its feature map: (N, h, w, C).

    The one place that differs between Keras' backends (TensorFlow, JAX, PyTorch).
    """
    import keras
    from keras import ops

    chosen = ops.convert_to_tensor(np.eye(len(CLASSES), dtype=np.float32)[class_index])

    def total(values: Any) -> Any:  # photos are independent, so the gradient of the sum holds each photo's own
        return ops.sum(network.scores(values) * chosen)

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        values = tf.constant(features)
        with tf.GradientTape() as tape:
            tape.watch(values)
            score = total(values)
        return np.asarray(tape.gradient(score, values), np.float32)
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(total)(jax.numpy.asarray(features)), np.float32)
    if backend == "torch":
        values = ops.convert_to_tensor(features).requires_grad_(True)
        total(values).backward()
        return np.asarray(values.grad.cpu(), np.float32)
    raise ConfigError(f"gradients are not available on the Keras backend {backend!r}; use tensorflow, jax or torch")
