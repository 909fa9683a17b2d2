"""What becomes of the files when a command is killed, has no room, may not write, or is not alone.

    python bench/faults.py WAY ... [--only NAME,...] [--kills 20] [--seed 0]

kills: kill -9, half of them at random moments of the time a whole run takes, half just before one of its writes
(chosen at random among all of them); then the command that a user would type next. room: a folder with too little
room, and one that may not be written (both need Linux and root). two: the same command twice at once. clock: the clock
jumps back by 30 days at half of the writes. memory: ulimit -v in steps; serving-memory: the same for a server. stop:
SIGTERM to a server under load. replaced: a photo that is written anew, in place and by renaming, while it is read.

Of each, how often it went well, and what did not. Photos are painted, networks small and random.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import importlib
import io
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOADERS = ("cached", "flow_from_directory", "from_generator", "image_dataset_from_directory")
TINY = ["--backbone", "Tiny", "--head", "softmax", "--weights", "random", "--size", "64x48", "--batch-size", "8"]
PAINTED = ["--size", "320x240", "--workers", "2"]
EPOCHS = ["--epochs", "2", "--head-epochs", "1"]


# --- a command in a process of its own, whose writes are counted ------------------------------------------------------


def child(command: Sequence[str], where: Path, at: int, do: str, log: Path | None) -> None:
    """Run the command; just before the write number ``at`` below ``where`` do ``kill`` or ``clock``."""
    writes, root = 0, os.path.realpath(where)

    def seen(event: str, details: tuple[Any, ...]) -> None:
        nonlocal writes
        if event == "open":
            path, _, flags = details
            if not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"):
            path = details[0]
        else:
            return
        if not isinstance(path, str | os.PathLike) or not os.path.abspath(path).startswith(root):  # noqa: PTH100
            return
        writes += 1
        if writes == at and do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif writes == at:
            real = time.time
            time.time = lambda: real() - 30 * 86400

    sys.addaudithook(seen)
    from allmasked.cli import main

    sys.argv = ["allmasked", *map(str, command)]
    try:
        main()
    finally:
        if log:
            log.write_text(str(writes))


@dataclass
class Ended:
    code: int
    said: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        """The lines that say that something is wrong."""
        return [line for line in self.said.splitlines() if line.startswith(("error: ", "Error: ", "Traceback"))]

    def clear(self) -> bool:
        """Whether it failed as it should: one line that says why (some, where some photos failed), no traceback."""
        return "Traceback" not in self.said and (self.code == 1 or (self.code == 2 and len(self.lines) == 1))


@dataclass
class Process:
    """A command in a fork of this process, which has imported what takes long."""

    pid: int
    output: Path
    began: float

    def kill(self, group: bool) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL) if group else os.kill(self.pid, signal.SIGKILL)

    def peak_bytes(self) -> int:
        """The largest size of its memory map until it ends."""
        peak = 0
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            with contextlib.suppress(OSError, StopIteration):
                status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
                peak = max(peak, next(int(line.split()[1]) for line in status if line.startswith("VmPeak")) * 1024)
            time.sleep(0.02)
        return peak

    def end(self) -> Ended:
        _, status = os.waitpid(self.pid, 0)
        said = self.output.read_text(errors="replace")
        self.output.unlink()
        return Ended(os.waitstatus_to_exitcode(status), said, time.perf_counter() - self.began)


def start(folder: Path, command: Sequence[Any], *, at: int = 0, do: str = "", log: Path | None = None,
          limit: int = 0) -> Process:  # fmt: skip
    handle, name = tempfile.mkstemp()
    began = time.perf_counter()
    sys.stdout.flush()
    if pid := os.fork():
        os.close(handle)
        return Process(pid, Path(name), began)
    code = 70
    try:
        os.setsid()
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.chdir(folder)
        os.environ |= {"ALLMASKED_CACHE": str(folder / "cache"), "NO_COLOR": "1", "COLUMNS": "300"}
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        child(command, folder, at, do, log)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def run(folder: Path, command: Sequence[Any], **more: Any) -> Ended:
    return start(folder, command, **more).end()


def run_well(folder: Path, command: Sequence[Any], **more: Any) -> Ended:
    done = run(folder, command, **more)
    if done.code:
        raise SystemExit(f"{' '.join(map(str, command))}: ended with {done.code}\n{done.said[-2000:]}")
    return done


def import_all() -> None:
    """What takes long to import, and in the table of backbones a network that is quick to train."""
    import keras

    from allmasked.networks import backbones

    def build(_row: Any, photo: Any, scaled: Any, _source: str, _seed: int) -> Any:
        x = keras.layers.Conv2D(8, 3, strides=16, activation="relu", name="eighth")(scaled)
        return keras.Model(photo, keras.layers.Conv2D(8, 1, activation="relu", name="sixteenth")(x), name="backbone")

    backbones.BACKBONES["Tiny"] = backbones.Backbone(
        "Tiny", build, ((1 / 127.5,) * 3, (-1.0,) * 3), 64, 0.001, "eighth", "sixteenth", "none", sources=("random",)
    )
    for name in ("tensorflow", "tensorboard.summary", "cv2", "sklearn.metrics", "scipy.stats", "onnx", "onnxruntime"):
        importlib.import_module(name)
    for name in ("cli.data", "cli.training", "cli.scoring", "cli.ensembling", "cli.exporting", "cli.answers"):
        importlib.import_module(f"allmasked.{name}")
    for name in ("training.train", "ensembles.assemble", "exporting.export", "predictors.predictor"):
        importlib.import_module(f"allmasked.{name}")


# --- what is in a folder, told so that it can be compared ------------------------------------------------------------


def weights(path: Path) -> str:
    """A digest of the arrays of a ``model.keras``."""
    import h5py
    import numpy as np

    found = hashlib.sha256()
    with zipfile.ZipFile(path) as whole:
        file = h5py.File(io.BytesIO(whole.read("model.weights.h5")))

    def one(name: str, value: Any) -> None:
        if isinstance(value, h5py.Dataset):
            found.update(name.encode() + np.asarray(value).tobytes())

    file.visititems(one)
    return found.hexdigest()


TIMES = {
    "updated",
    "run",  # its number, in the manifest of a job
    "model_sha256",  # of a .keras file, which holds the time
    "seconds",
    "photos_per_second",
    "train_seconds",
    "ms",
    "mb",
    "cost_ratio",
    "order",
    "scored_at",
    "ms_per_photo",
}
"""Keys whose values are measured, and so differ from run to run."""


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def said_by(path: Path) -> str:
    """What a file says, times left out. Raises for a half one."""
    if path.suffix == ".keras":
        return weights(path)
    if path.suffix == ".json":
        return json.dumps(timeless(json.loads(path.read_text())))
    if path.suffix == ".jsonl":
        return json.dumps([timeless(json.loads(line)) for line in path.read_text().splitlines()])
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path) as stored:
            return str([stored[name].shape for name in stored.files])
    if path.name.startswith("events") or path.name == "fingerprint.pb":  # random numbers of TensorFlow's
        return ""
    if path.suffix == ".html":
        return re.sub(r" in \d+ (s|min)\b", "", path.read_text())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder and what it says; names of logs without their time, locks left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".lock", ".use"):
            name = "events" if path.name.startswith("events") else path.name
            found[str(path.relative_to(folder).with_name(name))] = said_by(path)
    return found


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


# --- the commands -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A command whose results lie in ``out``, below the folder that it is started in.

    Attributes:
        again: what to type when it was killed; the same command when None.
        alone: whether ``out`` must not be there before.
    """

    name: str
    command: tuple[str, ...]
    again: Callable[[Path], Sequence[str]] | None = None
    alone: bool = False

    def next(self, folder: Path) -> Sequence[str]:
        return self.again(folder) if self.again else self.command


