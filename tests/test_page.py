"""The page in a real browser: Debian's Chromium through Playwright; left out where either is missing."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from allmasked.core.colours import FACES, UNSURE
from allmasked.core.types import Answers, Counting, InputSpec
from allmasked.networks.reading import Calibration
from colour_model import BLUE, GREY, SKIN, ColourModel, encoded

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
serving = pytest.importorskip("test_serving").serving
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no chromium is installed (apt-get install chromium)", allow_module_level=True)

pytestmark = pytest.mark.slow
VERDICTS = {
    "all": "Everyone wears a mask",
    "some": "Some wear a mask",
    "none": "No one wears a mask",
    "nobody": "Nobody is there",
}


RED = (220, 30, 60)


class Doubtful(ColourModel):
    """As :class:`ColourModel`; a red face may wear a mask or not, and faces far behind the others don't count."""

    def __init__(self) -> None:
        super().__init__(input=InputSpec((160, 120)), calibration=Calibration(counting=Counting(10, 0.4)))

    def maps(self, photo: np.ndarray) -> np.ndarray:
        red = np.abs(photo.astype(int) - RED).max(-1) < 50
        maps = super().maps(np.where(red[..., None], np.uint8(BLUE), photo))
        maps[..., 1][red[4::8, 4::8]] = 3.2
        return maps


class Faceless(ColourModel):
    """Answers without finding faces, as a head without maps does."""

    finds_faces = False

    def answer(self, pixels: np.ndarray) -> Answers:
        return Answers(super().answer(pixels).probabilities)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    arguments += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as client:
        yield str(client.base_url)


@contextlib.contextmanager
def opened(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """The page in a fresh window; nothing may be asked of another host, no script may fail."""
    context = browser.new_context(**options)
    page = context.new_page()
    wrong: list[str] = []
    page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith((address, "blob:", "data:")) else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if "Content Security" in m.text else None)
    page.goto(address)
    yield page
    context.close()
    assert not wrong


def photo(name: str, label: str, size: tuple[int, int] = (160, 120)) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": encoded(label, size)}


