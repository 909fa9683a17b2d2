"""Painting a drawn person: the face with its features, and the order in which everything is laid on."""

from __future__ import annotations

import math

import numpy as np

from allmasked.synth.drawn.clothes import paint_body
from allmasked.synth.drawn.hair import paint_hair, paint_hair_behind, paint_hat
from allmasked.synth.drawn.people import Head, Person, mirrored
from allmasked.synth.paint.brush import BLACK, WHITE, Brush, Colour, darker, deeper, lighter, mix, oval, polygon, smooth
from allmasked.synth.paint.distractors import DISTRACTORS
from allmasked.synth.paint.geometry import Light
from allmasked.synth.paint.masks import paint_mask

FRAMES: tuple[Colour, ...] = ((30, 28, 30), (92, 62, 40), (150, 150, 156), (150, 40, 44))
"""Colours of glasses."""


def paint_person(brush: Brush, person: Person, x: float, y: float, scale: float, light: Light) -> None:
    """Paint a person whose face is ``scale`` px high and centred on (x, y), down to the feet."""
    head, rng = Head(person), np.random.default_rng(person.seed + 1)
    sine, cosine = math.sin(-person.roll), math.cos(-person.roll)
    near = Light(light.x * cosine - light.y * sine, light.x * sine + light.y * cosine, light.contrast)
    turn = math.degrees(person.roll)
    with brush.moved(x, y, scale=scale):
        with brush.moved(turn_degrees=turn):
            paint_hair_behind(brush, head, light)
        with brush.moved(0, -0.1):
            paint_body(brush, person, light)
        with brush.moved(turn_degrees=turn):
            _ears(brush, head, near)
            _face(brush, head, near)
            _mouth(brush, head)
            if person.beard:
                DISTRACTORS["beard"](brush, head.geometry, person.skin, rng)
            if person.mask is not None:
                paint_mask(brush, head.geometry, person.mask, person.place, near)
            paint_hair(brush, head, near)
            _glasses(brush, head)
            paint_hat(brush, head, near)
            if person.extra:
                DISTRACTORS[person.extra](brush, head.geometry, person.skin, rng)


def _ears(brush: Brush, head: Head, light: Light) -> None:
    person = head.person
    for sign in (-1, 1):
        if person.style == "hijab" or sign * math.sin(person.yaw) > 0.28:
            continue
        (x, y), turn = head.ear(sign), 1 + 0.5 * max(0.0, -sign * math.sin(person.yaw))
        around = [
            (-0.02, -0.12), (0.045 * turn, -0.13), (0.075 * turn, -0.07), (0.06 * turn, 0.03), (0.025, 0.12),
            (-0.03, 0.1),
        ]  # fmt: skip
        shape = smooth([(x + sign * dx, y + dy) for dx, dy in around], True)
        brush.fill(shape, person.skin if sign * light.x > 0 else deeper(person.skin, 0.2))
        inner = [(0.01, -0.08), (0.045 * turn, -0.085), (0.04 * turn, 0.0), (0.015, 0.05)]
        line = smooth([(x + sign * dx, y + dy) for dx, dy in inner])
        brush.line(line, deeper(person.skin, 0.45), 0.02, 0.7, soft=0.006)


def _face(brush: Brush, head: Head, light: Light) -> None:
    skin, strength = head.person.skin, 0.35 + 0.55 * light.contrast
    deep, glow = deeper(skin, 0.48), mix(lighter(skin, 0.3), (255, 228, 196), 0.4)
    outline = smooth(head.outline, True)
    brush.fill(outline, skin)
    middle, fall = np.array(head.point(0, 0.05)) * 0.5, np.array([light.x, light.y * 0.5])
    with brush.inside(outline):
        stops = [(0.0, glow, 0.35 * strength), (0.45, skin, 0.0), (0.55, deep, 0.05), (1.0, deep, 0.8 * strength)]
        brush.linear(outline, middle + fall * 0.42, middle - fall * 0.5, stops)
        brush.line(outline, deep, 0.09, 0.5 * strength, soft=0.045)
        brush.fill(oval(*head.point(light.x * 0.08, -0.32), 0.2, 0.1), glow, 0.3 * strength, soft=0.07)
        for sign in (-1, 1):
            cheek = oval(*head.point(sign * 0.22, 0.12), 0.09, 0.07)
            brush.fill(cheek, mix(skin, (226, 92, 84), 0.55), 0.28, soft=0.04)
            brush.fill(oval(*head.point(sign * 0.165, -0.075), 0.105, 0.065), deep, 0.34 * strength + 0.08, soft=0.03)
            _eye(brush, head, sign, deep)
        _nose(brush, head, light, deep, glow, strength)


