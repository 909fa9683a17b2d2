"""A thin layer over Skia: paths from points, and paints from colours, soft edges and gradients.

Colours are (red, green, blue) of floats 0-255; alpha is a separate float 0-1. Lengths are in whatever unit the canvas'
transform gives them (px, or face heights for a person), soft edges included.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from allmasked.core.errors import MissingExtraError, require
from allmasked.synth.paint.without_gl import OPENGL, stand_in

Colour = tuple[float, float, float]
Stop = tuple[float, Colour, float]
"""A gradient's stop: position 0-1, colour, alpha 0-1."""
Points = Sequence[Any] | NDArray[Any]
"""Points (N, 2) as an array or as rows of two numbers."""

WHITE: Colour = (255.0, 255.0, 255.0)
BLACK: Colour = (0.0, 0.0, 0.0)


@functools.cache
def skia() -> Any:
    """The skia module, with or without OpenGL on this machine; or :class:`MissingExtraError` with the way to get it."""
    try:
        return require("skia", "synth")
    except MissingExtraError:
        if not stand_in("skia", OPENGL):
            raise
        return require("skia", "synth")


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour ``share`` (0-1) of the way from ``first`` to ``second``."""
    return (
        first[0] + (second[0] - first[0]) * share,
        first[1] + (second[1] - first[1]) * share,
        first[2] + (second[2] - first[2]) * share,
    )


def darker(colour: Colour, share: float) -> Colour:
    return mix(colour, BLACK, share)


def lighter(colour: Colour, share: float) -> Colour:
    return mix(colour, WHITE, share)


def deeper(colour: Colour, share: float) -> Colour:
    """A shadow tone: darker and a little more saturated, as skin and cloth are in shade."""
    red, green, blue = colour
    return (red * (1 - share * 0.8), green * (1 - share), blue * (1 - share * 0.95))


def jitter(rng: np.random.Generator, colour: Colour, spread: float = 8.0) -> Colour:
    """The colour with brightness and tint varied by about ``spread`` levels."""
    values = np.clip(np.asarray(colour) + rng.normal(0, spread) + rng.normal(0, spread / 2, 3), 0, 255)
    return (float(values[0]), float(values[1]), float(values[2]))


def pick(rng: np.random.Generator, items: Sequence[Any], weights: Sequence[float] | None = None) -> Any:
    """One of ``items``, as it is (``Generator.choice`` would turn tuples and strings into arrays)."""
    shares = None if weights is None else np.asarray(weights, float) / np.sum(weights)
    return items[int(rng.choice(len(items), p=shares))]


def argb(colour: Colour, alpha: float = 1.0) -> int:
    """A colour as the 32-bit number that Skia takes."""
    red, green, blue = (max(0, min(255, round(value))) for value in colour)
    return max(0, min(255, round(alpha * 255))) << 24 | red << 16 | green << 8 | blue


def polygon(points: Points, closed: bool = True) -> Any:
    """A path of straight lines through points (N, 2)."""
    path = skia().Path()
    rows = np.asarray(points, float)
    path.addPoly([skia().Point(x, y) for x, y in rows.tolist()], closed)
    return path


def smooth(points: Points, closed: bool = False, tension: float = 1.0) -> Any:
    """A path through points (N, 2) without corners (Catmull-Rom spline, E. Catmull and R. Rom 1974)."""
    rows = np.asarray(points, float).tolist()  # a dozen points: plain floats are faster than arrays
    around = [rows[-1], *rows, rows[0], rows[1]] if closed else [rows[0], *rows, rows[-1]]
    pull = tension / 6
    path = skia().Path()
    path.moveTo(*rows[0])
    curve = path.cubicTo
    for (ax, ay), (bx, by), (cx, cy), (dx, dy) in zip(around, around[1:], around[2:], around[3:]):
        curve(bx + (cx - ax) * pull, by + (cy - ay) * pull, cx - (dx - bx) * pull, cy - (dy - by) * pull, cx, cy)
    if closed:
        path.close()
    return path


def together(paths: Iterable[Any]) -> Any:
    """Many paths as one, painted in one stroke."""
    whole = skia().Path()
    for path in paths:
        whole.addPath(path)
    return whole


def oval(x: float, y: float, width: float, height: float, angle_degrees: float = 0.0) -> Any:
    """An ellipse of half-axes ``width``, ``height`` about (x, y), turned clockwise."""
    library = skia()
    path = library.Path()
    path.addOval(library.Rect.MakeLTRB(x - width, y - height, x + width, y + height))
    if angle_degrees:
        path.transform(library.Matrix.RotateDeg(angle_degrees, library.Point(x, y)))
    return path


def rect(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> Any:
    """A rectangle, its corners rounded by ``radius``."""
    library = skia()
    path = library.Path()
    path.addRoundRect(library.Rect.MakeLTRB(left, top, right, bottom), radius, radius)
    return path


def joined(*paths: Any) -> Any:
    """The union of areas."""
    library = skia()
    path = paths[0]
    for other in paths[1:]:
        path = library.Op(path, other, library.kUnion_PathOp)
    return path


class Brush:
    """Paints on one Skia canvas."""

    def __init__(self, canvas: Any) -> None:
        self.canvas = canvas

    def fill(self, path: Any, colour: Colour, alpha: float = 1.0, *, soft: float = 0.0, mode: str = "") -> None:
        """Fill with one colour; ``soft`` is the blur's sigma, ``mode`` one of Skia's blend modes (``Multiply`` ...)."""
        self.canvas.drawPath(path, self._paint(argb(colour, alpha), soft, mode))

    def line(
        self, path: Any, colour: Colour, width: float, alpha: float = 1.0, *, soft: float = 0.0, mode: str = ""
    ) -> None:
        """Stroke with round ends and corners."""
        library = skia()
        paint = self._paint(argb(colour, alpha), soft, mode)
        paint.setStyle(library.Paint.kStroke_Style)
        paint.setStrokeWidth(width)
        paint.setStrokeCap(library.Paint.kRound_Cap)
        paint.setStrokeJoin(library.Paint.kRound_Join)
        self.canvas.drawPath(path, paint)

    def linear(
        self, path: Any, start: ArrayLike, end: ArrayLike, stops: Sequence[Stop], *, soft: float = 0.0, mode: str = ""
    ) -> None:
        """Fill with a gradient along the line from ``start`` to ``end``."""
        library = skia()
        points = [library.Point(*map(float, np.asarray(point))) for point in (start, end)]
        colours = [argb(colour, alpha) for _, colour, alpha in stops]
        shader = library.GradientShader.MakeLinear(points, colours, [position for position, _, _ in stops])
        self._shaded(path, shader, soft, mode)

    def radial(
        self, path: Any, centre: ArrayLike, radius: float, stops: Sequence[Stop], *, soft: float = 0.0, mode: str = ""
    ) -> None:
        """Fill with a gradient from ``centre`` outwards to ``radius``."""
        library = skia()
        shader = library.GradientShader.MakeRadial(
            library.Point(*map(float, np.asarray(centre))),
            radius,
            [argb(colour, alpha) for _, colour, alpha in stops],
            [position for position, _, _ in stops],
        )
        self._shaded(path, shader, soft, mode)

    @contextmanager
    def inside(self, path: Any) -> Iterator[None]:
        """Paint only inside ``path`` for the duration."""
        self.canvas.save()
        self.canvas.clipPath(path, True)
        try:
            yield
        finally:
            self.canvas.restore()

    @contextmanager
    def moved(self, x: float = 0.0, y: float = 0.0, *, turn_degrees: float = 0.0, scale: float = 1.0) -> Iterator[None]:
        """Paint in a frame with its origin at (x, y), turned clockwise and enlarged by ``scale``."""
        self.canvas.save()
        self.canvas.translate(x, y)
        self.canvas.rotate(turn_degrees)
        self.canvas.scale(scale, scale)
        try:
            yield
        finally:
            self.canvas.restore()

    def _shaded(self, path: Any, shader: Any, soft: float, mode: str) -> None:
        paint = self._paint(argb(BLACK), soft, mode)
        paint.setShader(shader)
        self.canvas.drawPath(path, paint)

    @staticmethod
    def _paint(colour: int, soft: float, mode: str) -> Any:
        library = skia()
        paint = library.Paint()
        paint.setAntiAlias(True)
        paint.setColor(colour)
        if soft > 0:
            paint.setMaskFilter(library.MaskFilter.MakeBlur(library.kNormal_BlurStyle, soft))
        if mode:
            paint.setBlendMode(getattr(library.BlendMode, f"k{mode}"))
        return paint


class Sheet(Brush):
    """An empty transparent layer of ``width`` x ``height`` px; ``detail`` below 1 keeps fewer pixels than that."""

    def __init__(self, width: int, height: int, detail: float = 1.0) -> None:
        self.width, self.height, self.detail = width, height, detail
        self.surface = skia().Surface(round(width * detail), round(height * detail))
        super().__init__(self.surface.getCanvas())
        self.canvas.scale(detail, detail)

    def rgba(self, *, premultiplied: bool = False) -> NDArray[np.uint8]:
        """The pixels (H, W, 4), colours not multiplied by alpha unless asked for."""
        library = skia()
        how = {"alphaType": library.kPremul_AlphaType} if premultiplied else {}
        image = self.surface.makeImageSnapshot()
        pixels: NDArray[np.uint8] = image.toarray(colorType=library.kRGBA_8888_ColorType, **how)
        return pixels

    def stamp(self, other: Sheet, blur_px: float = 0.0) -> None:
        """Lay another sheet of the same width and height over this one, out of focus by ``blur_px`` (sigma)."""
        library = skia()
        image = other.surface.makeImageSnapshot()
        if blur_px > 0.05:  # blurred at the other's own resolution, then enlarged
            soft, paint, sigma = library.Surface(image.width(), image.height()), library.Paint(), blur_px * other.detail
            paint.setImageFilter(library.ImageFilters.Blur(sigma, sigma, library.TileMode.kClamp))
            soft.getCanvas().drawImage(image, 0, 0, library.SamplingOptions(), paint)
            image = soft.makeImageSnapshot()
        target = library.Rect.MakeWH(self.width, self.height)
        self.canvas.drawImageRect(image, target, library.SamplingOptions(library.FilterMode.kLinear))
