"""Small drawn data for the tests: no real photo, no download."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image, ImageDraw

from allmasked.core.types import CLASSES, Face, Photo, Split
from shallow import shallow

settings.register_profile("busy", deadline=None)  # a busy machine is no failure
settings.load_profile("busy")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
LONGEST = (
    "test_backbones", "test_site", "test_scale", "test_export", "test_train", "test_notebooks", "test_serving",
    "test_second_look", "test_train_evidence", "test_distil", "test_heads", "test_report", "test_compare", "test_sweep",
    "test_examples", "test_page", "test_view_page", "test_readout", "test_ensemble_page", "test_extras",
    "test_ensemble", "test_pasted", "test_watching", "test_cli_answers", "test_duplicates", "test_explain",
    "test_pretrained",
)  # fmt: skip


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left with one at the end (with xdist's --no-loadscope-reorder)."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


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


@pytest.fixture(scope="module", name="shallow")
def shallow_backbones() -> Iterator[None]:
    with shallow():
        yield


def load_script(name: str) -> ModuleType:
    """A program of ``scripts/`` as a module."""
    path = Path(__file__).parent.parent / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as dataclasses and processes want it
    spec.loader.exec_module(module)
    return module
