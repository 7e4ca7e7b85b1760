"""Whether a tracer's call is still alive, and somebody who looks."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from spanserve.tracing.model.clock import Clock

HANGS_THERE: Final = (
    "no sign of its exporter process for %g s; it is killed and started anew, and the spans that "
    "it holds are lost"
)
HANGS_HERE: Final = (
    "no sign of its export_spans for %g s; a thread cannot be ended, and spans wait, as long as "
    "there is room"
)
_LOOKS: Final = 10
"""So often one looks within the time after which a call hangs."""
_SHORTEST_S: Final = 0.02
_LONGEST_S: Final = 1.0


class Liveness:
    """When one call began or last gave a sign of life; written by its own thread alone.

    A sign may ask for some quiet, for a wait that is known to be long. A call in another process
    has a second clock: its beats, which go on meanwhile, and not where that process is stopped.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._late_ns = 0
        self._beat_late_ns = 0
        self._patience_s = 0.0

    def began(self, patience_s: float) -> None:
        """A call began: without a sign for so long, it hangs."""
        self._patience_s = patience_s
        self.sign()

    def sign(self, quiet_for_s: float = 0.0) -> None:
        """The call gave a sign of life, and may now be quiet for a while."""
        self._late_ns = self._in_ns(quiet_for_s + self._patience_s)

    def beat(self) -> None:
        """The call's process runs."""
        self._beat_late_ns = self._in_ns(self._patience_s)

    def ended(self) -> None:
        """The call is over."""
        self._late_ns = self._beat_late_ns = 0

    @property
    def is_lost(self) -> bool:
        """Whether there is a call, and it hangs."""
        now_ns = self._clock.now_ns()
        return any(0 < late_ns < now_ns for late_ns in (self._late_ns, self._beat_late_ns))

    def _in_ns(self, seconds: float) -> int:
        return self._clock.now_ns() + int(seconds * 1e9)


class Watchdog:
    """A thread that calls each of `looks` now and then."""

    def __init__(self, looks: Sequence[Callable[[], None]], *, hang_after_s: float) -> None:
        self._looks = looks
        self._every_s = min(max(hang_after_s / _LOOKS, _SHORTEST_S), _LONGEST_S)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spanserve-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look, where there is anything to look at."""
        if self._looks:
            self._thread.start()

    def stop(self) -> None:
        """Look no more; waits for a look that is under way."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            for look in self._looks:
                look()
