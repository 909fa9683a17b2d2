"""Where photos lie and answers go: folders of this machine, and addresses such as ``s3://bucket/photos``.

Stores are reached through fsspec, credentials as its libraries take them (environment, profiles, roles). An address may
carry a secret itself (``https://user:password@host/a.jpg?token=...``): what is shown or written of it is :func:`clean`,
and what others say about it goes through :func:`scrub`.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import itertools
import os
import random
import re
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from allmasked.core.errors import AllmaskedError, ConfigError, DataError, MissingExtraError, PhotoError, require
from allmasked.core.text import shown
from allmasked.images.pixels import SUFFIXES, hidden
from allmasked.predictors.photo_files import find_photos, matches

STORES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "https": "aiohttp", "http": "aiohttp", "file": ""}
"""Schemes of addresses, and the module that brings each."""

MAX_BYTES = 256_000_000
"""A larger object is not fetched: it is no photo."""
TRIES = 4
"""How often an object is asked for before its row says that it can't be had."""
NAME_CHARACTERS = 120
"""A longer name of an object is shortened for a file."""
THREADS = 16
"""That wait for the store at a time, each for one object."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_LOGIN = re.compile(r"[^\s'\"<>/]+@")
_SIGNING = re.compile(
    r"x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|expires|policy|s[eiprtv]|sig|sdd|spr|sip|ss|srt"
    r"|sk(oid|tid|t|e|s|v)|.*(token|secret|passw|signature|credential|auth|key).*",
    re.IGNORECASE,
)
"""Query fields that open a door rather than name a photo; ``sv``, ``se`` and the like are those of Azure."""
_OPEN = frozenset(["id", "v", "version", "versionid", "name", "file", "page", "w", "h", "width", "height", "format"])
_KEYS_ARE_WHOLE = frozenset({"s3", "gs", "az", "file"})
"""Schemes without a query: ``?`` and ``#`` belong to an object's name."""
Given = TypeVar("Given")
Got = TypeVar("Got")


@dataclass(frozen=True, slots=True)
class Item:
    """One photo of a listing.

    Attributes:
        name: what rows and messages call it; holds no secret.
        place: where it is read: a path of this machine, or an address.
        etag: what tells one version of it from another: the store's etag, or the time that a file was written.
        size: bytes; -1 where unknown.
    """

    name: str
    place: str
    etag: str = ""
    size: int = -1

    @property
    def here(self) -> bool:
        """Whether it is a file of this machine."""
        return not is_address(self.place)


def is_address(text: str) -> bool:
    """Whether this is an address rather than a path."""
    return _ADDRESS.match(text) is not None


def is_far(path: str) -> bool:
    """Whether photos come from an address, or from a list file that may name some."""
    return is_address(path) or (is_list(path) and os.path.isfile(path))  # noqa: PTH113


def is_list(text: str) -> bool:
    """Whether this names a list of photos (``.txt``, one path or address per line)."""
    path = Path(urlsplit(text).path if is_address(text) else text)
    return path.suffix.lower() == ".txt" and (is_address(text) or not os.path.isdir(path))  # noqa: PTH112


def clean(text: str) -> str:
    """An address without user, password, signature or token; anything else with only broken Unicode escaped.

    Query fields that are not known to be harmless are replaced by a digest, so that two photos stay two.
    """
    if is_address(text):
        try:
            scheme, rest = text.split("://", 1)
            host, slash, path = rest.partition("/")
            text = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
            if scheme.lower() not in _KEYS_ARE_WHOLE:
                parts = urlsplit(text)
                text = urlunsplit((parts.scheme, parts.netloc, parts.path, _harmless(parts.query), ""))
        except ValueError:
            text = f"{text.split('://')[0]}://..."
    return shown(text)


def _harmless(query: str) -> str:
    kept = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.lower() in _OPEN:
            kept.append(f"{name}={value}")
        elif not _SIGNING.fullmatch(name):
            kept.append(f"{name}=~{hashlib.sha256(value.encode()).hexdigest()[:8]}")
    return "&".join(kept)


def scrub(text: str) -> str:
    """A message without secrets: addresses in it are cleaned, values of secret environment variables left out."""
    text = _LOGIN.sub("", _IN_TEXT.sub(lambda found: clean(found[0]), text))
    for name, value in os.environ.items():
        secrets = [value] if re.search("SECRET|TOKEN|PASSW|CREDENTIAL|KEY", name) else []
        if "CONNECTION_STRING" in name:  # Azure's: fields such as AccountKey=...
            secrets = [value, *(field[2] for field in _fields(value) if _SIGNING.fullmatch(field[0]))]
        for secret in secrets:
            if len(secret) >= 8 and not os.path.exists(secret):  # noqa: PTH110
                text = text.replace(secret, "***")
    return text


