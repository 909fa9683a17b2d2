"""A drawn person's body: neck, clothes and scarf, and what the hands hold before the mouth."""

from __future__ import annotations

import math

import numpy as np

from allmasked.synth.drawn.people import SHORT, Head, Person
from allmasked.synth.paint.brush import BLACK, WHITE, Brush, darker, deeper, lighter, oval, polygon, rect, smooth
from allmasked.synth.paint.geometry import Light


def paint_body(brush: Brush, person: Person, light: Light) -> None:
    """Legs, arms, torso with its clothes, neck, collar and scarf; upright, whatever the head's roll."""
    rng = np.random.default_rng(person.seed)
    b, cloth = person.build, person.cloth
    slim = 1.0 if person.style in SHORT else 0.92
    wide = 1.1 * b * slim
    neck = (0.235 if person.style in SHORT else 0.205) * (0.85 if person.age < 0.2 else 1) * (0.9 + 0.1 * b)
    shift = -0.08 * math.sin(person.yaw)

    # legs and arms, then the torso over them
    brush.fill(
        polygon([(-0.75 * b, 3.4), (0.75 * b, 3.4), (0.7 * b, 9), (0.12, 9), (0, 4.4), (-0.12, 9), (-0.7 * b, 9)]),
        person.trousers,
    )
    side = [
        (0.2, 0.74),
        (0.42, 0.85),
        (wide * 0.8, 0.98),
        (wide * 1.0, 1.12),
        (wide * 1.1, 1.45),
        (wide * 1.15, 2.2),
        (wide * 1.14, 3.3),
        (wide * 0.98, 3.35),
        (wide * 0.9, 2.4),
        (wide * 0.84, 1.9),
        (wide * 0.78, 2.6),
        (wide * 0.8, 3.75),
    ]
    for sign in (-1, 1):
        brush.fill(oval(sign * wide * 1.05, 3.45, 0.13, 0.22), person.skin)
    right = [(px + shift * max(0, 1.2 - py), py) for px, py in side]
    left = [(-px + shift * max(0, 1.2 - py), py) for px, py in side]
    torso = smooth([*right, *left[::-1]], closed=True, tension=0.7)
    brush.fill(torso, cloth)
    with brush.inside(torso):
        _fabric(brush, person, rng)
        shade = deeper(cloth, 0.55)
        strength = 0.35 + 0.4 * light.contrast
        brush.linear(
            rect(-2, 0.5, 2, 4),
            (light.x * 1.3, 1.9 + light.y * 0.7),
            (-light.x * 1.3, 1.9 - light.y * 0.7),
            [(0, WHITE, 0.12 * strength), (0.45, shade, 0.0), (1, shade, 0.85 * strength)],
        )
        for sign in (-1, 1):
            arm = smooth([(sign * wide * 0.8, 1.35), (sign * wide * 0.79, 1.9), (sign * wide * 0.82, 2.7)])
            brush.line(arm, darker(cloth, 0.5), 0.05, 0.55, soft=0.025)
            fold = smooth(
                [(sign * wide * 0.78, 1.5), (sign * wide * 0.55, 1.75 + rng.uniform(0, 0.2)), (sign * 0.3, 1.85)]
            )
            brush.line(fold, darker(cloth, 0.5), 0.05, 0.3, soft=0.04)
        for width in (0.14, 0.09, 0.04):
            brush.line(torso, darker(cloth, 0.5), width, 0.13)

    skin = person.skin
    deep = deeper(skin, 0.42)
    bottom = {"v": 1.25, "shirt": 1.0, "blazer": 1.15}.get(person.collar, 0.93)
    throat = smooth(
        [
            (-neck, 0.2),
            (-neck * 0.98, 0.6),
            (-neck * 1.35, 0.8),
            (-neck * 1.1, 0.88),
            (shift * 0.5, bottom),
            (neck * 1.1, 0.88),
            (neck * 1.35, 0.8),
            (neck * 0.98, 0.6),
            (neck, 0.2),
        ],
        True,
        0.8,
    )
    if person.collar == "hoodie":
        brush.fill(
            smooth(
                [(-0.52, 0.95), (-0.5, 0.62), (-0.3, 0.48), (0.3, 0.48), (0.5, 0.62), (0.52, 0.95), (0, 1.12)], True
            ),
            darker(cloth, 0.28),
        )
    if person.collar == "blazer":
        brush.fill(polygon([(-0.3, 0.82), (0.3, 0.82), (0, 2.3)]), (236, 236, 236))
    with brush.moved(shift):
        brush.fill(throat, skin)
        with brush.inside(throat):
            brush.fill(oval(0.1 * math.sin(person.yaw) + -light.x * 0.06, 0.42, 0.36, 0.28), deep, 0.85, soft=0.07)
            brush.linear(
                throat, (light.x * 0.3, 0.6), (-light.x * 0.3, 0.6), [(0, deep, 0.0), (0.5, deep, 0.1), (1, deep, 0.7)]
            )
            brush.line(smooth([(-0.1, 0.93), (0, 0.9), (0.1, 0.93)]), deep, 0.02, 0.4, soft=0.01)
        _collar(brush, person, neck, bottom)
    if person.extra == "scarf":
        _scarf(brush, person)


