"""The HTTP server (uvicorn) around the app: slow, silent and too many clients, JSON logs, a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from allmasked.serving.app import DRAINED_BODIES, JsonLines, Service

BACKLOG = 512
CONNECTIONS = 2048
IDLE_CONNECTIONS = 256
"""Of more that have no request at the moment the longest idle is closed, so that silent ones keep nobody out."""
IDLE_SECONDS = 0.5
"""That each may be idle at least: what has just come may not have been read yet."""
HEAD_BYTES = 1 << 16


def protocol(seconds: float, drained_bytes: int) -> type[asyncio.Protocol]:
    """uvicorn's protocol with an end to what it takes unasked, and to its patience.

    A connection is closed whose next request's head does not come within ``seconds`` or is over :data:`HEAD_BYTES`;
    that goes on sending more than ``drained_bytes`` of a body after the request was refused; that does not take an
    answer within ``seconds``; or that is the longest idle of more than :data:`IDLE_CONNECTIONS`.
    """
    idle: dict[Any, None] = {}  # the longest idle first

    class Bounded(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
        late: asyncio.TimerHandle | None = None
        untaken: asyncio.TimerHandle | None = None
        unasked = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)  # so that writing is paused while anything is not taken
            self._watch()
            self._rest()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.unasked += len(data)
            self._watch()
            if self.unasked > (drained_bytes if self._draining() else HEAD_BYTES):
                self._refuse("431 Request Header Fields Too Large", "the head of the request is too large")

        def connection_lost(self, exc: Exception | None) -> None:
            idle.pop(self, None)
            for timer in (self.late, self.untaken):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.cycle.response_complete and not self.transport.is_closing():
                self._rest()

        def pause_writing(self) -> None:
            super().pause_writing()
            self.untaken = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.untaken is not None:
                self.untaken.cancel()

        def _rest(self) -> None:
            idle.pop(self, None)
            idle[self] = None
            self.loop.call_later(IDLE_SECONDS, self._make_room)

        def _make_room(self) -> None:
            if len(idle) > IDLE_CONNECTIONS:
                longest = next(iter(idle))
                del idle[longest]
                longest.transport.close()

        def _draining(self) -> bool:
            return self.cycle is not None and bool(self.cycle.more_body)

        def _watch(self) -> None:
            at_work = self.cycle is not None and not self.cycle.response_complete
            if at_work:
                idle.pop(self, None)
                self.unasked = 0
                if self.late is not None:
                    self.late.cancel()
                    self.late = None
            elif self.late is None:
                self.late = self.loop.call_later(seconds, self._close_late)

        def _close_late(self) -> None:
            self.late = None
            if self.cycle is None or self.cycle.response_complete:
                self._refuse("408 Request Timeout", "the head of the request came late")

        def _refuse(self, status: str, detail: str) -> None:
            if self.transport.is_closing():
                return
            if not self._draining():
                body = json.dumps({"detail": detail})
                head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
                self.transport.write(f"{head}\r\nconnection: close\r\n\r\n{body}".encode())
            self.transport.close()

    return Bounded


def start_logs(level: int = logging.INFO) -> None:
    """Logs as JSON lines on stderr, from here on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("allmasked", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level if name == "allmasked" else logging.WARNING)


def _allow_connections() -> None:
    """Let as many files be open as there may be connections, where the system allows it."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * CONNECTIONS if hard == resource.RLIM_INFINITY else min(2 * CONNECTIONS, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(uvicorn.Server):
    """Goes on for a while after SIGTERM, saying at ``/readyz`` that it ends, so that a proxy sends nothing more."""

    def __init__(self, config: uvicorn.Config, service: Service | None, drain_seconds: float) -> None:
        super().__init__(config)
        self.service, self.drain_seconds = service, drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.service is None:
            super().handle_exit(sig, frame)
            return
        if sig == signal.SIGTERM and self.drain_seconds and not self.service.draining:
            waiting = threading.Timer(self.drain_seconds, super().handle_exit, (sig, frame))
            waiting.daemon = True
            waiting.start()
        else:
            super().handle_exit(sig, frame)
        self.service.draining = True


def run(app: FastAPI, listening: socket.socket, *, drain_seconds: float = 0.0, level: int = logging.INFO) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was taken on (as long as one request may take) and exit with 0.

    Args:
        app: of :func:`allmasked.serving.app.create_app`.
        listening: a bound socket.
        drain_seconds: that it goes on taking requests after SIGTERM while ``/readyz`` says 503; a second one, or
            SIGINT, ends that.
        level: of the logs.
    """
    limits = app.state.limits
    start_logs(level)
    _allow_connections()
    config = uvicorn.Config(
        app,
        http=protocol(limits.max_seconds, DRAINED_BODIES * limits.max_bytes),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(2 * limits.max_seconds) + 1,
    )
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again once it is done
            signal.signal(number, lambda *_: sys.exit(0))
    _Server(config, getattr(app.state, "service", None), drain_seconds).run(sockets=[listening])
