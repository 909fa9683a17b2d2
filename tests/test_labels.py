"""No wrong label without a word: names in any script, lists and files that contradict each other, boxes that can't be
read, photos whose names were changed on the way."""

import json
import os
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from allmasked.core.errors import ConfigError, DataError
from allmasked.core.types import Face, Split
from allmasked.data.albums import Album, part_named, part_of, plain
from allmasked.data.annotations import WEAR_NAMES
from allmasked.data.dataset import read_split, write_split
from allmasked.data.readers import Options, read, read_dataset
from allmasked.data.relabelling import read_relabels
from allmasked.data.siblings import same_source
from allmasked.inspection.inspect import people
from test_readers import (
    CLASSES,
    LABELS,
    MARKED,
    SIZE,
    make_boxes,
    make_coco,
    make_createml,
    make_cvat,
    make_retinanet,
    make_voc,
    make_yolo,
    photo,
    voc_xml,
    write,
)

ALL = {**LABELS, "e.jpg": "nobody"}


def labels(root: Path, **settings) -> dict[str, str]:
    """Label by file name, of the photos that have one."""
    return {Path(p.path).name: p.label for p in read_dataset(root, **settings)[1]}


def lines(faces: list[tuple], classes: list[str] = CLASSES) -> str:
    """YOLO's lines."""
    return "\n".join(
        f"{classes.index(wear)} {(x + right) / 2 / SIZE[0]} {(y + bottom) / 2 / SIZE[1]} "
        f"{(right - x) / SIZE[0]} {(bottom - y) / SIZE[1]}"
        for wear, x, y, right, bottom in faces
    )


def yolo(root: Path, classes: list[str] = CLASSES, images: str = "images", marks: str = "labels") -> None:
    """Photos and label files without a class list."""
    for name, faces in MARKED.items():
        photo(root / images / name)
        write(root / marks / f"{name[0]}.txt", lines(faces, classes))


# --- names of classes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("masked", "bare", "wrong"),
    [
        ("戴口罩", "未戴口罩", "戴错"),
        ("в маске", "без маски", "неправильно"),
        ("マスク", "マスクなし", "鼻マスク"),
        ("मास्क", "मास्क नहीं", "गलत"),
        ("कि", "का", "की"),
        ("คมีหน้ากาก", "คไม่มีหน้ากาก", "คผิด"),
        ("مع كمامة", "بدون كمامة", "خطأ"),
        ("maské", "maske", "mäské"),
        ("😷", "🙂", "🤔"),
        ("#1", "#2", "#3"),
        ("mask, worn", "mask, not worn", "mask = nose"),
    ],
)
def test_class_names_in_any_script_stay_apart(masked, bare, wrong, tmp_path):
    yolo(tmp_path)
    write(tmp_path / "data.yaml", f"names: {json.dumps([masked, bare, wrong], ensure_ascii=False)}\n")
    with pytest.raises(DataError, match="--wear") as error:
        read_dataset(tmp_path)
    assert all(repr(name) in str(error.value) for name in (masked, bare, wrong))
    assert labels(tmp_path, wear={masked: "masked", bare: "bare", wrong: "incorrect"}) == ALL
    decomposed = {unicodedata.normalize("NFD", n): w for n, w in ((masked, "masked"), (bare, "bare"))}
    assert labels(tmp_path, wear={**decomposed, wrong: "incorrect"}) == ALL


@pytest.mark.parametrize(("masked", "bare"), [("mask+", "mask-"), ("+mask", "-mask"), ("Mask +", "Mask -")])
def test_signs_are_part_of_a_name(masked, bare, tmp_path):
    yolo(tmp_path)
    write(tmp_path / "data.yaml", f"names: ['{masked}', '{bare}', wrong]\n")
    assert labels(tmp_path, wear={"wrong": "incorrect"}) == ALL


def test_spelling_makes_no_difference_and_meaning_does():
    same = ("with_mask", "With Mask", "WithMask", "with-mask", " WITH__MASK ", "ｗith mask", "with.mask")
    assert len({plain(name) for name in same}) == 1
    apart = ("mask", "mask+", "mask-", "!mask", "~mask", "mask?", "mask 1", "mask (off)", "mask✗", "¬mask", "mask!")
    assert len({plain(name) for name in apart}) == len(apart)
    for name in ("with_mask", "WithMask", "mask", "Mask", "face_mask", "mask_weared", "masked"):
        assert WEAR_NAMES[plain(name)] == "masked", name
    for name in ("without_mask", "WithoutMask", "no-mask", "No Mask", "face_no_mask", "NoMask", "unmasked"):
        assert WEAR_NAMES[plain(name)] == "bare", name
    for name in ("mask_weared_incorrect", "incorrect_mask", "Mask Worn Incorrectly", "WornMaskIncorrect"):
        assert WEAR_NAMES[plain(name)] == "incorrect", name


def test_one_name_with_two_meanings_is_refused():
    with pytest.raises(ConfigError, match=r"--wear: 'MASK' is given as bare and as masked"):
        Options(wear={"mask": "masked", "MASK": "bare"})
    with pytest.raises(ConfigError, match="--classes"):
        Options(classes={"with mask": "all", "with-mask": "none"})
    assert Options(wear={"mask": "masked", "MASK": "masked"}).wearing("Mask") == "masked"


def test_a_set_of_faces_alone_says_nothing_of_masks(tmp_path):
    photo(tmp_path / "1.jpg")
    write(tmp_path / "1.xml", voc_xml("1.jpg", [("face", 1, 1, 5, 5)]))
    with pytest.raises(DataError, match=r"'face' \(1\).*--wear"):
        read_dataset(tmp_path)
    assert labels(tmp_path, wear={"face": "bare"}) == {"1.jpg": "none"}
    photo(tmp_path / "2.jpg")
    write(tmp_path / "2.xml", voc_xml("2.jpg", [("face_mask", 1, 1, 5, 5)]))
    assert labels(tmp_path) == {"1.jpg": "none", "2.jpg": "all"}


