"""What each part of a span's way costs with OpenTelemetry's SDK: `python parts.py SECONDS`.

The spans are those of a request to service.py. Prints µs of CPU a span, as JSON; spans go to
ZIPKIN_URL.
"""

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.exporter.zipkin.json import ZipkinExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

sys.path.insert(0, str(Path(__file__).parents[2] / "services"))

from socket_time import SocketTime

REQUESTS = 400  # its queue takes 2,048 spans
SPANS = 5 * REQUESTS
HTTP = {
    "http.scheme": "http",
    "http.host": "127.0.0.1:8000",
    "net.host.port": 8000,
    "http.flavor": "1.1",
    "http.target": "/predict",
    "http.url": "http://127.0.0.1:8000/predict",
    "http.method": "POST",
    "http.server_name": "127.0.0.1:8000",
    "http.user_agent": "parts",
    "net.peer.ip": "127.0.0.1",
    "net.peer.port": 50_000,
    "http.route": "/predict",
}


class Keeping(SpanExporter):
    """An exporter that keeps the spans of its last call."""

    spans: Sequence[ReadableSpan] = ()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep them."""
        self.spans = spans
        return SpanExportResult.SUCCESS


def provider() -> TracerProvider:
    """Return a provider without a processor."""
    return TracerProvider(resource=Resource.create({"service.name": "parts"}))


def requests_us(source: TracerProvider) -> float:
    """Return what all threads use for the spans of some requests."""
    tracer: Any = source.get_tracer("parts")
    start_ns = time.process_time_ns()
    for _ in range(REQUESTS):
        with tracer.start_as_current_span("POST /predict", kind=SpanKind.SERVER) as span:
            for key, value in HTTP.items():
                span.set_attribute(key, value)
            with tracer.start_as_current_span("POST /predict http receive") as receive:
                receive.set_attribute("asgi.event.type", "http.request")
            for name in ("decode", "predict", "encode"):
                with tracer.start_as_current_span(name):
                    pass
            span.set_attribute("http.status_code", 200)
    source.force_flush()
    return (time.process_time_ns() - start_ns) / 1e3


def main(seconds: str) -> None:
    """Measure all parts, and print."""
    repeats = max(3, int(8 * float(seconds)))
    keeping, zipkin = Keeping(), ZipkinExporter(endpoint=os.environ["ZIPKIN_URL"])
    bare, queued, sent = provider(), provider(), provider()
    queued.add_span_processor(BatchSpanProcessor(keeping))
    sent.add_span_processor(BatchSpanProcessor(zipkin))
    gc.freeze()
    rows = [[requests_us(each) for each in (bare, queued, sent)] for _ in range(repeats + 1)][1:]
    record_us, queue_us = (
        statistics.median(each) for each in zip(*((a, b - a) for a, b, _ in rows), strict=True)
    )
    encode_ns, send_ns = exported(zipkin, keeping.spans, repeats)
    count = len(keeping.spans)
    figures = {
        "record": record_us / SPANS,
        "queue": queue_us / SPANS,
        "encode": encode_ns / 1e3 / count,
        "send": send_ns / 1e3 / count,
        "all": statistics.median(all_us for _, _, all_us in rows) / SPANS,
    }
    print(json.dumps(figures))


def exported(
    exporter: ZipkinExporter, spans: Sequence[ReadableSpan], repeats: int
) -> tuple[float, float]:
    """Measure an export: what is not sending is encoding."""
    figures = []
    with SocketTime() as sending:
        for _ in range(repeats):
            sending.ns, start_ns = 0, time.thread_time_ns()
            exporter.export(spans)
            figures.append((time.thread_time_ns() - start_ns - sending.ns, sending.ns))
    encode_ns, send_ns = (statistics.median(each) for each in zip(*figures, strict=True))
    return encode_ns, send_ns


if __name__ == "__main__":
    main(*sys.argv[1:])
