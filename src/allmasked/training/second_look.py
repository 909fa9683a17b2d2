"""A second look for a finished run: a small network learns to judge the crops of the faces that its maps propose.

Its photos are the run's own training photos: crops of the marked faces, of what the maps propose there, and of what
they propose where nobody is marked. The new run has the same maps and answers from both (see
:mod:`allmasked.networks.second_look`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.config import Recipe, TrainConfig
from allmasked.core.errors import ConfigError, DataError, RunError, require
from allmasked.core.progress import bar, stderr, track
from allmasked.core.runs import Run, claimed, parse_json, read_json, write_json, write_text
from allmasked.core.types import Part
from allmasked.data.dataset import read_split, sha256_of, unused, write_split
from allmasked.images import pixels as px
from allmasked.networks import model as models
from allmasked.networks import reading
from allmasked.networks.backbones import build_backbone
from allmasked.networks.evidence import boxes_of
from allmasked.networks.reading import Calibration
from allmasked.training import augment
from allmasked.training.loaders import LOADERS, Source, ahead, source_of
from allmasked.training.tasks import FacesTask
from allmasked.training.train import assign, early_layers, environment, make_optimizer, write_arrays

if TYPE_CHECKING:
    import keras

MASKED, BARE, NOBODY = range(3)
FAINT = -3.2
"""What the maps propose from this log-odds of a face on is cropped."""
MATCHED, APART = 0.5, 0.15
"""A proposal is a marked face from this intersection over union on; nobody where less than so much of it is marked."""
FACES_OF_A_PHOTO, NOBODY_OF_A_PHOTO = 12, 4
"""At most, so that no crowd outweighs the other photos."""
NOBODY_SHARE = 0.5
"""Crops of nobody, for each crop of a face, at most."""
SMALLEST_PX, LEAST_FACES = 6, 10


@dataclass(frozen=True)
class LookSettings:
    """How the second look is trained.

    Attributes:
        backbone: a row of :data:`allmasked.networks.backbones.BACKBONES`.
        side: of the crops, px.
        shares: of the second look in the answer, see :class:`allmasked.networks.second_look.SecondLook`.
        epochs, batch_size, learning_rate: of the training; the rate rises over half an epoch, then falls to 0 (cosine).
    """

    backbone: str = "EfficientNetLite0"
    side: int = 64
    shares: tuple[float, float] = (0.2, 0.5)
    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 8e-4
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Places:
    """What is cropped of a part of the photos: index of the photo (M,), box (M, 4) px of the input, kind (M,)."""

    photo: NDArray[np.int64]
    boxes: NDArray[np.float32]
    kind: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.kind)


def add_second_look(
    folder: str | Path, out: str | Path, settings: LookSettings = LookSettings(), *, cache: str | Path | None = None
) -> Run:
    """Train a second look for the finished run ``folder`` and leave the run that has both in ``out``.

    The same call goes on after the last finished epoch where it was stopped.

    Raises:
        RunError: no finished run, or ``out`` is in use.
        ConfigError: the run's head makes no maps.
        DataError: hardly any face is marked in its photos.
    """
    require("keras", "train")
    run, new = Run(folder).require_finished(), Run(out)
    if run.is_ensemble:
        raise ConfigError(f"{run.folder}: is an ensemble; give its members a second look, one by one")
    config, split = TrainConfig.read(run.config), read_split(run.split)
    model = models.load(run.model)
    if not models.has_maps(model):
        raise ConfigError(f"{run.folder}: its head {config.head!r} makes no maps that propose faces; train evidence")
    asked = parse_json(json.dumps({"model_sha256": sha256_of(run.model), **dataclasses.asdict(settings)}))
    with claimed(new.folder):
        if new.second_look.is_file():
            if read_json(new.second_look) != asked:
                raise RunError(f"{new.folder}: was begun from another run or with other settings; choose another --out")
        elif unused(new.folder, split):
            write_json(new.second_look, asked)
        else:
            raise RunError(f"{new.folder}: is not empty; choose another --out")
        if not new.config.is_file():  # which is written last
            _add(model, run, new, source_of(split, config.recipe, cache), settings)
        shutil.rmtree(new.state, ignore_errors=True)
    return new


def _add(model: keras.Model, run: Run, new: Run, source: Source, settings: LookSettings) -> None:
    config = TrainConfig.read(run.config)
    crops = Crops(source, config.recipe, settings)
    try:
        network = _trained(crops, models.part(model, "maps"), settings, new)
    except DataError:  # nothing was learned: another command finds the folder as this one did
        new.second_look.unlink()
        raise
    finally:
        crops.pool.shutdown(cancel_futures=True)
    whole = models.with_look(model, network, settings.shares)
    scores = FacesTask(source, LOADERS["cached"], config.recipe).validate(models.maps_of(whole))
    models.calibrate(whole, Calibration.parse(scores["calibration"]))
    figures = f"accuracy {scores['val_accuracy']:.3f}, macro-F1 {scores['val_macro_f1']:.3f}"
    stderr.print(f"with a second look: validation loss {scores['val_loss']:.4f}, {figures}")
    write_split(source.split, new.split)
    line = {"epoch": 1, "phase": "second look", **scores, "seconds": 0.0}
    write_text(new.metrics, run.metrics.read_text() + json.dumps(line) + "\n")
    models.save(whole, new.model)
    config.write(new.config, {**environment(), "parameters": int(whole.count_params())})


def _trained(crops: Crops, view: keras.Model, settings: LookSettings, run: Run) -> keras.Model:
    """The small network after all epochs; those that ``run`` has a checkpoint of aren't done again."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(settings.seed)
    backbone = build_backbone(settings.backbone, (settings.side, settings.side), seed=settings.seed)
    early = early_layers(backbone)  # edges and colours are what they are, and most of the time
    for layer in backbone.layers:
        layer.trainable = layer.name not in early
    x = layers.GlobalAveragePooling2D(name="look_average")(backbone.output)
    x = layers.Dropout(0.3, name="look_dropout")(x)
    network = keras.Model(backbone.input, layers.Dense(3, dtype="float32", name="look_logits")(x), name="look")
    network.compile(
        make_optimizer(Recipe(learning_rate=settings.learning_rate, clip_norm=1.0), network),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.03),
        jit_compile=models.jit_compile(),
    )
    done = 0
    for path in sorted(run.state.glob("look-*.npz"))[-1:]:
        network.optimizer.build(network.trainable_variables)
        with np.load(path) as stored:
            assign(stored, [*network.variables, *network.optimizer.variables], path)
        done = int(path.stem.removeprefix("look-"))
        stderr.print(f"resuming after epoch {done}")
    if done == settings.epochs:
        return network
    train, held = crops.places("train", view), crops.places("validation", view)
    masked, bare, nobody = np.bincount(train.kind, minlength=3)
    if min(masked, bare) < LEAST_FACES:
        raise DataError(
            f"only {masked} masked and {bare} bare faces are marked; a second look needs at least {LEAST_FACES} of each"
        )
    stderr.print(f"crops: {masked} of masked faces, {bare} of bare ones, {nobody} of nobody")
    for epoch in range(done, settings.epochs):
        loss = one_epoch(network, ahead(crops.batches(train, epoch)), len(train), epoch, settings)
        right = "no validation crops"
        if len(held):
            said = np.concatenate([np.asarray(network.predict_on_batch(some)) for some in crops.plain(held)])
            faces = held.kind < NOBODY
            worn = (said[faces, :2].argmax(1) == held.kind[faces]).mean()
            right = f"validation crops {(said.argmax(1) == held.kind).mean():.3f} right, masked or bare {worn:.3f}"
        stderr.print(f"second look, epoch {epoch + 1}/{settings.epochs}: loss {loss:.4f}; {right}")
        path = run.state / f"look-{epoch + 1:04d}.npz"
        write_arrays(path, [*network.variables, *network.optimizer.variables])
        for old in run.state.glob("look-*.npz"):
            if old != path:
                old.unlink()
    return network


