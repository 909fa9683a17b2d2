"""Write docs/commands.md from the commands' own help: python scripts/commands.py"""

from __future__ import annotations

from pathlib import Path

import click

from allmasked.cli import COMMANDS, cli

TARGET = Path(__file__).parent.parent / "docs" / "commands.md"


def commands_page() -> str:
    """The page's text; the same on every machine."""
    parts = ["# Commands", "", "Made by `python scripts/commands.py` from `allmasked COMMAND --help`.", ""]
    context = click.Context(
        cli, info_name="allmasked", terminal_width=110, max_content_width=110, **cli.context_settings
    )
    for name, (_, line) in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        parts += [f"## allmasked {name}", "", line, "", "```text", _help(command, name, context), "```", ""]
        if isinstance(command, click.Group):
            for sub, subcommand in sorted(command.commands.items()):
                parts += ["```text", _help(subcommand, f"{name} {sub}", context), "```", ""]
    return "\n".join(parts)


def _help(command: click.Command, name: str, parent: click.Context) -> str:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=110, max_content_width=110)
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


if __name__ == "__main__":
    TARGET.write_text(commands_page(), encoding="utf-8")
