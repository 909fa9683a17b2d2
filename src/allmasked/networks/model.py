"""Backbone + head = model: build, load, save. The only place that puts the two together.

A model has the input ``pixels`` (N, height, width, 3) float32 RGB 0-255 and the outputs of its head by name, see
:mod:`allmasked.networks.heads`; a head with maps has more than ``probabilities``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allmasked.core.config import TrainConfig, read_recipe
from allmasked.core.errors import ConfigError, RunError, WeightsError, how_to_install, require, row_of
from allmasked.core.runs import Run, replacing
from allmasked.networks.backbones import BACKBONES, build_backbone
from allmasked.networks.heads import HEADS, head_of_recipe, read_off
from allmasked.networks.pretrained import first_line, refuse_large
from allmasked.networks.reading import Calibration

if TYPE_CHECKING:
    import keras


def settings_of(
    *,
    backbone: str = "EfficientNetLite0",
    head: str | None = None,
    loader: str = "cached",
    recipe: str = "default",
    weights: str = "",
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """The settings of a training from what is given; the head that the recipe is meant for and the backbone's own
    weights where none are named.

    Args:
        overrides: fields of the recipe (:class:`allmasked.core.config.Recipe`) that are to differ.

    Raises:
        ConfigError: unknown backbone, head or recipe, or a wrong field.
    """
    row = row_of("backbone", backbone, BACKBONES)
    head = row_of("head", head or head_of_recipe(recipe), HEADS).name
    return TrainConfig(
        backbone, head, loader, weights or row.default_weights, seed, recipe, read_recipe(recipe, overrides)
    )


def build(config: TrainConfig, *, any_size: bool = False) -> keras.Model:
    """The model of a configuration, with its initial weights; ``any_size`` for one that takes photos of any size.

    Its layer ``backbone`` is the backbone's model, whose output is the feature map, or the maps at a stride of 8, 16
    and 32 for a head with maps.

    ``config.weights`` may also be the folder of a finished run of the same backbone and head.

    Raises:
        ConfigError: unknown backbone or head.
        WeightsError: the weights cannot be had or do not fit.
    """
    row, head = row_of("backbone", config.backbone, BACKBONES), row_of("head", config.head, HEADS)
    keras = require("keras", "train")
    recipe = config.recipe
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(recipe.precision)
    try:
        weights = config.weights or row.default_weights
        run = Run(weights) if Path(weights).is_dir() else None
        size = None if any_size else recipe.size
        source = "random" if run else weights
        backbone = build_backbone(config.backbone, size, source, scaling=recipe.scaling, seed=config.seed)
        width, height = size or (None, None)
        pixels = keras.Input((height, width, 3), name="pixels", dtype="float32")
        if head.maps:
            levels = [backbone.get_layer(name).output for name in (row.stride8_layer, row.stride16_layer)]
            backbone = keras.Model(backbone.input, [*levels, backbone.output], name="backbone")
        keras.utils.set_random_seed(config.seed)  # the head starts the same whatever the backbone drew
        outputs = head.build(backbone(pixels), recipe.dropout, size)
        model = keras.Model(pixels, outputs if head.maps else outputs["probabilities"], name="allmasked")
        if run:
            _take_weights(model, run, config)
        return model
    finally:
        keras.config.set_dtype_policy("float32")


def _take_weights(model: keras.Model, run: Run, config: TrainConfig) -> None:
    """Begin with what a finished run has learnt; it must have the same backbone and head, at any size."""
    theirs = TrainConfig.read(run.require_finished().config)
    if (theirs.backbone, theirs.head) != (config.backbone, config.head):
        raise WeightsError(
            f"{run.folder}: is {theirs.backbone} with head {theirs.head}, not {config.backbone} with head {config.head}"
        )
    given = load(run.model)
    try:
        with_weights_of(given, model)  # the second look is trained anew
    except ValueError:
        size = config.recipe.size
        raise WeightsError(f"{run.folder}: its weights do not fit at {size}; give --size as it has") from None


def classifier(model: keras.Model) -> keras.Model:
    """The part of a model that gives ``probabilities`` (N, 3), as its only output; shares all weights."""
    return part(model, "probabilities") if has_maps(model) else model


def part(model: keras.Model, output: str) -> keras.Model:
    """The model up to one of its outputs, shares all weights."""
    keras = require("keras", "train")
    view = keras.Model(model.input, model.get_layer(output).output, name="allmasked")
    view.jit_compile = jit_compile()
    return view


def calibration_of(model: keras.Model) -> Calibration | None:
    """How a model's faces are calibrated; None where its head finds none."""
    if not has_maps(model):
        return None
    found: Calibration = model.get_layer("faces").calibration
    counting = dataclasses.replace(found.counting, some_factor=model.get_layer("answer").some_factor)
    return dataclasses.replace(found, counting=counting)


def calibrate(model: keras.Model, fitted: Calibration) -> None:
    """Put a calibration into the model."""
    model.get_layer("faces").calibration = fitted
    model.get_layer("answer").some_factor = fitted.counting.some_factor
    model.predict_function = None  # it may have been compiled with another factor


