"""Messages between the server and a replica: plain values, and arrays beside them.

A frame is a head, plain values as msgpack, and the bytes of arrays: up to `MOST_INLINE` they follow
on the socket, more of them lie in an arena, memory that both sides have. What a frame says of
itself is checked before anything is made of it.
"""

import os
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]  # it has no types

from spanserve.errors import SpanserveError

MOST_INLINE: Final = 100_000
"""Bytes of arrays that go over the socket; more are cheaper in an arena, where there is one."""

MOST_BYTES: Final = 1 << 31
"""What a frame may hold, its arrays counted."""

LARGE: Final = 1 << 20
"""From so many bytes on, an event loop has no time to pack, copy or read a frame."""

NO_ARENA: Final = -1
HEAD: Final = struct.Struct("=IQQi")
"""Bytes of plain values, of arrays on the socket, of arrays in an arena; and which arena."""

_MOST_VECTORS: Final = 512
_TIMESTAMP: Final = -1
_TIMESTAMPS: Final = b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff"
"""How the three kinds of timestamps begin; other bytes may look like these."""

Buffer = bytes | bytearray | memoryview


class FrameError(SpanserveError):
    """What came over a socket is no frame."""


class Frame(NamedTuple):
    """A message: plain values, and the bytes of all its arrays, one after the other."""

    content: Any
    data: Buffer


class Arrived(NamedTuple):
    """A frame that is there, and was not looked into yet."""

    payload: Buffer
    inline: Buffer
    outside: int
    arena: int

    @property
    def is_large(self) -> bool:
        """Whether an event loop has no time for it."""
        return len(self.payload) + self.outside > LARGE


class Arenas:
    """Memory beside a socket, as files without names: each side writes and reads them.

    They are never mapped by the server: a file that is cut off under a mapping ends the process.
    """

    def __init__(self, descriptors: Sequence[int]) -> None:
        self.descriptors = tuple(descriptors)

    @classmethod
    def made(cls, count: int) -> "Arenas":
        """Make some; none where the system has no such memory."""
        if not hasattr(os, "memfd_create") or not hasattr(os, "pwritev"):
            return cls(())
        return cls([os.memfd_create("spanserve-arena") for _ in range(count)])

    def has(self, arena: int) -> bool:
        """Whether there is one of this number."""
        return 0 <= arena < len(self.descriptors)

    def write(self, arena: int, buffers: Sequence[Buffer]) -> None:
        """Write these one after the other."""
        views = [memoryview(each).cast("B") for each in buffers]
        offset = 0
        while views:
            some = views[:_MOST_VECTORS]
            written = os.pwritev(self.descriptors[arena], some, offset)
            offset += written
            views = _after(views, written)

    def read(self, arena: int, length: int) -> bytearray:
        """Read so many bytes; raises FrameError where there are fewer."""
        if not self.has(arena) or length > os.fstat(self.descriptors[arena]).st_size:
            raise FrameError(f"an arena has no {length} bytes")
        data = bytearray(length)
        view, offset = memoryview(data), 0
        while offset < length:
            count = os.preadv(self.descriptors[arena], [view[offset:]], offset)
            if not count:
                raise FrameError("an arena was cut off")
            offset += count
        return data

    def close(self) -> None:
        """Give them back."""
        for each in self.descriptors:
            os.close(each)
        self.descriptors = ()


def packed(
    content: Any, buffers: Sequence[Buffer] = (), *, arenas: Arenas, arena: int = NO_ARENA
) -> list[Buffer]:
    """Return a frame as parts to be sent; its arrays are in the arena by then, or among them."""
    payload = msgpack.packb(content)
    total = sum(memoryview(each).nbytes for each in buffers)
    if total > MOST_INLINE and arenas.has(arena):
        arenas.write(arena, buffers)
        return [HEAD.pack(len(payload), 0, total, arena), payload]
    head = HEAD.pack(len(payload), total, 0, NO_ARENA)
    return (
        [b"".join((head, payload, *buffers))]
        if total <= MOST_INLINE
        else [
            head + payload,
            *(memoryview(each).cast("B") for each in buffers if memoryview(each).nbytes),
        ]
    )


def is_large(buffers: Sequence[Buffer]) -> bool:
    """Whether an event loop has no time to write a frame with these arrays."""
    return sum(memoryview(each).nbytes for each in buffers) > LARGE


class Reader:
    """Takes frames out of the bytes that come over a socket; raises FrameError."""

    def __init__(self, arenas: Arenas) -> None:
        self._arenas = arenas
        self._buffer = bytearray()

    def fed(self, data: Buffer) -> list[Frame]:
        """Take in what came; return the frames that are whole now."""
        return [self.whole(each) for each in self.arrived(data)]

    def arrived(self, data: Buffer) -> list[Arrived]:
        """Take in what came; return the frames that are there now, to be read by `whole`."""
        buffer = self._buffer
        buffer += data
        frames: list[Arrived] = []
        start = 0
        while len(buffer) - start >= HEAD.size:
            payload, inline, outside, arena = HEAD.unpack_from(buffer, start)
            if payload + inline + outside > MOST_BYTES:
                raise FrameError(f"a frame of {payload + inline + outside} bytes")
            end = start + HEAD.size + payload + inline
            if len(buffer) < end:
                break
            middle = start + HEAD.size + payload
            if payload + inline > LARGE and end == len(buffer):  # handed over as it is
                view = memoryview(buffer)
                parts = view[start + HEAD.size : middle], view[middle:]
                frames.append(Arrived(*parts, outside, arena))
                self._buffer = bytearray()
                return frames
            content = bytes(buffer[start + HEAD.size : middle])
            frames.append(Arrived(content, buffer[middle:end], outside, arena))
            start = end
        if start:
            del buffer[:start]
        return frames

    def whole(self, arrived: Arrived) -> Frame:
        """Read a frame that is there, on any thread; raises FrameError."""
        payload, inline, outside, arena = arrived
        content = unpacked(bytes(payload))
        return Frame(content, self._arenas.read(arena, outside) if outside else inline)


def unpacked(payload: bytes) -> Any:
    """Return plain values; raises FrameError.

    What a length says is looked at before anything is made of it: no memory beyond what came.
    """
    try:
        checked = msgpack.Unpacker(max_buffer_size=len(payload))
        checked.feed(payload)
        checked.skip()
        content = msgpack.unpackb(payload, strict_map_key=False, ext_hook=_refuse)
    except Exception as error:
        raise FrameError(f"a frame with no plain values: {error}") from error
    if any(mark in payload for mark in _TIMESTAMPS) and _has_timestamp(content):
        _refuse(_TIMESTAMP, b"")
    return content


def _refuse(code: int, _data: bytes) -> Any:
    raise FrameError(f"a value of the extension type {code}")


def _has_timestamp(content: Any) -> bool:
    """Whether there is a timestamp: an extension type that msgpack makes without asking."""
    left = [content]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, (list, tuple)):
            left += value
        elif isinstance(value, msgpack.Timestamp):
            return True
    return False


def _after(views: list[memoryview], written: int) -> list[memoryview]:
    """Return what is left of these once so many bytes are written."""
    for place, view in enumerate(views):
        if written < view.nbytes:
            return [view[written:], *views[place + 1 :]]
        written -= view.nbytes
    return []
