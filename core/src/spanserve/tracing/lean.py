"""A request of the usual kind, as long as it stays one: ids, some marks, and no record.

To make a record and to write marks into it costs more than the rest of tracing together. What
the row of a usual request holds is known to the server anyway, and packed at the request's end
(`Tracing.lean_ended`). A request that turns out to be unusual is given its record then; one whose
model's code may open spans in it, before.
"""

from abc import abstractmethod

from spanserve.tracing.http import Origin
from spanserve.tracing.record import ItemRecord, RequestRecord
from spanserve.tracing.remote import Remote


class LeanRequest:
    """What a server keeps of a request for tracing; `trace_id` is empty where it is not traced.

    It takes the place of a `RequestRecord` in the batcher. `record` is that, once there is one.
    `encode_ns` is when the answer was begun, `encoded_ns` when a result's was there; 0 where that
    was not reached.
    """

    __slots__ = (
        "caller",
        "encode_ns",
        "encoded_ns",
        "item",
        "origin",
        "port",
        "record",
        "recording",
        "request_id",
        "root_id",
        "sampled",
        "started_ns",
        "trace_id",
    )

    caller: Remote | None
    encode_ns: int
    encoded_ns: int
    item: ItemRecord | None
    origin: Origin
    port: int
    record: RequestRecord | None
    recording: bool
    request_id: str
    root_id: int
    sampled: bool
    started_ns: int
    trace_id: str

    @property
    @abstractmethod
    def full_record(self) -> RequestRecord:
        """Return the request's record, which is made when it is first asked for."""

    @property
    def debug(self) -> bool:
        """Whether the caller asked for this trace whatever the sampling says."""
        return self.caller is not None and self.caller.debug

    @property
    def parent_id(self) -> str:
        """The caller's span; empty where nobody called."""
        return "" if self.caller is None else self.caller.span_id

    def item_queued(self, item: ItemRecord) -> None:
        """Hand the item to the batcher."""
        self.item = item

    def item_dequeued(self, item: ItemRecord, now_ns: int) -> None:
        """Take the item out of the queue: its batch begins, or nothing will run."""
        item.dequeued_ns = now_ns
