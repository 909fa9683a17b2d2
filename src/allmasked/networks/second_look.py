"""A second look: a small network judges the crop of each face that the maps propose, and the maps take what it says.

The maps see a face as large as it happens to be; the crops show every face equally large, so that a beard, a hand or a
scarf before the mouth can be told from a mask. Two stages as in "Faster R-CNN" (Ren et al., 2015), with crops of the
photo instead of features. All that reads maps stays as it is, and answers from what both say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from allmasked.networks.readout import cell_boxes, peaks_of_maps, shared_area

COUNT = 12
"""At most so many candidates of a photo are looked at again, the highest."""
PROPOSED, FADING = -1.2, 0.8
"""From this log-odds of a face (0.23), or from those of the last of COUNT on, a candidate is looked at again. At first
that hardly counts, and fully from so much more on: no step, since a file in half precision must answer alike. The
highest candidate of a photo is always looked at, so that no batch of crops is empty."""
CONTEXT = 1.6
"""A crop is a square of so many times the longer side of the face's box."""
SHARES = 0.2, 0.5
"""How much of what is said is the second look's: about whether it is a face, and about whether it wears a mask."""
ALIKE, SAME = 0.4, 0.6
"""Cells whose boxes share so much of their union with a candidate's begin to change as the candidate does, and change
fully."""
SAMPLES = 2
"""A pixel of a crop is the mean of so many by so many points of the photo, each bilinear."""


@keras.saving.register_keras_serializable(package="allmasked")
class SecondLook(keras.layers.Layer):
    """Photos (N, H, W, 3) RGB 0-255 and maps (N, h, w, 6) to maps as a second look has them, the same shape.

    With z the log-odds that a candidate is a face and d those that it is masked (see
    :class:`allmasked.networks.reading.Calibration`), and z', d' what the small network says, they become
    (1 - s) z + s z' and (1 - w) d + w d'.

    Args:
        network: (M, S, S, 3) RGB 0-255 to logits (M, 3): masked face, bare face, no face.
        shares: s and w, each from 0 to 1.
    """

    def __init__(self, network: keras.Model, shares: Sequence[float] = SHARES, **options: Any) -> None:
        super().__init__(**options)
        self.network, self.shares = network, (float(shares[0]), float(shares[1]))

    @property
    def side(self) -> int:
        """Of the crops, px."""
        return int(self.network.input.shape[1])

    def call(self, both: Any) -> Any:
        photos, maps = both
        height, width = photos.shape[1:3]
        rows, columns = maps.shape[1:3]
        z, taken, boxes = peaks_of_maps(maps, (width, height), COUNT)
        count, side = z.shape[1], self.side
        crops = ops.reshape(crop(photos, square(boxes), side), (-1, side, side, 3))
        said = ops.reshape(ops.cast(self.network(crops, training=False), "float32"), (-1, count, 3))
        (s, w), d = self.shares, taken[..., 0] - taken[..., 1]
        there = s * (ops.logaddexp(said[..., 0], said[..., 1]) - said[..., 2] - z)
        worn = (1 - w) * d + w * (said[..., 0] - said[..., 1])
        masked, bare = (there + ops.softplus(-sign * d) - ops.softplus(-sign * worn) for sign in (1, -1))
        fully = ops.clip((z - ops.maximum(z[:, -1:], PROPOSED)) / FADING, 0, 1)[..., None]
        cells = ops.reshape(cell_boxes(maps, (width, height)), (-1, rows * columns, 4))
        shared, own, others = shared_area(cells, boxes)
        alike = shared / ops.maximum(own + others - shared, 1e-6)
        mine = ops.clip((alike - ALIKE) / (SAME - ALIKE), 0, 1) * ops.transpose(fully, (0, 2, 1))
        change = ops.matmul(mine, ops.stack([masked, bare], -1)) / ops.maximum(ops.sum(mine, -1, keepdims=True), 1.0)
        change = ops.reshape(change, (-1, rows, columns, 2))
        return ops.concatenate([maps[..., :2] + change, maps[..., 2:]], -1)

    def compute_output_shape(self, shapes: Any) -> tuple[int | None, ...]:
        return tuple(shapes[1])

    def get_config(self) -> dict[str, Any]:
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network, "shares": self.shares}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SecondLook:
        return cls(keras.saving.deserialize_keras_object(config.pop("network")), **config)


def square(boxes: Any) -> Any:
    """The squares (..., 4) that are cut around boxes (..., 4), px."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = ops.max(boxes[..., 2:] - boxes[..., :2], -1, keepdims=True) * (CONTEXT / 2)
    return ops.concatenate([centre - half, centre + half], -1)


def crop(photos: Any, squares: Any, side: int) -> Any:
    """Squares (N, K, 4) px cut from photos (N, H, W, 3): (N, K, side, side, 3); black beyond the photo.

    As ``RoiAlign`` of ONNX has it (He et al., "Mask R-CNN", 2017; half-pixel coordinates, :data:`SAMPLES`), here as one
    matrix an axis: each pixel of a crop is a weighed sum of a few of the photo's columns and rows.
    """
    height, width = photos.shape[1:3]
    across = _weights(squares[..., 0], squares[..., 2], width, side)
    down = _weights(squares[..., 1], squares[..., 3], height, side)
    rows = ops.einsum("nksh,nhwc->nkswc", down, ops.cast(photos, "float32"))
    return ops.einsum("nkswc,nktw->nkstc", rows, across)


def _weights(low: Any, high: Any, length: int, side: int) -> Any:
    """The matrices (N, K, side, length) from an axis of a photo to that of crops from ``low`` to ``high`` px."""
    steps = (np.arange(side * SAMPLES, dtype=np.float32) + 0.5) / (side * SAMPLES)
    at = low[..., None] - 0.5 + (high - low)[..., None] * steps
    inside = ops.cast(ops.logical_and(at >= -1, at <= length), "float32")
    at = ops.clip(at, 0, length - 1)[..., None]
    hat = ops.relu(1 - ops.abs(at - np.arange(length, dtype=np.float32))) * inside[..., None]
    return ops.mean(ops.reshape(hat, (-1, low.shape[1], side, SAMPLES, length)), 3)
