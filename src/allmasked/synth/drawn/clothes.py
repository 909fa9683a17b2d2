"""A drawn person's body: neck, torso and what it is dressed in."""

from __future__ import annotations

import math

import numpy as np

from allmasked.synth.drawn.people import SHORT, Person, mirrored
from allmasked.synth.paint.brush import BLACK, WHITE, Brush, darker, deeper, lighter, oval, polygon, rect, smooth
from allmasked.synth.paint.geometry import Light

TROUSERS = (48, 52, 68)


def paint_body(brush: Brush, person: Person, light: Light) -> None:
    """Legs, arms, torso with its clothes, neck and collar; upright, whatever the head's roll."""
    rng = np.random.default_rng(person.seed)
    b, cloth, broad = person.build, person.cloth, person.style in SHORT
    wide = 1.1 * b * (1.0 if broad else 0.92)
    neck = (0.235 if broad else 0.205) * (0.9 + 0.1 * b)
    shift = -0.08 * math.sin(person.yaw)

    # legs and hands, then the torso with the arms over them
    legs = [(-0.75 * b, 3.4), (0.75 * b, 3.4), (0.7 * b, 9), (0.12, 9), (0, 4.4), (-0.12, 9), (-0.7 * b, 9)]
    brush.fill(polygon(legs), TROUSERS)
    for sign in (-1, 1):
        brush.fill(oval(sign * wide * 1.05, 3.45, 0.13, 0.22), person.skin)
    side = [(0.2, 0.74), (0.42, 0.85)] + [
        (wide * share, y)
        for share, y in (
            (0.8, 0.98), (1.0, 1.12), (1.1, 1.45), (1.15, 2.2), (1.14, 3.3), (0.98, 3.35), (0.9, 2.4), (0.84, 1.9),
            (0.78, 2.6), (0.8, 3.75),
        )
    ]  # fmt: skip
    rows = [(sign * x + shift * max(0, 1.2 - y), y) for sign in (1, -1) for x, y in side[::sign]]
    torso = smooth(rows, closed=True, tension=0.7)
    brush.fill(torso, cloth)
    with brush.inside(torso):
        if person.stripes is not None:
            step = rng.uniform(0.16, 0.34)
            for y in np.arange(0.9, 4, step):
                brush.line(smooth([(-1.6, y - 0.05), (0, y + 0.05), (1.6, y - 0.05)]), person.stripes, step * 0.4)
        shade, strength = deeper(cloth, 0.55), 0.35 + 0.4 * light.contrast
        start, end = (light.x * 1.3, 1.9 + light.y * 0.7), (-light.x * 1.3, 1.9 - light.y * 0.7)
        stops = [(0.0, WHITE, 0.12 * strength), (0.45, shade, 0.0), (1.0, shade, 0.85 * strength)]
        brush.linear(rect(-2, 0.5, 2, 4), start, end, stops)
        for sign in (-1, 1):
            arm = smooth([(sign * wide * 0.8, 1.35), (sign * wide * 0.79, 1.9), (sign * wide * 0.82, 2.7)])
            brush.line(arm, darker(cloth, 0.5), 0.05, 0.55, soft=0.025)
        for width in (0.14, 0.09, 0.04):
            brush.line(torso, darker(cloth, 0.5), width, 0.13)

    skin, deep = person.skin, deeper(person.skin, 0.42)
    bottom = {"v": 1.25, "shirt": 1.0}.get(person.collar, 0.93)
    left, right = ([(sign * neck * x, y) for x, y in ((1, 0.2), (0.98, 0.6), (1.35, 0.8), (1.1, 0.88))]
                   for sign in (-1, 1))  # fmt: skip
    throat = smooth([*left, (shift * 0.5, bottom), *right[::-1]], True, 0.8)
    with brush.moved(shift):
        brush.fill(throat, skin)
        with brush.inside(throat):
            brush.fill(oval(0.1 * math.sin(person.yaw) - light.x * 0.06, 0.42, 0.36, 0.28), deep, 0.85, soft=0.07)
            stops = [(0.0, deep, 0.0), (0.5, deep, 0.1), (1.0, deep, 0.7)]
            brush.linear(throat, (light.x * 0.3, 0.6), (-light.x * 0.3, 0.6), stops)
        _collar(brush, person, neck, bottom)


def _collar(brush: Brush, person: Person, neck: float, bottom: float) -> None:
    cloth, edge = person.cloth, darker(person.cloth, 0.3)
    if person.collar != "shirt":
        shoulder = (neck * 1.1, 0.9) if person.collar == "crew" else (neck * 0.9, 0.95)
        rim = smooth(mirrored((neck * 1.5, 0.77), shoulder, (0, bottom + 0.03)))
        brush.line(rim, edge, 0.075)
        brush.line(rim, lighter(cloth, 0.12), 0.045)
        return
    for sign in (-1, 1):
        wing = polygon([(sign * neck * 1.25, 0.66), (sign * neck * 1.75, 0.82), (sign * neck * 1.3, 1.12), (0, 0.97)])
        brush.fill(wing, BLACK, 0.3, soft=0.03)
        brush.fill(wing, lighter(cloth, 0.18))
        brush.line(wing, edge, 0.015, 0.7)
    brush.line(polygon([(0, 0.97), (0, 3.6)], False), edge, 0.02, 0.7)
    for y in np.arange(1.2, 3.5, 0.32):
        brush.fill(oval(0.05, y, 0.025, 0.025), darker(cloth, 0.45))
