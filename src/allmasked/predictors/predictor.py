"""Answers: photos in, predictions out, in input order and constant memory.

Keras is imported by :func:`_open_run` only, the one door to it; everything else here works without it.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.config import TrainConfig
from allmasked.core.errors import ConfigError, PhotoError, RunError
from allmasked.core.runs import Run
from allmasked.core.types import CLASSES, Answers, Counting, InputSpec, Prediction, Predictor, Size
from allmasked.images import pixels as px
from allmasked.networks.reading import Calibration, read_maps
from allmasked.predictors import tiles as closer
from allmasked.predictors.devices import check_device
from allmasked.predictors.faces import prediction_from, prediction_of
from allmasked.predictors.onnx_model import DEFAULT, OnnxPredictor
from allmasked.predictors.views import counting_on_photo, on_photo, read_views

if TYPE_CHECKING:
    import keras


TRUST = "ALLMASKED_TRUST"
"""Environment variable: 1 lets models be opened that are programs."""


def open_predictor(model: str | Path | None = None, *, threads: int | None = None, device: str = "auto") -> Predictor:
    """What answers, from where it lies.

    Args:
        model: a file of ``allmasked export``, a run folder of ``allmasked train``, or an ensemble's folder; None for
            the model that ships.
        threads: processors for an exported file to use; all by default.
        device: what computes, one of :data:`allmasked.predictors.devices.DEVICES`.

    Raises:
        RunError: no such file or folder, not one of ours, its training is not finished, or it can't be loaded.
        ConfigError: the device is not there.
        MissingExtraError: what opens it is not installed (Keras for a run folder).
    """
    check_device(device)
    if model is None:
        if not DEFAULT.is_file():
            way_out = "train one (allmasked train DATA --out RUN) and give --model RUN"
            raise RunError(f"no model came with this installation; {way_out}")
        return OnnxPredictor.open(DEFAULT, threads=threads, device=device)
    path = Path(model)
    if path.suffix == ".onnx":
        return OnnxPredictor.open(path, threads=threads, device=device)
    if path.suffix in (".xml", ".tflite") or (path / "saved_model.pb").is_file():
        return _open_engine(path, threads, device)
    if path.is_file():
        raise RunError(f"{path}: is no model; give a run folder of 'allmasked train' or a file of 'allmasked export'")
    if not path.exists():
        raise RunError(f"{path}: no such run folder; make one with 'allmasked train'")
    run = Run(path).require_finished()
    if not run.is_ensemble:
        return _open_run(run, device)
    from allmasked.predictors.ensemble import open_ensemble

    return open_ensemble(run, lambda folder: open_predictor(folder, threads=threads, device=device))


def _open_engine(path: Path, threads: int | None, device: str) -> Predictor:
    from allmasked.predictors import engines

    if (path / "saved_model.pb").is_file() and os.environ.get(TRUST) != "1":
        raise RunError(
            f"{path}: is a SavedModel, a program that can read and write your files; if you trust who made it: "
            f"'allmasked --trust ...' (or {TRUST}=1), else ask for its ONNX file"
        )
    if path.suffix == ".xml":
        return engines.OpenvinoPredictor.open(path, threads=threads, device=device)
    if device not in ("auto", "cpu"):
        raise ConfigError(f"{path}: is computed by the CPU here; leave out the device {device!r}, or give a .onnx file")
    if path.suffix == ".tflite":
        return engines.LitertPredictor.open(path, threads=threads)
    return engines.SavedModelPredictor.open(path)


def filled_up(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """A batch (N, ...), N > 0, with zeros up to a power of two, so that a network is compiled for few shapes."""
    batch = np.zeros((1 << (len(pixels) - 1).bit_length(), *pixels.shape[1:]), np.float32)
    batch[: len(pixels)] = pixels
    return batch


@dataclass
class KerasPredictor(Predictor):
    """A Keras model that answers.

    ``model`` takes (N, height, width, 3) float32 RGB 0-255 and gives (N, 3) probabilities; ``whole`` is the same with
    the head's further outputs, see :mod:`allmasked.networks.model`. ``device`` is Keras' name of what computes; what
    Keras takes by itself when empty.
    """

    name: str
    input: InputSpec
    model: keras.Model
    whole: keras.Model
    device: str = ""

    @property
    def finds_faces(self) -> bool:
        return self.whole is not self.model

    @property
    def network(self) -> Any:
        return self.model

    @cached_property
    def _calibration(self) -> Calibration:
        from allmasked.networks import model as models

        calibration = models.calibration_of(self.whole)
        assert calibration is not None
        return calibration

    def answer(self, pixels: NDArray[np.uint8]) -> Answers:
        """All that the model can tell of pixels (N, H, W, 3) uint8 RGB."""
        count = len(pixels)
        if count == 0:
            return Answers(np.zeros((0, len(CLASSES)), np.float32))
        from allmasked.networks import model as models

        with models.on_device(self.device):
            found = self.whole.predict_on_batch(filled_up(pixels))
        said = np.asarray(found if self.whole is self.model else found["maps"], np.float32)[:count]
        if not np.isfinite(said).all():
            raise RunError(f"{self.name}: the model's answers are no numbers, its training has failed; train it again")
        if self.whole is self.model:
            return Answers(said)
        return read_maps(said, self.input.size, self._calibration)


def _open_run(run: Run, device: str = "auto") -> KerasPredictor:
    from allmasked.networks import model as models

    config = TrainConfig.read(run.config)
    where = models.device_named(device)
    with models.on_device(where):
        whole = models.load(run.model)
    model = models.classifier(whole)
    spec = config.recipe.input
    width, height = spec.size
    if tuple(model.input_shape[1:]) != (height, width, 3) or model.output_shape[-1] != len(CLASSES):
        raise RunError(f"{run.folder}: model.keras and config.json do not fit each other; train again")
    return KerasPredictor(run.name, spec, model, whole, where)


@dataclass(frozen=True, eq=False)
class Answered:
    """The answer for a photo, and what is needed to draw it.

    Attributes:
        prediction: with the error where the photo can't be read.
        photo: what was given.
        photo_px: the upright photo's width and height; (0, 0) where it can't be read.
        input: the network's.
        evidence: (h, w, 2) 0-1 over that input, "masked here" and "bare here"; None where the network can't tell.
    """

    prediction: Prediction
    photo: px.PhotoLike
    photo_px: Size
    input: InputSpec
    evidence: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Look:
    """How closely to look, and at what.

    Attributes:
        min_face_px: a face less high than this, in px of the photo, is too small to be judged.
        min_face_share: one lower than this share of the highest face is far behind; both by the model's rule if None.
        tiles: at which photos to look again, closer, one of :data:`allmasked.predictors.tiles.TILES`.
    """

    min_face_px: float | None = None
    min_face_share: float | None = None
    tiles: str = "never"

    def counting(self, own: Counting, photo: Size, spec: InputSpec) -> Counting:
        """Which faces of a photo count, in its px; ``own`` is the model's rule."""
        own = counting_on_photo(own, photo, spec)
        given = {"min_face_px": self.min_face_px, "min_face_share": self.min_face_share}
        return replace(own, **{name: value for name, value in given.items() if value is not None})


