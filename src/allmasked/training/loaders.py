"""Data loaders: how photos of a split reach the training loop. The notebooks' three and ours, one row each.

All of them deliver the same photos, labels and pixels for the same split. To that end each photo is decoded and
fitted once by :mod:`allmasked.images.pixels`; the notebooks' three then read those pixels back from lossless PNG files
in class folders through Keras' own functions, ``cached`` reads them from a memory-mapped array.

A data loader is a function ``batches(source, part, batch_size, seed)`` that yields one epoch of :class:`Batch`;
``seed`` None means in order, otherwise it determines the order.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from allmasked.core.config import Recipe
from allmasked.core.errors import DataError, require
from allmasked.core.progress import track
from allmasked.core.runs import replacing, sweep
from allmasked.core.types import CLASSES, LABELS, InputSpec, Part, Photo, Split
from allmasked.data import cache


class Batch(NamedTuple):
    """``pixels`` (B, H, W, 3) uint8 or float32 0-255; ``labels`` (B, 3) float32 one-hot or (B,) int32 class indices.

    ``indices`` (B,) are positions in the part, known only where the data loader tells them.
    """

    pixels: NDArray[Any]
    labels: NDArray[Any]
    indices: NDArray[np.int64] | None = None

    def classes(self, of_part: NDArray[np.int32]) -> NDArray[np.int32]:
        """The labels as indices (B,): into LABELS, given those of the whole part, where it is known which photos these
        are; else into CLASSES."""
        if self.indices is not None:
            return of_part[self.indices]
        return self.labels if self.labels.ndim == 1 else self.labels.argmax(1).astype(np.int32)


@dataclass
class Source:
    """A split at one size: what every data loader reads from."""

    split: Split
    input: InputSpec
    folder: Path = field(default_factory=cache.default_folder)

    def photos(self, part: Part) -> tuple[Photo, ...]:
        return self.split.part(part)

    def labels(self, part: Part) -> NDArray[np.int32]:
        """Indices into LABELS (N,) of a part."""
        return np.array([LABELS.index(photo.label) for photo in self.photos(part)], np.int32)

    def array(self, part: Part) -> NDArray[np.uint8]:
        """All pixels of a part, memory-mapped (N, H, W, 3) uint8."""
        if part not in self._arrays:
            if not self.photos(part):
                raise DataError(f"the split has no photo in its part {part!r}; make it again with 'allmasked split'")
            self._arrays[part] = cache.pixel_cache(self.split, self.photos(part), self.input, self.folder)
        return self._arrays[part]

    @cached_property
    def _arrays(self) -> dict[Part, NDArray[np.uint8]]:
        return {}

    def class_folders(self, part: Part) -> Path:
        """The part as PNG files in class folders (``all/000000.png``, ...), for Keras' own import functions."""
        photos = self.photos(part)
        pixels, labels = self.array(part), self.labels(part)
        label_digest = hashlib.sha256(labels.tobytes()).hexdigest()[:8]
        folder = self.folder / f"{cache.digest(photos, self.input)}-{label_digest}"
        whole = folder / "whole"
        with cache.lock_of(self.folder, folder.name):  # another process must not see these folders half-filled
            if not whole.is_file() or whole.read_text() != str(len(photos)):
                self._write_folders(part, folder / "photos", pixels, labels)
                whole.write_text(str(len(photos)))
        return folder / "photos"

    def _write_folders(self, part: Part, folder: Path, pixels: NDArray[np.uint8], labels: NDArray[np.int32]) -> None:
        for name in CLASSES:
            (folder / name).mkdir(parents=True, exist_ok=True)
            sweep(folder / name)

        def one(index: int) -> None:
            target = folder / CLASSES[labels[index]] / f"{index:06d}.png"
            if not target.is_file():
                with replacing(target) as temporary:
                    Image.fromarray(pixels[index]).save(temporary, compress_level=1)

        with ThreadPoolExecutor() as pool:
            for _ in track(pool.map(one, range(len(labels))), f"writing class folders ({part})", total=len(labels)):
                pass


def source_of(split: Split, recipe: Recipe, cache_folder: str | Path | None) -> Source:
    """What a training reads from; decoded photos are kept in the user's cache folder where no other is given."""
    return Source(split, recipe.input, Path(cache_folder) if cache_folder else cache.default_folder())


