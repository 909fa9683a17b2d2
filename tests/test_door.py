"""The door for Python users: what is public, what a model takes, what an answer tells; devices."""

from __future__ import annotations

import io
import itertools
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

import allmasked
from allmasked.cli.answers import COLUMNS
from allmasked.core.errors import ConfigError, PhotoError, RunError
from allmasked.core.types import LABELS, Answers, Counting
from allmasked.model import Answer, Model, load
from allmasked.networks.reading import Calibration
from allmasked.predictors import devices
from allmasked.predictors.onnx_model import DEFAULT, OnnxPredictor
from allmasked.predictors.photo_files import find_photos
from colour_model import BLUE, ColourModel, encoded, picture

HEAVY = ("numpy", "PIL", "onnxruntime", "keras", "tensorflow", "scipy", "click", "rich")


class Blind(ColourModel):
    finds_faces = False

    def answer(self, pixels: np.ndarray) -> Answers:
        return Answers(super().answer(pixels).probabilities)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A drawn photo of each label, and one that is none."""
    monkeypatch.chdir(tmp_path)
    for label in LABELS:
        Path("photos", label).mkdir(parents=True)
        picture(label).save(f"photos/{label}/1.png")
    Path("photos/broken.jpg").write_bytes(b"nothing")
    return [f"photos/{label}/1.png" for label in sorted(LABELS)]


# --- what is public --------------------------------------------------------------------------------------------------


def test_the_public_names_are_pinned() -> None:
    assert allmasked.__all__ == [
        "AllmaskedError", "Answer", "ConfigError", "DataError", "FoundFace", "MissingExtraError", "Model", "PhotoError",
        "RunError", "WeightsError", "__version__", "compare", "ensemble", "evaluate", "explain", "export", "inspect",
        "load", "split", "train",
    ]  # fmt: skip
    assert set(allmasked.__all__) <= set(dir(allmasked))
    for name in allmasked.__all__:
        assert getattr(allmasked, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        allmasked.laod  # noqa: B018
    modules = {module.name for module in pkgutil.iter_modules(allmasked.__path__)}
    assert not modules & set(allmasked.__all__), "an import of such a module would take the function's place"


def test_importing_it_loads_nothing_heavy() -> None:
    code = f"import sys, allmasked; dir(allmasked); print([name for name in {HEAVY!r} if name in sys.modules])"
    environment = {"PYTHONPATH": str(Path(allmasked.__file__).parents[1])}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_answering_loads_no_ensembles_and_no_training() -> None:
    code = (
        "import sys, numpy, allmasked; allmasked.load()(numpy.zeros((48, 64, 3), numpy.uint8));"
        "print([n for n in sys.modules if n.split('.')[0] in ('keras', 'tensorflow', 'sklearn', 'click')"
        " or n.startswith(('allmasked.predictors.ensemble', 'allmasked.data', 'allmasked.training'))])"
    )
    environment = {"PYTHONPATH": str(Path(allmasked.__file__).parents[1])}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_answering_tells_nobody_of_it(tmp_path: Path) -> None:
    """ONNX Runtime 1.32 keeps events of its use below the home folder and sends them to its maker if it may."""
    code = "import numpy, allmasked; print(allmasked.load()(numpy.zeros((48, 64, 3), numpy.uint8)).label)"
    environment = {"PYTHONPATH": str(Path(allmasked.__file__).parents[1]), "HOME": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "nobody\n"
    assert list(tmp_path.rglob("*")) == []


# --- one photo -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_a_photo_may_come_in_any_shape(label: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    picture(label, (640, 480)).save(path)
    model = Model(ColourModel())
    expected = model(path)
    assert (expected.label, expected.width, expected.height, expected.path) == (label, 640, 480, str(path))
    with path.open("rb") as file, Image.open(path) as image:
        shapes = [str(path), path.read_bytes(), file, io.BytesIO(path.read_bytes()), image, np.asarray(image)]
        for shape in shapes:
            found = model(shape)
            assert found.to_dict() | {"path": ""} == expected.to_dict() | {"path": ""}, type(shape)
    assert model(path.read_bytes()).name == "photo 1"


def test_a_turned_photo_is_upright_in_every_shape(tmp_path: Path) -> None:
    image = picture("some", (640, 480))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "x.png", exif=exif)
    model = Model(ColourModel())
    for shape in (tmp_path / "x.png", (tmp_path / "x.png").read_bytes(), Image.open(tmp_path / "x.png")):
        found = model(shape)
        assert (found.width, found.height, found.label) == (640, 480, "some")
        assert found.faces is not None
        assert min(face.left for face in found.faces) == pytest.approx(80, abs=45)


@pytest.mark.parametrize(
    ("photo", "line"),
    [
        ("gone.png", "gone.png: no such file"),
        (".", ".: is a folder, not a photo"),
        (b"", "photo 1: the file is empty (0 bytes)"),
        (b"nothing", "photo 1: is not a photo in a known format"),
        (np.zeros((4, 4), np.uint8), "must be (height, width, 3) uint8 RGB 0-255, not (4, 4) uint8"),
        (np.zeros((4, 4, 3)), "must be (height, width, 3) uint8 RGB 0-255, not (4, 4, 3) float64"),
        (np.zeros((4, 4, 4), np.uint8), "not (4, 4, 4) uint8"),
        (np.zeros((0, 4, 3), np.uint8), "has no pixels (4 x 0)"),
        (io.StringIO("text"), "is no photo but StringIO: give a path, bytes"),
    ],
)
def test_what_is_no_photo_gets_one_line(photo: Any, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Model(ColourModel())
    with pytest.raises(PhotoError) as error:
        model(photo)
    assert line in str(error.value) and "\n" not in str(error.value)
    if not (isinstance(photo, str) and photo == "."):
        (found,) = model.predict([photo])
        assert found.error and found.error in str(error.value)


@pytest.mark.parametrize("photo", [None, 3, ["a.png"], np.zeros((2, 4, 4, 3), np.uint8)])
def test_many_photos_are_for_predict(photo: Any) -> None:
    with pytest.raises(ConfigError, match="is called with one photo"):
        Model(ColourModel())(photo)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"min_face_px": -1}, "min_face_px = -1: must be a number of px from 0"),
        ({"min_face_px": float("nan")}, "min_face_px = nan"),
        ({"min_face_share": 1.5}, "min_face_share = 1.5: must be from 0 to 1"),
        ({"tiles": "often"}, "must be one of never, unsure, always"),
    ],
)
def test_wrong_options_are_told_before_the_first_photo(options: dict[str, Any], line: str) -> None:
    model = Model(ColourModel())
    with pytest.raises(ConfigError, match=line):
        model(picture("all"), **options)
    with pytest.raises(ConfigError, match=line):
        model.predict(iter([]), **options)
    with pytest.raises(ConfigError, match="batch_size = 0"):
        model.predict([], batch_size=0)
    with pytest.raises(ConfigError, match="threads = 0"):
        load(threads=0)


def test_which_faces_count_and_a_closer_look() -> None:
    image = Image.new("RGB", (640, 480), (128, 128, 128))
    image.paste(BLUE, (400, 80, 560, 240))
    image.paste((230, 180, 150), (42, 42, 102, 102))
    model = Model(ColourModel())
    assert model(image).label == "all" and model(image, tiles="always").label == "some"
    assert model(image, min_face_px=200).label == "nobody"
    assert model(image, tiles="always", min_face_share=0.9).label == "all"
    own = Model(ColourModel(calibration=Calibration(counting=Counting(min_face_px=17))))
    assert own(image).label == "nobody" and own(image, min_face_px=0).label == "all"


# --- many photos -----------------------------------------------------------------------------------------------------


def test_a_folder_a_pattern_a_list_and_a_generator(photos: list[str]) -> None:
    model = Model(ColourModel())
    for source in ("photos", Path("photos"), "photos/**/*", ["photos"], iter(["photos"])):
        found = list(model.predict(source))
        assert [one.path for one in found] == [path for _, path in find_photos(["photos"])]
        assert [one.label for one in found if not one.error] == sorted(LABELS)
    found = list(model.predict("photos/[as]*/*.png"))
    assert [one.label for one in found] == ["all", "some"]
    mixed = ["gone.png", Path(photos[0]), encoded("none"), picture("some"), np.asarray(picture("nobody"))]
    found = list(model.predict(photo for photo in mixed))
    assert [one.path for one in found] == ["gone.png", photos[0], "photo 3", "photo 4", "photo 5"]
    assert [one.label for one in found] == [None, "all", "none", "some", "nobody"]
    array = np.stack([np.asarray(picture(label)) for label in LABELS])
    assert [one.label for one in model.predict(array)] == list(LABELS)
    assert [one.label for one in model.predict(array[0])] == [LABELS[0]]
    assert [one.label for one in model.predict(encoded("some"))] == ["some"]
    assert list(model.predict([])) == []
    with pytest.raises(ConfigError, match="or many of these, not int"):
        model.predict(3)  # type: ignore[arg-type]


@pytest.mark.usefixtures("photos")
def test_a_photo_that_cannot_be_read_is_an_answer() -> None:
    found = next(answer for answer in Model(ColourModel()).predict("photos") if answer.error)
    assert found.error == "is not a photo in a known format" and str(found) == f"photos/broken.jpg: {found.error}"
    assert (found.label, found.probabilities, found.p_all, found.sure, found.faces) == (None,) * 5
    assert found.to_dict()["error"] == found.error and found.confidence == 0
    with pytest.raises(PhotoError, match=r"photos/broken\.jpg: is not a photo"):
        found.plot()
    assert found._repr_png_() is None and "broken.jpg" in str(found._repr_html_())


def test_photos_are_taken_as_needed(photos: list[str]) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for path in itertools.cycle(photos):
            taken += 1
            yield path

    answers = Model(ColourModel(), threads=2).predict(endless(), batch_size=4)
    for count in range(1, 50):
        assert next(answers).path == photos[(count - 1) % 4]
        assert taken <= count + 3 * 4 + 2


# --- the answer ------------------------------------------------------------------------------------------------------


def test_an_answer_is_one_plain_line_and_plain_values() -> None:
    found = Model(ColourModel())(picture("some", (640, 480)))
    assert str(found) == f"photo 1: some, {found.confidence:.2f} sure, 1 masked, 1 bare"
    assert found.p_all is not None and found.p_none is not None and found.p_some is not None
    assert found.p_all + found.p_none + found.p_some + (found.p_nobody or 0) == pytest.approx(1)
    values = json.loads(json.dumps(found.to_dict()))
    assert tuple(found.to_dict(boxes=False)) == COLUMNS
    assert [face["wear"] for face in values["faces"]] == [face.wear for face in found.faces or ()]
    blind = Model(Blind())(picture("all"))
    assert (blind.faces, blind.masked, blind.to_dict()["faces"]) == (None, None, None)
    assert str(blind) == f"photo 1: all, {blind.confidence:.2f} sure"
    assert found == Model(ColourModel())(picture("some", (640, 480))), "equal where all that it tells is equal"
    with pytest.raises(AttributeError):
        found.label = "all"  # type: ignore[misc]


def test_an_answer_draws_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    picture("some", (640, 480)).save(path)
    model = Model(ColourModel())
    for photo in (path, path.read_bytes(), Image.open(path), io.BytesIO(path.read_bytes())):
        found = model(photo)
        drawn = found.plot()
        assert drawn.mode == "RGB" and drawn.width == 800 and drawn.height > 600
        shown = Image.open(io.BytesIO(found._repr_png_() or b""))
        assert shown.format == "PNG" and max(shown.size) == 800
        assert found._repr_html_() is None
    heat = np.asarray(found.plot(heat=True), int)
    assert np.abs(heat[: drawn.height - 60] - np.asarray(drawn, int)[: drawn.height - 60]).max() > 30
    answer = model(path)
    path.unlink()
    with pytest.raises(PhotoError, match="no such file"):
        answer.plot()
    assert answer._repr_png_() is None
    with pytest.raises(RunError, match="does not say where"):
        Model(Blind())(picture("all")).plot(heat=True)


def test_the_model_says_what_it_is() -> None:
    model = Model(ColourModel())
    assert repr(model) == "<allmasked.Model 'colours', 64 x 48 px>"
    assert (model.name, model.size, model.resize_mode, model.finds_faces) == ("colours", (64, 48), "letterbox", True)
    assert isinstance(model(picture("all")), Answer)
    with pytest.raises(RunError, match="no such run folder"):
        load("gone")


# --- devices ---------------------------------------------------------------------------------------------------------

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def test_which_providers_a_device_stands_for() -> None:
    assert devices.providers_for("auto", [CUDA, CPU]) == [CUDA, CPU]
    assert devices.providers_for("auto", ["CoreMLExecutionProvider", CPU]) == [CPU]
    assert devices.providers_for("cuda", [CUDA, CPU]) == [CUDA, CPU]
    assert devices.providers_for("cpu", [CUDA, CPU]) == [CPU]
    with pytest.raises(ConfigError, match=r"can't use it, only cpu \(.*onnxruntime-gpu\), or take 'cpu'"):
        devices.providers_for("cuda", ["AzureExecutionProvider", CPU])
    with pytest.raises(ConfigError, match=r"unknown device 'cude'\. Did you mean 'cuda'\?"):
        load(device="cude")


def test_a_card_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    asked: list[list[str]] = []
    real = onnxruntime.InferenceSession

    def without_card(path: str, options: Any, providers: list[str], **more: Any) -> Any:
        """As ONNX Runtime does where the driver is missing: it goes on with the processors."""
        asked.append(providers)
        return real(path, options, providers=[CPU], **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", without_card)
    with pytest.raises(ConfigError, match="device 'cuda': ONNX Runtime can't use it here"):
        load(device="cuda")
    assert asked[0] == [CUDA, CPU]
    assert load(threads=1)(picture("nobody")).label == "nobody", "auto goes on without"


def test_a_batch_as_a_whole_is_answered_as_photo_by_photo() -> None:
    one_by_one = OnnxPredictor.open(DEFAULT, threads=1)
    whole = OnnxPredictor(one_by_one.metadata, one_by_one.session, batches=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 384, 512, 3), np.uint8)
    found, expected = whole.answer(pixels), one_by_one.answer(pixels)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
    assert found.evidence is not None and expected.evidence is not None
    np.testing.assert_allclose(found.evidence, expected.evidence, atol=1e-4)


def test_a_card_gets_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    metadata = OnnxPredictor.open(DEFAULT, threads=1).metadata.strings()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    facts = SimpleNamespace(custom_metadata_map=metadata)
    session = SimpleNamespace(get_modelmeta=lambda: facts, get_providers=lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_args, **_options: session)
    for device in ("auto", "cuda"):
        predictor = load(device=device).predictor
        assert isinstance(predictor, OnnxPredictor) and predictor.batches


def test_what_is_given_may_change_right_after() -> None:
    model = Model(ColourModel())
    pictures = [np.asarray(picture(label)) for label in ("none", "some", "all")]

    def refilled() -> Iterator[np.ndarray]:
        buffer = np.zeros_like(pictures[0])
        for pixels in pictures:
            buffer[:] = pixels
            yield buffer

    assert [answer.label for answer in model.predict(refilled())] == ["none", "some", "all"]
    stream = io.BytesIO()
    first, *others = (Image.fromarray(pixels) for pixels in pictures)
    first.save(stream, "TIFF", save_all=True, append_images=others)
    frames = ImageSequence.Iterator(Image.open(stream))
    assert [answer.label for answer in model.predict(frames)] == ["none", "some", "all"]


def test_photos_in_other_containers(photos: list[str]) -> None:
    model, path = Model(ColourModel()), photos[0]
    label = model(path).label
    with Path(path).open("rb") as file:
        assert model(file).label == model(file).label == label, "read from its beginning again"
    content = Path(path).read_bytes()
    assert model(bytearray(content)).label == model(memoryview(content)).label == label
    assert [answer.path for answer in model.predict(np.array(photos))] == photos
    assert model(f"file://{Path(path).absolute()}").label == label


def test_a_damaged_image_object_is_a_photos_error(photos: list[str]) -> None:
    model = Model(ColourModel())
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(stream, "JPEG")
    half = io.BytesIO(stream.getvalue()[: len(stream.getvalue()) // 2])
    first, broken, last = model.predict([photos[0], Image.open(half), photos[1]])
    assert first.label and last.label and broken.error
    with pytest.raises(PhotoError):
        model(Image.open(io.BytesIO(half.getvalue())))
