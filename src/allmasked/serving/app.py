"""The question over HTTP: a page for people, ``POST /v1/predict`` for programs, health and metrics for operators.

Photos are held in memory while they are answered, and nowhere else; logs have neither them nor their names.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import importlib.metadata
import io
import json
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.security import APIKeyHeader
from fastapi.staticfiles import StaticFiles
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Count
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from allmasked.core.colours import FACES
from allmasked.core.errors import PhotoError
from allmasked.core.types import CLASSES, LABELS, SURE_MARGIN, Answers, InputSpec, Prediction, Predictor, Size
from allmasked.images import pixels as px
from allmasked.images.draw import heat_colours, on_photo
from allmasked.predictors.devices import processors
from allmasked.predictors.faces import prediction_of
from allmasked.predictors.predictor import Look
from allmasked.predictors.views import decoded
from allmasked.serving.batching import Batcher, Full
from allmasked.serving.guard import Guard
from allmasked.serving.types import PREDICT_BODY, Model, Photo, Photos, Problem, Ready
from allmasked.serving.uploads import Intake, Refused, Upload, busy

DRAIN_SECONDS = 2.0
DRAINED_BODIES = 4
"""Of a refused request so many times the bytes that one may have are still taken, so that its sender sees why."""
WEB = Path(__file__).parent / "web"
PREVIEW_PX = 1280
"""Of a preview's longer side, at most."""
JPEG_SCANS = 300
"""Progressive JPEGs have about ten scans, each of which costs a pass over all pixels; a file with more than this is
made to keep a decoder busy."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="Where the server asks for one.")
OWN_RULE = Look()
"""The model's own rule says which faces count."""
log = logging.getLogger("allmasked.serving")


@dataclass(frozen=True)
class Limits:
    """What a server takes on; each is an option of ``allmasked serve``.

    Attributes:
        max_bytes: of a request's body.
        max_pixels: of a photo.
        max_files: photos a request.
        max_seconds: that a body may take to arrive, and then an answer to be made.
        max_requests: requests being answered at a time.
        max_photos: photos decoded, waiting or being answered at a time.
        batch_size: photos that the network is given at once.
        batch_wait_seconds: that the network waits at most for a batch to fill.
    """

    max_bytes: int = 32 << 20
    max_pixels: int = 50_000_000
    max_files: int = 32
    max_seconds: float = 30.0
    max_requests: int = 32
    max_photos: int = 64
    batch_size: int = 8
    batch_wait_seconds: float = 0.01


