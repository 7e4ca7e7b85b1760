"""The server's end of the socket to a replica, on the event loop."""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from spanserve.running.wire.frames import (
    NO_ARENA,
    Arenas,
    Buffer,
    Frame,
    FrameError,
    Reader,
    packed,
)

log = logging.getLogger(__name__)

_READ_BYTES: Final = 1 << 18
_MOST_READS: Final = 16
"""Reads of one turn of the loop; more waits for the next."""


class Link:
    """Sends and receives frames; `told` gets each that comes, `ended` is called once it is over."""

    def __init__(
        self,
        connection: socket.socket,
        requests: Arenas,
        replies: Arenas,
        *,
        told: Callable[[Frame], None],
        ended: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._requests = requests
        self._replies = replies
        self._reader = Reader(replies)
        self._told = told
        self._ended = ended
        self._unsent: deque[memoryview] = deque()
        self._is_open = True
        self._loop.add_reader(connection.fileno(), self._readable)

    def send(self, content: Any, buffers: Sequence[Buffer] = (), arena: int = NO_ARENA) -> None:
        """Send a message; where nobody reads any more, that is told by `ended`."""
        if not self._is_open:
            return
        parts = packed(content, buffers, arenas=self._requests, arena=arena)
        if not self._unsent and len(parts) == 1:
            sent = self._sent(parts[0])
            if sent == memoryview(parts[0]).nbytes:
                return
            parts[0] = memoryview(parts[0])[sent:]
        if not self._unsent:
            self._loop.add_writer(self._connection.fileno(), self._writable)
        self._unsent += [memoryview(each).cast("B") for each in parts]
        self._writable()

    def close(self) -> None:
        """Hang up; nothing is told from now on."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._connection.fileno())
            self._loop.remove_writer(self._connection.fileno())
            self._connection.close()
            self._requests.close()
            self._replies.close()
            self._unsent.clear()

    def _sent(self, data: Buffer) -> int:
        """Return how many bytes the socket has taken."""
        try:
            return self._connection.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return memoryview(data).nbytes  # it is gone, and the reader will see it

    def _writable(self) -> None:
        unsent = self._unsent
        while unsent:
            sent = self._sent(unsent[0])
            if sent < unsent[0].nbytes:
                unsent[0] = unsent[0][sent:]
                return
            unsent.popleft()
        if self._is_open:
            self._loop.remove_writer(self._connection.fileno())

    def _readable(self) -> None:
        for _ in range(_MOST_READS):
            try:
                data = self._connection.recv(_READ_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # what it had not read when it died
                data = b""
            if not data:
                self._over("")
                return
            try:
                for frame in self._reader.fed(data):
                    self._told(frame)
            except FrameError as error:
                log.error("a replica sent what cannot be read: %s", error)  # noqa: TRY400  # one line
                self._over("it sent what cannot be read")
                return
            if not self._is_open or len(data) < _READ_BYTES:
                return

    def _over(self, why: str) -> None:
        if self._is_open:
            self.close()
            self._ended(why)
