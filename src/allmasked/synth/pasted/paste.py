"""``synth pasted``: photos of unmasked people into a labelled, boxed data set, by painting masks on their faces.

Three steps, the first two quick to repeat: a survey of the photos (who is there, whose face can be painted on, which
part of a photo shows only such faces), a plan (class, view and seed of each photo), and the painting. The folder is
that of :mod:`allmasked.synth.painted`, with ``sheet.png``, examples to look at.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from allmasked.core.errors import DataError, require
from allmasked.core.runs import claimed
from allmasked.core.types import CLASSES, Class, Part
from allmasked.data.dataset import sha256_of
from allmasked.images.pixels import scaled
from allmasked.predictors.devices import processors
from allmasked.synth.paint.brush import pick, skia
from allmasked.synth.paint.distractors import COVERED, DISTRACTORS
from allmasked.synth.paint.masks import MaskStyle, Place, paint_mask, sample_style
from allmasked.synth.painted import MANIFEST, Record, Summary, begin, check, fill, save, sheet
from allmasked.synth.pasted import fitting, landmarks, survey
from allmasked.synth.pasted.landmarks import Found
from allmasked.synth.pasted.survey import LARGEST_PX, SMALLEST_FACE_PX, SURVEY, head_of, load_photo

VERSION = 2
"""Raised whenever the same seed gives other photos; part of the manifest's settings."""

PEOPLE_SHARES = ((1, 1, 0.3), (2, 2, 0.28), (3, 3, 0.16), (4, 5, 0.14), (6, 99, 0.12))
"""From so many people to so many: how often; in ``some`` the same without the first."""

ENOUGH, JOINED_MOST = 150, 4
"""With fewer views of a count of people than this, photos are set side by side; up to which row of the table above."""

FLAT_SHARE, INCORRECT_SHARE, DISTRACTOR_SHARE = 0.33, 0.14, 0.2
"""Photos with masks stuck on flat; bare faces with a mask under the nose or on the chin; faces with a distractor."""


@dataclass(frozen=True)
class Pasted:
    """What :func:`paste_dataset` did: the summary, photos used, and photos left out by reason."""

    summary: Summary
    used: int
    left_out: Mapping[str, int]


def paste_dataset(
    photos: str | Path,
    out: str | Path,
    count: int = 600,
    seed: int = 0,
    *,
    part: Part = "train",
    data: str | Path | None = None,
    strict: bool = True,
    workers: int | None = None,
) -> Pasted:
    """Make a data set of ``count`` photos in ``out`` from the photos of unmasked people in ``photos``.

    The same photos and seed give the same files, whatever ``workers`` is. Started again after a stop, it goes on.

    Args:
        photos: a folder of photos of unmasked people; or a data set (class folders, with ``faces.csv`` or not; or a
            ``split.json``): then its photos of class ``none``, and where faces are marked also the parts of ``some``
            photos that show only bare faces.
        out: a folder that is empty, missing, or was begun by this function with the same settings.
        count: how many photos, all classes together; the classes differ by at most one.
        seed: 0 or more.
        part: of a ``split.json``, the part to use.
        data: the photos' folder, where it is not where the ``split.json`` says.
        strict: leave out photos (or the part of a photo) with a face on which detectors at two scales disagree, that
            is too small, turned too far, whose mouth is hidden (by a hand, say), or that nobody marked. Otherwise such
            faces stay bare, in photos of class ``none`` and ``some``.
        workers: processes; as many as there are usable CPUs when None.

    Raises:
        ConfigError: a setting out of range.
        DataError: no usable photo; ``out`` holds something else or cannot be written.
        MissingExtraError: Skia, OpenCV or SciPy is not installed.
    """
    out = Path(out)
    check(count, seed, workers)
    skia()
    landmarks.ready()
    require("scipy", "synth")
    root, sources = survey.sources_of(photos, part=part, data=data)
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.path} {sha256_of(root / source.path)} {source.faces}\n".encode())
    settings: Record = {
        "kind": "pasted", "version": VERSION, "photos": count, "seed": seed, "strict": strict,
        "sources": len(sources), "sources_sha256": digest.hexdigest(),
    }  # fmt: skip
    workers = workers or processors()
    try:
        with claimed(out):
            begin(out, settings)
            found = survey.surveyed(out, root, sources, workers)
            views, left_out = survey.all_views(found, strict)
            if not any(not view["bare"] for view in views):
                (out / SURVEY).unlink(missing_ok=True)
                (out / MANIFEST).unlink()
                reasons = ", ".join(f"{reason}: {number}" for reason, number in left_out.items())
                raise DataError(f"{photos}: no photo shows only faces that a mask can be painted on ({reasons})")
            tasks = plan(views, count, seed)
            paint = partial(paste_photo, out, root, seed)
            summary = fill(out, settings, count, paint, workers, tasks, extra=lambda: {"left_out": left_out})
            chosen = np.random.default_rng([seed, 7]).permutation(count)[:24]
            paths = [next(out.glob(f"*/{index:04d}.jpg")) for index in sorted(chosen, key=lambda k: (k % 3, k))]
            sheet(paths, out / "sheet.png", columns=6)
            (out / SURVEY).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error})") from error
    return Pasted(summary, len({view["path"] for view in views}), left_out)


