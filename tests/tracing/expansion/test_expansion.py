"""From records to spans: the shape of a trace, its rules for any work, and whole examples."""

import marshal
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, Literal

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from spanserve import AttributeValue, Event, Link, Span, SpanKind, Spans, hookimpl, span
from spanserve.tracing.expansion.expand import Expander
from spanserve.tracing.model import names
from spanserve.tracing.model.failure import failure_of
from spanserve.tracing.model.ids import RUN, item_place
from spanserve.tracing.recording.base import MAX_CUSTOM_SPANS, Record
from spanserve.tracing.recording.counting import spans_of_batch, spans_of_request
from spanserve.tracing.recording.members import Members
from spanserve.tracing.recording.record import ItemRecord, RequestRecord
from spanserve.tracing.recording.table import (
    BATCH,
    LATE,
    REQUEST,
    TABLE,
    Table,
    write_link,
)
from spanserve.tracing.scope import entered
from spanserve.tracing.tracing import Tracing
from support.gate import (
    UNIX_NS,
    Sent,
    Watch,
    answered,
    begin_run,
    begun,
    end_run,
    gate,
    http_scope,
    queued,
    released,
    run,
)
from support.leans import Call, Lean, batches_of_calls
from support.oracle.expansion import Expansion
from support.oracle.pieces import Pieces
from support.traces import (
    Tree,
    check_all,
    check_batches,
    check_trace,
    named,
    one,
    traces,
    tree,
)
from support.workload import Workload

COMMON: dict[str, AttributeValue] = {
    "http.request.method": "POST",
    "url.path": "/predict",
    "url.scheme": "http",
    "network.protocol.version": "1.1",
    "http.route": "/predict",
    "spanserve.endpoint": "/predict",
    "spanserve.request_id": "r",
    "client.address": "127.0.0.1",
    "network.peer.address": "127.0.0.1",
    "network.peer.port": 5555,
}
LONE: Tree = {"decode": {}, "queue": {}, "collate": {}, "run": {}, "split": {}, "encode": {}}
MEMBER: Tree = {"decode": {}, "queue": {}, "run": {}, "encode": {}}


class Silent:
    """A tracer that only takes: tracing is on."""

    @hookimpl
    def export_spans(self, spans: list[Span]) -> None:
        """Take them."""


def on(tick_ns: int = 1_000, **config: Any) -> tuple[Tracing, Watch]:
    watch = Watch(0, tick_ns=tick_ns)
    tracing = gate(Silent(), watch=watch, **config)
    watch.now = 0
    return tracing, watch


def expand(
    *records: Record,
    batch_spans: Literal["full", "linked"] = "full",
    exceptions: Literal["full", "type"] = "full",
) -> list[Span]:
    pieces = Pieces(UNIX_NS, batch_spans=batch_spans, exceptions=exceptions)
    return [span for record in records for span in Expansion(pieces).spans(record)]


RUNS = "well", "with spans", "not"
"""How the batches of a test run."""


def made_of(sent: Sequence[Table], *, linked: bool) -> list[Span]:
    """Expand what was sent, as an exporter does."""
    expander = Expander(batch_spans="linked" if linked else "full", exceptions="full")
    return [*Spans(expander.blocks(sent, UNIX_NS))]


def by_id(spans: Iterable[Span]) -> list[Span]:
    plain = (each._replace(links=tuple(each.links), events=tuple(each.events)) for each in spans)
    return sorted(plain, key=lambda span: (span.trace_id, span.span_id))


def decoded(tracing: Tracing, **headers: str) -> RequestRecord:
    record = begun(tracing, headers)
    record.decode_started(tracing.now_ns())
    record.decode_ended(tracing.now_ns())
    return record


def batch_of(tracing: Tracing, size: int) -> tuple[list[RequestRecord], list[ItemRecord]]:
    requests = [decoded(tracing) for _ in range(size)]
    return requests, [queued(tracing, record) for record in requests]


@settings(max_examples=300, deadline=None)
@given(draw=st.data(), linked=st.booleans())
def test_every_rule_of_traces_holds_whatever_happens(draw: st.DataObject, *, linked: bool) -> None:
    tracing, _ = on()
    work = Workload(tracing, draw, linked=linked)
    work.run()
    spans = work.spans()
    check_all(spans)
    check_batches(spans, unsampled=work.unsampled_items)
    recorded = {record.trace_id for record in (*work.requests, *work.batches) if record.recording}
    assert set(traces(spans)) == recorded


