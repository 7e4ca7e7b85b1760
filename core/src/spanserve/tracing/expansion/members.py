"""The requests of many batches as columns, whichever way their batches keep them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from spanserve.tracing.model.clock import ID_BYTES
from spanserve.tracing.model.columns import Cells
from spanserve.tracing.recording.lean_rows import MARKS, PlainLeans
from spanserve.tracing.recording.rows import (
    BETWEEN,
    FIELDS,
    MAX_REQUEST_ID,
    WHOLE,
    WIDTH,
    PlainRows,
)

_ROW: Final = np.dtype([(name, code) for name, code, _ in FIELDS])
_MARKS: Final = np.dtype([(name, code) for name, code, _ in MARKS])


class Members(NamedTuple):
    """A row for each request, batch by batch: two ids, and the numbers of `rows.FIELDS`.

    `batch` is the place of its batch among all, and `position` its own in its batch.
    """

    trace_id: Cells
    request_id: Cells
    numbers: Cells
    batch: Cells
    position: Cells


def of_rows(batches: Sequence[PlainRows]) -> Members:
    """Return the members of batches that have a row of each."""
    trace_ids, request_ids, numbers = zip(*batches, strict=True)
    return Members(
        np.frombuffer("".join(trace_ids).encode(), "S32"),
        _texts(BETWEEN.join(request_ids)),
        np.frombuffer(b"".join(numbers), _ROW),
        *_places(np.array([len(each) // WIDTH for each in numbers])),
    )


def of_leans(batches: Sequence[PlainLeans]) -> Members:
    """Return the members of batches whose requests had no records: put back what they left out."""
    ids, marks, ended_ns, chosen, places, roots, parents, request_ids = zip(*batches, strict=True)
    bits = b"".join(ids)
    trace_id = np.frombuffer(bits.hex().encode(), "S32")
    rows = np.zeros(len(trace_id), _ROW)
    own = np.frombuffer(b"".join(marks), _MARKS)
    for name in _MARKS.fields or ():
        rows[name] = own[name]
    rows["decode_ns"], rows["decoded_ns"] = own["started_ns"], own["queued_ns"]
    rows["kind"] = WHOLE
    rows["root_id"] = np.frombuffer(bits, ">u8")[1::2]
    counts = np.array([len(each) // ID_BYTES for each in ids])
    ends = np.cumsum(counts)
    rows["ended_ns"][:-1] = own["encode_ns"][1:]
    rows["ended_ns"][ends - 1] = ended_ns
    for name, given in (("origin", places), ("root_id", roots), ("parent_id", parents)):
        _put(rows[name], ends, [each and np.frombuffer(each, _ROW[name]) for each in given])
    batch, position = _places(counts)
    if any(chosen):
        positions, ended = zip(*(each or (None, None) for each in chosen), strict=True)
        _put(position, ends, [each and np.frombuffer(each, np.uint32) for each in positions])
        _put(rows["ended_ns"], ends, [each and np.frombuffer(each, np.int64) for each in ended])
    request_id = trace_id
    if any(request_ids):
        request_id = trace_id.astype(f"S{MAX_REQUEST_ID}")
        _put(request_id, ends, [each and _texts(each) for each in request_ids])
    return Members(trace_id, request_id, rows, batch, position)


def _places(counts: Cells) -> tuple[Cells, Cells]:
    """Return `batch` and `position` of the rows of so many members of each batch, all there are."""
    batch = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return batch, np.arange(len(batch)) - first[batch]


def _texts(joined: str) -> Cells:
    return np.array(joined.encode().split(BETWEEN.encode()), "S")


def _put(column: Cells, ends: Cells, given: Sequence[Cells | None]) -> None:
    """Put what some batches have of their own into a column; `ends` are theirs."""
    for end, cells in zip(ends, given, strict=True):
        if cells is not None:
            column[end - len(cells) : end] = cells
