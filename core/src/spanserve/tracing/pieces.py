"""One span of a record each: what it is called, where it lies, what is said of it; pure."""

from typing import Literal

from spanserve.tracing import http, names
from spanserve.tracing.attempt import Attempt, Retry
from spanserve.tracing.custom import CustomEvent, CustomSpan
from spanserve.tracing.failure import Failure
from spanserve.tracing.places import (
    COLLATE,
    QUEUE,
    ROOT,
    RUN,
    SPLIT,
    copy_place,
    derived_id,
    item_place,
)
from spanserve.tracing.record import (
    BatchRecord,
    ItemRecord,
    Record,
    RequestRecord,
    StartupRecord,
)
from spanserve.tracing.span import (
    NO_ATTRIBUTES,
    Attributes,
    AttributeValue,
    Event,
    Layered,
    Link,
    Span,
    SpanKind,
)

INTERNAL = SpanKind.INTERNAL


class Pieces:
    """How a record's marks become single spans in one process.

    `offset_ns` is what turns a monotonic mark into Unix time. With `batch_spans` "linked"
    a member of a shared batch carries only its reference to the batch, not its spans;
    with `exceptions` "type" the texts of exceptions stay out of the trace. A record may
    still be open: then its spans are what is known of them so far.
    """

    def __init__(
        self,
        offset_ns: int,
        *,
        batch_spans: Literal["full", "linked"] = "full",
        exceptions: Literal["full", "type"] = "full",
    ) -> None:
        self.offset_ns = offset_ns
        self.with_runs = batch_spans == "full"
        self._with_texts = exceptions == "full"

    def server(self, record: RequestRecord) -> Span:
        """Return the root span of a request."""
        shared = http.server_attributes(record.http, record.route, record.endpoint, record.status)
        own: dict[str, AttributeValue] = {}
        if record.request_id:
            own[names.REQUEST_ID] = record.request_id
        if record.debug_id:
            own[names.DEBUG_ID] = record.debug_id
        if record.kept_by:
            own[names.KEPT_BY] = record.kept_by
        if record.client_left:
            own[names.CLIENT_LEFT] = True
        if record.custom_lost:
            own[names.CUSTOM_LOST] = record.custom_lost
        cause, shown = self._cause(record)
        error, events = self._failed(shown, own)
        if record.status >= 500:  # noqa: PLR2004  # a 4xx is no error of the server's
            own.setdefault(names.ERROR_TYPE, cause.type if cause else f"{record.status}")
            error = error or ""
        return Span(
            http.span_name(record.http[0], record.route),
            SpanKind.SERVER,
            record.trace_id,
            record.span_id(ROOT),
            record.parent_id,
            record.started_ns + self.offset_ns,
            (record.ended_ns or record.started_ns) + self.offset_ns,
            Layered(shared, own),
            () if record.caller is None else (Link(*record.caller, NO_ATTRIBUTES),),
            events,
            error,
            record.debug,
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

    def part(  # noqa: PLR0917  # a row of the trace: what, where, when
        self,
        record: Record,
        name: str,
        place: int,
        start_ns: int,
        end_ns: int,
        attributes: Attributes = NO_ATTRIBUTES,
        failure: Failure | None = None,
        parent_place: int = ROOT,
    ) -> Span:
        """Return a child of the root, or of `parent_place`, cut off where the record ended."""
        own = dict(attributes) if failure is not None else {}
        error, events = self._failed(failure, own)
        return Span(
            name,
            INTERNAL,
            record.trace_id,
            derived_id(record.root_id, place),
            derived_id(record.root_id, parent_place),
            start_ns + self.offset_ns,
            cut(record, start_ns, end_ns) + self.offset_ns,
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
        if batch is not None:
            end_ns = cut(record, item.queued_ns, batch.started_ns)
            waits = item.waits_ns(batch, end_ns)
            attributes |= {
                names.BATCH_SIZE: batch.size,
                names.BATCH_POSITION: item.position,
                names.RELEASE_REASON: batch.reason,
                names.WAIT_FOR_PEERS_MS: waits.for_peers_ns / 1e6,
                names.WAIT_FOR_RUNNER_MS: waits.for_runner_ns / 1e6,
                names.WAIT_FOR_START_MS: waits.for_start_ns / 1e6,
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
        return self.part(
            record,
            names.RUN,
            copy_place(item.index, attempt.place(RUN)),
            attempt.run_ns,
            attempt.ran_ns,
            attributes,
            _failed_in(RUN, attempt, _in_time(record, failure)),
        )

    def item_collate(self, record: RequestRecord, item: ItemRecord, batch: BatchRecord) -> Span:
        """Return the collation of a batch of one, in its only request's trace."""
        place = item_place(item.index, COLLATE)
        end_ns = batch.collated_ns
        failure = _failed_in(COLLATE, batch, _in_time(record, batch.failure))
        return self.part(
            record, names.COLLATE, place, batch.started_ns, end_ns, NO_ATTRIBUTES, failure
        )

    def item_split(self, record: RequestRecord, item: ItemRecord, batch: BatchRecord) -> Span:
        """Return the split of a batch of one, in its only request's trace."""
        place = item_place(item.index, SPLIT)
        failure = _failed_in(SPLIT, batch, _in_time(record, batch.failure))
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
        attributes: Attributes = {names.RUN_UNFINISHED: True} if unfinished else NO_ATTRIBUTES
        return self.part(record, names.RUN, RUN, record.run_ns, record.ran_ns, attributes, own)

    def batch(self, record: BatchRecord) -> Span:
        """Return the root span of a batch, with a link to each member that was kept."""
        attributes: dict[str, AttributeValue] = {
            names.ENDPOINT: record.endpoint,
            names.BATCH_SIZE: record.size,
            names.RELEASE_REASON: record.reason,
        }
        if record.retries:
            attributes[names.BATCH_RETRIES] = len(record.retries)
        if record.custom_lost:
            attributes[names.CUSTOM_LOST] = record.custom_lost
        error = None
        if failure := record.failure:
            attributes[names.ERROR_TYPE] = failure.type
            error = ""
        begun_ns = record.started_ns or record.released_ns
        links = [
            Link(
                trace_id,
                derived_id(root_id, item_place(index, QUEUE)),
                {
                    names.LINK_POSITION: position,
                    names.LINK_WAIT_MS: (begun_ns - queued_ns) / 1e6,
                },
            )
            for trace_id, root_id, index, position, queued_ns in record.members
            if position not in record.not_kept
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

    def retry(self, record: BatchRecord, retry: Retry) -> Span:
        """Return another go at some of a batch's items, which holds its parts."""
        attributes: dict[str, AttributeValue] = {
            names.RUN_ATTEMPT: retry.number + 1,
            names.BATCH_SIZE: retry.size,
            names.BATCH_POSITIONS: tuple(retry.positions),
        }
        if retry.failure:
            attributes[names.RUN_RAISED] = retry.failure.type
        place, end_ns = retry.place(ROOT), retry.ended_ns
        return self.part(record, names.RETRY, place, retry.started_ns, end_ns, attributes)

    def batch_collate(self, record: BatchRecord, attempt: Attempt) -> Span:
        """Return the making of the method's argument, in the batch's own trace."""
        start_ns, end_ns = attempt.started_ns, attempt.collated_ns
        return self._attempt_part(record, attempt, names.COLLATE, COLLATE, start_ns, end_ns)

    def batch_run(self, record: BatchRecord, attempt: Attempt) -> Span:
        """Return the run of a batch in the batch's own trace."""
        start_ns, end_ns = attempt.run_ns, attempt.ran_ns
        return self._attempt_part(record, attempt, names.RUN, RUN, start_ns, end_ns)

    def batch_split(self, record: BatchRecord, attempt: Attempt) -> Span:
        """Return the taking apart of the method's answer, in the batch's own trace."""
        start_ns, end_ns = attempt.ran_ns, attempt.ended_ns
        return self._attempt_part(record, attempt, names.SPLIT, SPLIT, start_ns, end_ns)

    def _attempt_part(  # noqa: PLR0917  # as `part`
        self,
        record: BatchRecord,
        attempt: Attempt,
        name: str,
        part: int,
        start_ns: int,
        end_ns: int,
    ) -> Span:
        return self.part(
            record,
            name,
            attempt.place(part),
            start_ns,
            end_ns,
            failure=_failed_in(part, attempt, attempt.failure),
            parent_place=attempt.place(ROOT),
        )

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

    def custom(self, record: Record, custom: CustomSpan, end_ns: int) -> Span:
        """Return a span of the user's code; `end_ns` is where it ended or was cut off."""
        return self._custom(
            record,
            custom,
            end_ns,
            custom.place,
            custom.parent_place,
            dict(custom.attributes),
            failed=True,
        )

    def copy(
        self,
        record: RequestRecord,
        item: ItemRecord,
        custom: CustomSpan,
        end_ns: int,
        origin: str,
        *,
        failed: bool,
    ) -> Span:
        """Return a copy, in an item's request, of a custom span of the item's shared batch.

        Unless `failed`, what the span failed with is left out.
        """
        return self._custom(
            record,
            custom,
            end_ns,
            copy_place(item.index, custom.place),
            copy_place(item.index, custom.parent_place),
            {**custom.attributes, names.COPY_OF: origin},
            failed=failed,
        )

    def _custom(  # noqa: PLR0917  # as `part`
        self,
        record: Record,
        custom: CustomSpan,
        end_ns: int,
        place: int,
        parent_place: int,
        attributes: dict[str, AttributeValue],
        *,
        failed: bool,
    ) -> Span:
        failure = custom.failure if failed else None
        if end_ns and custom.ended_ns != end_ns:
            attributes[names.UNFINISHED] = True
        if failure is not None and failure.time_ns > end_ns:
            failure = None
        error, events = self._failed(failure, attributes)
        if failed and error is None and custom.error is not None:
            error = custom.error if self._with_texts else ""
        own = tuple(
            Event(event.name, event.time_ns + self.offset_ns, self._told(event))
            for event in tuple(custom.events)
            if event.time_ns <= end_ns
        )
        return Span(
            custom.name,
            custom.kind,
            record.trace_id,
            derived_id(record.root_id, place),
            derived_id(record.root_id, parent_place),
            custom.started_ns + self.offset_ns,
            (end_ns or custom.started_ns) + self.offset_ns,
            attributes,
            custom.links,
            own + events,
            error,
            record.debug,
        )

    def _told(self, event: CustomEvent) -> Attributes:
        """Return what an event says, without the texts of an exception where they stay out."""
        if self._with_texts or event.name != names.EXCEPTION:
            return event.attributes
        texts = names.EXCEPTION_MESSAGE, names.EXCEPTION_STACKTRACE
        return {key: value for key, value in event.attributes.items() if key not in texts}

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


def cut(record: Record, start_ns: int, end_ns: int) -> int:
    """Return where a span ends: at its mark, or where its record ended without it."""
    record_end_ns = record.ended_ns
    if end_ns and record_end_ns:
        return max(start_ns, min(end_ns, record_end_ns))
    return max(start_ns, end_ns or record_end_ns)


def _in_time(record: Record, failure: Failure | None) -> Failure | None:
    """Leave out what failed when the request was already over: it is of no span in its trace."""
    if failure is not None and record.ended_ns and failure.time_ns > record.ended_ns:
        return None
    return failure


def _in_run(record: RequestRecord, failure: Failure) -> bool:
    return 0 < record.run_ns <= failure.time_ns <= record.ran_ns


def _failed_in(part: int, attempt: Attempt, failure: Failure | None) -> Failure | None:
    """Return a failure to the part in which it happened, and to no other."""
    return failure if failure is not None and attempt.part_of(failure) == part else None
