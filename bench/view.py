"""The page of `allmasked view` in Chromium: time to the first page, to filter, to scroll far, and the worst frame.

    python bench/view.py [--photos 1000,50000] [--rounds 3]

Photos are names of 200 painted JPEGs of 1280 x 960 px (hard links, so each name is decoded by itself but read from the
system's cache), in class folders, with a file of answers. The median of the rounds, each with a server and a browser of
its own. Needs Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright

from allmasked.core.types import CLASSES
from serving import drawn_photos

SEEN = """() => { const list = document.getElementById("list").getBoundingClientRect();
    return [...document.querySelectorAll(".tile")].filter(e => { const box = e.getBoundingClientRect();
        return box.top < list.bottom && box.bottom > list.top; })
        .every(e => e.querySelector("img")?.naturalWidth) && document.querySelectorAll(".tile").length > 0; }"""
FRAMES = """() => new Promise(done => { const list = document.getElementById("list"); let last = performance.now();
    const end = last + 3000, gaps = [];
    const step = now => { gaps.push(now - last); last = now; list.scrollTop += 40;
        if (now < end) requestAnimationFrame(step); else done(gaps.slice(1)); };
    requestAnimationFrame(step); })"""


def made(folder: Path, photos: int) -> tuple[Path, Path]:
    """A data set of class folders, and answers beside it."""
    pictures = drawn_photos(folder, 200)
    data, answers = folder / "data", folder / "answers.jsonl"
    with answers.open("w") as stream:
        for number in range(photos):
            label = CLASSES[number % 3]
            path = data / label / f"{number:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(pictures[number % len(pictures)], path)
            said = label if number % 7 else "some"
            row: dict[str, Any] = {f"p_{name}": 0.9 if name == said else 0.05 for name in CLASSES}
            stream.write(json.dumps({"path": str(path), "label": said, "sure": True, "error": None, **row}) + "\n")
    return data, answers


def measured(playwright: Any, data: Path, answers: Path) -> dict[str, float]:
    """Seconds until what was asked for is on the screen, thumbnails and all; the longest frame while scrolling, ms."""
    figures = {}
    command = [sys.executable, "-m", "allmasked", "view", str(data), str(answers), "--no-open"]
    started = time.perf_counter()
    server = subprocess.Popen(command, cwd=data.parent, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    address = next(match[0] for line in server.stderr if (match := re.search(r"http://\S+", line)))
    figures["start s"] = time.perf_counter() - started
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
    page = browser.new_page(viewport={"width": 1280, "height": 800})

    def until_seen(name: str, act: Any) -> None:
        begun = time.perf_counter()
        act()
        page.wait_for_function(SEEN, polling=20)
        figures[name] = time.perf_counter() - begun

    until_seen("first page s", lambda: page.goto(address))
    found = page.locator("#found")

    def choose(**fields: str) -> None:
        before = found.inner_text()
        for name, value in fields.items():
            page.select_option(f"select[name={name}]", value)
        page.wait_for_function(
            "before => document.getElementById('found').textContent !== before", arg=before, polling=20
        )

    until_seen("filter s", lambda: choose(verdict="wrong"))
    until_seen("filter, order s", lambda: choose(verdict="right", order="doubt"))
    choose(verdict="")
    page.focus("#list")
    until_seen("scroll to the end s", lambda: (page.keyboard.press("End"), page.wait_for_timeout(20)))
    half = "() => { const list = document.getElementById('list'); list.scrollTop = list.scrollHeight / 2; }"
    until_seen("scroll to the middle s", lambda: (page.evaluate(half), page.wait_for_timeout(150)))
    gaps = page.evaluate(FRAMES)
    figures["longest frame ms"], figures["frames/s"] = max(gaps), 1000 / statistics.mean(gaps)
    figures["server MB"] = psutil.Process(server.pid).memory_info().rss / 2**20
    browser.close()
    server.terminate()
    server.wait(30)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", default="1000,50000", help="of each data set, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    table: dict[str, list[float]] = {}
    counts = [int(count) for count in options.photos.split(",")]
    with sync_playwright() as playwright:
        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                data, answers = made(Path(folder), count)
                rounds = [measured(playwright, data, answers) for _ in range(options.rounds)]
            for name in rounds[0]:
                table.setdefault(name, []).append(statistics.median(one[name] for one in rounds))
    print(f"| | {' | '.join(f'{count:,} photos' for count in counts)} |")
    print("| --- |" + " ---: |" * len(counts))
    for name, values in table.items():
        print(f"| {name} | {' | '.join(f'{value:.3g}' for value in values)} |")


if __name__ == "__main__":
    main()
