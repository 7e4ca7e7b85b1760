"""One service as a FastAPI app."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Match

from spanserve.batching.batcher import Batcher
from spanserve.batching.policy import Policy
from spanserve.config.model import BatchingConfig, Config
from spanserve.config.values.source import Source
from spanserve.errors import SpanserveError
from spanserve.running.discovery import chosen_runner
from spanserve.server.access.access_log import AccessLog
from spanserve.server.access.guard import Guard
from spanserve.server.additions import Additions
from spanserve.server.connections.limits import Limits
from spanserve.server.connections.shared import Connections
from spanserve.server.dependencies import shortened
from spanserve.server.endpoint import BatchEndpoint, Endpoint
from spanserve.server.formats.negotiation import FormatsEndpoint
from spanserve.server.formats.oip import add_inference, add_protocol, models_of
from spanserve.server.formats.oip_model import Model
from spanserve.server.formats.openai import ChatEndpoint, EmbeddingsEndpoint
from spanserve.server.formats.streams import StreamEndpoint
from spanserve.server.http.exchange import Message, Receive, Scope, Send
from spanserve.server.http.front_door import FrontDoor
from spanserve.server.http.refusals import answer_errors
from spanserve.server.lifecycle import Lifecycle, StopLimits
from spanserve.server.operations.all_metrics import AllMetrics
from spanserve.server.operations.control import Control, add_control
from spanserve.server.operations.health import Health
from spanserve.server.operations.metrics import ServerMetrics
from spanserve.server.operations.replica_metrics import ReplicaMetrics
from spanserve.server.operations.routes import add_operations
from spanserve.server.operations.sibling_metrics import Siblings
from spanserve.server.plain import PlainEndpoint
from spanserve.server.resolving import missing, resolver_of
from spanserve.server.routes import add_route, sender
from spanserve.server.running import Running, start_error
from spanserve.service.bundle.load import LoadedService
from spanserve.service.spec import ApiSpec
from spanserve.tracing.otel.provider import join_opentelemetry
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)

_POLICY: Final = 1008
"""The websocket protocol's code for who may not use it."""


class App(FastAPI):
    """A FastAPI app whose requests come in through the front door."""

    front: FrontDoor | None = None
    connections: Connections
    """What its connections share, where one of our HTTP protocols serves it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.front is not None and scope["type"] == "http":
            await self.front(scope, receive, send)
        elif self.front is None or self.front.lets_in(scope):
            await super().__call__(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": _POLICY})  # before it opens: HTTP 403

    async def inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer behind the front door: middleware, routing, everything of FastAPI's.

        `HEAD` works where `GET` does: the server sends no body then.
        """
        if scope["method"] != "HEAD" or self._knows_head(scope):
            await super().__call__(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}

        async def answered(message: Message) -> None:
            scope["route"] = asked.get("route")
            await send(message)

        await super().__call__(asked, receive, answered)

    def _knows_head(self, scope: Scope) -> bool:
        """Whether some route answers HEAD itself."""
        return any(route.matches(scope)[0] is Match.FULL for route in self.router.routes)


