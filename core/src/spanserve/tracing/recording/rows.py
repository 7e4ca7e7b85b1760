"""What the members of a batch leave behind: two ids and a row of numbers each.

A request is usual where it had one item, in a batch that went well, and was answered without
failure: nearly all are. Its marks and ids are packed into a row as it ends (`frozen`). When the
last member has ended, the rows go out as they are, and whoever makes spans of them takes them
column by column (`tables`). A member that is not usual goes its own way, as a record of its own:
its row then only says where the batch's link to it leads. Where all members are usual, and had no
records, the batch keeps less of them (`lean_rows`).
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from spanserve.tracing.admission.http_attributes import Origin
from spanserve.tracing.recording.custom import PlainCustom

NOTHING: Final = 0
"""The member was not recorded, or not kept."""
LINK: Final = 1
"""Only the batch's link is made of the row: what that does not need is 0 or empty."""
WHOLE: Final = 2
"""The request's spans are made of the row, too."""

MAX_REQUEST_ID: Final = 36
"""Characters: as long as a UUID's text. A request with a longer id is not usual: it would widen a
column of thousands."""

# Where a pointer has 8 bytes: a row is packed in 0.6 of the time that "q" and "Q" take (measured).
_SIGNED, _UNSIGNED = ("n", "N") if struct.calcsize("n") == struct.calcsize("q") else ("q", "Q")

FIELDS: Final = (
    ("root_id", "u8", _UNSIGNED),
    ("parent_id", "u8", _UNSIGNED),
    ("queued_ns", "i8", _SIGNED),
    ("started_ns", "i8", _SIGNED),
    ("decode_ns", "i8", _SIGNED),
    ("decoded_ns", "i8", _SIGNED),
    ("encode_ns", "i8", _SIGNED),
    ("encoded_ns", "i8", _SIGNED),
    ("ended_ns", "i8", _SIGNED),
    ("depth", "u4", "I"),
    ("index", "u4", "I"),
    ("origin", "u4", "I"),
    ("port", "u2", "H"),
    ("kind", "u1", "B"),
)
"""A row's numbers, each as NumPy and as `struct` have it: as this machine does, and without gaps,
since no field is longer than the one before."""

_ROW: Final = struct.Struct("@" + "".join(code for _, _, code in FIELDS))
WIDTH: Final = _ROW.size
"""Bytes."""

pack_row: Final[Callable[..., bytes]] = _ROW.pack
"""Packs a row's numbers, in their order."""

PlainRows = tuple[str, str, bytes]
"""The rows of a batch as they go out: its trace ids, its request ids and all its numbers."""

_NOTHING: Final = "0" * 32, "", bytes(WIDTH)
BETWEEN: Final = "\0"
"""What stands between the request ids of a batch."""


Came = tuple[Any, ...]
"""The fields of an `Origin`, and then the caller's tracestate if there is one."""


def came(origin: Came, tracestate: str) -> Came:
    """Return where a request came from, with its caller's tracestate."""
    return (*origin, tracestate) if tracestate else tuple(origin)


class Member(NamedTuple):
    """What a batch's link to a member needs; it leads to the item's queue span."""

    trace_id: str
    root_id: int
    item: int
    position: int
    queued_ns: int


class Rows:
    """The rows of one batch.

    `kept` counts those that there are, and `spans` what its whole ones make. Those are taken
    while the rows are open: after a batch ended as most do. `customs` are the spans of the
    model's code in its run, which are its own, or its only request's.
    """

    __slots__ = (
        "_by_position",
        "_origins",
        "_plain",
        "_size",
        "are_open",
        "customs",
        "kept",
        "spans",
        "spans_each",
    )

    def __init__(self, size: int, spans_each: int = 0) -> None:
        self.are_open = False
        self.customs: tuple[PlainCustom, ...] = ()
        self.kept = self.spans = 0
        self.spans_each = spans_each
        self._size = size
        self._by_position: dict[int, tuple[str, str, bytes]] = {}
        self._plain: PlainRows | None = None
        self._origins: dict[tuple[int, str], tuple[int, Origin]] = {}

    @property
    def origins(self) -> list[Came]:
        """Where whole rows came from, at the places that they say."""
        return [came(origin, state) for (_, state), (_, origin) in self._origins.items()]

    def put(self, position: int, trace_id: str, request_id: str, numbers: bytes) -> None:
        """Put a row in."""
        self._by_position[position] = trace_id, request_id, numbers

    def count(self, whole: int) -> None:
        """Count rows from which requests' spans are made, too."""
        self.kept += whole
        self.spans += whole * self.spans_each

    def place_of(self, origin: Origin, tracestate: str) -> int:
        """Return where an origin stands among the batch's; the same object has one place.

        One with a tracestate has a place of its own.
        """
        key = id(origin), tracestate
        known = self._origins.get(key)
        if known is None:
            known = self._origins[key] = len(self._origins), origin
        return known[0]

    @classmethod
    def restored(cls, plain: PlainRows) -> "Rows":
        """Make rows again of what went out."""
        rows = cls(0)
        rows._plain = plain
        return rows

    def plain(self) -> PlainRows:
        """Return all rows as they go out."""
        if self._plain is not None:
            return self._plain
        rows = [self._by_position.get(position, _NOTHING) for position in range(self._size)]
        trace_ids, request_ids, numbers = zip(*rows, strict=True)
        return "".join(trace_ids), BETWEEN.join(request_ids), b"".join(numbers)


def members(rows: PlainRows) -> Iterator[Member]:
    """Return the members of a batch that were kept, in their order."""
    trace_ids, _, numbers = rows
    for position, row in enumerate(_ROW.iter_unpack(numbers)):
        root_id, _, queued_ns, *_, item, _, _, kind = row
        if kind != NOTHING:
            trace_id = trace_ids[32 * position : 32 * (position + 1)]
            yield Member(trace_id, root_id, item, position, queued_ns)