# --- plan -------------------------------------------------------------------------------------------------------------


def plan(views: Sequence[Record], count: int, seed: int) -> list[Record]:
    """What each photo will be: its number, class and view. Classes take turns, and within each so do the views.

    Where fewer than :data:`ENOUGH` views show so many people, views of fewer people are also set side by side.
    """
    rng = np.random.default_rng([seed, 1])
    waiting: dict[tuple[Class, int], list[int]] = defaultdict(list)
    people = [len(view["faces"]) + len(view["bare"]) for view in views]
    bins = [[k for k, number in enumerate(people) if low <= number <= high] for low, high, _ in PEOPLE_SHARES]

    def next_of(label: Class, bin_: int, like: Record | None = None) -> Record:
        queue = waiting[label, bin_]
        if not queue:
            queue += rng.permutation([k for k in bins[bin_] if label != "all" or not views[k]["bare"]]).tolist()
        best = -1
        if like is not None:  # of the next dozen the one with faces of about the same size
            size = _share(like)
            best = max(range(-min(12, len(queue)), 0), key=lambda k: -abs(np.log(_share(views[queue[k]]) / size)))
        return views[queue.pop(best)]

    tasks = []
    for index in range(count):
        label = CLASSES[index % len(CLASSES)]
        there = [any(label != "all" or not views[k]["bare"] for k in members) for members in bins]
        singles = there[0]
        can_join = [singles and 0 < k < JOINED_MOST for k in range(len(bins))]
        usable = [k for k in range(len(bins)) if (there[k] or can_join[k]) and (k or label != "some")]
        bin_ = pick(rng, usable, [PEOPLE_SHARES[k][2] for k in usable])
        joined = 0 < bin_ < JOINED_MOST and singles and rng.random() > len(bins[bin_]) / ENOUGH
        chosen = [next_of(label, 0 if joined else bin_)]
        if joined:
            chosen += [next_of(label, 0, chosen[0]) for _ in range(PEOPLE_SHARES[bin_][0] - 1)]
        tasks.append({"index": index, "label": label, "views": chosen})
    return tasks


def _share(view: Record) -> float:
    """The height of a view's tallest face as a share of the view's."""
    boxes = [*(face["box"] for face in view["faces"]), *view["bare"]]
    return max(box[3] - box[1] for box in boxes) / (view["rect"][3] - view["rect"][1])


# --- painting ---------------------------------------------------------------------------------------------------------


