"""Past one machine: speed of the engines, memory over many rows, photos out of an S3 store, kills at random moments.

    python bench/scale.py speed PHOTOS [--photos 200] [--rounds 3]
    python bench/scale.py memory PHOTOS [--rows 20000]
    python bench/scale.py store PHOTOS [--photos 200] [--objects 5000]
    python bench/scale.py kills PHOTOS [--kills 20]

PHOTOS is a folder of photos. Every run is a process of its own.

* ``speed``: ``plain`` predict and ``--engine local``, ``ray`` with 1 and with 2 workers, in turn, on copies of the
  photos; the model that ships; ten shards a run. Photos/s from when the model is open to the last row; wall seconds
  hold everything. CPU ms a photo, which other programs on the machine disturb less, are those of all processes without
  their start: of the engines between the first and the last shard, Ray's own processes among them.
* ``memory``: a few hundred photos, linked under many names; a network of a few weights, so that many rows take minutes.
  Memory of driver and workers at each shard.
* ``store``: moto's S3 server on the same machine, its own process. Photos/s of ``--engine local`` from it beside those
  from a folder (the model that ships), server and worker on the same processors; a listing of all objects, and rows of
  all with the small network; requests counted by the server.
* ``kills``: kill -9 of a worker, of the driver, or of the driver with all of its Ray, at random moments; started again
  until the rows are complete; then each photo must have one row.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

SHARD = 25
"""Photos a shard where few photos are answered for; 2,000 is the command's own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory", "store", "kills"])
    parser.add_argument("source", type=Path)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"speed": speed, "memory": memory, "store": store, "kills": kills}[options.what](options, Path(folder))


def copies(source: Path, target: Path, count: int, *, distinct: int = 400) -> None:
    """``count`` photos in one folder: a few hundred, under many names (links; each name is one photo)."""
    from allmasked.predictors.photo_files import find_photos

    found = [Path(path) for _, path in find_photos([str(source)])]
    if not found:
        sys.exit(f"{source}: no photo found")
    found = random.Random(0).sample(found, min(distinct, count, len(found)))
    target.mkdir(parents=True)
    for number in range(count):
        photo = found[number % len(found)]
        kept = target.parent / f"{target.name}-{number % len(found)}{photo.suffix}"
        if not kept.exists():
            shutil.copyfile(photo, kept)
        os.link(kept, target / f"{number:06d}{photo.suffix}")


def small_network(path: Path) -> Path:
    """A network of twelve weights that answers as an exported file does: the mean colour decides."""
    import onnx
    from onnx import TensorProto, helper

    from allmasked.predictors.onnx_model import Metadata

    def named(name: str, kind: int, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 3], [0.02, 0, 0, 0, 0.02, 0, 0, 0, 0.02])
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes, "small", [named("pixels", TensorProto.UINT8, ["n", 96, 128, 3])],
        [named("probabilities", TensorProto.FLOAT, ["n", 3])], [weights, axes],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for name, value in Metadata("small", (128, 96)).strings().items():
        model.metadata_props.add(key=name, value=value)
    onnx.save(model, str(path))
    return path


CHILD = """
import json, psutil, sys, time
from allmasked.scale.answering import Job, memory_mb
from allmasked.scale.job import answer
given = json.loads(sys.argv[1])
heard, began = [], time.perf_counter()
def cpu():
    me = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in [me, *me.children(recursive=True)])
def hear(one):
    now = time.perf_counter()
    heard.append((now - one.seconds, now, one.labels.total(), one.memory_mb, memory_mb(), cpu()))
done = answer(given.pop("sources"), Job(given.pop("dest"), model=given.pop("model"), threads=given.pop("threads")), heard=hear, **given)
first, last = min(row[0] for row in heard), max(row[1] for row in heard)
print(json.dumps({
    "photos": done.answered, "photos_s": done.answered / (last - first), "wall_s": time.perf_counter() - began,
    "cpu_ms": 1e3 * (heard[-1][5] - heard[0][5]) / max(1, done.answered - heard[0][2]), "worker_mb": [row[3] for row in heard], "driver_mb": [row[4] for row in heard],
}))
"""  # noqa: E501


