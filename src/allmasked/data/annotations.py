"""What data sets' names mean, and what every reader gathers: labels or marked faces, problems, how it was understood.

The photos a detection set marks get their label from their faces: ``all`` when every marked face is masked, ``none``
when no marked face is, ``some`` otherwise, ``nobody`` when the set says that nothing is there to mark. What can't be
read for certain makes a photo's label unknown: it is reported, not guessed (``docs/layouts.md``).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from allmasked.core import renamed
from allmasked.core.errors import ConfigError, DataError
from allmasked.core.text import shown
from allmasked.core.types import CATEGORIES, LABELS, NOBODY, Face, Label, Photo, Size, Wear
from allmasked.data.albums import Album, Problem, plain
from allmasked.images import pixels

_WORN = {
    "masked": """
        masked mask with_mask face_mask face_with_mask wearing_mask mask_on has_mask good correct correct_mask
        mask_correct mask_worn_correctly mask_weared mask_weared_correct mask_worn with_mask_correct correctly_masked
        correct_with_mask masked_face mask+ +mask""",
    "bare": """
        unmasked without_mask no_mask face face_no_mask face_without_mask without_face_mask not_wearing_mask mask_off
        no_face_mask non_mask not_masked unmasked_face bare bad face_other_covering mask- -mask""",
    "incorrect": """
        incorrect mask_weared_incorrect mask_weared_incorrectly mask_worn_incorrectly mask_worn_incorrect
        worn_mask_incorrect incorrect_mask mask_incorrect wrong_mask face_with_mask_incorrect with_mask_incorrect
        incorrectly_masked incorrect_face_mask improperly""",
    "unknown": "unknown",
}
WEAR_NAMES: dict[str, str] = {plain(name): wear for wear, names in _WORN.items() for name in names.split()}
"""Class names of well-known sets (as :func:`allmasked.data.albums.plain` writes them) and what they mean here."""

_WORN_WRONG = {"incorrect", "incorrectly", "improper", "improperly"}
"""Values of any attribute that say how a mask is worn."""
_OF_BOXES_ONLY = {"face", "good", "bad", "correct", "incorrect", "improperly", "unknown"}
"""Names that say something of a marked face, but too little as a photo's label."""

CLASS_NAMES: dict[str, str] = {
    **{name: name for name in LABELS}, **{str(number): name for name, number in CATEGORIES.items()},
}  # fmt: skip
"""Names of classes, the competition's numbers among them."""

_LABEL_OF_WEAR = {"masked": "all", "bare": "none"}


def _key(name: object) -> str:
    """:func:`plain`, but ``None`` stays apart from ``none``."""
    return str(name).strip() if str(name).strip() == "None" else plain(name)


