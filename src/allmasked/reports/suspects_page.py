"""Labels that are probably wrong, and the worst errors, as one page with thumbnails."""

from __future__ import annotations

from pathlib import Path

from allmasked.core.progress import track
from allmasked.core.types import LABELS
from allmasked.reports.pages import photo_picture, write_page
from allmasked.scoring.suspects import Suspicion


def make_page(suspicion: Suspicion, path: str | Path, *, limit: int = 200) -> Path:
    """Write the page with the worst ``limit`` of each kind."""
    sections = []
    for kind in ("label", "error"):
        suspects = suspicion.of(kind)
        shown = track(suspects[:limit], "thumbnails")
        cards = [(suspect, photo_picture(suspicion.files[suspect.path])) for suspect in shown]
        sections.append({"kind": kind, "total": len(suspects), "cards": cards})
    return write_page(path, "suspects.html", suspicion=suspicion, sections=sections, labels=LABELS, limit=limit)
