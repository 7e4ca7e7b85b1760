"""One cell of a table: some servers under the same load, by turns, and the medians of it.

The machine's speed changes from second to second, so servers take turns in short slices, and
a ratio is the median of the ratios within each round. Those whose turn it is not are stopped.
Where ratios near 1 matter, requests and CPU are counted in much shorter slices besides.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from statistics import median

from bench import wrk
from bench.interleaving import Sum, interleaved
from bench.processes import Meter, alone, memory_mb, stopped, tree
from bench.servers import ROW, NotServedError, Running, Server

_ENOUGH_ANSWERS = 3
_LONGEST_TURN = 5
_LATE_S = 0.3


@dataclass(frozen=True)
class Slice:
    """What one server did in one slice of time; CPU is per request, of the whole process tree.

    `is_short`: clients were left without any answer, so the latencies are of the lucky ones.
    """

    requests_a_second: float
    cpu_us: float
    median_us: float
    p99_us: float
    errors: int
    exporter_us: float = 0.0
    is_short: bool = False
    base: Sum | None = None
    """What the cell's first server did in the same round; nothing where it failed."""


@dataclass(frozen=True)
class Row:
    """A server in a cell; ratios are to the cell's first server, `why` tells of a failure."""

    server: str
    settings: str
    slices: tuple[Slice, ...] = ()
    peak_mb: float = 0.0
    spans_a_request: float = 0.0
    dropped_spans: float = 0.0
    why: str = ""

    def typical(self, figure: str) -> float:
        """Return the median of a figure over the rounds."""
        return median(getattr(each, figure) for each in self.slices) if self.slices else 0.0

    @staticmethod
    def of(sittings: "Sequence[Row]") -> "Row":
        """Return one row of a server that was started some times over."""
        for row in sittings:
            if row.why:
                return row
        return replace(
            sittings[0],
            slices=tuple(each for row in sittings for each in row.slices),
            peak_mb=max(row.peak_mb for row in sittings),
            spans_a_request=median(row.spans_a_request for row in sittings),
            dropped_spans=sum(row.dropped_spans for row in sittings),
        )

    def ratio(self, figure: str) -> float:
        """Return the median of a figure's ratios within each round; 0 without any."""
        return self._beside(figure, lambda own, other: own / max(other, 1e-9))

    @property
    def added_us(self) -> float:
        """What a request takes more than one to the first server."""
        return self._beside("cpu_us", lambda own, other: own - other)

    def _beside(self, figure: str, compared: Callable[[float, float], float]) -> float:
        both = [(each, each.base) for each in self.slices if each.base]
        pairs = [(getattr(own, figure), getattr(base, figure)) for own, base in both]
        return median(compared(*pair) for pair in pairs) if pairs else 0.0

    def beside(self, first: "Row") -> "Row":
        """Return it with ratios to the turns of another server, which was up by itself, too."""
        own = [replace(each, base=None) for each in self.slices]
        pairs = zip_longest(own, first.slices[: len(own)])
        return replace(self, slices=tuple(_with_base(*pair) for pair in pairs))

    @property
    def errors(self) -> int:
        """Answers that were none, in all rounds."""
        return sum(each.errors for each in self.slices)

    @property
    def is_short(self) -> bool:
        """Whether clients were left without any answer in any round."""
        return any(each.is_short for each in self.slices)


@dataclass(frozen=True)
class Turns:
    """How long to measure. A turn is longer where few answers come in it.

    `interleaved_s`: how many seconds of each round a server is driven in short slices, besides.
    """

    rounds: int
    seconds: float
    interleaved_s: float = 0.0


class Group:
    """Servers that are up together, with the reasons why others are not."""

    def __init__(
        self, servers: Sequence[Server], up: Mapping[int, Running], failures: Mapping[int, str]
    ) -> None:
        self._servers = servers
        self._up = up
        self._failures = failures

    def cell(self, connections: int, turns: Turns) -> list[Row]:
        """Drive all by turns, and return a row for each server."""
        courses = {
            number: _Course(up, connections, turns.seconds) for number, up in self._up.items()
        }
        pids = [each.pid for each in self._up.values()]
        for step in [_Course.warm_up, *[_Course.measure] * turns.rounds]:
            for course in courses.values():
                with alone(course.up.pid, pids):
                    course.run(step)
            if step is _Course.measure and turns.interleaved_s and 0 in courses:
                _refine([each for each in courses.values() if not each.why], turns.interleaved_s)
        base = courses[0].slices if 0 in courses else []
        return [
            courses[number].row(base)
            if number in courses
            else Row(server.name, server.settings, why=self._failures[number])
            for number, server in enumerate(self._servers)
        ]


