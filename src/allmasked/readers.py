"""Data sets into labelled photos: one reader a layout, one table (:data:`READERS`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from allmasked.annotations import (
    Album,
    Options,
    Problem,
    face_of,
    files_in,
    folders_in,
    hidden,
    read_document,
    read_table,
    relative,
)
from allmasked.detection import detect_coco, detect_voc, detect_yolo, read_coco, read_voc, read_yolo
from allmasked.errors import DataError, unknown
from allmasked.pixels import SUFFIXES
from allmasked.types import LABELS, Face, Label, Photo

__all__ = ["READERS", "Options", "Problem", "Reader", "read_dataset", "root_of"]


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
    options = options or Options(**settings)
    _check(options)
    given, path = path, Path(path).resolve()
    if not path.exists():
        raise DataError(f"{given}: no such file or folder")
    if options.layout:
        reader = READERS[options.layout]
    else:
        found = next((reader for reader in READERS.values() if reader.detect(path, options)), None)
        reader = found or _refuse(path)
    problems: list[Problem] = []
    photos = sorted(reader.read(path, options, problems), key=lambda photo: photo.path)
    if not photos:
        why = f" ({problems[0].path}: {problems[0].reason})" if problems else ""
        raise DataError(f"{given}: holds no photo with a label, read as {reader.name}{why}")
    return root_of(path), photos, problems


def root_of(path: str | Path) -> Path:
    """The folder that a data set's paths are relative to, absolute: the folder itself, or that of its file."""
    path = Path(path).resolve()
    return path.parent if path.is_file() else path


def _check(options: Options) -> None:
    tables: tuple[tuple[str, Mapping[str, str | None] | None, Any], ...] = (
        ("class", options.classes, LABELS),
        ("wear", options.wear, ("masked", "unmasked", "incorrect", "ignore")),
        ("meaning of incorrect", {"": options.incorrect_is}, ("masked", "unmasked")),
        ("layout", {"": options.layout} if options.layout else {}, READERS),
    )
    for kind, table, known in tables:
        for value in (table or {}).values():
            if value not in known:
                raise unknown(kind, str(value), known)


def _refuse(path: Path) -> Reader:
    folders = [folder.name for folder in folders_in(path)]
    seen = f"; its folders are {', '.join(folders[:6])}{', ...' if len(folders) > 6 else ''}" if folders else ""
    raise DataError(
        f"{path}: is no data set in a known layout ({', '.join(READERS)}){seen}. "
        "Say what class folders mean with --classes NAME=all,NAME=none,NAME=some, or name the layout with --layout"
    )


# --- class folders ----------------------------------------------------------------------------------------------------


def _detect_folders(path: Path, options: Options) -> bool:
    return any(options.label(folder.name) for folder in folders_in(path))


def _read_folders(path: Path, options: Options, problems: list[Problem]) -> list[Photo]:
    """Photos anywhere below folders named as classes, with the faces of a ``faces.csv`` beside the folders."""
    photos: list[Photo] = []
    for folder in folders_in(path):
        label = options.label(folder.name)
        found = [relative(file, path) for file in files_in(folder, SUFFIXES)]
        if label is None and found:
            raise DataError(
                f"{path}: folder {folder.name!r} holds photos but is no known class (all, none, some or 0, 1, 2); "
                f"say which with --classes {folder.name}=all (or none, some)"
            )
        if label is not None:
            photos += [Photo(name, label) for name in found]
    if not photos and not folders_in(path):
        raise DataError(f"{path}: has no class folders")
    boxes = path / "faces.csv"
    return _with_faces(photos, boxes, options, problems) if boxes.is_file() else photos


def _with_faces(photos: list[Photo], boxes: Path, options: Options, problems: list[Problem]) -> list[Photo]:
    """The photos with the faces that a ``faces.csv`` marks: photo, wear, left, top, right, bottom (px).

    Where a row can't be used, its photo's faces stay unknown: a part of them would be wrong.
    """
    header, rows = read_table(boxes, problems, boxes.name)
    columns = ("photo", "wear", "left", "top", "right", "bottom")
    if missing := [name for name in columns if name not in header]:
        raise DataError(f"{boxes}:1: has no column {missing[0]!r}; its columns must be {','.join(columns)}")
    at = [header.index(name) for name in columns]
    known = {photo.path for photo in photos}
    faces: dict[str, list[Face]] = defaultdict(list)
    spoilt = set()
    for line, row in rows:
        photo, wear, *edges = (row[k].strip() for k in at)
        meaning = options.wearing(wear)
        face = face_of(meaning, edges) if meaning else None
        if photo not in known:
            problems.append(Problem(f"{boxes.name}:{line}", f"there is no photo {photo}"))
        elif meaning is None:
            problems.append(Problem(f"{boxes.name}:{line}", f"wear {wear!r} is none of masked, unmasked, incorrect"))
            spoilt.add(photo)
        elif meaning != "ignore" and face is None:
            problems.append(Problem(f"{boxes.name}:{line}", f"{', '.join(edges)} is no box (edges in px)"))
            spoilt.add(photo)
        elif meaning != "ignore" and face is not None:
            faces[photo].append(face)
    return [
        replace(photo, faces=tuple(faces[photo.path])) if photo.path in faces and photo.path not in spoilt else photo
        for photo in photos
    ]


