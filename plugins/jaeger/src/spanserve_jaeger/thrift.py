"""Thrift's compact protocol, as much of it as Jaeger's structs need, and fast.

Integers are zigzag varints. Fourteen bits are encoded by one look-up in a table, and whole
tags are remembered, because the same few keys and values come again in every request.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

_CHUNK: Final = 0x3FFF
_HALF: Final = 0xFFFFFFF
_LONG_LIST: Final = 15
_ID_DIGITS: Final = 16
_MANY: Final = 4096
_FEW: Final = 64
_LONG_TAG_BYTES: Final = 256
_I64: Final = 1 << 63
_U64: Final = 1 << 64
_STOP: Final = b"\0"

# Field headers of jaeger.thrift's Tag after its key (field 1) and vType (field 2):
# each is (difference to the field before << 4) | wire type, after vType as a zigzag i32.
TEXT: Final = b"\x15\x00\x18"
DOUBLE: Final = b"\x15\x02\x27"
_TRUE: Final = b"\x15\x04\x31\0"
_FALSE: Final = b"\x15\x04\x32\0"
LONG: Final = b"\x15\x06\x46"

_pack_1: Final = struct.Struct("<H").pack
_pack_2: Final = struct.Struct("<HH").pack
_pack_3: Final = struct.Struct("<HHH").pack
_pack_4: Final = struct.Struct("<HHHH").pack
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


class Integers:
    """Encodes signed 64-bit integers; holds two tables of 16,384 entries.

    `more[n]` is the 16-bit number whose two little-endian bytes are the varint of the 14-bit
    `n` when more bits follow; `last[n]` the whole varint of `n` when none do.
    """

    __slots__ = ("last", "more")

    def __init__(self) -> None:
        self.more = tuple(n & 0x7F | 0x80 | (n >> 7 | 0x80) << 8 for n in range(_CHUNK + 1))
        self.last = tuple(varint(n) for n in range(_CHUNK + 1))

    def signed(self, number: int) -> bytes:
        """Encode an i64 as a zigzag varint; ValueError if it does not fit."""
        if not fits_i64(number):
            raise ValueError(f"{number} does not fit 64 bits")
        return self._chunks(number << 1 if number >= 0 else ~(number << 1))

    def unsigned(self, number: int) -> bytes:
        """Encode the i64 that has the bits of this u64, as Jaeger's ids are sent."""
        if not 0 <= number < _U64:
            raise ValueError(f"{number} does not fit 64 bits")
        return self._chunks(number << 1 if number < _I64 else ((_U64 - number) << 1) - 1)

    def _chunks(self, bits: int) -> bytes:
        more, last = self.more, self.last
        if bits < 1 << 14:
            return last[bits]
        low, high = bits & _HALF, bits >> 28
        if bits < 1 << 28:
            return _pack_1(more[low & _CHUNK]) + last[low >> 14]
        if bits < 1 << 42:
            return _pack_2(more[low & _CHUNK], more[low >> 14]) + last[high]
        if bits < 1 << 56:
            return (
                _pack_3(more[low & _CHUNK], more[low >> 14], more[high & _CHUNK]) + last[high >> 14]
            )
        high &= _HALF
        return (
            _pack_4(more[low & _CHUNK], more[low >> 14], more[high & _CHUNK], more[high >> 14])
            + last[bits >> 56]
        )


class Times:
    """Encodes times in microseconds: all but the lower four bytes is the same for 134 s."""

    __slots__ = ("_high", "_high_bytes", "_integers", "_more")

    def __init__(self, integers: Integers) -> None:
        self._integers = integers
        self._more = integers.more
        self._high = 0
        self._high_bytes = b""

    def signed(self, time_us: int) -> bytes:
        """Encode an i64 as a zigzag varint; ValueError if it does not fit."""
        bits = time_us << 1
        high = bits >> 28
        if high != self._high or high <= 0:
            encoded = self._integers.signed(time_us)
            if high > 0:
                self._high, self._high_bytes = high, encoded[4:]
            return encoded
        low = bits & _HALF
        more = self._more
        return _pack_2(more[low & _CHUNK], more[low >> 14]) + self._high_bytes


class Ids(dict[str, bytes]):
    """`ids[digits]` is the i64 of 16 hex digits; most are new, so it is spelt out for speed.

    KeyError is never raised; ValueError says that the digits are none. Forgets all when full.
    """

    __slots__ = ("_integers", "_last", "_more")

    def __init__(self, integers: Integers) -> None:
        super().__init__()
        self._integers = integers
        self._more = integers.more
        self._last = integers.last

    def __missing__(self, digits: str) -> bytes:
        if len(digits) != _ID_DIGITS:
            raise ValueError("an id is 16 hex digits")
        number = int(digits, 16)
        bits = number << 1 if number < _I64 else ((_U64 - number) << 1) - 1
        top = bits >> 56
        if top > 0:
            more = self._more
            low, high = bits & _HALF, bits >> 28 & _HALF
            answer = (
                _pack_4(more[low & _CHUNK], more[low >> 14], more[high & _CHUNK], more[high >> 14])
                + self._last[top]
            )
        else:
            answer = self._integers.unsigned(number)
        if len(self) >= _MANY:
            self.clear()
        self[digits] = answer
        return answer


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


class _Values(dict[K, bytes], Generic[K]):
    """The whole tags of one key by value; the first few short ones are remembered."""

    __slots__ = ("_encode", "_head")

    def __init__(self, head: bytes, encode: Callable[[K], bytes]) -> None:
        super().__init__()
        self._head = head
        self._encode = encode

    def __missing__(self, value: K) -> bytes:
        tag = self._head + self._encode(value) + _STOP
        if len(self) < _FEW and len(tag) < _LONG_TAG_BYTES:
            self[value] = tag
        return tag


class _Keys(dict[str, _Values[K]], Generic[K]):
    """The tags of one type by key."""

    __slots__ = ("_encode", "_header")

    def __init__(self, header: bytes, encode: Callable[[K], bytes]) -> None:
        super().__init__()
        self._header = header
        self._encode = encode

    def __missing__(self, key: str) -> _Values[K]:
        if len(self) >= _MANY:
            self.clear()
        self[key] = values = _Values(b"\x18" + text(key) + self._header, self._encode)
        return values


class Tags:
    """Encodes tags: `texts[key][value]` and `longs[key][value]` are whole Tag structs.

    Look values up only where their class is exactly `str` or `int`: True equals 1.
    `doubles[key] + pack_double(value)` is one, too: NaN and infinities as they are.
    """

    __slots__ = ("doubles", "longs", "texts")

    def __init__(self, integers: Integers) -> None:
        self.texts: _Keys[str] = _Keys(TEXT, text)
        self.longs: _Keys[int] = _Keys(LONG, integers.signed)
        self.doubles = Memo(_double_head, size=1024)

    @staticmethod
    def flag(key: str, *, value: bool) -> bytes:
        """A tag that is true or false."""
        return b"\x18" + text(key) + (_TRUE if value else _FALSE)


def _double_head(key: str) -> bytes:
    return b"\x18" + text(key) + DOUBLE
