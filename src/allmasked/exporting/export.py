"""A run's or an ensemble's model as one file for other engines: the table :data:`EXPORTS`, and the check of each file.

An ensemble becomes one network, votes and temperatures included, with an input for each size that its members want.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.config import TrainConfig
from allmasked.core.errors import AllmaskedError, ConfigError, PhotoError, expect, require, unknown
from allmasked.core.runs import Run, replacing, write_text
from allmasked.core.types import Answers, Size
from allmasked.images import pixels as px
from allmasked.networks import model as models
from allmasked.networks.heads import HEADS
from allmasked.networks.reading import Calibration
from allmasked.predictors.ensemble import EnsemblePredictor, View, open_ensemble, read_views
from allmasked.predictors.onnx_model import ExportedPredictor, Metadata, OnnxPredictor, input_names
from allmasked.predictors.predictor import KerasPredictor

if TYPE_CHECKING:
    import keras
    import onnx

Pixels = NDArray[np.uint8]
Views = Sequence[Pixels]

PRECISIONS: dict[str, tuple[float, float]] = {
    # what differs at most from Keras: probabilities, and the share of other labels
    "float32": (1e-4, 0.0),
    "float16": (0.05, 0.02),
    "int8": (1.0, 0.15),
}
"""``float16`` stores the weights so and computes in float32; ``int8`` is static quantisation, its loss is shown."""
CALIBRATION_PHOTOS, CHECKED_PHOTOS = 128, 48
INT8_OPERATIONS = [
    "Conv", "Gemm", "Add", "Mul", "Clip", "Relu", "Sigmoid", "Concat", "Resize",
    "MaxPool", "AveragePool", "GlobalAveragePool",
]  # fmt: skip


class ExportError(AllmaskedError):
    """The exported file does not answer as the run's model does."""


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
    def views(self) -> tuple[View, ...]:
        """Size and fit of each input."""
        return self.metadata.views or ((self.metadata.size, self.metadata.fit),)

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
        outputs: dict[str, NDArray[np.float32]] = {}
        if self.ensemble is None or len(self.model.outputs) > 1:  # where it shows where, too
            outputs = self.outputs(views)
        if self.ensemble is not None:
            rows = self.ensemble.ensemble
            by_view = dict(zip(self.views, views))
            own = [member.predict(by_view[member.size, member.fit]) for member in self.ensemble.members]
            together, _ = rows.ask(len(steady), lambda k, some: own[k][some], early=False)
            outputs["probabilities"] = np.asarray(together, np.float32)
            if rows.vote == "majority" and tolerance < 1:
                ranked = np.sort([rows.calibrated(k, said) for k, said in enumerate(own)])
                steady = (ranked[..., -1] - ranked[..., -2]).min(0) > 2 * tolerance
        answers = self.metadata.answers(outputs)
        if "nobody" in outputs:
            answers = dataclasses.replace(answers, nobody=outputs["nobody"][:, 0])
        return answers, steady


# --- writers ---------------------------------------------------------------------------------------------------------


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
        "nobody",
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
        tensorflow.TensorSpec((None, height, width, 3), tensorflow.uint8, name)
        for name, ((width, height), _) in zip(source.inputs, source.views)
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


# --- the table -------------------------------------------------------------------------------------------------------


def _open_openvino(path: Path) -> ExportedPredictor:
    from allmasked.predictors.engines import OpenvinoPredictor

    return OpenvinoPredictor.open(path)


def _open_litert(path: Path) -> ExportedPredictor:
    from allmasked.predictors.engines import LitertPredictor

    return LitertPredictor.open(path)


def _open_savedmodel(path: Path) -> ExportedPredictor:
    from allmasked.predictors.engines import SavedModelPredictor

    return SavedModelPredictor.open(path)


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
            write_openvino, _open_openvino, ("float32", "float16", "int8"), (".bin", ".json"),
        ),
        Export(
            "litert", ".tflite", "LiteRT (TensorFlow Lite), with .json beside it",
            write_litert, _open_litert, ("float32", "float16"), (".json",),
        ),
        Export(
            "savedmodel", "", "TensorFlow's SavedModel, a folder",
            write_savedmodel, _open_savedmodel, needs=(("keras", "train"),),
        ),
    )
}  # fmt: skip


# --- export ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RoundTrip:
    """How the file's answers differ from those of Keras (the Python ensemble) over ``photos`` photos.

    ``largest`` and ``mean`` are differences of probabilities, ``labels`` the share of photos with the same label (of
    photos whose two likeliest classes differ by more than twice the tolerance), ``heat`` the largest difference of the
    maps (0-1). An answer that is read off maps jumps where a face just counts as one; so there the maps decide whether
    the file is right (``by_maps``).
    """

    photos: int
    largest: float
    mean: float
    labels: float
    heat: float = 0.0
    by_maps: bool = False

    @property
    def off(self) -> float:
        """What must stay within the tolerance."""
        return self.heat if self.by_maps else self.largest


