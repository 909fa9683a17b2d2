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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from allmasked.core.errors import PhotoError, RunError, unknown
from allmasked.core.runs import Run, read_json, write_json
from allmasked.core.types import CLASSES, Answers, Candidates, Counting, Prediction, Predictor, Size
from allmasked.data.dataset import sha256_of
from allmasked.images import pixels as px
from allmasked.networks import reading
from allmasked.predictors.faces import counting_on_photo, four_of, on_photo, prediction_from, prediction_of
from allmasked.stats import metrics
from allmasked.stats.votes import VOTES, Fitted, Floats, Ints, Vote, in_turn

View = tuple[Size, px.Fit]
"""Size and fit of a member's input; members that share both are given the same pixels."""
Rule = Callable[[Counting, Size, Size, px.Fit], Counting]
"""(a model's own rule, photo, input, fit) -> which faces of that photo count, in its px."""


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
    fit: px.Fit
    parameters: int
    train_seconds: float
    ms: float
    mb: float
    accuracy: float
    temperature: float = 1.0


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
        if self.vote not in VOTES:
            raise unknown("vote", self.vote, VOTES)

    @property
    def row(self) -> Vote:
        return VOTES[self.vote]

    @property
    def size(self) -> Size:
        """The largest member's input, (width, height) px."""
        return self._largest.size

    @property
    def fit(self) -> px.Fit:
        return self._largest.fit

    @property
    def _largest(self) -> Member:
        return max(self.members, key=lambda member: member.size[0] * member.size[1])

    @property
    def milliseconds(self) -> tuple[float, ...]:
        return tuple(member.ms for member in self.members)

    def calibrated(self, member: int, probabilities: NDArray[Any]) -> Floats:
        """A member's own probabilities (N, 3) as the vote takes them: scaled by its temperature."""
        return metrics.apply_temperature(probabilities, self.members[member].temperature)

    def ask(
        self, photos: int, member: Callable[[int, Ints], NDArray[Any]], *, early: bool | None = None
    ) -> tuple[Floats, Ints]:
        """The answers (N, 3) for ``photos`` photos, and how many members were asked about each (N,).

        Args:
            photos: their number N.
            member: (member, rows) -> that member's own probabilities (rows, 3).
            early: stop early; as the ensemble was made when None. The most probable class is the same either way.
        """
        return in_turn(
            self.row, self.fitted, self.order, photos,
            lambda number, rows: self.calibrated(number, member(number, rows)),
            early=self.early_stop if early is None else early,
        )  # fmt: skip

    def combine(self, probabilities: Sequence[NDArray[Any]] | NDArray[Any]) -> Floats:
        """The answers (N, 3) from all members' own probabilities (M, N, 3), in the order of ``members``."""
        return self.ask(len(probabilities[0]), lambda number, rows: probabilities[number][rows])[0]

    def write(self, run: Run) -> None:
        """Write ``ensemble.json``."""
        values = dataclasses.asdict(self)
        values |= {"size": list(self.size), "fit": self.fit}  # for those who only want to know what goes in
        write_json(run.ensemble, values)

    @classmethod
    def read(cls, run: Run) -> Ensemble:
        """Read ``ensemble.json``; raises :class:`RunError` naming the file."""
        values = read_json(run.ensemble)
        try:
            values = {name: value for name, value in values.items() if name not in ("size", "fit")}
            members = tuple(Member(**{**row, "size": tuple(row["size"])}) for row in values.pop("members"))
            fitted = values.pop("fitted")
            found = Fitted(tuple(fitted["weights"]), tuple(tuple(row) for row in fitted["coefficients"]))
            return cls(members=members, fitted=found, order=tuple(values.pop("order")), **values)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise RunError(
                f"{run.ensemble}: was not written by this version ({error}); make it again with 'allmasked ensemble'"
            ) from None

    def folders(self, run: Run) -> list[Path]:
        """The members' run folders."""
        return [Path(os.path.normpath(run.folder / member.run)) for member in self.members]


def read_views(views: Sequence[View], source: str | Path, name: str = "") -> tuple[Size, tuple[NDArray[np.uint8], ...]]:
    """Decode a photo once, at a scale that holds every view, and fit it to each.

    Returns:
        Its width and height as decoded, and (height, width, 3) uint8 for each view.

    Raises:
        PhotoError: it can't be read.
    """
    widths, heights = zip(*(size for size, _ in views))
    image = px.decode(source, name=name, fit_within=(max(widths), max(heights)))
    return image.size, tuple(px.fit_to(image, size, fit) for size, fit in views)


