"""An ensemble folder: which runs answer together, how their answers become one, and the predictor that does it.

ENSEMBLE/
  ensemble.json   members (paths relative to this folder), vote, what was fitted, figures on validation
  split.json      the split that all members were trained on
  predictions/, scores.json, scores.md, plots/, report.html   as in a run folder (:mod:`allmasked.core.runs`)

Nothing here needs Keras: members are predictors, whatever they are made of.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import RunError, row_of
from allmasked.core.plain import parse
from allmasked.core.renamed import WORDS
from allmasked.core.runs import Run, read_json, write_json
from allmasked.core.types import CLASSES, Answers, InputSpec, MemberFaces, Predictor, ResizeMode, Size
from allmasked.data.dataset import sha256_of
from allmasked.predictors.views import on_one_view, resized
from allmasked.stats.votes import VOTES, Fitted, Floats, Ints, Vote, in_turn, parted, scaled


@dataclass(frozen=True)
class Member:
    """One member. ``ms`` is its network's time a photo, ``mb`` its model file's size, ``accuracy`` that on validation.

    ``run`` is the run folder's path relative to the ensemble's folder; ``temperature`` calibrates its probabilities.
    """

    name: str
    run: str
    model_sha256: str
    backbone: str
    head: str
    loader: str
    seed: int
    size: Size
    fit: ResizeMode
    parameters: int
    train_seconds: float
    ms: float
    mb: float
    accuracy: float
    temperature: float = 1.0

    @property
    def input(self) -> InputSpec:
        return InputSpec(self.size, self.fit)


@dataclass(frozen=True)
class Ensemble:
    """What ``ensemble.json`` holds. ``order`` is that in which members are asked; all are, without ``early_stop``.

    ``validation`` has for each vote of :data:`allmasked.stats.votes.VOTES` its accuracy and log loss on validation,
    cross-fitted where the vote is fitted, and the share of the full cost that asking in turn takes.
    """

    vote: str
    members: tuple[Member, ...]
    fitted: Fitted
    order: tuple[int, ...]
    early_stop: bool = False
    validation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        row_of("vote", self.vote, VOTES)

    @property
    def row(self) -> Vote:
        return VOTES[self.vote]

    @property
    def input(self) -> InputSpec:
        """The largest member's."""
        return max(self.members, key=lambda member: member.size[0] * member.size[1]).input

    @property
    def milliseconds(self) -> tuple[float, ...]:
        return tuple(member.ms for member in self.members)

    def calibrated(self, member: int, probabilities: NDArray[Any]) -> Floats:
        """A member's own probabilities (N, K) as the vote takes them: scaled by its temperature."""
        return scaled(probabilities, self.members[member].temperature)

    def ask(
        self, photos: int, member: Callable[[int, Ints], NDArray[Any]], *, early: bool | None = None
    ) -> tuple[Floats, Ints]:
        """The answers (N, K) for ``photos`` photos, and how many members were asked about each (N,).

        Args:
            photos: their number N.
            member: (member, rows) -> that member's own probabilities (rows, K), see :mod:`allmasked.stats.votes`.
            early: stop early; as the ensemble was made when None. The most probable label is the same either way.
        """
        return in_turn(
            self.row, self.fitted, self.order, photos,
            lambda number, rows: self.calibrated(number, member(number, rows)),
            early=self.early_stop if early is None else early,
        )  # fmt: skip

    def combine(self, probabilities: Sequence[NDArray[Any]] | NDArray[Any]) -> Floats:
        """The answers (N, K) from all members' own probabilities (M, N, K), in the order of ``members``."""
        return self.ask(len(probabilities[0]), lambda number, rows: probabilities[number][rows])[0]

    def write(self, run: Run) -> None:
        """Write ``ensemble.json``."""
        goes_in = {"size": list(self.input.size), "fit": self.input.resize_mode}  # for those who only want to know that
        write_json(run.ensemble, dataclasses.asdict(self) | goes_in)

    @classmethod
    def read(cls, run: Run) -> Ensemble:
        """Read ``ensemble.json``; raises :class:`RunError` naming the file."""
        values = read_json(run.ensemble)
        try:
            members = [{**row, "fit": WORDS.get(row["fit"], row["fit"])} for row in values["members"]]
            kept = {name: value for name, value in values.items() if name not in ("size", "fit")}
            return parse(cls, kept | {"members": members})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise RunError(
                f"{run.ensemble}: was not written by this version ({error}); make it again with 'allmasked ensemble'"
            ) from None

    def folders(self, run: Run) -> list[Path]:
        """The members' run folders."""
        return [Path(os.path.normpath(run.folder / member.run)) for member in self.members]


