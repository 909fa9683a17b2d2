"""Labels that a person has mended: a CSV of path and label. The data set itself is never changed."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from allmasked.core.errors import DataError
from allmasked.core.runs import replacing
from allmasked.core.types import LABELS, NOBODY, Label, Photo
from allmasked.data.albums import Problem, read_table
from allmasked.data.annotations import label_of

COLUMNS = ("path", "label")


def read_relabels(path: Path) -> dict[str, Label]:
    """The labels of a CSV with the columns ``path`` (relative to the data set, with ``/``) and ``label``.

    Raises:
        DataError: no such columns, a row that can't be read, a label that is none, or a photo named twice.
    """
    problems: list[Problem] = []
    header, rows = read_table(path, problems, str(path))
    names = [name.lower() for name in header]
    if missing := [name for name in COLUMNS if name not in names]:
        raise DataError(f"{path}:1: has no column {missing[0]!r}; a CSV of mended labels begins with path,label")
    if problems:
        raise DataError(f"{problems[0].path}: {problems[0].reason}; mend that row or take it out")
    at, label_at = (names.index(name) for name in COLUMNS)
    lines: dict[str, int] = {}
    labels: dict[str, Label] = {}
    for line, row in rows:
        photo, label = row[at], row[label_at].strip()
        label = label if label == "None" else label.lower()  # None: how programs write that there is no value
        if label not in LABELS:
            raise DataError(f"{path}:{line}: label {label[:40]!r} of {photo} is none of {', '.join(LABELS)}")
        if photo in labels:
            raise DataError(f"{path}:{line}: {photo} stands in line {lines[photo]} already; keep one of them")
        lines[photo], labels[photo] = line, cast(Label, label)
    return labels


def write_relabels(path: Path, labels: Mapping[str, Label]) -> None:
    """Write what :func:`read_relabels` reads, sorted by path; never half-written."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([COLUMNS, *sorted(labels.items())])


def relabelled(
    photos: Sequence[Photo], labels: Mapping[str, Label], said_by: Path, incorrect_is: str = "bare"
) -> tuple[tuple[Photo, ...], list[dict[str, str]]]:
    """Photos with mended labels, and what was changed: ``path``, ``was``, ``label`` each.

    The faces marked on a photo become unknown where they say another label than the mended one.

    Raises:
        DataError: a label is of no photo.
    """
    known = {photo.path for photo in photos}
    if strange := [path for path in labels if path not in known]:
        more = f" (and {len(strange) - 1:,} more)" if len(strange) > 1 else ""
        raise DataError(
            f"{said_by}: {strange[0]}{more} is no labelled photo of the data set; paths are relative to its folder"
        )
    changed, record = [], []
    for photo in photos:
        label = labels.get(photo.path, photo.label)
        if label != photo.label:
            record.append({"path": photo.path, "was": str(photo.label), "label": str(label)})
            faces = () if label == NOBODY else photo.faces
            if (faces and label_of(faces, incorrect_is) != label) or (faces == () and label != NOBODY):
                faces = None
            photo = dataclasses.replace(photo, label=label, faces=faces)
        changed.append(photo)
    return tuple(changed), record
