"""Spans of the user's code that end, or begin, after their trace has left.

A task, a thread or a generator may outlive its request. Its spans keep their ids and times, and
go out when they end, in a small record of the same trace. A record says itself that it left
(`left_ns`) before it looks what spans it has, and whoever opens or ends a span looks for that
afterwards: of two threads that race, one sees what the other did. So a record without custom spans
needs no lock.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from spanserve.tracing.model.failure import failure_of
from spanserve.tracing.recording.base import CUSTOMS, MAX_CUSTOM_SPANS, Record, Scope
from spanserve.tracing.recording.custom import CustomSpan
from spanserve.tracing.recording.startup import StartupRecord
from spanserve.tracing.recording.table import Table, pack_late, pack_startup
from spanserve.tracing.scope import entered

log = logging.getLogger(__name__)

MAX_OPEN: Final = 10_000
"""Late spans that may be open in a process; one more, and the oldest goes out as unfinished."""

LATE_FOR_NS: Final = 3_600 * 1_000_000_000
"""How long a trace takes late spans; what is open then goes out as unfinished."""

_LOOK_EVERY_S: Final = 1.0

Late = tuple[Record, CustomSpan]


class LateSpans:
    """What goes out after its trace, of one gate.

    `submit` takes frozen records, on the event loop where there is one; `lose` counts spans that
    are beyond the bounds, on any thread.
    """

    def __init__(
        self,
        now_ns: Callable[[], int],
        submit: Callable[[Table], None],
        lose: Callable[[int], None],
    ) -> None:
        self._now_ns = now_ns
        self._submit = submit
        self._lose = lose
        self._open: dict[CustomSpan, Record] = {}
        self._ready: list[Late] = []
        self._startups: list[StartupRecord] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_called = False
        self._is_stopped = False
        self._said = False

    def start(self) -> None:
        """Let spans go out on the running event loop; without one they wait for `stop`."""
        with suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()

    def left(self, record: Record) -> None:
        """Part the custom spans of a record that has just left: what is open will be late."""
        with CUSTOMS:
            customs = [each for each in tuple(record.custom_spans) if not each.is_late]
            finished = []
            for each in customs:
                if each.ended_ns:  # looked at once: it may end now
                    finished.append(each)
                else:
                    self._opened(record, each)
            record.finished = finished
            called = self._calls() if self._open else False
        if called:
            self._call()

    def began(self, record: Record, span: CustomSpan) -> None:
        """Take a span that begins after its record has left, if there is room for it."""
        with CUSTOMS:
            if span.is_lost or self._is_over(record) or self._is_stopped:
                span.lose()
            else:
                self._opened(record, span)
            called = self._calls()
        if span.is_lost:
            self._said_lost(record)
        if called:
            self._call()

    def ended(self, span: CustomSpan) -> None:
        """Let a span go that ended after its record left, unless it did so with it."""
        with CUSTOMS:
            record = self._open.pop(span, None)
            if record is None:
                return
            self._ready.append((record, span))
            called = self._calls()
        if called:
            self._call()

    @contextmanager
    def starting(self, record: StartupRecord, scope: Scope | None) -> Iterator[None]:
        """Run the code of a start in this scope of its record, and let that go at the end."""
        record.on_late_use = self.startup
        try:
            with entered(scope):
                yield
        except Exception as error:
            record.failure = failure_of(error, self._now_ns())
            raise
        finally:
            record.ended_ns = record.left_ns = self._now_ns()
            self.left(record)
            if record.recording and record.of_use:
                self.startup(record)

    def startup(self, record: StartupRecord) -> None:
        """Let a start's record go, once: when it ended, or when it turns out to be of use."""
        with CUSTOMS:
            if record.is_sent or self._is_stopped:
                return
            record.is_sent = True
            self._startups.append(record)
            called = self._calls()
        if called:
            self._call()

    def stop(self) -> None:
        """Let all go that there is: what is open as unfinished."""
        with CUSTOMS:
            self._is_stopped = True
            self._give_up(len(self._open))
        self._flush()

    def _opened(self, record: Record, span: CustomSpan) -> None:
        if self._is_stopped:
            return
        span.is_late = True
        self._open[span] = record
        self._give_up(len(self._open) - MAX_OPEN)

    def _give_up(self, count: int) -> None:
        """Let the oldest open spans go as they are."""
        for _ in range(count):
            span = next(iter(self._open))
            self._ready.append((self._open.pop(span), span))

    def _is_over(self, record: Record) -> bool:
        return self._now_ns() - record.left_ns > LATE_FOR_NS

    def _said_lost(self, record: Record) -> None:
        self._lose(1)
        if not self._said:
            self._said = True
            log.warning(
                "spans of trace %s are dropped, and counted as late: it has more than %d custom"
                " spans, or left more than %d s ago; this is said once",
                record.trace_id,
                MAX_CUSTOM_SPANS,
                LATE_FOR_NS // 10**9,
            )

    def _calls(self) -> bool:
        """Whether it is for the caller to call the loop: nobody has since it looked."""
        is_called, self._is_called = self._is_called, True
        return not is_called

    def _call(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: `stop` is next, or was
                self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        """Hand over what is ready, in a record for each trace, and look again while any is open."""
        with CUSTOMS:
            self._is_called = False
            now_ns = self._now_ns()
            over = [
                span
                for span, record in self._open.items()
                if now_ns - max(record.left_ns, span.started_ns) > LATE_FOR_NS
            ]
            ready, self._ready = self._ready, []
            ready += [(self._open.pop(span), span) for span in over]
            startups, self._startups = self._startups, []
            undecided = [each for each in ready if not each[0].is_decided]
            self._ready += () if self._is_stopped else undecided
            waits = bool(self._open or self._ready)
        for startup in startups:
            self._submit(pack_startup(startup))
        for record, spans in _by_record(ready):
            for span in spans:
                if not span.ended_ns:
                    record.custom_given_up(span, now_ns)
            if record.recording and record.is_decided:
                self._submit(pack_late(record, spans, now_ns))
        self._look_again(waits)

    def _look_again(self, waits: bool) -> None:  # noqa: FBT001  # of this file alone
        if self._is_stopped:  # and this is not the loop's thread
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if waits and self._loop is not None:
            self._timer = self._loop.call_later(_LOOK_EVERY_S, self._flush)


def _by_record(late: Sequence[Late]) -> list[tuple[Record, list[CustomSpan]]]:
    found: dict[int, tuple[Record, list[CustomSpan]]] = {}
    for record, span in late:
        found.setdefault(id(record), (record, []))[1].append(span)
    return list(found.values())
