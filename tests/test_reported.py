"""Inputs that people report about face mask data sets and photo tools: read right, or told; never silently wrong.

Each names the kind of report that it stands for (tool and number of the report).
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from allmasked.core.errors import DataError, PhotoError
from allmasked.data.readers import read, read_dataset
from allmasked.images import pixels
from allmasked.inspection.boxes import odd_boxes
from allmasked.inspection.inspect import inspect
from allmasked.predictors.photo_files import find_photos
from allmasked.watching import sources
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


@pytest.mark.parametrize("kind", ["csv", "json", "folders"])
def test_none_may_be_a_missing_value(kind: str, tmp_path: Path) -> None:
    """pandas 15165: programs write None where a value is missing; it was read as the class none."""

    def make(root: Path, names: list[str | None]) -> Path:
        shown = {f"{number}.jpg": name for number, name in enumerate(names)}
        for number, name in shown.items():
            photo(root / (str(name) if kind == "folders" else "photos") / number)
        if kind == "csv":
            write(root / "labels.csv", "image,label\n" + "\n".join(f"{n},{name}" for n, name in shown.items()))
        if kind == "json":
            write(root / "train_gt.json", json.dumps(shown))
        return root

    assert labels(make(tmp_path / "1", ["All", "Some", "None"])) == {"0.jpg": "all", "1.jpg": "some", "2.jpg": "none"}
    beside = make(tmp_path / "2", ["all", "none", "None"])
    alone = make(tmp_path / "3", ["all", "some", "None"])
    if kind != "folders":
        assert labels(beside) == {"0.jpg": "all", "1.jpg": "none"} and "'None' of 2.jpg is none of all" in told(beside)
        assert labels(make(tmp_path / "4", ["all", "none", "", "nan", "NULL"])) == {"0.jpg": "all", "1.jpg": "none"}
    for root in (alone, beside) if kind == "folders" else (alone,):
        with pytest.raises(DataError, match=r"'None' .*--classes '?None="):
            read(root)
        assert labels(root, classes={"None": "none"})["2.jpg"] == "none"
        assert "2.jpg" not in labels(root, classes={"None": "ignore"})
    assert labels(beside, classes={"None": "ignore"}) == {"0.jpg": "all", "1.jpg": "none"}
    if kind == "json":
        assert labels(make(tmp_path / "5", ["all", "none", None])) == {"0.jpg": "all", "1.jpg": "none"}


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


@pytest.mark.parametrize("kind", ["labelme", "cvat", "supervisely"])
def test_labels_of_whole_photos_beside_boxes(kind: str, tmp_path: Path) -> None:
    """labelme 469, cvat 9918: flags and tags say how masks are worn, no box does; such photos were "nobody"."""
    box = {"label": "with_mask", "points": [[4, 4], [20, 30]], "shape_type": "rectangle"}
    place = {"labelme": "", "cvat": "images", "supervisely": "ds/img"}[kind]
    for name in "abc":
        photo(tmp_path / place / f"{name}.jpg")
        if kind == "labelme":
            flags = {"without_mask": name == "a", "blurred": name == "c"}
            write(tmp_path / f"{name}.json", json.dumps({"flags": flags, "shapes": [box] * (name == "b")}))
        if kind == "supervisely":
            tags = [{"name": {"a": "without_mask", "c": "blurred"}[name]}] if name != "b" else []
            marked = [{"classTitle": "with_mask", "geometryType": "rectangle", "points": {"exterior": box["points"]}}]
            content = {"size": {}, "tags": tags, "objects": marked * (name == "b")}
            write(tmp_path / "ds/ann" / f"{name}.jpg.json", json.dumps(content))
    write(
        tmp_path / "annotations.xml" if kind == "cvat" else tmp_path / "notes.md",
        '<annotations><image name="a.jpg"><tag label="without_mask"/></image><image name="c.jpg"><tag label="blurred"/>'
        '</image><image name="b.jpg"><box label="with_mask" xtl="4" ytl="4" xbr="20" ybr="30"/></image></annotations>',
    )
    assert labels(tmp_path) == {"b.jpg": "all", "c.jpg": "nobody"}
    assert "says 'without_mask' of the whole photo, which isn't read" in told(tmp_path)


def test_voc_with_several_boxes_in_one_object(tmp_path: Path) -> None:
    """ybat 6: all boxes of a class stand in one object; all but the first were lost."""
    for name in "ab":
        photo(tmp_path / f"{name}.jpg")
    xml = voc_xml("a.jpg", MARKED["a.jpg"]).replace("</object><object><name>with_mask</name>", "")
    write(tmp_path / "a.xml", xml)
    xml = voc_xml("b.jpg", MARKED["b.jpg"]).replace("</object><object>", "")
    write(tmp_path / "b.xml", xml)
    found = read(tmp_path)
    assert [(p.path, p.label, len(p.faces or ())) for p in found.photos] == [("a.jpg", "all", 2)]
    assert "b.xml: object 1: has several names, so the label of b.jpg is unknown" in told(tmp_path)


def test_two_yolo_lines_without_a_line_end(tmp_path: Path) -> None:
    """VoTT 140: a masked and a bare face on one line were taken for the outline of one masked face."""
    yolo(tmp_path)
    write(tmp_path / "labels/b.txt", "0 .187500 .375000 .250000 .5000001 .577500 .375000 .250000 .500000")
    write(tmp_path / "labels/a.txt", "0 .1 .1 .4 .1 .4 .5 .1 .5")
    assert labels(tmp_path) == {name: label for name, label in ALL.items() if name != "b.jpg"}
    assert "it may be two lines whose line end is missing" in told(tmp_path)


def test_masks_marked_in_faces(tmp_path: Path) -> None:
    """Sets of objects: every face is 'face', and a worn mask is a box of its own in it; all were "some"."""
    content = coco(tmp_path)
    content["categories"] = [{"id": 1, "name": "face"}, {"id": 2, "name": "mask"}]
    content["annotations"] = [
        {"image_id": 0, "category_id": 1, "bbox": [4, 4, 20, 30]},
        {"image_id": 0, "category_id": 2, "bbox": [6, 18, 16, 14]},
        {"image_id": 1, "category_id": 1, "bbox": [4, 4, 20, 30]},
    ]
    write(tmp_path / "result.json", json.dumps(content))
    with pytest.raises(DataError, match=r"1 of 1 masks lie in boxes of class 'face'.*--wear 'face="):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["coco", "voc", "labelme", "supervisely"])
def test_attributes_of_a_box_that_say_how_its_mask_is_worn(kind: str, tmp_path: Path) -> None:
    """fiftyone 1250, X-AnyLabeling 397: tools export them beside the class, which may say the opposite; CVAT's own XML
    was the only one in which they were seen."""
    if kind == "coco":
        content = coco(tmp_path)
        content["annotations"][0]["attributes"] = {"occluded": False, "mask": "below the nose"}
        write(tmp_path / "result.json", json.dumps(content))
    for name, faces in MARKED.items() if kind != "coco" else ():
        photo(tmp_path / ("ds/img" if kind == "supervisely" else ".") / name)
        shapes = [{"label": wear, "shape_type": "rectangle", "points": [box[:2], box[2:]]} for wear, *box in faces]
        objects = [
            {"classTitle": s["label"], "geometryType": "rectangle", "points": {"exterior": s["points"]}} for s in shapes
        ]
        if name == "a.jpg":
            shapes[0] |= {"flags": {"incorrect": True, "without_mask": False}}
            objects[0] |= {"tags": [{"name": "no mask"}]}
        if kind == "labelme":
            write(tmp_path / f"{name[0]}.json", json.dumps({"shapes": shapes}))
        elif kind == "supervisely":
            write(tmp_path / "ds/ann" / f"{name}.json", json.dumps({"size": {}, "objects": objects}))
        else:
            more = "</name><attributes><attribute><name>mask</name><value>no</value></attribute></attributes>"
            xml = voc_xml(name, faces)
            write(tmp_path / f"{name[0]}.xml", xml.replace("</name>", more, 1) if name == "a.jpg" else xml)
    assert labels(tmp_path) == {name: label for name, label in ALL.items() if name != "a.jpg"}
    assert "says how the mask is worn, which isn't read, so the label of" in told(tmp_path)


def test_columns_of_a_table_that_contradict_each_other(tmp_path: Path) -> None:
    """Numbers by the alphabet, as Keras gives them, beside the names: 0 is with_mask, and was read as none."""
    for name in "ac":
        photo(tmp_path / f"{name}.jpg")
    for header, one in (("image,label,class", "0,with_mask"), ("image,label,label", "all,none")):
        write(tmp_path / "x.csv", f"{header}\na.jpg,{one}\n")
        with pytest.raises(DataError, match=r"x\.csv:2: its columns 'label' .* contradict each other"):
            read(tmp_path)
    write(tmp_path / "x.csv", "image,label,class\na.jpg,7,with_mask\nc.jpg,8,without_mask\n")
    assert labels(tmp_path) == {"a.jpg": "all", "c.jpg": "none"}


def test_a_name_or_number_that_is_given_twice(tmp_path: Path) -> None:
    """mmdetection's merged COCO files, an edited data.yaml, a train_gt.json put together: the last one counted."""
    content = coco(tmp_path / "coco")
    content["categories"].append({"id": 1, "name": "without_mask"})
    write(tmp_path / "coco/x.json", json.dumps(content))
    yolo(tmp_path / "one")
    (tmp_path / "one/classes.txt").unlink()
    write(tmp_path / "one/data.yaml", "names:\n  0: with_mask\n  1: without_mask\n  2: mask_off\n  0: without_mask\n")
    yolo(tmp_path / "two")
    (tmp_path / "two/classes.txt").unlink()
    write(tmp_path / "two/data.yaml", f"names: {CLASSES}\nnc: 3\nnames: {CLASSES[::-1]}\n")
    photo(tmp_path / "json/a.jpg")
    write(tmp_path / "json/train_gt.json", '{"a.jpg": 0, "b.jpg": 2, "a.jpg": 1}')
    for name, why in (
        ("coco", r"x\.json: its categories give the id 1 to 'with_mask' and 'without_mask'"),
        ("one", r"data\.yaml:5: gives '0' for the second time"),
        ("two", r"data\.yaml:3: gives 'names' for the second time"),
        ("json", r"train_gt\.json: .*gives 'a\.jpg' twice, and not the same"),
    ):
        with pytest.raises(DataError, match=why):
            read(tmp_path / name)
    write(tmp_path / "json/train_gt.json", '{"a.jpg": 1, "a.jpg": 1}')
    assert labels(tmp_path / "json") == {"a.jpg": "all"}


