"""The metrics of several workers as those of one server.

Each worker keeps its own counters and shows them to the others on a socket in the folder that they
share. Whichever is asked asks the others: counters and histograms are added up, gauges are shown
for each worker. What a worker counted is lost with it, as in any process that starts again.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.samples import Exemplar

log = logging.getLogger(__name__)

LIMIT_S: Final = 1.0
"""How long a worker may take to tell."""

MOST_BYTES: Final = 16 * 1024 * 1024

Told = list[Any]
"""Metrics as JSON has them: name, text, type and samples of each."""


class Siblings:
    """What one worker knows of the others; `own` gives its own metrics."""

    def __init__(self, share: Path, own: Callable[[], Iterable[Metric]]) -> None:
        self._share = share
        self._own = own
        self._name = str(os.getpid())
        self._silent: set[str] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Tell whoever asks, meanwhile."""
        path = self._share / f"{self._name}.sock"
        server = await asyncio.start_unix_server(self._tell, path)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)

    async def metrics(self) -> list[Metric]:
        """Return the metrics of all workers together."""
        names = sorted(path.stem for path in self._share.glob("*.sock"))
        others = [name for name in names if name != self._name]
        answers = await asyncio.gather(*map(self._ask, others))
        told = {self._name: _told(self._own())}
        told |= {name: each for name, each in zip(others, answers, strict=True) if each is not None}
        up = GaugeMetricFamily(
            "spanserve_worker_up", "1 where a worker told its metrics in time", labels=["worker"]
        )
        for name in names or [self._name]:
            up.add_metric([name], name in told)
            self._note(name, silent=name not in told)
        return [up, *_together(told)]

    async def _tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(_told(self._own())).encode())
        writer.write_eof()
        try:
            await writer.drain()
        finally:
            writer.close()

    async def _ask(self, name: str) -> Told | None:
        path = self._share / f"{name}.sock"
        try:
            async with asyncio.timeout(LIMIT_S):
                reader, writer = await asyncio.open_unix_connection(path, limit=MOST_BYTES)
                try:
                    told: Told = json.loads(await reader.read(-1))
                finally:
                    writer.close()
        except ConnectionRefusedError:  # it died, and another has taken its place
            path.unlink(missing_ok=True)
            return None
        except (OSError, TimeoutError, ValueError):
            return None
        return told

    def _note(self, name: str, *, silent: bool) -> None:
        if silent and name not in self._silent:
            self._silent.add(name)
            log.warning("worker %s does not tell its metrics; /metrics is without them", name)
        elif not silent:
            self._silent.discard(name)


def _told(metrics: Iterable[Metric]) -> Told:
    return [
        [
            metric.name,
            metric.documentation,
            metric.type,
            metric.unit,
            [
                [s.name, s.labels, s.value, s.exemplar and [s.exemplar.labels, s.exemplar.value]]
                for s in metric.samples
            ],
        ]
        for metric in metrics
    ]


def _together(told: dict[str, Told]) -> list[Metric]:
    """Add up what can be added; give the rest a label that says whose it is."""
    metrics: dict[str, Metric] = {}
    sums: dict[str, dict[tuple[Any, ...], list[Any]]] = {}
    for worker, families in told.items():
        for name, text, kind, unit, samples in families:
            metrics.setdefault(name, Metric(name, text, kind, unit))
            for sample, labels, value, exemplar in samples:
                own = labels if kind != "gauge" else {**labels, "worker": worker}
                key = sample, *own.items()
                total = sums.setdefault(name, {}).setdefault(key, [sample, own, 0.0, None])
                total[2] += value
                total[3] = exemplar or total[3]
    for name, samples in sums.items():
        for sample, labels, value, exemplar in _ordered(samples.values()):
            shown = exemplar and Exemplar(*exemplar)
            metrics[name].add_sample(sample, labels, value, exemplar=shown)
    return list(metrics.values())


def _ordered(samples: Iterable[list[Any]]) -> Sequence[list[Any]]:
    """Return samples so that those of one histogram stand together, as OpenMetrics wants them."""
    return sorted(samples, key=lambda each: [item for item in each[1].items() if item[0] != "le"])
