"""The only place where photos are decoded, turned upright, resized and drawn over.

Every photo becomes RGB uint8 0-255 here, whatever its format, mode or orientation.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import itertools
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from allmasked.core.errors import PhotoError
from allmasked.core.types import InputSpec, Size

for _format in ("Avif", "Bmp", "Gif", "Jpeg", "Png", "WebP"):  # registered once, before any thread decodes
    importlib.import_module(f"PIL.{_format}ImagePlugin")
pillow_heif.register_heif_opener()


def _hush_libtiff() -> None:
    """Let libtiff, which Pillow brings, not write to the terminal: it doesn't know the photo's name, and Pillow
    gives an error where there is no picture. Where the library is not found (it may be part of Pillow), it goes on."""
    libraries = set()
    with contextlib.suppress(OSError), Path("/proc/self/maps").open(encoding="utf-8", errors="replace") as maps:
        libraries = {line.split(maxsplit=5)[-1].strip() for line in maps if "libtiff" in line}
    folder = Path(Image.__file__).parent
    libraries |= {str(path) for path in (folder / ".dylibs").glob("libtiff*")}
    for library in libraries:
        with contextlib.suppress(OSError, AttributeError):
            for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
                handler = getattr(ctypes.CDLL(library), name)
                handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
                handler(None)


_hush_libtiff()

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif"}
)
"""File name endings (lower case) taken for photos when a folder is searched."""

OTHER_SUFFIXES = frozenset(
    {".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".psd", ".tga", ".ppm", ".heics"}
    | {".jpg_large", ".jpg_orig", ".jpg!d"}
)
"""Endings of photos that are not read: where a folder is searched, they are told."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "HEIF", "AVIF")
"""Pillow's names of the formats that are opened (JPEG includes MPO); anything else is refused."""

_SYSTEM_FOLDERS = frozenset(
    {"__macosx", "@eadir", "#recycle", "@recycle", "#snapshot", "lost+found", "$recycle.bin"}
    | {"system volume information"}
)


def hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's where a folder is searched: hidden (``.thumbnails``), or made by
    an archiver, a file server or a system for itself."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


GIVE = "a path, bytes, an open binary file, an image of Pillow, or an array (height, width, 3) of uint8"
"""What errors say that a photo may be."""

MAX_PIXELS = 178_956_970
"""Photos with more pixels than this are refused before decoding (decompression bombs); Pillow's own limit."""

MAX_BYTES = 2_000_000_000
"""Files larger than this are not read; the largest photo of 16-bit colours and alpha has 1.4 GB."""

_EMPTY_PICTURES = 10
"""How many of an animation's first pictures are searched for one that isn't empty."""
_SLOW_PIXELS = 10_000_000
_LARGE_PIXELS = 40_000_000
_one_large_at_a_time = threading.Lock()  # keeps memory bounded where many threads decode

PhotoLike = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""A photo: its path, its file's bytes, an image of Pillow, or an array (height, width, 3) uint8 RGB 0-255."""
Given = TypeVar("Given")
Decoded = TypeVar("Decoded")
PAD = 127
"""Grey value (0-255) of the letterbox's bars."""


