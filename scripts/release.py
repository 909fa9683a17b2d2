"""Build what is given away, and try it where nothing of the checkout is: python scripts/release.py OUT

Of the last commit, wheel and source archive are built twice, in two places, and must be the same byte by byte. Each
extra is then installed from the wheel into an environment of its own, for each Python, with the versions of
constraints.txt, and does a small piece of work; what is in it is written down as a CycloneDX bill of materials, which
must fit CycloneDX' own schema and list what is installed. With --source the base is also installed from the source
archive. Ends with exit code 1 where anything of this failed.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
UV = str(Path(sys.executable).parent / "uv")
BOM = "cyclonedx-bom==7.5.0"

PAINT = """
from PIL import Image
import random
for label in ("all", "none", "some"):
    for number in range(12):
        image = Image.frombytes("RGB", (96, 72), random.Random(f"{label} {number}").randbytes(96 * 72 * 3))
        import pathlib
        pathlib.Path("data", label).mkdir(parents=True, exist_ok=True)
        image.save(f"data/{label}/{number}.png")
"""
PREDICT = "predict data/all --format jsonl --out answers.jsonl"
TRAIN = (
    "split data --out split.json",
    "train split.json --out run --weights random --head softmax --size 64x48 --epochs 1 --head-epochs 0",
    "evaluate run",
)
WORK: dict[str, tuple[str, ...]] = {
    # extra: what it must do
    "": ("--version", PREDICT, "explain data/all/0.png --out heat", "doctor"),
    "web": ("serve",),
    "synth": ("synth drawn painted --photos 3 --size 320x240 --workers 1",),
    "scale": (
        "predict data --engine local --out rows",
        "predict data --engine ray --out more",
        "inspect data --engine ray --json inspected.json",
        "split data --engine ray --out split.json",
    ),
    "train": (*TRAIN, "report run"),
    "export": (
        *TRAIN,
        "export run --out run.onnx",
        "predict data/all --model run.onnx --format jsonl --out more.jsonl",
    ),
}


def canonical(name: str) -> str:
    """A package's name as all its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def clean() -> dict[str, str]:
    """The environment without what leads to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def call(command: list[str], where: Path, **more: str) -> str:
    """Run a program; its output. Raises :class:`SystemExit` where it fails."""
    done = subprocess.run(
        command, cwd=where, env=clean() | more, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


def normalised(archive: Path, when: int) -> None:
    """A source archive again, with nothing in it of when, where and by whom it was made."""
    with tarfile.open(archive) as old, tempfile.TemporaryFile() as plain:
        with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new:
            for member in sorted(old.getmembers(), key=lambda member: member.name):
                member.mtime, member.uid, member.gid, member.uname, member.gname = when, 0, 0, "", ""
                member.mode, member.pax_headers = 0o755 if member.mode & 0o100 else 0o644, {}
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
        plain.seek(0)
        packed = gzip.compress(plain.read(), mtime=when)
    archive.write_bytes(packed)


def build(out: Path) -> tuple[Path, Path]:
    """Wheel and source archive of the last commit in ``out``."""
    when = call(["git", "log", "-1", "--format=%ct"], ROOT).strip()
    found = []
    for number in range(2):
        with tempfile.TemporaryDirectory(prefix=f"place-{number}") as folder:
            source, made = Path(folder) / "source", Path(folder) / "made"
            source.mkdir()
            call(["git", "archive", "--output", f"{folder}/source.tar", "HEAD"], ROOT)
            call(["tar", "-xf", "../source.tar"], source)
            constraints = ["--build-constraint", str(ROOT / "constraints.txt")]
            call([UV, "build", "--out-dir", str(made), *constraints, "."], source, SOURCE_DATE_EPOCH=when)
            (archive,), (wheel,) = made.glob("*.tar.gz"), made.glob("*.whl")
            normalised(archive, int(when))
            found.append([(path.name, path.read_bytes()) for path in (wheel, archive)])
    for (name, first), (_, second) in zip(*found, strict=True):
        print(f"{name}: {len(first) / 1e6:.1f} MB, sha256 {hashlib.sha256(first).hexdigest()}", flush=True)
        if first != second:
            raise SystemExit(f"{name}: differs from build to build")
        (out / name).write_bytes(first)
    wheel, archive = (out / name for name, _ in found[0])
    return wheel, archive


def serve(program: str, where: Path) -> None:
    """A server must start, be ready, answer for a photo, and end when it is told to."""
    process = subprocess.Popen(
        [program, "serve", "--port", "0"], cwd=where, env=clean(), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        else:
            raise SystemExit("serve: did not start")
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{found[0]}readyz", timeout=60):
                    break
            except OSError:  # it does not listen yet, or is not ready
                time.sleep(0.1)
        body = (where / "data/all/0.png").read_bytes()
        request = urllib.request.Request(f"{found[0]}v1/predict", body, {"Content-Type": "image/png"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            (photo,) = json.load(answer)["photos"]
        if photo["label"] not in ("all", "none", "some", "nobody"):
            raise SystemExit(f"serve: answered {photo}")
    finally:
        process.terminate()
        if process.wait(60):
            raise SystemExit(f"serve: ended with {process.returncode}")


def attempt(built: Path, extra: str, python: str, out: Path, place: Path) -> None:
    """Install an extra into a fresh environment below ``place``, let it work there, list what is in it."""
    began = time.perf_counter()
    environment = place / "environment"
    call([UV, "venv", "--quiet", "--python", python, str(environment)], place)
    inside = environment / "bin" / "python"
    wanted = f"allmasked[{extra}] @ {built.as_uri()}" if extra else str(built)
    install = [UV, "pip", "install", "--quiet", "--python", str(inside), "--constraint", str(ROOT / "constraints.txt")]
    call([*install, wanted], place)
    installed = time.perf_counter() - began
    call([str(inside), "-c", PAINT], place)
    where = call([str(inside), "-c", "import allmasked; print(allmasked.__file__)"], place).strip()
    if not Path(where).is_relative_to(environment):
        raise SystemExit(f"{where}: is not what was installed")
    program = str(environment / "bin" / "allmasked")
    for work in WORK[extra]:
        if work == "serve":
            serve(program, place)
        else:
            call([program, *work.split()], place, ALLMASKED_CACHE=str(place / "cache"))
    version = call([str(inside), "-c", "import platform; print(platform.python_version())"], place).strip()
    size = sum(path.stat().st_size for path in environment.rglob("*") if path.is_file()) / 1e6
    seconds = time.perf_counter() - began
    bill = out / f"allmasked{'-' * bool(extra)}{extra}-{version}.cdx.json"
    call([UV, "tool", "run", "--quiet", "--from", BOM, "cyclonedx-py", "environment", "--output-reproducible",
          "--validate", "--of", "JSON", "-o", str(bill), str(inside)], place)  # fmt: skip
    content = json.loads(bill.read_text(encoding="utf-8"))
    parts = {(canonical(part["name"]), part["version"]) for part in content["components"]}
    listed = json.loads(call([UV, "pip", "list", "--quiet", "--python", str(inside), "--format", "json"], place))
    if differs := parts ^ {(canonical(part["name"]), part["version"]) for part in listed}:
        raise SystemExit(f"{bill.name}: does not list what is installed: {sorted(differs)[:5]}")
    kind = "" if built.suffix == ".whl" else " from source"
    print(
        f"[{extra or 'base'}]{kind} on Python {version}: {len(WORK[extra])} pieces of work done, {size:.0f} MB, "
        f"{len(parts)} packages, installed in {installed:.0f} s, {seconds:.0f} s in all",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pythons", default=sys.executable, help="programs, with commas between")
    parser.add_argument("--extras", default=",".join(WORK), help="with commas between; nothing for the base")
    parser.add_argument("--source", action="store_true", help="install the base from the source archive, too")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    (wheel, archive), failed = build(out), 0
    work = [(wheel, extra) for extra in options.extras.split(",")] + [(archive, "")] * options.source
    for python in options.pythons.split(","):
        for built, extra in work:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    attempt(built, extra, python, out, Path(folder).resolve())
            except (SystemExit, OSError) as error:
                failed += 1
                print(f"[{extra or 'base'}] on {python}: FAILED: {error}", flush=True)
    print("fine" if not failed else f"{failed} FAILED")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
