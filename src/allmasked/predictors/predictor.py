"""Answers: photos in, predictions out, in input order and constant memory.

Keras is imported by :func:`_open_run` only, the one door to it; everything else here works without it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from allmasked.core.config import TrainConfig
from allmasked.core.errors import ConfigError, PhotoError, RunError
from allmasked.core.runs import Run
from allmasked.core.types import CLASSES, Answers, Counting, Prediction, Predictor, Size
from allmasked.images import pixels as px
from allmasked.networks.reading import Calibration, read_maps
from allmasked.predictors import ensemble as ensembles
from allmasked.predictors import tiles as closer
from allmasked.predictors.faces import counting_on_photo, on_photo, prediction_from, prediction_of
from allmasked.predictors.onnx_model import DEFAULT, OnnxPredictor

if TYPE_CHECKING:
    import keras


TRUST = "ALLMASKED_TRUST"
"""Environment variable: 1 lets models be opened that are programs."""


def open_predictor(model: str | Path | None = None, *, threads: int | None = None) -> Predictor:
    """What answers, from where it lies.

    Args:
        model: a file of ``allmasked export``, a run folder of ``allmasked train``, or an ensemble's folder; None for
            the model that ships.
        threads: processors for an exported file to use; all by default.

    Raises:
        RunError: no such file or folder, not one of ours, its training is not finished, or it can't be loaded.
        MissingExtraError: what opens it is not installed (Keras for a run folder).
    """
    if model is None:
        if not DEFAULT.is_file():
            raise RunError(
                "no model came with this installation; train one (allmasked train DATA --out RUN) and give --model RUN"
            )
        return OnnxPredictor.open(DEFAULT, threads=threads)
    path = Path(model)
    if path.suffix == ".onnx":
        return OnnxPredictor.open(path, threads=threads)
    if path.suffix in (".xml", ".tflite") or (path / "saved_model.pb").is_file():
        return _open_engine(path)
    if path.is_file():
        raise RunError(f"{path}: is no model; give a run folder of 'allmasked train' or a file of 'allmasked export'")
    if not path.exists():
        raise RunError(f"{path}: no such run folder; make one with 'allmasked train'")
    run = Run(path).require_finished()
    return ensembles.open_ensemble(run, open_predictor) if run.is_ensemble else _open_run(run)


def _open_engine(path: Path) -> Predictor:
    from allmasked.predictors import engines

    if (path / "saved_model.pb").is_file() and os.environ.get(TRUST) != "1":
        raise RunError(
            f"{path}: is a SavedModel, a program that can read and write your files; if you trust who made it: "
            f"'allmasked --trust ...' (or {TRUST}=1), else ask for its ONNX file"
        )
    if path.suffix == ".xml":
        return engines.OpenvinoPredictor.open(path)
    return engines.LitertPredictor.open(path) if path.suffix == ".tflite" else engines.SavedModelPredictor.open(path)


@dataclass
class KerasPredictor:
    """A Keras model that answers (:class:`allmasked.core.types.Predictor`).

    ``model`` takes (N, height, width, 3) float32 RGB 0-255 and gives (N, 3) probabilities; ``whole`` is the same with
    the head's further outputs, see :mod:`allmasked.networks.model`.
    """

    name: str
    size: Size
    fit: Literal["letterbox", "squash"]
    model: keras.Model
    whole: keras.Model

    @property
    def finds_faces(self) -> bool:
        return self.whole is not self.model

    @cached_property
    def _calibration(self) -> Calibration:
        from allmasked.networks import model as models

        calibration = models.calibration_of(self.whole)
        assert calibration is not None
        return calibration

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, 3) float32 for pixels (N, H, W, 3) uint8 RGB."""
        return self.answer(pixels).probabilities

    def answer(self, pixels: NDArray[np.uint8]) -> Answers:
        """All that the model can tell of pixels (N, H, W, 3) uint8 RGB.

        Batches are filled up to a power of two, so that the network is compiled for few shapes.
        """
        count = len(pixels)
        if count == 0:
            return Answers(np.zeros((0, len(CLASSES)), np.float32))
        batch = np.zeros((1 << (count - 1).bit_length(), *pixels.shape[1:]), np.float32)
        batch[:count] = pixels
        if self.whole is self.model:
            return Answers(np.asarray(self.model.predict_on_batch(batch), np.float32)[:count])
        maps = np.asarray(self.whole.predict_on_batch(batch)["maps"], np.float32)[:count]
        return read_maps(maps, self.size, self._calibration)


