"""Painting a drawn person: the face with its features, and the order in which everything is laid on."""

from __future__ import annotations

import math

import numpy as np

from allmasked.synth.drawn.clothes import paint_body, paint_extra
from allmasked.synth.drawn.hair import paint_hair, paint_hair_behind, paint_hat
from allmasked.synth.drawn.people import Head, Person
from allmasked.synth.paint.brush import BLACK, WHITE, Brush, Colour, darker, deeper, lighter, mix, oval, polygon, smooth
from allmasked.synth.paint.geometry import Light, Vector
from allmasked.synth.paint.masks import paint_mask


def paint_person(brush: Brush, person: Person, x: float, y: float, scale: float, light: Light) -> None:
    """Paint a person whose face is ``scale`` px high and centred on (x, y), down to the feet."""
    head = Head(person)
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
            if person.mask is None:
                _mouth(brush, head)
                _beard(brush, head, near, over_mouth=True)
            else:
                if person.place == "on_chin":
                    _mouth(brush, head)
                _beard(brush, head, near, over_mouth=person.place == "on_chin")
                paint_mask(brush, head.geometry, person.mask, person.place, near)
            paint_hair(brush, head, near)
            _glasses(brush, head)
            paint_hat(brush, head, near)
        paint_extra(brush, head)


def _ears(brush: Brush, head: Head, light: Light) -> None:
    person = head.person
    if person.style == "hijab":
        return
    for sign in (-1, 1):
        if sign * math.sin(person.yaw) > 0.28:
            continue
        x, y = head.ear(sign)
        turn = 1 + 0.5 * max(0.0, -sign * math.sin(person.yaw))
        shape = smooth(
            [
                (x - sign * 0.02, y - 0.12),
                (x + sign * 0.045 * turn, y - 0.13),
                (x + sign * 0.075 * turn, y - 0.07),
                (x + sign * 0.06 * turn, y + 0.03),
                (x + sign * 0.025, y + 0.12),
                (x - sign * 0.03, y + 0.1),
            ],
            True,
        )
        lit = sign * light.x > 0
        brush.fill(shape, person.skin if lit else deeper(person.skin, 0.2))
        inner = smooth(
            [
                (x + sign * 0.01, y - 0.08),
                (x + sign * 0.045 * turn, y - 0.085),
                (x + sign * 0.04 * turn, y),
                (x + sign * 0.015, y + 0.05),
            ]
        )
        brush.line(inner, deeper(person.skin, 0.45), 0.02, 0.7, soft=0.006)
        if person.earrings:
            brush.fill(oval(x + sign * 0.025, y + 0.15, 0.022, 0.022), (226, 196, 110))


def _face(brush: Brush, head: Head, light: Light) -> None:
    person = head.person
    skin, strength = person.skin, 0.35 + 0.55 * light.contrast
    deep, glow = deeper(skin, 0.48), mix(lighter(skin, 0.3), (255, 228, 196), 0.4)
    outline = smooth(head.outline, True)
    brush.fill(outline, skin)
    middle = np.array(head.point(0, 0.05))
    fall = np.array([light.x, light.y * 0.5])
    with brush.inside(outline):
        brush.linear(
            outline,
            middle * 0.5 + fall * 0.42,
            middle * 0.5 - fall * 0.5,
            [(0, glow, 0.35 * strength), (0.45, skin, 0.0), (0.55, deep, 0.05), (1, deep, 0.8 * strength)],
        )
        brush.line(outline, deep, 0.09, 0.5 * strength, soft=0.045)
        brush.fill(oval(*head.point(light.x * 0.08, -0.32), 0.2, 0.1), glow, 0.3 * strength, soft=0.07)
        for sign in (-1, 1):
            brush.fill(
                oval(*head.point(sign * 0.22, 0.12), 0.09, 0.07), mix(skin, (226, 92, 84), 0.55), 0.28, soft=0.04
            )
            brush.fill(oval(*head.point(sign * 0.165, -0.075), 0.105, 0.065), deep, 0.34 * strength + 0.08, soft=0.03)
            if sign * light.x > 0:
                brush.fill(oval(*head.point(sign * 0.22, 0.06), 0.07, 0.05), glow, 0.35 * strength, soft=0.03)
        if person.age > 0.72:
            for k in (-0.34, -0.29, -0.24):
                brush.line(smooth(head.points((-0.17, k), (0, k - 0.02), (0.17, k))), deep, 0.01, 0.45, soft=0.004)
            for sign in (-1, 1):
                brush.line(
                    smooth(head.points((sign * 0.1, 0.02), (sign * 0.17, 0.035), (sign * 0.24, 0.0))),
                    deep,
                    0.012,
                    0.45,
                    soft=0.005,
                )
        _eyes(brush, head, deep)
        _nose(brush, head, light, deep, glow, strength)


