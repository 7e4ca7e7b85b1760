"""Spans as Jaeger's Thrift, by columns: the spans of a record stand side by side in a row.

The structs are those of jaeger-idl's jaeger.thrift, in compact protocol; the mapping is
OpenTelemetry's (specification/trace/sdk_exporters/jaeger.md, until 2024). What is the same for all
rows is copied into them at once, and what differs is encoded field by field, each by a few calls of
NumPy for all rows. Every byte string with a header below is (difference of field numbers << 4) |
wire type.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import numpy as np

from spanserve import Attributes, Column, Links, Resource, SpanKind, checkpoint
from spanserve_jaeger.encoding.cells import Integer, all_ids, halves, integers, short_ids, trace_ids
from spanserve_jaeger.encoding.logs import logs
from spanserve_jaeger.encoding.rows import (
    Cells,
    Part,
    Ragged,
    Rows,
    Solid,
    by_row,
    chosen,
    ragged,
    rectangle,
    rows_of,
)
from spanserve_jaeger.encoding.tags import Tags, tag
from spanserve_jaeger.encoding.thrift import LIST, structs, structs_header, text
from spanserve_jaeger.records import Block

_I64: Final = b"\x16"
_TEXT: Final = b"\x18"
_NO_PARENT: Final = b"\x16\x00"
_FLAGS: Final = b"\x15"
_FLAGS_WITHOUT_REFERENCES: Final = b"\x25"
_SAMPLED: Final = b"\x02"
_DEBUG_AND_SAMPLED: Final = b"\x06"
_FOLLOWS_FROM: Final = b"\x15\x02"
_STOP: Final = b"\0"
_ERROR_KEYS: Final = frozenset({"error", "otel.status_code", "otel.status_description"})

REFERENCE_BYTES: Final = 36
"""What the reference of a link takes at most."""


class Encoder:
    """Encodes blocks of columns, and processes. Not for several threads at once."""

    def __init__(self) -> None:
        self._tags = Tags()

    def rows(self, block: Block, *, link_logs: bool = True) -> Rows:
        """Encode the records of a block, a row each; raises whatever a broken column leads to.

        `link_logs` adds the links' attributes as logs.
        """
        block = [_trimmed(column) for column in block]
        shared, times = _Ids(block), _times(block)
        spans = (
            self._span(column, shared, start, duration, link_logs=link_logs)
            for column, start, duration in zip(block, *times, strict=True)
        )
        return rows_of(chain.from_iterable(spans), len(block[0].span_id))

    def process(self, resource: Resource) -> bytes:
        """Encode the resource as a Process struct, its service's name first."""
        attributes = {k: v for k, v in resource.attributes.items() if k != "service.name"}
        tags = self._tags.of(attributes)
        return _TEXT + text(resource.service_name) + (structs(LIST, tags) if tags else b"") + _STOP

    def _span(
        self, column: Column, shared: "_Ids", start: Integer, duration: Integer, *, link_logs: bool
    ) -> Iterator[Part]:
        """Yield the parts of Span structs."""
        checkpoint()
        links = column.links if column.links is not None and len(column.links.span_id) else None
        yield from shared.identity(column)
        yield _TEXT + text(column.name)
        yield _FLAGS_WITHOUT_REFERENCES if links is None else _references(links)
        flags = _DEBUG_AND_SAMPLED if column.debug else _SAMPLED
        yield from (flags + _I64, *start, _I64, *duration)
        said, which = self._said(column)
        kind = _kind(column.kind)
        own = [key for key in column.own if column.failures is None or key not in _ERROR_KEYS]
        more = len(own) + len(kind)
        yield chosen([_list(tags, more) for tags in said], which)
        for key in own:
            yield from tag(key, column.own[key], self._tags)
        yield from self._tags.of(kind)
        if column.events is not None or (links is not None and link_logs):
            have_tags = np.array([bool(more or tags) for tags in said])[which]
            column = column._replace(links=links)
            yield logs(column, have_tags, start, self._tags, of_links=link_logs)
        yield _STOP

    def _said(self, column: Column) -> tuple[Sequence[Sequence[bytes]], Cells]:
        """Return the tags of what rows have in common, and which of them each row has."""
        if column.failures is None:
            return [self._tags.of(each) for each in column.common], column.which
        count = len(column.errors)
        pairs, which = np.unique(column.which * count + column.failures, return_inverse=True)
        found = [divmod(pair, count) for pair in pairs.tolist()]
        return [self._failed(column.common[a], column.errors[b]) for a, b in found], which

    def _failed(self, attributes: Attributes, error: str) -> Sequence[bytes]:
        """Return the tags of a span that failed: its own error wins."""
        others = {k: v for k, v in attributes.items() if k not in _ERROR_KEYS}
        description = {"otel.status_description": error} if error else {}
        return self._tags.of({"error": True, "otel.status_code": "ERROR", **others, **description})


