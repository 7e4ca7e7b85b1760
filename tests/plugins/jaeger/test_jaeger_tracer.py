"""The Jaeger tracer on real sockets: UDP over IPv4 and IPv6, OTLP over HTTP and gRPC."""

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from spanserve import Event, ExportResult, Link, Resource, Span, SpanKind
from spanserve.errors import ConfigError
from spanserve_jaeger.settings import JaegerSettings, otlp_grpc_url, otlp_http_url
from spanserve_jaeger.tracer import Jaeger
from spanserve_jaeger.udp import UdpSender
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from support.thrift_sink import ThriftSink

RESOURCE = Resource("svc", {"service.name": "svc", "host.name": "h"})
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
START_NS = 1_700_000_000_000_000_000


SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
OTLP_SDK = {
    "telemetry.sdk.name": "spanserve",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.version": version("spanserve"),
}


def span_of(number: int, **changes: Any) -> Span:
    span = Span(
        "GET /p", SpanKind.SERVER, TRACE_ID, f"{number:016x}", None, START_NS, START_NS + 1_500
    )
    return span._replace(**changes)


def ids(spans: list[dict[str, Any]]) -> list[str]:
    return [span["span_id"] for span in spans]


def ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6 loopback")


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(**settings: Any) -> Iterator[Jaeger]:
    tracer = Jaeger()
    tracer.tracer_started(JaegerSettings(**settings), RESOURCE)
    try:
        yield tracer
    finally:
        tracer.tracer_stopping()


@contextmanager
def sender_to(address: str, port: int, **options: Any) -> Iterator[UdpSender]:
    sender = UdpSender(address, port, RESOURCE, **options)
    try:
        yield sender
    finally:
        sender.close()


def test_spans_arrive_over_udp_and_are_unconfirmed() -> None:
    with ThriftSink() as sink, started(address=sink.host, port=sink.port) as tracer:
        assert tracer.export_spans([span_of(1), span_of(2)]) == ExportResult(unconfirmed=2)
        assert ids(sink.wait_for_spans(2)) == [f"{1:016x}", f"{2:016x}"]
        assert [batch.service_name for batch in sink.batches] == ["svc"]


def test_a_name_is_resolved_to_ipv4_first() -> None:
    with ThriftSink() as sink, started(address="localhost", port=sink.port) as tracer:
        assert tracer.export_spans([span_of(1)]) == ExportResult(unconfirmed=1)
        sink.wait_for_spans(1)


@needs_ipv6
@pytest.mark.parametrize("address", ["::1", "[::1]"])
def test_spans_arrive_over_ipv6(address: str) -> None:
    with ThriftSink("::1") as sink, started(address=address, port=sink.port) as tracer:
        assert tracer.export_spans([span_of(1)]) == ExportResult(unconfirmed=1)
        sink.wait_for_spans(1)


@needs_ipv6
def test_a_name_whose_ipv4_address_refuses_is_tried_by_ipv6() -> None:
    def both(_name: str, port: int, **options: Any) -> list[Any]:
        addresses = ("::1", "127.0.0.1")
        return [a for each in addresses for a in socket.getaddrinfo(each, port, **options)]

    with ThriftSink("::1") as sink:
        sender = UdpSender("anyhost", sink.port, RESOURCE, resolve=both)
        assert sender.export([span_of(1)]) == ExportResult(unconfirmed=1)
        sink.wait_for_spans(1)
        sender.close()


def test_a_name_that_gets_another_address_is_followed_within_half_a_minute() -> None:
    led_to, now_s = ["127.0.0.1"], [0.0]

    def resolve(_: str, port: int, **options: Any) -> list[Any]:
        if not led_to:
            raise socket.gaierror("the resolver is away")
        return socket.getaddrinfo(led_to[0], port, **options)

    with ThriftSink("127.0.0.1") as old, ThriftSink("127.0.0.2", port=old.port) as new:
        options: dict[str, Any] = {"resolve": resolve, "clock_s": lambda: now_s[0]}
        with sender_to("agent", old.port, **options) as sender:
            sender.export([span_of(1)])
            led_to[:] = ["127.0.0.2"]
            now_s[0] = 29
            sender.export([span_of(2)])
            led_to.clear()
            now_s[0] = 31  # nobody says anything: all stays as it is
            sender.export([span_of(3)])
            led_to[:] = ["127.0.0.2"]
            now_s[0] = 62
            sender.export([span_of(4)])
            now_s[0] = 93
            sender.export([span_of(5)])
        assert ids(old.wait_for_spans(3)) == [f"{number:016x}" for number in (1, 2, 3)]
        assert ids(new.wait_for_spans(2)) == [f"{number:016x}" for number in (4, 5)]


