"""What is in a data set and what is wrong with it, as far as it can be told without training anything.

:func:`inspect` measures every photo once (:mod:`allmasked.inspection.measures`), searches duplicates
(:mod:`allmasked.data.duplicates`) and gives an :class:`Inspection`: a tree of plain values with ``to_json()``, in which
``findings`` says in words what to know before training. :mod:`allmasked.reports.inspection_page` shows it.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from allmasked.core.errors import PhotoError, require
from allmasked.core.progress import Spread, on_threads
from allmasked.core.types import LABELS, NOBODY, Label, Photo, Predictor
from allmasked.data import duplicates
from allmasked.data.annotations import label_of
from allmasked.data.dataset import load_photos
from allmasked.data.duplicates import Kind
from allmasked.data.readers import Options
from allmasked.data.siblings import same_source, siblings
from allmasked.inspection.boxes import ODDITIES, OddBox, drawn_elsewhere, odd_boxes
from allmasked.inspection.look import Seen, look
from allmasked.inspection.measures import CHECKS, Measures, measure
from allmasked.inspection.shortcuts import SizeLeak, size_leak

SMALL_FACE_PX = 24
"""Marked faces under this height are called small."""

Severity = Literal["error", "warning", "note"]


# --- what is found ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantiles:
    """5 %, 25 %, 50 %, 75 % and 95 % of some values, and how many there are."""

    count: int
    values: tuple[float, float, float, float, float] = (0, 0, 0, 0, 0)

    @classmethod
    def of(cls, values: Iterable[float]) -> Quantiles:
        array = np.array(list(values), dtype=np.float64)
        if not array.size:
            return cls(0)
        q = [round(float(v), 3) for v in np.quantile(array, [0.05, 0.25, 0.5, 0.75, 0.95])]
        return cls(array.size, (q[0], q[1], q[2], q[3], q[4]))

    @property
    def median(self) -> float:
        return self.values[2]


@dataclass(frozen=True)
class ClassSummary:
    """One class: ``share`` of all readable photos; sizes in px; ``checks`` counts the photos with each flaw."""

    label: Label
    photos: int
    share: float
    long_side_px: Quantiles
    short_side_px: Quantiles
    aspect: Quantiles
    size_bytes: Quantiles
    formats: Mapping[str, int]
    checks: Mapping[str, int]


@dataclass(frozen=True)
class Flaw:
    """One photo that fails a check, with the value that says so."""

    path: str
    label: Label
    value: float


@dataclass(frozen=True)
class Pair:
    """Two photos of one kind of :data:`allmasked.data.duplicates.Kind`; ``score`` 0-1 (1: the same)."""

    a: str
    b: str
    label_a: Label
    label_b: Label
    score: float
    kind: Kind
    labels_agree: bool


@dataclass(frozen=True)
class Same:
    """Files with the same bytes."""

    sha256: str
    paths: tuple[str, ...]
    labels: tuple[Label, ...]

    @property
    def labels_agree(self) -> bool:
        return len(set(self.labels)) == 1


@dataclass(frozen=True)
class Contradiction:
    """A photo whose label is not what its boxes say."""

    path: str
    label: Label
    boxes_say: str
    masked: int
    unmasked: int
    incorrect: int


@dataclass(frozen=True)
class People:
    """What the boxes say: ``faces`` marked faces in ``photos`` photos; heights in px of the upright photo.

    ``wear`` counts the faces by what they wear; ``per_photo`` and ``face_height_px`` are by class.
    """

    photos: int
    faces: int
    wear: Mapping[str, int]
    per_photo: Mapping[str, Quantiles]
    face_height_px: Mapping[str, Quantiles]
    small_faces: float
    without_faces: tuple[str, ...]
    contradictions: tuple[Contradiction, ...]


@dataclass(frozen=True)
class Finding:
    """One thing to know before training: ``text`` says what, ``advice`` the way out; ``key`` is stable."""

    severity: Severity
    key: str
    text: str
    advice: str
    count: int = 0


@dataclass(frozen=True)
class Inspection:
    """Everything that was found in a data set; ``to_json()`` is what ``inspect --json`` writes.

    ``broken`` names photos that cannot be read, ``skipped`` what else cannot be used (a line of a table, a photo
    without a label), each with the reason. ``near_duplicates`` are the pairs that show the same photo, those with the
    same bytes among them (kind ``exact``); ``scenes`` the pairs that most likely don't, but show the same scene.
    ``groups`` counts the photos that are left when each group of duplicates is taken once. ``said`` tells how the data
    set was understood; ``odd_boxes`` are marked boxes that make no sense; ``augmented`` groups photos that were made
    from one, by their names; ``seen`` is what a model sees in the photos, None where none looked.
    """

    root: Path
    photos: tuple[Measures, ...]
    broken: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    classes: tuple[ClassSummary, ...]
    flaws: Mapping[str, tuple[Flaw, ...]]
    exact_duplicates: tuple[Same, ...]
    near_duplicates: tuple[Pair, ...]
    scenes: tuple[Pair, ...]
    groups: int
    disagreeing_groups: tuple[tuple[str, ...], ...]
    size_leak: SizeLeak | None
    people: People | None
    findings: tuple[Finding, ...]
    seconds: float
    said: tuple[str, ...] = ()
    odd_boxes: tuple[OddBox, ...] = ()
    elsewhere: str = ""
    augmented: tuple[tuple[str, ...], ...] = ()
    seen: Seen | None = None

    @property
    def imbalance(self) -> float:
        """The largest class over the smallest that is there, without nobody."""
        counts = [c.photos for c in self.classes if c.photos and c.label != NOBODY]
        return max(counts) / min(counts) if counts else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; all lists complete, paths relative to ``root``."""
        return {
            "root": str(self.root),
            "photos": len(self.photos),
            "seconds": round(self.seconds, 1),
            "read": list(self.said),
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "broken": [{"path": path, "reason": reason} for path, reason in self.broken],
            "skipped": [{"path": path, "reason": reason} for path, reason in self.skipped],
            "imbalance": round(self.imbalance, 2),
            "classes": {c.label: _plain(c) for c in self.classes},
            "flaws": {
                name: {
                    "rule": CHECKS[name].rule,
                    "photos": [{"path": f.path, "label": f.label, "value": f.value} for f in found],
                }
                for name, found in self.flaws.items()
            },
            "exact_duplicates": [list(same.paths) for same in self.exact_duplicates],
            "near_duplicates": [_plain(pair) for pair in self.near_duplicates],
            "scenes": [_plain(pair) for pair in self.scenes],
            "groups": self.groups,
            "disagreeing_groups": [list(paths) for paths in self.disagreeing_groups],
            "augmented": [list(paths) for paths in self.augmented],
            "odd_boxes": [_plain(box) for box in self.odd_boxes],
            "size_leak": (_plain(self.size_leak) | {"words": self.size_leak.words}) if self.size_leak else None,
            "people": self._people(),
            "seen": {k: v for k, v in _plain(self.seen).items() if k != "seconds"} if self.seen else None,
        }

    def _people(self) -> dict[str, Any] | None:
        if self.people is None:
            return None
        people = _plain(self.people)
        # the key that version 0.1 gave bare faces, which programs may read
        return people | {"wear": {"unmasked" if k == "bare" else k: n for k, n in people["wear"].items()}}


