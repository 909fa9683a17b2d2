"""The exported file from JavaScript (examples/node). Opt-in: needs Node, npm and what it installs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from allmasked.images.pixels import read
from allmasked.networks.reading import label_of
from allmasked.predictors.faces import four_of
from allmasked.predictors.onnx_model import DEFAULT, OnnxPredictor
from allmasked.predictors.predictor import predict_paths
from allmasked.predictors.views import on_photo
from colour_model import picture

EXAMPLE = Path(__file__).parents[1] / "examples/node"
LABELS = ("all", "none", "some", "nobody")
pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The example with what it needs."""
    if "node" not in request.config.getoption("-m"):
        pytest.skip("opt-in: pytest -m node")
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    folder = tmp_path_factory.mktemp("node")
    for name in ("predict.mjs", "package.json"):
        shutil.copy(EXAMPLE / name, folder)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=550)
    return folder


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights, which sees faces everywhere, some of them doubtful and some that don't count."""
    make_run = pytest.importorskip("test_export").make_run
    from allmasked.core.types import Counting
    from allmasked.exporting.export import export
    from allmasked.networks.reading import Calibration

    folder = tmp_path_factory.mktemp("untrained")
    calibration = Calibration(score=(0.5, 1.5, 0.1, 0.0), counting=Counting(8, 0.7))
    export(make_run(folder / "run", "evidence"), folder / "x.onnx", calibration=calibration)
    return folder / "x.onnx"


def said(node: Path, model: Path, names: list[str]) -> list[dict[str, Any]]:
    command = ["node", "predict.mjs", str(model), *names]
    lines = subprocess.run(command, cwd=node, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert [line["path"] for line in found] == names
    return found


def test_the_same_pixels_get_the_same_answer_and_faces(node: Path, untrained: Path) -> None:
    predictor = OnnxPredictor.open(untrained)
    width, height = predictor.input.size
    random = np.random.default_rng(0)
    names = []
    sizes = [(width, height)] * 4 + [(width, height // 2), (width // 3, height)]  # none is resized
    for number, size in enumerate(sizes):
        names.append(f"{number}.png")
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(node / names[-1])
    counts = set()
    for name, found in zip(names, said(node, untrained, names)):
        answers = predictor.answer(read(node / name, predictor.input)[None])
        four = four_of(answers, 0)
        assert [found[f"p_{label}"] for label in LABELS] == pytest.approx(four, abs=1e-4)
        assert found["label"] == label_of(four)
        assert answers.faces is not None
        wanted = on_photo(answers.faces[0], Image.open(node / name).size, predictor.input)
        got = sorted(found["faces"], key=lambda face: -face["score"])
        assert len(got) >= len(wanted) > 0
        by_score = {round(face["score"], 5): face for face in got}
        for score, masked, box, counted in zip(wanted.score, wanted.masked, wanted.boxes, wanted.counts):
            face = by_score[min(by_score, key=lambda other: abs(other - score))]
            assert (face["score"], face["p_masked"]) == pytest.approx((score, masked), abs=1e-3)
            assert face["counts"] == counted
            edges = np.array([face[edge] for edge in ("left", "top", "right", "bottom")])
            limits = np.array(Image.open(node / name).size * 2)
            assert edges.clip(0, limits) == pytest.approx(box, abs=0.1)
            counts.add(bool(counted))
    assert counts == {False, True}


def test_the_model_that_ships_answers_the_same(node: Path) -> None:
    if not DEFAULT.is_file():
        pytest.skip("no model came with this installation")
    names = []
    for label in ("all", "some", "nobody"):
        names.append(f"{label}.png")
        picture(label, (400, 300)).save(node / names[-1])
    predictor = OnnxPredictor.open(DEFAULT)
    expected = predict_paths(predictor, [(name, node / name) for name in names])
    for found, prediction in zip(said(node, DEFAULT, names), expected):
        got = [found[f"p_{label}"] for label in LABELS]
        assert got == pytest.approx(prediction.four, abs=0.05)  # photos are resized by another library
        if prediction.sure:
            assert found["label"] == prediction.label


def test_what_finds_no_faces_is_refused(node: Path, tmp_path: Path) -> None:
    make_run = pytest.importorskip("test_export").make_run
    from allmasked.exporting.export import export

    export(make_run(tmp_path / "run", "softmax"), tmp_path / "x.onnx")
    command = ["node", "predict.mjs", str(tmp_path / "x.onnx"), "x.png"]
    result = subprocess.run(command, cwd=node, capture_output=True, text=True)
    assert result.returncode == 2 and "finds no faces" in result.stderr
