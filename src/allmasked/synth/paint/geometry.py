"""Where a face lies in an image: landmarks, and places inside the face, drawn or photographed alike.

Places are given as (u, v): u runs from -1 at the face's edge on the image's left to 1 on its right, v from 0 on the
line of the eyes to 1 at the chin.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from allmasked.synth.paint.brush import joined, polygon

Point = tuple[float, float]
Vector = NDArray[np.float64]

NOSE_V, MOUTH_V = 0.39, 0.61
"""Where the tip of the nose and the middle of the mouth lie between the eyes (0) and the chin (1)."""


@dataclass(frozen=True)
class Light:
    """Where the light comes from: ``x``, ``y`` point to it in the image (unit length), ``contrast`` is 0-1."""

    x: float = -0.6
    y: float = -0.8
    contrast: float = 0.5


@dataclass(frozen=True, eq=False)
class FaceGeometry:
    """Landmarks of one face, in the canvas' units (px on a photo). Left and right are the image's.

    ``jaw`` is the face's outline (N, 2), N >= 5, from the ear on the left down around the chin to the ear on the right.
    ``ears`` are the points where the ears join the head; None where an ear is not to be seen. Roll and yaw follow from
    the points: the nose of a turned face stands nearer to one edge.
    """

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth: Point
    chin: Point
    jaw: Vector
    ears: tuple[Point | None, Point | None] = (None, None)

    @cached_property
    def eyes(self) -> Vector:
        """The point between the eyes."""
        middle: Vector = (np.asarray(self.left_eye) + np.asarray(self.right_eye)) / 2
        return middle

    @cached_property
    def height(self) -> float:
        """From the line of the eyes to the chin."""
        return float(np.hypot(*(np.asarray(self.chin) - self.eyes)))

    @cached_property
    def down(self) -> Vector:
        """The unit vector from the brow to the chin, square to the line of the eyes."""
        x, y = self.right_eye[0] - self.left_eye[0], self.right_eye[1] - self.left_eye[1]
        length = max(math.hypot(x, y), 1e-9)
        vector: Vector = np.array([-y / length, x / length])
        return vector

    @cached_property
    def across(self) -> Vector:
        """The unit vector along the eyes, from left to right."""
        return np.array([self.down[1], -self.down[0]])

    @cached_property
    def yaw(self) -> float:
        """How far the face is turned, -1 (to the image's left) to 1, from where the nose lies between the edges."""
        left, right = self.edge(-1, NOSE_V), self.edge(1, NOSE_V)
        reach = float((np.asarray(self.nose) - left) @ self.across)
        share = reach / max(float((right - left) @ self.across), 1e-9)
        return max(-1.0, min(1.0, 2 * share - 1))

    @cached_property
    def _middle(self) -> Callable[[Vector], Vector]:
        """The cubic in v through eyes, nose, mouth and chin."""
        points = np.array([self.eyes, self.nose, self.mouth, self.chin], float)
        cube, square, slope, start = np.polyfit([0.0, NOSE_V, MOUTH_V, 1.0], points, 3)

        def curve(v: Vector) -> Vector:
            line = v[..., None]
            points: Vector = ((cube * line + square) * line + slope) * line + start
            return points

        return curve

    @cached_property
    def _sides(self) -> dict[int, tuple[Vector, Vector]]:
        """For each side (-1, 1) the outline as v rising from the ear to the chin, and its points."""
        heights = (self.jaw - self.eyes) @ self.down / self.height
        lowest = int(np.argmax(heights))
        halves = {-1: slice(0, lowest + 1), 1: slice(len(self.jaw) - 1, lowest - 1 if lowest else None, -1)}
        sides = {}
        for side, part in halves.items():
            v = np.maximum.accumulate(heights[part])
            sides[side] = (v + np.arange(len(v)) * 1e-9, self.jaw[part])
        return sides

    @cached_property
    def skin(self) -> Any:
        """The area (a path) of cheeks, chin and the neck just below."""
        lowest = int(np.argmax(self.jaw @ self.down))
        neck = [self.jaw[index] + self.down * self.height * 0.6 for index in (lowest + 2, lowest - 2)]
        return joined(polygon(self.jaw), polygon([self.jaw[lowest - 2], self.jaw[lowest + 2], *neck]))

    def middle(self, v: ArrayLike) -> Vector:
        """Points (..., 2) of the face's middle line at heights ``v`` (...); beyond the chin straight on down."""
        v = np.asarray(v, float)
        inside = np.minimum(np.maximum(v, 0.0), 1.0)
        points: Vector = self._middle(inside) + (v - inside)[..., None] * self.down * self.height
        return points

    def edge(self, side: int, v: ArrayLike) -> Vector:
        """Points (..., 2) of the face's outline at heights ``v`` (...), ``side`` -1 left or 1 right."""
        heights, points = self._sides[side]
        v = np.asarray(v, float)
        return np.stack([np.interp(v, heights, points[:, axis]) for axis in (0, 1)], axis=-1)

    def at(self, u: ArrayLike, v: ArrayLike) -> Vector:
        """The points (..., 2) at (u, v) of the face, rounded like a barrel: steps of u shrink towards the edges."""
        u, v = np.broadcast_arrays(np.asarray(u, float), np.asarray(v, float))
        level = np.minimum(np.maximum(v, 0.12), 0.62)
        middle = self.middle(level)
        edge = np.where((u >= 0)[..., None], self.edge(1, level), self.edge(-1, level))
        taper = 1 - 0.4 * np.maximum(0.0, np.minimum(v, 1.1) - 0.62)
        turn = np.sin(np.minimum(np.abs(u), 1.15) * 1.4) / math.sin(1.4)
        reach = ((edge - middle) @ self.across * taper * turn)[..., None]
        rise = (-(v - 0.3) * 0.3 * u * u * self.height)[..., None]
        points: Vector = self.middle(v) + self.across * reach + self.down * rise
        return points

    def row(self, v: float, start: float = -1.0, end: float = 1.0, count: int = 15) -> Vector:
        """Points (count, 2) along one height of the face."""
        return self.at(np.linspace(start, end, count), v)

    def column(self, u: float, start: float = -0.05, end: float = 1.3, count: int = 9) -> Vector:
        """Points (count, 2) from the brow down to below the chin."""
        return self.at(u, np.linspace(start, end, count))
