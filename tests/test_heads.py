"""The contract of every head."""

from __future__ import annotations

import numpy as np
import pytest

from allmasked.core.config import Recipe, TrainConfig
from allmasked.networks.evidence import map_targets, with_answer
from allmasked.networks.heads import HEADS
from allmasked.networks.losses import faces_loss
from allmasked.networks.model import build, calibration_of, classifier, has_maps, learner, load, save


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
        maps = map_targets(boxes, (96, 64), (12, 8))
        targets = [with_answer(maps, answer, 1.0) for answer in np.eye(4, dtype=np.float32)[labels]]
        part = learner(model)
        part.compile("sgd", faces_loss(), jit_compile=False)
        part.train_on_batch(pixels, np.stack(targets))
    else:
        model.compile("sgd", "categorical_crossentropy", jit_compile=False)
        model.train_on_batch(pixels, np.eye(3, dtype=np.float32)[labels])
    moved = [not np.array_equal(a, np.asarray(b)) for a, b in zip(weights, model.trainable_variables)]
    assert np.mean(moved) > 0.9, "gradients must reach nearly every weight"


def test_what_a_head_with_maps_gives():  # type: ignore[no-untyped-def]
    recipe = Recipe(size=(96, 64))
    for name, head in HEADS.items():
        model = build(TrainConfig(head=name, weights="random", recipe=recipe))
        assert has_maps(model) == head.maps and (calibration_of(model) is not None) == head.maps
        if not head.maps:
            continue
        outputs = model.predict_on_batch(np.zeros((2, 64, 96, 3), np.float32))
        assert {output: np.shape(value) for output, value in outputs.items()} == {
            "probabilities": (2, 3), "answer": (2, 4), "faces": (2, 64, 7), "maps": (2, 8, 12, 6)
        }  # fmt: skip
        any_size = build(TrainConfig(head=name, weights="random", recipe=recipe), any_size=True)
        assert np.shape(any_size.predict_on_batch(np.zeros((1, 32, 160, 3)))["maps"]) == (1, 4, 20, 6)


def test_linear_says_the_truth():  # type: ignore[no-untyped-def]
    """A linear head's logits are a dense layer on averaged features, nothing between."""
    for name, head in HEADS.items():
        model = build(TrainConfig(head=name, weights="random", recipe=Recipe(size=(64, 64))))
        kinds = [type(layer).__name__ for layer in model.layers[2:]]
        assert head.linear == (kinds == ["GlobalAveragePooling2D", "Dropout", "Dense", "Activation"])
