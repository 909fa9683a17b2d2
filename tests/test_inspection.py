"""Inspection: each flaw is found where it was put, and nowhere else."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from allmasked.cli import cli
from allmasked.core.errors import DataError, PhotoError
from allmasked.core.types import CLASSES, Face, Photo
from allmasked.inspection.inspect import Inspection, Quantiles, inspect, people
from allmasked.inspection.measures import CHECKS, Measures, measure
from allmasked.inspection.shortcuts import size_leak
from allmasked.reports.inspection_page import make_page


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Pairs found are remembered there, and not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A photo-like picture of its own: coloured blobs with hard edges and a little noise."""
    random = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    canvas = np.full((height, width, 3), random.integers(60, 200, 3), np.float32)
    for _ in range(40):
        centre_x, centre_y = random.uniform(0, width), random.uniform(0, height)
        radius_x, radius_y = random.uniform(0.04, 0.16, 2) * max(size)
        inside = ((x - centre_x) / radius_x) ** 2 + ((y - centre_y) / radius_y) ** 2 < 1
        canvas[inside] = random.integers(0, 256, 3)
    return Image.fromarray((canvas + random.normal(0, 3, canvas.shape)).clip(0, 255).astype(np.uint8))


def save(image: Image.Image, path: Path, quality: int = 92) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=quality)
    return path


# --- single photos ---------------------------------------------------------------------------------------------------


def spoilt(name: str) -> Image.Image:
    good = scene(1)
    return {
        "tiny": scene(1, (100, 80)),
        "dark": ImageEnhance.Brightness(good).enhance(0.2),
        "overexposed": Image.blend(good, Image.new("RGB", good.size, "white"), 0.75),
        "blurred": good.filter(ImageFilter.GaussianBlur(3)),
        "low_information": Image.new("RGB", good.size, (90, 120, 80)),
        "grey": good.convert("L"),
        "odd_aspect": scene(1, (640, 150)),
        "good": good,
    }[name]


@pytest.mark.parametrize("name", [*CHECKS, "good"])
def test_each_flaw_is_found_and_no_other(name: str, tmp_path: Path) -> None:
    found = measure(save(spoilt(name), tmp_path / "photo.jpg"), "all")
    flaws = {check for check, row in CHECKS.items() if row.bad(row.value(found))}
    expected = set() if name == "good" else {name}
    if name == "low_information":
        expected |= {"blurred"}  # nothing to see is not sharp either
    assert flaws == expected


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), contrast=st.floats(0.5, 1))
def test_sharpness_does_not_depend_on_contrast_but_on_blur(
    seed: int, contrast: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sharpness")
    sharp = scene(seed)

    def sharpness(image: Image.Image) -> float:
        return measure(save(image, folder / "photo.png"), "all").sharpness

    faded = sharpness(ImageEnhance.Contrast(sharp).enhance(contrast))
    blurred = sharpness(sharp.filter(ImageFilter.GaussianBlur(2.5)))
    assert faded == pytest.approx(sharpness(sharp), rel=0.25)  # its variance falls to a quarter
    assert blurred < 0.5 * faded


def damage(kind: str, path: Path) -> Path:
    buffer = io.BytesIO()
    scene(3).save(buffer, "JPEG")
    content = {"empty": b"", "truncated": buffer.getvalue()[:2000], "text": b"not a photo at all\n" * 50}.get(kind)
    if content is not None:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("missing", "no such file"), ("empty", "empty"), ("truncated", "cut off"), ("text", "not a photo")],
)
def test_a_broken_file_is_named_with_its_reason(kind: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=reason) as caught:
        measure(damage(kind, tmp_path / "x.jpg"), "all", name="all/x.jpg")
    assert caught.value.path == "all/x.jpg"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_quantiles_rise_and_lie_within(values: list[float]) -> None:
    found = Quantiles.of(values)
    assert found.count == len(values)
    assert list(found.values) == sorted(found.values)
    assert min(values) - 1e-3 <= found.values[0]
    assert found.values[4] <= max(values) + 1e-3


# --- label against size ----------------------------------------------------------------------------------------------


def sized(rows: list[tuple[str, int, int]]) -> list[Photo]:
    return [Photo(f"{k}.jpg", label, width=w, height=h) for k, (label, w, h) in enumerate(rows)]  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_sizes_that_know_nothing_of_the_class_are_not_accused(seed: int) -> None:
    random = np.random.default_rng(seed)
    shapes = [(800, 533), (400, 267), (275, 183), (640, 640), (300, 400)]
    rows = [(CLASSES[k % 3], *shapes[int(random.integers(5))]) for k in range(300)]
    leak = size_leak(sized(rows))
    assert leak is not None
    assert not leak.given_away
    assert leak.clues == ()
    assert abs(leak.balanced_accuracy - leak.chance) < 0.1


