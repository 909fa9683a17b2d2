"""Students: their loss, what they are taught, and that one is an ordinary run folder."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allmasked.core.config import TrainConfig, read_recipe
from allmasked.core.errors import ConfigError, RunError
from allmasked.core.runs import Run, read_json
from allmasked.core.types import CLASSES, Photo, Split
from allmasked.ensembles.assemble import assemble
from allmasked.ensembles.distil import beside, distil, markdown, soft_answers
from allmasked.predictors.ensemble import Ensemble
from allmasked.scoring.evaluate import part_answers
from allmasked.stats.metrics import apply_temperature
from allmasked.training import train as training
from allmasked.training.augment import Sample
from allmasked.training.frames import cut_frame
from allmasked.training.loaders import LOADERS, Source
from allmasked.training.tasks import FacesTask, LabelTask
from allmasked.training.teacher import Teacher
from allmasked.training.teacher import accuracy as teacher_accuracy
from conftest import make_split
from fake_runs import FakeModel, fake_run, paint_nobody
from test_ensemble import SKILLS, FakeModels, ms

RECIPE = read_recipe("default", {"size": [64, 48], "epochs": 0, "head_epochs": 2, "batch_size": 3})
CONFIG = TrainConfig(weights="random", recipe=RECIPE)
pytestmark = pytest.mark.usefixtures("shallow")


def eighth(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] // 8, size[1] // 8


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return make_split(tmp_path / "data", {"train": 3, "validation": 3, "test": 2})


@pytest.fixture
def ensemble(tmp_path: Path, split: Split) -> Run:
    runs = [fake_run(tmp_path / name, split.root, split.photos, model=name.encode()) for name in SKILLS]
    assemble([run.folder for run in runs], tmp_path / "ensemble", "soft", ask=FakeModels(), measure=ms)
    return Run(tmp_path / "ensemble")


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_is_hintons(alpha: float, temperature: float) -> None:
    random = np.random.default_rng(0)
    p, q = random.dirichlet((1, 1, 1), 6), random.dirichlet((1, 1, 1), 6)
    labels = np.eye(3)[random.integers(0, 3, 6)]
    targets = np.concatenate([labels, q], 1).astype(np.float32)
    found = np.asarray(Teacher("t", alpha, temperature, {}).loss(0.0)(targets, p.astype(np.float32)))
    hard = -(labels * np.log(p)).sum(1)
    soft = -(q * np.log(apply_temperature(p, temperature))).sum(1)
    np.testing.assert_allclose(found, alpha * hard + (1 - alpha) * temperature**2 * soft, rtol=1e-4)
    hits = np.asarray(teacher_accuracy(targets, p.astype(np.float32)))
    np.testing.assert_array_equal(hits, p.argmax(1) == labels.argmax(1))


def test_targets_are_softened_and_fall_back_to_the_label() -> None:
    photos = [Photo("a.jpg", "all", "aa"), Photo("b.jpg", "some", "bb")]
    targets = Teacher("t", 0.5, 2.0, {"aa": [0.81, 0.09, 0.1]}).targets(photos)
    np.testing.assert_allclose(targets[0], apply_temperature([[0.81, 0.09, 0.1]], 2.0)[0], rtol=1e-6)
    np.testing.assert_array_equal(targets[1], [0, 0, 1])


def test_a_photo_cropped_to_another_label_is_taught_by_that_label(split: Split) -> None:
    recipe = dataclasses.replace(RECIPE, subset_crops=1.0)
    source = Source(split, recipe.input)
    soft = np.full((9, 3), [0.2, 0.3, 0.5], np.float32)
    changed = 0
    task = LabelTask(source, LOADERS["cached"], recipe, soft=soft)
    with ThreadPoolExecutor(2) as pool:
        for _, targets, _ in task.batches(0, pool, eighth):
            assert targets.shape[1] == 6
            for row in targets:
                if np.allclose(row[3:], [0.2, 0.3, 0.5]):
                    continue
                np.testing.assert_array_equal(row[3:], row[:3])
                changed += 1
    assert changed, "some are cropped to one face: no longer 'some'"


@pytest.mark.parametrize("way", ["crop", "mosaic", "whole"])
def test_only_the_whole_photo_is_taught_by_the_teacher(tmp_path: Path, way: str) -> None:
    """A crop or a mosaic may have the photo's label, but the teacher has not seen it."""
    photos = [
        dataclasses.replace(photo, label="all", faces=tuple(dataclasses.replace(f, wear="masked") for f in photo.faces))
        for photo in make_split(tmp_path / "data", {"train": 3}).photos
        if photo.faces
    ]
    split = Split(tmp_path / "data", tuple(photos), 0)
    changes = {"crop": {"subset_crops": 1.0}, "mosaic": {"mosaic": 1.0}, "whole": {}}[way]
    plain = {"size": [64, 48], "frame": [0, 0], "batch_size": 5, "subset_crops": 0.0, "empty_crops": 0.0, "mosaic": 0.0}
    recipe = read_recipe("default", plain | changes)
    soft = np.full((9, 4), 0.25, np.float32)
    source = Source(split, recipe.input, tmp_path / "cache")
    task = FacesTask(source, LOADERS["cached"], recipe, soft=soft)
    with ThreadPoolExecutor(2) as pool:
        batches = task.batches(0, pool, eighth)
        answers = np.concatenate([labels for _, labels, _ in batches])[:, 0, 0, 8:12]
    by_teacher = (answers == 0.25).all(1)
    assert by_teacher.all() if way == "whole" else not by_teacher.all()
    assert (answers[~by_teacher] == [1, 0, 0, 0]).all(), "all of these photos' people wear masks, whoever is shown"
    if way == "mosaic":
        assert not by_teacher[:5].any()


