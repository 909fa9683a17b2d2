"""The formats that are exported: the table :data:`EXPORTS`, and what writes each."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allmasked.core.errors import ConfigError, require
from allmasked.core.runs import write_text
from allmasked.exporting.source import Pixels, Source
from allmasked.predictors.engines import LitertPredictor, OpenvinoPredictor, SavedModelPredictor
from allmasked.predictors.onnx_model import ExportedPredictor, OnnxPredictor

if TYPE_CHECKING:
    import onnx

PRECISIONS: dict[str, tuple[float, float]] = {
    # what differs at most from Keras: probabilities, and the share of other labels
    "float32": (1e-4, 0.0),
    "float16": (0.05, 0.02),
    "int8": (1.0, 0.15),
}
"""``float16`` stores the weights so and computes in float32; ``int8`` is static quantisation, its loss is shown."""
INT8_OPERATIONS = [
    "Conv", "Gemm", "Add", "Mul", "Clip", "Relu", "Sigmoid", "Concat", "Resize",
    "MaxPool", "AveragePool", "GlobalAveragePool",
]  # fmt: skip


def write_onnx(source: Source, target: Path) -> None:
    """One ``.onnx`` file; its metadata lie in the model's ``metadata_props``."""
    onnx = require("onnx", "export")
    from allmasked.exporting.onnx_graph import halve

    proto = source.onnx
    if source.precision == "float16":
        proto = halve(proto)
    elif source.precision == "int8":
        proto = _quantised(source)
    onnx.helper.set_model_props(proto, source.metadata.strings())
    onnx.save(proto, target)


def _quantised(source: Source) -> onnx.ModelProto:
    """int8 by static quantisation: weights a scale a channel, ranges from the calibration photos (Jacob et al. 2018).

    Seven bits of the weights are used, since processors without VNNI would overflow with eight. What the last
    convolutions of the head give, and all behind, stays float32.
    """
    onnx = require("onnx", "export")
    require("onnxruntime", "export")
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    if source.calibration is None or not len(source.calibration[0]):
        raise ConfigError("int8 needs photos to take its ranges from; give a data set or split.json (--validate)")
    views, names = source.calibration, source.inputs

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest: Iterator[tuple[Pixels, ...]] = zip(*views)

        def get_next(self) -> dict[str, Pixels] | None:
            photo = next(self.rest, None)
            return None if photo is None else {name: pixels[None] for name, pixels in zip(names, photo)}

    float32 = (
        "scaling", "evidence", "boxes", "maps", "faces", "answer", "probabilities", "logits", "cam_conv", "vote",
        "nobody", "second_look", "look_logits",
    )  # fmt: skip
    kept = [node.name for node in source.onnx.graph.node if node.name.split("/")[0].rstrip("_0123456789") in float32]
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(source.onnx, before)
        logging.disable(logging.WARNING)  # it advises to simplify the graph first, which is simple already
        try:
            quantize_static(
                str(before), str(after), Reader(),
                quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                per_channel=True, reduce_range=True, calibrate_method=CalibrationMethod.MinMax,
                op_types_to_quantize=INT8_OPERATIONS, nodes_to_exclude=kept,
            )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(after)


def write_openvino(source: Source, target: Path) -> None:
    """OpenVINO's ``.xml`` with a ``.bin`` beside it, made from the ONNX graph; metadata in a ``.json`` beside it."""
    openvino = require("openvino", "export")
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / "model.onnx"
        write_onnx(source, between)
        model = openvino.Core().read_model(str(between))
    openvino.save_model(model, str(target), compress_to_fp16=source.precision == "float16")
    write_text(target.with_suffix(".json"), json.dumps(source.metadata.strings(), indent=1) + "\n")


def _served(source: Source) -> Any:
    """A TensorFlow module with one signature: pixels uint8, for each input -> outputs by name."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError("this format is written by TensorFlow; set KERAS_BACKEND=tensorflow")
    tensorflow = require("tensorflow", "train")
    module = tensorflow.Module()
    module.model = source.model

    given = [
        tensorflow.TensorSpec((None, *view.size[::-1], 3), tensorflow.uint8, name)
        for name, view in zip(source.inputs, source.views)
    ]

    @tensorflow.function(input_signature=given, autograph=False)
    def answer(*pixels: Any) -> dict[str, Any]:
        views = [tensorflow.cast(view, tensorflow.float32) for view in pixels]
        outputs = source.model(views if len(views) > 1 else views[0], training=False)
        return outputs if isinstance(outputs, dict) else {"probabilities": outputs}

    module.answer = answer
    return module


def write_savedmodel(source: Source, target: Path) -> None:
    """A TensorFlow SavedModel: a folder, its signature ``serving_default``; metadata in ``allmasked.json`` in it."""
    module = _served(source)
    tensorflow = require("tensorflow", "train")
    tensorflow.saved_model.save(module, str(target), signatures={"serving_default": module.answer})
    write_text(target / "allmasked.json", json.dumps(source.metadata.strings(), indent=1) + "\n")


def write_litert(source: Source, target: Path) -> None:
    """A ``.tflite`` file for LiteRT (TensorFlow Lite); metadata in a ``.json`` beside it."""
    tensorflow = require("tensorflow", "train")
    with tempfile.TemporaryDirectory() as folder:
        write_savedmodel(source, Path(folder) / "saved")
        # By its signature, so that weights become constants: from_saved_model leaves them out, and all answers are NaN.
        saved = tensorflow.saved_model.load(str(Path(folder) / "saved"))
        signature = saved.signatures["serving_default"]
        converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([signature], saved)
        if source.precision == "float16":
            converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tensorflow.float16]
        target.write_bytes(converter.convert())
    write_text(target.with_suffix(".json"), json.dumps(source.metadata.strings(), indent=1) + "\n")


@dataclass(frozen=True)
class Export:
    """One format. ``write(source, path)`` writes it, ``open(path)`` gives a predictor of it; ``beside`` are the
    suffixes of further files that belong to it."""

    name: str
    suffix: str
    help: str
    write: Callable[[Source, Path], None]
    open: Callable[[Path], ExportedPredictor]
    precisions: tuple[str, ...] = ("float32",)
    beside: tuple[str, ...] = ()
    needs: tuple[tuple[str, str], ...] = (("keras", "export"), ("onnx", "export"))
    """Modules to look for before anything is done, and the extras that bring them."""


EXPORTS: dict[str, Export] = {
    row.name: row
    for row in (
        Export(
            "onnx", ".onnx", "one file for ONNX Runtime, and for predict and explain here without Keras",
            write_onnx, OnnxPredictor.open, ("float32", "float16", "int8"),
        ),
        Export(
            "openvino", ".xml", "OpenVINO, .xml with .bin and .json beside it",
            write_openvino, OpenvinoPredictor.open, ("float32", "float16", "int8"), (".bin", ".json"),
        ),
        Export(
            "litert", ".tflite", "LiteRT (TensorFlow Lite), with .json beside it",
            write_litert, LitertPredictor.open, ("float32", "float16"), (".json",),
        ),
        Export(
            "savedmodel", "", "TensorFlow's SavedModel, a folder",
            write_savedmodel, SavedModelPredictor.open, needs=(("keras", "train"),),
        ),
    )
}  # fmt: skip
