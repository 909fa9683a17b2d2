"""What data sets' names mean, and the tools that every reader shares: options, problems, finding photos, tables.

The photos a detection set marks get their label from their faces: ``all`` when every marked face is masked, ``none``
when no marked face is, ``some`` otherwise. A photo without any marked face has no known label; it is reported, not
guessed.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from allmasked.errors import DataError
from allmasked.pixels import SUFFIXES
from allmasked.types import CLASSES, Face, Label, Photo

CLASS_NAMES: dict[str, Label] = {**{name: name for name in CLASSES}, "0": "none", "1": "all", "2": "some"}
"""Names of classes, the competition's numbers among them."""

_WORN = {
    "masked": """
        masked mask with_mask face_mask face_with_mask wearing_mask mask_on has_mask good correct correct_mask
        mask_correct mask_worn_correctly mask_weared_correct with_mask_correct correctly_masked""",
    "unmasked": """
        unmasked without_mask no_mask nomask face face_no_mask face_without_mask not_wearing_mask mask_off
        no_face_mask non_mask bare bad face_other_covering""",
    "incorrect": """
        incorrect mask_weared_incorrect mask_worn_incorrectly mask_worn_incorrect incorrect_mask mask_incorrect
        wrong_mask face_with_mask_incorrect with_mask_incorrect incorrectly_masked improperly""",
}
WEAR_NAMES: dict[str, str] = {name: wear for wear, names in _WORN.items() for name in names.split()}
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

    def label(self, name: object) -> Label | None:
        """The label that a class's name or number stands for, or None."""
        key = str(name).strip().lower()
        given = {name.strip().lower(): label for name, label in (self.classes or {}).items()}
        return given.get(key) or CLASS_NAMES.get(key)  # type: ignore[return-value]

    def wearing(self, name: object) -> str | None:
        """What a detection class's name means: masked, unmasked, incorrect, ignore; None where that is unknown."""
        key = plain(name)
        given = {plain(name): wear for name, wear in (self.wear or {}).items()}
        return given.get(key) or WEAR_NAMES.get(key)


class Problem(NamedTuple):
    """Something in a data set that can't be used: a photo, or a line of a file (``labels.csv:12``), and why."""

    path: str
    reason: str


def plain(name: object) -> str:
    """A name in lower case with ``_`` between its words."""
    return re.sub(r"[^a-z0-9]+", "_", str(name).strip().lower()).strip("_")


def label_of(faces: Iterable[Face], incorrect_is: str = "unmasked") -> Label | None:
    """The label that marked faces give a photo; None without faces."""
    masked = {face.wear == "masked" or (face.wear == "incorrect" and incorrect_is == "masked") for face in faces}
    if not masked:
        return None
    return "some" if len(masked) == 2 else "all" if True in masked else "none"


def face_of(wear: str, edges: Sequence[Any]) -> Face | None:
    """A face from left, top, right, bottom (px, numbers or text), or None where they are no box."""
    try:
        left, top, right, bottom = (float(edge) for edge in edges)
    except (TypeError, ValueError):
        return None
    if not (left < right and top < bottom and max(map(abs, (left, top, right, bottom))) < 1e7):
        return None
    return Face(wear, left, top, right, bottom)  # type: ignore[arg-type]


# --- files ------------------------------------------------------------------------------------------------------------


def hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: hidden, or made by an archiver."""
    return name.startswith(".") or name == "__MACOSX"


def folders_in(path: Path) -> list[Path]:
    """The folders directly in a folder, sorted, without hidden ones."""
    return sorted(p for p in path.iterdir() if p.is_dir() and not hidden(p.name)) if path.is_dir() else []


def files_in(folder: Path, suffixes: Iterable[str]) -> Iterator[Path]:
    """Files anywhere below a folder with one of the suffixes (lower case), sorted, without hidden ones."""
    wanted = frozenset(suffixes)
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not hidden(name))
        for path in (Path(here, name) for name in sorted(names) if not hidden(name)):
            if path.suffix.lower() in wanted:
                yield path


def relative(path: Path, root: Path) -> str:
    """A path below the root as the data set names it, with ``/``."""
    return path.relative_to(root).as_posix()


class Album:
    """All photos below a root, found by the names that annotations give them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = [relative(path, root) for path in files_in(root, SUFFIXES)]
        self._known = set(self.paths)
        self._named: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            for name in {PurePosixPath(path).name, PurePosixPath(path).stem}:
                self._named[name].append(path)

    def find(self, name: object, near: Path | None = None) -> tuple[str, str]:
        """(path relative to the root, "") or ("", why there is none).

        A name is looked up in the folder ``near``, then in the root, then by its last part wherever that is unique.
        """
        text = str(name).strip().replace("\\", "/")
        given = PurePosixPath(text)
        if not given.name:
            return "", "names no photo"
        if given.is_absolute() and Path(text).is_relative_to(self.root):
            given = PurePosixPath(relative(Path(text), self.root))
        for folder in (near or self.root, self.root):
            exact = os.path.normpath(PurePosixPath(relative(folder, self.root)) / given).replace(os.sep, "/")
            if exact in self._known:
                return exact, ""
        found = self._named.get(given.name, [])
        found = [path for path in found if f"/{path}".endswith(f"/{given.as_posix()}")] or found
        if len(found) == 1:
            return found[0], ""
        return "", f"{text} could be {found[0]} or {found[1]}" if found else f"there is no photo {text}"


def read_table(path: Path, problems: list[Problem], name: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """A CSV (comma, semicolon or tab): its header as :func:`plain` names, and its rows with their line numbers.

    Rows with too few columns become problems, called ``name`` and the line number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read as UTF-8 text ({error})") from None
    first = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t", key=first.count))
    header: list[str] = []
    rows: list[tuple[int, list[str]]] = []
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return header, rows
        except csv.Error as error:
            problems.append(Problem(f"{name}:{reader.line_num}", f"is no row of a CSV ({error})"))
            continue
        if not header:
            header = [plain(cell) for cell in row]
        elif len(row) < len(header) and any(cell.strip() for cell in row):
            problems.append(Problem(f"{name}:{reader.line_num}", f"has {len(row)} of {len(header)} columns"))
        elif any(cell.strip() for cell in row):
            rows.append((reader.line_num, row))


def read_document(path: Path) -> Any:
    """A JSON file; raises :class:`DataError` naming file and line."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: is not valid JSON ({error.msg})") from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: can't be read as JSON ({error})") from None


def labelled(
    paths: Iterable[str], faces: Mapping[str, Sequence[Face]], options: Options, problems: list[Problem]
) -> list[Photo]:
    """The photos with the labels that their faces give them; those without become problems."""
    photos = []
    for path in paths:
        label = label_of(faces.get(path, ()), options.incorrect_is)
        if label is None:
            problems.append(Problem(path, "no face is marked in it, so its label is unknown"))
        else:
            photos.append(Photo(path, label, faces=tuple(faces[path])))
    return photos
