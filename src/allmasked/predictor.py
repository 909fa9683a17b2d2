"""Answers: photos in, predictions out, in input order and constant memory.

Keras is imported by :func:`_open_run` only, the one door to it; everything else here works without it.
"""

from __future__ import annotations

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
from allmasked.config import TrainConfig
from allmasked.errors import RunError
from allmasked.evidence import boxes_of
from allmasked.runs import Run
from allmasked.types import CLASSES, Answers, Prediction, Predictor, Size

if TYPE_CHECKING:
    import keras


def open_predictor(model: str | Path) -> Predictor:
    """What answers, from where it lies: a run folder made by ``allmasked train``, or an ensemble's folder.

    Raises:
        RunError: no such folder, not a run folder, its training is not finished, or its model can't be loaded.
        MissingExtraError: Keras is not installed.
    """
    path = Path(model)
    if path.is_file():
        raise RunError(f"{path}: is a file; give the run folder that 'allmasked train --out' made")
    if not path.exists():
        raise RunError(f"{path}: no such run folder; make one with 'allmasked train'")
    run = Run(path).require_finished()
    return ensembles.open_ensemble(run, open_predictor) if run.is_ensemble else _open_run(run)


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
    absent = 1 / (1 + np.exp(np.clip(presence, -50, 50)))
    heat = 1 / (1 + np.exp(-np.clip(maps[..., :2], -50, 50)))
    return Answers(probabilities, absent.prod(1), heat, boxes_of(maps[..., 2:6], size))


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


def predict_paths(
    predictor: Predictor,
    photos: Iterable[tuple[str, str | Path]],
    *,
    batch_size: int = 32,
    threads: int | None = None,
) -> Iterator[Prediction]:
    """Answer for any number of photos, in input order; a photo that can't be read gets a Prediction with its error.

    Args:
        predictor: see :func:`open_predictor`.
        photos: (name, path) pairs; consumed as needed.
        batch_size: photos a step of the network; probabilities don't depend on it (up to rounding, about 1e-6).
        threads: threads that decode meanwhile; by default one a processor.
    """
    if isinstance(predictor, ensembles.EnsemblePredictor):
        yield from ensembles.predict_paths(predictor, photos, batch_size=batch_size, threads=threads)
        return
    batches = px.read_batches(photos, predictor.size, predictor.fit, batch_size=batch_size, threads=threads)
    for batch in batches:
        good = [array for _, array in batch if not isinstance(array, Exception)]
        rows = iter(predictor.predict(np.stack(good)) if good else np.zeros((0, len(CLASSES)), np.float32))
        for name, array in batch:
            if isinstance(array, Exception):
                yield Prediction(name, None, None, array.reason)
            else:
                row = next(rows)
                p_all, p_none, p_some = (float(value) for value in row)
                yield Prediction(name, CLASSES[int(row.argmax())], (p_all, p_none, p_some))


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