def test_a_class_list_that_a_tool_cut_short(tmp_path: Path) -> None:
    """labelImg 981: the list was written anew with one name; faces of number 0 became that, the others were told."""
    yolo(tmp_path)
    write(tmp_path / "classes.txt", "without_mask")
    with pytest.raises(DataError, match=r"3 of 5 label files in labels use numbers \(1, 2\) that classes\.txt doesn't"):
        read(tmp_path)


def test_photos_that_nobody_has_looked_at_yet(tmp_path: Path) -> None:
    """label-studio 9774: they stand in its COCO files as if they showed nobody; only their number can be told."""
    content = coco(tmp_path)
    write(tmp_path / "result.json", json.dumps({**content, "annotations": content["annotations"][:2]}))
    assert "photos without a box, which count as nobody: 4 (leave out those not yet marked)" in read(tmp_path).said


def test_a_table_of_what_photos_do_not_show(tmp_path: Path) -> None:
    """OIDv4_ToolKit 87: rows of confidence 0 say that a label is absent; they were taken for labels."""
    for name in "abc":
        photo(tmp_path / f"{name}.jpg")
    write(
        tmp_path / "x.csv",
        "ImageID,LabelName,Confidence\na,with mask,1\nc,with mask,0\nc,without mask,1\nb,with mask,0\n",
    )
    assert labels(tmp_path) == {"a.jpg": "all", "c.jpg": "none"}
    assert "says that b is not 'with mask' (confidence 0), so it is no label" in told(tmp_path)


