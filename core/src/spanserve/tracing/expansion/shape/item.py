"""An item of a request: its wait in the queue, and its batch's run as its request saw it."""

from typing import Final

from spanserve.tracing.expansion.rows import once
from spanserve.tracing.expansion.shape.rules import (
    Op,
    Row,
    Value,
    Waits,
    collated_ns,
    cut,
    either,
    failed_in,
    in_time,
    reached,
    slot_in_batch,
    split_started,
    waits,
)
from spanserve.tracing.expansion.shape.span_shape import Said, SpanShape, failing, run_by
from spanserve.tracing.model import names
from spanserve.tracing.model.ids import COLLATE, QUEUE, ROOT, RUN, SPLIT, item_place


@once
def _queue_end(op: Op, i: Row) -> Value:
    ends_ns = op.where(i.batch.size > 0, i.batch.started_ns, i.dequeued_ns)
    return cut(op, i.request, i.queued_ns, ends_ns)


@once
def _waits(op: Op, i: Row) -> Waits:
    return waits(op, i, _queue_end(op, i))


@once
def _has_batch(_: Op, i: Row) -> Value:
    return i.batch.size > 0


@once
def _has_batch_trace(_: Op, i: Row) -> Value:
    return (i.batch.size > 0) & i.batch.recording


WAITING: Final = SpanShape(
    name=lambda _, __: names.QUEUE,
    slot=lambda _, i: item_place(i.index, QUEUE),
    start_ns=lambda _, i: i.queued_ns,
    end_ns=_queue_end,
    trace=lambda _, i: i.request,
    said=(
        Said(names.QUEUE_DEPTH, lambda _, i: i.depth),
        Said(names.BATCH_SIZE, lambda _, i: i.batch.size, _has_batch),
        Said(names.BATCH_POSITION, lambda _, i: i.position, _has_batch),
        Said(names.RELEASE_REASON, lambda _, i: i.batch.reason, _has_batch),
        Said(names.WAIT_FOR_PEERS_MS, lambda op, i: op.ms(_waits(op, i).for_peers_ns), _has_batch),
        Said(
            names.WAIT_FOR_RUNNER_MS, lambda op, i: op.ms(_waits(op, i).for_runner_ns), _has_batch
        ),
        Said(names.WAIT_FOR_START_MS, lambda op, i: op.ms(_waits(op, i).for_start_ns), _has_batch),
        Said(names.BATCH_TRACE_ID, lambda _, i: i.batch.trace_id, _has_batch_trace),
        Said(names.BATCH_SPAN_ID, lambda op, i: op.hex_id(i.batch.root_id, ROOT), _has_batch_trace),
    ),
)


@once
def _began(op: Op, item: Row) -> Value:
    """Say whether a request lived to see the batch of its item begin."""
    return (item.batch.size > 0) & reached(op, item.request, item.batch.started_ns)


def _ran_alone(op: Op, item: Row) -> Value:
    is_alone = _began(op, item) & (item.batch.size == 1)
    return is_alone & reached(op, item.request, item.batch.run_ns)


ITEM_COLLATE: Final = failing(
    SpanShape(
        name=lambda _, __: names.COLLATE,
        slot=lambda _, i: item_place(i.index, COLLATE),
        start_ns=lambda _, i: i.batch.started_ns,
        end_ns=lambda op, i: cut(op, i.request, i.batch.started_ns, collated_ns(op, i.batch)),
        exists=lambda op, i: _began(op, i) & (i.batch.size == 1),
        trace=lambda _, i: i.request,
        failure=lambda op, i: failed_in(
            op, COLLATE, i.batch, in_time(op, i.request, i.batch.failure)
        ),
    )
)
ITEM_SPLIT: Final = failing(
    SpanShape(
        name=lambda _, __: names.SPLIT,
        slot=lambda _, i: item_place(i.index, SPLIT),
        start_ns=lambda _, i: i.batch.ran_ns,
        end_ns=lambda op, i: cut(op, i.request, i.batch.ran_ns, i.batch.ended_ns),
        exists=lambda op, i: (
            _ran_alone(op, i) & split_started(op, i.batch) & reached(op, i.request, i.batch.ran_ns)
        ),
        trace=lambda _, i: i.request,
        failure=lambda op, i: failed_in(
            op, SPLIT, i.batch, in_time(op, i.request, i.batch.failure)
        ),
    )
)


def attempt_seen(op: Op, go: Row) -> Value:
    """Say whether a request lived to see an attempt at its item; the batch's own counts always."""
    attempt = go.attempt
    return (attempt.number == 0) | reached(op, go.item.request, attempt.started_ns)


def _run_failure(op: Op, go: Row) -> Value:
    # One that raised, and after which the item ran again, is no failure of its.
    failure = either(op, go.item.failure, go.attempt.failure)
    if op.is_none(failure):
        return failure
    failure = in_time(op, go.item.request, op.where(go.is_last, failure, op.none))
    return failed_in(op, RUN, go.attempt, failure)


def _has_run(op: Op, go: Row) -> Value:
    item = go.item
    is_shown = (item.batch.size == 1) | op.include_batch_run
    return _began(op, item) & is_shown & reached(op, item.request, go.attempt.run_ns)


ITEM_RUN: Final = failing(
    SpanShape(
        name=lambda _, __: names.RUN,
        slot=lambda op, go: op.copy_slot(go.item.index, slot_in_batch(op, go.attempt, RUN)),
        start_ns=lambda _, go: go.attempt.run_ns,
        end_ns=lambda op, go: cut(op, go.item.request, go.attempt.run_ns, go.attempt.ran_ns),
        exists=_has_run,
        trace=lambda _, go: go.item.request,
        said=(
            Said(
                names.RUN_SHARE_MS,
                lambda op, go: op.ms((go.attempt.ran_ns - go.attempt.run_ns) // go.attempt.size),
                lambda op, go: reached(op, go.item.request, go.attempt.ran_ns),
            ),
            Said(
                names.RUN_UNFINISHED,
                lambda _, __: True,
                lambda op, go: (
                    (go.item.request.ended_ns > 0)
                    & op.no(reached(op, go.item.request, go.attempt.ran_ns))
                ),
            ),
            Said(
                names.RUN_ATTEMPT,
                lambda _, go: go.attempt.number + 1,
                lambda op, go: (go.attempt.number > 0) | op.no(go.is_last),
            ),
            Said(
                names.RUN_RAISED,
                lambda op, go: op.type_of(go.attempt.failure),
                lambda op, go: op.no(go.is_last) & op.has(go.attempt.failure),
            ),
            *run_by(lambda _, go: go.attempt.runner),
        ),
        failure=_run_failure,
    )
)
