"""The page in a real browser: Debian's Chromium through Playwright; left out where either is missing."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colour_model import ColourModel, encoded

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


@pytest.mark.parametrize("label", VERDICTS)
def test_a_photo_gets_its_verdict(browser: Any, address: str, label: str) -> None:
    with opened(browser, address) as page:
        page.set_input_files("#files", [photo("a.png", label)])
        sync_api.expect(page.locator("#verdict")).to_contain_text(VERDICTS[label], timeout=20_000)
        assert page.locator("#probabilities dt").count() == 4
        assert page.locator("#probabilities dt.chosen").count() == 1
        boxes = page.locator("#faces rect:not(.halo)")
        assert (boxes.count() > 0) == (label != "nobody")
        if label == "some":
            assert page.locator("#faces rect.masked").count() and page.locator("#faces rect.bare").count()
            page.uncheck("#faces-on")
            assert not page.locator("#faces").is_visible()
        assert page.locator("#photo").get_attribute("alt").startswith(f"a.png: {VERDICTS[label]}")
        assert page.locator("#batch").is_hidden()


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
        assert page.locator("#no-preview").is_visible()
        with page.expect_download() as download:
            page.click("#csv")
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
        assert [row["label"] for row in rows] == [*VERDICTS] * 3 + [""]
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
    from allmasked.serving import Limits

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
