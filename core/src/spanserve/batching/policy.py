"""When to release a batch: pure arithmetic on times it is given, with no clock and no event loop.

The rule. The runner is free and some requests are queued. To wait for others, or not, is weighed
by what was learned of the run time and of the arrivals (`gathering`). The policy does not wait

- when everybody is here: as many are queued as were in the system at once in recent batches (one
  lone client is never kept waiting);
- when to gather those who are away would leave the runner free for longer than a fixed part of a
  run, for then a second run for them is cheaper (in a steady stream of independent requests it
  nearly always is, and to serve at once is within one or two per cent of the best);
- past the moment at which the oldest request could still be answered within `max_latency_ms`;
- before anything is learned, when a batch is full, and while draining.

With several replicas it never waits: a slot takes all that is queued, up to a full batch.

Termination. A wait ends at an instant that the last news fixed: asking again before does not
move it, asking at or after it releases. Only an arrival makes a new wait, and `max_batch_size`
arrivals fill the batch; so a batch waits fewer times than it has places, and never past the
latency target.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from spanserve.batching.arrivals import Arrivals
from spanserve.batching.gathering import WORTH_MS, Gathering, Outlook
from spanserve.batching.runtime import RunTime

_SHORTEST_WAIT_MS: Final = 0.01
_TICK_MS: Final = 1.0


class ReleaseReason(StrEnum):
    """Why a batch was released when it was; a closed set."""

    FULL = "full"
    """It has `max_batch_size` items."""
    IDLE = "idle"
    """Nobody is expected soon enough to be worth waiting for."""
    DEADLINE = "deadline"
    """Waiting would have paid, but the latency target leaves no time for it."""
    DRAIN = "drain"
    """The server is stopping."""


class Release(NamedTuple):
    """Run the `n` oldest now; 1 <= n <= min(queued, max_batch_size)."""

    n: int
    reason: ReleaseReason


class Wait(NamedTuple):
    """Ask again in `ms` (finite, above 0), or as soon as `enough` are queued.

    A wait of a tick of the event loop's timers is not worth asking about at each arrival: those
    of a burst come many in a tick. To do so is allowed.
    """

    ms: float
    enough: int = 1


Decision = Release | Wait


class Limits(NamedTuple):
    """What the user set: the largest batch, and the target for queue + run in milliseconds."""

    max_batch_size: int
    max_latency_ms: float


class Situation(NamedTuple):
    """All that a decision depends on, at one moment at which the runner is free.

    `queued` is at least 1. `quiet_ms` is the time since the last news, `run_ms` what the run of one
    item more would take.
    """

    queued: int
    outlook: Outlook
    oldest_wait_ms: float
    quiet_ms: float
    run_ms: float
    draining: bool


def decide(situation: Situation, limits: Limits) -> Decision:
    """Release a batch, or wait; the rule is this module's docstring."""
    if situation.queued >= limits.max_batch_size:
        return Release(limits.max_batch_size, ReleaseReason.FULL)
    if situation.draining:
        return Release(situation.queued, ReleaseReason.DRAIN)
    patience_ms = situation.outlook.patience_ms - situation.quiet_ms
    if patience_ms < _SHORTEST_WAIT_MS:
        return Release(situation.queued, ReleaseReason.IDLE)
    left_ms = limits.max_latency_ms - situation.oldest_wait_ms - situation.run_ms
    if left_ms < _SHORTEST_WAIT_MS:
        return Release(situation.queued, ReleaseReason.DEADLINE)
    wait_ms = min(patience_ms, left_ms)
    return Wait(wait_ms, situation.outlook.enough if wait_ms <= _TICK_MS else 1)


