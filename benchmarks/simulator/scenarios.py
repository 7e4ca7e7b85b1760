"""What is compared: loads against models, and the policies with all the settings they may try."""

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from simulator.engine import Batching, RunTimeModel, Source
from simulator.load import (
    ClosedLoop,
    bursts,
    daily,
    doubling,
    linear,
    on_off,
    poisson,
    stepped,
)
from simulator.rivals import Aimd, Cork, FixedWait
from spanserve.batching.policy import Policy

OURS = "ours"
NO_WAIT = "no wait"
FIXED, AIMD, CORK = "fixed wait", "AIMD", "CORK"
POLICIES = (OURS, NO_WAIT, FIXED, AIMD, CORK)


class Scenario(NamedTuple):
    """A load on a model; `closed` loops are judged by throughput, open ones by mean latency."""

    name: str
    source: Source
    model: RunTimeModel
    closed: bool
    max_batch_size: int = 64
    max_latency_ms: float = 50.0
    requests: int = 20_000


class Setting(NamedTuple):
    """One policy with one choice of its knobs; `text` shows the choice."""

    policy: str
    text: str
    make: Callable[[Scenario], Batching]


def settings() -> Iterator[Setting]:
    """Yield every setting that a scenario is tried with: one of ours, and the rivals' grids."""
    yield Setting(OURS, "", _ours)
    yield Setting(NO_WAIT, "", lambda s: FixedWait(0, max_batch_size=s.max_batch_size))
    for wait_ms in (1, 2, 3, 5, 8, 13, 21):
        yield Setting(FIXED, f"{wait_ms} ms", _fixed(wait_ms))
    for share in (0.5, 1.0):
        for wait_ms in (0, 1, 3, 8):
            yield Setting(AIMD, f"{share:g} L, {wait_ms} ms", _aimd(share, wait_ms))
    for times in (1, 2, 10, 1000):
        yield Setting(CORK, f"{times} L", _cork(times))


def _ours(scenario: Scenario) -> Batching:
    return Policy(max_batch_size=scenario.max_batch_size, max_latency_ms=scenario.max_latency_ms)


def _fixed(wait_ms: float) -> Callable[[Scenario], Batching]:
    return lambda s: FixedWait(wait_ms, max_batch_size=s.max_batch_size)


def _aimd(share: float, wait_ms: float) -> Callable[[Scenario], Batching]:
    return lambda s: Aimd(share * s.max_latency_ms, wait_ms, max_batch_size=s.max_batch_size)


def _cork(times: float) -> Callable[[Scenario], Batching]:
    return lambda s: Cork(times * s.max_latency_ms, max_batch_size=s.max_batch_size)


ACCELERATOR = linear(10, 0.1)
QUICK = linear(1, 0.02)
MODELS = {
    "linear": ACCELERATOR,
    "padded to 16s": stepped(10, 0.1, 16),
    "padded to 2^n": doubling(10, 0.1),
    "noisy": linear(10, 0.1, noise=0.3),
}
CAPACITY_PER_S = 64_000 / 16.5


def scenarios() -> Iterator[Scenario]:
    """Yield all, closed loops first; the model is 10 ms + 0.1 ms an item unless its name says."""
    yield from _closed_loops()
    yield from _streams()
    yield from _bursts()
    yield from _other_models()


def _closed_loops() -> Iterator[Scenario]:
    for clients in (1, 2, 4, 16, 64, 256, 1024):
        requests = 2_000 if clients <= 4 else 20_000 if clients <= 256 else 60_000  # noqa: PLR2004
        yield Scenario(
            f"{clients} clients", ClosedLoop(clients), ACCELERATOR, True, requests=requests
        )
    for clients, away_ms in ((16, 3), (64, 3), (16, 8), (64, 10), (64, 30)):
        source = ClosedLoop(clients, return_ms=away_ms)
        yield Scenario(f"{clients} clients, back after {away_ms} ms", source, ACCELERATOR, True)
    for clients, think_ms in ((16, 3), (16, 10), (64, 10), (64, 30), (256, 100), (1024, 300)):
        source = ClosedLoop(clients, think_ms=think_ms)
        yield Scenario(f"{clients} clients, think {think_ms} ms", source, ACCELERATOR, True)
    for name, model in MODELS.items():
        if model is not ACCELERATOR:
            yield Scenario(f"40 clients, {name}", ClosedLoop(40), model, True)
            source = ClosedLoop(40, think_ms=10)
            yield Scenario(f"40 clients, think 10 ms, {name}", source, model, True)
    yield Scenario("64 clients, 1 ms + 0.02 n", ClosedLoop(64), QUICK, True)
    yield Scenario("256 clients, 1 ms + 0.02 n", ClosedLoop(256), QUICK, True, 256)


