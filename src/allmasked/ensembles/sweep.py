"""A sweep: several runs on one split, one after another; the notebooks' seven backbones, or any list of members.

Each member is an ordinary run folder below one folder. What is finished is skipped and what was begun is resumed, so
that starting the same command again is all it takes after a kill.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from allmasked.core.config import TrainConfig
from allmasked.core.errors import ConfigError, RunError, unknown
from allmasked.core.markdown import table
from allmasked.core.progress import bar, tell
from allmasked.core.runs import Run, read_json, write_json, write_text
from allmasked.core.types import Split
from allmasked.data.dataset import division, is_split, load_split, read_split, write_split
from allmasked.data.readers import root_of
from allmasked.networks.backbones import BACKBONES
from allmasked.networks.heads import head_of_recipe
from allmasked.networks.model import settings_of
from allmasked.scoring.evaluate import Ask, ask_model, evaluate, part_answers
from allmasked.scoring.timing import time_run
from allmasked.training.loaders import LOADERS
from allmasked.training.train import train

NOTEBOOK_BACKBONES = tuple(name for name, row in BACKBONES.items() if not row.package)
"""The notebooks' seven."""

Members = dict[str, TrainConfig]
"""A member's folder name -> all that determines its training."""


def members_from(text: str, base: TrainConfig, overrides: Mapping[str, Any]) -> Members:
    """The members that an option ``--backbones`` stands for.

    Args:
        text: ``all`` (the notebooks' seven), backbones with commas between them, or a TOML file with one table per
            member: its ``backbone``, ``head``, ``loader``, ``weights``, ``seed``, ``recipe`` and any field of a recipe.
        base: what a member does not say; without a head, its recipe's.
        overrides: recipe fields that hold for every member that doesn't set them itself.

    Raises:
        ConfigError: an unknown backbone, setting or value, a member twice, or a file that is no list of members.
    """
    if text.endswith(".toml") or Path(text).is_file():
        return _read_members(Path(text), base, overrides)
    names = list(NOTEBOOK_BACKBONES) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError("--backbones: is empty; give all, backbones with commas between them, or a TOML file")
    for number, name in enumerate(names):
        if name not in BACKBONES:
            raise unknown("backbone", name, BACKBONES)
        if name in names[:number]:
            raise ConfigError(f"--backbones: {name} is named twice; for several members of one, write a TOML file")
    own = {name: BACKBONES[name].default_weights for name in names}
    head = base.head or head_of_recipe(base.recipe_name)
    return {name: dataclasses.replace(base, backbone=name, head=head, weights=base.weights or own[name])
            for name in names}  # fmt: skip


def _read_members(path: Path, base: TrainConfig, overrides: Mapping[str, Any]) -> Members:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); give a TOML file of members") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML ({error})") from None
    if not tables or not all(isinstance(values, dict) for values in tables.values()):
        raise ConfigError(f"{path}: must hold one table per member, as [small] with backbone = 'EfficientNetLite0'")
    found: Members = {}
    for name, values in tables.items():
        if not name or "/" in name or name.startswith(".") or name == "split.json":
            raise ConfigError(f"{path}: {name!r} can't be a folder's name")
        own = {"backbone": base.backbone or TrainConfig().backbone, "recipe": base.recipe_name}
        own |= {"head": base.head, "loader": base.loader, "weights": base.weights}
        given = {key: str(values.get(key, value)) for key, value in own.items()}
        seed = values.get("seed", base.seed)
        fields = {key: value for key, value in values.items() if key not in (*own, "seed")}
        try:
            if given["loader"] not in LOADERS:
                raise unknown("loader", given["loader"], LOADERS)
            if isinstance(seed, bool) or not isinstance(seed, int):
                raise ConfigError(f"seed = {seed!r}; must be a whole number")
            found[name] = settings_of(**given, seed=seed, overrides={**overrides, **fields})
        except ConfigError as error:
            raise ConfigError(f"{path}: [{name}]: {error}") from None
    return found


def split_for(data: Path | None, out: Path, seed: int, where: Path | None = None) -> Split:
    """The split that all members share: ``split.json`` in ``out``, made now of ``data`` where it isn't there."""
    kept = out / "split.json"
    if kept.is_file() and data is not None:
        ours = read_split(kept, where)
        if is_split(data):
            same = division(read_split(data, where)) == division(ours)
        else:
            same = ours.seed == seed and root_of(where or data) == ours.root
        if not same:
            raise RunError(f"{kept}: is another split than that of {data}; choose another --out, or leave out DATA")
    if not kept.is_file():
        if data is None:
            raise ConfigError(f"{out}: has no split.json yet; give a data set, or a split.json")
        write_split(load_split(data, seed=seed, data=where), kept)
    return read_split(kept, where)