@pytest.mark.parametrize("shown", [2, 1])
def test_a_frame_is_taught_by_the_teacher_where_everybody_is_in_it(shown: int) -> None:
    boxes = np.array([(10, 10, 40, 40, 1), (200, 100, 230, 130, 1)], np.float32)
    sample = Sample(np.zeros((180, 240, 3), np.uint8), 0, (0, 0, 240, 180), boxes)
    recipe = read_recipe("default", {"empty_crops": 0.0, "rotate_degrees": 0.0, "frame": [64, 64]})
    frames = [cut_frame(sample, np.random.default_rng(seed), (64, 64), 1.0, recipe) for seed in range(60)]
    found = [frame for frame in frames if len(frame.boxes) == shown]  # type: ignore[arg-type]
    assert found and {frame.label for frame in found} == {0}
    assert {frame.complete for frame in found} == {shown == 2}


def test_what_a_head_with_maps_is_taught() -> None:
    photos = [Photo("a.jpg", "all", "aa"), Photo("b.jpg", "some", "bb"), Photo("c.jpg", "nobody", "cc")]
    answers = {"aa": [0.81, 0.09, 0.1]}
    told = Teacher("t", 0.5, 1.0, answers).answer_targets(photos)
    np.testing.assert_allclose(told, [[0.905, 0.045, 0.05, 0], [0, 0, 1, 0], [0, 0, 0, 1]], atol=1e-6)
    (softened, *_) = Teacher("t", 0.0, 2.0, answers).answer_targets(photos)
    np.testing.assert_allclose(softened[:3], apply_temperature([[0.81, 0.09, 0.1]], 2.0)[0], rtol=1e-5)
    (own, *_) = Teacher("t", 1.0, 2.0, answers).answer_targets(photos)
    assert own.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("frame", [[0, 0], [64, 64]])
def test_a_student_with_maps(ensemble: Run, tmp_path: Path, frame: list[int], split: Split) -> None:
    recipe = read_recipe("default", {"size": [96, 64], "frame": frame, "epochs": 0, "head_epochs": 1, "batch_size": 5})
    config = dataclasses.replace(CONFIG, head="evidence", recipe=recipe)
    student = distil(ensemble.folder, config, tmp_path / "student", ask=FakeModels(), cache=tmp_path / "cache")
    assert np.isfinite(student.history()[0]["loss"])
    assert student.teacher.is_file() and student.model.is_file()
    soft = np.full((9, 4), 0.25, np.float32)
    source = Source(split, recipe.input, tmp_path / "cache")
    with ThreadPoolExecutor(2) as pool:
        whole = dataclasses.replace(recipe, frame=(0, 0))
        batches = FacesTask(source, LOADERS["cached"], whole, soft=soft).batches(0, pool, eighth)
        targets = np.concatenate([labels for _, labels, _ in batches])
    assert targets.shape == (9, 8, 12, 13)
    taught = targets[:, 3, 5, 8:12]
    by_teacher = (taught == 0.25).all(axis=1)
    assert by_teacher.any() and set(map(tuple, taught[~by_teacher])) <= set(map(tuple, np.eye(4)))