def resumed(command: tuple[str, ...]) -> Callable[[Path], Sequence[str]]:
    go_on = ("train", "--resume", "--out", "out/run")
    return lambda folder: go_on if (folder / "out/run/config.json").is_file() else command


def cases(shared: Path) -> list[Case]:
    data, split, runs, photos = (str(shared / name) for name in ("data", "split.json", "runs", "data/some"))
    found = [Case("split", ("split", data, "--out", "out/split.json"))]
    for loader in LOADERS:
        train = ("train", split, "--out", "out/run", *TINY, *EPOCHS, "--loader", loader)
        found.append(Case(f"train-{loader}", train, resumed(train), alone=True))
    one, two = f"{runs}/one", f"{runs}/two"
    look = ("second-look", f"{runs}/seen", "--out", "out/looking", "--epochs", "2")
    distil = ("distil", one, "--out", "out/small", *TINY[:6], *EPOCHS, "--size", "64x48")
    return [
        *found,
        Case("predict", ("predict", data, "--out", "out/answers.csv", "--boxes")),
        Case("synth", ("synth", "drawn", "out/drawn", "--photos", "24", *PAINTED), alone=True),
        Case("export", ("export", one, "--out", "out/one.onnx")),
        Case("ensemble", ("ensemble", one, two, "--vote", "soft", "--out", "out/both"), alone=True),
        Case("second-look", look, alone=True),
        # these are not killed, but have no room and may not write
        Case("extend", ("extend", split, str(shared / "more"), "--out", "out/more.json")),
        Case("predict-annotated", ("predict", photos, "--annotated", "out/seen", "--out", "out/answers.jsonl")),
        Case("predict-sort", ("predict", photos, "--sort", "out/sorted", "--out", "out/answers.json")),
        Case("predict-engine", ("predict", photos, "--engine", "local", "--out", "out/rows", "--format", "csv")),
        Case("explain", ("explain", photos, "--out", "out/heat")),
        Case("inspect", ("inspect", data, "--json", "out/found.json", "--html", "out/found.html", "--no-look")),
        Case("export-openvino", ("export", one, "--format", "openvino", "--out", "out/one.xml")),
        Case("export-savedmodel", ("export", one, "--format", "savedmodel", "--out", "out/saved")),
        Case("evaluate", ("evaluate", "out/one"), alone=True),
        Case("label-issues", ("label-issues", "out/one"), alone=True),
        Case("report", ("report", "out/one"), alone=True),
        Case("compare", ("compare", one, two, "--out", "out/compared")),
        Case("synth-competition", ("synth", "competition", data, "out/competition"), alone=True),
        Case("distil", distil, alone=True),
    ]  # fmt: skip


