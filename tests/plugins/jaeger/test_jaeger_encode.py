"""Jaeger's Thrift: golden bytes, and packets that Apache's decoder reads back equal."""

import json
import math
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanserve import Attributes, Event, Link, Resource, Span, SpanKind
from spanserve_jaeger.encoding.thrift import signed, varint
from spanserve_jaeger.packets import Encoded, PacketEncoder
from support.thrift_sink import decode_packet

GOLDEN = bytes.fromhex(
    "82810009656d697442617463681c1c1803737663191c18016815001801780000191c16c7b9feb7dcb78ab7f7"
    "0116ba8feaeca2c6b2f715169db3feedd2a3cad2900116001806474554202f70191c150216a2c48891a2c488"
    "912216001604001502168080f2818389850616b817195c18017315001802c3a9001801641502270000000000"
    "00f83f00180162150431001801661504320018016c1506460500191c16c881f28183898506191c1805657665"
    "6e7415001801650000000000"
)
RESOURCE = Resource("svc", {"service.name": "svc", "h": "x"})
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
START_NS = 1_700_000_000_000_000_000
CONTINUES = "spanserve.links.continues"


def span_of(**changes: Any) -> Span:
    whole = Span("GET /p", SpanKind.INTERNAL, TRACE_ID, SPAN_ID, None, START_NS, START_NS + 1500)
    return whole._replace(**changes)


def encode(spans: Sequence[Span], *, max_packet_bytes: int = 65_000) -> Encoded:
    encoded = PacketEncoder(RESOURCE, max_packet_bytes=max_packet_bytes).encode(spans)
    assert all(len(packet.payload) <= max_packet_bytes for packet in encoded.packets)
    return encoded


def decoded(spans: Sequence[Span], *, max_packet_bytes: int = 65_000) -> list[dict[str, Any]]:
    encoded = encode(spans, max_packet_bytes=max_packet_bytes)
    assert (encoded.rejected, encoded.reason) == (0, None)
    batches = [decode_packet(packet.payload) for packet in encoded.packets]
    return [span for batch in batches for span in batch.spans]


def test_the_golden_vector_is_met_byte_for_byte() -> None:
    span = span_of(
        end_ns=START_NS + 1_500_000,
        attributes={"s": "é", "d": 1.5, "b": True, "f": False, "l": -3},
        links=[Link("0000000000000000" + "1111111111111111", "0000000000000002")],
        events=[Event("e", START_NS + 100_000)],
    )
    assert [packet.payload for packet in encode([span]).packets] == [GOLDEN]


def test_a_failed_span_says_so_in_the_words_of_opentelemetry() -> None:
    span = span_of(kind=SpanKind.SERVER, error="boom", attributes={"error": False, "n": 1})
    assert decoded([span])[0]["tags"] == {
        "error": True,
        "otel.status_code": "ERROR",
        "otel.status_description": "boom",
        "n": 1,
        "span.kind": "server",
    }


def test_an_error_without_a_description_has_no_tag_for_it() -> None:
    assert decoded([span_of(error="")])[0]["tags"] == {"error": True, "otel.status_code": "ERROR"}


def test_an_internal_span_has_no_kind_and_the_others_have_theirs() -> None:
    spans = [span_of(kind=kind) for kind in SpanKind]
    assert [span["tags"] for span in decoded(spans)] == [
        {},
        *({"span.kind": name} for name in ("server", "client", "producer", "consumer")),
    ]


def test_a_debug_trace_carries_both_flags() -> None:
    spans = [span_of(), span_of(debug=True)]
    assert [span["flags"] for span in decoded(spans)] == [1, 3]


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "start_us", "duration_us"),
    [
        (1_999, 3_000, 1, 2),
        (1_999, 3_001, 1, 3),
        (1_500, 1_501, 1, 1),
        (2_000, 2_000, 2, 1),  # Jaeger v2 warns of 0 as of a negative duration
    ],
)
def test_a_start_is_rounded_down_an_end_up_and_no_duration_is_0(
    start_ns: int, end_ns: int, start_us: int, duration_us: int
) -> None:
    span = decoded([span_of(start_ns=start_ns, end_ns=end_ns)])[0]
    assert (span["start_us"], span["duration_us"]) == (start_us, duration_us)


