"""What stands behind and before the people: streets, parks, rooms, walls; plants, poles, backs of others.

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
    (196, 62, 58), (236, 190, 70), (82, 132, 176), (110, 160, 104), (240, 238, 232), (148, 196, 226), (120, 84, 150),
    (230, 140, 80), (70, 76, 88), (226, 160, 180),
)  # fmt: skip
PAINTS: tuple[Colour, ...] = (
    (226, 220, 208), (206, 214, 220), (190, 204, 190), (224, 206, 200), (168, 184, 200), (238, 236, 232),
    (150, 156, 150), (196, 170, 146), (112, 126, 140),
)  # fmt: skip
LEAVES: tuple[Colour, ...] = ((74, 112, 62), (98, 138, 74), (58, 92, 60), (128, 154, 84), (164, 142, 70))
BRICKS: tuple[Colour, ...] = ((158, 92, 74), (182, 128, 100), (120, 100, 92), (202, 196, 186), (132, 142, 152))
SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((110, 164, 214), (214, 230, 240)),
    ((176, 186, 196), (224, 226, 226)),
    ((228, 176, 140), (250, 226, 196)),
)


def _from_above(brush: Brush, top: float, bottom: float, width: float, first: Colour, last: Colour) -> None:
    """A band of the whole width, from one colour above to another below."""
    brush.linear(rect(0, top, width, bottom), (0, top), (0, bottom), [(0, first, 1), (1, last, 1)])


def _sky(brush: Brush, rng: np.random.Generator, width: int, bottom: float) -> None:
    top, low = pick(rng, SKIES, [3, 3, 1])
    _from_above(brush, 0, bottom, width, jitter(rng, top), jitter(rng, low))
    for _ in range(int(rng.integers(0, 5))):
        x, y, size = rng.uniform(0, width), rng.uniform(0, bottom * 0.6), rng.uniform(20, 60)
        for k in range(4):
            brush.fill(oval(x + (k - 1.5) * size * 0.6, y, size * 0.6, size * 0.28), WHITE, 0.5, soft=size * 0.15)


def _tree(brush: Brush, rng: np.random.Generator, x: float, ground: float, height: float) -> None:
    bark, leaf = jitter(rng, (96, 74, 56)), jitter(rng, pick(rng, LEAVES), 10)
    brush.fill(rect(x - height * 0.03, ground - height * 0.6, x + height * 0.03, ground), bark)
    for _ in range(9):
        cx, cy = x + rng.normal(0, height * 0.16), ground - height * rng.uniform(0.5, 0.95)
        size = height * rng.uniform(0.12, 0.22)
        brush.fill(oval(cx, cy, size, size * 0.85), jitter(rng, leaf, 14), soft=size * 0.06)
        light = oval(cx - size * 0.25, cy - size * 0.3, size * 0.5, size * 0.4)
        brush.fill(light, lighter(leaf, 0.25), 0.4, soft=size * 0.15)


def _building(brush: Brush, rng: np.random.Generator, left: float, right: float, top: float, ground: float) -> None:
    wall = jitter(rng, pick(rng, [*BRICKS, *PAINTS]), 8)
    glass = jitter(rng, pick(rng, [(86, 106, 126), (62, 72, 84), (150, 176, 196), (216, 196, 140)]), 8)
    stops = [(0.0, lighter(wall, 0.08), 1.0), (1.0, darker(wall, 0.12), 1.0)]
    brush.linear(rect(left, top, right, ground), (left, 0), (right, 0), stops)
    columns = max(2, int((right - left) / rng.uniform(26, 46)))
    wide = (right - left) / columns
    tall = wide * rng.uniform(1.2, 1.7)
    for y in np.arange(top + tall * 0.4, ground - tall * 1.7, tall):
        for x in left + wide * (np.arange(columns) + 0.22):
            brush.fill(rect(x, y, x + wide * 0.56, y + tall * 0.6), jitter(rng, glass, 10))
            brush.fill(rect(x - 1, y + tall * 0.6, x + wide * 0.6, y + tall * 0.66), lighter(wall, 0.3))
    brush.fill(rect(left, ground - tall * 1.2, right, ground), darker(wall, 0.35))
    brush.fill(rect(left + 4, ground - tall * 0.95, right - 4, ground - 4), mix(glass, WHITE, 0.25))
    brush.fill(rect(left, ground - tall * 1.3, right, ground - tall * 0.98), jitter(rng, pick(rng, GOODS), 8))
    _letters(brush, rng, left + (right - left) * 0.2, ground - tall * 1.14, (right - left) * 0.6, tall * 0.16)


def _letters(brush: Brush, rng: np.random.Generator, x: float, y: float, width: float, height: float) -> None:
    """Strokes that look like writing, without a font."""
    ink = pick(rng, [WHITE, (40, 40, 44), (250, 226, 140)])
    step = height * 0.85
    for k in range(int(width / max(step, 1))):
        points = rng.uniform(0, 1, (int(rng.integers(2, 5)), 2)) * (step * 0.7, height) + (x + k * step, y - height / 2)
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
    _from_above(brush, ground, height, width, lighter(road, 0.25), darker(road, 0.2))
    for _ in range(int(rng.integers(0, 4))):
        _tree(brush, rng, rng.uniform(0, width), ground + rng.uniform(0, 20), height * rng.uniform(0.35, 0.7))


def _park(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    ground = height * rng.uniform(0.5, 0.75)
    _sky(brush, rng, width, ground)
    for k in range(3):
        leaf = mix(jitter(rng, pick(rng, LEAVES), 10), (190, 206, 214), 0.5 - 0.2 * k)
        xs = np.linspace(-20, width + 20, 12)
        ridge = [(x, ground - height * (0.22 - 0.06 * k) + rng.normal(0, height * 0.03)) for x in xs]
        brush.fill(smooth([*ridge, (width + 20, height), (-20, height)], True, 0.7), leaf)
    grass = jitter(rng, pick(rng, [(122, 154, 84), (104, 140, 78), (156, 160, 96), (206, 196, 160)]), 8)
    _from_above(brush, ground, height, width, lighter(grass, 0.2), darker(grass, 0.3))
    for _ in range(int(rng.integers(2, 6))):
        x, foot = rng.uniform(-20, width + 20), ground + rng.uniform(0, height * 0.08)
        _tree(brush, rng, x, foot, height * rng.uniform(0.4, 0.9))


def _poster(brush: Brush, rng: np.random.Generator, left: float, top: float, wide: float, tall: float) -> None:
    """A framed picture of coloured shapes, or a notice with lines of writing."""
    area = rect(left, top, left + wide, top + tall)
    brush.fill(rect(left - 4, top - 4, left + wide + 4, top + tall + 4), pick(rng, [(40, 36, 34), (236, 234, 230)]))
    brush.fill(area, jitter(rng, pick(rng, [*GOODS, (246, 244, 238)]), 8))
    with brush.inside(area):
        if rng.random() < 0.5:
            for _ in range(6):
                size = rng.uniform(0.1, 0.35) * min(wide, tall)
                x, y = left + rng.uniform(0, wide), top + rng.uniform(0, tall)
                shape = pick(rng, [oval(x, y, size, size), rect(x, y, x + size * 2, y + size)])
                brush.fill(shape, pick(rng, GOODS), 0.9)
        else:
            head = rect(left + wide * 0.15, top + tall * 0.12, left + wide * 0.85, top + tall * 0.45)
            brush.fill(head, pick(rng, GOODS))
            for k in range(5):
                _letters(brush, rng, left + wide * 0.15, top + tall * (0.55 + k * 0.09), wide * 0.7, tall * 0.05)


def _room(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    wall, floor = jitter(rng, pick(rng, PAINTS), 8), height * rng.uniform(0.8, 0.95)
    stops = [(0.0, lighter(wall, 0.2), 1.0), (1.0, darker(wall, 0.28), 1.0)]
    brush.radial(rect(0, 0, width, height), (rng.uniform(0, width), height * 0.2), width * 1.1, stops)
    brush.fill(rect(0, floor, width, height), jitter(rng, (150, 112, 78), 12))
    brush.fill(rect(0, floor - 9, width, floor), lighter(wall, 0.4))
    for spot in rng.permutation(4)[: int(rng.integers(2, 5))]:
        left, wide = width * (spot / 4 + rng.uniform(0, 0.05)), width * rng.uniform(0.14, 0.22)
        top, kind = height * rng.uniform(0.06, 0.3), rng.integers(4)
        if kind == 0:
            _window(brush, rng, left, top, wide * 1.2, height * rng.uniform(0.35, 0.5))
        elif kind == 1:
            _shelf(brush, rng, left, top, wide * 1.2, floor)
        else:
            _poster(brush, rng, left, top, wide, wide * rng.uniform(0.7, 1.4))
    if rng.random() < 0.5:
        _plant(brush, rng, rng.uniform(0, width), floor + 10, height * rng.uniform(0.25, 0.45))


def _window(brush: Brush, rng: np.random.Generator, left: float, top: float, wide: float, tall: float) -> None:
    area, frame = rect(left, top, left + wide, top + tall), pick(rng, [(244, 242, 238), (110, 82, 60)])
    stops = [(0.0, (196.0, 222.0, 242.0), 1.0), (0.7, (238.0, 242.0, 240.0), 1.0), (1.0, (160.0, 186.0, 140.0), 1.0)]
    brush.linear(area, (0, top), (0, top + tall), stops)
    brush.line(area, frame, 7)
    brush.line(polygon([(left + wide / 2, top), (left + wide / 2, top + tall)], False), frame, 5)
    brush.line(polygon([(left, top + tall * 0.45), (left + wide, top + tall * 0.45)], False), frame, 5)


def _shelf(brush: Brush, rng: np.random.Generator, left: float, top: float, wide: float, bottom: float) -> None:
    wood = jitter(rng, pick(rng, [(120, 86, 58), (226, 220, 208), (72, 62, 58)]), 8)
    brush.fill(rect(left, top, left + wide, bottom), darker(wood, 0.35))
    tall = (bottom - top) / 5
    for base in top + tall * np.arange(1, 6):
        x = left + 4
        while x < left + wide - 8:
            thick = rng.uniform(0.08, 0.2) * tall + 3
            thing = rect(x, base - tall * rng.uniform(0.45, 0.8), min(x + thick, left + wide - 4), base)
            brush.fill(thing, jitter(rng, pick(rng, GOODS), 14))
            x += thick + rng.uniform(0, 2)
        brush.fill(rect(left, base - 2, left + wide, base + 4), wood)


def _wall(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    """Brick, tiles or plaster, with notices."""
    kind = pick(rng, ["brick", "tiles", "plaster"])
    paint = jitter(rng, pick(rng, BRICKS if kind == "brick" else PAINTS), 10)
    lit = rng.uniform(0, width), rng.uniform(0, height)
    stops = [(0.0, lighter(paint, 0.15), 1.0), (1.0, darker(paint, 0.2), 1.0)]
    brush.radial(rect(0, 0, width, height), lit, width, stops)
    if kind != "plaster":
        tall = rng.uniform(14, 26) if kind == "brick" else rng.uniform(34, 60)
        wide = tall * (2.6 if kind == "brick" else 1)
        joint = lighter(paint, 0.35) if rng.random() < 0.6 else darker(paint, 0.3)
        for row, y in enumerate(np.arange(0, height + tall, tall)):
            brush.line(polygon([(0, y), (width, y)], False), joint, 2, 0.8)
            for x in np.arange(-wide * (0.5 if row % 2 and kind == "brick" else 0), width, wide):
                brush.line(polygon([(x, y), (x, y + tall)], False), joint, 2, 0.8)
    for _ in range(int(rng.integers(1, 6))):
        wide = width * rng.uniform(0.1, 0.25)
        left, top = rng.uniform(0, width - wide), rng.uniform(0, height * 0.6)
        _poster(brush, rng, left, top, wide, wide * rng.uniform(0.6, 1.5))


def _studio(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    """A plain gradient with a few large soft shapes."""
    first, second = jitter(rng, pick(rng, [*PAINTS, *GOODS]), 10), jitter(rng, pick(rng, PAINTS), 10)
    _from_above(brush, 0, height, width, first, second)
    for _ in range(int(rng.integers(0, 9))):
        size, x, y = rng.uniform(20, 140), rng.uniform(0, width), rng.uniform(0, height)
        shape = pick(rng, [oval(x, y, size, size * 0.7), rect(x - size, y - size * 0.5, x + size, y + size * 0.5, 8)])
        brush.fill(shape, jitter(rng, pick(rng, GOODS), 10), rng.uniform(0.15, 0.7), soft=rng.uniform(0, 12))


BACKDROPS: dict[str, Callable[[Brush, np.random.Generator, int, int], None]] = {
    "street": _street,
    "park": _park,
    "room": _room,
    "wall": _wall,
    "studio": _studio,
}
"""Each fills a canvas of (width, height) px with a place."""


# --- things in front of the people -----------------------------------------------------------------------------------


def _plant(brush: Brush, rng: np.random.Generator, x: float, ground: float, height: float) -> None:
    leaf, low = jitter(rng, pick(rng, LEAVES), 12), ground - height * 0.2
    for _ in range(13):
        turn, long = rng.uniform(-1.1, 1.1), height * rng.uniform(0.45, 0.85)
        end = np.array([x + math.sin(turn) * long, low - math.cos(turn) * long])
        middle = (end + (x, low)) / 2
        across = np.array([math.cos(turn), math.sin(turn)]) * height * 0.05
        brush.fill(smooth([(x, low), middle + across, end, middle - across], True), jitter(rng, leaf, 14))
        brush.line(smooth([(x, low), middle, end]), darker(leaf, 0.3), 1, 0.5)
    wide, pot = height * 0.14, jitter(rng, pick(rng, [(176, 96, 64), (236, 232, 226), (70, 74, 80)]), 8)
    brush.fill(rect(x - wide, ground - height * 0.26, x + wide, ground, 4), pot)


def _front_plant(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    x = pick(rng, [rng.uniform(-0.02, 0.12), rng.uniform(0.88, 1.02)]) * width
    _plant(brush, rng, x, height * 1.05, height * rng.uniform(0.4, 0.75))


def _front_pole(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    x, thick = rng.uniform(0.02, 0.98) * width, width * rng.uniform(0.012, 0.035)
    colour = jitter(rng, pick(rng, [(70, 74, 80), (196, 198, 202), (222, 184, 60), (110, 84, 62)]), 8)
    stops = [(0.0, lighter(colour, 0.1), 1.0), (0.3, lighter(colour, 0.35), 1.0), (1.0, darker(colour, 0.45), 1.0)]
    brush.linear(rect(x - thick, -5, x + thick, height + 5), (x - thick, 0), (x + thick, 0), stops)


def _front_back(brush: Brush, rng: np.random.Generator, width: int, height: int) -> None:
    """Somebody seen from behind at the lower edge: hair, ears, neck and shoulders, no face."""
    size = height * rng.uniform(0.16, 0.24)
    x, y = rng.uniform(0.02, 0.98) * width, height - size * rng.uniform(0.3, 0.8)
    hair = jitter(rng, pick(rng, [(40, 32, 30), (84, 58, 40), (140, 102, 64), (70, 70, 76)]), 6)
    skin = jitter(rng, pick(rng, [(230, 184, 150), (172, 115, 78), (114, 70, 46)]), 6)
    cloth, low = jitter(rng, pick(rng, GOODS), 10), 0.9 if rng.random() < 0.4 else 0.45
    with brush.moved(x, y, scale=size):
        brush.fill(smooth([(-1.2, 2), (-1.1, 1.0), (-0.4, 0.72), (0.4, 0.72), (1.1, 1.0), (1.2, 2)], True, 0.7), cloth)
        brush.fill(rect(-0.21, 0.3, 0.21, 0.84), skin)
        for side in (-1, 1):
            brush.fill(oval(side * 0.4, 0.06, 0.05, 0.1), skin)
        head = [(0.2, -0.68), (0.4, -0.4), (0.42, 0.0), (0.36, low * 0.7), (0.2, low)]
        area = smooth([*head, *((-x, y) for x, y in head[::-1])], True, 0.9)
        brush.fill(area, hair)
        with brush.inside(area):
            for k in np.linspace(-0.4, 0.4, 9):
                strand = smooth([(k * 0.2, -0.7), (k, -0.1), (k * 0.8, low)])
                brush.line(strand, pick(rng, [lighter(hair, 0.25), darker(hair, 0.4)]), 0.02, 0.5)
            brush.linear(area, (-0.5, 0), (0.5, 0), [(0, WHITE, 0.12), (0.5, BLACK, 0), (1, BLACK, 0.35)])


FRONTS: dict[str, Callable[[Brush, np.random.Generator, int, int], None]] = {
    "plant": _front_plant,
    "pole": _front_pole,
    "back": _front_back,
}
"""Each paints a thing that stands between camera and people."""
