"""One span of a record each: what it is called, where it lies, what is said of it; pure."""

from spanserve.tracing.admission import http_attributes
from spanserve.tracing.model import names
from spanserve.tracing.model.failure import Failure
from spanserve.tracing.model.ids import (
    COLLATE,
    QUEUE,
    ROOT,
    RUN,
    SPLIT,
    copy_place,
    item_place,
)
from spanserve.tracing.model.span import (
    NO_ATTRIBUTES,
    AttributeValue,
    Link,
    Span,
    SpanKind,
)
from spanserve.tracing.recording.attempt import Attempt
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.recording.startup import StartupRecord
from support.oracle.batch_pieces import BatchPieces
from support.oracle.parts import collated_ns, cut, failed_in, run_by, waits


class Pieces(BatchPieces):
    """How a record's marks become single spans in one process.

    `offset_ns` is what turns a monotonic mark into Unix time. With `batch_spans` "linked"
    a member of a shared batch carries only its reference to the batch, not its spans;
    with `exceptions` "type" the texts of exceptions stay out of the trace. A record may
    still be open: then its spans are what is known of them so far.
    """

    def server(self, record: RequestRecord) -> Span:
        """Return the root span of a request."""
        origin = record.origin
        shared = http_attributes.server_attributes(
            origin, record.route, record.endpoint, record.status
        )
        own = dict(shared)
        if origin.is_peer:
            own[names.PEER_PORT] = record.port
        if record.request_id:
            own[names.REQUEST_ID] = record.request_id
        if record.debug_id:
            own[names.DEBUG_ID] = record.debug_id
        if record.kept_by:
            own[names.KEPT_BY] = record.kept_by
        if record.first_item_ns:
            own[names.FIRST_ITEM_MS] = (record.first_item_ns - record.started_ns) / 1e6
        if record.client_left:
            own[names.CLIENT_LEFT] = True
        if record.custom_lost:
            own[names.CUSTOM_LOST] = record.custom_lost
        cause, shown = self._cause(record)
        error, events = self._failed(shown, own)
        # A 4xx is no error of the server's; an answer that began and broke off is one.
        broke_off = cause is not None and cause is record.failure and 200 <= record.status < 400
        if record.status >= 500 or broke_off:
            own.setdefault(names.ERROR_TYPE, cause.type if cause else f"{record.status}")
            error = error or ""
        return Span(
            http_attributes.span_name(origin.method, record.route),
            SpanKind.SERVER,
            record.trace_id,
            record.span_id(ROOT),
            record.parent_id,
            record.started_ns + self.offset_ns,
            (record.ended_ns or record.started_ns) + self.offset_ns,
            own,
            () if record.caller is None else (_link_to(*record.caller),),
            events,
            error,
            record.debug,
            record.tracestate,
        )

    def _cause(self, record: RequestRecord) -> tuple[Failure | None, Failure | None]:
        """Return why a request failed, and again if no other span of its trace shows it."""
        failure = _in_time(record, record.failure)
        if failure is not None:
            return failure, None if _in_run(record, failure) else failure
        for item in record.items:
            failure = _in_time(record, item.failure)
            if failure is not None and item.batch is not None:
                alone = item.batch.size == 1
                last = record.attempts(item.position, item.batch)[-1]
                ran = self.with_runs and last.part_of(failure) == RUN
                return failure, None if alone or ran else failure
        return None, None

    def queue(self, record: RequestRecord, item: ItemRecord) -> Span:
        """Return an item's wait, until the runner started its batch or it left the queue."""
        attributes: dict[str, AttributeValue] = {names.QUEUE_DEPTH: item.depth}
        batch = item.batch
        end_ns = item.dequeued_ns
        if batch is not None:
            end_ns = cut(record, item.queued_ns, batch.started_ns)
            for_runner, for_peers, for_start = waits(item, batch, end_ns)
            attributes |= {
                names.BATCH_SIZE: batch.size,
                names.BATCH_POSITION: item.position,
                names.RELEASE_REASON: batch.reason,
                names.WAIT_FOR_PEERS_MS: for_peers / 1e6,
                names.WAIT_FOR_RUNNER_MS: for_runner / 1e6,
                names.WAIT_FOR_START_MS: for_start / 1e6,
            }
            if batch.recording:
                attributes[names.BATCH_TRACE_ID] = batch.trace_id
                attributes[names.BATCH_SPAN_ID] = batch.span_id(ROOT)
        place = item_place(item.index, QUEUE)
        return self.part(record, names.QUEUE, place, item.queued_ns, end_ns, attributes)

    def item_run(
        self,
        record: RequestRecord,
        item: ItemRecord,
        attempt: Attempt,
        *,
        last: bool,
    ) -> Span:
        """Return a run of the item's batch, as this item's request saw it; `last`: no more came."""
        attributes: dict[str, AttributeValue] = {}
        if record.reached(attempt.ran_ns):
            run_ns = attempt.ran_ns - attempt.run_ns
            attributes[names.RUN_SHARE_MS] = run_ns // attempt.size / 1e6
        elif record.ended_ns:
            attributes[names.RUN_UNFINISHED] = True
        if attempt.number or not last:
            attributes[names.RUN_ATTEMPT] = attempt.number + 1
        failure = item.failure or attempt.failure if last else None
        if not last and attempt.failure is not None:
            attributes[names.RUN_RAISED] = attempt.failure.type
        attributes |= run_by(attempt.runner)
        return self.part(
            record,
            names.RUN,
            copy_place(item.index, attempt.place(RUN)),
            attempt.run_ns,
            attempt.ran_ns,
            attributes,
            failed_in(RUN, attempt, _in_time(record, failure)),
        )

    def item_collate(self, record: RequestRecord, item: ItemRecord, batch: BatchRecord) -> Span:
        """Return the collation of a batch of one, in its only request's trace."""
        place = item_place(item.index, COLLATE)
        end_ns = collated_ns(batch)
        failure = failed_in(COLLATE, batch, _in_time(record, batch.failure))
        return self.part(
            record, names.COLLATE, place, batch.started_ns, end_ns, NO_ATTRIBUTES, failure
        )

    def item_split(self, record: RequestRecord, item: ItemRecord, batch: BatchRecord) -> Span:
        """Return the split of a batch of one, in its only request's trace."""
        place = item_place(item.index, SPLIT)
        failure = failed_in(SPLIT, batch, _in_time(record, batch.failure))
        return self.part(
            record, names.SPLIT, place, batch.ran_ns, batch.ended_ns, NO_ATTRIBUTES, failure
        )

    def plain_queue(self, record: RequestRecord) -> Span:
        """Return a plain request's wait for the runner."""
        return self.part(record, names.QUEUE, QUEUE, record.queued_ns, record.run_ns)

    def plain_run(self, record: RequestRecord) -> Span:
        """Return a plain request's run."""
        failure = _in_time(record, record.failure)
        own = failure if failure and _in_run(record, failure) else None
        unfinished = record.ended_ns and not record.reached(record.ran_ns)
        attributes = run_by(record.runner)
        if unfinished:
            attributes[names.RUN_UNFINISHED] = True
        return self.part(record, names.RUN, RUN, record.run_ns, record.ran_ns, attributes, own)

    def startup(self, record: StartupRecord) -> Span:
        """Return the root span of a process's start."""
        own: dict[str, AttributeValue] = {}
        if record.custom_lost:
            own[names.CUSTOM_LOST] = record.custom_lost
        name = f"{names.STARTUP} {record.service}"
        span = self.part(
            record, name, ROOT, record.started_ns, record.ended_ns, own, record.failure
        )
        return span._replace(parent_id=None)


def _link_to(trace_id: str, span_id: str, tracestate: str) -> Link:
    return Link(trace_id, span_id, NO_ATTRIBUTES, tracestate, is_remote=True)


def _in_time(record: Record, failure: Failure | None) -> Failure | None:
    """Leave out what failed when the request was already over: it is of no span in its trace."""
    if failure is not None and record.ended_ns and failure.time_ns > record.ended_ns:
        return None
    return failure


def _in_run(record: RequestRecord, failure: Failure) -> bool:
    return 0 < record.run_ns <= failure.time_ns <= record.ran_ns
