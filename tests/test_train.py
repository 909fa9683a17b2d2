"""Training: the schedule as a pure function, what learns, and resuming after a kill."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allmasked.core.config import Recipe, TrainConfig, read_recipe
from allmasked.core.errors import RunError
from allmasked.core.runs import Run, write_text
from allmasked.core.types import Split
from allmasked.data.dataset import write_split
from allmasked.networks import model as models
from allmasked.training import train as training
from allmasked.training.schedule import kept_epoch, learning_rate, plan_epoch, plateaus
from allmasked.training.tasks import class_weights
from allmasked.training.train import set_trainable, train
from conftest import make_split

TINY = read_recipe("default", {"size": [64, 48], "epochs": 2, "head_epochs": 1, "batch_size": 6})
CONFIG = TrainConfig(weights="random", recipe=TINY)


def history(losses: list[float]) -> list[dict[str, Any]]:
    return [{"val_loss": loss} for loss in losses]


def test_the_head_learns_first_then_everything() -> None:
    phases = []
    lines: list[dict[str, Any]] = []
    while (plan := plan_epoch(TINY, lines)) is not None:
        phases.append((plan.phase, plan.number))
        lines.append({"val_loss": 1.0})
    assert phases == [("head", 0), ("fine-tune", 0), ("fine-tune", 1)]


def test_early_stopping_waits_for_its_patience() -> None:
    recipe = read_recipe("notebook", {"early_stopping_patience": 3})
    assert plan_epoch(recipe, history([1, 0.5, 0.6, 0.7])) is not None
    assert plan_epoch(recipe, history([1, 0.5, 0.6, 0.7, 0.8])) is None


def test_an_epoch_whose_loss_is_no_number_is_not_the_best() -> None:
    nan = float("nan")
    recipe = read_recipe("notebook", {"early_stopping_patience": 3})
    assert kept_epoch(recipe, history([0.9, 0.5, nan, nan])) == 2
    assert kept_epoch(recipe, history([nan, nan])) == 1
    assert plan_epoch(recipe, history([0.9, 0.5, nan, nan])) is not None
    assert plan_epoch(recipe, history([0.9, 0.5, nan, nan, nan])) is None
    assert kept_epoch(dataclasses.replace(recipe, keep="last"), history([0.5, nan, 0.7])) == 3


def test_plateaus_are_those_of_keras() -> None:
    import keras

    for seed in range(5):
        losses = np.random.default_rng(seed).uniform(0.4, 1, 30).round(2).tolist()
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(1.0))
        callback = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=3, min_lr=0)
        callback.set_model(model)
        callback.on_train_begin()
        for epoch, loss in enumerate(losses):
            callback.on_epoch_end(epoch, {"val_loss": loss})
        assert 0.5 ** plateaus(losses, 3) == pytest.approx(float(model.optimizer.learning_rate))


@given(st.integers(1, 30), st.integers(1, 50))
def test_the_rate_rises_falls_and_ends_at_zero(epochs: int, steps: int) -> None:
    recipe = Recipe(epochs=epochs, head_epochs=0, warmup_epochs=0.5)
    rates = []
    for epoch in range(epochs):
        plan = plan_epoch(recipe, history([1.0] * epoch))
        assert plan is not None
        rates += [learning_rate(recipe, plan, step, steps) for step in range(steps)]
    assert max(rates) <= recipe.learning_rate and min(rates) >= 0
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    top = int(np.argmax(rates))
    assert np.all(np.diff(rates[: top + 1]) >= 0) and np.all(np.diff(rates[top:]) <= 1e-12)


@given(st.lists(st.sampled_from([0, 1, 2]), min_size=3), st.floats(0, 1))
def test_class_weights_keep_the_mean(labels: list[int], power: float) -> None:
    array = np.array(labels, np.int32)
    weights = class_weights(array, power)
    assert weights[array].mean() == pytest.approx(1, rel=1e-5)
    counts = np.bincount(array, minlength=3)
    present = np.flatnonzero(counts)
    assert np.all(np.diff(weights[present][np.argsort(counts[present])]) <= 1e-6)


def test_what_learns() -> None:
    from keras import layers

    model = models.build(CONFIG)
    backbone = model.get_layer("backbone")
    set_trainable(model, CONFIG, "head")
    assert not backbone.trainable_variables and len(model.trainable_variables) == 2
    set_trainable(model, CONFIG, "fine-tune")
    kinds = {type(layer) for layer in backbone.layers if layer.trainable_variables}
    assert layers.BatchNormalization not in kinds and layers.Conv2D in kinds
    notebook = dataclasses.replace(CONFIG, recipe=dataclasses.replace(TINY, freeze_bn=False))
    set_trainable(model, notebook, "fine-tune")
    assert layers.BatchNormalization in {type(layer) for layer in backbone.layers if layer.trainable_variables}


def weights_of(run: Run) -> list[np.ndarray]:
    return [np.asarray(v) for v in models.load(run.model).get_weights()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Split, Run]:
    """A small split and a run trained on it in one go."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    split = make_split(folder / "data", {"train": 4, "validation": 2, "test": 2})
    write_split(split, folder / "split.json")
    return split, train(split, CONFIG, folder / "run", cache=folder / "cache")