def one_epoch(
    network: keras.Model, batches: Generator[Any, None, None], total: int, epoch: int, settings: LookSettings
) -> float:
    """Train on an epoch's batches of ``total`` crops; gives the mean loss."""
    steps = max(1, total // settings.batch_size)
    mean, began = 0.0, time.monotonic()
    with bar() as progress, contextlib.closing(batches):
        task = progress.add_task(f"second look, epoch {epoch + 1}/{settings.epochs}", total=total, note="")
        for step, (pixels, labels, weights) in enumerate(batches):
            now = epoch * steps + step
            warm = min(1.0, (now + 1) / max(steps / 2, 1))
            falling = 0.5 * (1 + np.cos(np.pi * now / max(1, settings.epochs * steps)))
            network.optimizer.learning_rate = settings.learning_rate * warm * falling
            logs = network.train_on_batch(pixels, labels, sample_weight=weights, return_dict=True)
            mean += (float(logs["loss"]) - mean) / (step + 1)
            seen = (step + 1) * settings.batch_size
            rate = seen / (time.monotonic() - began)
            progress.update(task, completed=seen, note=f"loss {mean:.3f}  {rate:.0f} crops/s")
    return mean


class Crops:
    """Where faces are in a split's photos, and crops of them."""

    def __init__(self, source: Source, recipe: Recipe, settings: LookSettings) -> None:
        self.source, self.settings = source, settings
        self.recipe = dataclasses.replace(recipe, shrink=0.15, colour=max(recipe.colour, 0.35))
        self.pool = ThreadPoolExecutor(os.cpu_count())

    def places(self, part: Part, view: keras.Model) -> Places:
        """Of the photos of which the faces are known: marked faces, and what ``view``'s maps propose."""
        photos, pixels, spec = self.source.photos(part), self.source.array(part), self.source.input
        rng = np.random.default_rng(self.settings.seed)
        found: list[tuple[int, NDArray[Any], int]] = []
        batch = 16
        for start in track(range(0, len(photos), batch), f"proposing faces ({part})"):
            given = np.zeros((batch, *pixels.shape[1:]), np.float32)
            count = len(pixels[start : start + batch])
            given[:count] = pixels[start : start + batch]
            for index, maps in enumerate(np.asarray(view.predict_on_batch(given))[:count], start):
                photo = photos[index]
                if photo.faces is None:
                    continue
                place = px.placement((photo.width, photo.height), spec)
                rows, columns = reading.peaks(maps[..., :2])
                logits = maps[rows, columns, :2]
                cells = boxes_of(maps[None, ..., 2:6], spec.size)[0][rows, columns]
                proposed = cells[np.logaddexp(logits[:, 0], logits[:, 1]) > FAINT]
                edges = [place.box(face.left, face.top, face.right, face.bottom) for face in photo.faces]
                wear = [{"masked": MASKED, "unknown": -1}.get(face.wear, BARE) for face in photo.faces]
                found += [(index, *one) for one in _told(np.reshape(edges, (-1, 4)), np.array(wear), proposed, rng)]
        if not found:
            return Places(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
        photo_of, boxes, kind = (np.array(column) for column in zip(*found))
        nobody = rng.permutation(np.flatnonzero(kind == NOBODY))[int(NOBODY_SHARE * (kind < NOBODY).sum()) :]
        keep = np.setdiff1d(np.arange(len(kind)), nobody)
        return Places(photo_of[keep], boxes[keep].astype(np.float32), kind[keep])

    def batches(self, places: Places, epoch: int) -> Iterator[tuple[Any, Any, Any]]:
        """One epoch of (pixels (B, S, S, 3), kinds (B, 3) one-hot, weights (B,)), shuffled and augmented."""
        size, seed, part = min(self.settings.batch_size, len(places)), self.settings.seed, self.source.array("train")
        order = np.random.default_rng([seed, epoch]).permutation(len(places))
        counts = np.maximum(np.bincount(places.kind, minlength=3), 1)
        weights = np.sqrt(counts.mean() / counts).astype(np.float32)

        def one(index: int) -> NDArray[np.uint8]:
            rng = np.random.default_rng([seed, epoch, int(index)])
            pixels = self.crop(part[places.photo[index]], places.boxes[index], rng)
            return augment.finish(pixels, self.recipe, rng)

        for start in range(0, len(order) - size + 1, size):
            some = order[start : start + size]
            pixels, kinds = np.stack(list(self.pool.map(one, some))), places.kind[some]
            yield pixels.astype(np.float32), np.eye(3, dtype=np.float32)[kinds], weights[kinds]

    def plain(self, places: Places) -> Iterator[NDArray[np.float32]]:
        """The validation part's crops as the network will get them, in order."""
        part = self.source.array("validation")
        for start in range(0, len(places), 256):
            some = range(start, min(start + 256, len(places)))
            yield np.stack([self.crop(part[places.photo[i]], places.boxes[i], None) for i in some]).astype(np.float32)

    def crop(self, photo: NDArray[np.uint8], box: NDArray[Any], rng: np.random.Generator | None) -> NDArray[np.uint8]:
        """The square around a box, as :func:`allmasked.networks.second_look.crop` has it; moved a little by ``rng``."""
        import cv2

        from allmasked.networks.second_look import CONTEXT, SAMPLES

        side = self.settings.side
        centre, longer = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())
        across = down = CONTEXT * longer
        flip = False
        if rng is not None:
            centre = centre + rng.uniform(-0.1, 0.1, 2) * longer
            stretch = np.exp(rng.uniform(-0.16, 0.16))
            across, down = (
                CONTEXT * longer * np.exp(rng.uniform(-0.16, 0.16)) * s for s in (stretch**0.5, stretch**-0.5)
            )
            flip = bool(rng.random() < 0.5)
        fine = side * SAMPLES
        scale = np.array([fine / across, fine / down])
        offset = (0.5 - centre) * scale + fine / 2 - 0.5
        matrix = np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]])
        cut = cv2.warpAffine(np.ascontiguousarray(photo), matrix, (fine, fine), flags=cv2.INTER_LINEAR)
        cut = cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(cut[:, ::-1]) if flip else np.asarray(cut, np.uint8)


