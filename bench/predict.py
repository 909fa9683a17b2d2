"""From photo files to answers, side by side in one run, with start-up time and peak memory beside each.

    python bench/predict.py PHOTOS [--photos 500] [--rounds 3] [--size 256] [--model FILE|RUN]

PHOTOS is a folder of photos. Each side is a process of its own, in turn, ``--rounds`` times; the median counts. The
same network on the first four sides: EfficientNetB3, random weights, ``--size`` px squared, float32.

* ``notebooks``: load one photo, ``model.predict`` one, as published.
* ``keras``: ``model.predict`` over ``image_dataset_from_directory``, batches of 32.
* ``ours``: ``allmasked predict`` on the exported file.
* ``arrays``: ONNX Runtime alone, batches of 32 that lie in memory decoded (no decoding in its time).
* ``shipped``: ``allmasked predict`` with the model that ships (or ``--model``).

Start-up is from the start of the process to the answer for a first photo (a first batch with ``keras``; with ``arrays``
it holds the decoding of all); then the clock for photos/s starts, and all are answered for.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SIDES = ("notebooks", "keras", "ours", "arrays", "shipped")
BATCH = 32
Answer = Callable[[list[Path]], int]
"""Answers for photos, from the files; gives their number."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        child(options.side, options.work, options.size, options.model)
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), options.folder, options.photos, options.size)
        sides = options.sides.split(",")
        figures: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for number in range(options.rounds):
            for side in sides:
                figures[side].append(measured(side, Path(folder), options))
                print(f"round {number + 1} {side}: {figures[side][-1]}", flush=True)
    median = {
        side: {name: statistics.median(row[name] for row in rows) for name in rows[0]} for side, rows in figures.items()
    }
    print(f"\nEfficientNetB3, {options.size} px, float32; {options.photos} photos, {os.cpu_count()} processors\n")
    print("| side | photos/s | first answer after s | peak MB | speed / notebooks | memory / keras |")
    print("| --- | --- | --- | --- | --- | --- |")
    for side, row in median.items():
        speed = row["photos_s"] / median["notebooks"]["photos_s"] if "notebooks" in median else float("nan")
        memory = row["peak_mb"] / median["keras"]["peak_mb"] if "keras" in median else float("nan")
        cells = f"{row['photos_s']:.1f} | {row['first_s']:.2f} | {row['peak_mb']:.0f} | {speed:.2f} | {memory:.2f}"
        print(f"| {side} | {cells} |")
    for one, other, wanted in (("ours", "notebooks", 3.5), ("ours", "keras", 1.1), ("ours", "arrays", 0.85),
                               ("shipped", "notebooks", 5.0)):  # fmt: skip
        if one in median and other in median:
            ratio = median[one]["photos_s"] / median[other]["photos_s"]
            print(f"\n{one} / {other}: {ratio:.2f} (wanted: at least {wanted})", end="")
    print()


def prepare(work: Path, source: Path, count: int, size: int) -> None:
    """The same network as a run folder and as ONNX, and ``count`` photos in one folder."""
    from allmasked.core.config import Recipe, TrainConfig
    from allmasked.core.runs import Run
    from allmasked.exporting.export import export
    from allmasked.networks import model as models
    from allmasked.predictors.photo_files import find_photos

    photos = [path for _, path in find_photos([str(source)])]
    if not photos:
        sys.exit(f"{source}: no photo found")
    (work / "photos").mkdir()
    for number in range(count):
        path = Path(photos[number % len(photos)])
        shutil.copyfile(path, work / "photos" / f"{number:05d}{path.suffix}")
    recipe = Recipe(size=(size, size), resize_mode="stretch")
    config = TrainConfig(backbone="EfficientNetB3", head="softmax", weights="random", recipe=recipe)
    run = Run(work / "run")
    run.folder.mkdir()
    config.write(run.config)
    models.save(models.build(config), run.model)
    export(run.folder, work / "model.onnx")


def measured(side: str, work: Path, options: argparse.Namespace) -> dict[str, float]:
    """Run one side as a process: photos/s, seconds to the first answer, peak memory in MB."""
    command = [sys.executable, __file__, str(options.folder), "--side", side, "--work", str(work)]
    command += ["--size", str(options.size), *(["--model", str(options.model)] if options.model else [])]
    environment = {**os.environ, "BENCH_STARTED": repr(time.time())}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{side} failed:\n{result.stderr[-2000:]}")
    found: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return found


def child(side: str, work: Path, size: int, model: Path | None) -> None:
    """Answer for one photo, then for all; print the figures as JSON."""
    started = float(os.environ["BENCH_STARTED"])
    paths = sorted((work / "photos").iterdir())
    if side == "arrays":
        answer = arrays(work, paths, size)
    elif side == "keras":
        answer = keras_batched(work, size)
    elif side == "notebooks":
        answer = notebooks(work, size)
    else:
        answer = ours(work / "model.onnx" if side == "ours" else model)
    answer(paths[:1])
    first_s = time.time() - started
    began = time.perf_counter()
    count = answer(paths)
    seconds = time.perf_counter() - began
    assert count == len(paths), (count, len(paths))
    print(json.dumps({"photos_s": round(count / seconds, 2), "first_s": round(first_s, 3), "peak_mb": peak_mb()}))


def peak_mb() -> float:
    """Most memory that this process has held; on Linux ``ru_maxrss`` would also count what started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, 1)  # bytes on macOS


def notebooks(work: Path, size: int) -> Answer:
    import keras
    import numpy as np

    model = keras.models.load_model(work / "run/model.keras", compile=False)

    def answer(paths: list[Path]) -> int:
        found = []
        for path in paths:
            image = keras.utils.load_img(path, target_size=(size, size))
            array = np.expand_dims(keras.utils.img_to_array(image), 0)
            found.append(model.predict(array, verbose=0))
        return len(found)

    return answer


def keras_batched(work: Path, size: int) -> Answer:
    import keras

    model = keras.models.load_model(work / "run/model.keras", compile=False)
    photos = keras.utils.image_dataset_from_directory(
        work / "photos", labels=None, image_size=(size, size), batch_size=BATCH, shuffle=False, verbose=False
    )

    def answer(paths: list[Path]) -> int:
        found = model.predict(photos if len(paths) > 1 else photos.take(1), verbose=0)
        return min(len(found), len(paths))

    return answer


def ours(file: Path | None) -> Answer:
    from allmasked.predictors.predictor import open_predictor, predict_paths

    predictor = open_predictor(file)

    def answer(paths: list[Path]) -> int:
        return sum(not found.error for found in predict_paths(predictor, ((str(path), path) for path in paths)))

    return answer


def arrays(work: Path, paths: list[Path], size: int) -> Answer:
    import numpy as np
    import onnxruntime

    from allmasked.core.types import InputSpec
    from allmasked.images import pixels

    spec = InputSpec((size, size), "stretch")
    read = pixels.decode_batches(((str(path), path) for path in paths), lambda path, _: pixels.read(path, spec))
    memory = np.stack([array for batch in read for _, array in batch])
    session = onnxruntime.InferenceSession(str(work / "model.onnx"), providers=["CPUExecutionProvider"])

    def answer(paths: list[Path]) -> int:
        count = 0
        for start in range(0, len(paths), BATCH):
            part = memory[start : min(start + BATCH, len(paths))]
            count += len(session.run(["probabilities"], {"pixels": part})[0])
        return count

    return answer


if __name__ == "__main__":
    main()
