"""An ensemble as one HTML page: its members, every vote, how different the members are, and what each adds."""

from __future__ import annotations

import dataclasses
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allmasked.core.runs import Run
from allmasked.ensembles.assemble import Said, members_say
from allmasked.networks.heads import HEADS
from allmasked.predictors.ensemble import Ensemble
from allmasked.reports.pages import inline_svg, write_page
from allmasked.scoring.evaluate import Ask, ask_model
from allmasked.stats import diversity, metrics, plots
from allmasked.stats.diversity import Diversity
from allmasked.stats.votes import Floats, cost_ratio


@dataclass(frozen=True)
class MemberFigures:
    """A member: its accuracy, what it adds, its turn, and the share of photos that it is asked about in turn."""

    name: str
    accuracy: float
    adds: float
    turn: int
    asked: float


@dataclass(frozen=True)
class Best(metrics.McNemar):
    """The best member by validation, and McNemar's test of the ensemble (A) against it."""

    name: str
    accuracy: float


@dataclass(frozen=True)
class EnsembleFigures:
    """All figures of an ensemble on one part; ``cost_ratio`` is that of asking in turn, None without a bound."""

    part: str
    photos: int
    accuracy: float
    members: tuple[MemberFigures, ...]
    best: Best
    cost_ratio: float | None
    diversity: Diversity


def describe(run: Run, part: str, data: Path | None = None, ask: Ask = ask_model) -> EnsembleFigures:
    """All figures of an ensemble on one part, from its members' kept answers."""
    ensemble = Ensemble.read(run)
    folders = ensemble.folders(run)
    said = members_say(folders, part, data, ask)
    fitting = said if part == "validation" else members_say(folders, "validation", data, ask)
    ours, theirs = _calibrated(ensemble, said), _calibrated(ensemble, fitting)

    def accuracy_of(members: list[int]) -> float:
        fitted = ensemble.row.fit(theirs[members], fitting.labels, fitting.groups)
        some = dataclasses.replace(said, nobody=None if said.nobody is None else said.nobody[members])
        return said.accuracy(some.voted(ensemble.row.combine(ours[members], fitted)))

    own = said.own
    answers, asked = ensemble.ask(len(said.labels), lambda member, rows: own[member, rows], early=True)
    turns = {member: turn for turn, member in enumerate(ensemble.order, 1)}
    reached = asked >= np.array([[turns[number]] for number in range(len(folders))])
    predicted, voted = said.predicted, said.voted(answers)
    best = int(np.argmax([member.accuracy for member in ensemble.members]))
    finds_faces = all(HEADS[member.head].maps for member in ensemble.members if member.head in HEADS)
    bounded = ensemble.row.settled is not None and not finds_faces  # whose answer is read off the faces of all
    adds = diversity.leave_one_out(len(folders), accuracy_of) if len(folders) > 1 else np.zeros(len(folders))
    return EnsembleFigures(
        part,
        len(said.labels),
        said.accuracy(voted),
        tuple(
            MemberFigures(
                member.name, said.accuracy(predicted[number]), float(adds[number]), turns[number],
                float(reached[number].mean()),
            )
            for number, member in enumerate(ensemble.members)
        ),
        Best(
            **vars(metrics.mcnemar(said.labels, voted, predicted[best], said.groups)),
            name=ensemble.members[best].name,
            accuracy=said.accuracy(predicted[best]),
        ),
        cost_ratio(asked, ensemble.order, ensemble.milliseconds) if bounded else None,
        diversity.measure(predicted, said.labels),
    )  # fmt: skip


def _calibrated(ensemble: Ensemble, said: Said) -> Floats:
    return np.stack([ensemble.calibrated(number, own) for number, own in enumerate(said.own)])


def drawn(ensemble: Ensemble, figures: EnsembleFigures, name: str) -> dict[str, str]:
    """The plots of :func:`describe` as SVG: ``disagreement``, ``q``, ``adds`` and ``cost``."""
    names = [member.name for member in ensemble.members]
    apart, rows = figures.diversity.disagreement, figures.members
    top = max(0.05, float(apart.max()))
    costs = [(str(no), m.ms, row.accuracy) for no, (row, m) in enumerate(zip(rows, ensemble.members), 1)]
    ratio = figures.cost_ratio if ensemble.early_stop else None
    whole = (name, sum(ensemble.milliseconds) * (ratio or 1.0), figures.accuracy)
    pictures = {
        "disagreement": plots.pairwise(apart, names, low=0, high=top),
        "q": plots.pairwise(figures.diversity.q, names, low=0, high=1),
        "adds": plots.contributions([100 * row.adds for row in rows], names),
        "cost": plots.accuracy_by_cost(costs, whole),
    }
    return {key: inline_svg(picture, f"ensemble-{key}") for key, picture in pictures.items()}


def make_page(
    run: Run, out: str | Path | None, data: Path | None, part: str, ask: Ask = ask_model, **found: Any
) -> Path:
    """Write the page of an ensemble; ``found`` is what :mod:`allmasked.reports.report` knows of any scored run."""
    ensemble = Ensemble.read(run)
    figures = describe(run, part, data, ask)
    return write_page(
        out or run.report,
        "ensemble.html",
        run=run,
        ensemble=ensemble,
        figures=figures,
        rows=list(zip(ensemble.members, figures.members, ensemble.fitted.weights)),
        plots=drawn(ensemble, figures, run.name),
        commands=commands(run, ensemble),
        **found,
    )


def commands(run: Run, ensemble: Ensemble) -> list[str]:
    """The commands that make this ensemble and page again from its members, beside its own folder."""
    folders = [os.path.relpath(folder, run.folder.parent) for folder in ensemble.folders(run)]
    name = shlex.quote(run.name)
    make = f"allmasked ensemble {shlex.join(folders)} --vote {ensemble.vote}"
    make += " --early-stop" if ensemble.early_stop else ""
    return [f"{make} --out {name}", f"allmasked evaluate {name}", f"allmasked report {name}"]
