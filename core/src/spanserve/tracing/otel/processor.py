"""What an SDK's tracer provider needs to put its spans into spanserve's records."""

from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link as OtelLink
from opentelemetry.trace import SpanContext, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes as OtelAttributes

from spanserve.tracing.model import names
from spanserve.tracing.model.attributes import bounded, plain_attributes, plain_text
from spanserve.tracing.model.clock import Clock
from spanserve.tracing.model.failure import MAX_STACK_CHARS, Failure
from spanserve.tracing.model.ids import place_of
from spanserve.tracing.model.span import Link
from spanserve.tracing.model.span import SpanKind as Kind
from spanserve.tracing.otel.current import Opened, opened, scope_in, scopes
from spanserve.tracing.recording.custom import CustomEvent
from spanserve.tracing.scope import MAX_EVENTS

MAX_LINKS: Final = 128
MAX_OPEN: Final = 10_000


class InScope(Sampler):
    """Records what runs in a request, a batch or a start-up that is recorded, and nothing else."""

    def should_sample(  # noqa: PLR0917  # the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,  # noqa: ARG002  # this and the others: as above
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: OtelAttributes = None,
        links: Sequence[OtelLink] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """Follow the record of the scope."""
        scope = scope_in(parent_context)
        decision = Decision.DROP
        if scope is not None and scope.record.recording and not scope.record.is_full:
            sampled = scope.record.sampled
            decision = Decision.RECORD_AND_SAMPLE if sampled else Decision.RECORD_ONLY
        parent = get_current_span(parent_context).get_span_context()
        return SamplingResult(decision, attributes, parent.trace_state)

    def get_description(self) -> str:
        """Name the sampler."""
        return "spanserve"


class ScopeProcessor(SpanProcessor):
    """Writes the SDK's spans into the record of the scope in which they begin.

    They keep their ids, so that what they called still finds its parent.
    """

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Open a custom span for it."""
        scope = scope_in(parent_context)
        if scope is None or not scope.record.recording:
            return
        outlet, record, *_ = scope
        context = span.get_span_context()
        offset_ns = Clock(outlet.now_ns).offset_ns()
        inside = scope.opened(
            plain_text(span.name),
            outlet.now_ns() if span.start_time is None else span.start_time - offset_ns,
            plain_attributes(span.attributes or {}),
            place_of(record.root_id, context.span_id),
        )
        custom = inside.custom
        if custom is not None:
            custom.kind = Kind[span.kind.name]
            scopes[span] = inside
            opened[context.span_id] = Opened(custom, inside, offset_ns)
        if len(opened) > MAX_OPEN:
            _give_up(opened.pop(next(iter(opened)), None))

    def on_end(self, span: ReadableSpan) -> None:
        """Close its custom span, with all that was said of it."""
        context = span.get_span_context()
        found = None if context is None else opened.pop(context.span_id, None)
        if found is None:
            return
        custom, (_, record, *_), _ = found
        custom.name = plain_text(span.name)
        custom.attributes.update(plain_attributes(span.attributes or {}))
        if library := span.instrumentation_scope:
            custom.attributes[names.SCOPE_NAME] = library.name
            if library.version:
                custom.attributes[names.SCOPE_VERSION] = library.version
        custom.links = tuple(_link(link) for link in span.links[:MAX_LINKS])
        if span.parent is not None and f"{span.parent.trace_id:032x}" != record.trace_id:
            custom.links = (*custom.links, _reference(span.parent))
        marks = _Marks(found, span.end_time)
        events = list(span.events[:MAX_EVENTS])
        if not span.status.is_ok:
            custom.failure = _failure(marks, events)
            custom.error = plain_text(span.status.description or "")
        custom.events[:] = [_event(marks, event) for event in events]
        _close(found, marks.ended_ns)


def scope_provider() -> TracerProvider:
    """Return an SDK's provider whose spans all land in spanserve's records."""
    provider = TracerProvider(sampler=InScope(), shutdown_on_exit=False)
    provider.add_span_processor(ScopeProcessor())
    return provider


class _Marks:
    """The marks on the monotonic clock of what happened while a span was open."""

    def __init__(self, span: Opened, end_time: int | None) -> None:
        now_ns = span.inside.outlet.now_ns
        self._started_ns = span.custom.started_ns
        self._first_ns, self._last_ns = span.offset_ns, Clock(now_ns).offset_ns()
        self.ended_ns = now_ns() if end_time is None else end_time - self._last_ns

    def of(self, unix_ns: int) -> int:
        """Return the mark of this time: by the clock as it was at the span's start, or at its end.

        Where somebody set the clock in between, only by one of them it lies within the span.
        """
        by_either = unix_ns - self._first_ns, unix_ns - self._last_ns
        inside = [each for each in by_either if self._started_ns <= each <= self.ended_ns]
        return inside[-1] if inside else max(self._started_ns, min(by_either[-1], self.ended_ns))


def _give_up(span: Opened | None) -> None:
    """End a span that is open longer than so many others, and so perhaps for ever."""
    if span is not None:
        span.custom.attributes[names.UNFINISHED] = True
        _close(span, span.inside.outlet.now_ns())


def _close(span: Opened, now_ns: int) -> None:
    if span.inside.outer is not None:
        span.inside.outer.closed(span.custom, max(now_ns, span.custom.started_ns))


def _event(marks: _Marks, event: Event) -> CustomEvent:
    attributes = plain_attributes(event.attributes or {})
    return CustomEvent(plain_text(event.name), marks.of(event.timestamp), attributes)


def _failure(marks: _Marks, events: list[Event]) -> Failure | None:
    """Take the exception that a failed span ends with out of its events."""
    if not events or events[-1].name != names.EXCEPTION:
        return None
    event = events.pop()
    said = {key: str(value) for key, value in (event.attributes or {}).items()}
    stack = said.get(names.EXCEPTION_STACKTRACE, "")[-MAX_STACK_CHARS:]
    return Failure(
        marks.of(event.timestamp),
        plain_text(said.get(names.EXCEPTION_TYPE, "")),
        plain_text(said.get(names.EXCEPTION_MESSAGE, "")),
        bounded(stack, MAX_STACK_CHARS),
    )


def _link(link: OtelLink) -> Link:
    return _reference(link.context)._replace(attributes=plain_attributes(link.attributes or {}))


def _reference(context: SpanContext) -> Link:
    return Link(
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        tracestate=context.trace_state.to_header(),
        is_remote=context.is_remote,
    )
