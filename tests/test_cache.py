"""Decoded photos: kept below a limit, the least recently used go first, and none that is in use."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from allmasked.cli import cli
from allmasked.core.errors import ConfigError
from allmasked.core.types import InputSpec, Size, Split
from allmasked.data import cache
from allmasked.training.loaders import Source
from conftest import make_split

SIZES: list[Size] = [(64, 48), (80, 60), (96, 72)]
BYTES = [12 * width * height * 3 + 128 for width, height in SIZES]


def fill(split: Split, size: Size, folder: Path) -> str:
    """Use a set, and let it go."""
    array = cache.pixel_cache(split, split.part("train"), InputSpec(size), folder)
    assert array.shape[1:3] == size[::-1]
    return cache.digest(split.part("train"), InputSpec(size))


def age(folder: Path, key: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder / f"{key}.npy", (then, then))


def test_what_was_not_used_for_longest_goes_first(
    drawn_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (fill(drawn_split, size, tmp_path) for size in SIZES[:2])
    age(tmp_path, a, 300)
    age(tmp_path, b, 200)
    assert [entry.key for entry in cache.entries(tmp_path)] == [a, b]
    assert [entry.size_bytes for entry in cache.entries(tmp_path)] == BYTES[:2]
    fill(drawn_split, SIZES[0], tmp_path)  # used again, so b is the one not used for longest
    monkeypatch.setenv("ALLMASKED_CACHE_GB", str((BYTES[0] + BYTES[2] + 1000) / cache.GB))
    capsys.readouterr()
    c = fill(drawn_split, SIZES[2], tmp_path)
    assert [entry.key for entry in cache.entries(tmp_path)] == [a, c]
    assert "1 set of decoded photos not used for longest removed" in capsys.readouterr().err
    monkeypatch.setenv("ALLMASKED_CACHE_GB", "0")
    d = fill(drawn_split, (48, 48), tmp_path)
    assert [entry.key for entry in cache.entries(tmp_path)] == [d], "what is needed now is made, whatever the limit"


def test_a_set_in_use_stays(drawn_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(drawn_split, InputSpec(SIZES[0]), tmp_path)
    folders = source.class_folders("train")
    (used,) = cache.entries(tmp_path)
    assert used.size_bytes > BYTES[0] and len(used.paths) == 2, "class folders belong to their set"
    monkeypatch.setenv("ALLMASKED_CACHE_GB", "0")
    fill(drawn_split, SIZES[1], tmp_path)
    assert used.key in [entry.key for entry in cache.entries(tmp_path)] and cache.in_use(tmp_path, used.key)
    assert not cache.remove(tmp_path, used) and folders.is_dir()
    np.testing.assert_array_equal(source.array("train")[0].shape, (48, 64, 3))
    del source
    gc.collect()
    assert not cache.in_use(tmp_path, used.key) and cache.remove(tmp_path, used)
    assert not folders.exists() and not list(tmp_path.glob("*.use"))


def _hold(root: Path, folder: Path) -> None:
    split = make_split(root, {"train": 2})
    array = cache.pixel_cache(split, split.part("train"), InputSpec((64, 48)), folder)
    (folder / "held").touch()
    time.sleep(120)
    del array


def test_another_process_holds_its_set_until_it_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path / "data", folder))
    process.start()
    try:
        deadline = time.monotonic() + 60
        while not (folder / "held").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        result = CliRunner().invoke(cli, ["cache", "clear", "--cache", str(folder)])
        assert "0 of 1 sets" in result.output and "1 in use by a running training stayed" in result.output
        assert "in use" in CliRunner().invoke(cli, ["cache", "--cache", str(folder)]).output
    finally:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    result = CliRunner().invoke(cli, ["cache", "clear", "--cache", str(folder)])
    assert "1 of 1 sets of decoded photos removed" in result.output and "stayed" not in result.output
    assert not cache.entries(folder)


def test_the_command_shows_place_size_and_limit(
    drawn_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLMASKED_CACHE", str(tmp_path / "cache"))
    assert "0 sets of decoded photos, 0.0 GB of at most 20 GB" in CliRunner().invoke(cli, ["cache"]).output
    key = fill(drawn_split, SIZES[0], tmp_path / "cache")
    (tmp_path / "cache" / "mine.txt").write_text("keep me")
    shown = CliRunner().invoke(cli, ["cache", "show"])
    assert str(tmp_path / "cache") in shown.output and "1 sets" in shown.output and key in shown.output
    assert CliRunner().invoke(cli, ["cache", "clear"]).exit_code == 0
    assert not cache.entries() and (tmp_path / "cache" / "mine.txt").read_text() == "keep me"


@pytest.mark.parametrize("text", ["much", "-1", "nan"])
def test_a_wrong_limit_is_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLMASKED_CACHE_GB", text)
    with pytest.raises(ConfigError, match=r"ALLMASKED_CACHE_GB = .*; must be a number of GB"):
        cache.limit_bytes()


def test_a_folder_that_is_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    said = CliRunner().invoke(cli, ["cache", "clear", "--cache", str(tmp_path / "nowhere")])
    assert said.exit_code == 2 and "no such folder" in said.output
    monkeypatch.setenv("ALLMASKED_CACHE", str(tmp_path / "file"))
    said = CliRunner().invoke(cli, ["cache"])
    assert said.exit_code == 2 and "is a file; ALLMASKED_CACHE must name a folder" in said.output
