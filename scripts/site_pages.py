"""Hook of mkdocs.yml: the pages of the site that are made, so that they can't go stale.

The tables come from the code's own (recipes, layouts, backbones, ...), the pages for Python from docstrings, the
notebooks, the model's card and the bench's figures from their files outside docs/. Links in pages to files that are no
page of the site become plain names.
"""

from __future__ import annotations

import dataclasses
import json
import posixpath
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "allmasked"
COPIED = {"src/allmasked/models/MODEL_CARD.md": "card.md", "bench/README.md": "bench.md"}
"""Pages that lie outside docs/, and their place on the site."""
HIDDEN = {"cli", "__main__"}
"""What has no page for Python users: its reference are the commands."""

Row = Iterable[object]


# --- the tables ------------------------------------------------------------------------------------------------------


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table; cells are words or numbers."""
    lines = [head, ["---"] * len(list(head)), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: object) -> str:
    """As inline code, or nothing."""
    return f"`{text}`" if text not in ("", None) else ""


def recipes() -> str:
    """Every field of a recipe, and its value in each recipe that ships."""
    from allmasked.core.config import Recipe, read_recipe, recipe_names
    from allmasked.networks.heads import head_of_recipe

    names = recipe_names()
    settings = {name: read_recipe(name) for name in names}
    rows = [["head", *(code(head_of_recipe(name)) for name in names), "Head that the recipe is meant for."]]
    for field in dataclasses.fields(Recipe):
        values = [code(_value(getattr(settings[name], field.name))) for name in names]
        choices = ", ".join(f"`{choice}`" for choice in field.metadata["choices"])
        rows.append([code(field.name), *values, field.metadata["help"] + (f" One of {choices}." if choices else "")])
    return table(["field", *names, "meaning"], rows)


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def backbones() -> str:
    from allmasked.networks.backbones import BACKBONES

    return table(
        ["backbone", "million parameters", "made for px", "smallest px", "weights", "licence of the weights"],
        [
            [
                code(row.name),
                row.parameters_millions,
                row.native_px,
                row.minimum_px,
                ", ".join(row.sources),
                row.licence,
            ]
            for row in BACKBONES.values()
        ],
    )


def _named(rows: Iterable[Any], what: str, **further: str) -> str:
    """A table of rows that have ``name`` and ``help``; ``further``: heading -> attribute."""
    return table(
        [what, *further, "what it is"],
        [[code(row.name), *(_cell(getattr(row, name)) for name in further.values()), row.help] for row in rows],
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(f"`{part}`" for part in value) if isinstance(value, tuple) else code(value)


def tables_page() -> str:
    """The text of reference/tables.md."""
    from allmasked.cli import COMMANDS
    from allmasked.data.readers import READERS
    from allmasked.explaining.maps import EXPLAINERS
    from allmasked.exporting.formats import EXPORTS
    from allmasked.networks.heads import HEADS
    from allmasked.stats.votes import VOTES
    from allmasked.training.loaders import LOADERS

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    brought = [
        [code(name), ", ".join(re.split(r"[<>=;]", line)[0] for line in lines)] for name, lines in extras.items()
    ]
    parts = {
        "Commands": table(
            ["command", ""], [[f"[`{c}`](../commands.md#allmasked-{c})", h] for c, (_, h) in COMMANDS.items()]
        ),
        "Recipes": "A recipe is a TOML file of these fields; each is an option of `allmasked train`, too, with dashes: "
        "`--batch-size`.\n\n" + recipes(),
        "Layouts of data sets": "How they are told apart: [Data sets](../layouts.md).\n\n"
        + _named(READERS.values(), "layout"),
        "Data loaders": _named(
            LOADERS.values(), "loader", **{"labels": "labels", "needs TensorFlow": "needs_tensorflow"}
        ),
        "Backbones": backbones(),
        "Heads": _named(HEADS.values(), "head", **{"shows faces": "maps"}),
        "Explanations": _named(EXPLAINERS.values(), "method"),
        "Votes": "What they do to the figures: [Ensembles](../ensembles.md).\n\n"
        + _named(VOTES.values(), "vote", **{"fitted on validation": "fits"}),
        "Export formats": _named(EXPORTS.values(), "format", suffix="suffix", precisions="precisions"),
        "Extras": table(["extra", "asks for"], brought),
    }  # fmt: skip
    lines = ["# Tables", "", "Made from the code's own tables when the site is built.", ""]
    for title, text in parts.items():
        lines += [f"## {title}", "", text, ""]
    return "\n".join(lines)


# --- Python ----------------------------------------------------------------------------------------------------------


def python_pages() -> dict[str, str]:
    """Path on the site -> text: an overview, and a page for each package with all its modules."""
    pages, rows = {}, []
    for entry in sorted(PACKAGE.iterdir()):
        if (
            entry.stem in HIDDEN
            or entry.name.startswith("__")
            or not (entry.suffix == ".py" or (entry / "__init__.py").is_file())
        ):
            continue
        modules = sorted(_modules(entry))
        text = "\n".join(f"::: {module}\n" for module in modules)
        pages[f"reference/python/{entry.stem}.md"] = f"# {entry.stem}\n\n{text}"
        rows.append([f"[{entry.stem}](python/{entry.stem}.md)", _first_line(entry)])
    overview = "# Python\n\nFrom the docstrings; what each package is for: [the house](../CONTRIBUTING.md).\n\n"
    door = "::: allmasked\n    options: {show_root_heading: true, members: false}\n\n"
    return {"reference/python.md": overview + door + table(["package", "what it holds"], rows) + "\n", **pages}


def _modules(entry: Path) -> list[str]:
    files = [entry] if entry.suffix == ".py" else entry.rglob("*.py")
    names = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]
    return [name for name in names if not name.split(".")[-1].startswith("_")]


def _first_line(entry: Path) -> str:
    text = (entry if entry.suffix == ".py" else entry / "__init__.py").read_text("utf-8")
    found = re.match(r'"""(.*?)("""|\n)', text)
    return found[1] if found else ""


# --- notebooks -------------------------------------------------------------------------------------------------------


def notebook_pages() -> dict[str, str]:
    """Path on the site -> text of the notebooks, with what they gave."""
    found = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
    return {f"notebooks/{path.stem}.md": notebook_page(json.loads(path.read_text("utf-8"))) for path in found}


def notebook_page(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        told = ""
        for output in cell["outputs"]:
            data = output.get("data", {})
            kind = next((kind for kind in ("image/jpeg", "image/png", "text/markdown") if kind in data), "")
            if not kind:
                told += "".join(output.get("text", data.get("text/plain", [])))
                continue
            parts += [f"```text\n{told.rstrip()}\n```"] if told else []
            told, shown = "", "".join(data[kind]).strip()
            if kind == "text/markdown":
                parts.append(re.sub(r"^#", "###", shown, flags=re.MULTILINE))
            else:
                parts.append(f'<img alt="what it shows" src="data:{kind};base64,{shown}">')
        parts += [f"```text\n{told.rstrip()}\n```"] if told else []
    return "\n\n".join(parts) + "\n"


# --- links -----------------------------------------------------------------------------------------------------------


def with_links(text: str, source: str, place: str, pages: set[str]) -> str:
    """The text of the repository's file ``source`` with its links as they are on the site, where it lies at ``place``.

    ``pages`` are the site's files. A link to a file of the repository that the site doesn't have becomes its words.
    """

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        there = COPIED.get(file, file.removeprefix("docs/"))
        if there in pages and (file in COPIED or file.startswith("docs/")):
            return f"[{words}]({posixpath.relpath(there, posixpath.dirname(place) or '.')}{anchor})"
        return words if (ROOT / file).exists() else found[0]

    return re.sub(r"\[([^\[\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)", link, text)


def on_config(config: Any) -> Any:
    """MkDocs: the pages for Python, below their overview, and the notebooks come into the navigation."""
    reference = next(part["Reference"] for part in config.nav if "Reference" in part)
    python = next(part["Python"] for part in reference if "Python" in part)
    python += [page for page in python_pages() if page not in python]
    notebooks = next(part["Notebooks"] for part in config.nav if "Notebooks" in part)
    notebooks += list(notebook_pages())
    return config


def on_files(files: Any, config: Any) -> Any:
    """MkDocs: the files of the site."""
    from mkdocs.structure.files import File

    made = {"reference/tables.md": tables_page(), **python_pages(), **notebook_pages()}
    names = {file.src_uri for file in files} | set(made) | set(COPIED.values())
    for source, place in COPIED.items():
        made[place] = with_links((ROOT / source).read_text("utf-8"), source, place, names)
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    """MkDocs: a page's text before it becomes HTML."""
    place = page.file.src_uri
    if page.file.generated_by:
        return markdown
    return with_links(markdown, f"docs/{place}", place, {file.src_uri for file in files})


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    """MkDocs: a page as HTML, where roles of docstrings (:func:`allmasked.x.y`) become links where there is a page."""

    def link(found: re.Match[str]) -> str:
        name = found[1].removeprefix("~")
        if not name.startswith("allmasked."):
            return f"<code>{name}</code>"
        return f'<autoref optional identifier="{name}"><code>{name.removeprefix("allmasked.")}</code></autoref>'

    return re.sub(r":(?:mod|func|meth|class|data|attr|exc):<code>([^<]*)</code>", link, html)
