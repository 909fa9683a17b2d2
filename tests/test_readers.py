"""Every layout is read into the same photos and labels; whatever is wrong is named with its file and line."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from allmasked.core.errors import ConfigError, DataError
from allmasked.core.types import Face
from allmasked.data.albums import Album
from allmasked.data.annotations import label_of
from allmasked.data.readers import READERS, Options, read_dataset

SIZE = (64, 48)
MARKED = {  # what every detection layout below says: wear and box (px) of each face
    "a.jpg": [("with_mask", 4, 6, 20, 30), ("with_mask", 30, 6, 44, 28)],
    "b.jpg": [("with_mask", 4, 6, 20, 30), ("without_mask", 30, 6, 44, 28)],
    "c.jpg": [("without_mask", 8, 8, 24, 32)],
    "d.jpg": [("mask_weared_incorrect", 8, 8, 24, 32), ("with_mask", 30, 6, 44, 28)],
    "e.jpg": [],
}
LABELS = {"a.jpg": "all", "b.jpg": "some", "c.jpg": "none", "d.jpg": "some"}
NUMBERS = {"none": 0, "all": 1, "some": 2}
CLASSES = ["with_mask", "without_mask", "mask_weared_incorrect"]


def photo(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (*SIZE[::-1], 3), np.uint8)
    Image.fromarray(values).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def voc_xml(name: str, faces: list[tuple]) -> str:
    objects = "".join(
        f"<object><name>{wear}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for wear, left, top, right, bottom in faces
    )
    return f"<annotation>\n<filename>{name}</filename>\n{objects}\n</annotation>"


def make_folders(root: Path) -> None:
    rows = ["photo,wear,left,top,right,bottom"]
    for name, label in LABELS.items():
        photo(root / label / name)
        rows += [f"{label}/{name},{','.join(map(str, face))}" for face in MARKED[name]]
    write(root / "faces.csv", "\n".join(rows) + "\n")
    write(root / "notes.txt", "not a photo")
    photo(root / "all" / ".hidden.jpg")
    photo(root / ".cache" / "x.jpg")


def make_competition(root: Path) -> None:
    for name in MARKED:
        photo(root / "training" / name)
    write(root / "train_gt.json", json.dumps({name: NUMBERS[label] for name, label in LABELS.items()}))


def make_csv(root: Path) -> None:
    for name in LABELS:
        photo(root / "photos" / name)
    rows = [f"photos/{name};{label if name < 'c' else NUMBERS[label]}" for name, label in LABELS.items()]
    write(root / "labels.csv", "\n".join(["Image;Label", *rows]))


def make_voc(root: Path) -> None:
    for name, faces in MARKED.items():
        photo(root / "images" / name)
        write(root / "annotations" / f"{name[0]}.xml", voc_xml(name, faces))


def make_yolo(root: Path) -> None:
    for name, faces in MARKED.items():
        photo(root / "train" / "images" / name)
        rows = [
            f"{CLASSES.index(wear)} {(x + right) / 2 / SIZE[0]} {(y + bottom) / 2 / SIZE[1]} "
            f"{(right - x) / SIZE[0]} {(bottom - y) / SIZE[1]}"
            for wear, x, y, right, bottom in faces
        ]
        write(root / "train" / "labels" / f"{name[0]}.txt", "\n".join(rows))
    write(root / "data.yaml", f"train: train/images\nnc: 3\nnames: {CLASSES}\n")


def make_coco(root: Path) -> None:
    names = list(MARKED)
    annotations = [
        {"image_id": names.index(name), "category_id": CLASSES.index(wear) + 1, "bbox": [x, y, right - x, bottom - y]}
        for name, faces in MARKED.items()
        for wear, x, y, right, bottom in faces
    ]
    for name in names:
        photo(root / "train" / name)
    content = {
        "images": [{"id": names.index(name), "file_name": name} for name in names],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)],
    }
    write(root / "annotations" / "instances_train.json", json.dumps(content))


def make_cvat(root: Path) -> None:
    images = []
    for number, (name, faces) in enumerate(MARKED.items()):
        photo(root / "images" / "default" / name)
        boxes = "".join(
            f'<box label="{wear}" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"/>'
            for wear, left, top, right, bottom in faces
        )
        images.append(f'<image id="{number}" name="{name}" width="{SIZE[0]}" height="{SIZE[1]}">{boxes}</image>')
    write(root / "annotations.xml", f"<annotations><version>1.1</version>{''.join(images)}</annotations>")


def make_createml(root: Path) -> None:
    rows = []
    for name, faces in MARKED.items():
        photo(root / "train" / name)
        marks = [
            {"label": wear, "coordinates": {"x": (x + r) / 2, "y": (y + b) / 2, "width": r - x, "height": b - y}}
            for wear, x, y, r, b in faces
        ]
        rows.append({"image": name, "annotations": marks})
    write(root / "train" / "_annotations.createml.json", json.dumps(rows))


def make_labelme(root: Path) -> None:
    for name, faces in MARKED.items():
        photo(root / name)
        shapes = [
            {"label": wear, "points": [[right, bottom], [x, y]], "shape_type": "rectangle"}
            for wear, x, y, right, bottom in faces
        ]
        content = {"shapes": shapes, "imagePath": name, "imageWidth": SIZE[0], "imageHeight": SIZE[1]}
        write(root / f"{name[0]}.json", json.dumps(content))


def make_supervisely(root: Path) -> None:
    for name, faces in MARKED.items():
        photo(root / "ds" / "img" / name)
        objects = [
            {"classTitle": wear, "geometryType": "rectangle", "points": {"exterior": [[x, y], [r, b]], "interior": []}}
            for wear, x, y, r, b in faces
        ]
        content = {"size": {"width": SIZE[0], "height": SIZE[1]}, "objects": objects}
        write(root / "ds" / "ann" / f"{name}.json", json.dumps(content))
    write(root / "meta.json", json.dumps({"classes": [{"title": name} for name in CLASSES]}))


def make_boxes(root: Path) -> None:
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for name, faces in MARKED.items():
        photo(root / "train" / name)
        rows += [f"{name},{SIZE[0]},{SIZE[1]},{wear},{','.join(map(str, box))}" for wear, *box in faces]
    write(root / "train" / "_annotations.csv", "\n".join(rows))


def make_onehot(root: Path) -> None:
    rows = ["filename, mask, no-mask"]
    for name, label in LABELS.items():
        photo(root / "train" / name)
        rows.append(f"{name}, {int(label != 'none')}, {int(label != 'all')}")
    write(root / "train" / "_classes.csv", "\n".join(rows))


def make_retinanet(root: Path) -> None:
    rows = []
    for name, faces in MARKED.items():
        photo(root / name)
        rows += [f"{name},{','.join(map(str, box))},{wear}" for wear, *box in faces] or [f"{name},,,,,"]
    write(root / "annotations.csv", "\n".join(rows))
    write(root / "classes.csv", "with_mask,0\nwithout_mask,1\n")


MAKERS = {
    "folders": make_folders,
    "competition": make_competition,
    "csv": make_csv,
    "voc": make_voc,
    "yolo": make_yolo,
    "coco": make_coco,
    "cvat": make_cvat,
    "createml": make_createml,
    "labelme": make_labelme,
    "supervisely": make_supervisely,
    "boxes": make_boxes,
    "onehot": make_onehot,
    "retinanet": make_retinanet,
}
WITHOUT_BOXES = ("competition", "csv", "onehot")
SAYS_NOBODY = ("voc", "yolo", "coco", "cvat", "createml", "labelme", "supervisely", "retinanet")


def test_every_reader_has_a_maker():
    assert set(MAKERS) == set(READERS)


@pytest.mark.parametrize("layout", READERS)
def test_layouts_are_recognised_and_agree(layout, tmp_path):
    MAKERS[layout](tmp_path)
    assert next(name for name, reader in READERS.items() if reader.detect(tmp_path, Options())) == layout
    root, photos, problems = read_dataset(tmp_path)
    assert root == tmp_path.resolve()
    nobody = {"e.jpg": "nobody"} if layout in SAYS_NOBODY else {}
    assert {Path(photo.path).name: photo.label for photo in photos} == LABELS | nobody
    assert all((root / photo.path).is_file() and "\\" not in photo.path for photo in photos)
    assert [photo.path for photo in photos] == sorted(photo.path for photo in photos)
    if layout == "boxes":  # a photo without a row may be one that nobody looked at
        assert [(p.path, p.reason) for p in problems] == [
            ("train/e.jpg", "no CSV of boxes names it, so its label is unknown")
        ]
    else:
        assert not problems
    if layout not in WITHOUT_BOXES:
        for found in photos:
            marked = MARKED[Path(found.path).name]
            assert [f.wear for f in found.faces] == [Options().wearing(m[0]) for m in marked]
            edges = [[f.left, f.top, f.right, f.bottom] for f in found.faces]
            np.testing.assert_allclose(edges, [m[1:] for m in marked], atol=1e-6)


@pytest.mark.parametrize("layout", ["voc", "yolo", "coco"])
def test_incorrect_may_count_as_masked(layout, tmp_path):
    MAKERS[layout](tmp_path)
    _, photos, _ = read_dataset(tmp_path, incorrect_is="masked")
    assert {Path(p.path).name: p.label for p in photos} == {**LABELS, "d.jpg": "all", "e.jpg": "nobody"}


@pytest.mark.parametrize("layout", ["voc", "yolo", "coco"])
def test_wear_names_classes(layout, tmp_path):
    MAKERS[layout](tmp_path)
    for file in [*tmp_path.rglob("*.xml"), *tmp_path.rglob("*.json"), *tmp_path.rglob("*.yaml")]:
        file.write_text(file.read_text().replace("with_mask", "Type A").replace("mask_weared_incorrect", "Hat"))
    with pytest.raises(DataError, match=r"--wear"):
        read_dataset(tmp_path)
    _, photos, _ = read_dataset(tmp_path, wear={"type-a": "masked", "HAT": "ignore"})
    assert {Path(p.path).name: p.label for p in photos} == {**LABELS, "d.jpg": "all", "e.jpg": "nobody"}


def test_numbered_and_named_class_folders(tmp_path):
    for folder in ("0", "1/deep/er", "2"):
        photo(tmp_path / folder / "x.png")
    _, photos, _ = read_dataset(tmp_path)
    assert [(p.path, p.label) for p in photos] == [("0/x.png", "none"), ("1/deep/er/x.png", "all"), ("2/x.png", "some")]
    (tmp_path / "1").rename(tmp_path / "Everyone")
    with pytest.raises(DataError, match=r"'Everyone'.*--classes 'Everyone=all'"):
        read_dataset(tmp_path)
    _, photos, _ = read_dataset(tmp_path, classes={"everyone": "all"})
    assert photos[2].label == "all"


def test_bad_rows_of_faces_csv(tmp_path):
    make_folders(tmp_path)
    with (tmp_path / "faces.csv").open("a") as file:
        file.write("all/a.jpg,masked,5,5,5,9\nall/zz.jpg,masked,1,1,2,2\nnone/c.jpg,hat,1,1,2,2\nnone/c.jpg,1\n")
        file.write("some/b.jpg,masked,nan,1,2,2\n")
    _, photos, problems = read_dataset(tmp_path)
    assert [p.path for p in problems] == ["faces.csv:12", *(f"faces.csv:{n}" for n in (9, 10, 11, 13))]
    by_name = {p.path: p for p in photos}
    assert by_name["all/a.jpg"].faces is None and by_name["some/b.jpg"].faces is None
    assert len(by_name["some/d.jpg"].faces) == 2


def test_faces_csv_without_a_column(tmp_path):
    make_folders(tmp_path)
    write(tmp_path / "faces.csv", "photo,wear,left,top,right\n")
    with pytest.raises(DataError, match=r"faces.csv:1: has no column 'bottom'"):
        read_dataset(tmp_path)


def test_bad_rows_of_a_csv(tmp_path):
    make_csv(tmp_path)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("\nphotos/zz.jpg;all\nphotos/a.jpg;maybe\n../../secret.jpg;all\nphotos/b.jpg;none\nphotos/c.jpg\n")
    _, photos, problems = read_dataset(tmp_path)
    assert [p.path for p in photos] == ["photos/c.jpg", "photos/d.jpg"]
    reasons = dict(problems)
    assert set(reasons) == {f"labels.csv:{n}" for n in range(6, 11)}
    assert "no photo photos/zz.jpg" in reasons["labels.csv:6"] and "'maybe'" in reasons["labels.csv:7"]
    assert "no photo" in reasons["labels.csv:8"] and "none here and some before" in reasons["labels.csv:9"]


def test_csv_file_itself_and_other_labels(tmp_path):
    photo(tmp_path / "x.jpg")
    write(tmp_path / "my.csv", "note,label,path\nhello,Ja,x.jpg\n")
    root, photos, _ = read_dataset(tmp_path / "my.csv", classes={"ja": "all"})
    assert root == tmp_path.resolve() and [(p.path, p.label) for p in photos] == [("x.jpg", "all")]


def test_broken_files_name_file_and_line(tmp_path):
    make_competition(tmp_path)
    write(tmp_path / "train_gt.json", '{"a.jpg": 1,\n"b.jpg": oops}')
    with pytest.raises(DataError, match=r"train_gt.json:2: is not valid JSON"):
        read_dataset(tmp_path)
    write(tmp_path / "train_gt.json", '{"a.jpg": 1, "b.jpg": 7, "zz.jpg": 0}')
    _, photos, problems = read_dataset(tmp_path)
    assert [p.path for p in photos] == ["training/a.jpg"] and len(problems) == 2


def test_broken_annotations_are_named_and_their_photos_left_out(tmp_path):
    make_voc(tmp_path / "voc")
    write(tmp_path / "voc" / "annotations" / "a.xml", "<annotation>\n<object>\n</annotation>")
    write(tmp_path / "voc" / "annotations" / "b.xml", '<!DOCTYPE x [<!ENTITY y "z">]><annotation/>')
    _, photos, problems = read_dataset(tmp_path / "voc")
    assert [p.path for p in problems] == ["annotations/a.xml:3", "annotations/b.xml"]
    assert "the label of images/a.jpg is unknown" in problems[0].reason
    assert [p.path for p in photos] == ["images/c.jpg", "images/d.jpg", "images/e.jpg"]
    make_yolo(tmp_path / "yolo")
    write(tmp_path / "yolo/train/labels/a.txt", "0 .5 .5 .2 .2\n9 .5 .5 .2 .2\n0 .5 x .2 .2\n0 .5\n")
    _, photos, problems = read_dataset(tmp_path / "yolo")
    assert [p.path for p in problems] == [f"train/labels/a.txt:{n}" for n in (2, 3, 4)]
    assert [Path(p.path).name for p in photos] == ["b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    write(tmp_path / "yolo/data.yaml", "names: [a\nb: ]")
    with pytest.raises(DataError, match=r"data.yaml:\d+: is not valid YAML"):
        read_dataset(tmp_path / "yolo")


def test_voc_file_named_as_the_photo_wins_over_a_stale_filename(tmp_path):
    photo(tmp_path / "1.jpg")
    photo(tmp_path / "2.jpg")
    write(tmp_path / "1.xml", voc_xml("2.jpg", [("mask", 1, 1, 5, 5)]))
    write(tmp_path / "2.xml", voc_xml("elsewhere.jpg", [("no mask", 1, 1, 5, 5)]))
    _, photos, _ = read_dataset(tmp_path)
    assert [(p.path, p.label) for p in photos] == [("1.jpg", "all"), ("2.jpg", "none")]


def test_yolo_boxes_are_of_the_upright_photo(tmp_path):
    (tmp_path / "images").mkdir()
    image = Image.new("RGB", (80, 40))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "images/x.jpg", exif=exif)
    write(tmp_path / "labels/x.txt", "0 0.5 0.5 1 1")
    write(tmp_path / "classes.txt", "mask\n")
    _, photos, _ = read_dataset(tmp_path)
    assert photos[0].faces == (Face("masked", 0, 0, 40, 80),)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "vco"}, "Did you mean 'voc'"),
        ({"classes": {"x": "al"}}, "Did you mean 'all'"),
        ({"wear": {"x": "mask"}}, "Did you mean 'masked'"),
    ],
)
def test_wrong_options(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read_dataset(tmp_path, **settings)


@pytest.mark.parametrize("layout", READERS)
def test_nothing_there(layout, tmp_path):
    with pytest.raises(DataError):
        read_dataset(tmp_path, layout=layout)


def test_no_data_set(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_dataset(tmp_path / "none")
    photo(tmp_path / "cats" / "x.jpg")
    with pytest.raises(DataError, match=r"known layout.*folders are cats"):
        read_dataset(tmp_path)
    (tmp_path / "all").mkdir()
    (tmp_path / "cats" / "x.jpg").unlink()
    with pytest.raises(DataError, match="holds no photo"):
        read_dataset(tmp_path)


def test_album_finds_by_place_then_by_unique_name(tmp_path):
    for name in ("a/x.jpg", "b/x.jpg", "b/y.jpg"):
        photo(tmp_path / name)
    album = Album(tmp_path)
    assert album.find("x.jpg", near=tmp_path / "a/list.csv") == ("a/x.jpg", "")
    assert album.find("x.jpg", near=tmp_path / "lists/of_b.csv") == ("b/x.jpg", "")
    assert album.find("elsewhere/b/x.jpg")[0] == "" and "could be" in album.find("x.jpg")[1]
    assert album.find("b\\x.jpg") == ("b/x.jpg", "") and album.find("y") == ("b/y.jpg", "")
    assert album.find(str(tmp_path / "a/x.jpg")) == ("a/x.jpg", "")


@given(st.lists(st.sampled_from(["masked", "bare", "incorrect"]), max_size=6))
def test_label_of_faces(wears):
    faces = [Face(wear, 0, 0, 1, 1) for wear in wears]
    bare = [wear != "masked" for wear in wears]
    expected = None if not wears else "none" if all(bare) else "some" if any(bare) else "all"
    assert label_of(faces) == expected
    assert label_of(faces, "masked") == label_of(
        [Face("masked" if f.wear == "incorrect" else f.wear, 0, 0, 1, 1) for f in faces]
    )
