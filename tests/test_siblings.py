"""Augmented copies and frames of a video stay together; parts that a data set brings can be kept."""

import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from allmasked.cli import cli
from allmasked.core.errors import ConfigError
from allmasked.core.types import CLASSES
from allmasked.data.dataset import load_split, read_split, write_split
from allmasked.data.extending import extend_split
from allmasked.data.siblings import same_source, source_of
from allmasked.inspection.inspect import inspect


def noise(path: Path, seed: int) -> None:
    """A picture like no other: nothing but its name says where it comes from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    Image.fromarray(values).resize((160, 120), Image.Resampling.BICUBIC).save(path)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("IMG_7_jpg.rf.0000000000000000000000000000000e.jpg", "img_7"),
        ("maksssksksss12_png.rf.QyJ0eXAiOiJ.jpg", "maksssksksss12"),
        ("street.jpeg.rf.1a2b3c4d.png", "street"),
        ("all_original_street 1.jpg_0f9e8d7c-0a1b-4c2d-8e3f-001122334455.jpg", "street 1.jpg"),
        ("Augmented_122_9323371.png", "augmented_122"),
        ("aug_0_1234.jpeg", "aug_0"),
        ("street_aug_3.jpg", "street"),
        ("street-augmented-12.jpg", "street"),
        ("aug_3_street.jpg", "street"),
        ("street_flip.jpg", "street"),
        ("street_hflip_rot90.jpg", "street"),
        ("flipped_street.jpg", "street"),
        ("street - copy.jpg", "street"),
        ("IMG_2020_1234.jpg", "img_2020_1234"),
        ("august_5.jpg", "august_5"),
        ("crowd.jpg", "crowd"),
    ],
)
def test_names_of_copies(name, source):
    assert source_of(f"train/{name}")[0] == source


def test_what_may_be_a_photos_own_name_counts_only_beside_its_source():
    paths = ["a/street_dark.jpg", "a/street_blur.jpg", "b/park.jpg", "b/park_dark.jpg", "c/park_rot90.jpg"]
    assert [(pair.a, pair.b, pair.kind) for pair in same_source(paths)] == [(2, 3, "source"), (2, 4, "source")]


@pytest.mark.parametrize("name", ["IMG_{0}_jpg.rf.{1:032x}.jpg", "IMG_{0}_aug_{1}.png", "x_original_{0}.jpg_"
                                  "{1:08x}-0a1b-4c2d-8e3f-001122334455.jpg"])  # fmt: skip
def test_one_source_is_one_group_and_one_part(name, tmp_path):
    for number in range(24):
        for copy in range(3):
            noise(tmp_path / CLASSES[number % 3] / name.format(number, 10 * number + copy), 10 * number + copy)
    split = load_split(tmp_path)
    parts, groups = defaultdict(set), defaultdict(set)
    for photo in split.photos:
        parts[source_of(photo.path)].add(photo.part)
        groups[source_of(photo.path)].add(photo.group)
    assert len(parts) == 24 and all(len(found) == 1 for found in parts.values())
    assert all(len(found) == 1 for found in groups.values()) and len({g for f in groups.values() for g in f}) == 24
    assert all(split.part(part) for part in ("train", "validation", "test"))
    finding = next(finding for finding in inspect(tmp_path).findings if finding.key == "augmented")
    assert finding.text == "72 photos made from 24 sources, by their names"


def test_copies_of_one_source_may_have_other_labels(tmp_path):
    """A crop may cut somebody off: that is no wrong label."""
    for number in range(8):
        for copy, label in enumerate(CLASSES):
            noise(tmp_path / label / f"{number}_jpg.rf.{10 * number + copy:032x}.jpg", 10 * number + copy)
    split = load_split(tmp_path)
    assert not split.part("left_out") and len({photo.group for photo in split.photos}) == 8


def test_no_augmented_copy_of_a_held_out_photo_is_added(tmp_path):
    for number in range(18):
        noise(tmp_path / "a" / CLASSES[number % 3] / f"{number}_jpg.rf.{number:032x}.jpg", number)
        noise(tmp_path / "b" / CLASSES[number % 3] / f"{number}_jpg.rf.{100 + number:032x}.jpg", 100 + number)
    write_split(load_split(tmp_path / "a"), tmp_path / "split.json")
    split = extend_split(read_split(tmp_path / "split.json"), [tmp_path / "b"])
    held_out = {source_of(p.path) for part in ("validation", "test") for p in split.part(part)}
    assert held_out and not held_out & {source_of(photo.path) for photo in split.part("train")}


# --- frames of a video ------------------------------------------------------------------------------------------------


def street(seed: int, at: float | None = None) -> Image.Image:
    """A street of its own; with a group of people who have come so far (0-1) towards the camera."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (7, 12, 3), np.uint8)).resize((400, 225), Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 255, (28, 50, 3), np.uint8)).resize((400, 225), Image.Resampling.BICUBIC)
    image = Image.blend(coarse, fine, 0.6)
    if at is not None:
        pen = ImageDraw.Draw(image)
        wide, high = round(40 + 60 * at), round(60 + 120 * at)
        for person in range(3):
            left, top = 60 + person * 90 + round(40 * at), 215 - high
            pen.rectangle((left, top, left + wide, 215), fill=(20 + 15 * person, 20, 30))
            pen.ellipse((left + wide // 4, top - 20, left + 3 * wide // 4, top + 15), fill=(220, 180, 150))
    return image


@pytest.mark.parametrize("name", ["frame_{:04d}.jpg", "clip-{}.png", "clip_mp4-{}_jpg.rf.0a1b2c3d4e5f.jpg"])
def test_frames_of_a_video_are_one_group_and_other_numbered_photos_are_not(name, tmp_path):
    for number in range(36):
        image = street(1, (number - 10) / 24) if 10 <= number < 22 else street(100 + number, 0.5)
        if number == 15:
            image = street(999)  # another shot of the same video
        path = tmp_path / CLASSES[number % 3] / name.format(number)
        path.parent.mkdir(exist_ok=True)
        image.save(path)
    split = load_split(tmp_path)
    by_number = {int(re.findall(r"\d+", source_of(photo.path)[0])[-1]): photo.group for photo in split.photos}
    assert {number for number, group in by_number.items() if group == by_number[10]} == set(range(10, 22))
    assert len(set(by_number.values())) == 36 - 11
    assert len({photo.part for photo in split.photos if photo.group == by_number[10]}) == 1


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """6 photos a class in train, 2 in valid and test; one of train stands in test, too, and one in valid smaller."""
    seed = 0
    for part, count in (("train", 6), ("valid", 2), ("test", 2)):
        for label in CLASSES:
            for number in range(count):
                noise(tmp_path / part / label / f"{part}{number}.png", seed := seed + 1)
    first = tmp_path / "train/all/train0.png"
    (tmp_path / "test/all/again.png").write_bytes(first.read_bytes())
    Image.open(tmp_path / "train/none/train0.png").resize((120, 90)).save(tmp_path / "valid/none/small.png")
    return tmp_path


def test_parts_given_are_kept_and_twins_counted(parted, tmp_path):
    out = tmp_path / "split.json"
    command = ["split", str(parted), "--out", str(out), "--parts", "given"]
    found = CliRunner().invoke(cli, command, standalone_mode=False)
    assert found.return_value == 0 and "4 photos have a twin in another part" in " ".join(found.stderr.split())
    split = read_split(out)
    assert Counter(p.part for p in split.photos) == {"train": 18, "validation": 7, "test": 7}
    assert all(p.part == {"train": "train", "valid": "validation", "test": "test"}[p.path.split("/")[0]]
               for p in split.photos)  # fmt: skip
    assert split.settings["twins"] == {"copies": 4, "scenes": 4} and split.settings["parts"] == "given"


def test_a_part_that_is_not_given_is_taken_from_training(parted):
    for folder in ("all", "none", "some"):
        for file in (parted / "test" / folder).iterdir():
            file.unlink()
    split = load_split(parted, keep_parts=True)
    assert len(split.part("validation")) == 7 and 0 < len(split.part("test")) < 9
    assert all(photo.path.startswith("train/") for photo in split.part("test"))


def test_no_parts_to_keep(tmp_path):
    for number, label in enumerate(CLASSES):
        noise(tmp_path / label / "x.png", number)
    with pytest.raises(ConfigError, match="brings none"):
        load_split(tmp_path, keep_parts=True)


def test_photos_without_people_train_or_are_left_out(parted):
    for part in ("train", "test"):
        noise(parted / part / "nobody" / f"{part}.png", len(part) + 500)
    (parted / "train/nobody/seen.png").write_bytes((parted / "test/nobody/test.png").read_bytes())
    by_path = {p.path: p for p in load_split(parted, keep_parts=True).photos}
    assert by_path["train/nobody/train.png"].part == "train"
    assert by_path["test/nobody/test.png"].reason.startswith("nobody is there")
    assert by_path["train/nobody/seen.png"].reason.startswith("shows the same as test/nobody/test.png")
    made = load_split(parted)
    assert {p.part for p in made.photos if p.label == "nobody"} == {"train", "left_out"}
