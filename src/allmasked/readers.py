"""Data sets into labelled photos: one reader a layout, one table (:data:`READERS`).

A detection set's boxes give each photo its label: ``all`` when every marked face is masked, ``none`` when no marked
face is, ``some`` otherwise. A photo without any marked face has no known label and is reported, not guessed.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from allmasked.errors import DataError, unknown
from allmasked.pixels import SUFFIXES
from allmasked.types import CLASSES, Face, Label, Photo, Wear

NUMBERS: dict[str, Label] = {"0": "none", "1": "all", "2": "some"}
"""The competition's numbers."""

CLASS_NAMES: dict[str, Label] = {**{name: name for name in CLASSES}, **NUMBERS}

WEAR_NAMES: dict[str, Wear | Literal["ignore"]] = {
    **dict.fromkeys(
        ["masked", "mask", "with_mask", "face_mask", "face_with_mask", "wearing_mask", "mask_on", "has_mask", "correct", "correct_mask", "mask_correct", "mask_worn_correctly", "mask_weared_correct", "with_mask_correct", "correctly_masked", "good"],
        "masked",
    ),
    **dict.fromkeys(
        ["unmasked", "without_mask", "no_mask", "nomask", "face", "face_no_mask", "face_without_mask", "not_wearing_mask", "mask_off", "no_face_mask", "non_mask", "bare", "bad", "face_other_covering"],
        "unmasked",
    ),
    **dict.fromkeys(
        ["incorrect", "mask_weared_incorrect", "mask_worn_incorrectly", "mask_worn_incorrect", "incorrect_mask", "mask_incorrect", "wrong_mask", "face_with_mask_incorrect", "with_mask_incorrect", "incorrectly_masked", "improperly"],
        "incorrect",
    ),
}
"""Class names of well-known detection sets (lower case, ``_`` between words) and what they mean here."""


@dataclass(frozen=True)
class Options:
    """How to read a data set.

    ``classes`` and ``wear`` (name -> meaning) come on top of :data:`CLASS_NAMES` and :data:`WEAR_NAMES`; a wear of
    ``ignore`` skips boxes of that name. ``incorrect_is`` says what a mask worn incorrectly counts as in labels.
    """

    layout: str | None = None
    classes: Mapping[str, str] | None = None
    wear: Mapping[str, str] | None = None
    incorrect_is: Literal["masked", "unmasked"] = "unmasked"

    def label(self, name: str) -> Label | None:
        """The label that a class name or number stands for, or None."""
        given = {key.lower(): value for key, value in (self.classes or {}).items()}
        found = given.get(name.strip().lower()) or CLASS_NAMES.get(name.strip().lower())
        return found  # type: ignore[return-value]

    def wearing(self, name: str) -> str | None:
        """What a detection class's name means: a :data:`Wear`, ``ignore``, or None where that is unknown."""
        given = {_plain(key): value for key, value in (self.wear or {}).items()}
        return given.get(_plain(name)) or WEAR_NAMES.get(_plain(name))

    def checked(self) -> Options:
        """These options, or the error that says what is wrong with them."""
        for kind, table, known in (
            ("class", self.classes, CLASSES),
            ("wear", self.wear, ("masked", "unmasked", "incorrect", "ignore")),
            ("meaning of incorrect", {"": self.incorrect_is}, ("masked", "unmasked")),
            ("layout", {"": self.layout} if self.layout else {}, READERS),
        ):
            for value in (table or {}).values():
                if value not in known:
                    raise unknown(kind, str(value), known)
        return self


