"""What a worker does: photos of a part in, one shard out. The model is opened once and kept."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import allmasked
from allmasked.model import Model, load
from allmasked.predictors.addresses import Folder, Item, fetched
from allmasked.predictors.onnx_model import DEFAULT
from allmasked.predictors.predictor import Look
from allmasked.scale import results
from allmasked.scale import rows as shards


@dataclass(frozen=True)
class Job:
    """What every worker is told.

    Attributes:
        dest: where shards go.
        kind: of the shards.
        model: file or folder of the model; None for the one that ships.
        model_bytes: the file's content, where it is one file: then it need not lie on a worker's machine.
        model_sha256: first 12 hex digits of what the model's file holds.
        look: how closely to look.
        threads: processors of a worker; all when None.
        device: what computes, see :func:`allmasked.load`.
        run: number of the run.
    """

    dest: str
    kind: shards.Kind = "parquet"
    model: str | None = None
    model_bytes: bytes | None = field(default=None, repr=False)
    model_sha256: str = ""
    look: Look = Look()
    batch_size: int = 32
    threads: int | None = None
    device: str = "auto"
    run: int = 1


@dataclass(frozen=True)
class Committed:
    """A shard that is there: its name, how many rows of each answer, the first errors; seconds that it took, and what
    the worker's process holds then."""

    name: str
    labels: Counter[str]
    failures: tuple[tuple[str, str], ...]
    seconds: float
    memory_mb: float


def identity(model: str | None) -> tuple[str, bytes | None]:
    """The first 12 hex digits of a model's SHA-256; and its content where it is one file that may be sent about.

    Of a folder, all files count; of OpenVINO and LiteRT the files that lie beside, too. What isn't there gets an empty
    digest: opening it gives the error.
    """
    path = Path(model) if model else DEFAULT
    if path.is_file():
        content = path.read_bytes()
        alone = model is not None and path.suffix == ".onnx"
        beside = [path.with_suffix(suffix) for suffix in (".bin", ".json") if path.suffix != ".onnx"]
        whole = hashlib.sha256(content)
        for file in filter(Path.is_file, beside):
            whole.update(file.read_bytes())
        return whole.hexdigest()[:12], content if alone else None
    whole = hashlib.sha256()
    for file in sorted(path.rglob("model.keras")) + sorted(path.rglob("*.json")) + sorted(path.rglob("*.pb")):
        whole.update(file.read_bytes())
    return whole.hexdigest()[:12], None


def open_model(job: Job) -> Model:
    """The model of a job, opened."""
    if job.model_bytes is None or (job.model is not None and Path(job.model).is_file()):
        return load(job.model, threads=job.threads, device=job.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(job.model or "model.onnx").name
        path.write_bytes(job.model_bytes)
        return load(path, threads=job.threads, device=job.device)


class Answerer:
    """Holds a model and answers for one part after the other."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model = open_model(job)
        self.folder = Folder(job.dest)
        shards.packed([], job.kind)  # imports what writes them
        self.said = {"model": self.model.name, "model_sha256": job.model_sha256, "version": allmasked.__version__}

    def answer(self, part: list[Item]) -> Committed:
        """Answer for the photos of a part and commit their shard."""
        job, began = self.job, time.perf_counter()
        found = self.model.answered(fetched(part), job.batch_size, job.look)
        rows = [shards.row_of(item, one.prediction, self.said) for item, one in zip(part, found, strict=True)]
        name = results.shard_name(job.run, part, job.kind)
        self.folder.write(name, shards.packed(rows, job.kind))
        failures = [(row["path"], row["error"]) for row in rows if row["error"]]
        labels = Counter(row["label"] or "failed" for row in rows)
        return Committed(
            name, labels, tuple(failures[: results.MAX_FAILURES]), time.perf_counter() - began, memory_mb()
        )


def memory_mb() -> float:
    """What this process holds now, in MB; 0 where the system doesn't say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