def test_a_port_where_nobody_listens_hands_the_spans_back_every_time() -> None:
    port = free_udp_port()
    expected = ExportResult(
        retry=(span_of(1), span_of(2)),
        reason=f"nobody listens at udp://127.0.0.1:{port} (connection refused)",
    )
    with started(address="127.0.0.1", port=port) as tracer:
        results = [tracer.export_spans([span_of(1), span_of(2)]) for _ in range(3)]
    assert [replace(each, retry=tuple(each.retry)) for each in results] == [expected] * 3


def test_an_unknown_host_is_a_reason_to_try_again() -> None:
    with started(address="nowhere.invalid") as tracer:
        result = tracer.export_spans([span_of(1)])
    assert list(result.retry) == [span_of(1)]
    assert result.reason is not None
    assert result.reason.startswith("cannot send to udp://nowhere.invalid:6831: ")


def test_many_spans_go_out_in_several_packets_each_once_and_in_order() -> None:
    spans = [span_of(n + 1, attributes={"text": "x" * 500}) for n in range(400)]
    with ThriftSink() as sink, started(address=sink.host, port=sink.port) as tracer:
        assert tracer.export_spans(spans) == ExportResult(unconfirmed=400)
        assert ids(sink.wait_for_spans(400)) == [span.span_id for span in spans]
        assert [len(packet) <= 65_000 for packet in sink.packets] == [True] * 4


def test_five_thousand_links_arrive() -> None:
    links = [Link(f"{n + 1:032x}", f"{(n + 1) << 40:016x}", {"position": n}) for n in range(5_000)]
    with ThriftSink() as sink, started(address=sink.host, port=sink.port) as tracer:
        assert tracer.export_spans([span_of(1, links=links)]) == ExportResult(unconfirmed=1)
        spans = sink.wait_for_spans(3)
        sent = [(r["trace_id"], r["span_id"]) for span in spans for r in span["references"]]
        assert sent == [(link.trace_id, link.span_id) for link in links]


def test_a_packet_that_the_system_refuses_is_split_smaller() -> None:
    # No IPv4 datagram holds more than 65,507 bytes: the send fails with EMSGSIZE, as it does
    # on macOS from 9,216 bytes on.
    spans = [span_of(n + 1, attributes={"text": "x" * 500}) for n in range(400)]
    with (
        ThriftSink() as sink,
        sender_to(sink.host, sink.port, max_packet_bytes=100_000) as sender,
    ):
        assert sender.export(spans) == ExportResult(unconfirmed=400)
        assert ids(sink.wait_for_spans(400)) == [span.span_id for span in spans]


def test_one_bad_span_is_rejected_and_the_others_are_sent() -> None:
    with ThriftSink() as sink, started(address=sink.host, port=sink.port) as tracer:
        assert tracer.export_spans([span_of(1), span_of(2, span_id="no"), span_of(3)]) == (
            ExportResult(unconfirmed=2, rejected=1, reason="a span cannot be encoded: ValueError")
        )
        sink.wait_for_spans(2)


