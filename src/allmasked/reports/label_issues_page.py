"""Labels that are probably wrong, and the worst errors, as one page with thumbnails."""

from __future__ import annotations

from pathlib import Path

from allmasked.core.progress import track
from allmasked.core.types import LABELS
from allmasked.reports.pages import photo_picture, write_page
from allmasked.scoring.label_issues import LabelIssues


def make_page(found: LabelIssues, path: str | Path, *, limit: int = 200) -> Path:
    """Write the page with the worst ``limit`` of each kind."""
    sections = []
    for kind in ("label", "error"):
        issues = found.of(kind)
        shown = track(issues[:limit], "thumbnails")
        cards = [(issue, photo_picture(found.files[issue.path])) for issue in shown]
        sections.append({"kind": kind, "total": len(issues), "cards": cards})
    return write_page(path, "label_issues.html", found=found, sections=sections, labels=LABELS, limit=limit)
