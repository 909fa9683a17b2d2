"""Exported models that answer with NumPy and ONNX Runtime alone; what a file says about itself."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import ConfigError, RunError, require
from allmasked.core.plain import parse
from allmasked.core.renamed import WORDS
from allmasked.core.types import CLASSES, Answers, InputSpec, MemberFaces, Predictor, ResizeMode, Size
from allmasked.networks.reading import Calibration, read_maps
from allmasked.predictors.devices import DEVICES, processors, providers_for
from allmasked.predictors.views import on_one_view, resized

FORMAT = 2
DEFAULT = Path(__file__).parents[1] / "models" / "default.onnx"
"""The model that ships."""

MAX_SIDE = 16_384
"""Of a network's input in px, by what a file says: photos are made as large."""
MEMORY_MB = 160
_BYTES_A_PX = 200
"""Of the network at work, for each px of its input (EfficientNetLite0 in float32)."""


@dataclass(frozen=True)
class Metadata:
    """What an exported file says about itself.

    Attributes:
        size: width and height of the input in px.
        temperature: the logits are divided by it (Guo et al. 2017).
        calibration: of the faces, one for each output ``maps``: of the network, or of an ensemble's members; empty
            without maps.
        created_from: name of the run.
        precision: of the weights.
        views: size, resize mode of each input of an ensemble whose members see photos at different sizes, one of them
            ``size`` and ``fit``; empty where there is one input.
        members: names of an ensemble's members; ``member_views`` has the input of each, ``shares`` its part.
    """

    name: str
    size: Size
    fit: ResizeMode = "letterbox"
    backbone: str = ""
    head: str = ""
    classes: tuple[str, ...] = CLASSES
    temperature: float = 1.0
    calibration: tuple[Calibration, ...] = ()
    precision: str = "float32"
    version: str = ""
    created_from: str = ""
    views: tuple[InputSpec, ...] = ()
    members: tuple[str, ...] = ()
    member_views: tuple[InputSpec, ...] = ()
    shares: tuple[float, ...] = ()
    format: int = FORMAT

    def strings(self) -> dict[str, str]:
        """Every field as JSON, an input as (size, fit)."""
        values = dataclasses.asdict(self)
        for name in ("views", "member_views"):
            values[name] = [(spec["size"], spec["resize_mode"]) for spec in values[name]]
        return {name: json.dumps(value) for name, value in values.items()}

    @classmethod
    def parse(cls, strings: Mapping[str, str], origin: str | Path) -> Metadata:
        """From :meth:`strings`; raises :class:`RunError` naming ``origin``."""
        try:
            values = {name: json.loads(strings[name]) for name in cls.__dataclass_fields__ if name in strings}
            for name in ("views", "member_views"):
                given = values.get(name, ())
                values[name] = [{"size": size, "resize_mode": WORDS.get(fit, fit)} for size, fit in given]
            if "fit" in values:
                values["fit"] = WORDS.get(values["fit"], values["fit"])
            calibration = tuple(map(Calibration.parse, values.pop("calibration", ())))
            metadata = dataclasses.replace(parse(cls, values), calibration=calibration)
            sides = [side for spec in (metadata.input, *metadata.views, *metadata.member_views) for side in spec.size]
            if not all(0 < side <= MAX_SIDE for side in sides) or not 0 < metadata.temperature < float("inf"):
                raise ValueError
        except (TypeError, ValueError, RecursionError):
            raise RunError(f"{origin}: was not made by 'allmasked export' (it doesn't say what goes in)") from None
        if metadata.format > FORMAT:
            raise RunError(f"{origin}: needs a newer allmasked (its format is {metadata.format}, known is {FORMAT})")
        if metadata.format == 1 and strings.get("pooling", "{}") != "{}":
            raise RunError(f"{origin}: was made by an older allmasked that read its answer otherwise; export it again")
        if metadata.classes != CLASSES:
            raise RunError(f"{origin}: its classes are {', '.join(metadata.classes)}, not {', '.join(CLASSES)}")
        return metadata

    @property
    def input(self) -> InputSpec:
        return InputSpec(self.size, self.fit)

    def answers(self, outputs: Mapping[str, NDArray[Any]]) -> Answers:
        """The network's outputs, by name, calibrated."""
        if "maps" in outputs:
            return read_maps(outputs["maps"], self.size, self.calibration[0])
        probabilities = outputs["probabilities"]
        if self.temperature != 1:
            raised = np.maximum(probabilities, 1e-30) ** (1 / self.temperature)
            probabilities = raised / raised.sum(1, keepdims=True)
        return Answers(np.asarray(probabilities, np.float32), evidence=outputs.get("heat"), cam=outputs.get("cam"))


