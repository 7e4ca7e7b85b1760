"""When requests are to be answered at the latest: one timer for all that may take equally long."""

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from spanserve.batching.batcher import EARLY_NS


class Limited(Protocol):
    """A request whose answer may take so long."""

    started_ns: int

    def time_is_over(self) -> None:
        """Answer that it took too long."""


class Deadlines:
    """Requests that may take equally long, those that began first being the first."""

    def __init__(
        self, limit_ms: float, now_ns: Callable[[], int], emptied: "Callable[[Deadlines], None]"
    ) -> None:
        """`emptied` is called each time that no request is left."""
        self.limit_ms = limit_ms
        self._limit_ns = int(limit_ms * 1e6)
        self._now_ns = now_ns
        self._emptied = emptied
        self._waiting: dict[Limited, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, request: Limited, loop: asyncio.AbstractEventLoop) -> None:
        """Watch over a request."""
        self._waiting[request] = None
        if self._timer is None:
            self._arm(request, loop)

    def discard(self, request: Limited) -> None:
        """Watch no more over a request."""
        self._waiting.pop(request, None)
        if not self._waiting:
            self._emptied(self)

    def cancel(self) -> None:
        """End the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, request: Limited, loop: asyncio.AbstractEventLoop) -> None:
        left_ns = request.started_ns + self._limit_ns - self._now_ns()
        self._timer = loop.call_later(max(0.0, left_ns / 1e9), self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End those whose time is over, and come back for the next."""
        self._timer = None
        began_ns = self._now_ns() + EARLY_NS - self._limit_ns
        over = []
        for request in self._waiting:
            if request.started_ns > began_ns:
                self._arm(request, loop)
                break
            over.append(request)
        for request in over:
            self._waiting.pop(request, None)
            request.time_is_over()


class AllDeadlines:
    """The deadlines of one server's requests, by how long they may take."""

    def __init__(self, now_ns: Callable[[], int], own_ms: Collection[float | None]) -> None:
        """`own_ms` are the server's limits, which most requests have."""
        self._now_ns = now_ns
        self._own_ms = own_ms
        self._by_limit: dict[float, Deadlines] = {}

    def of(self, limit_ms: float) -> Deadlines:
        """Return the deadlines of requests that may take so long."""
        found = self._by_limit.get(limit_ms)
        if found is None:
            found = self._by_limit[limit_ms] = Deadlines(limit_ms, self._now_ns, self._forget)
        return found

    def _forget(self, emptied: Deadlines) -> None:
        """Forget a limit that a client set, and no request has any more."""
        if emptied.limit_ms not in self._own_ms:
            emptied.cancel()
            if self._by_limit.get(emptied.limit_ms) is emptied:
                del self._by_limit[emptied.limit_ms]
