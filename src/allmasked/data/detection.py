"""Readers of detection sets in XML and text: Pascal VOC, CVAT and YOLO. The boxes' classes give each photo its label.

Those in JSON are in :mod:`allmasked.data.documents`, those in tables in :mod:`allmasked.data.tables`.
"""

from __future__ import annotations

import codecs
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from allmasked.core.errors import DataError, require
from allmasked.core.text import shown
from allmasked.core.types import Photo
from allmasked.data.albums import files_in, loose, pair, plain, read_bytes, read_text, relative, told
from allmasked.data.annotations import Marks, Notes, Options

# --- XML --------------------------------------------------------------------------------------------------------------

_UNREADABLE = (OSError, ValueError, LookupError, ElementTree.ParseError, DataError)


def _xml(file: Path) -> ElementTree.Element:
    """An XML file in any encoding that it names; raises ValueError. What is not in it becomes ``\\ufffd``.

    It is decoded before it is parsed, so that no encoding hides a declaration from the parser's checks.
    """
    safe = require("defusedxml.ElementTree", "data")
    content = read_bytes(file)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    declared = re.match(rb"""[^>]{0,80}?encoding\s*=\s*["']([\w.-]+)["']""", content)
    encoding = "utf-16" if wide else declared[1].decode("ascii").lower() if declared else "utf-8-sig"
    encoding = {"gb2312": "gb18030", "gbk": "gb18030", "utf-8": "utf-8-sig"}.get(encoding, encoding)
    if codecs.lookup(encoding).name in ("idna", "punycode"):  # for names of hosts, and slow without end
        raise ValueError(f"its encoding is {encoding}")
    text = content.decode(encoding, errors="replace")
    try:
        root: ElementTree.Element = safe.fromstring(text, forbid_dtd=True)
    except require("defusedxml", "data").DefusedXmlException:
        raise ValueError("it declares a document type or entities, which no annotation needs") from None
    return root


def _tag(file: Path) -> str:
    try:
        return _xml(file).tag
    except _UNREADABLE:
        return ""


def detect_voc(path: Path, options: Options) -> bool:  # noqa: ARG001
    return path.is_dir() and any(_tag(file) == "annotation" for file in files_in(path, [".xml"]))


