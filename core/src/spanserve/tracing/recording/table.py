"""What finished records leave behind, as plain values: what waits for the exporter.

A table is written when a record ends, into tuples and dicts of nothing but texts, numbers, bytes
and None: those are what `marshal` writes, at a tenth of `pickle`'s cost for objects, and what
crosses to the exporter's process. Whoever makes spans reads the tables of many records at once
(`expansion.read`).

A packable request is packed with its batch (`members`). All others have a table of their own: the
fields of the record, of its items, and of the batches that these were in, which do not wait for
each other.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final

from spanserve.tracing.model import names
from spanserve.tracing.model.failure import Failure
from spanserve.tracing.recording.attempt import Retry
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.counting import (
    spans_of_batch,
    spans_of_request,
    spans_of_startup,
)
from spanserve.tracing.recording.custom import CustomSpan, PlainCustom
from spanserve.tracing.recording.members import WHOLE, Came, Member, Members
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.recording.request_trace import RequestTrace
from spanserve.tracing.recording.startup import StartupRecord

TABLE: Final = 0
BATCH: Final = 2
REQUEST: Final = 3
STARTUP: Final = 4
PACKED: Final = 5
LATE: Final = 6

_BATCH_SPANS: Final = 4
_CUSTOM_ENDED: Final = 4
_CUSTOM_ATTRIBUTES: Final = 5

Table = tuple[Any, ...]
"""A frozen record: its kind, one of those above, its number of spans, and its fields: bytes where
it is packed (`packing`)."""

REQUEST_FIELDS: Final = (
    "trace_id",
    "root_id",
    "parent_id",
    "caller",
    "tracestate",
    "debug_id",
    "kept_by",
    "port",
    "route",
    "endpoint",
    "request_id",
    "status",
    "debug",
    "client_left",
    "custom_lost",
    "runner",
    "started_ns",
    "decode_ns",
    "decoded_ns",
    "queued_ns",
    "run_ns",
    "ran_ns",
    "encode_ns",
    "encoded_ns",
    "first_item_ns",
    "ended_ns",
)
STARTUP_FIELDS: Final = ("trace_id", "root_id", "service", "custom_lost", "started_ns", "ended_ns")
ITEM_FIELDS: Final = ("queued_ns", "depth", "index", "position", "dequeued_ns")
BATCH_FIELDS: Final = (
    "trace_id",
    "root_id",
    "endpoint",
    "reason",
    "size",
    "debug",
    "recording",
    "custom_lost",
    "runner",
    "runner_free_ns",
    "released_ns",
    "started_ns",
    "run_ns",
    "ran_ns",
    "ended_ns",
)


RETRY_FIELDS: Final = ("number", "started_ns", "run_ns", "ran_ns", "ended_ns", "runner")
TRACE_FIELDS: Final = ("trace_id", "root_id", "tracestate", "debug")

_request_fields: Callable[[RequestRecord], Table] = attrgetter(*REQUEST_FIELDS)
_startup_fields: Callable[[StartupRecord], Table] = attrgetter(*STARTUP_FIELDS)
_item_fields: Callable[[ItemRecord], Table] = attrgetter(*ITEM_FIELDS)
_retry_fields: Callable[[Retry], Table] = attrgetter(*RETRY_FIELDS)
_trace_fields: Callable[[Record], Table] = attrgetter(*TRACE_FIELDS)


def pack_request(record: RequestRecord, *, include_batch_run: bool) -> Table:
    """Pack a request that ended; `include_batch_run` is whether its batch's run is in its trace.

    It has copies of the batches that its items were in, as far as they are known.
    """
    numbers: dict[int, int] = {}
    batches: list[Table] = []
    items = []
    for item in record.items:
        batch, number = item.batch, -1
        if batch is not None and (number := numbers.setdefault(id(batch), len(batches))) == len(
            batches
        ):
            # Copies are made of what a request saw of its spans, whether or not they had ended.
            batches.append(_plain_batch(batch, tuple(batch.custom_spans)))
        items.append((number, _plain_failure(item.failure), *_item_fields(item)))
    return (
        REQUEST,
        spans_of_request(record, include_batch_run=include_batch_run),
        _request_fields(record),
        tuple(record.origin),
        _plain_failure(record.failure),
        [_plain_custom(custom) for custom in record.finished],
        items,
        batches,
    )


def write_record(members: Members, record: RequestRecord, item: ItemRecord) -> None:
    """Keep all of a packable request among the members of its batch."""
    member = Member(
        record.trace_id,
        record.root_id,
        WHOLE,
        item.queued_ns,
        record.request_id,
        int(record.parent_id, 16) if record.parent_id else 0,
        record.started_ns,
        record.decode_ns,
        record.decoded_ns,
        record.encode_ns,
        record.encoded_ns,
        record.ended_ns,
        item.depth,
        record.port,
        members.place_of(record.origin, record.tracestate),
    )
    members.put(item.position, member)


def write_lean(members: Members, lean: RequestTrace, item: ItemRecord, ended_ns: int) -> None:
    """Keep all of a request that is packable, and has no record, among those of its batch."""
    caller = lean.caller
    member = Member(
        lean.trace_id,
        lean.root_id,
        WHOLE,
        item.queued_ns,
        lean.request_id,
        0 if caller is None else caller.span_number,
        lean.started_ns,
        lean.started_ns,  # its body was there as it began,
        item.queued_ns,  # and its item queued as soon as that was decoded
        lean.encode_ns,
        lean.encoded_ns,
        ended_ns,
        item.depth,
        lean.head.client.port,
        members.place_of(lean.head.origin, "" if caller is None else caller.tracestate),
    )
    members.put(item.position, member)


def write_link(members: Members, record: RequestRecord, item: ItemRecord) -> None:
    """Keep where the batch's link to a member leads, which has a table of its own."""
    members.put(item.position, Member(record.trace_id, record.root_id, item.index, item.queued_ns))