def test_an_event_is_a_log_whose_field_event_holds_its_name() -> None:
    events = [
        Event("cache miss", START_NS + 1_000, {"key": "k"}),
        Event("named twice", START_NS + 2_000, {"event": "wins"}),
    ]
    assert decoded([span_of(events=events)])[0]["logs"] == [
        {"time_us": START_NS // 1000 + 1, "fields": {"event": "cache miss", "key": "k"}},
        {"time_us": START_NS // 1000 + 2, "fields": {"event": "wins"}},
    ]


def test_the_attributes_of_a_link_stand_in_a_log() -> None:
    links = [Link("ab" * 16, "cd" * 8, {"position": 3}), Link("01" * 16, "02" * 8)]
    span = decoded([span_of(links=links)])[0]
    assert (span["references"], span["logs"]) == (
        [
            {"type": "FOLLOWS_FROM", "trace_id": "ab" * 16, "span_id": "cd" * 8},
            {"type": "FOLLOWS_FROM", "trace_id": "01" * 16, "span_id": "02" * 8},
        ],
        [{"time_us": START_NS // 1000, "fields": {"event": "link", "position": 3}}],
    )


class Colour(IntEnum):
    RED = 7


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


def test_odd_values_cost_no_span() -> None:
    attributes: dict[str, Any] = {
        "array": ["é", 1, True, 2.5],
        "big": 1 << 63,
        "small": -(1 << 63),
        "enum": Colour.RED,
        "none": None,
        "map": {"a": 1},
        "bytes": b"\xff",
        "surrogate \ud800": "\udfff!",
        "object": Unprintable(),
        "infinite": -math.inf,
        "true": True,
        "one": 1,
        "one and no fraction": 1.0,
    }
    assert decoded([span_of(name="n\ud800", attributes=attributes)])[0]["tags"] == {
        "array": '["é", 1, true, 2.5]',
        "big": "9223372036854775808",
        "small": -(1 << 63),
        "enum": 7,
        "none": "None",
        "map": "{'a': 1}",
        "bytes": "b'\\xff'",
        "surrogate ?": "?!",
        "object": "<Unprintable>",
        "infinite": -math.inf,
        "true": True,
        "one": 1,
        "one and no fraction": 1.0,
    }


@pytest.mark.parametrize("bad", ["", "xyz", "g" * 16, "-" + "1" * 15, "1" * 17])
def test_a_span_with_a_bad_id_costs_no_other(bad: str) -> None:
    encoded = encode([span_of(), span_of(span_id=bad), span_of(parent_id=SPAN_ID)])
    sent = [span for packet in encoded.packets for span in decode_packet(packet.payload).spans]
    assert ([span["parent_id"] for span in sent], encoded.rejected) == ([None, SPAN_ID], 1)
    assert encoded.reason == "a span cannot be encoded: ValueError"


def test_the_process_holds_the_resource() -> None:
    resource = Resource("svc", {"service.name": "svc", "host.name": "h", "process.pid": 7})
    packet = PacketEncoder(resource).encode([span_of()]).packets[0].payload
    batch = decode_packet(packet)
    assert (batch.service_name, batch.process_tags) == ("svc", {"host.name": "h", "process.pid": 7})


def test_a_resource_that_would_fill_a_packet_is_cut() -> None:
    resource = Resource("svc", {"a": "x" * 100_000, "b": "y"})
    packet = PacketEncoder(resource).encode([span_of()]).packets[0].payload
    assert decode_packet(packet).process_tags == {"a": "x" * 1_024, "b": "y"}


def test_five_thousand_links_go_out_in_continuation_spans() -> None:
    links = [Link(f"{n + 1:032x}", f"{(n + 1) << 40:016x}", {"position": n}) for n in range(5_000)]
    first, *others = decoded([span_of(links=links, attributes={"size": 5_000})])
    assert first["span_id"] == SPAN_ID
    assert len({span["span_id"] for span in (first, *others)}) == len(others) + 1
    assert {(s["parent_id"], s["trace_id"], s["name"]) for s in others} == {
        (SPAN_ID, TRACE_ID, "GET /p (links continued)")
    }
    assert [span["tags"] for span in others] == [{CONTINUES: SPAN_ID}] * len(others)
    sent = [reference for span in (first, *others) for reference in span["references"]]
    assert [(r["trace_id"], r["span_id"]) for r in sent] == [(k.trace_id, k.span_id) for k in links]


def test_1800_bare_references_fit_one_packet() -> None:
    links = [
        Link("8000000000000000" * 2, f"{(1 << 63) + n:016x}", {"position": n}) for n in range(1_800)
    ]
    [span] = decoded([span_of(links=links)])
    assert (len(span["references"]), span["logs"]) == (1_800, [])


def test_what_is_left_of_a_split_span_is_one_span() -> None:
    links = [Link("8000000000000000" * 2, f"{(1 << 63) + n:016x}") for n in range(5_000)]
    encoded = encode([span_of(links=links)])
    pieces = [piece for packet in encoded.packets for piece in packet.pieces]
    assert [piece.origin for piece in pieces] == [0, 0, 0]
    assert pieces[0].span == span_of(links=links)
    again = decoded([pieces[1].span])
    assert again == decoded([span_of(links=links)])[1:]


def test_a_long_text_is_cut_and_the_span_says_so() -> None:
    attributes: Attributes = {"text": "x" * 100_000, "n": 1}
    assert decoded([span_of(attributes=attributes)])[0]["tags"] == {
        "text": "x" * 16_384,
        "n": 1,
        "spanserve.truncated": True,
    }


def test_too_many_events_are_dropped_and_the_span_is_kept() -> None:
    events = [Event("x" * 64, START_NS) for _ in range(5_000)]
    span = decoded([span_of(events=events)])[0]
    assert (span["logs"], span["tags"]) == ([], {"spanserve.truncated": True})


def test_a_span_that_cannot_be_cut_is_rejected_alone() -> None:
    attributes: Attributes = {f"{n:064}": n for n in range(5_000)}
    encoded = encode([span_of(attributes=attributes), span_of()])
    assert [len(decode_packet(packet.payload).spans) for packet in encoded.packets] == [1]
    assert (encoded.rejected, encoded.reason) == (1, "a span cannot be encoded: ValueError")


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_integers_are_zigzag_varints(number: int) -> None:
    assert signed(number) == varint(((number << 1) ^ (number >> 63)) & ((1 << 64) - 1))


TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)
INTEGERS = st.integers(-(1 << 70), 1 << 70)
SCALARS = st.one_of(TEXTS, st.booleans(), INTEGERS, st.floats())
ATTRIBUTES = st.dictionaries(TEXTS, SCALARS | st.lists(SCALARS, max_size=3), max_size=20)
TRACE_IDS = st.integers(1, (1 << 128) - 1).map(lambda n: f"{n:032x}")
SPAN_IDS = st.integers(1, (1 << 64) - 1).map(lambda n: f"{n:016x}")
TIMES_NS = st.integers(0, (1 << 63) - 1)
LINKS = st.builds(Link, TRACE_IDS, SPAN_IDS, ATTRIBUTES)
EVENTS = st.builds(Event, TEXTS, TIMES_NS, ATTRIBUTES)
SPANS = st.builds(
    lambda times, **fields: Span(start_ns=min(times), end_ns=max(times), **fields),
    st.tuples(TIMES_NS, TIMES_NS),
    name=TEXTS,
    kind=st.sampled_from(SpanKind),
    trace_id=TRACE_IDS,
    span_id=SPAN_IDS,
    parent_id=st.none() | SPAN_IDS,
    attributes=ATTRIBUTES,
    links=st.lists(LINKS, max_size=3),
    events=st.lists(EVENTS, max_size=3),
    error=st.none() | TEXTS,
    debug=st.booleans(),
)


def text_of(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def value_of(value: Any) -> Any:
    """What a value reads back as; floats by their bits, so that NaN equals itself."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, list):
        return text_of(json.dumps(value, ensure_ascii=False))
    if isinstance(value, str):
        return text_of(value)
    return value if -(1 << 63) <= value < 1 << 63 else str(value)


def tags_of(attributes: Attributes) -> list[tuple[str, Any]]:
    return [(text_of(key), value_of(value)) for key, value in attributes.items()]


def expected(span: Span) -> dict[str, Any]:
    """The mapping once more, the slow way; tags and fields as lists, because keys may meet."""
    tags = tags_of(span.attributes)
    if span.error is not None:
        tags = [
            ("error", True),
            ("otel.status_code", "ERROR"),
            *((k, v) for k, v in tags if k != "error" and not k.startswith("otel.status_")),
            *([("otel.status_description", text_of(span.error))] if span.error else []),
        ]
    if span.kind is not SpanKind.INTERNAL:
        tags.append(("span.kind", span.kind.value))
    events = [*span.events, *(Event("link", span.start_ns, k.attributes) for k in span.links)]
    with_attributes = [*(True for _ in span.events), *(bool(k.attributes) for k in span.links)]
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "name": text_of(span.name),
        "references": [
            {"type": "FOLLOWS_FROM", "trace_id": link.trace_id, "span_id": link.span_id}
            for link in span.links
        ],
        "flags": 3 if span.debug else 1,
        "start_us": span.start_ns // 1000,
        "duration_us": max(1, -(-span.end_ns // 1000) - span.start_ns // 1000),
        "tags": dict(tags),
        "logs": [
            {
                "time_us": event.time_ns // 1000,
                "fields": dict([("event", text_of(event.name)), *tags_of(event.attributes)]),
            }
            for event, kept in zip(events, with_attributes, strict=True)
            if kept
        ],
    }


def bits(value: Any) -> Any:
    """Floats as their bits, everywhere."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list) else value


def keys_differ_when_replaced(span: Span) -> bool:
    """A key's lone surrogates may be replaced into another key: the sink refuses a tag twice."""
    groups = [span.attributes, *(e.attributes for e in span.events)]
    groups += [link.attributes for link in span.links]
    return all(len({text_of(key) for key in group}) == len(group) for group in groups)


ENCODER = PacketEncoder(RESOURCE)


@given(SPANS.filter(keys_differ_when_replaced))
@settings(max_examples=300, deadline=None)
def test_any_span_is_read_back_equal_by_apaches_decoder(span: Span) -> None:
    encoded = ENCODER.encode([span])
    assert encoded.rejected == 0
    [packet] = encoded.packets
    assert bits(decode_packet(packet.payload).spans) == [expected(span)]


@given(
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 120)), max_size=40),
    st.sampled_from([1_400, 9_216, 65_000]),
)
@settings(max_examples=100, deadline=None)
def test_every_span_is_in_one_packet_and_none_is_too_long(
    sizes: list[tuple[int, int]], max_packet_bytes: int
) -> None:
    spans = [
        span_of(
            span_id=f"{index + 1:016x}",
            name="x" * (length // 2),
            attributes={"text": "y" * length},
            links=[Link(TRACE_ID, f"{index + 1:08x}{n:08x}") for n in range(links)],
        )
        for index, (length, links) in enumerate(sizes)
    ]
    found = decoded(spans, max_packet_bytes=max_packet_bytes)
    originals = [span for span in found if CONTINUES not in span["tags"]]
    assert sorted(span["span_id"] for span in originals) == [span.span_id for span in spans]
    assert len({span["span_id"] for span in found}) == len(found)
    references = [reference["span_id"] for span in found for reference in span["references"]]
    assert sorted(references) == sorted(link.span_id for span in spans for link in span.links)
