"""Data sets into labelled photos: one reader a layout, one table (:data:`READERS`)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from allmasked.core.errors import DataError, one_line, unknown
from allmasked.core.text import shown
from allmasked.core.types import LABELS, NOBODY, Face, Part, Photo
from allmasked.data import albums, documents, tables
from allmasked.data.albums import Album, Problem, files_in, folder_of, folders_in, part_named, part_of, relative
from allmasked.data.annotations import WEARS, Notes, Options, face_of
from allmasked.data.detection import detect_cvat, detect_voc, detect_yolo, read_cvat, read_voc, read_yolo
from allmasked.images.pixels import SUFFIXES

__all__ = ["READERS", "Notes", "Options", "Problem", "Reader", "Reading", "read", "read_dataset", "root_of"]


@dataclass(frozen=True)
class Reader:
    """One layout. ``read(path, options, notes)`` gives the photos and adds to the notes."""

    name: str
    help: str
    detect: Callable[[Path, Options], bool]
    read: Callable[[Path, Options, Notes], list[Photo]]


@dataclass(frozen=True)
class Reading:
    """A data set as it was read: ``root`` that paths are relative to (absolute), ``photos`` sorted by path,
    ``problems`` (what could not be used), ``said`` (in words, how it was understood), and for those photos that the
    data set puts into a part of its own, which."""

    root: Path
    layout: str
    photos: tuple[Photo, ...]
    problems: tuple[Problem, ...]
    said: tuple[str, ...]
    parts: Mapping[str, Part]


def read(path: str | Path, *, options: Options | None = None) -> Reading:
    """Read a data set in any known layout.

    Args:
        path: a folder, or the file (CSV, JSON, XML) that names the photos.

    Raises:
        DataError: not a data set, no photo with a label in it, or two of its files contradict each other.
        ConfigError: an option is wrong.
    """
    options = options or Options()
    _check(options)
    given, path = path, absolute(path)
    if not path.exists():
        raise DataError(f"{given}: no such file or folder")
    if shown(str(path)) != str(path):
        raise DataError(f"{shown(str(path))}: its name is not UTF-8; rename it")
    fitting = [reader for reader in READERS.values() if reader.detect(path, options)]
    reader = READERS[options.layout] if options.layout else fitting[0] if fitting else _refuse(path)
    notes = Notes()
    photos = []
    for photo in sorted(reader.read(path, options, notes), key=lambda photo: photo.path):
        if shown(photo.path) != photo.path:
            notes.problem(photo.path, "its name is not UTF-8; rename it")
        elif "\\" in photo.path:
            notes.problem(photo.path, "its name holds a backslash; rename it")
        else:
            photos.append(photo)
    if not options.layout:
        _check_others(path, reader, photos, fitting, options)
    if not photos:
        why = f" ({shown(notes.problems[0].path)}: {notes.problems[0].reason})" if notes.problems else ""
        raise DataError(f"{given}: holds no photo with a label, read as {reader.name}{why}")
    root = root_of(path)
    _tell_other_photos(root, notes)
    parts = _given_parts(root, photos, notes)
    problems = tuple(Problem(shown(problem.path), one_line(shown(problem.reason))) for problem in notes.problems)
    others = [other.name for other in fitting if other is not reader]
    said = (f"read as {reader.name}: {reader.help}", *map(shown, _said(notes, parts, others)))
    return Reading(root, reader.name, tuple(photos), problems, said, parts)


def read_dataset(
    path: str | Path, *, options: Options | None = None, **settings: Any
) -> tuple[Path, list[Photo], list[Problem]]:
    """Root, photos and problems of :func:`read`; ``settings`` are fields of :class:`Options`."""
    reading = read(path, options=options or Options(**settings))
    return reading.root, list(reading.photos), list(reading.problems)


def root_of(path: str | Path) -> Path:
    """The folder that a data set's paths are relative to, absolute: the folder itself, or that of its file."""
    return folder_of(absolute(path))