def test_the_teacher_answers_once_and_every_member_is_asked(ensemble: Run) -> None:
    models = FakeModels()
    answers = soft_answers(ensemble, ask=models)
    assert len(answers) == 9 and models.asked == 4 * 9
    own = part_answers(ensemble, "train", ask=models)
    assert models.asked == 4 * 9
    np.testing.assert_allclose([answers[photo.sha256] for photo in own.photos], own.probabilities)
    hurried = dataclasses.replace(Ensemble.read(ensemble), early_stop=True)
    hurried.write(ensemble)
    assert soft_answers(ensemble, ask=models) == answers


def test_photos_of_nobody_are_taught_by_their_label(tmp_path: Path, split: Split) -> None:
    nobody = paint_nobody(split.root, 2)
    photos = [*split.photos, *nobody]
    runs = [fake_run(tmp_path / name, split.root, photos, model=name.encode()) for name in SKILLS]
    made = tmp_path / "made"
    assemble([run.folder for run in runs], made, "soft", ask=FakeModels(), measure=ms)
    for teacher in (runs[0], Run(made)):
        models = FakeModels()
        answers = soft_answers(teacher, ask=models)
        assert len(answers) == 9 and not answers.keys() & {photo.sha256 for photo in nobody}
        told = Teacher("t", 0.5, 1.0, answers).answer_targets(nobody)
        np.testing.assert_array_equal(told, [[0, 0, 0, 1]] * 2)


def test_what_cannot_be_taught_is_refused(ensemble: Run, tmp_path: Path) -> None:
    out = tmp_path / "student"
    for config, options, message in (
        (dataclasses.replace(CONFIG, loader="from_generator"), {}, "--loader cached"),
        (CONFIG, {"alpha": 1.5}, "alpha = 1.5"),
        (CONFIG, {"temperature": 0.0}, "temperature = 0.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            distil(ensemble.folder, config, out, ask=FakeModels(), **options)  # type: ignore[arg-type]
    assert not out.exists()
    out.mkdir()
    (out / "something").write_text("")
    with pytest.raises(RunError, match="is in use"):
        distil(ensemble.folder, CONFIG, out, ask=FakeModels())


def test_teacher_and_student_side_by_side(ensemble: Run, tmp_path: Path, split: Split) -> None:
    student = fake_run(tmp_path / "student", split.root, split.photos)
    models = FakeModels()
    models.models["student"] = FakeModel(1.0)
    rows = beside(ensemble.folder, student.folder, ask=models, measure=lambda f: 2.0 if f.name == "student" else ms(f))
    assert [row.ms for row in rows] == [65.0, 2.0]
    assert rows[1].accuracy == 1.0 and rows[1].photos == 9
    assert "0.03 of its time" in markdown(rows, "validation")


class Stopped(Exception):
    pass


@pytest.mark.slow
def test_a_student_is_a_run_and_resumes_to_the_same_weights(
    ensemble: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distil(ensemble.folder, CONFIG, tmp_path / "whole", ask=FakeModels())
    assert whole.finished and read_json(whole.config)["facts"]["teacher"] == "ensemble"
    assert TrainConfig.read(whole.config) == CONFIG
    assert len(part_answers(whole, "validation").photos) == 9

    keep = training._Training._keep

    def keep_and_stop(self: Any, line: dict[str, Any]) -> None:
        keep(self, line)
        raise Stopped

    monkeypatch.setattr(training._Training, "_keep", keep_and_stop)
    with pytest.raises(Stopped):
        distil(ensemble.folder, CONFIG, tmp_path / "stopped", ask=FakeModels())
    monkeypatch.setattr(training._Training, "_keep", keep)
    stopped = Run(tmp_path / "stopped")
    assert not stopped.finished and len(stopped.history()) == 1
    from allmasked.data.dataset import read_split

    distil(ensemble.folder, CONFIG, stopped.folder, ask=None)  # type: ignore[arg-type]  # nobody is asked again
    for ours, theirs in zip(_weights(stopped), _weights(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    again = distil(ensemble.folder, CONFIG, stopped.folder, ask=None)  # type: ignore[arg-type]  # nobody is asked
    assert again.finished and again.history() == stopped.history()
    for other in ({"alpha": 0.4}, {"temperature": 3.0}):
        with pytest.raises(RunError, match="begun with another teacher or other settings"):
            distil(ensemble.folder, CONFIG, stopped.folder, **other)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="begun with other settings"):
        distil(ensemble.folder, dataclasses.replace(CONFIG, seed=5), stopped.folder)
    assert {photo.label for photo in read_split(stopped.split).photos} == set(CLASSES)


def _weights(run: Run) -> list[np.ndarray]:
    from allmasked.networks import model as models

    return [np.asarray(v) for v in models.load(run.model).get_weights()]
