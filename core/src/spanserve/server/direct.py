"""A request to a batch endpoint that is answered without a task.

A task is made, stepped twice by the loop, and woken by a future. A request whose body is there
needs none: it is queued at once, and the batcher tells it its result. What it does is the
endpoint's and the front door's, as on the way through ASGI.
"""

import asyncio
import logging
from typing import Any, Final, Protocol

from spanserve.batching.batch import Item
from spanserve.batching.batcher import ExpiredError
from spanserve.server.answer import Answer, given_up
from spanserve.server.endpoint import BatchEndpoint
from spanserve.server.exchange import ClientLeftError, HeaderList, Message
from spanserve.server.front import Came, FrontDoor

log = logging.getLogger(__name__)

_NOBODY_WAITS: Final = asyncio.Event()


class Connection(Protocol):
    """Where the answers of direct requests go."""

    loop: asyncio.AbstractEventLoop
    came: Came

    def send_answer(
        self, request: "DirectRequest", answer: Answer, common: list[tuple[bytes, bytes]]
    ) -> None:
        """Send a whole answer with the headers that every answer carries."""

    def request_done(self, request: "DirectRequest") -> None:
        """Forget a request that was answered, or whose client left."""

    def broken(self) -> None:
        """Close the connection: its request has no answer."""


class DirectRequest:
    """One request from its first byte to its last, and the waiter of its item.

    To the connection it is what a cycle of uvicorn's is, and to the server, that cancels those
    that take too long to drain, a task.
    """

    __slots__ = (
        "_connection",
        "_done",
        "_endpoint",
        "_exchange",
        "_front",
        "_item",
        "_timer",
        "disconnected",
        "keep_alive",
        "response_complete",
    )

    message_event = _NOBODY_WAITS
    """What uvicorn sets when the client leaves."""

    def __init__(
        self, connection: Connection, front: FrontDoor, endpoint: BatchEndpoint, headers: HeaderList
    ) -> None:
        self._connection = connection
        self._exchange = front.begin_direct(connection.came, self._receive, endpoint, headers)
        endpoint.reads(self._exchange)
        self._front = front
        self._endpoint = endpoint
        self._item: Item | None = None
        self._done = False
        self._timer: asyncio.TimerHandle | None = None
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    def start(self, body: bytes) -> None:
        """Queue the request's item, or answer why not."""
        endpoint, exchange = self._endpoint, self._exchange
        try:
            self._item = endpoint.begin(exchange, body, waiter=self, gone=self._client_left)
        except Exception as error:  # noqa: BLE001  # every error has an answer
            self._end(endpoint.refused(exchange, error))
            return
        if deadline_ns := self._item.deadline_ns:
            delay_s = (deadline_ns - endpoint.tracing.now_ns()) / 1e9
            self._timer = self._connection.loop.call_later(max(0.0, delay_s), self._time_out)

    def _time_out(self) -> None:
        """Answer that it took too long."""
        self._timer = None
        if self._done or self._item is None:
            return
        self._done = True  # so that its item goes without a word
        self._endpoint.give_up(self._item)
        exchange = self._exchange
        self._end(self._endpoint.refused(exchange, self._endpoint.timed_out(exchange)))

    def abandoned(self) -> None:
        """End: the client left before its body was whole."""
        self._end(self._endpoint.refused(self._exchange, ClientLeftError()))

    def done(self) -> bool:
        """Whether the request has its answer."""
        return self._done

    def set_result(self, result: Any) -> None:
        """Answer with the item's result."""
        endpoint, exchange, item = self._endpoint, self._exchange, self._item
        assert item is not None  # noqa: S101  # it is queued, else it had no result
        try:
            endpoint.is_done(exchange, item)
            answer = endpoint.encoded(exchange, result)
        except Exception as error:  # noqa: BLE001  # as in `start`
            answer = endpoint.refused(exchange, error)
        self._end(answer)

    def set_exception(self, error: Exception) -> None:
        """Answer with the reason why there is no result."""
        if self._item is not None:
            self._endpoint.is_done(self._exchange, self._item)
        if isinstance(error, ExpiredError):
            error = self._endpoint.timed_out(self._exchange)
        self._end(self._endpoint.refused(self._exchange, error))

    def cancel(self, msg: str | None = None) -> None:  # noqa: ARG002  # as a task is cancelled
        """Give the request up soon: the server goes through all its tasks as it calls this."""
        if not self._done:
            self._connection.loop.call_soon(self._give_up)

    def _give_up(self) -> None:
        if self._done:
            return
        self._done = True
        if self._item is not None:
            self._endpoint.give_up(self._item)
        exchange = self._exchange
        self._end(given_up().answer(exchange.request_id, exchange.trace_id))

    def _end(self, answer: Answer) -> None:
        """Send the answer, and see the request out."""
        self._done = True
        if self._timer is not None:
            self._timer.cancel()
        connection, exchange, front = self._connection, self._exchange, self._front
        try:
            common = front.answered(exchange, self._endpoint, answer)
            if not (exchange.client_left or self.disconnected):
                connection.send_answer(self, answer, common)
        except Exception:
            log.exception("request %s could not be answered", exchange.request_id)
            connection.broken()
        finally:
            front.end(exchange)
            connection.request_done(self)
            # The connection keeps its last request: the rest of it must not live as long.
            del self._connection, self._exchange, self._item

    def _client_left(self) -> bool:
        return self.disconnected

    async def _receive(self) -> Message:
        """Return what is left to receive: nothing, the body is there."""
        return {"type": "http.disconnect"}
