"""Doubtful labels: planted ones are found, the page stands alone, nothing that was trained on is judged."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from allmasked.core.errors import ConfigError, RunError
from allmasked.core.runs import read_json
from allmasked.core.types import Photo, Prediction
from allmasked.reports.label_issues_page import make_page
from allmasked.scoring.label_issues import FIELDS, find_label_issues, judge, write_label_issues
from fake_runs import FakeModel, fake_run, paint_photos

PLANTED = {"all/test-003.png": "none", "none/test-010.png": "some", "some/validation-002.png": "all"}


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return paint_photos(tmp_path / "data", {"train": 20, "validation": 20, "test": 20}, boxes=False)


def sure_of_the_planted() -> FakeModel:
    """Right and fairly sure, but for three photos whose folder it contradicts."""
    model = FakeModel(1.0, confidence=0.9)
    model.wrong = dict(PLANTED)
    return model


def test_planted_labels_are_found(tmp_path: Path, photos: list[Photo]) -> None:
    run = fake_run(tmp_path / "run", tmp_path / "data", photos)
    found = find_label_issues([run.folder], ask=sure_of_the_planted())
    assert {issue.path: issue.proposed for issue in found.of("label")} == PLANTED
    assert found.photos == 120
    assert found.accuracy == pytest.approx(117 / 120)
    assert all(issue.quality < 0.1 for issue in found.issues)
    assert not [issue for issue in found.issues if "train" in issue.path]


def test_errors_come_after_labels_and_worst_first(tmp_path: Path, photos: list[Photo]) -> None:
    run = fake_run(tmp_path / "run", tmp_path / "data", photos)
    found = find_label_issues([run.folder], ["test"], ask=FakeModel(0.6, confidence=0.5))
    kinds = [issue.kind for issue in found.issues]
    assert kinds == sorted(kinds, key=("label", "error").index)
    qualities = [issue.quality for issue in found.of("error")]
    assert qualities == sorted(qualities)
    wrong = {issue.path for issue in found.issues if issue.label != issue.proposed}
    assert len(wrong) == round(60 * (1 - found.accuracy)), "no error is missing"
    assert "train a better one first" in make_page(found, run.label_issues).read_text()


def test_runs_of_other_folds_cover_everything(tmp_path: Path, photos: list[Photo]) -> None:
    """Three folds: each photo is held out by one run; what a run trained on is never asked of it."""
    order = ("train", "validation", "test")
    folders = []
    for fold in range(3):
        parts = {part: order[(order.index(part) + fold) % 3] for part in order}
        turned = [dataclasses.replace(photo, part=parts[photo.part]) for photo in photos]
        folders.append(fake_run(tmp_path / f"fold{fold}", tmp_path / "data", turned).folder)
    held_out: dict[str, set[str]] = {}

    def ask(folder: Path, wanted: Sequence[tuple[str, Path]]) -> Iterable[Prediction]:
        held_out.setdefault(folder.name, set()).update(name for name, _ in wanted)
        return sure_of_the_planted()(folder, wanted)

    found = find_label_issues(folders, ["test"], ask=ask)
    assert found.photos == 180
    assert {issue.path for issue in found.of("label")} == set(PLANTED)
    assert all(issue.runs == 1 for issue in found.issues)
    both = find_label_issues(folders, ["validation", "test"], ask=ask)
    assert {issue.path: issue.runs for issue in both.of("label")} == dict.fromkeys(PLANTED, 2)
    for number, names in enumerate(held_out[f"fold{number}"] for number in range(3)):
        trained = order[(3 - number) % 3]
        assert not [name for name in names if f"/{trained}-" in name]


def test_page_csv_and_json(tmp_path: Path, photos: list[Photo]) -> None:
    run = fake_run(tmp_path / "run", tmp_path / "data", photos)
    found = find_label_issues([run.folder], ask=sure_of_the_planted())
    page = make_page(found, run.label_issues)
    table, plain = write_label_issues(found, page.with_suffix(".csv"))
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 3
    assert "train a better one first" not in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|https?://|url\(""", text), "nothing is fetched from elsewhere"
    assert all(path in text for path in PLANTED)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert tuple(rows[0]) == FIELDS
    assert {row["path"]: row["proposed"] for row in rows} == PLANTED
    assert [row["path"] for row in read_json(plain)["suspects"]] == [row["path"] for row in rows]


