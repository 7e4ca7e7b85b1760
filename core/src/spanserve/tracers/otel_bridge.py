"""The bridge to OpenTelemetry's SDK: spanserve's spans for any of its exporters."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource as OtelResource
from opentelemetry.sdk.trace import Event as OtelEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from spanserve.tracing.hookspecs import ExportResult
from spanserve.tracing.span import Attributes, Event, Link, Resource, Span, SpanKind

_SAMPLED: Final = otel.TraceFlags(otel.TraceFlags.SAMPLED)
_SCOPE: Final = InstrumentationScope("spanserve", version("spanserve"))
_UNSET: Final = otel.Status(otel.StatusCode.UNSET)
_KINDS: Final[Mapping[SpanKind, otel.SpanKind]] = {
    kind: otel.SpanKind[kind.name] for kind in SpanKind
}


def otel_resource(resource: Resource) -> OtelResource:
    """The resource as OpenTelemetry's: its attributes alone, nothing detected is added."""
    return OtelResource(_plain(resource.attributes))


def readable_span(span: Span, resource: OtelResource) -> ReadableSpan:
    """The span as exporters of OpenTelemetry's SDK read it; ValueError: its ids are no ids.

    Text that is no valid Unicode is replaced, and integers beyond 64 bits become text:
    an exporter would lose the whole batch over them.
    """
    parent = None
    if span.parent_id is not None:
        # The parent of a server's span is the caller's.
        parent = _context(span.trace_id, span.parent_id, is_remote=span.kind is SpanKind.SERVER)
    return ReadableSpan(
        name=_text(span.name),
        context=_context(span.trace_id, span.span_id, is_remote=False),
        parent=parent,
        resource=resource,
        attributes=_plain(span.attributes),
        events=[_event(event) for event in span.events],
        links=[_link(link) for link in span.links],
        kind=_KINDS[span.kind],
        status=_status(span.error),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )


class OtelExport:
    """Hands spans to an exporter of OpenTelemetry's SDK. Not for several threads at once."""

    def __init__(self, exporter: SpanExporter, resource: OtelResource) -> None:
        self._exporter = exporter
        self._resource = resource
        # Exporters log each failure; their modules' loggers are where.
        modules = {cls.__module__ for cls in type(exporter).__mro__ if cls is not object}
        self._loggers = [logging.getLogger(name) for name in sorted(modules)]

    def export(self, spans: Sequence[Span]) -> ExportResult:
        """Export the spans: all delivered, or all to be retried, except those that are no spans.

        What the exporter says in its log meanwhile becomes the reason; it is logged by
        spanserve once, not by the exporter each time. The exporter's HTTP client is not traced.
        """
        good: list[Span] = []
        readable: list[ReadableSpan] = []
        for span in spans:
            converted = self._readable(span)
            if converted is not None:
                readable.append(converted)
                good.append(span)
        rejected = len(spans) - len(good)
        why = "a span cannot be encoded" if rejected else None
        if not good:
            return ExportResult(rejected=rejected, reason=why)
        with _suppressed_instrumentation(), _listening(self._loggers) as heard:
            result = self._exporter.export(readable)
        if result is SpanExportResult.SUCCESS:
            return ExportResult(delivered=len(good), rejected=rejected, reason=why)
        reason = heard.last or f"{type(self._exporter).__name__} failed"
        return ExportResult(rejected=rejected, retry=tuple(good), reason=reason)

    def close(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def _readable(self, span: Span) -> ReadableSpan | None:
        try:
            return readable_span(span, self._resource)
        except Exception:  # noqa: BLE001 - whatever a span holds, the others go out
            return None


def _context(trace_id: str, span_id: str, *, is_remote: bool) -> otel.SpanContext:
    context = otel.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, _SAMPLED)
    if not context.is_valid:
        raise ValueError("a trace id is 32 hex digits and a span id 16, not all zero")
    return context


def _event(event: Event) -> OtelEvent:
    return OtelEvent(_text(event.name), _plain(event.attributes), event.time_ns)


def _link(link: Link) -> otel.Link:
    return otel.Link(
        _context(link.trace_id, link.span_id, is_remote=False), _plain(link.attributes)
    )


def _status(error: str | None) -> otel.Status:
    if error is None:
        return _UNSET
    return otel.Status(otel.StatusCode.ERROR, _text(error) or None)


def _plain(attributes: Attributes) -> dict[str, Any]:
    return {_text(key): _value(value) for key, value in attributes.items()}


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else str(value)
    if isinstance(value, list | tuple):
        return tuple(_value(item) for item in value)
    try:
        return _text(str(value))
    except Exception:  # noqa: BLE001 - a user's own object must not cost the span
        return f"<{type(value).__name__}>"


def _text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


@contextmanager
def _suppressed_instrumentation() -> Iterator[None]:
    # OpenTelemetry's own processors use these private keys; there is no public way.
    quiet = otel_context.set_value(otel_context._SUPPRESS_INSTRUMENTATION_KEY, True)  # noqa: SLF001
    token = otel_context.attach(quiet)
    try:
        yield
    finally:
        otel_context.detach(token)


class _Listener(logging.Filter):
    """Keeps the last message that this thread logs, and keeps it out of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.last: str | None = None
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if threading.get_ident() != self._thread:
            return True
        if record.levelno >= logging.WARNING:
            self.last = record.getMessage()
        return False


@contextmanager
def _listening(loggers: Sequence[logging.Logger]) -> Iterator[_Listener]:
    listener = _Listener()
    for logger in loggers:
        logger.addFilter(listener)
    try:
        yield listener
    finally:
        for logger in loggers:
            logger.removeFilter(listener)
