"""predict and explain from the command line: nothing but data on stdout, exit codes, no traceback."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import allmasked
from allmasked.cli import cli
from allmasked.cli.answers import COLUMNS
from allmasked.core.errors import AllmaskedError
from colour_model import BLUE as MASK
from colour_model import GREY, SKIN, ColourModel
from planted import BLUE, RED, patch, planted, save_run

pytest.importorskip("keras")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_run(tmp_path_factory.mktemp("runs") / "planted", planted()))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder, colour in (("all", RED), ("none", BLUE), ("some", (120, 120, 120))):
        (tmp_path / folder).mkdir()
        for number in range(3):
            patch(colour, (4 + 8 * number, 8)).save(tmp_path / folder / f"{number}.png")
    return tmp_path


def invoke(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(cli, list(arguments), **options)


def rows(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(result.stdout)))


@pytest.mark.usefixtures("photos")
def test_csv_is_the_default_off_a_terminal(run: str) -> None:
    result = invoke("predict", "all", "none/0.png", "--model", run)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "path,label,p_all,p_none,p_some,p_nobody,masked,bare,sure,error"
    found = rows(result)
    assert [row["path"] for row in found] == ["all/0.png", "all/1.png", "all/2.png", "none/0.png"]
    assert [row["label"] for row in found] == ["all"] * 3 + ["none"]
    for row in found:
        assert sum(float(row[name]) for name in ("p_all", "p_none", "p_some")) == pytest.approx(1, abs=1e-5)
    assert "4 photos" in result.stderr
    assert "3 all, 1 none, 0 some" in result.stderr


def test_a_broken_photo_gets_its_line_and_exit_code_1(photos: Path, run: str) -> None:
    (photos / "all/1.png").write_bytes(b"nothing")
    (photos / 'all/odd, "name"\nof.png').write_bytes((photos / "none/0.png").read_bytes())
    result = invoke("predict", "all", "gone.jpg", "--model", run)
    assert result.exit_code == 1
    found = {row["path"]: row for row in rows(result)}
    assert len(found) == 5
    assert found["all/1.png"]["error"] == "is not a photo in a known format"
    assert found["all/1.png"]["label"] == found["all/1.png"]["p_all"] == ""
    assert found["gone.jpg"]["error"] == "no such file"
    assert found['all/odd, "name"\nof.png']["label"] == "none"
    assert "2 failed" in result.stderr


def test_every_format_says_the_same(photos: Path, run: str) -> None:
    (photos / "none/1.png").write_bytes(b"nothing")
    arguments = ("predict", "all", "none", "some", "--model", run)
    table = rows(invoke(*arguments, "--format", "csv"))
    array = json.loads(invoke(*arguments, "--format", "json").stdout)
    lines = [json.loads(line) for line in invoke(*arguments, "--format", "jsonl").stdout.splitlines()]
    assert array == lines
    assert len(array) == 9
    assert list(array[0]) == list(table[0]) == list(COLUMNS)
    assert array[0]["error"] is None
    assert array[4]["label"] is array[4]["p_all"] is None
    for row, entry in zip(table, array, strict=True):
        assert (row["path"], row["label"], row["error"]) == (entry["path"], entry["label"] or "", entry["error"] or "")
    shown = invoke(*arguments, "--format", "table").stdout
    assert all(entry["path"] in shown for entry in array)
    assert "is not a photo in a known format" in shown


def test_out_is_written_whole_in_the_format_of_its_suffix(photos: Path, run: str) -> None:
    for name in ("o.csv", "o.json", "o.jsonl", "o.txt"):
        result = invoke("predict", "all", "--model", run, "--out", f"out/{name}")
        assert (result.exit_code, result.stdout) == (0, "")
    assert len(json.loads((photos / "out/o.json").read_text())) == 3
    assert (photos / "out/o.csv").read_text() == (photos / "out/o.txt").read_text()
    assert len((photos / "out/o.jsonl").read_text().splitlines()) == 3
    assert len(list((photos / "out").iterdir())) == 4


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("null", [False, True])
def test_a_list_on_stdin(run: str, null: bool) -> None:
    listed = ["all/0.png", "none", "no*thing.png", "gone.png"]
    text = "\0".join(listed) if null else "\r\n".join([*listed[:1], "", *listed[1:]]) + "\n"
    result = invoke("predict", "-", "some/0.png", "--model", run, *(["-0"] if null else []), input=text)
    assert result.exit_code == 1
    paths = [row["path"] for row in rows(result)]
    assert paths == ["all/0.png", "none/0.png", "none/1.png", "none/2.png", "no*thing.png", "gone.png", "some/0.png"]


@pytest.fixture
def crowd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos of a large masked and a small bare face, of one that may be none, and of nobody; a model for them."""

    class Doubtful(ColourModel):
        def maps(self, photo: np.ndarray) -> np.ndarray:
            maps = super().maps(photo)
            if photo.min() < 5:
                maps[..., :2] = np.minimum(maps[..., :2], 0)
            return maps

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("allmasked.model.open_predictor", lambda *_args, **_options: Doubtful())
    image = Image.new("RGB", (640, 480), GREY)
    image.save("nobody.png")
    image.paste(MASK, (80, 80, 240, 400))
    image.save("one.png")
    image.paste((0, 0, 0), (560, 400, 640, 480))
    image.save("perhaps.png")
    image.paste(GREY, (560, 400, 640, 480))
    image.paste(SKIN, (400, 160, 480, 240))
    image.save("two.png")
    return tmp_path


