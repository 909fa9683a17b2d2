"""Drawn people: what they look like (:class:`Person`) and how they are painted, bare, masked or half masked.

A person is painted in units of the face's height (hairline to chin), the origin in the middle of the face, x to the
image's right and y down. The head is a rounded body: its features are placed in three dimensions and turned by yaw and
pitch, then the whole head is rolled in the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from allmasked.brush import (
    BLACK,
    WHITE,
    Brush,
    Colour,
    darker,
    deeper,
    jitter,
    joined,
    lighter,
    mix,
    oval,
    pick,
    polygon,
    rect,
    smooth,
)
from allmasked.masks import FaceGeometry, Light, MaskStyle, Place, Vector, paint_mask, sample_style
from allmasked.types import Wear

SKIN: tuple[Colour, ...] = (
    (244, 208, 182),
    (238, 194, 162),
    (230, 184, 150),
    (216, 164, 124),
    (198, 142, 100),
    (172, 115, 78),
    (143, 90, 58),
    (114, 70, 46),
    (88, 54, 38),
)
HAIR: tuple[Colour, ...] = (
    (28, 24, 24),
    (46, 34, 28),
    (74, 50, 34),
    (110, 72, 44),
    (150, 104, 60),
    (196, 156, 96),
    (222, 190, 136),
    (146, 66, 36),
    (150, 148, 148),
    (214, 212, 208),
)
CLOTHES: tuple[Colour, ...] = (
    (40, 44, 54),
    (234, 232, 226),
    (150, 156, 164),
    (52, 78, 120),
    (120, 160, 196),
    (160, 48, 52),
    (86, 118, 84),
    (196, 160, 104),
    (214, 180, 60),
    (112, 76, 120),
    (222, 140, 140),
    (64, 110, 116),
    (198, 104, 64),
    (92, 70, 56),
    (178, 208, 190),
)
SHORT = ("bald", "buzz", "short", "swept", "quiff", "curls")
LONG = ("bob", "straight", "wavy", "ponytail", "bun", "afro", "pixie")
HATS = ("beanie", "cap", "brim")
BEARDS = ("stubble", "moustache", "goatee", "full", "long")
COLLARS = ("crew", "v", "shirt", "hoodie", "blazer", "turtle")


@dataclass(frozen=True)
class Person:
    """Everything that settles how a person looks. Angles in radians, colours 0-255, lengths in face heights."""

    wear: Wear
    mask: MaskStyle | None
    place: Place
    skin: Colour
    hair: Colour
    style: str
    hat: str
    hat_colour: Colour
    width: float  # half the face's width at the cheeks
    jaw: float  # half the width at the mouth, as a share of `width`
    chin: float  # half the width of the chin
    age: float  # 0 child, 0.5 grown, 1 old
    yaw: float
    pitch: float
    roll: float
    iris: Colour
    brow: float
    lashes: bool
    lips: Colour
    mouth: str
    gaze: tuple[float, float]
    beard: str
    glasses: str
    earrings: bool
    extra: str  # what is held or worn at the mouth of a bare face
    collar: str
    cloth: Colour
    cloth_accent: Colour
    cloth_pattern: str
    trousers: Colour
    build: float
    seed: int


def sample_person(rng: np.random.Generator, wear: Wear) -> Person:
    """A person of random looks who wears a mask as ``wear`` says. The looks do not depend on ``wear``."""
    age = float(pick(rng, [rng.uniform(0, 0.2), rng.uniform(0.3, 0.7), rng.uniform(0.75, 1)], [0.14, 0.68, 0.18]))
    skin_index = int(rng.integers(len(SKIN)))
    skin = jitter(rng, SKIN[skin_index], 5)
    dark_share = [6, 5, 4] if skin_index >= 4 else [3, 3, 3]
    weights = (
        [*dark_share, 2, 1.5, 1.5, 1.2, 0.9, 0.4, 0.2] if skin_index < 4 else [*dark_share, 0.5, 0, 0, 0.1, 0, 0.3, 0.1]
    )
    if age > 0.75:
        weights = [0.5, 0.5, 0.5, 0.4, 0.2, 0.2, 0.2, 0.1, 4, 4]
    hair = jitter(rng, pick(rng, HAIR, weights), 6)
    shorn = bool(rng.random() < 0.5)
    style = (
        pick(rng, SHORT, [1.2 * (age > 0.3), 1.2, 3, 2, 1.5, 1.2])
        if shorn
        else pick(rng, LONG, [2, 3, 2.5, 2, 1.5, 1, 1])
    )
    hat, hijab = "", not shorn and age > 0.2 and rng.random() < 0.1
    if hijab:
        style = "hijab"
    elif rng.random() < 0.17:
        hat = pick(rng, HATS)
    beard = pick(rng, ["", *BEARDS], [5, 1.5, 1, 1, 1.3, 0.4]) if shorn and age > 0.3 else ""
    place: Place = "worn" if wear == "masked" else pick(rng, ["under_nose", "on_chin"], [0.6, 0.4])
    mask = sample_style(rng)
    extra = pick(rng, ["", "hand", "cup", "scarf", "microphone"], [0.82, 0.04, 0.04, 0.07, 0.03])
    feminine_lips = not shorn and rng.random() < 0.5
    lips = mix(
        skin, (176, 62, 66) if feminine_lips else (168, 84, 76), rng.uniform(0.45, 0.8) if feminine_lips else 0.42
    )
    return Person(
        wear=wear,
        mask=None if wear == "unmasked" else mask,
        place=place,
        skin=skin,
        hair=hair,
        style=style,
        hat=hat,
        hat_colour=jitter(rng, pick(rng, CLOTHES), 10),
        width=float(np.clip(rng.normal(0.385, 0.016) + 0.02 * (age < 0.2), 0.35, 0.43)),
        jaw=float(rng.uniform(0.76, 0.9)),
        chin=float(rng.uniform(0.1, 0.17)),
        age=age,
        yaw=float(np.clip(rng.normal(0, 0.27), -0.55, 0.55)),
        pitch=float(np.clip(rng.normal(0, 0.08), -0.2, 0.2)),
        roll=float(np.clip(rng.normal(0, 0.09), -0.3, 0.3)),
        iris=pick(
            rng,
            [(72, 46, 30), (98, 70, 40), (86, 118, 146), (92, 118, 84)],
            [5, 2, 1.3, 1] if skin_index < 4 else [6, 2, 0, 0],
        ),
        brow=float(rng.uniform(0.018, 0.034) + 0.006 * shorn),
        lashes=feminine_lips,
        lips=lips,
        mouth=pick(rng, ["neutral", "smile", "teeth", "laugh", "sad", "o"], [3, 3, 2.4, 1.2, 0.8, 0.5]),
        gaze=(float(rng.normal(0, 0.3)), float(rng.normal(0, 0.15))),
        beard=beard,
        glasses=pick(rng, ["", "round", "square", "sun"], [7, 1.2, 1.2, 0.7]) if age > 0.15 else "",
        earrings=feminine_lips and bool(rng.random() < 0.4),
        extra=extra if wear == "unmasked" else ("scarf" if extra == "scarf" else ""),
        collar=pick(rng, COLLARS, [4, 2, 2, 2, 2, 1.3]),
        cloth=jitter(rng, pick(rng, CLOTHES), 10),
        cloth_accent=jitter(rng, pick(rng, CLOTHES), 10),
        cloth_pattern=pick(rng, ["plain", "stripes", "badge", "checks"], [6, 1.6, 1.2, 1]),
        trousers=jitter(rng, pick(rng, [(44, 52, 72), (40, 40, 44), (120, 108, 92), (84, 92, 100)]), 6),
        build=float(rng.uniform(0.9, 1.12)) * (0.86 if age < 0.2 else 1.0),
        seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True, eq=False)
class Head:
    """Where the parts of a turned head lie, before roll."""

    person: Person

    def point(self, x: float, y: float, depth: float | None = None) -> tuple[float, float]:
        """A point of the face: ``x``, ``y`` seen from the front, ``depth`` towards the viewer (the surface if None)."""
        person = self.person
        if depth is None:
            inside = 1 - (x / (person.width * 1.12)) ** 2 - ((y + 0.03) / 0.8) ** 2
            depth = 0.4 * math.sqrt(max(0.0, inside))
        sine, cosine = math.sin(person.yaw), math.cos(person.yaw)
        across, towards = x * cosine + depth * sine, depth * cosine - x * sine
        return across, y * math.cos(person.pitch) - (towards - 0.3) * math.sin(person.pitch)

    def points(self, *rows: tuple[float, ...]) -> Vector:
        return np.array([self.point(*row) for row in rows])

    def hug(self, points: Vector, gap: float) -> Vector:
        """Points (N, 2) kept from standing out beyond the far cheek."""
        sign = 1.0 if self.person.yaw > 0 else -1.0
        side = self.outline[-11:-1] if sign > 0 else self.outline[9::-1]
        order = np.argsort(side[:, 1])
        edge = np.interp(points[:, 1], side[order, 1], side[order, 0] * sign) + gap
        return np.column_stack([sign * np.minimum(points[:, 0] * sign, edge), points[:, 1]])

    def half(self, y: float) -> float:
        """Half the face's width, seen from the front, at height ``y``."""
        person = self.person
        width, jaw = person.width, person.width * person.jaw
        knots = [-0.62, -0.5, -0.38, -0.2, -0.05, 0.12, 0.28, 0.4, 0.47, 0.5]
        chin = person.chin
        halves = [
            width * 0.7,
            width * 0.86,
            width * 0.96,
            width,
            width * 0.99,
            width * 0.95,
            jaw,
            jaw * 0.42 + chin * 0.62,
            chin,
            chin * 0.55,
        ]
        return float(np.interp(y, knots, halves))

    @cached_property
    def outline(self) -> Vector:
        """The face's outline (N, 2) clockwise from the left temple over the brow, down the right and back up."""
        person = self.person
        sine, cosine = math.sin(person.yaw), math.cos(person.yaw)
        heights = np.array([-0.45, -0.3, -0.15, 0.0, 0.12, 0.22, 0.31, 0.39, 0.45, 0.487])

        def side(sign: int) -> list[tuple[float, float]]:
            rows = []
            for y in heights:
                half = self.half(float(y))
                share = float(np.clip((y - 0.12) / 0.38, 0, 1))
                depth = 0.3 * share * share * (3 - 2 * share) - 0.03
                x = sign * half * cosine + depth * sine
                if sign * sine > 0:  # the far side: the cheek's bulge hides the jaw's edge
                    bulge = math.hypot(half * cosine, 0.26 * sine) - half * cosine
                    x += sign * bulge * (1 - share) * (0.86 if -0.12 < y < 0.05 else 1.0)
                else:
                    x -= sign * 0.02 * abs(sine)
                rows.append((x, y * math.cos(person.pitch) - (depth - 0.3 * share) * math.sin(person.pitch)))
            return rows

        left, right = side(-1), side(1)
        if person.style in ("bald", "buzz"):  # the skull shows
            x, y = self.crown
            wide = person.width + 0.03 * abs(sine)
            angles = np.radians([218, 244, 270, 296, 322])
            crown = [(x + wide * math.cos(a), y + 0.5 * math.sin(a)) for a in angles]
        else:
            crown = [(x * cosine - 0.05 * sine, -0.6) for x in (-0.27, 0.27)]
        chin = self.point(0, 0.5, 0.3)
        return np.array([*left[::-1], *crown, *right, chin])

    @cached_property
    def geometry(self) -> FaceGeometry:
        """The landmarks that masks are painted by, before roll."""
        outline = self.outline
        right_start = len(outline) - 9
        left, right = (
            outline[7::-1],
            outline[-2 : right_start - 1 : -1],
        )  # from beside the eyes down to beside the chin, and back up
        jaw = np.array([*left, outline[-1], *right])
        ears: list[tuple[float, float] | None] = []
        for sign in (-1, 1):
            far = sign * math.sin(self.person.yaw) > 0.2
            ears.append(None if far else self.ear(sign))
        return FaceGeometry(
            left_eye=self.point(-0.165, -0.06),
            right_eye=self.point(0.165, -0.06),
            nose=self.point(0, 0.15, 0.47),
            mouth=self.point(0, 0.285),
            chin=(float(outline[-1][0]), float(outline[-1][1])),
            jaw=jaw,
            ears=(ears[0], ears[1]),
        )

    def ear(self, sign: int) -> tuple[float, float]:
        """Where an ear joins the head."""
        person = self.person
        x = sign * person.width * 0.985 * math.cos(person.yaw) - 0.05 * math.sin(person.yaw)
        return x, 0.02 * math.cos(person.pitch) + 0.3 * math.sin(person.pitch)

    @property
    def crown(self) -> tuple[float, float]:
        """The middle of the skull."""
        return -0.1 * math.sin(self.person.yaw), -0.2 + 0.1 * math.sin(self.person.pitch)


