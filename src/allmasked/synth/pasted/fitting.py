"""A face in a photo: its geometry from five landmarks, its light, and how sharp and noisy the photo is there.

What is painted for a face is laid on the photo with these: relit by the face's own shading, as soft and as grainy as
the photo around it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.synth.paint.brush import Brush, Sheet
from allmasked.synth.paint.geometry import FaceGeometry, Light, Point, Vector
from allmasked.synth.pasted.landmarks import Found

Image = NDArray[np.uint8]
"""A photo (H, W, 3) uint8 RGB."""

# A head in units of the eyes' distance from the chin (about 115 mm): x to the image's right, y down, z to the camera,
# the origin between the eyes. Means of adults after the anthropometry of L. G. Farkas (1994), rounded.
LANDMARKS = np.array([(-0.28, 0.0, -0.02), (0.28, 0.0, -0.02), (0, 0.39, 0.2), (-0.22, 0.62, 0.04), (0.22, 0.62, 0.04)])
HEIGHTS = np.array([-0.25, 0.0, 0.2, 0.4, 0.58, 0.72, 0.84, 0.93, 0.98])
HALF_WIDTHS = np.array([0.62, 0.63, 0.615, 0.575, 0.52, 0.455, 0.36, 0.24, 0.12])
CENTRES = np.array([-0.6, -0.6, -0.58, -0.55, -0.5, -0.42, -0.32, -0.2, -0.1])
"""The head's outline: at these heights the half width of its cross-sections and how far behind the face they lie."""
CHIN, EAR = np.array([0, 1.0, 0.02]), np.array([0.65, 0.12, -0.78])
DEEPEST_TURN = math.radians(58)
"""Faces turned or nodding further are not fitted: five landmarks don't say where such a face ends."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A head's pose: angles in radians (yaw and roll positive to the image's right), ``misfit`` in head units."""

    geometry: FaceGeometry
    yaw: float
    pitch: float
    roll: float
    misfit: float


def rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """The (3, 3) matrix of a head's pose, angles in radians."""
    cy, sy, cp, sp, cr, sr = (call(angle) for angle in (yaw, pitch, roll) for call in (math.cos, math.sin))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    matrix: NDArray[np.float64] = tilt @ nod @ turn
    return matrix


def fit_head(face: Found) -> Fit | None:
    """The pose that puts the head's landmarks on the photo's (scaled orthographic camera); None where none does."""
    from scipy.optimize import least_squares

    points = face.points
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    across, reach = points[1] - points[0], float(np.hypot(*(mouth - eyes)))
    size = max(float(np.hypot(*across)) / 0.56, reach / 0.62)
    if size < 3 or reach < 1:
        return None
    roll = math.atan2(across[1], across[0])

    def residuals(values: NDArray[np.float64]) -> NDArray[np.float64]:
        yaw, pitch, tilt, scale, x, y = values
        seen = LANDMARKS @ rotation(yaw, pitch, tilt)[:2].T * math.exp(scale) + [x, y]
        away = (seen - (points - eyes) / size).ravel()
        prior = [0.02 * yaw, 0.15 * pitch, 0.1 * (tilt - roll)]
        return np.concatenate([away, prior])

    nose = float((points[2] - (eyes + mouth) / 2) @ across) / max(float(across @ across), 1e-9)
    start = np.array([np.clip(nose * 2.5, -1, 1), 0.0, roll, 0.0, 0.0, 0.0])
    fitted = least_squares(residuals, start)
    yaw, pitch, tilt, scale, x, y = fitted.x
    misfit = float(np.sqrt(np.mean(residuals(fitted.x)[:10] ** 2)))
    if misfit > 0.12 or abs(yaw) > DEEPEST_TURN or abs(pitch) > math.radians(45):
        return None
    matrix = rotation(yaw, pitch, tilt)
    unit = size * math.exp(scale)

    def project(spots: NDArray[np.float64]) -> Vector:
        places: Vector = spots @ matrix[:2].T * unit + np.array([x, y]) * size + eyes
        return places

    geometry = _geometry(face, project, yaw, tilt)
    return Fit(geometry, float(yaw), float(pitch), float(tilt), misfit) if geometry else None


