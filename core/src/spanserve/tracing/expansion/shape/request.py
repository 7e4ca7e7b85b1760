"""A request: its server span, and the parts that every request may have."""

from collections.abc import Sequence
from typing import Final

from spanserve.tracing.admission.http_attributes import Origin, server_attributes, span_name
from spanserve.tracing.expansion.rows import once
from spanserve.tracing.expansion.shape.rules import (
    Op,
    Row,
    Value,
    cut,
    either,
    in_time,
    part_of,
    reached,
)
from spanserve.tracing.expansion.shape.span_shape import (
    Expression,
    Said,
    SpanShape,
    failing,
    run_by,
)
from spanserve.tracing.model import names
from spanserve.tracing.model.ids import DECODE, ENCODE, QUEUE, ROOT, RUN
from spanserve.tracing.model.span import Link, SpanKind


@once
def _cause(op: Op, request: Row) -> tuple[Value, Value]:
    """Return why a request failed, and again if no other span of its trace shows it."""
    own = in_time(op, request, request.failure)
    of_item, shown_by_item = op.first_failed(request)
    shown = op.where(shown_by_item, op.none, of_item)
    if op.is_none(own):
        return of_item, shown
    in_run = (request.run_ns > 0) & (request.run_ns <= op.time_of(own))
    in_run &= op.time_of(own) <= request.ran_ns
    own_shown = op.where(in_run, op.none, own)
    return either(op, own, of_item), op.where(op.has(own), own_shown, shown)


def item_failure(op: Op, item: Row) -> tuple[Value, Value]:
    """Return why an item failed, for its request, and whether another span shows it."""
    has_batch = item.batch.size > 0
    failure = op.where(has_batch, in_time(op, item.request, item.failure), op.none)
    in_run = part_of(op, item.last_attempt, failure) == RUN
    return failure, (item.batch.size == 1) | (op.include_batch_run & in_run)


def _is_error(op: Op, request: Row) -> Value:
    # A 4xx is no error of the server's; an answer that began and broke off is one.
    own = in_time(op, request, request.failure)
    broke_off = op.has(own) & (request.status >= 200) & (request.status < 400)  # noqa: PLR2004
    return (request.status >= 500) | broke_off  # noqa: PLR2004


@once
def _server_failure(op: Op, request: Row) -> Value:
    _, shown = _cause(op, request)
    is_error = _is_error(op, request)
    if op.is_none(shown):
        return op.where(is_error, op.silent, op.none)
    return op.where(op.has(shown), shown, op.where(is_error, op.silent, op.none))


def _server_error_type(op: Op, request: Row) -> Value:
    cause, _ = _cause(op, request)
    status = op.call(str, request.status)
    return op.where(op.has(cause), op.type_of(cause), status)


def _name(origin: Origin, route: str) -> str:
    return span_name(origin.method, route)


def _is_peer(origin: Origin) -> bool:
    return origin.is_peer


def _caller(caller: tuple[str, str, str] | None) -> Sequence[Link]:
    if caller is None:
        return ()
    trace_id, span_id, tracestate = caller
    return (Link(trace_id, span_id, tracestate=tracestate, is_remote=True),)


SERVER: Final = SpanShape(
    name=lambda op, r: op.call(_name, r.origin, r.route),
    slot=lambda _, __: ROOT,
    start_ns=lambda _, r: r.started_ns,
    end_ns=lambda op, r: op.where(r.ended_ns > 0, r.ended_ns, r.started_ns),
    parent_id=lambda _, r: r.parent_id,
    kind=lambda _, __: SpanKind.SERVER,
    common=lambda op, r: op.call(server_attributes, r.origin, r.route, r.endpoint, r.status),
    said=(
        Said(
            names.PEER_PORT,
            lambda _, r: r.port,
            lambda op, r: op.given(op.call(_is_peer, r.origin)),
        ),
        Said(names.REQUEST_ID, lambda _, r: r.request_id, lambda op, r: op.given(r.request_id)),
        Said(names.DEBUG_ID, lambda _, r: r.debug_id, lambda op, r: op.given(r.debug_id)),
        Said(names.KEPT_BY, lambda _, r: r.kept_by, lambda op, r: op.given(r.kept_by)),
        Said(
            names.FIRST_ITEM_MS,
            lambda op, r: op.ms(r.first_item_ns - r.started_ns),
            lambda _, r: r.first_item_ns > 0,
        ),
        Said(names.CLIENT_LEFT, lambda _, __: True, lambda _, r: r.client_left),
        Said(names.CUSTOM_LOST, lambda _, r: r.custom_lost, lambda _, r: r.custom_lost > 0),
        Said(names.ERROR_TYPE, _server_error_type, lambda op, r: op.has(_server_failure(op, r))),
    ),
    failure=_server_failure,
    links=lambda op, r: op.call(_caller, r.caller),
)


def _part(
    name: str, slot: int, start: str, end: str, exists: Expression | None = None
) -> SpanShape:
    """Return a child of a request's root, from one of its marks to another."""
    return SpanShape(
        name=lambda _, __: name,
        slot=lambda _, __: slot,
        start_ns=lambda _, r: getattr(r, start),
        end_ns=lambda op, r: cut(op, r, getattr(r, start), getattr(r, end)),
        exists=exists or (lambda _, r: getattr(r, start) > 0),
    )


def _plain_failure(op: Op, r: Row) -> Value:
    """Return what the user's method raised, where no batch ran it."""
    failure = in_time(op, r, r.failure)
    if op.is_none(failure):
        return failure
    time_ns = op.time_of(failure)
    in_run = (r.run_ns > 0) & (r.run_ns <= time_ns) & (time_ns <= r.ran_ns)
    return op.where(in_run, failure, op.none)


DECODING: Final = _part(names.DECODE, DECODE, "decode_ns", "decoded_ns")
ENCODING: Final = _part(names.ENCODE, ENCODE, "encode_ns", "encoded_ns")
PLAIN_QUEUE: Final = _part(names.QUEUE, QUEUE, "queued_ns", "run_ns")
PLAIN_RUN: Final = failing(
    _part(names.RUN, RUN, "run_ns", "ran_ns", lambda op, r: reached(op, r, r.run_ns))._replace(
        said=(
            Said(
                names.RUN_UNFINISHED,
                lambda _, __: True,
                lambda op, r: (r.ended_ns > 0) & op.no(reached(op, r, r.ran_ns)),
            ),
            *run_by(lambda _, r: r.runner),
        ),
        failure=_plain_failure,
    )
)
