"""The spans of a batch's own trace, one each; pure."""

from collections.abc import Iterable

from spanserve.tracing.model import names
from spanserve.tracing.model.ids import (
    COLLATE,
    QUEUE,
    ROOT,
    RUN,
    SPLIT,
    derived_id,
    item_place,
)
from spanserve.tracing.model.span import NO_ATTRIBUTES, AttributeValue, Link, Span
from spanserve.tracing.recording.attempt import Attempt, Retry
from spanserve.tracing.recording.members import Member
from spanserve.tracing.recording.record import BatchRecord
from support.oracle.parts import INTERNAL, Parts, collated_ns, failed_in, run_by


def _members(record: BatchRecord) -> Iterable[tuple[int, Member]]:
    return () if record.rows is None else record.rows


class BatchPieces(Parts):
    """How a batch's marks become single spans."""

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
                member.trace_id,
                derived_id(member.root_id, item_place(max(member.item, 0), QUEUE)),
                {
                    names.LINK_POSITION: position,
                    names.LINK_WAIT_MS: (begun_ns - member.queued_ns) / 1e6,
                },
            )
            for position, member in _members(record)
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
        start_ns, end_ns = attempt.started_ns, collated_ns(attempt)
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
            run_by(attempt.runner) if part == RUN else NO_ATTRIBUTES,
            failure=failed_in(part, attempt, attempt.failure),
            parent_place=attempt.place(ROOT),
        )
