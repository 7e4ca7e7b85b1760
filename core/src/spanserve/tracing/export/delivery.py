"""From frozen records to a tracer's backend: expanded, handed over, and again where it asks.

Whoever delivers holds what is to be handed over again. `DirectDelivery` calls the tracer
where it is called itself; `ProcessDelivery` (in `process`) has one do so in another process.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from spanserve.tracing.expansion.expand import Expander
from spanserve.tracing.export.checkpoint import hear_signs
from spanserve.tracing.export.outcome import Drop, Outcome, outcome_of
from spanserve.tracing.export.process.liveness import Liveness
from spanserve.tracing.export.quiet import without_instrumentation
from spanserve.tracing.hookspecs import ExportResult
from spanserve.tracing.model.columns import Block, Spans
from spanserve.tracing.model.failure import raised
from spanserve.tracing.model.span import Span
from spanserve.tracing.recording.table import Table, span_count

log = logging.getLogger(__name__)


class Delivery(Protocol):
    """What an exporter needs; called from its thread alone, but for what says otherwise.

    `can_end` says whether a call that hangs can be ended, `reason` why it is not ready.
    """

    @property
    def can_end(self) -> bool: ...  # see above

    @property
    def reason(self) -> str | None: ...  # see above

    def packed(self, record: Table) -> Table:
        """Return a record as it is to wait for `deliver`; called on the event loop."""

    def report_to(self, liveness: Liveness) -> None:
        """Give this the signs of life of all calls, which come from the calling thread."""

    def start(self) -> None:
        """Begin to get ready, without waiting for it."""

    def prepare(self, *, at_once: bool) -> float:
        """Wait until it is ready: called before each `deliver`.

        Returns 0; or, where it cannot be ready yet, in how many seconds to ask again. With
        `at_once` it tries without a pause.
        """

    def deliver(self, records: Sequence[Table], offset_ns: int) -> Outcome:
        """Hand the spans of these records over; raises nothing that a tracer can raise."""

    def again(self) -> Outcome:
        """Hand over again what the last call was asked to retry."""

    def stop(self, deadline_s: float) -> None:
        """Stop the tracer, within the deadline; raises what it raises."""

    def end_hung(self) -> None:
        """End a call that hangs, where that can be; called on another thread."""

    def abandon(self) -> None:
        """Wait for nothing any more: a call is still under way, and time is over.

        Called on another thread.
        """


class DirectDelivery:
    """Calls the tracer's own hooks, `export` and `stopping`, on the calling thread."""

    can_end = False
    reason: str | None = None

    def __init__(
        self,
        export: Callable[[Sequence[Span]], ExportResult | None],
        stopping: Callable[[float], None],
        expander: Expander,
    ) -> None:
        self._export = export
        self._stopping = stopping
        self._expander = expander
        self._retry: Sequence[Span] = ()
        self._said = False
        self._lost = 0

    def packed(self, record: Table) -> Table:
        """Return it as it is: nothing is gained here by packing it."""
        return record

    def report_to(self, liveness: Liveness) -> None:
        """Let this hear what the tracer says on this thread, by `checkpoint`."""
        hear_signs(liveness.sign)

    def start(self) -> None:
        """Be ready."""

    def prepare(self, *, at_once: bool) -> float:  # noqa: ARG002  # it is ready at once
        """Be ready."""
        return 0.0

    def deliver(self, records: Sequence[Table], offset_ns: int) -> Outcome:
        """Expand the records, and hand all spans over in one call."""
        self._lost = 0
        spans = Spans(self._blocks(records, offset_ns))
        outcome = self._handed_over(spans) if spans else Outcome()
        if self._lost:
            dropped = {**outcome.dropped, Drop.NOT_EXPANDED: self._lost}
            outcome = outcome._replace(dropped=dropped)
        return outcome._replace(spans=len(spans) + self._lost)

    def _blocks(self, records: Sequence[Table], offset_ns: int) -> Sequence[Block]:
        try:
            return self._expander.blocks(records, offset_ns)
        except Exception:  # noqa: BLE001  # it is one record's fault: the others go out
            blocks: list[Block] = []
            for record in records:
                with self._losing(record):
                    blocks += self._expander.blocks([record], offset_ns)
            return blocks

    @contextmanager
    def _losing(self, record: Table) -> Iterator[None]:
        """Make spans of a record; where that fails, they are counted as lost."""
        try:
            yield
        except Exception:
            self._lost += span_count(record)
            if not self._said:
                log.exception("a record could not be made into spans: a defect of spanserve")
            self._said = True

    def again(self) -> Outcome:
        """Hand over again what the tracer asked to have again."""
        return self._handed_over(self._retry)

    def stop(self, deadline_s: float) -> None:
        """Stop the tracer."""
        self._stopping(deadline_s)

    def end_hung(self) -> None:
        """Leave the call that hangs to itself: a thread cannot be ended."""

    def abandon(self) -> None:
        """Leave the call that hangs to itself: a thread cannot be ended."""

    def _handed_over(self, spans: Sequence[Span]) -> Outcome:
        """Call the tracer; whatever it does, every span of the call is in the outcome."""
        self._retry = ()
        try:
            with without_instrumentation():
                outcome, self._retry = outcome_of(self._export(spans), len(spans))
        except BaseException as error:  # a tracer may raise anything, SystemExit too
            log.debug("export_spans raised", exc_info=error)
            return Outcome({Drop.TRACER_RAISED: len(spans)}, len(spans), reason=raised(error))
        return outcome
