"""Photos into train, validation and test without leaks, and ``split.json``, which holds the result.

Copies of a photo and pictures of one scene (:mod:`allmasked.data.duplicates`) stay in one part. Everything that trains
or scores takes its photos from a split.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from allmasked.core.errors import ConfigError, DataError, PhotoError, RunError
from allmasked.core.progress import Spread, on_threads
from allmasked.core.renamed import WORDS
from allmasked.core.runs import read_json, sweep, write_text
from allmasked.core.types import CLASSES, LABELS, NOBODY, PARTS, Class, Face, Part, Photo, Split, Wear
from allmasked.data.albums import Problem, read_document
from allmasked.data.annotations import Options
from allmasked.data.duplicates import COPIES, Descriptor, describe, groups
from allmasked.data.readers import read, root_of
from allmasked.data.relabelling import read_relabels, relabelled
from allmasked.data.siblings import siblings

VALIDATION, TEST = 0.15, 0.2
"""Default shares of the photos for validation and test."""


def make_split(
    root: str | Path,
    photos: Sequence[Photo],
    *,
    seed: int = 0,
    validation: float = VALIDATION,
    test: float = TEST,
    skipped: Iterable[Problem] = (),
    test_source: str = "",
    parts: Mapping[str, Part] | None = None,
    said: Sequence[str] = (),
    spread: Spread = on_threads,
    relabelled: Sequence[Mapping[str, str]] = (),
) -> Split:
    """Divide photos into train, validation and test by group of near-duplicates, stratified by label and faces.

    Left out, each with a reason: photos that can't be read, all but the first of exact duplicates, and copies of one
    photo whose labels disagree.

    Args:
        root: the folder that the photos' paths are relative to.
        photos: in any order; the split holds them sorted by path.
        validation, test: shares 0-1 of the photos that are kept.
        skipped: what the reader could not use; only noted in the settings.
        test_source: a pattern (``fmd_*``) of file names or paths: the photos that match, and only they, are the test
            part, as if another had collected them; of the others, those that show the same as one of them are left out.
        parts: by path, the parts that the data set brings; they are kept, copies across them too, which the settings
            count (``twins``). What it doesn't bring is taken from its training photos.
        said: how the reader understood the data set; only noted in the settings.
        spread: who reads the photos; the threads of this process, or an engine.
        relabelled: what was mended in its labels before; only noted in the settings.

    Photos without people train, or are left out.

    Raises:
        ConfigError: the shares leave nothing to train on, or ``parts`` are none.
        DataError: no photo is left.
    """
    if test_source and parts is not None:
        raise ConfigError("a test source makes a test part, and given parts are kept; ask for one of them")
    if min(validation, test) < 0 or validation + test >= 1:
        raise ConfigError(f"validation {validation:g} and test {test:g} must be 0 or more and together less than 1")
    root = Path(root).resolve()
    photos = sorted(photos, key=lambda photo: photo.path)
    readable, unreadable, descriptors = list[Photo](), list[Photo](), list[Descriptor]()
    for photo, found in zip(photos, describe([root / photo.path for photo in photos], spread)):
        if isinstance(found, PhotoError):
            digest = sha256_of(root / photo.path)
            unreadable.append(left_out(dataclasses.replace(photo, sha256=digest), found.reason))
        else:
            descriptors.append(found)
            readable.append(measured(photo, found))
    if not readable:
        raise DataError(f"{root}: none of its {len(photos):,} photos can be read")
    pairs = siblings([photo.path for photo in readable], descriptors)
    scenes = groups(len(readable), pairs)
    copies = groups(len(readable), pairs, COPIES)
    readable = [dataclasses.replace(photo, group=number) for photo, number in zip(readable, copies)]
    readable = _left_out(readable, parts or {})
    readable = [dataclasses.replace(photo, group=number) for photo, number in zip(readable, scenes)]
    settings: dict[str, object] = {"validation": validation, "test": test_source or test}
    if test_source:
        readable = _apart(readable, scenes, test_source)
        test = 0.0
    if parts is not None:
        readable = _given(readable, parts)
        brought = set(parts.values())
        validation, test = (0.0 if "validation" in brought else validation), (0.0 if "test" in brought else test)
        settings["parts"] = "given"
    kept = [index for index, photo in enumerate(readable) if photo.part == "train" and photo.label != NOBODY]
    if not kept:
        if all(photo.label == NOBODY for photo in readable):
            raise DataError(f"{root}: nobody is in any of its {len(readable):,} photos, so no class can be learnt")
        raise DataError(f"{root}: no photo is left: all are copies of each other with labels that disagree")
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    divided = divide([readable[index] for index in kept], [scenes[index] for index in kept], shares, seed)
    for index, part in zip(kept, divided):
        readable[index] = dataclasses.replace(readable[index], part=part)
    readable = _nobody(readable, scenes)
    if parts is not None:
        twins = groups(len(readable), pairs, (*COPIES, "source"))
        settings["twins"] = {"copies": _across(readable, twins), "scenes": _across(readable, scenes)}
    settings |= {
        "pairs": {kind: sum(pair.kind == kind for pair in pairs) for kind in sorted({pair.kind for pair in pairs})},
        "skipped": [{"path": problem.path, "reason": problem.reason} for problem in skipped],
        "read": list(said),
    }
    if relabelled:
        settings["relabelled"] = [dict(one) for one in relabelled]
    everything = sorted([*readable, *unreadable], key=lambda photo: photo.path)
    return Split(root=root, photos=tuple(everything), seed=seed, settings=settings)


def left_out(photo: Photo, reason: str) -> Photo:
    """The photo as it is where it is used for nothing."""
    return dataclasses.replace(photo, part="left_out", reason=reason)


def measured(photo: Photo, found: Descriptor) -> Photo:
    """The photo with what its file says of it."""
    return dataclasses.replace(photo, sha256=found.sha256, width=found.width, height=found.height)


def _left_out(photos: list[Photo], parts: Mapping[str, Part]) -> list[Photo]:
    """The photos, with those marked that are exact duplicates (in one given part) or whose copies' labels differ."""
    members: dict[int, list[Photo]] = defaultdict(list)
    labels: dict[int, set[str]] = defaultdict(set)
    first: dict[tuple[str, str], Photo] = {}
    for photo in photos:
        members[photo.group].append(photo)
        labels[photo.group].add(photo.label)
        first.setdefault((photo.sha256, parts.get(photo.path, "")), photo)
    out = []
    for photo in photos:
        if len(labels[photo.group]) > 1:
            others = [other for other in members[photo.group] if other.label != photo.label]
            same = [other for other in others if other.sha256 == photo.sha256]
            other = (same or others)[0]
            how = "exact duplicate" if same else "near-duplicate"
            photo = left_out(photo, f"labels disagree: {photo.label}, but its {how} {other.path} is {other.label}")
        elif (same_one := first[photo.sha256, parts.get(photo.path, "")]) is not photo:
            photo = left_out(photo, f"exact duplicate of {same_one.path}")
        out.append(photo)
    return out