def _eyes(brush: Brush, head: Head, deep: Colour) -> None:
    person = head.person
    child = person.age < 0.2
    for sign in (-1, 1):
        size = 1.12 if child else 1.0
        rows = [
            (0.088, -0.048),
            (0.12, -0.083 * size),
            (0.168, -0.096 * size),
            (0.22, -0.078),
            (0.25, -0.052),
            (0.21, -0.034),
            (0.16, -0.026),
            (0.118, -0.034),
        ]
        if person.mouth in ("smile", "teeth", "laugh"):
            rows[5:8] = [(0.21, -0.04), (0.16, -0.036), (0.118, -0.042)]
        almond_points = head.points(*[(sign * x, y) for x, y in rows])
        almond = smooth(almond_points, True)
        brush.fill(almond, (244, 241, 238))
        cx, cy = head.point(sign * 0.168 + person.gaze[0] * 0.022, -0.062 + person.gaze[1] * 0.01)
        narrow = 0.75 + 0.25 * math.cos(person.yaw + sign * 0.25)
        with brush.inside(almond):
            brush.fill(oval(cx, cy, 0.036 * narrow, 0.038), person.iris)
            brush.line(oval(cx, cy, 0.034 * narrow, 0.036), darker(person.iris, 0.6), 0.008)
            brush.fill(oval(cx, cy, 0.017 * narrow, 0.018), (14, 12, 12))
            brush.line(smooth(almond_points[:5]), (60, 40, 40), 0.03, 0.4, soft=0.01)
        brush.fill(oval(cx - 0.011, cy - 0.013, 0.009, 0.009), WHITE, 0.9)
        lid = smooth(almond_points[:5])
        brush.line(lid, mix(deep, (30, 20, 18), 0.75), 0.02 if person.lashes else 0.013)
        if person.lashes:
            ends = head.points((sign * 0.25, -0.052), (sign * 0.272, -0.075))
            brush.line(polygon(ends, False), (30, 22, 20), 0.013)
        brush.line(smooth(almond_points[[4, 5, 6, 7, 0]]), deep, 0.008, 0.6)
        crease = head.points((sign * 0.11, -0.108), (sign * 0.168, -0.122 * size), (sign * 0.235, -0.096))
        brush.line(smooth(crease), deep, 0.012, 0.55, soft=0.004)
        tone = darker(person.hair, 0.25) if sum(person.hair) < 450 else darker(person.hair, 0.35)
        thick = person.brow
        lift = 0.02 if person.mouth in ("laugh", "o") else 0.0
        brow = head.points(
            (sign * 0.075, -0.158 - lift),
            (sign * 0.15, -0.19 - thick * 0.4 - lift),
            (sign * 0.215, -0.188 - thick * 0.2 - lift),
            (sign * 0.275, -0.15 - lift),
            (sign * 0.21, -0.176 + thick * 0.3 - lift),
            (sign * 0.15, -0.178 + thick * 0.6 - lift),
            (sign * 0.078, -0.148 + thick * 0.6 - lift),
        )
        brush.fill(smooth(brow, True), tone, 0.9, soft=0.004)


def _nose(brush: Brush, head: Head, light: Light, deep: Colour, glow: Colour, strength: float) -> None:
    person = head.person
    wide = 0.07 + 0.012 * ((person.seed >> 4) % 3)
    dark = -1 if light.x > 0 else 1
    ridge = [(0, -0.1, 0.38), (0, 0.0, 0.42), (0, 0.09, 0.46), (0, 0.14, 0.48)]
    side = [(dark * 0.05, -0.12, 0.34), (dark * 0.04, 0.0, 0.37), (dark * 0.055, 0.1, 0.4), (dark * wide, 0.165, 0.38)]
    shade = smooth([*head.points(*ridge), *head.points(*side)[::-1]], True)
    brush.fill(shade, deep, 0.42 * strength + 0.08, soft=0.018)
    brush.line(smooth(head.points(*ridge) + (0.012 * np.sign(light.x), 0)), glow, 0.028, 0.4 * strength, soft=0.012)
    brush.fill(oval(*head.point(0, 0.2, 0.42), 0.085, 0.022), deep, 0.5 * strength + 0.15, soft=0.015)
    tip = head.point(0.01 * np.sign(light.x), 0.13, 0.48)
    brush.fill(oval(*tip, 0.024, 0.02), glow, 0.6 * strength, soft=0.01)
    line = mix(deep, (60, 24, 20), 0.35)
    for sign in (-1, 1):
        wing = head.points(
            (sign * wide * 0.85, 0.115, 0.4), (sign * wide * 1.12, 0.155, 0.37), (sign * wide * 0.9, 0.192, 0.38)
        )
        brush.line(smooth(wing), line, 0.013, 0.65, soft=0.004)
        brush.fill(
            oval(*head.point(sign * wide * 0.5, 0.186, 0.42), 0.02, 0.011, sign * -12),
            darker(line, 0.35),
            0.85,
            soft=0.003,
        )