def painted(name: str, *faces: tuple[tuple[int, int, int], tuple[int, int, int, int]]) -> dict[str, Any]:
    """A photo of 160 x 120 px with patches of colour: left, top, right, bottom."""
    image, stream = Image.new("RGB", (160, 120), GREY), io.BytesIO()
    for colour, box in faces:
        image.paste(colour, box)
    image.save(stream, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": stream.getvalue()}


@pytest.mark.parametrize("label", VERDICTS)
def test_a_photo_gets_its_verdict(browser: Any, address: str, label: str) -> None:
    with opened(browser, address) as page:
        page.set_input_files("#files", [photo("a.png", label)])
        sync_api.expect(page.locator("#verdict")).to_contain_text(VERDICTS[label], timeout=20_000)
        assert page.locator("#probabilities dt").count() == 4
        assert page.locator("#probabilities dt.chosen").count() == 1
        boxes = page.locator("#faces rect:not(.halo)")
        assert boxes.count() == (0 if label == "nobody" else 2)
        assert ("✓" in page.locator("#verdict").inner_text()) == (label == "all")
        if label == "some":
            assert page.locator("#faces rect.masked").count() and page.locator("#faces rect.bare").count()
            page.uncheck("#faces-on")
            assert not page.locator("#faces").is_visible()
        assert page.locator("#photo").get_attribute("alt").startswith(f"a.png: {VERDICTS[label]}")
        assert page.locator("#batch").is_hidden()


def test_faces_that_do_not_count_are_grey_and_say_why(browser: Any) -> None:
    near, other = (BLUE, (16, 16, 40, 72)), (SKIN, (104, 16, 128, 72))
    behind, small = (SKIN, (64, 40, 80, 56)), (SKIN, (72, 104, 80, 112))
    with serving(Doubtful()) as client, opened(browser, str(client.base_url)) as page:
        page.set_input_files("#files", [painted("a.png", near, other, behind, small)])
        verdict, counts = page.locator("#verdict"), page.locator("#counts")
        sync_api.expect(verdict).to_contain_text(VERDICTS["some"], timeout=20_000)
        assert counts.inner_text() == "4 faces found: 1 masked, 1 bare, 2 not counted."
        reasons = page.locator("#uncounted").inner_text()
        assert "1 far behind the others" in reasons and "1 too small to judge" in reasons
        grey = page.locator("#faces rect.uncounted")
        assert grey.count() == 2 and page.locator("#grey").is_visible()
        assert {title.strip() for title in page.locator("#faces g:has(.uncounted) title").all_text_contents()} == {
            "not counted: far behind the others", "not counted: too small to judge"
        }  # fmt: skip
        dashes, width = grey.first.evaluate(
            "e => [getComputedStyle(e).strokeDasharray, getComputedStyle(e).strokeWidth]"
        )
        assert dashes != "none" and width == "2px", "told by the line too, not by colour alone"
        assert "40 % of the largest" in page.locator("#rules").inner_text()
        page.set_input_files("#files", [painted("b.png", near, behind)])
        sync_api.expect(verdict).to_contain_text("✓ Everyone wears a mask", timeout=20_000)
        assert counts.inner_text() == "2 faces found: 1 masked, 0 bare, 1 not counted."
        page.set_input_files("#files", [painted("c.png", small)])
        sync_api.expect(verdict).to_contain_text("? Perhaps nobody is near enough to judge", timeout=20_000)
        assert page.locator("li.nobody .label").inner_text() == "? Perhaps nobody near"


def test_an_unsure_answer_is_worded_marked_and_found(browser: Any) -> None:
    sure, doubtful = painted("sure.png", (BLUE, (16, 16, 40, 72))), painted("doubtful.png", (RED, (16, 16, 40, 72)))
    with serving(Doubtful()) as client, opened(browser, str(client.base_url)) as page:
        page.set_input_files("#files", [sure, doubtful, photo("none.png", "none"), photo("nobody.png", "nobody")])
        sync_api.expect(page.locator("#progress")).to_be_hidden(timeout=30_000)
        sync_api.expect(page.locator("li.unsure")).to_have_count(1)
        assert page.locator("li.unsure .label").inner_text() == "? Perhaps everyone"
        page.locator("#filters button", has_text="Unsure only: 1").click()
        assert page.locator("li:visible .file").all_inner_texts() == ["doubtful.png"]
        verdict = page.locator("#verdict")
        assert verdict.inner_text() == "? Perhaps everyone wears a mask: please look yourself", "the filter shows it"
        colour = "e => getComputedStyle(e).backgroundColor"
        assert verdict.evaluate(colour) == f"rgb{UNSURE}" == page.locator("li.unsure .label").evaluate(colour)
        assert "Perhaps everyone" in page.locator("#photo").get_attribute("alt")
        page.locator("#filters button", has_text="All 4").click()
        page.locator("li button", has_text="sure.png").first.click()
        assert verdict.inner_text() == "✓ Everyone wears a mask" and verdict.evaluate(colour) == "rgba(0, 0, 0, 0)"
        with page.expect_download() as download:
            page.click("#csv")
        rows = csv.DictReader(io.StringIO(Path(download.value.path()).read_text()))
        assert [row["sure"] for row in rows] == ["true", "false", "true", "true"]


def test_no_tick_without_a_face(browser: Any) -> None:
    with serving(Faceless()) as client, opened(browser, str(client.base_url)) as page:
        page.set_input_files("#files", [photo("a.png", "all")])
        sync_api.expect(page.locator("#verdict")).to_contain_text("Everyone wears a mask", timeout=20_000)
        assert "✓" not in page.locator("#one").inner_text()
        assert "without finding faces" in page.locator("#counts").inner_text()


def test_the_heat_map_lies_on_the_photo(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        page.set_input_files("#files", [photo("a.png", "some")])
        heat = page.locator("#heat")
        sync_api.expect(heat).to_have_attribute("src", re.compile("^data:image/png;base64,"), timeout=20_000)
        assert heat.evaluate("e => getComputedStyle(e).opacity") == "0"
        page.focus("#heat-strength")
        for _ in range(80):
            page.keyboard.press("ArrowRight")
        assert heat.evaluate("e => getComputedStyle(e).opacity") == "0.8"
        assert heat.bounding_box() == page.locator("#photo").bounding_box()


def test_many_photos_errors_and_the_table(browser: Any, address: str) -> None:
    files = [photo(f"{n}-{label}.png", label) for n, label in enumerate([*VERDICTS] * 3)]
    files.append({"name": '=broken, "x".jpg', "mimeType": "image/jpeg", "buffer": b"nothing"})
    with opened(browser, address) as page:
        page.set_input_files("#files", files)
        sync_api.expect(page.locator("li.error")).to_have_count(1, timeout=30_000)
        sync_api.expect(page.locator("#progress")).to_be_hidden(timeout=30_000)
        for label in VERDICTS:
            assert page.locator(f"li.{label}").count() == 3
        assert page.locator("li canvas").count() == 12
        page.locator("#filters button", has_text="No one: 3").click()
        assert page.locator("li:visible").count() == 3
        page.locator("#filters button", has_text="All 13").click()
        page.locator("li.error button").click()
        assert page.locator("#verdict").inner_text() == "No answer"
        assert "not a photo" in page.locator("#counts").inner_text()
        assert page.locator("#no-preview").inner_text() == "No picture to show."
        with page.expect_download() as download:
            page.click("#csv")
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
        assert [row["label"] for row in rows] == [*VERDICTS] * 3 + [""]
        assert [row["sure"] for row in rows] == ["true"] * 12 + [""]
        assert rows[-1]["name"] == '\'=broken, "x".jpg' and "not a photo" in rows[-1]["error"]
        page.click("#clear")
        assert page.locator("#batch").is_hidden() and page.locator("#one").is_hidden()


def test_a_phone_in_the_dark(browser: Any, address: str) -> None:
    with opened(browser, address, viewport={"width": 360, "height": 740}, color_scheme="dark") as page:
        page.set_input_files("#files", [photo(f"{label}.png", label, (400, 300)) for label in VERDICTS])
        sync_api.expect(page.locator("#progress")).to_be_hidden(timeout=30_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, "nothing sticks out"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
        small = page.locator("button:visible, .button:visible").evaluate_all(
            "all => all.filter(e => e.getBoundingClientRect().height < 32).length"
        )
        assert small == 0, "fingers need room"


def test_keyboard_alone(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        page.set_input_files("#files", [photo("a.png", "all"), photo("b.png", "none")])
        sync_api.expect(page.locator("li.none")).to_have_count(1, timeout=20_000)
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.title") == "b.png":
                break
        page.keyboard.press("Enter")
        sync_api.expect(page.locator("#verdict")).to_contain_text("No one")
        names = page.locator("button:visible, input:visible").evaluate_all(
            "all => all.filter(e => !(e.innerText || e.labels?.length)).map(e => e.id)"
        )
        assert names == [], "every control has a name"


def test_paste_and_drop_and_camera(browser: Any, address: str) -> None:
    give = """async ([kind, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], kind + ".png", { type: "image/png" }));
        const event = kind === "paste" ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
            : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    }"""
    with opened(browser, address, permissions=["camera"]) as page:
        for kind, label in (("paste", "none"), ("drop", "all")):
            page.evaluate(give, [kind, list(encoded(label))])
            sync_api.expect(page.locator("#verdict")).to_contain_text(VERDICTS[label], timeout=20_000)
        page.click("#camera")
        sync_api.expect(page.locator("#viewfinder")).to_be_visible(timeout=20_000)
        page.click("#shoot")
        sync_api.expect(page.locator("li")).to_have_count(3)
        sync_api.expect(page.locator("#probabilities dt")).to_have_count(4, timeout=20_000)
        page.click("#close-camera")
        assert page.locator("#viewfinder").is_hidden()


def test_the_key_is_asked_for(browser: Any) -> None:
    with serving(api_key="s3cret") as client, opened(browser, str(client.base_url)) as page:
        page.set_input_files("#files", [photo("a.png", "all")])
        page.fill("#key-value", "s3cret")
        page.keyboard.press("Enter")
        sync_api.expect(page.locator("#verdict")).to_contain_text("Everyone", timeout=20_000)


def test_a_busy_and_a_vanished_server(browser: Any) -> None:
    from allmasked.serving.app import Limits

    slow = ColourModel(seconds_a_photo=0.3)
    with serving(slow, Limits(max_requests=1)) as client:
        address = str(client.base_url)
        with opened(browser, address) as page:
            page.set_input_files("#files", [photo(f"{label}.png", label) for label in VERDICTS])
            sync_api.expect(page.locator("#progress")).to_be_hidden(timeout=40_000)
            assert page.locator("li.error").count() == 0, "busy is not an error: it waits and asks again"
            page.route("**/v1/predict**", lambda route: route.abort())
            page.click("#clear")
            page.set_input_files("#files", [photo("a.png", "all")])
            sync_api.expect(page.locator("#alert")).to_contain_text("can't be reached", timeout=20_000)


def test_whole_folders(browser: Any, address: str, tmp_path: Path) -> None:
    for name, label in (("a.png", "all"), ("in/a.png", "none"), ("in/deep/b.png", "some")):
        (tmp_path / "trip" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "trip" / name).write_bytes(encoded(label))
    (tmp_path / "trip" / "notes.txt").write_text("no photo")
    names = ["trip/a.png", "trip/in/a.png", "trip/in/deep/b.png"]
    with opened(browser, address) as page:
        session = page.context.new_cdp_session(page)
        data = {"items": [], "files": [str(tmp_path / "trip")], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})
        sync_api.expect(page.locator("li")).to_have_count(3, timeout=20_000)
        assert sorted(page.locator("li .file").all_text_contents()) == names
        page.click("#clear")
        page.set_input_files("#folder", tmp_path / "trip")
        sync_api.expect(page.locator("li.some")).to_have_count(1, timeout=20_000)
        assert sorted(page.locator("li .file").all_text_contents()) == names
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "notes.txt").write_text("no photo")
        page.set_input_files("#folder", tmp_path / "empty")
        sync_api.expect(page.locator("#alert")).to_contain_text("No photo was found")


def test_many_photos_paused_and_cancelled(browser: Any) -> None:
    with serving(ColourModel(seconds_a_photo=0.1)) as client, opened(browser, str(client.base_url)) as page:
        page.set_input_files("#files", [photo(f"{n}.png", "all") for n in range(60)])
        sync_api.expect(page.locator("li.all")).not_to_have_count(0, timeout=20_000)
        page.click("#pause")
        page.wait_for_function("document.querySelectorAll('li.all').length + ' of 60 photos answered, paused' =="
                               " document.getElementById('done').textContent")  # fmt: skip
        page.wait_for_timeout(600)  # those that were being asked for
        before = page.locator("li.all").count()
        page.wait_for_timeout(600)
        assert page.locator("li.all").count() == before < 50 and page.locator("#progress").is_visible()
        page.click("#pause")
        sync_api.expect(page.locator("li.all")).not_to_have_count(before)
        page.click("#cancel")
        sync_api.expect(page.locator("#progress")).to_be_hidden()
        answered, left = page.locator("li.all").count(), page.locator("li.left").count()
        page.wait_for_timeout(600)
        answered, left = page.locator("li.all").count(), page.locator("li.left").count()
        assert answered + left == 60 and left, "each is answered, or said not to be"
        page.locator("#filters button", has_text=f"Not asked: {left}").click()
        assert page.locator("#verdict").inner_text() == "Not asked"
        page.set_input_files("#files", [photo("late.png", "none")])
        sync_api.expect(page.locator("li.none")).to_have_count(1, timeout=20_000)
        assert page.locator("li.left").count() == left


def test_pictures_with_faces_are_saved(browser: Any, address: str, tmp_path: Path) -> None:
    for name in ("one/a.png", "two/a.png", "two/a.jpg", "two/b.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(encoded("some", (320, 240)))
    (tmp_path / "in" / "two" / "broken.png").write_bytes(b"nothing")
    with opened(browser, address) as page:
        page.set_input_files("#folder", tmp_path / "in")
        sync_api.expect(page.locator("#progress")).to_be_hidden(timeout=20_000)
        page.locator("li button", has_text="b.png").click()
        where = "all => all.map(e => [e.getAttribute('class'), e.x.baseVal.value, e.y.baseVal.value])"
        boxes = page.locator("#faces rect:not(.halo)").evaluate_all(where)
        with page.expect_download() as download:
            page.click("#save")
        assert download.value.suggested_filename == "b.answered.jpg"
        picture = Image.open(download.value.path())
        assert picture.width == 640 and picture.height > 480, "a strip with the answer"
        for wear, left, top in boxes:
            around = np.asarray(picture, int)[
                max(0, int(2 * top) - 25) : int(2 * top) + 40, max(0, int(2 * left) - 3) :
            ]
            assert (np.abs(around[:, :12] - FACES[wear]).max(-1) < 40).any()
        with page.expect_download() as download:
            page.click("#zip")
        with zipfile.ZipFile(download.value.path()) as made:
            assert made.testzip() is None
            names = ["in/one/a.jpg", "in/two/a (2).jpg", "in/two/a.jpg", "in/two/b.jpg"]
            assert sorted(made.namelist()) == names
            assert Image.open(io.BytesIO(made.read("in/two/b.jpg"))).size == picture.size
        sync_api.expect(page.locator("#progress")).to_be_hidden()


def test_what_the_browser_cannot_show_is_shown(browser: Any, address: str) -> None:
    heic = {"name": "a.heic", "mimeType": "image/heic", "buffer": encoded("some", (128, 96), "HEIF")}
    with opened(browser, address) as page:
        page.set_input_files("#files", [heic, photo("b.png", "all")])
        sync_api.expect(page.locator("#verdict")).to_contain_text(VERDICTS["some"], timeout=20_000)
        sync_api.expect(page.locator("#photo")).to_be_visible()
        assert page.locator("#photo").evaluate("e => [e.naturalWidth, e.naturalHeight]") == [128, 96]
        assert page.locator("#no-preview").is_hidden() and page.locator("li canvas").count() == 2
        with page.expect_download() as download:
            page.click("#save")
        assert Image.open(download.value.path()).width == 256


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_barrier_that_axe_finds(browser: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def check(page: Any, state: str) -> None:
        found = axe.run(page)
        assert found.response["passes"] and not found.response["violations"], f"{state}: {found.generate_report()}"

    files = [photo(f"{label}.png", label) for label in VERDICTS]
    files += [painted("doubtful.png", (RED, (16, 16, 40, 72)), (SKIN, (64, 40, 80, 56)))]
    files += [{"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"nothing"}]
    with (
        serving(Doubtful(), api_key="k") as client,
        opened(browser, str(client.base_url), color_scheme=scheme, viewport={"width": 1280, "height": 900}) as page,
    ):
        page.set_input_files("#files", files)
        page.locator("#key").wait_for()
        check(page, "asked for the key, photos waiting")
        page.fill("#key-value", "k")
        page.keyboard.press("Enter")
        sync_api.expect(page.locator("#progress")).to_be_hidden(timeout=20_000)
        for number in range(len(files)):
            page.locator("li button").nth(number).click()
            check(page, files[number]["name"])
        page.click("#camera")
        page.locator("#shoot:enabled").wait_for()
        page.set_viewport_size({"width": 400, "height": 800})
        check(page, "camera")
        page.click("#clear")
        check(page, "empty")
