"""The metrics that a service makes in its replicas, added up; also of replicas that have died."""

import asyncio
import logging
from typing import Any, Final

from prometheus_client.core import Metric

from spanserve.running.metric_sums import Told, added, lasting, together
from spanserve.running.process.replica import Replica
from spanserve.running.process.runner import ProcessRunner

log = logging.getLogger(__name__)

LIMIT_S: Final = 1.0
"""How long a replica may take to tell; then what it told before counts."""

_OF_PROCESSES: Final = ("process_", "python_")


class ReplicaMetrics:
    """Asks all replicas."""

    def __init__(self, runner: ProcessRunner) -> None:
        self._runner = runner
        self._before: dict[int, Told] = {}
        self._latest: dict[int, tuple[Replica, Told]] = {}

    async def collect(self) -> list[Metric]:
        """Return what all replicas have counted, gauges by replica."""
        await asyncio.gather(*map(self._ask, self._runner.up))
        numbers = sorted(self._before.keys() | self._latest.keys())
        return together({str(each): self._of(each) for each in numbers}, "replica")

    def _of(self, number: int) -> Told:
        _, latest = self._latest.get(number, (None, []))
        return added(self._before.get(number, []), latest)

    async def _ask(self, replica: Replica) -> None:
        try:
            async with asyncio.timeout(LIMIT_S):
                answer = await replica.metrics()
            told = [each for each in answer if _is_told(each)]
        except (TimeoutError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not replica.is_up:
                return  # it died meanwhile
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        number = replica.number
        former, latest = self._latest.get(number, (replica, []))
        if former is not replica:  # what that one counted stays counted
            self._before[number] = lasting(added(self._before.get(number, []), latest))
        self._latest[number] = replica, told


def _is_told(family: Any) -> bool:
    """Whether it has the form of a metric, and is none that the server has of itself."""
    try:
        name, text, kind, unit, samples = family
        texts = all(isinstance(each, str) for each in (name, text, kind, unit))
        return texts and not name.startswith(_OF_PROCESSES) and all(map(_is_sample, samples))
    except (TypeError, ValueError):
        return False


def _is_sample(sample: Any) -> bool:
    name, labels, value, _ = sample
    plain = isinstance(labels, dict) and all(isinstance(each, str) for each in labels.values())
    return isinstance(name, str) and plain and isinstance(value, float)
