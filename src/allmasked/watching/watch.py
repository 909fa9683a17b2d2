"""One answer over time: smoothed, told when it changes, drawn into a video."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from allmasked.annotate import annotate
from allmasked.core.runs import replacing
from allmasked.core.types import LABELS, InputSpec, Label, Prediction
from allmasked.images import pixels as px
from allmasked.model import Model
from allmasked.predictors.predictor import Look as Counted
from allmasked.watching.sources import Look, Source, looks
from allmasked.watching.webhook import Event

Emit = Callable[[Event], None]


@dataclass
class Smoother:
    """The answer over time: an exponential mean of the probabilities, and hysteresis (a Schmitt trigger's).

    A new answer is given once its mean probability is ``margin`` above that of the answer given so far, so that a
    photo in between, or a tie, does not let the answer flicker.

    Attributes:
        smooth_seconds: time constant of the mean, 0 for none.
        margin: 0-1.
    """

    smooth_seconds: float = 2.0
    margin: float = 0.1
    label: Label | None = None
    means: NDArray[np.float64] | None = None
    _last: float = field(default=0.0, repr=False)

    def update(self, seconds: float, probabilities: NDArray[np.float64]) -> bool:
        """Take in the probabilities (4,), columns as LABELS, of a moment. Returns whether the answer changed."""
        if self.means is None or not self.smooth_seconds:
            self.means = np.array(probabilities, np.float64)
        else:
            new = 1 - math.exp(-max(0.0, seconds - self._last) / self.smooth_seconds)
            self.means = self.means + new * (probabilities - self.means)
        self._last = seconds
        best = LABELS[int(np.argmax(self.means))]
        margin = self.margin if self.smooth_seconds else 0.0
        if self.label is not None:
            ahead = self.means[LABELS.index(best)] - self.means[LABELS.index(self.label)]
            if best == self.label or ahead < margin:
                return False
        self.label = best
        return True


@dataclass(frozen=True)
class Watch:
    """What to watch and how.

    Attributes:
        every_seconds: between looks; 0 looks at all it can.
        smooth_seconds, margin: see :class:`Smoother`.
        for_seconds: end after this long, 0 for never.
        every_answer: tell every answer, not only changes.
        existing: of a folder: begin with what is there.
        video: annotated video to write.
        look: which faces count.
    """

    source: Source
    every_seconds: float = 1.0
    smooth_seconds: float = 2.0
    margin: float = 0.1
    for_seconds: float = 0.0
    every_answer: bool = False
    existing: bool = False
    video: Path | None = None
    look: Counted = Counted()


def watch(model: Model, plan: Watch, emit: Emit, stop: threading.Event) -> Counter[str]:
    """Watch until the source ends or ``stop`` is set; every event goes to ``emit``.

    Events have ``event`` (start, answer, change, lost, back, unreadable, end), ``time`` (UTC), ``source``, and as far
    as they apply ``seconds``, ``frame``, ``path``, ``label``, ``previous``, ``p_all`` and so on, ``masked``, ``bare``.

    Returns:
        How many looks had which answer.
    """
    smoother = Smoother(plan.smooth_seconds, plan.margin)
    tally: Counter[str] = Counter()
    name = plan.source.name

    def tell(event: str, **values: Any) -> None:
        emit({"event": event, "time": _now(), "source": name, **values})

    def note(word: str, why: str) -> None:
        tell(word, why=why)

    found = looks(plan.source, plan.every_seconds, note=note, stop=stop, existing=plan.existing)
    first, smallest, share = True, plan.look.min_face_px, plan.look.min_face_share
    timer = threading.Timer(plan.for_seconds, stop.set)
    timer.daemon = True
    if plan.for_seconds:
        timer.start()
    with _film(plan.video) as film:
        try:
            for look in found:
                if first:
                    tell("start", model=model.name)
                    first = False
                prediction = model(look.picture, min_face_px=smallest, min_face_share=share)
                previous = smoother.label
                changed = smoother.update(look.seconds, np.array(prediction.four))
                assert smoother.label is not None
                tally[smoother.label] += 1
                values = _values(look, prediction, smoother)
                if plan.every_answer:
                    tell("answer", **values)
                if changed:
                    tell("change", previous=previous, **values)
                if film is not None:
                    film.add(look, prediction, smoother.label)
        finally:
            timer.cancel()
    tell("end", looks=tally.total(), answers=dict(tally))
    return tally


def _values(look: Look, prediction: Prediction, smoother: Smoother) -> Event:
    assert smoother.means is not None
    means = {f"p_{label}": round(float(p), 4) for label, p in zip(LABELS, smoother.means)}
    where = {"path": look.path} if look.path else {"seconds": round(look.seconds, 3), "frame": look.number}
    return {
        "label": smoother.label, **where, **means, "seen": prediction.label, "sure": prediction.sure,
        "masked": prediction.masked, "bare": prediction.bare,
    }  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Film:
    """An annotated video (H.264 in MP4): every picture looked at, shown until the next."""

    LONGEST_PX = 1280
    TICKS = 1000

    def __init__(self, path: Path) -> None:
        import av

        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream: Any = None
        self._size = (0, 0)
        self._start = 0.0
        self._last = -1

    def add(self, look: Look, prediction: Prediction, over_time: str) -> None:
        """Draw its answer, and the one over time, on a picture and append it; the first one's size is the film's."""
        import av

        small = px.thumbnail(look.picture, (self.LONGEST_PX, self.LONGEST_PX))
        drawn = annotate(small, look.picture.size, prediction, note=f"over time: {over_time}  ·  ")
        if self._stream is None:
            self._size = (drawn.width - drawn.width % 2, drawn.height - drawn.height % 2)
            self._stream = self._container.add_stream("libx264", rate=25, options={"crf": "23", "preset": "veryfast"})
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, self.TICKS)
            self._start = look.seconds
        frame = av.VideoFrame.from_image(Image.fromarray(px.to_input(drawn, InputSpec(self._size))))
        self._last = max(self._last + 1, round((look.seconds - self._start) * self.TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, self.TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


@contextlib.contextmanager
def _film(path: Path | None) -> Iterator[Film | None]:
    if path is None:
        yield None
        return
    with replacing(path) as temporary:
        film = Film(temporary)
        try:
            yield film
        finally:
            film.close()
