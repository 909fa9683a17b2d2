"""Training several members in one go: which ones, and that a second start goes on where the first was stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from allmasked.cli import cli
from allmasked.core.config import Recipe, TrainConfig
from allmasked.core.errors import ConfigError, RunError
from allmasked.core.runs import Run, read_json
from allmasked.core.types import Split
from allmasked.data.dataset import write_split
from allmasked.ensembles import sweep
from allmasked.networks.backbones import BACKBONES
from conftest import make_split
from fake_runs import FakeModel, paint_nobody, paint_photos

BASE = TrainConfig("", "softmax", "cached", "random", 3, "default", Recipe(size=(96, 96)))
pytestmark = pytest.mark.usefixtures("shallow")


def test_all_are_the_notebooks_seven() -> None:
    members = sweep.members_from("all", BASE, {})
    assert len(members) == 7 and not any(name.startswith("EfficientNetLite") for name in members)
    assert all(config.backbone == name and config.seed == 3 for name, config in members.items())
    weights = {c.weights for c in sweep.members_from("all", dataclasses.replace(BASE, weights=""), {}).values()}
    assert weights == {"imagenet"}


def test_members_by_name_and_from_a_file(tmp_path: Path) -> None:
    assert list(sweep.members_from("Xception, EfficientNetLite0", BASE, {})) == ["Xception", "EfficientNetLite0"]
    file = tmp_path / "members.toml"
    file.write_text(
        '[a]\nbackbone = "EfficientNetLite1"\nseed = 5\nsize = "128x96"\n'
        '[b]\nhead = "notebook"\nrecipe = "notebook"\nbackbone = "EfficientNetLite0"\nweights = "package"\nepochs = 2\n'
    )
    found = sweep.members_from(str(file), BASE, {"size": [64, 64], "dropout": 0.1})
    assert found["a"].recipe.size == (128, 96) and found["a"].seed == 5 and found["a"].recipe.dropout == 0.1
    assert found["b"].recipe.size == (64, 64) and found["b"].recipe.epochs == 2 and found["b"].weights == "package"
    assert found["b"].recipe_name == "notebook" and found["b"].head == "notebook" and found["b"].seed == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Xceptoin", "Did you mean 'Xception'"),
        ("Xception,Xception", "named twice"),
        (",", "is empty"),
        ("nowhere.toml", "cannot be read"),
    ],
)
def test_wrong_members_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep.members_from(text, BASE, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\nbackbon = 'x'\n", "unknown recipe field 'backbon'"),
        ("[a]\nbackbone = 'EfficientNetLite'\n", r"\[a\]: unknown backbone"),
        ("[a]\nseed = 'one'\n", "whole number"),
        ("['../a']\nseed = 1\n", "folder's name"),
        ("seed = 1\n", "one table per member"),
        ("[a\n", "not valid TOML"),
    ],
)
def test_a_wrong_file_of_members_is_named(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "members.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        sweep.members_from(str(file), dataclasses.replace(BASE, backbone="EfficientNetLite0"), {})


class FakeTraining:
    """Leaves a finished run folder; is stopped in the middle of the member ``stop_at``, once."""

    def __init__(self, stop_at: str = "") -> None:
        self.stop_at, self.trained = stop_at, []  # type: ignore[var-annotated]

    def __call__(self, split: Split, config: TrainConfig, out: Path, *, resume: bool, cache: Any) -> Run:
        assert resume and cache is None
        run = Run(out)
        if not run.config.is_file():
            write_split(split, run.split)
            if self.stop_at == run.name + " early":
                raise KeyboardInterrupt
            config.write(run.config, {"parameters": 10, "train_seconds": 2.0})
        if self.stop_at == run.name:
            raise KeyboardInterrupt
        run.model.write_bytes(run.name.encode())
        self.trained.append(run.name)
        return run


@pytest.mark.parametrize("stop_at", ["Xception", "Xception early"])
def test_a_second_start_goes_on(stop_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split(
        tmp_path / "data", tuple(paint_photos(tmp_path / "data", {"train": 2, "validation": 8, "test": 8})), 0
    )
    monkeypatch.setattr(sweep, "_forget_models", lambda: None)
    members = sweep.members_from("EfficientNetLite0,Xception,ResNet50V2", BASE, {})
    stopped = FakeTraining(stop_at)
    monkeypatch.setattr(sweep, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep.train_members(split, members, tmp_path / "out")
    again = FakeTraining()
    monkeypatch.setattr(sweep, "train", again)
    runs = sweep.train_members(split, members, tmp_path / "out")
    assert stopped.trained == ["EfficientNetLite0"] and again.trained == ["Xception", "ResNet50V2"]

    skills = {name: FakeModel(0.6 + 0.1 * k, k) for k, name in enumerate(members)}
    rows = sweep.results(runs, ask=lambda folder, photos: skills[folder.name](folder, photos), measure=lambda _: 2.5)
    assert [row.backbone for row in rows] == list(members)
    assert rows[0].test == read_json(runs["EfficientNetLite0"].scores)["parts"]["test"]["accuracy"]
    assert rows[0].parameters == 10 and rows[0].ms == 2.5 and 0 <= rows[0].train <= 1
    text = sweep.markdown(rows)
    assert all(name in text for name in members) and "ms a photo" in text
    sweep.write_results(rows, tmp_path / "out")
    assert (tmp_path / "out" / "members.md").read_text() == text


def test_the_test_part_may_stay_unscored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split(
        tmp_path / "data", tuple(paint_photos(tmp_path / "data", {"train": 2, "validation": 8, "test": 8})), 0
    )
    monkeypatch.setattr(sweep, "_forget_models", lambda: None)
    monkeypatch.setattr(sweep, "train", FakeTraining())
    runs = sweep.train_members(split, sweep.members_from("Xception", BASE, {}), tmp_path / "out")
    rows = sweep.results(runs, test=False, ask=FakeModel(0.9), measure=lambda _: 1.0)
    assert rows[0].test is None and "test" not in read_json(runs["Xception"].scores)["parts"]
    assert "| - |" in sweep.markdown(rows)


def test_photos_of_nobody_are_not_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    photos = [*paint_photos(data, {"train": 2, "validation": 4, "test": 4}), *paint_nobody(data, 3)]
    monkeypatch.setattr(sweep, "_forget_models", lambda: None)
    monkeypatch.setattr(sweep, "train", FakeTraining())
    runs = sweep.train_members(
        Split(data, tuple(photos), 0), sweep.members_from("Xception", BASE, {}), tmp_path / "out"
    )
    rows = sweep.results(runs, ask=FakeModel(1.0), measure=lambda _: 1.0)
    assert (rows[0].train, rows[0].validation, rows[0].test) == (1, 1, 1)


def test_other_settings_and_another_split_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tuple(paint_photos(tmp_path / "data", {"train": 2, "validation": 2, "test": 2}))
    split = Split(tmp_path / "data", photos, 0)
    monkeypatch.setattr(sweep, "_forget_models", lambda: None)
    fake = FakeTraining()
    monkeypatch.setattr(sweep, "train", fake)
    members = sweep.members_from("Xception", BASE, {})
    sweep.train_members(split, members, tmp_path / "out")
    more = sweep.members_from("EfficientNetLite0,Xception", dataclasses.replace(BASE, seed=4), {})
    with pytest.raises(RunError, match="Xception: was begun with other settings"):
        sweep.train_members(split, more, tmp_path / "out")
    fewer = dataclasses.replace(split, photos=photos[1:])
    with pytest.raises(RunError, match="another split"):
        sweep.train_members(fewer, sweep.members_from("EfficientNetLite0,Xception", BASE, {}), tmp_path / "out")
    assert fake.trained == ["Xception"]


def test_one_split_for_all(tmp_path: Path) -> None:
    photos = tuple(paint_photos(tmp_path / "data", {"train": 2, "validation": 2, "test": 2}))
    write_split(Split(tmp_path / "data", photos, 0), tmp_path / "one.json")
    write_split(Split(tmp_path / "data", photos[1:], 0), tmp_path / "other.json")
    made = sweep.split_for(tmp_path / "one.json", tmp_path / "out", 0)
    assert sweep.split_for(None, tmp_path / "out", 0).photos == made.photos
    assert sweep.split_for(tmp_path / "one.json", tmp_path / "out", 0).photos == made.photos
    with pytest.raises(RunError, match="another split"):
        sweep.split_for(tmp_path / "other.json", tmp_path / "out", 0)
    with pytest.raises(ConfigError, match=r"no split\.json yet"):
        sweep.split_for(None, tmp_path / "elsewhere", 0)


def test_another_folder_or_seed_is_another_split(tmp_path: Path) -> None:
    for name in "ab":
        make_split(tmp_path / name, {"photo": 4})
    made = sweep.split_for(tmp_path / "a", tmp_path / "out", 0)
    assert sweep.split_for(tmp_path / "a", tmp_path / "out", 0).photos == made.photos
    for data, seed in ((tmp_path / "b", 0), (tmp_path / "a", 1)):
        with pytest.raises(RunError, match="another split"):
            sweep.split_for(data, tmp_path / "out", seed)
    write_split(made, tmp_path / "split.json")
    (tmp_path / "a").rename(tmp_path / "moved")
    moved = sweep.split_for(tmp_path / "split.json", tmp_path / "out", 0, tmp_path / "moved")
    assert moved.photos == made.photos and moved.root == tmp_path / "moved"


@pytest.mark.slow
def test_the_command_trains_two_members_and_their_ensemble(tmp_path: Path) -> None:
    split = make_split(tmp_path / "data", {"train": 3, "validation": 3, "test": 3})
    write_split(split, tmp_path / "split.json")
    file = tmp_path / "members.toml"
    file.write_text("[one]\nseed = 1\n[two]\nseed = 2\nsize = 64\n")
    options = ["--size", "64x48", "--head-epochs", "1", "--epochs", "0", "--weights", "random", "--batch-size", "9"]
    options += ["--head", "softmax"]  # those that find faces are all asked, none can be left out early
    command = [
        "train",
        str(tmp_path / "split.json"),
        "--backbones",
        str(file),
        "--out",
        str(tmp_path / "out"),
        *options,
    ]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0 and "| one | EfficientNetLite0 |" in result.stdout
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*/model.keras")}
    assert len(before) == 2
    assert CliRunner().invoke(cli, command, catch_exceptions=False).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*/model.keras")} == before

    folder, photo = tmp_path / "ensemble", next((tmp_path / "data" / "all").iterdir())
    members = [str(tmp_path / "out" / name) for name in ("one", "two")]
    made = CliRunner().invoke(cli, ["ensemble", *members, "--out", str(folder), "--vote", "majority", "--early-stop"])
    assert made.exit_code == 0, made.output
    answered = CliRunner().invoke(cli, ["predict", str(photo), "--model", str(folder), "--format", "json"])
    assert answered.exit_code == 0 and '"label"' in answered.stdout
    shown = CliRunner().invoke(cli, ["explain", str(photo), "--model", str(folder), "--out", str(tmp_path / "heat")])
    assert shown.exit_code == 0, shown.output
    assert {path.name for path in (tmp_path / "heat").iterdir()} == {
        f"{photo.stem}.grad-cam.jpg", f"{photo.stem}.grad-cam.members.jpg", "grid.png",
    }  # fmt: skip


def test_the_table_of_backbones_still_has_seven_of_keras() -> None:
    assert len(sweep.NOTEBOOK_BACKBONES) == 7 < len(BACKBONES)
