"""The contract of every head."""

from __future__ import annotations

import numpy as np
import pytest

from allmasked.config import Recipe, TrainConfig
from allmasked.evidence import PRESENCE, map_targets
from allmasked.heads import HEADS
from allmasked.losses import map_loss, presence_loss
from allmasked.model import build, classifier, learner, load, save


@pytest.mark.parametrize("name", HEADS)
def test_probabilities_sum_to_one_and_gradients_flow(name, tmp_path):  # type: ignore[no-untyped-def]
    config = TrainConfig(head=name, weights="random", recipe=Recipe(size=(96, 64), dropout=0.0))
    model = build(config)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3)).astype(np.float32)
    before = np.asarray(classifier(model).predict_on_batch(pixels))
    assert before.shape == (4, 3) and before.dtype == np.float32
    np.testing.assert_allclose(before.sum(1), 1, atol=1e-5)
    assert classifier(model).output_names == ["probabilities"]

    save(model, tmp_path / "model.keras")
    loaded = classifier(load(tmp_path / "model.keras"))
    np.testing.assert_allclose(np.asarray(loaded.predict_on_batch(pixels)), before, atol=1e-5)

    weights = [np.asarray(v) for v in model.trainable_variables]
    labels = np.array([0, 1, 2, 0])
    if HEADS[name].maps:
        boxes = np.array([[20, 10, 40, 34, 1], [60, 20, 80, 44, 0]], np.float32)
        maps = np.stack([map_targets(boxes, (96, 64), (12, 8))] * 4)
        part = learner(model)
        part.compile("sgd", {"presence": presence_loss(0.0), "maps": map_loss()}, jit_compile=False)
        part.train_on_batch(pixels, {"presence": PRESENCE[labels], "maps": maps})
    else:
        model.compile("sgd", "categorical_crossentropy", jit_compile=False)
        model.train_on_batch(pixels, np.eye(3, dtype=np.float32)[labels])
    moved = [not np.array_equal(a, np.asarray(b)) for a, b in zip(weights, model.trainable_variables)]
    assert np.mean(moved) > 0.9, "gradients must reach nearly every weight"


def test_linear_says_the_truth():  # type: ignore[no-untyped-def]
    """A linear head's logits are a dense layer on averaged features, nothing between."""
    for name, head in HEADS.items():
        model = build(TrainConfig(head=name, weights="random", recipe=Recipe(size=(64, 64))))
        kinds = [type(layer).__name__ for layer in model.layers[2:]]
        assert head.linear == (kinds == ["GlobalAveragePooling2D", "Dropout", "Dense", "Activation"])
