"""The documentation: the site is built without a warning, loads nothing from the net, and what it says to type works.

Blocks of sh and python on the pages for readers are run one after another, on painted photos and smaller than a reader
would; one that can't be run has a comment above it that says why.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from allmasked.cli import COMMANDS, cli
from shallow import shallow

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TINY = ["--size", "64", "--frame", "0", "--epochs", "0", "--head-epochs", "1", "--batch-size", "64"]
SMALLER = {"train": TINY, "distil": TINY, "synth drawn": ["--photos", "36"]}
"""What the test adds to a command, so that the pages are run in minutes."""
PAGES = [
    ["index.md"],
    ["howto/competition.md"],
    ["howto/answers.md", "howto/operating.md"],
    ["howto/own-labels.md", "howto/comparing.md", "howto/python.md"],
]
"""Pages that are run in one folder, one after another."""

pages_py: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "site_pages.py"))


# --- the site --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_site_is_built_and_loads_nothing_from_the_net(tmp_path: Path) -> None:
    for module in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed (pip install '.[docs]')")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "WARNING" not in result.stderr, result.stderr
    made = list((tmp_path / "site").rglob("*.html"))
    assert len(made) > 20
    for file in made:
        text = file.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=\"?([^\"\s>]+)", text)
        loaded += re.findall(r"<link\b[^>]*?\bhref=\"?([^\"\s>]+)", text)
        assert not [target for target in loaded if re.match(r"(https?:)?//", target)], file
        assert 'class="mermaid"' not in text, file  # the theme would fetch a script to draw it
    for file in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", file.read_text(encoding="utf-8")), file


def test_the_tables_page_has_every_row_of_the_tables() -> None:
    from allmasked.core.config import Recipe, recipe_names
    from allmasked.data.readers import READERS
    from allmasked.exporting.formats import EXPORTS
    from allmasked.networks.backbones import BACKBONES

    text = pages_py["tables_page"]()
    names = [*COMMANDS, *Recipe.__dataclass_fields__, *READERS, *BACKBONES, *EXPORTS]
    assert [name for name in names if f"`{name}`" not in text] == []
    assert all(name in text for name in recipe_names())
    widths = [line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("|")]
    assert min(widths) >= 3


def test_python_pages_name_every_module() -> None:
    pages = pages_py["python_pages"]()
    assert "::: allmasked.data.dataset\n" in pages["reference/python/data.md"]
    assert not [page for page in pages if "cli" in page]


def test_links_out_of_the_site_become_words() -> None:
    with_links = pages_py["with_links"]
    pages = {"serving.md", "bench.md", "LOG.md"}
    assert with_links("[b](../bench/README.md#x)", "docs/serving.md", "serving.md", pages) == "[b](bench.md#x)"
    assert (
        with_links("[l](../../../docs/LOG.md)", "src/allmasked/models/MODEL_CARD.md", "card.md", pages) == "[l](LOG.md)"
    )
    assert with_links("[n](../examples/node)", "docs/serving.md", "serving.md", pages) == "n"
    assert with_links("[o](nowhere.md)", "docs/serving.md", "serving.md", pages) == "[o](nowhere.md)"  # a warning then


# --- what the pages say to type --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, its language, its text, and why it can't be run ('' where it can)."""

    where: str
    language: str
    text: str
    not_run: str


def blocks(page: Path) -> list[Block]:
    pattern = r"(?:<!-- not run: ([^>]*) -->\n)?^```(\w+)\n(.*?)^```$"
    text = page.read_text(encoding="utf-8")
    return [
        Block(f"{page.name}:{text[: found.start()].count(chr(10)) + 1}", found[2], found[3], found[1] or "")
        for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL)
    ]


