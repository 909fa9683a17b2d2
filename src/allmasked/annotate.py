"""Photos with their answer drawn on: faces, verdict, and where asked for the evidence; and photos sorted by answer."""

from __future__ import annotations

import csv
import filecmp
import functools
import hashlib
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from allmasked.core.colours import ANSWERS, FACES, NOT_COUNTED, UNSURE
from allmasked.core.errors import ConfigError, PhotoError
from allmasked.core.progress import stderr
from allmasked.core.runs import replacing
from allmasked.core.text import shown
from allmasked.core.types import LABELS, FoundFace, Prediction, Size
from allmasked.images import pixels as px
from allmasked.images.draw import enlarge, on_photo
from allmasked.predictors.addresses import is_address, names_of
from allmasked.predictors.predictor import Answered

VERDICTS = {
    "all": "everyone wears a mask",
    "none": "no one wears a mask",
    "some": "some wear a mask, some don't",
    "nobody": "nobody there",
}
SHORTEST_PX, LONGEST_PX = 800, 1280
"""Of a picture's longer side; smaller photos are enlarged, twice at most, so that lines and letters are fine."""
LABELLED_FACES = 12
"""In a crowd of more, colour alone says what each face wears."""
Floats = NDArray[np.float32]
_WHITE, _DARK = (255, 255, 255), (25, 25, 25)


def annotate(
    photo: Image.Image,
    whole: Size,
    prediction: Prediction,
    heat: NDArray[np.float32] | None = None,
    *,
    note: str = "",
) -> Image.Image:
    """The photo with faces and verdict drawn on: RGB, as wide, and higher by a strip with the verdict.

    Args:
        photo: RGB, of any size.
        whole: width and height in px that the faces' edges are in.
        prediction: its answer.
        heat: (h, w, 2) 0-1 over the photo, masked and bare, to lay over it; None for none.
        note: what to say beside the verdict, before the counts.
    """
    assert prediction.label is not None
    picture = photo.copy() if heat is None else _with_heat(photo, heat)
    scale = picture.width / whole[0]
    line = max(2, round(max(picture.size) / 400))
    pen = ImageDraw.Draw(picture, "RGBA")
    font = ImageFont.load_default(max(10, round(max(picture.size) / 60)))
    faces = sorted(prediction.faces or (), key=lambda face: (face.counts, face.score))  # the surest on top
    for face in faces:
        _draw_face(pen, face, scale, line, font if len(faces) <= LABELLED_FACES else None)
    return _with_strip(picture, prediction, note)


def _draw_face(pen: ImageDraw.ImageDraw, face: FoundFace, scale: float, line: int, font: Any) -> None:
    colour = FACES[face.wear] if face.counts else NOT_COUNTED
    left, top, right, bottom = (edge * scale for edge in (face.left, face.top, face.right, face.bottom))
    right, bottom = max(right, left + 2), max(bottom, top + 2)
    radius = min(right - left, bottom - top) * 0.15
    for grown, colours, width in ((line, (*_WHITE, 150), 1), (line - 1, colour, line)):
        around = (left - grown, top - grown, right + grown, bottom + grown)
        pen.rounded_rectangle(around, radius + grown, outline=colours, width=width)
    if font is None:
        return
    worn = face.p_masked if face.wear == "masked" else 1 - face.p_masked
    text = f"{face.wear} {face.score * worn:.2f}" if face.counts else face.reason
    wide, high = pen.textlength(text, font), font.size * 1.25
    if wide > 1.6 * (right - left):  # no room: the colour says it
        return
    y = top - line - high if top - line - high >= 0 else bottom + line
    pen.rectangle((left - line, y, left - line + wide + 8, y + high), fill=(*colour, 235))
    pen.text((left - line + 4, y + high / 2), text, fill=_WHITE, font=font, anchor="lm")


