"""Extras: README's table is true, a command that lacks one names it, and ``synth`` installs all that painting needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import allmasked
from allmasked.cli import COMMANDS
from allmasked.core.types import Split
from allmasked.data.dataset import write_split
from allmasked.synth.paint import without_gl
from fake_runs import fake_run, paint_photos

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

CASES: dict[str, str] = {
    # a command without any extra: the extra that it asks for ('' where it works)
    "predict photo.png": "",
    "explain photo.png --out heat": "",
    "recipes": "",
    "cache": "",
    "doctor": "",
    "inspect data": "data",
    "split data --out s.json": "data",
    "extend split.json data --out more.json": "data",
    "train split.json --out new": "train",
    "evaluate a": "train",
    "compare a b": "train",
    "label-issues a": "train",
    "ensemble a b --vote soft --out one": "train",
    "distil a --out small": "train",
    "second-look a --out looking": "train",
    "report a": "train",
    "predict photo.png --model a": "train",
    "explain photo.png --model a --out heat": "train",
    "export a --out a.onnx": "export",
    "export a --format openvino --out a.xml": "export",
    "export a --format savedmodel --out saved": "train",
    "serve": "web",
    "view data --no-open": "web",
    "watch 0": "web",
    "watch data --video seen.mp4": "web",
    "synth drawn painted": "synth",
    "synth pasted data painted": "synth",
    "demo": "train,synth",
    "predict data --engine local --out d": "scale",
    "predict data --engine ray --format csv --out d": "scale",
    "predict s3://bucket/photos": "scale",
}

RUN = """
import json, sys
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None  # importing it fails as if it were not installed
import contextlib, io
from allmasked.cli import cli
found = {}
for line in json.loads(sys.argv[2]):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found[line] = f"exit code {cli.main(line.split(), standalone_mode=False) or 0}"
    except Exception as error:
        found[line] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def distributions(requirements: list[str]) -> set[str]:
    """What installing these brings, as far as it is installed here: names of distributions."""
    found: set[str] = set()
    waiting = [(Requirement(line), frozenset[str]()) for line in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement, outer = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in (outer or {""})):
            continue
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name == "allmasked":
            waiting += [(Requirement(line), frozenset()) for extra in extras for line in EXTRAS[extra]]
            continue
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [(Requirement(line), extras) for line in lines]
    return found


def modules_beyond(*extras: str) -> list[str]:
    """Modules that ``dev`` installs and these extras do not."""
    brought = distributions([*PROJECT["dependencies"], *(f"allmasked[{extra}]" for extra in extras)])
    rest = distributions(["allmasked[dev]"]) - brought
    owners = {
        module: {canonicalize_name(name) for name in names}
        for module, names in importlib.metadata.packages_distributions().items()
    }
    return sorted(module for module, names in owners.items() if names & rest and not names & brought)


def run(folder: Path, hidden: list[str], lines: list[str]) -> dict[str, str]:
    """What each command line does in a process that cannot import the hidden modules."""
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1])}
    command = [sys.executable, "-c", RUN, json.dumps(hidden), json.dumps(lines)]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    answers: dict[str, str] = json.loads(result.stdout.splitlines()[-1])
    return answers


def test_the_readme_says_which_extra_each_command_needs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start = readme.index("| extra |")
    rows = [re.split(r" *\| *", line.strip("| ")) for line in readme[start:].split("\n\n")[0].splitlines()[2:]]
    said = {row[0].strip("`"): {word.split()[0] for word in re.findall(r"`([^`]*)`", row[-1])} for row in rows}
    alone = {name for name in said if name != "none" and "," not in name}
    assert alone == set(EXTRAS) and {part for name in said if name != "none" for part in name.split(",")} == set(EXTRAS)
    assert set.union(*said.values()) - {"make"} == set(COMMANDS)
    for line, extra in CASES.items():
        if "--model a" not in line and "savedmodel" not in line:
            assert line.split()[0] in said[extra or "none"], line
    assert {line.split()[0] for line in CASES} == set(COMMANDS)


def test_a_command_that_lacks_an_extra_names_it(tmp_path: Path) -> None:
    hidden = modules_beyond()
    assert {"cv2", "keras", "skia", "yaml", "onnx", "fastapi", "av"} - set(hidden) == set()
    assert not {"numpy", "PIL", "onnxruntime", "click"} & set(hidden)
    photos = paint_photos(tmp_path / "data", {"train": 4, "validation": 2, "test": 2})
    write_split(Split(root=tmp_path / "data", photos=tuple(photos), seed=0), tmp_path / "split.json")
    shutil.copy(tmp_path / "data" / photos[0].path, tmp_path / "photo.png")
    for name in "ab":
        fake_run(tmp_path / name, tmp_path / "data", photos)
    for line, did in run(tmp_path, hidden, list(CASES)).items():
        if CASES[line]:
            assert did.startswith("MissingExtraError: this needs "), (line, did)
            assert did.endswith(f"pip install '.[{CASES[line]}]'"), (line, did)
        else:
            assert did == "exit code 0", (line, did)


