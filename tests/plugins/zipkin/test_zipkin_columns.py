"""Columns as Zipkin's JSON: what they say is what each of their spans says alone."""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanserve import Column, Resource, Span, SpanKind, Spans
from spanserve_zipkin.encode import Encoder
from spanserve_zipkin.encoding.cells import (
    Text,
    digits,
    milliseconds,
    quoted_digits,
    quoted_milliseconds,
)
from spanserve_zipkin.encoding.rows import body_of, lengths_of
from support.columns import any_calls, calls, columns
from support.zipkin_rules import read_spans, violations

LINK = re.compile(r"([0-9a-f]{32}\|[0-9a-f]{16}\|[^|]*)\|(\{.*\})\|0")
RESOURCE = Resource("digits é", {"service.version": "1"})


def numbers(span: dict[str, Any]) -> dict[str, Any]:
    """Return a span with the numbers in its tags as such: 1.500000 is 1.5."""
    tags = {key: number(value) for key, value in span.get("tags", {}).items()}
    return {**span, "tags": tags}


def number(text: str) -> Any:
    if link := LINK.fullmatch(text):
        return link[1], json.loads(link[2])
    try:
        return float(text)
    except ValueError:
        return text


def in_order(spans: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(numbers(span), sort_keys=True) for span in spans)


@settings(max_examples=200, deadline=None)
@given(any_calls())
def test_columns_say_what_each_of_their_spans_says_alone(spans: Spans) -> None:
    encoder = Encoder(RESOURCE)
    found = written(encoder, spans)
    assert [violations(span) for span in found] == [[] for _ in found]
    alone = [each for span in spans for each in written(encoder, [span])]
    assert in_order(found) == in_order(alone)


def written(encoder: Encoder, spans: Sequence[Span]) -> list[dict[str, Any]]:
    encoded = encoder.encode(spans)
    assert (encoded.rejected, encoded.failure) == (0, None)
    assert sum(rows.count for rows in encoded.rows) == len(spans)
    assert lengths_of(encoded.rows) == [len(text) for rows in encoded.rows for text in rows.texts()]
    return read_spans(body_of(encoded.rows))


def column_of(**fields: Any) -> Column:
    one = np.array([1], np.uint64)
    usual = {
        "name": "run",
        "kind": SpanKind.INTERNAL,
        "trace_id": np.array([b"1" * 32]),
        "span_id": one,
        "parent_id": one,
        "start_ns": np.array([10**18]),
        "end_ns": np.array([10**18 + 1]),
        "common": [{}],
        "which": np.array([0]),
        "own": {},
    }
    return Column(**(usual | fields))


@pytest.mark.parametrize(
    "odd",
    [
        {"common": [{"error": "e"}]},
        {"common": [{"otlp.link.0": "a"}]},
        {"own": {"error": np.array([0])}},
        {"own": {"client.address": np.array(["1.2.3.4"])}, "kind": SpanKind.SERVER},
        {"kind": SpanKind.SERVER, "own": {"network.peer.port": np.array([80])}},
        {"kind": SpanKind.CLIENT, "own": {"network.peer.port": np.array([80])}},
        {"own": {"x": np.array([-1])}},
        {"own": {"x": np.array([1 << 63], np.uint64), "y": np.array([7])}},
        {"own": {"x": np.array([b"binaryAnnotations"]), "y": np.array([b'"'])}},
        {"own": {"x": np.array([1.5]), "y": np.array([True]), "z": np.array(["é"])}},
    ],
)
def test_what_is_odd_in_a_column_is_written_as_in_a_span(odd: dict[str, Any]) -> None:
    column = column_of(**odd)
    encoder = Encoder(RESOURCE)
    assert written(encoder, Spans([[column]])) == written(encoder, [*column.spans()])


def test_the_callers_port_belongs_to_its_address_alone() -> None:
    proxied = {"client.address": "1.2.3.4", "network.peer.address": "5.6.7.8"}
    direct = {"client.address": "1.2.3.4", "network.peer.address": "1.2.3.4"}
    ports = {"network.peer.port": np.array([80], np.uint16)}
    ends = [
        written(
            Encoder(RESOURCE), Spans([[column_of(kind=SpanKind.SERVER, common=[x], own=ports)]])
        )
        for x in (proxied, direct)
    ]
    assert [(span["remoteEndpoint"], "tags" in span) for [span] in ends] == [
        ({"ipv4": "1.2.3.4"}, True),
        ({"ipv4": "1.2.3.4", "port": 80}, True),
    ]
    assert [span["tags"].get("network.peer.port") for [span] in ends] == ["80", None]


