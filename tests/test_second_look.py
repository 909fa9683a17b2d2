"""The second look: crops, what it changes, the exported file, and its training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from allmasked.cli import cli
from allmasked.core.config import TrainConfig, read_recipe
from allmasked.core.errors import ConfigError, DataError, RunError
from allmasked.core.runs import Run
from allmasked.core.types import Split
from allmasked.networks import model as models
from allmasked.training.second_look import LookSettings, add_second_look
from allmasked.training.train import train
from conftest import make_split

keras = pytest.importorskip("keras")
RECIPE = read_recipe("default", {"size": [96, 64], "frame": [64, 64], "epochs": 0, "head_epochs": 1, "batch_size": 6})
SETTINGS = LookSettings(side=32, epochs=2, batch_size=8)
pytestmark = pytest.mark.usefixtures("shallow")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Split, Run]:
    folder = tmp_path_factory.mktemp("plain")
    split = make_split(folder / "data", {"train": 4, "validation": 2})
    config = TrainConfig(head="evidence", weights="random", recipe=RECIPE)
    return split, train(split, config, folder / "run", cache=folder / "cache")


@pytest.fixture(scope="module")
def looking(plain: tuple[Split, Run]) -> Run:
    return add_second_look(plain[1].folder, plain[1].folder.parent / "looking", SETTINGS)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 96, 3)).astype(np.float32)


def test_a_crop_is_a_mean_of_points_of_the_photo() -> None:
    from allmasked.networks.second_look import crop

    photo = noise(1)
    squares = np.array([[[10.0, 8, 42, 40], [-9, 30, 23, 62], [70, 20, 134, 84]]], np.float32)
    found = np.asarray(crop(photo, squares, 16))[0]
    for square, one in zip(squares[0], found):
        step = (square[2] - square[0]) / 32
        for row, column in ((0, 0), (3, 7), (15, 15)):
            points = []
            for dy in (0.5, 1.5):
                for dx in (0.5, 1.5):
                    x, y = square[0] - 0.5 + (2 * column + dx) * step, square[1] - 0.5 + (2 * row + dy) * step
                    inside = -1 <= x <= 96 and -1 <= y <= 64
                    x, y = np.clip(x, 0, 95), np.clip(y, 0, 63)
                    low_x, low_y = min(int(x), 94), min(int(y), 62)
                    a, b, c, d = (photo[0, low_y + i, low_x + j] for i in (0, 1) for j in (0, 1))
                    u, v = x - low_x, y - low_y
                    points.append(inside * ((1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)))
            np.testing.assert_allclose(one[row, column], np.mean(points, 0), atol=0.01)


def test_training_crops_as_the_network_does(plain: tuple[Split, Run]) -> None:
    from allmasked.networks.second_look import crop, square
    from allmasked.training.loaders import Source
    from allmasked.training.second_look import Crops

    split, run = plain
    source = Source(split, RECIPE.input, run.folder.parent / "cache")
    photo = source.array("train")[0]
    boxes = np.array([[20.0, 10, 44, 40], [60, 30, 90, 70]], np.float32)
    found = np.asarray(crop(photo[None].astype(np.float32), square(boxes[None]), 32))[0]
    cut = [Crops(source, RECIPE, SETTINGS).crop(photo, box, None) for box in boxes]
    apart = np.abs(found - np.stack(cut))
    assert apart[0].max() < 3  # OpenCV counts in 1/32 px
    assert (apart[1] < 3).mean() > 0.95  # but for the photo's edge, which ONNX draws out by a px


def test_it_takes_its_share_of_both_questions() -> None:
    from allmasked.networks.second_look import SecondLook

    pixels = keras.Input((32, 32, 3))
    network = keras.Model(pixels, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(pixels)))
    network.set_weights([np.zeros((3, 3), np.float32), np.array([3.0, 1.0, 0.5], np.float32)])
    maps = np.zeros((1, 8, 12, 6), np.float32)
    maps[..., :2], maps[..., 4:] = -9.0, np.log(3.0)
    maps[0, 2, 3, :2], maps[0, 6, 9, :2] = (-1.0, 2.0), (-1.6, -1.2)  # the second is hardly there
    z, d = np.logaddexp(-1.0, 2.0), -3.0
    for s, w in ((0.0, 0.0), (1.0, 1.0), (0.0, 0.5), (0.25, 0.0)):
        after = np.asarray(SecondLook(network, (s, w))([noise(1), maps]))
        np.testing.assert_array_equal(after[..., 2:], maps[..., 2:])
        masked, bare = after[0, 2, 3, :2]
        assert np.logaddexp(masked, bare) == pytest.approx((1 - s) * z + s * (np.logaddexp(3, 1) - 0.5), abs=1e-4)
        assert masked - bare == pytest.approx((1 - w) * d + w * 2.0, abs=1e-4)
        moved = np.abs(after - maps)[0, ..., :2].max(-1) > 1e-4
        assert moved.any() == (s + w > 0) and not moved[:5, 6:].any()  # as wide as a face, and no wider
        share = (np.logaddexp(-1.6, -1.2) + 1.2) / 0.8  # of the way from PROPOSED to FULLY
        assert (after - maps)[0, 6, 9, 0] == pytest.approx(
            share * (s * (np.logaddexp(3, 1) - 0.5 - np.logaddexp(-1.6, -1.2)) + np.logaddexp(0, 0.4)
                     - np.logaddexp(0, -((1 - w) * -0.4 + w * 2.0))), abs=1e-4
        )  # fmt: skip


def test_the_exported_file_answers_the_same(looking: Run, tmp_path: Path) -> None:
    import onnxruntime

    from allmasked.exporting.onnx_graph import graph_of

    model = models.load(looking.model)
    file = tmp_path / "model.onnx"
    file.write_bytes(graph_of(model).SerializeToString())
    session = onnxruntime.InferenceSession(file)
    for count in (1, 5):
        photos = noise(count, seed=count)
        names = [output.name for output in session.get_outputs()]
        said = dict(zip(names, session.run(None, {"pixels": photos.astype(np.uint8)})))
        for name, expected in model.predict_on_batch(photos).items():
            np.testing.assert_allclose(said[name], np.asarray(expected), atol=2e-3, err_msg=name)


def test_a_run_with_it_is_evaluated_explained_and_exported_at_another_size(
    plain: tuple[Split, Run], looking: Run, tmp_path: Path
) -> None:
    photo = plain[0].root / plain[0].photos[0].path
    for command in (
        ["evaluate", str(looking.folder), "--on", "validation"],
        [
            "explain",
            str(photo),
            "--model",
            str(looking.folder),
            "--explainer",
            "grad-cam",
            "--out",
            str(tmp_path / "cam"),
        ],
        [
            "explain",
            str(photo),
            "--model",
            str(looking.folder),
            "--explainer",
            "evidence",
            "--out",
            str(tmp_path / "e"),
        ],
        [
            "export",
            str(looking.folder),
            "--out",
            str(tmp_path / "a.onnx"),
            "--size",
            "128x96",
            "--precision",
            "float16",
        ],
    ):
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 0, result.output


def test_stopped_and_started_again_it_ends_the_same(
    plain: tuple[Split, Run], looking: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allmasked.training import second_look

    epoch, calls = second_look.one_epoch, []

    def stopped(*given: Any) -> float:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return epoch(*given)

    monkeypatch.setattr(second_look, "one_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        add_second_look(plain[1].folder, tmp_path / "run", SETTINGS)
    monkeypatch.undo()
    with pytest.raises(RunError, match="from another run or with other settings"):
        add_second_look(plain[1].folder, tmp_path / "run", dataclasses.replace(SETTINGS, side=48))
    resumed = CliRunner().invoke(cli, ["train", "--resume", "--out", str(tmp_path / "run")])
    assert "is not a run folder" in str(resumed.exception), "it would train something else"
    run = add_second_look(plain[1].folder, tmp_path / "run", SETTINGS)
    for one, other in zip(models.load(run.model).get_weights(), models.load(looking.model).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not run.state.exists() and run.history()[-1]["phase"] == "second look"


def test_it_needs_maps_and_boxes(plain: tuple[Split, Run], tmp_path: Path) -> None:
    split, run = plain
    few = dataclasses.replace(split, photos=tuple(dataclasses.replace(p, faces=None) for p in split.photos))
    bare = train(few, TrainConfig(head="evidence", weights="random", recipe=RECIPE), tmp_path / "boxless")
    with pytest.raises(DataError, match="only 0 masked and 0 bare faces are marked"):
        add_second_look(bare.folder, tmp_path / "a", SETTINGS)
    softmax = train(split, TrainConfig(head="softmax", weights="random", recipe=RECIPE), tmp_path / "softmax")
    result = CliRunner().invoke(cli, ["second-look", str(softmax.folder), "--out", str(tmp_path / "b")])
    assert isinstance(result.exception, ConfigError) and "makes no maps" in str(result.exception)
    assert not (tmp_path / "b").exists() and run.finished


def test_no_other_run_is_taken_for_it(plain: tuple[Split, Run], looking: Run) -> None:
    for out in (plain[1].folder, plain[0].root):
        with pytest.raises(RunError, match="is not empty"):
            add_second_look(plain[1].folder, out, SETTINGS)
    before = looking.model.read_bytes()
    assert (
        add_second_look(plain[1].folder, looking.folder, SETTINGS).model.read_bytes() == before
    )  # it is there already
    with pytest.raises(RunError, match="from another run"):
        add_second_look(looking.folder, looking.folder, SETTINGS)
