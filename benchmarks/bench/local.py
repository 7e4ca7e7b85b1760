"""The local tracer: what its file takes, what it answers how soon, and what it costs a server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from bench.processes import SERVER_CPU
from bench.servers import HERE
from bench.tables import Sheet

PROGRAM = str(HERE / "services" / "local_store.py")
GOAL_SPANS = 500_000
GOAL_MS = 200


def local(seconds: float) -> Iterator[Sheet]:
    """Measure the writing on one processor, and the reading while a server writes on two."""
    rates = _figures(["taskset", "-c", str(SERVER_CPU)], "ingest", seconds)
    rows = [(name, f"{rate / 1e3:,.0f},000", f"{1e6 / rate:.2f}") for name, rate in rates.items()]
    title = f"Written to the file, by one processor (goal: {GOAL_SPANS:,} spans a second)"
    yield Sheet("local-ingest", title, ("what", "spans a second", "CPU µs a span"), tuple(rows))
    told = _figures([], "api", 10 * seconds)
    times = [(name, f"{median:.0f}", f"{p95:.0f}") for name, (median, p95) in told["times"].items()]
    megabytes = told["bytes"] / 1e6
    title = (
        f"Answers from 100,000 traces with custom spans and texts ({megabytes:.1f} MB) while a "
        f"server writes (goal: {GOAL_MS} ms)"
    )
    yield Sheet("local-api", title, ("question", "median ms", "95 % ms"), tuple(times))


def _figures(before: list[str], what: str, seconds: float) -> Any:
    command = [*before, sys.executable, PROGRAM, what, str(seconds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)