@pytest.mark.parametrize("columns", ["x,y,width,height", "bbox"])
def test_a_table_of_boxes_without_corners(columns: str, tmp_path: Path) -> None:
    """make-sense 171: a row a box, x and y of a corner or of the middle; its rows were read as labels of photos."""
    photo(tmp_path / "a.jpg")
    write(tmp_path / "x.csv", f"label,{columns},image\nmask,{','.join('1' * (columns.count(',') + 1))},a.jpg\n")
    with pytest.raises(DataError, match=r"x\.csv:1: has a row a box, .*xmin,ymin,xmax,ymax"):
        read(tmp_path)


def test_turned_boxes_and_crowds(tmp_path: Path) -> None:
    """cvat 4745: a box's rotation was passed over; yolov3 714: crowds; four corners in YOLO, taken for landmarks."""
    photo(tmp_path / "cvat/a.jpg")
    box = '<box label="with_mask" xtl="20" ytl="20" xbr="40" ybr="26" rotation="90"/>'
    write(tmp_path / "cvat/a.xml", f'<annotations><image name="a.jpg">{box}</image></annotations>')
    photo(tmp_path / "yolo/a.jpg")
    write(tmp_path / "yolo/a.txt", "0 .3 .3 .5 .3 .5 .4 .3 .4")
    write(tmp_path / "yolo/classes.txt", "with_mask")
    content = coco(tmp_path / "coco")
    content["annotations"][0] |= {"bbox": [20, 20, 20, 6], "attributes": {"rotation": 90.0}, "iscrowd": 1}
    write(tmp_path / "coco/x.json", json.dumps(content))

    def edges(root: Path) -> list[float]:
        face = (read(root).photos[0].faces or ())[0]
        return [face.left, face.top, face.right, face.bottom]

    assert edges(tmp_path / "cvat") == pytest.approx([27, 13, 33, 33]) == edges(tmp_path / "coco")
    assert edges(tmp_path / "yolo") == pytest.approx([0.3 * SIZE[0], 0.3 * SIZE[1], 0.5 * SIZE[0], 0.4 * SIZE[1]])
    assert "x.json: boxes marked as crowds (iscrowd), each taken as one face: 1" in read(tmp_path / "coco").said


