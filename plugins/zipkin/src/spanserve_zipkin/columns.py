"""Columns of spans as Zipkin's JSON: every span of a column is a row of one width.

What is the same for all is copied into all rows at once, and what differs is written field by
field, each by a few calls of NumPy for all rows. JSON's blanks make up for different lengths.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np

from spanserve import Column, Links, SpanKind, Spans, breathe, hex_digits
from spanserve_zipkin.cells import (
    Cells,
    Text,
    digits,
    fixed,
    from_texts,
    milliseconds,
    quoted_digits,
    quoted_milliseconds,
    quoted_text,
)
from spanserve_zipkin.encode import ERROR_TAG, LINK_TAG, LINKED_TRACES_TAG, Encoder, utf8
from spanserve_zipkin.text import quote

_PORT: Final = "network.peer.port"
_TAGS: Final = b',"tags":{'
_OPEN, _CLOSE = b"[]"

Parts: TypeAlias = Sequence[bytes | Text]
"""The pieces of a row, from left to right: the same for all rows, or a text for each."""


def body_of_columns(spans: Spans, encoder: Encoder) -> bytearray | None:
    """Return the body of a post with all spans; None where that takes a look at each of them.

    They say what `encoder` has each of them say, and it writes what many have in common.
    """
    others = encoder.encode(spans.others)
    if others.rejected:
        return None
    columns = [column for block in spans.blocks for column in block]
    try:
        values = _Values(columns)
        pieces = [_encoded(each, encoder, values) for each in columns]
    except OddColumnError:
        return None
    return _joined([*pieces, utf8("".join(others.pieces))])


def _joined(pieces: "Sequence[_Rows | bytes]") -> bytearray:
    """Return an array of JSON of its members, in pieces, each with a comma before it.

    Megabytes: so they are written at once where they shall stand, and not copied together.
    """
    body = bytearray(max(1, sum(map(len, pieces))) + 1)
    end = 0
    for piece in pieces:
        start, end = end, end + len(piece)
        if isinstance(piece, bytes):
            body[start:end] = piece
        else:
            breathe()
            piece.write(body, start)
    body[0], body[-1] = _OPEN, _CLOSE
    return body


class OddColumnError(Exception):
    """A column that cannot be written as one."""


class _Values:
    """The values of all columns of a call as text: all of a kind are written in one go.

    To call NumPy costs as much as what it then does for some hundred values.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        own = [cells for column in columns for cells in column.own.values()]
        lengths = [cells for cells in own if cells.dtype.kind == "m"]
        numbers = [cells for cells in own if cells.dtype.kind in "iu"]
        ids = [cells for each in columns for cells in (each.span_id, each.parent_id)]
        self.ids = _at_once(_hexadecimal, ids)
        self.own = {
            **_at_once(quoted_milliseconds, lengths),
            **_at_once(lambda cells: quoted_digits(cells.astype(np.int64)), numbers),
            **{id(cells): quoted_text(cells) for cells in own if cells.dtype.kind == "S"},
        }
        # Down for starts and up for ends: rounded children stay inside rounded parents.
        self.starts = _at_once(lambda ns: digits(ns // 1000), [each.start_ns for each in columns])
        self.durations = dict(zip(map(id, columns), self._durations(columns), strict=True))

    def _durations(self, columns: Sequence[Column]) -> list[Text]:
        if not columns:
            return []
        start_ns = np.concatenate([each.start_ns for each in columns])
        end_ns = np.concatenate([each.end_ns for each in columns])
        duration_us = np.maximum((end_ns + 999) // 1000 - start_ns // 1000, 1)  # 0 is unknown
        return np.split(digits(duration_us), _ends([each.end_ns for each in columns]))


def _at_once(write: Callable[[Cells], Text], several: Sequence[Cells]) -> dict[int, Text]:
    """Return the texts of some cells, by the identity of the cells."""
    distinct = {id(cells): cells for cells in several}
    if not distinct:
        return {}
    breathe()
    cells = list(distinct.values())
    return dict(zip(distinct, np.split(write(np.concatenate(cells)), _ends(cells)), strict=True))


def _ends(several: Sequence[Cells]) -> Cells:
    """Return where each of some cells ends, but the last, when they stand in a row."""
    return np.cumsum([len(cells) for cells in several])[:-1]


def _hexadecimal(ids: Cells) -> Text:
    return fixed(hex_digits(ids))


def _encoded(column: Column, encoder: Encoder, values: _Values) -> "_Rows | bytes":
    """Return a column's spans as JSON objects, a comma before each.

    Raises OddColumnError, for attributes that mean more to Zipkin than a tag among others.
    """
    breathe()
    _check(column)
    tags = _tags(column, encoder, values)
    parts = [*_head(column, encoder, values), *tags]
    if column.links is not None:
        parts += (b"," if tags else _TAGS), f'"{LINKED_TRACES_TAG}":"'.encode()
        return b"".join(_with_links(_text(parts, len(column.span_id)), column.links))
    if tags:
        parts.append(b"}")
    if column.kind is SpanKind.SERVER:
        parts += _remote(column, encoder)
    return _Rows([*parts, b"}"], len(column.span_id))


def _check(column: Column) -> None:
    keys = {*column.own, *(key for attributes in column.common for key in attributes)}
    if ERROR_TAG in keys or any(key.startswith(LINK_TAG) for key in keys):
        raise OddColumnError("a tag that means more")
    if column.links is not None and not np.diff(column.links.bounds).all():
        raise OddColumnError("a span without links among others")
    if column.kind is SpanKind.SERVER:
        if _PORT not in column.own:
            raise OddColumnError("a server span without its caller's port")
    elif np.count_nonzero(column.parent_id) not in {0, len(column.parent_id)}:
        raise OddColumnError("entries among others")


def _head(column: Column, encoder: Encoder, values: _Values) -> Parts:
    """Return the parts from a span's beginning to its duration."""
    return [
        b',{"traceId":"',
        fixed(column.trace_id),
        b'","id":"',
        values.ids[id(column.span_id)],
        b'",',
        *_parent(column.parent_id, values.ids[id(column.parent_id)]),
        encoder.kind_and_name(column.kind, column.name).encode(),
        values.starts[id(column.start_ns)],
        b',"duration":',
        values.durations[id(column)],
    ]


def _parent(parent_id: Cells, text: Text) -> Parts:
    if not parent_id.any():
        return ()
    before, after = b'"parentId":"', b'",'
    if parent_id.all():
        return before, text, after
    member = _text([before, text, after], len(parent_id))
    member[parent_id == 0] = ord(" ")
    return (member,)


def _tags(column: Column, encoder: Encoder, values: _Values) -> Parts:
    """Return a span's tags without the end of their object: its own, then the common ones."""
    own: list[bytes | Text] = []
    for key, cells in column.own.items():
        own += utf8(f"{',' if own else ''}{quote(key)}:"), values.own[id(cells)]
    is_entry = column.kind is SpanKind.SERVER or not column.parent_id.any()
    common = [utf8(encoder.tags(each, is_entry=is_entry)) for each in column.common]
    if not own and not any(common):
        return ()
    if not own and not all(common):
        raise OddColumnError("spans without tags among others")
    texts = [b"," + text if own and text else text for text in common]
    return [_TAGS, *own, _chosen(texts, column.which)]


_PLAIN: Final = {"i": digits, "u": digits, "m": milliseconds}


def _remote(column: Column, encoder: Encoder) -> Parts:
    """Return the member `remoteEndpoint`, with the caller's port."""
    remotes = [encoder.caller(each) for each in column.common]
    if not all(remotes):
        raise OddColumnError("a caller without an address")
    texts = [utf8(f'{remote[:-1]},"port":') for remote in remotes]
    return _chosen(texts, column.which), digits(column.own[_PORT]), b"}"


def _chosen(texts: Sequence[bytes], which: Cells) -> bytes | Text:
    """Return one of some texts for each row."""
    if len(texts) == 1:
        return texts[0]
    return from_texts(texts)[which]


def _with_links(start: Text, links: Links) -> Iterator[bytes]:
    """Return spans from their starts and their links, whose number differs."""
    tags = _link_tags(links)
    bounds = pairwise(links.bounds.tolist())
    for row, traces, (first, last) in zip(start, _linked_traces(links), bounds, strict=True):
        yield row.tobytes()
        yield traces
        yield b'"'
        yield tags[first:last].tobytes()
        yield b"}}"


def _linked_traces(links: Links) -> Iterator[bytes]:
    """Return the ids of the traces that the links of each span lead to, each id once."""
    # With spaces, for people: the web page breaks lines there, and each id can be copied.
    between = b", "
    bounds = pairwise(links.bounds.tolist())
    # Hexadecimal, of which the end is random: mostly that tells that no two are the same.
    ends = np.sort(fixed(links.trace_id)[:, -8:].copy().view(np.uint64)[:, 0])
    if (ends[1:] == ends[:-1]).any():
        ids = links.trace_id.tolist()
        return (between.join(dict.fromkeys(ids[first:last])) for first, last in bounds)
    rows = _text([fixed(links.trace_id), between], len(ends))
    return (rows[first:last].tobytes()[: -len(between)] for first, last in bounds)


def _link_tags(links: Links) -> Text:
    """Return a tag for each link, a comma before it, as the OpenTelemetry Collector has them."""
    counts = np.diff(links.bounds)
    number = np.arange(len(links.span_id)) - np.repeat(links.bounds[:-1], counts)
    keys = [f',"{LINK_TAG}{each}":"'.encode() for each in range(int(counts.max()))]
    attributes: list[bytes | Text] = []
    for key, cells in links.attributes.items():
        text = quote(f"{',' if attributes else ''}{quote(key)}:")[1:-1]
        attributes += utf8(text), _PLAIN[cells.dtype.kind](cells)
    parts = [
        from_texts(keys)[number],
        fixed(links.trace_id),
        b"|",
        _hexadecimal(links.span_id),
        b"||{",
        *attributes,
        b'}|0"',
    ]
    return _text(parts, len(number))


class _Rows:
    """Rows of one width: what is the same in all, and what is not."""

    def __init__(self, parts: Parts, count: int) -> None:
        self._parts = parts
        self._widths = [len(part) if isinstance(part, bytes) else part.shape[1] for part in parts]
        self.shape = count, sum(self._widths)

    def __len__(self) -> int:
        """How many bytes they are."""
        count, width = self.shape
        return count * width

    def write(self, body: bytearray, start: int) -> None:
        """Write all rows, one after the other, from this place of a body on."""
        count, width = self.shape
        template = b"".join(
            part if isinstance(part, bytes) else bytes(width)
            for part, width in zip(self._parts, self._widths, strict=True)
        )
        rows = np.ndarray(self.shape, np.uint8, body, start)
        rows[:] = np.frombuffer(template, np.uint8)
        for part, each in zip(self._parts, self._widths, strict=True):
            if each and not isinstance(part, bytes):
                # A part is one value of so many bytes: quicker by a third than a byte each.
                kind = f"V{each}"
                np.ndarray((count,), kind, body, start, (width,))[:] = part.view(kind)[:, 0]
            start += each


def _text(parts: Parts, count: int) -> Text:
    """Return the rows of such parts."""
    rows = _Rows(parts, count)
    text = bytearray(len(rows))
    rows.write(text, 0)
    return np.frombuffer(text, np.uint8).reshape(rows.shape)
