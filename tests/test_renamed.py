"""Old spellings work as the new ones do, with a warning: on the command line, in recipes, from Python."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import warnings
from pathlib import Path

import click
import pytest
from PIL import Image

import allmasked
from allmasked.cli import COMMANDS, cli, main
from allmasked.core import renamed
from allmasked.core.config import Recipe, TrainConfig, read_recipe
from allmasked.core.types import InputSpec, Split
from allmasked.data.annotations import Options
from allmasked.data.dataset import read_split, write_split
from allmasked.predictors.onnx_model import Metadata
from colour_model import ColourModel


def test_an_old_command_is_the_new_one() -> None:
    context = click.Context(cli, info_name="allmasked")
    for old, new in renamed.COMMANDS.items():
        assert old not in COMMANDS
        with pytest.warns(renamed.OldSpelling, match=f"{old} is now {new};"):
            assert cli.get_command(context, old) is cli.get_command(context, new) is not None


def commands() -> dict[str, click.Command]:
    found = {}
    for name, (module, _) in COMMANDS.items():
        command = getattr(importlib.import_module(f"allmasked.cli.{module}"), f"{name.replace('-', '_')}_command")
        found[name] = command
        if isinstance(command, click.Group):
            found |= command.commands
    return found


def test_no_old_name_is_in_use() -> None:
    """So that the table holds for every command, recipe and function at once; and what is new is there."""
    options = {
        option
        for command in commands().values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for old, new in renamed.OPTIONS.items():
        assert new.split()[0] in options, (old, new)
        assert old.split()[0] not in options or old.split()[0] == new.split()[0], old
    fields = Recipe.__dataclass_fields__
    assert [old for old, (new, _) in renamed.SETTINGS.items() if old in fields or new not in fields] == []
    for old, new in renamed.ARGUMENTS.items():
        names = {
            name
            for one in (allmasked.Model.__call__, allmasked.Model.predict)
            for name in inspect.signature(one).parameters
        }
        assert new in names or hasattr(allmasked.Model, new), (old, new)
        assert old not in names


@pytest.mark.parametrize("old", renamed.OPTIONS)
def test_an_old_option_is_the_new_one(old: str) -> None:
    value = [] if " " in old else ["7"]
    known = [renamed.OPTIONS[old].split()[0]]
    new = ["data", *renamed.OPTIONS[old].split(), *value, "--", *old.split()]
    with pytest.warns(renamed.OldSpelling, match=renamed.OPTIONS[old]):
        assert renamed.options(["data", *old.split(), *value, "--", *old.split()], known) == new
    with pytest.warns(renamed.OldSpelling):
        assert renamed.options(["data", "=".join([*old.split(), *value]), "--", *old.split()], known) == new
    assert renamed.options(new, known) == new, "what is new stays, without a warning"
    assert renamed.options(["data", *old.split()], ["--out"]) == ["data", *old.split()], "another command's"


@pytest.mark.parametrize(
    ("key", "value", "new", "now"),
    [(key, value, new, now) for key, (new, values) in renamed.SETTINGS.items() for value, now in values.items()],
)
def test_an_old_key_of_a_recipe_is_the_new_one(key: str, value: str, new: str, now: object, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'{key} = "{value}"\n')
    with pytest.warns(renamed.OldSpelling, match=new):
        assert getattr(read_recipe(str(recipe)), new) == now
    config = tmp_path / "config.json"  # that of a run: nobody wrote it by hand
    config.write_text(json.dumps({"recipe": {key: value}}))
    assert getattr(TrainConfig.read(config).recipe, new) == now


def test_old_arguments_and_words_from_python() -> None:
    grey, model = Image.new("RGB", (40, 30), (127, 127, 127)), allmasked.Model(ColourModel())
    with (
        pytest.warns(renamed.OldSpelling, match="min_face is now min_face_px"),
        pytest.raises(allmasked.ConfigError, match="min_face_px = -1"),
    ):
        model(grey, min_face=-1)
    with (
        pytest.warns(renamed.OldSpelling, match="min_face is now min_face_px"),
        pytest.raises(allmasked.ConfigError, match="min_face_px = -1"),
    ):
        model.predict([grey], min_face=-1)
    with pytest.warns(renamed.OldSpelling, match="fit is now resize_mode"):
        assert model.fit == model.resize_mode
    with pytest.warns(renamed.OldSpelling, match="unmasked is now bare") as told:
        assert Options(wear={"face": "unmasked"}, incorrect_is="unmasked") == Options(wear={"face": "bare"})  # type: ignore[arg-type]
    assert len(told) == 2


def test_files_of_the_version_before_are_read_without_a_word(drawn_split: Split, tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    write_split(drawn_split, file)
    text = file.read_text(encoding="utf-8")
    assert '"bare"' in text
    file.write_text(text.replace('"bare"', '"unmasked"'), encoding="utf-8")
    assert read_split(file).photos == drawn_split.photos
    strings = Metadata("a", (4, 3), "stretch", views=(InputSpec((4, 3), "stretch"),)).strings()
    older = {key: value.replace("stretch", "squash") for key, value in strings.items()}
    assert Metadata.parse(older, "a.onnx") == Metadata.parse(strings, "a.onnx")


def test_the_warning_is_one_line_of_the_users_own_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["allmasked", "train", "nowhere", "--fit", "squash", "--out", str(tmp_path / "a")])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which main sets
    with pytest.warns(renamed.OldSpelling) as told, pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2 and "nowhere" in capsys.readouterr().err, "and on it goes as ever"
    (one,) = told
    line = warnings.formatwarning(one.message, one.category, one.filename, one.lineno)
    assert line.startswith("warning: --fit squash is now --resize-mode stretch;") and line.count("\n") == 1
