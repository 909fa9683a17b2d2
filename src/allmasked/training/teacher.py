"""A teacher's soft answers on the training photos, kept in the student's run folder, and the loss that uses them.

``teacher.json`` holds ``name``, ``alpha``, ``temperature`` and ``answers`` (a photo's key -> three probabilities). A
run folder that has it is trained as a student by :mod:`allmasked.training.train`, resumed or not.
keras.distillation.Distiller is not used: it wants the teacher as one Keras model on the student's own input and in
``fit``; ours is several networks of different inputs and a vote, asked once a photo instead of once a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import ConfigError, RunError
from allmasked.core.plain import parse
from allmasked.core.runs import Run, read_json, write_json
from allmasked.core.types import CLASSES, LABELS, Photo
from allmasked.stats.metrics import apply_temperature

K = len(CLASSES)


@dataclass(frozen=True)
class Teacher:
    """What a student learns from: ``alpha`` of its loss is the label's, the rest its teacher's."""

    name: str
    alpha: float
    temperature: float
    answers: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha = {self.alpha}; must be from 0 (the teacher alone) to 1 (the labels alone)")
        if not 0.1 <= self.temperature <= 100:
            raise ConfigError(f"temperature = {self.temperature}; must be from 0.1 to 100")

    def write(self, run: Run) -> None:
        """Write ``teacher.json``."""
        rows = {name: [round(float(p), 7) for p in row] for name, row in self.answers.items()}
        values = {"name": self.name, "alpha": self.alpha, "temperature": self.temperature, "answers": rows}
        write_json(run.teacher, values)

    @classmethod
    def read(cls, run: Run) -> Teacher:
        """Read ``teacher.json``; raises :class:`RunError` naming the file."""
        try:
            return parse(cls, read_json(run.teacher))
        except (TypeError, ValueError):
            raise RunError(f"{run.teacher}: is not a teacher's answers; start again with 'allmasked distil'") from None

    def targets(self, photos: Sequence[Photo]) -> NDArray[np.float32]:
        """The teacher's answers (N, 3), softened by the temperature; the label where it has none (one-hot)."""
        found = np.eye(K)[[CLASSES.index(photo.label) for photo in photos]]
        known, rows = self._answered(photos)
        if known:
            found[known] = apply_temperature(rows, self.temperature)
        return found.astype(np.float32)

    def answer_targets(self, photos: Sequence[Photo]) -> NDArray[np.float32]:
        """What a student with maps learns, (N, 4): ``alpha`` of the label and the rest of the teacher's answer.

        The teacher's answer is softened by the temperature; the label stands where it has none.
        """
        found = np.eye(len(LABELS))[[LABELS.index(photo.label) for photo in photos]]
        known, rows = self._answered(photos)
        if known:
            soft = np.pad(apply_temperature(rows, self.temperature), ((0, 0), (0, 1)))
            found[known] = self.alpha * found[known] + (1 - self.alpha) * soft
        return found.astype(np.float32)

    def _answered(self, photos: Sequence[Photo]) -> tuple[list[int], NDArray[np.float64]]:
        """The photos that the teacher has answered, by number, and its probabilities (M, 3)."""
        known = [number for number, photo in enumerate(photos) if photo.key in self.answers]
        rows = [self.answers[photos[number].key] for number in known]
        return known, np.array(rows, np.float64).reshape(-1, K)

    def loss(self, label_smoothing: float) -> Any:
        """alpha CE(label, p) + (1 - alpha) T^2 CE(teacher, p softened by T), for targets (N, 6): label, teacher.

        T^2 keeps the gradient's size whatever T. Source: Hinton, Vinyals and Dean 2015, section 2.
        """
        from keras import losses, ops

        alpha, temperature = self.alpha, self.temperature

        def distillation(y_true: Any, y_pred: Any) -> Any:
            hard, soft = y_true[:, :K], y_true[:, K:]
            softened = ops.softmax(ops.log(ops.clip(y_pred, 1e-7, 1.0)) / temperature, axis=-1)
            labels = losses.categorical_crossentropy(hard, y_pred, label_smoothing=label_smoothing)
            return alpha * labels + (1 - alpha) * temperature**2 * losses.categorical_crossentropy(soft, softened)

        return distillation


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """Keras' accuracy for the targets of :meth:`Teacher.loss`: the label's part alone."""
    from keras import metrics

    return metrics.categorical_accuracy(y_true[:, :K], y_pred)