def _open_run(run: Run) -> KerasPredictor:
    from allmasked.networks import model as models

    config = TrainConfig.read(run.config)
    whole = models.load(run.model)
    model = models.classifier(whole)
    width, height = config.recipe.size
    if tuple(model.input_shape[1:]) != (height, width, 3) or model.output_shape[-1] != len(CLASSES):
        raise RunError(f"{run.folder}: model.keras and config.json do not fit each other; train again")
    fit: Literal["letterbox", "squash"] = "squash" if config.recipe.fit == "squash" else "letterbox"
    return KerasPredictor(run.name, config.recipe.size, fit, model, whole)


@dataclass(frozen=True)
class Answered:
    """The answer for a photo, and what is drawn of it: ``heat`` (h, w, 2) 0-1 over the network's input, "masked here"
    and "bare here"; None where the photo can't be read, or the network can't tell."""

    prediction: Prediction
    path: str | Path
    heat: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Look:
    """How closely to look, and at what.

    Attributes:
        min_face_px: a face lower than this, in px of the photo, is too small to be judged.
        min_face_share: one lower than this share of the highest face is far behind; both by the model's rule if None.
        tiles: at which photos to look again, closer, one of :data:`allmasked.predictors.tiles.TILES`.
    """

    min_face_px: float | None = None
    min_face_share: float | None = None
    tiles: str = "never"

    def counting(self, own: Counting, photo: Size, size: Size, fit: px.Fit) -> Counting:
        """Which faces of a photo count, in its px; ``own`` is the model's rule."""
        own = counting_on_photo(own, photo, size, fit)
        given = {"min_face_px": self.min_face_px, "min_face_share": self.min_face_share}
        return replace(own, **{name: value for name, value in given.items() if value is not None})


def predict_paths(
    predictor: Predictor,
    photos: Iterable[tuple[str, str | Path]],
    *,
    batch_size: int = 32,
    threads: int | None = None,
    look: Look = Look(),
) -> Iterator[Prediction]:
    """Answer for any number of photos, in input order; a photo that can't be read gets a Prediction with its error.

    Args:
        predictor: see :func:`open_predictor`.
        photos: (name, path) pairs; consumed as needed.
        batch_size: photos a step of the network; probabilities don't depend on it (up to rounding, about 1e-6).
        threads: threads that decode meanwhile; by default one a processor.
        look: how closely.

    Raises:
        ConfigError: ``look`` asks for what a network that finds no faces can't do.
    """
    for answered in answer_paths(predictor, photos, batch_size=batch_size, threads=threads, look=look):
        yield answered.prediction


def answer_paths(
    predictor: Predictor,
    photos: Iterable[tuple[str, str | Path]],
    *,
    batch_size: int = 32,
    threads: int | None = None,
    look: Look = Look(),
) -> Iterator[Answered]:
    """As :func:`predict_paths`, with the evidence maps (of the whole photo). What cannot be is told at once, before the
    first photo."""
    if look.tiles not in closer.TILES:
        raise ConfigError(f"tiles {look.tiles!r}: must be one of {', '.join(closer.TILES)}")
    if not predictor.finds_faces:
        if look.min_face_px is not None or look.min_face_share is not None:
            raise ConfigError(f"{predictor.name}: finds no faces, so none can be left out by their size (--min-face)")
        if look.tiles != "never":
            raise ConfigError(f"{predictor.name}: finds no faces, so a closer look at parts is of no use (--tiles)")
    if isinstance(predictor, ensembles.Viewer) and predictor.apart:
        if look.tiles != "never":
            raise ConfigError(f"{predictor.name}: is an ensemble, which can't look closer (--tiles)")
        found = ensembles.predict_paths(predictor, photos, batch_size=batch_size, threads=threads, rule=look.counting)
        return (Answered(one, one.path) for one in found)
    return _answer(predictor, photos, batch_size, threads, look)


