"""What a request costs, and what tracing adds: ratios from one run on one machine.

Needs `wrk`, two processors, and Linux's /proc. Each row is a server of its own on the first
processor, driven by wrk on the second; the rows take turns, and the median of the rounds
counts. Absolute figures are those of this machine; quote the ratios.

    python benchmarks/overhead.py [--rounds 3] [--seconds 5] [--connections 64] [--only WORDS]
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ECHO = [sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "warning"]
SERVE = [sys.executable, "-m", "spanserve", "serve"]
BODY = "[" + ",".join(["0.5"] * 64) + "]"
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Row:
    """A server to measure; `base` names the row that its ratios refer to."""

    name: str
    model: str | None
    tracing: str
    base: str
    sink: str | None = None


ZIPKIN = "tracing: {type: zipkin, zipkin: {url: 'http://127.0.0.1:19411/api/v2/spans'}}"
JAEGER = "tracing: {type: jaeger, jaeger: {address: 127.0.0.1, port: 16831}}"
ROWS = (
    Row("echo", None, "", "echo"),
    Row("noop, off", "Noop", "", "echo"),
    Row("noop, zipkin", "Noop", ZIPKIN, "noop, off", "zipkin"),
    Row("noop, zipkin dead", "Noop", ZIPKIN, "noop, off"),
    Row("noop, jaeger udp", "Noop", JAEGER, "noop, off"),
    Row("noop on thread, off", "NoopOnThread", "", "echo"),
    Row("noop on thread, zipkin", "NoopOnThread", ZIPKIN, "noop on thread, off", "zipkin"),
    Row("10 ms + 0.1 ms, off", "Accelerator", "", "10 ms + 0.1 ms, off"),
    Row("10 ms + 0.1 ms, zipkin", "Accelerator", ZIPKIN, "10 ms + 0.1 ms, off", "zipkin"),
)


@dataclass(frozen=True)
class Sample:
    """One round of one row; times in microseconds."""

    requests_a_second: float
    cpu_us: float
    median_us: float
    p99_us: float


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=int, default=5)
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--only", default="", help="rows whose name has these words")
    given = options.parse_args()
    rows = [row for row in ROWS if given.only in row.name]
    samples: dict[str, list[Sample]] = {row.name: [] for row in rows}
    for _ in range(given.rounds):
        for row in rows:
            samples[row.name].append(measured(row, given.seconds, given.connections))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    report(rows, {name: median_of(taken) for name, taken in samples.items()})


def report(rows: list[Row], medians: dict[str, Sample]) -> None:
    """Print the table."""
    print(f"{'':24}{'req/s':>8}{'CPU us':>8}{'p50 us':>8}{'p99/p50':>8}  ratio to base")
    for row in rows:
        own, base = medians[row.name], medians.get(row.base)
        ratio = ""
        if base is not None and row.base != row.name:
            throughput = own.requests_a_second / base.requests_a_second
            cpu = own.cpu_us / base.cpu_us
            ratio = f"{throughput:.3f} throughput, {cpu:.2f} CPU ({row.base})"
        print(
            f"{row.name:24}{own.requests_a_second:8.0f}{own.cpu_us:8.1f}{own.median_us:8.0f}"
            f"{own.p99_us / own.median_us:8.2f}  {ratio}"
        )


def median_of(samples: list[Sample]) -> Sample:
    """Return the median of each figure."""
    columns = zip(*(vars(sample).values() for sample in samples), strict=True)
    return Sample(*(statistics.median(column) for column in columns))


def measured(row: Row, seconds: int, connections: int) -> Sample:
    """Serve a row and drive it."""
    with sink(row), server(row) as (port, pid):
        drive(port, 1, connections)
        before = cpu_ticks(pid)
        output = drive(port, seconds, connections)
        ticks = cpu_ticks(pid) - before
    return read_wrk(output, ticks)


def drive(port: int, seconds: int, connections: int) -> str:
    """Run wrk on the second processor."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'POST'\nwrk.body = '{BODY}'\n")
        script.flush()
        wrk = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
        wrk += ["-s", script.name, f"http://127.0.0.1:{port}/predict"]
        return subprocess.run(wrk, check=True, capture_output=True, text=True).stdout


def read_wrk(output: str, ticks: int) -> Sample:
    """Read wrk's report; an error in it ends the benchmark."""
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(output)
    requests = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]  # wrk's report
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])  # type: ignore[index]  # ditto
    cpu_us = ticks / TICKS_A_SECOND / requests * 1e6
    return Sample(rate, cpu_us, percentile(output, 50), percentile(output, 99))


def percentile(output: str, percent: int) -> float:
    """Read one line of wrk's latency distribution, in microseconds."""
    number, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", output).groups()  # type: ignore[union-attr]  # ditto
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


@contextmanager
def server(row: Row) -> Iterator[tuple[int, int]]:
    """Run the row's server on the first processor."""
    port = 18000
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as config:
        config.write(row.tracing)
        config.flush()
        command = [*ECHO, "--port", str(port), "--app-dir", str(HERE / "services"), "echo:app"]
        if row.model is not None:
            target = f"{HERE / 'services' / 'models.py'}:{row.model}"
            command = [*SERVE, target, "--port", str(port), "--config", config.name]
        command = ["taskset", "-c", "0", *command]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                wait_until_served(port)
                yield port, process.pid
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


@contextmanager
def sink(row: Row) -> Iterator[None]:
    """Run what takes the spans, on the second processor: it reads and answers 202."""
    if row.sink is None:
        yield
        return
    command = ["taskset", "-c", "1", sys.executable, str(HERE / "services" / "sink.py"), "19411"]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


def wait_until_served(port: int, deadline_s: float = 30) -> None:
    """Ask until the model answers."""
    end = time.monotonic() + deadline_s
    url = f"http://127.0.0.1:{port}/predict"
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, BODY.encode(), timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"no server on port {port} within {deadline_s} s")


def cpu_ticks(pid: int) -> int:
    """Return the processor time of a process with all its threads, and of its children."""
    ticks = 0
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        ticks += sum(cpu_ticks(int(child)) for child in children.read_text().split())
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ticks + int(fields[11]) + int(fields[12])


if __name__ == "__main__":
    main()
