"""What finished records leave behind, as plain values: what waits for the exporter.

A table is written when a record ends, into tuples and dicts of nothing but texts, numbers, bytes
and None: those are what `marshal` writes, at a tenth of `pickle`'s cost for objects, and what
crosses to the exporter's process. Whoever makes spans reads the tables of many records at once
(`expansion.read`).

A usual request becomes a row of its batch (`rows`, and still less where all are usual:
`lean_rows`). All others have a table of their own: the fields of the record, of its items, and of
the batches that these were in, which do not wait for each other.
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
from spanserve.tracing.recording.lean import LeanRequest
from spanserve.tracing.recording.lean_rows import PlainLeans
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.recording.rows import LINK, WHOLE, Came, PlainRows, Rows, pack_row
from spanserve.tracing.recording.startup import StartupRecord

TABLE: Final = 0
LEAN_TABLE: Final = 1
BATCH: Final = 2
REQUEST: Final = 3
STARTUP: Final = 4
PACKED: Final = 5
LATE: Final = 6
TABLES: Final = TABLE, LEAN_TABLE

_BATCH_SPANS: Final = 4
_CUSTOM_ENDED: Final = 4
_CUSTOM_ATTRIBUTES: Final = 5

Frozen = tuple[Any, ...]
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
    "runner_free_ns",
    "released_ns",
    "started_ns",
    "run_ns",
    "ran_ns",
    "ended_ns",
)


RETRY_FIELDS: Final = ("number", "started_ns", "run_ns", "ran_ns", "ended_ns")
TRACE_FIELDS: Final = ("trace_id", "root_id", "tracestate", "debug")

_request_fields: Callable[[RequestRecord], Frozen] = attrgetter(*REQUEST_FIELDS)
_startup_fields: Callable[[StartupRecord], Frozen] = attrgetter(*STARTUP_FIELDS)
_item_fields: Callable[[ItemRecord], Frozen] = attrgetter(*ITEM_FIELDS)
_retry_fields: Callable[[Retry], Frozen] = attrgetter(*RETRY_FIELDS)
_trace_fields: Callable[[Record], Frozen] = attrgetter(*TRACE_FIELDS)


def frozen_request(record: RequestRecord, *, with_runs: bool) -> Frozen:
    """Pack a request that ended; `with_runs` is whether its batch's run is in its trace.

    It has copies of the batches that its items were in, as far as they are known.
    """
    numbers: dict[int, int] = {}
    batches: list[Frozen] = []
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
        spans_of_request(record, with_runs=with_runs),
        _request_fields(record),
        tuple(record.origin),
        _plain_failure(record.failure),
        [_plain_custom(custom) for custom in record.finished],
        items,
        batches,
    )


def write_record(rows: Rows, record: RequestRecord, item: ItemRecord) -> None:
    """Write all of a usual request into its batch's rows."""
    parent_id = int(record.parent_id, 16) if record.parent_id else 0
    decoded = record.decode_ns, record.decoded_ns
    place = rows.place_of(record.origin, record.tracestate)
    _write(rows, record, item, parent_id, decoded, record.ended_ns, place, record.port)


def write_lean(rows: Rows, lean: LeanRequest, item: ItemRecord, ended_ns: int) -> None:
    """Write all of a request that stayed usual, and has no record, into its batch's rows."""
    parent_id = 0 if lean.caller is None else lean.caller.span_number
    # Its body was there as it began, and its item queued as soon as that was decoded.
    decoded = lean.started_ns, item.queued_ns
    place = rows.place_of(lean.head.origin, "" if lean.caller is None else lean.caller.tracestate)
    _write(rows, lean, item, parent_id, decoded, ended_ns, place, lean.head.client.port)


def _write(  # noqa: PLR0917  # what a record and its stand-in keep each in its own way
    rows: Rows,
    request: RequestRecord | LeanRequest,
    item: ItemRecord,
    parent_id: int,
    decoded: tuple[int, int],
    ended_ns: int,
    origin_place: int,
    port: int,
) -> None:
    numbers = (
        request.root_id,
        parent_id,
        item.queued_ns,
        request.started_ns,
        *decoded,
        request.encode_ns,
        request.encoded_ns,
        ended_ns,
        item.depth,
        0,
        origin_place,
        port,
        WHOLE,
    )
    rows.put(item.position, request.trace_id, request.request_id, pack_row(*numbers))
    rows.count(1)


def write_link(rows: Rows, record: RequestRecord, item: ItemRecord) -> None:
    """Write where the batch's link to a member leads, which is frozen by itself, into its rows."""
    marks = item.queued_ns, 0, 0, 0, 0, 0, 0
    numbers = pack_row(record.root_id, 0, *marks, 0, item.index, 0, 0, LINK)
    rows.put(item.position, record.trace_id, "", numbers)
    rows.kept += 1


frozen_batch: Callable[[BatchRecord], Frozen] = attrgetter(*BATCH_FIELDS)
"""Freezes what a batch itself has, without its members."""


def frozen_members(batch: BatchRecord, rows: Rows) -> Frozen:
    """Freeze a batch whose last member's end is decided, with what the members left behind."""
    if rows.are_open:
        return frozen_table(TABLE, batch, rows.spans, rows.customs, rows.origins, rows.plain())
    return BATCH, spans_of_batch(batch), _plain_batch(batch, batch.finished), rows.plain()


def frozen_table(  # noqa: PLR0917  # called for every batch: keywords would cost
    kind: int,
    batch: BatchRecord,
    members_spans: int,
    customs: Sequence[PlainCustom],
    origins: Sequence[Came],
    members: PlainRows | PlainLeans,
) -> Frozen:
    """Freeze a batch that went well, with its members as they go out: a table of this kind."""
    spans = members_spans + (_BATCH_SPANS + len(customs) if batch.recording else 0)
    return kind, spans, frozen_batch(batch), [*map(tuple, origins)], customs, members


def frozen_startup(record: StartupRecord) -> Frozen:
    """Pack the start of a process that ended, well or not."""
    customs = [_plain_custom(custom) for custom in record.finished]
    failure = _plain_failure(record.failure)
    return STARTUP, spans_of_startup(record), _startup_fields(record), failure, customs


def frozen_late(record: Record, spans: Sequence[CustomSpan], now_ns: int) -> Frozen:
    """Pack custom spans whose record left before: what is open goes out as it is now."""
    return LATE, len(spans), _trace_fields(record), [_plain_late(span, now_ns) for span in spans]


def _plain_late(span: CustomSpan, now_ns: int) -> tuple[Any, ...]:
    ended_ns = span.ended_ns
    fields = list(_plain_custom(span))
    fields[_CUSTOM_ENDED] = ended_ns or max(now_ns, span.started_ns)
    more = {names.LATE: True} if ended_ns else {names.LATE: True, names.UNFINISHED: True}
    fields[_CUSTOM_ATTRIBUTES] |= more
    return tuple(fields)


def _plain_batch(batch: BatchRecord, customs: Sequence[CustomSpan]) -> Frozen:
    return (
        frozen_batch(batch),
        _plain_failure(batch.failure),
        [_plain_custom(custom) for custom in customs],
        [_plain_retry(retry) for retry in batch.retries],
    )


def _plain_retry(retry: Retry) -> Frozen:
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


span_count: Callable[[Frozen], int] = itemgetter(1)
"""Returns how many spans a frozen record makes."""


def batch_size(table: Frozen) -> int:
    """Return how many members the batch of a table has."""
    size: int = table[2][BATCH_FIELDS.index("size")]
    return size
