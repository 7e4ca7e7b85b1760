"""Packets over UDP to a Jaeger that listens for Thrift: nothing blocks, nobody answers.

The only hint that nobody listens is the ICMP error that the system keeps for a connected
socket. Within one machine it is there as soon as a packet was sent, so the spans of that
packet are handed back to be sent again; from far away it comes too late to tell whose.
"""

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from spanserve import ExportResult, Resource, Span, Spans, checkpoint
from spanserve_jaeger.pace import Pace
from spanserve_jaeger.packets import Packet, PacketEncoder
from spanserve_jaeger.records import joined

_LIMITS: Final = (65_000, 9_216, 1_400)
_FULL: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})
_FULL_RETRY_AFTER_S: Final = 0.05
RESOLVED_FOR_S: Final = 30.0
"""For how long what a name led to is believed."""
_RESOLVING_S: Final = 30.0
"""How long a resolver may take that asks several servers in vain."""
_SEND_BUFFER_BYTES: Final = 1 << 20


class UdpSender:
    """Sends spans to `address`:`port`, an IP address or a name; IPv4 is tried first.

    Makes no socket before the first export, so it may be built before a fork. `resolve` takes
    and gives what `socket.getaddrinfo` does.
    `max_packet_bytes` is lowered by itself where the system refuses packets of that size.
    """

    def __init__(
        self,
        address: str,
        port: int,
        resource: Resource,
        *,
        max_packet_bytes: int = 65_000,
        resolve: Callable[..., Sequence[Any]] = socket.getaddrinfo,
        pace: Pace | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._port = port
        self._resource = resource
        self._resolve = resolve
        self._encoder = PacketEncoder(resource, max_packet_bytes=max_packet_bytes)
        self._pace = pace or Pace()
        self._clock_s = clock_s
        self._socket: socket.socket | None = None
        self._resolved_s = 0.0

    def export(self, spans: Sequence[Span]) -> ExportResult:
        """Send the spans; those that surely did not go out are in `retry`. Never raises OSError."""
        self._look_up_again()
        left = spans
        unconfirmed = rejected = 0
        reason = None
        while True:
            encoded = self._encoder.encode(left)
            sent, error = self._send_all(encoded.packets)
            rest = _not_sent(encoded.packets[sent:])
            unconfirmed += len(left) - encoded.rejected - len(rest)
            rejected += encoded.rejected
            reason = encoded.reason or reason
            if error is None or error.errno != errno.EMSGSIZE:
                return self._result(unconfirmed, rejected, rest, error, reason)
            if not self._lower_limit():
                return self._result(unconfirmed, rejected + len(rest), (), error, reason)
            left = rest

    def close(self) -> None:
        """Close the socket; the next export opens another, of what the name then means."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _look_up_again(self) -> None:
        """Close the socket, now and then, where the name has another address by now.

        Nobody answers where it led before, so that nothing else would ever say so.
        """
        if self._socket is None or self._clock_s() - self._resolved_s < RESOLVED_FOR_S:
            return
        try:
            addresses = {address[:2] for *_, address in self._resolved()}
        except OSError:  # who cannot be asked now has not said that the address is another
            return
        if self._socket.getpeername()[:2] not in addresses:
            self.close()

    def _resolved(self) -> Sequence[Any]:
        checkpoint(_RESOLVING_S)
        self._resolved_s = self._clock_s()
        return self._resolve(self._address, self._port, type=socket.SOCK_DGRAM)

    def _result(
        self,
        unconfirmed: int,
        rejected: int,
        retry: Sequence[Span],
        error: OSError | None,
        reason: str | None,
    ) -> ExportResult:
        full = error is not None and error.errno in _FULL
        return ExportResult(
            unconfirmed=unconfirmed,
            rejected=rejected,
            retry=retry,
            retry_after_s=_FULL_RETRY_AFTER_S if full else None,
            reason=reason if error is None else self._reason(error),
        )

    def _reason(self, error: OSError) -> str:
        target = udp_url(self._address, self._port)
        if error.errno == errno.ECONNREFUSED:
            return f"nobody listens at {target} (connection refused)"
        if error.errno in _FULL:
            return f"the socket to {target} is full"
        return f"cannot send to {target}: {error.strerror or error}"

    def _send_all(self, packets: Sequence[Packet]) -> tuple[int, OSError | None]:
        """Send until one fails: how many went out, and why no more."""
        self._pace.begin(sum(len(packet.payload) for packet in packets))
        for index, packet in enumerate(packets):
            self._pace.wait()
            error = self._send(packet.payload)
            if error is not None:
                return index, error
            self._pace.sent(len(packet.payload))
        return len(packets), None

    def _send(self, payload: bytes) -> OSError | None:
        """Send one packet by the socket there is, else by the first address that takes it."""
        error: OSError | None = None
        if self._socket is not None and not _pending_error(self._socket):
            error = _try(self._socket, payload)
            if error is None or _is_for_good(error):
                return error
        self.close()
        try:
            for candidate in self._connected():
                error = _try(candidate, payload)
                if error is None or _is_for_good(error):
                    self._socket = candidate
                    return error
                candidate.close()
        except OSError as failure:
            return failure
        return error

    def _connected(self) -> Iterator[socket.socket]:
        """A socket for each address of the name, IPv4 first; the last address's error is raised."""
        answers = self._resolved()
        found = sorted(answers, key=lambda entry: entry[0] != socket.AF_INET)
        for index, (family, kind, protocol, _, address) in enumerate(found):
            try:
                yield _open(family, kind, protocol, address)
            except OSError:
                if index + 1 == len(found):
                    raise

    def _lower_limit(self) -> bool:
        """Encode for shorter packets from now on; False: they are the shortest already."""
        lower = [limit for limit in _LIMITS if limit < self._encoder.max_packet_bytes]
        if lower:
            self._encoder = PacketEncoder(self._resource, max_packet_bytes=lower[0])
        return bool(lower)


def udp_url(address: str, port: int) -> str:
    """The target as a URL; an IPv6 address stands in brackets."""
    return f"udp://[{address}]:{port}" if ":" in address else f"udp://{address}:{port}"


def _not_sent(packets: Sequence[Packet]) -> Sequence[Span]:
    """What is still to be sent: records, and of longer spans what their first unsent pieces say."""
    left: dict[int, Span] = {}
    for packet in packets:
        for piece in packet.pieces:
            left.setdefault(piece.origin, piece.span)
    records = joined(records for packet in packets for records in packet.records)
    if not records:
        return tuple(left.values())
    return Spans([each.alone() for each in records], tuple(left.values()))


def _open(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setblocking(False)
        # A system may refuse the size; the default then serves.
        with suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        opened.connect(address)
    except OSError:
        opened.close()
        raise
    return opened


def _try(opened: socket.socket, payload: bytes) -> OSError | None:
    try:
        opened.send(payload)
    except OSError as error:
        return error
    return _pending_error(opened)


def _pending_error(opened: socket.socket) -> OSError | None:
    """Take the error that the system keeps for this socket, if any: reading it clears it."""
    code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(code, os.strerror(code)) if code else None


def _is_for_good(error: OSError) -> bool:
    """Whether another socket would meet the same error."""
    return error.errno in _FULL or error.errno == errno.EMSGSIZE
