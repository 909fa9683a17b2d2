"""The local page and what it asks for: rows in pages, pictures made on demand, evidence, mended labels."""

from __future__ import annotations

import base64
import contextlib
import io
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from allmasked.core.errors import AllmaskedError, PhotoError, RunError
from allmasked.core.types import InputSpec, Label, Predictor
from allmasked.explaining.ensemble_heat import explain_ensemble
from allmasked.explaining.explain import explain_paths
from allmasked.images import pixels as px
from allmasked.predictors.ensemble import EnsemblePredictor
from allmasked.predictors.predictor import answer_paths, open_predictor
from allmasked.serving.app import HEADERS, Limits, add_page, add_problems, described, heat_png
from allmasked.serving.app import WEB as BASE
from allmasked.serving.guard import Guard
from allmasked.serving.uploads import Refused
from allmasked.viewing.table import FACE_EDGES_PX, Table
from allmasked.viewing.table import Query as Wanted

WEB = Path(__file__).parent / "web"
SMALL_PX, LARGE_PX = 240, 1600
CACHE_BYTES = 128 << 20
"""Of pictures kept in memory; those not asked for longest go first."""
MOST_ROWS = 500
Open = Callable[[Path | None], Predictor]


class Pictures:
    """Photos as upright JPEGs of at most so many px, made when they are asked for; the latest are kept in memory."""

    def __init__(self, most_bytes: int = CACHE_BYTES) -> None:
        self.most_bytes, self.held_bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[Path, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def jpeg(self, file: Path, most_px: int) -> bytes:
        """A photo no longer than ``most_px``. Raises :class:`PhotoError`."""
        with self._lock:
            if found := self._kept.get((file, most_px)):
                self._kept.move_to_end((file, most_px))
                return found
        image = px.thumbnail(px.decode(file, fit_within=(most_px, most_px)), (most_px, most_px))
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=80 if most_px == SMALL_PX else 90)
        made = stream.getvalue()
        with self._lock:
            if (file, most_px) not in self._kept:
                self._kept[file, most_px] = made
                self.held_bytes += len(made)
            while self.held_bytes > self.most_bytes:
                self.held_bytes -= len(self._kept.popitem(last=False)[1])
        return made


class Eyes:
    """The models that look at a photo once more, opened when they are first asked; one photo at a time."""

    def __init__(self, model: Path | None, opened: Open = open_predictor) -> None:
        self.model, self._open = model, opened
        self._lock = threading.Lock()
        self._predictors: dict[Path | None, Predictor] = {}

    def look(self, file: Path, model: Path | None) -> dict[str, Any]:
        """The answer, faces and evidence of a run's model (of ``self.model`` where that is None), as serve gives them.

        Raises:
            PhotoError, RunError, MissingExtraError: the photo can't be read, the model not be opened.
        """
        model = model or self.model
        with self._lock:
            if model not in self._predictors:
                self._predictors[model] = self._open(model)
            predictor = self._predictors[model]
            (answered,) = answer_paths(predictor, [(file.name, file)], threads=1)
            if answered.prediction.error:
                raise PhotoError(file.name, answered.prediction.error)
            photo = described(answered.prediction, answered.photo_px, boxes=True)
            strength, spec, why = answered.evidence, answered.input, ""
            if strength is None:  # no maps of its own: what an explainer finds for the label
                try:
                    if isinstance(predictor, EnsemblePredictor):
                        heat = next(explain_ensemble(predictor, [(file.name, file)])).combined.heat
                        spec = InputSpec(spec.size, "stretch")
                    else:
                        heat = next(explain_paths(predictor, [(file.name, file)])).heat
                    strength = None if heat is None else heat[..., None]
                except RunError as error:
                    why = str(error)
        if strength is not None:
            png = heat_png(strength, answered.photo_px, spec)
            photo.heatmap = "data:image/png;base64," + base64.b64encode(png).decode()
        return {"by": predictor.name, "why": why, **photo.plain()}


class Page(Wanted):
    """Some of the photos that a query finds."""

    offset: int = Field(0, ge=0)
    limit: int = Field(100, ge=1, le=MOST_ROWS)


class Mend(BaseModel):
    """A label that a person gives a photo; null: as it was."""

    number: int
    label: Label | None


def create_app(table: Table, eyes: Eyes, *, token: str | None = None, said: list[str] | None = None) -> FastAPI:
    """The page as an ASGI app, all of it below ``/TOKEN/``, so that only who is told the address can ask.

    Args:
        table: what is looked at.
        eyes: whose evidence is drawn.
        token: part of every address; a new one when None.
        said: lines that the page shows at first.
    """
    app = FastAPI(title="allmasked view", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.token, app.state.limits = token or secrets.token_urlsafe(12), Limits(max_bytes=1 << 16)
    pictures = Pictures()
    here = APIRouter(prefix=f"/{app.state.token}")

    def mended() -> int:
        return len(table.mending.labels) if table.mending else 0

    def known(number: int) -> int:
        if not 0 <= number < len(table):
            raise Refused(404, f"there is no photo {number}", "number")
        return number

    @here.get("/about")
    async def about() -> dict[str, Any]:
        return {
            "name": ", ".join(source.name for source in table.sources), "photos": len(table), "root": str(table.root),
            "labels": str(table.mending.file) if table.mending else None, "mended": mended(), "said": said or [],
            "models": [source.name for source in table.models], "face_edges_px": FACE_EDGES_PX,
            "parts": bool((table.part >= 0).any()), "faces": table.has_faces,
        }  # fmt: skip

    @here.get("/rows")
    async def rows(page: Annotated[Page, Query()]) -> dict[str, Any]:
        found = table.found(Wanted.model_validate(page.model_dump(exclude={"offset", "limit"})))
        shown = found[page.offset : page.offset + page.limit].tolist()
        return {"found": len(found), "rows": [table.row(number) for number in shown]}

    @here.get("/photos/{number}")
    def details(number: int) -> dict[str, Any]:
        row, size = table.details(known(number)), (0, 0)
        with contextlib.suppress(Exception):  # decoders raise many kinds; the picture's request says what is wrong
            size = px.upright_size(table.files[number])
        return {**row, "width": size[0], "height": size[1]}

    @here.get("/photos/{number}/picture")
    def picture(number: int, size: Literal["small", "large"] = "small") -> Response:
        jpeg = pictures.jpeg(table.files[known(number)], SMALL_PX if size == "small" else LARGE_PX)
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    @here.get("/photos/{number}/look")
    def look(number: int, by: int = 0) -> dict[str, Any]:
        model = table.models[by].model if 0 <= by < len(table.models) else None
        return eyes.look(table.files[known(number)], model)

    @here.post("/labels")
    def mend(mend: Mend) -> dict[str, Any]:
        table.mend(known(mend.number), mend.label)
        return {**table.row(mend.number), "count": mended()}

    @app.exception_handler(AllmaskedError)
    async def _(_request: Request, error: AllmaskedError) -> Response:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(OSError)
    async def _(_request: Request, error: OSError) -> Response:
        reason = (error.strerror or str(error)).lower()
        return JSONResponse({"detail": f"{error.filename}: cannot be read or written ({reason})"}, 500)

    @app.middleware("http")
    async def _(request: Request, answer: Any) -> Any:
        response = await answer(request)
        response.headers.update(HEADERS)
        return response

    app.include_router(here)
    add_page(app, WEB, here.prefix)
    app.mount(f"{here.prefix}/base", StaticFiles(directory=BASE))
    add_problems(app)
    app.add_middleware(Guard, hosts=frozenset(), origins=frozenset(), refused=lambda _reason: None)
    return app
