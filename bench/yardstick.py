"""The yardstick: answers about collections that a model has not seen in training, one table over all of them.

    python bench/yardstick.py FOLDER --model casts,previews,singles,smokers,scenes=fold-b.onnx \\
        --model mixed,small,cloth,things,crowds=fold-a.onnx [--calibrate] [--curve] [--csv OUT.csv]

FOLDER holds the collections, each in class folders (``split.json:validation`` is a part of a split instead); each is
answered by the exported model named beside it, one that was trained without it. A photo is right when its label is the
likeliest of all, none, some and nobody, as ``allmasked predict`` says it. With ``--calibrate`` the calibration of the
faces isn't the model's own but fitted on the other collections, each of them weighing the same, and never on the one
that is answered; the one fitted on all is written to ``--write FILE``. Intervals are 95 % bootstrap intervals over
groups of near-duplicates; collections named by ``--apart`` are left out of the mean. ``--curve`` prints accuracy
against the share of photos left to a person, ``--faces`` accuracy by the number of people that are marked and by the
height of the lowest of them in the input.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allmasked.core.errors import AllmaskedError, PhotoError
from allmasked.core.progress import track
from allmasked.core.types import LABELS, SURE_MARGIN, Candidates, Photo, Size
from allmasked.data.annotations import Options
from allmasked.data.dataset import read_split
from allmasked.data.duplicates import describe, groups, near_duplicates
from allmasked.data.readers import read_dataset
from allmasked.images.pixels import decode_batches, read
from allmasked.networks.reading import FLOOR, Calibration, answer_of, calibrated, counted
from allmasked.predictors.calibrating import Peaks, fit, peaks_of, write_calibration
from allmasked.predictors.onnx_model import OnnxPredictor

RESAMPLES = 1000
PEOPLE = ((1, 1), (2, 2), (3, 4), (5, 9), (10, None))
HEIGHTS_PX = ((0, 8), (8, 16), (16, 32), (32, 64), (64, 128), (128, None))
"""Rows of ``--faces``: from so many people to so many; from so high to lower than."""


@dataclass
class Collection:
    """One collection: its photos' names, labels (indices into LABELS) and groups, and what the model sees in them."""

    name: str
    photos: list[str]
    labels: np.ndarray
    groups: np.ndarray
    peaks: list[Peaks]
    own: Calibration
    people: np.ndarray
    lowest_px: np.ndarray

    def answers(self, calibration: Calibration) -> np.ndarray:
        """The four probabilities (N, 4)."""
        return np.array([four_of(one, calibration) for one in self.peaks])


def four_of(peaks: Peaks, calibration: Calibration) -> np.ndarray:
    """P(all), P(none), P(some), P(nobody) of one photo."""
    score, masked = calibrated(peaks.logits, peaks.height_px, calibration)
    height = peaks.height_px.astype(float)
    boxes = np.stack([np.zeros_like(height), np.zeros_like(height), height, height], 1)
    kept = np.flatnonzero(score >= FLOOR)
    found = Candidates(boxes, score, masked, np.ones(len(score), bool)).take(kept)
    return answer_of(counted(found, calibration.counting), calibration.counting.some_factor)


