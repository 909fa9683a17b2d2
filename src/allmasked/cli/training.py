"""``allmasked train`` and ``allmasked recipes``."""

from __future__ import annotations

import dataclasses
import itertools
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from allmasked.cli import estimates
from allmasked.cli import options as opt
from allmasked.cli.scaling import ENGINES, address_option, here
from allmasked.core.config import Recipe, TrainConfig, parse_size, read_recipe, recipe_head, recipe_names, recipe_text
from allmasked.core.errors import ConfigError
from allmasked.networks.backbones import BACKBONES
from allmasked.networks.heads import HEADS
from allmasked.networks.model import settings_of
from allmasked.training.loaders import LOADERS
from allmasked.training.schedule import kept_epoch

HEADINGS: dict[str, tuple[str, ...]] = {
    "Options": (
        "out", "backbone", "head", "recipe", "weights", "seed", "resume", "devices", "alpha", "temperature", "on",
        "help",
    ),
    "Several networks": ("backbones", "no_test", "engine", "address", "cpus", "gpus"),
    "Data": (
        "data_folder", "data", "loader", "cache", "size", "frame", "whole_frames", "resize_mode", "scaling",
        "batch_size", "precision",
    ),
    "Schedule": (
        "head_epochs", "head_learning_rate", "epochs", "learning_rate", "warmup_epochs", "schedule", "plateau_factor",
        "plateau_patience", "early_stopping_patience", "keep", "freeze_bn", "frozen_layers",
    ),
    "Loss and optimiser": (),
    "Augmentation": (),
}  # fmt: skip
"""What help shows below which heading. A field that isn't named here: what its help says is an augmentation below
that, all others below loss and optimiser."""


class HelpBelowHeadings(click.Command):
    """A command whose help has its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        named = {name: heading for heading, names in HEADINGS.items() for name in names}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record is None or option.name is None:
                continue
            name, text = record
            other = "Augmentation" if text.startswith("Augment: ") else "Loss and optimiser"
            if option.name not in named:
                text = text.removeprefix("Augment: ")
            groups[named.get(option.name, other)].append((name, text[:1].upper() + text[1:]))
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each field of a recipe."""
    for setting in reversed(dataclasses.fields(Recipe)):
        option = "--" + setting.name.replace("_", "-")
        default, choices = setting.default, setting.metadata["choices"]
        if setting.name in ("size", "frame"):
            kind: Any = str
            meta = "PX|WxH"
        elif isinstance(default, bool):
            option, kind, meta = f"{option}/--no-{setting.name.replace('_', '-')}", None, None
        else:
            kind, meta = (click.Choice(choices), None) if choices else (type(default), None)
        command = click.option(option, type=kind, default=None, metavar=meta, help=setting.metadata["help"])(command)
    return command


recipe_option = click.option(
    "--recipe", default="default", metavar="NAME|FILE", help=f"Recipe: {', '.join(recipe_names())}, or a TOML file."
)
head_option = click.option(
    "--head", type=click.Choice(list(HEADS)),
    help="Head. [default: that of the recipe: "
    + ", ".join(f"{recipe} has {recipe_head(recipe)}" for recipe in recipe_names())
    + "; a TOML file that names none has evidence]",
)  # fmt: skip


def train_config(**given: Any) -> TrainConfig:
    """The settings that the options stand for; those of the recipe are None where not given."""
    settings, fields = _divided(given)
    return settings_of(**settings, overrides=fields)


