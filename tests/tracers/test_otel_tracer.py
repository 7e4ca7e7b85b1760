"""The tracer `otel`: any exporter that is installed for OpenTelemetry, and the bridge to it."""

import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from importlib.metadata import entry_points, version
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanserve import Event, ExportResult, Link, Resource, Span, SpanKind
from spanserve.errors import ConfigError
from spanserve.tracers.otel import (
    EXPORTERS_GROUP,
    Otel,
    OtelExport,
    OtelSettings,
    otel_resource,
    readable_span,
)
from spanserve.tracers.otel_options import converted, without_values
from support.otlp_sink import OtlpHttpSink

RESOURCE = Resource("svc", {"service.name": "svc", "host.name": "h"})
SENT_RESOURCE = {
    **RESOURCE.attributes,
    "telemetry.sdk.name": "spanserve",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.version": version("spanserve"),
}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
START_NS = 1_700_000_000_000_000_000
ROOT = Span("GET /p", SpanKind.SERVER, TRACE_ID, SPAN_ID, None, START_NS, START_NS + 1_500)


class Failing(SpanExporter):
    """Fails, and says so in its log, as OpenTelemetry's exporters do."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        logging.getLogger(__name__).error("%d spans met a %s", len(spans), "closed door")
        return SpanExportResult.FAILURE


class Suppressed(InMemorySpanExporter):
    """Remembers whether instrumentation was suppressed while it exported."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        key = otel_context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001 - there is no public one
        self.seen.append(otel_context.get_value(key))
        return super().export(spans)


@contextmanager
def started(**values: Any) -> Iterator[Otel]:
    tracer = Otel()
    tracer.tracer_started(OtelSettings(**values), RESOURCE)
    try:
        yield tracer
    finally:
        tracer.tracer_stopping()


def test_spans_arrive_through_the_otlp_exporter() -> None:
    child = ROOT._replace(kind=SpanKind.INTERNAL, span_id="cd" * 8, parent_id=SPAN_ID, name="run")
    with OtlpHttpSink() as sink:
        options = {"endpoint": f"{sink.endpoint}/v1/traces", "headers": {"x-key": "k"}}
        with started(exporter="otlp_proto_http", options=options) as tracer:
            assert tracer.export_spans([ROOT, child]) == ExportResult(delivered=2)
        found = [(s["name"], s["kind"], s["parent_id"]) for s in sink.wait_for_spans(2)]
        assert found == [("GET /p", "SERVER", None), ("run", "INTERNAL", SPAN_ID)]
        assert [span["resource"] for span in sink.spans] == [SENT_RESOURCE] * 2
        assert sink.headers[0]["x-key"] == "k"


def test_the_console_exporter_prints_the_span() -> None:
    out = io.StringIO()
    with started(exporter="console", options={"out": out}) as tracer:
        assert tracer.export_spans([ROOT._replace(attributes={"n": 1})]) == ExportResult(
            delivered=1
        )
    printed = json.loads(out.getvalue())
    assert (printed["name"], printed["attributes"]) == ("GET /p", {"n": 1})
    assert printed["context"]["trace_id"] == f"0x{TRACE_ID}"


def test_a_span_keeps_everything_on_the_bridge() -> None:
    span = ROOT._replace(
        parent_id="cd" * 8,
        attributes={"s": "x", "l": [1, "a"]},
        links=[Link("ab" * 16, "ef" * 8, {"position": 3})],
        events=[Event("e", START_NS + 1, {"k": 1.5})],
        error="boom",
    )
    exporter = InMemorySpanExporter()
    assert OtelExport(exporter, otel_resource(RESOURCE)).export([span]) == ExportResult(delivered=1)
    [read] = exporter.get_finished_spans()
    sampled = otel.TraceFlags(1)
    context = otel.SpanContext(int(TRACE_ID, 16), int(SPAN_ID, 16), is_remote=False)
    parent = otel.SpanContext(int(TRACE_ID, 16), int("cd" * 8, 16), is_remote=True)
    assert read.context is not None
    assert read.parent is not None
    assert (read.context.span_id, read.context.trace_flags) == (context.span_id, sampled)
    assert (read.parent.span_id, read.parent.is_remote) == (parent.span_id, True)
    assert (read.name, read.kind) == ("GET /p", otel.SpanKind.SERVER)
    assert (read.start_time, read.end_time) == (START_NS, START_NS + 1_500)
    assert dict(read.attributes or {}) == {"s": "x", "l": (1, "a")}
    assert [(k.context.span_id, dict(k.attributes or {})) for k in read.links] == [
        (int("ef" * 8, 16), {"position": 3})
    ]
    assert [(e.name, e.timestamp, dict(e.attributes or {})) for e in read.events] == [
        ("e", START_NS + 1, {"k": 1.5})
    ]
    assert (read.status.status_code, read.status.description) == (otel.StatusCode.ERROR, "boom")
    assert dict(read.resource.attributes) == SENT_RESOURCE


