"""Watching: smoothing, sources, events, webhook, video."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from allmasked.cli import cli
from allmasked.core.errors import ConfigError
from allmasked.core.types import LABELS
from allmasked.model import Model
from allmasked.watching import sources
from allmasked.watching.sources import SourceError, source_of
from allmasked.watching.watch import Smoother, Watch, watch
from allmasked.watching.webhook import Webhook
from colour_model import ColourModel, encoded, picture

av = pytest.importorskip("av")
SURE = {label: np.eye(4)[number] * 0.9 + 0.025 for number, label in enumerate(LABELS)}


# --- smoothing -------------------------------------------------------------------------------------------------------


def test_the_answer_does_not_flicker() -> None:
    smoother = Smoother(smooth_seconds=2)
    told = []
    for second in range(60):
        seen = "all" if second < 30 else "some"
        if second in (10, 20, 40):
            seen = "none"  # a single wrong look
        if smoother.update(second, SURE[seen]):
            told.append((second, smoother.label))
    assert [label for _, label in told] == ["all", "some"]
    assert 31 <= told[1][0] <= 34


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=40), st.floats(0, 5), st.floats(0, 1))
def test_means_are_probabilities_and_the_first_answer_comes_at_once(seen: Any, seconds: float, margin: float) -> None:
    smoother = Smoother(seconds, margin)
    for second, label in enumerate(seen):
        changed = smoother.update(float(second), SURE[label])
        assert changed or second > 0
        assert smoother.means is not None and smoother.means.sum() == pytest.approx(1)
    if not seconds:
        assert smoother.label == seen[-1]


def test_a_tie_stays_with_what_was_told() -> None:
    smoother = Smoother(smooth_seconds=1, margin=0.1)
    smoother.update(0, SURE["some"])
    for second in range(1, 50):
        assert not smoother.update(second, np.array([0.45, 0.05, 0.41, 0.09]))
    assert smoother.label == "some"
    assert any(smoother.update(second, np.array([0.55, 0.05, 0.31, 0.09])) for second in range(50, 60))


# --- sources ---------------------------------------------------------------------------------------------------------


def film(path: Path, scenes: list[tuple[str, int]], rate: int = 10) -> Path:
    """A video of so many frames of each."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        number = 0
        for label, frames in scenes:
            for _ in range(frames):
                frame = av.VideoFrame.from_image(picture(label, (128, 96)))
                frame.pts, frame.time_base = number, Fraction(1, rate)
                container.mux(stream.encode(frame))
                number += 1
        container.mux(stream.encode(None))
    return path


def told_of(text: str, *, predictor: Any = None, stop: threading.Event | None = None, **plan: Any) -> list[Any]:
    events: list[Any] = []
    watch(Model(predictor or ColourModel()), Watch(source_of(text), **plan), events.append, stop or threading.Event())
    return events


def test_a_video_and_its_annotated_copy(tmp_path: Path) -> None:
    video = film(tmp_path / "x.mp4", [("all", 40), ("some", 40), ("nobody", 40)])
    copy = tmp_path / "out/y.mp4"
    events = told_of(str(video), every_seconds=0.5, smooth_seconds=0.5, video=copy)
    assert [event["event"] for event in events] == ["start", "change", "change", "change", "end"]
    changes = [event for event in events if event["event"] == "change"]
    assert [(event["previous"], event["label"]) for event in changes] == [
        (None, "all"), ("all", "some"), ("some", "nobody")
    ]  # fmt: skip
    assert [round(event["seconds"]) for event in changes] == [0, 4, 8]
    assert (changes[0]["masked"], changes[0]["bare"], changes[0]["sure"]) == (2, 0, True)
    assert events[-1]["looks"] == 24
    with av.open(str(copy)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 24 and frames[-1].time == pytest.approx(11.5, abs=0.01)
    strip = frames[0].to_ndarray(format="rgb24")[-6:].mean()
    assert frames[0].height > 96 and strip < 120, "a dark strip with the verdict below the picture"


def test_a_damaged_video_ends_where_it_ends(tmp_path: Path) -> None:
    video = film(tmp_path / "x.ts", [("all", 40)])
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2] + b"\0" * 1000)
    events = told_of(str(video), every_seconds=0)
    assert events[-1]["event"] == "end" and 0 < events[-1]["looks"] < 41