def test_a_class_of_small_photos_is_named_with_its_rule() -> None:
    random = np.random.default_rng(0)
    rows: list[tuple[str, int, int]] = []
    for k in range(300):
        label = CLASSES[k % 3]
        small = random.random() < (0.9 if label == "none" else 0.3)
        width = int(random.integers(200, 320) if small else random.integers(400, 800))
        rows.append((label, width, round(width / 1.5)))
    leak = size_leak(sized(rows))
    assert leak is not None
    assert leak.given_away
    assert leak.p_value <= 0.001
    assert [clue.label for clue in leak.clues] == ["none"]
    clue = leak.clues[0]
    assert clue.side == "at most"
    assert clue.share_of_class == pytest.approx(0.9, abs=0.07)
    assert clue.share_of_others == pytest.approx(0.3, abs=0.1)
    assert "'none'" in leak.words


def test_a_class_that_is_absent_gives_no_clue_and_no_warning() -> None:
    rows = [("all", 200 + k, 100) for k in range(40)] + [("none", 600 + k, 400) for k in range(40)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leak = size_leak(sized(rows))
    assert leak is not None and leak.given_away
    assert {clue.label for clue in leak.clues} == {"all", "none"}


def test_too_few_photos_give_no_verdict() -> None:
    assert size_leak(sized([("all", 100 * k + 100, 50) for k in range(9)] + [("none", 50, 50)] * 20)) is None
    assert size_leak(sized([("all", 100, 50)] * 50)) is None


# --- people ----------------------------------------------------------------------------------------------------------


def face(wear: str, height: float) -> Face:
    return Face(wear, 0, 0, height, height)  # type: ignore[arg-type]


def test_labels_are_held_against_their_boxes() -> None:
    photos = [
        Photo("a.jpg", "all", faces=(face("masked", 40), face("masked", 20))),
        Photo("b.jpg", "all", faces=(face("masked", 30), face("bare", 30))),
        Photo("c.jpg", "some", faces=(face("incorrect", 30),)),
        Photo("d.jpg", "none", faces=()),
        Photo("e.jpg", "none"),
    ]
    found = people(photos)
    assert found is not None
    assert (found.photos, found.faces) == (4, 5)
    assert found.wear == {"masked": 3, "bare": 1, "incorrect": 1}
    either = people([Photo("d.jpg", label, faces=(face("incorrect", 30),)) for label in ("all", "none")])  # type: ignore[arg-type]
    assert either is not None and not either.contradictions
    assert found.small_faces == pytest.approx(1 / 5)
    assert found.without_faces == ("d.jpg",)
    assert [(c.path, c.label, c.boxes_say) for c in found.contradictions] == [
        ("b.jpg", "all", "some"),
        ("c.jpg", "some", "none"),
    ]
    assert found.face_height_px["all"].count == 4
    assert people([Photo("e.jpg", "none")]) is None


# --- a whole data set ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12, 4 and 4 photos; a re-encoded smaller copy; one photo in two classes; an empty file and a text."""
    root = tmp_path_factory.mktemp("inspection") / "data & <set>"
    for k in range(12):
        save(scene(100 + k), root / "all" / f"a{k}.jpg")
    for k in range(4):
        save(scene(200 + k), root / "none" / f"n{k}.jpg")
        save(scene(300 + k), root / "some" / f"s{k}.jpg")
    save(scene(100).resize((240, 180)), root / "all" / "a0-small.jpg", quality=60)
    (root / "some" / "n1-again.jpg").write_bytes((root / "none" / "n1.jpg").read_bytes())
    save(scene(400).convert("L"), root / "none" / "grey.jpg")
    damage("empty", root / "all" / "empty.jpg")
    damage("text", root / "none" / "text & <b>.jpg")
    return root


@pytest.fixture(scope="module")
def inspection(data: Path) -> Inspection:
    return inspect(data)


def test_everything_that_was_planted_is_found(inspection: Inspection, data: Path) -> None:
    found = json.loads(json.dumps(inspection.to_json()))
    assert found["root"] == str(data)
    assert found["photos"] == 23
    assert {c: found["classes"][c]["photos"] for c in CLASSES} == {"all": 13, "none": 5, "some": 5}
    assert found["imbalance"] == 2.6
    assert {entry["path"] for entry in found["broken"]} == {"all/empty.jpg", "none/text & <b>.jpg"}
    assert found["exact_duplicates"] == [["none/n1.jpg", "some/n1-again.jpg"]]
    pairs = {(p["a"], p["b"]): p for p in found["near_duplicates"]}
    assert set(pairs) == {("all/a0-small.jpg", "all/a0.jpg"), ("none/n1.jpg", "some/n1-again.jpg")}
    assert pairs["none/n1.jpg", "some/n1-again.jpg"]["labels_agree"] is False
    assert pairs["none/n1.jpg", "some/n1-again.jpg"]["kind"] == "exact"
    assert pairs["all/a0-small.jpg", "all/a0.jpg"]["labels_agree"] is True
    assert found["groups"] == 21
    assert found["disagreeing_groups"] == [["none/n1.jpg", "some/n1-again.jpg"]]
    assert [p["path"] for p in found["flaws"]["grey"]["photos"]] == ["none/grey.jpg"]
    assert found["size_leak"] is None
    assert found["people"] is None
    keys = [finding["key"] for finding in found["findings"]]
    assert keys == ["broken", "disagreeing", "duplicates", "balance", "grey"]
    assert inspection.findings[2].text == "1 exact copy and 1 pair of near-duplicates"


class Page(HTMLParser):
    """What of a page is tested: ids, links, addresses, pictures without an alternative, headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.blind = 0
        self.headings: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag == "a":
            self.links.append(found.get("href") or "")
        self.addresses += [found[key] or "" for key in ("src", "srcset", "data") if key in found]
        self.blind += tag == "img" and not found.get("alt")
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)


def check_page(text: str) -> Page:
    """Nothing is fetched, every link inside leads somewhere, every picture has words, headings don't skip a level."""
    page = Page(text)
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert "@import" not in text
    assert "url(" not in text.replace("url(#", "")
    assert len(set(page.ids)) == len(page.ids)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.blind == 0
    assert page.headings[0] == "h1"
    assert page.headings.count("h1") == 1
    return page


def test_page_is_whole_and_escapes_names(inspection: Inspection, tmp_path: Path) -> None:
    text = make_page(inspection, tmp_path / "inspect.html").read_text()
    page = check_page(text)
    assert len(page.addresses) == 5  # two pairs and the grey one
    assert "none/text &amp; &lt;b&gt;.jpg" in text
    assert "<set>" not in text
    for words in ("labels disagree", "the file is empty", "Too few photos"):
        assert words in text


def test_page_and_screen_of_a_clean_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k in range(6):
        save(scene(k), tmp_path / "clean" / CLASSES[k % 3] / f"{k}.jpg")
    html = tmp_path / "clean.html"
    command = ["inspect", str(tmp_path / "clean"), "--no-look", "--html", str(html)]
    assert cli.main(command, standalone_mode=False) == 0
    assert "nothing wrong found" in capsys.readouterr().out
    check_page(html.read_text())


def test_command_gives_pure_json_and_1_for_broken_files(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", str(data), "--json", "-"], standalone_mode=False) == 1
    on_screen = json.loads(capsys.readouterr().out)
    file = tmp_path / "found.json"
    assert cli.main(["inspect", str(data), "--json", str(file)], standalone_mode=False) == 1
    screen = capsys.readouterr().out
    assert "all/empty.jpg: the file is empty" in screen
    assert on_screen | {"seconds": 0} == json.loads(file.read_text()) | {"seconds": 0}


def test_classes_named_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k, name in enumerate(("worn", "bare", "mixed")):
        save(scene(k), tmp_path / "data" / name / "x.jpg")
    names = "worn=all,bare=none,mixed=some"
    assert cli.main(["inspect", str(tmp_path / "data"), "--classes", names, "--json", "-"], standalone_mode=False) == 0
    found = json.loads(capsys.readouterr().out)
    assert {c: found["classes"][c]["photos"] for c in CLASSES} == {"all": 1, "none": 1, "some": 1}


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        inspect(tmp_path / "nowhere")


def test_only_broken_files_are_no_crash(tmp_path: Path) -> None:
    (tmp_path / "data" / "all").mkdir(parents=True)
    damage("text", tmp_path / "data" / "all" / "x.jpg")
    found = inspect(tmp_path / "data")
    assert [path for path, _ in found.broken] == ["all/x.jpg"]
    assert found.findings[0].key == "classes"
    check_page(make_page(found, tmp_path / "page.html").read_text())


def test_measures_are_plain_figures(tmp_path: Path) -> None:
    found = measure(save(scene(5, (300, 200)), tmp_path / "x.jpg"), "some", name="some/x.jpg")
    assert isinstance(found, Measures)
    assert (found.width, found.height, found.long_side, found.short_side) == (300, 200, 300, 200)
    assert found.aspect == 1.5
    assert found.format == "JPEG"
    assert found.size_bytes == (tmp_path / "x.jpg").stat().st_size
    assert 0 <= found.light <= found.dark <= 1
    assert 0 <= found.entropy_bits <= 8


def test_nobody_is_no_class_to_balance(tmp_path: Path) -> None:
    """A set of singles said "as many 'all' as 'nobody'", one of things "1.0 : 1" though it had a single class."""
    for number, label in enumerate(("all", "all", "all", "none", "nobody", "nobody")):
        save(scene(number), tmp_path / "two" / label / f"{number}.jpg")
    texts = [finding.text for finding in inspect(tmp_path / "two").findings if finding.key == "balance"]
    assert texts == ["3.0 times as many 'all' as 'none' photos"]
    for number, label in enumerate(("none", "nobody")):
        save(scene(number), tmp_path / "one" / label / f"{number}.jpg")
    assert " : 1" not in make_page(inspect(tmp_path / "one"), tmp_path / "one.html").read_text()
