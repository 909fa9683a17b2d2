"""A run as one HTML page: what was trained on what, how good it is, where it errs, and how to make it again."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allmasked.core.config import Recipe, TrainConfig, read_recipe
from allmasked.core.errors import AllmaskedError, RunError
from allmasked.core.progress import track
from allmasked.core.runs import Run, read_json
from allmasked.core.types import CLASSES, LABELS, NOBODY, PARTS, InputSpec, Part, Photo, Split
from allmasked.data.dataset import read_split
from allmasked.data.heldout import trained_on
from allmasked.inspection.inspect import People, people
from allmasked.inspection.shortcuts import SizeLeak, size_leak
from allmasked.predictors.ensemble import EnsemblePredictor
from allmasked.reports.ensemble_page import make_page
from allmasked.reports.pages import inline_svg, photo_picture, picture, write_page
from allmasked.scoring.evaluate import PartScores, Scores, figures_of, part_answers
from allmasked.stats import metrics, plots
from allmasked.stats.votes import joint
from allmasked.training.schedule import kept_epoch

PICTURE = (300, 225)


def make_report(
    run: str | Path, out: str | Path | None = None, examples: int = 12, data: str | Path | None = None
) -> Path:
    """Write the page of a run and return its path.

    A run that is not evaluated, or not even finished, gets a page too: it says which command comes next. Nothing is
    scored here, and examples come from the test part only once that has been scored.

    Args:
        run: the run folder.
        out: where to write; ``report.html`` in the run folder when None.
        examples: photos shown with heat maps, half of them right and half wrong.
        data: where the photos lie now, when not where they were.

    Raises:
        RunError: not a run folder, or its files are broken.
    """
    folder = Run(run)
    if folder.is_ensemble:
        return _ensemble_report(folder, out, examples, Path(data) if data else None)
    if not folder.config.is_file():
        raise RunError(f"{folder.folder}: is not a run folder (no config.json); make one with 'allmasked train'")
    config = TrainConfig.read(folder.config)
    facts = read_json(folder.config).get("facts", {})
    split = read_split(folder.split, Path(data) if data else None)
    scores = Scores.read(folder) if folder.scores.is_file() else None
    parts = scores.parts if scores else {}
    scored: tuple[Part, ...] = ("test", "validation")
    main = next((part for part in scored if part in parts), None)
    history = folder.history()
    return write_page(
        out or folder.report,
        "report.html",
        run=folder,
        config=config,
        facts=facts,
        settings=settings(config),
        data=summarise(split),
        history=history,
        best=kept_line(config.recipe, history),
        training_seconds=sum(float(line.get("seconds", 0)) for line in history),
        curves=inline_svg(plots.training_curves(history), "curves") if any("loss" in line for line in history) else "",
        parts=parts,
        main=main,
        scored={name: figures(parts[name], f"part{k}", every=name == main) for k, name in enumerate(parts)},
        verdict=verdict(parts[main], held_out=not trained_on(split, split.part(main))) if main else None,
        temperature=scores.temperature if scores else None,
        examples=find_examples(folder, split, main, examples) if main and examples else None,
        next_command=next_command(folder),
        commands=commands(folder, config, split),
    )


def _ensemble_report(run: Run, out: str | Path | None, examples: int, data: Path | None) -> Path:
    split = read_split(run.split, data)
    parts = Scores.read(run).parts if run.scores.is_file() else {}
    scored: tuple[Part, ...] = ("test", "validation")
    main = next((part for part in scored if part in parts), None)
    return make_page(
        run,
        out,
        data,
        main or "validation",
        parts=parts,
        main=main,
        scored={main: figures(parts[main], "part", every=True)} if main else {},
        examples=find_examples(run, split, main, examples) if main and examples else None,
        next_command=next_command(run),
    )


# --- words and tables ------------------------------------------------------------------------------------------------


def settings(config: TrainConfig) -> list[dict[str, Any]]:
    """All settings with their help; ``changed`` where they differ from the recipe that was named (None: unknown)."""
    try:
        base: Recipe | None = read_recipe(config.recipe_name)
    except AllmaskedError:
        base = None
    about = {
        "backbone": "Network that sees.", "head": "Layers that decide.", "loader": "Data loader.",
        "weights": "Weights to start from.", "seed": "Seed of everything random.",
        "recipe_name": "Recipe that the rest comes from.",
    }  # fmt: skip
    rows = [{"name": name, "value": str(getattr(config, name)), "help": text, "changed": False}
            for name, text in about.items()]  # fmt: skip
    for setting in dataclasses.fields(Recipe):
        value = getattr(config.recipe, setting.name)
        text = " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        changed = base is not None and getattr(base, setting.name) != value
        rows.append({"name": setting.name, "value": text, "help": setting.metadata["help"], "changed": changed})
    return rows


def next_command(run: Run) -> str:
    """What to do before this page is whole; empty when nothing is missing."""
    folder = shlex.quote(str(run.folder))
    if not run.finished:
        return f"allmasked train --resume --out {folder}"
    if not run.scores.is_file() or "test" not in Scores.read(run).parts:
        return f"allmasked evaluate {folder}"
    return ""


def commands(run: Run, config: TrainConfig, split: Split) -> list[str]:
    """The commands that make this run and page again, from the data set on."""
    folder = shlex.quote(run.name)
    train = f"allmasked train split.json --loader {config.loader}"
    if run.teacher.is_file():
        teacher = read_json(run.teacher)
        train = f"allmasked distil {shlex.quote(str(teacher.get('name')))}"
        train += f" --alpha {teacher.get('alpha')} --temperature {teacher.get('temperature')}"
    train += f" --backbone {config.backbone} --head {config.head}"
    train += f" --recipe {shlex.quote(config.recipe_name)}"
    if config.weights:
        train += f" --weights {shlex.quote(config.weights)}"
    for row in settings(config):
        if row["changed"]:
            option, value = row["name"].replace("_", "-"), getattr(config.recipe, row["name"])
            if isinstance(value, bool):
                train += f" --{'' if value else 'no-'}{option}"
            else:
                train += f" --{option} {row['value'].replace(' ', '')}"
    divided = f"allmasked split DATA --seed {split.seed}"
    for name in ("validation", "test"):
        if (share := split.settings.get(name)) is not None:
            divided += f" --test-source {shlex.quote(share)}" if isinstance(share, str) else f" --{name} {share}"
    divided += " --parts given" if split.settings.get("parts") == "given" else ""
    trained = [f"{train} --seed {config.seed} --out {folder}"]
    if run.second_look.is_file():
        trained = [f"{train} --seed {config.seed} --out before", f"allmasked second-look before --out {folder}"]
    return [
        f"{divided} --out split.json",
        *trained,
        f"allmasked evaluate {folder}",
        f"allmasked report {folder}",
    ]


def kept_line(recipe: Recipe, history: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The line of the epoch whose weights were kept, with ``why``; that of a second look where there is one."""
    known = [dict(line) for line in history if line.get("val_loss") is not None]
    if not known:
        return None
    if known[-1].get("phase") == "second look":
        return {**known[-1], "why": "the second look"}
    why = "the last" if recipe.keep == "last" else "with the lowest validation loss"
    return {**known[kept_epoch(recipe, known) - 1], "why": why}


