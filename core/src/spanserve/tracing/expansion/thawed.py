"""Frozen records as records again, in whichever process they are made into spans."""

from typing import Any, TypeVar

from spanserve.tracing.admission.http_attributes import Origin
from spanserve.tracing.model.failure import Failure
from spanserve.tracing.model.span import Link, SpanKind
from spanserve.tracing.recording.attempt import Retry
from spanserve.tracing.recording.base import LateRecord, Record
from spanserve.tracing.recording.custom import CustomEvent, CustomSpan
from spanserve.tracing.recording.frozen import (
    BATCH_FIELDS,
    ITEM_FIELDS,
    LATE,
    REQUEST,
    STARTUP,
    Frozen,
)
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.recording.rows import Rows
from spanserve.tracing.recording.startup import StartupRecord

R = TypeVar("R", RequestRecord, StartupRecord)


def thawed(frozen: Frozen) -> Record:
    """Return a record again, ended, of a frozen one of any kind but `TABLES`."""
    if frozen[0] == STARTUP:
        return _thawed_fields(StartupRecord, frozen[2])
    if frozen[0] == LATE:
        return _thawed_late(*frozen[2:])
    if frozen[0] != REQUEST:
        _, _, fields, rows, *rest = frozen
        batch = _thawed_batch(fields, *rest)
        batch.finished = batch.custom_spans
        batch.rows = Rows.restored(rows)
        return batch
    return _thawed_request(frozen[2])


def _thawed_fields(kind: type[R], fields: dict[str, Any]) -> R:
    record = kind.__new__(kind)
    vars(record).update(fields)
    record.sampled = record.recording = True
    record.failure = _failure(fields["failure"])
    record.finished = [_custom(custom) for custom in fields["finished"]]
    return record


def _thawed_late(fields: Frozen, customs: Any) -> LateRecord:
    trace_id, root_id, tracestate, debug = fields
    record = LateRecord(trace_id, root_id, tracestate, debug=debug)
    record.finished = [_custom(custom) for custom in customs]
    return record


def _thawed_request(fields: dict[str, Any]) -> RequestRecord:
    record = _thawed_fields(RequestRecord, fields)
    record.origin = Origin(*fields["origin"])
    record.items = tuple(_thawed_item(item) for item in fields["items"])
    return record


def _thawed_item(plain: tuple[Any, ...]) -> ItemRecord:
    fields, failure, batch = plain
    item = ItemRecord(None, 0, 0)
    for name, value in zip(ITEM_FIELDS, fields, strict=True):
        setattr(item, name, value)
    item.failure = _failure(failure)
    item.batch = batch and _thawed_batch(*batch)
    return item


def _thawed_batch(fields: Frozen, failure: Any, customs: Any, retries: Any) -> BatchRecord:
    batch = BatchRecord.__new__(BatchRecord)
    vars(batch).update(zip(BATCH_FIELDS, fields, strict=True))
    batch.failure = _failure(failure)
    batch.custom_spans = [_custom(custom) for custom in customs]
    batch.retries = [_thawed_retry(*retry) for retry in retries]
    return batch


def _thawed_retry(number: int, positions: Any, marks: Any, failure: Any) -> Retry:
    retry = Retry(number, positions)
    retry.started_ns, retry.run_ns, retry.ran_ns, retry.ended_ns = marks
    retry.failure = _failure(failure)
    return retry


def _failure(plain: Any) -> Failure | None:
    return None if plain is None else Failure(*plain)


def _custom(plain: Any) -> CustomSpan:
    name, place, parent_place, started_ns, ended_ns, attributes, events, *rest = plain
    failure, custom_error, kind, links = rest
    custom = CustomSpan(name, place, parent_place, started_ns)
    custom.ended_ns = ended_ns
    custom.attributes = attributes
    custom.events = [CustomEvent(*event) for event in events]
    custom.failure = _failure(failure)
    custom.error = custom_error
    custom.kind = SpanKind(kind)
    custom.links = tuple(Link(*link) for link in links)
    return custom