class Problem(NamedTuple):
    """Something in a data set that can't be used: a photo, or a line of a file (``labels.csv:12``), and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Reader:
    """One layout. ``read(path, options, problems)`` gives the photos and adds to the problems."""

    name: str
    help: str
    detect: Callable[[Path, Options], bool]
    read: Callable[[Path, Options, list[Problem]], list[Photo]]


def read_dataset(
    path: str | Path, *, options: Options | None = None, **settings: Any
) -> tuple[Path, list[Photo], list[Problem]]:
    """Read a data set in any known layout.

    Args:
        path: a folder, or the CSV or JSON file that names the photos.
        options: how to read it; or ``settings``, its fields.

    Returns:
        The root that paths are relative to (absolute), the photos sorted by path, and what could not be used.

    Raises:
        DataError: not a data set, or no photo with a label in it.
        ConfigError: an option is wrong.
    """
    path = Path(path)
    options = (options or Options(**settings)).checked()
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if options.layout:
        reader = READERS[options.layout]
    else:
        found = [reader for reader in READERS.values() if reader.detect(path, options)]
        if not found:
            _refuse(path, options)
        reader = found[0]
    problems: list[Problem] = []
    photos = sorted(reader.read(path, options, problems), key=lambda photo: photo.path)
    if not photos:
        why = f" ({problems[0].path}: {problems[0].reason})" if problems else ""
        raise DataError(f"{path}: holds no photo with a label, read as {reader.name}{why}")
    return root_of(path), photos, problems


def root_of(path: str | Path) -> Path:
    """The folder that a data set's paths are relative to, absolute: the folder itself, or that of its file."""
    path = Path(path).resolve()
    return path.parent if path.is_file() else path


def _refuse(path: Path, options: Options) -> None:
    folders = sorted(p.name for p in path.iterdir() if p.is_dir() and not _hidden(p.name)) if path.is_dir() else []
    seen = f"; its folders are {', '.join(folders[:6])}{', ...' if len(folders) > 6 else ''}" if folders else ""
    raise DataError(
        f"{path}: is no data set in a known layout ({', '.join(READERS)}){seen}. "
        "Name class folders with --classes NAME=all,NAME=none,NAME=some or the layout with --layout"
    )


def label_of(faces: Iterable[Face], incorrect_is: str = "unmasked") -> Label | None:
    """The label that marked faces give a photo; None without faces."""
    masked = {face.wear == "masked" or (face.wear == "incorrect" and incorrect_is == "masked") for face in faces}
    if not masked:
        return None
    return "some" if len(masked) == 2 else "all" if True in masked else "none"


# --- files ------------------------------------------------------------------------------------------------------------


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _files(folder: Path, suffixes: Iterable[str]) -> Iterator[Path]:
    """Files below a folder with one of the suffixes (lower case), sorted, without hidden ones."""
    wanted = frozenset(suffixes)
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        for name in sorted(names):
            if not _hidden(name) and os.path.splitext(name)[1].lower() in wanted:
                yield Path(here, name)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", str(name).strip().lower()).strip("_")


