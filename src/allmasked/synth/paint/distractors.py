"""What hides or crosses a bare face in photos and is no mask: hands, cups, microphones, scarves, beards, visors.

Painted in the face's own frame: origin between the eyes, lengths in heights from the eyes to the chin.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from allmasked.synth.paint.brush import (
    BLACK,
    WHITE,
    Brush,
    Colour,
    darker,
    deeper,
    lighter,
    oval,
    pick,
    polygon,
    smooth,
)
from allmasked.synth.paint.geometry import FaceGeometry, Vector

Paint = Callable[[Brush, FaceGeometry, Colour, np.random.Generator], None]
"""Brush, face, the skin's colour, and what settles the rest."""

FABRICS: tuple[Colour, ...] = (
    (44, 46, 54), (226, 222, 212), (150, 40, 46), (40, 66, 110), (120, 124, 130), (186, 150, 96), (70, 104, 84),
)  # fmt: skip


def _frame(face: FaceGeometry, places: list[tuple[float, float]]) -> Vector:
    """Points of the face's frame in the canvas' units."""
    spots = np.asarray(places, float) * face.height
    points: Vector = face.eyes + spots[:, :1] * face.across + spots[:, 1:] * face.down
    return points


def _line(brush: Brush, face: FaceGeometry, places: list[tuple[float, float]], colour: Colour, width: float) -> None:
    brush.line(smooth(_frame(face, places)), colour, width * face.height)


def _mouth(face: FaceGeometry) -> tuple[float, float]:
    away = (np.asarray(face.mouth) - face.eyes) / face.height
    return float(away @ face.across), float(away @ face.down)


def _hand(brush: Brush, face: FaceGeometry, skin: Colour, rng: np.random.Generator) -> None:
    """Fingers across the mouth, the palm and the forearm below them."""
    size, side = face.height, float(rng.choice([-1, 1]))
    x, y = _mouth(face)
    y += rng.uniform(-0.05, 0.1)
    sleeve, edge = pick(rng, FABRICS), deeper(skin, 0.42)

    def beside(*spots: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x + side * across, y + down) for across, down in spots]

    _line(brush, face, beside((0.5, 0.75), (0.75, 1.4), (0.9, 2.2)), sleeve, 0.62)
    _line(brush, face, beside((0.34, 0.3), (0.5, 0.72)), skin, 0.42)
    corners = beside((0.05, -0.12), (0.38, -0.14), (0.52, 0.12), (0.48, 0.5), (0.2, 0.46), (0.0, 0.26))
    palm = smooth(_frame(face, corners), True)
    brush.fill(palm, BLACK, 0.35, soft=size * 0.05)
    brush.fill(palm, skin)
    with brush.inside(palm):
        brush.line(palm, deeper(skin, 0.3), size * 0.12, 0.5, soft=size * 0.05)
    for k in range(4):
        height = y - 0.15 + k * 0.125
        tip = (x - side * (0.36 - 0.05 * abs(k - 1.2)), height - 0.02)
        middle = (x - side * 0.05, height - 0.05)
        root = (x + side * 0.25, height + 0.03)
        line = smooth(_frame(face, [root, middle, tip]))
        brush.line(line, BLACK, size * 0.15, 0.25, soft=size * 0.025)
        brush.line(line, edge, size * 0.132)
        brush.line(line, skin, size * 0.112)
        brush.line(line, lighter(skin, 0.25), size * 0.035, 0.45, soft=size * 0.02)
        nail = _frame(face, [(tip[0] - side * 0.015, tip[1] - 0.005)])[0]
        brush.fill(oval(nail[0], nail[1], size * 0.03, size * 0.026), lighter(skin, 0.35), 0.7)