class Metrics:
    """What Prometheus scrapes; a registry of its own, so that two apps in a process don't meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        seconds = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
        kind = {"registry": self.registry}
        self.requests = Count("allmasked_requests", "Requests answered.", ["path", "method", "status"], **kind)  # type: ignore[arg-type]
        self.seconds = Histogram("allmasked_request_seconds", "Whole requests.", ["path"], buckets=seconds, **kind)  # type: ignore[arg-type]
        self.refused = Count("allmasked_refused", "Requests refused, by reason.", ["reason"], **kind)  # type: ignore[arg-type]
        self.photos = Count("allmasked_photos", "Photos, by answer (error: unreadable).", ["label"], **kind)  # type: ignore[arg-type]
        self.decode = Histogram("allmasked_decode_seconds", "Decoding of a photo.", buckets=seconds, **kind)  # type: ignore[arg-type]
        self.network = Histogram("allmasked_network_seconds", "A step of the network.", buckets=seconds, **kind)  # type: ignore[arg-type]
        self.batch = Histogram("allmasked_batch_photos", "Photos a step.", buckets=(1, 2, 4, 8, 16, 32, 64), **kind)  # type: ignore[arg-type]
        self.active = Gauge("allmasked_requests_active", "Requests being answered now.", **kind)  # type: ignore[arg-type]
        self.held = Gauge("allmasked_photos_held", "Photos decoded, waiting or being answered now.", **kind)  # type: ignore[arg-type]
        self.held_bytes = Gauge("allmasked_upload_bytes_held", "Bytes of request bodies in memory now.", **kind)  # type: ignore[arg-type]


@dataclass
class Fitted:
    """A photo ready for the network, or why not."""

    name: str
    size: Size = (0, 0)
    views: tuple[NDArray[np.uint8], ...] = ()
    error: str = ""
    preview: bytes = b""


@dataclass(frozen=True)
class Wanted:
    """What an answer shall hold besides label and probabilities."""

    heatmap: bool = False
    boxes: bool = False
    preview: bool = False


class Service:
    """The work behind the routes: from uploads to answers."""

    def __init__(self, predictor: Predictor, limits: Limits, look: Look = OWN_RULE) -> None:
        self.predictor, self.limits, self.look, self.metrics = predictor, limits, look, Metrics()
        self.intake = Intake(limits.max_bytes, limits.max_files, limits.max_seconds)
        self.batcher = Batcher(
            predictor, batch_size=limits.batch_size, wait_seconds=limits.batch_wait_seconds, most=limits.max_photos,
            most_seconds=limits.max_seconds / 2, on_batch=self._count_batch,
        )  # fmt: skip
        self.active, self.draining = 0, False
        self._decoders = ThreadPoolExecutor(processors(), thread_name_prefix="decode")
        self._slow_decoders = ThreadPoolExecutor(max(1, processors() // 2), thread_name_prefix="decode-slow")
        widths, heights = zip(*(view.size for view in predictor.views))
        self._largest = (max(widths), max(heights))
        self.blank: Answers | None = None
        self.metrics.active.set_function(lambda: self.active)
        self.metrics.held.set_function(lambda: self.batcher.held)
        self.metrics.held_bytes.set_function(lambda: self.intake.held_bytes)

    async def start(self) -> None:
        self.blank = await self.batcher.start()

    async def close(self) -> None:
        await self.batcher.close()
        for pool in (self._decoders, self._slow_decoders):
            pool.shutdown(wait=False, cancel_futures=True)

    def _count_batch(self, photos: int, seconds: float) -> None:
        self.metrics.batch.observe(photos)
        self.metrics.network.observe(seconds)

    async def photos(self, request: Request, wanted: Wanted) -> list[Photo]:
        """The answers for a request's photos. Raises :class:`Refused`."""
        async with self.intake.photos(request) as uploads:  # slow senders take no place, only bytes
            request.state.photos = len(uploads)
            if self.active >= self.limits.max_requests:
                raise busy(1 + self.batcher.held * 0.05)
            self.active += 1
            try:
                with self._room(len(uploads)):
                    return await self._while_wanted(request, self._answer_all(uploads, wanted))
            finally:
                self.active -= 1

    @contextlib.contextmanager
    def _room(self, photos: int) -> Any:
        if photos > self.limits.max_photos:
            raise Refused(413, f"more than {self.limits.max_photos} photos at a time", "files")
        try:
            with self.batcher.room(photos):
                yield
        except Full as full:
            raise busy(full.seconds) from None

    async def _while_wanted(self, request: Request, work: Any) -> list[Photo]:
        """The work's result, unless it takes too long or the client goes."""
        working = asyncio.ensure_future(work)
        listening = asyncio.ensure_future(_gone(request))
        try:
            both, most = (working, listening), self.limits.max_seconds
            done, _ = await asyncio.wait(both, timeout=most, return_when=asyncio.FIRST_COMPLETED)
            if working in done:
                return working.result()
            if listening in done:
                raise ClientDisconnect
            raise busy(self.limits.max_seconds, f"no answer within {self.limits.max_seconds:g} s, try again")
        finally:
            for task in (working, listening):
                task.cancel()
            await asyncio.gather(working, listening, return_exceptions=True)

    async def _answer_all(self, uploads: list[Upload], wanted: Wanted) -> list[Photo]:
        tasks = [asyncio.ensure_future(self._answer(upload, wanted)) for upload in uploads]
        uploads.clear()  # each is let go of as soon as it is decoded
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _answer(self, upload: Upload, wanted: Wanted) -> Photo:
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        slow = await loop.run_in_executor(self._decoders, px.takes_long, upload.data, self._largest)
        decoders = self._slow_decoders if slow else self._decoders  # a few that take long keep nobody else waiting
        fitted = await loop.run_in_executor(decoders, self._read, upload, wanted.preview)
        del upload
        self.metrics.decode.observe(time.perf_counter() - started)
        if not fitted.views:
            self.metrics.photos.labels("error").inc()
            return Photo(name=fitted.name, error=fitted.error)
        answers, row = await self.batcher.answer(fitted.views)
        spec = self.predictor.input
        prediction = prediction_of(fitted.name, answers, row, fitted.size, spec, self.look.counting)
        self.metrics.photos.labels(prediction.label).inc()
        photo = described(prediction, fitted.size, boxes=wanted.boxes)
        strength = heat_of(answers, row, prediction) if wanted.heatmap else None
        if strength is not None:
            png = await loop.run_in_executor(self._decoders, heat_png, strength, fitted.size, spec)
            photo.heatmap = "data:image/png;base64," + base64.b64encode(png).decode()
        if wanted.preview:
            photo.preview = "data:image/jpeg;base64," + base64.b64encode(fitted.preview).decode()
        return photo

    def _read(self, upload: Upload, preview: bool) -> Fitted:
        name, data = upload.name, upload.data
        if data.count(b"\xff\xda") > JPEG_SCANS and data.startswith(b"\xff\xd8"):
            return Fitted(name, error=f"has more than {JPEG_SCANS} scans")
        try:
            views = self.predictor.views
            image, size = decoded(views, data, name, max_pixels=self.limits.max_pixels)
            fitted = tuple(px.to_input(image, view) for view in views)
            return Fitted(name, size, fitted, preview=preview_jpeg(image) if preview else b"")
        except PhotoError as error:
            return Fitted(name, error=error.reason)

    @property
    def model(self) -> Model:
        """What ``GET /v1/model`` says."""
        assert self.blank is not None
        share, spec, own = self.look.min_face_share, self.predictor.input, self.blank.counting
        return Model(
            name=self.predictor.name, width=spec.size[0], height=spec.size[1], fit=spec.resize_mode,
            labels=list(CLASSES if self.blank.nobody is None else LABELS), finds_faces=self.predictor.finds_faces,
            heatmaps=self.blank.evidence is not None or self.blank.cam is not None, sure_margin=SURE_MARGIN,
            min_face_px=own.min_face_px, min_face_px_of_photo=self.look.min_face_px,
            min_face_share=own.min_face_share if share is None else share,
            version=importlib.metadata.version("allmasked"), limits=asdict(self.limits),
        )  # fmt: skip

    def ready(self) -> str:
        """Why no photo can be answered now; empty when all is well."""
        if self.draining or not self.batcher.alive:
            return "starting or stopping"
        stuck = self.batcher.stuck_seconds
        return f"the network has been at one step for {stuck:.0f} s" if stuck > self.limits.max_seconds else ""


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def described(prediction: Prediction, size: Size, *, boxes: bool) -> Photo:
    """A prediction as the API says it."""
    row = prediction.to_dict(boxes=boxes and prediction.faces is not None)
    return Photo(name=row.pop("path"), width=size[0], height=size[1], **row)


