"""The gate: the only caller of a tracer's hooks, and where every record begins and ends.

One `Tracing` serves one app in one process. It makes records, decides which are sampled,
and hands finished ones to each tracer's exporter. A tracer that raises costs traces and
never a request: it is caught here, said once in the log, and counted.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from spanserve.config.model import TracingConfig
from spanserve.tracing.admission.admission import RequestStarter
from spanserve.tracing.admission.excluded import ExcludedPaths
from spanserve.tracing.admission.http_attributes import Origin, origin_of
from spanserve.tracing.admission.sampling import Rules
from spanserve.tracing.export.build import exporter_of
from spanserve.tracing.export.outcome import FAILING, Drop
from spanserve.tracing.export.process.liveness import Watchdog
from spanserve.tracing.live.listeners import Listeners
from spanserve.tracing.live.records import Live, LiveBatchRecord, LiveRequestRecord
from spanserve.tracing.live.values import SpanMaker
from spanserve.tracing.model.clock import Clock, Ids, SteadyOffset
from spanserve.tracing.model.ids import ROOT
from spanserve.tracing.model.span import Resource
from spanserve.tracing.plugins import starting
from spanserve.tracing.plugins.hooks import Hooks
from spanserve.tracing.plugins.loading import LoadedTracer
from spanserve.tracing.propagation import baggage
from spanserve.tracing.propagation.baggage import BAGGAGE
from spanserve.tracing.recording.base import Record, Scope
from spanserve.tracing.recording.completion import Completion
from spanserve.tracing.recording.late import LateSpans
from spanserve.tracing.recording.members import BatchRequests
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.recording.request_trace import decided_on, leans_of
from spanserve.tracing.recording.startup import StartupRecord
from spanserve.tracing.recording.table import Table

T = TypeVar("T")
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
        self._starter = RequestStarter(self.tracers, config, ids or Ids())
        self.late = LateSpans(self.now_ns, self._submit, self.lose_late)
        self._completion = Completion(
            self.now_ns,
            self._submit,
            self.late.left,
            include_batch_run=config.batch_spans == "full",
        )
        # Called for every request: without a call in between.
        self.admit, self.record_of = self._starter.admit, self._starter.record_of
        self.outgoing = outgoing = self._starter.outgoing
        self.headers_for, self.baggage_of = outgoing.headers_for, outgoing.baggage_of
        self.request_ended = self._completion.request_ended
        self.answered = self._completion.answered
        self.configured = Rules(config.sample_rate, config.keep.errors, config.keep.slower_than_ms)
        self.apply(self.configured)
        self.kept = self._completion.kept
        self._excludes = ExcludedPaths(config.excluded_urls)
        self._listeners = Listeners(self.tracers)
        self.is_live = bool(self._listeners)
        self._new_record = self._new_live_record if self.is_live else RequestRecord
        self.live_failures, self.slow_calls = self._listeners.failures, self._listeners.slow
        self.exporters = tuple(
            exporter_of(tracer, config, resource, clock=self.clock, offset_ns=self._offset_ns)
            for tracer in self.tracers
            if "export_spans" in tracer.hooks
        )
        self._watchdog = Watchdog(
            [exporter.look_for_hang for exporter in self.exporters],
            hang_after_s=config.queue.hang_after_s,
        )

    def apply(self, rules: Rules) -> None:
        """Record by these rules from the next request on."""
        self.rules = self._completion.rules = rules
        self._starter.apply(rules)

    @property
    def ignored_headers(self) -> int:
        """How often a request's trace headers of a format could not be used."""
        return self._starter.propagators.ignored

    def request(
        self,
        scope: Mapping[str, Any],
        *,
        request_id: str | None = "",
        route: str = "",
        key_name: str = "",
    ) -> RequestRecord | None:
        """Begin the record of an HTTP request; None where tracing is off or excludes it.

        A `request_id` of None: its client gave none. `key_name` is whose key it carried.
        """
        if not self.on or self._excludes(scope):
            return None
        headers = scope["headers"]
        fields = dict(headers)
        origin, port = origin_of(scope, fields, key_name)
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
        request_id: str | None,
        route: str,
    ) -> RequestRecord:
        """Begin the record of a request whose path is traced; `fields` are its headers by name."""
        own_id, trace_id, root_id, sampled, caller = self._starter.started(headers, fields)
        if request_id is None:
            request_id = own_id
        record = self._new_record(
            trace_id, root_id, sampled, origin, port, started_ns, request_id, route
        )
        if caller is not None:
            self._starter.note_caller(record, caller)
        if BAGGAGE in fields:
            record.baggage = baggage.sent(headers)
        if self._starter.keeps:
            record.recording = True
        if self.is_live:
            record.started()
        return record

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
        every = [item.request for item in items]
        leans = leans_of(every)
        places, ids = self.admit(leans)
        if places is not None and batch.size == len(leans):  # nearly always
            recorded = batch.size if self._starter.keeps else len(places)
            if recorded:
                batch.leans = BatchRequests(leans, ids, places, recorded)
            if batch.size > 1:
                batch.trace_id, batch.root_id = self._starter.next_root()
                batch.sampled, batch.recording = len(places) > 0, recorded > 0
            return
        requests = [each for each in every if each is not None]
        if not requests:
            return
        recorded, sampled, debug = decided_on(requests)
        if recorded:
            self._completion.keep_rows(batch, recorded)
        if batch.size > 1:
            batch.trace_id, batch.root_id = self._starter.next_root()
            batch.recording = recorded > 0
            batch.sampled, batch.debug = sampled, debug

    def scope(self, record: Record | None, place: int) -> Scope | None:
        """Return the scope in which to run the user's code at this place of a record.

        Of a record that left, no place but the root's is sure to be in its trace.
        """
        if record is None or not (record.trace_id or record.passes):
            return None
        return Scope(self, record, ROOT if record.left_ns else place)

    @contextmanager
    def starting(self, service: str) -> Iterator[None]:
        """Make and warm up the service here; a trace of its own where that code has any use."""
        if not self.on:
            yield
            return
        record = StartupRecord(
            *self._starter.next_root(),
            service,
            self.now_ns(),
            recording=self.rules.sample_rate > 0,
        )
        with self.late.starting(record, self.scope(record, ROOT)):
            yield

    def _submit(self, record: Table) -> None:
        for exporter in self.exporters:
            exporter.put(record)

    def lose_late(self, spans: int) -> None:
        """Count spans that came too late as dropped."""
        for exporter in self.exporters:
            exporter.lose(spans, Drop.LATE)

    def extend_app(
        self, app: Any, server_url: str | None, added_by: Callable[[str, Sequence[str]], None]
    ) -> None:
        """Let the tracers add routes, once, while the app is built; raises ConfigError.

        `added_by` is told after each what it is called, and which paths it leaves out of tracing.
        """
        left_out: list[str] = []
        for tracer in self.tracers:
            paths = starting.extend_app(tracer, app, server_url)
            added_by(tracer.name, paths)
            left_out += paths
        self._excludes = ExcludedPaths([*self._config.excluded_urls, *left_out])

    def start(self) -> None:
        """Start the tracers and their exporters; once in each process, after any fork.

        Raises ConfigError where a tracer cannot be started; then none is.
        """
        starting.start(self.tracers, self.resource)
        for exporter in self.exporters:
            exporter.start()
        self.late.start()
        self._watchdog.start()

    def stop(self, deadline_s: float) -> None:
        """Flush all exporters and stop all tracers, within the deadline; blocks."""
        give_up_ns = self.now_ns() + int(deadline_s * 1e9)
        self.late.stop()
        self._watchdog.stop()
        exporting = {exporter.name for exporter in self.exporters}
        # All flush at once: one that hangs takes no time from the others.
        for exporter in self.exporters:
            exporter.ask_to_stop(deadline_s)
        for exporter in self.exporters:
            exporter.wait_for_stop(max(0.0, (give_up_ns - self.now_ns()) / 1e9))
        for tracer in self.tracers:
            if tracer.name not in exporting:
                starting.stop(tracer, max(0.0, (give_up_ns - self.now_ns()) / 1e9))

    @property
    def failures(self) -> Mapping[str, str]:
        """Why tracers fail now, by their names: they cannot deliver, or are off for good."""
        failing = [each for each in self.exporters if each.state in FAILING]
        reasons = {each.name: each.reason or "it gave no reason" for each in failing}
        return reasons | self.live_failures

    def trace_url(self, trace_id: str) -> str | None:
        """Return where a person can look at a trace, from the first tracer that knows."""
        return starting.first_answer(self.tracers, Hooks.trace_url, trace_id, str)

    def find_trace(self, trace_id: str) -> bool | None:
        """Return whether a backend holds a trace, from the first tracer that can tell; blocks.

        None: no tracer can tell. Only between `start` and `stop`, and never on an event loop.
        """
        return starting.first_answer(self.tracers, Hooks.find_trace, trace_id, bool)

    def _new_live_record(self, *known: Any) -> LiveRequestRecord:
        return LiveRequestRecord(self._new_live(), *known)

    def _new_live(self) -> Live:
        """Return what announces a record, with the offset of the clock as of now."""
        maker = SpanMaker(
            self._offset_ns(),
            batch_spans=self._config.batch_spans,
            exceptions=self._config.exceptions,
        )
        started = self._listeners.started if self._listeners.hears_starts else None
        return Live(started, self._listeners.ended, maker)
