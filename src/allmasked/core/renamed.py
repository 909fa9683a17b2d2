"""Old spellings. What was renamed still works in this version, with a warning; the next version drops these tables."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Collection, Iterable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class OldSpelling(FutureWarning):
    """Something was given by a name that the next version doesn't know."""


COMMANDS = {"suspects": "label-issues"}

OPTIONS = {
    "--batch-statistics frozen": "--freeze-bn",
    "--batch-statistics trained": "--no-freeze-bn",
    "--fit squash": "--resize-mode stretch",
    "--fit": "--resize-mode",
    "--incorrect-is unmasked": "--incorrect-is bare",
    "--limit": "--max-photos",
    "--limit-errors": "--max-errors",
    "--min-face": "--min-face-px",
}
"""Options of commands, with their value where that is renamed, too. No command has an option of an old name."""

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "batch_statistics": ("freeze_bn", {"frozen": True, "trained": False}),
    "fit": ("resize_mode", {"squash": "stretch"}),
}
"""Keys of recipes, and their values."""

ARGUMENTS = {"fit": "resize_mode", "min_face": "min_face_px"}
"""Python: keywords of public functions, and attributes."""

WORDS = {"squash": "stretch", "unmasked": "bare"}
"""Values, given or in files that an earlier version wrote."""


def told(old: str, new: str) -> None:
    """Warn of an old spelling."""
    warnings.warn(f"{old} is now {new}; the old spelling goes with the next version", OldSpelling, stacklevel=3)


def options(arguments: Iterable[str], known: Collection[str]) -> list[str]:
    """A command's arguments with today's options, of which it knows those named.

    >>> options(["data", "--fit=squash"], ["--resize-mode"])  # and a warning
    ['data', '--resize-mode', 'stretch']
    """
    olds = {old: new for old, new in OPTIONS.items() if new.split()[0] in known}
    left: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        renamed = equals and any(old.split()[0] == name for old in olds)
        left += [name, value] if renamed else [argument]
    found: list[str] = []
    while left:
        for length in (2, 1):
            old = " ".join(left[:length])
            if old in olds:
                told(old, olds[old])
                left[:length] = olds[old].split()
                break
        found.append(left.pop(0))
        if found[-1] == "--":  # what follows is no option
            return found + left
    return found


def setting(key: str, value: Any, *, silent: bool = False) -> tuple[str, Any]:
    """A recipe's key and value as they are called today; ``silent`` for files that no person wrote."""
    if key not in SETTINGS:
        return key, value
    new, values = SETTINGS[key]
    known = value in values if isinstance(value, str) else False
    value_now = values[value] if known else value
    if not silent:
        told(f"{key} = {value!r}", f"{new} = {value_now!r}")
    return new, value_now


def word(value: Any) -> Any:
    """A value that somebody gave, as it is called today."""
    if not isinstance(value, str) or value not in WORDS:
        return value
    told(value, WORDS[value])
    return WORDS[value]


def arguments(function: Callable[P, R]) -> Callable[P, R]:
    """A function that takes the old keywords, too."""

    @functools.wraps(function)
    def called(*args: P.args, **given: P.kwargs) -> R:
        for old in given.keys() & ARGUMENTS.keys():
            told(old, ARGUMENTS[old])
            given[ARGUMENTS[old]] = given.pop(old)
        return function(*args, **given)

    return called
