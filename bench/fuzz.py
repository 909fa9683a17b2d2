"""Inputs that nobody thought of, led by coverage (atheris, libFuzzer): what reads files of strangers must not stumble.

    pip install atheris
    python bench/fuzz.py [TARGET ...] [--minutes 5] [--seed 0] [--keep FOLDER]

A target takes whole inputs, spoils them (a value, a word, a few bytes), and has them read, in one process and in
memory. Right is a result that agrees with itself, or one of our errors in one line. Everything else is a finding: a
traceback, a warning, a result that contradicts itself, an input that takes five seconds or two gigabytes. Each is told
once and kept in FOLDER, as are the inputs that reached new code, from which the next run goes on. Exit code 1 where
there was one.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import itertools
import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
ODD = [None, True, -1, 0, 3, 1e308, 1.5, math.nan, math.inf, 10**30, "", "x", "²", "nan", "1e999", "../x", "a\nb", "\0"]
ODD += [
    [],
    {},
    [[1]],
    {"a": {"b": []}},
    ["x", 1],
    "masked",
    "some",
    [0, 0, 10, 10],
    [5, 5, 5, 5],
    [9, 9, 1, 1],
    "\ud800",
]
WORDS = ["", "-1", "0", "1", "nan", "inf", "1e400", "²", "1,5", "x", "é", "{}", "[]", "null", "true", "'", '"', "<"]
WORDS += [
    "&a;",
    "]]>",
    "\0",
    "\r",
    "\n",
    "\t",
    ":",
    "- ",
    "=",
    "9" * 40,
    "../..",
    "with_mask",
    "without_mask",
    "\ufeff",
]


class Wrong(AssertionError):
    """A result that contradicts itself."""


def check(fine: bool, what: str) -> None:
    if not fine:
        raise Wrong(what)


# --- spoiling ---------------------------------------------------------------------------------------------------------


def drawn(data: Any) -> tuple[int, list[Any], list[Any], list[Any]]:
    """Which of the inputs to spoil, and how: bytes, words, values of a tree."""

    def place() -> float:
        return data.ConsumeIntInRange(0, 65535) / 65536

    def some(one: Callable[[], Any]) -> list[Any]:
        return [one() for _ in range(max(0, data.ConsumeIntInRange(-2, 3)))]

    which = data.ConsumeIntInRange(0, 255)
    words = some(lambda: (place(), data.PickValueInList(WORDS)))
    tree = some(lambda: (place(), data.PickValueInList(ODD)))
    kinds = ["set", "cut", "add", "end"]
    edits = some(
        lambda: (
            data.PickValueInList(kinds),
            place(),
            data.ConsumeBytes(data.ConsumeIntInRange(0, 6)),
            data.ConsumeIntInRange(1, 40),
        )
    )
    return which, edits, words, tree


def spoil_bytes(content: bytes, edits: list[tuple[str, float, bytes, int]]) -> bytes:
    for what, place, new, count in edits:
        at = int(place * len(content))
        if what == "end":
            content = content[:at]
        else:
            content = (
                content[:at] + new + content[at + (0 if what == "add" else len(new) if what == "set" else count) :]
            )
    return content


def spoil_words(text: str, edits: list[tuple[float, str]]) -> str:
    """Replace a word or what stands between two."""
    parts, word = [], ""
    for sign in text:
        if sign.isalnum() or sign in "._-":
            word += sign
        else:
            parts += [word, sign]
            word = ""
    parts.append(word)
    for place, new in edits:
        parts[int(place * len(parts))] = new
    return "".join(parts)


def spoil_tree(value: Any, edits: list[tuple[float, Any]]) -> Any:
    value = json.loads(json.dumps(value))
    for place, new in edits:
        nodes = list(_nodes(value))
        if nodes:
            holder, key = nodes[int(place * len(nodes))]
            holder[key] = json.loads(json.dumps(new))  # its own, to be spoiled further
    return value


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _nodes(inner)


# --- photo headers ----------------------------------------------------------------------------------------------------


def photos() -> list[bytes]:
    import numpy as np
    import pillow_heif

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[274] = 6
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("JPEG", {"exif": exif}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("BMP", {}), ("GIF", {}),
        ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("AVIF", {}),
    ]  # fmt: skip
    pillow_heif.register_heif_opener()
    found = []
    for kind, more in [*kinds, ("HEIF", {})]:
        buffer = io.BytesIO()
        image.save(buffer, kind, **more)
        found.append(buffer.getvalue())
    for mode in ("I;16", "F", "CMYK", "P", "LA", "1"):
        buffer = io.BytesIO()
        plain = image.convert("L").convert(mode) if mode != "CMYK" else image.convert(mode)
        plain.save(buffer, "TIFF" if mode in ("F", "CMYK") else "PNG")
        found.append(buffer.getvalue())
    return found


def headers(_: Path) -> Callable[[Any], None]:
    import numpy as np

    from allmasked.core.errors import PhotoError
    from allmasked.images import pixels

    seeds = photos()

    def read(spoilt: Any) -> None:
        which, edits, _, _ = spoilt
        content = spoil_bytes(seeds[which % len(seeds)], edits)
        try:
            image, size = pixels.decode_sized(content, name="photo", max_pixels=1_000_000)
        except PhotoError as error:
            one_line(error)
            return
        check(image.mode == "RGB" and min(image.size) > 0, f"{image.mode} {image.size}")
        again, _ = pixels.decode_sized(content, name="photo", max_pixels=1_000_000)
        check(np.array_equal(image, again), "two answers for one file")
        check(size == image.size, f"{size} is not {image.size}")

    return read


# --- data sets --------------------------------------------------------------------------------------------------------

BOXES = "<xmin>{}</xmin><ymin>5</ymin><xmax>{}</xmax><ymax>40</ymax>"
VOC = (
    "<annotation><folder>f</folder><filename>NAME.png</filename>"
    "<size><width>64</width><height>48</height><depth>3</depth></size>"
    f"<object><name>with_mask</name><difficult>0</difficult><bndbox>{BOXES.format(4, 30)}</bndbox></object>"
    f"<object><name>without_mask</name><bndbox>{BOXES.format(34, 60)}</bndbox></object></annotation>"
)
YAML = "train: images\nval: images\nnc: 2\nnames: ['with_mask', 'without_mask']\n"
YOLO = "0 0.25 0.5 0.4 0.7\n1 0.75 0.5 0.4 0.7\n"
COCO = {
    "images": [{"id": n, "file_name": f"{name}.png", "width": 64, "height": 48} for n, name in ((1, "a"), (2, "b"))],
    "annotations": [
        {"id": n, "image_id": 1 + n // 3, "category_id": n % 2 + 1, "bbox": [4 + n, 5, 20, 30], "iscrowd": 0}
        for n in (1, 2, 3)
    ],
    "categories": [{"id": 1, "name": "with_mask"}, {"id": 2, "name": "without_mask"}],
}
CVAT = (
    '<?xml version="1.0"?><annotations><version>1.1</version><meta><task><labels><label><name>with_mask</name></label>'
    "<label><name>without_mask</name></label></labels></task></meta>"
    '<image id="0" name="a.png" width="64" height="48">'
    '<box label="with_mask" occluded="0" xtl="4.0" ytl="5.0" xbr="30.0" ybr="40.0"></box>'
    '<box label="without_mask" xtl="34" ytl="5" xbr="60" ybr="40"></box></image>'
    '<image id="1" name="b.png" width="64" height="48">'
    '<polygon label="with_mask" points="4,5;30,5;30,40;4,40"></polygon></image></annotations>'
)


def dataset(files: dict[str, str | Any], images: str = "") -> Callable[[Path], Callable[[Any], None]]:
    """A target that spoils one of ``files`` (text, or JSON) beside two photos."""

    def make(folder: Path) -> Callable[[Any], None]:
        from allmasked.core.errors import AllmaskedError
        from allmasked.core.types import LABELS
        from allmasked.data.annotations import label_of
        from allmasked.data.readers import read as read_dataset

        (folder / images).mkdir(parents=True, exist_ok=True)
        for number, name in enumerate("ab"):
            Image.new("RGB", (64, 48), (number, 90, 30)).save(folder / images / f"{name}.png")

        def read(spoilt: Any) -> None:
            which, edits, words, tree = spoilt
            spoiled = sorted(files)[which % len(files)]
            for name, whole in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if name == spoiled and not isinstance(whole, str):
                    whole = json.dumps(spoil_tree(whole, tree))
                elif name == spoiled:
                    whole = spoil_words(whole, words)
                elif not isinstance(whole, str):
                    whole = json.dumps(whole)
                content = whole.encode("utf-8", "surrogatepass")
                path.write_bytes(spoil_bytes(content, edits) if name == spoiled else content)
            try:
                found = read_dataset(folder)
            except AllmaskedError as error:
                one_line(error)
                return
            for photo in found.photos:
                check(photo.label in LABELS, f"label {photo.label!r}")
                check((found.root / photo.path).is_file(), f"no photo {photo.path!r}")
                for face in photo.faces or ():
                    edges = (face.left, face.top, face.right, face.bottom)
                    check(all(map(math.isfinite, edges)), f"edges {edges}")
                    check(face.left < face.right and face.top < face.bottom, f"edges {edges}")
                if photo.faces:
                    check(label_of(photo.faces) in (None, photo.label), f"{photo.label} with {photo.faces}")
            for problem in found.problems:
                check("\n" not in problem.reason, f"lines {problem.reason!r}")

        return read

    return make


# --- recipes, run folders, exported files -----------------------------------------------------------------------------


def recipes(folder: Path) -> Callable[[Any], None]:
    from allmasked.core.config import read_recipe, recipe_from, recipe_head, recipe_names, recipe_text
    from allmasked.core.errors import AllmaskedError

    texts = [recipe_text(name) for name in recipe_names()]
    file = folder / "mine.toml"

    def read(spoilt: Any) -> None:
        which, edits, words, _ = spoilt
        file.write_bytes(spoil_bytes(spoil_words(texts[which % len(texts)], words).encode("utf-8"), edits))
        try:
            recipe_head(str(file))
            recipe = read_recipe(str(file))
        except AllmaskedError as error:
            one_line(error)
            return
        values = dataclasses.asdict(recipe)
        check(recipe_from(values, origin="again") == recipe, "not the same when read again")
        check(all(math.isfinite(value) for value in values.values() if isinstance(value, float)), str(values))

    return read


def runs(folder: Path) -> Callable[[Any], None]:
    from allmasked.core.config import TrainConfig
    from allmasked.core.errors import AllmaskedError
    from allmasked.core.runs import Run
    from allmasked.core.types import CLASSES
    from allmasked.data.dataset import read_split
    from allmasked.predictors.ensemble import Ensemble, Member
    from allmasked.reports.report import make_report
    from allmasked.stats import plots
    from allmasked.stats.votes import Fitted
    from allmasked.training.teacher import Teacher
    from fake_runs import fake_run, paint_photos

    run = fake_run(
        folder / "run", folder / "data", paint_photos(folder / "data", {"train": 1, "validation": 1, "test": 1})
    )
    line = {"epoch": 1, "phase": "head", "loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5,
            "val_macro_f1": 0.5, "learning_rate": 1e-3, "seconds": 1.0, "photos_per_second": 9.0}  # fmt: skip
    row = Member("a", "../a", "0" * 64, "Tiny", "softmax", "cached", 0, (64, 48), "letterbox", 1, 1.0, 1.0, 1.0, 0.5)
    voting = Ensemble("soft", (row, row), Fitted((0.5, 0.5), ()), (0, 1))
    whole: dict[str, Any] = {
        "config.json": json.loads(run.config.read_text()),
        "split.json": json.loads(run.split.read_text()),
        "metrics.jsonl": [line, {**line, "epoch": 2}],
        "ensemble.json": dataclasses.asdict(voting),
        "teacher.json": {"name": "t", "alpha": 0.3, "temperature": 2.0, "answers": {"k": [0.2, 0.3, 0.5]}},
    }  # fmt: skip
    drawn_figures = itertools.count()

    def svg(figure: Any, *details: Any, **more: Any) -> str:
        return draw_svg(figure, *details, **more) if next(drawn_figures) % 200 == 0 else "<svg/>"  # they take long

    draw_svg, plots.svg = plots.svg, svg
    readers: dict[str, Callable[[Run], Any]] = {
        "config.json": lambda run: TrainConfig.read(run.config),
        "split.json": lambda run: read_split(run.split),
        "metrics.jsonl": lambda run: run.history(),
        "ensemble.json": Ensemble.read,
        "teacher.json": Teacher.read,
    }

    def read(spoilt: Any) -> None:
        which, edits, _, tree = spoilt
        name = sorted(whole)[which % len(whole)]
        for other, value in whole.items():
            value = spoil_tree(value, tree) if other == name else value
            text = (
                "".join(json.dumps(row) + "\n" for row in value)
                if other.endswith("l") and isinstance(value, list)
                else json.dumps(value)
            )
            (run.folder / other).write_bytes(spoil_bytes(text.encode(), edits) if other == name else text.encode())
        try:
            found = readers[name](run)
        except AllmaskedError as error:
            one_line(error)
            found = None
        if name == "split.json" and found is not None:
            for photo in found.photos:
                check(
                    photo.label in (*CLASSES, "nobody")
                    and (found.root / photo.path).resolve().is_relative_to(found.root),
                    str(photo),
                )
        if name in ("ensemble.json", "teacher.json"):
            return
        run.ensemble.unlink()
        try:
            make_report(run, examples=0)
        except AllmaskedError as error:
            one_line(error)

    return read


def onnx(folder: Path) -> Callable[[Any], None]:
    import numpy as np
    import onnx as library
    from onnx import TensorProto, helper

    from allmasked.core.errors import AllmaskedError
    from allmasked.predictors.onnx_model import Metadata
    from allmasked.predictors.predictor import open_predictor, predict_paths

    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 48, 64, 3])
    out = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 3], np.eye(3, dtype=np.float32).ravel())
    nodes = [
        helper.make_node("Cast", ["pixels"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["l"]),
        helper.make_node("Softmax", ["l"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(nodes, "g", [pixels], [out], [weights])
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    metadata = {name: json.loads(text) for name, text in Metadata("m", (64, 48), calibration=()).strings().items()}
    photo, file = folder / "a.png", folder / "a.onnx"
    Image.new("RGB", (64, 48), (200, 90, 30)).save(photo)

    def read(spoilt: Any) -> None:
        which, edits, words, tree = spoilt
        strings = {name: json.dumps(value) for name, value in spoil_tree(metadata, tree).items()}
        if words:
            name = sorted(strings)[which % len(strings)]
            strings[name] = spoil_words(strings[name], words)
        model = library.ModelProto()
        model.CopyFrom(whole)
        helper.set_model_props(
            model, {name: text.encode("utf-8", "replace").decode() for name, text in strings.items()}
        )
        content = model.SerializeToString()
        file.write_bytes(spoil_bytes(content, edits) if which % 2 else content)
        try:
            (answer,) = predict_paths(open_predictor(file, threads=1), [("a", str(photo))])
        except AllmaskedError as error:
            one_line(error)
            return
        if answer.label is not None:
            p = answer.probabilities
            check(p is not None and abs(sum(p) + (answer.p_nobody or 0) - 1) < 1e-3, f"{answer}")

    return read


# --- multipart bodies -------------------------------------------------------------------------------------------------


def multipart(_: Path) -> Callable[[Any], None]:
    import logging

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather have another library
        from starlette.testclient import TestClient

    from allmasked.serving.app import Limits, create_app
    from colour_model import ColourModel, encoded

    logging.disable(logging.CRITICAL)
    labels = ["all", "none", "some", "nobody"]
    pictures = [encoded(label, (128, 128)) for label in labels]
    client = TestClient(
        create_app(ColourModel(), Limits(max_bytes=200_000, max_pixels=1_000_000, max_files=4)),
        base_url="http://127.0.0.1",
    )
    client.__enter__()

    def read(spoilt: Any) -> None:
        which, edits, words, _ = spoilt
        sent = [which % 4, which // 4 % 4][: 1 + which // 16 % 2]
        body = b""
        for number, label in enumerate(sent):
            head = f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{number}.png"\r\n'
            head += "Content-Type: image/png\r\n\r\n"
            body += spoil_words(head, words).encode("utf-8", "surrogatepass") + pictures[label] + b"\r\n"
        content = spoil_bytes(body + b"--edge--\r\n", edits)
        answer = client.post(
            "/v1/predict?boxes=1", content=content, headers={"Content-Type": "multipart/form-data; boundary=edge"}
        )
        if answer.status_code == 503:  # this process was stopped for a while
            return
        check(answer.status_code in (200, 400, 413, 415, 422), f"{answer.status_code}: {answer.text[:200]}")
        said = answer.json()
        if answer.status_code == 200 and not edits and not words:
            check([photo["label"] for photo in said["photos"]] == [labels[label] for label in sent], answer.text[:300])
        if answer.status_code == 200 and not edits:
            check(
                all(photo["label"] in [None, *(labels[label] for label in sent)] for photo in said["photos"]),
                answer.text[:300],
            )

    return read


TARGETS: dict[str, Callable[[Path], Callable[[Any], None]]] = {
    # target: what makes of a folder the function that reads what was spoilt
    "headers": headers,
    "voc": dataset({"a.xml": VOC.replace("NAME", "a"), "b.xml": VOC.replace("NAME", "b")}),
    "yolo": dataset({"data.yaml": YAML, "labels/a.txt": YOLO, "labels/b.txt": YOLO[:19]}, "images"),
    "coco": dataset({"annotations.json": COCO}),
    "cvat": dataset({"annotations.xml": CVAT}),
    "recipes": recipes,
    "runs": runs,
    "onnx": onnx,
    "multipart": multipart,
}


def one_line(error: Exception) -> None:
    text = str(error)
    if "photos can't be used" not in text:  # names them, a line each
        check("\n" not in text and 0 < len(text) < 1500, f"not one line: {text[:300]!r}")


def place(error: BaseException) -> str:
    """Where a finding comes from: findings of one place are told once."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "allmasked/" in frame.filename]
    where = ours[-1] if ours and not isinstance(error, Wrong) else traceback.extract_tb(error.__traceback__)[-1]
    kind = str(error)[:30] if isinstance(error, Wrong) else type(error).__name__
    return f"{kind} at {Path(where.filename).name}:{where.lineno}"