def decode(
    source: PhotoLike, *, name: str = "", fit_within: Size | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """:func:`decode_sized` without the size."""
    return decode_sized(source, name=name, fit_within=fit_within, max_pixels=max_pixels)[0]


def takes_long(data: bytes, fit_within: Size) -> bool:
    """Whether :func:`decode_sized` takes long for a photo's bytes (about 0.2 s and more): many pixels, none skipped."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _draft(opened, fit_within)
            return opened.width * opened.height > _SLOW_PIXELS
    except Exception:  # as in decode_sized, which says what is wrong
        return False


def _draft(opened: Image.Image, fit_within: Size | None) -> None:
    if fit_within is not None and opened.format in ("JPEG", "MPO"):
        longest = max(fit_within)  # orientation may swap the sides
        opened.draft("RGB", (2 * longest, 2 * longest))


def decode_sized(
    source: PhotoLike, *, name: str = "", fit_within: Size | None = None, max_pixels: int = MAX_PIXELS
) -> tuple[Image.Image, Size]:
    """Decode a photo to an upright 8-bit RGB image.

    Args:
        source: see :data:`PhotoLike`.
        name: what errors call the photo; the path when empty.
        fit_within: (width, height) px that the caller will shrink to; JPEGs are then decoded at the smallest of
            1/1, 1/2, 1/4, 1/8 scale that is still at least twice that size.
        max_pixels: photos with more are refused before decoding; :data:`MAX_PIXELS` holds, too.

    Returns:
        The image, and the upright photo's own width and height in px, which are larger where it was shrunk.

    Raises:
        PhotoError: missing, empty, truncated, not a photo, or larger than ``max_pixels``.
    """
    name = name or (str(source) if isinstance(source, str | Path) else "photo")
    try:
        if isinstance(source, Image.Image | np.ndarray):
            image = source if isinstance(source, Image.Image) else _from_array(source, name)
            _check_size(image, name, max_pixels)
            image.load()
            image = upright_rgb(image)
            return image, image.size
        if isinstance(source, bytes):
            size_bytes = len(source)
            stream = io.BytesIO(source)
        elif isinstance(source, str | Path):
            path = Path(source)
            if path.is_dir():
                raise PhotoError(name, "is a folder, not a photo")
            size_bytes = path.stat().st_size
            if size_bytes and not path.is_file():
                raise PhotoError(name, "is not a file")
            if size_bytes > MAX_BYTES:
                raise PhotoError(name, f"is over the limit of {MAX_BYTES / 1e9:g} GB")
            # at once: it may be replaced or cut off while it is decoded; a pipe, say, is not waited for
            stream = io.BytesIO(path.read_bytes() if size_bytes else b"")
        else:
            raise PhotoError(name, f"is no photo but {type(source).__name__}: give {GIVE}")
        if size_bytes == 0:
            raise PhotoError(name, "the file is empty (0 bytes)")
        with Image.open(stream, formats=FORMATS) as opened:
            stored = opened.size
            _check_size(opened, name, max_pixels)
            if opened.format in ("JPEG", "MPO") and opened.fp and _cut_off(opened.fp):
                raise PhotoError(name, "is cut off (it has no end marker); copy or save it again")
            _draft(opened, fit_within)
            large = opened.width * opened.height > _LARGE_PIXELS
            with _one_large_at_a_time if large else contextlib.nullcontext():
                _to_first_picture(opened)
                opened.load()
                looked_at = opened.format in ("JPEG", "MPO") and ("progressive" in opened.info or _ends_grey(opened))
                if looked_at and _ends_early(stream.getvalue()):
                    raise PhotoError(name, "is damaged (a part of its picture is missing); copy or save it again")
                return upright_rgb(opened), stored[::-1] if _turn(opened) >= 5 else stored
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
        if isinstance(error, OSError) and error.errno is not None:
            raise PhotoError(name, f"cannot be read ({os.strerror(error.errno).lower()})") from None
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PhotoError(name, f"cannot be decoded, is it damaged? ({detail})") from None


def _from_array(array: NDArray[np.uint8], name: str) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        found = f"({', '.join(map(str, array.shape))}) {array.dtype}"
        raise PhotoError(name, f"an array must be (height, width, 3) uint8 RGB 0-255, not {found}")
    return Image.fromarray(np.ascontiguousarray(array)) if array.size else Image.new("RGB", array.shape[1::-1])


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise PhotoError(name, f"{width} x {height} px is over the limit of {max_pixels:,} pixels")
    if width * height == 0:
        raise PhotoError(name, f"has no pixels ({width} x {height})")


def _to_first_picture(image: Image.Image) -> None:
    """Of an animation the first picture that is not of one colour: many begin with an empty one."""
    if image.format not in ("GIF", "WEBP", "PNG", "AVIF") or not getattr(image, "is_animated", False):
        return
    for number in range(_EMPTY_PICTURES):
        try:
            image.seek(number)
        except EOFError:
            break
        if len(image.convert("RGB").getcolors(2) or (0, 0)) > 1:
            return
    image.seek(0)


def _cut_off(stream: IO[bytes]) -> bool:
    """Whether a JPEG has no end marker after the start of its picture, as broken downloads; decoders take what is
    missing for grey. What follows the marker (zeros, a video) makes no difference."""
    position = stream.tell()
    try:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, end - 2))
        if stream.read(2) == b"\xff\xd9":
            return False
        stream.seek(2)
        while True:  # over the header's segments, one of which may hold a whole JPEG as thumbnail
            marker = stream.read(4)
            if len(marker) < 4 or marker[0] != 0xFF:
                return False  # no header: for the decoder to say
            if marker[1] == 0xDA:
                break
            stream.seek(int.from_bytes(marker[2:], "big") - 2, os.SEEK_CUR)
        start = stream.tell()
        while end > start:
            first = max(start, end - (1 << 20))
            stream.seek(first)
            if b"\xff\xd9" in stream.read(end - first):
                return False
            end = first + 1 if first > start else start  # a marker may lie across two blocks
        return True
    finally:
        stream.seek(position)


def _ends_grey(image: Image.Image) -> bool:
    """Whether the last pixel of a JPEG is of the grey that decoders give to what is missing."""
    last = image.getpixel((image.width - 1, image.height - 1))
    return last in (128, (128, 128, 128))


_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_FURTHER = bytes(range(1, 129))


def _ends_early(content: bytes) -> bool:
    """Whether a JPEG's picture ends before its end marker: a coefficient that no scan gives to the last bit, or a last
    scan that would read on. (Of a scan that only refines what is there, as most progressive JPEGs end with, the rest
    may be missing: it doesn't show.)"""
    at, end, refines = 2, 0, False
    low_bits: dict[tuple[int, int], int] = {}
    while not end:
        if not (found := _MARKER.search(content, at)):
            return True
        at, kind = found.end(), found[1][0]
        if kind == 0xD9:
            end = found.start()
        elif kind not in (0x01, 0xD8):
            part = content[at + 2 : at + int.from_bytes(content[at : at + 2], "big")]
            at += 2 + len(part)
            if kind in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):  # a frame: its components
                low_bits |= {(component, k): -1 for component in part[6::3] for k in range(64)}
            elif kind == 0xDA:  # a scan: its components, from which coefficient to which, the lowest bit before and now
                first, last, bits = part[-3:]
                low_bits |= {(component, k): bits & 15 for component in part[1:-3:2] for k in range(first, last + 1)}
                refines = bits > 15
    if any(low_bits.values()):
        return True
    pictures = []
    for further in (b"", _FURTHER) if not refines else ():
        with Image.open(io.BytesIO(content[:end] + further + b"\xff\xd9"), formats=("JPEG",)) as image:
            pictures.append(image.tobytes())
    return len(set(pictures)) > 1


def upright_rgb(image: Image.Image) -> Image.Image:
    """An opened image as upright 8-bit RGB: EXIF turned, 16-bit and float scaled, palette and CMYK converted, alpha on
    white. A damaged EXIF block is passed over.

    Grey values of 16-bit photos are 0-65535 (12-bit TIFF: 0-4095); of 32-bit integer and float photos the range is the
    smallest of 0-1 (float only), 0-255, 0-65535 and 0-maximum that holds them all.
    """
    with contextlib.suppress(Exception):
        if image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
            image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (0, 0):  # as in some programs' BMPs: it hides nothing
            image.putalpha(255)
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        white.alpha_composite(image)
        image = white
    return image if image.mode == "RGB" else image.convert("RGB")


def stored_size(source: str | Path | bytes) -> tuple[Size, int]:
    """Width and height in px as stored, and EXIF's orientation (1-8, 1: upright), from the header alone.

    Raises what Pillow raises. TIFF is turned by its decoder, so its size is upright.
    """
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
        return image.size, _turn(image)


def _turn(image: Image.Image) -> int:
    """EXIF's orientation of an opened photo (1-8, 1: upright); TIFF is turned by its decoder."""
    turn = 1
    with contextlib.suppress(Exception):  # a damaged EXIF block, as in upright_rgb
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    return turn if image.format != "TIFF" and turn in range(2, 9) else 1


def upright_size(source: str | Path | bytes) -> Size:
    """Width and height in px of the upright photo, from its header alone. Raises what Pillow raises."""
    (width, height), turn = stored_size(source)
    return (height, width) if turn >= 5 else (width, height)


def _eight_bit(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, neginf=0.0)
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(TiffImagePlugin.BITSPERSAMPLE, (16,))
        top = 4095.0 if tuple(bits) == (12,) else 65535.0
        if getattr(image, "tag_v2", {}).get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # 0 is white
            values = top - values
    else:
        largest = float(values.max(initial=0))
        ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        top = next((top for top in ranges if largest <= top), largest)
    return Image.fromarray((values * (255.0 / top) + 0.5).clip(0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Placement:
    """Where a photo of ``width`` x ``height`` px lies in a model's input: x' = x * scale_x + left, likewise y."""

    scale_x: float
    scale_y: float
    left: float
    top: float

    def box(self, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        """A box in px of the photo, in px of the input."""
        x, y, x_end, y_end = left * self.scale_x, top * self.scale_y, right * self.scale_x, bottom * self.scale_y
        return x + self.left, y + self.top, x_end + self.left, y_end + self.top


def placement(photo: Size, spec: InputSpec) -> Placement:
    """Where a photo of ``photo`` (width, height) px lands in a network's input."""
    (width, height), size = photo, spec.size
    if spec.resize_mode == "stretch":
        return Placement(size[0] / width, size[1] / height, 0, 0)
    new_width, new_height = _letterboxed(photo, size)
    return Placement(new_width / width, new_height / height, (size[0] - new_width) // 2, (size[1] - new_height) // 2)


def _letterboxed(photo: Size, size: Size) -> Size:
    return scaled(photo, min(size[0] / photo[0], size[1] / photo[1]))


def scaled(size: Size, scale: float) -> Size:
    """Width and height times ``scale``, in whole px, at least 1."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def to_input(image: Image.Image, spec: InputSpec) -> NDArray[np.uint8]:
    """Resize an RGB image to a model's input: (height, width, 3) uint8.

    ``letterbox`` keeps the aspect and fills the rest with grey (:data:`PAD`); ``stretch`` stretches. Resampling is
    bilinear with antialiasing, so that shrinking loses no thin detail to aliasing.
    """
    size = spec.size
    if spec.resize_mode == "stretch":
        return np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)
    new = _letterboxed(image.size, size)
    canvas = np.full((size[1], size[0], 3), PAD, np.uint8)
    top, left = (size[1] - new[1]) // 2, (size[0] - new[0]) // 2
    canvas[top : top + new[1], left : left + new[0]] = np.asarray(image.resize(new, Image.Resampling.BILINEAR))
    return canvas


def read(source: str | Path | bytes, spec: InputSpec, *, name: str = "") -> NDArray[np.uint8]:
    """Decode and resize in one go: (height, width, 3) uint8 RGB. Raises :class:`PhotoError`."""
    return to_input(decode(source, name=name, fit_within=spec.size), spec)


def decode_batches(
    photos: Iterable[tuple[str, Given]],
    read_one: Callable[[Given, str], Decoded],
    *,
    batch_size: int = 32,
    threads: int | None = None,
) -> Iterator[list[tuple[str, Decoded | PhotoError]]]:
    """Read any number of photos in threads, in input order and constant memory.

    Args:
        photos: (name, photo) pairs; consumed as needed, about two batches ahead.
        read_one: makes of (photo, name) what is wanted; it may raise PhotoError.
        batch_size: photos a batch; the last may be smaller.
        threads: one a processor by default.

    Yields:
        For each photo its name and what was made of it, or the error where it can't be read.
    """

    def attempt(name: str, path: Given) -> Decoded | PhotoError:
        try:
            return read_one(path, name)
        except PhotoError as error:
            return error

    threads = threads or os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        coming = iter(photos)
        waiting: deque[tuple[str, Future[Decoded | PhotoError]]] = deque()
        while True:
            for name, path in itertools.islice(coming, 2 * batch_size + threads - len(waiting)):
                waiting.append((name, pool.submit(attempt, name, path)))
            if not waiting:
                return
            batch = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
            yield [(name, future.result()) for name, future in batch]
    finally:
        pool.shutdown(cancel_futures=True)


def thumbnail(image: Image.Image, size: Size) -> Image.Image:
    """A copy that fits into ``size`` (width, height) px, aspect kept, never enlarged."""
    small = image.copy()
    small.thumbnail(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return small
