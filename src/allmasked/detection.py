"""Readers of detection sets: Pascal VOC, YOLO and COCO. The boxes' classes give each photo its label."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from allmasked import pixels
from allmasked.annotations import (
    Album,
    Options,
    Problem,
    face_of,
    files_in,
    labelled,
    plain,
    read_document,
    relative,
)
from allmasked.errors import DataError, require
from allmasked.types import Face, Photo


class _Marks:
    """Faces gathered for photos; names of classes that mean nothing known are collected and refused at the end."""

    def __init__(self, root: Path, options: Options, problems: list[Problem]) -> None:
        self.root, self.options, self.problems = root, options, problems
        self.faces: dict[str, list[Face]] = defaultdict(list)
        self.strange: Counter[str] = Counter()

    def add(self, where: str, photo: str, name: object, edges: list[Any]) -> None:
        """One box (left, top, right, bottom px) of a class on a photo; ``where`` names its file and line."""
        wear = self.options.wearing(name)
        if wear is None:
            self.strange[str(name)] += 1
        elif wear != "ignore":
            face = face_of(wear, edges)
            if face is None:
                self.problems.append(Problem(where, f"{', '.join(map(str, edges))} is no box (edges in px)"))
            else:
                self.faces[photo].append(face)

    def photos(self, album: Album) -> list[Photo]:
        if self.strange:
            names = ", ".join(f"{name!r} ({count:,})" for name, count in self.strange.most_common(8))
            first = plain(self.strange.most_common(1)[0][0])
            raise DataError(
                f"{self.root}: no meaning is known of the classes {names}; "
                f"give it with --wear {first}=masked (or unmasked, incorrect, ignore)"
            )
        return labelled(album.paths, self.faces, self.options, self.problems)


# --- Pascal VOC: an XML file a photo ----------------------------------------------------------------------------------


def detect_voc(path: Path, options: Options) -> bool:  # noqa: ARG001
    first = next(files_in(path, [".xml"]), None) if path.is_dir() else None
    return first is not None and b"<annotation" in first.read_bytes()


def read_voc(path: Path, options: Options, problems: list[Problem]) -> list[Photo]:
    """Boxes of the XML files below a folder. A file belongs to the photo with its own name, else to its filename."""
    album = Album(path)
    stems: dict[str, list[str]] = defaultdict(list)
    for photo in album.paths:
        stems[PurePosixPath(photo).stem].append(photo)
    marks = _Marks(path, options, problems)
    for file in files_in(path, [".xml"]):
        name = relative(file, path)
        try:
            content = file.read_bytes()
            if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
                raise ValueError("it declares entities, which no annotation needs")
            tree = ElementTree.fromstring(content)
        except ElementTree.ParseError as error:
            problems.append(Problem(f"{name}:{error.position[0]}", f"is not valid XML ({error})"))
            continue
        except (OSError, ValueError, LookupError) as error:
            problems.append(Problem(name, f"can't be read ({error})"))
            continue
        if tree.tag != "annotation":
            continue
        photo, reason = _photo_of(file, tree, album, stems.get(file.stem, []))
        if not photo:
            problems.append(Problem(name, reason))
            continue
        for number, item in enumerate(tree.iter("object"), start=1):
            edges = [item.findtext(f"bndbox/{edge}", "").strip() for edge in ("xmin", "ymin", "xmax", "ymax")]
            marks.add(f"{name}: object {number}", photo, item.findtext("name", "").strip(), edges)
    return marks.photos(album)


def _photo_of(file: Path, tree: ElementTree.Element, album: Album, same_stem: list[str]) -> tuple[str, str]:
    """The photo of a VOC file: that of the same name (files are often renamed, their content not), else as it says."""
    beside = [photo for photo in same_stem if (album.root / photo).parent == file.parent]
    if len(beside or same_stem) == 1:
        return (beside or same_stem)[0], ""
    return album.find(tree.findtext("filename", ""), near=file.parent)


# --- YOLO: a text file a photo, names of classes beside ---------------------------------------------------------------


def _yolo_names(path: Path) -> tuple[Path, dict[int, str]] | None:
    """The file that names the classes, and the names by number; None where there is none."""
    for file in files_in(path, [".yaml", ".yml"]):
        content = _yaml(file)
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, list):
            return file, {number: str(name) for number, name in enumerate(names)}
        if isinstance(names, dict) and all(str(number).isdigit() for number in names):
            return file, {int(number): str(name) for number, name in names.items()}
    for file in files_in(path, [".txt", ".names"]):
        if file.name in ("classes.txt", "obj.names", "_darknet.labels"):
            lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            return file, {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    return None


def _yaml(file: Path) -> Any:
    yaml = require("yaml", "train")
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except yaml.YAMLError as error:
        line = f":{error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise DataError(f"{file}{line}: is not valid YAML ({getattr(error, 'problem', error)})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: can't be read ({error})") from None


def detect_yolo(path: Path, options: Options) -> bool:  # noqa: ARG001
    return path.is_dir() and _yolo_names(path) is not None


def read_yolo(path: Path, options: Options, problems: list[Problem]) -> list[Photo]:
    """Lines ``class x y width height`` (centre and size in shares of the upright photo), or polygons, beside the
    photos or in a folder ``labels`` where the photos' is ``images``."""
    named = _yolo_names(path)
    if named is None:
        raise DataError(f"{path}: names no classes; a YOLO set has them in data.yaml (names: ...) or classes.txt")
    album, marks = Album(path), _Marks(path, options, problems)
    for photo in album.paths:
        file = next((file for file in _yolo_labels(path, photo) if file.is_file()), None)
        if file is None:
            continue
        lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        if not any(line.strip() for line in lines):
            continue
        try:
            width, height = pixels.upright_size(path / photo)
        except Exception:  # decoders raise many kinds; that the photo is broken is told where it is read
            width, height = 1, 1
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{relative(file, path)}:{number}"
            try:
                kind, *values = (float(value) for value in line.split())
                name = named[1][int(kind)]
                left, top, right, bottom = _yolo_box(values)
            except KeyError:
                problems.append(Problem(where, f"class {line.split()[0]} is not in {relative(named[0], path)}"))
            except ValueError:
                problems.append(Problem(where, f"{line.strip()[:60]!r} is not 'class x y width height'"))
            else:
                marks.add(where, photo, name, [left * width, top * height, right * width, bottom * height])
    return marks.photos(album)


