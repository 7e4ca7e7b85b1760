"""The links of batches to the requests in them."""

from typing import Any, Final

import numpy as np

from spanserve.tracing.expansion.members import Members
from spanserve.tracing.expansion.operations import Columns
from spanserve.tracing.expansion.rows import Ragged, Rows
from spanserve.tracing.expansion.shape import linked_wait_ns
from spanserve.tracing.model import names
from spanserve.tracing.model.columns import Links
from spanserve.tracing.model.ids import QUEUE, item_place
from spanserve.tracing.recording.rows import NOTHING

_WIDE: Final = np.int64


def to_members(batches: Rows, members: Members) -> Ragged:
    """Return a link to the queue span of each member that was kept."""
    rows, batch, op = members.numbers, members.batch, Columns
    kept = rows["kind"] != NOTHING
    trace_id, position = members.trace_id, members.position
    if not kept.all():
        rows, batch = rows[kept], batch[kept]
        trace_id, position = trace_id[kept], position[kept]
    counts = np.bincount(batch, minlength=batches.count)
    slot: Any = item_place(rows["index"].astype(_WIDE), QUEUE)  # type: ignore[arg-type]  # a column of them
    waits_ns = linked_wait_ns(op, batches.take(batch), rows["queued_ns"])
    return Ragged(
        Links(
            np.concatenate(([0], np.cumsum(counts))),
            trace_id,
            op.span_id(rows["root_id"], slot),
            {names.LINK_POSITION: position, names.LINK_WAIT_MS: op.ms(waits_ns)},
        )
    )