def heat_of(answers: Answers, row: int, prediction: Prediction) -> NDArray[np.float32] | None:
    """What speaks for what: (h, w, 2) 0-1, masked and bare; or (h, w, 1), for the label alone; None if unknown."""
    if answers.evidence is not None:
        return answers.evidence[row]
    if answers.cam is None:
        return None
    cam = np.maximum(answers.cam[row][..., CLASSES.index(prediction.label)], 0)
    return np.asarray(cam / max(float(cam.max()), 1e-6), np.float32)[..., None]


def heat_png(strength: NDArray[np.float32], photo: Size, spec: InputSpec) -> bytes:
    """A heat map over a photo as PNG: colour says what, opacity how much; half as fine as the network's input."""
    small = InputSpec((max(1, spec.size[0] // 2), max(1, spec.size[1] // 2)), spec.resize_mode)
    parts = [on_photo(strength[..., c], photo, small) for c in range(strength.shape[-1])]
    heat = np.stack(parts, -1)
    if heat.shape[-1] == 1:
        colour = heat_colours(0.35 + 0.6 * heat[..., 0]).astype(np.float32)
    else:
        share = heat / np.maximum(heat.sum(-1, keepdims=True), 1e-6)
        colour = share @ np.array(list(FACES.values()), np.float32)
    strongest = heat.max(-1, keepdims=True)
    alpha = np.where(strongest < 0.02, 0, strongest**0.6 * 255)  # even where nothing speaks: packs better
    colour = np.where(alpha > 0, colour, 0)
    pixels = (np.concatenate([colour, alpha], -1) + 0.5).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def preview_jpeg(image: Image.Image) -> bytes:
    """A photo for browsers that can't show its format (HEIC, TIFF), made no larger than :data:`PREVIEW_PX` in place."""
    image.thumbnail((PREVIEW_PX, PREVIEW_PX))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _problems(told: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of refusals, by status."""
    return {status: {"model": Problem, "description": text} for status, text in told.items()}


def create_app(
    predictor: Predictor,
    limits: Limits | None = None,
    *,
    api_key: str = "",
    page: bool = True,
    look: Look = OWN_RULE,
    hosts: frozenset[str] | None = None,
    origins: frozenset[str] = frozenset(),
) -> FastAPI:
    """The whole as an ASGI app.

    Args:
        predictor: what answers.
        limits: what is taken on.
        api_key: asked for in the header ``X-API-Key`` by ``/v1/...`` and ``/metrics``; none is when empty.
        page: whether ``/`` is a page for people.
        look: which faces count.
        hosts, origins: who may ask, see :class:`allmasked.serving.guard.Guard`.
    """
    service = Service(predictor, limits or Limits(), look)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        log.info("ready", extra={"fields": {"model": predictor.name}})
        yield
        await service.close()
        log.info("stopped")

    app = FastAPI(  # without docs and redoc, which load scripts from other hosts
        title="allmasked", version=importlib.metadata.version("allmasked"), license_info={"name": "MIT"},
        summary="Does everyone in this photo wear a face mask? all, some, none or nobody.",
        docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False,
    )  # fmt: skip
    app.state.service, app.state.limits = service, service.limits

    def allowed(given: Annotated[str | None, Security(_KEY)]) -> None:
        if api_key and not hmac.compare_digest((given or "").encode("latin-1"), api_key.encode()):
            raise Refused(401, "the header X-API-Key is missing or wrong", "key", {"WWW-Authenticate": "ApiKey"})

    secured: dict[str, Any] = {"dependencies": [Depends(allowed)] if api_key else []}
    denied = _problems(
        {401: "An API key is asked for.", 403: "Asked under a foreign name, or by another server's page."}
    )
    refused = denied | _problems({
        400: "Damaged multipart/form-data.", 408: "The request took too long to arrive.",
        413: "Too many bytes or photos.", 415: "Neither a form nor a photo.",
        422: "Not one of the photos can be read, or a wrong parameter.", 503: "Too much to do at the moment.",
    })  # fmt: skip
    waiting = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    refused[503] |= {"headers": waiting}

    @app.post(
        "/v1/predict", response_model=Photos, responses=refused, openapi_extra={"requestBody": PREDICT_BODY},
        summary="Answer for one photo or many", **secured,
    )  # fmt: skip
    async def predict(
        request: Request,
        heatmap: Annotated[bool, Query(description="Add a PNG to lay over each photo, as a data URI.")] = False,
        boxes: Annotated[bool, Query(description="Add the faces found, edges in px of the upright photo.")] = False,
        preview: Annotated[
            bool, Query(description=f"Add the upright photo as JPEG of at most {PREVIEW_PX} px, as a data URI.")
        ] = False,
    ) -> Response:
        """Photos come as multipart form, field `files`, or one as the request's body. The answers have their order."""
        photos = await service.photos(request, Wanted(heatmap, boxes, preview))
        answer = {"model": predictor.name, "photos": [photo.plain() for photo in photos]}
        if any(photo.error is None for photo in photos):
            return JSONResponse(answer)
        service.metrics.refused.labels("photo").inc()
        return JSONResponse({"detail": "no photo could be read: " + (photos[0].error or ""), **answer}, 422)

    @app.get("/v1/model", responses=denied, summary="What answers, and the limits", **secured)
    async def model() -> Model:
        return service.model

    @app.get("/healthz", summary="Is the process alive?")
    async def healthz() -> Ready:
        return Ready(status="ok")

    @app.get("/readyz", responses=_problems({503: "Not now."}), summary="Can photos be answered?")
    async def readyz() -> Ready:
        if why := service.ready():
            raise Refused(503, why, "unready", {"Retry-After": "1"})
        return Ready(status="ready")

    scraped = {200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}, **denied}

    @app.get("/metrics", response_class=Response, responses=scraped, summary="For Prometheus", **secured)
    async def metrics() -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    if page:
        add_page(app, WEB)
    add_problems(app, lambda reason: service.metrics.refused.labels(reason).inc())
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=sorted(origins), allow_methods=["GET", "POST"],
            allow_headers=["X-API-Key", "X-Request-ID"], expose_headers=["X-Request-ID", "Retry-After"],
        )  # fmt: skip
    refused_for = service.metrics.refused.labels
    app.add_middleware(Guard, hosts=hosts, origins=origins, refused=lambda reason: refused_for(reason).inc())
    paths = frozenset(getattr(route, "path", "") for route in app.routes)
    app.add_middleware(Envelope, service=service, paths=paths)
    return app


def add_page(app: FastAPI, folder: Path, prefix: str = "") -> None:
    """The page of a folder at ``PREFIX/``, and what it loads below ``PREFIX/static``."""

    @app.api_route(f"{prefix}/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(folder / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount(f"{prefix}/static", StaticFiles(directory=folder), name="static")


def add_problems(app: FastAPI, refused: Callable[[str], None] = lambda _reason: None) -> None:
    """Every refusal is ``{"detail": one line}``; ``refused`` is told its reason."""

    def problem(status: int, detail: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"detail": detail}, status, headers)

    @app.exception_handler(Refused)
    async def _(_request: Request, error: Refused) -> Response:
        refused(error.reason)
        return problem(error.status, error.detail, error.headers)

    @app.exception_handler(MemoryError)
    async def _(_request: Request, _error: MemoryError) -> Response:
        log.error("too little memory for a photo")
        refused("memory")
        full = busy(10, "the server has too little memory for this at the moment")
        return problem(full.status, full.detail, full.headers)

    @app.exception_handler(ClientDisconnect)
    async def _(_request: Request, _error: ClientDisconnect) -> Response:
        refused("gone")
        return problem(499, "the client went away")

    @app.exception_handler(RequestValidationError)
    async def _(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return problem(422, f"{where}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def _(_request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), error.headers)


class Envelope:
    """Around every request: an id, security headers, one line of log, metrics."""

    def __init__(self, app: Any, service: Service, paths: frozenset[str]) -> None:
        self.app, self.service, self.paths = app, service, paths

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        given = dict(scope["headers"])
        request_id = given.get(b"x-request-id", b"").decode("latin-1")
        if not re.fullmatch(r"[\w.-]{1,64}", request_id, re.ASCII):
            request_id = secrets.token_hex(8)
        has_body = b"transfer-encoding" in given or given.get(b"content-length", b"0") != b"0"
        coming = has_body and b"expect" not in given
        status, received = 0, 0
        path = self.path(scope)  # now: what is mounted changes the scope

        async def counted() -> Any:
            nonlocal received, coming
            message = await receive()
            received += len(message.get("body", b""))
            coming = coming and bool(message.get("more_body"))
            return message

        async def drain() -> None:
            """Take the rest of a refused body: who listens only once all is sent would else see a reset connection."""
            most = received + DRAINED_BODIES * self.service.limits.max_bytes
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    while coming and received < most:
                        await counted()

        async def sent(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                await drain()
                status = message["status"]
                headers = message.setdefault("headers", [])
                extra = {"X-Request-ID": request_id, **HEADERS}
                if self.service.draining:
                    extra["Connection"] = "close"
                if scope["path"].startswith("/v1/"):
                    extra["Cache-Control"] = "no-store"
                elif path == "/static":
                    extra["Cache-Control"] = "no-cache"  # those of another version don't fit the page
                headers += [(name.lower().encode(), value.encode()) for name, value in extra.items()]
            await send(message)

        try:
            await self.app(scope, counted, sent)
        except Exception:
            log.exception("failed", extra={"fields": {"id": request_id}})
            if not status:
                detail = {"detail": "something went wrong on the server; its log says more"}
                await JSONResponse(detail, 500)(scope, receive, sent)
        finally:
            seconds = time.perf_counter() - started
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
            self.service.metrics.requests.labels(path, method, str(status)).inc()
            self.service.metrics.seconds.labels(path).observe(seconds)
            fields = {"id": request_id, "method": method, "path": path, "status": status, "bytes": received}
            fields |= {"photos": scope.get("state", {}).get("photos", 0), "seconds": round(seconds, 4)}
            level = logging.DEBUG if path in ("/healthz", "/readyz", "/metrics") else logging.INFO
            log.log(level, "request", extra={"fields": fields})

    def path(self, scope: MutableMapping[str, Any]) -> str:
        """What was asked for, as logs and metrics say it: a path of this app, /static or unknown, nothing else."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path.startswith("/static/"):
            return "/static"
        return path if path in self.paths else "unknown"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, and the fields of ``extra={"fields": ...}``."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
