"""The report of a run: whole, honest about what is missing, and made of nothing from outside."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from allmasked.cli import cli
from allmasked.core.config import Recipe, TrainConfig
from allmasked.core.errors import RunError
from allmasked.core.runs import Run, read_json
from allmasked.core.types import CLASSES, Photo, Split
from allmasked.reports.report import Example, choose, commands, kept_line, make_report, settings, verdict
from allmasked.scoring.evaluate import evaluate
from allmasked.stats import metrics
from fake_runs import FakeModel, fake_run, paint_nobody, paint_photos
from planted import planted
from test_inspection import check_page

HISTORY = [
    {
        "epoch": epoch,
        "phase": "head" if epoch == 1 else "fine-tune",
        "loss": 1.0 / epoch,
        "accuracy": 0.5 + 0.1 * epoch,
        "val_loss": [0.9, 0.7, 0.8][epoch - 1],
        "val_accuracy": 0.6,
        "val_macro_f1": 0.55,
        "learning_rate": 0.001 / epoch,
        "seconds": 30.0,
        "photos_per_second": 12.5,
    }
    for epoch in (1, 2, 3)
]


def paint(folder: Path) -> list[Photo]:
    painted = paint_photos(folder / "data", {"train": 6, "validation": 8, "test": 12})
    twin = dataclasses.replace(painted[0], path="all/twin.png", part="left_out", reason="exact duplicate of all/x.png")
    return [*painted, twin]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = fake_run(tmp_path / "run", tmp_path / "data", paint(tmp_path))
    made.metrics.write_text("".join(json.dumps(line) + "\n" for line in HISTORY))
    return made


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an evaluated run and its photos; to copy, not to change."""
    folder = tmp_path_factory.mktemp("evaluated")
    made = fake_run(folder / "run", folder / "data", paint(folder))
    made.metrics.write_text("".join(json.dumps(line) + "\n" for line in HISTORY))
    evaluate(made.folder, bootstrap=100, ask=FakeModel(0.7))
    return folder


@pytest.fixture
def scored(evaluated: Path, tmp_path: Path) -> Run:
    shutil.copytree(evaluated, tmp_path / "copy")
    return Run(tmp_path / "copy" / "run")


def test_an_evaluated_run(scored: Run) -> None:
    run = scored
    page = make_report(run.folder, examples=0)
    assert page == run.report
    text = page.read_text()
    found = check_page(text)
    assert {"data", "training", "scores", "calibration", "settings", "again"} <= set(found.ids)
    test = read_json(run.scores)["parts"]["test"]
    right = round(test["accuracy"] * test["photos"])
    assert f"The model answers {right} of 36 test photos rightly; none of them" in text
    low, high = test["intervals"]["accuracy"]
    assert f"{low:.3f}–{high:.3f}" in text
    for average in ("micro", "macro", "weighted"):
        assert f"{test['averages'][average]['recall']:.3f}" in text
    assert "Kept: epoch 2" in text
    assert "3 epochs in 90 s" in text
    assert "exact duplicate" in text
    assert "x.png" not in text
    assert "Next:" not in text
    assert text.count("<svg") >= 6


def test_examples_have_heat_maps_of_the_runs_own_model(run: Run) -> None:
    planted().save(run.model)
    evaluate(run.folder, ["test"], bootstrap=100, ask=FakeModel(0.7))
    found = check_page(make_report(run.folder, examples=6).read_text())
    assert len(found.addresses) == 2 * 6  # each photo and its heat map


def test_a_model_that_cannot_be_explained_leaves_the_photos(scored: Run) -> None:
    text = make_report(scored.folder, examples=6).read_text()
    assert len(check_page(text).addresses) == 6
    assert "Heat maps are missing" in text


def test_photos_that_have_moved(scored: Run) -> None:
    data, elsewhere = scored.folder.parent / "data", scored.folder.parent / "elsewhere"
    data.rename(elsewhere)
    with pytest.raises(RunError, match="--data"):
        make_report(scored.folder)
    text = make_report(scored.folder, data=elsewhere, examples=2).read_text()
    assert len(check_page(text).addresses) == 2


def test_before_evaluate_the_page_says_what_to_do(run: Run) -> None:
    text = make_report(run.folder).read_text()
    found = check_page(text)
    assert f"allmasked evaluate {run.folder}" in text
    assert "Not scored yet" in text
    assert "scores" not in found.ids
    assert not run.scores.exists()


def test_only_validation_scored(run: Run) -> None:
    evaluate(run.folder, ["validation"], bootstrap=100, ask=FakeModel(0.7))
    text = make_report(run.folder, examples=4).read_text()
    assert "of 24 validation photos rightly" in text
    assert "The test part is not scored yet" in text
    assert all(photo not in text for photo in ("/test-000.png", "/test-001.png"))


def test_an_unfinished_run(run: Run) -> None:
    run.model.unlink()
    run.metrics.unlink()
    text = make_report(run.folder).read_text()
    check_page(text)
    assert f"allmasked train --resume --out {run.folder}" in text
    assert "No epoch is finished yet" in text


