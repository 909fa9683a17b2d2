"""A closer look at parts of photos: where they lie, what is asked again, faces each once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from allmasked import tiles
from allmasked.cli import cli
from allmasked.errors import ConfigError
from allmasked.evidence import probabilities_of
from allmasked.faces import Pooling, nobody_of
from allmasked.predictor import predict_paths
from allmasked.types import Answers, FoundFace
from colour_model import BLUE, GREY, SKIN, ColourModel, picture


class Closer(ColourModel):
    """With maps that are pooled, as a trained head's."""

    pooling = Pooling((5.0, 5.0), (1.0, 1.0), (0.0, 0.0))
    face_score = 0.35


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


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=5))
def test_presence_is_what_the_probabilities_came_from(logits: list[tuple[float, float]]) -> None:
    presence = np.array(logits, np.float32)
    answers = Answers(probabilities_of(presence), nobody_of(presence))
    assert np.allclose(tiles.presence_of(answers), presence, atol=0.02)


def test_a_face_is_counted_once() -> None:
    whole = FoundFace("masked", 0.9, 10, 10, 50, 60)
    cut = FoundFace("masked", 0.5, 10, 40, 50, 60)
    near = FoundFace("bare", 0.6, 14, 12, 54, 62)
    other = FoundFace("bare", 0.7, 100, 10, 140, 60)
    assert tiles.once([cut, near, whole, other]) == (whole, other)


def small_face(path: Path, colour: tuple[int, int, int] = SKIN) -> str:
    """A masked face, and one too small for the whole photo at 64 x 48 px."""
    image = Image.new("RGB", (640, 480), GREY)
    image.paste(BLUE, (400, 200, 560, 360))
    image.paste(colour, (42, 42, 102, 102))
    image.save(path)
    return str(path)


def test_small_faces_are_seen_from_near(tmp_path: Path) -> None:
    path = small_face(tmp_path / "crowd.png")
    model = Closer()
    (far,) = predict_paths(model, [("crowd", path)])
    assert (far.label, {face.wear for face in far.faces or ()}) == ("all", {"masked"})
    assert model.batches == [1]
    (near,) = predict_paths(model, [("crowd", path)], tiles="always")
    assert near.path == "crowd" and model.batches[1:] == [1, 5]
    assert near.probabilities is not None and far.probabilities is not None
    assert near.probabilities[2] > 10 * far.probabilities[2]
    bare = [face for face in near.faces or () if face.wear == "bare"]
    assert bare
    for face in bare:
        assert face.left >= 30 and face.right <= 114 and face.top >= 30 and face.bottom <= 114
    (large_only,) = predict_paths(model, [("crowd", path)], tiles="always", min_face_px=100)
    assert large_only.label == "nobody" and not large_only.faces  # each cell of this model is a face of 80 px at most


def test_only_unsure_photos_are_looked_at_again(tmp_path: Path) -> None:
    class Unsure(Closer):
        def answer(self, pixels: np.ndarray) -> Answers:
            found = super().answer(pixels)
            grey = np.abs(pixels[:, :8, :8].mean((1, 2, 3)) - 128) < 3
            found.probabilities[~grey] = 1 / 3
            return found

    sure, unsure = tmp_path / "sure.png", tmp_path / "unsure.png"
    picture("all", (640, 480)).save(sure)
    dark = picture("all", (640, 480))
    dark.paste((0, 0, 0), (0, 0, 80, 80))
    dark.save(unsure)
    model = Unsure()
    paths = [("sure", sure), ("unsure", unsure), ("gone", tmp_path / "gone.png")]
    found = list(predict_paths(model, paths, tiles="unsure"))
    assert model.batches == [2, 5]
    assert [one.path for one in found] == ["sure", "unsure", "gone"]
    assert found[0] == next(iter(predict_paths(model, paths[:1])))
    assert found[2].error == "no such file"


@pytest.mark.parametrize("when", tiles.TILES)
def test_photos_that_are_all_broken(tmp_path: Path, when: str) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    paths = [("gone", tmp_path / "gone.png"), ("broken", tmp_path / "broken.png")]
    found = list(predict_paths(Closer(), paths, tiles=when, batch_size=1))
    assert [one.error for one in found] == ["no such file", "is not a photo in a known format"]


def test_what_cannot_be_looked_at_closer() -> None:
    with pytest.raises(ConfigError, match="finds no faces"):
        list(predict_paths(ColourModel(), [], tiles="always"))
    with pytest.raises(ConfigError, match="must be one of never, unsure, always"):
        list(predict_paths(Closer(), [], tiles="sometimes"))


def test_the_model_that_ships_looks_closer(tmp_path: Path) -> None:
    path = small_face(tmp_path / "crowd.png")
    result = CliRunner().invoke(cli, ["predict", path, "--tiles", "always", "--format", "csv"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].startswith(path)
