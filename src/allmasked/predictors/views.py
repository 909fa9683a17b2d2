"""Photos fitted in more than one way, and what several networks say of them put together.

Members of an ensemble may want photos at different sizes: each photo is decoded once and fitted to every view. What the
members find is put together on the photo itself, or on one input where nothing is known of the photos.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from allmasked.core.types import Answers, Candidates, Counting, InputSpec, MemberFaces, Size
from allmasked.images import pixels as px
from allmasked.networks import reading

Rule = Callable[[Counting, Size, InputSpec], Counting]
"""(a model's own rule, photo, input) -> which faces of that photo count, in its px."""


def decoded(
    views: Sequence[InputSpec], source: px.PhotoLike, name: str = "", *, max_pixels: int = px.MAX_PIXELS
) -> tuple[Image.Image, Size]:
    """A photo decoded once, at a scale that holds every view, and its own upright width and height in px.

    Raises:
        PhotoError: it can't be read.
    """
    widths, heights = zip(*(spec.size for spec in views))
    return px.decode_sized(source, name=name, fit_within=(max(widths), max(heights)), max_pixels=max_pixels)


def read_views(
    views: Sequence[InputSpec], source: px.PhotoLike, name: str = ""
) -> tuple[Size, tuple[NDArray[np.uint8], ...]]:
    """:func:`decoded` and fitted to each view: the photo's size, and (height, width, 3) uint8 for each view."""
    image, photo = decoded(views, source, name)
    return photo, tuple(px.to_input(image, spec) for spec in views)


def resized(pixels: NDArray[np.uint8], own: InputSpec, views: Sequence[InputSpec]) -> list[NDArray[np.uint8]]:
    """Photos (N, H, W, 3) that are fitted to one view already, for each of several; the others get them resized, which
    is not quite what they would see of the photo itself."""
    return [
        pixels if view == own or not len(pixels) else np.stack([px.to_input(Image.fromarray(p), view) for p in pixels])
        for view in views
    ]


def on_photo(found: Candidates, photo: Size, spec: InputSpec) -> Candidates:
    """Candidates in px of the input as those in px of the photo; without those that lie wholly beside it."""
    place = px.placement(photo, spec)
    offset = np.array([place.left, place.top] * 2)
    scale = np.array([place.scale_x, place.scale_y] * 2)
    boxes = (found.boxes - offset) / scale
    inside = (boxes[:, 2:] > 0).all(1) & (boxes[:, :2] < np.array(photo, float)).all(1)
    return replace(found, boxes=boxes).take(np.flatnonzero(inside))


def counting_on_photo(counting: Counting, photo: Size, spec: InputSpec) -> Counting:
    """The rule in px of the input as the one in px of the photo."""
    return replace(counting, min_face_px=counting.min_face_px / px.placement(photo, spec).scale_y)


def together(
    members: Sequence[MemberFaces], row: int, photo: Size, rule: Rule = counting_on_photo
) -> tuple[Candidates, Counting]:
    """What the members that were asked about a photo of ``photo`` px find in it, and which of these faces count by
    ``rule``, given the rule of the first of them; both in px of the photo."""
    asked = [member for member in members if member.faces[row] is not None]
    placed = [on_photo(cast(Candidates, member.faces[row]), photo, member.view) for member in asked]
    shares = np.array([member.share for member in asked])
    return merged(placed, shares / shares.sum()), rule(asked[0].counting, photo, asked[0].view)


def on_one_view(answers: Answers, size: Size) -> Answers:
    """The same with the members' faces put together in px of one input of ``size``, which all were resized from."""
    if not answers.members:
        return answers
    count = len(answers.probabilities)
    found = [together(answers.members, row, size) for row in range(count)]
    counting = next(counting for _, counting in found)
    return replace(answers, faces=tuple(faces for faces, _ in found), counting=counting, members=())


def merged(looks: Sequence[Candidates], shares: NDArray[np.float64]) -> Candidates:
    """The candidates of several networks about one photo as those of them all, likeliest first.

    Boxes that overlap are one face: its score is the mean of theirs (0 of a network that didn't find it), P(masked) the
    mean weighted by score, its box that of the surest.
    """
    score = np.concatenate([look.score for look in looks])
    masked = np.concatenate([look.masked for look in looks])
    boxes = np.concatenate([look.boxes for look in looks])
    owner = np.concatenate([np.full(len(look), number) for number, look in enumerate(looks)]).astype(int)
    overlap, _ = reading.overlaps(boxes, boxes)
    free = np.ones(len(score), bool)
    chosen, scores, wears = [], [], []
    for first in np.argsort(-score, kind="stable"):
        if not free[first]:
            continue
        together = [int(first)]
        for number in range(len(looks)):
            own = np.flatnonzero(free & (owner == number) & (overlap[first] > reading.OVERLAP))
            if number != owner[first] and len(own):
                together.append(int(own[score[own].argmax()]))
        free[together] = False
        weight = shares[owner[together]] * score[together]
        chosen.append(first)
        scores.append(weight.sum())
        wears.append(float((weight * masked[together]).sum() / max(weight.sum(), 1e-9)))
    found = Candidates(boxes[chosen], np.array(scores), np.array(wears), np.ones(len(chosen), bool))
    return found.take(np.argsort(-found.score, kind="stable"))
