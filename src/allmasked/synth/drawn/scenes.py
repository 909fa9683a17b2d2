"""Drawn photos: people placed in a place, lit, with things in front, taken by an imperfect camera.

Everything that decides a photo's label stays visible: no face covers another, and what stands in front keeps clear of
every face. How many people there are, how large, how lit and how sharp does not depend on the label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.types import Class, Face, Size, Wear
from allmasked.synth.drawn.backdrops import BACKDROPS, FRONTS
from allmasked.synth.drawn.people import face_box, sample_person
from allmasked.synth.drawn.portraits import paint_person
from allmasked.synth.paint.brush import Sheet, pick
from allmasked.synth.paint.geometry import Light

Edges = tuple[float, float, float, float]
"""Left, top, right, bottom, px."""

SIZES: dict[Size, float] = {
    (640, 480): 5.0, (640, 427): 3.0, (612, 408): 2.0, (576, 480): 1.0, (512, 512): 1.0, (480, 600): 1.0,
    (480, 640): 1.5, (720, 480): 1.0,
}  # fmt: skip
"""Photo sizes (width, height, px) and how often each is drawn."""

SMALLEST_FACE = 0.15
"""About the least height of a face (hairline to chin), as a share of the height of a 4:3 frame around the photo."""

INCORRECT_SHARE, INCORRECT_FACE = 0.2, 0.19
"""Share of the bare faces with a mask under the nose or on the chin, among faces at least so high (as above): on a
smaller one it could not be told for certain."""

MAX_PEOPLE = 6

NORMAL = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)])
"""256 equally likely values of the normal distribution: a byte's worth of noise."""


@dataclass(frozen=True)
class Placed:
    """A person's place: face centre and face height in px."""

    x: float
    y: float
    scale: float

    def around(self, half: float, top: float, bottom: float) -> Edges:
        """A box about the place, in face heights: half its width, and its edges below the face's centre."""
        across = half * self.scale
        return self.x - across, self.y + top * self.scale, self.x + across, self.y + bottom * self.scale


def overlaps(first: Edges, second: Edges) -> bool:
    """Whether two boxes (left, top, right, bottom) share anything."""
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _hides(front: Placed, rear: Placed) -> bool:
    """Whether somebody in front may cover the face of somebody behind (generous outlines of head and shoulders)."""
    face = rear.around(0.5, -0.56, 0.62)
    return overlaps(front.around(0.62, -0.95, 0.8), face) or overlaps(front.around(1.38, 0.72, 9), face)


def _frame(width: int, height: int) -> float:
    """The height of a 4:3 frame around a photo."""
    return max(height, 0.75 * width)


def arrange(rng: np.random.Generator, people: int, width: int, height: int) -> list[Placed]:
    """Places for ``people`` people, nearest first."""
    frame = _frame(width, height)
    least = {1: 0.2, 2: 0.17}.get(people, SMALLEST_FACE) * frame
    most = {1: 0.5, 2: 0.4, 3: 0.34, 4: 0.3, 5: 0.27, 6: 0.25}[people] * frame
    least, most = (min(size, 0.85 * width) for size in (least, most))  # a head is 1.1 times as wide
    while True:
        for _ in range(12):
            scales = np.sort(np.exp(rng.uniform(math.log(least), math.log(most), people)))[::-1]
            eye_line = height * rng.uniform(0.32, 0.5)
            rise = rng.uniform(0, 0.1 + 0.07 * people) * height  # a raised camera sees the near ones lower
            placed: list[Placed] = []
            for rank, scale in enumerate(scales):
                for _ in range(30):
                    x = rng.uniform(0.55 * scale, width - 0.55 * scale)
                    y = eye_line + rise * (0.5 - rank / max(people - 1, 1)) + rng.normal(0, 0.2) * scale
                    y = float(np.clip(y, 0.72 * scale, height - 0.62 * scale))
                    candidate = Placed(float(x), y, float(scale))
                    if not any(_hides(other, candidate) or _hides_head(candidate, other) for other in placed):
                        placed.append(candidate)
                        break
                else:
                    break
            if len(placed) == people:
                return placed
        most = max(most * 0.93, least * 1.05)
        least *= 0.985


def _hides_head(rear: Placed, front: Placed) -> bool:
    """Whether two heads stand so close that one would be a mere sliver behind the other."""
    return abs(rear.x - front.x) < 0.6 * (rear.scale + front.scale) / 2 and abs(rear.y - front.y) < 0.5 * front.scale


def wears(rng: np.random.Generator, label: Class, heights: Sequence[float]) -> list[Wear]:
    """How people wear their masks in a photo of class ``label``; ``heights`` are their faces' (share of the frame).

    Raises:
        ValueError: ``some`` with fewer than two people, or no people.
    """
    people = len(heights)
    if people < 1 or (label == "some" and people < 2):
        raise ValueError(f"a photo of class {label!r} cannot show {people} people")
    count = people if label == "all" else 0 if label == "none" else int(rng.integers(1, people))
    masked = rng.permutation(people) < count
    incorrect = (rng.random(people) < INCORRECT_SHARE) & (np.asarray(heights) >= INCORRECT_FACE)
    return ["masked" if worn else "incorrect" if wrong else "bare" for worn, wrong in zip(masked, incorrect)]


