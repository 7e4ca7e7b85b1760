"""What all spans of a record are made with: ids, Unix times, failures; pure."""

from typing import Literal

from spanserve.tracing.model import names
from spanserve.tracing.model.failure import Failure
from spanserve.tracing.model.ids import (
    ROOT,
    copy_place,
    derived_id,
)
from spanserve.tracing.model.span import (
    NO_ATTRIBUTES,
    Attributes,
    AttributeValue,
    Event,
    Span,
    SpanKind,
)
from spanserve.tracing.recording.attempt import Attempt, RunBy
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.custom import CustomEvent, CustomSpan
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord

INTERNAL = SpanKind.INTERNAL


class Parts:
    """How a part of a record becomes a span in one process.

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
        own = dict(attributes)
        error, events = self._failed(failure, own)
        return Span(
            name,
            INTERNAL,
            record.trace_id,
            derived_id(record.root_id, place),
            derived_id(record.root_id, parent_place),
            start_ns + self.offset_ns,
            cut(record, start_ns, end_ns) + self.offset_ns,
            own,
            (),
            events,
            error,
            record.debug,
            record.tracestate,
        )

    def custom(self, record: Record, custom: CustomSpan, end_ns: int) -> Span:
        """Return a span of the user's code; `end_ns` is where it ended, or was given up."""
        attributes = dict(custom.attributes)
        if custom.is_late:
            attributes[names.LATE] = True
        return self._custom(
            record,
            custom,
            end_ns,
            custom.place,
            custom.parent_place,
            attributes,
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
            tuple(link._replace(attributes=dict(link.attributes)) for link in custom.links),
            own + events,
            error,
            record.debug,
            record.tracestate,
        )

    def _told(self, event: CustomEvent) -> Attributes:
        """Return what an event says, without the texts of an exception where they stay out."""
        if self._with_texts or event.name != names.EXCEPTION:
            return dict(event.attributes)
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


def failed_in(part: int, attempt: Attempt, failure: Failure | None) -> Failure | None:
    """Return a failure to the part in which it happened, and to no other."""
    return failure if failure is not None and attempt.part_of(failure) == part else None


def collated_ns(attempt: Attempt) -> int:
    """Return when the argument was there, or could not be made."""
    failure = attempt.failure
    return attempt.run_ns or (failure.time_ns if failure else attempt.ended_ns)


def waits(item: ItemRecord, batch: BatchRecord, until_ns: int) -> tuple[int, int, int]:
    """Return an item's wait for the runner, for its peers and for the start, in nanoseconds."""
    released_ns = min(batch.released_ns, until_ns)
    ready_ns = max(item.queued_ns, min(batch.runner_free_ns, released_ns))
    return ready_ns - item.queued_ns, released_ns - ready_ns, until_ns - released_ns


def run_by(runner: RunBy | None) -> dict[str, AttributeValue]:
    """Return what a run says of a runner elsewhere."""
    if runner is None:
        return {}
    return dict(zip((names.RUNNER_TYPE, names.RUNNER_REPLICA), runner, strict=True))
