"""The command line's jobs as functions: paths in, objects and paths out, the same defaults and errors.

A run, an ensemble and a split may be given as the object that a job returned or as its path. What is heavy is imported
inside of each function, so that ``import allmasked`` costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from allmasked.core.errors import ConfigError
from allmasked.core.runs import Run
from allmasked.core.types import Class, Prediction, Split

if TYPE_CHECKING:
    from allmasked.data.readers import Options
    from allmasked.exporting.export import Report
    from allmasked.inspection.inspect import Inspection
    from allmasked.scoring.compare import Comparison
    from allmasked.scoring.evaluate import Evaluation

Where = str | os.PathLike[str]
"""A path, or a run."""


def inspect(
    data: Where,
    *,
    layout: str | None = None,
    classes: Mapping[str, str] | None = None,
    wear: Mapping[str, str] | None = None,
    incorrect_is: Literal["masked", "bare"] = "bare",
) -> Inspection:
    """What is in a data set and what is wrong with it.

    Args:
        data: a data set in any layout of ``docs/layouts.md``, or a ``split.json``; at an address, it is copied to the
            cache folder first.
        layout: its layout; seen when None.
        classes: what class folders or labels mean: ``all``, ``none``, ``some``, ``nobody``, or ``ignore``.
        wear: what a detection set's classes mean: ``masked``, ``bare``, ``incorrect``, ``unknown``, or ``ignore``.
        incorrect_is: what a mask worn incorrectly counts as in labels.

    Returns:
        ``classes``, ``findings`` (what to look at, worst first), ``broken`` and more; ``to_json()`` gives plain values.

    Raises:
        DataError: no data set, or without a labelled photo.
        ConfigError: an option is wrong.

    Example:
        >>> found = allmasked.inspect("data")
        >>> [(row.label, row.photos) for row in found.classes][:3]
        [('all', 8), ('none', 8), ('some', 8)]
    """
    from allmasked.inspection.inspect import inspect as inspect_data

    return inspect_data(_here(data), options=_options(layout, classes, wear, incorrect_is))


def split(
    data: Where,
    out: Where | None = None,
    *,
    seed: int = 0,
    validation: float = 0.15,
    test: float = 0.2,
    test_source: str = "",
    keep_parts: bool = False,
    relabel: Where | None = None,
    layout: str | None = None,
    classes: Mapping[str, str] | None = None,
    wear: Mapping[str, str] | None = None,
    incorrect_is: Literal["masked", "bare"] = "bare",
) -> Split:
    """Divide a data set into train, validation and test without leaks: near-duplicates stay in one part.

    Args:
        data: a data set in any layout of ``docs/layouts.md``; of a ``split.json`` the split that it holds. At an
            address (``s3://bucket/masks``), it is copied to the cache folder first.
        out: the ``split.json`` to write, too, or its address.
        seed: of the draw.
        validation, test: shares of the photos, 0-1.
        test_source: a pattern of names (``fmd_*``): those photos, and only they, are the test part.
        keep_parts: keep the parts (train, valid, test) that the data set brings.
        relabel: a CSV of mended labels (``path,label``), as ``allmasked view`` writes it.
        layout, classes, wear, incorrect_is: as for :func:`inspect`.

    Returns:
        ``part("train")`` and so on give its photos; what was left out has the part ``left_out`` and a reason.

    Raises:
        DataError: no data set, or too few photos.
        ConfigError: an option is wrong.

    Example:
        >>> split = allmasked.split("data", seed=0)
        >>> len(split.part("train")) > len(split.part("test")) > 0
        True
    """
    from allmasked.data.dataset import load_split
    from allmasked.scale.copies import write_split_to

    found = load_split(
        _here(data), seed=seed, options=_options(layout, classes, wear, incorrect_is), test_source=test_source,
        keep_parts=keep_parts, relabel=None if relabel is None else Path(relabel), validation=validation, test=test,
    )  # fmt: skip
    if out is not None:
        write_split_to(found, os.fspath(out), os.fspath(data))
    return found


def train(
    data: Split | Where,
    out: Where,
    *,
    backbone: str = "EfficientNetLite0",
    head: str | None = None,
    recipe: str = "default",
    weights: str = "",
    seed: int = 0,
    resume: bool = False,
    cache: Where | None = None,
    **settings: Any,
) -> Run:
    """Train a model and leave it in a run folder.

    Args:
        data: a split, a ``split.json``, or a data set (or its address), which is then split with the same seed.
        out: the run folder to make, or, with ``resume``, one whose training was stopped.
        backbone, head: see ``docs/commands.md``; the head that the recipe is meant for when None.
        recipe: its name, or a TOML file.
        weights: ``imagenet``, ``random``, ``package``, a file or a run to begin with; the backbone's own when empty.
        seed: of everything random.
        resume: go on after the last finished epoch.
        cache: folder for decoded photos; the user's cache folder when None.
        settings: fields of the recipe that are to differ, such as ``epochs=5`` or ``size="256x192"``.

    Returns:
        The run, to give to any other job and to :func:`allmasked.load`.

    Raises:
        ConfigError: an unknown backbone, head, recipe or field, or a wrong value.
        RunError: ``out`` is in use, or can't be resumed with these settings.
        DataError: photos are missing, or changed since they were split.
        MissingExtraError: Keras is not installed (extra ``train``, or ``gpu`` for an NVIDIA card).

    Example:
        >>> run = allmasked.train("split.json", "runs/first", recipe="demo", epochs=1, size="64x64")
        >>> run.model.is_file()
        True
    """
    from allmasked.networks.model import settings_of
    from allmasked.training.train import train as train_run

    config = settings_of(
        backbone=backbone, head=head, recipe=recipe, weights=str(weights), seed=seed, overrides=settings
    )
    found = data if isinstance(data, Split) else split(data, seed=seed)
    return train_run(found, config, Path(out), resume=resume, cache=_path(cache))


def evaluate(
    run: Where,
    on: str | Sequence[str] = (),
    *,
    photos: Where | None = None,
    data: Where | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
    plots: bool = True,
) -> Evaluation:
    """Score a run or an ensemble on held-out photos, with 95 % intervals; its folder gets scores.json and plots.

    The test part is scored once: asked again, the stored figures are the answer.

    Args:
        run: its folder.
        on: parts of its split; validation and test when empty.
        photos: a labelled data set, its address or ``split.json`` to score instead.
        data: where the run's photos lie now, if they have moved.
        bootstrap: resamples for the intervals.
        seed: of the resamples.
        plots: draw them.

    Returns:
        ``scores.test.accuracy`` and so on; printed, the tables in Markdown.

    Raises:
        RunError: no finished run, photos that were trained on, or none could be answered.
        ConfigError: a part that doesn't exist.
        DataError: no photos.

    Example:
        >>> scores = allmasked.evaluate("runs/first", bootstrap=100)
        >>> 0 <= scores.test.accuracy <= 1
        True
    """
    from allmasked.scoring.evaluate import evaluate as evaluate_run

    other = None if photos is None else _here(photos)
    return evaluate_run(
        Path(run), [on] if isinstance(on, str) else on, photos=other, data=_path(data), bootstrap=bootstrap, seed=seed,
        plots=plots,
    )  # fmt: skip


def compare(
    runs: Sequence[Where], on: str = "test", *, data: Where | None = None, bootstrap: int = 2000, seed: int = 0
) -> Comparison:
    """Compare runs on the same photos: is one really better? Paired tests, intervals of the differences.

    Args:
        runs: two or more runs or ensembles with the same split.
        on: the part: ``train``, ``validation`` or ``test``.
        data: where their photos lie now, if they have moved.
        bootstrap: resamples for the intervals.
        seed: of the resamples.

    Returns:
        ``runs``, the figures of each, and ``pairs``, the better run first, whose ``sentence`` says what was shown;
        printed, the tables in Markdown.

    Raises:
        ConfigError: fewer than two runs, or one twice.
        RunError: an unfinished run, or runs scored on different photos.

    Example:
        >>> found = allmasked.compare(["runs/first", "runs/second"], bootstrap=100)
        >>> found.pairs[0].sentence
        'first and second: no difference shown ...'
    """
    from allmasked.scoring.compare import compare as compare_runs

    return compare_runs([Path(run) for run in runs], on, data=_path(data), bootstrap=bootstrap, seed=seed)


@dataclass(frozen=True)
class Explained:
    """One photo's answer, the class whose heat map was drawn, and the picture (its address, where it went to one); None
    where the photo can't be read."""

    prediction: Prediction
    explained: Class | None
    picture: Path | str | None


def explain(
    model: Where | None, photos: str | Path | Sequence[str | Path], out: Where, *, explainer: str = "",
    label: Class | None = None,
) -> list[Explained]:  # fmt: skip
    """Draw where in each photo the answer comes from: a heat map over each, and all on one page, ``grid.png``.

    Args:
        model: a run, an ensemble's folder or an exported file; the model that ships when None.
        photos: a pattern, a folder, a path, an address, or several of these.
        out: the folder for the pictures, or its address.
        explainer: a row of :data:`allmasked.explaining.maps.EXPLAINERS`; what the model can do best when empty.
        label: the class to explain (``all``, ``none`` or ``some``); the one that is answered when None.

    Raises:
        ConfigError: an unknown explainer, or one that does not fit the model; no photo is found.
        RunError: no such model, or an explainer that looks into a network, for an exported file.

    Example:
        >>> [found.picture.name for found in allmasked.explain(None, "street.jpg", "heat")]
        ['street.evidence.jpg']
    """
    from allmasked.explaining.ensemble_heat import heat_of
    from allmasked.predictors.addresses import clean, listing
    from allmasked.predictors.predictor import open_predictor

    paths = [str(path) for path in ([photos] if isinstance(photos, str | Path) else photos)]
    items = list(listing(paths, etags=False))
    if not items:
        raise ConfigError(f"no photo found in {', '.join(map(clean, paths[:3]))}")
    written: Iterator[Any] = heat_of(open_predictor(_path(model)), items, os.fspath(out), explainer, label)
    return [Explained(one.prediction, one.explained, picture) for one, picture in written]


def export(
    run: Where, out: Where, *, format: str | None = None, precision: str = "float32", size: str | None = None,
    validate: Where | None = None, seed: int = 0, **settings: Any,
) -> Report:  # fmt: skip
    """Write a run's or an ensemble's model as one file for other engines, checked before it is left behind.

    Args:
        run: its folder.
        out: the file, or the folder of a SavedModel.
        format: ``onnx``, ``openvino``, ``litert`` or ``savedmodel``; by the file's ending when None.
        precision: ``float32``, ``float16`` or ``int8``.
        size: of the input, such as ``416x320``; the run's own when None.
        validate: photos for the check; the run's own when None.
        seed: of the photos' choice.
        settings: ``name`` and ``temperature`` of the file.

    Returns:
        ``path``, ``size_bytes``, and ``round_trip``: how far its answers differ from those of Keras.

    Raises:
        ConfigError: an unknown format or precision, or a size that the head can't take.
        RunError: no finished run.
        ExportError: the file would answer otherwise than Keras.
        MissingExtraError: what the format needs is not installed (extra ``export``).

    Example:
        >>> report = allmasked.export("runs/first", "first.onnx")
        >>> allmasked.load(report.path)("street.jpg").label in ("all", "none", "some", "nobody")
        True
    """
    from allmasked.core.config import parse_size
    from allmasked.exporting.export import EXPORTS
    from allmasked.exporting.export import export as export_run

    suffix = Path(out).suffix
    kind = format or next((name for name, row in EXPORTS.items() if row.suffix == suffix), "onnx")
    return export_run(
        Path(run), Path(out), format=kind, precision=precision, size=parse_size(size) if size else None,
        validate=_path(validate), settings=settings, seed=seed,
    )  # fmt: skip


def ensemble(
    runs: Sequence[Where], out: Where, vote: str = "soft", *, early_stop: bool = False, data: Where | None = None
) -> Run:
    """Let runs that were trained on the same split answer together.

    Args:
        runs: two or more.
        out: the ensemble's folder to make.
        vote: ``majority``, ``soft``, ``weighted`` or ``stacked``, see ``docs/ensembles.md``.
        early_stop: ask no further member about a photo whose answer can't change any more.
        data: where the photos lie now, if they have moved.

    Returns:
        The ensemble's folder, to give to any other job and to :func:`allmasked.load`.

    Raises:
        ConfigError: an unknown vote, fewer than two runs, or one twice.
        RunError: ``out`` is in use, a run is unfinished, or was trained on another split.

    Example:
        >>> both = allmasked.ensemble(["runs/first", "runs/second"], "both", vote="soft")
        >>> allmasked.load(both).name
        'both'
    """
    from allmasked.ensembles.assemble import assemble

    assemble([Path(run) for run in runs], Path(out), vote, early_stop=early_stop, data=_path(data))
    return Run(Path(out))


def _here(data: Where) -> Path:
    """A data set's path on this machine; what lies at an address is copied first."""
    from allmasked.scale.copies import copied

    return copied(data)


def _path(where: Where | None) -> Path | None:
    return None if where is None else Path(where)


def _options(
    layout: str | None,
    classes: Mapping[str, str] | None,
    wear: Mapping[str, str] | None,
    incorrect_is: Literal["masked", "bare"],
) -> Options:
    from allmasked.data.readers import Options

    return Options(layout, classes, wear, incorrect_is)
