"""Where ``allmasked watch`` gets pictures from: a camera, a video file, a stream, a folder that fills up.

Each source is an iterator of :class:`Look`; live ones skip what came while nobody looked. Video is read with PyAV.
"""

from __future__ import annotations

import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from allmasked.core.errors import AllmaskedError, DataError, PhotoError, require
from allmasked.images import pixels as px
from allmasked.predictors.addresses import STORES, Item, clean, fetch, is_address, listing, local_path

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
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if text.isdecimal() or text.startswith(("/dev/video", "video=")):
        return Source("camera", text, f"camera {text}")
    if scheme in SCHEMES:
        return Source("stream", text, without_passwords(text))
    if scheme in STORES and scheme != "file":
        return Source("folder", text, clean(text))
    path = Path(text := local_path(text))
    if text and path.is_dir():
        return Source("folder", text, text)
    if path.is_file():
        return Source("video", text, text)
    known = ", ".join(dict.fromkeys([*SCHEMES, *STORES]))
    raise SourceError(f"{without_passwords(text)}: is no camera's number, video file, folder or address ({known})")


_IN_PATH = re.compile(r"(?i)((?:user|username|pass|passwd|password|pwd|token|key|auth|secret)[=_:])[^/]*")
"""Some cameras want name and password in the path."""


def without_passwords(address: str) -> str:
    """An address to show: scheme, host and path, without what may be secret. Where a password holds signs that it
    shouldn't, more than it is left out."""
    scheme, there, rest = address.partition("://")
    if not there:
        scheme, rest = "", address
        if "@" not in rest:
            return rest
    rest = re.split(r"[?#]", rest.rsplit("@", 1)[-1])[0]
    return scheme + there + _IN_PATH.sub(r"\1...", rest)


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
        return folder_looks(source.address, every_seconds or 0.2, note=note, stop=stop, existing=existing)
    require("av", "web")
    if not source.live:
        return video_looks(source, opened(source), every_seconds, note=note, stop=stop)
    return _stream_looks(source, every_seconds, note=note, stop=stop)


def _stream_looks(source: Source, every_seconds: float, *, note: Note, stop: threading.Event) -> Iterator[Look]:
    """A stream's pictures; a whole file behind http is looked at once, as one on disk is."""
    first = opened(source)
    if source.address.lower().startswith("http") and finite(first):
        yield from video_looks(source, first, every_seconds, note=note, stop=stop)
        return
    waiting = [first]
    yield from live_looks(lambda: waiting.pop() if waiting else opened(source), every_seconds, note=note, stop=stop)


def finite(container: Any) -> bool:
    """Whether what is behind http has an end: its length is known, in seconds or in bytes (a playlist's own length in
    bytes says nothing)."""
    playlist = {"hls", "dash", "applehttp"} & set(container.format.name.split(","))
    return container.duration is not None or (not playlist and container.size > 0)


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
        reason = (getattr(error, "strerror", None) or "not understood").lower()
        raise SourceError(f"{source.name}: cannot be opened ({reason})") from None
    if not container.streams.video:
        container.close()
        raise SourceError(f"{source.name}: has no picture")
    container.streams.video[0].thread_type = "AUTO"
    return container


def video_looks(
    source: Source, container: Any, every_seconds: float, *, note: Note, stop: threading.Event
) -> Iterator[Look]:
    """Frames of a video file, as fast as they can be had; what of it can't be decoded is told at its end."""
    damage: list[str] = []
    with container:
        due, clock = float("-inf"), _Clock()
        number = -1
        for number, frame in enumerate(_frames(container, damage)):
            if stop.is_set():
                return
            seconds = clock.read(float(frame.time) if frame.time is not None else number / 25)
            if seconds + 1e-6 < due:
                continue
            due = max(due, seconds) + every_seconds
            yield Look(_picture(frame), seconds, number)
    if number < 0:
        why = f" ({damage[0]})" if damage else ""
        note("unreadable", f"{source.name}: no picture of it can be decoded{why}; is it damaged, or no video?")
    elif damage:
        note("unreadable", f"{source.name}: damaged in {len(damage):,} places, the first time: {damage[0]}")


class _Clock:
    """Seconds that never go back: where a video's clock starts again (recordings put together), it goes on."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._step, self._ahead = 1 / 25, 0.0

    def read(self, seconds: float) -> float:
        seconds += self._ahead
        if self._last is not None:
            if seconds < self._last:
                self._ahead += self._last + self._step - seconds
                seconds = self._last + self._step
            elif seconds > self._last:
                self._step = seconds - self._last
        self._last = seconds
        return seconds


def _frames(container: Any, damage: list[str] | None = None) -> Iterator[Any]:
    """Decoded frames; a damaged one is passed over, a damaged end is the end. ``damage`` gets a reason each."""
    import av

    damage = [] if damage is None else damage
    try:
        for packet in container.demux(video=0):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError as error:
                damage.append(_reason(error))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        damage.append(_reason(error))


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or type(error).__name__).lower()


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
    folder: str | Path, every_seconds: float, *, note: Note, stop: threading.Event, existing: bool
) -> Iterator[Look]:
    """Photos as they arrive in a folder or at an address and below, each once it has stopped growing."""
    started, number = time.monotonic(), 0
    there = _photos(str(folder), started=False) or {}
    done: dict[str, Item] = {} if existing else there
    growing: dict[str, Item] = {}
    lost = False
    while not stop.is_set():
        found = _photos(str(folder))
        if (found is None) != lost:
            lost = not lost
            note(*(("lost", "the folder is gone") if lost else ("back", "the folder is there again")))
        there = found or {}
        fresh = {place: item for place, item in there.items() if done.get(place) != item}
        for item in sorted(fresh.values(), key=lambda item: (_time(item), item.name)):
            if item.here and growing.get(item.place) != item and time.time() - _time(item) <= 2 * every_seconds:
                continue
            done[item.place] = item
            try:
                picture = px.decode(fetch(item), name=item.name)
            except PhotoError as error:
                note("unreadable", f"{item.name}: {error.reason}")
                continue
            yield Look(picture, time.monotonic() - started, number, item.name)
            number += 1
            if stop.is_set():
                return
        growing = fresh
        done = done if lost else {place: item for place, item in done.items() if place in there}
        stop.wait(every_seconds)


def _time(item: Item) -> float:
    """When a file was written, in seconds; 0 of what lies in a store, where an object is there in whole."""
    return int(item.etag.removeprefix("mtime-")) / 1e9 if item.here else 0.0


def _photos(folder: str, *, started: bool = True) -> dict[str, Item] | None:
    """Every photo in a folder and those below, by its place; None where the folder is gone."""
    if not is_address(folder) and not Path(folder).is_dir():
        return None
    try:
        return {item.place: item for item in listing([folder]) if item.etag}
    except DataError:
        if started:
            return None
        raise
