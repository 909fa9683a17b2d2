"""Augmentation of training photos, on model inputs (uint8 RGB): geometry, resolution, colour, JPEG.

No face is cropped out unnoticed. Without boxes the whole photo stays in the frame: it may be mirrored, turned, shrunk
and moved, not enlarged. With boxes it may be enlarged as far as every marked face stays inside; and a share of the
photos (``subset_crops``) is cropped to some of the faces on purpose, taking its label from those faces, which also
breaks the tie between a photo's resolution and its label. For heads that can say "nobody", a share of the photos is
cropped to where no face is marked (``empty_crops``), and four photos are put into one frame (``mosaic``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allmasked.core.config import Recipe
from allmasked.core.types import CLASSES, LABELS, Size
from allmasked.images.pixels import PAD
from allmasked.networks.evidence import PRESENCE

Boxes = NDArray[np.float32]
"""Face boxes (F, 5) in px of the input: left, top, right, bottom, masked (1 or 0, -1 where unknown or cut)."""
Window = tuple[float, float, float, float]
"""Left, top, right, bottom px."""


MOST_ENLARGED = 4.0
"""A crop to some of the faces is enlarged to fill the frame, but no more than this."""


@dataclass(frozen=True)
class Sample:
    """A photo as it goes into augmentation.

    ``pixels`` (H, W, 3) uint8; ``label`` index into LABELS; ``content`` left, top, right, bottom px of the
    photo inside its letterbox; ``boxes`` None where unknown; ``complete`` whether it shows everybody that the photo
    shows and nobody else, which a crop to some faces and a mosaic don't.
    """

    pixels: NDArray[np.uint8]
    label: int
    content: Window
    boxes: Boxes | None
    complete: bool = True


def label_of(masked: NDArray[np.float32]) -> int:
    """The class index that faces give: all masked, none masked, or some. ``masked`` (F,) 0/1, F >= 1."""
    if masked.all():
        return CLASSES.index("all")
    return CLASSES.index("some" if masked.any() else "none")


def augment(sample: Sample, recipe: Recipe, rng: np.random.Generator, *, empty: bool = False) -> Sample:
    """One augmented copy; its boxes are those of the faces that it shows. Fully determined by ``rng``'s state.

    Args:
        empty: whether a copy may show nobody (``recipe.empty_crops``).
    """
    height, width = sample.pixels.shape[:2]
    keep, label, zoom_in, crop = sample.content, sample.label, 1.0, False
    if sample.boxes is not None and len(sample.boxes):
        window = None
        if empty and recipe.empty_crops and rng.random() < recipe.empty_crops:
            window = empty_window(sample.boxes, sample.content, rng)
        if window is None and rng.random() < recipe.subset_crops:
            window = subset_window(sample.boxes, (width, height), rng)
        if window is not None:
            (keep, label), zoom_in, crop = window, MOST_ENLARGED, True
        elif recipe.zoom_in > 1 and rng.random() < 0.5:
            keep, zoom_in = _around(sample.boxes, sample.content), recipe.zoom_in
    matrix = _geometry(keep, (width, height), zoom_in, recipe, rng, fill=crop)
    pixels = warp(sample.pixels, matrix, keep if crop else None, (width, height))
    boxes = None if sample.boxes is None else moved(sample.boxes, matrix, keep if crop else None)
    return Sample(finish(pixels, recipe, rng), label, (0, 0, width, height), boxes, complete=not crop)


def finish(pixels: NDArray[np.uint8], recipe: Recipe, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Resolution, colour and JPEG: what comes after the geometry."""
    return _jpeg(_colour(_lose_resolution(pixels, recipe, rng), recipe, rng), recipe, rng)