KILLED = ("split", *(f"train-{loader}" for loader in LOADERS), "predict", "synth", "export", "ensemble", "second-look")


LIGHT = {"split", "predict", "synth", "predict-annotated", "predict-sort", "predict-engine", "explain", "inspect"}
"""Cases that need neither TensorFlow nor runs."""


def prepare(shared: Path, light: bool) -> None:
    """Painted photos, a split of them, two runs, and one that finds faces."""
    run_well(shared, ("synth", "drawn", "data", "--photos", "60", *PAINTED))
    run_well(shared, ("synth", "drawn", "more", "--photos", "12", "--seed", "9", *PAINTED))
    if light:
        return
    run_well(shared, ("split", "data", "--out", "split.json"))
    for seed, name in enumerate(("one", "two")):
        run_well(shared, ("train", "split.json", "--out", f"runs/{name}", *TINY, *EPOCHS, "--seed", str(seed)))
    seen = ("--backbone", "EfficientNetLite0", "--size", "128x96", "--epochs", "0", "--head-epochs", "1")
    run_well(shared, ("train", "split.json", "--out", "runs/seen", *seen))


def fresh(folder: Path, shared: Path, case: Case) -> Path:
    """A new folder to start a case in."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    if case.command[1].startswith("out/"):
        for path in (shared / "runs/one").rglob("*"):
            target = folder / case.command[1] / path.relative_to(shared / "runs/one")
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                shutil.copyfile(path, target)
        split = folder / case.command[1] / "split.json"
        content = json.loads(split.read_text())
        split.write_text(json.dumps({**content, "data": str(shared / "data")}))
    return folder


def whole_run(work: Path, shared: Path, case: Case, at: str = "whole") -> tuple[dict[str, str], Ended, int, Path]:
    """What a case leaves when nothing happens: files, time, number of writes, and the folder.

    ``at`` is where below ``work``; a split says how to get from there to the photos.
    """
    folder, log = fresh(work / at, shared, case), work / "writes"
    done = run_well(folder, case.command, log=log)
    return tree(folder), done, int(log.read_text()), folder


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def kills(work: Path, shared: Path, case: Case, options: argparse.Namespace) -> Counter[str]:
    expected, done, writes, _ = whole_run(work, shared, case)
    draw, found, began = random.Random(options.seed), Counter[str](), time.monotonic()
    for number in range(options.kills):
        if time.monotonic() - began > 60 * options.minutes:
            break
        folder = fresh(work / "killed", shared, case)
        if number % 2:
            moment = f"write {(at := draw.randint(1, writes))} of {writes}"
            killed = run(folder, case.command, at=at, do="kill")
        else:
            seconds = draw.uniform(0, done.seconds)
            moment = f"{seconds:.2f} of {done.seconds:.2f} s"
            process = start(folder, case.command)
            time.sleep(seconds)
            process.kill(group=draw.random() < 0.5)
            killed = process.end()
        if killed.code == 0:
            found["had ended before"] += 1
        wrong = half_files(folder, expected)
        went_on = run(folder, case.next(folder))
        hidden = any(path.name.startswith(".") for path in folder.rglob("*"))
        finished = not hidden and tree(folder) == expected  # it was killed between its last write and its end
        if went_on.code and not (finished and went_on.clear()):
            wrong.append(f"does not go on: exit code {went_on.code}, {(went_on.lines or ['nothing said'])[-1][:300]}")
        else:
            now = tree(folder)
            wrong += [f"left: {name}" for name in now.keys() - expected.keys()]
            wrong += [f"missing: {name}" for name in expected.keys() - now.keys()]
            wrong += [f"other: {name}" for name in now.keys() & expected.keys() if now[name] != expected[name]]
        found["well" if not wrong else "wrong"] += 1
        if wrong:
            print(f"  {case.name}, killed at {moment}: {'; '.join(sorted(set(wrong))[:4])}", flush=True)
    print(f"  ({done.seconds:.1f} s and {writes} writes a run)", flush=True)
    return found


def half_files(folder: Path, expected: dict[str, str]) -> list[str]:
    """Files under their last names that can't be read: right after a kill."""
    wrong = []
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and not path.name.startswith(".") and path.suffix in (".json", ".jsonl", ".npz", *WHOLE):
            try:
                said = said_by(path)
            except Exception as error:
                wrong.append(f"half: {name} ({type(error).__name__})")
            else:
                if path.suffix in WHOLE and expected.get(name, said) != said:
                    wrong.append(f"half: {name}")
    return wrong