@settings(max_examples=200, deadline=None)
@given(draw=st.data(), linked=st.booleans())
def test_a_request_s_spans_are_the_same_whenever_they_are_made_after_its_end(
    draw: st.DataObject, *, linked: bool
) -> None:
    tracing, _ = on()
    work = Workload(tracing, draw, linked=linked)
    work.run()
    for record in work.requests:
        if record.recording:
            late = work.expansion().spans(record)
            assert late == work.early[id(record)]


@settings(max_examples=300, deadline=None)
@given(draw=st.data(), linked=st.booleans())
def test_what_crossed_to_another_process_makes_the_same_spans(
    draw: st.DataObject, *, linked: bool
) -> None:
    tracing, _ = on()
    work = Workload(tracing, draw, linked=linked)
    work.run()
    kinds = {each[0] for each in work.sent}
    for kind in kinds:
        event(f"kind {kind}")
    if any(each[0] == TABLE and each[4] for each in work.sent):
        event("custom spans in a table")
    crossed = marshal.loads(marshal.dumps([*work.sent]))
    assert by_id(made_of(crossed, linked=linked)) == by_id(work.spans())
    assert {TABLE, BATCH, REQUEST, LATE} >= kinds


@settings(max_examples=200, deadline=None)
@given(draw=st.data(), linked=st.booleans())
def test_parents_come_before_their_children_in_a_call(draw: st.DataObject, *, linked: bool) -> None:
    tracing, _ = on()
    work = Workload(tracing, draw, linked=linked)
    work.run()
    spans = made_of([each for each in work.sent if each[0] != LATE], linked=linked)
    places = {(each.trace_id, each.span_id): place for place, each in enumerate(spans)}
    for place, each in enumerate(spans):
        if each.parent_id is not None:
            assert places.get((each.trace_id, each.parent_id), -1) < place


@pytest.mark.parametrize("customs", [0, 2])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("linked", [False, True])
def test_usual_requests_cross_as_a_table_with_their_batch(
    *, size: int, linked: bool, customs: int
) -> None:
    tracing, _ = on(batch_spans="linked" if linked else "full")
    sent = Sent.of(tracing)
    requests, items = batch_of(tracing, size)
    batch = released(tracing, items)
    begin_run(tracing, batch)
    where, place = (requests[0], item_place(0, RUN)) if size == 1 else (batch, RUN)
    for _ in range(customs):
        with entered(tracing.scope(where, place)), span("scale", rows=3), span("multiply"):
            pass
    end_run(tracing, batch)
    for record in requests:
        assert not sent
        answered(tracing, record)
    records = [*requests, *([batch] if size > 1 else [])]
    expected = expand(*records, batch_spans="linked" if linked else "full")
    assert {each.name for each in expected} >= ({"scale", "multiply"} if customs else set())
    (table,) = sent
    assert (table[0], table[1]) == (TABLE, len(expected))
    assert by_id(made_of(sent, linked=linked)) == by_id(expected)


@settings(max_examples=100, deadline=None)
@given(
    batches=st.lists(
        st.tuples(st.integers(1, 4), st.lists(st.integers(0, 2), max_size=4)), max_size=4
    ),
    linked=st.booleans(),
)
def test_any_usual_batches_together_make_the_spans_that_each_makes_alone(
    batches: list[tuple[int, list[int]]], *, linked: bool
) -> None:
    tracing, _ = on(batch_spans="linked" if linked else "full")
    sent = Sent.of(tracing)
    records: list[Record] = []
    for size, depths in batches:
        requests, items = batch_of(tracing, size)
        batch = released(tracing, items)
        begin_run(tracing, batch)
        where, place = (requests[0], item_place(0, RUN)) if size == 1 else (batch, RUN)
        for number, depth in enumerate(depths):
            with ExitStack() as stack:
                stack.enter_context(entered(tracing.scope(where, place)))
                for level in range(depth + 1):
                    stack.enter_context(span(f"level {level}", number=number))
        end_run(tracing, batch)
        for record in requests:
            answered(tracing, record)
        records += [*requests, *([batch] if size > 1 else [])]
    assert {each[0] for each in sent} <= {TABLE}
    expected = expand(*records, batch_spans="linked" if linked else "full")
    assert by_id(made_of(sent, linked=linked)) == by_id(expected)
    assert sum(each[1] for each in sent) == len(expected)