@pytest.mark.usefixtures("crowd")
def test_faces_in_px_of_the_photo_and_why_some_do_not_count() -> None:
    arguments = ("predict", "two.png", "--boxes", "--format", "json")
    for options, label, reason in (
        ((), "some", None),
        (("--min-face-px", "100"), "all", "too small to judge"),
        (("--min-face-share", "0.3"), "all", "far behind the others"),
        (("--min-face-px", "79", "--min-face-share", "0.2"), "some", None),
    ):
        result = invoke(*arguments, *options)
        assert result.exit_code == 0, result.output
        (found,) = json.loads(result.stdout)
        large, small = sorted(found["faces"], key=lambda face: face["left"])
        assert (found["label"], found["masked"], found["bare"]) == (label, 1, int(label == "some"))
        assert [large[edge] for edge in ("left", "top", "right", "bottom")] == [80, 80, 240, 400]
        assert (large["wear"], large["counts"], large["reason"]) == ("masked", True, None)
        assert (small["wear"], small["counts"], small["reason"]) == ("bare", reason is None, reason)
        assert large["score"] > 0.9 and large["p_masked"] > 0.9 > 0.1 > small["p_masked"]


@pytest.mark.usefixtures("crowd")
def test_only_what_a_person_should_look_at() -> None:
    everything = invoke("predict", ".", "gone.png", "--format", "json")
    assert {row["path"]: row["sure"] for row in json.loads(everything.stdout)} == {
        "./nobody.png": True, "./one.png": True, "./perhaps.png": False, "./two.png": True, "gone.png": None
    }  # fmt: skip
    some = invoke("predict", ".", "gone.png", "--unsure", "--format", "json")
    assert [row["path"] for row in json.loads(some.stdout)] == ["./perhaps.png", "gone.png"]
    assert some.exit_code == everything.exit_code == 1
    for result in (some, everything):
        assert "5 photos" in result.stderr and "1 of them unsure" in result.stderr


@pytest.mark.usefixtures("photos")
def test_patterns(run: str) -> None:
    result = invoke("predict", "*/0.png", "--model", run, "--batch-size", "2")
    assert [row["label"] for row in rows(result)] == ["all", "none", "some"]


