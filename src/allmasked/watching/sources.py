"""Where ``allmasked watch`` gets pictures from: a camera, a video file, a stream, a folder that fills up.

Each source is an iterator of :class:`Look`; live ones skip what came while nobody looked. Video is read with PyAV.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from PIL import Image

from allmasked.core.errors import AllmaskedError, PhotoError, require
from allmasked.images import pixels as px

Note = Callable[[str, str], None]
"""Told about the source itself: a word (``lost``, ``back``, ``unreadable``), and why or which."""
SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp")
OPEN_SECONDS, READ_SECONDS = 10.0, 15.0
LONGEST_WAIT_SECONDS = 30.0


class SourceError(AllmaskedError):
    """The source can't be opened, or is none."""


@dataclass(frozen=True)
class Look:
    """One picture: RGB; where it stands in its source in seconds; its number there; a photo's path in a folder."""

    picture: Image.Image
    seconds: float
    number: int
    path: str = ""


@dataclass(frozen=True)
class Source:
    """What to watch: ``address`` is what opens it, ``name`` what is shown of it (no password)."""

    kind: Literal["camera", "stream", "video", "folder"]
    address: str
    name: str

    @property
    def live(self) -> bool:
        """Whether it goes on while nobody looks."""
        return self.kind in ("camera", "stream")


def source_of(text: str) -> Source:
    """What a word on the command line stands for. Raises :class:`SourceError`."""
    parts = urlsplit(text)
    if text.isdecimal() or text.startswith(("/dev/video", "video=")):
        return Source("camera", text, f"camera {text}")
    if parts.scheme.lower() in SCHEMES:
        host = parts.netloc.rsplit("@", 1)[-1]
        return Source("stream", text, urlunsplit((parts.scheme, host, parts.path, "", "")))
    path = Path(text)
    if text and path.is_dir():
        return Source("folder", text, text)
    if path.is_file():
        return Source("video", text, text)
    raise SourceError(f"{text}: is no camera's number, video file, folder or address ({', '.join(SCHEMES)})")


def looks(
    source: Source, every_seconds: float, *, note: Note, stop: threading.Event, existing: bool = False
) -> Iterator[Look]:
    """Pictures of a source, one each ``every_seconds`` (0: every one), until it ends or ``stop`` is set.

    Args:
        source: of :func:`source_of`.
        every_seconds: of a live source's clock or a video's own; how often a folder is searched.
        note: see :data:`Note`.
        stop: ends it soon.
        existing: of a folder: begin with the photos that are there already.

    Raises:
        SourceError: it can't be opened at first; later it is opened again.
    """
    if source.kind == "folder":
        return folder_looks(Path(source.address), every_seconds or 0.2, note=note, stop=stop, existing=existing)
    require("av", "web")
    if not source.live:
        return video_looks(source, every_seconds, stop=stop)
    return live_looks(lambda: opened(source), every_seconds, note=note, stop=stop)


def opened(source: Source) -> Any:
    """The source's PyAV container. Raises :class:`SourceError`."""
    import av

    options: dict[str, str] = {}
    address, kind = source.address, None
    if source.kind == "camera":
        kind, prefix = {"Darwin": ("avfoundation", ""), "Windows": ("dshow", "")}.get(
            platform.system(), ("v4l2", "/dev/video")
        )
        address = prefix + address if address.isdecimal() else address
    elif source.address.lower().startswith("rtsp"):
        options = {"rtsp_transport": "tcp"}
    try:
        container = av.open(address, format=kind, options=options, timeout=(OPEN_SECONDS, READ_SECONDS))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise SourceError(f"{source.name}: cannot be opened ({reason})") from None
    if not container.streams.video:
        container.close()
        raise SourceError(f"{source.name}: has no picture")
    container.streams.video[0].thread_type = "AUTO"
    return container


def video_looks(source: Source, every_seconds: float, *, stop: threading.Event) -> Iterator[Look]:
    """Frames of a video file, as fast as they can be had."""
    container = opened(source)
    with container:
        due = float("-inf")
        for number, frame in enumerate(_frames(container)):
            if stop.is_set():
                return
            seconds = float(frame.time) if frame.time is not None else number / 25
            if seconds + 1e-6 < due:
                continue
            due = max(due, seconds) + every_seconds if due > float("-inf") else seconds + every_seconds
            yield Look(_picture(frame), seconds, number)