@dataclass(frozen=True)
class Options:
    """How to read a data set.

    ``classes`` and ``wear`` (name -> meaning) come on top of :data:`CLASS_NAMES` and :data:`WEAR_NAMES`; ``ignore``
    skips folders and boxes of that name. ``incorrect_is`` says what a mask worn incorrectly counts as in labels.

    Raises:
        ConfigError: two names that are the same to us are given different meanings.
    """

    layout: str | None = None
    classes: Mapping[str, str] | None = None
    wear: Mapping[str, str] | None = None
    incorrect_is: Literal["masked", "bare"] = "bare"

    def __post_init__(self) -> None:
        object.__setattr__(self, "incorrect_is", renamed.word(self.incorrect_is))
        if self.wear:
            object.__setattr__(self, "wear", {name: renamed.word(meaning) for name, meaning in self.wear.items()})
        for option, table in (("--classes", self.classes), ("--wear", self.wear)):
            said: dict[str, str] = {}
            for name, meaning in (table or {}).items():
                if said.setdefault(_key(name), meaning) != meaning:
                    raise ConfigError(
                        f"{option}: {name!r} is given as {meaning} and as {said[_key(name)]}; case and what "
                        "stands between words make no difference, so give each name once"
                    )

    def label(self, name: object) -> str | None:
        """The label that a class's name or number stands for, or ``ignore``; None where that is unknown.

        Names of :data:`WEAR_NAMES` are understood as labels too: a folder ``with_mask`` is class ``all``.
        """
        key = _key(name)
        given = {_key(name): label for name, label in (self.classes or {}).items()}
        number = re.fullmatch(r"(\d+)\.0+", str(name).strip())
        known = given.get(key) or CLASS_NAMES.get(number[1] if number else key)
        if known or key in _OF_BOXES_ONLY:
            return known
        wear = self.wearing(name)
        return _LABEL_OF_WEAR.get(self.incorrect_is if wear == "incorrect" else wear or "")

    def knowing_none(self, where: Path, names: Iterable[object]) -> Options:
        """The options for a set of these classes. ``None``, which programs write for a missing value, is class none
        beside ``All`` or ``Some``; beside ``none`` it stays without a meaning.

        Raises:
            DataError: it could be either.
        """
        spelt = {str(name).strip() for name in names if name is not None}
        if "None" not in spelt or "none" in spelt or self.label("None"):
            return self
        if spelt & {"All", "Some"} and not spelt & {"all", "some"}:
            return replace(self, classes={**(self.classes or {}), "None": "none"})
        raise DataError(
            f"{where}: 'None' may be the class none or stand for a missing value; say which with --classes None=none, "
            "or None=ignore"
        )

    def wearing(self, name: object) -> str | None:
        """What a detection class's name means: masked, bare, incorrect, unknown, ignore; None where that is
        unknown."""
        key = plain(name)
        given = {plain(name): wear for name, wear in (self.wear or {}).items()}
        return given.get(key) or WEAR_NAMES.get(key)


@dataclass
class Notes:
    """What a reader has to say beside the photos.

    ``said`` tells in words how the layout was understood; ``names`` counts (name, meaning); ``sources`` holds the file
    that names each photo.
    """

    problems: list[Problem] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    names: Counter[tuple[str, str]] = field(default_factory=Counter)
    sources: dict[str, str] = field(default_factory=dict)

    def problem(self, path: str, reason: str) -> None:
        self.problems.append(Problem(path, reason))


def label_of(faces: Iterable[Face], incorrect_is: str = "bare") -> Label | None:
    """The label that marked faces give a photo; None without faces of which something is known."""
    masked = {
        face.wear == "masked" or (face.wear == "incorrect" and incorrect_is == "masked")
        for face in faces
        if face.wear != "unknown"
    }
    if not masked:
        return None
    return "some" if len(masked) == 2 else "all" if True in masked else "none"


def face_of(wear: str, edges: Sequence[Any]) -> Face | None:
    """A face from the left, top, right and bottom edge (px, numbers or text); None where they are no box.

    A box drawn from right to left, or upwards, is the same box.
    """
    try:
        x, y, other_x, other_y = (float(edge) for edge in edges)
    except (TypeError, ValueError):
        return None
    if x == other_x or y == other_y or not all(abs(edge) < 1e7 for edge in (x, y, other_x, other_y)):
        return None
    return Face(wear, min(x, other_x), min(y, other_y), max(x, other_x), max(y, other_y))  # type: ignore[arg-type]


def strange_names(root: Path, names: Counter[str], option: str, meanings: str) -> DataError:
    """The error about names that mean nothing known, with the option that gives them a meaning."""
    listed = ", ".join(f"{name!r} ({count:,})" for name, count in names.most_common(8))
    first = names.most_common(1)[0][0]
    return DataError(
        f"{root}: no meaning is known of the classes {listed}; "
        f"give each one with {option} '{first}={meanings.split()[0]},...' (known: {meanings})"
    )


