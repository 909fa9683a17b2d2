"""Which photo files paths, folders and patterns stand for."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator

from allmasked.images import pixels as px


def find_photos(paths: Iterable[str], *, patterns: bool = True) -> Iterator[tuple[str, str]]:
    """(name, path) of every photo that ``paths`` stand for; both are the path as found, relative if given so.

    A file stands for itself, whatever its name. A folder stands for the photos in it and in the folders below, in
    sorted order (by suffix, see :data:`allmasked.images.pixels.SUFFIXES`; hidden ones and those of systems, see
    :func:`allmasked.images.pixels.hidden`, left out, no folder twice). A pattern (``*``, ``?``, ``[...]``, ``**``) that
    is no file's name stands for the photos and folders that it matches, unless ``patterns`` is off. What doesn't exist
    stands for itself too: reading it gives the error.
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
            if any(px.hidden(name) and name[0] != part[0] for name, part in zip(path.split("/"), parts)):
                continue
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
        if matches(below.split("/"), parts[fixed:]):
            path = path if base else below
            yield path, path


def matches(names: list[str], parts: list[str]) -> bool:
    """Whether the parts of a path match those of a pattern, ``**`` standing for any number of them."""
    if not parts or not names:
        return not names and all(part == "**" for part in parts)
    if parts[0] == "**":
        return matches(names, parts[1:]) or matches(names[1:], parts)
    return fnmatch.fnmatchcase(names[0], parts[0]) and matches(names[1:], parts[1:])


def _photos_below(folder: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    try:
        status = os.stat(folder)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:  # reached by another way before
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            found = sorted((entry.name, os.path.isdir(entry)) for entry in entries if not px.hidden(entry.name))  # noqa: PTH112
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
