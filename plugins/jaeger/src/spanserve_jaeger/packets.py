"""Spans to packets: each a whole `emitBatch` message of jaeger-idl's agent.thrift."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from spanserve import Column, Resource, Span, Spans, columns_of
from spanserve_jaeger.encode import REFERENCE_BYTES, Encoder
from spanserve_jaeger.encoding.rows import texts_of
from spanserve_jaeger.encoding.thrift import LIST, structs_header
from spanserve_jaeger.oversize import short_attributes, shorten, split_links
from spanserve_jaeger.packing import Packing
from spanserve_jaeger.records import Block, Records

# Protocol id 0x82, version 1 and type ONEWAY, sequence number 0; then the arguments' struct,
# whose field 1 is the Batch, whose field 1 is the Process.
_HEAD: Final = b"\x82\x81\x00\x09emitBatch\x1c\x1c"
_END: Final = b"\0\0"
# From 15 spans on, the header of their list is longer: so many more bytes hold any count.
_LONGER_HEADER_BYTES: Final = 3
# What the list of a span's references has before them, at most.
_REFERENCES_BYTES: Final = 8
_SHORTER: Final = (16_384, 4_096, 1_024, 256, 64)


class Piece(NamedTuple):
    """A part of a span that is too long for a packet.

    `origin` is the same in all pieces of a span, and `span` is what is still to be sent of it when
    neither this piece nor a later one of its origin went out.
    """

    origin: int
    span: Span
    data: bytes


class Packet(NamedTuple):
    """One datagram and what is in it: records, or the piece of a span."""

    payload: bytes
    records: Sequence[Records] = ()
    pieces: Sequence[Piece] = ()


@dataclass(frozen=True, slots=True)
class Encoded:
    """All packets of some spans; `rejected` more cannot be sent."""

    packets: Sequence[Packet]
    rejected: int = 0
    reason: str | None = None


class PacketEncoder:
    """Packs spans of one process into packets of at most `max_packet_bytes`, all counted.

    A span with more links than fit is continued in others; one that is too long otherwise
    has its texts cut, at last its events dropped.
    """

    def __init__(self, resource: Resource, *, max_packet_bytes: int = 65_000) -> None:
        self.max_packet_bytes = max_packet_bytes
        self._encoder = Encoder()
        self._head = _HEAD + self._process(resource, max_packet_bytes // 4)
        # The longest span that fits a packet alone: its list's header is then two bytes.
        self._room = max_packet_bytes - len(self._head) - 2 - len(_END)

    def encode(self, spans: Sequence[Span]) -> Encoded:
        """Encode the spans by whole records, those in columns first; one costs no other."""
        call = _Call(self._encoder, self._room)
        spans = Spans.joined([spans])
        for block in spans.blocks:
            call.add(block)
        call.add_all(spans.others)
        packets = [
            Packet(self._payload(load.spans, load.pieces), load.records)
            for load in call.finished().loads
        ]
        for origin, span in enumerate(call.too_long):
            try:
                pieces = [*self._pieces(origin, span)]
            except Exception as error:  # noqa: BLE001 - whatever a span holds, the others go out
                call.reject(1, error)
            else:
                packets += [Packet(self._payload(1, [each.data]), (), [each]) for each in pieces]
        return Encoded(packets, call.rejected, call.reason)

    def _pieces(self, origin: int, span: Span) -> Iterator[Piece]:
        left = self._fitting(span)
        while True:
            count = max(1, self._room_for_links(left) // REFERENCE_BYTES)
            if count >= len(left.links):
                yield Piece(origin, left, self._alone(left))
                return
            head, rest = split_links(left, count)
            yield Piece(origin, left, self._alone(head))
            left = rest

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
        reserve = _REFERENCES_BYTES + REFERENCE_BYTES if span.links else 0
        room = self._room - len(self._alone(span._replace(links=()))) - reserve
        return room + REFERENCE_BYTES if room >= 0 and span.links else room

    def _alone(self, span: Span) -> bytes:
        """Encode a span, without what its links say."""
        found = columns_of([span])
        if found.failure is not None:
            raise found.failure
        return texts_of(self._encoder.rows(found.columns, link_logs=False))[0]

    def _payload(self, spans: int, data: Iterable[bytes | memoryview]) -> bytes:
        return b"".join((self._head, structs_header(LIST, spans), *data, _END))

    def _process(self, resource: Resource, max_bytes: int) -> bytes:
        """The Process struct; a resource so long that spans had no room is cut."""
        process = self._encoder.process(resource)
        for max_chars in (1_024, 256, 64):
            if len(process) <= max_bytes:
                return process
            attributes = short_attributes(resource.attributes, max_chars)
            process = self._encoder.process(Resource(resource.service_name[:max_chars], attributes))
        if len(process) <= max_bytes:
            return process
        return self._encoder.process(Resource(resource.service_name[:64], {}))


class _Call:
    """The spans of one call: packed, or `too_long` for a packet, or `rejected`."""

    def __init__(self, encoder: Encoder, room: int) -> None:
        self._encoder = encoder
        self._packing = Packing(room - _LONGER_HEADER_BYTES)
        self.too_long: list[Span] = []
        self.rejected = 0
        self.reason: str | None = None

    def reject(self, spans: int, error: Exception | None) -> None:
        """Count spans that cannot be sent."""
        self.rejected += spans
        self.reason = f"a span cannot be encoded: {type(error).__name__}"

    def add(self, block: Block, *, link_logs: bool = True, is_tight: bool = False) -> None:
        """Add the records of a block; where it is broken, each of its spans.

        In a block that `is_tight` nothing is padded to what rows or links have in common.
        """
        try:
            too_long = self._packing.add(block, self._encoder.rows(block, link_logs=link_logs))
        except Exception as error:  # noqa: BLE001 - whatever a column holds, each span may do well
            if len(block) == len(block[0].span_id) == 1:
                self.reject(1, error)
                return
            self._add_rows(block)
            return
        for records in too_long:
            self._add_long(records.alone(), link_logs=link_logs, is_tight=is_tight)

    def add_all(self, spans: Sequence[Span]) -> None:
        """Add spans that are in no block."""
        found = columns_of(spans)
        for column in found.columns:
            self.add([column])
        if found.broken:
            self.reject(len(found.broken), found.failure)

    def finished(self) -> Packing:
        """Return the loads of all packets."""
        self._packing.finish()
        return self._packing

    def _add_rows(self, block: Block) -> None:
        """Add each span of a block by itself: in a column that is surely sound, or none."""
        for column in block:
            for row in range(len(column.span_id)):
                one: Column = column.part(row, row + 1)
                try:
                    found = columns_of([*one.spans()])
                except Exception as error:  # noqa: BLE001 - see above
                    self.reject(1, error)
                    continue
                if found.broken:
                    self.reject(1, found.failure)
                for each in found.columns:
                    self.add([each])

    def _add_long(self, block: Block, *, link_logs: bool, is_tight: bool) -> None:
        """Add a record that is too long for a packet: its spans, at last without what links say."""
        if len(block) > 1:
            for column in block:
                self.add([column])
        elif not is_tight:
            for column in columns_of([*block[0].spans()]).columns:
                self.add([column], is_tight=True)
        elif block[0].links is not None and link_logs:
            self.add(block, link_logs=False, is_tight=True)
        else:
            self.too_long += block[0].spans()
