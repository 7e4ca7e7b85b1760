"""The entries of many chunks, as they are at one moment."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spanserve_local.store.arrays import Cells
from spanserve_local.store.summary import FIELDS


class Chunk(NamedTuple):
    """A chunk of the file, without what it holds."""

    id: int
    first_ns: int
    last_ns: int
    traces: int


class Lazy(Mapping[str, Cells]):
    """The columns of `FIELDS`, each made when it is asked for, and then kept."""

    def __init__(self, make: Callable[[str], Cells]) -> None:
        self._make = make
        self._made: dict[str, Cells] = {}

    def __getitem__(self, field: str) -> Cells:
        if field not in self._made:
            self._made[field] = self._make(field)
        return self._made[field]

    def __iter__(self) -> Iterator[str]:
        return iter(FIELDS)

    def __len__(self) -> int:
        return len(FIELDS)


class Entries:
    """The entries that a question looks at, the newest chunk first.

    `names` are those of the columns' numbers, and `chunk` says by row which of `chunks` it is in.
    `left_out` counts entries in the same time that were too many to look at.
    """

    def __init__(
        self,
        chunks: Sequence[Chunk],
        parts: Sequence[Mapping[str, Cells]],
        names: Sequence[str],
        left_out: int,
    ) -> None:
        self.chunks = chunks
        self.names = names
        self.left_out = left_out
        counts = [len(part["low"]) for part in parts]
        self.chunk = np.repeat(np.arange(len(chunks)), counts)
        self.columns: Mapping[str, Cells] = Lazy(self._joined)
        self._parts = parts
        self._first = np.concatenate(([0], np.cumsum(counts)))

    def _joined(self, field: str) -> Cells:
        kind = FIELDS[field]
        return np.concatenate(
            [np.empty(0, kind), *(part[field] for part in self._parts)], dtype=kind
        )

    def row(self, row: int) -> Mapping[str, Any]:
        """Return one entry, without a look at all others."""
        part = int(self.chunk[row])
        at = row - int(self._first[part])
        return {field: cells[at] for field, cells in self._parts[part].items()}

    def number(self, name: str) -> int:
        """Return a name's number; -1 where no entry has it."""
        try:
            return self.names.index(name)
        except ValueError:
            return -1
