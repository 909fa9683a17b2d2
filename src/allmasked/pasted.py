"""``synth pasted``: photos of unmasked people into a labelled, boxed data set, by painting masks on their faces.

Three steps, the first two quick to repeat: a survey of the photos (who is there, whose face can be painted on, which
part of a photo shows only such faces), a plan (class, view and seed of each photo), and the painting. The folder is
that of :mod:`allmasked.painted`, with ``sheet.png``, examples to look at.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from allmasked import fitting, landmarks, pixels
from allmasked.annotations import files_in, relative
from allmasked.brush import pick, skia
from allmasked.dataset import is_split, read_split, sha256_of
from allmasked.distractors import COVERED, DISTRACTORS
from allmasked.errors import DataError, PhotoError
from allmasked.landmarks import Box, Found
from allmasked.masks import MaskStyle, Place, paint_mask, sample_style
from allmasked.painted import MANIFEST, Record, Summary, begin, check, cpus, fill, save, sheet, spread
from allmasked.progress import bar
from allmasked.readers import READERS, Options, read_dataset, root_of
from allmasked.types import CLASSES, Face, Label, Part

VERSION = 2
"""Raised whenever the same seed gives other photos; part of the manifest's settings."""

SURVEY = ".survey.jsonl"

LARGEST_PX = 800
"""Photos are brought to this long side at most, as stock photos on the web are."""

HEMMED = "too near to a masked face"
MASKED = ("wears a mask", "perhaps masked")
"""Reasons against a face that hold without ``strict`` too: it is not bare."""

SMALLEST_FACE_PX = 14
"""Boxes of faces must be this high to be painted on: below, a mask is three pixels."""

PEOPLE_SHARES: tuple[tuple[int, int, float], ...] = (
    (1, 1, 0.3),
    (2, 2, 0.28),
    (3, 3, 0.16),
    (4, 5, 0.14),
    (6, 99, 0.12),
)
"""From so many people to so many: how often; in ``some`` the same without the first."""

ENOUGH, JOINED_MOST = 150, 4
"""With fewer views of a count of people than this, photos are set side by side; up to which row of the table above."""

FLAT_SHARE, INCORRECT_SHARE, DISTRACTOR_SHARE = 0.33, 0.14, 0.2
"""Photos with masks stuck on flat; bare faces with a mask under the nose or on the chin; faces with a distractor."""


