"""Heat maps as pictures: laid over each photo, and many on one sheet."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import PIL.Image
from PIL.Image import Image

from allmasked.core.errors import PhotoError
from allmasked.core.runs import replacing
from allmasked.core.types import CLASSES, Class, InputSpec, Prediction, Size
from allmasked.explaining.explain import Explanation
from allmasked.explaining.network import Floats
from allmasked.images import draw
from allmasked.images import pixels as px

TILE: Size = (220, 165)


def picture(path: str | Path, heat: Floats, spec: InputSpec, *, longest_px: int = 1024) -> tuple[Image, Image]:
    """The photo (at most ``longest_px`` long) and the same with the heat map laid over it. Raises PhotoError."""
    frame = (longest_px, longest_px)
    photo = px.thumbnail(px.decode(path, fit_within=frame), frame)
    return photo, draw.overlay(photo, draw.on_photo(heat, photo.size, spec))


def true_label(path: str | Path) -> Class | None:
    """The class that a photo's folder is named after (``.../none/x.jpg``), None where it isn't."""
    folder = Path(path).absolute().parent.name.lower()
    return next((label for label in CLASSES if label == folder), None)


class Names:
    """What files for photos are called: after them, no two alike, short enough (a name has 255 bytes at most)."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: Counter[str] = Counter()

    def of(self, path: str) -> str:
        """The next name: the photo's own without its ending, numbered (``x-2``) where another one has it."""
        name = stem = os.fsdecode(os.fsencode(Path(path).stem)[:150])
        while not self._last[stem.lower()] or name.lower() in self._taken:
            self._last[stem.lower()] += 1
            number = self._last[stem.lower()]
            name = stem if number == 1 else f"{stem}-{number}"
        self._taken.add(name.lower())
        return name


def write_pictures(
    explanations: Iterable[Explanation],
    out: str | Path,
    spec: InputSpec,
    *,
    tag: str = "grad-cam",
    tiles_shown: int = 48,
) -> Iterator[tuple[Explanation, Path | None]]:
    """Write one overlay a photo into the folder ``out``, then ``grid.png`` of the first ``tiles_shown``.

    A picture is called after its photo and ``tag``; a number keeps names apart (``x.grad-cam.jpg``,
    ``x-2.grad-cam.jpg``). Yields each explanation with its picture's path (None where the photo can't be read).
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    names = Names()
    tiles: list[Image] = []
    captions: list[str] = []
    colours: list[str] = []
    for explanation in explanations:
        if explanation.heat is None or explanation.prediction.probabilities is None:
            yield explanation, None
            continue
        try:
            photo, overlaid = picture(explanation.path, explanation.heat, spec)
        except PhotoError as error:
            yield replace(explanation, prediction=Prediction(error.path, None, None, error.reason)), None
            continue
        target = out / f"{names.of(explanation.path)}.{tag}.jpg"
        with replacing(target) as temporary:
            overlaid.save(temporary, quality=90)
        if len(tiles) < tiles_shown:
            tiles.append(_pair(px.thumbnail(photo, TILE), px.thumbnail(overlaid, TILE)))
            caption, colour = _caption(explanation)
            captions.append(caption)
            colours.append(colour)
        yield explanation, target
    if tiles:
        with replacing(out / "grid.png") as temporary:
            draw.grid(tiles, captions, colours=colours).save(temporary)


def _pair(left: Image, right: Image) -> Image:
    both = PIL.Image.new("RGB", (left.width + right.width + 2, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 2, 0))
    return both


def _caption(explanation: Explanation) -> tuple[str, str]:
    label = explanation.prediction.label
    text = f"{label} {explanation.prediction.confidence:.2f}"
    if explanation.explained != label:
        text += f" (heat: {explanation.explained})"
    truth = true_label(explanation.path)
    if truth is None:
        return text, "black"
    return f"{text}\ntrue: {truth}", "#00703c" if truth == label else "#b3261e"
