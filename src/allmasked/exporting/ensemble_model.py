"""An ensemble as one Keras model: photos in, the members' common answer out. For export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from allmasked.core.errors import ConfigError
from allmasked.core.types import CLASSES
from allmasked.predictors.ensemble import Ensemble
from allmasked.stats.metrics import SMALLEST
from allmasked.stats.votes import SMALLEST as SMALLEST_STACKED

KNOWN = ("majority", "soft", "weighted", "stacked")
"""Votes that :class:`Vote` can cast."""


class Vote(keras.layers.Layer):
    """The members' own probabilities, M tensors (N, 3), to the ensemble's (N, 3), see :mod:`allmasked.stats.votes`."""

    def __init__(self, ensemble: Ensemble, **options: Any) -> None:
        super().__init__(**options)
        if ensemble.vote not in KNOWN:
            raise ConfigError(f"the vote {ensemble.vote!r} cannot be exported; {', '.join(KNOWN)} can")
        self.vote = ensemble.vote
        self.temperatures = tuple(member.temperature for member in ensemble.members)
        self.shares = ensemble.fitted.weights
        self.coefficients = ensemble.fitted.coefficients

    def call(self, members: Sequence[Any]) -> Any:
        each = [
            p if t == 1 else ops.softmax(ops.log(ops.maximum(p, SMALLEST)) / t)
            for p, t in zip(members, self.temperatures)
        ]
        if self.coefficients:
            rows = np.asarray(self.coefficients, np.float32)
            features = ops.concatenate([ops.log(ops.maximum(p, SMALLEST_STACKED)) for p in each], axis=1)
            return ops.softmax(ops.matmul(features, rows[:, :-1].T) + rows[:, -1])
        if self.vote == "majority":
            counts = sum(ops.one_hot(ops.argmax(p, axis=1), len(CLASSES), dtype="float32") for p in each)
            return (counts + sum(each) / len(each)) / (len(each) + 1)
        return sum(share * p for share, p in zip(self.shares, each))

    def compute_output_shape(self, shapes: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return tuple(shapes[0])


class MeanNobody(keras.layers.Layer):
    """The members' answers, M tensors (N, 4), to the weighted mean (N, 1) of P(nobody)."""

    def __init__(self, ensemble: Ensemble, **options: Any) -> None:
        super().__init__(**options)
        self.shares = ensemble.fitted.weights

    def call(self, answers: Sequence[Any]) -> Any:
        return sum(share * one[:, 3:] for share, one in zip(self.shares, answers))

    def compute_output_shape(self, shapes: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return (shapes[0][0], 1)


def one_model(ensemble: Ensemble, members: Sequence[keras.Model]) -> keras.Model:
    """All members as one model.

    Its inputs are the ensemble's views in order (:attr:`allmasked.predictors.ensemble.EnsemblePredictor.views`),
    (N, H, W, 3) float32 RGB 0-255 each. It gives ``probabilities`` (N, 3), and where every member makes evidence maps
    ``nobody`` (N, 1) and the maps of each, ``maps_1`` (N, h, w, 6) and so on, too.

    Args:
        ensemble: its vote, temperatures and what was fitted.
        members: models in the order of ``ensemble.members``, see :mod:`allmasked.networks.model`.

    Raises:
        ConfigError: the vote is none of :data:`KNOWN`.
    """
    views = list(dict.fromkeys((member.size, member.fit) for member in ensemble.members))
    inputs = [
        keras.Input((height, width, 3), name=f"view_{number}") for number, ((width, height), _) in enumerate(views)
    ]
    with_maps = all(isinstance(model.output, dict) for model in members)
    found: dict[str, list[Any]] = {"probabilities": [], "answer": [], "maps": []}
    for number, (row, model) in enumerate(zip(ensemble.members, members)):
        outputs = model.output if isinstance(model.output, dict) else {"probabilities": model.output}
        wanted = list(found) if with_maps else ["probabilities"]
        inside = keras.Model(model.input, [outputs[name] for name in wanted], name=f"member_{number}")
        said = inside(inputs[views.index((row.size, row.fit))])
        for name, value in zip(wanted, said if isinstance(said, list | tuple) else [said]):
            found[name].append(value)
    outputs = {"probabilities": Vote(ensemble, name="vote", dtype="float32")(found["probabilities"])}
    if with_maps:
        outputs["nobody"] = MeanNobody(ensemble, name="nobody", dtype="float32")(found["answer"])
        outputs |= {f"maps_{number}": maps for number, maps in enumerate(found["maps"], 1)}
    return keras.Model(inputs, outputs, name="allmasked")
