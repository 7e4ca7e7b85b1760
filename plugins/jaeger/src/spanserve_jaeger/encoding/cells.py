"""Columns of values in Thrift's compact protocol: bytes for each value, of one width for all.

An integer is a zigzag varint, as everywhere in this protocol, but filled up to the width of its
column with groups of seven zero bits: 5 may be 0x8a 0x80 0x00. Thrift asks for no shortest form
(doc/specs/thrift-compact-protocol.md), and its readers read on until a byte without the high
bit, ten bytes at most.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np

from spanserve_jaeger.encoding.rows import Cells, Ragged, Solid, Text
from spanserve_jaeger.encoding.thrift import varint

Integer: TypeAlias = tuple[Solid, bytes]
"""The groups of a column's integers that differ, the lowest first, and those that do not."""

_TRACE_ID_DIGITS: Final = 32
_ID_BYTES: Final = 10
_I64: Final = 1 << 63
_BITS: Final = 7
_MORE: Final = np.uint8(0x80)
_SHIFTS: Final = np.arange(0, 64, _BITS, dtype=np.uint64)


def integers(numbers: Cells) -> Integer:
    """Encode integers as i64, in as many bytes as the longest of them takes.

    The bits above those that differ are encoded once: they are the greater part of a time.
    Of an array of more dimensions each row is one, too: (k, n) integers are (k, n, width) bytes.
    """
    return _varints(_zigzag(numbers.astype(np.int64)))


def fit_i64(numbers: Cells) -> bool:
    """Say whether 64 bits with a sign hold all integers."""
    return numbers.dtype.kind != "u" or int(numbers.max(initial=0)) < _I64


def ids(numbers: Cells) -> Text:
    """Encode the i64 that have the bits of these u64, as Jaeger's ids are sent: ten bytes each."""
    text = _groups(_zigzag(np.ascontiguousarray(numbers, np.uint64).view(np.int64)), _ID_BYTES)
    text[..., -1] ^= _MORE
    return text


def short_ids(numbers: Cells) -> Integer:
    """Encode the same in as many bytes as the longest of them takes."""
    return _varints(_zigzag(np.ascontiguousarray(numbers, np.uint64).view(np.int64)))


def halves(digits: Cells) -> Cells:
    """Return ids of 32 hex digits as (n, 2) integers, the low half first; ValueError: none."""
    if digits.dtype.itemsize != _TRACE_ID_DIGITS:
        raise ValueError("the id of a trace is 32 hex digits")
    both = np.frombuffer(bytes.fromhex(digits.tobytes().decode()), ">u8")
    return both.reshape(len(digits), 2)[:, ::-1].astype(np.uint64)


def all_ids(several: Sequence[Cells]) -> Sequence[Solid]:
    """Encode some columns of ids, all of one length; a single id in as few bytes as it takes."""
    if len(several[0]) == 1:
        return [short_ids(each)[0] for each in several]
    return [*ids(np.stack(several))]


def trace_ids(digits: Cells) -> tuple[Solid, Solid]:
    """Encode both halves of ids of 32 hex digits, the low one first; ValueError: they are none."""
    low, high = all_ids([*halves(digits).T])
    return low, high


def doubles(numbers: Cells) -> Text:
    """Encode doubles: eight bytes each, the lowest first."""
    return np.ascontiguousarray(numbers, "<f8").view(np.uint8).reshape(len(numbers), 8)


def words(cells: Cells) -> tuple[Solid, bytes, Text | Ragged]:
    """Encode byte strings: their lengths, then they themselves."""
    lengths = np.char.str_len(cells)
    differing, same = _varints(lengths.astype(np.uint64))
    longest = int(lengths.max())
    if lengths.min() < longest:
        return differing, same, Ragged(cells.tolist(), lengths)
    text = np.ascontiguousarray(cells).view(np.uint8).reshape(len(cells), -1)
    return differing, same, text[:, :longest]


def _zigzag(numbers: Cells) -> Cells:
    """Return i64 as u64: 0, -1, 1, -2 … are 0, 1, 2, 3 …."""
    return ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)


def _varints(bits: Cells) -> Integer:
    """Encode u64, in as many bytes as the longest of them takes."""
    least, most = int(bits.min()), int(bits.max())
    groups = -(-(least ^ most).bit_length() // _BITS)
    if not groups:
        return varint(most), b""
    above = most >> groups * _BITS
    text = _groups(bits, groups)
    if above:
        return text, varint(above)
    text[..., -1] ^= _MORE
    return text, b""


def _groups(bits: Cells, count: int) -> Text:
    """Return the lowest groups of seven bits, a byte each, with the bit that says: more follow."""
    return (bits[..., None] >> _SHIFTS[:count]).astype(np.uint8) | _MORE
