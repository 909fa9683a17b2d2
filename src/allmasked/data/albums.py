"""The files of a data set: its photos found by the names that annotations give them, labels paired with their photo,
text, tables and documents read, parts (train, validation, test) known by their names."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

from allmasked.core.errors import DataError
from allmasked.core.runs import parse_json
from allmasked.core.text import shown
from allmasked.core.types import Part
from allmasked.images.pixels import OTHER_SUFFIXES, SUFFIXES, hidden


class Problem(NamedTuple):
    """Something in a data set that can't be used: a photo, or a line of a file (``labels.csv:12``), and why."""

    path: str
    reason: str


def told(error: DataError, root: Path) -> Problem:
    """An error about one file of a data set, told in passing as a problem."""
    path, _, reason = str(error).removeprefix(f"{root}{os.sep}").partition(": ")
    return Problem(path, reason)


# --- names ------------------------------------------------------------------------------------------------------------


def plain(name: object) -> str:
    """A name without what its spelling may differ in: case, Unicode form, and what stands between its words (space,
    ``_``, ``-``, ``.``, ``/``). Any script; all other signs stay, since ``mask-`` is not ``mask+``."""
    return _plain(str(name))


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf" and sign not in "\ufe0e\ufe0f")
    return re.sub(r"\s+", "", re.sub(r"(?<=[^\s_./-])[\s_./-]+(?=[^\s_./-])|^[\s_]+|[\s_.]+$", "", text))


_PART_NAMES: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}


def part_named(name: str) -> Part | None:
    """The part that a folder's or file's name stands for: ``Train``, ``val2017``, ``instances_test``; None for others
    and for names of two parts (``trainval``)."""
    words = re.split(r"[\W_\d]+", name.casefold())
    parts = {_PART_NAMES[word] for word in words if word in _PART_NAMES}
    return parts.pop() if len(parts) == 1 else None


def part_of(path: str) -> Part | None:
    """The part that a path's folders name; the innermost counts."""
    parts = [part for folder in PurePosixPath(path).parts[:-1] if (part := part_named(folder))]
    return parts[-1] if parts else None


# --- files ------------------------------------------------------------------------------------------------------------


def folders_in(path: Path) -> list[Path]:
    """The folders directly in a folder, sorted, without hidden ones."""
    return sorted(p for p in path.iterdir() if p.is_dir() and not hidden(p.name)) if path.is_dir() else []


def folder_of(path: Path) -> Path:
    """The folder that a data set's paths are relative to: the folder itself, or that of its file."""
    return path.parent if path.is_file() else path


def files_in(folder: Path, suffixes: Iterable[str]) -> Iterator[Path]:
    """Files anywhere below a folder with one of the suffixes (lower case), sorted, without hidden ones. Links to
    folders are followed, each folder once."""
    wanted = frozenset(suffixes)
    yield from _walk(folder, lambda name: os.path.splitext(name)[1].lower() in wanted and not hidden(name))  # noqa: PTH122


def _walk(folder: Path, wanted: Callable[[str], bool] = bool) -> Iterator[Path]:
    """Files anywhere below a folder whose name is wanted; of others no path is made, which takes longest."""
    walked: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not hidden(name))
        if (real := os.path.realpath(here)) in walked:
            folders[:] = []
            continue
        walked.add(real)
        yield from (Path(here, name) for name in sorted(filter(wanted, names)))


_NO_PHOTOS = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".names", ".md", ".py", ".ipynb", ".pdf", ".zip"}
)
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8")


def other_photos(folder: Path) -> Iterator[tuple[str, Path]]:
    """Photos anywhere below a folder that are not read, each with the reason in words: of another kind, without the
    ending of a photo, or still in the cloud."""
    for path in _walk(folder):
        suffix = path.suffix.lower()
        if path.name.startswith(".") and suffix == ".icloud":
            yield "not downloaded from the cloud: download first", path
        elif hidden(path.name) or suffix in SUFFIXES or suffix in _NO_PHOTOS:
            continue
        elif suffix in OTHER_SUFFIXES:
            yield f"{suffix}: save as JPEG or PNG", path
        elif _begins_as_photo(path):
            yield "photos without the ending of one: rename to .jpg, .png or .webp", path


