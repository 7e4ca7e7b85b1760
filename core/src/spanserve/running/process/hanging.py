"""Replicas whose run does not end: they are killed, and others take their places."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from spanserve.running.process.seat import Seat

LOOKS_A_HANG: Final = 10


class HangWatch:
    """Looks now and then how long the oldest job of each replica has run; only that is to blame."""

    def __init__(
        self, limit_s: float | None, seats: Sequence[Seat], now_ns: Callable[[], int]
    ) -> None:
        self._limit_s = limit_s
        self._seats = seats
        self._now_ns = now_ns
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look, on the running loop, where there is a limit."""
        if self._limit_s is not None:
            self._look(self._limit_s)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, limit_s: float) -> None:
        now_ns = self._now_ns()
        for seat in self._seats:
            replica = seat.replica
            if replica is not None and replica.slots and now_ns - replica.since_ns > limit_s * 1e9:
                replica.kill(f"its run lasted longer than {limit_s:g} s (runner.hang_after_s)")
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(limit_s / LOOKS_A_HANG, self._look, limit_s)
