"""The mask painter: kinds of masks, how they are worn, and how they lie on a face.

A mask is painted from a :class:`~allmasked.synth.paint.geometry.FaceGeometry` alone, a handful of landmarks in the
canvas' own units, so that the same mask lies on a drawn head and on a face in a photo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from allmasked.synth.paint.brush import (
    WHITE,
    Brush,
    Colour,
    argb,
    darker,
    jitter,
    lighter,
    mix,
    oval,
    pick,
    polygon,
    skia,
    smooth,
)
from allmasked.synth.paint.fabrics import PATTERNS
from allmasked.synth.paint.geometry import NOSE_V, FaceGeometry, Light, Vector

Place = Literal["worn", "under_nose", "on_chin"]
Kind = Literal["surgical", "cloth", "sport", "ffp2"]


@dataclass(frozen=True)
class MaskStyle:
    """What a mask looks like. ``colours``: fabric, then the pattern's. ``seed`` settles folds and the pattern."""

    kind: Kind
    colours: tuple[Colour, ...]
    pattern: str = "plain"
    loops: Colour = (240.0, 240.0, 240.0)
    valve: bool = False
    seed: int = 0


# fabrics and how often one sees them
SURGICAL: dict[Colour, float] = {
    (143, 192, 224): 5.0, (172, 210, 232): 2.0, (236, 239, 241): 3.0, (46, 48, 54): 2.0, (150, 204, 190): 1.5,
    (240, 188, 204): 1.2, (196, 182, 222): 0.6,
}  # fmt: skip
FFP2: dict[Colour, float] = {(240, 240, 238): 6.0, (52, 54, 58): 1.5, (206, 216, 224): 1.0, (236, 205, 208): 0.6}
CLOTH: tuple[Colour, ...] = (
    (36, 38, 44), (230, 226, 216), (176, 42, 52), (34, 62, 112), (58, 108, 82), (222, 168, 60), (126, 74, 128),
    (214, 122, 140), (96, 148, 180), (120, 124, 130), (206, 96, 56), (60, 140, 140),
)  # fmt: skip


def sample_style(rng: np.random.Generator) -> MaskStyle:
    """A mask as one sees them: mostly surgical, then cloth of many fabrics, FFP2, and plain stretch masks."""
    kind: Kind = pick(rng, ["surgical", "cloth", "ffp2", "sport"], [0.42, 0.3, 0.18, 0.1])
    seed = int(rng.integers(2**31))
    if kind == "surgical":
        fabric = jitter(rng, pick(rng, list(SURGICAL), list(SURGICAL.values())), 6)
        return MaskStyle(kind, (fabric,), loops=lighter(fabric, 0.6) if sum(fabric) > 300 else fabric, seed=seed)
    if kind == "ffp2":
        fabric = jitter(rng, pick(rng, list(FFP2), list(FFP2.values())), 4)
        return MaskStyle(kind, (fabric,), valve=bool(rng.random() < 0.3), loops=pick(rng, [fabric, WHITE]), seed=seed)
    fabric, *others = (jitter(rng, CLOTH[i], 8) for i in rng.permutation(len(CLOTH))[:3])
    if kind == "sport":
        fabric = jitter(rng, pick(rng, CLOTH, [6, 1, 0.5, 1, 0.5, 0.3, 0.5, 0.5, 0.5, 2, 0.3, 0.5]), 6)
        return MaskStyle(kind, (fabric,), loops=fabric, seed=seed)
    pattern = pick(rng, list(PATTERNS))
    if pattern != "plain" and abs(sum(fabric) - sum(others[0])) < 160:  # a pattern has to stand out
        others[0] = (238, 234, 226) if sum(fabric) < 380 else (40, 44, 60)
    return MaskStyle(kind, (fabric, *others), pattern, loops=pick(rng, [fabric, WHITE, (30, 30, 34)]), seed=seed)


@dataclass(frozen=True)
class _Lie:
    """Heights v of a mask's edge: top in the middle and at the corners, lower corners, bottom in the middle."""

    top: float
    corner: float
    low: float
    bottom: float


