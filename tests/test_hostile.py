"""Files of strangers: what they may ask for, and where they may lead. Each test makes its hostile file itself."""

from __future__ import annotations

import io
import json
import os
import struct
import threading
import time
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from allmasked import annotate
from allmasked.core import runs
from allmasked.core.config import TrainConfig
from allmasked.core.errors import AllmaskedError, DataError, PhotoError, RunError, WeightsError
from allmasked.core.text import shown
from allmasked.core.types import InputSpec, Prediction
from allmasked.data import albums, detection
from allmasked.data.annotations import Notes, Options
from allmasked.data.dataset import read_split
from allmasked.data.readers import read as read_dataset
from allmasked.predictors import onnx_model
from allmasked.predictors.predictor import Answered, open_predictor, predict_paths

DEEP = 200_000


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), (90, 120, 90)).save(path)
    return path


def told(error: pytest.ExceptionInfo[AllmaskedError], path: Path) -> str:
    """The one line that an error is, which names the file."""
    line = str(error.value)
    assert str(path) in line and "\n" not in line and len(line) < 400
    return line


# --- XML --------------------------------------------------------------------------------------------------------------

LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY j SYSTEM "file:///etc/passwd">'


def problems(folder: Path) -> list[str]:
    """What reading a folder as Pascal VOC says of its XML file."""
    notes = Notes()
    began = time.process_time()  # of this process alone: a busy machine is no fault
    detection.read_voc(folder, Options(), notes)
    assert time.process_time() - began < 5
    return [problem.reason for problem in notes.problems if problem.path.startswith("a.xml")]


@pytest.mark.parametrize("declared", ["UTF-8", "utf-16", "utf-7", "cp037"])
@pytest.mark.parametrize(("declaration", "used"), [(LAUGHS, "&j;"), (OUTSIDE, "&j;"), ("<!DOCTYPE x [", "")])
def test_xml_declares_nothing_in_any_encoding(tmp_path: Path, declared: str, declaration: str, used: str) -> None:
    text = f"{declaration}]><annotation><filename>{used}</filename></annotation>"
    head = f'<?xml version="1.0" encoding="{declared}"?>'
    photo(tmp_path / "a.png")
    contents = [(head + text).encode(declared)]
    if declared in ("utf-7", "cp037"):  # the declaration must be legible before the encoding is known
        contents = [head.encode() + text.encode(declared)]
    if declared == "utf-16":
        contents += [(head + text).encode("utf-16-le"), (head + text).encode("utf-16-be"), text.encode("utf-16")]
    for content in contents:
        (tmp_path / "a.xml").write_bytes(content)
        assert not detection.detect_voc(tmp_path, Options())
        assert len(problems(tmp_path)) == 1


def test_xml_as_deep_as_the_sea(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text("<annotation>" * DEEP + "</annotation>" * DEEP)
    assert detection.detect_voc(tmp_path, Options()) and problems(tmp_path) == []


@pytest.mark.parametrize("encoding", ["idna", "punycode", "rot13", "zlib", "no-such"])
def test_xml_names_no_encoding_that_is_none(tmp_path: Path, encoding: str) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(f'<?xml version="1.0" encoding="{encoding}"?><annotation/>')
    assert len(problems(tmp_path)) == 1


# --- JSON, YAML, text -------------------------------------------------------------------------------------------------

JSONS = {
    "deep lists": "[" * DEEP + "]" * DEEP,
    "deep tables": '{"a":' * DEEP + "1" + "}" * DEEP,
    "digits": '{"images": ' + "9" * 100_000 + "}",
    "half a sign": '{"images": ["\\ud800"]}',  # found by bench/fuzz.py: it can't be written into a page
}


@pytest.mark.parametrize("content", JSONS.values(), ids=list(JSONS))
@pytest.mark.parametrize(("read", "kind"), [(albums.read_document, DataError), (runs.read_json, RunError)])
def test_json_without_end_gets_one_line(
    tmp_path: Path, content: str, read: Callable[[Path], Any], kind: type[AllmaskedError]
) -> None:
    file = tmp_path / "a.json"
    file.write_text(content)
    with pytest.raises(kind) as error:
        read(file)
    told(error, file)


def test_files_that_are_too_large_are_not_read(tmp_path: Path) -> None:
    """Sparse files: they are large and take no room."""
    for name, read in (("a.json", albums.read_document), ("b.json", runs.read_json), ("c.txt", albums.read_text)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(30_000_000_000)
        with pytest.raises(AllmaskedError, match="is too large") as error:
            read(tmp_path / name)
        told(error, tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_is_no_file_of_labels(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    errors: list[DataError] = []

    def read() -> None:
        try:
            albums.read_text(tmp_path / "a.txt")
        except DataError as error:
            errors.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)
    assert not reader.is_alive(), "it waits for the pipe's other end"
    assert "is no ordinary file" in str(errors[0])


YAMLS = {
    "an object": "names: !!python/object/apply:os.system ['touch MARK']\n",
    "references to references": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 25))
    + "names: *a24\ntrain: *a24\nnc: *a24\n",
    "references among the classes": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 25))
    + "names: {0: *a24}\n",
    "deep": "names: " + "[" * 20_000 + "]" * 20_000,
    "odd numbers": "names: {²: mask, ٣: bare}\nkpt_shape: [²,²]\n",
    "digits": f"names: {{{'9' * 900}: mask}}\n",
    "a sign that is none": "\0names: [mask]\n",  # found by bench/fuzz.py
}