def predict_paths(
    predictor: Predictor,
    photos: Iterable[tuple[str, px.PhotoLike | PhotoError]],
    *,
    batch_size: int = 32,
    threads: int | None = None,
    look: Look = Look(),
) -> Iterator[Prediction]:
    """Answer for any number of photos, in input order; a photo that can't be read gets a Prediction with its error.

    Args:
        predictor: see :func:`open_predictor`.
        photos: (name, photo) pairs, or the error where there is no photo; consumed as needed.
        batch_size: photos given to the network at once; probabilities don't depend on it (up to rounding, about 1e-6).
        threads: threads that decode meanwhile; by default one a processor.
        look: how closely.

    Raises:
        ConfigError: ``look`` asks for what a network that finds no faces can't do.
    """
    for answered in answer_paths(predictor, photos, batch_size=batch_size, threads=threads, look=look):
        yield answered.prediction


def answer_paths(
    predictor: Predictor,
    photos: Iterable[tuple[str, px.PhotoLike | PhotoError]],
    *,
    batch_size: int = 32,
    threads: int | None = None,
    look: Look = Look(),
) -> Iterator[Answered]:
    """As :func:`predict_paths`, with what is needed to draw the answers. What cannot be is told at once, before the
    first photo. Each photo is decoded once, unless it is looked at more closely."""
    check_look(predictor, look)
    return _answer(predictor, photos, batch_size, threads, look)


