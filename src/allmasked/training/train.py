"""Training: epochs of steps, a checkpoint after each epoch, the best model at the end.

All randomness is a function of (seed, epoch, step), and all decisions (learning rate, early stop, best epoch) are
functions of the history, so a training that was killed and resumed ends with the same weights as one that wasn't.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allmasked.core.config import Recipe, TrainConfig
from allmasked.core.errors import AllmaskedError, ConfigError, DataError, RunError, require, row_of
from allmasked.core.progress import bar, stderr, tell
from allmasked.core.runs import Run, claimed, replacing, write_text
from allmasked.core.types import NOBODY, Size, Split
from allmasked.data.cache import told
from allmasked.data.dataset import absent, division, only_over, read_split, told_of_absent, unused, write_split
from allmasked.networks import model as models
from allmasked.networks.backbones import notebook_frozen
from allmasked.networks.heads import HEADS
from allmasked.networks.reading import Calibration
from allmasked.training.loaders import LOADERS, Loader, Source, ahead, source_of
from allmasked.training.schedule import History, Plan, kept_epoch, learning_rate, plan_epoch
from allmasked.training.tasks import TASKS
from allmasked.training.teacher import Teacher

if TYPE_CHECKING:
    import keras


def train(
    split: Split,
    config: TrainConfig,
    out: str | Path,
    *,
    resume: bool = False,
    cache: str | Path | None = None,
    devices: int = 1,
) -> Run:
    """Train a model and leave it in the run folder ``out``.

    Args:
        split: photos to train on (part ``train``) and to choose the best epoch by (part ``validation``).
        config: what to train and how.
        out: the run folder; made now, or, with ``resume``, one whose training was stopped.
        resume: go on after the last finished epoch.
        cache: folder for decoded photos; the user's cache folder when None.
        devices: divide each batch among so many GPUs. The photos left over when a batch doesn't go into so many equal
            parts wait for the next epoch.

    Raises:
        RunError: ``out`` is in use, or can't be resumed with these settings.
        DataError: the split has no training or validation photos, or photos changed since it was made.
        WeightsError, ConfigError: see :func:`allmasked.networks.model.build`.
    """
    require("keras", "train")
    loader = row_of("data loader", config.loader, LOADERS)
    if config.recipe.epochs + config.recipe.head_epochs < 1 and not Path(config.weights or "-").is_dir():
        raise ConfigError(
            "epochs and head_epochs are both 0, so nothing would be learned; with --weights RUN it would be calibrated"
        )
    if config.head in HEADS and not (HEADS[config.head].maps and config.loader == "cached"):
        split = _without_nobody(split)
    run = Run(out)
    with _divided(devices, config.recipe.batch_size), claimed(run.folder):
        begun = run.config.is_file()
        _prepare_folder(run, split, config, resume)
        if run.finished:
            shutil.rmtree(run.state, ignore_errors=True)
            return run
        try:
            training = _training_of(run, split, config, loader, cache)
        except AllmaskedError:
            if not begun:  # nothing was learned: the corrected command finds the folder as this one did
                run.config.unlink(missing_ok=True)
                run.split.unlink(missing_ok=True)
            raise
        training.parts = devices
        tell(told(training.source.folder))
        training.go()
    return run


@contextlib.contextmanager
def _divided(devices: int, batch_size: int) -> Iterator[None]:
    """Models that are built meanwhile have their weights on several devices, and each takes its part of a batch."""
    if devices == 1:
        yield
        return
    from keras import config, distribution

    if config.backend() != "jax":
        raise ConfigError(f"--devices {devices}: Keras divides a batch with JAX only; set KERAS_BACKEND=jax")
    there = distribution.list_devices()
    if len(there) < devices:
        raise ConfigError(f"--devices {devices}: JAX sees {len(there)} here ({', '.join(there)}); give fewer")
    if batch_size % devices:
        raise ConfigError(f"--devices {devices}: a batch of {batch_size} photos can't be divided; see --batch-size")
    before = distribution.distribution()
    distribution.set_distribution(distribution.DataParallel(devices=there[:devices]))
    try:
        yield
    finally:
        distribution.set_distribution(before)


def _training_of(run: Run, split: Split, config: TrainConfig, loader: Loader, cache: str | Path | None) -> _Training:
    source = source_of(split, config.recipe, cache)
    for part in ("train", "validation"):
        if not split.part(part):
            raise DataError(f"the split has no photo in its part {part!r}; make it again with 'allmasked split'")
    source.array("validation")
    for sentence in told_of_absent(split):
        stderr.print(f"warning: {sentence}", soft_wrap=True)
    _deterministic(config.seed)
    require("cv2", "train").setNumThreads(1)  # photos are augmented side by side, one thread each
    return _Training(run, config, source, loader)


def _without_nobody(split: Split) -> Split:
    """The split without photos of nobody, which only a head with maps and our own data loader take."""
    kept = tuple(photo for photo in split.photos if photo.label != NOBODY)
    if nobody := len(split.photos) - len(kept):
        stderr.print(f"{nobody} photos of nobody are left out: they need --head evidence --loader cached")
    return dataclasses.replace(split, photos=kept)


def _prepare_folder(run: Run, split: Split, config: TrainConfig, resume: bool) -> None:
    if run.config.is_file():
        if not resume:
            state = "a finished run" if run.finished else "an unfinished run (go on with --resume)"
            raise RunError(f"{run.folder}: holds {state} already; choose another --out")
        for what, differ in (
            ("settings", TrainConfig.read(run.config) != config),
            ("photos", division(read_split(run.split, split.root)) != division(split)),
        ):
            if differ:
                way_out = "resume with the same ones, or choose another --out"
                raise RunError(f"{run.folder}: was begun with other {what}; {way_out}")
        return
    if not unused(run.folder, split, run.teacher.name):
        raise RunError(f"{run.folder}: is not empty and not a run folder; choose another --out")
    write_split(split, run.split)
    config.write(run.config, environment())


def environment() -> dict[str, Any]:
    """Versions and machine, for ``config.json`` and the report."""
    versions = {}
    for name in ("allmasked", "keras", "tensorflow", "tensorflow-cpu", "jax", "torch", "numpy", "pillow"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "versions": versions,
        "backend": require("keras", "train").config.backend(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def _deterministic(seed: int) -> None:
    """Same seed, same weights: seeds Python, NumPy and the backend, and asks TensorFlow for repeatable kernels."""
    import keras

    keras.utils.set_random_seed(seed)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


class _Training:
    """One training under way: model, optimiser, history."""

    def __init__(self, run: Run, config: TrainConfig, source: Source, loader: Loader) -> None:
        self.run, self.config, self.recipe = run, config, config.recipe
        self.source = source
        teacher = Teacher.read(run) if run.teacher.is_file() else None
        self.task = TASKS[HEADS[config.head].task](source, loader, self.recipe, config.seed, teacher)
        (self.task.frames or source).array("train")
        self.model = models.build(config)
        self.trained = self.model
        if self.task.frames:  # a second model of the same weights, for photos of other sizes
            self.trained = models.build(config, any_size=True)
        self.learner = models.learner(self.trained)
        self.view = models.learner(self.model)
        self.history: History = []
        self.grids: dict[Size, Size] = {}
        self.parts = 1
        self.phase = ""
        self.only = only_over(absent(source.photos("validation")))
        self.began = time.monotonic()
        self.pool = ThreadPoolExecutor(os.cpu_count())
        self.writer: Any = None

    def _grid(self, size: Size) -> Size:
        """Width and height of the maps, in cells, for an input of a size."""
        if size not in self.grids:  # Keras goes through every layer for it, and each step asks
            rows, columns = self.learner.compute_output_shape((None, size[1], size[0], 3))[1:3]
            self.grids[size] = columns, rows
        return self.grids[size]

    def go(self) -> None:
        """All epochs that are missing, and the model. Threads and the TensorBoard log are closed, also on an error."""
        try:
            self._go()
        finally:
            self.pool.shutdown(cancel_futures=True)
            if self.writer:
                self.writer.close()

    def _go(self) -> None:
        self._restore()
        self._replay_tensorboard()
        with bar(transient=False) as progress:
            while (plan := plan_epoch(self.recipe, self.history)) is not None:
                self._enter(plan.phase)
                line = self._epoch(plan, progress)
                self.history.append(line)
                self._keep(line)
            if not self.history:  # no epochs: a run's weights at another size
                self.history.append(self._unchanged())
                self._keep(self.history[0])
        self._finish()

    def _enter(self, phase: str) -> None:
        """Set what learns in this phase and start its optimiser, unless it is the phase already under way."""
        if phase == self.phase:
            return
        self.phase = phase
        set_trainable(self.trained, self.config, phase, self.model)
        loss, metric = self.task.loss()
        optimizer, jit = make_optimizer(self.recipe, self.learner), models.jit_compile()
        self.learner.compile(optimizer=optimizer, loss=loss, metrics=[metric], jit_compile=jit)

    def _epoch(self, plan: Plan, progress: Any) -> dict[str, Any]:
        epoch, recipe = len(self.history), self.recipe
        photos = len(self.source.labels("train"))
        steps = -(-photos // recipe.batch_size)
        total = recipe.head_epochs + recipe.epochs
        note = self._validation_note()
        task = progress.add_task(f"epoch {epoch + 1}/{total} ({plan.phase})", total=photos, note=note)
        began, seen, mean = time.monotonic(), 0, {"loss": 0.0, "accuracy": 0.0}
        batches = ahead(self.task.batches(epoch, self.pool, self._grid))
        try:
            for batch in batches:
                count = len(batch[0]) // self.parts * self.parts
                if not count:
                    continue
                pixels, labels, weights = (array[:count] for array in batch)
                self.learner.optimizer.learning_rate = learning_rate(recipe, plan, seen // recipe.batch_size, steps)
                logs = self.learner.train_on_batch(pixels, labels, sample_weight=weights, return_dict=True)
                logs.setdefault("accuracy", next((v for k, v in logs.items() if k.endswith("answer_accuracy")), 0.0))
                seen += len(pixels)
                for name in mean:  # train_on_batch gives each batch's own figures
                    mean[name] += (float(logs[name]) - mean[name]) * len(pixels) / seen
                rate = seen / (time.monotonic() - began)
                progress.update(task, completed=seen, note=f"loss {mean['loss']:.3f}  {rate:.1f} photos/s  {note}")
        finally:
            batches.close()
        seconds = time.monotonic() - began
        progress.update(task, note="validating")
        self._share_weights()
        scores = self.task.validate(self.view)
        line = {
            "epoch": epoch + 1, "phase": plan.phase, **mean, **scores,
            "learning_rate": learning_rate(recipe, plan, steps // 2, steps),
            "seconds": round(seconds, 2), "photos_per_second": round(seen / seconds, 2),
        }  # fmt: skip
        progress.remove_task(task)
        stderr.print(
            f"epoch {line['epoch']}/{total} {plan.phase}: loss {line['loss']:.4f}, accuracy {line['accuracy']:.3f}; "
            f"validation loss {line['val_loss']:.4f}, accuracy {line['val_accuracy']:.3f}, "
            f"macro-F1 {line['val_macro_f1']:.3f}{self.only}; {line['photos_per_second']:.1f} photos/s"
        )
        return line

    def _unchanged(self) -> dict[str, Any]:
        """What the weights as given score, and with a head with maps their calibration at this size."""
        self._enter("head")
        self._share_weights()
        scores = self.task.validate(self.view)
        return {"epoch": 1, "phase": "none", **scores, "seconds": 0.0}

    def _share_weights(self) -> None:
        """Give the model what the one that learns from frames has learnt."""
        if self.trained is not self.model:
            self.view.set_weights(self.trained.get_weights())

    def _validation_note(self) -> str:
        return f"validation macro-F1 {self.history[-1]['val_macro_f1']:.3f}{self.only}" if self.history else ""

    def _keep(self, line: dict[str, Any]) -> None:
        """Write the checkpoint of the epoch that just ended; each file is whole or not there."""
        state = self.run.state
        best, epoch = kept_epoch(self.recipe, self.history), int(line["epoch"])
        if best == epoch:
            write_arrays(state / f"best-{best:04d}.npz", self.trained.variables)
        variables = [*self.trained.variables, *self._optimizing(line)]
        write_arrays(state / f"epoch-{epoch:04d}.npz", variables, history=json.dumps(self.history))
        for path in state.glob("*.npz"):
            if path.name not in (f"best-{best:04d}.npz", f"epoch-{epoch:04d}.npz"):
                path.unlink()
        self._write_history()
        self._tensorboard(line)

    def _optimizing(self, line: dict[str, Any]) -> list[Any]:
        """The optimiser's variables; none where no epoch was trained."""
        return [] if line["phase"] == "none" else list(self.learner.optimizer.variables)

    def _write_history(self) -> None:
        write_text(self.run.metrics, "".join(json.dumps(entry) + "\n" for entry in self.history))

    def _restore(self) -> None:
        """Load the newest checkpoint, if there is one."""
        checkpoints = sorted(self.run.state.glob("epoch-*.npz"))
        if not checkpoints:
            return
        with np.load(checkpoints[-1]) as stored:
            self.history = json.loads(str(stored["history"]))
            if (phase := self.history[-1]["phase"]) != "none":
                self._enter(phase)
                self.learner.optimizer.build(self.learner.trainable_variables)
            assign(stored, [*self.trained.variables, *self._optimizing(self.history[-1])], checkpoints[-1])
        self._write_history()  # killed right after the checkpoint, it lacks a line
        stderr.print(f"resuming after epoch {len(self.history)}")

    def _finish(self) -> None:
        best = kept_epoch(self.recipe, self.history)
        path = self.run.state / f"best-{best:04d}.npz"
        with np.load(path) as stored:
            assign(stored, self.trained.variables, path)
        self._share_weights()
        if fitted := self.history[best - 1].get("calibration"):
            models.calibrate(self.model, Calibration.parse(fitted))
        facts = {
            **environment(), "best_epoch": best, "epochs": len(self.history),
            "parameters": int(self.model.count_params()),
            **({"teacher": self.task.teacher.name} if self.task.teacher else {}),
            "train_seconds": round(sum(line["seconds"] for line in self.history), 1),
        }  # fmt: skip
        self.config.write(self.run.config, facts)
        models.save(self.model, self.run.model)
        shutil.rmtree(self.run.state, ignore_errors=True)

    def _replay_tensorboard(self) -> None:
        """Start the TensorBoard log anew from the history, so that a resumed run has no doubled steps."""
        shutil.rmtree(self.run.tensorboard, ignore_errors=True)
        from tensorboard.summary import Writer

        self.writer = Writer(str(self.run.tensorboard))
        for line in self.history:
            self._tensorboard(line)

    def _tensorboard(self, line: dict[str, Any]) -> None:
        try:
            for name, value in line.items():
                if isinstance(value, float):
                    self.writer.add_scalar(name, value, step=line["epoch"])
            self.writer.flush()
        except OSError as error:  # which its thread met, and names no file
            error.filename = error.filename or str(self.run.tensorboard)
            raise


