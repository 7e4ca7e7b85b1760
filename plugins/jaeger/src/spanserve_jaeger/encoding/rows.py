"""Rows of bytes, put together side by side: all rows of a part at once."""

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Cells: TypeAlias = npt.NDArray[Any]
"""A value for each row."""
Text: TypeAlias = npt.NDArray[np.uint8]
"""(n, width): n rows of one width."""


Piece: TypeAlias = bytes | memoryview


class Ragged(NamedTuple):
    """Rows of different `lengths`, in bytes."""

    texts: Sequence[bytes]
    lengths: Cells


Solid: TypeAlias = bytes | Text
"""A part that is of one width: the same in all rows, or not."""
Part: TypeAlias = Solid | Ragged


class Rows(NamedTuple):
    """Rows whose `segments` stand side by side; each is `lengths` bytes long in all."""

    segments: Sequence[Text | Ragged]
    lengths: Cells

    def pieces(self, first: int, last: int) -> Iterable[Piece]:
        """Return the rows from `first` up to `last`, one after the other; in pieces."""
        if len(self.segments) > 1:
            columns = [_single(segment, first, last) for segment in self.segments]
            return chain.from_iterable(zip(*columns, strict=True))
        segment = self.segments[0]
        if isinstance(segment, Ragged):
            return segment.texts[first:last]
        return (segment[first:last].data,)


def ragged(texts: Sequence[bytes]) -> Ragged:
    """Return rows of different lengths."""
    return Ragged(texts, np.array([len(text) for text in texts]))


def chosen(texts: Sequence[bytes], which: Cells) -> Part:
    """Return one of some texts for each row."""
    if len(texts) == 1:
        return texts[0]
    lengths = np.array([len(text) for text in texts])
    if (lengths == lengths[0]).all():
        return np.frombuffer(b"".join(texts), np.uint8).reshape(len(texts), -1)[which]
    return Ragged([texts[each] for each in which.tolist()], lengths[which])


def rows_of(parts: Iterable[Part], count: int) -> Rows:
    """Put the parts of so many rows together, in as few segments as can be."""
    segments: list[Text | Ragged] = []
    solid: list[Solid] = []
    for part in parts:
        if not isinstance(part, Ragged):
            solid.append(part)
            continue
        if solid:
            segments.append(rectangle(solid, count))
            solid = []
        segments.append(part)
    if solid:
        segments.append(rectangle(solid, count))
    lengths = np.zeros(count, np.int64)
    for segment in segments:
        lengths += segment.lengths if isinstance(segment, Ragged) else segment.shape[1]
    return Rows(segments, lengths)


def texts_of(rows: Rows) -> Sequence[bytes]:
    """Return each row as bytes."""
    segments = [_single(segment, 0, len(rows.lengths)) for segment in rows.segments]
    return [b"".join(row) for row in zip(*segments, strict=True)]


def by_row(text: Text, bounds: Cells) -> Iterable[tuple[int, bytes]]:
    """Yield how many rows there are from each bound up to the next, and these as one text."""
    width, data = text.shape[1], text.tobytes()
    for first, last in pairwise(bounds.tolist()):
        yield last - first, data[first * width : last * width]


def rectangle(parts: Sequence[Solid], count: int) -> Text:
    """Put parts together: first what is the same for all rows, then what is not."""
    widths = [len(part) if isinstance(part, bytes) else part.shape[1] for part in parts]
    template = b"".join(
        part if isinstance(part, bytes) else bytes(width)
        for part, width in zip(parts, widths, strict=True)
    )
    rows = np.empty((count, len(template)), np.uint8)
    rows[:] = np.frombuffer(template, np.uint8)
    place = 0
    for part, width in zip(parts, widths, strict=True):
        if not isinstance(part, bytes):
            rows[:, place : place + width] = part
        place += width
    return rows


def _single(segment: Text | Ragged, first: int, last: int) -> Sequence[bytes]:
    """Return rows of a segment, a piece each."""
    if isinstance(segment, Ragged):
        return segment.texts[first:last]
    width = segment.shape[1]
    data = segment[first:last].tobytes()
    return [data[place : place + width] for place in range(0, len(data), width)]