def _fabric(brush: Brush, person: Person, rng: np.random.Generator) -> None:
    accent = person.cloth_accent
    if person.collar == "blazer":
        return
    if person.cloth_pattern == "stripes":
        step = rng.uniform(0.16, 0.34)
        for y in np.arange(0.9, 4, step):
            brush.line(smooth([(-1.6, y - 0.05), (0, y + 0.05), (1.6, y - 0.05)]), accent, step * 0.4)
    elif person.cloth_pattern == "checks":
        step = rng.uniform(0.22, 0.34)
        for k in np.arange(-2, 4, step):
            brush.line(polygon([(-2, k), (2, k)], False), accent, step * 0.4, 0.45)
            brush.line(polygon([(k, 0), (k, 4)], False), accent, step * 0.4, 0.45)
    elif person.cloth_pattern == "badge":
        kind = rng.integers(3)
        if kind == 0:
            brush.fill(oval(0, 1.75, 0.34, 0.34), accent)
            brush.fill(oval(0, 1.75, 0.2, 0.2), person.cloth)
        elif kind == 1:
            brush.fill(rect(-0.55, 1.5, 0.55, 2.0, 0.05), accent)
        else:
            brush.fill(polygon([(0, 1.4), (0.4, 2.05), (-0.4, 2.05)]), accent)


