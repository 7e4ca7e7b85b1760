"""A request that a task of its own works on, for a time or until it is answered."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from spanserve.server.direct.request import Connection, DirectRequest
from spanserve.server.endpoint import Endpoint
from spanserve.server.http.answer import Answer
from spanserve.server.http.exchange import Message, Scope, nothing_left
from spanserve.server.http.front_door import FrontDoor
from spanserve.server.http.headers import HeadersRead
from spanserve.server.http.through_app import App
from spanserve.tracing.admission.head import Head


class AppConnection(Connection, Protocol):
    """A connection on which an app can answer, too."""

    def scope_of(self, head: Head) -> Scope:
        """Return ASGI's scope of a POST with this head."""

    def answer_by(self, app: App, request: DirectRequest, body: bytes) -> Awaitable[None]:
        """Have a request answered by an app, which gets its body."""


class TaskRequest(DirectRequest):
    """What such requests have in common: their code may read the body, and wait for the client."""

    __slots__ = ("_task", "_unread", "message_event")

    _connection: AppConnection
    message_event: asyncio.Event
    """One of its own, once someone waits for it."""

    def __init__(
        self,
        connection: AppConnection,
        front: FrontDoor,
        endpoint: Endpoint,
        head: Head,
        read: HeadersRead,
    ) -> None:
        super().__init__(connection, front, endpoint, head, read)
        self.message_event = DirectRequest.message_event
        self._task: asyncio.Task[None] | None = None
        self._unread: bytes | None = None

    def _admit(self) -> None:
        """Give it its record, where it is traced: its code may open spans."""
        if self._endpoint.is_traced:
            self._front.admit_direct(self, self._endpoint)
            self.record = self.full_record

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

    def _end(self, answer: Answer, encoded_ns: int = 0) -> None:
        super()._end(answer, encoded_ns)
        self.message_event.set()

    async def _received(self) -> Message:
        """Return the body to code that asks, and then wait for the client to leave."""
        body, self._unread = self._unread, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        while not (self.disconnected or self.response_complete):
            if self.message_event is DirectRequest.message_event:
                self.message_event = asyncio.Event()
            await self.message_event.wait()
            self.message_event.clear()
        return {"type": "http.disconnect"}
