"""The contract of every head."""

from __future__ import annotations

import numpy as np
import pytest

from allmasked.config import Recipe, TrainConfig
from allmasked.heads import HEADS
from allmasked.model import build, load, save


@pytest.mark.parametrize("name", HEADS)
def test_probabilities_sum_to_one_and_gradients_flow(name, tmp_path):  # type: ignore[no-untyped-def]
    config = TrainConfig(head=name, weights="random", recipe=Recipe(size=(96, 64), dropout=0.0))
    model = build(config)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3)).astype(np.float32)
    before = np.asarray(model.predict_on_batch(pixels))
    assert before.shape == (4, 3) and before.dtype == np.float32
    np.testing.assert_allclose(before.sum(1), 1, atol=1e-5)
    assert model.output_names == ["probabilities"]

    save(model, tmp_path / "model.keras")
    np.testing.assert_allclose(np.asarray(load(tmp_path / "model.keras").predict_on_batch(pixels)), before, atol=1e-5)

    weights = [np.asarray(v) for v in model.trainable_variables]
    model.compile("sgd", "categorical_crossentropy", jit_compile=False)
    model.train_on_batch(pixels, np.eye(3, dtype=np.float32)[[0, 1, 2, 0]])
    moved = [not np.array_equal(a, np.asarray(b)) for a, b in zip(weights, model.trainable_variables)]
    assert np.mean(moved) > 0.9, "gradients must reach nearly every weight"


def test_linear_says_the_truth():  # type: ignore[no-untyped-def]
    """A linear head's logits are a dense layer on averaged features, nothing between."""
    for name, head in HEADS.items():
        model = build(TrainConfig(head=name, weights="random", recipe=Recipe(size=(64, 64))))
        kinds = [type(layer).__name__ for layer in model.layers[2:]]
        assert head.linear == (kinds == ["GlobalAveragePooling2D", "Dropout", "Dense", "Activation"])
