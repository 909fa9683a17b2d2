"""What stands behind and before the people: streets, parks, rooms, shops, walls; poles, plants, tables.

Nothing here shows a face. Some things have a mask's colours on purpose, so that colour alone tells nothing.
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
    jitter,
    lighter,
    mix,
    oval,
    pick,
    polygon,
    rect,
    smooth,
)

GOODS: tuple[Colour, ...] = (
    (196, 62, 58),
    (236, 190, 70),
    (82, 132, 176),
    (110, 160, 104),
    (240, 238, 232),
    (148, 196, 226),
    (120, 84, 150),
    (230, 140, 80),
    (70, 76, 88),
    (226, 160, 180),
)
PAINTS: tuple[Colour, ...] = (
    (226, 220, 208),
    (206, 214, 220),
    (214, 202, 186),
    (190, 204, 190),
    (224, 206, 200),
    (168, 184, 200),
    (238, 236, 232),
    (150, 156, 150),
    (196, 170, 146),
    (112, 126, 140),
)
LEAVES: tuple[Colour, ...] = ((74, 112, 62), (98, 138, 74), (58, 92, 60), (128, 154, 84), (164, 142, 70))


def _sky(brush: Brush, rng: np.random.Generator, width: int, bottom: float) -> None:
    top, low = pick(
        rng,
        [
            ((110, 164, 214), (214, 230, 240)),
            ((176, 186, 196), (224, 226, 226)),
            ((228, 176, 140), (250, 226, 196)),
            ((140, 184, 224), (240, 240, 232)),
        ],
        [3, 3, 1, 2],
    )
    brush.linear(rect(0, 0, width, bottom), (0, 0), (0, bottom), [(0, jitter(rng, top), 1), (1, jitter(rng, low), 1)])
    for _ in range(int(rng.integers(0, 5))):
        x, y, size = rng.uniform(0, width), rng.uniform(0, bottom * 0.6), rng.uniform(20, 60)
        for k in range(4):
            brush.fill(oval(x + (k - 1.5) * size * 0.6, y, size * 0.6, size * 0.28), WHITE, 0.5, soft=size * 0.15)


def _tree(brush: Brush, rng: np.random.Generator, x: float, ground: float, height: float) -> None:
    bark, leaf = jitter(rng, (96, 74, 56)), jitter(rng, pick(rng, LEAVES), 10)
    brush.fill(
        polygon(
            [
                (x - height * 0.035, ground),
                (x - height * 0.02, ground - height * 0.6),
                (x + height * 0.02, ground - height * 0.6),
                (x + height * 0.04, ground),
            ]
        ),
        bark,
    )
    for _ in range(9):
        cx, cy = x + rng.normal(0, height * 0.16), ground - height * rng.uniform(0.5, 0.95)
        size = height * rng.uniform(0.12, 0.22)
        brush.fill(oval(cx, cy, size, size * 0.85), jitter(rng, leaf, 14), soft=size * 0.06)
        brush.fill(
            oval(cx - size * 0.25, cy - size * 0.3, size * 0.5, size * 0.4), lighter(leaf, 0.25), 0.4, soft=size * 0.15
        )


def _building(brush: Brush, rng: np.random.Generator, left: float, right: float, top: float, ground: float) -> None:
    wall = jitter(
        rng,
        pick(
            rng, [(186, 158, 132), (202, 196, 186), (150, 108, 92), (132, 142, 152), (220, 204, 170), (164, 172, 168)]
        ),
        8,
    )
    glass = jitter(rng, pick(rng, [(86, 106, 126), (62, 72, 84), (150, 176, 196), (216, 196, 140)]), 8)
    brush.linear(
        rect(left, top, right, ground), (left, 0), (right, 0), [(0, lighter(wall, 0.08), 1), (1, darker(wall, 0.12), 1)]
    )
    columns = max(2, int((right - left) / rng.uniform(26, 46)))
    wide = (right - left) / columns
    tall = wide * rng.uniform(1.2, 1.7)
    y = top + tall * 0.4
    while y + tall * 0.7 < ground - tall:
        for column in range(columns):
            x = left + wide * (column + 0.22)
            brush.fill(rect(x, y, x + wide * 0.56, y + tall * 0.6), jitter(rng, glass, 10))
            brush.fill(rect(x - 1, y + tall * 0.6, x + wide * 0.6, y + tall * 0.66), lighter(wall, 0.3))
        y += tall
    front = jitter(rng, pick(rng, GOODS), 8)
    brush.fill(rect(left, ground - tall * 1.2, right, ground), darker(wall, 0.35))
    brush.fill(rect(left + 4, ground - tall * 0.95, right - 4, ground - 4), mix(glass, WHITE, 0.25))
    brush.fill(rect(left, ground - tall * 1.3, right, ground - tall * 0.98), front)
    _letters(brush, rng, left + (right - left) * 0.2, ground - tall * 1.14, (right - left) * 0.6, tall * 0.16)


def _letters(brush: Brush, rng: np.random.Generator, x: float, y: float, width: float, height: float) -> None:
    """Strokes that look like writing, without a font."""
    ink = pick(rng, [WHITE, (40, 40, 44), (250, 226, 140)])
    step = height * 0.85
    for k in range(int(width / max(step, 1))):
        points = rng.uniform(0, 1, (int(rng.integers(2, 5)), 2)) * (step * 0.7, height) + (x + k * step, y - height / 2)
        if rng.random() < 0.88:
            brush.line(polygon(points, False), ink, max(1.0, height * 0.13), 0.9)


def _street(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    ground = height * rng.uniform(0.62, 0.85)
    _sky(brush, rng, width, ground)
    x = -rng.uniform(0, 80)
    while x < width:
        wide = rng.uniform(0.16, 0.36) * width
        _building(brush, rng, x, x + wide, ground * rng.uniform(-0.1, 0.5), ground)
        x += wide + (rng.uniform(10, 60) if rng.random() < 0.3 else 0)
    road = jitter(rng, (126, 126, 130), 10)
    brush.linear(
        rect(0, ground, width, height),
        (0, ground),
        (0, height),
        [(0, lighter(road, 0.25), 1), (1, darker(road, 0.2), 1)],
    )
    for k in range(6):
        y = ground + (height - ground) * (k / 6) ** 1.6
        brush.line(polygon([(0, y), (width, y)], False), darker(road, 0.25), 1.2, 0.5)
    for _ in range(int(rng.integers(0, 4))):
        _tree(brush, rng, rng.uniform(0, width), ground + rng.uniform(0, 20), height * rng.uniform(0.35, 0.7))
    if rng.random() < 0.5:
        _car(brush, rng, rng.uniform(0, width), ground + height * 0.03, height * rng.uniform(0.16, 0.26))
    if rng.random() < 0.5:
        x = rng.uniform(0, width)
        brush.line(polygon([(x, ground + 10), (x, height * 0.1), (x + 40, height * 0.08)], False), (70, 74, 78), 5)
        brush.fill(oval(x + 44, height * 0.085, 14, 7), (250, 240, 200))


def _car(brush: Brush, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    paint = jitter(rng, pick(rng, GOODS), 10)
    body = smooth(
        [
            (x - size, y),
            (x - size, y - size * 0.3),
            (x - size * 0.6, y - size * 0.36),
            (x - size * 0.35, y - size * 0.66),
            (x + size * 0.4, y - size * 0.66),
            (x + size * 0.68, y - size * 0.36),
            (x + size, y - size * 0.28),
            (x + size, y),
        ],
        True,
        0.5,
    )
    brush.fill(body, paint)
    brush.fill(
        smooth(
            [
                (x - size * 0.5, y - size * 0.37),
                (x - size * 0.3, y - size * 0.6),
                (x + size * 0.35, y - size * 0.6),
                (x + size * 0.56, y - size * 0.37),
            ],
            True,
            0.4,
        ),
        (70, 86, 100),
    )
    for k in (-0.55, 0.55):
        brush.fill(oval(x + k * size, y, size * 0.19, size * 0.19), (36, 36, 40))
        brush.fill(oval(x + k * size, y, size * 0.09, size * 0.09), (160, 162, 166))


def _park(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    ground = height * rng.uniform(0.5, 0.75)
    _sky(brush, rng, width, ground)
    for k in range(3):
        leaf = mix(jitter(rng, pick(rng, LEAVES), 10), (190, 206, 214), 0.5 - 0.2 * k)
        xs = np.linspace(-20, width + 20, 12)
        ridge = [(x, ground - height * (0.22 - 0.06 * k) + rng.normal(0, height * 0.03)) for x in xs]
        brush.fill(smooth([*ridge, (width + 20, height), (-20, height)], True, 0.7), leaf)
    grass = jitter(rng, pick(rng, [(122, 154, 84), (104, 140, 78), (156, 160, 96), (206, 196, 160)]), 8)
    brush.linear(
        rect(0, ground, width, height),
        (0, ground),
        (0, height),
        [(0, lighter(grass, 0.2), 1), (1, darker(grass, 0.3), 1)],
    )
    if rng.random() < 0.6:
        x = rng.uniform(0.2, 0.8) * width
        brush.fill(
            smooth(
                [(x - 12, ground), (x + 12, ground), (x + width * 0.3, height), (x - width * 0.2, height)], True, 0.4
            ),
            (206, 192, 166),
        )
    for _ in range(int(rng.integers(2, 6))):
        _tree(
            brush,
            rng,
            rng.uniform(-20, width + 20),
            ground + rng.uniform(0, height * 0.08),
            height * rng.uniform(0.4, 0.9),
        )
    if rng.random() < 0.4:
        x, y = rng.uniform(0.1, 0.9) * width, ground + height * 0.1
        for k in (0, 10, 20):
            brush.line(polygon([(x - 60, y - 26 + k), (x + 60, y - 26 + k)], False), (126, 88, 58), 6)
        for k in (-50, 50):
            brush.line(polygon([(x + k, y - 30), (x + k, y + 24)], False), (60, 60, 62), 4)


def _poster(brush: Brush, rng: np.random.Generator, left: float, top: float, wide: float, tall: float) -> None:
    """A framed picture or notice: landscape, shapes or lines of writing."""
    paper = jitter(rng, pick(rng, [*GOODS, (246, 244, 238)]), 8)
    frame = pick(rng, [(40, 36, 34), (120, 84, 54), (236, 234, 230)])
    area = rect(left, top, left + wide, top + tall)
    brush.fill(rect(left - 3, top - 1, left + wide + 6, top + tall + 7), BLACK, 0.3, soft=4)
    brush.fill(rect(left - 4, top - 4, left + wide + 4, top + tall + 4), frame)
    brush.fill(area, paper)
    with brush.inside(area):
        kind = rng.integers(4)
        if kind == 0:
            brush.linear(area, (0, top), (0, top + tall), [(0, (160, 200, 230), 1), (1, (250, 232, 200), 1)])
            for k in (0.45, 0.65):
                ridge = [(left + wide * x, top + tall * (k + rng.normal(0, 0.06))) for x in np.linspace(-0.1, 1.1, 6)]
                brush.fill(
                    smooth(
                        [*ridge, (left + wide * 1.1, top + tall * 1.1), (left - wide * 0.1, top + tall * 1.1)], True
                    ),
                    jitter(rng, pick(rng, LEAVES), 16),
                )
        elif kind == 1:
            for _ in range(6):
                size = rng.uniform(0.1, 0.35) * min(wide, tall)
                x, y = left + rng.uniform(0, wide), top + rng.uniform(0, tall)
                brush.fill(
                    pick(rng, [oval(x, y, size, size), rect(x, y, x + size * 2, y + size)]), pick(rng, GOODS), 0.9
                )
        elif kind == 2:
            brush.fill(
                rect(left + wide * 0.15, top + tall * 0.12, left + wide * 0.85, top + tall * 0.45), pick(rng, GOODS)
            )
            for k in range(5):
                _letters(brush, rng, left + wide * 0.15, top + tall * (0.55 + k * 0.09), wide * 0.7, tall * 0.05)
        else:
            for k in range(7):
                x = left + wide * (k + 0.5) / 7
                brush.line(polygon([(x, top), (x, top + tall)], False), pick(rng, GOODS), wide / 8, 0.9)


def _lamp(brush: Brush, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    brush.line(polygon([(x, 0), (x, y)], False), (60, 56, 54), 2)
    brush.fill(oval(x, y + size * 0.7, size * 1.6, size * 1.3), (255, 236, 180), 0.35, soft=size * 0.5)
    brush.fill(
        polygon(
            [
                (x - size * 0.35, y),
                (x + size * 0.35, y),
                (x + size * 0.8, y + size * 0.8),
                (x - size * 0.8, y + size * 0.8),
            ]
        ),
        jitter(rng, pick(rng, GOODS)),
    )
    brush.fill(oval(x, y + size * 0.82, size * 0.6, size * 0.12), (255, 246, 214))


def _room(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    wall, floor = jitter(rng, pick(rng, PAINTS), 8), height * rng.uniform(0.8, 0.95)
    lit = rng.uniform(0, width)
    brush.radial(
        rect(0, 0, width, height),
        (lit, height * 0.2),
        width * 1.1,
        [(0, lighter(wall, 0.2), 1), (1, darker(wall, 0.28), 1)],
    )
    if rng.random() < 0.25:
        for x in np.arange(0, width, rng.uniform(18, 40)):
            brush.line(polygon([(x, 0), (x, floor)], False), darker(wall, 0.12), 5, 0.5)
    brush.fill(rect(0, floor, width, height), jitter(rng, (150, 112, 78), 12))
    brush.fill(rect(0, floor - 9, width, floor), lighter(wall, 0.4))
    spots = list(rng.permutation(4))
    for spot in spots[: int(rng.integers(2, 5))]:
        left = width * (spot / 4 + rng.uniform(0, 0.05))
        wide = width * rng.uniform(0.14, 0.22)
        kind = rng.integers(5)
        if kind == 0:
            _window(brush, rng, left, height * rng.uniform(0.05, 0.15), wide * 1.2, height * rng.uniform(0.35, 0.5))
        elif kind == 1:
            _shelf(brush, rng, left, height * 0.15, wide * 1.2, floor, 5)
        elif kind == 2:
            _lamp(brush, rng, left + wide / 2, height * rng.uniform(0.08, 0.2), wide * 0.3)
        else:
            _poster(brush, rng, left, height * rng.uniform(0.06, 0.3), wide, wide * rng.uniform(0.7, 1.4))
    if rng.random() < 0.5:
        x, sofa = rng.uniform(0, width), jitter(rng, pick(rng, GOODS), 10)
        brush.fill(rect(x - width * 0.25, floor - height * 0.22, x + width * 0.25, floor + 20, 18), sofa)
        brush.fill(rect(x - width * 0.29, floor - height * 0.14, x - width * 0.2, floor + 24, 14), darker(sofa, 0.15))
        brush.fill(rect(x + width * 0.2, floor - height * 0.14, x + width * 0.29, floor + 24, 14), darker(sofa, 0.2))
    if rng.random() < 0.5:
        _plant(brush, rng, rng.uniform(0, width), floor + 10, height * rng.uniform(0.25, 0.45))


def _window(brush: Brush, rng: np.random.Generator, left: float, top: float, wide: float, tall: float) -> None:
    area = rect(left, top, left + wide, top + tall)
    brush.linear(
        area, (0, top), (0, top + tall), [(0, (196, 222, 242), 1), (0.7, (238, 242, 240), 1), (1, (160, 186, 140), 1)]
    )
    frame = pick(rng, [(244, 242, 238), (110, 82, 60)])
    brush.line(area, frame, 7)
    brush.line(polygon([(left + wide / 2, top), (left + wide / 2, top + tall)], False), frame, 5)
    brush.line(polygon([(left, top + tall * 0.45), (left + wide, top + tall * 0.45)], False), frame, 5)
    if rng.random() < 0.6:
        cloth = jitter(rng, pick(rng, PAINTS), 12)
        for x in (left - wide * 0.12, left + wide * 0.88):
            brush.fill(rect(x, top - 8, x + wide * 0.25, top + tall * 1.25), cloth, 0.95)
            for k in range(4):
                brush.line(
                    polygon([(x + wide * 0.06 * k, top - 8), (x + wide * 0.06 * k, top + tall * 1.25)], False),
                    darker(cloth, 0.25),
                    3,
                    0.5,
                    soft=1.5,
                )


def _shelf(
    brush: Brush, rng: np.random.Generator, left: float, top: float, wide: float, bottom: float, rows: int
) -> None:
    wood = jitter(rng, pick(rng, [(120, 86, 58), (226, 220, 208), (72, 62, 58)]), 8)
    brush.fill(rect(left, top, left + wide, bottom), darker(wood, 0.35))
    tall = (bottom - top) / rows
    for row in range(rows):
        base = top + tall * (row + 1)
        x = left + 4
        while x < left + wide - 8:
            thick = rng.uniform(0.08, 0.2) * tall + 3
            if rng.random() < 0.85:
                up = tall * rng.uniform(0.45, 0.8)
                colour = jitter(rng, pick(rng, GOODS), 14)
                brush.linear(
                    rect(x, base - up, min(x + thick, left + wide - 4), base),
                    (x, 0),
                    (x + thick, 0),
                    [(0, lighter(colour, 0.1), 1), (1, darker(colour, 0.2), 1)],
                )
            x += thick + rng.uniform(0, 2)
        brush.fill(rect(left, base - 2, left + wide, base + 4), wood)


def _shop(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    brush.linear(rect(0, 0, width, height), (0, 0), (0, height), [(0, (236, 238, 236), 1), (1, (176, 172, 166), 1)])
    x = -rng.uniform(0, 100)
    while x < width:
        wide = width * rng.uniform(0.25, 0.5)
        _shelf(brush, rng, x, height * rng.uniform(0.1, 0.25), wide, height * 0.98, int(rng.integers(4, 7)))
        x += wide + (width * rng.uniform(0.02, 0.12) if rng.random() < 0.6 else 0)
    for k in range(int(rng.integers(2, 5))):
        y = height * (0.02 + 0.03 * k)
        x = width * rng.uniform(0.1, 0.9)
        brush.fill(rect(x - width * 0.12, y, x + width * 0.12, y + 5, 2), (255, 255, 250), soft=1.5)
    if rng.random() < 0.6:
        x = width * rng.uniform(0.1, 0.7)
        board = rect(x, height * 0.03, x + width * 0.24, height * 0.13, 4)
        brush.fill(board, jitter(rng, pick(rng, GOODS)))
        _letters(brush, rng, x + width * 0.03, height * 0.08, width * 0.18, height * 0.045)


def _wall(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    """Brick, tiles, concrete or painted plaster, with notices."""
    kind = rng.integers(4)
    paint = jitter(rng, pick(rng, PAINTS if kind else [(158, 92, 74), (182, 128, 100), (120, 100, 92)]), 10)
    brush.radial(
        rect(0, 0, width, height),
        (rng.uniform(0, width), rng.uniform(0, height)),
        width,
        [(0, lighter(paint, 0.15), 1), (1, darker(paint, 0.2), 1)],
    )
    if kind in (0, 1):
        tall = rng.uniform(14, 26) if kind == 0 else rng.uniform(34, 60)
        wide = tall * (2.6 if kind == 0 else 1)
        joint = lighter(paint, 0.35) if rng.random() < 0.6 else darker(paint, 0.3)
        for row, y in enumerate(np.arange(0, height + tall, tall)):
            brush.line(polygon([(0, y), (width, y)], False), joint, 2, 0.8)
            for x in np.arange(-wide * (0.5 if row % 2 and kind == 0 else 0), width, wide):
                if kind == 0 and rng.random() < 0.25:
                    brush.fill(rect(x, y, x + wide, y + tall), jitter(rng, paint, 14), 0.6)
                brush.line(polygon([(x, y), (x, y + tall)], False), joint, 2, 0.8)
    elif kind == 2:
        for _ in range(14):
            brush.fill(
                oval(rng.uniform(0, width), rng.uniform(0, height), rng.uniform(30, 120), rng.uniform(20, 80)),
                jitter(rng, paint, 16),
                0.35,
                soft=20,
            )
    for _ in range(int(rng.integers(1, 6))):
        wide = width * rng.uniform(0.1, 0.25)
        _poster(
            brush, rng, rng.uniform(0, width - wide), rng.uniform(0, height * 0.6), wide, wide * rng.uniform(0.6, 1.5)
        )


def _lights(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    """An evening out of focus: round lights over a dark gradient."""
    base = jitter(rng, pick(rng, [(38, 42, 66), (60, 44, 52), (34, 54, 60), (76, 66, 70)]), 6)
    brush.linear(
        rect(0, 0, width, height),
        (0, 0),
        (width * 0.3, height),
        [(0, lighter(base, 0.15), 1), (1, darker(base, 0.3), 1)],
    )
    for _ in range(int(rng.integers(25, 60))):
        size = rng.uniform(6, 34)
        tone = jitter(
            rng, pick(rng, [(255, 206, 130), (255, 150, 110), (150, 200, 255), (255, 240, 210), (160, 240, 190)]), 14
        )
        x, y = rng.uniform(0, width), rng.uniform(0, height * 0.85)
        brush.fill(oval(x, y, size, size), tone, rng.uniform(0.12, 0.45), soft=1)
        brush.line(oval(x, y, size, size), tone, 1.5, 0.3, soft=1)


def _studio(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    """A plain gradient with a few large soft shapes."""
    first, second = jitter(rng, pick(rng, [*PAINTS, *GOODS]), 10), jitter(rng, pick(rng, PAINTS), 10)
    brush.linear(
        rect(0, 0, width, height),
        (rng.uniform(0, width), 0),
        (rng.uniform(0, width), height),
        [(0, first, 1), (1, second, 1)],
    )
    for _ in range(int(rng.integers(0, 9))):
        size = rng.uniform(20, 140)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        shape = pick(
            rng,
            [
                oval(x, y, size, size * rng.uniform(0.5, 1)),
                rect(x - size, y - size * 0.5, x + size, y + size * 0.5, 8),
                polygon([(x, y - size), (x + size, y + size), (x - size, y + size)]),
            ],
        )
        brush.fill(shape, jitter(rng, pick(rng, GOODS), 10), rng.uniform(0.15, 0.7), soft=rng.uniform(0, 12))


def _bus(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    """Inside a bus or train: windows, handrails, seats."""
    wall, seat = jitter(rng, (206, 208, 208), 8), jitter(rng, pick(rng, GOODS), 10)
    brush.linear(
        rect(0, 0, width, height), (0, 0), (0, height), [(0, lighter(wall, 0.3), 1), (1, darker(wall, 0.35), 1)]
    )
    count = int(rng.integers(2, 5))
    wide = width / count
    for k in range(count):
        area = rect(k * wide + 10, height * 0.16, (k + 1) * wide - 10, height * 0.6, 14)
        brush.linear(
            area,
            (0, height * 0.15),
            (0, height * 0.6),
            [(0, (176, 206, 228), 1), (0.6, (220, 228, 226), 1), (1, (126, 140, 126), 1)],
        )
        with brush.inside(area):
            for _ in range(5):
                x, tall = k * wide + rng.uniform(0, wide), height * rng.uniform(0.1, 0.3)
                brush.fill(
                    rect(x, height * 0.6 - tall, x + rng.uniform(20, 60), height * 0.6),
                    jitter(rng, pick(rng, PAINTS), 20),
                    0.8,
                )
        brush.line(area, darker(wall, 0.4), 4)
    for k in range(count * 2):
        x = (k + 0.5) * wide / 2
        brush.fill(rect(x - wide * 0.22, height * 0.62, x + wide * 0.22, height * 1.1, 16), jitter(rng, seat, 6))
    for _ in range(int(rng.integers(1, 4))):
        x = width * rng.uniform(0.05, 0.95)
        brush.line(polygon([(x, 0), (x, height)], False), (226, 190, 70), 7)
    brush.line(polygon([(0, height * 0.08), (width, height * 0.08)], False), (200, 200, 204), 6)


BACKDROPS: dict[str, Callable[[Brush, np.random.Generator, int, int], None]] = {
    "street": _street,
    "park": _park,
    "room": _room,
    "shop": _shop,
    "wall": _wall,
    "lights": _lights,
    "studio": _studio,
    "bus": _bus,
}


def paint_backdrop(brush: Brush, rng: np.random.Generator, kind: str, width: int, height: int) -> None:
    """Fill a canvas of ``width`` x ``height`` px with a place named in :data:`BACKDROPS`."""
    BACKDROPS[kind](brush, rng, width, height)


# --- things in front of the people -----------------------------------------------------------------------------------


def _plant(brush: Brush, rng: np.random.Generator, x: float, ground: float, height: float) -> None:
    pot = jitter(rng, pick(rng, [(176, 96, 64), (236, 232, 226), (70, 74, 80)]), 8)
    leaf = jitter(rng, pick(rng, LEAVES), 12)
    for _ in range(13):
        turn, long = rng.uniform(-1.1, 1.1), height * rng.uniform(0.45, 0.85)
        end = (x + math.sin(turn) * long, ground - height * 0.25 - math.cos(turn) * long)
        middle = ((x + end[0]) / 2, (ground - height * 0.25 + end[1]) / 2 - height * 0.06)
        across = np.array([math.cos(turn), math.sin(turn)]) * height * 0.05
        blade = smooth([(x, ground - height * 0.2), np.add(middle, across), end, np.subtract(middle, across)], True)
        brush.fill(blade, jitter(rng, leaf, 14))
        brush.line(smooth([(x, ground - height * 0.2), middle, end]), darker(leaf, 0.3), 1, 0.5)
    wide = height * 0.16
    brush.fill(
        polygon(
            [
                (x - wide, ground - height * 0.26),
                (x + wide, ground - height * 0.26),
                (x + wide * 0.75, ground),
                (x - wide * 0.75, ground),
            ]
        ),
        pot,
    )


def _front_plant(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    x = pick(rng, [rng.uniform(-0.02, 0.12), rng.uniform(0.88, 1.02)]) * width
    _plant(brush, rng, x, height * 1.05, height * rng.uniform(0.4, 0.75))


def _front_pole(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    x, thick = rng.uniform(0.02, 0.98) * width, width * rng.uniform(0.012, 0.035)
    colour = jitter(rng, pick(rng, [(70, 74, 80), (196, 198, 202), (222, 184, 60), (110, 84, 62)]), 8)
    brush.linear(
        rect(x - thick, -5, x + thick, height + 5),
        (x - thick, 0),
        (x + thick, 0),
        [(0, lighter(colour, 0.1), 1), (0.3, lighter(colour, 0.35), 1), (1, darker(colour, 0.45), 1)],
    )


def _front_table(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    top = height * rng.uniform(0.86, 0.95)
    wood = jitter(rng, pick(rng, [(150, 106, 70), (226, 222, 214), (92, 70, 56), (196, 160, 116)]), 8)
    brush.linear(
        rect(-5, top, width + 5, height + 5),
        (0, top),
        (0, height),
        [(0, lighter(wood, 0.2), 1), (1, darker(wood, 0.2), 1)],
    )
    for _ in range(int(rng.integers(1, 4))):
        x, size = rng.uniform(0.05, 0.95) * width, height * rng.uniform(0.05, 0.08)
        colour = jitter(rng, pick(rng, GOODS), 8)
        kind = rng.integers(3)
        if kind == 0:
            brush.fill(rect(x - size * 0.5, top - size, x + size * 0.5, top + size * 0.3, 3), colour)
            brush.line(oval(x + size * 0.6, top - size * 0.4, size * 0.25, size * 0.3), colour, size * 0.14)
        elif kind == 1:
            brush.fill(
                rect(x - size * 0.3, top - size * 1.6, x + size * 0.3, top + size * 0.3, size * 0.2), colour, 0.9
            )
            brush.fill(rect(x - size * 0.12, top - size * 2.1, x + size * 0.12, top - size * 1.5), colour)
        else:
            brush.fill(
                polygon(
                    [
                        (x - size * 1.2, top - size * 1.3),
                        (x + size * 1.2, top - size * 1.3),
                        (x + size * 1.3, top + size * 0.25),
                        (x - size * 1.3, top + size * 0.25),
                    ]
                ),
                (60, 62, 68),
            )


def _front_rail(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    y = height * rng.uniform(0.8, 0.93)
    metal = jitter(rng, (140, 144, 150), 12)
    for x in np.arange(-10, width + 20, width * rng.uniform(0.08, 0.16)):
        brush.line(polygon([(x, y), (x, height + 10)], False), metal, 5)
    brush.line(polygon([(-5, y), (width + 5, y)], False), lighter(metal, 0.15), 9)


def _front_back(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    """Somebody seen from behind at the lower edge: hair, ears, neck and shoulders, no face."""
    size = height * rng.uniform(0.16, 0.24)
    x, y = rng.uniform(0.02, 0.98) * width, height - size * rng.uniform(0.3, 0.8)
    hair = jitter(rng, pick(rng, [(40, 32, 30), (84, 58, 40), (140, 102, 64), (70, 70, 76)]), 6)
    skin = jitter(rng, pick(rng, [(230, 184, 150), (172, 115, 78), (114, 70, 46)]), 6)
    cloth, long = jitter(rng, pick(rng, GOODS), 10), bool(rng.random() < 0.4)
    with brush.moved(x, y, scale=size):
        brush.fill(smooth([(-1.2, 2), (-1.1, 1.0), (-0.4, 0.72), (0.4, 0.72), (1.1, 1.0), (1.2, 2)], True, 0.7), cloth)
        brush.line(smooth([(-0.35, 0.76), (0, 0.86), (0.35, 0.76)]), darker(cloth, 0.3), 0.06)
        brush.fill(rect(-0.21, 0.3, 0.21, 0.84), skin)
        for side in (-1, 1):
            brush.fill(oval(side * 0.4, 0.06, 0.05, 0.1), skin)
        low = 0.9 if long else 0.45
        head = [(-0.2, -0.68), (0.2, -0.68), (0.4, -0.4), (0.42, 0.0), (0.36, low * 0.7), (0.2, low), (-0.2, low)]
        area = smooth([*head, (-0.36, low * 0.7), (-0.42, 0.0), (-0.4, -0.4)], True, 0.9)
        brush.fill(area, hair)
        with brush.inside(area):
            for k in np.linspace(-0.4, 0.4, 9):
                strand = smooth([(k * 0.2, -0.7), (k, -0.1), (k * 0.8, low)])
                brush.line(strand, pick(rng, [lighter(hair, 0.25), darker(hair, 0.4)]), 0.02, 0.5)
            brush.linear(area, (-0.5, 0), (0.5, 0), [(0, WHITE, 0.12), (0.5, BLACK, 0), (1, BLACK, 0.35)])


FRONTS: dict[str, Callable[[Brush, np.random.Generator, int, int], None]] = {
    "plant": _front_plant,
    "pole": _front_pole,
    "table": _front_table,
    "rail": _front_rail,
    "back": _front_back,
}


def paint_front(brush: Brush, rng: np.random.Generator, kind: str, width: int, height: int) -> None:
    """Paint one thing named in :data:`FRONTS` that stands between camera and people."""
    FRONTS[kind](brush, rng, width, height)
