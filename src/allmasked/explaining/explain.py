"""Where in a photo an answer comes from: class activation maps, and measures of how faithful they are.

Every explainer is a row of :data:`EXPLAINERS`. Most work on the last feature map A (h, w, C) and on the score of one
class: the logit (before the softmax) where the head has one, otherwise the logarithm of the probability. Two need no
gradient, only what the network says anyway, and so work on exported files too: ``evidence`` and ``cam``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.Image import Image

from allmasked.core.errors import ConfigError, PhotoError, RunError, unknown
from allmasked.core.runs import replacing
from allmasked.core.types import CLASSES, NOBODY, Answers, Label, Prediction, Predictor, Size
from allmasked.images import pixels as px
from allmasked.predictors.faces import prediction_of

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float32]
Classes = NDArray[np.int64]
BATCH = 32
SCORE_CAM_CHANNELS = 64
TILE: Size = (220, 165)


class Network:
    """A classifier cut in two at its feature map.

    ``model`` takes pixels (N, H, W, 3) float32 RGB 0-255, has a layer called ``feature_map``, or else ``backbone``,
    whose output is the feature map (N, h, w, C), and ends in the layer ``probabilities`` (N, 3); of a model with
    further outputs that part is taken.

    Raises:
        RunError: the model has no such layer.
    """

    def __init__(self, model: keras.Model) -> None:
        import keras

        from allmasked.networks.model import classifier, jit_compile

        if any(layer.name == "maps" for layer in model.layers):
            model = classifier(model)
        self.model = model
        names = [layer.name for layer in model.layers]
        cut = "feature_map" if "feature_map" in names else "backbone"
        if cut not in names or model.layers[-1].name != "probabilities":
            raise RunError(
                "the model cannot be explained: it has no layer 'backbone', or does not end in 'probabilities'"
            )
        backbone = model.get_layer(cut)
        self.after = model.layers[names.index(cut) + 1 :]
        feature_map = next(
            tensor
            for layer in self.after
            for tensor in keras.tree.flatten(layer.input)
            if tensor._keras_history.operation is backbone
        )
        last = self.after[-1]
        self.has_logits = isinstance(last, keras.layers.Softmax) or (
            isinstance(last, keras.layers.Activation) and last.activation is keras.activations.softmax
        )
        self.score = "logit" if self.has_logits else "log-probability"
        self._backbone = keras.Model(model.input, feature_map)
        self._backbone.jit_compile = model.jit_compile = jit_compile()
        self._head = keras.Model(feature_map, last.input if self.has_logits else model.output)
        self.size: Size = (model.input_shape[2], model.input_shape[1])

    def features(self, pixels: NDArray[Any]) -> Floats:
        """The feature map (N, h, w, C) of pixels (N, H, W, 3)."""
        return _in_batches(self._backbone, pixels)

    def probabilities(self, pixels: NDArray[Any]) -> Floats:
        """(N, 3) of pixels (N, H, W, 3)."""
        return _in_batches(self.model, pixels)

    def scores(self, features: Any) -> Any:
        """The classes' scores (N, 3) of a feature map, as a tensor that gradients flow through."""
        from keras import ops

        scores = ops.cast(self._head(features, training=False), "float32")
        return scores if self.has_logits else ops.log(scores + 1e-7)

    @property
    def has_evidence(self) -> bool:
        """Whether the head makes maps of masked and bare faces."""
        return any(layer.name == "evidence" for layer in self.after)

    def evidence(self, pixels: NDArray[Any]) -> Floats:
        """The head's maps (N, h, w, 2) 0-1, "masked here" and "bare here", of pixels (N, H, W, 3)."""
        return _sigmoid(_in_batches(self._evidence, pixels))

    @cached_property
    def _evidence(self) -> keras.Model:
        from allmasked.networks.model import part

        return part(self.model, "evidence")

    @cached_property
    def kernel(self) -> Floats | None:
        """The weights (C, 3) of a head that is global average pooling and one dense layer; None for any other."""
        from keras import layers, ops

        steps = [layer for layer in self.after if not isinstance(layer, layers.Dropout)]
        if len(steps) != 3 or not self.has_logits:
            return None
        pooling, dense, _ = steps
        if not isinstance(pooling, layers.GlobalAveragePooling2D) or not isinstance(dense, layers.Dense):
            return None
        linear = dense.activation.__name__ == "linear"
        return np.asarray(ops.convert_to_numpy(dense.kernel), np.float32) if linear else None


