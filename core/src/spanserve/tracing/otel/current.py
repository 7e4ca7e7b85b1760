"""The current scope, kept where OpenTelemetry's code looks for the current span."""

from contextvars import Token
from typing import NamedTuple

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from spanserve.tracing.custom import CustomSpan
from spanserve.tracing.scope import Scope, keep_current_in, plain_current


class Opened(NamedTuple):
    """An open span of the SDK's in a record, and the scope of what runs in it."""

    scope: Scope
    custom: CustomSpan


opened: dict[int, Opened] = {}
"""The SDK's open spans by their ids; those that never end are left out in the end."""


class ScopeSpan(NonRecordingSpan):
    """A scope as OpenTelemetry sees it: a span to be the parent of others, and no more."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(INVALID_SPAN.get_span_context())
        self.scope = scope

    def get_span_context(self) -> SpanContext:
        """Return the ids of the span at this place; made when asked for: most never are."""
        record, place = self.scope.record, self.scope.place
        return SpanContext(
            int(record.trace_id, 16),
            int(record.span_id(place), 16),
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED if record.sampled else TraceFlags.DEFAULT),
            trace_state=TraceState.from_header([record.tracestate] if record.tracestate else []),
        )


def scope_in(context: Context | None) -> Scope | None:
    """Return the scope of a context, or of the one that the calling code runs in."""
    span = get_current_span(context)
    if isinstance(span, ScopeSpan):
        return span.scope
    found = opened.get(span.get_span_context().span_id)
    return plain_current.get() if found is None else found.scope


class _Tokens(NamedTuple):
    plain: Token[Scope | None]
    otel: Token[Context]


class SharedCurrent:
    """Keeps the scope in both: whichever of the two opened the last span, it is the current."""

    def get(self) -> Scope | None:
        """Return the scope that the calling code runs in."""
        return scope_in(None)

    def set(self, scope: Scope | None, /) -> _Tokens:
        """Run in this scope from here on."""
        span = INVALID_SPAN if scope is None else ScopeSpan(scope)
        return _Tokens(plain_current.set(scope), contexts.attach(set_span_in_context(span)))

    def reset(self, token: _Tokens | Token[Scope | None], /) -> None:
        """Run in the scope of before; ValueError where the token is of another context."""
        if isinstance(token, _Tokens):
            plain_current.reset(token.plain)
            contexts.detach(token.otel)
        else:
            plain_current.reset(token)


def share_current() -> None:
    """Tell OpenTelemetry of spanserve's current span from now on, and the other way round."""
    keep_current_in(SharedCurrent())
