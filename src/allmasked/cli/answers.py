"""``allmasked predict``: answers for photos."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from allmasked.cli import options as opt
from allmasked.cli.rows import COLUMNS, FORMATS, Tally, format_for, output, with_bar, write
from allmasked.cli.rows import photos as photos_of
from allmasked.cli.scaling import engine_options, photos_far, predict_at_scale
from allmasked.cli.submission import chosen, write_submission
from allmasked.core import progress
from allmasked.core.text import printable
from allmasked.core.types import LABELS, Prediction
from allmasked.predictors.addresses import is_address
from allmasked.predictors.tiles import TILES

if TYPE_CHECKING:
    from allmasked.predictors.predictor import Look

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
"""What ``--annotated`` can write one picture as."""


def _labels(_ctx: click.Context, _param: click.Parameter, value: str | None) -> frozenset[str]:
    names = frozenset(name.strip() for name in (value or "").split(",") if name.strip())
    if wrong := sorted(names - set(LABELS)):
        raise click.BadParameter(f"{wrong[0]!r} is not one of {', '.join(LABELS)}")
    return names


def _on_this_machine(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and is_address(str(value).replace(":/", "://", 1)):  # a Path has one slash for two
        raise click.BadParameter("sorts into a folder of this machine; rows go to an address with --out")
    return value


@click.command("predict")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@opt.model
@click.option("--format", "kind", type=click.Choice([*FORMATS, "kaggle", "parquet"]),
              help="kaggle: the competition's Id,Category. Default: --out's suffix, else table on a terminal, csv"
              " otherwise; with --engine parquet (or csv).")  # fmt: skip
@click.option("--sample", metavar="FILE", type=opt.FILE,
              help="With --format kaggle: the competition's sample submission, whose photos must all be there and whose"
              " order is kept.")  # fmt: skip
@click.option("--out", metavar="FILE|DEST", help="Write here instead of to stdout; with --engine a folder or address.")
@engine_options
@click.option("--boxes", is_flag=True, help="Add the column faces: what each wears, score, edges in px (JSON in csv).")
@click.option("--annotated", "pictures", metavar="DIR|FILE",
              help="Write each photo with its faces and the verdict into this folder or to this address; one photo into"
              " this .jpg, .png or .webp.")  # fmt: skip
@click.option("--heat", is_flag=True, help="With --annotated: lay the evidence over the photo, too.")
@click.option("--sort", "sort_to", metavar="DIR", type=opt.FOLDER, callback=_on_this_machine,
              help="Copy each photo into DIR/all, none, some or nobody; into DIR/unsure or DIR/unreadable where that is"
              " so. DIR/predictions.csv says what is where.")  # fmt: skip
@opt.gathered("look", opt.look_of, opt.faces, click.option(
    "--tiles", default=TILES[0], type=click.Choice(TILES),
    help="Look again, closer, at five overlapping parts of a photo: for crowds and small faces, six times as slow for"
    " each such photo."))  # fmt: skip
@click.option("--unsure", is_flag=True, help="List only the answers that a person should look at.")
@click.option("--fail-on", metavar="LABELS", callback=_labels,
              help="Exit code 1 when one of these answers occurs, such as none,some.")  # fmt: skip
@opt.batch_size(32, 4096)
@opt.threads
@opt.device
@opt.null
@click.pass_context
def predict_command(
    ctx: click.Context, paths: tuple[str, ...], model: Path | None, kind: str | None, sample: Path | None,
    out: str | None, boxes: bool, pictures: str | None, heat: bool, sort_to: Path | None, look: Look, unsure: bool,
    fail_on: frozenset[str], batch_size: int, threads: int | None, device: str, null: bool, **_scale: Any,
) -> None:  # fmt: skip
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
    from allmasked.annotate import Sorted, write_annotated
    from allmasked.model import load
    from allmasked.predictors.addresses import clean, fetched, local_path, outgoing

    if heat and pictures is None:
        raise click.UsageError("--heat goes with --annotated DIR")
    if sample and kind != "kaggle":
        raise click.UsageError("--sample goes with --format kaggle")
    if kind == "kaggle" and (unsure or boxes):
        raise click.UsageError(f"{'--unsure' if unsure else '--boxes'} doesn't go with --format kaggle")
    if (code := predict_at_scale(ctx, lambda: stdin_lines(null), look)) is not None:
        ctx.exit(code)
    target = _file(out)
    kind = kind or format_for(target)
    pictures = pictures and local_path(pictures)
    sending = contextlib.ExitStack()
    ctx.call_on_close(sending.close)
    annotated, send = sending.enter_context(outgoing(pictures)) if pictures else (None, None)
    places = [str(place) for place in (pictures, sort_to) if place]
    far = photos_far(paths, lambda: stdin_lines(null))
    photos: Iterator[tuple[str, Any]] = given_photos(paths, null) if far is None else ((one.name, one) for one in far)
    photos = outside(photos, places)
    if kind == "kaggle":
        photos = iter(chosen(photos, sample))
    if annotated is not None and pictures:
        photos = _for_pictures(photos, annotated, pictures)
    opened = load(model, threads=threads, device=device)
    sorting = None if sort_to is None else Sorted(sort_to)
    tally, drawn = Tally(), 0

    found = opened.answered(photos if far is None else fetched(one for _, one in photos), batch_size, look)

    def predictions() -> Iterator[Prediction]:
        nonlocal drawn
        for answered in found:
            prediction = answered.prediction
            if prediction.label is not None and annotated is not None and send is not None:
                prediction, picture = write_annotated(answered, annotated, heat=heat)
                if picture is not None:
                    send(picture)
                    drawn += 1
            if sorting is not None:
                sorting.add(prediction, answered.photo)
            tally.add(prediction)
            if prediction.label is None and not (out is None and sys.stdout.isatty() and kind != "kaggle"):  # else seen
                progress.tell(f"{printable(prediction.path)}: {printable(prediction.error)}")
            yield prediction

    def total() -> int | None:
        return None if far is not None else count_photos(paths, places)

    columns = (*COLUMNS[:-1], "faces", "error") if boxes else COLUMNS
    answers = with_bar(predictions(), "predict", total, kind, target)
    try:
        if kind == "kaggle":
            write_submission(answers, target)
        else:
            rows = (one.to_dict(boxes=boxes) for one in answers if not unsure or not one.sure)
            with output(target) as stream:
                write(rows, kind, stream, columns)
    finally:
        if sorting is not None:
            sorting.close()
    sending.close()  # what can't be sent is told before anything else
    tally.tell()
    if pictures:
        progress.tell(f"drawn on: {photos_of(drawn)}, in {clean(pictures)}")
    if sorting is not None:
        progress.tell(str(sorting))
    _tell_other_photos(paths)
    failed = tally.labels["failed"]
    if kind == "kaggle" and failed:
        progress.tell(f"no submission was written: {photos_of(failed)} without an answer")
    ctx.exit(1 if failed or any(tally.labels[label] for label in fail_on) else 0)


def given_photos(paths: tuple[str, ...], null: bool) -> Iterator[tuple[str, str]]:
    """The photos that the command line stands for; no photo at all is wrong use, told before the model is loaded."""
    from allmasked.predictors.photo_files import find_photos

    photos = itertools.chain.from_iterable(
        find_photos(stdin_lines(null) if path == "-" else [path], patterns=path != "-") for path in paths
    )
    first = next(photos, None)
    if first is None:
        more = ", ..." if len(paths) > 3 else ""
        raise click.UsageError(f"no photo found in {', '.join(map(printable, paths[:3]))}{more}")
    return itertools.chain([first], photos)


def count_photos(paths: tuple[str, ...], places: Sequence[str] = ()) -> int | None:
    """How many photos the command line stands for, without those that lie in ``places``; None if they come by stdin
    or from an address."""
    from allmasked.predictors.addresses import is_far
    from allmasked.predictors.photo_files import find_photos

    if "-" in paths or any(map(is_far, paths)):
        return None
    return sum(1 for _ in outside(find_photos(paths), places))


def outside(photos: Iterator[tuple[str, Any]], places: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Photos, each by name with its path or as an item of a listing, that don't lie where pictures are being written;
    if all do, that is wrong use."""
    from allmasked.predictors.addresses import clean

    if not places:
        return photos
    ours = tuple(
        f"{place.rstrip('/')}/" if is_address(place) else os.path.join(_full(place), "")  # noqa: PTH118
        for place in places
    )
    kept = ((name, one) for name, one in photos if not _full(one).startswith(ours))
    first = next(kept, None)
    if first is None:
        shown = " or ".join(printable(clean(place)) for place in places)
        raise click.UsageError(f"every photo lies in {shown}, which is to be written to")
    return itertools.chain([first], kept)