def _divided(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings beside the recipe, and the recipe's fields that are given."""
    settings = {name: given[name] for name in ("backbone", "head", "loader", "recipe", "weights", "seed")}
    fields = {name: value for name, value in given.items() if name not in settings and value is not None}
    return settings, fields | {name: parse_size(fields[name]) for name in ("size", "frame") if name in fields}


@click.command("train", cls=HelpBelowHeadings)
@click.argument("data", required=False, type=click.Path())
@click.option("--out", required=True, type=opt.PATH,
              help="The run folder to make (or, with --resume, to go on with).")  # fmt: skip
@click.option("--backbone", default="EfficientNetLite0", type=click.Choice(list(BACKBONES)), help="Backbone.")
@click.option("--backbones", metavar="all|NAME,NAME...|FILE.toml",
              help="Train several members instead, a run folder each below --out: the notebooks' seven (all), those"
              " named, or a TOML file with one table per member. Start it again after an interruption: what is done is"
              " skipped.")  # fmt: skip
@click.option("--engine", default="local", type=click.Choice(ENGINES),
              help="With --backbones: one member after the other in this process (local), or side by side as tasks of"
              " Ray.")  # fmt: skip
@address_option
@click.option("--cpus-per-member", "cpus", metavar="N", type=click.IntRange(1),
              help="With ray.  [default: all of a machine]")  # fmt: skip
@click.option("--gpus-per-member", "gpus", metavar="N", type=opt.FiniteRange(0, 64),
              help="With ray; 0.5 lets two members share one.  [default: 1 where the cluster has any]")  # fmt: skip
@click.option("--devices", default=1, type=click.IntRange(1),
              help="Divide each batch among so many GPUs of this machine (with KERAS_BACKEND=jax).")  # fmt: skip
@click.option("--no-test", is_flag=True, help="With --backbones: leave the test part unscored in the table at the end.")
@head_option
@click.option("--loader", default="cached", type=click.Choice(list(LOADERS)), help="Data loader.")
@recipe_option
@click.option("--weights", default="", metavar="imagenet|random|package|FILE|RUN", show_default="the backbone's own",
              help="Initial weights. A run folder gives the head's too.")  # fmt: skip
@opt.seed
@click.option("--resume", is_flag=True, help="Go on with a training that was stopped.")
@click.option("--data", "data_folder", type=click.Path(),
              help="Where the photos of a split.json lie, if they have moved.")  # fmt: skip
@opt.cache
@recipe_options
@click.pass_context
def train_command(
    ctx: click.Context, data: str | None, out: Path, backbones: str | None, engine: str, address: str | None,
    cpus: int | None, gpus: float | None, devices: int, no_test: bool, resume: bool, data_folder: str | None,
    cache: Path | None, **given: Any,
) -> None:  # fmt: skip
    """Train a classifier on DATA (a data set or its address, split now with the same seed, or a split.json).

    Each field of a recipe is an option too: it overrides what the recipe says. A training that was stopped goes on
    with `allmasked train --resume --out RUN`; with --backbones the same command does.
    The backend is Keras': set KERAS_BACKEND=jax or torch for another.
    """
    from allmasked.core.runs import Run
    from allmasked.data.dataset import absent, is_split, load_split, only_over, read_split
    from allmasked.training.train import train

    ray = {"address": address, "cpus": cpus, "gpus": gpus}
    if engine == "ray" and backbones is None:
        raise click.UsageError("--engine ray goes with --backbones")
    if engine == "local" and any(value is not None for value in ray.values()):
        raise click.UsageError("--address, --cpus-per-member and --gpus-per-member go with --engine ray")
    photos = None if data_folder is None else here(data_folder)
    if backbones is not None:
        if _was_given(ctx, "backbone"):
            raise click.UsageError("--backbone and --backbones can't go together")
        if devices > 1:
            why = "members share GPUs by --engine ray --gpus-per-member"
            raise click.UsageError(f"--devices is for one training; {why}")
        _train_members(data, out, backbones, given, photos, cache, not no_test, ray if engine == "ray" else None)
        return
    run = Run(out)
    if resume and data is None and not run.config.is_file():
        raise ConfigError(f"--resume: {out} is not a run folder (no config.json); give DATA to begin one there")
    if resume and run.config.is_file():
        allowed = ("out", "resume", "cache", "data_folder", "data", "devices")
        if more := [name for name in ctx.params if _was_given(ctx, name) and name not in allowed]:
            raise ConfigError(f"--resume takes its settings from {run.config}; leave out --{more[0].replace('_', '-')}")
        config = TrainConfig.read(run.config)
        split = read_split(run.split, photos)
    else:
        if data is None:
            raise click.UsageError("DATA is missing: a data set, or a split.json")
        config, root = train_config(**given), here(data)
        if not is_split(root):
            estimates.tell_splitting(root)
        split = load_split(root, seed=config.seed, data=photos)
    estimates.tell_training(split, config, done=len(run.history()))
    run = train(split, config, out, resume=resume, cache=cache, devices=devices)
    history = run.history()
    kept = history[kept_epoch(config.recipe, history) - 1]
    only = only_over(absent(split.part("validation")))
    figures = f"validation accuracy {kept['val_accuracy']:.3f}, macro-F1 {kept['val_macro_f1']:.3f}{only}"
    click.echo(f"{run.folder}: epoch {kept['epoch']} kept, {figures}")
    click.echo(f"next: allmasked evaluate {run.folder}")


def _train_members(
    data: str | None, out: Path, backbones: str, given: dict[str, Any], photos: Path | None, cache: Path | None,
    test: bool, ray: dict[str, Any] | None,
) -> None:  # fmt: skip
    from allmasked.cli.scoring import show
    from allmasked.core.runs import Run
    from allmasked.ensembles import sweep

    settings, fields = _divided(given)
    recipe, settings["head"] = settings.pop("recipe"), settings["head"] or ""
    base = TrainConfig(**{**settings, "backbone": ""}, recipe_name=recipe, recipe=read_recipe(recipe, fields))
    members = sweep.members_from(backbones, base, fields)
    if data is None and not (out / "split.json").is_file():
        raise click.UsageError("DATA is missing: a data set, or a split.json")
    split = sweep.split_for(None if data is None else here(data), out, base.seed, photos)
    if ray is None:
        estimates.tell_trainings(split, [config for name, config in members.items() if not Run(out / name).finished])
        runs = sweep.train_members(split, members, out, cache=cache)
    else:
        from allmasked.scale.members import train_members

        runs = train_members(split, members, out, cache=cache, **ray)
    rows = sweep.results(runs, test=test, data=photos)
    sweep.write_results(rows, out)
    show(sweep.markdown(rows))
    folders = " ".join(str(run.folder) for run in runs.values())
    click.echo(f"next: allmasked ensemble {folders} --out ENSEMBLE", err=True)


def _was_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


@click.command("second-look")
@click.argument("run", type=opt.PATH)
@opt.new_run
@click.option("--epochs", default=5, type=click.IntRange(1), help="Rounds over the faces of the training photos.")
@click.option("--side", default=64, type=click.IntRange(32, 224), help="Side of the crops, px.")
@opt.seed
@opt.cache
def second_look_command(run: Path, out: Path, cache: Path | None, **settings: Any) -> None:
    """Teach a small network to judge the crops of faces, and let RUN's answers follow from both.

    RUN is a finished run with the head evidence whose photos have boxes; its own training photos are used. The same
    command goes on where it was stopped. The new run is evaluated, exported and served as any other.
    """
    from allmasked.training.second_look import LookSettings, add_second_look

    made = add_second_look(run, out, LookSettings(**settings), cache=cache)
    click.echo(f"{made.folder}: {run} with a second look")
    click.echo(f"next: allmasked evaluate {made.folder}")


@click.command("recipes")
@click.argument("name", required=False)
def recipes_command(name: str | None) -> None:
    """List the recipes that come with allmasked, or print recipe NAME as TOML.

    To make your own: `allmasked recipes default > mine.toml`, edit it, `allmasked train DATA --recipe mine.toml`.
    """
    if name is not None:
        click.echo(recipe_text(name), nl=False)
        return
    for known in recipe_names():
        comment = itertools.takewhile(lambda line: line.startswith("# "), recipe_text(known).splitlines())
        first, *_ = " ".join(line.removeprefix("# ") for line in comment).split(". ")
        line = first.rstrip(".") + "."
        click.echo(textwrap.fill(line, 100, initial_indent=f"{known:13}", subsequent_indent=" " * 13))