def fuzz(name: str, minutes: float, first: int, keep: Path) -> None:
    """Run one target until its time is over, print counts, and end the process: 1 where there were findings."""
    import atheris

    counts: Counter[str] = Counter()
    findings: set[str] = set()
    corpus = keep / f"{name}-corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    draw = random.Random(first)
    for number in range(0 if any(corpus.iterdir()) else 50):
        (corpus / f"begin-{number}").write_bytes(draw.randbytes(20 + number))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        with atheris.instrument_imports(include=["allmasked", "PIL", "yaml", "tomllib", "defusedxml", "multipart"]):
            read = TARGETS[name](Path(folder))
            read((0, [], [], []))  # imports what is imported late
        spent, last = 0.0, time.monotonic()

        def once(content: bytes) -> None:
            nonlocal spent, last
            spent, last = spent + min(1, time.monotonic() - last), time.monotonic()  # it may be stopped meanwhile
            if spent > 60 * minutes:
                cpu, kept = time.process_time(), sum(1 for _ in corpus.iterdir())
                said = f"{name}: {counts['inputs']} inputs in {spent:.0f} s ({cpu:.0f} s of a core)"
                print(f"{said}, {len(findings)} findings, {kept} inputs kept", flush=True)
                shutil.rmtree(folder)
                os._exit(bool(findings))
            counts["inputs"] += 1
            spoilt = drawn(atheris.FuzzedDataProvider(content))
            began = time.process_time()
            try:
                read(spoilt)
                check(time.process_time() - began < 5, "takes long")
            except Exception as error:
                if place(error) not in findings:
                    findings.add(place(error))
                    print(f"{name}: {place(error)}: {str(error)[:300]!r}\n    {spoilt!r}"[:1500], flush=True)
                    digest = hashlib.sha256(repr(spoilt).encode()).hexdigest()[:8]
                    text = "".join(traceback.format_exception(error))
                    (keep / f"{name}-{digest}.txt").write_text(f"{spoilt!r}\n{text}", errors="backslashreplace")

        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module=r"PIL\.")
        more = ["-max_len=400", "-len_control=0", "-timeout=3600", f"-seed={first or 1}", "-verbosity=0"]
        atheris.Setup(["fuzz", *more, f"-artifact_prefix={keep}/{name}-", str(corpus)], once)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--minutes", type=float, default=5, help="of each")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--keep", type=Path, default=Path("findings"))
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    print(f"seed {options.seed}", flush=True)
    found = False
    for name in options.targets or TARGETS:
        pid = os.fork()  # what ends the process is a finding, too
        if pid == 0:
            fuzz(name, options.minutes, options.seed, options.keep)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found |= code != 0
        if code not in (0, 1):
            print(f"{name}: ENDED with {code}", flush=True)
    raise SystemExit(found)


if __name__ == "__main__":
    main()
