"""The check of an exported file: photos, or drawn pictures, through it and through Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import AllmaskedError, PhotoError
from allmasked.core.runs import Run
from allmasked.core.types import Answers, InputSpec, Size
from allmasked.exporting.formats import PRECISIONS
from allmasked.exporting.source import Pixels, Source, Views
from allmasked.images import pixels as px
from allmasked.predictors.views import read_views

READING = 1e-3
"""How far a file's own answer and faces may be from what its maps say, in any precision: both are float32."""

MOVED = 1e-3
"""Share of the maps' cells that may differ by any amount."""


class ExportError(AllmaskedError):
    """The exported file does not answer as the run's model does."""


@dataclass(frozen=True)
class RoundTrip:
    """How the file's answers differ from those of Keras (the Python ensemble) over ``photos`` photos.

    ``largest`` and ``mean`` are differences of probabilities, ``labels`` the share of photos with the same label (of
    photos whose two likeliest classes differ by more than twice the tolerance), ``heat`` the difference of the maps
    (0-1) that no more than a thousandth of the cells exceed: where a peak moves by a cell, another crop is looked at.
    An answer that is read off maps jumps where a face just counts as one; so there the maps decide whether the file is
    right (``by_maps``), and one photo may have another label (``other_labels`` counts them), however few there are.
    ``reading`` is how far its outputs ``answer`` and ``faces`` are from what its own maps say: probabilities, and boxes
    in input widths.
    """

    photos: int
    largest: float
    mean: float
    labels: float
    heat: float = 0.0
    by_maps: bool = False
    reading: float = 0.0
    other_labels: int = 0

    @property
    def off(self) -> float:
        """What must stay within the precision's tolerance."""
        return self.heat if self.by_maps else self.largest


def photos(run: Run, data: str | Path | None, source: Source, part: str, count: int, seed: int) -> Views:
    """Up to ``count`` photos of a part, drawn at random; of ``data``, or of the run's own split.

    Photos that can't be read are left out; of the run's own split none where it has moved away.
    """
    from allmasked.data.dataset import load_photos, read_split

    none = [np.zeros((0, *view.size[::-1], 3), np.uint8) for view in source.views]
    if data is not None:
        split = load_photos(Path(data))
        chosen = split.part(part) or split.photos  # type: ignore[arg-type]
    else:
        try:
            split = read_split(run.split)
            chosen = split.part(part)  # type: ignore[arg-type]
        except AllmaskedError:
            return none
    order = np.random.default_rng(seed).permutation(len(chosen))[:count]
    paths = [(chosen[i].path, split.root / chosen[i].path) for i in order]
    read = [
        found
        for batch in px.decode_batches(paths, lambda path, name: read_views(source.views, path, name)[1])
        for _, found in batch
        if not isinstance(found, PhotoError)
    ]
    return [np.stack(view) for view in zip(*read)] if read else none


def drawn_views(views: Sequence[InputSpec], seed: int = 0) -> Views:
    """:func:`drawn_pictures` fitted to each view."""
    largest = max((view.size for view in views), key=lambda size: size[0] * size[1])
    pictures = drawn_pictures(largest, seed=seed)
    return [np.stack([px.to_input(px.Image.fromarray(picture), view) for picture in pictures]) for view in views]


def drawn_pictures(size: Size, count: int = 16, seed: int = 0) -> Pixels:
    """Pictures of coloured discs and bars on gradients (N, H, W, 3) uint8: for a round trip without photos."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(seed)
    width, height = size
    pictures = []
    for _ in range(count):
        corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        image = Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(image)
        for _ in range(rng.integers(0, 7)):
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            radius = int(rng.integers(3, max(4, height // 4)))
            skin, cloth = (tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(2))
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=skin)
            if rng.random() < 0.5:
                pen.rectangle((x - radius * 3 // 4, y, x + radius * 3 // 4, y + radius * 3 // 4), fill=cloth)
        noise = rng.normal(0, 6, (height, width, 3))
        pictures.append((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    return np.stack(pictures)


def compare(expected: Answers, found: Answers, tolerance: float, steady: NDArray[np.bool_] | None = None) -> RoundTrip:
    """How two answers for the same photos differ, over those that are ``steady`` (see :meth:`Source.expected`); labels
    count where the expected one is not a near tie. Raises :class:`ExportError` where no photo is steady."""
    kept = np.ones(len(expected.probabilities), bool) if steady is None else steady
    if not kept.any():
        raise ExportError(
            "not written: for every picture the majority hangs on a member that is undecided; give photos of people"
            " (--validate)"
        )
    four, theirs = expected.own[kept], found.own[kept]
    difference = np.abs(four - theirs)
    ranked = np.sort(four, 1)
    clear = ranked[:, -1] - ranked[:, -2] > 2 * min(tolerance, 1e-3)
    same = four.argmax(1) == theirs.argmax(1)
    heat = 0.0
    for maps, others in ((expected.evidence, found.evidence), (expected.cam, found.cam)):
        if maps is not None and others is not None:
            heat = float(np.quantile(np.abs(maps - others)[kept], 1 - MOVED, method="higher"))
    other_labels = int((~same[clear]).sum())
    labels = 1 - other_labels / max(1, int(clear.sum()))
    by_maps = expected.faces is not None and expected.evidence is not None
    largest, mean = float(difference.max()), float(difference.mean())
    return RoundTrip(len(four), largest, mean, labels, heat, by_maps, other_labels=other_labels)


def misread(outputs: Mapping[str, NDArray[Any]], answers: Answers, width_px: int) -> float:
    """How far a file's outputs ``answer`` and ``faces`` are from ``answers``, which were read off its maps in Python.

    The largest difference of the probabilities, and of the boxes in input widths; 1 where other faces are found.
    """
    if "answer" not in outputs or answers.faces is None:
        return 0.0
    worst = float(np.abs(outputs["answer"] - answers.own).max())
    for rows, found in zip(outputs["faces"], answers.faces):
        kept = rows[rows[:, 4] > 0]
        if len(kept) != len(found):
            return 1.0
        own = np.column_stack([found.boxes / width_px, found.score, found.masked, found.counts])
        kept = np.column_stack([kept[:, :4] / width_px, kept[:, 4:]])
        first, second = (rows[np.argsort(-rows[:, 4], kind="stable")] for rows in (kept, own))
        worst = max(worst, float(np.abs(first - second).max(initial=0.0)))
    return worst


def refuse(found: RoundTrip, precision: str, out: Path) -> None:
    """Raise :class:`ExportError` where the file is not to be left behind."""
    most, others = PRECISIONS[precision]
    if not found.reading <= READING:
        raise ExportError(
            f"{out}: not written: over {found.photos} pictures its 'answer' and 'faces' differ from what its maps "
            f"say by up to {found.reading:.2g} (allowed {READING:g})"
        )
    many = 1 - found.labels > others and not (found.by_maps and found.other_labels == 1)
    if not np.isfinite(found.off) or found.off > most or many:
        what = "maps" if found.by_maps else "probabilities"
        raise ExportError(
            f"{out}: not written: over {found.photos} pictures its {what} differ from those of Keras by up to "
            f"{found.off:.2g} (allowed {most:g}), {1 - found.labels:.1%} of the labels do (allowed {others:.0%})"
        )
