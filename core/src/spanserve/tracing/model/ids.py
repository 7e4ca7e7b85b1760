"""The places of spans in a record, and the ids that follow from them.

Ids of spans are derived from their record's random root id and their place in the record,
so that a finished record says all its ids by itself.
"""

from typing import Final

ROOT: Final = 0
DECODE: Final = 1
ENCODE: Final = 2
QUEUE: Final = 3
COLLATE: Final = 4
RUN: Final = 5
SPLIT: Final = 6

_PARTS: Final = 8
_ITEMS: Final = 1 << 8
# Odd offsets, so that ids of all ranges look alike.
FIRST_CUSTOM: Final = (1 << 40) + 12_345_679
COPIES: Final = (1 << 48) + 76_543_211
COPIES_OF_ITEM: Final = 1 << 20
RETRIES: Final = (1 << 56) + 34_567_891
RETRIES_OF_ITEM: Final = 1 << 12

_GOLDEN: Final = 0x9E37_79B9_7F4A_7C15
_MASK: Final = (1 << 64) - 1
_INVERSE: Final = pow(_GOLDEN, -1, 1 << 64)


def derived_id(root_id: int, place: int) -> str:
    """Return the 16 hex digits of the span at this place; distinct for distinct places."""
    return f"{(root_id + id_step(place)) & _MASK or 1:016x}"


def place_of(root_id: int, span_id: int) -> int:
    """Return the place at which a span of this record has this id: `derived_id` turned round."""
    return (span_id - root_id) * _INVERSE & _MASK


def id_step(place: int) -> int:
    """Return how far the id of the span at this place is from its root's."""
    return place * _GOLDEN


def item_place(index: int, part: int) -> int:
    """Return the place of a part (`QUEUE`, `COLLATE`, `RUN`, `SPLIT`) of a request's item."""
    return _ITEMS + index * _PARTS + part


def retry_place(number: int, part: int) -> int:
    """Return the place, in a batch's trace, of a part of its retry `number`, which counts from 1.

    `ROOT` is the span that holds the parts.
    """
    return RETRIES + number * _PARTS + part


def copy_place(index: int, place: int) -> int:
    """Return where the copy of a batch's span stands in the request of its item `index`."""
    if place < FIRST_CUSTOM:
        return item_place(index, place)
    if place >= RETRIES:
        return place + index * RETRIES_OF_ITEM
    return COPIES + index * COPIES_OF_ITEM + place - FIRST_CUSTOM
