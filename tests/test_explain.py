"""Every explainer finds what the decision hangs on, and is measured to do so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from allmasked.core.errors import ConfigError, DataError, RunError
from allmasked.core.types import CLASSES, Answers, Face, InputSpec, Photo
from allmasked.explaining import explain, faithfulness, maps, network, pictures
from allmasked.explaining.maps import EXPLAINERS, Explainer
from allmasked.images import draw
from allmasked.images import pixels as px
from planted import BLUE, RED, SIZE, patch, planted

pytest.importorskip("keras")
ALL, NONE, SOME = range(3)
ON_SOFTMAX = {name: row for name, row in EXPLAINERS.items() if not row.evidence_only}
every = pytest.mark.parametrize("row", ON_SOFTMAX.values(), ids=list(ON_SOFTMAX))
general = pytest.mark.parametrize(
    "row",
    [r for r in ON_SOFTMAX.values() if not r.linear_only],
    ids=[r.name for r in ON_SOFTMAX.values() if not r.linear_only],
)


@pytest.fixture(scope="module")
def model() -> Any:
    return planted()


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Three photos: red at the left, blue at the right, neither."""
    return np.stack([np.asarray(p) for p in (patch(RED, (4, 8)), patch(BLUE, (44, 30)), patch((120,) * 3, (0, 0)))])


@every
def test_shape_range_finite_and_repeatable(row: Explainer, model: Any, photos: np.ndarray) -> None:
    assert network.network(model).probabilities(photos).argmax(1).tolist() == [ALL, NONE, SOME]
    heat = row.heat(model, photos, [ALL, NONE, SOME])
    assert heat.shape == (3, 6, 8)
    assert heat.dtype == np.float32
    assert np.isfinite(heat).all()
    assert heat.min() >= 0
    assert heat.max((1, 2)) == pytest.approx([1, 1, 1])
    assert np.array_equal(heat, row.heat(model, photos, [ALL, NONE, SOME]))
    assert row.heat(model, photos[:1], [ALL]) == pytest.approx(heat[:1], abs=1e-5)  # a photo's map is its own


@every
def test_the_hottest_place_is_the_planted_one(row: Explainer, model: Any, photos: np.ndarray) -> None:
    heat = row.heat(model, photos, [ALL, NONE, SOME])
    for number, (x, y) in ((0, (10, 14)), (1, (50, 36))):
        row_, column = np.unravel_index(heat[number].argmax(), (6, 8))
        assert abs(column * 8 + 4 - x) <= 8
        assert abs(row_ * 8 + 4 - y) <= 8


@pytest.mark.parametrize("row", [EXPLAINERS[name] for name in ("grad-cam", "hires-cam", "cam")], ids=lambda r: r.name)
def test_what_speaks_against_a_class_is_cold(row: Explainer, model: Any, photos: np.ndarray) -> None:
    """Red speaks against none. (Grad-CAM++ and Score-CAM know no negative weights.)"""
    assert row.heat(model, photos[:1], [NONE])[0, 1:2, 1:2].max() <= 0.5


@general
def test_heads_that_are_not_linear(row: Explainer, photos: np.ndarray) -> None:
    model = planted("notebook")
    heat = row.heat(model, photos[:2], [ALL, NONE])
    assert np.isfinite(heat).all()
    assert heat.max((1, 2)) == pytest.approx([1, 1])
    assert heat[0, :, :4].max() > heat[0, :, 4:].max()
    with pytest.raises(ConfigError, match="cam needs"):
        EXPLAINERS["cam"].heat(model, photos, [0, 0, 0])
    assert maps.explainers_for(model) == [name for name in ON_SOFTMAX if name != "cam"]