WHOLE = (".keras", ".csv", ".onnx", ".jpg", ".png")
"""Endings of files that are either as in a whole run or not there."""


# --- no room, and not writable ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def room(work: Path, shared: Path, case: Case, _: argparse.Namespace) -> Counter[str]:
    """Too little room, in four steps, then not writable; after each the command must work once there is room."""
    expected, _, _, folder = whole_run(work, shared, case, "whole/here")
    needed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    found: Counter[str] = Counter()
    for share in (None, 0.0, 0.3, 0.6, 0.9):
        with mounted(work / "small", 4 * needed + (16 << 20)) as small:
            place, filler = small / "here", small / "filler"
            fresh(place, shared, case)
            if not case.alone:  # results from before, which must stay
                run_well(place, case.command)
            else:
                (place / "out" / "old.txt").write_text("old")
            before = tree(place)
            if share is None:
                subprocess.run(["mount", "-o", "remount,ro", small], check=True)
            else:
                with filler.open("wb") as file, contextlib.suppress(OSError):
                    free = shutil.disk_usage(small).free - int(share * needed)
                    os.posix_fallocate(file.fileno(), 0, max(1, free))
            done = run(place, case.command)
            after, what = tree(place), "read-only" if share is None else f"room for {share:.0%}"
            wrong = []
            if done.code == 0 and share is None:
                wrong.append("exit code 0")
            elif done.code and not done.clear():
                wrong.append(f"exit code {done.code}, {(done.lines or ['nothing said'])[:3]}")
            if done.code:
                gone = [name for name, said in before.items() if after.get(name) != said]
                wrong += [f"old ones gone or changed: {gone[:3]}"] if gone else []
                left = [name for name in after if name not in before and Path(name).name.startswith(".")]
                wrong += [f"left: {left[:3]}"] if left and not case.alone else []
            if share is None:
                subprocess.run(["mount", "-o", "remount,rw", small], check=True)
            filler.unlink(missing_ok=True)
            if not (done.code == 0 and case.alone):
                again = run(place, case.next(place))
                now = {name: said for name, said in tree(place).items() if name != "out/old.txt"}
                if again.code:
                    wrong.append(f"afterwards exit code {again.code}, {(again.lines or ['nothing said'])[:2]}")
                elif now != expected:
                    other = sorted(name for name in now.keys() | expected.keys() if now.get(name) != expected.get(name))
                    wrong.append(f"afterwards other: {other[:4]}")
            found["well" if not wrong else "wrong"] += 1
            if wrong:
                print(f"  {case.name}, {what}: {'; '.join(wrong)}", flush=True)
            elif done.code and share in (None, 0.3):
                print(f"  {case.name}, {what}: {done.lines[-1:] or done.said.splitlines()[-1:]}", flush=True)
    return found