def test_faces_of_which_nothing_is_known_decide_nothing(tmp_path):
    for number, names in enumerate((["mask", "far"], ["far"])):
        photo(tmp_path / f"{number}.jpg")
        write(tmp_path / f"{number}.xml", voc_xml("", [(name, 1, 1, 5, 5) for name in names]))
    _, photos, problems = read_dataset(tmp_path, wear={"far": "unknown"})
    assert [(p.path, p.label, [f.wear for f in p.faces]) for p in photos] == [("0.jpg", "all", ["masked", "unknown"])]
    assert [p.path for p in problems] == ["1.jpg"]


def test_faces_csv_may_say_unknown(tmp_path):
    photo(tmp_path / "all" / "x.jpg")
    photo(tmp_path / "none" / "y.jpg")
    write(
        tmp_path / "faces.csv",
        "photo,wear,left,top,right,bottom\nall/x.jpg,masked,1,1,9,9\nall/x.jpg,unknown,20,1,29,9\nnone/y.jpg,ignore,1,1,9,9\n",
    )
    root, photos, problems = read_dataset(tmp_path, wear={"ignore": "ignore"})
    assert [face.wear for face in photos[0].faces] == ["masked", "unknown"] and not problems
    write_split(Split(root, tuple(photos), 0), tmp_path / "split.json")
    assert read_split(tmp_path / "split.json").photos[0].faces == photos[0].faces
    assert people(photos).contradictions == ()


def test_names_that_cannot_be_read_are_not_guessed(tmp_path):
    yolo(tmp_path)
    (tmp_path / "classes.txt").write_bytes("戴口罩\n未戴口罩\n戴错".encode("gb18030"))
    with pytest.raises(DataError, match=r"classes.txt: can't be read as UTF-8.*save it as UTF-8"):
        read_dataset(tmp_path)
    (tmp_path / "classes.txt").write_bytes("\n".join(CLASSES).encode("utf-16"))
    assert labels(tmp_path) == ALL


def test_yes_and_no_are_names(tmp_path):
    yolo(tmp_path)
    write(tmp_path / "data.yaml", "names: [yes, no, maybe]\n")
    assert labels(tmp_path, wear={"yes": "masked", "no": "bare", "maybe": "incorrect"}) == ALL


# --- lists of classes -------------------------------------------------------------------------------------------------

OTHER_ORDER = [CLASSES[1], CLASSES[2], CLASSES[0]]


def test_each_folder_has_its_own_list(tmp_path):
    for name, faces in MARKED.items():
        folder, classes = (tmp_path / "one", CLASSES) if name < "c" else (tmp_path / "two", OTHER_ORDER)
        photo(folder / name)
        write(folder / f"{name[0]}.txt", lines(faces, classes))
        write(folder / "classes.txt", "\n".join(classes))
    assert labels(tmp_path) == ALL
    write(tmp_path / "classes.txt", "\n".join(OTHER_ORDER))  # the nearest counts
    assert labels(tmp_path) == ALL
    assert sum("class list" in said for said in read(tmp_path).said) == 2


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("dataset.yaml", "data_old.yaml"),
        ("a.yml", "b.yaml"),
        ("data.yaml", "classes.txt"),
        ("obj.names", "classes.txt"),
    ],
)
def test_lists_that_contradict_each_other_are_refused_by_name(one, two, tmp_path):
    yolo(tmp_path)
    for file, classes in ((one, CLASSES), (two, OTHER_ORDER)):
        write(tmp_path / file, f"names: {classes}" if file.endswith(("yaml", "yml")) else "\n".join(classes))
    with pytest.raises(DataError, match="contradict") as error:
        read_dataset(tmp_path)
    assert one in str(error.value) and two in str(error.value)
    (tmp_path / two).unlink()
    assert labels(tmp_path) == ALL


def test_the_list_that_names_the_folders_or_is_called_data_yaml_counts(tmp_path):
    yolo(tmp_path)
    write(tmp_path / "data.yaml", f"names: {CLASSES}")
    write(tmp_path / "data_old.yaml", f"names: {OTHER_ORDER}")
    assert labels(tmp_path) == ALL
    write(tmp_path / "data_old.yaml", f"train: images\nnames: {OTHER_ORDER}")
    with pytest.raises(DataError, match="contradict"):
        read_dataset(tmp_path)
    write(tmp_path / "data.yaml", f"train: ../images\nnames: {dict(enumerate(CLASSES))}")
    write(tmp_path / "data_old.yaml", f"train: elsewhere/train\nnames: {OTHER_ORDER}")
    assert labels(tmp_path) == ALL


def test_a_far_list_that_claims_these_photos_contradicts_the_near_one(tmp_path):
    yolo(tmp_path)
    write(tmp_path / "labels" / "classes.txt", "\n".join(CLASSES))
    write(tmp_path / "data.yaml", f"train: images\nnames: {OTHER_ORDER}")
    with pytest.raises(DataError, match=r"labels/classes.txt and data.yaml contradict"):
        read_dataset(tmp_path)


def test_without_a_list_the_numbers_are_names(tmp_path):
    yolo(tmp_path)
    with pytest.raises(DataError, match=r"'0' \(4\).*--wear"):
        read_dataset(tmp_path)
    assert labels(tmp_path, wear={"0": "masked", "1": "bare", "2": "incorrect"}) == ALL


