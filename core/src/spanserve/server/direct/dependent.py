"""A request to a batch endpoint whose dependencies are resolved before its item queues.

They are awaited in a task of its own. Where they leave nothing to do, that ends as the item
queues, and the rest is as with any other request; else the answer, too, is a matter of the task.
"""

import asyncio
import logging
from functools import partial

from spanserve.server.direct.task import AppConnection, TaskRequest
from spanserve.server.endpoint import Endpoint
from spanserve.server.http.answer import cause_of
from spanserve.server.http.exchange import (
    SCOPE_KEY,
    Exchange,
    Receive,
    Scope,
    Send,
)
from spanserve.server.http.front_door import FrontDoor
from spanserve.server.http.headers import HeadersRead
from spanserve.server.resolving import Resolution, Resolver
from spanserve.tracing.admission.head import Head
from spanserve.tracing.model.ids import ROOT
from spanserve.tracing.scope import entered

log = logging.getLogger(__name__)


class DependentRequest(TaskRequest):
    """One request with dependencies, from its first byte to its last."""

    __slots__ = ("_is_late", "_resolver")

    def __init__(  # noqa: PLR0917  # as its base
        self,
        connection: AppConnection,
        front: FrontDoor,
        endpoint: Endpoint,
        head: Head,
        read: HeadersRead,
        resolver: Resolver,
    ) -> None:
        super().__init__(connection, front, endpoint, head, read)
        self._resolver = resolver
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
        self._admit()
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

    def reached(self) -> bool:
        """Say whether the client is still there to be answered."""
        return super().reached() if self._task is None else Exchange.reached(self)