def test_a_run_folder_is_complete(uninterrupted: tuple[Split, Run]) -> None:
    _, run = uninterrupted
    assert run.finished and not run.state.exists()
    lines = run.history()
    assert [line["phase"] for line in lines] == ["head", "fine-tune", "fine-tune"]
    assert all(np.isfinite(line["loss"]) and line["photos_per_second"] > 0 for line in lines)
    assert list(run.tensorboard.glob("events*"))
    assert len({line["loss"] for line in lines}) == 3
    facts = json.loads(run.config.read_text())["facts"]
    best = 1 + int(np.argmin([line["val_loss"] for line in lines]))
    assert facts["best_epoch"] == best and facts["versions"]["keras"]
    pixels = np.zeros((2, 48, 64, 3), np.float32)
    assert np.asarray(models.load(run.model).predict_on_batch(pixels)).sum(1) == pytest.approx(1)


COMMAND = [sys.executable, "-m", "allmasked", "train"]
OPTIONS = ["--head", "softmax", "--weights", "random", "--size", "64x48"]
OPTIONS += ["--epochs", "2", "--head-epochs", "1", "--batch-size", "6"]


@pytest.mark.slow
def test_killed_twice_and_resumed_gives_the_same_weights(uninterrupted: tuple[Split, Run], tmp_path: Path) -> None:
    _, whole = uninterrupted
    out, rng = tmp_path / "run", random.Random(3)
    environment = {**os.environ, "ALLMASKED_CACHE": str(tmp_path / "cache")}
    command = [*COMMAND, str(whole.folder.parent / "split.json"), *OPTIONS, "--out", str(out)]
    for kill in range(2):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        epochs_wanted = kill + 1  # let it get to somewhere within the next epoch
        while time.monotonic() < deadline and process.poll() is None:
            metrics = out / "metrics.jsonl"
            if metrics.is_file() and len(metrics.read_text().splitlines()) >= epochs_wanted:
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        command = [*COMMAND, "--resume", "--out", str(out)]
    assert not (out / "model.keras").exists(), "killed too late for the test to mean anything"
    subprocess.run([*COMMAND, "--resume", "--out", str(out)], env=environment, check=True, capture_output=True)
    assert len(Run(out).history()) == 3
    for ours, theirs in zip(weights_of(Run(out)), weights_of(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_killed_between_checkpoint_and_history(
    uninterrupted: tuple[Split, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, whole = uninterrupted

    def killed(path: Path, text: str) -> None:
        if text.count("\n") == 3:
            raise KeyboardInterrupt
        write_text(path, text)

    monkeypatch.setattr(training, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        train(split, CONFIG, tmp_path / "run")
    monkeypatch.undo()
    run = train(split, CONFIG, tmp_path / "run", resume=True)
    assert [line["loss"] for line in run.history()] == [line["loss"] for line in whole.history()]


def test_a_class_without_photos_is_told(
    uninterrupted: tuple[Split, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split, _ = uninterrupted
    two = dataclasses.replace(split, photos=tuple(photo for photo in split.photos if photo.label != "some"))
    recipe = dataclasses.replace(TINY, epochs=0)
    train(two, dataclasses.replace(CONFIG, recipe=recipe), tmp_path / "run")
    said = capsys.readouterr().err
    assert "decoded photos: 0.0 GB in " in said and "(limit 20 GB); 'allmasked cache' shows" in said
    assert "warning: no photo of 'some' in train, validation, test: a classifier can't learn it" in said
    assert "over 'all' and 'none' only" in " ".join(said.split())


def test_an_error_in_training_leaves_no_thread_behind(
    uninterrupted: tuple[Split, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, _ = uninterrupted
    before = set(threading.enumerate())

    def broken(*_: Any) -> None:
        assert set(threading.enumerate()) - before, "photos were augmented in threads"
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Training, "_keep", broken)
    with pytest.raises(KeyboardInterrupt):
        train(split, CONFIG, tmp_path / "run")
    assert not set(threading.enumerate()) - before


def test_another_seed_gives_other_weights(uninterrupted: tuple[Split, Run], tmp_path: Path) -> None:
    split, whole = uninterrupted
    recipe = dataclasses.replace(TINY, epochs=0)
    one = train(split, dataclasses.replace(CONFIG, recipe=recipe, seed=1), tmp_path / "one")
    assert any(not np.array_equal(a, b) for a, b in zip(weights_of(one), weights_of(whole), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.torch)])
def test_other_backends_train_too(uninterrupted: tuple[Split, Run], tmp_path: Path, backend: str) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    _, whole = uninterrupted
    out = tmp_path / "run"
    environment = {**os.environ, "KERAS_BACKEND": backend}
    split = str(whole.folder.parent / "split.json")
    command = [*COMMAND, split, *OPTIONS, "--epochs", "1", "--out", str(out)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert json.loads((out / "config.json").read_text())["facts"]["backend"] == backend
    assert len(Run(out).history()) == 2
    pixels = np.full((2, 48, 64, 3), 99, np.float32)
    assert np.asarray(models.load(out / "model.keras").predict_on_batch(pixels)).sum(1) == pytest.approx(1)


def saved_weights(run: Run) -> dict[str, np.ndarray]:
    """Without building the network."""
    import h5py

    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(run.model) as file, h5py.File(io.BytesIO(file.read("model.weights.h5"))) as weights:
        weights.visititems(lambda name, one: found.update({name: one[()]}) if isinstance(one, h5py.Dataset) else None)
    return found


DIVIDED = """
import sys
from pathlib import Path
from allmasked.core.config import TrainConfig, read_recipe
from allmasked.core.errors import ConfigError
from allmasked.data.dataset import read_split
from allmasked.training import train as training
from allmasked.training.train import train

def keep(self, line, keep=training._Training._keep):
    print("devices", len(self.model.variables[0].value.sharding.device_set))
    keep(self, line)

training._Training._keep = keep
split, out = read_split(sys.argv[1]), Path(sys.argv[2])
recipe = read_recipe("default", {"size": [64, 48], "epochs": 0, "head_epochs": 1, "batch_size": 4})
config = TrainConfig(weights="random", recipe=recipe)
train(split, config, out / "one")
train(split, config, out / "two", devices=2)
try:
    train(split, config, out / "three", devices=3)
except ConfigError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_batch_divided_among_devices_teaches_the_same(drawn_split: Split, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    write_split(drawn_split, tmp_path / "split.json")
    flags = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    source = Path(training.__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", DIVIDED, str(tmp_path / "split.json"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(source), **flags}, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[:2] == ["devices 1", "devices 2"]
    assert "--devices 3: JAX sees 2 here" in found.stdout and not (tmp_path / "three").exists()
    one, two = (saved_weights(Run(tmp_path / name)) for name in ("one", "two"))
    assert one.keys() == two.keys() and len(one) > 100
    for name, values in one.items():
        np.testing.assert_allclose(values, two[name], rtol=1e-4, atol=1e-5)


def test_what_cannot_begin_leaves_nothing_behind(uninterrupted: tuple[Split, Run], tmp_path: Path) -> None:
    split, _ = uninterrupted
    (tmp_path / "no-run").mkdir()
    wrong = dataclasses.replace(CONFIG, weights=str(tmp_path / "no-run"))
    for _ in range(2):
        with pytest.raises(RunError, match="no-run"):
            train(split, wrong, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


def test_a_folder_in_use_is_refused(uninterrupted: tuple[Split, Run], tmp_path: Path) -> None:
    split, whole = uninterrupted
    with pytest.raises(RunError, match="finished run already"):
        train(split, CONFIG, whole.folder)
    with pytest.raises(RunError, match="other settings"):
        train(split, dataclasses.replace(CONFIG, seed=3), whole.folder, resume=True)
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(RunError, match="not empty"):
        train(split, CONFIG, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep me"