def test_cam_in_closed_form_is_grad_cam() -> None:
    """With global average pooling the gradient is the weight / (h w); maps are equal but for that factor."""
    model = planted()
    rng = np.random.default_rng(0)
    model.get_layer("logits").set_weights([rng.normal(size=(4, 3)), rng.normal(size=3)])  # signs of all kinds
    pixels = rng.integers(0, 256, (5, *SIZE[::-1], 3)).astype(np.uint8)
    classes = rng.integers(0, 3, 5)
    cut = network.network(model)
    closed = maps.cam(cut, pixels, classes)
    assert closed.min() < 0 < closed.max()
    assert maps.grad_cam(cut, pixels, classes) * 48 == pytest.approx(closed, abs=1e-4)
    assert maps.hires_cam(cut, pixels, classes) * 48 == pytest.approx(closed, abs=1e-4)
    heat = EXPLAINERS["cam"].heat(model, pixels, classes)
    assert EXPLAINERS["grad-cam"].heat(model, pixels, classes) == pytest.approx(heat, abs=1e-5)


def test_grad_cam_plus_plus_is_its_definition() -> None:
    """Against the paper's formula, with the derivatives of exp(S) by finite differences of S."""
    model = planted()
    rng = np.random.default_rng(1)
    model.get_layer("logits").set_weights([rng.normal(size=(4, 3)), rng.normal(size=3)])
    pixels = rng.integers(0, 256, (1, *SIZE[::-1], 3)).astype(np.uint8)
    cut = network.network(model)
    features = cut.features(pixels)
    gradient = np.zeros_like(features)
    for place in np.ndindex(features.shape[1:]):
        up, down = features.copy(), features.copy()
        up[0][place] += 0.5
        down[0][place] -= 0.5
        gradient[0][place] = float(np.asarray(cut.scores(up))[0, NONE] - np.asarray(cut.scores(down))[0, NONE])
    alpha = gradient**2 / (2 * gradient**2 + gradient**3 * features.sum((1, 2), keepdims=True))
    weights = (alpha * np.maximum(gradient, 0)).sum((1, 2), keepdims=True)
    expected = (weights * features).sum(-1)
    found = maps.grad_cam_plus_plus(cut, pixels, np.array([NONE]))
    assert found == pytest.approx(expected, rel=0.02, abs=1e-4)


def test_gradients_are_right() -> None:
    model = planted("notebook")
    cut = network.network(model)
    features = np.random.default_rng(2).uniform(0.1, 1, (2, 6, 8, 4)).astype(np.float32)
    found = network.gradients(cut, features, np.array([ALL, NONE]))
    step = np.zeros_like(features)
    step[0, 2, 3, 0] = step[1, 2, 3, 0] = 0.01
    up, down = np.asarray(cut.scores(features + step)), np.asarray(cut.scores(features - step))
    assert found[0, 2, 3, 0] == pytest.approx((up - down)[0, ALL] / 0.02, rel=0.02)
    assert found[1, 2, 3, 0] == pytest.approx((up - down)[1, NONE] / 0.02, rel=0.02)


def test_a_head_without_logits_is_explained_by_log_probability(photos: np.ndarray) -> None:
    import keras

    model = planted()
    dense = model.get_layer("logits")
    output = keras.layers.Dense(3, activation="softmax", name="probabilities")
    fused = keras.Model(model.input, output(dense.input))
    output.set_weights(dense.get_weights())
    cut = network.network(fused)
    assert (cut.score, network.network(model).score) == ("log-probability", "logit")
    heat = EXPLAINERS["grad-cam"].heat(fused, photos[:2], [ALL, NONE])
    assert heat[0, :, :4].max() > heat[0, :, 4:].max()


def test_models_that_cannot_be_explained() -> None:
    import keras

    with pytest.raises(RunError, match="backbone"):
        network.Network(keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]))


PLANTED_ON_BACKEND = """
import numpy as np
from planted import BLUE, RED, patch, planted
from allmasked.explaining.maps import EXPLAINERS
import keras
assert keras.backend.backend() == "jax"
photos = np.stack([np.asarray(patch(RED, (4, 8))), np.asarray(patch(BLUE, (44, 30)))])
model = planted()
rows = [row for row in EXPLAINERS.values() if not row.evidence_only]
np.save(__import__("sys").argv[1], np.stack([row.heat(model, photos, [0, 1]) for row in rows]))
"""


