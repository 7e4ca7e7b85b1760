"""The exporter: real threads, a tracer that does what the test says, and books that add up."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, FunctionType
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanserve import ExportResult, Span, checkpoint
from spanserve.tracing.expansion.expand import Expander
from spanserve.tracing.export.delivery import DirectDelivery
from spanserve.tracing.export.exporter import Drop, Exporter, QueueLimits, State
from spanserve.tracing.export.outcome import FAILING
from spanserve.tracing.export.patience import (
    LONGEST_ASKED_PAUSE_S,
    LONGEST_PAUSE_S,
    Patience,
)
from spanserve.tracing.export.process.liveness import Watchdog
from spanserve.tracing.export.queue import RecordQueue
from spanserve.tracing.model.clock import Clock
from spanserve.tracing.model.columns import Block
from spanserve.tracing.recording.record import RequestRecord
from spanserve.tracing.recording.table import Table, pack_request
from support.gate import Watch, http_origin
from support.serving import until

WAIT_S = 10
Export = Callable[[Sequence[Span]], object]


def record(number: int = 1, parts: int = 2) -> RequestRecord:
    """Make a record of 1 to 3 spans."""
    made = RequestRecord(f"{number:032x}", number, True, *http_origin(), 1)
    made.decode_ns, made.decoded_ns = (2, 3) if parts > 1 else (0, 0)
    made.encode_ns, made.encoded_ns = (4, 5) if parts > 2 else (0, 0)
    made.ended_ns = 6
    return made


class Backend:
    """Takes spans, and answers as it is told; `called` is released for each call."""

    def __init__(self, *answers: Callable[[Sequence[Span]], object]) -> None:
        self.calls: list[list[Span]] = []
        self.called = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()
        self.stopped: list[float] = []
        self._answers = list(answers)

    def export(self, spans: Sequence[Span]) -> ExportResult | None:
        self.calls.append(list(spans))
        self.called.release()
        assert self.go_on.wait(WAIT_S)
        answer = self._answers.pop(0) if self._answers else lambda _: None
        return answer(spans)  # type: ignore[return-value]  # a tracer may return anything

    def stopping(self, deadline_s: float) -> None:
        self.stopped.append(deadline_s)

    def wait_for_call(self) -> None:
        assert self.called.acquire(timeout=WAIT_S)


def new_expander() -> Expander:
    return Expander(batch_spans="full", exceptions="full")


def exporter(
    backend: Backend,
    *,
    clock: Clock | None = None,
    expander: Expander | None = None,
    **limits: float,
) -> Exporter:
    settled = {"flush_interval_s": 0.001, "first_pause_s": 0.001} | limits
    return Exporter(
        "fake",
        DirectDelivery(backend.export, backend.stopping, expander or new_expander()),
        offset_ns=lambda: 0,
        limits=QueueLimits(**settled),  # type: ignore[arg-type]  # ints among them
        clock=clock or Clock(),
    )


def put(to: Exporter, *records: RequestRecord) -> None:
    for each in records:
        to.put(pack_request(each, include_batch_run=True))


@contextmanager
def running(each: Exporter) -> Iterator[Exporter]:
    each.start()
    try:
        yield each
    finally:
        each.stop(WAIT_S)


def books(each: Exporter) -> tuple[int, int]:
    counters = each.counters
    out = counters.delivered + counters.unconfirmed + sum(counters.dropped.values())
    return each.recorded_spans, out + each.waiting_spans


def drops(each: Exporter) -> dict[Drop, int]:
    return {why: spans for why, spans in each.counters.dropped.items() if spans}


def test_all_spans_of_a_record_come_in_one_call_parents_first() -> None:
    backend = Backend()
    each = exporter(backend, max_export_spans=2)
    put(each, record(1, 3), record(2, 3))
    with running(each):
        pass
    assert [[(span.trace_id[-1], span.name) for span in call] for call in backend.calls] == [
        [("1", "POST"), ("1", "decode"), ("1", "encode")],
        [("2", "POST"), ("2", "decode"), ("2", "encode")],
    ]
    assert (each.counters.delivered, each.state) == (6, State.DELIVERING)


def test_a_call_holds_records_until_it_has_enough_spans() -> None:
    backend = Backend()
    each = exporter(backend, max_export_spans=5)
    put(each, *(record(number, 2) for number in range(1, 6)))
    with running(each):
        pass
    assert [len(call) for call in backend.calls] == [6, 4]


def test_what_is_not_enough_for_a_call_waits_for_more_while_there_is_much() -> None:
    backend = Backend()
    each = exporter(backend, max_export_spans=5, flush_interval_s=3600)
    put(each, *(record(number, 2) for number in range(1, 6)))
    with running(each):
        backend.wait_for_call()
        assert until(lambda: each.counters.delivered == 6)
        put(each, record(6, 2))
        backend.wait_for_call()
    assert [len(call) for call in backend.calls] == [6, 6]


def test_a_full_queue_drops_the_oldest_whole_records_and_counts_them() -> None:
    backend = Backend()
    each = exporter(backend, max_spans=5, max_export_spans=512)
    put(each, *(record(number, 2) for number in range(1, 6)))
    assert (each.waiting_spans, drops(each)) == (4, {Drop.QUEUE_FULL: 6})
    with running(each):
        pass
    assert {span.trace_id[-1] for call in backend.calls for span in call} == {"4", "5"}
    assert books(each) == (10, 10)


def test_a_queue_that_stays_full_is_never_over_its_bound_and_keeps_all_but_a_hundredth() -> None:
    each = exporter(Backend(), max_spans=1_000, max_export_spans=100)
    waiting = []
    for number in range(2_000):
        put(each, record(number, 2))
        waiting.append(each.waiting_spans)
    assert (max(waiting), min(waiting[500:])) == (1_000, 990)
    assert books(each) == (4_000, 4_000)


def test_a_record_that_fits_in_no_queue_is_dropped() -> None:
    each = exporter(Backend(), max_spans=2)
    put(each, record(1, 3))
    assert (each.waiting_spans, drops(each)) == (0, {Drop.QUEUE_FULL: 3})


def test_an_export_that_hangs_never_blocks_a_put_and_the_queue_stays_bounded() -> None:
    backend = Backend()
    backend.go_on.clear()
    with running(exporter(backend, max_spans=4)) as each:
        put(each, record(1, 2))
        backend.wait_for_call()
        put(each, *(record(number, 2) for number in range(2, 100)))
        assert (each.waiting_spans, drops(each)) == (2 + 4, {Drop.QUEUE_FULL: 192})
        backend.go_on.set()
    assert (each.counters.delivered, books(each)) == (6, (198, 198))


def retry_all(spans: Sequence[Span]) -> ExportResult:
    return ExportResult(retry=spans, reason="503")


def test_spans_to_be_retried_come_again_alone() -> None:
    def half(spans: Sequence[Span]) -> ExportResult:
        return ExportResult(delivered=1, rejected=1, retry=spans[2:], reason="half")

    backend = Backend(half, retry_all)
    each = exporter(backend)
    put(each, record(1, 2), record(2, 2))
    each.start()
    for _ in range(3):
        backend.wait_for_call()
    each.stop(WAIT_S)
    assert backend.calls[1] == backend.calls[2] == backend.calls[0][2:]
    assert (each.counters.delivered, drops(each)) == (3, {Drop.REJECTED: 1})


def test_retries_end_when_their_time_is_over() -> None:
    watch = Watch()

    def later(spans: Sequence[Span]) -> ExportResult:
        watch.advance(25)
        return retry_all(spans)

    backend = Backend(later, later, later)
    each = exporter(backend, clock=watch.clock, retry_for_s=60)
    put(each, record(1, 2))
    each.start()
    for _ in range(3):
        backend.wait_for_call()
    put(each, record(2, 2))
    backend.wait_for_call()
    each.stop(WAIT_S)
    assert (each.counters.delivered, drops(each)) == (2, {Drop.RETRIES_EXHAUSTED: 2})


def test_a_backend_is_left_alone_for_as_long_as_it_asks_and_what_comes_waits_in_the_queue() -> None:
    watch = Watch()
    backend = Backend(lambda spans: ExportResult(retry=spans, retry_after_s=120, reason="busy"))
    with running(exporter(backend, clock=watch.clock, retry_for_s=60, max_spans=10)) as each:
        put(each, record(1, 2))
        backend.wait_for_call()
        assert until(lambda: each.paused_s > 0)
        assert each.paused_s == 120
        put(each, *(record(number, 2) for number in range(2, 12)))
        watch.advance(100)
        assert (each.paused_s, each.waiting_spans, each.state) == (20, 12, State.FAILING)
        assert (len(backend.calls), drops(each)) == (1, {Drop.QUEUE_FULL: 10})
    assert (each.counters.delivered, each.paused_s, books(each)) == (12, 0, (22, 22))


def test_an_asked_pause_ends_and_its_spans_come_again_although_their_time_was_shorter() -> None:
    backend = Backend(lambda spans: ExportResult(retry=spans, retry_after_s=0.2, reason="busy"))
    with running(exporter(backend, retry_for_s=0.1)) as each:
        put(each, record(1, 2))
        backend.wait_for_call()
        backend.wait_for_call()
        assert until(lambda: not each.waiting_spans)
    assert (each.counters.delivered, drops(each)) == (2, {})


@given(
    wishes=st.lists(st.none() | st.integers(0, 1_000), max_size=30),
    took_s=st.integers(0, 5),
    retry_for_s=st.integers(0, 100),
)
def test_pauses_grow_or_are_as_asked_and_spans_give_up_in_time_of_their_own(
    wishes: list[int | None], took_s: int, retry_for_s: int
) -> None:
    patience = Patience(0, retry_for_s=retry_for_s, first_pause_s=0.25)
    now_s = own_s = 0.0
    for number, wish_s in enumerate(wishes):
        now_s += took_s
        own_s += took_s
        pause = patience.after(wish_s, int(now_s * 1e9))
        usual_s = min(0.25 * 2**number, LONGEST_PAUSE_S)
        asked_s = min(wish_s or 0, LONGEST_ASKED_PAUSE_S)
        assert pause.again == (own_s + usual_s <= retry_for_s)
        assert pause.asked == (asked_s > usual_s)
        assert pause.wait_s == (max(usual_s, asked_s) if pause.again or pause.asked else 0)
        now_s += pause.wait_s
        own_s += min(usual_s, pause.wait_s)
        if not pause.again:
            return


@pytest.mark.parametrize("wish_s", [0.0, 0.001, -1.0, float("nan"), float("inf")])
def test_a_wish_for_a_pause_is_honoured_or_no_harm(wish_s: float) -> None:
    backend = Backend(lambda spans: ExportResult(retry=spans, retry_after_s=wish_s))
    each = exporter(backend)
    put(each, record(1, 2))
    each.start()
    for _ in range(2):
        backend.wait_for_call()
    each.stop(WAIT_S)
    assert (each.counters.delivered, drops(each)) == (2, {})


def test_a_pause_ends_at_once_when_the_exporter_is_stopped_and_one_last_try_is_made() -> None:
    backend = Backend(retry_all, retry_all)
    each = exporter(backend, first_pause_s=30)
    put(each, record(1, 2))
    each.start()
    backend.wait_for_call()
    each.stop(WAIT_S)
    assert (len(backend.calls), drops(each)) == (2, {Drop.STOPPED: 2})
    assert len(backend.stopped) == 1
    assert 0 < backend.stopped[0] <= WAIT_S


def raises(error: BaseException) -> Callable[[Sequence[Span]], object]:
    def fail(_: Sequence[Span]) -> object:
        raise error

    return fail


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def handed(result: object) -> Callable[[Sequence[Span]], object]:
    return lambda _: result


BAD: dict[str, tuple[Callable[[Sequence[Span]], object], dict[Drop, int]]] = {
    "raises": (raises(OSError("gone")), {Drop.TRACER_RAISED: 2}),
    "exits": (raises(SystemExit(1)), {Drop.TRACER_RAISED: 2}),
    "raises without text": (raises(MuteError()), {Drop.TRACER_RAISED: 2}),
    "returns another type": (handed(True), {Drop.TRACER_RAISED: 2}),
    "returns a number": (handed(2), {Drop.TRACER_RAISED: 2}),
    "claims too many": (handed(ExportResult(delivered=3)), {Drop.TRACER_RAISED: 2}),
    "claims less than none": (
        handed(ExportResult(delivered=3, rejected=-1)),
        {Drop.TRACER_RAISED: 2},
    ),
    "says nothing of them": (handed(ExportResult()), {Drop.UNACCOUNTED: 2}),
    "says nothing of one": (handed(ExportResult(delivered=1)), {Drop.UNACCOUNTED: 1}),
}


@pytest.mark.parametrize("case", list(BAD))
def test_whatever_a_tracer_does_its_spans_are_counted_and_the_next_are_delivered(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer, expected = BAD[case]
    backend = Backend(answer)
    with running(exporter(backend)) as each, caplog.at_level(logging.WARNING):
        put(each, record(1, 2))
        backend.wait_for_call()
        put(each, record(2, 2))
        backend.wait_for_call()
    assert drops(each) == expected
    assert books(each) == (4, 4)
    assert each.state is State.DELIVERING
    assert [line.levelname for line in caplog.records] == ["WARNING", "WARNING"]


def test_each_change_of_state_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def refused(spans: Sequence[Span]) -> ExportResult:
        return ExportResult(rejected=len(spans), reason="400 Bad Request")

    backend = Backend(lambda _: None, refused, raises(OSError("x")), refused, lambda _: None)
    with running(exporter(backend)) as each:
        for number in range(1, 7):
            put(each, record(number, 2))
            backend.wait_for_call()
    assert [line.getMessage() for line in caplog.records] == [
        "tracer fake cannot deliver all spans: 400 Bad Request",
        "tracer fake delivers again; 6 spans were dropped so far",
    ]


def test_the_reason_in_the_log_has_no_credentials(caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend(raises(OSError("http://me:hunter2@host/ is gone")))
    with running(exporter(backend)) as each:
        put(each, record(1, 2))
        backend.wait_for_call()
        assert until(lambda: not each.waiting_spans)
    assert [line.getMessage() for line in caplog.records] == [
        "tracer fake cannot deliver all spans: it raised OSError: http://***@host/ is gone"
    ]


def test_a_tracer_that_hangs_is_given_up_at_the_deadline_and_all_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Backend()
    backend.go_on.clear()
    each = exporter(backend)
    each.start()
    put(each, record(1, 2))
    backend.wait_for_call()
    put(each, record(2, 3), record(3, 3))
    each.stop(0.01)
    assert (drops(each), each.waiting_spans, books(each)) == ({Drop.STOPPED: 8}, 0, (8, 8))
    assert [line.getMessage() for line in caplog.records] == [
        "tracer fake did not stop in time; 8 spans are lost"
    ]
    backend.go_on.set()
    each.wait_for_stop(WAIT_S)
    assert len(backend.calls) == len(backend.stopped) == 1
    assert 0 <= backend.stopped[0] <= 0.01
    assert (drops(each), books(each)) == ({Drop.STOPPED: 8}, (8, 8))


def test_stop_delivers_what_is_queued_and_a_later_put_is_counted_as_dropped() -> None:
    backend = Backend()
    with running(exporter(backend, max_export_spans=2)) as each:
        put(each, *(record(number, 2) for number in range(1, 30)))
    put(each, record(99, 3))
    assert (each.counters.delivered, drops(each)) == (58, {Drop.STOPPED: 3})
    assert (each.waiting_spans, books(each)) == (0, (61, 61))


def test_what_a_stop_loses_is_said_to_the_span(caplog: pytest.LogCaptureFixture) -> None:
    def partly(spans: Sequence[Span]) -> ExportResult:
        return ExportResult(delivered=1, rejected=1, retry=spans[2:], reason="refused: no")

    backend = Backend(partly)
    each = exporter(backend, flush_interval_s=3600)
    put(each, record(1, 3), record(2, 3))
    with running(each):
        pass
    put(each, record(3, 1))
    assert [line.getMessage() for line in caplog.records][-1] == (
        "tracer fake lost 5 spans as it stopped (rejected 1, stopped 4): refused: no"
    )
    assert drops(each) == {Drop.REJECTED: 1, Drop.STOPPED: 5}
    assert books(each) == (7, 7)


HANGS_ON_A_THREAD = (
    "tracer fake hangs: no sign of its export_spans for 10 s; a thread cannot be ended, and spans "
    "wait, as long as there is room"
)


def test_a_call_that_hangs_on_a_thread_is_said_once_and_seen_until_it_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Watch()
    backend = Backend()
    backend.go_on.clear()
    with running(exporter(backend, clock=watch.clock, max_spans=4)) as each:
        put(each, record(1, 2))
        backend.wait_for_call()
        watch.advance(9)
        each.look_for_hang()
        assert each.state is State.IDLE
        watch.advance(2)
        each.look_for_hang()
        each.look_for_hang()
        assert each.state in FAILING
        put(each, *(record(number, 2) for number in range(2, 10)))
        assert (each.waiting_spans, drops(each)) == (6, {Drop.QUEUE_FULL: 12})
        backend.go_on.set()
        assert until(lambda: not each.waiting_spans)
    assert (each.state, each.counters.delivered) == (State.DELIVERING, 6)
    assert books(each) == (18, 18)
    assert [line.getMessage() for line in caplog.records] == [
        HANGS_ON_A_THREAD,
        "tracer fake delivers again; 12 spans were dropped so far",
    ]


def test_a_call_that_gives_signs_of_life_does_not_hang() -> None:
    watch = Watch()
    said, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def slow(_: Sequence[Span]) -> None:
        for quiet_for_s in (0, 20):
            checkpoint(quiet_for_s)
            said.release()
            assert go_on.acquire(timeout=WAIT_S)

    with running(exporter(Backend(slow), clock=watch.clock)) as each:
        put(each, record(1, 2))
        for seconds in (9, 29):
            assert said.acquire(timeout=WAIT_S)
            watch.advance(seconds)
            each.look_for_hang()
            assert each.state is State.IDLE
            go_on.release()
    assert each.counters.delivered == 2


def test_the_watchdog_looks_by_itself() -> None:
    looked = threading.Semaphore(0)
    watchdog = Watchdog([looked.release], hang_after_s=0.1)
    watchdog.start()
    assert looked.acquire(timeout=WAIT_S)
    watchdog.stop()


def test_a_reason_is_one_line_of_bounded_length_and_a_stack_is_there_for_who_debugs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def wordy(spans: Sequence[Span]) -> ExportResult:
        reason = "no\r\n\x1b[31mERROR fake: " + "x" * 100_000
        return ExportResult(rejected=len(spans), reason=reason)

    backend = Backend(wordy, handed(None), raises(OSError("the\nend")))
    with caplog.at_level(logging.DEBUG), running(exporter(backend)) as each:
        for number in range(3):
            put(each, record(number + 1, 2))
            backend.wait_for_call()
            assert until(lambda: not each.waiting_spans)
    said = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
    assert all(text.isprintable() and len(text) < 600 for text in said)
    assert said[0].startswith("tracer fake cannot deliver all spans: no [31mERROR fake: xxx")
    assert said[2] == "tracer fake cannot deliver all spans: it raised OSError: the end"
    (stack,) = [line for line in caplog.records if line.levelno == logging.DEBUG and line.exc_info]
    assert "in fail" in (stack.exc_text or "")


def test_an_exporter_that_never_started_stops_at_once() -> None:
    backend = Backend()
    each = exporter(backend)
    put(each, record(1, 2))
    each.stop(WAIT_S)
    assert (backend.stopped, books(each)) == ([], (2, 2))


def test_a_tracer_that_fails_to_stop_is_said(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(Backend):
        def stopping(self, deadline_s: float) -> None:
            assert deadline_s > 0
            raise OSError("not in time")

    with running(exporter(Stubborn())):
        pass
    assert [line.getMessage() for line in caplog.records] == [
        "tracer fake failed to stop: OSError: not in time"
    ]


def test_a_record_that_cannot_be_expanded_costs_itself_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Odd(Expander):
        def blocks(self, tables: Sequence[Table], offset_ns: int) -> list[Block]:
            if any(fields[0].endswith(("1", "2")) for _, _, fields, *_ in tables):
                raise ValueError("odd")
            return super().blocks(tables, offset_ns)

    backend = Backend()
    each = exporter(backend, expander=Odd(batch_spans="full", exceptions="full"))
    put(each, record(1, 3), record(2, 3), record(3, 3))
    with running(each):
        pass
    assert (each.counters.delivered, drops(each)) == (3, {Drop.NOT_EXPANDED: 6})
    assert books(each) == (9, 9)
    assert len(caplog.records) == 1


def test_an_estimate_that_was_off_is_put_right_when_the_spans_are_made() -> None:
    backend = Backend()
    each = exporter(backend)
    kind, _, *fields = pack_request(record(1, 3), include_batch_run=True)
    each.put((kind, 7, *fields))
    assert each.recorded_spans == 7
    with running(each):
        pass
    assert books(each) == (3, 3)


ANSWERS = st.sampled_from(
    ["none", "delivered", "unconfirmed", "rejected", "retry", "half", "raise", "silent", "odd"]
)


def answered(how: str) -> Callable[[Sequence[Span]], object]:
    def answer(spans: Sequence[Span]) -> object:
        count, half = len(spans), len(spans) // 2
        if how == "raise":
            raise OSError("down")
        return {
            "delivered": ExportResult(delivered=count),
            "unconfirmed": ExportResult(unconfirmed=count),
            "rejected": ExportResult(rejected=count),
            "retry": ExportResult(retry=spans),
            "half": ExportResult(delivered=half, retry=spans[half:]),
            "silent": ExportResult(),
            "odd": "all fine",
        }.get(how)

    return answer


@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(ANSWERS, max_size=12),
    sizes=st.lists(st.integers(1, 3), max_size=20),
    max_spans=st.integers(1, 40),
    max_export_spans=st.integers(1, 12),
    before=st.booleans(),
)
def test_the_books_add_up_whatever_the_tracer_answers(
    script: list[str], sizes: list[int], max_spans: int, max_export_spans: int, *, before: bool
) -> None:
    backend = Backend(*map(answered, script))
    each = exporter(backend, max_spans=max_spans, max_export_spans=max_export_spans)
    records = [record(number + 1, size) for number, size in enumerate(sizes)]
    if before:
        put(each, *records)
    each.start()
    if not before:
        put(each, *records)
    each.stop(WAIT_S)
    assert books(each) == (sum(sizes), sum(sizes))
    assert each.waiting_spans == 0


HANDS_OVER = cast("FunctionType", RecordQueue._look_after).__code__  # noqa: SLF001  # a race in it


def test_the_books_add_up_at_every_moment() -> None:
    each = exporter(Backend(), max_spans=20, max_export_spans=2)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with running(each):
            for number in range(1, 5_001):
                put(each, record(number))
                recorded, waiting, counters = each.accounts()
                gone = counters.delivered + counters.unconfirmed + sum(counters.dropped.values())
                assert recorded == waiting + gone
    finally:
        sys.setswitchinterval(interval_s)


@contextmanager
def held_up_at(line: int) -> Iterator[None]:
    """Let the other threads get ahead before each time that this one runs a line."""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and frame.f_lineno == line:
            time.sleep(0.005)
        return trace if frame.f_code is HANDS_OVER else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("line", sorted({line for *_, line in HANDS_OVER.co_lines() if line}))
def test_wherever_the_loop_is_held_up_each_span_goes_out_once(line: int) -> None:
    backend = Backend()
    with running(exporter(backend, max_export_spans=8)) as each, held_up_at(line):
        put(each, *(record(number, 1 + number % 3) for number in range(1, 100)))
    seen = [span.trace_id for call in backend.calls for span in call]
    assert (len(seen), len(set(seen))) == (each.recorded_spans, 99)
    assert each.counters.delivered == each.recorded_spans


def test_many_puts_from_a_loop_and_a_busy_thread_lose_no_span() -> None:
    backend = Backend()
    with running(exporter(backend, max_spans=1_000_000, max_export_spans=8)) as each:
        put(each, *(record(number, 1 + number % 3) for number in range(1, 3_000)))
    seen = [span.trace_id for call in backend.calls for span in call]
    assert (len(seen), len(set(seen))) == (each.recorded_spans, 2_999)
    assert each.counters.delivered == each.recorded_spans
