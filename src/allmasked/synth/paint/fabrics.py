"""Fabrics of cloth masks: patterns that follow the face they are painted on.

A pattern is painted over a fabric of ``colours[0]`` in the colours that follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from allmasked.synth.paint.brush import Brush, Colour, deeper, lighter, pick, polygon, smooth, together
from allmasked.synth.paint.geometry import FaceGeometry, Vector

Colours = tuple[Colour, ...]
Pattern = Callable[[Brush, FaceGeometry, Colours, np.random.Generator], None]


def _plain(*_: Any) -> None:
    """One colour."""


CIRCLE = np.array([(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 9)[:-1]])
STAR = np.array(
    [(math.sin(a) * r, -math.cos(a) * r) for a, r in zip(np.linspace(0, 2 * math.pi, 11)[:-1], [1, 0.42] * 5)]
)
HEART = np.array(
    [(0, 0.9), (-0.95, -0.1), (-0.75, -0.75), (-0.25, -0.75), (0, -0.35), (0.25, -0.75), (0.75, -0.75), (0.95, -0.1)]
)
LEAF = np.array([(0, -1), (0.45, -0.2), (0.3, 0.5), (0, 1), (-0.3, 0.5), (-0.45, -0.2)])


def _grid(rng: np.random.Generator, step: float) -> Vector:
    """Places (N, 2) as (u, v) on a staggered grid over the fabric."""
    heights = np.arange(-0.1 + rng.uniform(0, step), 1.35, step)
    places = [(u, v) for k, v in enumerate(heights) for u in np.arange(-1.15 + k % 2 * step * 0.55, 1.2, step * 1.1)]
    return np.array(places)


def _marks(face: FaceGeometry, places: Vector, shape: Vector, size: float, curved: bool = True) -> Any:
    """One path of small shapes (N, 2) of half-size 1 laid on the fabric at ``places`` (M, 2) as (u, v)."""
    points = face.at(places[:, :1] + shape[..., 0] * size * 0.8, places[:, 1:] + shape[..., 1] * size)
    return together(smooth(outline, True) if curved else polygon(outline) for outline in points)


def _dots(brush: Brush, face: FaceGeometry, colours: Colours, rng: np.random.Generator) -> None:
    size = rng.uniform(0.03, 0.06)
    brush.fill(_marks(face, _grid(rng, size * rng.uniform(3.2, 4.4)), CIRCLE, size), colours[1])


def _shapes(shape: Vector, curved: bool) -> Pattern:
    def paint(brush: Brush, face: FaceGeometry, colours: Colours, rng: np.random.Generator) -> None:
        size = rng.uniform(0.055, 0.09)
        places = _grid(rng, size * 2.7)
        second = rng.random(len(places)) < 0.4
        for colour, part in zip(colours[1:], (places[~second], places[second])):
            turn = rng.uniform(-0.6, 0.6, len(part))
            rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            brush.fill(_marks(face, part, np.einsum("ijm,nj->mni", rotation, shape), size, curved), colour)

    return paint


def _flowers(brush: Brush, face: FaceGeometry, colours: Colours, rng: np.random.Generator) -> None:
    size = rng.uniform(0.05, 0.075)
    places = _grid(rng, size * 3.6)
    for angle in np.arange(5) * 2 * math.pi / 5:
        petals = places + np.array([math.cos(angle) * 0.7, math.sin(angle) * 0.8]) * size
        brush.fill(_marks(face, petals, CIRCLE, size * 0.55), colours[1])
    brush.fill(_marks(face, places, CIRCLE, size * 0.42), colours[2])


def _stripes(brush: Brush, face: FaceGeometry, colours: Colours, rng: np.random.Generator) -> None:
    step = rng.uniform(0.09, 0.17)
    if rng.random() < 0.6:
        for v in np.arange(-0.05, 1.35, step):
            brush.line(smooth(face.row(v, -1.1, 1.1)), colours[1], face.height * step * 0.45)
    else:
        for u in np.arange(-1.1, 1.15, step * 1.2):
            brush.line(smooth(face.column(u)), colours[1], face.height * step * 0.42)


def _checks(brush: Brush, face: FaceGeometry, colours: Colours, rng: np.random.Generator) -> None:
    step = rng.uniform(0.12, 0.18)
    for v in np.arange(-0.05, 1.35, step):
        brush.line(smooth(face.row(v, -1.1, 1.1)), colours[1], face.height * step * 0.5, 0.55)
    for u in np.arange(-1.1, 1.15, step * 1.2):
        brush.line(smooth(face.column(u)), colours[1], face.height * step * 0.48, 0.55)


def _camouflage(brush: Brush, face: FaceGeometry, colours: Colours, rng: np.random.Generator) -> None:
    tones = [deeper(colours[0], 0.35), lighter(colours[0], 0.3), colours[1]]
    for _ in range(26):
        blob = CIRCLE * rng.uniform(0.6, 1.4, (len(CIRCLE), 1))
        place = np.array([[rng.uniform(-1, 1), rng.uniform(0, 1.2)]])
        brush.fill(_marks(face, place, blob, rng.uniform(0.08, 0.16)), pick(rng, tones), 0.9)


PATTERNS: dict[str, Pattern] = {
    "plain": _plain, "dots": _dots, "stripes": _stripes, "checks": _checks, "flowers": _flowers,
    "stars": _shapes(STAR, curved=False), "hearts": _shapes(HEART, curved=True),
    "leaves": _shapes(LEAF, curved=True), "camouflage": _camouflage,
}  # fmt: skip