def lines_of(text: str) -> Iterator[list[str]]:
    """The commands of a block of sh, split into words."""
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name)
def test_every_command_in_the_docs_has_the_options_it_is_given(page: Path) -> None:
    if page.name == "LOG.md":
        return  # tells what was typed then
    context = click.Context(cli, info_name="allmasked")
    for block in blocks(page):
        for words in lines_of(block.text) if block.language == "sh" else ():
            if words[0] != "allmasked" or words[1].startswith("-"):
                continue
            command = cli.get_command(context, words[1])
            assert command is not None, (block.where, words)
            if isinstance(command, click.Group):
                command = command.commands[words[2]]
            known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
            assert [word for word in words if word.startswith("--") and word not in known] == [], block.where


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data`` (labelled) and ``photos`` (some of them, flat)."""
    pytest.importorskip("skia", reason="painting needs the extra synth")
    from allmasked.synth.drawn.draw import draw_dataset

    here = tmp_path_factory.mktemp("painted")
    draw_dataset(here / "data", 36, 0, workers=1)
    (here / "photos").mkdir()
    for photo in sorted((here / "data").glob("*/*.jpg"), key=lambda path: path.name)[:8]:
        shutil.copy(photo, here / "photos")
    return here


def command_of(words: list[str]) -> str:
    """``train``, ``synth drawn``: a line's command, with what it is of a group."""
    return " ".join(words[1:3]) if words[1] == "synth" else words[1]


class Shell:
    """Runs a page's blocks; ``allmasked`` in this process, so that TensorFlow starts once."""

    def __init__(self) -> None:
        self.servers: list[subprocess.Popen[str]] = []
        self.address = ""
        self.names: dict[str, Any] = {}

    def run(self, block: Block) -> None:
        if block.language == "python":
            exec(compile(block.text, block.where, "exec"), self.names)
            return
        for words in lines_of(block.text):
            self.line(words, block.where)

    def line(self, words: list[str], where: str) -> None:
        target = None
        if ">" in words:
            words, target = words[: words.index(">")], Path(words[words.index(">") + 1])
        if words[:2] == ["allmasked", "serve"]:
            self.serve(words)
        elif words[0] == "allmasked":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                code = cli.main([*words[1:], *SMALLER.get(command_of(words), [])], standalone_mode=False)
            assert not code, (where, words, out.getvalue())
            if target:
                target.write_text(out.getvalue(), encoding="utf-8")
        elif words[0] == "curl":
            if shutil.which("curl") is None:
                return
            words = [word.replace("http://127.0.0.1:8000/", self.address) for word in words]
            subprocess.run([words[0], "--fail", *words[1:]], check=True, capture_output=True)
        else:
            pytest.fail(f"{where}: the test can't run {words[0]!r}; say above the block why it is not run")

    def serve(self, words: list[str]) -> None:
        command = [sys.executable, "-m", *words, "--port", "0"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.servers.append(server)
        assert server.stderr is not None
        self.address = next(json.loads(line)["address"] for line in server.stderr if '"listening"' in line)
        for _ in range(600):  # told before it accepts
            with contextlib.suppress(OSError), urllib.request.urlopen(self.address + "readyz", timeout=10):
                return
            time.sleep(0.1)
        pytest.fail("the server doesn't get ready")

    def close(self) -> None:
        for server in self.servers:
            server.terminate()
            server.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("pages", PAGES, ids=lambda pages: pages[-1])
def test_what_the_pages_say_to_type_works(
    pages: list[str], painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pages != ["howto/answers.md", "howto/operating.md"]:
        pytest.importorskip("keras", reason="training needs the extra train")
    here = tmp_path / "here"
    here.mkdir() if pages == ["index.md"] else shutil.copytree(painted, here)
    monkeypatch.chdir(here)
    shell = Shell()
    real = pages == ["index.md"]  # the one training of a real network in the tests
    try:
        with contextlib.nullcontext() if real else shallow():
            for page in pages:
                for block in blocks(DOCS / page):
                    if block.language in ("sh", "python") and not block.not_run:
                        shell.run(block)
    finally:
        shell.close()


def test_every_page_for_readers_is_run() -> None:
    there = {"index.md", *(f"howto/{page.name}" for page in (DOCS / "howto").glob("*.md"))}
    assert {page for pages in PAGES for page in pages} == there