@pytest.mark.slow
def test_jax_gives_the_same_maps(tmp_path: Path, model: Any, photos: np.ndarray) -> None:
    pytest.importorskip("jax")
    path = os.pathsep.join([str(Path(explain.__file__).parents[2]), str(Path(__file__).parent)])
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": path}
    out = tmp_path / "heat.npy"
    subprocess.run([sys.executable, "-c", PLANTED_ON_BACKEND, str(out)], env=environment, check=True, timeout=300)
    here = np.stack([row.heat(model, photos[:2], [ALL, NONE]) for row in ON_SOFTMAX.values()])
    assert np.load(out) == pytest.approx(here, abs=1e-4)


def deletion(model: Any, photo: Image.Image, heat: np.ndarray, class_index: int, seed: int = 0) -> tuple[float, float]:
    region = (0, 0, *SIZE)
    return faithfulness.deletion_insertion(
        network.network(model), np.asarray(photo), heat, class_index, region, rng=np.random.default_rng(seed)
    )


@every
@pytest.mark.parametrize("where", [(4, 8), (44, 30), (24, 18)])
def test_every_explainer_beats_a_random_map(row: Explainer, where: tuple[int, int], model: Any) -> None:
    photo = patch(RED, where)
    heat = row.heat(model, np.asarray(photo)[None], [ALL])[0]
    own = deletion(model, photo, heat, ALL)
    rng = np.random.default_rng(3)
    others = np.array([deletion(model, photo, rng.random((6, 8), np.float32), ALL) for _ in range(5)])
    assert own[0] < others[:, 0].min() - 0.05
    assert own[1] > others[:, 1].max() + 0.05


def test_deletion_and_insertion_know_best_and_worst(model: Any) -> None:
    photo = patch(RED, (4, 8))
    best = np.zeros((48, 64), np.float32)
    best[8:20, 4:16] = 1
    good, bad = deletion(model, photo, best, ALL), deletion(model, photo, 1 - best, ALL)
    assert good[0] < 0.15 < 0.8 < bad[0]
    assert bad[1] < 0.55 < 0.8 < good[1]
    assert good == deletion(model, photo, best, ALL)


def test_the_bars_of_a_letterbox_do_not_count(model: Any) -> None:
    photo = np.full((48, 64, 3), px.PAD, np.uint8)
    photo[12:36] = np.asarray(patch(RED, (10, 4), (64, 24)))
    hot_bars = np.zeros((48, 64), np.float32)
    hot_bars[:12] = 1
    hot_bars[16:28, 10:22] = 0.5
    region = (0, 12, 64, 36)
    rng = np.random.default_rng(0)
    cut = network.network(model)
    assert faithfulness.deletion_insertion(cut, photo, hot_bars, ALL, region, rng=rng)[0] < 0.3


def labelled(folder: Path, count: int = 6) -> list[Photo]:
    """Photos of a red ("masked") or blue ("bare") face at random places, 128 x 96 px, with their boxes."""
    rng = np.random.default_rng(5)
    photos = []
    for number in range(count):
        x, y = int(rng.integers(0, 50)), int(rng.integers(0, 30))
        masked = number % 2 == 0
        patch(RED if masked else BLUE, (x, y)).resize((128, 96)).save(folder / f"{number}.png")
        face = Face("masked" if masked else "bare", 2 * x, 2 * y, 2 * x + 24, 2 * y + 24)
        photos.append(Photo(f"{number}.png", "all" if masked else "none", faces=(face,)))
    return photos