@settings(max_examples=300, deadline=None)
@given(
    batches=batches_of_calls,
    rate=st.sampled_from([0.0, 0.5, 1.0]),
    errors=st.booleans(),
    slower_than_ms=st.sampled_from([None, 0.01, 0.02, 1.0]),
    trusts=st.booleans(),
    runs=st.sampled_from(RUNS),
)
def test_requests_without_records_make_the_spans_that_records_of_them_make(
    batches: list[list[Call]],
    *,
    rate: float,
    errors: bool,
    slower_than_ms: float | None,
    trusts: bool,
    runs: str,
) -> None:
    keep = {"errors": errors, "slower_than_ms": slower_than_ms}
    tracing, watch = on(sample_rate=rate, keep=keep, trust_incoming=trusts)
    sent = Sent.of(tracing)
    expected: list[Span] = []
    for calls in batches:
        expected += spans_of_leans(tracing, watch, calls, runs=runs)
    for each in sent:
        event(f"kind {each[0]}")
    assert by_id(made_of(sent, linked=False)) == by_id(expected)
    assert sum(each[1] for each in sent) == len(expected)


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("request_id", ["", "x"])
def test_requests_of_a_batch_are_sampled_by_their_traces(
    *, request_id: str, rate: float, keeps: bool
) -> None:
    tracing, _ = on(sample_rate=rate, keep={"errors": keeps})
    call = Call(("", ""), "", b"curl", request_id, 5555, fails=False)
    for size in (2, 3, 32):
        leans = [Lean(tracing, call) for _ in range(size)]
        batch = released(tracing, [lean.own for lean in leans])
        sampled = [int(lean.trace_id[16:], 16) < rate * 2**64 for lean in leans]
        assert [lean.sampled for lean in leans] == sampled
        assert [lean.recording for lean in leans] == [each or keeps for each in sampled]
        assert [lean.request_id for lean in leans] == [
            request_id or lean.trace_id for lean in leans
        ]
        assert (batch.sampled, batch.recording) == (any(sampled), keeps or any(sampled))
        assert batch.is_traced == batch.recording
        assert len(batch.trace_id) == 32
    assert len(set(sampled)) == (2 if 0 < rate < 1 else 1)


def spans_of_leans(tracing: Tracing, watch: Watch, calls: list[Call], *, runs: str) -> list[Span]:
    """Have calls answered in one batch, and return the spans that records of them would make."""
    leans = [Lean(tracing, call) for call in calls]
    items = [lean.own for lean in leans]
    batch = released(tracing, items)
    begin_run(tracing, batch)
    is_alone = len(calls) == 1
    alone = leans[0].full_record if runs == "with spans" and is_alone and batch.is_traced else None
    if runs == "with spans" and (alone is not None or not is_alone):
        where, place = (batch, RUN) if alone is None else (alone, item_place(0, RUN))
        with entered(tracing.scope(where, place)), span("scale", rows=3), span("multiply"):
            pass
    if runs == "not":
        batch.failure = items[0].failure = failure_of(ValueError("v"), tracing.now_ns())
    batch.run_ended(tracing.now_ns())
    batch.ended(tracing.now_ns())
    for lean, call in zip(leans, calls, strict=True):
        lean.answer(fails=call.fails)
    # Each answer was out as the next was begun, of those that were not ended by their records.
    begun_ns = [lean.encode_ns for lean in leans if lean.own.request is lean]
    ends_ns = dict(pairwise([*begun_ns, watch.now + watch.tick_ns]))
    tracing.answered(batch, items)
    assert not any(lean.record for lean in leans if lean.encoded_ns)  # a connection keeps its last
    if alone is not None and leans[0].encoded_ns:
        leans[0].record, alone.items = alone, ()
    assert batch.pending == 0
    for lean in leans:
        if lean.recording and lean.encoded_ns:
            record = lean.write_record(lean.own, 0, 200)
            record.ended(ends_ns[lean.encode_ns])
            record.kept_by = "" if lean.sampled else tracing.rules.kept_by(record)
            event(f"kept {record.kept_by}")
    batch.rows = batch.rows or Members()  # where the link to each will stand
    spans: list[Span] = []
    for lean in leans:
        if lean.recording and (lean.sampled or tracing.rules.kept_by(lean.full_record)):
            spans += expand(lean.full_record)
            write_link(batch.rows, lean.full_record, lean.own)
    return spans + expand(batch) if batch.recording and spans else spans