def test_the_page_is_safe_and_holds_with_odd_names_and_lost_photos(tmp_path: Path) -> None:
    photos = paint_photos(tmp_path / "data", {"validation": 10, "test": 10}, boxes=False)
    name = 'all/<b>&"x".png'
    (tmp_path / "data" / photos[0].path).rename(tmp_path / "data" / name)
    odd = [dataclasses.replace(photos[0], path=name), *photos[1:]]
    run = fake_run(tmp_path / "run", tmp_path / "data", odd)
    model = FakeModel(1.0, confidence=0.9)
    model.wrong = {name: "none", photos[1].path: "some"}
    found = find_label_issues([run.folder], ask=model)
    (tmp_path / "data" / photos[1].path).unlink()
    text = make_page(found, tmp_path / "page.html").read_text()
    assert "<b>&" not in text
    assert "&lt;b&gt;&amp;" in text
    assert "no picture" in text
    limited = make_page(found, tmp_path / "page.html", limit=1).read_text()
    assert "The first 1 are shown" in limited


def test_no_issues_at_all(tmp_path: Path, photos: list[Photo]) -> None:
    run = fake_run(tmp_path / "run", tmp_path / "data", photos)
    found = find_label_issues([run.folder], ask=FakeModel(1.0))
    assert found.issues == ()
    page = make_page(found, run.label_issues)
    table, _ = write_label_issues(found, page.with_suffix(".csv"))
    assert "None." in page.read_text()
    assert len(table.read_text().splitlines()) == 1


def test_where_nobody_is_found_no_class_is_proposed(tmp_path: Path, photos: list[Photo]) -> None:
    run = fake_run(tmp_path / "run", tmp_path / "data", photos)
    model = sure_of_the_planted()
    model.wrong |= {"none/test-005.png": "nobody", "all/test-006.png": "nobody"}
    found = find_label_issues([run.folder], ask=model)
    assert {issue.path: issue.proposed for issue in found.of("label")} == PLANTED
    errors = {issue.path: issue for issue in found.of("error")}
    assert {path: issue.proposed for path, issue in errors.items()} == {
        "none/test-005.png": "nobody",
        "all/test-006.png": "nobody",
    }
    one = errors["all/test-006.png"]
    assert (one.p_all, one.p_nobody, one.quality) == (0, 1, 0)
    assert "seen as nobody (100%)" in one.reason
    assert found.accuracy == pytest.approx(115 / 120)
    assert "nobody" in make_page(found, run.label_issues).read_text()


def test_judge_copes_with_absent_classes() -> None:
    probabilities = np.array([[0.9, 0.05, 0.05]] * 10 + [[0.05, 0.9, 0.05]] * 10)
    labels = np.array([0] * 9 + [1] + [1] * 10)
    flagged, quality = judge(labels, probabilities)
    assert flagged.tolist() == [False] * 9 + [True] + [False] * 10
    assert quality.argmin() == 9
    flagged, _ = judge(np.zeros(20, int), probabilities)
    assert not flagged.any()


def test_wrong_use(tmp_path: Path, photos: list[Photo]) -> None:
    run = fake_run(tmp_path / "run", tmp_path / "data", photos)
    with pytest.raises(ConfigError, match="held-out"):
        find_label_issues([run.folder], ["train"], ask=FakeModel(1))
    with pytest.raises(ConfigError, match="at least one"):
        find_label_issues([])
    relabelled = [dataclasses.replace(p, label="none") if p.path == "all/test-000.png" else p for p in photos]
    other = fake_run(tmp_path / "other", tmp_path / "data", relabelled)
    with pytest.raises(RunError, match="same labels"):
        find_label_issues([run.folder, other.folder], ask=FakeModel(1))


def test_command(tmp_path: Path, photos: list[Photo]) -> None:
    from allmasked.cli.scoring import label_issues_command

    run = fake_run(tmp_path / "run", tmp_path / "data", photos)
    find_label_issues([run.folder], ask=sure_of_the_planted())
    result = CliRunner().invoke(label_issues_command, [str(run.folder)])
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert {row["path"] for row in rows} == set(PLANTED)
    assert "3 labels probably wrong" in result.stderr
    assert run.label_issues.is_file()