def _mouth(brush: Brush, head: Head) -> None:
    person = head.person
    deep = deeper(person.skin, 0.5)
    kind, lips = person.mouth, person.lips
    wide, lift = {
        "neutral": (0.115, 0.0),
        "smile": (0.145, 0.028),
        "teeth": (0.155, 0.035),
        "laugh": (0.15, 0.03),
        "sad": (0.11, -0.022),
        "o": (0.07, 0.0),
    }[kind]
    gap = {"teeth": 0.04, "laugh": 0.095, "o": 0.07}.get(kind, 0.0)
    y = 0.285
    corner = y - lift

    def row(*points: tuple[float, float]) -> Vector:
        return head.points(*points)

    upper = row(
        (-wide, corner),
        (-wide * 0.5, y - 0.026),
        (-0.028, y - 0.034),
        (0, y - 0.026),
        (0.028, y - 0.034),
        (wide * 0.5, y - 0.026),
        (wide, corner),
        (wide * 0.5, y - 0.002),
        (0, y + 0.002),
        (-wide * 0.5, y - 0.002),
    )
    low = y + gap
    lower = row(
        (-wide, corner),
        (-wide * 0.5, low),
        (0, low + 0.006),
        (wide * 0.5, low),
        (wide, corner),
        (wide * 0.55, low + 0.036),
        (0, low + 0.05),
        (-wide * 0.55, low + 0.036),
    )
    brush.fill(oval(*head.point(0, low + 0.085), 0.09, 0.025), deep, 0.35, soft=0.015)
    if gap:
        hole = smooth([*upper[[0, 9, 8, 7, 6]], *lower[[3, 2, 1]]], True, 0.9)
        brush.fill(hole, (70, 22, 24))
        with brush.inside(hole):
            if kind != "o":
                teeth = row(
                    (-wide * 0.9, corner - 0.01),
                    (0, y - 0.01),
                    (wide * 0.9, corner - 0.01),
                    (wide * 0.75, y + 0.022),
                    (0, y + 0.036),
                    (-wide * 0.75, y + 0.022),
                )
                brush.fill(smooth(teeth, True), (246, 242, 236))
            if kind == "laugh":
                brush.fill(oval(*head.point(0, low + 0.012), 0.07, 0.03), (196, 92, 92), soft=0.008)
    brush.fill(smooth(upper, True, 0.9), deeper(lips, 0.12))
    brush.fill(smooth(lower, True, 0.9), lips)
    brush.fill(oval(*head.point(-0.01, low + 0.026), wide * 0.4, 0.01), WHITE, 0.22, soft=0.008)
    if not gap:
        line = row((-wide, corner), (-wide * 0.5, y), (0, y + 0.003), (wide * 0.5, y), (wide, corner))
        brush.line(smooth(line), mix(deep, (70, 20, 22), 0.5), 0.013, 0.9)
    for sign in (-1, 1):
        brush.fill(oval(*head.point(sign * (wide + 0.012), corner), 0.013, 0.013), deep, 0.5, soft=0.006)
        if kind in ("smile", "teeth", "laugh") or person.age > 0.72:
            fold = row((sign * 0.095, 0.165), (sign * (wide + 0.02), 0.22), (sign * (wide + 0.035), corner))
            brush.line(smooth(fold), deep, 0.014, 0.4, soft=0.006)


