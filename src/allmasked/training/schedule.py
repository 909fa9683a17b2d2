"""When a training does what: its phases, the learning rate of each step, plateaus and the early stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from allmasked.core.config import Recipe

History = list[dict[str, Any]]
"""One line an epoch, as in ``metrics.jsonl``."""


@dataclass(frozen=True)
class Plan:
    """What one epoch does: its phase, number within the phase, and the factor on the phase's learning rate."""

    phase: str
    number: int
    rate: float


def plan_epoch(recipe: Recipe, history: History) -> Plan | None:
    """The next epoch after ``history``, or None when training is over. A pure function of its arguments."""
    done = len(history)
    if done < recipe.head_epochs:
        return Plan("head", done, recipe.head_learning_rate)
    number = done - recipe.head_epochs
    if number >= recipe.epochs:
        return None
    tuned = [line["val_loss"] for line in history[recipe.head_epochs :]]
    if recipe.early_stopping_patience and tuned:
        since_best = len(tuned) - 1 - lowest(tuned)
        if since_best >= recipe.early_stopping_patience:
            return None
    rate = recipe.learning_rate
    if recipe.schedule == "plateau":
        rate *= recipe.plateau_factor ** plateaus(tuned, recipe.plateau_patience)
    return Plan("fine-tune", number, rate)


def lowest(losses: list[float]) -> int:
    """The index of the lowest loss; one that is no number is never it, unless none is one."""
    return int(np.argmin(np.nan_to_num(losses, nan=np.inf)))


def kept_epoch(recipe: Recipe, history: History) -> int:
    """The number (from 1) of the epoch whose weights are kept: that of the lowest validation loss, or the last."""
    return len(history) if recipe.keep == "last" else 1 + lowest([line["val_loss"] for line in history])


def plateaus(losses: list[float], patience: int, min_delta: float = 1e-4) -> int:
    """How often ``losses`` went ``patience`` epochs without falling by ``min_delta`` (Keras' ReduceLROnPlateau)."""
    best, waited, count = float("inf"), 0, 0
    for loss in losses:
        if loss < best - min_delta:
            best, waited = loss, 0
        else:
            waited += 1
            if waited >= patience:
                count, waited = count + 1, 0
    return count


def learning_rate(recipe: Recipe, plan: Plan, step: int, steps: int) -> float:
    """The rate of one step: linear warm-up, then the schedule (cosine: Loshchilov & Hutter 2017)."""
    if plan.phase == "head" or recipe.schedule != "cosine":
        return plan.rate
    at = plan.number + (step + 1) / steps
    if at < recipe.warmup_epochs:
        return plan.rate * at / recipe.warmup_epochs
    share = (at - recipe.warmup_epochs) / max(recipe.epochs - recipe.warmup_epochs, 1e-9)
    return plan.rate * 0.5 * (1 + float(np.cos(np.pi * min(share, 1.0))))
