"""The folder of results: shards, what they have committed, and the manifest.

    DEST/
      answers-0001-3f0c...parquet   rows of one part of the listing; written by run 1 of this folder
      manifest.json                 what was asked, what is done, what failed

A shard is there in whole or not at all, and the rows in it are done: nothing else has to be remembered, so that a run
may end at any moment and be started again. Its name holds the number of the run and a digest of its photos: a worker
that does a part again writes the same shard again. A photo that has changed, or is answered again, is in a shard of a
later run; then the older row is taken out. :func:`load` does so whenever it finds one, so that what is left of a run
that was killed in between is put right by the next.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import ConfigError, DataError
from allmasked.predictors.addresses import Folder, Item, ahead
from allmasked.scale import rows as shards

MANIFEST = "manifest.json"
MAX_FAILURES = 1000
"""Of the manifest's list; the rows hold all of them."""
_SHARD = re.compile(r"answers-(\d{4,})-[0-9a-f]{16}\.(parquet|csv)")
_PAGE = 4096


class Digests:
    """A set of 16-byte digests in about 16 bytes each (40 while it grows), for hundreds of millions."""

    def __init__(self) -> None:
        self._sorted: NDArray[np.bytes_] = np.empty(0, "S16")
        self._recent: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def new(self, digests: Sequence[bytes]) -> list[bool]:
        """For each of them whether it was not there before; then they are all there."""
        asked = np.array(digests, "S16")
        place = np.searchsorted(self._sorted, asked)
        there = np.zeros(len(asked), bool)
        inside = place < len(self._sorted)
        there[inside] = self._sorted[place[inside]] == asked[inside]
        found = []
        for digest, known in zip(digests, there.tolist()):
            digest = digest.rstrip(b"\0")  # as NumPy has it
            found.append(not known and digest not in self._recent)
            if found[-1]:
                self._recent.add(digest)
        if len(self._recent) > max(100_000, len(self._sorted) // 4):
            self._sorted = np.concatenate([self._sorted, np.array(list(self._recent), "S16")])
            self._sorted.sort()
            self._recent = set()
        return found


def _digest(*parts: object) -> bytes:
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=16).digest()


@dataclass
class Done:
    """What is committed.

    Attributes:
        photos: digests of (path, etag, size).
        paths: digests of the paths alone.
        run: the number of the run that begins.
        labels: how many rows have each answer; ``failed`` for those with an error.
        failures: the first (path, error) pairs.
        names: the shards.
    """

    run: int = 1
    photos: Digests = field(default_factory=Digests)
    paths: Digests = field(default_factory=Digests)
    labels: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def add(self, name: str, labels: Counter[str], failures: Iterable[tuple[str, str]]) -> None:
        """Another shard."""
        self.names.add(name)
        self.labels += labels
        self.failures += islice(failures, max(0, MAX_FAILURES - len(self.failures)))


def shard_name(run: int, items: Sequence[Item], kind: shards.Kind) -> str:
    """Of the shard of these photos."""
    together = hashlib.blake2b(digest_size=8)
    for item in items:
        together.update(_digest(item.name, item.etag, item.size))
    return f"answers-{run:04d}-{together.hexdigest()}.{kind}"


def shard_names(folder: Folder) -> list[str]:
    """The shards there are, those of the latest run first."""
    found = [match for match in map(_SHARD.fullmatch, folder.names()) if match]
    return [match[0] for match in sorted(found, key=lambda match: (-int(match[1]), match[0]))]


def load(folder: Folder, kind: shards.Kind, *, retry_failed: bool = False) -> Done:
    """What the shards have committed; rows that later ones have replaced are taken out of the older ones.

    Args:
        folder: of the results.
        kind: of the shards; those of another kind are refused.
        retry_failed: photos whose row has an error are not done.
    """
    done, there = Done(), shard_names(folder)
    for name in there:
        if not name.endswith(kind):
            where = f"{folder.name.rstrip('/')}/{name}"
            raise ConfigError(f"{where}: this folder holds answers in another format; give another --out or --format")
    for name, content in ahead(there, folder.read):
        assert isinstance(content, bytes)
        where = f"{folder.name.rstrip('/')}/{name}"
        found = shards.columns_of(content, kind, ("path", "etag", "size", "label", "error"), where)
        names = [path or "" for path in found["path"]]
        fresh = done.paths.new([_digest(path) for path in names])
        if not all(fresh):
            if any(fresh):
                folder.write(name, shards.without(content, kind, fresh))
            else:
                folder.delete(name)
                continue
        labels: Counter[str] = Counter()
        failures = []
        committed = []
        for path, etag, size, label, error, counts in zip(names, *list(found.values())[1:], fresh):
            if counts:
                labels[label or "failed"] += 1
                if error:
                    failures.append((path, error))
                if not error or not retry_failed:
                    committed.append(_digest(path, etag or "", max(int(size or 0), 0)))
        done.photos.new(committed)
        done.add(name, labels, failures)
        match = _SHARD.fullmatch(name)
        assert match is not None
        done.run = max(done.run, int(match[1]) + 1)
    return done


@dataclass
class Seen:
    """What a run's listing has shown so far.

    Attributes:
        listed: photos of the listing.
        skipped: of these, those that are committed already, or come a second time.
        replaced: of these, those whose path has a row already: changed, or failed before.
        whole: whether the listing has come to its end.
    """

    listed: int = 0
    skipped: int = 0
    replaced: int = 0
    whole: bool = False


def pending(items: Iterable[Item], done: Done, seen: Seen) -> Iterator[Item]:
    """The photos that are not committed, each once."""
    items = iter(items)
    while page := list(islice(items, _PAGE)):
        fresh = done.photos.new([_digest(item.name, item.etag, max(item.size, 0)) for item in page])
        left = [item for item, wanted in zip(page, fresh) if wanted]
        unknown = done.paths.new([_digest(item.name) for item in left])
        seen.listed += len(page)
        seen.skipped += len(page) - len(left)
        seen.replaced += len(left) - sum(unknown)
        yield from left
    seen.whole = True


def parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of at most ``size`` photos."""
    items = iter(items)
    while part := list(islice(items, size)):
        yield part


# --- the manifest -----------------------------------------------------------------------------------------------------


def check(folder: Folder, asked: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says was asked so far, joined with what is asked now.

    Raises:
        ConfigError: the folder holds answers of another model, or to another question.
    """
    if MANIFEST not in folder.names():
        return asked
    try:
        before = json.loads(folder.read(MANIFEST))["asked"]
        for name in ("model_sha256", "format", "look"):
            if before[name] != asked[name]:
                raise ConfigError(
                    f"{folder.name}: holds answers with {name} {before[name]}, not {asked[name]}; give another --out"
                )
        return {**asked, "sources": list(dict.fromkeys([*before["sources"], *asked["sources"]]))}
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{folder.name}: its {MANIFEST} is not one of allmasked; give another --out") from None


def write_manifest(folder: Folder, asked: dict[str, Any], done: Done, seen: Seen, state: str) -> None:
    """Write what was asked, is done and has failed."""
    labels = {name: number for name, number in sorted(done.labels.items()) if name != "failed"}
    manifest = {
        "asked": asked,
        "state": state,
        "run": done.run,
        "updated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "listed": seen.listed,
        "done": {"photos": done.labels.total(), "answers": labels, "shards": len(done.names)},
        "failed": {
            "photos": done.labels["failed"],
            "first": [{"path": path, "error": error} for path, error in done.failures],
        },
    }
    folder.write(MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
