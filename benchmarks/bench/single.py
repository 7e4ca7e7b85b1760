"""Figures that are no table of loads: starts, imports, and memory."""

import os
import re
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from statistics import median

from bench import wrk
from bench.processes import LOAD_CPU, memory_mb, tree
from bench.servers import NotServedError, Server, spanserve
from bench.tables import Sheet

IDLE_CONNECTIONS = (64, 256, 1024)
FIRST_CONNECTIONS = 768  # what start-up left free takes the first 512: they cost half
HEAVIEST = 5
RARE_REQUESTS = 300
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def starts(port: int, servers: Sequence[Server]) -> Sheet:
    """How long until the first answer, and what is resident then."""
    rows = []
    for number, server in enumerate(servers):
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
    timed = ["-X", "importtime", "-c", "import spanserve"]
    done = subprocess.run(
        [sys.executable, *timed], check=True, capture_output=True, text=True
    ).stderr
    total_us = int(done.splitlines()[-1].split("|")[1])
    probe = (
        "import sys, spanserve.server.worker, spanserve.cli\n"
        "print([m for m in ('opentelemetry.sdk', 'urllib3', 'grpc', 'thrift') if m in sys.modules])"
    )
    heavy = subprocess.run(
        [sys.executable, "-c", probe], check=True, capture_output=True, text=True
    ).stdout.strip()
    packages = ", ".join(f"{name} {us / 1e3:.0f} ms" for name, us in heaviest(done))
    rows = (
        ("import spanserve, ms", f"{total_us / 1e3:.0f}"),
        (f"of that, the {HEAVIEST} heaviest packages with what they import", packages),
        ("imported for nothing", heavy),
    )
    return Sheet("imports", "Imports", ("what", "figure"), rows)


def heaviest(report: str) -> list[tuple[str, int]]:
    """Return the packages whose import takes longest, with what they import, in microseconds.

    `report` is of Python's `-X importtime`, which names a module after those that it imports, and
    indents these. Modules of a package within the package count once.
    """
    total_us: dict[str, int] = defaultdict(int)
    above: list[str] = []
    for line in reversed(report.splitlines()):
        fields = line.removeprefix("import time:").split("|")
        if len(fields) != 3 or not fields[1].strip().isdecimal():  # noqa: PLR2004  # the header
            continue
        name = fields[2].strip()
        package = name.partition(".")[0]
        del above[(len(fields[2]) - len(fields[2].lstrip()) - 1) // 2 :]
        if package not in above:
            total_us[package] += int(fields[1])
        above.append(package)
    total_us.pop("spanserve", None)
    return sorted(total_us.items(), key=lambda each: -each[1])[:HEAVIEST]


def memory(port: int, runs: int) -> Sheet:
    """What idle connections and queued requests cost, as the median of some runs."""
    rows = []
    for count in IDLE_CONNECTIONS:
        figures = [_connections(port, count) for _ in range(runs)]
        idle_kib, queued_kib = (median(each) for each in zip(*figures, strict=True))
        rows.append((count, f"{idle_kib:.1f}", f"{queued_kib:.1f}"))
    columns = ("connections", "KiB an idle connection", "KiB a queued request")
    return Sheet("memory", "Memory that connections and queued requests take", columns, tuple(rows))


def _connections(port: int, count: int) -> tuple[float, float]:
    """Return the KiB that so many connections, and then their requests, take each."""
    with spanserve("accelerator").run(port) as up, ExitStack() as stack:

        def opened(count: int) -> list[socket.socket]:
            address = "127.0.0.1", port
            some = [stack.enter_context(socket.create_connection(address)) for _ in range(count)]
            time.sleep(0.5)
            return some

        wrk.drive(up.load(1, 1))
        opened(FIRST_CONNECTIONS)
        empty_mb = memory_mb([up.pid])
        idle = opened(count)
        idle_mb = memory_mb([up.pid])
        request = _request(port, up.body)
        for each in idle:
            each.sendall(request)
        busy_mb = max(_samples(up.pid, 20))
    return (idle_mb - empty_mb) * 1024 / count, (busy_mb - idle_mb) * 1024 / count


def _samples(pid: int, count: int) -> Iterator[float]:
    for _ in range(count):
        yield memory_mb([pid])
        time.sleep(0.005)


def _request(port: int, body: str) -> bytes:
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


def rare_ms(server: Server, port: int, pause_s: float) -> float:
    """Return the median latency of a client that pauses before each request, on its processor."""
    times_s = []
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CPU})
    try:
        with server.run(port) as up, socket.create_connection(("127.0.0.1", port)) as connection:
            request = _request(port, up.body)
            for _ in range(RARE_REQUESTS):
                time.sleep(pause_s)
                start_s = time.perf_counter()
                connection.sendall(request)
                _read_answer(connection)
                times_s.append(time.perf_counter() - start_s)
    finally:
        os.sched_setaffinity(0, before)
    return 1e3 * median(times_s)


def _read_answer(connection: socket.socket) -> None:
    """Read a whole answer, with less work than a library would make of it."""
    answer = b""
    while True:
        piece = connection.recv(65_536)
        if not piece:
            raise ConnectionResetError("the server left in the middle of an answer")
        answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length and len(body) == int(length[1]):
            return