@dataclass(frozen=True)
class Data:
    """What the report says of the split: photos by part and class, why some were left out, and what to beware of."""

    counts: dict[str, dict[str, int]]
    groups: dict[str, int]
    left_out: list[tuple[str, int]]
    balance: str
    size_leak: SizeLeak | None
    people: People | None
    seed: int
    name: str
    twins: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that have a column: the classes, and "nobody" where a photo has it."""
        return LABELS if any(NOBODY in row for row in self.counts.values()) else CLASSES


def summarise(split: Split) -> Data:
    """The split in figures; no photo is opened."""
    counts: dict[str, dict[str, int]] = {part: dict.fromkeys(CLASSES, 0) for part in PARTS}
    groups: dict[str, set[int]] = {part: set() for part in PARTS}
    singles: Counter[str] = Counter()
    for photo in split.photos:
        counts[photo.part][photo.label] = counts[photo.part].get(photo.label, 0) + 1  # nobody only where it is
        groups[photo.part].add(photo.group)
        singles[photo.part] += photo.group < 0
    used = [photo for photo in split.photos if photo.part != "left_out"]
    somebody = [photo for photo in used if photo.label != NOBODY]
    one_a_group = {photo.group if photo.group >= 0 else photo.path: photo for photo in somebody}
    sized = [photo for photo in one_a_group.values() if photo.width and photo.height]
    kept = {part: row for part, row in counts.items() if part != "left_out" and any(row.values())}
    twins = split.settings.get("twins")
    return Data(
        counts={part: row for part, row in counts.items() if any(row.values())},
        groups={part: len(found - {-1}) + singles[part] for part, found in groups.items()},
        left_out=Counter(_kind(photo) for photo in split.photos if photo.part == "left_out").most_common(),
        balance=inline_svg(plots.class_balance(kept), "balance") if kept else "",
        size_leak=size_leak(sized) if sized else None,
        people=people(used),
        seed=split.seed,
        name=split.root.name,
        twins=int(twins.get("scenes", 0)) if isinstance(twins, dict) else 0,
    )


def _kind(photo: Photo) -> str:
    """A reason without what is particular to the one photo: a path, or what follows a colon or a bracket."""
    words = re.split(r"[:(]", photo.reason or "no reason given")[0].split()
    return " ".join(word for word in words if "/" not in word and "." not in word).removesuffix(" of")


def figures(entry: PartScores, prefix: str, *, every: bool) -> dict[str, str]:
    """The plots of one scored part as SVG whose ids begin with ``prefix``: ``every`` one, or the first two."""
    drawn = list(figures_of(entry).items())
    return {
        name.replace("-", "_"): inline_svg(drawing, f"{prefix}-{name}")
        for name, drawing in (drawn if every else drawn[:2])
    }


def verdict(entry: metrics.Figures, *, held_out: bool) -> dict[str, Any]:
    """What to remember of one part's scores: how many are right, against always the commonest class, where it errs."""
    matrix = np.asarray(entry.confusion)
    total = int(matrix.sum())
    errors = matrix.copy()
    np.fill_diagonal(errors, 0)
    row, column = np.unravel_index(int(errors.argmax()), errors.shape)
    present = {name: figures for name, figures in entry.classes.items() if figures.photos}
    weakest = min(present, key=lambda name: present[name].f1)
    common = int(matrix.sum(axis=1).argmax())
    mistake = {"true": CLASSES[row], "said": LABELS[column], "count": int(errors.max()), "of": int(matrix[row].sum())}
    return {
        "held_out": held_out,
        "right": int(np.trace(matrix)),
        "total": total,
        "baseline": float(matrix.sum(axis=1).max() / total),
        "common": CLASSES[common],
        "weakest": weakest,
        "weakest_f1": present[weakest].f1,
        "mistake": mistake if errors.any() else None,
    }


