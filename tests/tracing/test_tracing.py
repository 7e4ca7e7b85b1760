"""The gate: what is recorded, when it is handed over, and what no tracer can do to a caller."""

import logging
import threading
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest

from spanserve import ConfigError, Resource, Span, SpanStart, hookimpl
from spanserve.config.model import TracingConfig
from spanserve.tracing.model.clock import Ids
from spanserve.tracing.model.ids import RUN
from spanserve.tracing.tracing import Tracing
from support.gate import (
    RESOURCE,
    UNIX_NS,
    Watch,
    answered,
    begun,
    gate,
    http_scope,
    queued,
    ran,
    released,
    run,
)
from support.traces import check_all, check_batches, named, one, tree

TRACE, CALLER = "a" * 32, "b" * 16
WAIT_S = 10


class Keeps:
    """Keeps what it is handed, and what it is told."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.told: list[object] = []

    @hookimpl
    def tracer_started(self, resource: Resource) -> None:
        self.told.append(resource)

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        self.spans += spans

    @hookimpl
    def tracer_stopping(self, deadline_s: float) -> None:
        self.told.append(deadline_s <= WAIT_S)


def flushed(tracing: Tracing) -> None:
    tracing.start()
    tracing.stop(WAIT_S)


def test_off_makes_no_record_no_scope_and_batches_without_ids() -> None:
    tracing = gate()
    assert tracing.request(http_scope()) is None
    items = [queued(tracing, None), queued(tracing, None)]
    batch = released(tracing, items)
    run(tracing, batch)
    assert (batch.recording, batch.trace_id, batch.rows) == (False, "", None)
    assert (tracing.scope(batch, RUN), tracing.scope(None, RUN)) == (None, None)
    assert (tracing.on, tracing.exporters, tracing.trace_url(TRACE)) == (False, (), None)
    flushed(tracing)


def test_a_batch_tells_its_items_their_batch_and_position_even_when_tracing_is_off() -> None:
    tracing = gate()
    items = [queued(tracing, None) for _ in range(3)]
    batch = released(tracing, items)
    assert [(item.batch, item.position) for item in items] == [(batch, 0), (batch, 1), (batch, 2)]


@pytest.mark.parametrize(
    ("path", "traced"),
    [
        ("/healthz", False),
        ("/static/js/a.js", False),
        ("/static/", False),
        ("/a/private/b", False),
        ("/a/private\n/b", False),
        ("/v1[x]/y", False),
        ("/v1x/y", True),
        ("/static", True),
        ("/healthz/", True),
        ("/x/static/", True),
        ("/predict", True),
    ],
)
def test_excluded_paths_are_not_recorded_and_only_a_star_stands_for_anything(
    path: str, *, traced: bool
) -> None:
    tracing = gate(Keeps(), excluded_urls=("/healthz", "/static/*", "*/private*", "/v1[x]/*"))
    assert (tracing.request(http_scope(path)) is not None) is traced


def test_an_excluded_path_is_the_one_behind_the_root_path_of_a_proxy() -> None:
    tracing = gate(Keeps(), excluded_urls=("/healthz",))
    assert tracing.request(http_scope("/ml/healthz", root_path="/ml")) is None
    assert tracing.request(http_scope("/ml/healthz", root_path="/other")) is not None


def traceparent(flags: str) -> dict[str, str]:
    return {"traceparent": f"00-{TRACE}-{CALLER}-{flags}"}


def multi(sampled: str) -> dict[str, str]:
    return {"x-b3-traceid": TRACE, "x-b3-spanid": CALLER, "x-b3-sampled": sampled}


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize(
    ("headers", "sampled"),
    [
        (traceparent("01"), True),
        (traceparent("00"), False),
        ({"b3": f"{TRACE}-{CALLER}-1"}, True),
        ({"b3": f"{TRACE}-{CALLER}-d"}, True),
        ({"b3": f"{TRACE}-{CALLER}-0"}, False),
        (multi("1"), True),
        (multi("0"), False),
        ({"uber-trace-id": f"{TRACE}:{CALLER}:0:1"}, True),
        ({"uber-trace-id": f"{TRACE}:{CALLER}:0:0"}, False),
    ],
)
def test_a_caller_s_decision_stands_whatever_the_rate_and_the_format(
    headers: dict[str, str], rate: float, *, sampled: bool
) -> None:
    record = begun(gate(Keeps(), sample_rate=rate), headers)
    assert (record.trace_id, record.parent_id) == (TRACE, CALLER)
    assert (record.sampled, record.recording) == (sampled, sampled)


@pytest.mark.parametrize(("rate", "sampled"), [(0.0, False), (1.0, True)])
def test_a_caller_without_a_decision_leaves_it_to_the_rate(rate: float, *, sampled: bool) -> None:
    record = begun(gate(Keeps(), sample_rate=rate), {"b3": f"{TRACE}-{CALLER}"})
    assert (record.trace_id, record.parent_id, record.sampled) == (TRACE, CALLER, sampled)


def test_a_decision_without_ids_stands_and_the_ids_are_new() -> None:
    denied = begun(gate(Keeps()), {"b3": "0"})
    asked = begun(gate(Keeps(), sample_rate=0.0), {"b3": "d"})
    assert (denied.sampled, denied.parent_id) == (False, None)
    assert (asked.sampled, asked.debug, asked.parent_id) == (True, True, None)
    assert len(asked.trace_id) == 32


def test_ids_and_times_come_from_what_was_injected() -> None:
    def made() -> list[Span]:
        keeps = Keeps()
        tracing = gate(keeps, watch=Watch(tick_ns=10), ids=Ids(seed=7))
        answered(tracing, begun(tracing))
        flushed(tracing)
        return keeps.spans

    assert made() == made()
    assert made()[0].start_ns > UNIX_NS


def test_a_recorded_request_is_handed_over_at_its_end_and_an_unsampled_one_is_not() -> None:
    keeps = Keeps()
    tracing = gate(keeps)
    answered(tracing, begun(tracing))
    answered(tracing, begun(tracing, {"b3": "0"}))
    flushed(tracing)
    assert tree(keeps.spans) == {"POST /predict": {"encode": {}}}
    assert keeps.told == [RESOURCE, True]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_batch_is_handed_over_after_its_own_end_and_its_members_in_any_order(
    order: tuple[int, ...],
) -> None:
    keeps = Keeps()
    tracing = gate(keeps)
    requests = [begun(tracing), begun(tracing), begun(tracing, {"b3": "0"})]
    batch = released(tracing, [queued(tracing, record) for record in requests])
    ran(tracing, batch)
    answered(tracing, requests[2])
    ends = [
        lambda: answered(tracing, requests[0]),
        lambda: answered(tracing, requests[1]),
        lambda: tracing.answered(batch, ()),
    ]
    (exporter,) = tracing.exporters
    waiting = []
    for number in order:
        ends[number]()
        waiting.append(exporter.waiting_spans)
    assert batch.pending == 0
    of_requests = [4 * sum(number < 2 for number in order[: n + 1]) for n in range(3)]
    assert waiting == [*of_requests[:2], of_requests[2] + 4]
    flushed(tracing)
    check_all(keeps.spans)
    check_batches(keeps.spans, unsampled=1)
    assert len(named("batch /predict", keeps.spans)) == 1


def test_a_request_of_several_items_ends_each_of_them() -> None:
    keeps = Keeps()
    tracing = gate(keeps)
    record, other = begun(tracing), begun(tracing)
    batch = released(tracing, [queued(tracing, each) for each in (record, other, record)])
    run(tracing, batch)
    answered(tracing, record)
    assert batch.pending == 1
    answered(tracing, other)
    flushed(tracing)
    assert len(one("batch /predict", keeps.spans).links) == 3


def test_a_batch_of_unsampled_members_is_not_recorded_and_says_so_to_others() -> None:
    tracing = gate(Keeps())
    requests = [begun(tracing, {"b3": "0"}) for _ in range(2)]
    batch = released(tracing, [queued(tracing, record) for record in requests])
    assert (batch.recording, batch.sampled, batch.rows) == (False, False, None)
    scope = tracing.scope(batch, RUN)
    assert scope is not None
    headers = tracing.headers_for(batch, batch.span_id(RUN))
    assert headers == {"traceparent": f"00-{batch.trace_id}-{batch.span_id(RUN)}-00"}


def test_outgoing_headers_are_w3c_and_what_the_tracers_ask_for() -> None:
    class Zipkinlike(Keeps):
        @hookimpl
        def tracer_propagators(self) -> list[str]:
            return ["b3"]

    record = begun(tracing := gate(Zipkinlike()), traceparent("01") | {"tracestate": "k=v"})
    assert tracing.headers_for(record, CALLER) == {
        "traceparent": f"00-{TRACE}-{CALLER}-01",
        "tracestate": "k=v",
        "b3": f"{TRACE}-{CALLER}-1",
    }


def test_configured_propagators_govern_both_directions() -> None:
    tracing = gate(Keeps(), propagators=("jaeger",))
    record = begun(tracing, traceparent("01"))
    assert record.trace_id != TRACE
    assert list(tracing.headers_for(record, CALLER)) == ["uber-trace-id"]


class Raises:
    """Raises in every hook that is called while serving."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def _fail(self, hook: str) -> None:
        self.calls.append(hook)
        raise ValueError(f"{hook} is broken")

    @hookimpl
    def span_started(self, start: SpanStart) -> None:
        self._fail(f"started {start.name}")

    @hookimpl
    def span_ended(self, span: Span) -> None:
        self._fail(f"ended {span.name}")

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        self._fail(f"export {len(spans)}")

    @hookimpl
    def trace_url(self, trace_id: str) -> str | None:
        self._fail(f"url {len(trace_id)}")
        return None

    @hookimpl
    def tracer_stopping(self, deadline_s: float) -> None:
        self._fail(f"stopping {deadline_s >= 0}")


