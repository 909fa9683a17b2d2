"""An ensemble as one Keras model: photos in, the members' common answer out. For export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from allmasked.core.errors import ConfigError
from allmasked.core.types import CLASSES
from allmasked.networks.readout import GivenSomebody
from allmasked.predictors.ensemble import Ensemble
from allmasked.stats.metrics import SMALLEST
from allmasked.stats.votes import SMALLEST as SMALLEST_STACKED

KNOWN = ("majority", "soft", "weighted", "stacked")
"""Votes that :class:`Vote` can cast."""


class Vote(keras.layers.Layer):
    """The members' own answers, M tensors (N, K), to the ensemble's (N, K), see :mod:`allmasked.stats.votes`; K is 4
    with ``nobody``, else 3."""

    def __init__(self, ensemble: Ensemble, *, nobody: bool, **options: Any) -> None:
        super().__init__(**options)
        if ensemble.vote not in KNOWN:
            raise ConfigError(f"the vote {ensemble.vote!r} cannot be exported; {', '.join(KNOWN)} can")
        self.vote, self.nobody = ensemble.vote, nobody
        self.temperatures = tuple(member.temperature for member in ensemble.members)
        self.shares = ensemble.fitted.weights
        self.coefficients = ensemble.fitted.coefficients

    def call(self, members: Sequence[Any]) -> Any:
        parts = [self._parted(member) for member in members]
        classes = [
            p if t == 1 else ops.softmax(ops.log(ops.maximum(p, SMALLEST)) / t)
            for (p, _), t in zip(parts, self.temperatures)
        ]
        if self.coefficients:
            rows = np.asarray(self.coefficients, np.float32)
            features = ops.concatenate([ops.log(ops.maximum(p, SMALLEST_STACKED)) for p in classes], axis=1)
            voted = ops.softmax(ops.matmul(features, rows[:, :-1].T) + rows[:, -1])
            if not self.nobody:
                return voted
            return self._joint(voted, sum(share * away for share, (_, away) in zip(self.shares, parts)))
        each = [self._joint(p, away) if self.nobody else p for p, (_, away) in zip(classes, parts)]
        if self.vote == "majority":
            counts = sum(ops.one_hot(ops.argmax(p, axis=1), p.shape[1], dtype="float32") for p in each)
            return (counts + sum(each) / len(each)) / (len(each) + 1)
        return sum(share * p for share, p in zip(self.shares, each))

    def _parted(self, answer: Any) -> tuple[Any, Any]:
        if not self.nobody:
            return answer, None
        there = answer[:, : len(CLASSES)] + 1e-9
        return there / ops.sum(there, -1, keepdims=True), answer[:, len(CLASSES) :]

    @staticmethod
    def _joint(classes: Any, away: Any) -> Any:
        return ops.concatenate([classes * (1 - away), away], axis=1)

    def compute_output_shape(self, shapes: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return tuple(shapes[0])


class Nobody(keras.layers.Layer):
    """P(nobody) (N, 1) of an answer (N, 4)."""

    def call(self, answer: Any) -> Any:
        return answer[:, len(CLASSES) :]

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], 1)


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
    views = list(dict.fromkeys(member.input for member in ensemble.members))
    inputs = [keras.Input((*view.size[::-1], 3), name=f"view_{number}") for number, view in enumerate(views)]
    with_maps = all(isinstance(model.output, dict) for model in members)
    found: dict[str, list[Any]] = {"answer": [], "maps": []} if with_maps else {"probabilities": []}
    for number, (row, model) in enumerate(zip(ensemble.members, members)):
        outputs = model.output if isinstance(model.output, dict) else {"probabilities": model.output}
        inside = keras.Model(model.input, [outputs[name] for name in found], name=f"member_{number}")
        said = inside(inputs[views.index(row.input)])
        for name, value in zip(found, said if isinstance(said, list | tuple) else [said]):
            found[name].append(value)
    vote = Vote(ensemble, nobody=with_maps, name="vote", dtype="float32")
    if not with_maps:
        return keras.Model(inputs, {"probabilities": vote(found["probabilities"])}, name="allmasked")
    voted = vote(found["answer"])
    outputs = {
        "probabilities": GivenSomebody(name="probabilities", dtype="float32")(voted),
        "nobody": Nobody(name="nobody", dtype="float32")(voted),
    }
    outputs |= {f"maps_{number}": maps for number, maps in enumerate(found["maps"], 1)}
    return keras.Model(inputs, outputs, name="allmasked")
