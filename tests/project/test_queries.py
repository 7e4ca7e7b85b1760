"""Answers of servers' query APIs, cut from real ones, read into the spans they tell of."""

from typing import Any

from spanserve import Event, Link, Span, SpanKind
from support.query_formats import from_jaeger, from_otlp, from_zipkin, number_of

TRACE_ID = "0af7651916cd43dd8448eb211c800001"
OTHER_ID = "11111111111111118448eb211c800001"
ROOT_ID = "b7ad6b7169203331"
START_US = 1_795_398_776_458_493
START_NS = START_US * 1000


def test_a_span_of_zipkin_is_read_whole() -> None:
    answer = {
        "traceId": TRACE_ID,
        "parentId": ROOT_ID,
        "id": "b7ad6b7169203332",
        "kind": "CLIENT",
        "name": "call",
        "timestamp": START_US,
        "duration": 3,
        "localEndpoint": {"serviceName": "svc"},
        "annotations": [
            {"timestamp": START_US, "value": "bare"},
            {"timestamp": START_US + 1, "value": '"a \\"b": {"n":3,"s":"bo\\u007com"}'},
        ],
        "tags": {
            "error": "it broke",
            "size": "3",
            "otlp.link.0": f'{OTHER_ID}|2222222222222222||{{"s":"a|b"}}|0',
            "otlp.link.1": f"{OTHER_ID}|2222222222222223||{{}}|0",
        },
    }
    span = from_zipkin(answer)
    assert span == Span(
        name="call",
        kind=SpanKind.CLIENT,
        trace_id=TRACE_ID,
        span_id="b7ad6b7169203332",
        parent_id=ROOT_ID,
        start_ns=START_NS,
        end_ns=START_NS + 3000,
        attributes={**answer["tags"], "size": 3},  # type: ignore[dict-item]  # a JSON object
        links=[
            Link(OTHER_ID, "2222222222222222", {"s": "a|b"}),
            Link(OTHER_ID, "2222222222222223"),
        ],
        events=[
            Event("bare", START_NS),
            Event('a "b', START_NS + 1000, {"n": 3, "s": "bo|om"}),
        ],
        error="it broke",
    )


def test_a_span_of_zipkin_without_a_kind_is_internal() -> None:
    span = from_zipkin({"traceId": TRACE_ID, "id": ROOT_ID, "timestamp": 1, "duration": 1})
    assert span == Span("", SpanKind.INTERNAL, TRACE_ID, ROOT_ID, None, 1000, 2000, {}, [], [])


def test_texts_are_numbers_only_where_they_can_have_been() -> None:
    texts = ["3", "-1.5", "1e+16", "true", "", "1_0", " 3", "007", "1e5", "1234567890123456"]
    read = [3, -1.5, 1e16, "true", "", "1_0", " 3", "007", "1e5", "1234567890123456"]
    assert [number_of(text) for text in texts] == read


def otlp(span: dict[str, Any]) -> list[Span]:
    return list(from_otlp({"result": {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}}))


def test_a_span_of_otlp_is_read_whole() -> None:
    assert otlp(
        {
            "traceId": TRACE_ID,
            "spanId": "b7ad6b7169203332",
            "parentSpanId": ROOT_ID,
            "name": "call",
            "kind": 3,
            "startTimeUnixNano": str(START_NS),
            "endTimeUnixNano": str(START_NS + 5),
            "attributes": [
                {"key": "s", "value": {"stringValue": "é"}},
                {"key": "i", "value": {"intValue": "4611686018427387904"}},
                {"key": "f", "value": {"doubleValue": 1.5}},
                {"key": "b", "value": {"boolValue": False}},
                {"key": "l", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}},
            ],
            "events": [
                {"timeUnixNano": str(START_NS + 2), "name": "late"},
                {
                    "timeUnixNano": str(START_NS + 1),
                    "name": "early",
                    "attributes": [{"key": "n", "value": {"intValue": "3"}}],
                },
            ],
            "links": [
                {
                    "traceId": OTHER_ID,
                    "spanId": "2222222222222222",
                    "attributes": [{"key": "position", "value": {"intValue": "0"}}],
                }
            ],
            "status": {"code": 2, "message": "it broke"},
        }
    ) == [
        Span(
            name="call",
            kind=SpanKind.CLIENT,
            trace_id=TRACE_ID,
            span_id="b7ad6b7169203332",
            parent_id=ROOT_ID,
            start_ns=START_NS,
            end_ns=START_NS + 5,
            attributes={"s": "é", "i": 4611686018427387904, "f": 1.5, "b": False, "l": [1]},
            links=[Link(OTHER_ID, "2222222222222222", {"position": 0})],
            events=[Event("early", START_NS + 1, {"n": 3}), Event("late", START_NS + 2)],
            error="it broke",
        )
    ]


def test_ids_and_kinds_of_otlp_are_read_in_protobufs_own_json_too() -> None:
    (span,) = otlp(
        {
            "traceId": "CvdlGRbNQ92ESOshHIAAAQ==",
            "spanId": "t61rcWkgMzE=",
            "parentSpanId": "AAAAAAAAAAA=",
            "name": "POST /predict",
            "kind": "SPAN_KIND_SERVER",
            "startTimeUnixNano": "1",
            "endTimeUnixNano": "2",
            "status": {"code": "STATUS_CODE_ERROR"},
        }
    )
    assert span == Span(
        "POST /predict", SpanKind.SERVER, TRACE_ID, ROOT_ID, None, 1, 2, {}, [], [], error=""
    )


def test_a_span_of_jaegers_own_json_is_read_whole() -> None:
    answer = {
        "data": [
            {
                "traceID": TRACE_ID,
                "spans": [
                    {
                        "traceID": TRACE_ID,
                        "spanID": "b7ad6b7169203332",
                        "operationName": "call",
                        "references": [
                            {"refType": "CHILD_OF", "traceID": TRACE_ID, "spanID": ROOT_ID},
                            {
                                "refType": "FOLLOWS_FROM",
                                "traceID": "8448eb211c800001",
                                "spanID": "2222222222222222",
                            },
                        ],
                        "startTime": START_US,
                        "duration": 4,
                        "tags": [
                            {"key": "error", "type": "bool", "value": True},
                            {"key": "span.kind", "type": "string", "value": "client"},
                            {"key": "big", "type": "int64", "value": "4611686018427387904"},
                        ],
                        "logs": [
                            {
                                "timestamp": START_US + 1,
                                "fields": [
                                    {"key": "event", "type": "string", "value": "retry"},
                                    {"key": "n", "type": "int64", "value": 3},
                                ],
                            }
                        ],
                    }
                ],
            }
        ]
    }
    assert list(from_jaeger(answer)) == [
        Span(
            name="call",
            kind=SpanKind.CLIENT,
            trace_id=TRACE_ID,
            span_id="b7ad6b7169203332",
            parent_id=ROOT_ID,
            start_ns=START_NS,
            end_ns=START_NS + 4000,
            attributes={"error": True, "span.kind": "client", "big": 4611686018427387904},
            links=[Link("00000000000000008448eb211c800001", "2222222222222222")],
            events=[Event("retry", START_NS + 1000, {"n": 3})],
            error="",
        )
    ]
