"""What a head learns, a row of :data:`TASKS` each: the samples of a step, their targets, the loss, the validation.

:class:`LabelTask` is for heads that give probabilities, :class:`FacesTask` for those that give maps of faces.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.config import Recipe
from allmasked.core.types import CLASSES, LABELS, Size
from allmasked.images import pixels as px
from allmasked.networks.evidence import map_targets, with_answer
from allmasked.networks.losses import answer_accuracy, faces_loss, label_loss
from allmasked.networks.reading import read_maps
from allmasked.predictors.calibrating import LEAST, fit, peaks_of
from allmasked.training.augment import Sample, augment, mosaic
from allmasked.training.frames import cut_frame
from allmasked.training.loaders import Batch, Loader, Source
from allmasked.training.teacher import Teacher
from allmasked.training.teacher import accuracy as teacher_accuracy

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float32]
Step = tuple[NDArray[Any], NDArray[Any], Floats]
"""Pixels (B, H, W, 3), targets (B, ...) and weights (B,) of a step."""
Grid = Callable[[Size], Size]
"""Width and height of a head's maps, in cells, for an input of so many px."""


def class_weights(labels: NDArray[np.int32], power: float) -> Floats:
    """Loss weight of each class, (1 / share) ** power, scaled so that the mean over ``labels`` is 1; nobody has 1."""
    labels = labels[labels < len(CLASSES)]
    share = np.maximum(np.bincount(labels, minlength=len(CLASSES)) / max(len(labels), 1), 1e-9)
    weights = np.where(share > 1e-8, share**-power, 0.0)
    return np.append(weights / weights[labels].mean(), 1.0).astype(np.float32)


@dataclass
class Task(abc.ABC):
    """What is to be learnt from the photos of ``source`` as a data loader gives them.

    Attributes:
        recipe: how photos are augmented, among others.
        seed: with the epoch and the step, all randomness comes from it.
        teacher: whose answers are learnt, too.
        soft: those answers, a row a training photo; the teacher's own when None.
        frames: the photos at a larger size, which frames are cut from; None to train on whole photos.
    """

    source: Source
    loader: Loader
    recipe: Recipe
    seed: int = 0
    teacher: Teacher | None = None
    soft: Floats | None = None
    frames: Source | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.photos, self.labels = self.source.photos("train"), self.source.labels("train")
        self.weights = class_weights(self.labels, self.recipe.class_balance)
        if self.teacher and self.soft is None:
            self.soft = self.taught(self.teacher)

    @abc.abstractmethod
    def taught(self, teacher: Teacher) -> Floats:
        """A teacher's answers as targets, a row a training photo."""

    @abc.abstractmethod
    def steps(self, batch: Batch, key: tuple[int, int, int], pool: ThreadPoolExecutor, grid: Grid) -> Iterator[Step]:
        """The steps that a batch of photos makes, all randomness from ``key``."""

    @abc.abstractmethod
    def loss(self) -> tuple[Any, Any]:
        """Keras' loss and metric for the targets of :meth:`steps`."""

    @abc.abstractmethod
    def judged(self, outputs: Floats, labels: NDArray[np.int32]) -> tuple[Floats, float, dict[str, Any]]:
        """Probabilities (N, K), mean log loss, and what was fitted, of what the model says of the validation part."""

    def batches(self, epoch: int, pool: ThreadPoolExecutor, grid: Grid) -> Iterator[Step]:
        """One epoch, augmented by the recipe."""
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        given = self.loader.batches(self.frames or self.source, "train", self.recipe.batch_size, seed)
        for step, batch in enumerate(given):
            yield from self.steps(batch, (self.seed, epoch, step), pool, grid)

    def validate(self, model: keras.Model) -> dict[str, Any]:
        """Loss (with weight penalties, as Keras has it), accuracy and macro-F1 on the validation part."""
        from sklearn.metrics import f1_score

        outputs, labels, of_part = [], [], self.source.labels("validation")
        for batch in self.loader.batches(self.source, "validation", self.recipe.batch_size, None):
            count = len(batch.pixels)
            pixels = np.zeros((self.recipe.batch_size, *batch.pixels.shape[1:]), np.float32)
            pixels[:count] = batch.pixels
            outputs.append(np.asarray(model.predict_on_batch(pixels))[:count])
            labels.append(batch.classes(of_part))
        y = np.concatenate(labels)
        p, loss, fitted = self.judged(np.concatenate(outputs), y)
        return {
            "val_loss": float(loss + sum(float(penalty) for penalty in model.losses)),
            "val_accuracy": float((p.argmax(1) == y).mean()),
            "val_macro_f1": float(f1_score(y, p.argmax(1), labels=np.unique(y), average="macro", zero_division=0)),
            **fitted,
        }

    def samples(self, batch: Batch, labels: NDArray[np.int32]) -> list[Sample]:
        """The photos of a batch as they go into augmentation."""
        return [self._sample(batch, index, int(label)) for index, label in enumerate(labels)]

    def _sample(self, batch: Batch, index: int, label: int) -> Sample:
        pixels, spec = np.asarray(batch.pixels[index], np.uint8), (self.frames or self.source).input
        photo = None if batch.indices is None else self.photos[int(batch.indices[index])]
        if photo is None or not photo.width or not photo.height:
            return Sample(pixels, label, (0, 0, *spec.size), None)
        place, boxes = px.placement((photo.width, photo.height), spec), None
        if photo.faces is not None:
            asked = {"masked": 1.0, "unknown": -1.0}
            rows = [(*place.box(f.left, f.top, f.right, f.bottom), asked.get(f.wear, 0.0)) for f in photo.faces]
            boxes = np.array(rows, np.float32).reshape(-1, 5)
        return Sample(pixels, label, place.box(0, 0, photo.width, photo.height), boxes)


