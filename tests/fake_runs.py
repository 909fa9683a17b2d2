"""Run folders without a network, for the tests of what works on a finished run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from allmasked.core.config import Recipe, TrainConfig
from allmasked.core.runs import Run
from allmasked.core.types import CLASSES, NOBODY, Face, Part, Photo, Prediction, Split
from allmasked.data.dataset import write_split


class FakeModel:
    """Answers right for a photo with the chance ``skill``, from the photo's name alone, and remembers what it saw."""

    def __init__(self, skill: float, seed: int = 0, confidence: float = 0.8) -> None:
        self.skill, self.seed, self.confidence = skill, seed, confidence
        self.asked: list[str] = []
        self.wrong: dict[str, str] = {}  # path: the answer to give instead; "nobody": no face is found there

    def __call__(self, folder: Path, photos: Sequence[tuple[str, Path]]) -> Iterable[Prediction]:
        del folder
        for name, path in photos:
            self.asked.append(name)
            if not path.is_file():
                yield Prediction(name, None, None, "no such file")
                continue
            digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
            truth = CLASSES.index(path.parent.name)  # type: ignore[arg-type]
            answer = truth if digest[0] < 256 * self.skill else (truth + 1 + digest[1] % 2) % 3
            if self.wrong.get(name) == NOBODY:
                yield Prediction(name, NOBODY, (0.0, 0.0, 0.0), p_nobody=1.0)
                continue
            if name in self.wrong:
                answer = CLASSES.index(self.wrong[name])  # type: ignore[arg-type]
            values = np.full(3, (1 - self.confidence) / 2)
            values[answer] = self.confidence
            three = (float(values[0]), float(values[1]), float(values[2]))
            yield Prediction(name, CLASSES[answer], three, p_nobody=0.0 if NOBODY in self.wrong.values() else None)


def paint_photos(root: Path, counts: dict[Part, int], *, boxes: bool = True, seed: int = 0) -> list[Photo]:
    """``counts`` photos of each class a part, painted below ``root``; two of each class and part share a group."""
    photos = []
    random = np.random.default_rng(seed)
    for part, count in counts.items():
        for label in CLASSES:
            for number in range(count):
                path = root / label / f"{part}-{number:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(path)
                people = 1 + number % 3
                faces = tuple(Face("masked", 0, 0, 2, 2 + 2 * person) for person in range(people))
                photos.append(
                    Photo(
                        path=f"{label}/{path.name}",
                        label=label,
                        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                        width=16,
                        height=12,
                        group=hash_group(part, label, number),
                        part=part,
                        faces=faces if boxes else None,
                    )
                )
    return photos


def paint_nobody(root: Path, count: int, part: Part = "train") -> list[Photo]:
    """``count`` photos labelled "nobody", painted below ``root``."""
    photos = []
    for number in range(count):
        path = root / NOBODY / f"{part}-{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 12), (number, 90, 30)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        label: Any = NOBODY
        photos.append(Photo(f"{NOBODY}/{path.name}", label, digest, 16, 12, part=part, faces=()))
    return photos


def hash_group(part: str, label: str, number: int) -> int:
    """A number for the group of near-duplicates: photos 2k and 2k+1 of a class and part."""
    return int(hashlib.sha256(f"{part} {label} {number // 2}".encode()).hexdigest()[:7], 16)


def fake_run(
    folder: Path, root: Path, photos: Sequence[Photo], *, model: bytes = b"a model", head: str = "softmax"
) -> Run:
    """A finished run folder over those photos."""
    run = Run(folder)
    folder.mkdir(parents=True)
    write_split(Split(root=root, photos=tuple(photos), seed=0), run.split)
    TrainConfig(head=head, recipe=Recipe(size=(64, 48))).write(run.config, {"parameters": 1234, "train_seconds": 5.0})
    run.model.write_bytes(model)
    return run