class Marks:
    """Faces gathered for the photos of a folder, or of a file that names them, by the file that marks them."""

    def __init__(self, path: Path, options: Options, notes: Notes) -> None:
        self.root, self.whole = (path.parent, False) if path.is_file() else (path, True)
        self.album = Album(self.root)
        self.options, self.notes = options, notes
        self.faces: dict[str, dict[str, list[Face]]] = defaultdict(dict)
        self.frames: dict[str, Size] = {}
        self.spoilt: set[str] = set()
        self.ignored: set[str] = set()
        self.listed: set[str] = set()
        self.strange: Counter[str] = Counter()
        self.plain_faces: dict[str, list[Face]] = defaultdict(list)
        self.mended = 0
        self._stored: dict[str, tuple[Size, int] | None] = {}

    def look_at(self, source: str, photo: str, size: Sequence[Any] = ()) -> None:
        """A file speaks of a photo, and perhaps says of which width and height (px) it was."""
        self.faces[photo].setdefault(source, [])
        self.notes.sources.setdefault(photo, source)
        try:
            width, height = (int(float(side)) for side in size)
        except (TypeError, ValueError, OverflowError):
            return
        if width > 0 and height > 0:
            self.frames[photo] = width, height

    def entry(self, source: str, where: str, photo: str, size: Sequence[Any] = ()) -> None:
        """:meth:`look_at` for a file that holds one entry a photo: a second one makes the photo's label unknown."""
        if source in self.faces[photo]:
            self.spoil(where, "the file names its photo twice", photo)
        self.look_at(source, photo, size)

    def add(self, source: str, where: str, photo: str, name: object, edges: Sequence[Any]) -> None:
        """One box (left, top, right, bottom px) of a class on a photo; ``where`` names its file and line."""
        self.look_at(source, photo)
        text = str(name if name is not None else "").strip()
        if not text or "\ufffd" in text:
            self.spoil(where, "has no class name that can be read", photo)
            return
        wear = self.options.wearing(text)
        face = face_of(wear or "", edges)
        if plain(text) == "face" and face:
            self.plain_faces[photo].append(face)
        if wear is None:
            self.strange[text] += 1
        elif wear == "ignore":
            self.ignored.add(photo)
        elif face is None:
            said = ", ".join(str(edge) for edge in edges if str(edge).strip())
            self.spoil(where, f"{said} is no box (edges in px)" if said else "has no box", photo)
        else:
            self.faces[photo][source].append(face)
            self.mended += float(edges[0]) > float(edges[2]) or float(edges[1]) > float(edges[3])
        self.notes.names[text, wear or "?"] += 1

    def whole_photo(self, where: str, photo: str, names: Sequence[object]) -> None:
        """Names that an annotation gives to the photo as a whole. Those of how masks are worn are not read, so a photo
        without boxes may show anybody."""
        for name in names:
            if self.options.wearing(name) or self.options.label(name):
                self.spoil(where, f"says {shown(str(name))!r} of the whole photo, which isn't read (as a CSV "
                           "photo,label it is)", photo)  # fmt: skip

    def attributes(self, where: str, photo: str, names: Iterable[object], values: Iterable[object] = ()) -> None:
        """Names of one box's attributes, flags or tags, and their values. Those of how masks are worn are not read:
        they may say otherwise than its class."""
        told = [name for name in names if "mask" in plain(name) or self.options.wearing(name)]
        told += [value for value in values if "mask" in plain(value) or plain(value) in _WORN_WRONG]
        for name in told:
            if name:
                said = f"an attribute {shown(str(name))!r} says how the mask is worn, which isn't read"
                self.spoil(where, said, photo)

    def doubt(self, doubtful: Iterable[tuple[str, str]]) -> None:
        """Photos whose labels could be several files', where nothing else says which."""
        for photo, reason in doubtful:
            if photo not in self.faces:
                self.notes.problem(photo, reason)
                self.spoilt.add(photo)

    def spoil(self, where: str, reason: str, photo: str = "") -> None:
        """Something can't be read, so the label of its photo is unknown."""
        self.notes.problem(where, f"{reason}, so the label of {shown(photo)} is unknown" if photo else reason)
        self.spoilt.add(photo)

    def photos(self, missing: str) -> list[Photo]:
        """The photos with the labels that their faces give them; the others become problems, those that nothing marks
        with the reason ``missing`` (none where only a file was given: others may mark them).

        Raises:
            DataError: a class's name means nothing known, or two files contradict each other.
        """
        self._judge_names()
        self._judge_faces()
        if self.mended:
            self.notes.said.append(f"{self.mended:,} boxes were drawn from right to left or upwards and are turned")
        photos = []
        unsure = 0
        for path in self.album.paths:
            if path in self.spoilt:
                continue
            if path not in self.faces:
                if self.whole:
                    self.notes.problem(path, f"{missing}, so its label is unknown")
                continue
            faces: Sequence[Face] | None = self._agreed(path)
            label = label_of(faces or (), self.options.incorrect_is)
            if label is None and (path in self.ignored or faces):
                self.notes.problem(path, "all its boxes are of classes to ignore, so its label is unknown")
                continue
            if faces:
                faces, sure = self._upright(path, faces)
                unsure += not sure
            photos.append(Photo(path, label or NOBODY, faces=None if faces is None else tuple(faces)))
        if empty := sum(photo.label == NOBODY for photo in photos):
            told = f"photos without a box, which count as nobody: {empty:,}"
            self.notes.said.append(f"{told} (leave out those not yet marked)")
        if unsure:
            self.notes.said.append(
                f"{unsure:,} photos are turned by EXIF and nothing says on which picture their boxes were drawn: they "
                "are taken as drawn on the upright one"
            )
        return photos

    def _judge_names(self) -> None:
        """Refuse names without a meaning; ``face`` alone is one, since a set of faces says nothing of masks."""
        names = {name for name, _ in self.notes.names}
        if not any(self.options.wearing(name) == "masked" for name in names | self.listed):
            given = {plain(name) for name in self.options.wear or {}}
            for name in names:
                if plain(name) == "face" and "face" not in given:
                    self.strange[name] += self.notes.names[name, "bare"]
        if self.strange:
            raise strange_names(self.root, self.strange, "--wear", "masked bare incorrect unknown ignore")

    def _judge_faces(self) -> None:
        """Refuse a set in which ``face`` marks masked faces, too, and the masks lie in them as boxes of their own."""
        if "face" in {plain(name) for name in self.options.wear or {}}:
            return
        masks = worn = 0
        for photo, bare in self.plain_faces.items():
            for mask in (face for faces in self.faces[photo].values() for face in faces if face.wear == "masked"):
                x, y = (mask.left + mask.right) / 2, (mask.top + mask.bottom) / 2
                masks += 1
                worn += any(f.left <= x <= f.right and f.top <= y <= f.bottom for f in bare)
        if worn and worn * 2 >= masks:
            raise DataError(
                f"{self.root}: {worn:,} of {masks:,} masks lie in boxes of class 'face', so 'face' is no bare face; "
                "mark each face once, as masked or bare, or say with --wear 'face=...' what it means"
            )

    def _agreed(self, path: str) -> list[Face]:
        """The faces that all files mark on a photo."""
        sources = list(self.faces[path].items())
        for source, faces in sources[1:]:
            if sorted(map(_rounded, faces)) != sorted(map(_rounded, sources[0][1])):
                raise DataError(
                    f"{self.root}: {sources[0][0]} and {source} contradict each other about {path}; keep the one that "
                    "is right and move the other out of the data set"
                )
        return sources[0][1]

    def _stored_size(self, path: str) -> tuple[Size, int] | None:
        """A photo's size as stored and how it is turned; None where it can't be read. Each file is opened once."""
        if path not in self._stored:
            try:
                self._stored[path] = pixels.stored_size(self.root / path)
            except Exception:  # decoders raise many kinds; that the photo is broken is told where it is read
                self._stored[path] = None
        return self._stored[path]

    def size_of(self, path: str) -> Size:
        """An upright photo's width and height, px; (1, 1) where it can't be read."""
        if (found := self._stored_size(path)) is None:
            return 1, 1
        (width, height), turn = found
        return (height, width) if turn >= 5 else (width, height)

    def _upright(self, path: str, faces: Sequence[Face]) -> tuple[Sequence[Face] | None, bool]:
        """The faces on the upright photo, and whether that is sure. None where they were drawn on another picture."""
        if (found := self._stored_size(path)) is None:
            return faces, True
        (stored, turn), upright = found, self.size_of(path)
        frame = self.frames.get(path)
        if (turn == 1 and frame in (None, stored)) or frame == upright != stored:
            return faces, True
        if frame == stored != upright:
            return [_turned(face, stored, turn) for face in faces], True
        if frame in (None, stored):
            return faces, False
        drawn = f"its boxes were drawn on a picture of {frame[0]} x {frame[1]} px"
        but = f"but it is {upright[0]} x {upright[1]} px: its label is kept, its boxes are left out"
        self.notes.problem(path, f"{drawn}, {but}")
        return None, True


