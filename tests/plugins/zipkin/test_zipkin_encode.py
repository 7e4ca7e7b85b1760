"""The Zipkin encoder: what spans become, and that none is lost."""

import json
import math
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanserve import Event, Link, Resource, Span, SpanKind
from spanserve_zipkin.encode import Encoder
from spanserve_zipkin.encoding.rows import body_of
from support.zipkin_rules import read_spans, violations

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
PARENT_ID = "00f067aa0ba902b7"
START_NS = 1_700_000_000_000_000_000
RESOURCE = Resource("digits", {"service.name": "digits"})


def make_span(**changes: Any) -> Span:
    span = Span(
        "run", SpanKind.INTERNAL, TRACE_ID, SPAN_ID, PARENT_ID, START_NS, START_NS + 1_500_000
    )
    return span._replace(**changes)


def encoded(span: Span, resource: Resource = RESOURCE) -> str:
    result = Encoder(resource).encode([span])
    if result.failure is not None:
        raise result.failure
    assert sum(rows.count for rows in result.rows) == 1
    return body_of(result.rows).decode()[1:-1]


def decode(span: Span, resource: Resource = RESOURCE) -> dict[str, Any]:
    [decoded] = read_spans(f"[{encoded(span, resource)}]".encode())
    return decoded


def tags_of(**changes: Any) -> Any:
    return decode(make_span(**changes)).get("tags")


def test_a_full_span_has_every_member_in_its_place() -> None:
    resource = Resource(
        "digits",
        {"service.name": "digits", "service.version": "1.2", "telemetry.sdk.name": "spanserve"},
    )
    span = make_span(
        name="POST /predict",
        kind=SpanKind.SERVER,
        attributes={
            "http.route": "/predict",
            "http.response.status_code": 500,
            "client.address": "10.1.2.3",
            "client.port": 51234,
            "ok": False,
            "share_ms": 0.25,
            "shape": [64, 8],
            "names": ["é", '"'],
        },
        links=[Link("1" * 32, "2" * 16, {"position": 3, "wait_ms": 1.5}), Link("1" * 32, "3" * 16)],
        events=[
            Event("released", START_NS + 5_999),
            Event("exception", START_NS + 7_000, {"exception.type": "ValueError", "n": 1}),
        ],
        error="it broke",
        debug=True,
    )
    assert encoded(span, resource) == (
        '{"traceId":"0af7651916cd43dd8448eb211c80319c","id":"b7ad6b7169203331",'
        '"parentId":"00f067aa0ba902b7","kind":"SERVER","name":"post /predict",'
        '"localEndpoint":{"serviceName":"digits"},'
        '"timestamp":1700000000000000,"duration":1500,'
        '"remoteEndpoint":{"ipv4":"10.1.2.3","port":51234},'
        '"annotations":[{"timestamp":1700000000000005,"value":"released"},'
        '{"timestamp":1700000000000007,'
        '"value":"\\"exception\\": {\\"exception.type\\":\\"ValueError\\",\\"n\\":1}"}],'
        '"tags":{"http.route":"/predict","http.response.status_code":"500",'
        '"ok":"false","share_ms":"0.25",'
        '"shape":"[64,8]","names":"[\\"é\\",\\"\\\\\\"\\"]","service.version":"1.2",'
        '"otel.status_code":"ERROR","error":"it broke",'
        '"linked.trace_ids":"11111111111111111111111111111111",'
        '"otlp.link.0":"11111111111111111111111111111111|2222222222222222||'
        '{\\"position\\":3,\\"wait_ms\\":1.5}|0",'
        '"otlp.link.1":"11111111111111111111111111111111|3333333333333333||{}|0"},'
        '"debug":true}'
    )


def test_a_bare_root_has_only_what_is_required() -> None:
    assert decode(make_span(parent_id=None)) == {
        "traceId": TRACE_ID,
        "id": SPAN_ID,
        "name": "run",
        "timestamp": START_NS // 1000,
        "duration": 1500,
        "localEndpoint": {"serviceName": "digits"},
    }


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (SpanKind.INTERNAL, None),
        (SpanKind.SERVER, "SERVER"),
        (SpanKind.CLIENT, "CLIENT"),
        (SpanKind.PRODUCER, "PRODUCER"),
        (SpanKind.CONSUMER, "CONSUMER"),
    ],
)
def test_kinds_are_zipkins_own(kind: SpanKind, expected: str | None) -> None:
    assert decode(make_span(kind=kind)).get("kind") == expected


