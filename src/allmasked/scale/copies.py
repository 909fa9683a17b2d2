"""Data sets at addresses, copied to this machine: labels are read, photos compared and trained on from the copy.

A copy lies in the cache folder. What is there already and has not changed is not fetched again, so that what was
interrupted goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
from pathlib import Path, PurePosixPath

from allmasked.core.errors import ConfigError, DataError, PhotoError, expect
from allmasked.core.progress import tell, track
from allmasked.core.runs import replacing
from allmasked.core.types import Split
from allmasked.data.cache import COPIES, GB, default_folder, limit_bytes
from allmasked.data.dataset import write_split
from allmasked.images.pixels import SUFFIXES, hidden
from allmasked.predictors.addresses import (
    Item,
    ahead,
    clean,
    copy,
    files_below,
    is_address,
    known,
    local_path,
    outgoing,
)

MARKS = frozenset(
    {".csv", ".tsv", ".json", ".xml", ".txt", ".yaml", ".yml", ".names", ".labels", ".mat", ".parquet", ".tfrecord"}
)
"""Endings of files with labels; they and photos are copied, nothing else."""


def copied(data: str | os.PathLike[str]) -> Path:
    """The folder of this machine that holds the data set at an address, as it is now; a file of labels in its copy. A
    path as it is.

    A photo that can't be fetched is an empty file there, as one that is broken, and told on stderr.

    Raises:
        ConfigError: it is larger than what the cache may hold (``ALLMASKED_CACHE_GB``).
        DataError: it can't be listed, holds nothing, or a file of labels can't be fetched.
        MissingExtraError: data sets can't be read here (extra ``data``).
    """
    if not is_address(address := local_path(os.fspath(data))):
        return Path(address)
    expect("faiss", "data")  # which all who read data sets need, told before the photos are fetched
    base, file = address.rstrip("/"), ""
    if PurePosixPath(base).suffix.lower() in MARKS:
        base, _, file = base.rpartition("/")
    folder = copied_to(base)
    found: dict[Path, Item] = {}
    for names, item in files_below(base, SUFFIXES | MARKS):
        if any(name in ("", ".", "..") or "\\" in name for name in names):
            tell(f"{item.name}: is left out, its name can't be a file's")
        else:
            found[folder.joinpath(*names)] = item
    if not found:
        raise DataError(f"{clean(address)}: holds no photo and no file of labels")
    unknown = [path for path, item in found.items() if not item.etag]
    found |= {path: item for path, item in ahead(unknown, lambda path: known(found[path])) if isinstance(item, Item)}
    size = sum(max(item.size, 0) for item in found.values())
    if size > limit_bytes():
        raise ConfigError(
            f"{clean(address)}: holds {size / GB:.1f} GB, more than the {limit_bytes() / GB:g} GB that may be copied"
            f" to {default_folder()}; set ALLMASKED_CACHE_GB higher, or give a part of it"
        )
    for path in list(folder.rglob("*")):
        if path.is_file() and not hidden(path.name) and path not in found:  # hidden: what another process writes
            path.unlink(missing_ok=True)
    missing = [(path, item) for path, item in found.items() if not _is_current(path, item)]
    lost = []
    for (path, _), error in track(ahead(missing, _bring), f"copying {clean(base)}", len(missing)):
        if isinstance(error, PhotoError):
            if path.suffix.lower() in MARKS:
                raise DataError(str(error))
            lost.append(str(error))
            with contextlib.suppress(OSError), replacing(path):
                pass
    for line in [*lost[:10], *([f"... and {len(lost) - 10} more"] if len(lost) > 10 else [])]:
        tell(line)
    return folder / file


def copied_to(base: str) -> Path:
    """The folder of this machine for the copy of an address."""
    shown = clean(base.rstrip("/"))
    return default_folder() / COPIES / f"{PurePosixPath(shown).name}-{hashlib.sha256(shown.encode()).hexdigest()[:8]}"


def write_split_to(split: Split, out: str, data: str = "") -> None:
    """Write a ``split.json`` to a path or an address.

    At an address it says where its photos are from where it lies itself, if ``data``, the data set that the split was
    made of, is in the same store; else where they are on this machine.

    Raises:
        ConfigError, MissingExtraError, DataError: it can't be written there.
    """
    with outgoing(out) as (file, _):
        write_split(split, file, _root(split, local_path(out), local_path(data)))


def _root(split: Split, out: str, data: str) -> str | None:
    if not is_address(out):
        return None
    (store, _, file), (others, _, folder) = (place.rstrip("/").partition("://") for place in (out, data))
    if PurePosixPath(folder).suffix.lower() in MARKS:
        folder = folder.rpartition("/")[0]
    copy = copied_to(f"{others}://{folder}").resolve()
    if others != store or folder.split("/")[0] != file.split("/")[0] or split.root != copy:
        return split.root.as_posix()
    return posixpath.relpath(folder, posixpath.dirname(file))


def _stamp(item: Item) -> int:
    """The time that a copy has: it tells one version of the object from another, so no list of them is kept."""
    return int.from_bytes(hashlib.sha256(f"{item.etag} {item.size}".encode()).digest()[:4]) >> 1


def _is_current(path: Path, item: Item) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return bool(item.etag) and int(status.st_mtime) == _stamp(item) and item.size in (-1, status.st_size)


def _bring(given: tuple[Path, Item]) -> None:
    path, item = given
    try:
        with replacing(path) as temporary:
            copy(item, temporary)
            os.utime(temporary, (_stamp(item),) * 2)
    except OSError as error:
        raise PhotoError(item.name, f"cannot be copied to {path} ({(error.strerror or str(error)).lower()})") from None
