"""``synth drawn``: repeatable, balanced, labelled as drawn, resumable."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("skia")

from allmasked.cli import cli
from allmasked.core.errors import ConfigError, DataError
from allmasked.core.types import CLASSES, Class
from allmasked.data.annotations import label_of
from allmasked.synth.drawn import draw as synth
from allmasked.synth.drawn import scenes
from allmasked.synth.drawn.people import Head, sample_person
from allmasked.synth.paint import masks
from allmasked.synth.paint.brush import Sheet
from allmasked.synth.paint.fabrics import PATTERNS
from allmasked.synth.paint.geometry import Light

SMALL = (200, 160)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 photos drawn in this process."""
    out = tmp_path_factory.mktemp("drawn") / "data"
    synth.draw_dataset(out, 12, 3, size=SMALL, workers=1)
    return out


# --- scenes --------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**31), label=st.sampled_from(CLASSES), people=st.integers(1, 6), wide=st.booleans())
def test_a_scene_shows_what_its_label_says(seed: int, label: Class, people: int, wide: bool) -> None:
    people = max(people, 2) if label == "some" else people
    width, height = (320, 240) if wide else (240, 320)
    image, faces = scenes.draw_scene(np.random.default_rng(seed), label, people, (width, height))
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
    assert len(faces) == people
    assert label_of(faces) == label
    for face in faces:
        assert 0 <= face.left < face.right <= width and 0 <= face.top < face.bottom <= height
        assert face.height_px >= 0.12 * height


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), people=st.integers(2, 6))
def test_lower_halves_of_faces_do_not_overlap(seed: int, people: int) -> None:
    rng = np.random.default_rng(seed)
    placed = scenes.arrange(rng, people, 640, 480)
    boxes = [scenes.face_box(sample_person(rng, "masked"), place.x, place.y, place.scale) for place in placed]
    low = [(left, (top + bottom) / 2, right, bottom) for left, top, right, bottom in boxes]
    assert not any(scenes.overlaps(a, b) for k, a in enumerate(low) for b in low[:k])


@pytest.mark.parametrize("size", [(480, 1000), (160, 2000)])
def test_narrow_photos_have_room_for_people(size: tuple[int, int]) -> None:
    for seed in range(20):
        for people in (1, 2, 6):
            for place in scenes.arrange(np.random.default_rng(seed), people, *size):
                assert 0 < place.x < size[0] and 0 < place.y < size[1]


def test_mask_changes_the_lower_face_only() -> None:
    """A worn mask covers nose, mouth and chin and leaves the eyes; under the nose it leaves the nose too."""
    from dataclasses import replace

    from allmasked.synth.drawn.portraits import paint_person

    base = replace(
        sample_person(np.random.default_rng(5), "masked"),
        glasses="",
        hat="",
        style="short",
        beard=False,
        extra="",
        roll=0.0,
        yaw=0.1,
    )
    style = masks.MaskStyle("surgical", ((0.0, 0.0, 255.0),))

    def blue_at(place: masks.Place, bare: bool = False) -> dict[str, bool]:
        person = replace(base, place=place, mask=None if bare else style)
        sheet = Sheet(200, 200)
        paint_person(sheet, person, 100, 90, 100, Light())
        face = Head(person).geometry
        pixels = sheet.rgba()[..., :3].astype(int)
        points: dict[str, Any] = {
            "brow": face.middle(-0.05),
            "nose": face.nose,
            "mouth": face.mouth,
            "chin": face.middle(0.95),
        }
        found = {}
        for name, (x, y) in points.items():
            red, _, blue = pixels[round(90 + y * 100), round(100 + x * 100)]
            found[name] = bool(blue > red + 30)
        return found

    assert blue_at("worn") == {"brow": False, "nose": True, "mouth": True, "chin": True}
    assert blue_at("under_nose") == {"brow": False, "nose": False, "mouth": True, "chin": True}
    assert blue_at("on_chin") == {"brow": False, "nose": False, "mouth": False, "chin": True}
    assert not any(blue_at("worn", bare=True).values())


@pytest.mark.parametrize("kind", list(masks.DETAILS))
@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_every_mask_is_painted_in_every_place(kind: masks.Kind, pattern: str) -> None:
    face = Head(sample_person(np.random.default_rng(1), "masked")).geometry
    style = masks.MaskStyle(kind, ((40.0, 90.0, 200.0), (250.0, 240.0, 60.0), (200.0, 40.0, 40.0)), pattern, seed=4)
    for place in masks.LIES:
        sheet = Sheet(80, 80)
        with sheet.moved(40, 40, scale=60):
            masks.paint_mask(sheet, face, style, place, Light())
        assert (sheet.rgba()[..., 3] > 200).sum() > 150


def test_geometry_follows_the_face() -> None:
    """Corners of (u, v) are the landmarks, and a face turned to the right says so."""
    for yaw in (-0.5, 0.0, 0.5):
        from dataclasses import replace

        face = Head(replace(sample_person(np.random.default_rng(2), "masked"), yaw=yaw, roll=0.0)).geometry
        assert face.at(0, 0) == pytest.approx(face.eyes, abs=1e-6)
        assert face.at(0, 1) == pytest.approx(np.asarray(face.chin), abs=1e-6)
        assert face.at(1, 0.4) == pytest.approx(face.edge(1, 0.4), abs=0.06)
        assert np.sign(round(face.yaw, 1)) == np.sign(yaw)


