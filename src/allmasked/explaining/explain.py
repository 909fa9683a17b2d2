"""Answers with where they come from: any number of photos through a predictor and an explainer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import PhotoError, RunError
from allmasked.core.types import CLASSES, Class, Prediction, Predictor, Size
from allmasked.explaining.maps import Explainer, explainer_for, explainer_named
from allmasked.explaining.network import Classes, Floats
from allmasked.images import pixels as px
from allmasked.predictors.faces import prediction_of
from allmasked.predictors.views import read_views


@dataclass(frozen=True)
class Explanation:
    """One photo's answer and where it comes from: ``heat`` (h, w) 0..1 over the input, for the class ``explained``.

    Both are None where the photo can't be read (``prediction.error`` says why).
    """

    prediction: Prediction
    path: str
    explained: Class | None
    heat: Floats | None


def explain_paths(
    predictor: Predictor,
    photos: Iterable[tuple[str, str | Path | PhotoError]],
    *,
    explainer: str = "",
    wanted: Class | None = None,
    batch_size: int = 16,
) -> Iterator[Explanation]:
    """Answer and explain any number of photos, in input order and constant memory.

    Args:
        predictor: what answers. One without Keras (an exported file) can be explained by what it says itself.
        photos: (name, path) pairs; an error in place of the path is the photo's.
        explainer: a row of :data:`EXPLAINERS`; :func:`explainer_for` when empty.
        wanted: the class to explain; each photo's likeliest when None.

    Raises:
        ConfigError: unknown explainer, or one that does not fit the network.
        RunError: an explainer that looks into the network, for an exported file.
    """
    row = explainer_named(explainer or explainer_for(predictor))
    spec = predictor.input

    def read(path: str | Path | PhotoError, name: str) -> tuple[str, Size, NDArray[np.uint8]]:
        if isinstance(path, PhotoError):
            raise path
        photo, (array,) = read_views([spec], path, name)  # as predict decodes it, so that both answer the same
        return str(path), photo, array

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
            prediction = prediction_of(name, answers, number, photo, spec)
            yield Explanation(prediction, path, CLASSES[int(indices[number])], heats[number])
            number += 1


def _look_into(predictor: Predictor, row: Explainer, pixels: NDArray[np.uint8], indices: Classes) -> Floats:
    model = predictor.network
    if model is None:
        own = explainer_for(predictor)
        if own == row.name:
            raise RunError(f"{predictor.name}: this file does not say where its answer comes from; give the folder")
        raise RunError(
            f"{predictor.name}: {row.name} looks into a Keras model; give a run folder, or take --explainer {own}"
        )
    return row.heat(model, pixels, indices)