@settings(max_examples=200, deadline=None)
@given(draw=st.data(), linked=st.booleans())
def test_the_count_is_exact(draw: st.DataObject, *, linked: bool) -> None:
    tracing, _ = on(batch_spans="linked" if linked else "full")
    work = Workload(tracing, draw, linked=linked)
    work.run()
    expand = work.expansion().spans
    for batch in work.batches:
        if batch.recording:
            assert spans_of_batch(batch) == len(expand(batch))
    for record in work.requests:
        if record.recording:
            assert work.counts[id(record)] == len(expand(record))
    assert sum(each[1] for each in work.sent) == len(work.spans())


@settings(max_examples=300, deadline=None)
@given(draw=st.data(), linked=st.booleans())
def test_every_span_of_the_user_s_goes_out_once_with_its_own_times_and_parent(
    draw: st.DataObject, *, linked: bool
) -> None:
    tracing, _ = on(batch_spans="linked" if linked else "full")
    work = Workload(tracing, draw, linked=linked)
    work.run()
    spans = made_of(work.sent, linked=linked)
    ids = {(each.trace_id, each.span_id) for each in spans}
    for record, scope, custom in work.customs:
        if not record.recording:
            continue
        own = (record.trace_id, record.span_id(custom.place))
        (found,) = [each for each in spans if (each.trace_id, each.span_id) == own]
        assert found.start_ns == custom.started_ns + UNIX_NS
        assert found.parent_id == record.span_id(scope.place)
        assert (found.trace_id, found.parent_id) in ids
        if custom.ended_ns:
            assert found.end_ns == custom.ended_ns + UNIX_NS
        assert (names.UNFINISHED in found.attributes) == (custom.ended_ns == 0)
        event(f"late: {names.LATE in found.attributes}")


def test_a_plain_request_is_five_rows() -> None:
    tracing, _ = on()
    record = decoded(tracing)
    record.plain_queued(tracing.now_ns())
    record.plain_run_started(tracing.now_ns())
    record.plain_run_ended(tracing.now_ns())
    answered(tracing, record)
    root_id = record.span_id(0)

    def part(name: str, place: int, start_us: int, end_us: int) -> Span:
        start_ns, end_ns = UNIX_NS + start_us * 1_000, UNIX_NS + end_us * 1_000
        own_id = record.span_id(place)
        return Span(name, SpanKind.INTERNAL, record.trace_id, own_id, root_id, start_ns, end_ns)

    spans = expand(record)
    root = Span(
        "POST /predict",
        SpanKind.SERVER,
        record.trace_id,
        record.span_id(0),
        None,
        UNIX_NS + 1_000,
        UNIX_NS + 9_000,
        COMMON | {"http.response.status_code": 200},
    )
    assert spans == [
        root,
        part("decode", 1, 2, 3),
        part("queue", 3, 4, 5),
        part("run", 5, 5, 6),
        part("encode", 2, 7, 8),
    ]


def test_a_batch_of_three_is_four_traces_that_name_each_other() -> None:
    tracing, _ = on()
    requests, items = batch_of(tracing, 3)
    batch = released(tracing, items)
    run(tracing, batch)
    for record in requests:
        answered(tracing, record)
    spans = expand(*requests, batch)
    check_all(spans)
    assert [tree(each) for each in (expand(record) for record in requests)] == (
        [{"POST /predict": MEMBER}] * 3
    )
    assert tree(expand(batch)) == {"batch /predict": {"collate": {}, "run": {}, "split": {}}}
    assert one("batch /predict", spans) == Span(
        "batch /predict",
        SpanKind.INTERNAL,
        batch.trace_id,
        batch.span_id(0),
        None,
        UNIX_NS + 13_000,
        UNIX_NS + 17_000,
        {
            "spanserve.endpoint": "/predict",
            "spanserve.batch.size": 3,
            "spanserve.release_reason": "full",
        },
        [
            Link(
                record.trace_id,
                record.span_id(item_place(0, 3)),
                {"position": position, "wait_ms": (4 - position) / 1e3},
            )
            for position, record in enumerate(requests)
        ],
    )


