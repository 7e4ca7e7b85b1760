"""spanserve's header formats as OpenTelemetry's propagators, by the names of its specification.

They are entry points, so that `OTEL_PROPAGATORS` may name them without another distribution.
"""

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from spanserve.tracing.propagation.propagators import Propagators, Remote


class HeaderPropagator(TextMapPropagator):
    """Reads and writes the headers of one format."""

    def __init__(self, name: str) -> None:
        self._propagators = Propagators((name,), (name,))

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """Return the context with the caller's span in it, if the headers name one."""
        context = Context() if context is None else context
        fields = [
            (name, value.encode("latin-1", "replace"))
            for name in self._propagators.headers
            for value in getter.get(carrier, name.decode()) or ()
        ]
        remote = self._propagators.extract(fields)
        if remote is None or not remote.trace_id or not remote.span_id:
            return context
        return set_span_in_context(NonRecordingSpan(_span_context(remote)), context)

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """Write the headers of the current span, if there is one."""
        span = get_current_span(context).get_span_context()
        if not span.is_valid:
            return
        headers = self._propagators.inject(
            f"{span.trace_id:032x}", f"{span.span_id:016x}", sampled=span.trace_flags.sampled
        )
        for name, value in headers.items():
            setter.set(carrier, name, value)

    @property
    def fields(self) -> set[str]:
        """The names of the headers."""
        return {name.decode() for name in self._propagators.headers}


class B3Single(HeaderPropagator):
    """`b3`: all in one header."""

    def __init__(self) -> None:
        super().__init__("b3")


class B3Multi(HeaderPropagator):
    """`X-B3-TraceId` and its siblings."""

    def __init__(self) -> None:
        super().__init__("b3multi")


class Jaeger(HeaderPropagator):
    """`uber-trace-id`."""

    def __init__(self) -> None:
        super().__init__("jaeger")


def _span_context(remote: Remote) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if remote.sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([remote.tracestate] if remote.tracestate else [])
    return SpanContext(int(remote.trace_id, 16), int(remote.span_id, 16), True, flags, state)