def test_what_of_a_video_cannot_be_decoded_is_told(tmp_path: Path) -> None:
    video = film(tmp_path / "x.avi", [("all", 40), ("some", 40)])
    with av.open(str(video)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0)]
    data = bytearray(video.read_bytes())
    for position, size in packets[30:34]:
        data[position + 8 : position + 8 + size] = bytes(size)
    video.write_bytes(data)
    events = told_of(str(video), every_seconds=0)
    (told,) = (event for event in events if event["event"] == "unreadable")
    assert "x.avi: damaged in" in told["why"] and events[-1]["looks"] > 20


def test_a_video_without_any_picture_is_an_error(tmp_path: Path) -> None:
    """An animated WebP can be opened, but not decoded, by libav; a page instead of a video not even that."""
    frames = [picture(label) for label in ("all", "none", "some")]
    frames[0].save(tmp_path / "x.webp", save_all=True, append_images=frames[1:], duration=200)
    result = CliRunner().invoke(cli, ["watch", str(tmp_path / "x.webp")])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "x.webp: no picture of it can be decoded (invalid data" in line
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()] == ["unreadable", "end"]
    (tmp_path / "x.mp4").write_text("<html>not found</html>")
    with pytest.raises(SourceError, match=r"x\.mp4: cannot be opened"):
        told_of(str(tmp_path / "x.mp4"), every_seconds=0)


def test_a_clock_that_starts_again(tmp_path: Path) -> None:
    """Two recordings put together: the second one's clock starts at 0 again."""
    parts = [film(tmp_path / f"{label}.ts", [(label, 60)]).read_bytes() for label in ("all", "none")]
    (tmp_path / "twice.ts").write_bytes(b"".join(parts))
    events = told_of(str(tmp_path / "twice.ts"), every_seconds=1, smooth_seconds=0, every_answer=True)
    answers = [event for event in events if event["event"] == "answer"]
    assert [event["label"] for event in answers] == ["all"] * 6 + ["none"] * 6
    seconds = [event["seconds"] for event in answers]
    assert np.diff(seconds) == pytest.approx(np.ones(11), abs=0.2), "and the second goes on where the first ended"


def test_a_folder_that_fills_up(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "old.png").write_bytes(encoded("none"))
    stop, events = threading.Event(), []
    plan = Watch(source_of(str(folder)), every_seconds=0.1, smooth_seconds=0, every_answer=True)
    thread = threading.Thread(target=watch, args=(Model(ColourModel()), plan, events.append, stop))
    thread.start()
    try:
        time.sleep(0.3)
        growing = encoded("all")
        with (folder / "growing.png").open("wb") as stream:
            for start in range(0, len(growing), 40):
                stream.write(growing[start : start + 40])
                stream.flush()
                time.sleep(0.03)
        (folder / "deeper").mkdir()
        (folder / "deeper/b.png").write_bytes(encoded("some"))
        (folder / "broken.jpg").write_bytes(b"nothing")
        (folder / ".hidden.png").write_bytes(encoded("none"))
        (folder / "notes.txt").write_text("no photo")
        wait_for(lambda: sum(e["event"] in ("answer", "unreadable") for e in events) == 3)
        (folder / "growing.png").write_bytes(encoded("none", (80, 60)))  # another photo of that name
        wait_for(lambda: sum(e["event"] == "answer" for e in events) == 3)
    finally:
        stop.set()
        thread.join(10)
    answers = {(Path(e["path"]).name, e["label"]) for e in events if e["event"] == "answer"}
    assert answers == {("growing.png", "all"), ("b.png", "some"), ("growing.png", "none")}
    assert [e["why"].split(":")[0].rsplit("/")[-1] for e in events if e["event"] == "unreadable"] == ["broken.jpg"]


def test_what_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(encoded("none"))
    events = told_of(str(tmp_path), every_seconds=0.05, existing=True, for_seconds=0.5, every_answer=True)
    assert [e["label"] for e in events if e["event"] == "answer"] == ["none"]


