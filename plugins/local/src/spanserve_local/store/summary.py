"""What the lists show of each entry of a trace: a row of numbers, and the names they stand for.

An entry is a request, a batch, a start, or what came later to one of these.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np

from spanserve_local.store.arrays import Cells, Packing, Unpacking


class Kind(IntEnum):
    """What an entry is; parts came without a root of their own, as late spans do."""

    REQUEST = 0
    BATCH = 1
    OTHER = 2
    PART = 3


NONE: Final = -1
"""A length or a moment that there was not."""

FIELDS: Final[Mapping[str, str]] = {
    "high": "u8",
    "low": "u8",
    "span_id": "u8",
    "start_ns": "i8",
    "duration_ns": "i8",
    "batch_high": "u8",
    "batch_low": "u8",
    "kind": "u1",
    "error": "u1",
    "status": "i4",
    "spans": "i4",
    "batch_size": "i4",
    "name": "i4",
    "endpoint": "i4",
    "reason": "i4",
    # Moments from the entry's start on, and lengths; in µs. Of a batch, `queued_us` is when its
    # method's argument was begun.
    "queued_us": "i4",
    "peers_us": "i4",
    "runner_us": "i4",
    "to_start_us": "i4",
    "decode_us": "i4",
    "run_at_us": "i4",
    "run_us": "i4",
    "encode_us": "i4",
}
NAMED: Final = ("name", "endpoint", "reason")
_MOST: Final = (1 << 31) - 1


class Names:
    """Gives each name a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """Return a name's number."""
        return self._numbers.setdefault(name, len(self._numbers))

    @property
    def all(self) -> list[str]:
        """Return all names by their numbers."""
        return list(self._numbers)


@dataclass(frozen=True, slots=True)
class Summary:
    """Entries in columns, by the names of `FIELDS`; those of `NAMED` are numbers of `names`."""

    columns: Mapping[str, Cells]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.columns["low"])

    def taken(self, rows: Cells | slice) -> "Summary":
        """Return some of the entries."""
        return Summary({name: cells[rows] for name, cells in self.columns.items()}, self.names)

    def renamed(self, names: Names) -> "Summary":
        """Return the same with the numbers of these names, which learn those that are new."""
        numbers = np.array([names.number(name) for name in self.names], np.int32)
        new = {field: numbers[self.columns[field]] for field in NAMED}
        return Summary({**self.columns, **new}, ())


def summary_of(columns: Mapping[str, Any], names: Sequence[str]) -> Summary:
    """Return entries whose columns have any width, each within bounds; of those left out, none."""
    count = len(columns["low"])
    made = {}
    for field, kind in FIELDS.items():
        given = columns.get(field)
        if given is None:
            missing = NONE if field.endswith("_us") else 0
            made[field] = np.full(count, missing, kind)
        else:
            most = np.minimum(given, _MOST) if kind == "i4" else given
            made[field] = np.asarray(most).astype(kind)
    return Summary(made, names)


def joined(several: Sequence[Summary]) -> Summary:
    """Return all entries as one; those of the first come first."""
    if len(several) == 1:
        return several[0]
    names = Names()
    same = [each.renamed(names) for each in several]
    columns = {
        field: np.concatenate([each.columns[field] for each in same]) if same else np.empty(0, kind)
        for field, kind in FIELDS.items()
    }
    return Summary(columns, names.all)


def encoded(summary: Summary) -> bytes:
    """Return a summary as bytes."""
    packing = Packing()
    forms = {name: packing.add(cells) for name, cells in summary.columns.items()}
    head = json.dumps([len(summary), list(summary.names), forms], separators=(",", ":"))
    return head.encode() + b"\n" + packing.data


def decoded(data: bytes) -> Summary:
    """Return the summary again; raises ValueError where the bytes are broken."""
    head, _, rest = data.partition(b"\n")
    count, names, forms = json.loads(head)
    unpacking = Unpacking(rest)
    columns = {name: unpacking.take(form, count) for name, form in forms.items()}
    return summary_of(columns, names)


def micros(ns: Iterable[int] | Cells) -> Cells:
    """Return lengths in ns as whole µs."""
    values = np.asarray(ns, np.int64)
    return np.where(values < 0, NONE, values // 1000)
