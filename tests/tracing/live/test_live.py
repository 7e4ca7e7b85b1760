"""Live tracers: every boundary once, in order, where it happens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanserve import Span, SpanStart, hookimpl
from spanserve.tracing.model.failure import failure_of
from spanserve.tracing.model.ids import RUN, item_place
from spanserve.tracing.tracing import Tracing
from support.gate import Watch, answered, begun, gate, queued, released, run
from support.workload import Workload

CUSTOM = {"slow", "mine", "late", "afterwards", *(f"custom {depth}" for depth in range(4))}
"""Spans of the user's code, which need not lie within others."""


class Looks:
    """Notes each boundary as (hook, name, the trace's number)."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.seen: list[tuple[str, str, int]] = []
        self.started: dict[tuple[str, str], SpanStart] = {}
        self.ended: dict[tuple[str, str], Span] = {}
        self.open: dict[tuple[str, str], str | None] = {}

    def _note(self, hook: str, span: SpanStart | Span) -> None:
        number = self.numbers.setdefault(span.trace_id, len(self.numbers))
        self.seen.append((hook, span.name, number))

    @hookimpl
    def span_started(self, start: SpanStart) -> None:
        self._note("started", start)
        key = (start.trace_id, start.span_id)
        assert key not in self.started, f"started twice: {start}"
        is_root = not any(trace_id == start.trace_id for trace_id, _ in self.started)
        is_inside = (start.trace_id, str(start.parent_id)) in self.open
        assert is_root or is_inside or start.name in CUSTOM, start
        self.started[key] = start
        self.open[key] = start.parent_id

    @hookimpl
    def span_ended(self, span: Span) -> None:
        self._note("ended", span)
        key = (span.trace_id, span.span_id)
        del self.open[key]
        children = {
            self.started[k].name
            for k, parent in self.open.items()
            if k[0] == key[0] and parent == key[1]
        }
        assert children <= CUSTOM, f"ended before its children: {span}"
        start = self.started[key]
        assert start[:6] == span[:6]
        self.ended[key] = span


def live() -> tuple[Tracing, Looks]:
    looks = Looks()
    return gate(looks, watch=Watch(tick_ns=1_000)), looks


def test_a_batch_of_three_announces_each_boundary_once_in_order() -> None:
    tracing, looks = live()
    requests = [begun(tracing) for _ in range(3)]
    for record in requests:
        record.decode_started(tracing.now_ns())
        record.decode_ended(tracing.now_ns())
    batch = released(tracing, [queued(tracing, record) for record in requests])
    run(tracing, batch)
    for record in requests:
        answered(tracing, record)
    assert looks.seen == [
        *[("started", "POST /predict", n) for n in range(3)],
        *[(hook, "decode", n) for n in range(3) for hook in ("started", "ended")],
        *[("started", "queue", n) for n in range(3)],
        ("started", "batch /predict", 3),
        *[("ended", "queue", n) for n in range(3)],
        ("started", "collate", 3),
        ("ended", "collate", 3),
        ("started", "run", 3),
        ("ended", "run", 3),
        ("started", "split", 3),
        ("ended", "split", 3),
        ("ended", "batch /predict", 3),
        *[
            boundary
            for n in range(3)
            for boundary in (
                ("started", "encode", n),
                ("ended", "encode", n),
                ("ended", "POST /predict", n),
            )
        ],
    ]
    assert looks.open == {}


def test_a_batch_of_one_announces_all_in_the_request_s_trace() -> None:
    tracing, looks = live()
    record = begun(tracing)
    batch = released(tracing, [queued(tracing, record)])
    run(tracing, batch)
    answered(tracing, record)
    assert looks.seen == [
        (hook, name, 0)
        for hook, name in (
            ("started", "POST /predict"),
            ("started", "queue"),
            ("ended", "queue"),
            ("started", "collate"),
            ("ended", "collate"),
            ("started", "run"),
            ("ended", "run"),
            ("started", "split"),
            ("ended", "split"),
            ("started", "encode"),
            ("ended", "encode"),
            ("ended", "POST /predict"),
        )
    ]


def test_a_plain_request_announces_its_wait_its_run_and_custom_spans() -> None:
    tracing, looks = live()
    record = begun(tracing)
    record.plain_queued(tracing.now_ns())
    record.plain_run_started(tracing.now_ns())
    custom = record.custom_started("mine", RUN, tracing.now_ns(), {"rows": 3})
    record.custom_ended(custom, tracing.now_ns())
    record.plain_run_ended(tracing.now_ns())
    answered(tracing, record)
    assert [(hook, name) for hook, name, _ in looks.seen] == [
        ("started", "POST /predict"),
        ("started", "queue"),
        ("ended", "queue"),
        ("started", "run"),
        ("started", "mine"),
        ("ended", "mine"),
        ("ended", "run"),
        ("started", "encode"),
        ("ended", "encode"),
        ("ended", "POST /predict"),
    ]
    mine = looks.started[record.trace_id, record.span_id(custom.place)]
    assert mine.attributes == {"rows": 3}
    assert looks.started[record.trace_id, record.span_id(RUN)].attributes == {}


def test_a_request_that_times_out_ends_its_parts_first_and_custom_spans_end_when_they_do() -> None:
    tracing, looks = live()
    record = begun(tracing)
    item = queued(tracing, record)
    batch = released(tracing, [item])
    batch.collate_started(tracing.now_ns())
    batch.run_started(tracing.now_ns())
    custom = record.custom_started("slow", item_place(0, RUN), tracing.now_ns())
    record.status = 504
    tracing.request_ended(record)
    record.custom_ended(custom, tracing.now_ns())
    batch.run_ended(tracing.now_ns())
    batch.ended(tracing.now_ns())
    assert [name for hook, name, _ in looks.seen if hook == "ended"][-3:] == [
        "run",
        "POST /predict",
        "slow",
    ]
    assert looks.open == {}
    ran = looks.ended[record.trace_id, record.span_id(item_place(0, RUN))]
    assert ran.attributes == {"spanserve.run.unfinished": True}


def test_a_run_that_fails_ends_with_its_failure_and_no_split() -> None:
    tracing, looks = live()
    record = begun(tracing)
    item = queued(tracing, record)
    batch = released(tracing, [item])
    batch.collate_started(tracing.now_ns())
    batch.run_started(tracing.now_ns())
    now_ns = tracing.now_ns()
    batch.failure = failure_of(ValueError("bad"), now_ns)
    batch.run_ended(now_ns)
    item.failure = batch.failure
    batch.ended(tracing.now_ns())
    record.status = 500
    tracing.request_ended(record)
    ended = [span for span in looks.ended.values() if span.error is not None]
    assert [(span.name, span.error) for span in ended] == [("run", "bad"), ("POST /predict", "")]
    assert "split" not in {name for _, name, _ in looks.seen}


def test_an_unsampled_request_announces_nothing() -> None:
    tracing, looks = live()
    record = begun(tracing, {"b3": "0"})
    record.plain_run_started(tracing.now_ns())
    record.plain_run_ended(tracing.now_ns())
    run(tracing, released(tracing, [queued(tracing, record)]))
    answered(tracing, record)
    assert looks.seen == []


def test_without_a_live_hook_records_are_the_plain_ones() -> None:
    class Silent:
        @hookimpl
        def export_spans(self, spans: list[Span]) -> None:
            """Take them."""

    plain, watched = begun(gate(Silent())), begun(live()[0])
    assert [type(record).__name__ for record in (plain, watched)] == [
        "RequestRecord",
        "LiveRequestRecord",
    ]


@pytest.mark.parametrize("hook", ["span_started", "span_ended"])
def test_one_live_hook_is_enough(hook: str) -> None:
    seen: list[str] = []

    class Half:
        if hook == "span_started":

            @hookimpl
            def span_started(self, start: SpanStart) -> None:
                seen.append(start.name)
        else:

            @hookimpl
            def span_ended(self, span: Span) -> None:
                seen.append(span.name)

    tracing = gate(Half())
    answered(tracing, begun(tracing))
    assert sorted(seen) == ["POST /predict", "encode"]


@settings(max_examples=200, deadline=None)
@given(draw=st.data())
def test_whatever_happens_each_boundary_is_told_once_and_children_end_first(
    draw: st.DataObject,
) -> None:
    tracing, looks = live()
    work = Workload(tracing, draw)
    work.run()
    assert looks.open == {}
    exported = {(span.trace_id, span.span_id): span for span in work.spans()}
    shared = {batch.trace_id for batch in work.batches if batch.recording}
    copied = {
        key
        for key, span in exported.items()
        if key not in looks.ended and span.trace_id not in shared
    }
    assert {exported[key].name for key in copied} <= {
        "run",
        *CUSTOM,
    }
    assert set(looks.ended) <= set(exported)
    for key, span in looks.ended.items():
        same = exported[key]
        assert (span.name, span.parent_id) == (same.name, same.parent_id)
        assert (span.start_ns, span.end_ns) == (same.start_ns, same.end_ns)
