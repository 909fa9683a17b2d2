"""A run's or an ensemble's model as one file for other engines, checked before it is left behind.

An ensemble becomes one network, votes and temperatures included, with an input for each size that its members want.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allmasked.core.errors import AllmaskedError, ConfigError, expect, row_of, unknown
from allmasked.core.runs import Run, replacing, working_folder
from allmasked.core.types import Size
from allmasked.exporting.formats import EXPORTS, PRECISIONS, Export
from allmasked.exporting.round_trip import RoundTrip, compare, drawn_views, misread, photos, refuse
from allmasked.exporting.source import open_ensemble_source, open_source
from allmasked.networks.reading import Calibration
from allmasked.predictors.onnx_model import Metadata

CALIBRATION_PHOTOS, CHECKED_PHOTOS = 128, 100


@dataclass(frozen=True)
class Report:
    """What was written: the file, its size with all that belongs to it, and how it answers."""

    path: Path
    size_bytes: int
    metadata: Metadata
    round_trip: RoundTrip
    drawn: bool


def export(
    folder: str | Path,
    out: str | Path,
    *,
    format: str = "onnx",
    precision: str = "float32",
    size: Size | None = None,
    validate: str | Path | None = None,
    calibration: Calibration | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Report:
    """Write a run's or an ensemble's model to ``out`` and check it; no file is left behind that answers otherwise.

    An ensemble's file asks every member, also where the ensemble stops early: the labels are the same.

    Args:
        folder: a finished run, or an ensemble of them.
        out: the file (a folder for ``savedmodel``).
        format: a row of :data:`allmasked.exporting.formats.EXPORTS`.
        precision: of :data:`allmasked.exporting.formats.PRECISIONS`.
        size: (width, height) px of the exported input; the run's own when None. The heads ``softmax`` and
            ``evidence`` take any size, an ensemble only its members'.
        validate: photos for the round trip, and the ranges of int8: a labelled data set or split.json; by default the
            run's own validation and training photos where they are still there, else drawn pictures.
        calibration: of the faces, instead of the run's own.
        settings: fields of :class:`allmasked.predictors.onnx_model.Metadata` to set: ``name``, ``temperature``.
        seed: of the photos' choice.

    Raises:
        ConfigError: unknown format or precision, a size that the head can't take, int8 without photos.
        RunError: no finished run; an ensemble with a member that is missing or was trained anew.
        ExportError: the file answers otherwise than Keras.
        MissingExtraError: what the format needs is not installed.
    """
    row = row_of("format", format, EXPORTS)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision not in row.precisions:
        raise ConfigError(f"{format} is written in {', '.join(row.precisions)} only, not in {precision}")
    run = Run(folder).require_finished()
    out = Path(out)
    if row.suffix and out.suffix != row.suffix:
        raise ConfigError(f"--out {out}: a file for {format} must end in {row.suffix}")
    for module, extra in row.needs:
        expect(module, extra)
    if run.is_ensemble:
        if calibration is not None:
            raise ConfigError(f"{run.folder}: is an ensemble, whose members keep their calibration; leave it out")
        source = open_ensemble_source(run, size)
    else:
        source = open_source(run, size, calibration)
    if source.metadata.calibration and "temperature" in (settings or {}):
        raise ConfigError(f"{run.folder}: its answer is read off faces, which have no temperature; give --calibration")
    source.metadata = dataclasses.replace(source.metadata, precision=precision, **(settings or {}))
    checked = photos(run, validate, source, "validation", CHECKED_PHOTOS, seed)
    if precision == "int8":
        source.calibration = photos(run, validate, source, "train", CALIBRATION_PHOTOS, seed)
    drawn = not len(checked[0])
    views = drawn_views(source.views, seed) if drawn else checked
    tolerance = PRECISIONS[precision][0]
    expected, steady = source.expected(views, tolerance)

    written: list[Path] = []
    with _whole(out, row, written) as temporary:
        row.write(source, temporary)
        file = row.open(temporary)
        if source.ensemble is not None:
            found = compare(expected, file.answer_views(views), tolerance, steady)
        else:
            outputs = file.run(*views)
            answers = file.metadata.answers(outputs)
            off = misread(outputs, answers, source.metadata.size[0])
            found = dataclasses.replace(compare(expected, answers, tolerance, steady), reading=off)
        refuse(found, precision, out)
    return Report(out, sum(map(_bytes, written)), source.metadata, found, drawn)


def _is_full(folder: Path) -> bool:
    try:
        (folder / "probe").write_bytes(bytes(1 << 20))
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False


@contextlib.contextmanager
def _whole(out: Path, row: Export, written: list[Path]) -> Iterator[Path]:
    """A context with a temporary path; on success what was written there takes the place of ``out``."""
    if out.is_dir() and not (out / "allmasked.json").is_file() and any(out.iterdir()):
        raise ConfigError(f"--out {out}: is a folder with other things in it; give a new one")
    if not row.suffix and out.is_file():
        raise ConfigError(f"--out {out}: is a file, and this format a folder; give a new one")
    with working_folder(out) as folder:
        temporary = folder / out.name
        try:
            yield temporary
        except (OSError, AllmaskedError):
            raise
        except Exception as error:  # what libraries say of a full disk is of many kinds
            if _is_full(folder) or type(error).__name__ == "ResourceExhaustedError":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out)) from error
            raise
        if temporary.is_dir():
            shutil.rmtree(out, ignore_errors=True)
            temporary.replace(out)
            written.append(out)
            return
        if row.beside:  # killed from here on, it leaves no model rather than one of old and new parts
            out.unlink(missing_ok=True)
        for suffix in (*row.beside, row.suffix):
            part = temporary.with_suffix(suffix)
            with replacing(out.with_suffix(suffix)) as target:
                shutil.move(part, target)
            written.append(out.with_suffix(suffix))


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
