"""A strict Jaeger agent: a UDP socket whose packets Apache's `thrift` package reads.

Strict means what a receiver would refuse, or silently lose, is a violation: an unknown field,
a wrong type, a missing required field, bytes left over, a packet over 65,000 bytes.
"""

import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TMessageType, TType
from thrift.transport.TTransport import TMemoryBuffer

MAX_PACKET_BYTES: Final = 65_000
TAG_TYPES: Final = ("vStr", "vDouble", "vBool", "vLong", "vBinary")


class BadPacketError(Exception):
    """A packet that breaks the protocol or the schema."""


class Field(NamedTuple):
    """A field of a struct: its name, Thrift type, what its elements or fields are."""

    name: str
    ttype: int
    of: "Mapping[int, Field] | None" = None
    required: bool = True


def _list(name: str, of: Mapping[int, Field], *, required: bool = False) -> Field:
    return Field(name, TType.LIST, of, required)


TAG: Final = {
    1: Field("key", TType.STRING),
    2: Field("vType", TType.I32),
    3: Field("vStr", TType.STRING, required=False),
    4: Field("vDouble", TType.DOUBLE, required=False),
    5: Field("vBool", TType.BOOL, required=False),
    6: Field("vLong", TType.I64, required=False),
    7: Field("vBinary", TType.STRING, required=False),
}
LOG: Final = {1: Field("timestamp", TType.I64), 2: _list("fields", TAG, required=True)}
SPAN_REF: Final = {
    1: Field("refType", TType.I32),
    2: Field("traceIdLow", TType.I64),
    3: Field("traceIdHigh", TType.I64),
    4: Field("spanId", TType.I64),
}
SPAN: Final = {
    1: Field("traceIdLow", TType.I64),
    2: Field("traceIdHigh", TType.I64),
    3: Field("spanId", TType.I64),
    4: Field("parentSpanId", TType.I64),
    5: Field("operationName", TType.STRING),
    6: _list("references", SPAN_REF),
    7: Field("flags", TType.I32),
    8: Field("startTime", TType.I64),
    9: Field("duration", TType.I64),
    10: _list("tags", TAG),
    11: _list("logs", LOG),
}
PROCESS: Final = {1: Field("serviceName", TType.STRING), 2: _list("tags", TAG)}
BATCH: Final = {
    1: Field("process", TType.STRUCT, PROCESS),
    2: _list("spans", SPAN, required=True),
    3: Field("seqNo", TType.I64, required=False),
}
ARGUMENTS: Final = {1: Field("batch", TType.STRUCT, BATCH)}


@dataclass(frozen=True)
class Batch:
    """One packet: the process's name and tags, and its spans as plain values."""

    service_name: str
    process_tags: dict[str, Any]
    spans: list[dict[str, Any]]


def decode_packet(packet: bytes) -> Batch:
    """Read one `emitBatch` message; BadPacketError: a receiver would not take it.

    A span is a dict with trace_id, span_id, parent_id (None at a root), name, references
    (dicts with type, trace_id, span_id), flags, start_us, duration_us, tags (a dict, its
    values typed) and logs (dicts with time_us and fields).
    """
    if len(packet) > MAX_PACKET_BYTES:
        raise BadPacketError(f"a packet of {len(packet)} bytes")
    buffer = TMemoryBuffer(packet)
    protocol = TCompactProtocol(buffer)
    try:
        message = protocol.readMessageBegin()
        if message != ("emitBatch", TMessageType.ONEWAY, 0):
            raise BadPacketError(f"not a message for emitBatch: {message}")
        batch = _read_struct(protocol, ARGUMENTS)["batch"]
        protocol.readMessageEnd()
    except (EOFError, UnicodeDecodeError) as error:
        raise BadPacketError(f"unreadable: {error!r}") from error
    left = len(packet) - buffer._buffer.tell()  # noqa: SLF001 - thrift tells no other way
    if left:
        raise BadPacketError(f"{left} bytes left over")
    process = batch["process"]
    return Batch(
        process["serviceName"],
        _tags(process.get("tags", [])),
        [_span(span) for span in batch["spans"]],
    )


