"""Drawing on photos: heat maps laid over them, and tiles in rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from allmasked.core.types import InputSpec, Size
from allmasked.images.pixels import placement

_INFERNO = bytes.fromhex(
    "000004 02020e 08051d 110930 1b0c41 270b52 340a5f 410a68 4d0d6c 59106e 65156e 71196e "
    "7d1e6d 88226a 932667 9f2a63 ab2f5e b63458 c03a51 cb4149 d44842 dc5039 e45a31 eb6628 "
    "f1731d f67e14 fa8d0b fc9b06 fcac11 fbbc21 f8cd37 f3df54 fcffa4 "
)


def heat_colours(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours (..., 3) uint8 RGB for values 0..1: "inferno", a perceptually uniform map (Smith & van der Walt 2015)."""
    stops = np.frombuffer(_INFERNO, np.uint8).reshape(-1, 3).astype(np.float32)
    position = np.clip(values, 0, 1) * (len(stops) - 1)
    low = np.minimum(position.astype(int), len(stops) - 2)
    share = (position - low)[..., None]
    return (stops[low] * (1 - share) + stops[low + 1] * share + 0.5).astype(np.uint8)


def enlarge(
    heat: NDArray[np.floating], size: Size, box: tuple[float, float, float, float] | None = None
) -> NDArray[np.float32]:
    """A heat map (h, w) 0..1 resampled (bicubic) to (height, width) for ``size`` = (width, height) px, kept in 0..1.

    ``box`` (left, top, right, bottom, in cells of ``heat``) takes that part only.
    """
    image = Image.fromarray(np.asarray(heat, np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box)).clip(0, 1)


def on_photo(heat: NDArray[np.floating], photo: Size, spec: InputSpec) -> NDArray[np.float32]:
    """The part of a heat map that lies on the photo (the letterbox's bars cut off), at the input's resolution.

    Args:
        heat: (h, w) 0..1 over a network's input.
        photo: the photo's width and height, in any unit (only the aspect counts).
        spec: that input.
    """
    (rows, columns), size = heat.shape, spec.size
    left, top, right, bottom = placement(photo, spec).box(0, 0, *photo)
    cells = (left * columns / size[0], top * rows / size[1], right * columns / size[0], bottom * rows / size[1])
    return enlarge(heat, (max(1, round(right - left)), max(1, round(bottom - top))), cells)


def overlay(image: Image.Image, heat: NDArray[np.floating], alpha: float = 0.7) -> Image.Image:
    """Lay a heat map over a photo: RGB of the photo's size.

    Args:
        image: the photo, RGB.
        heat: (h, w) 0..1, covering the whole photo; enlarged to it (bicubic).
        alpha: opacity 0..1 where ``heat`` is 1; it falls to 0 with the heat. The photo loses as much of its colours
            everywhere, so that the heat's stand out.
    """
    heat = enlarge(heat, image.size) ** 0.6  # faint evidence can be seen, too
    opacity = (alpha * heat)[..., None]
    photo = np.asarray(image, np.float32)
    photo = photo * (1 - alpha) + photo.mean(-1, keepdims=True) * alpha
    mixed = photo * (1 - opacity) + heat_colours(heat) * opacity
    return Image.fromarray((mixed + 0.5).astype(np.uint8))


def grid(
    tiles: Sequence[Image.Image],
    captions: Sequence[str],
    *,
    colours: Sequence[str] | None = None,
    columns: int | None = None,
    caption_px: int = 14,
) -> Image.Image:
    """Tiles in rows on white, each under its caption (of one line or several), as one RGB image.

    Args:
        tiles: RGB images, any sizes; a cell is as large as the largest, tiles are centred.
        captions: one for each tile.
        colours: the captions' colours (any Pillow colour name), black by default.
        columns: tiles in a row; by default as many as make the picture about as wide as high.
        caption_px: letter height in px.
    """
    if not tiles or len(tiles) != len(captions):
        raise ValueError(f"a grid needs as many captions as tiles and at least one, not {len(captions)}, {len(tiles)}")
    gap = 8
    font = ImageFont.load_default(caption_px)
    line_px = round(caption_px * 1.35)
    head = line_px * max(caption.count("\n") + 1 for caption in captions)
    wide = max(tile.width for tile in tiles)
    high = max(tile.height for tile in tiles)
    columns = columns or max(1, min(len(tiles), round(math.sqrt(len(tiles) * (high + head + gap) / (wide + gap)))))
    rows = math.ceil(len(tiles) / columns)
    canvas = Image.new("RGB", (columns * (wide + gap) + gap, rows * (high + head + gap) + gap), "white")
    draw = ImageDraw.Draw(canvas)
    for number, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        left = gap + number % columns * (wide + gap)
        top = gap + number // columns * (high + head + gap)
        for line, text in enumerate(caption.split("\n")):
            while text and draw.textlength(text, font) > wide:
                text = text[:-2] + "…" if len(text) > 2 else ""
            colour = colours[number] if colours else "black"
            draw.text((left + wide / 2, top + line * line_px), text, fill=colour, font=font, anchor="ma")
        canvas.paste(tile, (left + (wide - tile.width) // 2, top + head + (high - tile.height) // 2))
    return canvas