def set_trainable(model: keras.Model, config: TrainConfig, phase: str, sized: keras.Model | None = None) -> None:
    """Say which layers learn: none of the backbone in phase ``head``, else as the recipe has it.

    ``sized`` is the same model at one size, where ``model`` takes any.
    """
    from keras import layers

    backbone, recipe = model.get_layer("backbone"), config.recipe
    if recipe.frozen_layers == "notebook":
        frozen = set(notebook_frozen(config.backbone, backbone))
    elif recipe.frozen_layers == "early":
        frozen = early_layers((sized or model).get_layer("backbone"))
    else:
        frozen = {layer.name for layer in backbone.layers[: int(recipe.frozen_layers)]}
    backbone.trainable = True
    for layer in backbone.layers:
        statistics_frozen = recipe.freeze_bn and isinstance(layer, layers.BatchNormalization)
        layer.trainable = phase != "head" and layer.name not in frozen and not statistics_frozen


def early_layers(backbone: keras.Model) -> set[str]:
    """Names of the layers before the first map of stride 8: edges and colours, costly to train, little to gain."""
    height = backbone.input_shape[1]
    names: set[str] = set()
    for layer in backbone.layers:
        shape = layer.output.shape
        if len(shape) == 4 and shape[1] * 6 < height:
            break
        names.add(layer.name)
    return names


