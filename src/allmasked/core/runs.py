"""The run folder: the only module that names its files, and the atomic writes that keep it whole.

RUN/
  config.json      all settings (:class:`allmasked.core.config.TrainConfig`), written first
  split.json       the split that was trained on, its root relative to this folder
  state/           checkpoint of a training under way (removed when it is finished)
  metrics.jsonl    one line an epoch
  tensorboard/     the same for TensorBoard
  model.keras      the best model; there exactly when training is finished
  predictions/     probabilities that ``evaluate`` keeps, one file a part, so that nothing is inferred twice
  scores.json      what ``evaluate`` found, one entry a part
  scores.md        the same to read
  plots/           pictures made by ``evaluate`` and ``explain``
  label_issues.html    labels that are probably wrong, with label_issues.csv and label_issues.json
  report.html      what ``report`` made

An ensemble's folder has ``ensemble.json`` (:mod:`allmasked.predictors.ensemble`) in place of ``config.json`` and
``model.keras``; a student's folder has ``teacher.json`` (:mod:`allmasked.ensembles.distil`) too, that of a run with a
second look ``second_look.json`` (:mod:`allmasked.training.second_look`), written first.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from allmasked.core.errors import RunError

MAX_JSON_BYTES = 1_000_000_000
"""Of a JSON file; a split of a million photos with ten faces each has half of it."""


_UNFINISHED = ".allmasked-"
"""How the names of what is being written begin."""
_swept: set[Path] = set()
_beginning = threading.Lock()


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix); on success it replaces ``path``, on failure it goes.

    What a process that was killed has left in that folder goes, too. An :class:`OSError` that comes out names ``path``.
    """
    path = Path(path)
    open_already = str(path).startswith(("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/"))
    if open_already or (path.exists() and not path.is_file() and not path.is_dir()):
        yield path  # a device or a pipe is written to, not replaced
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beginning:
        if (folder := path.parent.absolute()) not in _swept:
            _swept.add(folder)
            sweep(folder)
        try:
            handle, name = tempfile.mkstemp(
                prefix=f"{_UNFINISHED}{path.stem[:40]}-", suffix=path.suffix, dir=path.parent
            )
        except OSError as error:
            error.filename = str(path)
            raise
        _lock(handle)  # as long as it is open, nobody sweeps it away
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0o666 & ~umask
        temporary.chmod(mode)  # mkstemp made it private; an ordinary file is not, unless it was before
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, name, temporary):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def working_folder(path: Path) -> Iterator[Path]:
    """A context with a temporary folder beside ``path``; it goes in the end, or when a later process sweeps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    with tempfile.TemporaryDirectory(prefix=f"{_UNFINISHED}{path.stem[:40]}-", dir=path.parent) as name, _held(name):
        yield Path(name)


def sweep(folder: Path) -> None:
    """Remove what was being written in a folder by processes that were killed, and so hold it no longer.

    Nothing is removed where the system can't tell (Windows).
    """
    for path in folder.glob(f"{_UNFINISHED}*"):
        with _held(path) as ours:
            if ours and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif ours:
                path.unlink(missing_ok=True)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """A context in which no other process works on a folder, which is made; :class:`RunError` where one does."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
    with _held(folder) as ours:
        if ours is False:
            raise RunError(f"{folder}: another process is working on it; wait for its end, or choose another --out")
        yield


@contextmanager
def _held(path: str | Path) -> Iterator[bool | None]:
    """Hold a file or folder until the end or the process's: whether it is ours, None where nobody can tell."""
    handle = None
    try:
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY)
        yield None if handle is None else _lock(handle)
    finally:
        if handle is not None:
            os.close(handle)


def _lock(handle: int) -> bool | None:
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows, and network folders without locks
        return None
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text so that ``path`` is never half-written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON (indented, UTF-8) so that ``path`` is never half-written."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs) and (twice := next((key for key, value in pairs if table[key] != value), None)):
        raise KeyError(twice)
    return table


