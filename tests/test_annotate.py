"""The drawn answer: colours say what each face wears, whether it counts, and whether a person should look."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from allmasked.annotate import annotate, write_annotated
from allmasked.core.colours import ANSWERS, FACES, NOT_COUNTED, SERIES, UNSURE, css
from allmasked.core.types import FoundFace, Prediction
from allmasked.predictors.predictor import Answered

SIZE = (400, 300)
MASKED = FoundFace("masked", 0.95, 40, 40, 140, 160, 0.9)
BARE = FoundFace("bare", 0.95, 240, 40, 340, 160, 0.1)
BEHIND = FoundFace("bare", 0.95, 180, 200, 230, 260, 0.1, False, "far behind the others")


def drawn(faces: tuple[FoundFace, ...] = (), **answer: object) -> np.ndarray:
    prediction = Prediction("x", **({"label": "some", "probabilities": (0.05, 0.05, 0.9)} | answer), faces=faces)  # type: ignore[arg-type]
    return np.asarray(annotate(Image.new("RGB", SIZE, (60, 60, 60)), SIZE, prediction), int)


def shows(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where a picture (H, W, 3) has a colour."""
    return np.abs(picture - colour).max(-1) < 12


def test_each_face_has_its_colour_where_it_is() -> None:
    picture = drawn((MASKED, BARE, BEHIND))[: SIZE[1]]
    for face, colour in ((MASKED, FACES["masked"]), (BARE, FACES["bare"]), (BEHIND, NOT_COUNTED)):
        rows, columns = np.nonzero(shows(picture, colour))
        assert abs(columns.min() - face.left) < 6 and abs(columns.max() - face.right) < 6
        assert abs(rows.max() - face.bottom) < 6


@pytest.mark.parametrize(
    ("answer", "colour"),
    [
        ({}, ANSWERS["some"]),
        ({"label": "nobody", "probabilities": (0.02, 0.02, 0.02), "p_nobody": 0.94}, ANSWERS["nobody"]),
        ({"probabilities": (0.3, 0.05, 0.65)}, UNSURE),
    ],
)
def test_the_strip_says_the_verdict_and_whether_it_is_sure(
    answer: dict[str, object], colour: tuple[int, int, int]
) -> None:
    strip = drawn(**answer)[SIZE[1] :]
    assert len(strip) >= 26 and shows(strip, colour)[:, :4].all()
    for other in {UNSURE, *ANSWERS.values()} - {colour}:
        assert not shows(strip, other)[:, :4].any()


def test_heat_that_is_not_there_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 48)).save(path)
    answered = Answered(Prediction(str(path), "all", (1.0, 0.0, 0.0)), str(path), (64, 48), ((64, 48), "letterbox"))
    for _ in range(2):
        write_annotated(answered, tmp_path / "out", heat=True)
    assert capsys.readouterr().err.count("no heat is drawn") == 1
    assert len(list((tmp_path / "out").rglob("*.answer.jpg"))) == 1


def test_what_stands_for_no_answer_has_no_answers_colour() -> None:
    assert not {*SERIES} & {UNSURE, NOT_COUNTED, *ANSWERS.values(), *FACES.values()}


def test_pages_have_the_colours_of_the_table() -> None:
    package = resources.files("allmasked")
    page = (package / "serving" / "web" / "page.css").read_text(encoding="utf-8")
    for wear, colour in FACES.items():
        assert f".{wear} {{ stroke: {css(colour)};" in page and f"i.{wear} {{ background: {css(colour)};" in page
    report = (package / "reports" / "templates" / "base.html").read_text(encoding="utf-8")
    for answer, colour in ANSWERS.items():
        assert f"--{answer}: {css(colour)};" in report
