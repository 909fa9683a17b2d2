"""Past one machine: addresses without secrets, shards that resume, the same rows by Ray, photos out of an S3 store.

Ray and the S3 server (moto) are started and stopped here; what needs one that is not installed is skipped.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import functools
import http.server
import importlib.util
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import allmasked
from allmasked.cli import cli
from allmasked.cli.scaling import TOLD
from allmasked.core.errors import ConfigError, DataError, MissingExtraError, PhotoError, RunError
from allmasked.core.runs import Run
from allmasked.core.types import Split
from allmasked.data.dataset import load_split, read_split, write_split
from allmasked.predictors import addresses
from allmasked.predictors.addresses import Folder, Item, clean, listing, scrub
from allmasked.scale import answering, job, results
from allmasked.scale import rows as shards
from allmasked.scale.copies import copied
from allmasked.watching import sources
from colour_model import encoded, picture
from conftest import make_split

SECRET = "hunter2hunter2"


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install '.[scale]' (tests: dev)")


parquet = needs("pyarrow")


def invoke(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(cli, ["predict", *arguments], **options)


def paint(folder: Path, count: int, broken: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        label = ("all", "none", "some", "nobody")[number % 4]
        (folder / f"{number:04d}.png").write_bytes(encoded(label, (64 + number % 7, 48)))
    for number in range(broken):
        (folder / f"x{number}.jpg").write_bytes(b"no photo")
    return folder


def rows(dest: Path, kind: shards.Kind = "parquet") -> list[dict[str, Any]]:
    folder = Folder(str(dest))
    return sorted(shards.read_rows(folder.read, results.shard_names(folder), kind), key=lambda row: row["path"])


def manifest(dest: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((dest / "manifest.json").read_text())
    return found


def contents(dest: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in dest.iterdir() if path.name != "manifest.json"}


# --- addresses and secrets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("photos/a b.jpg", "photos/a b.jpg"),
        ("s3://bucket/a?b#c.jpg", "s3://bucket/a?b#c.jpg"),
        (f"s3://key:{SECRET}@bucket/a.jpg", "s3://bucket/a.jpg"),
        (f"https://me:{SECRET}@host:8080/a.jpg", "https://host:8080/a.jpg"),
        (f"https://{SECRET}@host/a.jpg", "https://host/a.jpg"),
        (f"https://host/a.jpg?X-Amz-Signature={SECRET}&X-Amz-Date=1&id=7", "https://host/a.jpg?id=7"),
        (f"https://host/a.jpg?sv=2024&sig={SECRET}&se=2026&sp=r", "https://host/a.jpg"),
        (f"https://host/a.jpg?access_token={SECRET}#{SECRET}", "https://host/a.jpg"),
    ],
)
def test_an_address_is_shown_without_its_secrets(given: str, shown: str) -> None:
    assert clean(given) == shown
    assert SECRET not in scrub(f"Cannot connect to <{given}> ('{given}'), url={given}, see log")


def test_why_a_store_refuses_is_one_line_with_the_reason_and_without_secrets() -> None:
    error = ValueError(f'Parameter validation failed:\nInvalid bucket name "key:{SECRET}@b c": Bucket name must match')
    assert addresses.reason(error) == 'Parameter validation failed: Invalid bucket name "b c": Bucket name must match'


def test_an_unknown_query_keeps_photos_apart_without_being_shown() -> None:
    one, other = (clean(f"https://host/photo?member={SECRET}{n}") for n in (1, 2))
    assert one != other and SECRET not in one


def test_values_of_secret_variables_are_left_out_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert scrub(f"bad key {SECRET}!") == "bad key ***!"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"AccountName=mymasks;AccountKey={SECRET[:8]}Az==;X=1")
    assert scrub(f"mymasks: {SECRET[:8]}Az== is refused") == "mymasks: *** is refused"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ftp://host/photos", "--engine", "local", "--out", "d"], "addresses of ftp:// are not known; known: s3://"),
        (["nowhere", "--engine", "local"], "--engine needs --out DEST"),
        (["nowhere", "--workers", "2"], "--workers goes with --engine"),
        (["nowhere", "--engine", "local", "--out", "d", "--workers", "2"], "go with --engine ray"),
        (["nowhere", "--engine", "local", "--out", "d", "--sort", "s"], "--sort doesn't go with --engine"),
        (["nowhere", "--engine", "local", "--out", "d", "--format", "json"], "parquet or csv"),
        (["nowhere", "--format", "parquet"], "goes with --engine"),
        (["nowhere", "--engine", "local", "--out", "file"], "is a file; give a folder"),
        (["nowhere", "--engine", "local", "--out", "https://host/d"], "nothing can be written to http"),
        (["nowhere", "--engine", "local", "--out", "d", "--model", "gone"], "gone: no such run folder"),
        (["empty", "--engine", "local", "--out", "d"], "no photo found in empty"),
        (["gone.txt/../file.txt", "--engine", "local", "--out", "d"], "the list cannot be read"),
        (["s3://a/b.jpg", "--sort", "s3://a/sorted"], "sorts into a folder of this machine"),
        (["nowhere", "--annotated", "https://host/d"], "nothing can be written to http"),
        (["nowhere", "--shard", "5"], "--shard goes with --engine"),
        (["s3://a/b.jpg", "--annotated", "s3://a/b.jpg"], "--annotated s3://a/b.jpg: is the photo itself"),
        (["s3://a/b/c.jpg", "--annotated", "s3://a/b"], "every photo lies in s3://a/b,"),
        (["s3://a/b/c.jpg", "--annotated", f"s3://key:{SECRET}@a/b.gif"], "--annotated s3://a/b.gif: end it in"),
        (["s3://a/b/c.jpg", "--annotated", "s3://a/b.gif"], "--annotated s3://a/b.gif: end it in"),
    ],
)
def test_wrong_use_gets_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    if any("://" in argument for argument in arguments):
        pytest.importorskip("fsspec")
    result = invoke(*arguments)
    said = result.output if result.exception is None or isinstance(result.exception, SystemExit) else ""
    assert result.exit_code in (1, 2) and message in said + str(result.exception)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split", "d", "--out", "s.json", "--workers", "2"], "go with --engine ray"),
        (["split", "d", "--out", "s3://bucket"], "names no file"),
        (["split", "d", "--out", "s3://my.bucket"], "names no file"),
        (["split", "d", "--out", f"s3://key:{SECRET}@bucket/s"], "s3://bucket/s names no file"),
        (["train", "d", "--out", "r", "--backbones", "all", "--devices", "2"], "--devices is for one training"),
    ],
)
def test_options_of_an_engine_go_with_it(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2 and message in " ".join(result.output.split()), result.output
    assert SECRET not in result.output


def test_predict_without_an_engine_imports_nothing_of_it(tmp_path: Path) -> None:
    paint(tmp_path, 1)
    code = (
        "import sys\nfrom allmasked.cli import cli\n"
        "cli.main(['predict', '0000.png', '--out', 'o.csv'], standalone_mode=False)\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('ray', 'pyarrow', 'fsspec', 'aiohttp') or '.scale' in m])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1])}
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.splitlines()[-1] == "[]", found.stderr


class Store(http.server.BaseHTTPRequestHandler):
    """Photos over HTTP for those who know the token."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        known = f"token={SECRET}" in self.path
        body = encoded("all") if known and "gone" not in self.path else b""
        self.send_response(200 if body else 404 if known else 403)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"one"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://me:{SECRET}@127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@needs("aiohttp", "fsspec")