def _rounded(face: Face) -> tuple[str, int, int, int, int]:
    return face.wear, round(face.left), round(face.top), round(face.right), round(face.bottom)


def _turned(face: Face, stored: Size, turn: int) -> Face:
    """A face drawn on the stored picture, on the upright one; ``turn`` is EXIF's orientation."""
    width, height = stored
    corners = []
    for x, y in ((face.left, face.top), (face.right, face.bottom)):
        x, y = {
            2: (width - x, y), 3: (width - x, height - y), 4: (x, height - y), 5: (y, x),
            6: (height - y, x), 7: (height - y, width - x), 8: (y, width - x),
        }[turn]  # fmt: skip
        corners += [x, y]
    across, down = corners[::2], corners[1::2]
    return replace(face, left=min(across), top=min(down), right=max(across), bottom=max(down))


class Labels:
    """Labels gathered for photos by name.

    Raises:
        DataError: two files give a photo different labels. Within one file that is a problem of the photo.
    """

    def __init__(self, album: Album, options: Options, notes: Notes) -> None:
        self.album, self.options, self.notes = album, options, notes
        self.labels: dict[str, tuple[str | None, str]] = {}
        self.several: dict[tuple[str, str], list[tuple[str, str, list[str]]]] = defaultdict(list)

    def add(self, file: Path, where: str, name: object, value: object) -> None:
        """A row or entry of a file that names a photo's class; ``where`` names its line."""
        label = None if value is None else self.options.label(value)
        self.notes.names[str(value).strip(), label or "?"] += 1
        self.give(file, where, name, label, str(value))

    def give(self, file: Path, where: str, name: object, label: str | None, value: str = "") -> None:
        """A label for the photo of a name; None: ``value`` says what stands there instead of one."""
        source = where.split(":")[0]
        found, reason = self.album.all_found(name, file)
        if len(found) > 1 and (photo := self.album.find(name, file)[0]):
            found = [photo]
        if label is None:
            known = "none of all, none, some or 0, 1, 2 and no known name of them (--classes)"
            reason = reason or f"label {value[:40]!r} of {shown(str(name))} is {known}"
            self.labels |= dict.fromkeys(found, (None, source))
        if reason:
            self.notes.problem(where, reason)
        elif len(found) > 1:
            self.several[source, str(name)].append((where, label or "", found))
        elif label and label != "ignore":
            self._give(found[0], label, source, where)

    def _give(self, photo: str, label: str, source: str, where: str) -> None:
        before, said_by = self.labels.setdefault(photo, (label, source))
        self.notes.sources.setdefault(photo, source)
        if before in (label, None):
            return
        if said_by != source:
            raise DataError(
                f"{self.album.root}: {said_by} and {source} contradict each other: {photo} is {before} in one and "
                f"{label} in the other; give the right one as DATA, or move the other out of the data set"
            )
        self.notes.problem(where, f"{photo} is {label} here and {before} before, so its label is unknown")
        self.labels[photo] = None, source

    def photos(self) -> list[Photo]:
        """The labelled photos. A name that may mean several photos gives its label to all of them where the file has a
        row for each and all rows agree."""
        for (source, name), rows in self.several.items():
            where, label, found = rows[0]
            if len(rows) == len(found) and {row[1] for row in rows} == {label}:
                for photo in found:
                    self._give(photo, label, source, where)
            else:
                for where, _, found in rows:
                    self.notes.problem(where, f"{shown(name)} could be {shown(found[0])} or {shown(found[1])}")
        return [
            Photo(path, label, faces=() if label == NOBODY else None)  # type: ignore[arg-type]
            for path, (label, _) in self.labels.items()
            if label is not None
        ]


WEARS = (*get_args(Wear), "ignore")
"""What ``--wear`` may say."""
