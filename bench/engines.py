"""Engines and precisions of one run: size, speed and accuracy beside each other, as a table and a plot.

    python bench/engines.py RUN [--data split.json] [--part test] [--photos 200] [--size WxH] [--plot engines.png]

RUN is a finished run folder; the photos are those of its own split, or of ``--data``. Every file is exported anew and
checked on the way. Milliseconds a photo are of the network alone, on pixels in memory, one thread and all processors;
the sides take turns photo block by photo block, so that a busy moment hits all of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BLOCK = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--part", default="test", choices=["train", "validation", "test"])
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--size")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()

    import numpy as np

    from allmasked.core.config import TrainConfig, parse_size
    from allmasked.core.errors import AllmaskedError
    from allmasked.core.runs import Run
    from allmasked.core.types import CLASSES, InputSpec
    from allmasked.data.dataset import load_photos, read_split
    from allmasked.exporting.export import export
    from allmasked.images import pixels
    from allmasked.predictors.engines import LitertPredictor, OpenvinoPredictor
    from allmasked.predictors.onnx_model import OnnxPredictor
    from allmasked.stats import metrics

    run = Run(options.run).require_finished()
    recipe = TrainConfig.read(run.config).recipe
    size = parse_size(options.size) if options.size else recipe.size
    split = load_photos(options.data) if options.data else read_split(run.split)
    photos = [photo for photo in split.part(options.part) or split.photos if photo.label in CLASSES]
    order = np.random.default_rng(0).permutation(len(photos))[: options.photos]
    chosen = [photos[index] for index in order]
    spec = InputSpec(size, recipe.resize_mode)
    paths = [(p.path, split.root / p.path) for p in chosen]
    read = pixels.decode_batches(paths, lambda path, name: pixels.read(path, spec, name=name))
    arrays = [array for batch in read for _, array in batch]
    good = [index for index, array in enumerate(arrays) if isinstance(array, np.ndarray)]
    memory = np.stack([arrays[index] for index in good])
    labels = np.array([CLASSES.index(chosen[index].label) for index in good])

    def openvino(bits: str) -> Callable[..., Any]:
        return lambda path, threads: OpenvinoPredictor.open(path, threads=threads, precision=bits)

    kinds: dict[str, tuple[str, str, Callable[..., Any]]] = {
        # side: format, precision, how it is opened
        "ONNX Runtime float32": ("onnx", "float32", OnnxPredictor.open),
        "ONNX Runtime float16 weights": ("onnx", "float16", OnnxPredictor.open),
        "ONNX Runtime int8": ("onnx", "int8", OnnxPredictor.open),
        "OpenVINO float32": ("openvino", "float32", openvino("f32")),
        "OpenVINO bfloat16": ("openvino", "float32", openvino("bf16")),
        "OpenVINO int8": ("openvino", "int8", openvino("f32")),
        "LiteRT float32": ("litert", "float32", LitertPredictor.open),
    }
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        opened: dict[str, tuple[Any, Any]] = {}
        sizes: dict[str, float] = {}
        for name, (format, precision, open_one) in kinds.items():
            suffix = {"onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}[format]
            file = Path(folder) / f"{format}-{precision}{suffix}"
            try:
                if not file.exists():
                    report = export(
                        run.folder, file, format=format, precision=precision, size=size, validate=options.data
                    )
                    sizes[str(file)] = report.size_bytes / 1e6
                    print(f"{name}: {report.round_trip}", flush=True)
                opened[name] = open_one(file, threads=1), open_one(file, threads=os.cpu_count())
            except AllmaskedError as error:
                print(f"{name}: left out: {error}", flush=True)
                continue
            table.append({"name": name, "mb": sizes[str(file)], "one": [], "all": [], "p": []})
        for row in table:
            for predictor in opened[row["name"]]:
                predictor.predict(memory[:2])  # warm
        for start in range(0, len(memory), BLOCK):
            block = memory[start : start + BLOCK]
            for row in table:
                for key, predictor in zip(("one", "all"), opened[row["name"]]):
                    began = time.perf_counter()
                    found = predictor.predict(block)
                    row[key].append((time.perf_counter() - began) / len(block) * 1000)
                row["p"].append(found)
    first = np.concatenate(table[0]["p"])
    print(
        f"\n{run.name}, {size[0]} x {size[1]} px, {len(memory)} photos ({options.part}), {os.cpu_count()} processors\n"
    )
    print("| engine | MB | ms/photo, one thread | ms/photo, all | accuracy | macro-F1 | same label as float32 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in table:
        p = np.concatenate(row["p"])
        said = p.argmax(1)
        row |= {
            "accuracy": float((said == labels).mean()),
            "f1": metrics.summary(labels, said).macro_f1,
        }
        row |= {"one": statistics.median(row["one"]), "all": statistics.median(row["all"])}
        print(
            f"| {row['name']} | {row['mb']:.1f} | {row['one']:.1f} | {row['all']:.1f} | {row['accuracy']:.3f} |"
            f" {row['f1']:.3f} | {(said == first.argmax(1)).mean():.3f} |"
        )
    if options.plot:
        plot(table, len(memory), options.plot)


def plot(table: list[dict[str, Any]], photos: int, target: Path) -> None:
    """Accuracy over milliseconds, one point a side, its area the file's size; with 95 % intervals (binomial)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    markers = "osD^vP*X"
    for row, marker in zip(table, markers):
        label = f"{row['name']}: {row['one']:.0f} ms, {row['mb']:.1f} MB"
        points = axes.scatter(row["one"], row["accuracy"], s=row["mb"] * 14 + 20, alpha=0.6, marker=marker, label=label)
        reach = 1.96 * (row["accuracy"] * (1 - row["accuracy"]) / photos) ** 0.5
        axes.errorbar(row["one"], row["accuracy"], reach, color=points.get_facecolor()[0], linewidth=1)
    axes.set(xlabel="ms a photo, one thread", ylabel="accuracy", xlim=(0, max(row["one"] for row in table) * 1.1))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small", title="area: file size")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)


if __name__ == "__main__":
    main()