@dataclass(frozen=True)
class Source:
    """A photo to paint on. ``faces`` is None where nobody has marked them: then the detector finds them."""

    path: str
    faces: tuple[Face, ...] | None


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
        MissingExtraError: Skia, OpenCV or the detector is not installed.
    """
    out = Path(out)
    check(count, seed, workers)
    skia()
    landmarks.ready()
    root, sources = sources_of(photos, part=part, data=data)
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.path} {sha256_of(root / source.path)} {source.faces}\n".encode())
    settings: Record = {
        "kind": "pasted",
        "version": VERSION,
        "photos": count,
        "seed": seed,
        "strict": strict,
        "sources": len(sources),
        "sources_sha256": digest.hexdigest(),
    }
    workers = workers or cpus()
    try:
        begin(out, settings)
        surveyed = _surveyed(out, root, sources, workers)
        views, left_out = _views(surveyed, strict)
        if not any(not view["bare"] for view in views):
            (out / SURVEY).unlink(missing_ok=True)
            (out / MANIFEST).unlink()
            reasons = ", ".join(f"{reason}: {number}" for reason, number in left_out.items())
            raise DataError(f"{photos}: no photo shows only faces that a mask can be painted on ({reasons})")
        tasks = plan(views, count, seed)
        summary = fill(
            out,
            settings,
            count,
            partial(paste_photo, out, root, seed),
            workers,
            tasks=tasks,
            extra=lambda: {"left_out": left_out},
        )
        chosen = np.random.default_rng([seed, 7]).permutation(count)[:24]
        paths = [next(out.glob(f"*/{index:04d}.jpg")) for index in sorted(chosen, key=lambda k: (k % 3, k))]
        sheet(paths, out / "sheet.png", columns=6)
        (out / SURVEY).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error})") from error
    return Pasted(summary, len({view["path"] for view in views}), left_out)


def sources_of(
    photos: str | Path, *, part: Part = "train", data: str | Path | None = None
) -> tuple[Path, list[Source]]:
    """The root and the photos to paint on, in the order of their paths.

    Raises:
        DataError: not there, or none of class ``none`` or ``some`` in it.
    """
    path = Path(photos)
    if not path.exists():
        raise DataError(f"{photos}: no such file or folder")
    if is_split(path):
        split = read_split(path, data)
        root, listed = split.root, split.part(part)
    elif any(reader.detect(path.resolve(), Options()) for reader in READERS.values()):
        root, found, _ = read_dataset(path)
        listed = tuple(found)
    elif path.is_dir():
        root = root_of(path)
        plain = [Source(relative(file, root), None) for file in files_in(root, pixels.SUFFIXES)]
        if not plain:
            raise DataError(f"{photos}: holds no photo")
        return root, plain
    else:
        raise DataError(f"{photos}: is neither a folder of photos, nor a data set, nor a split.json")
    chosen = [
        Source(photo.path, photo.faces)
        for photo in listed
        if photo.label == "none" or (photo.label == "some" and photo.faces)
    ]
    if not chosen:
        raise DataError(f"{photos}: has no photo of unmasked people (class none)")
    return root, sorted(chosen, key=lambda source: source.path)


# --- survey: whose face can be painted on -----------------------------------------------------------------------------


def survey(root: Path, source: Source) -> Record:
    """Every face of a photo: its box, and either its landmarks or why no mask is painted on it."""
    try:
        image, scale = _load(root / source.path)
    except PhotoError as error:
        return {"path": source.path, "error": error.reason}
    record: Record = {"path": source.path, "size": list(image.shape[1::-1])}
    if source.faces is None:
        return {**record, "faces": [_examined(image, face.box, agreed) for face, agreed in _agreed(image)]}
    faces: list[Record] = []
    for face in source.faces:
        box = _rounded([face.left * scale, face.top * scale, face.right * scale, face.bottom * scale])
        small = box[3] - box[1] < SMALLEST_FACE_PX
        why = "wears a mask" if face.wear != "unmasked" else "too small" if small else ""
        faces.append({"box": box, "why": why} if why else {"box": box, "found": None})
    hopeful = [face["box"] for view in views_of({**record, "faces": faces}, True) for face in view["faces"]]
    if not hopeful:  # nobody here can stand in a picture of their own, so nothing needs to be looked for
        return {**record, "faces": faces}
    boxes = [face["box"] for face in faces]
    for number, box in enumerate(boxes):
        if "found" in faces[number]:
            known = (box[0], box[1], box[2], box[3])
            examined = _examined(image, known, True, keep_box=True) if box in hopeful else {"box": box, "why": HEMMED}
            faces[number] = examined
    for found in landmarks.find(image, min(_scales(image)[0], 640), landmarks.SURE):
        if not any(_inside(found.box, box) for box in boxes):
            faces.append({"box": _rounded(found.box), "why": "not marked"})
    return {**record, "faces": faces}


def _load(path: Path) -> tuple[fitting.Image, float]:
    """A photo at most :data:`LARGEST_PX` on its long side, and how much it was shrunk for that."""
    image = pixels.decode(path)
    scale = min(1.0, LARGEST_PX / max(image.size))
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image), scale


def _scales(image: fitting.Image) -> tuple[int, int]:
    """The long sides (px) at which a photo is searched."""
    first = int(np.clip(max(image.shape[:2]) * 1.25, 320, 800))
    return first, round(first * 1.5)


def _agreed(image: fitting.Image) -> Iterator[tuple[Found, bool]]:
    """Faces found at two scales, and whether both agree on each."""
    first, second = (landmarks.find(image, long_px) for long_px in _scales(image))
    for face in first:
        twin = max(second, key=lambda other: landmarks.overlap(face.box, other.box), default=None)
        same = twin is not None and landmarks.overlap(face.box, twin.box) > 0.35
        best = max(face.score, twin.score if twin and same else 0.0)
        if best >= landmarks.SURE:
            yield (face, same)
    for face in second:
        if face.score >= landmarks.SURE and all(landmarks.overlap(face.box, other.box) <= 0.35 for other in first):
            yield face, False


def _examined(image: fitting.Image, box: Box, agreed: bool, keep_box: bool = False) -> Record:
    """What the survey says of one bare face."""
    record: Record = {"box": _rounded(box)}
    if not agreed:
        return {**record, "why": "doubtful"}
    if box[3] - box[1] < SMALLEST_FACE_PX:
        return {**record, "why": "too small"}
    found = landmarks.look_closer(image, box)
    if found is None:
        return {**record, "why": "no landmarks"}
    fit = fitting.fit_head(found)
    if fit is None:
        return {**record, "why": "turned too far"}
    if fitting.looks_masked(image, fit.geometry):
        return {**record, "why": "perhaps masked"}
    if fitting.mouth_hidden(image, fit.geometry):
        return {**record, "why": "mouth hidden"}
    return {
        "box": _rounded(box if keep_box else found.box),
        "found": [_rounded(found.box), round(found.score, 3), np.round(found.points, 2).tolist()],
    }


def _rounded(box: Sequence[float]) -> list[float]:
    return [round(float(edge), 1) for edge in box]


def _inside(box: Box, other: Sequence[float]) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return landmarks.overlap(box, other) > 0.2 or (other[0] <= x <= other[2] and other[1] <= y <= other[3])


def _surveyed(out: Path, root: Path, sources: Sequence[Source], workers: int) -> list[Record]:
    """The survey of all photos, in their order; kept in ``out`` so that it is not made twice."""
    cache = out / SURVEY
    known: dict[str, Record] = {}
    if cache.is_file():
        for line in cache.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # the line that a kill cut off
                continue
            known[record["path"]] = record
    missing = [source for source in sources if source.path not in known]
    if missing:
        with bar() as progress, cache.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in known.values())
            task = progress.add_task("finding faces", total=len(sources), completed=len(known), note="photos")
            with closing(spread(partial(survey, root), missing, min(workers, len(missing)))) as records:
                for record in records:
                    known[record["path"]] = record
                    file.write(json.dumps(record) + "\n")
                    file.flush()
                    progress.advance(task)
    return [known[source.path] for source in sources]


# --- views: the part of a photo that shows only faces that can be painted on ------------------------------------------


def _views(surveyed: Sequence[Record], strict: bool) -> tuple[list[Record], dict[str, int]]:
    """Views of all photos, and how many photos have none, by reason."""
    views, left_out = [], Counter[str]()
    for record in surveyed:
        found = views_of(record, strict)
        views += found
        if not found:
            reasons = [
                face["why"] for face in record.get("faces", []) if "why" in face and face["why"] != "wears a mask"
            ]
            nobody = HEMMED if record.get("faces") else "no face found"
            reason = (
                "cannot be read" if "error" in record else Counter(reasons).most_common(1)[0][0] if reasons else nobody
            )
            left_out[reason] += 1
    return views, dict(left_out.most_common())


def views_of(record: Record, strict: bool) -> list[Record]:
    """Largest parts of a photo (px), one after the other, that show paintable faces whole and no other face.

    Without ``strict`` other bare faces may be in them: ``bare`` lists these.
    """
    if "error" in record:
        return []
    width, height = record["size"]
    paintable = [k for k, face in enumerate(record["faces"]) if "found" in face]
    shy = [k for k, face in enumerate(record["faces"]) if "found" not in face and (strict or face["why"] in MASKED)]
    heads = {k: _head(record["faces"][k]["box"], width, height) for k in range(len(record["faces"]))}
    views: list[Record] = []
    seen: set[int] = set()
    for seed in sorted(paintable, key=lambda k: heads[k][1] - heads[k][3]):
        if seed in seen:
            continue
        rect = _largest(seed, heads, set(shy), width, height)
        if rect is None:
            continue
        inside = [k for k in paintable if _contains(rect, heads[k])]
        seen.update(inside)
        bare = [
            k for k in range(len(record["faces"])) if k not in paintable and k not in shy and _contains(rect, heads[k])
        ]
        views.append(
            {
                "path": record["path"],
                "rect": list(rect),
                "faces": [record["faces"][k] for k in inside],
                "bare": [record["faces"][k]["box"] for k in bare],
            }
        )
    return views


def _head(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """A face's box with the hair, ears and chin around it, inside the photo."""
    grow_x, grow_y = 0.22 * (box[2] - box[0]), 0.22 * (box[3] - box[1])
    return (
        max(0, int(box[0] - grow_x)),
        max(0, int(box[1] - grow_y)),
        min(width, int(box[2] + grow_x) + 1),
        min(height, int(box[3] + grow_y) + 1),
    )


