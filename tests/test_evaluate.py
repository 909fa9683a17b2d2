"""Scoring a run: what may be scored, what is kept, what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.metrics import f1_score

from allmasked.cli import main
from allmasked.core.errors import ConfigError, DataError, RunError
from allmasked.core.runs import Run, read_json
from allmasked.core.types import Face, InputSpec, Photo, Prediction, Split
from allmasked.data.dataset import write_split
from allmasked.data.heldout import trained_on
from allmasked.ensembles.assemble import assemble
from allmasked.networks import reading
from allmasked.networks.reading import given_somebody
from allmasked.scoring.evaluate import evaluate, part_answers, smallest_face_px
from fake_runs import FakeModel, fake_run, paint_nobody, paint_photos


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def photos(root: Path) -> list[Photo]:
    return paint_photos(root, {"train": 6, "validation": 20, "test": 20})


@pytest.fixture
def run(tmp_path: Path, root: Path, photos: list[Photo]) -> Run:
    return fake_run(tmp_path / "run", root, photos)


def test_scores_are_scikit_learns_and_everything_is_written(run: Run) -> None:
    model = FakeModel(0.8)
    found = evaluate(run.folder, bootstrap=200, ask=model)
    assert list(found.parts) == ["validation", "test"]
    assert not found.failed
    answers = part_answers(run, "test", ask=model)
    entry = read_json(run.scores)["parts"]["test"]
    assert entry["photos"] == 60
    assert entry["groups"] == 30
    assert entry["accuracy"] == pytest.approx((answers.labels == answers.predicted).mean())
    assert entry["averages"]["macro"]["f1"] == pytest.approx(
        f1_score(answers.labels, answers.predicted, average="macro")
    )
    assert sum(map(sum, entry["confusion"])) == 60
    assert [row["photos"] for row in entry["by_people"]] == [21, 21, 18]
    assert {path.name for path in run.plots.iterdir()} >= {
        f"{kind}-test.png" for kind in ("confusion", "reliability", "classes", "by-face-height", "by-people")
    }
    text = run.scores_markdown.read_text()
    assert f"{entry['accuracy']:.4f}" in text
    assert "macro" in text
    assert set(model.asked) == {photo.path for photo in answers.photos} | {
        photo.path for photo in part_answers(run, "validation", ask=model).photos
    }, "only held-out photos are looked at"
    assert len(model.asked) == 120, "every photo is inferred once"


def test_test_part_is_scored_once(run: Run) -> None:
    first = evaluate(run.folder, bootstrap=100, plots=False, ask=FakeModel(0.8)).parts["test"]
    other = FakeModel(0.1)
    again = evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=other)
    assert again.parts["test"] == first
    assert not other.asked
    assert "stored result" in again.notes[0]
    more = evaluate(run.folder, ["test"], bootstrap=300, plots=False, ask=other)
    assert not other.asked
    assert more.parts["test"].scored_at == first.scored_at
    assert more.parts["test"].accuracy == first.accuracy


def test_another_model_is_scored_anew_and_the_earlier_score_is_remembered(run: Run) -> None:
    first = evaluate(run.folder, bootstrap=100, plots=False, ask=FakeModel(0.9)).parts["test"]
    run.model.write_bytes(b"another model")
    other = FakeModel(0.5, seed=1)
    found = evaluate(run.folder, bootstrap=100, plots=False, ask=other).scores
    assert len(other.asked) == 120
    assert found.parts["test"].accuracy != first.accuracy
    assert [row.accuracy for row in found.earlier] == [first.accuracy]
    assert "earlier model" in run.scores_markdown.read_text()


def test_train_only_by_name(run: Run) -> None:
    model = FakeModel(1.0)
    evaluate(run.folder, bootstrap=100, plots=False, ask=model)
    assert not [name for name in model.asked if "train" in name]
    found = evaluate(run.folder, ["train"], bootstrap=100, plots=False, ask=model)
    assert found.parts["train"].photos == 18
    assert "trained on" in found.parts["train"].notes[0]


@pytest.mark.parametrize("how", ["same bytes", "same group", "same group by the other split"])
def test_photos_that_were_trained_on_are_refused(
    how: str, tmp_path: Path, root: Path, run: Run, photos: list[Photo]
) -> None:
    trained = next(photo for photo in photos if photo.part == "train")
    fresh = [photo for photo in photos if photo.part == "test"]
    if how == "same bytes":
        others = [dataclasses.replace(trained, part="test"), *fresh]
    elif how == "same group":
        alike = fresh[0]
        relabelled = [dataclasses.replace(p, group=trained.group) if p is alike else p for p in photos]
        run = fake_run(tmp_path / "leaky", root, relabelled)
        others = fresh
    else:
        others = [dataclasses.replace(trained, group=7), dataclasses.replace(fresh[0], group=7), *fresh[1:]]
    split = tmp_path / "other.json"
    write_split(Split(root=root, photos=tuple(others), seed=0), split)
    model = FakeModel(1.0)
    with pytest.raises(RunError, match=r"[12] of the \d+ photos .* were trained on") as error:
        evaluate(run.folder, photos=split, bootstrap=100, plots=False, ask=model)
    assert others[0].path in str(error.value)
    assert not model.asked
    found = evaluate(run.folder, ["train"], photos=split, bootstrap=100, plots=False, ask=model)
    assert found.parts["photos-other"].photos == len(others)
    assert "trained on" in " ".join(found.parts["photos-other"].notes)


def test_a_leaking_split_of_its_own_is_refused(tmp_path: Path, root: Path, photos: list[Photo]) -> None:
    trained = next(photo for photo in photos if photo.part == "train")
    leaky = [dataclasses.replace(p, group=trained.group) if p.path == "all/test-000.png" else p for p in photos]
    run = fake_run(tmp_path / "run", root, leaky)
    with pytest.raises(RunError, match=r"1 of the 60 photos.*'test'.*all/test-000\.png"):
        evaluate(run.folder, ["test"], plots=False, ask=FakeModel(1.0))


def test_foreign_photos_are_scored(tmp_path: Path, run: Run) -> None:
    foreign = tmp_path / "elsewhere"
    paint_photos(foreign, {"test": 4}, seed=1)
    found = evaluate(run.folder, photos=foreign, bootstrap=100, plots=False, ask=FakeModel(0.7))
    assert list(found.parts) == ["photos-elsewhere"]
    assert found.parts["photos-elsewhere"].photos == 12
    with pytest.raises(ConfigError, match="--on"):
        evaluate(run.folder, ["test"], photos=foreign, plots=False, ask=FakeModel(0.7))


def test_other_photos_of_the_same_name_take_the_place_of_the_first(tmp_path: Path, run: Run) -> None:
    model = FakeModel(1.0)
    for number in (1, 2):
        paint_photos(tmp_path / str(number) / "test", {"test": 2 + number}, seed=number)
    first, second = (evaluate(run.folder, photos=tmp_path / n / "test", bootstrap=100, ask=model) for n in "12")
    assert first.parts["photos-test"].photos == 9 and second.parts["photos-test"].photos == 12
    assert "photos-test: in place of other photos of that name" in second.notes[0]
    drawn = {path.name: path.stat().st_mtime_ns for path in run.plots.iterdir()}
    evaluate(run.folder, bootstrap=100, ask=model)  # its own test part
    assert {"confusion-test.png", "confusion-photos-test.png"} <= {path.name for path in run.plots.iterdir()}
    assert all((run.plots / name).stat().st_mtime_ns == when for name, when in drawn.items())


def test_what_was_answered_stays_where_it_is_interrupted(run: Run) -> None:
    model = FakeModel(1.0)

    def interrupted(folder: Path, photos: Sequence[tuple[str, Path]]) -> Iterable[Prediction]:
        yield from itertools.islice(model(folder, photos), 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part_answers(run, "test", None, interrupted)
    model.asked.clear()
    found = part_answers(run, "test", None, model)
    assert len(found.photos) == 60 and len(model.asked) == 55


def test_a_copy_of_a_training_photo_is_recognised_in_foreign_data(tmp_path: Path, run: Run, root: Path) -> None:
    """Re-encoded and enlarged: other bytes, another size, no common group number; only the picture tells."""
    foreign = tmp_path / "elsewhere"
    paint_photos(foreign, {"test": 4}, seed=1)
    with Image.open(root / "none" / "train-003.png") as image:
        image.resize((160, 120), Image.Resampling.BICUBIC).save(foreign / "none" / "copy.jpg", quality=85)
    with pytest.raises(RunError, match=r"1 of the 13 photos .*none/copy\.jpg"):
        evaluate(run.folder, photos=foreign, plots=False, ask=FakeModel(0.7))
    (foreign / "none" / "copy.jpg").unlink()
    evaluate(run.folder, photos=foreign, bootstrap=100, plots=False, ask=FakeModel(0.7))


def test_temperature_comes_from_validation(run: Run) -> None:
    """80 % right at a confidence of 0.99: the scaled confidence must come down to about 0.8."""
    scores = evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=FakeModel(0.8, confidence=0.99)).scores
    assert scores.temperature and scores.temperature.photos == 60
    assert scores.temperature.value > 1.5
    calibration = scores.parts["test"].calibration
    assert calibration.scaled and calibration.scaled.ece < calibration.ece


def test_a_missing_and_a_changed_photo_fail_alone(run: Run, root: Path) -> None:
    (root / "all" / "test-000.png").unlink()
    (root / "none" / "test-001.png").write_bytes(b"not what it was")
    model = FakeModel(0.8)
    found = evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=model)
    assert [(p.path, p.error.split()[0]) for p in found.failed] == [
        ("all/test-000.png", "is"),
        ("none/test-001.png", "has"),
    ]
    assert found.parts["test"].photos == 58
    assert found.parts["test"].failed == 2
    asked = len(model.asked)
    again = evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=model)
    assert len(again.failed) == 2, "an incomplete result is tried again"
    assert len(model.asked) == asked, "but what is answered is not inferred again"


def test_data_that_moved(run: Run, root: Path, tmp_path: Path) -> None:
    moved = root.rename(tmp_path / "moved")
    with pytest.raises((RunError, DataError), match=r"--data|data"):
        evaluate(run.folder, ["test"], plots=False, ask=FakeModel(0.8))
    assert evaluate(run.folder, ["test"], data=moved, bootstrap=100, plots=False, ask=FakeModel(0.8)).parts["test"]


@pytest.mark.parametrize("text", ["{", "[]", '{"model_sha256": 1}'])
def test_broken_files_are_not_believed(run: Run, text: str) -> None:
    model = FakeModel(0.8)
    run.predictions.mkdir()
    (run.predictions / "test.json").write_text(text)
    evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=model)
    assert len([name for name in model.asked if "test" in name]) == 60
    run.scores.write_text(text)
    with pytest.raises(RunError, match=r"scores\.json"):
        evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=model)


def test_unfinished_run_and_unknown_or_empty_part(run: Run, root: Path, tmp_path: Path, photos: list[Photo]) -> None:
    with pytest.raises(ConfigError, match="left_out"):
        evaluate(run.folder, ["left_out"], plots=False, ask=FakeModel(1))
    empty = fake_run(tmp_path / "empty", root, [photo for photo in photos if photo.part != "test"])
    with pytest.raises(DataError, match="'test'"):
        evaluate(empty.folder, plots=False, ask=FakeModel(1))
    run.model.unlink()
    with pytest.raises(RunError, match="not finished"):
        evaluate(run.folder, plots=False, ask=FakeModel(1))


def test_a_photo_that_somebody_is_in_is_all_none_or_some() -> None:
    for three, nobody in (((0.2, 0.1, 0.3), 0.4), ((0.0, 0.0, 0.0), 1.0), ((0.5, 0.3, 0.2), None)):
        found = given_somebody(np.array(Prediction("x", "nobody", three, p_nobody=nobody).four))
        assert sum(found) == pytest.approx(1)
        expected = np.array(three) / sum(three) if sum(three) else [1 / 3] * 3
        assert found == pytest.approx(expected, abs=1e-6)


def finds_nobody(*paths: str) -> FakeModel:
    """Right but for these photos, where it finds no face."""
    model = FakeModel(1.0)
    model.wrong = dict.fromkeys(paths, "nobody")
    return model


def test_a_photo_without_a_face_found_is_wrong_whatever_its_label(run: Run) -> None:
    model = finds_nobody("all/test-000.png", "all/test-002.png", "some/test-004.png")
    entry = evaluate(run.folder, ["test"], bootstrap=100, ask=model).parts["test"]
    assert entry.accuracy == pytest.approx(57 / 60)
    assert entry.confusion == ((18, 0, 0, 2), (0, 20, 0, 0), (0, 0, 19, 1))
    assert entry.classes["all"].recall == pytest.approx(0.9)
    assert entry.classes["all"].precision == 1
    assert "| some | 0 | 0 | 19 | 1 |" in run.scores_markdown.read_text()
    found = part_answers(run, "test", ask=FakeModel(0.0))
    assert found.nobody is not None
    assert (found.predicted == 3).sum() == found.nobody.sum() == 3, "kept, not inferred again"


def test_a_model_that_cannot_say_nobody_keeps_three_columns(run: Run) -> None:
    entry = evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=FakeModel(0.7)).parts["test"]
    assert np.shape(entry.confusion) == (3, 3)
    assert "nobody" not in run.scores_markdown.read_text()


def test_an_ensemble_whose_members_find_nobody(tmp_path: Path, root: Path, photos: list[Photo]) -> None:
    folders = [fake_run(tmp_path / n, root, photos, model=n.encode(), head="evidence").folder for n in "ab"]
    model = finds_nobody("all/test-000.png")
    assemble(folders, tmp_path / "both", ask=model, measure=lambda _: 1.0)
    entry = evaluate(tmp_path / "both", ["test"], bootstrap=100, plots=False, ask=model).parts["test"]
    assert entry.confusion[0] == (19, 0, 0, 1)


def test_a_class_without_photos_is_noted(tmp_path: Path, root: Path, photos: list[Photo]) -> None:
    run = fake_run(tmp_path / "run", root, [photo for photo in photos if photo.label != "some"])
    entry = evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=FakeModel(1.0)).parts["test"]
    assert entry.macro_f1 == 1
    assert entry.notes == (
        "none of these photos is labelled 'some', so macro averages are over the classes that occur",
    )
    assert "labelled 'some'" in run.scores_markdown.read_text()


def test_photos_labelled_nobody_are_left_out(tmp_path: Path, root: Path, photos: list[Photo]) -> None:
    run = fake_run(tmp_path / "run", root, [*photos, *paint_nobody(root, 3)])
    model = FakeModel(1.0)
    entry = evaluate(run.folder, ["train"], bootstrap=100, plots=False, ask=model).parts["train"]
    assert entry.photos == 18
    assert [note for note in entry.notes if "nobody" in note] == [
        "3 photos labelled 'nobody' are left out: they are none of the classes"
    ]
    assert not [name for name in model.asked if name.startswith("nobody")]
    found = evaluate(run.folder, ["train"], photos=run.split, bootstrap=100, plots=False, ask=model)
    assert found.parts["photos-split"].photos == 138


def test_a_changed_reading_is_inferred_anew(
    tmp_path: Path, root: Path, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = fake_run(tmp_path / "faces", root, photos, head="evidence")
    plain = fake_run(tmp_path / "plain", root, photos)
    for run in (faces, plain):
        evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=FakeModel(0.9))
    monkeypatch.setattr(reading, "FLOOR", 0.3)
    again, not_again = FakeModel(0.5, seed=1), FakeModel(0.5, seed=1)
    found = evaluate(faces.folder, ["test"], bootstrap=100, plots=False, ask=again).scores
    assert len(again.asked) == 120
    assert [row.photos for row in found.earlier] == [60]
    assert found.reading and found.reading["floor"] == 0.3
    evaluate(plain.folder, ["test"], bootstrap=100, plots=False, ask=not_again)
    assert not not_again.asked


def test_files_from_before_the_reading_was_kept(tmp_path: Path, root: Path, photos: list[Photo]) -> None:
    """They serve a model that finds no faces; one that does is asked anew."""
    for head, asked in (("softmax", 0), ("evidence", 120)):
        run = fake_run(tmp_path / head, root, photos, head=head)
        first = evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=FakeModel(0.9)).parts["test"]
        for path in (run.scores, *run.predictions.iterdir()):
            values = read_json(path)
            del values["reading"]
            for row in values.get("photos", []):
                del row["p_nobody"]
            path.write_text(json.dumps(values))
        model = FakeModel(0.9)
        found = evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=model).parts["test"]
        assert len(model.asked) == asked
        assert found.accuracy == first.accuracy


def test_smallest_face_in_px_of_the_input() -> None:
    faces = (Face("masked", 0, 0, 50, 100), Face("bare", 0, 0, 20, 40))
    photo = Photo("a.jpg", "some", width=800, height=600, faces=faces)
    assert smallest_face_px(photo, InputSpec((416, 320))) == pytest.approx(40 * 416 / 800)
    assert smallest_face_px(photo, InputSpec((256, 256), "stretch")) == pytest.approx(40 * 256 / 600)
    assert math.isnan(smallest_face_px(dataclasses.replace(photo, faces=None), InputSpec((416, 320))))


def test_trained_on_ignores_unknown_groups() -> None:
    split = Split(Path(), (Photo("a", "all", part="train"), Photo("b", "all", part="test")), 0)
    assert trained_on(split, split.photos) == [split.photos[0]]
    assert split.photos[0].key == "a"


def test_command_prints_markdown_and_one_line_errors(
    run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from allmasked.cli.scoring import evaluate_command

    evaluate(
        run.folder, bootstrap=100, plots=False, ask=FakeModel(0.8)
    )  # from here on the kept answers serve, no model is opened
    result = CliRunner().invoke(evaluate_command, [str(run.folder), "--on", "test", "--bootstrap", "100"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# Scores of run")
    assert "## validation" not in result.stdout
    assert "stored result" in result.stderr
    (tmp_path / "scores.md").write_text(result.stdout)
    monkeypatch.setattr("sys.argv", ["allmasked", "evaluate", str(run.folder), "--photos", str(root)])
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "18 of the 138 photos" in captured.err
    assert captured.err.count("\n") == 1
    assert json.loads(run.scores.read_text())["parts"].keys() == {"validation", "test"}
