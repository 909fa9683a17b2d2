"""Copies of the photos of splits, as small as a training reads them, in parts to send to another machine.

    python scripts/pack.py SPLIT... --out FOLDER [--size 640x480] [--part-mb 56]

FOLDER gets ``<split's name>.json`` for each split, with the photos of its parts train and validation only, and
``part-01.tar``, ``part-02.tar``, ... with the copies, WebP; a photo of several splits is copied once. On the other
machine unpack all of it into one folder, and train as here:

    for part in part-*.tar; do tar xf $part; done
    KERAS_BACKEND=jax allmasked train fold_a.json --recipe recipe.toml --head evidence --out runs/fold_a

``--size`` is the largest that training reads: with frames five quarters of the recipe's ``size``.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import tarfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path

from PIL import Image

from allmasked.core.config import parse_size
from allmasked.core.errors import AllmaskedError, RunError
from allmasked.core.progress import track
from allmasked.core.types import Face, InputSpec, Photo, Size, Split
from allmasked.data.cache import content_of
from allmasked.data.dataset import read_split, write_split
from allmasked.images.pixels import read

QUALITY = 84
"""Of the copies: about half of a JPEG's size at an equal look."""


@dataclasses.dataclass(frozen=True)
class Copy:
    """What the other machine gets of a photo."""

    width: int
    height: int
    sha256: str


def copy_of(split: Split, most: Size, photo: Photo) -> tuple[Copy, bytes]:
    """The copy and its file."""
    assert photo.width and photo.height
    scale = min(1.0, most[0] / photo.width, most[1] / photo.height)
    width, height = (max(1, round(side * scale)) for side in (photo.width, photo.height))
    pixels = read(content_of(split, photo), InputSpec((width, height), "stretch"), name=photo.path)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY)
    return Copy(width, height, sha256(file.getvalue()).hexdigest()), file.getvalue()


def path_of(photo: Photo) -> str:
    return f"photos/{photo.sha256[:2]}/{photo.sha256[:20]}.webp"


def as_copied(photo: Photo, copy: Copy) -> Photo:
    """The photo as it will be on the other machine, faces to scale."""
    assert photo.width and photo.height
    x, y = copy.width / photo.width, copy.height / photo.height
    faces = photo.faces and tuple(
        Face(face.wear, *(round(v, 2) for v in (face.left * x, face.top * y, face.right * x, face.bottom * y)))
        for face in photo.faces
    )
    size = {"width": copy.width, "height": copy.height}
    return dataclasses.replace(photo, path=path_of(photo), sha256=copy.sha256, faces=faces, **size)  # type: ignore[arg-type]


class Parts:
    """Archives of at most ``most`` bytes each."""

    def __init__(self, out: Path, most: int) -> None:
        self.out, self.most, self.number, self.size = out, most, 0, most
        self.archive: tarfile.TarFile | None = None

    def add(self, path: str, content: bytes) -> None:
        if self.archive is None or self.size + len(content) > self.most:
            self.close()
            self.number, self.size = self.number + 1, 0
            self.archive = tarfile.open(self.out / f"part-{self.number:02d}.tar", "w")  # noqa: SIM115
        entry = tarfile.TarInfo(path)
        entry.size = len(content)
        self.archive.addfile(entry, io.BytesIO(content))
        self.size += len(content) + 1024

    def close(self) -> None:
        if self.archive:
            self.archive.close()


def pack(splits: dict[str, Split], out: Path, most: Size, part_bytes: int) -> int:
    """Write everything; gives the number of parts. The splits are of one root."""
    if len({split.root for split in splits.values()}) > 1:
        raise RunError("the splits are of several folders of photos; give splits of one")
    out.mkdir(parents=True, exist_ok=True)
    kept = {name: [p for p in split.photos if p.part in ("train", "validation")] for name, split in splits.items()}
    once = {path_of(photo): photo for photos in kept.values() for photo in photos}
    rootless = dataclasses.replace(next(iter(splits.values())), photos=())
    parts, copies = Parts(out, part_bytes), dict[str, Copy]()
    with ProcessPoolExecutor() as pool:
        made = pool.map(partial(copy_of, rootless, most), once.values(), chunksize=16)
        for path, (copy, content) in zip(once, track(made, "packing", len(once))):
            copies[path] = copy
            parts.add(path, content)
    parts.close()
    for name, split in splits.items():
        there = {path_of(photo): as_copied(photo, copies[path_of(photo)]) for photo in kept[name]}
        photos = tuple(there[path] for path in sorted(there))
        write_split(dataclasses.replace(split, root=out, photos=photos), out / f"{name}.json")
    return parts.number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--part-mb", default=56.0, type=float)
    options = parser.parse_args()
    try:
        splits = {path.stem: read_split(path) for path in options.split}
        parts = pack(splits, options.out, parse_size(options.size), int(options.part_mb * 1e6))
    except AllmaskedError as error:
        parser.error(str(error))
    print(f"{options.out}: {parts} parts of at most {options.part_mb:g} MB, {', '.join(splits)}")


if __name__ == "__main__":
    main()
