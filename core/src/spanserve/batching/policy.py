"""When to release a batch: pure arithmetic on times it is given, with no clock and no event loop.

The rule. The runner is free and `n` requests are queued. Released now, whoever comes next must
wait for this run to end; a run costs a fixed part, whatever its size, so one more request on board
saves about one fixed part, while each of the `n` and the newcomer wait until it comes. So the
policy keeps two histograms of how soon the next arrival follows the last news (an arrival, or the
end of a run: answered clients come back after it), picks the patience that saves most, and waits
that long where it saves anything. It does not wait

- when everybody is here: as many are queued as were in the system at once in recent batches (one
  lone client is never kept waiting);
- when, at the end of a run, to gather those who are away would leave the runner free for longer
  than a fixed part, for then a second run for them is cheaper (in a steady stream of independent
  requests it nearly always is, and to serve at once is within one or two per cent of the best);
- past the moment at which the oldest request could still be answered within `max_latency_ms`;
- before anything is learned, when a batch is full, and while draining.

Termination. A wait ends at an instant that the last news fixed: asking again before does not
move it, asking at or after it releases. Only an arrival makes a new wait, and `max_batch_size`
arrivals fill the batch; so a batch waits fewer times than it has places, and never past the
latency target.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from spanserve.batching.arrivals import Arrivals, Prospect
from spanserve.batching.runtime import RunTime

_WORTH_MS: Final = 0.1
_SHORTEST_WAIT_MS: Final = 0.01


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
    """Ask again in `ms` (finite, above 0), or on the next arrival if that is sooner."""

    ms: float


Decision = Release | Wait


class Limits(NamedTuple):
    """What the user set: the largest batch, and the target for queue + run in milliseconds."""

    max_batch_size: int
    max_latency_ms: float


class Situation(NamedTuple):
    """All that a decision depends on, at one moment at which the runner is free.

    `queued` is at least 1. `quiet_ms` is the time since the last news, `patience_ms` how long
    after it waiting pays (0: not at all), `run_ms` what the run of one item more would take.
    """

    queued: int
    oldest_wait_ms: float
    quiet_ms: float
    patience_ms: float
    run_ms: float
    draining: bool


def decide(situation: Situation, limits: Limits) -> Decision:
    """Release a batch, or wait; the rule is this module's docstring."""
    if situation.queued >= limits.max_batch_size:
        return Release(limits.max_batch_size, ReleaseReason.FULL)
    if situation.draining:
        return Release(situation.queued, ReleaseReason.DRAIN)
    patience_ms = situation.patience_ms - situation.quiet_ms
    if patience_ms < _SHORTEST_WAIT_MS:
        return Release(situation.queued, ReleaseReason.IDLE)
    left_ms = limits.max_latency_ms - situation.oldest_wait_ms - situation.run_ms
    if left_ms < _SHORTEST_WAIT_MS:
        return Release(situation.queued, ReleaseReason.DEADLINE)
    return Wait(min(patience_ms, left_ms))


class Policy:
    """The policy of one endpoint: what it has learned, and its decisions.

    One event loop calls it; times are milliseconds of one monotonic clock. Every arrival and every
    finished run is reported, failed runs too; a decision is asked for while the runner is free and
    something is queued: on arrivals, when the runner becomes free, and when a wait is over. A
    release is taken for carried out at once. A call costs microseconds.
    """

    __slots__ = ("_arrivals", "_busy_until_ms", "_limits", "_released_ms", "_run_time")

    @property
    def limits(self) -> Limits:
        """What the user set."""
        return self._limits

    def __init__(self, *, max_batch_size: int, max_latency_ms: float) -> None:
        self._limits = Limits(max_batch_size, max_latency_ms)
        self._run_time = RunTime()
        self._arrivals = Arrivals()
        self._released_ms = 0.0
        self._busy_until_ms = 0.0

    def arrived(self, now_ms: float, in_system: int) -> None:
        """Learn from an arrival; `in_system` counts it, all queued and all in the runner."""
        self._arrivals.arrived(now_ms, in_system)

    def observed(self, size: int, run_ms: float) -> None:
        """Learn from the end of the run of `size` items (at least 1) that was released last."""
        self._run_time.observe(size, run_ms)
        self._arrivals.run_ended(self._released_ms + run_ms, size)
        self._busy_until_ms = 0.0

    def decide(
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision:
        """Decide on `queued` requests (at least 1), the oldest here for `oldest_wait_ms`."""
        run_time = self._run_time
        situation = Situation(
            queued=queued,
            oldest_wait_ms=oldest_wait_ms,
            quiet_ms=now_ms - self._arrivals.news_ms,
            patience_ms=self._patience_ms(queued),
            run_ms=run_time.fixed_ms + run_time.item_ms * (queued + 1),
            draining=draining,
        )
        decision = decide(situation, self._limits)
        if isinstance(decision, Release):
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
        return max(self._busy_until_ms - now_ms, 0.0) + batches * full_ms + own_ms

    def _patience_ms(self, queued: int) -> float:
        arrivals, fixed_ms = self._arrivals, self._run_time.fixed_ms
        absent = min(arrivals.population, self._limits.max_batch_size) - queued
        if absent <= 0 or fixed_ms <= _WORTH_MS:
            return 0.0
        peer = arrivals.after_arrival.prospect(fixed_ms, queued + 1, _WORTH_MS)
        if not arrivals.news_is_run:
            return peer.patience_ms
        return self._patience_after_run_ms(queued, absent, peer)

    def _patience_after_run_ms(self, queued: int, absent: int, peer: Prospect) -> float:
        # The first of the answered clients may be long in coming, if others follow it closely.
        fixed_ms = self._run_time.fixed_ms
        followers = peer.followers(absent - 1)
        prize_ms = fixed_ms + followers * max(fixed_ms - (queued + 1) * peer.gap_ms, 0.0)
        first = self._arrivals.after_run.prospect(prize_ms, queued + 1, _WORTH_MS)
        bursts = absent / (followers + 1)
        gather_ms = bursts * (first.gap_ms + followers * peer.gap_ms)
        return first.patience_ms if gather_ms < fixed_ms else 0.0
