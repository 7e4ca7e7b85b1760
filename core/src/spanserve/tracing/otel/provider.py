"""The tracer provider of the process: spanserve's own, or one that it joins."""

import logging
from threading import Lock
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from spanserve.tracing.otel.current import share_current

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger(__name__)

_joined: list[object] = []
"""The providers that were looked at; a process has one, but a test may have more."""


class ScopeProvider(trace.TracerProvider):
    """Gives tracers whose spans land in spanserve's traces.

    The SDK is imported when the first is asked for: most services ask for none. Like the SDK's
    own it takes further processors.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._made: TracerProvider | None = None

    def get_tracer(self, *args: Any, **options: Any) -> trace.Tracer:
        """Return a tracer; the arguments are the SDK's."""
        return self._sdk.get_tracer(*args, **options)

    def add_span_processor(self, span_processor: Any) -> None:
        """Let another processor see the spans, too."""
        self._sdk.add_span_processor(span_processor)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush such processors."""
        return self._made is None or self._made.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Shut such processors down."""
        if self._made is not None:
            self._made.shutdown()

    @property
    def _sdk(self) -> "TracerProvider":
        with self._lock:
            if self._made is None:
                from spanserve.tracing.otel.processor import scope_provider  # noqa: PLC0415

                self._made = scope_provider()
        return self._made


def join_opentelemetry() -> None:
    """Let spans of OpenTelemetry's API in this process land in spanserve's traces.

    Sets a tracer provider where there is none, and adds a processor to an SDK's; says so in
    the log where it can do neither. To be called after the user's code was imported, which
    may have set one.
    """
    share_current()
    provider = trace.get_tracer_provider()
    if isinstance(provider, ScopeProvider) or provider in _joined:
        return
    if isinstance(provider, trace.ProxyTracerProvider):
        trace.set_tracer_provider(ScopeProvider())
        return
    _joined.append(provider)
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        kind = f"{type(provider).__module__}.{type(provider).__qualname__}"
        log.warning("OpenTelemetry's spans stay out of the traces: %s takes no processors", kind)
        return
    from spanserve.tracing.otel.processor import ScopeProcessor  # noqa: PLC0415

    add(ScopeProcessor())
