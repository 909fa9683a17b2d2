"""Make the model that ships from the photos it was made from. One command, goes on where it was stopped.

    python scripts/default_model.py PHOTOS OUT [--packages FOLDER] [--plan FILE] [--until STAGE]

PHOTOS holds ``real/`` (street and press photos with boxes), ``faces/`` (single faces) and ``more/`` (eleven collections
in two folds), none of which is part of this project. Everything is written below OUT; a stage whose result is there is
skipped. Recipe, expected hours and amounts: ``scripts/default_model.toml``, or the FILE like it. The stages:

    split    real's photos in train, validation and test, near-duplicates kept together (``allmasked split``)
    pasted   masks pasted on unmasked people (``allmasked synth pasted``), photos of nobody (``scripts/nobody.py``)
    base     a network trained on what both folds have in common
    folds    that network trained on with one fold of the collections, taught to look at each face again, and exported;
             what shows the same as a photo of the other fold is left out
    measure  the yardstick (``bench/yardstick.py``): each collection answered by the network that hasn't seen it; the
             faces' calibration is fitted on these answers
    final    the mean of both networks' weights, trained on with everything, taught to look again, exported with that
             calibration

What was never marked is not taught as empty: places where a detector found somebody in ``real``
(``more/real_found.csv``), and faces that the base network finds beside the marked ones, are marked ``unknown``. Photos
without boxes get those of the base network where it agrees with their label.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import importlib.util
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from allmasked.core.errors import ConfigError, PhotoError
from allmasked.core.progress import track
from allmasked.core.types import NOBODY, Face, FoundFace, Photo, Split
from allmasked.data.annotations import Options
from allmasked.data.dataset import read_split, write_split
from allmasked.data.duplicates import describe, groups, near_duplicates
from allmasked.data.extending import extend_split
from allmasked.data.readers import read_dataset

HERE = Path(__file__).parent
PLAN = HERE / "default_model.toml"
STAGES = ("split", "pasted", "base", "folds", "measure", "final")
SURE, MAYBE = 0.5, 0.4
"""Scores of the base network's faces from which they become boxes, and unknown places."""
COVERED = 0.25
"""A face of which so much lies in a marked one (or the reverse) is that one."""
WITH_NOBODY = Options(classes={NOBODY: NOBODY})


