"""A closer look at parts of photos: where they lie, what is asked again, faces each once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from allmasked.cli import cli
from allmasked.core.errors import ConfigError
from allmasked.core.types import Candidates, Counting, Prediction
from allmasked.networks.reading import INSIDE, OVERLAP, overlaps
from allmasked.predictors import tiles
from allmasked.predictors.faces import prediction_from
from allmasked.predictors.predictor import Look, predict_paths
from colour_model import BLUE, GREY, SKIN, ColourModel
from maps import candidate_lists


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_parts_cover_the_photo(width: int, height: int) -> None:
    parts = np.array(tiles.parts_of((width, height)))
    assert parts.min() >= 0 and parts[:, 2].max() == width and parts[:, 3].max() == height
    assert (parts[:, 2:] > parts[:, :2]).all()
    covered = np.zeros((20, 20), bool)
    for left, top, right, bottom in parts:
        x, y = (np.arange(20) + 0.5) / 20 * width, (np.arange(20) + 0.5) / 20 * height
        covered |= np.outer((y >= top - 1) & (y <= bottom + 1), (x >= left - 1) & (x <= right + 1))
    assert covered.all()


def candidates(*rows: tuple[float, float, tuple[float, float, float, float]]) -> Candidates:
    """Of (score, masked, box)."""
    score, masked, boxes = zip(*rows)
    return Candidates(np.array(boxes, float), np.array(score), np.array(masked), np.ones(len(rows), bool))


def test_a_face_is_counted_once() -> None:
    whole = (0.9, 0.95, (10, 10, 50, 60))
    cut = (0.5, 0.9, (10, 40, 50, 60))
    near = (0.6, 0.1, (14, 12, 54, 62))
    other = (0.7, 0.2, (100, 10, 140, 60))
    found = tiles.once([candidates(cut, near), candidates(whole), candidates(other)])
    assert found.score.tolist() == [0.9, 0.7] and found.masked.tolist() == [0.95, 0.2]
    assert found.boxes.tolist() == [list(whole[2]), list(other[2])]


@given(st.lists(candidate_lists(), min_size=1, max_size=4))
def test_looks_together_keep_each_face_once(looks: list[Candidates]) -> None:
    found = tiles.once(looks)
    given_rows = {(*box, p, m) for look in looks for box, p, m in zip(look.boxes.tolist(), look.score, look.masked)}
    kept_rows = [(*box, p, m) for box, p, m in zip(found.boxes.tolist(), found.score, found.masked)]
    assert set(kept_rows) <= given_rows and (np.diff(found.score) <= 0).all()
    if given_rows:
        assert found.score[0] == max(row[4] for row in given_rows), "the likeliest stays"
    apart = ~np.eye(len(found), dtype=bool)
    assert not (overlaps(found.boxes, found.boxes)[0][apart] > OVERLAP).any()
    for one in range(len(found)):
        for other in range(len(found)):
            assert one == other or inside(found.boxes[one], found.boxes[other]) <= INSIDE + 1e-9


def inside(one: np.ndarray, other: np.ndarray) -> float:
    """The share of a box that lies in another."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(np.clip(sides, 0, None).prod() / (one[2:] - one[:2]).prod())


def test_faces_that_a_part_cuts_are_left_out() -> None:
    boxes = np.array([(0, 20, 20, 40), (40, 20, 60, 40), (20, 0, 40, 20), (20, 28, 40, 48), (20, 15, 40, 35)], float)
    whole = (100, 80)
    for part, expected in (
        ((0, 0, 60, 48), [False, True, False, True, False]),  # the left top corner: only inner edges cut
        ((40, 32, 100, 80), [True, False, True, False, False]),
        ((20, 16, 80, 64), [True, True, True, True, False]),
        ((0, 0, 60, 80), [False, True, False, False, False]),
    ):
        assert tiles.cut_faces(boxes, part, whole).tolist() == expected


def test_when_to_look_closer() -> None:
    sure, unsure = (Prediction("x", "all", (p, 0.95 - p, 0), p_nobody=0.05) for p in (0.9, 0.6))
    assert [tiles.wanted(one, when) for when in tiles.TILES for one in (sure, unsure)] == [
        False, False, False, True, True, True
    ]  # fmt: skip


def small_face(path: Path, colour: tuple[int, int, int] = SKIN) -> str:
    """A masked face, and one too small for the whole photo at 64 x 48 px."""
    image = Image.new("RGB", (640, 480), GREY)
    image.paste(BLUE, (400, 80, 560, 240))
    image.paste(colour, (42, 42, 102, 102))
    image.save(path)
    return str(path)


