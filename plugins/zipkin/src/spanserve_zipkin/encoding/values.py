"""What differs in the spans of a call, as text: all values of a kind are written in one go.

To call NumPy costs as much as what it then does for some hundred values.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from spanserve import Column, checkpoint, hex_digits
from spanserve_zipkin.encoding.cells import (
    Cells,
    Text,
    digits,
    fixed,
    milliseconds,
    quoted_digits,
    quoted_milliseconds,
    quoted_text,
)
from spanserve_zipkin.encoding.rows import Part, Ragged
from spanserve_zipkin.encoding.text import tag_text, utf8

_NEEDS_NO_ESCAPE: Final = bytes([0, *(each for each in range(0x20, 0x7F) if each not in b'"\\')])
_FIRST_FORMAT: Final = b"yAnnotations"
_I64: Final = np.uint64(1 << 63)


class Values:
    """The values of some columns; what is asked for later are the cells of these columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        own = [cells for column in columns for cells in column.own.values()]
        self._own: dict[int, Part] = {
            **_at_once(quoted_milliseconds, [each for each in own if _is_length(each)]),
            **_at_once(quoted_digits, [each for each in own if _is_count(each)]),
        }
        ids = [cells for each in columns for cells in (each.span_id, each.parent_id)]
        self._ids = _at_once(hexadecimal, ids)
        # Down for starts and up for ends: rounded children stay inside rounded parents.
        self._starts = _at_once(lambda ns: digits(ns // 1000), [each.start_ns for each in columns])
        self._durations = dict(zip(map(id, columns), _durations(columns), strict=True))

    def id(self, ids: Cells) -> Text:
        """Return the hexadecimal digits of ids."""
        return self._ids[id(ids)]

    def start(self, column: Column) -> Text:
        """Return when a column's spans start, in microseconds."""
        return self._starts[id(column.start_ns)]

    def duration(self, column: Column) -> Text:
        """Return how long a column's spans last, in microseconds."""
        return self._durations[id(column)]

    def own(self, cells: Cells) -> Part:
        """Return cells as the values of a tag, in quotes."""
        found = self._own.get(id(cells))
        if found is None:
            found = self._own[id(cells)] = _tag_values(cells)
        return found


def hexadecimal(ids: Cells) -> Text:
    """Return the hexadecimal digits of ids."""
    return fixed(hex_digits(ids))


def are_plain(cells: Cells) -> bool:
    """Say whether `plain_values` knows cells of this kind, with these values."""
    return _is_length(cells) or _is_count(cells)


def plain_values(cells: Cells) -> Text:
    """Return counts, or lengths in milliseconds, as they stand in JSON."""
    return milliseconds(cells) if cells.dtype.kind == "m" else digits(cells.astype(np.int64))


def _is_length(cells: Cells) -> bool:
    return cells.dtype.kind == "m" and int(cells.astype(np.int64).min(initial=0)) >= 0


def _is_count(cells: Cells) -> bool:
    if cells.dtype.kind == "u":
        return cells.dtype.itemsize < 8 or not (cells >= _I64).any()  # noqa: PLR2004  # bytes
    return cells.dtype.kind == "i" and int(cells.min(initial=0)) >= 0


def _tag_values(cells: Cells) -> Part:
    if cells.dtype.kind == "S":
        raw = cells.tobytes()
        if not raw.translate(None, _NEEDS_NO_ESCAPE) and _FIRST_FORMAT not in raw:
            return quoted_text(cells)
        values = [text.decode("utf-8", "replace") for text in cells.tolist()]
        return Ragged([utf8(tag_text[str](value)) for value in values])
    if cells.dtype.kind == "m":
        values = [length / 1e6 for length in cells.astype(np.int64).tolist()]
    else:
        values = cells.tolist()
    return Ragged([utf8(tag_text[type(value)](value)) for value in values])


def _durations(columns: Sequence[Column]) -> list[Text]:
    if not columns:
        return []
    start_ns = np.concatenate([each.start_ns for each in columns])
    end_ns = np.concatenate([each.end_ns for each in columns])
    start_us = start_ns // 1000
    # 0 is unknown to Zipkin. Without the sum that may be too large.
    duration_us = np.maximum((end_ns - start_us * 1000 + 999) // 1000, 1)
    return np.split(digits(duration_us), _ends([each.end_ns for each in columns]))


def _at_once(write: Callable[[Cells], Text], several: Sequence[Cells]) -> dict[int, Text]:
    """Return the texts of some cells, by the identity of the cells."""
    distinct = {id(cells): cells for cells in several}
    if not distinct:
        return {}
    checkpoint()
    cells = list(distinct.values())
    whole = np.concatenate(cells) if cells[0].dtype.kind not in "iu" else _integers(cells)
    return dict(zip(distinct, np.split(write(whole), _ends(cells)), strict=True))


def _integers(several: Sequence[Cells]) -> Cells:
    """Return integers in one array: of 64 bits as they are, or smaller ones."""
    kinds = {cells.dtype for cells in several}
    if len(kinds) == 1:
        return np.concatenate(several)
    return np.concatenate([cells.astype(np.int64) for cells in several])


def _ends(several: Sequence[Cells]) -> Cells:
    """Return where each of some cells ends, but the last, when they stand in a row."""
    return np.cumsum([len(cells) for cells in several])[:-1]