def test_a_span_without_an_error_has_no_status() -> None:
    read = readable_span(ROOT, otel_resource(RESOURCE))
    assert (read.status.status_code, read.status.description) == (otel.StatusCode.UNSET, None)


def test_a_failure_hands_the_spans_back_with_what_the_exporter_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = OtelExport(Failing(), otel_resource(RESOURCE)).export([ROOT])
    assert result == ExportResult(retry=(ROOT,), reason="1 spans met a closed door")
    assert caplog.messages == []


def test_a_span_with_a_bad_id_costs_no_other() -> None:
    exporter = InMemorySpanExporter()
    spans = [ROOT, ROOT._replace(span_id="xyz"), ROOT._replace(trace_id="0" * 32)]
    result = OtelExport(exporter, otel_resource(RESOURCE)).export(spans)
    assert result == ExportResult(delivered=1, rejected=2, reason="a span cannot be encoded")
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /p"]


def test_the_exporters_own_requests_are_not_traced() -> None:
    exporter = Suppressed()
    OtelExport(exporter, otel_resource(RESOURCE)).export([ROOT])
    assert exporter.seen == [True]


TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
SCALARS = st.one_of(TEXTS, st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.none())
ATTRIBUTES: st.SearchStrategy[Any] = st.dictionaries(
    TEXTS, SCALARS | st.lists(SCALARS, max_size=3), max_size=5
)


@given(TEXTS, ATTRIBUTES, st.none() | TEXTS)
@settings(deadline=None)
def test_whatever_a_span_holds_opentelemetrys_encoder_takes_all_of_it(
    text: str, attributes: dict[str, Any], error: str | None
) -> None:
    span = ROOT._replace(
        name=text,
        attributes=attributes,
        links=[Link(TRACE_ID, SPAN_ID, attributes)],
        events=[Event(text, START_NS, attributes)],
        error=error,
    )
    request = encode_spans([readable_span(span, otel_resource(RESOURCE))])
    [encoded] = request.resource_spans[0].scope_spans[0].spans
    count = len({key.encode("utf-8", "replace") for key in attributes})
    assert (len(encoded.attributes), len(encoded.links[0].attributes)) == (count, count)
    assert len(encoded.events[0].attributes) == count


def test_the_target_names_the_exporter_and_its_endpoint_without_credentials() -> None:
    def target(**values: Any) -> str:
        return Otel().tracer_target(OtelSettings(**values))

    assert [
        target(exporter="console"),
        target(exporter="otlp_proto_http", options={"endpoint": "http://u:p@h:4318/v1/traces?k=s"}),
        target(exporter="otlp_proto_grpc", options={"endpoint": "h:4317"}),
    ] == ["console", "otlp_proto_http http://h:4318/v1/traces", "otlp_proto_grpc h:4317"]


