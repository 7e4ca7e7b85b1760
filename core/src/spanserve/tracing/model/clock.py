"""Time and chance, as arguments: what a test replaces to know both."""

import os
import random
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

ID_BYTES: Final = 16
"""Of a trace's id."""
ROOT_ID_AT: Final = 8
"""Where its root's begins."""

_READINGS: Final = 3
_DRAWN: Final = 256
_NO_ID: Final = bytes(8)


class Clock(NamedTuple):
    """A monotonic clock for lengths and marks, and Unix time for stamps; nanoseconds."""

    now_ns: Callable[[], int] = time.perf_counter_ns
    unix_ns: Callable[[], int] = time.time_ns

    def offset_ns(self) -> int:
        """Return what turns a monotonic mark into Unix time, as of now.

        Where another thread runs between the readings of the two, they are milliseconds apart:
        the closest of a few counts.
        """
        _, offset_ns = min(self._offset() for _ in range(_READINGS))
        return offset_ns

    def _offset(self) -> tuple[int, int]:
        """Return how far off an offset may be, and the offset."""
        before_ns, unix_ns, after_ns = self.now_ns(), self.unix_ns(), self.now_ns()
        return after_ns - before_ns, unix_ns - after_ns


class SteadyOffset:
    """The offset of a clock, the same for all records until the clocks drift apart.

    Two readings of it differ by less than a microsecond for no reason but the time between
    two system calls; spans that show one moment would then stand at different times.
    """

    def __init__(self, clock: Clock, *, drift_ns: int = 1_000_000) -> None:
        self._clock = clock
        self._drift_ns = drift_ns
        self._offset_ns = clock.offset_ns()

    def __call__(self) -> int:
        """Return the offset; a new one once the old is wrong by a millisecond."""
        now_ns = self._clock.offset_ns()
        if abs(now_ns - self._offset_ns) > self._drift_ns:
            self._offset_ns = now_ns
        return self._offset_ns


class Ids:
    """Random ids of traces and root spans; one instance a process, made after any fork.

    Their bits are drawn for many at a time, which costs less than to ask for a few each time.
    A root's are the lower half of its trace's, as in Zipkin's own tracers; never all zero.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._bytes = os.urandom if seed is None else random.Random(seed).randbytes  # noqa: S311  # a test's
        self._bits = b""
        self._next = 0

    def some(self, count: int) -> tuple[bytes, Sequence[str]]:
        """Return the ids of so many traces, all in one and as 32 hex digits each."""
        start, end = self._next, self._next + count * ID_BYTES
        if end > len(self._bits):
            self._bits = self._drawn(max(count, _DRAWN))
            start, end = 0, count * ID_BYTES
        self._next = end
        bits = self._bits[start:end]
        return bits, bits.hex(" ", ID_BYTES).split(" ")

    def _drawn(self, count: int) -> bytes:
        while _NO_ID in (bits := self._bytes(count * ID_BYTES)):
            continue
        return bits

    def roots(self) -> Iterator[tuple[str, int]]:
        """Yield a trace's id and its root's, without end."""
        while True:
            bits, trace_ids = self.some(_DRAWN)
            yield from zip(trace_ids, root_ids(bits), strict=True)

    def texts(self) -> Iterator[str]:
        """Yield 32 hex digits, not all zero, without end."""
        while True:
            yield from self.some(_DRAWN)[1]


def root_ids(bits: bytes) -> Sequence[int]:
    """Return the ids of the roots of traces: `bits` are theirs, 16 bytes each."""
    return _numbers(bits)[1::2]


def ids_of(digits: Iterable[str]) -> "array[int]":
    """Return the ids of spans as numbers, that are given as 16 hex digits each."""
    return _numbers(bytes.fromhex("".join(digits)))


def _numbers(bits: bytes) -> "array[int]":
    numbers = array("Q", bits)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
