"""A request to a plain method: a task calls it, and the answer is one write."""

import asyncio
import logging
from functools import partial
from typing import Any

from spanserve.server.direct.task import TaskRequest
from spanserve.server.http.answer import Answer, Streamed, given_up
from spanserve.server.http.exchange import Receive, Scope, Send, within

log = logging.getLogger(__name__)


class PlainRequest(TaskRequest):
    """One request, from its first byte to its last."""

    __slots__ = ("_body",)

    def start(self, body: bytes) -> None:
        """Have the method called."""
        self._let_time_pass()  # the endpoint minds the time
        self._body = self._unread = body
        self._task = self._connection.loop.create_task(self._call())

    async def body(self, limit: int) -> bytes:
        """Return the body, which is there; raises RequestError (413)."""
        self.is_read, self._unread = True, None
        return within(self._body, limit)

    def asks_if_client_left(self) -> bool:
        """Say whether the client closed the connection."""
        return self.disconnected

    async def _call(self) -> None:
        connection, front, endpoint = self._connection, self._front, self._endpoint
        try:
            self._admit()
            self.scope = connection.scope_of(self.head)
            self.receive = self._received
            try:
                answer: Answer | Streamed = await endpoint.answer(self)
            except asyncio.CancelledError:  # here, only by the server, at the end of its patience
                answer = given_up().answer(self.request_id, self.trace_id)
            if isinstance(answer, Streamed):
                await connection.answer_by(partial(self._stream, answer), self, b"")
            else:
                self._send(front.note(self, endpoint, answer))
        except Exception:
            log.exception("request %s could not be answered", self.request_id)
            connection.broken()
        finally:
            front.see_out(self)
            self.record = None
            self._body = b""
            self._leave()

    def _send(self, answer: Answer) -> None:
        if self.record is not None:
            self.record.status = answer.status
        if not self.client_left:
            self._connection.send_answer(self, answer, self._endpoint.tracing.now_ns())

    async def _stream(self, answer: Streamed, _scope: Scope, receive: Receive, send: Send) -> Any:
        self._ask = self.receive = receive
        await self._front.stream(self, self._endpoint, answer, send, common=True)
