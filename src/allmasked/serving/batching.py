"""Photos of many requests, answered together: a bounded queue in front of one network."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.types import Answers, Predictor

Views = Sequence[NDArray[np.uint8]]


class Full(Exception):
    """No room now; ``seconds`` is about how long it takes until there is."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no room for about {seconds:.0f} s")
        self.seconds = seconds


class Batcher:
    """Answers photos of many callers in batches, in one thread.

    A caller first takes :meth:`room` for its photos, then asks :meth:`answer` for each. The network starts as soon as
    it is idle and photos are there; it waits ``wait_seconds`` at most for photos that have room but are still being
    decoded. To be used in one event loop, between :meth:`start` and :meth:`close`.

    Args:
        predictor: what answers.
        batch_size: photos a step at most.
        wait_seconds: see above.
        most: photos that have room at a time.
        most_seconds: no room either where those that have some will take longer than this.
        on_batch: called with the photos of each step and its seconds.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        batch_size: int = 8,
        wait_seconds: float = 0.01,
        most: int = 64,
        most_seconds: float = 15.0,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self._predictor, self._on_batch = predictor, on_batch
        self._batch_size, self._wait_seconds, self._most = batch_size, wait_seconds, most
        self._most_seconds = most_seconds
        self._waiting: deque[tuple[Views, asyncio.Future[tuple[Answers, int]]]] = deque()
        self._more = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._seconds_a_photo = 0.1
        self._began: float | None = None
        self.held = 0

    async def start(self) -> Answers:
        """Begin, with a first answer on an empty picture, which tells what the network can tell."""
        blank = np.full((1, *self._predictor.input.size[::-1], 3), 127, np.uint8)
        answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._predictor.answer, blank)
        self._task = asyncio.create_task(self._run())
        return answers

    async def close(self) -> None:
        """Answer what has room, then end."""
        self._closing = True
        while self.held and self._task and not self._task.done():
            await asyncio.sleep(0.01)
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False)

    @property
    def stuck_seconds(self) -> float:
        """How long the step that runs now has been running; 0 between steps."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def alive(self) -> bool:
        """Whether photos are taken."""
        return self._task is not None and not self._task.done() and not self._closing

    @contextlib.contextmanager
    def room(self, photos: int) -> Iterator[None]:
        """Room for this many photos, until left. Raises :class:`Full`."""
        seconds = self.held * self._seconds_a_photo
        if not self.alive or self.held + photos > self._most or seconds > self._most_seconds:
            raise Full(seconds)
        self.held += photos
        try:
            yield
        finally:
            self.held -= photos

    async def answer(self, views: Views) -> tuple[Answers, int]:
        """The answers of the batch that a photo was in, and its row there.

        Args:
            views: the photo fitted to each of the predictor's views, (H, W, 3) uint8 RGB each.
        """
        future: asyncio.Future[tuple[Answers, int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((views, future))
        self._more.set()
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._more.wait()
            await self._fill()
            batch = self._take()
            if not batch:
                continue
            self._began = time.monotonic()
            try:
                stacked = [np.stack(view) for view in zip(*(views for views, _ in batch))]
                answers = await loop.run_in_executor(self._thread, self._predictor.answer_views, stacked)
            except Exception as error:
                _settle(batch, lambda future, _row, error=error: future.set_exception(error))  # type: ignore[misc]
                continue
            finally:
                seconds, self._began = time.monotonic() - self._began, None
            _settle(batch, lambda future, row, answers=answers: future.set_result((answers, row)))  # type: ignore[misc]
            self._seconds_a_photo += 0.2 * (seconds / len(batch) - self._seconds_a_photo)
            if self._on_batch is not None:
                self._on_batch(len(batch), seconds)

    async def _fill(self) -> None:
        """Wait a little for photos on their way, where the batch is not full."""
        until = time.monotonic() + self._wait_seconds
        while len(self._waiting) < min(self._batch_size, self.held) and time.monotonic() < until:
            self._more.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more.wait(), until - time.monotonic())

    def _take(self) -> list[Any]:
        batch: list[Any] = []
        while self._waiting and len(batch) < self._batch_size:
            one = self._waiting.popleft()
            if not one[1].done():  # its caller may have gone
                batch.append(one)
        if self._waiting:
            self._more.set()
        else:
            self._more.clear()
        return batch


def _settle(batch: list[Any], how: Callable[[asyncio.Future[Any], int], None]) -> None:
    for row, (_, future) in enumerate(batch):
        if not future.done():
            how(future, row)