def _begins_as_photo(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            start = stream.read(12)
    except OSError:
        return False
    return start.startswith(_BEGINNINGS) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def relative(path: Path, root: Path) -> str:
    """A path below the root as the data set names it, with ``/``."""
    return path.relative_to(root).as_posix()


MAX_BYTES = 1_000_000_000
"""Of a file of labels; COCO's own, of 118,000 photos, has 448 MB."""


def read_bytes(path: Path, at_most: int = MAX_BYTES) -> bytes:
    """A file's content. Raises :class:`DataError` for what is too large or no file (a pipe would never end)."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is no ordinary file")
    if status.st_size > at_most:
        size, most = status.st_size / 1e6, at_most / 1e6
        raise DataError(f"{path}: is too large ({size:,.0f} MB); up to {most:,.0f} MB are read")
    return path.read_bytes()


def read_text(path: Path, at_most: int = MAX_BYTES) -> str:
    """A text file in UTF-8, or in UTF-16 where it says so. Raises :class:`DataError`: a guessed encoding could turn
    two names into one."""
    try:
        content = read_bytes(path, at_most)
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()}); check the path") from None
    except UnicodeError as error:
        raise DataError(f"{path}: can't be read as UTF-8 text ({error}); save it as UTF-8") from None


def read_table(path: Path, problems: list[Problem], name: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """A CSV (comma, semicolon or tab): its header as it stands there, and its rows with their line numbers.

    Rows with too few columns become problems, called ``name`` and the line number.
    """
    text = read_text(path)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
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
            header = [cell.strip() for cell in row]
        elif len(row) < len(header) and any(cell.strip() for cell in row):
            problems.append(Problem(f"{name}:{reader.line_num}", f"has {len(row)} of {len(header)} columns"))
        elif any(cell.strip() for cell in row[len(header) :]):
            problems.append(Problem(f"{name}:{reader.line_num}", f"has {len(row)} columns, the header {len(header)}"))
        elif any(_is_row(line, delimiter, len(header)) for cell in row for line in cell.splitlines()[1:]):
            problems.append(Problem(f"{name}:{reader.line_num}", "holds further rows: a quote isn't closed before"))
        elif any(cell.strip() for cell in row):
            rows.append((reader.line_num, row))


def _is_row(line: str, delimiter: str, columns: int) -> bool:
    """Whether a further line of one cell looks like a row of photos: some quote before it isn't closed."""
    first = line.split(delimiter)[0].strip(' "')
    return line.count(delimiter) >= columns - 1 and PurePosixPath(first).suffix.lower() in SUFFIXES


def read_document(path: Path) -> Any:
    """A JSON file; raises :class:`DataError` naming file and line."""
    try:
        return parse_json(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: is not valid JSON ({error.msg})") from None
    except ValueError as error:
        raise DataError(f"{path}: can't be read as JSON ({error})") from None


# --- photos -----------------------------------------------------------------------------------------------------------


def loose(name: str) -> str:
    """A file's name or path as systems and tools may change it: case, Unicode form, percent-encoding."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", unquote(name)).casefold())


class Album:
    """All photos below a root, found by the names that annotations give them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = [relative(path, root) for path in files_in(root, SUFFIXES)]
        self._known = set(self.paths)
        self._parts = {part_of(path) for path in self.paths} - {None}
        self._named: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            for name in {loose(PurePosixPath(path).name), loose(PurePosixPath(path).stem)}:
                self._named[name].append(path)

    def find(self, name: object, near: Path | None = None, part: Part | None = None) -> tuple[str, str]:
        """(path relative to the root, "") or ("", why there is none); see :meth:`all_found`.

        Of several, the one that shares most names of folders with the name itself and with ``near``, the file that
        names the photo, where that is one.
        """
        found, reason = self.all_found(name, near, part)
        if len(found) > 1 and near is not None:
            folders = PurePosixPath(str(name).strip().replace("\\", "/")).parent
            found = _nearest(found, f"{folders.as_posix()}/{relative(near, self.root)}") or found
        if len(found) == 1:
            return found[0], ""
        return "", reason or f"{shown(str(name))} could be {shown(found[0])} or {shown(found[1])}"

    def all_found(self, name: object, near: Path | None = None, part: Part | None = None) -> tuple[list[str], str]:
        """The photos that a name may mean, or none and why.

        It is looked up in the folder of the file ``near``, then in the root, then by its last part anywhere, whatever
        its case, Unicode form, percent-encoding and, at last, ending; but not in the folders of another part than
        its own folders name, or else those of ``near``, or ``part``, if there are photos of that part.
        """
        text = str(name).strip().replace("\\", "/")
        given = PurePosixPath(text)
        if not given.name:
            return [], "names no photo"
        if given.is_absolute() and Path(text).is_relative_to(self.root):
            given = PurePosixPath(relative(Path(text), self.root))
        for folder in (near.parent if near else self.root, self.root):
            exact = os.path.normpath(PurePosixPath(relative(folder, self.root)) / given).replace(os.sep, "/")
            if exact in self._known:
                return [exact], ""
        stem = given.stem if given.suffix.lower() in SUFFIXES else given.name
        found = self._named.get(loose(given.name)) or self._named.get(loose(stem)) or []
        end = loose(f"/{given.with_name(stem).as_posix()}")
        found = [path for path in found if loose(f"/{PurePosixPath(path).with_suffix('').as_posix()}").endswith(end)
                 or loose(f"/{path}").endswith(end)] or found  # fmt: skip
        found = [path for path in found if PurePosixPath(path).name == given.name] or found
        own = None if given.is_absolute() or re.match(r"[A-Za-z]:", text) else part_of(text)  # no other machine's
        part = (part_of(relative(near, self.root)) if near else None) or part
        part = own or (part if part in self._parts else None)
        if part and found and not (found := [path for path in found if part_of(path) in (None, part)]):
            return [], f"there is no photo {shown(text)} in the part {part!r}"
        where = "beside that file and below the data set's folder, by name in any case and with any photo's ending"
        return found, "" if found else f"there is no photo {shown(text)} (looked {where})"


def _nearest(paths: Sequence[str], to: str) -> list[str]:
    """The path that shares more names of folders with another file (whose own name counts) than the others do."""
    words = {loose(word) for part in PurePosixPath(to).parts for word in (part, *re.split(r"[\W_]+", part))}
    shared = Counter({path: sum(loose(part) in words for part in PurePosixPath(path).parts[:-1]) for path in paths})
    best = shared.most_common(2)
    return [best[0][0]] if best[0][1] > best[1][1] else []


_PHOTO_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
_LABEL_FOLDERS = ("labels", "label", "annotations", "annotation", "ann", "xml", "xmls", "txt", "json")
"""Names of folders (lower case) that hold photos where the other kind holds their labels, all else being equal."""


def pair(album: Album, files: Iterable[Path]) -> tuple[dict[Path, str], list[Problem]]:
    """The photo of each label file that has a photo's name (``a.txt`` of ``a.jpg``, also ``a.jpg.json``).

    Where several have that name, the folders say which belong together: the same, or ``labels`` where the photos' is
    ``images``, else the most names in common. A file of one part is never paired with a photo of another.

    Returns:
        The pairs, and the photos and files that could belong to several.
    """
    photos: dict[str, list[str]] = defaultdict(list)
    for photo in album.paths:
        photos[loose(PurePosixPath(photo).stem)].append(photo)
    named: dict[str, list[str]] = defaultdict(list)
    for file in files:
        stem = loose(file.stem)
        full = PurePosixPath(stem)
        named[full.stem if full.suffix in SUFFIXES else stem].append(relative(file, album.root))
    pairs: dict[Path, str] = {}
    problems = []
    for stem, found in named.items():
        of_stem = photos.get(stem, [])
        beside = _by_folder(found, _LABEL_FOLDERS), _by_folder(of_stem, _PHOTO_FOLDERS)
        for photo in of_stem:
            # all others are less close than those of the same folder, so that these alone have to be compared
            candidates = _same(photo, _PHOTO_FOLDERS, beside[0]) or found
            near = _closest({file: _closeness(file, photo) for file in candidates})
            back = near
            if len(near) == 1:
                others = _same(near[0], _LABEL_FOLDERS, beside[1]) or of_stem
                back = _closest({other: _closeness(near[0], other) for other in others})
            if len(near) == 1 and back == [photo]:
                pairs[album.root / near[0]] = photo
            elif len(near) > 1:
                problems.append(Problem(photo, f"its labels could be {near[0]} or {near[1]}, so its label is unknown"))
            elif photo in back:
                text = f"{near[0]} could be of {back[0]} or {back[1]}, so its label is unknown"
                problems.append(Problem(photo, text))
    return pairs, problems


def _folders(path: str, without: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The names of a path's folders without some, and its folder as it is."""
    whole = PurePosixPath(loose(path))
    return tuple(name for name in whole.parts[:-1] if name not in without), whole.parent.as_posix()


def _by_folder(paths: Iterable[str], without: Sequence[str]) -> dict[object, list[str]]:
    found: dict[object, list[str]] = defaultdict(list)
    for path in paths:
        for key in _folders(path, without):
            found[key].append(path)
    return found


def _same(path: str, without: Sequence[str], others: Mapping[object, list[str]]) -> list[str]:
    """Those of ``others`` that lie in the same folder, or in one called so but for ``images`` and ``labels``."""
    return list(dict.fromkeys(other for key in _folders(path, without) for other in others.get(key, ())))


def _closest(closeness: dict[str, int]) -> list[str]:
    """Those that are closest, without those that can't be meant (below 0)."""
    best = max(closeness.values(), default=-1)
    return [name for name, value in closeness.items() if value == best >= 0]


def _closeness(file: str, photo: str) -> int:
    """How much speaks for a label file being of a photo of the same name; -1: they are of different parts."""
    (of_file, file_in), (of_photo, photo_in) = _folders(file, _LABEL_FOLDERS), _folders(photo, _PHOTO_FOLDERS)
    if of_file == of_photo or file_in == photo_in:
        return 1000 + (PurePosixPath(file).stem == PurePosixPath(photo).stem)
    if len({part_of(file), part_of(photo)} - {None}) > 1:
        return -1
    return sum((Counter(of_file) & Counter(of_photo)).values())
