"""One cell of a table: some servers under the same load, by turns, and the medians of it.

The machine's speed changes from second to second, so servers take turns in short slices, and
a ratio is the median of the ratios within each round. Those whose turn it is not are stopped.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench import wrk
from bench.processes import alone, cpu_s, memory_mb, tree
from bench.servers import ROW, NotServedError, Running, Server


@dataclass(frozen=True)
class Slice:
    """What one server did in one slice of time; per request of the whole process tree."""

    requests_a_second: float
    cpu_us: float
    median_us: float
    p99_us: float
    errors: int


@dataclass(frozen=True)
class Row:
    """A server in a cell; ratios are to the cell's first server, `why` tells of a failure."""

    server: str
    settings: str
    slices: tuple[Slice, ...] = ()
    throughput_ratio: float = 0.0
    cpu_ratio: float = 0.0
    peak_mb: float = 0.0
    spans_a_request: float = 0.0
    dropped_spans: float = 0.0
    why: str = ""

    def typical(self, field: str) -> float:
        """Return the median of a figure over the rounds."""
        return median(getattr(each, field) for each in self.slices) if self.slices else 0.0

    @property
    def errors(self) -> int:
        """Answers that were none, in all rounds."""
        return sum(each.errors for each in self.slices)

    def plain(self) -> dict[str, Any]:
        """Return this as JSON holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Turns:
    """How long to measure."""

    rounds: int
    seconds: float


def measured(
    servers: Sequence[Server],
    *,
    connections: int,
    turns: Turns,
    first_port: int,
    row: str = ROW,
) -> list[Row]:
    """Run all servers, drive them by turns, and return a row each."""
    with contextlib.ExitStack() as stack:
        up: dict[int, Running] = {}
        failures: dict[int, str] = {}
        for number, server in enumerate(servers):
            try:
                up[number] = stack.enter_context(server.run(first_port + number, row=row))
            except (NotServedError, OSError) as error:
                failures[number] = str(error)
        slices: dict[int, list[Slice]] = {number: [] for number in up}
        pids = [each.pid for each in up.values()]
        for each in up.values():
            with alone(each.pid, pids):
                warm_up(each, connections)
        counted = {number: _spans(each) for number, each in up.items()}
        for _ in range(turns.rounds):
            for number, each in up.items():
                with alone(each.pid, pids):
                    slices[number].append(_slice(each, connections, turns.seconds))
        rows = []
        for number, server in enumerate(servers):
            if number in failures:
                rows.append(Row(server.name, server.settings, why=failures[number]))
                continue
            rows.append(_row(up[number], slices[number], slices.get(0, []), counted[number]))
        return rows


def warm_up(up: Running, connections: int) -> None:
    """Drive it for a moment that does not count."""
    wrk.drive(wrk.Load(up.url, up.body, connections, 1))


def _slice(up: Running, connections: int, seconds: float) -> Slice:
    pids = tree(up.pid)
    start_s = cpu_s(pids)
    report = wrk.drive(wrk.Load(up.url, up.body, connections, seconds))
    time.sleep(0.3)  # what is exported late belongs to these requests, too
    used_us = (cpu_s(pids) - start_s) * 1e6
    requests = max(report.requests, 1)
    return Slice(
        report.requests_a_second,
        used_us / requests,
        report.median_us,
        report.p99_us,
        report.errors,
    )


def _spans(up: Running) -> tuple[float, float]:
    """Return the spans and the requests that ours has counted so far."""
    if not up.server.name.startswith("spanserve") or "off" in up.server.settings:
        return 0.0, 0.0
    return up.metric("spanserve_spans_recorded_total"), up.metric("spanserve_batch_size_sum")


def _row(
    up: Running, slices: Sequence[Slice], base: Sequence[Slice], counted: tuple[float, float]
) -> Row:
    spans, items = (after - start for after, start in zip(_spans(up), counted, strict=True))
    pairs = list(zip(slices, base or slices, strict=True))
    dropped = up.metric("spanserve_spans_dropped_total") if spans else 0.0
    return Row(
        up.server.name,
        up.server.settings,
        tuple(slices),
        median(a.requests_a_second / max(b.requests_a_second, 1e-9) for a, b in pairs),
        median(a.cpu_us / max(b.cpu_us, 1e-9) for a, b in pairs),
        memory_mb(tree(up.pid), "VmHWM"),
        spans / items if items else 0.0,
        dropped,
    )
