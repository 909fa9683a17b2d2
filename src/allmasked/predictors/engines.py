"""Exported files on other engines than ONNX Runtime; each answers as :mod:`allmasked.predictors.onnx_model` does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import ConfigError, RunError, require
from allmasked.core.runs import read_json
from allmasked.predictors.devices import processors
from allmasked.predictors.onnx_model import ExportedPredictor, Metadata, input_names

Outputs = dict[str, NDArray[np.float32]]


def _metadata(path: Path, beside: Path) -> Metadata:
    if not path.exists():
        raise RunError(f"{path}: no such file; make one with 'allmasked export'")
    return Metadata.parse(read_json(beside), beside)


def _photo_by_photo(views: Sequence[NDArray[np.uint8]]) -> Iterator[dict[str, NDArray[np.uint8]]]:
    """What goes in for each photo, by name."""
    names = input_names(len(views))
    for photos in zip(*views):
        yield {name: photo[None] for name, photo in zip(names, photos)}


@dataclass
class OpenvinoPredictor(ExportedPredictor):
    """OpenVINO's ``.xml``, in float32 unless the file is quantised."""

    compiled: Any

    @classmethod
    def open(
        cls, path: str | Path, *, threads: int | None = None, precision: str = "f32", device: str = "auto"
    ) -> OpenvinoPredictor:
        """Open it; ``precision`` is that of the arithmetic where the file is in float32: ``f32`` or ``bf16``. ``auto``
        and ``cpu`` take the processors; ``openvino`` leaves the choice to OpenVINO, which may take Intel's card."""
        if device not in ("auto", "cpu", "openvino"):
            raise ConfigError(f"{path}: OpenVINO can't use the device {device!r}; take cpu or openvino")
        openvino = require("openvino", "export")
        metadata = _metadata(Path(path), Path(path).with_suffix(".json"))
        if device == "openvino":
            return cls(metadata, openvino.Core().compile_model(str(path), "AUTO"))
        settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads or processors()}
        return cls(metadata, openvino.Core().compile_model(str(path), "CPU", settings))

    def run(self, *views: NDArray[np.uint8]) -> Outputs:
        names = [output.get_any_name() for output in self.compiled.outputs]
        found = [self.compiled(given) for given in _photo_by_photo(views)]
        return {name: np.concatenate([result[index] for result in found]) for index, name in enumerate(names)}


@dataclass
class LitertPredictor(ExportedPredictor):
    """A ``.tflite`` file on LiteRT."""

    runner: Any

    @classmethod
    def open(cls, path: str | Path, *, threads: int | None = None) -> LitertPredictor:
        litert = require("ai_edge_litert.interpreter", "export")
        metadata = _metadata(Path(path), Path(path).with_suffix(".json"))
        interpreter = litert.Interpreter(model_path=str(path), num_threads=threads or processors())
        return cls(metadata, interpreter.get_signature_runner())

    def run(self, *views: NDArray[np.uint8]) -> Outputs:
        found = [
            {name: values.copy() for name, values in self.runner(**given).items()} for given in _photo_by_photo(views)
        ]
        return {name: np.concatenate([result[name] for result in found]) for name in found[0]}


@dataclass
class SavedModelPredictor(ExportedPredictor):
    """A TensorFlow SavedModel."""

    signature: Any
    loaded: Any

    @classmethod
    def open(cls, path: str | Path) -> SavedModelPredictor:
        tensorflow = require("tensorflow", "train")
        metadata = _metadata(Path(path), Path(path) / "allmasked.json")
        with contextlib.suppress(OSError):
            loaded = tensorflow.saved_model.load(str(path))
            return cls(metadata, loaded.signatures["serving_default"], loaded)
        raise RunError(f"{path}: is not a SavedModel")

    def run(self, *views: NDArray[np.uint8]) -> Outputs:
        tensorflow = require("tensorflow", "train")
        found = [
            self.signature(**{name: tensorflow.constant(photo) for name, photo in given.items()})
            for given in _photo_by_photo(views)
        ]
        return {name: np.concatenate([result[name].numpy() for result in found]) for name in found[0]}
