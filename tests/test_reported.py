"""Inputs that people report about face mask data sets and photo tools: read right, or told; never silently wrong.

Each names the kind of report that it stands for (tool and number of the report).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from allmasked.core.errors import DataError
from allmasked.data.readers import read, read_dataset
from allmasked.images import pixels
from allmasked.inspection.boxes import odd_boxes
from allmasked.inspection.inspect import inspect
from colour_model import picture
from test_readers import CLASSES, LABELS, MARKED, SIZE, make_coco, photo, voc_xml, write

ALL = {**LABELS, "e.jpg": "nobody"}


def labels(root: Path, **settings: Any) -> dict[str, str]:
    return {Path(p.path).name: p.label for p in read_dataset(root, **settings)[1]}


def told(root: Path) -> str:
    return "\n".join(f"{problem.path}: {problem.reason}" for problem in read(root).problems)


def coco(root: Path) -> dict[str, Any]:
    """A COCO file's content, its photos in ``images``."""
    make_coco(root / "made")
    content: dict[str, Any] = json.loads((root / "made/annotations/instances_train.json").read_text())
    (root / "made/annotations/instances_train.json").unlink()
    (root / "made/train").rename(root / "images")
    return content


def yolo(root: Path, change: Any = lambda line: line, more: str = "") -> None:
    for name, faces in MARKED.items():
        photo(root / "images" / name)
        lines = [
            f"{CLASSES.index(wear)} {(x + right) / 2 / SIZE[0]} {(y + bottom) / 2 / SIZE[1]} "
            f"{(right - x) / SIZE[0]} {(bottom - y) / SIZE[1]}"
            for wear, x, y, right, bottom in faces
        ]
        write(root / "labels" / f"{name[0]}.txt", "\n".join(map(change, lines)) + more * bool(lines))
    write(root / "classes.txt", "\n".join(CLASSES))


def test_coco_categories_numbered_from_another_number(tmp_path: Path) -> None:
    """label-studio 9366: an export's category ids are shifted, every mark is its neighbour's."""
    content = coco(tmp_path)
    for step in (-1, 1):
        moved = [{**row, "category_id": row["category_id"] + step} for row in content["annotations"]]
        write(tmp_path / "result.json", json.dumps({**content, "annotations": moved}))
        with pytest.raises(DataError, match=r"result\.json: its annotations have the category_ids .*numbered from 0"):
            read(tmp_path)
    rows = content["annotations"]
    rows[0] = {**rows[0], "category_id": 77}  # of a category that was deleted: only its photo is unknown
    write(tmp_path / "result.json", json.dumps(content))
    assert labels(tmp_path) == {name: label for name, label in ALL.items() if name != "a.jpg"}
    assert "category_id is not in the file, so the label of images/a.jpg is unknown" in told(tmp_path)


def test_coco_paths_of_another_machine(tmp_path: Path) -> None:
    """label-studio 9366: names are paths into the tool's own storage, with a prefix, on Windows."""
    content = coco(tmp_path)
    for row in content["images"]:
        (tmp_path / "images" / row["file_name"]).rename(tmp_path / "images" / f"1a2b3c4d-{row['file_name']}")
        row["file_name"] = f"..\\..\\data\\media\\upload\\1\\1a2b3c4d-{row['file_name']}"
    write(tmp_path / "result.json", json.dumps(content))
    assert labels(tmp_path) == {f"1a2b3c4d-{name}": label for name, label in ALL.items()}


def test_two_annotators_in_one_coco_file(tmp_path: Path) -> None:
    """label-studio-converter 177: each annotator's marks of a photo stand as a photo of their own."""
    content = coco(tmp_path)
    content["images"].append({**content["images"][2], "id": 102})
    content["annotations"].append({**content["annotations"][0], "image_id": 102})
    write(tmp_path / "result.json", json.dumps(content))
    assert labels(tmp_path) == {name: label for name, label in ALL.items() if name != "c.jpg"}
    assert "names its photo twice, so the label of images/c.jpg is unknown" in told(tmp_path)


def test_spaces_around_the_cells_of_a_table(tmp_path: Path) -> None:
    """fastai 937."""
    for name in LABELS:
        photo(tmp_path / "photos" / name)
    rows = [f" {label} , photos/{name} " for name, label in LABELS.items()]
    write(tmp_path / "labels.csv", "\n".join([" label, image ", *rows]))
    assert labels(tmp_path) == LABELS


def test_names_that_a_spreadsheet_made_numbers(tmp_path: Path) -> None:
    """fastai 1008: 0001 became 1; it is not guessed which photo that is."""
    for number in range(1, 12):
        photo(tmp_path / "photos" / f"{number:04}.jpg")
    write(tmp_path / "labels.csv", "image,label\n" + "\n".join(f"{number},all" for number in range(1, 12)))
    with pytest.raises(DataError, match=r"labels\.csv:2: there is no photo 1 "):
        read(tmp_path)


