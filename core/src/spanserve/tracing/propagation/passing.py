"""A request that is not traced here: its caller's context goes on to others as it came."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from spanserve.tracing.propagation import baggage
from spanserve.tracing.recording.base import Record


class Sender(Protocol):
    """What is known of a request that has no record."""

    request_id: str

    def header_fields(self) -> Iterable[tuple[bytes, bytes]]:
        """Return its headers."""


class PassingRecord(Record):
    """Stands for the record that a request has not: nothing is written down in it."""

    trace_id = ""
    root_id = 0
    recording = sampled = False
    passes = True

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    @property
    def request_id(self) -> str:
        """The request's own id."""
        return self._sender.request_id

    @property
    def baggage(self) -> Sequence[bytes]:  # type: ignore[override]  # read when it is asked for
        """The values of its headers of this name."""
        return baggage.sent(self.headers())

    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        """Return the request's headers."""
        return self._sender.header_fields()
