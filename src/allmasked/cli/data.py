"""``allmasked inspect``, ``split`` and ``extend``: data sets looked at and divided; ``cache``: their decoded photos."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import AbstractContextManager as ContextManager
from pathlib import Path
from typing import Any

import click

from allmasked.cli import options as opt
from allmasked.cli.scaling import here, reading_engine
from allmasked.core.errors import ConfigError
from allmasked.core.progress import Spread, stderr, tell
from allmasked.core.types import LABELS, NOBODY, PARTS, Split
from allmasked.data.readers import READERS, Options

LOOKED_AT = 5000
"""Up to this many photos ``inspect`` lets the model look unasked: one to three minutes on two processors."""


def parse_names(text: str | None, option: str) -> dict[str, str] | None:
    """``a=x,b=y`` as a table; raises :class:`ConfigError` naming the option."""
    if text is None:
        return None
    pairs = re.findall(r"[\s,]*(.+?)\s*=\s*([A-Za-z]+)\s*(?:,|$)|(.+)", text.strip())  # a name may hold "," and "="
    for _, _, rest in pairs:
        if rest:
            raise ConfigError(f"{option} {text!r}: {rest!r} is not NAME=MEANING")
    table: dict[str, str] = {}
    for name, meaning, _ in pairs:
        if table.setdefault(name, meaning.lower()) != meaning.lower():
            raise ConfigError(f"{option}: {name!r} is given as {table[name]} and as {meaning.lower()}")
    return table


def _options(layout: str | None, classes: str | None, wear: str | None, incorrect_is: Any) -> Options:
    return Options(layout, parse_names(classes, "--classes"), parse_names(wear, "--wear"), incorrect_is)


reading_options = opt.gathered(
    "options", _options,
    click.option("--layout", metavar="NAME",
                 help=f"Layout of DATA: {', '.join(READERS)}.  [default: the first that fits]"),
    click.option("--classes", metavar="NAME=CLASS,...",
                 help="What class folders or labels mean: all, none, some, nobody, or ignore."),
    click.option("--wear", metavar="NAME=WEAR,...",
                 help="What a detection set's classes mean: masked, bare, incorrect, unknown, or ignore."),
    click.option("--incorrect-is", type=click.Choice(["masked", "bare"]), default="bare",
                 help="What a mask worn incorrectly counts as in labels."),
)  # fmt: skip
"""How DATA is read, as ``options``."""


split_file = click.option("--out", type=opt.FILE_OR_ADDRESS, required=True,
                          help="The split.json to write, or its address.")  # fmt: skip


@click.command("split")
@click.argument("data", type=click.Path())
@split_file
@click.option("--seed", type=opt.SEED, default=0)
@click.option("--validation", type=opt.SHARE, default=0.15, help="Share of the photos.")
@click.option("--test", type=opt.SHARE, default=0.2, help="Share of the photos.")
@click.option("--test-source", default="", metavar="PATTERN", show_default=False,
              help="Photos whose names match, and only they, are the test part, as if another had collected them:"
              " 'fmd_*'.")  # fmt: skip
@click.option("--parts", type=click.Choice(["made", "given"]), default="made",
              help="given: keep those that DATA brings (train, valid, test), copies across them too.")  # fmt: skip
@click.option("--relabel", type=opt.FILE, metavar="FILE.csv",
              help="Mended labels (path,label), as 'allmasked view' writes them; they count in place of"
              " DATA's.")  # fmt: skip
@reading_options
@reading_engine
def split_command(
    data: str, out: str, test_source: str, parts: str, options: Options, spread: ContextManager[Spread], **asked: Any
) -> int:
    """Divide DATA, a data set or its address (s3://...), into train, validation and test and write it to a split.json.

    Copies of one photo, augmented ones too, and pictures of one scene stay in one part; of exact duplicates one is
    kept; copies whose labels disagree are left out. Everything else takes the split.json in place of DATA.
    """
    from allmasked.cli.estimates import tell_splitting
    from allmasked.data.dataset import is_split, load_split

    root = here(data)
    if is_split(root):
        raise ConfigError(f"{data}: is a split already; give the data set it was made from")
    if test_source and parts == "given":
        raise ConfigError("--test-source makes a test part and --parts given keeps one; give one of them")
    tell_splitting(root)
    given = {"options": options, "test_source": test_source, "keep_parts": parts == "given", **asked}
    with spread as reader:
        return _keep(load_split(root, spread=reader, **given), out, data)


@click.command("extend")
@click.argument("split_file", metavar="SPLIT", type=opt.PATH)
@click.argument("data", nargs=-1, type=click.Path())
@split_file
@click.option("--photos", "most", type=click.IntRange(1), help="At most this many of each DATA, drawn at random.")
@click.option("--keep", type=opt.SHARE, default=1.0,
              help="Share of SPLIT's own training photos that stay, drawn at random: for learning curves.")  # fmt: skip
@reading_options
def extend_command(
    split_file: Path, data: tuple[str, ...], out: str, most: int | None, keep: float, options: Options
) -> int:
    """Add the photos of each DATA to the training part of SPLIT, a split.json, and write a new one.

    Validation and test stay as they are, and nothing that shows the same as one of their photos is added. Besides all,
    none and some, DATA may have a folder nobody: photos without people, which the head evidence learns from.

    With --keep 0.2 only a fifth of SPLIT's own training photos stays, with --keep 0 only what DATA adds.
    """
    from allmasked.data.dataset import read_split
    from allmasked.data.extending import extend_split

    if not data and keep == 1:
        raise click.UsageError("nothing to do: give further DATA, or --keep with a share below 1")
    if not data and keep == 0:
        raise click.UsageError("nothing to train on would remain: give further DATA beside --keep 0")
    return _keep(extend_split(read_split(split_file), [here(one) for one in data], options, most=most, keep=keep), out)


def _keep(split: Split, out: str, data: str = "") -> int:
    """Write a split and tell of it; the exit code, 1 where a photo could not be read."""
    from allmasked.predictors.addresses import clean
    from allmasked.scale.copies import write_split_to

    write_split_to(split, out, data)
    print_split(split, clean(out))
    return 1 if any(photo.part == "left_out" and photo.group < 0 for photo in split.photos) else 0


def print_split(split: Split, out: str) -> None:
    """A table of the split on stderr, and what was left out and why."""
    from rich.table import Table

    from allmasked.data.dataset import told_of_absent

    table = Table("class", *(part.replace("_", " ") for part in PARTS), "all parts")
    for column in table.columns[1:]:
        column.justify = "right"
    count: Counter[tuple[str, str]] = Counter((photo.label, photo.part) for photo in split.photos)
    for label in LABELS:
        row = [count[label, part] for part in PARTS]
        if label == NOBODY and not any(row):
            continue
        table.add_row(label, *(f"{number:,}" for number in (*row, sum(row))))
    table.add_section()
    totals = [len(split.part(part)) for part in PARTS]
    table.add_row("photos", *(f"{number:,}" for number in (*totals, sum(totals))))
    groups = [len({photo.group for photo in split.part(part) if photo.group >= 0}) for part in PARTS]
    all_groups = len({photo.group for photo in split.photos if photo.group >= 0})
    table.add_row("groups", *(f"{number:,}" for number in groups), f"{all_groups:,}")
    stderr.print(table)
    if mended := split.settings.get("relabelled"):
        assert isinstance(mended, list)
        tell(f"labels mended: {len(mended):,} ({_few([one['path'] for one in mended])})")
    reasons: dict[str, list[str]] = {}
    kinds = ("labels disagree", "exact duplicate", "shows the same", "not among", "nobody is there")
    for photo in split.part("left_out"):
        kind = next((kind for kind in kinds if photo.reason.startswith(kind)), "")
        reasons.setdefault(kind, []).append(photo.path)
        if not kind:
            tell(f"{photo.path}: {photo.reason}")
    for kind, paths in sorted(reasons.items()):
        tell(f"left out, {kind or 'unreadable'}: {len(paths):,} ({_few(paths)})")
    skipped = split.settings.get("skipped")
    if isinstance(skipped, list) and skipped:
        stderr.print(f"not used: {len(skipped):,}")
        for problem in skipped[:5]:
            tell(f"  {problem['path']}: {problem['reason']}")
        if len(skipped) > 5:
            stderr.print("  ...")
    twins = split.settings.get("twins")
    if isinstance(twins, dict) and twins.get("scenes"):
        stderr.print(
            f"warning: {twins['copies']:,} photos have a twin in another part (a copy or an augmented one) and "
            f"{twins['scenes'] - twins['copies']:,} more show a scene that is in another part: figures of these parts "
            "are too good; without --parts given none crosses"
        )
    for sentence in told_of_absent(split):
        tell(f"warning: {sentence}")
    tell(f"written to {out}: every photo, and why one was left out")


def _few(names: list[str], few: int = 3) -> str:
    return ", ".join(names[:few]) + (", ..." if len(names) > few else "")


@click.command("inspect")
@click.argument("data", type=click.Path())
@click.option("--json", "json_file", type=opt.FILE_OR_ADDRESS,
              help="Write all that was found as JSON to this file or address; - for stdout.")  # fmt: skip
@click.option("--html", type=opt.FILE_OR_ADDRESS, help="Write a page with thumbnails to this file or address.")
@click.option("--look/--no-look", default=None,
              help="Let the model that ships look at every photo, for faces that nobody marked and labels that it"
              f" contradicts. [default: up to {LOOKED_AT:,} photos; it looks at 25 to 80 a second]")  # fmt: skip
@reading_options
@reading_engine
def inspect_command(
    data: str, json_file: str | None, html: str | None, look: bool | None, options: Options,
    spread: ContextManager[Spread],
) -> int:  # fmt: skip
    """Show what is in DATA, a data set or its address (s3://...), and what is wrong with it.

    Classes and their balance, sizes, broken files, exact and near duplicates and those whose labels disagree, poor
    photos, whether a photo's size gives its class away, and what the model that ships sees otherwise than the labels
    and marked faces say. Exits with 1 when a photo cannot be read.
    """
    import json

    from rich.console import Console

    from allmasked.core.runs import write_json
    from allmasked.core.types import Predictor
    from allmasked.inspection.inspect import inspect
    from allmasked.predictors.addresses import outgoing
    from allmasked.predictors.predictor import open_predictor
    from allmasked.reports.inspection_page import make_page, show

    def looks(photos: int) -> Predictor | None:
        if look is None and photos > LOOKED_AT:
            stderr.print(f"the model doesn't look at {photos:,} photos unless asked to: --look")
        return open_predictor() if look or (look is None and photos <= LOOKED_AT) else None

    with spread as reader:
        found = inspect(here(data), options=options, looks=looks, spread=reader)
    if json_file == "-":
        click.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        show(found, Console())
        if json_file:
            with outgoing(json_file) as (file, _):
                write_json(file, found.to_json())
    if html:
        with outgoing(html) as (file, _):
            make_page(found, file)
    return 1 if found.broken else 0


@click.command("cache")
@click.argument("what", type=click.Choice(["show", "clear"]), default="show")
@click.option("--cache", "folder", type=opt.PATH, help="The folder, where train was given one with --cache.")
def cache_command(what: str, folder: Path | None) -> None:
    """Show where decoded photos lie and how much they take, or clear them.

    'train' decodes each photo once and keeps it for the next training. All sets together stay below 20 GB, or as many
    as the environment variable ALLMASKED_CACHE_GB says: before a new one is made, those not used for longest go. A set
    that a running training uses stays, whatever the limit, and so it does here. ALLMASKED_CACHE names another folder.
    Data sets at addresses are copied there, too, and stay until they are cleared.
    """
    import shutil
    import time

    from allmasked.data import cache

    if folder is not None and not folder.is_dir():
        raise click.UsageError(f"{folder}: no such folder")
    folder = folder or cache.default_folder()
    if folder.exists() and not folder.is_dir():
        raise click.UsageError(f"{folder}: is a file; ALLMASKED_CACHE must name a folder")
    limit, found = cache.limit_bytes() / cache.GB, cache.entries(folder)
    copies = folder / cache.COPIES
    if what == "clear":
        gone = [entry for entry in found if cache.remove(folder, entry)]
        size = sum(entry.size_bytes for entry in gone) / cache.GB
        kept = len(found) - len(gone)
        click.echo(f"{folder}: {len(gone):,} of {len(found):,} sets of decoded photos removed, {size:.1f} GB")
        if kept:
            click.echo(f"{kept:,} in use by a running training stayed")
        for other in (copies, folder / cache.PAIRS):
            if other.is_dir():
                shutil.rmtree(other)
                click.echo(f"{other}: removed")
        return
    size = sum(entry.size_bytes for entry in found) / cache.GB
    click.echo(f"{folder}: {len(found):,} sets of decoded photos, {size:.1f} GB of at most {limit:g} GB")
    for entry in reversed(found):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        using = "  in use" if cache.in_use(folder, entry.key) else ""
        click.echo(f"{entry.size_bytes / cache.GB:9.2f} GB  last used {when}  {entry.key}{using}")
    if copies.is_dir():
        size = sum(path.stat().st_size for path in copies.rglob("*") if path.is_file()) / cache.GB
        click.echo(f"{size:9.2f} GB  copies of data sets at addresses, in {copies}")
