"""Thrift's compact protocol, as much of it as Jaeger's structs need."""

import struct
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

_LONG_LIST: Final = 15
_I64: Final = 1 << 63
LIST: Final = 0x19
"""The header of a field that is a list, one after the field before it."""

# Field headers of jaeger.thrift's Tag after its key (field 1) and vType (field 2):
# each is (difference to the field before << 4) | wire type, after vType as a zigzag i32.
TEXT: Final = b"\x15\x00\x18"
DOUBLE: Final = b"\x15\x02\x27"
TRUE: Final = b"\x15\x04\x31\0"
FALSE: Final = b"\x15\x04\x32\0"
LONG: Final = b"\x15\x06\x46"

pack_double: Final = struct.Struct("<dx").pack  # the pad byte ends the Tag

K = TypeVar("K")


def varint(number: int) -> bytes:
    """Encode a number that is not negative, seven bits a byte, the lowest first."""
    out = bytearray()
    while number >> 7:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def text(value: str) -> bytes:
    """Encode a string with its length; a lone surrogate becomes a question mark."""
    raw = value.encode("utf-8", "replace")
    return varint(len(raw)) + raw


def structs_header(field: int, count: int) -> bytes:
    """Begin a field that is a list of this many structs; `field` is its header byte."""
    if count < _LONG_LIST:
        return bytes((field, count << 4 | 0xC))
    return bytes((field, 0xFC)) + varint(count)


def structs(field: int, encoded: Sequence[bytes]) -> bytes:
    """A field that is a list of encoded structs; `field` is its header byte."""
    return structs_header(field, len(encoded)) + b"".join(encoded)


def fits_i64(number: int) -> bool:
    """Tell whether a signed 64-bit integer can hold the number."""
    return -_I64 <= number < _I64


def signed(number: int) -> bytes:
    """Encode an i64 as a zigzag varint."""
    return varint(number << 1 if number >= 0 else ~(number << 1))


class Memo(dict[K, bytes], Generic[K]):
    """Remembers what a pure function answered, for at most `size` arguments.

    `memo[key]` costs one look-up in C where the key is known. When full, it forgets all.
    """

    __slots__ = ("_answer", "_size")

    def __init__(self, answer: Callable[[K], bytes], *, size: int) -> None:
        super().__init__()
        self._answer = answer
        self._size = size

    def __missing__(self, key: K) -> bytes:
        answer = self._answer(key)
        if len(self) >= self._size:
            self.clear()
        self[key] = answer
        return answer