def look_of(model: keras.Model) -> Any:
    """The layer of a model that looks at faces again (:mod:`allmasked.networks.second_look`); None without one."""
    return next((layer for layer in model.layers if layer.name == "second_look"), None)


def with_look(model: keras.Model, network: keras.Model, shares: Sequence[float]) -> keras.Model:
    """A model with maps that looks at each face again with ``network``, which takes crops; shares all weights."""
    from allmasked.networks.second_look import SecondLook

    look = SecondLook(network, shares, name="second_look", dtype="float32")
    return _read_from(model, look([model.input, model.get_layer("maps").output]))


def without_look(model: keras.Model) -> keras.Model:
    """The model that answers from its maps as they are, without a second look; shares all weights."""
    return _read_from(model, model.get_layer("maps").output)


def _read_from(model: keras.Model, maps: Any) -> keras.Model:
    height, width = model.input.shape[1:3]
    view = require("keras", "train").Model(model.input, read_off(maps, (width, height)), name="allmasked")
    if calibration := calibration_of(model):
        calibrate(view, calibration)
    view.jit_compile = jit_compile()
    return view


def with_weights_of(trained: keras.Model, model: keras.Model) -> keras.Model:
    """A model just built, at whatever size, with what another of the same backbone and head has learnt.

    Raises:
        ValueError: the weights don't fit.
    """
    if not (has_maps(trained) and has_maps(model)):
        model.set_weights(trained.get_weights())
        return model
    part(model, "maps").set_weights(part(trained, "maps").get_weights())
    if "faces" in model.output and (calibration := calibration_of(trained)):
        calibrate(model, calibration)
        if look := look_of(trained):
            return with_look(model, look.network, look.shares)
    return model


def maps_of(model: keras.Model) -> keras.Model:
    """The part of a model that gives the maps that its answer is read from, those of a second look included."""
    return part(model, "second_look" if look_of(model) else "maps")


def learner(model: keras.Model) -> keras.Model:
    """The part of a model that is trained: the model itself, or with maps the part that makes them."""
    return part(model, "maps") if has_maps(model) else model


def has_maps(model: keras.Model) -> bool:
    """Whether a model makes evidence maps."""
    return isinstance(model.output, dict)


def load(path: str | Path) -> keras.Model:
    """Load a ``.keras`` file without compiling it; code inside the file is never run. Raises :class:`RunError`."""
    keras = require("keras", "train")
    import allmasked.networks.second_look  # noqa: F401  (Keras must know our layers, those of the reading too)

    if Path(path).is_file() and not zipfile.is_zipfile(path):
        raise RunError(f"{path}: is not a model that Keras can load (no zip file, or cut off); train it again")
    try:
        refuse_large(Path(path))
    except WeightsError as error:
        raise RunError(str(error)) from None
    try:
        model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:
        if "LogSumExp" in str(error):
            why = "was made by an older allmasked that read its answer otherwise"
            raise RunError(f"{path}: {why}; train it again") from None
        raise RunError(f"{path}: is not a model that Keras can load ({first_line(error)[:200]})") from None
    model.jit_compile = jit_compile()
    return model


def jit_compile() -> bool:
    """Whether Keras should compile with XLA: JAX must, TensorFlow gets ten times slower by it on CPUs."""
    return bool(require("keras", "train").config.backend() == "jax")


def device_named(device: str) -> str:
    """Keras' name of a device, to give :func:`on_device`; empty for ``auto``, what the backend takes by itself.

    Raises:
        ConfigError: neither ``auto``, ``cpu`` nor ``cuda``, or the backend finds no such card.
    """
    if device == "auto":
        return ""
    if device == "cpu":
        return "cpu:0"
    if device != "cuda":
        raise ConfigError(f"device {device!r}: a run folder is computed by Keras, on cpu or cuda; export it for others")
    backend = require("keras", "train").config.backend()
    if not _cards(backend):
        raise ConfigError(
            f"device 'cuda': Keras' backend {backend} finds no NVIDIA card (GPU): {how_to_install('gpu')}, brings"
            " TensorFlow's libraries on Linux, a driver is needed too; or take 'cpu'"
        )
    return "gpu:0"


def _cards(backend: str) -> int:
    """How many NVIDIA cards Keras' backend can use."""
    if backend == "tensorflow":
        return len(require("tensorflow", "train").config.list_physical_devices("GPU"))
    if backend == "torch":
        return int(require("torch", "train").cuda.device_count())
    return sum(device.platform == "gpu" for device in require("jax", "train").devices())


def on_device(name: str) -> contextlib.AbstractContextManager[Any]:
    """Where Keras computes inside of this context; ``name`` as :func:`device_named` gives it."""
    return require("keras", "train").device(name) if name else contextlib.nullcontext()


def save(model: keras.Model, path: str | Path) -> None:
    """Save as ``.keras`` so that ``path`` is never half-written."""
    with replacing(path) as temporary:
        model.save(str(temporary))
