"""Evidence maps in NumPy: what training wants of them, and the faces that they show.

A map has h x w cells over the model's input. For each cell the head gives six numbers: the logits of "a masked face is
centred here" and "a bare face is centred here", and the face's box as (dx, dy, log w, log h), in cells: its centre from
the cell's centre, its size. As in CenterNet (Zhou et al., "Objects as points", 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from allmasked.types import CLASSES, FoundFace, Size

Floats = NDArray[np.float32]

TARGET_CHANNELS = 8
"""Of :func:`map_targets`: masked, bare, dx, dy, log w, log h, whether the cell has a box, whether the cell is known."""
MIN_FACE_PX = 4.0
"""Marked faces lower than this in the input are too small to ask for: the cells around them are not scored."""
SCORE, OVERLAP = 0.35, 0.4
"""A peak is a face from this score on; of two that overlap more (IoU), the surer one stays."""

PRESENCE = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32)
"""Rows all, none, some, nobody: is a masked face there, is a bare face there?"""
assert CLASSES == ("all", "none", "some")


def map_targets(boxes: Floats | None, size: Size, grid: Size) -> Floats:
    """What the maps of one photo should be: (h, w, 8) float32, see :data:`TARGET_CHANNELS`.

    A face is 1 at the cell of its centre and falls off as a Gaussian with a tenth of the face's size.

    Args:
        boxes: (F, 5) left, top, right, bottom in px of the input, masked 0/1, or -1 for a face that is cut and not
            to be asked for; None where faces are not marked.
        size: width and height of the input in px.
        grid: width and height of the map in cells.
    """
    columns, rows = grid
    targets = np.zeros((rows, columns, TARGET_CHANNELS), np.float32)
    if boxes is None:
        return targets
    targets[..., 7] = 1
    scale = np.array([columns / size[0], rows / size[1]], np.float32)
    x, y = np.arange(columns) + 0.5, np.arange(rows) + 0.5
    for left, top, right, bottom, masked in sorted(boxes.tolist(), key=lambda b: (b[0] - b[2]) * (b[3] - b[1])):
        centre = np.array([(left + right) / 2, (top + bottom) / 2]) * scale
        extent = np.array([right - left, bottom - top]) * scale
        if masked < 0:
            x0, y0, x1, y1 = np.floor(np.array([left, top, right, bottom]) * np.tile(scale, 2)).clip(0).astype(int)
            targets[y0 : y1 + 1, x0 : x1 + 1, 7] = 0
            continue
        column, row = (int(v) for v in np.floor(centre))
        if not (0 <= column < columns and 0 <= row < rows) or extent.min() <= 0:
            continue
        if bottom - top < MIN_FACE_PX:
            targets[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2, 7] = 0
            continue
        sigma = 0.1 * extent + 0.2
        bell = np.exp(-0.5 * ((y - row - 0.5) / sigma[1]) ** 2)[:, None] * np.exp(
            -0.5 * ((x - column - 0.5) / sigma[0]) ** 2
        )
        channel = 0 if masked else 1
        targets[..., channel] = np.maximum(targets[..., channel], bell)
        targets[row, column, 1 - channel] = 0 if targets[row, column, 1 - channel] < 1 else 1
        targets[row, column, 2:7] = (*(centre - (column + 0.5, row + 0.5)), *np.log(extent), 1)
    return targets


def probabilities_of(presence: Floats) -> Floats:
    """P(all), P(none), P(some) given that somebody is there, (N, 3), from the logits of presence (N, 2)."""
    a, b = np.asarray(presence, np.float64).T
    logits = np.stack([a, b, a + b], 1)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(odds / odds.sum(1, keepdims=True), np.float32)


def calibration(presence: Floats, labels: NDArray[np.int32]) -> Floats:
    """Scale and bias of each presence logit, (2, 2) rows masked and bare, that fit held-out photos best.

    Platt scaling (Platt 1999): a logistic regression of each answer on its logit. A logit whose answer is the same for
    all photos, or that orders them the wrong way round, stays as it is.

    Args:
        presence: logits (N, 2).
        labels: indices into LABELS (N,).
    """
    from sklearn.linear_model import LogisticRegression

    fitted = np.tile(np.array([1.0, 0.0], np.float32), (2, 1))
    for channel in range(2):
        wanted = PRESENCE[labels, channel]
        if len(np.unique(wanted)) < 2:
            continue
        model = LogisticRegression(C=100.0).fit(presence[:, channel : channel + 1], wanted)
        if model.coef_[0, 0] > 0.05:
            fitted[channel] = model.coef_[0, 0], model.intercept_[0]
    return fitted


def boxes_of(raw: Floats, size: Size) -> Floats:
    """Boxes in px of the input, (N, h, w, 4) left, top, right, bottom, from the head's numbers (N, h, w, 4)."""
    rows, columns = raw.shape[1:3]
    cell = np.array([size[0] / columns, size[1] / rows], np.float32)
    grid = np.stack(np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5), -1).astype(np.float32)
    centre = (raw[..., :2] + grid) * cell
    half = np.exp(np.clip(raw[..., 2:], -3, 6)) * cell / 2
    return np.concatenate([centre - half, centre + half], -1).astype(np.float32)


def find_faces(heat: Floats, boxes: Floats, *, score: float = SCORE, overlap: float = OVERLAP) -> list[FoundFace]:
    """The faces that one photo's maps show, surest first; edges in px of the input.

    Args:
        heat: (h, w, 2) 0-1, masked and bare.
        boxes: (h, w, 4) px, see :func:`boxes_of`.
        score: a peak lower than this is no face.
        overlap: of two faces whose boxes' intersection over union is larger, the surer stays.
    """
    best = heat.max(-1)
    padded = np.pad(best, 1, constant_values=-1)
    around = np.max([padded[1 + i : 1 + i + best.shape[0], 1 + j : 1 + j + best.shape[1]]
                     for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)  # fmt: skip
    rows, columns = np.nonzero((best >= around) & (best >= score))
    kept: list[FoundFace] = []
    kept_boxes: list[Floats] = []
    for index in np.argsort(-best[rows, columns], kind="stable"):
        row, column = rows[index], columns[index]
        box = boxes[row, column]
        if kept_boxes and _overlaps(box, np.stack(kept_boxes)).max() > overlap:
            continue
        left, top, right, bottom = (float(edge) for edge in box)
        wear = "masked" if heat[row, column, 0] >= heat[row, column, 1] else "bare"
        kept.append(FoundFace(wear, float(best[row, column]), left, top, right, bottom))  # type: ignore[arg-type]
        kept_boxes.append(box)
    return kept


def _overlaps(box: Floats, others: Floats) -> Floats:
    """Intersection over union of a box with others (M, 4)."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    inside = np.clip(width, 0, None) * np.clip(height, 0, None)
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    return np.asarray(inside / np.maximum(area + areas - inside, 1e-6), np.float32)