def runs_of(split: Split, members: Members, out: str | Path) -> dict[str, Run]:
    """The run folder of each member below ``out``, begun, finished or not there yet.

    Raises:
        RunError: a member's folder holds a run of other settings or another split.
    """
    runs = {name: Run(Path(out) / name) for name in members}
    for name, run in runs.items():
        _refuse_other(run, members[name], split)
    return runs


def train_members(
    split: Split, members: Members, out: str | Path, *, cache: str | Path | None = None
) -> dict[str, Run]:
    """Train each member in its folder below ``out``; skip the finished ones, go on with the one that was stopped.

    Raises:
        RunError: see :func:`runs_of`, before anything is trained.
    """
    runs = runs_of(split, members, out)
    with bar(transient=False) as progress:
        task = progress.add_task("members", total=len(members), note="")
        for number, (name, run) in enumerate(runs.items(), 1):
            progress.update(task, note=name)
            if run.finished:
                tell(f"{number}/{len(members)} {name}: finished already")
            else:
                config = members[name]
                what = f"{config.backbone}, {config.recipe.size[0]} x {config.recipe.size[1]} px, seed {config.seed}"
                tell(f"{number}/{len(members)} {name}: {what}")
                _forget_models()
                train(split, config, run.folder, resume=True, cache=cache)
            progress.advance(task)
    return runs


def _refuse_other(run: Run, config: TrainConfig, split: Split) -> None:
    if not run.config.is_file():
        return
    if TrainConfig.read(run.config) != config:
        raise RunError(f"{run.folder}: was begun with other settings; give the same ones, or choose another --out")
    if division(read_split(run.split, split.root)) != division(split):
        raise RunError(f"{run.folder}: was begun on another split; give the same one, or choose another --out")


def _forget_models() -> None:
    import gc

    import keras

    keras.backend.clear_session()
    gc.collect()


@dataclasses.dataclass(frozen=True)
class Result:
    """A member's accuracy on each part (train: photos as they are; test None: not scored), and what it costs."""

    member: str
    backbone: str
    train: float
    validation: float
    test: float | None
    parameters: int | None
    train_seconds: float | None
    ms: float


def results(
    runs: Mapping[str, Run],
    *,
    test: bool = True,
    data: str | Path | None = None,
    ask: Ask = ask_model,
    measure: Callable[[Path], float] = time_run,
) -> list[Result]:
    """The notebooks' table, a row a member.

    ``test`` False leaves the test part unscored. Each part is inferred once and its scores are in the run folders.
    """
    rows = []
    for name, run in runs.items():
        parts = ["validation", *(["test"] if test else [])]
        scores = evaluate(run.folder, parts, data=data, plots=False, ask=ask)
        seen = part_answers(run, "train", Path(data) if data else None, ask)
        config, facts = TrainConfig.read(run.config), read_json(run.config).get("facts", {})
        rows.append(
            Result(
                name, config.backbone, float((seen.predicted == seen.labels).mean()), scores.validation.accuracy,
                scores.test.accuracy if test else None, facts.get("parameters"), facts.get("train_seconds"),
                round(measure(run.folder), 3),
            )
        )  # fmt: skip
    return rows


def markdown(rows: Sequence[Result]) -> str:
    """:func:`results` as a Markdown table."""
    return "\n".join(
        table(
            ["member", "backbone", "train", "validation", "test", "parameters", "training, s", "ms a photo"],
            [
                [row.member, row.backbone, row.train, row.validation]
                + ["-" if row.test is None else row.test]
                + ["-" if row.parameters is None else row.parameters]
                + ["-" if row.train_seconds is None else f"{row.train_seconds:,.0f}", f"{row.ms:.1f}"]
                for row in rows
            ],
        )
    )


def write_results(rows: Sequence[Result], out: Path) -> None:
    """Write ``members.md`` and ``members.json`` into ``out``."""
    write_text(out / "members.md", markdown(rows))
    write_json(out / "members.json", [dataclasses.asdict(row) for row in rows])
