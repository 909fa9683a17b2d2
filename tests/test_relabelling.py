"""Mended labels: a CSV beside the data set, which stays as it is; the split's groups and rules stay, too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from allmasked.cli import cli
from allmasked.core.errors import DataError
from allmasked.core.types import Face, Photo
from allmasked.data.dataset import load_split, read_split
from allmasked.data.relabelling import read_relabels, relabelled, write_relabels
from conftest import draw_photo


def test_split_takes_mended_labels_and_changes_nothing_else(tmp_path: Path) -> None:
    import numpy as np

    data, mended = tmp_path / "data", tmp_path / "mended.csv"
    rng = np.random.default_rng(0)
    for label in ("all", "none", "some"):
        for number in range(6):
            draw_photo(data / label / f"{number}.png", label, rng)
    shutil.copy(data / "all" / "0.png", data / "none" / "copy.png")  # a copy with another label
    before = {path: path.read_bytes() for path in data.rglob("*.png")}
    mended.write_text("label,path\nAll,none/copy.png\nsome,all/3.png\nnone,none/1.png\n")
    plain, split = load_split(data), load_split(data, relabel=mended)
    labels = {photo.path: photo.label for photo in split.photos}
    assert labels["none/copy.png"] == "all" and labels["all/3.png"] == "some"
    assert [(p.path, p.sha256, p.group) for p in split.photos] == [(p.path, p.sha256, p.group) for p in plain.photos]
    reasons = {photo.path: photo.reason for photo in split.photos if photo.part == "left_out"}
    assert reasons == {"none/copy.png": "exact duplicate of all/0.png"}, "the copies agree now, and one of them is kept"
    assert {path: path.read_bytes() for path in data.rglob("*.png")} == before
    out = tmp_path / "split.json"
    result = CliRunner().invoke(cli, ["split", str(data), "--relabel", str(mended), "--out", str(out)])
    assert result.exit_code == 0 and "labels mended: 2 (all/3.png, none/copy.png)" in result.stderr
    assert read_split(out).photos == split.photos
    assert read_split(out).settings["relabelled"] == [
        {"path": "all/3.png", "was": "all", "label": "some"}, {"path": "none/copy.png", "was": "none", "label": "all"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("all/gone.png,none\n", "all/gone.png is no labelled photo of the data set"),
        ("a.png,all\na.png,none\n", "mended.csv:3: a.png stands in line 2 already"),
        ("a.png,both\n", "mended.csv:2: label 'both' of a.png is none of all, none, some, nobody"),
        ("a.png\n", "mended.csv:2: has 1 of 2 columns"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, rows: str, line: str) -> None:
    file = tmp_path / "mended.csv"
    file.write_text("path,label\n" + rows)
    with pytest.raises(DataError, match=line.replace(".", r"\.")):
        relabelled([Photo("a.png", "some")], read_relabels(file), file)


def test_marked_faces_stay_only_where_they_agree(tmp_path: Path) -> None:
    masked, bare = Face("masked", 0, 0, 9, 9), Face("bare", 20, 0, 29, 9)
    marked = {"none": (masked, bare), "some": (masked, bare), "all": (masked,), "nobody": ()}
    photos = [Photo(label, label, faces=faces) for label, faces in marked.items()]  # type: ignore[arg-type]
    file = tmp_path / "mended.csv"
    write_relabels(file, {"none": "some", "some": "all", "all": "nobody", "nobody": "all"})
    found, record = relabelled(photos, read_relabels(file), file)
    assert [photo.faces for photo in found] == [(masked, bare), None, (), None] and len(record) == 4


def test_a_missing_file_is_told_as_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mended\.csv: cannot be read \(no such file or directory\)"):
        read_relabels(tmp_path / "mended.csv")
