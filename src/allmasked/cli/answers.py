"""``allmasked predict`` and ``allmasked explain``."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from allmasked.cli.numbers import FiniteRange
from allmasked.cli.scaling import engine_options, is_far, photos_far, predict_at_scale
from allmasked.core import progress
from allmasked.core.errors import RunError
from allmasked.core.types import CLASSES, LABELS, Class
from allmasked.explaining.maps import EXPLAINERS
from allmasked.predictors.devices import DEVICES
from allmasked.predictors.tiles import TILES

if TYPE_CHECKING:
    from allmasked.core.types import Photo
    from allmasked.explaining.faithfulness import Faithfulness

COLUMNS = ("path", "label", "p_all", "p_none", "p_some", "p_nobody", "masked", "bare", "sure", "error")
FORMATS = ("table", "csv", "json", "jsonl")
TABLE_ROWS = 500

Row = dict[str, Any]


model_option = click.option(
    "--model",
    metavar="FILE|RUN",
    type=click.Path(path_type=Path),
    help="A file of 'allmasked export', a run folder, or an ensemble's; default: the model that ships.",
)
device_option = click.option(
    "--device", default="auto", show_default=True, type=click.Choice(["auto", *DEVICES]),
    help="What computes; auto: an NVIDIA card (GPU) where it can be used, else the processors.",
)  # fmt: skip
threads_option = click.option("--threads", type=click.IntRange(1), help="Processors to use.  [default: all]")
batch_option = click.option(
    "--batch-size",
    default=32,
    show_default=True,
    type=click.IntRange(1, 4096),
    help="Photos that the network is given at once.",
)
null_option = click.option(
    "--null", "-0", is_flag=True, help="Names on stdin end with NUL bytes, as from find -print0."
)


def _labels(_ctx: click.Context, _param: click.Parameter, value: str | None) -> frozenset[str]:
    names = frozenset(name.strip() for name in (value or "").split(",") if name.strip())
    if wrong := sorted(names - set(LABELS)):
        raise click.BadParameter(f"{wrong[0]!r} is not one of {', '.join(LABELS)}")
    return names


@click.command("predict")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@model_option
@click.option(
    "--format",
    "kind",
    type=click.Choice([*FORMATS, "parquet"]),
    help="Default: --out's suffix, else table on a terminal, csv otherwise; with --engine parquet (or csv).",
)
@click.option("--out", metavar="FILE|DEST", help="Write here instead of to stdout; with --engine a folder or address.")
@engine_options
@click.option("--boxes", is_flag=True, help="Add the column faces: what each wears, score, edges in px (JSON in csv).")
@click.option("--annotated", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
              help="Write each photo with its faces and the verdict here.")  # fmt: skip
@click.option("--heat", is_flag=True, help="With --annotated: lay the evidence over the photo, too.")
@click.option("--sort", "sort_to", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
              help="Copy each photo into DIR/all, none, some or nobody.")  # fmt: skip
@click.option("--min-face-px", "min_face_px", metavar="PX", type=FiniteRange(0),
              help="Faces of a smaller height than this in the photo are shown, but not counted.  [default: the"
              " model's own rule, see its card]")  # fmt: skip
@click.option("--min-face-share", metavar="SHARE", type=FiniteRange(0, 1),
              help="Faces smaller than this share of the largest are shown, but not counted: far behind.  [default: the"
              " model's own rule]")  # fmt: skip
@click.option("--unsure", is_flag=True, help="List only the answers that a person should look at.")
@click.option("--tiles", default=TILES[0], show_default=True, type=click.Choice(TILES),
              help="Look again, closer, at five overlapping parts of a photo: for crowds and small faces, six times as"
              " slow for each such photo.")  # fmt: skip
@click.option("--fail-on", metavar="LABELS", callback=_labels,
              help="Exit code 1 when one of these answers occurs, such as none,some.")  # fmt: skip
@batch_option
@threads_option
@device_option
@null_option
@click.pass_context
def predict_command(
    ctx: click.Context,
    paths: tuple[str, ...],
    model: Path | None,
    kind: str | None,
    out: str | None,
    boxes: bool,
    annotated: Path | None,
    heat: bool,
    sort_to: Path | None,
    min_face_px: float | None,
    min_face_share: float | None,
    unsure: bool,
    tiles: str,
    fail_on: frozenset[str],
    batch_size: int,
    threads: int | None,
    device: str,
    null: bool,
    **_scale: Any,
) -> None:
    """Answer for photos: does everyone (all), no one (none), or only some wear a mask? Or is nobody there?

    PATH is a photo, a folder (searched with all folders below), a pattern in quotes such as 'photos/**/*.jpg', or -
    for a list on stdin, one path per line. A photo that can't be read gets its line with the error; the rest goes on.
    It may also be an address (s3://, gs://, az://, https://, file://) or a list file (.txt, one per line).

    With --engine, rows go to DEST as shards with faces, etag and error, beside manifest.json. The same command again
    goes on where it was stopped or killed, and answers for what is new or has changed.

    p_all, p_none, p_some and p_nobody sum to 1. They are read off the faces found, of which masked and bare count those
    that are neither too small to judge nor far behind the others; so label and counts never contradict each other. sure
    says whether the label leads by 0.6; where it doesn't, a person should look.
    """
    from allmasked.model import load
    from allmasked.predictors.predictor import Look

    if heat and annotated is None:
        raise click.UsageError("--heat goes with --annotated DIR")
    look = Look(min_face_px, min_face_share, tiles)
    if (code := predict_at_scale(ctx, lambda: _stdin_lines(null), look)) is not None:
        ctx.exit(code)
    target = _file(out)
    kind = kind or _format_for(target)
    folders = [folder for folder in (annotated, sort_to) if folder is not None]
    far = photos_far(paths, lambda: _stdin_lines(null), bool(folders))
    photos = _outside(_photos(paths, null), folders) if far is None else iter(())
    opened = load(model, threads=threads, device=device)
    tally: Counter[str] = Counter()
    doubtful: Counter[bool] = Counter()
    started = time.perf_counter()

    if far is None:
        found = opened.answered(photos, batch_size, look)
    else:
        from allmasked.scale.answering import answered as answer_items

        found = (one for _, one in answer_items(opened, far, batch_size=batch_size, look=look))

    def rows() -> Iterator[Row]:
        for answered in found:
            prediction = answered.prediction
            if prediction.label is not None and annotated is not None:
                from allmasked.annotate import write_annotated

                prediction = write_annotated(answered, annotated, heat=heat)
            if prediction.label is not None and sort_to is not None:
                from allmasked.annotate import copy_into

                copy_into(sort_to / prediction.label, Path(str(answered.photo)))
            tally[prediction.label or "failed"] += 1
            if prediction.label is None and not (out is None and sys.stdout.isatty()):  # where its row is not seen
                progress.stderr.print(f"{_plain(prediction.path)}: {_plain(prediction.error)}", markup=False)
            doubtful[prediction.sure is False] += 1
            if not unsure or not prediction.sure:
                yield prediction.to_dict(boxes=boxes)

    columns = (*COLUMNS[:-1], "faces", "error") if boxes else COLUMNS
    with _output(target) as stream:
        _write(_with_bar(rows(), "predict", paths, kind, target), kind, stream, columns)
    _summary(tally, time.perf_counter() - started, doubtful[True])
    _tell_other_photos(paths)
    ctx.exit(1 if tally["failed"] or any(tally[label] for label in fail_on) else 0)


@click.command("explain")
@click.argument("paths", nargs=-1, metavar="PATH...")
@model_option
@click.option(
    "--explainer",
    "explainers",
    multiple=True,
    type=click.Choice([*EXPLAINERS, "all"]),
    help="Which heat map; with --score as often as wanted.  [default: evidence where the model makes it, else grad-cam;"
    " with --score: all]",
)
@click.option("--class", "wanted", type=click.Choice(CLASSES), help="Class to explain; default: the predicted one.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the pictures; with --score a JSON file.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="Default: table on a terminal, csv otherwise (json with --score).",
)
@click.option(
    "--score",
    "data",
    type=click.Path(path_type=Path),
    metavar="DATA|split.json",
    help="Measure faithfulness on these photos instead.",
)
@click.option(
    "--on",
    "part",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="With --score: the part.",
)
@click.option(
    "--photos",
    "count",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="With --score: photos, drawn at random.",
)
@click.option("--seed", default=0, show_default=True, help="With --score: seed of the draw and of the random map.")
@null_option
@click.pass_context
def explain_command(
    ctx: click.Context,
    paths: tuple[str, ...],
    model: Path | None,
    explainers: tuple[str, ...],
    wanted: Class | None,
    out: Path | None,
    kind: str | None,
    data: Path | None,
    part: Any,
    count: int,
    seed: int,
    null: bool,
) -> None:
    """Show where in each photo the answer comes from: heat map overlays, and all photos on one page (grid.png).

    PATH is as for predict. The title of a photo in the grid is the predicted label and its probability, and the true
    label where the photo's folder is called all, none or some.

    With --score, measure on labelled photos how faithful the heat maps are: deletion AUC (low is good), insertion AUC
    (high is good) and, where boxes are known, the pointing game; each beside a random map, with 95 % intervals.
    """
    if data is not None:
        if paths:
            raise click.UsageError("--score takes its photos from DATA; leave out PATH")
        failed = _score(model, data, part, count, explainers or ("all",), seed, kind, out)
    else:
        if not paths:
            raise click.UsageError("PATH is missing: photos to explain (or --score DATA)")
        if out is None:
            raise click.UsageError("--out DIR is missing: the folder for the pictures")
        if len(explainers) > 1 or "all" in explainers:
            raise click.UsageError("several explainers go with --score only; name one here")
        failed = _explain(model, paths, "".join(explainers), wanted, out, kind or _format_for(None), null)
    ctx.exit(1 if failed else 0)


def _explain(
    model: Path | None, paths: tuple[str, ...], explainer: str, wanted: Class | None, out: Path, kind: str, null: bool
) -> int:
    from allmasked.explaining.ensemble_heat import write_heat
    from allmasked.predictors.predictor import open_predictor

    if out.exists() and not out.is_dir():
        raise click.UsageError(f"--out {out}: is a file; give a folder for the pictures")
    photos = _photos(paths, null)
    found = write_heat(open_predictor(model), photos, out, explainer=explainer, wanted=wanted)
    tally: Counter[str] = Counter()
    started = time.perf_counter()

    def rows() -> Iterator[Row]:
        for explanation, picture in found:
            prediction = explanation.prediction
            tally[prediction.label or "failed"] += 1
            extra = {"explained": explanation.explained, "picture": str(picture) if picture else None}
            yield {**prediction.to_dict(boxes=False), **extra}

    columns = (*COLUMNS[:-1], "explained", "picture", "error")
    with _output(None) as stream:
        _write(_with_bar(rows(), "explain", paths, kind, None), kind, stream, columns)
    _summary(tally, time.perf_counter() - started)
    if tally.total() > tally["failed"]:
        progress.stderr.print(f"pictures and grid.png in {out}", markup=False, soft_wrap=True)
    return tally["failed"]


def _score(
    model: Path | None,
    data: Path,
    part: Any,
    count: int,
    explainers: tuple[str, ...],
    seed: int,
    kind: str | None,
    out: Path | None,
) -> int:
    from allmasked.core.runs import write_json
    from allmasked.explaining.faithfulness import measure, sample
    from allmasked.explaining.maps import explainers_for
    from allmasked.explaining.network import network
    from allmasked.predictors.predictor import open_predictor

    if kind in ("csv", "jsonl"):
        raise click.UsageError("--score has the formats table and json")
    root, photos, part = _labelled(data, part)
    predictor = open_predictor(model)
    if predictor.network is None:
        raise RunError(f"{predictor.name}: only a run's own Keras model can be measured; give its folder (--model RUN)")
    cut = network(predictor.network)
    names = explainers_for(cut) if "all" in explainers else list(dict.fromkeys(explainers))
    rows, broken = measure(
        cut, sample(photos, count, seed), root, predictor.input.resize_mode, explainers=names, seed=seed
    )
    report = {
        "model": predictor.name,
        "data": str(data),
        "part": part,
        "photos": rows[0].photos,
        "seed": seed,
        "class_score": cut.score,
        "explainers": {row.explainer: _without(dataclasses.asdict(row), "explainer") for row in rows},
        "failed": [{"path": error.path, "error": error.reason} for error in broken],
    }
    if out is not None:
        write_json(out, report)
    kind = kind or ("table" if sys.stdout.isatty() or out is not None else "json")
    with _output(None) as stream:
        if kind == "json":
            stream.write(json.dumps(report, indent=1) + "\n")
        else:
            _print_table(
                _faithfulness_table(rows, f"{part} photos: {rows[0].photos}; class score: {cut.score}"), stream
            )
    for error in broken:
        progress.stderr.print(_plain(str(error)), markup=False, soft_wrap=True)
    return len(broken)


def _labelled(data: Path, part: Any) -> tuple[Path, list[Photo], str]:
    """The photos of a part of a split.json, or all of a data set; and what to call them."""
    from allmasked.data.dataset import is_split, load_photos

    split = load_photos(data)
    if is_split(data):
        return split.root, list(split.part(part)), part
    return split.root, list(split.photos), "all parts"


def _without(values: Row, key: str) -> Row:
    return {name: value for name, value in values.items() if name != key}


def _photos(paths: tuple[str, ...], null: bool) -> Iterator[tuple[str, str]]:
    """The photos that the command line stands for; no photo at all is wrong use, told before the model is loaded."""
    from allmasked.predictors.photo_files import find_photos

    photos = itertools.chain.from_iterable(
        find_photos(_stdin_lines(null) if path == "-" else [path], patterns=path != "-") for path in paths
    )
    first = next(photos, None)
    if first is None:
        raise click.UsageError(
            f"no photo found in {', '.join(map(_plain, paths[:3]))}{', ...' if len(paths) > 3 else ''}"
        )
    return itertools.chain([first], photos)


def _outside(photos: Iterator[tuple[str, str]], folders: list[Path]) -> Iterator[tuple[str, str]]:
    """Photos that don't lie where pictures are being written."""
    if not folders:
        return photos
    ours = tuple(os.path.join(os.path.realpath(folder), "") for folder in folders)  # noqa: PTH118
    return ((name, path) for name, path in photos if not os.path.realpath(path).startswith(ours))


def _stdin_lines(null: bool) -> Iterator[str]:
    stream = sys.stdin.buffer
    if null:
        rest = b""
        while chunk := stream.read(1 << 16):
            *whole, rest = (rest + chunk).split(b"\0")
            yield from (os.fsdecode(name) for name in whole if name)
        if rest:
            yield os.fsdecode(rest)
        return
    for line in stream:
        if name := line.rstrip(b"\r\n"):
            yield os.fsdecode(name)


def _file(out: str | None) -> Path | None:
    """``--out`` as a file."""
    if out is not None and Path(out).is_dir():
        raise click.BadParameter(f"File {out!r} is a directory.", param_hint="'--out'")
    return None if out is None else Path(out)


def _format_for(out: Path | None) -> str:
    if out is not None:
        suffix = out.suffix.lower().lstrip(".")
        return suffix if suffix in FORMATS else "csv"
    return "table" if sys.stdout.isatty() else "csv"


@contextlib.contextmanager
def _output(out: Path | None) -> Iterator[IO[str]]:
    """stdout or a file, UTF-8."""
    from allmasked.core.runs import replacing

    if out is None:
        with contextlib.suppress(AttributeError):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
        yield sys.stdout
        sys.stdout.flush()
        return
    with (
        replacing(out) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        yield stream


def _with_bar(rows: Iterator[Row], title: str, paths: tuple[str, ...], kind: str, out: Path | None) -> Iterator[Row]:
    """A progress bar on stderr, unless the rows themselves run over the same terminal."""
    if not progress.stderr.is_terminal or (out is None and kind != "table" and sys.stdout.isatty()):
        return rows
    from allmasked.predictors.photo_files import find_photos

    total = None if "-" in paths or any(map(is_far, paths)) else sum(1 for _ in find_photos(paths))
    return progress.track(rows, title, total)


def _write(rows: Iterable[Row], kind: str, stream: IO[str], columns: tuple[str, ...]) -> None:
    """Write rows as they come; memory does not grow with them. Nothing is written where there is none for an error."""
    rows = map(_valid, rows)
    rows = itertools.chain(list(itertools.islice(rows, 1)), rows)
    if kind == "csv":
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            faces = row.get("faces")
            writer.writerow(row if faces is None else {**row, "faces": json.dumps(faces)})
    elif kind == "jsonl":
        stream.writelines(json.dumps({name: row[name] for name in columns}) + "\n" for row in rows)
    elif kind == "json":
        stream.write("[")
        try:
            for number, row in enumerate(rows):
                stream.write((",\n" if number else "\n") + json.dumps({name: row[name] for name in columns}))
        finally:
            stream.write("\n]\n")  # valid also when interrupted
    else:
        while chunk := list(itertools.islice(rows, TABLE_ROWS)):
            _print_table(_table(chunk, columns), stream)


def _print_table(table: Any, stream: IO[str]) -> None:
    from rich.console import Console

    terminal = stream.isatty()
    Console(file=stream, width=None if terminal else 200, highlight=False).print(table)


def _table(rows: list[Row], columns: tuple[str, ...]) -> Any:
    from rich.table import Table
    from rich.text import Text

    optional = ("error", "picture", "p_nobody", "masked", "bare", "sure", "faces")
    shown = [name for name in columns if name not in optional or any(row[name] is not None for row in rows)]
    table = Table(*shown, box=None, header_style="bold", pad_edge=False)
    table.columns[0].overflow = "fold"
    for row in rows:
        cells = []
        for name in shown:
            value = row[name]
            text = "" if value is None else f"{value:.3f}" if isinstance(value, float) else _plain(str(value))
            if name == "faces" and value is not None:
                text = json.dumps(value)
            strong = value is not None and name == f"p_{row['label']}"
            cells.append(Text(text, style="bold" if strong or name == "label" else "red" if name == "error" else ""))
        table.add_row(*cells)
    return table


def _faithfulness_table(rows: list[Faithfulness], title: str) -> Any:
    from rich.table import Table

    pointing = any(row.pointing for row in rows)
    heads = ["explainer", "deletion AUC ↓", "better than random by", "insertion AUC ↑", "better than random by"]
    table = Table(*heads, *(["pointing game ↑", "better than random by"] if pointing else []), title=title, box=None)
    for row in rows:
        gains = [row.deletion_gain, row.insertion_gain, row.pointing_gain]
        means = [row.deletion, row.insertion, row.pointing]
        cells = [row.explainer]
        for mean, gain in list(zip(means, gains))[: 3 if pointing else 2]:
            cells += [str(mean or ""), "" if row.explainer == "random" else str(gain or "")]
        table.add_row(*cells)
    return table


def _summary(tally: Counter[str], seconds: float, unsure: int = 0) -> None:
    total = tally.total()
    counts = ", ".join(f"{tally[name]} {name}" for name in (*LABELS, "failed") if tally[name] or name in CLASSES)
    rate = f"{total / seconds:.1f} photos/s" if seconds > 0 else ""
    doubt = f"; {unsure} of them unsure" if unsure else ""
    photos = "1 photo" if total == 1 else f"{total} photos"
    progress.stderr.print(f"{photos} in {seconds:.1f} s ({rate}): {counts}{doubt}", markup=False, soft_wrap=True)


def _tell_other_photos(paths: tuple[str, ...]) -> None:
    """A line for the photos in the folders given whose ending is not read."""
    from allmasked.data.albums import other_photos
    from allmasked.images.pixels import OTHER_SUFFIXES

    kinds: dict[str, list[Path]] = {}
    others: dict[str, list[Path]] = {}
    for reason, file in (one for path in paths if Path(path).is_dir() for one in other_photos(Path(path))):
        known = file.suffix.lower() in OTHER_SUFFIXES
        (kinds if known else others).setdefault(file.suffix.lower() if known else reason, []).append(file)
    if kinds:
        files = sorted(file for some in kinds.values() for file in some)
        progress.stderr.print(
            f"not read: {len(files):,} photos of other kinds ({', '.join(sorted(kinds))}), such as "
            f"{_plain(str(files[0]))}: save them as JPEG or PNG",
            markup=False,
        )
    for reason, files in others.items():
        progress.stderr.print(
            f"not read: {len(files):,} files, such as {_plain(str(files[0]))}, being {reason}", markup=False
        )


def _plain(text: str) -> str:
    """Text without control characters or broken Unicode, so that a file's name can't play with the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in _utf8(text))


def _utf8(text: str) -> str:
    """A name's bytes that are no UTF-8 as ``\\xe9``: valid in CSV and JSON, whoever reads it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _valid(row: Row) -> Row:
    return {name: _utf8(value) if isinstance(value, str) else value for name, value in row.items()}