def test_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        make_report(tmp_path)


def test_a_run_that_was_only_calibrated_has_no_curves(run: Run) -> None:
    run.metrics.write_text('{"epoch": 1, "phase": "none", "val_loss": 0.4, "val_accuracy": 0.8, "seconds": 0.0}\n')
    page = make_report(run.folder, examples=0).read_text(encoding="utf-8")
    assert "No epoch was trained" in page and "Every epoch" not in page


@pytest.mark.parametrize(("name", "text"), [("scores.json", '{"validation": 3}'), ("metrics.jsonl", '{"val_loss": ')])
def test_broken_files_of_a_run_are_named(run: Run, name: str, text: str) -> None:
    (run.folder / name).write_text(text)
    with pytest.raises(RunError, match=name):
        make_report(run.folder)


def test_a_run_scored_on_what_it_trained_on_is_not_called_held_out(run: Run) -> None:
    split = json.loads(run.split.read_text())
    first = next(row for row in split["photos"] if row["part"] == "train")
    next(row for row in split["photos"] if row["part"] == "test")["group"] = first["group"]
    run.split.write_text(json.dumps(split))
    evaluate(run.folder, ["train", "test"], bootstrap=100, ask=FakeModel(0.7))
    text = make_report(run.folder, examples=0).read_text()
    assert "photos rightly." in text
    assert "was trained on." not in text


