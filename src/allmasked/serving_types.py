"""What the REST API says, as pydantic models, with the examples of its OpenAPI."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from allmasked.types import Answer

_ANSWER: dict[str, Any] = {
    "name": "street.jpg", "label": "some", "p_all": 0.04, "p_none": 0.01, "p_some": 0.94, "p_nobody": 0.01,
    "masked": 2, "bare": 1, "width": 800, "height": 600, "error": None,
}  # fmt: skip
_FACE = {"wear": "masked", "score": 0.93, "left": 120.5, "top": 80.2, "right": 180.0, "bottom": 160.4}


class Face(BaseModel):
    """A face found; edges in px of the upright photo."""

    wear: Literal["masked", "bare"]
    score: float = Field(ge=0, le=1)
    left: float
    top: float
    right: float
    bottom: float


class Photo(BaseModel):
    """The answer for a photo; ``error`` says why there is none."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ANSWER | {"faces": [_FACE]}]})

    name: str = Field(description="What the sender calls it.")
    label: Answer | None = None
    p_all: float | None = Field(default=None, ge=0, le=1, description="These four sum to 1.")
    p_none: float | None = Field(default=None, ge=0, le=1)
    p_some: float | None = Field(default=None, ge=0, le=1)
    p_nobody: float | None = Field(default=None, ge=0, le=1, description="null where the model can't tell.")
    masked: int | None = Field(default=None, ge=0, description="Faces with a mask; null where faces are not found.")
    bare: int | None = Field(default=None, ge=0, description="Faces without, or not as it should be worn.")
    width: int | None = Field(default=None, description="px of the upright photo.")
    height: int | None = None
    error: str | None = None
    faces: list[Face] | None = Field(default=None, description="With ?boxes=1.")
    heatmap: str | None = Field(default=None, description="With ?heatmap=1: PNG, a data URI, to lay over the photo.")

    def plain(self) -> dict[str, Any]:
        """As JSON: without ``faces`` and ``heatmap`` where they were not set."""
        return self.model_dump(exclude={"faces", "heatmap"} - self.model_fields_set)


class Photos(BaseModel):
    """Answers in the order of the photos sent."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "default", "photos": [_ANSWER]}]})

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

    name: str = Field(examples=["default"])
    width: int = Field(examples=[512], description="Of the network's input, px.")
    height: int = Field(examples=[384])
    fit: Literal["letterbox", "squash"]
    labels: list[Answer] = Field(examples=[["all", "none", "some", "nobody"]])
    finds_faces: bool
    heatmaps: bool
    face_score: float = Field(description="The lowest score of a face.")
    version: str
    limits: dict[str, int | float] = Field(examples=[{"max_bytes": 33554432, "max_files": 32}])


PREDICT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["files"],
                "additionalProperties": False,
                "properties": {
                    "files": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "format": "binary", "minLength": 1},
                        "description": "Photos: JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF.",
                    }
                },
            }
        },
        **{
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/*", "application/octet-stream")
        },
    },
}