def test_one_broken_row_of_a_column_costs_no_other() -> None:
    three = column_of(
        trace_id=np.array([b"1" * 32] * 3),
        span_id=np.arange(1, 4, dtype=np.uint64),
        parent_id=np.zeros(3, np.uint64),
        start_ns=np.full(3, 10**18),
        end_ns=np.full(3, 10**18),
        common=[{}, 7],
        which=np.array([0, 1, 0]),
    )
    encoded = Encoder(RESOURCE).encode(Spans([[three]]))
    assert encoded.rejected == 1
    assert [span["id"][-1] for span in read_spans(body_of(encoded.rows))] == ["1", "3"]


def test_spans_beside_the_columns_come_after_them() -> None:
    other = Span("other", SpanKind.INTERNAL, "1" * 32, "2" * 16, None, 10**18, 10**18 + 5)
    spans = Spans([[column_of()]], [other])
    assert [span["name"] for span in written(Encoder(RESOURCE), spans)] == ["run", "other"]
    assert body_of(Encoder(RESOURCE).encode(Spans([])).rows) == b"[]"


def test_spans_may_have_nothing_in_common_in_more_than_one_way() -> None:
    column = column_of(common=[{}, {}], own={"x": np.array([7])})
    found = written(Encoder(RESOURCE), Spans([[column]]))
    assert [span["tags"] for span in found] == [{"x": "7"}]


@pytest.mark.parametrize("rows", [1, 2])
def test_cells_may_be_fields_of_records(rows: int) -> None:
    records = np.array([(b"1" * 32, 7, b"x"), (b"2" * 32, 8, b"xy")][:rows], "S32, u8, S36")
    texts, ids, words = records["f0"], records["f1"], records["f2"]
    column = column_of(
        trace_id=texts,
        span_id=ids,
        parent_id=ids + 8,
        start_ns=np.full(rows, 10**18),
        end_ns=np.full(rows, 10**18),
        which=np.zeros(rows, int),
        own={"word": words},
    )
    spans = written(Encoder(RESOURCE), Spans([[column]]))
    found = [(span["traceId"], span["id"], span["tags"]["word"]) for span in spans]
    assert found == [("1" * 32, f"{7:016x}", "x"), ("2" * 32, f"{8:016x}", "xy")][:rows]


def rows_of(text: Text) -> list[bytes]:
    return [row.tobytes() for row in text]


@pytest.mark.parametrize(
    "numbers",
    [
        [0, 9, 1234],
        [0, 9_999, 10_000, 65_535, 99_999],
        [100_000],
        [0, 12_345, 99_999_999],
        [0, 7, 10**17],
        [],
        [10**15 + 7, 10**15],
    ],
)
def test_numbers_are_filled_up_with_blanks(numbers: list[int]) -> None:
    texts = rows_of(digits(np.array(numbers, np.int64)))
    assert [int(text) for text in texts] == numbers
    assert [text.lstrip(b" ") for text in texts] == [b"%d" % number for number in numbers]
    assert len(set(map(len, texts))) <= 1
    quoted = rows_of(quoted_digits(np.array(numbers, np.uint64)))
    assert [text.strip() for text in quoted] == [b'"%d"' % number for number in numbers]


@pytest.mark.parametrize("more", [[], [10**10], [10**13]])
def test_lengths_are_milliseconds_with_six_decimals(more: list[int]) -> None:
    lengths = np.array([0, 1, 1_500_000, 9_999_999_999, *more], "timedelta64[ns]")
    expected = [b"0.000000", b"0.000001", b"1.500000", b"9999.999999"]
    expected += [b"%d.000000" % (ns // 10**6) for ns in more]
    assert [text.strip() for text in rows_of(milliseconds(lengths))] == expected
    quoted = [text.strip() for text in rows_of(quoted_milliseconds(lengths))]
    assert quoted == [b'"%b"' % text for text in expected]


@settings(max_examples=100, deadline=None)
@given(calls(), st.integers(1, 5))
def test_spans_in_parts_are_the_same_spans(spans: Spans, count: int) -> None:
    parts = spans.parts(count)
    assert len(parts) == count
    assert sum(map(len, parts)) == len(spans)
    longest = max(map(len, parts)) - min(map(len, parts))
    assert longest <= 1 + sum(len(block) for block in spans.blocks)
    assert spans_by_id(chain(*parts)) == spans_by_id(spans)
    assert spans_by_id(Spans.joined(parts)) == spans_by_id(spans)
    assert spans_by_id(Spans.joined([list(spans), *parts[1:]])) == spans_by_id(
        [*spans, *chain(*parts[1:])]
    )


def spans_by_id(spans: Iterable[Span]) -> list[str]:
    return sorted(map(repr, spans))


@settings(max_examples=100, deadline=None)
@given(columns(3))
def test_the_sequence_has_the_spans_of_each_record_together(column: Column) -> None:
    spans = Spans([[column, column], [column]])
    made = list(column.spans())
    assert list(spans) == [made[0], made[0], made[1], made[1], made[2], made[2], *made]
    assert (len(spans), spans[2], spans[-2:]) == (9, made[1], made[1:])
