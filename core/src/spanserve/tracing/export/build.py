"""One tracer's way out, as the configuration has it: its exporter, and who calls the tracer."""

import logging
from collections.abc import Callable
from typing import Final

from spanserve.config.model import TracingConfig
from spanserve.tracing.expansion.expand import Expander
from spanserve.tracing.export.checkpoint import checkpoint
from spanserve.tracing.export.delivery import Delivery, DirectDelivery
from spanserve.tracing.export.exporter import Exporter, QueueLimits
from spanserve.tracing.export.process.worker import Assignment, ProcessDelivery
from spanserve.tracing.model.clock import Clock
from spanserve.tracing.model.span import Resource
from spanserve.tracing.plugins.loading import LoadedTracer

BEATS: Final = 5
"""So often a process says that it runs within the time after which it hangs."""
SHORTEST_BEAT_S: Final = 0.05
LONGEST_BEAT_S: Final = 2.0


def exporter_of(
    tracer: LoadedTracer,
    config: TracingConfig,
    resource: Resource,
    *,
    clock: Clock,
    offset_ns: Callable[[], int],
) -> Exporter:
    """Return the exporter of a tracer; `offset_ns` turns a mark of the clock into Unix time."""
    queue = config.queue
    return Exporter(
        tracer.name,
        _delivery_of(tracer, config, resource),
        offset_ns=offset_ns,
        limits=QueueLimits(
            max_spans=queue.max_spans,
            flush_interval_s=queue.flush_interval_ms / 1e3,
            max_export_spans=queue.max_export_spans,
            retry_for_s=queue.retry_for_s,
            hang_after_s=queue.hang_after_s,
        ),
        clock=clock,
    )


def _delivery_of(tracer: LoadedTracer, config: TracingConfig, resource: Resource) -> Delivery:
    here = DirectDelivery(
        tracer.call.export_spans,
        tracer.call.tracer_stopping,
        Expander(
            batch_spans=config.batch_spans, exceptions=config.exceptions, checkpoint=checkpoint
        ),
    )
    if tracer.isolation != "process" or config.exporter != "process":
        return here
    assignment = Assignment(
        tracer.name,
        tracer.settings,
        resource,
        config.batch_spans,
        config.exceptions,
        logging.getLogger().getEffectiveLevel(),
        min(max(config.queue.hang_after_s / BEATS, SHORTEST_BEAT_S), LONGEST_BEAT_S),
    )
    return ProcessDelivery(assignment, here)
