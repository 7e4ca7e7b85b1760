"""The gate: the only caller of a tracer's hooks, and where every record begins and ends.

One `Tracing` serves one app in one process. It makes records, decides which are sampled,
and hands finished ones to each tracer's exporter. A tracer that raises costs traces and
never a request: it is caught here, said once in the log, and counted.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from spanserve.config.model import TracingConfig
from spanserve.tracing.base import Record
from spanserve.tracing.clock import Clock, Ids, SteadyOffset
from spanserve.tracing.custom import plain_customs
from spanserve.tracing.delivery import Delivery, DirectDelivery
from spanserve.tracing.excluded import ExcludedPaths
from spanserve.tracing.expander import Expander
from spanserve.tracing.exporting import Exporter, QueueLimits
from spanserve.tracing.failure import failure_of
from spanserve.tracing.frozen import (
    Frozen,
    frozen_members,
    frozen_request,
    frozen_startup,
    write_lean,
    write_link,
    write_record,
)
from spanserve.tracing.http import Origin, origin_of
from spanserve.tracing.keeping import Rules
from spanserve.tracing.lean import LeanRequest
from spanserve.tracing.listeners import Listeners
from spanserve.tracing.live import Live, LiveBatchRecord, LiveRequestRecord
from spanserve.tracing.loading import LoadedTracer
from spanserve.tracing.pieces import Pieces
from spanserve.tracing.places import ROOT, RUN, item_place
from spanserve.tracing.process import Assignment, ProcessDelivery
from spanserve.tracing.propagation import KNOWN_FORMATS, Propagators
from spanserve.tracing.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.remote import Remote
from spanserve.tracing.rows import MAX_REQUEST_ID, Rows
from spanserve.tracing.sampling import RatioSampler
from spanserve.tracing.scope import Scope, entered
from spanserve.tracing.span import Resource
from spanserve.tracing.startup import StartupRecord

log = logging.getLogger(__name__)


class Tracing:
    """All tracing of one app in one process.

    With no tracers it is off: it makes no request records, and batches without members.
    """

    def __init__(
        self,
        tracers: Sequence[LoadedTracer],
        config: TracingConfig,
        resource: Resource,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        self.tracers = tuple(tracers)
        self.resource = resource
        self.on = bool(self.tracers)
        self.clock = clock or Clock()
        self.now_ns = self.clock.now_ns
        self._offset_ns = SteadyOffset(self.clock)
        self._config = config
        self._next_root = (ids or Ids()).roots().__next__
        self.configured = Rules(config.sample_rate, config.keep.errors, config.keep.slower_than_ms)
        self.apply(self.configured)
        self.kept: Counter[str] = Counter()
        self._trusts = config.trust_incoming
        self._propagators = _propagators(self.tracers, config)
        self._excludes = ExcludedPaths(config.excluded_urls)
        self._listeners = Listeners(self.tracers)
        self.is_live = bool(self._listeners)
        self._new_record: Callable[..., RequestRecord] = (
            self._new_live_record if self.is_live else RequestRecord
        )
        self._with_runs = config.batch_spans == "full"
        # Of a request that was alone in its batch, and of one that shared it.
        self._spans_each = (7, 5 if self._with_runs else 4)
        self.live_failures = self._listeners.failures
        self.exporters = tuple(
            self._new_exporter(tracer) for tracer in self.tracers if "export_spans" in tracer.hooks
        )

    def apply(self, rules: Rules) -> None:
        """Record by these rules from the next request on."""
        self.rules = rules
        self._decide = RatioSampler(rules.sample_rate).decide
        self._samples_all = rules.sample_rate == 1.0
        self._keeps = rules.keeps

    @property
    def ignored_headers(self) -> int:
        """How often a request's trace headers of a format could not be used."""
        return self._propagators.ignored

    def request(
        self, scope: Mapping[str, Any], *, request_id: str = "", route: str = ""
    ) -> RequestRecord | None:
        """Begin the record of an HTTP request; None where tracing is off or excludes it."""
        if not self.on or self._excludes(scope):
            return None
        headers = scope["headers"]
        fields = dict(headers)
        origin, port = origin_of(scope, fields)
        return self.begin(headers, fields, origin, port, self.now_ns(), request_id, route)

    def traces(self, path: str) -> bool:
        """Say whether requests to this path are traced at all."""
        return self.on and not self._excludes({"path": path})

    def begin(  # noqa: PLR0917  # called for every request: keywords would cost
        self,
        headers: Sequence[tuple[bytes, bytes]],
        fields: Mapping[bytes, bytes],
        origin: Origin,
        port: int,
        started_ns: int,
        request_id: str,
        route: str,
    ) -> RequestRecord:
        """Begin the record of a request whose path is traced; `fields` are its headers by name."""
        trace_id, root_id, sampled, caller = self._admitted(headers, fields)
        record = self._new_record(
            trace_id, root_id, sampled, origin, port, started_ns, request_id, route
        )
        if caller is not None:
            self._note_caller(record, caller)
        if self._keeps:
            record.recording = True
        if self.is_live:
            record.started()
        return record

    def _admitted(
        self, headers: Sequence[tuple[bytes, bytes]], fields: Mapping[bytes, bytes]
    ) -> tuple[str, int, bool, Remote | None]:
        """Return a request's trace id and root id, whether it is sampled, and its caller if any.

        `fields` are its headers by name; its path is traced.
        """
        trace_id, root_id = self._next_root()
        caller = self._propagators.extract(headers, fields)
        if caller is None or not self._trusts:
            return trace_id, root_id, self._samples_all or self._decide(trace_id, None), caller
        trace_id = caller.trace_id or trace_id
        return trace_id, root_id, self._decide(trace_id, caller), caller

    def enter(
        self,
        lean: LeanRequest,
        headers: Sequence[tuple[bytes, bytes]],
        fields: Mapping[bytes, bytes],
    ) -> None:
        """Begin a request that has no record, as `begin` does one that has."""
        names = self._propagators.headers
        if names.isdisjoint(fields):  # as in `_admitted`, without its calls
            lean.trace_id, lean.root_id = self._next_root()
            lean.sampled = sampled = self._samples_all or self._decide(lean.trace_id, None)
            lean.recording = sampled or self._keeps
            lean.caller = None
            return
        lean.trace_id, lean.root_id, lean.sampled, lean.caller = self._admitted(headers, fields)
        lean.recording = lean.sampled or self._keeps
        if lean.caller is not None and not (self._trusts and lean.caller.is_plain):
            lean.record = self.record_of(lean)

    def record_of(self, lean: LeanRequest) -> RequestRecord:
        """Return a record of what is known of a request that began without."""
        path = lean.origin.path
        ids = lean.trace_id, lean.root_id, lean.sampled
        origin, port = lean.origin, lean.port
        record = RequestRecord(*ids, origin, port, lean.started_ns, lean.request_id, path)
        record.endpoint = path
        record.recording = lean.recording
        if lean.caller is not None:
            self._note_caller(record, lean.caller)
        return record

    def _note_caller(self, record: RequestRecord, caller: Remote) -> None:
        if not self._trusts:
            if caller.trace_id:
                record.caller = caller.trace_id, caller.span_id
                record.usual = False
            return
        record.parent_id = caller.span_id or None
        if caller.debug:
            record.debug = True
            record.usual = False
        record.tracestate = caller.tracestate
        if caller.debug_id:
            record.debug_id = caller.debug_id
            record.usual = False

    def batch(
        self,
        endpoint: str,
        reason: str,
        items: Sequence[ItemRecord],
        *,
        runner_free_ns: int,
        released_ns: int,
    ) -> BatchRecord:
        """Begin the record of a batch of these items, which are told their batch and position.

        Where it holds more than one item and any of their requests is recorded, it gets a
        trace. It has ids already where they come from requests at all: what its run calls is
        told that the batch is not sampled.
        """
        kind = LiveBatchRecord if self.is_live else BatchRecord
        batch = kind(
            endpoint,
            reason,
            len(items),
            runner_free_ns=runner_free_ns,
            released_ns=released_ns,
        )
        for position, item in enumerate(items):
            item.batch = batch
            item.position = position
        if self.on:
            self._gather(batch, items)
        if isinstance(batch, LiveBatchRecord):
            batch.released(self._new_live(), items)
        return batch

    def _gather(self, batch: BatchRecord, items: Sequence[ItemRecord]) -> None:
        requests = [request for item in items if (request := item.request) is not None]
        if not requests:
            return
        recorded = [request for request in requests if request.recording]
        if recorded:
            batch.rows = Rows(batch.size, self._spans_each[batch.size > 1])
            batch.pending = len(recorded) + 1
        if batch.size == 1:
            _ = requests[0].full_record  # the model's code may open spans in it, on another thread
        else:
            batch.trace_id, batch.root_id = self._next_root()
            batch.recording = bool(recorded)
            batch.sampled = any(request.sampled for request in recorded)
            batch.debug = any(request.debug for request in recorded if request.sampled)

    def scope(self, record: Record | None, place: int) -> Scope | None:
        """Return the scope in which to run the user's code at this place of a record."""
        if record is None or not record.trace_id:
            return None
        if record.recording:
            record.open_for_custom_spans()
        return Scope(self, record, place)

    @contextmanager
    def starting(self, service: str) -> Iterator[None]:
        """Make and warm up the service here; a trace of its own where that code has any use."""
        if not self.on:
            yield
            return
        record = StartupRecord(
            *self._next_root(),
            service,
            self.now_ns(),
            recording=self.rules.sample_rate > 0,
        )
        try:
            with entered(self.scope(record, ROOT)):
                yield
        except Exception as error:
            record.failure = failure_of(error, self.now_ns())
            raise
        finally:
            record.ended_ns = self.now_ns()
            if record.recording and record.of_use:
                self._submit(frozen_startup(record))

    def request_ended(self, record: RequestRecord) -> None:
        """End a request's record, decide whether it is kept, and hand it over if so."""
        record.ended(self.now_ns())
        kept = record.sampled or (record.recording and self._keep(record))
        whole = kept and record.is_usual and _has_usual_customs(record, record.items[0])
        if kept and not whole and self.exporters:
            self._submit(frozen_request(record, with_runs=self._with_runs))
        for item in record.items:
            item.request = None  # so that records form no cycles
            batch = item.batch
            if batch is None or (rows := batch.rows) is None or not record.recording:
                continue
            if whole:
                write_record(rows, record, item)
            elif kept:
                write_link(rows, record, item)
            self._settle(batch)

    def lean_ended(self, lean: LeanRequest) -> bool:
        """End a request that stayed usual, or is not recorded.

        False: it is to be ended by its record.
        """
        item = lean.item
        if not lean.recording:
            if item is not None:
                item.request = None
            return True
        if item is None or (batch := item.batch) is None or (rows := batch.rows) is None:
            return False
        record = lean.record
        if not (
            rows.are_open
            and lean.sampled
            and lean.encoded_ns
            and lean.port
            and len(lean.request_id) <= MAX_REQUEST_ID
            and item.failure is None
            and (record is None or (record.usual and _has_usual_customs(record, item)))
        ):
            return False
        write_lean(rows, lean, item, self.now_ns())
        item.request = None
        batch.pending -= 1
        if batch.pending == 0:
            self._hand_over(batch, rows)
        return True

    def _keep(self, record: RequestRecord) -> bool:
        """Decide on a request that was recorded and not sampled, as it ends."""
        record.kept_by = rule = self.rules.kept_by(record)
        if not rule:
            return False
        self.kept[rule] += 1
        record.usual = False
        return True

    def batch_ended(self, batch: BatchRecord) -> None:
        """End a batch that has rows: its members learn what became of it, and end, after this."""
        if (rows := batch.rows) is not None and batch.is_usual:
            rows.are_open = True
            if batch.custom_spans:
                self._take_customs(batch, rows)
        self._settle(batch)

    def _take_customs(self, batch: BatchRecord, rows: Rows) -> None:
        """Take a batch's custom spans into its rows, where they fit."""
        customs = plain_customs(batch.custom_spans, RUN, batch.ran_ns)
        if customs is None:
            rows.are_open = False
            return
        rows.customs = customs
        if self._with_runs:  # then each member has a copy of them
            rows.spans_each += len(customs)

    def _settle(self, batch: BatchRecord) -> None:
        """Count one of the ends that a batch waits for: its own, and each recorded member's.

        After the last one nothing can change any more, and the batch is handed over.
        """
        batch.pending -= 1
        if batch.pending == 0 and batch.rows is not None:
            self._hand_over(batch, batch.rows)

    def _hand_over(self, batch: BatchRecord, rows: Rows) -> None:
        if rows.spans or (rows.kept and batch.recording):
            self._submit(frozen_members(batch, rows))

    def _submit(self, record: Frozen) -> None:
        for exporter in self.exporters:
            exporter.put(record)

    def headers_for(self, record: Record, span_id: str) -> dict[str, str]:
        """Return the headers that continue this span's trace in another service."""
        return self._propagators.inject(
            record.trace_id,
            span_id,
            sampled=record.sampled,
            debug=record.debug,
            tracestate=record.tracestate,
        )

    def extend_app(self, app: Any) -> None:
        """Let the tracers add routes; called once, while the app is built."""
        for tracer in self.tracers:
            tracer.manager.hook.extend_app(app=app)

    def start(self) -> None:
        """Start the tracers and their exporters; once in each process, after any fork."""
        for tracer in self.tracers:
            tracer.manager.hook.tracer_started(settings=tracer.settings, resource=self.resource)
        for exporter in self.exporters:
            exporter.start()

    def stop(self, deadline_s: float) -> None:
        """Flush all exporters and stop all tracers, within the deadline; blocks."""
        give_up_ns = self.now_ns() + int(deadline_s * 1e9)
        exporting = {exporter.name for exporter in self.exporters}
        # All flush at once: one that hangs takes no time from the others.
        for exporter in self.exporters:
            exporter.ask_to_stop(deadline_s)
        for exporter in self.exporters:
            exporter.wait_for_stop(max(0.0, (give_up_ns - self.now_ns()) / 1e9))
        for tracer in self.tracers:
            if tracer.name not in exporting:
                left_s = max(0.0, (give_up_ns - self.now_ns()) / 1e9)
                _guarded_stop(tracer, left_s)

    def trace_url(self, trace_id: str) -> str | None:
        """Return where a person can look at a trace, from the first tracer that knows."""
        for tracer in self.tracers:
            try:
                url = tracer.manager.hook.trace_url(trace_id=trace_id)
            except Exception:  # noqa: BLE001, S112  # the contract: raising counts as None
                continue
            if isinstance(url, str):
                return url
        return None

    def find_trace(self, trace_id: str) -> bool | None:
        """Return whether a backend holds a trace, from the first tracer that can tell; blocks.

        None: no tracer can tell. Only between `start` and `stop`, and never on an event loop.
        """
        for tracer in self.tracers:
            try:
                found = tracer.manager.hook.find_trace(trace_id=trace_id)
            except Exception:  # noqa: BLE001, S112  # the contract: raising counts as None
                continue
            if isinstance(found, bool):
                return found
        return None

    def _new_live_record(self, *known: Any) -> LiveRequestRecord:
        return LiveRequestRecord(self._new_live(), *known)

    def _new_live(self) -> Live:
        """Return what announces a record, with the offset of the clock as of now."""
        pieces = Pieces(
            self._offset_ns(),
            batch_spans=self._config.batch_spans,
            exceptions=self._config.exceptions,
        )
        return Live(self._listeners.started, self._listeners.ended, pieces)

    def _new_exporter(self, tracer: LoadedTracer) -> Exporter:
        queue = self._config.queue
        return Exporter(
            tracer.name,
            self._new_delivery(tracer),
            offset_ns=self._offset_ns,
            limits=QueueLimits(
                max_spans=queue.max_spans,
                flush_interval_s=queue.flush_interval_ms / 1e3,
                max_export_spans=queue.max_export_spans,
                retry_for_s=queue.retry_for_s,
            ),
            clock=self.clock,
        )

    def _new_delivery(self, tracer: LoadedTracer) -> Delivery:
        config, hook = self._config, tracer.manager.hook
        here = DirectDelivery(
            lambda spans: hook.export_spans(spans=spans),
            lambda deadline_s: hook.tracer_stopping(deadline_s=deadline_s),
            Expander(batch_spans=config.batch_spans, exceptions=config.exceptions),
        )
        if tracer.isolation != "process" or config.exporter != "process":
            return here
        assignment = Assignment(
            tracer.name,
            tracer.settings,
            self.resource,
            config.batch_spans,
            config.exceptions,
            logging.getLogger().getEffectiveLevel(),
        )
        return ProcessDelivery(assignment, here)


def _has_usual_customs(record: RequestRecord, item: ItemRecord) -> bool:
    """Take the custom spans of a request that was alone in its batch into its row, if they fit."""
    if not record.custom_spans:
        return True
    batch = item.batch
    if batch is None or batch.rows is None or batch.size > 1 or record.custom_lost:
        return False
    customs = plain_customs(record.custom_spans, item_place(0, RUN), batch.ran_ns)
    if customs is None:
        return False
    batch.rows.customs = customs
    batch.rows.spans_each += len(customs)
    return True


def _guarded_stop(tracer: LoadedTracer, deadline_s: float) -> None:
    try:
        tracer.manager.hook.tracer_stopping(deadline_s=deadline_s)
    except Exception:
        log.exception("tracer %s failed to stop", tracer.name)


def _propagators(tracers: Sequence[LoadedTracer], config: TracingConfig) -> Propagators:
    if config.propagators is not None:
        return Propagators(config.propagators, config.propagators)
    wanted = [name for tracer in tracers for name in tracer.propagators]
    return Propagators(KNOWN_FORMATS, list(dict.fromkeys(["tracecontext", *wanted])))
