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
- now and then, with half of them here, when to gather them all takes longer than a fixed part: two
  batches may then take turns, one running while the clients of the other are away (`Turns`);
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
_TICK_MS: Final = 1.0
_SETTLED_RUNS: Final = 4
_FIRST_TRY_RUNS: Final = 4
_RAREST_TRY_RUNS: Final = 64


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

    `queued` is at least 1; with `expected`, everybody known is here. `quiet_ms` is the time since
    the last news, `patience_ms` how long after it waiting pays (0: not at all), `run_ms` what the
    run of one item more would take.
    """

    queued: int
    expected: int
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
    wait_ms = min(patience_ms, left_ms)
    return Wait(wait_ms, situation.expected if wait_ms <= _TICK_MS else 1)


class Turns:
    """Whether to let two batches take turns, one here while the clients of the other are away.

    To gather all the clients of a closed loop, who are long away, leaves the runner free for that
    long; with two batches it is not. Two that take turns go on to do so of themselves; but to
    begin, one has to be released early. That is tried, and where nothing comes of it, as with
    bursts of independent requests, half as often each time.
    """

    __slots__ = ("_every", "_row", "_since")

    def __init__(self) -> None:
        self._row = 0  # runs one after the other at whose end others were queued
        self._since = 0  # runs since the last try
        self._every = _FIRST_TRY_RUNS

    def run_ended(self, *, others_wait: bool) -> None:
        """A run ended, and others were queued by then, or not."""
        self._since += 1
        self._row = self._row + 1 if others_wait else 0
        if self._row >= _SETTLED_RUNS:
            self._every = _FIRST_TRY_RUNS

    def to_begin(self) -> bool:
        """Whether to try now."""
        if self._since < self._every:
            return False
        self._since = 0
        self._every = min(2 * self._every, _RAREST_TRY_RUNS)
        return True


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
        "_in_system",
        "_limits",
        "_released_ms",
        "_run_time",
        "_turns",
    )

    @property
    def limits(self) -> Limits:
        """What the user set."""
        return self._limits

    def __init__(self, *, max_batch_size: int, max_latency_ms: float) -> None:
        self._limits = Limits(max_batch_size, max_latency_ms)
        self._run_time = RunTime()
        self._arrivals = Arrivals()
        self._turns = Turns()
        self._came_ms: list[float] = []
        self._in_system = 0
        self._released_ms = 0.0
        self._busy_until_ms = 0.0

    def arrived(self, now_ms: float, in_system: int) -> None:
        """Take note of an arrival; `in_system` counts it, all queued and all in the runner.

        What it teaches is learned with others, at the next decision or end of a run: one by one
        would cost every request 1 us more than it takes now.
        """
        self._came_ms.append(now_ms)
        self._in_system = in_system

    def observed(self, size: int, run_ms: float) -> None:
        """Learn from the end of the run of `size` items (at least 1) that was released last."""
        if self._came_ms:
            self._learn()
        self._run_time.observe(size, run_ms)
        self._arrivals.run_ended(self._released_ms + run_ms, size)
        self._turns.run_ended(others_wait=self._arrivals.in_system > 0)
        self._busy_until_ms = 0.0

    def decide(
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision:
        """Decide on `queued` requests (at least 1), the oldest here for `oldest_wait_ms`."""
        if self._came_ms:
            self._learn()
        run_time = self._run_time
        expected = min(self._arrivals.population, self._limits.max_batch_size)
        situation = Situation(
            queued=queued,
            expected=expected,
            oldest_wait_ms=oldest_wait_ms,
            quiet_ms=now_ms - self._arrivals.news_ms,
            patience_ms=self._patience_ms(queued, expected - queued),
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

    def _learn(self) -> None:
        if self._run_time.fixed_ms > _WORTH_MS:
            self._arrivals.arrived(self._came_ms, self._in_system)
        self._came_ms.clear()

    def _patience_ms(self, queued: int, absent: int) -> float:
        arrivals, fixed_ms = self._arrivals, self._run_time.fixed_ms
        if absent <= 0 or fixed_ms <= _WORTH_MS:
            return 0.0
        peer = arrivals.after_arrival.prospect(fixed_ms, queued + 1, _WORTH_MS)
        if arrivals.news_is_run:
            return self._patience_after_run_ms(queued, absent, peer)
        if peer.patience_ms > 0.0 and self._turns_are_worth_a_try(queued, absent * peer.gap_ms):
            return 0.0
        return peer.patience_ms

    def _turns_are_worth_a_try(self, queued: int, gather_ms: float) -> bool:
        arrivals = self._arrivals
        free_ms = arrivals.news_ms - arrivals.run_ended_ms
        return (
            2 * queued >= arrivals.population
            and free_ms + gather_ms > self._run_time.fixed_ms
            and self._turns.to_begin()
        )

    def _patience_after_run_ms(self, queued: int, absent: int, peer: Prospect) -> float:
        # The first of the answered clients may be long in coming, if others follow it closely.
        fixed_ms = self._run_time.fixed_ms
        followers = peer.followers(absent - 1)
        prize_ms = fixed_ms + followers * max(fixed_ms - (queued + 1) * peer.gap_ms, 0.0)
        first = self._arrivals.after_run.prospect(prize_ms, queued + 1, _WORTH_MS)
        bursts = absent / (followers + 1)
        gather_ms = bursts * (first.gap_ms + followers * peer.gap_ms)
        return first.patience_ms if gather_ms < fixed_ms else 0.0
