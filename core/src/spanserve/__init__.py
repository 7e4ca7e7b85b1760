"""spanserve: a model server that shows where the time of every request went."""

from spanserve.errors import ConfigError
from spanserve.service.array import Array
from spanserve.service.bundle import bundle_path
from spanserve.service.service import api, service
from spanserve.tracing.breath import breathe
from spanserve.tracing.hookspecs import ExportResult, hookimpl
from spanserve.tracing.scope import SpanHandle, TraceIds, current_trace, outgoing_headers, span
from spanserve.tracing.span import (
    Attributes,
    AttributeValue,
    Event,
    Link,
    Resource,
    Span,
    SpanKind,
    SpanStart,
)
from spanserve.tracing.spans import Column, Links, Spans, hex_digits

__all__ = [
    "Array",
    "AttributeValue",
    "Attributes",
    "Column",
    "ConfigError",
    "Event",
    "ExportResult",
    "Link",
    "Links",
    "Resource",
    "Span",
    "SpanHandle",
    "SpanKind",
    "SpanStart",
    "Spans",
    "TraceIds",
    "api",
    "breathe",
    "bundle_path",
    "current_trace",
    "hex_digits",
    "hookimpl",
    "outgoing_headers",
    "service",
    "span",
]