def wait_for(what: Any, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


class Packet:
    def __init__(self, frame: Any) -> None:
        self.frame = frame

    def decode(self) -> list[Any]:
        return [self.frame]


class Camera:
    """A live source: frames at 50 a second by the clock, ``frames`` in all."""

    def __init__(self, frames: int) -> None:
        self.frames, self.count = frames, 0

    def demux(self, video: int) -> Iterator[Any]:
        del video
        for number in range(self.frames):
            time.sleep(0.02)
            frame = av.VideoFrame.from_image(Image.new("RGB", (32, 32), (number % 256, 0, 0)))
            self.count += 1
            yield Packet(frame)

    def close(self) -> None:
        pass


def test_a_slow_network_sees_the_newest_picture_not_a_backlog() -> None:
    stop, behind, camera = threading.Event(), [], Camera(150)

    def note(_word: str, _why: str) -> None:
        stop.set()

    for look in sources.live_looks(lambda: camera, 0, note=note, stop=stop):
        behind.append(camera.count - 1 - look.number)
        time.sleep(0.25)
    assert camera.count == 150 and len(behind) < 75, "most were left out"
    assert np.median(behind) <= 1 and max(behind) <= 5


def test_a_lost_camera_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries, notes, stop = [], [], threading.Event()
    real = stop.wait
    monkeypatch.setattr(stop, "wait", lambda seconds=None: real(min(seconds, 0.05)))

    def connect() -> Any:
        tries.append(1)
        if len(tries) in (2, 3):
            raise SourceError("not yet")
        return Camera(5)

    numbers = []
    for look in sources.live_looks(connect, 0, note=lambda word, _why: notes.append(word), stop=stop):
        numbers.append(look.number)
        if len(notes) >= 2 and numbers[-1] >= 8:
            stop.set()
    assert notes[:2] == ["lost", "back"] and len(tries) >= 4
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("word", ["nowhere.mp4", "ftp://x/y", "", "/nonexistent/folder"])
def test_what_is_no_source(word: str) -> None:
    with pytest.raises(SourceError):
        source_of(word)


def test_passwords_are_not_told() -> None:
    source = source_of("rtsp://me:secret@camera.lan:554/door?token=secret")
    assert source.live and source.name == "rtsp://camera.lan:554/door"
    for address in (
        "rtsp://me:sec/ret@camera.lan/door", "rtsp://me:secret?#@camera.lan/door", "rtsp://me:secret@[camera.lan/door",
        "RTSP://me:secret@camera.lan/door", "http://camera.lan/live?user=me&pwd=secret#secret",
        "rtsp://camera.lan/user=me_password=secret_channel=1.sdp", "rtsp://camera.lan/password:secret",
    ):  # fmt: skip
        name = source_of(address).name
        assert "secret" not in name and "sec/ret" not in name and "camera.lan" in name
    for address in ("ftp://me:secret@camera.lan/door", "rtsp:/me:secret@camera.lan", "me:secret@camera.lan"):
        with pytest.raises(SourceError) as wrong:
            source_of(address)
        assert "secret" not in str(wrong.value) and "camera.lan" in str(wrong.value)
    with pytest.raises(SourceError) as error:
        sources.opened(source_of("http://me:secret@127.0.0.1:9/x.mjpg"))
    assert "secret" not in str(error.value)


@contextlib.contextmanager
def http_server(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_stream_over_http(tmp_path: Path) -> None:
    data = film(tmp_path / "x.ts", [("some", 30)]).read_bytes()

    class Live(http.server.BaseHTTPRequestHandler):
        """A camera: says no length, and breaks off."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with http_server(Live) as address:
        events = told_of(f"{address}/x.ts", every_seconds=0, for_seconds=1.0)
    assert [event["event"] for event in events][:2] == ["start", "change"]
    assert "lost" in [event["event"] for event in events]
    assert events[1]["label"] == "some"


@pytest.mark.parametrize("name", ["x.mp4", "x.ts"])
def test_a_whole_file_over_http_is_looked_at_once(name: str, tmp_path: Path) -> None:
    film(tmp_path / name, [("all", 30), ("none", 30)])

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_: Any) -> None:
            pass

    with http_server(Quiet) as address:
        events = told_of(f"{address}/{name}", every_seconds=1, smooth_seconds=0, for_seconds=30)
    assert [event["event"] for event in events] == ["start", "change", "change", "end"]
    assert events[-1]["looks"] == 6


# --- webhook and command line ----------------------------------------------------------------------------------------


class Receiver(http.server.BaseHTTPRequestHandler):
    got: list[Any] = []
    heads: list[Any] = []
    bodies: list[bytes] = []
    failures = 0

    def do_GET(self) -> None:
        Receiver.got.append("GET")
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        Receiver.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.loads(Receiver.bodies[-1])
        Receiver.heads.append(self.headers)
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            return
        if Receiver.failures:
            Receiver.failures -= 1
            self.send_error(500)
            return
        Receiver.got.append(body)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_webhook_delivers_in_order_and_tries_again() -> None:
    Receiver.got, Receiver.failures, told = [], 1, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hook = Webhook(f"http://127.0.0.1:{server.server_port}/", private=True, complain=told.append)
        for number in range(3):
            hook({"event": "change", "number": number})
        hook.close()
        server.shutdown()
    assert [event["number"] for event in Receiver.got] == [0, 1, 2] and not told


def test_a_redirect_is_not_followed_and_counts_as_failed() -> None:
    Receiver.got, Receiver.failures, told = [], 0, []
    with http_server(Receiver) as address:
        hook = Webhook(f"{address}/moved", private=True, tries=1, complain=told.append)
        hook({"event": "change"})
        hook.close()
    assert not Receiver.got and len(told) == 1 and "HTTP 302, a redirect" in told[0]


def test_webhooks_are_signed_and_authorised_on_request() -> None:
    Receiver.got, Receiver.heads, Receiver.bodies, Receiver.failures = [], [], [], 0
    with http_server(Receiver) as address:
        for options in ({}, {"secret": "s3cret", "authorization": "Bearer abc"}):
            hook = Webhook(address, private=True, complain=pytest.fail, **options)  # type: ignore[arg-type]
            hook({"event": "change", "path": "ü.jpg"})
            hook.close()
        hook = Webhook(address.replace("//", "//me:p%40ss@"), private=True, complain=pytest.fail)
        hook({"event": "end"})
        hook.close()
    plain, signed, basic = Receiver.heads
    assert "X-Allmasked-Signature" not in plain and "Authorization" not in plain
    expected = hmac.new(b"s3cret", Receiver.bodies[1], hashlib.sha256).hexdigest()
    assert signed["X-Allmasked-Signature"] == f"sha256={expected}" and signed["Authorization"] == "Bearer abc"
    assert basic["Authorization"] == "Basic bWU6cEBzcw=="
    for wrong in ("http://me:secret@", "https:///x", "http://me:secret@host:port/", "ftp://me:secret@host"):
        with pytest.raises(ConfigError) as error:
            Webhook(wrong, complain=pytest.fail)
        assert "secret" not in str(error.value)


PRIVATE = (
    "http://127.0.0.1:9/", "http://localhost/x", "https://10.0.0.8/", "http://[::1]/", "http://[::ffff:192.168.1.5]/",
    "http://169.254.1.2/", "http://2130706433/",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_only_if_asked_for(address: str) -> None:
    with pytest.raises(ConfigError, match="--webhook-private"):
        Webhook(address.replace("//", "//me:secret@"), complain=pytest.fail)
    Webhook(address, private=True, complain=pytest.fail).close()


def test_a_name_that_means_a_private_machine_later_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Receiver.got, Receiver.failures, told = [], 0, []
    known = iter(["93.184.216.34"])
    found = socket.getaddrinfo

    def looked_up(host: str, *more: Any, **options: Any) -> Any:
        return found(next(known, "127.0.0.1") if host == "name.example" else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    with http_server(Receiver) as address:
        hook = Webhook(address.replace("127.0.0.1", "name.example"), tries=1, complain=told.append)
        hook({"event": "change"})
        hook.close()
    assert not Receiver.got and len(told) == 1 and "private network" in told[0]


def test_the_secret_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allmasked.model.open_predictor", lambda *_args, **_options: ColourModel())
    video = film(tmp_path / "x.mp4", [("all", 10)])
    (tmp_path / "key").write_text("from-file\n")
    (tmp_path / "empty").write_text("\n")

    def run(*more: str) -> Any:
        Receiver.got, Receiver.heads, Receiver.bodies, Receiver.failures = [], [], [], 0
        with http_server(Receiver) as address:
            return CliRunner().invoke(cli, ["watch", str(video), "--webhook", address, "--webhook-private", *more])

    def signed_with(key: bytes) -> bool:
        signature = hmac.new(key, Receiver.bodies[0], hashlib.sha256).hexdigest()
        return bool(Receiver.heads[0]["X-Allmasked-Signature"] == f"sha256={signature}")

    assert run("--webhook-secret", str(tmp_path / "key")).exit_code == 0 and signed_with(b"from-file")
    assert isinstance(run("--webhook-secret", str(tmp_path / "empty")).exception, ConfigError)
    assert isinstance(run("--webhook-authorization", str(tmp_path / "none")).exception, ConfigError)
    monkeypatch.setenv("ALLMASKED_WEBHOOK_SECRET", "from-environment")
    monkeypatch.setenv("ALLMASKED_WEBHOOK_AUTHORIZATION", "Bearer abc")
    assert run().exit_code == 0 and signed_with(b"from-environment")
    assert Receiver.heads[0]["Authorization"] == "Bearer abc"
    monkeypatch.setenv("ALLMASKED_WEBHOOK_SECRET", "")
    assert isinstance(run().exception, ConfigError)


def test_faces_that_are_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allmasked.model.open_predictor", lambda *_args, **_options: ColourModel())
    video = film(tmp_path / "x.mp4", [("all", 10)])
    for size, label in (("20", "all"), ("70", "nobody")):  # faces are 48 px high
        result = CliRunner().invoke(cli, ["watch", str(video), "--min-face-px", size])
        assert json.loads(result.stdout.splitlines()[1])["label"] == label, result.output
    ColourModel.finds_faces = False
    try:
        result = CliRunner().invoke(cli, ["watch", str(video), "--min-face-px", "20"])
    finally:
        ColourModel.finds_faces = True
    assert isinstance(result.exception, ConfigError)


def test_a_webhook_that_is_not_there_holds_nothing_up() -> None:
    told: list[str] = []
    hook = Webhook("http://127.0.0.1:9/", private=True, tries=1, most=2, complain=told.append)
    started = time.monotonic()
    for number in range(100):
        hook({"event": "change", "number": number})
    hook.close(3)
    assert time.monotonic() - started < 4 and told
    hook = Webhook("http://127.0.0.1:9/", private=True, tries=9, complain=told.append)
    for number in range(5):
        hook({"event": "change", "number": number})
    hook.close(0.2)
    assert "webhook: 4 more events were not delivered" in told
    with pytest.raises(ConfigError):
        Webhook("file:///etc/passwd", complain=told.append)


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allmasked.model.open_predictor", lambda *_args, **_options: ColourModel())
    video = film(tmp_path / "x.mp4", [("all", 20), ("none", 40)])
    result = CliRunner().invoke(cli, ["watch", str(video), "--every", "0.5", "--out", str(tmp_path / "e.jsonl")])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [line["label"] for line in lines if line["event"] == "change"] == ["all", "none"]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.png").write_bytes(b"broken")
    result = CliRunner().invoke(cli, ["watch", str(tmp_path / "in"), "--existing", "--every", "0.1", "--for", "1"])
    assert result.exit_code == 1 and "x.png" in result.stderr
    assert CliRunner().invoke(cli, ["watch", str(video), "--video", "x.avi"]).exit_code == 2
    assert isinstance(CliRunner().invoke(cli, ["watch", "nowhere"]).exception, SourceError)


def test_ctrl_c_ends_with_a_whole_video(tmp_path: Path) -> None:
    code = f"""
import sys, os, signal
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]!r}
from colour_model import ColourModel
import allmasked.model
class Interrupted(ColourModel):
    def answer(self, pixels):
        if len(self.batches) == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return super().answer(pixels)
allmasked.model.open_predictor = lambda *a, **k: Interrupted()
from allmasked.cli import main
main()
"""
    video = film(tmp_path / "x.mp4", [("all", 600)])
    arguments = ["watch", str(video), "--every", "0", "--video", str(tmp_path / "y.mp4")]
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    last = json.loads(result.stdout.splitlines()[-1])
    assert last["event"] == "end"
    with av.open(str(tmp_path / "y.mp4")) as container:
        assert len(list(container.decode(video=0))) == last["looks"]


@pytest.mark.parametrize(
    "address", ["::1", "fec0::1", "64:ff9b::7f00:1", "2002:c0a8:101::1", "::7f00:1", "64:ff9b:1::7f00:1", "10.0.0.1"]
)
def test_addresses_that_stand_for_private_ones_are_private(address: str) -> None:
    with pytest.raises(ConfigError, match="--webhook-private"):
        Webhook(f"http://{f'[{address}]' if ':' in address else address}/", complain=pytest.fail)