def test_data_brings_all_that_looking_and_dividing_need(tmp_path: Path) -> None:
    asked = {"pandas", "pyarrow", "polars"}  # scikit-learn looks for them in sys.modules
    hidden = [name for name in modules_beyond("data") if name not in asked]
    assert {"keras", "tensorflow", "matplotlib", "cleanlab", "statsmodels"} <= set(hidden)
    photos = paint_photos(tmp_path / "data", {"train": 8, "validation": 4, "test": 4})
    write_split(Split(root=tmp_path / "data", photos=tuple(photos[:12]), seed=0), tmp_path / "split.json")
    (tmp_path / "voc").mkdir()
    shutil.copy(tmp_path / "data" / photos[0].path, tmp_path / "voc" / "a.png")
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
    xml = f"<annotation><filename>a.png</filename><object><name>with_mask</name>{box}</object></annotation>"
    (tmp_path / "voc" / "a.xml").write_text(xml)
    lines = ["inspect data --html page.html", "split data --out s.json", "extend split.json voc --out more.json"]
    assert set(run(tmp_path, hidden, lines).values()) == {"exit code 0"}


@pytest.mark.slow
def test_synth_brings_all_that_painting_needs(tmp_path: Path) -> None:
    pytest.importorskip("skia")
    hidden = modules_beyond("synth")
    assert not {"cv2", "skia", "scipy", "yaml"} & set(hidden) and {"keras", "sklearn", "faiss"} <= set(hidden)
    yolo = tmp_path / "yolo"
    lines = ["synth drawn drawn --photos 9 --seed 3 --workers 1", "synth pasted drawn pasted --photos 3 --workers 1"]
    assert set(run(tmp_path, hidden, lines).values()) == {"exit code 0"}
    assert len(list((tmp_path / "pasted").glob("*/*.jpg"))) == 3
    for kind in ("images", "labels"):
        (yolo / kind / "train").mkdir(parents=True)
    (yolo / "data.yaml").write_text("train: images/train\nnc: 2\nnames: [without_mask, with_mask]\n")
    shutil.copy(next((tmp_path / "drawn").glob("none/*.jpg")), yolo / "images" / "train" / "a.jpg")
    (yolo / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.01 0.01\n")
    (did,) = run(tmp_path, hidden, ["synth pasted yolo more --photos 3 --workers 1"]).values()
    assert did.startswith("DataError") and "no photo shows only faces that a mask can be painted on" in did


# --- without OpenGL ---------------------------------------------------------------------------------------------------

PAINT = """
import sys
sys.path.insert(0, sys.argv[1])
try:
    import skia
except ImportError as error:
    print(error)
from allmasked.synth.paint import brush
brush.OPENGL = ("libGX.so.1", "libEGX.so.1")
sheet = brush.Sheet(8, 8)
sheet.fill(brush.rect(0, 0, 8, 8), (255, 0, 0))
print(brush.skia().__file__, sheet.rgba()[4, 4].tolist())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Skia links OpenGL's libraries on Linux only")
def test_skia_paints_where_the_libraries_that_it_links_are_missing(tmp_path: Path) -> None:
    """A copy of Skia that asks for OpenGL under names that no system has."""
    spec: Any = importlib.util.find_spec("skia")
    if spec is None:
        pytest.skip("needs Skia")
    original = Path(spec.origin)
    changed = (
        original.read_bytes().replace(b"libGL.so.1\0", b"libGX.so.1\0").replace(b"libEGL.so.1\0", b"libEGX.so.1\0")
    )
    copy = tmp_path / original.name
    copy.write_bytes(changed)
    (tmp_path / "skia_python.libs").symlink_to(original.parent / "skia_python.libs")
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1])}
    command = [sys.executable, "-c", PAINT, str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    copy.unlink()
    assert result.returncode == 0, result.stderr
    refused, painted = result.stdout.splitlines()
    assert "libEGX.so.1" in refused or "libGX.so.1" in refused
    assert painted == f"{copy} [255, 0, 0, 255]"


def test_nothing_stands_in_where_it_is_not_needed() -> None:
    assert not without_gl.stand_in("nowhere", ["libGX.so.1"])  # no such module
    assert not without_gl.stand_in("json", ["libGX.so.1"])  # not an extension module
    assert not without_gl.stand_in("skia", [])