@dataclass(frozen=True)
class Report:
    """What was written: the file, its size with all that belongs to it, and how it answers."""

    path: Path
    size_bytes: int
    metadata: Metadata
    round_trip: RoundTrip
    drawn: bool


def export(
    folder: str | Path,
    out: str | Path,
    *,
    format: str = "onnx",
    precision: str = "float32",
    size: Size | None = None,
    validate: str | Path | None = None,
    calibration: Calibration | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Report:
    """Write a run's or an ensemble's model to ``out`` and check it; no file is left behind that answers otherwise.

    An ensemble's file asks every member, also where the ensemble stops early: the labels are the same.

    Args:
        folder: a finished run, or an ensemble of them.
        out: the file (a folder for ``savedmodel``).
        format: a row of :data:`EXPORTS`.
        precision: of :data:`PRECISIONS`.
        size: (width, height) px of the exported input; the run's own when None. The heads ``softmax`` and
            ``evidence`` take any size, an ensemble only its members'.
        validate: photos for the round trip, and the ranges of int8: a labelled data set or split.json; by default the
            run's own validation and training photos where they are still there, else drawn pictures.
        calibration: of the faces, instead of the run's own.
        settings: fields of :class:`allmasked.predictors.onnx_model.Metadata` to set: ``name``, ``temperature``.
        seed: of the photos' choice.

    Raises:
        ConfigError: unknown format or precision, a size that the head can't take, int8 without photos.
        RunError: no finished run; an ensemble with a member that is missing or was trained anew.
        ExportError: the file answers otherwise than Keras.
        MissingExtraError: what the format needs is not installed.
    """
    if format not in EXPORTS:
        raise unknown("format", format, EXPORTS)
    row = EXPORTS[format]
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision not in row.precisions:
        raise ConfigError(f"{format} is written in {', '.join(row.precisions)} only, not in {precision}")
    run = Run(folder).require_finished()
    out = Path(out)
    if row.suffix and out.suffix != row.suffix:
        raise ConfigError(f"--out {out}: a file for {format} must end in {row.suffix}")
    for module, extra in row.needs:
        expect(module, extra)
    if run.is_ensemble:
        if calibration is not None:
            raise ConfigError(f"{run.folder}: is an ensemble, whose members keep their calibration; leave it out")
        source = open_ensemble_source(run, size)
    else:
        source = open_source(run, size, calibration)
    if source.metadata.calibration and "temperature" in (settings or {}):
        raise ConfigError(f"{run.folder}: its answer is read off faces, which have no temperature; give --calibration")
    source.metadata = dataclasses.replace(source.metadata, precision=precision, **(settings or {}))
    checked = photos(run, validate, source, "validation", CHECKED_PHOTOS, seed)
    if precision == "int8":
        source.calibration = photos(run, validate, source, "train", CALIBRATION_PHOTOS, seed)
    drawn = not len(checked[0])
    views = drawn_views(source.views, seed) if drawn else checked
    tolerance = PRECISIONS[precision][0]
    expected, steady = source.expected(views, tolerance)

    written: list[Path] = []
    with _whole(out, row, written) as temporary:
        row.write(source, temporary)
        found = compare(expected, row.open(temporary).answer_fitted(views), tolerance, steady)
        _refuse(found, precision, out)
    return Report(out, sum(map(_bytes, written)), source.metadata, found, drawn)


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
        return KerasPredictor(metadata.name, metadata.size, metadata.fit, models.classifier(model), model)

    predictor = open_ensemble(run, open_member)
    model = one_model(predictor.ensemble, [member.model for member in members])
    model.jit_compile = models.jit_compile()
    heads, backbones = ({getattr(m.metadata, name) for m in members} for name in ("head", "backbone"))
    metadata = Metadata(
        name=run.name,
        size=predictor.size,
        fit=predictor.fit,
        backbone=backbones.pop() if len(backbones) == 1 else "",
        head=heads.pop() if len(heads) == 1 else "",
        version=importlib.metadata.version("allmasked"),
        created_from=run.name,
        views=predictor.views if len(predictor.views) > 1 else (),
        members=tuple(member.name for member in predictor.ensemble.members),
        member_views=tuple((member.size, member.fit) for member in predictor.members),
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
            model.set_weights(trained.get_weights())
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
        fit="squash" if recipe.fit == "squash" else "letterbox",
        backbone=config.backbone,
        head=config.head,
        calibration=(dataclasses.asdict(calibration),) if calibration else (),
        version=importlib.metadata.version("allmasked"),
        created_from=run.name,
    )
    return Source(model, metadata)


def photos(run: Run, data: str | Path | None, source: Source, part: str, count: int, seed: int) -> Views:
    """Up to ``count`` photos of a part, drawn at random; of ``data``, or of the run's own split.

    Photos that can't be read are left out; of the run's own split none where it has moved away.
    """
    from allmasked.data.dataset import load_photos, read_split

    none = [np.zeros((0, height, width, 3), np.uint8) for (width, height), _ in source.views]
    if data is not None:
        split = load_photos(Path(data))
        chosen = split.part(part) or split.photos  # type: ignore[arg-type]
    else:
        try:
            split = read_split(run.split)
            chosen = split.part(part)  # type: ignore[arg-type]
        except AllmaskedError:
            return none
    order = np.random.default_rng(seed).permutation(len(chosen))[:count]
    paths = [(chosen[i].path, split.root / chosen[i].path) for i in order]
    read = [
        found
        for batch in px.decode_batches(paths, lambda path, name: read_views(source.views, path, name)[1])
        for _, found in batch
        if not isinstance(found, PhotoError)
    ]
    return [np.stack(view) for view in zip(*read)] if read else none


def drawn_views(views: Sequence[View], seed: int = 0) -> Views:
    """:func:`drawn_pictures` fitted to each view."""
    largest = max((size for size, _ in views), key=lambda size: size[0] * size[1])
    pictures = drawn_pictures(largest, seed=seed)
    return [
        np.stack([px.fit_to(px.Image.fromarray(picture), size, fit) for picture in pictures]) for size, fit in views
    ]


def drawn_pictures(size: Size, count: int = 16, seed: int = 0) -> Pixels:
    """Pictures of coloured discs and bars on gradients (N, H, W, 3) uint8: for a round trip without photos."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(seed)
    width, height = size
    pictures = []
    for _ in range(count):
        corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        image = Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(image)
        for _ in range(rng.integers(0, 7)):
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            radius = int(rng.integers(3, max(4, height // 4)))
            skin, cloth = (tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(2))
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=skin)
            if rng.random() < 0.5:
                pen.rectangle((x - radius * 3 // 4, y, x + radius * 3 // 4, y + radius * 3 // 4), fill=cloth)
        noise = rng.normal(0, 6, (height, width, 3))
        pictures.append((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    return np.stack(pictures)


def compare(expected: Answers, found: Answers, tolerance: float, steady: NDArray[np.bool_] | None = None) -> RoundTrip:
    """How two answers for the same photos differ, over those that are ``steady`` (see :meth:`Source.expected`); labels
    count where the expected one is not a near tie. Raises :class:`ExportError` where no photo is steady."""
    if steady is not None and not steady.all():
        if not steady.any():
            raise ExportError(
                "not written: for every picture the majority hangs on a member that is undecided; give photos of people"
                " (--validate)"
            )
        expected, found = expected.rows(steady), found.rows(steady)
    four, theirs = (_four(answers) for answers in (expected, found))
    difference = np.abs(four - theirs)
    ranked = np.sort(four, 1)
    clear = ranked[:, -1] - ranked[:, -2] > 2 * min(tolerance, 1e-3)
    same = four.argmax(1) == theirs.argmax(1)
    heat = 0.0
    if expected.heat is not None and found.heat is not None:
        heat = float(np.abs(expected.heat - found.heat).max())
    labels = float(same[clear].mean()) if clear.any() else 1.0
    by_maps = expected.faces is not None and expected.heat is not None
    return RoundTrip(len(four), float(difference.max()), float(difference.mean()), labels, heat, by_maps)


def _four(answers: Answers) -> NDArray[np.float32]:
    """Probabilities of all, none, some, and of nobody where the model can tell."""
    if answers.nobody is None:
        return answers.probabilities
    return np.column_stack([answers.probabilities * (1 - answers.nobody[:, None]), answers.nobody])


def _refuse(found: RoundTrip, precision: str, out: Path) -> None:
    most, others = PRECISIONS[precision]
    if not np.isfinite(found.off) or found.off > most or 1 - found.labels > others:
        what = "maps" if found.by_maps else "probabilities"
        raise ExportError(
            f"{out}: not written: over {found.photos} pictures its {what} differ from those of Keras by up to "
            f"{found.off:.2g} (allowed {most:g}), {1 - found.labels:.1%} of the labels do (allowed {others:.0%})"
        )


def _whole(out: Path, row: Export, written: list[Path]) -> Any:
    """A context with a temporary path; on success what was written there takes the place of ``out``."""
    import contextlib

    @contextlib.contextmanager
    def context() -> Iterator[Path]:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent) as folder:
            temporary = Path(folder) / out.name
            yield temporary
            if temporary.is_dir():
                if out.is_dir() and not (out / "allmasked.json").is_file() and any(out.iterdir()):
                    raise ConfigError(f"--out {out}: is a folder with other things in it; give a new one")
                shutil.rmtree(out, ignore_errors=True)
                temporary.replace(out)
                written.append(out)
                return
            for suffix in (*row.beside, row.suffix):
                part = temporary.with_suffix(suffix)
                with replacing(out.with_suffix(suffix)) as target:
                    shutil.move(part, target)
                written.append(out.with_suffix(suffix))

    return context()


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
