"""What is known of the clients: how many there are, and how soon the next one comes."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from spanserve.batching.gaps import SHORT_MS, Gaps

_POPULATION_BATCHES: Final = 8
_BURSTS: Final = 16


class Bursts:
    """How many requests came in a burst, one shortly after the other, in the last sixteen."""

    __slots__ = ("_last_ms", "_size", "_sizes")

    def __init__(self) -> None:
        self._last_ms = 0.0
        self._size = 0
        self._sizes: deque[int] = deque(maxlen=_BURSTS)

    def arrived(self, times_ms: Sequence[float]) -> None:
        """Count arrivals at `times_ms`, ascending, not none."""
        if times_ms[-1] - self._last_ms <= SHORT_MS:
            self._size += len(times_ms)
        else:
            for time_ms in times_ms:
                if time_ms - self._last_ms > SHORT_MS:
                    if self._size:
                        self._sizes.append(self._size)
                    self._size = 0
                self._size += 1
                self._last_ms = time_ms
        self._last_ms = times_ms[-1]

    def chance(self, usual: float) -> float:
        """Return the chance that the burst of the last arrival goes on; `usual` is any one's."""
        as_long = longer = 0
        for size in self._sizes:
            as_long += size >= self._size
            longer += size > self._size
        return (longer + usual) / (as_long + 1)

    def left(self, most: int) -> int:
        """Return after how many more the burst of the last arrival may end; `most` if unknown."""
        return min((size - self._size for size in self._sizes if size > self._size), default=most)


class Arrivals:
    """What is known of the clients.

    `population` is the largest number of requests in the system (queued and running) during the
    last eight batches: in a closed loop, the number of clients. `in_system` is how many there were
    at the last news, an arrival or the end of a run.

    How soon the next one follows the last news depends on what that is. `after_arrival` are the
    gaps within a burst, and between two. After the end of a run, answered clients come back: these
    are `returns`, where all who were away then had just been answered; where others were away
    before, those may come sooner, `after_run`. Time in which everybody known was in the system
    tells nothing and is left out.
    """

    __slots__ = (
        "_peak",
        "_peaks",
        "after_arrival",
        "after_run",
        "bursts",
        "in_system",
        "news_is_run",
        "news_ms",
        "others_away",
        "population",
        "returns",
    )

    def __init__(self) -> None:
        self.after_arrival = Gaps()
        self.after_run = Gaps()
        self.returns = Gaps()
        self.bursts = Bursts()
        self.news_ms = 0.0
        self.news_is_run = False
        self.others_away = False
        self.population = 0
        self.in_system = 0
        self._peak = 0
        self._peaks: deque[int] = deque(maxlen=_POPULATION_BATCHES)

    @property
    def gaps(self) -> Gaps:
        """The times from news like the last one to the next arrival."""
        if not self.news_is_run:
            return self.after_arrival
        return self.after_run if self.others_away else self.returns

    def back_ms(self, clients: int) -> float:
        """Return how long it takes until so many answered clients are back."""
        return self.returns.mean_ms + clients * self.after_arrival.short_ms

    def arrived(self, times_ms: Sequence[float], in_system: int) -> None:
        """Learn from arrivals at `times_ms` (ascending, not none) since the last call.

        The last made it `in_system` requests, queued and running.
        """
        if self.population:
            self.gaps.hit(max(times_ms[0] - self.news_ms, 0.0))
        if len(times_ms) > 1:
            self.after_arrival.group(times_ms)
        self.bursts.arrived(times_ms)
        self.news_ms = times_ms[-1]
        self.news_is_run = False
        self.in_system = in_system
        self._peak = max(self._peak, in_system)
        self.population = max(self.population, in_system)

    def run_ended(self, now_ms: float, size: int) -> None:
        """Learn from the end of a run: nobody has come since the last news."""
        if self.in_system < self.population:
            self.gaps.missed(max(now_ms - self.news_ms, 0.0))
        self.news_ms = max(now_ms, self.news_ms)
        self.news_is_run = True
        self.in_system = max(self.in_system - size, 0)
        self._peaks.append(self._peak)
        self._peak = self.in_system
        self.population = max(self._peaks)
        self.others_away = self.in_system + size < self.population
