"""Photos in, predictions out: in order, whatever the batch, whatever is broken, in constant memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from allmasked.core.errors import RunError
from allmasked.core.types import CLASSES, Answers, Counting, InputSpec, Predictor
from allmasked.networks.reading import Calibration
from allmasked.predictors import predictor as predictors
from allmasked.predictors.photo_files import find_photos
from allmasked.predictors.predictor import KerasPredictor, Look, open_predictor, predict_paths
from colour_model import BLUE as MASK
from colour_model import GREY, SKIN, ColourModel
from planted import BLUE, RED, SIZE, patch, planted, save_run


class Brightness(Predictor):
    """p_all = mean brightness; needs no Keras. Notes its batches."""

    name = "brightness"
    input = InputSpec((8, 6), "stretch")
    finds_faces = False

    def __init__(self) -> None:
        self.batches: list[int] = []

    def answer(self, pixels: np.ndarray) -> Answers:
        return Answers(self.predict(pixels))

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        assert pixels.shape[1:] == (6, 8, 3)
        assert pixels.dtype == np.uint8
        self.batches.append(len(pixels))
        bright = pixels.reshape(len(pixels), -1).mean(1) / 255
        return np.stack([bright, 1 - bright, 0 * bright], 1).astype(np.float32)


def grey(path: Path, level: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), (level,) * 3).save(path)
    return str(path)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
@pytest.mark.parametrize("threads", [1, 5, None])
def test_order_and_errors(tmp_path: Path, batch_size: int, threads: int | None) -> None:
    paths = [grey(tmp_path / f"{level}.png", level) for level in range(0, 255, 15)]
    paths[4] = str(tmp_path / "gone.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    paths[9] = str(broken)
    model = Brightness()
    found = list(predict_paths(model, [(f"n{p}", p) for p in paths], batch_size=batch_size, threads=threads))
    assert [p.path for p in found] == [f"n{p}" for p in paths]
    assert [i for i, p in enumerate(found) if p.error] == [4, 9]
    assert found[4].error == "no such file"
    assert found[4].label is None is found[4].probabilities
    assert max(model.batches) <= batch_size
    for level, prediction in zip(range(0, 255, 15), found, strict=True):
        if prediction.probabilities:
            assert prediction.probabilities[0] == pytest.approx(level / 255, abs=1e-6)
            assert prediction.label == CLASSES[int(np.argmax(prediction.probabilities))]


def test_no_photos_and_only_broken_photos() -> None:
    assert list(predict_paths(Brightness(), [])) == []
    model = Brightness()
    assert [p.error for p in predict_paths(model, [("x", "gone"), ("y", "gone")])] == ["no such file"] * 2
    assert model.batches == []


def test_photos_are_taken_as_needed_and_none_is_kept(tmp_path: Path) -> None:
    path = grey(tmp_path / "x.png", 9)
    taken = 0

    def endless() -> Iterator[tuple[str, str]]:
        nonlocal taken
        while True:
            taken += 1
            yield f"{taken}", path

    answers = predict_paths(Brightness(), endless(), batch_size=4, threads=2)
    for count in range(1, 200):
        assert next(answers).path == f"{count}"
        assert taken <= count + 3 * 4 + 2
    answers.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_a_failing_network_is_told_and_leaves_no_threads(tmp_path: Path) -> None:
    class Failing(Brightness):
        def predict(self, pixels: np.ndarray) -> np.ndarray:  # noqa: ARG002
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(predict_paths(Failing(), [("x", grey(tmp_path / "x.png", 9))] * 50, batch_size=4))
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_which_faces_count_is_the_models_rule_unless_told(tmp_path: Path) -> None:
    image = Image.new("RGB", (640, 480), GREY)
    image.paste(MASK, (80, 80, 240, 400))  # 320 px high, 32 in the input
    image.paste(SKIN, (400, 160, 480, 240))  # 80 px high, 8 in the input
    image.save(tmp_path / "x.png")
    for own, look, label in (
        (Counting(), Look(), "some"),
        (Counting(min_face_px=9), Look(), "all"),
        (Counting(min_face_share=0.3), Look(), "all"),
        (Counting(min_face_px=9), Look(min_face_px=0), "some"),
        (Counting(min_face_share=0.3), Look(min_face_share=0.2), "some"),
        (Counting(), Look(min_face_px=79), "some"),
        (Counting(), Look(min_face_px=81), "all"),
        (Counting(), Look(min_face_share=0.26), "all"),
        (Counting(min_face_share=0.3), Look(min_face_px=0), "all"),
    ):
        model = ColourModel(calibration=Calibration(counting=own))
        (found,) = predict_paths(model, [("x", tmp_path / "x.png")], look=look)
        assert (found.label, found.masked, found.bare) == (label, 1, int(label == "some")), (own, look)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b/2.jpg", "b/10.PNG", "a.jpeg", "b/c/x.webp", "b/.hidden.jpg", ".git/y.jpg", "[1].jpg"):
        grey(tmp_path / name, 1)
    (tmp_path / "b/notes.txt").write_text("x")
    (tmp_path / "b/c/up").symlink_to(tmp_path / "b")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "linked").symlink_to(tmp_path / "b" / "c")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*paths: str, **options: bool) -> list[str]:
    found = list(find_photos(paths, **options))
    assert all(name == path for name, path in found)
    return [name for name, _ in found]


def test_folders_are_searched_sorted_without_loops(tree: Path) -> None:
    assert names("b") == ["b/10.PNG", "b/2.jpg", "b/c/x.webp"]
    here = ["[1].jpg", "a.jpeg", "b/10.PNG", "b/2.jpg", "b/c/x.webp", "loop.jpg"]
    assert names(".") == [f"./{name}" for name in here]
    assert names("b/") == names("b")
    assert names(str(tree / "b")) == [str(tree / name) for name in names("b")]
    assert names("empty") == []
    assert names("linked") == ["linked/x.webp"]


def test_files_patterns_and_what_is_missing(tree: Path) -> None:
    assert names("b/2.jpg", "b/notes.txt", "gone.jpg", ".") == ["b/2.jpg", "b/notes.txt", "gone.jpg", *names(".")]
    assert names("b/*.jpg") == ["b/2.jpg"]
    assert names("b/*") == ["b/10.PNG", "b/2.jpg", "b/c/x.webp"]
    assert names("b/**") == ["b/10.PNG", "b/2.jpg", "b/c/x.webp"]
    assert names("**/*.jp*g") == ["[1].jpg", "a.jpeg", "b/2.jpg", "loop.jpg"]
    assert names("b/**/*.webp") == names("**/c/*") == names("*/c/**") == names("**/x.webp") == ["b/c/x.webp"]
    assert names(f"{tree}/**/2.*") == [f"{tree}/b/2.jpg"]
    assert names("[1].jpg") == ["[1].jpg"]  # a file of that name comes before the pattern
    assert names("no*thing") == []
    assert names("no*thing", patterns=False) == ["no*thing"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_an_error(tree: Path) -> None:
    (tree / "b").chmod(0)
    assert names("b") == ["b"]
    (tree / "b").chmod(0o755)


def test_opening_what_is_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        open_predictor(tmp_path / "gone")
    with pytest.raises(RunError, match="not a run folder"):
        open_predictor(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RunError, match=r"not finished.*--resume"):
        open_predictor(tmp_path)
    with pytest.raises(RunError, match="is no model"):
        open_predictor(tmp_path / "config.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("keras")
    return save_run(tmp_path_factory.mktemp("runs") / "planted", planted())


def test_a_broken_or_foreign_model_is_one_line(run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((run / "config.json").read_bytes())
    (broken / "model.keras").write_bytes((run / "model.keras").read_bytes()[:1000])
    with pytest.raises(RunError, match=r"model\.keras") as caught:
        open_predictor(broken)
    assert "\n" not in str(caught.value)
    other = save_run(tmp_path / "other", planted(size=(32, 32)))
    (other / "config.json").write_bytes((run / "config.json").read_bytes())
    with pytest.raises(RunError, match="do not fit each other"):
        open_predictor(other)


def test_a_keras_run_answers(run: Path, tmp_path: Path) -> None:
    model = open_predictor(run)
    assert isinstance(model, KerasPredictor)
    assert (model.name, model.input) == ("planted", InputSpec(SIZE))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (37, *SIZE[::-1], 3), np.uint8)
    pixels[0], pixels[1] = patch(RED, (4, 8)), patch(BLUE, (44, 30))
    found = model.predict(pixels)
    assert found.shape == (37, 3)
    assert found.dtype == np.float32
    assert found.sum(1) == pytest.approx(np.ones(37), abs=1e-5)
    assert found[:2].argmax(1).tolist() == [0, 1]
    assert np.array_equal(found, model.predict(pixels))
    for batch in (1, 5, 16, 37):  # any batch size gives the same
        parts = [model.predict(pixels[start : start + batch]) for start in range(0, 37, batch)]
        assert np.concatenate(parts) == pytest.approx(found, abs=1e-5)
    assert model.predict(pixels[:0]).shape == (0, 3)
    path = tmp_path / "x.png"
    patch(RED, (4, 8)).save(path)
    (prediction,) = predict_paths(model, [("x", path)])
    assert prediction.probabilities == pytest.approx(found[0].tolist(), abs=1e-5)


def test_few_shapes_reach_the_network() -> None:
    shapes: set[int] = set()

    class Noting:
        def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
            shapes.add(len(batch))
            return np.full((len(batch), 3), 1 / 3)

    network = Noting()
    model = KerasPredictor("x", InputSpec(SIZE, "stretch"), network, network)  # type: ignore[arg-type]
    for count in range(1, 33):
        assert len(model.predict(np.zeros((count, 2, 2, 3), np.uint8))) == count
    assert shapes == {1, 2, 4, 8, 16, 32}
    network.predict_on_batch = lambda batch: np.full((len(batch), 3), np.nan)  # type: ignore[method-assign]
    with pytest.raises(RunError, match="are no numbers"):
        model.predict(np.zeros((1, 2, 2, 3), np.uint8))


WITHOUT_KERAS = """
import sys
for name in ("keras", "tensorflow", "jax", "torch", "matplotlib", "cv2", "sklearn", "scipy"):
    sys.modules[name] = None
import allmasked.predictors.predictor, allmasked.explaining.explain, allmasked.explaining.faithfulness
import allmasked.annotate, allmasked.cli.answers
from allmasked.core.errors import MissingExtraError
try:
    allmasked.predictors.predictor.open_predictor(sys.argv[1])
except MissingExtraError as error:
    print(error)
"""


def test_without_keras_only_opening_a_run_fails(tmp_path: Path) -> None:
    for name in ("config.json", "model.keras"):
        (tmp_path / name).write_text("{}")
    environment = {**os.environ, "PYTHONPATH": str(Path(predictors.__file__).parents[2])}
    command = [sys.executable, "-c", WITHOUT_KERAS, str(tmp_path)]
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "pip install 'allmasked[train]'" in result.stdout
