"""How faithful heat maps are: deletion and insertion AUC, and the pointing game, each beside a random map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFilter

from allmasked.core.errors import DataError, PhotoError
from allmasked.core.progress import track
from allmasked.core.types import LABELS, NOBODY, Face, InputSpec, Photo, ResizeMode
from allmasked.explaining.maps import explainer_named
from allmasked.explaining.network import Floats, Network, network
from allmasked.images import pixels as px
from allmasked.images.draw import enlarge
from allmasked.predictors.views import read_views
from allmasked.stats.metrics import draws, group_index

if TYPE_CHECKING:
    import keras

RANDOM = "random"
TOLERANCE_PX = 15
"""The pointing game's margin around a box, in px of the model's input (as in Zhang et al. 2018)."""


@dataclass(frozen=True)
class Estimate:
    """A mean over photos and its 95 % bootstrap interval, drawn by groups of near-duplicates."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float] | NDArray[Any], groups: Sequence[int] | None = None, seed: int = 0) -> Estimate:
        numbers = np.asarray(values, float)
        index, number = group_index(np.full(len(numbers), -1) if groups is None else groups)
        sums, counts = np.bincount(index, weights=numbers), np.bincount(index)
        means = np.concatenate([(drawn @ sums) / (drawn @ counts) for drawn in draws(number, 2000, seed)])
        low, high = np.percentile(means, (2.5, 97.5))
        return cls(float(numbers.mean()), float(low), float(high))

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Faithfulness:
    """One explainer's figures over a set of photos.

    ``deletion`` (lower is better) and ``insertion`` (higher is better): mean probability, 0..1, of the predicted class
    while pixels are taken away from, or added to, the photo, hottest first. ``pointing``: share of photos whose hottest
    place lies on a face that the true class is about; None without boxes. The ``_gain`` of each is the paired
    difference to the random map, positive where the explainer is better.
    """

    explainer: str
    photos: int
    deletion: Estimate
    deletion_gain: Estimate
    insertion: Estimate
    insertion_gain: Estimate
    pointing_photos: int = 0
    pointing: Estimate | None = None
    pointing_gain: Estimate | None = None


def deletion_insertion(
    cut: Network, pixels: NDArray[np.uint8], heat: Floats, class_index: int, region: tuple[int, int, int, int], *,
    steps: int = 12, rng: np.random.Generator,
) -> tuple[float, float]:  # fmt: skip
    """Deletion and insertion AUC (Petsiuk et al. 2018, RISE) of one heat map.

    Deletion puts grey in the place of pixels, insertion starts from a blurred photo. AUC is the mean (trapezoids) of
    the class's probability over the share of changed pixels, from 0 to 1.

    Args:
        pixels: (H, W, 3) uint8, the model's input.
        heat: (h, w) 0..1; enlarged to the input. Equal values come in random order.
        region: (left, top, right, bottom) px of the input that the photo covers; the bars are left alone.
        steps: equal steps in which all pixels of the region are changed.
    """
    left, top, right, bottom = region
    values = enlarge(heat, cut.size)[top:bottom, left:right].ravel()
    order = np.lexsort((rng.random(values.size), -values))
    rank = np.argsort(order).reshape(bottom - top, right - left)
    photo = pixels[top:bottom, left:right]
    image = px.Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(max(cut.size) / 25))
    blurred = np.asarray(image)[top:bottom, left:right]
    frames = np.repeat(pixels[None], 2 * (steps + 1), 0)
    for step in range(steps + 1):
        changed = (rank < round(values.size * step / steps))[..., None]
        frames[step, top:bottom, left:right] = np.where(changed, np.uint8(px.PAD), photo)
        frames[steps + 1 + step, top:bottom, left:right] = np.where(changed, photo, blurred)
    curve = cut.probabilities(frames)[:, class_index].reshape(2, steps + 1)
    areas = ((curve[:, 1:] + curve[:, :-1]) / 2).mean(1)
    return float(areas[0]), float(areas[1])


def points_at(cut: Network, heat: Floats, faces: Sequence[Face], place: px.Placement, rng: np.random.Generator) -> bool:
    """The pointing game (Zhang et al. 2018): whether the hottest place lies on one of ``faces`` (px of the photo)."""
    hot = enlarge(heat, cut.size)
    spots = np.argwhere(hot >= hot.max() - 1e-6)
    y, x = spots[rng.integers(len(spots))] + 0.5
    for face in faces:
        left, top, right, bottom = place.box(face.left, face.top, face.right, face.bottom)
        if left - TOLERANCE_PX <= x < right + TOLERANCE_PX and top - TOLERANCE_PX <= y < bottom + TOLERANCE_PX:
            return True
    return False


