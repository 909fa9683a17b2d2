"""Copies of the same photo: re-encoded, resized, lightly cropped, recoloured or mirrored.

The search has three steps, none of them quadratic in the number of photos:

1. :func:`describe`: each photo becomes a grey thumbnail of 128 x 128 px (stretched, so that a crop or a resize is a
   scaling and a shift) beside the SHA-256 of its file.
2. Candidates: the lowest 8 x 8 frequencies of the thumbnail's DCT without the first, of length 1 (as in perceptual
   hashing: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, but without rounding
   to bits), go into an HNSW graph (Malkov and Yashunin, arXiv:1603.09320; faiss). Each photo asks it with the same
   frequencies of several windows, so that a crop finds the whole, and of their mirror images. The more photos, the
   more of them resemble one by chance, so the window is moved to where it fits best and those are dropped that no
   small warp makes equal (tangent distance: Simard, Le Cun and Denker, "Efficient pattern recognition using a new
   transformation distance", NIPS 1992), the frequencies weighted so that the fine count as much as the coarse.
3. Each of the few left is registered by ECC (Evangelidis and Psarakis, "Parametric image alignment using enhanced
   correlation coefficient maximization", PAMI 2008; OpenCV) from coarse to fine. Where the two overlap, tile by tile,
   their structure is compared (the structure term of SSIM: Wang et al., TIP 2004), which brightness, contrast and
   colour shifts leave alone. In a copy nearly every tile agrees; in another picture of the same scene those with
   people don't.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from allmasked.core.errors import PhotoError, RunError, require
from allmasked.core.progress import Spread, on_threads, track
from allmasked.core.runs import read_json, write_json
from allmasked.data.cache import PAIRS, default_folder
from allmasked.images import pixels

Kind = Literal["exact", "copy", "crop", "mirrored", "scene", "source"]
"""``exact``: the same bytes. ``copy``: the same frame. ``crop``: one shows a part of the other. ``mirrored``: a copy or
crop with left and right exchanged. ``scene``: not the same photo, but most of it is: the next picture of a still
camera, or a copy that was painted over. ``source``: of one photo or video by their names
(:mod:`allmasked.data.siblings`). The first four are near-duplicates; all are kept in one part of a split."""

COPIES: tuple[Kind, ...] = ("exact", "copy", "crop", "mirrored")
"""Kinds of pairs that show the same photo."""

THUMBNAIL_PX = 128
FREQUENCIES = 8
TILE_PX = 16
IN_MEMORY_BYTES = 1_000_000_000
"""What is larger (thumbnails of 61,000 photos) lies in a temporary file of the cache folder."""

_INTERVALS = ((0.0, 1.0), (0.0, 0.85), (0.15, 1.0), (0.08, 0.92), (0.0, 0.68), (0.16, 0.84), (0.32, 1.0))
"""Start and end of a window in shares of the side; the first four are light crops, the others heavy ones."""
WINDOWS: tuple[tuple[int, int], ...] = tuple(itertools.product(range(7), range(7)))
"""The windows each photo asks with: (across, down) into ``_INTERVALS``."""
_BOXES = np.array([(_INTERVALS[x][0], _INTERVALS[y][0], _INTERVALS[x][1], _INTERVALS[y][1]) for x, y in WINDOWS])
_QUESTIONS = (
    *((number, False) for number in range(len(WINDOWS))),
    *((number, True) for number, window in enumerate(WINDOWS) if max(window) < 4),  # mirrored: light crops only
)

NEIGHBOURS = 16
MAX_RESEMBLING, MAX_CANDIDATES = 32, 16
"""Of so many that resemble a photo at first sight, so many are registered."""
MIN_COSINE, MIN_COSINE_MIRRORED = 0.8, 0.9
MIN_LIKENESS = 0.7
"""Candidates below this cosine of their frequencies, or below this :func:`likeness`, are not registered."""

COPY_TENTH = 0.87
"""A copy's tiles: at least 90 % of them agree to this."""
COPY_FIFTIETH = 0.96
"""Photos of the same size in px agree to this in 98 % of their tiles, or they may be the next picture of a still
camera: a plain re-encoding keeps everything, and an edited or cropped copy seldom keeps its size."""
SCENE_HALF = 0.95
"""A scene: at least half of the tiles that show anything agree to this."""
SCENE_HALF_STILL, STILL_OVERLAP, STILL_SHOWING = 0.9, 0.9, 80
"""Photos of the same size in px that share so much of their picture, and so many tiles that show anything, are a scene
where half of these agree to a little less: people have walked on before a still camera."""

