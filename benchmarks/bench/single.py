"""Figures that are no table of loads: open loops, starts, and memory."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench import wrk
from bench.processes import LOAD_CPU, memory_mb, tree
from bench.servers import HERE, NotServedError, echo, peers, spanserve

SHARES = (0.3, 0.6, 0.9)
IDLE_CONNECTIONS = (64, 256, 1024)


@dataclass(frozen=True)
class Sheet:
    """A table of other columns."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def open_loops(port: int, seconds: float) -> Sheet:
    """Poisson arrivals at shares of the capacity: what a closed loop of 256 clients gets."""
    rows = []
    with spanserve("accelerator").run(port) as up:
        capacity = wrk.drive(wrk.Load(up.url, up.body, 256, 4)).requests_a_second
        for share in SHARES:
            command = ["taskset", "-c", str(LOAD_CPU), sys.executable]
            command += [str(HERE / "services" / "poisson.py"), "127.0.0.1", str(port), up.body]
            command += [str(share * capacity), str(seconds), "1"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            got = json.loads(done.stdout)
            rate = f"{share * capacity:.0f}"
            latencies = (f"{got[key]:.1f}" for key in ("mean_ms", "p50_ms", "p99_ms"))
            rows.append(
                (f"{share:.0%}", rate, *latencies, got["sent"] - got["answered"], got["late"])
            )
    columns = ("of capacity", "req/s", "mean ms", "median ms", "p99 ms", "failed", "sent late")
    title = "Open loop: Poisson arrivals at the model of 10 ms a batch (max_latency_ms 100)"
    return Sheet("open-loop", title, columns, tuple(rows))


def starts(port: int, wanted: Sequence[str]) -> Sheet:
    """How long until the first answer, and what is resident then."""
    rows = []
    servers = [echo(), spanserve("noop"), *peers("noop")]
    for number, server in enumerate(each for each in servers if not wanted or each.name in wanted):
        began = time.monotonic()
        try:
            with server.run(port + number) as up:
                rows.append(
                    (server.name, f"{time.monotonic() - began:.2f}", f"{_settled_mb(up.pid):.0f}")
                )
        except NotServedError as error:
            rows.append((server.name, str(error), ""))
    columns = ("server", "s to the first answer", "MB resident")
    return Sheet("starts", "Start: processor 0 alone, caches warm", columns, tuple(rows))


def _settled_mb(pid: int) -> float:
    time.sleep(0.5)
    return memory_mb(tree(pid))


def imports() -> Sheet:
    """How long an import takes, and what a server without tracing has imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import spanserve"],
        check=True,
        capture_output=True,
        text=True,
    )
    total_us = int(done.stderr.splitlines()[-1].split("|")[1])
    probe = (
        "import sys, spanserve.server.worker, spanserve.cli\n"
        "print([m for m in ('opentelemetry.sdk', 'urllib3', 'grpc', 'thrift') if m in sys.modules])"
    )
    heavy = subprocess.run(
        [sys.executable, "-c", probe], check=True, capture_output=True, text=True
    ).stdout.strip()
    rows = (("import spanserve, ms", f"{total_us / 1e3:.0f}"), ("imported for nothing", heavy))
    return Sheet("imports", "Imports", ("what", "figure"), rows)


def connections(port: int) -> Sheet:
    """What idle connections and queued requests cost in memory."""
    rows = []
    for count in IDLE_CONNECTIONS:
        with spanserve("accelerator").run(port) as up, ExitStack() as stack:
            wrk.drive(wrk.Load(up.url, up.body, 1, 1))
            empty_mb = memory_mb([up.pid])
            idle = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                for _ in range(count)
            ]
            time.sleep(0.5)
            idle_mb = memory_mb([up.pid])
            request = _request(port, up.body)
            for each in idle:
                each.sendall(request)
            busy_mb = max(_samples(up.pid, 20))
        rows.append(
            (
                count,
                f"{(idle_mb - empty_mb) * 1024 / count:.1f}",
                f"{(busy_mb - idle_mb) * 1024 / count:.1f}",
            )
        )
    columns = ("connections", "KiB an idle connection", "KiB a queued request")
    return Sheet("memory", "Memory that connections and queued requests take", columns, tuple(rows))


def _samples(pid: int, count: int) -> Iterator[float]:
    for _ in range(count):
        yield memory_mb([pid])
        time.sleep(0.005)


def _request(port: int, body: str) -> bytes:
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()