class _Album:
    """Finds photos below a root by the names that annotations give them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in _files(root, SUFFIXES):
            relative = _relative(path, root)
            self._by_name[path.name].append(relative)
            self._by_name[path.stem].append(relative)
        self._all = {relative for found in self._by_name.values() for relative in found}

    def find(self, name: str, near: Path | None = None) -> tuple[str, str]:
        """(path relative to the root, "") or ("", why not). ``near``: a folder that is tried first."""
        given = PurePosixPath(str(name).strip().replace("\\", "/"))
        if not given.name:
            return "", "names no photo"
        if given.is_absolute():
            try:
                given = PurePosixPath(Path(given).resolve().relative_to(self.root.resolve()).as_posix())
            except ValueError:
                pass
        tries = [given] if near is None else [PurePosixPath(_relative(near, self.root)) / given, given]
        for path in tries:
            relative = os.path.normpath(path.as_posix()).replace(os.sep, "/")
            if relative in self._all:
                return relative, ""
        found = self._by_name.get(given.name) or self._by_name.get(given.stem) or []
        found = [path for path in found if path.endswith(given.as_posix())] or found
        if len(found) == 1:
            return found[0], ""
        if found:
            return "", f"{name} could be {found[0]} or {found[1]}"
        return "", f"there is no photo {name}"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: is not valid JSON ({error.msg})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read ({error})") from None


def _rows(path: Path, problems: list[Problem], root: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header (plain names) and rows with their line numbers of a CSV in any common dialect."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read as UTF-8 text ({error})") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    header: list[str] = []
    rows = []
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return header, rows
        except csv.Error as error:
            problems.append(Problem(f"{_relative(path, root)}:{reader.line_num}", f"is not a CSV row ({error})"))
            continue
        if not any(cell.strip() for cell in row):
            continue
        if not header:
            header = [_plain(cell) for cell in row]
        elif len(row) < len(header):
            line = f"{_relative(path, root)}:{reader.line_num}"
            problems.append(Problem(line, f"has {len(row)} of {len(header)} columns"))
        else:
            rows.append((reader.line_num, row))


def _unlabelled(path: str, problems: list[Problem]) -> None:
    problems.append(Problem(path, "no face is marked on it, so its label is unknown"))


# --- class folders ----------------------------------------------------------------------------------------------------


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not _hidden(p.name)) if path.is_dir() else []


def _detect_folders(path: Path, options: Options) -> bool:
    return any(options.label(folder.name) for folder in _folders(path))


def _read_folders(path: Path, options: Options, problems: list[Problem]) -> list[Photo]:
    photos: list[Photo] = []
    strange = []
    for folder in _folders(path):
        files = list(_files(folder, SUFFIXES))
        label = options.label(folder.name)
        if label is None and files:
            strange.append(folder.name)
        elif label is not None:
            photos += [Photo(_relative(file, path), label) for file in files]
    if strange:
        raise DataError(
            f"{path}: folder {strange[0]!r} holds photos but is no known class (all, none, some or 0, 1, 2); "
            f"say what it is with --classes {strange[0]}=all (or none, some)"
        )
    boxes = path / "faces.csv"
    return _with_faces(photos, boxes, path, options, problems) if boxes.is_file() else photos


def _with_faces(photos: list[Photo], boxes: Path, root: Path, options: Options, problems: list[Problem]) -> list[Photo]:
    """The photos with the faces that a ``faces.csv`` marks: photo, wear, left, top, right, bottom (px)."""
    header, rows = _rows(boxes, problems, root)
    columns = ("photo", "wear", "left", "top", "right", "bottom")
    if missing := [name for name in columns if name not in header]:
        raise DataError(f"{boxes}:1: has no column {missing[0]!r}; its columns must be {','.join(columns)}")
    at = [header.index(name) for name in columns]
    known = {photo.path for photo in photos}
    faces: dict[str, list[Face]] = defaultdict(list)
    for line, row in rows:
        photo, wear, *edges = (row[k].strip() for k in at)
        where = f"{_relative(boxes, root)}:{line}"
        meaning = options.wearing(wear)
        if photo not in known:
            problems.append(Problem(where, f"there is no photo {photo}"))
        elif meaning is None:
            problems.append(Problem(where, f"wear {wear!r} is none of masked, unmasked, incorrect"))
        elif meaning != "ignore":
            face = _face(meaning, edges)
            if face is None:
                problems.append(Problem(where, f"{', '.join(edges)} is no box (left, top, right, bottom in px)"))
            else:
                faces[photo].append(face)
    return [replace(photo, faces=tuple(faces[photo.path])) if photo.path in faces else photo for photo in photos]


def _face(wear: str, edges: Sequence[Any]) -> Face | None:
    """A face from four edges (px), or None where they are no box."""
    try:
        left, top, right, bottom = (float(edge) for edge in edges)
    except (TypeError, ValueError):
        return None
    return Face(wear, left, top, right, bottom) if left < right and top < bottom else None  # type: ignore[arg-type]


READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (Reader("folders", "class folders: all, none, some (or 0, 1, 2)", _detect_folders, _read_folders),)
}
"""All layouts, in the order in which they are tried."""
