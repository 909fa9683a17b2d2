"""What keeps the project in order: one version, a lock that holds everything, an audit that says what it did."""

from __future__ import annotations

import datetime
import json
import re
import runpy
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import allmasked

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
AUDIT = runpy.run_path(str(ROOT / "scripts" / "audit.py"))


def pins() -> dict[str, list[str]]:
    """Versions of each package in the lock: several where systems or Pythons need different ones."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line.split("#")[0])
            (exact,) = requirement.specifier
            assert exact.operator == "==", line
            found.setdefault(canonicalize_name(requirement.name), []).append(exact.version)
    return found


def test_the_lock_pins_all_that_any_extra_asks_for() -> None:
    project, locked = PROJECT["project"], pins()
    for line in [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]:
        wanted = Requirement(line)
        if wanted.name != "allmasked":
            versions = locked.get(canonicalize_name(wanted.name), [])
            assert versions and all(version in wanted.specifier for version in versions), f"{line}; run: make lock"


def test_what_is_installed_comes_from_the_lock() -> None:
    for name in ("Dockerfile", "scripts/environment"):
        installs = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if "pip install" in line]
        assert all("--constraint constraints.txt" in line or "virtualenv" in line for line in installs), name
    assert "constraints.txt" in (ROOT / ".dockerignore").read_text(encoding="utf-8")


def test_the_image() -> None:
    """What can be seen without building it: its sources are there, nobody is root, nothing is the latest."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    named = [words[1] for words in lines if words[0] == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim", name) for name in named) and len(named) == 2
    for words in lines:
        if words[0] == "COPY" and not words[1].startswith("--from"):
            assert all((ROOT / source).exists() for source in words[1:-1]), words
    last = [words[0] for words in lines[[words[0] for words in lines].index("FROM", 1) :]]
    assert last.index("USER") < last.index("ENTRYPOINT") and ["USER", "allmasked"] in lines
    for words in lines:
        if words[0] in ("ENTRYPOINT", "CMD"):
            assert json.loads(" ".join(words[1:]))


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["project"]["dynamic"] and "version" not in PROJECT["project"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "allmasked.__version__"}
    assert f"\n## {allmasked.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_keras_is_new_enough_to_be_safe_and_not_newer_than_is_known() -> None:
    (line,) = (line for line in PROJECT["project"]["optional-dependencies"]["keras"] if line.startswith("keras"))
    allowed = Requirement(line).specifier
    assert not {"3.12.0", "3.13.0", "3.13.1", "3.14.0", "3.15.0", "3.16.0", "4.0"} & set(
        allowed.filter(["3.12.0", "3.13.0", "3.13.1", "3.14.0", "3.15.0", "3.15.1", "3.16.0", "4.0"])
    )


def test_warnings_of_others_are_named_one_by_one() -> None:
    first, *rest = PROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"]
    assert first == "error"
    for line in rest:
        action, message, *_ = line.split(":")
        assert action == "ignore" and len(message) > 10, line


# --- the audit --------------------------------------------------------------------------------------------------------

Audited = Callable[[str, str], tuple[int, str]]


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Audited:
    """Exit code and text of the audit where pip-audit says this and that."""

    def run(stdout: str, stderr: str = "") -> tuple[int, str]:
        done = subprocess.CompletedProcess([], 0, stdout, stderr)
        monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: done)
        code: int = AUDIT["main"]()
        return code, "".join(capsys.readouterr())

    return run


def found(*advisories: str) -> str:
    vulnerabilities = [{"id": advisory, "fix_versions": ["2"]} for advisory in advisories]
    return json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": vulnerabilities}]})


def test_the_audit_says_what_it_found(audited: Audited) -> None:
    assert audited(found(), "")[0] == 0
    code, said = audited(found("CVE-1"), "")
    assert code == 1 and "a 1: CVE-1, mended in 2" in said and "1 open" in said


def test_the_audit_says_in_one_line_that_nothing_was_looked_up(audited: Audited) -> None:
    skipped = json.dumps({"dependencies": [{"name": "a", "skip_reason": "not found"}]})
    for stdout, stderr in ((skipped, ""), ("", "Traceback\nrequests.exceptions.ConnectionError: no such host")):
        code, said = audited(stdout, stderr)
        assert code == 0 and "can't be reached" in said and len(said.splitlines()) == 1
    code, said = audited("", "No module named pip_audit")
    assert code == 2 and "No module named pip_audit" in said


def test_what_the_audit_lets_pass_has_a_reason_and_an_end() -> None:
    for advisory, (until, why) in AUDIT["ALLOWED"].items():
        assert re.fullmatch(r"(CVE|GHSA|PYSEC)-[\w-]+", advisory) and len(why) > 20
        datetime.date.fromisoformat(until)
