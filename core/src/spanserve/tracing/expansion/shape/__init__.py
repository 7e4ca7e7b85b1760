"""Which spans a trace has, and what each of them says: here and nowhere else.

    POST /predict          SERVER
    ├─ decode
    ├─ queue
    ├─ run                 of a batch shared with others: a view of the batch's run
    │   └─ custom spans    of a batch shared with others: copies of the batch's
    └─ encode
    batch /predict         INTERNAL, a trace of its own, a link to each recorded member
    ├─ collate · run (custom spans) · split
    └─ retry               where the run raised: again, with fewer items, and so on
        └─ collate · run (custom spans) · split
    startup SERVICE        INTERNAL, a trace of its own, where the start-up's code has spans
    └─ custom spans

A batch of one has no trace of its own: its collate, run and split lie in the request's.

The spans of spanserve's own lie within their parents: what had not ended when its record did is
cut off there. Custom spans keep their own times, and what ends after its trace has left follows
alone; only a copy ends where its request did.

The expressions take operations and a row. So the same shape makes the spans of thousands of
requests at once, of columns, and those that a live tracer hears of, of the marks of one record.
"""

from spanserve.tracing.expansion.shape.batch import (
    BATCH,
    BATCH_COLLATE,
    BATCH_RUN,
    BATCH_SPLIT,
    RETRY,
    STARTUP,
    linked_wait_ns,
)
from spanserve.tracing.expansion.shape.custom import COPY, CUSTOM
from spanserve.tracing.expansion.shape.item import (
    ITEM_COLLATE,
    ITEM_RUN,
    ITEM_SPLIT,
    WAITING,
    attempt_seen,
)
from spanserve.tracing.expansion.shape.request import (
    DECODING,
    ENCODING,
    PLAIN_QUEUE,
    PLAIN_RUN,
    SERVER,
    item_failure,
)
from spanserve.tracing.expansion.shape.span_shape import SpanShape

__all__ = [
    "BATCH",
    "BATCH_COLLATE",
    "BATCH_RUN",
    "BATCH_SPLIT",
    "COPY",
    "CUSTOM",
    "DECODING",
    "ENCODING",
    "ITEM_COLLATE",
    "ITEM_RUN",
    "ITEM_SPLIT",
    "PLAIN_QUEUE",
    "PLAIN_RUN",
    "RETRY",
    "SERVER",
    "STARTUP",
    "WAITING",
    "SpanShape",
    "attempt_seen",
    "item_failure",
    "linked_wait_ns",
]