def _apart(photos: list[Photo], scenes: Sequence[int], pattern: str) -> list[Photo]:
    """The photos whose name matches as the test part; others that show the same as one of them left out."""
    of_source = [fnmatch.fnmatchcase(photo.path, pattern) or fnmatch.fnmatchcase(Path(photo.path).name, pattern)
                 for photo in photos]  # fmt: skip
    if not any(of_source) or all(of_source):
        which = "no photo" if not any(of_source) else "every photo"
        raise ConfigError(f"test source {pattern!r}: {which} matches; give a pattern of file names, such as 'fmd_*'")
    shown = {scene: photo.path for photo, scene, there in zip(photos, scenes, of_source) if there}
    out = []
    for photo, scene, there in zip(photos, scenes, of_source):
        if photo.part != "left_out" and there:
            photo = dataclasses.replace(photo, part="test")
        elif photo.part != "left_out" and scene in shown:
            photo = left_out(photo, f"shows the same as {shown[scene]} of the test source")
        out.append(photo)
    return out


def _given(photos: list[Photo], parts: Mapping[str, Part]) -> list[Photo]:
    """The photos in the parts that the data set brings; those in none of them train."""
    if len(set(parts.values())) < 2:
        raise ConfigError("parts given: the data set brings none, such as folders train, valid and test; leave it out")
    return [
        photo if photo.part == "left_out" else dataclasses.replace(photo, part=parts.get(photo.path, "train"))
        for photo in photos
    ]


