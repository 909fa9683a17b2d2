"""Options that several commands have, and their types."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from allmasked.predictors.devices import DEVICES

if TYPE_CHECKING:
    from allmasked.predictors.predictor import Look

Command = Callable[..., Any]


class FileOrAddress(click.ParamType):
    """A file to write, on this machine or at an address that can be written to; as it was given."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from allmasked.predictors.addresses import Folder, clean, is_address, local_path

        value = local_path(value)
        if is_address(value):
            _, slash, name = value.partition("://")[2].rpartition("/")
            if not slash or not Path(name).suffix:
                self.fail(f"{clean(value)} names no file in a folder or bucket.", param, ctx)
            Folder(value[: -len(name)])
        else:
            FILE.convert(value, param, ctx)
        return str(value)


class Seed(click.ParamType):
    """What NumPy and Keras take as a seed."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = int(click.INT.convert(value, param, ctx))
        if not 0 <= number < 2**32:
            self.fail(f"{number} is no seed; give a whole number from 0 to {2**32 - 1}.", param, ctx)
        return number


PATH = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
FILE_OR_ADDRESS, SEED = FileOrAddress(), Seed()
PARTS = click.Choice(["train", "validation", "test"])
HELD_OUT = click.Choice(["validation", "test"])


class FiniteRange(click.FloatRange):
    """A float within bounds that is a number: click lets ``nan`` through any of them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return found


ABOVE_0, SHARE = FiniteRange(min=0, min_open=True), FiniteRange(0, 1)


def together(*options: Command) -> Callable[[Command], Command]:
    """Several options as one decorator, in this order in the help."""
    return lambda command: functools.reduce(lambda so_far, option: option(so_far), reversed(options), command)


def gathered(name: str, make: Command, *options: Command) -> Callable[[Command], Command]:
    """Several options that a command gets as one argument: what ``make`` makes of them."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def called(*args: Any, **given: Any) -> Any:
            own = {option.name: given.pop(option.name) for option in added}
            return command(*args, **{name: make(**own)}, **given)

        before = len(getattr(command, "__click_params__", ()))
        decorated = together(*options)(called)
        added = called.__click_params__[before:]  # type: ignore[attr-defined]
        return decorated

    return decorate


model = click.option(
    "--model", metavar="FILE|RUN", type=PATH,
    help="A file of 'allmasked export', a run folder, or an ensemble's; default: the model that ships.",
)  # fmt: skip
device = click.option(
    "--device", default="auto", type=click.Choice(["auto", *DEVICES]),
    help="What computes; auto: an NVIDIA card (GPU) where it can be used, else the processors.",
)  # fmt: skip
threads = click.option("--threads", type=click.IntRange(1), help="Processors to use.  [default: all]")
null = click.option("--null", "-0", is_flag=True, help="Names on stdin end with NUL bytes, as from find -print0.")
data = click.option("--data", type=PATH, metavar="DIR", help="Where the photos lie now, if they have moved.")
cache = click.option("--cache", type=PATH, help="Folder for decoded photos; the user's cache folder otherwise.")
seed = click.option("--seed", type=SEED, default=0, help="Seed of everything random.")
new_run = click.option("--out", required=True, type=PATH, help="The run folder to make.")


def batch_size(default: int, most: int | None = None) -> Command:
    """How many photos at once."""
    kind = click.IntRange(1, most)
    return click.option("--batch-size", default=default, type=kind, help="Photos that the network is given at once.")


faces = together(
    click.option("--min-face-px", metavar="PX", type=FiniteRange(0),
                 help="Faces of a smaller height than this in the photo are shown, but not counted.  [default: the"
                 " model's own rule, see its card]"),
    click.option("--min-face-share", metavar="SHARE", type=SHARE,
                 help="Faces smaller than this share of the largest are shown, but not counted: far behind.  [default:"
                 " the model's own rule]"),
)  # fmt: skip


def look_of(min_face_px: float | None, min_face_share: float | None, tiles: str = "never") -> Look:
    """What these options say."""
    from allmasked.predictors.predictor import Look

    return Look(min_face_px, min_face_share, tiles)


look = gathered("look", look_of, faces)
"""Which faces count, as ``look``."""