# --- examples --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """One photo with its answer: the probabilities of what was ``said`` and of its ``label``."""

    path: str
    label: str
    said: str
    p: float
    p_label: float
    picture: str = ""
    heat: str = ""


@dataclass(frozen=True)
class Examples:
    """Examples of one part; ``method`` names the heat maps (empty without), ``problem`` says why some are missing."""

    wrong: tuple[Example, ...] = ()
    right: tuple[Example, ...] = ()
    method: str = ""
    problem: str = ""
    all_right: bool = False


def find_examples(run: Run, split: Split, part: Part, count: int) -> Examples:
    """The surest wrong answers, and the surest right ones of each class in turn, with their heat maps."""
    try:
        answers = part_answers(run, part, split.root)
    except AllmaskedError as error:
        return Examples(problem=f"Examples are missing: {error}.")
    chosen = choose(answers.photos, answers.probabilities, count, answers.nobody)
    pictures = {e.path: photo_picture(split.root / e.path, PICTURE) for e in track(chosen, "pictures")}
    method, problem = "", ""
    heat: dict[str, str] = {}
    try:
        method, heat = heat_maps(run, split.root, [e for e in chosen if pictures[e.path]])
    except AllmaskedError as error:
        problem = f"Heat maps are missing: {error}."
    if not all(pictures.values()):
        problem += f" Some photos are no longer in {split.root}; say where they are with '--data'."
    full = [dataclasses.replace(e, picture=pictures[e.path], heat=heat.get(e.path, "")) for e in chosen]
    wrong, right = (tuple(e for e in full if (e.said == e.label) is good) for good in (False, True))
    return Examples(wrong, right, method, problem.strip(), bool((answers.predicted == answers.labels).all()))


