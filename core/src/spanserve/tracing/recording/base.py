"""What every record has in common: a trace, custom spans in it, and places where code runs."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from spanserve.tracing.model.ids import FIRST_CUSTOM, derived_id
from spanserve.tracing.model.span import NO_ATTRIBUTES, Attributes
from spanserve.tracing.recording.custom import CustomSpan

MAX_CUSTOM_SPANS: Final = 1_000
CUSTOMS: Final = threading.Lock()
"""Held where threads that open and end custom spans meet the loop, that lets their record leave."""


class Record:
    """What a request's and a batch's record have in common: a trace, and custom spans in it.

    Defaults stand on the class and not in `__slots__`: a record is made for every request,
    and so it is born with what is known then and nothing else.
    """

    trace_id: str
    root_id: int
    recording: bool
    """Whether this record will be expanded: only then is anything written into it."""

    sampled: bool
    """The decision that goes out in headers."""

    debug: bool = False
    random: bool = False
    """Whether the caller said that the trace's id is random: the flag of W3C's level 2."""

    tracestate: str = ""
    baggage: Sequence[bytes] = ()
    """The values of the caller's headers of this name, unread."""

    passes: bool = False
    """Whether nothing is written down here, and the caller's headers go on as they came."""

    custom_spans: Sequence[CustomSpan] = ()
    """All that were opened, parents before children."""

    finished: Sequence[CustomSpan] = ()
    """Those that had ended when the record left: they leave with it."""

    custom_lost: int = 0
    """Those beyond the bound, until the record left."""

    ended_ns: int = 0
    left_ns: int = 0
    """When it was handed over, or let go: what ends or begins from then on is late."""

    _customs: list[CustomSpan]
    _numbers: Iterator[int]

    def custom_started(
        self,
        name: str,
        parent_place: int,
        now_ns: int,
        attributes: Attributes = NO_ATTRIBUTES,
        place: int | None = None,
    ) -> CustomSpan:
        """Write down that a custom span begins; past the bound it is only counted.

        It gets the next place, unless it has an id already and so its place: `place_of`.
        """
        if self.custom_spans is Record.custom_spans:
            self._open_for_customs()
        number = next(self._numbers)
        if number >= MAX_CUSTOM_SPANS:
            return self._lost(name, parent_place, now_ns)
        span = CustomSpan(
            name, FIRST_CUSTOM + number if place is None else place, parent_place, now_ns
        )
        span.attributes.update(attributes)
        self._customs.append(span)
        return span

    @property
    def is_full(self) -> bool:
        """Whether it takes no more custom spans."""
        return len(self.custom_spans) >= MAX_CUSTOM_SPANS

    def _lost(self, name: str, parent_place: int, now_ns: int) -> CustomSpan:
        """Count a span that is not kept, and return one that stands for its parent."""
        with CUSTOMS:
            if not self.left_ns:
                self.custom_lost += 1
        return CustomSpan(name, parent_place, parent_place, now_ns)

    def _open_for_customs(self) -> None:
        """Prepare for custom spans; the first may come from several threads at once."""
        with CUSTOMS:
            if self.custom_spans is Record.custom_spans:
                self._numbers = itertools.count()
                self._customs = []
                self.custom_spans = self._customs  # last: whoever sees it sees the rest

    def custom_ended(self, span: CustomSpan, now_ns: int) -> None:
        """Write down that a custom span ends."""
        span.ended_ns = now_ns

    def custom_given_up(self, span: CustomSpan, now_ns: int) -> None:
        """Be told that a custom span goes out as it is, though it has not ended."""

    def span_id(self, place: int) -> str:
        """Return the id of the span at this place, 16 hex digits."""
        return derived_id(self.root_id, place)

    @property
    def is_decided(self) -> bool:
        """Whether it is known, now that it left, if its trace is kept."""
        return True


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