_VERSION = 5  # of the search; part of the key of remembered pairs


@dataclass(frozen=True, eq=False)
class Descriptor:
    """What the search knows of a photo. ``width`` and ``height`` px upright; ``thumbnail`` (128, 128) uint8 grey."""

    sha256: str
    width: int
    height: int
    thumbnail: NDArray[np.uint8]


class Pair(NamedTuple):
    """Two photos by index, a < b. ``score`` 0-1: how well the worst tenth of the tiles agrees (1: the same)."""

    a: int
    b: int
    score: float
    kind: Kind


def describe_one(path: str | Path) -> Descriptor:
    """The descriptor of one photo, in a few milliseconds. Raises :class:`PhotoError`."""
    path = Path(path)
    try:
        if not path.is_file():  # a pipe would be waited for
            raise OSError
        content = path.read_bytes()
    except OSError:
        pixels.decode(path)  # says what is wrong
        raise PhotoError(str(path), "cannot be read") from None
    image = pixels.decode(content, name=str(path), fit_within=(THUMBNAIL_PX, THUMBNAIL_PX))
    width, height = pixels.upright_size(content)
    grey = image.convert("L").resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BICUBIC)
    return Descriptor(hashlib.sha256(content).hexdigest(), width, height, np.asarray(grey, dtype=np.uint8))


def describe(paths: Sequence[str | Path], spread: Spread = on_threads) -> list[Descriptor | PhotoError]:
    """Descriptors of photos, on all cores or as ``spread`` has it; for a photo that can't be read, the error."""
    thumbnails = _room((len(paths), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    found: list[Descriptor | PhotoError] = []
    for index, one in enumerate(spread(_attempt, paths, "reading photos")):
        if isinstance(one, Descriptor):
            thumbnails[index] = one.thumbnail
            one = dataclasses.replace(one, thumbnail=thumbnails[index])
        found.append(one)
    return found


def _attempt(path: str | Path) -> Descriptor | PhotoError:
    try:
        return describe_one(path)
    except PhotoError as error:
        return error


def _room(shape: tuple[int, ...], kind: type[np.generic]) -> NDArray[Any]:
    """An array; one of more than :data:`IN_MEMORY_BYTES` in a temporary file, which the system keeps in what memory is
    free."""
    if math.prod(shape) * np.dtype(kind).itemsize <= IN_MEMORY_BYTES:
        return np.empty(shape, kind)
    default_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=default_folder()) as file:  # gone with the array; /tmp may be memory
        return np.memmap(file, kind, "w+", shape=shape)


def near_duplicates(descriptors: Sequence[Descriptor], *, remember: bool = False) -> list[Pair]:
    """All pairs of copies and of pictures of one scene, sorted by index.

    Args:
        descriptors: of readable photos.
        remember: keep the pairs in the user's cache folder and take them from there for the same photos next time.
    """
    digest = hashlib.sha256(f"{_VERSION}\n".encode() + "\n".join(d.sha256 for d in descriptors).encode()).hexdigest()
    file = default_folder() / PAIRS / f"{digest[:32]}.json"
    if remember:
        try:
            return [Pair(*pair) for pair in read_json(file)]
        except (RunError, OSError, TypeError):
            pass
    copies: dict[str, list[int]] = {}
    for index, descriptor in enumerate(descriptors):
        copies.setdefault(descriptor.sha256, []).append(index)
    classes = list(copies.values())
    pairs = [Pair(a, b, 1.0, "exact") for members in classes for a, b in _pairs_of(members)]
    for a, b, score, kind in _search([descriptors[members[0]] for members in classes]):
        few = len(classes[a]) * len(classes[b]) <= 100
        for x, y in itertools.product(classes[a], classes[b]) if few else [(classes[a][0], classes[b][0])]:
            pairs.append(Pair(min(x, y), max(x, y), score, kind))
    pairs.sort()
    if remember:
        with contextlib.suppress(OSError):  # a cache that can't be written is no reason to fail
            write_json(file, pairs)
    return pairs


def _pairs_of(members: Sequence[int]) -> Iterable[tuple[int, int]]:
    """All pairs of a few exact copies; of many, each with the first."""
    return itertools.combinations(members, 2) if len(members) <= 10 else ((members[0], other) for other in members[1:])


def groups(count: int, pairs: Iterable[Pair], kinds: Iterable[Kind] | None = None) -> list[int]:
    """Number of the group of each of ``count`` photos: those joined by pairs (of ``kinds``), directly or in a chain.

    Groups are numbered from 0 in the order of their first photo.
    """
    wanted = None if kinds is None else set(kinds)
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for a, b, _, kind in pairs:
        if wanted is None or kind in wanted:
            x, y = root(a), root(b)
            parent[max(x, y)] = min(x, y)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(index), len(numbers)) for index in range(count)]


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """OpenCV with one thread a call: the photos are spread over the cores, not each photo."""
    cv2 = require("cv2", "data")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _search(descriptors: Sequence[Descriptor]) -> list[Pair]:
    """Near-duplicates among photos of different content."""
    told = [index for index, d in enumerate(descriptors) if d.thumbnail.std() >= 2.0]  # not blank
    if len(told) < 2:
        return []
    found = candidates([descriptors[index].thumbnail for index in told])
    best: dict[tuple[int, int], Pair] = {}

    def check(rows: NDArray[np.int64]) -> list[Pair | None]:
        pairs = ((told[a], told[b], window, bool(mirrored)) for a, b, window, mirrored in rows.tolist())
        return [compare(descriptors[a], descriptors[b], window, mirrored, a, b) for a, b, window, mirrored in pairs]

    parts = np.array_split(found, len(found) // 256 + 1)
    with one_thread_each(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for pair in itertools.chain.from_iterable(track(pool.map(check, parts), "comparing", len(parts))):
            if pair is not None:
                known = best.get((pair.a, pair.b))
                if known is None or (known.kind == "scene", -known.score) > (pair.kind == "scene", -pair.score):
                    best[pair.a, pair.b] = pair
    return sorted(best.values())


# --- candidates -------------------------------------------------------------------------------------------------------


def frequencies(
    thumbnails: NDArray[np.uint8], intervals: Sequence[int] = range(len(_INTERVALS))
) -> NDArray[np.float32]:
    """The lowest DCT frequencies of windows of each thumbnail, without the mean, of length 1.

    Args:
        thumbnails: (N, 128, 128) uint8.
        intervals: which of ``_INTERVALS`` to combine into windows.

    Returns:
        (N, I * I, 63) float32 for I intervals: the windows in the order of :data:`WINDOWS`, each row-major by (down,
        across) frequency.
    """
    out = _projections(thumbnails, [_cosines(*_INTERVALS[number]) for number in intervals])
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=2, keepdims=True), 1e-6))


