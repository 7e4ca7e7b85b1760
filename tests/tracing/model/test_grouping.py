"""Any spans in columns are the same spans, whatever they hold."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanserve import Event, Link, Span, SpanKind, Spans, columns_of, part_of
from support.columns import any_spans, calls

SPAN = Span("run", SpanKind.INTERNAL, "1" * 32, "2" * 16, "3" * 16, 10**18, 10**18 + 5)


def in_order(spans: Any) -> list[str]:
    return sorted(repr(span._replace(links=[*span.links], events=[*span.events])) for span in spans)


@settings(max_examples=300, deadline=None)
@given(st.lists(any_spans(), max_size=8))
def test_columns_of_any_spans_make_the_same_spans(spans: list[Span]) -> None:
    found = columns_of(spans)
    assert (found.broken, found.failure) == ((), None)
    assert in_order(Spans([[column] for column in found.columns])) == in_order(spans)


@settings(max_examples=100, deadline=None)
@given(calls(), st.lists(any_spans(), max_size=4), st.integers(0, 30), st.integers(0, 30))
def test_a_part_has_the_spans_between_two_numbers(
    spans: Spans, others: list[Span], first: int, more: int
) -> None:
    columns = columns_of(Spans(spans.blocks, others)).columns
    every = [span for column in columns for span in column.spans()]
    assert len(every) == len(spans) + len(others)
    found = [span for part in part_of(columns, first, first + more) for span in part.spans()]
    assert list(map(repr, found)) == list(map(repr, every[first : first + more]))


@pytest.mark.parametrize(
    "changes",
    [
        {"trace_id": "1" * 31},
        {"trace_id": "g" * 32},
        {"trace_id": None},
        {"span_id": " " + "1" * 15},
        {"span_id": "1" * 18},
        {"parent_id": "1" * 15},
        {"start_ns": None},
        {"end_ns": 1 << 63},
        {"attributes": None},
        {"links": [Link("1" * 32, "x")]},
        {"events": [Event("e", "now")]},  # type: ignore[arg-type]
        {"links": 7},
    ],
)
def test_one_broken_span_costs_no_other(changes: dict[str, Any]) -> None:
    broken = SPAN._replace(**changes)
    found = columns_of([SPAN, broken, SPAN._replace(span_id="4" * 16)])
    assert [span.span_id for column in found.columns for span in column.spans()] == [
        "2" * 16,
        "4" * 16,
    ]
    assert found.broken == [broken]
    assert found.failure is not None


def test_a_name_that_is_no_text_becomes_text_and_an_unknown_kind_internal() -> None:
    fields: dict[str, Any] = {"name": 7, "kind": "odd"}
    odd = SPAN._replace(**fields)
    [column] = columns_of([odd]).columns
    assert (column.name, column.kind) == ("7", SpanKind.INTERNAL)
    assert json.dumps(column.trace_id.tolist()[0].decode()) == json.dumps("1" * 32)


def test_spans_of_one_form_are_one_column_and_share_what_they_share() -> None:
    said = {"model": "digits"}
    spans = [SPAN._replace(span_id=f"{n:016x}", attributes=said) for n in range(1, 9)]
    [column] = columns_of(spans).columns
    assert (column.common, column.which.tolist()) == ([said], [0] * 8)
    assert column.span_id.dtype == np.uint64
