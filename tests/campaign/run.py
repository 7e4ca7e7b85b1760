"""A campaign: scenario after scenario beside ordinary clients, against one real server."""

import asyncio
import random
import re
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from campaign.clients import Ordinary, ordinary
from campaign.scenarios import Field, Scenario, quiet
from campaign.sink import Sink
from support.serving import metrics_of, subprocess_server

SERVICE = Path(__file__).parent / "service.py"
CLIENTS, PAUSE_S = 8, 0.02


@dataclass(frozen=True)
class Row:
    """What ordinary clients saw of a scenario, and the server's memory after it."""

    name: str
    found: Ordinary
    memory_mib: int


@dataclass(frozen=True)
class Result:
    """What became of a campaign."""

    rows: Sequence[Row]
    spans: dict[str, int]
    """Recorded, delivered and so on by the server's metrics; received by the backend."""
    memory_mib: tuple[int, int, int]
    """At the start, at most, at the end."""
    exit_code: int

    @property
    def failed(self) -> int:
        """Return how many requests failed that should not have."""
        return sum(row.found.failed.total() for row in self.rows)

    @property
    def lost(self) -> int:
        """Return how many spans nobody knows of: neither delivered, nor dropped, nor waiting."""
        return self.spans["recorded"] - sum(
            self.spans[name] for name in ("delivered", "dropped", "waiting")
        )

    @property
    def control_ms(self) -> float:
        """Return the 99th percentile with which others are compared."""
        quiet = [row.found.p99_ms() for row in self.rows if row.name == "quiet"]
        return statistics.median(quiet) if quiet else float("nan")


def campaign(
    scenarios: Sequence[Scenario], seconds: float, seed: int, tell: Callable[[str], None]
) -> Result:
    """Run the scenarios, each for so many seconds; `tell` hears which begins."""
    with Sink() as sink:
        env = {
            "SPANSERVE__TRACING__TYPE": "zipkin",
            "SPANSERVE__TRACING__ZIPKIN__URL": sink.url,
        }
        with subprocess_server(str(SERVICE), env=env) as server:
            field = Field(
                int(server.url.rpartition(":")[2]), server.process.pid, sink, random.Random(seed)
            )
            asyncio.run(_one(field, quiet, 1.0))
            start = _memory_mib(field.pid, "VmRSS")
            rows = []
            for scenario in scenarios:
                tell(scenario.__name__)
                found = asyncio.run(_one(field, scenario, seconds))
                rows.append(Row(scenario.__name__, found, _memory_mib(field.pid, "VmRSS")))
            asyncio.run(_one(field, quiet, 1.0))
            spans = _spans(f"{server.url}/metrics")
            memory = start, _memory_mib(field.pid, "VmHWM"), _memory_mib(field.pid, "VmRSS")
            code = server.stop(signal.SIGTERM)
        return Result(rows, {**spans, "received": sink.spans}, memory, code)


async def _one(field: Field, scenario: Scenario, seconds: float) -> Ordinary:
    found, stop = Ordinary(), asyncio.Event()
    clients = [
        asyncio.create_task(ordinary(field.port, found, stop, pause_s=PAUSE_S))
        for _ in range(CLIENTS)
    ]
    fault = asyncio.create_task(_going_on(scenario, field))
    await asyncio.wait((fault,), timeout=seconds)
    fault.cancel()
    with suppress(asyncio.CancelledError):
        await fault
    stop.set()
    await asyncio.gather(*clients)
    return found


async def _going_on(scenario: Scenario, field: Field) -> None:
    await scenario(field)


def _spans(url: str) -> dict[str, int]:
    """Return the counts of spans, once hardly any wait."""
    found: dict[str, float] = {}
    for _ in range(200):
        found = metrics_of(httpx.get(url).text)
        if not _sum(found, "spanserve_spans_waiting"):
            break
        time.sleep(0.05)
    return {
        "recorded": _sum(found, "spanserve_spans_recorded_total"),
        "delivered": _sum(found, "spanserve_spans_exported_total"),
        "dropped": _sum(found, "spanserve_spans_dropped_total"),
        "waiting": _sum(found, "spanserve_spans_waiting"),
    }


def _sum(found: dict[str, float], name: str) -> int:
    return int(sum(value for key, value in found.items() if key.partition("{")[0] == name))


def _memory_mib(pid: int, which: str) -> int:
    """Return what a process takes (VmRSS) or took at most (VmHWM); 0 where Linux is not."""
    file = Path(f"/proc/{pid}/status")
    if not file.exists():
        return 0
    number = re.search(rf"{which}:\s+(\d+)", file.read_text(encoding="ascii"))
    return int(number[1]) // 1024 if number else 0
