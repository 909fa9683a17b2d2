"""Every error that allmasked raises on purpose. Its message is one line: what, why, and the way out.

AllmaskedError              the command ends with exit code 2
├── DataError               the data set as a whole cannot be used; photos to blame follow, a line each
├── PhotoError              one photo cannot be used: as a rule the others are answered, and the exit code is 1
├── ConfigError             a setting, recipe or option is wrong
├── RunError                a run folder is missing, unfinished, broken or does not fit
├── WeightsError            pretrained weights cannot be had or do not fit
└── MissingExtraError       the command needs an optional extra that is not installed
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TypeVar

Row = TypeVar("Row")


def one_line(text: str) -> str:
    """Text without line breaks and without signs that steer a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


class AllmaskedError(Exception):
    """Base of all errors raised on purpose: one line, and where more is to be told, a line each.

    A name in it may come from a stranger: line breaks and signs that steer a terminal are left out.
    """

    def __str__(self) -> str:
        return "\n  ".join(one_line(str(line)) for line in self.args)


class DataError(AllmaskedError):
    """The data set as a whole cannot be read or used."""


class PhotoError(AllmaskedError):
    """One photo cannot be used: ``path`` names it, ``reason`` says why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # keeps both fields across process pools
        return type(self), (self.path, self.reason)


class ConfigError(AllmaskedError):
    """A setting, recipe or option is wrong."""


class RunError(AllmaskedError):
    """A run folder is missing, unfinished, broken, or does not fit what is asked of it."""


class WeightsError(AllmaskedError):
    """Pretrained weights cannot be had, or do not fit the backbone."""


class MissingExtraError(AllmaskedError):
    """The command needs an optional extra that is not installed."""


def row_of(kind: str, name: str, table: Mapping[str, Row]) -> Row:
    """The row of a table by its name; raises :func:`unknown` where there is none."""
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that a table does not hold, with the nearest known one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}")


CANNOT_LOAD = {
    "cv2": "pip install --force-reinstall --no-deps opencv-python-headless",  # opencv-python lies over it
    "skia": "install the system's libraries, e.g. apt-get install libgl1 libegl1 libexpat1",
}
"""Modules that link libraries of the system, and the way out where one of these is missing."""


def _missing(module: str, extra: str) -> MissingExtraError:
    """The error for a module that is not installed, naming the extra that brings it."""
    return MissingExtraError(f"this needs {module!r}, which is not installed: {how_to_install(extra)}")


def how_to_install(extra: str) -> str:
    """What to type to have an extra, wherever allmasked came from."""
    return f"pip install 'allmasked[{extra}]', or in a checkout pip install '.[{extra}]'"


def expect(module: str, extra: str) -> None:
    """Raise as :func:`require` does where ``module`` is not installed, without importing it, which may take seconds."""
    if importlib.util.find_spec(module) is None:
        raise _missing(module, extra)


SENDS_NOTHING = {"onnxruntime": "ORT_DISABLE_TELEMETRY"}
"""Modules that tell their makers of their use, and the variable that stops them if it is set when they are imported."""


def require(module: str, extra: str) -> ModuleType:
    """Import ``module`` or raise :class:`MissingExtraError` naming the extra that brings it."""
    if module in SENDS_NOTHING:
        os.environ.setdefault(SENDS_NOTHING[module], "1")
    try:
        with _quiet() if module in ("keras", "tensorflow") else contextlib.nullcontext():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:
            raise
        raise _missing(module, extra) from error
    except ImportError as error:
        if "failed to map segment" in str(error):
            raise MemoryError(f"{module} cannot be loaded") from error
        if module not in CANNOT_LOAD:
            raise
        raise MissingExtraError(f"{module} cannot be loaded ({error}): {CANNOT_LOAD[module]}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on the process's stderr: TensorFlow's C++ code greets there while it is imported."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
