"""The tables of batches that went well as rows that a shape can be evaluated on.

What all of them have in common is one value instead of a column, so that it costs nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from spanserve.tracing.admission.http_attributes import Origin
from spanserve.tracing.expansion.links import to_members
from spanserve.tracing.expansion.members import MemberRows, members_of
from spanserve.tracing.expansion.rows import Coded, Rows, coded, each
from spanserve.tracing.expansion.traces import Traces
from spanserve.tracing.model.columns import Cells
from spanserve.tracing.model.span import SpanKind
from spanserve.tracing.recording.members import WHOLE, Came
from spanserve.tracing.recording.table import BATCH_FIELDS, Table

_OK: Final = 200
_ORIGIN: Final = len(Origin._fields)
_IN_RUN: Final = -1
_ENDPOINT: Final = BATCH_FIELDS.index("endpoint")
_SIZE: Final = BATCH_FIELDS.index("size")
_NEVER: Final = (
    *("queued_ns", "run_ns", "ran_ns", "first_item_ns"),
    *("custom_lost", "failure", "item_failure"),
)
_ROW_MARKS: Final = (
    "started_ns",
    "decode_ns",
    "decoded_ns",
    "encode_ns",
    "encoded_ns",
    "ended_ns",
    "parent_id",
    "port",
)


def kind_of(table: Table) -> tuple[Any, ...]:
    """Return what tables have in common that are read together."""
    _, _, own, _, customs, _ = table
    return own[_ENDPOINT], own[_SIZE] == 1, *_outline(customs)


def traces_of(tables: Sequence[Table]) -> Traces:
    """Return the rows of tables of one `kind_of`."""
    endpoint, is_alone, *_ = kind_of(tables[0])
    _, _, owns, origins, customs, plain = zip(*tables, strict=True)
    members = members_of(plain)
    batches = _batch_rows(owns, endpoint, is_alone=is_alone)
    batches.say(members=to_members(batches, members))
    if is_whole(members):
        at = members.batch
    else:
        whole = members.numbers["item"] == WHOLE
        members = MemberRows(*(each[whole] for each in members))
        at = members.batch
    requests = _request_rows(members, endpoint, origins)
    in_batch = batches.take(at)
    items = Rows(
        requests.count,
        {
            "request": requests,
            "batch": in_batch,
            "last_attempt": in_batch,
            "queued_ns": members.numbers["queued_ns"],
            "depth": members.numbers["depth"],
            "index": 0,
            "position": members.position,
            "dequeued_ns": 0,
            "failure": 0,
        },
    )
    goes = Rows(requests.count, {"item": items, "attempt": in_batch, "is_last": True})
    alike = [*zip(*customs, strict=True)]
    if is_alone:
        return Traces(
            requests,
            items,
            goes,
            request_customs=[_custom_rows(some, requests) for some in alike],
            every_attempt=batches,
            are_alike=True,
        )
    rows = [_custom_rows(some, batches) for some in alike]
    return Traces(
        requests,
        items,
        goes,
        copies=[Rows(goes.count, {"go": goes, "custom": each_.take(at)}) for each_ in rows],
        batches=batches,
        attempts=batches,
        customs=rows,
        every_attempt=batches,
        are_alike=True,
    )


def is_whole(members: MemberRows) -> bool:
    """Whether all members are here with all that they were."""
    return bool((members.numbers["item"] == WHOLE).all())


def _batch_rows(owns: Sequence[Table], endpoint: str, *, is_alone: bool) -> Rows:
    fields: dict[str, Any] = dict(zip(BATCH_FIELDS, zip(*owns, strict=True), strict=True))
    marks = [name for name in BATCH_FIELDS if name.endswith("_ns")]
    cells = np.array([own[-len(marks) :] for own in owns], np.int64)
    rows = Rows(
        len(owns),
        dict(zip(marks, cells.T, strict=True))
        | {
            "trace_id": np.array(fields["trace_id"], "S32"),
            "root_id": np.array(fields["root_id"], np.uint64),
            "tracestate": "",
            "debug": False,
            "endpoint": endpoint,
            "reason": coded(fields["reason"]),
            "runner": coded(fields["runner"]),
            "size": 1 if is_alone else np.array(fields["size"]),
            "recording": not is_alone,
            "custom_lost": 0,
            "failure": 0,
            "retried": 0,
            "number": 0,
        },
    )
    rows.say(batch=rows.twin())
    return rows


def _request_rows(members: MemberRows, endpoint: str, origins: Sequence[Sequence[Came]]) -> Rows:
    numbers = members.numbers
    first = np.cumsum([0, *map(len, origins[:-1])])
    at = first[members.batch] + numbers["origin"]
    every = [came for some in origins for came in some]
    return Rows(
        len(numbers),
        {name: numbers[name] for name in _ROW_MARKS}
        | dict.fromkeys(_NEVER, 0)
        | {
            "trace_id": members.trace_id,
            "root_id": np.ascontiguousarray(numbers["root_id"]),
            "request_id": members.request_id,
            "origin": _each_once([Origin(*came[:_ORIGIN]) for came in every], at),
            "tracestate": _each_once(["".join(came[_ORIGIN:]) for came in every], at),
            "route": endpoint,
            "endpoint": endpoint,
            "status": _OK,
            "debug": False,
            "client_left": False,
            "debug_id": "",
            "kept_by": "",
            "caller": None,
            "item_shown": True,
        },
    )


def _each_once(values: Sequence[Any], at: Cells) -> Any:
    found = coded(values)
    return found[at] if isinstance(found, Coded) else found


def _outline(customs: Sequence[Table]) -> Iterator[tuple[str, str, int]]:
    """Yield what is the same in like runs of a model's code: names, kinds, which lies in which."""
    numbers = {custom[2]: number for number, custom in enumerate(customs)}
    for name, kind, _, parent_place, *_ in customs:
        yield name, kind, numbers.get(parent_place, _IN_RUN)


def _custom_rows(customs: Sequence[Table], owner: Rows) -> Rows:
    """Return spans of the user's, that are alike, of these owners."""
    (name, *_), (kind, *_), places, parents, starts, ends, attributes = zip(*customs, strict=True)
    ended_ns = np.array(ends, np.int64)
    return Rows(
        len(customs),
        {
            "nesting": 0,
            "name": name,
            "kind": SpanKind(kind),
            "place": np.array(places, np.uint64),
            "parent_place": np.array(parents, np.uint64),
            "started_ns": np.array(starts, np.int64),
            "ended_ns": ended_ns,
            "end_ns": ended_ns,
            "attributes": each(attributes),
            "events": None,
            "failure": 0,
            "error": 0,
            "links": (),
            "is_late": False,
            "trace_id": owner.trace_id,
            "root_id": owner.root_id,
            "tracestate": owner.tracestate,
            "debug": False,
        },
    )
