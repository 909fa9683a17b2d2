"""Class activation maps: where in a photo what speaks for a class lies.

Every explainer is a row of :data:`EXPLAINERS`. Most work on the last feature map A (h, w, C) and on the score of one
class: the logit (before the softmax) where the head has one, otherwise the logarithm of the probability. Two need no
gradient, only what the network says anyway, and so work on exported files too: ``evidence`` and ``cam``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import ConfigError, row_of
from allmasked.core.types import Answers, Predictor
from allmasked.explaining.network import BATCH, Classes, Floats, Network, gradients, network
from allmasked.images import pixels as px
from allmasked.images.draw import enlarge

if TYPE_CHECKING:
    import keras

SCORE_CAM_CHANNELS = 64


def grad_cam(network: Network, pixels: NDArray[Any], class_index: Classes) -> Floats:
    """Grad-CAM (Selvaraju et al. 2017): sum over channels of A weighted by the gradient's mean; raw map (N, h, w)."""
    features = network.features(pixels)
    weights = gradients(network, features, class_index).mean((1, 2), keepdims=True)
    return (weights * features).sum(-1)


def grad_cam_plus_plus(network: Network, pixels: NDArray[Any], class_index: Classes) -> Floats:
    """Grad-CAM++ (Chattopadhyay et al. 2018), in its closed form for an exponential score; raw map (N, h, w).

    With g the gradient of the score S, the n-th derivatives of exp(S) are exp(S) g^n; the factor exp(S) cancels in
    alpha = g^2 / (2 g^2 + g^3 sum A) = 1 / (2 + g sum A) and only scales the map. sum A is cut at 0 (activations like
    swish go below), so that the denominator stays positive where g counts.
    """
    features = network.features(pixels)
    gradient = np.maximum(gradients(network, features, class_index), 0)
    alpha = 1 / (2 + gradient * np.maximum(features.sum((1, 2), keepdims=True), 0))
    weights = (alpha * gradient).sum((1, 2), keepdims=True)
    return (weights * features).sum(-1)


def hires_cam(network: Network, pixels: NDArray[Any], class_index: Classes) -> Floats:
    """HiRes-CAM (Draelos & Carin 2020): sum over channels of A times its gradient at each place; raw map (N, h, w)."""
    features = network.features(pixels)
    return (gradients(network, features, class_index) * features).sum(-1)


def score_cam(network: Network, pixels: NDArray[Any], class_index: Classes) -> Floats:
    """Score-CAM (Wang et al. 2020): channels weighted by the probability that they uncover; raw map (N, h, w).

    Each channel, enlarged and scaled to 0..1, lets its part of the photo through (the rest is grey); its weight is the
    probability of the class then (the paper takes off that of a photo which shows nothing). Only the 64 channels that
    vary most are tried, since each costs a pass through the network (the paper tries all).
    """
    features = network.features(pixels)
    maps = np.zeros(features.shape[:3], np.float32)
    for number, channels in enumerate(features):
        tried = channels[..., np.argsort(-channels.var((0, 1)), kind="stable")[:SCORE_CAM_CHANNELS]]
        masks = tried - tried.min((0, 1))
        masks /= np.maximum(masks.max((0, 1)), 1e-12)
        photo = np.asarray(pixels[number], np.float32)
        weights = []
        for start in range(0, tried.shape[-1], BATCH):
            shown = np.stack([enlarge(mask, network.size) for mask in np.moveaxis(masks, -1, 0)[start : start + BATCH]])
            masked = px.PAD + (photo - px.PAD) * shown[..., None]
            weights.append(network.probabilities(masked)[:, class_index[number]])
        maps[number] = tried @ np.concatenate(weights)
    return maps


def cam(network: Network, pixels: NDArray[Any], class_index: Classes) -> Floats:
    """CAM in closed form (Zhou et al. 2016): sum over channels of A times the dense layer's weight; raw map (N, h, w).

    Raises:
        ConfigError: the head is not global average pooling and one dense layer.
    """
    if network.kernel is None:
        raise ConfigError("cam needs a head of global average pooling and one dense layer ('softmax'); use grad-cam")
    return np.einsum("nhwc,cn->nhw", network.features(pixels), network.kernel[:, class_index])


def evidence(network: Network, pixels: NDArray[Any], class_index: Classes) -> Floats:
    """The evidence head's own maps (:func:`evidence_of_class`); raw map (N, h, w).

    Raises:
        ConfigError: the head makes no such maps.
    """
    if not network.has_evidence:
        raise ConfigError("evidence needs a head that makes such maps ('evidence'); use grad-cam")
    return evidence_of_class(network.evidence(pixels), class_index)


