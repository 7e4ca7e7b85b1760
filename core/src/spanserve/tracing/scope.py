"""Where code runs in a trace: what the service's own code uses to say and to learn more.

A scope is a place in a record. The server and the runner enter one around the user's code;
`span` opens a deeper one. Code outside any scope, or in one that is not recorded, may use
all of this and pays almost nothing.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import aclosing, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, NamedTuple, ParamSpec, Protocol, TypeVar, cast

from spanserve.tracing.model.attributes import plain_attributes, plain_text, plain_value
from spanserve.tracing.model.failure import failure_of
from spanserve.tracing.model.span import NO_ATTRIBUTES
from spanserve.tracing.propagation.baggage import read as read_baggage
from spanserve.tracing.recording.base import Outlet, Record, Scope
from spanserve.tracing.recording.custom import CustomEvent, CustomSpan

P = ParamSpec("P")
R = TypeVar("R")

MAX_EVENTS: Final = 128


class TraceIds(NamedTuple):
    """The ids of the current span: 32 and 16 lower-case hex digits."""

    trace_id: str
    span_id: str
    sampled: bool


class Current(Protocol):
    """Where the current scope is kept, for each thread and task: what a `ContextVar` does."""

    def get(self) -> Scope | None:
        """Return the scope that the calling code runs in."""

    def set(self, scope: Scope | None, /) -> Any:
        """Run in this scope from here on; returns what `reset` takes."""

    def reset(self, token: Any, /) -> None:
        """Run in the scope of before; ValueError where the token is of another context."""


plain_current: Final[ContextVar[Scope | None]] = ContextVar("spanserve_scope", default=None)

_current: Current = plain_current


def keep_current_in(current: Current) -> None:
    """Keep the current scope there from now on, where tokens of before are taken too."""
    global _current  # noqa: PLW0603  # the process has one, as OpenTelemetry has one context
    _current = current


class entered:  # noqa: N801  # used as `with entered(...)`
    """Run a block of the user's code in this scope; half of what a `contextmanager` costs."""

    __slots__ = ("_scope", "_token")

    def __init__(self, scope: Scope | None) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        self._token = _current.set(self._scope)

    def __exit__(self, *raised: object) -> None:
        _current.reset(self._token)


def current_trace() -> TraceIds | None:
    """Return the ids of the span that the calling code runs in; None outside any trace."""
    scope = _current.get()
    if scope is None or not scope.record.trace_id:
        return None
    record = scope.record
    return TraceIds(record.trace_id, record.span_id(scope.place), record.sampled)


def current_record() -> Record | None:
    """Return the record that the calling code runs in; None outside any trace."""
    scope = _current.get()
    return None if scope is None else scope.record


def current_request_id() -> str:
    """Return the id of the request that the calling code runs for; empty in a batch."""
    scope = _current.get()
    request_id: str = "" if scope is None else getattr(scope.record, "request_id", "")
    return request_id


def outgoing_headers() -> dict[str, str]:
    """Return the headers that make another service's spans children of the current one.

    Where the request is not traced here, its caller's go on as they came. The caller's baggage goes
    along. In a batch of several requests the call joins the batch's trace, without any. Empty
    outside a request.
    """
    scope = _current.get()
    if scope is None:
        return {}
    record = scope.record
    span_id = record.span_id(scope.place) if record.trace_id else ""
    return scope.outlet.headers_for(record, span_id)


def baggage() -> Mapping[str, str]:
    """Return what the request's caller sent along in the header `baggage`, decoded.

    At most 64 members of 8,192 bytes together; of several of one name the first. Empty outside a
    request, in a batch of several, and where callers are not trusted. They may have sent anything.
    """
    scope = _current.get()
    return {} if scope is None else read_baggage(scope.outlet.baggage_of(scope.record))


