from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allmasked.cli.training import train_config
from allmasked.core.config import (
    Recipe,
    TrainConfig,
    parse_size,
    read_recipe,
    recipe_names,
    recipe_text,
)
from allmasked.core.errors import ConfigError, RunError
from allmasked.ensembles.sweep import members_from
from allmasked.networks.heads import head_of_recipe


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_reads(name: str) -> None:
    assert isinstance(read_recipe(name), Recipe)


def test_the_default_recipe_is_the_default() -> None:
    assert read_recipe("default") == Recipe()


def test_the_notebook_recipe_is_theirs() -> None:
    recipe = read_recipe("notebook")
    assert recipe.size == (256, 256) and recipe.resize_mode == "stretch" and recipe.scaling == "none"
    assert (recipe.batch_size, recipe.optimizer, recipe.learning_rate, recipe.epochs) == (32, "adam", 1e-3, 500)
    assert (recipe.early_stopping_patience, recipe.plateau_patience, recipe.plateau_factor) == (10, 3, 0.2)
    assert recipe.head_epochs == 0 and not recipe.freeze_bn and recipe.frozen_layers == "notebook"


def test_the_competition_recipe_is_large_and_keeps_batch_statistics() -> None:
    config = train_config(
        backbone="EfficientNetB3", head=None, loader="cached", recipe="competition", weights="random", seed=0
    )
    assert config.head == "softmax" and config.recipe == read_recipe("competition")
    assert config.recipe.size == (600, 600) and config.recipe.freeze_bn and config.recipe.frozen_layers == "0"


def test_a_copied_and_edited_recipe_is_used(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(recipe_text("default").replace("\nepochs = 12", "\nepochs = 3"))
    assert read_recipe(str(path)).epochs == 3
    assert read_recipe(str(path), {"epochs": 5}).epochs == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "Did you mean 'epochs'"),
        ("epochs = 'three'", "must be a number"),
        ("epochs = 2.5", "whole number"),
        ("flip = 1", "true or false"),
        ("resize_mode = 'crop'", "letterbox, stretch"),
        ("size = 'big'", "give one side"),
        ("size = 8", "32 to 4096"),
        ("epochs = ", "not valid TOML"),
        ("epochs = inf", "epochs = inf; must be a finite number"),
        ("batch_size = nan", "batch_size = nan; must be a finite number"),
        ("weight_decay = nan", "weight_decay = nan; must be a finite number"),
        ("learning_rate = -inf", "must be a finite number"),
        ("size = [inf, 3]", "give one side"),
        ("frame = [-64, 0]", "multiples of 32"),
        ("rotate_degrees = -5", "rotate_degrees = -5.0; must be from 0 to 180"),
        ("weight_decay = -0.1", "must be from 0 to 10"),
        ("plateau_patience = 0", "must be from 1 to"),
    ],
)
def test_a_wrong_recipe_gets_one_line_naming_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_recipe(str(path))
    assert "wrong.toml" in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'notebook'"):
        read_recipe("notebok")


@given(st.integers(1, 9999), st.integers(1, 9999))
def test_sizes(width: int, height: int) -> None:
    assert parse_size(f"{width}x{height}") == parse_size([width, height]) == (width, height)
    assert parse_size(width) == parse_size(str(width)) == (width, width)


@pytest.mark.parametrize("text", ["[1, 2]", '{"recipe": 3}', "7"])
def test_a_file_that_holds_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(RunError, match="holds no settings"):
        TrainConfig.read(path)


def test_a_configuration_survives_the_file(tmp_path: Path) -> None:
    config = TrainConfig(backbone="DenseNet201", seed=7, recipe=read_recipe("notebook"))
    config.write(tmp_path / "config.json", {"anything": 1})
    assert TrainConfig.read(tmp_path / "config.json") == config


def test_a_recipe_has_its_head(tmp_path: Path) -> None:
    heads = {"default": "evidence", "notebook": "notebook", "demo": "softmax", "competition": "softmax"}
    assert {name: head_of_recipe(name) for name in recipe_names()} == heads
    for name, head in heads.items():
        mine = tmp_path / f"{name}-copy.toml"
        mine.write_text(recipe_text(name))
        assert head_of_recipe(str(mine)) == head
        assert read_recipe(str(mine)) == read_recipe(name)


def test_a_recipe_file_without_a_head_is_for_evidence_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    old, wrong, number = tmp_path / "old.toml", tmp_path / "wrong.toml", tmp_path / "number.toml"
    old.write_text("epochs = 3")
    wrong.write_text("head = 'evidenc'")
    number.write_text("head = 3")
    assert head_of_recipe(str(old)) == "evidence" and read_recipe(str(old)).epochs == 3
    with pytest.raises(ConfigError, match=r"wrong\.toml.*Did you mean 'evidence'"):
        head_of_recipe(str(wrong))
    with pytest.raises(ConfigError, match=r"number\.toml: head = 3"):
        head_of_recipe(str(number))


def test_a_copied_recipe_trains_its_head(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(recipe_text("notebook"))
    asked = {"backbone": "EfficientNetLite0", "loader": "cached", "weights": "random", "seed": 0}
    assert train_config(head=None, recipe=str(mine), **asked).head == "notebook"
    assert train_config(head="softmax", recipe=str(mine), **asked).head == "softmax"
    assert members_from("Xception", TrainConfig("", "", recipe_name=str(mine)), {})["Xception"].head == "notebook"