def create_app(
    config: Config,
    service: LoadedService,
    tracing: Tracing,
    *,
    on_ready: Callable[[], None] | None = None,
    share: Path | None = None,
    number: int = 0,
    sources: Mapping[str, Source] | None = None,
    url: str | None = None,
) -> App:
    """Build the app of a service; its lifespan starts the model and the tracers.

    `on_ready` is called when the model is warm, before the first request. `share` is a folder
    that all workers of one server have in common, where there are several. `url` is where it will
    be reached, for tracers with pages of their own.
    `sources` says in messages where a value of the configuration stands. Raises ConfigError for a
    runner that cannot be had, StartError where `configure_app` of the service fails, and what a
    tracer's `extend_app` raises.
    """
    if tracing.on:
        join_opentelemetry()
    server = config.server
    runner = chosen_runner(config.runner, service.spec.runner, sources or {})
    runner.check_workers(server.workers)
    running = Running(service, tracing, config, runner)
    endpoints = [_endpoint(api, config, running, tracing) for api in service.spec.apis]
    batchers = [each.batcher for each in endpoints if isinstance(each, BatchEndpoint)]
    health = Health(running, hang_after_s=server.hang_after_s)
    limits = StopLimits(
        server.drain_delay_s, server.drain_timeout_s, config.tracing.queue.flush_timeout_s
    )
    lifecycle = Lifecycle(batchers, health, limits=limits)
    beside: list[Callable[[], AbstractAsyncContextManager[None]]] = []
    app = App(
        title=service.name,
        version=service.version or "0",
        description=service.spec.doc,
        # Its spans would be the request's a second time.
        telemetry={"tracing": not tracing.on},
    )
    app.connections = Connections(Limits.of(server))
    models = models_of(endpoints, service.version)
    answer_errors(app, protocol=bool(models))
    if service.spec.has_configure_app:
        _configure(app, service)
    guard = Guard(server.auth, server.cors, routes={each.spec.route for each in endpoints})
    if guard.keys is not None:
        beside.append(guard.keys.watching)
    access = AccessLog(config.logging.format, tracing.now_ns) if server.access_log else None
    if access is not None:
        beside.append(access.writing)
    front = FrontDoor(
        app.inside,
        endpoints={endpoint.spec.route: endpoint for endpoint in endpoints},
        direct=lambda: not app.user_middleware,
        guard=guard,
        access=access,
        max_request_bytes=server.max_request_bytes,
        tracing=tracing,
        trace_headers=server.trace_headers,
    )
    _add_inference(app, endpoints, models, front)
    guarding, app.router.dependencies = app.router.dependencies, []  # probes stay open
    server_metrics = ServerMetrics(
        front.traffic,
        running.runner,
        batchers,
        tracing,
        guard=guard,
        access=access,
        refused=lambda: app.connections.refused,
    )
    elsewhere = running.elsewhere
    of_replicas = None if elsewhere is None else ReplicaMetrics(elsewhere).collect
    metrics = AllMetrics(server_metrics.collect, of_replicas)
    siblings = None
    if share is not None:
        siblings = Siblings(share, number, metrics.collect)
        beside.append(siblings.listening)
    add_operations(
        app,
        service=service,
        endpoints=endpoints,
        tracing=tracing,
        running=running,
        lifecycle=lifecycle,
        metrics=metrics,
        siblings=siblings,
    )
    if models:
        add_protocol(app, models, service=service, lifecycle=lifecycle)
    if token := config.tracing.control.token:
        control = Control(tracing, share and share / "tracing.json")
        beside.append(control.listening)
        add_control(app, control, token)
    app.router.dependencies = guarding
    tracing.extend_app(app, url, Additions(app).check)
    app.front = front
    own = app.router.lifespan_context  # with all that was added to the app by now
    app.router.lifespan_context = lifecycle.lifespan(
        running, tracing, on_ready=on_ready, own=own, beside=beside
    )
    _tell_of_middleware(app)
    return app


def _add_inference(
    app: App, endpoints: Sequence[Endpoint], models: Mapping[str, Model], front: FrontDoor
) -> None:
    lacking = ", ".join(missing())
    if lacking and any(each.spec.is_dependent for each in endpoints):
        log.warning(
            "fastapi %s has not all that the short way of requests with dependencies needs (%s); "
            "they go FastAPI's own",
            *(version("fastapi"), lacking),
        )
    for endpoint in endpoints:
        route = add_route(app, endpoint, front)
        if endpoint.spec.is_dependent or app.router.dependencies:
            _shorten(app, route, endpoint, front)
    if models:
        add_inference(app, models, front)


def _shorten(app: App, route: APIRoute, endpoint: Endpoint, front: FrontDoor) -> None:
    """Find the shortest way to an endpoint with dependencies."""
    sent = sender(endpoint, front)
    front.dependents[endpoint.spec.route] = shortened(app, route, endpoint, sent)
    resolver = resolver_of(app, route, endpoint, sent)
    if resolver is not None and isinstance(endpoint, BatchEndpoint):
        front.resolvers[endpoint] = resolver


def _configure(app: FastAPI, service: LoadedService) -> None:
    try:
        service.spec.cls.configure_app(app)
    except SpanserveError:
        raise
    except (Exception, SystemExit) as error:
        raise start_error(service, error) from error


def _endpoint(api: ApiSpec, config: Config, running: Running, tracing: Tracing) -> Endpoint:
    options: dict[str, Any] = {
        "tracing": tracing,
        "max_request_bytes": config.server.max_request_bytes,
        "max_json_bytes": config.server.max_json_bytes,
        "request_timeout_ms": config.server.request_timeout_ms,
        "with_timing": config.server.trace_headers,
    }
    if api.batch:
        batcher = _batcher(api, config.batching, running, tracing)
        batched = EmbeddingsEndpoint if api.openai else FormatsEndpoint
        return batched(api, batcher, carries=running.elsewhere is not None, **options)
    kind = StreamEndpoint if api.streams else PlainEndpoint
    kind = ChatEndpoint if api.openai else kind
    return kind(api, running, **options)


def _batcher(api: ApiSpec, config: BatchingConfig, running: Running, tracing: Tracing) -> Batcher:
    return Batcher(
        api.route,
        api.name,
        api.batch_codec,
        policy=Policy(
            max_batch_size=config.max_batch_size or api.max_batch_size,
            max_latency_ms=config.max_latency_ms or api.max_latency_ms,
            replicas=running.runner.replicas,
        ),
        runner=running.inline if api.inline else running.runner,
        retry=api.retry,
        tracing=tracing,
        max_queue=config.max_queue or api.max_queue,
        isolate=api.isolate,
    )


def _tell_of_middleware(app: FastAPI) -> None:
    """Say what takes requests off the short way."""
    names = [getattr(each.cls, "__name__", str(each.cls)) for each in app.user_middleware]
    if names:
        log.info("all requests go through middleware, off the short way: %s", ", ".join(names))
