"""Requests that come when they come: ours, beside the best fixed wait that a search finds."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from bench import wrk
from bench.cells import Turns
from bench.processes import LOAD_CPU, alone
from bench.servers import HERE, Running, Server, spanserve
from bench.tables import Sheet

SHARES = (0.3, 0.6, 0.9)
WAITS_MS = (0, 1, 2, 5, 10, 20)
MAX_LATENCY_MS = 100  # as services/models.py has it

COLUMNS = (
    "of capacity",
    "req/s",
    "mean ms",
    "best fixed wait",
    "its mean ms",
    "mean / its mean",
    "median ms",
    "p99 ms",
    "p99 / max_latency_ms",
    "failed",
    "sent late",
)

Got = dict[str, float]


def open_loops(port: int, turns: Turns) -> Sheet:
    """Poisson arrivals at shares of the capacity: what a closed loop of 256 clients gets.

    Ours and all the waits see the same arrivals, by turns.
    """
    servers = [spanserve("accelerator"), *map(_fixed, WAITS_MS)]
    with contextlib.ExitStack() as stack:
        up = [
            stack.enter_context(server.run(port + number)) for number, server in enumerate(servers)
        ]
        with alone(up[0].pid, [each.pid for each in up]):
            capacity = wrk.drive(up[0].load(256, 4 * turns.seconds)).requests_a_second
        rows = tuple(_row(share, share * capacity, up, turns) for share in SHARES)
    title = (
        f"Open loop: Poisson arrivals at the model of 10 ms a batch (max_latency_ms "
        f"{MAX_LATENCY_MS}), fixed waits of {', '.join(map(str, WAITS_MS))} ms"
    )
    return Sheet("open-loop", title, COLUMNS, rows)


def _fixed(wait_ms: int) -> Server:
    """Return ours with a policy that always waits so long."""
    ours = spanserve("accelerator", name=f"waits {wait_ms} ms")
    module = ours.command.index("spanserve")  # python -m spanserve ...
    program = [sys.executable, str(HERE / "services" / "fixed_wait.py"), str(wait_ms)]
    return replace(ours, command=[*program, *ours.command[module + 1 :]])


def _row(share: float, rate: float, up: Sequence[Running], turns: Turns) -> tuple[str, ...]:
    """Search the best wait for a rate, and show ours beside it."""
    pids = [each.pid for each in up]
    got: list[list[Got]] = [[] for _ in up]
    for seed in range(max(1, turns.rounds // 3) + 1):
        for each, loops in zip(up, got, strict=True):
            with alone(each.pid, pids):
                # The first is short and teaches the policy the rate.
                loops.append(_loop(each, rate, (4 if seed else 1) * turns.seconds, seed))
    ours, *fixed = (loops[1:] for loops in got)
    best = min(range(len(fixed)), key=lambda number: _mean(fixed[number]))
    pairs = zip(ours, fixed[best], strict=True)
    ratio = median(own["mean_ms"] / other["mean_ms"] for own, other in pairs)
    p99_ms = median(each["p99_ms"] for each in ours)
    return (
        f"{share:.0%}",
        f"{rate:.0f}",
        f"{_mean(ours):.1f}",
        f"{WAITS_MS[best]} ms",
        f"{_mean(fixed[best]):.1f}",
        f"{ratio:.2f}",
        f"{median(each['p50_ms'] for each in ours):.1f}",
        f"{p99_ms:.1f}",
        f"{p99_ms / MAX_LATENCY_MS:.2f}",
        f"{sum(each['sent'] - each['answered'] for each in ours):.0f}",
        f"{sum(each['late'] for each in ours):.0f}",
    )


def _mean(loops: Sequence[Got]) -> float:
    return median(each["mean_ms"] for each in loops)


def _loop(up: Running, rate: float, seconds: float, seed: int) -> Got:
    """Send at a rate; a server that cannot keep up is as slow as can be."""
    port = up.url.removesuffix(up.server.path).rpartition(":")[2]
    command = ["taskset", "-c", str(LOAD_CPU), sys.executable]
    command += [str(HERE / "services" / "poisson.py"), "127.0.0.1", port, up.body]
    command += [str(rate), str(seconds), str(seed)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        endless = dict.fromkeys(("mean_ms", "p50_ms", "p99_ms"), float("inf"))
        return {**endless, "sent": rate * seconds, "answered": 0, "late": 0}
    got: Got = json.loads(done.stdout)
    return got
