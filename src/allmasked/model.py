"""The door for Python users: :func:`load` opens a :class:`Model`; called with a photo, it gives an :class:`Answer`.

An answer holds what the command line, the page and the API tell, and can draw itself.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from allmasked.core import renamed
from allmasked.core.errors import ConfigError, PhotoError, RunError
from allmasked.core.types import Prediction, Predictor, ResizeMode, Size
from allmasked.images import pixels as px
from allmasked.predictors.addresses import Item, clean, fetched, is_address, is_far, listing, local_path
from allmasked.predictors.photo_files import find_photos
from allmasked.predictors.predictor import Answered, Look, answer_paths, open_predictor

PhotoInput = px.PhotoLike | IO[bytes]
"""A photo: its path or address (``s3://``), its file's bytes, an open binary file, an image of Pillow, or an array
(height, width, 3) of uint8 RGB 0-255."""


@dataclass(frozen=True)
class Answer(Prediction):
    """The answer for one photo.

    Attributes:
        path: the photo's path as given; what stands for it where it has none, such as ``photo 3``.
        label: ``all``, ``none``, ``some`` or ``nobody``; None where there is an error.
        probabilities: of all, none and some, 0-1; with ``p_nobody`` they sum to 1. None where there is an error.
        p_nobody: 0-1; None where there is an error, or the model can't tell whether anybody is there.
        faces: those found (:class:`allmasked.FoundFace`), edges in px of the upright photo, right and bottom exclusive;
            None where the model finds no faces, and then so are ``masked`` and ``bare``.
        error: one line; empty where all went well.
        width, height: px of the upright photo; 0 where there is an error.

    Example:
        >>> answer = allmasked.load()("street.jpg")
        >>> answer.label, answer.sure, answer.masked, answer.bare
        ('all', True, 2, 0)
        >>> print(answer)
        street.jpg: all, 1.00 sure, 2 masked, 0 bare
    """

    width: int = 0
    height: int = 0
    _answered: Answered | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The photo's file name, without its folder."""
        return Path(self.path).name

    @property
    def p_all(self) -> float | None:
        """Probability that everyone wears a mask, 0-1."""
        return self.probabilities and self.probabilities[0]

    @property
    def p_none(self) -> float | None:
        """Probability that no one wears a mask, 0-1."""
        return self.probabilities and self.probabilities[1]

    @property
    def p_some(self) -> float | None:
        """Probability that some wear a mask and some don't, 0-1."""
        return self.probabilities and self.probabilities[2]

    @property
    def evidence(self) -> NDArray[np.float32] | None:
        """(h, w, 2) float32 0-1 over the network's input: what says "masked here" and "bare here"; None if unknown."""
        return None if self._answered is None else self._answered.evidence

    def plot(self, *, heat: bool = False) -> Image.Image:
        """The photo with faces and verdict drawn on: RGB, at most 1280 px long, and a strip with the verdict below.

        Args:
            heat: lay over it where the answer comes from: masked in green, bare in orange.

        Raises:
            PhotoError: there is no answer to draw, or the photo's file is gone.
            RunError: ``heat`` of a model that doesn't say where its answer comes from.

        Example:
            >>> picture = allmasked.load()("street.jpg").plot(heat=True)
            >>> picture.mode, picture.width
            ('RGB', 800)
            >>> picture.save("out.jpg")
        """
        from allmasked.annotate import drawn

        if self._answered is None or self.label is None:
            raise PhotoError(self.path, self.error or "there is no photo to draw")
        if heat and self.evidence is None:
            raise RunError(f"{self.path}: this model does not say where its answer comes from; leave out heat")
        return drawn(self._answered, heat=heat)

    def __str__(self) -> str:
        if self.label is None:
            return f"{self.path}: {self.error}"
        parts = [f"{self.label}, {self.confidence:.2f} {'sure' if self.sure else 'unsure'}"]
        if self.faces is not None:
            parts.append(f"{self.masked} masked, {self.bare} bare")
        return f"{self.path}: {', '.join(parts)}"

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows; nothing where the photo can't be drawn."""
        try:
            picture = self.plot()
        except PhotoError:
            return None
        stream = io.BytesIO()
        px.thumbnail(picture, (800, 800)).save(stream, "PNG")
        return stream.getvalue()

    def _repr_html_(self) -> str | None:
        """What a notebook shows where there is no picture; None where there is one."""
        return f"<code>{html.escape(str(self))}</code>" if self.label is None else None


class Model:
    """What answers for photos; :func:`load` makes one.

    Attributes:
        predictor: what it is made of (:class:`allmasked.core.types.Predictor`), for arrays that are fitted already.
        threads: that decode photos; one a processor when None.

    Example:
        >>> model = allmasked.load()
        >>> model.size, model.finds_faces
        ((512, 384), True)
        >>> model("street.jpg").label
        'all'
    """

    def __init__(self, predictor: Predictor, *, threads: int | None = None) -> None:
        self.predictor, self.threads = predictor, threads

    def __repr__(self) -> str:
        return f"<allmasked.Model {self.name!r}, {self.size[0]} x {self.size[1]} px>"

    @property
    def name(self) -> str:
        """What the run, the ensemble or the file is called."""
        return self.predictor.name

    @property
    def size(self) -> Size:
        """Width and height of its input in px; of the largest one of an ensemble."""
        return self.predictor.input.size

    @property
    def resize_mode(self) -> ResizeMode:
        """How photos are resized to that: ``letterbox`` (aspect kept, the rest grey) or ``stretch``."""
        return self.predictor.input.resize_mode

    @property
    def fit(self) -> ResizeMode:
        """The old name of :attr:`resize_mode`."""
        renamed.told("fit", renamed.ARGUMENTS["fit"])
        return self.resize_mode

    @property
    def finds_faces(self) -> bool:
        """Whether its answers are read off faces, which it tells."""
        return self.predictor.finds_faces

    @renamed.arguments
    def __call__(
        self,
        photo: PhotoInput,
        *,
        min_face_px: float | None = None,
        min_face_share: float | None = None,
        tiles: str = "never",
    ) -> Answer:
        """The answer for one photo.

        Args:
            photo: its path or address, its file's bytes, an open binary file, an image of Pillow, or an array (height,
                width, 3) of uint8 RGB 0-255. EXIF's orientation is followed where there is one.
            min_face_px: a face smaller than this, in px of height in the photo, can't be judged: shown, not
                counted. By the model's own rule when None.
            min_face_share: a face smaller than this share (0-1) of the largest is far behind: shown, not counted.
            tiles: look again, closer, at five overlapping parts of the photo: ``never``, where ``unsure``, ``always``.

        Raises:
            PhotoError: the photo can't be read.
            ConfigError: an option is wrong, or not for this model.

        Example:
            >>> import numpy as np
            >>> model = allmasked.load()
            >>> model(np.zeros((480, 640, 3), np.uint8)).label
            'nobody'
        """
        if not _is_photo(photo):
            kind = type(photo).__name__
            raise ConfigError(f"a model is called with one photo ({px.GIVE}), not {kind}; predict takes many")
        look = Look(min_face_px, min_face_share, tiles)
        photos = fetched([_named(photo, 1)])
        (answer,) = map(_answer_of, answer_paths(self.predictor, photos, threads=1, look=look))
        if answer.error:
            raise PhotoError(answer.path, answer.error)
        return answer

    @renamed.arguments
    def predict(
        self,
        source: PhotoInput | Iterable[PhotoInput],
        *,
        batch_size: int = 32,
        min_face_px: float | None = None,
        min_face_share: float | None = None,
        tiles: str = "never",
    ) -> Iterator[Answer]:
        """The answers for any number of photos, in their order, as a stream in constant memory.

        A photo that can't be read gets an answer with its ``error``, and the rest goes on.

        Args:
            source: a pattern (``photos/**/*.jpg``), a folder (with those below), one photo, or anything that gives
                such one after the other; a generator is asked for about two batches ahead. Patterns, folders and
                photos may be addresses (``s3://bucket/photos``), a list of them is a file (``list.txt``).
            batch_size: photos that the network is given at once; the answers don't depend on it.
            min_face_px, min_face_share, tiles: as for one photo.

        Raises:
            ConfigError: an option is wrong, or not for this model; at once, before the first photo.
            DataError: a folder at an address or a list of photos can't be read.
            MissingExtraError: what reaches the address is not installed (extra ``scale``).

        Example:
            >>> for answer in allmasked.load().predict(["street.jpg", "gone.jpg"]):
            ...     print(answer)
            street.jpg: all, 1.00 sure, 2 masked, 0 bare
            gone.jpg: no such file
        """
        if not _is_photo(source) and not isinstance(source, Iterable):
            raise ConfigError(f"photos are {px.GIVE}, or many of these, not {type(source).__name__}")
        if batch_size < 1:
            raise ConfigError(f"batch_size = {batch_size}: must be at least 1")
        look = Look(min_face_px, min_face_share, tiles)
        return map(_answer_of, self.answered(fetched(_photos(source)), batch_size, look))

    def answered(
        self, photos: Iterable[tuple[str, px.PhotoLike | PhotoError]], batch_size: int = 32, look: Look | None = None
    ) -> Iterator[Answered]:
        """The same for (name, photo) pairs, which are taken as they are: nothing is looked for. An error in place of a
        photo is its answer's error."""
        return answer_paths(self.predictor, photos, batch_size=batch_size, threads=self.threads, look=look or Look())


def load(source: str | os.PathLike[str] | None = None, *, threads: int | None = None, device: str = "auto") -> Model:
    """Open what answers.

    Args:
        source: a file of ``allmasked export``, a run folder of ``allmasked train``, or an ensemble's folder; the model
            that ships when None.
        threads: processors to use, for decoding too; all when None. Keras, which a run folder needs, takes its own.
        device: what computes: ``auto`` (an NVIDIA card, the GPU, where it can be used, else the processors), ``cpu``,
            ``cuda``, or another of :data:`allmasked.predictors.devices.DEVICES`.

    Raises:
        RunError: no such file or folder, not one of ours, or its training is not finished.
        ConfigError: the device is not there; the line says which are, and how to get it.
        MissingExtraError: what opens it is not installed (Keras for a run folder).

    Example:
        >>> allmasked.load()
        <allmasked.Model 'allmasked-3', 512 x 384 px>
        >>> allmasked.load(device="cpu", threads=1)("street.jpg").label
        'all'
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads = {threads}: must be at least 1, or None for all processors")
    return Model(
        open_predictor(None if source is None else Path(source), threads=threads, device=device), threads=threads
    )


def _is_photo(source: object) -> bool:
    if isinstance(source, np.ndarray):
        return source.ndim != 4 and source.dtype.kind not in "UO"  # an array of several photos, or of paths, is none
    return isinstance(source, str | Path | bytes | bytearray | memoryview | Image.Image) or hasattr(source, "read")


def _photos(source: Any) -> Iterator[Item | tuple[str, px.PhotoLike]]:
    """All that a source stands for: (name, photo), or what lies at an address."""
    for number, photo in enumerate([source] if _is_photo(source) else source, 1):
        if not isinstance(photo, str | Path):
            yield _named(photo, number)
        elif is_far(str(photo)):
            yield from listing([str(photo)], etags=False)
        else:
            yield from find_photos([str(photo)])


def _named(photo: Any, number: int) -> Item | tuple[str, px.PhotoLike]:
    """What a photo is called, and the photo as something that can be read more than once and stays as it is: who gives
    it may fill the same buffer with the next one."""
    if isinstance(photo, str | Path):
        photo = local_path(photo) if isinstance(photo, str) else photo
        return Item(clean(photo), photo) if isinstance(photo, str) and is_address(photo) else (str(photo), photo)
    name = getattr(photo, "filename", "") or getattr(photo, "name", "")
    name = name if isinstance(name, str) and name else f"photo {number}"
    if hasattr(photo, "read"):
        with contextlib.suppress(OSError, ValueError):  # closed, say: then it is refused as no photo
            with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream has no beginning to go to
                photo.seek(0)
            content = photo.read()
            photo = content if isinstance(content, bytes) else photo
    elif isinstance(photo, bytearray | memoryview):
        photo = bytes(photo)
    elif isinstance(photo, np.ndarray) and photo.flags.writeable:
        photo = photo.copy()
    elif getattr(photo, "is_animated", False):
        with contextlib.suppress(Exception):  # damaged: told where it is decoded
            photo = photo.copy()
    return name, photo


def _answer_of(answered: Answered) -> Answer:
    said = answered.prediction
    kept = None if said.error else answered
    return Answer(
        said.path, said.label, said.probabilities, said.error, said.p_nobody, said.faces, *answered.photo_px, kept
    )
