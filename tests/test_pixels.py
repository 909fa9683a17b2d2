"""Whatever comes in, upright RGB 0-255 comes out, or one PhotoError."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from allmasked.core.errors import PhotoError
from allmasked.core.types import InputSpec
from allmasked.images import draw, pixels


def scene(width: int = 64, height: int = 48) -> Image.Image:
    """Left third red, right two thirds dark blue, a green top band: every turn and flip looks different."""
    values = np.zeros((height, width, 3), np.uint8)
    values[:, : width // 3] = (220, 30, 30)
    values[:, width // 3 :] = (20, 30, 120)
    values[: height // 4] = (40, 200, 60)
    return Image.fromarray(values)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def difference(image: Image.Image, other: Image.Image) -> float:
    assert image.size == other.size
    return float(np.abs(np.asarray(image, int) - np.asarray(other, int)).mean())


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {"quality": 95}),
    ("JPEG", {"quality": 95, "progressive": True}),
    ("PNG", {}),
    ("WEBP", {"quality": 95}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("GIF", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", {"compression": "jpeg"}),
    ("HEIF", {"quality": 90}),
    ("AVIF", {"quality": 90}),
]
kinds = pytest.mark.parametrize(("kind", "options"), KINDS, ids=[f"{k}-{'-'.join(map(str, o))}" for k, o in KINDS])


@kinds
def test_every_format(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "photo.bin"  # the content decides, not the name
    path.write_bytes(encoded(scene(), kind, **options))
    image = pixels.decode(path)
    assert image.mode == "RGB"
    assert difference(image, scene()) < 6
    assert pixels.read(path, InputSpec((32, 32))).shape == (
        32,
        32,
        3,
    )  # the file is closed by now


@kinds
def test_a_truncated_file_is_an_error_never_a_half_grey_photo(kind: str, options: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    whole = encoded(Image.fromarray(noise).resize((320, 240)), kind, **options)
    full = pixels.decode(whole)
    for end in np.linspace(0, len(whole) - 1, 40).astype(int):
        try:
            part = pixels.decode(whole[:end])
        except PhotoError:
            continue
        assert difference(part, full) == 0  # only bytes after the last pixel were missing


def test_a_jpeg_needs_its_end_marker_and_nothing_after_it_matters(tmp_path: Path) -> None:
    data = encoded(scene(640, 480), "JPEG", quality=92)
    thumbnail = Image.Exif()
    thumbnail[0x9286] = encoded(scene(), "JPEG")  # a whole JPEG in the header
    with_thumbnail = encoded(scene(640, 480), "JPEG", quality=92, exif=thumbnail)
    for tail in (
        b"\0" * 10,
        b"\0" * 4096,
        b"\0" * 2_100_000,
        b"text",
        b"text" + b"\0" * 100,
        b"\n",
        encoded(scene(), "PNG"),
    ):
        for whole in (data, with_thumbnail):
            assert pixels.decode(whole + tail).size == (640, 480)
            assert pixels.decode(whole + tail, fit_within=(64, 64)).size[0] < 640
    for cut in (data[:-2], data[:-1], with_thumbnail[:-2], data[: len(data) // 2], with_thumbnail[: -len(data) // 3]):
        for tail in (b"", b"\0" * 10, b"\0" * 4096, b"\0" * 2_100_000, b"text"):
            for how in ({}, {"fit_within": (64, 64)}):
                with pytest.raises(PhotoError, match="cut off"):
                    pixels.decode(cut + tail, **how)
    (tmp_path / "x.jpg").write_bytes(data[:-2])
    with pytest.raises(PhotoError, match="cut off"):
        pixels.decode(tmp_path / "x.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_size_in_the_header_is_that_of_the_decoded_photo(kind: str) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(scene(64, 48), kind, exif=exif)
        assert pixels.upright_size(data) == pixels.decode(data).size, orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    turn_back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what a camera stores for an upright scene()
    stored = scene()
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(turn_back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(pixels.decode(encoded(stored, kind, exif=exif.tobytes())), scene()) < 6


def test_orientation_and_reduced_decoding_go_together() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = scene(1600, 1200).transpose(Image.Transpose.ROTATE_90)
    image = pixels.decode(encoded(stored, "JPEG", exif=exif), fit_within=(100, 100))
    assert image.size == (400, 300)
    assert difference(image, scene(400, 300)) < 6


@pytest.mark.parametrize("exif", [b"garbage", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
@pytest.mark.filterwarnings("default:Corrupt EXIF")  # Pillow tells of it, and goes on
def test_damaged_exif_is_passed_over(exif: bytes) -> None:
    exif = b"Exif\0\0" + exif
    assert difference(pixels.decode(encoded(scene(), "JPEG", exif=exif, quality=95)), scene()) < 6


def test_grey_and_one_bit() -> None:
    grey = scene().convert("L")
    assert difference(pixels.decode(encoded(grey, "PNG")), grey.convert("RGB")) == 0
    assert difference(pixels.decode(encoded(grey, "JPEG", quality=95)), grey.convert("RGB")) < 3
    bits = scene().convert("1")
    for kind in ("PNG", "BMP", "TIFF", "GIF"):
        assert difference(pixels.decode(encoded(bits, kind)), bits.convert("RGB")) == 0


def test_palette_with_and_without_transparency() -> None:
    palette = scene().quantize(8)
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert difference(pixels.decode(encoded(palette, kind)), palette.convert("RGB")) == 0
    clear = palette.getpixel((63, 47))
    for kind in ("PNG", "GIF"):
        image = pixels.decode(encoded(palette, kind, transparency=clear))
        assert image.getpixel((63, 47)) == (255, 255, 255)
        assert image.getpixel((0, 47)) == palette.convert("RGB").getpixel((0, 47))
    several = pixels.decode(encoded(palette, "PNG", transparency=bytes(range(0, 256, 32))))  # alpha of each entry
    assert several.mode == "RGB"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_alpha_lies_on_white(kind: str) -> None:
    image = scene().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    image.paste((20, 30, 120, 255), (32, 0, 64, 48))
    found = np.asarray(pixels.decode(encoded(image, kind)), int)
    assert found[:, :28].min() > 245
    assert np.abs(found[:, 36:] - (20, 30, 120)).max() < 12


def test_grey_with_alpha_and_rgb_with_a_transparent_colour() -> None:
    grey = Image.new("LA", (8, 8), (0, 128))
    assert pixels.decode(encoded(grey, "PNG")).getpixel((4, 4)) == (127, 127, 127)
    image = pixels.decode(encoded(scene(), "PNG", transparency=(20, 30, 120)))
    assert image.getpixel((63, 47)) == (255, 255, 255)
    assert image.getpixel((0, 47)) == (220, 30, 30)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(kind: str) -> None:
    values = np.zeros((16, 16, 4), np.uint8)
    values[:, :8] = (255, 0, 0, 0)  # cyan left, black right
    values[:, 8:] = (0, 0, 0, 255)
    image = np.asarray(
        pixels.decode(encoded(Image.fromarray(values, "CMYK"), kind)), int
    )  # as JPEG: Adobe's, stored inverted
    assert np.abs(image[8, 2] - (0, 255, 255)).max() < 12
    assert image[8, 13].max() < 12


def png16(values: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG of values (h, w[, channels]) uint16."""
    height, width = values.shape[:2]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("brightest", [65535, 20000, 200])
