"""What can be measured of a single photo, and when a measure says that something is wrong with it.

The measures have the definitions of CleanVision's issue checks where it has them (brightness percentiles, entropy,
aspect). CleanVision itself is not used: one truncated file ends its run, it opens files by itself (no EXIF
orientation, no HEIC), and it calls a photo grey only by the file's colour mode. Its blur score and a plain variance of
the Laplacian depend on a photo's contrast; :attr:`Measures.sharpness` does not: of real photos blurred with a Gaussian
of 1 px at :data:`SCALE_PX`, it finds all where the plain variance finds 38 %, each with 1 % of the sharp ones.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from allmasked.core.errors import PhotoError, require
from allmasked.core.types import Label
from allmasked.images import pixels

SCALE_PX = 256
"""Photos are measured with their long side shrunk to this (never enlarged), about what a classifier sees."""


@dataclass(frozen=True)
class Measures:
    """One photo in figures. Brightness is 0-1 (sqrt(0.241 R² + 0.691 G² + 0.068 B²) / 255), at :data:`SCALE_PX`.

    Attributes:
        dark: the 95th percentile of brightness; low when nothing in the photo is bright.
        light: the 5th percentile of brightness; high when nothing in the photo is dark.
        entropy_bits: of the grey values, 0-8; low when there is little to see.
        sharpness: variance of the Laplacian over the mean squared gradient, so that contrast cancels out; about 3.4 in
            press photos, under 1 when blurred.
        colour: the 99th percentile of max(R, G, B) - min(R, G, B), 0-255; 0 in a grey photo.
    """

    path: str
    label: Label
    sha256: str
    format: str
    size_bytes: int
    width: int
    height: int
    dark: float
    light: float
    entropy_bits: float
    sharpness: float
    colour: float

    @property
    def long_side(self) -> int:
        return max(self.width, self.height)

    @property
    def short_side(self) -> int:
        return min(self.width, self.height)

    @property
    def aspect(self) -> float:
        return self.width / self.height


def measure(path: Path, label: Label, *, name: str = "") -> Measures:
    """Measure one photo file. Raises :class:`PhotoError` (missing, empty, truncated, not a photo)."""
    cv2 = require("cv2", "data")
    name = name or str(path)
    try:
        if path.exists() and not path.is_file():
            raise PhotoError(name, "is not a file")
        data = path.read_bytes()
    except FileNotFoundError:
        raise PhotoError(name, "no such file") from None
    except OSError as error:
        raise PhotoError(name, f"cannot be read ({error.strerror or error})") from None
    image = pixels.decode(data, name=name)
    size = pixels.scaled(image.size, min(1.0, SCALE_PX / max(image.size)))
    rgb = cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_AREA)
    brightness = np.sqrt(rgb.astype(np.float32) ** 2 @ np.array([0.241, 0.691, 0.068], np.float32)) / 255
    dark, light = np.quantile(brightness, [0.95, 0.05])
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    red, green, blue = cv2.split(rgb)
    chroma = cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue)
    shares = np.bincount(grey.ravel(), minlength=256) / grey.size
    shares = shares[shares > 0]
    return Measures(
        path=name, label=label, sha256=hashlib.sha256(data).hexdigest(), format=_format(data), size_bytes=len(data),
        width=image.width, height=image.height,
        dark=round(float(dark), 4), light=round(float(light), 4), sharpness=round(_sharpness(grey), 3),
        entropy_bits=round(float(-(shares * np.log2(shares)).sum()), 3),
        colour=round(float(np.quantile(chroma, 0.99)), 1),
    )  # fmt: skip


def _sharpness(grey: NDArray[np.uint8]) -> float:
    """Laplacian energy over gradient energy; the 4 keeps flat photos, which have neither, near 0."""
    cv2 = require("cv2", "data")
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)
    gradients = (cv2.Sobel(grey, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(grey, cv2.CV_32F, 0, 1) / 8)
    return float(laplacian.var() / (sum(g.var() for g in gradients) + 4))


def _format(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        return image.format or ""


@dataclass(frozen=True)
class Check:
    """One thing that can be wrong with a single photo: ``value`` of its measures, and when that is ``bad``."""

    title: str
    rule: str
    advice: str
    value: Callable[[Measures], float]
    bad: Callable[[float], bool]
    worst_first: Literal["low", "high"]


CHECKS: dict[str, Check] = {
    "tiny": Check(
        "Tiny", "short side under 128 px",
        "Faces in them are a few px high; leave them out, or train at a size that fits them.",
        lambda m: m.short_side, lambda v: v < 128, "low",
    ),
    "dark": Check(
        "Dark", "95 % of the pixels under 35 % brightness",
        "Look whether the faces can still be told; train with brightness changes.",
        lambda m: m.dark, lambda v: v < 0.35, "low",
    ),
    "overexposed": Check(
        "Overexposed", "95 % of the pixels over 60 % brightness",
        "Look whether the faces can still be told; train with brightness changes.",
        lambda m: m.light, lambda v: v > 0.6, "high",
    ),
    "blurred": Check(
        "Blurred", f"sharpness under 1 at {SCALE_PX} px, where press photos have 3.4",
        "A mask's edge is lost in them; leave out those where you cannot tell either.",
        lambda m: m.sharpness, lambda v: v < 1, "low",
    ),
    "low_information": Check(
        "Little to see", "grey values with under 3 of 8 bits of entropy",
        "Blank or nearly blank: look whether anybody is there.",
        lambda m: m.entropy_bits, lambda v: v < 3, "low",
    ),
    "grey": Check(
        "Grey", "no colour: channels differ by at most 8 of 255",
        "Harmless when every class has its share; train with some photos turned grey.",
        lambda m: m.colour, lambda v: v <= 8, "low",
    ),
    "odd_aspect": Check(
        "Odd shape", "one side more than 2.8 times the other",
        "Collages and banners: letterboxing leaves little of them; crop them.",
        lambda m: m.short_side / m.long_side, lambda v: v < 0.35, "low",
    ),
}  # fmt: skip