def face_box(person: Person, x: float, y: float, scale: float) -> tuple[float, float, float, float]:
    """Left, top, right, bottom (px) of a face of ``scale`` px from hairline to chin about (x, y)."""
    rows = Head(person).outline
    rows = np.vstack([rows[rows[:, 1] > -0.46], [(0.0, -0.46)]])
    sine, cosine = math.sin(person.roll), math.cos(person.roll)
    turned = rows @ np.array([[cosine, sine], [-sine, cosine]]) * scale + (x, y)
    left, top = turned.min(axis=0)
    right, bottom = turned.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def paint_person(brush: Brush, person: Person, x: float, y: float, scale: float, light: Light) -> None:
    """Paint a person whose face is ``scale`` px high and centred on (x, y), down to the feet."""
    head = Head(person)
    sine, cosine = math.sin(-person.roll), math.cos(-person.roll)
    near = Light(light.x * cosine - light.y * sine, light.x * sine + light.y * cosine, light.contrast)
    turn = math.degrees(person.roll)
    with brush.moved(x, y, scale=scale):
        with brush.moved(turn_degrees=turn):
            _hair_behind(brush, head, light)
        with brush.moved(0, -0.1):
            _body(brush, person, light)
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
            _hair_front(brush, head, near)
            _glasses(brush, head)
            _hat(brush, head, near)
        _extra(brush, person, head, light)


