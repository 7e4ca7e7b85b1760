"""Spans that break their contract in small ways, made to keep it: the slow, rare way."""

from spanserve import Attributes, Event, Link, Resource, Span, SpanKind
from spanserve_zipkin.text import mended


def mended_span(span: Span) -> Span:
    """Return the span with names and keys that are valid Unicode, and of a known kind.

    Values are left alone. Raises, whatever it be, for what cannot be mended.
    """
    return span._replace(
        name=mended(str(span.name)),
        kind=SpanKind(span.kind) if span.kind in set(SpanKind) else SpanKind.INTERNAL,
        start_ns=int(span.start_ns),
        end_ns=int(span.end_ns),
        attributes=_attributes(span.attributes),
        links=[_link(link) for link in span.links],
        events=[_event(event) for event in span.events],
        error=None if span.error is None else mended(str(span.error)),
    )


def mended_resource(resource: Resource) -> Resource:
    """Return the resource with a name, keys and texts that are valid Unicode."""
    texts = {
        key: mended(value) if isinstance(value, str) else value
        for key, value in _attributes(resource.attributes).items()
    }
    return Resource(mended(resource.service_name), texts)


def _link(link: Link) -> Link:
    return link._replace(attributes=_attributes(link.attributes))


def _event(event: Event) -> Event:
    return Event(mended(str(event.name)), int(event.time_ns), _attributes(event.attributes))


def _attributes(attributes: Attributes) -> Attributes:
    return {mended(str(key)): value for key, value in attributes.items()}
