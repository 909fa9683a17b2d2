"""Readers of data sets whose labels or boxes stand in tables: the competition's JSON, and CSVs of several kinds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from allmasked.core.errors import DataError
from allmasked.core.text import shown
from allmasked.core.types import Photo
from allmasked.data import albums
from allmasked.data.albums import Album, Problem, files_in, folder_of, plain, read_document, relative, told
from allmasked.data.annotations import Labels, Marks, Notes, Options, strange_names
from allmasked.data.detection import SLACK

Rows = list[tuple[int, list[str]]]

_PATHS = (
    "filename", "image", "imagename", "imageid", "imagepath", "imagefile", "imagefilename", "file", "filepath", "path",
    "photo", "img", "imgname", "imgpath", "name", "id",
)  # fmt: skip
_LABELS = ("label", "class", "category", "target", "y", "classname", "labelname", "classification")
_BOXES = ("bbox", "box", "boundingbox")
_CORNER_AND_SIZE = ({"x", "y", "width", "height"}, {"x", "y", "w", "h"}, {"xmin", "ymin", "width", "height"})
_EDGES = (
    ("xmin", "x1", "left", "bboxx1", "bboxxmin", "bboxleft"),
    ("ymin", "y1", "top", "bboxy1", "bboxymin", "bboxtop"),
    ("xmax", "x2", "right", "bboxx2", "bboxxmax", "bboxright"),
    ("ymax", "y2", "bottom", "bboxy2", "bboxymax", "bboxbottom"),
)
"""Columns' names, as :func:`allmasked.data.albums.plain` writes them."""
_NOT_MADE_BY_HAND = ("submission", "prediction", "result")
"""CSVs with such a word in their name hold answers, not labels."""


@dataclass(frozen=True)
class Table:
    """A CSV file: columns' names as :func:`plain` writes them, its rows with their line numbers."""

    file: Path
    header: list[str]
    names: list[str]
    rows: Rows
    problems: list[Problem]

    def column(self, known: Sequence[str]) -> int | None:
        return next((self.header.index(name) for name in known if name in self.header), None)


def _tables(path: Path, notes: Notes) -> Iterator[Table]:
    """The CSVs below a folder, or the one given. What can't be read, or holds answers, is told in passing."""
    root = folder_of(path)
    for file in [path] if path.is_file() else files_in(path, [".csv", ".tsv"]):
        if file.suffix.lower() not in (".csv", ".tsv"):
            continue
        name = relative(file, root)
        problems: list[Problem] = []
        try:
            names, rows = albums.read_table(file, problems, name)
        except DataError as error:
            if path.is_file():
                raise
            notes.problems.append(told(error, root))
            continue
        if file != path and any(word in file.stem.lower() for word in _NOT_MADE_BY_HAND):
            notes.problem(name, "is passed over: by its name it holds answers, not labels (give it as DATA to read it)")
            continue
        yield Table(file, [plain(cell) for cell in names], names, rows, problems)


def is_labels(table: Table) -> bool:
    return table.column(_PATHS) is not None and table.column(_LABELS) is not None and not is_boxes(table)


def is_boxes(table: Table) -> bool:
    return all(table.column(known) is not None for known in _EDGES) and table.column(_LABELS) is not None


def is_bare(table: Table) -> bool:
    """No header, but rows of a path, four edges and a class, as keras-retinanet reads them."""
    cells = table.header
    return len(cells) == 6 and (not any(cells[1:]) or all(re.fullmatch(r"-?\d+(\.\d+)?", c) for c in table.names[1:5]))


def is_one_hot(table: Table) -> bool:
    """A path and columns of 0 and 1, each called like a class."""
    at = table.column(_PATHS)
    cells = {cell.strip() for _, row in table.rows for k, cell in enumerate(row) if k != at}
    return at is not None and len(table.header) >= 3 and bool(cells) and cells <= {"0", "1", "0.0", "1.0"}