def mosaic(samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
    """Four photos of one size in one frame, a quarter each, in random order; the label is that of all their faces.

    ``boxes`` are None unless they are known for all four.
    """
    import cv2

    height, width = samples[0].pixels.shape[:2]
    pixels = np.full((height, width, 3), PAD, np.uint8)
    boxes: list[Boxes] | None = []
    for place, index in enumerate(rng.permutation(4)):
        sample = samples[index]
        top, left = (place // 2) * (height // 2), (place % 2) * (width // 2)
        pixels[top : top + height // 2, left : left + width // 2] = cv2.resize(
            sample.pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA
        )
        if sample.boxes is None:
            boxes = None
        elif boxes is not None:
            moved = sample.boxes.copy()
            moved[:, :4] = moved[:, :4] / 2 + (left, top, left, top)
            boxes.append(moved)
    there = PRESENCE[[sample.label for sample in samples]].max(0)
    label = int(np.flatnonzero((there == PRESENCE).all(1))[0])
    together = None if boxes is None else np.concatenate(boxes)
    return Sample(pixels, label, (0, 0, width, height), together, complete=False)


def empty_window(boxes: Boxes, content: Window, rng: np.random.Generator) -> tuple[Window, int] | None:
    """A window of the photo that keeps off all marked faces by half a face, at least a quarter as wide and high.

    Returns None when ten tries find none.
    """
    margin = 0.5 * (boxes[:, 3] - boxes[:, 1])
    for _ in range(10):
        width = (content[2] - content[0]) * rng.uniform(0.25, 0.7)
        height = (content[3] - content[1]) * rng.uniform(0.25, 0.7)
        x0, y0 = rng.uniform(content[0], content[2] - width), rng.uniform(content[1], content[3] - height)
        apart = (
            (boxes[:, 0] - margin >= x0 + width) | (boxes[:, 2] + margin <= x0)
            | (boxes[:, 1] - margin >= y0 + height) | (boxes[:, 3] + margin <= y0)
        )  # fmt: skip
        if apart.all():
            return (float(x0), float(y0), float(x0 + width), float(y0 + height)), LABELS.index("nobody")
    return None


def subset_window(boxes: Boxes, size: Size, rng: np.random.Generator) -> tuple[Window, int] | None:
    """A window around some of the faces that cuts through none of the others, and the label of those inside.

    Returns None when ten tries find none (faces too close together). The other faces lie wholly outside.
    """
    width, height = size
    aspect = width / height
    for _ in range(10):
        left, top, right, bottom, _ = boxes[rng.integers(len(boxes))]
        face = max(right - left, bottom - top)
        window_height = face * rng.uniform(1.4, 6.0)
        window_width = max(window_height * aspect * rng.uniform(0.75, 1.2), right - left + 0.3 * face)
        x0 = rng.uniform(right + 0.1 * face - window_width, left - 0.1 * face)
        y0 = rng.uniform(bottom + 0.1 * face - window_height, top - 0.1 * face)
        x0, y0 = max(x0, 0.0), max(y0, 0.0)
        x1, y1 = min(x0 + window_width, width), min(y0 + window_height, height)
        if x1 - x0 < 24 or y1 - y0 < 24:
            continue
        share = share_inside(boxes, np.array([x0, y0, x1, y1]))
        inside = share >= 0.95
        known = boxes[inside & (boxes[:, 4] >= 0), 4]
        if len(known) and (share[~inside] <= 0).all():
            return (float(x0), float(y0), float(x1), float(y1)), label_of(known)
    return None


def share_inside(boxes: Boxes, window: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of each box (F,) that lies in the window (left, top, right, bottom)."""
    width = np.minimum(boxes[:, 2], window[2]) - np.maximum(boxes[:, 0], window[0])
    height = np.minimum(boxes[:, 3], window[3]) - np.maximum(boxes[:, 1], window[1])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.asarray(np.clip(width, 0, None) * np.clip(height, 0, None) / np.maximum(area, 1e-6), np.float64)


def moved(boxes: Boxes, matrix: NDArray[np.float64], window: Window | None) -> Boxes:
    """The boxes after ``matrix``; of a crop to ``window`` only those whose centre lies inside it."""
    centre, half = (boxes[:, :2] + boxes[:, 2:4]) / 2, (boxes[:, 2:4] - boxes[:, :2]) / 2
    if window is not None:
        inside = ((centre >= window[:2]) & (centre <= window[2:])).all(1)
        boxes, centre, half = boxes[inside], centre[inside], half[inside]
    half = half * np.linalg.norm(matrix[:, :2], axis=0)  # turns are small: boxes stay upright
    centre = centre @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([centre - half, centre + half, boxes[:, 4:]], axis=1).astype(np.float32)


def _around(boxes: Boxes, content: Window) -> Window:
    """The rectangle around all faces, with a margin of a third of a face, inside the photo."""
    margin = float(np.max(boxes[:, 3] - boxes[:, 1])) / 3
    return (
        max(content[0], float(boxes[:, 0].min()) - margin),
        max(content[1], float(boxes[:, 1].min()) - margin),
        min(content[2], float(boxes[:, 2].max()) + margin),
        min(content[3], float(boxes[:, 3].max()) + margin),
    )


def turned(recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float64]:
    """A 2 x 2 matrix that mirrors and turns, as far as the recipe allows."""
    angle = np.deg2rad(rng.uniform(-recipe.rotate_degrees, recipe.rotate_degrees)) if recipe.rotate_degrees else 0.0
    mirror = -1.0 if recipe.flip and rng.random() < 0.5 else 1.0
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([mirror, 1.0])


def _geometry(
    keep: Window, size: Size, zoom_in: float, recipe: Recipe, rng: np.random.Generator, *, fill: bool
) -> NDArray[np.float64]:
    """A 2 x 3 matrix (mirror, turn, scale, move) under which the rectangle ``keep`` stays inside the frame."""
    width, height = size
    turn = turned(recipe, rng)
    corners = np.array([[keep[i], keep[j]] for i in (0, 2) for j in (1, 3)], dtype=np.float64) @ turn.T
    extent = np.maximum(corners.max(0) - corners.min(0), 1.0)
    most = min(width / extent[0], height / extent[1])
    scale = float(np.exp(rng.uniform(np.log(recipe.zoom_out), np.log(max(zoom_in, 1.0)))))
    if rng.random() < 0.3:
        scale = max(scale, 1.0)  # a share keeps its size, so that training sees what prediction will
    if fill:
        scale = most * float(rng.uniform(recipe.zoom_out, 1.0))
    scale = min(scale, most, max(zoom_in, 1.0))
    room = np.array([width, height]) - extent * scale
    move = rng.uniform(0, 1, 2) * np.maximum(room, 0) - corners.min(0) * scale
    return np.concatenate([turn * scale, move[:, None]], axis=1)


def warp(pixels: NDArray[np.uint8], matrix: NDArray[np.float64], only: Window | None, frame: Size) -> NDArray[np.uint8]:
    """The photo moved by ``matrix`` (2 x 3) into a frame of (width, height) px; of ``only`` that part is seen."""
    import cv2

    if only is not None:  # a deliberate crop: what lies outside its window must not be seen
        left, top, right, bottom = round(only[0]), round(only[1]), round(only[2]), round(only[3])
        pixels = pixels[top:bottom, left:right]
        matrix = matrix.copy()
        matrix[:, 2] += matrix[:, :2] @ np.array([left, top])
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.75:  # shrink without aliasing first, then turn
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        matrix = matrix.copy()
        matrix[:, 0] *= pixels.shape[1] / small.shape[1]
        matrix[:, 1] *= pixels.shape[0] / small.shape[0]
        pixels = small
    return cv2.warpAffine(
        pixels, matrix, frame, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(PAD,) * 3
    )


def _lose_resolution(pixels: NDArray[np.uint8], recipe: Recipe, rng: np.random.Generator) -> NDArray[np.uint8]:
    if recipe.shrink >= 1 or rng.random() < 0.5:
        return pixels
    import cv2

    factor = float(np.exp(rng.uniform(np.log(recipe.shrink), 0.0)))
    small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    way = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
    return cv2.resize(small, (pixels.shape[1], pixels.shape[0]), interpolation=way)


def _colour(pixels: NDArray[np.uint8], recipe: Recipe, rng: np.random.Generator) -> NDArray[np.uint8]:
    strength = recipe.colour
    if strength == 0:
        return pixels
    import cv2

    contrast, brightness, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    tint = 1 + 0.3 * strength * rng.uniform(-1, 1, 3)
    if rng.random() < 0.05:
        saturation = 0.0
    mix = saturation * np.eye(3) + (1 - saturation) * np.array([[0.299, 0.587, 0.114]] * 3)
    matrix = (contrast * brightness) * tint[:, None] * mix
    offset = np.full((3, 1), 127.5 * (1 - contrast) * brightness)
    return cv2.transform(pixels, np.concatenate([matrix, offset], axis=1))


def _jpeg(pixels: NDArray[np.uint8], recipe: Recipe, rng: np.random.Generator) -> NDArray[np.uint8]:
    if rng.random() >= recipe.jpeg:
        return pixels
    import cv2

    quality = int(rng.integers(25, 91))
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
