"""The only place where photos are decoded, turned upright, resized and drawn over.

Every photo becomes RGB uint8 0-255 here, whatever its format, mode or orientation.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from allmasked.errors import PhotoError
from allmasked.types import Size

pillow_heif.register_heif_opener()

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .heic .heif .hif .avif".split()
)
"""File name endings (lower case) taken for photos when a folder is searched."""

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "HEIF", "AVIF")
"""Pillow's names of the formats that are opened; anything else is refused."""

MAX_PIXELS = 200_000_000
"""Photos with more pixels than this are refused before decoding (decompression bombs)."""

Fit = Literal["letterbox", "squash"]
PAD = 127
"""Grey value (0-255) of the letterbox's bars."""


def decode(source: str | Path | bytes, *, name: str = "", fit_within: Size | None = None) -> Image.Image:
    """Decode a photo to an upright 8-bit RGB image.

    Args:
        source: a path, or the file's bytes.
        name: what errors call the photo; the path when empty.
        fit_within: (width, height) px that the caller will shrink to; JPEGs are then decoded at the smallest of
            1/1, 1/2, 1/4, 1/8 scale that is still at least twice that size.

    Raises:
        PhotoError: missing, empty, truncated, not a photo, or larger than :data:`MAX_PIXELS`.
    """
    name = name or (str(source) if not isinstance(source, bytes) else "photo")
    try:
        if isinstance(source, bytes):
            if not source:
                raise PhotoError(name, "the file is empty (0 bytes)")
            stream: io.BytesIO | Path = io.BytesIO(source)
        else:
            stream = Path(source)
            if stream.is_dir():
                raise PhotoError(name, "is a folder, not a photo")
            if stream.stat().st_size == 0:
                raise PhotoError(name, "the file is empty (0 bytes)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise PhotoError(name, f"{width} x {height} px is over the limit of {MAX_PIXELS:,} pixels")
                if fit_within is not None and image.format in ("JPEG", "MPO"):
                    longest = max(fit_within)  # orientation may swap the sides
                    image.draft("RGB", (2 * longest, 2 * longest))
                image.load()
                return upright_rgb(image)
    except PhotoError:
        raise
    except FileNotFoundError:
        raise PhotoError(name, "no such file") from None
    except PermissionError:
        raise PhotoError(name, "may not be read (permission denied)") from None
    except UnidentifiedImageError:
        raise PhotoError(name, "is not a photo in a known format") from None
    except Image.DecompressionBombError:
        raise PhotoError(name, f"is over the limit of {MAX_PIXELS:,} pixels") from None
    except MemoryError:
        raise PhotoError(name, "does not fit into memory") from None
    except Exception as error:  # decoders raise many kinds (OSError, ValueError, struct.error, SyntaxError, ...)
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PhotoError(name, f"cannot be decoded, is it damaged? ({detail})") from None


def upright_rgb(image: Image.Image) -> Image.Image:
    """An opened image as upright 8-bit RGB: EXIF turned, 16-bit scaled, palette and CMYK converted, alpha on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        image = Image.fromarray((values * (255.0 / top)).clip(0, 255).astype(np.uint8), "L")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        white.alpha_composite(image)
        image = white
    return image if image.mode == "RGB" else image.convert("RGB")


@dataclass(frozen=True)
class Placement:
    """Where a photo of ``width`` x ``height`` px lies in a model's input: x' = x * scale_x + left, likewise y."""

    scale_x: float
    scale_y: float
    left: float
    top: float

    def box(self, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        """A box in px of the photo, in px of the input."""
        return (
            left * self.scale_x + self.left,
            top * self.scale_y + self.top,
            right * self.scale_x + self.left,
            bottom * self.scale_y + self.top,
        )


def placement(photo: Size, size: Size, fit: Fit) -> Placement:
    """Where a photo of ``photo`` px lands in an input of ``size`` px (both width, height)."""
    width, height = photo
    if fit == "squash":
        return Placement(size[0] / width, size[1] / height, 0, 0)
    new_width, new_height = _letterboxed(photo, size)
    return Placement(
        new_width / width, new_height / height, (size[0] - new_width) // 2, (size[1] - new_height) // 2
    )


def _letterboxed(photo: Size, size: Size) -> Size:
    scale = min(size[0] / photo[0], size[1] / photo[1])
    return max(1, round(photo[0] * scale)), max(1, round(photo[1] * scale))


def fit_to(image: Image.Image, size: Size, fit: Fit) -> NDArray[np.uint8]:
    """Resize an RGB image to a model's input: (height, width, 3) uint8.

    ``letterbox`` keeps the aspect and fills the rest with grey (:data:`PAD`); ``squash`` stretches. Resampling is
    bilinear with antialiasing, so that shrinking loses no thin detail to aliasing.
    """
    if fit == "squash":
        return np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)
    new = _letterboxed(image.size, size)
    canvas = np.full((size[1], size[0], 3), PAD, np.uint8)
    top, left = (size[1] - new[1]) // 2, (size[0] - new[0]) // 2
    canvas[top : top + new[1], left : left + new[0]] = np.asarray(image.resize(new, Image.Resampling.BILINEAR))
    return canvas


def read(source: str | Path | bytes, size: Size, fit: Fit, *, name: str = "") -> NDArray[np.uint8]:
    """Decode and fit in one go: (height, width, 3) uint8 RGB. Raises :class:`PhotoError`."""
    return fit_to(decode(source, name=name, fit_within=size), size, fit)