def test_sixteen_bit_png(colour_type: int, channels: int, brightest: int) -> None:
    ramp = np.linspace(0, brightest, 64).astype(np.uint16)
    values = np.broadcast_to(ramp[None, :, None], (4, 64, channels)).copy()
    if colour_type in (4, 6):
        values[..., -1] = 65535
    image = np.asarray(pixels.decode(png16(values[..., 0] if channels == 1 else values, colour_type)), int)
    assert np.abs(image - (ramp / 257)[None, :, None]).max() <= 1


@pytest.mark.parametrize(
    ("dtype", "top"),
    [(np.uint16, 65535), (np.int32, 255), (np.int32, 65535)] + [(np.float32, top) for top in (1, 255, 65535)],
)
def test_tiff_of_many_bits(dtype: type, top: int) -> None:
    ramp: np.ndarray = np.broadcast_to(np.linspace(0, top, 32), (8, 32)).astype(dtype)
    image = np.asarray(pixels.decode(encoded(Image.fromarray(ramp), "TIFF")), int)
    assert np.abs(image - (ramp.astype(float) * 255 / top)[..., None]).max() <= 1


def test_float_tiff_with_nan_infinity_and_negative_values() -> None:
    values = np.array([[np.nan, -np.inf, -3.0, 0.0, 0.5, 1.0]], np.float32)
    found = np.asarray(pixels.decode(encoded(Image.fromarray(values), "TIFF")))[0, :, 0]
    assert found.tolist() == [0, 0, 0, 0, 128, 255]


