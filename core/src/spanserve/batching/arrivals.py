"""How soon the next request comes, and how many there are at most: learned from arrivals."""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from math import frexp
from typing import Final, NamedTuple

_BINS: Final = 14
_EDGES_MS: Final = tuple(2.0**place for place in range(_BINS))
_SHORT_MS: Final = _EDGES_MS[0]
_GROWTH: Final = 1.02
_MOST_FORGOTTEN: Final = 16
_FORGETTING: Final = tuple(_GROWTH**times for times in range(_MOST_FORGOTTEN + 1))
_RESCALE_AT: Final = 1e9
_POPULATION_BATCHES: Final = 8


class Prospect(NamedTuple):
    """Waiting for `patience_ms` sees an arrival with probability `chance`, after `gap_ms` if so."""

    patience_ms: float
    chance: float
    gap_ms: float

    def followers(self, absent: int) -> float:
        """How many of `absent` come one after the other before one keeps us waiting in vain."""
        lucky, unlucky = self.chance, 1.0 - self.chance
        return lucky / unlucky if lucky < absent * unlucky else absent


class Gaps:
    """A histogram of times to the next arrival, in powers of two from 1 ms; it forgets.

    The last fifty or so count, of large groups more. A time that ended with no arrival is a miss.
    Nothing finer is worth knowing: the event loop's timers count whole milliseconds.
    """

    __slots__ = ("_counts", "_longest", "_sums", "_total", "_weight")

    def __init__(self) -> None:
        self._counts = [0.0] * _BINS
        self._sums = [0.0] * _BINS
        self._longest = -1
        self._total = 0.0
        self._weight = 1.0

    def hit(self, gap_ms: float) -> None:
        """Somebody came after `gap_ms`."""
        self._count(gap_ms)
        self._counted(1)

    def group(self, times_ms: Sequence[float]) -> None:
        """Some (at least two) came at `times_ms`, ascending: count the gaps between them."""
        gaps = short = len(times_ms) - 1
        short_ms = times_ms[-1] - times_ms[0]
        if short_ms > _SHORT_MS:
            for gap_ms in _long_gaps(times_ms):
                self._count(gap_ms)
                short -= 1
                short_ms -= gap_ms
        if short:
            self._longest = max(self._longest, 0)
            self._counts[0] += self._weight * short
            self._sums[0] += self._weight * max(short_ms, 0.0)
        self._counted(gaps)

    def missed(self) -> None:
        """Count a time; without a hit, nobody came in it."""
        self._counted(1)

    def _count(self, gap_ms: float) -> None:
        place = min(frexp(gap_ms)[1], _BINS - 1) if gap_ms > _SHORT_MS else 0
        self._longest = max(self._longest, place)
        self._counts[place] += self._weight
        self._sums[place] += self._weight * gap_ms

    def _counted(self, times: int) -> None:
        self._total += self._weight * times
        self._weight *= _FORGETTING[times] if times < _MOST_FORGOTTEN else _FORGETTING[-1]
        if self._weight > _RESCALE_AT:
            self._rescale()

    def prospect(self, prize_ms: float, cost: float, worth_ms: float) -> Prospect:
        """Return the best that waiting for one arrival promises; a patience of 0: no wait pays.

        The arrival saves `prize_ms`; every millisecond of waiting costs `cost` of them; less than
        `worth_ms` is not worth it.
        """
        total = self._total
        most_ms, patience_ms, chance, gap_ms = worth_ms * total, 0.0, 0.0, 0.0
        hits = waited_ms = 0.0
        for place in range(self._longest + 1):
            hits += self._counts[place]
            waited_ms += self._sums[place]
            edge_ms = _EDGES_MS[place]
            saved_ms = prize_ms * hits - cost * (waited_ms + (total - hits) * edge_ms)
            if saved_ms > most_ms:
                most_ms, patience_ms = saved_ms, edge_ms
                chance, gap_ms = hits / total, waited_ms / hits
        return Prospect(patience_ms, min(chance, 1.0), gap_ms)

    def _rescale(self) -> None:
        scale = 1.0 / self._weight
        self._counts = [count * scale for count in self._counts]
        self._sums = [sum_ms * scale for sum_ms in self._sums]
        self._total *= scale
        self._weight = 1.0


def _long_gaps(times_ms: Sequence[float]) -> list[float]:
    return [gap for a, b in pairwise(times_ms) if (gap := b - a) > _SHORT_MS]


class Arrivals:
    """What is known of the clients.

    `population` is the largest number of requests in the system (queued and running) during the
    last eight batches: in a closed loop, the number of clients. `after_arrival` and `after_run`
    are the times from the last news, an arrival or the end of a run, to the next arrival: the
    one tells the gaps within a burst, the other how soon answered clients are back. `in_system`
    is how many there were at the last news.
    Time in which everybody known was in the system tells nothing and is left out.
    """

    __slots__ = (
        "_peak",
        "_peaks",
        "after_arrival",
        "after_run",
        "in_system",
        "news_is_run",
        "news_ms",
        "population",
        "run_ended_ms",
    )

    def __init__(self) -> None:
        self.after_arrival = Gaps()
        self.after_run = Gaps()
        self.news_ms = 0.0
        self.news_is_run = False
        self.run_ended_ms = 0.0
        self.population = 0
        self.in_system = 0
        self._peak = 0
        self._peaks: deque[int] = deque(maxlen=_POPULATION_BATCHES)

    def arrived(self, times_ms: Sequence[float], in_system: int) -> None:
        """Learn from arrivals at `times_ms` (ascending, not none) since the last call.

        The last made it `in_system` requests, queued and running.
        """
        if self.population:
            gaps = self.after_run if self.news_is_run else self.after_arrival
            gaps.hit(max(times_ms[0] - self.news_ms, 0.0))
        if len(times_ms) > 1:
            self.after_arrival.group(times_ms)
        self.news_ms = times_ms[-1]
        self.news_is_run = False
        self.in_system = in_system
        self._peak = max(self._peak, in_system)
        self.population = max(self.population, in_system)

    def run_ended(self, now_ms: float, size: int) -> None:
        """Learn from the end of a run: nobody has come since the last news."""
        if self.in_system < self.population:
            (self.after_run if self.news_is_run else self.after_arrival).missed()
        self.run_ended_ms = self.news_ms = max(now_ms, self.news_ms)
        self.news_is_run = True
        self.in_system = max(self.in_system - size, 0)
        self._peaks.append(self._peak)
        self._peak = self.in_system
        self.population = max(self._peaks)