def _nobody(photos: list[Photo], scenes: Sequence[int]) -> list[Photo]:
    """The photos; those without people left out where they, or one of the same scene, are not for training."""
    held_out = {scene: photo for photo, scene in zip(photos, scenes) if photo.part in ("validation", "test")}
    out = []
    for photo, scene in zip(photos, scenes):
        if photo.label == NOBODY and photo.part != "left_out" and scene in held_out:
            other = held_out[scene]
            reason = f"shows the same as {other.path} ({other.part})"
            if other is photo:
                reason = "nobody is there, which only photos for training may say"
            photo = left_out(photo, reason)
        out.append(photo)
    return out


def _across(photos: Sequence[Photo], numbers: Sequence[int]) -> int:
    """How many photos share a number with a photo of another part."""
    parts: dict[int, set[Part]] = defaultdict(set)
    kept = [(photo, number) for photo, number in zip(photos, numbers) if photo.part != "left_out"]
    for photo, number in kept:
        parts[number].add(photo.part)
    return sum(len(parts[number]) > 1 for _, number in kept)


def divide(photos: Sequence[Photo], scenes: Sequence[int], shares: Mapping[str, float], seed: int) -> list[Part]:
    """A part for each photo, whole scenes together, so that every stratum is divided in nearly the same shares.

    ``scenes`` (one number a photo) are groups of near-duplicates, joined where they show the same scene.
    Greedy: scenes in descending size, random among equals; each goes to the part that lacks its strata most.
    """
    names = [name for name in ("train", "validation", "test") if shares[name] > 0]
    share = np.array([shares[name] for name in names])
    strata = {key: row for row, key in enumerate(sorted({_stratum(photo) for photo in photos}))}
    members: dict[int, list[int]] = defaultdict(list)
    for index, scene in enumerate(scenes):
        members[scene].append(index)
    total = np.zeros(len(strata))
    for photo in photos:
        total[strata[_stratum(photo)]] += 1
    have = np.zeros((len(names), len(strata)))
    parts: list[Part] = ["train"] * len(photos)
    rng = np.random.default_rng(seed)
    order = rng.permutation(sorted(members))
    for number in sorted(order.tolist(), key=lambda number: -len(members[number])):
        counts = np.bincount([strata[_stratum(photos[index])] for index in members[number]], minlength=len(strata))
        # in photos lacking as a share of what the part should hold, for the group's strata and, for ties, overall
        lacking = ((share[:, None] * total - have) * (counts > 0)).sum(axis=1) / share
        overall = (share * total.sum() - have.sum(axis=1)) / share
        best = int(np.argmax(lacking / (total * (counts > 0)).sum() + 1e-3 * overall / total.sum()))
        have[best] += counts
        for index in members[number]:
            parts[index] = names[best]  # type: ignore[call-overload]
    return parts


def _stratum(photo: Photo) -> tuple[int, int]:
    """Label and, where known, whether one, a few or many faces are marked."""
    faces = -1 if photo.faces is None else int(np.searchsorted([1, 2, 4], len(photo.faces), side="right"))
    return LABELS.index(photo.label), faces


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content in hexadecimal; empty when it can't be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def division(split: Split) -> set[tuple[str, str, str, str]]:
    """What two splits must have in common to be the same for a training; photos of nobody, which only some heads take,
    aside."""
    return {(one.sha256, one.path, one.label, one.part) for one in split.photos if one.label != NOBODY}


def verify(split: Split, photos: Iterable[Photo] | None = None) -> list[PhotoError]:
    """Those of a split's photos that are gone, or whose content is not what it was when the split was made."""
    problems = []
    for photo in split.photos if photos is None else photos:
        digest = sha256_of(split.root / photo.path)
        if not digest:
            problems.append(PhotoError(photo.path, "is in the split, but can't be read any more"))
        elif photo.sha256 and digest != photo.sha256:
            problems.append(PhotoError(photo.path, "has changed since the split was made; run 'allmasked split' again"))
    return problems


def absent(photos: Iterable[Photo]) -> tuple[Class, ...]:
    """The classes that none of the photos has."""
    there = {photo.label for photo in photos}
    return tuple(label for label in CLASSES if label not in there)


def only_over(missing: Sequence[Class]) -> str:
    """What to say behind a figure that is averaged over classes, such as `` over 'all' and 'none' only``."""
    return f" over {_named([label for label in CLASSES if label not in missing])} only" if missing else ""


