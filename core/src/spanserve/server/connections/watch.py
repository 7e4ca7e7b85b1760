"""One look a second at the connections whose clients still owe bytes.

A timer for each request would cost more than all that it watches.
"""

import asyncio
from typing import NamedTuple, Protocol


class Watched(Protocol):
    """A connection that waits for its client."""

    loop: asyncio.AbstractEventLoop
    progress: int
    """Grows as the client does what it owes."""

    def waited(self, waited_s: float) -> None:
        """Take note that nothing came for so long; end it where that is too long."""


class Mark(NamedTuple):
    """What a connection's progress was, and since when it is that."""

    progress: int
    since_s: float


class Watch:
    """Tells connections how long they have waited."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._marks: dict[Watched, Mark | None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Watched) -> None:
        """Look after a connection, from now on."""
        self._marks[connection] = None
        if self._timer is None:
            self._timer = connection.loop.call_later(self._every_s, self._look, connection.loop)

    def discard(self, connection: Watched) -> None:
        """Look after it no more."""
        self._marks.pop(connection, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for connection, mark in list(self._marks.items()):
            if connection not in self._marks:
                continue  # ended by what became of another
            progress = connection.progress
            if mark is None or mark.progress != progress:
                self._marks[connection] = Mark(progress, now_s)
            else:
                connection.waited(now_s - mark.since_s)
        self._timer = loop.call_later(self._every_s, self._look, loop) if self._marks else None
