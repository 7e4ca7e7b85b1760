"""The user's own spans, and copies of a batch's in the traces of its members."""

from typing import Final

from spanserve.tracing.expansion.rows import once
from spanserve.tracing.expansion.shape.rules import Op, Row, Value, either
from spanserve.tracing.expansion.shape.span_shape import Said, SpanShape, failing
from spanserve.tracing.model import names


def _custom_failure(op: Op, end_ns: Value, custom: Row) -> Value:
    """Return what a custom span failed with by its end: an exception, or what was said of it."""
    failure = custom.failure
    if not op.is_none(failure):
        failure = op.where(op.time_of(failure) <= end_ns, failure, op.none)
    return either(op, failure, custom.error)


CUSTOM: Final = failing(
    SpanShape(
        name=lambda _, c: c.name,
        slot=lambda _, c: c.place,
        start_ns=lambda _, c: c.started_ns,
        end_ns=lambda op, c: op.where(c.end_ns > 0, c.end_ns, c.started_ns),
        parent=lambda _, c: c.parent_place,
        kind=lambda _, c: c.kind,
        common=lambda _, c: c.attributes,
        said=(
            Said(names.LATE, lambda _, __: True, lambda _, c: c.is_late),
            Said(
                names.UNFINISHED,
                lambda _, __: True,
                lambda _, c: (c.end_ns > 0) & (c.ended_ns != c.end_ns),
            ),
        ),
        failure=lambda op, c: _custom_failure(op, c.end_ns, c),
        nesting=lambda _, c: c.nesting,
        links=lambda _, c: c.links,
        events=lambda _, c: c.events,
    )
)


@once
def _copy_end(op: Op, copy: Row) -> Value:
    custom, until_ns = copy.custom, copy.go.item.request.ended_ns
    return op.minimum(op.where(custom.ended_ns > 0, custom.ended_ns, until_ns), until_ns)


def _copy_failure(op: Op, copy: Row) -> Value:
    failure = _custom_failure(op, _copy_end(op, copy), copy.custom)
    return failure if op.is_none(failure) else op.where(copy.go.is_last, failure, op.none)


COPY: Final = failing(
    SpanShape(
        name=lambda _, copy: copy.custom.name,
        slot=lambda op, copy: op.copy_slot(copy.go.item.index, copy.custom.place),
        start_ns=lambda _, copy: copy.custom.started_ns,
        end_ns=_copy_end,
        exists=lambda op, copy: (
            op.include_batch_run
            & (copy.go.item.batch.size > 1)
            & (copy.custom.started_ns <= copy.go.item.request.ended_ns)
        ),
        trace=lambda _, copy: copy.go.item.request,
        parent=lambda op, copy: op.copy_slot(copy.go.item.index, copy.custom.parent_place),
        kind=lambda _, copy: copy.custom.kind,
        common=lambda _, copy: copy.custom.attributes,
        said=(
            Said(
                names.COPY_OF,
                lambda op, copy: op.hex_id(copy.go.item.batch.root_id, copy.custom.place),
            ),
            Said(
                names.UNFINISHED,
                lambda _, __: True,
                lambda op, copy: copy.custom.ended_ns != _copy_end(op, copy),
            ),
        ),
        failure=_copy_failure,
        nesting=lambda _, copy: copy.custom.nesting,
        links=lambda _, copy: copy.custom.links,
        events=lambda _, copy: copy.custom.events,
    )
)
