"""A service that says how late a timer of its event loop was at worst: what held the loop."""

import asyncio
from time import perf_counter, process_time
from typing import Annotated

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI

from spanserve import Array, api, service

EVERY_S = 0.001


class Timer:
    """Fires every millisecond, and keeps how much later it was at worst.

    At most by what this process has computed meanwhile: other programs, which may have the
    processors, do not hold its loop.
    """

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._expected_s = self._computed_s = 0.0
        self._ticking: asyncio.TimerHandle | None = None

    def tick(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = perf_counter()  # uvloop's own time has whole milliseconds
        computed_s = process_time()
        if self._expected_s:
            held_s = min(now_s - self._expected_s, computed_s - self._computed_s)
            self.worst_s = max(self.worst_s, held_s)
        self._expected_s, self._computed_s = now_s + EVERY_S, computed_s
        self._ticking = loop.call_later(EVERY_S, self.tick)

    def begin(self) -> None:
        if self._ticking is None:
            self.tick()


@service
class Late:
    """Endpoints of each kind of array, whose models cost nothing."""

    @api(batch=True, max_queue=100_000)
    def row(self, rows: Annotated[np.ndarray, Array("float32", (64,))]) -> np.ndarray:
        return np.zeros(len(rows))

    @api(batch=True, max_queue=100_000)
    def numbers(self, arrays: Annotated[np.ndarray, Array("float32", (None,))]) -> np.ndarray:
        return np.zeros(len(arrays))

    @api(batch=True, max_queue=100_000)
    def anything(self, arrays: npt.NDArray[np.float64]) -> np.ndarray:
        return np.zeros(len(arrays))

    @api(batch=True, max_queue=100_000)
    def texts(self, arrays: Annotated[np.ndarray, Array("str", (None,))]) -> np.ndarray:
        return np.zeros(len(arrays))

    @api(batch=True, max_queue=100_000, max_batch_size=1024)
    def scalar(self, numbers: Annotated[np.ndarray, Array("float32", ())]) -> np.ndarray:
        return numbers

    @api(batch=True)
    def echo(self, arrays: Annotated[np.ndarray, Array("float32", (None,))]) -> np.ndarray:
        return arrays

    @api(batch=True)
    def words(self, words: list[str]) -> list[str]:
        return words

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        timer = Timer()

        @app.get("/late")
        async def late() -> float:
            """Return the worst lateness since the last time, in ms; the first time, begin."""
            timer.begin()
            worst_s, timer.worst_s = timer.worst_s, 0.0
            return worst_s * 1e3
