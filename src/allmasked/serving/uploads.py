"""Photos out of HTTP requests: bounded in bytes, number and time, and only ever in memory."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tempfile
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

FIELD = "files"
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252"})
"""What names in a form may be written in."""
SPARE_BODIES = 8
"""How many requests of the largest size may be held at a time."""


@dataclass(frozen=True)
class Upload:
    """One photo as it came: what the sender calls it (no folders, no control characters), and its bytes."""

    name: str
    data: bytes


class Refused(Exception):
    """A request that is not served: HTTP status, one line for the sender, a word for the metrics, headers."""

    def __init__(self, status: int, detail: str, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.reason, self.headers = status, detail, reason, headers or {}


def busy(seconds: float, detail: str = "too many requests at the moment, try again") -> Refused:
    """The refusal of what can't be served now but in about ``seconds``."""
    return Refused(503, detail, "busy", {"Retry-After": str(max(1, min(60, round(seconds))))})


@dataclass
class Intake:
    """Takes the photos out of requests.

    Attributes:
        max_bytes: of a request's body.
        max_files: photos a request.
        max_seconds: that a body may take to arrive.
        held_bytes: bodies held now.
    """

    max_bytes: int
    max_files: int
    max_seconds: float
    held_bytes: int = field(default=0, init=False)

    @contextlib.asynccontextmanager
    async def photos(self, request: Request) -> AsyncGenerator[list[Upload], None]:
        """The photos of a request, held until left.

        Raises:
            Refused: 400 damaged multipart, 408 too slow, 413 too large, 415 not photos, 422 no photo, 503 too
                many bytes held for others.
        """
        with self._holding() as hold:
            try:
                async with asyncio.timeout(self.max_seconds):
                    uploads = await self._uploads(request, hold)
            except TimeoutError:
                detail = f"the request took longer than {self.max_seconds:g} s to arrive"
                raise Refused(408, detail, "slow", {"Connection": "close"}) from None
            if not uploads:
                raise Refused(422, f"no photo came: send the field {FIELD!r} of multipart/form-data, or bytes", "empty")
            yield uploads

    @contextlib.contextmanager
    def _holding(self) -> Iterator[Any]:
        """A function that counts bytes taken, which are given back at the end."""
        mine = 0

        def hold(count: int) -> None:
            nonlocal mine
            mine += count
            self.held_bytes += count
            if mine > self.max_bytes:
                raise self._too_large()
            if self.held_bytes > SPARE_BODIES * self.max_bytes:
                raise busy(2)

        try:
            yield hold
        finally:
            self.held_bytes -= mine

    def _too_large(self) -> Refused:
        detail = f"the request is over the limit of {self.max_bytes:,} bytes"
        return Refused(413, detail, "bytes", {"Connection": "close"})

    async def _uploads(self, request: Request, hold: Any) -> list[Upload]:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        multipart = kind == "multipart/form-data"
        if not (multipart or kind in ("", "application/octet-stream") or kind.startswith("image/")):
            wanted = "multipart/form-data, or a photo's bytes as image/* or application/octet-stream"
            raise Refused(415, f"send {wanted}", "type")
        declared = request.headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 20 or int(declared) > self.max_bytes:
            raise self._too_large()
        charset = parse_options_header(request.headers.get("content-type", ""))[1].get(b"charset", b"utf-8")
        if multipart and charset.decode("latin-1").lower() not in CHARSETS:  # Python has codecs that take minutes
            raise Refused(415, "the form's charset is not utf-8", "type")
        if multipart:
            return await self._form(request, hold)
        body = io.BytesIO()
        async for chunk in request.stream():
            hold(len(chunk))
            body.write(chunk)
        data = body.getvalue()  # the same bytes, as long as nobody writes: a body is held once
        return [Upload("photo", data)] if data else []

    async def _form(self, request: Request, hold: Any) -> list[Upload]:
        async def held() -> AsyncGenerator[bytes, None]:
            async for chunk in request.stream():
                hold(len(chunk))
                yield chunk

        try:
            parser = _InMemory(request.headers, held(), max_files=self.max_files, max_fields=64, max_part_size=1 << 16)
            form = await parser.parse()
            if not parser.ended:
                parser.close()
                raise Refused(400, "the form is cut off before its end", "form")
        except MultiPartException as error:
            if error.message.startswith("Too many files"):
                detail = f"more than {self.max_files} photos in a request"
                raise Refused(413, detail, "files", {"Connection": "close"}) from None
            raise Refused(400, f"the form cannot be read: {error.message}", "form") from None
        try:
            found = []
            for name, value in form.multi_items():
                if name != FIELD and not isinstance(value, UploadFile):
                    continue  # what forms carry besides: a token, a caption
                if name != FIELD or not isinstance(value, UploadFile):
                    what = "a file" if isinstance(value, UploadFile) else "text"
                    shown = safe_name(name)[:50]
                    raise Refused(422, f"{what} came in the field {shown!r}: send photos in the field {FIELD!r}, "
                                  f"as curl's -F {FIELD}=@photo.jpg does", "form")  # fmt: skip
                assert isinstance(value.file, tempfile.SpooledTemporaryFile)
                buffer = value.file._file
                assert isinstance(buffer, io.BytesIO)
                found.append(Upload(safe_name(value.filename), buffer.getvalue()))  # as above: read() copies
                await value.close()
            return found
        finally:
            await form.close()


class _InMemory(MultiPartParser):
    spool_max_size = 1 << 62  # never to disk
    ended = False

    def on_end(self) -> None:
        self.ended = True

    def close(self) -> None:
        """Let go of the files of a form that is cut off, the last one of which no form holds."""
        for file in self._files_to_close_on_error:
            file.close()


def safe_name(name: str | None) -> str:
    """A file's name for the answer: the last part of a path, printable, at most 200 characters."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c if c.isprintable() else "�" for c in last[:200]) or "photo"
