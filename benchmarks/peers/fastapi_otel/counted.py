"""OpenTelemetry's batch processor and Zipkin exporter, and how many spans they made and lost."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.zipkin.json import ZipkinExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


class Exporter(ZipkinExporter):
    """Counts what it is given."""

    spans = 0

    def export(self, spans: Sequence[Any]) -> Any:
        """Send spans."""
        self.spans += len(spans)
        return super().export(spans)


class Processor(BatchSpanProcessor):
    """Counts what it is given: without a word, a full queue drops the oldest."""

    spans = 0

    def on_end(self, span: Any) -> None:
        """Queue a span."""
        self.spans += 1
        super().on_end(span)


class Counted:
    """A provider whose spans go to Zipkin."""

    def __init__(self, url: str) -> None:
        self._exporter = Exporter(endpoint=url)
        self._processor = Processor(self._exporter)
        self.provider = TracerProvider(resource=Resource.create({"service.name": "fastapi_otel"}))
        self.provider.add_span_processor(self._processor)

    def metrics(self, requests: int) -> str:
        """Return the counts, after what waits was sent."""
        self.provider.force_flush()
        spans = self._processor.spans
        figures = {
            "spans": spans,
            "requests": requests,
            "spans_dropped": spans - self._exporter.spans,
        }
        return "".join(f"otel_{name}_total {figure}\n" for name, figure in figures.items())
