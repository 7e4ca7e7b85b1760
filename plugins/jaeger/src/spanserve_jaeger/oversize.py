"""Spans that are too long for a packet: cut shorter, or continued in another span."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

from spanserve import Attributes, AttributeValue, Event, Link, Span, SpanKind
from spanserve_jaeger.encoding.tags import as_text

CONTINUES: Final = "spanserve.links.continues"
TRUNCATED: Final = "spanserve.truncated"
_SUFFIX: Final = " (links continued)"


def split_links(span: Span, count: int) -> tuple[Span, Span]:
    """Split a span into itself with its first `count` links, and one that holds the rest.

    The continuation is a child of the span (of the first span, where this is a continuation
    itself), in the same trace and at the same time. Its id is derived, so that the same
    span is always continued by the same one.
    """
    first_id = str(span.attributes.get(CONTINUES, span.span_id))
    rest = Span(
        name=span.name if span.name.endswith(_SUFFIX) else span.name + _SUFFIX,
        kind=SpanKind.INTERNAL,
        trace_id=span.trace_id,
        span_id=_derived_id(span.span_id),
        parent_id=first_id,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        attributes={CONTINUES: first_id},
        links=span.links[count:],
        debug=span.debug,
    )
    return span._replace(links=span.links[:count]), rest


def shorten(span: Span, max_chars: int) -> Span:
    """Cut every text of a span to so many characters, and mark the span as truncated.

    The trace and span ids of its links stay; their attributes go.
    """
    return span._replace(
        name=span.name[:max_chars],
        attributes={**short_attributes(span.attributes, max_chars), TRUNCATED: True},
        links=[Link(link.trace_id, link.span_id) for link in span.links],
        events=[
            Event(
                event.name[:max_chars], event.time_ns, short_attributes(event.attributes, max_chars)
            )
            for event in span.events
        ],
        error=None if span.error is None else span.error[:max_chars],
    )


def short_attributes(attributes: Attributes, max_chars: int) -> Mapping[str, AttributeValue]:
    """Cut every key and every text to so many characters; numbers stay as they are."""
    return {key[:max_chars]: _short(value, max_chars) for key, value in attributes.items()}


def _short(value: AttributeValue, max_chars: int) -> AttributeValue:
    return value if isinstance(value, bool | int | float) else as_text(value)[:max_chars]


def _derived_id(span_id: str) -> str:
    digest = blake2b(span_id.encode("utf-8", "replace"), digest_size=8, person=b"links").hexdigest()
    return digest if int(digest, 16) else "0000000000000001"