_networks: WeakKeyDictionary[Any, Network] = WeakKeyDictionary()


def network(model: keras.Model | Network) -> Network:
    """``model`` cut in two; the same object for the same model, so that it is compiled once."""
    if isinstance(model, Network):
        return model
    if model not in _networks:
        _networks[model] = Network(model)
    return _networks[model]


def _in_batches(model: keras.Model, pixels: NDArray[Any]) -> Floats:
    results = []
    for start in range(0, len(pixels), BATCH):
        part = np.asarray(pixels[start : start + BATCH], np.float32)
        count = len(part)
        full = 1 << (count - 1).bit_length()  # few shapes to compile for
        if count < full:
            part = np.concatenate([part, np.zeros((full - count, *part.shape[1:]), np.float32)])
        results.append(np.asarray(model.predict_on_batch(part), np.float32)[:count])
    return np.concatenate(results) if results else np.zeros((0, *model.output_shape[1:]), np.float32)


def gradients(network: Network, features: Floats, class_index: Classes) -> Floats:
    """The derivative of each photo's class score with respect to its feature map: (N, h, w, C).

    The one place that differs between Keras' backends (TensorFlow, JAX, PyTorch).
    """
    import keras
    from keras import ops

    chosen = ops.convert_to_tensor(np.eye(len(CLASSES), dtype=np.float32)[class_index])

    def total(values: Any) -> Any:  # photos are independent, so the gradient of the sum holds each photo's own
        return ops.sum(network.scores(values) * chosen)

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        values = tf.constant(features)
        with tf.GradientTape() as tape:
            tape.watch(values)
            score = total(values)
        return np.asarray(tape.gradient(score, values), np.float32)
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(total)(jax.numpy.asarray(features)), np.float32)
    if backend == "torch":
        values = ops.convert_to_tensor(features).requires_grad_(True)
        total(values).backward()
        return np.asarray(values.grad.cpu(), np.float32)
    raise ConfigError(f"gradients are not available on the Keras backend {backend!r}; use tensorflow, jax or torch")


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
    probability of the class then. Only the 64 channels that vary most are tried, since each costs a pass through the
    network (the paper tries all).
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
            shown = np.stack(
                [px.enlarge(mask, network.size) for mask in np.moveaxis(masks, -1, 0)[start : start + BATCH]]
            )
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


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))), np.float32)


