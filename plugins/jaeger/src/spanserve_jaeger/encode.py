"""Spans to Jaeger's Thrift: the structs of jaeger-idl's jaeger.thrift, in compact protocol.

The mapping is OpenTelemetry's (specification/trace/sdk_exporters/jaeger.md, until 2024).
Every byte string with a header below is (difference of field numbers << 4) | wire type.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from spanserve import Attributes, Event, Link, Resource, Span, SpanKind
from spanserve_jaeger.thrift import (
    Ids,
    Integers,
    Memo,
    Tags,
    Times,
    fits_i64,
    pack_double,
    structs,
    structs_header,
    text,
)

# The value of the flags and the header of the start time after it.
_SAMPLED: Final = b"\x02\x16"
_DEBUG_AND_SAMPLED: Final = b"\x06\x16"
_NO_PARENT: Final = b"\x16\x00"
_INTERNAL: Final = SpanKind.INTERNAL
_FOLLOWS_FROM: Final = b"\x15\x02"
_ERROR_KEYS: Final = frozenset({"error", "otel.status_code", "otel.status_description"})


class SpanEncoder:
    """Encodes one span, event or process at a time; remembers what comes again.

    Not safe for several threads at once.
    """

    def __init__(self) -> None:
        self._integers = Integers()
        self._times = Times(self._integers)
        self._tags = Tags(self._integers)
        self._ids = Ids(self._integers)
        self._traces = Memo(self._trace, size=1024)
        self._headers = Memo(_tags_header, size=1024)
        self._names = Memo(_name, size=1024)
        self._lengths = Memo(self._integers.signed, size=4096)
        self._kinds = {
            kind: self._tags.texts["span.kind"][kind.value]
            for kind in SpanKind
            if kind is not SpanKind.INTERNAL
        }
        self._error = (
            self._tags.flag("error", value=True),
            self._tags.texts["otel.status_code"]["ERROR"],
        )

    def span(self, span: Span, references: Sequence[bytes] = (), *, link_logs: bool) -> bytes:
        """Encode a span as a Span struct with these references, its links' encoded.

        `link_logs` adds the links' attributes as logs. ValueError: its ids are no ids.
        """
        parent_id = span.parent_id
        # Down for starts and up for ends: rounded children stay inside rounded parents.
        start_us = span.start_ns // 1000
        duration_us = max(1, (span.end_ns + 999) // 1000 - start_us)  # Jaeger v2 warns of 0
        parts = [
            self._traces[span.trace_id],
            self._ids[span.span_id],
            _NO_PARENT if parent_id is None else b"\x16" + self._ids[parent_id],
            self._names[span.name],
            structs(0x19, references) + b"\x15" if references else b"\x25",
            _DEBUG_AND_SAMPLED if span.debug else _SAMPLED,
            self._times.signed(start_us),
            b"\x16",
            self._lengths[duration_us],
        ]
        tags = self._span_tags(span)
        if tags:
            parts.append(self._headers[len(tags)])
            parts += tags
        if span.events or link_logs:
            logs = self._logs(span, link_logs=link_logs)
            if logs:
                parts.append(structs(0x19 if tags else 0x29, logs))
        parts.append(b"\0")
        return b"".join(parts)

    def reference(self, link: Link) -> bytes:
        """Encode a link as a FOLLOWS_FROM reference; ValueError: its ids are no ids."""
        return _FOLLOWS_FROM + self._traces[link.trace_id] + self._ids[link.span_id] + b"\0"

    def process(self, resource: Resource) -> bytes:
        """Encode the resource as a Process struct, its service's name first."""
        attributes = {k: v for k, v in resource.attributes.items() if k != "service.name"}
        tags = self.attributes(attributes)
        return (
            b"\x18" + text(resource.service_name) + (structs(0x19, tags) if tags else b"") + b"\0"
        )

    def attributes(self, attributes: Attributes) -> list[bytes]:
        """Encode attributes as Tag structs, in their order."""
        texts, longs, doubles = self._tags.texts, self._tags.longs, self._tags.doubles
        tags: list[bytes] = []
        for key, value in attributes.items():
            # An exact class: True is an int and equals 1, and 1.0 does, too.
            if type(value) is str:
                tags.append(texts[key][value])
            elif type(value) is float:
                tags.append(doubles[key] + pack_double(value))
            elif type(value) is int and fits_i64(value):
                tags.append(longs[key][value])
            else:
                tags.append(self._other(key, value))
        return tags

    def _span_tags(self, span: Span) -> list[bytes]:
        attributes = span.attributes
        if span.error is not None:
            others = {k: v for k, v in attributes.items() if k not in _ERROR_KEYS}
            tags = [*self._error, *self.attributes(others)]
            if span.error:
                tags.append(self._tags.texts["otel.status_description"][span.error])
        else:
            tags = self.attributes(attributes) if attributes else []
        if span.kind is not _INTERNAL:
            tags.append(self._kinds[span.kind])
        return tags

    def _other(self, key: str, value: Any) -> bytes:
        if isinstance(value, bool):
            return self._tags.flag(key, value=value)
        if isinstance(value, float):
            return self._tags.doubles[key] + pack_double(value)
        if isinstance(value, int) and fits_i64(value):
            return self._tags.longs[key][int(value)]
        return self._tags.texts[key][as_text(value)]

    def _logs(self, span: Span, *, link_logs: bool) -> list[bytes]:
        logs = [self._log(event) for event in span.events]
        if link_logs:
            logs += [
                self._log(Event("link", span.start_ns, link.attributes))
                for link in span.links
                if link.attributes
            ]
        return logs

    def _log(self, event: Event) -> bytes:
        fields = self.attributes(event.attributes)
        if "event" not in event.attributes:
            fields.insert(0, self._tags.texts["event"][event.name])
        return b"\x16" + self._times.signed(event.time_ns // 1000) + structs(0x19, fields) + b"\0"

    def _trace(self, digits: str) -> bytes:
        """Both halves of a trace id, low first, and the header of the span's id after it."""
        ids = self._ids
        return b"\x16" + ids[digits[16:]] + b"\x16" + ids[digits[:16]] + b"\x16"


def _tags_header(count: int) -> bytes:
    return structs_header(0x19, count)


def _name(name: str) -> bytes:
    return b"\x18" + text(name)


def as_text(value: object) -> str:
    """The text of a value that Jaeger has no type for: a sequence as JSON, else its `str`."""
    if isinstance(value, str):
        return str.__str__(value)
    try:
        if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
            return json.dumps(list(value), ensure_ascii=False, default=str)
        return str(value)
    except Exception:  # noqa: BLE001 - a user's own object must not cost the span
        return f"<{type(value).__name__}>"