@pytest.mark.parametrize("content", YAMLS.values(), ids=list(YAMLS))
def test_yaml_makes_nothing_but_text_and_that_at_once(tmp_path: Path, content: str) -> None:
    pytest.importorskip("yaml")
    mark = tmp_path / "ran"
    (tmp_path / "data.yaml").write_text(content.replace("MARK", str(mark)))
    photo(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    began = time.monotonic()
    try:
        detection.read_yolo(tmp_path, Options(), Notes())
    except DataError as error:
        assert "\n" not in str(error)
    assert time.monotonic() - began < 30 and not mark.exists()


EPOCH = '{"epoch": 1, "val_loss": 1, "val_accuracy": 1, "%s": %s}'


@pytest.mark.parametrize(
    "line",
    ["null", "[]", "{}", '{"epoch": 1, "val_loss": "x"}', "{", EPOCH % ("loss", "{}"), EPOCH % ("seconds", "[1]"),
     EPOCH % ("photos_per_second", '"masked"'), EPOCH % ("learning_rate", "1" + "0" * 30),
     EPOCH % ("learning_rate", "1e308"), EPOCH % ("seconds", "NaN")],
)  # fmt: skip
def test_a_history_that_is_none(tmp_path: Path, line: str) -> None:
    """Found by bench/fuzz.py: the report ended with a traceback."""
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(RunError, match="remove that line") as error:
        runs.Run(tmp_path).history()
    told(error, tmp_path)


def test_errors_are_one_line_whatever_the_names_are() -> None:
    """Found by bench/fuzz.py: a photo named "a\\nb" in a file of labels, a class in an ONNX file."""
    assert str(DataError("a\n\x1b[31mb\u2028c: no photo")) == "a [31mb c: no photo"
    assert str(DataError("2 can't be used", PhotoError("a\nb", "x"), PhotoError("c", "y"))).count("\n") == 2


def test_problems_are_one_line_whatever_the_names_are(tmp_path: Path) -> None:
    """Found by bench/fuzz.py."""
    photo(tmp_path / "c.png")
    names = ["c.png", "a\nb\x1b[31m"]
    images = [{"id": n, "file_name": name, "width": 60, "height": 40} for n, name in enumerate(names)]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [5, 5, 20, 20]} for n in range(2)]
    labels = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "with_mask"}]}
    (tmp_path / "annotations.json").write_text(json.dumps(labels))
    (problem,) = read_dataset(tmp_path).problems
    assert "there is no photo a b [31m" in problem.reason
    assert shown("\ud800\udce9") == "\ufffd\\xe9"


def test_memory_that_onnx_runtime_lacks_is_no_fault_of_the_model() -> None:
    for said in ("Exception during initialization: std::bad_alloc", "Failed to allocate memory for requested buffer"):
        assert isinstance(onnx_model._failure(RuntimeError(said), "x"), MemoryError)
    assert str(onnx_model._failure(RuntimeError("b\nc"), "x")) == "x (b)"


def test_facts_that_are_no_table(tmp_path: Path) -> None:
    """Found by bench/fuzz.py: the report ended with a traceback."""
    for facts in ("[]", '{"versions": "x"}'):
        (tmp_path / "config.json").write_text(f'{{"facts": {facts}}}')
        with pytest.raises(RunError, match="holds no settings") as error:
            TrainConfig.read(tmp_path / "config.json")
        told(error, tmp_path / "config.json")