@dataclass
class EnsemblePredictor(Predictor):
    """An ensemble that answers. Photos come best fitted to each of :attr:`views`, decoded once.

    ``members`` are its members' predictors in the order of ``ensemble.members``; :meth:`Ensemble.combine` is what makes
    one answer of theirs.
    """

    name: str
    ensemble: Ensemble
    members: Sequence[Predictor]
    input: InputSpec = field(init=False)

    def __post_init__(self) -> None:
        self.input = self.ensemble.input

    @property
    def views(self) -> tuple[InputSpec, ...]:
        """The different inputs that the members want."""
        return tuple(dict.fromkeys(member.input for member in self.members))

    @property
    def finds_faces(self) -> bool:
        return all(member.finds_faces for member in self.members)

    @property
    def looks_closer(self) -> bool:
        return False

    def answer_views(self, views: Sequence[NDArray[np.uint8]], *, early: bool | None = None) -> Answers:
        """The answers for photos fitted to each of :attr:`views`; ``early`` as for :meth:`Ensemble.ask`.

        Where the members find faces all are asked, whatever ``early`` says: the answer is read off the faces of all.
        """
        count = len(views[0])
        if not count:
            return Answers(np.zeros((0, len(CLASSES)), np.float32))
        if not self.finds_faces:
            given = dict(zip(self.views, views))
            asked = [(member, given[member.input]) for member in self.members]
            found, _ = self.ensemble.ask(count, lambda k, rows: asked[k][0].predict(asked[k][1][rows]), early=early)
            return Answers(found.astype(np.float32), voted=True)
        said = self.said(views)
        probabilities, nobody = parted(self.ensemble.combine([one.own for one in said]))
        assert nobody is not None
        weights = [max(weight, 1e-9) for weight in self.ensemble.fitted.weights]
        members = tuple(
            MemberFaces(member.input, weight, one.counting, one.faces or ())
            for member, weight, one in zip(self.members, weights, said)
        )
        return Answers(probabilities.astype(np.float32), nobody.astype(np.float32), voted=True, members=members)

    def said(self, views: Sequence[NDArray[np.uint8]]) -> list[Answers]:
        """What each member says by itself of photos fitted to each of :attr:`views`."""
        given = dict(zip(self.views, views))
        return [member.answer(given[member.input]) for member in self.members]

    def answer(self, pixels: NDArray[np.uint8]) -> Answers:
        """All that the members can tell together of pixels (N, H, W, 3) uint8 RGB in :attr:`input`."""
        views = resized(pixels, self.input, self.views)
        return on_one_view(self.answer_views(views), self.input.size)


def open_ensemble(run: Run, open_member: Callable[[Path], Predictor]) -> EnsemblePredictor:
    """The predictor of an ensemble folder; ``open_member`` opens a run folder.

    Raises:
        RunError: a member is missing, or no longer the model that the ensemble was made of (named).
    """
    ensemble = Ensemble.read(run)
    folders = ensemble.folders(run)
    for member, folder in zip(ensemble.members, folders):
        model = Run(folder).model
        if not model.is_file():
            raise RunError(f"{run.folder}: its member {member.name} is not in {folder}; put it back, or make a new one")
        if sha256_of(model) != member.model_sha256:
            raise RunError(f"{run.folder}: its member {folder} was trained anew since; make the ensemble again")
    return EnsemblePredictor(run.name, ensemble, [open_member(folder) for folder in folders])