def load(folder: Path, name: str, predictor: OnnxPredictor) -> Collection:
    """A collection, looked at once: a data set of its own below ``folder``, or ``split.json:PART``."""
    if ".json:" in name:
        file, _, part = name.rpartition(":")
        split = read_split(Path(file))
        root, photos, name = split.root, list(split.part(part)), part  # type: ignore[arg-type]
    else:
        root, photos, _ = read_dataset(folder / name, options=Options(classes={"nobody": "nobody"}))
    paths = [(photo.path, root / photo.path) for photo in photos]
    described = describe([path for _, path in paths])
    fine = [index for index, one in enumerate(described) if not isinstance(one, PhotoError)]
    pairs = near_duplicates([described[index] for index in fine])  # type: ignore[misc]
    found: list[Peaks] = []
    batches = decode_batches([paths[i] for i in fine], lambda p, n: read(p, predictor.input, name=n))
    for batch in track(batches, name, -(-len(fine) // 32)):
        for maps in predictor.run(np.stack([pixels for _, pixels in batch]))["maps"]:
            found.append(peaks_of(maps, predictor.input.size))
    labels = np.array([LABELS.index(photos[index].label) for index in fine])
    names = [photos[index].path for index in fine]
    lowest = [lowest_px(photos[i], (described[i].width, described[i].height), predictor.input.size) for i in fine]  # type: ignore[union-attr]
    people = np.array([len(photos[index].faces or ()) for index in fine])
    number = np.array(groups(len(fine), pairs))
    return Collection(name, names, labels, number, found, predictor.metadata.calibration[0], people, np.array(lowest))


def lowest_px(photo: Photo, size: Size, into: Size) -> float:
    """The height of the lowest marked face where the photo is fitted into an input, px; NaN without one."""
    heights = [face.bottom - face.top for face in photo.faces or ()]
    return min(heights) * min(into[0] / size[0], into[1] / size[1]) if heights else float("nan")


def by_faces(entries: Sequence[tuple[Collection, np.ndarray]]) -> None:
    """Accuracy by people and by the lowest face, of photos with marked faces, as Markdown."""
    right = np.concatenate([one for _, one in entries])
    people = np.concatenate([one.people for one, _ in entries])
    lowest = np.concatenate([one.lowest_px for one, _ in entries])
    groups_of = [one.groups for one, _ in entries]
    offsets = np.cumsum([0, *(group.max() + 1 for group in groups_of)])
    group = np.concatenate([group + offset for group, offset in zip(groups_of, offsets)])
    rng = np.random.default_rng(0)
    for title, rows, values in (("people", PEOPLE, people), ("lowest face, px", HEIGHTS_PX, lowest)):
        print(f"\n| {title} | photos | accuracy |\n| --- | ---: | --- |")
        for low, high in rows:
            last = low if title == "people" and high == low else None
            mask = (values >= low) & (people > 0)
            if high is not None:
                mask &= values <= high if title == "people" else values < high
            if mask.any():
                name = str(last) if last else f"from {low}" if high is None else f"{low} to {high}"
                least, most = interval(right[mask], group[mask], rng)
                print(f"| {name} | {mask.sum()} | {right[mask].mean():.3f} ({least:.3f} to {most:.3f}) |")


def fitted(collections: Sequence[Collection], start: Calibration) -> Calibration:
    """The calibration that fits these collections best, each of them weighing the same, and in it each label."""
    weights = []
    for one in collections:
        share = np.bincount(one.labels, minlength=4)
        each = 1 / np.sqrt(share[one.labels])
        weights.append(each / each.sum())
    peaks = [peaks for one in collections for peaks in one.peaks]
    return fit(peaks, np.concatenate([one.labels for one in collections]), weights=np.concatenate(weights), start=start)


def f1(labels: np.ndarray, said: np.ndarray) -> float:
    """Macro-F1 over the labels that occur."""
    scores = []
    for label in np.unique(labels):
        hit = ((labels == label) & (said == label)).sum()
        scores.append(2 * hit / max((labels == label).sum() + (said == label).sum(), 1))
    return float(np.mean(scores))


def interval(right: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over groups."""
    _, number = np.unique(group, return_inverse=True)
    sums, sizes = np.bincount(number, right), np.bincount(number)
    drawn = rng.integers(0, len(sums), (RESAMPLES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", action="append", required=True, metavar="NAME,NAME...=FILE.onnx")
    parser.add_argument("--apart", default="crowds,validation", help="collections outside the mean")
    parser.add_argument("--not-fitted", default="crowds", help="collections that no calibration is fitted on")
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--min-face-px", type=float, help="px of the input")
    parser.add_argument("--min-face-share", type=float)
    parser.add_argument("--some-factor", type=float)
    parser.add_argument("--write", type=Path, help="the calibration fitted on all, as JSON")
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--faces", action="store_true")
    parser.add_argument("--csv", type=Path, help="every photo with its answer")
    options = parser.parse_args()

    collections = []
    for pair in options.model:
        names, _, file = pair.partition("=")
        if not file:
            parser.error(f"--model {pair}: must be NAME,NAME...=FILE.onnx")
        try:
            predictor = OnnxPredictor.open(file)
            if not predictor.finds_faces:
                parser.error(f"{file}: finds no faces; give an exported run with the head evidence")
            collections += [load(options.folder, name, predictor) for name in names.split(",")]
        except AllmaskedError as error:
            parser.error(str(error))
    apart, unfitted = set(options.apart.split(",")), set(options.not_fitted.split(","))
    given = {"min_face_px": options.min_face_px, "min_face_share": options.min_face_share}
    given |= {"some_factor": options.some_factor}
    rule = {name: value for name, value in given.items() if value is not None}

    def start(one: Collection) -> Calibration:
        counting = dataclasses.replace(one.own.counting, **rule)
        return Calibration(counting=counting) if options.calibrate else dataclasses.replace(one.own, counting=counting)

    rng = np.random.default_rng(0)
    lines, rows, everything = [], [], []
    for one in collections:
        others = [other for other in collections if other is not one and other.name not in unfitted]
        calibration = fitted(others, start(one)) if options.calibrate else start(one)
        four = one.answers(calibration)
        said = four.argmax(1)
        right = (said == one.labels).astype(float)
        low, high = interval(right, one.groups, rng)
        per_label = ", ".join(
            f"{LABELS[k]} {right[one.labels == k].mean():.3f} ({(one.labels == k).sum()})"
            for k in np.unique(one.labels)
        )
        lines.append((one.name, len(right), right.mean(), low, high, f1(one.labels, said), per_label))
        ranked = np.sort(four, 1)
        everything.append((one, four, said, right, ranked[:, -1] - ranked[:, -2]))
        rows += [
            (f"{one.name}/{photo}", LABELS[label], LABELS[answer], *np.round(p, 5))
            for photo, label, answer, p in zip(one.photos, one.labels, said, four)
        ]
    print("| collection | photos | accuracy | macro-F1 | right by label |")
    print("| --- | ---: | --- | ---: | --- |")
    for name, count, accuracy, low, high, score, per_label in lines:
        mark = " (apart)" if name in apart else ""
        print(f"| {name}{mark} | {count} | {accuracy:.3f} ({low:.3f} to {high:.3f}) | {score:.3f} | {per_label} |")
    kept = [entry for entry in everything if entry[0].name not in apart]
    means = np.array([entry[3].mean() for entry in kept])
    boot = []
    for _ in range(RESAMPLES):
        each = []
        for one, _, _, right, _ in kept:
            _, number = np.unique(one.groups, return_inverse=True)
            drawn = rng.integers(0, number.max() + 1, number.max() + 1)
            sums, sizes = np.bincount(number, right), np.bincount(number)
            each.append(sums[drawn].sum() / sizes[drawn].sum())
        boot.append(np.mean(each))
    labels = np.concatenate([entry[0].labels for entry in kept])
    said = np.concatenate([entry[2] for entry in kept])
    margin = np.concatenate([entry[4] for entry in kept])
    low, high = np.quantile(boot, (0.025, 0.975))
    print(f"\nmean of {len(kept)} collections: {means.mean():.3f} ({low:.3f} to {high:.3f}), lowest {means.min():.3f}")
    print(f"all {len(labels)} photos: accuracy {(labels == said).mean():.3f}, macro-F1 {f1(labels, said):.3f}")
    if options.curve:
        print("\n| margin from | left to a person | accuracy of the rest |\n| ---: | ---: | ---: |")
        for least in (0.0, 0.2, 0.4, SURE_MARGIN, 0.8, 0.9, 0.95):
            sure = margin >= least
            print(f"| {least:g} | {1 - sure.mean():.3f} | {(labels == said)[sure].mean():.4f} |")
    if options.faces:
        by_faces([(entry[0], entry[3]) for entry in kept])
    if options.calibrate:
        final = fitted([one for one in collections if one.name not in unfitted], start(kept[0][0]))
        print(f"\nfitted on all: {dataclasses.asdict(final)}")
        if options.write:
            write_calibration(final, options.write)
    if options.csv:
        with options.csv.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["photo", "label", "said", *(f"p_{label}" for label in LABELS)])
            writer.writerows(rows)


if __name__ == "__main__":
    main()
