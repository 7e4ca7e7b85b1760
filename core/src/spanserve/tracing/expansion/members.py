"""The requests of many batches as columns: what they left out is put back."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from spanserve.tracing.model.clock import ID_BYTES
from spanserve.tracing.model.columns import Cells
from spanserve.tracing.recording.members import (
    BETWEEN,
    MARKS,
    MAX_REQUEST_ID,
    WHOLE,
    PackedRequests,
)

_MARKS: Final = np.dtype([(name, code) for name, code, _ in MARKS])
_ROW: Final = np.dtype(
    [
        *(("root_id", "u8"), ("parent_id", "u8")),
        *((name, code) for name, code, _ in MARKS),
        *(("decode_ns", "i8"), ("decoded_ns", "i8"), ("ended_ns", "i8")),
        *(("item", "i4"), ("origin", "u4")),
    ]
)


class MemberRows(NamedTuple):
    """A row for each request, batch by batch: two ids, and its numbers.

    `batch` is the place of its batch among all, and `position` its own in its batch.
    """

    trace_id: Cells
    request_id: Cells
    numbers: Cells
    batch: Cells
    position: Cells


def members_of(batches: Sequence[Sequence[Any]]) -> MemberRows:
    """Return the members of batches, that are `PackedRequests` each."""
    each: Any = PackedRequests._make(zip(*batches, strict=True))
    bits = b"".join(each.trace_ids)
    trace_id = np.frombuffer(bits.hex().encode(), "S32")
    rows = np.zeros(len(trace_id), _ROW)
    own = np.frombuffer(b"".join(each.marks), _MARKS)
    for name in _MARKS.fields or ():
        rows[name] = own[name]
    rows["decode_ns"], rows["decoded_ns"] = own["started_ns"], own["queued_ns"]
    rows["item"] = WHOLE
    rows["root_id"] = np.frombuffer(bits, ">u8")[1::2]
    counts = np.array([len(ids) // ID_BYTES for ids in each.trace_ids])
    ends = np.cumsum(counts)
    rows["ended_ns"][:-1] = own["encode_ns"][1:]
    rows["ended_ns"][ends - 1] = each.ended_ns
    batch = np.repeat(np.arange(len(counts)), counts)
    position = np.arange(len(batch)) - (ends - counts)[batch]
    _put(position, ends, each.positions, np.uint32)
    _put(rows["ended_ns"], ends, each.ends_ns)
    _put(rows["origin"], ends, each.origins)
    _put(rows["root_id"], ends, each.root_ids)
    _put(rows["parent_id"], ends, each.parent_ids)
    _put(rows["decode_ns"], ends, each.decoded_ns, "2i8", 0)
    _put(rows["decoded_ns"], ends, each.decoded_ns, "2i8", 1)
    _put(rows["item"], ends, each.items)
    request_id = trace_id
    if any(each.request_ids):
        request_id = trace_id.astype(f"S{MAX_REQUEST_ID}")
        for end, joined in zip(ends, each.request_ids, strict=True):
            if joined is not None:
                texts = np.array(joined.encode().split(BETWEEN.encode()), "S")
                request_id[end - len(texts) : end] = texts
    return MemberRows(trace_id, request_id, rows, batch, position)


def _put(
    column: Cells,
    ends: Cells,
    given: Any,
    dtype: Any = None,
    field: int | None = None,
) -> None:
    """Put what some batches have of their own into a column; `ends` are theirs."""
    if not any(given):
        return
    for end, plain in zip(ends, given, strict=True):
        if plain is not None:
            cells = np.frombuffer(plain, dtype or column.dtype)
            cells = cells if field is None else cells[:, field]
            column[end - len(cells) : end] = cells
