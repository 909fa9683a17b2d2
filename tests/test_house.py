"""The house as ``docs/CONTRIBUTING.md`` shows it is the house as it stands: packages, modules, layers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "allmasked"
OUTSIDE = {"__init__", "__main__"}
"""Modules that are no room: the door, and what ``python -m`` starts."""


def rows() -> list[list[str]]:
    """The cells of the table's rows."""
    text = (ROOT / "docs" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("| layer | package |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()[2:]]


def named(cell: str) -> list[str]:
    return re.findall(r"`([\w/]+)`", cell)


def test_every_module_stands_in_the_table() -> None:
    house: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        if path.stem == "__init__":
            continue
        package = path.parent.relative_to(SOURCE).as_posix()
        if package != ".":
            house.setdefault(package, set()).add(path.stem)
        elif path.stem not in OUTSIDE:
            house[path.stem] = set()  # a single module
    shown = {}
    for *before, package, modules, _ in rows():
        del before
        names = [name for name in named(modules) if not name.endswith("/")]
        assert len(names) == len(set(names)), f"{package} names a module twice"
        shown[named(package)[0]] = set(names)
    assert shown == house, "docs/CONTRIBUTING.md, 'Rooms': put the new module into the table, take the gone one out"


def test_layers_are_those_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(one["layers"] for one in contracts if one["name"] == "Imports only point down")
    held = {
        name.strip().removeprefix("allmasked."): str(number)
        for number, layer in enumerate(reversed(layers), 1)
        for name in layer.split("|")
    }
    assert {named(row[1])[0]: row[0] for row in rows() if len(row) == 4 and row[0]} == held


def test_what_is_built_on_is_bounded_from_above() -> None:
    """Libraries whose inner classes are subclassed: a new version may change them without a word."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    wanted = [line for lines in extras.values() for line in lines]
    for name in ("uvicorn", "keras"):
        bounds = [line for line in wanted if re.match(rf"{name}[<>=!~ ]", line)]
        assert bounds and all("<" in line for line in bounds), name
