"""The command line. One command = one function in one of this package's modules; no logic lives here.

:data:`COMMANDS` is the table of commands: a module is imported only when its command is asked for, so that
``allmasked --help`` and ``allmasked predict`` start at once.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
import warnings

import click

from allmasked.cli import memory
from allmasked.core import renamed
from allmasked.core.errors import AllmaskedError

COMMANDS: dict[str, tuple[str, str]] = {
    # command: (module in allmasked.cli, one line of help)
    "predict": ("answers", "Answer for photos: all, none or some."),
    "explain": ("explaining", "Show where in a photo the answer comes from; measure how faithful that is."),
    "inspect": ("data", "What is in a data set and what is wrong with it."),
    "split": ("data", "Divide a data set into train, validation and test without leaks."),
    "extend": ("data", "Add photos for training to a split; none that shows what a held-out photo shows."),
    "train": ("training", "Train a classifier, or several."),
    "cache": ("data", "Show or clear the decoded photos that training keeps."),
    "second-look": ("training", "Teach a run to look at each face again."),
    "recipes": ("training", "List the training recipes, or print one to copy and edit."),
    "evaluate": ("scoring", "Score a run on a part of its split."),
    "compare": ("scoring", "Compare runs on the same photos, with paired tests."),
    "label-issues": ("scoring", "Photos whose label is probably wrong, and the worst errors."),
    "view": ("viewing", "Look at photos, answers and evidence on a local page, and mend labels."),
    "ensemble": ("ensembling", "Let several runs answer together."),
    "distil": ("ensembling", "Train one small student from an ensemble's answers."),
    "export": ("exporting", "Write a run's or an ensemble's model as one file for other engines."),
    "serve": ("serving", "A page and a REST API that answer for photos."),
    "watch": ("serving", "Answer for a camera, a video, a stream, or a folder that fills up."),
    "report": ("scoring", "Make one HTML page of a run."),
    "synth": ("painting", "Paint artificial data sets."),
    "doctor": ("doctor", "What is installed, which command lacks what, and whether it answers."),
    "demo": ("demo", "The whole job on painted photos, from inspect to report."),
}


class LazyGroup(click.Group):
    """A click group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name in renamed.COMMANDS:
            renamed.told(cmd_name, renamed.COMMANDS[cmd_name])
            cmd_name = renamed.COMMANDS[cmd_name]
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"allmasked.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except click.UsageError:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if os.path.exists(args[0]):  # noqa: PTH110  (a name that can't be a path is none)
                hint = f" Did you mean 'allmasked predict {args[0]}'?"
            else:
                hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"no such command {args[0]!r}.{hint}", ctx) from None
        own = [] if command is None else [name for one in command.params for name in (*one.opts, *one.secondary_opts)]
        return name, command, renamed.options(rest, own)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="allmasked")
@click.option("--trust", is_flag=True, help="Open models that are programs: TensorFlow's SavedModel.")
def cli(trust: bool) -> None:
    """Does everyone in this photo wear a face mask? all, some or none, with the evidence.

    Exit codes: 0 all went well, 1 some inputs failed, 2 wrong use.
    """
    if trust:
        os.environ["ALLMASKED_TRUST"] = "1"


_as_before = warnings.formatwarning


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Old spellings are the user's own words, so that no line of code is named."""
    if category is renamed.OldSpelling:
        return f"warning: {message}\n"
    return _as_before(message, category, filename, lineno, line)


def main() -> None:
    """Entry point of the ``allmasked`` command: errors become one line on stderr and an exit code."""
    # A photo is either decoded or an error; Pillow's warnings on the way (odd metadata, large size) are noise. Set
    # here, not where photos are decoded, since whoever imports allmasked keeps the filters that they have.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.formatwarning = _format_warning
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    memory.watched(_run)


def _run() -> None:
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print("interrupted; nothing finished is lost: start it again (train: with --resume) to go on", file=sys.stderr)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except AllmaskedError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if memory.lacking(error):
            said = (str(error).splitlines() or [""])[0][:100]
            print(memory.line(f", {said}" if said else ""), file=sys.stderr)
        elif isinstance(error, OSError):  # a file or folder named by the user, or a full disk
            print(f"error: {_unusable(error)}", file=sys.stderr)
        else:
            raise
        sys.exit(2)


def _unusable(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    name = error.filename2 if full and error.filename2 is not None else error.filename  # of a copy, what is written
    where = f"{name}: " if name is not None else ""
    reason = (error.strerror or str(error)).lower()
    way_out = "make room and start again" if full else "check the path"
    return f"{where}cannot be read or written ({reason}); {way_out}"