def _streams() -> Iterator[Scenario]:
    for name, model in MODELS.items():
        for load in (0.1, 0.3, 0.6, 0.9):
            label = f"Poisson {load:.0%}" + (f", {name}" if model is not ACCELERATOR else "")
            # A noisy model near its capacity takes long to show its mean.
            requests = 400_000 if name == "noisy" and load > 0.5 else 20_000  # noqa: PLR2004
            stream = poisson(load * CAPACITY_PER_S)
            yield Scenario(label, stream, model, False, requests=requests)
    big = linear(4, 0.02)
    yield Scenario("Poisson 10,000/s, 4 ms + 0.02 n", poisson(10_000), big, False, 256, 50, 200_000)
    yield Scenario("Poisson 5,000/s, 1 ms + 0.02 n", poisson(5_000), QUICK, False)
    low, high = 0.02 * CAPACITY_PER_S, 0.95 * CAPACITY_PER_S
    yield Scenario("day, 2 to 95 %", daily(low, high, 60), ACCELERATOR, False, requests=230_000)


def _bursts() -> Iterator[Scenario]:
    for size, every_ms, gap_ms in ((10, 100, 0.05), (32, 50, 0.1), (32, 30, 0.3), (60, 40, 0.06)):
        source = bursts((size, size), every_ms, gap_ms)
        yield Scenario(f"{size} each {every_ms} ms, {gap_ms} ms apart", source, ACCELERATOR, False)
    for low, high, every_ms in ((5, 15, 100), (1, 60, 60)):
        source = bursts((low, high), every_ms, 0.05)
        yield Scenario(f"{low} to {high} each {every_ms} ms", source, ACCELERATOR, False)
    for every_ms in (8, 30, 100):
        source = bursts((10, 10), every_ms, 0.05, at_random=True)
        yield Scenario(f"10 at random, {every_ms} ms", source, ACCELERATOR, False)
    for per_s, on_ms, off_ms in ((3000, 50, 100), (1000, 20, 60), (3000, 300, 300)):
        source = on_off(per_s, on_ms, off_ms)
        yield Scenario(f"{per_s}/s on {on_ms}, off {off_ms} ms", source, ACCELERATOR, False)


def _other_models() -> Iterator[Scenario]:
    models = {
        "5 ms + 0.3 n": linear(5, 0.3),
        "20 ms + 0.05 n": linear(20, 0.05),
        "10 ms + 0.1 n": ACCELERATOR,
    }
    for name, model in models.items():
        for label, source, closed in _loads(64_000 / model(64, Random(1))):  # noqa: S311
            yield Scenario(f"{label}, {name}", source, model, closed)


def _loads(capacity_per_s: float) -> Iterator[tuple[str, Source, bool]]:
    for clients, away_ms in ((24, 0.2), (48, 5), (100, 12), (40, 20)):
        loop = ClosedLoop(clients, return_ms=away_ms)
        yield f"{clients} clients, back after {away_ms} ms", loop, True
    for clients, think_ms in ((24, 6), (48, 20)):
        yield (
            f"{clients} clients, think {think_ms} ms",
            ClosedLoop(clients, think_ms=think_ms),
            True,
        )
    for load in (0.2, 0.5, 0.8):
        yield f"Poisson {load:.0%}", poisson(load * capacity_per_s), False
    for size, every_ms, gap_ms in ((20, 35, 0.2), (48, 70, 0.1), (12, 25, 0.5)):
        source = bursts((size, size), every_ms, gap_ms)
        yield f"{size} each {every_ms} ms, {gap_ms} ms apart", source, False
    yield "7 at random, 20 ms", bursts((7, 7), 20, 0.1, at_random=True), False
    yield "2 to 40 each 80 ms", bursts((2, 40), 80, 0.1), False