def child(**given: Any) -> dict[str, Any]:
    """A run in a process of its own: photos/s from the first part's begin to the last commit, memory at each shard."""
    given = {"model": None, "threads": None, "shard_photos": SHARD, **given}
    result = subprocess.run([sys.executable, "-c", CHILD, json.dumps(given)], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{given} failed:\n{result.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def plain(folder: Path, out: Path) -> dict[str, Any]:
    """``allmasked predict`` as it is without an engine."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "allmasked", "predict", str(folder), "--boxes", "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = re.search(r"(\d+) photos? in [\d.]+ s \(([\d.]+) photos/s\)", result.stderr)
    if said is None:
        sys.exit(f"predict failed:\n{result.stderr[-2000:]}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"photos": int(said[1]), "photos_s": float(said[2]), "wall_s": time.perf_counter() - began, "cpu_s": cpu_s}


def speed(options: argparse.Namespace, work: Path) -> None:
    copies(options.source, work / "photos", options.photos)
    source = [str(work / "photos")]
    shard = -(-options.photos // 10)
    one = min((work / "photos").iterdir())
    start = statistics.median(plain(one, work / "one.csv")["cpu_s"] for _ in range(3))
    sides: dict[str, list[dict[str, Any]]] = {name: [] for name in ("plain", "local", "ray 1", "ray 2")}
    for number in range(options.rounds):
        for name, rows in sides.items():
            dest = str(work / f"{name}-{number}")
            if name == "plain":
                found = plain(work / "photos", work / f"{number}.csv")
                rows.append({**found, "cpu_ms": 1e3 * (found["cpu_s"] - start) / (options.photos - 1)})
            elif name == "local":
                rows.append(child(sources=source, dest=dest, shard_photos=shard))
            else:
                rows.append(child(sources=source, dest=dest, engine="ray", workers=int(name[-1]), shard_photos=shard))
            rate, cpu = rows[-1]["photos_s"], rows[-1]["cpu_ms"]
            print(f"round {number + 1} {name}: {rate:.1f} photos/s, {cpu:.1f} CPU ms a photo", flush=True)
    base = statistics.median(row["photos_s"] for row in sides["plain"])
    print(f"\n{options.photos} photos, {os.cpu_count()} processors, median of {options.rounds}\n")
    print("| engine | photos/s | of plain | CPU ms a photo | wall s | worker MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, rows in sides.items():
        rate, wall, cpu = (statistics.median(row[key] for row in rows) for key in ("photos_s", "wall_s", "cpu_ms"))
        held = max((max(row["worker_mb"]) for row in rows if "worker_mb" in row), default=float("nan"))
        print(f"| {name} | {rate:.1f} | {rate / base:.2f} | {cpu:.1f} | {wall:.0f} | {held:.0f} |")


def memory(options: argparse.Namespace, work: Path) -> None:
    copies(options.source, work / "photos", options.rows, distinct=200)
    model = str(small_network(work / "small.onnx"))
    given = {"sources": [str(work / "photos")], "model": model, "shard_photos": 500}
    for engine, more in (("local", {}), ("ray", {"workers": 1})):
        found = child(dest=str(work / engine), engine=engine, **given, **more)
        print(f"{engine}: {found['photos']} rows, {found['photos_s']:.0f} photos/s, {found['wall_s']:.0f} s")
        for who in ("worker_mb", "driver_mb"):
            held = found[who]
            quarter = max(1, len(held) // 4)
            parts = [statistics.mean(held[start : start + quarter]) for start in range(0, len(held), quarter)][:4]
            print(
                f"  {who} by quarter: {', '.join(f'{part:.0f}' for part in parts)}; at most {max(held):.0f}", flush=True
            )


# --- S3 ---------------------------------------------------------------------------------------------------------------

SERVER = """
import collections, json, sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server, WSGIRequestHandler
app, counts = DomainDispatcherApplication(create_backend_app), collections.Counter()
def counting(environ, start):
    if environ["PATH_INFO"] == "/counts":
        start("200 OK", [("Content-Type", "application/json")])
        found = json.dumps(counts).encode()
        counts.clear()
        return [found]
    counts["LIST" if "list-type" in environ["QUERY_STRING"] else environ["REQUEST_METHOD"]] += 1
    return app(environ, start)
class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_request(self, *_):
        pass
server = make_server("127.0.0.1", 0, counting, threaded=True, request_handler=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """moto's S3 as a process of its own, its address in the environment."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    address = f"http://127.0.0.1:{process.stdout.readline().strip()}"
    os.environ |= {
        "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    try:
        yield address
    finally:
        process.kill()


def store(options: argparse.Namespace, work: Path) -> None:
    import urllib.request
    from concurrent.futures import ThreadPoolExecutor

    from allmasked.predictors.addresses import filesystem, listing
    from allmasked.scale.job import spooled
    from allmasked.scale.results import Done, Seen, parts, pending

    with s3_server() as address:

        def counts() -> dict[str, int]:
            with urllib.request.urlopen(f"{address}/counts") as answer:
                found: dict[str, int] = json.load(answer)
                return found

        (server,) = psutil.Process().children()
        copies(options.source, work / "photos", options.objects)
        photos = sorted((work / "photos").iterdir())
        s3, _ = filesystem("s3://bench")
        s3.call_s3("create_bucket", Bucket="bench")
        began = time.perf_counter()

        def put(numbered: tuple[int, Path]) -> None:
            number, path = numbered
            folder = "few" if number < options.photos else "rest"
            s3.call_s3("put_object", Bucket="bench", Key=f"all/{folder}/{path.name}", Body=path.read_bytes())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, enumerate(photos)))
        print(f"{len(photos)} objects put in {time.perf_counter() - began:.0f} s; {counts()}", flush=True)
        began, cpu = time.perf_counter(), time.process_time()
        number = sum(len(part) for part in spooled(parts(pending(listing(["s3://bench/all"]), Done(), Seen()), 2000)))
        cpu = time.process_time() - cpu
        took = time.perf_counter() - began
        print(f"listed {number} in {took:.1f} s, {1e6 * cpu / number:.0f} CPU us a name; {counts()}", flush=True)

        few = work / "few"
        few.mkdir()
        for path in photos[: options.photos]:
            os.link(path, few / path.name)
        rates: dict[str, list[float]] = {"folder": [], "s3": []}
        for turn in range(options.rounds):
            for name, source in (("folder", str(few)), ("s3", "s3://bench/all/few")):
                before = sum(server.cpu_times()[:2])
                found = child(sources=[source], dest=str(work / f"{name}{turn}"))
                served = 1e3 * (sum(server.cpu_times()[:2]) - before) / options.photos
                rates[name].append(found["photos_s"])
                said = f"{found['photos_s']:.1f} photos/s, {found['cpu_ms']:.1f} CPU ms a photo"
                print(f"round {turn + 1} {name}: {said}, {served:.1f} of the server", flush=True)
        folder, far = statistics.median(rates["folder"]), statistics.median(rates["s3"])
        print(f"the model that ships: folder {folder:.1f}, s3 {far:.1f} photos/s: {far / folder:.2f}")
        counts()
        model = str(small_network(work / "small.onnx"))
        given = {"sources": ["s3://bench/all"], "dest": "s3://bench/answers", "model": model, "shard_photos": 1000}
        found = child(**given)
        print(f"small network, rows to s3: {found['photos']} photos, {found['photos_s']:.0f} photos/s; {counts()}")


# --- kills ------------------------------------------------------------------------------------------------------------


def kills(options: argparse.Namespace, work: Path) -> None:
    from allmasked.predictors.addresses import Folder
    from allmasked.scale import results, rows

    draw = random.Random(options.seed)
    copies(options.source, work / "photos", options.photos)
    model = small_network(work / "small.onnx")
    dest = work / "dest"
    command = [
        sys.executable,
        "-m",
        "allmasked",
        "predict",
        str(work / "photos"),
        "--model",
        str(model),
        "--engine",
        "ray",
    ]
    command += ["--workers", "2", "--out", str(dest), "--shard", "4"]
    killed = {"worker": 0, "driver": 0, "cluster": 0}
    commits: list[int] = []

    def shards() -> int:
        return len(list(dest.glob("answers-*")))

    while sum(killed.values()) < options.kills:
        if dest.exists():  # keep some work: forget a random half of what is committed
            for path in sorted(dest.glob("answers-*")):
                if draw.random() < 0.5:
                    path.unlink()
        process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        start, how = shards(), draw.choice(list(killed))
        deadline = time.monotonic() + 120
        wanted = start + draw.randrange(4)
        while shards() < wanted and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.2))
        if process.poll() is not None:
            continue
        below = process.children(recursive=True)
        workers = [one for one in below if _title(one).startswith("ray::_Worker")]
        if how == "worker":
            while workers and sum(killed.values()) < options.kills and process.poll() is None:
                with contextlib.suppress(psutil.Error):
                    draw.choice(workers).send_signal(signal.SIGKILL)
                    killed["worker"] += 1
                time.sleep(draw.uniform(0.5, 3))
                found = process.children(recursive=True) if process.poll() is None else []
                workers = [one for one in found if _title(one).startswith("ray::_Worker")]
                if draw.random() < 0.4:
                    break
        elif how == "cluster":
            for one in [process, *below]:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            killed["cluster"] += 1
        else:
            killed["driver"] += 1
        with contextlib.suppress(psutil.Error):
            process.kill()
        process.wait()
        psutil.wait_procs(below, timeout=20)
        paths = [row["path"] for row in rows.read_rows(Folder(str(dest)).read, results.shard_names(Folder(str(dest))), "parquet")]  # fmt: skip  # noqa: E501
        assert len(paths) == len(set(paths)), "doubled"
        commits.append(shards() - start)
        print(f"{killed}, {len(paths)} rows", flush=True)
    assert subprocess.run(command, capture_output=True).returncode == 0
    folder = Folder(str(dest))
    paths = [row["path"] for row in rows.read_rows(folder.read, results.shard_names(folder), "parquet")]
    expected = sorted(str(path) for path in (work / "photos").iterdir())
    print(f"killed {killed}; {len(paths)} rows for {len(expected)} photos")
    assert sorted(paths) == expected, "lost or doubled"
    print("none lost, none doubled")


def _title(process: Any) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


if __name__ == "__main__":
    main()
