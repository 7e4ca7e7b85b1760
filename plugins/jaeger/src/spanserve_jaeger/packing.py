"""Rows of records to packets, each as full as whole records make it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spanserve_jaeger.encoding.rows import Piece, Rows
from spanserve_jaeger.records import Block, Records


class Load(NamedTuple):
    """What goes into one packet: `spans` Span structs, one after the other."""

    pieces: Sequence[Piece]
    spans: int
    records: Sequence[Records]


class Packing:
    """Fills loads of at most `max_bytes` with records, across blocks."""

    def __init__(self, max_bytes: int) -> None:
        self.loads: list[Load] = []
        self._max_bytes = max_bytes
        self._begin()

    def add(self, block: Block, rows: Rows) -> Sequence[Records]:
        """Add all records of a block; return those that are too long for any load."""
        ends = np.cumsum(rows.lengths)
        too_long: list[Records] = []
        first = start = 0
        while first < len(ends):
            last = int(np.searchsorted(ends, start + self._free, side="right"))
            if last > first:
                self._pieces += rows.pieces(first, last)
                self._records.append(Records(block, first, last))
                self._spans += (last - first) * len(block)
                self._free -= int(ends[last - 1]) - start
                first, start = last, int(ends[last - 1])
            elif self._records:
                self.finish()
            else:
                too_long.append(Records(block, first, first + 1))
                first, start = first + 1, int(ends[first])
        return too_long

    def finish(self) -> None:
        """Close the load that is being filled, if any."""
        if self._records:
            self.loads.append(Load(self._pieces, self._spans, self._records))
            self._begin()

    def _begin(self) -> None:
        self._free = self._max_bytes
        self._pieces: list[Piece] = []
        self._spans = 0
        self._records: list[Records] = []