@given(
    st.integers(START_NS, START_NS + 10**7),
    st.lists(st.integers(0, 10**5), min_size=4, max_size=4),
)
def test_rounded_children_stay_inside_rounded_parents(start_ns: int, steps_ns: list[int]) -> None:
    first, second, third, fourth = (start_ns + sum(steps_ns[:n]) for n in range(1, 5))
    parent = decode(make_span(start_ns=first, end_ns=fourth + 1))
    child = decode(make_span(start_ns=second, end_ns=third))
    assert parent["timestamp"] <= child["timestamp"]
    assert child["duration"] >= 1
    assert child["timestamp"] + child["duration"] <= parent["timestamp"] + parent["duration"]


@pytest.mark.parametrize(("length_ns", "expected_us"), [(0, 1), (1, 1), (1_000, 1), (1_001, 2)])
def test_a_duration_is_never_zero(length_ns: int, expected_us: int) -> None:
    assert decode(make_span(end_ns=START_NS + length_ns))["duration"] == expected_us


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (-7, "-7"),
        (1 << 70, str(1 << 70)),
        (1e22, "1e+22"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        ((), "[]"),
        ([1.5, math.nan, True, "a"], '[1.5,"NaN",true,"a"]'),
        (None, ""),
        (b"\xff", "/w=="),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ("a\n\x00\u2028\U0001f600", "a\n\x00\u2028\U0001f600"),
        ("\ud800", "\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
    ],
)
def test_every_value_becomes_a_string(value: object, expected: str) -> None:
    assert tags_of(attributes={"key": value}) == {"key": expected}


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class Garbled:
    def __str__(self) -> str:
        return "\udfff"


def test_odd_values_never_lose_a_span() -> None:
    endless: list[object] = []
    endless += [endless, 1]
    tags = tags_of(
        attributes={
            "hostile": Hostile(),
            "garbled": Garbled(),
            "many digits": 10**5000,
            "endless": endless,
            7: "seven",
            "\ud800": "key",
        }
    )
    assert tags.pop("endless").startswith("[[[[")
    assert tags == {
        "hostile": "<Hostile>",
        "garbled": "\ufffd",
        "many digits": "<int>",
        "7": "seven",
        "\ufffd": "key",
    }


def test_a_span_without_times_cannot_be_encoded() -> None:
    with pytest.raises(TypeError):
        encoded(make_span(start_ns=None))


@pytest.mark.parametrize("place", ["name", "key", "value", "event", "error", "service"])
def test_no_string_ends_in_the_words_of_the_first_format(place: str) -> None:
    word = "binaryAnnotations"
    span = make_span(
        name=word if place == "name" else "run",
        attributes={word if place == "key" else "key": word if place == "value" else "value"},
        events=[Event(word, START_NS)] if place == "event" else (),
        error=word if place == "error" else None,
    )
    body = encoded(span, Resource(word if place == "service" else "digits", {})).encode()
    assert b'yAnnotations"' not in body
    sent = json.dumps(read_spans(b"[" + body + b"]"))
    assert (word.lower() if place in {"name", "service"} else word) in sent


@pytest.mark.parametrize("value", [False, "false", "False", "", 0])
def test_an_attribute_that_denies_an_error_is_left_out(value: object) -> None:
    assert tags_of(attributes={"error": value, "kept": 1}) == {"kept": "1"}


def test_an_attribute_that_claims_an_error_is_kept() -> None:
    assert tags_of(attributes={"error": True}) == {"error": "true"}


def test_the_spans_own_error_wins_over_attributes() -> None:
    attributes = {"error": "other", "otel.status_code": "OK", "error.type": "500"}
    assert tags_of(attributes=attributes, error="") == {
        "error.type": "500",
        "otel.status_code": "ERROR",
        "error": "",
    }


def test_links_win_over_attributes_of_the_same_name() -> None:
    attributes = {"otlp.link.2": "forged", "otlp.link.7": "forged", "linked.trace_ids": "forged"}
    links = [Link("1" * 32, "2" * 16), Link("3" * 32, "4" * 16), Link("1" * 32, "5" * 16)]
    assert tags_of(attributes=attributes, links=links) == {
        "linked.trace_ids": f"{'1' * 32}, {'3' * 32}",
        "otlp.link.0": f"{'1' * 32}|{'2' * 16}||{{}}|0",
        "otlp.link.1": f"{'3' * 32}|{'4' * 16}||{{}}|0",
        "otlp.link.2": f"{'1' * 32}|{'5' * 16}||{{}}|0",
    }
    alone = {"otlp.link.0": "forged", **attributes}
    assert tags_of(attributes=alone) == {"linked.trace_ids": "forged"}


