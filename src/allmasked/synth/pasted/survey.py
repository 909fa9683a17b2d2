"""What ``synth pasted`` can paint on: who is in each photo, whose face fits, which part shows only such faces.

The survey of a folder of photos is kept in a file while it is made, so that none is searched twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from allmasked.core.errors import DataError, PhotoError
from allmasked.core.progress import bar
from allmasked.core.types import Face, Part
from allmasked.data.albums import files_in, relative
from allmasked.data.dataset import is_split, read_split
from allmasked.data.readers import READERS, Options, read_dataset, root_of
from allmasked.images import pixels
from allmasked.synth.painted import Record, journal, spread
from allmasked.synth.pasted import fitting, landmarks
from allmasked.synth.pasted.landmarks import Box, Found

SURVEY = ".survey.jsonl"

LARGEST_PX = 800
"""Photos are brought to this long side at most, as stock photos on the web are."""

HEMMED = "too near to a masked face"
MASKED = ("wears a mask", "perhaps masked")
"""Reasons against a face that hold without ``strict`` too: it is not bare."""

SMALLEST_FACE_PX = 14
"""Boxes of faces must be this high to be painted on: below, a mask is three pixels."""


@dataclass(frozen=True)
class Source:
    """A photo to paint on. ``faces`` is None where nobody has marked them: then the detector finds them."""

    path: str
    faces: tuple[Face, ...] | None


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
    fitting = (photo for photo in listed if photo.label == "none" or (photo.label == "some" and photo.faces))
    chosen = [Source(photo.path, photo.faces) for photo in fitting]
    if not chosen:
        raise DataError(f"{photos}: has no photo of unmasked people (class none)")
    return root, sorted(chosen, key=lambda source: source.path)


def survey(root: Path, source: Source) -> Record:
    """Every face of a photo: its box, and either its landmarks or why no mask is painted on it."""
    try:
        image, scale = load_photo(root / source.path)
    except PhotoError as error:
        return {"path": source.path, "error": error.reason}
    record: Record = {"path": source.path, "size": list(image.shape[1::-1])}
    if source.faces is None:
        return {**record, "faces": [_examined(image, face.box, agreed) for face, agreed in _agreed(image)]}
    faces: list[Record] = []
    for face in source.faces:
        box = _rounded([face.left * scale, face.top * scale, face.right * scale, face.bottom * scale])
        small = box[3] - box[1] < SMALLEST_FACE_PX
        why = "wears a mask" if face.wear != "bare" else "too small" if small else ""
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


def load_photo(path: Path) -> tuple[fitting.Image, float]:
    """A photo at most :data:`LARGEST_PX` on its long side, and how much it was shrunk for that."""
    image = pixels.decode(path)
    scale = min(1.0, LARGEST_PX / max(image.size))
    if scale < 1:
        image = image.resize(pixels.scaled(image.size, scale), Image.Resampling.LANCZOS)
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


def surveyed(out: Path, root: Path, sources: Sequence[Source], workers: int) -> list[Record]:
    """The survey of all photos, in their order; kept in ``out`` so that it is not made twice."""
    cache = out / SURVEY
    known = {record["path"]: record for record in journal(cache)}
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


def all_views(records: Sequence[Record], strict: bool) -> tuple[list[Record], dict[str, int]]:
    """Views of all photos, and how many photos have none, by reason."""
    views, left_out = [], Counter[str]()
    for record in records:
        found = views_of(record, strict)
        views += found
        if not found:
            whys = Counter(face.get("why", "") for face in record.get("faces", []))
            known = [why for why, _ in whys.most_common() if why not in ("", "wears a mask")]
            reason = known[0] if known else HEMMED if record.get("faces") else "no face found"
            left_out["cannot be read" if "error" in record else reason] += 1
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
    heads = {k: head_of(record["faces"][k]["box"], width, height) for k in range(len(record["faces"]))}
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
        bare = [k for k in heads if k not in paintable and k not in shy and _contains(rect, heads[k])]
        faces, boxes = [record["faces"][k] for k in inside], [record["faces"][k]["box"] for k in bare]
        views.append({"path": record["path"], "rect": list(rect), "faces": faces, "bare": boxes})
    return views


def head_of(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
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
