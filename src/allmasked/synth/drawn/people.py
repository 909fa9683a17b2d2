"""Drawn people: what they look like (:class:`Person`) and how they are painted, bare, masked or half masked.

A person is painted in units of the face's height (hairline to chin), the origin in the middle of the face, x to the
image's right and y down. The head is a rounded body: its features are placed in three dimensions and turned by yaw and
pitch, then the whole head is rolled in the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from allmasked.core.types import Wear
from allmasked.synth.paint.brush import Colour, jitter, mix, pick
from allmasked.synth.paint.geometry import FaceGeometry, Vector
from allmasked.synth.paint.masks import MaskStyle, Place, sample_style

SKIN: tuple[Colour, ...] = (
    (238, 199, 170), (224, 174, 138), (198, 142, 100), (172, 115, 78), (143, 90, 58), (114, 70, 46), (88, 54, 38),
)  # fmt: skip
HAIR: tuple[Colour, ...] = (
    (28, 24, 24), (46, 34, 28), (74, 50, 34), (110, 72, 44), (150, 104, 60), (222, 190, 136), (146, 66, 36),
    (150, 148, 148), (214, 212, 208),
)  # fmt: skip
HAIR_SHARES = {True: (3, 3, 3, 2, 1.5, 0.9, 0.4, 0.8, 0.6), False: (6, 5, 4, 0.5, 0, 0, 0, 0.5, 0.3)}
"""How often each is seen with fair skin, and with dark."""
CLOTHES: tuple[Colour, ...] = (
    (40, 44, 54), (234, 232, 226), (150, 156, 164), (52, 78, 120), (120, 160, 196), (160, 48, 52), (86, 118, 84),
    (196, 160, 104), (112, 76, 120), (222, 140, 140), (198, 104, 64), (178, 208, 190),
)  # fmt: skip
SHORT = ("bald", "buzz", "short", "curls")
LONG = ("bob", "straight", "wavy")


@dataclass(frozen=True)
class Person:
    """Everything that settles how a person looks. Angles in radians, colours 0-255, lengths in face heights."""

    wear: Wear
    mask: MaskStyle | None
    place: Place
    skin: Colour
    hair: Colour
    style: str  # of the hair, see `SHORT` and `LONG`; or "hijab"
    hat: str
    hat_colour: Colour
    width: float  # half the face's width at the cheeks
    jaw: float  # half the width at the mouth, as a share of `width`
    chin: float  # half the width of the chin
    yaw: float
    pitch: float
    roll: float
    iris: Colour
    lips: Colour
    mouth: str
    beard: bool
    glasses: str
    extra: str  # of `allmasked.synth.paint.distractors`: what is before the mouth of a bare face; a scarf before any
    collar: str
    cloth: Colour
    stripes: Colour | None
    build: float
    seed: int


def sample_person(rng: np.random.Generator, wear: Wear) -> Person:
    """A person of random looks who wears a mask as ``wear`` says. The looks do not depend on ``wear``."""
    skin_index = int(rng.integers(len(SKIN)))
    fair, skin = skin_index < 3, jitter(rng, SKIN[skin_index], 5)
    shorn = bool(rng.random() < 0.5)
    style = pick(rng, SHORT, [1, 1.2, 4, 2]) if shorn else pick(rng, LONG)
    hat = ""
    if not shorn and rng.random() < 0.12:
        style = "hijab"
    elif rng.random() < 0.17:
        hat = pick(rng, ["beanie", "cap"])
    place: Place = "worn" if wear == "masked" else pick(rng, ["under_nose", "on_chin"], [0.6, 0.4])
    mask = sample_style(rng)
    while np.hypot.reduce(np.subtract(mask.colours[0], skin)) < 75:  # a mask that looks like skin tells nothing
        mask = sample_style(rng)
    extra = pick(rng, ["", "hand", "cup", "scarf", "microphone"], [0.82, 0.04, 0.04, 0.07, 0.03])
    if wear == "incorrect" or (wear == "masked" and extra != "scarf"):
        extra = ""
    return Person(
        wear=wear,
        mask=None if wear == "bare" else mask,
        place=place,
        skin=skin,
        hair=jitter(rng, pick(rng, HAIR, HAIR_SHARES[fair]), 6),
        style=style,
        hat=hat,
        hat_colour=jitter(rng, pick(rng, CLOTHES), 10),
        width=float(np.clip(rng.normal(0.387, 0.016), 0.35, 0.43)),
        jaw=float(rng.uniform(0.76, 0.9)),
        chin=float(rng.uniform(0.1, 0.17)),
        yaw=float(np.clip(rng.normal(0, 0.27), -0.55, 0.55)),
        pitch=float(np.clip(rng.normal(0, 0.08), -0.2, 0.2)),
        roll=float(np.clip(rng.normal(0, 0.09), -0.3, 0.3)),
        iris=pick(rng, [(72, 46, 30), (98, 70, 40), (86, 118, 146)], [5, 2, 2 if fair else 0]),
        lips=mix(skin, pick(rng, [(176, 62, 66), (168, 84, 76)]), rng.uniform(0.4, 0.75)),
        mouth=pick(rng, ["neutral", "smile", "teeth", "open"], [3, 3, 3, 1]),
        beard=shorn and bool(rng.random() < 0.3),
        glasses=pick(rng, ["", "round", "square", "sun"], [7, 1.2, 1.2, 0.7]),
        extra=extra,
        collar=pick(rng, ["crew", "v", "shirt"], [3, 1, 1]),
        cloth=jitter(rng, pick(rng, CLOTHES), 10),
        stripes=jitter(rng, pick(rng, CLOTHES), 10) if rng.random() < 0.25 else None,
        build=float(rng.uniform(0.86, 1.12)),
        seed=int(rng.integers(2**31)),
    )


def mirrored(*rows: tuple[float, float]) -> list[tuple[float, float]]:
    """Points from the right side to the middle line (x = 0), and back on the left."""
    return [*rows, *((-x, y) for x, y in rows[::-1] if x)]


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
        width, chin, jaw = self.person.width, self.person.chin, self.person.width * self.person.jaw
        knots = [-0.62, -0.5, -0.38, -0.2, -0.05, 0.12, 0.28, 0.4, 0.47, 0.5]
        upper = [width * share for share in (0.7, 0.86, 0.96, 1, 0.99, 0.95)]
        return float(np.interp(y, knots, [*upper, jaw, jaw * 0.42 + chin * 0.62, chin, chin * 0.55]))

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
        # from beside the eyes down to beside the chin, and back up
        left, right = outline[7::-1], outline[-2 : right_start - 1 : -1]
        jaw = np.array([*left, outline[-1], *right])
        turn, chin = math.sin(self.person.yaw), (float(outline[-1][0]), float(outline[-1][1]))
        return FaceGeometry(
            self.point(-0.165, -0.06), self.point(0.165, -0.06), self.point(0, 0.15, 0.47), self.point(0, 0.285),
            chin, jaw, (self.ear(-1) if turn >= -0.2 else None, self.ear(1) if turn <= 0.2 else None),
        )  # fmt: skip

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
