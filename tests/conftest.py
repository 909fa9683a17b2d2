"""Small drawn data for the tests: no real photo, no download."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image, ImageDraw

from allmasked.core.types import CLASSES, Face, Photo, Split

settings.register_profile("busy", deadline=None)  # a busy machine is no failure
settings.load_profile("busy")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("ALLMASKED_CACHE", str(tmp_path_factory.mktemp("cache")))


def draw_photo(path: Path, label: str, rng: np.random.Generator, size: tuple[int, int] = (80, 60)) -> tuple[Face, ...]:
    """A photo of two 'faces' (discs); a masked one is blue below. Returns their boxes."""
    width, height = size
    image = Image.fromarray(rng.integers(90, 160, (height, width, 3), dtype=np.uint8))
    pen = ImageDraw.Draw(image)
    wear = {"all": (True, True), "none": (False, False), "some": (True, False)}[label]
    faces = []
    for index, masked in enumerate(wear):
        left = 4 + index * (width // 2) + int(rng.integers(0, 8))
        top = int(rng.integers(4, height - 34))
        box = (left, top, left + 26, top + 30)
        pen.ellipse(box, fill=(230, 190, 160))
        if masked:
            pen.rectangle((left + 2, top + 15, left + 24, top + 28), fill=(40, 90, 220))
        faces.append(Face("masked" if masked else "bare", *map(float, box)))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return tuple(faces)


def make_split(root: Path, per_class: dict[str, int], seed: int = 0, size: tuple[int, int] = (80, 60)) -> Split:
    """A split of drawn photos: ``per_class`` photos of each class for each part."""
    rng = np.random.default_rng(seed)
    photos = []
    for part, count in per_class.items():
        for label in CLASSES:
            for number in range(count):
                path = f"{label}/{part}{number:03d}.png"
                faces = draw_photo(root / path, label, rng, size)
                digest = hashlib.sha256((root / path).read_bytes()).hexdigest()
                photos.append(
                    Photo(path, label, digest, *size, group=len(photos), part=part, faces=faces)  # type: ignore[arg-type]
                )
    return Split(root, tuple(photos), seed)


@pytest.fixture
def drawn_split(tmp_path: Path) -> Split:
    """12 training, 6 validation and 6 test photos."""
    return make_split(tmp_path / "data", {"train": 4, "validation": 2, "test": 2})


def load_script(name: str) -> ModuleType:
    """A program of ``scripts/`` as a module."""
    path = Path(__file__).parent.parent / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as dataclasses and processes want it
    spec.loader.exec_module(module)
    return module
