"""An :class:`~allmasked.inspection.inspect.Inspection` to look at: on the terminal, and as one page with thumbnails."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, ImageDraw
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from allmasked.core.colours import FACES
from allmasked.core.errors import PhotoError
from allmasked.core.progress import track
from allmasked.core.types import CLASSES
from allmasked.images import pixels
from allmasked.inspection.boxes import ODDITIES
from allmasked.inspection.inspect import Inspection, Pair
from allmasked.inspection.measures import CHECKS, SCALE_PX
from allmasked.reports.pages import THUMBNAIL, histogram, photo_picture, picture, write_page

SHOWN = {
    "flaw": 12, "disagreeing": 48, "pairs": 24, "scenes": 9, "exact": 12, "contradictions": 24, "broken": 200,
    "boxes": 24, "seen": 48,
}  # fmt: skip
"""How many of each kind the page shows; the JSON holds all."""

AROUND = 2.0
"""So many sides of a face are shown around it."""

WHERE = {
    **{f"boxes_{kind}": "people" for kind in ODDITIES},
    **dict.fromkeys(("contradictions", "without_faces", "faces", "elsewhere"), "people"),
    **dict.fromkeys(("disagreeing", "duplicates", "augmented"), "duplicates"),
    **dict.fromkeys(("doubts", "unmarked", "other_wear"), "seen"),
    "classes": "classes", "balance": "classes", "broken": "broken", "skipped": "broken", "size": "sizes",
}  # fmt: skip
"""Key of a finding -> the section of the page that shows it."""

STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def show(inspection: Inspection, console: Console) -> None:
    """Print how the data set was understood, classes and findings."""
    tell = partial(console.print, highlight=False, soft_wrap=True)
    for line in inspection.said:
        tell(escape(line))
    table = Table(title=f"{len(inspection.photos):,} photos in {inspection.root}", title_justify="left", box=None)
    for column in ("class", "photos", "share", "long side px", "short side px", "width / height"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for c in inspection.classes:
        cells = [
            f"{q.median:{kind}} ({q.values[0]:{kind}}-{q.values[4]:{kind}})" if q.count else "-"
            for q, kind in ((c.long_side_px, ".0f"), (c.short_side_px, ".0f"), (c.aspect, ".2f"))
        ]
        table.add_row(c.label, f"{c.photos:,}", f"{100 * c.share:.0f} %", *cells)
    table.caption = "sizes: median (5 %-95 %)"
    table.caption_justify = "left"
    console.print(table)
    for name, entries in (("broken", inspection.broken), ("skipped", inspection.skipped)):
        for path, reason in entries[:20]:
            tell(f"[red]{name}[/] {escape(path)}: {escape(reason)}")
        if len(entries) > 20:
            console.print(f"[red]{name}[/] and {len(entries) - 20:,} more (--json lists all)")
    if seen := inspection.seen:
        tell(f"looked at by the model {seen.model!r}: {seen.photos:,} photos in {seen.seconds:.0f} s (--no-look: not)")
    console.print()
    for finding in inspection.findings:
        tell(f"[{STYLES[finding.severity]}]{finding.severity:8}[/] {escape(finding.text)}")
        tell(f"         [dim]{escape(finding.advice)}[/]")
    if not inspection.findings:
        console.print("[green]nothing wrong found[/]")


def make_page(inspection: Inspection, path: str | Path) -> Path:
    """Write the page; a few MB with all its pictures."""
    near = [pair for pair in inspection.near_duplicates if pair.kind != "exact"]
    disagreeing = [pair for pair in near if not pair.labels_agree]
    agreeing = [pair for pair in near if pair.labels_agree]
    exact_disagreeing = [same for same in inspection.exact_duplicates if not same.labels_agree]
    exact = [same for same in inspection.exact_duplicates if same.labels_agree]
    flaws = {name: found for name, found in inspection.flaws.items() if found}
    contradictions = inspection.people.contradictions if inspection.people else ()

    wanted = [flaw.path for found in flaws.values() for flaw in found[: SHOWN["flaw"]]]
    wanted += [p for same in exact_disagreeing[: SHOWN["exact"]] for p in same.paths[:2]]
    wanted += [p for pair in disagreeing[: SHOWN["disagreeing"]] for p in (pair.a, pair.b)]
    wanted += [p for pair in _spread(agreeing, SHOWN["pairs"]) for p in (pair.a, pair.b)]
    wanted += [p for pair in _spread(list(inspection.scenes), SHOWN["scenes"]) for p in (pair.a, pair.b)]
    wanted += [same.paths[0] for same in exact[: SHOWN["exact"]]]
    wanted += [photo.path for photo in contradictions[: SHOWN["contradictions"]]]
    odd = inspection.odd_boxes[: SHOWN["boxes"]]
    seen = inspection.seen
    doubts = seen.doubts[: SHOWN["seen"]] if seen else ()
    close = [(whole[: SHOWN["seen"]], whole, *words) for whole, words in (
        (seen.other_wear, ("Marked faces seen otherwise", "What the mark says, and what is seen.")),
        (seen.unmarked, ("Faces that nobody marked", "Whether they are faces is for you to say.")),
    )] if seen else []  # fmt: skip
    by_label = {label: [photo for photo in inspection.photos if photo.label == label] for label in CLASSES}

    def shown(entries: Sequence[Any], wanted: Sequence[tuple[str, Sequence[Box], bool]]) -> list[tuple[Any, str]]:
        return list(zip(entries, _with_faces(inspection.root, wanted)))

    return write_page(
        path,
        "inspect.html",
        i=inspection,
        shown=SHOWN,
        checks=CHECKS,
        oddities=ODDITIES,
        labels={photo.path: photo.label for photo in inspection.photos},
        scale_px=SCALE_PX,
        disagreeing=disagreeing,
        agreeing=agreeing,
        agreeing_shown=_spread(agreeing, SHOWN["pairs"]),
        scenes_shown=_spread(list(inspection.scenes), SHOWN["scenes"]),
        near=near,
        exact_disagreeing=exact_disagreeing,
        exact=exact,
        flaws=flaws,
        where=WHERE | {name: f"flaw-{name}" for name in CHECKS},
        size={photo.path: f"{photo.width} × {photo.height}" for photo in inspection.photos},
        pictures=_pictures(inspection.root, wanted),
        odd_boxes=shown(odd, [(box.path, [box], box.kind not in ("outside", "whole")) for box in odd]),
        doubts=shown(doubts, [(one.path, one.faces, False) for one in doubts]),
        faces=[
            (shown(faces, [(one.path, [one], True) for one in faces]), len(whole), title, note)
            for faces, whole, title, note in close
        ],
        long_sides=histogram({k: [p.long_side for p in v] for k, v in by_label.items() if v}),
        aspects=histogram({k: [p.aspect for p in v] for k, v in by_label.items() if v}, logarithmic=True),
    )


def _spread(pairs: list[Pair], shown: int) -> list[Pair]:
    """So many pairs over the whole range of scores, so that the doubtful ones are seen as well as the sure ones."""
    ordered = sorted(pairs, key=lambda pair: pair.score)
    if len(ordered) <= shown:
        return ordered
    return [ordered[round(k * (len(ordered) - 1) / (shown - 1))] for k in range(shown)]


class Box(Protocol):
    """A place in a photo, in px of it."""

    @property
    def wear(self) -> str: ...
    @property
    def left(self) -> float: ...
    @property
    def top(self) -> float: ...
    @property
    def right(self) -> float: ...
    @property
    def bottom(self) -> float: ...


def _with_faces(root: Path, wanted: Sequence[tuple[str, Sequence[Box], bool]]) -> list[str]:
    """Photos with boxes drawn on, as ``data:`` addresses; where wanted close, only what is around the boxes."""

    def one(path: str, boxes: Sequence[Box], near: bool) -> str:
        try:
            photo = pixels.decode(root / path)
        except PhotoError:
            return ""
        left, top, right, bottom = 0.0, 0.0, float(photo.width), float(photo.height)
        if near:
            around = AROUND * max(max(box.right - box.left, box.bottom - box.top) for box in boxes)
            left, top = (max(0.0, min(getattr(box, edge) for box in boxes) - around) for edge in ("left", "top"))
            right = min(right, max(box.right for box in boxes) + around)
            bottom = min(bottom, max(box.bottom for box in boxes) + around)
        scale = min(THUMBNAIL[0] / max(1, right - left), THUMBNAIL[1] / max(1, bottom - top))
        size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
        part = (left, top, max(right, left + 1), max(bottom, top + 1))
        shown = photo.resize(size, Image.Resampling.BICUBIC, box=part)
        pen = ImageDraw.Draw(shown)
        for box in boxes:
            x, y = (box.left - left) * scale - 1, (box.top - top) * scale - 1
            x_end, y_end = max(x, (box.right - left) * scale + 1), max(y, (box.bottom - top) * scale + 1)
            pen.rectangle((x, y, x_end, y_end), outline=FACES["masked" if box.wear == "masked" else "bare"], width=2)
        return picture(shown)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(track(pool.map(lambda job: one(*job), wanted), "thumbnails", total=len(wanted)))


def _pictures(root: Path, paths: Iterable[str]) -> dict[str, str]:
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(lambda path: photo_picture(root / path), unique)
        return dict(zip(unique, track(made, "thumbnails", total=len(unique))))