LIES: dict[Place, _Lie] = {
    "worn": _Lie(0.07, 0.27, 0.80, 1.08),
    "under_nose": _Lie(0.525, 0.5, 0.86, 1.13),
    "on_chin": _Lie(0.79, 0.66, 0.9, 1.2),
}


def outline(face: FaceGeometry, kind: Kind, place: Place) -> Vector:
    """The mask's outline (N, 2), clockwise from the middle of its upper edge."""
    lie = LIES[place]
    worn = place == "worn"
    top = lie.top + {"surgical": 0.0, "cloth": 0.03, "sport": 0.05, "ffp2": -0.02}[kind] * worn
    corner = lie.corner + {"surgical": 0.0, "cloth": 0.06, "sport": 0.02, "ffp2": 0.08}[kind] * worn
    reach = {"surgical": 0.99, "cloth": 0.93, "sport": 1.0, "ffp2": 0.9}[kind]
    point = {"surgical": 0.0, "cloth": 0.015, "sport": 0.0, "ffp2": 0.03}[kind]

    def out(side: int, v: float, by: float) -> Vector:
        middle = face.middle(min(v, 1.0))
        return middle + (face.edge(side, v) - middle) * by

    def half(side: int) -> list[Vector]:
        cheek = (top + corner) / 2
        bridge = 0.03 if worn else 0.012
        low = lie.low
        points = [
            face.at(side * 0.17, top + bridge),
            face.at(side * 0.52, cheek + (0.03 if worn else 0.0)),
            out(side, corner, reach),
            out(side, (corner + low) / 2, (reach + 1.02) / 2 if kind != "surgical" else 1.0),
            out(side, low, {"worn": 1.03, "under_nose": 1.05, "on_chin": 1.12}[place]),
        ]
        under = face.middle(lie.bottom + point)
        across = (face.edge(side, 0.72) - face.middle(0.72)) @ face.across
        points.append(under + face.across * across * 0.5 - face.down * face.height * 0.05)
        return points

    right, left = half(1), half(-1)
    return np.array([face.middle(top), *right, face.middle(lie.bottom + point), *left[::-1]])


def paint_mask(
    brush: Brush, face: FaceGeometry, style: MaskStyle, place: Place, light: Light, *, flat: bool = False
) -> None:
    """Paint a mask on a face that is already there: its shadow, ear loops, fabric, pattern, folds and shading.

    ``flat`` leaves out shadow and shading: a picture of a mask, not a mask.
    """
    rng = np.random.default_rng(style.seed)
    points = outline(face, style.kind, place)
    body = smooth(points, closed=True, tension=0.8)
    size = face.height
    fabric = style.colours[0]
    dark = sum(fabric) < 240

    with brush.inside(face.skin):  # a shadow falls on the face and the neck, not on the air beside them
        if not flat:
            brush.fill(smooth(points + face.down * size * 0.035, True, 0.8), (40, 20, 15), 0.35, soft=size * 0.04)
    _loops(brush, face, style, points)
    brush.fill(body, fabric)
    with brush.inside(body):
        PATTERNS[style.pattern](brush, face, style.colours, rng)
        if not flat:
            _shade(brush, face, points, body, light, dark)
        DETAILS[style.kind](brush, face, style, place, rng)
    if style.valve:
        _valve(brush, face, style, place)
    brush.line(body, darker(fabric, 0.45) if not dark else lighter(fabric, 0.12), size * 0.012, 0.6)


