"""Every export format answers as Keras does, or is not written; and an ONNX file answers without Keras."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import allmasked
from allmasked.cli import cli
from allmasked.core.config import Recipe, TrainConfig
from allmasked.core.errors import ConfigError, RunError
from allmasked.core.runs import Run
from allmasked.core.types import Answers, Counting, InputSpec
from allmasked.data.dataset import write_split
from allmasked.exporting import round_trip
from allmasked.exporting.export import export
from allmasked.exporting.formats import EXPORTS, write_onnx
from allmasked.exporting.round_trip import ExportError
from allmasked.exporting.source import Source
from allmasked.networks.heads import HEADS
from allmasked.networks.reading import Calibration, answer_of, read_maps
from allmasked.predictors.calibrating import write_calibration
from allmasked.predictors.onnx_model import Metadata, OnnxPredictor
from allmasked.predictors.predictor import TRUST, KerasPredictor, Look, open_predictor, predict_paths
from allmasked.predictors.views import read_views
from conftest import make_split

pytest.importorskip("keras")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("shallow")  # each real backbone is written in test_backbones.py

NEEDS = {"onnx": "onnx", "openvino": "openvino", "litert": "ai_edge_litert", "savedmodel": "tensorflow"}
SIZE = (96, 64)
CALIBRATION = Calibration((-0.5, 0.75, 0.25, -0.125), (0.25, 1.5, 0.5), Counting(4.0, 0.125))
OTHER = Calibration((0.5, 1.25, -0.25, 0.0), (-0.5, 0.5, 0.25), Counting(7.0, 0.25))


def recalibrate(path: Path, **changes: Any) -> None:
    """Change what an ``.onnx`` file says about itself."""
    import onnx

    proto = onnx.load(path)
    metadata = Metadata.parse({entry.key: entry.value for entry in proto.metadata_props}, path)
    onnx.helper.set_model_props(proto, dataclasses.replace(metadata, **changes).strings())
    onnx.save(proto, path)


def lively(model: Any, seed: int = 0) -> Any:
    """Statistics and biases as after a training, so that photos get different answers and folding can go wrong."""
    import keras

    rng = np.random.default_rng(seed)
    inside = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    for layer in [*model.layers, *(layer for part in inside for layer in part.layers)]:
        if isinstance(layer, keras.layers.BatchNormalization):
            count = layer.moving_mean.shape[0]
            layer.moving_mean.assign(rng.normal(0, 0.1, count))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, count))
            layer.beta.assign(rng.normal(0, 0.1, count))
        elif layer.name == "faces":
            layer.calibration = CALIBRATION
        elif layer.name in ("evidence", "logits") and layer.trainable:
            layer.bias.assign(rng.normal(-1, 0.3, layer.bias.shape[0]))
    return model


def same(found: Answers, expected: Answers, tolerance: float) -> None:
    """Two answers say the same, faces included."""
    assert found.probabilities == pytest.approx(expected.probabilities, abs=tolerance)
    assert found.nobody == pytest.approx(expected.nobody, abs=tolerance)
    assert found.evidence == pytest.approx(expected.evidence, abs=tolerance)
    assert found.counting == expected.counting
    assert found.faces is not None and expected.faces is not None
    for one, other in zip(found.faces, expected.faces, strict=True):
        assert one.boxes == pytest.approx(other.boxes, abs=0.1)
        assert one.score == pytest.approx(other.score, abs=tolerance)
        assert one.masked == pytest.approx(other.masked, abs=tolerance)
        assert one.counts.tolist() == other.counts.tolist()


def make_run(folder: Path, head: str, seed: int = 0) -> Path:
    from allmasked.networks import model as models

    config = TrainConfig(head=head, weights="random", seed=seed, recipe=Recipe(size=SIZE))
    run = Run(folder)
    folder.mkdir(parents=True)
    config.write(run.config)
    models.save(lively(models.build(config)), run.model)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each head."""
    folder = tmp_path_factory.mktemp("runs")
    for head in HEADS:
        make_run(folder / head, head)
    return folder


