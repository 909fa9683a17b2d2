"""What training minimises: cross-entropy of a photo's label, and for heads with maps also of its faces."""

from __future__ import annotations

from typing import Any

import numpy as np

from allmasked.core.types import CLASSES


def label_loss(labels: str, label_smoothing: float) -> Any:
    """Cross-entropy for one-hot or integer labels, smoothed (Szegedy et al. 2016)."""
    import keras

    if labels == "one-hot":
        return keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)
    if label_smoothing == 0:
        return keras.losses.SparseCategoricalCrossentropy()

    def smoothed(y_true: Any, y_pred: Any) -> Any:
        one_hot = keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "int32"), len(CLASSES))
        return keras.losses.categorical_crossentropy(one_hot, y_pred, label_smoothing=label_smoothing)

    return smoothed


def faces_loss(map_weight: float = 1.0, box_weight: float = 0.5) -> Any:
    """Loss of evidence maps: what a photo's faces should be, and what the answer reads from them.

    The first part, times ``map_weight``, is the focal loss of the maps (penalty-reduced, Zhou et al. 2019, after Lin et
    al. 2017) and L1 of the boxes; a photo's sum is divided by twice the root of its number of faces, so that crowds
    count more than portraits but not in proportion. The second is the cross-entropy of the answer of
    :func:`log_answer`, the one that :mod:`allmasked.networks.reading` gives without calibration. Photos whose faces are
    not marked have the second part alone: a weak label.

    Targets (N, h, w, 13) of :func:`allmasked.networks.evidence.with_answer`, maps (N, h, w, 6).
    """
    from keras import ops

    def loss(y_true: Any, y_pred: Any) -> Any:
        heat, boxes, has_box, known = y_true[..., :2], y_true[..., 2:6], y_true[..., 6:7], y_true[..., 7:8]
        logits = y_pred[..., :2]
        p = ops.sigmoid(logits)
        centre = ops.cast(heat > 0.999, "float32")
        there, away = (1 - p) ** 2 * ops.softplus(-logits), (1 - heat) ** 4 * p**2 * ops.softplus(logits)
        focal = centre * there + (1 - centre) * away
        distance = ops.abs(boxes - y_pred[..., 2:6]) * has_box
        total = ops.sum(focal * known, axis=(1, 2, 3)) + box_weight * ops.sum(distance, axis=(1, 2, 3))
        maps = total / (2 * ops.sqrt(ops.maximum(ops.sum(has_box, axis=(1, 2, 3)), 1.0)))
        answer, weight = y_true[:, 0, 0, 8:12], y_true[:, 0, 0, 12]
        label = -ops.sum(answer * log_answer(logits, _asked(y_true)), axis=-1)
        return map_weight * maps + weight * label

    return loss


def _asked(targets: Any) -> Any:
    """The cells (N, h, w) whose peaks a label speaks of: those known, or all where the photo's faces aren't marked."""
    from keras import ops

    known = targets[..., 7]
    return ops.maximum(known, 1 - ops.max(known, axis=(1, 2), keepdims=True))


def log_answer(logits: Any, asked: Any) -> Any:
    """Log of P(all), P(none), P(some), P(nobody) (N, 4) that the peaks of maps (N, h, w, 2) give, see the reading.

    Peaks below :data:`allmasked.networks.reading.FLOOR` don't count, but for the highest; and in P(some), which takes
    two faces, the second highest, too: a photo of which only one peak counts could not learn that label otherwise.
    ``asked`` (N, h, w) is 1 where peaks count at all.
    """
    from keras import ops

    from allmasked.networks.reading import FLOOR

    somebody = ops.logaddexp(logits[..., 0], logits[..., 1])
    around = ops.max_pool(somebody[..., None], 3, 1, "same")[..., 0]
    masked_out = somebody - 1e4 * (1 - asked)
    highest = ops.max(masked_out, axis=(1, 2), keepdims=True)
    summit = somebody >= around
    peak = ops.logical_and(summit, somebody > float(np.log(FLOOR / (1 - FLOOR))))
    peak = ops.cast(ops.logical_or(peak, masked_out >= highest), "float32") * asked
    peak = ops.stop_gradient(peak)
    each = ops.softplus(somebody)
    of_each = ops.stack([-each, ops.softplus(logits[..., 0]) - each, ops.softplus(logits[..., 1]) - each], axis=-1)
    nobody, nobody_bare, nobody_masked = ops.unstack(ops.sum(peak[..., None] * of_each, axis=(1, 2)), 3, axis=-1)

    def less_nobody(log: Any) -> Any:
        return log + ops.log(-ops.expm1(ops.minimum(nobody - log, -1e-5)))

    photos = ops.shape(logits)[0]
    heights, cells = ops.top_k(ops.reshape(ops.where(summit, masked_out, -1e4), (photos, -1)), 2)
    counted = ops.take_along_axis(ops.reshape(peak, (photos, -1)), cells, axis=1)
    missing = ops.stop_gradient(ops.where(heights > -1e3, 1 - counted, 0))[..., None]
    of_two = ops.take_along_axis(ops.reshape(of_each, (photos, -1, 3)), cells[..., None], axis=1)
    two = ops.sum(missing * of_two, axis=1)
    some = 1 - ops.exp(nobody_bare + two[:, 1]) - ops.exp(nobody_masked + two[:, 2]) + ops.exp(nobody + two[:, 0])
    found = [less_nobody(nobody_bare), less_nobody(nobody_masked), ops.log(ops.relu(some) + 1e-4), nobody]
    return ops.maximum(ops.stack(found, axis=-1), -25.0)


def answer_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Share of photos whose likeliest label is right, for the targets and maps of :func:`faces_loss`."""
    from keras import ops

    found = log_answer(y_pred[..., :2], _asked(y_true))
    return ops.cast(ops.equal(ops.argmax(found, -1), ops.argmax(y_true[:, 0, 0, 8:12], -1)), "float32")