def detect(fits: Callable[[Table], bool]) -> Callable[[Path, Options], bool]:
    """Whether a path holds a table of a kind, as :data:`allmasked.data.readers.READERS` asks it."""

    def found(path: Path, options: Options) -> bool:  # noqa: ARG001
        try:
            return any(map(fits, _tables(path, Notes())))
        except DataError:
            return False

    return found


def _chosen(path: Path, fits: Callable[[Table], bool], notes: Notes, what: str) -> list[Table]:
    tables = [table for table in _tables(path, notes) if fits(table)]
    if not tables:
        raise DataError(f"{path}: has no CSV with {what}")
    for table in tables:
        notes.problems += table.problems
    return tables


# --- labels -----------------------------------------------------------------------------------------------------------


def _gt_files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else files_in(path, [".json"])
    return [file for file in files if file.name.endswith("_gt.json")]


def detect_competition(path: Path, options: Options) -> bool:  # noqa: ARG001
    return bool(_gt_files(path))


def read_competition(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """The photos that ``train_gt.json`` names (name -> 0, 1, 2); others, as the competition's test set, are passed."""
    files = _gt_files(path) or ([path] if path.is_file() else [])
    if not files:
        raise DataError(f"{path}: has no train_gt.json")
    labels = Labels(Album(folder_of(path)), options, notes)
    for file in files:
        content = read_document(file)
        if not isinstance(content, dict):
            raise DataError(f"{file}:1: must be a table of photo names and 0, 1 or 2")
        labels.options = options.knowing_none(file, content.values())
        for name, value in content.items():
            labels.add(file, relative(file, labels.album.root), name, value)
    return labels.photos()


def read_csv(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """Rows of a path and a label (a class's name or number); further columns are passed."""
    tables = _chosen(path, is_labels, notes, "a column 'path' and a column 'label'")
    labels = Labels(Album(folder_of(path)), options, notes)
    for table in tables:
        if table.column(_BOXES) is not None or any(names <= set(table.header) for names in _CORNER_AND_SIZE):
            raise DataError(
                f"{table.file}:1: has a row a box, but no corners that can be told for certain; name the columns "
                "filename,class,xmin,ymin,xmax,ymax (px)"
            )
        at, label = table.column(_PATHS), _label_column(table, options)
        assert at is not None
        confidence = table.column(["confidence"])
        labels.options = options.knowing_none(table.file, (row[label] for _, row in table.rows))
        for line, row in table.rows:
            where = f"{relative(table.file, labels.album.root)}:{line}"
            if confidence is not None and re.fullmatch(r"0+(\.0*)?", row[confidence].strip()):
                told = f"says that {shown(row[at])} is not {row[label]!r} (confidence 0), so it is no label"
                notes.problem(where, told)
            else:
                labels.add(table.file, where, row[at], row[label])
    return labels.photos()


def _label_column(table: Table, options: Options) -> int:
    """The column of the classes: of several (a number and a name) the first that means something.

    Raises:
        DataError: two of them contradict each other.
    """
    columns = [k for _, k in sorted((_LABELS.index(name), k) for k, name in enumerate(table.header) if name in _LABELS)]
    for line, row in table.rows:
        said = {k: label for k in columns if (label := options.label(row[k]))}
        if len(set(said.values())) > 1:
            names = " and ".join(f"{table.names[k]!r} ({label})" for k, label in said.items())
            raise DataError(f"{table.file}:{line}: its columns {names} contradict each other; remove the wrong one")
    known = [k for k in columns if any(options.label(row[k]) for _, row in table.rows)]
    return (known or columns)[0]


def read_one_hot(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """A column a class, 1 where the photo shows it; masked and bare together are some."""
    tables = _chosen(path, is_one_hot, notes, "a column 'path' and columns of 0 and 1")
    labels = Labels(Album(folder_of(path)), options, notes)
    strange: Counter[str] = Counter()
    for table in tables:
        at = table.column(_PATHS)
        assert at is not None
        classes = {k: options.label(name) for k, name in enumerate(table.names) if k != at}
        for line, row in table.rows:
            where = f"{relative(table.file, labels.album.root)}:{line}"
            on = [k for k in classes if float(row[k]) == 1]
            strange.update(table.names[k] for k in on if classes[k] is None)
            notes.names.update((table.names[k], classes[k] or "?") for k in on)
            said = {label for k in on if (label := classes[k]) not in (None, "ignore")}
            if not said:
                notes.problem(where, f"no column says what {shown(row[at])} is, so its label is unknown")
            elif said == {"all", "none"} or len(said) == 1:
                labels.give(table.file, where, row[at], "some" if len(said) == 2 else said.pop())
            else:
                notes.problem(where, f"{shown(row[at])} can't be {' and '.join(sorted(map(str, said)))} at once")
    if strange:
        raise strange_names(folder_of(path), strange, "--classes", "all none some nobody ignore")
    return labels.photos()


# --- boxes ------------------------------------------------------------------------------------------------------------


def read_boxes(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """A row a box: path, four edges (px, or shares where none is over 1.05) and a class, in columns of any order."""
    tables = _chosen(path, is_boxes, notes, "columns of a path, a class and xmin, ymin, xmax, ymax")
    marks = Marks(path, options, notes)
    for table in tables:
        columns = [table.column(known) for known in _EDGES]
        label = table.column(_LABELS)
        at = table.column([name for name in _PATHS if table.column([name]) != label])
        if at is None:
            raise DataError(f"{table.file}:1: has no column of the photos' paths, such as 'filename'")
        _refuse_contradiction(table, options)
        wanted = (table.column([side, f"image{side}", f"img{side}"]) for side in ("width", "height"))
        sides = [k for k in wanted if k is not None]
        _add_rows(table, at, [k for k in columns if k is not None], label or 0, sides, marks)
    return marks.photos("no CSV of boxes names it")


def read_bare(path: Path, options: Options, notes: Notes) -> list[Photo]:
    """Rows without a header: path, left, top, right, bottom, class, as keras-retinanet reads them; a path alone is a
    photo in which nothing is to be marked."""
    tables = _chosen(path, is_bare, notes, "rows of path, x1, y1, x2, y2, class")
    marks = Marks(path, options, notes)
    for table in tables:
        table.rows.insert(0, (1, table.names))
        _add_rows(table, 0, [1, 2, 3, 4], 5, [], marks)
    return marks.photos("no CSV of boxes names it")


def _refuse_contradiction(table: Table, options: Options) -> None:
    """Two columns of classes of which one says otherwise than the other."""
    columns = [k for name in _LABELS if (k := table.column([name])) is not None]
    nothing = (None, "ignore", "unknown")
    for line, row in table.rows:
        names = {row[k].strip(): options.wearing(row[k]) for k in columns if plain(row[k]) != "face"}
        said = {name: wear for name, wear in names.items() if wear not in nothing}
        if len(set(said.values())) > 1:
            raise DataError(f"{table.file}:{line}: its columns of classes say {' and '.join(said)}; leave one of them")


def _add_rows(table: Table, at: int, columns: list[int], label: int, sides: list[int], marks: Marks) -> None:
    source = relative(table.file, marks.root)
    shares = _are_shares([row[k] for _, row in table.rows for k in columns])
    for line, row in table.rows:
        where = f"{source}:{line}"
        photo, reason = marks.album.find(row[at], near=table.file)
        if not photo:
            marks.notes.problem(where, reason)
            continue
        marks.look_at(source, photo, [row[k] for k in sides])
        cells = [row[k].strip() for k in columns]
        if not any(cells) and not row[label].strip():
            continue
        edges: list[object] = list(cells)
        if shares:
            width, height = marks.size_of(photo)
            given = (min(max(float(cell or "nan"), 0.0), 1.0) if cell else float("nan") for cell in cells)
            edges = [value * side for value, side in zip(given, (width, height, width, height))]
        marks.add(source, where, photo, row[label], edges)


def _are_shares(cells: list[str]) -> bool:
    """Whether all edges are at most 1, but for a little beyond the photo, so that they can't be px."""
    try:
        return bool(cells) and all(-SLACK <= float(cell) <= 1 + SLACK for cell in cells if cell.strip())
    except ValueError:
        return False
