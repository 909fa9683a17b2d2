"""A split leaks nothing, is repeatable, keeps the shares, says what it left out, and survives the disk."""

import dataclasses
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from allmasked.cli import cli
from allmasked.core.errors import ConfigError, DataError, RunError
from allmasked.core.types import CLASSES, Face, Photo, Split
from allmasked.data import dataset
from allmasked.data.dataset import (
    absent,
    is_split,
    load_photos,
    load_split,
    make_split,
    only_over,
    read_split,
    verify,
    write_split,
)
from allmasked.data.extending import extend_split
from allmasked.data.readers import Options, read_dataset
from conftest import make_split as painted_split


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)
    return Image.blend(coarse, fine, 0.5)


def save(image: Image.Image, path: Path, **how) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)


@pytest.fixture
def data(tmp_path):
    """10 photos a class; 0-2 of each class with a smaller copy, 3 with an exact one; one disagreement, one broken."""
    root = tmp_path / "data"
    for number, label in enumerate(CLASSES):
        for k in range(10):
            save(picture(100 * number + k), root / label / f"{k}.png")
        for k in range(3):
            save(picture(100 * number + k).resize((100, 75)), root / label / f"{k}_small.jpg", quality=60)
        (root / label / "x3.png").write_bytes((root / label / "3.png").read_bytes())
    save(picture(4), root / "none" / "4_of_all.jpg", quality=80)
    (root / "some" / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    return root


def test_a_split_leaks_nothing_and_names_what_it_leaves_out(data):
    split = load_split(data, seed=1)
    assert split.root == data.resolve() and [p.path for p in split.photos] == sorted(p.path for p in split.photos)
    parts = defaultdict(set)
    for photo in split.photos:
        if photo.part != "left_out":
            parts[photo.group].add(photo.part)
    assert all(len(where) == 1 for where in parts.values())
    by_path = {photo.path: photo for photo in split.photos}
    for label in CLASSES:
        for k in range(3):
            assert by_path[f"{label}/{k}.png"].group == by_path[f"{label}/{k}_small.jpg"].group
        assert by_path[f"{label}/x3.png"].reason == f"exact duplicate of {label}/3.png"
    assert by_path["all/4.png"].reason == "labels disagree: all, but its near-duplicate none/4_of_all.jpg is none"
    assert by_path["none/4_of_all.jpg"].reason.startswith("labels disagree: none, but its near-duplicate all/4.png")
    broken = by_path["some/broken.jpg"]
    assert (broken.part, broken.group, broken.width) == ("left_out", -1, 0) and "known format" in broken.reason
    assert sum(photo.part == "left_out" for photo in split.photos) == 6
    assert all(photo.width and len(photo.sha256) == 64 for photo in split.photos if photo is not broken)
    assert all(split.part(part) for part in ("train", "validation", "test"))


def test_exact_duplicates_with_other_labels_are_left_out(tmp_path):
    for number, label in enumerate(CLASSES):
        save(picture(number), tmp_path / label / "a.png")
    (tmp_path / "some" / "b.png").write_bytes((tmp_path / "all" / "a.png").read_bytes())
    reasons = {p.path: p.reason for p in load_split(tmp_path, test=0, validation=0).photos}
    assert reasons["all/a.png"] == "labels disagree: all, but its exact duplicate some/b.png is some"
    assert reasons["some/b.png"] == "labels disagree: some, but its exact duplicate all/a.png is all"


def test_same_seed_same_bytes_other_seed_other_split(data, tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_split(load_split(data, seed=seed), tmp_path / f"{name}.json")
    a, b, c = ((tmp_path / f"{name}.json").read_bytes() for name in "abc")
    assert a == b and a != c


def drawn(sizes: list[int], seed: int) -> list[Photo]:
    """Photos of groups of these sizes, of one label each; no files."""
    rng = np.random.default_rng(seed)
    photos = []
    for group, size in enumerate(sizes):
        label = CLASSES[rng.integers(3)]
        for _ in range(size):
            faces = tuple(Face("masked", 0, 0, 1, 1) for _ in range(rng.integers(1, 6)))
            photos.append(Photo(f"{len(photos)}.jpg", label, group=group, faces=faces))
    return photos


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=60, max_size=150), st.integers(0, 99))
def test_shares_hold_for_every_class(sizes, seed):
    photos = drawn(sizes, seed)
    shares = {"train": 0.65, "validation": 0.15, "test": 0.2}
    parts = dataset.divide(photos, [photo.group for photo in photos], shares, seed)
    where = defaultdict(set)
    for photo, part in zip(photos, parts):
        where[photo.group].add(part)
    assert all(len(found) == 1 for found in where.values())
    count, total = Counter((p.label, part) for p, part in zip(photos, parts)), Counter(p.label for p in photos)
    for label in total:
        for part, share in shares.items():
            assert abs(count[label, part] - share * total[label]) <= 8