class Policy:
    """The policy of one endpoint: what it has learned, and its decisions.

    One event loop calls it; times are milliseconds of one monotonic clock. Every arrival and every
    finished run is reported, failed runs too; a decision is asked for while the runner is free and
    something is queued: on arrivals, when the runner becomes free, and when a wait is over. A
    release is taken for carried out at once. A call costs microseconds.
    """

    __slots__ = (
        "_arrivals",
        "_busy_until_ms",
        "_came_ms",
        "_gathering",
        "_in_flight",
        "_in_system",
        "_limits",
        "_released_ms",
        "_replicas",
        "_run_time",
    )

    @property
    def limits(self) -> Limits:
        """What the user set."""
        return self._limits

    def __init__(self, *, max_batch_size: int, max_latency_ms: float, replicas: int = 1) -> None:
        self._limits = Limits(max_batch_size, max_latency_ms)
        self._run_time = RunTime()
        self._arrivals = Arrivals()
        self._gathering = Gathering(max_batch_size, self._run_time, self._arrivals)
        self._came_ms: list[float] = []
        self._in_system = 0
        self._released_ms = 0.0
        self._busy_until_ms = 0.0
        self._replicas = replicas
        self._in_flight = 0

    def arrived(self, now_ms: float, in_system: int) -> None:
        """Take note of an arrival; `in_system` counts it, all queued and all in the runner.

        What it teaches is learned with others, at the next decision or end of a run: one by one
        would cost every request 1 us more than it takes now.
        """
        self._came_ms.append(now_ms)
        self._in_system = in_system

    def observed(self, size: int, run_ms: float) -> None:
        """Learn from the end of the run of `size` items (at least 1) that was released last.

        With replicas, of any that was released.
        """
        self._in_flight = max(self._in_flight - 1, 0)
        if self._came_ms:
            self._learn()
        self._run_time.observe(size, run_ms)
        if self._replicas > 1:
            return
        self._arrivals.run_ended(self._released_ms + run_ms, size)
        self._gathering.turns.run_ended(others_wait=self._arrivals.in_system > 0)
        self._busy_until_ms = 0.0

    def decide(
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision:
        """Decide on `queued` requests (at least 1), the oldest here for `oldest_wait_ms`."""
        if self._replicas > 1:
            return self._decide_at_once(queued, draining=draining)
        if self._came_ms:
            self._learn()
        run_time = self._run_time
        situation = Situation(
            queued=queued,
            outlook=self._gathering.outlook(queued),
            oldest_wait_ms=oldest_wait_ms,
            quiet_ms=now_ms - self._arrivals.news_ms,
            run_ms=run_time.fixed_ms + run_time.item_ms * (queued + 1),
            draining=draining,
        )
        decision = decide(situation, self._limits)
        if isinstance(decision, Release):
            self._in_flight += 1
            self._released_ms = now_ms
            self._busy_until_ms = now_ms + (run_time.predict_ms(decision.n) or 0.0)
        return decision

    def predict_ms(self, queued_ahead: int, now_ms: float) -> float | None:
        """Return how long the answer to a request takes that has `queued_ahead` before it.

        It counts the rest of the current run, the full batches ahead and the request's own run,
        but no waiting for others. None while no run time is known.
        """
        batches, others = divmod(queued_ahead, self._limits.max_batch_size)
        full_ms = self._run_time.predict_ms(self._limits.max_batch_size)
        own_ms = self._run_time.predict_ms(others + 1)
        if full_ms is None or own_ms is None:
            return None
        if self._replicas == 1:
            return max(self._busy_until_ms - now_ms, 0.0) + batches * full_ms + own_ms
        # Those in flight are half done, on the whole, where all replicas have something to do.
        ahead = batches + max(self._in_flight + 1 - self._replicas, 0) / 2
        return ahead * full_ms / self._replicas + own_ms

    def _decide_at_once(self, queued: int, *, draining: bool) -> Release:
        """Let a free replica take all that is queued: while one waits for more, others are free."""
        self._came_ms.clear()
        self._in_flight += 1
        if queued >= self._limits.max_batch_size:
            return Release(self._limits.max_batch_size, ReleaseReason.FULL)
        return Release(queued, ReleaseReason.DRAIN if draining else ReleaseReason.IDLE)

    def _learn(self) -> None:
        if self._run_time.fixed_ms > WORTH_MS:
            self._arrivals.arrived(self._came_ms, self._in_system)
        self._came_ms.clear()