def test_small_faces_are_seen_from_near(tmp_path: Path) -> None:
    path = small_face(tmp_path / "crowd.png")
    model = ColourModel()
    (far,) = predict_paths(model, [("crowd", path)])
    assert (far.label, far.masked, far.bare) == ("all", 1, 0)
    assert model.batches == [1]
    (near,) = predict_paths(model, [("crowd", path)], look=Look(tiles="always"))
    assert near.path == "crowd" and model.batches[1:] == [1, 5]
    assert (near.label, near.masked, near.bare) == ("some", 1, 1)
    assert near.four[2] > 0.9 > 0.1 > far.four[2]
    (bare,) = (face for face in near.faces or () if face.wear == "bare")
    assert bare.left >= 30 and bare.right <= 114 and bare.top >= 30 and bare.bottom <= 114
    (masked,) = (face for face in near.faces or () if face.wear == "masked")
    edges = (masked.left, masked.top, masked.right, masked.bottom)
    assert edges == pytest.approx((400, 80, 560, 240)), "not one of its pieces"
    (large_only,) = predict_paths(model, [("crowd", path)], look=Look(min_face_px=100, tiles="always"))
    assert (large_only.label, large_only.masked, large_only.bare) == ("all", 1, 0)
    assert [face.counts for face in large_only.faces or ()] == [True, False]


def test_what_is_looked_at_closer_is_read_as_ever(tmp_path: Path) -> None:
    model = ColourModel()
    image = Image.open(small_face(tmp_path / "crowd.png"))
    first = Candidates(np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(0, bool))
    found = tiles.look_closer(model, image, (1280, 960), first)
    assert found.boxes.max() > 800, "in px of the photo, not of what was decoded"
    prediction = prediction_from("crowd", found, Counting())
    assert (prediction.label, prediction.masked, prediction.bare) == ("some", 1, 1)
    with_first = tiles.look_closer(model, image, (1280, 960), found)
    np.testing.assert_array_equal(with_first.boxes, found.boxes)


def test_only_unsure_photos_are_looked_at_again(tmp_path: Path) -> None:
    class Doubtful(ColourModel):
        """Finds it hard to tell whether anything is a face where the corner is black."""

        def maps(self, photo: np.ndarray) -> np.ndarray:
            maps = super().maps(photo)
            if photo[:8, :8].mean() < 100:
                maps[..., :2] = np.where(maps[..., :2] > 0, 0, -8)
            return maps

    sure, unsure = tmp_path / "sure.png", tmp_path / "unsure.png"
    image = Image.new("RGB", (640, 480), GREY)
    for left in (160, 400):
        image.paste(BLUE, (left, 160, left + 160, 240))
    image.save(sure)
    image.paste((0, 0, 0), (0, 0, 80, 80))
    image.save(unsure)
    model = Doubtful()
    paths = [("sure", sure), ("unsure", unsure), ("gone", tmp_path / "gone.png")]
    found = list(predict_paths(model, paths, look=Look(tiles="unsure")))
    assert model.batches == [2, 5]
    assert [one.path for one in found] == ["sure", "unsure", "gone"]
    assert found[0] == next(iter(predict_paths(model, paths[:1])))
    assert [one.sure for one in predict_paths(model, paths)] == [True, False, None]
    assert found[1].sure is True, "parts without the dark corner tell"
    assert found[2].error == "no such file"


@pytest.mark.parametrize("when", tiles.TILES)
def test_photos_that_are_all_broken(tmp_path: Path, when: str) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    paths = [("gone", tmp_path / "gone.png"), ("broken", tmp_path / "broken.png")]
    found = list(predict_paths(ColourModel(), paths, look=Look(tiles=when), batch_size=1))
    assert [one.error for one in found] == ["no such file", "is not a photo in a known format"]


def test_what_cannot_be_looked_at_closer() -> None:
    class Blind(ColourModel):
        finds_faces = False

    for look, message in (
        (Look(tiles="always"), "finds no faces.*--tiles"),
        (Look(min_face_px=9), "finds no faces.*--min-face-px"),
        (Look(min_face_share=0.5), "finds no faces.*--min-face-px"),
    ):
        with pytest.raises(ConfigError, match=message):
            list(predict_paths(Blind(), [], look=look))
    with pytest.raises(ConfigError, match="must be one of never, unsure, always"):
        list(predict_paths(ColourModel(), [], look=Look(tiles="sometimes")))


def test_the_model_that_ships_looks_closer(tmp_path: Path) -> None:
    path = small_face(tmp_path / "crowd.png")
    result = CliRunner().invoke(cli, ["predict", path, "--tiles", "always", "--format", "csv"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].startswith(path)
