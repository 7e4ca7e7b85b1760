"""A request to a batch endpoint whose dependencies are resolved before its item queues.

They are awaited in a task of its own. Where they leave nothing to do, that ends as the item
queues, and the rest is as with any other request; else the answer, too, is a matter of the task.
"""

import asyncio
import logging
from collections.abc import Awaitable
from functools import partial
from typing import Protocol

from spanserve.server.direct.request import Connection, DirectRequest
from spanserve.server.endpoint import BatchEndpoint
from spanserve.server.http.answer import Answer, cause_of
from spanserve.server.http.exchange import (
    SCOPE_KEY,
    Exchange,
    Message,
    Receive,
    Scope,
    Send,
    nothing_left,
)
from spanserve.server.http.front_door import FrontDoor
from spanserve.server.http.headers import HeadersRead
from spanserve.server.http.through_app import App
from spanserve.server.resolving import Resolution, Resolver
from spanserve.tracing.admission.head import Head
from spanserve.tracing.model.ids import ROOT
from spanserve.tracing.scope import entered

log = logging.getLogger(__name__)


class AppConnection(Connection, Protocol):
    """A connection on which an app can answer, too."""

    def scope_of(self, head: Head) -> Scope:
        """Return ASGI's scope of a POST with this head."""

    def answer_by(self, app: App, request: DirectRequest, body: bytes) -> Awaitable[None]:
        """Have a request answered by an app, which gets its body."""


class DependentRequest(DirectRequest):
    """One request with dependencies, from its first byte to its last."""

    __slots__ = ("_is_late", "_resolver", "_task", "_unread", "message_event")

    _connection: AppConnection
    message_event: asyncio.Event
    """One of its own, once someone waits for it."""

    def __init__(  # noqa: PLR0917  # as its base
        self,
        connection: AppConnection,
        front: FrontDoor,
        endpoint: BatchEndpoint,
        head: Head,
        read: HeadersRead,
        resolver: Resolver,
    ) -> None:
        super().__init__(connection, front, endpoint, head, read)
        self.message_event = DirectRequest.message_event
        self._resolver = resolver
        self._task: asyncio.Task[None] | None = None
        self._unread: bytes | None = None
        self._is_late = False

    def start(self, body: bytes) -> None:
        """Resolve the dependencies, and go on from there."""
        self._unread = body
        self._task = self._connection.loop.create_task(self._resolve(body))

    async def _resolve(self, body: bytes) -> None:
        resolution, scope = Resolution(self._resolver), self._new_scope()
        try:
            is_all = await self._is_resolved(resolution, scope)
        except Exception:
            log.exception("request %s could not be answered", self.request_id)
            self._connection.broken()
            self._leave()
        else:
            if is_all:
                self._task = None
                super().start(body)
                if self._is_late:
                    super().time_is_over()
            else:
                self._let_time_pass()
                await self._answer(resolution, scope, body)

    def _new_scope(self) -> Scope:
        return {**self._connection.scope_of(self.head), **self._resolver.found}

    async def _is_resolved(self, resolution: Resolution, scope: Scope) -> bool:
        """Resolve the dependencies; says whether that is all."""
        endpoint = self._endpoint
        if endpoint.is_traced:  # their code may open spans
            self._front.admit_direct(self, endpoint)
            self.record = self.full_record
        scope[SCOPE_KEY] = self
        try:
            with entered(endpoint.tracing.scope(self.context, ROOT)):
                is_all = await resolution.solve(scope, self._received)
        finally:
            del scope[SCOPE_KEY]
        return is_all and self.record is None

    async def _answer(self, resolution: Resolution, scope: Scope, body: bytes) -> None:
        """Answer from where the dependencies are resolved, or something has failed."""
        self.scope = scope
        try:
            await self._connection.answer_by(partial(self._by_app, resolution), self, body)
        finally:
            self._leave()

    async def _by_app(
        self, resolution: Resolution, _scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer by ASGI."""
        self._ask = self.receive = receive
        front, endpoint = self._front, self._endpoint
        try:
            await front.through(self._resolver.answer_of(resolution), self, endpoint, send)
        except asyncio.CancelledError:  # only by the server, at the end of its patience
            if self.status:
                raise
            await front.give_up(self, endpoint, send)
        finally:
            front.see_out(self)
            self.record = None

    def _leave(self) -> None:
        """End the task, and let go of what is kept no longer than it."""
        self._task = None
        self._done = self.response_complete = True
        self.message_event.set()
        self.scope = {}
        self.receive = self._ask = nothing_left
        self._connection.request_done(self)
        del self._connection, self.item

    def _give_up(self) -> None:
        if self._task is None:
            super()._give_up()
        else:
            self._task.cancel()

    def time_is_over(self) -> None:
        """Answer that it took too long, as soon as the dependencies have been waited for."""
        if self._task is None:
            super().time_is_over()
        else:
            self._is_late = True

    def _refuse(self, error: Exception) -> None:
        """Answer with an error, which the app may have a handler for."""
        raised = cause_of(error)
        if raised is error or not self._resolver.handles(raised):
            super()._refuse(error)
            return
        self._done = True
        self._let_time_pass()
        answering = self._answer(Resolution(self._resolver, raised), self._new_scope(), b"")
        self._task = self._connection.loop.create_task(answering)

    def _end(self, answer: Answer, encoded_ns: int = 0) -> None:
        super()._end(answer, encoded_ns)
        self.message_event.set()

    def reached(self) -> bool:
        """Say whether the client is still there to be answered."""
        return super().reached() if self._task is None else Exchange.reached(self)

    async def _received(self) -> Message:
        """Return the body to a dependency that asks, and then wait for the client to leave."""
        body, self._unread = self._unread, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        while not (self.disconnected or self.response_complete):
            if self.message_event is DirectRequest.message_event:
                self.message_event = asyncio.Event()
            await self.message_event.wait()
            self.message_event.clear()
        return {"type": "http.disconnect"}