def _plain(value: Any) -> dict[str, Any]:
    """A dataclass as JSON values; :class:`Quantiles` become {"count", "p5", "p25", "p50", "p75", "p95"}."""

    def convert(item: Any) -> Any:
        if isinstance(item, Quantiles):
            return {"count": item.count} | dict(zip(("p5", "p25", "p50", "p75", "p95"), item.values))
        if dataclasses.is_dataclass(item):
            return {f.name: convert(getattr(item, f.name)) for f in dataclasses.fields(item)}
        if isinstance(item, Mapping):
            return {key: convert(entry) for key, entry in item.items()}
        if isinstance(item, tuple | list):
            return [convert(entry) for entry in item]
        return item

    plain = convert(value)
    assert isinstance(plain, dict)
    return plain


# --- people and their faces -------------------------------------------------------------------------------------------


def people(photos: Sequence[Photo]) -> People | None:
    """What the boxes say of the photos that have them; None where there are none."""
    boxed = [photo for photo in photos if photo.faces is not None]
    if not boxed:
        return None
    faces = [(photo, face) for photo in boxed for face in photo.faces or ()]
    heights = np.array([face.height_px for _, face in faces])
    contradictions = []
    for photo in boxed:
        worn = Counter(face.wear for face in photo.faces or () if face.wear != "unknown")
        says, or_says = (label_of(photo.faces or (), incorrect_is) for incorrect_is in ("bare", "masked"))
        if says and photo.label not in (says, or_says):
            counts = worn["masked"], worn["bare"], worn["incorrect"]
            contradictions.append(Contradiction(photo.path, photo.label, says, *counts))
    return People(
        photos=len(boxed),
        faces=len(faces),
        wear=dict(Counter(face.wear for _, face in faces)),
        per_photo={c: Quantiles.of(len(p.faces or ()) for p in boxed if p.label == c) for c in LABELS},
        face_height_px={c: Quantiles.of(f.height_px for p, f in faces if p.label == c) for c in LABELS},
        small_faces=round(float((heights < SMALL_FACE_PX).mean()), 4) if len(faces) else 0.0,
        without_faces=tuple(photo.path for photo in boxed if not photo.faces and photo.label != NOBODY),
        contradictions=tuple(contradictions),
    )