def _frames(container: Any) -> Iterator[Any]:
    """Decoded frames; a damaged one is passed over, a damaged end is the end."""
    import av

    with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
        for packet in container.demux(video=0):
            with contextlib.suppress(av.error.InvalidDataError):
                yield from packet.decode()


def _picture(frame: Any) -> Image.Image:
    """A frame upright: phones film sideways and say so."""
    picture: Image.Image = frame.to_image()
    turned = round(getattr(frame, "rotation", 0) or 0) % 360
    return picture.rotate(turned, expand=True) if turned else picture


class _Newest:
    """Reads a live container in a thread and keeps its newest frame only."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self._frame: Any = None
        self._more = threading.Condition()
        self.ended = False
        self.count = 0
        threading.Thread(target=self._read, name="frames", daemon=True).start()

    def _read(self) -> None:
        try:
            for frame in _frames(self._container):
                with self._more:
                    if self.ended:
                        break
                    self._frame, self.count = frame, self.count + 1
                    self._more.notify()
        finally:
            with self._more:
                self.ended = True
                self._more.notify()
            self._container.close()

    def take(self, seconds: float) -> Any:
        """The newest frame not taken yet, or None when none comes in time."""
        with self._more:
            self._more.wait_for(lambda: self._frame is not None or self.ended, seconds)
            frame, self._frame = self._frame, None
            return frame

    def close(self) -> None:
        with self._more:
            self.ended = True


def live_looks(
    connect: Callable[[], Any], every_seconds: float, *, note: Note, stop: threading.Event
) -> Iterator[Look]:
    """The newest frame of a live source each time; opened again whenever it is lost."""
    started = time.monotonic()
    newest = _Newest(connect())
    taken = 0
    try:
        while not stop.is_set():
            frame = newest.take(0.25)
            if frame is not None:
                due = time.monotonic() + every_seconds
                yield Look(_picture(frame), time.monotonic() - started, taken + newest.count - 1)
                while not stop.is_set() and time.monotonic() < due:
                    stop.wait(min(0.25, max(0.0, due - time.monotonic())))
                continue
            if newest.ended:
                taken += newest.count
                note("lost", "no more pictures come")
                again = _connect_again(connect, note, stop)
                if again is None:
                    return
                newest = again
    finally:
        newest.close()


def _connect_again(connect: Callable[[], Any], note: Note, stop: threading.Event) -> _Newest | None:
    wait = 1.0
    while not stop.wait(wait):
        try:
            newest = _Newest(connect())
        except SourceError:
            wait = min(LONGEST_WAIT_SECONDS, 2 * wait)
            continue
        note("back", "pictures come again")
        return newest
    return None


def folder_looks(
    folder: Path, every_seconds: float, *, note: Note, stop: threading.Event, existing: bool
) -> Iterator[Look]:
    """Photos as they arrive in a folder and those below, each once it has stopped growing."""
    started, number = time.monotonic(), 0
    done: dict[str, tuple[int, int]] = {} if existing else _photos(folder)
    growing: dict[str, tuple[int, int]] = {}
    lost = False
    while not stop.is_set():
        there = _photos(folder)
        if folder.is_dir() == lost:
            lost = not lost
            note(*(("lost", "the folder is gone") if lost else ("back", "the folder is there again")))
        fresh = {path: state for path, state in there.items() if done.get(path) != state}
        for path in sorted(fresh, key=lambda path: (fresh[path][1], path)):
            if growing.get(path) != fresh[path] and not _older(fresh[path], 2 * every_seconds):
                continue
            done[path] = fresh[path]
            try:
                picture = px.decode(path)
            except PhotoError as error:
                note("unreadable", f"{path}: {error.reason}")
                continue
            yield Look(picture, time.monotonic() - started, number, path)
            number += 1
            if stop.is_set():
                return
        growing = fresh
        done = done if lost else {path: state for path, state in done.items() if path in there}
        stop.wait(every_seconds)


def _older(state: tuple[int, int], seconds: float) -> bool:
    return time.time() - state[1] / 1e9 > seconds


def _photos(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change (ns) of every photo in a folder and those below; hidden and temporary ones left out."""
    found = {}
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(base, name)
            if not name.startswith(".") and path.suffix.lower() in px.SUFFIXES:
                with contextlib.suppress(OSError):
                    status = path.stat()
                    found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found