LIVE = "it raised ValueError: started POST /predict is broken"
EXPORT = "it raised ValueError: export 6 is broken"


def test_a_tracer_that_raises_reaches_no_caller_and_no_other_tracer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    raises, keeps = Raises(), Keeps()
    tracing = gate(raises, keeps)
    tracing.start()
    record = begun(tracing)
    run(tracing, released(tracing, [queued(tracing, record)]))
    answered(tracing, record)
    assert tracing.trace_url(TRACE) is None
    with caplog.at_level(logging.WARNING):
        tracing.stop(WAIT_S)
    assert raises.calls == ["started POST /predict", "url 32", "export 6", "stopping True"]
    assert [line.getMessage() for line in caplog.records] == [
        f"tracer t0 raised in a live hook; its live hooks are off now: {LIVE}",
        f"tracer t0 cannot deliver all spans: {EXPORT}",
        "tracer t0 failed to stop: ValueError: stopping True is broken",
        f"tracer t0 lost 6 spans as it stopped (tracer_raised 6): {EXPORT}",
    ]
    assert len(keeps.spans) == 6
    assert [sum(e.counters.dropped.values()) for e in tracing.exporters] == [6, 0]


def test_a_live_tracer_that_raises_leaves_the_others_their_boundaries() -> None:
    class Looks:
        def __init__(self) -> None:
            self.seen: list[str] = []

        @hookimpl
        def span_ended(self, span: Span) -> None:
            self.seen.append(span.name)

    looks = Looks()
    tracing = gate(Raises(), looks)
    answered(tracing, begun(tracing))
    assert looks.seen == ["encode", "POST /predict"]


