"""Rows of bytes, put together side by side: what is the same in all is copied into all at once."""

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from spanserve import checkpoint
from spanserve_zipkin.encoding.cells import Cells, Text, from_texts

_OPEN, _CLOSE = b"[]"
_MOST_BLANKS: Final = 16  # a text, on average: more are dearer than rows of different lengths


class Ragged(NamedTuple):
    """A text for each row, of different lengths."""

    texts: Sequence[bytes]


Solid: TypeAlias = bytes | Text
"""A part of one width: the same in all rows, or a text for each."""
Part: TypeAlias = Solid | Ragged


def chosen(texts: Sequence[bytes], which: Cells) -> Part:
    """Return one of some texts for each row, with blanks before it where these are few."""
    if len(texts) == 1:
        return texts[0]
    lengths = np.array([*map(len, texts)])
    widest = int(lengths.max(initial=0))
    if widest * len(which) - int(lengths[which].sum()) > _MOST_BLANKS * len(which) or (
        len(texts) * widest > 2 * int(lengths.sum()) + _MOST_BLANKS
    ):
        return Ragged([texts[each] for each in which.tolist()])
    return from_texts(texts)[which]


class Rows:
    """Rows whose parts stand side by side."""

    def __init__(self, parts: Iterable[Part], count: int) -> None:
        self._count = count
        self._segments = [*_segments(parts)]

    def __len__(self) -> int:
        """How many bytes they are."""
        return sum(
            sum(map(len, each.texts)) if isinstance(each, Ragged) else each.width * self._count
            for each in self._segments
        )

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self._count

    def lengths(self) -> Cells:
        """Return how many bytes each row is."""
        lengths = np.zeros(self._count, np.int64)
        for each in self._segments:
            lengths += [*map(len, each.texts)] if isinstance(each, Ragged) else each.width
        return lengths

    def part(self, first: int, last: int) -> "Rows":
        """Return the rows from `first` up to `last`."""
        parts: list[Part] = []
        for each in self._segments:
            if isinstance(each, Ragged):
                parts.append(Ragged(each.texts[first:last]))
            else:
                parts += [p if isinstance(p, bytes) else p[first:last] for p in each.parts]
        return Rows(parts, last - first)

    def write(self, body: bytearray, start: int) -> None:
        """Write all rows, one after the other, from this place of a body on."""
        rectangle = self._rectangle()
        if rectangle is not None:
            rectangle.write(body, start, self._count)
            return
        body[start : start + len(self)] = b"".join(chain.from_iterable(self._pieces()))

    def texts(self) -> list[bytes]:
        """Return each row."""
        return [b"".join(row) for row in self._pieces()]

    def joined(self, bounds: Cells, between: bytes = b"") -> list[bytes]:
        """Return the rows from each bound up to the next as one text."""
        rectangle = self._rectangle()
        if rectangle is not None and not between:
            body = bytearray(len(self))
            self.write(body, 0)
            whole = bytes(body)
            return [whole[a:b] for a, b in pairwise((bounds * rectangle.width).tolist())]
        texts = self.texts()
        return [between.join(texts[first:last]) for first, last in pairwise(bounds.tolist())]

    def _rectangle(self) -> "_Rectangle | None":
        """Return what holds all rows, where they are of one width."""
        first = self._segments[0]
        return first if len(self._segments) == 1 and isinstance(first, _Rectangle) else None

    def _pieces(self) -> Iterable[tuple[bytes, ...]]:
        """Yield the pieces of each row."""
        columns = [
            each.texts if isinstance(each, Ragged) else each.texts(self._count)
            for each in self._segments
        ]
        return zip(*columns, strict=True)


class _Rectangle:
    """Parts that are of one width each."""

    def __init__(self, parts: Sequence[Solid]) -> None:
        self.parts = parts
        self._widths = [len(part) if isinstance(part, bytes) else part.shape[1] for part in parts]
        self.width = sum(self._widths)

    def write(self, body: bytearray, start: int, count: int) -> None:
        if not count * self.width:
            return
        template = b"".join(
            part if isinstance(part, bytes) else bytes(width)
            for part, width in zip(self.parts, self._widths, strict=True)
        )
        rows = np.ndarray((count, self.width), np.uint8, body, start)
        rows[:] = np.frombuffer(template, np.uint8)
        for part, each in zip(self.parts, self._widths, strict=True):
            if each and not isinstance(part, bytes):
                # A part is one value of so many bytes: quicker by a third than a byte each.
                kind = f"V{each}"
                np.ndarray((count,), kind, body, start, (self.width,))[:] = part.view(kind)[:, 0]
            start += each

    def texts(self, count: int) -> Sequence[bytes]:
        if len(self.parts) == 1 and isinstance(self.parts[0], bytes):
            return [self.parts[0]] * count
        body = bytearray(count * self.width)
        self.write(body, 0, count)
        whole, width = bytes(body), self.width
        return [whole[start : start + width] for start in range(0, len(whole), width)]


def _segments(parts: Iterable[Part]) -> Iterable[_Rectangle | Ragged]:
    solid: list[Solid] = []
    for part in parts:
        if not isinstance(part, Ragged):
            solid.append(part)
            continue
        if solid:
            yield _Rectangle(solid)
            solid = []
        yield part
    if solid:
        yield _Rectangle(solid)


def body_of(several: Sequence[Rows]) -> bytearray:
    """Return an array of JSON of its members, each with a comma before it.

    Megabytes: so they are written at once where they shall stand, and not copied together.
    """
    body = bytearray(max(1, sum(map(len, several))) + 1)
    end = 0
    for rows in several:
        checkpoint()
        start, end = end, end + len(rows)
        rows.write(body, start)
    body[0], body[-1] = _OPEN, _CLOSE
    return body


def parts_of(several: Sequence[Rows], first: int, last: int) -> list[Rows]:
    """Return the rows from the `first` up to the `last`, counted through all in turn."""
    found = []
    for rows in several:
        if first < rows.count and last > 0:
            found.append(rows.part(max(first, 0), min(last, rows.count)))
        first, last = first - rows.count, last - rows.count
    return found


def lengths_of(several: Sequence[Rows]) -> Sequence[int]:
    """Return how many bytes each row is."""
    return [*chain.from_iterable(rows.lengths().tolist() for rows in several)]
