"""Who hears of each boundary as it happens: the live hooks of the tracers."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Final, TypeVar

from spanserve.tracing.model.failure import raised
from spanserve.tracing.model.span import Span, SpanStart
from spanserve.tracing.plugins.loading import LoadedTracer

S = TypeVar("S", Span, SpanStart)
log = logging.getLogger(__name__)

SLOW_NS: Final = 20_000_000
"""What a call may take before it is said: requests wait for it, all of a server's."""


class Listeners:
    """The live hooks of all tracers; one that raises is switched off.

    `failures` says why, by the tracer's name. `slow` counts calls that took too long.
    """

    def __init__(self, tracers: Sequence[LoadedTracer]) -> None:
        self._started = [t for t in tracers if "span_started" in t.hooks]
        self._ended = [t for t in tracers if "span_ended" in t.hooks]
        self.hears_starts = bool(self._started)
        self.failures: dict[str, str] = {}
        self.slow = Counter({tracer.name: 0 for tracer in {*self._started, *self._ended}})

    def __bool__(self) -> bool:
        return bool(self._started or self._ended)

    def started(self, start: SpanStart) -> None:
        """Tell of a beginning."""
        alone = len(self._started) < 2  # noqa: PLR2004
        for tracer in tuple(self._started):
            self._call(tracer, tracer.call.span_started, start if alone else _own(start))

    def ended(self, span: Span) -> None:
        """Tell of an end."""
        alone = len(self._ended) < 2  # noqa: PLR2004
        for tracer in tuple(self._ended):
            self._call(tracer, tracer.call.span_ended, span if alone else _own(span))

    def _call(self, tracer: LoadedTracer, hook: Callable[[S], None], event: S) -> None:
        began_ns = perf_counter_ns()
        try:
            hook(event)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # a tracer may raise anything
            self._switch_off(tracer, error)
        took_ns = perf_counter_ns() - began_ns
        if took_ns > SLOW_NS:
            self._note_slow(tracer, took_ns)

    def _note_slow(self, tracer: LoadedTracer, took_ns: int) -> None:
        self.slow[tracer.name] += 1
        if self.slow[tracer.name] == 1:
            log.warning(
                "tracer %s took %.0f ms in a live hook, for which requests wait; what takes long "
                "belongs into export_spans (counted in spanserve_tracer_slow_calls_total)",
                tracer.name,
                took_ns / 1e6,
            )

    def _switch_off(self, tracer: LoadedTracer, error: BaseException) -> None:
        if tracer not in self._started and tracer not in self._ended:
            return  # another thread was faster
        self.failures[tracer.name] = raised(error)
        log.error(
            "tracer %s raised in a live hook; its live hooks are off now: %s",
            tracer.name,
            self.failures[tracer.name],
        )
        log.debug("a live hook of tracer %s raised", tracer.name, exc_info=error)
        self._started = [t for t in self._started if t is not tracer]
        self._ended = [t for t in self._ended if t is not tracer]


def _own(span: S) -> S:
    """Return the same span, with attributes that are one tracer's own."""
    own = span._replace(
        attributes=dict(span.attributes),
        links=[link._replace(attributes=dict(link.attributes)) for link in span.links],
    )
    if isinstance(own, Span):
        events = [event._replace(attributes=dict(event.attributes)) for event in own.events]
        own = own._replace(events=events)
    return own