def test_shares_of_real_size():
    photos = drawn([1] * 2000 + [2] * 300 + [3, 5, 9, 26], 0)
    parts = dataset.divide(
        photos, [photo.group for photo in photos], {"train": 0.65, "validation": 0.15, "test": 0.2}, 0
    )
    total = Counter(photo.label for photo in photos)
    count = Counter((photo.label, part) for photo, part in zip(photos, parts))
    for label in CLASSES:
        assert abs(count[label, "test"] / total[label] - 0.2) < 0.01
        assert abs(count[label, "validation"] / total[label] - 0.15) < 0.01


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (-0.1, 0.2), (0, 1)])
def test_impossible_shares(validation, test, tmp_path):
    with pytest.raises(ConfigError, match="less than 1"):
        make_split(tmp_path, [], validation=validation, test=test)


def test_nothing_readable(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "x.jpg").touch()
    with pytest.raises(DataError, match="none of its 1 photos"):
        load_split(tmp_path)


PHOTOS = st.lists(
    st.builds(
        Photo,
        path=st.text("abcäß 0/.", min_size=1, max_size=12).map(lambda text: "p/" + text.replace("..", "x")),
        label=st.sampled_from(CLASSES),
        sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
        width=st.integers(0, 9000),
        height=st.integers(0, 9000),
        group=st.integers(-1, 50),
        part=st.sampled_from(("train", "validation", "test")),
        faces=st.none()
        | st.lists(
            st.builds(Face, st.sampled_from(["masked", "bare", "incorrect"]), *[st.floats(0, 9999)] * 4), max_size=3
        ).map(tuple),
    ),
    max_size=8,
    unique_by=lambda photo: photo.path,
)


@settings(max_examples=60, deadline=None)
@given(PHOTOS, st.integers(0, 2**31))
def test_what_is_written_is_read(tmp_path_factory, photos, seed):
    folder = tmp_path_factory.mktemp("split")
    (folder / "data").mkdir()
    left_out = [Photo("z.jpg", "all", part="left_out", reason='because "ä"')]
    split = Split((folder / "data").resolve(), (*photos, *left_out), seed, {"test": 0.2, "skipped": []})
    write_split(split, folder / "sub" / "split.json")
    assert read_split(folder / "sub" / "split.json") == split
    assert json.loads((folder / "sub" / "split.json").read_text(encoding="utf-8"))["data"] == "../data"


def test_moved_photos(data, tmp_path):
    write_split(load_split(data), tmp_path / "split.json")
    data.rename(tmp_path / "moved")
    with pytest.raises(RunError, match="--data"):
        read_split(tmp_path / "split.json")
    assert read_split(tmp_path / "split.json", tmp_path / "moved").root == (tmp_path / "moved").resolve()