@contextlib.contextmanager
def raised(servers: Sequence[Server], *, first_port: int, row: str = ROW) -> Iterator[Group]:
    """Start all servers, one after the other, and end them at exit."""
    with contextlib.ExitStack() as stack:
        up: dict[int, Running] = {}
        failures: dict[int, str] = {}
        for number, server in enumerate(servers):
            try:
                up[number] = stack.enter_context(server.run(first_port + number, row=row))
            except (NotServedError, OSError) as error:
                failures[number] = str(error)
        yield Group(servers, up, failures)


@dataclass
class _Course:
    """One server's way through a cell; it ends where the server does."""

    up: Running
    connections: int
    seconds: float
    slices: list[Slice] = field(default_factory=list)
    why: str = ""
    counted: tuple[float, float] = (0.0, 0.0)

    def run(self, step: Callable[["_Course"], None]) -> None:
        """Take a step, and wait until nothing of it is left in the server."""
        if self.why:
            return
        try:
            step(self)
            self.up.is_through()
        except (wrk.NoReportError, OSError) as error:
            self.why = f"failed: {error}"

    def warm_up(self) -> None:
        """Drive it for a moment that does not count, and see how long a slice has to be."""
        rate = self._driven(1).requests_a_second
        long_s = min(
            _ENOUGH_ANSWERS * self.connections / max(rate, 1), _LONGEST_TURN * self.seconds
        )
        self.seconds = max(self.seconds, round(long_s, 1))
        self.counted = self.up.spans()

    def measure(self) -> None:
        """Drive it for a slice, and keep what it did."""
        meter = Meter(self.up.pid)
        report = self._driven(self.seconds)
        if self.up.server.counts is not None:
            time.sleep(_LATE_S)  # what is exported late belongs to these requests, too
        used_us, exporters_us = (1e6 * each / max(report.requests, 1) for each in meter.read())
        self.slices.append(
            Slice(
                report.requests_a_second,
                used_us,
                report.median_us,
                report.p99_us,
                report.errors,
                exporters_us,
                is_short=report.requests < self.connections,
            )
        )

    def refine(self, told: Sum | wrk.NoReportError, base: Sum | wrk.NoReportError) -> None:
        """Let what it did in short slices take the place of what it did in its last turn."""
        if isinstance(told, wrk.NoReportError) or isinstance(base, wrk.NoReportError):
            self.why = f"failed: {told}, {base}"
            return
        self.slices[-1] = replace(self.slices[-1], **vars(told), base=base)
        self.up.is_through()

    def _driven(self, seconds: float) -> wrk.Report:
        return wrk.drive(self.up.load(self.connections, seconds))

    def row(self, base: Sequence[Slice]) -> Row:
        """Return what all slices say, beside those of the first server."""
        if self.why:
            return Row(self.up.server.name, self.up.server.settings, why=self.why)
        spans, items = (
            after - start for after, start in zip(self.up.spans(), self.counted, strict=True)
        )
        beside = zip_longest(self.slices, base[: len(self.slices)])  # the first may have failed
        return Row(
            self.up.server.name,
            self.up.server.settings,
            tuple(_with_base(own, other) for own, other in beside),
            memory_mb(tree(self.up.pid), "VmHWM"),
            spans / items if items else 0.0,
            self.up.dropped_spans() if spans else 0.0,
        )


def _refine(courses: Sequence[_Course], seconds: float) -> None:
    first, *others = courses
    for course in others:
        idle = [each.up.pid for each in others if each is not course]
        with stopped([pid for each in idle for pid in tree(each)]):
            base, told = interleaved([first.up, course.up], course.connections, seconds)
            first.refine(base, base)
            course.refine(told, base)


def _with_base(own: Slice, other: Slice | None) -> Slice:
    if own.base is not None or other is None:
        return own
    base = Sum(other.requests_a_second, other.cpu_us, other.exporter_us)
    return replace(own, base=base)