def _fields(value: str) -> list[tuple[str, str, str]]:
    return [part.partition("=") for part in value.split(";")]


def reason(error: BaseException) -> str:
    """What a store's library says, as one short line without secrets."""
    return (" ".join(scrub(str(error)).split()) or type(error).__name__)[:200]


def filesystem(address: str) -> tuple[Any, str]:
    """The fsspec filesystem that holds an address, and the path in it.

    Raises:
        ConfigError: a scheme that isn't known, or the library refuses the address.
        MissingExtraError: what reaches it is not installed.
    """
    scheme, _, below = address.partition("://")
    scheme = scheme.lower()
    if scheme not in STORES:
        known = ", ".join(f"{name}://" for name in STORES)
        raise ConfigError(f"{clean(address)}: addresses of {scheme}:// are not known; known: {known}")
    fsspec = require("fsspec", "scale")
    if STORES[scheme]:
        require(STORES[scheme], "scale")
    options: dict[str, Any] = {} if scheme in ("file", "http", "https") else {"use_listings_cache": False}
    if scheme == "s3":
        options["max_concurrency"] = 1  # an object in one piece; s3fs would ask for its size first
    try:
        filesystem, path = fsspec.core.url_to_fs(f"{scheme}://{below}", **options)
    except Exception as error:
        raise ConfigError(
            f"{clean(address)}: cannot be reached ({reason(error)}); check address and credentials"
        ) from None
    return filesystem, path


def local_path(address: str) -> str:
    """The path of a ``file://`` address; anything else as it is."""
    if not address.lower().startswith("file://"):
        return address
    return unquote(address[len("file://") :].removeprefix("localhost"))


# --- listing ----------------------------------------------------------------------------------------------------------


def listing(
    sources: Iterable[str], lines: Callable[[], Iterator[str]] | None = None, *, etags: bool = True
) -> Iterator[Item]:
    """Every photo that ``sources`` stand for, as a stream: memory does not grow with their number.

    A source is a photo, folder or pattern, of this machine or at an address; a list of these (``.txt``, one a line,
    patterns taken as they are); or ``-`` for ``lines``. A name ending in ``/``, or in none of
    :data:`allmasked.images.pixels.SUFFIXES`, is a folder where it is an address. Photos at ``https://`` are named
    one by one. What isn't there stands for itself: reading it gives the error. With ``etags`` the store is asked
    for the etag of each photo that is named one by one.

    Raises:
        DataError: a folder or list can't be read.
        ConfigError, MissingExtraError: see :func:`filesystem`.
    """
    for given in sources:
        source = local_path(given)
        if source == "-" and lines is not None:
            yield from _listed(lines(), etags)
        elif is_list(source):
            yield from _listed(_lines_of(source), etags)
        elif is_address(source):
            yield from _at(source, etags)
        else:
            yield from _here(source)


def _here(path: str, *, patterns: bool = True) -> Iterator[Item]:
    for name, found in find_photos([path], patterns=patterns):
        yield _file(name, found)


def _file(name: str, path: str) -> Item:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return Item(clean(name), path)
    return Item(clean(name), path, f"mtime-{status.st_mtime_ns}", status.st_size)


def _lines_of(source: str) -> Iterator[str]:
    try:
        if is_address(source):
            store, path = filesystem(source)
            with store.open(path, "rb") as stream:
                yield from _named_in(stream)
        else:
            with Path(source).open("rb") as stream:
                yield from _named_in(stream)
    except AllmaskedError:
        raise
    except Exception as error:
        why = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else reason(error)
        raise DataError(
            f"{clean(source)}: the list cannot be read ({why}); give a text file, one photo a line"
        ) from None


def _named_in(stream: Iterable[bytes]) -> Iterator[str]:
    for line in stream:
        if name := line.strip(b"\r\n").removeprefix(b"\xef\xbb\xbf"):
            yield os.fsdecode(name)