@pytest.fixture(scope="module")
def onnx_file(runs: Path) -> Path:
    path = runs / "evidence.onnx"
    export(runs / "evidence", path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """split.json of drawn photos."""
    folder = tmp_path_factory.mktemp("data")
    write_split(make_split(folder / "photos", {"train": 4, "validation": 3}), folder / "split.json")
    return folder / "split.json"


def pictures(count: int = 5) -> np.ndarray:
    return round_trip.drawn_pictures(SIZE, count, seed=7)


class ResourceExhaustedError(Exception):
    """As TensorFlow calls it."""


@pytest.mark.parametrize("said", [ResourceExhaustedError("SaveV2"), RuntimeError("iostream error"), RuntimeError("x")])
def test_a_full_disk_whatever_a_library_calls_it(
    said: Exception, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space")

    def full(*_: object) -> None:
        if str(said) == "iostream error":
            monkeypatch.setattr(Path, "write_bytes", no_room)
        raise said

    monkeypatch.setitem(EXPORTS, "onnx", dataclasses.replace(EXPORTS["onnx"], write=full))
    with pytest.raises(RuntimeError if str(said) == "x" else OSError) as error:
        export(runs / "evidence", tmp_path / "x.onnx")
    assert error.value is said if str(said) == "x" else error.value.filename == str(tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EXPORTS)
def test_every_format_answers_as_keras(name: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "1")  # a SavedModel is a program
    pytest.importorskip(NEEDS[name], reason=f"{name} needs {NEEDS[name]}")
    out = tmp_path / f"model{EXPORTS[name].suffix}"
    report = export(runs / "evidence", out, format=name)
    assert report.round_trip.largest < 1e-4
    assert report.round_trip.labels == 1
    assert (report.drawn, report.size_bytes > 1e6) == (True, True)
    keras, found = open_predictor(runs / "evidence"), open_predictor(out)
    assert isinstance(keras, KerasPredictor)
    assert (found.name, found.input) == ("evidence", InputSpec(SIZE))
    expected, answers = keras.answer(pictures()), found.answer(pictures())
    assert np.ptp(expected.probabilities, axis=0).max() > 0.001  # not one answer for all
    assert max(len(one) for one in expected.faces or ()) > 1
    same(answers, expected, 1e-3)
    assert answers.probabilities == pytest.approx(expected.probabilities, abs=1e-4)
    outputs = found.run(pictures())  # what those who don't use this package get
    assert set(outputs) == {"probabilities", "answer", "faces", "maps"}
    four = [answer_of(one) for one in answers.faces or ()]
    assert outputs["answer"] == pytest.approx(np.array(four), abs=1e-4)
    assert outputs["probabilities"] == pytest.approx(answers.probabilities, abs=1e-4)
    assert (outputs["faces"][..., 4] > 0).sum(1).tolist() == [len(one) for one in answers.faces or ()]
    belonging = {out.name, *(f"model{suffix}" for suffix in EXPORTS[name].beside)}
    assert {path.name for path in tmp_path.iterdir()} == belonging


@pytest.mark.parametrize("head", ["softmax", "notebook"])
def test_other_heads(head: str, runs: Path, tmp_path: Path) -> None:
    export(runs / head, tmp_path / "x.onnx")
    keras, found = open_predictor(runs / head), open_predictor(tmp_path / "x.onnx")
    answers = found.answer(pictures())
    assert answers.probabilities == pytest.approx(keras.predict(pictures()), abs=1e-5)
    assert answers.nobody is None and answers.faces is None
    assert not found.finds_faces
    with pytest.raises(ConfigError, match="finds no faces that could be calibrated"):
        export(runs / head, tmp_path / "y.onnx", calibration=OTHER)
    if head != "softmax":
        assert answers.cam is None
        return
    from allmasked.explaining.maps import EXPLAINERS

    assert answers.cam is not None and answers.evidence is None  # class activation maps, closed form
    assert isinstance(keras, KerasPredictor)
    for index in range(3):
        classes = [index] * len(pictures())
        expected = EXPLAINERS["cam"].heat(keras.model, pictures(), classes)
        assert EXPLAINERS["cam"].heat_said(answers, classes) == pytest.approx(expected, abs=1e-3)


def test_another_size(runs: Path, tmp_path: Path) -> None:
    report = export(runs / "evidence", tmp_path / "x.onnx", size=(128, 96))
    assert report.metadata.size == open_predictor(tmp_path / "x.onnx").input.size == (128, 96)
    answers = OnnxPredictor.open(tmp_path / "x.onnx").answer(round_trip.drawn_pictures((128, 96), 2))
    assert answers.evidence is not None
    assert answers.evidence.shape == (2, 12, 16, 2)
    with pytest.raises(ConfigError, match="takes inputs of 96 x 64 px only"):
        export(runs / "notebook", tmp_path / "y.onnx", size=(320, 320))


def test_half_the_size(runs: Path, onnx_file: Path, tmp_path: Path) -> None:
    report = export(runs / "evidence", tmp_path / "x.onnx", precision="float16")
    assert report.size_bytes < 0.52 * onnx_file.stat().st_size
    assert 0 < report.round_trip.largest < 0.01
    assert report.round_trip.labels >= 0.98


def test_int8(runs: Path, onnx_file: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="int8 needs photos"):
        export(runs / "evidence", tmp_path / "x.onnx", precision="int8")
    report = export(runs / "evidence", tmp_path / "x.onnx", precision="int8", validate=data)
    assert report.size_bytes < 0.35 * onnx_file.stat().st_size
    assert (report.round_trip.photos, report.drawn) == (9, False)
    assert report.round_trip.largest < 0.2


def test_a_file_that_answers_otherwise_is_not_left_behind(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(source: Source, target: Path) -> None:
        layer = source.model.get_layer("evidence")
        layer.bias.assign(layer.bias + 0.01)
        write_onnx(source, target)

    monkeypatch.setitem(EXPORTS, "onnx", dataclasses.replace(EXPORTS["onnx"], write=wrong))
    (tmp_path / "x.onnx").write_text("before")
    with pytest.raises(ExportError, match=r"not written.*differ from those of Keras by up to"):
        export(runs / "evidence", tmp_path / "x.onnx")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.onnx", "before")]


@pytest.mark.parametrize("layer", ["AnswerOfFaces", "FindFaces"])
def test_a_file_whose_answer_or_faces_are_not_what_its_maps_say_is_refused(
    layer: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The maps are right, but not what those see who don't use this package."""
    from allmasked.exporting import onnx_graph

    right = onnx_graph.LAYERS[layer]

    def wrong(graph: Any, row: Any, inputs: list[str]) -> str:
        factor = graph.constant(np.float32(0.99), "wrong")
        return str(graph.add("Mul", [right(graph, row, inputs), factor], "wrong"))

    monkeypatch.setitem(onnx_graph.LAYERS, layer, wrong)
    with pytest.raises(ExportError, match="'answer' and 'faces' differ from what its maps say"):
        export(runs / "evidence", tmp_path / "x.onnx", precision="float16")
    assert not (tmp_path / "x.onnx").exists()


def test_what_cannot_be_exported(runs: Path, tmp_path: Path) -> None:
    for folder, out, options, message in (
        (runs / "gone", "x.onnx", {}, "not a run folder"),
        (runs / "evidence", "x.onnx", {"format": "onx"}, "Did you mean 'onnx'"),
        (runs / "evidence", "x.tflite", {}, "must end in .onnx"),
        (runs / "evidence", "x.onnx", {"precision": "int4"}, "unknown precision"),
        (runs / "evidence", "x", {"format": "savedmodel", "precision": "int8"}, "float32 only"),
    ):
        with pytest.raises((ConfigError, RunError), match=message):
            export(folder, tmp_path / out, **options)  # type: ignore[arg-type]


def test_files_that_are_not_ours(onnx_file: Path, tmp_path: Path) -> None:
    import onnx

    for name, content, message in (
        ("gone.onnx", None, "no such file"),
        ("broken.onnx", onnx_file.read_bytes()[:1000], "not a model that ONNX Runtime can open"),
        ("empty.onnx", b"", "not a model that ONNX Runtime can open|not made by"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(RunError, match=message) as caught:
            open_predictor(tmp_path / name)
        assert "\n" not in str(caught.value)
    foreign = onnx.load(onnx_file)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(RunError, match="not made by 'allmasked export'"):
        open_predictor(tmp_path / "foreign.onnx")
    newer = tmp_path / "newer.onnx"
    newer.write_bytes(onnx_file.read_bytes())
    recalibrate(newer, format=99)
    with pytest.raises(RunError, match="needs a newer allmasked"):
        open_predictor(newer)
    other = tmp_path / "other.onnx"
    other.write_bytes(onnx_file.read_bytes())
    recalibrate(other, calibration=({"score": [0, 1]},))
    with pytest.raises(RunError, match="not made by 'allmasked export'"):
        open_predictor(other)


def test_files_of_an_older_allmasked(onnx_file: Path, runs: Path, tmp_path: Path) -> None:
    """Those that find faces read their answer otherwise; those that don't are as good as new."""
    strings = OnnxPredictor.open(onnx_file).metadata.strings()
    older = strings | {"format": "1", "pooling": json.dumps({"sharpness": [5, 5], "scale": [1, 1], "bias": [0, 0]})}
    with pytest.raises(RunError, match=r"x\.onnx: was made by an older allmasked.*export it again"):
        Metadata.parse(older, "x.onnx")
    export(runs / "softmax", tmp_path / "x.onnx")
    strings = OnnxPredictor.open(tmp_path / "x.onnx").metadata.strings()
    plain = {name: value for name, value in strings.items() if name not in ("calibration", "member_views", "shares")}
    assert Metadata.parse(plain | {"format": "1", "pooling": "{}"}, "x").head == "softmax"


def test_metadata_survive(onnx_file: Path) -> None:
    metadata = OnnxPredictor.open(onnx_file).metadata
    assert (metadata.name, metadata.created_from, metadata.backbone, metadata.head) == (
        "evidence", "evidence", "EfficientNetLite0", "evidence",
    )  # fmt: skip
    assert (metadata.calibration, metadata.temperature, metadata.version) == ((CALIBRATION,), 1.0, allmasked_version())
    assert Metadata.parse(metadata.strings(), "x") == metadata


def allmasked_version() -> str:
    from importlib.metadata import version

    return version("allmasked")


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_photos_are_independent_and_threads_do_not_matter(onnx_file: Path, threads: int) -> None:
    pixels = pictures(7)
    expected = OnnxPredictor.open(onnx_file, threads=1).predict(pixels)
    found = OnnxPredictor.open(onnx_file, threads=threads)
    assert found.predict(pixels) == pytest.approx(expected, abs=1e-6)
    assert found.predict(pixels[3:4]) == pytest.approx(expected[3:4], abs=1e-6)
    assert found.predict(pixels[:0]).shape == (0, 3)


def test_another_calibration_than_the_runs_own(runs: Path, tmp_path: Path) -> None:
    report = export(runs / "evidence", tmp_path / "x.onnx", calibration=OTHER)
    assert report.round_trip.largest < 1e-4 and report.metadata.calibration == (OTHER,)
    file, keras = OnnxPredictor.open(tmp_path / "x.onnx"), open_predictor(runs / "evidence")
    outputs, answers = file.run(pictures()), file.answer(pictures())
    same(answers, read_maps(outputs["maps"], SIZE, OTHER), 1e-6)
    four = [answer_of(one) for one in answers.faces or ()]
    assert outputs["answer"] == pytest.approx(np.array(four), abs=1e-4), "it is in the graph, too"
    assert np.abs(answers.probabilities - keras.predict(pictures())).max() > 0.01
    assert keras.answer(pictures()).counting == CALIBRATION.counting, "the run stays as it was"


def test_a_picture_of_nobody_is_answered_in_half_precision(runs: Path, tmp_path: Path) -> None:
    blind = Calibration((-60.0, 1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    for name in ("onnx", "openvino"):
        pytest.importorskip(NEEDS[name], reason=f"{name} needs {NEEDS[name]}")
        out = tmp_path / f"x{EXPORTS[name].suffix}"
        export(runs / "evidence", out, format=name, precision="float16", calibration=blind)
        outputs = EXPORTS[name].open(out).run(pictures(2))
        assert outputs["answer"].tolist() == [[0, 0, 0, 1]] * 2
        assert outputs["probabilities"] == pytest.approx(np.full((2, 3), 1 / 3), abs=1e-3)


def test_temperature_of_a_softmax_head(runs: Path, tmp_path: Path) -> None:
    export(runs / "softmax", tmp_path / "x.onnx", settings={"temperature": 2.0})
    model = OnnxPredictor.open(tmp_path / "x.onnx")
    logits = np.log(model.run(pictures())["probabilities"]) / 2
    raised = np.exp(logits)
    assert model.predict(pictures()) == pytest.approx(raised / raised.sum(1, keepdims=True), abs=1e-5)


def test_explaining_a_file_needs_no_keras(onnx_file: Path, runs: Path, tmp_path: Path) -> None:
    from allmasked.explaining.explain import explain_paths
    from allmasked.explaining.maps import EXPLAINERS

    path = tmp_path / "all" / "x.png"
    path.parent.mkdir()
    Image.fromarray(pictures(1)[0]).save(path)
    model = OnnxPredictor.open(onnx_file)
    (found,) = explain_paths(model, [("x", path)], wanted="none")
    expected = model.answer(pictures(1)).evidence
    assert expected is not None
    assert found.heat == pytest.approx(expected[0, ..., 1], abs=1e-6)
    keras = open_predictor(runs / "evidence")
    assert isinstance(keras, KerasPredictor)
    for index, reference in enumerate((expected[..., 0], expected[..., 1], expected.max(-1))):
        heat = EXPLAINERS["evidence"].heat(keras.whole, pictures(1), [index])
        assert heat == pytest.approx(reference, abs=1e-4)
    with pytest.raises(RunError, match="give a run folder, or take --explainer evidence"):
        list(explain_paths(model, [("x", path)], explainer="grad-cam"))


def test_gradients_reach_the_maps_of_an_evidence_head(runs: Path) -> None:
    from allmasked.explaining.maps import EXPLAINERS, explainers_for
    from allmasked.explaining.network import network

    keras = open_predictor(runs / "evidence")
    assert isinstance(keras, KerasPredictor)
    cut = network(keras.whole)
    assert cut.features(pictures(1)).shape == (1, 8, 12, 96)
    names = explainers_for(cut)
    assert set(names) == {"grad-cam", "grad-cam++", "hires-cam", "score-cam", "evidence"}
    for name in ("grad-cam", "hires-cam"):
        heat = EXPLAINERS[name].heat(cut, pictures(2), [0, 1])
        assert heat.shape == (2, 8, 12)
        assert np.isfinite(heat).all()


# --- from the command line -------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "photos/more").mkdir(parents=True)
    for number, picture in enumerate(round_trip.drawn_pictures((120, 90), 4, seed=5)):
        Image.fromarray(picture).save(tmp_path / "photos" / ("more/0.png" if number == 3 else f"{number}.png"))
    (tmp_path / "photos/broken.jpg").write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.usefixtures("photos")
def test_export_command(runs: Path) -> None:
    everybody = Calibration((3.0, 1.0, 0.0, 0.0), (9.0, 1.0, 0.0))
    write_calibration(everybody, Path("c.json"))
    result = invoke("export", runs / "evidence", "--out", "x.onnx", "--calibration", "c.json", "--name", "mine")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "100.0% of the labels alike" in result.stderr
    result = invoke("predict", "photos/0.png", "--model", "x.onnx", "--format", "json")
    (row,) = json.loads(result.stdout)
    assert (row["label"], row["p_all"] > 0.9, row["masked"] > 0, row["bare"]) == ("all", True, True, 0)
    assert open_predictor("x.onnx").name == "mine"
    result = invoke("export", runs / "evidence", "--out", "y.onnx", "--calibration", "photos/0.png")
    assert isinstance(result.exception, RunError) and not Path("y.onnx").exists()


def test_predict_with_everything(photos: Path, onnx_file: Path) -> None:
    arguments = ("predict", "photos", "--model", onnx_file, "--boxes", "--format", "json")
    result = invoke(*arguments, "--annotated", "drawn", "--heat", "--sort", "photos/sorted")
    assert result.exit_code == 1  # the broken one
    rows = json.loads(result.stdout)
    assert [row["path"] for row in rows] == [
        f"photos/{n}" for n in ("0.png", "1.png", "2.png", "broken.jpg", "more/0.png")
    ]
    good = [row for row in rows if not row["error"]]
    for row in good:
        assert sum(row[f"p_{name}"] for name in ("all", "none", "some", "nobody")) == pytest.approx(1, abs=1e-5)
        assert row["masked"] + row["bare"] == len(row["faces"])
        for face in row["faces"]:
            assert 0 <= face["left"] < face["right"] <= 120
            assert 0 <= face["top"] < face["bottom"] <= 90
    drawn = sorted(path.relative_to(photos / "drawn").as_posix() for path in (photos / "drawn").rglob("*.jpg"))
    assert drawn == sorted(f"{row['path']}.answer.jpg" for row in good)
    with Image.open(photos / "drawn/photos/0.png.answer.jpg") as image:
        assert image.width == 240  # enlarged for fine lines
        assert image.height > 180
    sorted_to = list((photos / "photos/sorted").rglob("*.png"))
    assert len(sorted_to) == 4  # two of one name, none lost
    assert {path.parent.name for path in sorted_to} == {row["label"] if row["sure"] else "unsure" for row in good}
    again = invoke(*arguments, "--annotated", "drawn", "--sort", "photos/sorted")
    assert again.stdout == result.stdout  # what was written is not taken for input
    assert len(list((photos / "photos/sorted").rglob("*.png"))) == 4


@pytest.mark.usefixtures("photos")
def test_fail_on_and_min_face(onnx_file: Path) -> None:
    arguments = ("predict", "photos/0.png", "photos/1.png", "--model", onnx_file, "--format", "json")
    labels = {row["label"] for row in json.loads(invoke(*arguments).stdout)}
    others = {"all", "none", "some", "nobody"} - labels
    assert invoke(*arguments, "--fail-on", ",".join(labels)).exit_code == 1
    assert invoke(*arguments, "--fail-on", ",".join(others)).exit_code == 0
    for row in json.loads(invoke(*arguments, "--min-face-px", 1000).stdout):
        assert (row["masked"], row["bare"]) == (0, 0)


WITHOUT_KERAS = """
import sys
for name in ("keras", "tensorflow", "jax", "torch", "matplotlib", "cv2", "sklearn", "scipy", "onnx", "faiss"):
    sys.modules[name] = None
from allmasked.cli import main
main()
"""


def test_a_file_answers_with_the_base_installation_alone(photos: Path, onnx_file: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1])}
    for command in (
        ["predict", "photos/0.png", "--model", str(onnx_file), "--annotated", "drawn"],
        ["explain", "photos/0.png", "--model", str(onnx_file), "--out", "heat"],
    ):
        result = subprocess.run(
            [sys.executable, "-c", WITHOUT_KERAS, *command], env=environment, capture_output=True, text=True, cwd=photos
        )
        assert result.returncode == 0, result.stderr
        assert len(result.stdout.splitlines()) == 2
    assert (photos / "heat/0.evidence.jpg").is_file()


def test_predictions_of_a_run_and_its_file_agree(photos: Path, runs: Path, onnx_file: Path) -> None:
    paths = [(f"{number}", photos / f"photos/{number}.png") for number in range(3)]
    keras = open_predictor(runs / "evidence")
    file, look = OnnxPredictor.open(onnx_file), Look(min_face_px=12)
    for one, other in zip(predict_paths(keras, paths), predict_paths(file, paths), strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert one.p_nobody == pytest.approx(other.p_nobody, abs=1e-5)
    for one, other in zip(predict_paths(keras, paths, look=look), predict_paths(file, paths, look=look), strict=True):
        assert one.four == pytest.approx(other.four, abs=1e-4)
        assert (one.label, one.masked, one.bare) == (other.label, other.masked, other.bare)


# --- ensembles -------------------------------------------------------------------------------------------------------

TALL = (64, 96)


def tiny_run(folder: Path, head: str, size: tuple[int, int], fit: Any, seed: int) -> Path:
    """A run with three convolutions for a backbone, so that many can be made."""
    import keras

    from allmasked.networks import model as models

    keras.utils.set_random_seed(seed)
    pixels = keras.Input((size[1], size[0], 3), name="pixels")
    x = keras.layers.Rescaling(1 / 64, -2.0)(pixels)
    levels = []
    for filters, strides in ((6, 8), (8, 2), (10, 2)):
        x = keras.layers.Conv2D(filters, strides, strides, padding="same", activation="relu")(x)
        levels.append(x)
    outputs = HEADS[head].build(levels if HEADS[head].maps else x, 0.1, size)
    model = keras.Model(pixels, outputs if HEADS[head].maps else outputs["probabilities"])
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.name in ("evidence", "logits") and layer.trainable:
            layer.kernel.assign(rng.normal(0, 1, layer.kernel.shape))
            layer.bias.assign(rng.normal(-2 if layer.name == "evidence" else 0, 0.3, layer.bias.shape[0]))
        if layer.name == "faces":
            layer.calibration = dataclasses.replace(CALIBRATION, score=(1.5 - 0.5 * seed, 1.0, 0.25, -0.125))
    folder.mkdir(parents=True)
    TrainConfig(head=head, seed=seed, recipe=Recipe(size=size, resize_mode=fit)).write(Run(folder).config)
    models.save(model, Run(folder).model)
    return folder


def make_ensemble(folder: Path, vote: str, members: list[Any], early: bool = False) -> Path:
    """An ensemble of new runs (head, size, fit), with temperatures and something fitted."""
    from allmasked.data.dataset import sha256_of
    from allmasked.predictors.ensemble import Ensemble, Member
    from allmasked.stats.votes import Fitted

    rng = np.random.default_rng(5)
    rows = []
    for number, (head, size, fit) in enumerate(members):
        run = Run(tiny_run(folder.parent / f"{folder.name}-{number}", head, size, fit, number))
        name, heat = run.folder.name, (1.0, 0.4, 2.0)[number % 3]
        facts: Any = ("EfficientNetLite0", head, "", number, size, fit, 0, 0.0, 1.0, 1.0, 0.9, heat)
        rows.append(Member(name, f"../{name}", sha256_of(run.model), *facts))
    weights = rng.dirichlet(np.ones(len(rows))) if vote == "weighted" else np.full(len(rows), 1 / len(rows))
    coefficients = rng.normal(size=(3, 3 * len(rows) + 1)) if vote == "stacked" else ()
    fitted = Fitted(tuple(map(float, weights)), tuple(tuple(map(float, row)) for row in coefficients))
    folder.mkdir()
    Ensemble(vote, tuple(rows), fitted, tuple(range(len(rows)))[::-1], early).write(Run(folder))
    return folder


SAME = [("evidence", SIZE, "letterbox"), ("softmax", SIZE, "letterbox"), ("notebook", SIZE, "letterbox")]
MIXED = [("evidence", SIZE, "letterbox"), ("softmax", TALL, "letterbox"), ("softmax", SIZE, "stretch")]


def written(folder: Path, count: int = 6) -> list[tuple[str, Path]]:
    folder.mkdir()
    paths = []
    for number, picture in enumerate(round_trip.drawn_pictures((150, 110), count, seed=11)):
        paths.append((f"{number}", folder / f"{number}.png"))
        Image.fromarray(picture).save(paths[-1][1])
    return paths


@pytest.mark.parametrize(
    ("vote", "members"),
    [("majority", SAME), ("majority", MIXED), ("soft", SAME), ("weighted", MIXED), ("stacked", MIXED)],
    ids=["majority-one input", "majority-three inputs", "soft-one input", "weighted", "stacked"],
)
def test_an_ensemble_is_one_file(vote: str, members: Any, tmp_path: Path) -> None:
    folder = make_ensemble(tmp_path / "many", vote, members, early=vote == "majority")
    report = export(folder, tmp_path / "x.onnx")
    assert report.round_trip.largest < 1e-4
    assert report.round_trip.labels == 1
    assert report.round_trip.photos > 0
    file, python = open_predictor(tmp_path / "x.onnx"), open_predictor(folder)
    assert isinstance(file, OnnxPredictor)
    assert len(file.session.get_inputs()) == (1 if members is SAME else 3)
    assert file.metadata.members == ("many-0", "many-1", "many-2")
    photos = written(tmp_path / "photos")
    found, expected = list(predict_paths(file, photos)), list(predict_paths(python, photos))
    assert [one.label for one in found] == [one.label for one in expected]
    if vote != "majority":  # where the ensemble may stop early, its probabilities are of those that it asked
        for one, other in zip(found, expected, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
        assert np.ptp([one.probabilities for one in found], axis=0).max() > 1e-3
    assert file.predict(pictures(2)).shape == (2, 3)


@pytest.mark.parametrize("name", [name for name in EXPORTS if name != "onnx"])
def test_an_ensemble_in_every_format(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "1")
    pytest.importorskip(NEEDS[name], reason=f"{name} needs {NEEDS[name]}")
    folder = make_ensemble(tmp_path / "many", "majority" if name == "openvino" else "stacked", MIXED)
    out = tmp_path / f"model{EXPORTS[name].suffix}"
    assert export(folder, out, format=name).round_trip.largest < 1e-4
    photos = written(tmp_path / "photos", 2)
    found, expected = (list(predict_paths(open_predictor(path), photos)) for path in (out, folder))
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_an_ensembles_file_that_votes_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from allmasked.exporting import ensemble_model

    folder = make_ensemble(tmp_path / "many", "weighted", SAME)
    vote = ensemble_model.Vote.__init__

    def wrong(self: Any, ensemble: Any, **options: Any) -> None:
        vote(self, ensemble, **options)
        self.shares = self.shares[::-1]

    monkeypatch.setattr(ensemble_model.Vote, "__init__", wrong)
    with pytest.raises(ExportError, match="differ from those of"):
        export(folder, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_an_ensemble_of_evidence_finds_faces_and_shows_where(tmp_path: Path) -> None:
    from allmasked.explaining.explain import explain_paths
    from allmasked.explaining.maps import explainer_for

    folder = make_ensemble(tmp_path / "many", "weighted", [("evidence", SIZE, "letterbox")] * 2)
    export(folder, tmp_path / "x.onnx", precision="float16")
    file, python = open_predictor(tmp_path / "x.onnx"), open_predictor(folder)
    photos = written(tmp_path / "photos", 2)
    assert explainer_for(file) == "evidence"
    weights = python.ensemble.fitted.weights  # type: ignore[attr-defined]
    for explained, (_, path) in zip(explain_paths(file, photos, wanted="all"), photos, strict=True):
        _, (pixels,) = read_views(python.views, path)
        each = [member.answer(pixels[None]).evidence[0, ..., 0] for member in python.members]  # type: ignore[attr-defined]
        assert explained.heat == pytest.approx(weights[0] * each[0] + weights[1] * each[1], abs=0.02)
    export(make_ensemble(tmp_path / "other", "soft", MIXED), tmp_path / "y.onnx")
    assert not open_predictor(tmp_path / "y.onnx").finds_faces
    with pytest.raises(RunError, match="does not say where"):
        list(explain_paths(open_predictor(tmp_path / "y.onnx"), photos, explainer="cam"))


@pytest.mark.parametrize(
    ("vote", "sizes"), [("majority", (SIZE, TALL)), ("weighted", (SIZE, SIZE)), ("stacked", (SIZE, TALL))]
)
def test_an_ensembles_file_finds_the_faces_that_the_ensemble_finds(vote: str, sizes: Any, tmp_path: Path) -> None:
    folder = make_ensemble(tmp_path / "many", vote, [("evidence", size, "letterbox") for size in sizes])
    report = export(folder, tmp_path / "x.onnx")
    assert report.round_trip.largest < 1e-4 and report.round_trip.heat < 1e-4
    file, python = open_predictor(tmp_path / "x.onnx"), open_predictor(folder)
    assert file.finds_faces and python.finds_faces
    assert {"probabilities", "nobody", "maps_1", "maps_2"} == set(file.outputs)  # type: ignore[attr-defined]
    photos = written(tmp_path / "photos")
    for look in (Look(min_face_px=12), Look()):
        found = list(predict_paths(file, photos, look=look))
        for one, other in zip(found, predict_paths(python, photos, look=look), strict=True):
            assert (one.label, one.masked, one.bare) == (other.label, other.masked, other.bare)
            assert one.four == pytest.approx(other.four, abs=1e-4)
            assert [face.score for face in one.faces or ()] == pytest.approx(
                [face.score for face in other.faces or ()], abs=1e-3
            )
    assert all(one.faces for one in found) and np.ptp([one.four for one in found], axis=0).max() > 0.05


def test_what_cannot_be_exported_of_an_ensemble(tmp_path: Path) -> None:
    folder = make_ensemble(tmp_path / "many", "soft", SAME[1:])
    for options, message in (
        ({"size": (128, 96)}, "members keep their sizes; leave out --size"),
        ({"calibration": OTHER}, "members keep their calibration"),
    ):
        with pytest.raises(ConfigError, match=message):
            export(folder, tmp_path / "x.onnx", **options)  # type: ignore[arg-type]
    Run(tmp_path / "many-1").model.unlink()
    with pytest.raises(RunError, match="its member many-1 is not in"):
        export(folder, tmp_path / "x.onnx")


def test_an_ensembles_file_in_int8(data: Path, tmp_path: Path) -> None:
    folder = make_ensemble(tmp_path / "many", "soft", MIXED[:2])
    report = export(folder, tmp_path / "x.onnx", precision="int8", validate=data)
    assert report.round_trip.photos == 9
    assert open_predictor(tmp_path / "x.onnx").predict(pictures(2)).sum(1) == pytest.approx([1, 1])


def test_an_ensembles_file_answers_with_the_base_installation_alone(tmp_path: Path) -> None:
    folder = make_ensemble(tmp_path / "many", "majority", MIXED)
    export(folder, tmp_path / "x.onnx")
    ((_, path),) = written(tmp_path / "photos", 1)
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1])}
    command = [sys.executable, "-c", WITHOUT_KERAS, "predict", str(path), "--model", str(tmp_path / "x.onnx")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("by_maps", "others", "heat", "refused"),
    [
        (True, 1, 4e-4, False),
        (True, 2, 4e-4, True),
        (True, 1, 0.2, True),
        (False, 1, 0.0, True),
        (False, 0, 0.0, False),
    ],
)
def test_a_face_that_just_counts_may_change_one_label(by_maps: bool, others: int, heat: float, refused: bool) -> None:
    """One of 33 photos is more than the 2 % that half precision may change."""
    found = round_trip.RoundTrip(33, 0.0004, 0.0, 1 - others / 33, heat, by_maps, other_labels=others)
    with pytest.raises(ExportError, match="not written") if refused else contextlib.nullcontext():
        round_trip.refuse(found, "float16", Path("x.onnx"))
