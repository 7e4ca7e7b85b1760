"""The list of traces, the points of the scatter, the endpoints, and what there is at all."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np

from spanserve_local.store.arrays import Cells
from spanserve_local.store.reader import Reader
from spanserve_local.store.snapshot import Entries
from spanserve_local.store.summary import NONE, Kind
from spanserve_local.views.filters import Filters, found

Sort = Literal["start", "duration", "batch_size"]
Order = Literal["desc", "asc"]

KIND_NAMES: Final = ("request", "batch", "other", "part")
CURSOR: Final = r"-?[0-9]{1,19}\.[0-9a-f]{1,16}"
_KEYS: Final = {"start": "start_ns", "duration": "duration_ns", "batch_size": "batch_size"}
_US_IN_MS: Final = 1000
_NS_IN_MS: Final = 1e6


def ms(ns: Any) -> float:
    """Return a time in ms, to the µs."""
    return round(int(ns) / _NS_IN_MS, 3)


def id_text(high: Any, low: Any) -> str | None:
    """Return a trace's id; None for none."""
    return f"{int(high):016x}{int(low):016x}" if high or low else None


def traces(
    reader: Reader,
    filters: Filters,
    *,
    sort: Sort = "start",
    order: Order = "desc",
    limit: int = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Return a page of the list, and where the next begins."""
    entries, rows, left_out = found(reader, filters)
    key = entries.columns[_KEYS[sort]][rows].astype(np.int64)
    ids = entries.columns["span_id"][rows]
    if order == "desc":
        key = -key
    if cursor is not None:
        value, span_id = _place(cursor)
        value = -value if order == "desc" else value
        after = (key > value) | ((key == value) & (ids > span_id))
        rows, key, ids = rows[after], key[after], ids[after]
    page = _first(key, ids, limit)
    is_more = len(page) < len(rows)
    items = [entry(entries, row) for row in rows[page].tolist()]
    last = f"{abs(int(key[page[-1]]))}.{int(ids[page[-1]]):x}" if is_more and limit else None
    newest = entries.columns["start_ns"].max(initial=0)
    return {
        "traces": items,
        "next": last,
        "newest_ms": ms(newest) if newest else None,
        "left_out": left_out,
    }


def _place(cursor: str) -> tuple[int, np.uint64]:
    if not re.fullmatch(CURSOR, cursor):
        raise ValueError("this is no cursor of a list; leave it out to begin")
    value, _, span_id = cursor.partition(".")
    return max(-(1 << 62), min(int(value), 1 << 62)), np.uint64(int(span_id, 16))


def _first(key: Cells, ids: Cells, limit: int) -> Cells:
    """Return the places of the first rows in order; ids decide between those that are alike."""
    places = np.arange(len(key))
    if len(key) > limit:
        bound = np.partition(key, limit - 1)[limit - 1]
        places = np.flatnonzero(key <= bound)
    return places[np.lexsort((ids[places], key[places]))][:limit]


def entry(entries: Entries, row: int) -> dict[str, Any]:
    """Return an entry as a row of the list."""
    at, names = entries.row(row), entries.names
    waits = [int(at[name]) for name in ("peers_us", "runner_us", "to_start_us") if at[name] != NONE]
    return {
        "trace_id": id_text(at["high"], at["low"]),
        "span_id": f"{int(at['span_id']):016x}",
        "kind": KIND_NAMES[at["kind"]],
        "name": names[at["name"]],
        "endpoint": names[at["endpoint"]] or None,
        "start_ms": ms(at["start_ns"]),
        "duration_ms": ms(at["duration_ns"]),
        "status": int(at["status"]) or None,
        "error": bool(at["error"]),
        "batch_trace_id": id_text(at["batch_high"], at["batch_low"]),
        "batch_size": int(at["batch_size"]) or None,
        "reason": names[at["reason"]] or None,
        "wait_ms": sum(waits) / _US_IN_MS if waits else None,
        "run_ms": _length(at["run_us"]),
        "spans": int(at["spans"]),
    }


def _length(us: Any) -> float | None:
    return None if us == NONE else int(us) / _US_IN_MS


def points(reader: Reader, filters: Filters, *, limit: int = 5000) -> dict[str, Any]:
    """Return what a scatter of durations shows, in columns; the newest, if there are too many."""
    entries, rows, left_out = found(reader, filters)
    columns = entries.columns
    start_ns = columns["start_ns"]
    page = rows[_first(-start_ns[rows], columns["span_id"][rows], limit)][::-1]
    kinds = columns["kind"][page].tolist()
    return {
        "trace_id": ids_of(columns["high"][page], columns["low"][page]),
        "start_ms": times(start_ns[page]),
        "duration_ms": times(columns["duration_ns"][page]),
        "error": (columns["error"][page] != 0).astype(int).tolist(),
        "kind": [KIND_NAMES[kind] for kind in kinds],
        "left_out": left_out + len(rows) - len(page),
    }


def times(ns: Cells) -> list[float]:
    """Return times in ms, to the µs."""
    values: list[float] = np.round(ns / _NS_IN_MS, 3).tolist()
    return values


def ids_of(high: Cells, low: Cells) -> list[str]:
    """Return the ids of traces."""
    pairs = np.stack((high, low), axis=1).astype(">u8").tobytes().hex()
    return [pairs[at : at + 32] for at in range(0, len(pairs), 32)]


def ids_that_begin(reader: Reader, digits: str) -> list[str]:
    """Return the ids of traces that begin with some hex digits, each once."""
    columns = reader.entries().columns
    high, low = columns["high"], columns["low"]
    first, second = digits[:16], digits[16:]
    least, most = (np.uint64(int(first.ljust(16, end), 16)) for end in "0f")
    like = (high >= least) & (high <= most)
    if second:
        least, most = (np.uint64(int(second.ljust(16, end), 16)) for end in "0f")
        like &= (low >= least) & (low <= most)
    return list(dict.fromkeys(ids_of(high[like], low[like])))


def endpoints(reader: Reader) -> dict[str, Any]:
    """Return the endpoints that have traces, the busiest first."""
    entries = reader.entries()
    columns = entries.columns
    rows: list[dict[str, Any]] = []
    for number in np.unique(columns["endpoint"]).tolist():
        own = columns["endpoint"] == number
        kinds = columns["kind"][own]
        is_listed = ((kinds == Kind.REQUEST) | (kinds == Kind.BATCH)).any()
        if entries.names[number] and is_listed:
            rows.append(
                {
                    "endpoint": entries.names[number],
                    "requests": int((kinds == Kind.REQUEST).sum()),
                    "batches": int((kinds == Kind.BATCH).sum()),
                    "newest_ms": ms(columns["start_ns"][own].max()),
                }
            )
    return {"endpoints": sorted(rows, key=lambda row: (-row["requests"], row["endpoint"]))}


def status(reader: Reader, version: str) -> dict[str, Any]:
    """Return how much there is, within which bounds."""
    totals: Mapping[str, Any] = reader.totals()
    limits = totals["limits"]
    return {
        "version": version,
        "service": totals["service"],
        "traces": totals["traces"],
        "spans": totals["spans"],
        "bytes": totals["bytes"],
        "max_bytes": limits.get("max_bytes"),
        "max_age_s": limits.get("max_age_s"),
        "oldest_ms": ms(totals["oldest_ns"]) if totals["oldest_ns"] else None,
        "newest_ms": ms(totals["newest_ns"]) if totals["newest_ns"] else None,
        "dropped": totals["dropped"],
    }
