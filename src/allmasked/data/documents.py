"""Readers of detection sets in JSON: COCO, CreateML, labelme and Supervisely."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from allmasked.core.errors import DataError
from allmasked.core.types import Photo
from allmasked.data.albums import files_in, folder_of, pair, part_named, plain, read_document, relative, told
from allmasked.data.annotations import Marks, Notes, Options
from allmasked.data.detection import around, turned


def kind_of(content: Any) -> str:
    """The layout that a JSON document is of; empty for any other."""
    if isinstance(content, list):
        first = content[0] if content and isinstance(content[0], dict) else {}
        return "createml" if _image_of(first) and isinstance(first.get("annotations"), list) else ""
    if not isinstance(content, dict):
        return ""
    if all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories")):
        return "coco"
    if isinstance(content.get("shapes"), list):
        return "labelme"
    if isinstance(content.get("objects"), list) and isinstance(content.get("size"), dict):
        return "supervisely"
    return ""


@functools.lru_cache(100_000)
def _kind(file: Path, changed_ns: int, size_bytes: int) -> str:  # noqa: ARG001  (they make the cache true)
    try:
        return kind_of(read_document(file))
    except DataError:
        return "broken"


def _files(path: Path, *kinds: str) -> Iterator[Path]:
    """The JSON files of some kinds, a file itself or those below a folder."""
    for file in [path] if path.is_file() else files_in(path, [".json"]):
        if file.suffix.lower() == ".json":
            try:
                stat = file.stat()
            except OSError:  # a link to nothing, say
                if "broken" in kinds:
                    yield file
                continue
            if _kind(file, stat.st_mtime_ns, stat.st_size) in kinds:
                yield file


def detect(kind: str) -> Any:
    """Whether a path holds JSON of a kind, as :data:`allmasked.data.readers.READERS` asks it."""

    def found(path: Path, options: Options) -> bool:  # noqa: ARG001
        return next(_files(path, kind), None) is not None

    return found


def _documents(path: Path, kind: str, notes: Notes) -> Iterator[tuple[Path, str, Any]]:
    """The documents of a kind: file, its name below the root, content. Broken ones are told in passing."""
    root = folder_of(path)
    for file in _files(path, kind, "broken"):
        try:
            content = read_document(file)
        except DataError as error:
            if path.is_file():
                raise
            notes.problems.append(told(error, root))
            continue
        yield file, relative(file, root), content


# --- one file for many photos -----------------------------------------------------------------------------------------


def read_coco(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """``bbox`` (left, top, width, height px) and ``category_id`` of all COCO files below a folder, or of one."""
    marks = Marks(path, options, notes)
    album = marks.album
    doubtful: dict[str, str] = {}
    for file, name, content in _documents(path, "coco", notes):
        if not content["annotations"]:
            notes.problem(name, "holds no annotations, so it says nothing of its photos")
            continue
        names: dict[str, Any] = {}
        for row in content["categories"]:
            if not isinstance(row, dict):
                continue
            known = names.setdefault(_id(row.get("id")), row.get("name"))
            if plain(known) != plain(row.get("name")):
                raise DataError(
                    f"{file}: its categories give the id {row.get('id')} to {known!r} and {row.get('name')!r}"
                )
        _check_numbers(file, names, content["annotations"])
        photos: dict[str, str] = {}
        crowds = 0
        for number, row in enumerate(content["images"], start=1):
            if not isinstance(row, dict):
                notes.problem(f"{name}: image {number}", "is no table")
                continue
            key = _id(row.get("id"))
            photo, reason = album.find(row.get("file_name", ""), near=file, part=part_named(file.stem))
            if not photo:
                notes.problem(f"{name}: image {number}", reason)
            elif photos.get(key, photo) != photo:
                marks.spoil(f"{name}: image {number}", f"its id {key} is that of {photos[key]}, too", photo)
                marks.spoilt.add(photos[key])
            else:
                marks.entry(name, f"{name}: image {number}", photo, [row.get("width"), row.get("height")])
            photos.setdefault(key, photo)
        lost = 0
        for number, row in enumerate(content["annotations"], start=1):
            where = f"{name}: annotation {number}"
            key = _id(row.get("image_id")) if isinstance(row, dict) else ""
            photo = photos.get(key, "")
            if key not in photos:
                notes.problem(where, "its image_id is not in the file")
                lost += 1
            elif photo and _id(row.get("category_id")) not in names:
                marks.spoil(where, "its category_id is not in the file", photo)
            elif photo:
                attributes = row.get("attributes")
                attributes = attributes if isinstance(attributes, dict) else {}
                marks.attributes(where, photo, attributes, attributes.values())
                edges = turned(_sized(row.get("bbox")), attributes.get("rotation"))
                marks.add(name, where, photo, names[_id(row["category_id"])], edges)
                crowds += bool(row.get("iscrowd"))
        if lost == len(content["annotations"]):
            doubtful |= dict.fromkeys(filter(None, photos.values()), name)
        if crowds:
            notes.said.append(f"{name}: boxes marked as crowds (iscrowd), each taken as one face: {crowds:,}")
    for photo, name in sorted(doubtful.items()):
        if not any(marks.faces[photo].values()):
            marks.spoil(name, "none of its annotations is of an image that it lists", photo)
    return marks.photos("no COCO file names it")


def _id(value: Any) -> str:
    """An id as it is compared: 1 and 1.0, as tables make of it, are one."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _check_numbers(file: Path, names: dict[str, Any], annotations: list[Any]) -> None:
    """Refuse a file whose annotations number the categories from 0 and whose list does from 1, or the other way round:
    every mark would be taken for its neighbour."""
    used = {_id(row.get("category_id")) for row in annotations if isinstance(row, dict)}
    if used <= set(names) or not all(re.fullmatch(r"-?\d+", key) for key in (*used, *names)):
        return
    for step in (1, -1):
        if {str(int(key) + step) for key in used} <= set(names):
            raise DataError(
                f"{file}: its annotations have the category_ids {_some(used)}, its categories the ids "
                f"{_some(set(names))}: one of them seems to be numbered from 0, the other from 1; mend one"
            )