def test_of_links_the_ids_of_their_traces_may_stand_alone() -> None:
    links = [Link("1" * 32, "2" * 16, {"position": 3}), Link("3" * 32, "4" * 16, {"position": 4})]
    result = Encoder(RESOURCE, links="ids").encode([make_span(links=links, attributes={"size": 2})])
    [decoded] = read_spans(body_of(result.rows))
    assert decoded["tags"] == {"size": "2", "linked.trace_ids": f"{'1' * 32}, {'3' * 32}"}


@pytest.mark.parametrize(
    ("attributes", "left"),
    [
        ({"client.address": "1.2.3.4", "network.peer.address": "1.2.3.4", "network.peer.port": 9},
         set()),
        ({"client.address": "1.2.3.4", "network.peer.address": "5.6.7.8", "network.peer.port": 9},
         {"network.peer.address", "network.peer.port"}),
        ({"client.address": "1.2.3.4", "client.port": 7}, set()),
        ({"client.address": "1.2.3.4", "client.port": 0}, {"client.port"}),
        ({"client.address": "fe80::1%eth0", "client.port": 7}, {"client.address"}),
        ({"client.address": "name", "network.peer.address": "5.6.7.8"}, {"client.address"}),
        ({"network.peer.port": 9}, {"network.peer.port"}),
    ],
)  # fmt: skip
def test_a_server_span_says_its_clients_address_once(
    attributes: dict[str, Any], left: set[str]
) -> None:
    decoded = decode(make_span(kind=SpanKind.SERVER, attributes=attributes))
    assert set(decoded.get("tags", {})) == left
    internal = decode(make_span(attributes=attributes))
    assert set(internal["tags"]) == set(attributes)


def test_no_bar_is_left_in_annotations() -> None:
    events = [Event("a|b|c", START_NS), Event("d|e", START_NS, {"f|g": "h|i"})]
    bare, full = decode(make_span(events=events))["annotations"]
    assert bare["value"] == "a/b/c"
    assert "|" not in full["value"]
    assert json.loads("{" + full["value"] + "}") == {"d|e": {"f|g": "h|i"}}