def cached(source: Source, part: Part, batch_size: int, seed: int | None) -> Iterator[Batch]:
    """Ours: rows of a memory-mapped array in an exact shuffle; needs no TensorFlow."""
    pixels, labels = source.array(part), source.labels(part)
    order = np.arange(len(labels)) if seed is None else np.random.default_rng(seed).permutation(len(labels))
    one_hot = np.eye(len(LABELS), len(CLASSES), dtype=np.float32)  # nobody is none of the classes
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        yield Batch(np.stack([pixels[index] for index in indices]), one_hot[labels[indices]], indices)


def flow_from_directory(source: Source, part: Part, batch_size: int, seed: int | None) -> Iterator[Batch]:
    """The notebooks' first: ``ImageDataGenerator().flow_from_directory``, one-hot labels."""
    generator = _directory_iterator(source, part, batch_size, seed)
    for _ in range(len(generator)):
        yield Batch(*next(generator))


def from_generator(source: Source, part: Part, batch_size: int, seed: int | None) -> Iterator[Batch]:
    """The notebooks' second: the same generator through ``tf.data.Dataset.from_generator``."""
    tf = require("tensorflow", "train")
    generator = _directory_iterator(source, part, batch_size, seed)
    width, height = source.input.size
    signature = tuple(tf.TensorSpec(shape, tf.float32) for shape in ((None, height, width, 3), (None, len(CLASSES))))
    dataset = tf.data.Dataset.from_generator(
        lambda: (next(generator) for _ in range(len(generator))), output_signature=signature
    )
    for pixels, labels in dataset.prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
        yield Batch(pixels, labels)


def image_dataset_from_directory(source: Source, part: Part, batch_size: int, seed: int | None) -> Iterator[Batch]:
    """The notebooks' third: ``keras.utils.image_dataset_from_directory``, integer labels."""
    keras = require("keras", "train")
    require("tensorflow", "train")
    width, height = source.input.size
    dataset = keras.utils.image_dataset_from_directory(
        str(source.class_folders(part)), class_names=list(CLASSES), label_mode="int", image_size=(height, width),
        batch_size=batch_size, shuffle=seed is not None, seed=seed, verbose=False,
    )  # fmt: skip
    for pixels, labels in dataset.as_numpy_iterator():
        yield Batch(pixels, labels.astype(np.int32))


def _directory_iterator(source: Source, part: Part, batch_size: int, seed: int | None) -> Any:
    tf = require("tensorflow", "train")
    width, height = source.input.size
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        return tf.keras.preprocessing.image.ImageDataGenerator().flow_from_directory(
            str(source.class_folders(part)), classes=list(CLASSES), target_size=(height, width),
            class_mode="categorical", batch_size=batch_size, shuffle=seed is not None, seed=seed,
        )  # fmt: skip


@dataclass(frozen=True)
class Loader:
    """One row."""

    name: str
    help: str
    labels: Literal["one-hot", "integer"]
    needs_tensorflow: bool
    batches: Callable[[Source, Part, int, int | None], Iterator[Batch]]


LOADERS: dict[str, Loader] = {
    row.name: row
    for row in (
        Loader("cached", "ours: decoded once into a memory-mapped array", "one-hot", False, cached),
        Loader("flow_from_directory", "ImageDataGenerator", "one-hot", True, flow_from_directory),
        Loader("from_generator", "the same through tf.data from_generator", "one-hot", True, from_generator),
        Loader(
            "image_dataset_from_directory", "tf.data files, integer labels", "integer", True,
            image_dataset_from_directory,
        ),
    )
}  # fmt: skip


def ahead(batches: Iterator[Any], depth: int = 2) -> Generator[Any, None, None]:
    """Run an iterator in a thread, ``depth`` items ahead of the consumer; errors come out where they are met."""
    import queue

    items: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def put(kind: str, item: Any) -> bool:
        while not stop.is_set():
            try:
                items.put((kind, item), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in batches:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # handed over to the consumer
            put("error", error)

    thread = threading.Thread(target=work, daemon=True, name="loader")
    thread.start()
    try:
        while True:
            kind, item = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
        if isinstance(batches, Generator):
            batches.close()
