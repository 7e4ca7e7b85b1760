"""The formats of query APIs, read into spans: Zipkin's JSON, OTLP's JSON, Jaeger's JSON."""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from spanserve import Attributes, AttributeValue, Event, Link, Span, SpanKind

Json = Mapping[str, Any]

_LINK_TAG: Final = "otlp.link."
# By OTLP's number: 0 is unspecified.
_KINDS: Final[tuple[SpanKind, ...]] = (SpanKind.INTERNAL, *SpanKind)
_ERROR_CODE: Final = 2
# Of 750 span ids one looks like a number: all digits, or with an "e" among them.
_ID: Final = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")


def from_zipkin(span: Json) -> Span:
    """Return a span of Zipkin's v2 JSON; numbers come back from tags, links from theirs."""
    tags = span.get("tags", {})
    start_us = span["timestamp"]
    return Span(
        name=span.get("name", ""),
        kind=SpanKind(span.get("kind", "internal").lower()),
        trace_id=span["traceId"],
        span_id=span["id"],
        parent_id=span.get("parentId"),
        start_ns=start_us * 1000,
        end_ns=(start_us + span["duration"]) * 1000,
        attributes={key: number_of(value) for key, value in tags.items()},
        links=list(_zipkin_links(tags)),
        events=[_zipkin_event(each) for each in span.get("annotations", ())],
        error=tags.get("error"),
        debug=span.get("debug", False),
    )


def number_of(text: str) -> AttributeValue:
    """Return a number where a text is one as Python writes it, and not an id in hex digits."""
    if _ID.fullmatch(text):
        return text
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if repr(number) == text:
            return number
    return text


def _zipkin_links(tags: Json) -> Iterator[Link]:
    number = 0
    while (text := tags.get(f"{_LINK_TAG}{number}")) is not None:
        trace_id, span_id, _state, rest = text.split("|", 3)
        yield Link(trace_id, span_id, json.loads(rest.rpartition("|")[0]))
        number += 1


def _zipkin_event(annotation: Json) -> Event:
    text, time_ns = annotation["value"], annotation["timestamp"] * 1000
    if not text.startswith('"'):
        return Event(text, time_ns)
    name, end = json.JSONDecoder().raw_decode(text)
    return Event(name, time_ns, json.loads(text[end:].removeprefix(": ")))


def from_otlp(answer: Json) -> Iterator[Span]:
    """Yield the spans of OTLP's JSON, as of Jaeger's /api/v3: `{"result": {"resourceSpans"}}`."""
    for per_resource in answer["result"].get("resourceSpans", ()):
        for per_scope in per_resource.get("scopeSpans", ()):
            for span in per_scope.get("spans", ()):
                yield _otlp_span(span)


def _otlp_span(span: Json) -> Span:
    status = span.get("status", {})
    failed = status.get("code") in {_ERROR_CODE, "STATUS_CODE_ERROR"}
    return Span(
        name=span["name"],
        kind=_otlp_kind(span.get("kind", 0)),
        trace_id=_hex(span["traceId"], 32),
        span_id=_hex(span["spanId"], 16),
        parent_id=_parent(span.get("parentSpanId", "")),
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        attributes=_otlp_attributes(span.get("attributes", ())),
        links=[
            Link(
                _hex(link["traceId"], 32),
                _hex(link["spanId"], 16),
                _otlp_attributes(link.get("attributes", ())),
            )
            for link in span.get("links", ())
        ],
        events=sorted(map(_otlp_event, span.get("events", ())), key=_time_ns),
        error=status.get("message", "") if failed else None,
    )


def _otlp_event(event: Json) -> Event:
    attributes = _otlp_attributes(event.get("attributes", ()))
    return Event(event.get("name", ""), int(event["timeUnixNano"]), attributes)


def _time_ns(event: Event) -> int:
    """Return what events are sorted by: Jaeger v2 answers them in any order."""
    return event.time_ns


def _otlp_kind(kind: int | str) -> SpanKind:
    if isinstance(kind, int):
        return _KINDS[kind]
    text = kind.removeprefix("SPAN_KIND_").lower()
    return SpanKind.INTERNAL if text == "unspecified" else SpanKind(text)


def _hex(text: str, digits: int) -> str:
    """Return an id: OTLP's JSON has hex digits, older Jaegers have protobuf's base64."""
    return text if len(text) == digits else base64.b64decode(text).hex()


def _parent(text: str) -> str | None:
    found = _hex(text, 16) if text else ""
    return found if found.strip("0") else None


def _otlp_attributes(pairs: Sequence[Json]) -> Attributes:
    return {pair["key"]: _otlp_value(pair.get("value", {})) for pair in pairs}


def _otlp_value(value: Json) -> Any:
    """Return what one AnyValue holds."""
    for kind, held in value.items():
        if kind == "intValue":
            return int(held)
        if kind == "arrayValue":
            return [_otlp_value(item) for item in held.get("values", ())]
        return held
    return None


def from_jaeger(answer: Json) -> Iterator[Span]:
    """Yield the spans of Jaeger's own JSON: `{"data": [{"spans": [...]}]}`."""
    for trace in answer["data"]:
        for span in trace["spans"]:
            yield _jaeger_span(span)


def _jaeger_span(span: Json) -> Span:
    tags = _jaeger_tags(span["tags"])
    references = span["references"]
    start_us = span["startTime"]
    parents = [ref["spanID"] for ref in references if ref["refType"] == "CHILD_OF"]
    described = str(tags.get("otel.status_description", ""))
    return Span(
        name=span["operationName"],
        kind=SpanKind(str(tags.get("span.kind", "internal"))),
        trace_id=span["traceID"].zfill(32),  # v1 leaves out a high half of zeros
        span_id=span["spanID"],
        parent_id=parents[0] if parents else None,
        start_ns=start_us * 1000,
        end_ns=(start_us + span["duration"]) * 1000,
        attributes=tags,
        links=[
            Link(ref["traceID"].zfill(32), ref["spanID"])
            for ref in references
            if ref["refType"] == "FOLLOWS_FROM"
        ],
        events=[_jaeger_event(log) for log in span["logs"]],
        error=described if tags.get("error") else None,
    )


def _jaeger_event(log: Json) -> Event:
    fields = dict(_jaeger_tags(log["fields"]))
    return Event(str(fields.pop("event", "")), log["timestamp"] * 1000, fields)


def _jaeger_tags(tags: Sequence[Json]) -> Attributes:
    # Whole numbers that JavaScript would round are texts.
    return {
        tag["key"]: int(tag["value"]) if tag["type"] == "int64" else tag["value"] for tag in tags
    }
