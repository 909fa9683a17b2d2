"""The folder of a painted data set: claimed, filled by many processes, continued after a stop, closed with its tables.

OUT/
  all/ none/ some/    the photos, 0000.jpg ... numbered through all classes
  faces.csv           photo,wear,left,top,right,bottom: one row a face, px
  photos.csv          photo,source,width,height,masked,incorrect,unmasked
  synth.json          settings and, for each photo, what it shows and its SHA-256; ``finished`` once all is there
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
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from allmasked.core.errors import ConfigError, DataError
from allmasked.core.progress import bar
from allmasked.core.runs import read_json, replacing, sweep, write_json, write_text
from allmasked.core.types import CLASSES, Class, Size
from allmasked.images import draw, pixels

MANIFEST, JOURNAL = "synth.json", ".synth.jsonl"

Record = dict[str, Any]
"""What the manifest says of a photo: index, photo, label, width, height, sha256, faces, and more."""
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Summary:
    """What :func:`fill` did: photos a class, faces by wear, photos drawn now and kept from before."""

    out: Path
    photos: Mapping[Class, int]
    faces: Mapping[str, int]
    drawn: int
    kept: int


def check(photos: int, seed: int, workers: int | None) -> None:
    """Raise :class:`ConfigError` for numbers out of range."""
    if photos < 1:
        raise ConfigError(f"photos must be at least 1, not {photos}")
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, not {seed}")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, not {workers}")


def fill(
    out: Path,
    settings: Record,
    photos: int,
    paint: Callable[[Any], Record],
    workers: int,
    tasks: Sequence[Any] | None = None,
    extra: Callable[[], Record] | None = None,
) -> Summary:
    """Paint the photos 0 ... ``photos`` - 1 that are not there yet, and write the tables.

    Args:
        out: an empty or new folder, or one that was begun with the same ``settings``.
        settings: all that decides what the photos look like; its ``kind`` is the photos' source.
        paint: writes a photo (:func:`save`) and returns its record; goes to other processes.
        tasks: what ``paint`` gets for each photo; its number when None.
        extra: what else the manifest shall say, asked at the end.
    """
    known = begin(out, settings)
    records = {index: record for index, record in known.items() if _whole(out, record)}
    missing = [index for index in range(photos) if index not in records]
    if missing:
        kept = [records[index] for index in sorted(records)]
        write_text(out / JOURNAL, "".join(json.dumps(record) + "\n" for record in kept))
        with (
            bar() as progress,
            (out / JOURNAL).open("a", encoding="utf-8") as lines,
            closing(spread(paint, [tasks[k] if tasks else k for k in missing], min(workers, len(missing)))) as drawn,
        ):
            task = progress.add_task("painting", total=photos, completed=len(records), note="photos")
            for record in drawn:
                records[record["index"]] = record
                lines.write(json.dumps(record) + "\n")
                lines.flush()
                progress.advance(task)
    listed = [records[index] for index in range(photos)]
    _tables(out, listed, str(settings["kind"]))
    write_json(out / MANIFEST, {"settings": settings, "finished": True, **(extra() if extra else {}), "photos": listed})
    (out / JOURNAL).unlink(missing_ok=True)
    of_class: dict[Class, int] = {label: sum(record["label"] == label for record in listed) for label in CLASSES}
    faces = dict(Counter(face["wear"] for record in listed for face in record["faces"]))
    return Summary(out, of_class, faces, drawn=len(missing), kept=photos - len(missing))


def begin(out: Path, settings: Record) -> dict[int, Record]:
    """Claim the folder; the photos that an earlier start says it has drawn, by number."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, not a folder; name another folder")
    sweep(out)
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
        way_out = "name another folder or the same settings"
        raise DataError(f"{out}: holds a data set with other settings ({was}); {way_out}")
    for folder in out.glob("*/"):  # a photo that was being written when a run was killed
        sweep(folder)
    return {record["index"]: record for record in (*state.get("photos", []), *journal(out / JOURNAL))}


def journal(file: Path) -> list[Record]:
    """The records that a journal holds, a line each; none where it is not there."""
    records = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        with suppress(json.JSONDecodeError):  # the line that a kill cut off
            records.append(json.loads(line))
    return records


def _whole(out: Path, record: Record) -> bool:
    path = out / record["photo"]
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"]


def save(out: Path, index: int, label: Class, image: Image.Image, quality: int, subsampling: int) -> Record:
    """Write photo number ``index`` (RGB) into its class folder as JPEG; the beginning of its record."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    name = f"{label}/{index:04d}.jpg"
    with replacing(out / name) as temporary:
        temporary.write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    record = {"index": index, "photo": name, "label": label, "width": image.width, "height": image.height}
    return {**record, "jpeg_quality": quality, "sha256": digest}


def spread(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Generator[Result, None, None]:
    """``work`` on each of ``tasks``, in their order, in this process or in ``workers`` of them."""
    if workers == 1:
        yield from map(work, tasks)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_live_with_parent)
    try:
        yield from pool.map(work, tasks, chunksize=min(4, -(-len(tasks) // workers)))
    except BrokenProcessPool:
        raise DataError(
            "the system has ended one of the processes, perhaps for want of memory; start again with fewer --workers"
        ) from None
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


def _tables(out: Path, records: Iterable[Record], source: str) -> None:
    faces, photos = io.StringIO(), io.StringIO()
    face_rows, photo_rows = csv.writer(faces, lineterminator="\n"), csv.writer(photos, lineterminator="\n")
    face_rows.writerow(["photo", "wear", "left", "top", "right", "bottom"])
    photo_rows.writerow(["photo", "source", "width", "height", "masked", "incorrect", "unmasked"])
    for record in records:
        for face in record["faces"]:
            face_rows.writerow([record["photo"], *(face[key] for key in ("wear", "left", "top", "right", "bottom"))])
        wears = Counter(face["wear"] for face in record["faces"])
        counts = [wears[wear] for wear in ("masked", "incorrect", "bare")]
        photo_rows.writerow([record["photo"], source, record["width"], record["height"], *counts])
    write_text(out / "faces.csv", faces.getvalue())
    write_text(out / "photos.csv", photos.getvalue())


def sheet(paths: Sequence[str | Path], out: str | Path, *, columns: int = 4, cell: Size = (320, 240)) -> Path:
    """A PNG of example photos in rows, each under the name of its class folder. Returns ``out``."""
    tiles = [pixels.thumbnail(pixels.decode(path, fit_within=cell), cell) for path in paths]
    picture = draw.grid(tiles, [Path(path).parent.name for path in paths], columns=columns)
    with replacing(out) as temporary:
        picture.save(temporary, "PNG", optimize=True)
    return Path(out)
