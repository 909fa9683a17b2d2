"""The exported file from JavaScript (examples/node). Opt-in: needs Node, npm and what it installs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from allmasked.onnx_model import DEFAULT
from allmasked.predictor import open_predictor, predict_paths
from colour_model import picture

EXAMPLE = Path(__file__).parents[1] / "examples/node"


@pytest.mark.node
def test_javascript_answers_the_same(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if "node" not in request.config.getoption("-m"):
        pytest.skip("opt-in: pytest -m node")
    if shutil.which("npm") is None or not DEFAULT.is_file():
        pytest.skip("needs npm, and the model that ships")
    for name in ("predict.mjs", "package.json"):
        shutil.copy(EXAMPLE / name, tmp_path)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=tmp_path, check=True, timeout=550)
    predictor = open_predictor()
    names = []
    for label in ("all", "some", "nobody"):
        names.append(f"{label}.png")
        picture(label, (400, 300)).save(tmp_path / names[-1])
    command = ["node", "predict.mjs", str(DEFAULT), *names]
    lines = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.splitlines()
    for line, expected in zip(map(json.loads, lines), predict_paths(predictor, [(n, tmp_path / n) for n in names])):
        assert line["path"] == expected.path and expected.probabilities is not None
        wanted = (*expected.probabilities, expected.p_nobody)
        got = [line[label] for label in ("all", "none", "some", "nobody")]
        assert got == pytest.approx(wanted, abs=0.05)  # photos are resized by another library