def test_a_span_arrives_whole_over_otlp_http() -> None:
    span = span_of(
        1,
        parent_id="b7ad6b7169203331",
        attributes={"s": "é", "i": 3, "d": 1.5, "b": True, "l": [1, 2], "big": 1 << 70},
        links=[Link("ab" * 16, "cd" * 8, {"position": 3})],
        events=[Event("e", START_NS + 1, {"k": "\ud800"})],
        error="boom",
    )
    with (
        OtlpHttpSink() as sink,
        started(
            protocol="otlp-http", endpoint=sink.endpoint, headers={"X-Key": "secret"}
        ) as tracer,
    ):
        assert tracer.export_spans([span]) == ExportResult(delivered=1)
        assert sink.wait_for_spans(1) == [
            {
                "trace_id": TRACE_ID,
                "span_id": f"{1:016x}",
                "parent_id": "b7ad6b7169203331",
                "name": "GET /p",
                "kind": "SERVER",
                "start_ns": START_NS,
                "end_ns": START_NS + 1_500,
                "attributes": {
                    "s": "é", "i": 3, "d": 1.5, "b": True, "l": [1, 2], "big": str(1 << 70),
                },
                "links": [
                    {
                        "trace_id": "ab" * 16, "span_id": "cd" * 8, "attributes": {"position": 3},
                        "trace_state": "", "flags": 0x100,
                    }
                ],
                "events": [{"name": "e", "time_ns": START_NS + 1, "attributes": {"k": "?"}}],
                "error": "boom",
                "trace_state": "",
                "resource": {**OTLP_SDK, "service.name": "svc", "host.name": "h"},
                "schema_url": SCHEMA_URL,
            }
        ]  # fmt: skip
        assert (sink.paths, sink.headers[0]["x-key"]) == (["/v1/traces"], "secret")


def test_credentials_in_the_url_become_a_header() -> None:
    with OtlpHttpSink() as sink:
        endpoint = f"http://user:p%40ss@{sink.host}:{sink.port}/custom"
        with started(protocol="otlp-http", endpoint=endpoint) as tracer:
            assert tracer.export_spans([span_of(1)]) == ExportResult(delivered=1)
        assert sink.headers[0]["authorization"] == "Basic dXNlcjpwQHNz"
        assert sink.paths == ["/custom"]


def test_spans_arrive_over_otlp_grpc() -> None:
    with (
        OtlpGrpcSink() as sink,
        started(
            protocol="otlp-grpc", endpoint=sink.endpoint, headers={"X-Key": "secret"}
        ) as tracer,
    ):
        assert tracer.export_spans([span_of(1), span_of(2)]) == ExportResult(delivered=2)
        assert ids(sink.wait_for_spans(2)) == [f"{1:016x}", f"{2:016x}"]
        assert sink.headers[0]["x-key"] == "secret"


def test_a_refused_otlp_request_says_so_and_is_not_repeated() -> None:
    with (
        OtlpHttpSink(answers=[401]) as sink,
        started(protocol="otlp-http", endpoint=sink.endpoint) as tracer,
    ):
        result = tracer.export_spans([span_of(1)])
        assert result == ExportResult(rejected=1, reason="answered 401 Unauthorized")
        assert tracer.export_spans([span_of(2)]) == ExportResult(delivered=1)
        assert ids(sink.wait_for_spans(1)) == [f"{2:016x}"]


def test_an_exporter_that_is_not_installed_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    settings = JaegerSettings(protocol="otlp-http", endpoint="http://localhost:4318")
    with pytest.raises(ConfigError) as caught:
        Jaeger().tracer_target(settings)
    assert str(caught.value) == (
        "jaeger protocol 'otlp-http' needs OpenTelemetry's exporter; "
        "try: pip install 'spanserve-jaeger[otlp]'"
    )