def _contains(rect: Sequence[int], head: Sequence[int]) -> bool:
    return rect[0] <= head[0] and rect[1] <= head[1] and rect[2] >= head[2] and rect[3] >= head[3]


def _largest(
    seed: int, heads: Mapping[int, tuple[int, int, int, int]], shy: set[int], width: int, height: int
) -> tuple[int, int, int, int] | None:
    """From the whole photo, cut where it costs least until no shy face and no part of a face is left; keep ``seed``."""
    rect, own = [0, 0, width, height], heads[seed]
    while True:
        crossing = [
            head
            for k, head in heads.items()
            if k != seed
            and head[0] < rect[2] and rect[0] < head[2] and head[1] < rect[3] and rect[1] < head[3]
            and (k in shy or not _contains(rect, head))
        ]  # fmt: skip
        if not crossing:
            break
        best: list[int] | None = None
        area = 0
        for head in crossing:
            for side, edge in ((0, head[2]), (1, head[3]), (2, head[0]), (3, head[1])):
                cut = list(rect)
                cut[side] = edge
                size = (cut[2] - cut[0]) * (cut[3] - cut[1])
                if _contains(cut, own) and size > area:
                    best, area = cut, size
            break  # the first that is in the way, then look again
        if best is None:
            return None
        rect = best
    wide, high = rect[2] - rect[0], rect[3] - rect[1]
    if min(wide, high) < 64 or max(wide, high) > 3.2 * min(wide, high):
        return None
    return rect[0], rect[1], rect[2], rect[3]