class LabelTask(Task):
    """A photo's label, one-hot (B, 3) or as an index (B,), as the data loader has it.

    With a teacher targets are (B, 6): the label, and the teacher's answer; of a crop the teacher has not answered, and
    the label stands for it.
    """

    def taught(self, teacher: Teacher) -> Floats:
        return teacher.targets(self.photos)

    def steps(self, batch: Batch, key: tuple[int, int, int], pool: ThreadPoolExecutor, grid: Grid) -> Iterator[Step]:  # noqa: ARG002
        before = labels = batch.classes(self.labels)
        pixels, complete = batch.pixels, np.ones(len(labels), bool)
        if augments(self.recipe):
            changed = pool.map(lambda s, r: augment(s, self.recipe, r), self.samples(batch, labels), rngs(key, labels))
            pixels, labels, complete = _stacked(list(changed))
        one_hot = np.eye(len(CLASSES), dtype=np.float32)
        targets: NDArray[Any] = labels.astype(np.int32) if self.loader.labels == "integer" else one_hot[labels]
        if self.soft is not None and batch.indices is not None:
            taught = np.where((complete & (labels == before))[:, None], self.soft[batch.indices], targets)
            targets = np.concatenate([targets, taught], axis=1)
        yield pixels, targets, self.weights[labels]

    def loss(self) -> tuple[Any, Any]:
        if self.teacher:
            return self.teacher.loss(self.recipe.label_smoothing), teacher_accuracy
        return label_loss(self.loader.labels, self.recipe.label_smoothing), "accuracy"

    def judged(self, outputs: Floats, labels: NDArray[np.int32]) -> tuple[Floats, float, dict[str, Any]]:
        return outputs, _log_loss(outputs, labels, 1e-7), {}


