"""A discrete-event simulator of one endpoint: a queue, a policy, and a runner that takes one batch.

No clock, no event loop, no threads: time is a float of milliseconds that jumps from event to event,
and all chance comes from one seeded generator, so a run repeats exactly.
"""

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

from spanserve.batching.policy import Decision, Release, ReleaseReason, Wait

RunTimeModel = Callable[[int, Random], float]


class Batching(Protocol):
    """What the batcher asks of a policy; `Policy` and the rivals below all have it."""

    def arrived(self, now_ms: float, in_system: int) -> None: ...

    def decide(
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision: ...

    def observed(self, size: int, run_ms: float) -> None: ...


class FixedWait:
    """Release when the oldest has waited `wait_ms` or the batch is full; 0 never waits."""

    def __init__(self, wait_ms: float, *, max_batch_size: int) -> None:
        self.wait_ms = wait_ms
        self.max_batch_size = max_batch_size

    def arrived(self, now_ms: float, in_system: int) -> None:
        """Learn nothing."""

    def decide(
        self, queued: int, oldest_wait_ms: float, now_ms: float, *, draining: bool = False
    ) -> Decision:
        left_ms = self.wait_ms - oldest_wait_ms
        if queued >= self.max_batch_size:
            return Release(self.max_batch_size, ReleaseReason.FULL)
        if draining or now_ms < 0 or left_ms <= 1e-9:
            return Release(queued, ReleaseReason.IDLE)
        return Wait(left_ms)

    def observed(self, size: int, run_ms: float) -> None:
        """Learn nothing."""


class Source(Protocol):
    """Where requests come from."""

    def first(self, random: Random) -> Iterable[float]:
        """The times of the requests that come whatever the server does, ascending."""

    def after(self, now_ms: float, answered: int, random: Random) -> Iterable[float]:
        """The times of the requests that come because `answered` others were answered now."""


@dataclass(frozen=True)
class ClosedLoop:
    """`clients` that each send their next request when they have the answer to their last.

    The server answers one after the other and reads one after the other, so the requests of a
    batch's clients come back in a burst: `return_ms` later, then `gap_ms` (a range) apart.
    """

    clients: int
    return_ms: float = 0.2
    gap_ms: tuple[float, float] = (0.02, 0.1)

    def first(self, random: Random) -> Iterable[float]:
        return self.after(0.0, self.clients, random)

    def after(self, now_ms: float, answered: int, random: Random) -> Iterable[float]:
        gaps = (random.uniform(*self.gap_ms) for _ in range(answered))
        return _steps(now_ms + self.return_ms, gaps)


def _steps(start_ms: float, gaps: Iterable[float]) -> Iterator[float]:
    for gap_ms in gaps:
        start_ms += gap_ms
        yield start_ms


@dataclass(frozen=True)
class OpenLoop:
    """Requests that come when they come: at the times that `gaps` makes of the generator."""

    gaps: Callable[[Random], Iterable[float]]

    def first(self, random: Random) -> Iterable[float]:
        return _steps(0.0, self.gaps(random))

    def after(self, now_ms: float, answered: int, random: Random) -> Iterable[float]:
        del now_ms, answered, random
        return ()


def poisson(per_s: float) -> OpenLoop:
    """Independent requests, `per_s` of them a second on average."""

    def gaps(random: Random) -> Iterator[float]:
        while True:
            yield random.expovariate(per_s / 1000)

    return OpenLoop(gaps)


def bursts(sizes: tuple[int, int], every_ms: float, gap_ms: float) -> OpenLoop:
    """`sizes` (a range) requests `gap_ms` apart, then a pause of `every_ms`, and again."""

    def gaps(random: Random) -> Iterator[float]:
        while True:
            yield every_ms
            for _ in range(random.randint(*sizes) - 1):
                yield gap_ms

    return OpenLoop(gaps)


def linear(fixed_ms: float, item_ms: float, noise: float = 0.0) -> RunTimeModel:
    """`fixed_ms` + `item_ms` an item, times a log-normal factor of width `noise`."""

    def run_ms(size: int, random: Random) -> float:
        return (fixed_ms + item_ms * size) * (random.lognormvariate(0.0, noise) if noise else 1.0)

    return run_ms


def stepped(fixed_ms: float, item_ms: float, pad_to: int) -> RunTimeModel:
    """A model that pads its batch up to the next multiple of `pad_to`."""

    def run_ms(size: int, random: Random) -> float:
        del random
        return fixed_ms + item_ms * pad_to * math.ceil(size / pad_to)

    return run_ms


class Outcome(NamedTuple):
    """What a run came to; `most_waits` is for a single batch."""

    latencies_ms: list[float]
    batch_sizes: list[int]
    reasons: Counter[ReleaseReason]
    waits: int
    most_waits: int
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


class _Log:
    """What happened since the warm-up."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.batch_sizes: list[int] = []
        self.reasons: Counter[ReleaseReason] = Counter()
        self.waits = self.waits_for_this = self.most_waits = 0

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
            elapsed_ms,
        )


class Simulation:
    """One endpoint. Its timers fire on the next multiple of `timer_ms` after they are due.

    That is what an event loop's do: epoll and libuv count whole milliseconds. Between a run's end
    and its answers lie `hand_over_ms`.
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
    ) -> None:
        self._policy = policy
        self._source = source
        self._run_time = run_time
        self._random = Random(seed)
        self._timer_grain_ms = timer_ms
        self._hand_over_ms = hand_over_ms
        self._now_ms = 0.0
        self._queue: deque[float] = deque()
        self._running: list[float] = []
        self._run_ms = 0.0
        self._done_ms = self._timer_ms = math.inf
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
        while len(self._log.latencies_ms) < answered:
            self._now_ms = min(self._next_arrival_ms(), self._done_ms, self._timer_ms)
            if self._now_ms == math.inf:
                raise RuntimeError("nothing is going to happen any more")
            self._step()

    def _step(self) -> None:
        if self._done_ms <= self._now_ms:
            self._finish()
        while self._next_arrival_ms() <= self._now_ms:
            self._arrive()
        if self._timer_ms <= self._now_ms:
            self._timer_ms = math.inf
        if self._queue and not self._running:
            self._ask()

    def _next_arrival_ms(self) -> float:
        return min(self._next_ms, self._returning[0]) if self._returning else self._next_ms

    def _arrive(self) -> None:
        if self._returning and self._returning[0] <= self._next_ms:
            heapq.heappop(self._returning)
        else:
            self._next_ms = next(self._coming, math.inf)
        self._queue.append(self._now_ms)
        self._policy.arrived(self._now_ms, len(self._queue) + len(self._running))

    def _ask(self) -> None:
        now_ms = self._now_ms
        decision = self._policy.decide(len(self._queue), now_ms - self._queue[0], now_ms)
        if isinstance(decision, Wait):
            self._log.waited()
            grains = math.ceil((now_ms + decision.ms) / self._timer_grain_ms)
            self._timer_ms = grains * self._timer_grain_ms
            return
        self._timer_ms = math.inf
        self._log.released(*decision)
        self._running = [self._queue.popleft() for _ in range(decision.n)]
        self._run_ms = self._run_time(decision.n, self._random)
        self._done_ms = now_ms + self._run_ms + self._hand_over_ms

    def _finish(self) -> None:
        self._log.latencies_ms += [self._now_ms - came_ms for came_ms in self._running]
        answered, self._running, self._done_ms = len(self._running), [], math.inf
        self._policy.observed(answered, self._run_ms)
        for at_ms in self._source.after(self._now_ms, answered, self._random):
            heapq.heappush(self._returning, at_ms)
