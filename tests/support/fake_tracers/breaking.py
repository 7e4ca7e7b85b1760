"""A tracer that fails where the variable BREAKS says: by `exit`, by `slow`, or an exception."""

import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr

from spanserve import Span, SpanStart, hookimpl

WHERE, _, HOW = os.environ.get("BREAKS", "").partition(" ")


def maybe(where: str) -> None:
    """Fail here, if it is here."""
    if where != WHERE:
        return
    if HOW == "exit":
        sys.exit(3)
    if HOW == "slow":
        time.sleep(0.03)
        return
    raise OSError("no\nsuch device")


maybe("import")


class Settings(BaseModel):
    """Settings that cannot be sent to another process, where they are to be such."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    _lock: Any = PrivateAttr(
        default_factory=lambda: threading.Lock() if WHERE == "pickle" else None
    )


class Breaking:
    """See the module."""

    def __init__(self) -> None:
        maybe("creation")

    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        maybe("tracer_settings")
        return Settings

    @hookimpl
    def tracer_isolation(self) -> str:
        maybe("tracer_isolation")
        return "process" if WHERE == "pickle" else "thread"

    @hookimpl
    def tracer_started(self) -> None:
        maybe("tracer_started")

    @hookimpl
    def extend_app(self) -> None:
        maybe("extend_app")

    @hookimpl
    def span_started(self, start: SpanStart) -> None:
        del start
        maybe("span_started")

    @hookimpl
    def span_ended(self, span: Span) -> None:
        del span
        maybe("span_ended")

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        del spans
        maybe("export_spans")

    @hookimpl
    def trace_url(self, trace_id: str) -> str | None:
        maybe("trace_url")
        return trace_id

    @hookimpl
    def tracer_stopping(self) -> None:
        maybe("tracer_stopping")
