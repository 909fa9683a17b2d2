"""Which photos a run has seen in training, so that no score of them passes for a held-out one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from allmasked.core.errors import DataError, PhotoError
from allmasked.core.types import Photo, Split
from allmasked.data.dataset import load_photos, measured
from allmasked.data.duplicates import Descriptor, describe, groups, near_duplicates


def trained_on(run_split: Split, photos: Iterable[Photo], others: Split | None = None) -> list[Photo]:
    """Those of ``photos`` that the run trained on: the same bytes, or a near-duplicate by either split's groups."""
    seen = {photo.key for photo in run_split.part("train")}
    for split in (run_split, others):
        groups = {photo.group for photo in (split.photos if split else ()) if photo.key in seen and photo.group >= 0}
        seen = seen | {photo.key for photo in (split.photos if split else ()) if photo.group in groups}
    return [photo for photo in photos if photo.key in seen]


@dataclass(frozen=True)
class Foreign:
    """Labelled photos that are not of the run's split: grouped by near-duplicates, exact duplicates once.

    ``seen`` are those that the run trained on, or near-duplicates of such; ``note`` says what could not be ruled out.
    """

    split: Split
    seen: tuple[Photo, ...]
    note: str = ""


def foreign_photos(source: Path, run_split: Split) -> Foreign:
    """Read a labelled data set or ``split.json`` and compare it with the photos that the run trained on.

    Near-duplicates are searched among both (:mod:`allmasked.data.duplicates`), so that a re-encoded, resized or cropped
    copy of a training photo is found too. Photos that cannot be read stay in; scoring them will say why.

    Raises:
        DataError, RunError: neither a data set nor a split, or without labelled photos.
    """
    other = load_photos(source)
    photos = [photo for photo in other.photos if photo.part != "left_out"]
    if not photos:
        raise DataError(f"{source}: has no labelled photos to score")
    seen = {photo.path for photo in trained_on(run_split, photos, other)}

    trained = [path for photo in run_split.part("train") if (path := run_split.root / photo.path).is_file()]
    found = describe([*(other.root / photo.path for photo in photos), *trained])
    numbers = _groups(found)
    of_training = {number for number in numbers[len(photos) :] if number >= 0}
    regrouped: dict[str, Photo] = {}
    for photo, descriptor, number in zip(photos, found, numbers):
        if not isinstance(descriptor, PhotoError):
            sha256 = photo.sha256 or descriptor.sha256
            photo = dataclasses.replace(measured(photo, descriptor), sha256=sha256, group=number)
        if number in of_training:
            seen.add(photo.path)
        regrouped.setdefault(photo.key, photo)
    kept = tuple(regrouped.values())
    missing = len(run_split.part("train")) - len(trained)
    note = f"{missing:,} training photos are not where they were, so only exact copies of them were ruled out"
    seen_photos = {p.path: p for p in (*trained_on(run_split, kept), *(p for p in kept if p.path in seen))}
    return Foreign(dataclasses.replace(other, photos=kept), tuple(seen_photos.values()), note if missing else "")


def _groups(found: list[Descriptor | PhotoError]) -> list[int]:
    """The group of each photo, -1 for those that could not be read."""
    readable = [index for index, descriptor in enumerate(found) if not isinstance(descriptor, PhotoError)]
    pairs = near_duplicates([d for d in found if not isinstance(d, PhotoError)], remember=True)
    numbers = [-1] * len(found)
    for index, number in zip(readable, groups(len(readable), pairs)):
        numbers[index] = number
    return numbers
