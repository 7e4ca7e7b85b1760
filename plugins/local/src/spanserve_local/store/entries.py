"""The summary of the spans of one export: of columns, and of spans that stand alone."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from spanserve import Attributes, Column, Span, SpanKind
from spanserve_local.store import summary as summaries
from spanserve_local.store.arrays import Cells
from spanserve_local.store.summary import NONE, Kind, Names, Summary, micros
from spanserve_local.store.table import Table

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
_HALF: Final = 16
_HALVES: Final = 2
_MOST_US: Final = (1 << 31) - 1


def together(parts: Sequence[Summary], names: Names) -> Summary:
    # They have the same names, which the later ones know more of.
    if len(parts) == 1:
        return Summary(parts[0].columns, names.all)
    columns = {
        field: np.concatenate([np.empty(0, kind), *(each.columns[field] for each in parts)])
        if parts
        else np.empty(0, kind)
        for field, kind in summaries.FIELDS.items()
    }
    return Summary({f: c.astype(summaries.FIELDS[f]) for f, c in columns.items()}, names.all)


def halves(trace_ids: Cells) -> tuple[Cells, Cells]:
    """Return ids of 32 hex digits (`S32`) as two numbers each."""
    numbers = np.frombuffer(bytes.fromhex(trace_ids.tobytes().decode()), ">u8").astype(np.uint64)
    return numbers[::2].copy(), numbers[1::2].copy()


def entries_of_block(block: Sequence[Column], tables: Sequence[Table], names: Names) -> Summary:
    """Return the summary of a block, each of whose rows is one entry."""
    root, table = block[0], tables[0]
    count = len(table.span_id)
    is_batch = root.name.startswith(_BATCH) and root.kind is SpanKind.INTERNAL
    is_request = root.kind is SpanKind.SERVER
    kind = Kind.REQUEST if is_request else Kind.BATCH if is_batch else Kind.OTHER
    status = _of_common(root, STATUS, 0)
    columns: dict[str, Cells] = {
        "high": table.high,
        "low": table.low,
        "span_id": table.span_id,
        "start_ns": table.start_ns,
        "duration_ns": table.end_ns - table.start_ns,
        "kind": np.full(count, kind),
        "status": status,
        "error": (status >= _SERVER_ERROR) | (root.failures is not None),
        "spans": np.full(count, len(block)),
        "name": np.full(count, names.number(root.name)),
        "endpoint": _named(root, ENDPOINT, names, otherwise=ROUTE),
        "reason": np.full(count, names.number("")),
    }
    if is_batch:
        columns |= {
            "batch_size": root.own.get(SIZE, np.zeros(count, np.int64)),
            "batch_high": table.high,
            "batch_low": table.low,
            "reason": _named(root, REASON, names),
        }
    columns |= _parts(block, table, names)
    return summaries.summary_of(columns, ())


def _parts(block: Sequence[Column], root: Table, names: Names) -> Mapping[str, Cells]:
    """Return what the spans right below the roots say: where the time went."""
    found: dict[str, Cells] = {}
    seen = set()
    for column in block[1:]:
        if column.name in seen or not np.array_equal(column.parent_id, root.span_id):
            continue
        seen.add(column.name)
        at, length = column.start_ns - root.start_ns, column.end_ns - column.start_ns
        match column.name:
            case "decode" | "encode":
                found[f"{column.name}_us"] = micros(length)
            case "run":
                found |= {"run_at_us": micros(at), "run_us": micros(length)}
            case "collate" if BATCH_TRACE not in found:
                found.setdefault("queued_us", micros(at))
            case "queue":
                found |= {"queued_us": micros(at), **_queue(column, names)}
    return found


def _queue(column: Column, names: Names) -> Mapping[str, Cells]:
    own = column.own
    found = {
        field: micros(own[key].astype(np.int64))
        for key, field in ((PEERS, "peers_us"), (RUNNER, "runner_us"), (TO_START, "to_start_us"))
        if key in own
    }
    if SIZE in own:
        found["batch_size"] = own[SIZE]
    if BATCH_TRACE in own:
        found["batch_high"], found["batch_low"] = halves(own[BATCH_TRACE])
    return {**found, "reason": _named(column, REASON, names)}


def _of_common(column: Column, key: str, otherwise: int) -> Cells:
    values = [each.get(key, otherwise) for each in column.common]
    numbers = [value if isinstance(value, int) else otherwise for value in values]
    return np.array(numbers, np.int64)[column.which]


def _named(column: Column, key: str, names: Names, *, otherwise: str = "") -> Cells:
    values = [each.get(key, each.get(otherwise, "")) for each in column.common]
    return np.array([names.number(str(value)) for value in values], np.int64)[column.which]


def entries_of_spans(spans: Sequence[Span], names: Names) -> Summary:
    rows = [_entry(record, names) for record in _records(spans)]
    columns = {
        field: np.array([row[field] for row in rows], kind)
        for field, kind in summaries.FIELDS.items()
    }
    return Summary(columns, ())


def _records(spans: Sequence[Span]) -> list[list[Span]]:
    """Return spans by the entry that they belong to, which comes first."""
    records: list[list[Span]] = []
    owner: dict[tuple[str, str | None], list[Span]] = {}
    parts: dict[str, list[Span]] = {}
    for span in spans:
        record = owner.get((span.trace_id, span.parent_id))
        if record is None and LATE in span.attributes:
            record = parts.get(span.trace_id)
        if record is None:
            record = []
            records.append(record)
            if LATE in span.attributes:
                parts[span.trace_id] = record
        record.append(span)
        owner[span.trace_id, span.span_id] = record
    return records


def _entry(record: Sequence[Span], names: Names) -> dict[str, int]:
    root = record[0]
    attributes = root.attributes
    row = dict.fromkeys(summaries.FIELDS, 0)
    row |= {field: NONE for field in summaries.FIELDS if field.endswith("_us")}
    endpoint = attributes.get(ENDPOINT, attributes.get(ROUTE, ""))
    trace = dict(zip(("high", "low"), _halves(root.trace_id), strict=True))
    row |= {
        **trace,
        "span_id": int(root.span_id, 16),
        "start_ns": root.start_ns,
        "duration_ns": root.end_ns - root.start_ns,
        "kind": _kind(root),
        "error": root.error is not None,
        "status": _whole(attributes.get(STATUS)),
        "spans": len(record),
        "name": names.number(root.name),
        "endpoint": names.number(str(endpoint)),
    }
    row |= _reference(attributes, names)
    if row["kind"] == Kind.BATCH:
        row |= {"batch_high": trace["high"], "batch_low": trace["low"]}
    last = -1
    for span in record[1:]:
        if span.parent_id == root.span_id:
            at = (span.start_ns - root.start_ns) // 1000
            length = (span.end_ns - span.start_ns) // 1000
            if span.name in {"decode", "encode"}:
                row[f"{span.name}_us"] = length
            elif span.name == "run":  # the last counts: those before it raised
                row |= {"run_at_us": at, "run_us": length}
            elif span.name == "collate" and row["queued_us"] == NONE:
                row["queued_us"] = at
            elif span.name == "queue" and span.end_ns > last:  # of several items, the last to run
                last = span.end_ns
                row |= {"queued_us": at, "runner_us": length, **_waits(span.attributes)}
                row |= _reference(span.attributes, names)
    return {
        field: min(int(value), _MOST_US) if field.endswith("_us") else int(value)
        for field, value in row.items()
    }


def _kind(root: Span) -> Kind:
    if LATE in root.attributes:
        return Kind.PART
    if root.kind is SpanKind.SERVER:
        return Kind.REQUEST
    is_batch = root.name.startswith(_BATCH) and SIZE in root.attributes
    return Kind.BATCH if is_batch else Kind.OTHER


def _reference(attributes: Attributes, names: Names) -> dict[str, int]:
    found = {
        "reason": names.number(str(attributes.get(REASON, ""))),
        "batch_size": _whole(attributes.get(SIZE)),
    }
    trace = attributes.get(BATCH_TRACE)
    if isinstance(trace, str) and len(trace) == _HALF * _HALVES:
        found["batch_high"], found["batch_low"] = _halves(trace)
    return found


def _waits(attributes: Attributes) -> dict[str, int]:
    found = {}
    for key, field in ((PEERS, "peers_us"), (RUNNER, "runner_us"), (TO_START, "to_start_us")):
        wait_ms = attributes.get(key)
        if isinstance(wait_ms, int | float):
            found[field] = round(wait_ms * 1000)
    return found


def _halves(trace_id: str) -> tuple[int, int]:
    return int(trace_id[:_HALF], 16), int(trace_id[_HALF:], 16)


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0
