"""Spans as Zipkin's v2 JSON: pure, and quick because what repeats is written once.

The format is `zipkin2-api.yaml` of openzipkin/zipkin-api; the mapping is OpenTelemetry's
"trace/sdk_exporters/zipkin.md". For links, which Zipkin has none of, it is that of the
OpenTelemetry Collector, which it and Jaeger turn back into links.
"""

from collections.abc import Sequence

from spanserve import Attributes, Event, Link, Resource, Span, SpanKind
from spanserve_zipkin.endpoint import Endpoints
from spanserve_zipkin.mend import mended_resource, mended_span
from spanserve_zipkin.text import Memo, json_text, mended, quote, tag_text

_INTERNAL = SpanKind.INTERNAL
_SERVER = SpanKind.SERVER
_KINDS = {
    SpanKind.INTERNAL: "",  # Zipkin knows no internal kind: the field is left out
    SpanKind.SERVER: '"kind":"SERVER",',
    SpanKind.CLIENT: '"kind":"CLIENT",',
    SpanKind.PRODUCER: '"kind":"PRODUCER",',
    SpanKind.CONSUMER: '"kind":"CONSUMER",',
}

# Which build of the service answered, and which replica: tags where a trace enters the
# process. All of a resource on each span is what makes other exporters' spans large.
_RESOURCE_TAGS = (
    "service.namespace",
    "service.version",
    "service.instance.id",
    "deployment.environment.name",
)

_LINK_TAG = "otlp.link."
_FIRST_LINK_TAG = _LINK_TAG + "0"
_LINKED_TRACES_TAG = "linked.trace_ids"
_ERROR_TAG = "error"
_STATUS_TAG = "otel.status_code"

_DEBUG = ',"debug":true'
_MEMO_SIZE = 4096


