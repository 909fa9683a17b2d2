"""What a training photo costs, for cli/estimates.py: python bench/training_cost.py [BACKBONE ...]

For each backbone, in a process of its own: processor seconds of a step of training and of answering, per megapixel, as
multiples of what the model that ships takes for one of its own; and the memory of a step. Processor seconds, not those
of the clock, so that other programs beside it matter little.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

SIDE, BATCH, STEPS = 128, 16, 3


def main(names: list[str]) -> None:
    from allmasked.networks.backbones import BACKBONES

    print("| backbone | training | answering | MB before | MB after | bytes a px |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name in names or list(BACKBONES):
        told = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True)
        if told.returncode:
            print(name, told.stderr.strip().splitlines()[-1])
            continue
        row = json.loads(told.stdout.splitlines()[-1])
        a_px = (row["after"] - row["before"]) * 1e6 / (BATCH * SIDE * SIDE)
        print(
            f"| {name} | {row['train'] / row['ships']:.2f} | {row['answer'] / row['ships']:.2f} | {row['before']:.0f} "
            f"| {row['after']:.0f} | {a_px:.0f} |",
            flush=True,
        )


def one(name: str) -> dict[str, float]:
    """Processor seconds a megapixel, and MB."""
    import keras

    from allmasked.core.config import Recipe, TrainConfig
    from allmasked.networks import model as models
    from allmasked.predictors.onnx_model import DEFAULT, OnnxPredictor
    from allmasked.training.train import set_trainable

    ships = OnnxPredictor.open(DEFAULT)
    own = np.zeros((4, ships.size[1], ships.size[0], 3), np.uint8)
    found = {"ships": least(lambda: ships.predict(own)) / (own[..., 0].size / 1e6)}
    config = TrainConfig(name, "softmax", weights="random", recipe=Recipe(size=(SIDE, SIDE)))
    model = models.build(config)
    set_trainable(model, config, "all")
    learner = models.learner(model)
    learner.compile("adamw", "categorical_crossentropy", jit_compile=models.jit_compile())
    pixels = np.random.default_rng(0).integers(0, 255, (BATCH, SIDE, SIDE, 3)).astype(np.float32)
    labels = keras.utils.to_categorical(np.arange(BATCH) % 3, 3)
    megapixels = BATCH * SIDE * SIDE / 1e6
    model.predict_on_batch(pixels)
    found["answer"] = least(lambda: model.predict_on_batch(pixels)) / megapixels
    found["before"] = peak_mb()
    learner.train_on_batch(pixels, labels)
    found["train"] = least(lambda: learner.train_on_batch(pixels, labels)) / megapixels
    found["after"] = peak_mb()
    return found


def least(step: Any) -> float:
    """Least processor seconds of a step."""
    seconds = []
    for _ in range(STEPS):
        began = time.process_time()
        step()
        seconds.append(time.process_time() - began)
    return min(seconds)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2])))
    else:
        main(sys.argv[1:])
