"""scripts/pack.py: what trains on another machine is what would train here."""

from __future__ import annotations

import dataclasses
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from allmasked.core.errors import RunError
from allmasked.core.types import Face, InputSpec
from allmasked.data.cache import content_of
from allmasked.data.dataset import read_split
from allmasked.images.pixels import read
from conftest import load_script, make_split

script = load_script("pack")


def test_packed_photos_are_the_same_photos_with_faces_to_scale(tmp_path: Path) -> None:
    split = make_split(tmp_path / "data", {"train": 4, "validation": 2, "test": 2}, size=(160, 120))
    faces = (Face("masked", 40, 20, 80, 60),)
    split = dataclasses.replace(split, photos=tuple(dataclasses.replace(p, faces=faces) for p in split.photos))
    fewer = dataclasses.replace(split, photos=split.photos[1:])
    parts = script.pack({"one": split, "two": fewer}, tmp_path / "packed", (80, 80), 1500)
    assert parts > 1, "parts are small"
    names = []
    for number in range(1, parts + 1):
        with tarfile.open(tmp_path / "packed" / f"part-{number:02d}.tar") as archive:
            names += archive.getnames()
            archive.extractall(tmp_path / "packed", filter="data")
    taught = [photo for photo in split.photos if photo.part != "test"]
    assert len(names) == len(set(names)) == len(taught), "each photo once, no test photo"
    there = read_split(tmp_path / "packed" / "one.json")
    by_path = {photo.path: photo for photo in there.photos}
    assert len(read_split(tmp_path / "packed" / "two.json").photos) >= len(taught) - 1
    for photo in taught:
        copy = by_path[script.path_of(photo)]
        assert (copy.label, copy.part, copy.group) == (photo.label, photo.part, photo.group)
        assert (copy.width, copy.height) == (80, 60)
        assert copy.faces == (Face("masked", 20, 10, 40, 30),)
        ours = read(content_of(split, photo), InputSpec((80, 60), "stretch"), name=photo.path)
        theirs = read(content_of(there, copy), InputSpec((80, 60), "stretch"), name=copy.path)
        assert np.abs(ours.astype(int) - theirs).mean() < 8, "WebP loses little"


def test_a_small_photo_is_not_enlarged_and_two_folders_are_refused(tmp_path: Path) -> None:
    one = make_split(tmp_path / "one", {"train": 3}, size=(80, 60))
    two = make_split(tmp_path / "two", {"train": 3}, size=(80, 60))
    script.pack({"one": one}, tmp_path / "packed", (640, 480), 10**6)
    with tarfile.open(tmp_path / "packed" / "part-01.tar") as archive:
        file = archive.extractfile(archive.getmembers()[0])
        assert file is not None
        assert Image.open(file).size == (80, 60)
    with pytest.raises(RunError, match="several folders"):
        script.pack({"one": one, "two": two}, tmp_path / "other", (640, 480), 10**6)
