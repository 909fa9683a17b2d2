"""Hair, headscarves and hats of drawn people, behind the head and in front of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from allmasked.synth.drawn.people import SHORT, Head, mirrored
from allmasked.synth.paint.brush import BLACK, WHITE, Brush, Colour, darker, deeper, lighter, mix, oval, skia, smooth
from allmasked.synth.paint.geometry import Light, Vector

LENGTH = {"bob": 0.52, "straight": 1.25, "wavy": 1.2}
"""How far down long hair reaches."""
HAIRLINES: dict[str, tuple[float, float, tuple[tuple[float, float], ...]]] = {
    "buzz": (1.0, 0.0, ((1.02, 0.03), (0.93, -0.16), (0.82, -0.36), (0.52, -0.44), (0, -0.45))),
    "short": (1.07, 0.012, ((1.03, 0.03), (0.92, -0.18), (0.84, -0.32), (0.52, -0.4), (0.18, -0.37), (0, -0.41))),
    "curls": (1.16, 0.045, ((1.06, 0.03), (0.96, -0.16), (0.8, -0.32), (0.57, -0.36), (0.26, -0.4), (0, -0.36))),
    "bob": (1.12, 0.0, ((1.05, 0.1), (0.95, -0.08), (0.86, -0.2), (0.57, -0.235), (0.2, -0.22), (0, -0.23))),
    "straight": (1.1, 0.0, ((1.05, 0.1), (0.94, -0.12), (0.8, -0.28), (0.52, -0.4), (0.1, -0.53), (0, -0.53))),
}
"""Volume, as a share of the skull; unevenness; and the right half of the hairline, x in half widths of the face."""
HAIRLINES["wavy"] = HAIRLINES["straight"]


def _dome(head: Head, volume: float, lowest: float = 0.12, wobble: float = 0.0) -> Vector:
    """The outside of the hair (N, 2) from the left side over the crown to the right, ``volume`` times the skull."""
    x, y = head.crown
    wide = (head.person.width + 0.035 + 0.03 * abs(math.sin(head.person.yaw))) * volume
    rng = np.random.default_rng(head.person.seed)
    start = math.asin(np.clip((lowest - y) / 0.62, -0.9, 0.9))
    angles = np.linspace(math.pi - start, 2 * math.pi + start, 25 if wobble else 13)
    radius = 1 + rng.uniform(-wobble, wobble, len(angles))
    return np.array([(x + wide * r * math.cos(a), y + 0.53 * volume * r * math.sin(a)) for a, r in zip(angles, radius)])


def _strands(brush: Brush, area: Any, hair: Colour, lines: Sequence[Any], rng: np.random.Generator) -> None:
    with brush.inside(area):
        for points in lines:
            tone = lighter(hair, 0.28) if rng.random() < 0.5 else darker(hair, 0.45)
            brush.line(smooth(points), tone, float(rng.uniform(0.008, 0.02)), 0.4)


def _shade(brush: Brush, area: Any, x: float, light: Light, high: float, low: float) -> None:
    """Light from one side and shadow on the other, between two heights."""
    with brush.inside(area):
        stops = [(0.0, WHITE, 0.15), (0.45, BLACK, 0.0), (1.0, BLACK, 0.38)]
        brush.linear(area, (x + light.x * 0.5, high), (x - light.x * 0.5, low), stops)


def paint_hair_behind(brush: Brush, head: Head, light: Light) -> None:
    """Hair at the back of the head, long hair down the back; laid on before the body."""
    person, (x, y) = head.person, head.crown
    style, hair = person.style, darker(person.hair, 0.22)
    if style == "bald":
        return
    if style == "hijab":
        cloth = darker(person.hat_colour, 0.1)
        brush.fill(smooth([*_dome(head, 1.12, 0.3), (0.62, 0.9), (0.8, 1.3), (-0.8, 1.3), (-0.62, 0.9)], True), cloth)
        return
    back = oval(x - 0.1 * math.sin(person.yaw), y + 0.02, person.width + 0.03, 0.5)
    if style == "curls":
        back = smooth(_dome(head, 1.1, 0.15, 0.04), True)
    elif style in LENGTH:
        length, wide = LENGTH[style], person.width + 0.12
        right, left = (
            [(x + sign * (wide * (1 - 0.08 * (k % 2)) + _wave(style, k)), v)
             for k, v in enumerate(np.linspace(0.1, length, 6))]
            for sign in (1, -1)
        )  # fmt: skip
        back = smooth([*_dome(head, 1.1, 0.0), *right, (x, length - 0.03), *left[::-1]], True)
    brush.fill(back, mix(hair, person.skin, 0.25) if style == "buzz" else hair)
    _shade(brush, back, 0, light, 0, 0.2)


def _wave(style: str, k: float) -> float:
    return 0.05 * math.sin(k * 2.2) if style == "wavy" else 0.0


def paint_hair(brush: Brush, head: Head, light: Light) -> None:
    """Hair from the hairline over the crown, and locks in front of the shoulders; headscarves."""
    person, (x, y) = head.person, head.crown
    style, hair, w = person.style, person.hair, person.width
    rng = np.random.default_rng(person.seed + 2)
    if style == "hijab":
        _hijab(brush, head, light)
        return
    if style == "bald":
        brush.fill(oval(x + light.x * 0.13, y - 0.32, 0.13, 0.07), WHITE, 0.3, soft=0.06)
        return
    volume, wobble, rows = HAIRLINES[style]
    dome = _dome(head, volume, 0.02 if style in SHORT else 0.1, wobble)
    inner = head.hug(head.points(*mirrored(*((w * share, v) for share, v in rows))), -0.015)
    area = smooth([*dome, *inner], True, 0.85)
    with brush.inside(smooth(head.outline, True)):
        brush.line(smooth(inner + (0, 0.012)), deeper(person.skin, 0.6), 0.05, 0.5, soft=0.022)
    if style == "buzz":
        brush.fill(area, mix(hair, person.skin, 0.2), 0.92, soft=0.012)
    else:
        brush.fill(area, hair)
    if style == "curls":
        places = zip(rng.uniform(-0.65, 0.65, 45), rng.uniform(-1.05, 0.1, 45))
        curls = [[(px - 0.04, py + 0.01), (px - 0.01, py - 0.03), (px + 0.03, py)] for px, py in places]
        _strands(brush, area, hair, curls, rng)
    elif style != "buzz":
        outer, roots = dome[np.linspace(2, len(dome) - 3, 18).astype(int)], inner[::-1]
        ends = [(roots[int(k * (len(roots) - 1) / 17)], point) for k, point in enumerate(outer)]
        strands = [[a, (a + b) / 2 + (0.03 * rng.normal(), -0.05), b] for a, b in ends]
        _strands(brush, area, hair, strands, rng)
    _shade(brush, area, x, light, y - 0.45, y + 0.3)
    if style in LENGTH:
        _locks(brush, head, light, rng)


def _locks(brush: Brush, head: Head, light: Light, rng: np.random.Generator) -> None:
    """Long hair that falls in front, beside the cheeks."""
    person, x = head.person, head.crown[0]
    w, length = person.width, LENGTH[person.style]
    for sign in (-1, 1):
        if sign * math.sin(person.yaw) > 0.3:  # the far side is behind the cheek
            continue
        edge, far = float(head.geometry.edge(sign, 0.5)[0]), x + sign * (w + 0.13)
        down = list(enumerate(np.linspace(0.25, length, 5)))
        inside = [(edge + sign * 0.015 * k + _wave(person.style, k), v) for k, v in down]
        outside = [(far + sign * 0.02 * k + _wave(person.style, k + 0.3), v) for k, v in down]
        top = head.points((sign * w * 0.97, -0.12), (sign * w * 1.03, 0.05))
        tip, back = (far - sign * 0.02, length + 0.05), (x + sign * (w + 0.06), -0.25)
        lock = smooth([*top, *inside, tip, *outside[::-1], (far, 0.0), back], True, 0.9)
        with brush.inside(smooth(head.outline, True)):
            brush.fill(lock, BLACK, 0.3, soft=0.03)
        brush.fill(lock, person.hair)
        shares = (0.2, 0.4, 0.6, 0.8)
        strands = [[(a[0] * k + b[0] * (1 - k), a[1]) for a, b in zip(inside, outside)] for k in shares]
        _strands(brush, lock, person.hair, strands, rng)
        if sign * light.x < 0:
            brush.fill(lock, BLACK, 0.25)


def _hijab(brush: Brush, head: Head, light: Light) -> None:
    cloth, w, face = head.person.hat_colour, head.person.width, head.geometry
    outer = [*_dome(head, 1.12, 0.25), *mirrored((0.5, 0.62), (0.78, 1.1), (0.5, 1.4), (0, 1.5))]
    inner = [
        *head.points(*mirrored((w * 0.9, 0.05), (w * 0.88, -0.2), (0.24, -0.42), (0, -0.46))),
        *(face.edge(-1, v) * (0.97, 1) for v in (0.5, 0.8)),
        np.add(face.chin, (0, 0.025)),
        *(face.edge(1, v) * (0.97, 1) for v in (0.8, 0.5)),
    ]
    area = skia().Op(smooth(outer, True), smooth(inner, True), skia().kDifference_PathOp)
    with brush.inside(smooth(head.outline, True)):
        brush.line(smooth(inner, True), BLACK, 0.07, 0.4, soft=0.03)
    brush.fill(area, cloth)
    _shade(brush, area, 0, light, -0.4, 0.6)
    with brush.inside(area):
        for k in range(5):
            fold = smooth([(-0.5 + 0.05 * k, 0.45 + 0.12 * k), (0, 0.72 + 0.14 * k), (0.5, 0.5 + 0.1 * k)])
            brush.line(fold, darker(cloth, 0.4), 0.03, 0.4, soft=0.018)


def paint_hat(brush: Brush, head: Head, light: Light) -> None:
    """A beanie or a cap."""
    person, x = head.person, head.crown[0]
    if not person.hat:
        return
    cloth, w, turn = person.hat_colour, person.width, math.sin(person.yaw)
    line = head.points(*mirrored((w * 1.08, -0.3), (0.22, -0.37), (0, -0.38)))
    area = smooth([*_dome(head, 1.13, -0.3), *line], True, 0.85)
    face = smooth(head.outline, True)
    with brush.inside(face):
        brush.fill(area, BLACK, 0.4, soft=0.04)
    brush.fill(area, cloth)
    _shade(brush, area, x, light, -0.7, -0.3)
    if person.hat == "beanie":
        band = smooth([*(line + (0, -0.14)), *(line[::-1] + (0, 0.02))], True, 0.8)
        brush.fill(band, lighter(cloth, 0.1))
        brush.line(band, darker(cloth, 0.4), 0.015, 0.6)
        return
    front = [(0.3 + 0.35 * turn, -0.27), (0.4 * turn, -0.25), (-0.3 + 0.35 * turn, -0.27)]
    peak = smooth([*head.points((-0.34, -0.35), (0, -0.42), (0.34, -0.35)), *front], True)
    with brush.inside(face):
        brush.fill(oval(0.3 * turn, -0.22, 0.32, 0.05), BLACK, 0.3, soft=0.03)
    brush.fill(peak, darker(cloth, 0.25))
    brush.line(peak, darker(cloth, 0.5), 0.012, 0.7)
