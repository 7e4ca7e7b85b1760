"""One tracer's hooks, typed: the only caller of pluggy's hook relay."""

from collections.abc import Sequence
from typing import Any

import pluggy
from pydantic import BaseModel

from spanserve.tracing.hookspecs import ExportResult
from spanserve.tracing.model.span import Resource, Span, SpanStart


class Hooks:
    """Calls the hooks of a tracer, as `hookspecs` says what each does and returns.

    A hook that the tracer does not implement returns None. What one raises is passed on; what it
    returns is what the tracer's author wrote, and to be checked where another type would harm.
    """

    __slots__ = ("_relay",)

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._relay: Any = manager.hook

    def tracer_settings(self) -> object:
        """Return the model of its section of the configuration."""
        answer: object = self._relay.tracer_settings()
        return answer

    def tracer_propagators(self) -> Sequence[str] | None:
        """Return the header formats that its users expect."""
        answer: Sequence[str] | None = self._relay.tracer_propagators()
        return answer

    def tracer_target(self, settings: BaseModel) -> str | None:
        """Return where it sends."""
        answer: str | None = self._relay.tracer_target(settings=settings)
        return answer

    def tracer_warnings(self, settings: BaseModel) -> Sequence[str] | None:
        """Return what in its settings is probably a mistake."""
        answer: Sequence[str] | None = self._relay.tracer_warnings(settings=settings)
        return answer

    def tracer_isolation(self) -> str | None:
        """Return where its spans may be exported."""
        answer: str | None = self._relay.tracer_isolation()
        return answer

    def tracer_started(self, settings: BaseModel, resource: Resource) -> None:
        """Have it open what it needs."""
        self._relay.tracer_started(settings=settings, resource=resource)

    def span_started(self, start: SpanStart) -> None:
        """Tell it of a beginning."""
        self._relay.span_started(start=start)

    def span_ended(self, span: Span) -> None:
        """Tell it of an end."""
        self._relay.span_ended(span=span)

    def export_spans(self, spans: Sequence[Span]) -> ExportResult | None:
        """Have it deliver spans."""
        answer: ExportResult | None = self._relay.export_spans(spans=spans)
        return answer

    def trace_url(self, trace_id: str) -> str | None:
        """Return where a person can look at a trace."""
        answer: str | None = self._relay.trace_url(trace_id=trace_id)
        return answer

    def find_trace(self, trace_id: str) -> bool | None:
        """Return whether its backend holds a trace."""
        answer: bool | None = self._relay.find_trace(trace_id=trace_id)
        return answer

    def extend_app(
        self, app: Any, settings: BaseModel, server_url: str | None
    ) -> Sequence[Sequence[str] | None]:
        """Have it add routes; return what it returned, if it is there at all."""
        answers: Sequence[Sequence[str] | None] = self._relay.extend_app(
            app=app, settings=settings, server_url=server_url
        )
        return answers

    def tracer_stopping(self, deadline_s: float) -> None:
        """Have it close what it opened."""
        self._relay.tracer_stopping(deadline_s=deadline_s)
