"""A tracer that is a module."""

from spanserve import Span, hookimpl


@hookimpl
def span_ended(span: Span) -> None:
    """See a span."""
    del span