def draw_scene(
    rng: np.random.Generator, label: Class, people: int, size: Size | None = None
) -> tuple[NDArray[np.uint8], tuple[Face, ...]]:
    """Draw one photo of class ``label`` with ``people`` (1-6) people.

    Returns:
        RGB pixels (H, W, 3) uint8, and the faces from left to right: boxes in px from hairline to chin.

    Raises:
        ValueError: ``some`` with fewer than two people, or people outside 1-6.
    """
    if not 1 <= people <= MAX_PEOPLE or (label == "some" and people < 2):
        raise ValueError(f"a photo of class {label!r} cannot show {people} people")
    width, height = size or pick(rng, list(SIZES), list(SIZES.values()))
    angle = rng.uniform(-1.2, 1.2)
    light = Light(math.sin(angle), -math.cos(angle), float(rng.uniform(0.15, 0.95)))
    kind = pick(rng, list(BACKDROPS))

    placed = arrange(rng, people, width, height)
    worn = wears(rng, label, [place.scale / _frame(width, height) for place in placed])
    persons = [sample_person(rng, wear) for wear in worn]
    boxes = [face_box(person, place.x, place.y, place.scale) for person, place in zip(persons, placed)]

    blur = float(pick(rng, [0.0, rng.uniform(1, 3), rng.uniform(3, 7)]))
    photo = _place(rng, kind, width, height, blur)
    for person, place in reversed(list(zip(persons, placed))):
        paint_person(photo, person, place.x, place.y, place.scale, light)
    _things_in_front(photo, rng, boxes)

    pixels = _camera(photo.rgba()[..., :3], rng)
    in_order = sorted(zip(persons, boxes), key=lambda item: item[1][0])
    return pixels, tuple(Face(person.wear, *(round(edge, 1) for edge in box)) for person, box in in_order)


def draw_empty(rng: np.random.Generator, size: Size | None = None) -> NDArray[np.uint8]:
    """Draw one photo of a place without people: RGB pixels (H, W, 3) uint8."""
    width, height = size or pick(rng, list(SIZES), list(SIZES.values()))
    blur = float(pick(rng, [0.0, rng.uniform(1, 3)]))
    photo = _place(rng, pick(rng, list(BACKDROPS)), width, height, blur)
    _things_in_front(photo, rng, [])
    return _camera(photo.rgba()[..., :3], rng)


def _place(rng: np.random.Generator, kind: str, width: int, height: int, blur: float) -> Sheet:
    """A backdrop, out of focus by ``blur`` px."""
    photo, behind = Sheet(width, height), Sheet(width, height, detail=_detail(blur))
    BACKDROPS[kind](behind, rng, width, height)
    photo.stamp(behind, blur)
    return photo


def _detail(blur_px: float) -> float:
    """The share of a photo's resolution that is enough for a layer blurred by ``blur_px``."""
    return 0.7 if blur_px < 1 else float(np.clip(1.5 / blur_px, 0.3, 0.6))


def _things_in_front(photo: Sheet, rng: np.random.Generator, boxes: list[Edges]) -> None:
    """Up to two things before the people; one that would touch a face is left out."""
    for _ in range(int(pick(rng, [0, 1, 2], [0.45, 0.4, 0.15]))):
        blur = float(rng.uniform(1, 5))
        front = Sheet(photo.width, photo.height, detail=_detail(blur))
        FRONTS[pick(rng, list(FRONTS))](front, rng, photo.width, photo.height)
        cover = front.rgba()[..., 3]
        margin = 3 * blur + 4
        grown = [(left - margin, top - margin, right + margin, low + margin) for left, top, right, low in boxes]
        spans = [[max(0, int(edge * front.detail)) for edge in box] for box in grown]
        if not any(cover[top:bottom, left:right].any() for left, top, right, bottom in spans):
            photo.stamp(front, blur)


def _camera(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Softness, motion, exposure, contrast, colour cast, vignette and noise, each slight."""
    import cv2

    height, width = pixels.shape[:2]
    image: Any = np.ascontiguousarray(pixels)
    kind = rng.random()
    if kind < 0.45:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.4)))
    elif kind < 0.52:
        length = int(rng.integers(3, 7))
        image = cv2.blur(image, pick(rng, [(length, 1), (1, length)]))
    warmth, green = rng.normal(0, 0.06), rng.normal(0, 0.02)
    exposure = 2 ** float(np.clip(rng.normal(-0.03, 0.2), -0.5, 0.2))
    tones = np.linspace(0, 1, 256)[:, None] * [1 + warmth, 1 + green, 1 - warmth] * exposure
    tones = tones / (1 + np.maximum(tones - 0.9, 0) * 0.7)  # highlights roll off
    tones = ((tones - 0.5) * rng.uniform(0.82, 1.12) + 0.5) * 255
    shaded: Any = cv2.LUT(image, tones.astype(np.float32)[:, None])
    if rng.random() < 0.5:
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        shaded *= (1 - rng.uniform(0.05, 0.3) * (x * x + y * y) / 2).astype(np.float32)[..., None]
    noise = rng.uniform(0.5, 5.5)
    grain = (NORMAL * noise).astype(np.float32)
    shaded += cv2.LUT(rng.integers(0, 256, (height, width, 1), np.uint8), grain)[..., None]
    coarse = cv2.LUT(rng.integers(0, 256, (height // 2, width // 2, 3), np.uint8), grain * np.float32(0.6))
    shaded += cv2.resize(coarse, (width, height))
    photo: NDArray[np.uint8] = np.clip(shaded + np.float32(0.5), 0, 255).astype(np.uint8)
    return photo
