"""Settings. A recipe is a flat table of fields: a TOML file's key = a field here = an option of ``allmasked train``."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from allmasked.core import renamed
from allmasked.core.errors import ConfigError, RunError, row_of, unknown
from allmasked.core.runs import read_json, write_json
from allmasked.core.types import InputSpec, ResizeMode, Scaling, Size


def _setting(default: Any, help_text: str, *choices: str) -> Any:
    return field(default=default, metadata={"help": help_text, "choices": choices})


_LIMITS: dict[tuple[float, float], str] = {
    (0, 1): "subset_crops empty_crops mosaic whole_frames jpeg colour plateau_factor",
    (0, 10): "learning_rate head_learning_rate weight_decay",
    (0, 100_000): "epochs head_epochs warmup_epochs early_stopping_patience",
    (1, 100_000): "plateau_patience", (1, 65536): "batch_size", (0.05, 1): "zoom_out shrink", (1, 10): "zoom_in",
    (0, 0.99): "label_smoothing", (0, 0.95): "dropout", (0, 2): "class_balance", (0, 1e9): "clip_norm",
    (0, 1e6): "map_weight", (0, 180): "rotate_degrees",
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How to train. Defaults are those of the recipe ``default``; sizes in px, rates per optimiser step."""

    size: Size = _setting((512, 384), "Model input, width x height in px.")
    frame: Size = _setting(
        (256, 192),
        "Train on frames of this size, cut around faces at many scales, instead of on whole photos (head evidence; "
        "used where at least half of the photos have boxes); 0 = whole photos.",
    )
    whole_frames: float = _setting(
        0.12, "Share of the training steps that show photos whole at the input's size instead, for large faces, 0-1."
    )
    resize_mode: ResizeMode = _setting(
        "letterbox", "How photos are resized: aspect kept with grey bars, or not.", "letterbox", "stretch"
    )
    scaling: Scaling = _setting(
        "backbone", "Input scaling: the backbone's own, or none (raw 0-255, as in the notebooks).", "backbone", "none"
    )
    precision: str = _setting("float32", "Arithmetic of the layers.", "float32", "mixed_bfloat16", "mixed_float16")
    batch_size: int = _setting(16, "Photos in one training step.")
    head_epochs: int = _setting(1, "Epochs in which only the head learns, first of all.")
    head_learning_rate: float = _setting(2e-3, "Learning rate of those epochs.")
    epochs: int = _setting(12, "Epochs in which the backbone learns too; both 0 with a run's weights: only calibrate.")
    learning_rate: float = _setting(2e-4, "Highest learning rate of those epochs.")
    warmup_epochs: float = _setting(0.5, "Epochs over which the rate rises from 0.")
    schedule: str = _setting(
        "cosine", "How the rate then changes: falls as a cosine, x 0.2 on a plateau, or not.",
        "cosine", "plateau", "constant",
    )  # fmt: skip
    plateau_factor: float = _setting(0.2, "Plateau: factor on the learning rate.")
    plateau_patience: int = _setting(3, "Plateau: epochs without a better validation loss before it is applied.")
    early_stopping_patience: int = _setting(0, "Stop after N epochs without a better validation loss; 0 = never.")
    keep: str = _setting(
        "best",
        "Which epoch's weights are kept: that of the lowest validation loss, or the last (for validation photos of "
        "another kind than those to be answered).", "best", "last",
    )  # fmt: skip
    optimizer: str = _setting("adamw", "Optimiser.", "adamw", "adam", "sgd")
    weight_decay: float = _setting(0.02, "Decoupled weight decay (adamw), not on biases and batch normalisation.")
    clip_norm: float = _setting(1.0, "Global gradient norm is cut to this; 0 = not at all.")
    label_smoothing: float = _setting(0.05, "Share of each label spread over the classes, 0-1 (heads without maps).")
    class_balance: float = _setting(0.5, "Weight of a class in the loss = (1 / its share) to this power; 0 = none.")
    map_weight: float = _setting(1.0, "Weight of the faces' loss beside the label's (head evidence; needs boxes).")
    dropout: float = _setting(0.3, "Dropout before the last layer (head softmax).")
    freeze_bn: bool = _setting(True, "Keep the backbone's batch normalisation as it is while fine-tuning.")
    frozen_layers: str = _setting(
        "early",
        "Backbone layers, from the input on, that never learn: a number, 'early' (all before stride 8), or 'notebook' "
        "(the notebooks' count).",
    )
    flip: bool = _setting(True, "Augment: mirror half of the photos.")
    rotate_degrees: float = _setting(8.0, "Augment: rotate by up to this many degrees.")
    zoom_out: float = _setting(0.7, "Augment: shrink within the frame down to this factor; 1 = off.")
    zoom_in: float = _setting(
        1.5, "Augment: enlarge up to this factor, as far as every face stays (needs boxes); 1 = off."
    )
    subset_crops: float = _setting(
        0.25, "Augment: share of photos cropped to some of their faces, label from those faces (needs boxes)."
    )
    empty_crops: float = _setting(
        0.05, "Augment: share of photos cropped to where no face is marked (needs boxes; head evidence)."
    )
    mosaic: float = _setting(
        0.15,
        "Augment: share of frames made of four photos, their label from all four (needs a head that can say nobody).",
    )
    shrink: float = _setting(0.25, "Augment: lose resolution, down to this factor, in half of the photos; 1 = off.")
    colour: float = _setting(0.25, "Augment: strength of brightness, contrast and saturation changes, 0-1.")
    jpeg: float = _setting(0.2, "Augment: share of photos re-encoded as JPEG of quality 25-90.")

    @property
    def input(self) -> InputSpec:
        """What the network takes."""
        return InputSpec(self.size, self.resize_mode, self.scaling)

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            choices = setting.metadata["choices"]
            value = getattr(self, setting.name)
            if choices and value not in choices:
                raise ConfigError(f"{setting.name} = {value!r}; must be one of {', '.join(choices)}")
        if self.frozen_layers not in ("early", "notebook") and not self.frozen_layers.isdecimal():
            raise ConfigError(f"frozen_layers = {self.frozen_layers!r}; must be a number, 'early' or 'notebook'")
        for (low, high), names in _LIMITS.items():
            for name in names.split():
                if not low <= (value := getattr(self, name)) <= high:
                    raise ConfigError(f"{name} = {value}; must be from {low} to {high}")
        wide, high = self.frame
        if (wide or high) and (min(wide, high) < 64 or wide % 32 or high % 32):
            raise ConfigError(f"frame = {wide} x {high}; sides must be multiples of 32 from 64 on, or 0")
        if min(self.size) < 32 or max(self.size) > 4096:
            raise ConfigError(f"size = {self.size[0]} x {self.size[1]}; sides must be from 32 to 4096 px")