@pytest.mark.parametrize(("label", "people"), [("some", 1), ("all", 0), ("none", 7)])
def test_impossible_scenes_are_refused(label: Class, people: int) -> None:
    with pytest.raises(ValueError, match="people"):
        scenes.draw_scene(np.random.default_rng(0), label, people)


# --- data sets -----------------------------------------------------------------------------------------------------


def test_same_seed_same_files_whatever_the_workers(drawn: Path, tmp_path: Path) -> None:
    synth.draw_dataset(tmp_path / "two", 12, 3, size=SMALL, workers=2)
    assert digests(tmp_path / "two") == digests(drawn)


def test_another_seed_gives_other_photos(drawn: Path, tmp_path: Path) -> None:
    synth.draw_dataset(tmp_path / "other", 3, 4, size=SMALL, workers=1)
    first, second = digests(drawn), digests(tmp_path / "other")
    photos = [name for name in second if name.endswith(".jpg")]
    assert len(photos) == 3 and all(first[name] != second[name] for name in photos)


def test_folders_tables_and_manifest_agree(drawn: Path) -> None:
    photos = {path.relative_to(drawn).as_posix() for path in drawn.glob("*/*.jpg")}
    with (drawn / "faces.csv").open(encoding="utf-8", newline="") as file:
        assert file.readline().strip() == "photo,wear,left,top,right,bottom"
        file.seek(0)
        faces = list(csv.DictReader(file))
    assert {row["photo"] for row in faces} == photos
    assert Counter(name.split("/")[0] for name in photos) == dict.fromkeys(CLASSES, 4)
    for name in photos:
        wears = [row["wear"] for row in faces if row["photo"] == name]
        masked = wears.count("masked")
        assert name.split("/")[0] == ("none" if masked == 0 else "all" if masked == len(wears) else "some")
        with Image.open(drawn / name) as image:
            assert image.size == SMALL
            image.load()
    manifest = json.loads((drawn / "synth.json").read_text())
    assert manifest["finished"] and manifest["settings"]["seed"] == 3
    assert {record["photo"] for record in manifest["photos"]} == photos
    assert sum(len(record["faces"]) for record in manifest["photos"]) == len(faces)
    assert not (drawn / synth.JOURNAL).exists()


def test_neither_count_nor_size_gives_the_class_away() -> None:
    """People, smallest face and photo size are spread alike over the classes (photos of two people or more)."""
    rng = np.random.default_rng(0)
    bare = Counter(wear for _ in range(2000) for wear in scenes.wears(rng, "none", [0.16, 0.2, 0.3]))
    assert 0.1 < bare["incorrect"] / bare.total() < 0.17
    assert "incorrect" not in {wear for _ in range(500) for wear in scenes.wears(rng, "none", [0.15, 0.18])}
    shares = synth.PEOPLE_SHARES
    assert sum(shares.values()) == pytest.approx(1) and shares[1] <= 0.15
    masked = [sum(wear == "masked" for wear in scenes.wears(rng, "some", [0.2] * 6)) for _ in range(500)]
    assert set(masked) == {1, 2, 3, 4, 5}


def test_a_stopped_run_goes_on_and_ends_the_same(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "data"
    real, calls = synth.draw_photo, list[object]()

    def stopping(*arguments: object) -> dict[str, object]:
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(arguments[-1])
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(synth, "draw_photo", stopping)
    with pytest.raises(KeyboardInterrupt):
        synth.draw_dataset(out, 12, 3, size=SMALL, workers=1)
    assert not json.loads((out / "synth.json").read_text())["finished"]
    with (out / synth.JOURNAL).open("a") as journal:
        journal.write('{"index": 5, "pho')  # as a kill in the middle of a line leaves it
    (out / "all" / "0000.jpg").write_bytes((out / "all" / "0000.jpg").read_bytes()[:500])  # as a full disk leaves it
    (out / "all" / ".allmasked-0003-half.jpg").write_bytes(b"half")  # as a kill while writing leaves it
    monkeypatch.setattr(synth, "draw_photo", real)
    summary = synth.draw_dataset(out, 12, 3, size=SMALL, workers=1)
    assert (summary.kept, summary.drawn) == (4, 8)
    assert digests(out) == digests(drawn)
    again = synth.draw_dataset(out, 12, 3, size=SMALL, workers=1)
    assert (again.kept, again.drawn) == (12, 0)
    assert digests(out) == digests(drawn)


def test_other_folders_are_left_alone(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="not empty"):
        synth.draw_dataset(tmp_path, 3, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(DataError, match=r"other settings \(seed 3\)"):
        synth.draw_dataset(drawn, 12, 9, size=SMALL)
    with pytest.raises(DataError, match="is a file"):
        synth.draw_dataset(tmp_path / "mine.txt", 3, 0)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "synth.json").write_text("[]")
    with pytest.raises(DataError, match="manifest"):
        synth.draw_dataset(tmp_path / "broken", 3, 0)


@pytest.mark.parametrize("wrong", [{"photos": 0}, {"seed": -1}, {"size": (10, 10)}, {"workers": 0}])
def test_wrong_settings_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        synth.draw_dataset(tmp_path / "data", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "data").exists()


def test_command_and_sheet(tmp_path: Path) -> None:
    arguments = ["synth", "drawn", str(tmp_path / "data"), "--photos", "3", "--size", "200x160", "--workers", "1"]
    result = CliRunner().invoke(cli, [*arguments, "--sheet", str(tmp_path / "sheet.png")])
    assert result.exit_code == 0, result.output
    assert result.stdout == "all\t1\nnone\t1\nsome\t1\n"
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 600