def message_of(**values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Otel().tracer_target(OtelSettings(**values))
    return str(caught.value)


def test_an_unknown_exporter_says_which_there_are() -> None:
    there = ", ".join(sorted({point.name for point in entry_points(group=EXPORTERS_GROUP)}))
    assert [message_of(exporter=name) for name in ("consol", "nothing", "zipkin_json")] == [
        f"unknown OpenTelemetry exporter 'consol' (installed: {there}); did you mean 'console'?",
        f"unknown OpenTelemetry exporter 'nothing' (installed: {there})",
        (
            f"unknown OpenTelemetry exporter 'zipkin_json' (installed: {there}); "
            "try: pip install opentelemetry-exporter-zipkin-json"
        ),
    ]


def test_an_unknown_option_says_which_there_are() -> None:
    message = message_of(exporter="console", options={"servce_name": "svc"})
    assert message == (
        "exporter 'console' has no option 'servce_name' "
        "(options: service_name, out, formatter); did you mean 'service_name'?"
    )


@pytest.mark.parametrize("exporter", ["otlp_proto_http", "otlp_proto_grpc"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"headers": 7}, "option 'headers': wanted a mapping, or a text such as 'a=1,b=2'"),
        ({"headers": "s3cret"}, "option 'headers': wanted a mapping, or a text such as 'a=1,b=2'"),
        ({"timeout": "5s"}, "option 'timeout': wanted a number, got '5s'"),
        ({"endpoint": 4318}, "option 'endpoint': wanted a text, got 4318"),
        ({"compression": "zip"}, "option 'compression': wanted one of deflate, gzip, none, got 'z"),
    ],
)
def test_options_of_a_wrong_kind_stop_the_start_and_are_named(
    exporter: str, options: dict[str, Any], words: str
) -> None:
    message = message_of(exporter=exporter, options=options)
    assert message.startswith(f"exporter '{exporter}', {words}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"endpoint": "no url"}, "option 'endpoint': wanted a URL that begins with http:// or ht"),
        ({"certificate_file": "/no.pem"}, "option 'certificate_file': there is no file /no.pem"),
    ],
)
def test_what_could_never_be_sent_to_stops_the_start(options: dict[str, Any], words: str) -> None:
    message = message_of(exporter="otlp_proto_http", options=options)
    assert message.startswith(f"exporter 'otlp_proto_http', {words}")


def test_what_an_exporter_says_of_its_options_shows_no_secret() -> None:
    options = {"endpoint": "http://a:b@c/d", "headers": {"token": "abc"}}
    said = without_values("no 'abc'\n  for http://a:b@c/d", options)
    assert said == "no '***' for http://***@c/d"


class _Compression(Enum):
    NoCompression = 0
    Gzip = 2


class _Exporter(SpanExporter):
    """Takes options of every kind, and keeps them."""

    def __init__(  # noqa: PLR0917  # as OpenTelemetry's own
        self,
        headers: "Mapping[str, str] | None" = None,
        timeout: "float | None" = None,
        retries: int = 0,
        secure: bool | None = None,  # noqa: FBT001  # as OpenTelemetry's own
        compression: "_Compression | NotThereAtRunTime | None" = None,  # type: ignore[name-defined]  # noqa: F821
        anything: Any = None,
    ) -> None:
        del headers, timeout, retries, secure, compression, anything
        raise AssertionError("nothing is made of it")


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"compression": "gzip"}, {"compression": _Compression.Gzip}),
        ({"compression": "NONE"}, {"compression": _Compression.NoCompression}),
        ({"headers": "A=1, b=x%20y"}, {"headers": {"a": "1", "b": "x y"}}),
        ({"headers": {"X-Id": 12}}, {"headers": {"x-id": "12"}}),
        ({"timeout": "2.5"}, {"timeout": 2.5}),
        ({"timeout": 3}, {"timeout": 3}),
        ({"retries": "3", "secure": "true"}, {"retries": 3, "secure": True}),
        ({"anything": [1, "a"], "timeout": None}, {"anything": [1, "a"], "timeout": None}),
    ],
)
def test_options_come_in_the_types_of_the_constructor(
    options: dict[str, Any], kept: dict[str, Any]
) -> None:
    assert converted(_Exporter, options) == kept


@pytest.mark.parametrize(
    ("environ", "exporter"),
    [
        ({}, "otlp_proto_http"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp_proto_http"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "console,otlp"}, "console"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "otlp_proto_grpc"),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            "otlp_proto_http",
        ),
    ],
)
def test_without_an_exporter_opentelemetrys_variables_choose_one(
    environ: dict[str, str], exporter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert Otel().tracer_target(OtelSettings()) == exporter
