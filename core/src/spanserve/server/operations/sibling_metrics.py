"""The metrics of several workers as those of one server.

Each worker keeps its own counters and shows them to the others on a socket in the folder that they
share. Whichever is asked asks the others: counters and histograms are added up, gauges are shown
for each worker.

What a worker tells, and once a second what it would tell, it keeps in a file of its place first.
Where it is too busy to answer, or dead, the others take its counters from there; and whoever
follows in its place goes on from there. So no counter ever falls.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from spanserve.running.metric_sums import Told, added, lasting, together, told

log = logging.getLogger(__name__)

LIMIT_S: Final = 1.0
"""How long a worker may take to tell."""

KEPT_EVERY_S: Final = 1.0
"""What a worker counted in this time is lost where it is killed."""

MOST_BYTES: Final = 16 * 1024 * 1024


class Siblings:
    """What worker `number` knows of the others; `own` gives its own metrics."""

    def __init__(
        self, share: Path, number: int, own: Callable[[], Awaitable[list[Metric]]]
    ) -> None:
        self._share = share
        self._own = own
        self._name = str(number)
        self._silent: set[str] = set()
        self._before: Told = []
        self._telling = asyncio.Lock()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Tell whoever asks, meanwhile."""
        self._before = self._kept(self._name)
        path = self._socket(self._name)
        path.unlink(missing_ok=True)  # that of one who died in this place
        server = await asyncio.start_unix_server(self._answer, path)
        keeping = asyncio.create_task(self._keep_now_and_then())
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
            server.close()
            path.unlink(missing_ok=True)
            await self._tell()

    async def metrics(self) -> list[Metric]:
        """Return the metrics of all workers together."""
        names = self._names()
        others = [name for name in names if name != self._name]
        answers = await asyncio.gather(*map(self._ask, others))
        found = {self._name: await self._tell()}
        up = GaugeMetricFamily(
            "spanserve_worker_up", "1 where a worker told its metrics in time", labels=["worker"]
        )
        for name, answer in zip(others, answers, strict=True):
            found[name] = self._kept(name) if answer is None else answer
            self._note(name, silent=answer is None)
        for name in names:
            up.add_metric([name], name == self._name or name not in self._silent)
        return [up, *together({name: found[name] for name in names})]

    async def _tell(self) -> Told:
        """Return this worker's metrics; they are kept before anyone learns of them."""
        async with self._telling:  # what is older must not be kept later
            metrics = added(self._before, told(await self._own()))
            draft = self._share / f"{self._name}.new"
            with suppress(OSError):  # at the end the folder may be gone
                draft.write_text(json.dumps(lasting(metrics)), encoding="utf-8")
                draft.replace(self._file(self._name))
            return metrics

    async def _keep_now_and_then(self) -> None:
        while True:
            await self._tell()
            await asyncio.sleep(KEPT_EVERY_S)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):  # whoever asked did not wait
                writer.write(json.dumps(await self._tell()).encode())
                writer.write_eof()
                await writer.drain()
        finally:
            writer.close()

    async def _ask(self, name: str) -> Told | None:
        try:
            async with asyncio.timeout(LIMIT_S):
                reader, writer = await asyncio.open_unix_connection(
                    self._socket(name), limit=MOST_BYTES
                )
                try:
                    metrics: Told = json.loads(await reader.read(-1))
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):  # it is busy, it died, or it begins
            return None
        return metrics

    def _kept(self, name: str) -> Told:
        """Return what a worker had counted when it last kept it."""
        try:
            metrics: Told = json.loads(self._file(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return metrics

    def _names(self) -> list[str]:
        """Return the workers that there are, or were."""
        names = {path.stem for path in self._share.glob("*.sock")} | {self._name}
        names |= {path.stem.removeprefix("metrics-") for path in self._share.glob("metrics-*.json")}
        return sorted(names, key=lambda name: (len(name), name))

    def _socket(self, name: str) -> Path:
        return self._share / f"{name}.sock"

    def _file(self, name: str) -> Path:
        return self._share / f"metrics-{name}.json"

    def _note(self, name: str, *, silent: bool) -> None:
        if silent and name not in self._silent:
            self._silent.add(name)
            log.warning(
                "worker %s does not tell its metrics; /metrics has its counters as they were", name
            )
        elif not silent:
            self._silent.discard(name)