def choose(
    photos: Sequence[Photo], probabilities: metrics.Floats, count: int, nobody: metrics.Floats | None = None
) -> list[Example]:
    """``count`` examples, at most half of them wrong (surest first), the rest right (each class in turn, surest first).

    A group of near-duplicates is shown once. ``probabilities`` (N, 3) are those if somebody is there, ``nobody`` (N,)
    is P(nobody); an example has the probabilities of the four answers, as ``predict`` gives them.
    """
    said = metrics.predicted_classes(probabilities, nobody)
    away = np.zeros(len(photos)) if nobody is None else nobody
    probabilities = joint(probabilities, away)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong: list[Example] = []
    right: dict[str, list[Example]] = {label: [] for label in CLASSES}
    seen: set[int] = set()
    for k in order:
        photo = photos[k]
        if photo.group >= 0 and photo.group in seen:
            continue
        seen.add(photo.group)
        p, p_label = float(probabilities[k, said[k]]), float(probabilities[k, LABELS.index(photo.label)])
        found = Example(photo.path, photo.label, LABELS[said[k]], p, p_label)
        (right[photo.label] if found.said == found.label else wrong).append(found)
    wrong = wrong[: count // 2]
    turns = [examples[turn] for turn in range(count) for examples in right.values() if turn < len(examples)]
    return wrong + turns[: count - len(wrong)]


def heat_maps(run: Run, root: Path, examples: Sequence[Example], explainer: str = "") -> tuple[str, dict[str, str]]:
    """The heat map overlay of each example for the class that was said: the explainer's name, path -> data address.

    Raises:
        RunError, MissingExtraError: the model can't be opened or explained.
    """
    if not examples:
        return "", {}
    from allmasked.explaining.ensemble_heat import best_explainer, explain_ensemble
    from allmasked.explaining.explain import Explanation, explain_paths
    from allmasked.explaining.pictures import picture as overlaid
    from allmasked.predictors.predictor import KerasPredictor, open_predictor

    predictor = open_predictor(run.folder)
    photos = [(e.path, root / e.path) for e in examples]
    found: dict[str, str] = {}
    spec = predictor.input
    explainer = explainer or best_explainer(predictor)
    if isinstance(predictor, EnsemblePredictor):
        heats = explain_ensemble(predictor, photos, explainer=explainer)
        explained: Iterable[Explanation] = (heat.combined for heat in heats)
        spec = InputSpec(spec.size, "stretch")
    elif isinstance(predictor, KerasPredictor):
        explained = explain_paths(predictor, photos, explainer=explainer)
    else:
        raise RunError(f"{run.folder}: only a run's own Keras model can be explained")
    for one in track(explained, "heat maps", total=len(photos)):
        if one.heat is not None:
            laid = overlaid(one.path, one.heat, spec, longest_px=max(PICTURE))[1]
            found[one.prediction.path] = picture(laid, PICTURE)
    return explainer, found
