"""What every record has in common: a trace, and custom spans in it."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from spanserve.tracing.custom import CustomSpan
from spanserve.tracing.places import FIRST_CUSTOM, derived_id
from spanserve.tracing.span import NO_ATTRIBUTES, Attributes

MAX_CUSTOM_SPANS: Final = 1_000
_OPENING: Final = threading.Lock()


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
    tracestate: str = ""
    custom_spans: Sequence[CustomSpan] = ()
    custom_lost: int = 0
    ended_ns: int = 0

    _customs: list[CustomSpan]
    _places: Iterator[int]

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
        own = next(self._places) if place is None else place
        span = CustomSpan(name, own, parent_place, now_ns)
        span.attributes.update(attributes)
        if len(self._customs) < MAX_CUSTOM_SPANS:
            self._customs.append(span)
        else:
            self.custom_lost += 1
        return span

    def _open_for_customs(self) -> None:
        """Prepare for custom spans; the first may come from several threads at once."""
        with _OPENING:
            if self.custom_spans is Record.custom_spans:
                self._places = itertools.count(FIRST_CUSTOM)
                self._customs = []
                self.custom_spans = self._customs  # last: whoever sees it sees the rest

    def custom_ended(self, span: CustomSpan, now_ns: int) -> None:
        """Write down that a custom span ends."""
        span.ended_ns = now_ns

    def span_id(self, place: int) -> str:
        """Return the id of the span at this place, 16 hex digits."""
        return derived_id(self.root_id, place)
