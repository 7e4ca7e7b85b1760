"""From finished records to spans: pure, and off the request path.

The shape of a trace is laid down here and nowhere else:

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
"""

from collections.abc import Iterator

from spanserve.tracing.model import names
from spanserve.tracing.model.ids import DECODE, ENCODE
from spanserve.tracing.model.span import Span
from spanserve.tracing.recording.attempt import Attempt
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.counting import copies_seen
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.recording.startup import StartupRecord
from support.oracle.late import LateRecord
from support.oracle.pieces import Pieces


class Expansion:
    """How records become spans in one process: which there are, parents before children."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces

    def spans(self, record: Record) -> list[Span]:
        """Return all spans of a finished record."""
        if isinstance(record, RequestRecord):
            return list(self._request(record))
        if isinstance(record, BatchRecord):
            return list(self._batch(record))
        if isinstance(record, StartupRecord):
            return list(self._startup(record))
        if isinstance(record, LateRecord):
            return list(self._finished(record))
        raise TypeError(f"no spans are known of a {type(record).__name__}")

    def _request(self, record: RequestRecord) -> Iterator[Span]:
        pieces = self._pieces
        yield pieces.server(record)
        if record.decode_ns:
            yield pieces.part(record, names.DECODE, DECODE, record.decode_ns, record.decoded_ns)
        for item in record.items:
            yield from self._item(record, item)
        if record.queued_ns:
            yield pieces.plain_queue(record)
        if record.reached(record.run_ns):
            yield pieces.plain_run(record)
        yield from self._finished(record)
        if record.encode_ns:
            yield pieces.part(record, names.ENCODE, ENCODE, record.encode_ns, record.encoded_ns)

    def _startup(self, record: StartupRecord) -> Iterator[Span]:
        yield self._pieces.startup(record)
        yield from self._finished(record)

    def _finished(self, record: Record) -> Iterator[Span]:
        """Yield the spans of the user's code, which need not lie within their parents."""
        for custom in record.finished:
            yield self._pieces.custom(record, custom, custom.ended_ns)

    def _item(self, record: RequestRecord, item: ItemRecord) -> Iterator[Span]:
        pieces, batch = self._pieces, item.batch
        yield pieces.queue(record, item)
        if batch is None or not record.reached(batch.started_ns):
            return
        if batch.size == 1:
            yield from self._alone(record, item, batch)
        elif pieces.with_runs:
            attempts = record.attempts(item.position, batch)
            for attempt in attempts:
                if record.reached(attempt.run_ns):
                    # One that raised, and after which the item ran again, is no failure of its.
                    last = attempt is attempts[-1]
                    yield from self._shared_run(record, item, batch, attempt, last=last)

    def _alone(self, record: RequestRecord, item: ItemRecord, batch: BatchRecord) -> Iterator[Span]:
        pieces = self._pieces
        yield pieces.item_collate(record, item, batch)
        if record.reached(batch.run_ns):
            yield pieces.item_run(record, item, batch, last=True)
            if batch.split_started and record.reached(batch.ran_ns):
                yield pieces.item_split(record, item, batch)

    def _shared_run(
        self,
        record: RequestRecord,
        item: ItemRecord,
        batch: BatchRecord,
        attempt: Attempt,
        *,
        last: bool,
    ) -> Iterator[Span]:
        pieces = self._pieces
        yield pieces.item_run(record, item, attempt, last=last)
        for custom, end_ns in copies_seen(batch, attempt, record.ended_ns):
            origin = batch.span_id(custom.place)
            yield pieces.copy(record, item, custom, end_ns, origin, failed=last)

    def _batch(self, record: BatchRecord) -> Iterator[Span]:
        pieces = self._pieces
        yield pieces.batch(record)
        yield from self._attempt(record, record)
        for retry in record.retries:
            yield pieces.retry(record, retry)
            yield from self._attempt(record, retry)
        yield from self._finished(record)

    def _attempt(self, record: BatchRecord, attempt: Attempt) -> Iterator[Span]:
        pieces = self._pieces
        yield pieces.batch_collate(record, attempt)
        if attempt.run_ns:
            yield pieces.batch_run(record, attempt)
        if attempt.split_started:
            yield pieces.batch_split(record, attempt)
