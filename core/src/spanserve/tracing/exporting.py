"""One tracer's way out: a bounded queue of records, and a thread that has them delivered.

The event loop only appends to the queue. Where the tracer works in a process of its own,
the thread only passes records on. Each of the numbers below is written by one thread only,
so that the event loop needs no lock; the thread and the one that stops it share one, since
a thread that hangs is given up.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from spanserve.tracing.clock import Clock
from spanserve.tracing.delivery import Delivery
from spanserve.tracing.frozen import Frozen, span_count
from spanserve.tracing.outcome import Counters, Drop, Outcome, State

__all__ = ["Counters", "Drop", "Exporter", "QueueLimits", "State"]

log = logging.getLogger(__name__)

LONGEST_PAUSE_S: Final = 10.0
_PARTS: Final = 100
"""A full queue loses one of so many parts of it at once."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The bounds of one exporter's queue; `max_spans` counts spans, dropped as whole records."""

    max_spans: int = 100_000
    flush_interval_s: float = 0.2
    max_export_spans: int = 8_000
    retry_for_s: float = 60.0
    first_pause_s: float = 0.25


class Exporter:
    """The queue, the thread, the retries and the counters of one tracer.

    `delivery` hands records over to the tracer, and `offset_ns` turns their marks into Unix
    time, as of now. `reason` is why the last call did not deliver all, in the tracer's words;
    None where it did, or gave none.
    """

    def __init__(
        self,
        name: str,
        delivery: Delivery,
        *,
        offset_ns: Callable[[], int],
        limits: QueueLimits,
        clock: Clock,
    ) -> None:
        self.name = name
        self.state = State.IDLE
        self.reason: str | None = None
        self.counters = Counters()
        self._delivery = delivery
        self._packed = delivery.packed
        self._offset_ns = offset_ns
        self._limits = limits
        self._clock = clock
        self._newest: deque[Frozen] = deque()
        self._calls: deque[deque[Frozen]] = deque()
        self._look_at_spans = self._enough = min(limits.max_export_spans, limits.max_spans)
        self._newest_from_spans = 0
        self._put_spans = 0
        self._overflowed_spans = 0
        self._taken_spans = 0
        self._more_spans = 0
        self._in_hand = 0
        self._given_up = False
        self._is_stopped = False
        self._books = threading.Lock()
        self._wake = threading.Event()
        self._ready = threading.Event()
        self._stopped = threading.Event()
        self._stop_at_ns = 0
        self._thread = threading.Thread(target=self._run, name=f"spanserve-{name}", daemon=True)

    @property
    def recorded_spans(self) -> int:
        """Spans that were ever recorded for this tracer."""
        return self._put_spans + self._more_spans

    @property
    def waiting_spans(self) -> int:
        """Spans that are queued, or in hand: being delivered, perhaps not for the first time."""
        return self._queued_spans + self._in_hand

    @property
    def _queued_spans(self) -> int:
        return self._put_spans - self._overflowed_spans - self._taken_spans

    def start(self) -> None:
        """Start the thread; before this, records only queue up."""
        self._delivery.start()
        self._thread.start()

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait until records are delivered and not only queued; say whether they are."""
        return self._ready.wait(timeout_s)

    def put(self, record: Frozen) -> None:
        """Queue a finished record; never blocks."""
        self._put_spans += record[1]
        if self._is_stopped:
            self._drop_late(span_count(record))
            return
        self._newest.append(self._packed(record))
        if self._put_spans >= self._look_at_spans:
            self._look_after_queue()

    def _look_after_queue(self) -> None:
        """Hand over what is enough for a call, and make room; no need to for most records.

        The thread takes the records of a call all at once: if it took them one by one, it would
        ask for the interpreter hundreds of times.
        """
        if self._put_spans - self._newest_from_spans >= self._enough:
            call, self._newest = self._newest, deque()  # never in both: the thread may look now
            self._calls.append(call)
            self._newest_from_spans = self._put_spans
            self._wake.set()
        most = self._limits.max_spans
        if self._queued_spans > most:
            # Some more, so that a queue that stays full need not be looked after at each record.
            self._drop_oldest(self._queued_spans - most + most // _PARTS)
        room = max(1, most - self._queued_spans + 1)
        self._look_at_spans = min(self._put_spans + room, self._newest_from_spans + self._enough)

    def _drop_late(self, spans: int) -> None:
        with self._books:
            self._overflowed_spans += spans
            self.counters.dropped[Drop.STOPPED] += spans

    def lose(self, spans: int, why: Drop) -> None:
        """Count spans as recorded and dropped that were never queued; on any thread."""
        with self._books:
            self._more_spans += spans
            self.counters.dropped[why] += spans

    def _drop_oldest(self, enough: int) -> None:
        """Drop whole records until these are enough spans, or the thread has taken the rest."""
        while enough > 0:
            try:
                call = self._calls.popleft()
            except IndexError:  # the thread was faster
                return
            while call and enough > 0:
                spans = span_count(call.popleft())
                enough -= spans
                self._overflowed_spans += spans
                self.counters.dropped[Drop.QUEUE_FULL] += spans
            if call:
                self._calls.appendleft(call)

    def stop(self, deadline_s: float) -> None:
        """Deliver what is queued, within the deadline; what is left then is counted as dropped."""
        self.ask_to_stop(deadline_s)
        self.wait_for_stop(deadline_s)

    def ask_to_stop(self, deadline_s: float) -> None:
        """Begin to stop, without waiting for it."""
        self._stop_at_ns = self._clock.now_ns() + int(deadline_s * 1e9)
        self._is_stopped = True
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
            self._delivery.abandon()

    def _given_up_spans(self) -> int:
        """Count all that waits as dropped; from now on the thread counts nothing any more."""
        with self._books:
            self._given_up = True
            lost = self.waiting_spans
            self._calls.clear()
            self._newest.clear()
            self._overflowed_spans = self._put_spans - self._taken_spans
            self._in_hand = 0
            self.counters.dropped[Drop.STOPPED] += lost
        return lost

    def _run(self) -> None:
        self._delivery.prepare()
        self._ready.set()
        while not self._stopped.is_set():
            is_time = not self._wake.wait(self._limits.flush_interval_s)
            self._wake.clear()
            self._flush(few=is_time)
        self._flush(few=True)
        self._stop_tracer()

    def _flush(self, *, few: bool) -> None:
        """Deliver all that is enough for a call, and then, if `few`, what is not.

        Under load what is not will soon be: many small calls would cost several times as much.
        """
        while self._calls:
            self._deliver(self._take())
        if few:
            self._deliver(self._take())

    def _take(self) -> list[Frozen]:
        """Take the oldest records that make the spans of one call."""
        with self._books:
            try:
                records = list(self._calls.popleft())
            except IndexError:
                records = self._taken_newest()
            self._in_hand = sum(map(span_count, records))
            self._taken_spans += self._in_hand
        return records

    def _taken_newest(self) -> list[Frozen]:
        """Take one by one, since the event loop may add more to them now."""
        records: list[Frozen] = []
        newest = self._newest
        with suppress(IndexError):
            while True:
                records.append(newest.popleft())
        return records

    def _deliver(self, records: Sequence[Frozen]) -> None:
        """Hand records over, and again while the tracer asks for that and time is left."""
        if not records:
            return
        pause_s = self._limits.first_pause_s
        give_up_ns = self._clock.now_ns() + int(self._limits.retry_for_s * 1e9)
        last = self._stopped.is_set()
        outcome = self._delivery.deliver(records, self._offset_ns())
        while True:
            wait_s = max(pause_s, outcome.retry_after_s or 0.0)
            late = self._clock.now_ns() + int(wait_s * 1e9) > give_up_ns
            why = Drop.STOPPED if last else Drop.RETRIES_EXHAUSTED if late else None
            self._settle(outcome, why)
            if why is not None or not outcome.retry:
                return
            self._stopped.wait(wait_s)
            if self._given_up:
                return
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            last = self._stopped.is_set()
            outcome = self._delivery.again()

    def _settle(self, outcome: Outcome, why_not_again: Drop | None) -> None:
        """Enter an outcome in the books, unless they were closed while the tracer hung."""
        with self._books:
            if self._given_up:
                return
            self.reason = outcome.reason
            self._more_spans += outcome.spans - self._in_hand
            self._in_hand = 0 if why_not_again else outcome.retry
            self.counters.delivered += outcome.delivered
            self.counters.unconfirmed += outcome.unconfirmed
            for why, spans in outcome.dropped.items():
                self.counters.dropped[why] += spans
            if why_not_again:
                self.counters.dropped[why_not_again] += outcome.retry
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
            self._delivery.stop(max(0.0, left_s))
        except BaseException:
            log.exception("tracer %s failed to stop", self.name)