@dataclass
class FacesTask(Task):
    """The faces of a photo as targets of maps (B, h, w, 13), and the answer that is read off them.

    Where at least half of the photos have boxes, frames are cut from them at a larger size; a share of the steps shows
    the photos whole, in halves of a batch where that is larger than a frame. A teacher's answer (4,) stands for the
    label; but the label for a crop or a mosaic, which the teacher has not answered.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        recipe, marked = self.recipe, sum(photo.faces is not None for photo in self.photos)
        learns = recipe.epochs + recipe.head_epochs > 0 and self.loader.name == "cached"
        if learns and max(recipe.frame) and 2 * marked >= len(self.photos):
            width, height = self.source.input.size
            larger = dataclasses.replace(self.source.input, size=(width * 5 // 4, height * 5 // 4))
            self.frames = Source(self.source.split, larger, self.source.folder)

    def taught(self, teacher: Teacher) -> Floats:
        return teacher.answer_targets(self.photos)

    def steps(self, batch: Batch, key: tuple[int, int, int], pool: ThreadPoolExecutor, grid: Grid) -> Iterator[Step]:
        recipe, before = self.recipe, batch.classes(self.labels)
        samples, size, whole = self.samples(batch, before), self.source.input.size, False
        random = rngs(key, before)
        if self.frames:
            whole = bool(np.random.default_rng(key).random() < recipe.whole_frames)
            size = size if whole else recipe.frame
            natural = self.source.input.size[0] / self.frames.input.size[0]
            cut = functools.partial(cut_frame, frame=size, natural=natural, recipe=recipe, whole=whole)
            samples = list(pool.map(cut, samples, random))
            samples = samples if whole else _with_mosaics(samples, recipe, random)
        elif augments(recipe):
            samples = list(pool.map(lambda s, r: augment(s, recipe, r, empty=True), samples, random))
            samples = _with_mosaics(samples, recipe, random)
        pixels, labels, complete = _stacked(samples)
        answers = np.eye(len(LABELS), dtype=np.float32)[labels]
        if self.soft is not None and batch.indices is not None:
            answers = np.where((complete & (labels == before))[:, None], self.soft[batch.indices], answers)
        targets = np.stack([
            with_answer(map_targets(sample.boxes, size, grid(size)), answer, weight)
            for sample, answer, weight in zip(samples, answers, self.weights[labels])
        ])  # fmt: skip
        some = max(1, recipe.batch_size // 2) if whole and size != recipe.frame else len(labels)
        for start in range(0, len(labels), some):
            rows = slice(start, start + some)
            yield pixels[rows], targets[rows], np.ones(len(labels[rows]), np.float32)

    def loss(self) -> tuple[Any, Any]:
        return faces_loss(self.recipe.map_weight), answer_accuracy

    def judged(self, outputs: Floats, labels: NDArray[np.int32]) -> tuple[Floats, float, dict[str, Any]]:
        """The faces are calibrated first (:mod:`allmasked.predictors.calibrating`); ``calibration`` keeps how."""
        size = self.source.input.size
        calibration = fit([peaks_of(photo, size) for photo in outputs], labels)
        answers = read_maps(outputs, size, calibration)
        return answers.own, _log_loss(answers.own, labels, LEAST), {"calibration": dataclasses.asdict(calibration)}


TASKS: dict[str, type[Task]] = {"label": LabelTask, "faces": FacesTask}
"""By what a row of :data:`allmasked.networks.heads.HEADS` calls its task."""


def augments(recipe: Recipe) -> bool:
    """Whether the recipe changes photos at all."""
    return bool(
        recipe.flip or recipe.rotate_degrees or recipe.zoom_out < 1 or recipe.zoom_in > 1 or recipe.subset_crops
        or recipe.shrink < 1 or recipe.colour or recipe.jpeg
    )  # fmt: skip


def rngs(key: tuple[int, int, int], labels: NDArray[Any]) -> list[np.random.Generator]:
    """A generator for each photo of a step."""
    return [np.random.default_rng([*key, index]) for index in range(len(labels))]


def _stacked(samples: Sequence[Sample]) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.bool_]]:
    """Their pixels, labels, and whether they are complete."""
    labels, complete = [sample.label for sample in samples], [sample.complete for sample in samples]
    return np.stack([sample.pixels for sample in samples]), np.array(labels, np.int32), np.array(complete)


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


def _log_loss(p: Floats, labels: NDArray[np.int32], least: float) -> float:
    return float(-np.log(np.clip(p[np.arange(len(labels)), labels], least, 1)).mean())
