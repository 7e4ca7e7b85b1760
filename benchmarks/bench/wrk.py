"""The closed-loop load: wrk, and what it reports."""

import math
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, NamedTuple

from bench.processes import LOAD_CPU

_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}
_ENDLESS_S: Final = 3600
_CALLED: Final = """
local head, tail
local calls = 0
function init(_)
  wrk.headers['traceparent'] = '00-4bf92f3577b34da6a3ce929dCALLED00-00f067aa0ba902b7-01'
  head, tail = string.match(wrk.format(), '(.*)CALLED(.*)')
end
function request()
  calls = calls + 1
  return head .. string.format('%06x', calls % 0x1000000) .. tail
end
"""


class Load(NamedTuple):
    """What to send, and how: `connections` clients that each wait for their answer.

    wrk knows whole seconds only. `called`: each request says that another span calls.
    """

    url: str
    body: str
    connections: int
    seconds: float
    called: bool = False
    headers: Mapping[str, str] = MappingProxyType({})


class Report(NamedTuple):
    """What wrk saw; latencies in microseconds.

    `errors` counts answers that are none, which the requests and their rate leave out.
    """

    requests: int
    requests_a_second: float
    median_us: float
    p99_us: float
    errors: int


class NoReportError(ValueError):
    """wrk said nothing of use: as a rule, the server is gone."""


def check() -> None:
    """Raise SystemExit where there is no wrk."""
    if shutil.which("wrk") is None:
        raise SystemExit("the benchmark needs wrk; on Debian: apt-get install wrk")


def drive(load: Load) -> Report:
    """Run wrk on its own processor."""
    with _started(load, math.ceil(load.seconds)) as process:
        return read(process.communicate()[0])


@contextmanager
def endless(load: Load) -> Iterator[subprocess.Popen[str]]:
    """Run wrk on its own processor until `ended`, or killed at exit."""
    with _started(load, _ENDLESS_S) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> Report:
    """End a load, and return its report; raises NoReportError."""
    # It sleeps on its first thread, and must be awake for the signal to end that sleep.
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    return read(process.communicate()[0])


@contextmanager
def _started(load: Load, seconds: int) -> Iterator[subprocess.Popen[str]]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n"
            f"wrk.body = '{load.body}'\n"
        )
        for name, value in load.headers.items():
            script.write(f"wrk.headers['{name}'] = '{value}'\n")
        if load.called:
            script.write(_CALLED)
        script.flush()
        command = ["taskset", "-c", str(LOAD_CPU), "wrk", "-t1", f"-c{load.connections}"]
        command += [f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", script.name, load.url]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            yield process


def read(output: str) -> Report:
    """Read wrk's report."""
    requests = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if requests is None or rate is None:
        first = output.strip().partition("\n")[0]
        raise NoReportError(f"this is no report of wrk: {first!r}")
    answers, refused = int(requests[1]), _count(r"Non-2xx or 3xx responses: (\d+)", output)
    return Report(
        answers - refused,
        float(rate[1]) * (answers - refused) / max(answers, 1),
        _percentile(output, 50),
        _percentile(output, 99),
        refused + _count(r"Socket errors: (.*)", output),
    )


def _percentile(output: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0


def _count(pattern: str, output: str) -> int:
    """Return the sum of all numbers in what the pattern finds."""
    found = re.search(pattern, output)
    return sum(map(int, re.findall(r"\d+", found[1]))) if found else 0
