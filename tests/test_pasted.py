"""``synth pasted``: heads fitted, light followed, views clean, labels true to what was painted, repeatable."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

pytest.importorskip("skia")
pytest.importorskip("cv2")
pytest.importorskip("scipy")

from allmasked.cli import cli
from allmasked.core.errors import DataError
from allmasked.synth import painted
from allmasked.synth.drawn import scenes
from allmasked.synth.paint import masks
from allmasked.synth.paint.distractors import DISTRACTORS
from allmasked.synth.paint.geometry import Light
from allmasked.synth.pasted import fitting, landmarks, survey
from allmasked.synth.pasted import paste as pasted
from allmasked.synth.pasted.landmarks import Found
from test_synth import digests


def head(yaw: float, pitch: float, roll: float, size: float, x: float = 200, y: float = 150) -> Found:
    """What a perfect detector says of a head in this pose."""
    turn = fitting.rotation(yaw, pitch, roll)[:2]
    points = fitting.LANDMARKS @ turn.T * size + [x, y]
    chin = turn @ fitting.CHIN * size + [x, y]
    middle = (np.array([x, y]) + chin) / 2
    box = (middle[0] - 0.6 * size, middle[1] - size, middle[0] + 0.6 * size, middle[1] + 0.5 * size)
    return Found((float(box[0]), float(box[1]), float(box[2]), float(box[3])), 0.9, points)


# --- geometry ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    yaw=st.floats(-0.7, 0.7), pitch=st.floats(-0.35, 0.35), roll=st.floats(-0.6, 0.6), size=st.floats(12, 300)
)  # fmt: skip
def test_a_head_is_found_in_its_pose(yaw: float, pitch: float, roll: float, size: float) -> None:
    fit = fitting.fit_head(head(yaw, pitch, roll, size))
    assert fit is not None
    assert fit.yaw == pytest.approx(yaw, abs=0.12) and fit.roll == pytest.approx(roll, abs=0.12)
    assert fit.misfit < 0.03
    face = fit.geometry
    assert float(face.down @ [-math.sin(roll), math.cos(roll)]) > 0.95
    for v in (0.2, 0.5, 0.8):  # the middle line lies between the edges
        left, middle, right = face.edge(-1, v), face.middle(v), face.edge(1, v)
        assert (left - middle) @ face.across < 0 < (right - middle) @ face.across


def test_profiles_and_nonsense_are_refused() -> None:
    assert fitting.fit_head(head(1.25, 0, 0, 80)) is None
    upside = head(0, 0, 0, 80)
    jumbled = Found(upside.box, 0.9, upside.points[[3, 1, 0, 2, 4]])
    assert fitting.fit_head(jumbled) is None
    assert fitting.fit_head(head(0, 0, 0, 2)) is None


def test_a_far_ear_is_hidden() -> None:
    turned = fitting.fit_head(head(0.6, 0, 0, 100))
    front = fitting.fit_head(head(0, 0, 0, 100))
    assert turned is not None and front is not None
    assert turned.geometry.ears.count(None) == 1 and None not in front.geometry.ears


# --- light, blur, noise -----------------------------------------------------------------------------------------------


def portrait(size: float = 90.0) -> tuple[fitting.Image, Found]:
    """A plain oval of skin with eyes, before a grey wall; lit from the left."""
    import cv2

    image = np.full((360, 400, 3), 150, np.uint8)
    found = head(0, 0, 0, size)
    cv2.ellipse(
        image, (200, int(150 + 0.2 * size)), (int(0.66 * size), int(0.9 * size)), 0, 0, 360, (206, 160, 132), -1
    )
    for x, y in found.points[:2]:
        cv2.circle(image, (int(x), int(y)), max(2, int(size * 0.07)), (40, 30, 30), -1)
    shade = np.linspace(1.05, 0.6, 400)[None, :, None]
    return (image * shade).clip(0, 255).astype(np.uint8), found


def test_blur_and_noise_are_measured() -> None:
    import cv2

    rng = np.random.default_rng(0)
    image, found = portrait()
    fit = fitting.fit_head(found)
    assert fit is not None
    measured = []
    for sigma in (0.01, 1.5, 3.0):
        soft = cv2.GaussianBlur(image, (0, 0), sigma)
        measured.append(fitting.conditions(soft, found.box, fit.geometry).blur_px[0])
    assert measured[0] < 0.8 and measured[1] == pytest.approx(1.5, abs=0.4) and measured[2] > 2.3
    streaked = fitting.conditions(cv2.blur(image, (9, 1)), found.box, fit.geometry).blur_px
    assert streaked[0] > 1.5 * streaked[1]
    noisy = (image + rng.normal(0, 5, image.shape[:2])[..., None]).clip(0, 255).astype(np.uint8)
    assert fitting.conditions(noisy, found.box, fit.geometry).noise == pytest.approx(5, abs=1.5)
    assert fitting.conditions(image, found.box, fit.geometry).light.x < -0.3


def test_a_mask_takes_the_faces_light_and_leaves_the_rest() -> None:
    image, found = portrait()
    what: dict[str, Any] = {}
    for seed in range(20):
        changed, what = pasted.dress(image, found, True, False, np.random.default_rng(seed))
        if what["kind"] == "surgical" and "distractor" not in what and min(what["colour"]) > 140:
            break
    assert what["wear"] == "masked" and what["place"] == "worn"
    fit = fitting.fit_head(found)
    assert fit is not None
    face = fit.geometry
    left, right = (fitting.colours_at(changed, face.at([u], [0.6])).mean() for u in (-0.6, 0.6))
    assert left > right + 12  # lit from the left, as the face is
    difference = np.abs(changed.astype(int) - image).max(axis=2)
    x, y = (round(v) for v in face.middle(0.6))
    assert difference[y, x] > 20
    for eye in found.points[:2]:
        assert difference[round(eye[1]) - 3, round(eye[0])] == 0
    assert difference[:60].max() == 0 and difference[-40:].max() == 0


def test_grey_photos_get_grey_masks_and_dark_ones_dark_masks() -> None:
    image, found = portrait()
    grey = np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    fit = fitting.fit_head(found)
    assert fit is not None
    masked, _ = pasted.dress(grey, found, True, False, np.random.default_rng(1))
    x, y = (round(v) for v in fit.geometry.middle(0.6))
    patch = masked[y - 5 : y + 5, x - 5 : x + 5].astype(int)
    assert np.ptp(patch, axis=2).mean() < 8
    dark = (image * 0.3).astype(np.uint8)
    assert (
        fitting.conditions(dark, found.box, fit.geometry).exposure
        < 0.5 * fitting.conditions(image, found.box, fit.geometry).exposure
    )


def test_a_flat_mask_has_hard_edges_and_one_colour() -> None:
    image, found = portrait()
    fit = fitting.fit_head(found)
    assert fit is not None
    style = masks.MaskStyle("surgical", ((143, 192, 224),))
    light = Light()
    stuck = fitting.stick(
        image, fit.geometry, lambda brush, face: masks.paint_mask(brush, face, style, "worn", light, flat=True)
    )
    changed = np.any(stuck != image, axis=2)
    colours = Counter(map(tuple, stuck[changed].tolist()))
    assert (
        sum(colours[colour] for colour in colours if max(abs(np.subtract(colour, (143, 192, 224)))) <= 3)
        > 0.4 * changed.sum()
    )
    dark = fitting.stick(
        image // 4, fit.geometry, lambda brush, face: masks.paint_mask(brush, face, style, "worn", light, flat=True)
    )
    assert np.array_equal(
        dark[changed & np.any(dark != image // 4, axis=2)], stuck[changed & np.any(dark != image // 4, axis=2)]
    )


def test_masks_already_there_are_noticed() -> None:
    image, found = portrait()
    fit = fitting.fit_head(found)
    assert fit is not None
    assert not fitting.looks_masked(image, fit.geometry)
    noticed = 0
    for seed in range(12):
        masked, what = pasted.dress(image, found, True, False, np.random.default_rng(seed))
        if min(what["colour"]) > 120:
            noticed += 1
            assert fitting.looks_masked(masked, fit.geometry), what
    assert noticed


def test_no_mask_is_painted_over_a_hand() -> None:
    plain, found = portrait()
    fit = fitting.fit_head(found)
    assert fit is not None
    face = fit.geometry
    assert fitting.mouth_hidden(plain, face)
    picture = Image.fromarray(plain)
    x, y = face.mouth
    ImageDraw.Draw(picture).ellipse((x - 20, y - 5, x + 20, y + 5), (150, 76, 74))
    image = np.asarray(picture)
    assert not fitting.mouth_hidden(image, face)
    seen, skin = fitting.conditions(image, found.box, face), fitting.skin_of(image, face)
    hidden = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        paint = partial(DISTRACTORS["hand"], face=face, skin=skin, rng=rng)
        hand = fitting.paint_layer(image, face, paint, 2.6)
        hidden += fitting.mouth_hidden(fitting.lay(image, hand, face, seen, rng), face)
    assert hidden >= 9


# --- views and plan ---------------------------------------------------------------------------------------------------

box_strategy = st.tuples(st.integers(0, 560), st.integers(0, 420), st.integers(16, 90)).map(
    lambda place: [float(place[0]), float(place[1]), float(place[0] + place[2]), float(place[1] + place[2] * 1.25)]
)


def record_of(boxes: list[tuple[list[float], str]]) -> dict[str, Any]:
    faces: list[dict[str, Any]] = [
        {"box": box, "why": why} if why else {"box": box, "found": [box, 0.9, [[0, 0]] * 5]} for box, why in boxes
    ]
    return {"path": "a.jpg", "size": [640, 480], "faces": faces}


@settings(max_examples=80, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(box_strategy, st.sampled_from(["", "", "wears a mask", "too small"])), min_size=1, max_size=7
    ),
    strict=st.booleans(),
)
def test_views_show_only_faces_that_may_be_seen(boxes: list[tuple[list[float], str]], strict: bool) -> None:
    record = record_of(boxes)
    for view in survey.views_of(record, strict):
        left, top, right, bottom = view["rect"]
        assert 0 <= left < right <= 640 and 0 <= top < bottom <= 480 and view["faces"]
        assert all("found" in face for face in view["faces"])
        shown = [face["box"] for face in view["faces"]] + view["bare"]
        assert not strict or not view["bare"]
        for box, why in boxes:
            h = survey.head_of(box, 640, 480)
            touches = h[0] < right and left < h[2] and h[1] < bottom and top < h[3]
            assert touches == (box in shown)
            assert not (touches and why == "wears a mask")


def test_a_bare_face_beside_a_masked_one_gets_a_view_of_its_own() -> None:
    record = record_of([([60, 100, 140, 200], ""), ([460, 100, 540, 200], "wears a mask")])
    (view,) = survey.views_of(record, True)
    assert view["rect"][2] <= 445 and view["rect"][0] == 0
    assert survey.views_of(record_of([([60, 100, 140, 200], ""), ([110, 100, 190, 200], "wears a mask")]), True) == []


def views(*people: int) -> list[dict[str, Any]]:
    box = [10.0, 10.0, 60.0, 70.0]
    return [
        {"path": f"{k}.jpg", "rect": [0, 0, 200, 200], "faces": [{"box": box}] * number, "bare": []}
        for k, number in enumerate(people)
    ]


def test_the_plan_is_balanced_over_classes_and_people() -> None:
    tasks = pasted.plan(views(*[1] * 30, 2, 2, 3, 5, 7), 300, 4)
    assert tasks == pasted.plan(views(*[1] * 30, 2, 2, 3, 5, 7), 300, 4)
    assert pasted.plan(views(*[1] * 30, 2, 2, 3, 5, 7), 120, 4) == tasks[:120]  # more photos: the same and then others
    assert Counter(task["label"] for task in tasks) == {"all": 100, "none": 100, "some": 100}
    people = {
        label: [sum(len(view["faces"]) for view in task["views"]) for task in tasks if task["label"] == label]
        for label in ("all", "none", "some")
    }
    assert min(people["some"]) == 2
    assert abs(np.mean(people["all"]) - np.mean(people["none"])) < 0.8
    several = {label: np.mean([number for number in counts if number > 1]) for label, counts in people.items()}
    assert max(several.values()) - min(several.values()) < 0.8
    assert any(len(task["views"]) > 1 for task in tasks)
    only_portraits = pasted.plan(views(1, 1, 1), 30, 0)
    assert all(len(task["views"]) > 1 for task in only_portraits if task["label"] == "some")


def test_boxes_follow_the_picture() -> None:
    """A red square is where its box says, however photos are cut, mirrored, shrunk and set side by side."""
    for count in (1, 2, 3, 4):
        for seed in range(6):
            rng = np.random.default_rng([count, seed])
            pictures, marks = [], []
            for _ in range(count):
                image = np.full((240, 320, 3), 30, np.uint8)
                x, y = int(rng.integers(60, 200)), int(rng.integers(60, 120))
                image[y : y + 60, x : x + 50] = (255, 0, 0)
                box = [float(x), float(y), x + 50.0, y + 60.0]
                view = {"path": "", "rect": [0, 0, 320, 240], "faces": [{"box": box}], "bare": []}
                picture, frame = pasted.framed(image, view, rng)
                pictures.append(picture)
                marks.append([{"wear": "bare", **pasted.moved(box, frame, picture.size)}])
            whole, faces = pasted.side_by_side(pictures, marks) if count > 1 else (pictures[0], marks[0])
            red = np.asarray(whole)[..., 0] > 140
            assert len(faces) == count
            inside = np.zeros_like(red)
            for face in faces:
                rows, columns = (
                    slice(round(face["top"]), round(face["bottom"])),
                    slice(round(face["left"]), round(face["right"])),
                )
                assert red[rows, columns].mean() > 0.85
                inside[max(0, rows.start - 2) : rows.stop + 2, max(0, columns.start - 2) : columns.stop + 2] = True
            assert not (red & ~inside).any()


# --- the detector -----------------------------------------------------------------------------------------------------


def test_the_detector_is_the_file_that_its_licence_names() -> None:
    digest = hashlib.sha256(landmarks.WEIGHTS.read_bytes()).hexdigest()
    assert digest in landmarks.WEIGHTS.with_suffix(".LICENSE").read_text(encoding="utf-8")


def test_the_detector_finds_the_same_after_other_sizes() -> None:
    """OpenCV 4, with layers fused, found hundreds of faces from the second size on."""
    image, _ = scenes.draw_scene(np.random.default_rng(1), "none", 1, (420, 320))
    first = landmarks.find(image, 640)
    others = [landmarks.find(image, long_px) for long_px in (320, 960)]
    again = landmarks.find(image, 640)
    assert 1 <= len(first) < 5 and all(1 <= len(found) < 5 for found in others)
    assert [face.box for face in again] == [face.box for face in first]


# --- the whole job ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn photos of unmasked people, and one of nobody and one that is none."""
    folder = tmp_path_factory.mktemp("people")
    drawn = seed = 0
    while drawn < 5:
        image, faces = scenes.draw_scene(np.random.default_rng(seed), "none", 1 + seed % 2, (420, 320))
        seed += 1
        if all(face.wear == "bare" for face in faces):
            Image.fromarray(image).save(folder / f"{drawn}.png")
            drawn += 1
    Image.new("RGB", (300, 200), (90, 120, 90)).save(folder / "nobody.png")
    (folder / "broken.jpg").write_bytes(b"not a photo")
    return folder