def _shade(brush: Brush, face: FaceGeometry, points: Vector, body: Any, light: Light, dark: bool) -> None:
    """The roundness of the face below: lit and shaded cheek, ridge of the nose, shade below and at the edges."""
    size, strength = face.height, 0.35 + 0.5 * light.contrast
    centre = points.mean(axis=0)
    fall = np.array([light.x, light.y * 0.6]) * size
    shade: Colour = (38, 40, 66) if not dark else (4, 4, 10)
    stops = [(0, WHITE, 0.16 * strength), (0.42, WHITE, 0.0), (0.5, shade, 0.0), (1, shade, 0.5 * strength)]
    brush.linear(body, centre + fall * 0.75, centre - fall * 0.85, stops)
    stops = [(0, shade, 0.0), (0.5, shade, 0.04), (1, shade, 0.42 * strength)]
    brush.linear(body, face.middle(0.55), face.middle(1.15), stops)
    ridge = face.middle(np.linspace(-0.02, 0.4, 6))
    side = -np.sign(light.x or 1.0) * face.across
    brush.line(smooth(ridge + side * size * 0.12), shade, size * 0.12, 0.32 * strength, soft=size * 0.045)
    shine = (0.22 if dark else 0.5) * strength
    brush.line(smooth(ridge - side * size * 0.02), WHITE, size * 0.07, shine, soft=size * 0.03)
    x, y = face.at(0, NOSE_V + 0.09)
    brush.fill(oval(x, y, size * 0.16, size * 0.06), shade, 0.3 * strength, soft=size * 0.04)
    brush.line(body, shade, size * 0.07, 0.34 * strength, soft=size * 0.035)


def _loops(brush: Brush, face: FaceGeometry, style: MaskStyle, points: Vector) -> None:
    """Strings or bands from the corners to the ears."""
    size = face.height
    width = size * (0.035 if style.kind in ("surgical", "ffp2") else 0.05)
    for side, ear in ((1, face.ears[1]), (-1, face.ears[0])):
        if ear is None:
            continue
        upper, lower = (points[3], points[5]) if side == 1 else (points[-3], points[-5])
        for corner, shift in ((upper, -0.16), (lower, 0.16)):
            root = np.asarray(ear) + face.down * size * shift
            middle = (corner + root) / 2 + face.across * side * size * 0.02
            line = smooth([corner, middle, root])
            brush.line(line, (40, 20, 15), width * 1.1, 0.3, soft=size * 0.02)
            brush.line(line, style.loops, width)


def _valve(brush: Brush, face: FaceGeometry, style: MaskStyle, place: Place) -> None:
    size = face.height
    side = -1 if face.yaw > 0 else 1
    x, y = face.at(side * 0.38, 0.66 + (0.25 if place != "worn" else 0.0))
    brush.fill(oval(x, y + size * 0.015, size * 0.115, size * 0.105), (30, 30, 40), 0.4, soft=size * 0.02)
    brush.fill(oval(x, y, size * 0.11, size * 0.1), mix(style.colours[0], (150, 154, 160), 0.5))
    brush.fill(oval(x, y, size * 0.075, size * 0.068), mix(style.colours[0], WHITE, 0.4))
    for step in (-0.035, 0.0, 0.035):
        line = polygon([(x - size * 0.05, y + size * step), (x + size * 0.05, y + size * step)], closed=False)
        brush.line(line, (90, 94, 100), size * 0.012, 0.8)


# --- what makes each kind ------------------------------------------------------------------------------------------


def _crease(brush: Brush, points: Vector, face: FaceGeometry, width: float, alpha: float, dark: bool) -> None:
    """A fold: a dark line with a light lip above it."""
    size = face.height
    lip = smooth(points - face.down * size * width)
    brush.line(lip, WHITE, size * width, alpha * (0.35 if dark else 0.8), soft=size * width * 0.4)
    brush.line(smooth(points), (10, 12, 30), size * width, alpha, soft=size * width * 0.35)


def _surgical(brush: Brush, face: FaceGeometry, style: MaskStyle, place: Place, rng: np.random.Generator) -> None:
    lie, dark = LIES[place], sum(style.colours[0]) < 240
    span = lie.bottom - lie.top
    for share in (0.36, 0.52, 0.68):
        v = lie.top + span * share + rng.normal(0, 0.012)
        reach = 0.97 - 0.1 * abs(share - 0.5)
        row = face.row(v, -reach, reach)
        _crease(brush, row, face, 0.022, 0.38, dark)
    hem = face.row(lie.top + 0.085, -0.8, 0.8)
    brush.line(smooth(hem), WHITE if not dark else lighter(style.colours[0], 0.3), face.height * 0.014, 0.6)
    wire = face.row(lie.top + 0.05, -0.34, 0.34, 9)
    _crease(brush, wire, face, 0.016, 0.25, dark)
    brush.line(smooth(face.row(lie.bottom - 0.07, -0.7, 0.7)), (20, 24, 40), face.height * 0.012, 0.25)