# --- two at once, the clock, memory -----------------------------------------------------------------------------------


def two(work: Path, shared: Path, case: Case, options: argparse.Namespace) -> Counter[str]:
    """Two of a kind at once, four times; one begins a little later each time."""
    expected, done, _, _ = whole_run(work, shared, case)
    found: Counter[str] = Counter()
    for number in range(options.times):
        folder = fresh(work / "two", shared, case)
        first = start(folder, case.command)
        time.sleep(number * done.seconds / (options.times + 1))
        second = start(folder, case.next(folder))
        both = [first.end(), second.end()]
        wrong = [f"exit code {one.code}, {one.lines[:2]}" for one in both if one.code and not one.clear()]
        if all(one.code for one in both):
            wrong.append("none of them ended well")
        now = tree(folder)
        if other := sorted(name for name in now.keys() | expected.keys() if now.get(name) != expected.get(name)):
            wrong.append(f"other: {other[:4]}")
        found["well" if not wrong else "wrong"] += 1
        refused = [one.lines[-1] for one in both if one.code and one.clear() and one.lines]
        print(f"  {case.name}: {'; '.join(wrong) or 'well'}; {refused or 'both went through'}", flush=True)
    return found


def clock(work: Path, shared: Path, case: Case, _: argparse.Namespace) -> Counter[str]:
    """The clock jumps back before the first write, and at half of them."""
    expected, _, writes, _ = whole_run(work, shared, case)
    found: Counter[str] = Counter()
    for at in (1, writes // 2):
        folder = fresh(work / "clock", shared, case)
        done = run(folder, case.command, at=at, do="clock")
        well = done.code == 0 and tree(folder) == expected
        found["well" if well else "wrong"] += 1
        if not well:
            print(f"  {case.name}, write {at}: exit code {done.code}, {done.lines[-1:]}", flush=True)
    return found


def memory(work: Path, shared: Path, case: Case, _: argparse.Namespace) -> Counter[str]:
    """ulimit -v at ten steps between what is there before the command begins and what a whole run takes."""
    folder = fresh(work / "memory", shared, case)
    process = start(folder, case.command)
    peak = process.peak_bytes()
    process.end()
    expected, found = tree(folder), Counter[str]()
    least = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for step in range(10):
        limit = least + int((peak - least) * step / 9)
        folder = fresh(work / "memory", shared, case)
        done = run(folder, case.command, limit=limit)
        well = tree(folder) == expected if done.code == 0 else done.clear()
        found["well" if well else "wrong"] += 1
        if not well or done.code:
            said = (done.lines or done.said.splitlines() or ["nothing said"])[-1][:200]
            print(f"  {case.name}, {limit / 1e9:.2f} GB: exit code {done.code}, {said}", flush=True)
    return found


# --- a server without memory, one that is told to stop, and photos that change ----------------------------------------


def serving_memory(work: Path, _: Path, __: argparse.Namespace) -> Counter[str]:
    """ulimit -v in ten steps up to what a server takes: it answers and ends well, or one line says why not."""
    from serving import drawn_photos

    body = drawn_photos(work, 1)[0].read_bytes()
    found: Counter[str] = Counter()
    _, peak = _answers_within(0, body)
    for step in range(1, 11):
        limit = 100_000_000 + (peak - 100_000_000) * step // 10
        ended, _ = _answers_within(limit, body)
        well = ended.code == 0 or ended.clear()
        found["well" if well else "LOST"] += 1
        print(
            f"  serve, {limit / 1e9:.2f} GB: exit code {ended.code}, {(ended.lines or ['answered'])[-1][:200]}",
            flush=True,
        )
    return found


def _answers_within(limit: int, body: bytes) -> tuple[Ended, int]:
    """A server that is asked once and told to end: how it ended, and the largest size of its memory map."""

    def limited() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    began, said, status, answer = time.perf_counter(), "", 0, ""
    process = subprocess.Popen(
        [sys.executable, "-m", "allmasked", "serve", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limited,
    )
    assert process.stderr is not None
    peak = 0
    for line in process.stderr:
        said += line
        if address := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
            for _ in range(100):  # it listens a little later than it says
                with contextlib.suppress(OSError, http.client.HTTPException):
                    connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=60)
                    connection.request("POST", "/v1/predict", body, {"Content-Type": "image/jpeg"})
                    response = connection.getresponse()
                    status, answer = response.status, response.read().decode()[:300]
                if status or process.poll() is not None:
                    break
                time.sleep(0.2)
            with contextlib.suppress(OSError):
                sizes = Path(f"/proc/{process.pid}/status").read_text()
                peak = 1024 * int(sizes.partition("VmPeak:")[2].split()[0])
            process.terminate()
            break
    said += process.stderr.read()
    code = process.wait(60)
    if code == 0 and status != 200 and "memory" not in answer:
        said, code = f"{said}Traceback (the answer was {status}: {answer})", 70
    return Ended(code, said, time.perf_counter() - began), peak


def stop(_: Path, __: Path, options: argparse.Namespace) -> Counter[str]:
    """SIGTERM under load: whatever was sent whole before it must be answered."""
    from serving import people, server

    bodies = people()[:8]
    found: Counter[str] = Counter()
    for _time in range(options.times):
        told = threading.Event()
        with server() as (port, process):
            labels = [_label(_ask(port, body)) for body in bodies]
            assert len(set(labels)) > 1
            clients = [
                threading.Thread(target=_client, args=(port, bodies[number % 8], labels[number % 8], told, found))
                for number in range(options.clients)
            ]
            for one in clients:
                one.start()
            time.sleep(options.seconds)
            told.set()
            process.send_signal(signal.SIGTERM)
            for one in clients:
                one.join()
            process.wait(60)
            found[f"exit code {process.returncode}"] += 1
    return found


def _client(port: int, body: bytes, label: str, told: threading.Event, found: Counter[str]) -> None:
    """Ask again and again, each time on a new connection, until the server listens no more."""
    sent: list[bool] = []
    while True:
        try:
            answer = _ask(port, body, lambda: sent.append(not told.is_set()))
        except ConnectionError:
            return
        before = bool(sent) and sent.pop()
        whole = answer[9:12] in (b"200", b"503") and answer.rstrip().endswith(b"}")
        if whole and answer[9:12] == b"200" and _label(answer) != label:
            found["wrong"] += 1
        found["lost" if before and not whole else f"{answer[9:12].decode()}" if whole else "sent too late"] += 1


def _ask(port: int, body: bytes, sent: Callable[[], Any] = bool) -> bytes:
    """What a server says to a photo on a connection of its own, as far as it comes; ``sent`` is called in between."""
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: image/jpeg\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        connection = socket.create_connection(("127.0.0.1", port), 30)
    except OSError:
        raise ConnectionError from None
    with connection, contextlib.suppress(OSError):
        connection.sendall(head.encode() + body)
        sent()
        while block := connection.recv(65536):
            answer += block
    return answer


def _label(answer: bytes) -> str:
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["photos"][0]["label"])


