"""What the model sees in a data set: faces that nobody marked, labels that it contradicts, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from allmasked.cli import cli
from allmasked.core.types import Face, FoundFace, InputSpec, Photo, Prediction
from allmasked.inspection.inspect import Inspection, inspect
from allmasked.inspection.look import judged
from allmasked.reports.inspection_page import make_page
from colour_model import COLOURS, SKIN, ColourModel, picture
from test_inspection import check_page

SIZE = (320, 240)
BOXES = [(40, 40, 120, 160), (200, 40, 280, 160)]  # of colour_model.picture at SIZE
WEAR = {label: tuple("bare" if c == SKIN else "masked" for c in COLOURS[label]) for label in ("all", "none", "some")}


def write(root: Path, path: str, label: str, marks: list[tuple[str, int]] | None, rows: list[str]) -> None:
    """A photo that shows ``label`` with marks of wear and place."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    picture(label, SIZE).save(root / path)
    rows += [f"{path},{wear}," + ",".join(map(str, BOXES[place])) for wear, place in marks or ()]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    """Two right photos a class, one without a mark, one marked otherwise, one with a wrong label."""
    root = tmp_path_factory.mktemp("seen") / "data"
    rows = ["photo,wear,left,top,right,bottom"]
    for label, wear in WEAR.items():
        for number in range(2):
            write(root, f"{label}/{number}.png", label, list(zip(wear, (0, 1))), rows)
    write(root, "all/unmarked.png", "all", [("masked", 0)], rows)
    write(root, "all/otherwise.png", "some", [("masked", 0), ("masked", 1)], rows)
    write(root, "none/nowhere.png", "nobody", [("bare", 1)], rows)
    write(root, "none/unknown.png", "none", [("bare", 0), ("unknown", 1)], rows)
    (root / "faces.csv").write_text("\n".join(rows))
    return inspect(root, looks=lambda _: ColourModel(input=InputSpec(SIZE)))


def test_what_contradicts_the_model_is_found_and_nothing_else(found: Inspection) -> None:
    assert found.seen is not None
    assert (found.seen.model, found.seen.photos) == ("colours", 10)
    (face,) = found.seen.unmarked
    assert (face.path, face.marked, face.wear) == ("all/unmarked.png", "", "masked")
    assert [face.left, face.top, face.right, face.bottom] == pytest.approx(BOXES[1], abs=10)
    (face,) = found.seen.other_wear
    assert (face.path, face.marked, face.wear) == ("all/otherwise.png", "masked", "bare")
    (doubt,) = found.seen.doubts
    assert (doubt.path, doubt.label, doubt.seen) == ("all/otherwise.png", "all", "some")
    assert doubt.words == "seen as some: 1 masked, 1 bare"
    assert [(f.key, f.count) for f in found.findings if f.key in ("doubts", "unmarked", "other_wear")] == [
        ("doubts", 1), ("other_wear", 1), ("unmarked", 1)
    ]  # fmt: skip


def test_it_stands_in_the_json_and_on_the_page(found: Inspection, tmp_path: Path) -> None:
    plain = json.loads(json.dumps(found.to_json()))["seen"]
    assert plain["doubts"][0]["path"] == plain["other_wear"][0]["path"] == "all/otherwise.png"
    assert plain["unmarked"][0]["path"] == "all/unmarked.png"
    text = make_page(found, tmp_path / "page.html").read_text()
    check_page(text)
    for words in ("Labels that contradict it: 1", "marked masked, seen bare", "Faces that nobody marked: 1"):
        assert words in text


def face(wear: str, left: float, score: float = 0.99, *, counts: bool = True) -> FoundFace:
    masked = 0.99 if wear == "masked" else 0.01
    return FoundFace(wear, score, left, 0, left + 40, 50, masked, counts)  # type: ignore[arg-type]


def seen(label: str, marks: list[Face] | None, answer: str, faces: list[FoundFace], sure: float = 0.98):  # type: ignore[no-untyped-def]
    photo = Photo("x.jpg", label, faces=None if marks is None else tuple(marks))  # type: ignore[arg-type]
    four = dict.fromkeys(("all", "none", "some", "nobody"), (1 - sure) / 3) | {answer: sure}
    said = Prediction(
        "x.jpg", answer, (four["all"], four["none"], four["some"]), p_nobody=four["nobody"], faces=tuple(faces)
    )  # type: ignore[arg-type]
    return judged("m", [(photo, said)])


def test_a_marked_face_that_the_model_misses_is_believed() -> None:
    far = Face("bare", 200, 0, 206, 8)
    assert not seen("some", [Face("masked", 0, 0, 40, 50), far], "all", [face("masked", 0)]).doubts
    assert not seen("all", [Face("masked", 0, 0, 40, 50)], "nobody", []).doubts
    assert seen("some", None, "all", [face("masked", 0)]).doubts, "without marks there is only the label"
    assert seen("nobody", [], "none", [face("bare", 0)]).doubts


def test_marks_of_masks_worn_incorrectly_are_believed() -> None:
    wrong = Face("incorrect", 0, 0, 40, 50)
    one, two = face("masked", 0), face("masked", 100)
    assert not seen("none", [wrong], "all", [one]).other_wear and not seen("none", [wrong], "all", [one]).doubts
    assert not seen("all", [wrong], "all", [one]).doubts and not seen("some", [wrong], "all", [one, two]).doubts
    assert seen("none", [wrong], "all", [one, two]).doubts, "the other one is masked"
    assert seen("none", [Face("bare", 0, 0, 40, 50)], "all", [one]).other_wear


def test_unsure_answers_and_uncounted_faces_accuse_nobody() -> None:
    assert not seen("none", None, "all", [face("masked", 0)], sure=0.6).doubts
    assert not seen("some", None, "all", [face("masked", 0), face("bare", 100, counts=False)]).doubts
    assert not seen("all", [], "all", [face("masked", 0, 0.7)]).unmarked
    assert not seen("all", [], "all", [face("masked", 0, counts=False)]).unmarked
    assert not seen("all", None, "all", [face("masked", 0)]).unmarked, "nobody marked anything in it"
    assert not seen("all", [Face("unknown", 5, 0, 45, 50)], "none", [face("bare", 0)]).other_wear


def test_the_command_looks_unless_told_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "allmasked.predictors.predictor.open_predictor", lambda *_args, **_more: ColourModel(input=InputSpec(SIZE))
    )
    for label in WEAR:
        write(tmp_path / "data", f"{label}/x.png", "all", None, [])

    def run(*more: str) -> str:
        assert cli.main(["inspect", str(tmp_path / "data"), *more], standalone_mode=False) == 0
        done = capsys.readouterr()
        return done.out + done.err

    assert "2 labels that contradict what the model sees" in run()
    assert "the model sees" not in run("--no-look")
    monkeypatch.setattr("allmasked.cli.data.LOOKED_AT", 2)
    assert "--look" in (text := run()) and "2 labels" not in text
    assert "2 labels that contradict" in run("--look")


def test_the_model_that_ships_looks_without_keras(tmp_path: Path) -> None:
    import subprocess
    import sys

    for label in WEAR:
        write(tmp_path / "data", f"{label}/x.png", "all", None, [])
    code = """
import sys
from allmasked.cli import main
try:
    main()
finally:
    assert not {"keras", "tensorflow", "torch"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(tmp_path / "data"), "--json", "-"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["seen"]["photos"] == 3
