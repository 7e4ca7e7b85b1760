"""Columns of values as text of one width: a row of bytes for each value.

What is shorter than its column is filled up with blanks, which JSON allows around any value.
Digits are looked up four at a time, so that there are few divisions.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Cells: TypeAlias = npt.NDArray[Any]
Text: TypeAlias = npt.NDArray[np.uint8]
"""(n, width): the bytes of n texts."""

_BLANK, _QUOTE = b' "'
_FOUR: Final = 10_000
_EIGHT: Final = 100_000_000
_NS_IN_MS: Final = 1_000_000
_HUNDRED: Final = 100
_TEN: Final = 10


def _table(form: str, count: int, kind: str) -> Cells:
    """Return the texts of the numbers below `count`, each an integer of its bytes."""
    return np.frombuffer("".join([form % number for number in range(count)]).encode(), kind)


_TWO_FILLED: Final = _table("%02d", _HUNDRED, "<u2")
_FOUR_FILLED: Final = _table("%04d", _FOUR, "<u4")
_FOUR_BLANK: Final = _table("%4d", _FOUR, "<u4")
_NO_DIGITS: Final = _FOUR_BLANK.copy()
_NO_DIGITS[0] = int.from_bytes(b"    ", "little")
_QUOTED: Final = np.frombuffer(
    b"".join(f'"{number}"'.rjust(8).encode() for number in range(_FOUR)), "<u8"
)
_QUOTED_MS: Final = np.frombuffer(
    b"".join(f'"{number}.'.rjust(8).encode() for number in range(_FOUR)), "<u8"
)
_BLANK_MS: Final = np.frombuffer(_QUOTED_MS.tobytes().replace(b'"', b" "), "<u8")
_MS_TEXT: Final = ("whole", "<u8"), ("four", "<u4"), ("two", "<u2")
# Five digits in quotes: what is the same in all, and the bits where the first and the rest go.
_FIVE: Final = np.uint64(int.from_bytes(b' "0\0\0\0\0"', "little"))
_FIRST, _REST = np.uint64(16), np.uint64(24)


def fixed(cells: Cells) -> Text:
    """Return the bytes of values, or of rows of them: (n, so many bytes)."""
    whole = np.ascontiguousarray(cells)
    return whole.view(np.uint8).reshape(len(whole), whole.nbytes // max(1, len(whole)))


def from_texts(texts: Sequence[bytes]) -> Text:
    """Return texts, filled up with blanks in front."""
    width = max(map(len, texts))
    joined = b"".join([text.rjust(width) for text in texts])
    return np.frombuffer(joined, np.uint8).reshape(len(texts), width)


def digits(numbers: Cells) -> Text:
    """Return numbers, none of them negative, filled up with blanks in front."""
    largest = int(numbers.max(initial=0))
    if largest < _EIGHT:
        return _up_to_eight(numbers.astype(np.uint32), largest)
    upper = numbers // _EIGHT
    lower = (numbers - upper * _EIGHT).astype(np.uint32)
    if upper.min() == upper.max():  # as of times of one call
        front = b"%d" % int(upper[0])
        text = np.empty(len(numbers), [("front", f"S{len(front)}"), ("eight", "S8")])
        text["front"] = front
        text["eight"] = _eight(lower).view("S8")[:, 0]
        return fixed(text)
    return _filled_up([b"%d" % number for number in numbers.tolist()])


def quoted_digits(numbers: Cells) -> Text:
    """Return the same in quotes, which stand close to the number."""
    largest = int(numbers.max(initial=0))
    if largest < _FOUR:
        return fixed(_QUOTED[numbers.astype(np.intp)])
    if largest >= _TEN * _FOUR:
        return _filled_up([b'"%d"' % number for number in numbers.tolist()])
    upper = numbers // _FOUR
    lower = (numbers - upper * _FOUR).astype(np.intp)
    first, rest = upper.astype(np.uint64), _FOUR_FILLED[lower].astype(np.uint64)
    return fixed(np.where(upper, _FIVE | first << _FIRST | rest << _REST, _QUOTED[lower]))


def milliseconds(lengths: Cells) -> Text:
    """Return lengths, none of them negative, as milliseconds, filled up with blanks in front."""
    return _milliseconds(lengths, _BLANK_MS, b"")


def quoted_milliseconds(lengths: Cells) -> Text:
    """Return the same in quotes, which stand close to the number."""
    return _milliseconds(lengths, _QUOTED_MS, b'"')


def _milliseconds(lengths: Cells, whole: Cells, quote: bytes) -> Text:
    """Return lengths as milliseconds between quotes; `whole` are the texts up to the point."""
    numbers = lengths.astype(np.int64)
    if int(numbers.max(initial=0)) >= _FOUR * _NS_IN_MS:
        texts = [f"{ns / _NS_IN_MS:.6f}".encode() for ns in numbers.tolist()]
        return _filled_up([quote + text + quote for text in texts])
    ms = numbers // _NS_IN_MS
    rest = (numbers - ms * _NS_IN_MS).astype(np.uint32)
    front = rest // _HUNDRED
    text = np.empty(len(numbers), [*_MS_TEXT, ("quote", "S1")] if quote else [*_MS_TEXT])
    text["whole"] = whole[ms]
    text["four"] = _FOUR_FILLED[front]
    text["two"] = _TWO_FILLED[rest - front * _HUNDRED]
    if quote:
        text["quote"] = quote
    return fixed(text)


def quoted_text(cells: Cells) -> Text:
    """Return texts that need no escape in quotes, filled up with blanks behind."""
    text = fixed(cells)
    quoted = np.full((len(text), text.shape[1] + 2), _QUOTE, np.uint8)
    if text.all():
        quoted[:, 1:-1] = text
        return quoted
    lengths = np.count_nonzero(text, axis=1)
    quoted[:, 1:-1] = np.where(text, text, _BLANK)
    quoted[:, -1] = _BLANK
    quoted[np.arange(len(text)), lengths + 1] = _QUOTE
    return quoted


def _up_to_eight(numbers: Cells, largest: int) -> Text:
    if largest < _FOUR:
        return fixed(_FOUR_BLANK[numbers])
    upper = numbers // _FOUR
    lower = numbers - upper * _FOUR
    text = np.empty((len(numbers), 2), "<u4")
    text[:, 0] = _NO_DIGITS[upper]
    text[:, 1] = np.where(upper, _FOUR_FILLED[lower], _FOUR_BLANK[lower])
    return fixed(text)


def _eight(numbers: Cells) -> Text:
    """Return the last eight digits of numbers."""
    upper = numbers // _FOUR
    text = np.empty((len(numbers), 2), "<u4")
    text[:, 0] = _FOUR_FILLED[upper]
    text[:, 1] = _FOUR_FILLED[numbers - upper * _FOUR]
    return fixed(text)


def _filled_up(texts: list[bytes]) -> Text:
    return from_texts(texts) if texts else np.empty((0, 0), np.uint8)