def test_a_broken_yaml_beside_is_told_in_passing(tmp_path):
    photo(tmp_path / "a.jpg")
    write(tmp_path / "labels.csv", "image,label\na.jpg,all\n")
    write(tmp_path / "config.yaml", "key: {{ value }}\nother: [a\n")
    assert labels(tmp_path) == {"a.jpg": "all"}
    yolo(tmp_path / "yolo")
    write(tmp_path / "yolo" / "config.yaml", "other: [a\n")
    write(tmp_path / "yolo" / "data.yaml", f"names: {CLASSES}")
    reading = read(tmp_path / "yolo")
    assert len(reading.photos) == 5 and [p.path for p in reading.problems] == ["config.yaml:2"]


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_boxes_drawn_backwards_are_the_same_boxes(tmp_path):
    make_voc(tmp_path)
    straight = [p.faces for p in read_dataset(tmp_path)[1]]
    backwards = {n: [(w, r, b, x, y) for w, x, y, r, b in faces] for n, faces in MARKED.items()}
    for name, faces in backwards.items():
        write(tmp_path / "annotations" / f"{name[0]}.xml", voc_xml(name, faces))
    reading = read(tmp_path)
    assert [p.faces for p in reading.photos] == straight and any("right to left" in said for said in reading.said)


def voc_box(tag: str, **numbers: object) -> str:
    return f"<{tag}>" + "".join(f"<{key}>{value}</{key}>" for key, value in numbers.items()) + f"</{tag}>"


@pytest.mark.parametrize(
    "box",
    [
        "",
        voc_box("bndbox", xmin=5, ymin=5, xmax=5, ymax=9),
        voc_box("bndbox", xmin="nan", ymin=5, xmax=7, ymax=9),
        voc_box("bndbox", xmin=5, ymin=5, xmax=9),
        voc_box("bndbox", xmin=5, ymin=5, xmax=9, ymax="nan"),
        voc_box("robndbox", cx=5, cy=5, w=3, h=4, angle=1),
    ],
)
def test_a_box_that_cannot_be_read_makes_its_photos_label_unknown(box, tmp_path):
    make_voc(tmp_path)
    xml = voc_xml("a.jpg", MARKED["a.jpg"]).replace(
        "</annotation>", f"<object><name>without_mask</name>{box}</object></annotation>"
    )
    write(tmp_path / "annotations" / "a.xml", xml)
    _, photos, problems = read_dataset(tmp_path)
    assert [Path(p.path).name for p in photos] == ["b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert (
        problems[0].path == "annotations/a.xml: object 3" and "label of images/a.jpg is unknown" in problems[0].reason
    )


BROKEN_LINES = """
    1 20 20 10 10|1 .5 .5 nan .2|1 .5 .5 .2 nan|1 .5 nan .2 .2|inf .5 .5 .2 .2|1 .5 .5 -.2 .2|
    1.5 .5 .5 .2 .2|1 .5 .5|1 .5 .5 .2 .2 .3 .4 .5|
    -1 .5 .5 .2 .2|x|1 -3 .5 .2 .2|1e400 .5 .5 .2 .2"""


@pytest.mark.parametrize("line", [line.strip() for line in BROKEN_LINES.split("|")])
def test_a_yolo_line_that_cannot_be_read_makes_its_photos_label_unknown(line, tmp_path):
    make_yolo(tmp_path)
    file = tmp_path / "train/labels/a.txt"
    file.write_text(file.read_text() + "\n" + line + "\n")
    _, photos, problems = read_dataset(tmp_path)
    assert "a.jpg" not in {Path(p.path).name for p in photos} and len(photos) == 4
    assert [p.path for p in problems] == ["train/labels/a.txt:3"]


def test_px_instead_of_shares_are_refused(tmp_path):
    make_yolo(tmp_path)
    for name, faces in MARKED.items():
        rows = [f"{CLASSES.index(w)} {(x + r) / 2} {(y + b) / 2} {r - x} {b - y}" for w, x, y, r, b in faces]
        write(tmp_path / "train/labels" / f"{name[0]}.txt", "\n".join(rows))
    (tmp_path / "train/labels/e.txt").unlink()
    with pytest.raises(DataError, match=r"a.txt:1: .* over 1 it may be px"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("shape", ["[5, 2]", "[5, 3]", None])
def test_landmarks_are_no_polygon(shape, tmp_path):
    make_yolo(tmp_path)
    plain_faces = [p.faces for p in read_dataset(tmp_path)[1]]
    extra = "" if shape is None else f"kpt_shape: {shape}\n"
    write(tmp_path / "data.yaml", f"names: {CLASSES}\n{extra}")
    for file in (tmp_path / "train/labels").glob("*.txt"):
        rows = []
        for line in file.read_text().splitlines():
            _, x, y, w, h = (float(v) for v in line.split())
            points = [
                (x + dx * w, y + dy * h) for dx, dy in ((-0.2, -0.1), (0.2, -0.1), (0, 0), (-0.1, 0.3), (0.1, 0.3))
            ]
            points[2] = points[2] if shape else (-1, -1)  # a landmark that nobody saw
            seen = " 2" if shape == "[5, 3]" else ""
            rows.append(line + "".join(f" {a} {b}{seen}" for a, b in points))
        file.write_text("\n".join(rows))
    assert [p.faces for p in read_dataset(tmp_path)[1]] == plain_faces


def test_polygons_are_read_as_the_box_around_them(tmp_path):
    photo(tmp_path / "images/x.jpg")
    write(tmp_path / "labels/x.txt", "0 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75")
    write(tmp_path / "classes.txt", "mask")
    assert read_dataset(tmp_path)[1][0].faces == (Face("masked", 16, 12, 32, 36),)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("drawn_on", ["stored", "upright"])
def test_boxes_drawn_on_the_stored_picture_are_turned_with_it(turn, drawn_on, tmp_path):
    upright = Image.new("RGB", (60, 40))
    upright.paste((255, 0, 0), (10, 5, 20, 25))
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(back[turn])) if turn > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / "x.png", exif=exif)
    seen = stored if drawn_on == "stored" else upright
    left, top, right, bottom = seen.getbbox()
    size = f"<size><width>{seen.width}</width><height>{seen.height}</height></size>"
    xml = voc_xml("x.png", [("mask", left, top, right, bottom)]).replace("<filename>", f"{size}<filename>")
    write(tmp_path / "x.xml", xml)
    reading = read(tmp_path)
    told = any("turned by EXIF" in said for said in reading.said)
    assert told == (turn in (2, 3, 4))  # the sizes are the same then
    if not told:
        assert reading.photos[0].faces == (Face("masked", 10, 5, 20, 25),)


