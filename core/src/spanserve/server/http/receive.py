"""What the app reads of a request's body."""

from spanserve.server.endpoint import Endpoint
from spanserve.server.http.answer import too_large
from spanserve.server.http.exchange import Exchange, Message


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
