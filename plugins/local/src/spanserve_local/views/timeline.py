"""Requests against batches over time: who waited for what, and which batch took whom."""

from typing import Any, Final

import numpy as np

from spanserve_local.store.arrays import Cells
from spanserve_local.store.reader import Reader
from spanserve_local.store.snapshot import Entries
from spanserve_local.store.summary import NONE, Kind
from spanserve_local.views.filters import Filters, chosen
from spanserve_local.views.listing import ids_of

_NS_IN_MS: Final = 1e6
_US: Final = 1000


def timeline(reader: Reader, filters: Filters, *, limit: int = 2000) -> dict[str, Any]:
    """Return the batches and requests of an endpoint and a time, in columns, oldest first."""
    entries = reader.entries(since_ns=filters.since_ns, until_ns=filters.until_ns)
    rows = chosen(entries, filters)
    kinds = entries.columns["kind"][rows]
    requests, out_requests = _newest(entries, rows[kinds == Kind.REQUEST], limit)
    batches, out_batches = _newest(entries, rows[kinds == Kind.BATCH], limit)
    return {
        "batches": _batches(entries, batches),
        "requests": _requests(entries, requests, batches),
        "left_out": out_requests + out_batches + entries.left_out,
    }


def _newest(entries: Entries, rows: Cells, limit: int) -> tuple[Cells, int]:
    start_ns = entries.columns["start_ns"][rows]
    kept = np.arange(len(rows))
    if len(rows) > limit:
        kept = np.argpartition(start_ns, len(rows) - limit)[-limit:]
    kept = kept[np.argsort(start_ns[kept], kind="stable")]
    return rows[kept], len(rows) - len(kept)


def _batches(entries: Entries, rows: Cells) -> dict[str, Any]:
    columns = entries.columns
    start = columns["start_ns"][rows]
    run = _moment(start, columns["run_at_us"][rows])
    return {
        "trace_id": ids_of(columns["high"][rows], columns["low"][rows]),
        "released_ms": _times(start),
        "started_ms": _times(_moment(start, columns["queued_us"][rows])),
        "run_ms": _times(run),
        "ran_ms": _times(_after(run, columns["run_us"][rows])),
        "ended_ms": _times(start + columns["duration_ns"][rows]),
        "size": columns["batch_size"][rows].tolist(),
        "reason": _reasons(entries, rows),
        "error": columns["error"][rows].astype(int).tolist(),
    }


def _requests(entries: Entries, rows: Cells, batches: Cells) -> dict[str, Any]:
    columns = entries.columns
    start = columns["start_ns"][rows]
    queued = _moment(start, columns["queued_us"][rows])
    run = _moment(start, columns["run_at_us"][rows])
    peers, runner = columns["peers_us"][rows], columns["runner_us"][rows]
    waited = np.maximum(peers, 0) + np.maximum(runner, 0)
    return {
        "trace_id": ids_of(columns["high"][rows], columns["low"][rows]),
        "start_ms": _times(start),
        "queued_ms": _times(queued),
        "released_ms": _times(_after(queued, waited)),
        "run_ms": _times(run),
        "ran_ms": _times(_after(run, columns["run_us"][rows])),
        "ended_ms": _times(start + columns["duration_ns"][rows]),
        "size": columns["batch_size"][rows].tolist(),
        "reason": _reasons(entries, rows),
        "batch": _places(entries, rows, batches),
        "wait_peers_ms": _lengths(peers),
        "wait_runner_ms": _lengths(runner),
        "wait_start_ms": _lengths(columns["to_start_us"][rows]),
        "error": columns["error"][rows].astype(int).tolist(),
    }


def _reasons(entries: Entries, rows: Cells) -> list[str | None]:
    return [entries.names[each] or None for each in entries.columns["reason"][rows].tolist()]


def _places(entries: Entries, requests: Cells, batches: Cells) -> list[int]:
    """Return which of the batches took each request; -1: none of these."""
    columns = entries.columns
    places = {
        (high, low): place
        for place, (high, low) in enumerate(
            zip(columns["high"][batches].tolist(), columns["low"][batches].tolist(), strict=True)
        )
    }
    wanted = zip(
        columns["batch_high"][requests].tolist(),
        columns["batch_low"][requests].tolist(),
        strict=True,
    )
    return [places.get(each, -1) for each in wanted]


def _moment(start_ns: Cells, after_us: Cells) -> Cells:
    """Return moments in ns; -1 where there was none."""
    return np.where(after_us == NONE, NONE, start_ns + after_us.astype(np.int64) * _US)


def _after(moment_ns: Cells, length_us: Cells) -> Cells:
    there = (moment_ns != NONE) & (length_us != NONE)
    return np.where(there, moment_ns + length_us.astype(np.int64) * _US, NONE)


def _times(ns: Cells) -> list[float | None]:
    values = np.round(ns / _NS_IN_MS, 3).tolist()
    return [
        None if missing else each
        for each, missing in zip(values, (ns == NONE).tolist(), strict=True)
    ]


def _lengths(us: Cells) -> list[float | None]:
    return [None if each == NONE else each / _US for each in us.tolist()]
