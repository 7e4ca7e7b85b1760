"""Other policies, each with the interface of ours and, where it has knobs, its best to be searched.

None is handicapped: a batch is taken first in, first out, and a full one goes at once.
"""

from collections import deque

from simulator.engine import Refuse
from spanserve.batching.policy import Decision, Release, ReleaseReason, Wait
from spanserve.batching.runtime import RunTime

_ROUNDING_MS = 1e-9


class FixedWait:
    """Release when the oldest has waited `wait_ms` or the batch is full; 0 never waits.

    TensorFlow Serving's and Triton's batchers, LitServe and MLServer are of this kind.
    """

    def __init__(self, wait_ms: float, *, max_batch_size: int) -> None:
        self.wait_ms = wait_ms
        self.max_batch_size = max_batch_size

    def arrived(self, now_ms: float, in_system: int) -> None:
        """Learn nothing."""

    def decide(
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision:
        del now_ms
        left_ms = self.wait_ms - oldest_wait_ms
        if queued >= self.max_batch_size:
            return Release(self.max_batch_size, ReleaseReason.FULL)
        if draining or left_ms <= _ROUNDING_MS:
            return Release(queued, ReleaseReason.IDLE)
        return Wait(left_ms)

    def observed(self, size: int, run_ms: float) -> None:
        """Learn nothing."""


class Aimd:
    """Clipper's (NSDI '17): the largest batch grows by one a full run while runs meet `target_ms`,
    and shrinks by a tenth when one does not; below it, a batch may be delayed for `wait_ms`.
    """

    def __init__(self, target_ms: float, wait_ms: float, *, max_batch_size: int) -> None:
        self.target_ms = target_ms
        self.max_batch_size = max_batch_size
        self._delayed = FixedWait(wait_ms, max_batch_size=1)
        self._limit = 1.0

    def arrived(self, now_ms: float, in_system: int) -> None:
        """Learn nothing."""

    def decide(
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision:
        self._delayed.max_batch_size = int(self._limit)
        return self._delayed.decide(queued, oldest_wait_ms, now_ms, draining=draining)

    def observed(self, size: int, run_ms: float) -> None:
        if run_ms > self.target_ms:
            self._limit = max(0.9 * self._limit, 1.0)
        elif size >= int(self._limit):
            self._limit = min(self._limit + 1.0, float(self.max_batch_size))


class Cork:
    """BentoML's: wait while `n * (age of the newest + tick + a) <= 0.95 * the usual wait`.

    `a * n + b` is the run time, learned, as is the usual wait of a batch's oldest (0.13 and 1.x
    begin with other guesses, which the first refit replaces). It polls each millisecond, and
    refuses the oldest that it takes for late. Learned anew every 50 runs, where BentoML does so
    every 5 s: that only spares it a slow start.
    """

    TICK_MS = 1.0
    DECAY = 0.95
    KEPT = 50

    def __init__(self, max_latency_ms: float, *, max_batch_size: int) -> None:
        self.max_latency_ms = max_latency_ms
        self.max_batch_size = max_batch_size
        self._run_time = RunTime()
        self._item_ms, self._fixed_ms = max_latency_ms / 15, max_latency_ms / 30
        self._usual_wait_ms = 10.0
        self._waits_ms: deque[float] = deque(maxlen=self.KEPT)
        self._runs = 0
        self._newest_ms = self._tick_ms = 0.0

    def arrived(self, now_ms: float, in_system: int) -> None:
        """Know the newest."""
        del in_system
        self._newest_ms = now_ms

    def decide(
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision | Refuse:
        del draining
        if now_ms < self._tick_ms - _ROUNDING_MS:  # it polls, and sees nothing between its ticks
            return Wait(self._tick_ms - now_ms)
        if queued > 1 and oldest_wait_ms + self._run_ms(queued) >= self.max_latency_ms:
            return Refuse(1)
        peers_ms = queued * (now_ms - self._newest_ms + self.TICK_MS + self._item_ms)
        if queued < self.max_batch_size and peers_ms <= self._usual_wait_ms * self.DECAY:
            self._tick_ms = now_ms + self.TICK_MS
            return Wait(self.TICK_MS)
        self._waits_ms.append(oldest_wait_ms)
        return Release(min(queued, self.max_batch_size), ReleaseReason.IDLE)

    def _run_ms(self, size: int) -> float:
        return self._fixed_ms + self._item_ms * size

    def observed(self, size: int, run_ms: float) -> None:
        self._run_time.observe(size, run_ms)
        self._runs += 1
        if self._runs % self.KEPT == 3:  # noqa: PLR2004  # the first three are its training
            self._fixed_ms, self._item_ms = self._run_time.fixed_ms, self._run_time.item_ms
            self._usual_wait_ms = sum(self._waits_ms) / len(self._waits_ms)