def _some(numbers: set[str]) -> str:
    return ", ".join(sorted(numbers, key=int)[:5]) + (", ..." if len(numbers) > 5 else "")


def _sized(box: Any) -> list[Any]:
    """Edges of left, top, width, height; nothing where they are no numbers."""
    try:
        left, top, width, height = (float(value) for value in box)
    except (TypeError, ValueError):
        return []
    return [left, top, left + width, top + height]


def _image_of(row: dict[str, Any]) -> Any:
    return row.get("image") or row.get("imagefilename")


def read_createml(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """CreateML: ``coordinates`` are the box's centre and size in px."""
    marks = Marks(path, options, notes)
    album = marks.album
    for file, name, content in _documents(path, "createml", notes):
        for number, row in enumerate(content, start=1):
            where = f"{name}: image {number}"
            if not isinstance(row, dict) or not isinstance(row.get("annotations"), list):
                notes.problem(where, "has no list of annotations")
                continue
            photo, reason = album.find(_image_of(row), near=file)
            if not photo:
                notes.problem(where, reason)
                continue
            marks.entry(name, where, photo)
            for one, item in enumerate(row["annotations"], start=1):
                item = item if isinstance(item, dict) else {}
                place = item.get("coordinates")
                place = place if isinstance(place, dict) else {}
                box = _sized([place.get(key) for key in ("x", "y", "width", "height")])
                x, y, right, bottom = box or (0,) * 4
                edges = [x - (right - x) / 2, y - (bottom - y) / 2, (x + right) / 2, (y + bottom) / 2] if box else []
                marks.add(name, f"{where}: annotation {one}", photo, item.get("label"), edges)
    return marks.photos("no CreateML file names it")


# --- one file a photo -------------------------------------------------------------------------------------------------


def read_labelme(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """labelme: ``shapes`` of a photo, the box around each one's ``points``."""
    return _read_beside(path, "labelme", options, notes)


def read_supervisely(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """Supervisely: ``ann/NAME.jpg.json`` of ``img/NAME.jpg``; the box around each object's outline."""
    return _read_beside(path, "supervisely", options, notes)


def _read_beside(path: Path, kind: str, options: Options, notes: Notes) -> list[Photo]:
    marks = Marks(path, options, notes)
    album = marks.album
    pairs, doubtful = pair(album, _files(path, kind, "broken"))
    marks.spoilt |= {pairs[file] for file in _files(path, "broken") if file in pairs}
    for file, name, content in _documents(path, kind, notes):
        photo = pairs.get(file, "")
        if not photo:
            photo, reason = album.find(content.get("imagePath", ""), near=file)
            if not photo:
                notes.problem(name, f"there is no photo of its name, and as to its imagePath, {reason}")
                continue
        size = content.get("size") or {}
        sides = [content.get(f"image{side}") or size.get(side.lower()) for side in ("Width", "Height")]
        marks.look_at(name, photo, sides)
        marks.whole_photo(name, photo, _said(content))
        for number, item in enumerate(content.get("shapes", content.get("objects", [])), start=1):
            item = item if isinstance(item, dict) else {}
            label = item.get("label") or item.get("classTitle")
            marks.attributes(f"{name}: object {number}", photo, _said(item), _values(item))
            marks.add(name, f"{name}: object {number}", photo, label, _outline(item))
    marks.doubt(doubtful)
    return marks.photos(f"no {kind} file has its name or names it")


def _said(item: dict[str, Any]) -> list[Any]:
    """What labelme's flags (those that are set) and attributes, or Supervisely's tags, name of a photo or an object."""
    flags, attributes, tags = item.get("flags"), item.get("attributes"), item.get("tags")
    said = [key for key, value in flags.items() if value] if isinstance(flags, dict) else []
    said += list(attributes) if isinstance(attributes, dict) else []
    return said + ([tag.get("name") for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else [])


def _values(item: dict[str, Any]) -> list[Any]:
    """The values of an object's attributes and tags."""
    attributes, tags = item.get("attributes"), item.get("tags")
    values = list(attributes.values()) if isinstance(attributes, dict) else []
    return values + ([tag.get("value") for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else [])


def _outline(item: dict[str, Any]) -> list[Any]:
    """Edges of a shape: rectangle (``rotation``: turned), polygon, or circle (its centre and a point on it); of
    others nothing."""
    kind = str(item.get("shape_type") or item.get("geometryType") or "polygon")
    points = item.get("points")
    points = points.get("exterior") if isinstance(points, dict) else points
    if kind not in ("rectangle", "polygon", "circle", "rotation") or not isinstance(points, list) or len(points) < 2:
        return []
    edges = around(points)
    if kind != "circle" or not edges:
        return edges
    (x, y), (on_x, on_y) = ((float(a), float(b)) for a, b in points[:2])
    radius = ((on_x - x) ** 2 + (on_y - y) ** 2) ** 0.5
    return [x - radius, y - radius, x + radius, y + radius]
