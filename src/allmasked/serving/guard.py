"""Who may ask: refuses foreign names of this server (DNS rebinding) and other web pages, before anything is read."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

from allmasked.core.errors import ConfigError

LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Guard:
    """ASGI around the app.

    Attributes:
        hosts: names that this server may be called by, without port; None for any. Where it is bound to this machine
            only, loopback addresses and ``localhost`` always are.
        origins: ``http://host:port`` of other servers' pages that may use it.
        refused: told the reason of each refusal.
    """

    app: Any
    hosts: frozenset[str] | None
    origins: frozenset[str]
    refused: Callable[[str], None]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (why := self.why_not(scope)):
            reason, detail = why
            self.refused(reason)
            await JSONResponse({"detail": detail}, 403)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def why_not(self, scope: MutableMapping[str, Any]) -> tuple[str, str] | None:
        """A word and a line; None where the request is welcome."""
        given = {name: value.decode("latin-1").strip() for name, value in scope["headers"]}
        host = given.get(b"host", "")
        if self.hosts is not None and host and not self._mine(host):
            shown = re.sub(r"[^\w.:\[\]-]", "?", host)[:100]
            return "host", f"this server is not called {shown!r}; its --allow-host NAME lets it be"
        origin = given.get(b"origin")
        if origin is not None and origin.lower() in self.origins:
            return None
        site = given.get(b"sec-fetch-site", "").lower()
        if site:
            foreign = site not in ("same-origin", "none")
        else:  # an older browser, or plain http from another machine
            foreign = origin is not None and origin.lower().partition("://")[2] != host.lower()
        visit = scope["method"] in ("GET", "HEAD") and given.get(b"sec-fetch-mode", "").lower() == "navigate"
        if foreign and not visit:  # a link that somebody follows is no page that asks
            return "origin", "pages of other servers may not use this one; --allow-origin http://host:port lets them"
        return None

    def _mine(self, host: str) -> bool:
        assert self.hosts is not None
        name = bare(host)
        return name in self.hosts or name in LOCAL or name.endswith(".localhost") or is_loopback(name)


def bare(host: str) -> str:
    """A header ``Host`` without its port: a name in small letters, or an address without brackets."""
    found = re.fullmatch(r"\[([^\]]*)\](?::\d*)?|([^:]*)(?::\d*)?", host.strip())
    name = (found[1] or found[2] or "") if found else host
    return name.lower().rstrip(".")


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def hosts_of(address: str, named: Collection[str]) -> frozenset[str] | None:
    """The names for a server that listens on ``address``: those given; any where it can be reached from elsewhere and
    none is given. Raises :class:`ConfigError`."""
    for name in named:
        if not re.fullmatch(r"[\w.-]+|\[?[0-9a-fA-F:.]+\]?", name):
            raise ConfigError(f"--allow-host {name!r}: is no host name (without http:// and port)")
    return frozenset(map(bare, named)) if named or is_loopback(address) else None


def origins_of(named: Collection[str]) -> frozenset[str]:
    """``--allow-origin`` as it is compared. Raises :class:`ConfigError`."""
    for name in named:
        if not re.fullmatch(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d+)?/?", name):
            raise ConfigError(f"--allow-origin {name!r}: must be http://host:port or https://host, without a path")
    return frozenset(re.sub(r"^(http://.*):80$|^(https://.*):443$", r"\1\2", one.rstrip("/").lower()) for one in named)
