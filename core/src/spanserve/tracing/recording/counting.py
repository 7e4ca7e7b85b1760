"""How many spans finished records make, for the bounds of queues and for the counters.

A test holds it to the shape of a trace (`expansion.shape`), which makes them.
"""

from collections.abc import Iterator

from spanserve.tracing.model.ids import RUN
from spanserve.tracing.recording.attempt import Attempt
from spanserve.tracing.recording.custom import CustomSpan
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.recording.startup import StartupRecord


def spans_of_request(record: RequestRecord, *, include_batch_run: bool) -> int:
    """Return how many spans an ended request makes."""
    spans = 1 + len(record.finished)
    for mark_ns in (record.decode_ns, record.queued_ns, record.run_ns, record.encode_ns):
        if mark_ns and record.reached(mark_ns):
            spans += 1
    return spans + sum(
        _spans_of_item(record, item, include_batch_run=include_batch_run) for item in record.items
    )


def _spans_of_item(record: RequestRecord, item: ItemRecord, *, include_batch_run: bool) -> int:
    batch = item.batch
    if batch is None or not record.reached(batch.started_ns):
        return 1
    if batch.size == 1:
        return (
            2
            + record.reached(batch.run_ns)
            + (batch.split_started and record.reached(batch.ran_ns))
        )
    spans = 1
    if include_batch_run:
        for attempt in record.attempts(item.position, batch):
            if record.reached(attempt.run_ns):
                spans += 1 + len(list(copies_seen(batch, attempt, record.ended_ns)))
    return spans


def copies_seen(
    batch: BatchRecord, attempt: Attempt, until_ns: int
) -> Iterator[tuple[CustomSpan, int]]:
    """Yield each custom span in the run of an attempt that began by then, and its end, or then.

    That is what a member that ended then saw of them.
    """
    places = {attempt.place(RUN)}
    for custom in tuple(batch.custom_spans):  # parents before children
        if custom.parent_place in places and custom.started_ns <= until_ns:
            places.add(custom.place)
            yield custom, min(custom.ended_ns or until_ns, until_ns)


def spans_of_batch(record: BatchRecord) -> int:
    """Return how many spans an ended batch makes, in its own trace."""
    attempts = (record, *record.retries)
    parts = sum(1 + (each.run_ns > 0) + each.split_started for each in attempts)
    return 1 + parts + len(record.retries) + len(record.finished)


def spans_of_startup(record: StartupRecord) -> int:
    """Return how many spans an ended start makes."""
    return 1 + len(record.finished)
