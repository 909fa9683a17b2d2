"""Boxes that make no sense are found, and no others."""

from pathlib import Path

import numpy as np
from PIL import Image

from allmasked.core.types import Face, Photo
from allmasked.inspection.boxes import drawn_elsewhere, odd_boxes
from allmasked.inspection.inspect import inspect
from allmasked.reports.inspection_page import make_page


def photo(*boxes: tuple, size: tuple[int, int] = (320, 240)) -> Photo:
    return Photo("x.jpg", "all", width=size[0], height=size[1], faces=tuple(Face(*box) for box in boxes))


def test_each_oddity_is_found_and_no_other():
    sound = [("masked", 10, 10, 60, 70), ("masked", 50, 10, 100, 70), ("bare", 290, 180, 322, 236)]
    assert odd_boxes([photo(*sound)]) == [] and odd_boxes([Photo("x.jpg", "all")]) == []
    for box, kind in (
        (("masked", 300, 10, 360, 80), "outside"),
        (("masked", 400, 10, 460, 80), "outside"),
        (("masked", 0, 0, 320, 240), "whole"),
        (("masked", 150, 10, 152, 80), "shape"),
        (("masked", 150, 10, 300, 40), "shape"),
        (("masked", 12, 10, 60, 72), "twice"),
        (("bare", 12, 10, 60, 72), "contradict"),
        (("unknown", 12, 10, 60, 72), "twice"),
    ):
        assert [(odd.kind, odd.left) for odd in odd_boxes([photo(*sound, box)])] == [(kind, box[1])], box


def test_boxes_drawn_on_another_picture_are_seen_as_a_whole():
    rng = np.random.default_rng(0)
    faces = [[(x, y, x + 30, y + 40) for x, y in rng.uniform(0, (290, 200), (3, 2))] for _ in range(40)]

    def told(change, size=(320, 240)):
        return drawn_elsewhere([photo(*(("masked", *change(*box)) for box in boxes), size=size) for boxes in faces])

    assert told(lambda *box: box) == ""
    assert "smaller" in told(lambda *box: [edge / 2 for edge in box])
    assert "larger" in told(lambda *box: [edge * 2 for edge in box])
    assert "turned" in told(lambda *box: box, size=(240, 320))


def test_inspect_tells_and_shows_them(tmp_path: Path):
    rng = np.random.default_rng(0)
    rows = ["photo,wear,left,top,right,bottom"]
    for number, label in enumerate(("all", "none", "some")):
        (tmp_path / label).mkdir()
        values = rng.integers(0, 255, (12, 16, 3), np.uint8)
        Image.fromarray(values).resize((160, 120)).save(tmp_path / label / "x.png")
        rows.append(f"{label}/x.png,{'masked' if number != 1 else 'bare'},150,20,190,60")
    (tmp_path / "faces.csv").write_text("\n".join(rows))
    found = inspect(tmp_path)
    (finding,) = (finding for finding in found.findings if finding.key == "boxes_outside")
    assert finding.text == "boxes reaching out of their photo: 3"
    assert {box["path"] for box in found.to_json()["odd_boxes"]} == {"all/x.png", "none/x.png", "some/x.png"}
    page = make_page(found, tmp_path / "page.html").read_text()
    assert "Boxes that make no sense: 3" in page and "Read as folders" in page
