"""What can't be read is named: names that are no UTF-8, failures on stderr, C libraries that know no name."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import allmasked
from colour_model import encoded


def main(*arguments: str, cwd: Path, locale: str = "C.UTF-8") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1]), "LC_ALL": locale}
    command = [sys.executable, "-m", "allmasked", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False, timeout=120)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = os.fsencode(tmp_path / "in")
    Path(os.fsdecode(folder)).mkdir()
    for name, data in ((b"good\xff.png", encoded("all")), (b"bad\xfe.png", b"text"), (b"t\t\n.png", b"text")):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(data)
    return tmp_path


def strict(text: str) -> list[str]:
    """Refuses halves of signs, which Python's own reader lets pass and others don't."""
    assert not re.search(r"\\ud[89a-f]", text, re.IGNORECASE)
    return [row["path"] for row in json.loads(text)]


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_names_that_are_no_utf8(kind: str, locale: str, photos: Path) -> None:
    done = main("predict", "in", "--out", f"o.{kind}", cwd=photos, locale=locale)
    assert done.returncode == 1 and done.stdout == b""
    text = (photos / f"o.{kind}").read_bytes().decode("utf-8")
    if kind == "csv":
        found = [row["path"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    else:
        found = strict(text if kind == "json" else "[" + ",".join(text.splitlines()) + "]")
    assert sorted(found) == ["in/bad\\xfe.png", "in/good\\xff.png", "in/t\t\n.png"]
    told = done.stderr.decode().splitlines()
    assert told[:2] == [
        "in/bad\\xfe.png: is not a photo in a known format", "in/t\\t\\n.png: is not a photo in a known format"
    ]  # fmt: skip
    assert len(told) == 3 and "2 failed" in told[2]


def test_photos_of_other_kinds_in_a_folder_are_told(tmp_path: Path) -> None:
    (tmp_path / "in/deeper").mkdir(parents=True)
    (tmp_path / "in/a.png").write_bytes(encoded("all"))
    for name in ("in/b.DNG", "in/deeper/c.jpg_large"):
        (tmp_path / name).write_bytes(b"x")
    done = main("predict", "in", cwd=tmp_path)
    assert done.returncode == 0 and len(done.stdout.decode().splitlines()) == 2
    last = done.stderr.decode().splitlines()[-1]
    assert last == ("not read: 2 photos of other kinds (.dng, .jpg_large), such as in/b.DNG: save them as JPEG or PNG")
    assert b"not read" not in main("predict", "in/a.png", cwd=tmp_path).stderr


def test_libtiff_does_not_write_without_the_photos_name(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 255, (200, 300, 3), np.uint8))
    for name in ("tiff_lzw", "tiff_deflate", "group4"):
        path = tmp_path / f"{name}.tif"
        (image.convert("1") if name == "group4" else image).save(path, compression=name)
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle - 2000 : middle + 2000] = random.integers(0, 255, 4000, np.uint8).tobytes()
        path.write_bytes(data)
    done = main("predict", "tiff_lzw.tif", "tiff_deflate.tif", "group4.tif", cwd=tmp_path)
    told = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert [line.split(":")[0] for line in told[:-1]] == ["tiff_lzw.tif", "tiff_deflate.tif"]
    assert told[-1].startswith("3 photos in")
