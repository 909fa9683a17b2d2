"""``synth``: write drawn photos as a data set with class folders, boxes and a manifest.

    OUT/
      all/ none/ some/    the photos, 0000.jpg ... numbered through all classes
      faces.csv           photo,wear,left,top,right,bottom: one row a face, px
      photos.csv          photo,source,width,height,masked,incorrect,unmasked
      synth.json          settings and, for each photo, what it shows and its SHA-256; ``finished`` once all is there

Each photo depends on the seed and its number alone, so any number of processes gives the same files.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from allmasked import pixels, scenes
from allmasked.brush import skia
from allmasked.errors import ConfigError, DataError
from allmasked.progress import bar
from allmasked.runs import read_json, replacing, write_json, write_text
from allmasked.types import CLASSES, Face, Label, Size

VERSION = 1
"""Raised whenever the same seed gives other photos; part of the manifest's settings."""

MANIFEST, JOURNAL = "synth.json", ".synth.jsonl"
PEOPLE_SHARES = {1: 0.12, 2: 0.3, 3: 0.27, 4: 0.16, 5: 0.09, 6: 0.06}
"""How often a photo shows so many people; in ``some`` the same without the first."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """What :func:`draw_dataset` did: photos a class, faces by wear, photos drawn now and kept from before."""

    out: Path
    photos: Mapping[Label, int]
    faces: Mapping[str, int]
    drawn: int
    kept: int


def draw_dataset(
    out: str | Path,
    photos: int = 600,
    seed: int = 0,
    *,
    size: Size | None = None,
    workers: int | None = None,
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
        MissingExtraError: Skia is not installed.
    """
    out = Path(out)
    if photos < 1:
        raise ConfigError(f"photos must be at least 1, not {photos}")
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, not {seed}")
    if size is not None and not all(160 <= edge <= 2000 for edge in size):
        raise ConfigError(f"photos must be 160 to 2000 px wide and high, not {size[0]} x {size[1]}")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, not {workers}")
    skia()  # says at once when it is missing
    settings = {
        "kind": "drawn",
        "version": VERSION,
        "photos": photos,
        "seed": seed,
        "size": list(size) if size else None,
    }
    try:
        return _fill(out, settings, photos, seed, size, workers or _cpus())
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error})") from error


def _fill(out: Path, settings: Record, photos: int, seed: int, size: Size | None, workers: int) -> Summary:
    known = _begin(out, settings)
    records = {index: record for index, record in known.items() if _whole(out, record)}
    missing = [index for index in range(photos) if index not in records]
    if missing:
        kept = [records[index] for index in sorted(records)]
        write_text(out / JOURNAL, "".join(json.dumps(record) + "\n" for record in kept))
        with (
            bar() as progress,
            (out / JOURNAL).open("a", encoding="utf-8") as journal,
            closing(_drawn(partial(draw_photo, out, seed, size), missing, min(workers, len(missing)))) as drawn,
        ):
            task = progress.add_task("painting", total=photos, completed=len(records), note="photos")
            for record in drawn:
                records[record["index"]] = record
                journal.write(json.dumps(record) + "\n")
                journal.flush()
                progress.advance(task)
    listed = [records[index] for index in range(photos)]
    _tables(out, listed)
    write_json(out / MANIFEST, {"settings": settings, "finished": True, "photos": listed})
    (out / JOURNAL).unlink(missing_ok=True)
    return Summary(
        out,
        {label: sum(record["label"] == label for record in listed) for label in CLASSES},
        dict(Counter(face["wear"] for record in listed for face in record["faces"])),
        drawn=len(missing),
        kept=photos - len(missing),
    )