def test_plain_predict_takes_addresses_and_lists_of_them_and_prints_no_secret(web: str, tmp_path: Path) -> None:
    paint(tmp_path / "here", 2)
    lines = [f"{web}/{name}.jpg?token={SECRET}&id=1" for name in ("a", "gone")]
    (tmp_path / "list.txt").write_text("\n".join([*lines, f"{web}/b.jpg", str(tmp_path / "here/0000.png")]) + "\n")
    result = invoke(str(tmp_path / "list.txt"), f"{web}/c.jpg?token={SECRET}", str(tmp_path / "here"))
    assert result.exit_code == 1, result.output
    found = list(csv.DictReader(result.stdout.splitlines()))
    bare = web.replace(f"me:{SECRET}@", "")
    assert [row["path"] for row in found] == [
        f"{bare}/a.jpg?id=1", f"{bare}/gone.jpg?id=1", f"{bare}/b.jpg", str(tmp_path / "here/0000.png"),
        f"{bare}/c.jpg", *(str(tmp_path / f"here/000{n}.png") for n in range(2)),
    ]  # fmt: skip
    assert found[1]["error"] == "no such object" and "403" in found[2]["error"]
    assert found[0]["label"] == found[4]["label"] != "" and not found[0]["error"]
    assert SECRET not in result.output


# --- shards, resume, the manifest -------------------------------------------------------------------------------------


def test_digests_are_a_set() -> None:
    digests, known = results.Digests(), set()
    for seed in range(40):
        some = [random.Random(seed * 7919 + n).randbytes(15) + b"\0" * (n % 3 == 0) for n in range(3000)]
        some += some[:10]
        expected = []
        for one in some:
            expected.append(one.rstrip(b"\0") not in known)
            known.add(one.rstrip(b"\0"))
        assert digests.new(some) == expected
        assert not any(digests.new(some[::-1]))
    assert len(digests) == len(known)