def paste_photo(out: Path, root: Path, seed: int, task: Record) -> Record:
    """Paint one photo of the plan into its class folder; what the manifest says about it."""
    index, label, views = task["index"], task["label"], task["views"]
    rng = np.random.default_rng([seed, 2, index])
    faces = [(number, face) for number, view in enumerate(views) for face in view["faces"]]
    people, bare = len(faces), sum(len(view["bare"]) for view in views)
    masked = people if label == "all" else 0 if label == "none" else int(rng.integers(1, people + (bare > 0)))
    worn = set(rng.permutation(people)[:masked].tolist())
    flat = bool(rng.random() < FLAT_SHARE)
    pictures, frames, marked = list[Image.Image](), [], []
    for number, view in enumerate(views):
        image = load_photo(root / view["path"])[0]
        marks: list[Record] = [{"wear": "bare", "box": box} for box in view["bare"]]
        here = [k for k in range(people) if faces[k][0] == number]
        for k in sorted(here, key=lambda k: faces[k][1]["box"][3] - faces[k][1]["box"][1]):
            box, score, points = faces[k][1]["found"]
            found = Found((box[0], box[1], box[2], box[3]), score, np.array(points))
            image, what = dress(image, found, k in worn, flat, rng)
            marks.append({"box": faces[k][1]["box"], **what})
        picture, frame = framed(image, view, rng)
        for mark in marks:
            mark.update(moved(mark.pop("box"), frame, picture.size))
        pictures.append(picture)
        frames.append({"source": view["path"], **frame})
        marked.append(marks)
    picture, together = side_by_side(pictures, marked) if len(views) > 1 else (pictures[0], marked[0])
    record = save(out, index, label, picture, int(rng.integers(68, 96)), int(rng.choice([0, 2, 2])))
    together.sort(key=lambda mark: mark["left"])
    keys = ("wear", "left", "top", "right", "bottom")
    return {
        **record,
        "frames": frames,
        "flat": flat,
        "faces": [{key: mark[key] for key in keys} for mark in together],
        "painted": [{key: value for key, value in mark.items() if key not in keys} for mark in together],
    }


def side_by_side(
    pictures: Sequence[Image.Image], marked: Sequence[Sequence[Record]]
) -> tuple[Image.Image, list[Record]]:
    """Photos in one row, in two of the same width where one would be very long; and their faces."""
    if len(pictures) > 1 and sum(picture.width / picture.height for picture in pictures) > 2.8:
        half = len(pictures) // 2
        rows = [side_by_side(pictures[part], marked[part]) for part in (slice(half), slice(half, None))]
        width = min(row.width for row, _ in rows)
        places = [(0, 0, width, max(1, round(row.height * width / row.width))) for row, _ in rows]
        places[1] = (0, places[0][3], *places[1][2:])
        return _composed([row for row, _ in rows], [marks for _, marks in rows], places)
    height = min(picture.height for picture in pictures)
    scale = min(1.0, LARGEST_PX / sum(picture.width * height / picture.height for picture in pictures))
    places, left = [], 0
    for picture in pictures:
        width = max(1, round(picture.width * height / picture.height * scale))
        places.append((left, 0, width, max(1, round(height * scale))))
        left += width
    return _composed(pictures, marked, places)


def _composed(
    pictures: Sequence[Image.Image], marked: Sequence[Sequence[Record]], places: Sequence[tuple[int, int, int, int]]
) -> tuple[Image.Image, list[Record]]:
    """Pictures shrunk to their places (left, top, width, height px) in one, and their faces there."""
    size = (max(left + width for left, _, width, _ in places), max(top + height for _, top, _, height in places))
    whole, marks = Image.new("RGB", size), []
    for picture, faces, (left, top, width, height) in zip(pictures, marked, places):
        whole.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (left, top))
        x, y = width / picture.width, height / picture.height
        for face in faces:
            across = {edge: round(face[edge] * x + left, 1) for edge in ("left", "right")}
            marks.append({**face, **across, **{edge: round(face[edge] * y + top, 1) for edge in ("top", "bottom")}})
    return whole, marks