def _seam(brush: Brush, face: FaceGeometry, place: Place, dark: bool, alpha: float) -> None:
    lie = LIES[place]
    line = face.middle(np.linspace(lie.top, lie.bottom, 12))
    _crease(brush, line + face.across * face.height * 0.004, face, 0.016, alpha, dark)


def _cloth(brush: Brush, face: FaceGeometry, style: MaskStyle, place: Place, rng: np.random.Generator) -> None:
    dark = sum(style.colours[0]) < 240
    if rng.random() < 0.6:
        _seam(brush, face, place, dark, 0.4)
    lie = LIES[place]
    for side in (-1, 1):
        for _ in range(2):
            v = lie.top + (lie.bottom - lie.top) * rng.uniform(0.35, 0.85)
            fold = np.array([face.at(side * u, v + k) for u, k in ((0.95, -0.03), (0.7, 0.0), (0.45, 0.05))])
            _crease(brush, fold, face, 0.025, 0.22, dark)
    points = outline(face, style.kind, place)
    centre = points.mean(axis=0)
    hem = smooth(centre + (points - centre) * 0.93, True, 0.8)
    _stitches(brush, hem, lighter(style.colours[0], 0.35) if dark else darker(style.colours[0], 0.3), face.height)


def _stitches(brush: Brush, path: Any, colour: Colour, size: float) -> None:
    """Stitches along a path."""
    library = skia()
    paint = library.Paint(AntiAlias=True)
    paint.setStyle(library.Paint.kStroke_Style)
    paint.setStrokeWidth(size * 0.012)
    paint.setColor(argb(colour, 0.6))
    paint.setPathEffect(library.DashPathEffect.Make([size * 0.035, size * 0.025], 0))
    brush.canvas.drawPath(path, paint)


def _sport(brush: Brush, face: FaceGeometry, style: MaskStyle, place: Place, rng: np.random.Generator) -> None:
    dark = sum(style.colours[0]) < 240
    _seam(brush, face, place, dark, 0.5)
    if rng.random() < 0.35:  # a small mark at the side
        side = -1 if face.yaw > 0 else 1
        x, y = face.at(side * 0.5, 0.62 + (0.3 if place != "worn" else 0))
        brush.fill(oval(x, y, face.height * 0.05, face.height * 0.03), lighter(style.colours[0], 0.7), 0.9)


def _ffp2(brush: Brush, face: FaceGeometry, style: MaskStyle, place: Place, rng: np.random.Generator) -> None:
    dark = sum(style.colours[0]) < 240
    lie = LIES[place]
    if rng.random() < 0.6:  # folded flat: a fold from nose to chin, welded lines on both halves
        _seam(brush, face, place, dark, 0.7)
        for side in (-1, 1):
            for first, last in ((0.28, 0.5), (0.38, 0.62)):
                shares = np.array([first, (first + last) / 2, last])
                weld = face.at(side * np.array([0.12, 0.5, 0.85]), lie.top + (lie.bottom - lie.top) * shares)
                brush.line(smooth(weld), (60, 64, 76), face.height * 0.014, 0.3)
    else:  # three panels: two welded seams across
        for share in (0.34, 0.66):
            _crease(brush, face.row(lie.top + (lie.bottom - lie.top) * share, -0.98, 0.98), face, 0.02, 0.5, dark)
    wire = face.row(lie.top + 0.07, -0.4, 0.4, 9)
    brush.line(smooth(wire), (120, 124, 132), face.height * 0.035, 0.55)
    brush.line(smooth(wire - face.down * face.height * 0.01), WHITE, face.height * 0.012, 0.5)


DETAILS: dict[str, Callable[[Brush, FaceGeometry, MaskStyle, Place, np.random.Generator], None]] = {
    "surgical": _surgical,
    "cloth": _cloth,
    "sport": _sport,
    "ffp2": _ffp2,
}
