"""How soon the next request comes: a histogram that forgets, and what waiting by it promises."""

from collections.abc import Sequence
from itertools import pairwise
from math import frexp, inf
from typing import Final, NamedTuple

_BINS: Final = 14
_EDGES_MS: Final = tuple(2.0**place for place in range(_BINS))
SHORT_MS: Final = _EDGES_MS[0]
"""Nothing finer is worth knowing: the event loop's timers count whole milliseconds."""
_GROWTH: Final = 1.02
_MOST_FORGOTTEN: Final = 16
_FORGETTING: Final = tuple(_GROWTH**times for times in range(_MOST_FORGOTTEN + 1))
_RESCALE_AT: Final = 1e9
_RARE: Final = 1e-6


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
    """A histogram of times to the next arrival, in powers of two from `SHORT_MS`; it forgets.

    The last fifty or so count, of large groups more. A time that ended with no arrival is a miss.
    """

    __slots__ = ("_counts", "_longest", "_missed_ms", "_sums", "_total", "_weight")

    def __init__(self) -> None:
        self._counts = [0.0] * _BINS
        self._sums = [0.0] * _BINS
        self._longest = -1
        self._missed_ms = 0.0
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
        if short_ms > SHORT_MS:
            for gap_ms in _long_gaps(times_ms):
                self._count(gap_ms)
                short -= 1
                short_ms -= gap_ms
        if short:
            self._longest = max(self._longest, 0)
            self._counts[0] += self._weight * short
            self._sums[0] += self._weight * max(short_ms, 0.0)
        self._counted(gaps)

    def missed(self, after_ms: float) -> None:
        """Nobody came in that time, and then something else happened."""
        self._missed_ms += self._weight * after_ms
        self._counted(1)

    def _count(self, gap_ms: float) -> None:
        place = min(frexp(gap_ms)[1], _BINS - 1) if gap_ms > SHORT_MS else 0
        self._longest = max(self._longest, place)
        self._counts[place] += self._weight
        self._sums[place] += self._weight * gap_ms

    def _counted(self, times: int) -> None:
        self._total += self._weight * times
        self._weight *= _FORGETTING[times] if times < _MOST_FORGOTTEN else _FORGETTING[-1]
        if self._weight > _RESCALE_AT:
            self._rescale()

    @property
    def mean_ms(self) -> float:
        """The time for each arrival, that in which nobody came counted; infinite where none did."""
        hits = sum(self._counts)
        return (sum(self._sums) + self._missed_ms) / hits if hits else inf

    @property
    def short_ms(self) -> float:
        """The mean of the short gaps; `SHORT_MS` where there is none."""
        return self._sums[0] / self._counts[0] if self._counts[0] else SHORT_MS

    @property
    def short_share(self) -> float:
        """How often the next arrival came after a short gap."""
        return self._counts[0] / self._total if self._total else 0.0

    def prospect(
        self, prize_ms: float, cost: float, worth_ms: float, *, short_share: float | None = None
    ) -> Prospect:
        """Return the best that waiting for one arrival promises; a patience of 0: no wait pays.

        The arrival saves `prize_ms`; every millisecond of waiting costs `cost` of them; less than
        `worth_ms` is not worth it. Where more is known of this arrival, `short_share` is how
        likely it comes after a short gap.
        """
        counts, sums, total = self._counts, self._sums, self._total
        if not total:
            return Prospect(0.0, 0.0, 0.0)
        if short_share is not None and _RARE < counts[0] / total < 1 - _RARE:
            short = short_share * total / counts[0]
            other = (1 - short_share) * total / (total - counts[0])
            counts = [short * counts[0], *(other * count for count in counts[1:])]
            sums = [short * sums[0], *(other * sum_ms for sum_ms in sums[1:])]
        most_ms, patience_ms, chance, gap_ms = worth_ms * total, 0.0, 0.0, 0.0
        hits = waited_ms = 0.0
        for place in range(self._longest + 1):
            hits += counts[place]
            waited_ms += sums[place]
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
        self._missed_ms *= scale
        self._total *= scale
        self._weight = 1.0


def _long_gaps(times_ms: Sequence[float]) -> list[float]:
    return [gap for a, b in pairwise(times_ms) if (gap := b - a) > SHORT_MS]