def test_split_and_data_move_together(data, tmp_path):
    write_split(load_split(data), tmp_path / "split.json")
    (tmp_path / "new").mkdir()
    data.rename(tmp_path / "new" / "data")
    (tmp_path / "split.json").rename(tmp_path / "new" / "split.json")
    assert read_split(tmp_path / "new" / "split.json").root == (tmp_path / "new" / "data").resolve()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("photos"), "is not a split"),
        (lambda s: s.update(seed="x"), "'seed' must be"),
        (lambda s: s["photos"].append("x"), "photo 2 has no path"),
        (lambda s: s["photos"].append(dict(s["photos"][0])), "stands in it twice"),
        (lambda s: s["photos"][0].update(path="../a.jpg"), "not a path below"),
        (lambda s: s["photos"][0].update(path="/a.jpg"), "not a path below"),
        (lambda s: s["photos"][0].update(label="1"), "label '1' is none of all, none, some"),
        (lambda s: s["photos"][0].update(part="val"), "part 'val' is none of train"),
        (lambda s: s["photos"][0].update(group="a"), "whole numbers"),
        (lambda s: s["photos"][0].update(sha256=1), "sha256 must be text"),
        (lambda s: s["photos"][0].update(faces=[["hat", 1, 2, 3, 4]]), r"a face is \[masked"),
        (lambda s: s["photos"][0].update(faces=[["masked", 1, 2]]), r"a face is \[masked"),
    ],
)
def test_broken_splits_are_refused_by_name(change, message, tmp_path):
    content = {"data": ".", "seed": 0, "photos": [{"path": "a.jpg", "label": "all", "part": "train"}]}
    change(content)
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=message) as error:
        read_split(tmp_path / "split.json")
    assert "split.json" in str(error.value) and "\n" not in str(error.value)


def test_verify_names_changed_and_missing_photos(data):
    split = load_split(data)
    assert verify(split, split.part("train")) == []
    photos = split.part("train")
    (data / photos[0].path).write_bytes(b"other")
    (data / photos[1].path).unlink()
    found = verify(split)
    assert {problem.path for problem in found} == {photos[0].path, photos[1].path}
    assert {"changed" in problem.reason for problem in found} == {True, False}


def test_a_data_set_or_a_split_alike(data, tmp_path):
    whole = load_photos(data)
    assert len(whole.photos) == 3 * 14 + 2 and {photo.part for photo in whole.photos} == {"train"}
    split = load_split(data)
    write_split(split, tmp_path / "split.json")
    assert is_split(tmp_path / "split.json") and not is_split(data)
    assert load_split(tmp_path / "split.json") == load_photos(tmp_path / "split.json") == split


def test_the_command(data, tmp_path):
    out = tmp_path / "split.json"
    found = CliRunner().invoke(cli, ["split", str(data), "--out", str(out), "--seed", "3"], standalone_mode=False)
    assert found.return_value == 1 and found.stdout == ""  # one photo is broken
    for text in ("some/broken.jpg: ", "left out, labels disagree: 2", "left out, exact duplicate: 3", "validation"):
        assert text in found.stderr
    assert read_split(out) == dataclasses.replace(load_split(data, seed=3))
    (data / "some" / "broken.jpg").unlink()
    again = CliRunner().invoke(cli, ["split", str(data), "--out", str(out), "--test", "0.3"], standalone_mode=False)
    assert again.return_value == 0
    assert len(read_split(out).part("test")) > len(load_split(data).part("test"))
    refused = CliRunner().invoke(cli, ["split", str(out), "--out", str(out)], standalone_mode=False)
    assert isinstance(refused.exception, ConfigError)
    wrong = CliRunner().invoke(cli, ["split", str(data), "--out", str(out), "--wear", "x"], standalone_mode=False)
    assert isinstance(wrong.exception, ConfigError) and "NAME=MEANING" in str(wrong.exception)


def test_a_class_without_photos_is_told(tmp_path: Path) -> None:
    for number, label in enumerate(CLASSES[:2]):
        for k in range(10):
            save(picture(100 * number + k), tmp_path / "data" / label / f"{k}.png")
    result = CliRunner().invoke(cli, ["split", str(tmp_path / "data"), "--out", str(tmp_path / "split.json")])
    assert result.exit_code == 0
    assert "warning: no photo of 'some' in train, validation, test: a classifier can't learn it" in result.stderr
    split = read_split(tmp_path / "split.json")
    assert absent(split.photos) == ("some",) and only_over(absent(split.photos)) == " over 'all' and 'none' only"
    moved = [dataclasses.replace(p, label="some") if p.part == "train" else p for p in split.photos]
    assert dataset.told_of_absent(Split(split.root, tuple(moved), 0)) == [
        "no photo of 'all' and 'none' in train: a classifier can't learn it",
        "no photo of 'some' in validation, test: averages over classes (macro-F1) leave it out",
    ]


