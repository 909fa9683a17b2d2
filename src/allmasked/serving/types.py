"""What the REST API says, as pydantic models, with the examples of its OpenAPI."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from allmasked.core.types import Label

_ANSWER: dict[str, Any] = {
    "name": "street.jpg", "label": "some", "p_all": 0.0655, "p_none": 0.0037, "p_some": 0.9307, "p_nobody": 0.0001,
    "masked": 2, "bare": 1, "sure": True, "width": 800, "height": 600, "error": None,
}  # fmt: skip
_FACES: list[dict[str, Any]] = [
    {"wear": wear, "score": score, "p_masked": p_masked, "counts": not reason, "reason": reason,
     "left": left, "top": top, "right": right, "bottom": bottom}
    for wear, score, p_masked, reason, left, top, right, bottom in (
        ("masked", 0.97, 0.98, None, 120.5, 80.2, 180.0, 160.4),
        ("bare", 0.96, 0.03, None, 520.4, 70.3, 580.8, 150.9),
        ("masked", 0.95, 0.97, None, 310.0, 92.6, 362.3, 163.1),
        ("bare", 0.81, 0.22, "far behind the others", 655.2, 110.4, 672.6, 133.8),
    )
]  # fmt: skip


class Face(BaseModel):
    """A face found; edges in px of the upright photo."""

    wear: Literal["masked", "bare"]
    score: float = Field(ge=0, le=1, description="Probability that it is a face.")
    p_masked: float = Field(ge=0, le=1, description="Probability that it wears a mask, if it is a face.")
    counts: bool = Field(description="Whether the answer takes it into account.")
    reason: str | None = Field(default=None, description="Why it doesn't.")
    left: float
    top: float
    right: float
    bottom: float


class Photo(BaseModel):
    """The answer for a photo; ``error`` says why there is none."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ANSWER | {"faces": _FACES}]})

    name: str = Field(description="What the sender calls it.")
    label: Label | None = None
    p_all: float | None = Field(default=None, ge=0, le=1, description="These four sum to 1.")
    p_none: float | None = Field(default=None, ge=0, le=1)
    p_some: float | None = Field(default=None, ge=0, le=1)
    p_nobody: float | None = Field(default=None, ge=0, le=1, description="null where the model can't tell.")
    masked: int | None = Field(
        default=None, ge=0, description="Faces with a mask, of those that count; null where faces are not found."
    )
    bare: int | None = Field(default=None, ge=0, description="Faces without, or not as it should be worn.")
    sure: bool | None = Field(default=None, description="Whether the label leads by the margin; false: look yourself.")
    width: int | None = Field(default=None, description="px of the upright photo.")
    height: int | None = None
    error: str | None = None
    faces: list[Face] | None = Field(default=None, description="With ?boxes=1.")
    heatmap: str | None = Field(default=None, description="With ?heatmap=1: PNG, a data URI, to lay over the photo.")
    preview: str | None = Field(default=None, description="With ?preview=1: the upright photo as JPEG, a data URI.")

    def plain(self) -> dict[str, Any]:
        """As JSON: without ``faces``, ``heatmap`` and ``preview`` where they were not set."""
        return self.model_dump(exclude={"faces", "heatmap", "preview"} - self.model_fields_set)


class Photos(BaseModel):
    """Answers in the order of the photos sent."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "allmasked-3", "photos": [_ANSWER]}]})

    model: str
    photos: list[Photo]


class Problem(BaseModel):
    """Why a request is refused, in one line; with one entry a photo where they were looked at."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"detail": "more than 32 photos in a request"}]})

    detail: str
    model: str | None = None
    photos: list[Photo] | None = None


class Ready(BaseModel):
    """A short word on how it goes."""

    status: str = Field(examples=["ok"])


class Model(BaseModel):
    """What answers."""

    name: str = Field(examples=["allmasked-3"])
    width: int = Field(examples=[512], description="Of the network's input, px.")
    height: int = Field(examples=[384])
    fit: Literal["letterbox", "stretch"]
    labels: list[Label] = Field(examples=[["all", "none", "some", "nobody"]])
    finds_faces: bool
    heatmaps: bool
    sure_margin: float = Field(description="An answer is sure when its label leads by this much.")
    min_face_px: float = Field(description="A lower face, in px of the network's input, doesn't count.")
    min_face_px_of_photo: float | None = Field(
        default=None, description="Where the server has it, in px of the photo; it stands for min_face_px then."
    )
    min_face_share: float = Field(description="Nor does one smaller than this share of the largest, by height.")
    version: str
    limits: dict[str, int | float] = Field(examples=[{"max_bytes": 33554432, "max_files": 32}])


_BYTES = {"type": "string", "format": "binary"}
_FILES = {
    "type": "array", "minItems": 1, "items": {**_BYTES, "minLength": 1},
    "description": "Photos: JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF.",
}  # fmt: skip
_FORM = {"type": "object", "required": ["files"], "properties": {"files": _FILES}}
PREDICT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _FORM},
        "image/*": {"schema": _BYTES}, "application/octet-stream": {"schema": _BYTES},
    },
}  # fmt: skip
