"""Events sent to an address: signed, in order, without holding anybody up, and not where nobody asked for."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import json
import queue
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from allmasked.core.errors import ConfigError
from allmasked.watching.sources import without_passwords

SIGNATURE = "X-Allmasked-Signature"
"""``sha256=`` and the HMAC-SHA256 of the body under the secret, in hex digits."""
Event = dict[str, Any]


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
                f"--webhook {shown!r}: is in a private network or this machine ({where}); add --webhook-private"
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
        end = time.monotonic() + seconds
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=seconds)
        self._thread.join(max(0.0, end - time.monotonic()))
        self._ended.set()
        with self._waiting.mutex:
            left = sum(event is not None for event in self._waiting.queue)
        if left:
            self._complain(f"webhook: {left:,} more events were not delivered")

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


_OF_IPV4 = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96")))
"""Addresses of IPv6 that stand for one of IPv4 (RFC 6052, 8215, 4291, 2765)."""


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inside = found.ipv4_mapped or found.sixtofour
        if any(found in network for network in _OF_IPV4):
            inside = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inside is not None:
            return _is_public(str(inside))
        if found.is_site_local:
            return False
    return found.is_global and not found.is_multicast


def _private_address(host: str) -> str:
    """The first address of a host that is not public; empty where there is none, or where the host isn't known now."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ""
    return next((str(at[0]) for *_, at in found if not _is_public(str(at[0]))), "")
