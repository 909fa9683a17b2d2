"""A predictor without a network: blue is a masked face, skin-coloured a bare one."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy import ndimage

from allmasked.core.types import Answers, InputSpec, Predictor, Size
from allmasked.networks.reading import UNCALIBRATED, Calibration, read_maps

BLUE, SKIN, GREY = (30, 60, 230), (230, 180, 150), (128, 128, 128)
COLOURS = {"all": (BLUE, BLUE), "none": (SKIN, SKIN), "some": (BLUE, SKIN), "nobody": (GREY, GREY)}


@dataclass
class ColourModel(Predictor):
    """A predictor; cells of 8 x 8 px, ``seconds_a_photo`` of work.

    Every patch of a colour is one face, read off evidence maps as those of a network are.
    """

    name: str = "colours"
    input: InputSpec = InputSpec((64, 48))
    seconds_a_photo: float = 0.0
    batches: list[int] = field(default_factory=list)
    go: threading.Event | None = None
    calibration: Calibration = UNCALIBRATED
    finds_faces = True

    def answer(self, pixels: np.ndarray) -> Answers:
        self.batches.append(len(pixels))
        time.sleep(self.seconds_a_photo * len(pixels))
        if self.go is not None and len(self.batches) > 1:
            self.go.wait(30)
        return read_maps(np.stack([self.maps(photo) for photo in pixels]), self.input.size, self.calibration)

    def maps(self, photo: np.ndarray) -> np.ndarray:
        """Evidence maps (h, w, 6): each cell of a colour says where the patch is that it belongs to."""
        height, width, _ = photo.shape
        cells = photo.reshape(height // 8, 8, width // 8, 8, 3).mean((1, 3))
        maps = np.zeros((height // 8, width // 8, 6), np.float32)
        for channel, colour in enumerate((BLUE, SKIN)):
            here = np.abs(cells - colour).max(-1) < 50
            maps[..., channel] = np.where(here, 4, -8)
            patches, _ = ndimage.label(here)
            for number, (rows, columns) in enumerate(ndimage.find_objects(patches), 1):
                y, x = np.nonzero(patches == number)
                maps[y, x, 2] = (columns.start + columns.stop - 1) / 2 - x
                maps[y, x, 3] = (rows.start + rows.stop - 1) / 2 - y
                maps[y, x, 4:] = np.log([columns.stop - columns.start, rows.stop - rows.start])
        return maps

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