def test_what_the_exporter_itself_misses_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith("opentelemetry.exporter.otlp.proto.grpc"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grpc", None)
    settings = JaegerSettings(protocol="otlp-grpc", endpoint="http://localhost:4317")
    with pytest.raises(ModuleNotFoundError, match="grpc"):
        Jaeger().tracer_target(settings)


@pytest.mark.parametrize(
    ("settings", "target", "url"),
    [
        ({"address": "localhost"}, "udp://localhost:6831", "http://localhost:16686"),
        ({"address": "::1", "port": 7}, "udp://[::1]:7", "http://[::1]:16686"),
        (
            {"protocol": "otlp-http", "endpoint": "https://u:p@jaeger:4318/"},
            "https://jaeger:4318/v1/traces",
            "http://jaeger:16686",
        ),
        (
            {"protocol": "otlp-grpc", "endpoint": "http://u:p@[::1]:4317/x"},
            "http://[::1]:4317",
            "http://[::1]:16686",
        ),
    ],
)
def test_the_target_and_the_page_are_named_without_credentials(
    settings: dict[str, Any], target: str, url: str
) -> None:
    assert Jaeger().tracer_target(JaegerSettings(**settings)) == target
    with started(**settings) as tracer:
        assert tracer.trace_url(TRACE_ID) == f"{url}/trace/{TRACE_ID}"


def test_before_the_start_there_is_no_page() -> None:
    assert Jaeger().trace_url(TRACE_ID) is None


def test_the_header_format_is_jaegers_own() -> None:
    assert tuple(Jaeger().tracer_propagators()) == ("jaeger",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "`address` is missing: the host of Jaeger's UDP receiver, as `address: localhost`"),
        (
            {"endpoint": "http://localhost:4318"},
            (
                "`address` is missing: the host of Jaeger's UDP receiver, as `address: localhost`"
                " (for `endpoint`, set `protocol: otlp-http`)"
            ),
        ),
        (
            {"protocol": "otlp-grpc", "address": "::1"},
            (
                "`endpoint` is missing: protocol 'otlp-grpc' sends to a URL, not to `address` and"
                " `port`, such as `endpoint: http://[::1]:4317`"
            ),
        ),
        (
            {"protocol": "otlp-http", "endpoint": "localhost:4318"},
            "the endpoint must be a URL such as http://localhost:4318",
        ),
    ],
)
def test_settings_without_a_target_say_what_is_missing(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        JaegerSettings(**settings)
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {message}"]


@pytest.mark.parametrize(
    "wrong", [{"address": ""}, {"port": 0}, {"protocol": "thrift"}, {"host": "x"}]
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JaegerSettings(**{"address": "localhost", **wrong})


def test_bentomls_section_is_valid_and_without_warnings() -> None:
    settings = JaegerSettings.model_validate({"address": "localhost", "port": 6831})
    assert list(Jaeger().tracer_warnings(settings)) == []


@pytest.mark.parametrize(
    ("settings", "warnings"),
    [
        (
            {"address": "h", "port": 4318},
            [
                (
                    "jaeger: port 4318 is usually where Jaeger reads OTLP over HTTP; "
                    "set `protocol: otlp-http` and an `endpoint`"
                )
            ],
        ),
        (
            {"address": "h", "port": 16686},
            [
                (
                    "jaeger: port 16686 is usually where Jaeger reads its web page; "
                    "Thrift over UDP is read at 6831"
                )
            ],
        ),
        (
            {"address": "h", "endpoint": "http://h:4318", "headers": {"a": "b"}},
            [
                "jaeger: `endpoint` is not used with protocol 'udp': `address` and `port` are",
                "jaeger: `headers` are not sent with protocol 'udp'",
            ],
        ),
        (
            {"protocol": "otlp-http", "endpoint": "http://h:4317/api", "address": "h"},
            [
                "jaeger: port 4317 is usually where Jaeger reads `protocol: otlp-grpc`",
                "jaeger: the path of `endpoint` is /api, where OTLP's usual one is /v1/traces",
                (
                    "jaeger: `address` and `port` are not used with protocol 'otlp-http', "
                    "which sends to `endpoint`"
                ),
            ],
        ),
        (
            {"protocol": "otlp-grpc", "endpoint": "http://h:6831/x"},
            [
                "jaeger: Jaeger reads no OTLP at port 6831; HTTP is at 4318, gRPC at 4317",
                "jaeger: the path of `endpoint` is not used with protocol 'otlp-grpc'",
            ],
        ),
    ],
)
def test_likely_mistakes_are_told(settings: dict[str, Any], warnings: list[str]) -> None:
    assert list(Jaeger().tracer_warnings(JaegerSettings(**settings))) == warnings


@pytest.mark.parametrize(
    ("make", "endpoint", "url"),
    [
        (otlp_http_url, "http://h:4318", "http://h:4318/v1/traces"),
        (otlp_http_url, "http://h:4318/", "http://h:4318/v1/traces"),
        (otlp_http_url, "http://h/otlp/v1/traces?a=b", "http://h/otlp/v1/traces?a=b"),
        (otlp_grpc_url, "https://h:4317/", "https://h:4317"),
    ],
)
def test_a_bare_url_gets_otlps_path(make: Callable[[str], str], endpoint: str, url: str) -> None:
    assert make(endpoint) == url


def test_headers_are_secret() -> None:
    settings = JaegerSettings(address="h", headers={"authorization": SecretStr("Bearer x")})
    assert "Bearer" not in repr(settings)
