"""The recorded requests of a batch, as they go out with it: what each has of its own.

A request is packable where it had one item, in a batch that went well, and was answered without
failure: nearly all are. One that is not has a table of its own; here stands only where the batch's
link to it leads. Nothing is said twice, and nothing that follows from the rest: what is the same
for all, or can be counted out, is put back when the tables of many batches are read.
"""

import struct
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from spanserve.tracing.admission.http_attributes import Origin
from spanserve.tracing.recording.custom import PlainCustom

R = TypeVar("R")

MAX_REQUEST_ID: Final = 36
"""Characters: as long as a UUID's text. A request with a longer id is not packable: it would widen
a column of thousands."""

BETWEEN: Final = "\0"
"""What stands between the request ids of a batch."""

WHOLE: Final = -1
"""In the place of an item's number: the request's spans are made of this, too, and not only the
batch's link to that item."""

# Where a pointer has 8 bytes: a row is packed in 0.6 of the time that "q" takes (measured).
_MARK: Final = "n" if struct.calcsize("n") == struct.calcsize("q") else "q"

MARKS: Final = (
    ("queued_ns", "i8", _MARK),
    ("started_ns", "i8", _MARK),
    ("encode_ns", "i8", _MARK),
    ("encoded_ns", "i8", _MARK),
    ("depth", "u4", "I"),
    ("port", "u2", "H"),
)
"""What each request has of its own, as NumPy and as `struct` have it: as this machine does, and
without gaps, since no field is longer than the one before."""

pack_marks: Final[Callable[..., bytes]] = struct.Struct(
    "@" + "".join(code for _, _, code in MARKS)
).pack
"""Packs the `MARKS` of a request, in their order."""

Came = tuple[Any, ...]
"""The fields of an `Origin`, and then the caller's tracestate if there is one."""


class PackedRequests(NamedTuple):
    """The requests of a batch as they go out: a few bytes of each.

    What is None is the same for all, or follows from the rest.
    """

    trace_ids: bytes
    """16 each."""

    marks: bytes
    """Their `MARKS`."""

    ended_ns: int
    """When the last of them ended; each other did as the next answer was begun, by default."""

    positions: bytes | None
    """4 each: where they stand in the batch, where not all that were in it are here."""

    ends_ns: bytes | None
    """8 each: when they ended, where that was not so."""

    origins: bytes | None
    """4 each: which origin of the batch's they have, where that is not the first."""

    root_ids: bytes | None
    """8 each: where they are not the lower halves of the traces'."""

    parent_ids: bytes | None
    """8 each: where any has one; 0 is none."""

    request_ids: str | None
    """With `BETWEEN` between them, where they are not those of the traces."""

    decoded_ns: bytes | None
    """16 each: when the body was there, and when it was decoded, where that was not as the request
    began and as its item was queued."""

    items: bytes | None
    """4 each: the number of the item that the batch's link leads to, where that is all there is;
    `WHOLE` of others."""


def came(origin: Came, tracestate: str) -> Came:
    """Return where a request came from, with its caller's tracestate."""
    return (*origin, tracestate) if tracestate else tuple(origin)


class BatchRequests(NamedTuple, Generic[R]):
    """All requests of a batch, none of which has a record.

    `ids` are 16 bytes of trace id each, empty where a client gave any id; the requests at the
    positions `sampled` are. `recorded` are so many: those, or all, since any may be kept.
    """

    requests: Sequence[R]
    ids: bytes
    sampled: Sequence[int]
    recorded: int


class Member(NamedTuple):
    """What is kept of a request in a batch; a link to it needs the first five, and `queued_ns`.

    It leads to the queue span of its `item`.
    """

    trace_id: str
    root_id: int
    item: int
    queued_ns: int
    request_id: str = ""
    parent_id: int = 0
    started_ns: int = 0
    decode_ns: int = 0
    decoded_ns: int = 0
    encode_ns: int = 0
    encoded_ns: int = 0
    ended_ns: int = 0
    depth: int = 0
    port: int = 0
    origin: int = 0


class Members:
    """The kept members of one batch, of which some end by themselves.

    `kept` counts them, and `spans` what its whole ones make. Those are taken while it is open:
    after a batch ended as most do. `customs` are the spans of the model's code in its run, which
    are its own, or its only request's.
    """

    __slots__ = ("_origins", "are_open", "by_position", "customs", "spans", "spans_each")

    def __init__(self, spans_each: int = 0) -> None:
        self.are_open = False
        self.customs: tuple[PlainCustom, ...] = ()
        self.spans = 0
        self.spans_each = spans_each
        self.by_position: dict[int, Member] = {}
        self._origins: dict[tuple[int, str], tuple[int, Origin]] = {}

    @property
    def kept(self) -> int:
        """How many there are."""
        return len(self.by_position)

    @property
    def origins(self) -> list[Came]:
        """Where whole members came from, at the places that they say."""
        return [came(origin, state) for (_, state), (_, origin) in self._origins.items()]

    def put(self, position: int, member: Member) -> None:
        """Keep a member."""
        self.by_position[position] = member
        if member.item == WHOLE:
            self.spans += self.spans_each

    def place_of(self, origin: Origin, tracestate: str) -> int:
        """Return where an origin stands among the batch's; the same object has one place.

        One with a tracestate has a place of its own.
        """
        key = id(origin), tracestate
        known = self._origins.get(key)
        if known is None:
            known = self._origins[key] = len(self._origins), origin
        return known[0]

    def __iter__(self) -> Iterator[tuple[int, Member]]:
        """Yield the position of each member in the batch, and the member, in their order."""
        return iter(sorted(self.by_position.items()))

    def packed(self) -> PackedRequests:
        """Return all of them as they go out."""
        positions, members = zip(*self, strict=True)
        column = dict(zip(Member._fields, zip(*members, strict=True), strict=True))
        ended_ns = column["ended_ns"]
        decoded = [*zip(column["decode_ns"], column["decoded_ns"], strict=True)]
        return PackedRequests(
            bytes.fromhex("".join(column["trace_id"])),
            b"".join(map(pack_marks, *_marks(column))),
            ended_ns[-1],
            positions=array("I", positions).tobytes(),
            ends_ns=array("q", ended_ns).tobytes(),
            origins=array("I", column["origin"]).tobytes(),
            root_ids=array("Q", column["root_id"]).tobytes(),
            parent_ids=array("Q", column["parent_id"]).tobytes(),
            request_ids=BETWEEN.join(column["request_id"]),
            decoded_ns=array("q", [mark for both in decoded for mark in both]).tobytes(),
            items=array("i", column["item"]).tobytes(),
        )


def _marks(column: Mapping[str, Sequence[int]]) -> Iterator[Sequence[int]]:
    return (column[name] for name, _, _ in MARKS)