def _cup(brush: Brush, face: FaceGeometry, skin: Colour, rng: np.random.Generator) -> None:
    size = face.height
    x, y = _mouth(face)
    x, y = x + rng.uniform(-0.08, 0.08), y + rng.uniform(-0.02, 0.08)
    colour: Colour = pick(rng, [(244, 242, 238), (176, 60, 50), (70, 110, 90), (120, 84, 60), (40, 42, 46)])
    body = polygon(_frame(face, [(x - 0.27, y), (x + 0.27, y), (x + 0.21, y + 0.8), (x - 0.21, y + 0.8)]))
    brush.fill(body, BLACK, 0.35, soft=size * 0.05)
    brush.fill(body, colour)
    start, end = _frame(face, [(x - 0.27, y), (x + 0.27, y)])
    brush.linear(body, start, end, [(0, WHITE, 0.2), (0.45, BLACK, 0.0), (1, BLACK, 0.4)])
    _line(brush, face, [(x - 0.27, y), (x, y + 0.025), (x + 0.27, y)], lighter(colour, 0.45), 0.05)
    for down in np.arange(4) * 0.12:  # the fingers around it
        line = smooth(_frame(face, [(x + 0.34, y + 0.3 + down), (x, y + 0.33 + down), (x - 0.2, y + 0.3 + down)]))
        brush.line(line, deeper(skin, 0.45), size * 0.125)
        brush.line(line, skin, size * 0.108)


def _microphone(brush: Brush, face: FaceGeometry, skin: Colour, rng: np.random.Generator) -> None:
    size, side = face.height, float(rng.choice([-1, 1]))
    x, y = _mouth(face)
    x, y = x + side * rng.uniform(0, 0.2), y + rng.uniform(0.1, 0.3)
    shade: Colour = pick(rng, [(34, 34, 38), (60, 62, 68), (40, 60, 120), (150, 40, 40)])
    _line(brush, face, [(x, y), (x + side * 0.3, y + 1.1)], (34, 34, 38), 0.16)
    middle = _frame(face, [(x, y)])[0]
    head = oval(middle[0], middle[1], size * 0.19, size * 0.21)
    brush.fill(head, BLACK, 0.35, soft=size * 0.05)
    brush.fill(head, shade)
    brush.radial(head, middle - size * 0.06, size * 0.24, [(0, WHITE, 0.35), (0.6, WHITE, 0.03), (1, BLACK, 0.4)])
    for k in range(3):
        spot = [(x + side * (0.36 + 0.04 * k), y + 0.62 + k * 0.13), (x + side * (0.08 + 0.04 * k), y + 0.6 + k * 0.13)]
        _line(brush, face, spot, deeper(skin, 0.45), 0.14)
        _line(brush, face, spot, skin, 0.12)


def _scarf(brush: Brush, face: FaceGeometry, skin: Colour, rng: np.random.Generator) -> None:  # noqa: ARG001
    """Wound around the neck, up to the chin; the mouth stays free."""
    size, colour = face.height, pick(rng, FABRICS)
    lift = rng.uniform(-0.08, 0.06)
    upper = [(-0.75, 0.72), (-0.45, 0.9), (0.0, 1.0), (0.45, 0.9), (0.75, 0.72)]
    lower = [(1.0, 1.3), (0.5, 1.62), (0.0, 1.7), (-0.5, 1.62), (-1.0, 1.3)]
    wrap = smooth(_frame(face, [(x, y + lift) for x, y in [*upper, *lower]]), True)
    brush.fill(wrap, BLACK, 0.4, soft=size * 0.07)
    brush.fill(wrap, colour)
    with brush.inside(wrap):
        for k in range(6):
            y = 0.95 + k * 0.13 + lift
            left, middle, right = rng.normal(0, 0.04), rng.normal(0, 0.1), rng.normal(0, 0.04)
            fold = [(-0.9, y - 0.2 + left), (middle, y + 0.12), (0.9, y - 0.2 + right)]
            brush.line(smooth(_frame(face, fold)), darker(colour, 0.55), size * 0.06, 0.5, soft=size * 0.03)
            above = [(u, v - 0.05) for u, v in fold]
            brush.line(smooth(_frame(face, above)), lighter(colour, 0.3), size * 0.04, 0.35, soft=size * 0.02)


