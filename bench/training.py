"""Training photos/s, side by side in one run: the notebooks' pipeline, ours, and arrays already in memory.

    python bench/training.py DATA [--backbone EfficientNetLite0] [--size 256] [--batch 32] [--photos 320] [--epochs 4]
                             [--photo-px 4032]

DATA is any labelled data set or split.json (painted photos do: ``allmasked synth drawn photos --photos 320``). The
same network, weights, size and batch on all sides, each epoch of one side followed by the same epoch of the next; with
``--photo-px`` the photos are enlarged to that long side first (4032: as a phone of 12 megapixels takes them):

* ``notebooks``: ``ImageDataGenerator.flow_from_directory`` on the photo files, ``model.fit``, as published.
* ``ours``: ``allmasked.training.train`` with the data loader ``cached`` and the recipe ``notebook``.
* ``in memory``: our loop over arrays (N, H, W, 3) that lie in memory, nothing to load.

Prints a Markdown table: photos/s of each epoch, and the ratios from the second epoch on (median).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", default="EfficientNetLite0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--photos", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--photo-px", type=int, default=0, help="long side of the photo files; 0 = as they are")
    options = parser.parse_args()

    import keras
    import numpy as np
    import tensorflow as tf

    from allmasked.core.config import TrainConfig, read_recipe
    from allmasked.core.types import CLASSES
    from allmasked.data.dataset import load_split, sha256_of
    from allmasked.images import pixels
    from allmasked.networks import model as models
    from allmasked.networks.losses import label_loss
    from allmasked.training.loaders import LOADERS, Source, ahead
    from allmasked.training.tasks import LabelTask
    from allmasked.training.train import make_optimizer, set_trainable

    split = load_split(options.data, seed=0)
    photos = split.part("train")[: options.photos]
    recipe = read_recipe("notebook", {"size": (options.size, options.size), "batch_size": options.batch})
    config = TrainConfig(backbone=options.backbone, head="notebook", weights="random", recipe=recipe)

    def network(jit: bool | str) -> keras.Model:
        model = models.build(config)
        set_trainable(model, config, "fine-tune")
        model.compile(make_optimizer(recipe, model), label_loss("one-hot", 0.0), metrics=["accuracy"], jit_compile=jit)
        return model

    with tempfile.TemporaryDirectory() as folder_name, ThreadPoolExecutor() as pool:
        folder, copies = Path(folder_name), []
        for index, photo in enumerate(photos):
            target = folder / "photos" / photo.label / f"{index:05d}{Path(photo.path).suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if options.photo_px:
                target = target.with_suffix(".jpg")
                upright = pixels.decode(split.root / photo.path)
                factor = options.photo_px / max(upright.size)
                upright.resize([round(side * factor) for side in upright.size]).save(target, quality=90)
            else:
                shutil.copyfile(split.root / photo.path, target)
            path = target.relative_to(folder).as_posix()
            copies.append(dataclasses.replace(photo, path=path, sha256=sha256_of(target), faces=None))
        split = dataclasses.replace(split, root=folder, photos=tuple(copies))
        source = Source(split, recipe.input, folder / "cache")
        with contextlib.redirect_stdout(io.StringIO()):
            generator = tf.keras.preprocessing.image.ImageDataGenerator().flow_from_directory(
                str(folder / "photos"),
                classes=list(CLASSES),
                target_size=(options.size, options.size),
                batch_size=options.batch,
                class_mode="categorical",
                seed=0,
            )
        task = LabelTask(source, LOADERS["cached"], recipe)
        memory_x = np.array(source.array("train"))
        memory_y = np.eye(len(CLASSES), dtype=np.float32)[source.labels("train")]
        sides = {"notebooks": network("auto"), "ours": network(False), "in memory": network(False)}

        def notebooks(_: int) -> None:
            sides["notebooks"].fit(generator, epochs=1, verbose=0)

        def ours(epoch: int) -> None:
            for x, y, weight in ahead(task.batches(epoch, pool, lambda size: size)):
                sides["ours"].train_on_batch(x, y, sample_weight=weight, return_dict=True)

        def in_memory(epoch: int) -> None:
            order = np.random.default_rng(epoch).permutation(len(memory_x))
            ones = np.ones(options.batch, np.float32)
            for start in range(0, len(order), options.batch):
                rows = order[start : start + options.batch]
                sides["in memory"].train_on_batch(
                    memory_x[rows].astype(np.float32), memory_y[rows], sample_weight=ones[: len(rows)], return_dict=True
                )

        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for epoch in range(options.epochs):
            for name, run in (("notebooks", notebooks), ("ours", ours), ("in memory", in_memory)):
                began = time.perf_counter()
                run(epoch)
                speeds[name].append(len(photos) / (time.perf_counter() - began))
                print(f"epoch {epoch + 1} {name}: {speeds[name][-1]:.1f} photos/s", flush=True)

    print(f"\n{options.backbone}, {options.size} x {options.size}, batch {options.batch}, {len(photos)} photos\n")
    print("| epoch | " + " | ".join(speeds) + " | ours / notebooks | ours / in memory |")
    print("| --- | " + "--- | " * (len(speeds) + 2))
    ratios: tuple[list[float], list[float]] = ([], [])
    for epoch in range(options.epochs):
        a, b, c = (speeds[name][epoch] for name in speeds)
        if epoch:
            ratios[0].append(b / a)
            ratios[1].append(b / c)
        print(f"| {epoch + 1} | {a:.1f} | {b:.1f} | {c:.1f} | {b / a:.2f} | {b / c:.2f} |")
    print(f"| median from 2 on | | | | {statistics.median(ratios[0]):.2f} | {statistics.median(ratios[1]):.2f} |")


if __name__ == "__main__":
    main()
