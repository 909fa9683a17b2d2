"""A submission to the competition: ``Id,Category``, a photo's file name and 0 none, 1 all, 2 some."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import click

from allmasked.cli.rows import output
from allmasked.cli.rows import photos as photos_of
from allmasked.core.errors import DataError
from allmasked.core.text import printable
from allmasked.core.types import CATEGORIES, CLASSES, NOBODY, Prediction
from allmasked.predictors.addresses import is_address, names_of

HEADER = ("Id", "Category")
Given = TypeVar("Given")


def category(prediction: Prediction) -> int:
    """The number of an answer. Of ``nobody`` that of the likeliest of the three, if somebody is there after all.

    Where nothing speaks for any of them, no person wears a mask: 0.
    """
    import numpy as np

    from allmasked.networks.reading import given_somebody

    assert prediction.label is not None
    if prediction.label != NOBODY:
        return CATEGORIES[prediction.label]
    three = given_somebody(np.array(prediction.four))
    return CATEGORIES["none" if np.ptp(three) == 0 else CLASSES[int(three.argmax())]]


def sample_ids(sample: Path) -> list[str]:
    """The Ids of a sample submission, in its order.

    Raises:
        DataError: it can't be read, has other columns, no row, or an Id twice.
    """
    try:
        with sample.open(encoding="utf-8-sig", newline="") as stream:
            header, *rows = list(csv.reader(stream)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{sample}: cannot be read ({error}); give the competition's sample submission") from None
    if [name.strip().lower() for name in header[:1]] != ["id"]:
        raise DataError(f"{sample}:1: its first column must be Id, as in the competition's sample submission")
    ids = [row[0].strip() for row in rows if row]
    if not ids:
        raise DataError(f"{sample}: names no photo")
    if twice := next((name for name, times in Counter(ids).items() if times > 1), None):
        raise DataError(f"{sample}: names {twice} twice")
    return ids


def photo_id(place: str) -> str:
    """A photo's file name."""
    return names_of(place)[-1] if is_address(place) else Path(place).name


def chosen(photos: Iterable[tuple[str, Given]], sample: Path | None) -> list[tuple[str, Given]]:
    """The photos, each by name, that a submission is about: those of the sample, in its order; all without one.

    Raises:
        DataError: a photo of the sample is not there.
        click.UsageError: two photos have one Id.
    """
    ids = None if sample is None else sample_ids(sample)
    wanted = None if ids is None else set(ids)
    known: dict[str, tuple[str, Given]] = {}
    for name, photo in photos:
        if wanted is not None and photo_id(name) not in wanted:
            continue
        other = known.setdefault(photo_id(name), (name, photo))
        if other != (name, photo):
            raise click.UsageError(
                f"{printable(other[0])} and {printable(name)} would have the same Id; give one folder"
            )
    if ids is None:
        return list(known.values())
    if missing := [name for name in ids if name not in known]:
        few = ", ".join(map(printable, missing[:3])) + (", ..." if len(missing) > 3 else "")
        raise DataError(
            f"no submission was written: {photos_of(len(missing))} of {sample} not among those given ({few}); give the"
            " folder of the test photos"
        )
    return [known[name] for name in ids]


def write_submission(predictions: Iterable[Prediction], out: Path | None) -> None:
    """Write it to a file or stdout once every photo is answered; nothing where one has no answer."""
    answered = list(predictions)
    if any(prediction.label is None for prediction in answered):
        return
    with output(out) as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(HEADER)
        rows.writerows((photo_id(prediction.path), category(prediction)) for prediction in answered)