_batch_fields: Callable[[BatchRecord], Table] = attrgetter(*BATCH_FIELDS)
"""Freezes what a batch itself has, without its members."""


def pack_members(batch: BatchRecord, rows: Members) -> Table:
    """Freeze a batch whose last member's end is decided, with what the members left behind."""
    if rows.are_open:
        return pack_table(batch, rows.spans, rows.customs, rows.origins, tuple(rows.packed()))
    return BATCH, spans_of_batch(batch), _plain_batch(batch, batch.finished), tuple(rows.packed())


def pack_table(  # called for every batch: keywords would cost
    batch: BatchRecord,
    members_spans: int,
    customs: Sequence[PlainCustom],
    origins: Sequence[Came],
    members: tuple[Any, ...],
) -> Table:
    """Freeze a batch that went well, with its members as they go out."""
    spans = members_spans + (_BATCH_SPANS + len(customs) if batch.recording else 0)
    return TABLE, spans, _batch_fields(batch), [*map(tuple, origins)], customs, members


def pack_startup(record: StartupRecord) -> Table:
    """Pack the start of a process that ended, well or not."""
    customs = [_plain_custom(custom) for custom in record.finished]
    failure = _plain_failure(record.failure)
    return STARTUP, spans_of_startup(record), _startup_fields(record), failure, customs


def pack_late(record: Record, spans: Sequence[CustomSpan], now_ns: int) -> Table:
    """Pack custom spans whose record left before: what is open goes out as it is now."""
    return LATE, len(spans), _trace_fields(record), [_plain_late(span, now_ns) for span in spans]


def _plain_late(span: CustomSpan, now_ns: int) -> tuple[Any, ...]:
    ended_ns = span.ended_ns
    fields = list(_plain_custom(span))
    fields[_CUSTOM_ENDED] = ended_ns or max(now_ns, span.started_ns)
    more = {names.LATE: True} if ended_ns else {names.LATE: True, names.UNFINISHED: True}
    fields[_CUSTOM_ATTRIBUTES] |= more
    return tuple(fields)


def _plain_batch(batch: BatchRecord, customs: Sequence[CustomSpan]) -> Table:
    return (
        _batch_fields(batch),
        _plain_failure(batch.failure),
        [_plain_custom(custom) for custom in customs],
        [_plain_retry(retry) for retry in batch.retries],
    )


def _plain_retry(retry: Retry) -> Table:
    return tuple(retry.positions), _plain_failure(retry.failure), *_retry_fields(retry)


def _plain_failure(failure: Failure | None) -> tuple[Any, ...] | None:
    return failure and tuple(failure)


def _plain_custom(custom: CustomSpan) -> tuple[Any, ...]:
    return (
        custom.name,
        custom.place,
        custom.parent_place,
        custom.started_ns,
        custom.ended_ns,
        _plain_attributes(custom.attributes),
        [(name, time_ns, _plain_attributes(own)) for name, time_ns, own in tuple(custom.events)],
        _plain_failure(custom.failure),
        custom.error,
        custom.kind.value,
        [
            (trace_id, span_id, _plain_attributes(own), *more)
            for trace_id, span_id, own, *more in custom.links
        ],
    )


def _plain_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return dict(attributes)  # at once: the user's threads may still add to it


span_count: Callable[[Table], int] = itemgetter(1)
"""Returns how many spans a frozen record makes."""
