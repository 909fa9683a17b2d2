"""The command line as a whole: every command has help and docs, and wrong use gets one line and exit code 2."""

from __future__ import annotations

import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

from allmasked.cli import COMMANDS

ROOT = Path(__file__).parent.parent


def allmasked(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "allmasked", *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = allmasked(name, "--help")
    assert result.returncode == 0 and "Usage:" in result.stdout and not result.stderr


def test_the_commands_page_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "commands.py"))
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == script["commands_page"](), (
        "run: python scripts/commands.py"
    )


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"allmasked {name}" not in readme] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pedict"], "Did you mean 'predict'"),
        (["train"], "Missing option '--out'"),
        (["train", "--out", "run"], "DATA is missing"),
        (["train", "nowhere", "--out", "run"], "nowhere"),
        (["train", "nowhere", "--out", "run", "--backbone", "VGG16"], "EfficientNetB3"),
        (["train", "nowhere", "--out", "run", "--recipe", "notebok"], "Did you mean 'notebook'"),
        (["train", "nowhere", "--out", "run", "--size", "big"], "give one side"),
        (["train", "nowhere", "--out", "run", "--size", "7"], "option: size = 7 x 7"),
        (["train", "nowhere", "--out", "run", "--recipe", "nowhere.toml"], "no such file"),
        (["train", "--resume", "--out", "nowhere"], "nowhere is not a run folder"),
        (["extend", ".", "--out", "split.json", "--keep", "0.5"], "is a directory"),
        (["extend", "split.json", "--out", "x.json", "--keep", "nan"], "nan is not a finite number"),
        (["split", "nowhere", "--out", "x.json", "--validation", "nan"], "nan is not a finite number"),
        (["predict", "photo.jpg", "--min-face", "inf"], "inf is not a finite number"),
        (["recipes", "nope"], "unknown recipe"),
        (["inspect", "nowhere"], "nowhere"),
        (["split", "nowhere", "--out", "split.json"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
        (["compare", "nowhere", "neither"], "nowhere"),
        (["suspects", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["predict", "photo.jpg", "--fail-on", "most"], "'most' is not one of"),
        (["export", "nowhere", "--out", "x.onnx"], "nowhere"),
        (["predict", "photo.jpg", "--model", "nowhere"], "nowhere"),
        (["explain", "photo.jpg", "--model", "nowhere", "--out", "out"], "nowhere"),
        (["synth", "drawn", "out", "--photos", "-3"], "-3"),
        (["demo", "--photos", "3"], "3"),
    ],
)
def test_wrong_use_gets_a_clear_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = allmasked(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not result.stdout
    assert list(tmp_path.iterdir()) == [], "wrong use must leave nothing behind"


def test_what_cannot_be_written_gets_a_clear_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = allmasked("predict", "photo.jpg", "--out", "file/answers.csv", cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and "file" in result.stderr and "check the path" in result.stderr


def test_help_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys; sys.argv = ['allmasked', '--help']\n"
        "try:\n    from allmasked.cli import main; main()\nexcept SystemExit: pass\n"
        "print([m for m in ('keras', 'tensorflow', 'matplotlib', 'sklearn', 'cv2', 'scipy') if m in sys.modules])"
    )
    began = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - began < 30
