"""Spans to packets: each a whole `emitBatch` message of jaeger-idl's agent.thrift."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Final, NamedTuple

from spanserve import Resource, Span, Spans
from spanserve_jaeger.columns import ColumnEncoder
from spanserve_jaeger.encode import SpanEncoder
from spanserve_jaeger.oversize import short_attributes, shorten, split_links
from spanserve_jaeger.packing import Packing
from spanserve_jaeger.records import Block, Records, joined
from spanserve_jaeger.thrift import structs_header

# Protocol id 0x82, version 1 and type ONEWAY, sequence number 0; then the arguments' struct,
# whose field 1 is the Batch, whose field 1 is the Process.
_HEAD: Final = b"\x82\x81\x00\x09emitBatch\x1c\x1c"
_SPANS_FIELD: Final = 0x19
_END: Final = b"\0\0"
# From 15 spans on, the header of their list is longer: so many more bytes hold any count.
_LONGER_HEADER_BYTES: Final = 3
_SHORTER: Final = (16_384, 4_096, 1_024, 256, 64)


class Piece(NamedTuple):
    """A span, or the part of one that fits a packet.

    `origin` is the index of the span it comes from. `span` is what is still to be sent when
    neither this piece nor a later one of the same origin went out.
    """

    origin: int
    span: Span
    data: bytes


# Half of what a call of the class costs, for the piece of nearly every span.
_whole: Final = partial(tuple.__new__, Piece)


class Packet(NamedTuple):
    """One datagram and what is in it: pieces of spans, or records."""

    payload: bytes
    pieces: Sequence[Piece] = ()
    records: Sequence[Records] = ()


@dataclass(frozen=True, slots=True)
class Encoded:
    """All packets of some spans; `rejected` are the origins of those that cannot be sent.

    An origin is the index among the spans that were looked at one by one: all of a plain sequence.
    """

    packets: Sequence[Packet]
    rejected: Sequence[int]
    reason: str | None = None


class PacketEncoder:
    """Packs spans of one process into packets of at most `max_packet_bytes`, all counted.

    A span with more links than fit is continued in others; one that is too long otherwise
    has its texts cut, at last its events dropped.
    """

    def __init__(self, resource: Resource, *, max_packet_bytes: int = 65_000) -> None:
        self.max_packet_bytes = max_packet_bytes
        self._spans = SpanEncoder()
        self._columns = ColumnEncoder(self._spans)
        self._head = _HEAD + self._process(resource, max_packet_bytes // 4)
        # The longest span that fits a packet alone: its list's header is then two bytes.
        self._room = max_packet_bytes - len(self._head) - 2 - len(_END)

    def encode(self, spans: Sequence[Span]) -> Encoded:
        """Encode the spans; one that cannot be encoded costs no other.

        Those of a plain sequence keep their order. Columns come first, by whole records; a
        block or a record that does not fit the columns' way is looked at span by span.
        """
        if not isinstance(spans, Spans):
            return self._encode_each(spans)
        packing = Packing(self._room - _LONGER_HEADER_BYTES)
        others = [span for block in spans.blocks for span in self._left_over(block, packing)]
        packing.finish()
        packets = [
            Packet(self._payload(load.spans, load.pieces), records=load.records)
            for load in packing.loads
        ]
        rest = self._encode_each([*others, *spans.others])
        return replace(rest, packets=[*packets, *rest.packets])

    def _left_over(self, block: Block, packing: Packing) -> Sequence[Span]:
        """Add a block to the packing, and return the spans that it cannot take."""
        try:
            too_long = packing.add(block, self._columns.rows(block))
        except Exception:  # noqa: BLE001 - whatever a column holds, each span may do well alone
            return Spans([block])
        return Spans([records.alone() for records in joined(too_long)])

    def _encode_each(self, spans: Sequence[Span]) -> Encoded:
        pieces: list[Piece] = []
        rejected: list[int] = []
        reason = None
        encode, room = self._spans.span, self._room
        for origin, span in enumerate(spans):
            try:
                data = self._with_links(span) if span.links else encode(span, link_logs=False)
                if len(data) <= room:
                    pieces.append(_whole((origin, span, data)))
                else:
                    pieces += self._parts(origin, span)
            except Exception as error:  # noqa: BLE001 - whatever a span holds, the others go out
                rejected.append(origin)
                reason = f"a span cannot be encoded: {type(error).__name__}"
        return Encoded([self._packet(chunk) for chunk in self._chunks(pieces)], rejected, reason)

    def _with_links(self, span: Span) -> bytes:
        """The span with all its links, and with their attributes if these fit."""
        references = [self._spans.reference(link) for link in span.links]
        data = self._spans.span(span, references, link_logs=True)
        if len(data) > self._room:
            data = self._spans.span(span, references, link_logs=False)
        return data

    def _parts(self, origin: int, span: Span) -> Iterator[Piece]:
        left = self._fitting(span)
        while True:
            count = self._links_that_fit(left)
            if count >= len(left.links):
                yield self._piece(origin, left, left)
                return
            head, rest = split_links(left, count)
            yield self._piece(origin, left, head)
            left = rest

    def _piece(self, origin: int, left: Span, part: Span) -> Piece:
        references = [self._spans.reference(link) for link in part.links]
        return Piece(origin, left, self._spans.span(part, references, link_logs=False))

    def _fitting(self, span: Span) -> Span:
        """Cut the span until it has room for some links at least; ValueError if it never has."""
        if self._room_for_links(span) >= 0:
            return span
        for max_chars in _SHORTER:
            short = shorten(span, max_chars)
            if self._room_for_links(short) >= 0:
                return short
        short = short._replace(events=())
        if self._room_for_links(short) >= 0:
            return short
        raise ValueError("too long for a packet")

    def _room_for_links(self, span: Span) -> int:
        """How many bytes of references fit beside the span (negative: not even the span)."""
        # 64 bytes: the header of the references' list, and one reference, which takes 36 at most.
        reserve = 64 if span.links else 0
        return (
            self._room - reserve - len(self._spans.span(span._replace(links=()), link_logs=False))
        )

    def _links_that_fit(self, span: Span) -> int:
        room = self._room_for_links(span)
        lengths = accumulate(len(self._spans.reference(link)) for link in span.links)
        return max(1, sum(1 for length in lengths if length <= room))

    def _chunks(self, pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
        chunk: list[Piece] = []
        free = self._room
        for piece in pieces:
            free -= len(piece.data)
            if free < _LONGER_HEADER_BYTES and chunk:
                yield chunk
                chunk, free = [], self._room - len(piece.data)
            chunk.append(piece)
        if chunk:
            yield chunk

    def _packet(self, pieces: Sequence[Piece]) -> Packet:
        return Packet(self._payload(len(pieces), (piece.data for piece in pieces)), pieces)

    def _payload(self, spans: int, data: Iterable[bytes | memoryview]) -> bytes:
        return b"".join((self._head, structs_header(_SPANS_FIELD, spans), *data, _END))

    def _process(self, resource: Resource, max_bytes: int) -> bytes:
        """The Process struct; a resource so long that spans had no room is cut."""
        process = self._spans.process(resource)
        for max_chars in (1_024, 256, 64):
            if len(process) <= max_bytes:
                return process
            attributes = short_attributes(resource.attributes, max_chars)
            process = self._spans.process(Resource(resource.service_name[:max_chars], attributes))
        if len(process) <= max_bytes:
            return process
        return self._spans.process(Resource(resource.service_name[:64], {}))
