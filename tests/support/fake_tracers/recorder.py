"""A tracer that implements every hook and prints each call, a line of JSON for each."""

import json
import sys
import threading
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from spanserve import ExportResult, Resource, Span, SpanStart, hookimpl


class RecorderSettings(BaseModel):
    """The section `tracing.recorder`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    colour: str = "blue"


def _say(hook: str, **details: Any) -> None:
    thread = threading.current_thread().name.partition("_")[0]
    line = json.dumps({"hook": hook, "thread": thread, **details})
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _place(span: SpanStart | Span) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace": span.trace_id,
        "span": span.span_id,
        "parent": span.parent_id,
    }


class Recorder:
    """See the module."""

    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        _say("tracer_settings")
        return RecorderSettings

    @hookimpl
    def tracer_propagators(self) -> Sequence[str]:
        _say("tracer_propagators")
        return ["b3"]

    @hookimpl
    def tracer_target(self, settings: RecorderSettings) -> str:
        _say("tracer_target", colour=settings.colour)
        return "standard output"

    @hookimpl
    def tracer_warnings(self, settings: RecorderSettings) -> Sequence[str]:
        _say("tracer_warnings", colour=settings.colour)
        return []

    @hookimpl
    def tracer_started(self, settings: RecorderSettings, resource: Resource) -> None:
        _say("tracer_started", colour=settings.colour, service=resource.service_name)

    @hookimpl
    def span_started(self, start: SpanStart) -> None:
        _say("span_started", **_place(start))

    @hookimpl
    def span_ended(self, span: Span) -> None:
        _say("span_ended", **_place(span))

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult | None:
        _say("export_spans", names=[span.name for span in spans])
        return None

    @hookimpl
    def trace_url(self, trace_id: str) -> str | None:
        _say("trace_url")
        return f"recorder:{trace_id}"

    @hookimpl
    def find_trace(self, trace_id: str) -> bool | None:
        _say("find_trace")
        return bool(trace_id)

    @hookimpl
    def extend_app(self, app: FastAPI) -> None:
        _say("extend_app", title=app.title)

    @hookimpl
    def tracer_stopping(self, deadline_s: float) -> None:
        _say("tracer_stopping", in_time=deadline_s > 0)