# --- the whole data set -----------------------------------------------------------------------------------------------


def measure_all(
    root: Path, photos: Sequence[Photo], spread: Spread = on_threads
) -> tuple[list[Measures], list[tuple[str, str]]]:
    """Measure photos in parallel, with a progress bar: those that could be, and (path, reason) of the others.

    Threads do, since nearly all of the time goes to decoding and resizing, which release the interpreter's lock.
    """

    def one(photo: Photo) -> Measures | PhotoError:
        try:
            return measure(root / photo.path, photo.label, name=photo.path)
        except PhotoError as error:
            return error

    cv2 = require("cv2", "data")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        results = list(spread(one, photos, "measuring photos"))
    finally:
        cv2.setNumThreads(threads)
    measured = [result for result in results if isinstance(result, Measures)]
    broken = [(result.path, result.reason) for result in results if isinstance(result, PhotoError)]
    return measured, broken


def exact_duplicates(photos: Sequence[Measures]) -> list[Same]:
    """Files with the same bytes, in the order of their first."""
    by_hash: dict[str, list[Measures]] = defaultdict(list)
    for photo in photos:
        by_hash[photo.sha256].append(photo)
    twice = {sha256: same for sha256, same in by_hash.items() if len(same) > 1}
    return [Same(key, tuple(p.path for p in same), tuple(p.label for p in same)) for key, same in twice.items()]


def summarise(photos: Sequence[Measures]) -> list[ClassSummary]:
    """One :class:`ClassSummary` a class, in the order of :data:`LABELS`; those without photos too, nobody not."""
    summaries = []
    for label in LABELS:
        mine = [photo for photo in photos if photo.label == label]
        if label == NOBODY and not mine:
            continue
        spread = {name: Quantiles.of(getattr(p, name) for p in mine) for name in ("aspect", "size_bytes")}
        spread |= {f"{name}_px": Quantiles.of(getattr(p, name) for p in mine) for name in ("long_side", "short_side")}
        share = round(len(mine) / len(photos), 4) if photos else 0.0
        formats = dict(Counter(p.format for p in mine).most_common())
        checks = {name: sum(check.bad(check.value(p)) for p in mine) for name, check in CHECKS.items()}
        row = ClassSummary(label=label, photos=len(mine), share=share, formats=formats, checks=checks, **spread)
        summaries.append(row)
    return summaries


def flaws(photos: Sequence[Measures]) -> dict[str, tuple[Flaw, ...]]:
    """For each check the photos that fail it, the worst first."""
    found = {}
    for name, check in CHECKS.items():
        bad = [Flaw(p.path, p.label, round(check.value(p), 3)) for p in photos if check.bad(check.value(p))]
        found[name] = tuple(sorted(bad, key=lambda flaw: flaw.value, reverse=check.worst_first == "high"))
    return found


