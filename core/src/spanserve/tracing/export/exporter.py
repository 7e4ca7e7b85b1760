"""One tracer's way out: a bounded queue of records, and a thread that has them delivered.

Where the tracer works in a process of its own, the thread only passes records on. The thread
and the one that stops it share the lock of the books, since a thread that hangs is given up.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from spanserve.tracing.export.delivery import Delivery
from spanserve.tracing.export.limits import QueueLimits
from spanserve.tracing.export.outcome import FAILING, Accounts, Counters, Drop, Outcome, State
from spanserve.tracing.export.patience import Patience, Pause
from spanserve.tracing.export.process.liveness import HANGS_HERE, HANGS_THERE, Liveness
from spanserve.tracing.export.queue import RecordQueue
from spanserve.tracing.model.clock import Clock
from spanserve.tracing.model.failure import told
from spanserve.tracing.recording.table import Table

__all__ = ["Counters", "Drop", "Exporter", "QueueLimits", "State"]

log = logging.getLogger(__name__)

START_PATIENCE_S: Final = 60.0
"""How long a process may take to get ready, at least: its modules may come from a slow disk."""


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
        self._offset_ns = offset_ns
        self._limits = limits
        self._clock = clock
        self._books = threading.Lock()
        self._wake = threading.Event()
        self._queue = RecordQueue(
            most=limits.max_spans,
            enough=limits.max_export_spans,
            packed=delivery.packed,
            counters=self.counters,
            books=self._books,
            wake=self._wake,
        )
        self.put = self._queue.put
        self._liveness = Liveness(clock)
        self._more_spans = 0
        self._in_hand = 0
        self._paused_until_ns = 0
        self._given_up = False
        self._said_hang = False
        self._ready = threading.Event()
        self._stopped = threading.Event()
        self._stop_at_ns = 0
        self._dropped_before_stop: Mapping[Drop, int] = {}
        self._thread = threading.Thread(target=self._run, name=f"spanserve-{name}", daemon=True)

    @property
    def recorded_spans(self) -> int:
        """Spans that were ever recorded for this tracer."""
        return self._queue.put_spans + self._more_spans

    @property
    def waiting_spans(self) -> int:
        """Spans that are queued, or in hand: being delivered, perhaps not for the first time."""
        return self._queue.waiting_spans + self._in_hand

    def accounts(self) -> Accounts:
        """Return all numbers as they are at one moment: on the thread that puts records."""
        with self._books:
            counters = replace(self.counters, dropped=self.counters.dropped.copy())
            return Accounts(self.recorded_spans, self.waiting_spans, counters)

    @property
    def paused_s(self) -> float:
        """Seconds that are left of a pause which the backend asked for."""
        return max(0.0, (self._paused_until_ns - self._clock.now_ns()) / 1e9)

    def start(self) -> None:
        """Start the thread; before this, records only queue up."""
        self._delivery.start()
        self._thread.start()

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait until records are delivered and not only queued; say whether they are."""
        return self._ready.wait(timeout_s)

    def lose(self, spans: int, why: Drop) -> None:
        """Count spans as recorded and dropped that were never queued; on any thread."""
        with self._books:
            self._more_spans += spans
            self.counters.dropped[why] += spans

    def look_for_hang(self) -> None:
        """Say it once where a call hangs, and end it where that can be; for another thread."""
        with self._books:
            if not self._liveness.is_lost or self.state is State.HANGING or self._given_up:
                return
            self.state = State.HANGING
            said, self._said_hang = self._said_hang, True
        if not said:
            words = HANGS_THERE if self._delivery.can_end else HANGS_HERE
            log.error("tracer %s hangs: " + words, self.name, self._limits.hang_after_s)  # noqa: G003
        self._delivery.end_hung()

    def stop(self, deadline_s: float) -> None:
        """Deliver what is queued, within the deadline; what is left then is counted as dropped."""
        self.ask_to_stop(deadline_s)
        self.wait_for_stop(deadline_s)

    def ask_to_stop(self, deadline_s: float) -> None:
        """Begin to stop, without waiting for it."""
        self._stop_at_ns = self._clock.now_ns() + int(deadline_s * 1e9)
        self._dropped_before_stop = self.counters.dropped.copy()
        self._queue.close()
        self._stopped.set()
        self._wake.set()

    def wait_for_stop(self, deadline_s: float) -> None:
        """Wait until all is delivered, or until the deadline, and then give the thread up.

        What was lost since the stop began is said.
        """
        if self._thread.ident is None:
            return
        self._thread.join(deadline_s)
        hangs = self._thread.is_alive()
        if hangs:
            self._give_up()
            self._delivery.abandon()
        self._say_what_was_lost(hangs=hangs)

    def _say_what_was_lost(self, *, hangs: bool) -> None:
        """Say how many spans were dropped since the stop began, unless they were said before."""
        now, before = self.counters.dropped, self._dropped_before_stop
        lost = {why: now[why] - before[why] for why in now if why is not Drop.NOT_EXPANDED}
        total = sum(lost.values())
        if hangs:
            log.warning("tracer %s did not stop in time; %d spans are lost", self.name, total)
        elif total:
            each = ", ".join(f"{why} {spans}" for why, spans in lost.items() if spans)
            why = self.reason or "it gave no reason"
            log.warning(
                "tracer %s lost %d spans as it stopped (%s): %s", self.name, total, each, why
            )

    def _give_up(self) -> None:
        """Count all that waits as dropped; from now on the thread counts nothing any more."""
        with self._books:
            self._given_up = True
            lost = self._queue.discard() + self._in_hand
            self._in_hand = 0
            self.counters.dropped[Drop.STOPPED] += lost

    def _run(self) -> None:
        self._delivery.report_to(self._liveness)
        while not self._stopped.is_set():
            if self._is_up():
                is_time = not self._wake.wait(self._limits.flush_interval_s)
                self._wake.clear()
                self._flush(few=is_time)
        self._flush(few=True)
        with self._books:
            self.counters.dropped[Drop.STOPPED] += self._queue.discard()
        self._stop_tracer()

    def _is_up(self) -> bool:
        """Have the tracer get ready, and wait a while where it cannot; say whether it is."""
        self._liveness.began(max(self._limits.hang_after_s, START_PATIENCE_S))
        wait_s = self._delivery.prepare(at_once=self._stopped.is_set())
        self._liveness.ended()
        if not wait_s:
            self._ready.set()
            return True
        self.reason = self._delivery.reason
        self._turned(State.FAILING)
        self._stopped.wait(wait_s)
        return False

    def _flush(self, *, few: bool) -> None:
        """Deliver all that is enough for a call, and then, if `few`, what is not.

        Under load what is not will soon be: many small calls would cost several times as much.
        """
        while self._queue.has_call:
            if not self._is_up():
                return
            self._deliver(self._take())
        if few and self._queue.waiting_spans and self._is_up():
            self._deliver(self._take())

    def _take(self) -> list[Table]:
        """Take the oldest records that make the spans of one call."""
        with self._books:
            records, self._in_hand = self._queue.take()
        return records

    def _deliver(self, records: Sequence[Table]) -> None:
        """Hand records over, and again while the tracer asks for that and time is left."""
        if not records:
            return
        limits = self._limits
        patience = Patience(
            self._clock.now_ns(),
            retry_for_s=limits.retry_for_s,
            first_pause_s=limits.first_pause_s,
        )
        last = self._begin_call()
        outcome = self._delivery.deliver(records, self._offset_ns())
        while True:
            pause = patience.after(outcome.retry_after_s, self._clock.now_ns())
            why = Drop.STOPPED if last else None if pause.again else Drop.RETRIES_EXHAUSTED
            self._settle(outcome, why)
            if last or not outcome.retry:
                return
            self._rest(pause)
            if self._given_up or why is not None:
                return
            last = self._begin_call()
            outcome = self._delivery.again()

    def _begin_call(self) -> bool:
        """Begin a call of the tracer; say whether it is the last for its spans."""
        self._liveness.began(self._limits.hang_after_s)
        return self._stopped.is_set()

    def _rest(self, pause: Pause) -> None:
        """Leave the backend alone for a while; a stop ends that."""
        if pause.asked:
            self._paused_until_ns = self._clock.now_ns() + int(pause.wait_s * 1e9)
        self._stopped.wait(pause.wait_s)
        self._paused_until_ns = 0

    def _settle(self, outcome: Outcome, why_not_again: Drop | None) -> None:
        """Enter an outcome in the books, unless they were closed while the tracer hung."""
        with self._books:
            self._liveness.ended()
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
        self._turned(State.FAILING if outcome.failing else State.DELIVERING)

    def _turned(self, state: State) -> None:
        """Say a change of state once, not each failure."""
        with self._books:
            before, self.state = self.state, state
        if state is State.FAILING and before not in FAILING:
            why = self.reason or "it gave no reason"
            log.warning("tracer %s cannot deliver all spans: %s", self.name, why)
        elif state not in FAILING and before in FAILING:
            lost = sum(self.counters.dropped.values())
            log.warning("tracer %s delivers again; %d spans were dropped so far", self.name, lost)
            self._said_hang = False

    def _stop_tracer(self) -> None:
        left_s = (self._stop_at_ns - self._clock.now_ns()) / 1e9
        try:
            self._delivery.stop(max(0.0, left_s))
        except BaseException as error:  # a tracer may raise anything
            log.error("tracer %s failed to stop: %s", self.name, told(error))  # noqa: TRY400  # one line
            log.debug("tracer_stopping raised", exc_info=error)
