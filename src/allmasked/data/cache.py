"""Photos decoded and fitted once: a memory-mapped array (N, H, W, 3) uint8 on disk.

The file's name is a digest of what is in it (the photos' contents, size, fit, and the version of the pixel code), so
it can never be stale: a changed photo has another digest. It is filled under a temporary name with a mark for each
finished photo, so that a fill that was killed goes on where it was, and gets its name when it is whole.

All sets together are kept below a limit (:func:`limit_bytes`): before a new one is made, those go that were not used
for longest. One in use stays whatever the limit: while its array is held, a file ``KEY.*.use`` is locked, by the
operating system, so that the lock of a process that was killed is gone with it.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from allmasked.core.errors import ConfigError, DataError, PhotoError, require
from allmasked.core.progress import stderr, track
from allmasked.core.types import InputSpec, Photo, Split
from allmasked.images import pixels

VERSION = 3
"""Raise this when :mod:`allmasked.images.pixels` gives other pixels for the same file."""


def default_folder() -> Path:
    """``$ALLMASKED_CACHE``, else the user's cache folder. What is in it may be deleted at any time."""
    return Path(os.environ.get("ALLMASKED_CACHE") or platformdirs.user_cache_dir("allmasked"))


COPIES = "copies"
"""The folder in it of data sets that lie at addresses."""
PAIRS = "duplicates"
"""The folder in it of the near-duplicates that were found in a set of photos."""
LIMIT_GB = 20.0
"""How much all sets of decoded photos may take where ``$ALLMASKED_CACHE_GB`` says nothing."""
GB = 1e9