class Making:
    """Where things lie."""

    def __init__(self, photos: Path, out: Path, packages: Path | None, plan: dict[str, Any]) -> None:
        self.photos, self.out, self.packages = photos.resolve(), out.resolve(), packages
        self.plan, self.data = plan, plan["data"]

    def collection(self, name: str) -> Path:
        return self.photos / "more" / name

    # --- stages ---------------------------------------------------------------------------------------------------

    def split(self) -> None:
        allmasked("split", self.photos / "real", "--out", self.out / "split.json", "--seed", 0)

    def pasted(self) -> None:
        allmasked("synth", "pasted", self.out / "split.json", self.out / "pasted", "--photos", self.data["pasted"])
        for name, count in self.data["pasted_more"].items():
            bare = self.out / "bare" / name
            copy_bare(self.collection(name), bare)
            allmasked("synth", "pasted", bare, self.out / f"pasted_{name}", "--photos", count, "--seed", 1)
        packages = ["--packages", self.packages] if self.packages else []
        amounts = [item for name, count in self.data["nobody"].items() for item in (f"--{name}", count)]
        run(sys.executable, HERE / "nobody.py", self.out / "nobody", *packages, *amounts)

    def base(self) -> None:
        split = read_split(self.out / "split.json")
        names = Options(classes={"masked": "all", "unmasked": "none"})
        split = extend_split(split, [self.photos / "faces"], names, most=self.data["single_faces"])
        more = [self.out / "nobody", self.out / "pasted", *map(self.collection, self.data["everywhere"])]
        split = extend_split(split, more)
        write_split(self.with_unknown_places(split), self.out / "base.json")
        self.train("base", "base")
        self.export("base")

    def folds(self) -> None:
        for name, other in (("fold_b", "fold_a"), ("fold_a", "fold_b")):
            if not (self.out / f"{name}.json").is_file():
                split = hold_out(read_split(self.out / "base.json"), [self.collection(one) for one in self.data[other]])
                self.extend(split, self.data[name], name)
            self.train(name, "fold", self.out / "runs" / "base")
            self.look_again(name)
            self.export(name, looking=True)

    def measure(self) -> None:
        names = [(",".join(self.data[one]), other) for one, other in (("fold_a", "fold_b"), ("fold_b", "fold_a"))]
        names.append((f"{self.out / 'split.json'}:validation", "fold_a"))
        models = [item for one, other in names for item in ("--model", f"{one}={self.out / other}.onnx")]
        run(
            sys.executable, HERE.parent / "bench" / "yardstick.py", self.photos / "more", *models,
            "--min-face-px", self.data["min_face_px"], "--min-face-share", self.data["min_face_share"],
            "--some-factor", self.data["some_factor"],
            "--calibrate", "--curve", "--write", self.out / "calibration.json",
        )  # fmt: skip

    def final(self) -> None:
        together = union([read_split(self.out / f"{name}.json") for name in ("fold_a", "fold_b")])
        print(f"final: {len(together.part('train'))} photos to train on")
        write_split(together, self.out / "final.json")
        mean = self.out / "runs" / "mean"
        mean_of([self.out / "runs" / name for name in ("fold_a", "fold_b")], mean)
        self.train("final", "final", mean)
        self.look_again("final")
        self.export("final", "--calibration", self.out / "calibration.json", "--name", "allmasked-3", looking=True)

    # --- parts of them --------------------------------------------------------------------------------------------

    def train(self, name: str, stage: str, weights: Path | None = None) -> None:
        """A training by a stage's recipe; goes on where it was stopped."""
        folder = self.out / "runs" / name
        if (folder / "config.json").is_file():
            return allmasked("train", "--resume", "--out", folder)
        recipe = self.out / f"recipe-{stage}.toml"
        lines = [f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}"
                 for key, value in self.plan[stage].items()]  # fmt: skip
        recipe.write_text("\n".join(line.replace("'", '"') for line in lines) + "\n")
        start = ["--weights", weights] if weights else []
        return allmasked("train", self.out / f"{name}.json", "--recipe", recipe, "--head", "evidence", *start,
                         "--out", folder)  # fmt: skip

    def look_again(self, name: str) -> None:
        """A run with a second look at each face, beside the run; goes on where it was stopped."""
        run, out = (self.out / "runs" / one for one in (name, f"{name}-looking"))
        allmasked("second-look", run, "--out", out, "--epochs", self.plan["look"]["epochs"])

    def export(self, name: str, *options: Any, looking: bool = False) -> None:
        width, height = self.data["size"]
        run = self.out / "runs" / (f"{name}-looking" if looking else name)
        allmasked("export", run, "--out", self.out / f"{name}.onnx", "--precision", "float16",
                  "--size", f"{width}x{height}", *options)  # fmt: skip

    def extend(self, split: Split, names: Sequence[str], name: str) -> None:
        """The split with collections, pasted masks on their people, and what the base network sees in all of them."""
        from allmasked.predictors.predictor import open_predictor, predict_paths

        pasted = [self.out / f"pasted_{one}" for one in names if one in self.data["pasted_more"]]
        split = extend_split(split, [*map(self.collection, names), *pasted], WITH_NOBODY)
        wanted = [p for p in split.part("train") if p.label != NOBODY and "pasted" not in p.path]
        predictor = open_predictor(self.out / "base.onnx")
        found = predict_paths(predictor, [(photo.path, split.root / photo.path) for photo in wanted])
        marked, counts = {}, Counter[str]()
        for photo, said in zip(wanted, track(found, "marking", len(wanted))):
            faces, what = with_found(photo, said.faces or ())
            marked[photo.path] = faces
            counts[what] += 1
        photos = tuple(
            dataclasses.replace(p, part="left_out", reason="held out")
            if p.part == "test" and (split.root / p.path).is_relative_to(self.photos / "more")
            else dataclasses.replace(p, faces=marked.get(p.path, p.faces))
            for p in split.photos
        )
        print(f"{name}: {len(split.part('train'))} photos to train on; {dict(counts)}")
        write_split(dataclasses.replace(split, photos=photos), self.out / f"{name}.json")

    def with_unknown_places(self, split: Split) -> Split:
        """The split with the places of ``real_found.csv`` marked unknown."""
        found: dict[Path, list[Face]] = defaultdict(list)
        with (self.photos / "more" / "real_found.csv").open() as stream:
            for row in csv.DictReader(stream):
                edges = (float(row[name]) for name in ("left", "top", "right", "bottom"))
                found[self.photos / "real" / row["photo"]].append(Face("unknown", *edges))
        photos = []
        for photo in split.photos:
            extra = found.get(split.root / photo.path)
            if photo.faces is not None and extra:
                photo = dataclasses.replace(photo, faces=(*photo.faces, *extra))
            photos.append(photo)
        return dataclasses.replace(split, photos=tuple(photos))


def read_plan(path: Path) -> dict[str, Any]:
    """A plan with every table and key that the project's own has.

    Raises:
        ConfigError: no such file, no TOML, or something is missing.
    """
    try:
        plan = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a plan ({error}); copy {PLAN.name} and edit it") from None
    for table, values in tomllib.loads(PLAN.read_text(encoding="utf-8")).items():
        if not isinstance(plan.get(table), dict):
            raise ConfigError(f"{path}: lacks the table [{table}]; copy {PLAN.name} and edit it")
        if lacks := sorted(values.keys() - plan[table].keys()):
            raise ConfigError(f"{path}: lacks {lacks[0]!r} in [{table}]; copy {PLAN.name} and edit it")
    return plan


