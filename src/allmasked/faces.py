"""From what a network says (:class:`allmasked.types.Answers`) to the answer for a photo; NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.evidence import find_faces, probabilities_of
from allmasked.pixels import Fit, placement
from allmasked.types import LABELS, Answers, FoundFace, Prediction, Size

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pooling:
    """How a head with maps comes from its maps to the presence of masked and bare faces, calibration included.

    presence = bias + scale * log(sum(exp(sharpness * logits))) / sharpness, a number a channel each
    (:class:`allmasked.pooling.LogSumExp`).
    """

    sharpness: tuple[float, float]
    scale: tuple[float, float]
    bias: tuple[float, float]

    def presence(self, logits: Floats) -> Floats:
        """(N, 2) logits from the maps' logits (N, h, w, 2)."""
        sharpness, scale, bias = (np.array(v, np.float32) for v in (self.sharpness, self.scale, self.bias))
        sharp = logits * sharpness
        top = sharp.max((1, 2), keepdims=True)
        pooled = np.log(np.exp(sharp - top).sum((1, 2))) + top[:, 0, 0]
        return np.asarray(bias + scale * pooled / sharpness, np.float32)


def pooling_of(layer: Any) -> Pooling:
    """Of a Keras layer :class:`allmasked.pooling.LogSumExp`."""
    values = {name: np.asarray(getattr(layer, name), np.float64) for name in ("log_sharpness", "scale", "bias")}
    values["sharpness"] = np.exp(values.pop("log_sharpness").clip(-2, 3))
    return Pooling(**{name: (float(both[0]), float(both[1])) for name, both in values.items()})


def nobody_of(presence: Floats) -> Floats:
    """P(nobody) (N,): that neither a masked nor a bare face is there, from the logits of presence (N, 2)."""
    absent = 1 / (1 + np.exp(np.clip(presence, -50, 50)))
    return np.asarray(absent.prod(1), np.float32)


def without_small_faces(answers: Answers, pooling: Pooling, lowest_px: NDArray[Any]) -> Answers:
    """The answers that follow when faces lower than ``lowest_px`` don't count.

    Every cell says how high the face is that it would be the centre of. The evidence of cells whose face is too low is
    lowered to the photo's median, that is to "nothing here", and what remains is pooled as the network does.

    Args:
        answers: with ``heat`` (N, h, w, 2) and ``boxes``.
        lowest_px: (N,) in px of the network's input.
    """
    assert answers.heat is not None and answers.boxes is not None
    heat = answers.heat.astype(np.float64).clip(1e-7, 1 - 1e-7)
    logits = np.log(heat / (1 - heat)).astype(np.float32)
    low = answers.boxes[..., 3] - answers.boxes[..., 1] < np.asarray(lowest_px)[:, None, None]
    nothing = np.median(logits, (1, 2), keepdims=True)
    logits = np.where(low[..., None], np.minimum(logits, nothing), logits)
    presence = pooling.presence(logits)
    return Answers(probabilities_of(presence), nobody_of(presence), 1 / (1 + np.exp(-logits)), answers.boxes)


def prediction_of(
    name: str,
    answers: Answers,
    row: int,
    photo: Size,
    size: Size,
    fit: Fit,
    score: float,
    lowest_px: float = 0,
) -> Prediction:
    """The answer for one photo of a batch.

    Args:
        answers: of the batch.
        row: which photo of it.
        photo: its upright width and height in px.
        size, fit: the network's input.
        score: the lowest score of a face.
        lowest_px: faces lower than this, in px of the input, are left out.
    """
    if answers.nobody is None:
        return labelled(name, answers.probabilities[row])
    faces = faces_of(answers, row, photo, size, fit, score, lowest_px)
    return labelled(name, answers.probabilities[row], float(answers.nobody[row]), faces)


def labelled(
    name: str, given: Floats, nobody: float | None = None, faces: tuple[FoundFace, ...] | None = None
) -> Prediction:
    """The answer from the probabilities (3,) of the classes given that somebody is there, and that of nobody."""
    p_all, p_none, p_some = (given.astype(float) * (1 - (nobody or 0.0))).tolist()
    likeliest = int(np.argmax([p_all, p_none, p_some, -1.0 if nobody is None else nobody]))
    return Prediction(name, LABELS[likeliest], (p_all, p_none, p_some), p_nobody=nobody, faces=faces)


def faces_of(
    answers: Answers, row: int, photo: Size, size: Size, fit: Fit, score: float, lowest_px: float = 0
) -> tuple[FoundFace, ...] | None:
    """The faces in one photo of a batch, in its px; None where the network finds none. Arguments as above."""
    if answers.boxes is None or answers.heat is None:
        return None
    found = find_faces(answers.heat[row], answers.boxes[row], score=score)
    faces = (on_photo(face, photo, size, fit) for face in found if face.height_px >= lowest_px)
    return tuple(face for face in faces if face.right > face.left and face.bottom > face.top)


def on_photo(face: FoundFace, photo: Size, size: Size, fit: Fit) -> FoundFace:
    """A face in px of the input, in px of the photo and cut to it."""
    place = placement(photo, size, fit)
    x0, x1 = (float(np.clip((x - place.left) / place.scale_x, 0, photo[0])) for x in (face.left, face.right))
    y0, y1 = (float(np.clip((y - place.top) / place.scale_y, 0, photo[1])) for y in (face.top, face.bottom))
    return FoundFace(face.wear, face.score, x0, y0, x1, y1)