def _geometry(face: Found, project: Callable[[Any], Vector], yaw: float, roll: float) -> FaceGeometry | None:
    """Landmarks as the detector found them, the outline as the turned head shows it."""
    down = np.array([-math.sin(roll), math.cos(roll)])
    eyes, mouth = face.points[:2].mean(axis=0), face.points[3:].mean(axis=0)
    chin = project(CHIN)
    longer = float((mouth - eyes) @ down) / max(float((project(LANDMARKS[3:]).mean(axis=0) - eyes) @ down), 1e-6)
    box_middle = np.array([(face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2])
    box_bottom = float((box_middle - eyes) @ down) + face.height_px / 2
    guess = float((chin - eyes) @ down) * float(np.clip(longer, 0.85, 1.2))
    reach = float(np.clip(0.5 * guess + 0.5 * box_bottom, guess * 0.88, guess * 1.15))
    if reach < 4:
        return None
    stretch = reach / max(float((chin - eyes) @ down), 1e-6)

    def place(spots: Any) -> Vector:
        """Projected, then stretched along the face so that the chin lies where the detector saw it."""
        seen = project(np.asarray(spots, float))
        along = (seen - eyes) @ down
        stretched: Vector = seen + np.multiply.outer(np.where(along > 0, along, 0.0) * (stretch - 1), down)
        return stretched

    outline = {}
    for side in (-1, 1):
        angle = _edge_angle(side, yaw)
        x = HALF_WIDTHS * np.sin(angle)
        z = CENTRES + np.abs(CENTRES) * np.cos(angle) + 0.02
        outline[side] = place(np.column_stack([x, HEIGHTS, z]))
    jaw = np.concatenate([outline[-1][1:], [place(CHIN)], outline[1][:0:-1]])
    ears: list[Point | None] = []
    for side in (-1, 1):
        hidden = side * yaw > math.radians(18)
        spot = place(EAR * [side, 1, 1])
        ears.append(None if hidden else (float(spot[0]), float(spot[1])))
    (left, right, nose), chin = face.points[:3].tolist(), place(CHIN).tolist()
    ends = tuple(mouth.tolist()), tuple(chin)
    return FaceGeometry(tuple(left), tuple(right), tuple(nose), *ends, jaw, (ears[0], ears[1]))


def _edge_angle(side: int, yaw: float) -> float:
    """Where along a cross-section (radians from its front) the face ends to the eye, on one side of a turned head."""
    silhouette = side * (math.pi / 2) - yaw  # of a round section; further back than the jaw it is not the face's
    limit = math.radians(80)
    return float(np.clip(silhouette, -limit, limit))


# --- light, sharpness, noise ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Conditions:
    """How the photo shows a face: light, blur and noise.

    ``exposure`` multiplies colours, ``cast`` (3,) tints them, ``saturation`` is 0 in black and white photos;
    ``blur_px`` are the horizontal and the vertical sigma, ``noise`` the luminance's standard deviation (levels).
    """

    light: Light
    exposure: float
    cast: NDArray[np.float64]
    saturation: float
    blur_px: tuple[float, float]
    noise: float


SKIN_CAST = np.array([1.2, 0.95, 0.85])
"""Red, green and blue of skin under white light, as shares of their mean; skins differ more in depth than in this."""


def conditions(image: Image, box: tuple[float, float, float, float], geometry: FaceGeometry) -> Conditions:
    """Measured on the face and its surroundings."""
    import cv2

    height, width = image.shape[:2]
    skin = colours_at(image, geometry.at(*np.meshgrid(np.linspace(-0.6, 0.6, 13), np.linspace(0.1, 0.5, 9))))
    grey = skin @ [0.299, 0.587, 0.114]
    lit = float(np.percentile(grey, 85))
    left, top, right, bottom = box
    grow = (bottom - top) * 0.6
    rows = slice(max(0, int(top - grow)), min(height, int(bottom + grow) + 1))
    area = image[rows, max(0, int(left - grow)) : min(width, int(right + grow) + 1)]
    brightest = float(np.percentile(area.mean(axis=2), 97))
    exposure = float(np.clip(0.5 * lit / 195 + 0.5 * brightest / 235, 0.22, 1.06))
    mean = skin.mean(axis=0)
    tint = mean / max(float(mean.mean()), 1.0)
    colourful = float(np.abs(tint - 1).max())
    saturation = float(np.clip((np.abs(area.astype(int) - area.mean(axis=2, keepdims=True)).mean()) / 9, 0.0, 1.0))
    cast = (tint / SKIN_CAST) ** 0.35 if colourful > 0.03 else np.ones(3)
    cast = np.clip(cast / cast.mean(), 0.85, 1.18)
    return Conditions(_light(image, geometry), exposure, cast, saturation, _blur(area), _noise(cv2, area))


def colours_at(image: Image, points: Vector) -> NDArray[np.float64]:
    """Colours (N, 3) at points (..., 2)."""
    places = np.rint(points.reshape(-1, 2)).astype(int)
    x, y = places[:, 0].clip(0, image.shape[1] - 1), places[:, 1].clip(0, image.shape[0] - 1)
    return image[y, x].astype(np.float64)


def _light(image: Image, geometry: FaceGeometry) -> Light:
    """From the cheeks' and the brow's brightness: the side that is lighter faces the light."""
    cheek = [0.25, 0.35, 0.45]
    places = (([-0.6, -0.5, -0.4], cheek), ([0.4, 0.5, 0.6], cheek), ([-0.2, 0, 0.2], [-0.3, -0.25]))
    left, right, upper = (float(colours_at(image, geometry.at(*np.meshgrid(*place))).mean()) for place in places)
    level = max((left + right) / 2, 8.0)
    sideways, above = np.clip((right - left) / level, -0.8, 0.8), np.clip((upper - level) / level + 0.25, 0.05, 0.6)
    length = math.hypot(sideways, above)
    return Light(float(sideways / length), float(-above / length), float(np.clip(length * 0.8, 0.1, 0.6)))


def _blur(area: Image) -> tuple[float, float]:
    """Sigma (px) of the sharpest edges across and along: blurred once more by a known sigma, how much do they lose?

    S. Zhuo and T. Sim, Defocus map estimation from a single image, 2011.
    """
    import cv2

    grey = cv2.cvtColor(area, cv2.COLOR_RGB2GRAY).astype(np.float32)
    again = cv2.GaussianBlur(grey, (0, 0), 1.0)
    sigmas = []
    for axis in (1, 0):
        first, second = np.abs(np.diff(grey, axis=axis)), np.abs(np.diff(again, axis=axis))
        strong = first >= max(float(np.percentile(first, 98.5)), 3.0)
        if strong.sum() < 8:
            sigmas.append(1.0)
            continue
        ratio = float(np.median(first[strong] / np.maximum(second[strong], 0.3)))
        sigmas.append(1 / math.sqrt(max(ratio**2 - 1, 0.06)))
    return float(np.clip(sigmas[0], 0.35, 4)), float(np.clip(sigmas[1], 0.35, 4))


def _noise(cv2: Any, area: Image) -> float:
    """Standard deviation of the noise, from the flattest quarter of the area (J. Immerkær, 1996)."""
    grey = cv2.cvtColor(area, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if min(grey.shape) < 8:
        return 1.0
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    rough = cv2.filter2D(grey, -1, kernel)
    smooth = cv2.blur(np.abs(rough), (7, 7))
    return float(np.clip(np.percentile(smooth, 25) * math.sqrt(math.pi / 2) / 6, 0.0, 8.0))


def skin_of(image: Image, geometry: FaceGeometry) -> tuple[float, float, float]:
    """The skin's colour (0-255) as the photo shows it on nose and cheeks."""
    places = geometry.at(*np.meshgrid([-0.5, -0.4, 0.0, 0.4, 0.5], [0.2, 0.28, 0.36]))
    red, green, blue = np.median(colours_at(image, places), axis=0).tolist()
    return red, green, blue


def looks_masked(image: Image, geometry: FaceGeometry) -> bool:
    """Whether a face that should be bare shows something as light as skin, but of another tint, from mouth to chin.

    A check on labels, not a classifier: a dark beard is not meant, and in black and white nothing can be told.
    """
    import cv2

    between_the_eyes = np.meshgrid(np.linspace(-0.16, 0.16, 7), [-0.16, -0.1, -0.04, 0.03])
    below_the_mouth = np.meshgrid(np.linspace(-0.45, 0.45, 9), [0.58, 0.7, 0.82, 0.92])
    upper, lower = (colours_at(image, geometry.at(*places)) for places in (between_the_eyes, below_the_mouth))
    colours = np.array([np.median(upper, axis=0), np.median(lower, axis=0)], np.float32)[None] / 255
    skin, below = cv2.cvtColor(colours, cv2.COLOR_RGB2LAB)[0]
    away = float(np.hypot(*(skin[1:] - below[1:])))
    colourful = float(np.hypot(*skin[1:])) > 8 or float(np.hypot(*below[1:])) > 20
    return colourful and below[0] > 0.75 * skin[0] and away > 13


PLAIN_TINT, PLAIN_STEP = 2.5, 10.0
"""Of nine in ten drawn hands, and of about one bare face in twenty: most of these blurred, dark or cut."""


def mouth_hidden(image: Image, geometry: FaceGeometry) -> bool:
    """Whether nothing of a mouth is seen where it should be: a hand, a glove, somebody's shoulder lies before it.

    A mouth is redder than what is above and below it, or a line that is darker or lighter than that. Where neither
    shows, what hides it would hide a mask as well. Things with edges of their own (cups, microphones) are not noticed.
    """
    import cv2

    soft = cv2.GaussianBlur(image, (0, 0), max(0.3, geometry.height * 0.012))
    mouth = float((np.asarray(geometry.mouth) - geometry.eyes) @ geometry.down / geometry.height)

    def lab(u: Vector, v: Vector) -> NDArray[np.float32]:
        colours = colours_at(soft, geometry.at(*np.meshgrid(u, v))).reshape(len(v), len(u), 3)
        converted: NDArray[np.float32] = cv2.cvtColor(colours.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        return converted

    rows = np.median(lab(np.linspace(-0.22, 0.22, 9), np.linspace(mouth - 0.14, mouth + 0.14, 15)), axis=1)
    around = rows[[0, 1, -2, -1]].mean(axis=0)
    skin = float(np.median(lab(np.linspace(-0.4, 0.4, 9), np.linspace(0.2, 0.4, 5))[..., 0]))
    step = float(np.abs(rows[:, 0] - around[0]).max()) * 60 / max(skin, 15.0)
    return float((rows[:, 1] - around[1]).max()) < PLAIN_TINT and step < PLAIN_STEP


# --- painting on the photo --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Layer:
    """What was painted for a part of a photo: ``rgba`` (h, w, 4) float 0-1, colours not multiplied by alpha."""

    left: int
    top: int
    rgba: NDArray[np.float32]


FINEST_PX = 170.0
"""Faces smaller than this (eyes to chin, px) are painted larger and then shrunk."""


def paint_layer(image: Image, geometry: FaceGeometry, paint: Callable[[Brush], None], reach: float = 1.05) -> Layer:
    """Call ``paint`` with a brush in the photo's px; what it painted up to ``reach`` face heights around the face."""
    import cv2

    size = geometry.height
    middle = geometry.middle(0.5)
    left, top = (int(max(0, math.floor(edge))) for edge in middle - reach * size)
    right, bottom = (int(min(limit, math.ceil(edge))) for edge, limit in zip(middle + reach * size, image.shape[1::-1]))
    width, height = max(1, right - left), max(1, bottom - top)
    detail = float(np.clip(FINEST_PX / size, 1.0, 12.0))
    sheet = Sheet(width, height, detail)
    with sheet.moved(-left, -top):
        paint(sheet)
    rgba = sheet.rgba(premultiplied=True)
    rgba = cv2.resize(rgba, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    rgba[..., :3] /= np.maximum(rgba[..., 3:], 1e-4)
    return Layer(left, top, rgba)


def lay(image: Image, layer: Layer, geometry: FaceGeometry, seen: Conditions, rng: np.random.Generator) -> Image:
    """The photo with a layer laid on as if it had been there: relit, blurred and grained like the face below it."""
    import cv2

    height, width = layer.rgba.shape[:2]
    part = (slice(layer.top, layer.top + height), slice(layer.left, layer.left + width))
    below = image[part].astype(np.float32)
    colour, alpha = layer.rgba[..., :3] * 255, layer.rgba[..., 3:]

    grey = colour @ np.array([0.299, 0.587, 0.114], np.float32)
    colour = grey[..., None] + (colour - grey[..., None]) * seen.saturation
    colour = colour * (seen.exposure * seen.cast).astype(np.float32)
    colour = colour * shading(below, layer, geometry)[..., None]
    colour = colour * _cloth_relief(rng, (height, width), geometry.height)[..., None]
    colour = np.where(colour > 215, 215 + 40 * np.tanh((colour - 215) / 60), colour)  # highlights roll off

    across, along = (min(sigma, geometry.height * 0.12) for sigma in seen.blur_px)
    premultiplied = cv2.GaussianBlur(np.dstack([colour * alpha, alpha]), (0, 0), sigmaX=across, sigmaY=along)
    alpha = premultiplied[..., 3:]
    grain = rng.standard_normal((height, width, 1), np.float32)
    tinted = rng.standard_normal((height, width, 3), np.float32)
    grain = cv2.GaussianBlur(grain * 0.9 + tinted * 0.35, (0, 0), 0.5) * np.float32(1.6 * seen.noise)
    result = image.copy()
    mixed = below * (1 - alpha) + premultiplied[..., :3] + grain * alpha
    result[part] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return result


@functools.cache
def frontal() -> FaceGeometry:
    """A face seen from the front, upright, 256 px from eyes to chin."""
    points = LANDMARKS[:, :2] * 256 + [384, 256]
    fit = fit_head(Found((208.0, 100.0, 560.0, 512.0), 1.0, points))
    assert fit is not None
    return fit.geometry


def stick(image: Image, geometry: FaceGeometry, paint: Callable[[Brush, FaceGeometry], None]) -> Image:
    """The photo with a picture stuck on the face: painted for :func:`frontal`, warped, hard-edged, not lit.

    So the masks of artificial data sets are made (A. Anwar and A. Raychowdhury, Masked face recognition for secure
    authentication, 2020).
    """
    import cv2

    flat = frontal()
    sheet = Sheet(768, 768)
    paint(sheet, flat)
    rgba = sheet.rgba()
    spots = [(-1, 0.1), (1, 0.1), (-0.9, 0.7), (0.9, 0.7), (0, 0.2), (0, 1.0)]
    source, target = (np.array([face.at(u, v) for u, v in spots], np.float32) for face in (flat, geometry))
    warp, _ = cv2.findHomography(source, target)
    if warp is None:
        return image
    size = image.shape[1::-1]
    shrink = max(1.0, 256 / geometry.height)
    if shrink > 1.5:
        rgba = cv2.GaussianBlur(rgba, (0, 0), 0.3 * shrink)
    warped = cv2.warpPerspective(rgba, warp, size, flags=cv2.INTER_LINEAR)
    result = image.copy()
    covered = warped[..., 3] > 127
    result[covered] = warped[covered, :3]
    return result


def shading(below: NDArray[np.float32], layer: Layer, geometry: FaceGeometry) -> NDArray[np.float32]:
    """The face's own light and shade (h, w), about 1: its luminance without detail, from inside its outline only."""
    import cv2

    height, width = below.shape[:2]
    inside = np.zeros((height, width), np.uint8)
    forehead = geometry.jaw[[0, -1]] - geometry.down * geometry.height * 0.35
    outline = np.concatenate([geometry.jaw, forehead[::-1]]) - [layer.left, layer.top]
    cv2.fillPoly(inside, [np.rint(outline).astype(np.int32)], 1)
    weight = inside.astype(np.float32)
    if not weight.any():
        return np.ones((height, width), np.float32)
    grey = below @ np.array([0.299, 0.587, 0.114], np.float32)
    typical = float(np.median(grey[inside > 0]))
    weight *= np.exp(-(((grey - typical) / max(0.45 * typical, 12.0)) ** 2)) + 0.02  # beard, lips and shine count less
    sigma = max(geometry.height * 0.17, 0.8)
    soft = cv2.GaussianBlur(grey * weight, (0, 0), sigma) / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-4)
    spread = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), sigma) > 0.02
    ratio = np.where(spread, soft / max(float(np.percentile(soft[inside > 0], 75)), 8.0), 1.0)
    result: NDArray[np.float32] = np.clip(ratio, 0.4, 1.2).astype(np.float32) ** 0.8
    return result


def _cloth_relief(rng: np.random.Generator, shape: tuple[int, int], size: float) -> NDArray[np.float32]:
    """Unevenness of fabric (h, w), about 1: soft dents and a fine weave."""
    import cv2

    dents = np.zeros(shape, np.float32)
    for share, strength in ((0.16, 0.05), (0.06, 0.03), (0.018, 0.012)):
        sigma = max(size * share, 0.5)
        small = max(1.0, sigma / 2)
        coarse = rng.standard_normal((int(shape[0] / small) + 2, int(shape[1] / small) + 2), np.float32)
        rough = cv2.GaussianBlur(coarse, (0, 0), sigma / small)
        rough *= strength / max(float(rough.std()), 1e-6)
        dents += cv2.resize(rough, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return 1 + dents
