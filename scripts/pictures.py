"""Make the pictures of the site, docs/pictures/, from painted photos: python scripts/pictures.py

Needs the extras synth and web; the picture of the page needs Playwright and Chromium, too (apt-get install chromium).
"""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image

from allmasked.cli import cli
from allmasked.synth.painted import sheet

TARGET = Path(__file__).parent.parent / "docs" / "pictures"
SEED, PHOTOS = 3, 48


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        allmasked("synth", "drawn", here / "data", "--photos", PHOTOS, "--seed", SEED)
        allmasked("predict", here / "data", "--out", here / "answers.csv", "--annotated", here / "seen")
        allmasked("predict", here / "data", "--out", here / "again.csv", "--annotated", here / "warm", "--heat")
        first = sorted((here / "data").glob("*/*.jpg"), key=lambda path: path.name)[:8]
        save(Image.open(sheet(first, here / "sheet.png")), "painted.jpg", 1200)
        shown = [find(here, label) for label in ("all", "some", "none")]
        save(beside([drawn_on(here / "seen", path) for path in shown]), "answers.jpg", 1200)
        save(drawn_on(here / "warm", shown[1]), "heat.jpg", 700)
        page(here / "data" / shown[1], TARGET / "page.png")


def allmasked(*arguments: object) -> None:
    """Run a command in this process."""
    code = cli.main([str(argument) for argument in arguments], standalone_mode=False)
    assert not code, arguments


def find(here: Path, label: str) -> Path:
    """A photo of a label, below data/, with three faces or more, that is answered rightly and surely."""
    with (here / "answers.csv").open() as file:
        for row in csv.DictReader(file):
            path = Path(row["path"])
            rightly = path.parent.name == label == row["label"] and row["sure"] == "True"
            wide = Image.open(path).width > Image.open(path).height
            if rightly and wide and int(row["masked"]) + int(row["bare"]) >= 3:
                return path.relative_to(here / "data")
    raise SystemExit(f"no photo of {label} among {PHOTOS}; take another seed")


def drawn_on(folder: Path, photo: Path) -> Image.Image:
    """What ``--annotated`` made of a photo."""
    return Image.open(next(path for path in folder.rglob(f"{photo.name}*") if path.parent.name == photo.parent.name))


def beside(pictures: list[Image.Image], height: int = 560) -> Image.Image:
    """Pictures of one height in a row."""
    fitted = [picture.convert("RGB").resize((picture.width * height // picture.height, height)) for picture in pictures]
    row = Image.new("RGB", (sum(p.width for p in fitted) + 12 * (len(fitted) - 1), height), "white")
    left = 0
    for picture in fitted:
        row.paste(picture, (left, 0))
        left += picture.width + 12
    return row


def save(picture: Image.Image, name: str, width: int) -> None:
    picture = picture.convert("RGB")
    picture.resize((width, picture.height * width // picture.width), Image.Resampling.LANCZOS).save(
        TARGET / name, quality=82, optimize=True
    )
    print(TARGET / name)


def page(photo: Path, target: Path) -> None:
    """The page of ``allmasked serve`` with the answer for a photo."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print(f"{target}: left as it is, no Chromium is installed")
        return
    from playwright.sync_api import sync_playwright

    server = subprocess.Popen(
        [sys.executable, "-m", "allmasked", "serve", "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    try:
        address = next(json.loads(line)["address"] for line in server.stderr if '"listening"' in line)
        for _ in range(600):  # told before it accepts
            with contextlib.suppress(OSError), urllib.request.urlopen(address + "readyz", timeout=10):
                break
            time.sleep(0.1)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            window = browser.new_page(viewport={"width": 1100, "height": 800})
            window.goto(address)
            window.set_input_files("input[type=file] >> nth=0", photo)
            window.get_by_text("Some wear a mask").first.wait_for()
            window.wait_for_timeout(1000)
            window.screenshot(path=target)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    print(target)


if __name__ == "__main__":
    main()