def _collar(brush: Brush, person: Person, neck: float, bottom: float) -> None:
    cloth, edge = person.cloth, darker(person.cloth, 0.3)
    if person.collar in ("crew", "hoodie"):
        rim = smooth(
            [(-neck * 1.5, 0.78), (-neck * 1.1, 0.9), (0, bottom + 0.03), (neck * 1.1, 0.9), (neck * 1.5, 0.78)]
        )
        brush.line(rim, edge, 0.075)
        brush.line(rim, lighter(cloth, 0.12), 0.045)
        if person.collar == "hoodie":
            for sign in (-1, 1):
                brush.line(
                    smooth([(sign * 0.15, 0.98), (sign * 0.17, 1.2), (sign * 0.16, 1.45)]), lighter(cloth, 0.6), 0.035
                )
    elif person.collar == "v":
        rim = (
            smooth([(-neck * 1.5, 0.76), (-neck * 0.9, 0.95), (0, bottom + 0.02)]),
            smooth([(neck * 1.5, 0.76), (neck * 0.9, 0.95), (0, bottom + 0.02)]),
        )
        for part in rim:
            brush.line(part, edge, 0.05)
    elif person.collar == "shirt":
        for sign in (-1, 1):
            wing = polygon(
                [(sign * neck * 1.25, 0.66), (sign * neck * 1.75, 0.82), (sign * neck * 1.3, 1.12), (0, 0.97)]
            )
            brush.fill(wing, BLACK, 0.3, soft=0.03)
            brush.fill(wing, lighter(cloth, 0.18))
            brush.line(wing, edge, 0.015, 0.7)
        brush.line(polygon([(0, 0.97), (0, 3.6)], False), edge, 0.02, 0.7)
        for y in np.arange(1.2, 3.5, 0.32):
            brush.fill(oval(0.05, y, 0.025, 0.025), darker(cloth, 0.45))
    elif person.collar == "blazer":
        for sign in (-1, 1):
            wing = polygon([(sign * neck * 1.2, 0.68), (sign * neck * 1.65, 0.86), (sign * 0.16, 1.12), (0, 0.98)])
            brush.fill(wing, (246, 246, 246))
            brush.line(wing, (170, 170, 176), 0.014)
            lapel = polygon(
                [
                    (sign * neck * 1.5, 0.72),
                    (sign * 0.52, 1.3),
                    (sign * 0.36, 1.4),
                    (sign * 0.42, 1.5),
                    (0, 2.35),
                    (sign * 0.06, 1.9),
                ]
            )
            brush.fill(lapel, lighter(cloth, 0.08))
            brush.line(lapel, darker(cloth, 0.4), 0.018, 0.8)
        if person.seed % 3:
            brush.fill(
                polygon(
                    [(-0.075, 0.98), (0.075, 0.98), (0.055, 1.1), (0.1, 2.0), (0, 2.2), (-0.1, 2.0), (-0.055, 1.1)]
                ),
                person.cloth_accent,
            )
            brush.line(polygon([(-0.06, 1.1), (0.06, 1.1)], False), darker(person.cloth_accent, 0.4), 0.02, 0.7)
    elif person.collar == "turtle":
        roll = smooth(
            [(-neck * 1.12, 0.6), (0, 0.72), (neck * 1.12, 0.6), (neck * 1.5, 0.86), (0, 1.02), (-neck * 1.5, 0.86)],
            True,
        )
        brush.fill(roll, cloth)
        brush.linear(roll, (0, 0.58), (0, 1.0), [(0, WHITE, 0.12), (0.5, BLACK, 0.0), (1, BLACK, 0.35)])
        brush.line(smooth([(-neck * 1.2, 0.74), (0, 0.86), (neck * 1.2, 0.74)]), edge, 0.02, 0.6)


def _scarf(brush: Brush, person: Person) -> None:
    colour = person.cloth_accent
    wrap = smooth(
        [
            (-0.42, 0.62),
            (-0.2, 0.58),
            (0, 0.64),
            (0.2, 0.58),
            (0.42, 0.62),
            (0.52, 0.85),
            (0.3, 1.06),
            (0, 1.12),
            (-0.3, 1.06),
            (-0.52, 0.85),
        ],
        True,
    )
    tail = smooth([(0.1, 0.95), (0.38, 0.95), (0.44, 1.9), (0.12, 1.95)], True, 0.6)
    for part in (tail, wrap):
        brush.fill(part, BLACK, 0.35, soft=0.05)
        brush.fill(part, colour)
        with brush.inside(part):
            for k in range(5):
                y = 0.66 + k * 0.1
                brush.line(
                    smooth([(-0.5, y), (0, y + 0.1), (0.5, y - 0.02)]), darker(colour, 0.45), 0.03, 0.5, soft=0.02
                )
            brush.linear(part, (0, 0.6), (0, 1.3), [(0, WHITE, 0.15), (0.5, BLACK, 0), (1, BLACK, 0.3)])


