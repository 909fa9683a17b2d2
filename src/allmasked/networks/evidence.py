"""Evidence maps in NumPy: what training wants of them. What they say is read by :mod:`allmasked.networks.reading`.

A map has h x w cells over the model's input. For each cell the head gives six numbers: the logits of "a masked face is
centred here" and "a bare face is centred here", and the face's box as (dx, dy, log w, log h), in cells: its centre from
the cell's centre, its size. As in CenterNet (Zhou et al., "Objects as points", 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from allmasked.core.types import CLASSES, Size

Floats = NDArray[np.float32]

TARGET_CHANNELS = 8
"""Of :func:`map_targets`: masked, bare, dx, dy, log w, log h, weight of the cell's box, whether the cell is known."""
NEAR_CENTRE = 0.7
"""Cells whose evidence should be larger than this learn the face's box too; their weights sum to 1 a face."""
MIN_FACE_PX = 4.0
"""Marked faces less high than this in the input are too small to ask for: the cells around them are not scored."""
PRESENCE = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32)
"""Rows all, none, some, nobody: is a masked face there, is a bare face there?"""
assert CLASSES == ("all", "none", "some")


def map_targets(boxes: Floats | None, size: Size, grid: Size) -> Floats:
    """What the maps of one photo should be: (h, w, 8) float32, see :data:`TARGET_CHANNELS`.

    A face is 1 at the cell of its centre and falls off as a Gaussian with a tenth of the face's size.

    Args:
        boxes: (F, 5) left, top, right, bottom in px of the input, masked 0/1, or -1 for a face that is cut or unknown
            and not to be asked for; None where faces are not marked.
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
        across, down = (x - column - 0.5) / sigma[0], (y - row - 0.5) / sigma[1]
        bell = np.exp(-0.5 * down**2)[:, None] * np.exp(-0.5 * across**2)
        channel = 0 if masked else 1
        targets[..., channel] = np.maximum(targets[..., channel], bell)
        targets[row, column, 1 - channel] = 0 if targets[row, column, 1 - channel] < 1 else 1
        near = (bell > NEAR_CENTRE) | ((np.arange(rows) == row)[:, None] & (np.arange(columns) == column))
        ys, xs = np.nonzero(near)
        targets[ys, xs, 2], targets[ys, xs, 3] = centre[0] - (xs + 0.5), centre[1] - (ys + 0.5)
        targets[ys, xs, 4:6] = np.log(extent)
        targets[ys, xs, 6] = 1 / len(ys)
    return targets


def with_answer(targets: Floats, answer: Floats, weight: float) -> Floats:
    """Targets of :func:`map_targets` (h, w, 8) with the answer wanted in five channels more, the same in every cell.

    Args:
        answer: (4,) what the photo is: shares of all, none, some, nobody.
        weight: of the answer in the loss.
    """
    wanted = np.broadcast_to(np.append(answer, weight).astype(np.float32), (*targets.shape[:2], 5))
    return np.concatenate([targets, wanted], -1)


def boxes_of(raw: Floats, size: Size) -> Floats:
    """Boxes in px of the input, (N, h, w, 4) left, top, right, bottom, from the head's numbers (N, h, w, 4)."""
    rows, columns = raw.shape[1:3]
    cell = np.array([size[0] / columns, size[1] / rows], np.float32)
    grid = np.stack(np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5), -1).astype(np.float32)
    centre = (raw[..., :2] + grid) * cell
    half = np.exp(np.clip(raw[..., 2:], -3, 6)) * cell / 2
    return np.concatenate([centre - half, centre + half], -1).astype(np.float32)