def _findings(i: Inspection) -> list[Finding]:
    """What to know before training, the gravest first."""
    found: list[Finding] = []

    def add(severity: Severity, key: str, count: int, text: str, advice: str) -> None:
        if count:
            found.append(Finding(severity, key, text, advice, count))

    absent: list[str] = [c.label for c in i.classes if not c.photos]
    text = f"no photos of {_names(absent)}"
    add("error", "classes", len(absent), text, "A classifier cannot learn a class without photos.")
    text = f"{_many(len(i.broken), 'file')} cannot be read"
    add("error", "broken", len(i.broken), text, "Repair or remove them; 'split' leaves them out.")
    text = f"{_many(len(i.skipped), 'entry', 'entries')} of the data set cannot be used"
    add("warning", "skipped", len(i.skipped), text, "Each is listed with its reason.")
    groups = len(i.disagreeing_groups)
    text = f"{_many(groups, 'group')} of duplicates with labels that disagree"
    advice = "A label is wrong, or a crop cuts somebody off: look at them. 'split' leaves these groups out."
    add("warning", "disagreeing", groups, text, advice)
    copies = sum(len(paths) for paths in i.augmented)
    text = f"{_many(copies, 'photo')} made from {_many(len(i.augmented), 'source')}, by their names"
    advice = "Augmented copies: 'split' keeps those of one source in one part; 'train' makes its own, so one is enough."
    add("note", "augmented", copies, text, advice)
    exact = sum(len(same.paths) - 1 for same in i.exact_duplicates)
    pairs = sum(pair.kind != "exact" for pair in i.near_duplicates)
    parts = [f"{_many(exact, 'exact copy', 'exact copies')}"] * bool(exact)
    text = " and ".join(parts + [f"{_many(pairs, 'pair')} of near-duplicates"] * bool(pairs))
    advice = "Split by file, the same photo stands in training and test. 'split' keeps each group in one part."
    add("warning", "duplicates", exact + pairs, text, advice)
    if i.size_leak and i.size_leak.given_away:
        add("warning", "size", max(1, len(i.size_leak.clues)), i.size_leak.words, i.size_leak.advice)
    if i.imbalance >= 1.5:
        ordered = sorted((c for c in i.classes if c.photos and c.label != NOBODY), key=lambda c: c.photos)
        text = f"{i.imbalance:.1f} times as many {ordered[-1].label!r} as {ordered[0].label!r} photos"
        advice = "Train with class balance, and judge by macro-F1 rather than accuracy."
        add("warning" if i.imbalance >= 3 else "note", "balance", 1, text, advice)
    if i.people:
        wrong, empty, small = len(i.people.contradictions), len(i.people.without_faces), i.people.small_faces
        text = f"{_many(wrong, 'label')} that the marked faces contradict"
        add("warning", "contradictions", wrong, text, "Look at them: the label or a box is wrong.")
        advice = "Labels stay right, faces are learnt beside them."
        add("warning", "elsewhere", int(bool(i.elsewhere)), i.elsewhere, advice)
        for kind, (words, advice) in ODDITIES.items():
            count = sum(box.kind == kind for box in i.odd_boxes)
            severity: Severity = "note" if kind == "whole" else "warning"
            add(severity, f"boxes_{kind}", count, f"{words}: {count:,}", advice)
        text = f"{_many(empty, 'photo')} without a marked face"
        add("note", "without_faces", empty, text, "Nobody is there, or a face was not marked.")
        text = f"{100 * small:.0f} % of the marked faces are under {SMALL_FACE_PX} px high"
        add("note", "faces", int(small >= 0.1), text, "Shrinking makes them vanish: prefer a larger input size.")
    if i.seen:
        doubts = len(i.seen.doubts)
        text = f"{_many(doubts, 'label')} that contradict{'s' * (doubts == 1)} what the model sees"
        add("warning", "doubts", doubts, text, "Look at them: the label is wrong, or the model is.")
        text = f"{_many(len(i.seen.other_wear), 'face')} marked as masked and seen as bare, or the other way round"
        add("warning", "other_wear", len(i.seen.other_wear), text, "Look at them: the mark is wrong, or the model is.")
        photos = _many(len({face.path for face in i.seen.unmarked}), "photo")
        text = f"{_many(len(i.seen.unmarked), 'face')} that the model sees and nobody marked, in {photos}"
        advice = "Mark them, or as unknown: a model in training is told that nobody is there."
        add("warning", "unmarked", len(i.seen.unmarked), text, advice)
    for name, bad in i.flaws.items():
        check = CHECKS[name]
        add("note", name, len(bad), f"{check.title}: {_many(len(bad), 'photo')}, {check.rule}", check.advice)
    return found


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def _names(labels: Sequence[str]) -> str:
    return " and ".join(repr(label) for label in labels)