ANSWER = """
import sys
from allmasked.predictors.predictor import open_predictor, predict_paths
for answer in predict_paths(open_predictor(), [(str(number), sys.argv[1]) for number in range(int(sys.argv[2]))]):
    print(answer.label, answer.probabilities, answer.error, sep="|", flush=True)
"""


def replaced(work: Path, shared: Path, options: argparse.Namespace) -> Counter[str]:
    """Two photos take each other's place while they are read: every answer is one of theirs, or an error."""
    from PIL import Image

    found: Counter[str] = Counter()
    sources = [next((shared / "data" / label).glob("*.jpg")) for label in ("all", "none")]
    for kind in ("JPEG", "BMP", "TIFF"):
        contents = []
        for path in sources:
            buffer = io.BytesIO()
            Image.open(path).resize((1600, 1200)).save(buffer, kind)
            contents.append(buffer.getvalue())
        for way in ("renamed", "in place"):
            photo = work / f"photo.{kind.lower()}"
            ask = [sys.executable, "-c", ANSWER, photo]
            known = set()
            for content in contents:
                photo.write_bytes(content)
                known.add(subprocess.run([*ask, "1"], capture_output=True, text=True, check=True).stdout.strip())
            process = subprocess.Popen([*ask, str(options.photos)], stdout=subprocess.PIPE, text=True)
            for number in itertools.count():
                if process.poll() is not None:
                    break
                if way == "renamed":
                    (work / "next").write_bytes(contents[number % 2])
                    (work / "next").replace(photo)
                else:
                    photo.write_bytes(contents[number % 2])
                time.sleep(0.003)
            assert process.stdout is not None
            said = process.stdout.read().splitlines()
            for line in said:
                kind_of = "right" if line in known else "told" if not line.endswith("|None") else "WRONG"
                found[f"{kind} {way}: {kind_of}"] += 1
            if process.returncode or len(said) != options.photos:
                found[f"{kind} {way}: ENDED with {process.returncode} after {len(said)} of {options.photos}"] += 1
    return found