def absolute(path: str | Path) -> Path:
    """The path with its links followed; raises :class:`DataError` where they lead in a circle."""
    try:
        return Path(path).resolve()
    except (RuntimeError, OSError):
        raise DataError(f"{path}: is a link that leads back to itself; give the folder") from None


def _check_others(path: Path, reader: Reader, photos: list[Photo], fitting: list[Reader], options: Options) -> None:
    """Refuse a data set that other layouts fit, too, where one of them gives a photo another label."""
    labels = {photo.path: photo.label for photo in photos}
    for other in fitting:
        if other is reader:
            continue
        try:
            read_otherwise = other.read(path, options, Notes())
        except DataError:  # its own concern: it is not read
            continue
        for photo in read_otherwise:
            label = labels.get(photo.path, photo.label)
            boxed = NOBODY not in (label, photo.label) or (photo.label != NOBODY and bool(photo.faces))
            if label != photo.label and boxed:
                raise DataError(
                    f"{path}: {photo.path} is {label} as {reader.name} and {photo.label} as {other.name}; say which "
                    f"counts with --layout {reader.name} or --layout {other.name}"
                )


def _said(notes: Notes, parts: Mapping[str, Part], others: list[str]) -> list[str]:
    """How a data set was understood, in words."""
    said = [f"it also looks like {', '.join(others)}, which is not read (--layout {others[0]})"] if others else []
    said += notes.said
    if notes.names:
        names = [f"{name!r} is {meaning} ({count:,})" for (name, meaning), count in notes.names.most_common(20)]
        said.append(f"names: {', '.join(names)}")
    counts = Counter(parts.values())
    if len(counts) > 1:
        listed = ", ".join(f"{part} {counts[part]:,}" for part in ("train", "validation", "test") if counts[part])
        said.append(f"its own parts: {listed}; 'split --parts given' keeps them")
    return said


_LISTS: dict[str, Part] = {"train.txt": "train", "val.txt": "validation", "valid.txt": "validation", "test.txt": "test"}
"""Files that list a part's photos by path or name, as VOC's ``ImageSets/Main`` and YOLO have them."""


def _given_parts(root: Path, photos: list[Photo], notes: Notes) -> dict[str, Part]:
    """The part of each photo as the data set says it: in a list of a part's photos, else by its folders, else by the
    name of the file that marks it."""
    parts: dict[str, Part] = {}
    marked = Counter(notes.sources.values())
    for photo in photos:
        source = notes.sources.get(photo.path, "")
        of_many = PurePosixPath(source).stem if marked[source] > 1 else ""  # one of a photo is called like the photo
        part = part_of(photo.path) or part_named(of_many) or part_of(source)
        if part:
            parts[photo.path] = part
    lists = [file for file in files_in(root, [".txt"]) if file.name.lower() in _LISTS]
    if not lists:
        return parts
    album = Album(root)
    listed: dict[str, str] = {}
    labelled = {photo.path for photo in photos}
    stems = {PurePosixPath(path).stem for path in album.paths}
    for file in lists:
        part = _LISTS[file.name.lower()]
        if file.stem in stems:  # test.txt may hold the labels of test.jpg
            continue
        try:
            lines = albums.read_text(file).splitlines()
        except DataError as error:
            notes.problems.append(albums.told(error, root))
            continue
        for line in filter(str.strip, lines):
            name = album.find(line, near=file)[0] or album.find(line.split()[0], near=file)[0]
            if name not in labelled:
                continue
            before = listed.setdefault(name, relative(file, root))
            if before != relative(file, root) and parts[name] != part:
                raise DataError(f"{root}: {before} and {relative(file, root)} contradict each other: both name {name}")
            parts[name] = part
    return parts