def _read_struct(protocol: Any, fields: Mapping[int, Field]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    protocol.readStructBegin()
    while True:
        _, ttype, number = protocol.readFieldBegin()
        if ttype == TType.STOP:
            break
        field = fields.get(number)
        if field is None or field.ttype != ttype or field.name in found:
            raise BadPacketError(
                f"field {number} of type {ttype} is not in {list(fields.values())}"
            )
        found[field.name] = _read(protocol, field)
        protocol.readFieldEnd()
    protocol.readStructEnd()
    missing = [f.name for f in fields.values() if f.required and f.name not in found]
    if missing:
        raise BadPacketError(f"missing: {missing}")
    return found


def _read(protocol: Any, field: Field) -> Any:
    if field.of is not None and field.ttype == TType.STRUCT:
        return _read_struct(protocol, field.of)
    if field.of is not None:
        element, count = protocol.readListBegin()
        if element != TType.STRUCT:
            raise BadPacketError(f"{field.name} is a list of type {element}")
        items = [_read_struct(protocol, field.of) for _ in range(count)]
        protocol.readListEnd()
        return items
    readers: dict[int, Callable[[], Any]] = {
        TType.STRING: protocol.readBinary if field.name == "vBinary" else protocol.readString,
        TType.I32: protocol.readI32,
        TType.I64: protocol.readI64,
        TType.DOUBLE: protocol.readDouble,
        TType.BOOL: protocol.readBool,
    }
    return readers[field.ttype]()


def _span(span: dict[str, Any]) -> dict[str, Any]:
    parent = _hex(span["parentSpanId"])
    # A duration of 0 is tagged by Jaeger v2 as if it were negative.
    if span["duration"] < 1 or span["startTime"] < 0:
        raise BadPacketError(f"negative times, or no duration: {span}")
    return {
        "trace_id": _hex(span["traceIdHigh"]) + _hex(span["traceIdLow"]),
        "span_id": _hex(span["spanId"]),
        "parent_id": None if parent == "0" * 16 else parent,
        "name": span["operationName"],
        "references": [_reference(reference) for reference in span.get("references", [])],
        "flags": span["flags"],
        "start_us": span["startTime"],
        "duration_us": span["duration"],
        "tags": _tags(span.get("tags", [])),
        "logs": [
            {"time_us": log["timestamp"], "fields": _tags(log["fields"])}
            for log in span.get("logs", [])
        ],
    }


def _reference(reference: dict[str, Any]) -> dict[str, str]:
    if reference["refType"] not in {0, 1}:
        raise BadPacketError(f"unknown reference: {reference}")
    return {
        "type": ("CHILD_OF", "FOLLOWS_FROM")[reference["refType"]],
        "trace_id": _hex(reference["traceIdHigh"]) + _hex(reference["traceIdLow"]),
        "span_id": _hex(reference["spanId"]),
    }


def _tags(tags: list[dict[str, Any]]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for tag in tags:
        values = set(tag) - {"key", "vType"}
        if not 0 <= tag["vType"] < len(TAG_TYPES) or values != {TAG_TYPES[tag["vType"]]}:
            raise BadPacketError(f"the type of a tag and its value differ: {tag}")
        if tag["key"] in plain:
            raise BadPacketError(f"a tag twice: {tag}")
        plain[tag["key"]] = tag[values.pop()]
    return plain


def _hex(number: int) -> str:
    return f"{number & (1 << 64) - 1:016x}"


class ThriftSink:
    """A strict agent on a port of its own; a context manager.

    `spans`, `batches`, `packets` and `violations` grow while packets come in.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 25)
        self._socket.bind((host, port))
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._receive, name="thrift-sink", daemon=True)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self.packets: list[bytes] = []
        self.batches: list[Batch] = []
        self.violations: list[str] = []

    @property
    def spans(self) -> list[dict[str, Any]]:
        """All spans that came so far, in their order."""
        with self._changed:
            return [span for batch in self.batches for span in batch.spans]

    def wait_for_spans(self, count: int, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """Wait until this many spans came; AssertionError: they did not, or one was bad."""
        with self._changed:
            came = self._changed.wait_for(
                lambda: self.violations or sum(len(b.spans) for b in self.batches) >= count,
                timeout_s,
            )
        assert not self.violations, self.violations
        assert came, f"{len(self.spans)} of {count} spans came within {timeout_s} s"
        return self.spans

    def close(self) -> None:
        """Stop receiving, after what has already arrived."""
        self._stopping = True
        with socket.socket(self._socket.family, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", (self.host, self.port))
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _receive(self) -> None:
        while True:
            packet = self._socket.recv(1 << 17)
            if self._stopping and not packet:
                return
            self._take(packet)

    def _take(self, packet: bytes) -> None:
        batch = violation = None
        try:
            batch = decode_packet(packet)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a packet is a finding
            violation = f"{type(error).__name__}: {error}"
        with self._changed:
            self.packets.append(packet)
            if batch is not None:
                self.batches.append(batch)
            if violation is not None:
                self.violations.append(violation)
            self._changed.notify_all()
