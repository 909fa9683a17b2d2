"""Photos decoded and fitted once: a memory-mapped array (N, H, W, 3) uint8 on disk.

The file's name is a digest of what is in it (the photos' contents, size, fit, and the version of the pixel code), so
it can never be stale: a changed photo has another digest. It is filled under a temporary name with a mark for each
finished photo, so that a fill that was killed goes on where it was, and gets its name when it is whole.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from allmasked.core.errors import DataError, PhotoError
from allmasked.core.progress import track
from allmasked.core.types import Photo, Size, Split
from allmasked.images import pixels

VERSION = 2
"""Raise this when :mod:`allmasked.images.pixels` gives other pixels for the same file."""


def default_folder() -> Path:
    """``$ALLMASKED_CACHE``, else the user's cache folder. What is in it may be deleted at any time."""
    return Path(os.environ.get("ALLMASKED_CACHE") or platformdirs.user_cache_dir("allmasked"))


def digest(photos: Sequence[Photo], size: Size, fit: str) -> str:
    """The cache's key: 24 hex digits over contents, order, size, fit and code version."""
    text = "\n".join([f"{VERSION} {size[0]}x{size[1]} {fit} {pixels.PAD}", *(photo.sha256 for photo in photos)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def pixel_cache(
    split: Split, photos: Sequence[Photo], size: Size, fit: pixels.Fit, folder: Path | None = None
) -> NDArray[np.uint8]:
    """The photos as a read-only memory map (N, height, width, 3) uint8 RGB, made now if it isn't there.

    Raises:
        DataError: photos that can't be decoded, or whose content has changed since the split was made (all named).
    """
    folder = folder or default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    key = digest(photos, size, fit)
    whole = folder / f"{key}.npy"
    shape = (len(photos), size[1], size[0], 3)
    if not whole.is_file():
        with _lock(folder / f"{key}.lock"):
            if not whole.is_file():
                _fill(split, photos, size, fit, whole, shape)
    array = np.load(whole, mmap_mode="r")
    if array.shape != shape or array.dtype != np.uint8:
        whole.unlink()
        raise DataError(f"{whole}: the cache file was damaged and has been removed; start the command again")
    return array


def _fill(
    split: Split, photos: Sequence[Photo], size: Size, fit: pixels.Fit, whole: Path, shape: tuple[int, ...]
) -> None:
    partial, marks = whole.with_suffix(".partial"), whole.with_suffix(".done")
    done = np.zeros(len(photos), np.uint8)
    if partial.is_file() and marks.is_file() and marks.stat().st_size == len(photos):
        done = np.fromfile(marks, np.uint8)
    array = np.lib.format.open_memmap(partial, "r+" if done.any() else "w+", dtype=np.uint8, shape=shape)
    errors = _decode(split, photos, size, fit, array, done, marks)
    if errors:
        lines = "\n  ".join(str(error) for error in errors[:20])
        raise DataError(
            f"{len(errors)} of {len(photos)} photos can't be used; "
            f"if they have moved, say where with --data; else make the split again with 'allmasked split'\n  {lines}"
        )
    del array  # closed before it is renamed
    partial.replace(whole)
    marks.unlink()


def _decode(
    split: Split,
    photos: Sequence[Photo],
    size: Size,
    fit: pixels.Fit,
    array: NDArray[np.uint8],
    done: NDArray[np.uint8],
    marks: Path,
) -> list[PhotoError]:
    """Decode the photos that ``done`` does not mark into ``array``, marking them in the file now and then."""

    def one(index: int) -> PhotoError | None:
        photo = photos[index]
        try:
            array[index] = pixels.read(content_of(split, photo), size, fit, name=photo.path)
        except PhotoError as error:
            return error
        done[index] = 1
        return None

    def save() -> None:
        finished = done.copy()  # marked before the flush, so that no mark comes before its pixels
        if isinstance(array, np.memmap):
            array.flush()
        finished.tofile(marks)

    missing = np.flatnonzero(done == 0).tolist()
    errors, saved = [], time.monotonic()
    with ThreadPoolExecutor() as pool:
        for error in track(pool.map(one, missing), "preparing photos", total=len(missing)):
            if error is not None:
                errors.append(error)
            if time.monotonic() - saved > 2:
                save()
                saved = time.monotonic()
    save()
    return errors


def content_of(split: Split, photo: Photo) -> bytes:
    """The photo file's bytes; :class:`PhotoError` where they are not those of the split."""
    try:
        content = (split.root / photo.path).read_bytes()
    except OSError as error:
        raise PhotoError(photo.path, f"can't be read ({error.strerror})") from None
    if hashlib.sha256(content).hexdigest() != photo.sha256:
        raise PhotoError(photo.path, "has changed since the split was made")
    return content


def _lock(path: Path):  # type: ignore[no-untyped-def]
    from filelock import FileLock

    return FileLock(path)
