"""Spans as Zipkin's v2 JSON: pure, and quick because what repeats is written once.

The format is `zipkin2-api.yaml` of openzipkin/zipkin-api; the mapping is OpenTelemetry's
"trace/sdk_exporters/zipkin.md". For links, which Zipkin has none of, it is that of the
OpenTelemetry Collector, which it and Jaeger turn back into links.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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

ERROR_TAG = "error"
LINK_TAG = "otlp.link."
_FIRST_LINK_TAG = LINK_TAG + "0"
LINKED_TRACES_TAG = "linked.trace_ids"
_STATUS_TAG = "otel.status_code"

_DEBUG = ',"debug":true'
_MEMO_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Encoded:
    """Spans, and the JSON of each; `rejected` more could not be encoded."""

    spans: Sequence[Span]
    pieces: Sequence[str]
    rejected: int = 0
    failure: Exception | None = None


class Encoder:
    """Writes the spans of one resource; not for use by several threads at once."""

    def __init__(self, resource: Resource) -> None:
        resource = mended_resource(resource)
        self._names: Memo[str, str] = Memo(_name_member, size=_MEMO_SIZE)
        self._keys: Memo[str, str] = Memo(_key, size=_MEMO_SIZE)
        self._endpoints = Endpoints(resource.service_name)
        self._local = self._endpoints.local
        self._parts: Memo[str, str] = Memo(self._part, size=_MEMO_SIZE)
        self._resource_tags = {
            key: _key(key) + tag_text[type(value)](value)
            for key, value in resource.attributes.items()
            if key in _RESOURCE_TAGS
        }

    def encode(self, spans: Sequence[Span]) -> Encoded:
        """Return each span as one JSON object with a comma before it, in their order.

        Values of types that a span should not hold become text; a span that breaks the
        contract of `Span` in another way costs itself alone. The ids are trusted to be what
        it promises. Text that is not valid Unicode is left for `body_of` to mend.
        """
        try:
            return Encoded(spans, [self._object(span) for span in spans])
        except Exception:  # noqa: BLE001  # whatever it is, the other spans go out
            return self._one_by_one(spans)

    def _one_by_one(self, spans: Sequence[Span]) -> Encoded:
        kept: list[Span] = []
        pieces: list[str] = []
        failure = None
        for span in spans:
            try:
                pieces.append(self._object(span))
            except Exception:  # noqa: BLE001  # the second way copes with what is odd, or raises
                try:
                    pieces.append(self._object(mended_span(span)))
                except Exception as error:  # noqa: BLE001  # one bad span must not cost the rest
                    failure = error
                    continue
            kept.append(span)
        return Encoded(kept, pieces, len(spans) - len(kept), failure)

    def kind_and_name(self, kind: SpanKind, name: str) -> str:
        """Return what stands between a span's ids and its time: the same for all of a name."""
        return _KINDS[kind] + self._parts[name]

    def tags(self, attributes: Attributes, *, is_entry: bool) -> str:
        """Return the members of a span's tags, parted by commas.

        `is_entry`: a trace enters the process here, so that some of the resource's come along.
        """
        keys, texts = self._keys, tag_text
        tags = [f"{keys[key]}{texts[type(value)](value)}" for key, value in attributes.items()]
        if is_entry:
            tags += [tag for key, tag in self._resource_tags.items() if key not in attributes]
        return ",".join(tags)

    def caller(self, attributes: Attributes) -> str:
        """Return the member `remoteEndpoint` of a span of the kind SERVER, or nothing."""
        return self._endpoints.remote("server", attributes)

    def _part(self, name: str) -> str:
        return f'{self._names[name]}{self._local[1:]}{"," if self._local else ""}"timestamp":'

    def _object(self, span: Span) -> str:
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
        duration_us = max(1, duration_us)  # Zipkin takes 0 for unknown
        parent = f'"parentId":"{parent_id}",' if parent_id is not None else ""
        remote = "" if kind is _INTERNAL else self._endpoints.remote(kind, attributes)
        annotations = self._annotations(events) if events else ""
        tags = ""
        is_entry = parent_id is None or kind is _SERVER
        if attributes or is_entry or links or error is not None:
            tags = self._tags(attributes, links, error, is_entry=is_entry)
        return (
            f',{{"traceId":"{trace_id}","id":"{span_id}",{parent}{_KINDS[kind]}{self._parts[name]}'
            f'{start_us},"duration":{duration_us}'
            f"{remote}{annotations}{tags}{_DEBUG if debug else ''}}}"
        )

    def _tags(
        self, attributes: Attributes, links: Sequence[Link], error: str | None, *, is_entry: bool
    ) -> str:
        if links or error is not None or ERROR_TAG in attributes or _FIRST_LINK_TAG in attributes:
            attributes = _without_reserved(attributes, error, links)
        usual = self.tags(attributes, is_entry=is_entry)
        tags = [usual] if usual else []
        if error is not None:
            tags += f'"{_STATUS_TAG}":"ERROR"', f'"{ERROR_TAG}":{quote(error)}'
        if links:
            tags += self._link_tags(links)
        return f',"tags":{{{",".join(tags)}}}' if tags else ""

    def _link_tags(self, links: Sequence[Link]) -> list[str]:
        tags = [
            f'"{LINK_TAG}{number}":'
            + quote(
                f"{link.trace_id}|{link.span_id}|{_state(link)}|{self._json(link.attributes)}|0"
            )
            for number, link in enumerate(links)
        ]
        # With spaces, for people: the web page breaks lines there, and each id can be copied.
        trace_ids = ", ".join(dict.fromkeys(link.trace_id for link in links))
        return [f'"{LINKED_TRACES_TAG}":{quote(trace_ids)}', *tags]

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


def body_of(pieces: Sequence[str]) -> bytes:
    """Return the body of a post: a JSON array of encoded spans, in UTF-8."""
    # The first begins with the comma that parts the spans.
    return utf8("".join(("[", pieces[0][1:], *pieces[1:], "]")) if pieces else "[]")


def utf8(text: str) -> bytes:
    """Return JSON in UTF-8 as Zipkin takes it; each lone surrogate becomes U+FFFD."""
    # Zipkin takes a body for its first format, and refuses it, where any string ends so.
    if 'yAnnotations"' in text:
        text = text.replace('yAnnotations"', 'yAnnotation\\u0073"')
    try:
        return text.encode()
    except UnicodeEncodeError:
        return mended(text).encode()


def _state(link: Link) -> str:
    # Who reads the tag splits it at bars, which a tracestate may hold.
    return "" if "|" in link.tracestate else link.tracestate


def _name_member(name: str) -> str:
    # Zipkin's API asks for lower case, as its search does; a server would see to it itself.
    return f'"name":{quote(name.lower())},' if name else ""


def _key(key: str) -> str:
    key.encode()  # two keys that are no valid Unicode may be mended to the same
    return quote(key) + ":"


def _without_reserved(
    attributes: Attributes, error: str | None, links: Sequence[Link]
) -> Attributes:
    """Return the attributes that do not stand in the way of tags made from other fields."""
    return {
        key: value
        for key, value in attributes.items()
        if not (key.startswith(LINK_TAG) or (links and key == LINKED_TRACES_TAG))
        and not (error is not None and key in {ERROR_TAG, _STATUS_TAG})
        and not (key == ERROR_TAG and _says_no_error(value))
    }


def _says_no_error(value: object) -> bool:
    # For Zipkin the tag alone makes an error of the span, whatever it says.
    return str(value).lower() in {"", "0", "false", "none"}
