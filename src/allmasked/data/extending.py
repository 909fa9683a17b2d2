"""More photos for training beside those of a split, or fewer, without a leak into its validation and test parts."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from allmasked.core.errors import ConfigError, DataError, PhotoError
from allmasked.core.types import LABELS, Photo, Split
from allmasked.data.albums import relative
from allmasked.data.annotations import Options
from allmasked.data.dataset import left_out, measured, sha256_of
from allmasked.data.duplicates import describe, groups
from allmasked.data.readers import read_dataset
from allmasked.data.siblings import siblings


def extend_split(
    split: Split, sources: Sequence[str | Path], options: Options | None = None, *, most: int | None = None,
    keep: float = 1.0,
) -> Split:  # fmt: skip
    """The split with the photos of further data sets in its training part.

    Left out, each with a reason: what can't be read, what shows the same as a photo of the validation or test part,
    and what stands in the training part already. A folder ``nobody`` holds photos without people. The new split's root
    is the folder that all of them lie in.

    Args:
        sources: data sets in any layout of :data:`allmasked.data.readers.READERS`.
        most: at most this many photos of each source, drawn at random by the split's seed.
        keep: share (0-1) of the split's own training photos that stay there, of each class, drawn by groups; the rest
            is left out.

    Raises:
        DataError: a source is no data set, or a held-out photo of the split can't be read.
        ConfigError: the data sets have no folder in common.
    """
    split = keep_share(split, keep)
    if not sources:
        return split
    sets = [read_dataset(source, options=options) for source in sources]
    if most is not None:
        rng = np.random.default_rng(split.seed)
        sets = [(folder, _drawn(photos, most, rng), problems) for folder, photos, problems in sets]
    try:
        root = Path(os.path.commonpath([split.root, *(folder for folder, _, _ in sets)]))
    except ValueError:
        raise ConfigError("the data sets lie on different drives; put them below one folder") from None
    known = [dataclasses.replace(photo, path=relative(split.root / photo.path, root)) for photo in split.photos]
    new = [
        dataclasses.replace(photo, path=relative(folder / photo.path, root), part="train")
        for folder, photos, _ in sets
        for photo in photos
    ]
    held_out = [photo for photo in known if photo.part in ("validation", "test")]
    found = describe([root / photo.path for photo in [*new, *held_out]])
    if gone := [one for one in found[len(new) :] if isinstance(one, PhotoError)]:
        raise DataError(
            f"{gone[0]}; {len(gone):,} of the split's held-out photos can't be read, so nothing can be kept apart from "
            "them: bring them back, or split again"
        )
    readable = [index for index, one in enumerate(found) if not isinstance(one, PhotoError)]
    paths = [photo.path for photo in [*new, *held_out]]
    pairs = siblings([paths[index] for index in readable], [one for one in found if not isinstance(one, PhotoError)])
    numbers = dict(zip(readable, groups(len(readable), pairs)))
    reserved = {numbers[index]: photo for index, photo in enumerate(held_out, len(new)) if index in numbers}
    seen = {photo.sha256 for photo in known if photo.sha256}
    first_group = 1 + max((photo.group for photo in known), default=-1)
    added = []
    labels: dict[str, set[str]] = defaultdict(set)
    for photo, one in zip(new, found):
        if not isinstance(one, PhotoError):
            labels[one.sha256].add(photo.label)
    for index, (photo, one) in enumerate(zip(new, found)):
        if isinstance(one, PhotoError):
            digest = sha256_of(root / photo.path)
            added.append(left_out(dataclasses.replace(photo, sha256=digest), one.reason))
            continue
        photo = dataclasses.replace(measured(photo, one), group=first_group + numbers[index])
        if numbers[index] in reserved:
            other = reserved[numbers[index]]
            photo = left_out(photo, f"shows the same as {other.path} ({other.part})")
        elif len(labels[one.sha256]) > 1:
            others = " and ".join(sorted(labels[one.sha256]))
            photo = left_out(photo, f"labels disagree: its exact duplicates are {others}")
        elif one.sha256 in seen:
            photo = left_out(photo, "exact duplicate of a photo in the split, or of another new one")
        seen.add(one.sha256)
        added.append(photo)
    photos = tuple(sorted([*known, *added], key=lambda photo: photo.path))
    skipped = [
        {"path": relative(folder / one.path, root), "reason": one.reason} for folder, _, said in sets for one in said
    ]
    before = split.settings.get("skipped")
    settings = {**split.settings, "skipped": [*(before if isinstance(before, list) else []), *skipped]}
    return Split(root=root, photos=photos, seed=split.seed, settings=settings)


def keep_share(split: Split, share: float) -> Split:
    """The split with a share (0-1) of each class's training photos, whole groups of them, drawn by its seed."""
    if share >= 1.0:
        return split
    rng = np.random.default_rng(split.seed)
    kept: set[int] = set()
    for label in LABELS:
        sizes = Counter(photo.group for photo in split.part("train") if photo.label == label)
        wanted = round(share * sum(sizes.values()))
        for group in rng.permutation(sorted(sizes)).tolist():
            if sizes[group] <= wanted:
                wanted -= sizes[group]
                kept.add(group)
    reason = f"not among the share of {share:g} that was kept"
    photos = (p if p.part != "train" or p.group in kept else left_out(p, reason) for p in split.photos)
    return dataclasses.replace(split, photos=tuple(photos))


def _drawn(photos: list[Photo], most: int, rng: np.random.Generator) -> list[Photo]:
    if len(photos) <= most:
        return photos
    return [photos[index] for index in sorted(rng.choice(len(photos), most, replace=False))]
