"""What predict writes: a submission, photos sorted by answer, one annotated picture, a table that fits its terminal."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from allmasked.annotate import Sorted
from allmasked.cli import cli, rows, scoring, submission
from allmasked.cli.training import HEADINGS
from allmasked.core import markdown
from allmasked.core.errors import ConfigError
from allmasked.core.types import LABELS, Prediction
from allmasked.data.readers import read_dataset
from colour_model import BLUE, GREY, SKIN, ColourModel
from test_cli_answers import invoke

PICTURES = {"all": (BLUE,), "none": (SKIN,), "some": (BLUE, SKIN), "nobody": ()}


@pytest.fixture
def test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A competition's test folder, a photo of each answer, and a model for them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("allmasked.model.open_predictor", lambda *_args, **_options: ColourModel())
    (tmp_path / "test").mkdir()
    for number, faces in enumerate(PICTURES.values()):
        image = Image.new("RGB", (640, 480), GREY)
        for place, colour in enumerate(faces):
            image.paste(colour, (80 + 320 * place, 80, 240 + 320 * place, 400))
        image.save(tmp_path / "test" / f"1000{number}.png")
    return tmp_path / "test"


@pytest.mark.usefixtures("test")
def test_a_submission_has_the_competitions_numbers() -> None:
    result = invoke("predict", "test", "--format", "kaggle")
    assert result.exit_code == 0, result.output
    expected = "Id,Category\n10000.png,1\n10001.png,0\n10002.png,2\n10003.png,0\n"  # the last shows nobody
    assert result.stdout == expected
    Path("sample.csv").write_text("Id,Category\n10002.png,0\n10000.png,0\n")
    assert invoke("predict", "test", "--format", "kaggle", "--sample", "sample.csv", "--out", "s.csv").exit_code == 0
    assert Path("s.csv").read_text() == "Id,Category\n10002.png,2\n10000.png,1\n"


@pytest.mark.parametrize(
    ("four", "number"),
    [
        ((0.1, 0.0, 0.2, 0.7), 2),
        ((0.2, 0.1, 0.0, 0.7), 1),
        ((0.0, 0.1, 0.0, 0.9), 0),
        ((0.0, 0.0, 0.0, 1.0), 0),  # nothing speaks for any: no person wears a mask
    ],
)
def test_nobody_becomes_the_likeliest_of_the_three(four: tuple[float, float, float, float], number: int) -> None:
    assert submission.category(Prediction("a.jpg", "nobody", four[:3], p_nobody=four[3])) == number


def test_no_submission_where_a_photo_is_broken_or_missing(test: Path) -> None:
    given = ("predict", "test", "--format", "kaggle", "--out", "s.csv")
    Path("sample.csv").write_text("Id,Category\n10000.png,0\n10007.png,0\n")
    result = invoke(*given, "--sample", "sample.csv")
    assert "1 photo of sample.csv not among those given (10007.png)" in str(result.exception)
    (test / "10001.png").write_bytes(b"nothing")
    result = invoke(*given)
    assert result.exit_code == 1
    assert "test/10001.png: is not a photo" in result.stderr
    assert "no submission was written: 1 photo without an answer" in result.stderr
    (test / "more").mkdir()
    (test / "more" / "10000.png").touch()
    result = invoke(*given)
    assert result.exit_code == 2 and "would have the same Id" in result.stderr
    for text in ("", "Category\n1\n", "Id,Category\n", "Id\n1.png\n1.png\n"):
        Path("sample.csv").write_text(text)
        assert "sample.csv" in str(invoke(*given, "--sample", "sample.csv").exception)
    assert not Path("s.csv").exists()


def test_sorted_twice_a_photo_lies_in_one_folder(test: Path) -> None:
    (test / "broken.png").write_bytes(b"nothing")
    (test / "copy").mkdir()
    (test / "copy" / "10000.png").write_bytes((test / "10001.png").read_bytes())  # another photo of one name
    result = invoke("predict", "test", "gone.png", "--sort", "test/sorted")
    end = "2 in none, 1 in some, 1 in nobody, 2 in unreadable; what is where: predictions.csv"
    assert f"sorted into test/sorted: 1 in all, {end}" in result.stderr
    out = test / "sorted"

    def where() -> Counter[str]:
        return Counter(path.parent.name for path in out.rglob("*.png"))

    assert where() == {"all": 1, "none": 2, "some": 1, "nobody": 1, "unreadable": 1}
    Image.new("RGB", (640, 480), BLUE).save(test / "broken.png")  # mended
    (out / "nobody" / "10003.png").write_bytes(b"somebody's own work")
    Image.new("RGB", (640, 480), BLUE).save(test / "10003.png")
    (test / "10002.png").rename(test / "10009.png")
    again = invoke("predict", "test", "--sort", "test/sorted")
    assert "6 photos" in again.stderr  # its own output is no input
    assert "; 1 moved from where an earlier run put them" in again.stderr
    assert where() == {"all": 3, "none": 2, "some": 2, "nobody": 1}
    listed = list(csv.DictReader((out / "predictions.csv").open(encoding="utf-8")))
    assert [row["label"] for row in listed if row["path"] == str(test / "broken.png")] == ["all"]
    assert {row["copy"] for row in listed} == {
        *(path.relative_to(out).as_posix() for path in out.rglob("*.png")), ""
    } - {"nobody/10003.png"}  # fmt: skip


def test_what_is_not_sure_is_sorted_apart(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    sorting = Sorted(tmp_path / "out")
    sorting.add(Prediction(str(tmp_path / "a.png"), "some", (0.3, 0.1, 0.6)))
    sorting.close()
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["unsure"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "predictions.csv").write_text("path,label\na.png,all\n")
    with pytest.raises(Exception, match="is not as --sort has written it"):
        Sorted(tmp_path / "other")


def test_a_photo_that_is_gone_keeps_its_sorted_copy(tmp_path: Path) -> None:
    photo, out = tmp_path / "ä.png", tmp_path / "out"
    Image.new("RGB", (8, 8)).save(photo)
    for answer in (
        Prediction(str(photo), "all", (0.98, 0.01, 0.01)),
        Prediction(str(photo), None, None, "no such file"),
        Prediction(str(photo), None, None, "no such file"),
    ):
        sorting = Sorted(out)
        sorting.add(answer)
        sorting.close()
        photo.unlink(missing_ok=True)
        assert (out / "all" / "ä.png").is_file() and sorting.moved == 0
    (row,) = csv.DictReader((out / "predictions.csv").open(encoding="utf-8"))
    assert row["copy"] == "all/ä.png" and not row["label"]
    listed = (out / "predictions.csv").read_text(encoding="utf-8")
    (out / "predictions.csv").write_text(listed, encoding="utf-8-sig")  # as a spreadsheet writes it
    Sorted(out).close()
    (out / "predictions.csv").write_text("path,copy\n")
    with pytest.raises(ConfigError, match="is not as --sort has written it"):
        Sorted(out)


@pytest.mark.parametrize("option", ["--sort", "--annotated"])
def test_when_every_photo_lies_where_pictures_go_that_is_told(option: str, test: Path) -> None:
    for folder in ("test", "."):
        result = invoke("predict", "test", option, folder)
        assert result.exit_code == 2 and f"every photo lies in {folder}," in result.stderr, result.output
    assert not (test / "predictions.csv").exists()


def test_one_photo_is_annotated_into_the_file_named(test: Path) -> None:
    photo = "test/10000.png"
    assert invoke("predict", photo, "--annotated", "seen.jpg").exit_code == 0
    with Image.open("seen.jpg") as picture:
        assert picture.width == 800
    before = (test / "10000.png").read_bytes()
    for given, target, said in (
        (["test"], "seen.jpg", "there are more photos"),
        ([photo], photo, "is the photo itself"),
        ([photo], "seen.heic", "end it in .jpg"),
        ([photo], "sample.csv", "is a file"),
    ):
        Path("sample.csv").touch()
        result = invoke("predict", *given, "--annotated", target)
        assert result.exit_code == 2 and said in result.stderr
    assert (test / "10000.png").read_bytes() == before


def test_the_suffix_of_out_is_one_that_can_be_written(test: Path) -> None:
    result = invoke("predict", "test", "--out", "a.xlsx")
    assert result.exit_code == 2 and ".csv, .json or .jsonl" in result.stderr
    assert not Path("a.xlsx").exists() and test.is_dir()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_table_has_one_line_a_photo(width: int) -> None:
    rng = np.random.default_rng(0)
    answers = [
        Prediction(f"/home/someone/pictures/{'長い' * (k % 20)}/2026-11/{k:04}.jpg", LABELS[k % 3], (a, b, c))
        for k, (a, b, c) in enumerate(rng.dirichlet([1, 1, 1], 40).tolist())
    ]
    table = rows._table([one.to_dict(boxes=False) for one in answers], rows.COLUMNS, width)
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table)
    lines = console.export_text().rstrip("\n").split("\n")
    assert len(lines) == 41 and max(map(cell_len, lines)) <= width
    assert lines[0].split() == ["photo", "label", "p", "note"]  # no faces, no error, nobody not told
    for k, line in enumerate(lines[1:]):
        assert line.split()[0].endswith(f"{k:04}.jpg")


def test_a_data_set_in_the_competitions_form_is_read_and_answered(tmp_path: Path, test: Path) -> None:
    for k in range(20):
        (tmp_path / "data" / LABELS[k % 3]).mkdir(parents=True, exist_ok=True)
        with Image.open(test / f"1000{k % 3}.png") as image:
            image.putpixel((0, 0), (k, k, k))
            image.save(tmp_path / "data" / LABELS[k % 3] / f"{k}.png")
    result = invoke("synth", "competition", "data", "MaskDataset", "--test", "0.25", "--seed", "1")
    assert result.exit_code == 0 and result.stdout == "training\t15\ntest\t5\n"
    _root, photos, problems = read_dataset("MaskDataset")
    assert len(photos) == 15 and not problems and {photo.label for photo in photos} == {"all", "none", "some"}
    given = ("predict", "MaskDataset/test", "--format", "kaggle", "--sample", "MaskDataset/sample_submission.csv")
    assert invoke(*given).stdout == Path("MaskDataset/true_results.csv").read_text()
    assert "is not an empty folder" in str(invoke("synth", "competition", "data", "MaskDataset").exception)
    assert "leaves no photo on one side" in str(invoke("synth", "competition", "data", "x", "--test", "1").exception)


@pytest.mark.parametrize("width", [40, 100])
def test_tables_of_figures_are_drawn_with_every_figure_whole(width: int) -> None:
    lines = markdown.table(["class", "photos", "precision", "95 % interval"], [["all", 1234, 0.837, "0.79 to 0.859"]])
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(scoring._drawn(lines[:-1]))
    text = console.export_text()
    assert "| ---" not in text and {"1,234", "0.8370", "0.79", "0.859"} <= {*text.replace("│", " ").split()}


def test_help_of_train_has_each_option_once_below_a_heading() -> None:
    text = invoke("train", "--help").stdout
    options = [line.split()[0] for line in text.splitlines() if line.startswith("  -")]
    command = cli.get_command(click.Context(cli), "train")
    assert command is not None
    named = [param.opts[0] for param in command.params if isinstance(param, click.Option)]
    assert sorted(options) == sorted([*named, "-h,"])
    sections = {heading: text.split(f"\n{heading}:\n")[1].split("\n\n")[0] for heading in HEADINGS}
    below = {line.split()[0]: heading for heading, section in sections.items() for line in section.splitlines()}
    wanted = {"--out": "Options", "--size": "Data", "--epochs": "Schedule", "--clip-norm": "Loss and optimiser"}
    assert {option: below[option] for option in wanted} == wanted
    assert all(below[f"--{name}"] == "Augmentation" for name in ("flip", "zoom-in", "mosaic", "jpeg"))
    assert '""' not in text and ":." not in invoke("recipes").stdout


@pytest.mark.parametrize("seed", ["-1", str(2**32)])
def test_a_seed_that_is_none_is_wrong_use(seed: str, test: Path) -> None:
    result = invoke("split", str(test), "--out", "s.json", "--seed", seed)
    assert result.exit_code == 2 and "is no seed" in result.stderr


def test_links_to_one_file_and_names_that_are_not_utf8_are_sorted(test: Path) -> None:
    (test.parent / "links").mkdir()
    for name in ("cat.png", "dog.png"):
        (test.parent / "links" / name).symlink_to(test / "10000.png")
    odd = os.fsencode(test.parent / "links") + b"/caf\xe9.png"
    Path(os.fsdecode(odd)).write_bytes((test / "10001.png").read_bytes())
    result = invoke("predict", "links", "--sort", "out")
    assert result.exit_code == 0 and "moved" not in result.stderr, result.output
    assert sum(path.is_file() for path in Path("out").rglob("*.png")) == 3
    again = invoke("predict", "links", "--sort", "out")
    assert again.exit_code == 0 and sum(path.is_file() for path in Path("out").rglob("*.png")) == 3
    (test.parent / "links.txt").write_bytes(b"links/caf\xe9.png\n")
    assert "1 in none" in invoke("predict", "links.txt", "--sort", "listed").stderr
    assert sum(path.is_file() for path in Path("listed").rglob("*.png")) == 1


def test_each_annotated_photo_has_a_picture_of_its_own(test: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a" * 210 + "1.png", "a" * 210 + "2.png"):
        (test / name).write_bytes((test / "10000.png").read_bytes())
    (test.parent / "here" / "test").mkdir(parents=True)
    (test.parent / "here" / "test" / "10000.png").write_bytes((test / "10001.png").read_bytes())
    monkeypatch.chdir(test.parent / "here")
    result = invoke("predict", "../test", "test", "--annotated", "out")
    assert "drawn on: 7 photos" in result.stderr, result.stderr
    assert sum(path.is_file() for path in Path("out").rglob("*")) == 7


@pytest.mark.usefixtures("test")
def test_one_bad_address_of_a_list_is_one_row() -> None:
    pytest.importorskip("fsspec")
    Path("list.txt").write_text("test/10000.png\nftp://host/a.jpg\ntest/10001.png\n")
    result = invoke("predict", "list.txt", "--format", "jsonl")
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1 and [row["label"] for row in said] == ["all", None, "none"]
    assert "addresses of ftp:// are not known" in said[1]["error"]


@pytest.mark.usefixtures("test")
def test_a_file_that_is_written_anew_keeps_its_mode() -> None:
    out = Path("answers.csv")
    out.write_text("old")
    out.chmod(0o600)
    assert invoke("predict", "test", "--out", str(out)).exit_code == 0
    assert out.stat().st_mode & 0o777 == 0o600


def test_heat_maps_never_take_the_place_of_photos(test: Path) -> None:
    before = {path.name: path.read_bytes() for path in test.iterdir()}
    result = invoke("explain", "test", "--out", "test")
    assert result.exit_code == 2 and "every photo lies in test" in result.stderr
    assert {path.name: path.read_bytes() for path in test.iterdir()} == before