def test_boxes_drawn_at_another_size_are_left_out_and_told(tmp_path):
    make_cvat(tmp_path)
    file = tmp_path / "annotations.xml"
    file.write_text(file.read_text().replace(f'"a.jpg" width="{SIZE[0]}"', '"a.jpg" width="640"'))
    _, photos, problems = read_dataset(tmp_path)
    assert (photos[0].label, photos[0].faces) == ("all", None) and photos[1].faces
    assert [p.path for p in problems] == ["images/default/a.jpg"] and "640 x 48 px" in problems[0].reason


def test_a_broken_tag_is_no_box_less(tmp_path):
    make_cvat(tmp_path)
    file = tmp_path / "annotations.xml"
    file.write_text(file.read_text().replace("<box", "box", 2).replace("box", "<box", 1))
    _, photos, problems = read_dataset(tmp_path)
    assert "a.jpg" not in {Path(p.path).name for p in photos} and "broken tag" in problems[0].reason


def test_attributes_that_say_how_the_mask_is_worn_are_not_passed_over(tmp_path):
    make_cvat(tmp_path)
    file = tmp_path / "annotations.xml"
    text = file.read_text().replace('ybr="30"/>', 'ybr="30"><attribute name="Mask">no</attribute></box>', 1)
    file.write_text(text)
    _, photos, problems = read_dataset(tmp_path)
    assert len(photos) == 4 and "'Mask'" in problems[0].reason and "unknown" in problems[0].reason


# --- two files for one photo ------------------------------------------------------------------------------------------


def test_coco_files_that_contradict_each_other_are_refused_by_name(tmp_path):
    make_coco(tmp_path)
    first = tmp_path / "annotations/instances_train.json"
    content = json.loads(first.read_text())
    copy = tmp_path / "annotations/copy.json"
    copy.write_text(json.dumps(content))
    assert labels(tmp_path) == ALL  # they agree
    content["annotations"][0]["category_id"] = 2
    copy.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"copy.json and annotations/instances_train.json contradict each other about"):
        read_dataset(tmp_path)
    copy.write_text(json.dumps({**content, "annotations": []}))
    reading = read(tmp_path)
    assert {Path(p.path).name: p.label for p in reading.photos} == ALL
    assert reading.problems[0].path == "annotations/copy.json"


def test_csv_files_that_contradict_each_other_are_refused_by_name(tmp_path):
    photo(tmp_path / "a.jpg")
    write(tmp_path / "labels.csv", "image,label\na.jpg,all\n")
    write(tmp_path / "labels_v2.csv", "image,label\na.jpg,none\n")
    with pytest.raises(DataError, match=r"labels.csv and labels_v2.csv contradict each other: a.jpg is all"):
        read_dataset(tmp_path)
    (tmp_path / "labels_v2.csv").rename(tmp_path / "sample_submission.csv")
    _, photos, problems = read_dataset(tmp_path)
    assert photos[0].label == "all" and problems[0].path == "sample_submission.csv"


def test_two_ids_of_one_photo_in_a_coco_file(tmp_path):
    make_coco(tmp_path)
    file = tmp_path / "annotations/instances_train.json"
    content = json.loads(file.read_text())
    content["images"][1]["id"] = content["images"][0]["id"]
    file.write_text(json.dumps(content))
    _, photos, problems = read_dataset(tmp_path)
    assert {Path(p.path).name for p in photos} == {"c.jpg", "d.jpg", "e.jpg"} and len(problems) >= 1


def test_two_layouts_that_contradict_each_other_are_refused_by_name(tmp_path):
    make_voc(tmp_path)
    write(tmp_path / "labels.csv", "image,label\na.jpg,all\nb.jpg,some\n")
    reading = read(tmp_path)
    assert reading.layout == "voc" and any("also looks like csv" in said for said in reading.said)
    write(tmp_path / "labels.csv", "image,label\na.jpg,none\n")
    with pytest.raises(DataError, match=r"images/a.jpg is all as voc and none as csv.*--layout csv"):
        read(tmp_path)
    assert labels(tmp_path, layout="voc") == ALL and labels(tmp_path, layout="csv") == {"a.jpg": "none"}


@pytest.mark.parametrize("make", [make_coco, make_cvat, make_createml])
def test_a_photo_named_twice_in_one_file_has_no_known_label(make, tmp_path):
    make(tmp_path)
    file = next(file for file in tmp_path.rglob("*") if file.suffix in (".json", ".xml"))
    file.write_text(file.read_text().replace("b.jpg", "a.jpg"))
    _, photos, problems = read_dataset(tmp_path)
    assert {Path(p.path).name for p in photos} == {"c.jpg", "d.jpg", "e.jpg"}
    assert any("names its photo twice" in problem.reason for problem in problems)


