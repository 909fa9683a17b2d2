"""The notebooks of examples/notebooks run from top to bottom, small; they are kept with what they gave when large."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_there_are_five() -> None:
    assert [name[0] for name in NAMES] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_its_head_says_what_the_original_did_and_what_changes(path: Path) -> None:
    head = source(cells(path, "markdown")[0])
    assert all(part in head for part in ("**The original", "**What was wrong with it.**", "**What changes here.**"))
    first = source(cells(path, "code")[0])
    assert 'find_spec("allmasked") is None' in first and "pip" in first


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_its_outputs_are_kept(path: Path) -> None:
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), (
        "run: python scripts/notebooks.py"
    )
    outputs = [output for cell in code for output in cell["outputs"]]
    assert outputs and not [output for output in outputs if output["output_type"] == "error"]
    told = json.dumps([output.get("text") or output["data"].get("text/plain") for output in outputs])
    assert not re.search(r"/(home|root|Users|work|tmp)/", told), "a path of the machine that it was run on"
    assert path.stat().st_size < 2_500_000


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras", reason="training needs the extra train")
    pytest.importorskip("skia", reason="painting needs the extra synth")
    monkeypatch.setenv("ALLMASKED_QUICK", "1")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for number, cell in enumerate(cells(path, "code"), 1):
            exec(compile(source(cell), f"{path.name}, cell {number}", "exec"), names)