def _eye(brush: Brush, head: Head, sign: int, deep: Colour) -> None:
    person = head.person
    lid = [(0.088, -0.048), (0.12, -0.083), (0.168, -0.096), (0.22, -0.078), (0.25, -0.052)]
    points = head.points(*((sign * x, y) for x, y in [*lid, (0.21, -0.036), (0.16, -0.03), (0.118, -0.037)]))
    almond, upper = smooth(points, True), smooth(points[:5])
    brush.fill(almond, (244, 241, 238))
    cx, cy = head.point(sign * 0.168, -0.062)
    narrow = 0.75 + 0.25 * math.cos(person.yaw + sign * 0.25)
    with brush.inside(almond):
        brush.fill(oval(cx, cy, 0.036 * narrow, 0.038), person.iris)
        brush.fill(oval(cx, cy, 0.017 * narrow, 0.018), (14, 12, 12))
        brush.line(upper, (60, 40, 40), 0.03, 0.4, soft=0.01)
    brush.fill(oval(cx - 0.011, cy - 0.013, 0.009, 0.009), WHITE, 0.9)
    brush.line(upper, mix(deep, (30, 20, 18), 0.75), 0.015)
    brush.line(smooth(points[[4, 5, 6, 7, 0]]), deep, 0.008, 0.6)
    brow = (
        (0.075, -0.158), (0.15, -0.2), (0.215, -0.193), (0.275, -0.15), (0.21, -0.168), (0.15, -0.163), (0.078, -0.133),
    )  # fmt: skip
    brush.fill(smooth(head.points(*((sign * x, y) for x, y in brow)), True), darker(person.hair, 0.3), 0.9, soft=0.004)


def _nose(brush: Brush, head: Head, light: Light, deep: Colour, glow: Colour, strength: float) -> None:
    wide, dark = 0.07 + 0.012 * ((head.person.seed >> 4) % 3), -1 if light.x > 0 else 1
    ridge = head.points((0, -0.1, 0.38), (0, 0.0, 0.42), (0, 0.09, 0.46), (0, 0.14, 0.48))
    side = [(dark * wide, 0.165, 0.38), (dark * 0.055, 0.1, 0.4), (dark * 0.04, 0.0, 0.37), (dark * 0.05, -0.12, 0.34)]
    brush.fill(smooth([*ridge, *head.points(*side)], True), deep, 0.42 * strength + 0.08, soft=0.018)
    brush.line(smooth(ridge + (0.012 * np.sign(light.x), 0)), glow, 0.028, 0.4 * strength, soft=0.012)
    brush.fill(oval(*head.point(0, 0.2, 0.42), 0.085, 0.022), deep, 0.5 * strength + 0.15, soft=0.015)
    line = mix(deep, (60, 24, 20), 0.35)
    for sign in (-1, 1):
        edge = [(0.85, 0.115, 0.4), (1.12, 0.155, 0.37), (0.9, 0.192, 0.38)]
        wing = head.points(*((sign * wide * share, y, depth) for share, y, depth in edge))
        brush.line(smooth(wing), line, 0.013, 0.65, soft=0.004)
        nostril = oval(*head.point(sign * wide * 0.5, 0.186, 0.42), 0.02, 0.011, sign * -12)
        brush.fill(nostril, darker(line, 0.35), 0.85, soft=0.003)


MOUTHS = {"neutral": (0.115, 0.0, 0.0), "smile": (0.145, 0.028, 0.0), "teeth": (0.155, 0.035, 0.04),
          "open": (0.08, 0.0, 0.07)}  # fmt: skip
