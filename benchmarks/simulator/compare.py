"""Run every scenario with every setting, and keep each policy's best."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import NamedTuple

from simulator.drawn import drawn
from simulator.engine import Simulation
from simulator.scenarios import OURS, POLICIES, Scenario, scenarios, settings

WARM_UP = 10_000


class Choice(NamedTuple):
    """Those of the docs, or so many `drawn` by `seed`; of them, those with `words` in the name."""

    words: str = ""
    drawn: int = 0
    seed: int = 1

    def scenarios(self) -> list[Scenario]:
        every = drawn(self.drawn, self.seed) if self.drawn else scenarios()
        return [scenario for scenario in every if self.words in scenario.name]


class Result(NamedTuple):
    """What one setting came to in one scenario."""

    scenario: str
    closed: bool
    policy: str
    setting: str
    per_s: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    mean_size: float
    waits_per_batch: float
    most_waits: int
    refused: float
    on_time: bool

    @property
    def merit(self) -> tuple[bool, bool, float]:
        """More is better: none refused; then throughput, or where open: on time, then fast."""
        if self.closed:
            return self.refused == 0.0, True, self.per_s
        return self.refused == 0.0, self.on_time, -self.mean_ms


def run(scenario: Scenario, scale: float = 1.0) -> list[Result]:
    """Return the result of every setting, in the settings' order."""
    return [_result(scenario, index, scale) for index, _ in enumerate(settings())]


def _result(scenario: Scenario, index: int, scale: float) -> Result:
    setting = list(settings())[index]
    requests = max(1000, int(scale * scenario.requests))
    simulation = Simulation(setting.make(scenario), scenario.source, scenario.model)
    outcome = simulation.run(requests, warm_up=WARM_UP)
    refused = outcome.refused / (outcome.refused + requests)
    p99_ms = outcome.quantile_ms(0.99)
    return Result(
        scenario.name,
        scenario.closed,
        setting.policy,
        setting.text,
        outcome.per_s,
        outcome.mean_ms,
        outcome.quantile_ms(0.5),
        p99_ms,
        outcome.mean_size,
        outcome.waits_per_batch,
        outcome.most_waits,
        refused,
        p99_ms <= scenario.max_latency_ms,
    )


def best(results: Iterable[Result]) -> list[Result]:
    """Return each policy's best of one scenario, in the policies' order."""
    by_policy: dict[str, list[Result]] = {name: [] for name in POLICIES}
    for result in results:
        by_policy[result.policy].append(result)
    return [max(tried, key=lambda r: r.merit) for tried in by_policy.values() if tried]


def lead(results: Sequence[Result]) -> float:
    """Return by how much ours beats the best rival, above 1, or is beaten by it, below 1."""
    ours = next(r for r in results if r.policy == OURS)
    rival = max((r for r in results if r.policy != OURS), key=lambda r: r.merit)
    return ours.per_s / rival.per_s if ours.closed else rival.mean_ms / ours.mean_ms


def compare(
    choice: Choice, *, scale: float, jobs: int, told: Callable[[int, int], None]
) -> list[list[Result]]:
    """Return each scenario's best results; `told(done, of)` is called as they come in."""
    number = len(choice.scenarios())
    found: dict[int, list[Result]] = {}
    told(0, number)
    with ProcessPoolExecutor(jobs) as pool:
        futures = {pool.submit(_scenario, choice, index, scale): index for index in range(number)}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            told(len(found), number)
    return [found[index] for index in range(number)]


def _scenario(choice: Choice, index: int, scale: float) -> list[Result]:
    # Scenarios hold functions, which no process can send to another: their places can be sent.
    return best(run(choice.scenarios()[index], scale))
