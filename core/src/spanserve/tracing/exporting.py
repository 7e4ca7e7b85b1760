"""One tracer's way out: a bounded queue of records, and a thread that delivers their spans.

The event loop only appends to the queue. The thread expands records in small steps, so
that it never holds the interpreter for long, and hands their spans to the tracer. Each of
the numbers below is written by one thread only, so that the event loop needs no lock; the
thread and the one that stops it share one, since a thread that hangs is given up.
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
from spanserve.tracing.failure import raised
from spanserve.tracing.hookspecs import ExportResult
from spanserve.tracing.outcome import Drop, Outcome, outcome_of
from spanserve.tracing.record import Record
from spanserve.tracing.span import Span

__all__ = ["Counters", "Drop", "Exporter", "QueueLimits", "State"]

log = logging.getLogger(__name__)

RECORDS_A_STEP: Final = 16
LONGEST_PAUSE_S: Final = 10.0


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
    # All keys from the start: one thread may read while another counts.
    dropped: Counter[Drop] = field(default_factory=lambda: Counter(dict.fromkeys(Drop, 0)))


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The bounds of one exporter's queue; `max_spans` counts spans, dropped as whole records."""

    max_spans: int = 20_000
    flush_interval_s: float = 0.2
    max_export_spans: int = 512
    retry_for_s: float = 60.0
    first_pause_s: float = 0.25


class Exporter:
    """The queue, the thread, the retries and the counters of one tracer.

    `export` and `stopping` are the tracer's own hooks; `expansion` makes what expands
    records, with the offset of the clock as of now. `reason` is why the last call did not
    deliver all, in the tracer's words; None where it did, or gave none.
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
        self.reason: str | None = None
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
        self._in_hand: Sequence[Span] = ()
        self._given_up = False
        self._books = threading.Lock()
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
        """Spans that are queued, or in hand: being delivered, perhaps not for the first time."""
        return self._queued_spans + len(self._in_hand)

    @property
    def _queued_spans(self) -> int:
        return self._put_spans - self._overflowed_spans - self._taken_spans

    def start(self) -> None:
        """Start the thread; before this, records only queue up."""
        self._thread.start()

    def put(self, record: Record, spans: int) -> None:
        """Queue a finished record that will make so many spans; never blocks."""
        self._put_spans += spans
        if self._stopped.is_set():
            with self._books:
                self._overflowed_spans += spans
                self.counters.dropped[Drop.STOPPED] += spans
            return
        self._records.append((record, spans))
        queued = self._queued_spans
        if queued > self._limits.max_spans:
            self._drop_oldest(queued - self._limits.max_spans)
        if queued >= self._limits.max_export_spans and not self._wake.is_set():
            self._wake.set()

    def _drop_oldest(self, over: int) -> None:
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
        self.ask_to_stop(deadline_s)
        self.wait_for_stop(deadline_s)

    def ask_to_stop(self, deadline_s: float) -> None:
        """Begin to stop, without waiting for it."""
        self._stop_at_ns = self._clock.now_ns() + int(deadline_s * 1e9)
        self._stopped.set()
        self._wake.set()

    def wait_for_stop(self, deadline_s: float) -> None:
        """Wait until all is delivered, or until the deadline, and then give the thread up."""
        if self._thread.ident is None:
            return
        self._thread.join(deadline_s)
        if self._thread.is_alive():
            lost = self._given_up_spans()
            log.warning("tracer %s did not stop in time; %d spans are lost", self.name, lost)

    def _given_up_spans(self) -> int:
        """Count all that waits as dropped; from now on the thread counts nothing any more."""
        with self._books:
            self._given_up = True
            lost = self.waiting_spans
            self._records.clear()
            self._overflowed_spans = self._put_spans - self._taken_spans
            self._in_hand = ()
            self.counters.dropped[Drop.STOPPED] += lost
        return lost

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(self._limits.flush_interval_s)
            self._wake.clear()
            self._flush()
        self._flush()
        self._stop_tracer()

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
            with self._books:
                self._in_hand = spans
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
            if not self.counters.dropped[Drop.NOT_EXPANDED]:
                log.exception("a record could not be made into spans: a defect of spanserve")
            self._expanded_spans += expected
            self.counters.dropped[Drop.NOT_EXPANDED] += expected
            return ()
        self._expanded_spans += len(spans)
        return spans

    def _deliver(self, spans: Sequence[Span]) -> None:
        """Hand spans to the tracer, again and again while it asks for that and time is left."""
        pause_s = self._limits.first_pause_s
        give_up_ns = self._clock.now_ns() + int(self._limits.retry_for_s * 1e9)
        while spans and not self._given_up:
            last = self._stopped.is_set()
            outcome = self._handed_over(spans)
            spans = outcome.retry
            wait_s = max(pause_s, outcome.retry_after_s or 0.0)
            late = self._clock.now_ns() + int(wait_s * 1e9) > give_up_ns
            why = Drop.STOPPED if last else Drop.RETRIES_EXHAUSTED if late else None
            self._settle(outcome, why)
            if why is not None:
                return
            if spans:
                self._stopped.wait(wait_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _handed_over(self, spans: Sequence[Span]) -> Outcome:
        """Call the tracer; whatever it does, every span of the call is in the outcome."""
        try:
            outcome = outcome_of(self._export(spans), len(spans))
        except BaseException as error:  # noqa: BLE001  # a tracer may raise anything, SystemExit too
            return Outcome({Drop.TRACER_RAISED: len(spans)}, reason=raised(error))
        return outcome

    def _settle(self, outcome: Outcome, why_not_again: Drop | None) -> None:
        """Enter an outcome in the books, unless they were closed while the tracer hung."""
        with self._books:
            if self._given_up:
                return
            self.reason = outcome.reason
            self._in_hand = () if why_not_again else outcome.retry
            self.counters.delivered += outcome.delivered
            self.counters.unconfirmed += outcome.unconfirmed
            for why, spans in outcome.dropped.items():
                self.counters.dropped[why] += spans
            if why_not_again:
                self.counters.dropped[why_not_again] += len(outcome.retry)
        self._turned(State.FAILING if outcome.failing else State.DELIVERING, outcome.reason)

    def _turned(self, state: State, reason: str | None) -> None:
        """Say a change of state once, not each failure."""
        if state is self.state:
            return
        if state is State.FAILING:
            why = reason or "it gave no reason"
            log.warning("tracer %s cannot deliver all spans: %s", self.name, why)
        elif self.state is State.FAILING:
            lost = sum(self.counters.dropped.values())
            log.warning("tracer %s delivers again; %d spans were dropped so far", self.name, lost)
        self.state = state

    def _stop_tracer(self) -> None:
        left_s = (self._stop_at_ns - self._clock.now_ns()) / 1e9
        try:
            self._stopping(max(0.0, left_s))
        except BaseException:
            log.exception("tracer %s failed to stop", self.name)
