"""Layers of the head with maps, :mod:`allmasked.networks.reading` among them: a network answers by itself."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from allmasked.core.types import Counting
from allmasked.networks.reading import CANDIDATES, FLOOR, INSIDE, OVERLAP, SHOWN, TYPICAL_PX, Calibration

FACE_CHANNELS = 7
"""Of :class:`FindFaces`: left, top, right, bottom, score, P(masked | face), whether the face counts."""


def as_given(values: Any) -> tuple[float, ...]:
    """The shortest numbers that float32 keeps as these: 0.2, not 0.20000000298."""
    return tuple(float(str(number)) for number in np.asarray(values, np.float32))


def peaks_of_maps(maps: Any, size: tuple[int, int], most: int = CANDIDATES) -> tuple[Any, Any, Any]:
    """The highest peaks of maps (N, h, w, 6) over an input of ``size`` px, at most ``most``, highest first.

    Returns:
        The log-odds z that somebody is there (N, F), at most -9e3 where there is no further peak; what the maps say
        there (N, F, 6); the boxes (N, F, 4) px.
    """
    rows, columns = maps.shape[1:3]
    somebody = ops.logaddexp(maps[..., 0], maps[..., 1])
    around = ops.max_pool(somebody[..., None], 3, 1, "same")[..., 0]
    flat = ops.reshape(ops.where(somebody >= around, somebody, -1e4), (-1, rows * columns))
    z, cells = ops.top_k(flat, min(most, rows * columns))
    taken, boxes = (
        ops.take_along_axis(ops.reshape(one, (-1, rows * columns, one.shape[-1])), cells[..., None], axis=1)
        for one in (maps, cell_boxes(maps, size))
    )
    return z, taken, boxes


def cell_boxes(maps: Any, size: tuple[int, int]) -> Any:
    """Each cell's box (N, h, w, 4) px, from maps (N, h, w, 6) over an input of ``size`` px."""
    rows, columns = maps.shape[1:3]
    cell = np.array([size[0] / columns, size[1] / rows], np.float32)
    at = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).astype(np.float32) + 0.5
    centre = (maps[..., 2:4] + at) * cell
    half = ops.exp(ops.clip(maps[..., 4:6], -3, 6)) * cell / 2
    return ops.concatenate([centre - half, centre + half], -1)


def shared_area(one: Any, other: Any) -> tuple[Any, Any, Any]:
    """What boxes (N, F, 4) share with others (N, G, 4), and both their areas: (N, F, G), (N, F, 1), (N, 1, G) px^2."""
    low = ops.maximum(one[:, :, None, :2], other[:, None, :, :2])
    high = ops.minimum(one[:, :, None, 2:], other[:, None, :, 2:])
    mine, others = (ops.prod(boxes[..., 2:] - boxes[..., :2], -1) for boxes in (one, other))
    return ops.prod(ops.relu(high - low), -1), mine[:, :, None], others[:, None, :]