def test_a_table_without_a_first_line_of_names(tmp_path: Path) -> None:
    """deepplantphenomics 41: no header, and a byte order mark before the first name."""
    for name in LABELS:
        photo(tmp_path / "photos" / name)
    write(tmp_path / "labels.csv", "\ufeff" + "\n".join(f"{name};{label}" for name, label in LABELS.items()))
    with pytest.raises(DataError, match=r"labels\.csv is of none of these layouts: .*first line names its columns"):
        read(tmp_path)


def test_kitti_labels(tmp_path: Path) -> None:
    """NVIDIA-AI-IOT/face-mask-detection 13 and 14: a layout that isn't read says so, naming a file."""
    for name, faces in MARKED.items():
        photo(tmp_path / "train/images" / name)
        lines = [f"Mask 0 0 0 {x} {y} {right} {bottom} 0 0 0 0 0 0 0" for _, x, y, right, bottom in faces]
        write(tmp_path / "train/labels" / f"{name[0]}.txt", "\n".join(lines))
    with pytest.raises(DataError, match=r"train/labels/a\.txt is of none of these layouts: export it as COCO"):
        read(tmp_path)


def test_decimal_commas(tmp_path: Path) -> None:
    """Written by a program in a language with decimal commas: unknown, and nobody is not what they say."""
    yolo(tmp_path, lambda line: line.replace(".", ","))
    assert labels(tmp_path) == {"e.jpg": "nobody"}
    assert "labels/a.txt:1: '0 0,1875" in told(tmp_path)


def test_a_face_marked_twice_and_one_over_the_edge(tmp_path: Path) -> None:
    """yolov5 5210, yolov5-face 270: such photos were ignored as corrupt; here labels stay, and the boxes are told."""
    yolo(tmp_path, more="\n1 -0.04 0.5 0.2 0.2\n1 -0.04 0.5 0.2 0.2")
    found = read(tmp_path)
    assert {Path(p.path).name: p.label for p in found.photos} == {**ALL, "a.jpg": "some"}
    sized = [p.__class__(p.path, p.label, width=SIZE[0], height=SIZE[1], faces=p.faces) for p in found.photos]
    kinds = {(Path(odd.path).name, odd.kind) for odd in odd_boxes(sized)}
    assert {(name, kind) for name in LABELS for kind in ("outside", "twice")} <= kinds


def test_voc_without_sizes_and_with_a_flat_box(tmp_path: Path) -> None:
    """head-detection-using-yolo 13: sizes of 0, boxes without area."""
    for name, faces in MARKED.items():
        photo(tmp_path / "images" / name)
        xml = voc_xml(name, faces).replace("<filename>", "<size><width>0</width><height>0</height></size><filename>")
        xml = xml.replace("<xmax>20</xmax>", "<xmax>4</xmax>") if name == "b.jpg" else xml
        write(tmp_path / "annotations" / f"{name[0]}.xml", xml)
    assert labels(tmp_path) == {name: label for name, label in ALL.items() if name != "b.jpg"}
    assert "is no box (edges in px), so the label of images/b.jpg is unknown" in told(tmp_path)


def test_two_photos_of_one_name(tmp_path: Path) -> None:
    """photoprism 5013: a phone's a.jpg and a.heic show different pictures; whose label is it?"""
    yolo(tmp_path)
    photo(tmp_path / "images" / "a.png", seed=9)
    assert labels(tmp_path) == {name: label for name, label in ALL.items() if name != "a.jpg"}
    assert "labels/a.txt could be of images/a.jpg or images/a.png" in told(tmp_path)


def test_photos_of_other_kinds_are_told(tmp_path: Path) -> None:
    """Pictures saved from the web or a camera whose ending isn't known were left out without a word."""
    for label in ("all", "none", "some"):
        (tmp_path / label).mkdir()
        picture(label, (160, 120)).save(tmp_path / label / "x.png")
    for name in ("a.jpg_large", "b.jpg_large", "c.DNG"):
        (tmp_path / "all" / name).write_bytes(b"x")
    text = told(tmp_path)
    assert "all/a.jpg_large: and 1 more are not read, being .jpg_large: save as JPEG or PNG" in text
    assert "all/c.DNG: is not read, being .dng" in text
    assert [finding.count for finding in inspect(tmp_path).findings if finding.key == "skipped"] == [2]


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_an_animation_that_begins_empty(kind: str, tmp_path: Path) -> None:
    """Pillow 6590: the first picture of an animation is black, and was answered with "nobody"."""
    shown = picture("some", (160, 120))
    blank = Image.new("RGB", shown.size, "black")
    more = {"lossless": True} if kind == "webp" else {}
    blank.save(tmp_path / f"x.{kind}", save_all=True, append_images=[blank, shown, blank], duration=100, **more)
    found = np.asarray(pixels.decode(tmp_path / f"x.{kind}"), float)
    assert np.abs(found - np.asarray(shown, float)).mean() < 6
    blank.save(tmp_path / f"b.{kind}", save_all=True, append_images=[Image.new("RGB", shown.size, "white")], **more)
    assert pixels.decode(tmp_path / f"b.{kind}").getcolors(2) == [(160 * 120, (0, 0, 0))], "nothing but empty ones"
