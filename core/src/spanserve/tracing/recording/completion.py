"""What becomes of requests and batches when they end: a row, a record, or nothing.

A batch is handed over after its last member's end is decided, and its packable members with it.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, cast

from spanserve.tracing.admission.sampling import Rules
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.custom import PlainCustom, plain_customs
from spanserve.tracing.recording.members import MAX_REQUEST_ID, BatchRequests, Members
from spanserve.tracing.recording.packing import ends_of, pack_requests
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.recording.request_trace import RequestTrace
from spanserve.tracing.recording.table import (
    Table,
    pack_members,
    pack_request,
    pack_table,
    write_lean,
    write_link,
    write_record,
)

_OK: Final = 200
_SPANS_ALONE: Final = 7
"""Of a packable request that is alone in its batch."""


class Completion:
    """Ends requests and batches of one gate, and hands over what they leave to `submit`.

    `left` is told of a record that leaves, where it has custom spans: before, some may be open.
    `include_batch_run`: a member of a shared batch has the batch's run in its trace. `kept` counts
    the requests that were not sampled and kept by the rules in force, by rule.
    """

    rules: Rules

    def __init__(
        self,
        now_ns: Callable[[], int],
        submit: Callable[[Table], None],
        left: Callable[[Record], None],
        *,
        include_batch_run: bool,
    ) -> None:
        self._now_ns = now_ns
        self._submit = submit
        self._left = left
        self._include_batch_run = include_batch_run
        self._spans_each = 5 if include_batch_run else 4
        self.kept: Counter[str] = Counter()

    def request_ended(self, record: RequestRecord) -> None:
        """End a request's record, decide whether it is kept, and hand it over if so."""
        self._record_ended(record, self._now_ns())

    def _record_ended(self, record: RequestRecord, now_ns: int) -> None:
        record.left_ns = now_ns
        if not record.encoded_ns:  # a run may begin now, on another thread: it is told that it left
            now_ns = max(now_ns, record.run_begun_ns)
        record.ended(now_ns)
        kept = record.sampled or (record.recording and self._keep(record))
        if kept and record.custom_spans:
            self._left(record)
        whole = kept and _is_packable(record) and _has_packable_customs(record, record.items[0])
        if kept and not whole:
            self._submit(pack_request(record, include_batch_run=self._include_batch_run))
        for item in record.items:
            item.request = None  # so that records form no cycles
            batch = item.batch
            if batch is None or not record.recording or (rows := self._rows_of(batch)) is None:
                continue
            if whole:
                write_record(rows, record, item)
            elif kept:
                write_link(rows, record, item)
            self._member_done(batch)
        if not kept:
            record.recording = False  # nor is what comes late

    def keep_rows(self, batch: BatchRecord, recorded: int) -> Members:
        """Let a batch keep a row of each of so many recorded members."""
        batch.rows = rows = Members(self._spans_each if batch.size > 1 else _SPANS_ALONE)
        batch.pending = recorded + 1
        return rows

    def _rows_of(self, batch: BatchRecord) -> Members | None:
        if batch.rows is None and batch.leans is not None:
            return self.keep_rows(batch, batch.leans.recorded)
        return batch.rows

    def answered(self, batch: BatchRecord, items: Sequence[ItemRecord]) -> None:
        """End a batch whose answers are out, and its requests without a record that have one.

        The members that have records end by themselves, before this or after it.
        """
        if not batch.is_traced:
            return
        batch.left_ns = now_ns = self._now_ns()
        if batch.custom_spans:
            self._left(batch)
        elif batch.size == 1 and batch.leans is not None:  # its code ran in its request's trace
            (lean,) = batch.leans.requests
            if lean.encoded_ns and lean.record is not None:
                self._record_left(lean.record, now_ns)
        if self._packed_at_once(batch, items, now_ns):
            batch.leans = None
            return
        rows = self._rows_of(batch)
        batch.leans = None
        if rows is not None and batch.is_packable:
            rows.are_open = True
            if batch.custom_spans:
                self._take_customs(batch, rows)
        left = [item for item in items if isinstance(item.request, RequestTrace)]
        leans = [cast("RequestTrace", item.request) for item in left]
        for lean, item, ended_ns in zip(leans, left, ends_of(leans, now_ns), strict=True):
            if lean.recording and lean.encoded_ns:
                self._lean_ended(lean, item, batch, ended_ns)
        self._member_done(batch)

    def _packed_at_once(self, batch: BatchRecord, items: Sequence[ItemRecord], now_ns: int) -> bool:
        """Hand over a batch of which nothing but rows is left; say whether this is such a batch."""
        leans = batch.leans
        if leans is None or batch.rows is not None or not batch.is_packable:
            return False  # where it has rows by now, a member ended by itself
        if leans.recorded > len(leans.sampled) and self._may_keep(leans, now_ns):
            return False
        first = leans.requests[0]
        only = first.record if batch.size == 1 else None
        if not leans.sampled:
            (only or batch).recording = False  # nor is what comes late
            first.record = None
            return True
        customs = _customs_of(batch) if only is None else _own_customs(only)
        plain = pack_requests(leans, items, now_ns)
        if customs is None or plain is None:
            return False
        each = _SPANS_ALONE if batch.size == 1 else self._spans_each
        if batch.size == 1 or self._include_batch_run:  # each member has them, or a copy
            each += len(customs)
        self._submit(pack_table(batch, each * len(leans.sampled), customs, *plain))
        first.record = None  # the connection keeps its last request
        return True

    def _record_left(self, record: RequestRecord, now_ns: int) -> None:
        record.left_ns = now_ns
        if record.custom_spans:
            self._left(record)

    def _may_keep(self, leans: BatchRequests[RequestTrace], now_ns: int) -> bool:
        """Whether any of these, which were answered without failure, may be kept."""
        oldest_ns = min([lean.started_ns for lean in leans.requests])
        return self.rules.keeps_after(now_ns - oldest_ns)

    def _lean_ended(
        self, lean: RequestTrace, item: ItemRecord, batch: BatchRecord, ended_ns: int
    ) -> None:
        record, rows = lean.record, batch.rows
        if record is not None and not record.left_ns:
            self._record_left(record, ended_ns)
        if (
            rows is not None
            and rows.are_open
            and lean.sampled
            and lean.head.client.port
            and len(lean.request_id) <= MAX_REQUEST_ID
            and item.failure is None
            and (record is None or (record.packable and _has_packable_customs(record, item)))
        ):
            write_lean(rows, lean, item, ended_ns)
            item.request = None
            self._member_done(batch)
        else:
            self._record_ended(lean.write_record(item, 0, _OK), ended_ns)
        lean.record = None  # the connection keeps its last request

    def _keep(self, record: RequestRecord) -> bool:
        """Decide on a request that was recorded and not sampled, as it ends."""
        record.kept_by = rule = self.rules.kept_by(record)
        if not rule:
            return False
        self.kept[rule] += 1
        record.packable = False
        return True

    def _take_customs(self, batch: BatchRecord, rows: Members) -> None:
        """Take a batch's custom spans into its rows, where they fit."""
        customs = plain_customs(batch.custom_spans, batch.ended_ns)
        if customs is None:
            rows.are_open = False
            return
        rows.customs = customs
        if self._include_batch_run:  # then each member has a copy of them
            rows.spans_each += len(customs)

    def _member_done(self, batch: BatchRecord) -> None:
        """Count one of the ends that a batch waits for: its own, and each recorded member's.

        After the last one nothing can change any more, and the batch is handed over.
        """
        batch.pending -= 1
        if batch.pending == 0 and batch.rows is not None:
            self._submit_batch(batch, batch.rows)

    def _submit_batch(self, batch: BatchRecord, rows: Members) -> None:
        if rows.spans or (rows.kept and batch.recording):
            self._submit(pack_members(batch, rows))
        else:
            batch.recording = False  # nor is what comes late


