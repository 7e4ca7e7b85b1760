"""The summary of the spans of one export: a row for each request, batch and start.

A span is an entry where its parent is not of the same export, or where it is a request: a service
may ask itself.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from spanserve import Column, SpanKind
from spanserve_local.store.arrays import Cells
from spanserve_local.store.family import parents_of, tops_of
from spanserve_local.store.summary import FIELDS, NONE, Kind, Names, Summary, micros

ENDPOINT: Final = "spanserve.endpoint"
REASON: Final = "spanserve.release_reason"
SIZE: Final = "spanserve.batch.size"
BATCH_TRACE: Final = "spanserve.batch.trace_id"
PEERS: Final = "spanserve.wait.for_peers_ms"
RUNNER: Final = "spanserve.wait.for_runner_ms"
TO_START: Final = "spanserve.wait.for_start_ms"
LATE: Final = "spanserve.late"
STATUS: Final = "http.response.status_code"
ROUTE: Final = "http.route"
_BATCH: Final = "batch "
_SERVER_ERROR: Final = 500
_NO_TRACE: Final = "0" * 32
_MOST_US: Final = (1 << 31) - 1


def halves(trace_ids: Cells) -> tuple[Cells, Cells]:
    """Return ids of 32 hex digits (`S32`) as two numbers each."""
    numbers = np.frombuffer(bytes.fromhex(trace_ids.tobytes().decode()), ">u8").astype(np.uint64)
    return numbers[::2].copy(), numbers[1::2].copy()


class Rows(NamedTuple):
    """A column, its trace ids as numbers, and where its rows begin among those of all columns."""

    column: Column
    high: Cells
    low: Cells
    first: int

    @property
    def rows(self) -> slice:
        """Return its place among all."""
        return slice(self.first, self.first + len(self.low))


class _Entries:
    """The entries of some columns while their fields are gathered; each has a slot."""

    def __init__(self, columns: Sequence[Rows], parents: Cells) -> None:
        tops = tops_of(parents)
        self.parents = np.where(parents[tops] < 0, parents, -1)  # a circle has no top
        parents = self.parents
        roots = np.flatnonzero(parents < 0)
        self.slots = np.full(len(parents), NONE)
        self.slots[roots] = np.arange(len(roots))
        self.fields: dict[str, Cells] = {
            field: np.full(len(roots), NONE if field.endswith("_us") else 0, kind)
            for field, kind in FIELDS.items()
        }
        slots = self.slots[tops_of(parents)]
        self.put("spans", slice(None), np.bincount(slots, minlength=len(roots)))
        self.queue_ends_ns = np.full(len(roots), NONE)
        self.start_ns = np.zeros(len(roots), np.int64)
        for each in columns:
            own = self.slots[each.rows]
            self.start_ns[own[own >= 0]] = each.column.start_ns[own >= 0]

    def put(self, field: str, slots: Cells | slice, values: Any) -> None:
        """Set a field of some entries, within its bounds."""
        cells = self.fields[field]
        most = _MOST_US if cells.dtype == np.int32 else None
        cells[slots] = values if most is None else np.minimum(values, most)


def entries_of(columns: Sequence[Sequence[Rows]], names: Names) -> Summary:
    """Return the summary of blocks of columns."""
    every = [each for block in columns for each in block]
    entries = _Entries(every, parents_of([[rows.column for rows in block] for block in columns]))
    for name in ("name", "endpoint", "reason"):
        entries.put(name, slice(None), names.number(""))
    for each in every:
        slots = entries.slots[each.rows]
        if (slots >= 0).any():
            _fill_roots(entries, each, slots >= 0, slots, names)
    for each in every:
        above = entries.parents[each.rows]
        slots = np.where(above >= 0, entries.slots[above], NONE)
        if (slots >= 0).any():
            _fill_part(entries, each.column, slots >= 0, slots, names)
    return Summary(entries.fields, names.all)


def _fill_roots(entries: _Entries, each: Rows, own: Cells, slots: Cells, names: Names) -> None:
    column, to = each.column, slots[own]
    is_batch = column.name.startswith(_BATCH) and _says(column, SIZE)
    is_request = column.kind is SpanKind.SERVER
    kind = Kind.REQUEST if is_request else Kind.BATCH if is_batch else Kind.OTHER
    status = _numbers(column, STATUS, 0)[own]
    failed = column.failures is not None
    for field, values in (
        ("high", each.high[own]),
        ("low", each.low[own]),
        ("span_id", column.span_id[own]),
        ("start_ns", column.start_ns[own]),
        ("duration_ns", (column.end_ns - column.start_ns)[own]),
        ("kind", Kind.PART if _says(column, LATE) else kind),
        ("status", status),
        ("error", (status >= _SERVER_ERROR) | failed),
        ("name", names.number(column.name)),
        ("endpoint", _named(column, ENDPOINT, names, otherwise=ROUTE)[own]),
    ):
        entries.put(field, to, values)
    if is_batch:
        entries.put("batch_high", to, each.high[own])
        entries.put("batch_low", to, each.low[own])
        entries.put("batch_size", to, _numbers(column, SIZE, 0)[own])
        entries.put("reason", to, _named(column, REASON, names)[own])


def _fill_part(entries: _Entries, column: Column, own: Cells, slots: Cells, names: Names) -> None:
    """Take what spans right below entries say: where the time went."""
    to = slots[own]
    at_us = micros(column.start_ns[own] - entries.start_ns[to])
    length_us = micros((column.end_ns - column.start_ns)[own])
    match column.name:
        case "decode" | "encode":
            entries.put(f"{column.name}_us", to, length_us)
        case "run":  # the last counts: those before it raised
            entries.put("run_at_us", to, at_us)
            entries.put("run_us", to, length_us)
        case "collate":
            first = entries.fields["queued_us"][to] == NONE
            entries.put("queued_us", to[first], at_us[first])
        case "queue":  # of several items, the one that ran last
            order = np.argsort(column.end_ns[own], kind="stable")
            later = order[column.end_ns[own][order] > entries.queue_ends_ns[to[order]]]
            entries.queue_ends_ns[to[later]] = column.end_ns[own][later]
            entries.put("queued_us", to[later], at_us[later])
            rows = np.flatnonzero(own)[later]
            _fill_queue(entries, column, rows, to[later], names)


def _fill_queue(entries: _Entries, column: Column, rows: Cells, to: Cells, names: Names) -> None:
    lengths_us = micros(column.end_ns - column.start_ns)
    # Of a plain endpoint: it waited for nothing else.
    runner_us = _micros_of(column, RUNNER) if _says(column, RUNNER) else lengths_us
    for field, values in (
        ("peers_us", _micros_of(column, PEERS)),
        ("runner_us", runner_us),
        ("to_start_us", _micros_of(column, TO_START)),
        ("batch_size", _numbers(column, SIZE, 0)),
        ("reason", _named(column, REASON, names)),
    ):
        entries.put(field, to, values[rows])
    traces = None
    if BATCH_TRACE in column.own:
        traces = column.own[BATCH_TRACE][rows]
    elif _says(column, BATCH_TRACE):
        texts = [str(each.get(BATCH_TRACE, _NO_TRACE)) for each in column.common]
        traces = np.array(texts, "S32")[column.which[rows]]
    if traces is not None and len(traces):
        high, low = halves(traces)
        entries.put("batch_high", to, high)
        entries.put("batch_low", to, low)


def _says(column: Column, key: str) -> bool:
    return key in column.own or any(key in each for each in column.common)


def _numbers(column: Column, key: str, otherwise: int) -> Cells:
    """Return whole numbers of an attribute, wherever it is kept."""
    if key in column.own and column.own[key].dtype.kind in "iub":
        return column.own[key].astype(np.int64)
    values = [each.get(key, otherwise) for each in column.common]
    numbers = [value if isinstance(value, int) else otherwise for value in values]
    return np.array(numbers, np.int64)[column.which]


def _micros_of(column: Column, key: str) -> Cells:
    """Return an attribute in ms in µs; -1 where there is none."""
    if key in column.own:
        cells = column.own[key]
        if cells.dtype.kind == "m":
            return micros(cells.astype(np.int64))
        return np.round(cells.astype(np.float64) * 1000).astype(np.int64)
    values = [each.get(key) for each in column.common]
    numbers = [round(ms * 1000) if isinstance(ms, int | float) else NONE for ms in values]
    return np.array(numbers, np.int64)[column.which]


def _named(column: Column, key: str, names: Names, *, otherwise: str = "") -> Cells:
    if key in column.own and column.own[key].dtype.kind == "S":
        texts, which = np.unique(column.own[key], return_inverse=True)
        values: Sequence[object] = [text.decode("latin-1") for text in texts.tolist()]
    else:
        values = [each.get(key, each.get(otherwise, "")) for each in column.common]
        which = column.which
    return np.array([names.number(str(value)) for value in values], np.int64)[which]
