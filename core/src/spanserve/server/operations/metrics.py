"""The counters of one process in Prometheus' terms, read when somebody asks and not before."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from spanserve.batching.batcher import Batcher
from spanserve.batching.tally import BOUNDS_S, Durations
from spanserve.running.process.resident import memory_of
from spanserve.running.process.runner import ProcessRunner
from spanserve.running.protocol import Runner
from spanserve.server.access.access_log import AccessLog
from spanserve.server.access.guard import Guard
from spanserve.server.http.traffic import Traffic
from spanserve.tracing.admission.sampling import ERROR, SLOW
from spanserve.tracing.export.exporter import Drop
from spanserve.tracing.tracing import Tracing


class ServerMetrics(Collector):
    """Collects from the counters that the server's parts keep for themselves."""

    def __init__(
        self,
        traffic: Traffic,
        runner: Runner,
        batchers: Sequence[Batcher],
        tracing: Tracing,
        *,
        guard: Guard,
        access: AccessLog | None,
        refused: Callable[[], Counter[tuple[int, str]]],
    ) -> None:
        self._guard = guard
        self._access = access
        self._traffic = traffic
        self._runner = runner
        self._batchers = batchers
        self._tracing = tracing
        self._refused = refused

    def collect(self) -> Iterable[Metric]:
        """Return all metrics as they stand."""
        yield self._requests()
        yield from self._keys()
        yield self._access_log()
        yield self._refusals()
        yield GaugeMetricFamily(
            "spanserve_runner_busy",
            "Jobs that the runner has in hand",
            self._runner.slots - self._runner.free,
        )
        yield from self._replicas()
        yield GaugeMetricFamily(
            "spanserve_runner_up", "0 once nothing runs the model any more", not self._runner.gone
        )
        yield from self._batches()
        yield CounterMetricFamily(
            "spanserve_trace_headers_ignored",
            "Times that a request's trace headers of a format could not be used",
            self._tracing.ignored_headers,
        )
        yield self._kept()
        yield from self._spans()

    def _replicas(self) -> Iterator[Metric]:
        """Yield what is known of each replica, where the runner has any."""
        runner, label = self._runner, ["replica"]
        if not isinstance(runner, ProcessRunner):
            return
        up = GaugeMetricFamily("spanserve_replica_up", "1 while a replica is up", labels=label)
        held = GaugeMetricFamily("spanserve_replica_jobs_held", "Jobs it has now", labels=label)
        memory = GaugeMetricFamily(
            "spanserve_replica_memory_bytes", "Memory of its process", labels=label
        )
        jobs = CounterMetricFamily("spanserve_replica_jobs", "Jobs it was given", labels=label)
        restarts = CounterMetricFamily(
            "spanserve_replica_restarts",
            "Times that it ended and was to be started anew",
            labels=label,
        )
        for seat in runner.seats:
            name, replica = [str(seat.number)], seat.replica
            up.add_metric(name, seat.state == "up")
            held.add_metric(name, 0 if replica is None else replica.load)
            if replica is not None and (resident := memory_of(replica.process.pid)):
                memory.add_metric(name, resident)
            jobs.add_metric(name, seat.jobs)
            restarts.add_metric(name, seat.has_ended)
        yield from (up, held, memory, jobs, restarts)

    def _kept(self) -> Metric:
        kept = CounterMetricFamily(
            "spanserve_traces_kept",
            "Requests whose traces were kept although they were not sampled, by rule",
            labels=["rule"],
        )
        for rule in (ERROR, SLOW):
            kept.add_metric([rule], self._tracing.kept[rule])
        return kept

    def _requests(self) -> Metric:
        requests = CounterMetricFamily(
            "spanserve_requests",
            "Requests to inference endpoints by status; 499: the client left",
            labels=["endpoint", "status"],
        )
        for (endpoint, status), count in self._traffic.answered.copy().items():
            requests.add_metric([endpoint, str(status)], count)
        return requests

    def _access_log(self) -> Metric:
        return CounterMetricFamily(
            "spanserve_access_log_dropped",
            "Lines of the access log that were not written",
            0 if self._access is None else self._access.dropped,
        )

    def _keys(self) -> Iterator[Metric]:
        refused = CounterMetricFamily(
            "spanserve_unauthorized",
            "Requests without a right key, by what they asked for (server.auth)",
            labels=["what"],
        )
        for what, count in self._guard.refused.copy().items():
            refused.add_metric([what], count)
        yield refused
        keys = self._guard.keys
        yield CounterMetricFamily(
            "spanserve_key_file_errors",
            "Times that server.auth.key_file changed and could not be read",
            0 if keys is None else keys.errors,
        )

    def _refusals(self) -> Metric:
        refusals = CounterMetricFamily(
            "spanserve_connections_refused",
            "Connections closed for what their clients sent, or did not send in time",
            labels=["code", "status"],
        )
        for (status, code), count in self._refused().copy().items():
            refusals.add_metric([code, str(status)], count)
        return refusals

    def _batches(self) -> Iterator[Metric]:
        reasons = CounterMetricFamily(
            "spanserve_batches", "Batches by release reason", labels=["endpoint", "reason"]
        )
        sizes = HistogramMetricFamily(
            "spanserve_batch_size", "Items in a batch", labels=["endpoint"]
        )
        failed = CounterMetricFamily(
            "spanserve_batches_failed", "Batches whose run failed", labels=["endpoint"]
        )
        refused = CounterMetricFamily(
            "spanserve_items_refused",
            "Items refused; deadline: by the learned run time it could not be met",
            labels=["endpoint", "reason"],
        )
        expired = CounterMetricFamily(
            "spanserve_items_expired",
            "Items whose deadline passed in the queue",
            labels=["endpoint"],
        )
        splits = CounterMetricFamily(
            "spanserve_batches_split",
            "Batches that raised and were run again in parts",
            labels=["endpoint"],
        )
        reruns = CounterMetricFamily(
            "spanserve_items_rerun",
            "Items that ran again, alone, since the replica that ran their batch died",
            labels=["endpoint"],
        )
        retries = CounterMetricFamily(
            "spanserve_batch_retries", "Runs of parts of such batches", labels=["endpoint"]
        )
        runs = HistogramMetricFamily(
            "spanserve_run_seconds",
            "Time of a batch's run, retries included",
            labels=["endpoint"],
            unit="seconds",
        )
        waits = HistogramMetricFamily(
            "spanserve_queue_wait_seconds",
            "Time of an item in the queue: until the runner was free, then until others had come",
            labels=["endpoint", "for"],
            unit="seconds",
        )
        abandoned = CounterMetricFamily(
            "spanserve_items_abandoned",
            "Items taken out of the queue since nobody waited for them",
            labels=["endpoint"],
        )
        queued = GaugeMetricFamily("spanserve_queue_depth", "Items that wait", labels=["endpoint"])
        for batcher in self._batchers:
            label, tally = [batcher.endpoint], batcher.tally
            for reason, count in tally.reasons.copy().items():
                reasons.add_metric([*label, reason], count)
            buckets, total = _buckets(tally.sizes.copy(), batcher.limits.max_batch_size)
            sizes.add_metric(label, buckets, total)
            failed.add_metric(label, tally.failed_batches)
            refused.add_metric([*label, "queue_full"], tally.refused)
            refused.add_metric([*label, "deadline"], tally.late)
            expired.add_metric(label, tally.expired)
            splits.add_metric(label, tally.splits)
            retries.add_metric(label, tally.retries)
            reruns.add_metric(label, tally.reruns)
            runs.add_metric(label, *_durations(tally.runs))
            waits.add_metric([*label, "peers"], *_durations(tally.waits_for_peers))
            waits.add_metric([*label, "runner"], *_durations(tally.waits_for_runner))
            abandoned.add_metric(label, tally.abandoned)
            queued.add_metric(label, batcher.queued)
        yield from (reasons, sizes, failed, splits, retries, reruns)
        yield from (refused, expired, abandoned, queued, waits, runs)

    def _spans(self) -> Iterator[Metric]:
        label = ["tracer"]
        recorded = CounterMetricFamily("spanserve_spans_recorded", "Spans recorded", labels=label)
        exported = CounterMetricFamily(
            "spanserve_spans_exported",
            "Spans that a tracer sent; unconfirmed: where nobody answers",
            labels=[*label, "outcome"],
        )
        dropped = CounterMetricFamily(
            "spanserve_spans_dropped", "Spans lost, by reason", labels=[*label, "reason"]
        )
        waiting = GaugeMetricFamily("spanserve_spans_waiting", "Spans not yet sent", labels=label)
        failing = GaugeMetricFamily(
            "spanserve_tracer_failing", "1 while a tracer cannot deliver, or hangs", labels=label
        )
        paused = GaugeMetricFamily(
            "spanserve_tracer_paused_seconds",
            "Seconds left of a pause that its backend asked for (Retry-After)",
            labels=label,
        )
        slow = CounterMetricFamily(
            "spanserve_tracer_slow_calls",
            "Calls of a tracer's live hooks that took more than 20 ms, for which requests waited",
            labels=label,
        )
        for tracer_name, calls in self._tracing.slow_calls.copy().items():
            slow.add_metric([tracer_name], calls)
        for exporter in self._tracing.exporters:
            name, (spans, waiting_spans, counters) = exporter.name, exporter.accounts()
            recorded.add_metric([name], spans)
            exported.add_metric([name, "delivered"], counters.delivered)
            exported.add_metric([name, "unconfirmed"], counters.unconfirmed)
            for why in Drop:
                dropped.add_metric([name, why.value], counters.dropped[why])
            waiting.add_metric([name], waiting_spans)
            paused.add_metric([name], exporter.paused_s)
        failures = self._tracing.failures
        for tracer in self._tracing.tracers:
            failing.add_metric([tracer.name], tracer.name in failures)
        yield from (recorded, exported, dropped, waiting, failing, paused, slow)


def _durations(durations: Durations) -> tuple[list[Any], float]:
    """Return cumulative counts at each bound, with exemplars, and the sum in seconds."""
    buckets: list[Any] = []
    total = 0
    for place, count in enumerate(durations.counts.copy()):
        total += count
        bound = str(BOUNDS_S[place]) if place < len(BOUNDS_S) else "+Inf"
        example = durations.examples.get(place)
        if example is None:
            buckets.append((bound, total))
        else:
            trace_id, duration_ns = example
            buckets.append((bound, total, Exemplar({"trace_id": trace_id}, duration_ns / 1e9)))
    return buckets, durations.total_ns / 1e9


def _buckets(sizes: dict[int, int], largest: int) -> tuple[list[tuple[str, float]], float]:
    """Return cumulative counts at powers of two up to the largest batch, and the sum of sizes."""
    bounds = [1 << power for power in range(largest.bit_length() + 1) if 1 << power < largest]
    buckets = [
        (str(float(bound)), float(sum(n for size, n in sizes.items() if size <= bound)))
        for bound in (*bounds, largest)
    ]
    total = float(sum(sizes.values()))
    return [*buckets, ("+Inf", total)], float(sum(size * n for size, n in sizes.items()))