def _is_packable(record: RequestRecord) -> bool:
    """Say whether an ended record fits a row of its only item's batch."""
    if not (record.packable and record.decode_ns and record.encoded_ns and record.items):
        return False
    (item,) = record.items
    batch = item.batch
    return (
        batch is not None
        and batch.rows is not None
        and batch.rows.are_open
        and batch.ended_ns <= record.ended_ns
        and record.status == _OK
        and record.route == batch.endpoint
        and record.port > 0
        and 0 < len(record.request_id) <= MAX_REQUEST_ID
        and not (item.failure or record.failure or record.client_left)
    )


def _has_packable_customs(record: RequestRecord, item: ItemRecord) -> bool:
    """Take the custom spans of a request that was alone in its batch into its row, if they fit."""
    if not record.custom_spans:
        return True
    batch = item.batch
    customs = _own_customs(record)
    if batch is None or batch.rows is None or batch.size > 1 or customs is None:
        return False
    batch.rows.customs = customs
    batch.rows.spans_each += len(customs)
    return True


def _customs_of(batch: BatchRecord) -> tuple[PlainCustom, ...] | None:
    """Return the custom spans of a batch as plain values; None where they are more than those."""
    return plain_customs(batch.custom_spans, batch.ended_ns) if batch.custom_spans else ()


def _own_customs(record: RequestRecord) -> tuple[PlainCustom, ...] | None:
    """Return those of a request that was alone in its batch, if it is packable otherwise."""
    if not record.packable or record.custom_lost:
        return None
    return plain_customs(record.finished, sys.maxsize)