def _told(
    marked: NDArray[Any], wear: NDArray[Any], proposed: NDArray[Any], rng: np.random.Generator
) -> list[tuple[NDArray[Any], int]]:
    """A photo's crops and their kinds, from its marked boxes (F, 4), their kinds (-1 unknown) and those proposed."""
    union = reading.overlaps(proposed, marked)[0]
    sides = np.minimum(proposed[:, None, 2:], marked[:, 2:]) - np.maximum(proposed[:, None, :2], marked[:, :2])
    area = np.maximum((proposed[:, 2:] - proposed[:, :2]).prod(1), 1e-6)
    covered = (np.clip(sides, 0, None).prod(2) / area[:, None]).max(1, initial=0)
    again = np.flatnonzero((union.max(1, initial=0) > MATCHED) & (rng.random(len(proposed)) < 0.5))
    boxes = np.concatenate([marked, proposed[again]])
    kinds = np.concatenate([wear, wear[union[again].argmax(1)] if len(again) else wear[:0]]).astype(int)
    large = boxes[:, 3] - boxes[:, 1] >= SMALLEST_PX
    faces = rng.permutation(np.flatnonzero((kinds >= 0) & large))[:FACES_OF_A_PHOTO]
    nobody = np.flatnonzero((covered < APART) & (proposed[:, 3] - proposed[:, 1] >= SMALLEST_PX))[:NOBODY_OF_A_PHOTO]
    return [*((boxes[one], int(kinds[one])) for one in faces), *((proposed[one], NOBODY) for one in nobody)]