def test_a_member_s_queue_and_run_say_what_they_shared() -> None:
    tracing, _ = on()
    requests, items = batch_of(tracing, 2)
    batch = released(tracing, items, "deadline")
    run(tracing, batch)
    answered(tracing, requests[1])
    spans = expand(requests[1])
    assert one("queue", spans).attributes == {
        "spanserve.queue.depth": 0,
        "spanserve.batch.size": 2,
        "spanserve.batch.position": 1,
        "spanserve.release_reason": "deadline",
        "spanserve.wait.for_peers_ms": 0.001,
        "spanserve.wait.for_runner_ms": 0.0,
        "spanserve.wait.for_start_ms": 0.001,
        "spanserve.batch.trace_id": batch.trace_id,
        "spanserve.batch.span_id": batch.span_id(0),
    }
    assert one("run", spans).attributes == {"spanserve.run.share_ms": 0.0005}


def test_a_batch_of_one_lies_in_the_request_s_own_trace() -> None:
    tracing, _ = on()
    (record,), items = batch_of(tracing, 1)
    batch = released(tracing, items, "idle")
    run(tracing, batch)
    answered(tracing, record)
    spans = expand(record)
    check_trace(spans)
    assert (batch.recording, tree(spans)) == (False, {"POST /predict": LONE})
    assert one("queue", spans).attributes == {
        "spanserve.queue.depth": 0,
        "spanserve.batch.size": 1,
        "spanserve.batch.position": 0,
        "spanserve.release_reason": "idle",
        "spanserve.wait.for_peers_ms": 0.001,
        "spanserve.wait.for_runner_ms": 0.0,
        "spanserve.wait.for_start_ms": 0.001,
    }


def test_an_unsampled_member_is_counted_and_not_linked() -> None:
    tracing, _ = on()
    sampled, unsampled = decoded(tracing), decoded(tracing, b3="0")
    batch = released(tracing, [queued(tracing, unsampled), queued(tracing, sampled)])
    run(tracing, batch)
    for record in (unsampled, sampled):
        answered(tracing, record)
    spans = expand(sampled, batch)
    check_batches(spans, unsampled=1)
    links = one("batch /predict", spans).links
    assert [link.attributes["position"] for link in links] == [1]


def test_a_batch_of_200_links_all_of_them() -> None:
    tracing, _ = on()
    requests, items = batch_of(tracing, 200)
    batch = released(tracing, items)
    run(tracing, batch)
    for record in requests:
        answered(tracing, record)
    spans = expand(*requests, batch)
    check_all(spans)
    assert len(one("batch /predict", spans).links) == 200
    assert len(spans) == 200 * 5 + 4


def test_a_request_of_several_items_has_a_queue_and_a_run_for_each() -> None:
    tracing, _ = on()
    record = decoded(tracing)
    items = [queued(tracing, record) for _ in range(3)]
    pair, single = released(tracing, items[:2]), released(tracing, items[2:])
    run(tracing, pair)
    run(tracing, single)
    answered(tracing, record)
    spans = expand(record, pair)
    check_all(spans)
    assert {name: len(named(name, expand(record))) for name in ("queue", "run", "split")} == {
        "queue": 3,
        "run": 3,
        "split": 1,
    }


def failed_run(tracing: Tracing, size: int) -> tuple[list[RequestRecord], Record]:
    requests, items = batch_of(tracing, size)
    batch = released(tracing, items)
    batch.collate_started(tracing.now_ns())
    batch.run_started(tracing.now_ns())
    now_ns = tracing.now_ns()
    batch.failure = failure_of(ValueError("bad weights"), now_ns)
    batch.run_ended(now_ns)
    for item in items:
        item.failure = batch.failure
    batch.ended(tracing.now_ns())
    for record in requests:
        record.status = 500
        tracing.request_ended(record)
    return requests, batch


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_that_raises_is_an_error_of_the_run_with_its_event_and_of_the_request(
    size: int,
) -> None:
    tracing, watch = on()
    requests, batch = failed_run(tracing, size)
    spans = expand(requests[0])
    ran, root = one("run", spans), spans[0]
    assert (ran.error, ran.attributes["error.type"]) == ("bad weights", "ValueError")
    assert ran.events == (
        Event(
            "exception",
            ran.end_ns,
            {
                "exception.type": "ValueError",
                "exception.message": "bad weights",
                "exception.stacktrace": "ValueError: bad weights\n",
            },
        ),
    )
    assert (root.error, root.attributes["error.type"], root.events) == ("", "ValueError", ())
    assert named("split", spans) == []
    if batch.recording:
        own = expand(batch)
        assert (own[0].error, own[0].attributes["error.type"]) == ("", "ValueError")
        assert one("run", own).events == ran.events
    assert watch.now > 0