@parquet
def test_rows_say_it_all_and_are_those_of_plain_predict(tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", 9, broken=1)
    dest = tmp_path / "dest"
    result = invoke(str(photos), "--engine", "local", "--out", str(dest), "--shard", "4")
    assert result.exit_code == 1 and "10 photos answered" in result.output, result.output
    found = rows(dest)
    plain = invoke(str(photos), "--boxes", "--format", "jsonl")
    for row, expected in zip(found, map(json.loads, plain.stdout.splitlines()), strict=True):
        assert {name: row[name] for name in expected} == expected
        assert row["size"] == Path(row["path"]).stat().st_size and row["etag"].startswith("mtime-")
        assert row["version"] == allmasked.__version__ and row["model"] and len(row["model_sha256"]) == 12
    told = manifest(dest)
    assert told["state"] == "finished" and told["listed"] == 10
    assert told["done"]["photos"] == 10 and told["done"]["shards"] == 3
    assert told["failed"]["first"] == [{"path": f"{photos}/x0.jpg", "error": "is not a photo in a known format"}]


@pytest.mark.parametrize("kind", ["csv", pytest.param("parquet", marks=parquet)])
def test_what_is_done_stays_done_and_what_has_changed_is_done_again(tmp_path: Path, kind: shards.Kind) -> None:
    photos, dest = paint(tmp_path / "photos", 12, broken=1), tmp_path / "dest"
    command = [str(photos), "--engine", "local", "--out", str(dest), "--shard", "5", "--format", kind]
    assert invoke(*command).exit_code == 1
    before = contents(dest)
    assert "0 photos answered" in invoke(*command).output
    assert before == contents(dest)

    (photos / "0003.png").write_bytes(encoded("all", (90, 48)))
    (photos / "0100.png").write_bytes(encoded("none"))
    (photos / "0004.png").unlink()  # its row stays
    assert "2 photos answered" in invoke(*command).output
    found = rows(dest, kind)
    assert len(found) == 14 and len({row["path"] for row in found}) == 14
    assert int(found[3]["size"]) == (photos / "0003.png").stat().st_size
    assert manifest(dest)["done"]["photos"] == 14

    (photos / "x0.jpg").write_bytes(encoded("some"))
    os.utime(photos / "x0.jpg", (1, 1))
    assert invoke(*command).exit_code == 0
    assert len(rows(dest, kind)) == 14 and manifest(dest)["failed"]["photos"] == 0


@parquet
def test_failed_photos_are_tried_again_when_asked(tmp_path: Path) -> None:
    photos, dest = paint(tmp_path / "photos", 2), tmp_path / "dest"
    (tmp_path / "list.txt").write_text(f"{photos}/0000.png\n{photos}/late.png\n{photos}/0000.png\n")
    command = [str(tmp_path / "list.txt"), "--engine", "local", "--out", str(dest)]
    assert invoke(*command).exit_code == 1
    assert [row["error"] for row in rows(dest)] == [None, "no such file"]
    assert "1 photo answered" in invoke(*command, "--retry-failed").output
    assert [row["error"] for row in rows(dest)] == [None, "no such file"]
    assert invoke(*command).exit_code == 1


@parquet
def test_a_shard_of_a_run_that_was_killed_doubles_nothing(tmp_path: Path) -> None:
    """A worker that outlives its run may commit a shard late, with photos that another run has answered, too."""
    photos, dest = paint(tmp_path / "photos", 6), tmp_path / "dest"
    command = [str(photos), "--engine", "local", "--out", str(dest), "--shard", "2"]
    assert invoke(*command).exit_code == 0
    folder = Folder(str(dest))
    late = rows(dest)[2:5]
    items = [Item(row["path"], row["path"], row["etag"], row["size"]) for row in late]
    folder.write(results.shard_name(1, items, "parquet"), shards.packed(late, "parquet"))
    assert invoke(*command).exit_code == 0
    assert len(rows(dest)) == 6 == len({row["path"] for row in rows(dest)})


@parquet
def test_another_model_or_question_needs_another_folder(tmp_path: Path) -> None:
    photos, dest = paint(tmp_path / "photos", 1), tmp_path / "dest"
    command = [str(photos), "--engine", "local", "--out", str(dest)]
    assert invoke(*command).exit_code == 0
    assert "give another --out" in str(invoke(*command, "--min-face-px", "3").exception)
    assert "give another --out" in str(invoke(*command, "--format", "csv").exception)
    (dest / "manifest.json").write_text("{}")
    assert "is not one of allmasked" in str(invoke(*command).exception)
    (dest / "manifest.json").unlink()
    shard = next(dest.glob("answers-*"))
    shard.write_bytes(b"PAR1")
    result = invoke(*command)
    assert isinstance(result.exception, DataError) and shard.name in str(result.exception)


@parquet
def test_the_run_stops_at_the_limit_of_errors(tmp_path: Path) -> None:
    photos, dest = paint(tmp_path / "photos", 4, broken=6), tmp_path / "dest"
    command = [str(photos), "--engine", "local", "--out", str(dest), "--shard", "2"]
    result = invoke(*command, "--max-errors", "1")
    assert result.exit_code == 1 and "2 photos failed, more than --max-errors 1" in result.output
    assert manifest(dest)["state"].startswith("stopped: 2 photos failed")
    assert len(rows(dest)) == 6
    assert "4 photos answered" in invoke(*command).output


@parquet
def test_lines_of_progress_say_how_long_the_rest_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "LINE_SECONDS", -1)
    photos = paint(tmp_path / "photos", 6)
    said = invoke(str(photos), "--engine", "local", "--out", str(tmp_path / "dest"), "--shard", "2").stderr
    assert re.search(r"4 photos answered, 0 failed, [\d.]+ photos/s, \d+ s left\n6 photos answered", said), said
    assert [job._time(seconds) for seconds in (7.4, 61, 7300)] == ["7 s", "1 min", "2 h 2 min"]


@parquet
def test_failures_are_named_on_stderr(tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", 1, broken=TOLD + 2)
    said = invoke(str(photos), "--engine", "local", "--out", str(tmp_path / "dest")).stderr
    assert sum("is not a photo in a known format" in line for line in said.splitlines()) == TOLD
    assert "... and 2 more: manifest.json and the rows name them" in said


def test_the_listing_does_not_wait_for_answers_and_fails_where_it_was() -> None:
    seen = results.Seen()
    items = [Item(str(number), str(number), "e", number) for number in range(10)]
    parts = job.spooled(results.parts(results.pending(items, results.Done(), seen), 4))
    first = next(parts)
    deadline = time.monotonic() + 30
    while not seen.whole and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen.whole and seen.listed == 10  # before a second part was asked for
    assert [first, *parts] == [items[:4], items[4:8], items[8:]]

    def broken() -> Iterator[list[Item]]:
        yield items[:4]
        raise DataError("the store is gone")

    parts = job.spooled(broken())
    assert next(parts) == items[:4]
    with pytest.raises(DataError, match="the store is gone"):
        next(parts)


class Moved(Exception):
    pass


def test_the_listing_streams(tmp_path: Path) -> None:
    """The first photo comes before the last page of the list is asked for."""

    def lines() -> Iterator[str]:
        for number in range(10_000):
            yield str(tmp_path / f"{number}.png")
        raise Moved

    items = listing(["-"], lines)
    assert next(items).name.endswith("/0.png")
    with pytest.raises(Moved):
        list(items)


def allmasked_process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1])} | options.pop("env", {})
    command = [sys.executable, "-m", "allmasked", "predict", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


@parquet
def test_a_driver_killed_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    photos, dest = paint(tmp_path / "photos", 90, broken=2), tmp_path / "dest"
    command = [str(photos), "--engine", "local", "--out", str(dest), "--shard", "5"]
    draw = random.Random()
    for _ in range(2):
        process = allmasked_process(*command)
        deadline, wanted = time.monotonic() + 30, len(list(dest.glob("answers-*"))) + 1
        while time.monotonic() < deadline and process.poll() is None and len(list(dest.glob("answers-*"))) < wanted:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.3))
        process.kill()
        process.wait()
        committed = [row["path"] for row in rows(dest)]
        assert len(committed) == len(set(committed))
    process = allmasked_process(*command)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 1, said
    assert len(rows(dest)) == 92 == len({row["path"] for row in rows(dest)})
    assert manifest(dest)["state"] == "finished" and not list(dest.glob(".*"))


