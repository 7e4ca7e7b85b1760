"""Spans as Zipkin's v2 JSON, by columns: pure, and quick because what repeats is written once.

The format is `zipkin2-api.yaml` of openzipkin/zipkin-api; the mapping is OpenTelemetry's
"trace/sdk_exporters/zipkin.md". For links, which Zipkin has none of, it is that of the
OpenTelemetry Collector, which it and Jaeger turn back into links.

What differs in a column's spans is written field by field, each by a few calls of NumPy for all
rows; JSON's blanks make up for different lengths.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from spanserve import (
    Column,
    Event,
    Events,
    Resource,
    Span,
    SpanKind,
    checkpoint,
    columns_of,
)
from spanserve_zipkin.encoding.cells import Cells, digits, fixed
from spanserve_zipkin.encoding.endpoint import PEER_PORT, Endpoints, Remote
from spanserve_zipkin.encoding.links import are_whole
from spanserve_zipkin.encoding.rows import Part, Ragged, Rows, chosen
from spanserve_zipkin.encoding.tags import Tags, are_tags
from spanserve_zipkin.encoding.text import Memo, Texts, mended, quote, utf8
from spanserve_zipkin.encoding.values import Values

_KINDS: Final = {
    SpanKind.INTERNAL: b"",  # Zipkin knows no internal kind: the field is left out
    SpanKind.SERVER: b'"kind":"SERVER",',
    SpanKind.CLIENT: b'"kind":"CLIENT",',
    SpanKind.PRODUCER: b'"kind":"PRODUCER",',
    SpanKind.CONSUMER: b'"kind":"CONSUMER",',
}

_HAVE_REMOTES: Final = frozenset((SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER))
_MEMO_SIZE: Final = 4096
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Encoded:
    """Spans in columns, and the rows of each; `rejected` more could not be encoded."""

    columns: Sequence[Column]
    rows: Sequence[Rows]
    rejected: int = 0
    failure: Exception | None = None


class Encoder:
    """Writes the spans of one resource; not for use by several threads at once.

    `links`: `full`, or `ids` for the ids of the linked traces alone.
    """

    def __init__(self, resource: Resource, *, links: Literal["full", "ids"] = "full") -> None:
        self._names: Memo[str, bytes] = Memo(self._name, size=_MEMO_SIZE)
        self._texts = Texts()
        self._endpoints = Endpoints(mended(resource.service_name))
        self._tags = Tags(self._texts, resource, whole_links=links == "full")

    def encode(self, spans: Sequence[Span]) -> Encoded:
        """Return each span as one JSON object with a comma before it.

        Values of types that a span should not hold become text; a span that breaks the
        contract of `Span` in another way costs itself alone.
        """
        found = columns_of(spans)
        try:
            encoded = self._columns(found.columns)
        except Exception:  # noqa: BLE001  # whatever it is, the other spans go out
            encoded = self._one_by_one(found.columns)
        rejected = encoded.rejected + len(found.broken)
        failure = encoded.failure or found.failure
        return Encoded(encoded.columns, encoded.rows, rejected, failure)

    def _one_by_one(self, columns: Sequence[Column]) -> Encoded:
        """Encode columns of which one is broken: that one row by row."""
        kept: list[Column] = []
        rows: list[Rows] = []
        rejected, failure = 0, None
        for column in columns:
            try:
                parts = [self._columns([column])]
            except Exception as error:  # noqa: BLE001  # see above
                if len(column.span_id) == 1:
                    parts, rejected, failure = [], rejected + 1, error
                else:
                    numbers = range(len(column.span_id))
                    parts = [self._one_by_one([column.part(n, n + 1)]) for n in numbers]
            for part in parts:
                kept += part.columns
                rows += part.rows
                rejected += part.rejected
                failure = part.failure or failure
        return Encoded(kept, rows, rejected, failure)

    def _columns(self, columns: Sequence[Column]) -> Encoded:
        regular = [each for column in columns for each in self._regular(column)]
        values = Values(regular)
        rows = []
        for column in regular:
            checkpoint()
            rows.append(Rows(self._parts(column, values), len(column.span_id)))
        return Encoded(regular, rows)

    def _regular(self, column: Column) -> Sequence[Column]:
        """Return a column's spans such that its own cells are tags, or the caller's port."""
        odd = not are_tags(column.own) or not (column.links is None or are_whole(column.links))
        if PEER_PORT in column.own and column.kind in _HAVE_REMOTES:
            odd = odd or not self._take_ports(column)
        return columns_of([*column.spans()]).columns if odd else [_trimmed(column)]

    def _take_ports(self, column: Column) -> bool:
        """Say whether the ports in a column's own cells belong into all remote endpoints."""
        ports = column.own[PEER_PORT]
        takes = all(self._endpoints.remote(column.kind, each).takes_port for each in column.common)
        return takes and ports.dtype.kind in "iu" and 0 < ports.min() <= ports.max() <= _MAX_PORT

    def _parts(self, column: Column, values: Values) -> Iterator[Part]:
        """Yield the parts of a column's spans, from left to right."""
        remotes: Sequence[Remote] = ()
        if column.kind in _HAVE_REMOTES:
            remotes = [self._endpoints.remote(column.kind, each) for each in column.common]
        children = int(np.count_nonzero(column.parent_id))
        yield from (b',{"traceId":"', fixed(column.trace_id), b'","id":"')
        yield values.id(column.span_id)
        yield from _parent(column.parent_id, children, values)
        yield _KINDS[column.kind] + self._names[column.name]
        yield from (values.start(column), b',"duration":', values.duration(column))
        yield from _remote(column, remotes)
        if column.events is not None:
            yield self._annotations(column.events)
        yield from self._tags.parts(column, children, values, remotes)
        yield b',"debug":true}' if column.debug else b"}"

    def _annotations(self, events: Events) -> Ragged:
        """Return the member `annotations`, or nothing where there are none."""
        values = [utf8(quote(self._annotation(event))) for event in events.common]
        parts = [
            b'{"timestamp":',
            digits(events.time_ns // 1000),
            b',"value":',
            chosen(values, events.which),
            b"}",
        ]
        rows = Rows(parts, len(events.time_ns)).joined(events.bounds, b",")
        return Ragged([b',"annotations":[' + row + b"]" if row else b"" for row in rows])

    def _annotation(self, event: Event) -> str:
        # The Collector splits annotations at bars and refuses a whole body for one it cannot read.
        name = str(event.name)
        if not event.attributes:
            return name.replace("|", "/")
        text = f"{quote(name)}: {self._texts.json(event.attributes)}"
        return text.replace("|", "\\u007c")

    def _name(self, name: str) -> bytes:
        """Return what stands between a span's kind and its time."""
        # Zipkin's API asks for lower case, as its search does; a server would see to it itself.
        member = f'"name":{quote(name.lower())},' if name else ""
        local = self._endpoints.local
        return utf8(f'{member}{local[1:]}{"," if local else ""}"timestamp":')


def _trimmed(column: Column) -> Column:
    """Return a column without what none of its rows has in common: it may be a part of many."""
    rows = len(column.span_id)
    if len(column.common) > rows:
        common = [column.common[which] for which in column.which.tolist()]
        column = column._replace(common=common, which=np.arange(rows))
    if column.failures is not None and len(column.errors) > rows:
        errors = [column.errors[which] for which in column.failures.tolist()]
        column = column._replace(errors=errors, failures=np.arange(rows))
    return column


def _parent(parent_id: Cells, children: int, values: Values) -> Iterator[Part]:
    if children == 0:
        yield b'",'
    elif children == len(parent_id):
        yield from (b'","parentId":"', values.id(parent_id), b'",')
    else:
        ids = [each.tobytes() for each in values.id(parent_id)]
        pairs = zip(ids, parent_id.tolist(), strict=True)
        yield Ragged([b'","parentId":"%b",' % each if parent else b'",' for each, parent in pairs])


def _remote(column: Column, remotes: Sequence[Remote]) -> Iterator[Part]:
    """Yield the member `remoteEndpoint`, with the caller's port."""
    texts = [f',"remoteEndpoint":{{{each.members}' if each.members else "" for each in remotes]
    if PEER_PORT in column.own and column.kind is SpanKind.SERVER:
        yield chosen([utf8(text + ',"port":') for text in texts], column.which)
        yield from (digits(column.own[PEER_PORT]), b"}")
    elif any(texts):
        yield chosen([utf8(text + "}") if text else b"" for text in texts], column.which)
