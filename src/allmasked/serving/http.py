"""The HTTP server (uvicorn) around the app: slow senders, JSON logs, a clean end."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from allmasked.serving.app import DRAINED_BODIES, JsonLines

CONNECTIONS = 512
HEAD_BYTES = 1 << 16


def protocol(seconds: float, drained_bytes: int) -> type[asyncio.Protocol]:
    """uvicorn's protocol with an end to what it takes unasked.

    A connection is closed whose next request's head does not come within ``seconds`` or is over :data:`HEAD_BYTES`;
    or that goes on sending more than ``drained_bytes`` of a body after the request was refused.
    """

    class Bounded(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
        late: asyncio.TimerHandle | None = None
        unasked = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.unasked += len(data)
            self._watch()
            if self.unasked > (drained_bytes if self._draining() else HEAD_BYTES):
                self._refuse("431 Request Header Fields Too Large", "the head of the request is too large")

        def connection_lost(self, exc: Exception | None) -> None:
            if self.late is not None:
                self.late.cancel()
            super().connection_lost(exc)

        def _draining(self) -> bool:
            return self.cycle is not None and bool(self.cycle.more_body)

        def _watch(self) -> None:
            at_work = self.cycle is not None and not self.cycle.response_complete
            if at_work:
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


def run(app: FastAPI, listening: socket.socket, *, level: int = logging.INFO) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was taken on (as long as one request may take) and exit with 0.

    Args:
        app: of :func:`allmasked.serving.app.create_app`.
        listening: a bound socket.
        level: of the logs, JSON lines on stderr.
    """
    limits = app.state.service.limits
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("allmasked", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level if name == "allmasked" else logging.WARNING)
    config = uvicorn.Config(
        app,
        http=protocol(limits.max_seconds, DRAINED_BODIES * limits.max_bytes),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        backlog=CONNECTIONS,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(2 * limits.max_seconds) + 1,
    )
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again once it is done
            signal.signal(number, lambda *_: sys.exit(0))
    uvicorn.Server(config).run(sockets=[listening])
