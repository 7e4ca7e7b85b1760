"""Columns as Jaeger's Thrift: Apache's decoder reads what each of their spans says alone."""

import json
import socket
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanserve import Column, Links, Resource, Span, SpanKind, Spans, hookimpl
from spanserve.tracing.expansion.expand import Expander
from spanserve_jaeger.encoding.cells import ids, integers, trace_ids
from spanserve_jaeger.pace import Pace
from spanserve_jaeger.packets import Encoded, Packet, PacketEncoder
from spanserve_jaeger.udp import UdpSender
from support.columns import any_calls, calls
from support.gate import UNIX_NS, Sent, answered, begun, gate, queued, released, run
from support.thrift_sink import ThriftSink, decode_packet

RESOURCE = Resource("digits é", {"service.version": "1"})
ROWS = 3


class Silent:
    """A tracer that only takes: tracing is on."""

    @hookimpl
    def export_spans(self, spans: list[Span]) -> None:
        """Take them."""


def usual(requests: int, size: int = 32) -> Spans:
    """Return the spans of so many usual requests, in batches of this size."""
    tracing = gate(Silent())
    sent = Sent.of(tracing)
    for first in range(0, requests, size):
        records = [begun(tracing) for _ in range(min(size, requests - first))]
        for record in records:
            record.decode_started(tracing.now_ns())
            record.decode_ended(tracing.now_ns())
        run(tracing, released(tracing, [queued(tracing, record) for record in records]))
        for record in records:
            answered(tracing, record)
    return Spans(Expander(batch_spans="full", exceptions="full").blocks(sent, UNIX_NS))


def column_of(**fields: Any) -> Column:
    """Return a column of three spans."""
    rows = np.arange(1, ROWS + 1, dtype=np.uint64)
    whole = {
        "name": "run",
        "kind": SpanKind.INTERNAL,
        "trace_id": np.array([b"0af7651916cd43dd8448eb211c80319c"] * ROWS),
        "span_id": rows,
        "parent_id": rows + np.uint64(7),
        "start_ns": np.full(ROWS, UNIX_NS),
        "end_ns": np.full(ROWS, UNIX_NS) + np.arange(ROWS) * 10**6,
        "common": [{}],
        "which": np.zeros(ROWS, np.intp),
        "own": {},
    }
    return Column(**(whole | fields))


def linked(counts: Sequence[int]) -> Column:
    """Return a column whose spans have so many links."""
    total = sum(counts)
    places = np.arange(total)
    links = Links(
        np.concatenate(([0], np.cumsum(counts))),
        np.array([f"{place + 1:032x}".encode() for place in places], "S32"),
        (places + 1).astype(np.uint64) << np.uint64(40),
        {"position": places, "wait_ms": places.astype("timedelta64[ns]")},
    )
    return column_of(links=links, parent_id=np.zeros(ROWS, np.uint64))


def decoded(packets: Iterable[Packet]) -> list[dict[str, Any]]:
    return [span for packet in packets for span in decode_packet(packet.payload).spans]