def input_names(count: int) -> list[str]:
    """What the inputs of an exported file are called."""
    return ["pixels", *(f"pixels_{number}" for number in range(2, count + 1))]


_MESSAGES: dict[str, dict[int, str]] = {
    # message of ONNX's format: its fields that may hold tensors -> their message
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def outside(path: Path) -> bool:
    """Whether an ONNX file names other files for its tensors, anywhere on the disk, that would be read with it.

    Such a tensor must name its file under ``location``: where that word is nowhere, there is none. True also for a
    file with that word that is not laid out as ONNX.
    """
    content = path.read_bytes()
    if b"location" not in content:
        return False
    waiting = [("model", 0, len(content))]
    try:
        while waiting:
            kind, at, end = waiting.pop()
            while at < end:
                key, at = _whole(content, at)
                number, wire = key >> 3, key & 7
                location = kind == "tensor" and number == _DATA_LOCATION  # 0: in this file
                if (kind == "tensor" and number == _EXTERNAL_DATA) or (location and (wire or _whole(content, at)[0])):
                    return True
                if wire == 2:
                    length, at = _whole(content, at)
                    if (inner := _MESSAGES[kind].get(number)) is not None:
                        waiting.append((inner, at, at + length))
                    at += length
                elif wire == 0:
                    at = _whole(content, at)[1]
                elif wire in (1, 5):
                    at += 8 if wire == 1 else 4
                else:
                    return True  # a layout that nobody writes any more
    except IndexError:
        return True
    return False


def _whole(content: bytes, at: int) -> tuple[int, int]:
    """A whole number in protobuf's layout, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
        if shift > 63:
            raise IndexError


@dataclass
class ExportedPredictor(Predictor):
    """An exported file that answers; the engine is in :meth:`run`."""

    metadata: Metadata
    name: str = field(init=False)
    input: InputSpec = field(init=False)

    def __post_init__(self) -> None:
        self.name, self.input = self.metadata.name, self.metadata.input

    @property
    def finds_faces(self) -> bool:
        return bool(self.metadata.calibration)

    @property
    def views(self) -> tuple[InputSpec, ...]:
        return self.metadata.views or (self.input,)

    @property
    def looks_closer(self) -> bool:
        """An ensemble's file doesn't."""
        return not self.metadata.members

    def run(self, *views: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """The network's outputs by name, uncalibrated, for pixels (N, H, W, 3) uint8 RGB, N > 0, for each input."""
        raise NotImplementedError

    def answer_views(self, views: Sequence[NDArray[np.uint8]]) -> Answers:
        if not len(views[0]):
            return Answers(np.zeros((0, len(CLASSES)), np.float32))
        outputs = self.run(*views)
        try:
            if not all(np.isfinite(values).all() for values in outputs.values()):
                raise ValueError
            answers = self._read(outputs)
            p = answers.probabilities
            if p.shape != (len(views[0]), len(CLASSES)) or not np.allclose(p.sum(1), 1, atol=0.01):
                raise ValueError
        except (KeyError, IndexError, TypeError, ValueError, AssertionError):
            raise RunError(f"{self.name}: the model gives no probabilities, it is damaged; export it again") from None
        return answers

    def _read(self, outputs: Mapping[str, NDArray[np.float32]]) -> Answers:
        """An answer out of the network's outputs."""
        if not self.metadata.members:
            return self.metadata.answers(outputs)
        if "nobody" not in outputs:
            return Answers(self.metadata.answers(outputs).probabilities, voted=True)
        members, heats = [], []
        for number, calibration in enumerate(self.metadata.calibration):
            view, share = self.metadata.member_views[number], self.metadata.shares[number]
            said = read_maps(outputs[f"maps_{number + 1}"], view.size, calibration)
            assert said.faces is not None and said.evidence is not None
            members.append(MemberFaces(view, share, calibration.counting, said.faces))
            heats.append(np.float32(share) * said.evidence)
        alike = len(self.views) == 1 and len({one.shape for one in heats}) == 1
        evidence = np.sum(heats, axis=0) if alike else None
        probabilities, nobody = outputs["probabilities"], outputs["nobody"][:, 0]
        return Answers(probabilities, nobody, evidence, voted=True, members=tuple(members))

    def answer(self, pixels: NDArray[np.uint8]) -> Answers:
        return on_one_view(self.answer_views(resized(pixels, self.input, self.views)), self.input.size)


def _failure(error: Exception, what: str) -> Exception:
    """What ONNX Runtime says, cut to one line: want of memory, which is no fault of the model, or ``what``."""
    if any(words in str(error) for words in ("bad_alloc", "bad allocation", "Failed to allocate memory")):
        return MemoryError("ONNX Runtime gets no more")
    return RunError(f"{what} ({(str(error).splitlines() or [type(error).__name__])[0][:200]})")


@dataclass
class OnnxPredictor(ExportedPredictor):
    """An ``.onnx`` file that answers.

    Photos run one by one, several at a time: convolutions scale worse over threads than photos do, and memory stays
    small. ``threads`` processors are used in all; fewer photos at a time, with more threads each, where the network's
    memory would pass :data:`MEMORY_MB`. On a graphics card (``batches``) a batch runs as a whole.
    """

    session: Any
    at_a_time: int = 1
    batches: bool = False

    @classmethod
    def open(cls, path: str | Path, *, threads: int | None = None, device: str = "auto") -> OnnxPredictor:
        """Open an exported file.

        Args:
            path: the file.
            threads: processors to use; by default all that this process may run on.
            device: what computes, one of :data:`allmasked.predictors.devices.DEVICES` or ``auto``.

        Raises:
            RunError: no such file, not an ONNX file, or not one of ours.
            ConfigError: the device is not there.
            MissingExtraError: ONNX Runtime is not installed.
        """
        runtime = require("onnxruntime", "export")
        path = Path(path)
        if not path.is_file():
            raise RunError(f"{path}: no such file; make one with 'allmasked export RUN --out {path.name}'")
        if outside(path):
            raise RunError(
                f"{path}: is refused: it is broken, or its numbers lie in other files, as 'allmasked export' never does"
            )
        threads = threads or processors()
        providers = providers_for(device, runtime.get_available_providers())
        try:
            session = cls._session(runtime, path, 1, providers)
            strings = session.get_modelmeta().custom_metadata_map
        except Exception as error:  # ONNX Runtime has an exception class for each of its codes, all of them private
            raise _failure(error, f"{path}: is not a model that ONNX Runtime can open") from None
        metadata = Metadata.parse(strings, path)
        used = session.get_providers()[0]
        if device != "auto" and used != providers[0]:  # ONNX Runtime has it, but the driver or a library is missing
            raise ConfigError(f"device {device!r}: ONNX Runtime can't use it here (no driver or card?); take 'cpu'")
        if used != DEVICES["cpu"][0]:
            return cls(metadata, session, batches=True)
        width, height = metadata.size
        at_a_time = max(1, min(threads, int(MEMORY_MB * 1e6 / (_BYTES_A_PX * width * height))))
        if threads // at_a_time > 1:
            session = cls._session(runtime, path, threads // at_a_time, providers)
        return cls(metadata, session, at_a_time)

    @staticmethod
    def _session(runtime: Any, path: Path, threads: int, providers: Sequence[str]) -> Any:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding needs the processors too
        fallback = len(providers) > 1  # else it prints a banner and tries the same again
        return runtime.InferenceSession(str(path), options, providers=list(providers), enable_fallback=fallback)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.at_a_time, thread_name_prefix="network")

    @cached_property
    def outputs(self) -> list[str]:
        """Names of what the network gives."""
        return [output.name for output in self.session.get_outputs()]

    def run(self, *views: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        names = input_names(len(views))
        if self.batches:
            return dict(zip(self.outputs, self._asked(dict(zip(names, views)))))

        def one(row: int) -> list[NDArray[np.float32]]:
            return self._asked({name: pixels[row : row + 1] for name, pixels in zip(names, views)})

        rows = range(len(views[0]))
        found = list(map(one, rows) if self.at_a_time == 1 or len(rows) == 1 else self._pool.map(one, rows))
        return {name: np.concatenate(values) for name, values in zip(self.outputs, zip(*found))}

    def _asked(self, given: Mapping[str, NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        try:
            found: list[NDArray[np.float32]] = self.session.run(self.outputs, given)
        except Exception as error:  # a class of its own for each code, as above
            raise _failure(error, f"{self.name}: the model can't be run") from None
        return found
