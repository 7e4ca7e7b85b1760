"""The closed-loop load: wrk, and what it reports."""

import re
import shutil
import subprocess
import tempfile
from typing import NamedTuple

from bench.processes import LOAD_CPU

_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


class Load(NamedTuple):
    """What to send, and how: `connections` clients that each wait for their answer."""

    url: str
    body: str
    connections: int
    seconds: float


class Report(NamedTuple):
    """What wrk saw; latencies in microseconds. `errors` counts answers that are none."""

    requests: int
    requests_a_second: float
    median_us: float
    p99_us: float
    errors: int


def check() -> None:
    """Raise SystemExit where there is no wrk."""
    if shutil.which("wrk") is None:
        raise SystemExit("the benchmark needs wrk; on Debian: apt-get install wrk")


def drive(load: Load) -> Report:
    """Run wrk on its own processor."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n"
            f"wrk.body = '{load.body}'\n"
        )
        script.flush()
        command = ["taskset", "-c", str(LOAD_CPU), "wrk", "-t1", f"-c{load.connections}"]
        command += [f"-d{load.seconds:g}s", "--timeout", "30s", "--latency", "-s", script.name]
        output = subprocess.run([*command, load.url], capture_output=True, text=True, check=True)
    return read(output.stdout)


def read(output: str) -> Report:
    """Read wrk's report."""
    requests = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if requests is None or rate is None:
        raise ValueError(f"this is no report of wrk: {output!r}")
    return Report(
        int(requests[1]),
        float(rate[1]),
        _percentile(output, 50),
        _percentile(output, 99),
        _errors(output),
    )


def _percentile(output: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0


def _errors(output: str) -> int:
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    sockets = re.search(r"Socket errors: (.*)", output)
    counts = re.findall(r"\d+", sockets[1]) if sockets else []
    return (int(bad[1]) if bad else 0) + sum(map(int, counts))