# --- plan -------------------------------------------------------------------------------------------------------------


def plan(views: Sequence[Record], count: int, seed: int) -> list[Record]:
    """What each photo will be: its number, class and view. Classes take turns, and within each so do the views.

    Where fewer than :data:`ENOUGH` views show so many people, views of fewer people are also set side by side.
    """
    rng = np.random.default_rng([seed, 1])
    waiting: dict[tuple[Label, int], list[int]] = defaultdict(list)
    people = [len(view["faces"]) + len(view["bare"]) for view in views]
    bins = [[k for k, number in enumerate(people) if low <= number <= high] for low, high, _ in PEOPLE_SHARES]

    def next_of(label: Label, bin_: int, like: Record | None = None) -> Record:
        queue = waiting[label, bin_]
        if not queue:
            queue += rng.permutation([k for k in bins[bin_] if label != "all" or not views[k]["bare"]]).tolist()
        best = -1
        if like is not None:  # of the next dozen the one with faces of about the same size
            best = max(
                range(-min(12, len(queue)), 0), key=lambda k: -abs(np.log(_share(views[queue[k]]) / _share(like)))
            )
        return views[queue.pop(best)]

    tasks = []
    for index in range(count):
        label = CLASSES[index % len(CLASSES)]
        there = [any(label != "all" or not views[k]["bare"] for k in members) for members in bins]
        singles = there[0]
        usable = [
            k for k in range(len(bins)) if (there[k] or (singles and 0 < k < JOINED_MOST)) and (k or label != "some")
        ]
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
    pictures: list[Image.Image] = []
    frames, marked = [], []
    for number, view in enumerate(views):
        image = _load(root / view["path"])[0]
        marks: list[Record] = [{"wear": "unmasked", "box": box} for box in view["bare"]]
        here = [k for k in range(people) if faces[k][0] == number]
        for k in sorted(here, key=lambda k: faces[k][1]["box"][3] - faces[k][1]["box"][1]):
            box, score, points = faces[k][1]["found"]
            found = Found((box[0], box[1], box[2], box[3]), score, np.array(points))
            image, what = dress(image, found, k in worn, flat, rng)
            marks.append({"box": faces[k][1]["box"], **what})
        picture, frame = _framed(image, view, rng)
        for mark in marks:
            mark.update(_moved(mark.pop("box"), frame, picture.size))
        pictures.append(picture)
        frames.append({"source": view["path"], **frame})
        marked.append(marks)
    picture, together = _side_by_side(pictures, marked) if len(views) > 1 else (pictures[0], marked[0])
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


