"""Which entries a question is about."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from spanserve_local.store.arrays import Cells
from spanserve_local.store.reader import Reader
from spanserve_local.store.snapshot import Entries
from spanserve_local.store.summary import Kind
from spanserve_local.store.table import Block, Table

KindName = Literal["request", "batch", "other"]
KINDS: Final[Mapping[str, Kind]] = {
    "request": Kind.REQUEST,
    "batch": Kind.BATCH,
    "other": Kind.OTHER,
}
STATUS: Final = r"[1-5][0-9][0-9]|[1-5]xx|error"
SEARCH_S: Final = 3.0
"""How long a search in texts goes on: back in time, from the newest."""

_HEX: Final = re.compile(r"[0-9a-f]{32}")
_NS_IN_MS: Final = 1_000_000
_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Filters:
    """What entries must be like; None: that does not matter."""

    endpoint: str | None = None
    kind: KindName | None = None
    status: str | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    since_ms: float | None = None
    until_ms: float | None = None
    batch_min: int | None = None
    batch_max: int | None = None
    reason: str | None = None
    text: str | None = None

    @property
    def since_ns(self) -> int | None:
        """Return when entries begin, at the earliest."""
        return None if self.since_ms is None else nanoseconds(self.since_ms)

    @property
    def until_ns(self) -> int | None:
        """Return when entries begin, at the latest."""
        return None if self.until_ms is None else nanoseconds(self.until_ms)


def nanoseconds(ms: float) -> int:
    """Return a time in ms in ns, within what a file can hold."""
    return int(max(-9e12, min(9e12, ms)) * _NS_IN_MS)


def chosen(entries: Entries, filters: Filters) -> Cells:
    """Return the rows of the entries that pass, the text left aside."""
    columns = entries.columns
    passes = columns["kind"] != Kind.PART
    if filters.kind is not None:
        passes &= columns["kind"] == KINDS[filters.kind]
    if filters.endpoint is not None:
        passes &= columns["endpoint"] == entries.number(filters.endpoint)
    if filters.reason is not None:
        passes &= columns["reason"] == entries.number(filters.reason)
    if filters.status is not None:
        passes &= _has_status(columns, filters.status)
    for column, least, most in (
        ("start_ns", filters.since_ns, filters.until_ns),
        ("duration_ns", _ns(filters.min_ms), _ns(filters.max_ms)),
        ("batch_size", filters.batch_min, filters.batch_max),
    ):
        if least is not None:
            passes &= columns[column] >= least
        if most is not None:
            passes &= columns[column] <= most
    return np.flatnonzero(passes)


def _ns(ms: float | None) -> int | None:
    return None if ms is None else nanoseconds(ms)


def _has_status(columns: Mapping[str, Cells], status: str) -> Cells:
    if status == "error":
        has: Cells = columns["error"] != 0
    elif status.endswith("xx"):
        has = columns["status"] // 100 == int(status[0])
    else:
        has = columns["status"] == int(status)
    return has


def found(reader: Reader, filters: Filters) -> tuple[Entries, Cells, int]:
    """Return entries, the rows of those that pass, and how many could not be looked at."""
    entries = reader.entries(since_ns=filters.since_ns, until_ns=filters.until_ns)
    rows = chosen(entries, filters)
    if not filters.text:
        return entries, rows, entries.left_out
    rows, left_out = _with_text(reader, entries, rows, filters.text)
    return entries, rows, left_out + entries.left_out


def _with_text(reader: Reader, entries: Entries, rows: Cells, text: str) -> tuple[Cells, int]:
    """Search chunk by chunk, from the newest on, as long as there is time."""
    text = text.strip().lower()
    give_up_s = time.monotonic() + SEARCH_S
    kept: list[Cells] = []
    in_chunk = entries.chunk[rows]
    for number, chunk in enumerate(entries.chunks):
        here = rows[in_chunk == number]
        if not len(here):
            continue
        if time.monotonic() > give_up_s:
            return np.concatenate([rows[:0], *kept]), int((in_chunk >= number).sum())
        low = _traces_with(reader.blocks(chunk.id), text)
        kept.append(here[np.isin(entries.columns["low"][here], low)])
    return np.concatenate([rows[:0], *kept]), 0


def _traces_with(blocks: list[Block], text: str) -> Cells:
    """Return the lower halves of the ids of traces with a text in a name or a value."""
    found_in = [table.low[_rows_with(table, text)] for block in blocks for table in block]
    if _HEX.fullmatch(text):
        found_in.append(np.array([int(text[_DIGITS:], 16)], np.uint64))
    return np.unique(np.concatenate([np.empty(0, np.uint64), *found_in]))


def _rows_with(table: Table, text: str) -> Cells:
    if text in table.name.lower():
        return np.arange(len(table.low))
    common = [_says(line, text) for line in table.common]
    rows = np.array(common, np.bool_)[table.which] if common else np.zeros(len(table.low), np.bool_)
    for row, line in table.rare.items():
        rows[row] |= _says(line, text)
    for cells in table.own.values():
        if cells.dtype.kind == "S":
            lower: Any = np.char.lower(cells)
            rows |= np.char.find(lower, text.encode()) >= 0
        elif cells.dtype.kind in "iu" and text.isdecimal():
            rows |= cells == min(int(text[:18]), (1 << 63) - 1)
    return np.flatnonzero(rows)


def _says(line: str, text: str) -> bool:
    """Whether some value in a JSON text has a text; in JSON, what is not ASCII looks different."""
    if text.isascii() and '"' not in text and "\\" not in text and text not in line.lower():
        return False
    return _has(json.loads(line), text)


def _has(value: Any, text: str) -> bool:
    if isinstance(value, Mapping):
        return any(_has(each, text) for each in value.values())
    if isinstance(value, list):
        return any(_has(each, text) for each in value)
    return text in str(value).lower()
