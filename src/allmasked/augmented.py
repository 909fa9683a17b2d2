"""Augmented copies of a photo, known by the names that tools give them: a turned, cropped or recoloured copy may look
too different to be found by its picture, and in another part of a split it is a leak all the same."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from allmasked.duplicates import Pair

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
    name = PurePosixPath(path).stem.casefold()
    for pattern, sure in _NAMES:
        if found := pattern.fullmatch(name):
            return found["source"], sure
    return name, True


def same_source(paths: Sequence[str]) -> list[Pair]:
    """Pairs (by index) that join the photos made from one source, each with the first of them."""
    own = {PurePosixPath(path).stem.casefold() for path in paths}
    members: dict[str, list[int]] = defaultdict(list)
    copies: set[str] = set()
    for index, path in enumerate(paths):
        name = PurePosixPath(path).stem.casefold()
        source, sure = source_of(path)
        if source != name and (sure or source in own):
            copies.add(source)
            members[source].append(index)
        else:
            members[name].append(index)
    return [Pair(first, other, 1.0, "source") for source in copies for first, *rest in [sorted(members[source])]
            for other in rest]  # fmt: skip
