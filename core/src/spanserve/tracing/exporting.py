"""One tracer's way out: a bounded queue of records, and a thread that delivers their spans.

The event loop only appends to the queue. The thread expands records in small steps, so
that it never holds the interpreter for long, and hands their spans to the tracer. Each of
the numbers below is written by one thread only, so that none needs a lock.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from spanserve.tracing.clock import Clock
from spanserve.tracing.expansion import Expansion
from spanserve.tracing.hookspecs import ExportResult
from spanserve.tracing.record import Record
from spanserve.tracing.span import Span

log = logging.getLogger(__name__)

RECORDS_A_STEP: Final = 16
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 10.0


class Drop(StrEnum):
    """Why spans were not delivered."""

    QUEUE_FULL = "queue_full"
    REJECTED = "rejected"
    RETRIES_EXHAUSTED = "retries_exhausted"
    TRACER_RAISED = "tracer_raised"
    NOT_EXPANDED = "not_expanded"
    STOPPED = "stopped"


class State(StrEnum):
    """How the tracer's backend is doing."""

    IDLE = "idle"
    DELIVERING = "delivering"
    FAILING = "failing"


@dataclass(slots=True)
class Counters:
    """What became of spans; with those that wait, the sum is all that were recorded."""

    delivered: int = 0
    unconfirmed: int = 0
    dropped: Counter[Drop] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The bounds of one exporter's queue; `max_spans` counts spans, dropped as whole records."""

    max_spans: int = 20_000
    flush_interval_s: float = 0.2
    max_export_spans: int = 512
    retry_for_s: float = 60.0


