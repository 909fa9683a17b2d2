"""``synth``: write drawn photos as a data set with class folders, boxes and a manifest.

The folder is that of :mod:`allmasked.synth.painted`. Each photo depends on the seed and its number alone, so any
number of processes gives the same files.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from allmasked.core.errors import ConfigError, DataError, require
from allmasked.core.runs import claimed
from allmasked.core.types import CLASSES, Size
from allmasked.predictors.devices import processors
from allmasked.synth.drawn import scenes
from allmasked.synth.paint.brush import skia
from allmasked.synth.painted import JOURNAL, MANIFEST, Record, Summary, check, fill, save, sheet

__all__ = ["JOURNAL", "MANIFEST", "PEOPLE_SHARES", "Summary", "draw_dataset", "draw_photo", "sheet"]

VERSION = 2
"""Raised whenever the same seed gives other photos; part of the manifest's settings."""

PEOPLE_SHARES = {1: 0.12, 2: 0.3, 3: 0.27, 4: 0.16, 5: 0.09, 6: 0.06}
"""How often a photo shows so many people; in ``some`` the same without the first."""


def draw_dataset(
    out: str | Path, photos: int = 600, seed: int = 0, *, size: Size | None = None, workers: int | None = None
) -> Summary:
    """Paint a balanced data set of people with and without masks into the folder ``out``.

    The same seed gives the same files, whatever ``workers`` is. Started again after a stop, it keeps the photos that
    are there whole and paints the rest.

    Args:
        out: a folder that is empty, missing, or was begun by this function with the same settings.
        photos: how many, all classes together; the classes differ by at most one photo.
        seed: 0 or more.
        size: (width, height) px of every photo, each 160-2000; sizes around 640 x 480 when None.
        workers: processes; as many as there are usable CPUs when None.

    Raises:
        ConfigError: a setting out of range.
        DataError: ``out`` holds something else or cannot be written.
        MissingExtraError: Skia or OpenCV is not installed.
    """
    out = Path(out)
    check(photos, seed, workers)
    if size is not None and not all(160 <= edge <= 2000 for edge in size):
        raise ConfigError(f"photos must be 160 to 2000 px wide and high, not {size[0]} x {size[1]}")
    skia()  # says at once what is missing
    require("cv2", "synth")
    settings = {"kind": "drawn", "version": VERSION, "photos": photos, "seed": seed}
    settings["size"] = list(size) if size else None
    try:
        with claimed(out):
            return fill(out, settings, photos, partial(draw_photo, out, seed, size), workers or processors())
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error})") from error


def draw_photo(out: Path, seed: int, size: Size | None, index: int) -> Record:
    """Draw photo number ``index`` into its class folder; what the manifest says about it."""
    rng = np.random.default_rng([seed, index])
    label = CLASSES[index % len(CLASSES)]
    counts = [count for count in PEOPLE_SHARES if label != "some" or count > 1]
    shares = np.array([PEOPLE_SHARES[count] for count in counts])
    people = int(rng.choice(counts, p=shares / shares.sum()))
    image, faces = scenes.draw_scene(rng, label, people, size)
    quality, subsampling = int(rng.integers(62, 96)), int(rng.choice([0, 2, 2]))
    record = save(out, index, label, Image.fromarray(image), quality, subsampling)
    return {**record, "faces": [vars(face) for face in faces]}