def _beard(brush: Brush, face: FaceGeometry, skin: Colour, rng: np.random.Generator) -> None:
    """A full beard: thousands of short hairs on jaw, chin and upper lip; the lips stay free."""
    size = face.height
    hair: Colour = pick(rng, [(30, 26, 24), (52, 38, 30), (86, 60, 42), (120, 84, 54), (150, 148, 146)])
    hair = darker(hair, 0.0 if sum(skin) > 300 else 0.4)
    side = [(0.97, 0.3), (0.88, 0.48), (0.6, 0.52), (0.36, 0.48)]
    below = [(-0.95, 0.7), (-0.5, 1.08), (0, 1.16), (0.5, 1.08), (0.95, 0.7)]
    edge = [*side, (0.0, 0.46), *[(-u, v) for u, v in side[::-1]], *below]
    outline = smooth(face.at([u for u, _ in edge], [v for _, v in edge]), True)
    brush.fill(outline, hair, rng.uniform(0.4, 0.75), soft=size * 0.05)
    count = 700
    u, v = rng.uniform(-1, 1, count), rng.uniform(0.42, 1.18, count)
    cheek = np.where(np.abs(u) > 0.45, 0.46 + 0.1 * rng.random(count), 0.47)
    lips = (np.abs(u) < 0.36) & (np.abs(v - 0.63) < 0.065)
    inside = (v > cheek) & ~lips & (np.abs(u) < 1.02 - 0.35 * np.maximum(v - 0.75, 0) * 2)
    u, v = u[inside], v[inside]
    ends = face.at(u * 1.02 + rng.normal(0, 0.03, len(u)), v + rng.uniform(0.03, 0.08, len(v)))
    for start, end in zip(face.at(u, v), ends):
        change, most = (lighter, 0.25) if rng.random() < 0.3 else (darker, 0.4)
        tone = change(hair, float(rng.uniform(0, most)))
        brush.line(polygon([start, end], False), tone, size * 0.011, 0.7)
    x, y = _mouth(face)
    lip = _frame(face, [(x, y)])[0]
    turn = math.degrees(math.atan2(face.across[1], face.across[0]))
    red = deeper((skin[0], skin[1] * 0.85, skin[2] * 0.85), 0.12)
    brush.fill(oval(lip[0], lip[1], size * 0.2, size * 0.06, turn), red, 0.95, soft=size * 0.015)


def _visor(brush: Brush, face: FaceGeometry, skin: Colour, rng: np.random.Generator) -> None:  # noqa: ARG001
    """A clear face shield: a band on the brow, gleams on the sheet, its edge below the chin."""
    size = face.height
    colour: Colour = pick(rng, [(236, 238, 240), (60, 130, 200), (30, 30, 34), (90, 180, 160)])
    points = [(-0.82, -0.55), (0, -0.62), (0.82, -0.55), (0.9, 0.4), (0.7, 1.2), (0, 1.32), (-0.7, 1.2), (-0.9, 0.4)]
    sheet = smooth(_frame(face, points), True, 0.7)
    start, end = _frame(face, [(-0.9, 0), (0.9, 0.2)])
    gleam = float(rng.uniform(0.08, 0.25))
    brush.linear(
        sheet,
        start,
        end,
        [(0, WHITE, gleam), (0.2, WHITE, 0.02), (0.55, WHITE, 0.03), (0.75, WHITE, gleam), (1, WHITE, 0.05)],
    )
    brush.line(sheet, (230, 236, 240), size * 0.022, 0.55)
    band = smooth(_frame(face, [(-0.84, -0.5), (-0.4, -0.57), (0, -0.59), (0.4, -0.57), (0.84, -0.5)]))
    brush.line(band, colour, size * 0.15, 0.9)
    brush.line(band, WHITE, size * 0.03, 0.35, soft=size * 0.015)


DISTRACTORS: dict[str, Paint] = {
    "hand": _hand,
    "cup": _cup,
    "microphone": _microphone,
    "scarf": _scarf,
    "beard": _beard,
    "visor": _visor,
}
COVERED = ("scarf", "visor")
"""Those that are also seen with a mask worn right."""