def test_wrong_use_is_exit_code_2_in_one_line(photos: Path, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allmasked.predictors.predictor.DEFAULT", photos / "gone.onnx")
    (photos / "empty").mkdir()
    (photos / "unfinished").mkdir()
    (photos / "unfinished/config.json").write_text("{}")
    for arguments, message in (
        (["predict"], "Missing argument"),
        (["predict", "all"], "no model came with this installation"),
        (["predict", "all", "--model", run, "--min-face-px", "9"], "finds no faces"),
        (["predict", "all", "--model", run, "--min-face-share", "0.5"], "finds no faces"),
        (["predict", "all", "--model", run, "--min-face-share", "1.5"], "1.5"),
        (["predict", "all", "--model", run, "--tiles", "always"], "finds no faces"),
        (["predict", "all", "--model", run, "--heat"], "--annotated DIR"),
        (["predict", "all", "--model", run, "--fail-on", "most"], "'most' is not one of"),
        (["predict", "empty", "--model", run], "no photo found in empty"),
        (["predict", "zz*", "--model", run], "no photo found"),
        (["predict", "all", "--model", run, "--format", "xml"], "xml"),
        (["predict", "all", "--model", run, "--batch-size", "0"], "batch-size"),
        (["predict", "all", "--model", "gone"], "no such run folder"),
        (["predict", "all", "--model", "unfinished"], "not finished"),
        (["explain", "--model", run], "PATH is missing"),
        (["explain", "all", "--model", run], "--out DIR is missing"),
        (["explain", "all", "--model", run, "--out", "all/0.png"], "is a file"),
        (["explain", "all", "--model", run, "--out", "o", "--explainer", "all"], "name one"),
        (["explain", "all", "--model", run, "--out", "o", "--explainer", "cam", "--explainer", "grad-cam"], "name one"),
        (["explain", "all", "--model", run, "--out", "o", "--explainer", "lime"], "lime"),
        (["explain", "all", "--model", run, "--score", "data"], "leave out PATH"),
    ):
        result = invoke(*arguments)
        if isinstance(result.exception, AllmaskedError):  # main() prints these
            text, code = str(result.exception), 2
            assert "\n" not in text
        else:
            text, code = result.stderr, result.exit_code
        assert code == 2, arguments
        assert message in text, arguments
        assert result.stdout == ""


def test_explain_writes_pictures_and_a_grid(photos: Path, run: str) -> None:
    (photos / "all/1.png").write_bytes(b"nothing")
    result = invoke("explain", "all", "none", "--model", run, "--out", "out/heat")
    assert result.exit_code == 1
    found = rows(result)
    assert [row["explained"] for row in found] == ["all", "", "all", "none", "none", "none"]
    pictures = [Path(row["picture"]) for row in found if row["picture"]]
    assert len(set(pictures)) == 5
    for path in pictures:
        with Image.open(path) as image:
            assert image.size == (64, 48)
    with Image.open(photos / "out/heat/grid.png") as grid:
        assert grid.width > 128
    assert "pictures and grid.png in out/heat" in result.stderr


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("explainer", ["hires-cam", "score-cam"])
def test_explain_another_class_by_another_way(run: str, explainer: str) -> None:
    result = invoke("explain", "all/0.png", "--model", run, "--out", "o", "--class", "none", "--explainer", explainer,
                    "--format", "json")  # fmt: skip
    assert result.exit_code == 0
    (found,) = json.loads(result.stdout)
    assert (found["label"], found["explained"], found["picture"]) == ("all", "none", f"o/0.{explainer}.jpg")


def main(*arguments: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1])}
    command = [sys.executable, "-m", "allmasked", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=300, **options)


@pytest.mark.slow
def test_the_process_itself(photos: Path, run: str) -> None:
    """Names that aren't UTF-8, a silent TensorFlow, exit codes, one line of error."""
    odd = os.fsencode(str(photos / "all")) + b"/\xff\xfe.png"
    Path(os.fsdecode(odd)).write_bytes((photos / "none/0.png").read_bytes())
    result = main("predict", odd, "--model", run)
    assert result.returncode == 0
    lines = result.stdout.decode().splitlines()
    assert len(lines) == 2
    assert "none" in lines[1]
    assert len(result.stderr.decode().splitlines()) == 1, result.stderr.decode()
    failed = main("predict", "all", "--model", "gone")
    assert failed.returncode == 2
    assert failed.stdout == b""
    assert failed.stderr.decode().startswith("error: gone: no such run folder")


def test_score_needs_labelled_photos_and_beats_random(photos: Path, run: str) -> None:
    pytest.importorskip("allmasked.data.dataset")
    import hashlib

    from allmasked.core.types import Photo, Split
    from allmasked.data.dataset import write_split

    def photo(path: str, label: Any) -> Photo:
        digest = hashlib.sha256((photos / path).read_bytes()).hexdigest()
        return Photo(path, label, digest, 64, 48, part="test")

    entries = [photo(f"{label}/{n}.png", label) for label in ("all", "none") for n in range(3)]
    write_split(Split(photos, tuple(entries), 0), photos / "split.json")
    arguments = ("explain", "--score", "split.json", "--model", run)
    result = invoke(*arguments, "--out", "score.json", "--format", "json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == json.loads((photos / "score.json").read_text())
    assert report["photos"] == 6
    assert set(report["explainers"]) == {"grad-cam", "grad-cam++", "hires-cam", "score-cam", "cam", "random"}
    for name, figures in report["explainers"].items():
        assert np.isfinite(figures["deletion"]["mean"])
        assert name == "random" or figures["deletion_gain"]["low"] > 0
    table = invoke(*arguments, "--explainer", "cam", "--explainer", "grad-cam", "--photos", "2", "--format", "table")
    assert table.exit_code == 0
    names = [line.split()[0] for line in table.stdout.splitlines() if line.split()]
    assert names[-3:] == ["cam", "grad-cam", "random"]
    assert "photos: 2;" in table.stdout