def make_optimizer(recipe: Recipe, model: keras.Model) -> keras.optimizers.Optimizer:
    """The recipe's optimiser; weight decay spares biases and batch normalisation."""
    from keras import optimizers

    clip, optimizer = recipe.clip_norm or None, None
    if recipe.optimizer == "sgd":
        optimizer = optimizers.SGD(recipe.learning_rate, momentum=0.9, nesterov=True, global_clipnorm=clip)
    elif recipe.optimizer == "adam":
        optimizer = optimizers.Adam(recipe.learning_rate, global_clipnorm=clip)
    else:
        optimizer = optimizers.AdamW(recipe.learning_rate, weight_decay=recipe.weight_decay, global_clipnorm=clip)
        optimizer.exclude_from_weight_decay(var_list=[v for v in model.trainable_variables if len(v.shape) < 2])
    if recipe.precision == "mixed_float16" != model.dtype_policy.name:  # else Keras does it
        return optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def write_arrays(path: Path, variables: list[Any], **texts: str) -> None:
    """Variables, and texts by name, as one ``.npz``."""
    arrays = {f"{index:05d}": np.asarray(variable.numpy()) for index, variable in enumerate(variables)}
    with replacing(path) as temporary:
        np.savez(temporary, **arrays, **{name: np.array(text) for name, text in texts.items()})  # type: ignore[arg-type]


def assign(stored: Any, variables: list[Any], path: Path) -> None:
    """Give variables what :func:`write_arrays` has kept of them. Raises :class:`RunError` where it doesn't fit."""
    names = sorted(name for name in stored.files if name.isdecimal())
    if len(names) != len(variables) or any(stored[n].shape != tuple(v.shape) for n, v in zip(names, variables)):
        raise RunError(f"{path}: does not fit the model of these settings; start again with another --out")
    for name, variable in zip(names, variables):
        variable.assign(stored[name])
