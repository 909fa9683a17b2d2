from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allmasked.core.config import (
    HEADS_OF_RECIPES,
    Recipe,
    TrainConfig,
    default_head,
    parse_size,
    read_recipe,
    recipe_names,
    recipe_text,
)
from allmasked.core.errors import ConfigError, RunError
from allmasked.networks.heads import HEADS


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_reads(name: str) -> None:
    assert isinstance(read_recipe(name), Recipe)


def test_the_default_recipe_is_the_default() -> None:
    assert read_recipe("default") == Recipe()


def test_the_notebook_recipe_is_theirs() -> None:
    recipe = read_recipe("notebook")
    assert recipe.size == (256, 256) and recipe.fit == "squash" and recipe.scaling == "none"
    assert (recipe.batch_size, recipe.optimizer, recipe.learning_rate, recipe.epochs) == (32, "adam", 1e-3, 500)
    assert (recipe.early_stopping_patience, recipe.plateau_patience, recipe.plateau_factor) == (10, 3, 0.2)
    assert recipe.head_epochs == 0 and recipe.batch_statistics == "trained" and recipe.frozen_layers == "notebook"


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
        ("fit = 'stretch'", "letterbox, squash"),
        ("size = 'big'", "give one side"),
        ("size = 8", "32 to 4096"),
        ("epochs = ", "not valid TOML"),
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


def test_a_recipe_has_its_head() -> None:
    assert [default_head(recipe) for recipe in ("default", "notebook", "demo", "mine.toml")] == [
        "evidence", "notebook", "softmax", "evidence",
    ]  # fmt: skip
    assert set(HEADS_OF_RECIPES) <= set(recipe_names()) and set(HEADS_OF_RECIPES.values()) <= set(HEADS)
