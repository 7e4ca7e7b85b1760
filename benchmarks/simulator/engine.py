"""One endpoint as discrete events: a queue, a policy, and replicas that take a batch each.

No clock, no event loop, no threads: time is a float of milliseconds that jumps from event to event,
and all chance comes from one seeded generator, so a run repeats exactly.
"""

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable
from random import Random
from typing import NamedTuple, Protocol

from spanserve.batching.policy import Decision, Release, ReleaseReason, Wait

RunTimeModel = Callable[[int, Random], float]


class Refuse(NamedTuple):
    """Answer the `n` oldest with an error, and ask again: what some rivals do when late."""

    n: int


class Batching(Protocol):
    """What the batcher asks of a policy; `Policy` and its rivals all have it."""

    def arrived(self, now_ms: float, in_system: int) -> None: ...

    def decide(
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision | Refuse: ...

    def observed(self, size: int, run_ms: float) -> None: ...


class Source(Protocol):
    """Where requests come from."""

    def first(self, random: Random) -> Iterable[float]:
        """The times of the requests that come whatever the server does, ascending."""

    def after(self, now_ms: float, answered: int, random: Random) -> Iterable[float]:
        """The times of the requests that come because `answered` others were answered now."""


class Outcome(NamedTuple):
    """What a run came to, after its warm-up; `most_waits` is for a single batch."""

    latencies_ms: list[float]
    batch_sizes: list[int]
    reasons: Counter[ReleaseReason]
    waits: int
    most_waits: int
    refused: int
    elapsed_ms: float

    @property
    def per_s(self) -> float:
        return 1000 * len(self.latencies_ms) / self.elapsed_ms

    @property
    def mean_ms(self) -> float:
        return sum(self.latencies_ms) / len(self.latencies_ms)

    def quantile_ms(self, q: float) -> float:
        return sorted(self.latencies_ms)[int(q * (len(self.latencies_ms) - 1))]

    @property
    def mean_size(self) -> float:
        return sum(self.batch_sizes) / len(self.batch_sizes)

    @property
    def waits_per_batch(self) -> float:
        return self.waits / len(self.batch_sizes)


class _Log:
    """What happened since the warm-up."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.batch_sizes: list[int] = []
        self.reasons: Counter[ReleaseReason] = Counter()
        self.waits = self.waits_for_this = self.most_waits = self.refused = 0

    def waited(self) -> None:
        self.waits += 1
        self.waits_for_this += 1
        self.most_waits = max(self.most_waits, self.waits_for_this)

    def released(self, size: int, reason: ReleaseReason) -> None:
        self.waits_for_this = 0
        self.batch_sizes.append(size)
        self.reasons[reason] += 1

    def outcome(self, elapsed_ms: float) -> Outcome:
        return Outcome(
            self.latencies_ms,
            self.batch_sizes,
            self.reasons,
            self.waits,
            self.most_waits,
            self.refused,
            elapsed_ms,
        )


class Simulation:
    """One endpoint, which asks its policy when the batcher does.

    It asks on arrivals (once for all of one instant: a turn of the event loop), when a replica
    becomes free, and when the policy's own wait, rounded up to whole `timer_ms`, is over: timers of
    event loops count whole milliseconds. While it waits, arrivals do not make it ask before there
    are `enough`. Between a run's end and its answers lie `hand_over_ms`, which the policy, as the
    batcher, counts as part of the run.
    """

    def __init__(
        self,
        policy: Batching,
        source: Source,
        run_time: RunTimeModel,
        *,
        seed: int = 1,
        timer_ms: float = 1.0,
        hand_over_ms: float = 0.1,
        replicas: int = 1,
    ) -> None:
        self._policy = policy
        self._source = source
        self._run_time = run_time
        # One for the source and one for the model: all policies meet the same requests.
        self._random = Random(seed)  # noqa: S311  # chance, no secret
        self._run_random = Random(seed + 1)  # noqa: S311  # chance, no secret
        self._timer_grain_ms = timer_ms
        self._hand_over_ms = hand_over_ms
        self._now_ms = 0.0
        self._queue: deque[float] = deque()
        self._replicas = replicas
        self._running: list[tuple[float, float, list[float]]] = []
        """A heap of when each run ends, what it takes, and when its requests came."""

        self._in_runs = 0
        self._timer_ms = math.inf
        self._enough = 1
        self._coming = iter(source.first(self._random))
        self._next_ms = next(self._coming, math.inf)
        self._returning: list[float] = []
        self._log = _Log()

    def run(self, requests: int, *, warm_up: int = 500) -> Outcome:
        """Run until `requests` are answered after `warm_up` others, which are not counted."""
        self._until(warm_up)
        self._log, begin_ms = _Log(), self._now_ms
        self._until(requests)
        return self._log.outcome(self._now_ms - begin_ms)

    def _until(self, answered: int) -> None:
        log = self._log
        while len(log.latencies_ms) < answered:
            self._now_ms = min(self._next_arrival_ms(), self._done_ms, self._timer_ms)
            if self._now_ms == math.inf:
                raise RuntimeError("nothing is going to happen any more")
            self._step()

    def _step(self) -> None:
        now_ms = self._now_ms
        while self._done_ms <= now_ms:
            self._finish()
        while self._next_arrival_ms() <= now_ms:
            self._arrive()
        if self._timer_ms <= now_ms:
            self._timer_ms = math.inf
        if self._is_free and (self._timer_ms == math.inf or len(self._queue) >= self._enough):
            while self._queue and len(self._running) < self._replicas and self._ask():
                pass

    @property
    def _is_free(self) -> bool:
        return len(self._running) < self._replicas

    @property
    def _done_ms(self) -> float:
        return self._running[0][0] if self._running else math.inf

    def _next_arrival_ms(self) -> float:
        returning, next_ms = self._returning, self._next_ms
        return returning[0] if returning and returning[0] < next_ms else next_ms

    def _arrive(self) -> None:
        if self._returning and self._returning[0] <= self._next_ms:
            heapq.heappop(self._returning)
        else:
            self._next_ms = next(self._coming, math.inf)
        self._queue.append(self._now_ms)
        self._policy.arrived(self._now_ms, len(self._queue) + self._in_runs)

    def _ask(self) -> bool:
        """Do as the policy says; return whether it wants to be asked again at once."""
        now_ms = self._now_ms
        decision = self._policy.decide(len(self._queue), now_ms - self._queue[0], now_ms)
        self._timer_ms = math.inf
        if isinstance(decision, Release):
            self._release(decision)
        elif isinstance(decision, Wait):
            self._log.waited()
            grain_ms = self._timer_grain_ms
            self._timer_ms = now_ms + grain_ms * math.ceil(decision.ms / grain_ms)
            self._enough = decision.enough
        else:
            self._refuse(decision.n)
        return not isinstance(decision, Wait)

    def _release(self, release: Release) -> None:
        self._log.released(*release)
        popleft = self._queue.popleft
        came_ms = [popleft() for _ in range(release.n)]
        run_ms = self._run_time(release.n, self._run_random) + self._hand_over_ms
        heapq.heappush(self._running, (self._now_ms + run_ms, run_ms, came_ms))
        self._in_runs += release.n

    def _finish(self) -> None:
        now_ms = self._now_ms
        _, run_ms, came_ms = heapq.heappop(self._running)
        self._log.latencies_ms += [now_ms - each for each in came_ms]
        answered = len(came_ms)
        self._in_runs -= answered
        self._policy.observed(answered, run_ms)
        self._answered(answered)

    def _refuse(self, n: int) -> None:
        for _ in range(n):
            self._queue.popleft()
        self._log.refused += n
        self._answered(n)

    def _answered(self, n: int) -> None:
        for at_ms in self._source.after(self._now_ms, n, self._random):
            heapq.heappush(self._returning, at_ms)
