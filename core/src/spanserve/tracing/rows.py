"""What the members of a batch leave behind: a row of fixed width each.

A request is usual where it had one item, in a batch that went well, and was answered without
failure: nearly all are. Its marks, ids and texts are packed into its batch's rows as it ends,
in one call (`frozen`). When the last member has ended, the rows go out as they are, and whoever
makes spans of them takes them column by column (`tables`). A member that is not usual goes its
own way, as a record of its own: its row then only says where the batch's link to it leads.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from spanserve.tracing.custom import PlainCustom
from spanserve.tracing.http import Origin

NOTHING: Final = 0
"""The member was not recorded, or not kept."""
LINK: Final = 1
"""Only the batch's link is made of the row: what that does not need is 0 or empty."""
WHOLE: Final = 2
"""The request's spans are made of the row, too."""

MAX_REQUEST_ID: Final = 36
"""Characters: as long as a UUID's text. A request with a longer id is not usual."""

FIELDS: Final = (
    ("root_id", "u8", "Q"),
    ("parent_id", "u8", "Q"),
    ("queued_ns", "i8", "q"),
    ("started_ns", "i8", "q"),
    ("decode_ns", "i8", "q"),
    ("decoded_ns", "i8", "q"),
    ("encode_ns", "i8", "q"),
    ("encoded_ns", "i8", "q"),
    ("ended_ns", "i8", "q"),
    ("trace_id", "S32", "32s"),
    ("request_id", f"S{MAX_REQUEST_ID}", f"{MAX_REQUEST_ID}s"),
    ("depth", "u4", "I"),
    ("index", "u4", "I"),
    ("origin", "u4", "I"),
    ("port", "u2", "H"),
    ("kind", "u1", "B"),
)
"""A row's fields, each as NumPy and as `struct` have it; little-endian and without gaps."""

_ROW: Final = struct.Struct("<" + "".join(code for _, _, code in FIELDS))
WIDTH: Final = _ROW.size
pack_row: Final = _ROW.pack_into
"""Writes a row's fields, in their order, into a buffer at an offset."""


class Member(NamedTuple):
    """What a batch's link to a member needs; it leads to the item's queue span."""

    trace_id: str
    root_id: int
    item: int
    position: int
    queued_ns: int


class Rows:
    """The rows of one batch, by position.

    `kept` counts those that were written, and `spans` what its whole ones make. Those are taken
    while the rows are open: after a batch ended as most do. `customs` are the spans of the model's
    code in its run, which are its own, or its only request's.
    """

    __slots__ = (
        "_newest",
        "_newest_place",
        "_origins",
        "are_open",
        "customs",
        "data",
        "kept",
        "spans",
        "spans_each",
    )

    def __init__(self, size: int, spans_each: int = 0) -> None:
        self.data = bytearray(size * WIDTH)
        self.are_open = False
        self.customs: tuple[PlainCustom, ...] = ()
        self.kept = self.spans = 0
        self.spans_each = spans_each
        self._origins: dict[Origin, int] = {}
        self._newest: Origin | None = None
        self._newest_place = 0

    @property
    def origins(self) -> list[Origin]:
        """The origins of whole rows, where their rows say they are."""
        return list(self._origins)

    def whole(self) -> None:
        """Count a row from which a request's spans are made, too."""
        self.kept += 1
        self.spans += self.spans_each

    def place_of(self, origin: Origin) -> int:
        """Return where an origin stands among the batch's, most of which are the same."""
        if origin is not self._newest:
            self._newest = origin
            self._newest_place = self._origins.setdefault(origin, len(self._origins))
        return self._newest_place


def members(data: bytes | bytearray) -> Iterator[Member]:
    """Return the members of a batch that were kept, in their order."""
    for position, row in enumerate(_ROW.iter_unpack(data)):
        root_id, _, queued_ns, *_, trace_id, _, _, item, _, _, kind = row
        if kind != NOTHING:
            yield Member(trace_id.decode(), root_id, item, position, queued_ns)