def limit_bytes() -> float:
    """``$ALLMASKED_CACHE_GB``, else :data:`LIMIT_GB`, in bytes. Raises :class:`ConfigError` where it is no number."""
    text = os.environ.get("ALLMASKED_CACHE_GB") or str(LIMIT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise ConfigError(f"ALLMASKED_CACHE_GB = {text!r}; must be a number of GB, 0 or more")
    return limit * GB


def digest(photos: Sequence[Photo], spec: InputSpec) -> str:
    """The cache's key: 24 hex digits over contents, order, size, resize mode and code version."""
    what = f"{VERSION} {spec.size[0]}x{spec.size[1]} {spec.resize_mode} {pixels.PAD}"
    text = "\n".join([what, *(photo.sha256 for photo in photos)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def pixel_cache(
    split: Split, photos: Sequence[Photo], spec: InputSpec, folder: Path | None = None
) -> NDArray[np.uint8]:
    """The photos as a read-only memory map (N, height, width, 3) uint8 RGB, made now if it isn't there.

    It is in use, and so is not removed, as long as the array is held.

    Raises:
        ConfigError: see :func:`limit_bytes`.
        DataError: photos that can't be decoded, or whose content has changed since the split was made (all named).
    """
    folder = folder or default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    key = digest(photos, spec)
    whole = folder / f"{key}.npy"
    shape = (len(photos), spec.size[1], spec.size[0], 3)
    with lock_of(folder, key):
        used = _use(folder, key)
        try:
            if whole.is_file():
                os.utime(whole)  # used now
                whole.with_suffix(".done").unlink(missing_ok=True)  # killed right before, its maker left that
            else:
                make_room(folder, math.prod(shape), key)
                _fill(split, photos, spec, whole, shape)
            array = np.load(whole, mmap_mode="r")
            if array.shape != shape or array.dtype != np.uint8:
                whole.unlink()
                raise DataError(f"{whole}: the cache file was damaged and has been removed; start the command again")
        except BaseException:
            _used(*used)
            raise
    weakref.finalize(array, _used, *used)
    return array


def _fill(split: Split, photos: Sequence[Photo], spec: InputSpec, whole: Path, shape: tuple[int, ...]) -> None:
    partial, marks = whole.with_suffix(".partial"), whole.with_suffix(".done")
    done = np.zeros(len(photos), np.uint8)
    if partial.is_file() and marks.is_file() and marks.stat().st_size == len(photos):
        done = np.fromfile(marks, np.uint8)
    array = np.lib.format.open_memmap(partial, "r+" if done.any() else "w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # else a disk that gets full kills the process that writes to the map
        with partial.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)
    errors = _decode(split, photos, spec, array, done, marks)
    if errors:
        raise DataError(
            f"{len(errors)} of {len(photos)} photos can't be used; "
            f"if they have moved, say where with --data; else make the split again with 'allmasked split'",
            *errors[:20],
        )
    del array  # closed before it is renamed
    partial.replace(whole)
    marks.unlink()


def _decode(
    split: Split, photos: Sequence[Photo], spec: InputSpec, array: NDArray[np.uint8], done: NDArray[np.uint8],
    marks: Path,
) -> list[PhotoError]:  # fmt: skip
    """Decode the photos that ``done`` does not mark into ``array``, marking them in the file now and then."""

    def one(index: int) -> PhotoError | None:
        photo = photos[index]
        try:
            array[index] = pixels.read(content_of(split, photo), spec, name=photo.path)
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


# --- room -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One set of decoded photos, with the class folders made of it; ``used`` is when last, in seconds since 1970."""

    key: str
    paths: tuple[Path, ...]
    size_bytes: int
    used: float


def entries(folder: Path | None = None) -> list[Entry]:
    """All sets of decoded photos in the cache folder, finished or not, the one not used for longest first."""
    folder = folder or default_folder()
    found: dict[str, list[Path]] = {}
    for path in folder.glob("*") if folder.is_dir() else ():
        if name := re.fullmatch(r"([0-9a-f]{24})(\.npy|\.partial|\.done|-[0-9a-f]{8})", path.name):
            found.setdefault(name[1], []).append(path)
    made = []
    for key, paths in found.items():
        inside = [file for path in paths for file in (path.rglob("*") if path.is_dir() else (path,))]
        facts = [fact for file in inside if (fact := _stat(file))]
        own = [fact.st_mtime for path in paths if not path.is_dir() and (fact := _stat(path))]
        used = max(own or [fact.st_mtime for fact in facts], default=0.0)
        made.append(Entry(key, tuple(sorted(paths)), sum(fact.st_size for fact in facts), used))
    return sorted(made, key=lambda entry: entry.used)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # removed meanwhile by another process
        return None


def in_use(folder: Path, key: str) -> bool:
    """Whether a running process holds this set, or is filling it."""
    lock = lock_of(folder, key)
    if not _try(lock):
        return True
    try:
        return _held(folder, key)
    finally:
        lock.release()


def make_room(folder: Path, needed: float, spare: str = "") -> list[Entry]:
    """Remove the sets not used for longest until ``needed`` bytes more keep the limit; those in use and ``spare`` stay.

    Returns what was removed; it is told on stderr.
    """
    limit, found = limit_bytes(), entries(folder)
    total = needed + sum(entry.size_bytes for entry in found if entry.key != spare)
    gone = []
    for entry in found:
        if total > limit and entry.key != spare and remove(folder, entry):
            total -= entry.size_bytes
            gone.append(entry)
    if gone:
        size = sum(entry.size_bytes for entry in gone) / GB
        sets = "1 set" if len(gone) == 1 else f"{len(gone)} sets"
        why = f"to keep the limit of {limit / GB:g} GB (ALLMASKED_CACHE_GB)"
        stderr.print(f"{sets} of decoded photos not used for longest removed ({size:.1f} GB), {why}")
    return gone


def remove(folder: Path, entry: Entry) -> bool:
    """Remove one set unless it is in use; whether it was removed."""
    lock = _lock(folder / f"{entry.key}.lock")
    if not _try(lock):
        return False
    try:
        if _held(folder, entry.key):
            return False
        for path in entry.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return True
    except PermissionError:  # Windows keeps an open file
        return False
    finally:
        lock.release()


def told(folder: Path) -> str:
    """Where decoded photos lie and how much they take, as one line."""
    size = sum(entry.size_bytes for entry in entries(folder)) / GB
    where = f"{size:.1f} GB in {folder} (limit {limit_bytes() / GB:g} GB)"
    return f"decoded photos: {where}; 'allmasked cache' shows and clears them"


def _use(folder: Path, key: str) -> tuple[Any, Path]:
    """A lock that says that this process uses a set, and its file."""
    handle, name = tempfile.mkstemp(prefix=f"{key}.", suffix=".use", dir=folder)
    os.close(handle)
    lock = _lock(Path(name))
    lock.acquire()
    return lock, Path(name)


def _used(lock: Any, path: Path) -> None:
    lock.release()
    path.unlink(missing_ok=True)


def _held(folder: Path, key: str) -> bool:
    """Whether somebody uses a set whose lock we hold; marks of processes that were killed are removed."""
    for path in folder.glob(f"{key}.*.use"):
        lock = _lock(path)
        if not _try(lock):
            return True
        _used(lock, path)
    return False


def lock_of(folder: Path, key: str) -> Any:
    """The lock under which something in the cache is made or removed."""
    return _lock(folder / f"{key}.lock")


def _lock(path: Path) -> Any:
    return require("filelock", "train").FileLock(path, thread_local=False)


def _try(lock: Any) -> bool:
    """Take a lock at once, or don't."""
    try:
        lock.acquire(timeout=0)
    except require("filelock", "train").Timeout:
        return False
    return True