class SpanHandle:
    """An open custom span, to say more about it; does nothing where it is not recorded."""

    __slots__ = ("_outlet", "_span")

    def __init__(self, outlet: Outlet | None = None, span: CustomSpan | None = None) -> None:
        self._outlet = outlet
        self._span = span

    def set(self, **attributes: object) -> None:
        """Add attributes; strings, booleans, numbers and sequences of them are kept as they are.

        NumPy scalars are unwrapped, and anything else becomes its text, bounded.
        """
        if self._span is not None:
            for key, value in attributes.items():
                self._span.attributes[key] = plain_value(value)

    def event(self, name: str, **attributes: object) -> None:
        """Note that something happened now; the first 128 events of a span are kept."""
        span, outlet = self._span, self._outlet
        if span is not None and outlet is not None and len(span.events) < MAX_EVENTS:
            event = CustomEvent(plain_text(name), outlet.now_ns(), plain_attributes(attributes))
            span.events.append(event)

    def record_exception(self, exception: BaseException) -> None:
        """Mark the span as failed by this exception, for one that the code handles itself."""
        if self._span is not None and self._outlet is not None:
            self._span.failure = failure_of(exception, self._outlet.now_ns())


_NOT_RECORDED: Final = SpanHandle()


class span:  # noqa: N801  # used as `with span(...)` and as `@span(...)`
    """A span of the service's own code: `with span("scale", rows=64) as s:`, or a decorator.

    Works in sync and async code, on the loop and on the runner, inside and outside a batch.
    An exception that leaves the block marks the span as failed and goes on.
    """

    __slots__ = ("_attributes", "_inside", "_name", "_token")

    def __init__(self, name: str, /, **attributes: object) -> None:
        self._name = name
        self._attributes = attributes
        self._inside: Scope | None = None
        self._token: Any = None

    def __enter__(self) -> SpanHandle:
        scope = _current.get()
        if scope is None or not scope.record.recording:
            return _NOT_RECORDED
        outlet = scope.outlet
        attributes = plain_attributes(self._attributes) if self._attributes else NO_ATTRIBUTES
        self._inside = inside = scope.opened(plain_text(self._name), outlet.now_ns(), attributes)
        self._token = _current.set(inside)
        return SpanHandle(outlet, inside.custom)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        inside, self._inside = self._inside, None
        if inside is None:
            return
        outlet, _, _, custom, scope = inside
        assert custom is not None  # noqa: S101  # it was opened, in a scope
        assert scope is not None  # noqa: S101  # as above
        now_ns = outlet.now_ns()
        if isinstance(exception, Exception):
            custom.failure = failure_of(exception, now_ns)
        custom.ended_under = _current.get() is not inside
        scope.closed(custom, now_ns)
        # A generator may be closed in another context than the one it ran in.
        with suppress(ValueError):
            _current.reset(self._token)
            # Where generators take turns, the span around this one may have ended meanwhile.
            if scope.custom is not None and scope.custom.ended_under:
                _current.set(scope.resumed)
        self._token = None

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        name, attributes = self._name, self._attributes
        if inspect.isgeneratorfunction(function):
            return cast("Callable[P, R]", _in_span_generator(function, name, attributes))
        if inspect.isasyncgenfunction(function):
            return cast("Callable[P, R]", _in_span_async_generator(function, name, attributes))
        if inspect.iscoroutinefunction(function):
            coroutine = cast("Callable[P, Awaitable[Any]]", function)

            @functools.wraps(function)
            async def in_span_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with span(name, **attributes):
                    return await coroutine(*args, **kwargs)

            return cast("Callable[P, R]", in_span_async)

        @functools.wraps(function)
        def in_span(*args: P.args, **kwargs: P.kwargs) -> R:
            with span(name, **attributes):
                return function(*args, **kwargs)

        return in_span


def _in_span_generator(
    function: Callable[P, Generator[Any, Any, Any]], name: str, attributes: dict[str, object]
) -> Callable[P, Generator[Any, Any, Any]]:
    """Keep the span open while the generator is, and not only while it is made."""

    @functools.wraps(function)
    def in_span(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
        with span(name, **attributes):
            return (yield from function(*args, **kwargs))

    return in_span


def _in_span_async_generator(
    function: Callable[P, AsyncGenerator[Any, Any]], name: str, attributes: dict[str, object]
) -> Callable[P, AsyncGenerator[Any, Any]]:
    @functools.wraps(function)
    async def in_span(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        with span(name, **attributes):
            async with aclosing(function(*args, **kwargs)) as values:
                async for value in values:
                    yield value

    return in_span