def check_look(predictor: Predictor, look: Look) -> None:
    """Raise :class:`ConfigError` where a predictor can't look so."""
    if look.tiles not in closer.TILES:
        raise ConfigError(f"tiles {look.tiles!r}: must be one of {', '.join(closer.TILES)}")
    if look.min_face_px is not None and not 0 <= look.min_face_px < math.inf:
        raise ConfigError(f"min_face_px = {look.min_face_px!r}: must be a number of px from 0")
    if look.min_face_share is not None and not 0 <= look.min_face_share <= 1:
        raise ConfigError(f"min_face_share = {look.min_face_share!r}: must be from 0 to 1")
    if not predictor.finds_faces:
        if look.min_face_px is not None or look.min_face_share is not None:
            why = "so none can be left out by their size (--min-face-px)"
            raise ConfigError(f"{predictor.name}: finds no faces, {why}")
        if look.tiles != "never":
            raise ConfigError(f"{predictor.name}: finds no faces, so a closer look at parts is of no use (--tiles)")
    if look.tiles != "never" and not predictor.looks_closer:
        raise ConfigError(f"{predictor.name}: is an ensemble, which can't look closer (--tiles)")


def _answer(
    predictor: Predictor,
    photos: Iterable[tuple[str, px.PhotoLike | PhotoError]],
    batch_size: int,
    threads: int | None,
    look: Look,
) -> Iterator[Answered]:
    spec, views = predictor.input, predictor.views

    def read(
        photo: px.PhotoLike | PhotoError, name: str
    ) -> tuple[px.PhotoLike, Size, tuple[NDArray[np.uint8], ...] | PhotoError]:
        if isinstance(photo, PhotoError):
            raise photo
        try:
            return photo, *read_views(views, photo, name)
        except PhotoError as error:
            return photo, (0, 0), error

    for batch in px.decode_batches(photos, read, batch_size=batch_size, threads=threads):
        found = [(name, *(("", (0, 0), one) if isinstance(one, PhotoError) else one)) for name, one in batch]
        if good := [arrays for *_, arrays in found if not isinstance(arrays, PhotoError)]:
            answers = predictor.answer_views([np.stack(view) for view in zip(*good)])
        row = 0
        for name, photo, photo_px, arrays in found:
            if isinstance(arrays, PhotoError):
                yield Answered(Prediction(name, None, None, arrays.reason), photo, photo_px, spec)
                continue
            prediction = prediction_of(name, answers, row, photo_px, spec, look.counting)
            if answers.faces is not None and closer.wanted(prediction, look.tiles):
                with contextlib.suppress(PhotoError):  # gone since the first look, which then has to do
                    image = px.decode(photo, name=name, fit_within=closer.decoded_size(spec.size))
                    first = on_photo(answers.faces[row], photo_px, spec)
                    seen = closer.look_closer(predictor, image, photo_px, first)
                    nearer = replace(answers.counting, min_face_px=answers.counting.min_face_px * closer.SHARE)
                    counting = look.counting(nearer, photo_px, spec)  # parts show faces larger
                    prediction = prediction_from(name, seen, counting, photo=photo_px)
            evidence = None if answers.evidence is None else answers.evidence[row]
            yield Answered(prediction, photo, photo_px, spec, evidence)
            row += 1
