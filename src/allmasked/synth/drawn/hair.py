"""Hair, headscarves and hats of drawn people, behind the head and in front of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from allmasked.synth.drawn.people import SHORT, Head
from allmasked.synth.paint.brush import BLACK, WHITE, Brush, Colour, darker, deeper, lighter, mix, oval, skia, smooth
from allmasked.synth.paint.geometry import Light, Vector


def _dome(head: Head, volume: float, lowest: float = 0.12, wobble: float = 0.0, seed: int = 0) -> Vector:
    """The outside of the hair (N, 2) from the left side over the crown to the right, ``volume`` times the skull."""
    x, y = head.crown
    wide = (head.person.width + 0.035 + 0.03 * abs(math.sin(head.person.yaw))) * volume
    rng = np.random.default_rng(seed)
    start = math.asin(np.clip((lowest - y) / 0.62, -0.9, 0.9))
    angles = np.linspace(math.pi - start, 2 * math.pi + start, 25 if wobble else 13)
    radius = 1 + rng.uniform(-wobble, wobble, len(angles))
    return np.array([(x + wide * r * math.cos(a), y + 0.53 * volume * r * math.sin(a)) for a, r in zip(angles, radius)])


def _strands(brush: Brush, area: Any, hair: Colour, lines: list[Vector], rng: np.random.Generator) -> None:
    with brush.inside(area):
        for points in lines:
            tone = lighter(hair, 0.28) if rng.random() < 0.5 else darker(hair, 0.45)
            brush.line(smooth(points), tone, float(rng.uniform(0.008, 0.02)), 0.4)


def _sheen(brush: Brush, area: Any, head: Head, light: Light) -> None:
    x, y = head.crown
    with brush.inside(area):
        brush.linear(
            area,
            (x + light.x * 0.45, y - 0.45),
            (x - light.x * 0.5, y + 0.3),
            [(0, WHITE, 0.13), (0.4, WHITE, 0.0), (0.5, BLACK, 0.0), (1, BLACK, 0.38)],
        )
        band = [
            (x + 0.3 * math.cos(a) + light.x * 0.08, y - 0.1 + 0.34 * math.sin(a))
            for a in np.linspace(math.pi * 1.15, math.pi * 1.85, 6)
        ]
        brush.line(smooth(band), lighter(head.person.hair, 0.6), 0.05, 0.28, soft=0.03)


LENGTH = {"bob": 0.52, "straight": 1.25, "wavy": 1.2, "pixie": 0.2, "afro": 0.3}


def paint_hair_behind(brush: Brush, head: Head, light: Light) -> None:
    """Hair at the back of the head, long hair down the back; laid on before the body."""
    person = head.person
    style, hair = person.style, darker(person.hair, 0.22)
    x, y = head.crown
    if style == "hijab":
        cloth = darker(person.hat_colour, 0.1)
        brush.fill(smooth([*_dome(head, 1.12, 0.3), (0.62, 0.9), (0.8, 1.3), (-0.8, 1.3), (-0.62, 0.9)], True), cloth)
        return
    if style == "bald":
        return
    if style == "afro":
        brush.fill(smooth(_dome(head, 1.5, 0.25, 0.03, person.seed), True), hair)
        return
    if style == "curls":
        brush.fill(smooth(_dome(head, 1.1, 0.15, 0.04, person.seed), True), hair)
        return
    near = -math.sin(person.yaw)
    back = oval(x + 0.1 * near, y + 0.02, person.width + 0.03, 0.5)
    if style == "ponytail":
        side = 1 if near >= 0 else -1
        tail = smooth(
            [
                (x + side * 0.25, y - 0.1),
                (x + side * 0.62, y + 0.1),
                (x + side * 0.66, y + 0.7),
                (x + side * 0.52, y + 1.15),
                (x + side * 0.4, y + 0.7),
                (x + side * 0.3, y + 0.25),
            ],
            True,
        )
        brush.fill(tail, hair)
        _strands(
            brush,
            tail,
            hair,
            [
                np.array(
                    [(x + side * (0.35 + k), y), (x + side * (0.5 + k), y + 0.4), (x + side * (0.46 + k), y + 0.95)]
                )
                for k in (0, 0.05, 0.1)
            ],
            np.random.default_rng(person.seed),
        )
    if style == "bun":
        bun = oval(x + 0.2 * near, y - 0.6, 0.2, 0.17)
        brush.fill(bun, hair)
        with brush.inside(bun):
            for k in (-0.08, 0.0, 0.08):
                brush.line(
                    smooth(
                        [
                            (x + 0.2 * near - 0.2, y - 0.6 + k),
                            (x + 0.2 * near, y - 0.65 + k),
                            (x + 0.2 * near + 0.2, y - 0.58 + k),
                        ]
                    ),
                    lighter(hair, 0.25),
                    0.012,
                    0.5,
                )
    if style in ("bob", "straight", "wavy"):
        length = LENGTH[style]
        wide = person.width + 0.12
        wave = 0.05 if style == "wavy" else 0.0
        down = np.linspace(0.1, length, 6)
        right = [
            (x + wide * (1 - 0.08 * (k % 2)) + wave * math.sin(k * 2.2) + 0.04 * k * (length > 1) * 0.5, v)
            for k, v in enumerate(down)
        ]
        left = [
            (x - wide * (1 - 0.08 * (k % 2)) - wave * math.sin(k * 2.2 + 1) - 0.04 * k * (length > 1) * 0.5, v)
            for k, v in enumerate(down)
        ]
        back = smooth([*_dome(head, 1.1, 0.0), *right, (x, length - 0.03), *left[::-1]], True)
    if style == "buzz":
        brush.fill(back, mix(hair, person.skin, 0.25))
    else:
        brush.fill(back, hair)
        brush.linear(
            back, (light.x * 0.5, 0), (-light.x * 0.5, 0.2), [(0, WHITE, 0.06), (0.5, BLACK, 0.05), (1, BLACK, 0.35)]
        )


def paint_hair(brush: Brush, head: Head, light: Light) -> None:
    """Hair from the hairline over the crown, and locks in front of the shoulders; headscarves."""
    person = head.person
    style, hair = person.style, person.hair
    rng = np.random.default_rng(person.seed + 2)
    w = person.width
    if style == "hijab":
        _hijab(brush, head, light)
        return
    if style == "bald":
        x, y = head.crown
        brush.fill(oval(x + light.x * 0.13, y - 0.32, 0.13, 0.07), WHITE, 0.3, soft=0.06)
        return
    side = 1 if (person.seed >> 3) % 2 else -1
    burn = 0.03  # how far the sideburns reach down
    lines: dict[str, tuple[float, list[tuple[float, float]]]] = {
        "buzz": (1.0, [(w * 1.02, burn), (w * 0.93, -0.16), (w * 0.82, -0.36), (0.2, -0.44), (0, -0.45)]),
        "short": (
            1.07,
            [(w * 1.03, burn), (w * 0.92, -0.18), (w * 0.84, -0.32), (0.2, -0.4), (0.07, -0.37), (0, -0.41)],
        ),
        "quiff": (1.08, [(w * 1.02, burn), (w * 0.93, -0.18), (w * 0.84, -0.36), (0.2, -0.45), (0, -0.46)]),
        "curls": (
            1.16,
            [(w * 1.06, burn), (w * 0.96, -0.16), (w * 0.8, -0.32), (0.22, -0.36), (0.1, -0.4), (0, -0.36)],
        ),
        "afro": (1.5, [(w * 1.06, 0.05), (w * 0.95, -0.18), (w * 0.8, -0.35), (0.2, -0.43), (0, -0.44)]),
        "ponytail": (1.02, [(w * 1.03, -0.02), (w * 0.95, -0.2), (w * 0.8, -0.38), (0.18, -0.45), (0, -0.47)]),
        "bun": (1.02, [(w * 1.03, -0.02), (w * 0.95, -0.2), (w * 0.8, -0.38), (0.18, -0.45), (0, -0.47)]),
    }
    if style in lines:
        volume, rows = lines[style]
        line = rows + [(-x, y) for x, y in rows[::-1][1:]]
    elif style == "swept":
        volume = 1.1
        line = [
            (w * 1.03, burn),
            (w * 0.94, -0.16),
            (w * 0.86, -0.3),
            (0.2, -0.36 - 0.08 * side),
            (0.05, -0.36),
            (-0.1, -0.36),
            (-0.22, -0.36 + 0.08 * side),
            (-w * 0.86, -0.3),
            (-w * 0.94, -0.16),
            (-w * 1.03, burn),
        ]
    elif style in ("bob", "pixie"):
        volume = 1.12
        line = [
            (w * 1.05, 0.1),
            (w * 0.95, -0.08),
            (w * 0.86, -0.2),
            (0.22, -0.235),
            (0.08, -0.22),
            (-0.08, -0.23),
            (-0.22, -0.225),
            (-w * 0.86, -0.2),
            (-w * 0.95, -0.08),
            (-w * 1.05, 0.1),
        ]
    else:  # straight, wavy: parted
        volume = 1.1
        part = side * 0.07
        line = [
            (w * 1.05, 0.1),
            (w * 0.94, -0.12),
            (w * 0.8, -0.28),
            (0.2, -0.4),
            (part + 0.02, -0.53),
            (part - 0.02, -0.53),
            (-0.2, -0.4),
            (-w * 0.8, -0.28),
            (-w * 0.94, -0.12),
            (-w * 1.05, 0.1),
        ]
    wobble = {"curls": 0.045, "afro": 0.03, "short": 0.012}.get(style, 0.0)
    dome = _dome(head, volume, 0.02 if style in SHORT else 0.1, wobble, person.seed)
    if style == "quiff":
        dome[4:9, 1] -= np.array([0.04, 0.1, 0.12, 0.08, 0.02])
    inner = head.hug(head.points(*line), -0.015)
    area = smooth([*dome, *inner], True, 0.85)
    with brush.inside(smooth(head.outline, True)):
        brush.line(smooth(inner + (0, 0.012)), deeper(person.skin, 0.6), 0.05, 0.5, soft=0.022)
    if style == "buzz":
        brush.fill(area, mix(hair, person.skin, 0.2), 0.92, soft=0.012)
    else:
        brush.fill(area, hair)
    strands = []
    outer = dome[np.linspace(2, len(dome) - 3, 18).astype(int)]
    roots = inner[::-1]
    for k, point in enumerate(outer):
        root = roots[int(k * (len(roots) - 1) / 17)]
        bend = (point + root) / 2 + (0.03 * rng.normal(), -0.05)
        strands.append(np.array([root, bend, point]))
    if style in ("curls", "afro"):
        with brush.inside(area):
            for _ in range(70 if style == "afro" else 45):
                px, py = rng.uniform(-0.65, 0.65), rng.uniform(-1.05, 0.1)
                tone = lighter(hair, 0.25) if rng.random() < 0.5 else darker(hair, 0.4)
                curl = [(px - 0.04, py + 0.01), (px - 0.01, py - 0.03), (px + 0.03, py), (px + 0.015, py + 0.03)]
                brush.line(smooth(curl), tone, 0.016, 0.3)
    elif style != "buzz":
        _strands(brush, area, hair, strands, rng)
    _sheen(brush, area, head, light)
    if style in ("straight", "wavy", "bob"):
        _locks(brush, head, light, rng)


def _locks(brush: Brush, head: Head, light: Light, rng: np.random.Generator) -> None:
    """Long hair that falls in front, beside the cheeks."""
    person = head.person
    w, length = person.width, LENGTH[person.style]
    wave = 0.045 if person.style == "wavy" else 0.0
    x0 = head.crown[0]
    face = smooth(head.outline, True)
    for sign in (-1, 1):
        inner = head.points((sign * w * 0.97, -0.12), (sign * w * 1.03, 0.05))
        edge = float(head.geometry.edge(sign, 0.5)[0])
        far = x0 + sign * (w + 0.13)
        if sign * math.sin(person.yaw) > 0.3:  # the far side is behind the cheek
            continue
        down = np.linspace(0.25, length, 5)
        inside = [(edge + sign * (0.0 + 0.015 * k) + wave * math.sin(k * 2.1), v) for k, v in enumerate(down)]
        outside = [(far + sign * 0.02 * k + wave * math.sin(k * 2.1 + 0.6), v) for k, v in enumerate(down)]
        lock = smooth(
            [
                *inner,
                *inside,
                (far - sign * 0.02, length + 0.05),
                *outside[::-1],
                (far, 0.0),
                (x0 + sign * (w + 0.06), -0.25),
            ],
            True,
            0.9,
        )
        with brush.inside(face):
            brush.fill(lock, BLACK, 0.3, soft=0.03)
        brush.fill(lock, person.hair)
        _strands(
            brush,
            lock,
            person.hair,
            [
                np.array([(a[0] * k + b[0] * (1 - k), a[1]) for a, b in zip(inside, outside)])
                for k in (0.2, 0.4, 0.6, 0.8)
            ],
            rng,
        )
        if sign * light.x < 0:
            brush.fill(lock, BLACK, 0.25)


def _hijab(brush: Brush, head: Head, light: Light) -> None:
    person = head.person
    cloth, w = person.hat_colour, person.width
    outer = [
        *_dome(head, 1.12, 0.25),
        (0.5, 0.62),
        (0.78, 1.1),
        (0.5, 1.4),
        (0, 1.5),
        (-0.5, 1.4),
        (-0.78, 1.1),
        (-0.5, 0.62),
    ]
    inner = [
        head.point(w * 0.9, 0.05),
        *head.points((w * 0.88, -0.2), (0.24, -0.42), (0, -0.46), (-0.24, -0.42), (-w * 0.88, -0.2)),
        head.point(-w * 0.9, 0.05),
        *(head.geometry.edge(-1, v) * (0.97, 1) for v in (0.5, 0.8)),
        np.add(head.geometry.chin, (0, 0.025)),
        *(head.geometry.edge(1, v) * (0.97, 1) for v in (0.8, 0.5)),
    ]
    area = skia().Op(smooth(outer, True), smooth(inner, True), skia().kDifference_PathOp)
    with brush.inside(smooth(head.outline, True)):
        brush.line(smooth(inner, True), BLACK, 0.07, 0.4, soft=0.03)
    brush.fill(area, cloth)
    with brush.inside(area):
        brush.linear(
            area, (light.x * 0.6, -0.4), (-light.x * 0.6, 0.6), [(0, WHITE, 0.16), (0.5, BLACK, 0), (1, BLACK, 0.4)]
        )
        for k in range(5):
            fold = smooth([(-0.5 + 0.05 * k, 0.45 + 0.12 * k), (0, 0.72 + 0.14 * k), (0.5, 0.5 + 0.1 * k)])
            brush.line(fold, darker(cloth, 0.4), 0.03, 0.4, soft=0.018)
        for sign in (-1, 1):
            brush.line(
                smooth([(sign * 0.42, -0.4), (sign * 0.5, 0.1), (sign * 0.36, 0.6)]),
                darker(cloth, 0.35),
                0.025,
                0.35,
                soft=0.015,
            )


def paint_hat(brush: Brush, head: Head, light: Light) -> None:
    """A beanie, a cap or a hat with a brim."""
    person = head.person
    if not person.hat:
        return
    cloth, w = person.hat_colour, person.width
    x, _ = head.crown
    dome = _dome(head, 1.13, -0.3)
    line = head.points((w * 1.08, -0.3), (0.22, -0.37), (0, -0.38), (-0.22, -0.37), (-w * 1.08, -0.3))
    area = smooth([*dome, *line], True, 0.85)
    with brush.inside(smooth(head.outline, True)):
        brush.fill(area, BLACK, 0.4, soft=0.04)
    brush.fill(area, cloth)
    with brush.inside(area):
        brush.linear(
            area,
            (x + light.x * 0.5, -0.7),
            (x - light.x * 0.5, -0.3),
            [(0, WHITE, 0.2), (0.5, BLACK, 0), (1, BLACK, 0.4)],
        )
    if person.hat == "beanie":
        band = smooth([*(line + (0, -0.14)), *(line[::-1] + (0, 0.02))], True, 0.8)
        brush.fill(band, lighter(cloth, 0.1))
        brush.line(band, darker(cloth, 0.4), 0.015, 0.6)
        with brush.inside(area):
            for k in np.linspace(-0.45, 0.45, 10):
                brush.line(
                    smooth([(x + k, -0.35), (x + k * 0.85, -0.6), (x + k * 0.35, -0.9)]), darker(cloth, 0.4), 0.012, 0.4
                )
        if person.seed % 2:
            brush.fill(oval(x, -0.86, 0.11, 0.1), person.cloth_accent, soft=0.012)
    elif person.hat == "cap":
        turn = math.sin(person.yaw)
        peak = smooth(
            [
                head.point(-0.34, -0.35),
                head.point(0, -0.42),
                head.point(0.34, -0.35),
                (0.3 + 0.35 * turn, -0.27),
                (0.4 * turn, -0.25),
                (-0.3 + 0.35 * turn, -0.27),
            ],
            True,
        )
        with brush.inside(smooth(head.outline, True)):
            brush.fill(oval(0.3 * turn, -0.22, 0.32, 0.05), BLACK, 0.3, soft=0.03)
        brush.fill(peak, darker(cloth, 0.25))
        brush.line(peak, darker(cloth, 0.5), 0.012, 0.7)
        for k in (-0.2, 0.0, 0.2):
            brush.line(smooth([head.point(k, -0.4), (x + k * 0.7, -0.6), (x, -0.73)]), darker(cloth, 0.35), 0.012, 0.5)
    else:
        wide = oval(0.2 * math.sin(person.yaw), -0.36, 0.82, 0.13)
        with brush.inside(smooth(head.outline, True)):
            brush.fill(oval(0.2 * math.sin(person.yaw), -0.24, 0.4, 0.08), BLACK, 0.35, soft=0.04)
        brush.fill(wide, cloth)
        brush.linear(wide, (0, -0.5), (0, -0.22), [(0, WHITE, 0.15), (1, BLACK, 0.35)])
        top = smooth([*dome, *(line + (0, -0.04))], True, 0.85)
        brush.fill(top, cloth)
        with brush.inside(top):
            brush.linear(
                top,
                (x + light.x * 0.5, -0.7),
                (x - light.x * 0.5, -0.3),
                [(0, WHITE, 0.2), (0.5, BLACK, 0), (1, BLACK, 0.4)],
            )
            brush.line(smooth(line + (0, -0.08)), person.cloth_accent, 0.09)
