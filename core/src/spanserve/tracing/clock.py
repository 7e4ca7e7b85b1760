"""Time and chance, as arguments: what a test replaces to know both."""

import random
import time
from collections.abc import Callable
from typing import NamedTuple


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
    """Random ids of traces and root spans; one instance a process, made after any fork."""

    def __init__(self, seed: int | None = None) -> None:
        self._bits = random.Random(seed).getrandbits  # noqa: S311  # ids are no secrets

    def trace_id(self) -> str:
        """Return 32 hex digits, not all zero."""
        return f"{self._bits(128) or 1:032x}"

    def root_id(self) -> int:
        """Return 64 random bits, not all zero."""
        return self._bits(64) or 1