def told_of_absent(split: Split) -> list[str]:
    """A sentence for each set of classes that some part of the split has no photo of."""
    parts: dict[tuple[Class, ...], list[Part]] = defaultdict(list)
    for part in PARTS[:3]:
        if photos := split.part(part):
            parts[absent(photos)].append(part)
    sentences = []
    for missing, where in parts.items():
        what = ["a classifier can't learn it"] if "train" in where else []
        what += ["averages over classes (macro-F1) leave it out"] if where != ["train"] else []
        if missing:
            sentences.append(f"no photo of {_named(missing)} in {', '.join(where)}: {', and '.join(what)}")
    return sentences


def _named(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)


# --- split.json -------------------------------------------------------------------------------------------------------


def write_split(split: Split, path: str | Path, root: str | None = None) -> None:
    """Write ``split.json``: one line a photo; the root relative to the file's folder, or as ``root`` says. Same split,
    same bytes."""
    write_text(path, _text(split, Path(path), root))


def unused(folder: Path, split: Split, *others: str) -> bool:
    """Whether a folder is empty, or holds no more than this split and what else ``others`` names: a process that was
    killed wrote them before anything else."""
    if not folder.is_dir():
        return not folder.exists()
    sweep(folder)
    file, names = folder / "split.json", {path.name for path in folder.iterdir()}
    if file.name not in names:
        return not names
    return names <= {file.name, *others} and file.read_text(encoding="utf-8", errors="replace") == _text(split, file)


