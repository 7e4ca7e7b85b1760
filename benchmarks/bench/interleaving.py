"""Two servers under load in slices of a fifth of a second, by turns and many times over.

The machine's speed changes within seconds, by a factor of two and more, and much less within a
fifth of one. So what two servers do in such slices can be compared to a few per cent. How long a
single answer took cannot be told: some wait for their next slice. Nor may a slice be shorter, or
the pause before the next much longer: at each, an exporter's thread finds that its time has come,
and sends what there is, in a call of its own.
"""

import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from bench import wrk
from bench.processes import Meter, send, stopped, tree
from bench.servers import Running

_SLICE_S: Final = 0.2


@dataclass(frozen=True)
class Sum:
    """What one server did in all of its slices; CPU is per request, as in `cells.Slice`."""

    requests_a_second: float
    cpu_us: float
    exporter_us: float


def interleaved(
    servers: Sequence[Running], connections: int, seconds: float
) -> list[Sum | wrk.NoReportError]:
    """Drive each for so many seconds in all, and return what it did, or why that is not known."""
    with ExitStack() as stack:
        trees = [tree(up.pid) for up in servers]
        stack.enter_context(stopped([pid for pids in trees for pid in pids]))
        courses = []
        for up, pids in zip(servers, trees, strict=True):
            load = stack.enter_context(wrk.endless(up.load(connections, seconds)))
            courses.append(_Course(pids, Meter(up.pid), load))
        for number in range(round(seconds / _SLICE_S)):
            for course in courses if number % 2 else reversed(courses):  # a b, b a, a b, …
                course.go_on()
        return [course.result() for course in courses]


class _Course:
    """One server's slices, and those of its load."""

    def __init__(self, pids: list[int], meter: Meter, load: subprocess.Popen[str]) -> None:
        self._pids = [load.pid, *pids]
        self._meter = meter
        self._load = load
        self._active_s = 0.0
        send([load.pid], signal.SIGSTOP)

    def go_on(self) -> None:
        """Run for a slice."""
        start_s = time.perf_counter()
        send(self._pids, signal.SIGCONT)
        time.sleep(_SLICE_S)
        send(self._pids, signal.SIGSTOP)
        self._active_s += time.perf_counter() - start_s

    def result(self) -> Sum | wrk.NoReportError:
        """End the load, while the server is stopped."""
        used = self._meter.read()
        send([self._load.pid], signal.SIGCONT)
        try:
            report = wrk.ended(self._load)
        except wrk.NoReportError as error:
            return error
        used_us, exporters_us = (1e6 * each / max(report.requests, 1) for each in used)
        return Sum(report.requests / self._active_s, used_us, exporters_us)