@dataclass(frozen=True)
class Explainer:
    """One row of :data:`EXPLAINERS`. ``raw`` gives maps (N, h, w) of any range; :meth:`heat` is what to use.

    ``said`` makes the same of the heat in the network's answer (:class:`allmasked.core.types.Answers`, ``channels`` of
    them) where no more than that is needed. ``absolute`` maps are 0-1 already.
    """

    name: str
    help: str
    raw: Callable[[Network, NDArray[Any], Classes], Floats]
    linear_only: bool = False
    evidence_only: bool = False
    said: Callable[[Floats, Classes], Floats] | None = None
    channels: int = 0
    absolute: bool = False

    def fits(self, answers: Answers) -> bool:
        """Whether the answer itself says enough."""
        return self.said is not None and answers.heat is not None and answers.heat.shape[-1] == self.channels

    def heat_said(self, answers: Answers, class_index: Iterable[int]) -> Floats:
        """:meth:`heat` from the answers of a network (see :meth:`fits`), without a further look at it."""
        assert self.said is not None and answers.heat is not None
        return self._scaled(self.said(answers.heat, np.asarray(class_index, np.int64)))

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
            said=cam_of_class, channels=len(CLASSES),
        ),
        Explainer(
            "evidence", "the maps of masked and bare faces, for the head 'evidence' only", evidence, evidence_only=True,
            said=evidence_of_class, channels=2, absolute=True,
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
    return "grad-cam" if hasattr(predictor, "model") else "cam"


@dataclass(frozen=True)
class Explanation:
    """One photo's answer and where it comes from: ``heat`` (h, w) 0..1 over the input, for the class ``explained``.

    Both are None where the photo can't be read (``prediction.error`` says why).
    """

    prediction: Prediction
    path: str
    explained: Label | None
    heat: Floats | None


def explain_paths(
    predictor: Predictor,
    photos: Iterable[tuple[str, str | Path]],
    *,
    explainer: str = "",
    wanted: Label | None = None,
    batch_size: int = 16,
) -> Iterator[Explanation]:
    """Answer and explain any number of photos, in input order and constant memory.

    Args:
        predictor: what answers. One without Keras (an exported file) can be explained by what it says itself.
        photos: (name, path) pairs.
        explainer: a row of :data:`EXPLAINERS`; :func:`explainer_for` when empty.
        wanted: the class to explain; each photo's likeliest when None.

    Raises:
        ConfigError: unknown explainer, or one that does not fit the network.
        RunError: an explainer that looks into the network, for an exported file.
    """
    row = explainer_named(explainer or explainer_for(predictor))
    size, fit = predictor.size, predictor.fit

    def read(path: str | Path, name: str) -> tuple[str, Size, NDArray[np.uint8]]:
        array = px.read(path, size, fit, name=name)  # as predict decodes it, so that both answer the same
        try:
            return str(path), px.upright_size(Path(path)), array
        except Exception:  # gone meanwhile, or a header that only the decoder forgave
            raise PhotoError(name, "its size cannot be read") from None

    for batch in px.decode_batches(photos, read, batch_size=batch_size):
        good = [found for _, found in batch if not isinstance(found, PhotoError)]
        if good:
            pixels = np.stack([array for _, _, array in good])
            answers = predictor.answer(pixels)
            indices = np.full(len(good), CLASSES.index(wanted)) if wanted else answers.probabilities.argmax(1)
            heats = (
                row.heat_said(answers, indices) if row.fits(answers) else _look_into(predictor, row, pixels, indices)
            )
        number = 0
        for name, found in batch:
            if isinstance(found, PhotoError):
                yield Explanation(Prediction(name, None, None, found.reason), "", None, None)
                continue
            path, photo, _ = found
            prediction = prediction_of(name, answers, number, photo, size, fit)
            yield Explanation(prediction, path, CLASSES[int(indices[number])], heats[number])
            number += 1


def _look_into(predictor: Predictor, row: Explainer, pixels: NDArray[np.uint8], indices: Classes) -> Floats:
    model = getattr(predictor, "model", None)
    if model is None:
        own = explainer_for(predictor)
        if own == row.name:
            raise RunError(f"{predictor.name}: this file does not say where its answer comes from; give the folder")
        raise RunError(
            f"{predictor.name}: {row.name} looks into a Keras model; give a run folder, or take --explainer {own}"
        )
    return row.heat(model, pixels, indices)


def explainer_named(name: str) -> Explainer:
    """The row of :data:`EXPLAINERS`; raises :class:`ConfigError` with the nearest name."""
    if name not in EXPLAINERS:
        raise unknown("explainer", name, EXPLAINERS)
    return EXPLAINERS[name]


def on_photo(heat: Floats, photo: Size, size: Size, fit: px.Fit) -> Floats:
    """The part of a heat map that lies on the photo (the letterbox's bars cut off), at the input's resolution.

    Args:
        heat: (h, w) 0..1 over an input of ``size`` (width, height) px.
        photo: the photo's width and height, in any unit (only the aspect counts).
    """
    rows, columns = heat.shape
    left, top, right, bottom = px.placement(photo, size, fit).box(0, 0, *photo)
    cells = (left * columns / size[0], top * rows / size[1], right * columns / size[0], bottom * rows / size[1])
    return px.enlarge(heat, (max(1, round(right - left)), max(1, round(bottom - top))), cells)


def picture(path: str | Path, heat: Floats, size: Size, fit: px.Fit, *, longest_px: int = 1024) -> tuple[Image, Image]:
    """The photo (at most ``longest_px`` long) and the same with the heat map laid over it. Raises PhotoError."""
    frame = (longest_px, longest_px)
    photo = px.thumbnail(px.decode(path, fit_within=frame), frame)
    return photo, px.overlay(photo, on_photo(heat, photo.size, size, fit))


def true_label(path: str | Path) -> Label | None:
    """The class that a photo's folder is named after (``.../none/x.jpg``), None where it isn't."""
    folder = Path(path).absolute().parent.name.lower()
    return next((label for label in CLASSES if label == folder), None)


def write_pictures(
    explanations: Iterable[Explanation],
    out: str | Path,
    size: Size,
    fit: px.Fit,
    *,
    tag: str = "grad-cam",
    tiles_shown: int = 48,
) -> Iterator[tuple[Explanation, Path | None]]:
    """Write one overlay a photo into the folder ``out``, then ``grid.png`` of the first ``tiles_shown``.

    A picture is called after its photo and ``tag``; a number keeps names apart (``x.grad-cam.jpg``,
    ``x-2.grad-cam.jpg``). Yields each explanation with its picture's path (None where the photo can't be read).
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    tiles: list[Image] = []
    captions: list[str] = []
    colours: list[str] = []
    for explanation in explanations:
        if explanation.heat is None or explanation.prediction.probabilities is None:
            yield explanation, None
            continue
        try:
            photo, overlaid = picture(explanation.path, explanation.heat, size, fit)
        except PhotoError as error:
            yield replace(explanation, prediction=Prediction(error.path, None, None, error.reason)), None
            continue
        stem = stem_of_name = os.fsdecode(os.fsencode(Path(explanation.path).stem)[:150])  # names are 255 bytes at most
        number = 1
        while f"{stem}.{tag}".lower() in taken:
            number += 1
            stem = f"{stem_of_name}-{number}"
        taken.add(f"{stem}.{tag}".lower())
        target = out / f"{stem}.{tag}.jpg"
        with replacing(target) as temporary:
            overlaid.save(temporary, quality=90)
        if len(tiles) < tiles_shown:
            tiles.append(_pair(px.thumbnail(photo, TILE), px.thumbnail(overlaid, TILE)))
            caption, colour = _caption(explanation)
            captions.append(caption)
            colours.append(colour)
        yield explanation, target
    if tiles:
        with replacing(out / "grid.png") as temporary:
            px.grid(tiles, captions, colours=colours).save(temporary)


def _pair(left: Image, right: Image) -> Image:
    both = PIL.Image.new("RGB", (left.width + right.width + 2, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 2, 0))
    return both


def _caption(explanation: Explanation) -> tuple[str, str]:
    label, probabilities = explanation.prediction.label, explanation.prediction.probabilities
    assert label is not None and probabilities is not None
    sure = explanation.prediction.p_nobody if label == NOBODY else probabilities[CLASSES.index(label)]
    text = f"{label} {sure:.2f}"
    if explanation.explained != label:
        text += f" (heat: {explanation.explained})"
    truth = true_label(explanation.path)
    if truth is None:
        return text, "black"
    return f"{text}\ntrue: {truth}", "#00703c" if truth == label else "#b3261e"
