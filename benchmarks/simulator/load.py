"""Loads and models: when requests come, and how long a batch of them runs."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random

from simulator.engine import RunTimeModel


@dataclass(frozen=True)
class ClosedLoop:
    """`clients` that each send their next request when they have the answer to their last.

    The server answers one after the other and reads one after the other, so the requests of a
    batch's clients come back in a burst: `return_ms` later, then `gap_ms` (a range) apart. Each
    thinks besides for a time of its own, exponential with the mean `think_ms`.
    """

    clients: int
    return_ms: float = 0.2
    gap_ms: tuple[float, float] = (0.02, 0.1)
    think_ms: float = 0.0

    def first(self, random: Random) -> Iterable[float]:
        return sorted(self.after(0.0, self.clients, random))

    def after(self, now_ms: float, answered: int, random: Random) -> Iterable[float]:
        gaps = (random.uniform(*self.gap_ms) for _ in range(answered))
        times_ms = _steps(now_ms + self.return_ms, gaps)
        if not self.think_ms:
            return times_ms
        return [time_ms + random.expovariate(1 / self.think_ms) for time_ms in times_ms]


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


def daily(low_per_s: float, high_per_s: float, day_s: float) -> OpenLoop:
    """Independent requests whose rate goes up and down between the two, once in `day_s`."""

    def gaps(random: Random) -> Iterator[float]:
        middle, swing = (high_per_s + low_per_s) / 2e3, (high_per_s - low_per_s) / 2e3
        now_ms, turn = 0.0, 2 * math.pi / (1000 * day_s)
        while True:
            gap_ms = random.expovariate(middle - swing * math.cos(turn * now_ms))
            now_ms += gap_ms
            yield gap_ms

    return OpenLoop(gaps)


def on_off(per_s: float, on_ms: float, off_ms: float) -> OpenLoop:
    """Independent requests, `per_s` of them, for `on_ms` on average; then none for `off_ms`."""

    def gaps(random: Random) -> Iterator[float]:
        pause_ms = 0.0
        while True:
            left_ms = random.expovariate(1 / on_ms)
            while (gap_ms := random.expovariate(per_s / 1000)) < left_ms:
                left_ms -= gap_ms
                yield pause_ms + gap_ms
                pause_ms = 0.0
            pause_ms += left_ms + random.expovariate(1 / off_ms)

    return OpenLoop(gaps)


def bursts(
    sizes: tuple[int, int], every_ms: float, gap_ms: float, *, at_random: bool = False
) -> OpenLoop:
    """`sizes` (a range) requests `gap_ms` apart, then a pause of `every_ms`, and again.

    The pause is `at_random` of that mean, or always the same.
    """

    def gaps(random: Random) -> Iterator[float]:
        while True:
            yield random.expovariate(1 / every_ms) if at_random else every_ms
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


def doubling(fixed_ms: float, item_ms: float) -> RunTimeModel:
    """A model that pads its batch up to the next power of two."""

    def run_ms(size: int, random: Random) -> float:
        del random
        return fixed_ms + item_ms * (1 << (size - 1).bit_length())

    return run_ms
