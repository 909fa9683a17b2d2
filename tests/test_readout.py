"""The reading inside the network, as Keras layers and as ONNX nodes, gives what the NumPy reading gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allmasked.core.types import Counting
from allmasked.networks.heads import HEADS
from allmasked.networks.model import calibrate, calibration_of
from allmasked.networks.reading import CANDIDATES, UNCALIBRATED, Calibration, answer_of, read_maps
from maps import calibrations, random_maps

keras = pytest.importorskip("keras")
SIZE, GRID = (96, 64), (12, 8)
CALIBRATION = Calibration((0.25, 0.75, -0.5, 0.125), (-0.25, 1.5, 0.5), Counting(12.0, 0.25, 0.5))
quick = settings(max_examples=30)
seeds = st.integers(0, 2**32 - 1)


def check(outputs: dict[str, Any], maps: np.ndarray, calibration: Calibration, size: tuple[int, int] = SIZE) -> None:
    """Faces, answer and probabilities are those that NumPy reads off the maps."""
    expected = read_maps(maps, size, calibration)
    assert expected.faces is not None
    for row, candidates in enumerate(expected.faces):
        found = np.asarray(outputs["faces"])[row]
        assert found.shape == (min(CANDIDATES, maps.shape[1] * maps.shape[2]), 7)
        found = found[found[:, 4] > 0]
        assert len(found) == len(candidates)
        found = found[np.argsort(-found[:, 4], kind="stable")]
        np.testing.assert_allclose(found[:, 4], candidates.score, atol=1e-5)
        np.testing.assert_allclose(found[:, 5], candidates.masked, atol=1e-5)
        np.testing.assert_allclose(found[:, :4], candidates.boxes, atol=1e-2, rtol=1e-5)
        np.testing.assert_array_equal(found[:, 6], candidates.counts)
        four = answer_of(candidates, calibration.counting.some_factor)
        answer = np.asarray(outputs["answer"])[row]
        np.testing.assert_allclose(answer, four, atol=1e-5)
        if np.ptp(np.sort(four)[-2:]) > 2e-5:
            assert answer.argmax() == four.argmax()
    np.testing.assert_allclose(np.asarray(outputs["probabilities"]), expected.probabilities, atol=1e-5)


@pytest.fixture(scope="module")
def layers() -> Any:
    """A model that is nothing but the reading."""
    from allmasked.networks.readout import AnswerOfFaces, FindFaces, GivenSomebody

    maps = keras.Input((GRID[1], GRID[0], 6))
    faces = FindFaces(SIZE, name="faces")(maps)
    answer = AnswerOfFaces(name="answer")(faces)
    return keras.Model(maps, {"faces": faces, "answer": answer, "probabilities": GivenSomebody()(answer)})


def test_a_calibration_reads_back_as_it_was_given(layers: Any) -> None:
    given = Calibration((0.377, 2.1, 1.334, 0.1), (-0.247, 1.006, 0.606), Counting(8.0, 0.2, 0.6))
    calibrate(layers, given)
    assert calibration_of(layers) == given, "0.2, not the 0.20000000298 that float32 keeps"


@quick
@given(seed=seeds, calibration=calibrations)
def test_the_layers_read_as_numpy_does(layers: Any, seed: int, calibration: Calibration) -> None:
    calibrate(layers, calibration)
    maps = random_maps(seed, 4, GRID, 2.5)
    check(layers(maps), maps, calibration)


def test_maps_of_nobody_of_a_plateau_and_of_one_face_twice(layers: Any) -> None:
    calibrate(layers, UNCALIBRATED)
    maps = np.zeros((3, GRID[1], GRID[0], 6), np.float32)
    maps[..., :2] = -9
    maps[1, ..., 0] = 2  # a face in each cell, all the same
    maps[2, 3, 4, 0], maps[2, 3, 6, 1], maps[2, 3, 4:7, 4:] = 3, 2.5, 2
    outputs = layers(maps)
    check(outputs, maps, UNCALIBRATED)
    counts = (np.asarray(outputs["faces"])[..., 4] > 0).sum(1)
    assert counts.tolist() == [0, CANDIDATES, 1]
    assert np.asarray(outputs["probabilities"])[0] == pytest.approx([1 / 3] * 3)
    assert np.asarray(outputs["answer"])[0].tolist() == [0, 0, 0, 1]


def small_model(seed: int) -> Any:
    """The evidence head on three convolutions whose maps are as diverse as random ones."""
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((SIZE[1], SIZE[0], 3), name="pixels")
    x = keras.layers.Rescaling(1 / 64, -2.0)(pixels)
    levels = []
    for filters, strides in ((6, 8), (8, 2), (10, 2)):
        x = keras.layers.Conv2D(filters, strides, strides, padding="same", activation="relu")(x)
        levels.append(x)
    model = keras.Model(pixels, HEADS["evidence"].build(levels, 0.0, SIZE))
    rng = np.random.default_rng(seed)
    for name, mean, width in (("evidence", -4, 3), ("boxes", 0.3, 0.5)):
        layer = model.get_layer(name)
        layer.kernel.assign(rng.normal(0, width, layer.kernel.shape))
        layer.bias.assign(rng.normal(mean, 0.3, layer.bias.shape))
    return model


@pytest.mark.parametrize("seed", range(3))
def test_an_exported_network_reads_as_numpy_does(seed: int) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from allmasked.exporting.onnx_graph import graph_of

    model = small_model(seed)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (8, GRID[1], GRID[0], 3), np.uint8).repeat(8, 1).repeat(8, 2)
    cases = 0

    @settings(max_examples=15)
    @given(calibrations)
    def same(calibration: Calibration) -> None:
        nonlocal cases
        calibrate(model, calibration)
        graph = graph_of(model).SerializeToString()
        session = runtime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        assert set(names) == {"probabilities", "answer", "faces", "maps"}
        outputs = dict(zip(names, session.run(names, {"pixels": pixels})))
        check(outputs, outputs["maps"], calibration)
        by_keras = model.predict_on_batch(pixels.astype(np.float32))
        np.testing.assert_allclose(outputs["maps"], by_keras["maps"], atol=1e-3)
        check(by_keras, np.asarray(by_keras["maps"]), calibration)
        cases += int((outputs["faces"][..., 4] > 0).sum(1).max() > 1)

    same()
    assert cases, "there are photos with several faces"


def test_calibration_survives_saving(tmp_path: Path) -> None:
    from allmasked.networks import model as models

    model = small_model(0)
    assert models.calibration_of(model) == UNCALIBRATED
    models.calibrate(model, CALIBRATION)
    models.save(model, tmp_path / "x.keras")
    loaded = models.load(tmp_path / "x.keras")
    assert models.calibration_of(loaded) == CALIBRATION
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE[1], SIZE[0], 3)).astype(np.float32)
    for name, values in model.predict_on_batch(pixels).items():
        np.testing.assert_allclose(loaded.predict_on_batch(pixels)[name], values, atol=1e-5)
    assert not model.get_layer("faces").trainable_variables


def test_a_map_as_large_as_another_of_any_size() -> None:
    """As Keras resizes to a size that is known; from the second size on, a step is traced for sizes that are not."""
    from allmasked.networks.readout import AsLarge

    inputs = [keras.Input((None, None, channels)) for channels in (3, 2)]
    model = keras.Model(inputs, AsLarge()(inputs))
    rng = np.random.default_rng(0)
    for small, large in [((6, 8), (12, 16)), ((5, 7), (9, 13)), ((1, 1), (1, 2)), ((3, 9), (6, 18))]:
        map_, other = (rng.random((2, *size, count), np.float32) for size, count in ((small, 3), (large, 2)))
        expected = np.asarray(keras.layers.Resizing(*large, "nearest")(map_))
        np.testing.assert_array_equal(model.predict([map_, other], verbose=0), expected)
