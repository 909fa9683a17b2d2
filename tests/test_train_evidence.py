"""Training the evidence head: on frames, with photos of nobody, calibrated, resumed; what starts from its weights."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from allmasked.core.config import TrainConfig, read_recipe
from allmasked.core.errors import ConfigError, RunError, WeightsError
from allmasked.core.runs import Run
from allmasked.core.types import CLASSES, InputSpec, Photo, Split
from allmasked.data.cache import entries, pixel_cache
from allmasked.data.dataset import read_split, sha256_of, write_split
from allmasked.data.extending import extend_split
from allmasked.networks import model as models
from allmasked.networks.reading import Calibration
from allmasked.predictors.calibrating import LEAST
from allmasked.training.loaders import LOADERS, Source
from allmasked.training.tasks import FacesTask
from allmasked.training.train import make_optimizer, train
from conftest import draw_photo, make_split

FIELDS = {"size": [96, 64], "frame": [64, 64], "mosaic": 0.5, "whole_frames": 0}
RECIPE = read_recipe("default", {**FIELDS, "epochs": 1, "head_epochs": 1, "batch_size": 7})
CONFIG = TrainConfig(head="evidence", weights="random", recipe=RECIPE)
pytestmark = pytest.mark.usefixtures("shallow")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Split, Run]:
    """A split with two photos of nobody, and a run trained on it in one go."""
    folder = tmp_path_factory.mktemp("evidence")
    split = make_split(folder / "data", {"train": 4, "validation": 3})
    (folder / "data" / "nobody").mkdir()
    nobody = []
    for number, name in enumerate(("nobody/a.png", "nobody/b.png")):  # 14 photos: batches of 7, traced once
        Image.new("RGB", (80, 60), (90, 120 + number, 90)).save(folder / "data" / name)
        digest = sha256_of(folder / "data" / name)
        nobody.append(Photo(name, "nobody", digest, 80, 60, faces=()))  # type: ignore[arg-type]
    split = dataclasses.replace(split, photos=(*split.photos, *nobody))
    return split, train(split, CONFIG, folder / "run", cache=folder / "cache")


def weights_of(run: Run) -> list[np.ndarray]:
    return [np.asarray(v) for v in models.load(run.model).get_weights()]


def test_the_model_is_calibrated_as_its_best_epoch_was(trained: tuple[Split, Run]) -> None:
    split, run = trained
    best = min(run.history(), key=lambda line: line["val_loss"])
    calibration = models.calibration_of(models.load(run.model))
    fitted = Calibration.parse(best["calibration"])
    assert calibration is not None and fitted != Calibration()
    assert calibration.score == pytest.approx(fitted.score) and calibration.wear == pytest.approx(fitted.wear)
    photos = split.part("validation")
    pixels = np.array(pixel_cache(split, photos, RECIPE.input, run.folder.parent / "cache"), np.float32)
    outputs = models.load(run.model).predict_on_batch(pixels)
    assert {name: np.shape(value)[1:] for name, value in outputs.items()} == {
        "probabilities": (3,), "answer": (4,), "faces": (64, 7), "maps": (8, 12, 6)
    }  # fmt: skip
    labels = [CLASSES.index(photo.label) for photo in photos]
    said = np.asarray(outputs["answer"])[np.arange(len(labels)), labels]
    loss = -np.log(np.maximum(said, LEAST)).mean()
    assert loss == pytest.approx(best["val_loss"], abs=1e-4)


def test_stopped_and_resumed_gives_the_same_weights(
    trained: tuple[Split, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, whole = trained
    calls = []

    def stops(*given: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(*given, **named)  # type: ignore[arg-type]

    validate = FacesTask.validate
    monkeypatch.setattr(FacesTask, "validate", stops)
    asked: list[object] = []
    learner = models.learner

    def counted(model: Any) -> Any:
        found = learner(model)
        shape_of = found.compute_output_shape
        found.compute_output_shape = lambda given: asked.append(given) or shape_of(given)
        return found

    monkeypatch.setattr(models, "learner", counted)
    with pytest.raises(KeyboardInterrupt):
        train(split, CONFIG, tmp_path / "run", cache=whole.folder.parent / "cache")
    monkeypatch.undo()
    assert len(asked) == 1  # of four steps of one size: Keras goes through every layer for the answer
    again = train(split, CONFIG, tmp_path / "run", resume=True, cache=whole.folder.parent / "cache")
    for ours, theirs in zip(weights_of(again), weights_of(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_each_photo_is_decoded_once_a_size_that_is_used(trained: tuple[Split, Run]) -> None:
    sets = entries(trained[1].folder.parent / "cache")
    assert len(sets) == 2, "training photos for frames, validation photos at the input's size"


def test_resumed_on_other_photos_is_refused(trained: tuple[Split, Run]) -> None:
    split, run = trained
    fewer = dataclasses.replace(split, photos=split.photos[1:])
    with pytest.raises(RunError, match="was begun with other photos"):
        train(fewer, CONFIG, run.folder, resume=True)


def test_frames_are_fitted_as_photos_are(tmp_path: Path) -> None:
    split = make_split(tmp_path / "data", {"train": 1, "validation": 1})
    recipe = dataclasses.replace(RECIPE, resize_mode="stretch")
    task = FacesTask(Source(split, recipe.input, tmp_path / "cache"), LOADERS["cached"], recipe)
    assert task.frames is not None and task.frames.input == InputSpec((120, 80), "stretch")


def test_losses_of_half_precision_are_scaled() -> None:
    recipe = dataclasses.replace(RECIPE, precision="mixed_float16")
    for head in ("evidence", "softmax"):
        model = models.learner(models.build(dataclasses.replace(CONFIG, head=head, recipe=recipe)))
        model.compile(make_optimizer(recipe, model), "mse")
        assert type(model.optimizer).__name__ == "LossScaleOptimizer", head
        assert type(model.optimizer.inner_optimizer).__name__ == "AdamW", head


def test_a_run_is_a_beginning_for_another_size_but_not_for_another_head(trained: tuple[Split, Run]) -> None:
    _, run = trained
    larger = dataclasses.replace(RECIPE, size=(128, 96))
    model = models.build(dataclasses.replace(CONFIG, weights=str(run.folder), recipe=larger))
    for ours, theirs in zip(model.get_weights(), weights_of(run), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(WeightsError, match="head evidence, not"):
        models.build(TrainConfig(head="softmax", weights=str(run.folder), recipe=larger))


def test_the_file_of_a_run_is_a_beginning_for_any_head(trained: tuple[Split, Run]) -> None:
    """--weights RUN/model.keras: the backbone alone. In a process of its own, which has not met our layers yet."""
    _, run = trained
    code = (
        "import sys, numpy as np; from allmasked.core.config import TrainConfig, read_recipe; "
        "from allmasked.networks import model as models; "
        "from shallow import shallow; lasts = shallow(); lasts.__enter__(); "
        "recipe = read_recipe('default', {'size': [96, 64]}); "
        "model = models.build(TrainConfig(head='softmax', weights=sys.argv[1], recipe=recipe)); "
        "ours = model.get_layer('backbone').get_weights(); "
        "theirs = models.load(sys.argv[1]).get_layer('backbone').get_weights(); "
        "assert len(ours) == len(theirs) > 50 and all(np.array_equal(a, b) for a, b in zip(ours, theirs))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.model)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_photos_of_nobody_are_for_heads_that_can_say_so(trained: tuple[Split, Run], tmp_path: Path) -> None:
    split, _ = trained
    recipe = dataclasses.replace(RECIPE, epochs=0)
    run = train(split, TrainConfig(weights="random", recipe=recipe), tmp_path / "run", cache=tmp_path / "cache")
    assert not [photo for photo in read_split(run.split).photos if photo.label == "nobody"]


def test_without_boxes_whole_photos_are_learnt_from(trained: tuple[Split, Run], tmp_path: Path) -> None:
    split, _ = trained
    bare = tuple(dataclasses.replace(photo, faces=None) for photo in split.photos if photo.label in CLASSES)
    source = Source(dataclasses.replace(split, photos=bare), RECIPE.input, tmp_path)
    assert FacesTask(source, LOADERS["cached"], RECIPE).frames is None
    marked = FacesTask(Source(split, RECIPE.input, tmp_path), LOADERS["cached"], RECIPE)
    assert marked.frames is not None and marked.frames.input.size == (120, 80)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_the_steps_shows_photos_whole(trained: tuple[Split, Run], tmp_path: Path, share: float) -> None:
    split, _ = trained
    recipe = dataclasses.replace(RECIPE, whole_frames=share, batch_size=5)
    source = Source(split, recipe.input, tmp_path)
    task = FacesTask(source, LOADERS["cached"], recipe)
    with ThreadPoolExecutor(2) as pool:
        batches = list(task.batches(0, pool, lambda size: (size[0] // 8, size[1] // 8)))
    width, height = recipe.size if share else recipe.frame
    for pixels, targets, weights in batches:
        assert pixels.shape[1:] == (height, width, 3) and targets.shape[1:] == (height // 8, width // 8, 13)
        assert len(pixels) == len(targets) == len(weights) and (weights == 1).all()
        answer = targets[:, 0, 0, 8:12]
        assert (answer.sum(1) == 1).all() and (targets[..., 8:] == targets[:, :1, :1, 8:]).all()
    assert sum(len(pixels) for pixels, _, _ in batches) == len(split.part("train"))
    assert max(len(pixels) for pixels, _, _ in batches) == (recipe.batch_size // 2 if share else recipe.batch_size)


def test_what_learns_takes_frames_and_whole_photos_in_turn() -> None:
    """A step is traced for one size, then for sizes that are not known."""
    learner = models.learner(models.build(CONFIG, any_size=True))
    for width, height in (RECIPE.frame, RECIPE.size, (72, 56)):
        maps = learner.predict(np.zeros((1, height, width, 3), np.float32), verbose=0)
        assert maps.shape[1:3] == (height // 8, width // 8)


def test_a_split_is_extended_without_a_leak(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    split = make_split(tmp_path / "data", {"train": 2, "validation": 1, "test": 1}, size=(160, 120))
    write_split(split, tmp_path / "split.json")
    test = split.part("test")[0]
    more = tmp_path / "more"
    for label in ("all", "none"):
        draw_photo(more / label / "new.png", label, rng, (160, 120))
    Image.open(split.root / test.path).save(more / "all" / "leak.jpg", quality=90)
    (more / "none" / "same.png").write_bytes((split.root / split.part("train")[0].path).read_bytes())
    (more / "nobody").mkdir()
    Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120)).save(more / "nobody" / "empty.png")
    (more / "all" / "broken.jpg").write_bytes(b"not a photo")
    extended = extend_split(read_split(tmp_path / "split.json"), [more])
    added = {Path(photo.path).name: photo for photo in extended.photos if "more/" in photo.path}
    assert {name: photo.part for name, photo in added.items()} == {
        "new.png": "train", "leak.jpg": "left_out", "same.png": "left_out", "empty.png": "train",
        "broken.jpg": "left_out",
    }  # fmt: skip
    assert "shows the same as" in added["leak.jpg"].reason and "exact duplicate" in added["same.png"].reason
    assert added["empty.png"].label == "nobody" and added["empty.png"].faces == ()
    for part in ("validation", "test"):
        assert [p.sha256 for p in extended.part(part)] == [p.sha256 for p in split.part(part)]  # type: ignore[arg-type]
    write_split(extended, tmp_path / "extended.json")
    assert read_split(tmp_path / "extended.json").photos == extended.photos
    drawn = extend_split(read_split(tmp_path / "split.json"), [more], most=2)
    assert len(drawn.photos) == len(split.photos) + 2


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_a_share_of_the_training_photos_is_kept_by_groups(tmp_path: Path, share: float) -> None:
    split = make_split(tmp_path / "data", {"train": 20, "validation": 1, "test": 1})
    halves = tuple(dataclasses.replace(photo, group=index // 2) for index, photo in enumerate(split.photos))
    split = dataclasses.replace(split, photos=halves)
    kept = extend_split(split, [], keep=share)
    count = Counter(photo.label for photo in kept.part("train"))
    assert count == {label: round(20 * share) for label in CLASSES if share}
    groups = {photo.group for photo in kept.part("train")}
    assert not groups & {photo.group for photo in kept.part("left_out")}
    assert all(photo.reason for photo in kept.part("left_out"))
    for part in ("validation", "test"):
        assert kept.part(part) == split.part(part)  # type: ignore[arg-type]


def test_without_epochs_a_run_is_calibrated_at_another_size(
    trained: tuple[Split, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, run = trained
    recipe = dataclasses.replace(RECIPE, size=(128, 96), epochs=0, head_epochs=0)
    config = dataclasses.replace(CONFIG, weights=str(run.folder), recipe=recipe)
    with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
        stopped.setattr(models, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        train(split, config, tmp_path / "run", cache=tmp_path / "cache")
    other = train(split, config, tmp_path / "run", cache=tmp_path / "cache", resume=True)
    assert models.load(other.model).input_shape[1:] == (96, 128, 3)
    differ = [not np.array_equal(a, b) for a, b in zip(weights_of(other), weights_of(run), strict=True)]
    assert 1 <= sum(differ) <= 2, "only the calibration changes"
    with pytest.raises(ConfigError, match="nothing would be learned"):
        train(split, dataclasses.replace(config, weights="random"), tmp_path / "other", cache=tmp_path / "cache")
