"""The backends that traces are sent to in tests, behind one face: what arrived, as spans."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from servers import JaegerServer, ZipkinServer
from spanserve import Link, Span, SpanKind
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink, OtlpSink
from support.queries import wait_for
from support.query_formats import from_zipkin
from support.real_servers import queries_of
from support.thrift_sink import ThriftSink
from support.zipkin_sink import ZipkinSink


class Backend(Protocol):
    """Somewhere that traces go; `tracing` is the section of the config that sends them there."""

    tracing: dict[str, Any]

    def spans(self, service: str, expected: int) -> Sequence[Span]:
        """Return all that arrived of a service; AssertionError where anything was wrong.

        A real server is asked until as many spans as expected are there.
        """


@dataclass
class Zipkin:
    """A strict Zipkin server; links come back from their tags."""

    sink: ZipkinSink

    def __post_init__(self) -> None:
        self.tracing = {"type": "zipkin", "zipkin": {"url": self.sink.url}}

    def spans(self, service: str, expected: int) -> Sequence[Span]:
        assert self.sink.violations == []
        assert len(self.sink.spans) == expected, service
        return [from_zipkin(span) for span in self.sink.spans]


@dataclass
class JaegerUdp:
    """A strict agent; links come back from references, without their attributes."""

    sink: ThriftSink

    def __post_init__(self) -> None:
        jaeger = {"address": self.sink.host, "port": self.sink.port}
        self.tracing = {"type": "jaeger", "jaeger": jaeger}

    def spans(self, service: str, expected: int) -> Sequence[Span]:
        assert self.sink.violations == []
        assert len(self.sink.spans) == expected, service
        return [self._span(span) for span in self.sink.spans]

    def _span(self, span: Mapping[str, Any]) -> Span:
        tags = span["tags"]
        return Span(
            name=span["name"],
            kind=SpanKind(tags.get("span.kind", "internal")),
            trace_id=span["trace_id"],
            span_id=span["span_id"],
            parent_id=span["parent_id"],
            start_ns=span["start_us"] * 1000,
            end_ns=(span["start_us"] + span["duration_us"]) * 1000,
            attributes=tags,
            links=[Link(each["trace_id"], each["span_id"]) for each in span["references"]],
            error=tags.get("otel.status_description", "") if tags.get("error") else None,
        )


@dataclass
class JaegerOtlp:
    """A collector's OTLP receiver."""

    sink: OtlpSink
    protocol: str

    def __post_init__(self) -> None:
        jaeger = {"protocol": self.protocol, "endpoint": self.sink.endpoint}
        self.tracing = {"type": "jaeger", "jaeger": jaeger}

    def spans(self, service: str, expected: int) -> Sequence[Span]:
        assert self.sink.violations == []
        assert len(self.sink.spans) == expected, service
        return [self._span(span) for span in self.sink.spans]

    def _span(self, span: Mapping[str, Any]) -> Span:
        return Span(
            name=span["name"],
            kind=SpanKind(span["kind"].lower()),
            trace_id=span["trace_id"],
            span_id=span["span_id"],
            parent_id=span["parent_id"],
            start_ns=span["start_ns"],
            end_ns=span["end_ns"],
            attributes=span["attributes"],
            links=[Link(x["trace_id"], x["span_id"], x["attributes"]) for x in span["links"]],
            error=span["error"],
        )


@dataclass
class Real:
    """An unmodified server, read back through its own query API."""

    server: ZipkinServer | JaegerServer
    tracing: dict[str, Any]

    def spans(self, service: str, expected: int) -> Sequence[Span]:
        queries = queries_of(self.server)
        spans = wait_for(lambda: queries.traces(service), expected)
        assert len(spans) == expected, f"{len(spans)} spans came, {expected} were recorded"
        return spans


SINKS = ("zipkin", "jaeger-udp", "jaeger-otlp-http", "jaeger-otlp-grpc")
REAL = (
    "real zipkin",
    "real jaeger by udp",
    "real jaeger by otlp-http",
    "real jaeger by otlp-grpc",
    "real jaeger 1 by udp",
)
KINDS = (*SINKS, *REAL)


@contextmanager
def backend(kind: str, request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Run a backend; what it received can be read after the block, when all has arrived."""
    if kind == "zipkin":
        with ZipkinSink() as zipkin:
            yield Zipkin(zipkin)
    elif kind == "jaeger-udp":
        with ThriftSink() as agent:
            yield JaegerUdp(agent)
    elif kind == "jaeger-otlp-http":
        with OtlpHttpSink() as collector:
            yield JaegerOtlp(collector, "otlp-http")
    elif kind == "jaeger-otlp-grpc":
        with OtlpGrpcSink() as grpc:
            yield JaegerOtlp(grpc, "otlp-grpc")
    elif kind == "real zipkin":
        zipkin_server: ZipkinServer = request.getfixturevalue("real_zipkin")
        yield Real(zipkin_server, {"type": "zipkin", "zipkin": {"url": zipkin_server.spans_url}})
    else:
        yield _real_jaeger(kind, request)


def _real_jaeger(kind: str, request: pytest.FixtureRequest) -> Real:
    fixture = "real_jaeger1" if " 1 " in kind else "real_jaeger"
    server: JaegerServer = request.getfixturevalue(fixture)
    protocol = kind.rpartition(" ")[2]
    jaeger: dict[str, Any] = {"address": server.udp_host, "port": server.udp_port}
    if protocol != "udp":
        endpoint = server.otlp_http if protocol == "otlp-http" else server.otlp_grpc
        jaeger = {"protocol": protocol, "endpoint": endpoint}
    return Real(server, {"type": "jaeger", "jaeger": jaeger})