@dataclass(frozen=True, eq=False)
class Together:
    """What several networks say about N photos.

    Attributes:
        probabilities: (N, 3), P(all), P(none), P(some) if somebody is there.
        nobody: (N,) P(nobody); None where a member can't tell.
        members: what each says by itself, where all find faces: its input's size and fit, its share of the vote, and
            its candidates by photo, None where it was not asked.
        heat: (N, h, w, 2) 0-1, the mean by share of the members' evidence maps; None where they see different inputs.
    """

    probabilities: NDArray[np.floating[Any]]
    nobody: NDArray[np.floating[Any]] | None = None
    members: tuple[tuple[View, float, Counting, Sequence[Candidates | None]], ...] = ()
    heat: NDArray[np.float32] | None = None

    @property
    def _plain(self) -> Answers:
        nobody = None if self.nobody is None else self.nobody.astype(np.float32)
        return Answers(self.probabilities.astype(np.float32), nobody)

    def prediction(self, name: str, row: int, photo: Size, rule: Rule | None = None) -> Prediction:
        """The answer for one photo, of ``photo`` px."""
        if not self.members or self.nobody is None:
            return prediction_of(name, self._plain, row, photo, (1, 1), "squash")
        four = four_of(self._plain, row)
        asked = [member for member in self.members if member[3][row] is not None]
        placed = [on_photo(cast(Candidates, own[row]), photo, *view) for view, _, _, own in asked]
        shares = np.array([share for _, share, _, _ in asked])
        view, _, own_rule, _ = asked[0]
        own = counting_on_photo(own_rule, photo, *view)
        counting = rule(own_rule, photo, *view) if rule else own
        # the members voted by their own rule; under another the answer is read off their faces
        voted = four if counting == own else None
        return prediction_from(name, merged(placed, shares / shares.sum()), counting, voted, photo)

    def on_view(self, count: int, size: Size) -> Answers:
        """The same as answers about photos of ``count`` in one input, which all members' photos were resized from."""
        plain, found = self._plain, []
        if not self.members:
            return plain
        for row in range(count):
            asked = [member for member in self.members if member[3][row] is not None]
            placed = [on_photo(cast(Candidates, own[row]), size, *view) for view, _, _, own in asked]
            shares = np.array([share for _, share, _, _ in asked])
            found.append(merged(placed, shares / shares.sum()))
        view, _, rule, _ = next(one for one in self.members if any(own is not None for own in one[3]))
        counting = counting_on_photo(rule, size, *view)
        return Answers(plain.probabilities, plain.nobody, self.heat, tuple(found), counting, voted=True)


def merged(looks: Sequence[Candidates], shares: NDArray[np.float64]) -> Candidates:
    """The candidates of several networks about one photo as those of them all, likeliest first.

    Boxes that overlap are one face: its score is the mean of theirs (0 of a network that didn't find it), P(masked) the
    mean weighted by score, its box that of the surest.
    """
    score = np.concatenate([look.score for look in looks])
    masked = np.concatenate([look.masked for look in looks])
    boxes = np.concatenate([look.boxes for look in looks])
    owner = np.concatenate([np.full(len(look), number) for number, look in enumerate(looks)]).astype(int)
    overlap, _ = reading.overlaps(boxes, boxes)
    free = np.ones(len(score), bool)
    chosen, scores, wears = [], [], []
    for first in np.argsort(-score, kind="stable"):
        if not free[first]:
            continue
        together = [int(first)]
        for number in range(len(looks)):
            own = np.flatnonzero(free & (owner == number) & (overlap[first] > reading.OVERLAP))
            if number != owner[first] and len(own):
                together.append(int(own[score[own].argmax()]))
        free[together] = False
        weight = shares[owner[together]] * score[together]
        chosen.append(first)
        scores.append(weight.sum())
        wears.append(float((weight * masked[together]).sum() / max(weight.sum(), 1e-9)))
    found = Candidates(boxes[chosen], np.array(scores), np.array(wears), np.ones(len(chosen), bool))
    return found.take(np.argsort(-found.score, kind="stable"))


