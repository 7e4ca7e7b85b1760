"""A request of the usual kind, as long as it stays one: ids, some marks, and no record.

To make a record and to write marks into it costs more than the rest of tracing together. What
the row of a usual request holds is known to the server anyway, and is packed for a whole batch as
the last of its answers is out (`Tracing.answered`). A request that turns out to be unusual is
given its record then; one whose model's code may open spans in it, before.

Its ids, too, it has only once its batch begins: what is done for all requests of a batch, one
after the other, costs less than half of what it does between the steps of a request, where the
processor has long forgotten code and data (measured: 1.1 µs a request instead of 2.7).
"""

from abc import abstractmethod
from collections.abc import Mapping

from spanserve.tracing.client import Client
from spanserve.tracing.record import ItemRecord, RequestRecord
from spanserve.tracing.remote import Remote


class LeanRequest:
    """What a server keeps of a request for tracing.

    It takes the place of a `RequestRecord` in the batcher. `record` is that, once there is one.
    `fields` are its headers by name. Its ids, `trace_id` being empty before, and what was decided
    of it are there once it was admitted (`Tracing.admit`).
    `encode_ns` is when the answer was begun, `encoded_ns` when a result's was there, `ended_ns`
    when that was sent, and the rest left to the batch; 0 where that was not reached.
    """

    __slots__ = (
        "caller",
        "client",
        "debug",
        "encode_ns",
        "encoded_ns",
        "ended_ns",
        "fields",
        "is_traced",
        "item",
        "path",
        "record",
        "recording",
        "request_id",
        "root_id",
        "sampled",
        "started_ns",
        "trace_id",
    )

    caller: Remote | None
    client: Client
    debug: bool
    encode_ns: int
    encoded_ns: int
    ended_ns: int
    fields: Mapping[bytes, bytes]
    is_traced: bool
    item: ItemRecord | None
    path: str
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

    def write_record(self, item: ItemRecord | None, decoded_ns: int, status: int) -> RequestRecord:
        """Return the request's record, with all that is known of it at its end.

        `decoded_ns` is when its body turned out not to be an item, where there is none.
        """
        record = self.full_record
        record.decode_ns = self.started_ns
        record.decoded_ns = decoded_ns if item is None else item.queued_ns
        record.encode_ns, record.encoded_ns = self.encode_ns, self.encoded_ns
        record.status = status
        if item is not None:
            record.item_queued(item)
        return record

    def item_dequeued(self, item: ItemRecord, now_ns: int) -> None:
        """Take the item out of the queue: its batch begins, or nothing will run."""
        item.dequeued_ns = now_ns
