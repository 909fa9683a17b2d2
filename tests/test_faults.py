"""Kills, full disks, two processes at once, files that change while they are read: what ``bench/faults.py`` found."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import allmasked
from allmasked import annotate, cli
from allmasked.cli import memory
from allmasked.core.config import TrainConfig, read_recipe
from allmasked.core.errors import DataError, RunError, require
from allmasked.core.runs import Run, claimed, replacing, sweep, working_folder
from allmasked.core.types import InputSpec, Split
from allmasked.data import cache
from allmasked.data.dataset import write_split
from allmasked.images import pixels
from allmasked.synth.competition import write_competition
from allmasked.synth.painted import begin, spread
from allmasked.training.loaders import LOADERS, Source
from allmasked.training.train import _prepare_folder, train

CONFIG = TrainConfig(weights="random", recipe=read_recipe("default", {"size": [64, 48]}))
posix = pytest.mark.skipif(os.name != "posix", reason="locks are the system's")


def killed(folder: Path, context: str) -> None:
    """A process of its own that is killed while it writes in ``folder``."""
    code = f"""
import os, signal
from pathlib import Path
from allmasked.core.runs import replacing, working_folder
with {context}(Path("out.csv")) as temporary:
    (temporary / "part" if temporary.is_dir() else temporary).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL and len(list(folder.iterdir())) == 1


@posix
@pytest.mark.parametrize("context", ["replacing", "working_folder"])
def test_what_a_kill_left_goes_and_what_is_being_written_stays(tmp_path: Path, context: str) -> None:
    killed(tmp_path, context)
    with replacing(tmp_path / "other.csv") as temporary, working_folder(tmp_path / "new") as folder:
        assert {temporary, folder} == set(tmp_path.iterdir())
        sweep(tmp_path)
        assert {temporary, folder} == set(tmp_path.iterdir())
        temporary.write_text("whole")
    assert list(tmp_path.iterdir()) == [tmp_path / "other.csv"]


@posix
def test_a_painted_set_killed_before_its_manifest_begins_anew(tmp_path: Path) -> None:
    killed(tmp_path, "replacing")
    assert begin(tmp_path, {"kind": "drawn"}) == {}


def test_a_painting_process_that_is_ended_is_one_line() -> None:
    with pytest.raises(DataError, match="want of memory; start again with fewer --workers"):
        list(spread(os._exit, [1, 1], 2))


def test_a_run_killed_before_its_settings_begins_anew(drawn_split: Split, tmp_path: Path) -> None:
    """Only where its split is the same: a file of the user is never written over."""
    run = Run(tmp_path / "run")
    write_split(drawn_split, run.split)
    before = run.split.read_bytes()
    other = Split(drawn_split.root, drawn_split.photos[1:], drawn_split.seed)
    with pytest.raises(RunError, match="not empty"):
        _prepare_folder(run, other, CONFIG, resume=False)
    assert run.split.read_bytes() == before and not run.config.exists()
    _prepare_folder(run, drawn_split, CONFIG, resume=False)
    assert run.split.read_bytes() == before and run.config.exists()