def _beard(brush: Brush, head: Head, light: Light, over_mouth: bool) -> None:
    person = head.person
    if not person.beard:
        return
    hair, kind = darker(person.hair, 0.1), person.beard
    rng = np.random.default_rng(person.seed + 1)
    if kind in ("full", "long", "stubble"):
        drop = {"full": 0.06, "long": 0.24, "stubble": 0.0}[kind]
        geometry = head.geometry
        heights = np.linspace(0.12, 0.95, 6)
        left = [geometry.edge(-1, v) for v in heights]
        right = [geometry.edge(1, v) for v in heights]
        chin = np.asarray(geometry.chin) + (0, drop)
        out = [
            np.array([(p[0] - chin[0]) * (1 + drop * 0.5) + chin[0], p[1] + drop * k / 5])
            for side in (left, right)
            for k, p in enumerate(side)
        ]
        left_out, right_out = out[:6], out[6:]
        inner = head.points(
            (0.34, 0.02),
            (0.3, 0.12),
            (0.2, 0.2),
            (0.13, 0.205),
            (0, 0.215),
            (-0.13, 0.205),
            (-0.2, 0.2),
            (-0.3, 0.12),
            (-0.34, 0.02),
        )
        area = smooth(head.hug(np.array([*left_out, chin, *right_out[::-1], *inner]), 0.02), True, 0.85)
        alpha = 0.32 if kind == "stubble" else 0.94
        brush.fill(area, hair, alpha, soft=0.03 if kind == "stubble" else 0.012)
        if kind != "stubble":
            with brush.inside(area):
                for _ in range(46):
                    px, py = head.point(rng.uniform(-0.34, 0.34), rng.uniform(0.15, 0.5 + drop))
                    tone = lighter(hair, 0.22) if rng.random() < 0.5 else darker(hair, 0.4)
                    brush.line(
                        smooth([(px, py), (px * 1.01, py + 0.04), (px * 1.03 - 0.01, py + 0.08)]), tone, 0.008, 0.5
                    )
                brush.linear(
                    area,
                    (light.x * 0.4, 0.2),
                    (-light.x * 0.4, 0.4),
                    [(0, WHITE, 0.08), (0.5, BLACK, 0), (1, BLACK, 0.35)],
                )
    if kind == "goatee":
        low = smooth(head.points((-0.12, 0.36), (0, 0.345), (0.12, 0.36), (0.11, 0.46), (0, 0.55), (-0.11, 0.46)), True)
        brush.fill(low, hair, 0.92, soft=0.012)
    if kind in ("moustache", "goatee", "full", "long"):
        lip = smooth(
            head.points(
                (-0.15, 0.27),
                (-0.09, 0.225),
                (0, 0.212),
                (0.09, 0.225),
                (0.15, 0.27),
                (0.08, 0.258),
                (0, 0.25),
                (-0.08, 0.258),
            ),
            True,
        )
        brush.fill(lip, hair, 0.95, soft=0.006)
    if kind in ("full", "long", "goatee") and over_mouth:
        _mouth(brush, head)
        if kind != "goatee":
            lip = smooth(
                head.points(
                    (-0.16, 0.275),
                    (-0.09, 0.225),
                    (0, 0.212),
                    (0.09, 0.225),
                    (0.16, 0.275),
                    (0.08, 0.258),
                    (0, 0.25),
                    (-0.08, 0.258),
                ),
                True,
            )
            brush.fill(lip, hair, 0.95, soft=0.006)


def _glasses(brush: Brush, head: Head) -> None:
    kind = head.person.glasses
    if not kind:
        return
    frame = [(30, 28, 30), (92, 62, 40), (150, 150, 156), (150, 40, 44)][head.person.seed % 4]
    lenses = []
    for sign in (-1, 1):
        a, b = (0.062, 0.29)
        if kind == "round":
            rows = [
                (a + (b - a) * (0.5 + 0.5 * math.cos(t)), -0.05 + 0.098 * math.sin(t))
                for t in np.linspace(0, 2 * math.pi, 11)[:-1]
            ]
            lens = smooth(head.points(*[(sign * x, y, 0.38 - 0.9 * max(0, x - 0.2)) for x, y in rows]), True)
        else:
            tall = 0.085 if kind == "square" else 0.1
            rows = [
                (a, -0.05 - tall * 0.85),
                (b, -0.05 - tall),
                (b - 0.01, -0.05 + tall * 0.6),
                (b - 0.07, -0.05 + tall),
                (a + 0.05, -0.05 + tall),
                (a + 0.005, -0.05 + tall * 0.5),
            ]
            lens = smooth(head.points(*[(sign * x, y, 0.38 - 0.9 * max(0, x - 0.2)) for x, y in rows]), True, 0.55)
        lenses.append(lens)
        if sign * math.sin(head.person.yaw) < 0.3:
            brush.line(
                polygon([head.point(sign * 0.29, -0.085, 0.3), np.add(head.ear(sign), (0, -0.1))], False), frame, 0.022
            )
    for sign, lens in zip((-1, 1), lenses):
        if kind == "sun":
            brush.fill(lens, (26, 26, 32), 0.94)
            x, y = head.point(sign * 0.17, -0.05)
            with brush.inside(lens):
                brush.linear(
                    lens,
                    (x - 0.1, y - 0.1),
                    (x + 0.1, y + 0.1),
                    [(0, (150, 170, 200), 0.5), (0.5, (60, 70, 90), 0.1), (1, BLACK, 0.1)],
                )
        else:
            brush.fill(lens, (220, 235, 245), 0.14)
            x, y = head.point(sign * 0.17, -0.05)
            brush.line(polygon([(x - 0.05, y + 0.03), (x, y - 0.05)], False), WHITE, 0.016, 0.35)
        brush.line(lens, frame, 0.02)
    brush.line(smooth(head.points((-0.066, -0.07, 0.4), (0, -0.088, 0.44), (0.066, -0.07, 0.4))), frame, 0.02)
