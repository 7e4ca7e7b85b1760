"""What the app reads of a request's body."""

from collections import deque

from spanserve.server.endpoint import Endpoint
from spanserve.server.http.answer import too_large
from spanserve.server.http.exchange import Exchange, Message, Receive


class LimitedReceive:
    """Receives what the app reads of a request's body, whoever it is in the app.

    No more than the limit, and of a request to an endpoint in the time that its answer may take.
    """

    def __init__(self, exchange: Exchange, endpoint: Endpoint | None, limit: int) -> None:
        self._exchange = exchange
        self._endpoint = endpoint
        self._receive = exchange.receive
        self._limit = limit
        self._length = 0

    async def __call__(self) -> Message:
        """Return the next message; raises RequestError (413, 408)."""
        endpoint = self._endpoint
        if endpoint is None:
            message = await self._receive()
        else:
            message = await endpoint.in_time(self._exchange, self._receive())
        if not message.get("more_body", False):
            self._endpoint = None  # then it waits for the client to leave
        if self._length <= self._limit:
            self._length += len(message.get("body", b""))
            if self._length > self._limit:
                raise too_large(self._limit)
        return message


class Remembered:
    """Receives a body for dependencies, and what they read of it once more for the endpoint."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._given: deque[Message] = deque()

    async def __call__(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._given.append(message)
        return message

    async def again(self) -> Message:
        """Return the next message, from the first one on."""
        return self._given.popleft() if self._given else await self._receive()
