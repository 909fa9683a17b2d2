"""Ensembles of runs: what belongs together, what is kept, and that they answer as their members say."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from allmasked.core.errors import ConfigError, RunError
from allmasked.core.runs import Run, read_json
from allmasked.core.types import (
    CLASSES,
    LABELS,
    Answers,
    Candidates,
    Counting,
    InputSpec,
    Photo,
    Prediction,
    Predictor,
    ResizeMode,
    Split,
)
from allmasked.data.dataset import read_split, write_split
from allmasked.ensembles.assemble import assemble, markdown
from allmasked.networks.reading import Calibration, once
from allmasked.predictors.ensemble import Ensemble, EnsemblePredictor, open_ensemble
from allmasked.predictors.faces import prediction_of
from allmasked.predictors.predictor import Look, predict_paths
from allmasked.predictors.views import merged
from allmasked.scoring.compare import compare
from allmasked.scoring.evaluate import evaluate, part_answers
from allmasked.stats import metrics
from allmasked.stats.votes import VOTES
from colour_model import ColourModel, picture
from fake_runs import FakeModel, fake_run, paint_photos
from maps import candidate_lists

SKILLS = {"good": 0.85, "fair": 0.75, "weak": 0.7, "poor": 0.45}


class FakeModels:
    """One :class:`FakeModel` a run folder; knows how often each was asked about how many photos."""

    def __init__(self, skills: dict[str, float] = SKILLS) -> None:
        self.models = {name: FakeModel(skill, seed) for seed, (name, skill) in enumerate(skills.items())}

    def __call__(self, folder: Path, photos: Sequence[tuple[str, Path]]) -> Iterable[Prediction]:
        return self.models[folder.name](folder, photos)

    @property
    def asked(self) -> int:
        return sum(len(model.asked) for model in self.models.values())


def ms(folder: Path) -> float:
    return {"good": 30.0, "fair": 10.0, "weak": 20.0, "poor": 5.0}[folder.name]


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return paint_photos(tmp_path / "data", {"train": 4, "validation": 24, "test": 24})


@pytest.fixture
def runs(tmp_path: Path, photos: list[Photo]) -> list[Run]:
    return [fake_run(tmp_path / "runs" / name, tmp_path / "data", photos, model=name.encode()) for name in SKILLS]


def make(runs: Sequence[Run], out: Path, vote: str, **options: object) -> tuple[Ensemble, FakeModels]:
    models = FakeModels()
    made = assemble([run.folder for run in runs], out, vote, ask=models, measure=ms, **options)  # type: ignore[arg-type]
    return made, models


@pytest.mark.parametrize("vote", VOTES)
def test_an_ensemble_is_scored_like_a_run(vote: str, runs: list[Run], tmp_path: Path) -> None:
    ensemble, models = make(runs, tmp_path / "ensemble", vote)
    folder = Run(tmp_path / "ensemble")
    assert Ensemble.read(folder) == ensemble
    asked = models.asked
    assert asked == 4 * 72  # validation, once a member
    found = evaluate(folder.folder, bootstrap=100, plots=False, ask=models)
    assert models.asked == 2 * asked, "validation is not inferred again"
    assert found.test.photos == 72
    own = np.stack([part_answers(run, "test", ask=models).probabilities for run in runs])
    scaled = [metrics.apply_temperature(p, m.temperature) for p, m in zip(own, ensemble.members)]
    expected = VOTES[vote].combine(np.stack(scaled), ensemble.fitted)
    answers = part_answers(folder, "test", ask=models)
    np.testing.assert_allclose(answers.probabilities, expected)
    assert models.asked == 2 * asked
    assert found.test.accuracy == pytest.approx((expected.argmax(1) == answers.labels).mean())


def test_members_are_asked_by_accuracy_per_ms(runs: list[Run], tmp_path: Path) -> None:
    ensemble, _ = make(runs, tmp_path / "ensemble", "majority", early_stop=True)
    worth = [member.accuracy / member.ms for member in ensemble.members]
    assert list(ensemble.order) == sorted(range(4), key=lambda k: -worth[k])
    assert ensemble.order[0] == 3 and ensemble.order[-1] == 0


@pytest.mark.parametrize("vote", ["majority", "soft", "weighted"])
def test_early_stop_gives_the_same_labels(vote: str, runs: list[Run], tmp_path: Path) -> None:
    _, models = make(runs, tmp_path / "full", vote)
    early, _ = make(runs, tmp_path / "early", vote, early_stop=True)
    full = part_answers(Run(tmp_path / "full"), "test", ask=models)
    stopped = part_answers(Run(tmp_path / "early"), "test", ask=models)
    assert (full.predicted == stopped.predicted).all()
    assert early.validation[vote]["cost_ratio"] < 1


def test_compare_and_markdown_take_ensembles(runs: list[Run], tmp_path: Path) -> None:
    ensemble, models = make(runs, tmp_path / "ensemble", "weighted")
    found = compare([tmp_path / "ensemble", runs[0].folder], "validation", bootstrap=100, ask=models)
    assert {row.run for row in found.runs} == {"ensemble", "good"}
    assert found.runs[0].parameters == 4 * 1234
    text = markdown("ensemble", ensemble)
    assert "**weighted**" in text and all(name in text for name in (*SKILLS, *VOTES))


def test_a_photo_that_a_member_cannot_answer_fails_alone(runs: list[Run], photos: list[Photo], tmp_path: Path) -> None:
    _, models = make(runs, tmp_path / "ensemble", "soft")
    gone = next(photo for photo in photos if photo.part == "test")
    (tmp_path / "data" / gone.path).unlink()
    found = evaluate(tmp_path / "ensemble", ["test"], bootstrap=100, plots=False, ask=models)
    assert [failed.path for failed in found.failed] == [gone.path]
    assert found.test.photos == 71


def test_what_does_not_belong_together_is_refused_by_name(runs: list[Run], photos: list[Photo], tmp_path: Path) -> None:
    out = tmp_path / "ensemble"
    swapped = [
        dataclasses.replace(p, part={"train": "test", "test": "train"}.get(p.part, p.part))
        for p in photos  # type: ignore[arg-type]
    ]
    write_split(Split(tmp_path / "data", tuple(swapped), 0), runs[2].split)
    with pytest.raises(RunError, match=r"weak: was trained on another split than .*good: .* differ") as error:
        make(runs, out, "soft")
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="twice"):
        make([runs[0], runs[0]], out, "soft")
    with pytest.raises(ConfigError, match="at least two"):
        make(runs[:1], out, "soft")
    with pytest.raises(ConfigError, match="Did you mean 'majority'"):
        make(runs[:2], out, "majorty")
    with pytest.raises(ConfigError, match="no early stop"):
        make(runs[:2], out, "stacked", early_stop=True)
    runs[1].model.unlink()
    with pytest.raises(RunError, match="fair: training is not finished"):
        make(runs[:2], out, "soft")
    assert not out.exists()


def test_an_ensemble_in_use_and_one_of_ensembles_are_refused(runs: list[Run], tmp_path: Path) -> None:
    make(runs[:2], tmp_path / "ensemble", "soft")
    with pytest.raises(RunError, match="is in use"):
        make(runs[:2], tmp_path / "ensemble", "soft")
    with pytest.raises(RunError, match="is an ensemble itself"):
        make([Run(tmp_path / "ensemble"), runs[2]], tmp_path / "other", "soft")


def test_a_member_trained_anew_or_gone_is_named(runs: list[Run], tmp_path: Path) -> None:
    _, models = make(runs, tmp_path / "ensemble", "soft")
    runs[1].model.write_bytes(b"another model")
    with pytest.raises(RunError, match="fair"):
        evaluate(tmp_path / "ensemble", ["test"], ask=models, plots=False)
    with pytest.raises(RunError, match="fair was trained anew"):
        open_ensemble(Run(tmp_path / "ensemble"), lambda folder: Brightness(folder.name, (8, 6)))
    runs[1].model.unlink()
    with pytest.raises(RunError, match="fair is not in"):
        open_ensemble(Run(tmp_path / "ensemble"), lambda folder: Brightness(folder.name, (8, 6)))


def test_a_broken_ensemble_file_gets_one_line(runs: list[Run], tmp_path: Path) -> None:
    make(runs, tmp_path / "ensemble", "soft")
    folder = Run(tmp_path / "ensemble")
    values = read_json(folder.ensemble)
    del values["fitted"]
    folder.ensemble.write_text(json.dumps(values))
    with pytest.raises(RunError, match="make it again"):
        Ensemble.read(folder)


def test_the_whole_may_move(runs: list[Run], tmp_path: Path) -> None:
    make(runs, tmp_path / "runs" / "ensemble", "soft")
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    found = open_ensemble(Run(tmp_path / "elsewhere" / "ensemble"), lambda folder: Brightness(folder.name, (8, 6)))
    assert len(found.members) == 4
    assert len(read_split(Run(tmp_path / "elsewhere" / "ensemble").split).photos) == 156


class Brightness(Predictor):
    """p_all = mean brightness of what it is given; needs no Keras. Notes how many photos it saw."""

    finds_faces = False

    def __init__(self, name: str, size: tuple[int, int], fit: ResizeMode = "letterbox", gain: float = 1.0) -> None:
        self.name, self.input, self.gain, self.seen = name, InputSpec(size, fit), gain, 0

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        assert pixels.shape[1:] == (*self.input.size[::-1], 3) and pixels.dtype == np.uint8
        self.seen += len(pixels)
        bright = np.clip(self.gain * pixels.reshape(len(pixels), -1).mean(1) / 255, 0, 1)
        return np.stack([bright, 1 - bright, 0 * bright], 1).astype(np.float32)

    def answer(self, pixels: np.ndarray) -> Answers:
        return Answers(self.predict(pixels))


def _predictor(members: Sequence[Brightness], vote: str, early: bool) -> EnsemblePredictor:
    from allmasked.predictors.ensemble import Member
    from allmasked.stats.votes import equal

    rows = tuple(
        Member(m.name, m.name, "", "", "", "", 0, m.input.size, m.input.resize_mode, 0, 0.0, 1.0, 1.0, 0.9)
        for m in members  # type: ignore[arg-type]
    )
    order = tuple(range(len(members)))
    return EnsemblePredictor("ensemble", Ensemble(vote, rows, equal(len(rows)), order, early), members)  # type: ignore[arg-type]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_each_photo_is_decoded_once_and_fitted_to_every_member(
    early: bool, batch_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [
        Brightness("a", (32, 24)), Brightness("b", (32, 24), gain=1.2), Brightness("c", (16, 16), "stretch"),
        Brightness("d", (48, 40), gain=0.9),
    ]  # fmt: skip
    predictor = _predictor(members, "majority", early)
    assert predictor.input.size == (48, 40) and len(predictor.views) == 3
    paths = []
    for level in range(0, 250, 10):
        paths.append(str(tmp_path / f"{level}.png"))
        Image.new("RGB", (40, 30), (level,) * 3).save(paths[-1])
    paths.insert(3, str(tmp_path / "gone.png"))
    from allmasked.images import pixels as px

    decoded: list[str] = []
    decode, decode_sized = px.decode, px.decode_sized

    def counted(source: str, **options: object) -> tuple[Image.Image, tuple[int, int]]:
        decoded.append(str(source))
        return decode_sized(source, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(px, "decode_sized", counted)
    found = list(predict_paths(predictor, [(path, path) for path in paths], batch_size=batch_size))
    assert sorted(decoded) == sorted(paths)
    assert [p.path for p in found] == paths and found[3].error == "no such file"
    own = [
        [px.to_input(decode(path), m.input) for path in paths if "gone" not in path]  # type: ignore[arg-type]
        for m in members
    ]
    each = np.stack([m.predict(np.stack(rows)) for m, rows in zip(members, own)])
    expected = predictor.ensemble.combine(each).argmax(1)
    assert [p.label for p in found if not p.error] == [CLASSES[k] for k in expected]
    full = VOTES["majority"].combine(each.astype(float), predictor.ensemble.fitted).argmax(1)
    assert (expected == full).all()
    if early:
        assert members[-1].seen < 2 * 25, "the last member is not asked about every photo"


@pytest.fixture
def pictures(tmp_path: Path) -> list[tuple[str, Path]]:
    """A drawn photo of each label, in the size of the largest member below."""
    paths = [(label, tmp_path / f"{label}.png") for label in LABELS]
    for label, path in paths:
        picture(label, (128, 96)).save(path)
    return paths


def _colours(vote: str = "soft", early: bool = False, **second: Any) -> EnsemblePredictor:
    """Two members that find faces at two sizes."""
    members = [ColourModel("near", InputSpec((128, 96))), ColourModel("far", **{"input": InputSpec((64, 48))} | second)]
    return _predictor(members, vote, early)  # type: ignore[arg-type]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("vote", ["majority", "soft", "weighted"])
def test_an_ensemble_that_finds_faces_says_nobody_and_who(
    vote: str, early: bool, pictures: list[tuple[str, Path]]
) -> None:
    predictor = _colours(vote, early)
    assert predictor.finds_faces
    found = list(predict_paths(predictor, pictures))
    assert [one.label for one in found] == list(LABELS)
    assert [(one.masked, one.bare) for one in found] == [(2, 0), (0, 2), (1, 1), (0, 0)]
    for one in found:
        assert sum(one.four) == pytest.approx(1, abs=1e-5) and one.confidence > (0.6 if one.label != "nobody" else 0.9)
        for face in one.faces or ():
            assert face.right - face.left == pytest.approx(32, abs=8) and face.score > 0.9


def test_what_an_ensemble_says_of_a_photo_and_of_its_pixels_is_the_same(pictures: list[tuple[str, Path]]) -> None:
    for counting in (Counting(), Counting(min_face_px=20), Counting(min_face_px=30)):  # of 24 px in the small input
        predictor = _colours(calibration=Calibration((0.5, 0.75, 0, 0), counting=counting))
        predictor.members = predictor.members[::-1]  # the small input's rule is the first
        found = list(predict_paths(predictor, pictures))
        pixels = np.stack([np.asarray(Image.open(path)) for _, path in pictures])
        answers = predictor.answer(pixels)
        for row, one in enumerate(found):
            other = prediction_of(one.path, answers, row, (128, 96), predictor.input)
            assert (other.label, other.masked, other.bare) == (one.label, one.masked, one.bare)
            assert other.four == pytest.approx(one.four, abs=1e-6)
        assert found[0].label == ("nobody" if counting.min_face_px == 30 else "all")


def test_all_members_that_find_faces_are_asked() -> None:
    predictor = _colours("weighted", True, calibration=Calibration(counting=Counting(min_face_px=20)))
    rows = predictor.ensemble
    fitted = dataclasses.replace(rows.fitted, weights=(0.1, 0.9))
    predictor.ensemble = dataclasses.replace(rows, order=(1, 0), fitted=fitted)
    answers = predictor.answer(np.asarray(picture("all", (128, 96)))[None])
    assert predictor.members[0].batches == [1]  # type: ignore[attr-defined]
    assert answers.counting == Counting(), "the rule is that of the first member, which leaves out none"


@pytest.mark.parametrize("vote", ["majority", "soft", "weighted"])
def test_who_finds_nobody_votes_for_no_class(vote: str) -> None:
    """Two of three see an empty street, the third is all but sure of a bare face: nobody, and never "all"."""
    blind = ColourModel("blind", InputSpec((64, 48)), calibration=Calibration((-60.0, 0.1, 0.0, 0.0)))
    seeing = ColourModel("seeing", InputSpec((64, 48)))
    none = np.asarray(picture("none"))[None]
    few = _predictor([blind, blind, seeing], vote, False).answer(none)  # type: ignore[list-item]
    assert few.nobody is not None and few.nobody[0] > 0.5
    assert few.probabilities[0].argmax() == CLASSES.index("none"), "what is there, if anything, says the one who sees"
    many = _predictor([blind, seeing, seeing], vote, False).answer(none)  # type: ignore[list-item]
    assert many.nobody is not None and many.nobody[0] < 0.5
    assert many.probabilities[0, CLASSES.index("none")] > 0.99


def test_nobody_is_the_mean_of_those_asked() -> None:
    blind = Calibration((-60.0, 0.1, 0.0, 0.0))
    predictor = _colours("weighted", calibration=blind)
    weights = dataclasses.replace(predictor.ensemble.fitted, weights=(0.75, 0.25))
    predictor.ensemble = dataclasses.replace(predictor.ensemble, fitted=weights)
    answers = predictor.answer(np.asarray(picture("all", (128, 96)))[None])
    own = predictor.members[0].answer(np.asarray(picture("all", (128, 96)))[None])
    assert answers.nobody is not None and own.nobody is not None and answers.faces is not None
    assert answers.nobody[0] == pytest.approx(0.75 * own.nobody[0] + 0.25, abs=1e-6)
    assert own.faces is not None
    np.testing.assert_allclose(answers.faces[0].score, 0.75 * own.faces[0].score)


def test_one_blind_member_and_the_ensemble_finds_no_faces(pictures: list[tuple[str, Path]]) -> None:
    members = [ColourModel("near", InputSpec((128, 96))), Brightness("dark", (64, 48))]
    predictor = _predictor(members, "soft", False)  # type: ignore[arg-type,list-item]
    assert not predictor.finds_faces
    for one in predict_paths(predictor, pictures):
        assert (one.faces, one.p_nobody) == (None, None) and one.label in CLASSES
    with pytest.raises(ConfigError, match="finds no faces"):
        list(predict_paths(predictor, pictures, look=Look(min_face_px=3)))


def test_an_ensemble_looks_at_faces_as_told_but_not_closer(pictures: list[tuple[str, Path]]) -> None:
    found = list(predict_paths(_colours(), pictures, look=Look(min_face_px=60)))
    assert {one.label for one in found} == {"nobody"} and {len(one.faces or ()) for one in found} == {0, 2}
    assert [one.label for one in predict_paths(_colours(), pictures, look=Look(min_face_px=40))] == list(LABELS)
    with pytest.raises(ConfigError, match="can't look closer"):
        list(predict_paths(_colours(), pictures, look=Look(tiles="always")))


def test_a_broken_photo_gets_its_line(pictures: list[tuple[str, Path]], tmp_path: Path) -> None:
    pictures[1][1].write_bytes(b"nothing")
    found = list(predict_paths(_colours(), [*pictures, ("gone", tmp_path / "gone.png")]))
    assert [one.error for one in found] == ["", "is not a photo in a known format", "", "", "no such file"]


# --- faces of several networks ---------------------------------------------------------------------------------------


def looks() -> st.SearchStrategy[list[Candidates]]:
    """What up to four networks found in one photo, each of them each face once."""
    return st.lists(candidate_lists().map(once), min_size=1, max_size=4)


@given(looks(), st.randoms(use_true_random=False))
def test_merged_faces_are_clusters_of_at_most_one_a_member(looks: list[Candidates], random: Any) -> None:
    shares = np.array([random.uniform(0.1, 1) for _ in looks])
    shares /= shares.sum()
    found = merged(looks, shares)
    assert (np.diff(found.score) <= 0).all() and (found.score <= 1 + 1e-9).all()
    assert max(map(len, looks)) <= len(found) <= sum(map(len, looks))
    total = sum(share * look.score.sum() for share, look in zip(shares, looks))
    assert found.score.sum() == pytest.approx(total), "each is in one cluster"
    worn = sum(share * (look.score * look.masked).sum() for share, look in zip(shares, looks))
    assert (found.score * found.masked).sum() == pytest.approx(worn, abs=1e-8)
    boxes = {tuple(box) for look in looks for box in look.boxes.tolist()}
    assert {tuple(box) for box in found.boxes.tolist()} <= boxes


@given(candidate_lists().map(once), st.integers(1, 4))
def test_networks_that_agree_say_together_what_each_says(look: Candidates, count: int) -> None:
    found = merged([look] * count, np.full(count, 1 / count))
    assert found.score == pytest.approx(look.score)
    assert found.boxes.tolist() == look.boxes.tolist()
    there = look.score > 1e-6
    assert found.masked[there] == pytest.approx(look.masked[there])


def test_merged_faces_by_hand() -> None:
    def look(*rows: tuple[float, float, list[float]]) -> Candidates:
        score, masked, boxes = zip(*rows)
        return Candidates(np.array(boxes, float), np.array(score), np.array(masked), np.ones(len(rows), bool))

    one = look((0.9, 0.8, [0, 0, 40, 40]), (0.4, 0.1, [100, 0, 140, 40]))
    left, right = [0, 0, 22, 40], [20, 0, 40, 40]  # both overlap the first, not each other
    other = look((0.8, 0.6, left), (0.6, 0.2, right))
    found = merged([one, other], np.array([0.25, 0.75]))
    assert found.boxes.tolist() == [[0, 0, 40, 40], right, [100, 0, 140, 40]]
    assert found.score == pytest.approx([0.25 * 0.9 + 0.75 * 0.8, 0.75 * 0.6, 0.25 * 0.4])
    assert found.masked[0] == pytest.approx((0.225 * 0.8 + 0.6 * 0.6) / 0.825)
    assert found.masked[1:] == pytest.approx([0.2, 0.1])
    assert found.counts.all()


def test_pixels_in_the_largest_size_are_resized_for_the_others() -> None:
    members = [Brightness("a", (32, 24)), Brightness("b", (16, 16), "stretch")]
    predictor = _predictor(members, "soft", False)
    pixels = np.full((3, 24, 32, 3), 51, np.uint8)
    np.testing.assert_allclose(predictor.predict(pixels)[:, 0], 0.2, atol=0.01)
    assert predictor.predict(pixels[:0]).shape == (0, 3)
    assert predictor.answer(pixels).probabilities.shape == (3, 3)