class Encoder:
    """Writes the spans of one resource; not for use by several threads at once."""

    def __init__(self, resource: Resource) -> None:
        resource = mended_resource(resource)
        self._names: Memo[str, str] = Memo(_name_member, size=_MEMO_SIZE)
        self._keys: Memo[str, str] = Memo(_key, size=_MEMO_SIZE)
        self._endpoints = Endpoints(resource.service_name)
        self._local = self._endpoints.local
        self._resource_tags = {
            key: _key(key) + tag_text[type(value)](value)
            for key, value in resource.attributes.items()
            if key in _RESOURCE_TAGS
        }

    def encode(self, span: Span) -> bytes:
        """Return the span as one JSON object in UTF-8.

        Text that is not valid Unicode is mended, and values of types that a span should
        not hold become text. Raises, whatever it be, only for a span that breaks the
        contract of `Span` in another way. The ids are trusted to be what it promises.
        """
        try:
            return _finished(self._object(span))
        except Exception:  # noqa: BLE001  # the second way copes with what is odd, or raises
            return _finished(mended(self._object(mended_span(span))))

    def _object(self, span: Span) -> str:
        # One unpacking costs half of twelve names; a slice, since fields may be added.
        (
            name,
            kind,
            trace_id,
            span_id,
            parent_id,
            start_ns,
            end_ns,
            attributes,
            links,
            events,
            error,
            debug,
        ) = span[:12]
        # Down for starts and up for ends: rounded children stay inside rounded parents.
        start_us = start_ns // 1000
        duration_us = (end_ns - start_us * 1000 + 999) // 1000
        if duration_us < 1:  # noqa: PLR1730  # calling max would cost more than the line above
            duration_us = 1  # Zipkin takes 0 for unknown
        parent = f'"parentId":"{parent_id}",' if parent_id is not None else ""
        remote = "" if kind is _INTERNAL else self._endpoints.remote(kind, attributes)
        annotations = self._annotations(events) if events else ""
        tags = ""
        is_entry = parent_id is None or kind is _SERVER
        if attributes or is_entry or links or error is not None:
            tags = self._tags(attributes, links, error, is_entry)
        return (
            f'{{"traceId":"{trace_id}","id":"{span_id}",{parent}{_KINDS[kind]}{self._names[name]}'
            f'"timestamp":{start_us},"duration":{duration_us}'
            f"{self._local}{remote}{annotations}{tags}{_DEBUG if debug else ''}}}"
        )

    def _tags(
        self,
        attributes: Attributes,
        links: Sequence[Link],
        error: str | None,
        is_entry: bool,  # noqa: FBT001  # by position: this is the hot path
    ) -> str:
        if links or error is not None or _ERROR_TAG in attributes or _FIRST_LINK_TAG in attributes:
            attributes = _without_reserved(attributes, error, links)
        keys, texts = self._keys, tag_text
        tags = [f"{keys[key]}{texts[type(value)](value)}" for key, value in attributes.items()]
        if is_entry:
            tags += [tag for key, tag in self._resource_tags.items() if key not in attributes]
        if error is not None:
            tags += f'"{_STATUS_TAG}":"ERROR"', f'"{_ERROR_TAG}":{quote(error)}'
        if links:
            tags += self._link_tags(links)
        return f',"tags":{{{",".join(tags)}}}' if tags else ""

    def _link_tags(self, links: Sequence[Link]) -> list[str]:
        tags = [
            f'"{_LINK_TAG}{number}":'
            + quote(f"{link.trace_id}|{link.span_id}||{self._json(link.attributes)}|0")
            for number, link in enumerate(links)
        ]
        # With spaces, for people: the web page breaks lines there, and each id can be copied.
        trace_ids = ", ".join(dict.fromkeys(link.trace_id for link in links))
        return [f'"{_LINKED_TRACES_TAG}":{quote(trace_ids)}', *tags]

    def _annotations(self, events: Sequence[Event]) -> str:
        annotations = ",".join(
            f'{{"timestamp":{event.time_ns // 1000},"value":{quote(self._annotation(event))}}}'
            for event in events
        )
        return f',"annotations":[{annotations}]'

    def _annotation(self, event: Event) -> str:
        # The Collector splits annotations at bars and refuses a whole body for one it cannot read.
        if not event.attributes:
            return event.name.replace("|", "/")
        text = f"{quote(event.name)}: {self._json(event.attributes)}"
        return text.replace("|", "\\u007c")

    def _json(self, attributes: Attributes) -> str:
        keys, texts = self._keys, json_text
        members = [f"{keys[key]}{texts[type(value)](value)}" for key, value in attributes.items()]
        return "{" + ",".join(members) + "}"


def body_of(spans: Sequence[bytes]) -> bytes:
    """Return the body of a post: a JSON array of encoded spans."""
    return b"[" + b",".join(spans) + b"]"


def _finished(text: str) -> bytes:
    # Zipkin takes a body for its first format, and refuses it, where any string ends so.
    # One letter is looked for first, because that is far quicker.
    if "A" in text and 'yAnnotations"' in text:
        text = text.replace('yAnnotations"', 'yAnnotation\\u0073"')
    return text.encode()


def _name_member(name: str) -> str:
    return f'"name":{quote(name)},' if name else ""


def _key(key: str) -> str:
    return quote(key) + ":"


def _without_reserved(
    attributes: Attributes, error: str | None, links: Sequence[Link]
) -> Attributes:
    """Return the attributes that do not stand in the way of tags made from other fields."""
    return {
        key: value
        for key, value in attributes.items()
        if not (key.startswith(_LINK_TAG) or (links and key == _LINKED_TRACES_TAG))
        and not (error is not None and key in {_ERROR_TAG, _STATUS_TAG})
        and not (key == _ERROR_TAG and _says_no_error(value))
    }


def _says_no_error(value: object) -> bool:
    # For Zipkin the tag alone makes an error of the span, whatever it says.
    return str(value).lower() in {"", "0", "false", "none"}
