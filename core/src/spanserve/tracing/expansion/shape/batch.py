"""The trace of a batch, and that of a start."""

from typing import Final

from spanserve.tracing.expansion.shape.rules import (
    Op,
    Row,
    Value,
    collated_ns,
    cut,
    failed_in,
    slot_in_batch,
    split_started,
)
from spanserve.tracing.expansion.shape.span_shape import (
    Expression,
    Said,
    SpanShape,
    failing,
    run_by,
)
from spanserve.tracing.model import names
from spanserve.tracing.model.ids import COLLATE, ROOT, RUN, SPLIT

BATCH: Final = SpanShape(
    name=lambda op, b: op.call(lambda endpoint: f"{names.BATCH} {endpoint}", b.endpoint),
    slot=lambda _, __: ROOT,
    start_ns=lambda _, b: b.released_ns,
    end_ns=lambda op, b: op.where(b.ended_ns > 0, b.ended_ns, b.released_ns),
    parent_id=lambda op, _: op.no_parent,
    said=(
        Said(names.ENDPOINT, lambda _, b: b.endpoint),
        Said(names.BATCH_SIZE, lambda _, b: b.size),
        Said(names.RELEASE_REASON, lambda _, b: b.reason),
        Said(names.BATCH_RETRIES, lambda _, b: b.retried, lambda _, b: b.retried > 0),
        Said(names.CUSTOM_LOST, lambda _, b: b.custom_lost, lambda _, b: b.custom_lost > 0),
        Said(
            names.ERROR_TYPE,
            lambda op, b: op.type_of(b.failure),
            lambda op, b: op.has(b.failure),
        ),
    ),
    failure=lambda op, b: op.where(op.has(b.failure), op.silent, op.none),
    links=lambda op, b: op.members(b),
)


def linked_wait_ns(op: Op, batch: Row, queued_ns: Value) -> Value:
    """Return how long a member waited for its batch, as the batch's link to it says."""
    return op.where(batch.started_ns > 0, batch.started_ns, batch.released_ns) - queued_ns


RETRY: Final = SpanShape(
    name=lambda _, __: names.RETRY,
    slot=lambda op, a: slot_in_batch(op, a, ROOT),
    start_ns=lambda _, a: a.started_ns,
    end_ns=lambda op, a: cut(op, a.batch, a.started_ns, a.ended_ns),
    exists=lambda _, a: a.number > 0,
    trace=lambda _, a: a.batch,
    said=(
        Said(names.RUN_ATTEMPT, lambda _, a: a.number + 1),
        Said(names.BATCH_SIZE, lambda _, a: a.size),
        Said(names.BATCH_POSITIONS, lambda _, a: a.positions),
        Said(
            names.RUN_RAISED,
            lambda op, a: op.type_of(a.failure),
            lambda op, a: op.has(a.failure),
        ),
    ),
)


def _attempt_part(
    name: str, part: int, start: str, end_ns: Expression, exists: Expression
) -> SpanShape:
    """Return a part of an attempt at a batch, in the batch's own trace."""
    return failing(
        SpanShape(
            name=lambda _, __: name,
            slot=lambda op, a: slot_in_batch(op, a, part),
            start_ns=lambda _, a: getattr(a, start),
            end_ns=lambda op, a: cut(op, a.batch, getattr(a, start), end_ns(op, a)),
            exists=exists,
            trace=lambda _, a: a.batch,
            parent=lambda op, a: slot_in_batch(op, a, ROOT),
            failure=lambda op, a: failed_in(op, part, a, a.failure),
        )
    )


BATCH_COLLATE: Final = _attempt_part(
    names.COLLATE, COLLATE, "started_ns", collated_ns, lambda _, __: True
)
_RUN: Final = _attempt_part(
    names.RUN, RUN, "run_ns", lambda _, a: a.ran_ns, lambda _, a: a.run_ns > 0
)
BATCH_RUN: Final = _RUN._replace(said=(*_RUN.said, *run_by(lambda _, a: a.runner)))
BATCH_SPLIT: Final = _attempt_part(
    names.SPLIT, SPLIT, "ran_ns", lambda _, a: a.ended_ns, split_started
)


STARTUP: Final = failing(
    SpanShape(
        name=lambda op, s: op.call(lambda service: f"{names.STARTUP} {service}", s.service),
        slot=lambda _, __: ROOT,
        start_ns=lambda _, s: s.started_ns,
        end_ns=lambda op, s: cut(op, s, s.started_ns, s.ended_ns),
        parent_id=lambda op, _: op.no_parent,
        said=(Said(names.CUSTOM_LOST, lambda _, s: s.custom_lost, lambda _, s: s.custom_lost > 0),),
        failure=lambda _, s: s.failure,
    )
)