def test_settings_that_are_no_words(tmp_path: Path) -> None:
    """Found by bench/fuzz.py: the report ended with a traceback."""
    (tmp_path / "config.json").write_text('{"backbone": [1], "seed": 0}')
    with pytest.raises(RunError, match="its backbone is") as error:
        TrainConfig.read(tmp_path / "config.json")
    told(error, tmp_path / "config.json")


@pytest.mark.parametrize("edge", ["1e999", "NaN", "1e300"])
def test_a_face_has_edges(tmp_path: Path, edge: str) -> None:
    """Found by bench/fuzz.py."""
    row = {"path": "a.png", "label": "all", "part": "test", "faces": [["masked", 0, 0, 5, "EDGE"]]}
    text = json.dumps({"data": ".", "seed": 0, "photos": [row]}).replace('"EDGE"', edge)
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(RunError, match="a face is") as error:
        read_split(tmp_path / "split.json")
    told(error, tmp_path / "split.json")


def small_onnx(path: Path, weight: float = 1, **said: Any) -> Path:
    """A tiny model that says of itself what it likes; it takes 64 x 48 px."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["pixels"], ["f"], to=kinds.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["m", "w"], ["l"]),
        helper.make_node("Softmax", ["l"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("pixels", kinds.UINT8, ["n", 48, 64, 3])],
        [helper.make_tensor_value_info("probabilities", kinds.FLOAT, ["n", 3])],
        [helper.make_tensor("w", kinds.FLOAT, [3], [weight] * 3)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    strings = onnx_model.Metadata("m", (64, 48), calibration=()).strings()
    helper.set_model_props(model, strings | {name: json.dumps(value) for name, value in said.items()})
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"weight": float("nan")}, "m: the model gives no probabilities"),  # it was an answer: all, nan
        ({"size": [1, 48]}, "m: the model can't be run"),
    ],
)
def test_a_model_that_is_not_what_it_says(tmp_path: Path, wrong: dict[str, Any], line: str) -> None:
    """Found by bench/fuzz.py."""
    image = photo(tmp_path / "a.png")
    (answer,) = predict_paths(open_predictor(small_onnx(tmp_path / "a.onnx")), [("a", str(image))])
    assert answer.probabilities is not None
    with pytest.raises(RunError, match=line):
        list(predict_paths(open_predictor(small_onnx(tmp_path / "a.onnx", **wrong)), [("a", str(image))]))


def test_an_onnx_file_whose_words_are_no_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Found by bench/fuzz.py."""
    with resources.as_file(resources.files("allmasked") / "models") as folder:
        content = next(folder.glob("*.onnx")).read_bytes()
    assert content.count(b'"letterbox"') >= 1
    (tmp_path / "a.onnx").write_bytes(content.replace(b'"letterbox"', b'"letter\x80ox"'))
    with pytest.raises(RunError, match="is not a model that ONNX Runtime can open") as error:
        open_predictor(tmp_path / "a.onnx")
    told(error, tmp_path / "a.onnx")
    assert not capfd.readouterr().out  # ONNX Runtime's banner


# --- weights ----------------------------------------------------------------------------------------------------------


def hdf5(path: Path, make: Callable[[Any], None]) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"a"]
        group = file.create_group("a")
        group.attrs["weight_names"] = [b"w"]
        make(group)
    return path


def _soft(group: Any) -> None:
    import h5py

    group["w"] = h5py.SoftLink("/")


def _elsewhere(group: Any) -> None:
    import h5py

    group["w"] = h5py.ExternalLink("secret.h5", "/w")


def _virtual(group: Any) -> None:
    import h5py

    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "w", (4,))
    group.create_virtual_dataset("w", layout)


def _round(group: Any) -> None:
    group["w"] = group.parent


HDF5S: dict[str, Callable[[Any], None]] = {
    "a link to another file": _elsewhere,
    "a link": _soft,
    "storage in another file": lambda group: group.create_dataset("w", (4,), "f4", external=[("secret", 0, 16)]),
    "a view of another file": _virtual,
    "a huge shape": lambda group: group.create_dataset("w", (10**6, 10**6), "f4", chunks=(10, 10)),
    "a bomb": lambda group: group.create_dataset("w", (10**8,), "f4", chunks=(10**6,), compression="gzip", data=None),
    "a circle": _round,
    "text": lambda group: group.create_dataset("w", data=[b"x"]),
}


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5"])
@pytest.mark.parametrize("make", HDF5S.values(), ids=list(HDF5S))
def test_hdf5_holds_its_own_numbers_and_no_more(tmp_path: Path, make: Callable[[Any], None], name: str) -> None:
    from allmasked.networks.pretrained import load_weights

    (tmp_path / "secret").write_bytes(bytes(16))
    path = hdf5(tmp_path / name, make)
    with pytest.raises(WeightsError, match="is refused as weights") as error:
        load_weights(None, path)  # type: ignore[arg-type]  (the network is not looked at)
    told(error, path)