def test_class_numbers_that_begin_at_1_are_refused(tmp_path):
    make_yolo(tmp_path)
    for file in (tmp_path / "train/labels").glob("*.txt"):
        rows = [line.split() for line in file.read_text().splitlines()]
        file.write_text("\n".join(" ".join([str(int(kind) + 1), *box]) for kind, *box in rows))
    with pytest.raises(DataError, match=r"number the classes 1 to 3, but data.yaml numbers them from 0 to 2"):
        read_dataset(tmp_path)


def test_a_label_of_one_part_is_never_another_parts(tmp_path):
    for part in ("train", "test"):
        photo(tmp_path / "csv" / part / "3.jpg")
        photo(tmp_path / "coco/images" / part / "3.jpg")
    (tmp_path / "csv/train/3.jpg").unlink()
    write(tmp_path / "csv/labels.csv", "path,label\ntrain/3.jpg,some\ntest/3.jpg,all\n")
    _, photos, problems = read_dataset(tmp_path / "csv")
    assert [(one.path, one.label) for one in photos] == [("test/3.jpg", "all")]
    assert "there is no photo train/3.jpg in the part 'train'" in problems[0].reason
    (tmp_path / "coco/images/train/3.jpg").unlink()
    names = [{"id": 0, "name": "with_mask"}, {"id": 1, "name": "without_mask"}]
    for number, part in enumerate(("train", "test")):
        box = {"image_id": 7, "category_id": number, "bbox": [2, 2, 20, 20]}
        content = {"images": [{"id": 7, "file_name": "3.jpg"}], "annotations": [box], "categories": names}
        write(tmp_path / f"coco/annotations/instances_{part}.json", json.dumps(content))
    photo(tmp_path / "coco/images/train/4.jpg")
    _, photos, _ = read_dataset(tmp_path / "coco")
    assert [(one.path, one.label) for one in photos] == [("images/test/3.jpg", "none")]


def test_ids_that_a_table_made_fractions_of(tmp_path):
    make_coco(tmp_path)
    whole = labels(tmp_path)
    file = tmp_path / "annotations/instances_train.json"
    content = json.loads(file.read_text())
    for row in content["annotations"]:
        row |= {"image_id": float(row["image_id"]), "category_id": float(row["category_id"])}
    file.write_text(json.dumps(content))
    assert labels(tmp_path) == whole
    for row in content["annotations"]:
        row["image_id"] = f"x{row['image_id']}"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="its image_id is not in the file"):  # and not all of them photos of nobody
        read_dataset(tmp_path)


def test_absolute_names_of_another_machine_and_names_that_are_none(tmp_path):
    photo(tmp_path / "train/0.jpg")
    write(tmp_path / "labels.csv", "path,label\n/home/dev/faces/0.jpg,all\n")
    assert labels(tmp_path) == {"0.jpg": "all"}
    photo(tmp_path / "other/1.jpg")
    write(tmp_path / "other/train_gt.json", json.dumps({"1.jpg": [1]}))
    with pytest.raises(DataError, match=r"1\.jpg"):
        read_dataset(tmp_path / "other")


def test_the_subset_says_which_photo_of_a_name_is_meant(tmp_path):
    rows = []
    for number, (part, wear) in enumerate((("Train", "mask"), ("Val", "no_mask"))):
        photo(tmp_path / "images" / part / "0.jpg")
        box = f'<box label="{wear}" xtl="1" ytl="1" xbr="9" ybr="9"/>'
        rows.append(f'<image id="{number}" name="0.jpg" subset="{part}">{box}</image>')
    write(tmp_path / "annotations.xml", f"<annotations>{''.join(rows)}</annotations>")
    assert [(p.path, p.label) for p in read_dataset(tmp_path)[1]] == [
        ("images/Train/0.jpg", "all"), ("images/Val/0.jpg", "none"),
    ]  # fmt: skip


# --- photos found -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [lambda n: unicodedata.normalize("NFD", n), quote, str.upper, str.lower])
def test_label_files_of_changed_names_are_found(change, tmp_path):
    for name, faces in MARKED.items():
        stem = f"Café 사진 {name[0]}"
        photo(tmp_path / "images" / f"{stem}.jpg")
        write(tmp_path / "labels" / f"{change(stem)}.txt", lines(faces))
    write(tmp_path / "classes.txt", "\n".join(CLASSES))
    assert {name[-5:]: label for name, label in labels(tmp_path).items()} == ALL


@pytest.mark.parametrize(("images", "marks"), [("Images", "Labels"), ("images", "annotations"), ("img", "txt"),
                                               ("photos", "marks"), ("train/images", "train/Labels")])  # fmt: skip
def test_label_folders_of_other_names_are_found(images, marks, tmp_path):
    yolo(tmp_path, images=images, marks=marks)
    write(tmp_path / "data.yaml", f"names: {CLASSES}")
    assert labels(tmp_path) == ALL


def test_photos_of_other_endings_and_the_same_name_in_two_subsets(tmp_path):
    rows, boxes = [], []
    for number, name in enumerate(("a", "b", "c")):
        photo(tmp_path / "images/Train" / f"{name}.JPG")
        photo(tmp_path / "images/Val" / f"{name}.JPG")
        rows.append({"id": number, "file_name": f"{name}.png"})
        boxes.append({"image_id": number, "category_id": 1, "bbox": [1, 1, 5, 5]})
    for part, category in (("Train", "mask"), ("Val", "no_mask")):
        content = {"images": rows, "annotations": boxes, "categories": [{"id": 1, "name": category}]}
        write(tmp_path / "annotations" / f"instances_{part}.json", json.dumps(content))
    reading = read(tmp_path)
    assert {p.path: p.label for p in reading.photos} == {
        f"images/{part}/{name}.JPG": label for part, label in (("Train", "all"), ("Val", "none")) for name in "abc"
    }
    assert reading.parts["images/Val/a.JPG"] == "validation"


