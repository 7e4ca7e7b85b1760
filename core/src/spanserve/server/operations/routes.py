"""What operators ask for: health, readiness, metrics, metadata."""

import re
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from spanserve.server.endpoint import BatchEndpoint, Endpoint
from spanserve.server.lifecycle import Lifecycle
from spanserve.server.operations.all_metrics import AllMetrics
from spanserve.server.operations.sibling_metrics import Siblings
from spanserve.server.running import Running
from spanserve.service.bundle.load import LoadedService
from spanserve.service.codecs.media import MAX_HEADER_CHARS, weight
from spanserve.tracing.plugins.loading import LoadedTracer
from spanserve.tracing.tracing import Tracing

_FORMAT: Final = re.compile(
    r"\s*(?:text/plain|application/openmetrics-text)(?:\s*;\s*(?:"
    r"version=[0-9]{1,3}(?:\.[0-9]{1,3}){2}|q=[0-9.]*|charset=utf-8|"
    r"escaping=(?:allow-utf-8|underscores|dots|values)))*\s*",
    re.IGNORECASE | re.ASCII,
)


def add_operations(
    app: FastAPI,
    *,
    service: LoadedService,
    endpoints: list[Endpoint],
    tracing: Tracing,
    running: Running,
    lifecycle: Lifecycle,
    metrics: AllMetrics,
    siblings: Siblings | None,
) -> None:
    """Add the operations' routes to the app."""

    @app.get("/healthz", tags=["operations"], response_class=PlainTextResponse)
    @app.get("/livez", tags=["operations"], response_class=PlainTextResponse)
    async def alive() -> str:
        """Answer whenever the event loop runs."""
        return "ok\n"

    @app.get("/readyz", tags=["operations"], response_class=PlainTextResponse)
    async def ready() -> Response:
        """Say whether new requests are welcome."""
        return PlainTextResponse(f"{lifecycle.status}\n", 200 if lifecycle.ready else 503)

    @app.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
    async def prometheus(request: Request) -> Response:
        """Return the counters of all workers, in Prometheus' text format or as OpenMetrics."""
        found = await (metrics.collect() if siblings is None else siblings.metrics())
        write, content_type = _encoder(request.headers.get("accept", ""))
        return Response(write(_Found(found)), media_type=content_type)

    @app.get("/metadata", tags=["operations"])
    async def metadata() -> JSONResponse:
        """Say what is served and which tracers are live."""
        return JSONResponse(_metadata(service, endpoints, tracing, running))


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Return the format that a client likes best and its media type; else the text format.

    The client's library echoes a version and an escaping, and trips over those it does not know.
    """
    ranges = accept[:MAX_HEADER_CHARS].split(",")
    known = [each for each in ranges if _FORMAT.fullmatch(each) or each.strip().startswith("*/*")]
    best = max(known, key=weight, default="")  # of those it likes alike, the first
    return choose_encoder(best if weight(best) > 0 else "")


class _Found(CollectorRegistry):
    """Metrics that were collected, for an encoder."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        super().__init__()
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._metrics


def _metadata(
    service: LoadedService, endpoints: list[Endpoint], tracing: Tracing, running: Running
) -> dict[str, Any]:
    rate, keep_errors, keep_slower_than_ms = tracing.rules
    return {
        "service": service.name,
        "version": service.version,
        "spanserve": version("spanserve"),
        "endpoints": [_endpoint(endpoint) for endpoint in endpoints],
        "runner": _runner(running),
        "tracers": [_tracer(tracer, tracing.failures) for tracer in tracing.tracers],
        "sampling": {
            "sample_rate": rate,
            "keep": {"errors": keep_errors, "slower_than_ms": keep_slower_than_ms},
        },
    }


def _runner(running: Running) -> dict[str, Any]:
    """Say where the model runs, and how its replicas are."""
    if running.elsewhere is None:
        return {"type": running.kind}
    return {
        "type": running.kind,
        "replicas": [
            {
                "replica": seat.number,
                "state": seat.state,
                "pid": None if seat.replica is None else seat.replica.process.pid,
                "jobs": seat.jobs,
                "restarts": seat.has_ended,
            }
            for seat in running.elsewhere.seats
        ],
    }


def _tracer(tracer: LoadedTracer, failures: Mapping[str, str]) -> dict[str, str]:
    """Say where a tracer sends; and why it does not, where it fails now."""
    failure = failures.get(tracer.name)
    told = {"type": tracer.name, "target": tracer.target}
    return told if failure is None else {**told, "failing": failure}


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    spec = endpoint.spec
    entry: dict[str, Any] = {"route": spec.route, "batch": spec.batch}
    if spec.doc:
        entry["description"] = spec.doc
    if isinstance(endpoint, BatchEndpoint):
        batcher = endpoint.batcher
        entry["max_batch_size"] = batcher.limits.max_batch_size
        entry["max_latency_ms"] = batcher.limits.max_latency_ms
        entry["max_queue"] = batcher.max_queue
        entry["isolate"] = spec.isolate
        entry["inline"] = spec.inline
    return entry
