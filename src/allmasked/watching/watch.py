"""One answer over time: smoothed, told when it changes, drawn into a video."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import json
import math
import queue
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from allmasked.annotate import annotate
from allmasked.core.errors import ConfigError
from allmasked.core.runs import replacing
from allmasked.core.types import LABELS, InputSpec, Label, Prediction
from allmasked.images import pixels as px
from allmasked.model import Model
from allmasked.predictors.predictor import Look as Counted
from allmasked.watching.sources import Look, Source, looks, without_passwords

SIGNATURE = "X-Allmasked-Signature"
"""``sha256=`` and the HMAC-SHA256 of the body under the secret, in hex digits."""
Event = dict[str, Any]
Emit = Callable[[Event], None]


@dataclass
class Smoother:
    """The answer over time: an exponential mean of the probabilities, and hysteresis (a Schmitt trigger's).

    A new answer is given once its mean probability is ``margin`` above that of the answer given so far, so that a
    photo in between, or a tie, does not let the answer flicker.

    Attributes:
        smooth_seconds: time constant of the mean, 0 for none.
        margin: 0-1.
    """

    smooth_seconds: float = 2.0
    margin: float = 0.1
    label: Label | None = None
    means: NDArray[np.float64] | None = None
    _last: float = field(default=0.0, repr=False)

    def update(self, seconds: float, probabilities: NDArray[np.float64]) -> bool:
        """Take in the probabilities (4,), columns as LABELS, of a moment. Returns whether the answer changed."""
        if self.means is None or not self.smooth_seconds:
            self.means = np.array(probabilities, np.float64)
        else:
            new = 1 - math.exp(-max(0.0, seconds - self._last) / self.smooth_seconds)
            self.means = self.means + new * (probabilities - self.means)
        self._last = seconds
        best = LABELS[int(np.argmax(self.means))]
        margin = self.margin if self.smooth_seconds else 0.0
        if self.label is not None:
            ahead = self.means[LABELS.index(best)] - self.means[LABELS.index(self.label)]
            if best == self.label or ahead < margin:
                return False
        self.label = best
        return True


@dataclass(frozen=True)
class Watch:
    """What to watch and how.

    Attributes:
        every_seconds: between looks; 0 looks at all it can.
        smooth_seconds, margin: see :class:`Smoother`.
        for_seconds: end after this long, 0 for never.
        every_answer: tell every answer, not only changes.
        existing: of a folder: begin with what is there.
        video: annotated video to write.
        look: which faces count.
    """

    source: Source
    every_seconds: float = 1.0
    smooth_seconds: float = 2.0
    margin: float = 0.1
    for_seconds: float = 0.0
    every_answer: bool = False
    existing: bool = False
    video: Path | None = None
    look: Counted = Counted()


def watch(model: Model, plan: Watch, emit: Emit, stop: threading.Event) -> Counter[str]:
    """Watch until the source ends or ``stop`` is set; every event goes to ``emit``.

    Events have ``event`` (start, answer, change, lost, back, unreadable, end), ``time`` (UTC), ``source``, and as far
    as they apply ``seconds``, ``frame``, ``path``, ``label``, ``previous``, ``p_all`` and so on, ``masked``, ``bare``.

    Returns:
        How many looks had which answer.
    """
    smoother = Smoother(plan.smooth_seconds, plan.margin)
    tally: Counter[str] = Counter()
    name = plan.source.name

    def tell(event: str, **values: Any) -> None:
        emit({"event": event, "time": _now(), "source": name, **values})

    def note(word: str, why: str) -> None:
        tell(word, why=why)

    found = looks(plan.source, plan.every_seconds, note=note, stop=stop, existing=plan.existing)
    first, smallest, share = True, plan.look.min_face_px, plan.look.min_face_share
    timer = threading.Timer(plan.for_seconds, stop.set)
    timer.daemon = True
    if plan.for_seconds:
        timer.start()
    with _film(plan.video) as film:
        try:
            for look in found:
                if first:
                    tell("start", model=model.name)
                    first = False
                prediction = model(look.picture, min_face_px=smallest, min_face_share=share)
                previous = smoother.label
                changed = smoother.update(look.seconds, np.array(prediction.four))
                assert smoother.label is not None
                tally[smoother.label] += 1
                values = _values(look, prediction, smoother)
                if plan.every_answer:
                    tell("answer", **values)
                if changed:
                    tell("change", previous=previous, **values)
                if film is not None:
                    film.add(look, prediction, smoother.label)
        finally:
            timer.cancel()
    tell("end", looks=tally.total(), answers=dict(tally))
    return tally


def _values(look: Look, prediction: Prediction, smoother: Smoother) -> Event:
    assert smoother.means is not None
    means = {f"p_{label}": round(float(p), 4) for label, p in zip(LABELS, smoother.means)}
    where = {"path": look.path} if look.path else {"seconds": round(look.seconds, 3), "frame": look.number}
    return {
        "label": smoother.label, **where, **means, "seen": prediction.label, "sure": prediction.sure,
        "masked": prediction.masked, "bare": prediction.bare,
    }  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Webhook:
    """Posts events as JSON from a thread of its own; a slow or broken receiver never holds up the watching.

    Only an answer of 2xx counts as delivered. Redirects are not followed: they would turn the POST into a GET, and let
    the receiver send events, with their authorisation, elsewhere.

    Args:
        address: http or https; a name and password in it become the header Authorization (Basic).
        private: the receiver may be this machine or stand in a private network. Otherwise that is refused: at once, and
            for each connection, since a name may mean another machine later (DNS rebinding). A proxy, where one is set,
            connects in our place and is not asked.
        secret: signs each body with HMAC-SHA256, in the header :data:`SIGNATURE`.
        authorization: the header Authorization.
        tries: for an event, with a growing pause between.
        most: events that wait; the oldest give way.
        complain: told in one line when an event could not be delivered.
    """

    def __init__(
        self,
        address: str,
        *,
        private: bool = False,
        secret: str = "",
        authorization: str = "",
        tries: int = 4,
        most: int = 100,
        complain: Callable[[str], None],
    ) -> None:
        shown = without_passwords(address)
        try:
            parts = urllib.parse.urlsplit(address)
            port = parts.port
        except ValueError:
            raise ConfigError(f"--webhook {shown!r}: is no address") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"--webhook {shown!r}: must begin with http:// or https:// and a host")
        if parts.username is not None:
            if authorization:
                raise ConfigError("--webhook: has a name and password, so --webhook-authorization can't be given, too")
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        proxied = parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname)
        direct = not private and not proxied
        if direct and (where := _private_address(parts.hostname)):
            raise ConfigError(
                f"--webhook {shown!r}: is in a private network or this machine ({where}); --webhook-private lets it"
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        address = parts._replace(netloc=host if port is None else f"{host}:{port}", fragment="").geturl()
        self._headers = {"Content-Type": "application/json"}
        if authorization:
            self._headers["Authorization"] = authorization
        self._address, self._secret, self._tries, self._complain = address, secret.encode(), tries, complain
        self._opener = urllib.request.build_opener(_NoRedirect, *([_Public, _PublicTLS] if direct else []))
        self._waiting: queue.Queue[Event | None] = queue.Queue(most)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        while True:
            try:
                return self._waiting.put_nowait(event)
            except queue.Full:
                with self._waiting.mutex:
                    self._waiting.queue.popleft()
                self._complain("webhook: too slow, the oldest event was left out")

    def close(self, seconds: float = 10.0) -> None:
        """Wait for what is to be sent still, not longer than ``seconds``."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=seconds)
        self._thread.join(seconds)
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set() and (event := self._waiting.get()) is not None:
            reason = ""
            for attempt in range(self._tries):
                if attempt and self._ended.wait(0.5 * 2**attempt):
                    break
                if not (reason := self._post(event)):
                    break
            if reason:
                self._complain(f"webhook: an event ({event['event']}) was not delivered: {reason}")

    def _post(self, event: Event) -> str:
        body = json.dumps(event).encode()
        headers = dict(self._headers)
        if self._secret:
            headers[SIGNATURE] = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        request = urllib.request.Request(self._address, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=5):
                return ""
        except urllib.error.HTTPError as error:
            with error:
                return f"HTTP {error.code}" + ", a redirect, which is not followed" * (300 <= error.code < 400)
        except urllib.error.URLError as error:
            return str(error.reason)
        except (OSError, ValueError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}".rstrip(": ")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        return None


class _PublicConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _let_public(self)


class _PublicTLSConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _let_public(self)


class _Public(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicConnection, request)


class _PublicTLS(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicTLSConnection, request)


def _let_public(connection: http.client.HTTPConnection) -> None:
    peer = str(connection.sock.getpeername()[0])
    if not _is_public(peer):
        connection.close()
        raise OSError(f"it is in a private network or this machine ({peer})")


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or found
    return mapped.is_global and not mapped.is_multicast


def _private_address(host: str) -> str:
    """The first address of a host that is not public; empty where there is none, or where the host isn't known now."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ""
    return next((str(at[0]) for *_, at in found if not _is_public(str(at[0]))), "")


class Film:
    """An annotated video (H.264 in MP4): every picture looked at, shown until the next."""

    LONGEST_PX = 1280
    TICKS = 1000

    def __init__(self, path: Path) -> None:
        import av

        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream: Any = None
        self._size = (0, 0)
        self._start = 0.0
        self._last = -1

    def add(self, look: Look, prediction: Prediction, over_time: str) -> None:
        """Draw its answer, and the one over time, on a picture and append it; the first one's size is the film's."""
        import av

        small = px.thumbnail(look.picture, (self.LONGEST_PX, self.LONGEST_PX))
        drawn = annotate(small, look.picture.size, prediction, note=f"over time: {over_time}  ·  ")
        if self._stream is None:
            self._size = (drawn.width - drawn.width % 2, drawn.height - drawn.height % 2)
            self._stream = self._container.add_stream("libx264", rate=25, options={"crf": "23", "preset": "veryfast"})
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, self.TICKS)
            self._start = look.seconds
        frame = av.VideoFrame.from_image(Image.fromarray(px.to_input(drawn, InputSpec(self._size))))
        self._last = max(self._last + 1, round((look.seconds - self._start) * self.TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, self.TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


@contextlib.contextmanager
def _film(path: Path | None) -> Iterator[Film | None]:
    if path is None:
        yield None
        return
    with replacing(path) as temporary:
        film = Film(temporary)
        try:
            yield film
        finally:
            film.close()
