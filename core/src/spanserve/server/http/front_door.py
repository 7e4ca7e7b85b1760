"""The front door: every request begins and ends here, once.

It gives the request its id and its record, lets the app answer, and ends the record when
the last byte is out. A POST to an inference route of an app without middleware and
dependencies goes straight to its endpoint: by FastAPI's own way the request costs twice as
much, and nothing on that way would do anything for it.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from spanserve.errors import forget_frames
from spanserve.server.access.access_log import AccessLog, Entry
from spanserve.server.access.guard import Guard, Verdict
from spanserve.server.endpoint import Endpoint
from spanserve.server.formats.oip import PREFIX, protocol_error
from spanserve.server.formats.streaming import send_stream
from spanserve.server.http.answer import (
    NOBODY,
    Answer,
    RequestError,
    Streamed,
    given_up,
    too_large,
)
from spanserve.server.http.deadlines import AllDeadlines
from spanserve.server.http.exchange import (
    Exchange,
    Receive,
    Scope,
    Send,
    nothing_left,
    path_below_root,
    send_answer,
)
from spanserve.server.http.headers import HeadersRead, read_headers
from spanserve.server.http.through_app import App, ThroughApp
from spanserve.server.http.traffic import Traffic
from spanserve.server.resolving import Resolver
from spanserve.tracing.model.clock import Ids
from spanserve.tracing.tracing import Tracing

_NO_SCOPE: Final[Scope] = {}


class FrontDoor:
    """Where requests enter.

    `endpoints` are the inference routes by their paths; `direct` says, once the app is built,
    whether a request to one may leave the app out.
    """

    def __init__(
        self,
        app: App,
        *,
        endpoints: Mapping[str, Endpoint],
        direct: Callable[[], bool],
        guard: Guard,
        access: AccessLog | None,
        max_request_bytes: int,
        tracing: Tracing,
        trace_headers: bool,
    ) -> None:
        self.traffic = traffic = Traffic()
        self.note, self.count = traffic.note, traffic.count
        self._app = app
        self._endpoints = endpoints
        self._is_direct = direct
        self.guard = guard
        self.access = access
        self.dependents: dict[str, App | None] = {}
        """The shortest ways to endpoints with dependencies, by their paths; None: by the app."""
        self.resolvers: dict[Endpoint, Resolver] = {}
        """What resolves those of endpoints that need not the app."""
        self.through = ThroughApp(
            self.traffic, tracing, max_request_bytes=max_request_bytes, trace_headers=trace_headers
        )
        own_ms = {each.timeout_ms for each in endpoints.values()}
        self.deadlines = AllDeadlines(tracing.now_ns, own_ms)
        self._direct: bool | None = None
        self.max_request_bytes = max_request_bytes
        self._tracing = tracing
        self._now_ns = tracing.now_ns
        self._new_id = Ids().texts().__next__
        self.trace_headers = trace_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        path = path_below_root(scope)
        endpoint = self._endpoints.get(path)
        guard = self.guard
        fields = {} if guard.is_open else dict(scope["headers"])
        verdict = guard.verdict(path, fields)
        exchange = self.begin(scope, receive, endpoint, verdict)
        try:
            preflight = guard.preflight(path, scope["method"], fields)
            if preflight is not None:
                await self._short(exchange, Answer(204, b"", preflight), send)
            elif verdict.refusal is not None:
                await self._refuse(exchange, path, endpoint, verdict.refusal, send)
            elif exchange.body_length > self.max_request_bytes:  # by its own word
                await self._refuse(
                    exchange, path, endpoint, too_large(self.max_request_bytes), send
                )
            elif endpoint is None or not self.direct or scope["method"] != "POST":
                await self.through(self._app, exchange, endpoint, send)
            elif path in self.dependents:
                await self.through(self.dependents[path] or self._app, exchange, endpoint, send)
            else:
                await self._straight(exchange, endpoint, send)
        except BaseException as error:
            # As soon as the server, which logs it in this turn of the loop, has done so.
            asyncio.get_running_loop().call_soon(forget_frames, error)
            raise
        finally:
            self.see_out(exchange)

    def see_out(self, exchange: Exchange) -> None:
        """See a request out that has a scope, after its last byte."""
        self.end(exchange)
        if self.access is not None:
            self.access.note(self._entry(exchange))

    def _entry(self, exchange: Exchange) -> Entry:
        scope = exchange.scope
        client = scope.get("client")
        return Entry(
            client[0] if client else "",
            scope["method"],
            scope["path"],
            NOBODY.status if exchange.client_left else exchange.status or 500,
            exchange.started_ns,
            self._now_ns(),
            exchange.request_id,
            exchange.trace_id,
            exchange.verdict.owner,
        )

    def lets_in(self, scope: Scope) -> bool:
        """Say whether something other than a request may reach the app: a websocket, its life."""
        if scope["type"] != "websocket" or self.guard.is_open:
            return True
        path = path_below_root(scope)
        is_let_in = self.guard.verdict(path, dict(scope["headers"])).refusal is None
        if not is_let_in:
            self.guard.refused[self.guard.group(path)] += 1
        return is_let_in

    def refusal(self, exchange: Exchange) -> RequestError | None:
        """Return why a request may not reach a model, however it came there; None: it may.

        Middleware and mounts can lead a request from one path to another, past the first check.
        """
        if exchange.verdict.asked or self.guard.keys is None:
            return exchange.verdict.refusal
        fields = dict(exchange.scope["headers"])
        exchange.verdict = self.guard.verdict_on("inference", fields)
        if exchange.verdict.refusal is not None:
            self.guard.refused["inference"] += 1
        return exchange.verdict.refusal

    async def _refuse(
        self,
        exchange: Exchange,
        path: str,
        endpoint: Endpoint | None,
        refusal: RequestError,
        send: Send,
    ) -> None:
        self.guard.refused[self.guard.group(path)] += 1
        answer = refusal.answer(exchange.request_id, exchange.trace_id)
        if endpoint is not None:
            self.note(exchange, endpoint, answer)
            answer = endpoint.in_shape(answer)
        elif f"{path}/".startswith(PREFIX):
            answer = protocol_error(answer)
        await self._short(exchange, answer, send)

    async def _short(self, exchange: Exchange, answer: Answer, send: Send) -> None:
        """Send an answer that the head alone asks for."""
        exchange.status = answer.status
        if exchange.record is not None:
            exchange.record.status = answer.status
        common = exchange.headers(self._now_ns(), tracing=self.trace_headers)
        await send_answer(send, answer, common)

    @property
    def direct(self) -> bool:
        """Whether a request to an endpoint may leave the app out; decided by the first request."""
        if self._direct is None:
            self._direct = self._is_direct()
        return self._direct

    def short(self) -> Mapping[bytes, Endpoint]:
        """Return the endpoints, by raw path, whose whole requests can do without the app."""
        if not self.direct or self._tracing.is_live:
            return {}
        return {
            path.encode(): endpoint
            for path, endpoint in self._endpoints.items()
            if endpoint.speaks_json
            and not endpoint.spec.streams
            and (path not in self.dependents or endpoint in self.resolvers)
        }

    def begin(
        self, scope: Scope, receive: Receive, endpoint: Endpoint | None, verdict: Verdict
    ) -> Exchange:
        """Let a request in."""
        started_ns = self._now_ns()
        exchange = Exchange(scope, receive, read_headers(scope["headers"]), started_ns)
        exchange.verdict = verdict
        route = "" if endpoint is None else endpoint.spec.route
        record = self._tracing.request(
            scope, request_id=exchange.request_id or None, route=route, key_name=verdict.owner
        )
        if record is not None:
            exchange.record = record
            exchange.trace_id = record.trace_id
            exchange.request_id = record.request_id
        elif not exchange.request_id:
            exchange.request_id = self._new_id()
        return exchange

    def begin_direct(self, request: Exchange, endpoint: Endpoint, read: HeadersRead) -> None:
        """Let a request in that needs no scope: a POST, without a query, to this endpoint.

        It has no ids yet where it is traced.
        """
        Exchange.__init__(request, _NO_SCOPE, nothing_left, read, self._now_ns())
        if not (endpoint.is_traced or request.request_id):
            request.request_id = self._new_id()

    def admit_direct(self, request: Exchange, endpoint: Endpoint) -> None:
        """Give a request that began so the ids that it would have got with its batch."""
        if endpoint.is_traced and not request.trace_id:
            self._tracing.admit((request,))

    def end(self, exchange: Exchange) -> None:
        """See a request out, after its last byte."""
        record = exchange.record
        if record is not None:
            record.client_left = exchange.client_left
            record.failure = record.failure or exchange.failure
            self._tracing.request_ended(record)

    def end_direct(self, request: Exchange, decoded_ns: int, status: int) -> None:
        """See a recorded request out that began without a record, and has no result.

        `decoded_ns` is when its body turned out not to be an item, 0 where it was one.
        """
        request.record = request.write_record(request.item, decoded_ns, status)
        self.end(request)

    async def give_up(self, exchange: Exchange, endpoint: Endpoint, send: Send) -> None:
        """Answer that the server does not wait any more, as it stops."""
        answer = given_up().answer(exchange.request_id, exchange.trace_id)
        await self._short(exchange, self.note(exchange, endpoint, answer), send)

    async def _straight(self, exchange: Exchange, endpoint: Endpoint, send: Send) -> None:
        try:
            answer: Answer | Streamed = await endpoint.answer(exchange)
        except asyncio.CancelledError:  # here, only by the server, at the end of its patience
            answer = given_up().answer(exchange.request_id, exchange.trace_id)
        if isinstance(answer, Streamed):
            await self.stream(exchange, endpoint, answer, send, common=True)
            return
        answer = self.note(exchange, endpoint, answer)
        if exchange.record is not None:
            exchange.record.status = answer.status
        if exchange.client_left:
            return
        common = exchange.headers(self._now_ns(), tracing=self.trace_headers)
        await send_answer(send, answer, common)

    async def stream(
        self,
        exchange: Exchange,
        endpoint: Endpoint,
        answer: Streamed,
        send: Send,
        *,
        common: bool = False,
    ) -> None:
        """Send a streamed answer, with the common headers or without, and count it at its end."""
        record, headers = exchange.record, []
        exchange.status = answer.status
        if common:
            headers = exchange.headers(self._now_ns(), tracing=self.trace_headers)
            if record is not None:
                record.status = answer.status
        try:
            await send_stream(exchange, send, answer, headers)
        finally:
            status = NOBODY.status if exchange.client_left else answer.status
            self.traffic.count(exchange, endpoint, status)
            if record is not None:
                record.status = status