def dress(
    image: fitting.Image, found: Found, masked: bool, flat: bool, rng: np.random.Generator
) -> tuple[fitting.Image, Record]:
    """The photo with one face masked, or bare with what may be before it; how it is worn, and what was painted."""
    fit = fitting.fit_head(found)
    if fit is None:
        raise DataError(f"a face at {found.box} cannot be fitted")
    face = fit.geometry
    seen = fitting.conditions(image, found.box, face)
    skin = fitting.skin_of(image, face)
    place: Place | None = "worn" if masked else None
    wrong, distracted = rng.random() < INCORRECT_SHARE, rng.random() < DISTRACTOR_SHARE
    if not masked and wrong and found.height_px >= 36:
        place = "under_nose" if rng.random() < 0.6 else "on_chin"
    what: Record = {"wear": "masked" if masked else "incorrect" if place else "bare"}
    if place:
        style = _style(rng, skin)
        what |= {"kind": style.kind, "pattern": style.pattern, "place": place, "style_seed": style.seed}
        what["colour"] = [round(value) for value in style.colours[0]]
        if flat:
            light = seen.light
            image = fitting.stick(image, face, lambda b, front: paint_mask(b, front, style, place, light, flat=True))
        else:
            layer = fitting.paint_layer(image, face, lambda brush: paint_mask(brush, face, style, place, seen.light))
            image = fitting.lay(image, layer, face, seen, rng)
    if distracted and found.height_px >= 36:
        name = pick(rng, COVERED if place else list(DISTRACTORS))
        red, green, blue = (np.asarray(skin) / np.maximum(seen.exposure * seen.cast, 0.2)).tolist()
        layer = fitting.paint_layer(image, face, lambda b: DISTRACTORS[name](b, face, (red, green, blue), rng), 2.6)
        image = fitting.lay(image, layer, face, seen, rng)
        what["distractor"] = name
    return image, what


def _style(rng: np.random.Generator, skin: tuple[float, float, float]) -> MaskStyle:
    style = sample_style(rng)
    while np.hypot.reduce(np.subtract(style.colours[0], skin)) < 60:  # a mask that looks like skin tells nothing
        style = sample_style(rng)
    return style


def framed(image: fitting.Image, view: Record, rng: np.random.Generator) -> tuple[Image.Image, Record]:
    """The view of a photo, often cut closer, mirrored or shrunk, so that one photo gives many."""
    left, top, right, bottom = view["rect"]
    heads = [head_of(box, right, bottom) for box in [*(face["box"] for face in view["faces"]), *view["bare"]]]
    if rng.random() < 0.6:
        lefts, tops, rights, bottoms = zip(*heads)
        free = [min(lefts) - left, min(tops) - top, right - max(rights), bottom - max(bottoms)]
        cut = [int(max(0, gap) * share) for gap, share in zip(free, rng.uniform(0, 0.8, 4))]
        if min(right - left - cut[0] - cut[2], bottom - top - cut[1] - cut[3]) >= 80:
            left, top, right, bottom = left + cut[0], top + cut[1], right - cut[2], bottom - cut[3]
    mirrored = bool(rng.random() < 0.5)
    lowest = min(face["box"][3] - face["box"][1] for face in view["faces"])
    shrink = float(rng.uniform(0.5, 1.0)) if rng.random() < 0.4 else 1.0
    shrink = max(shrink, min(1.0, 1.1 * SMALLEST_FACE_PX / lowest), min(1.0, 96 / min(right - left, bottom - top)))
    picture = Image.fromarray(image).crop((left, top, right, bottom))
    if mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if shrink < 1:
        picture = picture.resize(scaled(picture.size, shrink), Image.Resampling.LANCZOS)
    return picture, {"crop": [left, top, right, bottom], "mirrored": mirrored, "shrunk": round(shrink, 3)}


def moved(box: Sequence[float], frame: Record, size: tuple[int, int]) -> Record:
    """A box of the photo in the finished picture."""
    left, top, right, bottom = frame["crop"]
    x, y = size[0] / (right - left), size[1] / (bottom - top)
    edges = [(box[0] - left) * x, (box[1] - top) * y, (box[2] - left) * x, (box[3] - top) * y]
    if frame["mirrored"]:
        edges[0], edges[2] = size[0] - edges[2], size[0] - edges[0]
    clipped = [float(np.clip(edge, 0, size[k % 2])) for k, edge in enumerate(edges)]
    return dict(zip(("left", "top", "right", "bottom"), (round(edge, 1) for edge in clipped)))