def _begin(out: Path, settings: Record) -> dict[int, Record]:
    """Claim the folder; the photos that an earlier start says it has drawn, by number."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, not a folder; name another folder")
    manifest = out / MANIFEST
    if not manifest.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise DataError(f"{out}: is not empty and was not made by 'synth'; name an empty or a new folder")
        write_json(manifest, {"settings": settings, "finished": False, "photos": []})
        return {}
    state = read_json(manifest)
    if not isinstance(state, dict) or not isinstance(state.get("settings"), dict):
        raise DataError(f"{manifest}: is not a manifest of 'synth'; name an empty or a new folder")
    if state["settings"] != settings:
        names = sorted(settings.keys() | state["settings"].keys())
        other = [name for name in names if state["settings"].get(name) != settings.get(name)]
        was = ", ".join(f"{name} {state['settings'].get(name)}" for name in other)
        raise DataError(
            f"{out}: holds a data set with other settings ({was}); name another folder or the same settings"
        )
    for remnant in out.glob("*/.*.jpg"):  # a photo that was being written when a run was killed
        remnant.unlink()
    records = list(state.get("photos", []))
    journal = out / JOURNAL
    if journal.is_file():
        for line in journal.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:  # the line that a kill cut off
                continue
    return {record["index"]: record for record in records}


def _whole(out: Path, record: Record) -> bool:
    path = out / record["photo"]
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"]


def draw_photo(out: Path, seed: int, size: Size | None, index: int) -> Record:
    """Draw photo number ``index`` into its class folder; what the manifest says about it."""
    rng = np.random.default_rng([seed, index])
    label = CLASSES[index % len(CLASSES)]
    counts = [count for count in PEOPLE_SHARES if label != "some" or count > 1]
    shares = np.array([PEOPLE_SHARES[count] for count in counts])
    people = int(rng.choice(counts, p=shares / shares.sum()))
    image, faces = scenes.draw_scene(rng, label, people, size)
    buffer = io.BytesIO()
    quality, subsampling = int(rng.integers(62, 96)), int(rng.choice([0, 2, 2]))
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    name = f"{label}/{index:04d}.jpg"
    with replacing(out / name) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return {
        "index": index,
        "photo": name,
        "label": label,
        "width": image.shape[1],
        "height": image.shape[0],
        "jpeg_quality": quality,
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "faces": [vars(face) for face in faces],
    }


def _drawn(draw: partial[Record], numbers: Sequence[int], workers: int) -> Generator[Record, None, None]:
    """Draw the photos ``numbers``, in their order, in this process or in ``workers`` of them."""
    if workers == 1:
        yield from map(draw, numbers)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_live_with_parent)
    try:
        yield from pool.map(draw, numbers, chunksize=min(4, -(-len(numbers) // workers)))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _live_with_parent() -> None:
    """In a worker: leave Ctrl-C to the parent process, and end when it ends, even by a kill."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _tables(out: Path, records: Iterable[Record]) -> None:
    faces, photos = io.StringIO(), io.StringIO()
    face_rows, photo_rows = csv.writer(faces, lineterminator="\n"), csv.writer(photos, lineterminator="\n")
    face_rows.writerow(["photo", "wear", "left", "top", "right", "bottom"])
    photo_rows.writerow(["photo", "source", "width", "height", "masked", "incorrect", "unmasked"])
    for record in records:
        for face in record["faces"]:
            face_rows.writerow([record["photo"], *(face[key] for key in ("wear", "left", "top", "right", "bottom"))])
        wears = Counter(face["wear"] for face in record["faces"])
        counts = [wears[wear] for wear in ("masked", "incorrect", "unmasked")]
        photo_rows.writerow([record["photo"], "drawn", record["width"], record["height"], *counts])
    write_text(out / "faces.csv", faces.getvalue())
    write_text(out / "photos.csv", photos.getvalue())


def faces_of(record: Record) -> tuple[Face, ...]:
    """The faces of one photo of the manifest."""
    return tuple(Face(**face) for face in record["faces"])


def sheet(paths: Sequence[str | Path], out: str | Path, *, columns: int = 4, cell: Size = (320, 240)) -> Path:
    """A PNG of example photos in rows, each under the name of its class folder. Returns ``out``."""
    tiles = [pixels.thumbnail(pixels.decode(path, fit_within=cell), cell) for path in paths]
    picture = pixels.grid(tiles, [Path(path).parent.name for path in paths], columns=columns)
    with replacing(out) as temporary:
        picture.save(temporary, "PNG", optimize=True)
    return Path(out)
