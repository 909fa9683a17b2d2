"""Self-contained HTML pages: one template environment, pictures inside the page, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from allmasked import __version__
from allmasked.core.errors import PhotoError, require
from allmasked.core.runs import write_text
from allmasked.core.types import Size
from allmasked.images import pixels
from allmasked.stats import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THUMBNAIL: Size = (240, 180)
"""Largest width and height in px of a picture in a page; shown at half or two thirds of it."""


def write_page(path: str | Path, template: str, **values: Any) -> Path:
    """Render one of the package's templates to ``path`` and return the path."""
    path = Path(path)
    write_text(path, render(template, **values))
    return path


def render(template: str, **values: Any) -> str:
    """One of the package's templates as HTML; every value is escaped, every missing one is an error."""
    jinja2 = require("jinja2", "train")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("allmasked.reports", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "count": count,
        "percent": percent,
        "figure": figure,
        "file_size": file_size,
        "duration": duration,
        "worded": worded,
    }
    now = datetime.now().astimezone()
    common = {"version": __version__, "made_at": now.strftime("%Y-%m-%d %H:%M")}
    return str(environment.get_template(template).render(common, **values))


def count(number: int) -> str:
    """``12,345``."""
    return f"{number:,}"


def percent(share: float, digits: int = 0) -> str:
    """``12 %`` for 0.12, unbreakable."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def figure(value: float | None, digits: int = 3) -> str:
    """A figure with this many digits; a dash where there is none."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def file_size(number: float) -> str:
    """``34 kB``, ``1.2 MB``."""
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.0f} kB"


def duration(seconds: float) -> str:
    """``8 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def picture(image: Image.Image, size: Size = THUMBNAIL, quality: int = 72) -> str:
    """An image as a ``data:`` address of a JPEG that fits into ``size`` px."""
    buffer = io.BytesIO()
    pixels.thumbnail(image, size).convert("RGB").save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def photo_picture(path: Path, size: Size = THUMBNAIL) -> str:
    """:func:`picture` of a photo file; empty where it cannot be decoded."""
    try:
        return picture(pixels.decode(path, fit_within=size), size)
    except PhotoError:
        return ""


def inline_svg(plot: Figure, name: str) -> str:
    """A plot to stand inside a page: its ids begin with ``name``, so that several don't get in each other's way."""
    return re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{name}-", plots.svg(plot))


def worded(svg: str, words: str) -> str:
    """An SVG of :func:`inline_svg` with ``words`` for those who cannot see it."""
    return svg.replace('role="img"', f'role="img" aria-label="{html.escape(words)}"', 1)


def histogram(series: Mapping[str, Sequence[float]], bins: int = 24, *, logarithmic: bool = False) -> dict[str, Any]:
    """Histograms on one axis for the macro ``histograms``: shares per bin of each series, edges, and ticks to label.

    The axis runs over the middle 99 % of all values; what lies outside is counted in the outermost bins.
    """
    everything = np.concatenate([np.asarray(v, dtype=np.float64) for v in series.values()] or [np.zeros(0)])
    if not everything.size:
        return {"series": {}, "edges": [], "top": 0.0}
    low, high = np.quantile(everything, [0.005, 0.995])
    if high <= low:
        low, high = low * 0.9 - 0.5, high * 1.1 + 0.5
    edges = np.geomspace(low, high, bins + 1) if logarithmic and low > 0 else np.linspace(low, high, bins + 1)
    shares = {}
    for name, values in series.items():
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        shares[name] = (counts / max(1, counts.sum())).tolist()
    return {"series": shares, "edges": edges.tolist(), "top": max(max(s) for s in shares.values())}