def _text(split: Split, path: Path, root: str | None = None) -> str:
    try:
        root = root or Path(os.path.relpath(split.root.resolve(), path.parent.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        root = split.root.resolve().as_posix()
    head = {"data": root, "seed": split.seed, "settings": dict(split.settings)}
    lines = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
    rows = ",\n".join("  " + json.dumps(_row(photo), ensure_ascii=False) for photo in split.photos)
    return f'{lines},\n "photos": [\n{rows}\n ]\n}}\n'


def _row(photo: Photo) -> dict[str, Any]:
    row: dict[str, Any] = {"path": photo.path, "label": photo.label, "sha256": photo.sha256, "group": photo.group}
    row["part"] = photo.part
    if photo.part == "left_out":
        row["reason"] = photo.reason
    row["width"], row["height"] = photo.width, photo.height
    if photo.faces is not None:
        edges = ((face.wear, face.left, face.top, face.right, face.bottom) for face in photo.faces)
        row["faces"] = [[wear, *(int(e) if float(e).is_integer() else e for e in box)] for wear, *box in edges]
    return row


def read_split(path: str | Path, data: str | Path | None = None) -> Split:
    """Read a ``split.json``.

    Args:
        data: the data set's folder, where it is not where the file says.

    Raises:
        RunError: missing, not a split, or its photos' folder is not there.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("photos"), list):
        raise RunError(f"{path}: is not a split (no list of photos); make one with 'allmasked split DATA --out {path}'")
    photos = tuple(_photo(path, number, row) for number, row in enumerate(content["photos"], start=1))
    names = [photo.path for photo in photos]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RunError(f"{path}: {twice} stands in it twice; make it again with 'allmasked split'")
    seed, settings = content.get("seed"), content.get("settings", {})
    if not isinstance(seed, int) or not isinstance(settings, dict):
        wanted = "'seed' must be a whole number and 'settings' a table"
        raise RunError(f"{path}: {wanted}; make it again with 'allmasked split'")
    root = root_of(data) if data is not None else (path.parent / str(content.get("data", "."))).resolve()
    if not root.is_dir():
        raise RunError(f"{path}: its photos' folder {root} is not there; say where it is with --data")
    return Split(root=root.resolve(), photos=photos, seed=seed, settings=settings)


def _photo(path: Path, number: int, row: Any) -> Photo:
    """One row of a ``split.json``, checked."""
    where = f"{path}: photo {number}"
    if not isinstance(row, dict) or not isinstance(row.get("path"), str):
        raise RunError(f"{where} has no path; make it again with 'allmasked split'")
    name = row["path"]
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
        raise RunError(f"{where}: {name!r} is not a path below the data set's folder")
    labels = LABELS if row.get("part") in ("train", "left_out") else CLASSES
    for key, known in (("part", PARTS), ("label", labels)):
        if row.get(key) not in known:
            raise RunError(f"{where} ({name}): {key} {row.get(key)!r} is none of {', '.join(known)}")
    group, sizes = row.get("group", -1), (row.get("width", 0), row.get("height", 0))
    if not all(isinstance(value, int) for value in (group, *sizes)):
        raise RunError(f"{where} ({name}): group, width and height must be whole numbers")
    if not isinstance(row.get("sha256", ""), str):
        raise RunError(f"{where} ({name}): sha256 must be text")
    faces = None
    if row.get("faces") is not None:
        try:
            faces = tuple(Face(WORDS.get(wear, wear), *map(float, edges)) for wear, *edges in row["faces"])
        except (TypeError, ValueError):
            faces = (Face("?", 0, 0, 0, 0),)  # type: ignore[arg-type]
        edges = [edge for face in faces for edge in (face.left, face.top, face.right, face.bottom)]
        if any(face.wear not in get_args(Wear) for face in faces) or not all(abs(edge) < 1e9 for edge in edges):
            raise RunError(f"{where} ({name}): a face is [{'|'.join(get_args(Wear))}, left, top, right, bottom]")
    return Photo(
        path=name, label=row["label"], sha256=row.get("sha256", ""), width=sizes[0], height=sizes[1], group=group,
        part=row["part"], reason=str(row.get("reason", "")), faces=faces,
    )  # fmt: skip


# --- a data set or a split --------------------------------------------------------------------------------------------


def is_split(source: str | Path) -> bool:
    """Whether a path is a ``split.json`` and not a data set."""
    source = Path(source)
    if source.suffix.lower() != ".json" or not source.is_file():
        return False
    status = source.stat()
    return _holds_photos(source.absolute(), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=64)
def _holds_photos(file: Path, *_version: int) -> bool:
    try:
        content = read_document(file)
    except DataError as error:
        raise RunError(str(error)) from None
    return isinstance(content, dict) and isinstance(content.get("photos"), list)


def load_split(
    source: str | Path,
    *,
    seed: int = 0,
    data: str | Path | None = None,
    options: Options | None = None,
    test_source: str = "",
    keep_parts: bool = False,
    spread: Spread = on_threads,
    relabel: str | Path | None = None,
    **shares: float,
) -> Split:
    """The split of a ``split.json``, or of a data set, which is then split now.

    Args:
        source: ``split.json`` or a data set in any layout of :data:`allmasked.data.readers.READERS`.
        seed: of a split made now.
        data: the photos' folder, where it is not where the ``split.json`` says.
        options: how to read a data set.
        test_source: see :func:`make_split`.
        keep_parts: keep the parts (train, valid, test) that the data set brings.
        spread: see :func:`make_split`.
        relabel: a CSV of mended labels, see :mod:`allmasked.data.relabelling`.
        shares: ``validation`` and ``test`` of a split made now.
    """
    if is_split(source):
        if relabel is not None:
            raise ConfigError(f"{source}: is a split already; give the data set it was made from to mend its labels")
        return read_split(source, data)
    found = read(source, options=options)
    photos, record = found.photos, list[dict[str, str]]()
    if relabel is not None:
        labels, incorrect_is = read_relabels(Path(relabel)), (options or Options()).incorrect_is
        photos, record = relabelled(photos, labels, Path(relabel), incorrect_is)
    return make_split(
        found.root, photos, seed=seed, skipped=found.problems, test_source=test_source,
        parts=found.parts if keep_parts else None, said=found.said, relabelled=record, spread=spread, **shares,
    )  # fmt: skip


def load_photos(
    source: str | Path, *, data: str | Path | None = None, options: Options | None = None, nobody: bool = False
) -> Split:
    """The photos of a ``split.json`` (with their parts) or of a data set (undivided: all of them ``train``).

    Args:
        nobody: with the data set's photos without people, which are none of the classes.
    """
    if is_split(source):
        return read_split(source, data)
    found = read(source, options=options)
    skipped = [{"path": problem.path, "reason": problem.reason} for problem in found.problems]
    photos = tuple(photo for photo in found.photos if nobody or photo.label != NOBODY)
    if not photos:
        raise DataError(f"{source}: nobody is in any of its {len(found.photos):,} photos")
    return Split(root=found.root, photos=photos, seed=0, settings={"skipped": skipped, "read": list(found.said)})
