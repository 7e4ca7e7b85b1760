"""What operators ask for: health, readiness, metrics, metadata."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from spanserve.server.endpoint import BatchEndpoint, Endpoint
from spanserve.server.lifecycle import Lifecycle
from spanserve.server.metrics import ServerMetrics
from spanserve.service.bundle import LoadedService
from spanserve.tracing.tracing import Tracing


def add_operations(
    app: FastAPI,
    *,
    service: LoadedService,
    endpoints: list[Endpoint],
    tracing: Tracing,
    lifecycle: Lifecycle,
    metrics: ServerMetrics,
) -> None:
    """Add the operations' routes to the app."""
    registry = CollectorRegistry()
    registry.register(metrics)

    @app.get("/healthz", tags=["operations"], response_class=PlainTextResponse)
    @app.get("/livez", tags=["operations"], response_class=PlainTextResponse)
    async def alive() -> str:
        """Answer whenever the event loop runs."""
        return "ok\n"

    @app.get("/readyz", tags=["operations"], response_class=PlainTextResponse)
    async def ready() -> Response:
        """Say whether new requests are welcome."""
        status = 200 if lifecycle.ready else 503
        return PlainTextResponse(f"{lifecycle.state}\n", status_code=status)

    @app.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Return the counters in Prometheus' text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/metadata", tags=["operations"])
    async def metadata() -> JSONResponse:
        """Say what is served and which tracers are live."""
        return JSONResponse(_metadata(service, endpoints, tracing))


def _metadata(
    service: LoadedService, endpoints: list[Endpoint], tracing: Tracing
) -> dict[str, Any]:
    rate, keep_errors, keep_slower_than_ms = tracing.rules
    return {
        "service": service.name,
        "version": service.version,
        "spanserve": version("spanserve"),
        "endpoints": [_endpoint(endpoint) for endpoint in endpoints],
        "tracers": [{"type": tracer.name, "target": tracer.target} for tracer in tracing.tracers],
        "sampling": {
            "sample_rate": rate,
            "keep": {"errors": keep_errors, "slower_than_ms": keep_slower_than_ms},
        },
    }


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