def test_examples_are_the_surest_and_each_group_once() -> None:
    random = np.random.default_rng(0)
    photos = [Photo(f"{k}.jpg", CLASSES[k % 3], group=k // 2) for k in range(60)]
    probabilities = random.dirichlet([1, 1, 1], 60)
    chosen = choose(photos, probabilities, 12)
    wrong = [e for e in chosen if e.said != e.label]
    right = [e for e in chosen if e.said == e.label]
    assert len(wrong) == 6
    assert len(right) == 6
    assert {e.label for e in right} == set(CLASSES)
    assert [e.p for e in wrong] == sorted((e.p for e in wrong), reverse=True)
    groups = [int(e.path.removesuffix(".jpg")) // 2 for e in chosen]
    assert len(set(groups)) == len(groups)
    for e in chosen:
        row = probabilities[int(e.path.removesuffix(".jpg"))]
        assert e.p == max(row)
        assert e.p_label == row[CLASSES.index(e.label)]  # type: ignore[arg-type]


def test_no_error_leaves_room_for_right_ones() -> None:
    photos = [Photo(f"{k}.jpg", CLASSES[k % 3]) for k in range(9)]
    chosen = choose(photos, np.eye(3)[[k % 3 for k in range(9)]], 6)
    assert [e.label for e in chosen] == [*CLASSES, *CLASSES]
    assert chosen[0] == Example("0.jpg", "all", "all", 1.0, 1.0)


def test_an_example_where_nobody_is_found_says_so() -> None:
    photos = [Photo("a.jpg", "all"), Photo("b.jpg", "none")]
    chosen = choose(photos, np.array([[1 / 3, 1 / 3, 1 / 3], [0.1, 0.8, 0.1]]), 2, np.array([1.0, 0.25]))
    assert chosen[0] == Example("a.jpg", "all", "nobody", 1.0, 0.0)
    assert (chosen[1].said, chosen[1].p) == ("none", pytest.approx(0.6))


def test_a_run_that_finds_nobody_and_was_trained_on_photos_of_nobody(tmp_path: Path) -> None:
    root = tmp_path / "data"
    photos = [*paint_photos(root, {"train": 2, "validation": 3, "test": 6}), *paint_nobody(root, 4)]
    run = fake_run(tmp_path / "run", root, photos)
    model = FakeModel(1.0)
    model.wrong = {f"all/test-00{k}.png": "nobody" for k in (0, 1, 2)}
    evaluate(run.folder, bootstrap=100, ask=model)
    text = make_report(run.folder, examples=4).read_text()
    check_page(text)
    assert "The model answers 15 of 18 test photos rightly" in text
    assert 'taken for <span class="class nobody">nobody</span>: 3 of 6' in text
    assert 'says <span class="class nobody">nobody</span>' in text
    assert '<th scope="col"><span class="class nobody">nobody</span></th>' in text


def test_an_evaluated_run_without_boxes_has_a_page(tmp_path: Path) -> None:
    """Class folders: no face's height is known, so there is no table by it."""
    root = tmp_path / "data"
    photos = paint_photos(root, {"train": 2, "validation": 3, "test": 4}, boxes=False)
    for name, faces in (("none", None), ("empty", ())):  # empty: known people, but of no known height
        run = fake_run(tmp_path / name, root, [dataclasses.replace(photo, faces=faces) for photo in photos])
        evaluate(run.folder, bootstrap=100, ask=FakeModel(0.7), plots=False)
        assert "by_face_height" not in read_json(run.scores)["parts"]["test"]
        text = make_report(run.folder, examples=0).read_text()
        check_page(text)
        assert "By size of the smallest face" not in text and "By number of people" not in text


def test_verdict_names_the_weakest_class_and_the_commonest_mistake() -> None:
    f1 = {"all": 0.9, "none": 0.5, "some": 0.8}
    labels = np.repeat([0, 1, 2], (53, 19, 28))
    entry = dataclasses.replace(
        metrics.score(labels, np.eye(3)[labels], np.arange(100), bootstrap=100),
        confusion=((50, 1, 2), (9, 10, 0), (3, 0, 25)),
        classes={name: metrics.ClassFigures(0, 0, f1[name], n) for name, n in zip(CLASSES, (53, 19, 28))},
    )
    found = verdict(entry, held_out=True)
    assert (found["right"], found["total"], found["baseline"], found["common"]) == (85, 100, 0.53, "all")
    assert found["weakest"] == "none"
    assert found["mistake"] == {"true": "none", "said": "all", "count": 9, "of": 19}
    right = dataclasses.replace(entry, confusion=((53, 0, 0), (0, 19, 0), (0, 0, 28)))
    assert verdict(right, held_out=True)["mistake"] is None


def test_commands_train_the_same_again(tmp_path: Path) -> None:
    """What the page says is what the command line takes: the train command gives the same settings."""
    recipe = dataclasses.replace(Recipe(), size=(96, 64), flip=False, epochs=3, shrink=0.5, resize_mode="stretch")
    config = TrainConfig(backbone="EfficientNetLite1", weights="random", seed=7, recipe=recipe)
    line = commands(Run(tmp_path / "my run"), config, Split(tmp_path, (), 5))
    assert line[0] == "allmasked split DATA --seed 5 --out split.json"
    assert line[2] == "allmasked evaluate 'my run'"
    words = line[1].split()
    given = {"--size": "96x64", "--epochs": "3", "--shrink": "0.5", "--resize-mode": "stretch", "--seed": "7"}
    for option, value in given.items():
        assert words[words.index(option) + 1] == value
    assert "--no-flip" in words
    assert "--batch-size" not in words
    changed = {row["name"] for row in settings(config) if row["changed"]}
    assert {"size", "flip", "shrink", "resize_mode"} <= changed
    run, divided = (
        Run(tmp_path / "student"),
        Split(tmp_path, (), 5, {"validation": 0.1, "test": "f d*", "parts": "given"}),
    )
    run.folder.mkdir()
    run.teacher.write_text('{"name": "both", "alpha": 0.3, "temperature": 2.0, "answers": {}}')
    run.second_look.write_text("{}")
    line = commands(run, config, divided)
    assert (
        line[0] == "allmasked split DATA --seed 5 --validation 0.1 --test-source 'f d*' --parts given --out split.json"
    )
    assert line[1].startswith("allmasked distil both --alpha 0.3 --temperature 2.0 --backbone EfficientNetLite1")
    assert line[2] == "allmasked second-look before --out student"


def test_no_answer_was_wrong_is_said_only_where_none_was(scored: Run) -> None:
    page = make_report(scored.folder, examples=1).read_text()  # one example, and that is a right one
    assert "No answer was wrong." not in page


def test_which_epoch_was_kept() -> None:
    recipe = Recipe()
    assert (kept_line(recipe, HISTORY) or {})["why"] == "with the lowest validation loss"
    assert (kept_line(recipe, HISTORY) or {})["epoch"] == 2
    assert (kept_line(dataclasses.replace(recipe, keep="last"), HISTORY) or {})["epoch"] == 3
    looked = [*HISTORY, {"epoch": 1, "phase": "second look", "val_loss": 5.0}]
    assert (kept_line(recipe, looked) or {})["why"] == "the second look"
    assert kept_line(recipe, []) is None


def test_parts_that_were_brought_are_said_to_have_twins(scored: Run) -> None:
    content = json.loads(scored.split.read_text())
    content["settings"] |= {"parts": "given", "twins": {"copies": 2, "scenes": 4}}
    scored.split.write_text(json.dumps(content))
    assert "4 photos have a twin, or show a scene, that is in another part" in make_report(scored.folder).read_text()


def test_command(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "elsewhere" / "page.html"
    cli.main(["report", str(run.folder), "--out", str(out)], standalone_mode=False)
    assert capsys.readouterr().out.strip() == str(out)
    check_page(out.read_text())


def test_names_are_escaped(tmp_path: Path) -> None:
    root = tmp_path / "data <b>"
    photos = paint_photos(root, {"train": 2, "validation": 3, "test": 3})
    odd = root / "all" / "a & <b>.png"
    Image.new("RGB", (16, 12), "red").save(odd)
    photos.append(Photo("all/a & <b>.png", "all", width=16, height=12, part="test"))
    run = fake_run(tmp_path / "run <i>", root, photos)
    model = FakeModel(1.0)
    model.wrong["all/a & <b>.png"] = "none"
    evaluate(run.folder, bootstrap=100, ask=model)
    text = make_report(run.folder).read_text()
    check_page(text)
    assert "all/a &amp; &lt;b&gt;.png" in text
    assert "<b>.png" not in text
    assert "run <i>" not in text