def _full(place: Any) -> str:
    """An address, or the path in full, of a folder, a photo, or an item of a listing."""
    place = place if isinstance(place, str) else str(place.place)
    return place if is_address(place) else os.path.realpath(place)


def _for_pictures(photos: Iterator[tuple[str, Any]], annotated: Path, given: str) -> Iterator[tuple[str, Any]]:
    """The photos, of which there must be one, and another, where ``--annotated`` names a picture."""
    from allmasked.annotate import is_picture
    from allmasked.predictors.addresses import clean

    what = f"--annotated {clean(given)}"
    if annotated.is_file() and not is_picture(annotated):
        raise click.UsageError(f"{what}: is a file; name a folder")
    if not is_picture(annotated):
        return photos
    if annotated.suffix.lower() not in PICTURES:
        raise click.UsageError(f"{what}: end it in {', '.join(PICTURES)}, or name a folder")
    first, *more = itertools.islice(photos, 2)
    if more:
        raise click.UsageError(f"{what}: is one picture, but there are more photos; name a folder")
    if _full(given) == _full(first[1]):
        raise click.UsageError(f"{what}: is the photo itself; name another file")
    return iter([first])


def stdin_lines(null: bool) -> Iterator[str]:
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


def _tell_other_photos(paths: tuple[str, ...]) -> None:
    """A line for the photos in the folders given whose ending is not read."""
    from allmasked.data.albums import other_photos
    from allmasked.images.pixels import OTHER_SUFFIXES

    kinds: dict[str, list[Path]] = {}
    others: dict[str, list[Path]] = {}
    folders = [Path(path) for path in paths if os.path.isdir(path)]  # noqa: PTH112
    for reason, file in (one for folder in folders for one in other_photos(folder)):
        known = file.suffix.lower() in OTHER_SUFFIXES
        (kinds if known else others).setdefault(file.suffix.lower() if known else reason, []).append(file)
    if kinds:
        files = sorted(file for some in kinds.values() for file in some)
        told = f"{len(files):,} photos of other kinds ({', '.join(sorted(kinds))}), such as {printable(str(files[0]))}"
        progress.tell(f"not read: {told}: save them as JPEG or PNG")
    for reason, files in others.items():
        such = printable(str(files[0]))
        progress.tell(f"not read: {len(files):,} files, such as {such}, being {reason}")
