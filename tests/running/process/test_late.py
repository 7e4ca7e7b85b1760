"""Spans that a replica tells of after its replies: carried, or counted as dropped."""

from typing import Any

from spanserve.running.process.late import MOST_LATE, LateSpansOf
from spanserve.tracing.export.outcome import Drop
from spanserve.tracing.model.ids import RUN
from support.gate import Sent, begun, gate
from support.traces import Keeps


def told(name: str, place: int, ended_ns: int) -> list[Any]:
    """Return a custom span in a run, as a replica tells of it; 0: it has not ended."""
    return [name, "internal", place, RUN, 1_000, ended_ns, {}, [], None, None, []]


def test_each_span_goes_into_its_record_or_is_counted() -> None:
    tracing = gate(Keeps())
    sent = Sent.of(tracing)
    late = LateSpansOf(tracing)
    record = begun(tracing)
    late.overtook(1, told("ended", 1 << 20, 2_000))
    late.replied(1, record, [[told("ended", 1 << 20, 0), told("open", 1 << 21, 0)], 0])
    late.told(1, told("open", 1 << 21, 3_000))
    late.told(1, told("begun later", 1 << 22, 4_000))
    assert [(each.name, each.ended_ns) for each in record.custom_spans] == [
        ("ended", 2_000),
        ("open", 3_000),
        ("begun later", 4_000),
    ]
    late.told(1, None)
    late.told(2, told("of nobody", 1 << 20, 2_000))
    assert sent.lost == {Drop.LATE: 2}


def test_a_call_that_is_given_up_keeps_what_its_code_tells() -> None:
    tracing = gate(Keeps())
    late = LateSpansOf(tracing)
    record = begun(tracing)
    late.given_up(1, record)
    late.replied_in_vain(1, [[told("in it", 1 << 20, 2_000), told("open", 1 << 21, 0)], 0])
    late.told(1, told("open", 1 << 21, 3_000))
    late.replied_in_vain(2, [[], 0])
    assert [(each.name, each.ended_ns) for each in record.custom_spans] == [
        ("in it", 2_000),
        ("open", 3_000),
    ]


def test_of_very_many_requests_the_oldest_is_let_go_and_its_spans_are_counted() -> None:
    tracing = gate(Keeps())
    sent = Sent.of(tracing)
    late = LateSpansOf(tracing)
    record = begun(tracing)
    for token in range(1, MOST_LATE + 2):
        late.replied(token, record, [[], 0])
    late.told(1, told("too late", 1 << 20, 2_000))
    late.told(2, told("in time", 1 << 21, 2_000))
    assert [each.name for each in record.custom_spans] == ["in time"]
    assert sent.lost == {Drop.LATE: 1}
