"""The links of batches to the requests in them."""

from typing import Any, Final

import numpy as np

from spanserve.tracing.expansion.members import MemberRows
from spanserve.tracing.expansion.operations import Columns
from spanserve.tracing.expansion.rows import Ragged, Rows
from spanserve.tracing.expansion.shape import linked_wait_ns
from spanserve.tracing.model import names
from spanserve.tracing.model.columns import Links
from spanserve.tracing.model.ids import QUEUE, item_place

_WIDE: Final = np.int64


def to_members(batches: Rows, members: MemberRows) -> Ragged:
    """Return a link to the queue span of each member that was kept."""
    rows, batch, op = members.numbers, members.batch, Columns
    counts = np.bincount(batch, minlength=batches.count)
    slot: Any = item_place(np.maximum(rows["item"], 0).astype(_WIDE), QUEUE)
    waits_ns = linked_wait_ns(op, batches.take(batch), rows["queued_ns"])
    return Ragged(
        Links(
            np.concatenate(([0], np.cumsum(counts))),
            members.trace_id,
            op.span_id(rows["root_id"], slot),
            {names.LINK_POSITION: members.position, names.LINK_WAIT_MS: op.ms(waits_ns)},
        )
    )
