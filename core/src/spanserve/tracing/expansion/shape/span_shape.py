"""What a kind of span is made of: expressions, that take operations and a row."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from spanserve.tracing.expansion.shape.rules import Op, Row, Value
from spanserve.tracing.model import names
from spanserve.tracing.model.ids import ROOT
from spanserve.tracing.model.span import SpanKind
from spanserve.tracing.recording.attempt import RunBy

Expression = Callable[[Op, Row], Value]


class Said(NamedTuple):
    """An attribute: its value, and for which rows it is `given`; for all without."""

    key: str
    value: Expression
    given: Expression | None = None


class SpanShape(NamedTuple):
    """One kind of span of a row.

    It `exists` for some rows, in the trace of which `trace` has the ids. Its parent is at the slot
    `parent`, or it is a root, or its parent's id is given as `parent_id`. `common` is a mapping of
    attributes, beside those of `said`. A `failure` gives its error, and an event where it is one
    of an exception; `events` are more of them.
    """

    name: Expression
    slot: Expression
    start_ns: Expression
    end_ns: Expression
    exists: Expression = lambda _, __: True
    trace: Expression = lambda _, row: row
    parent: Expression = lambda _, __: ROOT
    parent_id: Expression | None = None
    kind: Expression = lambda _, __: SpanKind.INTERNAL
    common: Expression | None = None
    said: Sequence[Said] = ()
    failure: Expression = lambda op, _: op.none
    nesting: Expression = lambda _, __: 0
    links: Expression | None = None
    events: Expression | None = None


def failing(shape: SpanShape) -> SpanShape:
    """Let a span say the type of its failure."""
    failure = shape.failure
    said = Said(
        names.ERROR_TYPE,
        lambda op, row: op.type_of(failure(op, row)),
        lambda op, row: op.has_type(failure(op, row)),
    )
    return shape._replace(said=(*shape.said, said))


def run_by(runner: Expression) -> Sequence[Said]:
    """Return what a run says of the runner's type and replica, where that is not the server."""

    def given(op: Op, row: Row) -> Value:
        return op.given(runner(op, row))

    return (
        Said(names.RUNNER_TYPE, lambda op, row: op.call(_type, runner(op, row)), given),
        Said(names.RUNNER_REPLICA, lambda op, row: op.call(_replica, runner(op, row)), given),
    )


def _type(runner: RunBy | None) -> str:
    return "" if runner is None else runner[0]


def _replica(runner: RunBy | None) -> int:
    return -1 if runner is None else runner[1]