def test_labels_missing_empty_and_without_a_photo_are_told_apart(tmp_path):
    make_yolo(tmp_path)
    (tmp_path / "train/labels/a.txt").unlink()
    (tmp_path / "train/images/b.jpg").unlink()
    _, photos, problems = read_dataset(tmp_path)
    assert {Path(p.path).name: p.label for p in photos} == {"c.jpg": "none", "d.jpg": "some", "e.jpg": "nobody"}
    reasons = dict(problems)
    assert set(reasons) == {"train/labels/b.txt", "train/images/a.jpg"}
    assert "no photo of its name" in reasons["train/labels/b.txt"]
    assert "no label file (looked" in reasons["train/images/a.jpg"]


def test_a_label_file_is_never_paired_across_parts(tmp_path):
    for part in ("train", "test"):
        photo(tmp_path / part / "images/0.jpg")
    photo(tmp_path / "test/images/1.jpg")
    write(tmp_path / "train/labels/0.txt", "0 .5 .5 .2 .2")
    write(tmp_path / "train/labels/1.txt", "0 .5 .5 .2 .2")
    write(tmp_path / "classes.txt", "mask")
    _, photos, problems = read_dataset(tmp_path)
    assert [p.path for p in photos] == ["train/images/0.jpg"]
    assert {p.path for p in problems} == {"train/labels/1.txt", "test/images/0.jpg", "test/images/1.jpg"}


def test_names_that_differ_in_case_only_stay_apart(tmp_path):
    for name, number in (("x", 0), ("X", 1)):
        photo(tmp_path / "images" / f"{name}.jpg")
        write(tmp_path / "labels" / f"{name}.txt", f"{number} .5 .5 .2 .2")
    write(tmp_path / "data.yaml", "nc: 3\nnames: [mask, no_mask]")
    reading = read(tmp_path)
    assert {p.path: p.label for p in reading.photos} == {"images/x.jpg": "all", "images/X.jpg": "none"}
    assert reading.problems == (("data.yaml", "names 2 classes where its nc is 3"),)
    album = Album(tmp_path)
    assert album.find("X.jpg") == ("images/X.jpg", "") and album.find("x.png")[0] == ""


def test_labels_that_could_be_of_two_photos_are_of_none(tmp_path):
    for name in ("x.jpg", "x.png", "y.jpg"):
        photo(tmp_path / name)
    for name in "xy":
        write(tmp_path / f"{name}.txt", "0 .5 .5 .2 .2")
    write(tmp_path / "classes.txt", "mask")
    _, photos, problems = read_dataset(tmp_path)
    assert [p.path for p in photos] == ["y.jpg"] and {p.path for p in problems} == {"x.jpg", "x.png"}
    write(tmp_path / "labels/y.txt", "0 .4 .4 .2 .2")
    with pytest.raises(DataError, match="no photo with a label"):
        read_dataset(tmp_path)


# --- folders and tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("masked", "bare"),
    [("with_mask", "without_mask"), ("WithMask", "WithoutMask"), ("mask", "no-mask"), ("face_mask", "face_no_mask"),
     ("Mask", "Non Mask"), ("masked", "unmasked")],
)  # fmt: skip
@pytest.mark.parametrize("parts", [("",), ("train", "valid", "test"), ("A Set/Train", "A Set/Test")])
def test_class_folders_of_public_sets(masked, bare, parts, tmp_path):
    for part in parts:
        photo(tmp_path / part / masked / "1.jpg")
        photo(tmp_path / part / bare / "2.jpg")
        photo(tmp_path / part / "mask_weared_incorrect" / "3.jpg")
    reading = read(tmp_path)
    assert {(Path(p.path).name, p.label) for p in reading.photos} == {
        ("1.jpg", "all"),
        ("2.jpg", "none"),
        ("3.jpg", "none"),
    }
    assert len(set(reading.parts.values())) == (len(parts) if len(parts) > 1 else 0)
    assert labels(tmp_path, incorrect_is="masked")["3.jpg"] == "all"


def test_further_folders(tmp_path):
    for folder in ("all", "none", "nobody", "unlabelled", "test"):
        photo(tmp_path / folder / "x.jpg")
    with pytest.raises(DataError, match=r"'unlabelled'.*ignore"):
        read_dataset(tmp_path)
    _, photos, problems = read_dataset(tmp_path, classes={"unlabelled": "ignore"})
    assert {p.path: (p.label, p.faces) for p in photos} == {
        "all/x.jpg": ("all", None), "none/x.jpg": ("none", None), "nobody/x.jpg": ("nobody", ()),
    }  # fmt: skip
    assert [p.path for p in problems] == ["test"]  # as the competition's: photos without labels


def test_a_photo_in_folders_of_two_classes_is_refused(tmp_path):
    photo(tmp_path / "all" / "without_mask" / "x.jpg")
    photo(tmp_path / "none" / "0" / "x.jpg")
    photo(tmp_path / "some" / "1" / "x.jpg")
    with pytest.raises(DataError, match=r"all/without_mask/x.jpg lies in a folder of class all .* class none"):
        read_dataset(tmp_path)
    (tmp_path / "all" / "without_mask").rename(tmp_path / "all" / "batch 2")
    assert len(read_dataset(tmp_path)[1]) == 3


def test_a_folder_of_segmentation_masks_is_no_class(tmp_path):
    make_voc(tmp_path)
    photo(tmp_path / "masks" / "z.png")
    photo(tmp_path / "mask" / "y.png")
    assert read(tmp_path).layout == "voc"