class Exporter:
    """The queue, the thread, the retries and the counters of one tracer.

    `export` and `stopping` are the tracer's own hooks; `expansion` makes what expands
    records, with the offset of the clock as of now.
    """

    def __init__(
        self,
        name: str,
        export: Callable[[Sequence[Span]], ExportResult | None],
        *,
        expansion: Callable[[], Expansion],
        stopping: Callable[[float], None],
        limits: QueueLimits,
        clock: Clock,
    ) -> None:
        self.name = name
        self.state = State.IDLE
        self.counters = Counters()
        self._export = export
        self._expansion = expansion
        self._stopping = stopping
        self._limits = limits
        self._clock = clock
        self._records: deque[tuple[Record, int]] = deque()
        self._put_spans = 0
        self._overflowed_spans = 0
        self._taken_spans = 0
        self._expanded_spans = 0
        self._retry: Sequence[Span] = ()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._stop_at_ns = 0
        self._thread = threading.Thread(target=self._run, name=f"spanserve-{name}", daemon=True)

    @property
    def recorded_spans(self) -> int:
        """Spans that were ever recorded for this tracer."""
        return self._put_spans - self._taken_spans + self._expanded_spans

    @property
    def waiting_spans(self) -> int:
        """Spans that are queued or are to be handed over again."""
        queued = self._put_spans - self._overflowed_spans - self._taken_spans
        return queued + len(self._retry)

    def start(self) -> None:
        """Start the thread; before this, records only queue up."""
        self._thread.start()

    def put(self, record: Record, spans: int) -> None:
        """Queue a finished record that will make about this many spans; never blocks."""
        self._put_spans += spans
        if self._stop_at_ns:
            self._overflowed_spans += spans
            self.counters.dropped[Drop.STOPPED] += spans
            return
        limits = self._limits
        self._records.append((record, spans))
        queued = self._put_spans - self._overflowed_spans - self._taken_spans
        if queued >= limits.max_export_spans:
            if queued > limits.max_spans:
                self._drop_oldest()
            if not self._wake.is_set():
                self._wake.set()

    def _drop_oldest(self) -> None:
        over = self._put_spans - self._overflowed_spans - self._taken_spans
        over -= self._limits.max_spans
        while over > 0:
            try:
                _, spans = self._records.popleft()
            except IndexError:  # the thread was faster
                return
            over -= spans
            self._overflowed_spans += spans
            self.counters.dropped[Drop.QUEUE_FULL] += spans

    def stop(self, deadline_s: float) -> None:
        """Deliver what is queued, within the deadline; what is left then is counted as dropped."""
        self._stop_at_ns = self._clock.now_ns() + int(deadline_s * 1e9)
        self._stopped.set()
        self._wake.set()
        if self._thread.ident is None:
            return
        self._thread.join(deadline_s)
        if self._thread.is_alive():
            log.warning(
                "tracer %s did not stop within %.1f s; %d spans are lost",
                self.name,
                deadline_s,
                self.waiting_spans,
            )
            self.counters.dropped[Drop.STOPPED] += self.waiting_spans

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(self._limits.flush_interval_s)
            self._wake.clear()
            self._flush()
        self._flush()
        self._give_up()

    def _flush(self) -> None:
        """Deliver all that is queued now."""
        while spans := self._take():
            self._deliver(spans)

    def _take(self) -> list[Span]:
        """Expand queued records, in small steps, into the spans of one export."""
        spans: list[Span] = []
        expansion = self._expansion()
        step = 0
        while len(spans) < self._limits.max_export_spans:
            try:
                record, expected = self._records.popleft()
            except IndexError:
                break
            self._taken_spans += expected
            spans += self._expanded(expansion, record, expected)
            step += 1
            if step % RECORDS_A_STEP == 0:
                time.sleep(0)  # lets the event loop have the interpreter
        return spans

    def _expanded(self, expansion: Expansion, record: Record, expected: int) -> Sequence[Span]:
        try:
            spans = expansion.spans(record)
        except Exception:
            self._expanded_spans += expected
            self._dropped(expected, Drop.NOT_EXPANDED)
            log.exception("a record could not be made into spans; this is a defect of spanserve")
            return ()
        self._expanded_spans += len(spans)
        return spans

    def _deliver(self, spans: Sequence[Span]) -> None:
        """Hand spans to the tracer, again and again while it asks for that and time is left."""
        pause_s = FIRST_PAUSE_S
        give_up_ns = self._clock.now_ns() + int(self._limits.retry_for_s * 1e9)
        while True:
            last = self._stopped.is_set()
            result = self._handed_over(spans)
            spans = self._retry = result.retry
            if not spans:
                return
            if result.retry_after_s is not None:
                pause_s = result.retry_after_s
            if last or self._clock.now_ns() + int(pause_s * 1e9) > give_up_ns:
                self._retry = ()
                self._dropped(len(spans), Drop.STOPPED if last else Drop.RETRIES_EXHAUSTED)
                return
            self._stopped.wait(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _handed_over(self, spans: Sequence[Span]) -> ExportResult:
        try:
            result = self._export(spans)
        except Exception as error:  # noqa: BLE001  # a tracer may raise anything
            self._dropped(len(spans), Drop.TRACER_RAISED)
            self._turned(State.FAILING, f"it raised {type(error).__name__}: {error}")
            return ExportResult()
        if result is None:
            result = ExportResult(delivered=len(spans))
        self.counters.delivered += result.delivered
        self.counters.unconfirmed += result.unconfirmed
        self._dropped(result.rejected, Drop.REJECTED)
        failing = bool(result.retry or result.rejected or result.reason)
        state = State.FAILING if failing else State.DELIVERING
        self._turned(state, result.reason or "it gave no reason")
        return result

    def _dropped(self, spans: int, why: Drop) -> None:
        if spans:
            self.counters.dropped[why] += spans

    def _turned(self, state: State, reason: str) -> None:
        """Say a change of state once, not each failure."""
        if state is self.state:
            return
        if state is State.FAILING:
            log.warning("tracer %s cannot deliver all spans: %s", self.name, reason)
        elif self.state is State.FAILING:
            lost = sum(self.counters.dropped.values())
            log.warning("tracer %s delivers again; %d spans were dropped so far", self.name, lost)
        self.state = state

    def _give_up(self) -> None:
        left_s = (self._stop_at_ns - self._clock.now_ns()) / 1e9
        try:
            self._stopping(max(0.0, left_s))
        except Exception:
            log.exception("tracer %s failed to stop", self.name)
