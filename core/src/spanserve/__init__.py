"""spanserve: a model server that shows where the time of every request went."""

from spanserve.errors import ConfigError
from spanserve.service.bundle.load import bundle_path
from spanserve.service.codecs.array import Array
from spanserve.service.service import api, service
from spanserve.tracing.export.answers import (
    Answer,
    Verdict,
    grpc_verdict,
    http_verdict,
    retry_after_s,
)
from spanserve.tracing.export.checkpoint import breathe, checkpoint
from spanserve.tracing.export.halving import Sent, send_in_parts
from spanserve.tracing.hookspecs import HOOKS_VERSION, ExportResult, hookimpl
from spanserve.tracing.model.columns import Column, Events, Links, Spans, hex_digits
from spanserve.tracing.model.grouping import Grouped, columns_of, part_of
from spanserve.tracing.model.span import (
    Attributes,
    AttributeValue,
    Event,
    Link,
    Resource,
    Span,
    SpanKind,
    SpanStart,
)
from spanserve.tracing.plugins.settings import settings_of
from spanserve.tracing.plugins.tracer import Tracer
from spanserve.tracing.scope import (
    SpanHandle,
    TraceIds,
    baggage,
    current_trace,
    outgoing_headers,
    span,
)

__all__ = [
    "HOOKS_VERSION",
    "Answer",
    "Array",
    "AttributeValue",
    "Attributes",
    "Column",
    "ConfigError",
    "Event",
    "Events",
    "ExportResult",
    "Grouped",
    "Link",
    "Links",
    "Resource",
    "Sent",
    "Span",
    "SpanHandle",
    "SpanKind",
    "SpanStart",
    "Spans",
    "TraceIds",
    "Tracer",
    "Verdict",
    "api",
    "baggage",
    "breathe",
    "bundle_path",
    "checkpoint",
    "columns_of",
    "current_trace",
    "grpc_verdict",
    "hex_digits",
    "hookimpl",
    "http_verdict",
    "outgoing_headers",
    "part_of",
    "retry_after_s",
    "send_in_parts",
    "service",
    "settings_of",
    "span",
]
