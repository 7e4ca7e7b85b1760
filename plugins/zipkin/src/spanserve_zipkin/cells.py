"""Columns of values as text of one width: a row of bytes for each value.

What is shorter than its column is filled up with blanks, which JSON allows around any value.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Cells: TypeAlias = npt.NDArray[Any]
Text: TypeAlias = npt.NDArray[np.uint8]
"""(n, width): the bytes of n texts."""

_BLANK, _QUOTE, _POINT = b' ".'
_HEX: Final = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)
_FOUR: Final = np.frombuffer(b"".join(b"%04d" % number for number in range(10_000)), np.uint32)
_POWERS: Final = 10 ** np.arange(1, 19, dtype=np.int64)
_NS_IN_MS: Final = 1_000_000
_MS_DIGITS: Final = 6


def fixed(cells: Cells) -> Text:
    """Return byte strings that all fill their column: (n, their length)."""
    return np.ascontiguousarray(cells).view(np.uint8).reshape(len(cells), -1)


def from_texts(texts: Sequence[bytes]) -> Text:
    """Return texts, filled up with blanks in front."""
    width = max(map(len, texts))
    joined = b"".join([text.rjust(width) for text in texts])
    return np.frombuffer(joined, np.uint8).reshape(len(texts), width)


def hexadecimal(ids: Cells) -> Text:
    """Return the 16 hex digits of each id."""
    pairs = _HEX[ids.astype(">u8").view(np.uint8)]
    return pairs.view(np.uint8).reshape(len(ids), 16)


def digits(numbers: Cells) -> Text:
    """Return numbers, none of them negative, filled up with blanks in front."""
    numbers = numbers.astype(np.int64)
    width = _width(numbers)
    text = _zero_filled(numbers, width)
    text[np.arange(width) < (width - _lengths(numbers))[:, None]] = _BLANK
    return text


def quoted_digits(numbers: Cells) -> Text:
    """Return the same in quotes, which stand close to the number."""
    numbers = numbers.astype(np.int64)
    width = _width(numbers)
    return _quoted(_zero_filled(numbers, width), width - _lengths(numbers))


def milliseconds(lengths: Cells) -> Text:
    """Return lengths, none of them negative, as milliseconds, filled up with blanks in front."""
    text, blanks = _milliseconds(lengths)
    text[np.arange(text.shape[1]) < blanks[:, None]] = _BLANK
    return text


def quoted_milliseconds(lengths: Cells) -> Text:
    """Return the same in quotes, which stand close to the number."""
    return _quoted(*_milliseconds(lengths))


def _milliseconds(lengths: Cells) -> tuple[Text, Cells]:
    ms, ns = np.divmod(lengths.astype(np.int64), _NS_IN_MS)
    width = _width(ms)
    point = np.full((len(ms), 1), _POINT, np.uint8)
    text = np.hstack((_zero_filled(ms, width), point, _zero_filled(ns, _MS_DIGITS)))
    return text, width - _lengths(ms)


def quoted_text(cells: Cells) -> Text:
    """Return texts that need no escape in quotes, filled up with blanks behind."""
    text = fixed(cells)
    lengths = np.count_nonzero(text, axis=1)
    quoted = np.full((len(text), text.shape[1] + 2), _BLANK, np.uint8)
    np.copyto(quoted[:, 1:-1], text, where=text != 0)
    quoted[:, 0] = _QUOTE
    quoted[np.arange(len(text)), lengths + 1] = _QUOTE
    return quoted


def _quoted(text: Text, blanks: Cells) -> Text:
    """Return texts in quotes, of each of which so many bytes in front are to be blanks."""
    quoted = np.full((len(text), text.shape[1] + 2), _BLANK, np.uint8)
    quoted[:, 1:-1] = text
    quoted[:, -1] = _QUOTE
    quoted[np.arange(text.shape[1] + 2) < blanks[:, None]] = _BLANK
    quoted[np.arange(len(text)), blanks] = _QUOTE
    return quoted


def _width(numbers: Cells) -> int:
    return int(_lengths(numbers[[numbers.argmax()]])[0]) if len(numbers) else 1


def _lengths(numbers: Cells) -> Cells:
    """Return how many digits each number has."""
    return np.searchsorted(_POWERS, numbers, side="right") + 1


def _zero_filled(numbers: Cells, width: int) -> Text:
    """Return the last `width` digits of each number, four at a time."""
    groups = -(-width // 4)
    text = np.empty((len(numbers), groups), np.uint32)
    for group in range(groups - 1, 0, -1):
        numbers, last = np.divmod(numbers, 10_000)
        text[:, group] = _FOUR[last]
    text[:, 0] = _FOUR[numbers % 10_000]
    return text.view(np.uint8)[:, groups * 4 - width :]