@keras.saving.register_keras_serializable(package="allmasked")
class FindFaces(keras.layers.Layer):
    """Maps (N, h, w, 6) over an input of ``size`` px to faces (N, 64, 7), see :data:`FACE_CHANNELS`.

    A candidate that is none (too faint, or a face already found) has score 0. The calibration is kept in weights that
    don't learn.
    """

    def __init__(self, size: tuple[int, int], **options: Any) -> None:
        super().__init__(**options)
        self.size = (int(size[0]), int(size[1]))

    def build(self, _input_shape: tuple[int | None, ...]) -> None:
        self.score = self._kept("score", Calibration.score)
        self.wear = self._kept("wear", Calibration.wear)
        self.counting = self._kept("counting", (0.0, 0.0))

    def _kept(self, name: str, values: tuple[float, ...]) -> Any:
        return self.add_weight(
            name=name, shape=(len(values),), trainable=False,
            initializer=lambda shape, dtype: ops.reshape(ops.convert_to_tensor(values, dtype), shape),
        )  # fmt: skip

    @property
    def calibration(self) -> Calibration:
        """What the weights say."""
        score, wear, counting = (as_given(values) for values in (self.score, self.wear, self.counting))
        return Calibration(score, wear, Counting(*counting))  # type: ignore[arg-type]

    @calibration.setter
    def calibration(self, given: Calibration) -> None:
        self.score.assign(np.array(given.score, np.float32))
        self.wear.assign(np.array(given.wear, np.float32))
        self.counting.assign(np.array([given.counting.min_face_px, given.counting.min_face_share], np.float32))

    def call(self, maps: Any) -> Any:
        z, taken, boxes = peaks_of_maps(maps, self.size)
        count = z.shape[1]
        height = ops.maximum(boxes[..., 3] - boxes[..., 1], 1.0)
        u = ops.log(height / TYPICAL_PX)
        s, w = self.score, self.wear
        score = ops.sigmoid(s[0] + s[1] * z + s[2] * u + s[3] * u * u)
        masked = ops.sigmoid(w[0] + w[1] * (taken[..., 0] - taken[..., 1]) + w[2] * u)
        score = ops.where(ops.logical_and(score >= FLOOR, z > -9e3), score, 0.0)
        shared, mine, others = shared_area(boxes, boxes)
        union = ops.maximum(mine + others - shared, 1e-6)
        earlier = np.tril(np.ones((count, count), np.float32), -1)  # of equal scores, the one with the higher peak
        gap = score[:, None, :] - score[:, :, None]
        likelier = ops.logical_or(gap > 0, ops.logical_and(gap >= 0, earlier > 0.5))
        other = ops.logical_and(likelier, score[:, None, :] > 0)
        smaller = ops.maximum(ops.minimum(mine, others), 1e-6)
        alike = ops.logical_or(shared > OVERLAP * union, shared > INSIDE * smaller)
        again = ops.any(ops.logical_and(other, alike), -1)
        score = ops.where(again, 0.0, score)
        large = height >= self.counting[0]
        sure = ops.logical_and(score >= SHOWN, large)
        highest = ops.max(ops.where(sure, height, 0.0), -1, keepdims=True)
        counts = ops.cast(ops.logical_and(large, height >= self.counting[1] * highest), "float32")
        return ops.concatenate([boxes, ops.stack([score, masked, counts], -1)], -1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        rows, columns = input_shape[1:3]
        return (input_shape[0], min(CANDIDATES, rows * columns) if rows and columns else None, FACE_CHANNELS)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package="allmasked")
class AnswerOfFaces(keras.layers.Layer):
    """Faces (N, F, 7) to P(all), P(none), P(some), P(nobody) (N, 4); ``some_factor`` see Counting."""

    def __init__(self, some_factor: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.some_factor = some_factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "some_factor": self.some_factor}

    def call(self, faces: Any) -> Any:
        p, m = faces[..., 4] * faces[..., 6], faces[..., 5]
        nobody_bare, nobody_masked = ops.prod(1 - p * (1 - m), -1), ops.prod(1 - p * m, -1)
        nobody = ops.prod(1 - p, -1)
        some = self.some_factor * (1 - nobody_bare - nobody_masked + nobody)
        four = ops.clip(ops.stack([nobody_bare - nobody, nobody_masked - nobody, some, nobody], -1), 0.0, 1.0)
        return four / ops.sum(four, -1, keepdims=True)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], 4)


@keras.saving.register_keras_serializable(package="allmasked")
class GivenSomebody(keras.layers.Layer):
    """P(all), P(none), P(some), P(nobody) (N, 4) to the first three (N, 3) if somebody is there."""

    def call(self, answer: Any) -> Any:
        there = answer[:, :3] + 1e-9
        return there / ops.sum(there, -1, keepdims=True)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], 3)


@keras.saving.register_keras_serializable(package="allmasked")
class AsLarge(keras.layers.Layer):
    """A map (N, h, w, C) as large as another (N, H, W, D), each cell repeated: (N, H, W, C), for inputs of any size.

    As ``keras.layers.Resizing(H, W, "nearest")``, which must know H and W when the network is built.
    """

    def call(self, both: Any) -> Any:
        small, like = both
        for axis in (1, 2):
            ours, theirs = (ops.cast(ops.shape(one)[axis], "float32") for one in (small, like))
            middles = ops.arange(ops.shape(like)[axis], dtype="float32") + 0.5
            small = ops.take(small, ops.cast(ops.floor(middles * (ours / theirs)), "int32"), axis)
        return small

    def compute_output_shape(self, shapes: Any) -> tuple[int | None, ...]:
        small, like = shapes
        return (small[0], *like[1:3], small[3])