def test_tables_as_programs_write_them(tmp_path):
    for number in range(3):
        photo(tmp_path / "imgs" / f"{number}.jpg")
    rows = "".join(f"{number};C:\\data\\imgs\\{number}.jpg;{number}.0\n" for number in range(3))
    write(tmp_path / "train.csv", "\ufeff;Image Name;Label\n" + rows)
    assert labels(tmp_path) == {"0.jpg": "none", "1.jpg": "all", "2.jpg": "some"}


def test_a_name_of_several_photos(tmp_path):
    for name in ("a/0.jpg", "b/0.jpg", "a/1.jpg", "b/1.jpg", "a/2.jpg", "b/2.jpg"):
        photo(tmp_path / name)
    write(tmp_path / "labels.csv", "name,label\n0.jpg,Mask\n0.jpg,Mask\n1.jpg,Mask\n1.jpg,No Mask\n2.jpg,Mask\n")
    _, photos, problems = read_dataset(tmp_path)
    assert {p.path: p.label for p in photos} == {"a/0.jpg": "all", "b/0.jpg": "all"}
    assert [p.path for p in problems] == ["labels.csv:4", "labels.csv:5", "labels.csv:6"]


@pytest.mark.parametrize("header", ["x1,x2,y1,y2", "xmin,xmax,ymin,ymax", "Left,Right,Top,Bottom"])
@pytest.mark.parametrize("shares", [False, True])
def test_edges_are_taken_by_their_columns_names(header, shares, tmp_path):
    photo(tmp_path / "a.jpg")
    box = (0.25, 0.5, 0.25, 0.75) if shares else (16, 32, 12, 36)
    write(tmp_path / "boxes.csv", f"name,{header},classname\na.jpg,{','.join(map(str, box))},with_mask\n")
    assert read_dataset(tmp_path)[1][0].faces == (Face("masked", 16, 12, 32, 36),)


def test_xml_in_other_encodings(tmp_path):
    for number, (encoding, declared) in enumerate((("gb18030", "gb2312"), ("big5", "big5"), ("utf-16", "utf-16"),
                                                    ("shift_jis", "Shift_JIS"), ("gb18030", "utf-8"))):  # fmt: skip
        photo(tmp_path / f"{number}.jpg")
        text = voc_xml("x", [("with_mask", 1, 1, 5, 5)]).replace("<filename>", "<folder>口</folder><filename>")
        (tmp_path / f"{number}.xml").write_bytes(f'<?xml version="1.0" encoding="{declared}"?>{text}'.encode(encoding))
    assert set(labels(tmp_path).values()) == {"all"} and len(labels(tmp_path)) == 5
    garbled = voc_xml("x", [("口罩", 1, 1, 5, 5)])
    (tmp_path / "0.xml").write_bytes(f'<?xml version="1.0" encoding="utf-8"?>{garbled}'.encode("gb18030"))
    _, photos, problems = read_dataset(tmp_path)
    assert len(photos) == 4 and "no class name that can be read" in problems[0].reason


# --- parts and links --------------------------------------------------------------------------------------------------


def test_names_of_parts():
    names = {"Train": "train", "val2017": "validation", "instances_Test": "test", "valid": "validation",
             "trainval": None, "train_test": None, "contest": None, "training": "train"}  # fmt: skip
    for name, part in names.items():
        assert part_named(name) == part, name
    assert part_of("train/all/test/x.jpg") == "test" and part_of("test.jpg") is None


def test_parts_of_lists(tmp_path):
    make_voc(tmp_path)
    write(tmp_path / "ImageSets/Main/train.txt", "a\nb\n")
    write(tmp_path / "ImageSets/Main/val.txt", "c\n")
    write(tmp_path / "ImageSets/Main/trainval.txt", "a\nb\nc\n")
    assert {Path(path).name: part for path, part in read(tmp_path).parts.items()} == {
        "a.jpg": "train", "b.jpg": "train", "c.jpg": "validation",
    }  # fmt: skip
    (tmp_path / "ImageSets/Main/valid.txt").write_bytes(b"caf\xe9")
    assert [problem.path for problem in read(tmp_path).problems] == ["ImageSets/Main/valid.txt"]
    write(tmp_path / "ImageSets/Main/test.txt", "a\n")
    with pytest.raises(DataError, match=r"both name images/a.jpg"):
        read(tmp_path)


def test_the_labels_of_a_photo_called_test_are_no_list_of_a_part(tmp_path):
    for name in ("0", "test", "my photo"):
        photo(tmp_path / f"{name}.jpg")
        write(tmp_path / f"{name}.txt", "0 .5 .5 .2 .2")
    write(tmp_path / "classes.txt", "mask")
    write(tmp_path / "lists/train.txt", "./my photo.jpg\n0.jpg 1\n")
    assert read(tmp_path).parts == {"my photo.jpg": "train", "0.jpg": "train"}


@pytest.mark.parametrize("make", [make_coco, make_cvat, make_createml, make_boxes, make_retinanet])
def test_a_single_file_says_nothing_of_other_photos(make, tmp_path):
    make(tmp_path)
    photo(tmp_path / "other.jpg")
    file = next(f for f in sorted(tmp_path.rglob("*")) if f.suffix in (".json", ".xml", ".csv"))
    if make is make_coco:
        file = file.rename(tmp_path / file.name)
    root, photos, problems = read_dataset(file)
    assert root == file.parent.resolve() and not problems
    assert {Path(p.path).name: p.label for p in photos} == (LABELS if make is make_boxes else ALL)