def test_measure_on_labelled_photos(tmp_path: Path, model: Any) -> None:
    photos = labelled(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    rows, broken = faithfulness.measure(
        model, [*photos, Photo("broken.png", "all")], tmp_path, "letterbox", explainers=["grad-cam", "cam"]
    )
    assert [row.explainer for row in rows] == ["grad-cam", "cam", "random"]
    assert [error.path for error in broken] == ["broken.png"]
    for row in rows[:2]:
        assert row.photos == row.pointing_photos == 6
        assert row.deletion_gain.low > 0.1
        assert row.insertion_gain.low > 0.03
        assert row.pointing is not None
        assert row.pointing.mean == 1
        assert row.deletion.low <= row.deletion.mean <= row.deletion.high
    assert rows[2].deletion_gain.mean == 0
    assert rows[2].pointing is not None
    assert rows[2].pointing.mean < 1
    with_nobody = [*photos, Photo(photos[0].path, "nobody")]  # nobody's face has to be found
    again, _ = faithfulness.measure(model, with_nobody, tmp_path, "letterbox", explainers=["grad-cam", "cam"])
    assert again[0] == rows[0]
    with pytest.raises(DataError, match="no photo to measure"):
        faithfulness.measure(model, [Photo("gone.png", "all")], tmp_path, "letterbox", explainers=["cam"])
    with pytest.raises(ConfigError, match="Did you mean 'grad-cam'"):
        faithfulness.measure(model, photos, tmp_path, "letterbox", explainers=["gradcam"])


def test_pointing_game_is_about_the_faces_of_the_label() -> None:
    faces = (Face("masked", 0, 0, 9, 9), Face("bare", 9, 0, 19, 9), Face("incorrect", 20, 0, 29, 9))
    kept = {label: [f.wear for f in faithfulness.faces_about(Photo("x", label, faces=faces))] for label in CLASSES}
    assert kept == {"all": ["masked"], "none": ["bare", "incorrect"], "some": ["masked", "bare", "incorrect"]}


def test_estimate_covers_the_mean() -> None:
    estimate = faithfulness.Estimate.of(np.arange(100) / 100)
    assert estimate.low < estimate.mean < estimate.high
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 0.2887 / 10, rel=0.15)
    assert str(faithfulness.Estimate(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
    alike = faithfulness.Estimate.of(np.repeat(np.arange(10) / 10, 10), np.repeat(np.arange(10), 10).tolist())
    assert alike.high - alike.low == pytest.approx(2 * 1.96 * 0.2872 / 10**0.5, rel=0.2), "ten groups, not 100 photos"


def test_heat_lies_on_the_photo_not_on_the_bars() -> None:
    heat = np.zeros((6, 8), np.float32)
    heat[1, 6] = 1  # in a 3:1 photo's input of 64 x 48, rows 0 and 5 are bars
    for photo, expected in (((300, 150), (64, 32)), ((640, 480), (64, 48)), ((100, 400), (12, 48))):
        assert draw.on_photo(heat, photo, InputSpec(SIZE)).shape == expected[::-1]
    on = draw.on_photo(heat, (640, 320), InputSpec(SIZE))
    y, x = np.unravel_index(on.argmax(), on.shape)
    assert (abs(x - 52) <= 2, abs(y - (12 - 8)) <= 2) == (True, True)
    assert draw.on_photo(heat, (640, 320), InputSpec(SIZE, "stretch")).shape == (48, 64)


def predictor_of(model: Any) -> Any:
    cut = network.network(model)

    def answer(pixels: np.ndarray) -> Answers:
        return Answers(cut.probabilities(pixels))

    facts = {"name": "planted", "input": InputSpec(SIZE), "finds_faces": False, "network": model}
    return SimpleNamespace(**facts, answer=answer)


def test_pictures_and_grid(tmp_path: Path, model: Any) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    photos = []
    for folder, colour, name in (
        ("all", RED, "x.jpg"),
        ("none", BLUE, "x.png"),
        ("some", RED, "X.bmp"),
        ("b", RED, "x-2.jpg"),
    ):
        (data / folder).mkdir(parents=True)
        path = data / folder / name
        patch(colour, (20, 20), (200, 100), 40).save(path)
        photos.append((str(path), str(path)))
    broken = data / "broken.jpg"
    broken.write_bytes(b"nothing")
    photos.insert(1, ("broken.jpg", str(broken)))
    explanations = explain.explain_paths(predictor_of(model), photos, batch_size=2)
    results = list(pictures.write_pictures(explanations, out, InputSpec(SIZE)))
    assert [e.prediction.label for e, _ in results] == ["all", None, "none", "all", "all"]
    assert results[1][1] is None
    assert "not a photo" in results[1][0].prediction.error
    names = [path.name for _, path in results if path]
    assert len({name.lower() for name in names}) == 4
    assert sorted(p.name for p in out.iterdir()) == sorted([*names, "grid.png"])
    with Image.open(out / names[0]) as image:
        assert image.size == (200, 100)
        changed = np.abs(np.asarray(image, int) - np.asarray(patch(RED, (20, 20), (200, 100), 40), int)).sum(-1)
    y, x = np.unravel_index(changed.argmax(), changed.shape)
    assert 15 <= x <= 65
    assert 15 <= y <= 65
    assert changed[:, 150:].mean() < 40  # JPEG noise
    assert changed[20:60, 20:60].mean() > 2 * changed[:, 150:].mean()
    with Image.open(out / "grid.png") as grid:
        assert (np.asarray(grid)[..., 1] > 200).any()


def test_names_of_pictures() -> None:
    names = pictures.Names()
    given = ["a/a.jpg", "b/a.png", "a-2.jpg", "c/A.jpg", "x/" + "口" * 80 + ".jpg"]
    found = [names.of(path) for path in given]
    assert found[:4] == ["a", "a-2", "a-2-2", "A-3"] and len(os.fsencode(found[4] + ".grad-cam.members.jpg")) < 255


def test_photos_are_decoded_as_for_predict(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large JPEG is decoded smaller than it is; boxes and heat still lie on the whole photo."""
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    path = tmp_path / "all" / "large.jpg"
    path.parent.mkdir()
    Image.fromarray(noise).save(path)
    wanted = px.read(path, InputSpec(SIZE))
    assert (wanted != px.to_input(px.decode(path), InputSpec(SIZE))).any(), "or the test means nothing"
    seen: list[np.ndarray] = []
    predictor, cut = predictor_of(model), network.network(model)
    own, probabilities = predictor.answer, cut.probabilities
    predictor.answer = lambda pixels: seen.append(pixels[0]) or own(pixels)
    (found,) = explain.explain_paths(predictor, [("large", path)])
    assert found.heat is not None
    monkeypatch.setattr(cut, "probabilities", lambda pixels: seen.append(pixels[0]) or probabilities(pixels))
    face = Face("masked", 0, 0, 800, 600)  # all of the photo, so that every map points at it
    rows, broken = faithfulness.measure(
        cut, [Photo("all/large.jpg", "all", faces=(face,))], tmp_path, "letterbox", explainers=["cam"], steps=2
    )
    assert not broken and rows[0].pointing is not None and rows[0].pointing.mean == 1
    np.testing.assert_array_equal(seen[0], wanted)
    np.testing.assert_array_equal(seen[1], wanted)


def test_wanted_class_and_true_label(tmp_path: Path, model: Any) -> None:
    path = tmp_path / "none" / "x.png"
    path.parent.mkdir()
    patch(BLUE, (20, 20)).save(path)
    (found,) = explain.explain_paths(predictor_of(model), [("x", path)], wanted="all", explainer="cam")
    assert (found.explained, found.prediction.label, pictures.true_label(path)) == ("all", "none", "none")
    assert pictures.true_label(tmp_path / "x.png") is None
    with pytest.raises(ConfigError, match="unknown explainer"):
        next(explain.explain_paths(predictor_of(model), [], explainer="lime"))
