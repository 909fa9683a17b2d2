"""The page of `view` in a real browser, with 1,000 photos; `bench/view.py` has it with 50,000."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from allmasked.core.types import CLASSES
from colour_model import picture

pages = pytest.importorskip("test_page", reason="Playwright or Chromium is not installed")
viewing = pytest.importorskip("test_viewing")
Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe
hosted = pytest.importorskip("test_serving").hosted
browser, opened, expect = pages.browser, pages.opened, pages.sync_api.expect

pytestmark = pytest.mark.slow
PHOTOS = 1000


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page over 1,000 photos in class folders and two files of answers."""
    root = tmp_path_factory.mktemp("view")
    names, random = [], np.random.default_rng(0)
    for number in range(PHOTOS):
        label = CLASSES[number % 3]
        path = root / "data" / label / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < 3:
            picture(label, (128, 96)).save(path)
        else:
            Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).save(path)
        names.append(path)
    first = {str(path): "none" if path.parent.name == "all" else path.parent.name for path in names}
    sources = [
        root / "data",
        viewing.answers_file(root / "first.csv", first, faces=True),
        viewing.answers_file(root / "second.csv", {str(path): path.parent.name for path in names}),
    ]
    app = viewing.client_of(sources, root / "mended.csv").app
    with hosted(app) as client:
        yield f"{client.base_url}/t/"


def has_no_barrier(page: Any) -> bool:
    """Whether axe-core finds nothing; else the failure says what."""
    found = Axe().run(page)
    assert found.response["passes"] and not found.response["violations"], found.generate_report()
    return True


def test_browsed_chosen_looked_at_and_mended_by_keyboard_alone(browser: Any, address: str) -> None:
    with opened(browser, address, viewport={"width": 1280, "height": 800}) as page:
        expect(page.locator("#found")).to_have_text("1,000 of 1,000 photos.", timeout=20_000)
        expect(page.locator("#path")).to_have_text("all/0000.png", timeout=20_000)
        assert page.locator(".tile").count() < 60, "only what is seen is in the page"
        page.keyboard.press("End")
        expect(page.locator("#path")).to_have_text("some/0998.png", timeout=20_000)
        expect(page.locator(".tile[title='some/0998.png'] img")).to_have_js_property("naturalWidth", 16, timeout=20_000)
        chosen = page.locator(".tile[aria-selected=true]")
        assert chosen.get_attribute("aria-posinset") == "1000" == chosen.get_attribute("aria-setsize")
        assert page.locator("#list").get_attribute("aria-activedescendant") == chosen.get_attribute("id")
        assert "first.csv: ✓ some 96 %" in chosen.get_attribute("aria-label")
        page.keyboard.press("/")
        page.keyboard.type("all/")
        expect(page.locator("#found")).to_have_text("334 of 1,000 photos.", timeout=20_000)
        page.locator("select[name=between]").select_option("second")
        expect(page.locator("#found")).to_have_text("334 of 1,000 photos.", timeout=20_000)
        expect(page.locator(".tile").first).to_contain_text("✗ none 96 %", timeout=20_000)
        page.keyboard.press("Tab")
        page.locator("#list").focus()
        page.keyboard.press("Home")
        expect(page.locator("#path")).to_have_text("all/0000.png", timeout=20_000)
        assert page.locator("#faces rect.found").count() == 2, "one counts, one doesn't"
        page.keyboard.press("e")
        expect(page.locator("#heat")).to_be_visible(timeout=20_000)
        expect(page.locator("#legend")).to_contain_text("colours: all, sure", timeout=20_000)
        assert page.locator("#heat").bounding_box() == page.locator("#photo").bounding_box()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#path")).to_have_text("all/0003.png", timeout=20_000)
        page.keyboard.press("n")
        expect(page.locator("#mended")).to_contain_text("1 label mended", timeout=20_000)
        assert page.locator("#give button[aria-pressed=true]").inner_text().endswith("none")
        assert "✎ none" in page.locator(".tile[aria-selected=true]").inner_text() and has_no_barrier(page)
        page.keyboard.press("u")
        expect(page.locator("#mended")).to_have_text("", timeout=20_000)
        names = page.locator("button:visible, input:visible, select:visible").evaluate_all(
            "all => all.filter(e => !(e.innerText || e.labels?.length)).map(e => e.outerHTML)"
        )
        assert names == [], "every control has a name"


def test_a_label_never_goes_to_the_photo_shown_before(browser: Any, address: str) -> None:
    with opened(browser, address, viewport={"width": 1280, "height": 800}) as page:
        expect(page.locator("#path")).to_have_text("all/0000.png", timeout=20_000)
        page.locator("#list").focus()
        asked: list[Any] = []
        # the next photo is on its way, and stays there; a method of a list is no handler to playwright
        page.route(re.compile(r"/photos/\d+$"), lambda route: asked.append(route))
        page.keyboard.press("ArrowRight")
        expect(page.locator(".tile[aria-selected=true]")).to_have_attribute("aria-posinset", "2", timeout=20_000)
        page.keyboard.press("n")
        page.wait_for_timeout(300)
        assert asked and page.locator("#mended").inner_text() == ""
        for route in asked:
            route.continue_()
        expect(page.locator("#path")).not_to_have_text("all/0000.png", timeout=20_000)
        page.keyboard.press("n")
        expect(page.locator("#mended")).to_contain_text("1 label mended", timeout=20_000)
        assert "✎ none" in page.locator(".tile[aria-selected=true]").inner_text()
        page.keyboard.press("u")
        expect(page.locator("#mended")).to_have_text("", timeout=20_000)


def test_a_phone_in_the_dark_and_a_photo_that_is_gone(browser: Any, address: str) -> None:
    options: dict[str, Any] = {"viewport": {"width": 400, "height": 800}, "color_scheme": "dark"}
    with opened(browser, address, **options) as page:
        page.evaluate("location.hash = 'text=all/&order=unsure'")
        page.reload()  # what is chosen stands in the address
        expect(page.locator("#found")).to_have_text("334 of 1,000 photos.", timeout=20_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, "nothing sticks out"
        assert has_no_barrier(page)
        broken = {"detail": "0006.png: is cut off"}
        page.route("**/picture?size=large", lambda route: route.fulfill(status=422, json=broken))
        page.locator(".tile").nth(2).click()
        expect(page.locator("#no-preview")).to_have_text("0006.png: is cut off", timeout=20_000)