def test_photos_of_nobody_by_name_are_split(tmp_path: Path) -> None:
    for number, name in enumerate((*CLASSES, "empty")):
        for k in range(6):
            save(picture(100 * number + k), tmp_path / "data" / name / f"{k}.png")
    out = tmp_path / "split.json"
    names = "all=all,none=none,some=some,empty=nobody"
    result = CliRunner().invoke(cli, ["split", str(tmp_path / "data"), "--classes", names, "--out", str(out)])
    assert result.exit_code == 0 and "warning" not in result.stderr
    assert Counter(photo.part for photo in read_split(out).photos if photo.label == "nobody") == {"train": 6}


def test_a_source_can_be_the_test_part(tmp_path: Path) -> None:
    """Photos whose names match are the test part; what shows the same as one of them is left out of the others."""
    rng = np.random.default_rng(0)
    for number in range(12):
        label = CLASSES[number % 3]
        (tmp_path / label).mkdir(exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)
        image.save(tmp_path / label / f"{'a' if number < 8 else 'b'}_{number}.png")
        if number == 8:
            image.save(tmp_path / label / "a_copy.jpg", quality=80)
    root, photos, _ = read_dataset(tmp_path)
    split = make_split(root, photos, test_source="b_*", validation=0.3)
    assert {Path(photo.path).name[0] for photo in split.part("test")} == {"b"} and len(split.part("test")) == 4
    assert {Path(photo.path).name[0] for photo in (*split.part("train"), *split.part("validation"))} == {"a"}
    (copy,) = (photo for photo in split.photos if "copy" in photo.path)
    assert copy.part == "left_out" and "shows the same as" in copy.reason
    for pattern in ("c_*", "*"):
        with pytest.raises(ConfigError, match="photo matches"):
            make_split(root, photos, test_source=pattern)


def test_photos_of_nobody_alone_are_told(tmp_path: Path) -> None:
    for number in range(3):
        save(picture(number), tmp_path / "nobody" / f"{number}.png")
    with pytest.raises(DataError, match="nobody is in any of its 3 photos"):
        load_split(tmp_path, options=Options(classes={"nobody": "nobody"}))


def test_a_test_source_and_given_parts_exclude_each_other(data: Path) -> None:
    with pytest.raises(ConfigError, match="ask for one of them"):
        load_split(data, test_source="a*", keep_parts=True)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_data_set_in_one_file_of_any_encoding(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(json.dumps({"images": [], "annotations": []}), encoding=encoding)
    assert not is_split(tmp_path / "set.json")
    (tmp_path / "set.json").write_text(json.dumps({"photos": []}), encoding=encoding)
    assert is_split(tmp_path / "set.json")


def test_what_a_further_set_lacks_is_told_and_nothing_leaks_past_photos_that_are_gone(tmp_path: Path) -> None:
    split = painted_split(tmp_path / "a", {"train": 2, "validation": 1, "test": 1})
    for number, label in enumerate(CLASSES):
        save(picture(number), tmp_path / "b" / f"{label}.png")
    rows = ["path,label", "gone.png,all", *(f"{label}.png,{label}" for label in CLASSES)]
    (tmp_path / "b" / "labels.csv").write_text("\n".join(rows))
    found = extend_split(split, [tmp_path / "b"])
    assert len(found.part("train")) == 9
    assert [one["path"] for one in found.settings["skipped"]] == ["b/labels.csv:2"]
    (split.root / split.part("test")[0].path).unlink()
    with pytest.raises(DataError, match="1 of the split's held-out photos can't be read"):
        extend_split(split, [tmp_path / "b"])
