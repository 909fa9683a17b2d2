"""A predictor without a network: blue is a masked face, skin-coloured a bare one."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image

from allmasked.types import Answers, Size

BLUE, SKIN, GREY = (30, 60, 230), (230, 180, 150), (128, 128, 128)
COLOURS = {"all": (BLUE, BLUE), "none": (SKIN, SKIN), "some": (BLUE, SKIN), "nobody": (GREY, GREY)}


@dataclass
class ColourModel:
    """A predictor (:class:`allmasked.types.Predictor`); cells of 8 x 8 px, ``seconds_a_photo`` of work."""

    name: str = "colours"
    size: Size = (64, 48)
    fit: Literal["letterbox", "squash"] = "letterbox"
    seconds_a_photo: float = 0.0
    batches: list[int] = field(default_factory=list)
    go: threading.Event | None = None

    def answer(self, pixels: np.ndarray) -> Answers:
        self.batches.append(len(pixels))
        time.sleep(self.seconds_a_photo * len(pixels))
        if self.go is not None and len(self.batches) > 1:
            self.go.wait(30)
        count, height, width, _ = pixels.shape
        cells = pixels.reshape(count, height // 8, 8, width // 8, 8, 3).mean((2, 4))
        heat = np.stack([np.abs(cells - colour).max(-1) < 50 for colour in (BLUE, SKIN)], -1).astype(np.float32)
        heat = heat * 0.9 + 0.01
        masked, bare = heat[..., 0].max((1, 2)), heat[..., 1].max((1, 2))
        three = np.stack([masked * (1 - bare), (1 - masked) * bare, masked * bare], 1)
        y, x = np.mgrid[: height // 8, : width // 8] * 8 + 4
        boxes = np.stack([x - 4, y - 4, x + 4, y + 4], -1).astype(np.float32)
        return Answers(
            (three / three.sum(1, keepdims=True)).astype(np.float32),
            ((1 - masked) * (1 - bare)).astype(np.float32),
            heat,
            np.broadcast_to(boxes, (count, *boxes.shape)),
        )

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        return self.answer(pixels).probabilities


def picture(label: str, size: Size = (64, 48)) -> Image.Image:
    """Grey with a 'face' in each half."""
    image = Image.new("RGB", size, GREY)
    width, height = size
    for left, colour in zip((width // 8, 5 * width // 8), COLOURS[label]):
        image.paste(colour, (left, height // 6, left + width // 4, height // 6 + height // 2))
    return image


def encoded(label: str, size: Size = (64, 48), kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture(label, size).save(stream, kind)
    return stream.getvalue()
