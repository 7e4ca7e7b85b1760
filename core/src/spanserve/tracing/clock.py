"""Time and chance, as arguments: what a test replaces to know both."""

import os
import random
import struct
import time
from collections.abc import Callable
from typing import Final, NamedTuple

_DRAWN: Final = 256
_ROOT_IDS: Final = struct.Struct(f"={_DRAWN}Q")
_NO_ID: Final = "0" * 32


class Clock(NamedTuple):
    """A monotonic clock for lengths and marks, and Unix time for stamps; nanoseconds."""

    now_ns: Callable[[], int] = time.perf_counter_ns
    unix_ns: Callable[[], int] = time.time_ns

    def offset_ns(self) -> int:
        """Return what turns a monotonic mark into Unix time, as of now."""
        return self.unix_ns() - self.now_ns()


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

    They are drawn hundreds at a time, which costs a fifth of one at a time.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._bytes = os.urandom if seed is None else random.Random(seed).randbytes  # noqa: S311  # a test's
        self._trace_ids: list[str] = []
        self._root_ids: list[int] = []

    def trace_id(self) -> str:
        """Return 32 hex digits, not all zero."""
        if not self._trace_ids:
            digits = self._bytes(16 * _DRAWN).hex()
            drawn = (digits[at : at + 32] for at in range(0, len(digits), 32))
            self._trace_ids = [each for each in drawn if each != _NO_ID]
        return self._trace_ids.pop()

    def root_id(self) -> int:
        """Return 64 random bits, not all zero."""
        if not self._root_ids:
            self._root_ids = [
                each for each in _ROOT_IDS.unpack(self._bytes(_ROOT_IDS.size)) if each
            ]
        return self._root_ids.pop()