def _answer(
    predictor: Predictor, photos: Iterable[tuple[str, str | Path]], batch_size: int, threads: int | None, look: Look
) -> Iterator[Answered]:
    size, fit = predictor.size, predictor.fit

    def read(path: str | Path, name: str) -> tuple[str | Path, Size, NDArray[np.uint8]]:
        array = px.read(path, size, fit, name=name)
        try:
            return path, px.upright_size(Path(path)), array
        except Exception:  # gone meanwhile, or a header that only the decoder forgave
            raise PhotoError(name, "its size cannot be read") from None

    for batch in px.decode_batches(photos, read, batch_size=batch_size, threads=threads):
        good = [one for _, one in batch if not isinstance(one, PhotoError)]
        if good:
            answers = predictor.answer(np.stack([array for _, _, array in good]))
        row = 0
        for name, one in batch:
            if isinstance(one, PhotoError):
                yield Answered(Prediction(name, None, None, one.reason), "")
                continue
            path, photo, _ = one
            counting = look.counting(answers.counting, photo, size, fit)
            prediction = prediction_of(name, answers, row, photo, size, fit, counting)
            if answers.faces is not None and closer.wanted(prediction, look.tiles):
                with contextlib.suppress(PhotoError):  # gone since the first look, which then has to do
                    image = px.decode(path, name=name, fit_within=closer.decoded_size(size))
                    first = on_photo(answers.faces[row], photo, size, fit)
                    found = closer.look_closer(predictor, image, photo, first)
                    nearer = replace(answers.counting, min_face_px=answers.counting.min_face_px * closer.SHARE)
                    counting = look.counting(nearer, photo, size, fit)  # parts show faces larger
                    prediction = prediction_from(name, found, counting, photo=photo)
            heat = answers.heat[row] if answers.heat is not None and answers.faces is not None else None
            yield Answered(prediction, path, heat)
            row += 1


def find_photos(paths: Iterable[str], *, patterns: bool = True) -> Iterator[tuple[str, str]]:
    """(name, path) of every photo that ``paths`` stand for; both are the path as found, relative if given so.

    A file stands for itself, whatever its name. A folder stands for the photos in it and in the folders below, in
    sorted order (by suffix, see :data:`allmasked.images.pixels.SUFFIXES`; hidden ones left out, no folder twice). A
    pattern (``*``, ``?``, ``[...]``, ``**``) that is no file's name stands for the photos and folders that it matches,
    unless ``patterns`` is off. What doesn't exist stands for itself too: reading it gives the error.
    """
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112  (a pathlib.Path would rewrite the name)
            yield from _photos_below(path, set())
        elif patterns and glob.has_magic(path) and not os.path.lexists(path):
            yield from _photos_matching(path)
        else:
            yield path, path


def _photos_matching(pattern: str) -> Iterator[tuple[str, str]]:
    parts = pattern.split("/")
    if "**" not in parts:
        for path in sorted(glob.glob(pattern)):  # noqa: PTH207
            if os.path.isdir(path):  # noqa: PTH112
                yield from _photos_below(path, set())
            elif _is_photo_name(path):
                yield path, path
        return
    # glob.glob follows "**" round and round where a link leads upwards
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base = "/".join(parts[:fixed]) or ("/" if fixed else "")
    for _, path in _photos_below(base or ".", set()):
        below = path[len(base or ".") :].lstrip("/")
        if _matches(below.split("/"), parts[fixed:]):
            path = path if base else below
            yield path, path


def _matches(names: list[str], parts: list[str]) -> bool:
    """Whether the parts of a path match those of a pattern, ``**`` standing for any number of them."""
    if not parts or not names:
        return not names and all(part == "**" for part in parts)
    if parts[0] == "**":
        return _matches(names, parts[1:]) or _matches(names[1:], parts)
    return fnmatch.fnmatchcase(names[0], parts[0]) and _matches(names[1:], parts[1:])


def _photos_below(folder: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    try:
        status = os.stat(folder)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:  # reached by another way before
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            found = sorted((entry.name, os.path.isdir(entry)) for entry in entries if not entry.name.startswith("."))  # noqa: PTH112
    except OSError:
        yield folder, folder  # reading it gives the error
        return
    for name, is_folder in found:
        path = os.path.join(folder, name)  # noqa: PTH118
        if not is_folder:
            if _is_photo_name(name):
                yield path, path
        elif not _leads_upwards(path):
            yield from _photos_below(path, seen)


def _leads_upwards(folder: str) -> bool:
    """Whether a folder is a link to one that it lies in."""
    if not os.path.islink(folder):  # noqa: PTH114
        return False
    here = os.path.realpath(os.path.dirname(folder))  # noqa: PTH120
    target = os.path.realpath(folder)
    return os.path.commonpath([here, target]) == target


def _is_photo_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in px.SUFFIXES  # noqa: PTH122