@pytest.fixture(scope="module")
def made(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pasted") / "data"
    pasted.paste_dataset(people, out, 9, 5, workers=1)
    return out


def test_labels_boxes_and_manifest_agree(made: Path) -> None:
    with (made / "faces.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["photo", "wear", "left", "top", "right", "bottom"]
    photos = sorted(path.relative_to(made).as_posix() for path in made.glob("*/*.jpg"))
    assert Counter(name.split("/")[0] for name in photos) == {"all": 3, "none": 3, "some": 3}
    for name in photos:
        with Image.open(made / name) as image:
            width, height = image.size
        wears = [row["wear"] for row in rows if row["photo"] == name]
        masked = wears.count("masked")
        assert name.split("/")[0] == ("none" if masked == 0 else "all" if masked == len(wears) else "some")
        for row in rows:
            if row["photo"] == name:
                assert 0 <= float(row["left"]) < float(row["right"]) <= width
                assert 0 <= float(row["top"]) < float(row["bottom"]) <= height
    manifest = json.loads((made / "synth.json").read_text())
    assert manifest["finished"] and manifest["settings"]["kind"] == "pasted"
    assert manifest["left_out"]["cannot be read"] == 1 and manifest["left_out"]["no face found"] >= 1
    for record in manifest["photos"]:
        assert len(record["painted"]) == len(record["faces"])
        for face, what in zip(record["faces"], record["painted"]):
            assert ("place" in what) == (face["wear"] != "bare")
            assert (face["wear"] == "masked") == (what.get("place") == "worn")
    with Image.open(made / "sheet.png") as sheet:
        assert sheet.width > 1000
    assert not (made / survey.SURVEY).exists() and not (made / painted.JOURNAL).exists()


def test_same_seed_same_files_and_a_stopped_run_goes_on(
    people: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real, calls = tmp_path / "data", pasted.paste_photo, list[object]()

    def stopping(*arguments: Any) -> dict[str, Any]:
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(pasted, "paste_photo", stopping)
    with pytest.raises(KeyboardInterrupt):
        pasted.paste_dataset(people, out, 9, 5, workers=1)
    monkeypatch.setattr(pasted, "paste_photo", real)
    monkeypatch.setattr(survey, "survey", None)  # the survey is not made again
    done = pasted.paste_dataset(people, out, 9, 5, workers=1)
    assert (done.summary.kept, done.summary.drawn) == (4, 5)
    assert digests(out) == digests(made)


@pytest.mark.slow
def test_workers_change_nothing(people: Path, made: Path, tmp_path: Path) -> None:
    pasted.paste_dataset(people, tmp_path / "two", 9, 5, workers=2)
    assert digests(tmp_path / "two") == digests(made)


def test_known_boxes_decide_who_is_bare(people: Path, tmp_path: Path) -> None:
    """In a data set of bare and masked people only the marked bare ones are painted on; the others stay out."""
    data = tmp_path / "data"
    rows = ["photo,wear,left,top,right,bottom"]
    for label in ("none", "some"):
        (data / label).mkdir(parents=True)
    rng = np.random.default_rng(3)
    image, faces = scenes.draw_scene(rng, "some", 2, (480, 320))
    Image.fromarray(image).save(data / "some" / "a.png")
    rows += [f"some/a.png,{face.wear},{face.left},{face.top},{face.right},{face.bottom}" for face in faces]
    found = landmarks.find(np.asarray(Image.open(people / "0.png")), 600, landmarks.SURE)
    Image.open(people / "0.png").save(data / "none" / "b.png")
    rows += ["none/b.png,unmasked," + ",".join(str(round(edge)) for edge in face.box) for face in found]
    (data / "faces.csv").write_text("\n".join(rows) + "\n")
    root, sources = survey.sources_of(data)
    assert [source.path for source in sources] == ["none/b.png", "some/a.png"]
    for source in sources:
        record = survey.survey(root, source)
        assert source.faces is not None
        for face, seen in zip(source.faces, record["faces"]):
            assert face.wear == "bare" or "found" not in seen
    assert any("found" in face for face in survey.survey(root, sources[0])["faces"])


def test_command(people: Path, tmp_path: Path) -> None:
    arguments = ["synth", "pasted", str(people), str(tmp_path / "out"), "--photos", "3", "--workers", "1"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout == "all\t1\nnone\t1\nsome\t1\n"
    assert "left out" in result.stderr


def test_folders_without_people_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="no photo"):
        pasted.paste_dataset(tmp_path / "photos", tmp_path / "out", 3)
    Image.new("RGB", (300, 200), (90, 120, 90)).save(tmp_path / "photos" / "nobody.png")
    with pytest.raises(DataError, match=r"no face found: 1"):
        pasted.paste_dataset(tmp_path / "photos", tmp_path / "out", 3, workers=1)
    with pytest.raises(DataError, match="no such"):
        pasted.paste_dataset(tmp_path / "missing", tmp_path / "out", 3)
    assert not list((tmp_path / "out").glob("*"))