def _listed(lines: Iterable[str], etags: bool) -> Iterator[Item]:
    """The photos of a list in its order; what the store knows of each is asked for by several threads ahead."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="listing") as pool:
        waiting: deque[Future[Item]] = deque()
        try:
            for given in lines:
                line = local_path(given)
                if is_address(line) and not _is_folder(line):
                    waiting.append(pool.submit(_single, line, etags))
                    if len(waiting) >= 8 * THREADS:
                        yield waiting.popleft().result()
                    continue
                while waiting:
                    yield waiting.popleft().result()
                yield from _at(line, etags, patterns=False) if is_address(line) else _here(line, patterns=False)
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _is_folder(address: str) -> bool:
    scheme, _, path = address.lower().partition("://")  # "?" and "#" are signs of a name
    if scheme.startswith("http"):
        return False
    return path.endswith("/") or Path(path).suffix.lower() not in SUFFIXES


def _single(address: str, etags: bool) -> Item:
    item = Item(clean(address), address)
    return known(item) if etags else item


def known(item: Item) -> Item:
    """The photo with what the store knows of it; as it is where that can't be had: reading it gives the error."""
    store, path = filesystem(item.place)
    try:
        found = _retried(lambda: store.info(path))
    except Exception:
        return item
    etag = next((found[name] for name in ("ETag", "etag", "Content-MD5", "Last-Modified") if found.get(name)), "")
    size = found.get("size")
    return replace(item, etag=str(etag).strip('"'), size=-1 if size is None else int(size))


def _at(source: str, etags: bool, *, patterns: bool = True) -> Iterator[Item]:
    pattern = patterns and not source.lower().startswith("http") and glob.has_magic(source)
    if not pattern and not _is_folder(source):
        yield _single(source, etags)
        return
    scheme, _, below = source.partition("://")
    parts = below.split("/")
    magic = (number for number, part in enumerate(parts) if pattern and glob.has_magic(part))
    fixed = next(magic, len(parts))
    for names, item in files_below(f"{scheme}://{'/'.join(parts[:fixed])}", SUFFIXES):
        if not pattern or matches(list(names), parts[fixed:]):
            yield item


def files_below(address: str, suffixes: Collection[str]) -> Iterator[tuple[tuple[str, ...], Item]]:
    """Everything anywhere below an address with one of the suffixes (lower case), as a stream; nothing hidden.

    Each with its folders and name below the address. Behind http, the server's own page of a folder says what is in it.

    Raises:
        DataError: it can't be listed.
    """
    store, base = filesystem(address.rstrip("/"))
    scheme = address.split("://")[0]
    try:
        for path, etag, size in _objects(store, scheme, base):
            names = tuple(path[len(base) :].strip("/").split("/"))
            if not any(map(hidden, names)) and Path(names[-1]).suffix.lower() in suffixes:
                place = path if is_address(path) else f"{scheme}://{path}"
                yield names, Item(clean(place), place, etag, size)
    except AllmaskedError:
        raise
    except Exception as error:
        raise DataError(
            f"{clean(address)}: cannot be listed ({reason(error)}); check address and credentials"
        ) from None


def _objects(store: Any, scheme: str, base: str) -> Iterator[tuple[str, str, int]]:
    """(path, etag, size) of every object below, page by page where the store's library would gather them all."""
    bucket, _, key = base.partition("/")
    prefix = f"{key}/" if key else ""
    if scheme == "s3":
        more: dict[str, str] = {}
        while True:
            page = store.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            for found in page.get("Contents", ()):
                yield f"{bucket}/{found['Key']}", found["ETag"].strip('"'), found["Size"]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}
    if scheme == "gs":
        more = {}
        while True:
            page = store.call("GET", "b/{}/o", bucket, prefix=prefix, maxResults=1000, json_out=True, **more)
            for found in page.get("items", ()):
                yield f"{bucket}/{found['name']}", found.get("etag", ""), int(found.get("size", -1))
            if not page.get("nextPageToken"):
                return
            more = {"pageToken": page["nextPageToken"]}
    for folder, _, files in store.walk(base, detail=True, on_error="raise"):  # one folder in memory at a time
        for name, known in sorted(files.items()):
            etag = known.get("etag") or known.get("ETag") or known.get("last_modified") or ""
            yield f"{folder}/{name}", str(etag).strip('"'), int(known.get("size") or 0)


# --- fetching ---------------------------------------------------------------------------------------------------------