# --- Ray --------------------------------------------------------------------------------------------------------------


def children(pid: int, name: str) -> list[int]:
    """Processes below ``pid`` with this in their title."""
    import psutil

    found = []
    for one in psutil.Process(pid).children(recursive=True):
        try:
            if name in " ".join(one.cmdline()):
                found.append(one.pid)
        except psutil.Error:
            continue
    return found


@needs("ray", "pyarrow", "psutil")
@pytest.mark.slow
def test_ray_gives_the_rows_of_local_though_worker_and_driver_are_killed(tmp_path: Path) -> None:
    photos = paint(tmp_path / "photos", 30, broken=1)
    local, dest = tmp_path / "local", tmp_path / "ray"
    assert invoke(str(photos), "--engine", "local", "--out", str(local), "--shard", "10").exit_code == 1
    command = [str(photos), "--engine", "ray", "--workers", "1", "--threads", "1", "--out", str(dest), "--shard", "2"]

    process = allmasked_process(*command)
    deadline = time.monotonic() + 200  # a busy machine is no failure
    while time.monotonic() < deadline and len(list(dest.glob("answers-*"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    for pid in children(process.pid, "_Worker"):  # kill -9 of a worker: Ray starts another
        os.kill(pid, signal.SIGKILL)
    before = len(list(dest.glob("answers-*")))
    while time.monotonic() < deadline and len(list(dest.glob("answers-*"))) < before + 2 and process.poll() is None:
        time.sleep(0.05)
    ours = [*children(process.pid, "raylet/raylet"), *children(process.pid, "_Worker")]
    assert len(ours) >= 2
    process.kill()  # kill -9 of the driver; its Ray goes with it (two agents of it only after a minute)
    said, _ = process.communicate()
    assert before >= 2, said
    committed = [row["path"] for row in rows(dest)]  # read once: the worker may live a moment longer than the driver
    assert len(committed) == len(set(committed))

    process = allmasked_process(*command)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 1, said
    assert rows(dest) == rows(local)
    assert "31 " not in said.split("photos answered")[0], "what was committed was done again"
    import psutil

    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in ours if psutil.pid_exists(pid)], timeout=10)
    assert not alive


ON_RAY = """
import threading, time
from pathlib import Path
from allmasked.cli import cli
from allmasked.core.config import TrainConfig
from allmasked.data.dataset import read_split
from allmasked.ensembles.sweep import members_from, train_members as one_by_one
from allmasked.scale.engines import cluster
from allmasked.scale import members as side_by_side
from shallow import shallow
import psutil

def shallow_train(*given, train=side_by_side._train):  # in the worker
    from shallow import shallow

    with shallow():
        train(*given)

def kill_one():  # a worker that has trained an epoch
    while not (Path("side by side/one/metrics.jsonl").is_file() or Path("side by side/two/metrics.jsonl").is_file()):
        time.sleep(0.02)
    for process in psutil.Process().children(recursive=True):
        if process.cmdline() and "_train" in process.cmdline()[0]:
            process.kill()
            print("killed", flush=True)
            break

with cluster(None):
    assert not cli.main(["split", "data", "--out", "ray.json", "--engine", "ray"], standalone_mode=False)
    split = read_split("ray.json")
    members = members_from("members.toml", TrainConfig(), {})
    threading.Thread(target=kill_one, daemon=True).start()
    side_by_side._train = shallow_train
    side_by_side.train_members(split, members, "side by side", cpus=1)
with shallow():
    one_by_one(split, members, "one by one")
"""


@needs("ray", "psutil", "tensorflow", "faiss")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ray_reads_photos_and_trains_members_as_this_process_does(tmp_path: Path) -> None:
    make_split(tmp_path / "data", {"photo": 16})
    recipe = "size = '64x48'\nhead_epochs = 4\nepochs = 0\nbatch_size = 8\nweights = 'random'\nhead = 'softmax'\n"
    (tmp_path / "members.toml").write_text(f"[one]\nseed = 1\n{recipe}[two]\nseed = 2\n{recipe}")
    path = os.pathsep.join(map(str, (Path(allmasked.__file__).parents[1], Path(__file__).parent)))
    environment = {**os.environ, "PYTHONPATH": path, "TF_NUM_INTRAOP_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", ON_RAY], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0 and "killed" in found.stdout, found.stdout + found.stderr
    write_split(load_split(tmp_path / "data"), tmp_path / "here.json")
    assert (tmp_path / "ray.json").read_text() == (tmp_path / "here.json").read_text()
    for name in ("one", "two"):
        ours, theirs = (Run(tmp_path / how / name) for how in ("side by side", "one by one"))
        assert [line["loss"] for line in ours.history()] == [line["loss"] for line in theirs.history()]
        with zipfile.ZipFile(ours.model) as one, zipfile.ZipFile(theirs.model) as other:
            assert one.read("model.weights.h5") == other.read("model.weights.h5")


# --- S3 ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    server.stop()


def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """The store, with a new bucket; from now on this process finds it."""
    for variable, value in s3.items():
        monkeypatch.setenv(variable, value)
    store, _ = addresses.filesystem(f"s3://{name}")
    store.call_s3("create_bucket", Bucket=name)
    return store


@needs("s3fs", "moto", "pyarrow", "flask")
def test_photos_and_rows_in_an_s3_store(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = bucket(s3, monkeypatch, "photos")
    photos = paint(tmp_path / "photos", 20)

    def put(name: str, body: bytes) -> None:
        store.call_s3("put_object", Bucket="photos", Key=name, Body=body)

    for number in range(200):
        put(f"in/{number % 3}/{number:03d} ü?.png", (photos / f"{number % 20:04d}.png").read_bytes())
    put("in/x.jpg", b"no photo")
    put("in/.hidden/y.jpg", b"no photo")
    put("inner/z.jpg", b"beside")

    items = list(listing(["s3://photos/in"]))
    assert len(items) == 201 and all(len(item.etag) == 32 and item.size > 0 for item in items)
    assert [item.name for item in items] == sorted(item.name for item in items)
    assert len(list(listing(["s3://photos/in/0/*.png"]))) == 67
    put("odd/a#1.jpg", encoded("all"))
    put("odd/b?.jpg", encoded("all"))
    put("odd/bc.jpg", encoded("all"))
    odd = ["s3://photos/odd/a#1.jpg", "s3://photos/odd/b?.jpg"]
    assert [item.name for item in listing(odd[:1])] == odd[:1]
    put("odd/[1]/c.jpg", encoded("all"))
    put("odd/empty.jpg", b"")
    (tmp_path / "odd.txt").write_text("s3://photos/odd/[1]/")
    assert [item.name for item in listing([str(tmp_path / "odd.txt")])] == ["s3://photos/odd/[1]/c.jpg"]
    assert "empty" in invoke("s3://photos/odd/empty.jpg").stdout
    (tmp_path / "odd.txt").write_text("\n".join(odd))  # in a list, names are taken as they are
    assert [(item.name, item.size > 0) for item in listing([str(tmp_path / "odd.txt")])] == [(one, True) for one in odd]
    with monkeypatch.context() as small:
        small.setattr(addresses, "MAX_BYTES", 20)
        (large,) = addresses.ahead(listing(odd[:1], etags=False), addresses.fetch)
        assert "which is no photo" in str(large[1])
    assert [item.name for item in listing(["s3://photos/in/x.jpg"])] == ["s3://photos/in/x.jpg"]

    command = ["s3://photos/in", "--engine", "local", "--out", "s3://photos/answers", "--shard", "60"]
    result = invoke(*command)
    assert result.exit_code == 1 and "201 photos answered" in result.output, result.output
    folder = Folder("s3://photos/answers")
    found = shards.read_rows(folder.read, results.shard_names(folder), "parquet")
    assert len(found) == 201 == len({row["path"] for row in found})
    here = {row["path"][-8:-4]: row for row in map(json.loads, _plain(photos))}
    for row in found:
        if not row["error"]:
            same = here[f"{int(row['path'][-9:-6]) % 20:04d}"]
            assert (row["label"], row["p_all"], row["faces"]) == (same["label"], same["p_all"], same["faces"])
    put("in/x.jpg", encoded("all"))
    result = invoke(*command)
    assert result.exit_code == 0 and "1 photo answered" in result.output, result.output
    found = shards.read_rows(folder.read, results.shard_names(folder), "parquet")
    assert len(found) == 201 and not [row for row in found if row["error"]]
    assert SECRET.encode() not in folder.read("manifest.json")
    assert SECRET not in result.output

    plain = invoke("s3://photos/in/1/*", "--boxes")
    assert plain.exit_code == 0 and len(plain.stdout.splitlines()) == 68
    model = allmasked.load()
    known = {row["path"]: row["label"] for row in found}
    assert {one.path: one.label for one in model.predict("s3://photos/in")} == known
    named = ["s3://photos/in/gone.jpg", "s3://photos/in/x.jpg", photos / "0000.png"]
    gone, one, last = model.predict(named)
    assert gone.error == "no such object" and one.label == known["s3://photos/in/x.jpg"] == model(named[1]).label
    assert last.path == str(named[2])
    with pytest.raises(PhotoError, match=r"s3://photos/in/gone\.jpg: no such object"):
        model("s3://photos/in/gone.jpg")
    put("odd/all/../..", encoded("all"))
    put("odd/all/x.jpg", encoded("all"))
    gone, shown = allmasked.explain(None, [named[0], "s3://photos/odd/all/x.jpg"], tmp_path / "heat")
    assert gone.prediction.error == "no such object" and gone.picture is None
    assert shown.prediction.label == known["s3://photos/in/x.jpg"] and shown.picture == tmp_path / "heat/x.evidence.jpg"
    (sent,) = allmasked.explain(None, "s3://photos/odd/all/x.jpg", "s3://photos/heat")
    assert sent.picture == "s3://photos/heat/x.evidence.jpg" and Folder("s3://photos/heat").read("x.evidence.jpg")
    told = CliRunner().invoke(cli, ["explain", *named[:2], "--out", str(tmp_path / "seen"), "--format", "jsonl"])
    assert told.exit_code == 1 and [json.loads(line)["error"] for line in told.stdout.splitlines()] == [
        "no such object", None,
    ], told.output  # fmt: skip
    assert {path.name for path in (tmp_path / "seen").iterdir()} == {"x.evidence.jpg", "grid.png"}
    stop, looks = threading.Event(), []
    looking = sources.looks(
        sources.source_of("s3://photos/in"), 0.05, note=lambda *told: looks.append(told), stop=stop, existing=False
    )
    threading.Timer(0.5, put, ("in/2/new.png", encoded("some"))).start()
    look = next(looking)
    assert look.path == "s3://photos/in/2/new.png" and look.picture.size == picture("some").size and not looks
    stop.set()
    with pytest.raises(DataError, match="nowhere/in: cannot be listed"):
        next(sources.looks(sources.source_of("s3://nowhere/in"), 1, note=print, stop=stop))
    gone = invoke("s3://nowhere/in", "--engine", "local", "--out", str(tmp_path / "d"))
    assert isinstance(gone.exception, DataError) and "s3://nowhere/in: cannot be listed" in str(gone.exception)


@needs("s3fs", "moto", "flask", "faiss")
def test_what_is_drawn_sorted_and_written_of_a_store(
    s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = bucket(s3, monkeypatch, "seen")
    bodies = {f"in/{number}.jpg": encoded(("all", "none", "some")[number % 3]) for number in range(6)}
    bodies |= {"in/a?b.jpg": encoded("all"), "in/a_b.jpg": encoded("none"), "in/../x.jpg": encoded("some")}
    for name, body in {**bodies, "in/broken.jpg": b"no photo"}.items():
        store.call_s3("put_object", Bucket="seen", Key=name, Body=body)

    def names(below: str) -> list[str]:
        return sorted("/".join(found) for found, _ in addresses.files_below(f"s3://seen/{below}", {".jpg", ".png"}))

    def told(*arguments: str) -> Result:
        result = CliRunner().invoke(cli, [*arguments])
        assert SECRET not in result.output and result.exit_code in (0, 1), (result.output, result.exception)
        return result

    drawn = told("predict", "s3://seen/in", "--annotated", "s3://seen/out/drawn", "--sort", str(tmp_path / "sorted"))
    assert drawn.exit_code == 1 and f"drawn on: {len(bodies) - 1} photos, in s3://seen/out/drawn" in drawn.output
    written = names("out/drawn")
    assert len(written) == len(bodies) - 1 and "seen/in/0.jpg.answer.jpg" in written  # in/../x.jpg is hidden
    assert Image.open(io.BytesIO(Folder("s3://seen/out/drawn/seen/in").read("0.jpg.answer.jpg"))).width > 60
    assert not list(tmp_path.glob("s3:*"))
    found = list(csv.DictReader((tmp_path / "sorted/predictions.csv").open()))
    assert len(found) == len(bodies)
    for row in found:
        if row["path"] == "s3://seen/in/broken.jpg":
            assert not row["label"] and (tmp_path / "sorted" / row["copy"]).read_bytes() == b"no photo"
        else:
            body = bodies[row["path"].removeprefix("s3://seen/")]
            assert (tmp_path / "sorted" / row["copy"]).read_bytes() == body
    again = told("predict", "s3://seen/in", "--sort", str(tmp_path / "sorted"))
    assert "moved" not in again.output and list(csv.DictReader((tmp_path / "sorted/predictions.csv").open())) == found
    assert sum(path.suffix == ".jpg" for path in (tmp_path / "sorted").rglob("*")) == len(found)

    one = told("predict", "s3://seen/in/1.jpg", "--annotated", "s3://seen/one.png", "--format", "kaggle")
    assert one.exit_code == 0 and one.stdout.splitlines()[:2] == ["Id,Category", "1.jpg,0"] and "one.png" in names("")
    (tmp_path / "sample.csv").write_text("Id,Category\n4.jpg,0\n0.jpg,0\n")
    chosen = told("predict", "s3://seen/in", "--format", "kaggle", "--sample", str(tmp_path / "sample.csv"))
    assert [line.partition(",")[0] for line in chosen.stdout.splitlines()[:3]] == ["Id", "4.jpg", "0.jpg"]
    photo = tmp_path / "again.jpg"
    photo.write_bytes(encoded("all"))
    twice = told("predict", str(photo), str(photo), "--annotated", "s3://seen/twice")
    assert twice.exit_code == 0 and "drawn on: 2 photos" in twice.output and len(names("twice")) == 1
    lost = CliRunner().invoke(cli, ["predict", str(photo), "--annotated", "s3://nowhere/drawn"])
    assert isinstance(lost.exception, DataError), lost.output
    assert "s3://nowhere: cannot be written" in str(lost.exception) and "drawn on" not in lost.output
    heat = told("explain", "s3://seen/in/0.jpg", "--out", "s3://seen/heat", "--format", "jsonl")
    assert json.loads(heat.stdout)["picture"] == "s3://seen/heat/0.evidence.jpg"
    assert names("heat") == ["0.evidence.jpg", "grid.png"]


@needs("s3fs", "moto", "flask", "faiss")
def test_a_split_at_an_address_says_where_its_photos_are_from_there(
    s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = bucket(s3, monkeypatch, "kept")
    here = make_split(tmp_path / "here", {"photo": 4}).root
    for path in here.rglob("*.png"):
        name = f"masks/{path.relative_to(here).as_posix()}"
        store.call_s3("put_object", Bucket="kept", Key=name, Body=path.read_bytes())

    def split(data: str, out: str) -> Any:
        result = CliRunner().invoke(cli, ["split", data, "--out", out])
        assert result.exit_code == 0 and f"written to {out}" in result.output, result.output
        return json.loads(Folder(out.rpartition("/")[0]).read(out.rpartition("/")[2]))

    assert split("s3://kept/masks", "s3://kept/masks/split.json")["data"] == "."
    assert split("s3://kept/masks/", "s3://kept/splits/one.json")["data"] == "../masks"
    assert split(str(here), "s3://kept/here.json")["data"] == here.resolve().as_posix()
    assert split("s3://kept/masks", "s3://kept/split.json")["data"] == "masks"
    store.call_s3("put_object", Bucket="kept", Key="masks/labels.csv", Body=b"path,label\nall/photo000.png,all\n"
                  b"none/photo000.png,none\nsome/photo000.png,some\n")  # fmt: skip
    assert split("s3://kept/masks/labels.csv", "s3://kept/masks/split.json")["data"] == "."
    store.call_s3("delete_object", Bucket="kept", Key="masks/labels.csv")
    assert split("s3://kept/masks", "s3://kept/masks/split.json")["data"] == "."
    for place in ("s3://kept/masks/split.json", "s3://kept/split.json"):  # read anywhere, the photos come along
        assert len(read_split(copied(place)).photos) == 12
    with pytest.raises(RunError, match="say where it is with --data"):
        read_split(copied("s3://kept/splits/one.json"))
    for option, name in (("--json", "found.json"), ("--html", "found.html")):
        seen = CliRunner().invoke(cli, ["inspect", "s3://kept/masks", "--no-look", option, f"s3://kept/seen/{name}"])
        assert seen.exit_code == 0 and Folder("s3://kept/seen").read(name), seen.output


@pytest.mark.parametrize("place", ["https://", "http:///", "https://?x=1", "s3://"])
def test_an_address_of_nothing_has_a_name_too(place: str) -> None:
    assert addresses.names_of(place)[-1].startswith("_")


def test_what_lies_beside_a_models_file_is_of_its_identity(tmp_path: Path) -> None:
    model = tmp_path / "m.xml"
    model.write_text("<net/>")
    known = {answering.identity(str(model))[0]}
    for suffix in (".bin", ".json"):
        model.with_suffix(suffix).write_text("weights")
        known.add(answering.identity(str(model))[0])
    assert len(known) == 3


def test_who_cannot_read_data_sets_is_told_before_they_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "faiss" else found(name, *more)
    )
    monkeypatch.setattr(addresses, "filesystem", lambda _: pytest.fail("the store was asked"))
    with pytest.raises(MissingExtraError, match=r"allmasked\[data\]"):
        allmasked.split("s3://bucket/masks")


@needs("s3fs", "moto", "flask", "faiss")
def test_a_data_set_in_an_s3_store_is_copied_and_split(
    s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import s3fs

    asked: list[str] = []
    call = s3fs.S3FileSystem._call_s3

    async def counted(self: Any, method: str, *arguments: Any, **more: Any) -> Any:
        asked.append(method)
        return await call(self, method, *arguments, **more)

    store = bucket(s3, monkeypatch, "sets")
    here = make_split(tmp_path / "here", {"photo": 4}).root

    def put(name: str, body: bytes) -> None:
        store.call_s3("put_object", Bucket="sets", Key=f"masks/{name}", Body=body)

    for path in here.rglob("*.png"):
        put(path.relative_to(here).as_posix(), path.read_bytes())
    put("film.mp4", b"no photo")
    put("../out.png", b"no name of a file")

    def split(*more: str) -> dict[str, Any]:
        asked.clear()
        result = CliRunner().invoke(cli, ["split", "s3://sets/masks/", "--out", str(tmp_path / "s.json"), *more])
        assert result.exit_code == 0 and SECRET not in result.output, result.output
        found: dict[str, Any] = json.loads((tmp_path / "s.json").read_text())
        return found

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    first = split()
    assert asked == ["get_object"] * 12  # and no request for an object's size
    assert first["photos"] == json.loads(_written(load_split(here), tmp_path))["photos"]
    assert split() == first and not asked
    assert allmasked.split("s3://sets/masks").photos == load_split(here).photos and not asked
    assert len(allmasked.inspect("s3://sets/masks/").photos) == 12

    photos = sorted(here.glob("all/*.png"))
    put("all/photo000.png", photos[3].read_bytes())
    store.call_s3("delete_object", Bucket="sets", Key="masks/all/photo001.png")
    second = {photo["path"]: photo for photo in split()["photos"]}
    assert asked == ["get_object"] and "all/photo001.png" not in second
    assert second["all/photo003.png"]["reason"] == "exact duplicate of all/photo000.png"

    seen = CliRunner().invoke(cli, ["inspect", "s3://sets/masks", "--no-look", "--json", "-"])
    assert seen.exit_code == 0 and json.loads(seen.stdout)["photos"] == 11, seen.output
    monkeypatch.setenv("ALLMASKED_CACHE_GB", "0.000001")
    large = CliRunner().invoke(cli, ["inspect", "s3://sets/masks"])
    assert isinstance(large.exception, ConfigError) and "more than the 1e-06 GB" in str(large.exception)
    nothing = CliRunner().invoke(cli, ["inspect", "s3://sets/empty"])
    assert isinstance(nothing.exception, DataError) and "holds no photo" in str(nothing.exception)


def _written(split: Split, folder: Path) -> str:
    write_split(split, folder / "here.json")
    return (folder / "here.json").read_text()


@needs("aiohttp", "fsspec", "faiss")
def test_a_data_set_that_a_web_server_lists(tmp_path: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    here = make_split(tmp_path / "here", {"photo": 2}).root
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://me:{SECRET}@127.0.0.1:{server.server_port}/here"
        result = CliRunner().invoke(cli, ["split", address, "--out", str(tmp_path / "s.json")])
        server.shutdown()
    assert result.exit_code == 0 and SECRET not in result.output, result.output
    text = (tmp_path / "s.json").read_text()
    assert json.loads(text)["photos"] == json.loads(_written(load_split(here), tmp_path))["photos"]
    assert SECRET not in text
    gone = CliRunner().invoke(cli, ["split", address, "--out", str(tmp_path / "t.json")])  # the server is no more
    assert "cannot be listed" in str(gone.exception) and SECRET not in str(gone.exception)


def _plain(photos: Path) -> list[str]:
    return invoke(str(photos), "--boxes", "--format", "jsonl").stdout.splitlines()


EMULATORS = {
    # store: program, its arguments, how it is told to the store's library
    "az": ("azurite-blob",
           ["--blobPort", "PORT", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"],
           {"AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=http;AccountName=tester;"
            f"AccountKey={base64.b64encode(SECRET.encode()).decode()};BlobEndpoint=http://127.0.0.1:PORT/tester;"}),
    "gs": ("gcp-storage-emulator", ["start", "--host=127.0.0.1", "--port=PORT", "--in-memory"],
           {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:PORT"}),
}  # fmt: skip


@pytest.fixture(params=EMULATORS)
def other_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``az`` or ``gs`` with an empty container, by an emulator on this machine, where there is one."""
    program, arguments, environment = EMULATORS[request.param]
    if not (found := shutil.which(program)):
        pytest.skip(f"needs {program}: see docs/CONTRIBUTING.md")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("PORT", str(port)))
    command = [found, *(part.replace("PORT", str(port)) for part in arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "AZURITE_ACCOUNTS": f"tester:{base64.b64encode(SECRET.encode()).decode()}"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert process.poll() is None, f"{program} has ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield request.param
    finally:
        process.terminate()
        process.wait()


@needs("adlfs", "gcsfs", "pyarrow", "faiss")
def test_photos_and_rows_in_the_other_stores(other_store: str, tmp_path: Path) -> None:
    here = f"{other_store}://photos"
    store, _ = addresses.filesystem(here)
    store.mkdir("photos")
    photos = paint(tmp_path / "photos", 12)
    for number, photo in enumerate(sorted(photos.iterdir())):
        store.pipe_file(f"photos/in/{number % 3}/{number:03d} ü#?.png", photo.read_bytes())
    store.pipe_file("photos/in/x.jpg", b"no photo")
    store.pipe_file("photos/in/.hidden/y.jpg", b"no photo")
    store.pipe_file("photos/inner/z.jpg", b"beside")
    items = list(listing([f"{here}/in"]))
    assert sorted(item.name for item in items) == sorted(
        [f"{here}/in/x.jpg", *(f"{here}/in/{number % 3}/{number:03d} ü#?.png" for number in range(12))]
    )
    assert all(item.etag and item.size > 0 for item in items)
    assert list(listing([f"{here}/in/x.jpg"])) == [item for item in items if item.name.endswith("x.jpg")]
    assert len(list(listing([f"{here}/in/1/*.png"]))) == 4

    command = [f"{here}/in", "--engine", "local", "--out", f"{here}/answers", "--shard", "5"]
    result = invoke(*command)
    assert result.exit_code == 1 and "13 photos answered" in result.output, result.output
    expected = [json.loads(line)["label"] for line in _plain(photos)]
    folder = Folder(f"{here}/answers")
    found = shards.read_rows(folder.read, results.shard_names(folder), "parquet")
    answers = {row["path"][-11:-8]: row["label"] for row in found if not row["error"]}
    assert len(found) == 13 and [answers[name] for name in sorted(answers)] == expected
    store.pipe_file("photos/in/x.jpg", encoded("all"))
    result = invoke(*command)
    assert result.exit_code == 0 and "1 photo answered" in result.output, result.output
    assert len(shards.read_rows(folder.read, results.shard_names(folder), "parquet")) == 13
    assert [one.label for one in allmasked.load().predict(f"{here}/in/2")] == expected[2::3]
    assert [one.error for one in allmasked.load().predict([f"{here}/in/gone.png"])] == ["no such object"]
    copy = copied(f"{here}/in")
    assert sorted(path.read_bytes() for path in copy.rglob("*.png")) == sorted(map(Path.read_bytes, photos.iterdir()))
    secret = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", SECRET).partition("AccountKey=")[2].partition(";")[0]
    gone = invoke(f"{other_store}://nowhere/in", "--engine", "local", "--out", str(tmp_path / "d"))
    assert isinstance(gone.exception, DataError) and "://nowhere/in: " in str(gone.exception)
    for said in (result.output, str(gone.exception), folder.read("manifest.json").decode()):
        assert SECRET not in said and (not secret or secret not in said)


class Pages:
    """A store of Google's in two pages."""

    def call(self, *_: object, pageToken: str = "", **__: object) -> dict[str, Any]:
        number = int(pageToken or 0)
        names = [f"in/{number}.jpg", f"in/@eaDir/{number}.jpg/THUMB_M.jpg", f"in/.thumbnails/{number}.jpg"]
        page = {"items": [{"name": name, "etag": f"e{number}", "size": "5"} for name in names]}
        return page if number else {**page, "nextPageToken": "1"}


def test_a_bucket_of_google_comes_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "filesystem", lambda _: (Pages(), "bucket/in"))
    assert [(item.name, item.etag, item.size) for item in listing(["gs://bucket/in/"])] == [
        ("gs://bucket/in/0.jpg", "e0", 5), ("gs://bucket/in/1.jpg", "e1", 5),
    ]  # fmt: skip


def test_ray_that_cannot_start_is_tried_again_and_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from allmasked.scale import engines

    calls: list[dict[str, Any]] = []

    class Ray:
        late = 2

        def is_initialized(self) -> bool:
            return False

        def init(self, **given: Any) -> None:
            calls.append(given)
            if len(calls) <= self.late:
                raise Exception("The current node timed out during startup.")

        def shutdown(self) -> None:
            pass

    ray = Ray()
    monkeypatch.setattr(engines, "require", lambda *_: ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with engines.cluster(None) as found:
        assert found is ray and len(calls) == 3
    calls.clear()
    ray.late = 9
    with pytest.raises(RunError, match=r"in 3 attempts \(The current node timed out"), engines.cluster(None):
        pass
    with (
        pytest.raises(ConfigError, match="--address there: Ray cannot be reached"),
        engines.cluster("there"),
    ):
        pass
    assert len(calls) == 4


def test_an_engine_that_is_not_known_is_refused(tmp_path: Path) -> None:
    from allmasked.scale.answering import Job

    with pytest.raises(ConfigError, match="must be one of local, ray"):
        job.answer(["x.jpg"], Job(str(tmp_path)), engine="spark")
