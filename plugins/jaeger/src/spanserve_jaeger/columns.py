"""Columns of spans as Jaeger's Thrift: the spans of a record stand side by side in a row.

What is the same for all rows is copied into them at once, and what differs is encoded field by
field, each by a few calls of NumPy for all rows. They say what `SpanEncoder` has each span say.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Final

import numpy as np

from spanserve import Column, Links, SpanKind, checkpoint
from spanserve_jaeger.cells import Integer, OddCellsError, doubles, ids, integers, trace_ids, words
from spanserve_jaeger.encode import SpanEncoder
from spanserve_jaeger.records import Block
from spanserve_jaeger.rows import (
    Cells,
    Part,
    Ragged,
    Rows,
    Solid,
    Text,
    chosen,
    ragged,
    rectangle,
    rows_of,
)
from spanserve_jaeger.thrift import DOUBLE, LONG, TEXT, structs_header, text

# Field headers of jaeger.thrift's structs, each (difference of field numbers << 4) | wire type,
# and the values that are the same in all spans.
_I64: Final = b"\x16"
_TEXT: Final = b"\x18"
_NO_PARENT: Final = b"\x16\x00"
_FLAGS: Final = b"\x15"
_FLAGS_WITHOUT_REFERENCES: Final = b"\x25"
_SAMPLED: Final = b"\x02"
_LIST: Final = 0x19
_LOGS_WITHOUT_TAGS: Final = 0x29
_FOLLOWS_FROM: Final = b"\x15\x02"
_STOP: Final = b"\0"
_NS_IN_MS: Final = 1e6


class ColumnEncoder:
    """Encodes blocks of columns; `spans` encodes what many spans have in common."""

    def __init__(self, spans: SpanEncoder) -> None:
        self._spans = spans

    def rows(self, block: Block) -> Rows:
        """Encode the records of a block, a row each.

        Raises OddCellsError, or whatever a broken column leads to: each span is then to be
        looked at alone.
        """
        shared, times = _Ids(block), _times(block)
        spans = map(self._span, block, [shared] * len(block), *times)
        return rows_of(chain.from_iterable(spans), len(block[0].span_id))

    def _span(
        self, column: Column, shared: "_Ids", start: Integer, duration: Integer
    ) -> Iterable[Part]:
        """Return the parts of Span structs."""
        checkpoint()
        links = column.links
        yield from shared.identity(column)
        yield _TEXT + text(column.name)
        yield _FLAGS_WITHOUT_REFERENCES if links is None else _references(links)
        yield from (_SAMPLED + _I64, *start, _I64, *duration)
        yield from self._tags(column)
        if links is not None and links.attributes:
            yield self._logs(column, links, start)
        yield _STOP

    def _tags(self, column: Column) -> Iterable[Part]:
        """Return the parts of the field of a span's tags, the common ones first."""
        kind = {} if column.kind is SpanKind.INTERNAL else {"span.kind": column.kind.value}
        more = len(column.own) + len(kind)
        common = [_list(self._spans.attributes(each), more) for each in column.common]
        yield chosen(common, column.which)
        for key, cells in column.own.items():
            yield from _tag(key, cells)
        yield from self._spans.attributes(kind)

    def _logs(self, column: Column, links: Links, start: Integer) -> Ragged:
        """Return the field of a span's logs: a Log for each link, with its attributes."""
        named = "event" in links.attributes
        event = self._spans.attributes({} if named else {"event": "link"})
        found = _log_structs(links, event, start)
        headers = [_LIST if some else _LOGS_WITHOUT_TAGS for some in _has_tags(column).tolist()]
        return ragged(
            [
                structs_header(header, last - first) + found[first:last].tobytes()
                if last > first
                else b""
                for header, (first, last) in zip(headers, _bounds(links), strict=True)
            ]
        )


class _Ids:
    """The ids of a block; its columns share the very arrays of a trace's and of its root's."""

    def __init__(self, block: Block) -> None:
        cells = {id(each): each for column in block for each in (column.span_id, column.parent_id)}
        self._spans = dict(zip(cells, ids(np.stack([*cells.values()])), strict=True))
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
    end_us = (np.stack([column.end_ns for column in block]) + 999) // 1000
    duration_us = np.maximum(end_us - start_us, 1)  # Jaeger v2 warns of 0
    return _each(integers(start_us), len(block)), _each(integers(duration_us), len(block))


def _each(encoded: Integer, count: int) -> Sequence[Integer]:
    """Return the integers of each of so many columns, which were encoded together."""
    differing, same = encoded
    if isinstance(differing, bytes):
        return [encoded] * count
    return [(each, same) for each in differing]


def _tag(key: str, cells: Cells) -> Sequence[Part]:
    """Return the parts of Tag structs."""
    head, kind = _TEXT + text(key), cells.dtype.kind
    if kind in "iu":
        return head + LONG, *integers(cells), _STOP
    if kind == "m":
        return head + DOUBLE, doubles(cells.astype(np.int64) / _NS_IN_MS), _STOP
    if kind == "S":
        return head + TEXT, *words(cells), _STOP
    raise OddCellsError(f"cells of {cells.dtype}")


def _list(tags: Sequence[bytes], more: int) -> bytes:
    """Begin the field of a span's tags with these, which `more` are to follow."""
    count = len(tags) + more
    return structs_header(_LIST, count) + b"".join(tags) if count else b""


def _has_tags(column: Column) -> Cells:
    always = bool(column.own) or column.kind is not SpanKind.INTERNAL
    return np.array([always or bool(each) for each in column.common])[column.which]


def _references(links: Links) -> Ragged:
    """Return the field of a span's references, and the header of its flags."""
    low, high = trace_ids(links.trace_id)
    parts: list[Solid] = [_FOLLOWS_FROM + _I64, low, _I64, high, _I64, ids(links.span_id), _STOP]
    references = rectangle(parts, len(links.span_id))
    return ragged(
        [
            structs_header(_LIST, last - first) + references[first:last].tobytes() + _FLAGS
            if last > first
            else _FLAGS_WITHOUT_REFERENCES
            for first, last in _bounds(links)
        ]
    )


def _log_structs(links: Links, event: Sequence[bytes], start: Integer) -> Text:
    """Return a Log struct for each link: at its span's start, with `event` and its attributes."""
    tags = [part for key, cells in links.attributes.items() for part in _tag(key, cells)]
    solid = [part for part in tags if not isinstance(part, Ragged)]
    if len(solid) < len(tags):
        raise OddCellsError("texts of different lengths in links")
    counts = np.diff(links.bounds)
    time = (part if isinstance(part, bytes) else np.repeat(part, counts, axis=0) for part in start)
    header = structs_header(_LIST, len(event) + len(links.attributes))
    return rectangle([_I64, *time, header, *event, *solid, _STOP], len(links.span_id))


def _bounds(links: Links) -> Iterable[tuple[int, int]]:
    return pairwise(links.bounds.tolist())
