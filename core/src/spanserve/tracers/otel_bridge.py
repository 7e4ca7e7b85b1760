"""The bridge to OpenTelemetry's SDK: spanserve's spans for any of its exporters."""

import logging
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

from spanserve.tracers.otel_answers import (
    USUAL_TIMEOUT_S,
    AnsweredError,
    answer_of,
    listening,
    timeout_of,
    with_session,
)
from spanserve.tracing.export.answers import Answer, Verdict
from spanserve.tracing.export.checkpoint import checkpoint
from spanserve.tracing.export.halving import send_in_parts
from spanserve.tracing.hookspecs import ExportResult
from spanserve.tracing.model.span import Attributes, Event, Link, Resource, Span, SpanKind

_UNLIMITED: Final = 1 << 30
_GROWTH: Final = 32
_LEAST_SPANS: Final = 256
"""What a call may hold, however little was refused as too large: one long span is no rule."""

_SAMPLED: Final = otel.TraceFlags(otel.TraceFlags.SAMPLED)
_SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
_SCOPE: Final = InstrumentationScope("spanserve", version("spanserve"), _SCHEMA_URL)
_SDK: Final = {
    "telemetry.sdk.name": "spanserve",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.version": version("spanserve"),
}
_UNSET: Final = otel.Status(otel.StatusCode.UNSET)
_KINDS: Final[Mapping[SpanKind, otel.SpanKind]] = {
    kind: otel.SpanKind[kind.name] for kind in SpanKind
}


def otel_resource(resource: Resource) -> OtelResource:
    """The resource as OpenTelemetry's: its attributes, and what made the spans; none detected."""
    return OtelResource(_SDK | _plain(resource.attributes), _SCHEMA_URL)


def readable_span(span: Span, resource: OtelResource) -> ReadableSpan:
    """The span as exporters of OpenTelemetry's SDK read it; ValueError: its ids are no ids.

    Text that is no valid Unicode is replaced, and integers beyond 64 bits become text:
    an exporter would lose the whole batch over them.
    """
    parent, state = None, _state(span.tracestate)
    if span.parent_id is not None:
        # The parent of a server's span is the caller's.
        is_remote = span.kind is SpanKind.SERVER
        parent = _context(span.trace_id, span.parent_id, state, is_remote=is_remote)
    return ReadableSpan(
        name=_text(span.name),
        context=_context(span.trace_id, span.span_id, state, is_remote=False),
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

    def __init__(
        self,
        exporter: SpanExporter,
        resource: OtelResource,
        *,
        session: object = None,
        timeout_s: float = USUAL_TIMEOUT_S,
    ) -> None:
        self._exporter = exporter
        self._timeout_s = timeout_s
        self._session = session
        self._resource = resource
        # Exporters log each failure; their modules' loggers are where.
        modules = {cls.__module__ for cls in type(exporter).__mro__ if cls is not object}
        self._loggers = [logging.getLogger(name) for name in sorted(modules)]
        self._most_spans = _UNLIMITED

    @classmethod
    def of(
        cls, make: type[SpanExporter], options: Mapping[str, Any], resource: OtelResource
    ) -> "OtelExport":
        """Make an exporter with these options, such that the backend's answers are known."""
        options = with_session(make, options)
        return cls(
            make(**options),
            resource,
            session=options.get("session"),
            timeout_s=timeout_of(options),
        )

    def export(self, spans: Sequence[Span]) -> ExportResult:
        """Export the spans, in halves where the backend's answer is one for that.

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
        unreadable = len(spans) - len(good)
        most = self._most_spans
        parts = [range(start, min(start + most, len(good))) for start in range(0, len(good), most)]
        with _suppressed_instrumentation():
            sent = send_in_parts(parts, lambda part: self._sent(readable[part.start : part.stop]))
        if most == self._most_spans and sent.delivered:
            # What was too large may have been one long span: a little more is tried each time.
            self._most_spans = min(most + most // _GROWTH, _UNLIMITED)
        return ExportResult(
            delivered=sent.delivered,
            rejected=sent.rejected + unreadable,
            retry=tuple(good[index] for index in sent.left),
            retry_after_s=sent.retry_after_s,
            reason=sent.reason or ("a span cannot be encoded" if unreadable else None),
        )

    def close(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def _sent(self, readable: Sequence[ReadableSpan]) -> Answer:
        checkpoint(2 * self._timeout_s)  # a connection that had been closed is made once more
        with listening(self._loggers) as listener:
            try:
                result = self._exporter.export(readable)
            except AnsweredError as error:
                answer = error.answer
            else:
                if result is SpanExportResult.SUCCESS:
                    return Answer(Verdict.TAKEN)
                answer = answer_of(listener, self._session, type(self._exporter).__name__)
        if answer.verdict is Verdict.TOO_LARGE:
            self._most_spans = min(self._most_spans, max(len(readable) // 2, _LEAST_SPANS))
        return answer

    def _readable(self, span: Span) -> ReadableSpan | None:
        try:
            return readable_span(span, self._resource)
        except Exception:  # noqa: BLE001 - whatever a span holds, the others go out
            return None


def _state(tracestate: str) -> otel.TraceState | None:
    return otel.TraceState.from_header([tracestate]) if tracestate else None


def _context(
    trace_id: str, span_id: str, state: otel.TraceState | None, *, is_remote: bool
) -> otel.SpanContext:
    context = otel.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, _SAMPLED, state)
    if not context.is_valid:
        raise ValueError("a trace id is 32 hex digits and a span id 16, not all zero")
    return context


def _event(event: Event) -> OtelEvent:
    return OtelEvent(_text(event.name), _plain(event.attributes), event.time_ns)


def _link(link: Link) -> otel.Link:
    state = _state(link.tracestate)
    context = _context(link.trace_id, link.span_id, state, is_remote=link.is_remote)
    return otel.Link(context, _plain(link.attributes))


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