class Viewer:
    """What answers about photos fitted in more than one way: a photo is decoded once and fitted to each of its views.

    Photos come best through :func:`predict_paths`.
    """

    size: Size
    fit: px.Fit

    @property
    def views(self) -> tuple[View, ...]:
        """The different inputs, one of them :attr:`size` and :attr:`fit`."""
        raise NotImplementedError

    @property
    def apart(self) -> bool:
        """Whether its photos must come fitted to each view."""
        return len(self.views) > 1

    @property
    def in_turn(self) -> bool:
        """Whether fewer and fewer photos are left to ask about, so that batches should be large."""
        return False

    def answer_views(self, views: Sequence[NDArray[np.uint8]], *, batch_size: int = 32) -> Together:
        """The answers for photos fitted to each of :attr:`views`, an array (N, H, W, 3) uint8 a view."""
        raise NotImplementedError

    def read(self, source: str | Path, name: str = "") -> tuple[Size, tuple[NDArray[np.uint8], ...]]:
        """Decode a photo once and fit it to each of :attr:`views`: its upright size in px, and (height, width, 3) uint8
        each. Raises PhotoError."""
        arrays = read_views(self.views, source, name)[1]
        try:
            return px.upright_size(Path(source)), arrays
        except Exception:  # gone meanwhile, or a header that only the decoder forgave
            raise PhotoError(name, "its size cannot be read") from None

    def resized(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Photos (N, H, W, 3) that are fitted to :attr:`size` already, for each view; the others get them resized,
        which is not quite what they would see of the photo itself."""
        return [
            pixels
            if view == (self.size, self.fit)
            else np.stack([px.fit_to(Image.fromarray(p), *view) for p in pixels])
            for view in self.views
        ]


@dataclass
class EnsemblePredictor(Viewer):
    """An ensemble that answers (:class:`allmasked.core.types.Predictor`).

    ``members`` are its members' predictors in the order of ``ensemble.members``; :meth:`Ensemble.combine` is what makes
    one answer of theirs.
    """

    name: str
    ensemble: Ensemble
    members: Sequence[Predictor]
    size: Size = (0, 0)
    fit: Literal["letterbox", "squash"] = "letterbox"

    def __post_init__(self) -> None:
        self.size, self.fit = self.ensemble.size, self.ensemble.fit

    @cached_property
    def views(self) -> tuple[View, ...]:
        """The different inputs that the members want."""
        return tuple(dict.fromkeys((member.size, member.fit) for member in self.members))

    @property
    def apart(self) -> bool:
        """Always: members may be asked in turn."""
        return True

    @property
    def in_turn(self) -> bool:
        return self.ensemble.early_stop

    @property
    def finds_faces(self) -> bool:
        return all(member.finds_faces for member in self.members)

    def answer_views(
        self, views: Sequence[NDArray[np.uint8]], *, early: bool | None = None, batch_size: int = 32
    ) -> Together:
        """The answers for photos fitted to each of :attr:`views`; ``early`` as for :meth:`Ensemble.ask`."""
        index = [self.views.index((member.size, member.fit)) for member in self.members]
        count = len(views[0])
        said: list[list[Candidates | None]] = [[None] * count for _ in self.members]
        nobody, shares = np.zeros(count), np.zeros(count)
        rules = [Counting() for _ in self.members]
        weights = [max(weight, 1e-9) for weight in self.ensemble.fitted.weights]

        def member(number: int, rows: Ints) -> NDArray[Any]:
            pixels, found = views[index[number]], []
            for start in range(0, len(rows), batch_size):
                part = rows[start : start + batch_size]
                answers = self.members[number].answer(pixels[part])
                found.append(answers.probabilities)
                if answers.faces is None or answers.nobody is None:
                    continue
                nobody[part] += weights[number] * answers.nobody
                shares[part] += weights[number]
                rules[number] = answers.counting
                for row, faces in zip(part, answers.faces):
                    said[number][row] = faces
            return np.concatenate(found)

        probabilities = self.ensemble.ask(count, member, early=early)[0]
        if not self.finds_faces:
            return Together(probabilities)
        own = zip(self.members, weights, rules, said)
        members = tuple(((one.size, one.fit), share, rule, faces) for one, share, rule, faces in own)
        return Together(probabilities, nobody / shares, members)

    def predict_views(
        self, views: Sequence[NDArray[np.uint8]], *, early: bool | None = None, batch_size: int = 32
    ) -> tuple[Floats, Ints]:
        """Answers (N, 3) for photos fitted to each of :attr:`views`, and how many members were asked about each (N,).

        ``views`` has one array (N, H, W, 3) uint8 a view; ``early`` as for :meth:`Ensemble.ask`.
        """
        index = [self.views.index((member.size, member.fit)) for member in self.members]

        def member(number: int, rows: Ints) -> NDArray[Any]:
            pixels = views[index[number]]
            parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
            return np.concatenate([self.members[number].predict(pixels[part]) for part in parts])

        return self.ensemble.ask(len(views[0]), member, early=early)

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, 3) float32 for pixels (N, H, W, 3) uint8 RGB in the largest member's size and fit.

        The other members get these pixels resized, which is not quite what they would see of the photo itself.
        """
        if not len(pixels):
            return np.zeros((0, len(CLASSES)), np.float32)
        return self.predict_views(self.resized(pixels))[0].astype(np.float32)

    def answer(self, pixels: NDArray[np.uint8]) -> Answers:
        """The same with whether somebody is there, and the faces, where all members find them."""
        if not len(pixels):
            return Answers(np.zeros((0, len(CLASSES)), np.float32))
        together = self.answer_views(self.resized(pixels))
        return together.on_view(len(pixels), self.size)


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


def predict_paths(
    predictor: Viewer,
    photos: Iterable[tuple[str, str | Path]],
    *,
    batch_size: int = 32,
    threads: int | None = None,
    rule: Rule | None = None,
) -> Iterator[Prediction]:
    """:func:`allmasked.predictors.predictor.predict_paths` of photos fitted more than once: each is decoded once.

    Two batches are taken at a time, so that the photos that are left when others are settled still fill a batch.
    """
    taken = 2 * batch_size if predictor.in_turn else batch_size
    for batch in px.decode_batches(photos, predictor.read, batch_size=taken, threads=threads):
        good = [arrays for _, arrays in batch if not isinstance(arrays, Exception)]
        if good:
            views = [np.stack(view) for view in zip(*(arrays for _, arrays in good))]
            together = predictor.answer_views(views, batch_size=batch_size)
        row = 0
        for name, found in batch:
            if isinstance(found, Exception):
                yield Prediction(name, None, None, found.reason)
            else:
                yield together.prediction(name, row, found[0], rule)
                row += 1
