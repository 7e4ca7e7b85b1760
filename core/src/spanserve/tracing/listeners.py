"""Who hears of each boundary as it happens: the live hooks of the tracers."""

import logging
from collections.abc import Sequence

from spanserve.tracing.failure import raised
from spanserve.tracing.loading import LoadedTracer
from spanserve.tracing.span import Span, SpanStart

log = logging.getLogger(__name__)


class Listeners:
    """The live hooks of all tracers; one that raises is switched off.

    `failures` says why, by the tracer's name.
    """

    def __init__(self, tracers: Sequence[LoadedTracer]) -> None:
        self._started = [t for t in tracers if "span_started" in t.hooks]
        self._ended = [t for t in tracers if "span_ended" in t.hooks]
        self.failures: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._started or self._ended)

    def started(self, start: SpanStart) -> None:
        """Tell of a beginning."""
        for tracer in tuple(self._started):
            try:
                tracer.manager.hook.span_started(start=start)
            except Exception as error:  # noqa: BLE001  # a tracer may raise anything
                self._switch_off(tracer, error)

    def ended(self, span: Span) -> None:
        """Tell of an end."""
        for tracer in tuple(self._ended):
            try:
                tracer.manager.hook.span_ended(span=span)
            except Exception as error:  # noqa: BLE001  # a tracer may raise anything
                self._switch_off(tracer, error)

    def _switch_off(self, tracer: LoadedTracer, error: Exception) -> None:
        if tracer not in self._started and tracer not in self._ended:
            return  # another thread was faster
        self.failures[tracer.name] = raised(error)
        log.error(
            "tracer %s raised in a live hook; its live hooks are off now",
            tracer.name,
            exc_info=error,
        )
        self._started = [t for t in self._started if t is not tracer]
        self._ended = [t for t in self._ended if t is not tracer]
