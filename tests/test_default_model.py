"""The parts of scripts/default_model.py that decide what is taught."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from allmasked.core.errors import ConfigError
from allmasked.core.types import Face, FoundFace, Photo
from allmasked.data.dataset import read_split, write_split
from conftest import load_script, make_split

script = load_script("default_model")

FOUND = FoundFace("bare", 0.9, 10, 10, 40, 50, 0.1)


@pytest.mark.parametrize(
    ("label", "score", "wear", "expected"),
    [
        ("none", 0.9, "bare", "bare"),
        ("all", 0.9, "masked", "masked"),
        ("all", 0.9, "bare", None),  # contradicts the label
        ("none", 0.3, "bare", None),  # not sure
        ("some", 0.9, "bare", None),
    ],
)
def test_a_photo_without_boxes_gets_those_that_agree_with_its_label(label, score, wear, expected):  # type: ignore[no-untyped-def]
    face = FoundFace(wear, score, 10, 10, 40, 50)
    faces, _ = script.with_found(Photo("a.jpg", label), [face])
    assert (faces and faces[0].wear) == expected


def test_an_unmarked_face_is_unknown_and_a_marked_one_is_left_alone() -> None:
    marked = Face("masked", 12, 12, 42, 52)
    faces, _ = script.with_found(Photo("a.jpg", "all", faces=(marked,)), [FOUND])
    assert faces == (marked,)
    other = FoundFace("bare", 0.9, 100, 10, 140, 60)
    faces, _ = script.with_found(Photo("a.jpg", "all", faces=(marked,)), [FOUND, other])
    assert faces == (marked, Face("unknown", 100, 10, 140, 60))
    faces, _ = script.with_found(Photo("a.jpg", "nobody", faces=()), [other])
    assert faces == (), "nobody is there: that is known"


def test_what_shows_the_same_as_a_photo_held_out_is_not_trained_on(tmp_path: Path) -> None:
    split = make_split(tmp_path / "data", {"train": 3, "validation": 2, "test": 1}, size=(160, 120))
    write_split(split, tmp_path / "data" / "split.json")
    split = read_split(tmp_path / "data" / "split.json")
    copy = split.part("train")[0]
    other = tmp_path / "data" / "held"
    (other / "all").mkdir(parents=True)
    (other / "all" / "copy.png").write_bytes((split.root / copy.path).read_bytes())
    held = script.hold_out(split, [other])
    parts = {photo.path: photo.part for photo in held.photos}
    assert parts[copy.path] == "left_out" and parts["held/all/copy.png"] == "test"
    assert len(held.part("train")) == len(split.part("train")) - 1


def test_the_union_trains_on_what_either_trains_on(tmp_path: Path) -> None:
    split = make_split(tmp_path / "data", {"train": 3, "validation": 2, "test": 1})
    first, second = (
        dataclasses.replace(
            split, photos=tuple(dataclasses.replace(p, part="left_out") if p == out else p for p in split.photos)
        )
        for out in split.part("train")[:2]
    )
    assert script.union([first, second]).photos == tuple(sorted(split.photos, key=lambda p: p.path))
    assert len(first.part("train")) == len(split.part("train")) - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot be read"), ("x = [", "cannot be read"), ("[data]", r"in \[data\]"), ("", r"table \[data\]")],
)
def test_a_plan_that_is_none_is_told_before_anything_is_made(text: str | None, message: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    if text is not None:
        plan.write_text(text)
    with pytest.raises(ConfigError, match=message):
        script.read_plan(plan)
    assert script.read_plan(script.PLAN)["data"]["fold_a"]