def faces_about(photo: Photo) -> list[Face]:
    """The faces that a photo's label is about: masked ones for "all", bare ones for "none", every one for "some"."""
    return [face for face in photo.faces or () if photo.label == "some" or face.masked == (photo.label == "all")]


def measure(
    model: keras.Model | Network,
    photos: Sequence[Photo],
    root: Path,
    resize_mode: ResizeMode,
    *,
    explainers: Sequence[str],
    steps: int = 12,
    seed: int = 0,
) -> tuple[list[Faithfulness], list[PhotoError]]:
    """Measure explainers on labelled photos, and a random map of the same resolution (so the same smoothness) beside.

    Args:
        model: see :class:`allmasked.explaining.network.Network`.
        photos: with ``faces`` where the pointing game is to be played. Those of nobody have no face to explain and are
            passed over.
        root: the folder that their paths are relative to.
        resize_mode: how the model wants its photos.
        explainers: rows of :data:`allmasked.explaining.maps.EXPLAINERS`.
        steps: see :func:`deletion_insertion`.
        seed: of the random maps and of ties.

    Returns:
        One entry for each explainer and a last one for ``"random"``; the photos that couldn't be read.

    Raises:
        DataError: no photo can be read.
        ConfigError: an explainer is not known or doesn't fit the head.
    """
    cut = network(model)
    spec = InputSpec(cut.size, resize_mode)
    rows = {name: explainer_named(name) for name in explainers}
    names = [*rows, RANDOM]
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    hits: dict[str, list[bool]] = {name: [] for name in names}
    groups: tuple[list[int], list[int]] = [], []  # of all photos, and of those with faces
    broken: list[PhotoError] = []
    photos = [photo for photo in photos if photo.label != NOBODY]
    for number, photo in enumerate(track(photos, "faithfulness")):
        try:
            (width, height), (pixels,) = read_views([spec], root / photo.path, photo.path)  # as predict decodes it
        except PhotoError as error:
            broken.append(error)
            continue
        rng = np.random.default_rng((seed, number))
        place = px.placement((width, height), spec)
        left, top, right, bottom = (round(edge) for edge in place.box(0, 0, width, height))
        predicted = int(cut.probabilities(pixels[None])[0].argmax())
        faces = faces_about(photo)
        for some in groups if faces else groups[:1]:
            some.append(photo.group)
        truth = LABELS.index(photo.label)
        for name in names:
            if name == RANDOM:
                shape = cut.features(pixels[None]).shape[1:3]
                heat = true_heat = rng.random(shape, np.float32)
            else:
                heat = rows[name].heat(cut, pixels[None], [predicted])[0]
                true_heat = heat
                if faces and truth != predicted:
                    true_heat = rows[name].heat(cut, pixels[None], [truth])[0]
            region = (left, top, right, bottom)
            curves[name].append(deletion_insertion(cut, pixels, heat, predicted, region, steps=steps, rng=rng))
            if faces:
                hits[name].append(points_at(cut, true_heat, faces, place, rng))
    if not curves[RANDOM]:
        reason = f" ({broken[0]})" if broken else ""
        raise DataError(f"no photo to measure on{reason}; choose another part or data set")
    return [_summary(name, curves, hits, *groups) for name in names], broken


def _summary(
    name: str, curves: Mapping[str, list[tuple[float, float]]], hits: Mapping[str, list[bool]], of_all: list[int],
    of_faces: list[int],
) -> Faithfulness:  # fmt: skip
    own, other = np.array(curves[name]), np.array(curves[RANDOM])
    pointed = np.array(hits[name], float)
    return Faithfulness(
        explainer=name,
        photos=len(own),
        deletion=Estimate.of(own[:, 0], of_all),
        deletion_gain=Estimate.of(other[:, 0] - own[:, 0], of_all),
        insertion=Estimate.of(own[:, 1], of_all),
        insertion_gain=Estimate.of(own[:, 1] - other[:, 1], of_all),
        pointing_photos=len(pointed),
        pointing=Estimate.of(pointed, of_faces) if len(pointed) else None,
        pointing_gain=Estimate.of(pointed - np.array(hits[RANDOM], float), of_faces) if len(pointed) else None,
    )


def sample(photos: Sequence[Photo], count: int, seed: int = 0) -> list[Photo]:
    """``count`` photos drawn without replacement, in their order (all of them where there are fewer)."""
    if len(photos) <= count:
        return list(photos)
    chosen = np.random.default_rng(seed).choice(len(photos), count, replace=False)
    return [photos[index] for index in sorted(chosen)]
