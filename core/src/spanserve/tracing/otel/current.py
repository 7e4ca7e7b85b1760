"""OpenTelemetry's context, with the current scope in it.

The scope stays where spanserve's own code looks for it. OpenTelemetry's finds it when it asks,
whoever asks and from the first request on, and it costs nothing where nobody does. Of a scope and
a span of OpenTelemetry's that was attached, the one that was entered last is the current one: an
attached context remembers in which scope it was.
"""

from contextvars import Token
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from opentelemetry import baggage
from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.context.context import _RuntimeContext
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from spanserve.tracing.propagation.baggage import read
from spanserve.tracing.recording.base import Scope
from spanserve.tracing.recording.custom import CustomSpan
from spanserve.tracing.scope import keep_current_in, plain_current

_SCOPE_KEY: Final = contexts.create_key("spanserve-scope")


class Opened(NamedTuple):
    """An open span of the SDK's: its record's, the scope inside, and the clock as it began.

    `offset_ns` turned a mark of the monotonic clock into Unix time then.
    """

    custom: CustomSpan
    inside: Scope
    offset_ns: int


opened: Final[dict[int, Opened]] = {}
"""The SDK's open spans by their ids."""

scopes: Final[WeakKeyDictionary[Span, Scope]] = WeakKeyDictionary()
"""What runs in the SDK's spans, while anyone has them: a task may outlive the span it is in."""


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
            trace_flags=TraceFlags(record.sampled + 2 * record.random),
            trace_state=TraceState.from_header([record.tracestate] if record.tracestate else []),
        )


class ScopeContext(_RuntimeContext):
    """A runtime context of OpenTelemetry's, `inner`, that knows the current scope."""

    def __init__(self, inner: _RuntimeContext) -> None:
        self.inner = inner
        self._is_used = False

    def attach(self, context: Context) -> Token[Context]:
        """Run in this context from here on, inside of the current scope."""
        if not self._is_used:  # nobody had a span of OpenTelemetry's before
            self._is_used = True
            keep_current_in(_SharedCurrent(self.inner))
        scope = plain_current.get()
        if context.get(_SCOPE_KEY) is not scope:
            context = contexts.set_value(_SCOPE_KEY, scope, context)
        return self.inner.attach(context)

    def get_current(self) -> Context:
        """Return the current context: that of the current scope, where that was entered later."""
        context, scope = self.inner.get_current(), plain_current.get()
        if context.get(_SCOPE_KEY) is scope:
            return context
        return _inside(context, scope)

    def detach(self, token: Token[Context]) -> None:
        """Run in the context of before."""
        self.inner.detach(token)


def _inside(context: Context, scope: Scope | None) -> Context:
    """Return a context with this scope: its span, and what its request's caller sent along."""
    context = contexts.set_value(_SCOPE_KEY, scope, context)
    if scope is None or not scope.record.trace_id:
        return set_span_in_context(INVALID_SPAN, context)
    for name, value in read(scope.outlet.baggage_of(scope.record)).items():
        context = baggage.set_baggage(name, value, context)
    return set_span_in_context(ScopeSpan(scope), context)


class _SharedCurrent:
    """The current scope, where spans of OpenTelemetry's may be entered in it, too."""

    def __init__(self, inner: _RuntimeContext) -> None:
        self._inner = inner

    def get(self) -> Scope | None:
        """Return the scope that the calling code runs in."""
        context, scope = self._inner.get_current(), plain_current.get()
        if context.get(_SCOPE_KEY) is not scope:
            return scope
        return scope_in(context)

    def set(self, scope: Scope | None, /) -> Any:
        """Run in this scope from here on."""
        return plain_current.set(scope)

    def reset(self, token: Any, /) -> None:
        """Run in the scope of before; ValueError where the token is of another context."""
        plain_current.reset(token)


def scope_in(context: Context | None) -> Scope | None:
    """Return the scope of a context, or of the one that the calling code runs in."""
    span = get_current_span(context)
    if isinstance(span, ScopeSpan):
        return span.scope
    scope = scopes.get(span)
    if scope is not None:
        return scope
    found = opened.get(span.get_span_context().span_id)
    return plain_current.get() if found is None else found.inside


def share_current() -> None:
    """Tell OpenTelemetry of the current scope from now on."""
    # There is no other way once OpenTelemetry was imported; before, it is an environment variable.
    runtime = contexts._RUNTIME_CONTEXT  # noqa: SLF001
    if not isinstance(runtime, ScopeContext):
        contexts._RUNTIME_CONTEXT = ScopeContext(runtime)  # noqa: SLF001