def test_first_frame_of_an_animation() -> None:
    frames = [scene(), Image.new("RGB", (64, 48), "white"), Image.new("RGB", (64, 48), "black")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "HEIF", "MPO"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert difference(pixels.decode(data), scene()) < 8, kind


def bomb(kind: str) -> bytes:
    """A small file that claims 60,000 x 60,000 px (WebP: its largest, 16,383 x 16,383)."""
    side = 60_000
    if kind == "PNG":
        data = bytearray(encoded(scene(), "PNG"))
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif kind == "GIF screen":
        data = bytearray(encoded(scene().quantize(4), "GIF"))
        data[6:10] = struct.pack("<HH", side, side)
    elif kind == "GIF frame":
        data = bytearray(encoded(scene().quantize(4), "GIF"))
        start = data.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 64, 48))
        data[start + 5 : start + 9] = struct.pack("<HH", side, side)
    elif kind == "BMP":
        data = bytearray(encoded(scene(), "BMP"))
        data[18:26] = struct.pack("<ii", side, side)
    elif kind == "JPEG":
        data = bytearray(encoded(scene(), "JPEG"))
        start = data.index(b"\xff\xc0")
        data[start + 5 : start + 9] = struct.pack(">HH", side, side)
    elif kind == "TIFF":
        data = bytearray(encoded(scene(), "TIFF", compression="tiff_adobe_deflate"))
        for tag in (256, 257):
            start = next(
                i
                for i in range(len(data))
                if bytes(data[i : i + 8]) in [struct.pack("<HHI", tag, t, 1) for t in (3, 4)]
            )
            data[start + 2 : start + 12] = struct.pack("<HII", 4, 1, side)
    else:
        data = bytearray(encoded(scene(), "WEBP", lossless=True))
        start = data.index(b"VP8L") + 9
        data[start : start + 4] = struct.pack("<I", 16382 | 16382 << 14)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "GIF screen", "GIF frame", "BMP", "JPEG", "TIFF", "WEBP"])
def test_bombs_are_refused_before_decoding(kind: str) -> None:
    data = bomb(kind)
    assert len(data) < 20_000
    start = time.perf_counter()
    with pytest.raises(PhotoError, match="over the limit"):
        pixels.decode(data)
    assert time.perf_counter() - start < 0.5


def test_a_real_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(PhotoError, match="over the limit"):
        pixels.decode(path)