def parse_size(text: str | int | list[int] | tuple[int, ...]) -> Size:
    """``"416x320"``, ``"256"``, 256 or [416, 320] as (width, height) px. Raises :class:`ConfigError`."""
    try:
        numbers = [int(part) for part in (str(text).lower().split("x") if isinstance(text, str | int) else text)]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2:
        raise ConfigError(f"size {text!r}: give one side in px (256) or width x height (416x320)")
    return numbers[0], numbers[1]


def recipe_from(values: Mapping[str, Any], *, origin: str, base: Recipe | None = None, silent: bool = False) -> Recipe:
    """A recipe from field values; ``origin`` (a file or 'command line') is named in errors.

    Old spellings of fields are warned of, unless ``silent``.
    """
    defaults = {setting.name: setting.default for setting in dataclasses.fields(Recipe)}
    clean: dict[str, Any] = {}
    try:
        for given, value in values.items():
            key, value = renamed.setting(given, value, silent=silent)
            clean[key] = _field_value(key, value, row_of("recipe field", key, defaults))
        return dataclasses.replace(base or Recipe(), **clean)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from None


def _field_value(key: str, value: Any, default: Any) -> Any:
    if key in ("size", "frame"):
        return parse_size(value)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{key} = {value!r}; must be true or false")
        return value
    if isinstance(default, int | float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{key} = {value!r}; must be a number")
        if not math.isfinite(value):
            raise ConfigError(f"{key} = {value!r}; must be a finite number")
        if isinstance(default, int) and value != int(value):
            raise ConfigError(f"{key} = {value!r}; must be a whole number")
        return type(default)(value)
    return str(value)


def recipe_names() -> list[str]:
    """The recipes that come with allmasked."""
    folder = resources.files("allmasked") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """The TOML text of a recipe that comes with allmasked; raises :class:`ConfigError` with the nearest name."""
    if name not in recipe_names():
        raise unknown("recipe", name, recipe_names())
    return (resources.files("allmasked") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")


def recipe_head(name_or_file: str) -> str:
    """The head that a recipe, by name or from a TOML file, is meant for: its ``head``, "evidence" without one.

    Raises:
        ConfigError: as :func:`read_recipe`.
    """
    head = _recipe_table(name_or_file).get("head", "evidence")
    if not isinstance(head, str):
        raise ConfigError(f"{name_or_file}: head = {head!r}; must be a head's name in quotes")
    return head


def read_recipe(name_or_file: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name or from a TOML file, with ``overrides`` on top; its ``head`` is for :func:`recipe_head`.

    Raises:
        ConfigError: unknown name, missing file, broken TOML, unknown field, value out of range.
    """
    values = {key: value for key, value in _recipe_table(name_or_file).items() if key != "head"}
    return recipe_from(overrides or {}, origin="option", base=recipe_from(values, origin=name_or_file))


def _recipe_table(name_or_file: str) -> dict[str, Any]:
    path = Path(name_or_file)
    if path.suffix == ".toml" or path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise ConfigError(f"{path}: cannot be read ({reason}); give a recipe's TOML file") from None
    else:
        text = recipe_text(name_or_file)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name_or_file}: is not valid TOML ({error})") from None


@dataclass(frozen=True)
class TrainConfig:
    """All that determines a training; what ``config.json`` of a run folder holds."""

    backbone: str = "EfficientNetLite0"
    head: str = "softmax"
    loader: str = "cached"
    weights: str = ""
    seed: int = 0
    recipe_name: str = "default"
    recipe: Recipe = field(default_factory=Recipe)

    def write(self, path: Path, facts: Mapping[str, Any] | None = None) -> None:
        """Write as JSON; ``facts`` (versions, seconds, ...) are kept beside the settings and ignored on reading."""
        write_json(path, {**dataclasses.asdict(self), "facts": dict(facts or {})})

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Read ``config.json``; raises :class:`RunError` or :class:`ConfigError` naming the file."""
        content = read_json(path)
        tables = [content] if not isinstance(content, dict) else [content.get(name, {}) for name in ("recipe", "facts")]
        if not all(isinstance(table, dict) and isinstance(table.get("versions", {}), dict) for table in tables):
            raise RunError(f"{path}: holds no settings of a training; make a run with 'allmasked train'")
        values = {key: value for key, value in content.items() if key != "facts"}
        recipe = recipe_from(values.pop("recipe", {}), origin=str(path), silent=True)
        for name, value in values.items():
            if type(value) is not type(getattr(cls, name, value)):
                raise RunError(f"{path}: its {name} is {value!r}; make a run with 'allmasked train'")
        try:
            return cls(recipe=recipe, **values)
        except TypeError as error:
            raise ConfigError(f"{path}: {error}") from None
