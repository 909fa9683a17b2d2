"""``allmasked doctor`` tells the truth about extras and answers; completion for shells is click's own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import allmasked
from allmasked.cli import COMMANDS, cli, doctor
from allmasked.core.errors import RunError
from test_extras import CASES

ROOT = Path(__file__).parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def run(*arguments: str) -> tuple[int, dict[str, str]]:
    """Exit code, and what was told by its name."""
    result = CliRunner().invoke(cli, ["doctor", *arguments], standalone_mode=False)
    assert result.exception is None, result.exception
    told = (line.split("  ", 1) for line in result.output.splitlines())
    return result.return_value, {name.strip(): text.strip() for name, text in told}


def test_it_tells_what_is_there_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLMASKED_CACHE", str(tmp_path))
    (tmp_path / "a.npy").write_bytes(bytes(3_000_000))
    code, told = run()
    assert code == 0
    assert "one answer in" in told["predict"] and "ms" in told["predict"]
    assert told["cache"] == f"{tmp_path}, 3 MB in 1 file; 'allmasked cache clear' empties it"
    assert set(told) >= {"allmasked", "Python", "packages", "machine", "GPU", "works"}


def test_what_each_command_needs_is_what_it_asks_for() -> None:
    needs = {name: extras for extras, names in doctor.NEEDS.items() for name in names}
    assert set(needs) <= set(COMMANDS)
    asked: dict[str, set[str]] = {}
    for line, extra in CASES.items():
        if "--model" not in line:
            asked.setdefault(line.split()[0], set()).add(extra)
    for name, extras in asked.items():
        assert needs.get(name, "") in extras, name


def asked_by(extra: str) -> set[str]:
    """Distributions that an extra names itself or through keras and data, but not those of train for export."""
    lines = list(EXTRAS[extra])
    for inner in ("keras", "data"):
        lines += EXTRAS[inner] if f"allmasked[{inner}]" in lines else []
    return {canonicalize_name(Requirement(line).name) for line in lines} - {"allmasked"}


def test_the_modules_of_an_extra_are_what_it_brings() -> None:
    brings = importlib.metadata.packages_distributions()
    for extra, modules in doctor.EXTRAS.items():
        asked = asked_by(extra)
        owners = {module: {canonicalize_name(name) for name in brings.get(module, ())} for module in modules}
        assert [module for module, names in owners.items() if not names & asked and names] == [], extra
        seen = set().union(*owners.values())
        here = {name for name in asked if any(name in map(canonicalize_name, names) for names in brings.values())}
        unsaid = here - seen - {"httptools"}  # only makes the server faster
        assert not unsaid, f"say in cli/doctor.py which module {unsaid} brings to {extra}"


def test_a_command_that_lacks_an_extra_is_told_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = doctor.missing
    monkeypatch.setattr(doctor, "missing", lambda names: [n for n in names if n in ("skia", "fastapi")] or found(names))
    told = dict(doctor.commands())
    assert (
        "synth" in told["lacks synth"] and "'allmasked[synth]'" in told["lacks synth"] and "skia" in told["lacks synth"]
    )
    assert "demo" in told["lacks train,synth"] and "serve, watch" in told["lacks web"]
    works = told["works"].split(", ")
    assert "predict" in works and not {"synth", "demo", "serve"} & set(works)


def test_another_backend_of_keras_needs_no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing", lambda names: [name for name in names if name == "tensorflow"])
    assert "lacks train" in dict(doctor.commands())
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert "lacks train" not in dict(doctor.commands())


def test_export_needs_what_train_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing", lambda names: [name for name in names if name == "keras"])
    told = dict(doctor.commands())
    assert "export" in told["lacks export"] and "keras" in told["lacks export"]


def test_it_exits_with_1_and_the_reason_when_predict_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RunError("default.onnx: is damaged")

    monkeypatch.setattr(doctor, "opened", broken)
    code, told = run()
    assert code == 1 and "is damaged" in told["predict"]
    monkeypatch.setattr(doctor, "opened", lambda: lambda: "all")
    assert not doctor.one_answer()[0]
    monkeypatch.setattr(doctor, "missing", lambda _: ["onnxruntime"])
    assert "onnxruntime not installed" in doctor.one_answer()[1][1]


def printed(program: str) -> str:
    """What a program prints in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1])}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_without_onnx_runtime_it_still_tells() -> None:
    program = (
        "import sys, json; sys.modules['onnxruntime'] = None\n"
        "from allmasked.cli import cli\nprint(json.dumps(cli.main(['doctor'], standalone_mode=False)))"
    )
    said = printed(program)
    assert json.loads(said.splitlines()[-1]) == 1 and "doesn't work" in said


def test_a_library_that_breaks_is_told() -> None:
    assert doctor._ask("print('one'); print('cpu:0')") == "cpu:0"
    assert "no such thing" in doctor._ask("raise ImportError('no such thing')")


def test_nothing_heavy_is_imported() -> None:
    program = (
        "import sys\nfrom allmasked.cli import cli\ncli.main(['doctor'], standalone_mode=False)\n"
        "print([m for m in ('keras', 'tensorflow', 'jax', 'torch', 'cv2', 'sklearn') if m in sys.modules])"
    )
    assert printed(program).splitlines()[-1] == "[]"


# --- completion ------------------------------------------------------------------------------------------------------


def complete(**variables: str) -> str:
    """What the command prints with click's variables, called as its users do."""
    program = "import sys; sys.argv = ['allmasked']\nfrom allmasked.cli import main\nmain()"
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1]), **variables}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert result.returncode in (0, 1) and "Traceback" not in result.stderr, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("shell", "part"), [("bash", "complete -o"), ("zsh", "#compdef allmasked"), ("fish", "complete --no-files")]
)
def test_the_completion_script_is_printed(shell: str, part: str) -> None:
    script = complete(_ALLMASKED_COMPLETE=f"{shell}_source")
    assert part in script and "allmasked" in script


def test_commands_options_and_choices_are_completed() -> None:
    def words(typed: str, position: int) -> list[str]:
        told = complete(_ALLMASKED_COMPLETE="bash_complete", COMP_WORDS=typed, COMP_CWORD=str(position))
        return [line.split(",", 1)[1] for line in told.splitlines()]

    assert words("allmasked tr", 1) == ["train"]
    assert "--backbone" in words("allmasked train --ba", 2)
    assert words("allmasked train --head ev", 3) == ["evidence"]
    assert words("allmasked synth dr", 2) == ["drawn"]
