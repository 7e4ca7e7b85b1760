"""Loads and models drawn at random: what nobody thought of while choosing the policy's rules."""

import math
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from simulator.engine import RunTimeModel, Source
from simulator.load import ClosedLoop, bursts, doubling, linear, on_off, poisson, stepped
from simulator.scenarios import Scenario

MOST = 64
LOOP, THINKERS, STREAM, ON_OFF = "loop", "thinkers", "stream", "on-off"
BURSTS, ANY_SIZE, SCATTERED = "bursts", "bursts of any size", "scattered bursts"
LOADS = (LOOP, LOOP, THINKERS, STREAM, ON_OFF, BURSTS, ANY_SIZE, SCATTERED)
LINEAR, TO_16S, TO_2N, NOISY = "linear", "padded to 16s", "padded to 2^n", "noisy"
SHAPES = (LINEAR, LINEAR, LINEAR, LINEAR, TO_16S, TO_2N, NOISY)


class Model(NamedTuple):
    """A model of 1 to 40 ms and a five-hundredth to a twelfth of that an item, before its shape."""

    fixed_ms: float
    item_ms: float
    shape: str

    def run_ms(self, size: float) -> float:
        return self.fixed_ms + self.item_ms * size

    @property
    def run_time(self) -> RunTimeModel:
        if self.shape == TO_16S:
            return stepped(self.fixed_ms, self.item_ms, 16)
        if self.shape == TO_2N:
            return doubling(self.fixed_ms, self.item_ms)
        return linear(self.fixed_ms, self.item_ms, noise=0.2 if self.shape == NOISY else 0.0)

    @property
    def name(self) -> str:
        shape = "" if self.shape == LINEAR else f", {self.shape}"
        return f"{self.fixed_ms:.1f} ms + {self.item_ms:.3f} n{shape}"


def drawn(number: int, seed: int) -> Iterator[Scenario]:
    """Yield that many scenarios, the same for the same seed."""
    random = Random(seed)  # noqa: S311  # chance, no secret
    for place in range(number):
        fixed_ms = _spread(random, 1, 40)
        item_ms = fixed_ms * _spread(random, 0.002, 0.08)
        model = Model(fixed_ms, item_ms, random.choice(SHAPES))
        kind = random.choice(LOADS)
        label, source = _load(kind, model, random)
        yield Scenario(
            f"{place}: {label}, {model.name}",
            source,
            model.run_time,
            kind in {LOOP, THINKERS},
            MOST,
            max(50.0, 3 * model.run_ms(MOST)),
            100_000 if model.shape == NOISY and kind == STREAM else 20_000,
        )


def _load(kind: str, model: Model, random: Random) -> tuple[str, Source]:
    capacity_per_s = 1000 * MOST / model.run_ms(MOST)
    if kind == LOOP:
        clients, away_ms = round(_spread(random, 2, 250)), _spread(random, 0.2, 40)
        gap_ms = _spread(random, 0.01, 0.2)
        loop = ClosedLoop(clients, away_ms, (0.4 * gap_ms, 1.6 * gap_ms))
        return f"{clients} clients, back after {away_ms:.1f} ms, {gap_ms:.2f} ms apart", loop
    if kind == THINKERS:
        clients, think_ms = round(_spread(random, 2, 250)), _spread(random, 1, 80)
        return f"{clients} clients, think {think_ms:.1f} ms", ClosedLoop(clients, think_ms=think_ms)
    if kind == STREAM:
        share = random.uniform(0.1, 0.9)
        return f"Poisson {share:.0%}", poisson(share * capacity_per_s)
    if kind == ON_OFF:
        on_ms, off_ms = _spread(random, 10, 200), _spread(random, 10, 300)
        per_s = random.uniform(0.2, 1.0) * capacity_per_s
        label = f"{per_s:.0f}/s on {on_ms:.0f}, off {off_ms:.0f} ms"
        return label, on_off(per_s, on_ms, off_ms)
    return _bursts(kind, model, random)


def _bursts(kind: str, model: Model, random: Random) -> tuple[str, Source]:
    """Draw bursts that keep the model busy for 15 to 70 % of the time."""
    most, gap_ms = round(_spread(random, 4, 60)), _spread(random, 0.03, 1)
    least = max(1, round(most * random.uniform(0.05, 0.6))) if kind == ANY_SIZE else most
    size = (most + least) / 2
    run_ms = model.run_ms(size)
    every_ms = max(run_ms / random.uniform(0.15, 0.7) - gap_ms * (size - 1), 0.3 * run_ms)
    sizes = f"{most}" if least == most else f"{least} to {most}"
    at_random = kind == SCATTERED
    when = "at random, some" if at_random else "each"
    label = f"{sizes} {when} {every_ms:.1f} ms, {gap_ms:.2f} ms apart"
    return label, bursts((least, most), every_ms, gap_ms, at_random=at_random)


def _spread(random: Random, low: float, high: float) -> float:
    """Draw from low to high, any doubling as likely as any other."""
    return math.exp(random.uniform(math.log(low), math.log(high)))
