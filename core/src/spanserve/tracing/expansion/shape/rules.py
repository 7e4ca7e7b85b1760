"""Rules that several spans of a trace follow: where one ends, which of them shows a failure.

`op` are the operations (`operations`): on columns of many rows, or on the values of one.
"""

from typing import Any, NamedTuple

from spanserve.tracing.model.ids import COLLATE, RUN, SPLIT, retry_place

Op = Any
"""The operations: `operations.Columns` or `operations.Values`."""
Row = Any
"""Rows of a table (`rows.Rows`), or one record."""
Value = Any
"""A field of rows: a column or one value."""


def reached(op: Op, record: Row, mark_ns: Value) -> Value:
    """Say whether a mark, perhaps one of a batch, was made before a record ended."""
    return (mark_ns > 0) & (mark_ns <= op.end_of(record))


def cut(op: Op, record: Row, start_ns: Value, end_ns: Value) -> Value:
    """Return where a span ends: at its mark, or where its record ended without it."""
    end_ns = op.where(end_ns > 0, op.minimum(end_ns, op.end_of(record)), record.ended_ns)
    return op.maximum(start_ns, end_ns)


def in_time(op: Op, record: Row, failure: Value) -> Value:
    """Leave out what failed when the record was already over: it is of no span in its trace."""
    if op.is_none(failure):
        return failure
    return op.where(op.time_of(failure) <= op.end_of(record), failure, op.none)


def either(op: Op, failure: Value, other: Value) -> Value:
    """Return a failure, or the other where there is none."""
    if op.is_none(failure):
        return other
    return op.where(op.has(failure), failure, other)


def part_of(op: Op, attempt: Row, failure: Value) -> Value:
    """Return in which part an attempt, or an item in it, failed: `COLLATE`, `RUN`, `SPLIT`."""
    is_split = (attempt.ran_ns > 0) & (attempt.ran_ns < op.time_of(failure))
    return op.where(attempt.run_ns > 0, op.where(is_split, SPLIT, RUN), COLLATE)


def failed_in(op: Op, part: int, attempt: Row, failure: Value) -> Value:
    """Return a failure to the part in which it happened, and to no other."""
    if op.is_none(failure):
        return failure
    return op.where(part_of(op, attempt, failure) == part, failure, op.none)


def split_started(op: Op, attempt: Row) -> Value:
    """Say whether the run went well, so that its answer was to be split."""
    if op.is_none(attempt.failure):
        return attempt.ran_ns > 0
    is_well = op.no(op.has(attempt.failure)) | (part_of(op, attempt, attempt.failure) == SPLIT)
    return (attempt.ran_ns > 0) & is_well


def collated_ns(op: Op, attempt: Row) -> Value:
    """Return when the method's argument was there, or could not be made."""
    otherwise = attempt.ended_ns
    if not op.is_none(attempt.failure):
        failed_ns = op.time_of(attempt.failure)
        otherwise = op.where(failed_ns > 0, failed_ns, otherwise)
    return op.where(attempt.run_ns > 0, attempt.run_ns, otherwise)


def slot_in_batch(op: Op, attempt: Row, part: int) -> Value:
    """Return the slot of a part of an attempt in its batch's own trace.

    The batch's own attempt, number 0, has the slots of the parts; `ROOT` is what holds them.
    """
    number = attempt.number
    return op.where(number == 0, part, retry_place(number, part))


class Waits(NamedTuple):
    """An item's wait, in the order in which its parts come; nanoseconds."""

    for_runner_ns: Value
    """The runner was busy with what came before."""

    for_peers_ns: Value
    """The runner was free, and the policy waited for others."""

    for_start_ns: Value
    """The batch was released and on its way to the runner."""


def waits(op: Op, item: Row, until_ns: Value) -> Waits:
    """Split an item's wait for its batch into the three things that it can be."""
    batch, queued_ns = item.batch, item.queued_ns
    released_ns = op.minimum(batch.released_ns, until_ns)
    ready_ns = op.maximum(queued_ns, op.minimum(batch.runner_free_ns, released_ns))
    return Waits(ready_ns - queued_ns, released_ns - ready_ns, until_ns - released_ns)
