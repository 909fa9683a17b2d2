"""Photos that belong together as their names tell: augmented copies of one photo, frames of one video.

A turned, cropped or recoloured copy may look too different to be found by its picture, and so may a frame of a street
in which everybody has walked on; in another part of a split they are a leak all the same.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import numpy as np

from allmasked.data import duplicates
from allmasked.data.duplicates import Descriptor, Pair

_ENDING = r"(?:jpe?g|png|bmp|webp|tiff?|heic)"
_CHANGE = r"""(?:(?:h|v|horizontal|vertical)?[ _-]?flip(?:ped)?|mirror(?:ed)?|rot(?:ated?|ation)?|bright(?:er|ness)?
              |dark(?:er)?|contrast|blur(?:red|ry)?|nois[ey]|crop(?:ped)?|zoom(?:ed)?|shear(?:ed)?|shift(?:ed)?|hue
              |saturation|gr[ae]y(?:scale)?|gamma|jitter|cutout|copy|kopie|copie|resized|scaled)"""

_NAMES = tuple(
    (re.compile(pattern, re.VERBOSE), sure)
    for pattern, sure in (
        (rf"(?P<source>.+?)(?:[._-]{_ENDING})?\.rf\.[0-9a-z]+", True),  # Roboflow
        (r".*?_original_(?P<source>.+)_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", True),  # Augmentor
        (r"(?P<source>.*aug[a-z]*[_-]?\d+)_\d+", True),  # Keras: prefix, number of the photo, a random number
        (r"(?P<source>.+?)[ ._-]+aug(?:mented|mentation)?(?:[ ._-]*[0-9a-z]+)?", True),  # imgaug, albumentations, ...
        (r"aug(?:mented)?[ ._-]*\d*[ ._-]+(?P<source>.+)", True),
        (rf"(?P<source>.+?)(?:[ ._-]+{_CHANGE}(?:[ ._-]*\d+)*)+", False),
        (rf"{_CHANGE}\d*[ ._-]+(?P<source>.+)", False),
    )
)
"""How tools name copies; those that are not sure (a photo may be called ``street_dark`` by itself) count only where a
photo of the source's own name is there, too."""


def source_of(path: str) -> tuple[str, bool]:
    """The name of the photo that a photo was made from, as far as its name says so, else its own; and whether that is
    sure."""
    return _source(PurePosixPath(path).stem.casefold())


def _source(name: str) -> tuple[str, bool]:
    for pattern, sure in _NAMES:
        if found := pattern.fullmatch(name):
            return found["source"], sure
    return name, True


def same_source(paths: Sequence[str]) -> list[Pair]:
    """Pairs (by index) that join the photos made from one source, each with the first of them."""
    names = [PurePosixPath(path).stem.casefold() for path in paths]
    own = {*names, *(source for source, sure in map(_source, names) if sure)}
    members: dict[str, list[int]] = defaultdict(list)
    copies: set[str] = set()
    for index, name in enumerate(names):
        source, sure = _source(name)
        if source == name or not (sure or source in own):
            source = name
        elif ".rf." in name:  # Roboflow over photos that had copies before
            before, known = _source(source)
            source = before if not known and before in own else source
        if source != name:
            copies.add(source)
        members[source].append(index)
    joined = (sorted(found) for source, found in members.items() if source in copies)
    return [Pair(first, other, 1.0, "source") for first, *rest in joined for other in rest]


# --- frames of a video ------------------------------------------------------------------------------------------------

NEAR = 8
"""Photos whose numbers differ by at most this may be frames that follow each other."""
MAX_NEAR = 24
FRAME_OVERLAP, FRAME_HALF, MIN_SHOWING = 0.85, 0.8, 40
"""Frames share so much of their picture, and half of so many tiles that show anything agree to this. Without the names
so little says nothing: two portraits before a wall agree as much."""


def video_frames(paths: Sequence[str], descriptors: Sequence[Descriptor]) -> list[Pair]:
    """Pairs (by index) of frames of a video or burst: photos of one size in px, numbered close to each other, that show
    the same place though people have moved; and those numbered right between two of one video."""
    series: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for index, (path, one) in enumerate(zip(paths, descriptors)):
        if (found := re.fullmatch(r"(.*?)(\d{1,15})(\D*)", source_of(path)[0])) and one.thumbnail.std() >= 2:
            series[found[1], found[3], str((one.width, one.height))].append((int(found[2]), index))
    near: list[tuple[int, int]] = []
    for numbered in series.values():
        numbered.sort()
        for at, (number, index) in enumerate(numbered):
            near += [(index, other) for n, other in numbered[at + 1 : at + 1 + MAX_NEAR] if n - number <= NEAR]
    pairs = _same_place(near, descriptors)
    number_of = dict(zip(range(len(paths)), duplicates.groups(len(paths), pairs)))
    for numbered in series.values():
        for (before, a), (number, b), (after, c) in zip(numbered, numbered[1:], numbered[2:]):
            if number_of[a] == number_of[c] != number_of[b] and after - before == 2 == 2 * (number - before):
                pairs.append(Pair(min(a, b), max(a, b), 1.0, "source"))
    return pairs


def _same_place(near: Sequence[tuple[int, int]], descriptors: Sequence[Descriptor]) -> list[Pair]:
    """Those of some pairs that show the same place."""
    if not near:
        return []
    used = sorted({index for pair in near for index in pair})
    found = [duplicates.frequencies(descriptors[index].thumbnail[None], [0])[0, 0] for index in used]
    at = dict(zip(used, found))
    alike = [(a, b) for a, b in near if float(at[a] @ at[b]) >= duplicates.MIN_COSINE]

    def check(pair: tuple[int, int]) -> Pair | None:
        a, b = pair
        one, other = descriptors[a].thumbnail, descriptors[b].thumbnail
        warp = duplicates.register(one, other, (0, 0, 1, 1))
        if warp is None:
            return None
        overlap, agreement, shows = duplicates.agreements(one, other, warp)
        if overlap < FRAME_OVERLAP or shows.sum() < MIN_SHOWING or np.median(agreement[shows]) < FRAME_HALF:
            return None
        return Pair(min(a, b), max(a, b), round(float(np.clip(np.percentile(agreement, 10), 0, 1)), 4), "scene")

    with duplicates.one_thread_each(), ThreadPoolExecutor(os.cpu_count()) as pool:
        return [pair for pair in pool.map(check, alike) if pair]


def siblings(paths: Sequence[str], descriptors: Sequence[Descriptor]) -> list[Pair]:
    """All pairs of photos that belong together: near-duplicates and scenes (:func:`near_duplicates`, remembered), those
    made from one source, frames of one video."""
    near = duplicates.near_duplicates(descriptors, remember=True)
    known = {(pair.a, pair.b) for pair in near}
    frames = [pair for pair in video_frames(paths, descriptors) if (pair.a, pair.b) not in known]
    return [*near, *frames, *same_source(paths)]
