"""A labelled data set in the form in which the notebooks' competition gave its photos out.

OUT/
  training/ test/         photos, 10000.jpg ...
  train_gt.json           photo -> 0 none, 1 all, 2 some, of those in training
  sample_submission.csv   Id,Category: every test photo, with a category that means nothing
  true_results.csv        Id,Category: what a competition keeps to itself, to score a submission
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from allmasked.core.errors import ConfigError, DataError
from allmasked.core.runs import working_folder, write_json, write_text
from allmasked.core.types import CATEGORIES, NOBODY
from allmasked.data.readers import read_dataset

FIRST = 10000


def write_competition(data: str | Path, out: str | Path, *, test: float = 0.2, seed: int = 0) -> tuple[int, int]:
    """Copy a data set into an empty or new folder ``out`` in the competition's form; photos in training and in test.

    Args:
        data: a data set in any layout; its photos of nobody are left out.
        test: share of the photos that become the test photos, above 0 and below 1.
        seed: of the draw.

    Raises:
        ConfigError: ``test`` is out of range, or leaves one side empty.
        DataError: ``data`` can't be read, or ``out`` isn't empty.

    Example:
        >>> write_competition("data", "MaskDataset")
        (480, 120)
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: is not an empty folder; name a new one")
    root, photos, _ = read_dataset(data)
    photos = [photo for photo in photos if photo.label != NOBODY]
    order = np.random.default_rng(seed).permutation(len(photos))
    held_out = round(test * len(photos))
    if not 0 < held_out < len(photos):
        raise ConfigError(f"test = {test}: leaves no photo on one side; {len(photos)} photos have a label")
    labels: dict[str, dict[str, int]] = {"test": {}, "training": {}}
    with working_folder(out) as folder:
        made = folder / out.name
        for number, index in enumerate(order):
            photo, part = photos[index], "test" if number < held_out else "training"
            name = f"{FIRST + number}{Path(photo.path).suffix.lower()}"
            (made / part).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / photo.path, made / part / name)
            labels[part][name] = CATEGORIES[photo.label]
        write_json(made / "train_gt.json", labels["training"])
        for file, rows in (("true_results", labels["test"]), ("sample_submission", dict.fromkeys(labels["test"], 0))):
            lines = ["Id,Category", *(f"{name},{number}" for name, number in rows.items()), ""]
            write_text(made / f"{file}.csv", "\n".join(lines))
        if out.is_dir():
            out.rmdir()
        made.rename(out)
    return len(labels["training"]), len(labels["test"])