def _yolo_labels(root: Path, photo: str) -> Iterator[Path]:
    """Where the labels of a photo may be."""
    path = PurePosixPath(photo)
    parts = list(path.with_suffix(".txt").parts)
    yield root / path.with_suffix(".txt")
    for at in reversed([k for k, part in enumerate(parts[:-1]) if part.lower() in ("images", "jpegimages")]):
        yield root.joinpath(*parts[:at], "labels", *parts[at + 1 :])
    yield root / "labels" / parts[-1]


def _yolo_box(values: list[float]) -> tuple[float, float, float, float]:
    """Edges (shares) of ``x y width height`` with or without a confidence, or of a polygon."""
    if len(values) in (4, 5):
        x, y, width, height = values[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) < 6 or len(values) % 2:
        raise ValueError(values)
    across, down = values[::2], values[1::2]
    return min(across), min(down), max(across), max(down)


# --- COCO: one JSON file a part ---------------------------------------------------------------------------------------


def _coco_files(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    files = [path] if path.is_file() else files_in(path, [".json"])
    found = []
    for file in files:
        if file.suffix.lower() != ".json":
            continue
        try:
            content = read_document(file)
        except DataError:
            if path.is_file():
                raise
            continue  # some other file's concern
        if isinstance(content, dict) and all(
            isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
        ):
            found.append((file, content))
    return found


def detect_coco(path: Path, options: Options) -> bool:  # noqa: ARG001
    return bool(_coco_files(path))


def read_coco(path: Path, options: Options, problems: list[Problem]) -> list[Photo]:
    """``bbox`` (left, top, width, height px) and ``category_id`` of all COCO files below a folder, or of one."""
    root = path.parent if path.is_file() else path
    album, marks = Album(root), _Marks(root, options, problems)
    named: set[str] = set()
    for file, content in _coco_files(path):
        where = relative(file, root)
        names = {row.get("id"): row.get("name") for row in content["categories"] if isinstance(row, dict)}
        photos: dict[Any, str] = {}
        for number, row in enumerate(content["images"], start=1):
            name = row.get("file_name", "") if isinstance(row, dict) else ""
            photo, reason = album.find(name, near=file.parent)
            if photo:
                photos[row.get("id")] = photo
                named.add(photo)
            else:
                photos.setdefault(row.get("id") if isinstance(row, dict) else None, "")
                problems.append(Problem(f"{where}: image {number}", reason))
        for number, row in enumerate(content["annotations"], start=1):
            here = f"{where}: annotation {number}"
            if not isinstance(row, dict) or row.get("image_id") not in photos or row.get("category_id") not in names:
                problems.append(Problem(here, "its image_id or category_id is not in the file"))
                continue
            photo = photos[row["image_id"]]
            try:
                left, top, width, height = (float(value) for value in row.get("bbox", ()))
            except (TypeError, ValueError):
                problems.append(Problem(here, "has no bbox of four numbers"))
                continue
            if photo:
                marks.add(here, photo, names[row["category_id"]], [left, top, left + width, top + height])
    if path.is_file():
        album.paths = [photo for photo in album.paths if photo in named]
    return marks.photos(album)