@pytest.mark.parametrize(("part", "size"), [("collate", 1), ("collate", 2), ("split", 1)])
def test_the_part_that_raised_is_the_one_that_shows_it(part: str, size: int) -> None:
    tracing, _ = on()
    requests, items = batch_of(tracing, size)
    batch = released(tracing, items)
    batch.collate_started(tracing.now_ns())
    if part == "split":
        batch.run_started(tracing.now_ns())
        batch.run_ended(tracing.now_ns())
    batch.failure = failure_of(ValueError("odd"), tracing.now_ns())
    for item in items:
        item.failure = batch.failure
    batch.ended(tracing.now_ns())
    requests[0].status = 500
    tracing.request_ended(requests[0])
    spans = expand(requests[0] if size == 1 else batch)
    assert [span.name for span in spans if span.events] == [part]
    root = expand(requests[0])[0]
    assert (root.error, root.attributes["error.type"]) == ("odd" if size > 1 else "", "ValueError")
    assert len(root.events) == (size > 1)


def test_an_item_that_fails_alone_is_no_error_of_its_neighbours() -> None:
    tracing, _ = on()
    requests, items = batch_of(tracing, 2)
    batch = released(tracing, items)
    run(tracing, batch)
    items[0].failure = failure_of(ValueError("item 0"), batch.ran_ns)
    answered(tracing, requests[0], 500)
    answered(tracing, requests[1])
    mine, other, shared = expand(requests[0]), expand(requests[1]), expand(batch)
    assert [span.name for span in mine if span.error is not None] == ["POST /predict", "run"]
    assert [span.name for span in (*other, *shared) if span.error is not None] == []


@pytest.mark.parametrize("status", [400, 404, 413, 422, 429])
def test_a_4xx_is_no_error(status: int) -> None:
    tracing, _ = on()
    record = decoded(tracing)
    record.status = status
    tracing.request_ended(record)
    root = expand(record)[0]
    assert (root.error, root.attributes) == (
        None,
        COMMON | {"http.response.status_code": status},
    )


def test_a_5xx_without_an_exception_has_its_code_for_a_type() -> None:
    tracing, _ = on()
    record = decoded(tracing)
    record.status = 503
    tracing.request_ended(record)
    root = expand(record)[0]
    assert (root.error, root.attributes["error.type"], root.events) == ("", "503", ())


def test_an_exception_outside_the_run_stands_on_the_server_span() -> None:
    tracing, _ = on()
    record = decoded(tracing)
    record.failure = failure_of(RuntimeError("encode"), tracing.now_ns())
    record.status = 500
    tracing.request_ended(record)
    root = expand(record)[0]
    assert (root.error, root.attributes["error.type"]) == ("encode", "RuntimeError")
    assert [event.name for event in root.events] == ["exception"]


def test_with_types_only_no_text_of_an_exception_leaves() -> None:
    tracing, _ = on()
    requests, batch = failed_run(tracing, 2)
    spans = expand(*requests, batch, exceptions="type")
    assert "bad weights" not in repr(spans)
    assert one("run", expand(batch, exceptions="type")).attributes == {"error.type": "ValueError"}
    assert {span.error for span in spans if "error.type" in span.attributes} == {""}


def test_linked_members_carry_a_reference_and_a_failure_none_of_their_spans_shows() -> None:
    tracing, _ = on()
    requests, batch = failed_run(tracing, 2)
    spans = expand(requests[0], batch_spans="linked")
    assert tree(spans) == {"POST /predict": {"decode": {}, "queue": {}}}
    assert spans[0].error == "bad weights"
    check_all(expand(*requests, batch, batch_spans="linked"))


def test_custom_spans_of_a_batch_are_copied_into_each_member_with_new_ids() -> None:
    tracing, _ = on()
    requests, items = batch_of(tracing, 2)
    batch = released(tracing, items)
    batch.collate_started(tracing.now_ns())
    batch.run_started(tracing.now_ns())
    outer = batch.custom_started("outer", RUN, tracing.now_ns(), {"rows": 2})
    inner = batch.custom_started("inner", outer.place, tracing.now_ns())
    batch.custom_ended(inner, tracing.now_ns())
    batch.custom_ended(outer, tracing.now_ns())
    end_run(tracing, batch)
    for record in requests:
        answered(tracing, record)
    spans = expand(*requests, batch)
    check_all(spans)
    assert tree(expand(requests[0])) == {
        "POST /predict": MEMBER | {"run": {"outer": {"inner": {}}}}
    }
    copies = [span for span in named("outer", spans) if span.trace_id != batch.trace_id]
    assert [copy.attributes for copy in copies] == (
        [{"rows": 2, "spanserve.copy_of": batch.span_id(outer.place)}] * 2
    )
    assert len({span.span_id for span in spans}) == len(spans)