def inspect(
    data: str | Path,
    *,
    options: Options | None = None,
    looks: Callable[[int], Predictor | None] | None = None,
    spread: Spread = on_threads,
) -> Inspection:
    """Inspect a data set in any layout (:data:`allmasked.data.readers.READERS`), or the photos of a ``split.json``.

    Args:
        data: the folder or file.
        options: how it is read.
        looks: called with the number of photos, gives the model that looks at them, or None
            (:mod:`allmasked.inspection.look`).
        spread: who reads the photos; the threads of this process, or an engine.

    Raises:
        DataError: not a data set, or without a labelled photo.
        ConfigError: an option is wrong.
    """
    found = load_photos(data, options=options, nobody=True)
    skipped, said = found.settings.get("skipped", ()), found.settings.get("read", ())
    assert isinstance(skipped, list | tuple) and isinstance(said, list | tuple)
    entries = [(entry["path"], entry["reason"]) for entry in skipped]
    predictor = looks(len(found.photos)) if looks else None
    return inspect_photos(found.root, found.photos, entries, said, predictor, spread)


def inspect_photos(
    root: Path,
    photos: Sequence[Photo],
    skipped: Sequence[tuple[str, str]] = (),
    said: Sequence[str] = (),
    predictor: Predictor | None = None,
    spread: Spread = on_threads,
) -> Inspection:
    """Inspect photos that have been read already.

    Args:
        root: the folder that the photos' paths are relative to.
        photos: with labels, and faces where known.
        skipped: (path, reason) of what the reader could not use.
        said: how the reader understood the data set.
        predictor: what looks at the photos, None for nobody.
        spread: who reads the photos; the threads of this process, or an engine.
    """
    started = time.monotonic()
    measured, broken = measure_all(root, photos, spread)
    readable = {m.path: m for m in measured}
    kept = [
        dataclasses.replace(p, sha256=m.sha256, width=m.width, height=m.height)
        for p in photos
        if (m := readable.get(p.path))
    ]
    near, scenes, groups = _duplicates(root, measured, spread)
    labels = {m.path: m.label for m in measured}
    seen = look(predictor, root, kept) if predictor else None
    inspection = Inspection(
        root=root, photos=tuple(measured), broken=tuple(broken), skipped=tuple(skipped),
        classes=tuple(summarise(measured)), flaws=flaws(measured), exact_duplicates=tuple(exact_duplicates(measured)),
        near_duplicates=tuple(near), scenes=tuple(scenes), groups=len(groups),
        disagreeing_groups=tuple(group for group in groups if len({labels[path] for path in group}) > 1),
        size_leak=size_leak([readable[group[0]] for group in groups if labels[group[0]] != NOBODY]),
        people=people(kept), findings=(), seconds=time.monotonic() - started, said=tuple(said),
        odd_boxes=tuple(odd_boxes(kept)), elsewhere=drawn_elsewhere(kept),
        augmented=_augmented([m.path for m in measured]), seen=seen,
    )  # fmt: skip
    return dataclasses.replace(inspection, findings=tuple(_findings(inspection)))


def _augmented(paths: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The groups of photos that were made from one, by their names."""
    groups = _grouped(paths, duplicates.groups(len(paths), same_source(paths)))
    return tuple(group for group in groups if len(group) > 1)


def _grouped(paths: Iterable[str], numbers: Iterable[int]) -> list[tuple[str, ...]]:
    groups: dict[int, list[str]] = defaultdict(list)
    for path, number in zip(paths, numbers):
        groups[number].append(path)
    return [tuple(group) for group in groups.values()]


def _duplicates(
    root: Path, photos: Sequence[Measures], spread: Spread
) -> tuple[list[Pair], list[Pair], list[tuple[str, ...]]]:
    """Pairs of near-duplicates, pairs of one scene, and the groups of near-duplicates (most have one member)."""
    described = duplicates.describe([root / photo.path for photo in photos], spread)
    known = [(p, d) for p, d in zip(photos, described) if isinstance(d, duplicates.Descriptor)]
    found = siblings([photo.path for photo, _ in known], [descriptor for _, descriptor in known])
    pairs = []
    for a, b, score, kind in found:
        one, two = known[a][0], known[b][0]
        pairs.append(Pair(one.path, two.path, one.label, two.label, score, kind, one.label == two.label))
    same = [pair for pair in found if pair.kind in duplicates.COPIES]
    groups = _grouped((photo.path for photo, _ in known), duplicates.groups(len(known), same))
    near = [pair for pair in pairs if pair.kind in duplicates.COPIES]
    return near, [pair for pair in pairs if pair.kind == "scene"], groups