def test_links_to_folders_are_followed_once(tmp_path):
    yolo(tmp_path / "elsewhere")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/images").symlink_to(tmp_path / "elsewhere/images")
    (tmp_path / "data/labels").symlink_to(tmp_path / "elsewhere/labels")
    (tmp_path / "data/images/loop").symlink_to(tmp_path / "data")
    write(tmp_path / "data/data.yaml", f"names: {CLASSES}")
    assert labels(tmp_path / "data") == ALL


def test_names_that_are_not_utf8_are_told(tmp_path):
    for label in ("all", "none"):
        photo(tmp_path / label / "x.jpg")
    Path(os.fsdecode(bytes(tmp_path / "all") + b"/caf\xe9.jpg")).write_bytes((tmp_path / "all/x.jpg").read_bytes())
    _, photos, problems = read_dataset(tmp_path)
    assert [p.path for p in photos] == ["all/x.jpg", "none/x.jpg"]
    assert problems == [("all/caf\\xe9.jpg", "its name is not UTF-8; rename it")]


def test_a_label_file_in_the_folder_of_one_part_is_of_no_other(tmp_path):
    for name in ("valid/3.jpg", "train/4.jpg"):
        photo(tmp_path / name)
    names = [{"id": 0, "name": "with_mask"}, {"id": 1, "name": "without_mask"}]
    boxes = [{"image_id": 7, "category_id": 0, "bbox": [2, 2, 20, 20]}]
    content = {"images": [{"id": 7, "file_name": "3.jpg"}], "annotations": boxes, "categories": names}
    write(tmp_path / "train/_annotations.coco.json", json.dumps(content))
    with pytest.raises(DataError, match=r"there is no photo 3\.jpg in the part 'train'"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ('p.jpg,"all\nq.jpg,none\n', "unexpected end of data"),
        ('p.jpg,"all\nq.jpg,none"\n', "a quote isn't closed before"),
        ("p.jpg,all,none\n", "has 3 columns, the header 2"),
    ],
)
def test_rows_that_a_stray_sign_moves_are_told(rows, reason, tmp_path):
    for name in ("p.jpg", "q.jpg", "r.jpg"):
        photo(tmp_path / name)
    write(tmp_path / "labels.csv", "path,label\nr.jpg,all\n" + rows)
    _, photos, problems = read_dataset(tmp_path)
    assert [one.path for one in photos] == ["r.jpg"] and any(reason in one.reason for one in problems)


def test_an_attributes_value_that_says_how_a_mask_is_worn(tmp_path):
    make_cvat(tmp_path)
    whole = labels(tmp_path)
    file = tmp_path / "annotations.xml"
    (tmp_path / "status.xml").write_text(
        file.read_text().replace("/>", '><attribute name="status">incorrect</attribute></box>', 1)
    )
    file.unlink()
    assert len(labels(tmp_path)) == len(whole) - 1


def test_a_link_to_nothing_and_a_name_with_a_backslash_are_told(tmp_path):
    for label in ("all", "none"):
        photo(tmp_path / label / "a.jpg")
    photo(tmp_path / "all" / "sub\\b.jpg")
    (tmp_path / "notes.json").symlink_to(tmp_path / "gone.json")
    _, photos, problems = read_dataset(tmp_path)
    assert [one.path for one in photos] == ["all/a.jpg", "none/a.jpg"]
    assert any("holds a backslash" in one.reason for one in problems)


def test_a_missing_mended_label_is_none_of_the_classes(tmp_path):
    (tmp_path / "mended.csv").write_text("path,label\nall/a.jpg,None\n")
    with pytest.raises(DataError, match="label 'None'"):
        read_relabels(tmp_path / "mended.csv")


def test_copies_of_copies_are_of_one_source():
    names = ["a_jpg.rf.0123456789abcdef0123456789abcdef.jpg", "a_rot90_jpg.rf.fedcba98765432100123456789abcdef.jpg"]
    assert [(pair.a, pair.b) for pair in same_source(names)] == [(0, 1)]
    keras = [f"with_mask_aug_{number}_{drawn}.png" for number in range(5) for drawn in (11, 12)]
    assert [(pair.a, pair.b) for pair in same_source(keras)] == [(k, k + 1) for k in range(0, 10, 2)]
    assert not same_source([f"photo_aug_{number}_jpg.rf.{number:032x}.jpg" for number in range(5)])


def test_two_columns_of_classes_of_boxes_may_not_contradict(tmp_path):
    photo(tmp_path / "a.jpg")
    write(tmp_path / "boxes.csv", "filename,xmin,ymin,xmax,ymax,label,class\na.jpg,1,1,9,9,with_mask,incorrect\n")
    with pytest.raises(DataError, match="its columns of classes say with_mask and incorrect"):
        read_dataset(tmp_path)


def test_shares_a_little_beyond_the_photo_are_still_shares(tmp_path):
    photo(tmp_path / "a.jpg")
    write(tmp_path / "boxes.csv", "filename,xmin,ymin,xmax,ymax,label\na.jpg,0.1,0.1,1.0001,0.5,with_mask\n")
    _, (one,), _ = read_dataset(tmp_path)
    assert one.faces[0].right > 10


def test_a_box_beside_a_label_that_says_nobody_is_refused(tmp_path):
    photo(tmp_path / "nobody/a.jpg")
    photo(tmp_path / "all/b.jpg")
    write(tmp_path / "nobody/a.txt", "0 0.5 0.5 0.2 0.2\n")
    write(tmp_path / "classes.txt", "with_mask\nwithout_mask\n")
    with pytest.raises(DataError, match=r"nobody/a\.jpg is nobody as folders and all as yolo"):
        read_dataset(tmp_path, classes={"nobody": "nobody"})