def test_what_outlives_its_parent_keeps_its_times_and_what_is_open_at_the_end_follows() -> None:
    tracing, _ = on()
    sent = Sent.of(tracing)
    record = decoded(tracing)
    record.plain_run_started(tracing.now_ns())
    forgotten = record.custom_started("forgotten", RUN, tracing.now_ns())
    thread = record.custom_started("thread", RUN, tracing.now_ns())
    record.plain_run_ended(tracing.now_ns())
    record.custom_ended(thread, tracing.now_ns())
    record.custom_started("afterwards", thread.place, tracing.now_ns())
    answered(tracing, record)
    spans = expand(record)
    check_trace(spans)
    ran = one("run", spans)
    assert one("thread", spans).end_ns > ran.end_ns
    assert one("thread", spans).parent_id == ran.span_id
    assert named("forgotten", spans) == named("afterwards", spans) == []
    tracing.late.stop()
    followed = made_of([each for each in sent if each[0] == LATE], linked=False)
    assert {each.name: each.attributes for each in followed} == {
        name: {"spanserve.late": True, "spanserve.unfinished": True}
        for name in ("forgotten", "afterwards")
    }
    assert forgotten.ended_ns == 0


def test_custom_spans_past_the_bound_are_said_on_the_root() -> None:
    tracing, _ = on()
    record = decoded(tracing)
    record.plain_run_started(tracing.now_ns())
    for _ in range(MAX_CUSTOM_SPANS + 5):
        record.custom_ended(record.custom_started("c", RUN, tracing.now_ns()), tracing.now_ns())
    record.plain_run_ended(tracing.now_ns())
    answered(tracing, record)
    spans = expand(record)
    check_trace(spans)
    assert spans[0].attributes["spanserve.custom_spans.lost"] == 5
    assert len(named("c", spans)) == MAX_CUSTOM_SPANS
    assert spans_of_request(record, include_batch_run=True) == len(spans)


def test_a_timeout_while_the_batch_runs_cuts_the_run_off() -> None:
    tracing, _ = on()
    (record,), items = batch_of(tracing, 1)
    batch = released(tracing, items)
    batch.collate_started(tracing.now_ns())
    batch.run_started(tracing.now_ns())
    record.status = 504
    tracing.request_ended(record)
    batch.run_ended(tracing.now_ns())
    batch.ended(tracing.now_ns())
    spans = expand(record)
    check_trace(spans)
    assert tree(spans) == {"POST /predict": {"decode": {}, "queue": {}, "collate": {}, "run": {}}}
    assert one("run", spans).attributes == {"spanserve.run.unfinished": True}


def test_a_request_that_was_over_before_its_batch_began_has_no_spans_of_it() -> None:
    tracing, _ = on()
    (record,), items = batch_of(tracing, 1)
    batch = released(tracing, items)
    record.status = 504
    tracing.request_ended(record)
    run(tracing, batch)
    spans = expand(record)
    check_trace(spans)
    assert tree(spans) == {"POST /predict": {"decode": {}, "queue": {}}}


def test_a_remote_parent_a_debug_flag_and_a_client_that_left_are_told() -> None:
    tracing, _ = on()
    record = begun(tracing, {"b3": f"{'a' * 32}-{'b' * 16}-d"})
    record.client_left = True
    tracing.request_ended(record)
    (root,) = expand(record)
    check_trace([root], remote_parent="b" * 16)
    assert (root.trace_id, root.debug) == ("a" * 32, True)
    assert root.attributes["spanserve.client_left"] is True
    assert "http.response.status_code" not in root.attributes


def test_a_record_of_no_known_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="no spans are known of a Record"):
        expand(Record())


def attributes(**changes: Any) -> dict[str, Any]:
    tracing, _ = on()
    record = tracing.request(http_scope(**changes))
    assert record is not None
    tracing.request_ended(record)
    return dict(expand(record)[0].attributes)


def host(value: bytes, scheme: str = "http") -> dict[str, Any]:
    found = attributes(headers=[(b"host", value)], scheme=scheme)
    return {key: value for key, value in found.items() if key.startswith("server.")}


