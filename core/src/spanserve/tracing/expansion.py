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

A batch of one has no trace of its own: its collate, run and split lie in the request's.
"""

from collections.abc import Iterator
from typing import Literal

from spanserve.tracing import http, names
from spanserve.tracing.record import (
    COLLATE,
    DECODE,
    ENCODE,
    QUEUE,
    ROOT,
    RUN,
    SPLIT,
    BatchRecord,
    CustomSpan,
    Failure,
    ItemRecord,
    Record,
    RequestRecord,
    copy_place,
    derived_id,
    item_place,
)
from spanserve.tracing.span import (
    NO_ATTRIBUTES,
    Attributes,
    AttributeValue,
    Event,
    Link,
    Span,
    SpanKind,
)

INTERNAL = SpanKind.INTERNAL


class Expansion:
    """How records become spans in one process.

    `offset_ns` is what turns a monotonic mark into Unix time. With `batch_spans` "linked"
    a member of a shared batch carries only its reference to the batch, not its spans;
    with `exceptions` "type" the texts of exceptions stay out of the trace.
    """

    def __init__(
        self,
        offset_ns: int,
        *,
        batch_spans: Literal["full", "linked"] = "full",
        exceptions: Literal["full", "type"] = "full",
    ) -> None:
        self.offset_ns = offset_ns
        self._with_runs = batch_spans == "full"
        self._with_texts = exceptions == "full"

    def spans(self, record: Record) -> list[Span]:
        """Return all spans of a finished record, parents before children."""
        if isinstance(record, RequestRecord):
            return list(self._request(record))
        if isinstance(record, BatchRecord):
            return list(self._batch(record))
        raise TypeError(f"no spans are known of a {type(record).__name__}")

    def _request(self, record: RequestRecord) -> Iterator[Span]:
        yield self.server(record)
        if record.decode_ns:
            yield self.part(record, names.DECODE, DECODE, record.decode_ns, record.decoded_ns)
        for item in record.items:
            yield from self._item(record, item)
        if record.queued_ns:
            yield self.plain_queue(record)
        if record.run_ns:
            yield self.plain_run(record)
        for custom in tuple(record.custom_spans):
            yield self.custom(record, custom)
        if record.encode_ns:
            yield self.part(record, names.ENCODE, ENCODE, record.encode_ns, record.encoded_ns)

    def _item(self, record: RequestRecord, item: ItemRecord) -> Iterator[Span]:
        yield self.queue(record, item)
        batch = item.batch
        if batch is None or not batch.started_ns:
            return
        if batch.size == 1:
            place = item_place(item.index, COLLATE)
            end_ns = batch.run_ns or batch.ended_ns
            yield self.part(record, names.COLLATE, place, batch.started_ns, end_ns)
        if batch.run_ns and (self._with_runs or batch.size == 1):
            yield self.item_run(record, item, batch)
        if batch.size == 1:
            if batch.split_started:
                place = item_place(item.index, SPLIT)
                yield self.part(record, names.SPLIT, place, batch.ran_ns, batch.ended_ns)
        elif self._with_runs and batch.recording:
            yield from self._copies(record, item, batch)

    def _copies(
        self, record: RequestRecord, item: ItemRecord, batch: BatchRecord
    ) -> Iterator[Span]:
        for custom in tuple(batch.custom_spans):
            if custom.started_ns < record.ended_ns:
                yield self._custom(
                    record,
                    custom,
                    copy_place(item.index, custom.place),
                    copy_place(item.index, custom.parent_place),
                    {**custom.attributes, names.COPY_OF: batch.span_id(custom.place)},
                )

    def _batch(self, record: BatchRecord) -> Iterator[Span]:
        yield self.batch(record)
        collated_ns = record.run_ns or record.ended_ns
        yield self.part(record, names.COLLATE, COLLATE, record.started_ns, collated_ns)
        if record.run_ns:
            yield self.batch_run(record)
        for custom in tuple(record.custom_spans):
            yield self.custom(record, custom)
        if record.split_started:
            yield self.part(record, names.SPLIT, SPLIT, record.ran_ns, record.ended_ns)

    def server(self, record: RequestRecord) -> Span:
        """Return the root span of a request."""
        attributes = http.attributes_of(record.scope)
        if record.route:
            attributes[names.HTTP_ROUTE] = record.route
        if record.endpoint:
            attributes[names.ENDPOINT] = record.endpoint
        if record.request_id:
            attributes[names.REQUEST_ID] = record.request_id
        if record.status:
            attributes[names.HTTP_STATUS] = record.status
        if record.client_left:
            attributes[names.CLIENT_LEFT] = True
        if record.custom_lost:
            attributes[names.CUSTOM_LOST] = record.custom_lost
        failure = record.failure
        own = failure if failure and not _in_run(record, failure) else None
        error, events = self._failed(own, attributes)
        if record.status >= 500:  # noqa: PLR2004  # a 4xx is no error of the server's
            failure = failure or next((i.failure for i in record.items if i.failure), None)
            attributes.setdefault(names.ERROR_TYPE, failure.type if failure else f"{record.status}")
            error = error or ""
        return Span(
            http.span_name(record.scope["method"], record.route),
            SpanKind.SERVER,
            record.trace_id,
            record.span_id(ROOT),
            record.parent_id,
            record.started_ns + self.offset_ns,
            (record.ended_ns or record.started_ns) + self.offset_ns,
            attributes,
            (),
            events,
            error,
            record.debug,
        )

    def part(  # noqa: PLR0917  # a row of the trace: what, where, when
        self,
        record: Record,
        name: str,
        place: int,
        start_ns: int,
        end_ns: int,
        attributes: Attributes = NO_ATTRIBUTES,
        failure: Failure | None = None,
    ) -> Span:
        """Return a child of the record's root, cut off at its end where it has not ended."""
        own = dict(attributes) if failure is not None else {}
        error, events = self._failed(failure, own)
        return Span(
            name,
            INTERNAL,
            record.trace_id,
            derived_id(record.root_id, place),
            derived_id(record.root_id, ROOT),
            start_ns + self.offset_ns,
            _end(record, start_ns, end_ns) + self.offset_ns,
            own or attributes,
            (),
            events,
            error,
            record.debug,
        )

    def queue(self, record: RequestRecord, item: ItemRecord) -> Span:
        """Return an item's wait, until the runner started its batch or it left the queue."""
        attributes: dict[str, AttributeValue] = {names.QUEUE_DEPTH: item.depth}
        batch = item.batch
        end_ns = item.dequeued_ns
        if batch is not None and batch.started_ns:
            end_ns = batch.started_ns
            for_peers_ns, for_runner_ns = item.waits_ns(batch)
            attributes |= {
                names.BATCH_SIZE: batch.size,
                names.BATCH_POSITION: item.position,
                names.RELEASE_REASON: batch.reason,
                names.WAIT_FOR_PEERS_MS: for_peers_ns / 1e6,
                names.WAIT_FOR_RUNNER_MS: for_runner_ns / 1e6,
            }
            if batch.recording:
                attributes[names.BATCH_TRACE_ID] = batch.trace_id
                attributes[names.BATCH_SPAN_ID] = batch.span_id(ROOT)
        place = item_place(item.index, QUEUE)
        return self.part(record, names.QUEUE, place, item.queued_ns, end_ns, attributes)

    def item_run(self, record: RequestRecord, item: ItemRecord, batch: BatchRecord) -> Span:
        """Return the run of the item's batch, as this item's request saw it."""
        attributes: dict[str, AttributeValue] = {}
        if batch.ran_ns and batch.ran_ns <= (record.ended_ns or batch.ran_ns):
            attributes[names.RUN_SHARE_MS] = (batch.ran_ns - batch.run_ns) / 1e6 / batch.size
        else:
            attributes[names.RUN_UNFINISHED] = True
        place = item_place(item.index, RUN)
        return self.part(
            record, names.RUN, place, batch.run_ns, batch.ran_ns, attributes, item.failure
        )

    def plain_queue(self, record: RequestRecord) -> Span:
        """Return a plain request's wait for the runner."""
        return self.part(record, names.QUEUE, QUEUE, record.queued_ns, record.run_ns)

    def plain_run(self, record: RequestRecord) -> Span:
        """Return a plain request's run."""
        failure = record.failure
        own = failure if failure and _in_run(record, failure) else None
        attributes: Attributes = NO_ATTRIBUTES if record.ran_ns else {names.RUN_UNFINISHED: True}
        return self.part(record, names.RUN, RUN, record.run_ns, record.ran_ns, attributes, own)

    def batch(self, record: BatchRecord) -> Span:
        """Return the root span of a batch, with a link to each member that was kept."""
        attributes: dict[str, AttributeValue] = {
            names.ENDPOINT: record.endpoint,
            names.BATCH_SIZE: record.size,
            names.RELEASE_REASON: record.reason,
        }
        if record.custom_lost:
            attributes[names.CUSTOM_LOST] = record.custom_lost
        error = None
        if failure := record.failure:
            attributes[names.ERROR_TYPE] = failure.type
            error = ""
        links = [
            Link(
                member.trace_id,
                member.span_id,
                {
                    names.LINK_POSITION: member.position,
                    names.LINK_WAIT_MS: (record.released_ns - member.queued_ns) / 1e6,
                },
            )
            for member in record.members
            if member.position not in record.not_kept
        ]
        return Span(
            f"{names.BATCH} {record.endpoint}",
            INTERNAL,
            record.trace_id,
            record.span_id(ROOT),
            None,
            record.released_ns + self.offset_ns,
            (record.ended_ns or record.released_ns) + self.offset_ns,
            attributes,
            links,
            (),
            error,
            record.debug,
        )

    def batch_run(self, record: BatchRecord) -> Span:
        """Return the run of a batch in the batch's own trace."""
        return self.part(
            record, names.RUN, RUN, record.run_ns, record.ran_ns, failure=record.failure
        )

    def custom(self, record: Record, custom: CustomSpan) -> Span:
        """Return a span of the user's code."""
        return self._custom(
            record, custom, custom.place, custom.parent_place, dict(custom.attributes)
        )

    def _custom(
        self,
        record: Record,
        custom: CustomSpan,
        place: int,
        parent_place: int,
        attributes: dict[str, AttributeValue],
    ) -> Span:
        error, events = self._failed(custom.failure, attributes)
        own = tuple(
            Event(event.name, event.time_ns + self.offset_ns, event.attributes)
            for event in tuple(custom.events)
        )
        return Span(
            custom.name,
            INTERNAL,
            record.trace_id,
            derived_id(record.root_id, place),
            derived_id(record.root_id, parent_place),
            custom.started_ns + self.offset_ns,
            _end(record, custom.started_ns, custom.ended_ns) + self.offset_ns,
            attributes,
            (),
            own + events,
            error,
            record.debug,
        )

    def _failed(
        self, failure: Failure | None, attributes: dict[str, AttributeValue]
    ) -> tuple[str | None, tuple[Event, ...]]:
        """Add a failure's type to the attributes; return the error's text, and its event."""
        if failure is None:
            return None, ()
        attributes[names.ERROR_TYPE] = failure.type
        if not self._with_texts:
            return "", ()
        event = Event(
            names.EXCEPTION,
            failure.time_ns + self.offset_ns,
            {
                names.EXCEPTION_TYPE: failure.type,
                names.EXCEPTION_MESSAGE: failure.message,
                names.EXCEPTION_STACKTRACE: failure.stack,
            },
        )
        return failure.message, (event,)


def _in_run(record: RequestRecord, failure: Failure) -> bool:
    return 0 < record.run_ns <= failure.time_ns <= record.ran_ns


def _end(record: Record, start_ns: int, end_ns: int) -> int:
    """Return where a span ends: at its mark, or where its record ended without it."""
    record_end_ns = record.ended_ns
    if end_ns and record_end_ns:
        return max(start_ns, min(end_ns, record_end_ns))
    return max(start_ns, end_ns or record_end_ns)