def _hand(brush: Brush, person: Person, x: float, y: float, side: int) -> None:
    """A hand with its forearm, the fingers across (x, y), coming from below on ``side``."""
    skin, line = person.skin, deeper(person.skin, 0.5)
    arm = smooth([(x + side * 0.32, y + 0.28), (x + side * 0.62, y + 1.2), (x + side * 0.9, y + 2.2)])
    brush.line(arm, BLACK, 0.46, 0.3, soft=0.05)
    brush.line(arm, person.cloth, 0.44)
    brush.line(arm, deeper(person.cloth, 0.5), 0.2, 0.3, soft=0.08)
    wrist = smooth([(x + side * 0.26, y + 0.12), (x + side * 0.36, y + 0.42)])
    brush.line(wrist, skin, 0.24)
    palm = oval(x + side * 0.17, y + 0.06, 0.19, 0.16, side * 35)
    brush.fill(palm, BLACK, 0.3, soft=0.04)
    brush.fill(palm, skin)
    for k in range(4):
        tip = (x - side * (0.12 - 0.03 * abs(k - 1)), y - 0.11 + k * 0.072)
        root = (x + side * 0.12, y - 0.06 + k * 0.065)
        finger = smooth([root, ((tip[0] + root[0]) / 2, (tip[1] + root[1]) / 2 - 0.015), tip])
        brush.line(finger, line, 0.078)
        brush.line(finger, skin, 0.066)
        brush.fill(oval(tip[0] - side * 0.012, tip[1], 0.016, 0.014), lighter(skin, 0.35), 0.8)
    thumb = smooth([(x + side * 0.22, y - 0.02), (x + side * 0.14, y - 0.16), (x + side * 0.05, y - 0.2)])
    brush.line(thumb, line, 0.082)
    brush.line(thumb, skin, 0.07)


def paint_extra(brush: Brush, head: Head) -> None:
    """What is held before the mouth of a bare face: a hand, a cup, a microphone."""
    person = head.person
    kind = person.extra
    side = 1 if person.seed % 2 else -1
    turn = np.array([[math.cos(person.roll), math.sin(person.roll)], [-math.sin(person.roll), math.cos(person.roll)]])
    mouth = np.array(head.geometry.mouth) @ turn
    x, y = float(mouth[0]), float(mouth[1])
    if kind == "hand":
        _hand(brush, person, x, y + 0.05, side)
    elif kind == "cup":
        cup_x, cup_y = x + side * 0.06, y + 0.2
        body = polygon(
            [
                (cup_x - 0.15, cup_y - 0.14),
                (cup_x + 0.15, cup_y - 0.14),
                (cup_x + 0.12, cup_y + 0.3),
                (cup_x - 0.12, cup_y + 0.3),
            ]
        )
        colour = [(244, 242, 238), (176, 60, 50), (70, 110, 90), (120, 84, 60)][person.seed % 4]
        brush.fill(body, BLACK, 0.3, soft=0.04)
        brush.fill(body, colour)
        brush.linear(
            body, (cup_x - 0.15, cup_y), (cup_x + 0.15, cup_y), [(0, WHITE, 0.2), (0.5, BLACK, 0), (1, BLACK, 0.35)]
        )
        brush.fill(rect(cup_x - 0.14, cup_y + 0.0, cup_x + 0.14, cup_y + 0.12), darker(colour, 0.35))
        brush.fill(oval(cup_x, cup_y - 0.14, 0.15, 0.03), lighter(colour, 0.4))
        _hand(brush, person, cup_x + side * 0.06, cup_y + 0.12, side)
    elif kind == "microphone":
        px, py = x + side * 0.05, y + 0.2
        brush.line(polygon([(px, py), (px + side * 0.22, py + 0.5)], False), (44, 44, 50), 0.09)
        brush.fill(oval(px, py, 0.1, 0.11), (60, 62, 68))
        brush.line(oval(px, py, 0.07, 0.08), (130, 132, 140), 0.012)
        _hand(brush, person, px + side * 0.14, py + 0.36, side)