def pth(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED, extra: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", extra)
    return path


PICKLES = {
    "a memo of a billion": b"\x80\x02}r" + struct.pack("<I", 2**30) + b".",
    "a tuple of tuples, named twice": b"\x80\x02)q\x00"
    + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60))
    + b"}h\x3cK\x01s.",
    "a tuple of tuples, doubled": b"\x80\x02)" + b"2\x86" * 60 + b"K\x01s.",
    "a number of a million digits": b"\x80\x02L" + b"9" * 10**6 + b"L\n.",
    "instructions without end": b"\x80\x02" + b"N0" * 2_000_000 + b".",
}


@pytest.mark.parametrize("pickled", PICKLES.values(), ids=list(PICKLES))
@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_a_pickle_takes_little_time_and_memory(tmp_path: Path, pickled: bytes, layout: str) -> None:
    from allmasked.networks.pretrained import read_pth

    path = tmp_path / "w.pth"
    if layout == "zip":
        pth(path, pickled)
    else:
        path.write_bytes(pickled)
    began = time.monotonic()
    with pytest.raises(WeightsError) as error:
        read_pth(path)
    told(error, path)
    assert time.monotonic() - began < 20


def test_a_pth_unpacks_to_what_it_is(tmp_path: Path) -> None:
    from allmasked.networks.pretrained import read_pth

    path = pth(tmp_path / "w.pth", b"\x80\x02}.", zipfile.ZIP_DEFLATED, bytes(50_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(WeightsError, match="larger than the file"):
        read_pth(path)


# --- .keras -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras = pytest.importorskip("keras")
    path = tmp_path_factory.mktemp("keras") / "plain.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    return Path(path)


def changed(plain: Path, path: Path, layer: dict[str, Any]) -> Path:
    """The model with one of its layers another."""
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1] = layer
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return path


def _lambda() -> dict[str, Any]:
    import keras

    return dict(keras.saving.serialize_keras_object(keras.layers.Lambda(lambda x: x)))


def _any_call(mark: Path) -> dict[str, Any]:
    return {"module": "os", "class_name": "system", "registered_name": None, "config": f"touch {mark}"}


@pytest.mark.parametrize("kind", ["lambda", "call", "saved"])
@pytest.mark.parametrize("door", ["model", "weights"])
def test_code_in_a_keras_file_is_refused(tmp_path: Path, plain: Path, kind: str, door: str) -> None:
    from allmasked.networks import model as models
    from allmasked.networks.pretrained import load_weights

    mark = tmp_path / "ran"
    saved = {"module": "keras.layers", "class_name": "TFSMLayer", "registered_name": None}
    layer = {
        "lambda": _lambda,
        "call": lambda: _any_call(mark),
        "saved": lambda: saved | {"config": {"filepath": str(tmp_path)}},
    }[kind]()
    path = changed(plain, tmp_path / "model.keras", layer)
    with pytest.raises((RunError, WeightsError)) as error:
        models.load(path) if door == "model" else load_weights(None, path)  # type: ignore[arg-type]
    told(error, path)
    assert not mark.exists()


@pytest.mark.parametrize("door", ["model", "weights"])
def test_a_keras_file_unpacks_to_what_a_model_may_be(
    tmp_path: Path, plain: Path, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allmasked.networks import model as models
    from allmasked.networks import pretrained

    monkeypatch.setattr(pretrained, "MAX_PART_BYTES", 10_000_000)
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("assets/large", bytes(11_000_000))
    with pytest.raises((RunError, WeightsError), match="is refused as a model: unpacked") as error:
        models.load(path) if door == "model" else pretrained.load_weights(None, path)  # type: ignore[arg-type]
    told(error, path)


# --- exported files ---------------------------------------------------------------------------------------------------


def outside_file(path: Path, place: str, location: str = "/etc/passwd") -> Path:
    """An ONNX file that reads a tensor from another file, which stands at one of several places in it."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    tensor = kinds(name="w", data_type=kinds.UINT8, dims=[4], data_location=kinds.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    output = helper.make_tensor_value_info("y", kinds.UINT8, [4])
    node = helper.make_node("Identity", ["w"], ["y"])
    if place == "graph":
        graph = helper.make_graph([node], "g", [], [output], [tensor])
    elif place == "constant":
        graph = helper.make_graph([helper.make_node("Constant", [], ["y"], value=tensor)], "g", [], [output])
    else:
        inner = [helper.make_graph([node], name, [], [output], [tensor]) for name in ("a", "b")]
        truth = helper.make_tensor("t", kinds.BOOL, [], [True])
        choice = helper.make_node("If", ["t"], ["y"], then_branch=inner[0], else_branch=inner[1])
        graph = helper.make_graph([choice], "g", [], [output], [truth])
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return path


@pytest.mark.parametrize("place", ["graph", "constant", "branch"])
def test_an_onnx_file_reads_no_other_file(tmp_path: Path, place: str) -> None:
    path = outside_file(tmp_path / "x.onnx", place)
    assert onnx_model.outside(path)
    with pytest.raises(RunError, match="its numbers lie in other files") as error:
        open_predictor(path)
    told(error, path)


def test_an_onnx_file_may_speak_of_locations(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(onnx_model.DEFAULT)
    model.doc_string = "location"
    assert b"location" in model.SerializeToString()
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    assert not onnx_model.outside(tmp_path / "x.onnx") and not onnx_model.outside(onnx_model.DEFAULT)
    assert open_predictor(tmp_path / "x.onnx").name == open_predictor().name


def test_broken_onnx_with_the_word_is_refused_in_one_line(tmp_path: Path) -> None:
    for number, content in enumerate(
        [b"location", b"location" * 100, b"\x3a\xff\xff\xff\xff\x0flocation", b"\xff" * 99]
    ):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(content)
        with pytest.raises(RunError) as error:
            open_predictor(path)
        told(error, path)


@pytest.mark.parametrize(
    "changed",
    [
        {"size": [0, 0]},
        {"size": [10**9, 10**9]},
        {"size": ["a", "b"]},
        {"size": [1, 2, 3]},
        {"size": [True, True]},
        {"fit": "cover"},
        {"fit": []},
        {"temperature": {}},
        {"calibration": [{}]},
        {"views": [[[0, 0], "stretch"]]},
        {"views": [1]},
        {"member_views": [[[64, 64], "away"]]},
        {"members": [[]]},
        {"name": {"a": 1}},
        {"format": "x"},
        {"classes": {"a": 1}},
    ],
    ids=str,
)
def test_what_a_model_says_of_itself_is_checked(changed: dict[str, Any]) -> None:
    said = onnx_model.Metadata(name="x", size=(32, 32)).strings()
    said |= {name: json.dumps(value) for name, value in changed.items()}
    with pytest.raises(RunError) as error:
        onnx_model.Metadata.parse(said, "x.onnx")
    told(error, Path("x.onnx"))


@pytest.mark.parametrize("name", ["size", "calibration", "views", "shares"])
def test_what_a_model_says_of_itself_is_not_too_deep(name: str) -> None:
    said = onnx_model.Metadata(name="x", size=(32, 32)).strings() | {name: "[" * DEEP + "]" * DEEP}
    with pytest.raises(RunError) as error:
        onnx_model.Metadata.parse(said, "x.onnx")
    told(error, Path("x.onnx"))


def test_a_saved_model_is_opened_on_trust_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    mark = tmp_path / "ran"

    class Program(tensorflow.Module):
        @tensorflow.function(input_signature=[])
        def answer(self) -> Any:
            tensorflow.io.write_file(str(mark), "x")
            return {"probabilities": tensorflow.zeros((1, 3))}

    saved = tmp_path / "saved"
    tensorflow.saved_model.save(program := Program(), str(saved), signatures={"serving_default": program.answer})
    metadata = onnx_model.Metadata(name="x", size=(32, 32)).strings()
    (saved / "allmasked.json").write_text(json.dumps(metadata))
    monkeypatch.delenv("ALLMASKED_TRUST", raising=False)
    with pytest.raises(RunError, match="a program that can read and write your files") as error:
        open_predictor(saved)
    told(error, saved)
    assert not mark.exists()
    monkeypatch.setenv("ALLMASKED_TRUST", "1")
    assert open_predictor(saved).name == "x"


# --- where names lead -------------------------------------------------------------------------------------------------

AWAY = [
    "../../away.png",
    "/away.png",
    "..",
    "a/../../../away.png",
    "..\\..\\away.png",
    "C:\\away.png",
    "//host/away.png",
]


@pytest.mark.parametrize("name", AWAY)
def test_names_in_a_data_set_find_only_its_own_photos(tmp_path: Path, name: str) -> None:
    photo(tmp_path / "away.png")
    photo(tmp_path / "set" / "inner" / "own.png")
    found, _ = albums.Album(tmp_path / "set").find(name, near=tmp_path / "set" / "inner" / "labels.csv")
    assert found == ""
    photo(tmp_path / "set" / "inner" / "away.png")
    found, _ = albums.Album(tmp_path / "set").find(name, near=tmp_path / "set" / "inner" / "labels.csv")
    assert found in ("", "inner/away.png")


@pytest.mark.parametrize("name", [*(name for name in AWAY if name != "C:\\away.png"), "a\0.png"])
def test_a_split_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    row = {"path": name, "label": "all", "part": "test", "sha256": "", "group": 0}
    (tmp_path / "split.json").write_text(json.dumps({"data": ".", "seed": 0, "photos": [row]}))
    with pytest.raises(RunError, match="is not a path below the data set's folder"):
        read_split(tmp_path / "split.json")


@pytest.mark.parametrize("name", ["../away.png", "a/../../away.png", "../../../away.png", "away.png", "/away.png"])
def test_pictures_stay_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """``--annotated`` and ``--sort``, for photos that lie anywhere."""
    here = tmp_path / "one" / "two" / "three"
    (here / "a").mkdir(parents=True)
    monkeypatch.chdir(here)
    path = photo(Path(os.path.normpath(here / name))) if name[0] != "/" else photo(tmp_path / name[1:])
    given = name if name[0] != "/" else str(path)
    before = set(tmp_path.rglob("*"))
    prediction = Prediction(given, "all", (0.9, 0.05, 0.05), "")
    answered = Answered(prediction, given, (32, 32), ((32, 32), "letterbox"))
    annotate.write_annotated(answered, Path("out"))
    annotate.copy_into(Path("out") / "all", Path(given))
    made = {entry for entry in set(tmp_path.rglob("*")) - before if entry.is_file()}
    assert len(made) == 2 and all(entry.is_relative_to(here / "out") for entry in made)


def test_sorting_writes_through_no_link(tmp_path: Path) -> None:
    """A link with a photo's name in the folder of an earlier run: what it leads to stays as it is."""
    source, kept = photo(tmp_path / "in" / "a.png"), tmp_path / "kept"
    kept.write_bytes(b"kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(kept)
    (tmp_path / "out" / "b.png").symlink_to(tmp_path / "not there yet")
    annotate.copy_into(tmp_path / "out", source)
    annotate.copy_into(tmp_path / "out", photo(tmp_path / "in" / "b.png"))
    assert kept.read_bytes() == b"kept" and not (tmp_path / "not there yet").exists()


@pytest.mark.parametrize("name", ["../away.png", "a/../../away.png", "..a.png", "..  .png"])
def test_heat_maps_stay_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """``explain --out``."""
    from allmasked.explaining.explain import Explanation
    from allmasked.explaining.pictures import write_pictures

    here = tmp_path / "one" / "two"
    (here / "a").mkdir(parents=True)
    monkeypatch.chdir(here)
    photo(Path(os.path.normpath(here / name)))
    before = set(tmp_path.rglob("*"))
    prediction = Prediction(name, "all", (0.9, 0.05, 0.05), "")
    heat = np.ones((4, 4), np.float32)
    list(write_pictures([Explanation(prediction, name, "all", heat)] * 2, "out", InputSpec((32, 32), "stretch")))
    made = {entry for entry in set(tmp_path.rglob("*")) - before if entry.is_file()}
    assert len(made) == 3 and all(entry.parent == here / "out" for entry in made)


def test_an_array_of_an_npz_is_never_unpickled() -> None:
    """What ``evaluate`` keeps is opened by NumPy, which refuses objects unless told otherwise."""
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{}], dtype=object))
    buffer.seek(0)
    with pytest.raises(ValueError, match="allow_pickle"):
        np.load(buffer)["a"]
    sources = (Path(runs.__file__).parents[1]).rglob("*.py")
    assert not [source for source in sources if "allow_pickle=True" in source.read_text(encoding="utf-8")]