def _check(options: Options) -> None:
    tables_: tuple[tuple[str, Mapping[str, str | None] | None, Any], ...] = (
        ("class", options.classes, (*LABELS, "ignore")),
        ("wear", options.wear, WEARS),
        ("meaning of incorrect", {"": options.incorrect_is}, ("masked", "bare")),
        ("layout", {"": options.layout} if options.layout else {}, READERS),
    )
    for kind, table, known in tables_:
        for value in (table or {}).values():
            if value not in known:
                raise unknown(kind, str(value), known)


_ANNOTATIONS = (".csv", ".json", ".xml", ".mat", ".tfrecord", ".record", ".parquet", ".txt")


def _tell_other_photos(root: Path, notes: Notes) -> None:
    found: dict[str, list[Path]] = defaultdict(list)
    for reason, file in albums.other_photos(root):
        found[reason].append(file)
    for reason, files in found.items():
        many = f"and {len(files) - 1:,} more are" if len(files) > 1 else "is"
        notes.problem(relative(files[0], root), f"{many} not read, being {reason}")


def _refuse(path: Path) -> Reader:
    folders = [shown(folder.name) for folder in folders_in(path)]
    seen = f"; its folders are {', '.join(folders[:6])}{', ...' if len(folders) > 6 else ''}" if folders else ""
    marks = next(iter(files_in(path, _ANNOTATIONS)), None) if path.is_dir() else None
    other = ""
    if marks:
        other = (
            f". {shown(relative(marks, path))} is of none of these layouts: export it as COCO, Pascal VOC or YOLO, or "
            "as a CSV whose first line names its columns (photo,label)"
        )
    raise DataError(
        f"{path}: is not a data set in any known layout ({', '.join(READERS)}){seen}{other}. Say what class folders "
        "mean with --classes NAME=all,NAME=none,NAME=some (or ignore), or name the layout with --layout"
    )


# --- class folders ----------------------------------------------------------------------------------------------------


def _class_folders(path: Path, options: Options) -> tuple[dict[Path, str], list[Path]]:
    """The class folders of a data set with their labels, and the folders beside them that are none.

    They lie in the data set's folder itself, in folders of its parts (train, valid, test), or in the only folder there.
    """
    found: dict[Path, str] = {}
    others: list[Path] = []
    folders = folders_in(path)
    for folder in folders:
        label = options.label(folder.name)
        if label:
            found[folder] = label
            continue
        within: dict[Path, str] = {}
        if part_named(folder.name) or len(folders) == 1:
            within, strays = _class_folders(folder, options)
            others += strays if within else []
        if within:
            found |= within
        else:
            others.append(folder)
    return found, others


def _detect_folders(path: Path, options: Options) -> bool:
    labels = {(folder.name, label) for folder, label in _class_folders(path, options)[0].items()}
    plain_names = {name.lower() for name, _ in labels} & {*LABELS, "0", "1", "2"}
    given = {name for name, _ in labels if any(name.lower() == one.lower() for one in options.classes or {})}
    return bool(plain_names or given or len({label for _, label in labels}) > 1)


