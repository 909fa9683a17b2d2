"""The command line as a whole: every command has help and docs, and wrong use gets one line and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from allmasked.cli import COMMANDS, main

ROOT = Path(__file__).parent.parent


def allmasked(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A process of its own: it takes a second, so only what is about processes has one."""
    return subprocess.run([sys.executable, "-m", "allmasked", *arguments], capture_output=True, text=True, cwd=cwd)


@dataclass
class Outcome:
    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command line in this process, as its entry point runs it."""

    def called(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["allmasked", *arguments])
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        with pytest.raises(SystemExit) as left:
            main()
        assert isinstance(left.value.code, int)
        return Outcome(left.value.code, *capsys.readouterr())

    return called


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(call: Call, name: str) -> None:
    result = call(name, "--help")
    assert result.code == 0 and "Usage:" in result.out and not result.err


def test_the_commands_page_is_up_to_date() -> None:
    """In a process of its own: a command that another test called without ``allmasked`` keeps that one's help."""
    code = f"import runpy; print(runpy.run_path({str(ROOT / 'scripts' / 'commands.py')!r})['commands_page'](), end='')"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == made, "run: python scripts/commands.py"


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"allmasked {name}" not in readme] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pedict"], "Did you mean 'predict'"),
        ([__file__], f"Did you mean 'allmasked predict {__file__}'?"),
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
        (["predict", "photo.jpg", "--min-face-px", "inf"], "inf is not a finite number"),
        (["recipes", "nope"], "unknown recipe"),
        (["inspect", "nowhere"], "nowhere"),
        (["split", "nowhere", "--out", "split.json"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
        (["compare", "nowhere", "neither"], "nowhere"),
        (["label-issues", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["predict", "photo.jpg", "--fail-on", "most"], "'most' is not one of"),
        (["export", "nowhere", "--out", "x.onnx"], "nowhere"),
        (["predict", "photo.jpg", "--model", "nowhere"], "nowhere"),
        (["explain", "photo.jpg", "--model", "nowhere", "--out", "out"], "nowhere"),
        (["synth", "drawn", "out", "--photos", "-3"], "-3"),
        (["demo", "--photos", "3"], "3"),
    ],
)
def test_wrong_use_gets_a_clear_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.code == 2, result.err
    assert message in result.err and "Traceback" not in result.err
    assert not result.out
    assert list(tmp_path.iterdir()) == [], "wrong use must leave nothing behind"


def test_what_cannot_be_written_gets_a_clear_line_and_exit_code_2(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    result = call("predict", "photo.jpg", "--out", "file/answers.csv")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1 and "file" in result.err and "check the path" in result.err


def test_it_runs_as_a_module() -> None:
    result = allmasked("--help")
    assert result.returncode == 0 and not result.stderr
    assert [name for name in COMMANDS if f"  {name} " not in result.stdout] == []


def test_a_process_ends_with_the_line_and_the_code(tmp_path: Path) -> None:
    result = allmasked("inspect", "nowhere", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1


def test_help_starts_with_nothing_but_click() -> None:
    code = (
        "import sys; before = set(sys.modules); sys.argv = ['allmasked', '--help']\n"
        "try:\n    from allmasked.cli import main; main()\nexcept SystemExit: pass\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "print(sorted(new))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "['allmasked', 'click']"
