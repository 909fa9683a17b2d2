"""The contract of every data loader, and the cache under them."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from allmasked.core.errors import DataError
from allmasked.core.types import CLASSES, InputSpec, Split
from allmasked.data import cache
from allmasked.images import pixels
from allmasked.training.loaders import LOADERS, Source, ahead
from conftest import make_split


def epoch(split: Split, name: str, seed: int | None, fit: str = "letterbox") -> list[tuple[str, int]]:
    """What a data loader delivers in one epoch: (digest of the pixels, class index), in order."""
    source = Source(split, InputSpec((64, 48), fit))  # type: ignore[arg-type]
    delivered = []
    for batch in LOADERS[name].batches(source, "train", 5, seed):
        assert batch.pixels.shape[1:] == (48, 64, 3)
        if LOADERS[name].labels == "one-hot":
            assert batch.labels.shape == (len(batch.pixels), 3) and (batch.labels.sum(1) == 1).all()
            labels = batch.labels.argmax(1)
        else:
            labels = batch.labels
        for values, label in zip(batch.pixels, labels, strict=True):
            assert (values == np.round(values)).all()
            delivered.append((hashlib.sha256(values.astype(np.uint8).tobytes()).hexdigest(), int(label)))
    return delivered


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("name", LOADERS)
def test_all_deliver_the_same_photos_labels_and_pixels(drawn_split: Split, name: str, fit: str) -> None:
    truth = sorted(
        (
            hashlib.sha256(pixels.read(drawn_split.root / photo.path, InputSpec((64, 48), fit)).tobytes()).hexdigest(),  # type: ignore[arg-type]
            CLASSES.index(photo.label),
        )
        for photo in drawn_split.part("train")
    )
    assert sorted(epoch(drawn_split, name, 1, fit)) == truth
    assert sorted(epoch(drawn_split, name, None, fit)) == truth


@pytest.mark.parametrize("name", LOADERS)
def test_the_seed_determines_the_order(drawn_split: Split, name: str) -> None:
    assert epoch(drawn_split, name, 1) == epoch(drawn_split, name, 1)
    assert epoch(drawn_split, name, 1) != epoch(drawn_split, name, 2)


def test_cached_needs_no_tensorflow(drawn_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert len(epoch(drawn_split, "cached", 1)) == 12
    assert {row.name for row in LOADERS.values() if not row.needs_tensorflow} == {"cached"}


def test_a_changed_photo_is_named_not_served_stale(drawn_split: Split, tmp_path: Path) -> None:
    photos = drawn_split.part("train")
    before = cache.pixel_cache(drawn_split, photos, InputSpec((64, 48)), tmp_path / "c").copy()
    path = drawn_split.root / photos[3].path
    path.write_bytes((drawn_split.root / photos[0].path).read_bytes())
    with pytest.raises(DataError, match="has changed since the split"):
        cache.pixel_cache(drawn_split, photos, InputSpec((64, 32)), tmp_path / "c")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    changed = tuple(dataclasses.replace(p, sha256=digest) if p is photos[3] else p for p in photos)
    after = cache.pixel_cache(drawn_split, changed, InputSpec((64, 48)), tmp_path / "c")
    assert not np.array_equal(before[3], after[3]) and np.array_equal(after[3], after[0])


def test_settings_and_order_have_their_own_cache(drawn_split: Split) -> None:
    photos = drawn_split.part("train")
    keys = {
        cache.digest(photos, InputSpec((64, 48))),
        cache.digest(photos, InputSpec((48, 64))),
        cache.digest(photos, InputSpec((64, 48), "stretch")),
        cache.digest(photos[::-1], InputSpec((64, 48))),
        cache.digest(photos[1:], InputSpec((64, 48))),
    }
    assert len(keys) == 5


def _fill_slowly(root: Path, folder: Path) -> None:
    split = make_split(root, {"train": 10})
    read = pixels.read

    def slow(*args, **kwargs):  # type: ignore[no-untyped-def]
        time.sleep(0.15)
        return read(*args, **kwargs)

    pixels.read = slow
    monotonic = time.monotonic
    cache.time.monotonic = lambda: monotonic() * 10  # marks are saved ten times as often
    cache.pixel_cache(split, split.part("train"), InputSpec((64, 48)), folder)


def test_a_fill_that_was_killed_goes_on(tmp_path: Path) -> None:
    root, folder = tmp_path / "data", tmp_path / "cache"
    split = make_split(root, {"train": 10})
    process = multiprocessing.get_context("spawn").Process(target=_fill_slowly, args=(root, folder))
    process.start()
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.done")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list(folder.glob("*.npy")), "a half-filled cache must not have its final name"
    done = np.fromfile(next(folder.glob("*.done")), np.uint8)
    assert 0 < done.sum() < 30
    reads: list[str] = []
    read = pixels.read
    try:
        pixels.read = lambda *args, **kwargs: reads.append(kwargs["name"]) or read(*args, **kwargs)  # type: ignore
        array = cache.pixel_cache(split, split.part("train"), InputSpec((64, 48)), folder)
    finally:
        pixels.read = read
    assert len(reads) == 30 - done.sum()
    for index, photo in enumerate(split.part("train")):
        assert np.array_equal(array[index], pixels.read(root / photo.path, InputSpec((64, 48))))


def test_ahead_passes_items_and_errors_on() -> None:
    def numbers():  # type: ignore[no-untyped-def]
        yield from range(5)
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for item in ahead(numbers()):
            seen.append(item)
    assert seen == list(range(5))


def test_ahead_can_be_left_early() -> None:
    closed = []

    def endless():  # type: ignore[no-untyped-def]
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    source = endless()
    batches = ahead(source)
    next(batches)
    batches.close()
    assert closed == [True], "what it was reading from is closed at once, not when it is forgotten"
    assert "loader" not in {thread.name for thread in threading.enumerate()}
