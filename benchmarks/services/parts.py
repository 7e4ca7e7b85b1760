"""What each part of a span's way costs: `python parts.py TRACER SECTION SECONDS`.

Requests are told to the gate as the server tells it, in batches, and what differs from one set-up
to the next is the part. SECTION is the tracer's own, as JSON. Prints µs of CPU a span, as JSON.
"""

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.processes import Meter
from services.socket_time import SocketTime
from spanserve import Resource, Span, hookimpl
from spanserve.config.model import QueueConfig, TracingConfig
from spanserve.tracing.admission.client import Client
from spanserve.tracing.admission.head import Head
from spanserve.tracing.plugins.loading import LoadedTracer, opened
from spanserve.tracing.plugins.registry import load_plugin
from spanserve.tracing.recording.record import ItemRecord, RequestRecord
from spanserve.tracing.recording.request_trace import UNDECIDED, RequestTrace
from spanserve.tracing.tracing import Tracing

REQUESTS = 16
BATCHES = 96
SPANS = BATCHES * (REQUESTS * 5 + 4)  # about as many as go to a tracer in one call
FIELDS = {
    b"host": b"127.0.0.1:8000",
    b"user-agent": b"parts",
    b"content-type": b"application/json",
}
HEAD = Head("/predict", Client("http", ("127.0.0.1", 50_000)), FIELDS, True)
CONFIG = TracingConfig(queue=QueueConfig(max_spans=10_000_000))


class Quiet:
    """A tracer that wants records, and no spans."""

    @hookimpl
    def trace_url(self, trace_id: str) -> str | None:
        """Know nothing."""


class Keeping:
    """A tracer that keeps the spans of its last call."""

    def __init__(self) -> None:
        self.spans: Sequence[Span] = ()

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        """Keep them."""
        self.spans = spans


def gate(*tracers: LoadedTracer) -> Tracing:
    """Build a gate that is not started."""
    return Tracing(tracers, CONFIG, Resource("parts", {"service.name": "parts"}))


class Request(RequestTrace):
    """A request as the server keeps one."""

    __slots__ = ()

    def __init__(self, tracing: Tracing) -> None:
        self.started_ns = tracing.now_ns()
        self.request_id = self.trace_id = ""
        self.item = self.record = None
        self.decision = UNDECIDED
        self.head = HEAD

    @property
    def full_record(self) -> RequestRecord:
        """Return none: these stay usual."""
        raise NotImplementedError


def one_batch(tracing: Tracing) -> None:
    """Take some requests from their first byte to their last, in one batch."""
    now_ns = tracing.now_ns
    requests = [Request(tracing) for _ in range(REQUESTS)]
    items = []
    for depth, request in enumerate(requests):
        item = ItemRecord(request if tracing.on else None, now_ns(), depth)
        items.append(item)
    batch = tracing.batch("/predict", "idle", items, runner_free_ns=0, released_ns=now_ns())
    for mark in (batch.collate_started, batch.run_started, batch.run_ended, batch.ended):
        mark(now_ns())
    for request in requests:
        request.encode_ns, request.encoded_ns = now_ns(), now_ns()
    tracing.answered(batch, items)


def requests_us(tracing: Tracing, batches: int = BATCHES) -> float:
    """Return what this thread uses for the requests of some batches."""
    start_ns = time.thread_time_ns()
    for _ in range(batches):
        one_batch(tracing)
    return (time.thread_time_ns() - start_ns) / 1e3


def on_the_loop(repeats: int) -> dict[str, float]:
    """Measure what the serving thread does, in set-ups that do ever more of it."""
    plugins = (opened(each, "own", "parts", "1") for each in (Quiet(), Keeping()))
    quiet, keeping = (each.configured({}, {}) for each in plugins)
    rows = [
        [requests_us(gate()), requests_us(gate(quiet)), requests_us(gate(keeping))]
        for _ in range(repeats)
    ]
    return {
        "record": statistics.median(on - off for off, on, _ in rows) / SPANS,
        "queue": statistics.median(queued - on for _, on, queued in rows) / SPANS,
    }


def expanded(repeats: int) -> tuple[dict[str, float], Sequence[Span]]:
    """Measure the exporter's thread with a tracer that does nothing; return spans to export."""
    tracer = Keeping()
    tracing = gate(opened(tracer, "own", "parts", "1").configured({}, {}))
    figures = []
    tracing.start()
    for _ in range(repeats):
        meter = Meter(os.getpid())
        start_ns = time.thread_time_ns()
        requests_us(tracing)
        wait(tracing)
        own_us = (time.thread_time_ns() - start_ns) / 1e3
        figures.append(meter.read()[0] * 1e6 - own_us)
    spans = tracer.spans
    tracing.stop(5)
    return {"expand": statistics.median(figures) / SPANS}, spans


def wait(tracing: Tracing) -> None:
    """Wait until all spans are delivered."""
    while tracing.exporters[0].waiting_spans:
        time.sleep(0.01)


def exported(tracer: LoadedTracer, spans: Sequence[Span], repeats: int) -> dict[str, float]:
    """Measure the tracer's own export: what is not sending is encoding."""
    hook = tracer.manager.hook
    hook.tracer_started(settings=tracer.settings, resource=gate().resource)
    figures = []
    with SocketTime() as sending:
        for _ in range(repeats):
            sending.ns, start_ns = 0, time.thread_time_ns()
            hook.export_spans(spans=spans)
            figures.append((time.thread_time_ns() - start_ns - sending.ns, sending.ns))
    hook.tracer_stopping(deadline_s=1.0)
    encode_ns, send_ns = (statistics.median(each) for each in zip(*figures, strict=True))
    return {"encode": encode_ns / 1e3 / len(spans), "send": send_ns / 1e3 / len(spans)}


def whole(tracer: LoadedTracer, repeats: int) -> dict[str, float]:
    """Measure all of it at work, with the exporter's own process."""
    off_us = statistics.median(requests_us(gate()) for _ in range(5))
    tracing = gate(tracer)
    tracing.start()
    requests_us(tracing)  # the process is up when these are delivered
    wait(tracing)
    meter, start_ns = Meter(os.getpid()), time.thread_time_ns()
    requests_us(tracing, repeats * BATCHES)
    wait(tracing)
    loop_us = (time.thread_time_ns() - start_ns) / 1e3
    all_us, exporter_us = (each * 1e6 for each in meter.read())
    tracing.stop(5)
    spans = repeats * SPANS
    return {
        "ship": (all_us - exporter_us - loop_us) / spans,
        "exporter": exporter_us / spans,
        "all": (all_us - repeats * off_us) / spans,
    }


def main(name: str, section: str, seconds: str) -> None:
    """Measure all parts, and print."""
    repeats = max(3, int(20 * float(seconds)))
    tracer = load_plugin(name).configured(json.loads(section), {})
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    figures = on_the_loop(repeats)
    more, spans = expanded(repeats)
    figures |= more | exported(tracer, spans, repeats) | whole(tracer, repeats)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
