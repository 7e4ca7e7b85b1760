"""The tracer `otel` passes the suite that every tracer does, with OpenTelemetry's own exporter."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from spanserve.testing import Backend, TracerSuite
from support.otlp_sink import OtlpHttpSink, Refusal


class TestOtel(TracerSuite):
    tracer = "otel"
    keeps = ("trace_id", "span_id", "parent_id", "name", "start_ns", "end_ns")
    faults = ("error",)
    exporters = ("thread", "process")

    @override
    @contextmanager
    def open_backend(self, folder: Path) -> Iterator[Backend]:
        with OtlpHttpSink() as sink:
            yield Backend(
                {
                    "exporter": "otlp_proto_http",
                    "options": {"endpoint": f"{sink.endpoint}/v1/traces", "timeout": 1},
                },
                lambda: sink.spans,
                {"error": lambda: sink.refuse_if(lambda _names, _size: True, Refusal(503))},
                sink.accept,
                lambda: sink.violations,
            )
