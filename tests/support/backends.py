"""The backends that traces are sent to in tests, behind one face: what arrived, as spans."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from spanserve import AttributeValue, Link, Span, SpanKind
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink, OtlpSink
from support.thrift_sink import ThriftSink
from support.zipkin_sink import ZipkinSink


class Backend(Protocol):
    """Somewhere that traces go; `tracing` is the section of the config that sends them there."""

    tracing: dict[str, Any]

    def spans(self) -> list[Span]:
        """Return all that arrived; raises AssertionError where the backend found fault."""


def value_of(text: Any) -> AttributeValue:
    """Return a number where a backend keeps numbers as texts, as Zipkin does."""
    if isinstance(text, str):
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    value: AttributeValue = text
    return value


@dataclass
class Zipkin:
    """A strict Zipkin server; links come back from their tags."""

    sink: ZipkinSink

    def __post_init__(self) -> None:
        self.tracing = {"type": "zipkin", "zipkin": {"url": self.sink.url}}

    def spans(self) -> list[Span]:
        assert self.sink.violations == []
        return [self._span(span) for span in self.sink.spans]

    def _span(self, span: Mapping[str, Any]) -> Span:
        tags = span.get("tags", {})
        links: list[Link] = []
        while (text := tags.get(f"otlp.link.{len(links)}")) is not None:
            trace_id, span_id, _, attributes, _ = text.split("|")
            links.append(Link(trace_id, span_id, json.loads(attributes)))
        return Span(
            name=span["name"],
            kind=SpanKind(span.get("kind", "internal").lower()),
            trace_id=span["traceId"],
            span_id=span["id"],
            parent_id=span.get("parentId"),
            start_ns=span["timestamp"] * 1000,
            end_ns=(span["timestamp"] + span["duration"]) * 1000,
            attributes={key: value_of(value) for key, value in tags.items()},
            links=links,
            error=tags.get("error"),
        )


@dataclass
class JaegerUdp:
    """A strict agent; links come back from references, without their attributes."""

    sink: ThriftSink

    def __post_init__(self) -> None:
        jaeger = {"address": self.sink.host, "port": self.sink.port}
        self.tracing = {"type": "jaeger", "jaeger": jaeger}

    def spans(self) -> list[Span]:
        assert self.sink.violations == []
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

    def spans(self) -> list[Span]:
        assert self.sink.violations == []
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


KINDS = ("zipkin", "jaeger-udp", "jaeger-otlp-http", "jaeger-otlp-grpc")


@contextmanager
def backend(kind: str) -> Iterator[Backend]:
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
    else:
        with OtlpGrpcSink() as grpc:
            yield JaegerOtlp(grpc, "otlp-grpc")