@posix
def test_a_run_folder_is_of_one_process(drawn_split: Split, tmp_path: Path) -> None:
    with claimed(tmp_path / "run"), pytest.raises(RunError, match="another process is working on it"):
        train(drawn_split, CONFIG, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


@posix
def test_half_a_picture_in_the_class_folders_is_not_trained_on(drawn_split: Split, tmp_path: Path) -> None:
    source = Source(drawn_split, InputSpec((64, 48)), tmp_path)
    whole = source.class_folders("train")
    (whole.parent / "whole").unlink()
    photo = next(whole.glob("all/*.png"))
    with replacing(photo) as temporary:  # as a kill leaves it
        kept, left = photo.read_bytes(), temporary.name
        temporary.write_bytes(kept)
    photo.with_name(left).write_bytes(kept[:50])
    batches = LOADERS["flow_from_directory"].batches(source, "train", 5, None)
    assert sum(len(batch.pixels) for batch in batches) == 12


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system can't ask for room")
def test_the_room_of_decoded_photos_is_taken_before_they_are(
    drawn_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map without room behind it ends the process with a bus error."""

    def taken(*_: object) -> list[object]:
        (partial,) = tmp_path.glob("*.partial")
        assert partial.stat().st_blocks * 512 >= 12 * 48 * 64 * 3
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache, "_decode", taken)
    with pytest.raises(OSError, match="No space"):
        cache.pixel_cache(drawn_split, drawn_split.part("train"), InputSpec((64, 48)), tmp_path)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space"), "a.csv: cannot be read or written (no space); make room"),
        (OSError(errno.ENOSPC, "No space", "photo.jpg", None, "copy.jpg"), "error: copy.jpg: cannot be read"),
        (PermissionError(errno.EACCES, "Denied"), "a.csv: cannot be read or written (denied); check the path"),
        (MemoryError(), "not enough memory"),
    ],
)  # fmt: skip
def test_no_room_and_no_memory_are_one_line(
    error: Exception, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(**_: object) -> None:
        with replacing(tmp_path / "a.csv"):
            raise error

    monkeypatch.setattr(cli.cli, "main", work)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and line in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_competition_that_finds_no_room_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn_split: Split
) -> None:
    def full(_source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out"
    out.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", full)
        with pytest.raises(OSError, match="No space"):
            write_competition(drawn_split.root, out)
    assert not list(tmp_path.glob(".*")) and not list(out.iterdir())
    assert sum(write_competition(drawn_split.root, out)) == len(list(out.glob("*/*.*")))


@pytest.mark.parametrize("suffix", ["bmp", "png", "tif"])
def test_a_photo_that_is_replaced_while_it_is_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, other = (tmp_path / f"{name}.{suffix}" for name in ("photo", "other"))
    Image.new("RGB", (64, 48), (200, 30, 30)).save(photo)
    Image.new("RGB", (64, 48), (30, 30, 200)).save(other)

    def replaced(*_: object) -> None:  # in place, after the header was read
        with photo.open("r+b") as file:
            file.write(other.read_bytes())
            file.truncate()

    monkeypatch.setattr(pixels, "_check_size", replaced)
    assert np.asarray(pixels.decode(photo))[0, 0].tolist() == [200, 30, 30]


@posix
def test_a_pipe_or_a_device_is_written_to_and_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append((tmp_path / "pipe").read_text()))
    reader.start()
    with replacing(tmp_path / "pipe") as path:
        path.write_text("answers")
    reader.join(10)
    assert said == ["answers"] and (tmp_path / "pipe").is_fifo()
    for device in ("/dev/null", "/dev/stdout"):
        with replacing(device) as path:
            assert path == Path(device)


def test_a_folder_that_takes_no_file_is_named_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, dir: Path, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(dir / ".allmasked-x"))

    monkeypatch.setattr("allmasked.core.runs.tempfile.mkstemp", refused)
    with pytest.raises(OSError, match=r"out\.csv"), replacing(tmp_path / "out.csv"):
        pass


def test_a_long_name_can_be_copied(tmp_path: Path) -> None:
    photo = tmp_path / f"{'é' * 120}.png"
    Image.new("RGB", (8, 8)).save(photo)
    assert annotate.copy_into(tmp_path / "to", photo).read_bytes() == photo.read_bytes()


# --- too little memory ------------------------------------------------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody watches")


def watched(work: str) -> subprocess.Popen[str]:
    """A process whose memory is limited, to more than it needs, and that does ``work`` as a command would."""
    code = f"""
import os, resource, signal, sys, time
from allmasked import cli
resource.setrlimit(resource.RLIMIT_AS, (50 << 30, 50 << 30))
def work(**_):
    print(os.getpid(), flush=True)
    {work}
cli.cli.main = work
cli.main()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(allmasked.__file__).parents[1])}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=pipe, stderr=pipe, text=True)


@linux
def test_a_library_that_ends_the_process_where_memory_is_limited_is_one_line() -> None:
    """As OpenBLAS does, with exit(1): that would say that some photos failed."""
    process = watched("import ctypes; ctypes.CDLL(None).exit(1)")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and said.count("\n") == 1 and "it was ended by a library (" in said


@linux
@pytest.mark.parametrize("name", ["SIGKILL", "SIGABRT", "SIGSEGV", "SIGBUS"])
def test_a_violent_end_where_memory_is_limited_is_one_line(name: str) -> None:
    """The system's killer for want of memory sends SIGKILL; OpenBLAS and ``std::bad_alloc`` end with SIGABRT."""
    process = watched(f"os.kill(os.getpid(), signal.{name})")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and said.count("\n") == 1
    assert said.startswith(f"error: not enough memory, as it seems: it was ended by {name} (") and "53.7 GB" in said


@linux
@pytest.mark.parametrize("error", ['RuntimeError("can\'t start new thread")', 'ImportError("failed to map segment")'])
def test_what_libraries_say_where_memory_is_limited_is_one_line(error: str) -> None:
    process = watched(f"raise {error}")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and said.count("\n") == 1 and said.startswith("error: not enough memory, ")


def test_a_library_that_finds_no_memory_is_not_to_be_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: str) -> None:
        raise ImportError("cv2.abi3.so: failed to map segment from shared object")

    monkeypatch.setattr("importlib.import_module", fails)
    with pytest.raises(MemoryError, match="cv2 cannot be loaded"):
        require("cv2", "train")


@linux
def test_a_limit_of_memory_changes_nothing_else() -> None:
    for work, code in (("sys.exit(1)", 1), ("return 0", 0)):
        process = watched(work)
        process.communicate(timeout=60)
        assert process.returncode == code
    for number in (signal.SIGTERM, signal.SIGKILL):  # told to the watcher, they end the work
        process = watched("time.sleep(60)")
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == -number and not said
        deadline = time.monotonic() + 10
        while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split()[2]


def test_limits_of_containers(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("4:memory:/x\n0::/a/b\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = memory.limits(tmp_path, tmp_path / "own")
    (tmp_path / "a" / "b" / "memory.max").write_text("max\n")
    assert memory.limits(tmp_path, tmp_path / "own") == before
    (tmp_path / "a" / "memory.max").write_text("2000000\n")
    (tmp_path / "memory.max").write_text("3000000\n")
    assert memory.limits(tmp_path, tmp_path / "own") == {**before, "the container's limit": 2_000_000}
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("1000000\n")
    assert memory.limits(tmp_path, tmp_path / "own") == {**before, "the container's limit": 1_000_000}