def test_a_tracer_without_an_exporter_is_stopped_too(caplog: pytest.LogCaptureFixture) -> None:
    class Viewer:
        @hookimpl
        def tracer_stopping(self, deadline_s: float) -> None:
            assert deadline_s > 0
            raise OSError("stuck")

    tracing = gate(Viewer())
    flushed(tracing)
    assert tracing.exporters == ()
    assert [line.getMessage() for line in caplog.records] == [
        "tracer t0 failed to stop: OSError: stuck"
    ]


def test_a_tracer_that_hangs_at_the_end_takes_no_time_from_the_others() -> None:
    class Hangs:
        def __init__(self) -> None:
            self.entered = threading.Event()
            self.go_on = threading.Event()

        @hookimpl
        def export_spans(self, spans: Sequence[Span]) -> None:
            assert spans
            self.entered.set()
            assert self.go_on.wait(WAIT_S)

    delivered = threading.Event()

    class Quick(Keeps):
        @hookimpl
        def tracer_stopping(self, deadline_s: float) -> None:
            assert deadline_s >= 0
            delivered.set()

    hangs, quick = Hangs(), Quick()
    tracing = gate(hangs, quick, queue={"flush_interval_ms": 1.0})
    tracing.start()
    answered(tracing, begun(tracing))
    assert hangs.entered.wait(WAIT_S)
    answered(tracing, begun(tracing))
    tracing.stop(0.2)
    assert delivered.wait(WAIT_S)
    assert len(quick.spans) == 4
    counted = [exporter.counters for exporter in tracing.exporters]
    assert [sum(each.dropped.values()) for each in counted] == [4, 0]
    hangs.go_on.set()
    tracing.exporters[0].wait_for_stop(WAIT_S)


def test_two_tracers_have_queues_of_their_own() -> None:
    first, second = Keeps(), Keeps()
    tracing = gate(first, second)
    answered(tracing, begun(tracing))
    assert [(e.name, e.waiting_spans) for e in tracing.exporters] == [("t0", 2), ("t1", 2)]
    flushed(tracing)
    assert first.spans == second.spans
    assert len(first.spans) == 2


def test_the_first_tracer_that_knows_says_where_a_trace_is() -> None:
    class Knows(Keeps):
        def __init__(self, answer: Any) -> None:
            super().__init__()
            self.answer = answer

        @hookimpl
        def trace_url(self, trace_id: str) -> str | None:
            return self.answer and f"{self.answer}/{trace_id}"

    tracing = gate(Raises(), Knows(None), Knows("http://a"), Knows("http://b"))
    assert tracing.trace_url(TRACE) == f"http://a/{TRACE}"


def test_the_queue_s_limits_come_from_the_config() -> None:
    tracing = gate(Keeps(), queue={"max_spans": 3})
    for _ in range(3):
        answered(tracing, begun(tracing))
    (exporter,) = tracing.exporters
    assert (exporter.waiting_spans, exporter.recorded_spans) == (2, 6)


def test_a_tracer_that_cannot_start_stops_the_start() -> None:
    class Refuses(Keeps):
        @hookimpl
        def tracer_started(self, resource: Resource) -> None:
            raise OSError(f"no socket for {resource.service_name}")

    first = Keeps()
    tracing = gate(first, Refuses(), Keeps())
    with pytest.raises(ConfigError) as caught:
        tracing.start()
    assert str(caught.value) == (
        "tracer 't1' (from tests 1) failed in tracer_started: OSError: no socket for tests"
    )


def test_a_gate_needs_no_clock_and_no_ids() -> None:
    tracing = Tracing([], TracingConfig(), RESOURCE)
    assert tracing.now_ns() > 0
