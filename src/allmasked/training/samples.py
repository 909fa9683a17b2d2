"""What a training step sees: photos from an import option, augmented by the recipe, with their labels and weights."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.config import Recipe
from allmasked.core.types import CLASSES, LABELS, Photo, Size
from allmasked.images import pixels as px
from allmasked.networks.evidence import map_targets, with_answer
from allmasked.training.augment import Sample, augment, mosaic
from allmasked.training.frames import cut_frame
from allmasked.training.loaders import Batch, Loader, Source


def class_weights(labels: NDArray[np.int32], power: float) -> NDArray[np.float32]:
    """Loss weight of each class, (1 / share) ** power, scaled so that the mean over ``labels`` is 1; nobody has 1."""
    labels = labels[labels < len(CLASSES)]
    share = np.maximum(np.bincount(labels, minlength=len(CLASSES)) / max(len(labels), 1), 1e-9)
    weights = np.where(share > 1e-8, share**-power, 0.0)
    return np.append(weights / weights[labels].mean(), 1.0).astype(np.float32)


def training_batches(
    source: Source,
    loader: Loader,
    recipe: Recipe,
    seed: int,
    epoch: int,
    pool: ThreadPoolExecutor,
    grid: Callable[[Size], Size] | None = None,
    frames: Source | None = None,
    soft: NDArray[np.float32] | None = None,
) -> Iterator[tuple[NDArray[Any], Any, Any]]:
    """One epoch of (pixels, labels, weights) as the import option gives them, augmented by the recipe.

    With ``grid``, which gives the head's maps in cells (width, height) for an input of a size, labels are targets of
    the maps (B, h, w, 13). With ``frames``, the photos at a larger size, frames are cut from them, and a share of the
    steps shows the photos whole, in halves of a batch where that is larger than a frame. With ``soft``, a teacher's
    answers (photos, 3), labels are (B, 6): the label, and the teacher's answer; of a crop or a mosaic the teacher has
    not answered, and the label stands for it. With both, ``soft`` is (photos, 4) and stands for the label.
    """
    natural = source.input.size[0] / frames.input.size[0] if frames else 1.0
    given = frames or source
    photos = source.photos("train")
    weights = class_weights(source.labels("train"), recipe.class_balance)
    epoch_seed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    with contextlib.redirect_stdout(io.StringIO()):  # Keras' directory functions print
        for step, batch in enumerate(loader.batches(given, "train", recipe.batch_size, epoch_seed)):
            whole = before = batch.labels if batch.labels.ndim == 1 else batch.labels.argmax(1)
            if grid and batch.indices is not None:
                whole = source.labels("train")[batch.indices]
            whole_photos, complete = False, np.ones(len(whole), bool)
            if grid or augments(recipe):
                samples = [_sample(batch, i, int(label), photos, given) for i, label in enumerate(whole)]
                whole_photos = bool(
                    frames and np.random.default_rng([seed, epoch, step]).random() < recipe.whole_frames
                )
                size = recipe.frame if frames and not whole_photos else source.input.size
                if frames or augments(recipe):
                    rngs = [np.random.default_rng([seed, epoch, step, i]) for i in range(len(samples))]
                    if frames:
                        cut = functools.partial(
                            cut_frame, frame=size, natural=natural, recipe=recipe, whole=whole_photos
                        )
                        changed = list(pool.map(cut, samples, rngs))
                    else:
                        changed = list(pool.map(lambda s, r: augment(s, recipe, r, empty=bool(grid)), samples, rngs))
                    samples = changed if whole_photos or not grid else _with_mosaics(changed, recipe, rngs)
                pixels = np.stack([sample.pixels for sample in samples])
                whole = np.array([sample.label for sample in samples], np.int32)
                complete = np.array([sample.complete for sample in samples])
            else:
                pixels = batch.pixels
            if grid:
                answers = np.eye(len(LABELS), dtype=np.float32)[whole]
                if soft is not None and batch.indices is not None:
                    same = complete & (whole == source.labels("train")[batch.indices])
                    answers = np.where(same[:, None], soft[batch.indices], answers)
                targets = [
                    with_answer(map_targets(sample.boxes, size, grid(size)), answer, weight)
                    for sample, answer, weight in zip(samples, answers, weights[whole])
                ]
                some = max(1, recipe.batch_size // 2) if size != recipe.frame and whole_photos else len(whole)
                for start in range(0, len(whole), some):
                    rows = slice(start, start + some)
                    ones = np.ones(len(whole[rows]), np.float32)
                    yield pixels[rows], np.stack(targets[rows]), ones
                continue
            labels = (
                whole.astype(np.int32) if loader.labels == "integer" else np.eye(len(CLASSES), dtype=np.float32)[whole]
            )
            if soft is not None and batch.indices is not None:
                taught = np.where((complete & (whole == before))[:, None], soft[batch.indices], labels)
                labels = np.concatenate([labels, taught], axis=1)
            yield pixels, labels, weights[whole]


def _with_mosaics(samples: list[Sample], recipe: Recipe, rngs: list[np.random.Generator]) -> list[Sample]:
    """The recipe's share of the samples replaced by mosaics of themselves and three others of the batch."""
    if recipe.mosaic == 0 or len(samples) < 4:
        return samples
    out = []
    for index, (sample, rng) in enumerate(zip(samples, rngs)):
        if rng.random() < recipe.mosaic:
            others = rng.choice([i for i in range(len(samples)) if i != index], 3, replace=False)
            sample = mosaic([sample, *(samples[i] for i in others)], rng)
        out.append(sample)
    return out


def augments(recipe: Recipe) -> bool:
    """Whether the recipe changes photos at all."""
    return bool(
        recipe.flip or recipe.rotate_degrees or recipe.zoom_out < 1 or recipe.zoom_in > 1 or recipe.subset_crops
        or recipe.shrink < 1 or recipe.colour or recipe.jpeg
    )  # fmt: skip


def _sample(batch: Batch, index: int, label: int, photos: tuple[Photo, ...], source: Source) -> Sample:
    pixels = np.asarray(batch.pixels[index], np.uint8)
    width, height = source.input.size
    if batch.indices is None:
        return Sample(pixels, label, (0, 0, width, height), None)
    photo = photos[int(batch.indices[index])]
    if not photo.width or not photo.height:
        return Sample(pixels, label, (0, 0, width, height), None)
    place = px.placement((photo.width, photo.height), source.input)
    boxes = None
    if photo.faces is not None:
        asked = {"masked": 1.0, "unknown": -1.0}
        rows = [
            (*place.box(face.left, face.top, face.right, face.bottom), asked.get(face.wear, 0.0))
            for face in photo.faces
        ]
        boxes = np.array(rows, np.float32).reshape(-1, 5)
    return Sample(pixels, label, place.box(0, 0, photo.width, photo.height), boxes)