def _side_by_side(
    pictures: Sequence[Image.Image], marked: Sequence[Sequence[Record]]
) -> tuple[Image.Image, list[Record]]:
    """Photos in one row, in two of the same width where one would be very long; and their faces."""
    if len(pictures) > 1 and sum(picture.width / picture.height for picture in pictures) > 2.8:
        half = len(pictures) // 2
        rows = [_side_by_side(pictures[part], marked[part]) for part in (slice(half), slice(half, None))]
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
    what: Record = {"wear": "masked" if masked else "incorrect" if place else "unmasked"}
    if place:
        style = _style(rng, skin)
        what |= {"kind": style.kind, "pattern": style.pattern, "place": place, "style_seed": style.seed}
        what["colour"] = [round(value) for value in style.colours[0]]
        if flat:
            image = fitting.stick(
                image, face, lambda brush, front: paint_mask(brush, front, style, place, seen.light, flat=True)
            )
        else:
            layer = fitting.paint_layer(image, face, lambda brush: paint_mask(brush, face, style, place, seen.light))
            image = fitting.lay(image, layer, face, seen, rng)
    if distracted and found.height_px >= 36:
        name = pick(rng, COVERED if place else list(DISTRACTORS))
        bare_skin = tuple(float(v) for v in np.asarray(skin) / np.maximum(seen.exposure * seen.cast, 0.2))
        layer = fitting.paint_layer(
            image,
            face,
            lambda brush: DISTRACTORS[name](brush, face, (bare_skin[0], bare_skin[1], bare_skin[2]), rng),
            2.6,
        )
        image = fitting.lay(image, layer, face, seen, rng)
        what["distractor"] = name
    return image, what


def _style(rng: np.random.Generator, skin: tuple[float, float, float]) -> MaskStyle:
    style = sample_style(rng)
    while np.hypot.reduce(np.subtract(style.colours[0], skin)) < 60:  # a mask that looks like skin tells nothing
        style = sample_style(rng)
    return style


def _framed(image: fitting.Image, view: Record, rng: np.random.Generator) -> tuple[Image.Image, Record]:
    """The view of a photo, often cut closer, mirrored or shrunk, so that one photo gives many."""
    left, top, right, bottom = view["rect"]
    heads = [_head(box, right, bottom) for box in [*(face["box"] for face in view["faces"]), *view["bare"]]]
    if rng.random() < 0.6:
        free = [
            min(head[0] for head in heads) - left,
            min(head[1] for head in heads) - top,
            right - max(head[2] for head in heads),
            bottom - max(head[3] for head in heads),
        ]
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
        size = (max(1, round(picture.width * shrink)), max(1, round(picture.height * shrink)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return picture, {"crop": [left, top, right, bottom], "mirrored": mirrored, "shrunk": round(shrink, 3)}


def _moved(box: Sequence[float], frame: Record, size: tuple[int, int]) -> Record:
    """A box of the photo in the finished picture."""
    left, top, right, bottom = frame["crop"]
    x, y = size[0] / (right - left), size[1] / (bottom - top)
    edges = [(box[0] - left) * x, (box[1] - top) * y, (box[2] - left) * x, (box[3] - top) * y]
    if frame["mirrored"]:
        edges[0], edges[2] = size[0] - edges[2], size[0] - edges[0]
    clipped = [float(np.clip(edge, 0, size[k % 2])) for k, edge in enumerate(edges)]
    return dict(zip(("left", "top", "right", "bottom"), (round(edge, 1) for edge in clipped)))