def fetch(item: Item) -> str | bytes:
    """What the decoder reads: the path of a file of this machine, the bytes of any other photo.

    Raises:
        PhotoError: it can't be had.
    """
    if item.here:
        return item.place
    if item.size > MAX_BYTES:
        raise _no_photo(item, item.size)
    if item.size >= 0:
        found: bytes = _had(item, lambda store, path: store.cat_file(path))
    elif item.place.lower().startswith("http"):  # whose servers may not give a part: asked first
        item = known(item)
        return fetch(item) if item.size >= 0 else _had(item, lambda store, path: store.cat_file(path))
    else:
        found = _had(item, _beginning)
        if len(found) > MAX_BYTES:
            raise _no_photo(item, len(found))
    return found


def _beginning(store: Any, path: str) -> bytes:
    """An object, or so much of it that it is seen to be too large."""
    try:
        found: bytes = store.cat_file(path, end=MAX_BYTES + 1)
    except Exception as error:
        empty = getattr(error, "errno", None) == errno.EINVAL or 416 in (
            getattr(error, name, None) for name in ("code", "status", "status_code")
        )
        if not empty:  # of which no part can be had
            raise
        found = store.cat_file(path)
    return found


def _no_photo(item: Item, size: int) -> PhotoError:
    return PhotoError(item.name, f"has {size / 1e6:.0f} MB, which is no photo (the limit is {MAX_BYTES / 1e6:.0f})")


def fetched(photos: Iterable[Item | tuple[str, Given]]) -> Iterator[tuple[str, Given | str | bytes | PhotoError]]:
    """(name, photo) of each, in order, the error in place of a photo that can't be had; pairs come as they are."""
    for far, run in itertools.groupby(photos, lambda one: isinstance(one, Item) and not one.here):
        if far:
            yield from ((item.name, source) for item, source in ahead(cast("Iterator[Item]", run), fetch))
        else:
            yield from ((one.name, one.place) if isinstance(one, Item) else one for one in run)


def in_files(photos: Iterable[Item], folder: Path) -> Iterator[tuple[str, str | PhotoError]]:
    """(name, path) of each, in order, for what reads a photo more than once; those of stores are written below
    ``folder``, each in a folder called as its own is. The error in place of a photo that can't be had."""
    for number, (item, got) in enumerate(ahead(photos, fetch)):
        if isinstance(got, bytes):
            path = folder.joinpath(str(number), *names_of(item.name)[-2:])
            path.parent.mkdir(parents=True)
            path.write_bytes(got)
            got = str(path)
        yield item.name, got


def names_of(address: str) -> list[str]:
    """The host or bucket, the folders and the name of an address, each as a file of this machine may be called."""
    scheme, _, path = address.partition("://")
    query = ""
    if scheme.lower() not in _KEYS_ARE_WHOLE:
        path, _, query = path.partition("?")
        path = unquote(path)
    *above, name = [part for part in path.split("/") if part] or [""]
    return [*map(_as_name, above), _as_name(name, query)]


def _as_name(text: str, query: str = "") -> str:
    """What a file may be called, wherever ``text`` comes from; two texts never give one name."""
    kept = re.sub(r'[\x00-\x1f\\/:*?"<>|]', "_", text).strip(" .") or "_"
    if kept == text and len(text) <= NAME_CHARACTERS and not query:
        return text
    stem, dot, suffix = kept.rpartition(".")
    stem, suffix = (stem, dot + suffix[:20]) if stem else (kept, "")
    return f"{stem[-NAME_CHARACTERS:]}-{hashlib.sha256(f'{text}?{query}'.encode()).hexdigest()[:8]}{suffix}"


def copy(item: Item, target: Path) -> None:
    """Write an object of a store into a file. Raises :class:`PhotoError`: it can't be had."""
    _had(item, lambda store, path: store.get_file(path, str(target)))


def _had(item: Item, call: Callable[[Any, str], Got]) -> Got:
    try:
        store, path = filesystem(item.place)
        return _retried(lambda: call(store, path))
    except MissingExtraError:
        raise
    except ConfigError as error:
        raise PhotoError(item.name, str(error).removeprefix(f"{clean(item.place)}: ")) from None
    except FileNotFoundError:
        raise PhotoError(item.name, "no such object") from None
    except PermissionError:
        raise PhotoError(item.name, "may not be read (permission denied)") from None
    except Exception as error:
        raise PhotoError(item.name, f"cannot be fetched ({reason(error)})") from None


def _retried(call: Callable[[], Got]) -> Got:
    for left in reversed(range(TRIES)):
        try:
            return call()
        except (FileNotFoundError, PermissionError, NotImplementedError):
            raise
        except Exception as error:
            status = getattr(error, "status", None) or 500
            if not left or (400 <= status < 500 and status not in (408, 429)):
                raise
            time.sleep(0.2 * 2 ** (TRIES - left) * random.uniform(0.5, 1))
    raise AssertionError


