"""``allmasked explain``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from allmasked.cli import options as opt
from allmasked.cli.answers import count_photos, given_photos, outside, stdin_lines
from allmasked.cli.rows import COLUMNS, FORMATS, Row, Tally, format_for, output, print_table, with_bar, write
from allmasked.cli.scaling import here, photos_far
from allmasked.core import progress
from allmasked.core.errors import RunError
from allmasked.core.text import printable
from allmasked.core.types import CLASSES, Class
from allmasked.explaining.maps import EXPLAINERS

if TYPE_CHECKING:
    from allmasked.core.types import Photo
    from allmasked.explaining.faithfulness import Faithfulness


@click.command("explain")
@click.argument("paths", nargs=-1, metavar="PATH...")
@opt.model
@click.option("--explainer", "explainers", multiple=True, type=click.Choice([*EXPLAINERS, "all"]),
              help="Which heat map; with --score as often as wanted.  [default: evidence where the model makes it, else"
              " grad-cam; with --score: all]")  # fmt: skip
@click.option("--class", "wanted", type=click.Choice(CLASSES), help="Class to explain; default: the predicted one.")
@click.option("--out", metavar="DIR|FILE",
              help="Folder, or address of one, for the pictures; with --score a JSON file.")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(FORMATS),
              help="Default: table on a terminal, csv otherwise (json with --score).")  # fmt: skip
@click.option("--score", "data", metavar="DATA|split.json",
              help="Measure faithfulness on these photos instead.")  # fmt: skip
@click.option("--on", "part", type=opt.PARTS, default="test", help="With --score: the part.")
@click.option("--photos", "count", type=click.IntRange(1), default=50, help="With --score: photos, drawn at random.")
@click.option("--seed", type=opt.SEED, default=0, help="With --score: seed of the draw and of the random map.")
@opt.null
@click.pass_context
def explain_command(
    ctx: click.Context, paths: tuple[str, ...], model: Path | None, explainers: tuple[str, ...], wanted: Class | None,
    out: str | None, kind: str | None, data: str | None, null: bool, **score: Any,
) -> None:  # fmt: skip
    """Show where in each photo the answer comes from: heat map overlays, and all photos on one page (grid.png).

    PATH is as for predict. The title of a photo in the grid is the predicted label and its probability, and the true
    label where the photo's folder is called all, none or some.

    With --score, measure on labelled photos how faithful the heat maps are: deletion AUC (low is good), insertion AUC
    (high is good) and, where boxes are known, the pointing game; each beside a random map, with 95 % intervals.
    """
    from allmasked.predictors.addresses import outgoing

    if data is not None:
        if paths:
            raise click.UsageError("--score takes its photos from DATA; leave out PATH")
        if wanted:
            raise click.UsageError("--class doesn't go with --score, which takes each photo's likeliest")
        with outgoing(out or "") as (file, _):
            failed = _score(model, here(data), explainers or ("all",), kind, file if out else None, **score)
    else:
        for name, option in (("part", "--on"), ("count", "--photos"), ("seed", "--seed")):
            if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{option} goes with --score")
        if not paths:
            raise click.UsageError("PATH is missing: photos to explain (or --score DATA)")
        if out is None:
            raise click.UsageError("--out DIR is missing: the folder for the pictures")
        if len(explainers) > 1 or "all" in explainers:
            raise click.UsageError("several explainers go with --score only; name one here")
        failed = _explain(model, paths, "".join(explainers), wanted, out, kind or format_for(None), null)
    ctx.exit(1 if failed else 0)


def _explain(
    model: Path | None, paths: tuple[str, ...], explainer: str, wanted: Class | None, out: str, kind: str, null: bool
) -> int:
    from allmasked.explaining.ensemble_heat import heat_of
    from allmasked.predictors.addresses import Folder, Item, clean, is_address, local_path
    from allmasked.predictors.predictor import open_predictor

    out = local_path(out)
    if is_address(out):
        Folder(out)  # what is wrong with it is told first
    if Path(out).is_file():
        raise click.UsageError(f"--out {out}: is a file; give a folder for the pictures")
    far = photos_far(paths, lambda: stdin_lines(null))
    photos = given_photos(paths, null) if far is None else ((one.name, one) for one in far)
    photos = outside(photos, [out])  # pictures would take the place of photos, or be taken for some
    items = (one if isinstance(one, Item) else Item(name, one) for name, one in photos)
    tally = Tally()

    def rows() -> Iterator[Row]:
        for explanation, picture in heat_of(open_predictor(model), items, out, explainer, wanted):
            prediction = explanation.prediction
            tally.add(prediction)
            extra = {"explained": explanation.explained, "picture": str(picture) if picture else None}
            yield {**prediction.to_dict(boxes=False), **extra}

    columns = (*COLUMNS[:-1], "explained", "picture", "error")
    with output(None) as stream:
        write(with_bar(rows(), "explain", lambda: count_photos(paths, [out]), kind, None), kind, stream, columns)
    tally.tell()
    if tally.labels.total() > tally.labels["failed"]:
        progress.tell(f"pictures and grid.png in {clean(out)}")
    return tally.labels["failed"]


def _score(
    model: Path | None, data: Path, explainers: tuple[str, ...], kind: str | None, out: Path | None, part: Any,
    count: int, seed: int,
) -> int:  # fmt: skip
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
    drawn = sample(photos, count, seed)
    rows, broken = measure(cut, drawn, root, predictor.input.resize_mode, explainers=names, seed=seed)
    report = {
        "model": predictor.name,
        "data": str(data),
        "part": part,
        "photos": rows[0].photos,
        "seed": seed,
        "class_score": cut.score,
        "explainers": {values.pop("explainer"): values for values in map(dataclasses.asdict, rows)},
        "failed": [{"path": error.path, "error": error.reason} for error in broken],
    }
    if out is not None:
        write_json(out, report)
    kind = kind or ("table" if sys.stdout.isatty() or out is not None else "json")
    with output(None) as stream:
        if kind == "json":
            stream.write(json.dumps(report, indent=1) + "\n")
        else:
            title = f"{part} photos: {rows[0].photos}; class score: {cut.score}"
            print_table(lambda _width: _faithfulness_table(rows, title), stream)
    for error in broken:
        progress.tell(printable(str(error)))
    return len(broken)


def _labelled(data: Path, part: Any) -> tuple[Path, list[Photo], str]:
    """The photos of a part of a split.json, or all of a data set; and what to call them."""
    from allmasked.data.dataset import is_split, load_photos

    split = load_photos(data)
    if is_split(data):
        return split.root, list(split.part(part)), part
    return split.root, list(split.photos), "all parts"


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
