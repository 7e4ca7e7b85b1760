"""From the tables of finished records to their spans, in whichever process the exporter works.

A call makes the spans of thousands of records at once. What it costs is nearly the same however
many there are: a few hundred calls of NumPy.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from spanserve.tracing.expansion import read_batches, read_records, shape
from spanserve.tracing.expansion.columns import Evaluation
from spanserve.tracing.expansion.gathered import Gathered
from spanserve.tracing.expansion.operations import Columns, Failures
from spanserve.tracing.expansion.rows import Rows
from spanserve.tracing.expansion.shape import SpanShape
from spanserve.tracing.expansion.traces import Traces
from spanserve.tracing.model.columns import Block, Column
from spanserve.tracing.recording.table import TABLE, Table


class Expander:
    """Makes the spans of tables.

    With `batch_spans` "linked" a member of a shared batch carries only its reference to the batch,
    not its spans; with `exceptions` "type" the texts of exceptions stay out of the trace.
    """

    def __init__(
        self,
        *,
        batch_spans: Literal["full", "linked"],
        exceptions: Literal["full", "type"],
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        """`checkpoint` is called between the steps, of some 100 µs each."""
        self._include_batch_run = batch_spans == "full"
        self._exceptions = exceptions
        self._checkpoint = checkpoint

    def blocks(self, tables: Sequence[Table], offset_ns: int) -> list[Block]:
        """Return all spans of tables; `offset_ns` turns a monotonic mark into Unix time."""
        failures = Failures()
        op = Columns(failures, include_batch_run=self._include_batch_run)
        evaluation = Evaluation(op, offset_ns, self._exceptions, self._checkpoint)
        batches: dict[Any, list[Table]] = {}
        gathered = None
        for table in tables:
            if table[0] == TABLE:
                batches.setdefault(read_batches.kind_of(table), []).append(table)
            else:
                gathered = gathered or Gathered(failures)
                gathered.add(table)
        blocks: list[Block] = []
        for alike in batches.values():
            blocks += _blocks(evaluation, read_batches.traces_of(alike))
        if gathered is not None:
            traces = read_records.traces_of(gathered)
            _relate(op, traces)
            blocks += _blocks(evaluation, traces)
        return blocks


def _blocks(evaluation: Evaluation, traces: Traces) -> Iterator[Block]:
    """Yield the spans: parents before children; those that each record has stand in one block."""
    for parts in (_of_requests(traces), _of_batches(traces)):
        records, _ = parts[0]
        block: list[Column] = []
        rest: list[Column] = []
        for rows, shapes in parts:
            for each in shapes:
                columns = [*evaluation.columns(each, rows)]
                has_each = (traces.are_alike or rows is records) and len(columns) == 1
                # Where the roots are not in the block, no children are: they would come before.
                if has_each and len(columns[0].span_id) == records.count and (block or not rest):
                    block += columns
                else:
                    rest += columns
        if block:
            yield block
        yield from ([column] for column in rest)


_Parts = Sequence[tuple[Rows, Sequence[SpanShape]]]


def _of_requests(traces: Traces) -> _Parts:
    return (
        (traces.requests, (shape.SERVER, shape.DECODING)),
        (traces.items, (shape.WAITING, shape.ITEM_COLLATE)),
        (traces.goes, (shape.ITEM_RUN,)),
        *((copies, (shape.COPY,)) for copies in traces.copies),
        *((customs, (shape.CUSTOM,)) for customs in traces.request_customs),
        (traces.items, (shape.ITEM_SPLIT,)),
        (traces.requests, (shape.PLAIN_QUEUE, shape.PLAIN_RUN, shape.ENCODING)),
    )


def _of_batches(traces: Traces) -> _Parts:
    return (
        (traces.batches, (shape.BATCH,)),
        (traces.attempts, (shape.RETRY, shape.BATCH_COLLATE, shape.BATCH_RUN)),
        (traces.startups, (shape.STARTUP,)),
        *((customs, (shape.CUSTOM,)) for customs in traces.customs),
        (traces.attempts, (shape.BATCH_SPLIT,)),
    )


def _relate(op: Columns, traces: Traces) -> None:
    """Say of each item which attempt was its last, and of each request which item failed first."""
    goes, items, requests = traces.goes, traces.items, traces.requests
    if goes.count:
        seen = np.broadcast_to(shape.attempt_seen(op, goes), goes.count)
        last = np.full(items.count, -1)
        np.maximum.at(last, goes.item_at[seen], np.flatnonzero(seen))
        goes.say(is_last=last[goes.item_at] == np.arange(goes.count))
        with_go = last >= 0
        attempt_at = np.zeros(items.count, np.int64)
        attempt_at[with_go] = goes.attempt_at[last[with_go]]
        items.say(last_attempt=traces.every_attempt.take(attempt_at))
    item_failure: Any = 0
    item_shown: Any = True
    if items.count and not op.is_none(items.failure):
        failure, shown = shape.item_failure(op, items)
        failed = np.flatnonzero(failure > 0)[::-1]  # the first of a request is written last
        if len(failed):
            request_at = items.request_at[failed]
            item_failure = np.zeros(requests.count, np.int64)
            item_shown = np.zeros(requests.count, np.bool_)
            item_failure[request_at] = failure[failed]
            item_shown[request_at] = np.broadcast_to(shown, items.count)[failed]
    requests.say(item_failure=item_failure, item_shown=item_shown)
