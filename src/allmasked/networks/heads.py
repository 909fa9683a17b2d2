"""Heads: from a backbone's feature map to the probabilities of the three classes.

A head is a row of :data:`HEADS`: a function from features to the tensors that a model gives. One of them is
``probabilities`` (N, 3), of the layer with that name, in float32 whatever the precision of the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from allmasked.core.config import recipe_head
from allmasked.core.errors import ConfigError, unknown
from allmasked.core.types import CLASSES, Size

EVIDENCE_CHANNELS = 96


@dataclass(frozen=True)
class Head:
    """One row.

    Attributes:
        build: ``build(features, dropout, size)`` gives the model's outputs by name. ``features`` is the backbone's map
            (N, h, w, C), or with maps the list of those at a stride of 8, 16 and 32; ``size`` width and height of
            the input in px, None for a model of any size, which makes maps only.
        linear: whether the logits are a linear function of the averaged features, so that CAM has a closed form.
        task: what it learns, a row of :data:`allmasked.training.tasks.TASKS`: a photo's ``label``, or its ``faces``.
            Then it makes evidence maps: further outputs ``maps`` (N, h, w, 6), for each cell the logits of a
            masked and of a bare face and the face's box (see :mod:`allmasked.networks.evidence`), ``faces`` (N, 64, 7)
            and ``answer`` (N, 4), P(all), P(none), P(some), P(nobody) as read off the faces (see
            :mod:`allmasked.networks.reading`).
    """

    name: str
    help: str
    build: Callable[[Any, float, Size | None], dict[str, Any]]
    linear: bool
    task: Literal["label", "faces"] = "label"

    @property
    def maps(self) -> bool:
        """Whether it makes evidence maps."""
        return self.task == "faces"


def _softmax(features: Any, dropout: float, size: Size | None) -> dict[str, Any]:  # noqa: ARG001
    from keras import layers

    return _classes(layers.GlobalAveragePooling2D(name="average")(features), dropout)


def _classes(features: Any, dropout: float) -> dict[str, Any]:
    """Dropout, dense, softmax."""
    from keras import layers

    x = layers.Dropout(dropout, name="dropout")(features)
    x = layers.Dense(len(CLASSES), name="logits", dtype="float32")(x)
    return {"probabilities": layers.Activation("softmax", name="probabilities", dtype="float32")(x)}


def _notebook(features: Any, dropout: float, size: Size | None) -> dict[str, Any]:  # noqa: ARG001
    from keras import layers, regularizers

    # AveragePooling2D(5, 5) needs 5 x 5; on smaller maps (small inputs) it takes what there is.
    pool = tuple(min(5, side) for side in features.shape[1:3])
    x = layers.AveragePooling2D(pool, name="average")(features)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(512, activation="relu", kernel_regularizer=regularizers.L2(0.001), name="hidden")(x)
    return _classes(x, dropout)


def _evidence(features: list[Any], dropout: float, size: Size | None) -> dict[str, Any]:  # noqa: ARG001
    """Features of three strides are merged top down (Lin et al. 2017), at a stride of 8 since faces are small."""
    from keras import initializers, layers

    from allmasked.networks.readout import AsLarge

    x = None
    for stride, level in zip((32, 16, 8), reversed(features)):
        side = layers.Conv2D(EVIDENCE_CHANNELS, 1, name=f"lateral{stride}")(level)
        if x is not None:
            height, width = side.shape[1:3]
            if height is None:
                x = AsLarge(name=f"up{stride}")([x, side])
            elif (height, width) == (2 * x.shape[1], 2 * x.shape[2]):
                x = layers.UpSampling2D(2, name=f"up{stride}")(x)
            else:
                x = layers.Resizing(height, width, "nearest", name=f"up{stride}")(x)
            side = layers.Add(name=f"merge{stride}")([x, side])
        x = layers.ReLU(max_value=6.0, name=f"merge{stride}_activation")(side)
        x = layers.SeparableConv2D(EVIDENCE_CHANNELS, 3, padding="same", name=f"smooth{stride}")(x)
        x = layers.ReLU(max_value=6.0, name=f"smooth{stride}_activation" if stride > 8 else "feature_map")(x)
    rare = initializers.Constant(-4.0)  # most cells show no face
    evidence = layers.Conv2D(2, 1, bias_initializer=rare, dtype="float32", name="evidence")(x)
    boxes = layers.Conv2D(4, 1, dtype="float32", name="boxes")(x)
    maps = layers.Concatenate(name="maps", dtype="float32")([evidence, boxes])
    return {"maps": maps} if size is None else read_off(maps, size)


def read_off(maps: Any, size: Size) -> dict[str, Any]:
    """The outputs of a head with maps, from the maps (N, h, w, 6) of an input of ``size`` px."""
    from allmasked.networks.readout import AnswerOfFaces, FindFaces, GivenSomebody

    faces = FindFaces(size, name="faces", dtype="float32")(maps)
    answer = AnswerOfFaces(name="answer", dtype="float32")(faces)
    probabilities = GivenSomebody(name="probabilities", dtype="float32")(answer)
    return {"probabilities": probabilities, "answer": answer, "faces": faces, "maps": maps}


HEADS: dict[str, Head] = {
    row.name: row
    for row in (
        Head("softmax", "global average pooling, dropout, dense, softmax", _softmax, linear=True),
        Head(
            "notebook",
            "the notebooks': average pooling 5 x 5 (reads part of the map only), dense 512, dropout, softmax",
            _notebook, linear=False,
        ),
        Head(
            "evidence",
            "ours: maps of masked and of bare faces, the answer read off the faces; counts them, can say nobody",
            _evidence, linear=False, task="faces",
        ),
    )
}  # fmt: skip


def head_of_recipe(recipe: str) -> str:
    """The head that a recipe, by name or file, is meant for.

    Raises:
        ConfigError: the recipe can't be read, or names an unknown head.
    """
    head = recipe_head(recipe)
    if head not in HEADS:
        raise ConfigError(f"{recipe}: {unknown('head', head, HEADS)}")
    return head
