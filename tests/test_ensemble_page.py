"""How different members are, where they look, and the page that shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from allmasked.core.errors import ConfigError, RunError
from allmasked.core.runs import Run
from allmasked.core.types import InputSpec
from allmasked.ensembles.assemble import assemble
from allmasked.explaining.ensemble_heat import combined, explain_ensemble, write_members
from allmasked.explaining.pictures import write_pictures
from allmasked.predictors.ensemble import Ensemble, EnsemblePredictor, Member
from allmasked.predictors.predictor import KerasPredictor
from allmasked.reports.ensemble_page import describe
from allmasked.reports.report import make_report
from allmasked.scoring.evaluate import evaluate
from allmasked.stats import diversity
from allmasked.stats.votes import equal
from fake_runs import fake_run, paint_photos
from planted import BLUE, RED, patch, planted
from test_ensemble import SKILLS, Brightness, FakeModels, _predictor, ms
from test_inspection import check_page


def test_q_statistic_by_hand() -> None:
    right = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 1, 1]], bool)
    q = diversity.q_statistic(right)
    assert q[0, 1] == pytest.approx((2 * 1 - 1 * 1) / (2 * 1 + 1 * 1))
    assert q[0, 2] == -1  # right exactly where the first is wrong
    assert np.isnan(diversity.q_statistic([[1, 1], [1, 0]])[0, 1])  # a member without errors
    assert diversity.oracle(right) == 1.0 and diversity.oracle(right[:2]) == 0.8


@given(hnp.arrays(np.int64, st.tuples(st.integers(2, 5), st.integers(1, 30)), elements=st.integers(0, 2)))
def test_pairwise_measures_are_symmetric_and_bounded(predicted: np.ndarray) -> None:
    labels = np.zeros(predicted.shape[1], int)
    apart, q = diversity.disagreement(predicted), diversity.q_statistic(predicted == labels)
    np.testing.assert_array_equal(apart, apart.T)
    np.testing.assert_array_equal(q, q.T)
    assert (np.diag(apart) == 0).all() and (apart <= 1).all() and np.nanmax(np.abs(q), initial=0) <= 1
    found = diversity.measure(predicted, labels)
    assert (predicted == labels).mean(1).max() <= found.oracle <= 1


def test_leaving_one_out_shows_who_matters() -> None:
    worth = {0: 0.5, 1: 0.2, 2: -0.1}
    added = diversity.leave_one_out(3, lambda members: sum(worth[m] for m in members))
    np.testing.assert_allclose(added, [0.5, 0.2, -0.1])


@pytest.mark.parametrize("vote", ["majority", "weighted", "stacked"])
def test_the_page_is_whole(vote: str, tmp_path: Path) -> None:
    photos = paint_photos(tmp_path / "data", {"train": 4, "validation": 16, "test": 16})
    runs = [fake_run(tmp_path / name, tmp_path / "data", photos, model=name.encode()) for name in SKILLS]
    models, folder = FakeModels(), tmp_path / "ensemble"
    assemble([run.folder for run in runs], folder, vote, ask=models, measure=ms, early_stop=vote == "majority")
    page = make_report(folder).read_text()
    assert "Not scored yet" in page and f"allmasked evaluate {folder}" in page
    check_page(page)

    evaluate(folder, bootstrap=100, ask=models)
    asked = models.asked
    page = make_report(folder).read_text()
    assert models.asked == asked, "nothing is inferred for the page"
    check_page(page)
    assert "Not scored yet" not in page and "Heat maps are missing" in page  # these models are no networks
    assert all(name in page for name in (*SKILLS, "Q-statistic", "McNemar"))
    found = describe(Run(folder), "test", ask=models)
    assert found.photos == 48 and (found.cost_ratio is None) == (vote == "stacked")
    rows = {row.name: row for row in found.members}
    assert rows["good"].accuracy > rows["poor"].accuracy
    gained = found.best.only_a - found.best.only_b
    assert gained == round(48 * (found.accuracy - found.best.accuracy))


@pytest.mark.parametrize("vote", ["majority", "soft"])
def test_photos_where_no_face_is_found_count_as_in_the_evaluation(vote: str, tmp_path: Path) -> None:
    photos = paint_photos(tmp_path / "data", {"train": 4, "validation": 16, "test": 16})
    runs = [fake_run(tmp_path / name, tmp_path / "data", photos, model=name.encode()) for name in SKILLS]
    models, folder = FakeModels(), tmp_path / "ensemble"
    for number, model in enumerate(models.models.values()):  # one that all miss, and one more for each member
        missed = [f"all/{part}-00{k}.png" for part in ("validation", "test") for k in (0, number + 1)]
        model.wrong = dict.fromkeys(missed, "nobody")
    made = assemble([run.folder for run in runs], folder, vote, ask=models, measure=ms, early_stop=vote == "majority")
    scores = evaluate(folder, bootstrap=100, plots=False, ask=models)
    assert made.validation[vote]["accuracy"] == pytest.approx(scores.validation.accuracy)
    figures = describe(Run(folder), "test", ask=models)
    assert figures.accuracy == pytest.approx(scores.test.accuracy)
    for row, run in zip(figures.members, runs):
        own = evaluate(run.folder, ["test"], bootstrap=100, plots=False, ask=models).test
        assert row.accuracy == pytest.approx(own.accuracy)


def _networks(vote: str = "soft") -> EnsemblePredictor:
    members = [
        KerasPredictor("wide", InputSpec((64, 48), "letterbox"), (model := planted(size=(64, 48))), model),
        KerasPredictor("square", InputSpec((48, 48), "stretch"), (square := planted(size=(48, 48))), square),
    ]
    rows = tuple(
        Member(m.name, m.name, "", "", "", "", 0, m.input.size, m.input.resize_mode, 0, 0.0, 1.0, 1.0, 0.9)
        for m in members
    )  # type: ignore[arg-type]
    return EnsemblePredictor("both", Ensemble(vote, rows, equal(2), (0, 1), vote == "majority"), members)


def test_the_combined_heat_is_where_its_members_look(tmp_path: Path) -> None:
    predictor = _networks("majority")
    where = {"red.png": (RED, (8, 24)), "blue.png": (BLUE, (40, 4))}
    for name, (colour, place) in where.items():
        patch(colour, place).save(tmp_path / name)
    paths = [*(str(tmp_path / name) for name in where), str(tmp_path / "gone.png")]
    found = list(explain_ensemble(predictor, [(path, path) for path in paths]))
    assert [heat.combined.prediction.label for heat in found] == ["all", "none", None]
    assert found[2].combined.prediction.error == "no such file" and not found[2].members
    for heat, (_, (left, top)) in zip(found, where.values()):
        assert [one.prediction.path for one in heat.members] == ["wide", "square"]
        for one in (heat.combined, *heat.members):
            assert one.heat is not None and one.explained == heat.combined.prediction.label
            assert one.heat.min() >= 0 and one.heat.max() <= 1
            y, x = np.unravel_index(int(one.heat.argmax()), one.heat.shape)
            assert abs(x * 64 / one.heat.shape[1] - left - 6) < 9 and abs(y * 48 / one.heat.shape[0] - top - 6) < 9
    none = next(iter(explain_ensemble(predictor, [(paths[0], paths[0])], wanted="none")))
    assert none.combined.explained == "none" and none.combined.prediction.label == "all"

    written = write_pictures(
        write_members(iter(found), tmp_path / "out"), tmp_path / "out", InputSpec(predictor.input.size, "stretch")
    )
    assert [picture is None for _, picture in written] == [False, False, True]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "red.grad-cam.jpg", "red.grad-cam.members.jpg", "blue.grad-cam.jpg", "blue.grad-cam.members.jpg", "grid.png",
    }  # fmt: skip


def test_heat_of_nothing_stays_nothing_and_weights_count() -> None:
    cold, hot = np.zeros((4, 4), np.float32), np.ones((6, 8), np.float32)
    assert combined([cold, cold], np.array([0.5, 0.5]), (64, 48)).max() == 0
    half = np.concatenate([np.ones((6, 4)), np.zeros((6, 4))], 1).astype(np.float32)
    mixed = combined([half, hot], np.array([0.75, 0.25]), (64, 48))
    assert mixed.shape == (192, 256) and mixed.max() == 1
    assert mixed[:, -20:].mean() == pytest.approx(0.25, abs=0.02)


def test_what_cannot_be_explained_is_named(tmp_path: Path) -> None:
    patch(RED, (8, 8)).save(tmp_path / "a.png")
    photos = [("a", tmp_path / "a.png")]
    with pytest.raises(RunError, match="bright: only a run's own Keras model"):
        list(explain_ensemble(_predictor([Brightness("bright", (8, 6))], "soft", False), photos))
    with pytest.raises(ConfigError, match="unknown explainer"):
        list(explain_ensemble(_networks(), photos, explainer="grad"))
