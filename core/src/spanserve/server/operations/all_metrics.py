"""All metrics of one process: the server's own, and those that the service defines itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import Metric

from spanserve.server.threads import on_thread

log = logging.getLogger(__name__)

LIMIT_S: Final = 1.0
"""How long the service's own collectors may take."""

OWN_PREFIX: Final = "spanserve_"

_Collected = tuple[dict[str, Metric], Exception | None]
"""What was found, and why there is not more."""


class AllMetrics:
    """Collects from the server, and from what a service made with `prometheus_client`."""

    def __init__(
        self,
        own: Callable[[], Iterable[Metric]],
        replicas: Callable[[], Awaitable[list[Metric]]] | None = None,
    ) -> None:
        """`replicas` tells what the service made in other processes, which counts for all of it."""
        self._own = own
        self._replicas = replicas
        self._theirs: dict[str, Metric] = {}
        self._collecting: asyncio.Task[_Collected] | None = None
        self._hangs = False
        self._said: set[str] = set()

    async def collect(self) -> list[Metric]:
        """Return all metrics as they stand; those of a collector that fails, as they were."""
        await self._collect_theirs()
        if self._replicas is not None:
            self._theirs |= {each.name: each for each in await self._replicas()}
        own = list(self._own())
        return [*own, *self._apart({metric.name for metric in own})]

    async def _collect_theirs(self) -> None:
        """Ask the service's collectors: on a thread, since they may do anything."""
        if self._collecting is None:
            collecting = on_thread(_collected, name="spanserve-metrics")
            self._collecting = asyncio.create_task(collecting)
            self._collecting.add_done_callback(self._collected)
        elif self._hangs:
            return
        done, _ = await asyncio.wait((self._collecting,), timeout=LIMIT_S)
        self._hangs = not done
        if self._hangs:
            self._say("a metrics collector of the service takes too long; /metrics has not all")

    def _collected(self, collecting: "asyncio.Task[_Collected]") -> None:
        self._collecting, self._hangs = None, False
        if collecting.cancelled():
            return
        found, error = collecting.result()
        if error is None:
            self._theirs = found
            return
        self._theirs |= found
        self._say(f"a metrics collector of the service raised {error!r}; /metrics has not all")

    def _apart(self, taken: set[str]) -> Iterator[Metric]:
        """Yield the metrics of the service whose names are not the server's."""
        for metric in self._theirs.values():
            if metric.name in taken or metric.name.startswith(OWN_PREFIX):
                self._say(
                    f"the service's metric {metric.name} is left out of /metrics: the name is "
                    f"taken ({OWN_PREFIX}… is the server's); give it another"
                )
            else:
                yield metric

    def _say(self, what: str) -> None:
        """Say something once."""
        if what not in self._said:
            self._said.add(what)
            log.warning(what)


def _collected() -> _Collected:
    found: dict[str, Metric] = {}
    try:
        for metric in REGISTRY.collect():
            found[metric.name] = metric
    except Exception as error:  # noqa: BLE001  # a collector of the service's may do anything
        return found, error
    return found, None
