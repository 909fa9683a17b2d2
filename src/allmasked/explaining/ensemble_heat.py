"""Where in a photo an ensemble's answer comes from: each member's heat map, and one of them all."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import PhotoError, RunError
from allmasked.core.runs import replacing
from allmasked.core.types import CLASSES, Class, InputSpec, Prediction, Predictor, Size
from allmasked.explaining.explain import Explanation, explain_paths
from allmasked.explaining.maps import explainer_for, explainer_named
from allmasked.explaining.network import Floats
from allmasked.explaining.pictures import TILE, Names, write_pictures
from allmasked.images import draw
from allmasked.images import pixels as px
from allmasked.predictors.addresses import Item, clean, in_files, is_address, outgoing
from allmasked.predictors.ensemble import EnsemblePredictor
from allmasked.predictors.faces import prediction_of
from allmasked.predictors.views import read_views

LONGEST_PX = 256
"""The longer side of a combined heat map."""


@dataclass(frozen=True)
class Heat:
    """One photo: the ensemble's ``combined`` explanation, and its members', for the same class.

    Every heat map covers the photo itself, as if fitted with ``stretch``: the letterboxes' bars are cut off.
    """

    combined: Explanation
    members: tuple[Explanation, ...] = ()


def explain_ensemble(
    predictor: EnsemblePredictor,
    photos: Iterable[tuple[str, str | Path | PhotoError]],
    *,
    explainer: str = "grad-cam",
    wanted: Class | None = None,
    batch_size: int = 16,
) -> Iterator[Heat]:
    """Answer and explain any number of photos, in input order and constant memory; every member is asked.

    The combined map is the mean of the members', by weight where the vote has weights, divided by its maximum.

    Args:
        predictor: see :func:`allmasked.predictors.ensemble.open_ensemble`; its members are Keras models.
        photos: (name, path) pairs; an error in place of the path is the photo's.
        explainer: a row of :data:`allmasked.explaining.maps.EXPLAINERS` that fits every member's head.
        wanted: the class to explain; the one that the ensemble answers when None.

    Raises:
        RunError: a member has no network to look into.
        ConfigError: the explainer is unknown or does not fit a member's head.
    """
    row = explainer_named(explainer)
    networks = [member.network for member in predictor.members]
    for member, network in zip(predictor.members, networks):
        if network is None:
            raise RunError(f"{member.name}: only a run's own Keras model can be explained")
    paths: deque[str] = deque()

    def noted() -> Iterator[tuple[str, str | Path | PhotoError]]:
        for name, path in photos:
            paths.append(str(path))
            yield name, path

    def read(path: str | Path | PhotoError, name: str) -> tuple[Size, tuple[NDArray[np.uint8], ...]]:
        if isinstance(path, PhotoError):
            raise path
        return read_views(predictor.views, path, name)

    weights = np.asarray(predictor.ensemble.fitted.weights)
    for batch in px.decode_batches(noted(), read, batch_size=batch_size):
        good = [found for _, found in batch if not isinstance(found, PhotoError)]
        if good:
            views = dict(zip(predictor.views, (np.stack(view) for view in zip(*(arrays for _, arrays in good)))))
            inputs = [views[member.input] for member in predictor.members]
            together = predictor.answer_views(list(views.values()), early=False)
            own = [member.answer(pixels) for member, pixels in zip(predictor.members, inputs)]
            likeliest = together.probabilities.argmax(1)
            classes = np.full(len(good), CLASSES.index(wanted)) if wanted else likeliest
            heats = [row.heat(cast(Any, net), pixels, classes) for net, pixels in zip(networks, inputs)]
        number = 0
        for name, found in batch:
            path = paths.popleft()
            if isinstance(found, PhotoError):
                yield Heat(Explanation(Prediction(name, None, None, found.reason), path, None, None))
                continue
            photo, _ = found
            explained = CLASSES[int(classes[number])]
            laid = [draw.on_photo(h[number], photo, m.input) for h, m in zip(heats, predictor.members)]
            prediction = prediction_of(name, together, number, photo, predictor.input)
            yield Heat(
                Explanation(prediction, path, explained, combined(laid, weights, photo)),
                tuple(
                    Explanation(prediction_of(member.name, said, number, photo, member.input), path, explained, heat)
                    for member, said, heat in zip(predictor.members, own, laid)
                ),
            )
            number += 1


def best_explainer(predictor: Predictor) -> str:
    """The explainer to take where none is named; of an ensemble, that of its members."""
    if isinstance(predictor, EnsemblePredictor) and not predictor.finds_faces:
        return "grad-cam"
    return explainer_for(predictor)


def combined(heats: Sequence[Floats], weights: NDArray[np.float64], photo: Size) -> Floats:
    """The weighted mean of heat maps over the same photo, divided by its maximum: (h, w) 0-1, all 0 where all are."""
    scale = LONGEST_PX / max(photo)
    size = max(1, round(photo[0] * scale)), max(1, round(photo[1] * scale))
    mean = sum(weight * draw.enlarge(heat, size) for weight, heat in zip(weights, heats))
    top = float(np.max(mean))
    return np.asarray(mean / top if top > 1e-12 else mean, np.float32)


def write_heat(
    predictor: Predictor,
    photos: Iterable[tuple[str, str | Path | PhotoError]],
    out: str | Path,
    *,
    explainer: str = "",
    wanted: Class | None = None,
) -> Iterator[tuple[Explanation, Path | None]]:
    """Answer, explain and write pictures (:func:`allmasked.explaining.pictures.write_pictures`) for any predictor.

    Args:
        predictor: what answers; of an ensemble every member's map is written, too.
        photos: (name, path) pairs; an error in place of the path is the photo's.
        out: the folder for the pictures.
        explainer: a row of :data:`allmasked.explaining.maps.EXPLAINERS`; the predictor's best when empty.
        wanted: the class to explain; each photo's likeliest when None.

    Raises:
        ConfigError, RunError: see :func:`allmasked.explaining.explain.explain_paths`.
    """
    explainer = explainer or best_explainer(predictor)
    if isinstance(predictor, EnsemblePredictor):
        heats = explain_ensemble(predictor, photos, explainer=explainer, wanted=wanted)
        whole = InputSpec(predictor.input.size, "stretch")
        return write_pictures(write_members(heats, out, tag=explainer), out, whole, tag=explainer)
    found = explain_paths(predictor, photos, explainer=explainer, wanted=wanted)
    return write_pictures(found, out, predictor.input, tag=explainer)


def heat_of(
    predictor: Predictor,
    photos: Iterable[Item],
    out: str,
    explainer: str,
    wanted: Class | None,
) -> Iterator[tuple[Explanation, Path | str | None]]:
    """:func:`write_heat` for photos of this machine and of stores, to a folder or an address.

    What was fetched and what was sent goes from this machine as soon as it isn't needed any more.
    """
    with tempfile.TemporaryDirectory(prefix="allmasked-") as folder, outgoing(out) as (target, send):
        for explanation, picture in write_heat(
            predictor, in_files(photos, Path(folder)), target, explainer=explainer, wanted=wanted
        ):
            shown: Path | str | None = picture
            if picture is not None and is_address(out):
                shown = f"{clean(out).rstrip('/')}/{picture.relative_to(target).as_posix()}"
                for file in (picture, picture.with_suffix(".members.jpg")):
                    if file.is_file():
                        send(file)
            if explanation.path.startswith(folder):
                Path(explanation.path).unlink(missing_ok=True)
            yield explanation, shown


def write_members(heats: Iterable[Heat], out: str | Path, *, tag: str = "grad-cam") -> Iterator[Explanation]:
    """Pass the combined explanations on; beside them write ``NAME.TAG.members.jpg``: the photo and every member's map.

    For :func:`allmasked.explaining.pictures.write_pictures`, whose input is then the photo itself: any size,
    ``stretch``.
    """
    out = Path(out)
    names = Names()
    for heat in heats:
        if heat.members:
            try:
                photo = px.thumbnail(px.decode(heat.combined.path, fit_within=TILE), TILE)
            except PhotoError:  # the caller meets it too, and says so
                yield heat.combined
                continue
            shown = [heat.combined, *heat.members]
            tiles = [photo, *(draw.overlay(photo, one.heat) for one in shown if one.heat is not None)]
            captions = [
                "photo\n",
                *(_caption(one, "" if one is heat.combined else one.prediction.path) for one in shown),
            ]
            out.mkdir(parents=True, exist_ok=True)
            with replacing(out / f"{names.of(heat.combined.path)}.{tag}.members.jpg") as temporary:
                draw.grid(tiles, captions).save(temporary, quality=90)
        yield heat.combined


def _caption(one: Explanation, name: str) -> str:
    return f"{name or 'together'}\n{one.prediction.label} {one.prediction.confidence:.2f}"
