"""What keeps the project in order: one version, a lock that holds everything, an audit that says what it did."""

from __future__ import annotations

import datetime
import http.server
import io
import json
import os
import re
import runpy
import subprocess
import sys
import tarfile
import threading
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
RELEASE = runpy.run_path(str(ROOT / "scripts" / "release.py"))


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


def test_a_source_archive_says_nothing_of_when_where_and_by_whom(tmp_path: Path) -> None:
    made = []
    for number, names in enumerate((["a", "b"], ["b", "a"])):
        archive = tmp_path / f"{number}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for name in names:
                member = tarfile.TarInfo(f"allmasked-1/{name}")
                member.size, member.mtime, member.uid, member.uname = 3, 1000 + number, number, f"user {number}"
                member.mode = (0o640, 0o600)[number]
                tar.addfile(member, io.BytesIO(name.encode() * 3))
        RELEASE["normalised"](archive, 1_700_000_000)
        made.append(archive.read_bytes())
        with tarfile.open(archive) as tar:
            assert tar.extractfile("allmasked-1/b").read() == b"bbb"  # type: ignore[union-attr]
    assert made[0] == made[1]


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

Audited = Callable[..., tuple[int, str]]
AWAY = "Traceback\nrequests.exceptions.ConnectionError: no such host"
NOT_TRUSTED = "Traceback\nrequests.exceptions.SSLError: HTTPSConnectionPool: certificate verify failed"


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Audited:
    """Exit code and text of the audit where pip-audit, asked for OSV's and PyPI's word, says this and that."""

    def run(stdout: str, stderr: str = "", *, pypi: tuple[str, str] = ("", AWAY)) -> tuple[int, str]:
        def pip_audit(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
            said = {"osv": (stdout, stderr), "pypi": pypi}[command[command.index("--vulnerability-service") + 1]]
            return subprocess.CompletedProcess(command, 0, *said)

        monkeypatch.setattr(subprocess, "run", pip_audit)
        code: int = AUDIT["main"]()
        return code, "".join(capsys.readouterr())

    return run


def found(*advisories: str) -> str:
    vulnerabilities = [{"id": one, "aliases": [f"GHSA-{one}"], "fix_versions": ["2"]} for one in advisories]
    return json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": vulnerabilities}]})


def test_the_audit_says_what_it_found(audited: Audited) -> None:
    assert audited(found(), "")[0] == 0
    code, said = audited(found("CVE-1"), "")
    assert code == 1 and "a 1: CVE-1, mended in 2" in said and "1 open" in said


def test_the_audit_says_in_one_line_that_nothing_was_looked_up(audited: Audited) -> None:
    skipped = json.dumps({"dependencies": [{"name": "a", "skip_reason": "not found"}]})
    for stdout, stderr in ((skipped, ""), ("", AWAY), ("", NOT_TRUSTED)):
        code, said = audited(stdout, stderr)
        assert code == 0 and "can be reached" in said and len(said.splitlines()) == 1
    code, said = audited("", "No module named pip_audit")
    assert code == 2 and "No module named pip_audit" in said


def test_the_audit_asks_another_database_where_one_is_away(audited: Audited) -> None:
    code, said = audited("", AWAY, pypi=(found("CVE-1"), ""))
    assert code == 1 and "CVE-1" in said


@pytest.mark.parametrize("advisory", ["CVE-1", "GHSA-CVE-1"])
@pytest.mark.parametrize(("until", "code"), [("2999-01-01", 0), ("2026-01-01", 1)])
def test_the_audit_lets_pass_what_is_listed_until_its_day(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, advisory: str, until: str, code: int
) -> None:
    monkeypatch.setitem(AUDIT["main"].__globals__["ALLOWED"], advisory, (until, "nobody sends such files"))
    got, said = audited(found("CVE-1"), "")
    assert got == code and ("1 allowed" in said) == (code == 0)
    assert audited(found("CVE-1", "CVE-2"), "")[0] == 1, "an unlisted one fails all the same"


class Advisories(http.server.BaseHTTPRequestHandler):
    """A database that knows one fault, in whatever numpy is asked for."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        affected = [{"package": {"name": name, "ecosystem": "PyPI"}}]
        known = [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "summary": "bad", "affected": affected}]
        body = json.dumps({"vulns": known} if name == "numpy" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_the_audit_looks_up_the_whole_lock(tmp_path: Path) -> None:
    """pip-audit itself, before a database on this machine."""
    pytest.importorskip("pip_audit")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Advisories) as database:
        threading.Thread(target=database.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{database.server_port}/v1/query"
        own = {"PIP_AUDIT_OSV_URL": address, "XDG_CACHE_HOME": str(tmp_path), "no_proxy": "127.0.0.1"}  # no old answers
        command = [sys.executable, str(ROOT / "scripts" / "audit.py")]
        done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)
        database.shutdown()
    assert done.returncode == 1, done.stderr
    (fault, summary) = done.stdout.splitlines()
    assert re.fullmatch(r"numpy [\d.]+: PYSEC-2026-1, mended in none", fault)
    looked_up = int(re.findall(r"(\d+) packages looked up, 0 could not be, 1 open", summary)[0])
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert looked_up > 0.8 * sum("==" in line and not line.startswith("#") for line in lock), summary


def test_the_audit_is_part_of_make_test() -> None:
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/.dev", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "scripts/audit.py" in done.stdout


def test_what_the_audit_lets_pass_has_a_reason_and_an_end() -> None:
    for advisory, (until, why) in AUDIT["ALLOWED"].items():
        assert re.fullmatch(r"(CVE|GHSA|PYSEC)-[\w-]+", advisory) and len(why) > 20
        datetime.date.fromisoformat(until)