def with_found(photo: Photo, found: Sequence[FoundFace]) -> tuple[tuple[Face, ...] | None, str]:
    """A photo's faces with what the base network found, and what was done."""
    if photo.faces is None:
        wear = {"all": "masked", "none": "bare"}.get(photo.label)
        worn = {"masked": "masked", "bare": "bare"}
        agree = [face for face in found if worn[face.wear] == wear]
        if len(agree) < len(found) or not any(face.score >= SURE for face in agree):
            return None, "left without boxes"
        return tuple(
            Face(wear if face.score >= SURE else "unknown", face.left, face.top, face.right, face.bottom)  # type: ignore[arg-type]
            for face in found
        ), "given boxes"
    unmarked = [face for face in found if face.score >= MAYBE and not any(same(face, one) for one in photo.faces)]
    if not unmarked or not photo.faces:
        return photo.faces, "as marked"
    unknown = (Face("unknown", face.left, face.top, face.right, face.bottom) for face in unmarked)
    return (*photo.faces, *unknown), "given unknown places"


def same(one: FoundFace | Face, other: Face) -> bool:
    """Whether two boxes lie in each other by more than COVERED of the smaller."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    areas = [(box.right - box.left) * (box.bottom - box.top) for box in (one, other)]
    return max(width, 0.0) * max(height, 0.0) >= COVERED * min(areas)


def hold_out(split: Split, sources: Iterable[Path]) -> Split:
    """The split with collections as further test photos; what shows the same as one of them is left out."""
    held = []
    for source in sources:
        folder, photos, _ = read_dataset(source, options=WITH_NOBODY)
        held += [dataclasses.replace(p, path=path_below(folder / p.path, split.root), part="test") for p in photos]
    ours = [photo for photo in split.photos if photo.part in ("train", "validation")]
    found = describe([split.root / photo.path for photo in [*ours, *held]])
    fine = [index for index, one in enumerate(found) if not isinstance(one, PhotoError)]
    pairs = near_duplicates([one for one in found if not isinstance(one, PhotoError)], remember=True)
    number = dict(zip(fine, groups(len(fine), pairs)))
    reserved = {number[index] for index in range(len(ours), len(found)) if index in number}
    first = 1 + max(photo.group for photo in split.photos)
    new = [photo for photo in split.photos if photo.part not in ("train", "validation")]
    for index, photo in enumerate(ours):
        if number.get(index) in reserved:
            photo = dataclasses.replace(photo, part="left_out", reason="shows the same as a photo held out")
        new.append(photo)
    for index, photo in enumerate(held, len(ours)):
        one = found[index]
        if not isinstance(one, PhotoError):
            size = {"sha256": one.sha256, "width": one.width, "height": one.height}
            new.append(dataclasses.replace(photo, group=first + number[index], **size))  # type: ignore[arg-type]
    return dataclasses.replace(split, photos=tuple(sorted(new, key=lambda photo: photo.path)))


def union(splits: Sequence[Split]) -> Split:
    """One split whose training part is that of them all; they are of one root."""
    photos: dict[str, Photo] = {}
    for split in splits:
        photos |= {p.path: p for p in split.photos if p.part == "train" or p.path not in photos}
    return dataclasses.replace(splits[0], photos=tuple(photos[path] for path in sorted(photos)))


def path_below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def mean_of(runs: Sequence[Path], out: Path) -> None:
    """A run folder whose weights are the mean of those of ``runs`` ("model soup", Wortsman et al. 2022)."""
    import shutil

    from allmasked.networks import model as models

    loaded = [models.load(folder / "model.keras") for folder in runs]
    weights = [np.mean(values, axis=0) for values in zip(*(model.get_weights() for model in loaded))]
    loaded[0].set_weights(weights)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "split.json", "metrics.jsonl"):
        shutil.copyfile(runs[0] / name, out / name)
    models.save(loaded[0], out / "model.keras")


def copy_bare(collection: Path, out: Path) -> None:
    """The photos of class ``none`` of a collection with their boxes, as a data set of its own."""
    import shutil

    shutil.copytree(collection / "none", out / "none", dirs_exist_ok=True)
    lines = (collection / "faces.csv").read_text().splitlines()
    (out / "faces.csv").write_text("\n".join([lines[0], *(line for line in lines if line.startswith("none/"))]) + "\n")


def allmasked(*arguments: Any) -> None:
    run(sys.executable, "-m", "allmasked", *arguments)


def run(*command: Any) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--packages", type=Path, help="for scripts/nobody.py")
    parser.add_argument("--plan", type=Path, default=PLAN, help="recipe and amounts")
    parser.add_argument("--until", default=STAGES[-1], choices=STAGES)
    options = parser.parse_args()
    if missing := [name for name in ("real", "faces", "more") if not (options.photos / name).is_dir()]:
        parser.error(f"{options.photos}: has no folder {missing[0]}/")
    if importlib.util.find_spec("skimage") is None:
        parser.error("scripts/nobody.py needs it: pip install scikit-image")
    try:
        plan = read_plan(options.plan)
    except ConfigError as error:
        parser.error(str(error))
    making = Making(options.photos, options.out, options.packages, plan)
    making.out.mkdir(parents=True, exist_ok=True)
    for stage in STAGES[: STAGES.index(options.until) + 1]:
        done = making.out / f"{stage}.done"
        if not done.is_file():
            try:
                getattr(making, stage)()
            except subprocess.CalledProcessError as error:  # it has said why
                sys.exit(error.returncode)
            done.touch()


if __name__ == "__main__":
    main()