def ahead(
    items: Iterable[Given], do: Callable[[Given], Got], *, threads: int = THREADS
) -> Iterator[tuple[Given, Got | PhotoError]]:
    """``do`` of each item in threads, in order and some ahead; an item that can't be had comes with its error."""

    def attempt(item: Given) -> Got | PhotoError:
        try:
            return do(item)
        except PhotoError as error:
            return error

    pool = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
    try:
        waiting: deque[tuple[Given, Future[Got | PhotoError]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(attempt, item)))
            if len(waiting) >= 2 * threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


# --- a folder that results go to --------------------------------------------------------------------------------------


class Folder:
    """A folder of results, of this machine or at an address. A file in it is there in whole or not at all."""

    def __init__(self, place: str) -> None:
        self.place = local_path(place)
        self.name = clean(self.place)
        if is_address(self.place):
            if self.place.lower().startswith("http"):
                raise ConfigError(f"{self.name}: nothing can be written to http; give a folder, s3://, gs:// or az://")
            self._store, path = filesystem(self.place.rstrip("/"))
            self._path = path.rstrip("/")
        else:
            self._store, self._path = None, self.place
            if Path(self.place).exists() and not Path(self.place).is_dir():
                raise ConfigError(f"{self.name}: is a file; give a folder for the shards (--out)")

    def names(self) -> list[str]:
        """The files in it, sorted; none where there is no such folder."""
        if self._store is None:
            folder = Path(self._path)
            return sorted(entry.name for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else []
        try:
            found = self._told(lambda: self._store.ls(self._path, detail=False))
        except FileNotFoundError:
            return []
        return sorted(path.rpartition("/")[2] for path in found)

    def read(self, name: str) -> bytes:
        """The whole file."""
        if self._store is None:
            return (Path(self._path) / name).read_bytes()
        found: bytes = self._told(lambda: self._store.cat_file(f"{self._path}/{name}"))
        return found

    def write(self, name: str, content: bytes) -> None:
        """Write a file: by a temporary name here, as one object in a store, where a put is whole or nothing."""
        if self._store is None:
            from allmasked.core.runs import replacing

            with replacing(Path(self._path) / name) as temporary:
                temporary.write_bytes(content)
        else:
            try:
                self._told(lambda: self._store.pipe_file(f"{self._path}/{name}", content))
            except FileNotFoundError as error:
                raise DataError(f"{self.name}: cannot be written ({reason(error)}); check the address") from None

    def delete(self, name: str) -> None:
        """Remove a file that may be gone already."""
        if self._store is None:
            (Path(self._path) / name).unlink(missing_ok=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                self._told(lambda: self._store.rm_file(f"{self._path}/{name}"))

    def _told(self, call: Callable[[], Got]) -> Got:
        try:
            return _retried(call)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise DataError(
                f"{self.name}: cannot be read or written ({reason(error)}); check address and credentials"
            ) from None


@contextlib.contextmanager
def outgoing(place: str | os.PathLike[str]) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """Where to write the file or folder that ``place`` names, and what sends a file that lies there by now.

    A path of this machine is that itself, and there is nothing to send. What belongs to an address is written to a
    temporary folder, put there by threads, each file as one object, in the end at the latest, and removed here.

    Raises:
        ConfigError, MissingExtraError: see :class:`Folder`.
        DataError: it can't be sent.
    """
    place = local_path(os.fspath(place))
    if not is_address(place):
        yield Path(place), lambda _: None
        return
    scheme, _, path = place.partition("://")
    above, slash, name = path.rstrip("/").rpartition("/")
    folder = Folder(f"{scheme}://{above if slash else path}")
    with (
        tempfile.TemporaryDirectory(prefix="allmasked-") as here,
        ThreadPoolExecutor(THREADS, thread_name_prefix="send") as pool,
    ):
        waiting: deque[Future[None]] = deque()

        def send(file: Path) -> None:
            content = file.read_bytes()
            file.unlink()  # here, since another file of that name may be written next
            waiting.append(pool.submit(folder.write, file.relative_to(here).as_posix(), content))
            if len(waiting) > 2 * THREADS:
                waiting.popleft().result()

        try:
            yield Path(here) / (name if slash else ""), send
        finally:
            for file in sorted(Path(here).rglob("*")):
                if file.is_file():
                    send(file)
            while waiting:
                waiting.popleft().result()