WAYS: dict[str, tuple[Callable[..., Counter[str]], tuple[str, ...] | None]] = {
    # way: (function, the cases that it is meant for; all when None; none of them when empty)
    "kills": (kills, KILLED),
    "room": (room, None),
    "two": (two, KILLED),
    "clock": (clock, KILLED),
    "memory": (memory, ("split", "train-cached", "predict", "synth", "export")),
    "serving-memory": (serving_memory, ()),
    "stop": (stop, ()),
    "replaced": (replaced, ()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="+", choices=WAYS)
    parser.add_argument("--only", default="", help="cases, by name")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=60, help="of 'kills', after which a case gets no more")
    parser.add_argument("--times", type=int, default=4, help="of 'two' and 'stop'")
    parser.add_argument("--clients", type=int, default=32, help="of 'stop'")
    parser.add_argument("--seconds", type=float, default=5, help="of load, of 'stop'")
    parser.add_argument("--photos", type=int, default=300, help="of 'replaced'")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    only = [name for name in options.only.split(",") if name]
    with tempfile.TemporaryDirectory() as folder:
        work, shared = Path(folder) / "work", Path(folder) / "shared"
        work.mkdir()
        shared.mkdir()
        light = bool(only) and LIGHT.issuperset(only)
        if not light:
            import_all()
        prepare(shared, light)
        fine = True
        for way in options.ways:
            function, names = WAYS[way]
            if names == ():
                found = function(work, shared, options)
                print(f"{way}: {dict(sorted(found.items()))}", flush=True)
                fine &= not any(word in key for key in found for word in ("lost", "LOST", "WRONG", "ENDED"))
                continue
            for case in cases(shared):
                if (names is None or case.name in names) and (not only or case.name in only):
                    found = function(work, shared, case, options)
                    print(f"{way} {case.name}: {found['well']} of {found['well'] + found['wrong']} well", flush=True)
                    fine &= not found["wrong"]
    raise SystemExit(not fine)


if __name__ == "__main__":
    main()