"""Half the width, how far the corners are drawn up, and how far the lips are apart."""


def _mouth(brush: Brush, head: Head) -> None:
    person, y = head.person, 0.285
    wide, lift, gap = MOUTHS[person.mouth]
    deep, lips, low = deeper(person.skin, 0.5), person.lips, y + gap
    corner = (wide, y - lift)
    above = mirrored(corner, (wide * 0.5, y - 0.026), (0.028, y - 0.034), (0, y - 0.026))
    between, under = (mirrored(corner, (wide * 0.5, v - 0.002), (0, v + 0.002)) for v in (y, low))
    below = mirrored(corner, (wide * 0.55, low + 0.036), (0, low + 0.05))
    brush.fill(oval(*head.point(0, low + 0.085), 0.09, 0.025), deep, 0.35, soft=0.015)
    if gap:
        hole = smooth(head.points(*between, *under[::-1]), True, 0.9)
        brush.fill(hole, (70, 22, 24))
        if person.mouth == "teeth":
            with brush.inside(hole):
                teeth = [*mirrored((wide * 0.9, y - lift - 0.01), (0, y - 0.01)), (-wide * 0.7, y + 0.024)]
                brush.fill(smooth(head.points(*teeth, (0, y + 0.036), (wide * 0.7, y + 0.024)), True), (246, 242, 236))
    brush.fill(smooth(head.points(*above, *between[::-1]), True, 0.9), deeper(lips, 0.12))
    brush.fill(smooth(head.points(*under, *below[::-1]), True, 0.9), lips)
    brush.fill(oval(*head.point(-0.01, low + 0.026), wide * 0.4, 0.01), WHITE, 0.22, soft=0.008)
    if not gap:
        brush.line(smooth(head.points(*between)), mix(deep, (70, 20, 22), 0.5), 0.013, 0.9)
    for sign in (-1, 1):
        brush.fill(oval(*head.point(sign * (wide + 0.012), y - lift), 0.013, 0.013), deep, 0.5, soft=0.006)
        if lift:
            fold = head.points((sign * 0.095, 0.165), (sign * (wide + 0.02), 0.22), (sign * (wide + 0.035), y - lift))
            brush.line(smooth(fold), deep, 0.014, 0.4, soft=0.006)


def _glasses(brush: Brush, head: Head) -> None:
    kind, frame = head.person.glasses, FRAMES[head.person.seed % 4]
    if not kind:
        return
    if kind == "round":
        turns = np.linspace(0, 2 * math.pi, 11)[:-1]
        rows = [(0.176 + 0.114 * math.cos(t), -0.05 + 0.098 * math.sin(t)) for t in turns]
    else:
        rows = [(0.062, -0.125), (0.29, -0.14), (0.28, 0.0), (0.22, 0.04), (0.112, 0.04), (0.067, -0.005)]
    for sign in (-1, 1):
        lens = smooth(head.points(*((sign * x, y, 0.38 - 0.9 * max(0, x - 0.2)) for x, y in rows)), True, 0.8)
        if sign * math.sin(head.person.yaw) < 0.3:
            temple = [head.point(sign * 0.29, -0.085, 0.3), np.add(head.ear(sign), (0, -0.1))]
            brush.line(polygon(temple, False), frame, 0.022)
        x, y = head.point(sign * 0.17, -0.05)
        if kind == "sun":
            brush.fill(lens, (26, 26, 32), 0.94)
            stops = [(0.0, (150.0, 170.0, 200.0), 0.5), (0.5, (60.0, 70.0, 90.0), 0.1), (1.0, BLACK, 0.1)]
            brush.linear(lens, (x - 0.1, y - 0.1), (x + 0.1, y + 0.1), stops)
        else:
            brush.fill(lens, (220, 235, 245), 0.14)
            brush.line(polygon([(x - 0.05, y + 0.03), (x, y - 0.05)], False), WHITE, 0.016, 0.35)
        brush.line(lens, frame, 0.02)
    brush.line(smooth(head.points((-0.066, -0.07, 0.4), (0, -0.088, 0.44), (0.066, -0.07, 0.4))), frame, 0.02)
