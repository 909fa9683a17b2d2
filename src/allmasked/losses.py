"""What training minimises: cross-entropy of a photo's label, and for heads with maps also of its faces."""

from __future__ import annotations

from typing import Any

from allmasked.types import CLASSES


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


def presence_loss(label_smoothing: float) -> Any:
    """Binary cross-entropy of the logits "a masked face is there" and "a bare face is there", both (N, 2).

    Its sum over the two is the cross-entropy of the label, P(all) = a (1 - b) and so on.
    """
    from keras import ops

    def loss(y_true: Any, y_pred: Any) -> Any:
        smooth = y_true * (1 - label_smoothing) + 0.5 * label_smoothing
        return ops.sum(ops.relu(y_pred) - y_pred * smooth + ops.log1p(ops.exp(-ops.abs(y_pred))), axis=-1)

    return loss


def presence_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Share of photos whose two answers are both right."""
    from keras import ops

    return ops.cast(ops.all(ops.equal(y_true > 0.5, y_pred > 0), axis=-1), "float32")


def map_loss(box_weight: float = 0.5) -> Any:
    """Focal loss of the maps (penalty-reduced, Zhou et al. 2019, after Lin et al. 2017) and L1 of the boxes.

    Targets (N, h, w, 8) of :func:`allmasked.evidence.map_targets`, maps (N, h, w, 6). Cells that aren't known don't
    count. A photo's sum is divided by twice the root of its number of faces, so that crowds count more than portraits
    but not in proportion.
    """
    from keras import ops

    def loss(y_true: Any, y_pred: Any) -> Any:
        heat, boxes, has_box, known = y_true[..., :2], y_true[..., 2:6], y_true[..., 6:7], y_true[..., 7:8]
        logits = y_pred[..., :2]
        p = ops.sigmoid(logits)
        log_p = -ops.softplus(-logits)
        log_not = -ops.softplus(logits)
        centre = ops.cast(heat > 0.999, "float32")
        focal = -centre * (1 - p) ** 2 * log_p - (1 - centre) * (1 - heat) ** 4 * p**2 * log_not
        distance = ops.abs(boxes - y_pred[..., 2:6]) * has_box
        total = ops.sum(focal * known, axis=(1, 2, 3)) + box_weight * ops.sum(distance, axis=(1, 2, 3))
        return total / (2 * ops.sqrt(ops.maximum(ops.sum(has_box, axis=(1, 2, 3)), 1.0)))

    return loss