# --- body ----------------------------------------------------------------------------------------------------------


def _body(brush: Brush, person: Person, light: Light) -> None:
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
        _fabric(brush, person, wide, rng)
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


def _fabric(brush: Brush, person: Person, wide: float, rng: np.random.Generator) -> None:
    accent = person.cloth_accent
    if person.collar in ("blazer",):
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
    del wide


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


# --- face ----------------------------------------------------------------------------------------------------------


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
    deep, glow = deeper(skin, 0.48), mix(lighter(skin, 0.45), (255, 240, 220), 0.4)
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


# --- hair and hats -------------------------------------------------------------------------------------------------


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


def _hair_behind(brush: Brush, head: Head, light: Light) -> None:
    person = head.person
    style, hair = person.style, darker(person.hair, 0.22)
    x, y = head.crown
    if style == "hijab":
        cloth = darker(person.hat_colour, 0.1)
        brush.fill(smooth([*_dome(head, 1.12, 0.3), (0.62, 0.9), (0.8, 1.3), (-0.8, 1.3), (-0.62, 0.9)], True), cloth)
        return
    if style in ("bald",):
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


def _hair_front(brush: Brush, head: Head, light: Light) -> None:
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
    from allmasked.brush import skia

    area = skia().Op(smooth(outer, True), smooth(inner, True), skia().kDifference_PathOp)
    brush.line(smooth(inner, True), BLACK, 0.07, 0.35, soft=0.03)
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


