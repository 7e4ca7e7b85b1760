"""How fast packets follow each other: UDP holds nobody back, and what comes too fast is lost.

By Linux's default a receiver's buffer holds three of the longest packets, and Jaeger, while it
works off what it has read, may be late to read on. Measured within one machine, on two busy cores
and at a low priority, with calls of eight packets of 65 kB; lost is what the system dropped before
the receiver read it:

    receiver                 calls a second   pause                  packets lost
    Jaeger 1.48 and 2.13     5 to 20          2 ms each packet       3 to 7 of 96
                                              2 ms every second      9 to 28 of 96
                                              4 ms each packet       0 to 2 of 96
                                              as below               0 to 5 of 96
                             50               as below               19 to 22 of 96
    one that only reads      5 ms apart       1 ms each packet       1 of 360
                                              none: 1,530 a second   104 of 360
                             back to back     as below: 745 a second 0 of 320
"""

import time
from collections.abc import Callable
from typing import Final

SLOWEST_BYTES_PER_S: Final = 65_000 / 0.005  # and a little slower, for machines busier still
FASTEST_BYTES_PER_S: Final = 65_000 / 0.001  # the spans of 40,000 requests a second, and a half
_LEAST_ROOM_S: Final = 1e-6


class Pace:
    """Keeps a distance between packets: a long one, and less where the calls leave no time.

    A call's packets are spread over half of the time that lay between its begin and that of
    the call before. So a caller who is behind is held up for less with every call.
    """

    def __init__(
        self,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock_s = clock_s
        self._sleep = sleep
        self._began_s = -float("inf")
        self._free_at_s = -float("inf")
        self._bytes_per_s = SLOWEST_BYTES_PER_S

    def begin(self, size_bytes: int) -> None:
        """Begin a call whose packets are so long in all."""
        now_s = self._clock_s()
        room_s = max((now_s - self._began_s) / 2, _LEAST_ROOM_S)
        wanted = max(size_bytes / room_s, SLOWEST_BYTES_PER_S)
        self._bytes_per_s = min(wanted, FASTEST_BYTES_PER_S)
        self._began_s = now_s

    def wait(self) -> None:
        """Wait until the next packet may follow."""
        left_s = self._free_at_s - self._clock_s()
        if left_s > 0:
            self._sleep(left_s)

    def sent(self, size_bytes: int) -> None:
        """Take note of a packet that went out."""
        self._free_at_s = self._clock_s() + size_bytes / self._bytes_per_s