def _kind(kind: SpanKind) -> Attributes:
    return {} if kind is SpanKind.INTERNAL else {"span.kind": kind.value}


def _trimmed(column: Column) -> Column:
    """Return a column without what none of its rows has in common: it may be a part of many."""
    rows = len(column.span_id)
    if len(column.common) <= rows:
        return column
    common = [column.common[which] for which in column.which.tolist()]
    return column._replace(common=common, which=np.arange(rows))


class _Ids:
    """The ids of a block; its columns share the very arrays of a trace's and of its root's."""

    def __init__(self, block: Block) -> None:
        cells = {id(each): each for column in block for each in (column.span_id, column.parent_id)}
        self._spans = dict(zip(cells, all_ids([*cells.values()]), strict=True))
        self._traces = {
            place: trace_ids(each)
            for place, each in {id(column.trace_id): column.trace_id for column in block}.items()
        }

    def identity(self, column: Column) -> Iterable[Solid]:
        """Return the parts from a Span struct's beginning to its parent's id."""
        low, high = self._traces[id(column.trace_id)]
        yield from (_I64, low, _I64, high, _I64, self._spans[id(column.span_id)])
        if column.parent_id.any():
            yield from (_I64, self._spans[id(column.parent_id)])
        else:
            yield _NO_PARENT


def _times(block: Block) -> tuple[Sequence[Integer], Sequence[Integer]]:
    """Encode the starts and the durations of each column."""
    # Down for starts and up for ends: rounded children stay inside rounded parents.
    start_us = np.stack([column.start_ns for column in block]) // 1000
    end_ns = np.stack([column.end_ns for column in block])
    end_us = end_ns // 1000 + (end_ns % 1000 > 0)  # a sum might not fit 64 bits
    duration_us = np.maximum(end_us - start_us, 1)  # Jaeger v2 warns of 0
    return _each(integers(start_us), len(block)), _each(integers(duration_us), len(block))


def _each(encoded: Integer, count: int) -> Sequence[Integer]:
    """Return the integers of each of so many columns, which were encoded together."""
    differing, same = encoded
    if isinstance(differing, bytes):
        return [encoded] * count
    return [(each, same) for each in differing]


def _list(tags: Sequence[bytes], more: int) -> bytes:
    """Begin the field of a span's tags with these, which `more` are to follow."""
    count = len(tags) + more
    return structs_header(LIST, count) + b"".join(tags) if count else b""


def _references(links: Links) -> Ragged:
    """Return the field of a span's references, and the header of its flags."""
    low, high = map(short_ids, halves(links.trace_id).T)
    span = short_ids(links.span_id)
    parts: list[Solid] = [_FOLLOWS_FROM + _I64, *low, _I64, *high, _I64, *span, _STOP]
    return ragged(
        [
            structs_header(LIST, count) + references + _FLAGS
            if count
            else _FLAGS_WITHOUT_REFERENCES
            for count, references in by_row(rectangle(parts, len(links.span_id)), links.bounds)
        ]
    )