def spans(thumbnails: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the weighted frequencies of each thumbnail may become when it is shifted, scaled or sheared a little.

    Args:
        thumbnails: (N, 128, 128) uint8.

    Returns:
        (N, 63, 7) and (N, 7, 7) float32, the QR decomposition of the frequencies (of length 1) and their derivatives
        by an affine map: shift across, times x, times y, shift down, times y, times x, in half-widths.
    """
    whole = _cosines(0.0, 1.0)
    slope = np.asarray(np.gradient(np.eye(THUMBNAIL_PX, dtype=np.float32), axis=0)) * (THUMBNAIL_PX / 2)
    place = np.linspace(-1, 1, THUMBNAIL_PX, dtype=np.float32)
    bases = [whole, whole * place, whole @ slope, (whole * place) @ slope]
    across_down = ((0, 0), (2, 0), (3, 0), (2, 1), (0, 2), (0, 3), (1, 2))
    out = _projections(thumbnails, bases)[:, [4 * across + down for across, down in across_down]] * _WEIGHT
    out /= np.maximum(np.linalg.norm(out[:, :1], axis=2, keepdims=True), 1e-6)
    q, r = np.linalg.qr(out.transpose(0, 2, 1))
    return np.asarray(q), np.asarray(r)


def likeness(
    first: NDArray[np.uint8],
    box: NDArray[np.float64],
    mirrored: NDArray[np.int64],
    span: NDArray[np.float32],
    triangle: NDArray[np.float32],
) -> NDArray[np.float32]:
    """How much of a window of one photo the span of another holds, once the window was moved to where it fits best.

    Args:
        first: (N, 128, 128) uint8.
        box: (N, 4) left, top, right, bottom of the windows in shares of the side.
        mirrored: (N,) whether the window's mirror image is meant.
        span, triangle: of the others, from :func:`spans`.

    Returns:
        (N,) 0-1. The window moves by two steps of Gauss and Newton.
    """
    images = first.astype(np.float32)
    turn = np.where(mirrored[:, None] > 0, _MIRROR, np.float32(1)) * _WEIGHT
    for step in range(3):
        (left, top, right, bottom) = box.T
        seen = _cosines_of(top, bottom) @ images @ _cosines_of(left, right).transpose(0, 2, 1)
        asked = seen.reshape(-1, FREQUENCIES**2)[:, 1:] * turn
        asked /= np.maximum(np.linalg.norm(asked, axis=1, keepdims=True), 1e-6)
        held = span.transpose(0, 2, 1) @ asked[:, :, None]
        if step < 2:
            warp = np.linalg.solve(triangle + 1e-6 * np.eye(7, dtype=np.float32), held)[:, :, 0]
            warp = np.clip(warp[:, 1:] / np.maximum(warp[:, :1], 0.1), -0.24, 0.24)
            middle, half = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) / 2
            towards = np.where(mirrored[:, None] > 0, [-1, 1], [1, 1])
            middle, half = middle - half * warp[:, [0, 3]] * towards, half * (1 - warp[:, [1, 4]])
            box = np.column_stack([np.clip(middle - half, 0, 0.7), np.clip(middle + half, 0.3, 1)])
    return np.asarray(np.linalg.norm(held, axis=(1, 2)))


def _cosines_of(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float32]:
    """(N, 8, 128): as :func:`_cosines`, for intervals that start and end anywhere in a px."""
    first, last = (THUMBNAIL_PX * x.astype(np.float32)[:, None, None] for x in (start, end))
    place = np.arange(THUMBNAIL_PX, dtype=np.float32) + 0.5
    covered = np.clip(np.minimum(place + 0.5 - first, last - place + 0.5), 0, 1)
    number = np.arange(FREQUENCIES, dtype=np.float32)[:, None]
    basis = np.cos(number * np.clip((place - first) / (last - first), 0, 1) * np.float32(np.pi)) * covered
    basis[:, 0] *= np.sqrt(0.5)
    return np.asarray(basis)


def _projections(thumbnails: NDArray[np.uint8], bases: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(N, B * B, 63): projections on all products of two of B bases (8, 128), one across and one down; no mean."""
    basis, n, count = np.concatenate(bases), THUMBNAIL_PX, len(bases)
    # two large products: many small ones wake BLAS's threads for each
    across = (thumbnails.reshape(-1, n).astype(np.float32) @ basis.T).reshape(-1, n, len(basis))
    down = np.ascontiguousarray(across.transpose(0, 2, 1)).reshape(-1, n) @ basis.T
    products = down.reshape(-1, count, FREQUENCIES, count, FREQUENCIES).transpose(0, 1, 3, 4, 2)
    return np.asarray(products.reshape(-1, count**2, FREQUENCIES**2)[:, :, 1:])


def _cosines(start: float, end: float) -> NDArray[np.float32]:
    """(8, 128): the DCT-II basis of an interval of the side, zero outside."""
    first, last = round(start * THUMBNAIL_PX), round(end * THUMBNAIL_PX)
    length = last - first
    place = (np.arange(length) + 0.5) * np.pi / length
    basis = np.zeros((FREQUENCIES, THUMBNAIL_PX), np.float32)
    basis[:, first:last] = np.cos(np.arange(FREQUENCIES)[:, None] * place) * np.sqrt(2 / length)
    basis[0] /= np.sqrt(2)
    return basis


_MIRROR = np.array([1.0 if k % FREQUENCIES % 2 == 0 else -1.0 for k in range(1, FREQUENCIES**2)], np.float32)

_WEIGHT = np.hypot(*np.divmod(np.arange(1, FREQUENCIES**2), FREQUENCIES)).astype(np.float32)
"""Photos' amplitudes fall about as 1 / frequency: so weighted, all say equally much."""

_BLOCK = 512
"""Photos whose questions are asked at once."""


def candidates(thumbnails: Sequence[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """Pairs worth a closer look, found through a graph of nearest neighbours in O(N log N).

    Args:
        thumbnails: N of (128, 128) uint8, none blank.

    Returns:
        (M, 4) rows a, b, window, mirrored: that window of photo a (or its mirror image) resembles the whole of photo
        b. At most :data:`MAX_CANDIDATES` rows for each a. A pair may stand in it in both directions.
    """
    faiss = require("faiss", "data")
    index = faiss.IndexHNSWFlat(FREQUENCIES**2 - 1, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 64, 32
    span = _room((len(thumbnails), FREQUENCIES**2 - 1, 7), np.float32)
    triangle = np.empty((len(thumbnails), 7, 7), np.float32)
    window, mirrored = np.array(_QUESTIONS).T
    least = np.where(mirrored, MIN_COSINE_MIRRORED, MIN_COSINE)
    turn = np.where(mirrored[:, None] > 0, _MIRROR, np.float32(1))
    starts = range(0, len(thumbnails), _BLOCK)

    def grow() -> None:
        faiss.omp_set_num_threads(1)  # of this thread; the graph depends on the order of insertion
        for start in track(starts, "indexing"):
            block = np.stack(thumbnails[start : start + _BLOCK])
            index.add(np.ascontiguousarray(frequencies(block, [0])[:, 0]))
            span[start : start + _BLOCK], triangle[start : start + _BLOCK] = spans(block)

    def ask(start: int) -> NDArray[np.int64]:
        faiss.omp_set_num_threads(1)  # of this thread; the blocks are spread over the cores
        block = np.stack(thumbnails[start : start + _BLOCK])
        asked = (frequencies(block)[:, window] * turn).reshape(-1, len(_MIRROR))
        cosine, other = index.search(asked, NEIGHBOURS + 1)
        question = np.arange(len(asked)) % len(window)
        row, rank = np.nonzero((cosine > least[question, None]) & (other >= 0))
        a, b, question = start + row // len(window), other[row, rank], question[row]
        rows = np.column_stack([a, b, window[question], mirrored[question]])
        rows = _best(rows[a != b], cosine[row, rank][a != b])
        parts = np.array_split(rows, len(rows) // 256 + 1)
        alike = [likeness(block[a - start], _BOXES[w], m, span[b], triangle[b]) for a, b, w, m in (p.T for p in parts)]
        return _first(rows, np.concatenate(alike), MIN_LIKENESS, MAX_CANDIDATES)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pool.submit(grow).result()
        return np.concatenate(list(track(pool.map(ask, starts), "searching", len(starts))))


def _best(rows: NDArray[np.int64], cosine: NDArray[np.float32]) -> NDArray[np.int64]:
    """The best window for each (a, b, mirrored), and of those the best for each a."""
    order = np.lexsort((rows[:, 2], -cosine, rows[:, 3], rows[:, 1], rows[:, 0]))
    rows, cosine = rows[order], cosine[order]
    key = rows[:, [0, 1, 3]]
    first = np.ones(len(rows), bool)
    first[1:] = (key[1:] != key[:-1]).any(axis=1)
    return _first(rows[first], cosine[first], -1, MAX_RESEMBLING)


def _first(rows: NDArray[np.int64], score: NDArray[np.float32], least: float, most: int) -> NDArray[np.int64]:
    """The best rows for each a: at most ``most``, none of a score below ``least``."""
    order = np.lexsort((-score, rows[:, 0]))
    rows, score = rows[order], score[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows[:, 0], rows[:, 0])
    return rows[(rank < most) & (score >= least)]


# --- the closer look --------------------------------------------------------------------------------------------------


def compare(one: Descriptor, other: Descriptor, window: int, mirrored: bool, a: int = 0, b: int = 1) -> Pair | None:
    """Register two photos from a first guess and judge what they have in common; None where they are unrelated."""
    first = np.ascontiguousarray(one.thumbnail[:, ::-1]) if mirrored else one.thumbnail
    (left, right), (top, bottom) = (_INTERVALS[k] for k in WINDOWS[window])
    if mirrored:
        left, right = 1 - right, 1 - left
    warp = register(first, other.thumbnail, (left, top, right, bottom))
    if warp is None:
        return None
    overlap, agreement, shows = agreements(first, other.thumbnail, warp)
    if not len(agreement):
        return None
    tenth, fiftieth = np.percentile(agreement, [10, 2])
    same_size = (one.width, one.height) == (other.width, other.height)
    kind: Kind
    if tenth >= COPY_TENTH and (fiftieth >= COPY_FIFTIETH or not same_size):
        kind = "mirrored" if mirrored else "copy" if overlap >= 0.93 else "crop"
    elif not mirrored and _is_scene(overlap, agreement[shows], same_size):
        kind = "scene"
    else:
        return None
    return Pair(min(a, b), max(a, b), round(float(np.clip(tenth, 0, 1)), 4), kind)


def _is_scene(overlap: float, showing: NDArray[np.float32], same_size: bool) -> bool:
    """Whether most of two pictures is the same, from the agreement of the tiles that show anything."""
    if len(showing) < 12:
        return False
    half = float(np.median(showing))
    still = same_size and overlap >= STILL_OVERLAP and len(showing) >= STILL_SHOWING
    return (overlap >= 0.6 and half >= SCENE_HALF) or (still and half >= SCENE_HALF_STILL)


Box = tuple[float, float, float, float]
Warp = NDArray[np.float32]


def register(first: NDArray[np.uint8], second: NDArray[np.uint8], window: Box) -> Warp | None:
    """The (2, 3) float32 affine map from px of the second thumbnail to px of the first; None where none fits.

    ``window``: left, top, right, bottom of the part of the first (shares of the side) that the second may show.
    """
    cv2 = require("cv2", "data")
    left, top, right, bottom = window
    n = THUMBNAIL_PX
    warp = np.array([[right - left, 0, left * n], [0, bottom - top, top * n]], np.float32)
    warp[:, 2] += (warp[:, :2].sum(axis=1) - 1) / 2  # px centres
    for size, steps, floor in ((32, 12, 0.85), (64, 10, 0.85), (n, 10, 0.8)):
        small = [image if size == n else cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
                 for image in (second, first)]  # fmt: skip
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-3)
        try:
            fit, warp = cv2.findTransformECC(*small, _scaled(warp, size / n), cv2.MOTION_AFFINE, stop, None, 3)
        except cv2.error:  # it does not converge on unrelated pictures
            return None
        if fit < floor:
            return None
        warp = _scaled(warp, n / size)
    return warp


def _scaled(warp: Warp, factor: float) -> Warp:
    """The same map for pictures ``factor`` times the size (px centres at whole numbers)."""
    out = warp.copy()
    centre = (warp[:, :2].sum(axis=1) - 1) / 2
    out[:, 2] = (warp[:, 2] + centre) * factor - centre
    return out


def agreements(
    first: NDArray[np.uint8], second: NDArray[np.uint8], warp: Warp
) -> tuple[float, NDArray[np.float32], NDArray[np.bool_]]:
    """How well two registered thumbnails agree, tile by tile.

    Returns:
        The overlap (the share that the photo showing more has in common with the other, 0-1), and for each tile with
        enough overlap the agreement (-1 to 1; the structure term of SSIM) and whether it shows anything (is not
        flat). Empty when the overlap is under 15 %.
    """
    cv2 = require("cv2", "data")
    n = THUMBNAIL_PX
    inverse = cv2.WARP_INVERSE_MAP
    x = cv2.warpAffine(first, warp, (n, n), flags=cv2.INTER_LINEAR | inverse).astype(np.float32)
    full = np.full((n, n), 255, np.uint8)
    seen = cv2.warpAffine(full, warp, (n, n), flags=cv2.INTER_NEAREST | inverse)
    back = cv2.warpAffine(full, cv2.invertAffineTransform(warp), (n, n), flags=cv2.INTER_NEAREST | inverse)
    overlap = float(min((seen > 0).mean(), (back > 0).mean()))
    mask = cv2.erode(seen, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    if overlap < 0.15 or mask.mean() < 0.15:
        return overlap, np.empty(0, np.float32), np.empty(0, bool)
    y = second.astype(np.float32)
    weight = mask.astype(np.float32)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        blurred = cv2.blur(values * weight, (TILE_PX, TILE_PX), borderType=cv2.BORDER_CONSTANT)
        return np.asarray(blurred[at] / share[at])

    def standard(values: NDArray[np.float32]) -> NDArray[np.float32]:
        inside = values[mask]
        return np.asarray(cv2.GaussianBlur((values - inside.mean()) / (inside.std() + 1e-3), (0, 0), 0.7))

    share = cv2.blur(weight, (TILE_PX, TILE_PX), borderType=cv2.BORDER_CONSTANT) + 1e-6
    at = (slice(TILE_PX // 2, None, TILE_PX // 2),) * 2
    x, y = standard(x), standard(y)
    mean_x, mean_y = mean(x), mean(y)
    noise = 0.05  # of the variance of the whole: what JPEG leaves in flat tiles counts as agreement
    variance_x = np.maximum(mean(x * x) - mean_x**2, 0) + noise
    variance_y = np.maximum(mean(y * y) - mean_y**2, 0) + noise
    together = mean(x * y) - mean_x * mean_y + noise
    tile = share[at] > 0.5
    shows = np.maximum(variance_x, variance_y) > 4 * noise
    return overlap, (together / np.sqrt(variance_x * variance_y))[tile], shows[tile]