def test_photos_without_an_ending_and_thumbnails(tmp_path: Path) -> None:
    """icloud-docker 141, photoprism 555: photos without ending were left out, thumbnails of a server were counted."""
    for label in ("all", "none", "some"):
        photo(tmp_path / label / "x.jpg")
        photo(tmp_path / label / "@eaDir/x.jpg/THUMB_XL.jpg")
    (tmp_path / "all/IMG_1").write_bytes((tmp_path / "all/x.jpg").read_bytes())
    (tmp_path / "all/a.jpg?w=600").write_bytes((tmp_path / "all/x.jpg").read_bytes())
    (tmp_path / "all/.IMG_2.jpg.icloud").write_bytes(b"bplist00")
    (tmp_path / "all/notes").write_bytes(b"no photo")
    assert [p.path for p in read(tmp_path).photos] == ["all/x.jpg", "none/x.jpg", "some/x.jpg"]
    assert "all/IMG_1: and 1 more are not read, being photos without the ending of one: rename" in told(tmp_path)
    assert "all/.IMG_2.jpg.icloud: is not read, being not downloaded from the cloud" in told(tmp_path)


def test_folders_of_systems_are_left_out_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a data set, by a folder and a pattern, in a watched folder (at addresses: tests/test_scale.py)."""
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "all/x.jpg")
    for system in ("@eaDir", ".thumbnails", "__MACOSX", ".AppleDouble", "#recycle", "lost+found", "$RECYCLE.BIN"):
        photo(tmp_path / system / "all/x.jpg")
        photo(tmp_path / "all" / system / "x.jpg")
    looks = sources.folder_looks(tmp_path, 0, note=lambda *_: None, stop=threading.Event(), existing=True)
    assert [p.path for p in read(tmp_path).photos] == ["all/x.jpg"] == [next(looks).path[len(str(tmp_path)) + 1 :]]
    assert [name for name, _ in find_photos([".", "*", "*/*", "**"])] == ["./all/x.jpg", *["all/x.jpg"] * 3]
    assert [name for name, _ in find_photos(["@eaDir", "@*/*"])] == ["@eaDir/all/x.jpg"] * 2, "asked for by name"


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_an_empty_alpha_channel_hides_nothing(kind: str, tmp_path: Path) -> None:
    """image-rs 539: a BMP whose alpha is 0 everywhere was a white picture, answered with "nobody"."""
    shown = picture("some", (160, 120))
    red, green, blue = shown.split()
    clear = Image.merge("RGBA", (red, green, blue, Image.new("L", shown.size)))
    path = tmp_path / f"x.{kind}"
    if kind == "png":
        clear.save(path)
    else:
        sizes = [108, *shown.size, 1 | 32 << 16, 3, 160 * 120 * 4, 0, 0, 0, 0, 0xFF0000, 0xFF00, 0xFF, 0xFF000000]
        rows = np.asarray(clear)[::-1, :, [2, 1, 0, 3]].tobytes()
        head = np.array(sizes, "<u4").tobytes().ljust(108, b"\0")
        path.write_bytes(b"BM" + np.array([122 + len(rows), 0, 122], "<u4").tobytes() + head + rows)
    assert np.array_equal(np.asarray(pixels.decode(path)), np.asarray(shown))


def test_a_tiff_of_16_bits_whose_zero_is_white(tmp_path: Path) -> None:
    """darktable 18815: it was read as its negative."""
    grey = np.asarray(picture("some", (160, 120)).convert("L"))
    stored = (65535 - grey.astype(np.uint16) * 257).astype("<u2").tobytes()
    tags = [(256, 160), (257, 120), (258, 16), (259, 1), (262, 0), (273, 8), (277, 1), (278, 120), (279, len(stored))]
    entries = b"".join(np.array([tag | 4 << 16, 1, value], "<u4").tobytes() for tag, value in tags)
    table = np.array([len(tags)], "<u2").tobytes() + entries + bytes(4)
    (tmp_path / "x.tif").write_bytes(b"II*\0" + np.array([8 + len(stored)], "<u4").tobytes() + stored + table)
    assert np.array_equal(np.asarray(pixels.decode(tmp_path / "x.tif"))[..., 0], grey)


def test_a_jpeg_without_the_end_of_its_picture(tmp_path: Path) -> None:
    """yolov5 2451: the data ends early, but the end marker is there; the rest was grey, and "nobody" the answer."""
    shown = picture("some", (160, 120))
    shown.save(tmp_path / "x.jpg", quality=90)
    whole = (tmp_path / "x.jpg").read_bytes()
    start = whole.index(b"\xff\xda") + 14
    for share in (0.1, 0.5, 0.9):
        cut = whole[: start + round((len(whole) - start) * share)] + b"\xff\xd9"
        with pytest.raises(PhotoError, match="a part of its picture is missing"):
            pixels.decode(cut)
    for grey in (Image.new("RGB", (160, 120), (128, 128, 128)), Image.new("L", (50, 50), 128)):
        grey.save(tmp_path / "g.jpg")
        assert pixels.decode(tmp_path / "g.jpg").size == grey.size
    padded = Image.new("RGB", (161, 171), (128, 128, 128))
    padded.paste(shown)
    padded.save(tmp_path / "p.jpg", quality=95)
    assert pixels.decode(tmp_path / "p.jpg", fit_within=(32, 32)).width > 31


@pytest.mark.parametrize("scans", ["usual", "no refinement"])
def test_a_progressive_jpeg_that_ends_early(scans: str, tmp_path: Path) -> None:
    """Pillow 2717: the first scans alone are a whole picture, only blurred; no decoder says that the others lack."""
    shown = picture("some", (160, 120))
    cv2.imwrite(str(tmp_path / "c.jpg"), np.asarray(shown), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    shown.save(tmp_path / "x.jpg", progressive=True, quality=90)
    whole = (tmp_path / "x.jpg").read_bytes()
    if scans != "usual":  # as jpegtran and Photoshop write them: no last scan that refines, so its first half may lack
        head, *parts = whole.split(b"\xff\xda")
        bits = [2 * part[2] + 5 for part in parts]  # where a scan's header has them
        kept = [part[:at] + b"\0" + part[at + 1 :] for part, at in zip(parts, bits) if part[at] < 16]
        whole = b"\xff\xda".join([head, *kept]) + b"\xff\xd9"
    assert pixels.decode(whole).size == pixels.decode(tmp_path / "c.jpg").size == shown.size
    assert pixels.decode(whole + b"tail \xff\xd9").size == shown.size
    for share in (0.2, 0.5, 0.6) if scans == "usual" else (0.2, 0.5, 0.8, 0.99):
        for end in (b"\xff\xd9", b""):
            with pytest.raises(PhotoError, match=r"damaged|no end marker"):
                pixels.decode(whole[: round(len(whole) * share)] + end)


def test_a_link_that_leads_back_to_itself_is_one_line(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(DataError, match=r"leads back to itself; give the folder|no such file or folder"):
        read(loop)