def read_voc(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """Boxes of the XML files below a folder. A file belongs to the photo with its own name, else to its filename."""
    marks = Marks(path, options, notes)
    album = marks.album
    files = list(files_in(path, [".xml"]))
    pairs, doubtful = pair(album, files)
    for file in files:
        name, photo = relative(file, path), pairs.get(file, "")
        try:
            tree = _xml(file)
        except ElementTree.ParseError as error:
            marks.spoil(f"{name}:{error.position[0]}", f"is not valid XML ({error})", photo)
            continue
        except _UNREADABLE as error:
            marks.spoil(name, f"can't be read ({error})", photo)
            continue
        if tree.tag != "annotation":
            continue
        if not photo:  # files are often renamed, their content not: the file's own name comes first
            photo, reason = album.find(tree.findtext("filename", ""), near=file)
            if not photo:
                notes.problem(name, f"there is no photo of its name, and as to its filename, {reason}")
                continue
        marks.look_at(name, photo, [tree.findtext(f"size/{side}", "") for side in ("width", "height")])
        for number, item in enumerate(tree.iter("object"), start=1):
            where = f"{name}: object {number}"
            if len(item.findall("name")) > 1:
                marks.spoil(where, "has several names", photo)
                continue
            names, values = (
                [one.text or "" for one in item.iterfind(f"attributes/attribute/{kind}")] for kind in ("name", "value")
            )
            marks.attributes(where, photo, names, values)
            for box in item.findall("bndbox") or [item]:  # some tools put all boxes of a class into one object
                edges = [box.findtext(edge, "").strip() for edge in ("xmin", "ymin", "xmax", "ymax")]
                marks.add(name, where, photo, item.findtext("name", ""), edges)
    marks.doubt(doubtful)
    return marks.photos("no XML file has its name or names it")


def detect_cvat(path: Path, options: Options) -> bool:  # noqa: ARG001
    files = [path] if path.is_file() else files_in(path, [".xml"])
    return any(file.suffix.lower() == ".xml" and _tag(file) == "annotations" for file in files)


def read_cvat(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """CVAT's own XML (1.1): boxes and polygons of each image. Tracks of a video are told, not read."""
    marks = Marks(path, options, notes)
    album, root = marks.album, marks.root
    for file in [path] if path.is_file() else files_in(path, [".xml"]):
        name = relative(file, root)
        try:
            tree = _xml(file)
        except _UNREADABLE as error:
            notes.problem(name, f"can't be read ({error})")
            continue
        if tree.tag != "annotations":
            continue
        if (tracks := len(tree.findall("track"))) > 0:
            notes.problem(name, f"holds {tracks} tracks of a video, whose frames have no names; export single images")
        for item in tree.findall("image"):
            where = f"{name}: image {item.get('id', '')} ({shown(item.get('name', ''))})"
            photo, reason = album.find(_in_subset(item), near=file)
            if not photo:
                notes.problem(where, reason)
                continue
            marks.entry(name, where, photo, [item.get("width"), item.get("height")])
            if any((text or "").strip() for text in (item.text, *(shape.tail for shape in item))):
                marks.spoil(where, "holds text between its boxes, as a broken tag leaves it", photo)
            for number, shape in enumerate(item, start=1):
                here = f"{where}: {shape.tag} {number}"
                said = list(shape.iter("attribute"))
                marks.attributes(here, photo, [one.get("name", "") for one in said], [one.text or "" for one in said])
                if shape.tag in ("box", "polygon"):
                    marks.add(name, here, photo, shape.get("label"), _shape_edges(shape))
                elif shape.tag != "tag":
                    marks.spoil(here, f"a {shape.tag} is no box", photo)
                else:
                    marks.whole_photo(where, photo, [shape.get("label")])
    return marks.photos("no CVAT file names it")


def _in_subset(item: ElementTree.Element) -> str:
    return f"{item.get('subset')}/{item.get('name', '')}" if item.get("subset") else item.get("name", "")


def _shape_edges(shape: ElementTree.Element) -> list[Any]:
    if shape.tag == "box":
        return turned([shape.get(edge, "") for edge in ("xtl", "ytl", "xbr", "ybr")], shape.get("rotation"))
    return around([point.split(",") for point in shape.get("points", "").split(";")])


def around(points: Iterable[Any]) -> list[Any]:
    """Left, top, right, bottom around points (x, y); nothing where they are no points."""
    try:
        across, down = zip(*((float(x), float(y)) for x, y in points))
    except (TypeError, ValueError):
        return []
    return [min(across), min(down), max(across), max(down)]


def turned(edges: list[Any], degrees: Any) -> list[Any]:
    """The edges around a box that is turned about its middle; as they are where nothing says so."""
    try:
        left, top, right, bottom, angle = (float(value) for value in (*edges, degrees))
    except (TypeError, ValueError):
        return edges
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    x, y = (left + right) / 2, (top + bottom) / 2
    across, down = abs(right - left) / 2, abs(bottom - top) / 2
    across, down = across * cos + down * sin, across * sin + down * cos
    return [x - across, y - down, x + across, y + down] if angle else edges


# --- YOLO: a text file a photo, names of classes beside ---------------------------------------------------------------


MAX_YAML_BYTES = 1_000_000
"""Of a YAML file, which only names classes here; reading takes a second for each 100 kB."""


@dataclass(frozen=True)
class ClassList:
    """A file that names YOLO's classes by number. ``about`` are the folders or lists of photos that it names;
    ``landmarks`` how many numbers follow a box's (0: none, or it doesn't say)."""

    file: Path
    names: dict[int, str]
    about: tuple[str, ...] = ()
    landmarks: int = 0

    def agrees(self, other: ClassList) -> bool:
        return all(plain(self.names[k]) == plain(other.names[k]) for k in self.names.keys() & other.names.keys())


def _class_lists(path: Path, notes: Notes) -> list[ClassList]:
    """All class lists below a folder; what can't be read is told in passing."""
    lists = []
    for file in files_in(path, [".yaml", ".yml"]):
        try:
            content = _yaml(file)
        except DataError as error:
            notes.problems.append(told(error, path))
            continue
        if not isinstance(content, dict):
            continue
        names = content.get("names")
        if isinstance(names, list):
            names = {str(number): name for number, name in enumerate(names)}
        if not isinstance(names, dict) or not all(map(_is_number, names)) or not _all_text(names.values()):
            continue
        count = content.get("nc")
        if isinstance(count, str) and count != str(len(names)):
            notes.problem(relative(file, path), f"names {len(names)} classes where its nc is {shown(count[:40])}")
        shape = content.get("kpt_shape")
        landmarks = 0
        if isinstance(shape, list) and len(shape) == 2 and all(map(_is_number, shape)):
            landmarks = int(shape[0]) * int(shape[1])
        places = [content.get(key) for key in ("train", "val", "valid", "test")]
        about = tuple(place for place in places if isinstance(place, str) and place)
        lists.append(ClassList(file, {int(number): name for number, name in names.items()}, about, landmarks))
    for file in files_in(path, [".txt", ".names", ".labels"]):
        if _is_name_list(file):
            lines = read_text(file).splitlines()
            lists.append(ClassList(file, {number: line.strip() for number, line in enumerate(lines) if line.strip()}))
    return lists


def _is_name_list(file: Path) -> bool:
    return file.name.lower() in ("classes.txt", "_darknet.labels") or file.suffix.lower() == ".names"


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 10 and value.isdecimal()


def _all_text(values: Iterable[Any]) -> bool:
    """Whether all are text. What isn't is never turned into it: a few lines of YAML can stand for terabytes."""
    return all(isinstance(value, str) for value in values)


def _yaml(file: Path) -> Any:
    """A YAML file in which every value is text (``no`` is a class's name and not false) or lists and tables of it: no
    tag makes anything else."""
    yaml = require("yaml", "data")
    try:
        loader = yaml.BaseLoader(read_text(file, MAX_YAML_BYTES))
        node = loader.get_single_node()
        for table in (node, *(value for _, value in node.value)) if isinstance(node, yaml.MappingNode) else ():
            keys = [key for key, _ in table.value] if isinstance(table, yaml.MappingNode) else []
            if twice := [key for k, key in enumerate(keys) if any(key.value == one.value for one in keys[:k])]:
                line = twice[0].start_mark.line + 1
                name = shown(str(twice[0].value)[:40])
                raise DataError(f"{file}:{line}: gives {name!r} for the second time; remove one")
        return loader.construct_document(node) if node else None
    except RecursionError:
        raise DataError(f"{file}: can't be read as YAML (it is nested too deeply)") from None
    except yaml.YAMLError as error:
        line = f":{error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        why = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise DataError(f"{file}{line}: is not valid YAML ({why})") from None


def _list_of(folder: Path, lists: list[ClassList], root: Path) -> ClassList | None:
    """The class list for label files in a folder: the nearest above it, else any that is there.

    Of several in one place that contradict each other it is the one that names folders of this data, or ``data.yaml``.

    Raises:
        DataError: they contradict each other and nothing says which is right.
    """
    above = [one for one in lists if folder.is_relative_to(one.file.parent)]
    depth = max((len(one.file.parent.parts) for one in above), default=0)
    near = [one for one in above if len(one.file.parent.parts) == depth] or lists
    if not near:
        return None
    yamls = [one for one in near if one.file.suffix.lower() in (".yaml", ".yml")]
    naming = [one for one in yamls if _names_data(one, root)]
    usual = [one for one in yamls if one.file.stem.lower() == "data"]
    likely = [one for one in usual if one in naming] or [*naming, *usual] or yamls
    chosen = [*likely, *(one for one in near if one not in yamls)]
    claiming = [one for one in above if one not in near and _names_data(one, root)]
    for one in [*chosen[1:], *claiming]:
        if not chosen[0].agrees(one):
            raise DataError(
                f"{root}: the class lists {relative(chosen[0].file, root)} and {relative(one.file, root)} contradict "
                "each other; keep the one that is right and move the other out of the data set"
            )
    return max(chosen, key=lambda one: (len(one.names), bool(one.landmarks)))


def _names_data(one: ClassList, root: Path) -> bool:
    """Whether a list names folders or lists of photos that are there."""
    places = [base / about.replace("../", "") for about in one.about for base in (one.file.parent, root)]
    return any(os.path.exists(place) for place in places)  # noqa: PTH110  (Path.exists raises on names too long)


def _looks_like_labels(file: Path) -> bool:
    try:
        line = next((line for line in read_text(file).splitlines() if line.strip()), "")
        return len([float(value) for value in line.split()]) >= 5
    except (DataError, ValueError):
        return False


def detect_yolo(path: Path, options: Options) -> bool:  # noqa: ARG001
    if not path.is_dir():
        return False
    texts = [file for file in files_in(path, [".txt"]) if not _is_name_list(file)]
    try:
        return any(map(_looks_like_labels, texts)) or (bool(texts) and bool(_class_lists(path, Notes())))
    except DataError:  # a class list that can't be read, and nothing that needs it
        return False


def read_yolo(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """Lines ``class x y width height`` (centre and size in shares of the upright photo), with landmarks or as polygons,
    in text files beside the photos or in a folder ``labels`` where the photos' is ``images``."""
    lists = _class_lists(path, notes)
    if not lists and notes.problems:
        raise DataError(f"{path}/{': '.join(notes.problems[0])}")
    marks = Marks(path, options, notes)
    album = marks.album
    texts = [file for file in files_in(path, [".txt"]) if not _is_name_list(file)]
    pairs, doubtful = pair(album, texts)
    by_place: dict[Path, list[tuple[Path, str]]] = defaultdict(list)
    for file, photo in pairs.items():
        by_place[file.parent].append((file, photo))
    for place, here in sorted(by_place.items()):
        named = _list_of(place, lists, path)
        said = "no file names the classes: their numbers are their names"
        if named:
            marks.listed |= set(named.names.values())
            said = f"class list {relative(named.file, path)}: " + ", ".join(f"{k} {v}" for k, v in named.names.items())
        if said not in notes.said:
            notes.said.append(said)
        uses = [_read_lines(file, photo, named, marks) for file, photo in here]
        used = set().union(*uses)
        if named and (others := [one for one in uses if one - named.names.keys()])[1:] and 3 * len(others) >= len(uses):
            strange = ", ".join(str(number) for number in sorted(used - named.names.keys())[:5])
            raise DataError(
                f"{path}: {len(others)} of {len(uses)} label files in {relative(place, path)} use numbers ({strange}) "
                f"that {relative(named.file, path)} doesn't name: it is not their list; mend it"
            )
        if named and 0 not in used and len(named.names) in used:
            raise DataError(
                f"{path}: the label files in {relative(place, path)} number the classes {min(used)} to {max(used)}, "
                f"but {relative(named.file, path)} numbers them from 0 to {max(named.names)}; mend one of the two"
            )
    folders = {file.parent for file in pairs}
    stems = {loose(Path(photo).stem) for photo, _ in doubtful}
    for file in texts:
        if file not in pairs and loose(file.stem) not in stems and (file.parent in folders or _looks_like_labels(file)):
            notes.problem(relative(file, path), "there is no photo of its name")
    marks.doubt(doubtful)
    return marks.photos("it has no label file (looked for a .txt of its name beside it, in 'labels' for 'images'"
                        " and anywhere in the data set)")  # fmt: skip


def _read_lines(file: Path, photo: str, named: ClassList | None, marks: Marks) -> set[int]:
    """Take in the lines of one label file. Returns the class numbers in it."""
    used: set[int] = set()
    name = relative(file, marks.root)
    marks.look_at(name, photo)
    try:
        lines = read_text(file).splitlines()
    except DataError as error:
        marks.spoil(name, str(error), photo)
        return used
    width, height = marks.size_of(photo)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            kind, *values = (float(value) for value in line.split())
            if _are_joined(line.split()):
                raise ValueError("it may be two lines whose line end is missing")
            left, top, right, bottom = _yolo_box(values, named.landmarks if named else 0)
            at = int(kind) if kind == int(kind) else -1
        except (ValueError, OverflowError) as error:
            why = f" ({error})" if str(error).startswith("it ") else ""
            wanted = "'class x y width height' in shares of the photo"
            marks.spoil(where, f"{line.strip()[:60]!r} is not {wanted}{why}", photo)
            continue
        used.add(at)
        if named and at not in named.names:
            marks.spoil(where, f"class {line.split()[0]} is not in {relative(named.file, marks.root)}", photo)
            continue
        edges = [left * width, top * height, right * width, bottom * height]
        marks.add(name, where, photo, named.names[at] if named else str(at), edges)
    return used


SLACK = 0.05
"""By so much of the photo may a box reach over its edge: tools round."""


def _yolo_box(values: list[float], landmarks: int) -> tuple[float, float, float, float]:
    """Edges (shares) of ``x y width height``, with or without a confidence or landmarks, or of a polygon, such as the
    four corners of a turned box.

    Raises ValueError, whose text says why where it begins with "it".
    """
    x, y, width, height = values[:4]
    box = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    gaps = [values[k] + values[k + 4] - values[k + 2] - values[k + 6] for k in (0, 1)] if len(values) == 8 else [1.0]
    corners = max(map(abs, gaps)) < 1e-3
    if landmarks or len(values) in (4, 5) or (not corners and _are_landmarks(values[4:], box)):
        if landmarks and len(values) != 4 + landmarks:
            raise ValueError(f"it has {len(values)} numbers, not 4 and {landmarks} of landmarks")
        shares = values[:4]
        if min(width, height) <= 0:
            raise ValueError("it has no size")
    elif len(values) >= 6 and len(values) % 2 == 0:
        shares = values
        box = min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    else:
        raise ValueError
    if not max(shares) <= 1 + SLACK:
        raise ValueError(f"it holds {max(shares):g}: over 1 it may be px; divide by the photo's width and height")
    if not min(shares) >= -SLACK:
        raise ValueError(f"it holds {min(shares):g}: under 0")
    return box


def _are_joined(cells: list[str]) -> bool:
    """Whether the cells of a line look like two boxes without a line end between them, ``0 .5 .5 .2 .21 .7 .5 .2 .2``:
    the height has one digit more than all other numbers, the class of the next box. A polygon is one face."""
    if len(cells) != 9:
        return False
    digits = [len(cell.partition(".")[2]) for cell in cells[1:]]
    if digits[3] <= max(digits[:3] + digits[4:]):
        return False
    first = [float(cell) for cell in (*cells[1:4], cells[4][:-1])]
    second = [float(cell) for cell in cells[5:]]
    return all(
        min(x - width / 2, y - height / 2) >= -SLACK and max(x + width / 2, y + height / 2) <= 1 + SLACK
        for x, y, width, height in (first, second)
    )


def _are_landmarks(values: list[float], box: tuple[float, float, float, float]) -> bool:
    """Whether all numbers after a box's four are points (x, y), perhaps each with a visibility, in the box: a polygon
    whose first point is the middle of all others and the second their extent is none."""
    left, top, right, bottom = box
    for step in (2, 3):
        if len(values) >= step and len(values) % step == 0:
            points = list(zip(values[::step], values[1::step]))
            if all((left <= x <= right and top <= y <= bottom) or max(x, y) <= 0 for x, y in points):
                return True
    return False
