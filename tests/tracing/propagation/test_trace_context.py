"""What crosses this server to the next: W3C's own tables, the caller's baggage, tracing on or off.

The cases of the trace context are those of the recommendation, for a service that is called and
calls on: what a caller sends, and what the next service then gets.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage as otel_baggage
from opentelemetry import propagate

from spanserve import (
    Link,
    Resource,
    Span,
    SpanKind,
    api,
    baggage,
    outgoing_headers,
    service,
    span,
)
from spanserve.tracers.otel import otel_resource, readable_span
from spanserve.tracing.plugins.registry import load_plugin
from spanserve.tracing.propagation.baggage import MAX_BYTES, MAX_MEMBERS, passed_on, read
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink, OtlpSink
from support.serving import Serving, serving
from support.traces import Keeps

TRACE = "12345678901234567890123456789012"
SPAN = "1234567890123456"
PARENT = f"00-{TRACE}-{SPAN}-01"
Sent = Sequence[tuple[str, str]]


@service
class Asks:
    """Says what it would send to others, from every kind of method."""

    @api
    async def on_the_loop(self) -> dict[str, str]:
        return outgoing_headers()

    @api
    def on_the_runner(self) -> dict[str, str]:
        return outgoing_headers()

    @api(threads=2)
    def in_the_pool(self) -> dict[str, str]:
        return outgoing_headers()

    @api(batch=True)
    def batched(self, rows: np.ndarray) -> list[dict[str, str]]:
        return [outgoing_headers()] * len(rows)

    @api
    def several_times(self) -> list[str]:
        found = []
        for _ in range(3):
            with span("call"):
                found.append(outgoing_headers()["traceparent"])
        return found

    @api
    def reads_baggage(self) -> dict[str, str]:
        return dict(baggage())

    @api
    def asks_opentelemetry(self) -> dict[str, Any]:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return {"sent": headers, "read": dict(otel_baggage.get_all())}


ROUTES = ["on_the_loop", "on_the_runner", "in_the_pool", "batched"]


@pytest.fixture(scope="module")
def traced() -> Iterator[Serving]:
    with serving(Asks, tracers=[("kept", Keeps(), {})]) as server:
        yield server


@pytest.fixture(scope="module")
def untraced() -> Iterator[Serving]:
    with serving(Asks) as server:
        yield server


def asked(server: Serving, headers: Sent, route: str = "on_the_loop") -> Any:
    body = b"1" if route == "batched" else b"{}"
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.putrequest("POST", f"/{route}")
        lines = [("content-type", "application/json"), ("content-length", str(len(body)))]
        for name, value in (*lines, *headers):
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        found = json.loads(answer.read())
    assert answer.status == 200, found
    return found


GOOD = {
    "as it is": [("traceparent", PARENT)],
    "in title case": [("Traceparent", PARENT)],
    "in any case": [("TrAcEpArEnT", PARENT)],
    "in capitals": [("TRACEPARENT", PARENT)],
    "of a version to come": [("traceparent", f"cc{PARENT[2:]}")],
    "of one that says more": [("traceparent", f"cc{PARENT[2:]}-what-the-future-will-be-like")],
    "with space before": [("traceparent", f" \t{PARENT}")],
    "with space behind": [("traceparent", f"{PARENT}\t ")],
}
BAD = {
    "none": [],
    "two": [("traceparent", PARENT), ("traceparent", PARENT.replace("2-1", "1-1"))],
    "of another name": [("trace-parent", PARENT), ("trace.parent", PARENT)],
    "version 00 with a point": [("traceparent", f"{PARENT}.")],
    "version 00 that says more": [("traceparent", f"{PARENT}-what-the-future-will-be-like")],
    "a version to come with a point": [("traceparent", f"cc{PARENT[2:]}.what")],
    "version ff": [("traceparent", f"ff{PARENT[2:]}")],
    "a version that is no number": [("traceparent", f".0{PARENT[2:]}")],
    "nor this": [("traceparent", f"0.{PARENT[2:]}")],
    "a long version": [("traceparent", f"0{PARENT}")],
    "a longer version": [("traceparent", f"00{PARENT}")],
    "a short version": [("traceparent", PARENT[1:])],
    "a trace of zeros": [("traceparent", f"00-{'0' * 32}-{SPAN}-01")],
    "a trace that is no number": [("traceparent", f"00-.{TRACE[1:]}-{SPAN}-01")],
    "nor that": [("traceparent", f"00-{TRACE[:-1]}.-{SPAN}-01")],
    "a long trace": [("traceparent", f"00-{TRACE}3-{SPAN}-01")],
    "a short trace": [("traceparent", f"00-{TRACE[:-1]}-{SPAN}-01")],
    "a parent of zeros": [("traceparent", f"00-{TRACE}-{'0' * 16}-01")],
    "a parent that is no number": [("traceparent", f"00-{TRACE}-.{SPAN[1:]}-01")],
    "nor that one": [("traceparent", f"00-{TRACE}-{SPAN[:-1]}.-01")],
    "a long parent": [("traceparent", f"00-{TRACE}-{SPAN}7-01")],
    "a short parent": [("traceparent", f"00-{TRACE}-{SPAN[:-1]}-01")],
    "flags that are no number": [("traceparent", f"{PARENT[:-2]}.0")],
    "nor these": [("traceparent", f"{PARENT[:-2]}0.")],
    "long flags": [("traceparent", f"{PARENT[:-2]}001")],
    "short flags": [("traceparent", f"{PARENT[:-2]}1")],
}


@pytest.mark.parametrize("case", list(GOOD))
def test_a_trace_that_is_valid_is_continued(case: str, traced: Serving) -> None:
    version, trace_id, span_id, flags = asked(traced, GOOD[case])["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id != SPAN


@pytest.mark.parametrize("case", list(BAD))
def test_one_that_is_not_is_begun_anew(case: str, traced: Serving) -> None:
    headers = [*BAD[case], ("tracestate", "foo=1")]
    found = asked(traced, headers)
    version, trace_id, span_id, flags = found["traceparent"].split("-")
    assert (version, flags) == ("00", "01")
    assert trace_id not in {TRACE, "0" * 32}
    assert span_id not in {SPAN, "0" * 16}
    assert "tracestate" not in found


def test_each_call_has_a_parent_of_its_own(traced: Serving) -> None:
    for headers, is_same in (([("traceparent", PARENT)], True), ([], False)):
        calls = [each.split("-") for each in asked(traced, headers, "several_times")]
        assert len({span_id for _, _, span_id, _ in calls}) == 3
        assert ({trace_id for _, trace_id, _, _ in calls} == {TRACE}) == is_same


@pytest.mark.parametrize("flags", ["00", "01", "02", "03"])
@pytest.mark.parametrize("route", ROUTES)
def test_the_sampled_and_the_random_flag_go_on(route: str, flags: str, traced: Serving) -> None:
    found = asked(traced, [("traceparent", f"{PARENT[:-2]}{flags}")], route)
    assert found["traceparent"].rpartition("-")[2] == flags


LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
MEMBERS = [f"bar{number:02}={number:02}" for number in range(1, 34)]
STATES: dict[str, tuple[list[str], str]] = {
    "two members": (["foo=1,bar=2"], "foo=1,bar=2"),
    "nothing": ([""], ""),
    "one and nothing": (["foo=1", ""], "foo=1"),
    "nothing and one": (["", "foo=1"], "foo=1"),
    "three headers": (
        ["foo=1,bar=2", "rojo=1,congo=2", "baz=3"],
        "foo=1,bar=2,rojo=1,congo=2,baz=3",
    ),
    "a member twice": (["foo=1,foo=1"], "foo=1"),
    "a key twice": (["foo=1,foo=2"], "foo=1"),
    "a member in two headers": (["foo=1", "foo=1"], "foo=1"),
    "a key in two headers": (["foo=1", "foo=2"], "foo=1"),
    "all letters": ([f"{LETTERS}={VALUE}x"], f"{LETTERS}={VALUE}x"),
    "all letters of a vendor": (
        [f"{LETTERS}@a-z0-9_-*/={VALUE}x"],
        f"{LETTERS}@a-z0-9_-*/={VALUE}x",
    ),
    "space between": (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
    "space around": (["\t foo=1 \t"], "foo=1"),
    "a space in a key": (["foo =1"], ""),
    "a key in capitals": (["FOO=1"], ""),
    "a point in a key": (["foo.bar=1"], ""),
    "a vendor alone": (["@foo=1,bar=2"], ""),
    "32 members": ([",".join(MEMBERS[:20]), ",".join(MEMBERS[20:32])], ",".join(MEMBERS[:32])),
    "33 members": ([",".join(MEMBERS[:20]), ",".join(MEMBERS[20:])], ""),
    "the longest key": (["foo=1", f"{'z' * 256}=1"], f"foo=1,{'z' * 256}=1"),
    "a longer key": (["foo=1", f"{'z' * 257}=1"], ""),
    "a long vendor": (["foo=1", f"{'t' * 241}@{'v' * 14}=1"], f"foo=1,{'t' * 241}@{'v' * 14}=1"),
    "two equals signs": (["foo=bar=baz"], ""),
    "no value": (["foo=,bar=3"], ""),
}


@pytest.mark.parametrize("case", list(STATES))
def test_a_tracestate_goes_on_if_it_is_valid(case: str, traced: Serving) -> None:
    sent, expected = STATES[case]
    headers = [("traceparent", f"{PARENT[:-1]}0"), *(("tracestate", each) for each in sent)]
    found = asked(traced, headers)
    assert found["traceparent"].startswith(f"00-{TRACE}-")
    assert found.get("tracestate", "") == expected


@pytest.mark.parametrize("name", ["trace-state", "trace.state"])
def test_a_tracestate_of_another_name_says_nothing(name: str, traced: Serving) -> None:
    assert "tracestate" not in asked(traced, [("traceparent", PARENT), (name, "foo=1")])


@pytest.mark.parametrize("name", ["TraceState", "TrAcEsTaTe", "TRACESTATE"])
def test_a_tracestate_in_any_case_goes_on(name: str, traced: Serving) -> None:
    found = asked(traced, [("traceparent", PARENT), (name, "foo=1")])
    assert found["tracestate"] == "foo=1"


CONTEXT: dict[str, str] = {
    "traceparent": PARENT.replace("-01", "-03"),
    "tracestate": "foo=1,bar=2",
    "baggage": "user=k%C3%A4the;secret,tier=gold",
    "b3": f"{TRACE}-{SPAN}-1",
}


@pytest.mark.parametrize("route", ROUTES)
def test_with_tracing_off_the_caller_s_context_goes_on_as_it_came(
    route: str, untraced: Serving
) -> None:
    assert asked(untraced, list(CONTEXT.items()), route) == CONTEXT
    assert asked(untraced, [], route) == {}
    assert asked(untraced, [("traceparent", PARENT)] * 2, route) == {}


@pytest.mark.parametrize("route", ROUTES[:3])
def test_so_it_does_from_a_path_that_is_not_traced(route: str) -> None:
    config = {"tracing": {"excluded_urls": [f"/{route}"]}}
    with serving(Asks, config, tracers=[("kept", Keeps(), {})]) as server:
        assert asked(server, list(CONTEXT.items()), route) == CONTEXT


def test_from_callers_who_are_not_trusted_nothing_goes_on() -> None:
    config = {"tracing": {"trust_incoming": False}}
    with serving(Asks, config) as off, serving(Asks, config, tracers=[("k", Keeps(), {})]) as on:
        assert asked(off, list(CONTEXT.items())) == {}
        found = asked(on, list(CONTEXT.items()))
        assert {*found} == {"traceparent"}
        assert TRACE not in found["traceparent"]
        assert asked(on, list(CONTEXT.items()), "reads_baggage") == {}


@pytest.mark.parametrize("route", ROUTES)
def test_baggage_goes_on_with_the_trace(route: str, traced: Serving) -> None:
    found = asked(traced, list(CONTEXT.items()), route)
    assert found["baggage"] == CONTEXT["baggage"]
    assert found["tracestate"] == CONTEXT["tracestate"]


def test_baggage_can_be_read_with_tracing_on_and_off(traced: Serving, untraced: Serving) -> None:
    headers = [("baggage", CONTEXT["baggage"]), ("baggage", "tier=silver , more = 1")]
    for server in (traced, untraced):
        found = asked(server, headers, "reads_baggage")
        assert found == {"user": "käthe", "tier": "gold", "more": "1"}
    assert baggage() == {}


def test_opentelemetry_s_api_knows_it_too(traced: Serving) -> None:
    found = asked(traced, [("baggage", "user=1,tier=gold")], "asks_opentelemetry")
    assert found["read"] == {"user": "1", "tier": "gold"}
    assert found["sent"]["baggage"] == "user=1,tier=gold"
    assert found["sent"]["traceparent"].startswith("00-")


def test_it_stays_here_where_the_propagators_say_so() -> None:
    config = {"tracing": {"propagators": ["tracecontext"]}}
    with serving(Asks, config, tracers=[("kept", Keeps(), {})]) as server:
        assert "baggage" not in asked(server, list(CONTEXT.items()))
    config = {"tracing": {"propagators": ["tracecontext", "baggage"]}}
    with serving(Asks, config, tracers=[("kept", Keeps(), {})]) as server:
        assert asked(server, list(CONTEXT.items()))["baggage"] == CONTEXT["baggage"]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([b"a=1,b=2"], "a=1,b=2"),
        ([b"a = 1 ; p = 2 ; q"], "a = 1 ; p = 2 ; q"),
        ([b"a=1", b"", b",,b=2"], "a=1,b=2"),
        ([b'a="1",b=2'], "b=2"),
        ([b"a\r\nx: y=1,b=2"], "b=2"),
        ([b"\xe9=1,b=\xe9,c=3"], "c=3"),
        ([b"a,=1,b=2"], "b=2"),
        ([b"a="], "a="),
        ([",".join(f"k{n}=1" for n in range(99)).encode()], ",".join(f"k{n}=1" for n in range(64))),
        ([b"a=1,b=" + b"x" * MAX_BYTES], "a=1"),
        ([b"a=" + b"x" * (MAX_BYTES - 2)], "a=" + "x" * (MAX_BYTES - 2)),
    ],
)
def test_only_what_is_baggage_goes_on_and_within_its_bounds(
    sent: Sequence[bytes], expected: str
) -> None:
    assert passed_on(sent) == expected


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"a=1", b"b=%20;p", b","]), max_size=9))
def test_any_baggage_is_bounded_and_what_goes_on_is_read_the_same(values: list[bytes]) -> None:
    found = passed_on(values)
    assert len(found) <= MAX_BYTES
    assert found.isascii()
    assert not {"\r", "\n", "\0"} & {*found}
    assert len(read(values)) <= MAX_MEMBERS
    assert read([found.encode()]) == read(values)
    assert passed_on([found.encode()]) == found


COLLECTORS: dict[str, tuple[str, str, type[OtlpSink]]] = {
    "otel, http": ("otel", "otlp_proto_http", OtlpHttpSink),
    "otel, grpc": ("otel", "otlp_proto_grpc", OtlpGrpcSink),
    "jaeger, http": ("jaeger", "otlp-http", OtlpHttpSink),
    "jaeger, grpc": ("jaeger", "otlp-grpc", OtlpGrpcSink),
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("trusts", [True, False])
@pytest.mark.parametrize("case", list(COLLECTORS))
def test_a_collector_sees_the_tracestate_and_what_a_link_leads_to(
    case: str, *, trusts: bool, chunked: bool
) -> None:
    name, how, kind = COLLECTORS[case]
    headers = {"content-type": "application/json", "traceparent": PARENT, "tracestate": "foo=1,b=2"}
    with kind() as sink:
        url = f"{sink.endpoint}/v1/traces" if kind is OtlpHttpSink else sink.endpoint
        section = {"exporter": how, "options": {"endpoint": url}}
        if name == "jaeger":
            section = {"protocol": how, "endpoint": sink.endpoint}
        elif kind is OtlpGrpcSink:
            section["options"] |= {"insecure": True}  # type: ignore[operator]  # a dict
        tracer = load_plugin(name).configured(section, {})
        config = {"tracing": {"trust_incoming": trusts}}
        with serving(Asks, config, tracers=[tracer]) as server:
            for route in ("batched", "on_the_runner"):
                body = b"1" if route == "batched" else b"{}"
                content = iter([body]) if chunked else body
                httpx.post(
                    f"{server.url}/{route}", content=content, headers=headers
                ).raise_for_status()
        spans = sink.spans
    assert len(spans) == 7 + 4
    assert sink.violations == []
    assert {each["trace_state"] for each in spans} == {"foo=1,b=2" if trusts else ""}
    assert {each["schema_url"] for each in spans} == {"https://opentelemetry.io/schemas/1.44.0"}
    assert {each["resource"]["telemetry.sdk.name"] for each in spans} == {"spanserve"}
    links = [link for each in spans for link in each["links"]]
    # OpenTelemetry's encoder leaves out the tracestate of a link.
    assert [(each["trace_id"], each["span_id"], each["flags"]) for each in links] == (
        [] if trusts else [(TRACE, SPAN, 0x300)] * 2
    )


def test_the_bridge_keeps_a_link_s_tracestate() -> None:
    link = Link(TRACE, SPAN, {}, "foo=1,b=2", is_remote=True)
    of = Span("call", SpanKind.SERVER, TRACE, SPAN, None, 1, 2, links=[link], tracestate="a=1")
    read = readable_span(of, otel_resource(Resource("svc", {})))
    (found,) = read.links
    assert found.context.trace_state.to_header() == "foo=1,b=2"
    assert found.context.is_remote
    assert read.context is not None
    assert read.context.trace_state.to_header() == "a=1"
