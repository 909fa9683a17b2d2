"""How long until the best validation score of the notebooks' recipe is reached: by theirs, and by ours.

    python bench/time_to_best.py DATA OUT [--backbone EfficientNetLite0] [--epochs 20] [--ours RECIPE] [--our-epochs N]

DATA is a labelled data set, best with boxes, or a split.json. Two trainings one after the other on the same machine,
split, backbone and weights, both from an empty cache:

* ``theirs``: ``allmasked train --recipe notebook --loader flow_from_directory``, as published but for the limit of
  epochs (theirs is 500; the early stop, ten epochs without a lower validation loss, mostly comes before it).
* ``ours``: ``allmasked train --recipe default``.

Time is given on the clock and in processor seconds, with decoding, validation, compiling and the start of the program;
where other programs take processor time meanwhile, compare the latter. Each run's rows are kept in OUT/NAME.csv and
its run folder in OUT/NAME, so that a run that is there is not made again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

SCORES = {"val_loss": min, "val_accuracy": max, "val_macro_f1": max}
"""What is followed, and what is best of it."""


def train(name: str, data: Path, out: Path, options: list[str]) -> list[dict[str, float]]:
    """The rows of a training: epoch, seconds on the clock and of the processors since its start, scores."""
    table, run = out / f"{name}.csv", out / name
    if table.is_file():
        with table.open() as stream:
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
    shutil.rmtree(run, ignore_errors=True)
    cache = out / f"{name}-cache"
    shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, "-m", "allmasked", "train", data, *options, "--out", run, "--cache", cache]
    print("+", *command, flush=True)
    rows: list[dict[str, float]] = []
    began = time.monotonic()
    with subprocess.Popen([str(part) for part in command], env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            time.sleep(0.5)
            metrics = run / "metrics.jsonl"
            lines = metrics.read_text().splitlines() if metrics.is_file() else []
            if len(lines) > len(rows) and process.poll() is None:
                used = watched.cpu_times()
                at = {"seconds": time.monotonic() - began, "cpu_seconds": used.user + used.system}
                for line in map(json.loads, lines[len(rows) :]):
                    rows.append({"epoch": line["epoch"], **at, **{score: line[score] for score in SCORES}})
    if process.returncode:
        sys.exit(process.returncode)
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shutil.rmtree(cache)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", default="EfficientNetLite0")
    parser.add_argument("--epochs", type=int, default=20, help="theirs, at most")
    parser.add_argument("--ours", default="default", help="recipe, or a TOML file")
    parser.add_argument("--our-epochs", type=int, help="after the head's; the recipe's if not given")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    both = ["--backbone", options.backbone]
    our_epochs = ["--epochs", str(options.our_epochs)] if options.our_epochs else []
    theirs_options = ["--recipe", "notebook", "--loader", "flow_from_directory", "--epochs", str(options.epochs)]
    theirs = train("theirs", options.data, options.out, [*both, *theirs_options])
    ours = train("ours", options.data, options.out, [*both, "--recipe", options.ours, *our_epochs])
    for name, rows in (("theirs", theirs), ("ours", ours)):
        print(
            f"\n| {name}: epoch | seconds | processor seconds | loss | accuracy | macro-F1 |\n| ---: |" + " ---: |" * 5
        )
        for row in rows:
            scores = " | ".join(f"{row[score]:.3f}" for score in SCORES)
            print(f"| {row['epoch']:.0f} | {row['seconds']:.0f} | {row['cpu_seconds']:.0f} | {scores} |")

    print("\n| their best | epoch | seconds, theirs | ours | ratio | processor seconds, theirs | ours | ratio |")
    print("| --- |" + " ---: |" * 7)
    for score, best in SCORES.items():
        value = best(row[score] for row in theirs)
        first = next(row for row in theirs if row[score] == value)
        reached = next((row for row in ours if best(row[score], value) == row[score]), None)
        cells = [f"{score} {value:.3f}", f"{first['epoch']:.0f}"]
        for clock in ("seconds", "cpu_seconds"):
            mine = reached and reached[clock]
            cells += [
                f"{first[clock]:.0f}",
                f"{mine:.0f}" if mine else "never",
                f"{mine / first[clock]:.3f}" if mine else "",
            ]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
