"""The Jaeger tracer passes the suite that every tracer does, over each of its protocols."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # grpcio ships no stubs
from typing_extensions import override

from spanserve.testing import Backend, TracerSuite
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink, OtlpSink, Refusal
from support.thrift_sink import ThriftSink

KEEPS = ("trace_id", "span_id", "parent_id", "name")
CONTINUED = "(links continued)"  # what did not fit into the packet of its span
BUSY = Refusal(503, grpc.StatusCode.UNAVAILABLE, "busy")
TOO_LONG = Refusal(413, grpc.StatusCode.RESOURCE_EXHAUSTED, "message larger than max")


class TestJaegerByUdp(TracerSuite):
    tracer = "jaeger"
    keeps = KEEPS
    faults = ("dead",)
    exporters = ("thread", "process")
    workers = True

    @override
    @contextmanager
    def open_backend(self, folder: Path) -> Iterator[Backend]:
        with ExitStack() as opened:
            agents = [opened.enter_context(ThriftSink())]
            host, port = agents[0].host, agents[0].port
            yield Backend(
                {"address": host, "port": port},
                lambda: [
                    span
                    for agent in agents
                    for span in agent.spans
                    if not span["name"].endswith(CONTINUED)
                ],
                {"dead": agents[0].close},
                lambda: agents.append(opened.enter_context(ThriftSink(port=port))),
                lambda: [each for agent in agents for each in agent.violations],
            )


def collector(sink: OtlpSink, protocol: str) -> Backend:
    """Return a collector that can say that it is busy, or that a request is too long."""
    return Backend(
        {"protocol": protocol, "endpoint": sink.endpoint},
        lambda: sink.spans,
        {
            "error": lambda: sink.refuse_if(lambda _names, _size: True, BUSY),
            "partial": lambda: sink.refuse_if(lambda _names, size: size > 8_000, TOO_LONG),
        },
        sink.accept,
        lambda: sink.violations,
    )


class TestJaegerByOtlpHttp(TracerSuite):
    tracer = "jaeger"
    keeps = KEEPS
    faults = ("error", "partial")
    exporters = ("thread", "process")

    @override
    @contextmanager
    def open_backend(self, folder: Path) -> Iterator[Backend]:
        with OtlpHttpSink() as sink:
            yield collector(sink, "otlp-http")


class TestJaegerByOtlpGrpc(TracerSuite):
    tracer = "jaeger"
    keeps = KEEPS
    faults = ("error", "partial")
    exporters = ("thread", "process")

    @override
    @contextmanager
    def open_backend(self, folder: Path) -> Iterator[Backend]:
        with OtlpGrpcSink() as sink:
            yield collector(sink, "otlp-grpc")