def _read_folders(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """Photos anywhere below folders named as classes, with the faces of a ``faces.csv`` beside the folders."""
    found, others = _class_folders(path, options)
    options = options.knowing_none(path, (folder.name for folder in (*found, *others)))
    found, others = _class_folders(path, options)
    if not found:
        raise DataError(f"{path}: has no class folders")
    for folder in others:
        count = sum(1 for _ in files_in(folder, SUFFIXES))
        if count and part_named(folder.name):
            notes.problem(relative(folder, path), f"its {count:,} photos lie in no class folder, so they have no label")
        elif count:
            raise DataError(
                f"{path}: folder {shown(folder.name)!r} holds photos but is no known class (all, none, some or 0, 1, "
                f"2); say which with --classes '{shown(folder.name)}=all' (or none, some, nobody, ignore)"
            )
    photos: list[Photo] = []
    for folder, label in found.items():
        files = [relative(file, path) for file in files_in(folder, SUFFIXES)]
        notes.names[folder.name, label] += len(files)
        if label == "ignore":
            continue
        for name in files:
            _check_inside(path, name, folder, label, options)
        photos += [Photo(name, label, faces=() if label == NOBODY else None) for name in files]  # type: ignore[arg-type]
    loose = sum(1 for file in path.iterdir() if file.is_file() and file.suffix.lower() in SUFFIXES)
    if loose:
        notes.problem(".", f"{loose:,} photos beside the class folders have no label")
    boxes = path / "faces.csv"
    return _with_faces(photos, boxes, options, notes) if boxes.is_file() else photos


def _check_inside(root: Path, name: str, folder: Path, label: str, options: Options) -> None:
    """Refuse a photo that lies in folders of two classes; numbers inside a class folder are only numbers."""
    for inner in (root / name).parent.relative_to(folder).parts:
        other = options.label(inner)
        if other and not inner.isdigit() and other not in (label, "ignore"):
            raise DataError(
                f"{root}: {name} lies in a folder of class {label} ({folder.name}) and in one of class {other} "
                f"({inner}); if {folder.name} means no class, give {folder} as DATA"
            )


def _with_faces(photos: list[Photo], boxes: Path, options: Options, notes: Notes) -> list[Photo]:
    """The photos with the faces that a ``faces.csv`` marks: photo, wear, left, top, right, bottom (px).

    Where a row can't be used, its photo's faces stay unknown: a part of them would be wrong.
    """
    header, rows = albums.read_table(boxes, notes.problems, boxes.name)
    header = [name.lower() for name in header]
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
            notes.problem(f"{boxes.name}:{line}", f"there is no photo {photo}")
        elif meaning is None:
            notes.problem(f"{boxes.name}:{line}", f"wear {wear!r} is none of masked, bare, incorrect, unknown")
            spoilt.add(photo)
        elif meaning != "ignore" and face is None:
            notes.problem(f"{boxes.name}:{line}", f"{', '.join(edges)} is no box (edges in px)")
            spoilt.add(photo)
        elif meaning != "ignore" and face is not None:
            faces[photo].append(face)
    return [
        replace(photo, faces=tuple(faces[photo.path])) if photo.path in faces and photo.path not in spoilt else photo
        for photo in photos
    ]


READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("folders", "class folders all, none, some (or 0, 1, 2, or known names)", _detect_folders, _read_folders),
        Reader(
            "competition", "an image folder and train_gt.json", tables.detect_competition, tables.read_competition
        ),
        Reader("coco", "COCO: JSON of images, annotations, categories", documents.detect("coco"), documents.read_coco),
        Reader("voc", "Pascal VOC: an XML file a photo", detect_voc, read_voc),
        Reader("cvat", "CVAT's XML: one file of images and their boxes", detect_cvat, read_cvat),
        Reader("createml", "CreateML: JSON of images and coordinates", documents.detect("createml"),
               documents.read_createml),
        Reader("labelme", "labelme: a JSON file a photo", documents.detect("labelme"), documents.read_labelme),
        Reader("supervisely", "Supervisely: a JSON file a photo, in ann beside img", documents.detect("supervisely"),
               documents.read_supervisely),
        Reader("yolo", "YOLO: a text file a photo, data.yaml or classes.txt", detect_yolo, read_yolo),
        Reader("boxes", "a CSV with a row a box", tables.detect(tables.is_boxes), tables.read_boxes),
        Reader("csv", "a CSV of path and label", tables.detect(tables.is_labels), tables.read_csv),
        Reader("onehot", "a CSV with a column of 0 and 1 a class", tables.detect(tables.is_one_hot),
               tables.read_one_hot),
        Reader("retinanet", "a CSV without header: path, x1, y1, x2, y2, class", tables.detect(tables.is_bare),
               tables.read_bare),
    )
}  # fmt: skip
"""All layouts, in the order in which they are tried."""
