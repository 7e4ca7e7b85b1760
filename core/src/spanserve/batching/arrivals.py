"""How soon the next request comes, and how many there are at most: learned from arrivals."""

from collections import deque
from math import frexp
from typing import Final, NamedTuple

_BINS: Final = 20
_SHORTEST_EXPONENT: Final = -6
_EDGES_MS: Final = tuple(2.0 ** (_SHORTEST_EXPONENT + i) for i in range(_BINS))
_IN_VAIN_MS: Final = tuple(max(edge_ms, 1.0) for edge_ms in _EDGES_MS)
_GROWTH: Final = 1.02
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
    """A histogram of times to the next arrival, in powers of two from 1/64 ms; it forgets.

    The last fifty or so count. A time that ended with no arrival is a miss.
    """

    __slots__ = ("_counts", "_longest", "_shortest", "_sums", "_total", "_weight")

    def __init__(self) -> None:
        self._counts = [0.0] * _BINS
        self._sums = [0.0] * _BINS
        self._shortest, self._longest = _BINS - 1, -1
        self._total = 0.0
        self._weight = 1.0

    def hit(self, gap_ms: float) -> None:
        """Somebody came after `gap_ms`."""
        place = frexp(gap_ms)[1] - _SHORTEST_EXPONENT if gap_ms > 0.0 else 0
        place = min(max(place, 0), _BINS - 1)
        self._shortest = min(self._shortest, place)
        self._longest = max(self._longest, place)
        self._counts[place] += self._weight
        self._sums[place] += self._weight * gap_ms
        self.missed()

    def missed(self) -> None:
        """Count a time; without a hit, nobody came in it."""
        self._total += self._weight
        self._weight *= _GROWTH
        if self._weight > _RESCALE_AT:
            self._rescale()

    def prospect(self, prize_ms: float, cost: float, worth_ms: float) -> Prospect:
        """Return the best that waiting for one arrival promises; a patience of 0: no wait pays.

        The arrival saves `prize_ms`; every millisecond of waiting costs `cost` of them; less than
        `worth_ms` is not worth it. The event loop's timers count whole milliseconds, so to wait
        in vain is never shorter.
        """
        total = self._total
        most_ms, patience_ms, chance, gap_ms = worth_ms * total, 0.0, 0.0, 0.0
        hits = waited_ms = 0.0
        for place in range(self._shortest, self._longest + 1):
            hits += self._counts[place]
            waited_ms += self._sums[place]
            in_vain_ms = (total - hits) * _IN_VAIN_MS[place]
            saved_ms = prize_ms * hits - cost * (waited_ms + in_vain_ms)
            if saved_ms > most_ms:
                most_ms, patience_ms = saved_ms, _EDGES_MS[place]
                chance, gap_ms = hits / total, waited_ms / hits
        return Prospect(patience_ms, min(chance, 1.0), gap_ms)

    def _rescale(self) -> None:
        scale = 1.0 / self._weight
        self._counts = [count * scale for count in self._counts]
        self._sums = [sum_ms * scale for sum_ms in self._sums]
        self._total *= scale
        self._weight = 1.0


class Arrivals:
    """What is known of the clients.

    `population` is the largest number of requests in the system (queued and running) during the
    last eight batches: in a closed loop, the number of clients. `after_arrival` and `after_run`
    are the times from the last news, an arrival or the end of a run, to the next arrival: the
    one tells the gaps within a burst, the other how soon answered clients are back.
    Time in which everybody known was in the system tells nothing and is left out.
    """

    __slots__ = (
        "_in_system",
        "_peak",
        "_peaks",
        "after_arrival",
        "after_run",
        "news_is_run",
        "news_ms",
        "population",
    )

    def __init__(self) -> None:
        self.after_arrival = Gaps()
        self.after_run = Gaps()
        self.news_ms = 0.0
        self.news_is_run = False
        self.population = 0
        self._in_system = 0
        self._peak = 0
        self._peaks: deque[int] = deque(maxlen=_POPULATION_BATCHES)

    def arrived(self, now_ms: float, in_system: int) -> None:
        """Learn from an arrival that makes it `in_system` requests, queued and running."""
        if self.population:
            gaps = self.after_run if self.news_is_run else self.after_arrival
            gaps.hit(max(now_ms - self.news_ms, 0.0))
        self.news_ms = now_ms
        self.news_is_run = False
        self._in_system = in_system
        self._peak = max(self._peak, in_system)
        self.population = max(self.population, in_system)

    def run_ended(self, now_ms: float, size: int) -> None:
        """Learn from the end of a run: nobody has come since the last news."""
        if self._in_system < self.population:
            (self.after_run if self.news_is_run else self.after_arrival).missed()
        self.news_ms = max(now_ms, self.news_ms)
        self.news_is_run = True
        self._in_system = max(self._in_system - size, 0)
        self._peaks.append(self._peak)
        self._peak = self._in_system
        self.population = max(self._peaks)