def test_what_is_not_a_photo(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not a photo")
    empty = tmp_path / "empty.png"
    empty.touch()
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    dangling = tmp_path / "dangling.jpg"
    dangling.symlink_to(tmp_path / "gone.jpg")
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    folder = tmp_path / "folder.jpg"
    folder.mkdir()
    svg = tmp_path / "drawing.svg"
    svg.write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    for path, reason in (
        (text, "not a photo"), (empty, "empty"), (loop, "cannot be read"), (dangling, "no such file"),
        (pipe, "empty"), (folder, "is a folder"), (svg, "not a photo"), (tmp_path / "missing.jpg", "no such file"),
        (tmp_path / ("x" * 300), "cannot be read"), (Path("a\0b.jpg"), "null"), (text / "below.jpg", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(PhotoError, match=reason) as caught:
            pixels.decode(path)
        assert caught.value.path == str(path)
        assert "\n" not in caught.value.reason
    with pytest.raises(PhotoError, match="empty"):
        pixels.decode(b"")
    with pytest.raises(PhotoError, match=r"^upload 7: "):
        pixels.decode(b"nonsense", name="upload 7")


def test_a_photo_without_pixels() -> None:
    data = bytearray(encoded(scene().quantize(4), "GIF"))
    data[6:10] = bytes(4)
    start = data.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 64, 48))
    data[start + 5 : start + 9] = bytes(4)
    with pytest.raises(PhotoError):
        pixels.decode(bytes(data))


@pytest.mark.parametrize(
    "name",
    [
        "Ünïcödé 😷.jpg",
        "two\nlines.jpg",
        " leading space.jpg",
        "quote\"'`$(x).jpg",
        "-dash.jpg",
        "[1].jpg",
        "\udcff\udcfe.jpg",
    ],
)
def test_odd_names(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(scene(), "JPEG", quality=95))
    assert difference(pixels.decode(path), scene()) < 6


def test_the_importing_programs_warning_filters_stay() -> None:
    code = (
        "import warnings, numpy, PIL.Image, pillow_heif; warnings.simplefilter('error'); "
        "before = list(warnings.filters); import allmasked.images.pixels, allmasked.predictors.predictor; "
        "assert list(warnings.filters) == before, warnings.filters"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_threads_see_the_same_pixels() -> None:
    data = [encoded(scene(200 + i, 150), kind) for i, (kind, _) in enumerate(KINDS * 3)]
    alone = [np.asarray(pixels.decode(item)) for item in data]
    with ThreadPoolExecutor(8) as pool:
        together = [np.asarray(image) for image in pool.map(pixels.decode, data)]
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(range(len(KINDS))), st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_damaged_bytes_give_a_photo_or_a_photo_error(number: int, where: int, junk: bytes) -> None:
    kind, options = KINDS[number]
    data = bytearray(encoded(scene(), kind, **options))
    where %= len(data)
    data[where : where + len(junk)] = junk
    try:
        image = pixels.decode(bytes(data))
    except PhotoError as error:
        assert "\n" not in str(error)
    else:
        assert image.mode == "RGB"
        np.asarray(image.resize((8, 8)))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_photo_error(data: bytes) -> None:
    with pytest.raises(PhotoError):
        pixels.decode(data)


sides = st.integers(1, 400)


@settings(deadline=None)
@given(sides, sides, sides, sides)
def test_letterbox_keeps_the_aspect_and_the_whole_photo(width: int, height: int, to_width: int, to_height: int) -> None:
    size = (to_width, to_height)
    array = pixels.to_input(Image.new("RGB", (width, height), (255, 0, 0)), InputSpec(size))
    assert array.shape == (to_height, to_width, 3)
    assert array.dtype == np.uint8
    place = pixels.placement((width, height), InputSpec(size))
    left, top, right, bottom = (round(edge) for edge in place.box(0, 0, width, height))
    assert 0 <= left < right <= to_width
    assert 0 <= top < bottom <= to_height
    assert right - left == to_width or bottom - top == to_height
    inside = np.zeros((to_height, to_width), bool)
    inside[top:bottom, left:right] = True
    assert (array[inside] == (255, 0, 0)).all()
    assert (array[~inside] == pixels.PAD).all()
    if right - left > 1 and bottom - top > 1:
        assert abs((right - left) - (bottom - top) * width / height) <= 1 + width / height


@settings(deadline=None)
@given(sides, sides, sides, sides)
def test_squash_fills_the_frame(width: int, height: int, to_width: int, to_height: int) -> None:
    array = pixels.to_input(Image.new("RGB", (width, height), (9, 8, 7)), InputSpec((to_width, to_height), "stretch"))
    assert array.shape == (to_height, to_width, 3)
    assert (array == (9, 8, 7)).all()
    box = pixels.placement((width, height), InputSpec((to_width, to_height), "stretch")).box(0, 0, width, height)
    assert box == pytest.approx((0, 0, to_width, to_height))


def test_placement_finds_a_thing_again() -> None:
    photo = Image.new("RGB", (612, 408))
    photo.paste((255, 255, 255), (300, 200, 340, 260))
    for fit in ("letterbox", "stretch"):
        array = pixels.to_input(photo, InputSpec((416, 320), fit))
        rows, columns = np.nonzero(array.min(-1) > 200)
        box = pixels.placement(photo.size, InputSpec((416, 320), fit)).box(300, 200, 340, 260)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == pytest.approx(box, abs=1.5)


def test_reduced_decoding_is_close_to_full_decoding() -> None:
    data = encoded(scene(2000, 1500), "JPEG", quality=95)
    assert pixels.decode(data, fit_within=(256, 256)).size == (1000, 750)
    fast = pixels.read(data, InputSpec((256, 256))).astype(int)
    full = pixels.to_input(pixels.decode(data), InputSpec((256, 256))).astype(int)
    assert np.abs(fast - full).mean() < 1


def test_overlay_colours_the_hot_spot_and_leaves_the_rest() -> None:
    heat = np.zeros((6, 8), np.float32)
    heat[1, 6] = 1
    image = draw.overlay(scene(320, 240), heat)
    assert image.size == (320, 240)
    cold = draw.overlay(scene(320, 240), np.zeros_like(heat))
    changed = np.abs(np.asarray(image, int) - np.asarray(cold, int)).sum(-1)
    assert np.hypot(*np.subtract(np.unravel_index(changed.argmax(), changed.shape), (60, 260))) < 50
    assert changed[140:, :160].max() == 0
    colours, paler = (np.ptp(np.asarray(picture, int), axis=-1).mean() for picture in (scene(320, 240), cold))
    assert 0 < paler < 0.5 * colours
    assert difference(draw.overlay(scene(), heat, alpha=0), scene()) == 0


def test_heat_colours_rise_in_lightness() -> None:
    colours = draw.heat_colours(np.linspace(0, 1, 256, dtype=np.float32)).astype(float)
    assert colours.shape == (256, 3)
    luma = colours @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luma) > -0.8).all()
    assert luma[0] < 2
    assert luma[-1] > 240
    assert (draw.heat_colours(np.array([-1.0, 2.0])) == draw.heat_colours(np.array([0.0, 1.0]))).all()


def test_grid_and_thumbnail() -> None:
    tiles = [scene(40 + 10 * i, 60) for i in range(5)]
    captions = ["all 0.99", "none\ntrue: some", "a caption far too long for its tile", "", "x"]
    image = draw.grid(tiles, captions, columns=3)
    assert image.size == (3 * 88 + 8, 2 * (60 + 38 + 8) + 8)
    assert (np.asarray(image) != 255).any()
    with pytest.raises(ValueError, match="captions"):
        draw.grid(tiles, ["one"])
    assert pixels.thumbnail(scene(400, 300), (100, 100)).size == (100, 75)
    assert pixels.thumbnail(scene(40, 30), (100, 100)).size == (40, 30)
