"""Copies of a photo are found whatever was done to them; other photos, and other pictures of a scene, are not."""

import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from allmasked.core.errors import PhotoError
from allmasked.data import duplicates
from allmasked.data.cache import default_folder
from allmasked.data.duplicates import Pair, describe, groups, near_duplicates

COUNT = 24


def scene(seed: int, size: tuple[int, int] = (360, 270), people: int | None = None) -> Image.Image:
    """A drawn photo: a textured background, blurred blocks, and a few people."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (7, 9, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    image = Image.blend(coarse, fine, 0.35)
    pen = ImageDraw.Draw(image)
    for _ in range(8):
        x, y = rng.integers(0, size[0] - 40), rng.integers(0, size[1] - 40)
        w, h = rng.integers(15, 90, 2)
        pen.rectangle((x, y, x + w, y + h), fill=tuple(rng.integers(0, 255, 3).tolist()))
    moved = np.random.default_rng(seed if people is None else people)
    for _ in range(4):
        x, y = moved.integers(0, size[0] - 60), moved.integers(0, size[1] - 90)
        skin = tuple(moved.integers(60, 240, 3).tolist())
        pen.rectangle((x - 10, y + 60, x + 60, y + 200), fill=tuple(moved.integers(0, 255, 3).tolist()))
        pen.ellipse((x, y, x + 50, y + 65), fill=skin)
        pen.rectangle((x + 5, y + 35, x + 45, y + 58), fill=(200, 220, 250))
    return image.filter(ImageFilter.GaussianBlur(0.8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    w, h = image.size
    return image.crop((round(left * w), round(top * h), round(w - right * w), round(h - bottom * h)))


def tinted(image: Image.Image) -> Image.Image:
    values = np.asarray(image, np.float32) * [1.08, 0.98, 0.88] + [5, 0, 10]
    return ImageEnhance.Brightness(Image.fromarray(values.clip(0, 255).astype(np.uint8))).enhance(0.8)


CHANGES = {
    "quality 30": (lambda image: jpeg(image, 30), "copy"),
    "a third of the size": (lambda image: jpeg(image.resize((120, 90)), 80), "copy"),
    "stretched": (lambda image: image.resize((360, 200)), "copy"),
    "grey": (lambda image: image.convert("L").convert("RGB"), "copy"),
    "tinted": (lambda image: jpeg(tinted(image), 80), "copy"),
    "one side off": (lambda image: crop(image, 0.15, 0, 0, 0), "crop"),
    "all sides off": (lambda image: jpeg(crop(image, 0.1, 0.08, 0.06, 0.12), 80), "crop"),
    "half": (lambda image: crop(image, 0, 0.16, 0.32, 0.16), "crop"),
    "cropped, small, tinted": (
        lambda image: jpeg(tinted(crop(image, 0.1, 0, 0.05, 0.1)).resize((150, 110)), 50),
        "crop",
    ),
    "mirrored": (lambda image: jpeg(ImageOps.mirror(image), 80), "mirrored"),
    "mirrored and cropped": (lambda image: jpeg(crop(ImageOps.mirror(image), 0.12, 0, 0, 0.1), 80), "mirrored"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    for seed in range(COUNT):
        scene(seed).save(folder / f"{seed:02d}.png")
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_nothing_else(change, folder, tmp_path):
    make, kind = CHANGES[change]
    paths = sorted(folder.glob("*.png"))
    for number in range(8):
        make(Image.open(paths[number])).save(tmp_path / f"{number}.png")
    paths += [tmp_path / f"{number}.png" for number in range(8)]
    pairs = near_duplicates(describe(paths))
    assert {(p.a, p.b) for p in pairs} == {(number, COUNT + number) for number in range(8)}
    assert {p.kind for p in pairs} <= {kind, "crop" if kind == "copy" else kind}
    assert all(0.85 < p.score <= 1 for p in pairs)


def test_the_next_picture_of_a_still_camera_is_a_scene_not_a_copy(folder, tmp_path):
    paths = sorted(folder.glob("*.png"))
    next_one = scene(0)
    ImageDraw.Draw(next_one).ellipse((150, 90, 215, 170), fill=(220, 180, 150))
    jpeg(next_one, 90).save(tmp_path / "next.png")
    pairs = near_duplicates(describe([*paths, tmp_path / "next.png"]))
    assert [(p.a, p.b, p.kind) for p in pairs] == [(0, COUNT, "scene")]


def test_exact_copies_share_their_pairs(folder, tmp_path):
    first = folder / "00.png"
    (tmp_path / "same.png").write_bytes(first.read_bytes())
    jpeg(Image.open(first), 60).save(tmp_path / "near.jpg")
    pairs = near_duplicates(describe([first, tmp_path / "same.png", tmp_path / "near.jpg", folder / "01.png"]))
    assert [(p.a, p.b, p.kind) for p in pairs] == [(0, 1, "exact"), (0, 2, "copy"), (1, 2, "copy")]
    assert groups(4, pairs) == [0, 0, 0, 1] and groups(4, pairs, ["exact"]) == [0, 0, 1, 2]


def test_many_exact_copies_stay_one_group_with_few_pairs(folder, tmp_path):
    paths = []
    for number in range(30):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes((folder / "00.png").read_bytes())
    pairs = near_duplicates(describe(paths))
    assert len(pairs) == 29 and set(groups(30, pairs)) == {0}


def test_flat_photos_are_no_copies_of_each_other(tmp_path):
    for number in range(4):
        Image.new("RGB", (60 + number, 50), (40 * number, 90, 120)).save(tmp_path / f"{number}.png")
    assert near_duplicates(describe(sorted(tmp_path.glob("*.png")))) == []


def test_few_photos(folder):
    assert near_duplicates([]) == [] and groups(0, []) == []
    assert near_duplicates(describe([folder / "00.png"])) == []


def test_describe_names_what_it_cannot_read(folder, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a photo")
    (tmp_path / "empty.jpg").touch()
    found = describe([tmp_path / "broken.jpg", folder / "00.png", tmp_path / "empty.jpg", tmp_path / "gone.jpg"])
    assert [isinstance(one, PhotoError) for one in found] == [True, False, True, True]
    assert "known format" in found[0].reason and "empty" in found[2].reason and "no such file" in found[3].reason
    assert (found[1].width, found[1].height, found[1].thumbnail.shape) == (360, 270, (128, 128))


def test_descriptors_are_of_the_upright_photo(tmp_path):
    image = scene(3)
    exif = image.getexif()
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image.save(tmp_path / "plain.jpg", quality=95)
    turned, plain = describe([tmp_path / "turned.jpg", tmp_path / "plain.jpg"])
    assert (turned.width, turned.height) == (360, 270)
    assert [p.kind for p in near_duplicates([turned, plain])] == ["copy"]


def test_the_same_photos_give_the_same_pairs(folder, tmp_path):
    for number in range(6):
        jpeg(Image.open(folder / f"{number:02d}.png"), 50).save(tmp_path / f"{number}.jpg")
    found = describe([*sorted(folder.glob("*.png")), *sorted(tmp_path.glob("*.jpg"))])
    assert near_duplicates(found) == near_duplicates(found)


def test_pairs_are_remembered_by_content(folder, monkeypatch):
    found = describe([folder / "00.png", folder / "01.png", folder / "00.png"])
    first = near_duplicates(found, remember=True)
    monkeypatch.setattr(duplicates, "_search", lambda _: pytest.fail("searched again"))
    assert near_duplicates(found, remember=True) == first and isinstance(first[0], Pair)
    kept = next(duplicates.default_folder().glob("duplicates/*.json"))
    kept.write_text("{broken")
    with pytest.raises(pytest.fail.Exception):
        near_duplicates(found, remember=True)


def test_a_cache_that_cannot_be_written_is_no_failure(folder, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALLMASKED_CACHE", os.fspath(tmp_path / "file"))
    assert near_duplicates(describe([folder / "00.png"]), remember=True) == []


@settings(max_examples=60)
@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=30))
    )
)
def test_groups_are_connected_components(case):
    count, edges = case
    number = groups(count, [Pair(min(e), max(e), 1.0, "copy") for e in edges])
    reached = {node: {node} for node in range(count)}
    for _ in range(count):
        for a, b in edges:
            joined = reached[a] | reached[b]
            for node in joined:
                reached[node] = joined
    assert all((number[a] == number[b]) == (b in reached[a]) for a in range(count) for b in range(count))
    assert list(dict.fromkeys(number)) == list(range(len(set(number))))


def test_frequencies_of_a_window_are_those_of_the_crop():
    image = scene(5).convert("L").resize((128, 128))
    left, right = duplicates._INTERVALS[1]
    part = image.crop((round(left * 128), 0, round(right * 128), 128)).resize((128, 128), Image.Resampling.BICUBIC)
    windows = duplicates.frequencies(np.asarray(image)[None])
    whole = duplicates.frequencies(np.asarray(part)[None], [0])
    assert windows.shape == (1, len(duplicates.WINDOWS), 63) and whole.shape == (1, 1, 63)
    assert float(windows[0, duplicates.WINDOWS.index((1, 0))] @ whole[0, 0]) > 0.999
    np.testing.assert_allclose(np.linalg.norm(windows, axis=2), 1, atol=1e-5)


def test_mirrored_frequencies():
    image = np.asarray(scene(6).convert("L").resize((128, 128)))
    there, back = (duplicates.frequencies(np.ascontiguousarray(x)[None], [0])[0, 0] for x in (image, image[:, ::-1]))
    np.testing.assert_allclose(there * duplicates._MIRROR, back, atol=1e-4)


def test_a_window_is_moved_to_where_it_fits_and_nothing_else_fits():
    images = [scene(seed).convert("L") for seed in range(12)]

    def small(image):
        return np.asarray(image.resize((128, 128), Image.Resampling.BICUBIC))

    whole = np.stack([small(image) for image in images])
    parts = np.stack([small(crop(image, 0.05, 0.11, 0.1, 0.02)) for image in images])
    boxes, plain = np.tile(duplicates._BOXES[0], (12, 1)), np.zeros(12, np.int64)
    span, triangle = duplicates.spans(parts)
    assert duplicates.likeness(whole, boxes, plain, span, triangle).min() > 0.95
    assert duplicates.likeness(whole, boxes, plain, np.roll(span, 1, 0), np.roll(triangle, 1, 0)).max() < 0.75
    turned = np.ascontiguousarray(whole[:, :, ::-1])
    assert duplicates.likeness(turned, boxes, plain + 1, span, triangle).min() > 0.95


def test_thumbnails_in_a_temporary_file_give_the_same(folder, monkeypatch):
    paths = sorted(folder.glob("*.png"))
    plain = near_duplicates(describe(paths))
    monkeypatch.setattr(duplicates, "IN_MEMORY_BYTES", 0)
    found = describe(paths)
    assert isinstance(found[0].thumbnail, np.memmap) and near_duplicates(found) == plain
    assert not [path for path in default_folder().iterdir() if path.is_file()]


def test_photos_that_resemble_each_other_by_chance_are_no_candidates(monkeypatch):
    """The more photos, the more of them do: registering them all made the search nearly quadratic."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(
        rng.standard_normal((600, 128, 65)) * np.exp(6.3j * rng.random((600, 128, 65))) / frequency**2
    )
    thumbnails = (noise / noise.std(axis=(1, 2), keepdims=True) * 50 + 128).clip(0, 255).astype(np.uint8)
    whole = duplicates.frequencies(thumbnails, [0])[:, 0]
    assert ((whole @ whole.T > duplicates.MIN_COSINE).sum(axis=1) > 1).mean() > 0.2
    found = len(duplicates.candidates(list(thumbnails)))
    monkeypatch.setattr(duplicates, "MIN_LIKENESS", -1.0)
    everyone = len(duplicates.candidates(list(thumbnails)))
    assert found < len(thumbnails) and found < everyone / 3, (found, everyone)
