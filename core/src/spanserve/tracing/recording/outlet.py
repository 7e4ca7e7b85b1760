"""A place in a record where code runs, and what that needs of the gate."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from spanserve.tracing.model.span import Attributes
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.custom import CustomSpan


class Late(Protocol):
    """Where spans of records go that have left."""

    def began(self, record: Record, span: CustomSpan) -> None:
        """Take a span that begins in one, or make it stand for its parent."""

    def ended(self, span: CustomSpan) -> None:
        """Let a span go that ended in one."""


class Outlet(Protocol):
    """What a scope needs of the gate."""

    @property
    def late(self) -> Late:
        """Return where late spans go."""

    def now_ns(self) -> int:
        """Return the monotonic clock."""

    def headers_for(self, record: Record, span_id: str) -> dict[str, str]:
        """Return the headers that continue this span's trace elsewhere."""

    def baggage_of(self, record: Record) -> Sequence[bytes]:
        """Return what the caller of a request sent along, unread."""


class Scope(NamedTuple):
    """A place in a record, and the gate that the record came through."""

    outlet: Outlet
    record: Record
    place: int
    custom: CustomSpan | None = None
    """The span that it is inside of, where that is one of the user's code."""

    outer: "Scope | None" = None

    def opened(
        self, name: str, now_ns: int, attributes: Attributes, place: int | None = None
    ) -> "Scope":
        """Open a custom span here, at a place of its own; return the scope inside it."""
        record = self.record
        custom = record.custom_started(name, self.place, now_ns, attributes, place)
        if record.left_ns:
            self.outlet.late.began(record, custom)
        return Scope(self.outlet, record, custom.place, custom, self)

    def closed(self, custom: CustomSpan, now_ns: int) -> None:
        """End a custom span that was opened here."""
        self.record.custom_ended(custom, now_ns)
        if self.record.left_ns:
            self.outlet.late.ended(custom)

    @property
    def resumed(self) -> "Scope":
        """Return this scope, or the one around it if its span ended under another, and so on."""
        scope = self
        while scope.custom is not None and scope.custom.ended_under and scope.outer is not None:
            scope = scope.outer
        return scope