@pytest.mark.parametrize(
    ("kind", "attributes", "expected"),
    [
        ("server", {"client.address": "::1", "client.port": 5}, {"ipv6": "::1", "port": 5}),
        ("server", {"client.address": "::ffff:10.0.0.1"}, {"ipv4": "10.0.0.1"}),
        ("server", {"client.address": "fe80::1%eth0"}, {"ipv6": "fe80::1"}),
        (
            "server",
            {"client.address": "1.2.3.4", "network.peer.address": "5.6.7.8", "client.port": 0},
            {"ipv4": "1.2.3.4"},
        ),
        (
            "server",
            {"client.address": "name", "network.peer.address": "5.6.7.8", "network.peer.port": 9},
            {"ipv4": "5.6.7.8", "port": 9},
        ),
        ("server", {"network.peer.address": "5.6.7.8", "network.peer.port": 65536},
         {"ipv4": "5.6.7.8"}),
        ("server", {"client.address": "testclient"}, None),
        ("server", {"client.address": 5}, None),
        ("server", {"server.address": "1.2.3.4"}, None),
        ("client", {"peer.service": "db", "server.address": "db.example"}, {"serviceName": "db"}),
        ("client", {"server.address": "10.0.0.1", "server.port": 80},
         {"serviceName": "10.0.0.1", "ipv4": "10.0.0.1", "port": 80}),
        ("client", {"server.address": "db", "network.peer.address": "10.0.0.1"},
         {"serviceName": "db", "ipv4": "10.0.0.1"}),
        ("internal", {"client.address": "1.2.3.4"}, None),
        ("consumer", {"server.address": "1.2.3.4"}, None),
    ],
)  # fmt: skip
def test_the_remote_endpoint_is_the_peer(
    kind: str, attributes: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    span = make_span(kind=SpanKind(kind), attributes=attributes)
    assert decode(span).get("remoteEndpoint") == expected


def test_resource_tags_stand_only_where_a_trace_enters_the_process() -> None:
    resource = Resource("digits", {"service.version": "1", "service.instance.id": "i", "x": "y"})
    expected = {"service.version": "1", "service.instance.id": "i"}
    assert decode(make_span(kind=SpanKind.SERVER), resource)["tags"] == expected
    assert decode(make_span(parent_id=None), resource)["tags"] == expected
    assert "tags" not in decode(make_span(), resource)
    own = make_span(parent_id=None, attributes={"service.version": "2"})
    assert decode(own, resource)["tags"] == {"service.version": "2", "service.instance.id": "i"}


def test_a_service_without_a_name_has_no_endpoint() -> None:
    assert "localEndpoint" not in decode(make_span(), Resource("", {}))


any_text = st.text(st.characters())  # lone surrogates included
hex_digits = st.sampled_from(string.hexdigits[:16])
scalars = any_text | st.booleans() | st.integers() | st.floats()
keys = any_text.filter(lambda key: not key.startswith(("error", "otel.", "otlp.", "linked.")))
attributes_of_any_kind = st.dictionaries(keys, scalars | st.lists(scalars, max_size=4))


def ids(length: int) -> st.SearchStrategy[str]:
    return st.text(hex_digits, min_size=length, max_size=length).filter(
        lambda text: text.strip("0")
    )


links = st.builds(Link, ids(32), ids(16), attributes_of_any_kind)
events = st.builds(Event, any_text, st.integers(1, 1 << 62), attributes_of_any_kind)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    start_ns = draw(st.integers(1_000, 1 << 61))
    return Span(
        name=draw(any_text),
        kind=draw(st.sampled_from(SpanKind)),
        trace_id=draw(ids(32)),
        span_id=SPAN_ID,
        parent_id=draw(st.none() | st.just(PARENT_ID)),
        start_ns=start_ns,
        end_ns=start_ns + draw(st.integers(0, 1 << 60)),
        attributes=draw(attributes_of_any_kind),
        links=draw(st.lists(links, max_size=3)),
        events=draw(st.lists(events, max_size=3)),
        error=draw(st.none() | any_text),
        debug=draw(st.booleans()),
    )


def whole(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def expected_tag(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[repr(value)]
    return whole(str(value))


@given(spans())
def test_any_span_is_taken_and_its_values_return(span: Span) -> None:
    decoded = decode(span)
    assert violations(decoded) == []
    assert decoded.get("name", "") == whole(span.name).lower()
    assert decoded.get("parentId") == span.parent_id
    tags = decoded.get("tags", {})
    expected = {whole(key): value for key, value in span.attributes.items()}
    for key, value in expected.items():
        if not isinstance(value, (list, tuple)):
            assert tags[key] == expected_tag(value)
        else:
            assert len(json.loads(tags[key])) == len(value)
    assert tags.get("error") == (None if span.error is None else whole(span.error))
    for number, link in enumerate(span.links):
        trace_id, span_id, state, rest = tags[f"otlp.link.{number}"].split("|", 3)
        kept = "" if "|" in link.tracestate else whole(link.tracestate)
        assert (trace_id, span_id, state) == (link.trace_id, link.span_id, kept)
        assert json.loads(rest.removesuffix("|0")).keys() == {whole(key) for key in link.attributes}
    assert [item["timestamp"] for item in decoded.get("annotations", [])] == [
        event.time_ns // 1000 for event in span.events
    ]


@settings(max_examples=30)
@given(st.lists(spans(), max_size=5))
def test_a_list_of_spans_is_written_as_each_of_them_alone(several: list[Span]) -> None:
    encoder = Encoder(RESOURCE)
    first = encoder.encode(several)
    assert (first.rejected, first.failure) == (0, None)
    body = body_of(first.rows)
    assert body_of(encoder.encode(several).rows) == body
    alone = [span for each in several for span in read_spans(f"[{encoded(each)}]".encode())]
    assert sorted(map(repr, read_spans(body))) == sorted(map(repr, alone))


@given(st.lists(st.dictionaries(keys, scalars, max_size=3), max_size=4))
def test_links_hold_the_json_of_their_attributes(several: list[dict[str, Any]]) -> None:
    links = [Link("1" * 32, "2" * 16, attributes) for attributes in several]
    tags = tags_of(links=links) or {}
    for number, attributes in enumerate(several):
        text = tags[f"otlp.link.{number}"].removeprefix(f"{'1' * 32}|{'2' * 16}||")
        read = json.loads(text.removesuffix("|0"))
        for key, value in attributes.items():
            is_odd = isinstance(value, float) and not math.isfinite(value)
            is_long = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
            expected = expected_tag(value) if is_odd or is_long else value
            assert read[whole(key)] == (whole(value) if isinstance(value, str) else expected)


def test_one_span_that_cannot_be_encoded_costs_no_other() -> None:
    several = [make_span(), make_span(start_ns=None), make_span(name="\ud800"), make_span(name=7)]
    result = Encoder(RESOURCE).encode(several)
    assert result.rejected == 1
    assert [span["name"] for span in read_spans(body_of(result.rows))] == ["run", "\ufffd", "7"]