# --- a file of names and labels ---------------------------------------------------------------------------------------


def _competition_file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.name.endswith("_gt.json") else None
    return next((file for file in files_in(path, [".json"]) if file.name.endswith("_gt.json")), None)


def _detect_competition(path: Path, options: Options) -> bool:  # noqa: ARG001
    return _competition_file(path) is not None


def _read_competition(path: Path, options: Options, problems: list[Problem]) -> list[Photo]:
    """The photos that ``train_gt.json`` names (name -> 0, 1, 2); others, as the competition's test set, are passed."""
    file = _competition_file(path) or (path if path.is_file() else None)
    if file is None:
        raise DataError(f"{path}: has no train_gt.json")
    content = read_document(file)
    if not isinstance(content, dict):
        raise DataError(f"{file}:1: must be a table of photo names and 0, 1 or 2")
    found = _Labels(Album(root_of(path)), options, problems)
    for name, value in content.items():
        found.add(relative(file, found.album.root), name, value, file.parent)
    return found.photos()


_PATH_COLUMNS = (
    "path",
    "photo",
    "image",
    "file",
    "filename",
    "file_name",
    "image_path",
    "filepath",
    "name",
    "image_id",
)
_LABEL_COLUMNS = ("label", "class", "category", "target", "y")


def _columns(header: list[str]) -> tuple[int, int] | None:
    path = next((header.index(name) for name in _PATH_COLUMNS if name in header), None)
    label = next((header.index(name) for name in _LABEL_COLUMNS if name in header), None)
    return None if path is None or label is None else (path, label)


def _csv_file(path: Path) -> Path | None:
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file() and not hidden(p.name))
    for file in files:
        if file.suffix.lower() in (".csv", ".tsv") and _columns(read_table(file, [], file.name)[0]):
            return file
    return None


def _detect_csv(path: Path, options: Options) -> bool:  # noqa: ARG001
    return _csv_file(path) is not None


def _read_csv(path: Path, options: Options, problems: list[Problem]) -> list[Photo]:
    """Rows of a path and a label (a class's name or number); further columns are passed."""
    file = _csv_file(path)
    if file is None:
        raise DataError(f"{path}: has no CSV with a column 'path' and a column 'label'")
    header, rows = read_table(file, problems, file.name)
    columns = _columns(header)
    assert columns is not None
    found = _Labels(Album(root_of(path)), options, problems)
    for line, row in rows:
        found.add(f"{file.name}:{line}", row[columns[0]], row[columns[1]], file.parent)
    return found.photos()


class _Labels:
    """Labels gathered for photos by name; a photo named twice with different labels is a problem."""

    def __init__(self, album: Album, options: Options, problems: list[Problem]) -> None:
        self.album, self.options, self.problems = album, options, problems
        self.labels: dict[str, Label | None] = {}

    def add(self, where: str, name: object, value: object, near: Path) -> None:
        photo, reason = self.album.find(name, near)
        label = self.options.label(value)
        if label is None:
            reason = reason or f"label {str(value)[:40]!r} of {name} is none of all, none, some or 0, 1, 2 (--classes)"
        elif photo and self.labels.setdefault(photo, label) not in (label, None):
            reason = f"{photo} is {label} here and {self.labels[photo]} before, so its label is unknown"
            self.labels[photo] = None
        if reason:
            self.problems.append(Problem(where, reason))

    def photos(self) -> list[Photo]:
        return [Photo(path, label) for path, label in self.labels.items() if label is not None]


READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("folders", "class folders all, none, some (or 0, 1, 2)", _detect_folders, _read_folders),
        Reader("competition", "an image folder and train_gt.json", _detect_competition, _read_competition),
        Reader("coco", "COCO: JSON of images, annotations, categories", detect_coco, read_coco),
        Reader("voc", "Pascal VOC: an XML file a photo", detect_voc, read_voc),
        Reader("yolo", "YOLO: a text file a photo, data.yaml or classes.txt", detect_yolo, read_yolo),
        Reader("csv", "a CSV of path and label", _detect_csv, _read_csv),
    )
}
"""All layouts, in the order in which they are tried."""