def _hat(brush: Brush, head: Head, light: Light) -> None:
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


# --- what is held at the mouth -------------------------------------------------------------------------------------


def _hand(brush: Brush, person: Person, x: float, y: float, side: int, light: Light) -> None:
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
    del light


def _extra(brush: Brush, person: Person, head: Head, light: Light) -> None:
    kind = person.extra
    side = 1 if person.seed % 2 else -1
    turn = np.array([[math.cos(person.roll), math.sin(person.roll)], [-math.sin(person.roll), math.cos(person.roll)]])
    mouth = np.array(head.geometry.mouth) @ turn
    x, y = float(mouth[0]), float(mouth[1])
    if kind == "hand":
        _hand(brush, person, x, y + 0.05, side, light)
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
        _hand(brush, person, cup_x + side * 0.06, cup_y + 0.12, side, light)
    elif kind == "microphone":
        px, py = x + side * 0.05, y + 0.2
        brush.line(polygon([(px, py), (px + side * 0.22, py + 0.5)], False), (44, 44, 50), 0.09)
        brush.fill(oval(px, py, 0.1, 0.11), (60, 62, 68))
        brush.line(oval(px, py, 0.07, 0.08), (130, 132, 140), 0.012)
        _hand(brush, person, px + side * 0.14, py + 0.36, side, light)


__all__ = ["Head", "Person", "face_box", "joined", "paint_person", "sample_person"]
