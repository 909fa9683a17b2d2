"""Answers: photos in, predictions out, in input order and constant memory.

Keras is imported by :func:`_open_run` only, the one door to it; everything else here works without it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from allmasked import ensemble as ensembles
from allmasked import pixels as px
from allmasked import tiles as closer
from allmasked.config import TrainConfig
from allmasked.errors import ConfigError, PhotoError, RunError
from allmasked.evidence import SCORE, boxes_of
from allmasked.faces import Pooling, nobody_of, pooling_of, prediction_of, without_small_faces
from allmasked.onnx_model import DEFAULT, OnnxPredictor
from allmasked.runs import Run
from allmasked.types import CLASSES, Answers, Prediction, Predictor, Size

if TYPE_CHECKING:
    import keras


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
    from allmasked import engines

    if path.suffix == ".xml":
        return engines.OpenvinoPredictor.open(path)
    return engines.LitertPredictor.open(path) if path.suffix == ".tflite" else engines.SavedModelPredictor.open(path)


@dataclass
class KerasPredictor:
    """A Keras model that answers (:class:`allmasked.types.Predictor`).

    ``model`` takes (N, height, width, 3) float32 RGB 0-255 and gives (N, 3) probabilities; ``whole`` is the same with
    the head's further outputs, see :mod:`allmasked.model`.
    """

    name: str
    size: Size
    fit: Literal["letterbox", "squash"]
    model: keras.Model
    whole: keras.Model

    @property
    def pooling(self) -> Pooling | None:
        """How its maps are pooled; None without maps."""
        return pooling_of(self.whole.get_layer("presence")) if self.whole is not self.model else None

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
        outputs = {name: np.asarray(value, np.float32)[:count] for name, value in
                   self.whole.predict_on_batch(batch).items()}  # fmt: skip
        return answers_of(outputs["probabilities"], outputs["presence"], outputs["maps"], self.size)


def answers_of(
    probabilities: NDArray[np.float32], presence: NDArray[np.float32], maps: NDArray[np.float32], size: Size
) -> Answers:
    """The outputs of a head with maps (see :class:`allmasked.heads.Head`) as Answers."""
    heat = 1 / (1 + np.exp(-np.clip(maps[..., :2], -50, 50)))
    return Answers(probabilities, nobody_of(presence), heat.astype(np.float32), boxes_of(maps[..., 2:6], size))


def _open_run(run: Run) -> KerasPredictor:
    from allmasked import model as models

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


def predict_paths(
    predictor: Predictor,
    photos: Iterable[tuple[str, str | Path]],
    *,
    batch_size: int = 32,
    threads: int | None = None,
    min_face_px: float = 0,
    tiles: str = "never",
) -> Iterator[Prediction]:
    """Answer for any number of photos, in input order; a photo that can't be read gets a Prediction with its error.

    Args:
        predictor: see :func:`open_predictor`.
        photos: (name, path) pairs; consumed as needed.
        batch_size: photos a step of the network; probabilities don't depend on it (up to rounding, about 1e-6).
        threads: threads that decode meanwhile; by default one a processor.
        min_face_px: faces lower than this in the photo don't count, see :func:`allmasked.faces.without_small_faces`.
        tiles: at which photos to look again, closer, one of :data:`allmasked.tiles.TILES`.

    Raises:
        ConfigError: ``min_face_px`` or ``tiles`` for a network that finds no faces.
    """
    found = answer_paths(
        predictor, photos, batch_size=batch_size, threads=threads, min_face_px=min_face_px, tiles=tiles
    )
    for answered in found:
        yield answered.prediction


def answer_paths(
    predictor: Predictor,
    photos: Iterable[tuple[str, str | Path]],
    *,
    batch_size: int = 32,
    threads: int | None = None,
    min_face_px: float = 0,
    tiles: str = "never",
) -> Iterator[Answered]:
    """As :func:`predict_paths`, with the evidence maps (of the whole photo). What cannot be is told at once, before the
    first photo."""
    if getattr(predictor, "pooling", None) is None:
        if min_face_px:
            raise ConfigError(f"{predictor.name}: finds no faces, so none can be left out by their size (--min-face)")
        if tiles != "never":
            raise ConfigError(f"{predictor.name}: finds no faces, so a closer look at parts is of no use (--tiles)")
    if tiles not in closer.TILES:
        raise ConfigError(f"tiles {tiles!r}: must be one of {', '.join(closer.TILES)}")
    return _answer(predictor, photos, batch_size, threads, min_face_px, tiles)


def _answer(
    predictor: Predictor,
    photos: Iterable[tuple[str, str | Path]],
    batch_size: int,
    threads: int | None,
    min_face_px: float,
    tiles: str,
) -> Iterator[Answered]:
    size, fit = predictor.size, predictor.fit
    pooling: Pooling | None = getattr(predictor, "pooling", None)
    score: float = getattr(predictor, "face_score", SCORE)
    if isinstance(predictor, ensembles.Viewer) and predictor.apart:
        for found in ensembles.predict_paths(predictor, photos, batch_size=batch_size, threads=threads):
            yield Answered(found, found.path)
        return

    def read(path: str | Path, name: str) -> tuple[str | Path, Size, NDArray[np.uint8]]:
        array = px.read(path, size, fit, name=name)
        try:
            return path, px.upright_size(Path(path)), array
        except Exception:  # gone meanwhile, or a header that only the decoder forgave
            raise PhotoError(name, "its size cannot be read") from None

    for batch in px.decode_batches(photos, read, batch_size=batch_size, threads=threads):
        good = [one for _, one in batch if not isinstance(one, PhotoError)]
        answers = Answers(np.zeros((0, len(CLASSES)), np.float32))
        if good:
            answers = predictor.answer(np.stack([array for _, _, array in good]))
        lowest = [min_face_px * px.placement(photo, size, fit).scale_y for _, photo, _ in good]
        if good and min_face_px and pooling is not None and answers.boxes is not None:
            answers = without_small_faces(answers, pooling, np.array(lowest))
        again = closer.wanted(answers, tiles) if good and tiles != "never" else np.zeros(len(good), bool)
        presence = closer.presence_of(answers) if again.any() else None
        row = 0
        for name, one in batch:
            if isinstance(one, PhotoError):
                yield Answered(Prediction(name, None, None, one.reason), "")
                continue
            path, photo, _ = one
            prediction = prediction_of(name, answers, row, photo, size, fit, score, lowest[row])
            if presence is not None and pooling is not None and again[row]:
                with contextlib.suppress(PhotoError):  # gone since the first look, which then has to do
                    image = px.decode(path, name=name, fit_within=closer.decoded_size(size))
                    prediction = closer.look_closer(
                        predictor, image, photo, prediction, presence[row], pooling, score, min_face_px
                    )
            heat = answers.heat[row] if answers.heat is not None and answers.nobody is not None else None
            yield Answered(prediction, path, heat)
            row += 1


def find_photos(paths: Iterable[str], *, patterns: bool = True) -> Iterator[tuple[str, str]]:
    """(name, path) of every photo that ``paths`` stand for; both are the path as found, relative if given so.

    A file stands for itself, whatever its name. A folder stands for the photos in it and in the folders below, in
    sorted order (by suffix, see :data:`allmasked.pixels.SUFFIXES`; hidden ones left out, no folder twice). A pattern
    (``*``, ``?``, ``[...]``, ``**``) that is no file's name stands for the photos and folders that it matches, unless
    ``patterns`` is off. What doesn't exist stands for itself too: reading it gives the error.
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