def _with_heat(photo: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """Grey where nothing speaks, the colour of what speaks where it does."""
    pixels = np.asarray(photo, np.float32)
    grey = pixels.mean(-1, keepdims=True) * 0.5 + pixels * 0.25 + 40
    for channel, colour in enumerate(FACES.values()):
        strength = enlarge(heat[..., channel], photo.size)[..., None] ** 0.6 * 0.8
        grey = grey * (1 - strength) + np.array(colour, np.float32) * strength
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def _with_strip(picture: Image.Image, prediction: Prediction, note: str) -> Image.Image:
    """A strip below the photo: the verdict, how sure, how many faces."""
    assert prediction.label is not None and prediction.probabilities is not None
    text, colour = VERDICTS[prediction.label], ANSWERS[prediction.label]
    left_out = sum(not face.counts for face in prediction.faces or ())
    if prediction.label == "nobody" and left_out:
        text = "nobody near enough to judge"
    height = max(26, round(picture.width / 18))
    canvas = Image.new("RGB", (picture.width, picture.height + height), _DARK)
    canvas.paste(picture, (0, 0))
    pen = ImageDraw.Draw(canvas)
    middle = picture.height + height / 2
    pen.rectangle((0, picture.height, round(height * 0.3), canvas.height), fill=colour if prediction.sure else UNSURE)
    right = f"{note}{prediction.confidence:.0%}"
    if prediction.masked is not None and (prediction.label != "nobody" or left_out):
        counts = f"{prediction.masked} masked, {prediction.bare} bare" + f", {left_out} not counted" * bool(left_out)
        right = f"{note}{counts}  ·  {prediction.confidence:.0%}"
    full = f"{prediction.label}  ·  {text}" if prediction.sure else f"unsure  ·  perhaps {text}"
    points = height * 0.5
    while points > 8:
        font = ImageFont.load_default(points)
        if pen.textlength(full, font) + pen.textlength(right, font) + height * 1.5 < canvas.width:
            break
        points -= 1
    pen.text((height * 0.65, middle), full, fill=_WHITE, font=font, anchor="lm")
    pen.text((canvas.width - height * 0.3, middle), right, fill=(200, 200, 200), font=font, anchor="rm")
    return canvas


@functools.cache
def _say_heat_is_missing() -> None:
    """Once, however many photos."""
    stderr.print(
        "no heat is drawn: only a single network of the head 'evidence' says where masked and bare faces are as it"
        " answers; 'allmasked explain' looks into others"
    )


def drawn(answered: Answered, *, heat: bool = False) -> Image.Image:
    """The photo of an answer with faces and verdict drawn on, see :func:`annotate`; 800 to 1280 px long, but at most
    twice the photo's own size.

    Args:
        answered: with a label.
        heat: lay the evidence over it, too, where the network makes such maps.

    Raises:
        PhotoError: the photo can no longer be read.
    """
    frame = (LONGEST_PX, LONGEST_PX)
    photo = px.thumbnail(px.decode(answered.photo, name=answered.prediction.path, fit_within=frame), frame)
    if (enlarged := min(2, SHORTEST_PX / max(photo.size))) > 1:
        photo = photo.resize((round(photo.width * enlarged), round(photo.height * enlarged)), Image.Resampling.BICUBIC)
    maps = None
    if heat and answered.evidence is not None:
        maps = np.stack([on_photo(answered.evidence[..., part], photo.size, answered.input) for part in (0, 1)], -1)
    elif heat:
        _say_heat_is_missing()
    return annotate(photo, answered.photo_px, answered.prediction, maps)


def is_picture(out: Path) -> bool:
    """Whether ``out`` names a picture rather than a folder for pictures."""
    return out.suffix.lower() in px.SUFFIXES and not out.is_dir()


def write_annotated(answered: Answered, out: Path, *, heat: bool = False) -> tuple[Prediction, Path | None]:
    """Write a photo with its answer to ``out`` where that names a picture (:func:`is_picture`); otherwise below it, at
    the photo's own path or address and name plus ``.answer.jpg``.

    Returns the prediction and the picture; one with the error and none where the photo can no longer be read.
    """
    prediction = answered.prediction
    try:
        picture = drawn(answered, heat=heat)
    except PhotoError as error:
        return Prediction(prediction.path, None, None, error.reason), None
    if is_picture(out):
        target = out
    else:
        if is_address(prediction.path):
            parts = names_of(prediction.path)
        else:
            path = Path(os.path.relpath(str(answered.photo)))
            parts = ["_up" if part == ".." else part for part in path.parts if part not in (".", os.sep)]
        name = os.fsencode(parts[-1])
        if len(name) > 200:
            name = name[:190] + b"-" + hashlib.sha256(name).hexdigest()[:8].encode()
        target = out.joinpath(*parts[:-1], os.fsdecode(name) + ".answer.jpg")
    with replacing(target) as temporary:
        picture.save(temporary, quality=90)
    return prediction, target


# --- sorted by answer -------------------------------------------------------------------------------------------------

UNSURE_FOLDER, UNREADABLE_FOLDER = "unsure", "unreadable"


class Sorted:
    """Copies of photos in a folder for each answer; ``predictions.csv`` beside them says what is where, and why.

    What isn't sure is copied into ``unsure``, what can't be read into ``unreadable``. A photo that an earlier run put
    into another folder is moved, so that none is in two; one that isn't there any more keeps its copy, and its row says
    so. Ends with :meth:`close`.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.manifest = out, out / "predictions.csv"
        self.count: Counter[str] = Counter()
        self.moved = 0
        self._rows: dict[str, dict[str, Any]] = {}
        if self.manifest.is_file():
            try:
                with self.manifest.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
                    rows = csv.DictReader(stream, restval="")
                    if not {"path", "copy", "sha256"} <= {*(rows.fieldnames or ())}:
                        raise ValueError
                    self._rows = {row["path"]: row for row in rows}
                if any("\udc80" <= sign <= "\udcff" for path in self._rows for sign in path):
                    raise ValueError  # another encoding
            except (ValueError, csv.Error):
                raise ConfigError(
                    f"{self.manifest}: is not as --sort has written it; put that back, or name another folder"
                ) from None
        self._copies = Counter(row["copy"] for row in self._rows.values())

    def add(self, prediction: Prediction, given: px.PhotoLike | None = None) -> None:
        """Copy the photo, as it was given to be answered, to where its answer says; if it isn't there, only write it
        down."""
        far, source = is_address(prediction.path), prediction.path
        content = given if isinstance(given, bytes) else None
        here = given if given and isinstance(given, str | Path) else source
        photo = Path(names_of(source)[-1] if far else here)
        if not far:
            source = shown(os.path.abspath(photo))  # noqa: PTH100
        folder = prediction.label if prediction.sure else UNSURE_FOLDER if prediction.label else UNREADABLE_FOLDER
        assert folder is not None
        row: dict[str, Any] = {"copy": "", "sha256": "", **prediction.to_dict(boxes=False), "path": source}
        if content is not None or (not far and os.path.isfile(photo) and os.access(photo, os.R_OK)):  # noqa: PTH113
            target = copy_into(self.out / folder, photo, content)
            row["copy"], row["sha256"] = target.relative_to(self.out).as_posix(), _sha256(target)
        self.count[folder] += 1
        before = self._rows.get(source)
        if before and not row["copy"]:  # what can't be had now keeps the copy that it has
            row |= {name: before[name] for name in ("copy", "sha256")}
        self._rows[source] = row
        self._copies[row["copy"]] += 1
        if before:
            self._copies[before["copy"]] -= 1  # the one just counted, where it is the same
            self.moved += self._drop(before)

    def _drop(self, row: dict[str, Any]) -> bool:
        """Remove an earlier copy that nothing stands for any more; one that was changed since is somebody's work."""
        copy = self.out / row["copy"]
        if not row["copy"] or self._copies[row["copy"]] or not copy.is_file() or copy.is_symlink():
            return False
        if not copy.resolve().is_relative_to(self.out.resolve()) or _sha256(copy) != row["sha256"]:
            return False
        copy.unlink()
        return True

    def close(self) -> None:
        """Write the manifest."""
        if not self._rows:
            return
        with (
            replacing(self.manifest) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
        ):
            names = list(next(iter(self._rows.values())))
            names = [name for name in names if name not in ("copy", "sha256")] + ["copy", "sha256"]
            table = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
            table.writeheader()
            table.writerows(self._rows.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{self.count[name]:,} in {name}" for name in (*LABELS, UNSURE_FOLDER, UNREADABLE_FOLDER)
                          if self.count[name])  # fmt: skip
        moved = f"; {self.moved:,} moved from where an earlier run put them" if self.moved else ""
        return f"sorted into {self.out}: {parts}{moved}; what is where: {self.manifest.name}"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def copy_into(folder: Path, photo: Path, content: bytes | None = None) -> Path:
    """Copy a photo, or its ``content``, into a folder under its own name; numbered where another photo has that name
    already."""
    folder.mkdir(parents=True, exist_ok=True)
    number, target = 1, folder / photo.name
    while target.exists():
        if target.read_bytes() == content if content is not None else filecmp.cmp(target, photo, shallow=False):
            return target
        number += 1
        target = folder / f"{photo.stem}-{number}{photo.suffix}"
    with replacing(target) as temporary:
        if content is None:
            shutil.copyfile(photo, temporary)
        else:
            temporary.write_bytes(content)
    return target
