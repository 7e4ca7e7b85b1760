"""The server's end of the socket to a replica, on the event loop."""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from spanserve.running.wire.frames import (
    NO_ARENA,
    Arenas,
    Arrived,
    Buffer,
    Frame,
    FrameError,
    Reader,
    is_large,
    packed,
)
from spanserve.running.wire.replies import read_ahead

log = logging.getLogger(__name__)

_READ_BYTES: Final = 1 << 18
_MOST_STEPS: Final = 16
"""Reads, or writes, of one turn of the loop; more waits for the next."""


class Link:
    """Sends and receives frames; `told` gets each that comes, `ended` is called once it is over.

    Those that are large are packed and read on a thread; all keep their order.
    """

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
        self._thread = ThreadPoolExecutor(1, "spanserve-frames")
        self._outbox: deque[tuple[Any, Sequence[Buffer], int]] = deque()
        """Frames to be packed: the first of them is, on the thread."""
        self._unsent: deque[memoryview] = deque()
        self._inbox: deque[Arrived] = deque()
        """Frames to be read, after the one that is read on the thread."""
        self._is_reading = False
        self._ends: str | None = None
        """Why it is over once the inbox is empty; None: it is not."""
        self._is_open = True
        self._loop.add_reader(connection.fileno(), self._readable)

    def send(self, content: Any, buffers: Sequence[Buffer] = (), arena: int = NO_ARENA) -> None:
        """Send a message; where nobody reads any more, that is told by `ended`."""
        if not self._is_open:
            return
        self._outbox.append((content, buffers, arena))
        if len(self._outbox) == 1:
            self._send_those_packed()

    def _send_those_packed(self) -> None:
        """Send the first of those that are to be sent, and so on, up to one that is large."""
        outbox = self._outbox
        while outbox:
            content, buffers, arena = outbox[0]
            pack = partial(packed, content, buffers, arenas=self._requests, arena=arena)
            if is_large(buffers):
                self._loop.run_in_executor(self._thread, pack).add_done_callback(self._packed)
                return
            outbox.popleft()
            self._send_parts(pack())

    def _packed(self, packing: "asyncio.Future[list[Buffer]]") -> None:
        error = None if packing.cancelled() else packing.exception()
        if packing.cancelled() or not self._is_open:
            return
        if error is not None:
            log.error("a frame could not be written for a replica: %s", error)
            self._over("what it was to be sent could not be written")
            return
        self._outbox.popleft()
        self._send_parts(packing.result())
        self._send_those_packed()

    def _send_parts(self, parts: list[Buffer]) -> None:
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
            is_busy = self._is_reading or bool(self._outbox)
            for arenas in (self._requests, self._replies):
                # What the thread writes or reads there now must not be another file by then.
                (self._thread.submit if is_busy else _called)(arenas.close)
            self._thread.shutdown(wait=False)
            self._outbox.clear()
            self._unsent.clear()
            self._inbox.clear()

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
        for _ in range(_MOST_STEPS):
            if not unsent:
                break
            sent = self._sent(unsent[0])
            if sent < unsent[0].nbytes:
                unsent[0] = unsent[0][sent:]
                return
            unsent.popleft()
        if self._is_open and not unsent:
            self._loop.remove_writer(self._connection.fileno())

    def _readable(self) -> None:
        for _ in range(_MOST_STEPS):
            try:
                data = self._connection.recv(_READ_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # what it had not read when it died
                data = b""
            if not data:
                self._ends_with("")
                return
            try:
                self._inbox += self._reader.arrived(data)
            except FrameError as error:
                self._unreadable(error)
                return
            if not self._is_reading:
                self._tell()
            if not self._is_open or len(data) < _READ_BYTES:
                return

    def _tell(self) -> None:
        """Tell of the frames that are there, up to one that is large."""
        try:
            while self._inbox:
                first = self._inbox.popleft()
                if first.is_large:
                    self._is_reading = True
                    reading = self._loop.run_in_executor(self._thread, self._read_large, first)
                    reading.add_done_callback(self._read)
                    return
                self._told(self._reader.whole(first))
        except FrameError as error:
            self._unreadable(error)

    def _read_large(self, arrived: Arrived) -> Frame:
        return read_ahead(self._reader.whole(arrived))

    def _read(self, reading: "asyncio.Future[Frame]") -> None:
        self._is_reading = False
        error = None if reading.cancelled() else reading.exception()
        if reading.cancelled() or not self._is_open:
            return
        if error is not None:
            self._unreadable(error)
            return
        try:
            self._told(reading.result())
        except FrameError as wrong:
            self._unreadable(wrong)
            return
        self._tell()
        if self._ends is not None and not self._is_reading:
            self._over(self._ends)

    def _ends_with(self, why: str) -> None:
        """Be over once what has come was told."""
        if self._is_reading:
            self._loop.remove_reader(self._connection.fileno())
            self._ends = why
        else:
            self._over(why)

    def _unreadable(self, error: BaseException) -> None:
        log.error("a replica sent what cannot be read: %s", error)
        self._over("it sent what cannot be read")

    def _over(self, why: str) -> None:
        if self._is_open:
            self.close()
            self._ended(why)


def _called(function: Callable[[], None]) -> None:
    function()
