"""What is exported: a run's or an ensemble's model in float32, and what its file is to say about itself."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.config import TrainConfig
from allmasked.core.errors import ConfigError
from allmasked.core.runs import Run
from allmasked.core.types import Answers, InputSpec, Size
from allmasked.networks import model as models
from allmasked.networks.heads import HEADS
from allmasked.networks.reading import Calibration
from allmasked.predictors.ensemble import EnsemblePredictor, open_ensemble
from allmasked.predictors.onnx_model import Metadata, input_names
from allmasked.predictors.predictor import KerasPredictor
from allmasked.stats.votes import parted

if TYPE_CHECKING:
    import keras
    import onnx

Pixels = NDArray[np.uint8]
Views = Sequence[Pixels]


@dataclass
class Source:
    """What is exported: a float32 model, and what the file is to say about itself.

    ``calibration`` has the photos that int8 takes its ranges from, ``ensemble`` the Python ensemble that the file must
    answer as. Photos come fitted to each of :attr:`views`, an array (N, H, W, 3) uint8 a view.
    """

    model: keras.Model
    metadata: Metadata
    ensemble: EnsemblePredictor | None = None
    calibration: Views | None = None

    @property
    def precision(self) -> str:
        return self.metadata.precision

    @property
    def views(self) -> tuple[InputSpec, ...]:
        """Its inputs."""
        return self.metadata.views or (self.metadata.input,)

    @property
    def inputs(self) -> list[str]:
        """What the file's inputs are called."""
        return input_names(len(self.views))

    @cached_property
    def onnx(self) -> onnx.ModelProto:
        """As ONNX, in float32."""
        from allmasked.exporting.onnx_graph import graph_of

        return graph_of(self.model, self.inputs, linear=not self.ensemble and HEADS[self.metadata.head].linear)

    def outputs(self, views: Views) -> dict[str, NDArray[np.float32]]:
        """What Keras gives, by name."""
        found: list[Any] = []
        for start in range(0, len(views[0]), 8):
            count = len(views[0][start : start + 8])
            parts = [np.zeros((8, *pixels.shape[1:]), np.float32) for pixels in views]
            for part, pixels in zip(parts, views):
                part[:count] = pixels[start : start + 8]
            outputs = self.model.predict_on_batch(parts if len(parts) > 1 else parts[0])
            outputs = outputs if isinstance(outputs, dict) else {"probabilities": outputs}
            found.append({name: np.asarray(values, np.float32)[:count] for name, values in outputs.items()})
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def expected(self, views: Views, tolerance: float) -> tuple[Answers, NDArray[np.bool_]]:
        """What the file must answer, and of which photos that can be asked (N,).

        Not of those where a whole vote hangs on a member whose two likeliest classes differ by less than twice the
        tolerance.
        """
        steady = np.ones(len(views[0]), bool)
        if self.ensemble is None:
            return self.metadata.answers(self.outputs(views)), steady
        rows = self.ensemble.ensemble
        own = [one.own if self.ensemble.finds_faces else one.probabilities for one in self.ensemble.said(views)]
        together, _ = rows.ask(len(steady), lambda k, some: own[k][some], early=False)
        if rows.vote == "majority" and tolerance < 1:
            ranked = np.sort([rows.calibrated(k, one) for k, one in enumerate(own)])
            steady = (ranked[..., -1] - ranked[..., -2]).min(0) > 2 * tolerance
        probabilities, nobody = parted(together)
        answers = self.metadata.answers({"probabilities": np.asarray(probabilities, np.float32)})
        return dataclasses.replace(answers, nobody=None if nobody is None else np.asarray(nobody, np.float32)), steady


def open_ensemble_source(run: Run, size: Size | None) -> Source:
    """An ensemble's members as one model in float32."""
    from allmasked.exporting.ensemble_model import one_model

    if size is not None:
        raise ConfigError(f"{run.folder}: is an ensemble, whose members keep their sizes; leave out --size")
    members: list[Source] = []

    def open_member(folder: Path) -> KerasPredictor:
        source = open_source(Run(folder))
        members.append(source)
        metadata, model = source.metadata, source.model
        return KerasPredictor(metadata.name, metadata.input, models.classifier(model), model)

    predictor = open_ensemble(run, open_member)
    model = one_model(predictor.ensemble, [member.model for member in members])
    model.jit_compile = models.jit_compile()
    heads, backbones = ({getattr(m.metadata, name) for m in members} for name in ("head", "backbone"))
    metadata = Metadata(
        name=run.name,
        size=predictor.input.size,
        fit=predictor.input.resize_mode,
        backbone=backbones.pop() if len(backbones) == 1 else "",
        head=heads.pop() if len(heads) == 1 else "",
        version=importlib.metadata.version("allmasked"),
        created_from=run.name,
        views=predictor.views if len(predictor.views) > 1 else (),
        members=tuple(member.name for member in predictor.ensemble.members),
        member_views=tuple(member.input for member in predictor.members),
        shares=predictor.ensemble.fitted.weights,
        calibration=tuple(row for m in members for row in m.metadata.calibration) if predictor.finds_faces else (),
    )
    return Source(model, metadata, predictor)


def open_source(run: Run, size: Size | None = None, calibration: Calibration | None = None) -> Source:
    """A run's model in float32, for inputs of ``size`` px; ``calibration`` of its faces, if not its own."""
    config = TrainConfig.read(run.config)
    trained = models.load(run.model)
    recipe = dataclasses.replace(config.recipe, size=size or config.recipe.size, precision="float32")
    model = trained
    if recipe != config.recipe:
        model = models.build(dataclasses.replace(config, weights="random", recipe=recipe))
        try:
            model = models.with_weights_of(trained, model)
        except ValueError:
            raise ConfigError(
                f"the head {config.head!r} takes inputs of {config.recipe.size[0]} x {config.recipe.size[1]} px only"
            ) from None
        model.jit_compile = models.jit_compile()
    if calibration is not None:
        if not models.has_maps(model):
            raise ConfigError(f"{run.folder}: its head {config.head!r} finds no faces that could be calibrated")
        models.calibrate(model, calibration)
    calibration = models.calibration_of(model)
    metadata = Metadata(
        name=run.name,
        size=recipe.size,
        fit=recipe.resize_mode,
        backbone=config.backbone,
        head=config.head,
        calibration=(calibration,) if calibration else (),
        version=importlib.metadata.version("allmasked"),
        created_from=run.name,
    )
    return Source(model, metadata)