def evidence_of_class(heat: Floats, class_index: Classes) -> Floats:
    """What speaks for a class in maps (N, h, w, 2) 0-1 of masked and bare faces: (N, h, w).

    For "all" the masked map, for "none" the bare one, for "some", which takes both, the larger of the two everywhere.
    """
    masked, bare = heat[..., 0], heat[..., 1]
    chosen = class_index[:, None, None]
    return np.where(chosen == 0, masked, np.where(chosen == 1, bare, np.maximum(masked, bare)))


def cam_of_class(maps: Floats, class_index: Classes) -> Floats:
    """The activation maps (N, h, w, 3) of a linear head, for one class each: (N, h, w)."""
    return np.take_along_axis(maps, class_index[:, None, None, None], -1)[..., 0]


@dataclass(frozen=True)
class Explainer:
    """One row of :data:`EXPLAINERS`. ``raw`` gives maps (N, h, w) of any range; :meth:`heat` is what to use.

    ``said`` makes the same of ``maps`` of the network's answer (:class:`allmasked.core.types.Answers`) where no more
    than that is needed. ``absolute`` maps are 0-1 already.
    """

    name: str
    help: str
    raw: Callable[[Network, NDArray[Any], Classes], Floats]
    linear_only: bool = False
    evidence_only: bool = False
    said: Callable[[Floats, Classes], Floats] | None = None
    maps: Callable[[Answers], Floats | None] = lambda answers: None  # noqa: ARG005
    absolute: bool = False

    def fits(self, answers: Answers) -> bool:
        """Whether the answer itself says enough."""
        return self.said is not None and self.maps(answers) is not None

    def heat_said(self, answers: Answers, class_index: Iterable[int]) -> Floats:
        """:meth:`heat` from the answers of a network (see :meth:`fits`), without a further look at it."""
        maps = self.maps(answers)
        assert self.said is not None and maps is not None
        return self._scaled(self.said(maps, np.asarray(class_index, np.int64)))

    def _scaled(self, maps: Floats) -> Floats:
        heat = np.maximum(np.nan_to_num(maps), 0)
        if self.absolute:
            return np.asarray(heat, np.float32)
        top = heat.max((1, 2), keepdims=True)
        return (heat / np.where(top > 1e-12, top, 1)).astype(np.float32)

    def heat(self, model: keras.Model | Network, pixels: NDArray[Any], class_index: Iterable[int]) -> Floats:
        """Heat maps (N, h, w) float32 at the feature map's resolution, covering the whole input.

        Negative evidence is cut off, then each map is divided by its maximum (not those of ``evidence``, which are
        probabilities): 0..1, all 0 where nothing speaks for the class.

        Args:
            model: see :class:`Network`.
            pixels: (N, H, W, 3) RGB 0-255.
            class_index: (N,) index into :data:`allmasked.core.types.CLASSES` of the class to explain.

        Raises:
            RunError: the model has no feature map to look at.
            ConfigError: the explainer does not fit the head.
        """
        cut = network(model)
        classes = np.asarray(class_index, np.int64)
        maps = [
            self.raw(cut, pixels[start : start + BATCH], classes[start : start + BATCH])
            for start in range(0, len(pixels), BATCH)
        ]
        return self._scaled(np.concatenate(maps))


EXPLAINERS: dict[str, Explainer] = {
    row.name: row
    for row in (
        Explainer("grad-cam", "channels weighted by their mean gradient (Selvaraju 2017)", grad_cam),
        Explainer("grad-cam++", "positive gradients, weighted place by place (Chattopadhyay 2018)", grad_cam_plus_plus),
        Explainer("hires-cam", "gradient times activation, place by place (Draelos & Carin 2020)", hires_cam),
        Explainer("score-cam", "channels weighted by what they uncover; slow (Wang 2020)", score_cam),
        Explainer(
            "cam", "closed form, for the head 'softmax' only (Zhou 2016)", cam, linear_only=True,
            said=cam_of_class, maps=lambda answers: answers.cam,
        ),
        Explainer(
            "evidence", "the maps of masked and bare faces, for the head 'evidence' only", evidence, evidence_only=True,
            said=evidence_of_class, maps=lambda answers: answers.evidence, absolute=True,
        ),
    )
}  # fmt: skip


def explainers_for(model: keras.Model | Network) -> list[str]:
    """The names of the explainers that fit the model's head."""
    cut = network(model)
    linear = cut.kernel is not None
    return [
        name
        for name, row in EXPLAINERS.items()
        if (linear or not row.linear_only) and (cut.has_evidence or not row.evidence_only)
    ]


def explainer_for(predictor: Predictor) -> str:
    """The explainer to take where none is named: the network's own maps, its class activation maps, or Grad-CAM."""
    if predictor.finds_faces:
        return "evidence"
    return "cam" if predictor.network is None else "grad-cam"


def explainer_named(name: str) -> Explainer:
    """The row of :data:`EXPLAINERS`; raises :class:`ConfigError` with the nearest name."""
    return row_of("explainer", name, EXPLAINERS)