def in_order(spans: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(spans, key=lambda span: (span["span_id"], json.dumps(span)))


def texts(spans: Iterable[dict[str, Any]]) -> list[str]:
    # NaN is a text there, and equals itself.
    return sorted(json.dumps(span, sort_keys=True) for span in spans)


def encoded(spans: Sequence[Span], *, max_packet_bytes: int = 65_000) -> Encoded:
    found = PacketEncoder(RESOURCE, max_packet_bytes=max_packet_bytes).encode(spans)
    assert (found.rejected, found.reason) == (0, None)
    assert all(len(packet.payload) <= max_packet_bytes for packet in found.packets)
    return found


def agrees(spans: Spans, *, max_packet_bytes: int = 65_000) -> Encoded:
    """Encode spans at once and each alone, and compare what they say, whatever their order."""
    found = encoded(spans, max_packet_bytes=max_packet_bytes)
    alone = [encoded([span], max_packet_bytes=max_packet_bytes) for span in spans]
    packets = [packet for each in alone for packet in each.packets]
    assert texts(decoded(found.packets)) == texts(decoded(packets))
    return found


def by_column(found: Encoded) -> bool:
    """Tell whether no span was too long for a packet."""
    return not any(packet.pieces for packet in found.packets)


@settings(max_examples=150, deadline=None)
@given(any_calls().filter(lambda spans: all(map(are_distinct, spans))))
def test_columns_say_what_each_of_their_spans_says_alone(spans: Spans) -> None:
    assert by_column(agrees(spans))


def are_distinct(span: Span) -> bool:
    """Tell whether no two keys become the same: the sink refuses a tag twice."""
    groups = [span.attributes, *(event.attributes for event in span.events)]
    groups += [link.attributes for link in span.links]
    texts = [[key.encode("utf-8", "replace") for key in group] for group in groups]
    return all(len(set(some)) == len(some) for some in texts) and "span.kind" not in groups[0]


@settings(max_examples=100, deadline=None)
@given(calls(fewest_links=0), st.sampled_from([400, 1_400, 9_216]))
def test_columns_say_it_in_packets_of_any_size(spans: Spans, max_packet_bytes: int) -> None:
    agrees(spans, max_packet_bytes=max_packet_bytes)


@pytest.mark.parametrize("size", [1, 3, 32])
def test_usual_requests_go_out_by_columns_and_by_whole_records(size: int) -> None:
    spans = usual(300, size)
    found = agrees(spans)
    assert by_column(found)
    traces = [{span["trace_id"] for span in decoded([packet])} for packet in found.packets]
    assert sum(map(len, traces)) == len(set().union(*traces))
    assert all(len(packet.payload) > 63_000 for packet in found.packets[:-1])


def test_spans_beside_the_columns_come_after_them() -> None:
    others = [*usual(2).blocks[0][0].spans()]
    found = encoded(Spans([[column_of()]], others))
    names = [span["name"] for span in decoded(found.packets)]
    assert names == ["run"] * ROWS + ["POST /predict"] * len(others)
    assert encoded(Spans([])).packets == []


def test_one_span_beside_the_columns_that_cannot_be_encoded_costs_no_other() -> None:
    [good, *_] = column_of().spans()
    found = PacketEncoder(RESOURCE).encode(Spans([[column_of()]], [good._replace(span_id="no")]))
    assert (found.rejected, len(decoded(found.packets))) == (1, ROWS)


@pytest.mark.parametrize(
    "odd",
    [
        {"own": {"n": np.array([1, 2, 1 << 63], np.uint64)}},
        {"own": {"x": np.array([1.5, 2.5, 3.5])}},
        {"own": {"b": np.array([True, False, True])}},
        {"trace_id": np.array([b"0" * 31 + b"1"] * ROWS, "S40")},
    ],
)
def test_what_is_odd_in_a_column_is_written_as_in_a_span(odd: dict[str, Any]) -> None:
    agrees(Spans([[column_of(), column_of(**odd)]]))


def test_a_bad_trace_id_in_a_column_costs_no_other_span() -> None:
    traces = np.array([b"a" * 32, b"g" * 32, b"b" * 32])
    found = PacketEncoder(RESOURCE).encode(Spans([[column_of(trace_id=traces)]]))
    assert (found.rejected, len(decoded(found.packets))) == (1, 2)


def test_links_are_references_and_their_attributes_logs() -> None:
    found = agrees(Spans([[linked([2, 0, 1]), column_of()]]))
    first = decoded(found.packets)[0]
    assert by_column(found)
    assert first["references"] == [
        {"type": "FOLLOWS_FROM", "trace_id": f"{n:032x}", "span_id": f"{n << 40:016x}"}
        for n in (1, 2)
    ]
    assert [log["fields"] for log in first["logs"]] == [
        {"event": "link", "position": n, "wait_ms": n / 1e6} for n in (0, 1)
    ]


@pytest.mark.parametrize("counts", [[1, 5_000, 2], [1_700, 1, 900]])
def test_links_that_do_not_fit_a_packet_go_the_way_of_single_spans(counts: list[int]) -> None:
    spans = Spans([[linked(counts)]])
    found = agrees(spans)
    assert sum(len(span["references"]) for span in decoded(found.packets)) == sum(counts)
    assert by_column(found) == (max(counts) < 1_800)


def test_a_text_that_is_too_long_for_a_packet_is_cut_and_costs_no_other_record() -> None:
    column = column_of(common=[{"x": "y" * 100_000}, {}], which=np.array([1, 0, 1]))
    found = agrees(Spans([[column, column_of()]]))
    assert sorted(len(span["tags"]) for span in decoded(found.packets)) == [0, 0, 0, 0, 0, 2]


def test_an_integer_is_filled_up_to_the_width_of_its_column() -> None:
    text, same = integers(np.array([5, 0, -3, 20_000]))
    assert not same
    assert np.asarray(text).tobytes().hex(" ", 3) == "8a8000 808000 858000 c0b802"
    text, same = integers(np.array([1_700_000_000_000_000, 1_700_000_000_000_001]))
    assert np.asarray(text).tobytes() == b"\x80\x82"
    assert same.hex() == "80f28183898506"
    assert integers(np.array([300, 300])) == (b"\xd8\x04", b"")


def test_an_id_takes_ten_bytes_and_has_the_bits_of_its_digits() -> None:
    numbers = np.array([1, 1 << 63, (1 << 64) - 1], np.uint64)
    assert [row.tobytes().hex() for row in ids(numbers)] == [
        "82808080808080808000",
        "ffffffffffffffffff01",
        "81808080808080808000",
    ]
    one = b"8000000000000000ffffffffffffffff"
    low, high = (np.asarray(each)[0].tobytes().hex() for each in trace_ids(np.array([one, one])))
    assert (low, high) == ("81808080808080808000", "ffffffffffffffffff01")
    assert trace_ids(np.array([one])) == (b"\x01", bytes.fromhex("ffffffffffffffffff01"))
    with pytest.raises(ValueError, match="32 hex digits"):
        trace_ids(np.array([b"1"]))


class Closing(Pace):
    """A pace that closes a receiver before the packet of that index."""

    def __init__(self, receiver: socket.socket, index: int) -> None:
        super().__init__(sleep=lambda _: None)
        self._receiver = receiver
        self._index = index
        self.received: list[bytes] = []

    def wait(self) -> None:
        """Take what arrived, and perhaps close."""
        if self._index:
            self._index -= 1
            return
        self._receiver.setblocking(False)
        while (packet := self._next()) is not None:
            self.received.append(packet)
        self._receiver.close()
        self._index = -1

    def _next(self) -> bytes | None:
        try:
            return self._receiver.recv(1 << 17)
        except OSError:
            return None


def udp_receiver() -> socket.socket:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    return receiver


@pytest.mark.parametrize("index", [0, 1, 2])
def test_exactly_what_did_not_go_out_is_to_be_sent_again(index: int) -> None:
    spans = usual(1_000)
    others = [span._replace(span_id=f"{n + 1:016x}") for n, span in enumerate(usual(5))]
    spans = Spans(spans.blocks, others)
    receiver = udp_receiver()
    port = receiver.getsockname()[1]
    pace = Closing(receiver, index)
    sender = UdpSender("127.0.0.1", port, RESOURCE, pace=pace)
    result = sender.export(spans)
    first = list(chain.from_iterable(decode_packet(packet).spans for packet in pace.received))
    assert len(pace.received) == index
    assert (result.unconfirmed, len(result.retry)) == (len(first), len(spans) - len(first))
    with ThriftSink(port=port) as sink:
        again = sender.export(result.retry)
        assert (again.unconfirmed, again.retry) == (len(result.retry), ())
        rest = sink.wait_for_spans(len(result.retry))
    sender.close()
    expected = decoded(PacketEncoder(RESOURCE).encode([*spans]).packets)
    assert in_order([*first, *rest]) == in_order(expected)
    assert {(span.trace_id, span.span_id) for span in result.retry} == {
        (span["trace_id"], span["span_id"]) for span in rest
    }


def test_records_that_the_system_refuses_in_one_packet_are_sent_in_smaller_ones() -> None:
    spans = usual(500)
    with ThriftSink() as sink:
        # No IPv4 datagram holds more than 65,507 bytes.
        sender = UdpSender(sink.host, sink.port, RESOURCE, max_packet_bytes=100_000)
        result = sender.export(spans)
        found = sink.wait_for_spans(len(spans))
        sender.close()
    assert (result.unconfirmed, result.retry) == (len(spans), ())
    assert in_order(found) == in_order(decoded(encoded([*spans]).packets))
