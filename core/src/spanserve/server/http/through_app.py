"""The way through FastAPI: middleware, routing, dependencies; the answer is watched as it goes."""

import logging
from collections.abc import Awaitable, Callable

from spanserve.errors import forget_frames
from spanserve.server.endpoint import Endpoint
from spanserve.server.http.answer import BodyError
from spanserve.server.http.exchange import (
    SCOPE_KEY,
    Exchange,
    Message,
    Receive,
    Scope,
    Send,
    nothing_left,
)
from spanserve.server.http.receive import LimitedReceive
from spanserve.server.http.traffic import Traffic
from spanserve.tracing.model.failure import failure_of
from spanserve.tracing.model.ids import ROOT
from spanserve.tracing.recording.record import RequestRecord
from spanserve.tracing.scope import entered
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class ThroughApp:
    """Lets an app answer; the headers that every answer carries are added on its way out."""

    def __init__(
        self, traffic: Traffic, tracing: Tracing, *, max_request_bytes: int, trace_headers: bool
    ) -> None:
        self._traffic = traffic
        self._tracing = tracing
        self._now_ns = tracing.now_ns
        self._max_request_bytes = max_request_bytes
        self._trace_headers = trace_headers

    async def __call__(
        self, app: App, exchange: Exchange, endpoint: Endpoint | None, send: Send
    ) -> None:
        """Answer a request, to this endpoint if to any."""
        scope, record = exchange.scope, exchange.record
        scope[SCOPE_KEY] = exchange
        answered = False

        async def watched(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                if endpoint is not None and not exchange.status:  # a dependency's refusal, a 405
                    self._traffic.answered[endpoint.spec.route, message["status"]] += 1
                exchange.status = message["status"]
                if record is not None:
                    _describe(record, scope, message["status"])
                common = exchange.headers(self._now_ns(), tracing=self._trace_headers)
                message["headers"] = [*message.get("headers", ()), *common]
            await send(message)
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            answered = answered or is_last

        exchange.receive = receive = LimitedReceive(exchange, endpoint, self._max_request_bytes)
        try:
            with entered(self._tracing.scope(exchange.context, ROOT)):
                await app(scope, receive, watched)
        except Exception as error:
            if not (answered and isinstance(error, BodyError)):  # else middleware read the body
                self._note_failure(exchange, error, answered=answered)
            if not answered:
                raise
            forget_frames(error)
        finally:
            # The record keeps the scope: nothing of these may form a cycle.
            del scope[SCOPE_KEY]
            exchange.receive = nothing_left
            exchange.failures = None

    def _note_failure(self, exchange: Exchange, error: Exception, *, answered: bool) -> None:
        record = exchange.record
        if record is not None:
            record.status = record.status or 500
            record.failure = record.failure or failure_of(error, self._now_ns())
        if answered:
            # To raise it would close the connection under the client's next request.
            where = f"{exchange.scope['method']} {exchange.scope['path']}"
            with entered(self._tracing.scope(exchange.context, ROOT)):
                log.error(
                    "%s failed for request %s: %r",
                    *(where, exchange.request_id, error),
                    exc_info=error,
                )


def _describe(record: RequestRecord, scope: Scope, status: int) -> None:
    record.status = status
    route = scope.get("route")
    path = getattr(route, "path", None)
    if isinstance(path, str):
        record.route = path