def parse_json(text: str) -> Any:
    """A JSON document. Raises ValueError, with one line that says why, for whatever is none, is nested too deeply, or
    gives one key two values."""
    try:
        value = json.loads(text, object_pairs_hook=_once)
        if "\\ud" in text.lower():  # halves of signs can't be written or printed
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError:
        raise ValueError("it holds half a sign") from None
    except KeyError as error:
        raise ValueError(f"it gives {error} twice, and not the same") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python's own bound
        raise ValueError("it holds a number of thousands of digits") from None


def read_json(path: str | Path) -> Any:
    """Read JSON; raises :class:`RunError` naming the file when it is missing, broken or too large."""
    try:
        if (size := Path(path).stat().st_size) > MAX_JSON_BYTES:
            raise RunError(
                f"{path}: is too large ({size / 1e6:,.0f} MB); up to {MAX_JSON_BYTES / 1e6:,.0f} MB are read"
            )
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from None
    except ValueError as error:
        raise RunError(f"{path}: is not valid JSON ({error})") from None


_FIGURES = {"epoch", "val_loss", "val_accuracy"}
"""What each line of ``metrics.jsonl`` has."""
_FINITE = {"epoch", "learning_rate", "seconds", "photos_per_second"}
"""From 0 to :data:`_MOST`; a loss may be NaN, where a training has come to nothing."""
_MOST = 1e9
_MORE_FIGURES = {"loss", "accuracy", "val_macro_f1", "learning_rate", "seconds", "photos_per_second"}


class Run:
    """Paths of one run folder. Nothing is created by naming them."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config = self.folder / "config.json"
        self.split = self.folder / "split.json"
        self.state = self.folder / "state"
        self.metrics = self.folder / "metrics.jsonl"
        self.tensorboard = self.folder / "tensorboard"
        self.model = self.folder / "model.keras"
        self.ensemble = self.folder / "ensemble.json"
        self.teacher = self.folder / "teacher.json"
        self.second_look = self.folder / "second_look.json"
        self.predictions = self.folder / "predictions"
        self.scores = self.folder / "scores.json"
        self.scores_markdown = self.folder / "scores.md"
        self.plots = self.folder / "plots"
        self.label_issues = self.folder / "label_issues.html"
        self.report = self.folder / "report.html"

    def __fspath__(self) -> str:
        """The folder: a run may stand wherever a path may."""
        return str(self.folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def is_ensemble(self) -> bool:
        return self.ensemble.is_file()

    @property
    def finished(self) -> bool:
        return self.model.is_file() or self.is_ensemble

    @property
    def identity(self) -> Path:
        """The file whose content says which model this is."""
        return self.ensemble if self.is_ensemble else self.model

    def require_finished(self) -> Run:
        """This run, or a :class:`RunError` that says what is wrong with it."""
        if self.is_ensemble:
            return self
        if not self.config.is_file():
            raise RunError(f"{self.folder}: is not a run folder (no config.json); make one with 'allmasked train'")
        if not self.finished:
            raise RunError(
                f"{self.folder}: training is not finished; go on with 'allmasked train --resume --out {self.folder}'"
            )
        return self

    def history(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``, oldest first; empty when there is none."""
        if not self.metrics.is_file():
            return []
        try:
            lines = [parse_json(line) for line in self.metrics.read_text(encoding="utf-8").splitlines() if line.strip()]
        except ValueError as error:
            raise RunError(f"{self.metrics}: holds a line that is not valid JSON ({error}); remove that line") from None
        for number, line in enumerate(lines, 1):
            figures = (
                [line.get(name) for name in _FIGURES | (_MORE_FIGURES & line.keys())] if isinstance(line, dict) else []
            )
            fine = all(isinstance(f, float) or (isinstance(f, int) and abs(f) < 2**53) for f in figures)
            if not figures or not fine or not all(0 <= line[name] <= _MOST for name in _FINITE & line.keys()):
                raise RunError(f"{self.metrics}: line {number} is not an epoch's figures; remove that line")
        return lines