@pytest.mark.parametrize(
    ("value", "scheme", "expected"),
    [
        (b"example.com", "http", ("example.com", 80)),
        (b"example.com", "https", ("example.com", 443)),
        (b"example.com:8443", "https", ("example.com", 8443)),
        (b"[::1]:8000", "http", ("::1", 8000)),
        (b"[2001:db8::1]", "http", ("2001:db8::1", 80)),
        (b"example.com:", "http", ("example.com", 80)),
        (b"example.com:0", "http", ("example.com", None)),
        (b"example.com:99999999999999999999", "http", ("example.com", None)),
        (b"example.com", "gopher", ("example.com", None)),
        (b"", "http", (None, None)),
        (b":80", "http", (None, None)),
        (b"::1", "http", (None, None)),
        (b"a b", "http", (None, None)),
        (b"example.com:http", "http", (None, None)),
    ],
)
def test_a_host_header_is_taken_apart_or_left_out(
    value: bytes, scheme: str, expected: tuple[str | None, int | None]
) -> None:
    names = ("server.address", "server.port")
    whole = {name: each for name, each in zip(names, expected, strict=True) if each is not None}
    assert host(value, scheme) == whole


@given(st.binary(max_size=200))
def test_no_host_header_breaks_a_span(value: bytes) -> None:
    port = host(value).get("server.port", 80)
    assert 0 < port <= 65_535


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"a=1&b=2", "a=1&b=2"),
        (b"sig=s3cret&a=1", "sig=REDACTED&a=1"),
        (b"a=1&Signature=s3cret", "a=1&Signature=REDACTED"),
        (
            b"X-Amz-Signature=s&X-Amz-Credential=c",
            "X-Amz-Signature=REDACTED&X-Amz-Credential=REDACTED",
        ),
        (
            b"X-Amz-Security-Token=s&AWSAccessKeyId=k",
            "X-Amz-Security-Token=REDACTED&AWSAccessKeyId=REDACTED",
        ),
        (b"x-goog-signature=s", "x-goog-signature=REDACTED"),
        (b"%73ig=s3cret", "%73ig=REDACTED"),
        (b"a=1;sig=s3cret", "a=1;sig=REDACTED"),
        (b"design=1&sig", "design=1&sig"),
        (b"\xff=\xfe", "ÿ=þ"),
    ],
)
def test_secrets_in_a_query_are_redacted_as_the_conventions_say(
    query: bytes, expected: str
) -> None:
    assert attributes(query_string=query)["url.query"] == expected


@pytest.mark.parametrize("cut_at", [995, 1_000, 1_005])
def test_a_secret_at_the_bound_of_a_query_does_not_leak(cut_at: int) -> None:
    query = b"a=" + b"x" * (cut_at - 3) + b"&sig=s3cret" + b"y" * 100_000
    found = attributes(query_string=query)["url.query"]
    assert len(found) <= 1_000
    assert "s3" not in found


def test_an_unknown_method_is_other_and_keeps_its_text_bounded() -> None:
    tracing, _ = on()
    record = tracing.request(http_scope(method="B" * 5_000))
    assert record is not None
    tracing.request_ended(record)
    root = expand(record)[0]
    assert root.name == "HTTP"
    assert root.attributes["http.request.method"] == "_OTHER"
    assert root.attributes["http.request.method_original"] == "B" * 1_000


def test_a_request_without_a_route_is_named_by_its_method_alone() -> None:
    tracing, _ = on()
    record = tracing.request(http_scope("/no/such/path"))
    assert record is not None
    tracing.request_ended(record)
    assert expand(record)[0].name == "POST"


def test_huge_values_are_cut() -> None:
    found = attributes(path="/" + "p" * 9_999, headers=[(b"user-agent", b"u" * 9_999)])
    assert (len(found["url.path"]), len(found["user_agent.original"])) == (1_000, 1_000)


def test_a_missing_client_and_scheme_cost_their_attributes_only() -> None:
    scope = http_scope(headers=[])
    del scope["client"], scope["scheme"]
    tracing, _ = on()
    record = tracing.request(scope)
    assert record is not None
    tracing.request_ended(record)
    assert expand(record)[0].attributes == {
        "http.request.method": "POST",
        "url.path": "/predict",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
    }
    assert "client.address" not in attributes(client=None)


def test_a_client_from_a_proxy_s_header_is_not_the_peer() -> None:
    found = attributes(client=("203.0.113.7", 0))
    assert found["client.address"] == "203.0.113.7"
    assert not any(name.startswith("network.peer") for name in found)
