"""Comparing runs: the same photos or none at all, and 'beats' only where it is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from allmasked.core.errors import ConfigError, RunError
from allmasked.core.runs import read_json
from allmasked.core.types import Photo, Prediction
from allmasked.scoring.compare import Difference, compare, markdown
from fake_runs import FakeModel, fake_run, paint_nobody, paint_photos


class Models:
    """One fake model a run folder."""

    def __init__(self, **models: FakeModel) -> None:
        self.models = models

    def __call__(self, folder: Path, photos: Sequence[tuple[str, Path]]) -> Iterable[Prediction]:
        return self.models[folder.name](folder, photos)


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return paint_photos(tmp_path / "data", {"train": 2, "validation": 4, "test": 40})


def three_runs(tmp_path: Path, photos: list[Photo]) -> list[Path]:
    return [fake_run(tmp_path / name, tmp_path / "data", photos, model=name.encode()).folder for name in "abc"]


def test_a_clear_winner_beats_and_equals_do_not(tmp_path: Path, photos: list[Photo]) -> None:
    folders = three_runs(tmp_path, photos)
    models = Models(a=FakeModel(0.95, seed=1), b=FakeModel(0.6, seed=2), c=FakeModel(0.62, seed=3))
    found = compare(folders, bootstrap=500, ask=models)
    assert found.photos == 120
    verdicts = {frozenset((pair.a, pair.b)): pair for pair in found.pairs}
    assert verdicts[frozenset("ab")].beats
    assert verdicts[frozenset("ac")].beats
    assert not verdicts[frozenset("bc")].beats
    for pair in found.pairs:
        low, high = pair.accuracy.interval
        assert low <= pair.accuracy.difference <= high
        assert pair.accuracy.difference >= 0, "the better run comes first"
        assert 0 < pair.p <= 1
        assert pair.p_holm >= pair.p
        assert ("beats" in pair.sentence) == pair.beats
        assert ("no difference shown" in pair.sentence) != pair.beats
    rows = {row.run: row for row in found.runs}
    assert rows["a"].parameters == 1234
    stored = read_json(folders[0] / "scores.json")["parts"]["test"]
    assert rows["a"].accuracy == stored["accuracy"]
    assert rows["a"].accuracy_interval == pytest.approx(stored["intervals"]["accuracy"]) or stored["bootstrap"] != 500
    text = markdown(found)
    assert "a beats b" in text
    assert text.count("| a |") >= 1


def test_the_same_answers_are_no_difference(tmp_path: Path, photos: list[Photo]) -> None:
    folders = three_runs(tmp_path, photos)[:2]
    found = compare(folders, bootstrap=100, ask=Models(a=FakeModel(0.7), b=FakeModel(0.7)))
    (pair,) = found.pairs
    assert pair.p == 1
    assert pair.accuracy == Difference(0.0, None) and "no two resamples differ" in pair.sentence
    assert not pair.beats


def test_copied_photos_make_no_winner(tmp_path: Path, photos: list[Photo]) -> None:
    """One group of 40 near-duplicates decides it all: by photos McNemar's test would be sure, by groups it isn't."""
    copies = [dataclasses.replace(p, group=5) if p.path.startswith("all/test") else p for p in photos]
    folders = three_runs(tmp_path, copies)[:2]
    a, b = FakeModel(0.6, seed=4), FakeModel(0.6, seed=4)
    b.wrong = {p.path: "none" for p in copies if p.path.startswith("all/test")}
    a.wrong = {p.path: "all" for p in copies if p.path.startswith("all/test")}
    (pair,) = compare(folders, bootstrap=500, ask=Models(a=a, b=b)).pairs
    assert pair.only_a == 40 and pair.p == 1
    assert pair.accuracy.interval[0] <= 0
    assert not pair.beats


def test_few_errors_show_nothing(tmp_path: Path, photos: list[Photo]) -> None:
    folders = three_runs(tmp_path, photos)[:2]
    b = FakeModel(1.0)
    b.wrong = {"all/test-000.png": "none", "all/test-002.png": "none", "none/test-004.png": "all"}
    (pair,) = compare(folders, bootstrap=500, ask=Models(a=FakeModel(1.0), b=b)).pairs
    assert (pair.only_a, pair.only_b, pair.p) == (3, 0, 0.25)  # each in a group of its own
    assert not pair.beats


def test_different_photos_are_refused_and_named(tmp_path: Path, photos: list[Photo]) -> None:
    a = fake_run(tmp_path / "a", tmp_path / "data", photos)
    fewer = [photo for photo in photos if photo.path != "some/test-007.png"]
    b = fake_run(tmp_path / "b", tmp_path / "data", fewer)
    model = FakeModel(0.8)
    with pytest.raises(RunError, match=r"1 only in the first, 0 only in the second \(such as some/test-007\.png\)"):
        compare([a.folder, b.folder], ask=model)
    relabelled = [dataclasses.replace(p, label="none") if p.path == "some/test-007.png" else p for p in photos]
    c = fake_run(tmp_path / "c", tmp_path / "data", relabelled)
    with pytest.raises(RunError, match="label 1 photos"):
        compare([a.folder, c.folder], ask=model)
    assert not model.asked, "refused before anything is scored"
    compare([a.folder, b.folder], "validation", bootstrap=100, ask=model)


def test_photos_that_one_run_could_not_answer_are_left_out(tmp_path: Path, photos: list[Photo]) -> None:
    folders = three_runs(tmp_path, photos)[:2]
    models = Models(a=FakeModel(0.8), b=FakeModel(0.8))
    compare([*folders], bootstrap=100, ask=models)
    (folders[1] / "predictions" / "test.json").unlink()
    (tmp_path / "data" / "all" / "test-000.png").unlink()
    found = compare(folders, bootstrap=100, ask=models)
    assert (found.photos, found.left_out) == (119, 1)


def test_finding_nobody_is_no_right_answer(tmp_path: Path, photos: list[Photo]) -> None:
    folders = three_runs(tmp_path, photos)[:2]
    b = FakeModel(1.0)
    b.wrong = {p.path: "nobody" for p in photos if p.path.startswith("all/test")}
    found = compare(folders, bootstrap=100, ask=Models(a=FakeModel(1.0), b=b))
    (pair,) = found.pairs
    assert (pair.a, pair.only_a, pair.only_b) == ("a", 40, 0)
    assert [row.accuracy for row in found.runs] == pytest.approx([1, 2 / 3])


def test_photos_labelled_nobody_are_not_compared(tmp_path: Path, photos: list[Photo]) -> None:
    folders = three_runs(tmp_path, [*photos, *paint_nobody(tmp_path / "data", 2)])[:2]
    found = compare(folders, "train", bootstrap=100, ask=Models(a=FakeModel(1.0), b=FakeModel(0.5)))
    assert (found.photos, found.left_out) == (6, 0)


def test_work_grows_with_the_photos_not_with_their_square(
    tmp_path: Path, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = three_runs(tmp_path, photos)
    models = Models(a=FakeModel(0.9, 1), b=FakeModel(0.5, 2), c=FakeModel(0.5, 3))
    compare(folders, bootstrap=100, ask=models)
    calls = []
    monkeypatch.setattr(Photo, "key", property(lambda photo: calls.append(photo) or photo.sha256))
    compare(folders, bootstrap=100, ask=models)
    assert len(calls) <= 3 * 120 * 20


def test_a_class_without_photos_is_told(tmp_path: Path, photos: list[Photo]) -> None:
    folders = three_runs(tmp_path, [photo for photo in photos if photo.label != "all"])[:2]
    found = compare(folders, bootstrap=100, ask=Models(a=FakeModel(1.0), b=FakeModel(1.0)))
    assert found.absent == ("all",) and "None of them is labelled 'all'" in markdown(found)


def test_wrong_use(tmp_path: Path, photos: list[Photo]) -> None:
    (a, *_) = three_runs(tmp_path, photos)
    with pytest.raises(ConfigError, match="at least two"):
        compare([a])
    with pytest.raises(ConfigError, match="twice"):
        compare([a, a])
    with pytest.raises(RunError, match="not a run folder"):
        compare([a, tmp_path])


def test_command(tmp_path: Path, photos: list[Photo]) -> None:
    from allmasked.cli.scoring import compare_command

    folders = three_runs(tmp_path, photos)
    compare(folders, ask=Models(a=FakeModel(0.9, 1), b=FakeModel(0.5, 2), c=FakeModel(0.5, 3)))
    arguments = [*map(str, folders), "--out", str(tmp_path / "table"), "--bootstrap", "100"]
    result = CliRunner().invoke(compare_command, arguments)
    assert result.exit_code == 0, result.output
    assert "a beats b" in result.stdout
    assert (tmp_path / "table.md").read_text() == result.stdout.removesuffix("\n")
    stored = read_json(tmp_path / "table.json")
    assert len(stored["pairs"]) == 3
    assert np.isfinite([row["accuracy"] for row in stored["runs"]]).all()
